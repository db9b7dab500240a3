/* Listening sockets: accept what is there, and pause when descriptors run out. */
#include "base/mem.h"
#include "base/sys.h"
#include "loop/internal.h"
#include "loop/io.h"

#include <errno.h>
#include <unistd.h>

enum { ACCEPTS_PER_TURN = 64, PAUSE_MS = 100 };

struct listener {
    struct loop *loop;
    int fd;
    struct event event;
    struct timer pause;
    bool is_freed; /* by on_accept, while we are inside */
    bool is_paused;
    bool is_inside;
    void (*on_accept)(void *arg, int fd, const struct addr *peer);
    void *arg;
};

static void on_pause_over(void *arg)
{
    listener_resume(arg);
}

static bool is_out_of_resources(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void accept_some(struct listener *listener)
{
    for (int i = 0; i < ACCEPTS_PER_TURN && !listener->is_freed && !listener->is_paused; i++) {
        struct addr peer = {.len = sizeof(peer.space)};
        int fd = sys.accept4(listener->fd, &peer.any, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            listener->on_accept(listener->arg, fd, &peer);
        } else if (is_out_of_resources(errno)) {
            listener_pause(listener);
            timer_set(&listener->pause, PAUSE_MS);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct listener *listener = arg;

    (void)fd;
    (void)what;
    turn_enter(listener->loop);
    listener->is_inside = true;
    accept_some(listener);
    listener->is_inside = false;
    if (listener->is_freed)
        mem_free(listener);
}

struct listener *listener_new(struct loop *loop, int fd,
                              void (*on_accept)(void *arg, int fd, const struct addr *peer),
                              void *arg)
{
    struct listener *listener = mem_zalloc(sizeof(*listener));

    if (!listener)
        return NULL;
    listener->loop = loop;
    listener->fd = fd;
    listener->on_accept = on_accept;
    listener->arg = arg;
    timer_init(&listener->pause, loop, on_pause_over, listener);
    event_assign(&listener->event, loop->base, fd, EV_READ | EV_PERSIST, on_ready, listener);
    event_add(&listener->event, NULL);
    return listener;
}

void listener_pause(struct listener *listener)
{
    listener->is_paused = true;
    timer_cancel(&listener->pause); /* it would end the pause of our owner */
    event_del(&listener->event);
}

void listener_resume(struct listener *listener)
{
    listener->is_paused = false;
    timer_cancel(&listener->pause);
    event_add(&listener->event, NULL);
}

int listener_release(struct listener *listener)
{
    int fd = listener->fd;

    event_del(&listener->event);
    timer_cancel(&listener->pause);
    listener->is_freed = true;
    if (!listener->is_inside)
        mem_free(listener);
    return fd;
}

void listener_free(struct listener *listener)
{
    if (listener)
        close(listener_release(listener));
}

/* The loop itself: turns, mailbox, deferred work, watched descriptors. libevent waits for
 * readiness; timers, order within a turn and everything that crosses threads are ours. */
#include "loop/loop.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/sys.h"
#include "loop/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

static _Thread_local struct loop *current;

struct loop *loop_current(void)
{
    return current;
}

int64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

/* ---- Life ---- */

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    uint64_t count;

    (void)what;
    (void)arg;
    if (read((int)fd, &count, sizeof(count)) < 0) {
        /* somebody else's wake was read already */
    }
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    /* only ends the wait: the turn looks at the wheel itself */
    (void)fd;
    (void)what;
    (void)arg;
}

static struct event_base *make_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base;

    if (!config)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
    event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_O1 | EV_FEATURE_EARLY_CLOSE);
    base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

struct loop *loop_new(const char *name)
{
    struct loop *loop = xcalloc(1, sizeof(*loop));

    loop->base = make_base();
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!loop->base || loop->wake_fd < 0) {
        if (loop->base)
            event_base_free(loop->base);
        if (loop->wake_fd >= 0)
            close(loop->wake_fd);
        mem_free(loop);
        return NULL;
    }
    snprintf(loop->name, sizeof(loop->name), "%.15s", name);
    loop->now_ms = sys_monotonic_ms();
    wheel_init(&loop->wheel, loop->now_ms);
    list_init(&loop->deferred);
    list_init(&loop->lingering);
    list_init(&loop->dead);
    list_init(&loop->doubts);
    timer_init(&loop->doubt_timer, loop, io_settle_doubts, loop);
    event_assign(&loop->wake_event, loop->base, loop->wake_fd, EV_READ | EV_PERSIST | EV_ET,
                 on_wake, NULL);
    event_add(&loop->wake_event, NULL);
    event_assign(&loop->timeout_event, loop->base, -1, 0, on_timeout, NULL);
    return loop;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    ASSERT(!loop->is_spawned);
    io_end_lingering(loop);
    io_bury(loop);
    event_del(&loop->wake_event);
    event_del(&loop->timeout_event);
    event_base_free(loop->base);
    close(loop->wake_fd);
    mem_free(loop->scratch);
    mem_free(loop);
}

/* ---- Mailbox ---- */

static void wake(struct loop *loop)
{
    uint64_t one = 1;

    if (write(loop->wake_fd, &one, sizeof(one)) < 0)
        ASSERT(errno == EAGAIN); /* the counter is full: it is awake anyway */
}

void loop_post(struct loop *loop, struct loop_msg *msg)
{
    struct loop_msg *newest = atomic_load_explicit(&loop->inbox, memory_order_relaxed);

    do
        msg->next = newest;
    while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &newest, msg, memory_order_release,
                                                  memory_order_relaxed));
    if (!newest)
        wake(loop);
}

/* Runs what was in the mailbox when it was called; true when there was anything. */
static bool run_inbox(struct loop *loop)
{
    struct loop_msg *newest = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acquire);
    struct loop_msg *oldest = NULL;

    while (newest) {
        struct loop_msg *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    for (struct loop_msg *msg = oldest, *next; msg; msg = next) {
        next = msg->next; /* run may free or post it */
        msg->run(msg);
    }
    return oldest != NULL;
}

/* ---- Deferred work ---- */

void loop_defer_init(struct loop_defer *defer, void (*run)(struct loop_defer *defer))
{
    list_init(&defer->node);
    defer->run = run;
}

void loop_defer(struct loop *loop, struct loop_defer *defer)
{
    if (!list_is_linked(&defer->node))
        list_push(&loop->deferred, &defer->node);
}

void loop_undefer(struct loop_defer *defer)
{
    list_remove(&defer->node);
}

/* Runs what is deferred now; what it defers in turn waits for the next turn, so that sockets get
 * their share in between. */
static void run_deferred(struct loop *loop)
{
    struct list batch, *node;

    if (list_is_empty(&loop->deferred))
        return;
    list_init(&batch);
    while ((node = list_pop(&loop->deferred)))
        list_push(&batch, node);
    while ((node = list_pop(&batch))) {
        struct loop_defer *defer = CONTAINER_OF(node, struct loop_defer, node);

        defer->run(defer);
    }
}

/* ---- Turns ---- */

void turn_enter(struct loop *loop)
{
    if (loop->is_inside)
        return;
    loop->is_inside = true;
    atomic_fetch_add_explicit(&loop->turns, 1, memory_order_seq_cst);
    /* what the turn reads must not be read before the count shows that it began */
    atomic_thread_fence(memory_order_seq_cst);
    loop->now_ms = sys_monotonic_ms();
}

/* The loop holds no pointer into shared tables from here on. */
static void turn_leave(struct loop *loop)
{
    loop->is_inside = false;
    atomic_fetch_add_explicit(&loop->turns, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&loop->quiesce_waiters, memory_order_seq_cst))
        quiesce_turn_ended(loop->domain, loop);
}

/* Waits for the first ready descriptor where nothing else is to do, and handles what is ready. The
 * turn begins with the first handler (turn_enter), so that a waiting loop counts as quiescent. */
static void poll_events(struct loop *loop, bool may_wait)
{
    int64_t wait_ms = wheel_wait_ms(&loop->wheel, sys_monotonic_ms());
    struct timeval timeout = {wait_ms / 1000, (wait_ms % 1000) * 1000};

    if (!may_wait || wait_ms == 0 || !list_is_empty(&loop->deferred) ||
        atomic_load_explicit(&loop->inbox, memory_order_relaxed)) {
        event_base_loop(loop->base, EVLOOP_NONBLOCK);
        return;
    }
    if (wait_ms > 0)
        event_add(&loop->timeout_event, &timeout);
    else
        event_del(&loop->timeout_event);
    event_base_loop(loop->base, EVLOOP_ONCE);
}

void loop_turn(struct loop *loop, bool may_wait)
{
    struct loop *outer = current;

    current = loop;
    poll_events(loop, may_wait && !atomic_load(&loop->is_stopping));
    turn_enter(loop);
    wheel_advance(&loop->wheel, loop->now_ms);
    run_inbox(loop);
    run_deferred(loop);
    io_bury(loop);
    turn_leave(loop);
    current = outer;
}

void loop_run(struct loop *loop)
{
    while (!atomic_load(&loop->is_stopping))
        loop_turn(loop, true);
    current = loop;
    turn_enter(loop); /* the last messages may read shared tables, too */
    while (run_inbox(loop))
        continue;
    io_bury(loop);
    turn_leave(loop);
    current = NULL;
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->is_stopping, true);
    wake(loop);
}

static void *run_thread(void *arg)
{
    struct loop *loop = arg;

    loop_run(loop);
    return NULL;
}

int loop_spawn(struct loop *loop)
{
    sigset_t all, former;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    err = pthread_create(&loop->thread, NULL, run_thread, loop);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    if (err)
        return -err;
    loop->is_spawned = true;
    pthread_setname_np(loop->thread, loop->name);
    return 0;
}

void loop_join(struct loop *loop)
{
    if (!loop->is_spawned)
        return;
    pthread_join(loop->thread, NULL);
    loop->is_spawned = false;
}

/* ---- Watched descriptors ---- */

struct loop_watch {
    struct loop *loop;
    struct event event;
    void (*on_ready)(void *arg);
    void *arg;
};

static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    struct loop_watch *watch = arg;

    (void)fd;
    (void)what;
    turn_enter(watch->loop);
    watch->on_ready(watch->arg);
}

struct loop_watch *loop_watch(struct loop *loop, int fd, void (*on_ready)(void *arg), void *arg)
{
    struct loop_watch *watch = xcalloc(1, sizeof(*watch));

    watch->loop = loop;
    watch->on_ready = on_ready;
    watch->arg = arg;
    event_assign(&watch->event, loop->base, fd, EV_READ | EV_PERSIST, on_watch, watch);
    event_add(&watch->event, NULL);
    return watch;
}

void loop_unwatch(struct loop_watch *watch)
{
    if (!watch)
        return;
    event_del(&watch->event);
    mem_free(watch);
}

/* The process of mode http: started once, probed until it listens. */
#include "base/mem.h"
#include "child.h"
#include "journal.h"
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

enum {
    PROBE_FIRST_MS = 5,
    PROBE_MAX_MS = 200,
    /* shorter than the keep-alive time of usual servers: few requests meet a closing connection */
    IDLE_MS = 2000
};

struct upstream {
    struct watchdog *w;
    struct child child;
    struct client *client;
    struct list waiters;
    bool is_running, is_listening;
    unsigned at; /* the address that is probed, then used */
    struct io *probe;
    struct timer probe_timer;
    int64_t probe_ms;
};

extern char **environ;

/* ---- Does it listen? ---- */

static void probe_on_connected(void *arg)
{
    struct upstream *upstream = arg;
    struct list *node;

    io_close(TAKE_PTR(upstream->probe), false);
    upstream->is_listening = true;
    watchdog_accept(upstream->w);
    while ((node = list_pop(&upstream->waiters))) {
        struct upstream_waiter *waiter = CONTAINER_OF(node, struct upstream_waiter, node);

        waiter->run(waiter);
    }
}

static void probe_again(struct upstream *upstream)
{
    upstream->at = (upstream->at + 1) % upstream->w->config.upstream_count;
    timer_set(&upstream->probe_timer, upstream->probe_ms);
    if (upstream->probe_ms < PROBE_MAX_MS)
        upstream->probe_ms *= 2;
}

static void probe_on_error(void *arg, int error)
{
    struct upstream *upstream = arg;

    (void)error;
    io_close(TAKE_PTR(upstream->probe), false);
    probe_again(upstream);
}

static void probe_begin(void *arg)
{
    static const struct io_handler handler = {.on_connected = probe_on_connected,
                                              .on_error = probe_on_error};
    struct upstream *upstream = arg;

    upstream->probe = io_connect(upstream->w->loop, upstream_addr(upstream), &handler, upstream);
    if (!upstream->probe)
        probe_again(upstream);
}

void upstream_wait(struct upstream *upstream, struct upstream_waiter *waiter)
{
    list_init(&waiter->node);
    if (upstream->is_listening)
        waiter->run(waiter);
    else
        list_push(&upstream->waiters, &waiter->node);
}

/* ---- Life ---- */

static void on_child_exit(void *arg, int status)
{
    struct upstream *upstream = arg;

    upstream->is_running = false;
    watchdog_upstream_ended(upstream->w, status);
}

/* stdout and stderr become log lines, or stay ours. */
static int spawn(struct upstream *upstream)
{
    const struct config *config = &upstream->w->config;
    int fds[3] = {open("/dev/null", O_RDONLY | O_CLOEXEC), -1, -1};
    int err = 0;

    for (int i = 1; i < 3 && config->prefix_logs && !err; i++) {
        fds[i] = journal_pipe(upstream->w->loop, i == 1 ? "stdout" : "stderr", config->log_buffer);
        err = fds[i] < 0 ? fds[i] : 0;
    }
    if (!err)
        err = child_spawn(&upstream->child, config->argv, environ, fds);
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return err;
}

struct upstream *upstream_start(struct watchdog *w, struct err *err)
{
    struct upstream *upstream = xcalloc(1, sizeof(*upstream));
    struct client_config config = client_config_default;
    int r;

    upstream->w = w;
    upstream->child.on_exit = on_child_exit;
    upstream->child.arg = upstream;
    upstream->probe_ms = PROBE_FIRST_MS;
    list_init(&upstream->child.node);
    list_init(&upstream->waiters);
    timer_init(&upstream->probe_timer, w->loop, probe_begin, upstream);
    config.limits.head_max = 1 << 20;
    config.limits.field_max = 1 << 20;
    config.limits.fields_max = 1000;
    config.idle_ms = IDLE_MS;
    upstream->client = client_new(w->loop, &config);
    r = upstream->client ? spawn(upstream) : -ENOMEM;
    if (r) {
        err_set(err, r, "fprocess: %s: %s", w->config.argv[0], strerror(-r));
        upstream_free(upstream);
        return NULL;
    }
    upstream->is_running = true;
    probe_begin(upstream);
    return upstream;
}

struct client *upstream_client(struct upstream *upstream)
{
    return upstream->client;
}

const struct addr *upstream_addr(const struct upstream *upstream)
{
    return &upstream->w->config.upstream[upstream->at];
}

void upstream_signal(struct upstream *upstream, int signal)
{
    if (upstream->is_running)
        child_kill(&upstream->child, signal);
}

bool upstream_is_running(const struct upstream *upstream)
{
    return upstream->is_running;
}

void upstream_free(struct upstream *upstream)
{
    if (!upstream)
        return;
    upstream_signal(upstream, SIGKILL);
    child_forget(&upstream->child);
    timer_cancel(&upstream->probe_timer);
    io_close(upstream->probe, false);
    client_free(upstream->client);
    mem_free(upstream);
}

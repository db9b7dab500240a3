/* fwatchdog: turns a program into an HTTP function. This file is its life: options, listening,
 * signals, and the order of the end:
 *
 *   SIGTERM -> unhealthy, no lock file -> healthcheck_interval -> no new connections, running
 *   requests up to write_timeout -> SIGTERM to the process of mode http -> the end.
 *
 * A second SIGTERM takes the next step at once.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "child.h"
#include "journal.h"
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BACKLOG = 1024, INHERITED_FD = 3, CHILD_GRACE_MS = 5000, HEAD_MAX = 1 << 20 };

enum stage { STAGE_SERVING, STAGE_UNHEALTHY, STAGE_DRAINING, STAGE_ENDING_CHILD };

static struct {
    struct watchdog w;
    enum stage stage;
    struct timer timer; /* of the stage */
    int signal_fd;
    int exit_code;
} life;

/* ---- Listening ---- */

static bool is_listening(int fd)
{
    socklen_t len = sizeof(int);
    int value = 0;

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value;
}

/* The listening socket that our starter left as descriptor 3, or -1. LISTEN_PID names another
 * process when something stood between it and us; FNGATE_LISTEN_FD=3 says that it is for us all the
 * same. The function must not see these variables. */
static int inherited_socket(void)
{
    const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    const char *ours = getenv("FNGATE_LISTEN_FD");
    bool is_meant = ours && strcmp(ours, "3") == 0;
    uint64_t number;

    if (fds && strcmp(fds, "1") == 0 && pid && str_to_u64(str_from(pid), INT64_MAX, &number) &&
        number == (uint64_t)getpid())
        is_meant = true;
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("FNGATE_LISTEN_FD");
    if (!is_meant || !is_listening(INHERITED_FD))
        return -1;
    fcntl(INHERITED_FD, F_SETFD, FD_CLOEXEC);
    fcntl(INHERITED_FD, F_SETFL, O_NONBLOCK);
    return INHERITED_FD;
}

static int listen_on_port(unsigned port, struct err *err)
{
    struct addr addr;
    char text[32];

    snprintf(text, sizeof(text), ":%u", port);
    return addr_parse(str_from(text), &addr, err) < 0 ? -EINVAL
                                                      : addr_listen(&addr, BACKLOG, false, err);
}

static struct server *serve(struct watchdog *w, int fd,
                            void (*on_request)(void *arg, struct stream *s))
{
    struct server_config config = server_config_default;
    struct server *server;

    config.limits.line_max = HEAD_MAX;
    config.limits.head_max = HEAD_MAX;
    config.limits.field_max = HEAD_MAX;
    config.limits.fields_max = 1000;
    if (w->config.read_timeout_ms > 0)
        config.head_timeout_ms = w->config.read_timeout_ms;
    config.body_idle_ms = w->config.write_timeout_ms > w->config.read_timeout_ms
                              ? w->config.write_timeout_ms
                              : w->config.read_timeout_ms;
    server = server_new(w->loop, &config, on_request, w);
    if (server && server_listen(server, fd) < 0) {
        server_free(server);
        return NULL;
    }
    return server;
}

/* Without its metrics a function is still a function: several may share a network. */
static void serve_metrics(struct watchdog *w)
{
    struct err err = {0};
    int fd;

    if (w->config.metrics_port == 0)
        return;
    fd = listen_on_port(w->config.metrics_port, &err);
    if (fd < 0)
        journal("metrics_port: %s; there will be no metrics", err.text);
    else
        w->metrics_server = serve(w, fd, request_handle_metrics);
}

/* ---- Health ---- */

void watchdog_accept(struct watchdog *w)
{
    int fd;

    if (w->is_ending)
        return;
    w->is_accepting = true;
    if (w->config.suppress_lock)
        return;
    fd = open(w->config.lock_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0660);
    if (fd < 0)
        journal("lock file %s: %s; health checks will fail", w->config.lock_file, strerror(errno));
    else
        close(fd);
}

static void refuse_health(struct watchdog *w)
{
    w->is_ending = true;
    if (w->is_accepting && !w->config.suppress_lock)
        unlink(w->config.lock_file);
    w->is_accepting = false;
}

static int run_healthcheck(void)
{
    AUTO_FREE char *path = config_lock_file();

    if (access(path, F_OK) == 0)
        return 0;
    fprintf(stderr, "unable to find lock file %s\n", path);
    return 1;
}

/* ---- The end ---- */

static void next_stage(void *arg);

static void enter_stage(enum stage stage, int64_t limit_ms)
{
    life.stage = stage;
    timer_set(&life.timer, limit_ms);
}

static void end_child(void)
{
    struct upstream *upstream = life.w.upstream;

    if (!upstream || !upstream_is_running(upstream)) {
        loop_stop(life.w.loop);
        return;
    }
    enter_stage(STAGE_ENDING_CHILD, CHILD_GRACE_MS);
    upstream_signal(upstream, SIGTERM);
}

static void on_drained(void *arg)
{
    (void)arg;
    if (life.stage == STAGE_DRAINING)
        end_child();
}

static void next_stage(void *arg)
{
    struct watchdog *w = &life.w;

    (void)arg;
    switch (life.stage) {
    case STAGE_SERVING:
        journal("SIGTERM: no new connections in %lld ms",
                (long long)w->config.healthcheck_interval_ms);
        refuse_health(w);
        enter_stage(STAGE_UNHEALTHY, w->config.healthcheck_interval_ms);
        if (w->config.term_child_first && w->upstream)
            upstream_signal(w->upstream, SIGTERM);
        return;
    case STAGE_UNHEALTHY:
        journal("draining %u running requests, at most %lld ms", w->in_flight,
                (long long)w->config.write_timeout_ms);
        enter_stage(STAGE_DRAINING, w->config.write_timeout_ms);
        server_drain(w->server, false, on_drained, NULL);
        return;
    case STAGE_DRAINING:
        end_child();
        return;
    case STAGE_ENDING_CHILD:
        upstream_signal(w->upstream, SIGKILL);
        loop_stop(w->loop);
        return;
    }
}

void watchdog_upstream_ended(struct watchdog *w, int status)
{
    char text[CHILD_STATUS_MAX];

    journal_take_rest();
    child_status_text(status, text);
    if (!w->is_ending) { /* also with status 0: without it there is no function */
        journal("the function's process has ended: %s", text);
        life.exit_code = WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
        refuse_health(w);
        loop_stop(w->loop);
    } else if (life.stage == STAGE_ENDING_CHILD) {
        loop_stop(w->loop);
    }
}

/* ---- Signals ---- */

static void on_signal(void *arg)
{
    struct signalfd_siginfo info;

    (void)arg;
    while (read(life.signal_fd, &info, sizeof(info)) == sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGCHLD:
            child_reap();
            break;
        case SIGTERM:
        case SIGINT:
            next_stage(NULL);
            break;
        default: /* meant for the function */
            if (life.w.upstream)
                upstream_signal(life.w.upstream, (int)info.ssi_signo);
            break;
        }
    }
}

static int watch_signals(struct loop *loop)
{
    static const int signals[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    life.signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (life.signal_fd < 0)
        return -errno;
    loop_watch(loop, life.signal_fd, on_signal, NULL);
    return 0;
}

/* ---- Start ---- */

/* 0, 1 and 2 are for the function and the log: never for a socket. */
static void fill_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static int start(struct watchdog *w, int fd, struct err *err)
{
    w->loop = loop_new("watchdog");
    if (!w->loop || watch_signals(w->loop) < 0)
        return err_set(err, -ENOMEM, "no memory or descriptors to start with");
    timer_init(&life.timer, w->loop, next_stage, NULL);
    if (fd < 0)
        fd = listen_on_port(w->config.port, err);
    if (fd < 0)
        return fd;
    w->server = serve(w, fd, request_handle);
    if (!w->server)
        return err_set(err, -ENOMEM, "no memory to serve");
    serve_metrics(w);
    if (w->config.mode != MODE_HTTP) {
        watchdog_accept(w);
        return 0;
    }
    w->upstream = upstream_start(w, err);
    return w->upstream ? 0 : err->code;
}

static int run(void)
{
    struct watchdog *w = &life.w;
    struct err err = {0};
    int fd = inherited_socket();

    fill_standard_descriptors();
    child_raise_own_limit();
    if (config_read(&w->config, &err) < 0 || start(w, fd, &err) < 0) {
        journal("%s", err.text);
        return 1;
    }
    loop_run(w->loop);
    refuse_health(w);
    server_free(w->server);
    server_free(w->metrics_server);
    upstream_free(w->upstream);
    journal_take_rest();
    return life.exit_code;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i][0] == '-' && argv[i][1] == '-' ? argv[i] + 1 : argv[i];

        if (strcmp(option, "-version") == 0) {
            printf("fwatchdog %s\n", WATCHDOG_VERSION);
            return 0;
        }
        if (strcmp(option, "-run-healthcheck") == 0)
            return run_healthcheck();
        fprintf(stderr, "usage: fwatchdog [-version | -run-healthcheck]\n"
                        "Everything else is set by environment variables: fprocess, mode, ...\n");
        return 2;
    }
    return run();
}

/* fngate-supervisor RUN_FOLDER: start, loop and end. The caller is told by the exit status of the
 * first process whether the supervisor, by then in the background, serves its socket. */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    LOCK_WAIT_MS = 5000,
    LOCK_STEP_MS = 5,
    IDLE_EXIT_MS = 10000, /* nothing to keep and nobody who asks */
    PARTIAL_MS = 1000,
    LOG_MAX = 1 << 20
};

void supervisor_log(const char *format, ...)
{
    char stamp[32];
    time_t now = time(NULL);
    struct tm tm;
    va_list args;

    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    fprintf(stderr, "%s fngate-supervisor[%d]: ", stamp, (int)getpid());
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

int supervisor_watch(struct supervisor *sup, int fd, uint32_t events, struct source *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    return epoll_ctl(sup->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void supervisor_close(struct supervisor *sup, int *fd)
{
    if (*fd < 0)
        return;
    epoll_ctl(sup->epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
    close(*fd);
    *fd = -1;
}

/* The group dies with its leader, and before the leader is reaped, so that its number still is its
 * own. Orphans that were handed to us are reaped too. */
static void reap(struct supervisor *sup)
{
    for (;;) {
        siginfo_t info = {0};
        struct replica *r;
        int status;

        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
            return;
        r = replica_find_pid(sup, info.si_pid);
        if (r)
            kill(-r->pid, SIGKILL);
        if (waitpid(info.si_pid, &status, 0) == info.si_pid && r)
            replica_ended(r, status);
    }
}

static void stop_all(struct supervisor *sup)
{
    supervisor_log("asked to stop: %zu replicas are stopped", sup->count);
    sup->is_stopping = true;
    protocol_close(sup);
    for (size_t i = sup->count; i > 0; i--)
        replica_stop(sup->replicas[i - 1], wire_int(sup->replicas[i - 1]->plan, "grace_ms"));
}

static void on_signal(struct source *source)
{
    struct supervisor *sup = CONTAINER_OF(source, struct supervisor, signal_source);
    struct signalfd_siginfo info;

    while (read(sup->signal_fd, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo != SIGCHLD && !sup->is_stopping)
            stop_all(sup);
    reap(sup);
}

static int watch_signals(struct supervisor *sup)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    sup->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (sup->signal_fd < 0)
        return -errno;
    sup->signal_source.on_ready = on_signal;
    return supervisor_watch(sup, sup->signal_fd, EPOLLIN, &sup->signal_source);
}

static bool is_idle(const struct supervisor *sup)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (sup->clients[i])
            return false;
    return sup->count == 0;
}

static int64_t earlier(int64_t a_ms, int64_t b_ms)
{
    return b_ms != 0 && b_ms < a_ms ? b_ms : a_ms;
}

/* Does what is due and returns how long nothing will be, in milliseconds; -1: for ever. */
static int run_timers(struct supervisor *sup)
{
    int64_t now_ms = monotonic_ms(), next_ms = INT64_MAX;

    for (size_t i = sup->count; i > 0; i--) {
        struct replica *r = sup->replicas[i - 1];

        if (r->due_ms != 0 && r->due_ms <= now_ms && (r->state != REPLICA_STOPPING || r->pid > 0))
            replica_on_due(r);
        else if (r->due_ms != 0 && r->due_ms <= now_ms)
            replica_ended(r, -1);
    }
    if (sup->sweep_due_ms != 0 && sup->sweep_due_ms <= now_ms) {
        sup->sweep_due_ms = 0;
        adopt_sweep(sup);
    }
    for (size_t i = 0; i < sup->count; i++) {
        struct replica *r = sup->replicas[i];

        next_ms = earlier(next_ms, r->due_ms);
        if (r->log.has_partial) {
            logfile_pump(&r->log, false);
            next_ms = earlier(next_ms, now_ms + PARTIAL_MS);
        }
    }
    next_ms = earlier(next_ms, sup->sweep_due_ms);
    if (is_idle(sup))
        next_ms = earlier(next_ms, sup->idle_since_ms + IDLE_EXIT_MS);
    if (next_ms == INT64_MAX)
        return -1;
    return next_ms <= now_ms ? 0 : (int)(next_ms - now_ms);
}

static bool should_end(const struct supervisor *sup)
{
    if (sup->is_leaving)
        return true;
    if (sup->is_stopping)
        return sup->count == 0 && sup->sweep_due_ms == 0;
    return is_idle(sup) && monotonic_ms() - sup->idle_since_ms >= IDLE_EXIT_MS;
}

/* One event per turn: a call-back may free other sources, of which later events would speak. */
static void loop(struct supervisor *sup)
{
    for (;;) {
        int wait_ms = run_timers(sup);
        struct epoll_event event;

        if (should_end(sup))
            return;
        if (epoll_wait(sup->epoll_fd, &event, 1, wait_ms) == 1)
            ((struct source *)event.data.ptr)->on_ready(event.data.ptr);
        protocol_reap(sup);
    }
}

/* The former owner may still be dying, and its last children hold the lock until they exec. */
static int take_lock(struct supervisor *sup)
{
    AUTO_FREE char *path = text_format("%s/" WIRE_LOCK_NAME, sup->run_dir);
    int64_t end_ms = monotonic_ms() + LOCK_WAIT_MS;

    sup->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (sup->lock_fd < 0)
        return -errno;
    while (flock(sup->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || monotonic_ms() >= end_ms)
            return -errno;
        nanosleep(&(struct timespec){.tv_nsec = LOCK_STEP_MS * 1000000L}, NULL);
    }
    /* for operators: whom to end, with SIGTERM, when the functions shall end as well */
    if (ftruncate(sup->lock_fd, 0) < 0 || dprintf(sup->lock_fd, "%d\n", (int)getpid()) < 0)
        return -errno;
    return 0;
}

static int set_up(struct supervisor *sup)
{
    bool is_same_boot;
    int r;

    sup->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (sup->epoll_fd < 0)
        return -errno;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    cgroups_probe(&sup->groups);
    sup->can_mount = spawn_can_mount();
    r = watch_signals(sup);
    if (r == 0)
        r = journal_open(sup, &is_same_boot);
    if (r < 0)
        return r;
    adopt_all(sup, is_same_boot);
    sup->idle_since_ms = monotonic_ms();
    return protocol_listen(sup);
}

/* Continues in a child; the parent waits for its word and passes it on as exit status. */
static int go_background(void)
{
    unsigned char code = WIRE_EXIT_FAILED;
    int ready[2];
    pid_t pid;

    if (pipe2(ready, O_CLOEXEC) < 0 || (pid = fork()) < 0)
        return -1;
    if (pid == 0) {
        close(ready[0]);
        setsid();
        return ready[1];
    }
    close(ready[1]);
    if (read(ready[0], &code, 1) != 1)
        code = WIRE_EXIT_FAILED;
    _exit(code);
}

static void say(int ready_fd, unsigned char code)
{
    if (write(ready_fd, &code, 1) != 1)
        supervisor_log("nobody waited for the start");
    close(ready_fd);
}

static void redirect_output(const char *run_dir)
{
    AUTO_FREE char *path = text_format("%s/" WIRE_LOG_NAME, run_dir);
    int null_fd = open("/dev/null", O_RDONLY);
    int log_fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    struct stat st;

    if (null_fd < 0 || log_fd < 0)
        exit(WIRE_EXIT_FAILED);
    if (fstat(log_fd, &st) == 0 && st.st_size > LOG_MAX && ftruncate(log_fd, 0) < 0)
        exit(WIRE_EXIT_FAILED);
    dup2(null_fd, 0);
    dup2(log_fd, 1);
    dup2(log_fd, 2);
    if (null_fd > 2)
        close(null_fd);
    if (log_fd > 2)
        close(log_fd);
}

static void dispose(struct supervisor *sup)
{
    protocol_close(sup);
    for (size_t i = 0; i < sup->count; i++)
        replica_free(sup->replicas[i]);
    free(sup->replicas);
    free(sup->groups.memory);
    free(sup->groups.cpu);
}

int main(int argc, char **argv)
{
    struct supervisor sup = {.socket_fd = -1, .journal_fd = -1};
    int ready_fd, r;

    if (argc != 2 || argv[1][0] != '/') {
        fprintf(stderr, "usage: fngate-supervisor RUN_FOLDER\n"
                        "Keeps the processes of the process provider; the gateway starts it.\n");
        return WIRE_EXIT_USAGE;
    }
    sup.run_dir = argv[1];
    redirect_output(sup.run_dir);
    ready_fd = go_background();
    if (ready_fd < 0 || chdir("/") < 0)
        return WIRE_EXIT_FAILED;
    r = take_lock(&sup);
    if (r < 0) {
        say(ready_fd, r == -EWOULDBLOCK ? WIRE_EXIT_LOCKED : WIRE_EXIT_FAILED);
        return WIRE_EXIT_LOCKED;
    }
    r = set_up(&sup);
    if (r < 0) {
        supervisor_log("cannot start: %s", strerror(-r));
        say(ready_fd, WIRE_EXIT_FAILED);
        return WIRE_EXIT_FAILED;
    }
    say(ready_fd, 0);
    loop(&sup);
    dispose(&sup);
    return 0;
}

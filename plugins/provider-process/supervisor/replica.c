/* Life of one replica: start, restart with back-off, stop, and what others may know of it. */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BACK_OFF_MIN_MS = 100,
    BACK_OFF_MAX_MS = 30000,
    HEALTHY_MS = 10000, /* who ran that long starts with a clean slate */
    CRASH_LOOP_AFTER = 5,
    BACKLOG = 4096,
    SWEEP_DELAY_MS = 100,
    FDS_ABOVE = 10
};

static const char *const state_names[] = {[REPLICA_RUNNING] = WIRE_RUNNING,
                                          [REPLICA_BACK_OFF] = WIRE_BACK_OFF,
                                          [REPLICA_CRASH_LOOP] = WIRE_CRASH_LOOP,
                                          [REPLICA_STOPPING] = WIRE_STOPPING};

const char *replica_state_name(enum replica_state state)
{
    return state_names[state];
}

struct replica *replica_find(struct supervisor *sup, uint64_t id)
{
    for (size_t i = 0; i < sup->count; i++)
        if (sup->replicas[i]->id == id)
            return sup->replicas[i];
    return NULL;
}

struct replica *replica_find_pid(struct supervisor *sup, pid_t pid)
{
    for (size_t i = 0; i < sup->count; i++)
        if (sup->replicas[i]->pid == pid)
            return sup->replicas[i];
    return NULL;
}

static int listen_at(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    AUTO_CLOSE int fd = -1;
    int high;

    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    unlink(path);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(path, 0600) < 0 ||
        listen(fd, BACKLOG) < 0)
        return -errno;
    high = fcntl(fd, F_DUPFD_CLOEXEC, FDS_ABOVE);
    return high < 0 ? -errno : high;
}

/* Requests that wait for a function which does not come up get an answer: a closed connection. */
static void drop_backlog(const struct replica *r)
{
    struct pollfd waiting = {.fd = r->listen_fd, .events = POLLIN};

    for (int i = 0; i < BACKLOG && poll(&waiting, 1, 0) > 0; i++) {
        int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            return;
        close(fd);
    }
}

static void on_log(struct source *source)
{
    struct replica *r = CONTAINER_OF(source, struct replica, log_source);

    logfile_pump(&r->log, r->pid == 0);
}

static struct replica *replica_new(struct supervisor *sup, uint64_t id, json_t *plan)
{
    struct replica *r = zalloc(sizeof(*r));

    r->id = id;
    r->sup = sup;
    r->plan = json_incref(plan);
    r->pidfd = r->listen_fd = -1;
    r->log.fd = r->log.fifo = -1;
    r->log_source.on_ready = on_log;
    r->socket = text_format("%s/r%llu.sock", sup->run_dir, (unsigned long long)id);
    return r;
}

void replica_free(struct replica *r)
{
    if (!r)
        return;
    supervisor_close(r->sup, &r->log.fifo);
    logfile_close(&r->log, false);
    supervisor_close(r->sup, &r->pidfd);
    if (r->listen_fd >= 0)
        close(r->listen_fd);
    json_decref(r->plan);
    free(r->socket);
    free(r->exit_text);
    free(r->warning);
    free(r);
}

static int open_log(struct replica *r)
{
    AUTO_FREE char *fifo = text_format("%s/r%llu.out", r->sup->run_dir, (unsigned long long)r->id);
    int result = logfile_open(&r->log, wire_text(r->plan, "log"), fifo,
                              (uint64_t)wire_int(r->plan, "log_max"),
                              (unsigned)wire_int(r->plan, "log_files"));

    if (result < 0)
        return result;
    return supervisor_watch(r->sup, r->log.fifo, EPOLLIN | EPOLLET, &r->log_source);
}

static void tell(struct replica *r)
{
    protocol_tell(r->sup, "replica", json_pack("{s:o}", "replica", replica_status(r)));
}

static void begin_back_off(struct replica *r)
{
    int64_t delay_ms;
    unsigned doublings;

    if (r->started_ms && monotonic_ms() - r->started_ms >= HEALTHY_MS)
        r->failures = 0;
    doublings = r->failures < 9 ? r->failures : 9;
    delay_ms = (int64_t)BACK_OFF_MIN_MS << doublings;
    if (delay_ms > BACK_OFF_MAX_MS)
        delay_ms = BACK_OFF_MAX_MS;
    r->failures++;
    r->state = r->failures >= CRASH_LOOP_AFTER ? REPLICA_CRASH_LOOP : REPLICA_BACK_OFF;
    r->due_ms = monotonic_ms() + delay_ms;
    r->is_ready = false;
    if (r->state == REPLICA_CRASH_LOOP)
        drop_backlog(r);
}

/* One attempt to run it; failing to is treated as a process that ended at once. */
static void run(struct replica *r)
{
    r->due_ms = 0;
    r->started_ms = 0;
    if (r->listen_fd < 0)
        r->listen_fd = listen_at(r->socket);
    if (r->listen_fd >= 0 && spawn(r) == 0) {
        r->state = REPLICA_RUNNING;
        return;
    }
    if (r->listen_fd < 0) {
        free(r->exit_text);
        r->exit_text = text_format("cannot listen at %s: %s", r->socket, strerror(-r->listen_fd));
    }
    logfile_note(&r->log, r->exit_text);
    begin_back_off(r);
}

struct replica *replica_start(struct supervisor *sup, json_t *plan, char **ret_error)
{
    struct replica *r = replica_new(sup, sup->next_id, plan);
    int result = open_log(r);

    if (result == 0 && (r->listen_fd = listen_at(r->socket)) < 0)
        result = r->listen_fd;
    if (result < 0) {
        *ret_error =
            text_format("replica %s cannot be set up (%s, %s): %s", wire_text(plan, "name"),
                        r->socket, wire_text(plan, "log"), strerror(-result));
        replica_free(r);
        return NULL;
    }
    sup->next_id++;
    if (sup->count == sup->cap) {
        sup->cap = sup->cap ? sup->cap * 2 : 16;
        sup->replicas = resize(sup->replicas, sup->cap * sizeof(struct replica *));
    }
    sup->replicas[sup->count++] = r;
    journal_add(r);
    run(r);
    journal_update(r);
    return r;
}

struct replica *replica_restore(struct supervisor *sup, const json_t *record)
{
    json_t *plan = json_object_get(record, "plan");
    struct replica *r;

    if (!json_is_object(plan))
        return NULL;
    r = replica_new(sup, (uint64_t)wire_int(record, "id"), plan);
    r->pid = (pid_t)wire_int(record, "pid");
    r->start_ticks = (uint64_t)wire_int(record, "start");
    r->failures = (unsigned)wire_int(record, "failures");
    r->restarts = (unsigned)wire_int(record, "restarts");
    r->is_ready = json_is_true(json_object_get(record, "ready"));
    if (*wire_text(record, "exit"))
        r->exit_text = text_copy(wire_text(record, "exit"));
    for (size_t i = 0; i < COUNT_OF(state_names); i++)
        if (strcmp(wire_text(record, "state"), state_names[i]) == 0)
            r->state = (enum replica_state)i;
    if (open_log(r) < 0)
        supervisor_log("the log of replica %s cannot be opened", wire_text(plan, "name"));
    return r;
}

static void forget(struct replica *r)
{
    struct supervisor *sup = r->sup;
    size_t i = 0;

    while (sup->replicas[i] != r)
        i++;
    sup->replicas[i] = sup->replicas[--sup->count];
    logfile_pump(&r->log, true);
    unlink(r->socket);
    journal_remove(r);
    supervisor_close(sup, &r->log.fifo);
    logfile_close(&r->log, true);
    protocol_tell(sup, "gone", json_pack("{s:I}", "id", (json_int_t)r->id));
    sup->sweep_due_ms = monotonic_ms() + SWEEP_DELAY_MS;
    sup->sweep_tries = 0;
    replica_free(r);
}

void replica_stop(struct replica *r, int64_t grace_ms)
{
    if (r->state == REPLICA_STOPPING)
        return;
    r->state = REPLICA_STOPPING;
    r->is_ready = false;
    if (r->pid == 0) {
        forget(r);
        return;
    }
    kill(-r->pid, grace_ms > 0 ? SIGTERM : SIGKILL);
    r->due_ms = monotonic_ms() + grace_ms;
    journal_update(r);
    tell(r);
}

void replica_mark(struct replica *r, bool is_ready)
{
    if (r->state != REPLICA_RUNNING || r->is_ready == is_ready)
        return;
    r->is_ready = is_ready;
    journal_update(r);
}

static char *describe_end(int status)
{
    if (status == -1)
        return text_copy("ended with an unknown status while another supervisor was in charge");
    if (WIFSIGNALED(status))
        return text_format("killed by signal %d (%s)", WTERMSIG(status),
                           strsignal(WTERMSIG(status)));
    return text_format("exit status %d", WEXITSTATUS(status));
}

void replica_ended(struct replica *r, int status)
{
    r->pid = 0;
    r->start_ticks = 0;
    supervisor_close(r->sup, &r->pidfd);
    logfile_pump(&r->log, true);
    if (r->state == REPLICA_STOPPING) {
        forget(r);
        return;
    }
    free(r->exit_text);
    r->exit_text = describe_end(status);
    begin_back_off(r);
    journal_update(r);
    tell(r);
}

void replica_on_due(struct replica *r)
{
    if (r->state == REPLICA_STOPPING) {
        r->due_ms = monotonic_ms() + BACK_OFF_MAX_MS;
        kill(-r->pid, SIGKILL);
        return;
    }
    adopt_kill_leftovers(r); /* they may hold the port that the new one needs */
    r->restarts++;
    run(r);
    journal_update(r);
    tell(r);
}

json_t *replica_status(const struct replica *r)
{
    json_t *tail = json_array();

    for (size_t i = 0; i < LOG_TAIL_LINES; i++)
        if (r->log.tail[i])
            json_array_append_new(tail, json_string(r->log.tail[i]));
    return json_pack(
        "{s:I,s:s,s:s,s:s,s:I,s:s,s:i,s:s,s:b,s:i,s:i,s:s,s:s,s:o}", "id", (json_int_t)r->id, "ns",
        wire_text(r->plan, "ns"), "function", wire_text(r->plan, "function"), "name",
        wire_text(r->plan, "name"), "revision", (json_int_t)wire_int(r->plan, "revision"), "state",
        replica_state_name(r->state), "pid", (int)r->pid, "socket", r->socket, "ready",
        (int)r->is_ready, "restarts", (int)r->restarts, "failures", (int)r->failures, "exit",
        r->exit_text ? r->exit_text : "", "warning", r->warning ? r->warning : "", "tail", tail);
}

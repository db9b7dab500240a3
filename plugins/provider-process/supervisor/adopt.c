/* After a supervisor died: which of its processes still run, and are all of them ours to keep?
 *
 * A process is known by number and start time. One that was spawned just before the end, so that
 * its number never reached the journal, is known by the marks in its environment. */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTEN_FD = 3, FDS_ABOVE = 10, SWEEP_TRIES = 20, SWEEP_AGAIN_MS = 50 };

struct marked {
    pid_t pid;
    uint64_t id, start_ticks;
    bool is_leader; /* of its own session, as spawn made it */
};

struct scan {
    const struct supervisor *sup;
    struct marked *items;
    size_t count, cap;
};

static void look_at(void *arg, pid_t pid)
{
    struct scan *scan = arg;
    AUTO_FREE char *state = proc_env(pid, "FNGATE_STATE");
    AUTO_FREE char *id = NULL;
    struct proc_stat stat;

    if (!state || strcmp(state, scan->sup->run_dir) != 0 || pid == getpid())
        return;
    id = proc_env(pid, "FNGATE_REPLICA");
    if (!id || !proc_stat_read(pid, &stat))
        return;
    if (scan->count == scan->cap) {
        scan->cap = scan->cap ? scan->cap * 2 : 64;
        scan->items = resize(scan->items, scan->cap * sizeof(*scan->items));
    }
    scan->items[scan->count++] = (struct marked){.pid = pid,
                                                 .id = strtoull(id, NULL, 10),
                                                 .start_ticks = stat.start_ticks,
                                                 .is_leader = stat.session == pid};
}

static struct scan scan_marked(const struct supervisor *sup)
{
    struct scan scan = {.sup = sup};

    proc_each(look_at, &scan);
    return scan;
}

static void on_adopted_end(struct source *source)
{
    struct replica *r = CONTAINER_OF(source, struct replica, exit_source);

    kill(-r->pid, SIGKILL);
    replica_ended(r, -1);
}

/* The listening socket, from the process that inherited it: a restart then loses no caller. */
static int take_listener(const struct replica *r)
{
    struct sockaddr_un addr = {0};
    socklen_t len = sizeof(addr);
    AUTO_CLOSE int fd = (int)syscall(SYS_pidfd_getfd, r->pidfd, LISTEN_FD, 0);

    if (fd < 0 || getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ||
        strcmp(addr.sun_path, r->socket) != 0)
        return -1;
    return fcntl(fd, F_DUPFD_CLOEXEC, FDS_ABOVE);
}

static bool adopt(struct replica *r)
{
    struct proc_stat stat;

    r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
    /* Looked at after the descriptor exists, so that it cannot be somebody else by now. */
    if (r->pidfd < 0 || !proc_stat_read(r->pid, &stat) || stat.start_ticks != r->start_ticks ||
        stat.state == 'Z')
        return false;
    r->exit_source.on_ready = on_adopted_end;
    if (supervisor_watch(r->sup, r->pidfd, EPOLLIN, &r->exit_source) < 0)
        return false;
    r->listen_fd = take_listener(r);
    r->started_ms = monotonic_ms();
    if (r->state != REPLICA_STOPPING)
        r->state = REPLICA_RUNNING;
    else
        r->due_ms = monotonic_ms() + wire_int(r->plan, "grace_ms");
    return true;
}

/* A leader that carries the replica's mark stands for a number that was not written down. */
static void find_unwritten(struct replica *r, const struct scan *scan)
{
    for (size_t i = 0; i < scan->count; i++) {
        const struct marked *m = &scan->items[i];

        if (m->id == r->id && m->is_leader) {
            r->pid = m->pid;
            r->start_ticks = m->start_ticks;
        }
    }
}

static void kill_marked(const struct replica *r, const struct scan *scan)
{
    for (size_t i = 0; i < scan->count; i++)
        if (scan->items[i].id == r->id)
            kill(scan->items[i].pid, SIGKILL);
}

void adopt_kill_leftovers(const struct replica *r)
{
    struct scan scan = scan_marked(r->sup);

    kill_marked(r, &scan);
    free(scan.items);
}

static void abandon(struct replica *r, const struct scan *scan)
{
    kill_marked(r, scan);
    supervisor_close(r->sup, &r->pidfd);
    r->pid = 0;
    r->start_ticks = 0;
    r->is_ready = false;
    if (r->state == REPLICA_RUNNING) {
        free(r->exit_text);
        r->exit_text = text_copy("ended while no supervisor ran");
        r->state = REPLICA_BACK_OFF;
    }
    r->due_ms = monotonic_ms();
}

static void kill_unknown(struct supervisor *sup, const struct scan *scan)
{
    for (size_t i = 0; i < scan->count; i++) {
        const struct marked *m = &scan->items[i];

        if (replica_find(sup, m->id))
            continue;
        supervisor_log("process %d belongs to replica %llu, which is gone: killed", (int)m->pid,
                       (unsigned long long)m->id);
        kill(m->pid, SIGKILL);
    }
}

void adopt_all(struct supervisor *sup, bool is_same_boot)
{
    struct scan scan = scan_marked(sup);
    size_t adopted = 0;

    for (size_t i = 0; i < sup->count; i++) {
        struct replica *r = sup->replicas[i];

        if (!is_same_boot)
            r->pid = 0;
        if (r->pid == 0)
            find_unwritten(r, &scan);
        if (r->pid > 0 && adopt(r))
            adopted++;
        else
            abandon(r, &scan);
        journal_update(r);
    }
    kill_unknown(sup, &scan);
    free(scan.items);
    sup->sweep_due_ms = monotonic_ms();
    if (sup->count > 0)
        supervisor_log("took over %zu of %zu replicas", adopted, sup->count);
}

void adopt_sweep(struct supervisor *sup)
{
    struct scan scan = scan_marked(sup);

    kill_unknown(sup, &scan);
    free(scan.items);
    if (!cgroups_sweep(sup) && ++sup->sweep_tries < SWEEP_TRIES)
        sup->sweep_due_ms = monotonic_ms() + SWEEP_AGAIN_MS;
}

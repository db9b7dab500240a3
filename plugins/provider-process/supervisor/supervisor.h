/* fngate-supervisor: keeps the replicas of the process provider alive, gateway or no gateway.
 *
 * One thread, one epoll. What it knows of replicas is in the journal before it acts, so that after
 * kill -9 a successor finds the processes, takes them over and goes on reading their output.
 */
#ifndef SUPERVISOR_SUPERVISOR_H
#define SUPERVISOR_SUPERVISOR_H

#include "logfile.h"
#include "util.h"
#include "wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

struct supervisor;

/* What epoll knows of a descriptor. */
struct source {
    void (*on_ready)(struct source *source);
};

enum { CLIENTS_MAX = 8 };

struct client {
    struct source source;
    struct supervisor *sup;
    struct wire wire;
    bool is_welcome; /* hello was said */
    bool is_dead;    /* closed; freed by protocol_reap */
};

/* Where limits can be set: folders in which groups may be made; NULL: not on this host. */
struct cgroups {
    char *memory, *cpu;
    bool is_unified; /* version 2: both are the same folder */
};

enum replica_state { REPLICA_RUNNING, REPLICA_BACK_OFF, REPLICA_CRASH_LOOP, REPLICA_STOPPING };

struct replica {
    uint64_t id;
    struct supervisor *sup;
    json_t *plan; /* as asked for, see wire.h */
    enum replica_state state;
    pid_t pid; /* 0: no process */
    uint64_t start_ticks;
    int pidfd; /* of a process that a former supervisor started; -1 for children */
    struct source exit_source;
    struct source log_source;
    struct logfile log;
    char *socket;
    int listen_fd;
    unsigned failures; /* ends in a row that came early */
    unsigned restarts;
    int64_t started_ms;
    int64_t due_ms; /* when to restart or to kill; 0: nothing is due */
    char *exit_text;
    char *warning;
    bool is_ready;
};

struct supervisor {
    char *run_dir;
    int epoll_fd, lock_fd, socket_fd, signal_fd, journal_fd;
    struct source socket_source, signal_source;
    size_t journal_size;
    uint64_t next_id;
    struct replica **replicas;
    size_t count, cap;
    struct client *clients[CLIENTS_MAX];
    struct client *owner; /* gets the events; the last that said hello */
    struct cgroups groups;
    bool can_mount;
    bool is_stopping;     /* asked to end with all replicas */
    bool is_leaving;      /* asked to end without them */
    int64_t sweep_due_ms; /* when to look for processes that nobody owns; 0: not at all */
    unsigned sweep_tries;
    int64_t idle_since_ms;
};

/* main.c */
void supervisor_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
int supervisor_watch(struct supervisor *sup, int fd, uint32_t events, struct source *source);
/* Takes a descriptor out and closes it. Closing alone is not enough: a child between vfork and the
 * end of its exec has a copy, and until it is gone epoll goes on reporting to a source that may be
 * freed. */
void supervisor_close(struct supervisor *sup, int *fd);

/* replica.c: life of one replica. */
struct replica *replica_find(struct supervisor *sup, uint64_t id);
struct replica *replica_find_pid(struct supervisor *sup, pid_t pid);
const char *replica_state_name(enum replica_state state);
/* Takes `plan` over, journals it and starts it. NULL with the reason in *ret_error, to be freed. */
struct replica *replica_start(struct supervisor *sup, json_t *plan, char **ret_error);
/* A replica as the journal remembers it; opened, not yet in the table. NULL when hopeless. */
struct replica *replica_restore(struct supervisor *sup, const json_t *record);
void replica_stop(struct replica *replica, int64_t grace_ms);
void replica_mark(struct replica *replica, bool is_ready);
/* Its process has ended; `status` as of waitpid, -1 when unknown. Its group is killed already. */
void replica_ended(struct replica *replica, int status);
void replica_on_due(struct replica *replica);
json_t *replica_status(const struct replica *replica);
void replica_free(struct replica *replica);

/* spawn.c: runs the replica's command. 0, or negative errno with a text in replica->exit_text. */
int spawn(struct replica *replica);
/* True when private mounts can be made here. */
bool spawn_can_mount(void);

/* adopt.c: processes of a former supervisor. */
/* Takes over what the journal remembers and still runs; kills marked processes that nobody owns. */
void adopt_all(struct supervisor *sup, bool is_same_boot);
/* Ends what a replica's former process has left running in groups of its own. */
void adopt_kill_leftovers(const struct replica *r);
/* Kills marked processes of this run folder whose replica is unknown, and removes their control
 * groups; tries again a little later while these are in use. */
void adopt_sweep(struct supervisor *sup);

/* journal.c */
/* Reads the journal into the table and rewrites it; *ret_same_boot says whether process numbers in
 * it mean anything. 0 or negative errno. */
int journal_open(struct supervisor *sup, bool *ret_same_boot);
/* All of it, plan included; before a replica is spawned for the first time. */
void journal_add(struct replica *replica);
/* What changes: process, state, counts. */
void journal_update(struct replica *replica);
void journal_remove(struct replica *replica);
/* Reads boot_id; the journal's first line carries it. To be freed. */
char *journal_boot_id(void);

/* protocol.c */
int protocol_listen(struct supervisor *sup);
void protocol_tell(struct supervisor *sup, const char *event, json_t *body);
/* Frees clients that were dropped: between events, when nobody holds them. */
void protocol_reap(struct supervisor *sup);
void protocol_close(struct supervisor *sup);

/* cgroup.c */
void cgroups_probe(struct cgroups *groups);
/* Makes the group of a replica that has limits. fds[i] get up to two cgroup.procs descriptors (-1:
 * none) to which the child writes "0". Returns a warning to be freed, or NULL. */
char *cgroup_make(const struct cgroups *groups, const struct replica *replica, int fds[2]);
/* Removes groups whose replica is gone; false when some are still in use by dying processes. */
bool cgroups_sweep(struct supervisor *sup);

#endif

/* The process provider, inside: what the files of the plugin share.
 *
 * Operations change the table of functions and wake the watch thread; that thread alone talks to
 * the supervisor, reconciles, and pushes to the host. `lock` guards the table and is held for short
 * spells; `write_lock` puts the writes to the store in order and is taken first. */
#ifndef PROCESS_PROCESS_H
#define PROCESS_PROCESS_H

#include <fngate/provider.h>

#include "util.h"
#include "wire.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum replica_state { REPLICA_RUNNING, REPLICA_BACK_OFF, REPLICA_CRASH_LOOP, REPLICA_STOPPING };

/* A question whether a replica answers HTTP, asked without waiting. */
struct probe {
    int fd; /* -1: not under way */
    int64_t next_ms, end_ms;
    unsigned tries;
    char reply[32];
    size_t reply_len;
};

struct replica {
    struct replica *next;
    uint64_t id, revision;
    char *name, *socket, *exit_text, *tail, *warning;
    pid_t pid;
    enum replica_state state;
    unsigned restarts;
    bool needs_probe; /* until then it is not ready */
    bool is_ready;
    bool is_offered; /* it was pushed as ready: requests may be on it */
    bool is_draining, is_released;
    bool is_hidden; /* it has left the set that the host knows, and never comes back */
    bool is_late;   /* not ready within the time that it has */
    bool is_listed;
    int64_t started_ms, drain_end_ms;
    struct probe probe;
};

struct function {
    struct function *next;
    char *ns, *name;
    json_t *spec; /* the template, see spec.c; replaced, never changed */
    uint64_t generation;
    uint64_t revision; /* generation of the deploy or update that made `spec` */
    uint32_t wanted;   /* replicas */
    struct replica *replicas;
    bool is_removed, is_removal_pushed;
    bool is_dirty;            /* reconcile it */
    bool is_new;              /* the host has not seen this spec or number */
    bool is_stale;            /* its reason may have changed */
    bool is_moved;            /* its endpoints must be pushed */
    uint64_t failed_revision; /* this one did not come up; the former stays */
    int64_t rollout_end_ms, retry_ms;
    char *rollout_error, *start_error, *pushed_reason;
    json_t *warnings;
    bool is_direct, needs_probe; /* as the last plan said */
    char *ready_path;
    uint64_t cpu_ticks; /* of the last usage call */
    int64_t cpu_at_ms;
};

struct provider {
    const struct fng_host *host;

    struct fng_str functions_root, supervisor, watchdog, run_dir, user, secrets_mount;
    int32_t is_strict;
    int64_t drain_timeout_ms, ready_timeout_ms, stop_grace_ms;
    int64_t log_files, replicas_max, nofile;
    uint64_t log_max_bytes;

    char *state_path, *run_path, *root_path, *supervisor_path, *watchdog_path;
    int64_t uid, gid; /* -1: as the gateway */

    pthread_mutex_t write_lock, lock;
    struct function *functions;
    int wake_fd;

    struct wire link; /* of the watch thread; fd -1: not connected */
    int64_t link_seq;
    json_t *link_events;      /* came while a reply was waited for */
    _Atomic bool is_replaced; /* another gateway owns the replicas now: hands off */
    atomic_bool can_memory, can_cpu, can_mount; /* as the supervisor says; read by all threads */
};

/* functions.c: the table, and the operations on it. */
struct function *function_find(struct provider *p, struct fng_str ns, struct fng_str name);
struct function *function_find_text(struct provider *p, const char *ns, const char *name);
struct function *function_add(struct provider *p, const char *ns, const char *name);
void function_delete(struct provider *p, struct function *fn);
struct replica *function_replica(struct function *fn, uint64_t id);
void function_drop_replica(struct function *fn, uint64_t id);
int functions_load(struct provider *p);
void functions_free(struct provider *p);
void provider_wake(struct provider *p);
int32_t op_deploy(void *self, const struct fng_function *function);
int32_t op_update(void *self, const struct fng_function *function);
int32_t op_remove(void *self, struct fng_str ns, struct fng_str name, uint64_t generation);
int32_t op_scale(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                 uint64_t generation);
int32_t op_activate(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                    uint64_t generation);
void op_endpoint_released(void *self, uint64_t id, uint64_t generation);

/* spec.c: functions as JSON. */
json_t *spec_make(const struct fng_function *function);
const char *spec_map(const json_t *spec, const char *map, const char *key); /* NULL: not there */
bool name_is_label(struct fng_str name);
struct spec_view {
    struct fng_function function;
    void *memory[8];
};
void spec_view(struct spec_view *view, const struct function *fn);
void spec_view_free(struct spec_view *view);

/* image.c: which folder, if any, and what it says of itself. */
struct image {
    char *folder;
    json_t *manifest; /* NULL: none */
    bool has_files;
};
/* 0, or FNG_E_INVALID with a text to be freed. */
int32_t image_resolve(const struct provider *p, const char *image, struct image *ret,
                      char **ret_error);
void image_free(struct image *image);

/* plan.c: from a function to a command with its environment and limits. */
struct plan {
    json_t *body; /* as wire.h wants it */
    bool is_direct;
    bool needs_probe;
    char *ready_path;
};
int32_t plan_make(struct provider *p, const struct function *fn, const char *replica,
                  struct plan *ret, const char **ret_field, char **ret_error);
void plan_free(struct plan *plan);
/* What cannot be honoured, as sentences; in strict mode *ret_field names the first such field. */
json_t *plan_warnings(const struct provider *p, const json_t *spec, const char **ret_field);
/* Splits a command line with shell-like quotes; NULL when a quote is left open. */
json_t *command_split(const char *text);

/* quantity.c: Kubernetes quantities: "64Mi", "0.5", "100m", "1e3". */
bool quantity_parse(const char *text, double *ret);

/* link.c */
int link_open(struct provider *p, char **ret_error);
/* Becomes the owner again unless there is one. */
bool link_retake(struct provider *p);
void link_close(struct provider *p);
/* Sends a request (taken over) and waits for its reply. NULL with a text; the link is closed when
 * the supervisor is not there any more. */
json_t *link_call(struct provider *p, json_t *request, char **ret_error);
/* Next event that has come; NULL: none. -EPIPE in *ret_r when the link is lost. */
json_t *link_event(struct provider *p, int *ret_r);

/* reconcile.c */
/* Its replicas leave with it, at once: the host releases them as soon as the removal returns, and a
 * function that takes the name meanwhile must not find them. Any thread, `lock` held. */
void function_withdraw(struct provider *p, struct function *fn);
void reconcile(struct provider *p, struct function *fn, int64_t now_ms);
/* A status from the supervisor; an unknown replica is added. */
void reconcile_status(struct provider *p, const json_t *status);
void reconcile_gone(struct provider *p, uint64_t id);
/* The list of a supervisor that was just found: what is not in it is gone. */
void reconcile_list(struct provider *p, const json_t *list);
/* Does what is due; *next_ms gets the time of the next, when that is earlier. */
void reconcile_timers(struct provider *p, int64_t now_ms, int64_t *next_ms);
char *reconcile_reason(const struct provider *p, const struct function *fn, int64_t now_ms);

/* probe.c */
/* probe_turn goes on with the question; true once the replica is ready. A lenient one takes every
 * answer below 500. */
void probe_start(struct probe *probe, int64_t now_ms);
bool probe_turn(struct probe *probe, const char *socket, const char *path, bool is_lenient,
                int64_t now_ms);
void probe_cancel(struct probe *probe);

/* watch.c, push.c */
int32_t op_watch(void *self);
void push_function(struct provider *p, struct function *fn, int64_t now_ms);
void push_endpoints(struct provider *p, struct function *fn);
void push_all(struct provider *p, int64_t now_ms);
bool function_has_former(const struct function *fn);

/* logs.c, secrets.c, usage.c */
int32_t op_logs(void *self, const struct fng_log_query *query, fng_log_line_f *on_line, void *arg);
char *log_folder(const struct provider *p, const char *ns, const char *name);
int32_t op_secret_list(void *self, struct fng_str ns, fng_name_f *on_name, void *arg);
int32_t op_secret_set(void *self, struct fng_str ns, struct fng_str name, struct fng_str value,
                      uint32_t mode);
int32_t op_secret_remove(void *self, struct fng_str ns, struct fng_str name);
bool secret_exists(const struct provider *p, const char *ns, const char *name);
char *secrets_folder(const struct provider *p, const struct function *fn, uint64_t revision);
/* Puts copies of a revision's secrets into its folder. 0 or negative errno. */
int secrets_prepare(const struct provider *p, const struct function *fn);
int32_t op_usage(void *self, struct fng_str ns, struct fng_str name, struct fng_usage *ret);

#endif

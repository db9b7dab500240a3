/* What the files of this folder share: the objects behind plugin.h.
 *
 *   loader.c    opens and checks a .so           inbox.c   brings events to the control loop
 *   instance.c  the life of an instance          job.c     a call on its way through a lane
 *   host.c      services for plugins             call.c    the operations: the way into foreign
 * code kv.c        their keys in the store          context.c the call that a thread is in
 *
 * Who frees what: the control loop owns instances and, but for the time a lane thread runs it, each
 * job. A job owns all that its operation may touch. When the control loop is gone a returning
 * thread frees its job itself; plugins and instances with such threads are never freed.
 */
#ifndef PLUGIN_INTERNAL_H
#define PLUGIN_INTERNAL_H

#include "base/assert.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "loop/lane.h"
#include "plugin/plugin.h"

#include <pthread.h>
#include <stdatomic.h>

enum { NAME_MAX_LEN = 64, FIELD_MAX = 128, TEXT_MAX = 1024, FIGURES_MAX = 32 };

/* ---- A loaded .so ---- */
struct plugin {
    struct list node; /* in the loader's list */
    char *path;
    uint64_t device, inode;
    struct fng_plugin descriptor; /* our copy: what the plugin does not know is zero */
    union {
        struct fng_provider_ops provider;
        struct fng_store_ops store;
    } ops; /* likewise */
    struct conf_key *keys;
    size_t keys_count;
};

/* Name of each operation of a kind and whether the plugin has it, for messages and listings. */
struct operation_info {
    const char *name;
    size_t offset;
    bool is_required;
};
const struct operation_info *plugin_operations(uint32_t kind, size_t *ret_count);
bool plugin_has(const struct plugin *plugin, const struct operation_info *operation);
/* [a-z][a-z0-9-]*, at most NAME_MAX_LEN bytes. */
bool plugin_name_is_valid(struct str name);

/* ---- Events: from any thread to the control loop, in order ---- */
struct event {
    struct list node;
    void (*run)(struct event *event);  /* on the control loop */
    void (*drop)(struct event *event); /* instead, when the control loop is gone */
};

/* The message that the loop may still hold when plugins are gone already. */
struct wake {
    struct loop_msg msg;
    struct plugins *plugins; /* NULL: gone */
    bool is_posted, is_running;
};

struct plugins {
    struct plugins_config config;
    struct list instances;
    uint32_t next_index;
    struct list due; /* events taken out of the inbox */
    struct wake *wake;

    pthread_mutex_t lock; /* for what follows; never held while foreign code runs */
    struct list inbox;
    bool is_gone; /* the control loop takes no more events */
};

void inbox_init(struct plugins *plugins);
/* False, and nothing happens, when the control loop is gone. Any thread. */
bool inbox_post(struct plugins *plugins, struct event *event);
/* Drops what waits and takes no more. */
void inbox_close(struct plugins *plugins);

/* A question from a plugin's thread that the control loop answers. Lives on the asking thread's
 * stack: it is run or dropped, and so answered, exactly once. */
struct ask {
    struct event event;
    struct instance *instance;
    void (*question)(struct ask *ask); /* control loop; ends in ask_answer, now or later */
    int32_t result;
    bool is_answered;
    pthread_cond_t answered; /* with plugins->lock */
};
/* Asks and waits. FNG_E_CANCELLED when the control loop is gone, or before start or after stop. */
int32_t ask_control(struct instance *instance, struct ask *ask, void (*question)(struct ask *ask));
void ask_answer(struct ask *ask, int32_t result);

/* ---- The call that a thread is in (context.c) ---- */
struct call {
    struct instance *instance;
    const char *operation;
    int64_t deadline_at_ms; /* monotonic; 0: none */
    atomic_bool is_cancelled;
    atomic_int cancel_fd; /* -1 until somebody asks for it */
    /* What fail recorded. Of the calling thread until it returns. */
    int32_t error;
    uint32_t retry_after_ms;
    char field[FIELD_MAX], text[TEXT_MAX];
    size_t field_len, text_len;
};

void call_init(struct call *call, struct instance *instance, const char *operation);
void call_close(struct call *call);
/* Any thread. */
void plugin_call_cancel(struct call *call);
/* The call that this thread is in on behalf of `instance`, or NULL. */
struct call *call_current(const struct instance *instance);
void call_set_current(struct call *call);
/* The thread that is in the call: a descriptor that turns readable with the cancellation, -1 when
 * there is none; what is left of the deadline, negative without one. */
int call_fd(struct call *call);
int64_t call_left_ms(const struct call *call);
bool call_is_cancelled(const struct call *call);
void call_record(struct call *call, int32_t error, struct str field, struct str text,
                 uint32_t retry_after_ms);

/* ---- Jobs ---- */
/* start, drain and stop have threads of their own, so that no number of hung calls keeps an
 * instance from being told to stop. */
enum job_class { JOB_CONTROL, JOB_URGENT, JOB_READ, JOB_STREAM, JOB_LIFE, JOB_CLASSES };

struct plugin_ticket {
    char unused;
};

struct job {
    struct lane_job lane_job;
    struct event event; /* the thread is done with it */
    struct list node;   /* instance->jobs */
    struct timer overrun;
    struct plugin_ticket ticket;
    struct instance *instance;
    enum job_class class;
    int64_t submitted_ms, ran_ms;
    struct call call;
    int32_t returned;
    bool is_answered;
    int32_t give_up_error; /* what an overrun is called */

    struct pool pool; /* arguments, and what the operation gave */
    /* On a lane thread: calls the operation. */
    int32_t (*run)(struct job *job);
    /* On the control loop, once. Reads `out` only when result->error is FNG_OK. NULL: nobody
     * wants to know. */
    void (*answer)(struct job *job, const struct plugin_result *result);
    union {
        plugin_done_f *plain;
        names_done_f *names;
        usage_done_f *usage;
        value_done_f *value;
        entries_done_f *entries;
    } done;
    void *arg;

    union {
        struct {
            struct fng_str ns, name, value;
            uint32_t number; /* replicas, mode */
            uint64_t generation;
        } fn;
        struct fn_spec *spec;
        struct {
            struct fng_log_query query;
            fng_log_line_f *on_line;
            void *line_arg;
        } logs;
        struct {
            struct fng_str key, value;
            uint64_t expected;
        } kv;
        struct {
            uint64_t id, generation;
        } endpoint;
    } in;
    bool owns_spec;
    /* A log line is being taken by the core right now; once is_deaf is set none will be. */
    pthread_mutex_t line_lock;
    bool is_deaf;

    union {
        struct {
            struct str *items;
            size_t count, cap;
        } names;
        struct fng_usage usage;
        struct {
            struct str bytes;
            uint64_t version;
        } value;
        struct {
            struct store_entry *items;
            size_t count, cap;
        } entries;
    } out;
    bool is_overfull; /* what the operation gave did not fit */
};

struct job *job_new(struct instance *instance, enum job_class class, const char *operation,
                    int32_t (*run)(struct job *job),
                    void (*answer)(struct job *job, const struct plugin_result *result));
/* Hands it to the lane; deadline_ms 0: the class's default, negative: none. */
void job_submit(struct job *job, int64_t deadline_ms);
/* For start, drain and stop: in any state. */
void job_submit_always(struct job *job, int64_t deadline_ms);
/* Answers it with an error, soon, without a lane. */
void job_refuse(struct job *job, int32_t error, uint32_t retry_after_ms, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Cancels; what has not begun is answered FNG_E_CANCELLED soon, what runs when it returns, or after
 * grace_ms (0: as before). */
void job_cancel(struct job *job, int64_t grace_ms);
/* Only what no thread has taken yet; false for the rest. */
bool job_cancel_waiting(struct job *job);
void job_free(struct job *job);
/* Answers a running job now; its thread keeps it. False when the core itself is inside on_line. */
bool job_give_up(struct job *job, int32_t error, const char *why);

/* ---- Instances ---- */
struct figure {
    char name[NAME_MAX_LEN + 1];
    double value;
    bool is_counter;
};

struct released {
    uint64_t id, generation;
};

enum stop_phase { STOP_NOT, STOP_DRAIN, STOP_WAIT, STOP_CALL, STOP_DONE };

struct instance {
    struct list node; /* plugins->instances */
    struct plugins *plugins;
    struct plugin *plugin;
    uint32_t index;
    char *name, *state_dir;
    bool has_given_name; /* a successor is being made, which gets the same name */
    void *self;
    struct fng_host host;
    struct pool pool; /* configured strings */
    struct instance *store;
    void *user;

    enum instance_state state;
    char *why_failed;
    uint32_t health;
    char *health_why;

    struct lane *lanes[JOB_CLASSES];
    struct list jobs;              /* submitted, not returned */
    unsigned running[JOB_CLASSES]; /* submitted, not returned, by class */
    /* endpoint_released that found the lane full: tried again */
    VEC(struct released) postponed;
    struct timer retry;
    struct instance_stats stats;

    atomic_bool is_started; /* start has returned FNG_OK, maybe late: drain and stop are due */
    struct timer watch_again;
    int64_t watch_wait_ms;

    enum stop_phase stop_phase;
    struct timer stop_timer;
    struct event stopped;
    plugin_done_f *start_done, *stop_done;
    void *start_arg, *stop_arg;

    atomic_bool is_open; /* from start to the end of stop; else services say FNG_E_CANCELLED */
    pthread_mutex_t figures_lock;
    struct figure figures[FIGURES_MAX];
    size_t figures_count;
};

/* host.c */
void host_init(struct instance *instance);
/* kv.c: the key/value part of the table. */
void host_init_kv(struct fng_host *host);
struct instance *host_instance(struct fng_instance *handle);

/* call.c: life. load, config_complete and unload on the main thread; their error text is in *call.
 */
int32_t call_load(struct call *call);
int32_t call_config_complete(struct call *call);
void call_unload(struct instance *instance);
int32_t plugin_call_start(struct job *job);
int32_t call_drain(struct job *job);
int32_t call_stop(struct job *job);
int32_t call_watch(struct job *job);
/* The result of a returned operation: one of FNG_*, with a text on error that may stand in `space`.
 */
void call_result(const struct call *call, int32_t returned, char space[TEXT_MAX],
                 struct plugin_result *ret);

/* Most that a write to the store may take: its callers wait for it. */
enum { STORE_WRITE_MS = 10000 };

/* instance.c: says it again when the lane has room. */
void instance_postpone(struct instance *instance, uint64_t endpoint_id, uint64_t generation);
/* A job's thread has returned, or it left the lane. */
void instance_job_gone(struct instance *instance);
void instance_changed(struct instance *instance);
/* Whether operations may be called now; else FNG_E_* and why. */
int32_t instance_is_callable(const struct instance *instance, const char **ret_why);

#endif

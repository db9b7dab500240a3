/* The toy provider: its state, and what its two halves know of each other. */
#ifndef TOY_PROVIDER_H
#define TOY_PROVIDER_H

#include "toy_replica.h"

#include <fngate/provider.h>

#include <pthread.h>

enum { KEY_MAX = 256, NAME_MAX_LEN = 63, REPLICAS_MAX = 16, LINES_MAX = 1024 };

struct toy_function {
    struct toy_function *next;
    char ns[NAME_MAX_LEN + 1], name[NAME_MAX_LEN + 1];
    char *spec; /* as by spec_text, owned */
    uint64_t generation;
    uint32_t replicas; /* desired */
    struct replica *running;
};

struct toy {
    const struct fng_host *host;
    struct fng_str fault;

    pthread_mutex_t lock; /* guards the functions and the order of deltas; taken before log_lock */
    struct toy_function *functions;
    struct replica *draining; /* out of their sets, not released yet */
    uint64_t last_id;
    int has_synced;

    pthread_mutex_t
        log_lock; /* guards the lines: each is the name of the function that was called */
    char lines[LINES_MAX][NAME_MAX_LEN + 1];
    int64_t line_times_ms[LINES_MAX];
    size_t line_count;
};

static inline bool has_fault(const struct toy *toy, const char *name)
{
    return fng_str_eq(toy->fault, fng_str_from(name));
}

/* With toy->lock held. NULL when there is none. */
struct toy_function *toy_find(struct toy *toy, struct fng_str ns, struct fng_str name);
/* For kv_get, when only the result matters. */
void toy_ignore_value(void *arg, struct fng_str value, uint64_t version);

int32_t toy_logs(void *self, const struct fng_log_query *query, fng_log_line_f *on_line, void *arg);
int32_t toy_secret_set(void *self, struct fng_str ns, struct fng_str name, struct fng_str value,
                       uint32_t mode);
int32_t toy_secret_remove(void *self, struct fng_str ns, struct fng_str name);
int32_t toy_secret_list(void *self, struct fng_str ns, fng_name_f *on_name, void *arg);
int32_t toy_namespace_set(void *self, const struct fng_namespace *ns, uint32_t mode);
int32_t toy_namespace_remove(void *self, struct fng_str name);
int32_t toy_namespace_list(void *self, fng_namespace_f *on_namespace, void *arg);

#endif

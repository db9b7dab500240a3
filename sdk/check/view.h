/* What a provider has told: functions and endpoints as the gateway would know them, and each breach
 * of the rules of fngate/host.h and fngate/provider.h. Any thread. */
#ifndef CHECK_VIEW_H
#define CHECK_VIEW_H

#include "util.h"

#include <fngate/provider.h>

struct view_endpoint {
    uint64_t id;
    uint32_t state;
    char *address;
};

struct view_function {
    char *ns, *name, *reason;
    char *spec; /* as by spec_text */
    uint64_t generation;
    uint64_t endpoints_generation;
    uint32_t replicas;
    bool is_in_snapshot; /* told since the last snapshot_begin */
    bool is_gone;        /* removed; kept to notice what is told later */
    struct view_endpoint *endpoints;
    size_t endpoint_count;
};

enum breach {
    BREACH_SNAPSHOT,       /* commit or abort without begin, begin within begin, removal within */
    BREACH_FUNCTION,       /* a function without what it needs, or a wrong size */
    BREACH_GENERATION,     /* a generation that nobody gave */
    BREACH_UNKNOWN,        /* endpoints of a function that was never told */
    BREACH_ADDRESS,        /* an address that cannot be parsed */
    BREACH_DUPLICATE_ID,   /* the same id twice in one set, or in two functions */
    BREACH_REUSED_ID,      /* an id that had left */
    BREACH_ENDPOINT_STATE, /* no known state, or back from draining */
    BREACH_LATE,           /* a delta for a function after its removal was told */
    BREACH_COUNT
};

struct view;

struct view *view_new(void);
void view_free(struct view *view);

/* The services. */
int32_t view_snapshot_begin(struct view *view);
int32_t view_snapshot_commit(struct view *view);
int32_t view_snapshot_abort(struct view *view);
int32_t view_upsert(struct view *view, const struct fng_function_state *state);
int32_t view_remove(struct view *view, struct fng_str ns, struct fng_str name, uint64_t generation);
int32_t view_endpoints(struct view *view, struct fng_str ns, struct fng_str name,
                       uint64_t generation, const struct fng_endpoint *endpoints, size_t count,
                       size_t stride);

/* A generation that the tool hands out: deltas may quote it from now on. */
void view_give_generation(struct view *view, uint64_t generation);

/* ---- Endpoints that the gateway is done with ---- */

/* While held, an endpoint counts as having a request under way. */
void view_hold(struct view *view, uint64_t endpoint_id, bool is_held);
/* Waits for an endpoint that left or drains, is not held and was not given out here before. False
 * once view_end_releases was called. */
bool view_next_release(struct view *view, uint64_t *ret_id, uint64_t *ret_generation);
void view_end_releases(struct view *view);

/* ---- Looking ---- */

struct view_facts {
    unsigned commits;        /* snapshots committed */
    unsigned changes;        /* deltas so far */
    unsigned endpoints;      /* endpoints told so far, bad ones too */
    unsigned early_removals; /* fn_remove before the first commit */
};
struct view_facts view_facts(struct view *view);

/* Locks the view and finds a function; NULL when it is unknown or gone. view_unlock follows in any
 * case. */
const struct view_function *view_lock(struct view *view, const char *ns, const char *name);
void view_unlock(struct view *view);
/* Calls `on_function` for each known function, locked; non-zero stops. */
void view_each(struct view *view, int (*on_function)(void *arg, const struct view_function *f),
               void *arg);

/* Waits until `is_so` holds for the function (NULL when unknown). False after timeout_ms. */
typedef bool view_condition_f(const void *arg, const struct view_function *function);
bool view_wait(struct view *view, const char *ns, const char *name, view_condition_f *is_so,
               const void *arg, int64_t timeout_ms);
/* Waits until that many snapshots were committed. */
bool view_wait_commits(struct view *view, unsigned commits, int64_t timeout_ms);

/* Waits until any endpoint was told, good or bad. */
bool view_wait_endpoints(struct view *view, int64_t timeout_ms);

/* First text of a breach (owned by the view), or NULL. */
const char *view_breach(struct view *view, enum breach breach);

unsigned view_count_state(const struct view_function *function, uint32_t state);

#endif

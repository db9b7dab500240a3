/* Routing tables: functions and their endpoints, as the hot path reads them.
 *
 * A function is a stable slot; its endpoint set is immutable and swapped atomically; the directory
 * of names is copy-on-write in shards. One writer, the control loop; any number of reading loops,
 * with plain loads. Nothing here is freed before every loop has passed a quiescent point, so a loop
 * may use what it looked up until the end of its turn; a request that goes on holds on to its
 * endpoint (endpoint_acquire) and its function (route_fn_enter), never to a table.
 *
 * Per-loop figures live in cells, written by their loop only and read by anyone.
 */
#ifndef ROUTE_ROUTE_H
#define ROUTE_ROUTE_H

#include "base/list.h"
#include "base/str.h"
#include "loop/addr.h"
#include "loop/loop.h"

#include <stdatomic.h>

struct route_table;
struct route_fn;
struct route_endpoint;

enum route_endpoint_state { ROUTE_STARTING = 1, ROUTE_READY, ROUTE_DRAINING };

/* What the hot path must know of a function. Values are copied. */
struct route_policy {
    int64_t timeout_ms;       /* whole exchange; 0: the proxy's default */
    int64_t stream_idle_ms;   /* streams and tunnels; 0: the proxy's default */
    unsigned parked_max;      /* requests waiting for an endpoint, all loops; 0: default */
    int64_t park_timeout_ms;  /* 0: bounded by timeout_ms only */
    unsigned concurrency_max; /* requests in flight, all loops; 0: no limit -> 429 above */
    bool can_wake;            /* a request may start it from zero */
};

/* Why nobody serves the function now, shown in 503/504 texts. Empty: no reason known. */
enum { ROUTE_REASON_MAX = 200 };

struct route_endpoint_spec {
    uint64_t id;       /* unique per provider instance */
    uint32_t provider; /* index of the provider instance */
    enum route_endpoint_state state;
    struct addr addr;
    unsigned concurrency_max; /* 0: no limit */
    struct str replica;
};

/* ---- Control loop ---- */

/* `loops` is the number of reading loops: cells are indexed 0..loops-1. on_released runs on the
 * control loop when an endpoint that left its function's set, or is draining, has no request left;
 * once per endpoint. on_idle_changed is not called by the table. */
struct route_table *route_table_new(struct loop *control, struct quiesce *domain, unsigned loops,
                                    void (*on_released)(void *arg, uint32_t provider, uint64_t id,
                                                        uint64_t generation),
                                    void *arg);
/* Tells which loop reads with `cell`; requests can park there from then on. From that loop, or
 * before it runs. */
void route_table_set_loop(struct route_table *table, unsigned cell, struct loop *loop);
/* After all loops have ended. */
void route_table_free(struct route_table *table);

/* Finds or creates the slot of name.ns. */
struct route_fn *route_fn_put(struct route_table *table, struct str ns, struct str name);
void route_fn_set_policy(struct route_table *table, struct route_fn *fn,
                         const struct route_policy *policy);
/* Replaces the endpoint set. Endpoints with the same provider and id are kept with their figures.
 * Wakes the loops that have requests parked on the function. */
void route_fn_set_endpoints(struct route_table *table, struct route_fn *fn, uint64_t generation,
                            const struct route_endpoint_spec *specs, size_t count);
void route_fn_set_reason(struct route_table *table, struct route_fn *fn, struct str reason);
/* Takes the name out of the directory: new requests get 404, parked ones are woken and get it too.
 * The slot is freed when its last request is done. */
void route_fn_drop(struct route_table *table, struct route_fn *fn);

/* Scale to zero in two phases: after route_fn_hold new requests park, and on_held runs on the
 * control loop once every loop has seen it, with the number of requests in flight or parked, and
 * whether any began since `since_started`. Then the caller scales down (leave the hold until the
 * endpoints are gone) or calls route_fn_unhold, which wakes what is parked. on_held does not run
 * for a hold that was lifted or repeated meanwhile, nor when the function is dropped. */
void route_fn_hold(struct route_table *table, struct route_fn *fn,
                   void (*on_held)(void *arg, struct route_fn *fn), void *arg);
void route_fn_unhold(struct route_table *table, struct route_fn *fn);

/* Figures, summed over the cells; any thread. Latency buckets: upper bounds in route_buckets_ms,
 * the last one counts all. */
enum { ROUTE_BUCKETS = 12 };
extern const double route_buckets_s[ROUTE_BUCKETS - 1];
struct route_code_stats {
    unsigned code;
    uint64_t count;
    double seconds;
    uint64_t buckets[ROUTE_BUCKETS]; /* not cumulative */
};
struct route_fn_stats {
    uint64_t started, completed;
    unsigned in_flight, parked;
    int64_t last_active_ms; /* monotonic: last time a request began or ended; 0: never */
};
void route_fn_stats(const struct route_fn *fn, struct route_fn_stats *ret);
/* Per status code; returns how many there are, fills at most `max` (the number may be too large
 * when `max` was too small). Control loop. */
size_t route_fn_codes(const struct route_fn *fn, struct route_code_stats *ret, size_t max);
/* Adds what was counted before a restart to `started`, `completed` and code 200's count. */
void route_fn_add_history(struct route_fn *fn, uint64_t invocations);

struct str route_fn_name(const struct route_fn *fn); /* NUL-terminated */
struct str route_fn_ns(const struct route_fn *fn);
/* For the control side: what belongs to the function there. */
void route_fn_set_user(struct route_fn *fn, void *user);
void *route_fn_user(const struct route_fn *fn);

/* ---- Reading loops: `cell` is the index of the calling loop ---- */

/* Valid until the end of the turn, or until route_fn_leave after route_fn_enter. */
struct route_fn *route_lookup(const struct route_table *table, struct str ns, struct str name);
const struct route_policy *route_fn_policy(const struct route_fn *fn);
/* Copies the reason, NUL-terminated; "" when there is none. */
void route_fn_reason(const struct route_fn *fn, char buf[ROUTE_REASON_MAX]);
bool route_fn_is_dropped(const struct route_fn *fn);
bool route_fn_is_held(const struct route_fn *fn);

/* Counts a request in; false when concurrency_max is reached (then nothing is counted). */
bool route_fn_enter(struct route_fn *fn, unsigned cell);
/* Counts it out, with its status and duration. `code` 0: not counted as an invocation. */
void route_fn_leave(struct route_fn *fn, unsigned cell, unsigned code, double seconds);
/* Counts a request that was answered without entering, such as a 429. */
void route_fn_refuse(struct route_fn *fn, unsigned cell, unsigned code);

/* Least in flight of two among the ready endpoints that are not ejected and below their limit; NULL
 * when there is none (park, or 503), when the function is held, or when others of this loop wait
 * already. Counts the request in. `avoid`, for a retry, is taken only when there is no other; a
 * retry does not mind holds and queues. May be NULL. */
struct route_endpoint *route_pick(struct route_fn *fn, unsigned cell,
                                  const struct route_endpoint *avoid);
/* Number of ready endpoints in the current set, whether or not they may be picked now. */
unsigned route_ready_count(const struct route_fn *fn);
void endpoint_release(struct route_endpoint *ep, unsigned cell);
const struct addr *endpoint_addr(const struct route_endpoint *ep);
struct str endpoint_replica(const struct route_endpoint *ep);
/* Passive ejection: a failed connect takes the endpoint out of the choice for a while (1 s, doubled
 * up to 30 s while it goes on failing) unless it is the only one; a success forgives. */
void endpoint_report(struct route_endpoint *ep, bool is_ok, int64_t now_ms);

/* Parking: a request waits for an endpoint of the function. FIFO per loop; on_wake comes from the
 * loop, never from inside route_park. Zeroed: not parked. */
struct route_parked {
    struct list node;
    void (*on_wake)(struct route_parked *parked); /* look again; park again if need be */
    struct route_fn *fn;
};
/* False when `parked_max` is reached or memory is short. The caller has entered fn. */
bool route_park(struct route_fn *fn, unsigned cell, unsigned parked_max,
                struct route_parked *parked);
void route_unpark(struct route_parked *parked, unsigned cell); /* harmless when not parked */

#endif

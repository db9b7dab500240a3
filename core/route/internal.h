/* Shared insides of the routing tables; only the files of this folder include it.
 *
 * Who writes what: everything without an _Atomic belongs to the control loop, except what stands in
 * a cell: that belongs to the cell's loop. A cell's _Atomic fields are written by its loop only and
 * read by anyone, so that plain relaxed loads and stores do.
 */
#ifndef ROUTE_INTERNAL_H
#define ROUTE_INTERNAL_H

#include "base/assert.h"
#include "base/mem.h"
#include "route/route.h"

enum { CACHE_LINE = 64, SHARD_BITS = 12, SHARDS = 1 << SHARD_BITS, KEY_PART_MAX = 255 };

/* Something to do once no loop can hold a pointer that it read before (grace_wait). */
struct grace {
    struct grace *next;
    void (*run)(struct grace *grace, struct route_table *table);
};

/* Directory shard: immutable, open-addressed. */
struct shard_slot {
    uint64_t hash;
    struct route_fn *fn; /* NULL: free */
};
struct shard {
    struct grace grace;
    size_t mask, count;
    struct shard_slot slots[];
};

/* What a reading loop has for itself, whatever the function. */
struct table_cell {
    struct loop_msg reap; /* "look through what is leaving", posted to the control loop */
    struct route_table *table;
    struct loop *loop;
    uint64_t random;
    atomic_bool is_reap_pending;
    char pad[CACHE_LINE];
};

struct route_table {
    struct loop *control;
    struct quiesce *domain;
    unsigned loops;
    void (*on_released)(void *arg, uint32_t provider, uint64_t id, uint64_t generation);
    void *arg;
    struct list leaving; /* endpoints: draining or out of their set, not released yet */
    struct list dropped; /* functions that wait for their last request */
    /* Grace periods run one at a time; what comes meanwhile shares the next one. */
    struct loop_msg grace_msg;
    struct grace *grace_running, *grace_next, **grace_tail;
    bool is_grace_running;
    bool is_ending;
    _Atomic(struct shard *) shards[SHARDS];
    struct table_cell cells[];
};

enum { FN_DROPPED = 1 << 0, FN_HELD = 1 << 1 };

struct policy_box {
    struct grace grace;
    struct route_policy policy;
};

struct reason_box {
    struct grace grace;
    size_t len;
    char text[];
};

/* The ready endpoints stand first; readers look at no others. */
struct endpoint_set {
    struct grace grace;
    uint32_t ready, count;
    struct route_endpoint *items[];
};

/* Requests of one loop that wait for one function; allocated when the first one does. */
struct park_cell {
    struct loop_msg wake;
    struct route_fn *fn;
    unsigned cell;
    bool is_waking;
    atomic_bool is_wake_pending;
    struct list parked;
};

/* One status code of one function on one loop. */
struct code_cell {
    struct code_cell *next;
    unsigned code;
    _Atomic uint64_t count;
    _Atomic double seconds;
    _Atomic uint64_t buckets[ROUTE_BUCKETS];
};

struct fn_cell {
    _Atomic uint64_t started, completed;
    _Atomic int64_t last_active_ms;
    _Atomic uint32_t in_flight;
    _Atomic uint32_t parked;
    uint32_t limited; /* of in_flight: how many are in route_fn.limited */
    _Atomic(struct code_cell *) codes;
    _Atomic(struct park_cell *) park;
} __attribute__((aligned(CACHE_LINE)));

struct route_fn {
    struct route_table *table;
    void *memory; /* what was allocated: the slot is aligned by hand */
    struct list node;
    struct grace grace;
    void *user;
    uint64_t hash;
    uint32_t hold_seq;
    uint32_t outside; /* endpoints that left the set and are not released yet */
    const char *key;  /* name NUL ns NUL */
    uint8_t name_len, ns_len;
    bool is_quiesced; /* dropped, and no loop can enter it any more */
    _Atomic uint32_t flags;
    _Atomic uint32_t parked;  /* all loops; also the writers' hint that somebody waits */
    _Atomic uint32_t limited; /* in flight while concurrency_max is set */
    _Atomic uint64_t history;
    _Atomic(struct endpoint_set *) set;
    _Atomic(struct policy_box *) policy;
    _Atomic(struct reason_box *) reason;
    struct fn_cell cells[];
};

/* A few bytes used, a cache line apart. */
struct endpoint_cell {
    _Atomic uint32_t in_flight;
    uint32_t limited; /* of in_flight: how many are in route_endpoint.used */
    char pad[CACHE_LINE - 8];
};

struct route_endpoint {
    struct route_fn *fn;
    struct list node;   /* in route_table.leaving */
    struct grace grace; /* of leaving, then of being freed */
    uint64_t id, generation;
    uint32_t provider;
    uint8_t state; /* enum route_endpoint_state */
    uint8_t replica_len;
    bool is_in_set, is_marked;
    bool was_ready;     /* requests may have seen its address */
    bool is_replaced;   /* another object has its id now: goes without a word */
    bool is_grace_busy; /* `grace` is under way */
    bool is_grace_late; /* it began leaving again meanwhile: one more is needed */
    bool is_quiesced;   /* leaving, and no loop can pick it any more */
    bool is_released;
    atomic_bool is_leaving;
    _Atomic uint32_t concurrency_max;
    _Atomic uint32_t used; /* in flight while concurrency_max is set, all loops */
    _Atomic uint32_t failures;
    _Atomic int64_t ejected_until_ms; /* 0: it is not */
    struct addr addr;
    struct endpoint_cell cells[]; /* then the replica's name, NUL-terminated */
};

static inline void cell_add(_Atomic uint64_t *figure, uint64_t n)
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline uint32_t cell_add32(_Atomic uint32_t *figure, int n)
{
    uint32_t value = atomic_load_explicit(figure, memory_order_relaxed) + (uint32_t)n;

    atomic_store_explicit(figure, value, memory_order_relaxed);
    return value;
}

/* Takes one of `max` permits of a shared counter. Sequentially consistent: see park.c. */
static inline bool permit_take(_Atomic uint32_t *used, uint32_t max)
{
    uint32_t now = atomic_load(used);

    do {
        if (now >= max)
            return false;
    } while (!atomic_compare_exchange_weak(used, &now, now + 1));
    return true;
}

/* table.c */
void grace_wait(struct route_table *table, struct grace *grace,
                void (*run)(struct grace *grace, struct route_table *table));
/* For objects that begin with their struct grace. */
void grace_free(struct grace *grace, struct route_table *table);
/* From loop `cell`: something that is leaving may have lost its last request. */
void reap_post(struct route_table *table, unsigned cell);
void directory_remove(struct route_table *table, struct route_fn *fn);

/* function.c */
void fn_check(struct route_fn *fn);
void fn_free(struct route_fn *fn);

/* endpoint.c */
void set_free(struct route_fn *fn); /* with its endpoints */
struct endpoint_set *set_new(size_t count);
void endpoints_reap(struct route_table *table);
void endpoints_free(struct route_table *table);
/* True when route_pick would find one now, or when nobody should wait any longer. */
bool fn_can_serve(struct route_fn *fn);

/* park.c */
void park_wake_all(struct route_fn *fn);
/* True while requests of this loop wait, except for the one that is being woken. */
bool park_is_queued(struct route_fn *fn, unsigned cell);
bool park_is_idle(struct route_fn *fn);

/* stats.c */
void stats_count(struct fn_cell *cell, unsigned code, double seconds);

#endif

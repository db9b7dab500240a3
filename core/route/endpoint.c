/* Endpoints: immutable sets, the choice among them, and the moment when one may be killed.
 *
 * Release: an endpoint that drains or left its set is picked by nobody after a grace period. From
 * then on its cells only fall, so a sum of zero is final even when it is read without locks: a
 * stale value is larger than the true one, never smaller. The loop that brings its own cell to
 * zero posts to the control loop, which sums again (reap_post).
 */
#include "base/sys.h"
#include "route/internal.h"

enum { EJECT_MS = 1000, EJECT_DOUBLINGS_MAX = 5, EJECT_MAX_MS = 30000 };

/* ---- Sets, control loop ---- */

struct endpoint_set *set_new(size_t count)
{
    return xcalloc(1, sizeof(struct endpoint_set) + count * sizeof(struct route_endpoint *));
}

static struct endpoint_set *set_of(const struct route_fn *fn)
{
    return atomic_load_explicit(&fn->set, memory_order_acquire);
}

void set_free(struct route_fn *fn)
{
    struct endpoint_set *set = set_of(fn);

    for (uint32_t i = 0; i < set->count; i++)
        mem_free(set->items[i]);
    mem_free(set);
}

static char *replica_text(const struct route_endpoint *ep, unsigned loops)
{
    return (char *)(uintptr_t)&ep->cells[loops];
}

static struct route_endpoint *endpoint_new(struct route_fn *fn,
                                           const struct route_endpoint_spec *spec)
{
    unsigned loops = fn->table->loops;
    struct str replica = str_sub(spec->replica, 0, UINT8_MAX);
    struct route_endpoint *ep =
        xcalloc(1, sizeof(*ep) + loops * sizeof(ep->cells[0]) + replica.len + 1);

    ep->fn = fn;
    ep->id = spec->id;
    ep->provider = spec->provider;
    ep->addr = spec->addr;
    list_init(&ep->node);
    ep->replica_len = (uint8_t)replica.len;
    if (replica.len > 0)
        memcpy(replica_text(ep, loops), replica.ptr, replica.len);
    return ep;
}

/* True while it is out of every set with its release still to come. */
static bool is_outside(const struct route_endpoint *ep)
{
    return !ep->is_in_set && !ep->is_released && list_is_linked(&ep->node);
}

static bool is_about(const struct route_endpoint *ep, const struct route_endpoint_spec *spec)
{
    return ep->id == spec->id && ep->provider == spec->provider && !ep->is_replaced;
}

/* The endpoint that `spec` is about: in the former set, or out of it with requests left. */
static struct route_endpoint *endpoint_find(struct route_fn *fn, const struct endpoint_set *old,
                                            const struct route_endpoint_spec *spec)
{
    for (uint32_t i = 0; i < old->count; i++) {
        if (is_about(old->items[i], spec))
            return old->items[i];
    }
    if (fn->outside == 0) /* the list holds those of all functions */
        return NULL;
    LIST_FOR_EACH(node, &fn->table->leaving)
    {
        struct route_endpoint *ep = CONTAINER_OF(node, struct route_endpoint, node);

        if (ep->fn == fn && is_about(ep, spec))
            return ep;
    }
    return NULL;
}

/* An address may still change as long as no request can have seen it; afterwards a new object takes
 * the place and the former one goes without a word: the id is released with the new one. */
static struct route_endpoint *endpoint_for(struct route_fn *fn, const struct endpoint_set *old,
                                           const struct route_endpoint_spec *spec)
{
    struct route_endpoint *ep = endpoint_find(fn, old, spec);

    if (ep && addr_eq(&ep->addr, &spec->addr))
        return ep;
    if (ep && !ep->was_ready) {
        ep->addr = spec->addr;
        return ep;
    }
    if (ep)
        ep->is_replaced = true;
    return endpoint_new(fn, spec);
}

/* An id names one endpoint: of several specs the first counts. */
static bool is_named_before(const struct route_endpoint_spec *specs, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (specs[k].id == specs[i].id && specs[k].provider == specs[i].provider)
            return true;
    }
    return false;
}

static struct endpoint_set *set_build(struct route_fn *fn, const struct endpoint_set *old,
                                      uint64_t generation, const struct route_endpoint_spec *specs,
                                      size_t count)
{
    struct endpoint_set *set = set_new(count);
    size_t back = count;

    for (size_t i = 0; i < count; i++) {
        struct route_endpoint *ep;

        if (is_named_before(specs, i))
            continue;
        ep = endpoint_for(fn, old, &specs[i]);
        fn->outside -= is_outside(ep);
        ep->is_marked = true;
        ep->is_in_set = true;
        ep->generation = generation;
        /* What was reported released may be dead by now. */
        ep->state = (uint8_t)(ep->is_released ? ROUTE_DRAINING : specs[i].state);
        atomic_store_explicit(&ep->concurrency_max, specs[i].concurrency_max, memory_order_relaxed);
        if (ep->state == ROUTE_READY) {
            ep->was_ready = true;
            set->items[set->ready++] = ep;
        } else {
            set->items[--back] = ep;
        }
    }
    /* Twice named ones left a gap in the middle. */
    memmove(&set->items[set->ready], &set->items[back], (count - back) * sizeof(set->items[0]));
    set->count = set->ready + (uint32_t)(count - back);
    return set;
}

/* ---- Leaving, control loop ---- */

static void endpoint_check(struct route_table *table, struct route_endpoint *ep);
static void endpoint_quiesced(struct grace *grace, struct route_table *table);

static void endpoint_free_later(struct grace *grace, struct route_table *table)
{
    (void)table;
    mem_free(CONTAINER_OF(grace, struct route_endpoint, grace));
}

static void endpoint_wait(struct route_table *table, struct route_endpoint *ep)
{
    ep->is_quiesced = false;
    if (ep->is_grace_busy) {
        ep->is_grace_late = true;
        return;
    }
    ep->is_grace_busy = true;
    grace_wait(table, &ep->grace, endpoint_quiesced);
}

/* It drains, or is in no set any more; already published. */
static void endpoint_leave(struct route_table *table, struct route_endpoint *ep)
{
    if (ep->is_released) {
        if (!ep->is_in_set)
            grace_wait(table, &ep->grace, endpoint_free_later);
        return;
    }
    if (atomic_load_explicit(&ep->is_leaving, memory_order_relaxed))
        return;
    atomic_store_explicit(&ep->is_leaving, true, memory_order_relaxed);
    list_push(&table->leaving, &ep->node);
    endpoint_wait(table, ep);
}

static void endpoint_return(struct route_endpoint *ep)
{
    atomic_store_explicit(&ep->is_leaving, false, memory_order_relaxed);
    list_remove(&ep->node);
}

static void endpoint_quiesced(struct grace *grace, struct route_table *table)
{
    struct route_endpoint *ep = CONTAINER_OF(grace, struct route_endpoint, grace);

    ep->is_grace_busy = false;
    if (table->is_ending)
        return;
    if (ep->is_grace_late) {
        ep->is_grace_late = false;
        endpoint_wait(table, ep);
        return;
    }
    ep->is_quiesced = true;
    endpoint_check(table, ep);
}

static bool endpoint_is_done(const struct route_table *table, const struct route_endpoint *ep)
{
    if (!ep->is_quiesced || !atomic_load(&ep->is_leaving))
        return false;
    for (unsigned i = 0; i < table->loops; i++) {
        if (atomic_load_explicit(&ep->cells[i].in_flight, memory_order_relaxed) > 0)
            return false;
    }
    return true;
}

static void endpoint_done(struct route_table *table, struct route_endpoint *ep)
{
    ep->fn->outside -= !ep->is_in_set;
    ep->is_released = true;
    list_remove(&ep->node);
    if (!ep->is_replaced)
        table->on_released(table->arg, ep->provider, ep->id, ep->generation);
}

static void endpoint_check(struct route_table *table, struct route_endpoint *ep)
{
    bool is_in_set = ep->is_in_set;

    if (!endpoint_is_done(table, ep))
        return;
    /* The call-back may change sets: what it takes out by itself is freed there. */
    endpoint_done(table, ep);
    if (!is_in_set)
        grace_wait(table, &ep->grace, endpoint_free_later);
}

void endpoints_reap(struct route_table *table)
{
    struct list done, *node;

    list_init(&done);
    LIST_FOR_EACH_SAFE(it, after, &table->leaving)
    {
        if (endpoint_is_done(table, CONTAINER_OF(it, struct route_endpoint, node))) {
            list_remove(it);
            list_push(&done, it);
        }
    }
    while ((node = list_pop(&done)))
        endpoint_check(table, CONTAINER_OF(node, struct route_endpoint, node));
}

void endpoints_free(struct route_table *table)
{
    struct list *node;

    while ((node = list_pop(&table->leaving))) {
        struct route_endpoint *ep = CONTAINER_OF(node, struct route_endpoint, node);

        if (!ep->is_in_set)
            mem_free(ep);
    }
}

static void set_retire(struct route_table *table, struct endpoint_set *old)
{
    for (uint32_t i = 0; i < old->count; i++) {
        if (old->items[i]->is_marked)
            continue;
        old->items[i]->is_in_set = false;
        endpoint_leave(table, old->items[i]);
        old->items[i]->fn->outside += is_outside(old->items[i]);
    }
    grace_wait(table, &old->grace, grace_free);
}

void route_fn_set_endpoints(struct route_table *table, struct route_fn *fn, uint64_t generation,
                            const struct route_endpoint_spec *specs, size_t count)
{
    struct endpoint_set *old = set_of(fn);
    struct endpoint_set *set = set_build(fn, old, generation, specs, count);

    atomic_store(&fn->set, set); /* sequentially consistent, before park_wake_all: see park.c */
    set_retire(table, old);
    for (uint32_t i = 0; i < set->count; i++) {
        struct route_endpoint *ep = set->items[i];

        ep->is_marked = false;
        if (ep->state == ROUTE_DRAINING)
            endpoint_leave(table, ep);
        else if (atomic_load_explicit(&ep->is_leaving, memory_order_relaxed))
            endpoint_return(ep);
    }
    park_wake_all(fn);
}

/* ---- The choice, reading loops ---- */

static uint64_t random_next(struct table_cell *cell)
{
    cell->random ^= cell->random << 13; /* xorshift64 */
    cell->random ^= cell->random >> 7;
    cell->random ^= cell->random << 17;
    return cell->random;
}

static bool is_ejected(const struct route_endpoint *ep)
{
    int64_t until_ms = atomic_load_explicit(&ep->ejected_until_ms, memory_order_relaxed);

    return until_ms > 0 && sys_monotonic_ms() < until_ms;
}

static uint32_t in_flight_here(const struct route_endpoint *ep, unsigned cell)
{
    return atomic_load_explicit(&ep->cells[cell].in_flight, memory_order_relaxed);
}

/* Counts a request in unless the endpoint's limit is reached. */
static bool endpoint_take(struct route_endpoint *ep, unsigned cell)
{
    uint32_t max = atomic_load_explicit(&ep->concurrency_max, memory_order_relaxed);

    if (max > 0) {
        if (!permit_take(&ep->used, max))
            return false;
        ep->cells[cell].limited++;
    }
    cell_add32(&ep->cells[cell].in_flight, 1);
    return true;
}

/* Whoever is left when the two drawn ones cannot be had: first what is sound, then what is ejected,
 * and what the caller wants to avoid only when there is nothing else. */
static struct route_endpoint *pick_any(const struct endpoint_set *set, unsigned cell, uint32_t from,
                                       const struct route_endpoint *avoid)
{
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < set->ready; i++) {
            struct route_endpoint *ep = set->items[(from + i) % set->ready];

            if (round < 2 && ep == avoid)
                continue;
            if (round < 1 && is_ejected(ep))
                continue;
            if (endpoint_take(ep, cell))
                return ep;
        }
    }
    return NULL;
}

/* Two different ones, the one with fewer requests of this loop first. Each loop looks at its own
 * cells only: balanced loops make a balanced sum, and no cache line travels. */
static void draw_two(struct table_cell *own, const struct endpoint_set *set, unsigned cell,
                     struct route_endpoint *ret[2])
{
    uint64_t random = random_next(own), n = set->ready;
    uint64_t i = (random & UINT32_MAX) * n >> 32;
    uint64_t j = (i + 1 + ((random >> 32) * (n - 1) >> 32)) % n;

    ret[0] = set->items[i];
    ret[1] = set->items[j];
    if (in_flight_here(ret[1], cell) < in_flight_here(ret[0], cell)) {
        ret[0] = set->items[j];
        ret[1] = set->items[i];
    }
}

struct route_endpoint *route_pick(struct route_fn *fn, unsigned cell,
                                  const struct route_endpoint *avoid)
{
    const struct endpoint_set *set = set_of(fn);
    struct route_endpoint *drawn[2];

    /* A retry (avoid) is in flight already: neither a hold nor the queue concerns it. */
    if (!avoid && (route_fn_is_held(fn) || park_is_queued(fn, cell)))
        return NULL;
    if (set->ready == 0)
        return NULL;
    if (set->ready == 1)
        return endpoint_take(set->items[0], cell) ? set->items[0] : NULL;
    draw_two(&fn->table->cells[cell], set, cell, drawn);
    for (int i = 0; i < 2; i++) {
        if (drawn[i] != avoid && !is_ejected(drawn[i]) && endpoint_take(drawn[i], cell))
            return drawn[i];
    }
    return pick_any(set, cell, (uint32_t)fn->table->cells[cell].random, avoid);
}

unsigned route_ready_count(const struct route_fn *fn)
{
    return set_of(fn)->ready;
}

bool fn_can_serve(struct route_fn *fn)
{
    uint32_t flags = atomic_load(&fn->flags);
    const struct endpoint_set *set = atomic_load(&fn->set);

    if (flags & FN_DROPPED)
        return true;
    if (flags & FN_HELD)
        return false;
    for (uint32_t i = 0; i < set->ready; i++) {
        uint32_t max = atomic_load(&set->items[i]->concurrency_max);

        if (max == 0 || atomic_load(&set->items[i]->used) < max)
            return true;
    }
    return false;
}

void endpoint_release(struct route_endpoint *ep, unsigned cell)
{
    struct endpoint_cell *own = &ep->cells[cell];

    if (own->limited > 0) {
        own->limited--;
        atomic_fetch_sub(&ep->used, 1);
        if (atomic_load(&ep->fn->parked) > 0) /* somebody may wait for this permit */
            park_wake_all(ep->fn);
    }
    if (cell_add32(&own->in_flight, -1) == 0 &&
        atomic_load_explicit(&ep->is_leaving, memory_order_relaxed))
        reap_post(ep->fn->table, cell);
}

const struct addr *endpoint_addr(const struct route_endpoint *ep)
{
    return &ep->addr;
}

struct str endpoint_replica(const struct route_endpoint *ep)
{
    return str_make(replica_text(ep, ep->fn->table->loops), ep->replica_len);
}

void endpoint_report(struct route_endpoint *ep, bool is_ok, int64_t now_ms)
{
    uint32_t failures = atomic_load_explicit(&ep->failures, memory_order_relaxed);
    int64_t ms;

    if (is_ok) {
        if (failures > 0) {
            atomic_store_explicit(&ep->failures, 0, memory_order_relaxed);
            atomic_store_explicit(&ep->ejected_until_ms, 0, memory_order_relaxed);
        }
        return;
    }
    /* Requests that fail while it is out already were under way before. */
    if (atomic_load_explicit(&ep->ejected_until_ms, memory_order_relaxed) > now_ms)
        return;
    ms = failures < EJECT_DOUBLINGS_MAX ? (int64_t)EJECT_MS << failures : EJECT_MAX_MS;
    atomic_store_explicit(&ep->failures, failures + 1, memory_order_relaxed);
    atomic_store_explicit(&ep->ejected_until_ms, now_ms + ms, memory_order_relaxed);
}

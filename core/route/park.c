/* Parking: requests that wait for an endpoint, first in first out per loop.
 *
 * The race to get right: a request finds no endpoint and parks, while the control loop publishes
 * one and looks for somebody to wake. Each side writes first and looks second:
 *
 *     loop:    park, count parked     then look again whether the function can serve
 *     writer:  publish                then look whether anybody is parked, and post
 *
 * All four are sequentially consistent, so at least one of them sees the other; when both do, the
 * second wake finds nothing to do. The same holds for a permit given back (endpoint_release) and a
 * hold that is lifted. Wakes are messages to exactly the loops that have requests parked, at most
 * one under way per function and loop.
 */
#include "route/internal.h"

static void park_wake(struct loop_msg *msg);

/* Only reached through loops that parked, or with a pointer read after their count. */
static void wake_post(struct route_fn *fn, struct park_cell *park)
{
    if (!atomic_exchange(&park->is_wake_pending, true))
        loop_post(fn->table->cells[park->cell].loop, &park->wake);
}

static struct park_cell *park_cell(struct route_fn *fn, unsigned cell)
{
    struct park_cell *park = atomic_load_explicit(&fn->cells[cell].park, memory_order_relaxed);

    if (park)
        return park;
    park = mem_zalloc(sizeof(*park));
    if (!park)
        return NULL;
    park->wake.run = park_wake;
    park->fn = fn;
    park->cell = cell;
    list_init(&park->parked);
    atomic_store(&fn->cells[cell].park, park);
    return park;
}

bool route_park(struct route_fn *fn, unsigned cell, unsigned parked_max,
                struct route_parked *parked)
{
    struct park_cell *park = park_cell(fn, cell);

    ASSERT(fn->table->cells[cell].loop);
    if (!park || !permit_take(&fn->parked, parked_max))
        return false;
    parked->fn = fn;
    list_init(&parked->node);
    if (park->is_waking) /* it was first and lost a race for a permit: it stays first */
        list_push_front(&park->parked, &parked->node);
    else
        list_push(&park->parked, &parked->node);
    atomic_fetch_add(&fn->cells[cell].parked, 1);
    if (fn_can_serve(fn))
        wake_post(fn, park);
    return true;
}

static void park_remove(struct route_parked *parked, unsigned cell)
{
    struct route_fn *fn = parked->fn;

    list_remove(&parked->node);
    parked->fn = NULL;
    atomic_fetch_sub(&fn->cells[cell].parked, 1);
    atomic_fetch_sub(&fn->parked, 1);
}

void route_unpark(struct route_parked *parked, unsigned cell)
{
    if (parked->fn)
        park_remove(parked, cell);
}

/* Lets requests go while there is something for them: each takes its permit in on_wake. */
static void park_wake(struct loop_msg *msg)
{
    struct park_cell *park = CONTAINER_OF(msg, struct park_cell, wake);
    struct route_fn *fn = park->fn;
    struct fn_cell *own = &fn->cells[park->cell];
    uint32_t left = atomic_load(&own->parked); /* who parks again waits for the next message */

    atomic_exchange(&park->is_wake_pending, false); /* before looking: later changes post again */
    park->is_waking = true;
    while (left-- > 0 && !list_is_empty(&park->parked) && fn_can_serve(fn)) {
        struct route_parked *first = CONTAINER_OF(park->parked.next, struct route_parked, node);

        park_remove(first, park->cell);
        first->on_wake(first);
    }
    park->is_waking = false;
    if (!list_is_empty(&park->parked) && fn_can_serve(fn))
        wake_post(fn, park);
    else if (route_fn_is_dropped(fn))
        reap_post(fn->table, park->cell); /* this message may be what the slot waited for */
}

void park_wake_all(struct route_fn *fn)
{
    if (atomic_load(&fn->parked) == 0)
        return;
    for (unsigned i = 0; i < fn->table->loops; i++) {
        if (atomic_load(&fn->cells[i].parked) > 0)
            wake_post(fn, atomic_load(&fn->cells[i].park));
    }
}

bool park_is_queued(struct route_fn *fn, unsigned cell)
{
    const struct park_cell *park =
        atomic_load_explicit(&fn->cells[cell].park, memory_order_relaxed);

    return park && !park->is_waking && !list_is_empty(&park->parked);
}

bool park_is_idle(struct route_fn *fn)
{
    if (atomic_load(&fn->parked) > 0)
        return false;
    for (unsigned i = 0; i < fn->table->loops; i++) {
        const struct park_cell *park = atomic_load(&fn->cells[i].park);

        if (park && atomic_load(&park->is_wake_pending))
            return false;
    }
    return true;
}

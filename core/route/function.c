/* Functions: stable slots. What the control loop sets is swapped as a whole; what requests count
 * stands in cells.
 *
 * A dropped slot outlives its name until its last request has left: no loop can enter it after the
 * grace period, from then on a count of zero is final.
 */
#include "base/sys.h"
#include "route/internal.h"

struct str route_fn_name(const struct route_fn *fn)
{
    return str_make(fn->key, fn->name_len);
}

struct str route_fn_ns(const struct route_fn *fn)
{
    return str_make(fn->key + fn->name_len + 1, fn->ns_len);
}

void route_fn_set_user(struct route_fn *fn, void *user)
{
    fn->user = user;
}

void *route_fn_user(const struct route_fn *fn)
{
    return fn->user;
}

/* ---- What the control loop sets ---- */

void route_fn_set_policy(struct route_table *table, struct route_fn *fn,
                         const struct route_policy *policy)
{
    struct policy_box *box = xcalloc(1, sizeof(*box)), *old;

    box->policy = *policy;
    old = atomic_exchange_explicit(&fn->policy, box, memory_order_acq_rel);
    if (old)
        grace_wait(table, &old->grace, grace_free);
}

const struct route_policy *route_fn_policy(const struct route_fn *fn)
{
    static const struct route_policy none = {0};
    const struct policy_box *box = atomic_load_explicit(&fn->policy, memory_order_acquire);

    return box ? &box->policy : &none;
}

void route_fn_set_reason(struct route_table *table, struct route_fn *fn, struct str reason)
{
    struct reason_box *box = NULL, *old;

    if (reason.len > 0) {
        reason = str_sub(reason, 0, ROUTE_REASON_MAX - 1);
        box = xcalloc(1, sizeof(*box) + reason.len);
        box->len = reason.len;
        memcpy(box->text, reason.ptr, reason.len);
    }
    old = atomic_exchange_explicit(&fn->reason, box, memory_order_acq_rel);
    if (old)
        grace_wait(table, &old->grace, grace_free);
}

void route_fn_reason(const struct route_fn *fn, char buf[ROUTE_REASON_MAX])
{
    const struct reason_box *box = atomic_load_explicit(&fn->reason, memory_order_acquire);

    buf[0] = '\0';
    if (!box)
        return;
    memcpy(buf, box->text, box->len);
    buf[box->len] = '\0';
}

/* ---- Leaving the directory ---- */

bool route_fn_is_dropped(const struct route_fn *fn)
{
    return atomic_load_explicit(&fn->flags, memory_order_relaxed) & FN_DROPPED;
}

static void fn_free_later(struct grace *grace, struct route_table *table)
{
    (void)table;
    fn_free(CONTAINER_OF(grace, struct route_fn, grace));
}

/* Frees a dropped slot whose last request has left. */
void fn_check(struct route_fn *fn)
{
    struct route_table *table = fn->table;

    if (!fn->is_quiesced || table->is_ending || !park_is_idle(fn))
        return;
    for (unsigned i = 0; i < table->loops; i++) {
        if (atomic_load_explicit(&fn->cells[i].in_flight, memory_order_relaxed) > 0)
            return;
    }
    list_remove(&fn->node);
    /* The loop that left last may still be inside the function it left by. */
    grace_wait(table, &fn->grace, fn_free_later);
}

static void fn_quiesced(struct grace *grace, struct route_table *table)
{
    struct route_fn *fn = CONTAINER_OF(grace, struct route_fn, grace);

    (void)table;
    fn->is_quiesced = true;
    fn_check(fn);
}

void route_fn_drop(struct route_table *table, struct route_fn *fn)
{
    ASSERT(!route_fn_is_dropped(fn));
    directory_remove(table, fn);
    atomic_fetch_or(&fn->flags, FN_DROPPED);
    fn->hold_seq++;
    list_push(&table->dropped, &fn->node);
    route_fn_set_endpoints(table, fn, 0, NULL, 0); /* wakes, too */
    grace_wait(table, &fn->grace, fn_quiesced);
}

void fn_free(struct route_fn *fn)
{
    for (unsigned i = 0; i < fn->table->loops; i++) {
        struct code_cell *code = atomic_load(&fn->cells[i].codes);

        while (code) {
            struct code_cell *next = code->next;

            mem_free(code);
            code = next;
        }
        mem_free(atomic_load(&fn->cells[i].park));
    }
    set_free(fn);
    mem_free(atomic_load(&fn->policy));
    mem_free(atomic_load(&fn->reason));
    mem_free(fn->memory);
}

/* ---- Hold ---- */

struct hold {
    struct grace grace;
    struct route_fn *fn;
    uint32_t seq;
    void (*on_held)(void *arg, struct route_fn *fn);
    void *arg;
};

/* A hold that was lifted, or followed by another, or whose function was dropped, says nothing. */
static void hold_seen(struct grace *grace, struct route_table *table)
{
    struct hold *hold = CONTAINER_OF(grace, struct hold, grace);

    if (!table->is_ending && hold->fn->hold_seq == hold->seq)
        hold->on_held(hold->arg, hold->fn);
    mem_free(hold);
}

void route_fn_hold(struct route_table *table, struct route_fn *fn,
                   void (*on_held)(void *arg, struct route_fn *fn), void *arg)
{
    struct hold *hold = xcalloc(1, sizeof(*hold));

    ASSERT(!route_fn_is_dropped(fn));
    atomic_fetch_or(&fn->flags, FN_HELD);
    hold->fn = fn;
    hold->seq = ++fn->hold_seq;
    hold->on_held = on_held;
    hold->arg = arg;
    grace_wait(table, &hold->grace, hold_seen);
}

void route_fn_unhold(struct route_table *table, struct route_fn *fn)
{
    (void)table;
    fn->hold_seq++;
    atomic_fetch_and(&fn->flags, ~(unsigned)FN_HELD);
    park_wake_all(fn);
}

bool route_fn_is_held(const struct route_fn *fn)
{
    return atomic_load_explicit(&fn->flags, memory_order_relaxed) & FN_HELD;
}

/* ---- Requests ---- */

static void cell_touch(struct route_fn *fn, unsigned cell)
{
    const struct loop *loop = fn->table->cells[cell].loop;

    atomic_store_explicit(&fn->cells[cell].last_active_ms,
                          loop ? loop_now_ms(loop) : sys_monotonic_ms(), memory_order_relaxed);
}

/* The limit may come and go while requests are in flight. Those that entered without it are not in
 * `limited`; a cell never takes more out than it put in, so the count is exact again as soon as
 * they have left. */
bool route_fn_enter(struct route_fn *fn, unsigned cell)
{
    struct fn_cell *own = &fn->cells[cell];
    unsigned max = route_fn_policy(fn)->concurrency_max;

    if (max > 0) {
        if (!permit_take(&fn->limited, max))
            return false;
        own->limited++;
    }
    cell_add32(&own->in_flight, 1);
    cell_add(&own->started, 1);
    cell_touch(fn, cell);
    return true;
}

void route_fn_leave(struct route_fn *fn, unsigned cell, unsigned code, double seconds)
{
    struct fn_cell *own = &fn->cells[cell];

    if (own->limited > 0) {
        own->limited--;
        atomic_fetch_sub(&fn->limited, 1);
    }
    if (code > 0) {
        cell_add(&own->completed, 1);
        stats_count(own, code, seconds);
    }
    cell_touch(fn, cell);
    if (cell_add32(&own->in_flight, -1) == 0 && route_fn_is_dropped(fn))
        reap_post(fn->table, cell);
}

void route_fn_refuse(struct route_fn *fn, unsigned cell, unsigned code)
{
    struct fn_cell *own = &fn->cells[cell];

    cell_add(&own->started, 1);
    cell_add(&own->completed, 1);
    stats_count(own, code, 0);
}

/* Figures of a function: counted per loop, summed by whoever asks. */
#include "route/internal.h"

const double route_buckets_s[ROUTE_BUCKETS - 1] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                   0.5,   1,    2.5,   5,    10};

/* The cell of a status code, made when the code is first seen. NULL when memory is short: then
 * that answer is missing from the figures per code. */
static struct code_cell *code_cell(struct fn_cell *cell, unsigned code)
{
    struct code_cell *first = atomic_load_explicit(&cell->codes, memory_order_relaxed), *it;

    for (it = first; it && it->code != code; it = it->next)
        ;
    if (it)
        return it;
    it = mem_zalloc(sizeof(*it));
    if (!it)
        return NULL;
    it->code = code;
    it->next = first;
    atomic_store_explicit(&cell->codes, it, memory_order_release);
    return it;
}

void stats_count(struct fn_cell *cell, unsigned code, double seconds)
{
    struct code_cell *own = code_cell(cell, code);
    size_t bucket = 0;

    if (!own)
        return;
    while (bucket < ROUTE_BUCKETS - 1 && seconds > route_buckets_s[bucket])
        bucket++;
    cell_add(&own->buckets[bucket], 1);
    cell_add(&own->count, 1);
    atomic_store_explicit(&own->seconds,
                          atomic_load_explicit(&own->seconds, memory_order_relaxed) + seconds,
                          memory_order_relaxed);
}

void route_fn_stats(const struct route_fn *fn, struct route_fn_stats *ret)
{
    uint64_t history = atomic_load_explicit(&fn->history, memory_order_relaxed);

    *ret = (struct route_fn_stats){.started = history, .completed = history};
    for (unsigned i = 0; i < fn->table->loops; i++) {
        const struct fn_cell *cell = &fn->cells[i];
        int64_t active_ms = atomic_load_explicit(&cell->last_active_ms, memory_order_relaxed);

        ret->started += atomic_load_explicit(&cell->started, memory_order_relaxed);
        ret->completed += atomic_load_explicit(&cell->completed, memory_order_relaxed);
        ret->in_flight += atomic_load_explicit(&cell->in_flight, memory_order_relaxed);
        ret->parked += atomic_load_explicit(&cell->parked, memory_order_relaxed);
        if (active_ms > ret->last_active_ms)
            ret->last_active_ms = active_ms;
    }
}

static void code_add(struct route_code_stats *sum, const struct code_cell *cell)
{
    sum->count += atomic_load_explicit(&cell->count, memory_order_relaxed);
    sum->seconds += atomic_load_explicit(&cell->seconds, memory_order_relaxed);
    for (size_t i = 0; i < ROUTE_BUCKETS; i++)
        sum->buckets[i] += atomic_load_explicit(&cell->buckets[i], memory_order_relaxed);
}

/* The entry for `code` among the first `count`; a new one behind them when there is room. */
static struct route_code_stats *code_sum(struct route_code_stats *sums, size_t *count, size_t max,
                                         unsigned code)
{
    for (size_t i = 0; i < *count; i++) {
        if (sums[i].code == code)
            return &sums[i];
    }
    if (*count == max)
        return NULL;
    sums[*count] = (struct route_code_stats){.code = code};
    return &sums[(*count)++];
}

size_t route_fn_codes(const struct route_fn *fn, struct route_code_stats *ret, size_t max)
{
    uint64_t history = atomic_load_explicit(&fn->history, memory_order_relaxed);
    struct route_code_stats *sum;
    size_t count = 0, missed = 0;

    if (history > 0 && (sum = code_sum(ret, &count, max, 200)))
        sum->count += history;
    for (unsigned i = 0; i < fn->table->loops; i++) {
        const struct code_cell *cell =
            atomic_load_explicit(&fn->cells[i].codes, memory_order_acquire);

        for (; cell; cell = cell->next) {
            sum = code_sum(ret, &count, max, cell->code);
            if (sum)
                code_add(sum, cell);
            else
                missed++;
        }
    }
    return count + missed;
}

void route_fn_add_history(struct route_fn *fn, uint64_t invocations)
{
    atomic_fetch_add_explicit(&fn->history, invocations, memory_order_relaxed);
}

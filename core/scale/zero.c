/* To zero in two phases. See scale.h. */
#include "base/log.h"
#include "scale/scale.h"

#include <inttypes.h>

enum zero_phase {
    ZERO_WATCHING, /* waits until it has been idle long enough */
    ZERO_HOLDING,  /* requests are held back; waits for the loops */
    ZERO_STOPPING  /* the provider was asked; waits for the endpoints to go */
};

/* What is known of a function that may go to zero; hangs at catalog_fn.scale_state. */
struct zero {
    struct list node; /* in scale.zeros */
    struct scale *scale;
    struct catalog_fn *fn; /* NULL: removed while a call-back was outstanding */
    struct timer timer;
    enum zero_phase phase;
    int64_t duration_ms;
    int64_t active_ms; /* last activity as seen before the hold */
    bool is_awaited;   /* on_held or on_scaled will come */
};

struct scale {
    struct scale_config config;
    struct list zeros;
};

static void zero_free(struct zero *zero)
{
    timer_cancel(&zero->timer);
    list_remove(&zero->node);
    mem_free(zero);
}

/* Last sign of life: a request, or a replica that came up. */
static int64_t last_active_ms(const struct zero *zero, const struct route_fn_stats *stats)
{
    return stats->last_active_ms > zero->fn->ready_at_ms ? stats->last_active_ms
                                                         : zero->fn->ready_at_ms;
}

static void watch_again(struct zero *zero, int64_t delay_ms)
{
    zero->phase = ZERO_WATCHING;
    timer_set(&zero->timer, delay_ms > 1 ? delay_ms : 1);
}

static void let_go(struct zero *zero)
{
    route_fn_unhold(zero->scale->config.routes, zero->fn->route);
    watch_again(zero, zero->duration_ms);
}

/* A call-back came; true when the function is gone meanwhile, and zero is freed. */
static bool is_orphan(struct zero *zero)
{
    zero->is_awaited = false;
    if (zero->fn)
        return false;
    zero_free(zero);
    return true;
}

static void on_scaled(void *arg, const struct plugin_result *result)
{
    struct zero *zero = arg;

    if (is_orphan(zero))
        return;
    if (result->error != FNG_OK) {
        log_warn("scale", "%.*s stays up: %.*s", STR_ARG(catalog_fn_name(zero->fn)),
                 STR_ARG(result->text));
        let_go(zero);
    } else if (zero->fn->ready == 0) {
        let_go(zero);
    }
    /* else: on_change lets go when the endpoints have left */
}

static void on_held(void *arg, struct route_fn *route)
{
    struct zero *zero = arg;
    struct route_fn_stats stats;

    if (is_orphan(zero))
        return;
    route_fn_stats(route, &stats);
    if (stats.in_flight > 0 || stats.parked > 0 ||
        last_active_ms(zero, &stats) != zero->active_ms) {
        let_go(zero);
        return;
    }
    log_info("scale", "%.*s.%.*s was idle for %" PRId64 " ms: to zero",
             STR_ARG(catalog_fn_name(zero->fn)), STR_ARG(catalog_fn_ns(zero->fn)),
             zero->duration_ms);
    zero->phase = ZERO_STOPPING;
    zero->is_awaited = true;
    catalog_scale(zero->scale->config.catalog, catalog_fn_ns(zero->fn), catalog_fn_name(zero->fn),
                  0, on_scaled, zero);
}

static void on_due(void *arg)
{
    struct zero *zero = arg;
    struct route_fn_stats stats;
    int64_t idle_ms;

    if (fn_spec_get(zero->fn->spec)->replicas == 0)
        return; /* on_change starts the timer again when it is woken */
    route_fn_stats(zero->fn->route, &stats);
    idle_ms = loop_now_ms(zero->scale->config.control) - last_active_ms(zero, &stats);
    if (stats.in_flight > 0 || stats.parked > 0 || zero->fn->ready == 0) {
        watch_again(zero, zero->duration_ms);
        return;
    }
    if (idle_ms < zero->duration_ms) {
        watch_again(zero, zero->duration_ms - idle_ms);
        return;
    }
    zero->phase = ZERO_HOLDING;
    zero->active_ms = last_active_ms(zero, &stats);
    zero->is_awaited = true;
    route_fn_hold(zero->scale->config.routes, zero->fn->route, on_held, zero);
}

/* ---- Following the catalog ---- */

static void forget(struct catalog_fn *fn)
{
    struct zero *zero = fn->scale_state;

    fn->scale_state = NULL;
    timer_cancel(&zero->timer);
    zero->fn = NULL;
    if (!zero->is_awaited)
        zero_free(zero);
}

static struct zero *follow(struct scale *scale, struct catalog_fn *fn)
{
    struct zero *zero = xcalloc(1, sizeof(*zero));

    zero->scale = scale;
    zero->fn = fn;
    timer_init(&zero->timer, scale->config.control, on_due, zero);
    list_init(&zero->node);
    list_push(&scale->zeros, &zero->node);
    fn->scale_state = zero;
    return zero;
}

static void on_change(void *arg, struct catalog_fn *fn, bool is_removed)
{
    struct scale *scale = arg;
    struct zero *zero = fn->scale_state;
    struct str wish = catalog_label(fn, STR("com.openfaas.scale.zero"));

    if (is_removed || !str_eq(wish, STR("true"))) {
        if (zero && !is_removed && zero->phase != ZERO_WATCHING)
            route_fn_unhold(scale->config.routes, fn->route);
        if (zero)
            forget(fn);
        return;
    }
    if (!zero)
        zero = follow(scale, fn);
    if (!str_to_duration_ms(catalog_label(fn, STR("com.openfaas.scale.zero-duration")),
                            &zero->duration_ms))
        zero->duration_ms = scale->config.zero_duration_ms;
    if (zero->phase == ZERO_STOPPING && !zero->is_awaited && fn->ready == 0)
        let_go(zero);
    else if (zero->phase == ZERO_WATCHING && !timer_is_set(&zero->timer))
        watch_again(zero, zero->duration_ms);
}

struct scale *scale_new(const struct scale_config *config)
{
    struct scale *scale = xcalloc(1, sizeof(*scale));

    scale->config = *config;
    list_init(&scale->zeros);
    catalog_observe(config->catalog, on_change, scale);
    return scale;
}

void scale_set_zero_duration(struct scale *scale, int64_t duration_ms)
{
    scale->config.zero_duration_ms = duration_ms;
    LIST_FOR_EACH_SAFE(node, after, &scale->zeros)
    {
        struct zero *zero = CONTAINER_OF(node, struct zero, node);

        if (!zero->fn || zero->phase != ZERO_WATCHING)
            continue;
        on_change(scale, zero->fn, false);
        watch_again(zero, 0); /* looks how long it has been idle */
    }
}

void scale_free(struct scale *scale)
{
    if (!scale)
        return;
    LIST_FOR_EACH_SAFE(node, after, &scale->zeros)
    {
        struct zero *zero = CONTAINER_OF(node, struct zero, node);

        if (zero->fn)
            zero->fn->scale_state = NULL;
        zero_free(zero);
    }
    mem_free(scale);
}

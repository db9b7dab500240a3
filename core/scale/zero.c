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
    struct catalog_fn *fn; /* NULL: removed, or asks no more, while the provider was being asked */
    struct timer timer;
    enum zero_phase phase;
    int64_t duration_ms;
    int64_t active_ms; /* last activity as seen before the hold */
    bool is_awaited;   /* on_scaled will come */
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

/* The hold has served: no endpoint is left to send a request to, or somebody wants replicas again.
 * An endpoint that is still there is killed only after its last request, so none is lost then. */
static bool has_served(const struct zero *zero)
{
    return zero->fn->ready == 0 || fn_spec_get(zero->fn->spec)->replicas > 0;
}

static void on_scaled(void *arg, const struct plugin_result *result)
{
    struct zero *zero = arg;

    zero->is_awaited = false;
    if (!zero->fn) {
        zero_free(zero);
        return;
    }
    if (result->error != FNG_OK)
        log_warn("scale", "%.*s.%.*s stays up: %.*s", STR_ARG(catalog_fn_name(zero->fn)),
                 STR_ARG(catalog_fn_ns(zero->fn)), STR_ARG(result->text));
    if (result->error != FNG_OK || has_served(zero))
        let_go(zero);
    /* else: on_change lets go when the endpoints have left */
}

static void on_held(void *arg, struct route_fn *route)
{
    struct zero *zero = arg;
    struct route_fn_stats stats;

    route_fn_stats(route, &stats);
    if (stats.in_flight > 0 || stats.parked > 0 || catalog_is_held(zero->fn) ||
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
    /* While wishes wait for a reload, requests would wait with them. */
    if (stats.in_flight > 0 || stats.parked > 0 || zero->fn->ready == 0 ||
        catalog_is_held(zero->fn)) {
        watch_again(zero, zero->duration_ms);
        return;
    }
    if (idle_ms < zero->duration_ms) {
        watch_again(zero, zero->duration_ms - idle_ms);
        return;
    }
    zero->phase = ZERO_HOLDING;
    zero->active_ms = last_active_ms(zero, &stats);
    route_fn_hold(zero->scale->config.routes, zero->fn->route, on_held, zero);
}

/* ---- Following the catalog ---- */

/* on_held does not come for a function that was dropped or a hold that was lifted. */
static void forget(struct catalog_fn *fn, bool is_removed)
{
    struct zero *zero = fn->scale_state;

    if (!is_removed && zero->phase != ZERO_WATCHING)
        route_fn_unhold(zero->scale->config.routes, fn->route);
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

/* It asks to go to zero, and something can stop it there and start it again. */
static bool goes_to_zero(const struct catalog_fn *fn)
{
    return str_eq(catalog_label(fn, STR("com.openfaas.scale.zero")), STR("true")) &&
           (instance_descriptor(fn->owner)->capabilities & FNG_PROVIDER_CAN_SCALE_TO_ZERO) &&
           route_fn_policy(fn->route)->can_wake;
}

static int64_t duration_of(const struct scale *scale, const struct catalog_fn *fn)
{
    struct str text = catalog_label(fn, STR("com.openfaas.scale.zero-duration"));
    int64_t duration_ms;

    return str_to_duration_ms(text, &duration_ms) && duration_ms > 0
               ? duration_ms
               : scale->config.zero_duration_ms;
}

static void on_change(void *arg, struct catalog_fn *fn, bool is_removed)
{
    struct scale *scale = arg;
    struct zero *zero = fn->scale_state;
    int64_t former_ms;

    if (is_removed || !goes_to_zero(fn)) {
        if (zero)
            forget(fn, is_removed);
        return;
    }
    if (!zero)
        zero = follow(scale, fn);
    former_ms = zero->duration_ms;
    zero->duration_ms = duration_of(scale, fn);
    if (zero->phase == ZERO_STOPPING && !zero->is_awaited && has_served(zero))
        let_go(zero);
    else if (zero->phase == ZERO_WATCHING && !timer_is_set(&zero->timer))
        watch_again(zero, zero->duration_ms);
    else if (zero->phase == ZERO_WATCHING && zero->duration_ms < former_ms)
        watch_again(zero, 0); /* looks how long it has been idle */
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

        if (zero->fn)
            on_change(scale, zero->fn, false);
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

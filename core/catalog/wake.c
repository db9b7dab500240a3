/* From zero: the provider is asked to start what requests wait for. A refusal is not the end of it:
 * as long as requests are parked the provider is asked again with back-off, so that they need not
 * wait out their whole timeout for a backend that was away for a second. */
#include "catalog/internal.h"

#include "base/log.h"

enum { AGAIN_MIN_MS = 250, AGAIN_MAX_MS = 10000 };

static bool is_wanted(const struct catalog_fn *fn)
{
    struct route_fn_stats stats;

    /* Once replicas are wanted the provider starts them, whatever it takes. */
    if (fn_spec_get(fn->spec)->replicas > 0 || !route_fn_policy(fn->route)->can_wake)
        return false;
    route_fn_stats(fn->route, &stats);
    return stats.parked > 0;
}

static void on_wake_again(void *arg)
{
    struct catalog_fn *fn = arg;

    if (is_wanted(fn))
        catalog_wake(fn->catalog, fn);
    else
        fn->wakes_failed = 0;
}

void wake_init(struct catalog_fn *fn)
{
    timer_init(&fn->wake_again, fn->catalog->config.control, on_wake_again, fn);
}

/* A provider that takes its replicas back at once is not asked in circles. */
void wake_if_parked(struct catalog_fn *fn)
{
    int64_t since_ms = loop_now_ms(fn->catalog->config.control) - fn->woken_at_ms;

    if (fn->is_waking || timer_is_set(&fn->wake_again) || !is_wanted(fn))
        return;
    if (fn->woken_at_ms == 0 || since_ms >= AGAIN_MIN_MS)
        catalog_wake(fn->catalog, fn);
    else
        timer_set(&fn->wake_again, AGAIN_MIN_MS - since_ms);
}

static void wake_failed(struct catalog_fn *fn, const struct plugin_result *result)
{
    int64_t delay_ms = AGAIN_MIN_MS;

    log_warn("catalog", "%.*s.%.*s cannot be started: %.*s", STR_ARG(catalog_fn_name(fn)),
             STR_ARG(catalog_fn_ns(fn)), STR_ARG(result->text));
    catalog_set_reason(fn, result->text);
    fn->is_wake_reason = true;
    if (result->error == FNG_E_UNSUPPORTED)
        return;
    for (unsigned i = 0; i < fn->wakes_failed && delay_ms < AGAIN_MAX_MS; i++)
        delay_ms *= 2;
    if (delay_ms < result->retry_after_ms)
        delay_ms = result->retry_after_ms;
    fn->wakes_failed++;
    timer_set(&fn->wake_again, delay_ms < AGAIN_MAX_MS ? delay_ms : AGAIN_MAX_MS);
}

static void on_woken(void *arg, const struct plugin_result *result)
{
    struct wish *wish = arg;
    struct catalog_fn *fn = wish_fn(wish);

    if (fn)
        fn->is_waking = false;
    if (fn && result->error == FNG_OK) {
        fn->wakes_failed = 0;
        if (fn->is_wake_reason)
            catalog_set_reason(fn, STR_NONE);
        wish_show_replicas(wish, fn);
        wake_if_parked(fn); /* somebody scaled it to zero meanwhile */
    } else if (fn && fn_spec_get(fn->spec)->replicas == 0) {
        wake_failed(fn, result);
    }
    wish_end(wish, result);
}

void catalog_wake(struct catalog *catalog, struct catalog_fn *fn)
{
    struct wish *wish;

    if (fn->is_waking || fn_spec_get(fn->spec)->replicas > 0 || timer_is_set(&fn->wake_again))
        return;
    if (hold_covers(catalog, fn->owner)) {
        hold_wake(catalog, fn);
        return;
    }
    wish =
        wish_new(catalog, WISH_WAKE, fn->owner, catalog_fn_ns(fn), catalog_fn_name(fn), NULL, NULL);
    wish->replicas = catalog_scale_min(fn);
    fn->is_waking = true;
    fn->woken_at_ms = loop_now_ms(catalog->config.control);
    fn->scale_generation = wish->generation;
    provider_activate(fn->owner, catalog_fn_ns(fn), catalog_fn_name(fn), wish->replicas,
                      wish->generation, 0, on_woken, wish);
}

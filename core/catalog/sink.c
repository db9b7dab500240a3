/* Deltas: what providers push, applied to the catalog and published. Every function here runs on
 * the control loop; its result is what the plugin's call returns. */
#include "catalog/internal.h"

#include "base/log.h"

#include <stdlib.h>

/* The provider that pushes, let in or staged; NULL when another one has taken its place. */
static struct catalog_provider *pusher(struct catalog *catalog, const struct instance *from)
{
    struct staged *staged = staged_of(catalog, from);

    return staged ? staged_provider(staged) : catalog_provider_of(catalog, from);
}

static int32_t on_snapshot_begin(void *arg, struct instance *from)
{
    struct catalog *catalog = arg;
    struct catalog_provider *provider = pusher(catalog, from);
    struct staged *staged = staged_of(catalog, from);

    if (!provider)
        return FNG_E_CONFLICT;
    provider->in_snapshot = true;
    if (staged)
        staged_begin(staged);
    for (size_t i = 0; i < catalog->fns.count; i++)
        if (catalog->fns.items[i]->owner == from)
            catalog->fns.items[i]->is_seen = false;
    return FNG_OK;
}

static void drop_unseen(struct catalog *catalog, const struct instance *from)
{
    for (size_t i = catalog->fns.count; i > 0; i--) {
        struct catalog_fn *fn = catalog->fns.items[i - 1];

        /* What the same provider finds later is there again, of whatever generation. */
        if (fn->owner == from && !fn->is_seen)
            catalog_drop(catalog, fn, 0);
    }
}

static int32_t on_snapshot_commit(void *arg, struct instance *from)
{
    struct catalog *catalog = arg;
    struct catalog_provider *provider = pusher(catalog, from);
    struct staged *staged = staged_of(catalog, from);
    size_t count;

    if (!provider)
        return FNG_E_CONFLICT;
    if (!provider->in_snapshot)
        return FNG_E_INVALID;
    drop_unseen(catalog, from);
    count = staged ? staged_commit(staged) : catalog->fns.count;
    provider->in_snapshot = false;
    if (provider->is_synced)
        return FNG_OK;
    provider->is_synced = true;
    log_info("catalog", "%s: in step with its backend, %zu functions in all", instance_name(from),
             count);
    if (catalog->on_synced)
        catalog->on_synced(catalog->on_synced_arg);
    return FNG_OK;
}

static int32_t on_snapshot_abort(void *arg, struct instance *from)
{
    struct catalog_provider *provider = pusher(arg, from);

    if (!provider)
        return FNG_E_CONFLICT;
    if (!provider->in_snapshot)
        return FNG_E_INVALID;
    provider->in_snapshot = false;
    return FNG_OK;
}

static int32_t on_fn_upsert(void *arg, struct instance *from, struct fn_spec *spec,
                            struct str reason, const struct fng_str *warnings,
                            size_t warnings_count)
{
    struct catalog *catalog = arg;
    const struct fng_function *function = fn_spec_get(spec);
    struct catalog_fn *fn = catalog_find(catalog, str_of(function->ns), str_of(function->name));
    struct staged *staged = staged_of(catalog, from);

    if (!pusher(catalog, from))
        return FNG_E_CONFLICT;
    if (!catalog_name_is_valid(str_of(function->name)) ||
        !catalog_name_is_valid(str_of(function->ns)))
        return FNG_E_INVALID;
    if (staged)
        return staged_upsert(catalog, staged, spec, reason, warnings, warnings_count);
    if (catalog_is_buried(catalog, str_of(function->ns), str_of(function->name),
                          function->generation))
        return FNG_E_CONFLICT;
    if (fn && fn->owner != from)
        return FNG_E_CONFLICT;
    if (fn && function->generation < fn_spec_get(fn->spec)->generation) {
        fn->is_seen = true; /* old news, but it is there */
        return FNG_E_CONFLICT;
    }

    fn = catalog_put(catalog, from, spec);
    catalog_set_reason(fn, reason);
    catalog_set_warnings(fn, warnings, warnings_count);
    return FNG_OK;
}

static int32_t on_fn_remove(void *arg, struct instance *from, struct str ns, struct str name,
                            uint64_t generation)
{
    struct catalog *catalog = arg;
    struct catalog_fn *fn = catalog_find(catalog, ns, name);
    struct staged *staged = staged_of(catalog, from);

    if (!pusher(catalog, from))
        return FNG_E_CONFLICT;
    if (staged)
        return staged_remove(staged, ns, name, generation);
    if (!fn || fn->owner != from)
        return FNG_E_NOT_FOUND;
    if (generation < fn_spec_get(fn->spec)->generation)
        return FNG_E_CONFLICT;
    catalog_drop(catalog, fn, generation);
    return FNG_OK;
}

/* One endpoint for the route table; false when its address or state is wrong. */
static bool endpoint_convert(const struct fng_endpoint *from, uint32_t provider,
                             struct route_endpoint_spec *ret)
{
    static const enum route_endpoint_state states[] = {[FNG_ENDPOINT_STARTING] = ROUTE_STARTING,
                                                       [FNG_ENDPOINT_READY] = ROUTE_READY,
                                                       [FNG_ENDPOINT_DRAINING] = ROUTE_DRAINING};

    if (from->state < FNG_ENDPOINT_STARTING || from->state > FNG_ENDPOINT_DRAINING)
        return false;
    *ret = (struct route_endpoint_spec){.id = from->id,
                                        .provider = provider,
                                        .state = states[from->state],
                                        .concurrency_max = from->concurrency_max,
                                        .replica = str_of(from->replica)};
    return addr_parse(str_of(from->address), &ret->addr, NULL) == 0;
}

static void count_states(struct catalog_fn *fn, const struct route_endpoint_spec *specs,
                         size_t count)
{
    fn->ready = fn->starting = fn->draining = 0;
    for (size_t i = 0; i < count; i++) {
        fn->starting += specs[i].state == ROUTE_STARTING;
        fn->ready += specs[i].state == ROUTE_READY;
        fn->draining += specs[i].state == ROUTE_DRAINING;
    }
}

void catalog_set_endpoints(struct catalog *catalog, struct catalog_fn *fn, uint64_t generation,
                           const struct route_endpoint_spec *specs, size_t count)
{
    unsigned ready_before = fn->ready;

    count_states(fn, specs, count);
    if (fn->ready > ready_before)
        fn->ready_at_ms = loop_now_ms(catalog->config.control);
    route_fn_set_endpoints(catalog->config.routes, fn->route, generation, specs, count);
    catalog_tell(catalog, fn, false);
}

static int32_t on_endpoints_set(void *arg, struct instance *from, struct str ns, struct str name,
                                uint64_t generation, const struct fng_endpoint *endpoints,
                                size_t count)
{
    struct catalog *catalog = arg;
    struct catalog_fn *fn = catalog_find(catalog, ns, name);
    struct staged *staged = staged_of(catalog, from);
    AUTO_FREE struct route_endpoint_spec *specs = xcalloc(count + 1, sizeof(*specs));

    if (!pusher(catalog, from))
        return FNG_E_CONFLICT;
    if (!staged && (!fn || fn->owner != from))
        return FNG_E_NOT_FOUND;
    if (!staged && generation < fn_spec_get(fn->spec)->generation)
        return FNG_E_CONFLICT;
    for (size_t i = 0; i < count; i++)
        if (!endpoint_convert(&endpoints[i], instance_index(from), &specs[i]))
            return FNG_E_INVALID;
    if (staged)
        return staged_endpoints(staged, ns, name, generation, specs, count);
    catalog_set_endpoints(catalog, fn, generation, specs, count);
    return FNG_OK;
}

static void on_changed(void *arg, struct instance *from)
{
    struct str why;

    (void)arg;
    if (instance_health(from, &why) != FNG_HEALTH_OK)
        log_warn("catalog", "%s: %.*s", instance_name(from), STR_ARG(why));
}

struct provider_sink catalog_sink(struct catalog *catalog)
{
    return (struct provider_sink){
        .arg = catalog,
        .snapshot_begin = on_snapshot_begin,
        .snapshot_commit = on_snapshot_commit,
        .snapshot_abort = on_snapshot_abort,
        .fn_upsert = on_fn_upsert,
        .fn_remove = on_fn_remove,
        .endpoints_set = on_endpoints_set,
        .changed = on_changed,
    };
}

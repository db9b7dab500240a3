/* Succession: providers that start while others serve. What a staged provider pushes is kept aside,
 * in the same shape as in the catalog, until catalog_switch lets it in with one stroke: functions
 * change their owner without a moment without endpoints, and those that nobody knows any more go.
 */
#include "catalog/internal.h"

#include "base/log.h"

/* A function as a staged provider knows it. */
struct staged_fn {
    struct fn_spec *spec;
    struct pool said; /* reason and warnings */
    struct str reason;
    struct fng_str *warnings;
    size_t warnings_count;
    struct pool where; /* endpoints */
    struct route_endpoint_spec *endpoints;
    size_t endpoints_count;
    uint64_t endpoints_generation;
    bool is_seen; /* in the snapshot under way */
};

struct staged {
    struct list node; /* catalog->staged */
    struct catalog_provider provider;
    struct map fns; /* "ns/name" -> struct staged_fn */
};

/* ---- Coming and going ---- */

void catalog_stage(struct catalog *catalog, struct instance *instance)
{
    struct staged *staged = xcalloc(1, sizeof(*staged));

    staged->provider.instance = instance;
    map_init(&staged->fns);
    list_init(&staged->node);
    list_push(&catalog->staged, &staged->node);
}

bool catalog_staged_are_synced(const struct catalog *catalog)
{
    LIST_FOR_EACH(node, &catalog->staged)
    {
        if (!CONTAINER_OF(node, struct staged, node)->provider.is_synced)
            return false;
    }
    return true;
}

static void staged_fn_free(struct staged_fn *fn)
{
    if (!fn)
        return;
    fn_spec_unref(fn->spec);
    pool_free(&fn->said);
    pool_free(&fn->where);
    mem_free(fn);
}

static void staged_free(struct staged *staged)
{
    size_t pos = 0;
    void *fn;

    while (map_next(&staged->fns, &pos, NULL, &fn))
        staged_fn_free(fn);
    map_free(&staged->fns);
    list_remove(&staged->node);
    mem_free(staged);
}

void catalog_unstage(struct catalog *catalog)
{
    LIST_FOR_EACH_SAFE(node, after, &catalog->staged)
    {
        staged_free(CONTAINER_OF(node, struct staged, node));
    }
}

struct staged *staged_of(struct catalog *catalog, const struct instance *instance)
{
    LIST_FOR_EACH(node, &catalog->staged)
    {
        struct staged *staged = CONTAINER_OF(node, struct staged, node);

        if (staged->provider.instance == instance)
            return staged;
    }
    return NULL;
}

struct catalog_provider *staged_provider(struct staged *staged)
{
    return &staged->provider;
}

/* ---- What it pushes ---- */

static struct staged_fn *find(struct staged *staged, struct str ns, struct str name)
{
    char key[KEY_MAX];

    return map_get(&staged->fns, catalog_key(key, ns, name));
}

static void forget(struct staged *staged, struct str ns, struct str name)
{
    char key[KEY_MAX];

    staged_fn_free(map_remove(&staged->fns, catalog_key(key, ns, name)));
}

void staged_begin(struct staged *staged)
{
    size_t pos = 0;
    void *fn;

    while (map_next(&staged->fns, &pos, NULL, &fn))
        ((struct staged_fn *)fn)->is_seen = false;
}

/* One that the snapshot did not name, NULL when there is none. */
static struct staged_fn *find_unseen(struct staged *staged)
{
    size_t pos = 0;
    void *fn;

    while (map_next(&staged->fns, &pos, NULL, &fn))
        if (!((struct staged_fn *)fn)->is_seen)
            return fn;
    return NULL;
}

size_t staged_commit(struct staged *staged)
{
    struct staged_fn *fn;

    while ((fn = find_unseen(staged)))
        forget(staged, str_of(fn_spec_get(fn->spec)->ns), str_of(fn_spec_get(fn->spec)->name));
    return staged->fns.count;
}

static void say(struct staged_fn *fn, struct str reason, const struct fng_str *warnings,
                size_t count)
{
    pool_free(&fn->said);
    pool_init(&fn->said, 0);
    fn->reason = pool_str(&fn->said, reason);
    fn->warnings = pool_zalloc(&fn->said, (count + 1) * sizeof(*warnings));
    fn->warnings_count = count;
    for (size_t i = 0; i < count; i++)
        fn->warnings[i] = fng_of(pool_str(&fn->said, str_of(warnings[i])));
}

int32_t staged_upsert(struct catalog *catalog, struct staged *staged, struct fn_spec *spec,
                      struct str reason, const struct fng_str *warnings, size_t count)
{
    struct str ns = str_of(fn_spec_get(spec)->ns), name = str_of(fn_spec_get(spec)->name);
    const struct catalog_fn *serving = catalog_find(catalog, ns, name);
    struct staged_fn *fn = find(staged, ns, name);
    char key[KEY_MAX];

    if (serving && !catalog_provider_of(catalog, serving->owner)->is_held)
        return FNG_E_CONFLICT; /* its owner stays */
    if (fn && fn_spec_get(spec)->generation < fn_spec_get(fn->spec)->generation) {
        fn->is_seen = true; /* old news, but it is there */
        return FNG_E_CONFLICT;
    }
    if (!fn) {
        fn = xcalloc(1, sizeof(*fn));
        pool_init(&fn->said, 0);
        pool_init(&fn->where, 0);
        map_set(&staged->fns, catalog_key(key, ns, name), fn);
    }
    fn_spec_unref(fn->spec);
    fn->spec = fn_spec_ref(spec);
    fn->is_seen = true;
    say(fn, reason, warnings, count);
    return FNG_OK;
}

int32_t staged_remove(struct staged *staged, struct str ns, struct str name, uint64_t generation)
{
    const struct staged_fn *fn = find(staged, ns, name);

    if (!fn)
        return FNG_E_NOT_FOUND;
    if (generation < fn_spec_get(fn->spec)->generation)
        return FNG_E_CONFLICT;
    forget(staged, ns, name);
    return FNG_OK;
}

int32_t staged_endpoints(struct staged *staged, struct str ns, struct str name, uint64_t generation,
                         const struct route_endpoint_spec *endpoints, size_t count)
{
    struct staged_fn *fn = find(staged, ns, name);

    if (!fn)
        return FNG_E_NOT_FOUND;
    if (generation < fn_spec_get(fn->spec)->generation)
        return FNG_E_CONFLICT;
    pool_free(&fn->where);
    pool_init(&fn->where, 0);
    fn->endpoints = pool_zalloc(&fn->where, (count + 1) * sizeof(*endpoints));
    fn->endpoints_count = count;
    fn->endpoints_generation = generation;
    for (size_t i = 0; i < count; i++) {
        fn->endpoints[i] = endpoints[i];
        fn->endpoints[i].replica = pool_str(&fn->where, endpoints[i].replica);
    }
    return FNG_OK;
}

/* ---- The switch ---- */

static void let_in(struct catalog *catalog, struct staged *staged, const struct staged_fn *from,
                   struct catalog_moves *moves)
{
    struct instance *owner = staged->provider.instance;
    struct str ns = str_of(fn_spec_get(from->spec)->ns);
    struct str name = str_of(fn_spec_get(from->spec)->name);
    struct catalog_fn *fn = catalog_find(catalog, ns, name);

    if (fn && catalog_provider_of(catalog, fn->owner)) {
        log_warn("catalog", "%.*s.%.*s of %s is left out: %s has it", STR_ARG(name), STR_ARG(ns),
                 instance_name(owner), instance_name(fn->owner));
        return;
    }
    if (fn)
        moves->kept++;
    else
        moves->added++;
    catalog_unbury(catalog, ns, name); /* generations of another owner say nothing about these */
    fn = catalog_put(catalog, owner, from->spec);
    catalog_set_reason(fn, from->reason);
    catalog_set_warnings(fn, from->warnings, from->warnings_count);
    catalog_set_endpoints(catalog, fn,
                          from->endpoints_count ? from->endpoints_generation
                                                : fn_spec_get(from->spec)->generation,
                          from->endpoints, from->endpoints_count);
}

static void let_all_in(struct catalog *catalog, struct catalog_moves *moves)
{
    LIST_FOR_EACH(node, &catalog->staged)
    {
        struct staged *staged = CONTAINER_OF(node, struct staged, node);
        size_t pos = 0;
        void *fn;

        while (map_next(&staged->fns, &pos, NULL, &fn))
            let_in(catalog, staged, fn, moves);
    }
}

static void drop_ownerless(struct catalog *catalog, struct catalog_moves *moves)
{
    for (size_t i = catalog->fns.count; i > 0; i--) {
        struct catalog_fn *fn = catalog->fns.items[i - 1];

        if (catalog_provider_of(catalog, fn->owner))
            continue;
        log_info("catalog", "%.*s.%.*s leaves: no provider has it any more",
                 STR_ARG(catalog_fn_name(fn)), STR_ARG(catalog_fn_ns(fn)));
        catalog_drop(catalog, fn, 0);
        moves->dropped++;
    }
}

/* Takes over what is known of those that stay, and of the staged ones. */
static void adopt(struct catalog *catalog, struct catalog_provider *provider)
{
    const struct catalog_provider *known = catalog_provider_of(catalog, provider->instance);
    struct staged *staged = staged_of(catalog, provider->instance);

    ASSERT(known || staged);
    if (staged)
        known = &staged->provider;
    provider->is_synced = known->is_synced;
    provider->in_snapshot = known->in_snapshot;
    provider->is_held = known->is_held || staged;
}

void catalog_switch(struct catalog *catalog, const struct catalog_provider *providers, size_t count,
                    struct catalog_moves *ret_moves)
{
    struct catalog_provider *list = xcalloc(count + 1, sizeof(*list));

    for (size_t i = 0; i < count; i++) {
        list[i] = providers[i];
        adopt(catalog, &list[i]);
    }
    VEC_FREE(&catalog->providers);
    catalog->providers.items = list;
    catalog->providers.count = count;
    catalog->providers.cap = count + 1;
    *ret_moves = (struct catalog_moves){0};
    let_all_in(catalog, ret_moves);
    drop_ownerless(catalog, ret_moves);
    catalog_unstage(catalog);
}

/* Holding: while a provider has a successor beside it, wishes for its functions wait, so that what
 * the successor has read does not change under it. They go on as if they came just now. */
#include "catalog/internal.h"

enum held_kind { HELD_DEPLOY, HELD_REMOVE, HELD_SCALE, HELD_WAKE };

struct held {
    struct list node; /* catalog->held */
    enum held_kind kind;
    enum catalog_deploy_mode mode;
    struct fn_spec *spec; /* HELD_DEPLOY */
    char *ns, *name;      /* the others */
    uint32_t replicas;
    plugin_done_f *done;
    void *arg;
};

void catalog_hold(struct catalog *catalog, struct instance *instance)
{
    struct catalog_provider *provider = catalog_provider_of(catalog, instance);

    ASSERT(provider);
    provider->is_held = true;
}

bool catalog_is_quiet(const struct catalog *catalog)
{
    LIST_FOR_EACH(node, &catalog->wishes)
    {
        const struct wish *wish = CONTAINER_OF(node, struct wish, node);

        if (hold_covers(catalog, wish->owner))
            return false;
    }
    return true;
}

void catalog_on_quiet(struct catalog *catalog, void (*on_quiet)(void *arg), void *arg)
{
    catalog->on_quiet = on_quiet;
    catalog->on_quiet_arg = arg;
}

void hold_wish_ended(struct catalog *catalog)
{
    if (catalog->on_quiet && catalog_is_quiet(catalog))
        catalog->on_quiet(catalog->on_quiet_arg);
}

bool hold_covers(const struct catalog *catalog, const struct instance *owner)
{
    for (size_t i = 0; i < catalog->providers.count; i++)
        if (catalog->providers.items[i].instance == owner)
            return catalog->providers.items[i].is_held;
    return false;
}

bool catalog_is_held(const struct catalog_fn *fn)
{
    return hold_covers(fn->catalog, fn->owner);
}

/* ---- What waits ---- */

static struct held *held_new(struct catalog *catalog, enum held_kind kind, plugin_done_f *done,
                             void *arg)
{
    struct held *held = xcalloc(1, sizeof(*held));

    held->kind = kind;
    held->done = done;
    held->arg = arg;
    list_init(&held->node);
    list_push(&catalog->held, &held->node);
    return held;
}

void hold_deploy(struct catalog *catalog, enum catalog_deploy_mode mode,
                 const struct fng_function *function, plugin_done_f *done, void *arg)
{
    struct held *held = held_new(catalog, HELD_DEPLOY, done, arg);

    held->mode = mode;
    held->spec = fn_spec_new(function);
}

static void keep_name(struct held *held, struct str ns, struct str name)
{
    held->ns = str_dup(ns);
    held->name = str_dup(name);
}

void hold_remove(struct catalog *catalog, struct str ns, struct str name, plugin_done_f *done,
                 void *arg)
{
    keep_name(held_new(catalog, HELD_REMOVE, done, arg), ns, name);
}

void hold_scale(struct catalog *catalog, struct str ns, struct str name, uint32_t replicas,
                plugin_done_f *done, void *arg)
{
    struct held *held = held_new(catalog, HELD_SCALE, done, arg);

    held->replicas = replicas;
    keep_name(held, ns, name);
}

void hold_wake(struct catalog *catalog, struct catalog_fn *fn)
{
    fn->is_waking = true;
    keep_name(held_new(catalog, HELD_WAKE, NULL, NULL), catalog_fn_ns(fn), catalog_fn_name(fn));
}

/* ---- And goes on ---- */

static void wake_again(struct catalog *catalog, struct str ns, struct str name)
{
    struct catalog_fn *fn = catalog_find(catalog, ns, name);

    if (!fn)
        return;
    fn->is_waking = false;
    catalog_wake(catalog, fn);
}

static void go_on(struct catalog *catalog, const struct held *held)
{
    struct str ns = str_from(held->ns), name = str_from(held->name);

    switch (held->kind) {
    case HELD_DEPLOY:
        catalog_deploy(catalog, held->mode, fn_spec_get(held->spec), held->done, held->arg);
        break;
    case HELD_REMOVE:
        catalog_remove(catalog, ns, name, held->done, held->arg);
        break;
    case HELD_SCALE:
        catalog_scale(catalog, ns, name, held->replicas, held->done, held->arg);
        break;
    case HELD_WAKE:
        wake_again(catalog, ns, name);
        break;
    }
}

static void held_free(struct held *held)
{
    fn_spec_unref(held->spec);
    mem_free(held->ns);
    mem_free(held->name);
    mem_free(held);
}

void catalog_resume(struct catalog *catalog)
{
    struct list *node;

    for (size_t i = 0; i < catalog->providers.count; i++)
        catalog->providers.items[i].is_held = false;
    catalog->on_quiet = NULL;
    while ((node = list_pop(&catalog->held))) {
        struct held *held = CONTAINER_OF(node, struct held, node);

        go_on(catalog, held);
        held_free(held);
    }
}

/* At the end nobody is told any more. */
void hold_free(struct catalog *catalog)
{
    struct list *node;

    while ((node = list_pop(&catalog->held)))
        held_free(CONTAINER_OF(node, struct held, node));
}

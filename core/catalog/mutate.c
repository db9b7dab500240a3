/* Wishes of callers: deploy, update, remove, scale, wake. Each is checked, handed to the owning
 * provider, and shown in the catalog before its caller is told. */
#include "catalog/internal.h"

#include "base/log.h"

static struct wish *wish_new(struct catalog *catalog, struct instance *owner, struct str ns,
                             struct str name, uint64_t generation, plugin_done_f *done, void *arg)
{
    struct wish *wish = xcalloc(1, sizeof(*wish));

    *wish = (struct wish){.catalog = catalog,
                          .owner = owner,
                          .ns = str_dup(ns),
                          .name = str_dup(name),
                          .generation = generation,
                          .done = done,
                          .arg = arg};
    list_init(&wish->node);
    list_push(&catalog->wishes, &wish->node);
    return wish;
}

static void wish_end(struct wish *wish, const struct plugin_result *result)
{
    struct catalog *catalog = wish->catalog;

    list_remove(&wish->node);
    if (wish->done)
        wish->done(wish->arg, result);
    fn_spec_unref(wish->spec);
    mem_free(wish->ns);
    mem_free(wish->name);
    mem_free(wish);
    hold_wish_ended(catalog);
}

static struct catalog_fn *wish_fn(const struct wish *wish)
{
    return catalog_find(wish->catalog, str_from(wish->ns), str_from(wish->name));
}

/* Shows the wish's spec, unless something newer came meanwhile. */
static struct catalog_fn *wish_apply(const struct wish *wish)
{
    struct catalog_fn *fn = wish_fn(wish);

    if (fn && fn_spec_get(fn->spec)->generation > wish->generation)
        return fn;
    /* The provider's own copy of this generation may carry what it filled in: keep it. */
    if (fn && fn_spec_get(fn->spec)->generation == wish->generation)
        return fn;
    return catalog_put(wish->catalog, wish->owner, wish->spec);
}

/* ---- Deploy and update ---- */

/* Labels and annotations that we read must parse; *ret_text says which does not. */
static const char *bad_setting(const struct fng_function *function)
{
    static const char *const counts[] = {"com.openfaas.scale.min", "com.openfaas.scale.max"};
    int64_t duration;
    uint64_t number;
    struct str value;

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        value = fng_kv_find(function->labels, str_from(counts[i]));
        if (value.ptr && !str_to_u64(value, 100000, &number))
            return counts[i];
    }
    value = fng_kv_find(function->labels, STR("com.openfaas.scale.zero-duration"));
    if (value.ptr && !str_to_duration_ms(value, &duration))
        return "com.openfaas.scale.zero-duration";
    value = fng_kv_find(function->annotations, STR("com.openfaas.timeout"));
    if (value.ptr && !str_to_duration_ms(value, &duration))
        return "com.openfaas.timeout";
    value = fng_kv_find(function->annotations, STR("com.openfaas.concurrency"));
    if (value.ptr && !str_to_u64(value, UINT32_MAX, &number))
        return "com.openfaas.concurrency";
    return NULL;
}

/* The first field that the provider says it cannot honour, NULL when there is none. */
static const char *unsupported_field(const struct instance *owner,
                                     const struct fng_function *function)
{
    uint32_t can = instance_descriptor(owner)->capabilities;

    if (function->constraints.count && !(can & FNG_PROVIDER_CAN_CONSTRAINTS))
        return "constraints";
    if ((function->flags & FNG_FUNCTION_READ_ONLY_ROOT) && !(can & FNG_PROVIDER_CAN_READ_ONLY_ROOT))
        return "readOnlyRootFilesystem";
    if (fng_kv_find(function->limits, STR("memory")).ptr && !(can & FNG_PROVIDER_CAN_LIMIT_MEMORY))
        return "limits.memory";
    if (fng_kv_find(function->limits, STR("cpu")).ptr && !(can & FNG_PROVIDER_CAN_LIMIT_CPU))
        return "limits.cpu";
    return NULL;
}

static void on_deployed(void *arg, const struct plugin_result *result)
{
    struct wish *wish = arg;
    char key[KEY_MAX];

    if (wish->is_creating)
        map_remove(&wish->catalog->creating,
                   catalog_key(key, str_from(wish->ns), str_from(wish->name)));
    if (result->error == FNG_OK)
        wish_apply(wish)->ready_at_ms = loop_now_ms(wish->catalog->config.control);
    wish_end(wish, result);
}

/* Desired replicas of a new version: what runs now, at least the minimum, at least one. */
static uint32_t replicas_wanted(const struct fng_function *function, const struct catalog_fn *fn)
{
    uint32_t wanted = fn ? fn_spec_get(fn->spec)->replicas : 1;
    uint64_t min;

    if (str_to_u64(fng_kv_find(function->labels, STR("com.openfaas.scale.min")), UINT32_MAX,
                   &min) &&
        min > wanted)
        wanted = (uint32_t)min;
    return wanted ? wanted : 1;
}

/* Everything that can be wrong before a provider is asked. 0, or an FNG_E_* class that was answered
 * already. */
static int32_t deploy_check(struct catalog *catalog, enum catalog_deploy_mode mode,
                            const struct fng_function *function, plugin_done_f *done, void *arg)
{
    struct str ns = str_of(function->ns), name = str_of(function->name);
    const struct catalog_fn *fn = catalog_find(catalog, ns, name);
    const char *setting = bad_setting(function);
    char key[KEY_MAX];
    int32_t error = FNG_E_INVALID;

    if (!catalog_name_is_valid(name))
        catalog_answer(catalog, done, arg, error, "service",
                       "'%.*s' is no function name: lower-case letters, digits and inner hyphens, "
                       "at most 63",
                       STR_ARG(name));
    else if (!catalog_namespace_find(catalog, ns))
        catalog_answer(catalog, done, arg, error, "namespace",
                       "namespace '%.*s' does not exist; create it with POST /system/namespace/",
                       STR_ARG(ns));
    else if (function->image.len == 0)
        catalog_answer(catalog, done, arg, error, "image", "image is required");
    else if (setting)
        catalog_answer(catalog, done, arg, error, setting, "the value of %s does not parse",
                       setting);
    else if (mode == CATALOG_UPDATE && !fn)
        catalog_answer(catalog, done, arg, error = FNG_E_NOT_FOUND, "service",
                       "function %.*s.%.*s does not exist; create it with POST", STR_ARG(name),
                       STR_ARG(ns));
    else if (mode == CATALOG_CREATE &&
             (fn || map_get(&catalog->creating, catalog_key(key, ns, name))))
        catalog_answer(catalog, done, arg, error = FNG_E_CONFLICT, "service",
                       "function %.*s.%.*s exists already; update it with PUT", STR_ARG(name),
                       STR_ARG(ns));
    else
        error = FNG_OK;
    return error;
}

void catalog_deploy(struct catalog *catalog, enum catalog_deploy_mode mode,
                    const struct fng_function *function, plugin_done_f *done, void *arg)
{
    struct str ns = str_of(function->ns), name = str_of(function->name);
    struct catalog_fn *fn = catalog_find(catalog, ns, name);
    struct instance *owner;
    struct fng_function wanted = *function;
    struct wish *wish;
    struct err err;
    char key[KEY_MAX];

    if (deploy_check(catalog, mode, function, done, arg) != FNG_OK)
        return;
    owner = fn ? fn->owner : catalog_owner_of(catalog, ns, &err);
    if (!owner) {
        catalog_answer(catalog, done, arg, FNG_E_INVALID, "namespace", "%s", err.text);
        return;
    }
    if (hold_covers(catalog, owner)) {
        hold_deploy(catalog, mode, function, done, arg);
        return;
    }
    if (catalog->config.is_strict && unsupported_field(owner, function)) {
        const char *field = unsupported_field(owner, function);

        catalog_answer(catalog, done, arg, FNG_E_INVALID, field,
                       "provider %s cannot honour %s and the configuration is strict",
                       instance_name(owner), field);
        return;
    }
    wanted.generation = catalog_generation_next(catalog);
    wanted.replicas = replicas_wanted(function, fn);
    wanted.created_ms = fn ? fn_spec_get(fn->spec)->created_ms : function->created_ms;
    wish = wish_new(catalog, owner, ns, name, wanted.generation, done, arg);
    wish->spec = fn_spec_new(&wanted);
    if (mode == CATALOG_CREATE) {
        wish->is_creating = true;
        map_set(&catalog->creating, catalog_key(key, ns, name), wish);
        provider_deploy(owner, wish->spec, 0, on_deployed, wish);
    } else {
        provider_update(owner, wish->spec, 0, on_deployed, wish);
    }
}

/* ---- Remove ---- */

static void on_removed(void *arg, const struct plugin_result *result)
{
    struct wish *wish = arg;
    struct catalog_fn *fn = wish_fn(wish);
    bool is_gone = result->error == FNG_OK || result->error == FNG_E_NOT_FOUND;

    /* A provider that does not know it any more agrees with us. */
    if (fn && is_gone && fn_spec_get(fn->spec)->generation <= wish->generation)
        catalog_drop(wish->catalog, fn, wish->generation);
    if (result->error == FNG_E_NOT_FOUND) {
        struct plugin_result ok = {.error = FNG_OK};

        wish_end(wish, &ok);
        return;
    }
    wish_end(wish, result);
}

static void answer_unknown(struct catalog *catalog, struct str ns, struct str name,
                           plugin_done_f *done, void *arg)
{
    catalog_answer(catalog, done, arg, FNG_E_NOT_FOUND, "", "function %.*s.%.*s does not exist",
                   STR_ARG(name), STR_ARG(ns));
}

void catalog_remove(struct catalog *catalog, struct str ns, struct str name, plugin_done_f *done,
                    void *arg)
{
    struct catalog_fn *fn = catalog_find(catalog, ns, name);
    uint64_t generation;

    if (!fn) {
        answer_unknown(catalog, ns, name, done, arg);
        return;
    }
    if (hold_covers(catalog, fn->owner)) {
        hold_remove(catalog, ns, name, done, arg);
        return;
    }
    generation = catalog_generation_next(catalog);
    provider_remove(fn->owner, ns, name, generation, 0, on_removed,
                    wish_new(catalog, fn->owner, ns, name, generation, done, arg));
}

/* ---- Scale and wake ---- */

static void on_scaled(void *arg, const struct plugin_result *result)
{
    struct wish *wish = arg;

    if (result->error == FNG_OK && wish_fn(wish))
        wish_apply(wish);
    wish_end(wish, result);
}

void catalog_scale(struct catalog *catalog, struct str ns, struct str name, uint32_t replicas,
                   plugin_done_f *done, void *arg)
{
    struct catalog_fn *fn = catalog_find(catalog, ns, name);
    struct wish *wish;

    if (!fn) {
        answer_unknown(catalog, ns, name, done, arg);
        return;
    }
    if (hold_covers(catalog, fn->owner)) {
        hold_scale(catalog, ns, name, replicas, done, arg);
        return;
    }
    wish = wish_new(catalog, fn->owner, ns, name, catalog_generation_next(catalog), done, arg);
    wish->spec = fn_spec_with(fn->spec, replicas, wish->generation);
    provider_scale(fn->owner, ns, name, replicas, wish->generation, 0, on_scaled, wish);
}

static void on_woken(void *arg, const struct plugin_result *result)
{
    struct wish *wish = arg;
    struct catalog_fn *fn = wish_fn(wish);

    if (fn)
        fn->is_waking = false;
    if (fn && result->error == FNG_OK)
        wish_apply(wish);
    if (fn && result->error != FNG_OK) {
        log_warn("catalog", "%s.%s cannot be started: %.*s", wish->name, wish->ns,
                 STR_ARG(result->text));
        catalog_set_reason(fn, result->text);
    }
    wish_end(wish, result);
}

void catalog_wake(struct catalog *catalog, struct catalog_fn *fn)
{
    const struct fng_function *spec = fn_spec_get(fn->spec);
    struct wish *wish;

    /* Once replicas are wanted the provider starts them, whatever it takes. */
    if (fn->is_waking || spec->replicas > 0)
        return;
    if (hold_covers(catalog, fn->owner)) {
        hold_wake(catalog, fn);
        return;
    }
    fn->is_waking = true;
    wish = wish_new(catalog, fn->owner, str_of(spec->ns), str_of(spec->name),
                    catalog_generation_next(catalog), NULL, NULL);
    wish->spec = fn_spec_with(fn->spec, catalog_scale_min(fn), wish->generation);
    provider_activate(fn->owner, str_of(spec->ns), str_of(spec->name), catalog_scale_min(fn),
                      wish->generation, 0, on_woken, wish);
}

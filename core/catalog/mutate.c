/* Wishes of callers: deploy, update, remove, scale. Each is checked, handed to the owning
 * provider, and shown in the catalog before its caller is told. */
#include "catalog/internal.h"

#include "base/log.h"

enum { ATTEMPTS_MAX = 4 };

static void wish_submit(struct wish *wish);

/* ---- Wishes under way ---- */

struct wish *wish_new(struct catalog *catalog, enum wish_kind kind, struct instance *owner,
                      struct str ns, struct str name, plugin_done_f *done, void *arg)
{
    struct wish *wish = xcalloc(1, sizeof(*wish));

    *wish = (struct wish){.catalog = catalog,
                          .kind = kind,
                          .owner = owner,
                          .ns = str_dup(ns),
                          .name = str_dup(name),
                          .generation = catalog_generation_next(catalog),
                          .done = done,
                          .arg = arg};
    list_init(&wish->node);
    list_push(&catalog->wishes, &wish->node);
    return wish;
}

void wish_free(struct wish *wish)
{
    list_remove(&wish->node);
    fn_spec_unref(wish->spec);
    mem_free(wish->ns);
    mem_free(wish->name);
    mem_free(wish);
}

void wish_end(struct wish *wish, const struct plugin_result *result)
{
    struct catalog *catalog = wish->catalog;

    list_remove(&wish->node);
    if (wish->done)
        wish->done(wish->arg, result);
    wish_free(wish);
    hold_wish_ended(catalog);
}

struct catalog_fn *wish_fn(const struct wish *wish)
{
    return catalog_find(wish->catalog, str_from(wish->ns), str_from(wish->name));
}

/* Puts a spec whose content is older than its generation. */
static void put_merged(const struct wish *wish, struct fn_spec *content, uint32_t replicas,
                       uint64_t generation)
{
    uint64_t content_generation = fn_spec_get(content)->generation;
    struct fn_spec *merged = fn_spec_with(content, replicas, generation);

    catalog_put(wish->catalog, wish->owner, merged)->content_generation = content_generation;
    fn_spec_unref(merged);
}

void wish_show_replicas(const struct wish *wish, struct catalog_fn *fn)
{
    uint64_t content_generation = fn->content_generation;

    if (fn_spec_get(fn->spec)->generation >= wish->generation)
        return;
    put_merged(wish, fn->spec, wish->replicas, wish->generation);
    fn->content_generation = content_generation;
}

/* Shows what was deployed, unless something newer came meanwhile. The provider's own copy may carry
 * what it filled in: it stays. A scaling that was quicker keeps its say about replicas. */
static void wish_show_content(const struct wish *wish)
{
    const struct catalog_fn *fn = wish_fn(wish);

    if (!fn && catalog_is_buried(wish->catalog, str_from(wish->ns), str_from(wish->name),
                                 wish->generation))
        return;
    if (!fn || fn_spec_get(fn->spec)->generation < wish->generation)
        catalog_put(wish->catalog, wish->owner, wish->spec);
    else if (fn->content_generation < wish->generation)
        put_merged(wish, wish->spec, fn_spec_get(fn->spec)->replicas,
                   fn_spec_get(fn->spec)->generation);
}

/* Desired replicas: of the newest scaling when that is still under way. */
static uint32_t replicas_now(const struct catalog_fn *fn)
{
    LIST_FOR_EACH(node, &fn->catalog->wishes)
    {
        const struct wish *wish = CONTAINER_OF(node, struct wish, node);

        if (wish->kind == WISH_SCALE && wish->generation == fn->scale_generation)
            return wish->replicas;
    }
    return fn_spec_get(fn->spec)->replicas;
}

/* Desired replicas of a new version: as now, at least the minimum, at least one. */
static uint32_t replicas_wanted(const struct fng_function *function, const struct catalog_fn *fn)
{
    uint32_t wanted = fn ? replicas_now(fn) : 1;
    uint64_t min;

    if (str_to_u64(fng_kv_find(function->labels, STR("com.openfaas.scale.min")), UINT32_MAX,
                   &min) &&
        min > wanted)
        wanted = (uint32_t)min;
    return wanted ? wanted : 1;
}

/* The newest generation that was given to wishes of this kind for the function. */
static uint64_t *newest_of(const struct wish *wish, struct catalog_fn *fn)
{
    return wish->kind == WISH_SCALE ? &fn->scale_generation : &fn->control_generation;
}

/* Scalings have a lane of their own, so a provider may see a newer generation first and refuse this
 * one, although neither wish takes anything from the other: then it is said again as the newest.
 * Not so when a newer wish of its own kind is under way. */
static bool wish_again(struct wish *wish, const struct plugin_result *result)
{
    struct catalog_fn *fn = wish_fn(wish);
    uint64_t *newest, other;

    if (result->error != FNG_E_CONFLICT || wish->kind == WISH_CREATE || !fn ||
        wish->attempts >= ATTEMPTS_MAX)
        return false;
    newest = newest_of(wish, fn);
    other = wish->kind == WISH_SCALE ? fn->control_generation : fn->scale_generation;
    if (*newest != wish->generation || other < wish->generation)
        return false;
    wish->generation = *newest = catalog_generation_next(wish->catalog);
    if (wish->spec) {
        struct fn_spec *spec = fn_spec_with(
            wish->spec, replicas_wanted(fn_spec_get(wish->spec), fn), wish->generation);

        fn_spec_unref(wish->spec);
        wish->spec = spec;
    }
    wish_submit(wish);
    return true;
}

/* ---- Deploy and update ---- */

/* Labels and annotations that we read must parse. Returns the first that does not, or NULL. */
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
    if (value.ptr && (!str_to_duration_ms(value, &duration) || duration == 0))
        return "com.openfaas.scale.zero-duration";
    value = fng_kv_find(function->annotations, STR("com.openfaas.timeout"));
    if (value.ptr && !str_to_duration_ms(value, &duration))
        return "com.openfaas.timeout";
    value = fng_kv_find(function->annotations, STR("com.openfaas.concurrency"));
    if (value.ptr && !str_to_u64(value, UINT32_MAX, &number))
        return "com.openfaas.concurrency";
    return NULL;
}

static void on_deployed(void *arg, const struct plugin_result *result)
{
    struct wish *wish = arg;
    struct catalog_fn *fn;
    char key[KEY_MAX];

    if (wish_again(wish, result))
        return;
    if (wish->kind == WISH_CREATE)
        map_remove(&wish->catalog->creating,
                   catalog_key(key, str_from(wish->ns), str_from(wish->name)));
    if (result->error == FNG_OK)
        wish_show_content(wish);
    fn = wish_fn(wish);
    if (fn && result->error == FNG_OK)
        fn->ready_at_ms = loop_now_ms(wish->catalog->config.control);
    wish_end(wish, result);
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

/* What the provider cannot honour: false when that was answered as an error. */
static bool honour_check(struct catalog *catalog, const struct instance *owner,
                         const struct fng_function *function, plugin_done_f *done, void *arg)
{
    const char *field;
    size_t pos = 0;

    while ((field = honour_next(owner, function, &pos))) {
        if (catalog->config.is_strict) {
            catalog_answer(catalog, done, arg, FNG_E_INVALID, field,
                           "provider %s cannot honour %s and the configuration is strict",
                           instance_name(owner), field);
            return false;
        }
        log_warn("catalog", "%.*s.%.*s: %s is ignored: provider %s cannot honour it",
                 STR_ARG(str_of(function->name)), STR_ARG(str_of(function->ns)), field,
                 instance_name(owner));
    }
    return true;
}

static struct wish *deploy_wish(struct catalog *catalog, enum catalog_deploy_mode mode,
                                struct instance *owner, const struct fng_function *function,
                                plugin_done_f *done, void *arg)
{
    struct str ns = str_of(function->ns), name = str_of(function->name);
    enum wish_kind kind = mode == CATALOG_CREATE ? WISH_CREATE : WISH_UPDATE;
    struct wish *wish = wish_new(catalog, kind, owner, ns, name, done, arg);
    struct catalog_fn *fn = catalog_find(catalog, ns, name);
    struct fng_function wanted = *function;
    char key[KEY_MAX];

    wanted.generation = wish->generation;
    wanted.replicas = replicas_wanted(function, fn);
    if (fn) {
        wanted.created_ms = fn_spec_get(fn->spec)->created_ms;
        fn->control_generation = wish->generation;
    }
    wish->spec = fn_spec_new(&wanted);
    if (kind == WISH_CREATE)
        map_set(&catalog->creating, catalog_key(key, ns, name), wish);
    return wish;
}

void catalog_deploy(struct catalog *catalog, enum catalog_deploy_mode mode,
                    const struct fng_function *function, plugin_done_f *done, void *arg)
{
    struct str ns = str_of(function->ns);
    const struct catalog_fn *fn = catalog_find(catalog, ns, str_of(function->name));
    struct instance *owner;
    struct err err;

    if (deploy_check(catalog, mode, function, done, arg) != FNG_OK)
        return;
    owner = fn ? fn->owner : catalog_owner_of(catalog, ns, &err);
    if (!owner)
        catalog_answer(catalog, done, arg, FNG_E_INVALID, "namespace", "%s", err.text);
    else if (hold_covers(catalog, owner))
        hold_deploy(catalog, mode, function, done, arg);
    else if (honour_check(catalog, owner, function, done, arg))
        wish_submit(deploy_wish(catalog, mode, owner, function, done, arg));
}

/* ---- Remove ---- */

/* What is there and newer is only a scaling: a deploy would have had to wait for us. */
static void show_removed(const struct wish *wish)
{
    struct catalog_fn *fn = wish_fn(wish);
    uint64_t generation = fn ? fn_spec_get(fn->spec)->generation : 0;

    if (generation < wish->generation)
        generation = wish->generation;
    if (fn)
        catalog_drop(wish->catalog, fn, generation);
    else
        catalog_bury(wish->catalog, str_from(wish->ns), str_from(wish->name), generation);
}

static void on_removed(void *arg, const struct plugin_result *result)
{
    static const struct plugin_result ok = {.error = FNG_OK};
    struct wish *wish = arg;

    if (wish_again(wish, result))
        return;
    /* A provider that does not know it any more agrees with us. */
    if (result->error == FNG_E_NOT_FOUND)
        result = &ok;
    if (result->error == FNG_OK)
        show_removed(wish);
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
    struct wish *wish;

    if (!fn) {
        answer_unknown(catalog, ns, name, done, arg);
        return;
    }
    if (hold_covers(catalog, fn->owner)) {
        hold_remove(catalog, ns, name, done, arg);
        return;
    }
    wish = wish_new(catalog, WISH_REMOVE, fn->owner, ns, name, done, arg);
    fn->control_generation = wish->generation;
    wish_submit(wish);
}

/* ---- Scale ---- */

static void on_scaled(void *arg, const struct plugin_result *result)
{
    struct wish *wish = arg;
    struct catalog_fn *fn;

    if (wish_again(wish, result))
        return;
    fn = wish_fn(wish);
    if (fn && result->error == FNG_OK)
        wish_show_replicas(wish, fn);
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
    wish = wish_new(catalog, WISH_SCALE, fn->owner, ns, name, done, arg);
    wish->replicas = replicas;
    fn->scale_generation = wish->generation;
    wish_submit(wish);
}

static void wish_submit(struct wish *wish)
{
    struct str ns = str_from(wish->ns), name = str_from(wish->name);

    wish->attempts++;
    switch (wish->kind) {
    case WISH_CREATE:
        provider_deploy(wish->owner, wish->spec, 0, on_deployed, wish);
        break;
    case WISH_UPDATE:
        provider_update(wish->owner, wish->spec, 0, on_deployed, wish);
        break;
    case WISH_REMOVE:
        provider_remove(wish->owner, ns, name, wish->generation, 0, on_removed, wish);
        break;
    case WISH_SCALE:
        provider_scale(wish->owner, ns, name, wish->replicas, wish->generation, 0, on_scaled, wish);
        break;
    case WISH_WAKE: /* wake.c repeats its own */
        ASSERT(false);
        break;
    }
}

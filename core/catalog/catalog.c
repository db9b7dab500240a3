/* The catalog's tables: functions in order, who owns which namespace, what is published. Deltas of
 * providers come in through sink.c, wishes of callers through mutate.c. */
#include "catalog/catalog.h"

#include "base/assert.h"
#include "base/sys.h"
#include "catalog/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct catalog *catalog_new(const struct catalog_config *config)
{
    struct catalog *catalog = xcalloc(1, sizeof(*catalog));

    catalog->config = *config;
    catalog->default_ns = str_dup(config->default_ns);
    list_init(&catalog->wishes);
    list_init(&catalog->held);
    list_init(&catalog->staged);
    map_init(&catalog->creating);
    map_init(&catalog->tombstones);
    counters_init(catalog);
    return catalog;
}

static void fn_free(struct catalog_fn *fn)
{
    timer_cancel(&fn->wake_again);
    honour_forget(fn);
    fn_spec_unref(fn->spec);
    mem_free(fn->reason);
    mem_free(fn);
}

static void tombstones_clear(struct catalog *catalog)
{
    size_t pos = 0;
    void *generation;

    while (map_next(&catalog->tombstones, &pos, NULL, &generation))
        mem_free(generation);
    map_free(&catalog->tombstones);
}

void catalog_free(struct catalog *catalog)
{
    if (!catalog)
        return;
    for (size_t i = 0; i < catalog->fns.count; i++)
        fn_free(catalog->fns.items[i]);
    VEC_FREE(&catalog->fns);
    VEC_FREE(&catalog->providers);
    catalog_unstage(catalog);
    hold_free(catalog);
    LIST_FOR_EACH_SAFE(node, after, &catalog->wishes)
    {
        wish_free(CONTAINER_OF(node, struct wish, node));
    }
    map_free(&catalog->creating);
    tombstones_clear(catalog);
    namespaces_free(catalog);
    counters_free(catalog);
    mem_free(catalog->default_ns);
    mem_free(catalog);
}

void catalog_set_store(struct catalog *catalog, struct instance *store)
{
    catalog->store = store;
}

void catalog_on_synced(struct catalog *catalog, void (*on_synced)(void *arg), void *arg)
{
    catalog->on_synced = on_synced;
    catalog->on_synced_arg = arg;
}

/* ---- Names and order ---- */

struct str catalog_key(char buf[KEY_MAX], struct str ns, struct str name)
{
    int len = snprintf(buf, KEY_MAX, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));

    return str_make(buf, len < KEY_MAX ? (size_t)len : KEY_MAX - 1);
}

/* A DNS label: lower-case letters, digits and inner hyphens. */
bool catalog_name_is_valid(struct str name)
{
    if (name.len == 0 || name.len > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_edge = i == 0 || i == name.len - 1;

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && (c != '-' || is_edge))
            return false;
    }
    return true;
}

struct str catalog_fn_ns(const struct catalog_fn *fn)
{
    return str_of(fn_spec_get(fn->spec)->ns);
}

struct str catalog_fn_name(const struct catalog_fn *fn)
{
    return str_of(fn_spec_get(fn->spec)->name);
}

static int compare(const struct catalog_fn *fn, struct str ns, struct str name)
{
    int diff = str_cmp(catalog_fn_ns(fn), ns);

    return diff ? diff : str_cmp(catalog_fn_name(fn), name);
}

/* Index of the first function that is not before ns/name. */
static size_t lower_bound(const struct catalog *catalog, struct str ns, struct str name)
{
    size_t low = 0, high = catalog->fns.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(catalog->fns.items[middle], ns, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct catalog_fn *catalog_find(const struct catalog *catalog, struct str ns, struct str name)
{
    size_t i = lower_bound(catalog, ns, name);

    if (i == catalog->fns.count || compare(catalog->fns.items[i], ns, name) != 0)
        return NULL;
    return catalog->fns.items[i];
}

struct catalog_fn *catalog_next(const struct catalog *catalog, const struct catalog_fn *after,
                                struct str ns)
{
    struct catalog_fn *next;
    size_t i = 0;

    if (after)
        i = lower_bound(catalog, catalog_fn_ns(after), catalog_fn_name(after)) + 1;
    else if (ns.ptr)
        i = lower_bound(catalog, ns, STR(""));
    if (i >= catalog->fns.count)
        return NULL;
    next = catalog->fns.items[i];
    return ns.ptr && !str_eq(catalog_fn_ns(next), ns) ? NULL : next;
}

size_t catalog_count(const struct catalog *catalog)
{
    return catalog->fns.count;
}

struct str catalog_default_ns(const struct catalog *catalog)
{
    return str_from(catalog->default_ns);
}

struct str catalog_resolve_ns(const struct catalog *catalog, struct str ns)
{
    if (ns.len == 0)
        return catalog_default_ns(catalog);
    if (str_eq(ns, STR("openfaas-fn")) && !catalog_namespace_find(catalog, ns))
        return catalog_default_ns(catalog);
    return ns;
}

struct str catalog_label(const struct catalog_fn *fn, struct str key)
{
    return fng_kv_find(fn_spec_get(fn->spec)->labels, key);
}

struct str catalog_annotation(const struct catalog_fn *fn, struct str key)
{
    return fng_kv_find(fn_spec_get(fn->spec)->annotations, key);
}

uint32_t catalog_scale_min(const struct catalog_fn *fn)
{
    uint64_t min;

    if (!str_to_u64(catalog_label(fn, STR("com.openfaas.scale.min")), UINT32_MAX, &min) || min == 0)
        return 1;
    return (uint32_t)min;
}

uint64_t catalog_invocations(const struct catalog_fn *fn)
{
    struct route_fn_stats stats;

    route_fn_stats(fn->route, &stats);
    return stats.completed;
}

/* ---- Providers ---- */

void catalog_add_provider(struct catalog *catalog, const struct catalog_provider *provider)
{
    *VEC_PUSH(&catalog->providers) = *provider;
}

size_t catalog_providers(const struct catalog *catalog, const struct catalog_provider **ret)
{
    *ret = catalog->providers.items;
    return catalog->providers.count;
}

struct catalog_provider *catalog_provider_of(struct catalog *catalog,
                                             const struct instance *instance)
{
    for (size_t i = 0; i < catalog->providers.count; i++)
        if (catalog->providers.items[i].instance == instance)
            return &catalog->providers.items[i];
    return NULL;
}

static bool pattern_matches(struct str pattern, struct str ns)
{
    if (str_ends(pattern, STR("*")))
        return str_starts(ns, str_sub(pattern, 0, pattern.len - 1));
    return str_eq(pattern, ns);
}

struct instance *catalog_owner_of(const struct catalog *catalog, struct str ns, struct err *err)
{
    struct instance *fallback = NULL;

    for (size_t i = 0; i < catalog->providers.count; i++) {
        const struct catalog_provider *provider = &catalog->providers.items[i];

        for (size_t j = 0; j < provider->namespaces_count; j++)
            if (pattern_matches(provider->namespaces[j], ns))
                return provider->instance;
        if (provider->is_default)
            fallback = provider->instance;
    }
    if (!fallback)
        err_set(
            err, -ENOENT,
            "no provider serves namespace %.*s; bind it under `providers:` in the configuration",
            STR_ARG(ns));
    return fallback;
}

/* ---- Observers ---- */

void catalog_observe(struct catalog *catalog,
                     void (*on_change)(void *arg, struct catalog_fn *fn, bool is_removed),
                     void *arg)
{
    ASSERT(catalog->observers_count < OBSERVERS_MAX);
    catalog->observers[catalog->observers_count++] = (struct observer){on_change, arg};
}

void catalog_tell(struct catalog *catalog, struct catalog_fn *fn, bool is_removed)
{
    for (size_t i = 0; i < catalog->observers_count; i++)
        catalog->observers[i].on_change(catalog->observers[i].arg, fn, is_removed);
}

/* ---- Putting and dropping ---- */

uint64_t catalog_generation_next(struct catalog *catalog)
{
    uint64_t now_us = (uint64_t)(sys_wall_ns() / 1000);

    catalog->generation = now_us > catalog->generation ? now_us : catalog->generation + 1;
    return catalog->generation;
}

/* What the hot path needs of labels and annotations. Values that do not parse keep the default:
 * mutate.c has refused them for functions that were deployed through us. */
static struct route_policy policy_of(const struct catalog *catalog, const struct catalog_fn *fn)
{
    const struct fng_provider_ops *ops = instance_descriptor(fn->owner)->operations;
    struct route_policy policy = {.can_wake = ops->activate != NULL,
                                  .timeout_ms = catalog->config.timeout_ms,
                                  .stream_idle_ms = catalog->config.stream_idle_ms,
                                  .parked_max = catalog->config.parked_max};
    uint64_t concurrency;
    int64_t timeout_ms;

    if (str_to_duration_ms(catalog_annotation(fn, STR("com.openfaas.timeout")), &timeout_ms) &&
        timeout_ms > 0)
        policy.timeout_ms = timeout_ms;
    if (catalog->config.timeout_ms > 0 && policy.timeout_ms > catalog->config.timeout_ms)
        policy.timeout_ms = catalog->config.timeout_ms;
    if (str_to_u64(catalog_annotation(fn, STR("com.openfaas.concurrency")), UINT32_MAX,
                   &concurrency))
        policy.concurrency_max = (unsigned)concurrency;
    return policy;
}

void catalog_configure(struct catalog *catalog, const struct catalog_config *config)
{
    catalog->config.is_strict = config->is_strict;
    catalog->config.timeout_ms = config->timeout_ms;
    catalog->config.stream_idle_ms = config->stream_idle_ms;
    catalog->config.parked_max = config->parked_max;
    for (size_t i = 0; i < catalog->fns.count; i++) {
        struct catalog_fn *fn = catalog->fns.items[i];
        struct route_policy policy = policy_of(catalog, fn);

        route_fn_set_policy(catalog->config.routes, fn->route, &policy);
    }
}

static struct catalog_fn *insert(struct catalog *catalog, struct instance *owner,
                                 struct fn_spec *spec)
{
    struct str ns = str_of(fn_spec_get(spec)->ns), name = str_of(fn_spec_get(spec)->name);
    size_t at = lower_bound(catalog, ns, name);
    struct catalog_fn *fn = xcalloc(1, sizeof(*fn));

    fn->catalog = catalog;
    fn->owner = owner;
    fn->spec = fn_spec_ref(spec);
    fn->route = route_fn_put(catalog->config.routes, ns, name);
    wake_init(fn);
    route_fn_set_user(fn->route, fn);
    VEC_PUSH(&catalog->fns);
    memmove(&catalog->fns.items[at + 1], &catalog->fns.items[at],
            (catalog->fns.count - 1 - at) * sizeof(catalog->fns.items[0]));
    catalog->fns.items[at] = fn;
    counters_attach(catalog, fn);
    return fn;
}

struct catalog_fn *catalog_put(struct catalog *catalog, struct instance *owner,
                               struct fn_spec *spec)
{
    const struct fng_function *function = fn_spec_get(spec);
    struct catalog_fn *fn = catalog_find(catalog, str_of(function->ns), str_of(function->name));
    struct route_policy policy;

    if (!fn)
        fn = insert(catalog, owner, spec);
    fn_spec_ref(spec);
    fn_spec_unref(fn->spec);
    fn->spec = spec;
    fn->owner = owner;
    fn->content_generation = function->generation;
    if (function->generation > catalog->generation)
        catalog->generation = function->generation;
    fn->is_seen = true;
    policy = policy_of(catalog, fn);
    route_fn_set_policy(catalog->config.routes, fn->route, &policy);
    honour_refresh(fn);
    catalog_tell(catalog, fn, false);
    wake_if_parked(fn);
    return fn;
}

void catalog_set_reason(struct catalog_fn *fn, struct str reason)
{
    mem_free(fn->reason);
    fn->reason = reason.len ? str_dup(reason) : NULL;
    fn->is_wake_reason = false;
    route_fn_set_reason(fn->catalog->config.routes, fn->route, reason);
}

/* When there are too many all are forgotten: deltas that they refuse are milliseconds old. */
void catalog_bury(struct catalog *catalog, struct str ns, struct str name, uint64_t generation)
{
    uint64_t *stored = xmalloc(sizeof(*stored));
    char key[KEY_MAX];

    if (catalog->tombstones.count >= TOMBSTONES_MAX)
        tombstones_clear(catalog);
    *stored = generation;
    mem_free(map_set(&catalog->tombstones, catalog_key(key, ns, name), stored));
}

bool catalog_is_buried(const struct catalog *catalog, struct str ns, struct str name,
                       uint64_t generation)
{
    char key[KEY_MAX];
    const uint64_t *removed = map_get(&catalog->tombstones, catalog_key(key, ns, name));

    return removed && *removed >= generation;
}

void catalog_unbury(struct catalog *catalog, struct str ns, struct str name)
{
    char key[KEY_MAX];

    mem_free(map_remove(&catalog->tombstones, catalog_key(key, ns, name)));
}

void catalog_drop(struct catalog *catalog, struct catalog_fn *fn, uint64_t generation)
{
    struct str ns = catalog_fn_ns(fn), name = catalog_fn_name(fn);
    size_t at = lower_bound(catalog, ns, name);

    catalog_tell(catalog, fn, true);
    counters_forget(catalog, fn);
    if (generation > 0)
        catalog_bury(catalog, ns, name, generation);
    route_fn_set_user(fn->route, NULL);
    route_fn_drop(catalog->config.routes, fn->route);
    VEC_REMOVE(&catalog->fns, at);
    fn_free(fn);
}

/* ---- Answers of the catalog itself ---- */

struct answer {
    struct loop_msg msg;
    plugin_done_f *done;
    void *arg;
    int32_t error;
    char *field;
    char *text;
};

static void answer_run(struct loop_msg *msg)
{
    struct answer *answer = CONTAINER_OF(msg, struct answer, msg);
    struct plugin_result result = {
        .error = answer->error, .field = str_from(answer->field), .text = str_from(answer->text)};

    answer->done(answer->arg, &result);
    mem_free(answer->field);
    mem_free(answer->text);
    mem_free(answer);
}

void catalog_answer(struct catalog *catalog, plugin_done_f *done, void *arg, int32_t error,
                    const char *field, const char *format, ...)
{
    struct answer *answer = xcalloc(1, sizeof(*answer));
    struct buf text;
    va_list args;

    buf_init(&text, 0);
    va_start(args, format);
    (void)buf_vprintf(&text, format, args);
    va_end(args);
    answer->msg.run = answer_run;
    answer->done = done;
    answer->arg = arg;
    answer->error = error;
    answer->field = str_dup(str_from(field));
    answer->text = buf_take(&text, NULL);
    buf_free(&text);
    loop_post(catalog->config.control, &answer->msg);
}

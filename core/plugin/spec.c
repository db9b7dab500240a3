/* Deep copies of functions: one pool each, freed with the last reference. */
#include "plugin/spec.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stdatomic.h>

struct fn_spec {
    atomic_uint refs;
    struct pool pool;
    struct fng_function function;
};

/* Control code: memory that is short ends the process, as everywhere but on the request path. */
static void *copy_alloc(struct pool *pool, size_t count, size_t size)
{
    void *ptr = pool_zalloc(pool, count * size);

    ASSERT(ptr);
    return ptr;
}

static struct fng_str copy_str(struct pool *pool, struct fng_str s)
{
    struct str copy = pool_str(pool, str_of(s));

    ASSERT(copy.ptr);
    return fng_of(copy);
}

static struct fng_str_list copy_strs(struct pool *pool, struct fng_str_list list)
{
    struct fng_str *items = copy_alloc(pool, list.count, sizeof(*items));

    for (size_t i = 0; i < list.count; i++)
        items[i] = copy_str(pool, list.items[i]);
    return (struct fng_str_list){items, list.count};
}

static struct fng_kv_list copy_pairs(struct pool *pool, struct fng_kv_list list)
{
    struct fng_kv *items = copy_alloc(pool, list.count, sizeof(*items));

    for (size_t i = 0; i < list.count; i++) {
        items[i].key = copy_str(pool, list.items[i].key);
        items[i].value = copy_str(pool, list.items[i].value);
    }
    return (struct fng_kv_list){items, list.count};
}

struct fn_spec *fn_spec_new(const struct fng_function *function)
{
    struct fn_spec *spec = xcalloc(1, sizeof(*spec));
    struct fng_function *copy = &spec->function;
    struct pool *pool = &spec->pool;

    atomic_init(&spec->refs, 1);
    pool_init(pool, 0);
    *copy = (struct fng_function){.size = sizeof(*copy),
                                  .flags = function->flags,
                                  .generation = function->generation,
                                  .replicas = function->replicas,
                                  .created_ms = function->created_ms};
    copy->ns = copy_str(pool, function->ns);
    copy->name = copy_str(pool, function->name);
    copy->image = copy_str(pool, function->image);
    copy->env_process = copy_str(pool, function->env_process);
    copy->env = copy_pairs(pool, function->env);
    copy->labels = copy_pairs(pool, function->labels);
    copy->annotations = copy_pairs(pool, function->annotations);
    copy->limits = copy_pairs(pool, function->limits);
    copy->requests = copy_pairs(pool, function->requests);
    copy->secrets = copy_strs(pool, function->secrets);
    copy->constraints = copy_strs(pool, function->constraints);
    return spec;
}

struct fn_spec *fn_spec_ref(struct fn_spec *spec)
{
    atomic_fetch_add_explicit(&spec->refs, 1, memory_order_relaxed);
    return spec;
}

void fn_spec_unref(struct fn_spec *spec)
{
    if (!spec || atomic_fetch_sub_explicit(&spec->refs, 1, memory_order_acq_rel) > 1)
        return;
    pool_free(&spec->pool);
    mem_free(spec);
}

const struct fng_function *fn_spec_get(const struct fn_spec *spec)
{
    return &spec->function;
}

struct fn_spec *fn_spec_with(const struct fn_spec *spec, uint32_t replicas, uint64_t generation)
{
    struct fng_function changed = spec->function;

    changed.replicas = replicas;
    changed.generation = generation;
    return fn_spec_new(&changed);
}

struct str fng_kv_find(struct fng_kv_list list, struct str key)
{
    for (size_t i = 0; i < list.count; i++)
        if (str_eq(str_of(list.items[i].key), key))
            return str_of(list.items[i].value);
    return STR_NONE;
}

/* Keys of plugins: the host's key/value services on top of the store instance.
 *
 * The calling thread asks the control loop, which calls the store and passes its answer on. Each
 * instance sees only the keys below its own prefix.
 */
#include "plugin/internal.h"

#include <stdio.h>

enum { KEY_MAX = 512, VALUE_MAX = 1 << 20, PREFIX_MAX = NAME_MAX_LEN + 16 };

struct kv_ask {
    struct ask ask;
    char key[PREFIX_MAX + KEY_MAX]; /* with the prefix */
    size_t prefix_len, key_len;
    struct str value;
    uint64_t expected, version;
    /* The answer, copied: it is handed to the plugin on its own thread. */
    struct pool pool;
    struct store_entry *entries;
    size_t count;
    char text[TEXT_MAX]; /* why it failed */
    uint32_t retry_after_ms;
};

static struct kv_ask *kv_of(struct ask *ask)
{
    return CONTAINER_OF(ask, struct kv_ask, ask);
}

static struct str key_of(const struct kv_ask *kv)
{
    return str_make(kv->key, kv->key_len);
}

static struct instance *store_of(const struct kv_ask *kv)
{
    return kv->ask.instance->store;
}

/* Checks the key and puts the prefix before it. */
static int32_t kv_init(struct kv_ask *kv, struct fng_instance *handle, struct fng_str key,
                       bool is_prefix)
{
    struct instance *instance = host_instance(handle);
    int len;

    if (!instance->store)
        return fng_fail(&instance->host, FNG_E_UNSUPPORTED, "the configuration names no store");
    if (key.len > KEY_MAX || (key.len == 0 && !is_prefix) ||
        (key.len > 0 && memchr(key.ptr, '\0', key.len)))
        return fng_invalid(&instance->host, "key", "keys have 1 to %d bytes without NUL, not %zu",
                           KEY_MAX, key.len);
    *kv = (struct kv_ask){0};
    len = snprintf(kv->key, PREFIX_MAX, "plugin/%s/", instance->name);
    ASSERT(len > 0 && len < PREFIX_MAX);
    kv->prefix_len = (size_t)len;
    if (key.len > 0)
        memcpy(kv->key + len, key.ptr, key.len);
    kv->key_len = kv->prefix_len + key.len;
    pool_init(&kv->pool, 0);
    return FNG_OK;
}

/* What is wrong with the store is also why the current call fails, unless it says better. */
static int32_t kv_ask(struct kv_ask *kv, struct fng_instance *handle,
                      void (*question)(struct ask *ask))
{
    struct instance *instance = host_instance(handle);
    int32_t result = ask_control(instance, &kv->ask, question);

    if (result && result != FNG_E_NOT_FOUND && result != FNG_E_CONFLICT && kv->text[0])
        instance->host.fail(handle, result, FNG_STR(""), fng_str_from(kv->text),
                            kv->retry_after_ms);
    return result;
}

static void kv_answer(struct kv_ask *kv, const struct plugin_result *result)
{
    if (result->error) {
        snprintf(kv->text, sizeof(kv->text), "store %s: %.*s", store_of(kv)->name,
                 STR_ARG(result->text));
        kv->retry_after_ms = result->retry_after_ms;
    }
    ask_answer(&kv->ask, result->error);
}

static void on_value(void *arg, const struct plugin_result *result, struct str value,
                     uint64_t version)
{
    struct kv_ask *kv = arg;

    kv->value = result->error ? STR_NONE : pool_str(&kv->pool, value);
    kv->version = version;
    kv_answer(kv, result);
}

static void on_done(void *arg, const struct plugin_result *result)
{
    kv_answer(arg, result);
}

static void ask_get(struct ask *ask)
{
    store_get(store_of(kv_of(ask)), key_of(kv_of(ask)), on_value, kv_of(ask));
}

static int32_t host_kv_get(struct fng_instance *handle, struct fng_str key,
                           fng_kv_value_f *on_found, void *arg)
{
    struct kv_ask kv;
    int32_t result = kv_init(&kv, handle, key, false);

    if (result)
        return result;
    result = kv_ask(&kv, handle, ask_get);
    if (result == FNG_OK)
        on_found(arg, fng_of(kv.value), kv.version);
    pool_free(&kv.pool);
    return result;
}

static void ask_put(struct ask *ask)
{
    struct kv_ask *kv = kv_of(ask);

    store_put(store_of(kv), key_of(kv), kv->value, kv->expected, on_value, kv);
}

static int32_t host_kv_put(struct fng_instance *handle, struct fng_str key, struct fng_str value,
                           uint64_t expected, uint64_t *ret_version)
{
    struct kv_ask kv;
    int32_t result = kv_init(&kv, handle, key, false);

    if (result)
        return result;
    if (value.len > VALUE_MAX)
        return fng_invalid(&host_instance(handle)->host, "value",
                           "values have at most 1 MiB, not %zu bytes", value.len);
    kv.value = str_of(value);
    kv.expected = expected;
    result = kv_ask(&kv, handle, ask_put);
    if (result == FNG_OK && ret_version)
        *ret_version = kv.version;
    pool_free(&kv.pool);
    return result;
}

static void ask_kv_remove(struct ask *ask)
{
    struct kv_ask *kv = kv_of(ask);

    store_remove(store_of(kv), key_of(kv), kv->expected, on_done, kv);
}

static int32_t host_kv_remove(struct fng_instance *handle, struct fng_str key, uint64_t expected)
{
    struct kv_ask kv;
    int32_t result = kv_init(&kv, handle, key, false);

    if (result)
        return result;
    kv.expected = expected;
    result = kv_ask(&kv, handle, ask_kv_remove);
    pool_free(&kv.pool);
    return result;
}

static void on_entries(void *arg, const struct plugin_result *result,
                       const struct store_entry *entries, size_t count)
{
    struct kv_ask *kv = arg;

    kv->entries = xcalloc(count, sizeof(*kv->entries));
    kv->count = count;
    for (size_t i = 0; i < count; i++)
        kv->entries[i] = (struct store_entry){.key = pool_str(&kv->pool, entries[i].key),
                                              .value = pool_str(&kv->pool, entries[i].value),
                                              .version = entries[i].version};
    kv_answer(kv, result);
}

static void ask_list(struct ask *ask)
{
    store_list(store_of(kv_of(ask)), key_of(kv_of(ask)), on_entries, kv_of(ask));
}

static int32_t host_kv_list(struct fng_instance *handle, struct fng_str prefix,
                            fng_kv_entry_f *on_entry, void *arg)
{
    struct kv_ask kv;
    int32_t result = kv_init(&kv, handle, prefix, true), stop = 0;

    if (result)
        return result;
    result = kv_ask(&kv, handle, ask_list);
    for (size_t i = 0; i < kv.count && !stop && result == FNG_OK; i++) {
        struct str key = kv.entries[i].key;

        stop = on_entry(arg, fng_of(str_sub(key, kv.prefix_len, key.len)),
                        fng_of(kv.entries[i].value), kv.entries[i].version);
    }
    mem_free(kv.entries);
    pool_free(&kv.pool);
    return result;
}

void host_init_kv(struct fng_host *host)
{
    host->kv_get = host_kv_get;
    host->kv_put = host_kv_put;
    host->kv_remove = host_kv_remove;
    host->kv_list = host_kv_list;
}

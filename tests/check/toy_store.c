/* A toy store that is correct by default and broken in one way by its `fault` setting: each fault
 * must be found by the case of the conformance suite that is named beside it. */
#include "kv.h"

#include <fngate/store.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_MAX = 1024, VALUE_MAX = 1 << 20 };

struct toy {
    const struct fng_host *host;
    struct fng_str fault;
    pthread_rwlock_t lock; /* operations read, stop and leases write */
    struct kv *kv;         /* NULL once stopped */
    struct kv *leases;     /* "until_ms owner" by name */
};

static const struct fng_config_key config_keys[] = {
    {.name = "fault",
     .default_value = "",
     .help = "What is broken.",
     .type = FNG_CONF_STR,
     .offset = offsetof(struct toy, fault)},
};

static bool has_fault(const struct toy *toy, const char *name)
{
    return fng_str_eq(toy->fault, fng_str_from(name));
}

/* toy_leave follows when it returns 0. */
static int32_t toy_enter(struct toy *toy)
{
    pthread_rwlock_rdlock(&toy->lock);
    if (toy->kv)
        return 0;
    pthread_rwlock_unlock(&toy->lock);
    return fng_unavailable(toy->host, 0, "the store is stopped");
}

static int32_t toy_leave(struct toy *toy, int32_t error)
{
    pthread_rwlock_unlock(&toy->lock);
    if (error != 0 && !has_fault(toy, "no-text")) /* store/errors-have-texts */
        return fng_fail(toy->host, error, "it is there already, or not there, or another one");
    return error;
}

static int32_t check_key(struct toy *toy, struct fng_str key)
{
    if (key.len == 0 || key.len > KEY_MAX || memchr(key.ptr, 0, key.len))
        return fng_invalid(toy->host, "key", "a key has 1 to 1024 bytes without NUL");
    return 0;
}

static int32_t toy_get(void *self, struct fng_str key, fng_kv_value_f *on_value, void *arg)
{
    struct toy *toy = self;
    int32_t error = check_key(toy, key);

    if (error || (error = toy_enter(toy)) != 0)
        return error;
    return toy_leave(toy, kv_get(toy->kv, key, on_value, arg));
}

static void keep_version(void *arg, struct fng_str value, uint64_t version)
{
    (void)value;
    *(uint64_t *)arg = version;
}

/* Looks and writes in two steps, so that another writer comes in between. */
static int32_t put_in_two_steps(struct toy *toy, struct fng_str key, struct fng_str value,
                                uint64_t expected, uint64_t *ret_version)
{
    uint64_t version = 0;

    kv_get(toy->kv, key, keep_version, &version);
    if (expected != FNG_KV_ANY && expected != version)
        return FNG_E_CONFLICT;
    sleep_ms(2);
    return kv_put(toy->kv, key, value, FNG_KV_ANY, ret_version);
}

static int32_t toy_put(void *self, struct fng_str key, struct fng_str value, uint64_t expected,
                       uint64_t *ret_version)
{
    struct toy *toy = self;
    int32_t error = check_key(toy, key);

    if (error)
        return error;
    if (value.len > VALUE_MAX)
        return fng_fail(toy->host, FNG_E_LIMIT, "a value has at most 1 MiB");
    if (has_fault(toy, "crash-on-large") && value.len > 65536) /* store/value-1-mib */
        abort();
    if (has_fault(toy, "cas-ignored") && expected != 0) /* store/cas-refuses-old-version */
        expected = FNG_KV_ANY;
    if (has_fault(toy, "value-is-text") && value.len) /* store/value-bytes */
        value.len = strnlen(value.ptr, value.len);

    if ((error = toy_enter(toy)) != 0)
        return error;
    if (has_fault(toy, "race")) /* store/counters-of-8-threads */
        error = put_in_two_steps(toy, key, value, expected, ret_version);
    else
        error = kv_put(toy->kv, key, value, expected, ret_version);
    if (has_fault(toy, "same-version") && ret_version) /* store/versions-differ */
        *ret_version = 1;
    return toy_leave(toy, error);
}

static int32_t toy_remove(void *self, struct fng_str key, uint64_t expected)
{
    struct toy *toy = self;
    int32_t error = check_key(toy, key);

    if (error || (error = toy_enter(toy)) != 0)
        return error;
    error = kv_remove(toy->kv, key, expected);
    if (error == FNG_E_NOT_FOUND && has_fault(toy, "remove-nothing")) /* store/remove-missing */
        error = 0;
    return toy_leave(toy, error);
}

struct page {
    struct toy *toy;
    struct fng_str after;
    uint32_t limit, count;
    fng_kv_entry_f *on_entry;
    void *arg;
};

static int32_t page_entry(void *arg, struct fng_str key, struct fng_str value, uint64_t version)
{
    struct page *page = arg;
    size_t common = key.len < page->after.len ? key.len : page->after.len;
    int order = common ? memcmp(key.ptr, page->after.ptr, common) : 0;
    int32_t stop;

    if (order == 0)
        order = (key.len > page->after.len) - (key.len < page->after.len);
    if (has_fault(page->toy, "after-inclusive") && order == 0) /* store/list-after */
        order = 1;
    if (page->after.len && order <= 0)
        return 0;
    if (page->limit && page->count++ == page->limit)
        return 1;
    stop = page->on_entry(page->arg, key, value, version);
    return has_fault(page->toy, "list-goes-on") ? 0 : stop; /* store/list-stop */
}

static int32_t toy_list(void *self, struct fng_str prefix, struct fng_str after, uint32_t limit,
                        fng_kv_entry_f *on_entry, void *arg)
{
    struct toy *toy = self;
    struct page page = {toy, after, limit, 0, on_entry, arg};
    int32_t error = toy_enter(toy);

    if (error)
        return error;
    if (has_fault(toy, "limit-ignored")) /* store/list-pages */
        page.limit = 0;
    return toy_leave(toy, kv_list(toy->kv, prefix, page_entry, &page));
}

static void keep_text(void *arg, struct fng_str value, uint64_t version)
{
    char **text = arg;

    (void)version;
    *text = must_copy(value);
}

/* Does somebody else hold it now? */
static bool is_leased(struct toy *toy, struct fng_str name, struct fng_str owner)
{
    char *text = NULL;
    int64_t until_ms = 0;
    bool is_over, is_other;
    int end = 0;

    if (kv_get(toy->leases, name, keep_text, &text) != 0)
        return false;
    sscanf(text, "%" SCNd64 " %n", &until_ms, &end);
    is_other = !fng_str_eq(fng_str_from(text + end), owner);
    is_over = now_ms() >= until_ms && !has_fault(toy, "lease-for-ever"); /* store/lease-ends */
    free(text);
    return is_other && !is_over;
}

static int32_t take_lease(struct toy *toy, struct fng_str name, struct fng_str owner,
                          uint32_t ttl_ms)
{
    char *text;

    if (is_leased(toy, name, owner))
        return FNG_E_CONFLICT;
    if (ttl_ms == 0) {
        kv_remove(toy->leases, name, FNG_KV_ANY);
        return 0;
    }
    text = must_printf("%" PRId64 " %.*s", now_ms() + ttl_ms, STR_ARG(owner));
    kv_put(toy->leases, name, fng_str_from(text), FNG_KV_ANY, NULL);
    free(text);
    return 0;
}

static int32_t toy_lease(void *self, struct fng_str name, struct fng_str owner, uint32_t ttl_ms)
{
    struct toy *toy = self;

    pthread_rwlock_wrlock(&toy->lock);
    return toy_leave(toy, toy->kv ? take_lease(toy, name, owner, ttl_ms) : FNG_E_UNAVAILABLE);
}

static struct kv *open_kv(struct toy *toy, const char *name)
{
    char *file = must_printf("%s/%s", toy->host->state_dir.ptr, name);
    bool is_forgetful = has_fault(toy, "forgets"); /* store/durable-after-restart */
    struct kv *kv = kv_new(is_forgetful ? NULL : file);

    free(file);
    return kv;
}

static int32_t toy_load(void *self, const struct fng_host *host)
{
    struct toy *toy = self;

    toy->host = host;
    pthread_rwlock_init(&toy->lock, NULL);
    return 0;
}

static int32_t toy_start(void *self)
{
    struct toy *toy = self;

    toy->kv = open_kv(toy, "kv");
    toy->leases = open_kv(toy, "leases");
    return 0;
}

static void toy_stop(void *self)
{
    struct toy *toy = self;

    if (has_fault(toy, "stop-hangs")) /* life/start-and-stop */
        for (;;)
            sleep_ms(1000);
    pthread_rwlock_wrlock(&toy->lock);
    kv_free(toy->kv);
    kv_free(toy->leases);
    toy->kv = NULL;
    pthread_rwlock_unlock(&toy->lock);
}

static void toy_unload(void *self)
{
    struct toy *toy = self;

    pthread_rwlock_destroy(&toy->lock);
}

static const struct fng_store_ops operations = {
    .size = sizeof(operations),
    .get = toy_get,
    .put = toy_put,
    .remove = toy_remove,
    .list = toy_list,
    .lease = toy_lease,
};

static const struct fng_plugin plugin = {
    .magic = FNG_PLUGIN_MAGIC,
    .size = sizeof(plugin),
    .abi_major = FNG_ABI_MAJOR,
    .abi_minor = FNG_ABI_MINOR,
    .min_host_minor = 1,
    .kind = FNG_KIND_STORE,
    .name = "toy-store",
    .version = "0.1.0",
    .description = "A store that is broken on demand.",
    .self_size = sizeof(struct toy),
    .config = config_keys,
    .config_count = 1,
    .config_stride = sizeof(config_keys[0]),
    .load = toy_load,
    .start = toy_start,
    .stop = toy_stop,
    .unload = toy_unload,
    .operations = &operations,
};

FNG_PLUGIN_REGISTER(plugin)

/* store-memory: a store that forgets everything when the gateway ends. For trying things out and
 * for tests; it keeps every promise of the store kind but durability. Entries form a list in the
 * order of their keys; a lock guards it, as reads and writes come from several threads at once. */
#include <fngate/store.h>

#include <pthread.h>
#include <stdlib.h>

struct entry {
    struct entry *next;
    uint64_t version;
    struct fng_str key, value; /* both in bytes[] */
    char bytes[];
};

struct memory_store {
    const struct fng_host *host;
    int64_t entries_max;
    pthread_mutex_t lock; /* for all below */
    struct entry *first;
    int64_t count;
    uint64_t last_version;
};

static const struct fng_config_key config_keys[] = {
    {.name = "entries_max",
     .default_value = "10000",
     .help = "Most keys that it takes.",
     .type = FNG_CONF_INT,
     .min = 1,
     .max = 100000,
     .offset = offsetof(struct memory_store, entries_max)},
};

static int32_t memory_load(void *self, const struct fng_host *host)
{
    struct memory_store *store = self;

    store->host = host;
    pthread_mutex_init(&store->lock, NULL);
    return FNG_OK;
}

static void memory_unload(void *self)
{
    struct memory_store *store = self;

    for (struct entry *entry = store->first, *next; entry; entry = next) {
        next = entry->next;
        free(entry);
    }
    pthread_mutex_destroy(&store->lock);
}

static int compare(struct fng_str a, struct fng_str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.ptr, b.ptr, len) : 0;

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* The link to the entry of that key, or to where it belongs; *ret is the entry or NULL. */
static struct entry **find(struct memory_store *store, struct fng_str key, struct entry **ret)
{
    struct entry **link = &store->first;

    while (*link && compare((*link)->key, key) < 0)
        link = &(*link)->next;
    *ret = *link && fng_str_eq((*link)->key, key) ? *link : NULL;
    return link;
}

/* Ends an operation: unlocks, and says why it failed. */
static int32_t leave(struct memory_store *store, int32_t error)
{
    pthread_mutex_unlock(&store->lock);
    return error ? fng_fail(store->host, error, "%s",
                            error == FNG_E_NOT_FOUND  ? "there is no such key"
                            : error == FNG_E_CONFLICT ? "the stored version is another one"
                                                      : "the store is full (entries_max)")
                 : FNG_OK;
}

static int32_t memory_get(void *self, struct fng_str key, fng_kv_value_f *on_value, void *arg)
{
    struct memory_store *store = self;
    struct entry *entry;

    pthread_mutex_lock(&store->lock);
    find(store, key, &entry);
    if (entry)
        on_value(arg, entry->value, entry->version);
    return leave(store, entry ? FNG_OK : FNG_E_NOT_FOUND);
}

static struct entry *entry_new(struct fng_str key, struct fng_str value)
{
    struct entry *entry = calloc(1, sizeof(*entry) + key.len + value.len);

    if (!entry)
        return NULL;
    entry->key = fng_str_make(entry->bytes, key.len);
    entry->value = fng_str_make(entry->bytes + key.len, value.len);
    memcpy(entry->bytes, key.ptr, key.len);
    if (value.len)
        memcpy(entry->bytes + key.len, value.ptr, value.len);
    return entry;
}

static int32_t memory_put(void *self, struct fng_str key, struct fng_str value, uint64_t expected,
                          uint64_t *ret_version)
{
    struct memory_store *store = self;
    struct entry *former, **link, *entry;

    if (key.len == 0 || key.len > 1024 || memchr(key.ptr, '\0', key.len))
        return fng_invalid(store->host, "key", "a key has 1 to 1024 bytes without NUL");
    if (value.len > 1 << 20)
        return fng_invalid(store->host, "value", "a value has at most 1 MiB");
    pthread_mutex_lock(&store->lock);
    link = find(store, key, &former);
    if (expected != FNG_KV_ANY && expected != (former ? former->version : 0))
        return leave(store, FNG_E_CONFLICT);
    entry = former || store->count < store->entries_max ? entry_new(key, value) : NULL;
    if (!entry)
        return leave(store, FNG_E_LIMIT);
    entry->version = ++store->last_version;
    entry->next = former ? former->next : *link;
    *link = entry;
    store->count += !former;
    free(former);
    if (ret_version)
        *ret_version = entry->version;
    return leave(store, FNG_OK);
}

static int32_t memory_remove(void *self, struct fng_str key, uint64_t expected)
{
    struct memory_store *store = self;
    struct entry *entry, **link;

    pthread_mutex_lock(&store->lock);
    link = find(store, key, &entry);
    if (!entry)
        return leave(store, FNG_E_NOT_FOUND);
    if (expected != FNG_KV_ANY && expected != entry->version)
        return leave(store, FNG_E_CONFLICT);
    *link = entry->next;
    store->count--;
    free(entry);
    return leave(store, FNG_OK);
}

static int32_t memory_list(void *self, struct fng_str prefix, struct fng_str after, uint32_t limit,
                           fng_kv_entry_f *on_entry, void *arg)
{
    struct memory_store *store = self;
    uint32_t given = 0;

    pthread_mutex_lock(&store->lock);
    for (const struct entry *it = store->first; it && (!limit || given < limit); it = it->next) {
        if (it->key.len < prefix.len || compare(it->key, after) <= 0 ||
            !fng_str_eq(fng_str_make(it->key.ptr, prefix.len), prefix))
            continue;
        given++;
        if (on_entry(arg, it->key, it->value, it->version) != 0)
            break;
    }
    return leave(store, FNG_OK);
}

static const struct fng_store_ops operations = {
    .size = sizeof(operations),
    .get = memory_get,
    .put = memory_put,
    .remove = memory_remove,
    .list = memory_list,
};

static const struct fng_plugin descriptor = {
    .magic = FNG_PLUGIN_MAGIC,
    .size = sizeof(descriptor),
    .abi_major = FNG_ABI_MAJOR,
    .abi_minor = FNG_ABI_MINOR,
    .kind = FNG_KIND_STORE,
    .name = "store-memory",
    .version = "0.1.0",
    .description = "Keeps state in memory until the gateway ends.",
    .self_size = sizeof(struct memory_store),
    .config = config_keys,
    .config_count = sizeof(config_keys) / sizeof(config_keys[0]),
    .config_stride = sizeof(config_keys[0]),
    .load = memory_load,
    .unload = memory_unload,
    .operations = &operations,
};

FNG_PLUGIN_REGISTER(descriptor)

/* The state store that the tool offers to plugins. Few keys, so an array and linear search. */
#include "kv.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct entry {
    struct fng_str key, value; /* owned */
    uint64_t version;
};

struct entries {
    struct entry *items;
    size_t count;
};

struct kv {
    pthread_mutex_t lock;   /* guards all below */
    struct entries entries; /* in byte order of the keys */
    uint64_t last_version;
    int fd;
};

/* What the file holds per change, followed by the bytes of key and value. */
struct record {
    uint32_t key_len, value_len;
    uint64_t version;
    uint64_t is_removed;
};

static int compare(struct fng_str a, struct fng_str b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static void entry_free(struct entry *entry)
{
    free((void *)(uintptr_t)entry->key.ptr);
    free((void *)(uintptr_t)entry->value.ptr);
}

static struct entry *find(struct kv *kv, struct fng_str key)
{
    for (size_t i = 0; i < kv->entries.count; i++)
        if (fng_str_eq(kv->entries.items[i].key, key))
            return &kv->entries.items[i];
    return NULL;
}

static void drop(struct kv *kv, struct entry *entry)
{
    size_t index = (size_t)(entry - kv->entries.items);

    entry_free(entry);
    memmove(entry, entry + 1, (kv->entries.count - index - 1) * sizeof(*entry));
    kv->entries.count--;
}

static void store(struct kv *kv, struct fng_str key, struct fng_str value, uint64_t version)
{
    struct entry *entry = find(kv, key);
    size_t at = kv->entries.count;

    if (entry) {
        free((void *)(uintptr_t)entry->value.ptr);
    } else {
        LIST_PUSH(&kv->entries);
        for (; at > 0 && compare(kv->entries.items[at - 1].key, key) > 0; at--)
            kv->entries.items[at] = kv->entries.items[at - 1];
        entry = &kv->entries.items[at];
        entry->key = fng_str_make(must_copy(key), key.len);
    }
    entry->value = fng_str_make(must_copy(value), value.len);
    entry->version = version;
    if (version > kv->last_version)
        kv->last_version = version;
}

static void append(struct kv *kv, struct fng_str key, struct fng_str value, uint64_t version,
                   bool is_removed)
{
    size_t len = sizeof(struct record) + key.len + value.len;
    struct record record = {(uint32_t)key.len, (uint32_t)value.len, version, is_removed};
    char *bytes;

    if (kv->fd < 0)
        return;
    bytes = must_realloc(NULL, len);
    memcpy(bytes, &record, sizeof(record));
    memcpy(bytes + sizeof(record), key.ptr, key.len);
    if (value.len)
        memcpy(bytes + sizeof(record) + key.len, value.ptr, value.len);
    if (write(kv->fd, bytes, len) != (ssize_t)len) {
        perror("fngate-plugin-check: writing the state file");
        abort();
    }
    free(bytes);
}

static void replay(struct kv *kv)
{
    struct record record;

    while (read(kv->fd, &record, sizeof(record)) == (ssize_t)sizeof(record)) {
        size_t len = (size_t)record.key_len + record.value_len;
        char *bytes = must_realloc(NULL, len + 1);
        struct fng_str key = {bytes, record.key_len};
        struct entry *entry;

        if (read(kv->fd, bytes, len) == (ssize_t)len) {
            if (!record.is_removed)
                store(kv, key, fng_str_make(bytes + record.key_len, record.value_len),
                      record.version);
            else if ((entry = find(kv, key)) != NULL)
                drop(kv, entry);
        }
        free(bytes);
    }
}

struct kv *kv_new(const char *file)
{
    struct kv *kv = must_zalloc(sizeof(*kv));

    pthread_mutex_init(&kv->lock, NULL);
    kv->fd = file ? open(file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (kv->fd >= 0)
        replay(kv);
    return kv;
}

void kv_free(struct kv *kv)
{
    for (size_t i = 0; i < kv->entries.count; i++)
        entry_free(&kv->entries.items[i]);
    free(kv->entries.items);
    pthread_mutex_destroy(&kv->lock);
    if (kv->fd >= 0)
        close(kv->fd);
    free(kv);
}

int32_t kv_get(struct kv *kv, struct fng_str key, fng_kv_value_f *on_value, void *arg)
{
    struct entry *entry, copy = {0};

    pthread_mutex_lock(&kv->lock);
    entry = find(kv, key);
    if (entry) {
        copy.value = fng_str_make(must_copy(entry->value), entry->value.len);
        copy.version = entry->version;
    }
    pthread_mutex_unlock(&kv->lock);

    if (!entry)
        return FNG_E_NOT_FOUND;
    on_value(arg, copy.value, copy.version);
    entry_free(&copy);
    return 0;
}

int32_t kv_put(struct kv *kv, struct fng_str key, struct fng_str value, uint64_t expected,
               uint64_t *ret_version)
{
    struct entry *entry;
    int32_t error = 0;

    pthread_mutex_lock(&kv->lock);
    entry = find(kv, key);
    if (expected != FNG_KV_ANY && expected != (entry ? entry->version : 0)) {
        error = FNG_E_CONFLICT;
    } else {
        uint64_t version = kv->last_version + 1;

        append(kv, key, value, version, false);
        store(kv, key, value, version);
        if (ret_version)
            *ret_version = version;
    }
    pthread_mutex_unlock(&kv->lock);
    return error;
}

int32_t kv_remove(struct kv *kv, struct fng_str key, uint64_t expected)
{
    struct entry *entry;
    int32_t error = 0;

    pthread_mutex_lock(&kv->lock);
    entry = find(kv, key);
    if (!entry) {
        error = FNG_E_NOT_FOUND;
    } else if (expected != FNG_KV_ANY && expected != entry->version) {
        error = FNG_E_CONFLICT;
    } else {
        append(kv, key, fng_str_make("", 0), entry->version, true);
        drop(kv, entry);
    }
    pthread_mutex_unlock(&kv->lock);
    return error;
}

/* Copies first, so that on_entry may call back into the store. */
int32_t kv_list(struct kv *kv, struct fng_str prefix, fng_kv_entry_f *on_entry, void *arg)
{
    struct entries copy = {NULL, 0};
    bool is_stopped = false;

    pthread_mutex_lock(&kv->lock);
    for (size_t i = 0; i < kv->entries.count; i++) {
        const struct entry *entry = &kv->entries.items[i];

        if (entry->key.len < prefix.len ||
            (prefix.len && memcmp(entry->key.ptr, prefix.ptr, prefix.len) != 0))
            continue;
        *LIST_PUSH(&copy) =
            (struct entry){fng_str_make(must_copy(entry->key), entry->key.len),
                           fng_str_make(must_copy(entry->value), entry->value.len), entry->version};
    }
    pthread_mutex_unlock(&kv->lock);

    for (size_t i = 0; i < copy.count; i++) {
        const struct entry *entry = &copy.items[i];

        is_stopped = is_stopped || on_entry(arg, entry->key, entry->value, entry->version) != 0;
        entry_free(&copy.items[i]);
    }
    free(copy.items);
    return 0;
}

/* store-sqlite: the embedded store, one SQLite file.
 *
 * One connection writes, under a mutex; a few others read, each lent to one thread at a time. A
 * write is a transaction of its own that has reached the disk when the operation returns. Other
 * processes on the same machine may use the file too (an upgrade, a second gateway): SQLite's locks
 * keep them apart, and the leases in the file tell who leads.
 */
#include "database.h"

#include <fngate/store.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { KEY_MAX = 1024, VALUE_MAX = 1 << 20, READERS = 4, BOOT_ID_MAX = 64 };

struct store {
    const struct fng_host *host;
    struct fng_str path;
    int64_t busy_timeout_ms;

    char *file;
    char boot[BOOT_ID_MAX];

    /* write_lock guards writer and is_ill; it is never taken together with read_lock. */
    pthread_mutex_t write_lock;
    struct database writer;
    int is_ill; /* the last write failed for want of space or the like */

    /* read_lock guards the rest; read_free is signalled when a reader comes back. */
    pthread_mutex_t read_lock;
    pthread_cond_t read_free;
    struct database readers[READERS];
    struct database *idle[READERS];
    unsigned idle_count;
    int is_open;
};

static const struct fng_config_key config_keys[] = {
    {.name = "path",
     .default_value = "state.db",
     .help = "The database file; a relative path is below the instance's state folder.",
     .type = FNG_CONF_STR,
     .min = 1,
     .max = 4096,
     .offset = offsetof(struct store, path)},
    {.name = "busy_timeout",
     .default_value = "5s",
     .help = "How long to wait while another process has the file locked.",
     .type = FNG_CONF_DURATION,
     .min = 10,
     .max = 60000,
     .offset = offsetof(struct store, busy_timeout_ms)},
};

/* ---- Checks ---- */

static int32_t check_key(struct store *store, const char *field, struct fng_str key, size_t min)
{
    if (key.len < min || key.len > KEY_MAX)
        return fng_invalid(store->host, field, "a key has 1 to %d bytes, this one has %zu", KEY_MAX,
                           key.len);
    if (key.len && memchr(key.ptr, 0, key.len))
        return fng_invalid(store->host, field, "a key may not contain a NUL byte");
    return 0;
}

static int32_t conflict(struct store *store, struct fng_str key, int exists)
{
    return fng_fail(store->host, FNG_E_CONFLICT, "%.*s: %s", (int)key.len, key.ptr,
                    exists ? "it was written meanwhile, or exists already" : "it does not exist");
}

static int32_t not_found(struct store *store, struct fng_str key)
{
    return fng_fail(store->host, FNG_E_NOT_FOUND, "%.*s: there is no such key", (int)key.len,
                    key.ptr);
}

/* ---- Writing ---- */

/* Tells the gateway when writing stops and when it works again. */
static void note_health(struct store *store, int32_t error)
{
    int is_ill = error == FNG_E_UNAVAILABLE || error == FNG_E_INTERNAL;

    if (is_ill == store->is_ill)
        return;
    store->is_ill = is_ill;
    if (is_ill)
        store->host->health(store->host->instance, FNG_HEALTH_DEGRADED,
                            FNG_STR("the store cannot be written"));
    else
        store->host->health(store->host->instance, FNG_HEALTH_OK, FNG_STR(""));
}

/* Takes the lock and begins a transaction; on success write_end must follow. */
static int32_t write_begin(struct store *store)
{
    int32_t error;

    pthread_mutex_lock(&store->write_lock);
    if (!store->writer.handle)
        error = fng_unavailable(store->host, 0, "the store is stopped");
    else if (database_run(&store->writer, STATEMENT_BEGIN) != SQLITE_DONE)
        error = database_fail(&store->writer, "cannot be locked for writing");
    else
        return 0;

    note_health(store, error);
    pthread_mutex_unlock(&store->write_lock);
    return error;
}

/* Commits when `error` is 0, else rolls back. Returns what the operation returns. */
static int32_t write_end(struct store *store, int32_t error)
{
    struct database *db = &store->writer;

    if (error == 0 && database_run(db, STATEMENT_COMMIT) != SQLITE_DONE)
        error = database_fail(db, "cannot be written");
    if (!sqlite3_get_autocommit(db->handle))
        database_run(db, STATEMENT_ROLLBACK);
    note_health(store, error);
    pthread_mutex_unlock(&store->write_lock);
    return error;
}

/* The stored version inside the transaction, 0 when there is none. */
static int32_t stored_version(struct store *store, struct fng_str key, uint64_t *ret)
{
    sqlite3_stmt *get = store->writer.statements[STATEMENT_GET];
    int32_t error = 0;
    int result;

    database_bind(get, 1, key);
    result = sqlite3_step(get);
    if (result == SQLITE_ROW)
        *ret = (uint64_t)sqlite3_column_int64(get, 1);
    else if (result == SQLITE_DONE)
        *ret = 0;
    else
        error = database_fail(&store->writer, "cannot be read");
    sqlite3_reset(get);
    return error;
}

static int32_t next_version(struct store *store, uint64_t *ret)
{
    sqlite3_stmt *next = store->writer.statements[STATEMENT_NEXT_VERSION];
    int result = sqlite3_step(next);
    int32_t error = 0;

    if (result == SQLITE_ROW) {
        *ret = (uint64_t)sqlite3_column_int64(next, 0);
        result = sqlite3_step(next);
    }
    if (result != SQLITE_DONE)
        error = database_fail(&store->writer, "cannot be written");
    sqlite3_reset(next);
    return error;
}

static int32_t put_in_transaction(struct store *store, struct fng_str key, struct fng_str value,
                                  uint64_t expected, uint64_t *ret_version)
{
    sqlite3_stmt *put = store->writer.statements[STATEMENT_PUT];
    uint64_t stored;
    int32_t error;

    if ((error = stored_version(store, key, &stored)) != 0)
        return error;
    if (expected != FNG_KV_ANY && expected != stored)
        return conflict(store, key, stored != 0);
    if ((error = next_version(store, ret_version)) != 0)
        return error;

    database_bind(put, 1, key);
    database_bind(put, 2, value);
    sqlite3_bind_int64(put, 3, (sqlite3_int64)*ret_version);
    if (database_run(&store->writer, STATEMENT_PUT) != SQLITE_DONE)
        error = database_fail(&store->writer, "cannot be written");
    sqlite3_clear_bindings(put);
    return error;
}

static int32_t store_put(void *self, struct fng_str key, struct fng_str value, uint64_t expected,
                         uint64_t *ret_version)
{
    struct store *store = self;
    uint64_t version = 0;
    int32_t error;

    if ((error = check_key(store, "key", key, 1)) != 0)
        return error;
    if (value.len > VALUE_MAX)
        return fng_fail(store->host, FNG_E_LIMIT, "%.*s: a value has at most %d bytes, got %zu",
                        (int)key.len, key.ptr, VALUE_MAX, value.len);

    if ((error = write_begin(store)) != 0)
        return error;
    error = write_end(store, put_in_transaction(store, key, value, expected, &version));
    if (error == 0 && ret_version)
        *ret_version = version;
    return error;
}

static int32_t remove_in_transaction(struct store *store, struct fng_str key, uint64_t expected)
{
    uint64_t stored;
    int32_t error;

    if ((error = stored_version(store, key, &stored)) != 0)
        return error;
    if (stored == 0)
        return not_found(store, key);
    if (expected != FNG_KV_ANY && expected != stored)
        return conflict(store, key, 1);

    database_bind(store->writer.statements[STATEMENT_REMOVE], 1, key);
    if (database_run(&store->writer, STATEMENT_REMOVE) != SQLITE_DONE)
        return database_fail(&store->writer, "cannot be written");
    return 0;
}

static int32_t store_remove(void *self, struct fng_str key, uint64_t expected)
{
    struct store *store = self;
    int32_t error;

    if ((error = check_key(store, "key", key, 1)) != 0 || (error = write_begin(store)) != 0)
        return error;
    return write_end(store, remove_in_transaction(store, key, expected));
}

/* ---- Leases ---- */

/* The clock that all processes of this boot share and that no one can set. */
static int64_t boot_clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Does another owner hold it at `now_ms`? */
static int32_t check_lease(struct store *store, struct fng_str name, struct fng_str owner,
                           int64_t now_ms)
{
    sqlite3_stmt *get = store->writer.statements[STATEMENT_LEASE_GET];
    int32_t error = 0;
    int result;

    database_bind(get, 1, name);
    sqlite3_bind_text(get, 2, store->boot, -1, SQLITE_STATIC);
    result = sqlite3_step(get);
    if (result == SQLITE_ROW) {
        int64_t left_ms = sqlite3_column_int64(get, 1) - now_ms;

        if (left_ms > 0 && !fng_str_eq(database_column(get, 0), owner))
            error = fng_fail(store->host, FNG_E_CONFLICT,
                             "%.*s: another owner holds this lease for %lld ms more", (int)name.len,
                             name.ptr, (long long)left_ms);
    } else if (result != SQLITE_DONE) {
        error = database_fail(&store->writer, "cannot be read");
    }
    sqlite3_reset(get);
    return error;
}

static int32_t lease_in_transaction(struct store *store, struct fng_str name, struct fng_str owner,
                                    uint32_t ttl_ms)
{
    enum statement which = ttl_ms ? STATEMENT_LEASE_PUT : STATEMENT_LEASE_REMOVE;
    sqlite3_stmt *statement = store->writer.statements[which];
    int64_t now_ms = boot_clock_ms();
    int32_t error;

    if ((error = check_lease(store, name, owner, now_ms)) != 0)
        return error;

    database_bind(statement, 1, name);
    if (ttl_ms) {
        database_bind(statement, 2, owner);
        sqlite3_bind_text(statement, 3, store->boot, -1, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 4, now_ms + ttl_ms);
    }
    if (database_run(&store->writer, which) != SQLITE_DONE)
        return database_fail(&store->writer, "cannot be written");
    return 0;
}

static int32_t store_lease(void *self, struct fng_str name, struct fng_str owner, uint32_t ttl_ms)
{
    struct store *store = self;
    int32_t error;

    if ((error = check_key(store, "name", name, 1)) != 0 ||
        (error = check_key(store, "owner", owner, 1)) != 0 || (error = write_begin(store)) != 0)
        return error;
    return write_end(store, lease_in_transaction(store, name, owner, ttl_ms));
}

/* ---- Reading ---- */

/* Borrows a reader, waiting for one; NULL, with the text recorded, once the store is stopped. */
static struct database *reader_borrow(struct store *store)
{
    struct database *reader = NULL;

    pthread_mutex_lock(&store->read_lock);
    while (store->is_open && store->idle_count == 0)
        pthread_cond_wait(&store->read_free, &store->read_lock);
    if (store->is_open)
        reader = store->idle[--store->idle_count];
    pthread_mutex_unlock(&store->read_lock);

    if (!reader)
        fng_unavailable(store->host, 0, "the store is stopped");
    return reader;
}

static void reader_return(struct store *store, struct database *reader)
{
    pthread_mutex_lock(&store->read_lock);
    store->idle[store->idle_count++] = reader;
    pthread_cond_broadcast(&store->read_free);
    pthread_mutex_unlock(&store->read_lock);
}

static int32_t store_get(void *self, struct fng_str key, fng_kv_value_f *on_value, void *arg)
{
    struct store *store = self;
    struct database *reader;
    sqlite3_stmt *get;
    int32_t error;
    int result;

    if ((error = check_key(store, "key", key, 1)) != 0)
        return error;
    if (!(reader = reader_borrow(store)))
        return FNG_E_UNAVAILABLE;

    get = reader->statements[STATEMENT_GET];
    database_bind(get, 1, key);
    result = sqlite3_step(get);
    if (result == SQLITE_ROW)
        on_value(arg, database_column(get, 0), (uint64_t)sqlite3_column_int64(get, 1));
    else if (result == SQLITE_DONE)
        error = not_found(store, key);
    else
        error = database_fail(reader, "cannot be read");
    sqlite3_reset(get);
    reader_return(store, reader);
    return error;
}

/* The first key of the listing: `prefix`, or the successor of `after` (itself and a NUL) when that
 * is further on. */
static struct fng_str list_begin(char buf[KEY_MAX + 1], struct fng_str prefix, struct fng_str after)
{
    size_t common = prefix.len < after.len ? prefix.len : after.len;
    int order = common ? memcmp(after.ptr, prefix.ptr, common) : 0;

    if (after.len == 0 || order < 0 || (order == 0 && after.len < prefix.len))
        return prefix;
    memcpy(buf, after.ptr, after.len);
    buf[after.len] = 0;
    return fng_str_make(buf, after.len + 1);
}

static int starts_with(struct fng_str s, struct fng_str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static int32_t list_rows(struct store *store, struct database *reader, struct fng_str prefix,
                         uint32_t limit, fng_kv_entry_f *on_entry, void *arg)
{
    sqlite3_stmt *list = reader->statements[STATEMENT_LIST];
    int result = SQLITE_DONE;

    for (uint32_t count = 0; limit == 0 || count < limit; count++) {
        struct fng_str key;

        result = sqlite3_step(list);
        if (result != SQLITE_ROW)
            break;
        key = database_column(list, 0);
        if (!starts_with(key, prefix))
            return 0;
        if (store->host->cancelled(store->host->instance))
            return fng_fail(store->host, FNG_E_CANCELLED, "the listing was cancelled");
        if (on_entry(arg, key, database_column(list, 1), (uint64_t)sqlite3_column_int64(list, 2)) !=
            0)
            return 0;
    }
    if (result != SQLITE_DONE && result != SQLITE_ROW)
        return database_fail(reader, "cannot be read");
    return 0;
}

static int32_t store_list(void *self, struct fng_str prefix, struct fng_str after, uint32_t limit,
                          fng_kv_entry_f *on_entry, void *arg)
{
    struct store *store = self;
    struct database *reader;
    char buf[KEY_MAX + 1];
    int32_t error;

    if ((error = check_key(store, "prefix", prefix, 0)) != 0 ||
        (error = check_key(store, "after", after, 0)) != 0)
        return error;
    if (!(reader = reader_borrow(store)))
        return FNG_E_UNAVAILABLE;

    database_bind(reader->statements[STATEMENT_LIST], 1, list_begin(buf, prefix, after));
    error = list_rows(store, reader, prefix, limit, on_entry, arg);
    sqlite3_reset(reader->statements[STATEMENT_LIST]);
    reader_return(store, reader);
    return error;
}

/* ---- Life ---- */

static int32_t store_load(void *self, const struct fng_host *host)
{
    struct store *store = self;

    store->host = host;
    pthread_mutex_init(&store->write_lock, NULL);
    pthread_mutex_init(&store->read_lock, NULL);
    pthread_cond_init(&store->read_free, NULL);
    return 0;
}

static int32_t store_config_complete(void *self)
{
    struct store *store = self;

    if (store->path.ptr[store->path.len - 1] == '/')
        return fng_invalid(store->host, "path", "'%s' names a folder, a file is needed",
                           store->path.ptr);
    return 0;
}

/* Leases of an earlier boot are void; the kernel names each boot. */
static int32_t read_boot_id(struct store *store)
{
    static const char file[] = "/proc/sys/kernel/random/boot_id";
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, store->boot, sizeof(store->boot) - 1);
    int read_errno = errno;

    if (fd >= 0)
        close(fd);
    if (len <= 0)
        return fng_fail(store->host, FNG_E_UNAVAILABLE, "cannot read %s: %s", file,
                        strerror(read_errno));
    store->boot[len] = 0;
    return 0;
}

static int32_t build_file_name(struct store *store)
{
    int is_absolute = store->path.ptr[0] == '/';

    if (asprintf(&store->file, "%s%s%s", is_absolute ? "" : store->host->state_dir.ptr,
                 is_absolute ? "" : "/", store->path.ptr) < 0) {
        store->file = NULL;
        return fng_fail(store->host, FNG_E_UNAVAILABLE, "out of memory");
    }
    return 0;
}

static void close_all(struct store *store)
{
    for (unsigned i = 0; i < READERS; i++)
        database_close(&store->readers[i]);
    database_close(&store->writer);
    free(store->file);
    store->file = NULL;
}

static int32_t store_start(void *self)
{
    struct store *store = self;
    int64_t timeout_ms = store->busy_timeout_ms;
    int32_t error;

    if ((error = read_boot_id(store)) != 0 || (error = build_file_name(store)) != 0)
        return error;

    error = database_create(store->host, store->file);
    if (error == 0)
        error = database_open_first(&store->writer, store->host, store->file, timeout_ms);
    for (unsigned i = 0; i < READERS && error == 0; i++) {
        error = database_open_reader(&store->readers[i], store->host, store->file, timeout_ms);
        store->idle[i] = &store->readers[i];
    }
    if (error != 0) {
        close_all(store);
        return error;
    }
    store->idle_count = READERS;
    store->is_open = 1;
    return 0;
}

static void store_stop(void *self)
{
    struct store *store = self;

    pthread_mutex_lock(&store->read_lock);
    store->is_open = 0;
    pthread_cond_broadcast(&store->read_free);
    while (store->file && store->idle_count < READERS)
        pthread_cond_wait(&store->read_free, &store->read_lock);
    pthread_mutex_unlock(&store->read_lock);

    pthread_mutex_lock(&store->write_lock);
    close_all(store);
    pthread_mutex_unlock(&store->write_lock);
}

static void store_unload(void *self)
{
    struct store *store = self;

    pthread_cond_destroy(&store->read_free);
    pthread_mutex_destroy(&store->read_lock);
    pthread_mutex_destroy(&store->write_lock);
}

static const struct fng_store_ops operations = {
    .size = sizeof(operations),
    .get = store_get,
    .put = store_put,
    .remove = store_remove,
    .list = store_list,
    .lease = store_lease,
};

static const struct fng_plugin plugin = {
    .magic = FNG_PLUGIN_MAGIC,
    .size = sizeof(plugin),
    .abi_major = FNG_ABI_MAJOR,
    .abi_minor = FNG_ABI_MINOR,
    .min_host_minor = 1,
    .kind = FNG_KIND_STORE,
    .capabilities = FNG_STORE_CAN_SHARE,
    .name = "store-sqlite",
    .version = "0.1.0",
    .description = "Keeps the gateway's state in one SQLite file.",
    .self_size = sizeof(struct store),
    .config = config_keys,
    .config_count = sizeof(config_keys) / sizeof(config_keys[0]),
    .config_stride = sizeof(config_keys[0]),
    .load = store_load,
    .config_complete = store_config_complete,
    .start = store_start,
    .stop = store_stop,
    .unload = store_unload,
    .operations = &operations,
};

FNG_PLUGIN_REGISTER(plugin)

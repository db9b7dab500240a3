/* Invocation counts that survive a restart. The live figures are the route table's; here they are
 * written to the store every few seconds, in a fixed number of records so that a hundred thousand
 * functions cost a handful of writes: record core/invocations/SHARD holds lines "ns/name count". */
#include "catalog/internal.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>

enum { SHARDS = 64, SAVE_INTERVAL_MS = 5000 };
#define PREFIX "core/invocations/"

struct count {
    uint64_t value; /* as last seen */
    unsigned shard;
};

/* A put under way. */
struct save {
    struct catalog *catalog;
    unsigned shard;
};

struct counters {
    struct map counts; /* "ns/name" -> struct count */
    bool is_dirty[SHARDS];
    unsigned writing, failed; /* puts under way; of them, those that failed */
    bool is_swept;            /* of functions that are gone; once is enough */
    struct timer timer;
    plugin_done_f *on_saved; /* of a catalog_save that waits */
    bool is_save_due;        /* it came while older figures were being written */
    void *on_saved_arg;
    plugin_done_f *on_loaded;
    void *on_loaded_arg;
};

/* Which record a key lives in: the same in every process (FNV-1a). */
static unsigned shard_of(struct str key)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ (unsigned char)key.ptr[i]) * 16777619u;
    return hash % SHARDS;
}

static struct count *count_of(struct counters *counters, struct str key)
{
    struct count *count = map_get(&counters->counts, key);

    if (!count) {
        count = xcalloc(1, sizeof(*count));
        count->shard = shard_of(key);
        map_set(&counters->counts, key, count);
    }
    return count;
}

static struct str key_of(char buf[KEY_MAX], const struct catalog_fn *fn)
{
    return catalog_key(buf, catalog_fn_ns(fn), catalog_fn_name(fn));
}

void counters_attach(struct catalog *catalog, struct catalog_fn *fn)
{
    char key[KEY_MAX];
    const struct count *count = map_get(&catalog->counters->counts, key_of(key, fn));

    if (count)
        route_fn_add_history(fn->route, count->value);
}

void counters_forget(struct catalog *catalog, const struct catalog_fn *fn)
{
    char key[KEY_MAX];
    struct count *count = map_remove(&catalog->counters->counts, key_of(key, fn));

    if (!count)
        return;
    catalog->counters->is_dirty[count->shard] = true;
    mem_free(count);
}

/* ---- Saving ---- */

static bool all_are_synced(const struct catalog *catalog)
{
    for (size_t i = 0; i < catalog->providers.count; i++)
        if (!catalog->providers.items[i].is_synced)
            return false;
    return catalog->providers.count > 0;
}

static bool is_known(const struct catalog *catalog, struct str key)
{
    ptrdiff_t slash = str_find(key, '/');

    return slash >= 0 && catalog_find(catalog, str_sub(key, 0, (size_t)slash),
                                      str_sub(key, (size_t)slash + 1, key.len));
}

/* Functions that went while the gateway was away would stay in the records for ever. Nobody is
 * taken for gone before every provider has said what it has. */
static void forget_gone(struct catalog *catalog)
{
    struct counters *counters = catalog->counters;
    struct str key;
    size_t pos = 0;
    void *value;

    if (counters->is_swept || !all_are_synced(catalog))
        return;
    counters->is_swept = true;
    while (map_next(&counters->counts, &pos, &key, &value)) {
        struct count *count = value;

        if (is_known(catalog, key))
            continue;
        counters->is_dirty[count->shard] = true;
        map_remove(&counters->counts, key);
        mem_free(count);
    }
}

static void collect(struct catalog *catalog)
{
    struct counters *counters = catalog->counters;
    char key[KEY_MAX];

    for (size_t i = 0; i < catalog->fns.count; i++) {
        const struct catalog_fn *fn = catalog->fns.items[i];
        uint64_t value = catalog_invocations(fn);
        struct count *count;

        if (value == 0)
            continue;
        count = count_of(counters, key_of(key, fn));
        if (count->value != value) {
            count->value = value;
            counters->is_dirty[count->shard] = true;
        }
    }
}

static void save_dirty(struct catalog *catalog);

/* `result` is that of the put that ended last. */
static void saving_ended(struct catalog *catalog, const struct plugin_result *result)
{
    struct counters *counters = catalog->counters;
    struct plugin_result failure = {.error = FNG_E_UNAVAILABLE,
                                    .text = STR("invocation counts could not be stored")};
    plugin_done_f *done;

    if (counters->is_save_due) {
        counters->is_save_due = false;
        save_dirty(catalog);
        if (counters->writing > 0)
            return;
    }
    done = TAKE_PTR(counters->on_saved);
    if (done)
        done(counters->on_saved_arg, counters->failed > 0 && !result->error ? &failure : result);
}

static void on_shard_saved(void *arg, const struct plugin_result *result, struct str value,
                           uint64_t version)
{
    struct save *save = arg;
    struct catalog *catalog = save->catalog;
    struct counters *counters = catalog->counters;

    (void)value;
    (void)version;
    if (result->error != FNG_OK) {
        counters->is_dirty[save->shard] = true; /* goes with the next round */
        if (counters->failed++ == 0)
            log_warn("catalog", "invocation counts could not be stored: %.*s",
                     STR_ARG(result->text));
    }
    mem_free(save);
    if (--counters->writing == 0)
        saving_ended(catalog, result);
}

static void save_shard(struct catalog *catalog, unsigned shard)
{
    struct counters *counters = catalog->counters;
    struct save *save = xmalloc(sizeof(*save));
    char record[sizeof(PREFIX) + 4];
    struct buf text;
    struct str key;
    size_t pos = 0;
    void *value;

    buf_init(&text, 0);
    while (map_next(&counters->counts, &pos, &key, &value)) {
        const struct count *count = value;

        if (count->shard == shard)
            (void)buf_printf(&text, "%.*s %" PRIu64 "\n", STR_ARG(key), count->value);
    }
    snprintf(record, sizeof(record), PREFIX "%02u", shard);
    counters->is_dirty[shard] = false;
    counters->writing++;
    *save = (struct save){catalog, shard};
    store_put(catalog->store, str_from(record), buf_str(&text), FNG_KV_ANY, on_shard_saved, save);
    buf_free(&text);
}

static void save_dirty(struct catalog *catalog)
{
    if (!catalog->store || catalog->counters->writing > 0)
        return;
    catalog->counters->failed = 0;
    forget_gone(catalog);
    collect(catalog);
    for (unsigned shard = 0; shard < SHARDS; shard++)
        if (catalog->counters->is_dirty[shard])
            save_shard(catalog, shard);
}

static void on_save_due(void *arg)
{
    struct catalog *catalog = arg;

    save_dirty(catalog);
    timer_set(&catalog->counters->timer, SAVE_INTERVAL_MS);
}

void catalog_save(struct catalog *catalog, plugin_done_f *done, void *arg)
{
    struct counters *counters = catalog->counters;

    timer_cancel(&counters->timer);
    counters->on_saved = done;
    counters->on_saved_arg = arg;
    counters->is_save_due = counters->writing > 0;
    save_dirty(catalog);
    if (counters->writing == 0) {
        counters->on_saved = NULL;
        catalog_answer(catalog, done, arg, FNG_OK, "", "%s", "");
    }
}

/* ---- Loading ---- */

static void load_record(struct counters *counters, struct str text)
{
    struct str line;

    while (str_next(&text, '\n', &line)) {
        ptrdiff_t space = str_rfind(line, ' ');
        uint64_t value;

        if (space > 0 && str_to_u64(str_sub(line, (size_t)space + 1, line.len), UINT64_MAX, &value))
            count_of(counters, str_sub(line, 0, (size_t)space))->value = value;
    }
}

static void on_records(void *arg, const struct plugin_result *result,
                       const struct store_entry *entries, size_t count)
{
    struct catalog *catalog = arg;
    struct counters *counters = catalog->counters;

    for (size_t i = 0; i < count; i++)
        load_record(counters, entries[i].value);
    if (result->error == FNG_OK) /* else what is stored, and was not read, would be overwritten */
        timer_set(&counters->timer, SAVE_INTERVAL_MS);
    counters->on_loaded(counters->on_loaded_arg, result);
}

void counters_load(struct catalog *catalog, plugin_done_f *done, void *arg)
{
    catalog->counters->on_loaded = done;
    catalog->counters->on_loaded_arg = arg;
    store_list(catalog->store, STR(PREFIX), on_records, catalog);
}

/* ---- Life ---- */

void counters_init(struct catalog *catalog)
{
    struct counters *counters = xcalloc(1, sizeof(*counters));

    map_init(&counters->counts);
    timer_init(&counters->timer, catalog->config.control, on_save_due, catalog);
    catalog->counters = counters;
}

void counters_free(struct catalog *catalog)
{
    struct counters *counters = catalog->counters;
    size_t pos = 0;
    void *count;

    timer_cancel(&counters->timer);
    while (map_next(&counters->counts, &pos, NULL, &count))
        mem_free(count);
    map_free(&counters->counts);
    mem_free(counters);
}

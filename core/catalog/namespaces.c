/* Namespace records: kept in the store under core/namespaces/NAME as JSON, answered from memory.
 * The default namespace exists always, with or without a record. */
#include "catalog/internal.h"

#include "base/log.h"

#include <jansson.h>
#include <stdlib.h>

#define PREFIX "core/namespaces/"

static struct str store_key(char buf[KEY_MAX + sizeof(PREFIX)], struct str name)
{
    int len = snprintf(buf, KEY_MAX + sizeof(PREFIX), PREFIX "%.*s", STR_ARG(name));

    return str_make(buf, (size_t)len);
}

/* ---- Records in memory ---- */

static struct conf_pair_list copy_pairs(struct pool *pool, const struct conf_pair_list *from)
{
    struct conf_pair_list to = {pool_zalloc(pool, (from->count + 1) * sizeof(*to.items)), 0};

    for (; to.count < from->count; to.count++) {
        to.items[to.count].key = pool_str(pool, from->items[to.count].key);
        to.items[to.count].value = pool_str(pool, from->items[to.count].value);
    }
    return to;
}

static struct namespace_record *record_new(const struct catalog_namespace *ns)
{
    struct namespace_record *record = xcalloc(1, sizeof(*record));

    pool_init(&record->pool, 0);
    record->ns.name = pool_str(&record->pool, ns->name);
    record->ns.labels = copy_pairs(&record->pool, &ns->labels);
    record->ns.annotations = copy_pairs(&record->pool, &ns->annotations);
    record->ns.version = ns->version;
    return record;
}

static void record_free(struct namespace_record *record)
{
    pool_free(&record->pool);
    mem_free(record);
}

/* Index of the record, or of where it belongs. */
static size_t find_place(const struct catalog *catalog, struct str name, bool *ret_is_there)
{
    size_t i = 0;

    while (i < catalog->namespaces.count &&
           str_cmp(catalog->namespaces.items[i]->ns.name, name) < 0)
        i++;
    *ret_is_there =
        i < catalog->namespaces.count && str_eq(catalog->namespaces.items[i]->ns.name, name);
    return i;
}

static void record_put(struct catalog *catalog, struct namespace_record *record)
{
    bool is_there;
    size_t i = find_place(catalog, record->ns.name, &is_there);

    if (is_there) {
        record_free(catalog->namespaces.items[i]);
    } else {
        VEC_PUSH(&catalog->namespaces);
        memmove(&catalog->namespaces.items[i + 1], &catalog->namespaces.items[i],
                (catalog->namespaces.count - 1 - i) * sizeof(record));
    }
    catalog->namespaces.items[i] = record;
}

/* The default namespace exists without a record, too. */
static void put_default(struct catalog *catalog)
{
    struct catalog_namespace ns = {.name = catalog_default_ns(catalog)};

    record_put(catalog, record_new(&ns));
}

static void record_forget(struct catalog *catalog, struct str name)
{
    bool is_there;
    size_t i = find_place(catalog, name, &is_there);

    if (!is_there)
        return;
    record_free(catalog->namespaces.items[i]);
    VEC_REMOVE(&catalog->namespaces, i);
    if (str_eq(name, catalog_default_ns(catalog)))
        put_default(catalog);
}

const struct catalog_namespace *catalog_namespace_find(const struct catalog *catalog,
                                                       struct str name)
{
    bool is_there;
    size_t i = find_place(catalog, name, &is_there);

    return is_there ? &catalog->namespaces.items[i]->ns : NULL;
}

size_t catalog_namespaces(const struct catalog *catalog,
                          void (*on_ns)(void *arg, const struct catalog_namespace *ns), void *arg)
{
    for (size_t i = 0; i < catalog->namespaces.count; i++)
        on_ns(arg, &catalog->namespaces.items[i]->ns);
    return catalog->namespaces.count;
}

void namespaces_free(struct catalog *catalog)
{
    for (size_t i = 0; i < catalog->namespaces.count; i++)
        record_free(catalog->namespaces.items[i]);
    VEC_FREE(&catalog->namespaces);
}

/* ---- Records as JSON ---- */

static json_t *pairs_to_json(const struct conf_pair_list *pairs)
{
    json_t *object = json_object();

    for (size_t i = 0; i < pairs->count; i++)
        json_object_setn_new(object, pairs->items[i].key.ptr, pairs->items[i].key.len,
                             json_stringn(pairs->items[i].value.ptr, pairs->items[i].value.len));
    return object;
}

static char *record_to_text(const struct catalog_namespace *ns)
{
    json_t *object = json_pack("{s:o, s:o}", "labels", pairs_to_json(&ns->labels), "annotations",
                               pairs_to_json(&ns->annotations));
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);

    json_decref(object);
    return text;
}

static struct conf_pair_list pairs_from_json(json_t *object)
{
    struct conf_pair_list pairs = {xcalloc(json_object_size(object) + 1, sizeof(*pairs.items)), 0};
    json_t *value;
    const char *key;

    json_object_foreach(object, key, value)
    {
        if (json_is_string(value))
            pairs.items[pairs.count++] =
                (struct conf_pair){str_from(key), str_from(json_string_value(value))};
    }
    return pairs;
}

static void record_load(struct catalog *catalog, struct str name, struct str text, uint64_t version)
{
    struct catalog_namespace ns = {.name = name, .version = version};
    json_t *object = json_loadb(text.ptr, text.len, 0, NULL);

    if (!object) {
        log_warn("catalog", "the record of namespace %.*s is not JSON and is left alone",
                 STR_ARG(ns.name));
        return;
    }
    ns.labels = pairs_from_json(json_object_get(object, "labels"));
    ns.annotations = pairs_from_json(json_object_get(object, "annotations"));
    record_put(catalog, record_new(&ns));
    mem_free(ns.labels.items);
    mem_free(ns.annotations.items);
    json_decref(object);
}

/* ---- Loading ---- */

struct loading {
    struct catalog *catalog;
    plugin_done_f *done;
    void *arg;
};

static void on_records(void *arg, const struct plugin_result *result,
                       const struct store_entry *entries, size_t count)
{
    struct loading *loading = arg;

    for (size_t i = 0; i < count; i++)
        record_load(loading->catalog,
                    str_sub(entries[i].key, sizeof(PREFIX) - 1, entries[i].key.len),
                    entries[i].value, entries[i].version);
    if (result->error == FNG_OK &&
        !catalog_namespace_find(loading->catalog, catalog_default_ns(loading->catalog)))
        put_default(loading->catalog);
    loading->done(loading->arg, result);
    mem_free(loading);
}

void namespaces_load(struct catalog *catalog, plugin_done_f *done, void *arg)
{
    struct loading *loading = xcalloc(1, sizeof(*loading));

    *loading = (struct loading){catalog, done, arg};
    store_list(catalog->store, STR(PREFIX), on_records, loading);
}

static void on_namespaces_loaded(void *arg, const struct plugin_result *result)
{
    struct loading *loading = arg;

    if (result->error == FNG_OK)
        counters_load(loading->catalog, loading->done, loading->arg);
    else
        loading->done(loading->arg, result);
    mem_free(loading);
}

void catalog_load(struct catalog *catalog, plugin_done_f *done, void *arg)
{
    struct loading *loading = xcalloc(1, sizeof(*loading));

    *loading = (struct loading){catalog, done, arg};
    namespaces_load(catalog, on_namespaces_loaded, loading);
}

/* ---- Changing ---- */

struct change {
    struct catalog *catalog;
    struct namespace_record *record; /* NULL: removal */
    char *name;
    plugin_done_f *done;
    void *arg;
};

static void change_free(struct change *change)
{
    if (change->record)
        record_free(change->record);
    mem_free(change->name);
    mem_free(change);
}

static void change_end(struct change *change, const struct plugin_result *result)
{
    change->done(change->arg, result);
    change_free(change);
}

/* Somebody else with the same store, another gateway for instance, was there first: reads what is
 * stored now, so that the next try is not in vain. */
static void on_read_again(void *arg, const struct plugin_result *result, struct str value,
                          uint64_t version)
{
    struct change *change = arg;
    struct catalog *catalog = change->catalog;
    struct str name = str_from(change->name);

    if (result->error == FNG_OK)
        record_load(catalog, name, value, version);
    else if (result->error == FNG_E_NOT_FOUND)
        record_forget(catalog, name);
    catalog_answer(catalog, change->done, change->arg, FNG_E_CONFLICT, "name",
                   "namespace %s was changed by somebody else meanwhile; look and try again",
                   change->name);
    change_free(change);
}

static void read_again(struct change *change)
{
    char key[KEY_MAX + sizeof(PREFIX)];

    store_get(change->catalog->store, store_key(key, str_from(change->name)), on_read_again,
              change);
}

static void on_stored(void *arg, const struct plugin_result *result, struct str value,
                      uint64_t version)
{
    struct change *change = arg;

    (void)value;
    if (result->error == FNG_E_CONFLICT) {
        read_again(change);
        return;
    }
    if (result->error == FNG_OK) {
        change->record->ns.version = version;
        record_put(change->catalog, TAKE_PTR(change->record));
    }
    change_end(change, result);
}

static void on_store_removed(void *arg, const struct plugin_result *result)
{
    struct change *change = arg;

    if (result->error == FNG_E_CONFLICT) {
        read_again(change);
        return;
    }
    if (result->error == FNG_OK || result->error == FNG_E_NOT_FOUND)
        record_forget(change->catalog, str_from(change->name));
    change_end(change, result);
}

static struct change *change_new(struct catalog *catalog, struct str name, plugin_done_f *done,
                                 void *arg)
{
    struct change *change = xcalloc(1, sizeof(*change));

    *change = (struct change){.catalog = catalog, .name = str_dup(name), .done = done, .arg = arg};
    return change;
}

void catalog_namespace_set(struct catalog *catalog, const struct catalog_namespace *ns,
                           uint32_t mode, plugin_done_f *done, void *arg)
{
    const struct catalog_namespace *stored = catalog_namespace_find(catalog, ns->name);
    char key[KEY_MAX + sizeof(PREFIX)];
    struct change *change;
    char *text;

    if (!catalog_name_is_valid(ns->name) || str_eq(ns->name, STR("kube-system"))) {
        catalog_answer(catalog, done, arg, FNG_E_INVALID, "name",
                       "'%.*s' is no namespace name: lower-case letters, digits and inner hyphens, "
                       "at most 63, not kube-system",
                       STR_ARG(ns->name));
        return;
    }
    if (mode == FNG_NAMESPACE_CREATE && stored) {
        catalog_answer(catalog, done, arg, FNG_E_CONFLICT, "name", "namespace %.*s exists already",
                       STR_ARG(ns->name));
        return;
    }
    if (mode == FNG_NAMESPACE_UPDATE && !stored) {
        catalog_answer(catalog, done, arg, FNG_E_NOT_FOUND, "name", "namespace %.*s does not exist",
                       STR_ARG(ns->name));
        return;
    }
    change = change_new(catalog, ns->name, done, arg);
    change->record = record_new(ns);
    text = record_to_text(ns);
    store_put(catalog->store, store_key(key, ns->name), str_from(text),
              stored ? stored->version : 0, on_stored, change);
    free(text);
}

/* A function that is there, or whose deploy is under way. */
static bool has_functions(struct catalog *catalog, struct str name)
{
    if (catalog_next(catalog, NULL, name))
        return true;
    LIST_FOR_EACH(node, &catalog->wishes)
    {
        const struct wish *wish = CONTAINER_OF(node, struct wish, node);

        if (wish->kind == WISH_CREATE && str_eq(str_from(wish->ns), name))
            return true;
    }
    return false;
}

void catalog_namespace_remove(struct catalog *catalog, struct str name, plugin_done_f *done,
                              void *arg)
{
    const struct catalog_namespace *stored = catalog_namespace_find(catalog, name);
    char key[KEY_MAX + sizeof(PREFIX)];

    if (!stored) {
        catalog_answer(catalog, done, arg, FNG_E_NOT_FOUND, "name", "namespace %.*s does not exist",
                       STR_ARG(name));
        return;
    }
    if (str_eq(name, catalog_default_ns(catalog))) {
        catalog_answer(catalog, done, arg, FNG_E_INVALID, "name",
                       "namespace %.*s is the default one and stays", STR_ARG(name));
        return;
    }
    if (has_functions(catalog, name)) {
        catalog_answer(catalog, done, arg, FNG_E_CONFLICT, "name",
                       "namespace %.*s still has functions; remove them first", STR_ARG(name));
        return;
    }
    store_remove(catalog->store, store_key(key, name), stored->version, on_store_removed,
                 change_new(catalog, name, done, arg));
}

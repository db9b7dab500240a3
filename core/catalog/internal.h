/* What the files of the catalog share. */
#ifndef CATALOG_INTERNAL_H
#define CATALOG_INTERNAL_H

#include "base/assert.h"
#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"
#include "catalog/catalog.h"

enum { OBSERVERS_MAX = 4, TOMBSTONES_MAX = 4096, KEY_MAX = 160, NAME_MAX_BYTES = 63 };

struct observer {
    void (*on_change)(void *arg, struct catalog_fn *fn, bool is_removed);
    void *arg;
};

/* A namespace record and what it owns. */
struct namespace_record {
    struct catalog_namespace ns;
    struct pool pool;
};

enum wish_kind { WISH_CREATE, WISH_UPDATE, WISH_REMOVE, WISH_SCALE, WISH_WAKE };

/* A wish under way; it owns what it needs, as anything may change until the provider answers. */
struct wish {
    struct list node; /* catalog->wishes */
    struct catalog *catalog;
    struct instance *owner;
    enum wish_kind kind;
    struct fn_spec *spec; /* create, update: the new one */
    uint32_t replicas;    /* scale, wake */
    char *ns, *name;
    uint64_t generation;
    unsigned attempts;
    plugin_done_f *done;
    void *arg;
};

struct catalog {
    struct catalog_config config;
    char *default_ns;
    struct instance *store;
    void (*on_synced)(void *arg);
    void *on_synced_arg;
    VEC(struct catalog_fn *) fns; /* in order of namespace, then name */
    VEC(struct catalog_provider) providers;
    VEC(struct namespace_record *) namespaces; /* in byte order */
    struct map creating;                       /* "ns/name" of deploys under way */
    struct map tombstones; /* "ns/name" -> generation of its removal: late deltas are refused */
    uint64_t generation;   /* newest one given out */
    struct list wishes;    /* under way */
    struct list held;      /* wishes that wait (hold.c) */
    struct list staged;    /* providers that are not let in yet (staging.c) */
    void (*on_quiet)(void *arg);
    void *on_quiet_arg;
    struct counters *counters;
    struct observer observers[OBSERVERS_MAX];
    size_t observers_count;
};

/* A new generation: larger than every earlier one, across restarts too. */
uint64_t catalog_generation_next(struct catalog *catalog);

/* Takes a spec over (the catalog takes its own reference): inserts or replaces, publishes the
 * policy, tells observers. `owner` must be allowed to have it. */
struct catalog_fn *catalog_put(struct catalog *catalog, struct instance *owner,
                               struct fn_spec *spec);
void catalog_set_reason(struct catalog_fn *fn, struct str reason);
/* Deltas up to `generation` are refused from then on; 0: none. */
void catalog_drop(struct catalog *catalog, struct catalog_fn *fn, uint64_t generation);
void catalog_tell(struct catalog *catalog, struct catalog_fn *fn, bool is_removed);
/* "ns/name" into buf. */
struct str catalog_key(char buf[KEY_MAX], struct str ns, struct str name);
bool catalog_name_is_valid(struct str name);
struct catalog_provider *catalog_provider_of(struct catalog *catalog,
                                             const struct instance *instance);

/* What backends cannot honour (honour.c). */

/* The first field from *pos on that the provider says it cannot honour, NULL when there is none.
 * *pos begins as 0. */
const char *honour_next(const struct instance *owner, const struct fng_function *function,
                        size_t *pos);
/* The provider's own warnings; those of the core are added. */
void catalog_set_warnings(struct catalog_fn *fn, const struct fng_str *warnings, size_t count);
/* The spec or the owner changed: adds the core's warnings anew. */
void honour_refresh(struct catalog_fn *fn);
void honour_forget(struct catalog_fn *fn);

/* Starting from zero (wake.c). */
void wake_init(struct catalog_fn *fn);
/* Starts the function when it is at zero and requests wait for it all the same. */
void wake_if_parked(struct catalog_fn *fn);

/* Wishes (mutate.c). The wish is under way until wish_end, which frees it. */
struct wish *wish_new(struct catalog *catalog, enum wish_kind kind, struct instance *owner,
                      struct str ns, struct str name, plugin_done_f *done, void *arg);
struct catalog_fn *wish_fn(const struct wish *wish);
void wish_end(struct wish *wish, const struct plugin_result *result);
void wish_free(struct wish *wish);
/* Shows other replicas of what is deployed now, unless something newer came meanwhile. */
void wish_show_replicas(const struct wish *wish, struct catalog_fn *fn);

/* True when the name was removed at this generation or a later one. */
bool catalog_is_buried(const struct catalog *catalog, struct str ns, struct str name,
                       uint64_t generation);
/* Remembers that the name was removed at `generation`, so that a delta which was under way then
 * does not bring it back. */
void catalog_bury(struct catalog *catalog, struct str ns, struct str name, uint64_t generation);
/* Forgets that the name was removed. */
void catalog_unbury(struct catalog *catalog, struct str ns, struct str name);
void catalog_set_endpoints(struct catalog *catalog, struct catalog_fn *fn, uint64_t generation,
                           const struct route_endpoint_spec *specs, size_t count);

/* Providers that are not let in yet (staging.c): as the sink, but kept aside. */
struct staged;
struct staged *staged_of(struct catalog *catalog, const struct instance *instance);
struct catalog_provider *staged_provider(struct staged *staged);
void staged_begin(struct staged *staged);
size_t staged_commit(struct staged *staged); /* returns the number of functions */
int32_t staged_upsert(struct catalog *catalog, struct staged *staged, struct fn_spec *spec,
                      struct str reason, const struct fng_str *warnings, size_t count);
int32_t staged_remove(struct staged *staged, struct str ns, struct str name, uint64_t generation);
int32_t staged_endpoints(struct staged *staged, struct str ns, struct str name, uint64_t generation,
                         const struct route_endpoint_spec *endpoints, size_t count);

/* Wishes that wait (hold.c). */
bool hold_covers(const struct catalog *catalog, const struct instance *owner);
void hold_wish_ended(struct catalog *catalog);
void hold_free(struct catalog *catalog);
void hold_deploy(struct catalog *catalog, enum catalog_deploy_mode mode,
                 const struct fng_function *function, plugin_done_f *done, void *arg);
void hold_remove(struct catalog *catalog, struct str ns, struct str name, plugin_done_f *done,
                 void *arg);
void hold_scale(struct catalog *catalog, struct str ns, struct str name, uint32_t replicas,
                plugin_done_f *done, void *arg);
void hold_wake(struct catalog *catalog, struct catalog_fn *fn);

/* Counts that survive restarts (counters.c). */
void counters_init(struct catalog *catalog);
void counters_free(struct catalog *catalog);
void counters_attach(struct catalog *catalog, struct catalog_fn *fn);
void counters_forget(struct catalog *catalog, const struct catalog_fn *fn);
void counters_load(struct catalog *catalog, plugin_done_f *done, void *arg);

/* Namespace records (namespaces.c). */
void namespaces_load(struct catalog *catalog, plugin_done_f *done, void *arg);
void namespaces_free(struct catalog *catalog);

/* A result made by the catalog itself, given to `done` from the loop, never from inside. */
void catalog_answer(struct catalog *catalog, plugin_done_f *done, void *arg, int32_t error,
                    const char *field, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

#endif

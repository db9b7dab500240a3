/* The catalog: every function and namespace as the control plane knows it. It takes what providers
 * push, remembers who owns which name, keeps desired and observed state, and publishes to the route
 * table. Lists, status and info are answered from here, never by a plugin call.
 *
 * All of it belongs to the control loop. Pointers are valid until control returns to the loop.
 */
#ifndef CATALOG_CATALOG_H
#define CATALOG_CATALOG_H

#include "plugin/plugin.h"
#include "route/route.h"

struct catalog;

struct catalog_fn {
    struct catalog *catalog;
    struct fn_spec *spec; /* as asked for; replicas is the desired number */
    struct instance *owner;
    struct route_fn *route;
    unsigned ready, starting, draining;   /* endpoints */
    char *reason;                         /* why it is not as desired; NULL: it is */
    bool is_wake_reason;                  /* it comes from a start that failed, not from a delta */
    char **warnings;                      /* what the backend cannot honour: its own words first */
    size_t warnings_count, warnings_said; /* all; those that the provider has sent */
    /* Newest generations: of what is deployed, of its updates and removals, of its scalings. They
     * differ while calls overtake each other: a provider runs the latter two side by side. */
    uint64_t content_generation, control_generation, scale_generation;
    bool is_seen;            /* in the snapshot under way */
    bool is_waking;          /* an activate call is under way */
    unsigned wakes_failed;   /* in a row */
    int64_t woken_at_ms;     /* monotonic: last time the provider was asked */
    struct timer wake_again; /* after a wake that failed */
    int64_t ready_at_ms;     /* monotonic: last time an endpoint was added or it was deployed */
    void *scale_state;       /* of core/scale */
};

struct catalog_provider {
    struct instance *instance;
    const struct str *namespaces; /* patterns: exact, or a trailing '*' */
    size_t namespaces_count;
    bool is_default;
    bool is_synced;   /* its first snapshot was committed */
    bool in_snapshot; /* between snapshot_begin and its end */
    bool is_held;     /* wishes for its functions wait */
};

struct catalog_config {
    struct loop *control;
    struct route_table *routes;
    struct str default_ns; /* openfaas-fn */
    bool is_strict;     /* a field the backend cannot honour is refused instead of warned about */
    int64_t timeout_ms; /* default exchange limit, bounds com.openfaas.timeout */
    int64_t stream_idle_ms; /* as route_policy; 0: the proxy's */
    unsigned parked_max;    /* likewise */
};

struct catalog *catalog_new(const struct catalog_config *config);
/* After the providers have stopped: who waits for an answer gets none. */
void catalog_free(struct catalog *catalog);
/* Replaces is_strict, timeout_ms, stream_idle_ms and parked_max of the configuration. */
void catalog_configure(struct catalog *catalog, const struct catalog_config *config);
/* Where records are kept; before catalog_load. */
void catalog_set_store(struct catalog *catalog, struct instance *store);
/* Reads namespaces and invocation counts from the store; `done` comes when they are there. Before
 * providers start. */
void catalog_load(struct catalog *catalog, plugin_done_f *done, void *arg);
/* Writes the invocation counts that changed; also done every few seconds. At stop, before the store
 * stops. */
void catalog_save(struct catalog *catalog, plugin_done_f *done, void *arg);
void catalog_add_provider(struct catalog *catalog, const struct catalog_provider *provider);
/* on_synced runs each time a provider's first snapshot was committed. */
void catalog_on_synced(struct catalog *catalog, void (*on_synced)(void *arg), void *arg);

/* Changing providers while they serve (reload): hold those that will leave, wait until the catalog
 * is quiet, stage the new ones, start them, and switch once they are synced, or unstage to give up.
 * Resume when whoever lost has stopped: two instances would undo each other's work. */

/* Wishes for functions of the provider (deploy, remove, scale, wake) wait from now on. */
void catalog_hold(struct catalog *catalog, struct instance *instance);
/* Wishes for the function would wait. */
bool catalog_is_held(const struct catalog_fn *fn);
/* No wish is under way at a provider that is held. on_quiet says when, until catalog_resume. */
bool catalog_is_quiet(const struct catalog *catalog);
void catalog_on_quiet(struct catalog *catalog, void (*on_quiet)(void *arg), void *arg);
/* What waited goes on, as if it came just now. */
void catalog_resume(struct catalog *catalog);
/* What the instance pushes is kept aside. Before it starts. */
void catalog_stage(struct catalog *catalog, struct instance *instance);
bool catalog_staged_are_synced(const struct catalog *catalog);
void catalog_unstage(struct catalog *catalog);
struct catalog_moves {
    size_t kept, added, dropped; /* functions of the providers that came or went */
};
/* `providers` are all from now on, each known or staged before; their namespaces replace the former
 * ones. What staged ones pushed is published, functions whose owner is not in the list and which
 * nobody took over are dropped, deltas of the former owners are refused. Wishes for functions of
 * the staged ones wait like those before. */
void catalog_switch(struct catalog *catalog, const struct catalog_provider *providers, size_t count,
                    struct catalog_moves *ret_moves);

/* The sink to give to plugins_config. */
struct provider_sink catalog_sink(struct catalog *catalog);
struct str catalog_default_ns(const struct catalog *catalog);

/* "" means the default namespace; "openfaas-fn" too, unless a namespace of that name exists. */
struct str catalog_resolve_ns(const struct catalog *catalog, struct str ns);
/* NULL when there is none. ns as resolved. */
struct catalog_fn *catalog_find(const struct catalog *catalog, struct str ns, struct str name);
/* In order of namespace, then name. ns ptr NULL: all. NULL at the end. */
struct catalog_fn *catalog_next(const struct catalog *catalog, const struct catalog_fn *after,
                                struct str ns);
size_t catalog_count(const struct catalog *catalog);
uint64_t catalog_invocations(const struct catalog_fn *fn);
struct str catalog_fn_ns(const struct catalog_fn *fn);
struct str catalog_fn_name(const struct catalog_fn *fn);
/* label, annotation or NULL */
struct str catalog_label(const struct catalog_fn *fn, struct str key);
struct str catalog_annotation(const struct catalog_fn *fn, struct str key);

size_t catalog_providers(const struct catalog *catalog, const struct catalog_provider **ret);

/* Namespaces: records of the core, kept in the store. */
struct catalog_namespace {
    struct str name;
    struct conf_pair_list labels, annotations;
    uint64_t version; /* in the store; 0: not stored */
};
/* Returns the number; calls on_ns in byte order. The default namespace always exists. */
size_t catalog_namespaces(const struct catalog *catalog,
                          void (*on_ns)(void *arg, const struct catalog_namespace *ns), void *arg);
const struct catalog_namespace *catalog_namespace_find(const struct catalog *catalog,
                                                       struct str name);

/* Mutations: check, call the owner, then tell. `done` comes on the control loop, never from inside.
 * Read your writes: when done says FNG_OK the catalog shows it already. */
enum catalog_deploy_mode { CATALOG_CREATE, CATALOG_UPDATE };
void catalog_deploy(struct catalog *catalog, enum catalog_deploy_mode mode,
                    const struct fng_function *function, plugin_done_f *done, void *arg);
void catalog_remove(struct catalog *catalog, struct str ns, struct str name, plugin_done_f *done,
                    void *arg);
void catalog_scale(struct catalog *catalog, struct str ns, struct str name, uint32_t replicas,
                   plugin_done_f *done, void *arg);
/* mode FNG_NAMESPACE_CREATE, FNG_NAMESPACE_UPDATE. */
void catalog_namespace_set(struct catalog *catalog, const struct catalog_namespace *ns,
                           uint32_t mode, plugin_done_f *done, void *arg);
void catalog_namespace_remove(struct catalog *catalog, struct str name, plugin_done_f *done,
                              void *arg);
/* The provider that owns, or would own, functions of the namespace; NULL after a text in *err. */
struct instance *catalog_owner_of(const struct catalog *catalog, struct str ns, struct err *err);

/* The replicas that a function has at least while it runs: com.openfaas.scale.min, else 1. */
uint32_t catalog_scale_min(const struct catalog_fn *fn);

/* A request waits for the function: start it unless that is under way. From proxy_hooks, posted to
 * the control loop. A start that fails is tried again with back-off while requests are parked. */
void catalog_wake(struct catalog *catalog, struct catalog_fn *fn);

/* Observers, for scale and counters: called on the control loop after a change; fn is gone
 * afterwards when `is_removed`. */
void catalog_observe(struct catalog *catalog,
                     void (*on_change)(void *arg, struct catalog_fn *fn, bool is_removed),
                     void *arg);

#endif

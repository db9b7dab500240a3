/* What the tests of catalog and scale stand on: a catalog with its route table on one loop that the
 * test turns, a clock that stands still, and instances that are fakes: this header defines the
 * calls of plugin/plugin.h that the catalog makes. A call is recorded and answered when the test
 * says so, store calls run when it says so; thus every order of events can be played.
 */
#ifndef TESTS_UNIT_CATALOG_WORLD_H
#define TESTS_UNIT_CATALOG_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/sys.h"
#include "base/vec.h"
#include "catalog/catalog.h"

#include <stdio.h>

enum op { OP_DEPLOY, OP_UPDATE, OP_REMOVE, OP_SCALE, OP_ACTIVATE, OPS };

struct call {
    enum op op;
    char name[64];
    struct fn_spec *spec; /* deploy, update */
    uint32_t replicas;
    uint64_t generation;
    plugin_done_f *done;
    void *arg;
};

struct record {
    char *key, *value;
    uint64_t version;
};

enum store_op { STORE_PUT, STORE_GET, STORE_REMOVE, STORE_LIST };

struct store_call {
    enum store_op op;
    char *key, *value;
    uint64_t expected;
    value_done_f *value_done;
    plugin_done_f *done;
    entries_done_f *entries_done;
    void *arg;
};

/* A provider, or the store. */
struct instance {
    const char *name;
    uint32_t index;
    struct fng_provider_ops ops;
    struct fng_plugin descriptor;
    VEC(struct call) calls; /* not answered yet */
    unsigned made[OPS];
    VEC(struct record) records;
    VEC(struct store_call) store_calls;
    unsigned puts;
    uint64_t last_version;
    bool is_broken;
};

struct outcome {
    unsigned answers;
    int32_t error;
    char field[64], text[256];
};

struct world {
    struct loop *loop;
    struct quiesce *domain;
    struct route_table *routes;
    struct catalog_config config;
    struct catalog *catalog;
    struct provider_sink sink;
    struct instance provider, other, store;
};

static int64_t fake_now_ns;

static inline int64_t fake_clock(void)
{
    return fake_now_ns;
}

/* ---- Providers ---- */

const char *instance_name(const struct instance *instance)
{
    return instance->name;
}

const struct fng_plugin *instance_descriptor(const struct instance *instance)
{
    return &instance->descriptor;
}

uint32_t instance_index(const struct instance *instance)
{
    return instance->index;
}

uint32_t instance_health(const struct instance *instance, struct str *ret_why)
{
    (void)instance;
    *ret_why = STR("");
    return FNG_HEALTH_OK;
}

static inline struct call *record_call(struct instance *instance, enum op op, struct str name,
                                       plugin_done_f *done, void *arg)
{
    struct call *call = VEC_PUSH(&instance->calls);

    snprintf(call->name, sizeof(call->name), "%.*s", STR_ARG(name));
    call->op = op;
    call->done = done;
    call->arg = arg;
    instance->made[op]++;
    return call;
}

static inline void record_spec(struct instance *instance, enum op op, struct fn_spec *spec,
                               plugin_done_f *done, void *arg)
{
    struct call *call = record_call(instance, op, str_of(fn_spec_get(spec)->name), done, arg);

    call->spec = fn_spec_ref(spec);
    call->replicas = fn_spec_get(spec)->replicas;
    call->generation = fn_spec_get(spec)->generation;
}

void provider_deploy(struct instance *instance, struct fn_spec *spec, int64_t deadline_ms,
                     plugin_done_f *done, void *arg)
{
    (void)deadline_ms;
    record_spec(instance, OP_DEPLOY, spec, done, arg);
}

void provider_update(struct instance *instance, struct fn_spec *spec, int64_t deadline_ms,
                     plugin_done_f *done, void *arg)
{
    (void)deadline_ms;
    record_spec(instance, OP_UPDATE, spec, done, arg);
}

void provider_remove(struct instance *instance, struct str ns, struct str name, uint64_t generation,
                     int64_t deadline_ms, plugin_done_f *done, void *arg)
{
    (void)ns, (void)deadline_ms;
    record_call(instance, OP_REMOVE, name, done, arg)->generation = generation;
}

static inline void record_replicas(struct instance *instance, enum op op, struct str name,
                                   uint32_t replicas, uint64_t generation, plugin_done_f *done,
                                   void *arg)
{
    struct call *call = record_call(instance, op, name, done, arg);

    call->replicas = replicas;
    call->generation = generation;
}

void provider_scale(struct instance *instance, struct str ns, struct str name, uint32_t replicas,
                    uint64_t generation, int64_t deadline_ms, plugin_done_f *done, void *arg)
{
    (void)ns, (void)deadline_ms;
    record_replicas(instance, OP_SCALE, name, replicas, generation, done, arg);
}

void provider_activate(struct instance *instance, struct str ns, struct str name, uint32_t replicas,
                       uint64_t generation, int64_t deadline_ms, plugin_done_f *done, void *arg)
{
    (void)ns, (void)deadline_ms;
    record_replicas(instance, OP_ACTIVATE, name, replicas, generation, done, arg);
}

/* The oldest call of that kind, which must be there. */
static inline struct call *call_of(struct instance *instance, enum op op)
{
    for (size_t i = 0; i < instance->calls.count; i++)
        if (instance->calls.items[i].op == op)
            return &instance->calls.items[i];
    fail_msg("%s was not asked", instance->name);
    return NULL;
}

static inline unsigned calls_open(const struct instance *instance)
{
    return (unsigned)instance->calls.count;
}

/* Answers the oldest call of that kind. */
static inline void answer_later(struct instance *instance, enum op op, int32_t error,
                                uint32_t retry_after_ms)
{
    struct call *call = call_of(instance, op), answered = *call;
    struct plugin_result result = {.error = error,
                                   .field = STR(""),
                                   .text = error ? STR("the engine is away") : STR(""),
                                   .retry_after_ms = retry_after_ms};

    VEC_REMOVE(&instance->calls, (size_t)(call - instance->calls.items));
    answered.done(answered.arg, &result);
    fn_spec_unref(answered.spec);
}

static inline void answer(struct instance *instance, enum op op, int32_t error)
{
    answer_later(instance, op, error, 0);
}

/* ---- The store ---- */

static inline char *text_of(struct str s)
{
    return s.ptr ? str_dup(s) : NULL;
}

static inline struct store_call *record_store(struct instance *store, enum store_op op,
                                              struct str key, struct str value, uint64_t expected,
                                              void *arg)
{
    struct store_call *call = VEC_PUSH(&store->store_calls);

    *call = (struct store_call){
        .op = op, .key = text_of(key), .value = text_of(value), .expected = expected, .arg = arg};
    return call;
}

void store_put(struct instance *store, struct str key, struct str value, uint64_t expected,
               value_done_f *done, void *arg)
{
    record_store(store, STORE_PUT, key, value, expected, arg)->value_done = done;
}

void store_get(struct instance *store, struct str key, value_done_f *done, void *arg)
{
    record_store(store, STORE_GET, key, STR_NONE, 0, arg)->value_done = done;
}

void store_remove(struct instance *store, struct str key, uint64_t expected, plugin_done_f *done,
                  void *arg)
{
    record_store(store, STORE_REMOVE, key, STR_NONE, expected, arg)->done = done;
}

void store_list(struct instance *store, struct str prefix, entries_done_f *done, void *arg)
{
    record_store(store, STORE_LIST, prefix, STR_NONE, 0, arg)->entries_done = done;
}

static inline struct record *record_of(struct instance *store, const char *key)
{
    for (size_t i = 0; i < store->records.count; i++)
        if (strcmp(store->records.items[i].key, key) == 0)
            return &store->records.items[i];
    return NULL;
}

/* Writes past the catalog, as another gateway would. */
static inline uint64_t store_write(struct instance *store, const char *key, const char *value)
{
    struct record *record = record_of(store, key);

    if (!record) {
        record = VEC_PUSH(&store->records);
        record->key = str_dup(str_from(key));
    }
    mem_free(record->value);
    record->value = str_dup(str_from(value));
    record->version = ++store->last_version;
    return record->version;
}

static inline void store_erase(struct instance *store, const char *key)
{
    struct record *record = record_of(store, key);

    mem_free(record->key);
    mem_free(record->value);
    VEC_REMOVE(&store->records, (size_t)(record - store->records.items));
}

static inline struct plugin_result store_result(int32_t error)
{
    return (struct plugin_result){
        .error = error, .field = STR(""), .text = error ? STR("the store says no") : STR("")};
}

static inline void store_run_list(struct instance *store, const struct store_call *call)
{
    struct store_entry entries[16];
    struct plugin_result result = store_result(store->is_broken ? FNG_E_UNAVAILABLE : FNG_OK);
    size_t count = 0;

    for (size_t i = 0; i < store->records.count && !store->is_broken; i++) {
        const struct record *record = &store->records.items[i];

        if (str_starts(str_from(record->key), str_from(call->key)))
            entries[count++] = (struct store_entry){str_from(record->key), str_from(record->value),
                                                    record->version};
    }
    call->entries_done(call->arg, &result, entries, count);
}

static inline void store_run_one(struct instance *store, const struct store_call *call)
{
    const struct record *record = record_of(store, call->key);
    uint64_t version = record ? record->version : 0;
    struct plugin_result result = store_result(FNG_OK);

    if (store->is_broken)
        result = store_result(FNG_E_UNAVAILABLE);
    else if (!record && call->op != STORE_PUT)
        result = store_result(FNG_E_NOT_FOUND);
    else if (call->op != STORE_GET && call->expected != FNG_KV_ANY && call->expected != version)
        result = store_result(FNG_E_CONFLICT);
    else if (call->op == STORE_PUT)
        version = store_write(store, call->key, call->value);
    else if (call->op == STORE_REMOVE)
        store_erase(store, call->key);
    store->puts += call->op == STORE_PUT;
    if (call->done)
        call->done(call->arg, &result);
    else
        call->value_done(call->arg, &result, record ? str_from(record->value) : STR_NONE, version);
}

/* Runs what was asked of the store, and what follows from that. */
static inline void store_run(struct instance *store)
{
    while (store->store_calls.count > 0) {
        struct store_call call = store->store_calls.items[0];

        VEC_REMOVE(&store->store_calls, 0);
        if (call.op == STORE_LIST)
            store_run_list(store, &call);
        else
            store_run_one(store, &call);
        mem_free(call.key);
        mem_free(call.value);
    }
}

/* ---- The world ---- */

static inline void on_outcome(void *arg, const struct plugin_result *result)
{
    struct outcome *outcome = arg;

    outcome->answers++;
    outcome->error = result->error;
    snprintf(outcome->field, sizeof(outcome->field), "%.*s", STR_ARG(result->field));
    snprintf(outcome->text, sizeof(outcome->text), "%.*s", STR_ARG(result->text));
}

static inline void on_released(void *arg, uint32_t provider, uint64_t id, uint64_t generation)
{
    (void)arg, (void)provider, (void)id, (void)generation;
}

/* Some turns, for messages that follow from messages. */
static inline void settle(struct world *world)
{
    for (int i = 0; i < 8; i++)
        loop_turn(world->loop, false);
}

static inline void advance(struct world *world, int64_t ms)
{
    fake_now_ns += ms * 1000000;
    settle(world);
}

/* That it is there says that the provider can start functions. */
static inline int32_t never_called(void *self, struct fng_str ns, struct fng_str name,
                                   uint32_t replicas, uint64_t generation)
{
    (void)self, (void)ns, (void)name, (void)replicas, (void)generation;
    fail();
    return FNG_E_INTERNAL;
}

static inline void instance_make(struct instance *instance, const char *name, uint32_t index,
                                 uint32_t capabilities)
{
    *instance = (struct instance){.name = name, .index = index};
    instance->ops.activate = never_called;
    instance->descriptor.name = name;
    instance->descriptor.capabilities = capabilities;
    instance->descriptor.operations = &instance->ops;
}

static inline void world_make_catalog(struct world *world)
{
    struct catalog_provider provider = {.instance = &world->provider, .is_default = true};
    static const struct str patterns[] = {{"team-*", 6}};
    struct catalog_provider other = {
        .instance = &world->other, .namespaces = patterns, .namespaces_count = 1};

    world->routes = route_table_new(world->loop, world->domain, 1, on_released, world);
    route_table_set_loop(world->routes, 0, world->loop);
    world->config.control = world->loop;
    world->config.routes = world->routes;
    world->config.default_ns = STR("openfaas-fn");
    world->config.timeout_ms = 60000;
    world->catalog = catalog_new(&world->config);
    world->sink = catalog_sink(world->catalog);
    catalog_set_store(world->catalog, &world->store);
    catalog_add_provider(world->catalog, &provider);
    catalog_add_provider(world->catalog, &other);
}

static inline struct outcome world_load(struct world *world)
{
    struct outcome outcome = {0};

    catalog_load(world->catalog, on_outcome, &outcome);
    store_run(&world->store);
    assert_int_equal(outcome.answers, 1);
    return outcome;
}

static inline void world_make(struct world *world)
{
    *world = (struct world){0};
    fake_now_ns = INT64_C(1000000) * 1000000;
    sys.monotonic_ns = fake_clock;
    sys.wall_ns = fake_clock;
    world->loop = loop_new("test");
    world->domain = quiesce_new(world->loop);
    quiesce_add_loop(world->domain, world->loop);
    instance_make(&world->provider, "toy", 1,
                  FNG_PROVIDER_CAN_LIMIT_MEMORY | FNG_PROVIDER_CAN_SCALE_TO_ZERO);
    instance_make(&world->other, "other", 2, 0);
    instance_make(&world->store, "store", 0, 0);
    world_make_catalog(world);
    settle(world);
}

static inline void world_free_catalog(struct world *world)
{
    settle(world);
    store_run(&world->store);
    catalog_free(world->catalog);
    route_table_free(world->routes);
}

static inline void world_free(struct world *world)
{
    world_free_catalog(world);
    quiesce_free(world->domain);
    loop_free(world->loop);
    assert_int_equal(calls_open(&world->provider) + calls_open(&world->other), 0);
    assert_int_equal(world->store.store_calls.count, 0);
    while (world->store.records.count > 0)
        store_erase(&world->store, world->store.records.items[0].key);
    VEC_FREE(&world->store.records);
    VEC_FREE(&world->store.store_calls);
    VEC_FREE(&world->provider.calls);
    VEC_FREE(&world->other.calls);
    sys_reset();
}

static inline int set_up(void **state)
{
    struct world *world = xcalloc(1, sizeof(*world));

    world_make(world);
    assert_int_equal(world_load(world).error, FNG_OK);
    *state = world;
    return 0;
}

static inline int tear_down(void **state)
{
    world_free(*state);
    mem_free(*state);
    return 0;
}

/* ---- Wishes ---- */

static inline struct fng_function function_of(const char *name, const char *image)
{
    return (struct fng_function){.size = sizeof(struct fng_function),
                                 .ns = FNG_STR("openfaas-fn"),
                                 .name = fng_str_from(name),
                                 .image = fng_str_from(image)};
}

static inline void deploy_begin(struct world *world, enum catalog_deploy_mode mode,
                                const struct fng_function *function, struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    catalog_deploy(world->catalog, mode, function, on_outcome, outcome);
    settle(world);
}

/* Deploys and lets the provider agree. */
static inline struct catalog_fn *deploy(struct world *world, const struct fng_function *function)
{
    struct outcome outcome;

    deploy_begin(world, CATALOG_CREATE, function, &outcome);
    answer(&world->provider, OP_DEPLOY, FNG_OK);
    assert_int_equal(outcome.answers, 1);
    assert_int_equal(outcome.error, FNG_OK);
    return catalog_find(world->catalog, str_of(function->ns), str_of(function->name));
}

static inline struct catalog_fn *find(const struct world *world, const char *name)
{
    return catalog_find(world->catalog, STR("openfaas-fn"), str_from(name));
}

static inline void scale_begin(struct world *world, const char *name, uint32_t replicas,
                               struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    catalog_scale(world->catalog, STR("openfaas-fn"), str_from(name), replicas, on_outcome,
                  outcome);
    settle(world);
}

static inline void remove_begin(struct world *world, const char *name, struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    catalog_remove(world->catalog, STR("openfaas-fn"), str_from(name), on_outcome, outcome);
    settle(world);
}

static inline void scale_to(struct world *world, const char *name, uint32_t replicas)
{
    struct outcome outcome;

    scale_begin(world, name, replicas, &outcome);
    answer(&world->provider, OP_SCALE, FNG_OK);
    assert_int_equal(outcome.error, FNG_OK);
}

/* ---- Deltas ---- */

static inline int32_t push(struct world *world, struct instance *from, struct fng_function function,
                           uint32_t replicas, uint64_t generation)
{
    struct fn_spec *spec;
    int32_t error;

    function.replicas = replicas;
    function.generation = generation;
    spec = fn_spec_new(&function);
    error = world->sink.fn_upsert(world->sink.arg, from, spec, STR(""), NULL, 0);
    fn_spec_unref(spec);
    settle(world);
    return error;
}

/* One endpoint in that state; 0: none. */
static inline void push_endpoint(struct world *world, const char *name, uint64_t id, uint32_t state)
{
    struct fng_endpoint endpoint = {.size = sizeof(endpoint),
                                    .state = state,
                                    .id = id,
                                    .address = FNG_STR("127.0.0.1:1000"),
                                    .replica = FNG_STR("replica-a")};
    uint64_t generation = fn_spec_get(find(world, name)->spec)->generation;

    assert_int_equal(world->sink.endpoints_set(world->sink.arg, &world->provider,
                                               STR("openfaas-fn"), str_from(name), generation,
                                               &endpoint, state ? 1 : 0),
                     FNG_OK);
    settle(world);
}

/* ---- Requests ---- */

struct request {
    struct route_parked parked;
    bool is_woken;
};

static inline void on_request_woken(struct route_parked *parked)
{
    CONTAINER_OF(parked, struct request, parked)->is_woken = true;
}

/* A request finds nobody and waits, as the proxy does it. */
static inline void request_park(struct world *world, struct catalog_fn *fn, struct request *request)
{
    *request = (struct request){.parked.on_wake = on_request_woken};
    assert_true(route_fn_enter(fn->route, 0));
    assert_true(route_park(fn->route, 0, 10, &request->parked));
    catalog_wake(world->catalog, fn);
    settle(world);
}

static inline void request_end(struct world *world, struct route_fn *fn, struct request *request)
{
    route_unpark(&request->parked, 0);
    route_fn_leave(fn, 0, 200, 0.001);
    settle(world);
}

#endif

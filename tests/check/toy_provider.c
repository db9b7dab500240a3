/* A toy provider that is correct by default and broken in one way by its `fault` setting: each
 * fault must be found by the case of the conformance suite that is named beside it.
 *
 * Functions are threads that answer HTTP on unix sockets; their desired state is in the host's
 * key/value store. All deltas are pushed under one lock, so they come in order.
 */
#include "toy_provider.h"

#include "toy_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct fng_config_key config_keys[] = {
    {.name = "fault",
     .default_value = "",
     .help = "What is broken.",
     .type = FNG_CONF_STR,
     .offset = offsetof(struct toy, fault)},
};

/* Of an image named "bad" no replica comes up. */
static bool is_bad(const struct toy_function *f)
{
    return strstr(f->spec, "image\t\tbad\n") != NULL;
}

/* ---- Deltas ---- */

static void tell(struct toy *toy, const struct toy_function *f)
{
    struct fng_function function = {.size = sizeof(function)};
    struct fng_function_state state = {.size = sizeof(state), .function = &function};
    struct toy_spec spec;

    toy_spec_read(&spec, f->spec, &function);
    if (has_fault(toy, "drops-env")) /* provider/deploy-is-told */
        function.env.count = 0;
    if (is_bad(f) && !has_fault(toy, "silent-failure")) /* provider/failure-is-explained */
        state.reason = FNG_STR("this image cannot run");
    function.generation = f->generation;
    if (has_fault(toy, "upsert-wrong-generation")) /* provider/deploy-is-told */
        function.generation++;
    function.ns = fng_str_from(f->ns);
    function.name = fng_str_from(f->name);
    function.replicas = f->replicas;
    toy->host->fn_upsert(toy->host->instance, &state);
    toy_spec_free(&spec);
}

static void push(struct toy *toy, const struct toy_function *f)
{
    struct fng_endpoint endpoints[REPLICAS_MAX] = {0};
    uint64_t generation = f->generation;
    size_t count = 0;

    for (const struct replica *r = f->running; r && count < REPLICAS_MAX; r = r->next) {
        struct fng_str address = fng_str_from(r->address);

        if (has_fault(toy, "bad-address")) /* provider/addresses-parse */
            address = FNG_STR("localhost");
        if (has_fault(toy, "nobody-listens")) /* provider/deploy-becomes-ready */
            address = FNG_STR("unix:/nonexistent/fngate.sock");
        endpoints[count++] = (struct fng_endpoint){.size = sizeof(endpoints[0]),
                                                   .state = FNG_ENDPOINT_READY,
                                                   .id = r->id,
                                                   .address = address,
                                                   .replica = fng_str_from(r->function)};
    }
    if (has_fault(toy, "wrong-generation")) /* provider/endpoints-quote-known-generation */
        generation += 1000000;
    toy->host->endpoints_set(toy->host->instance, fng_str_from(f->ns), fng_str_from(f->name),
                             generation, endpoints, count, sizeof(endpoints[0]));
}

/* ---- State in the store ---- */

static void function_key(char key[KEY_MAX], const struct toy_function *f)
{
    snprintf(key, KEY_MAX, "function/%s/%s", f->ns, f->name);
}

static void save(struct toy *toy, const struct toy_function *f)
{
    char key[KEY_MAX], *value;
    const char *spec = f->spec;

    if (has_fault(toy, "loses-spec")) /* provider/restart-keeps-spec */
        spec = "image\t\tprocess\n";
    if (has_fault(toy, "forgets")) /* provider/restart-finds-functions */
        return;
    function_key(key, f);
    value = must_printf("%llu %u\n%s", (unsigned long long)f->generation, f->replicas, spec);
    toy->host->kv_put(toy->host->instance, fng_str_from(key), fng_str_from(value), FNG_KV_ANY,
                      NULL);
    free(value);
}

static int32_t load_function(void *arg, struct fng_str key, struct fng_str value, uint64_t version)
{
    struct toy_function *f = must_zalloc(sizeof(*f));
    char *key_text = must_copy(key), *value_text = must_copy(value);
    struct toy *toy = arg;
    unsigned long long generation;

    (void)version;
    if (sscanf(key_text, "function/%63[^/]/%63s", f->ns, f->name) != 2 ||
        sscanf(value_text, "%llu %u", &generation, &f->replicas) != 2)
        abort();
    f->spec = must_copy(fng_str_from(strchr(value_text, '\n') + 1));
    f->generation = generation;
    f->next = toy->functions;
    toy->functions = f;
    free(key_text);
    free(value_text);
    return 0;
}

static void load_id(void *arg, struct fng_str value, uint64_t version)
{
    char *text = must_copy(value);

    (void)version;
    *(uint64_t *)arg = strtoull(text, NULL, 10);
    free(text);
}

static bool is_in_list(const struct replica *list, uint64_t id)
{
    while (list && list->id != id)
        list = list->next;
    return list != NULL;
}

/* Replicas that have left do not count: that is the fault. */
static bool is_in_use(const struct toy *toy, uint64_t id)
{
    for (const struct toy_function *f = toy->functions; f; f = f->next)
        if (is_in_list(f->running, id))
            return true;
    return false;
}

/* An id is stored before it is used, so that no later process gives it again. */
static uint64_t next_id(struct toy *toy, const struct toy_function *f)
{
    char text[32];
    uint64_t id = 1;

    if (has_fault(toy, "duplicate-ids")) { /* provider/ids-are-distinct */
        while (is_in_list(f->running, id))
            id++;
        return id;
    }
    if (has_fault(toy, "reused-ids")) { /* provider/ids-are-never-reused */
        while (is_in_use(toy, id))
            id++;
        return id;
    }
    snprintf(text, sizeof(text), "%llu", (unsigned long long)++toy->last_id);
    toy->host->kv_put(toy->host->instance, FNG_STR("last-id"), fng_str_from(text), FNG_KV_ANY,
                      NULL);
    return toy->last_id;
}

/* ---- Replicas ---- */

static void note_request(void *arg, const char *function)
{
    struct toy *toy = arg;

    pthread_mutex_lock(&toy->log_lock);
    if (toy->line_count < LINES_MAX) {
        toy->line_times_ms[toy->line_count] = toy->host->wall_ms(toy->host->instance);
        snprintf(toy->lines[toy->line_count++], sizeof(toy->lines[0]), "%s", function);
    }
    pthread_mutex_unlock(&toy->log_lock);
}

static unsigned count_running(const struct toy_function *f)
{
    unsigned count = 0;

    for (const struct replica *r = f->running; r; r = r->next)
        count++;
    return count;
}

/* Out of the set; alive until endpoint_released. */
static void drain_one(struct toy *toy, struct toy_function *f, bool is_removal)
{
    struct replica *replica = f->running;

    f->running = replica->next;
    if (has_fault(toy, is_removal ? "remove-kills" : "scale-kills")) {
        /* provider/remove-waits-for-requests, provider/not-killed-before-release */
        replica_free(replica);
        return;
    }
    replica->next = toy->draining;
    toy->draining = replica;
}

static void start_one(struct toy *toy, struct toy_function *f)
{
    struct replica *replica =
        replica_new(toy->host->state_dir.ptr, next_id(toy, f), f->name, note_request, toy);

    replica->generation = f->generation;
    replica->next = f->running;
    f->running = replica;
}

/* Starts and drains replicas until there are as many as desired. */
static void reconcile(struct toy *toy, struct toy_function *f)
{
    while (count_running(f) < f->replicas && !is_bad(f) && f->replicas <= REPLICAS_MAX)
        start_one(toy, f);
    while (count_running(f) > f->replicas)
        drain_one(toy, f, false);
}

/* ---- Operations: desired state ---- */

struct toy_function *toy_find(struct toy *toy, struct fng_str ns, struct fng_str name)
{
    struct toy_function *f = toy->functions;

    while (f && !(fng_str_eq(fng_str_from(f->ns), ns) && fng_str_eq(fng_str_from(f->name), name)))
        f = f->next;
    return f;
}

static void copy_text(char *to, size_t cap, struct fng_str from)
{
    snprintf(to, cap, "%.*s", STR_ARG(from));
}

static struct toy_function *add_function(struct toy *toy, const struct fng_function *function)
{
    struct toy_function *f = must_zalloc(sizeof(*f));

    copy_text(f->ns, sizeof(f->ns), function->ns);
    copy_text(f->name, sizeof(f->name), function->name);
    f->next = toy->functions;
    toy->functions = f;
    return f;
}

static int32_t check_secrets(struct toy *toy, const struct fng_function *function)
{
    char key[KEY_MAX];

    for (size_t i = 0; i < function->secrets.count; i++) {
        snprintf(key, sizeof(key), "secret/%.*s/%.*s", STR_ARG(function->ns),
                 STR_ARG(function->secrets.items[i]));
        if (toy->host->kv_get(toy->host->instance, fng_str_from(key), toy_ignore_value, NULL) !=
                0 &&
            !has_fault(toy, "secrets-unchecked")) /* provider/secret-missing-at-deploy */
            return fng_invalid(toy->host, "secrets", "secret '%.*s' does not exist",
                               STR_ARG(function->secrets.items[i]));
    }
    return 0;
}

static void leak(struct toy *toy)
{
    if (has_fault(toy, "leaks-descriptors") && dup(2) < 0) /* provider/no-descriptor-leak */
        abort();
    if (has_fault(toy, "leaks-memory")) /* provider/memory-is-bounded */
        memset(must_realloc(NULL, 100000), 'x', 100000);
}

/* Takes over a spec; replicas of an older one are drained. */
static void take_over(struct toy *toy, struct toy_function *f, const struct fng_function *function)
{
    bool is_same = f->generation == function->generation;

    leak(toy);
    f->generation = function->generation;
    f->replicas = function->replicas;
    if (f->replicas == 0 && has_fault(toy, "zero-is-one")) /* provider/deploy-at-zero */
        f->replicas = 1;
    free(f->spec);
    f->spec = spec_text(function);
    if (!has_fault(toy, "saves-late")) /* provider/restart-after-kill */
        save(toy, f);
    while (f->running && (!is_same || has_fault(toy, "deploy-restarts")))
        drain_one(toy, f, false); /* provider/deploy-twice-is-harmless */
    reconcile(toy, f);
    tell(toy, f);
    push(toy, f);
}

static int32_t deploy_locked(struct toy *toy, const struct fng_function *function, bool may_create)
{
    struct toy_function *f = toy_find(toy, function->ns, function->name);
    int32_t error = check_secrets(toy, function);

    if (error)
        return error;
    if (!f && !may_create && !has_fault(toy, "update-creates")) /* provider/update-of-unknown */
        return fng_fail(toy->host, FNG_E_NOT_FOUND, "there is no such function");
    if (f && f->generation > function->generation &&
        !has_fault(toy, "older-wins")) /* provider/deploy-refuses-older-generation */
        return fng_fail(toy->host, FNG_E_CONFLICT, "it exists with a newer generation");
    take_over(toy, f ? f : add_function(toy, function), function);
    return 0;
}

static int32_t toy_deploy(void *self, const struct fng_function *function)
{
    struct toy *toy = self;
    int32_t error;

    pthread_mutex_lock(&toy->lock);
    error = deploy_locked(toy, function, true);
    pthread_mutex_unlock(&toy->lock);
    return error;
}

static int32_t toy_update(void *self, const struct fng_function *function)
{
    struct toy *toy = self;
    int32_t error;

    pthread_mutex_lock(&toy->lock);
    error = deploy_locked(toy, function, false);
    pthread_mutex_unlock(&toy->lock);
    return error;
}

static void forget(struct toy *toy, struct toy_function *f, uint64_t generation)
{
    struct toy_function **link = &toy->functions;
    char key[KEY_MAX];

    while (*link != f)
        link = &(*link)->next;
    *link = f->next;
    function_key(key, f);
    if (!has_fault(toy, "remembers-removed")) /* provider/restart-forgets-removed */
        toy->host->kv_remove(toy->host->instance, fng_str_from(key), FNG_KV_ANY);
    while (f->running)
        drain_one(toy, f, true);
    push(toy, f);
    if (!has_fault(toy, "silent-remove")) /* provider/remove-is-told */
        toy->host->fn_remove(toy->host->instance, fng_str_from(f->ns), fng_str_from(f->name),
                             generation);
    if (has_fault(toy, "late-delta")) /* provider/late-delta-after-remove */
        tell(toy, f);
    free(f->spec);
    free(f);
}

static int32_t toy_remove(void *self, struct fng_str ns, struct fng_str name, uint64_t generation)
{
    struct toy *toy = self;
    struct toy_function *f;

    pthread_mutex_lock(&toy->lock);
    f = toy_find(toy, ns, name);
    if (f)
        forget(toy, f, generation);
    pthread_mutex_unlock(&toy->lock);
    if (!f && !has_fault(toy, "removes-nothing")) /* provider/remove-of-unknown */
        return fng_fail(toy->host, FNG_E_NOT_FOUND, "there is no such function");
    return 0;
}

static void set_replicas(struct toy *toy, struct toy_function *f, uint32_t replicas,
                         uint64_t generation)
{
    f->generation = generation > f->generation ? generation : f->generation;
    f->replicas = replicas;
    if (!has_fault(toy, "scale-not-saved")) /* provider/restart-keeps-scale */
        save(toy, f);
    reconcile(toy, f);
    tell(toy, f);
    if (!has_fault(toy, "lost-event")) /* provider/scale-to-three */
        push(toy, f);
}

static int32_t toy_scale(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                         uint64_t generation)
{
    struct toy *toy = self;
    struct toy_function *f;

    if (has_fault(toy, "scale-ignored")) /* provider/scale-to-zero */
        return 0;
    pthread_mutex_lock(&toy->lock);
    f = toy_find(toy, ns, name);
    if (f)
        set_replicas(toy, f, replicas, generation);
    pthread_mutex_unlock(&toy->lock);
    return f ? 0 : fng_fail(toy->host, FNG_E_NOT_FOUND, "there is no such function");
}

static int32_t toy_activate(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                            uint64_t generation)
{
    struct toy *toy = self;
    struct toy_function *f;

    if (has_fault(toy, "never-activates")) /* provider/activate-from-zero */
        return 0;
    if (has_fault(toy, "activates-later") && toy->draining) /* provider/activate-while-draining */
        return 0;
    pthread_mutex_lock(&toy->lock);
    f = toy_find(toy, ns, name);
    if (f && has_fault(toy, "activates-again")) /* provider/activate-twice-is-harmless */
        replicas += f->replicas;
    else if (f && f->replicas)
        replicas = f->replicas;
    if (f)
        set_replicas(toy, f, replicas, generation);
    pthread_mutex_unlock(&toy->lock);
    return f ? 0 : fng_fail(toy->host, FNG_E_NOT_FOUND, "there is no such function");
}

static void toy_endpoint_released(void *self, uint64_t endpoint_id, uint64_t generation)
{
    struct replica *replica, **link;
    struct toy *toy = self;

    (void)generation;
    pthread_mutex_lock(&toy->lock);
    for (link = &toy->draining; *link && (*link)->id != endpoint_id;)
        link = &(*link)->next;
    replica = *link;
    if (has_fault(toy, "never-dies")) /* provider/goes-after-release */
        replica = NULL;
    if (replica)
        *link = replica->next;
    pthread_mutex_unlock(&toy->lock);
    if (replica)
        replica_free(replica);
}

/* ---- Operations: streams ---- */

static int32_t toy_watch(void *self)
{
    struct toy *toy = self;

    pthread_mutex_lock(&toy->lock);
    if (toy->has_synced && has_fault(toy, "syncs-once")) { /* provider/watch-again-resyncs */
        pthread_mutex_unlock(&toy->lock);
        return toy->host->wait_ms(toy->host->instance, UINT32_MAX);
    }
    toy->has_synced = 1;
    toy->host->snapshot_begin(toy->host->instance);
    for (const struct toy_function *f = toy->functions; f; f = f->next) {
        tell(toy, f);
        push(toy, f);
    }
    if (has_fault(toy, "removes-in-snapshot")) /* provider/snapshot-only-adds */
        toy->host->fn_remove(toy->host->instance, FNG_STR("openfaas-fn"), FNG_STR("two"), 1);
    if (!has_fault(toy, "no-commit")) /* provider/snapshot-is-committed */
        toy->host->snapshot_commit(toy->host->instance);
    pthread_mutex_unlock(&toy->lock);

    do
        toy->host->wait_ms(toy->host->instance, 60000);
    while (!toy->host->cancelled(toy->host->instance) ||
           has_fault(toy, "ignores-cancel")); /* provider/watch-ends-when-cancelled */
    return 0;
}

static int32_t toy_usage(void *self, struct fng_str ns, struct fng_str name, struct fng_usage *ret)
{
    struct toy *toy = self;
    struct toy_function *f;

    pthread_mutex_lock(&toy->lock);
    f = toy_find(toy, ns, name);
    ret->cpu_millicores = 1;
    ret->memory_bytes = f ? (uint64_t)count_running(f) << 16 : 0;
    pthread_mutex_unlock(&toy->lock);
    if (!f && !has_fault(toy, "usage-of-nobody")) /* provider/usage-is-told */
        return fng_fail(toy->host, FNG_E_NOT_FOUND, "there is no such function");
    return 0;
}

/* ---- Life ---- */

static int32_t toy_load(void *self, const struct fng_host *host)
{
    struct toy *toy = self;

    toy->host = host;
    pthread_mutex_init(&toy->lock, NULL);
    pthread_mutex_init(&toy->log_lock, NULL);
    return 0;
}

static int32_t toy_start(void *self)
{
    struct toy *toy = self;

    pthread_mutex_lock(&toy->lock);
    toy->host->kv_get(toy->host->instance, FNG_STR("last-id"), load_id, &toy->last_id);
    toy->host->kv_list(toy->host->instance, FNG_STR("function/"), load_function, toy);
    for (struct toy_function *f = toy->functions; f; f = f->next)
        reconcile(toy, f);
    pthread_mutex_unlock(&toy->lock);
    return 0;
}

static void *stay(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static void *talk_late(void *arg)
{
    const struct fng_host *host = arg;

    sleep_ms(100);
    host->log(host->instance, FNG_LOG_INFO, FNG_STR("still here"));
    return NULL;
}

static void start_detached(void *(*body)(void *), const struct fng_host *host)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, body, (void *)(uintptr_t)host) != 0)
        abort();
    pthread_detach(thread);
}

static void stop_badly(struct toy *toy)
{
    if (has_fault(toy, "stop-crashes")) /* provider/stop-within-limit */
        abort();
    if (has_fault(toy, "stop-blocks")) /* provider/stop-within-limit */
        stay(NULL);
    if (has_fault(toy, "leaks-threads")) /* provider/no-thread-left-after-stop */
        start_detached(stay, NULL);
    if (has_fault(toy, "talks-late")) /* provider/silent-after-stop */
        start_detached(talk_late, toy->host);
}

static void free_replicas(struct replica *replica)
{
    while (replica) {
        struct replica *next = replica->next;

        replica_free(replica);
        replica = next;
    }
}

static void toy_stop(void *self)
{
    struct toy *toy = self;

    pthread_mutex_lock(&toy->lock);
    stop_badly(toy);
    while (toy->functions) {
        struct toy_function *f = toy->functions;

        if (has_fault(toy, "saves-late"))
            save(toy, f);
        toy->functions = f->next;
        free_replicas(f->running);
        free(f->spec);
        free(f);
    }
    free_replicas(toy->draining);
    toy->draining = NULL;
    pthread_mutex_unlock(&toy->lock);
}

static void toy_unload(void *self)
{
    struct toy *toy = self;

    pthread_mutex_destroy(&toy->log_lock);
    pthread_mutex_destroy(&toy->lock);
}

static const struct fng_provider_ops operations = {
    .size = sizeof(operations),
    .orchestration = "toy",
    .deploy = toy_deploy,
    .update = toy_update,
    .remove = toy_remove,
    .scale = toy_scale,
    .activate = toy_activate,
    .endpoint_released = toy_endpoint_released,
    .logs = toy_logs,
    .watch = toy_watch,
    .secret_list = toy_secret_list,
    .usage = toy_usage,
    .namespace_list = toy_namespace_list,
    .secret_set = toy_secret_set,
    .secret_remove = toy_secret_remove,
    .namespace_set = toy_namespace_set,
    .namespace_remove = toy_namespace_remove,
};

static const struct fng_plugin plugin = {
    .magic = FNG_PLUGIN_MAGIC,
    .size = sizeof(plugin),
    .abi_major = FNG_ABI_MAJOR,
    .abi_minor = FNG_ABI_MINOR,
    .min_host_minor = 1,
    .kind = FNG_KIND_PROVIDER,
    .capabilities = FNG_PROVIDER_CAN_SCALE_TO_ZERO,
    .name = "toy-provider",
    .version = "0.1.0",
    .description = "A provider that is broken on demand.",
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

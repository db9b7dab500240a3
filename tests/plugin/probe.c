/* probe: a provider for tests of the gateway's side. It waits at the gate that its configuration
 * names (a pointer: plugin and test share a process), and a function's name says what to do. */
#include <fngate/provider.h>

#include "gate.h"

#include <poll.h>

struct probe {
    const struct fng_host *host;
    int64_t gate;
    int32_t refuse_load, is_short; /* is_short: watch returns at once */
};

static const struct fng_config_key config_keys[] = {
    {.name = "gate",
     .help = "Address of the gate.",
     .type = FNG_CONF_INT,
     .flags = FNG_CONF_REQUIRED,
     .offset = offsetof(struct probe, gate)},
    {.name = "refuse",
     .default_value = "false",
     .help = "config_complete fails.",
     .type = FNG_CONF_BOOL,
     .offset = offsetof(struct probe, refuse_load)},
    {.name = "short_watch",
     .default_value = "false",
     .help = "watch returns at once.",
     .type = FNG_CONF_BOOL,
     .offset = offsetof(struct probe, is_short)},
};

static struct gate *gate_of(const struct probe *probe)
{
    return (struct gate *)(intptr_t)probe->gate;
}

static void pass(const struct probe *probe, enum gate_op op)
{
    gate_enter(gate_of(probe), op);
    gate_leave(gate_of(probe), op);
}

static int is_named(struct fng_str name, const char *text)
{
    return fng_str_eq(name, fng_str_from(text));
}

/* ---- Life ---- */

static int32_t probe_load(void *self, const struct fng_host *host)
{
    struct probe *probe = self;

    probe->host = host;
    /* Too early: must be answered, not waited for. */
    return host->kv_remove(host->instance, FNG_STR("key"), FNG_KV_ANY) ? FNG_OK : FNG_E_INTERNAL;
}

static int32_t probe_config_complete(void *self)
{
    const struct probe *probe = self;

    return probe->refuse_load ? fng_invalid(probe->host, "refuse", "'refuse' was asked for")
                              : FNG_OK;
}

static int32_t probe_start(void *self)
{
    pass(self, GATE_START);
    return FNG_OK;
}

static void probe_drain(void *self)
{
    pass(self, GATE_DRAIN);
}

static void probe_stop(void *self)
{
    pass(self, GATE_STOP);
}

static void probe_unload(void *self)
{
    const struct probe *probe = self;

    if (probe->gate)
        pass(probe, GATE_UNLOAD);
}

/* ---- Pushes ---- */

static int32_t push(const struct probe *probe, struct fng_str name)
{
    const struct fng_host *host = probe->host;
    struct fng_function function = {.size = sizeof(function), .generation = 1, .name = name};
    struct fng_function_state state = {.size = sizeof(state), .function = &function};
    struct fng_endpoint endpoint = {.size = sizeof(endpoint), .state = FNG_ENDPOINT_READY, .id = 7};
    int32_t error;

    function.ns = FNG_STR("ns");
    endpoint.address = FNG_STR("127.0.0.1:1");
    error = host->fn_upsert(host->instance, &state);
    return error ? error
                 : host->endpoints_set(host->instance, function.ns, name, 1, &endpoint, 1,
                                       sizeof(endpoint));
}

static int32_t probe_watch(void *self)
{
    const struct probe *probe = self;
    const struct fng_host *host = probe->host;
    int32_t error = host->snapshot_begin(host->instance);

    if (!error)
        error = push(probe, FNG_STR("seen"));
    if (!error)
        error = host->snapshot_commit(host->instance);
    pass(probe, GATE_WATCH);
    while (!error && !probe->is_short)
        error = host->wait_ms(host->instance, 60000);
    return error;
}

/* ---- Operations ---- */

struct found {
    char value[16];
    uint64_t version;
    unsigned count;
    int is_right;
};

static void on_value(void *arg, struct fng_str value, uint64_t version)
{
    struct found *found = arg;

    found->is_right = is_named(value, "value");
    found->version = version;
}

static int32_t on_entry(void *arg, struct fng_str key, struct fng_str value, uint64_t version)
{
    struct found *found = arg;

    (void)value;
    found->is_right &= is_named(key, "key") && version == found->version;
    found->count++;
    return 0;
}

/* All of the store's services; what is left is "key" -> "value". */
static int32_t use_store(const struct fng_host *host)
{
    struct fng_instance *me = host->instance;
    struct fng_str key = FNG_STR("key");
    struct found found = {{0}, 0, 0, 0};
    uint64_t version = 0;

    if (host->kv_get(me, key, on_value, &found) != FNG_E_NOT_FOUND)
        return fng_fail(host, FNG_E_INTERNAL, "kv_get has found what was never put");
    if (host->kv_put(me, key, FNG_STR("value"), 0, &version) || version == 0)
        return fng_fail(host, FNG_E_INTERNAL, "kv_put has failed");
    if (host->kv_put(me, key, FNG_STR("other"), 0, NULL) != FNG_E_CONFLICT)
        return fng_fail(host, FNG_E_INTERNAL, "kv_put has replaced what must not exist");
    if (host->kv_get(me, key, on_value, &found) || !found.is_right || found.version != version)
        return fng_fail(host, FNG_E_INTERNAL, "kv_get has not found what was put");
    if (host->kv_put(me, FNG_STR("zero"), FNG_STR(""), FNG_KV_ANY, NULL) ||
        host->kv_remove(me, FNG_STR("zero"), FNG_KV_ANY))
        return fng_fail(host, FNG_E_INTERNAL, "kv_remove has failed");
    if (host->kv_list(me, FNG_STR(""), on_entry, &found) || found.count != 1 || !found.is_right)
        return fng_fail(host, FNG_E_INTERNAL, "kv_list is wrong");
    if (host->kv_get(me, FNG_STR(""), on_value, &found) != FNG_E_INVALID)
        return fng_fail(host, FNG_E_INTERNAL, "kv_get has taken an empty key");
    return FNG_OK;
}

static int32_t wait_for_cancel(const struct probe *probe)
{
    const struct fng_host *host = probe->host;
    struct pollfd fd = {host->cancel_fd(host->instance), POLLIN, 0};

    gate_enter(gate_of(probe), GATE_DEPLOY);
    (void)poll(&fd, 1, -1);
    gate_leave_with(gate_of(probe), GATE_DEPLOY, host->cancelled(host->instance));
    return FNG_E_CANCELLED;
}

static int32_t probe_deploy(void *self, const struct fng_function *function)
{
    const struct probe *probe = self;
    const struct fng_host *host = probe->host;
    struct fng_str name = function->name;

    if (is_named(name, "hangs")) {
        gate_enter(gate_of(probe), GATE_DEPLOY);
        gate_leave_with(gate_of(probe), GATE_DEPLOY, push(probe, name));
    }
    if (is_named(name, "returns-42"))
        return 42;
    if (is_named(name, "says-nothing"))
        return FNG_E_UNAVAILABLE;
    if (is_named(name, "has-no-image"))
        return fng_invalid(host, "image", "there is no image '%s'", "x");
    if (is_named(name, "uses-store"))
        return use_store(host);
    if (is_named(name, "waits-for-cancel"))
        return wait_for_cancel(probe);
    if (is_named(name, "conflicts"))
        return push(probe, name);
    host->health(host->instance, FNG_HEALTH_DEGRADED, FNG_STR("a disk is full"));
    host->metric_add(host->instance, FNG_STR("deploys"), 1);
    host->metric_set(host->instance, FNG_STR("load"), 0.5);
    return FNG_OK;
}

static int32_t probe_update(void *self, const struct fng_function *function)
{
    (void)function;
    pass(self, GATE_UPDATE);
    return FNG_OK;
}

static int32_t probe_remove(void *self, struct fng_str ns, struct fng_str name, uint64_t generation)
{
    (void)ns, (void)name, (void)generation;
    pass(self, GATE_REMOVE);
    return FNG_OK;
}

static int32_t probe_scale(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                           uint64_t generation)
{
    (void)ns, (void)name, (void)replicas, (void)generation;
    pass(self, GATE_SCALE);
    return FNG_OK;
}

static int32_t probe_activate(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                              uint64_t generation)
{
    (void)ns, (void)name, (void)replicas, (void)generation;
    pass(self, GATE_ACTIVATE);
    return FNG_OK;
}

static int32_t probe_secret_set(void *self, struct fng_str ns, struct fng_str name,
                                struct fng_str value, uint32_t mode)
{
    (void)ns, (void)name, (void)value, (void)mode;
    pass(self, GATE_SECRET_SET);
    return FNG_OK;
}

static int32_t probe_secret_remove(void *self, struct fng_str ns, struct fng_str name)
{
    (void)ns, (void)name;
    pass(self, GATE_SECRET_REMOVE);
    return FNG_OK;
}

static void probe_released(void *self, uint64_t endpoint_id, uint64_t generation)
{
    (void)endpoint_id, (void)generation;
    pass(self, GATE_RELEASED);
}

static int32_t probe_usage(void *self, struct fng_str ns, struct fng_str name,
                           struct fng_usage *ret)
{
    (void)ns, (void)name;
    pass(self, GATE_USAGE);
    ret->memory_bytes = 4096;
    return FNG_OK;
}

static int32_t probe_logs(void *self, const struct fng_log_query *query, fng_log_line_f *on_line,
                          void *arg)
{
    const struct probe *probe = self;
    struct fng_log_line line = {.size = sizeof(line), .text = FNG_STR("a line")};
    int32_t stop = on_line(arg, &line);

    gate_enter(gate_of(probe), GATE_LOGS);
    while (query->follow && !stop &&
           probe->host->wait_ms(probe->host->instance, 60000) != FNG_E_CANCELLED)
        continue;
    (void)on_line(arg, &line); /* must not reach anybody once cancelled */
    gate_leave(gate_of(probe), GATE_LOGS);
    return query->follow ? FNG_E_CANCELLED : FNG_OK;
}

static const struct fng_provider_ops operations = {
    .size = sizeof(operations),
    .orchestration = "probe",
    .deploy = probe_deploy,
    .update = probe_update,
    .remove = probe_remove,
    .scale = probe_scale,
    .activate = probe_activate,
    .secret_set = probe_secret_set,
    .secret_remove = probe_secret_remove,
    .endpoint_released = probe_released,
    .logs = probe_logs,
    .watch = probe_watch,
    .usage = probe_usage,
};

static const struct fng_plugin descriptor = {
    .magic = FNG_PLUGIN_MAGIC,
    .size = sizeof(descriptor),
    .abi_major = FNG_ABI_MAJOR,
    .abi_minor = FNG_ABI_MINOR,
    .kind = FNG_KIND_PROVIDER,
    .name = "probe",
    .version = "1",
    .description = "Hangs on demand.",
    .self_size = sizeof(struct probe),
    .config = config_keys,
    .config_count = sizeof(config_keys) / sizeof(config_keys[0]),
    .config_stride = sizeof(config_keys[0]),
    .load = probe_load,
    .config_complete = probe_config_complete,
    .start = probe_start,
    .drain = probe_drain,
    .stop = probe_stop,
    .unload = probe_unload,
    .operations = &operations,
};

FNG_PLUGIN_REGISTER(descriptor)

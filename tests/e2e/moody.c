/* moody: a provider whose mood decides how it fails. It serves one function, unless it refuses to
 * start, never says what runs ("mute"), or goes on pushing when another one has taken its place
 * ("pushy"). */
#include <fngate/provider.h>

struct moody {
    const struct fng_host *host;
    struct fng_str mood, name, address;
};

static const struct fng_config_key config_keys[] = {
    {.name = "mood",
     .default_value = "good",
     .help = "good, refusing, mute or pushy.",
     .type = FNG_CONF_STR,
     .offset = offsetof(struct moody, mood)},
    {.name = "function",
     .default_value = "moody",
     .help = "Name of its function.",
     .type = FNG_CONF_STR,
     .offset = offsetof(struct moody, name)},
    {.name = "address",
     .help = "Where the function answers.",
     .type = FNG_CONF_STR,
     .flags = FNG_CONF_REQUIRED,
     .offset = offsetof(struct moody, address)},
};

static int is_in_mood(const struct moody *moody, const char *mood)
{
    return fng_str_eq(moody->mood, fng_str_from(mood));
}

static int32_t moody_load(void *self, const struct fng_host *host)
{
    struct moody *moody = self;

    moody->host = host;
    return FNG_OK;
}

static int32_t moody_start(void *self)
{
    const struct moody *moody = self;

    return is_in_mood(moody, "refusing")
               ? fng_fail(moody->host, FNG_E_UNAVAILABLE, "not in the mood")
               : FNG_OK;
}

static int32_t push(const struct moody *moody)
{
    const struct fng_host *host = moody->host;
    struct fng_function function = {.size = sizeof(function), .generation = 1, .replicas = 1};
    struct fng_function_state state = {.size = sizeof(state), .function = &function};
    struct fng_endpoint endpoint = {.size = sizeof(endpoint), .state = FNG_ENDPOINT_READY, .id = 1};
    int32_t error;

    function.ns = FNG_STR("openfaas-fn");
    function.name = moody->name;
    function.image = moody->address;
    endpoint.address = moody->address;
    endpoint.replica = moody->address;
    error = host->fn_upsert(host->instance, &state);
    return error ? error
                 : host->endpoints_set(host->instance, function.ns, function.name, 1, &endpoint, 1,
                                       sizeof(endpoint));
}

static int32_t moody_watch(void *self)
{
    const struct moody *moody = self;
    const struct fng_host *host = moody->host;
    int32_t error = FNG_OK;

    if (!is_in_mood(moody, "mute")) {
        error = host->snapshot_begin(host->instance);
        error = error ? error : push(moody);
        error = error ? error : host->snapshot_commit(host->instance);
    }
    while (error == FNG_OK) {
        error = host->wait_ms(host->instance, 1);
        if (error == FNG_OK && is_in_mood(moody, "pushy"))
            error = push(moody);
    }
    fng_log(host, FNG_LOG_INFO, "watch ends with %d", error);
    return error;
}

static int32_t moody_scale(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                           uint64_t generation)
{
    const struct moody *moody = self;

    (void)ns, (void)name, (void)replicas, (void)generation;
    return fng_fail(moody->host, FNG_E_UNSUPPORTED, "it has one replica");
}

static const struct fng_provider_ops operations = {
    .size = sizeof(operations),
    .orchestration = "moody",
    .scale = moody_scale,
    .watch = moody_watch,
};

static const struct fng_plugin descriptor = {
    .magic = FNG_PLUGIN_MAGIC,
    .size = sizeof(descriptor),
    .abi_major = FNG_ABI_MAJOR,
    .abi_minor = FNG_ABI_MINOR,
    .kind = FNG_KIND_PROVIDER,
    .name = "moody",
    .version = "0.1.0",
    .description = "Fails as its mood says; for tests.",
    .self_size = sizeof(struct moody),
    .config = config_keys,
    .config_count = sizeof(config_keys) / sizeof(config_keys[0]),
    .config_stride = sizeof(config_keys[0]),
    .load = moody_load,
    .start = moody_start,
    .operations = &operations,
};

FNG_PLUGIN_REGISTER(descriptor)

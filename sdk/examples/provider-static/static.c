/* provider-static: functions that run somewhere else already, at addresses from the configuration.
 *
 *   plugin: provider-static
 *   config:
 *     functions:
 *       hello: 127.0.0.1:9000
 *       resize.images: unix:/run/resize.sock
 *
 * It checks its configuration, pushes one snapshot and waits to be stopped. It starts and stops
 * nothing, so deploy, update and remove are left out and scale says that it cannot. */
#include <fngate/provider.h>

#include <arpa/inet.h>
#include <stdio.h>

struct static_provider {
    const struct fng_host *host;
    struct fng_kv_list functions; /* "name" or "name.namespace" -> address */
    struct fng_str ns;            /* of names without one */
    int64_t created_ms;
};

enum { GENERATION = 1 /* nothing here ever changes */ };

static const struct fng_config_key config_keys[] = {
    {.name = "functions",
     .help = "Map of function names (name or name.namespace) to addresses (IP:PORT or unix:/path).",
     .type = FNG_CONF_MAP,
     .flags = FNG_CONF_REQUIRED,
     .min = 1,
     .max = 10000,
     .offset = offsetof(struct static_provider, functions)},
    {.name = "namespace",
     .default_value = "openfaas-fn",
     .help = "Namespace of functions whose name says none.",
     .type = FNG_CONF_STR,
     .min = 1,
     .max = 63,
     .offset = offsetof(struct static_provider, ns)},
};

static int32_t static_load(void *self, const struct fng_host *host)
{
    struct static_provider *provider = self;

    provider->host = host;
    return FNG_OK;
}

static void split_name(const struct static_provider *provider, struct fng_str key,
                       struct fng_str *ret_ns, struct fng_str *ret_name)
{
    const char *dot = memchr(key.ptr, '.', key.len);
    size_t len = dot ? (size_t)(dot - key.ptr) : key.len;

    *ret_name = fng_str_make(key.ptr, len);
    *ret_ns = dot ? fng_str_make(dot + 1, key.len - len - 1) : provider->ns;
}

/* Host names are not resolved: a name may mean another machine tomorrow, an endpoint may not. */
static int is_address(struct fng_str text)
{
    char host[INET6_ADDRSTRLEN];
    unsigned char parsed[sizeof(struct in6_addr)];
    unsigned port;
    char end;

    if (strncmp(text.ptr, "unix:/", 6) == 0)
        return text.len > 6;
    if (sscanf(text.ptr, "[%45[^]]]:%5u%c", host, &port, &end) == 2)
        return inet_pton(AF_INET6, host, parsed) == 1 && port > 0 && port < 65536;
    return sscanf(text.ptr, "%45[^:]:%5u%c", host, &port, &end) == 2 &&
           inet_pton(AF_INET, host, parsed) == 1 && port > 0 && port < 65536;
}

static int32_t static_config_complete(void *self)
{
    const struct static_provider *provider = self;

    for (size_t i = 0; i < provider->functions.count; i++) {
        const struct fng_kv *entry = &provider->functions.items[i];
        struct fng_str ns, name;

        split_name(provider, entry->key, &ns, &name);
        if (name.len == 0 || ns.len == 0)
            return fng_invalid(provider->host, "functions",
                               "'functions': '%s' is neither NAME nor NAME.NAMESPACE",
                               entry->key.ptr);
        if (!is_address(entry->value))
            return fng_invalid(provider->host, "functions",
                               "'functions': the address of '%s' must be IP:PORT, [IPV6]:PORT or "
                               "unix:/path, got '%s'",
                               entry->key.ptr, entry->value.ptr);
    }
    return FNG_OK;
}

/* FNV-1a: the same function at the same address has the same id, also after a restart. */
static uint64_t hash(uint64_t seed, struct fng_str text)
{
    for (size_t i = 0; i < text.len; i++)
        seed = (seed ^ (unsigned char)text.ptr[i]) * UINT64_C(0x100000001b3);
    return seed * UINT64_C(0x100000001b3); /* an end mark: "ab","c" is not "a","bc" */
}

static int32_t push_function(const struct static_provider *provider, const struct fng_kv *entry)
{
    const struct fng_host *host = provider->host;
    struct fng_function function = {.size = sizeof(function), .generation = GENERATION};
    struct fng_function_state state = {.size = sizeof(state), .function = &function};
    struct fng_endpoint endpoint = {.size = sizeof(endpoint), .state = FNG_ENDPOINT_READY};
    int32_t error;

    split_name(provider, entry->key, &function.ns, &function.name);
    function.image = entry->value;
    function.replicas = 1;
    function.created_ms = provider->created_ms;
    endpoint.address = entry->value;
    endpoint.replica = entry->value;
    endpoint.id =
        hash(hash(hash(UINT64_C(0xcbf29ce484222325), function.ns), function.name), entry->value);

    error = host->fn_upsert(host->instance, &state);
    if (error == FNG_OK)
        error = host->endpoints_set(host->instance, function.ns, function.name, GENERATION,
                                    &endpoint, 1, sizeof(endpoint));
    if (error == FNG_E_CONFLICT) {
        fng_log(host, FNG_LOG_WARN, "'%s' is served by another provider", entry->key.ptr);
        return FNG_OK;
    }
    return error;
}

static int32_t push_snapshot(const struct static_provider *provider)
{
    const struct fng_host *host = provider->host;
    int32_t error = host->snapshot_begin(host->instance);

    for (size_t i = 0; i < provider->functions.count && error == FNG_OK; i++)
        error = push_function(provider, &provider->functions.items[i]);
    if (error == FNG_OK)
        return host->snapshot_commit(host->instance);
    host->snapshot_abort(host->instance);
    return error;
}

static int32_t static_watch(void *self)
{
    struct static_provider *provider = self;
    const struct fng_host *host = provider->host;
    int32_t error;

    if (provider->created_ms == 0)
        provider->created_ms = host->wall_ms(host->instance);
    error = push_snapshot(provider);
    while (error == FNG_OK)
        error = host->wait_ms(host->instance, 60000);
    return error;
}

static int32_t static_scale(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                            uint64_t generation)
{
    const struct static_provider *provider = self;

    (void)ns, (void)replicas, (void)generation;
    return fng_fail(provider->host, FNG_E_UNSUPPORTED,
                    "%.*s stands in the configuration with one address; it cannot be scaled",
                    (int)name.len, name.ptr);
}

static const struct fng_provider_ops operations = {
    .size = sizeof(operations),
    .orchestration = "static",
    .scale = static_scale,
    .watch = static_watch,
};

static const struct fng_plugin descriptor = {
    .magic = FNG_PLUGIN_MAGIC,
    .size = sizeof(descriptor),
    .abi_major = FNG_ABI_MAJOR,
    .abi_minor = FNG_ABI_MINOR,
    .kind = FNG_KIND_PROVIDER,
    .name = "provider-static",
    .version = "0.1.0",
    .description = "Serves functions that run elsewhere, at fixed addresses.",
    .self_size = sizeof(struct static_provider),
    .config = config_keys,
    .config_count = sizeof(config_keys) / sizeof(config_keys[0]),
    .config_stride = sizeof(config_keys[0]),
    .load = static_load,
    .config_complete = static_config_complete,
    .operations = &operations,
};

FNG_PLUGIN_REGISTER(descriptor)

/* The gateway's parts: made here, in the order in which they need each other. */
#include "app/gateway.h"

#include "app/access_log.h"
#include "app/credentials.h"
#include "app/gateway_internal.h"
#include "app/version.h"
#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORKERS_MAX = 256 };

void gateway_fail(struct gateway *gateway, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_error("app", "%s", text);
    gateway->exit_status = 1;
    gateway_stop(gateway);
}

/* ---- Plugins ---- */

struct instance *gateway_make_instance(struct gateway *gateway, const struct settings *settings,
                                       const struct plugin_settings *wanted, uint32_t kind,
                                       struct instance *predecessor, struct conf_report *report)
{
    AUTO_FREE char *path = settings_plugin_path(settings, wanted->plugin);
    const char *who = kind == FNG_KIND_STORE ? "store" : "providers";
    struct plugin *plugin;
    struct err err;

    if (plugin_open(path, &plugin, &err) < 0) {
        conf_error(report, settings->doc, wanted->line, who, "%s", err.text);
        return NULL;
    }
    if (plugin_descriptor(plugin)->kind != kind) {
        conf_error(report, settings->doc, wanted->line, who, "%.*s is a %s, not a %s",
                   STR_ARG(wanted->plugin), plugin_kind_name(plugin_descriptor(plugin)->kind),
                   plugin_kind_name(kind));
        return NULL;
    }
    if (predecessor)
        return instance_new_successor(predecessor, plugin, settings->doc, wanted->config,
                                      wanted->line, report);
    return instance_new(gateway->plugins, plugin, wanted->name.ptr, settings->doc, wanted->config,
                        wanted->line, report);
}

static void make_instances(struct gateway *gateway, struct conf_report *report)
{
    const struct settings *settings = gateway->settings;

    gateway->store =
        gateway_make_instance(gateway, settings, &settings->store, FNG_KIND_STORE, NULL, report);
    gateway->providers = xcalloc(settings->providers_count, sizeof(struct instance *));
    for (size_t i = 0; i < settings->providers_count; i++) {
        gateway->providers[i] = gateway_make_instance(gateway, settings, &settings->providers[i],
                                                      FNG_KIND_PROVIDER, NULL, report);
        if (gateway->providers[i] && gateway->store)
            instance_set_store(gateway->providers[i], gateway->store);
    }
}

/* ---- The control side ---- */

static void on_released(void *arg, uint32_t provider, uint64_t id, uint64_t generation)
{
    struct gateway *gateway = arg;

    for (size_t i = 0; i < gateway->settings->providers_count; i++)
        if (instance_index(gateway->providers[i]) == provider)
            provider_endpoint_released(gateway->providers[i], id, generation);
}

static void make_loops(struct gateway *gateway)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    char name[24];

    gateway->workers_count = gateway->settings->workers ? (unsigned)gateway->settings->workers
                             : cores > 0                ? (unsigned)cores
                                                        : 1;
    if (gateway->workers_count > WORKERS_MAX)
        gateway->workers_count = WORKERS_MAX;
    gateway->control = loop_new("control");
    ASSERT(gateway->control);
    gateway->domain = quiesce_new(gateway->control);
    gateway->loops = xcalloc(gateway->workers_count, sizeof(struct loop *));
    for (unsigned i = 0; i < gateway->workers_count; i++) {
        snprintf(name, sizeof(name), "worker-%u", i);
        gateway->loops[i] = loop_new(name);
        ASSERT(gateway->loops[i]);
        quiesce_add_loop(gateway->domain, gateway->loops[i]);
    }
}

struct catalog_config gateway_catalog_config(const struct gateway *gateway)
{
    const struct settings *settings = gateway->settings;

    return (struct catalog_config){
        .control = gateway->control,
        .routes = gateway->routes,
        .default_ns = str_from(gateway->default_ns),
        .is_strict = settings->is_strict,
        .timeout_ms = settings->timeouts.request_ms,
        .stream_idle_ms = settings->timeouts.stream_idle_ms,
        .parked_max = (unsigned)settings->limits.parked_per_function,
    };
}

static void make_catalog(struct gateway *gateway)
{
    struct catalog_config config = gateway_catalog_config(gateway);

    gateway->catalog = catalog_new(&config);
}

static void make_plugins(struct gateway *gateway)
{
    AUTO_FREE char *libexec_dir = settings_exe_dir();
    struct plugins_config config = {
        .control = gateway->control,
        .state_dir = gateway->settings->state_dir.ptr,
        .libexec_dir = libexec_dir,
        .control_threads = 4,
        .urgent_threads = 2,
        .read_threads = 4,
        .stream_threads = 64,
        .queue_max = 256,
        .start_timeout_ms = 30000,
        .stop_timeout_ms = 10000,
        .sink = catalog_sink(gateway->catalog),
    };

    gateway->plugins = plugins_new(&config);
}

struct gateway *gateway_new(struct settings *settings, const char *file, struct conf_report *report)
{
    struct gateway *gateway = xcalloc(1, sizeof(*gateway));

    gateway->settings = settings;
    gateway->file = file ? str_dup(str_from(file)) : NULL;
    gateway->default_ns = str_dup(settings->default_namespace);
    gateway->trusted_count = settings->proxy.trusted.count;
    gateway->trusted = xcalloc(gateway->trusted_count + 1, sizeof(*gateway->trusted));
    for (size_t i = 0; i < gateway->trusted_count; i++)
        (void)settings_parse_ip(settings->proxy.trusted.items[i], &gateway->trusted[i], NULL);
    gateway->why_not_ready = "starting";
    gateway->signal_fd = gateway->predecessor = -1;
    make_loops(gateway);
    gateway->routes = route_table_new(gateway->control, gateway->domain, gateway->workers_count,
                                      on_released, gateway);
    make_catalog(gateway);
    make_plugins(gateway);
    make_instances(gateway, report);
    if (report->errors) {
        gateway_free(gateway);
        return NULL;
    }
    return gateway;
}

/* ---- The serving side ---- */

/* A request waits for a function: told to the control loop by name, as the slot may go meanwhile.
 */
struct wanted {
    struct loop_msg msg;
    struct gateway *gateway;
    char *ns, *name;
};

static void run_wanted(struct loop_msg *msg)
{
    struct wanted *wanted = CONTAINER_OF(msg, struct wanted, msg);
    struct catalog_fn *fn =
        catalog_find(wanted->gateway->catalog, str_from(wanted->ns), str_from(wanted->name));

    if (fn)
        catalog_wake(wanted->gateway->catalog, fn);
    mem_free(wanted->ns);
    mem_free(wanted->name);
    mem_free(wanted);
}

static void on_wanted(void *arg, struct route_fn *fn)
{
    struct gateway *gateway = arg;
    struct wanted *wanted = xcalloc(1, sizeof(*wanted));

    wanted->msg.run = run_wanted;
    wanted->gateway = gateway;
    wanted->ns = str_dup(route_fn_ns(fn));
    wanted->name = str_dup(route_fn_name(fn));
    loop_post(gateway->control, &wanted->msg);
}

struct worker_config gateway_worker_config(struct gateway *gateway, unsigned index)
{
    const struct settings *settings = gateway->settings;
    struct worker_config config = {
        .index = index,
        .server = server_config_default,
        .client = client_config_default,
        .proxy = proxy_config_default,
        .hooks = {.arg = gateway, .wanted = on_wanted},
        .routes = gateway->routes,
        .api = gateway->api,
    };
    size_t share = (size_t)settings->limits.idle_upstreams / gateway->workers_count;

    config.server.limits.head_max = settings->limits.head_bytes;
    config.server.limits.fields_max = (size_t)settings->limits.head_fields;
    config.server.head_timeout_ms = settings->timeouts.head_ms;
    config.server.body_idle_ms = settings->timeouts.read_ms > settings->timeouts.write_ms
                                     ? settings->timeouts.read_ms
                                     : settings->timeouts.write_ms;
    config.server.keep_alive_ms = settings->timeouts.keep_alive_ms;
    config.server.requests_max = (uint64_t)settings->limits.requests_per_connection;
    config.server.connections_max = (size_t)settings->limits.connections;
    config.server.tls = gateway->tls;
    config.client.connect_timeout_ms = settings->timeouts.connect_ms;
    config.client.idle_max = share ? share : 1;
    config.client.idle_max_per_addr = (size_t)settings->limits.idle_upstreams_per_endpoint;
    config.proxy.timeout_ms = settings->timeouts.request_ms;
    config.proxy.stream_idle_ms = settings->timeouts.stream_idle_ms;
    config.proxy.parked_max = (unsigned)settings->limits.parked_per_function;
    config.proxy.buffer_max = settings->limits.buffer_bytes;
    config.proxy.default_ns = str_from(gateway->default_ns);
    config.proxy.trusted = gateway->trusted;
    config.proxy.trusted_count = gateway->trusted_count;
    config.proxy.forwarded_for_port = settings->proxy.forwarded_for_port;
    if (str_eq(settings->log.access, STR("text")))
        config.access = access_log_text;
    else if (str_eq(settings->log.access, STR("json")))
        config.access = access_log_json;
    return config;
}

static int make_workers(struct gateway *gateway, struct err *err)
{
    gateway->workers = xcalloc(gateway->workers_count, sizeof(struct worker *));
    for (unsigned i = 0; i < gateway->workers_count; i++) {
        struct worker_config config = gateway_worker_config(gateway, i);

        gateway->workers[i] = worker_new(gateway->loops[i], &config);
        if (!gateway->workers[i])
            return err_set(err, -ENOMEM, "worker %u cannot be made: out of memory or descriptors",
                           i);
    }
    return 0;
}

static void make_api(struct gateway *gateway)
{
    struct api_config config = {
        .control = gateway->control,
        .catalog = gateway->catalog,
        .auth = gateway->auth,
        .body_max = gateway->settings->limits.api_body_bytes,
        .waiting_max = 1024,
        .version = FNGATE_VERSION,
        .commit = FNGATE_COMMIT,
        .openapi_file = openapi_text(),
        .is_upsert = gateway->settings->is_upsert,
        .on_metrics = gateway_figures,
        .is_ready = gateway_is_ready,
        .arg = gateway,
    };

    gateway->api = api_new(&config);
}

static int make_state_dir(const struct settings *settings, struct err *err)
{
    if (mkdir(settings->state_dir.ptr, 0700) < 0 && errno != EEXIST)
        return err_set(err, -errno, "state_dir %s cannot be made: %s", settings->state_dir.ptr,
                       strerror(errno));
    if (access(settings->state_dir.ptr, R_OK | W_OK | X_OK) < 0)
        return err_set(err, -errno, "state_dir %s cannot be used: %s", settings->state_dir.ptr,
                       strerror(errno));
    return 0;
}

struct catalog_provider gateway_binding(struct instance *instance,
                                        const struct plugin_settings *settings)
{
    return (struct catalog_provider){
        .instance = instance,
        .namespaces = settings->namespaces.items,
        .namespaces_count = settings->namespaces.count,
        .is_default = settings->is_default != 0,
    };
}

static int make_serving_side(struct gateway *gateway, struct err *err)
{
    const struct settings *settings = gateway->settings;
    int error = make_state_dir(settings, err);

    if (!error)
        error = credentials_open(settings, &gateway->auth, err);
    if (!error && settings->tls.certificate.len)
        error = tls_context_new(settings->tls.certificate.ptr, settings->tls.key.ptr, &gateway->tls,
                                err);
    if (error)
        return error;
    catalog_set_store(gateway->catalog, gateway->store);
    for (size_t i = 0; i < settings->providers_count; i++) {
        struct catalog_provider provider =
            gateway_binding(gateway->providers[i], &settings->providers[i]);

        catalog_add_provider(gateway->catalog, &provider);
    }
    gateway->scale = scale_new(&(struct scale_config){
        .control = gateway->control,
        .catalog = gateway->catalog,
        .routes = gateway->routes,
        .zero_duration_ms = settings->scale.zero_duration_ms,
    });
    make_api(gateway);
    return make_workers(gateway, err);
}

/* ---- Signals ---- */

static void on_signal(void *arg)
{
    struct gateway *gateway = arg;
    struct signalfd_siginfo info;

    while (read(gateway->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            gateway_reload(gateway);
        else
            gateway_stop(gateway);
    }
}

static void watch_signals(struct gateway *gateway)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    gateway->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    gateway->signal_watch = loop_watch(gateway->control, gateway->signal_fd, on_signal, gateway);
}

int gateway_run(struct gateway *gateway, bool takeover)
{
    struct err err;
    int error;

    watch_signals(gateway);
    error = make_serving_side(gateway, &err);
    if (!error && takeover)
        error = takeover_begin(gateway, &err);
    if (!error)
        error = sockets_open(gateway, gateway->settings, &err);
    if (error) {
        log_error("app", "%s", err.text);
        return 1;
    }
    for (unsigned i = 0; i < gateway->workers_count; i++)
        worker_run(gateway->workers[i]);
    gateway_start(gateway);
    loop_run(gateway->control);
    for (unsigned i = 0; i < gateway->workers_count; i++)
        loop_stop(gateway->loops[i]);
    for (unsigned i = 0; i < gateway->workers_count; i++)
        loop_join(gateway->loops[i]);
    return gateway->exit_status;
}

void gateway_free(struct gateway *gateway)
{
    if (!gateway)
        return;
    for (unsigned i = 0; gateway->workers && i < gateway->workers_count; i++)
        worker_free(gateway->workers[i]);
    handover_free(gateway->handover);
    if (gateway->signal_watch)
        loop_unwatch(gateway->signal_watch);
    if (gateway->signal_fd >= 0)
        close(gateway->signal_fd);
    sockets_close(gateway);
    if (gateway->predecessor >= 0)
        close(gateway->predecessor);
    for (size_t i = 0; gateway->providers && i < gateway->settings->providers_count; i++)
        if (gateway->providers[i] && instance_state(gateway->providers[i]) == INSTANCE_CONFIGURED)
            instance_free(gateway->providers[i]);
    if (gateway->store && instance_state(gateway->store) == INSTANCE_CONFIGURED)
        instance_free(gateway->store);
    plugins_free(gateway->plugins); /* answers what it refused last: before those who asked */
    scale_free(gateway->scale);
    if (gateway->api)
        api_free(gateway->api);
    catalog_free(gateway->catalog);
    route_table_free(gateway->routes);
    for (unsigned i = 0; i < gateway->workers_count; i++)
        loop_free(gateway->loops[i]);
    quiesce_free(gateway->domain);
    loop_free(gateway->control);
    auth_free(gateway->auth);
    tls_context_unref(gateway->tls);
    mem_free(gateway->loops);
    mem_free(gateway->workers);
    mem_free(gateway->providers);
    mem_free(gateway->file);
    mem_free(gateway->default_ns);
    mem_free(gateway->trusted);
    mem_free(gateway->store_text);
    settings_free(gateway->settings);
    mem_free(gateway);
}

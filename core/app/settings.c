/* Settings: section tables, defaults, cross-checks. */
#include "app/settings.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AT(member)   offsetof(struct settings, member)
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct conf_key root_keys[] = {
    {.name = "version",
     .type = CONF_INT,
     .flags = CONF_REQUIRED,
     .min = 1,
     .max = 1,
     .offset = AT(version),
     .help = "Version of this file's format; 1."},
    {.name = "listen",
     .type = CONF_STRS,
     .default_value = "127.0.0.1:8080",
     .min = 1,
     .max = 16,
     .offset = AT(listen),
     .help =
         "Addresses of the API and of the functions: HOST:PORT, [IPV6]:PORT, :PORT or unix:/PATH."},
    {.name = "workers",
     .type = CONF_INT,
     .default_value = "0",
     .min = 0,
     .max = 256,
     .offset = AT(workers),
     .help = "Worker loops; 0 means one per core."},
    {.name = "state_dir",
     .type = CONF_STR,
     .default_value = ".state",
     .offset = AT(state_dir),
     .env = "FNGATE_STATE",
     .help = "Folder for everything that must survive a restart."},
    {.name = "plugins_dir",
     .type = CONF_STR,
     .default_value = "",
     .offset = AT(plugins_dir),
     .help = "Folder of the plugins named without a path; empty: beside the executable."},
    {.name = "default_namespace",
     .type = CONF_STR,
     .default_value = "openfaas-fn",
     .min = 1,
     .max = 63,
     .offset = AT(default_namespace),
     .env = "function_namespace",
     .help = "Namespace of functions named without one."},
    {.name = "strict",
     .type = CONF_BOOL,
     .default_value = "false",
     .offset = AT(is_strict),
     .help = "Refuse a deploy that asks for what the backend cannot honour, instead of warning."},
    {.name = "upsert",
     .type = CONF_BOOL,
     .default_value = "false",
     .offset = AT(is_upsert),
     .help = "Let PUT create an unknown function instead of answering 404."},
    {.name = "tls",
     .type = CONF_ANY,
     .offset = AT(sections[0]),
     .help = "Certificate and key of the listeners."},
    {.name = "metrics",
     .type = CONF_ANY,
     .offset = AT(sections[1]),
     .help = "The metrics listener."},
    {.name = "log", .type = CONF_ANY, .offset = AT(sections[2]), .help = "The log."},
    {.name = "auth",
     .type = CONF_ANY,
     .offset = AT(sections[3]),
     .help = "Who may use the control API."},
    {.name = "timeouts", .type = CONF_ANY, .offset = AT(sections[4]), .help = "Time limits."},
    {.name = "limits",
     .type = CONF_ANY,
     .offset = AT(sections[5]),
     .help = "Size and count limits."},
    {.name = "scale", .type = CONF_ANY, .offset = AT(sections[6]), .help = "Scaling."},
    {.name = "proxy",
     .type = CONF_ANY,
     .offset = AT(sections[7]),
     .help = "What functions get to see."},
    {.name = "store", .type = CONF_ANY, .offset = AT(store_node), .help = "The state store."},
    {.name = "providers",
     .type = CONF_ANY,
     .offset = AT(providers_node),
     .help = "What runs functions."},
};

static const struct conf_key tls_keys[] = {
    {.name = "certificate",
     .type = CONF_STR,
     .offset = AT(tls.certificate),
     .help = "PEM file with the certificate chain; read again on SIGHUP."},
    {.name = "key",
     .type = CONF_STR,
     .offset = AT(tls.key),
     .help = "PEM file with the private key."},
};

static const struct conf_key metrics_keys[] = {
    {.name = "listen",
     .type = CONF_STRS,
     .default_value = "127.0.0.1:8082",
     .min = 0,
     .max = 16,
     .offset = AT(metrics.listen),
     .help = "Addresses that serve /metrics, without authentication."},
};

static const struct conf_key log_keys[] = {
    {.name = "level",
     .type = CONF_STR,
     .default_value = "info",
     .offset = AT(log.level),
     .help = "error, warn, info or debug."},
    {.name = "format",
     .type = CONF_STR,
     .default_value = "text",
     .offset = AT(log.format),
     .help = "text or json."},
    {.name = "access",
     .type = CONF_STR,
     .default_value = "off",
     .offset = AT(log.access),
     .help = "One record per request: off, text or json."},
};

static const struct conf_key auth_keys[] = {
    {.name = "enabled",
     .type = CONF_BOOL,
     .default_value = "true",
     .offset = AT(auth.is_enabled),
     .env = "basic_auth",
     .help = "Basic authentication on the control API."},
    {.name = "user_file",
     .type = CONF_STR,
     .default_value = "",
     .offset = AT(auth.user_file),
     .help = "File with the user name; empty: STATE_DIR/auth/basic-auth-user, made at the first "
             "start."},
    {.name = "password_file",
     .type = CONF_STR,
     .default_value = "",
     .offset = AT(auth.password_file),
     .help = "File with the password; empty: STATE_DIR/auth/basic-auth-password, made at the first "
             "start."},
};

static const struct conf_key timeout_keys[] = {
    {.name = "request",
     .type = CONF_DURATION,
     .default_value = "60s",
     .min = 1,
     .max = 86400000,
     .offset = AT(timeouts.request_ms),
     .env = "upstream_timeout",
     .help = "A whole call, from its head to its answer."},
    {.name = "stream_idle",
     .type = CONF_DURATION,
     .default_value = "5m",
     .min = 1,
     .max = 86400000,
     .offset = AT(timeouts.stream_idle_ms),
     .help = "Event streams and WebSockets: time without a byte either way."},
    {.name = "head",
     .type = CONF_DURATION,
     .default_value = "10s",
     .min = 1,
     .max = 3600000,
     .offset = AT(timeouts.head_ms),
     .help = "A request head, from its first byte to its last."},
    {.name = "read",
     .type = CONF_DURATION,
     .default_value = "30s",
     .min = 1,
     .max = 86400000,
     .offset = AT(timeouts.read_ms),
     .env = "read_timeout",
     .help = "Between two pieces of a request body."},
    {.name = "write",
     .type = CONF_DURATION,
     .default_value = "30s",
     .min = 1,
     .max = 86400000,
     .offset = AT(timeouts.write_ms),
     .env = "write_timeout",
     .help = "A client that does not read its answer."},
    {.name = "keep_alive",
     .type = CONF_DURATION,
     .default_value = "75s",
     .min = 1,
     .max = 86400000,
     .offset = AT(timeouts.keep_alive_ms),
     .help = "An idle client connection."},
    {.name = "connect",
     .type = CONF_DURATION,
     .default_value = "5s",
     .min = 1,
     .max = 600000,
     .offset = AT(timeouts.connect_ms),
     .help = "Connecting to a replica."},
    {.name = "drain",
     .type = CONF_DURATION,
     .default_value = "30s",
     .min = 0,
     .max = 3600000,
     .offset = AT(timeouts.drain_ms),
     .help = "Finishing accepted requests after SIGTERM."},
};

static const struct conf_key limit_keys[] = {
    {.name = "connections",
     .type = CONF_INT,
     .default_value = "10000",
     .min = 1,
     .max = 10000000,
     .offset = AT(limits.connections),
     .help = "Client connections per worker; above it the oldest idle one is closed."},
    {.name = "requests_per_connection",
     .type = CONF_INT,
     .default_value = "10000",
     .min = 1,
     .max = INT64_MAX,
     .offset = AT(limits.requests_per_connection),
     .help = "Then the connection is closed."},
    {.name = "parked_per_function",
     .type = CONF_INT,
     .default_value = "1000",
     .min = 1,
     .max = 1000000,
     .offset = AT(limits.parked_per_function),
     .help = "Requests that may wait for one function to start."},
    {.name = "idle_upstreams",
     .type = CONF_INT,
     .default_value = "1024",
     .min = 0,
     .max = 1000000,
     .offset = AT(limits.idle_upstreams),
     .env = "max_idle_conns",
     .help = "Idle connections to replicas, all workers together."},
    {.name = "idle_upstreams_per_endpoint",
     .type = CONF_INT,
     .default_value = "1024",
     .min = 0,
     .max = 1000000,
     .offset = AT(limits.idle_upstreams_per_endpoint),
     .env = "max_idle_conns_per_host",
     .help = "Likewise, per replica."},
    {.name = "head_fields",
     .type = CONF_INT,
     .default_value = "100",
     .min = 1,
     .max = 10000,
     .offset = AT(limits.head_fields),
     .help = "Fields in a message head."},
    {.name = "head_bytes",
     .type = CONF_SIZE,
     .default_value = "64Ki",
     .min = 1024,
     .max = 1 << 24,
     .offset = AT(limits.head_bytes),
     .help = "Bytes in a message head."},
    {.name = "api_body_bytes",
     .type = CONF_SIZE,
     .default_value = "4Mi",
     .min = 1024,
     .max = 1 << 30,
     .offset = AT(limits.api_body_bytes),
     .help = "Body of a control API request."},
    {.name = "buffer_bytes",
     .type = CONF_SIZE,
     .default_value = "64Ki",
     .min = 4096,
     .max = 1 << 26,
     .offset = AT(limits.buffer_bytes),
     .help = "Bytes kept for a slow reader before its writer is stopped."},
};

static const struct conf_key scale_keys[] = {
    {.name = "zero_duration",
     .type = CONF_DURATION,
     .default_value = "15m",
     .min = 1,
     .max = INT64_MAX,
     .offset = AT(scale.zero_duration_ms),
     .help =
         "Idle time before scaling to zero, where com.openfaas.scale.zero-duration names none."},
};

static const struct conf_key proxy_keys[] = {
    {.name = "trusted",
     .type = CONF_STRS,
     .max = 64,
     .offset = AT(proxy.trusted),
     .help = "IP addresses of proxies in front: their X-Forwarded-* fields are kept and added to."},
    {.name = "forwarded_for_port",
     .type = CONF_BOOL,
     .default_value = "false",
     .offset = AT(proxy.forwarded_for_port),
     .help = "X-Forwarded-For with the client's port, as the OpenFaaS gateway writes it."},
};

static const struct conf_key plugin_keys[] = {
    {.name = "name",
     .type = CONF_STR,
     .default_value = "",
     .max = 63,
     .offset = offsetof(struct plugin_settings, name),
     .help = "Name of the instance; empty: the plugin's."},
    {.name = "plugin",
     .type = CONF_STR,
     .flags = CONF_REQUIRED,
     .offset = offsetof(struct plugin_settings, plugin),
     .help = "Name of a bundled plugin, or the path of a .so."},
    {.name = "default",
     .type = CONF_BOOL,
     .default_value = "false",
     .offset = offsetof(struct plugin_settings, is_default),
     .help = "Serves the namespaces that no other provider is bound to."},
    {.name = "namespaces",
     .type = CONF_STRS,
     .offset = offsetof(struct plugin_settings, namespaces),
     .help = "Namespaces this provider serves; a trailing * matches any rest."},
    {.name = "config",
     .type = CONF_ANY,
     .offset = offsetof(struct plugin_settings, config),
     .help = "The plugin's own keys; see `fngate plugins FILE.so`."},
};

/* In the order of settings.sections. */
static const struct {
    const char *name;
    const struct conf_key *keys;
    size_t count;
} sections[] = {
    {"tls", tls_keys, COUNT(tls_keys)},
    {"metrics", metrics_keys, COUNT(metrics_keys)},
    {"log", log_keys, COUNT(log_keys)},
    {"auth", auth_keys, COUNT(auth_keys)},
    {"timeouts", timeout_keys, COUNT(timeout_keys)},
    {"limits", limit_keys, COUNT(limit_keys)},
    {"scale", scale_keys, COUNT(scale_keys)},
    {"proxy", proxy_keys, COUNT(proxy_keys)},
};

/* What runs when no file is given: local processes, SQLite, everything on loopback. */
static const char embedded_defaults[] = "version: 1\n"
                                        "store:\n"
                                        "  plugin: store-sqlite\n"
                                        "providers:\n"
                                        "  - plugin: provider-process\n"
                                        "    default: true\n";

/* ---- Plugins ---- */

static bool is_path(struct str plugin)
{
    return str_find(plugin, '/') >= 0;
}

char *settings_exe_dir(void)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    ptrdiff_t slash = len > 0 ? str_rfind(str_make(path, (size_t)len), '/') : -1;

    return slash > 0 ? str_dup(str_make(path, (size_t)slash)) : str_dup(STR("."));
}

char *settings_plugin_path(const struct settings *settings, struct str plugin)
{
    AUTO_FREE char *exe_dir = settings_exe_dir();
    AUTO_FREE char *beside = xasprintf("%s/plugins", exe_dir);

    if (is_path(plugin))
        return str_dup(plugin);
    if (settings->plugins_dir.len)
        return xasprintf("%.*s/%.*s.so", STR_ARG(settings->plugins_dir), STR_ARG(plugin));
    if (access(beside, X_OK) == 0)
        return xasprintf("%s/%.*s.so", beside, STR_ARG(plugin));
    return xasprintf("%s/../lib/fngate/plugins/%.*s.so", exe_dir, STR_ARG(plugin));
}

/* The name of an instance whose entry gives none: that of the plugin. */
static struct str name_of_plugin(struct str plugin)
{
    struct str name =
        is_path(plugin) ? str_sub(plugin, (size_t)str_rfind(plugin, '/') + 1, plugin.len) : plugin;

    return str_ends(name, STR(".so")) ? str_sub(name, 0, name.len - 3) : name;
}

static void read_plugin(struct settings *settings, const struct conf_node *node, const char *who,
                        struct plugin_settings *ret, struct conf_report *report)
{
    conf_bind(settings->doc, node, plugin_keys, COUNT(plugin_keys), who, ret, &settings->pool,
              report);
    ret->line = node ? node->line : 0;
    if (ret->name.len == 0)
        ret->name = pool_str(&settings->pool, name_of_plugin(ret->plugin));
}

static void read_providers(struct settings *settings, struct conf_report *report)
{
    const struct conf_node *list = settings->providers_node;
    size_t count = 0, defaults = 0;

    if (!list || list->type != CONF_LIST || !list->first) {
        conf_error(report, settings->doc, list ? list->line : 1, "providers",
                   "at least one provider is needed: a list of entries with `plugin:`");
        return;
    }
    for (const struct conf_node *node = list->first; node; node = node->next)
        count++;
    settings->providers = xcalloc(count, sizeof(*settings->providers));
    for (const struct conf_node *node = list->first; node; node = node->next) {
        struct plugin_settings *provider = &settings->providers[settings->providers_count++];

        if (node->type != CONF_MAP) {
            conf_error(report, settings->doc, node->line, "providers",
                       "an entry is a mapping with `plugin:`");
            continue;
        }
        read_plugin(settings, node, "providers", provider, report);
        defaults += provider->is_default != 0;
        for (size_t i = 0; i + 1 < settings->providers_count; i++)
            if (str_eq(settings->providers[i].name, provider->name))
                conf_error(report, settings->doc, node->line, "providers",
                           "the name '%.*s' is taken by line %d; give each entry its own `name:`",
                           STR_ARG(provider->name), settings->providers[i].line);
    }
    if (count == 1)
        settings->providers[0].is_default = 1;
    else if (defaults != 1)
        conf_error(report, settings->doc, list->line, "providers",
                   "%zu entries say `default: true`; exactly one must", defaults);
}

/* Two providers bound to the same namespace would both own its functions. */
static void check_overlaps(const struct settings *settings, struct conf_report *report)
{
    for (size_t i = 0; i < settings->providers_count; i++)
        for (size_t j = 0; j < i; j++)
            for (size_t a = 0; a < settings->providers[i].namespaces.count; a++)
                for (size_t b = 0; b < settings->providers[j].namespaces.count; b++) {
                    struct str x = settings->providers[i].namespaces.items[a];
                    struct str y = settings->providers[j].namespaces.items[b];

                    if (str_eq(x, y))
                        conf_error(report, settings->doc, settings->providers[i].line, "providers",
                                   "namespace '%.*s' is bound by line %d already", STR_ARG(x),
                                   settings->providers[j].line);
                }
}

/* ---- Checks that one key alone cannot make ---- */

static void check_addresses(const struct settings *settings, const struct conf_str_list *list,
                            const char *who, struct conf_report *report)
{
    struct addr addr;
    struct err err;

    for (size_t i = 0; i < list->count; i++)
        if (addr_parse(list->items[i], &addr, &err) < 0)
            conf_error(report, settings->doc, 0, who, "'%.*s': %s", STR_ARG(list->items[i]),
                       err.text);
}

static void check_word(const struct settings *settings, struct str value, const char *who,
                       const char *words, struct conf_report *report)
{
    struct str rest = str_from(words), word;

    while (str_next(&rest, '|', &word))
        if (str_eq(word, value))
            return;
    conf_error(report, settings->doc, 0, who, "'%.*s' is none of %s", STR_ARG(value), words);
}

int settings_parse_ip(struct str text, struct addr *ret, struct err *err)
{
    bool is_v6 = str_find(text, ':') >= 0;
    AUTO_FREE char *full =
        xasprintf(is_v6 ? "[%.*s]:0" : "%.*s:0", (int)text.len, text.ptr ? text.ptr : "");

    if (addr_parse(str_from(full), ret, NULL) < 0 || text.len == 0)
        return err_set(err, -EINVAL, "'%.*s' is no IP address", STR_ARG(text));
    return 0;
}

static void check_trusted(const struct settings *settings, struct conf_report *report)
{
    struct addr addr;
    struct err err;

    for (size_t i = 0; i < settings->proxy.trusted.count; i++)
        if (settings_parse_ip(settings->proxy.trusted.items[i], &addr, &err) < 0)
            conf_error(report, settings->doc, 0, "proxy.trusted", "%s", err.text);
}

static void check(const struct settings *settings, struct conf_report *report)
{
    check_trusted(settings, report);
    check_addresses(settings, &settings->listen, "listen", report);
    check_addresses(settings, &settings->metrics.listen, "metrics.listen", report);
    check_word(settings, settings->log.level, "log.level", "error|warn|info|debug", report);
    check_word(settings, settings->log.format, "log.format", "text|json", report);
    check_word(settings, settings->log.access, "log.access", "off|text|json", report);
    if ((settings->tls.certificate.len == 0) != (settings->tls.key.len == 0))
        conf_error(report, settings->doc, 0, "tls", "`certificate` and `key` belong together");
    if ((settings->auth.user_file.len == 0) != (settings->auth.password_file.len == 0))
        conf_error(report, settings->doc, 0, "auth",
                   "`user_file` and `password_file` belong together");
    check_overlaps(settings, report);
}

/* secret_mount_path names a folder with OpenFaaS's two files. */
static void apply_secret_mount_path(struct settings *settings)
{
    const char *folder = getenv("secret_mount_path");

    if (!folder || settings->auth.user_file.len)
        return;
    settings->auth.user_file = pool_printf(&settings->pool, "%s/basic-auth-user", folder);
    settings->auth.password_file = pool_printf(&settings->pool, "%s/basic-auth-password", folder);
}

static struct settings_flags command_line;

void settings_set_flags(const struct settings_flags *flags)
{
    command_line = *flags;
}

static void apply_flags(struct settings *settings)
{
    if (command_line.listen.count)
        settings->listen = command_line.listen;
    if (command_line.state_dir.len)
        settings->state_dir = command_line.state_dir;
    if (command_line.log_level.len)
        settings->log.level = command_line.log_level;
}

struct settings *settings_read(const char *file, struct conf_report *report)
{
    struct settings *settings = xcalloc(1, sizeof(*settings));

    pool_init(&settings->pool, 0);
    settings->doc = file ? conf_read(file, report)
                         : conf_read_text("embedded defaults", str_from(embedded_defaults), report);
    if (!settings->doc) {
        settings_free(settings);
        return NULL;
    }
    conf_bind(settings->doc, settings->doc->root, root_keys, COUNT(root_keys), "fngate", settings,
              &settings->pool, report);
    for (size_t i = 0; i < COUNT(sections); i++)
        conf_bind(settings->doc, settings->sections[i], sections[i].keys, sections[i].count,
                  sections[i].name, settings, &settings->pool, report);
    read_plugin(settings, settings->store_node, "store", &settings->store, report);
    read_providers(settings, report);
    apply_secret_mount_path(settings);
    apply_flags(settings);
    check(settings, report);
    if (report->errors) {
        settings_free(settings);
        return NULL;
    }
    return settings;
}

void settings_apply_log(const struct settings *settings)
{
    enum log_level level = LOG_INFO;

    log_level_parse(settings->log.level, &level);
    log_setup(level, str_eq(settings->log.format, STR("json")) ? LOG_JSON : LOG_TEXT);
}

void settings_free(struct settings *settings)
{
    if (!settings)
        return;
    conf_doc_free(settings->doc);
    pool_free(&settings->pool);
    mem_free(settings->providers);
    mem_free(settings);
}

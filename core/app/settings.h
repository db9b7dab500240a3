/* Settings of the gateway: the YAML file, then the environment (the variables that OpenFaaS
 * operators know), then flags. One table per section drives parsing, checks, `fngate check` and the
 * docs. */
#ifndef APP_SETTINGS_H
#define APP_SETTINGS_H

#include "base/log.h"
#include "conf/conf.h"
#include "loop/addr.h"

/* One `providers:` entry, or the `store:`. */
struct plugin_settings {
    struct str name;   /* of the instance */
    struct str plugin; /* name below plugins_dir, or a path */
    int32_t is_default;
    struct conf_str_list namespaces;
    const struct conf_node *config; /* NULL: defaults */
    int line;
};

enum { SETTINGS_SECTIONS = 8 };

struct settings {
    struct conf_doc *doc;
    struct pool pool;
    const struct conf_node *sections[SETTINGS_SECTIONS]; /* NULL where the file has none */
    const struct conf_node *store_node, *providers_node;

    int64_t version;
    struct conf_str_list listen;
    int64_t workers; /* 0: one per core */
    struct str state_dir;
    struct str plugins_dir;
    struct str default_namespace;
    int32_t is_strict;
    int32_t is_upsert;

    struct {
        struct str certificate, key;
    } tls;
    struct {
        struct conf_str_list listen;
    } metrics;
    struct {
        struct str level, format, access;
    } log;
    struct {
        int32_t is_enabled;
        struct str user_file, password_file;
        struct str secret_mount_path; /* from the environment only */
    } auth;
    struct {
        int64_t request_ms, stream_idle_ms, head_ms, read_ms, write_ms, keep_alive_ms, connect_ms,
            drain_ms;
    } timeouts;
    struct {
        int64_t connections, requests_per_connection, parked_per_function, idle_upstreams,
            idle_upstreams_per_endpoint, head_fields;
        uint64_t head_bytes, api_body_bytes, buffer_bytes;
    } limits;
    struct {
        int64_t zero_duration_ms;
    } scale;
    struct {
        int32_t forwarded_for_port;
        struct conf_str_list trusted; /* IP addresses */
    } proxy;

    struct plugin_settings store;
    struct plugin_settings *providers;
    size_t providers_count;
};

/* What the command line says; it wins over file and environment. Empty members say nothing. */
struct settings_flags {
    struct conf_str_list listen;
    struct str state_dir, log_level;
};
/* Once, before the first settings_read; kept, and used by reloads too. */
void settings_set_flags(const struct settings_flags *flags);

/* Reads and checks everything that needs no plugin. `file` NULL: embedded defaults. NULL after
 * complaints. */
struct settings *settings_read(const char *file, struct conf_report *report);
void settings_free(struct settings *settings);

/* An IP address without a port, as `proxy.trusted` has them. */
int settings_parse_ip(struct str text, struct addr *ret, struct err *err);

/* Level and format of the log. */
void settings_apply_log(const struct settings *settings);

/* The path of a plugin: a name is looked up in plugins_dir, a path is taken as it is. Owned. */
char *settings_plugin_path(const struct settings *settings, struct str plugin);
/* Folder of the running executable. Owned. */
char *settings_exe_dir(void);

#endif

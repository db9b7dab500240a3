/* Reading the environment. */
#include "config.h"

#include "base/buf.h"
#include "base/vec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Typed variables ---- */

/* The value; the second name wins. Empty counts as not set. */
static const char *env_get(const char *name, const char *winner)
{
    const char *value = winner ? getenv(winner) : NULL;

    if (!value || !*value)
        value = getenv(name);
    return value && *value ? value : NULL;
}

static struct str env_str(const char *name, const char *otherwise)
{
    const char *value = env_get(name, NULL);

    return str_from(value ? value : otherwise);
}

static bool env_bool(const char *name, const char *winner, bool otherwise)
{
    const char *value = env_get(name, winner);

    if (!value)
        return otherwise;
    return strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
}

static int env_duration(const char *name, int64_t otherwise_ms, int64_t *ret_ms, struct err *err)
{
    const char *value = env_get(name, NULL);

    *ret_ms = otherwise_ms;
    if (!value || str_to_duration_ms(str_from(value), ret_ms))
        return 0;
    return err_set(err, -EINVAL,
                   "%s: '%s' is neither a number of seconds nor a duration like 1m30s", name,
                   value);
}

static int env_unsigned(const char *name, uint64_t max, unsigned otherwise, unsigned *ret,
                        struct err *err)
{
    const char *value = env_get(name, NULL);
    uint64_t number = otherwise;

    if (value && !str_to_u64(str_from(value), max, &number))
        return err_set(err, -EINVAL, "%s: '%s' is no number from 0 to %llu", name, value,
                       (unsigned long long)max);
    *ret = (unsigned)number;
    return 0;
}

/* ---- The command ---- */

struct args {
    char **items;
    size_t count, cap;
};

static char **split_at_spaces(const char *text)
{
    struct args args = {0};
    struct str rest = str_from(text);
    ptrdiff_t space;

    while ((space = str_find(rest, ' ')) >= 0) {
        *VEC_PUSH(&args) = str_dup(str_sub(rest, 0, (size_t)space));
        rest = str_sub(rest, (size_t)space + 1, rest.len);
    }
    *VEC_PUSH(&args) = str_dup(rest);
    *VEC_PUSH(&args) = NULL;
    return args.items;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* One word from *at on, quotes removed; false when a quote is not closed. */
static bool take_word(const char **at, struct buf *word)
{
    const char *p = *at;
    char quote = '\0';

    for (; *p && (quote || !is_space(*p)); p++) {
        if (*p == '\\' && quote != '\'' && p[1])
            buf_add(word, ++p, 1);
        else if (quote ? *p == quote : *p == '\'' || *p == '"')
            quote = quote ? '\0' : *p;
        else
            buf_add(word, p, 1);
    }
    *at = p;
    return quote == '\0';
}

static char **split_quoted(const char *text)
{
    struct args args = {0};
    struct buf word;
    bool is_good = true;

    buf_init(&word, 0);
    while (is_good) {
        while (is_space(*text))
            text++;
        if (!*text)
            break;
        is_good = take_word(&text, &word);
        *VEC_PUSH(&args) = buf_take(&word, NULL);
    }
    buf_free(&word);
    *VEC_PUSH(&args) = NULL;
    return is_good ? args.items : NULL;
}

char **config_split_command(const char *text, bool quoting)
{
    char **argv = quoting ? split_quoted(text) : split_at_spaces(text);

    return argv && argv[0] && argv[0][0] ? argv : NULL;
}

static int read_command(struct config *config, struct err *err)
{
    const char *text = env_get("fprocess", "function_process");

    if (!text && config->mode == MODE_STATIC)
        return 0;
    if (!text)
        return err_set(err, -EINVAL, "fprocess: the command of the function must be set");
    config->argv = config_split_command(text, env_bool("fprocess_quoting", NULL, false));
    if (!config->argv)
        return err_set(err, -EINVAL, "fprocess: '%s' is no command", text);
    return 0;
}

/* ---- The mode ---- */

/* Without `mode`, variables that only the classic watchdog knows tell what the image was made
 * for. */
static enum mode default_mode(void)
{
    static const char *const classic[] = {"combine_output", "marshal_request", "write_debug"};

    for (size_t i = 0; i < sizeof(classic) / sizeof(classic[0]); i++)
        if (env_get(classic[i], NULL))
            return MODE_CLASSIC;
    return MODE_STREAMING;
}

static int read_mode(struct config *config, struct err *err)
{
    static const struct {
        const char *name;
        enum mode mode;
    } table[] = {{"streaming", MODE_STREAMING},
                 {"serializing", MODE_SERIALIZING},
                 {"classic", MODE_CLASSIC},
                 {"http", MODE_HTTP},
                 {"static", MODE_STATIC}};
    const char *value = env_get("mode", NULL);

    config->mode = default_mode();
    if (!value)
        return 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(value, table[i].name) == 0) {
            config->mode = table[i].mode;
            return 0;
        }
    }
    return err_set(err, -EINVAL,
                   "mode: '%s' is unknown; there are http, streaming, serializing, classic, static",
                   value);
}

/* ---- The upstream ---- */

static int add_upstream(struct config *config, struct str text, struct err *err)
{
    return addr_parse(text, &config->upstream[config->upstream_count++], err);
}

/* "http://HOST[:PORT][/]", HOST an address or localhost, or "unix:/PATH". */
static int read_upstream(struct config *config, struct err *err)
{
    const char *value = env_get("upstream_url", "http_upstream_url");
    struct str host = str_from(value);
    struct err reason = {0};
    ptrdiff_t slash;
    char text[256];
    int r;

    if (config->mode != MODE_HTTP)
        return 0;
    if (!value)
        return err_set(err, -EINVAL, "upstream_url: must be set in mode http");
    if (str_starts(host, STR("unix:"))) {
        r = add_upstream(config, host, &reason);
    } else {
        const char *port = ":80";

        if (str_starts(host, STR("http://")))
            host = str_sub(host, 7, host.len);
        slash = str_find(host, '/');
        if (slash >= 0)
            host = str_sub(host, 0, (size_t)slash);
        if (str_rfind(host, ':') > str_rfind(host, ']'))
            port = "";
        if (str_eq(host, STR("localhost")) || str_starts(host, STR("localhost:"))) {
            struct str rest = str_sub(host, 9, host.len);

            snprintf(text, sizeof(text), "[::1]%.*s%s", STR_ARG(rest), port);
            r = add_upstream(config, str_from(text), &reason);
            host = rest;
            snprintf(text, sizeof(text), "127.0.0.1%.*s%s", STR_ARG(host), port);
        } else {
            snprintf(text, sizeof(text), "%.*s%s", STR_ARG(host), port);
            r = 0;
        }
        if (!r)
            r = add_upstream(config, str_from(text), &reason);
    }
    return r ? err_set(err, r, "upstream_url: '%s': %s", value, reason.text) : 0;
}

/* ---- All of it ---- */

static int read_times(struct config *config, struct err *err)
{
    int r = env_duration("read_timeout", 30000, &config->read_timeout_ms, err);

    if (!r)
        r = env_duration("write_timeout", 30000, &config->write_timeout_ms, err);
    if (!r)
        r = env_duration("exec_timeout", 30000, &config->exec_timeout_ms, err);
    if (!r)
        r = env_duration("healthcheck_interval", config->write_timeout_ms,
                         &config->healthcheck_interval_ms, err);
    if (!r && config->write_timeout_ms == 0)
        r = err_set(err, -EINVAL, "write_timeout: must be more than 0");
    return r;
}

static int read_limits(struct config *config, struct err *err)
{
    struct str log_buffer = env_str("log_buffer_size", "65536");
    struct str body_max = env_str("max_body_size", "256Mi");
    int r = env_unsigned("port", 65535, 8080, &config->port, err);

    if (!r)
        r = env_unsigned("metrics_port", 65535, 8081, &config->metrics_port, err);
    if (!r)
        r = env_unsigned("max_inflight", 1000000, 0, &config->max_inflight, err);
    if (!r && !str_to_i64(log_buffer, &config->log_buffer))
        r = err_set(err, -EINVAL, "log_buffer_size: '%s' is no number", log_buffer.ptr);
    if (!r && !str_to_size(body_max, &config->body_max))
        r = err_set(err, -EINVAL, "max_body_size: '%s' is no size like 64Mi", body_max.ptr);
    return r;
}

static void read_switches(struct config *config)
{
    config->buffer_http = env_bool("buffer_http", "http_buffer_req_body", false);
    config->prefix_logs = env_bool("prefix_logs", NULL, true);
    config->suppress_lock = env_bool("suppress_lock", NULL, false);
    config->log_callid = env_bool("log_callid", "log_call_id", false);
    config->term_child_first = env_bool("term_child_first", NULL, false);
    config->combine_output = env_bool("combine_output", NULL, true);
    config->cgi_headers = env_bool("cgi_headers", NULL, true);
    config->marshal_request = env_bool("marshal_request", NULL, false);
    config->write_debug = env_bool("write_debug", NULL, false);
}

char *config_lock_file(void)
{
    const char *folder = env_get("TMPDIR", NULL);

    return xasprintf("%s/.lock", folder ? folder : "/tmp");
}

int config_read(struct config *config, struct err *err)
{
    int r;

    *config = (struct config){0};
    if (env_bool("jwt_auth", NULL, false))
        return err_set(err, -ENOTSUP,
                       "jwt_auth: this watchdog cannot check tokens; it will not "
                       "start without the check that was asked for");
    r = read_mode(config, err);
    if (!r)
        r = read_command(config, err);
    if (!r)
        r = read_upstream(config, err);
    if (!r)
        r = read_times(config, err);
    if (!r)
        r = read_limits(config, err);
    read_switches(config);
    config->content_type = env_str("content_type", "");
    config->static_path = env_str("static_path", "/home/app/public");
    config->ready_path = env_str("ready_path", "");
    config->lock_file = config_lock_file();
    return r;
}

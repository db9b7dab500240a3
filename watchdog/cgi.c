/* Requests as environments and envelopes. */
#include "cgi.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>

extern char **environ;

enum { OWN_VARIABLES = 8, KEY_MAX = 256 };

static char ascii_upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c & ~0x20) : c;
}

/* "content-type" -> "Content_Type", or with '-' kept as it is. */
static size_t canonical(struct str name, char dash, char out[KEY_MAX])
{
    size_t len = name.len < KEY_MAX ? name.len : KEY_MAX - 1;
    bool is_first = true;

    for (size_t i = 0; i < len; i++) {
        char c = name.ptr[i];

        out[i] = c == '-' ? dash : is_first ? ascii_upper(c) : ascii_lower(c);
        is_first = c == '-';
    }
    out[len] = '\0';
    return len;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

struct str cgi_decode_path(struct pool *pool, struct str path)
{
    char *out = pool_alloc(pool, path.len + 1);
    size_t len = 0;

    if (!out)
        return STR_NONE;
    for (size_t i = 0; i < path.len; i++) {
        int high = path.ptr[i] == '%' && i + 2 < path.len ? hex(path.ptr[i + 1]) : -1;
        int low = high >= 0 ? hex(path.ptr[i + 2]) : -1;

        if (low >= 0 && high * 16 + low > 0) {
            out[len++] = (char)(high * 16 + low);
            i += 2;
        } else {
            out[len++] = path.ptr[i];
        }
    }
    out[len] = '\0';
    return str_make(out, len);
}

struct variables {
    struct pool *pool;
    char **items;
    size_t count;
    bool is_short; /* of memory */
};

static void add(struct variables *vars, const char *name, struct str value)
{
    union {
        const char *in;
        char *out;
    } entry;

    entry.in = pool_printf(vars->pool, "Http_%s=%.*s", name, STR_ARG(value)).ptr;
    if (entry.in)
        vars->items[vars->count++] = entry.out;
    else
        vars->is_short = true;
}

/* The first field of each name; "Proxy" would become a setting of many HTTP libraries. */
static void add_fields(struct variables *vars, const struct http_head *head)
{
    char name[KEY_MAX];

    for (size_t i = 0; i < head->count; i++) {
        const struct http_field *field = &head->fields[i];

        if (http_head_find(head, field->name) != field || str_ieq(field->name, STR("Proxy")) ||
            str_ieq(field->name, STR("Host")) || str_ieq(field->name, STR("Transfer-Encoding")))
            continue;
        canonical(field->name, '_', name);
        add(vars, name, field->value);
    }
}

static void add_request(struct variables *vars, const struct invocation *inv)
{
    const struct http_head *head = &inv->s->request;

    add(vars, "Method", head->method_text);
    add(vars, "Host", head->host);
    if (inv->query.len > 0)
        add(vars, "Query", inv->query);
    if (inv->path.len > 0)
        add(vars, "Path", cgi_decode_path(vars->pool, inv->path));
    if (head->framing == HTTP_BODY_CHUNKED)
        add(vars, "Transfer_Encoding", STR("chunked"));
    if (inv->w->config.mode == MODE_CLASSIC && head->framing != HTTP_BODY_CHUNKED) {
        struct str length = pool_printf(vars->pool, "%llu", (unsigned long long)head->length);

        add(vars, "ContentLength", length);
        if (!http_head_find(head, STR("Content-Length")))
            add(vars, "Content_Length", length);
    }
}

char **cgi_environment(const struct invocation *inv)
{
    struct variables vars = {.pool = &inv->s->pool};
    size_t inherited = 0;

    while (environ[inherited])
        inherited++;
    vars.items = pool_alloc(vars.pool, (inherited + inv->s->request.count + OWN_VARIABLES) *
                                           sizeof(*vars.items));
    if (!vars.items)
        return NULL;
    memcpy(vars.items, environ, inherited * sizeof(*vars.items));
    vars.count = inherited;
    if (inv->w->config.cgi_headers) {
        add_fields(&vars, &inv->s->request);
        add_request(&vars, inv);
    }
    vars.items[vars.count] = NULL;
    return vars.is_short ? NULL : vars.items;
}

/* ---- The envelope ---- */

static int put_base64(struct buf *out, struct str data)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *at = buf_reserve(out, (data.len + 2) / 3 * 4);
    size_t len = 0;

    if (!at)
        return -ENOMEM;
    for (size_t i = 0; i < data.len; i += 3) {
        unsigned char bytes[3] = {0};
        size_t n = data.len - i < 3 ? data.len - i : 3;
        unsigned group;

        memcpy(bytes, data.ptr + i, n);
        group = (unsigned)bytes[0] << 16 | (unsigned)bytes[1] << 8 | bytes[2];
        at[len++] = digits[group >> 18];
        at[len++] = digits[group >> 12 & 63];
        at[len++] = n > 1 ? digits[group >> 6 & 63] : '=';
        at[len++] = n > 2 ? digits[group & 63] : '=';
    }
    buf_commit(out, len);
    return 0;
}

static int put_values(struct buf *out, const struct http_head *head, struct str name)
{
    const char *separator = "";
    int err = 0;

    for (size_t i = 0; i < head->count && !err; i++) {
        if (!str_ieq(head->fields[i].name, name))
            continue;
        err = buf_printf(out, "%s\"", separator);
        if (!err)
            err = log_escape_json(out, head->fields[i].value);
        if (!err)
            err = buf_add(out, "\"", 1);
        separator = ",";
    }
    return err;
}

static int put_header(struct buf *out, const struct http_head *head)
{
    const char *separator = "";
    char name[KEY_MAX];
    int err = 0;

    for (size_t i = 0; i < head->count && !err; i++) {
        if (http_head_find(head, head->fields[i].name) != &head->fields[i])
            continue;
        canonical(head->fields[i].name, '-', name);
        err = buf_printf(out, "%s\"%s\":[", separator, name);
        if (!err)
            err = put_values(out, head, head->fields[i].name);
        if (!err)
            err = buf_add(out, "]", 1);
        separator = ",";
    }
    return err;
}

int cgi_marshal(struct buf *out, const struct invocation *inv, struct str body)
{
    int err = buf_printf(out, "{\"header\":{");

    if (!err)
        err = put_header(out, &inv->s->request);
    if (!err)
        err = buf_printf(out, "},\"body\":{\"raw\":\"");
    if (!err)
        err = put_base64(out, body);
    return err ? err : buf_printf(out, "\"}}");
}

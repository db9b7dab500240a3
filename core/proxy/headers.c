/* What goes to whom: the head that the function gets, the head that the client gets.
 *
 * End-to-end fields are copied by http/message.h (RFC 9110 section 7.6.1); here stand the fields
 * that are the gateway's own.
 */
#include "base/sys.h"
#include "proxy/exchange.h"

#include <errno.h>
#include <netinet/in.h>

enum { CALL_ID_MAX = 64, UUID_LEN = 36, TRACE_LEN = 55, DECIMAL_MAX = 24 };

/* `value` with its last `places` digits behind a point, then `unit` unless it is NUL: 598, 1 and
 * 's' give "59.8s". Not by printf: three numbers a request are worth it. */
static struct str decimal(struct pool *pool, uint64_t value, unsigned places, char unit)
{
    char *text = pool_alloc(pool, DECIMAL_MAX);
    size_t at = DECIMAL_MAX;

    if (!text)
        return STR_NONE;
    if (unit)
        text[--at] = unit;
    for (unsigned i = 0; i <= places || value > 0; i++) {
        if (i == places && places > 0)
            text[--at] = '.';
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    }
    return str_make(text + at, DECIMAL_MAX - at);
}

/* ---- Ids ---- */

static void hex_write(char *to, const unsigned char *from, size_t count)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        to[2 * i] = digits[from[i] >> 4];
        to[2 * i + 1] = digits[from[i] & 15];
    }
}

static bool is_call_id(struct str s)
{
    if (s.len == 0 || s.len > CALL_ID_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i], lower = ascii_lower(c);

        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '_' &&
            c != '-')
            return false;
    }
    return true;
}

/* Random UUID, RFC 9562 section 5.4. */
static struct str uuid_new(struct exchange *ex)
{
    static const struct {
        uint8_t from, count, to;
    } groups[] = {{0, 4, 0}, {4, 2, 9}, {6, 2, 14}, {8, 2, 19}, {10, 6, 24}};
    char *text = pool_alloc(&ex->stream->pool, UUID_LEN + 1);
    unsigned char bytes[16];

    if (!text)
        return STR_NONE;
    proxy_random(ex->proxy, bytes, sizeof(bytes));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    memset(text, '-', UUID_LEN);
    text[UUID_LEN] = '\0';
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
        hex_write(text + groups[i].to, bytes + groups[i].from, groups[i].count);
    return str_make(text, UUID_LEN);
}

bool headers_identify(struct exchange *ex)
{
    struct str id = http_head_get(&ex->stream->request, STR("x-call-id"));

    ex->call_id = is_call_id(id) ? id : uuid_new(ex);
    ex->start_time = decimal(&ex->stream->pool, (uint64_t)sys_wall_ns(), 0, '\0');
    return ex->call_id.ptr && ex->start_time.ptr;
}

static bool is_lower_hex(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!(s.ptr[i] >= '0' && s.ptr[i] <= '9') && !(s.ptr[i] >= 'a' && s.ptr[i] <= 'f'))
            return false;
    }
    return true;
}

static bool is_zeros(struct str s)
{
    size_t i = 0;

    while (i < s.len && s.ptr[i] == '0')
        i++;
    return i == s.len;
}

/* W3C Trace Context, version 00: "00-<32 hex>-<16 hex>-<2 hex>", neither id all zeros. */
static bool is_traceparent(struct str s)
{
    struct str trace = str_sub(s, 3, 32), span = str_sub(s, 36, 16), flags = str_sub(s, 53, 2);

    return s.len == TRACE_LEN && str_starts(s, STR("00-")) && s.ptr[35] == '-' &&
           s.ptr[52] == '-' && is_lower_hex(trace) && is_lower_hex(span) && is_lower_hex(flags) &&
           !is_zeros(trace) && !is_zeros(span);
}

/* The gateway reports no span of its own, so a valid context goes on as it is. Otherwise one is
 * begun, sampled: a function that follows its parent's decision must not fall silent by it. */
static int trace_set(struct exchange *ex, struct http_head *out)
{
    unsigned char bytes[24];
    char *text;

    if (is_traceparent(http_head_get(out, STR("traceparent"))))
        return 0;
    http_head_remove(out, STR("tracestate"));
    text = pool_alloc(&ex->stream->pool, TRACE_LEN + 1);
    if (!text)
        return -ENOMEM;
    proxy_random(ex->proxy, bytes, sizeof(bytes));
    bytes[0] |= 1; /* never all zeros */
    bytes[16] |= 1;
    memcpy(text, "00-", 3);
    hex_write(text + 3, bytes, 16);
    text[35] = '-';
    hex_write(text + 36, bytes + 16, 8);
    memcpy(text + 52, "-01", 4);
    return http_head_set(out, STR("Traceparent"), str_make(text, TRACE_LEN));
}

/* ---- Where it came from ---- */

static bool is_same_host(const struct addr *a, const struct addr *b)
{
    const struct sockaddr_in *in_a = (const void *)a->space, *in_b = (const void *)b->space;
    const struct sockaddr_in6 *in6_a = (const void *)a->space, *in6_b = (const void *)b->space;

    if (a->any.sa_family != b->any.sa_family)
        return false;
    switch (a->any.sa_family) {
    case AF_INET:
        return in_a->sin_addr.s_addr == in_b->sin_addr.s_addr;
    case AF_INET6:
        return memcmp(&in6_a->sin6_addr, &in6_b->sin6_addr, sizeof(in6_a->sin6_addr)) == 0;
    default:
        return a->any.sa_family == AF_UNIX;
    }
}

static bool is_trusted(const struct exchange *ex)
{
    const struct proxy_config *config = &ex->proxy->config;

    if (ex->stream->is_internal)
        return true;
    for (size_t i = 0; i < config->trusted_count; i++) {
        if (is_same_host(&config->trusted[i], &ex->stream->peer))
            return true;
    }
    return false;
}

/* Only what a trusted peer said about its own peer is kept, and our peer is added to it. */
static int forwarded_for_set(struct exchange *ex, struct http_head *out, bool trusted)
{
    struct str name = STR("X-Forwarded-For"), value, before = STR_NONE;
    char host[ADDR_TEXT_MAX];

    if (ex->stream->is_internal) /* there is no peer */
        return 0;
    if (ex->proxy->config.forwarded_for_port)
        addr_format(&ex->stream->peer, host);
    else
        addr_format_host(&ex->stream->peer, host);
    if (trusted)
        before = http_head_get(out, name);
    value = before.len > 0 ? pool_printf(&ex->stream->pool, "%.*s, %s", STR_ARG(before), host)
                           : pool_str(&ex->stream->pool, str_from(host));
    return value.ptr ? http_head_set(out, name, value) : -ENOMEM;
}

/* Sets a field unless a trusted peer has set it. */
static int forwarded_set(struct http_head *out, bool trusted, struct str name, struct str value)
{
    if (trusted && http_head_find(out, name))
        return 0;
    return http_head_set(out, name, value);
}

static int forwarded_add(struct exchange *ex, struct http_head *out)
{
    const struct stream *s = ex->stream;
    bool trusted = is_trusted(ex);
    int r = forwarded_for_set(ex, out, trusted);

    if (r == 0 && s->request.host.len > 0)
        r = forwarded_set(out, trusted, STR("X-Forwarded-Host"), s->request.host);
    if (r == 0)
        r = forwarded_set(out, trusted, STR("X-Forwarded-Proto"),
                          s->is_tls ? STR("https") : STR("http"));
    return r;
}

/* ---- To the function ---- */

/* Path and query as they came, byte for byte; only the name is cut off. */
static struct str target_of(struct exchange *ex)
{
    const struct http_head *request = &ex->stream->request;
    struct str rest = ex->rest.len > 0 ? ex->rest : STR("/");

    if (!request->query.ptr)
        return rest;
    /* Usually they stand side by side in what was received. */
    if (rest.ptr + rest.len + 1 == request->query.ptr && rest.ptr[rest.len] == '?')
        return str_make(rest.ptr, rest.len + 1 + request->query.len);
    return pool_printf(&ex->stream->pool, "%.*s?%.*s", STR_ARG(rest), STR_ARG(request->query));
}

/* What is left of the deadline, as Go's time.ParseDuration reads it: "59.8s". */
static int timeout_set(struct exchange *ex, struct http_head *out)
{
    struct str name = STR("X-Timeout"), value;
    int64_t left = exchange_left_ms(ex);
    unsigned places = 3;

    if (ex->timeout_ms <= 0) {
        http_head_remove(out, name);
        return 0;
    }
    if (left < 1)
        left = 1; /* 0 would read as "no limit" */
    for (; places > 0 && left % 10 == 0; places--)
        left /= 10;
    value = decimal(&ex->stream->pool, (uint64_t)left, places, 's');
    return value.ptr ? http_head_set(out, name, value) : -ENOMEM;
}

static struct str host_of(struct exchange *ex)
{
    if (ex->stream->request.host.len > 0)
        return ex->stream->request.host;
    /* HTTP/1.0 may come without; HTTP/1.1 needs one. */
    return pool_printf(&ex->stream->pool, "%.*s.%.*s", STR_ARG(ex->name), STR_ARG(ex->ns));
}

static int request_fields_set(struct exchange *ex, struct http_head *out)
{
    int r = http_head_set(out, STR("X-Call-Id"), ex->call_id);

    if (r == 0)
        r = http_head_set(out, STR("X-Start-Time"), ex->start_time);
    if (r == 0)
        r = forwarded_add(ex, out);
    if (r == 0)
        r = http_head_add(out, STR("Via"), STR("1.1 fngate"));
    if (r == 0)
        r = timeout_set(ex, out);
    return r == 0 ? trace_set(ex, out) : r;
}

int headers_request(struct exchange *ex, struct http_head *out)
{
    int r;

    http_head_init(out, &ex->stream->pool);
    r = http_head_copy_end_to_end(out, &ex->stream->request);
    if (r < 0)
        return r;
    out->target = target_of(ex);
    out->host = host_of(ex);
    if (!out->target.ptr || !out->host.ptr)
        return -ENOMEM;
    return request_fields_set(ex, out);
}

/* ---- To the client ---- */

int headers_own(struct exchange *ex, struct http_head *out)
{
    int r = 0;

    if (ex->call_id.ptr)
        r = http_head_set(out, STR("X-Call-Id"), ex->call_id);
    if (r == 0 && ex->start_time.ptr)
        r = http_head_set(out, STR("X-Start-Time"), ex->start_time);
    if (r == 0 && ex->proxy->config.served_by.len > 0)
        r = http_head_set(out, STR("X-Served-By"), ex->proxy->config.served_by);
    return r;
}

static int duration_set(struct exchange *ex, struct http_head *out)
{
    struct str name = STR("X-Duration-Seconds"), value;

    if (http_head_find(out, name))
        return 0;
    value = decimal(&ex->stream->pool, (uint64_t)(ex->first_byte_ns - ex->stream->head_ns) / 1000,
                    6, '\0');
    return value.ptr ? http_head_add(out, name, value) : -ENOMEM;
}

int headers_response(struct exchange *ex, const struct http_head *in, struct http_head *out)
{
    int r;

    http_head_init(out, &ex->stream->pool);
    r = http_head_copy_end_to_end(out, in);
    if (r < 0)
        return r;
    /* What ends with its connection goes on in chunks: the client can see whether it is whole. */
    if (in->framing == HTTP_BODY_EOF)
        out->framing = HTTP_BODY_CHUNKED;
    r = headers_own(ex, out);
    if (r == 0 && out->framing != HTTP_BODY_TUNNEL)
        r = duration_set(ex, out);
    return r == 0 ? http_head_add(out, STR("Via"), STR("1.1 fngate")) : r;
}

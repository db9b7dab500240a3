/* What a head must be before anybody may act on it. Each refusal says what is wrong in words that
 * go out with the error answer. */
#include "http/h1_rules.h"

#include "http/chars.h"
#include "http/h1.h"

static unsigned refuse(const char **ret_error, unsigned status, const char *text)
{
    *ret_error = text;
    return status;
}

/* "HTTP/1.1" -> 1; -1: no version at all, -2: a version that we do not speak. */
static int version_minor(struct str text)
{
    if (text.len != 8 || memcmp(text.ptr, "HTTP/", 5) != 0 || !char_is(text.ptr[5], CHAR_DIGIT) ||
        text.ptr[6] != '.' || !char_is(text.ptr[7], CHAR_DIGIT))
        return -1;
    if (text.ptr[5] != '1' || text.ptr[7] > '1')
        return -2;
    return text.ptr[7] - '0';
}

unsigned h1_rules_request_line(struct http_head *head, struct str line, const char **ret_error)
{
    ptrdiff_t first = str_find(line, ' '), last = str_rfind(line, ' ');
    int minor;

    if (first < 0)
        return refuse(ret_error, 400, "the request line has no target");
    head->method_text = str_make(line.ptr, (size_t)first);
    if (!http_is_token(head->method_text))
        return refuse(ret_error, 400, "the method is not a token");
    if (first == last)
        return refuse(ret_error, 400, "the request line has no HTTP version");
    head->target = str_make(line.ptr + first + 1, (size_t)(last - first) - 1);
    minor = version_minor(str_sub(line, (size_t)last + 1, line.len));
    if (minor == -1)
        return refuse(ret_error, 400, "the request line does not end with an HTTP version");
    if (minor == -2)
        return refuse(ret_error, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    if (!str_is_all(head->target, CHAR_TARGET))
        return refuse(ret_error, 400,
                      "the target holds a character that is not allowed (encode it as %XX)");
    head->minor = (unsigned)minor;
    head->method = http_method_parse(head->method_text);
    if (str_eq(head->method_text, STR("CONNECT")) || str_eq(head->method_text, STR("TRACE")))
        return refuse(ret_error, 501, "CONNECT and TRACE are not served here");
    return 0;
}

unsigned h1_rules_status_line(struct http_head *head, struct str line, const char **ret_error)
{
    struct str code = str_sub(line, 9, 3);
    uint64_t status;

    if (version_minor(str_sub(line, 0, 8)) < 0 || str_sub(line, 8, 1).len == 0 ||
        line.ptr[8] != ' ')
        return refuse(ret_error, 502, "the status line does not begin with HTTP/1.0 or HTTP/1.1");
    head->minor = (unsigned)(line.ptr[7] - '0');
    if (code.len != 3 || !str_to_u64(code, 599, &status) || status < 100)
        return refuse(ret_error, 502, "the status is not a number between 100 and 599");
    if (line.len > 12 && line.ptr[12] != ' ')
        return refuse(ret_error, 502, "no space after the status");
    head->status = (unsigned)status;
    head->reason = str_sub(line, 13, line.len);
    return 0;
}

static bool is_port(struct str text)
{
    uint64_t port;

    return text.len == 0 || str_to_u64(text, 65535, &port);
}

static bool is_ip_literal(struct str text)
{
    static const struct str hex_and = {":.", 2};

    if (text.len < 3)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!char_is(text.ptr[i], CHAR_HEX) && str_find(hex_and, text.ptr[i]) < 0)
            return false;
    return str_find(text, ':') >= 0;
}

/* uri-host [ ":" port ], RFC 9110 section 7.2. An http URI has no empty host (section 4.2.1). */
static bool is_host(struct str host)
{
    struct str name, port = STR_NONE;
    ptrdiff_t end;

    if (host.len == 0)
        return false;
    if (host.ptr[0] == '[') {
        end = str_find(host, ']');
        if (end < 0 || !is_ip_literal(str_sub(host, 1, (size_t)end - 1)))
            return false;
        port = str_sub(host, (size_t)end + 1, host.len);
        return port.len == 0 || (port.ptr[0] == ':' && is_port(str_sub(port, 1, port.len)));
    }
    end = str_find(host, ':');
    name = end < 0 ? host : str_make(host.ptr, (size_t)end);
    if (end >= 0)
        port = str_sub(host, (size_t)end + 1, host.len);
    if (name.len == 0 || !is_port(port) || !str_has_good_escapes(name))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!char_is(name.ptr[i], CHAR_HOST) && name.ptr[i] != '%')
            return false;
    return true;
}

/* Cuts scheme and authority off an absolute-form target; 0 also when it is no such form. */
static unsigned target_make_origin(struct http_head *head, const char **ret_error)
{
    struct str target = head->target, rest;
    size_t scheme = str_ieq(str_sub(target, 0, 7), STR("http://"))    ? 7
                    : str_ieq(str_sub(target, 0, 8), STR("https://")) ? 8
                                                                      : 0;
    size_t len = 0;

    if (scheme == 0)
        return 0;
    rest = str_sub(target, scheme, target.len);
    while (len < rest.len && rest.ptr[len] != '/' && rest.ptr[len] != '?')
        len++;
    head->host = str_make(rest.ptr, len);
    if (!is_host(head->host))
        return refuse(ret_error, 400, "the target's authority is not a host");
    head->target = str_sub(rest, len, rest.len);
    if (head->target.len == 0) {
        head->target = head->method == HTTP_OPTIONS ? STR("*") : STR("/");
    } else if (head->target.ptr[0] == '?') {
        head->target = pool_printf(head->pool, "/%.*s", STR_ARG(head->target));
        if (!head->target.ptr)
            return refuse(ret_error, 503, "out of memory");
    }
    return 0;
}

static unsigned check_target(struct http_head *head, const char **ret_error)
{
    unsigned status;
    ptrdiff_t mark;

    if (!str_has_good_escapes(head->target))
        return refuse(ret_error, 400, "the target holds a % without two hexadecimal digits");
    status = target_make_origin(head, ret_error);
    if (status)
        return status;
    if (str_eq(head->target, STR("*"))) {
        if (head->method != HTTP_OPTIONS)
            return refuse(ret_error, 400, "target * is for OPTIONS only");
    } else if (head->target.len == 0 || head->target.ptr[0] != '/') {
        return refuse(ret_error, 400, "the target is neither a path nor an http URL");
    }
    mark = str_find(head->target, '?');
    head->path = mark < 0 ? head->target : str_make(head->target.ptr, (size_t)mark);
    head->query = mark < 0 ? STR_NONE : str_sub(head->target, (size_t)mark + 1, head->target.len);
    return 0;
}

/* After the target: the authority of an absolute-form target replaces the Host field, which must
 * nevertheless be valid (RFC 9112 section 3.2). */
static unsigned check_host(struct http_head *head, const char **ret_error)
{
    struct http_field *found = NULL;

    for (size_t i = 0; i < head->count; i++) {
        if (!str_ieq(head->fields[i].name, STR("Host")))
            continue;
        if (found)
            return refuse(ret_error, 400, "more than one Host");
        found = &head->fields[i];
    }
    if (!found && head->minor > 0)
        return refuse(ret_error, 400, "no Host");
    if (found && !is_host(found->value))
        return refuse(ret_error, 400, "Host is not a host with an optional port");
    if (!head->host.ptr)
        head->host = found ? found->value : STR("");
    else if (found)
        found->value = head->host;
    return 0;
}

/* What the fields say about the body, both ways. */
struct framing_fields {
    bool has_length, is_chunked;
};

static unsigned check_transfer_encoding(struct http_head *head, const struct http_field *field,
                                        struct framing_fields *ret, const char **ret_error)
{
    if (ret->is_chunked)
        return refuse(ret_error, 400, "more than one Transfer-Encoding");
    if (head->minor == 0)
        return refuse(ret_error, 400, "Transfer-Encoding in an HTTP/1.0 message");
    if (field->value.len == 0)
        return refuse(ret_error, 400, "empty Transfer-Encoding");
    if (!str_ieq(field->value, STR("chunked")))
        return refuse(ret_error, 501, "the only Transfer-Encoding understood is chunked");
    ret->is_chunked = true;
    return 0;
}

static unsigned check_length(struct http_head *head, const struct http_field *field,
                             struct framing_fields *ret, const char **ret_error)
{
    if (ret->has_length)
        return refuse(ret_error, 400, "more than one Content-Length");
    if (!str_to_u64(field->value, INT64_MAX, &head->length))
        return refuse(ret_error, 400, "Content-Length is not a decimal number, or too large");
    ret->has_length = true;
    return 0;
}

static unsigned check_framing_fields(struct http_head *head, struct framing_fields *ret,
                                     const char **ret_error)
{
    unsigned status = 0;

    for (size_t i = 0; i < head->count && !status; i++) {
        const struct http_field *field = &head->fields[i];

        if (str_ieq(field->name, STR("Transfer-Encoding")))
            status = check_transfer_encoding(head, field, ret, ret_error);
        else if (str_ieq(field->name, STR("Content-Length")))
            status = check_length(head, field, ret, ret_error);
    }
    if (!status && ret->has_length && ret->is_chunked)
        status = refuse(ret_error, 400, "both Content-Length and Transfer-Encoding");
    if (!status && http_connection_is_hostile(head))
        status =
            refuse(ret_error, 400, "Connection names Host, Content-Length or Transfer-Encoding");
    return status;
}

static void set_keep_alive(struct http_head *head)
{
    head->keep_alive =
        !http_head_has_token(head, STR("Connection"), STR("close")) &&
        (head->minor > 0 || http_head_has_token(head, STR("Connection"), STR("keep-alive")));
}

/* The one expectation that exists. HTTP/1.0 clients cannot have it (RFC 9110 section 10.1.1). */
static unsigned check_expect(struct http_head *head, const char **ret_error)
{
    const struct http_field *expect = http_head_find(head, STR("Expect"));

    if (!expect || head->minor == 0)
        return 0;
    if (!str_ieq(expect->value, STR("100-continue")))
        return refuse(ret_error, 417, "the only expectation understood is 100-continue");
    head->expect_continue = head->framing == HTTP_BODY_CHUNKED || head->length > 0;
    return 0;
}

static bool names_websocket(const struct http_head *head)
{
    return http_head_has_token(head, STR("Connection"), STR("upgrade")) &&
           str_ieq(http_head_get(head, STR("Upgrade")), STR("websocket"));
}

unsigned h1_rules_request(struct http_head *head, const struct http_limits *limits,
                          const char **ret_error)
{
    struct framing_fields body = {0};
    unsigned status = check_target(head, ret_error);

    if (!status)
        status = check_host(head, ret_error);
    if (!status)
        status = check_framing_fields(head, &body, ret_error);
    if (status)
        return status;
    if (limits->body_max && head->length > limits->body_max)
        return refuse(ret_error, 413, "the body is longer than allowed");
    head->framing = body.is_chunked   ? HTTP_BODY_CHUNKED
                    : body.has_length ? HTTP_BODY_LENGTH
                                      : HTTP_BODY_NONE;
    set_keep_alive(head);
    head->upgrade = head->minor > 0 && head->method == HTTP_GET && names_websocket(head) &&
                    head->framing == HTTP_BODY_NONE;
    return check_expect(head, ret_error);
}

static unsigned rules_switching(struct http_head *head, bool upgrade_asked, const char **ret_error)
{
    if (!upgrade_asked)
        return refuse(ret_error, 502, "101 without a request for it");
    if (!names_websocket(head))
        return refuse(ret_error, 502, "101 to another protocol than the one asked for");
    head->upgrade = true;
    head->framing = HTTP_BODY_TUNNEL;
    return 0;
}

unsigned h1_rules_response(struct http_head *head, const struct http_limits *limits,
                           bool upgrade_asked, const char **ret_error)
{
    struct framing_fields body = {0};

    /* Whatever is wrong with an answer, the status to pass on is 502. */
    if (check_framing_fields(head, &body, ret_error))
        return 502;
    set_keep_alive(head);
    if (head->status == 101)
        return rules_switching(head, upgrade_asked, ret_error);
    if (http_response_is_bodiless(head->method, head->status)) {
        head->framing = HTTP_BODY_NONE;
        head->has_length = body.has_length && head->status >= 200 && head->status != 204;
        return 0;
    }
    if (limits->body_max && head->length > limits->body_max)
        return refuse(ret_error, 502, "the body is longer than allowed");
    head->framing = body.is_chunked   ? HTTP_BODY_CHUNKED
                    : body.has_length ? HTTP_BODY_LENGTH
                                      : HTTP_BODY_EOF;
    if (head->framing == HTTP_BODY_EOF)
        head->keep_alive = false;
    return 0;
}

/* Messages to bytes: everything is written anew from the model, nothing is copied raw. */
#include "http/h1.h"

#include "base/assert.h"
#include "http/chars.h"

#include <errno.h>
#include <stdio.h>

/* Room for the lines that we write ourselves: version, status, framing, connection. */
enum { OWN_LINES_MAX = 256 };

/* A place in reserved memory. Sizes were summed up before, so there is always room. */
static char *put(char *at, struct str s)
{
    if (s.len)
        memcpy(at, s.ptr, s.len);
    return at + s.len;
}

static char *put_field(char *at, struct str name, struct str value)
{
    at = put(at, name);
    at = put(at, STR(": "));
    at = put(at, value);
    return put(at, STR("\r\n"));
}

static char *put_number(char *at, uint64_t number)
{
    char digits[20];
    size_t pos = sizeof(digits);

    do {
        digits[--pos] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    return put(at, str_make(digits + pos, sizeof(digits) - pos));
}

/* Fields whose content follows from the flags of the head. */
static bool is_own_field(const struct http_head *head, struct str name)
{
    switch (name.len) {
    case 4:
        return head->host.len > 0 && str_ieq(name, STR("Host"));
    case 6:
        return str_ieq(name, STR("Expect"));
    case 7:
        return str_ieq(name, STR("Upgrade"));
    case 10:
        return str_ieq(name, STR("Connection"));
    case 14:
        return str_ieq(name, STR("Content-Length"));
    case 17:
        return str_ieq(name, STR("Transfer-Encoding"));
    default:
        return false;
    }
}

static char *put_fields(char *at, const struct http_head *head)
{
    for (size_t i = 0; i < head->count; i++)
        if (!is_own_field(head, head->fields[i].name))
            at = put_field(at, head->fields[i].name, head->fields[i].value);
    return at;
}

static char *put_length(char *at, uint64_t length)
{
    at = put(at, STR("Content-Length: "));
    at = put_number(at, length);
    return put(at, STR("\r\n"));
}

/* Content-Length or Transfer-Encoding, and Connection. */
static char *put_framing(char *at, const struct http_head *head, bool is_request)
{
    if (head->framing == HTTP_BODY_LENGTH || (head->framing == HTTP_BODY_NONE && head->has_length))
        at = put_length(at, head->length);
    else if (head->framing == HTTP_BODY_CHUNKED)
        at = put(at, STR("Transfer-Encoding: chunked\r\n"));
    else if (head->framing == HTTP_BODY_NONE && !is_request &&
             !http_response_is_bodiless(head->method, head->status))
        at = put_length(at, 0);

    if (head->upgrade || head->framing == HTTP_BODY_TUNNEL)
        return put(at, STR("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    if (!is_request && head->status < 200)
        return at;
    if (!head->keep_alive || head->framing == HTTP_BODY_EOF)
        return put(at, STR("Connection: close\r\n"));
    return head->minor == 0 ? put(at, STR("Connection: keep-alive\r\n")) : at;
}

static bool fields_are_valid(const struct http_head *head)
{
    for (size_t i = 0; i < head->count; i++)
        if (!http_is_token(head->fields[i].name) || !http_is_field_value(head->fields[i].value))
            return false;
    return true;
}

static size_t head_size_max(const struct http_head *head)
{
    size_t size = OWN_LINES_MAX + head->method_text.len + head->target.len + head->host.len +
                  head->reason.len;

    for (size_t i = 0; i < head->count; i++)
        size += head->fields[i].name.len + head->fields[i].value.len + 4;
    return size;
}

/* Reserves the most that a head can need. -ENOSPC also when a bounded buffer could just hold it. */
static int reserve_head(struct buf *out, const struct http_head *head, char **ret_start)
{
    size_t size = head_size_max(head);

    *ret_start = buf_reserve(out, size);
    if (*ret_start)
        return 0;
    return out->max && size > out->max - buf_len(out) ? -ENOSPC : -ENOMEM;
}

int h1_write_request(struct buf *out, const struct http_head *head)
{
    char *start, *at;
    int err;

    if (!http_is_token(head->method_text) || head->target.len == 0 ||
        !str_is_all(head->target, CHAR_TARGET) || !http_is_field_value(head->host) ||
        !fields_are_valid(head))
        return -EBADMSG;
    ASSERT(head->framing != HTTP_BODY_EOF && head->framing != HTTP_BODY_TUNNEL);
    err = reserve_head(out, head, &start);
    if (err)
        return err;
    at = put(start, head->method_text);
    at = put(at, STR(" "));
    at = put(at, head->target);
    at = put(at, STR(" HTTP/1.1\r\n"));
    /* Without a host the field must be there all the same, empty: RFC 9112 section 3.2. */
    if (head->host.len > 0 || !http_head_find(head, STR("Host")))
        at = put_field(at, STR("Host"), head->host);
    at = put_fields(at, head);
    if (head->expect_continue)
        at = put_field(at, STR("Expect"), STR("100-continue"));
    at = put_framing(at, head, true);
    at = put(at, STR("\r\n"));
    buf_commit(out, (size_t)(at - start));
    return 0;
}

int h1_write_response(struct buf *out, const struct http_head *head)
{
    char *start, *at;
    int err;

    if (head->status < 100 || head->status > 999 || !http_is_field_value(head->reason) ||
        !fields_are_valid(head))
        return -EBADMSG;
    err = reserve_head(out, head, &start);
    if (err)
        return err;
    at = put(start, STR("HTTP/1.1 "));
    at = put_number(at, head->status);
    at = put(at, STR(" "));
    at = put(at, head->reason.len ? head->reason : str_from(http_status_reason(head->status)));
    at = put(at, STR("\r\n"));
    at = put_fields(at, head);
    at = put_framing(at, head, false);
    at = put(at, STR("\r\n"));
    buf_commit(out, (size_t)(at - start));
    return 0;
}

size_t h1_chunk_line(char line[H1_CHUNK_LINE_MAX], size_t len)
{
    ASSERT(len > 0);
    return (size_t)snprintf(line, H1_CHUNK_LINE_MAX, "%zx\r\n", len);
}

static bool may_be_trailer(struct str name)
{
    static const struct str never[] = {
        {"Host", 4},
        {"Connection", 10},
        {"Content-Length", 14},
        {"TE", 2},
        {"Transfer-Encoding", 17},
        {"Trailer", 7},
        {"Upgrade", 7},
        {"Keep-Alive", 10},
        {"Proxy-Connection", 16},
        {"Expect", 6},
        {"Authorization", 13},
        {"Proxy-Authorization", 19},
        {"Cookie", 6},
        {"Set-Cookie", 10},
        {"WWW-Authenticate", 16},
        {"Content-Type", 12},
        {"Content-Encoding", 16},
        {"Content-Range", 13},
        {"Cache-Control", 13},
        {"Max-Forwards", 12},
        {"Proxy-Authenticate", 18},
        {"Location", 8},
        {"Range", 5},
        {"Proxy", 5},
    };

    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        if (str_ieq(name, never[i]))
            return false;
    return !str_ieq(str_sub(name, 0, 12), STR("X-Forwarded-"));
}

int h1_write_last_chunk(struct buf *out, const struct http_head *trailers)
{
    static const struct http_head none;
    char *start, *at;
    int err;

    if (!trailers)
        trailers = &none;
    if (!fields_are_valid(trailers))
        return -EBADMSG;
    err = reserve_head(out, trailers, &start);
    if (err)
        return err;
    at = put(start, STR("0\r\n"));
    for (size_t i = 0; i < trailers->count; i++)
        if (may_be_trailer(trailers->fields[i].name))
            at = put_field(at, trailers->fields[i].name, trailers->fields[i].value);
    at = put(at, STR("\r\n"));
    buf_commit(out, (size_t)(at - start));
    return 0;
}

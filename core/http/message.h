/* HTTP messages, independent of the version on the wire: a head with its fields, and how the body
 * is framed. Bytes belong to the head's pool or to whoever added them; a head owns nothing.
 */
#ifndef HTTP_MESSAGE_H
#define HTTP_MESSAGE_H

#include "base/mem.h"
#include "base/str.h"

enum http_method {
    HTTP_OTHER, /* any other token: the text says which */
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS
};

enum http_framing {
    HTTP_BODY_NONE,
    HTTP_BODY_LENGTH,  /* head.length bytes */
    HTTP_BODY_CHUNKED, /* chunks, perhaps trailers */
    HTTP_BODY_EOF,     /* responses only: until the connection ends */
    HTTP_BODY_TUNNEL   /* after a 101: bytes both ways */
};

struct http_field {
    struct str name;
    struct str value;
};

struct http_head {
    struct pool *pool; /* where the fields array grows */
    /* request; in a response `method` is that of the request it answers (HTTP_OTHER: unknown) */
    enum http_method method;
    struct str method_text;
    struct str target; /* as received, raw: origin-form, or "*" for OPTIONS */
    struct str path;   /* part of target before '?' */
    struct str query;  /* part after '?', without it; ptr NULL: no '?' */
    struct str host;   /* Host, or the authority of an absolute-form target */
    /* response */
    unsigned status;
    struct str reason;
    /* both */
    unsigned minor; /* HTTP/1.x; in a response to write: the client's */
    struct http_field *fields;
    size_t count, cap;
    enum http_framing framing;
    uint64_t length;
    bool has_length;      /* framing NONE, answers to HEAD and 304: `length` of the GET is known */
    bool keep_alive;      /* the sender allows another exchange on this connection */
    bool expect_continue; /* request: Expect: 100-continue */
    bool upgrade;         /* request: a well-formed upgrade to websocket; response: 101 */
};

void http_head_init(struct http_head *head, struct pool *pool);
/* Room for `count` fields in all. 0 or -ENOMEM. */
int http_head_reserve(struct http_head *head, size_t count);
/* First field of that name (case-insensitive), NULL when there is none. */
const struct http_field *http_head_find(const struct http_head *head, struct str name);
/* Its value, or ptr NULL. */
struct str http_head_get(const struct http_head *head, struct str name);
/* Appends; name and value are borrowed. 0 or -ENOMEM. */
int http_head_add(struct http_head *head, struct str name, struct str value);
/* Replaces all fields of that name by one. */
int http_head_set(struct http_head *head, struct str name, struct str value);
void http_head_remove(struct http_head *head, struct str name);
/* True when the comma-separated list fields `name` hold `token` (case-insensitive). */
bool http_head_has_token(const struct http_head *head, struct str name, struct str token);

enum http_method http_method_parse(struct str text);
/* "Not Found" for 404; "" when unknown. */
const char *http_status_reason(unsigned status);
/* True when a response to `method` with `status` can have no body (HEAD, 1xx, 204, 304). */
bool http_response_is_bodiless(enum http_method method, unsigned status);

/* True when Connection names Host, Content-Length or Transfer-Encoding. */
bool http_connection_is_hostile(const struct http_head *head);

/* Copies what a gateway may forward of `from` into `to` (which keeps its pool): start line, framing
 * and all fields but hop-by-hop fields (RFC 9110
 * section 7.6.1, those named in Connection included), Content-Length and Transfer-Encoding, which
 * follow from the framing, and Expect and Upgrade, for which there are flags (`upgrade` is copied,
 * `expect_continue` is not). 0, -ENOMEM, or -EBADMSG when Connection names Host, Content-Length or
 * Transfer-Encoding. `to` borrows the bytes. */
int http_head_copy_end_to_end(struct http_head *to, const struct http_head *from);

struct http_limits {
    size_t line_max;      /* request line or status line */
    size_t head_max;      /* all of the head */
    size_t fields_max;    /* number of fields */
    size_t field_max;     /* one field line */
    size_t chunk_ext_max; /* extension bytes of one chunk line */
    size_t trailers_max;  /* trailer section */
    uint64_t body_max;    /* 0: no limit */
};
#define HTTP_LIMITS_DEFAULT                                                                        \
    {                                                                                              \
        .line_max = 8 << 10, .head_max = 64 << 10, .fields_max = 100, .field_max = 16 << 10,       \
        .chunk_ext_max = 256, .trailers_max = 16 << 10,                                            \
    }
extern const struct http_limits http_limits_default;

#endif

/* An exchange as its handler sees it: one request that came in, one response to give. The same
 * object for a connection of HTTP/1.1 and for calls that come from inside (queue, triggers), so
 * that the proxy and the API know one door.
 *
 * Life: the server calls its on_request with a stream whose request head is complete; the handler
 * calls stream_accept. From then on it is called back on the loop's thread; on_done is always the
 * last call-back, exactly once, and the stream is gone when it returns. The body is read by credit:
 * nothing is read before stream_read.
 */
#ifndef HTTP_STREAM_H
#define HTTP_STREAM_H

#include "http/message.h"
#include "loop/addr.h"
#include "loop/loop.h"

struct stream;

enum stream_end {
    STREAM_COMPLETE,       /* the response went out whole */
    STREAM_CLIENT_GONE,    /* the client closed or reset */
    STREAM_CLIENT_ERROR,   /* the request's body broke the protocol or a limit */
    STREAM_CLIENT_TIMEOUT, /* the client stopped sending or reading for too long */
    STREAM_ABORTED,        /* stream_abort was called */
    STREAM_SHUTDOWN        /* the server ends */
};

struct stream_handler {
    /* Answers stream_read: a piece of the body, valid until it returns. */
    void (*on_body)(void *arg, struct str data);
    /* Answers stream_read: the body is complete; trailers may be NULL. */
    void (*on_body_end)(void *arg, const struct http_head *trailers);
    /* Output that was queued has gone out: stream_write may go on. */
    void (*on_drained)(void *arg);
    /* The stream ends, and is freed afterwards. */
    void (*on_done)(void *arg, enum stream_end end);
};

struct stream_ops {
    void (*read)(struct stream *s);
    int (*inform)(struct stream *s, const struct http_head *head);
    int (*respond)(struct stream *s, const struct http_head *head);
    ssize_t (*write)(struct stream *s, const struct iovec *iov, int count);
    void (*finish)(struct stream *s, const struct http_head *trailers);
    void (*abort)(struct stream *s);
};

struct stream {
    const struct stream_ops *ops;
    struct loop *loop;
    struct pool pool; /* freed with the stream; for the handler's own needs too */
    struct http_head request;
    struct addr peer;
    bool is_tls;
    bool is_internal;    /* comes from inside the gateway */
    int64_t accepted_ns; /* connection accepted, or the former response ended */
    int64_t head_ns;     /* request head complete, monotonic */
    uint64_t bytes_in;   /* body bytes received */
    uint64_t bytes_out;  /* body bytes handed over for sending */
    unsigned status;     /* of the response, 0 before */
    const struct stream_handler *handler;
    void *handler_arg;
};

static inline void stream_accept(struct stream *s, const struct stream_handler *handler, void *arg)
{
    s->handler = handler;
    s->handler_arg = arg;
}

/* Asks for one on_body or on_body_end. Sends "100 Continue" first where it is expected. */
static inline void stream_read(struct stream *s)
{
    s->ops->read(s);
}

/* An interim response (1xx, not 101). 0 or negative errno; HTTP/1.0 clients get none. */
static inline int stream_inform(struct stream *s, const struct http_head *head)
{
    return s->ops->inform(s, head);
}

/* The final head. framing NONE, LENGTH, or CHUNKED (unknown length; HTTP/1.0 clients get it as
 * close-delimited; EOF is taken as CHUNKED), or TUNNEL with status 101. A body written in answer to
 * HEAD, or with 204 or 304, is dropped; LENGTH, or NONE with has_length, then still tells the
 * length. Date and connection handling are the server's. May
 * be called while the request body is still arriving; what is left of it is then drained or the
 * connection closed. */
static inline int stream_respond(struct stream *s, const struct http_head *head)
{
    return s->ops->respond(s, head);
}

/* Body bytes, or tunnel bytes. Returns what is queued now (stop above your limit and wait for
 * on_drained) or negative errno; on_done follows in that case. */
static inline ssize_t stream_writev(struct stream *s, const struct iovec *iov, int count)
{
    return s->ops->write(s, iov, count);
}

static inline ssize_t stream_write(struct stream *s, struct str data)
{
    union {
        const char *in;
        void *out;
    } base = {.in = data.ptr};
    struct iovec iov = {base.out, data.len};

    return s->ops->write(s, &iov, 1);
}

/* The response is complete. on_done follows, later. Trailers may be NULL. In a tunnel: no more
 * bytes from our side; the stream ends when both sides are finished. */
static inline void stream_finish(struct stream *s, const struct http_head *trailers)
{
    s->ops->finish(s, trailers);
}

/* Gives up so that the client can see it: the connection is cut, no last chunk. on_done follows. */
static inline void stream_abort(struct stream *s)
{
    s->ops->abort(s);
}

/* A whole small response: status, fields of `head` (may be NULL), body; then finish. */
int stream_reply(struct stream *s, unsigned status, const struct http_head *head, struct str type,
                 struct str body);

#endif

/* HTTP/1.1 client of one loop: calls to endpoints over pooled keep-alive connections.
 *
 * A call is given a complete request head; its body is written piece by piece and the response is
 * read by credit. on_end or on_error is the last call-back, exactly once, unless call_cancel was
 * called: then none follows. A cancelled or failed call's connection is closed; one that completed
 * both ways goes back to the pool. Idle connections are capped for the whole process
 * (config.idle_max is this loop's share), the oldest closed first, and closed when a byte arrives
 * on them.
 */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include "http/message.h"
#include "loop/addr.h"
#include "loop/loop.h"

struct client;
struct call;

struct client_config {
    struct http_limits limits;  /* of response heads */
    int64_t connect_timeout_ms; /* 5 s */
    int64_t idle_ms;            /* idle connection: 60 s */
    size_t idle_max;            /* per loop: 1024 */
    size_t idle_max_per_addr;   /* 256 */
};
extern const struct client_config client_config_default;

enum call_error {
    CALL_CONNECT_FAILED, /* no byte was sent */
    CALL_STALE,          /* a reused connection died before any byte of the answer */
    CALL_RESET,          /* a new connection died before any byte of the answer */
    CALL_TRUNCATED,      /* it died inside the answer */
    CALL_PROTOCOL,       /* the answer is not valid HTTP */
    CALL_NO_MEMORY
};

/* on_connected, on_drained, on_inform and on_half_closed may be NULL. */
struct call_handler {
    /* The connection stands; request bytes go out now. */
    void (*on_connected)(void *arg);
    /* Queued request body has gone out. */
    void (*on_drained)(void *arg);
    /* 1xx other than 101. The head is valid until it returns. */
    void (*on_inform)(void *arg, const struct http_head *head);
    /* The final head (101 included), valid until the call ends. */
    void (*on_head)(void *arg, const struct http_head *head);
    /* Answers call_read, as in stream.h. */
    void (*on_body)(void *arg, struct str data);
    /* Tunnels, answers call_read: the peer has finished its side; on_end comes when ours is
     * finished too. When NULL the end of one side ends the tunnel. */
    void (*on_half_closed)(void *arg);
    void (*on_end)(void *arg, const struct http_head *trailers);
    void (*on_error)(void *arg, enum call_error error, const char *text);
};

struct client_stats {
    uint64_t connects, reuses, failures;
    size_t active, idle;
};

struct client *client_new(struct loop *loop, const struct client_config *config);
/* Replaces times and limits; what is under way keeps what it began with. */
void client_configure(struct client *client, const struct client_config *config);
void client_free(struct client *client); /* active calls are cancelled */
void client_stats(const struct client *client, struct client_stats *ret);

/* Starts a call. `head` and its bytes must stay valid until on_connected, at least until the call
 * returns its first call-back (it is serialised then). framing NONE, LENGTH, CHUNKED. `pool`
 * outlives the call: the response head is allocated there. `fresh`: never reuse a pooled
 * connection. NULL when memory is short. No call-back from inside. */
struct call *call_start(struct client *client, const struct addr *addr,
                        const struct http_head *head, bool fresh, struct pool *pool,
                        const struct call_handler *handler, void *arg);
/* Request body (or tunnel bytes after a 101). Bytes queued now, or negative errno (on_error
 * follows). Allowed at once after call_start: bytes wait for the connection. */
ssize_t call_write(struct call *call, const struct iovec *iov, int count);
/* The request body is complete; in a tunnel: our side is finished. */
void call_finish(struct call *call, const struct http_head *trailers);
/* Asks for one on_body or on_end. */
void call_read(struct call *call);
/* Gives the call up; no call-back follows. */
void call_cancel(struct call *call);
/* True when any byte of the request head was handed to the socket. */
bool call_has_sent(const struct call *call);
/* True when it runs over a connection that had served a call before. */
bool call_is_reused(const struct call *call);

#endif

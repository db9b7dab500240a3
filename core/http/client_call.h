/* A call from the inside: what client.c (the request, the interface) and client_answer.c (the
 * answer, the end) share. Inside of core/http/client*.c only.
 *
 * Whatever comes from the loop is an entry: call_enter, work, call_leave. A call that ended in
 * between is freed by call_leave, and one that goes on asks there for what it needs next.
 */
#ifndef HTTP_CLIENT_CALL_H
#define HTTP_CLIENT_CALL_H

#include "base/assert.h"
#include "base/buf.h"
#include "http/client_pool.h"

enum { CALL_MAGIC = 0x63616c6c };

struct client {
    struct loop *loop;
    struct client_config config;
    struct conn_pool pool;
    struct list calls;
    struct client_stats stats; /* without idle */
};

enum call_state {
    CALL_STARTING, /* the step that looks for a connection is still to come */
    CALL_CONNECTING,
    CALL_HEAD,   /* the request goes out, the head of the answer is awaited */
    CALL_BODY,   /* the head is here; credit decides about the rest */
    CALL_TUNNEL, /* after a 101 */
    CALL_OVER
};

struct call {
    unsigned magic;
    struct list node;
    struct client *client;
    struct peer *peer;
    struct conn *conn;
    const struct http_head *request; /* until it is serialised */
    struct pool *pool;
    const struct call_handler *handler;
    void *arg;
    struct loop_defer step;
    struct timer connect_timer;
    struct buf unsent; /* body written before the connection stands */
    struct buf unread; /* bytes of the answer that came with more than was asked for */
    enum call_state state;
    enum http_method method;
    enum http_framing framing; /* of the request's body */
    uint64_t body_left;        /* with framing LENGTH */
    unsigned informs;
    int write_error; /* call_write or call_finish failed; the step reports it */
    bool fresh;
    bool is_reused;
    bool asks_upgrade;
    bool keep_alive;
    bool is_finished; /* the request, or our side of the tunnel, is complete */
    bool peer_finished;
    bool wants_body; /* call_read is to be answered */
    bool is_hungry;  /* the reader can do nothing without more input */
    bool has_sent;
    bool send_failed; /* nothing more is sent, but an answer may have come before */
    int broken;       /* the connection's error; told when the bytes before it are used up */
    bool got_answer;  /* a byte of it */
    bool is_busy;     /* inside an entry from the loop: it asks for input and frees at its end */
};

struct call *call_enter(void *arg);
void call_leave(struct call *call);
/* Asks the socket, or goes on with what is there. Outside of entries only. */
void call_ask(struct call *call);
/* Goes on with bytes that were kept. In an entry. */
void call_read_on(struct call *call);

/* Takes the call out of the client; the connection is the caller's now. */
struct conn *call_detach(struct call *call);
void call_free(struct call *call);
/* Ends with on_error. */
void call_fail(struct call *call, enum call_error error, const char *text);
/* The same when the connection has failed: which error that is depends on how far we were. */
void call_fail_broken(struct call *call, const char *reason);
/* Both sides of a tunnel are finished: ends with on_end. */
void call_end_tunnel(struct call *call);

/* Members of the io_handler. */
void call_on_data(void *arg, struct str data);
void call_on_eof(void *arg);
void call_on_error(void *arg, int error);

#endif

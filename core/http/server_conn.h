/* Inside of the server: the parts that server.c (listeners, life), server_conn.c (reading) and
 * server_stream.c (answering) share. */
#ifndef HTTP_SERVER_CONN_H
#define HTTP_SERVER_CONN_H

#include "http/h1.h"
#include "http/server.h"

enum { DATE_LINE_MAX = 40 };

struct server {
    struct loop *loop;
    struct server_config config;
    void (*on_request)(void *arg, struct stream *s);
    void *arg;
    struct list listeners;
    struct list busy; /* connections inside an exchange */
    struct list idle; /* waiting for a first byte, the oldest first */
    struct server_stats stats;
    bool is_paused; /* no more connections than allowed */
    bool is_draining;
    void (*on_drained)(void *arg);
    void *drained_arg;
    struct loop_defer drained_defer;
    struct buf gathered; /* small chunks of one input, joined for the handler */
    int64_t date_s;
    char date[DATE_LINE_MAX];
    size_t date_len;
};

enum conn_phase {
    CONN_IDLE,     /* before the first byte of a request */
    CONN_HEAD,     /* inside a head */
    CONN_EXCHANGE, /* a handler has the stream */
    CONN_DRAIN,    /* answered, the rest of the request's body is read and dropped */
    CONN_CLOSED    /* to be freed by conn_step */
};

/* One request and its response. */
struct exchange {
    struct stream s;
    struct conn *conn;
    struct buf out; /* the response head until it goes out with the first bytes of the body */
    enum stream_end end;
    enum http_framing framing; /* of the response, as it goes over the wire */
    uint64_t left;             /* bytes of a LENGTH body still to be written */
    uint64_t sent_mark;        /* bytes sent when the write timer was set */
    struct timer write_timer;
    bool want_read;     /* stream_read waits for its answer */
    bool is_body_done;  /* the reader has seen the end of the body */
    bool is_end_told;   /* and the handler knows */
    bool has_continued; /* "100 Continue" was sent */
    bool is_bodiless;   /* the response has no body, whatever the handler writes */
    bool is_finished;   /* stream_finish was called */
    bool is_over;       /* on_done is due */
    bool close_after;   /* no further request on this connection */
};

struct conn {
    struct server *server;
    struct list node; /* in server->busy or server->idle */
    struct io *io;    /* NULL: closed */
    struct h1_reader *reader;
    struct exchange *exchange; /* NULL while idle */
    struct buf surplus;        /* bytes behind what was consumed */
    struct timer timer;        /* of the reading side, by phase */
    struct loop_defer defer;
    enum conn_phase phase;
    bool is_feeding; /* conn_feed is on the stack: it will look again */
    bool is_tls;
    uint64_t requests;
    uint64_t handed; /* bytes given to io_send, to see progress */
    uint64_t drained;
    int64_t accepted_ns;
    struct addr peer;
};

/* A connection of `server` over `fd`; NULL when memory is short (fd is closed). */
struct conn *conn_new(struct server *server, int fd, const struct addr *peer);
/* Cuts it; on_done of a stream under way says `end`. */
void conn_free(struct conn *conn, enum stream_end end);
/* The server drains: closes when nothing is under way. */
void conn_drain(struct conn *conn);

/* For server_stream.c: continue at the end of this turn. */
void conn_wake(struct conn *conn);
/* Closes the socket now / after the queued output. The connection object stays until its step. */
void conn_cut(struct conn *conn);
void conn_leave(struct conn *conn);

void server_conn_idle(struct server *server, struct conn *conn);
void server_conn_busy(struct server *server, struct conn *conn);
void server_conn_gone(struct server *server, struct conn *conn);
/* "Date: ...\r\n", computed once per second. */
struct str server_date_line(struct server *server);

extern const struct stream_ops server_stream_ops;
/* Sends the response head when it still waits for a body. */
void server_exchange_flush(struct exchange *ex);
/* on_done is due, with this reason; the first one counts. */
void server_exchange_end(struct exchange *ex, enum stream_end end);
/* Answers for the handler when the client broke the rules; cuts when a response has begun. */
void server_exchange_fail(struct exchange *ex, enum stream_end end, unsigned status,
                          const char *text);
/* io has nothing queued any more. */
void server_exchange_drained(struct exchange *ex);

#endif

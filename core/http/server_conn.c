/* A connection: bytes in, requests out to the handler, one after the other. Reading is by credit:
 * the socket is asked for bytes only when somebody wants them, or to notice that the client goes.
 *
 * Hand-overs between streams and all freeing happen in conn_step, at the end of a turn of the loop,
 * so that no handler finds its stream gone below its feet. */
#include "http/server_conn.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/sys.h"
#include "http/tls.h"

enum {
    SURPLUS_HIGH = 64 << 10,     /* pipelined bytes above which the client is not read */
    SURPLUS_MAX = 4 << 16,       /* that, and what one read may add */
    DRAIN_BYTES_MAX = 256 << 10, /* of a body that nobody wants any more */
    DRAIN_MS = 1000,
    GATHER_BELOW = 4096,
    LINGER_MS = 2000,
    EXCHANGES_PER_TURN = 16,
    FRESH_DRAIN_MS = 1000 /* a new connection's time for its first byte when the server drains */
};

void conn_wake(struct conn *conn)
{
    loop_defer(conn->server->loop, &conn->defer);
}

void conn_cut(struct conn *conn)
{
    io_close(conn->io, true);
    conn->io = NULL;
    conn_wake(conn);
}

void conn_leave(struct conn *conn)
{
    if (conn->io)
        io_close_gently(conn->io, LINGER_MS);
    conn->io = NULL;
    conn_wake(conn);
}

/* Nothing can be sent or received any more. */
static void conn_lose(struct conn *conn)
{
    if (conn->phase == CONN_EXCHANGE)
        server_exchange_end(conn->exchange, STREAM_CLIENT_GONE);
    conn_cut(conn);
}

static void conn_set_phase(struct conn *conn, enum conn_phase phase)
{
    bool was_idle = conn->phase == CONN_IDLE;

    if (was_idle && phase != CONN_IDLE)
        server_conn_busy(conn->server, conn);
    conn->phase = phase;
    if (!was_idle && phase == CONN_IDLE)
        server_conn_idle(conn->server, conn);
}

static void exchange_free(struct exchange *ex)
{
    if (!ex)
        return;
    timer_cancel(&ex->write_timer);
    buf_free(&ex->out);
    pool_free(&ex->s.pool);
    mem_free(ex);
}

/* Tells the handler, once. The handler pointer marks that it was told. */
static void exchange_tell_done(struct exchange *ex)
{
    const struct stream_handler *handler = ex->s.handler;

    ex->s.handler = NULL;
    if (handler)
        handler->on_done(ex->s.handler_arg, ex->end);
}

void conn_free(struct conn *conn, enum stream_end end)
{
    io_close(conn->io, conn->phase != CONN_IDLE);
    conn->io = NULL;
    timer_cancel(&conn->timer);
    if (conn->exchange) {
        server_exchange_end(conn->exchange, end);
        exchange_tell_done(conn->exchange);
    }
    loop_undefer(&conn->defer);
    exchange_free(conn->exchange);
    server_conn_gone(conn->server, conn);
    h1_reader_free(conn->reader);
    buf_free(&conn->surplus);
    mem_free(conn);
}

/* ---- Phases ---- */

/* The next request may begin. */
static void conn_next(struct conn *conn)
{
    exchange_free(conn->exchange);
    conn->exchange = NULL;
    conn->drained = 0;
    if (conn->server->is_draining && buf_len(&conn->surplus) == 0) {
        conn_set_phase(conn, CONN_CLOSED);
        conn_leave(conn);
        return;
    }
    conn->accepted_ns = sys_monotonic_ns();
    conn_set_phase(conn, CONN_IDLE);
    timer_set(&conn->timer, conn->server->config.keep_alive_ms);
}

/* The first byte of a request came. The head's time starts here, or with the connection. */
static bool conn_begin_head(struct conn *conn)
{
    struct exchange *ex = mem_zalloc(sizeof(*ex));

    if (!ex)
        return false;
    ex->conn = conn;
    ex->s.ops = &server_stream_ops;
    ex->s.loop = conn->server->loop;
    pool_init(&ex->s.pool, 0);
    buf_init(&ex->out, 0);
    timer_init(&ex->write_timer, conn->server->loop, NULL, NULL);
    conn->exchange = ex;
    conn_set_phase(conn, CONN_HEAD);
    if (conn->requests > 0)
        timer_set(&conn->timer, conn->server->config.head_timeout_ms);
    h1_reader_begin(conn->reader, &ex->s.pool, HTTP_OTHER, false);
    return true;
}

/* A request that is no HTTP, or too slow: says what is wrong and closes. */
static void conn_refuse(struct conn *conn, unsigned status, const char *text)
{
    char peer[ADDR_TEXT_MAX];

    addr_format(&conn->peer, peer);
    log_debug("http", "%s: request refused with %u: %s", peer, status, text);
    server_exchange_fail(conn->exchange, STREAM_CLIENT_ERROR, status, text);
    conn_set_phase(conn, CONN_CLOSED);
    conn_wake(conn);
}

static bool body_is_over(const struct stream *s)
{
    return s->request.framing == HTTP_BODY_NONE ||
           (s->request.framing == HTTP_BODY_LENGTH && s->bytes_in == s->request.length);
}

/* The head is complete: the handler takes over. */
static void conn_request(struct conn *conn)
{
    struct exchange *ex = conn->exchange;
    struct stream *s = &ex->s;

    timer_cancel(&conn->timer);
    s->request = *h1_reader_head(conn->reader);
    s->peer = conn->peer;
    s->is_tls = conn->is_tls;
    s->accepted_ns = conn->accepted_ns;
    s->head_ns = sys_monotonic_ns();
    ex->is_body_done = body_is_over(s);
    conn->requests++;
    conn->server->stats.requests++;
    ex->close_after = !s->request.keep_alive || conn->requests >= conn->server->config.requests_max;
    conn_set_phase(conn, CONN_EXCHANGE);
    conn->server->on_request(conn->server->arg, s);
    ASSERT(s->handler);
}

static void conn_tell_body(struct conn *conn, struct str data)
{
    struct exchange *ex = conn->exchange;

    timer_cancel(&conn->timer);
    ex->want_read = false;
    ex->s.bytes_in += data.len;
    if (ex->framing != HTTP_BODY_TUNNEL)
        ex->is_body_done = body_is_over(&ex->s);
    ex->s.handler->on_body(ex->s.handler_arg, data);
}

static void conn_tell_body_end(struct conn *conn, const struct http_head *trailers)
{
    struct exchange *ex = conn->exchange;

    timer_cancel(&conn->timer);
    ex->want_read = false;
    ex->is_body_done = ex->is_end_told = true;
    ex->s.handler->on_body_end(ex->s.handler_arg, trailers);
}

/* ---- Feeding. Each function takes what it can of *input; false: nothing more can be done. ---- */

static bool feed_head(struct conn *conn, struct str *input)
{
    struct str none;

    if (conn->phase == CONN_IDLE) {
        if (input->len == 0)
            return false;
        if (!conn_begin_head(conn)) {
            conn_set_phase(conn, CONN_CLOSED);
            conn_cut(conn);
            return false;
        }
    }
    switch (h1_reader_next(conn->reader, input, &none)) {
    case H1_HEAD:
        conn_request(conn);
        return true;
    case H1_ERROR:
        conn->server->stats.bad_requests++;
        conn_refuse(conn, h1_reader_error_status(conn->reader), h1_reader_error(conn->reader));
        return false;
    default:
        return false;
    }
}

static bool feed_tunnel(struct conn *conn, struct str *input)
{
    struct str data = *input;

    if (data.len == 0)
        return false;
    *input = str_sub(data, data.len, 0);
    conn_tell_body(conn, data);
    return true;
}

/* Joins small chunks that came together: a client must not make us do a send per byte. An event
 * that is no body comes again with the next call of the reader. False when memory is short. */
static bool feed_gather(struct conn *conn, struct str *input, struct str *data)
{
    struct buf *all = &conn->server->gathered;
    struct str piece = *data;

    if (piece.len >= GATHER_BELOW || input->len == 0)
        return true;
    buf_clear(all);
    do {
        if (buf_add_str(all, piece) < 0)
            return false;
    } while (buf_len(all) < GATHER_BELOW && input->len > 0 &&
             h1_reader_next(conn->reader, input, &piece) == H1_BODY);
    *data = buf_str(all);
    return true;
}

static bool feed_body(struct conn *conn, struct str *input)
{
    struct exchange *ex = conn->exchange;
    struct str data;

    if (ex->is_over || !ex->want_read || ex->is_end_told)
        return false;
    if (ex->framing == HTTP_BODY_TUNNEL)
        return feed_tunnel(conn, input);
    switch (h1_reader_next(conn->reader, input, &data)) {
    case H1_BODY:
        if (feed_gather(conn, input, &data))
            conn_tell_body(conn, data);
        else
            conn_lose(conn);
        return true;
    case H1_END:
        conn_tell_body_end(conn, h1_reader_trailers(conn->reader));
        return true;
    case H1_ERROR:
        conn->server->stats.bad_requests++;
        server_exchange_fail(ex, STREAM_CLIENT_ERROR, h1_reader_error_status(conn->reader),
                             h1_reader_error(conn->reader));
        return false;
    default:
        return false;
    }
}

static bool feed_drain(struct conn *conn, struct str *input)
{
    struct str data;

    switch (h1_reader_next(conn->reader, input, &data)) {
    case H1_BODY:
        conn->drained += data.len;
        if (conn->drained <= DRAIN_BYTES_MAX)
            return true;
        break;
    case H1_END:
        conn_next(conn);
        return true;
    case H1_ERROR:
        break;
    default:
        return false;
    }
    conn_set_phase(conn, CONN_CLOSED);
    conn_leave(conn);
    return false;
}

static bool feed_once(struct conn *conn, struct str *input)
{
    switch (conn->phase) {
    case CONN_IDLE:
    case CONN_HEAD:
        return feed_head(conn, input);
    case CONN_EXCHANGE:
        return feed_body(conn, input);
    case CONN_DRAIN:
        return feed_drain(conn, input);
    default:
        return false;
    }
}

/* Works through new bytes, or with `data` empty through the surplus; keeps what is left. */
static void conn_feed(struct conn *conn, struct str data)
{
    bool from_surplus = buf_len(&conn->surplus) > 0;
    struct str input;

    if (!conn->io)
        return;
    if (from_surplus && buf_add_str(&conn->surplus, data) < 0) {
        conn_lose(conn);
        return;
    }
    input = from_surplus ? buf_str(&conn->surplus) : data;
    conn->is_feeding = true;
    while (feed_once(conn, &input))
        ;
    conn->is_feeding = false;
    if (from_surplus)
        buf_consume(&conn->surplus, buf_len(&conn->surplus) - input.len);
    else if (conn->io && buf_add_str(&conn->surplus, input) < 0)
        conn_lose(conn);
    if (buf_len(&conn->surplus) == 0)
        buf_free(&conn->surplus); /* an idle connection keeps no memory */
}

/* The client has left behind bytes that nobody wants to read: counts as conn_on_eof has it. */
static void conn_check_left(struct conn *conn)
{
    struct exchange *ex = conn->exchange;

    if (conn->phase != CONN_EXCHANGE || !io_peer_has_closed(conn->io))
        return;
    if (ex->framing == HTTP_BODY_TUNNEL || ex->is_finished || ex->is_over)
        return;
    conn_lose(conn);
}

/* Asks the socket when somebody waits for bytes, or only to notice that the client goes. Where it
 * must not be read, its close is watched for. */
static void conn_ask(struct conn *conn)
{
    struct exchange *ex = conn->exchange;

    if (!conn->io || conn->phase == CONN_CLOSED)
        return;
    if (conn->phase == CONN_EXCHANGE && !ex->is_body_done) {
        if (!ex->want_read || ex->is_over) {
            conn_check_left(conn);
            return;
        }
        if (ex->framing != HTTP_BODY_TUNNEL && !timer_is_set(&conn->timer))
            timer_set(&conn->timer, conn->server->config.body_idle_ms);
    } else if (buf_len(&conn->surplus) > SURPLUS_HIGH) {
        conn_check_left(conn);
        return;
    }
    io_recv(conn->io);
}

/* ---- Between turns ---- */

/* The response is out and the handler knows: what becomes of the connection. */
static void conn_after_exchange(struct conn *conn)
{
    struct exchange *ex = conn->exchange;

    if (!conn->io)
        return;
    if (ex->close_after || ex->end != STREAM_COMPLETE || conn->server->is_draining) {
        conn_set_phase(conn, CONN_CLOSED);
        conn_leave(conn);
        return;
    }
    conn_set_phase(conn, CONN_DRAIN);
    if (!ex->is_body_done)
        timer_set(&conn->timer, DRAIN_MS);
}

static void conn_step(struct loop_defer *defer)
{
    struct conn *conn = CONTAINER_OF(defer, struct conn, defer);
    struct exchange *ex;

    for (int i = 0; i < EXCHANGES_PER_TURN; i++) {
        ex = conn->exchange;
        if (conn->phase == CONN_EXCHANGE)
            server_exchange_flush(ex);
        conn_feed(conn, STR_NONE);
        ex = conn->exchange;
        if (!ex || !ex->is_over || !ex->s.handler) {
            if (conn->io)
                conn_ask(conn);
            else
                conn_free(conn, STREAM_CLIENT_GONE);
            return;
        }
        timer_cancel(&conn->timer);
        exchange_tell_done(ex);
        conn_after_exchange(conn);
    }
    conn_wake(conn); /* a long pipeline: the others get their turn */
}

/* ---- What the socket says ---- */

/* After a call-back of the socket: what is due now rather than in conn_step. */
static void conn_settle(struct conn *conn)
{
    struct exchange *ex = conn->exchange;

    if (!conn->io || (ex && (ex->is_over || buf_len(&ex->out) > 0)))
        conn_wake(conn);
    else
        conn_ask(conn);
}

static void conn_on_data(void *arg, struct str data)
{
    struct conn *conn = arg;

    conn_feed(conn, data);
    conn_settle(conn);
}

/* The client has closed its side. While a response is pending this counts as leaving, as in most
 * gateways: a client that only half-closes after its request is not told from one that is gone, and
 * work for the latter should stop. A tunnel passes the end on. */
static void conn_on_eof(void *arg)
{
    struct conn *conn = arg;
    struct exchange *ex = conn->exchange;

    if (conn->phase == CONN_IDLE || conn->phase == CONN_HEAD) {
        conn_free(conn, STREAM_CLIENT_GONE);
        return;
    }
    if (conn->phase != CONN_EXCHANGE) {
        conn_set_phase(conn, CONN_CLOSED);
        conn_leave(conn);
        return;
    }
    if (ex->framing == HTTP_BODY_TUNNEL) {
        conn_tell_body_end(conn, NULL);
        if (ex->is_finished && io_queued(conn->io) == 0)
            server_exchange_end(ex, STREAM_COMPLETE);
        conn_settle(conn);
        return;
    }
    if (ex->is_finished || ex->is_over) { /* the answer's last bytes are on their way */
        ex->close_after = true;
        return;
    }
    conn_lose(conn);
}

static void conn_on_error(void *arg, int error)
{
    struct conn *conn = arg;

    (void)error;
    if (conn->phase == CONN_EXCHANGE)
        conn_lose(conn);
    else
        conn_free(conn, STREAM_CLIENT_GONE);
}

static void conn_on_drained(void *arg)
{
    struct conn *conn = arg;

    if (conn->phase == CONN_EXCHANGE)
        server_exchange_drained(conn->exchange);
}

/* In conn_step, which knows whether somebody asks for bytes again. */
static void conn_on_peer_closed(void *arg)
{
    conn_wake(arg);
}

static void conn_on_timeout(void *arg)
{
    struct conn *conn = arg;

    if (conn->phase == CONN_IDLE) {
        conn_free(conn, STREAM_CLIENT_TIMEOUT);
        return;
    }
    if (conn->phase == CONN_DRAIN) {
        conn_set_phase(conn, CONN_CLOSED);
        conn_leave(conn);
        return;
    }
    if (conn->phase == CONN_HEAD && !h1_reader_is_inside(conn->reader)) {
        conn_free(conn, STREAM_CLIENT_TIMEOUT); /* only an empty line came */
        return;
    }
    conn->server->stats.timeouts++;
    if (conn->phase == CONN_HEAD)
        conn_refuse(conn, 408, "the request head did not arrive in time");
    else if (conn->phase == CONN_EXCHANGE)
        server_exchange_fail(conn->exchange, STREAM_CLIENT_TIMEOUT, 408,
                             "the request body stopped arriving");
}

static const struct io_handler conn_io_handler = {
    .on_data = conn_on_data,
    .on_eof = conn_on_eof,
    .on_error = conn_on_error,
    .on_drained = conn_on_drained,
    .on_peer_closed = conn_on_peer_closed,
};

struct conn *conn_new(struct server *server, int fd, const struct addr *peer)
{
    struct conn *conn = mem_zalloc(sizeof(*conn));
    struct io *io;

    io = io_new(server->loop, fd, &conn_io_handler, conn);
    if (!conn || !io)
        goto fail;
    conn->server = server;
    conn->io = io;
    conn->peer = *peer;
    conn->accepted_ns = sys_monotonic_ns();
    conn->is_tls = server->config.tls != NULL;
    conn->reader = h1_reader_new(true, &server->config.limits);
    if (!conn->reader || (conn->is_tls && tls_wrap(server->config.tls, io) < 0))
        goto fail;
    buf_init(&conn->surplus, SURPLUS_MAX);
    loop_defer_init(&conn->defer, conn_step);
    timer_init(&conn->timer, server->loop, conn_on_timeout, conn);
    list_init(&conn->node);
    server->stats.connections++;
    server_conn_idle(server, conn);
    timer_set(&conn->timer, server->config.head_timeout_ms);
    io_recv(io);
    return conn;

fail:
    io_close(io, true);
    if (conn)
        h1_reader_free(conn->reader);
    mem_free(conn);
    return NULL;
}

void conn_drain(struct conn *conn)
{
    ASSERT(conn->phase == CONN_IDLE);
    if (conn->requests == 0) {
        timer_set(&conn->timer, FRESH_DRAIN_MS);
        return;
    }
    conn_set_phase(conn, CONN_CLOSED);
    conn_leave(conn); /* gently: a request may be on its way, and a RST would look like a fault */
}

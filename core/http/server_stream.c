/* Answering: a stream's operations on an HTTP/1.1 connection. The response head waits for the first
 * bytes of the body, or for the end of the turn, so that a small answer is one send. */
#include "http/server_conn.h"

#include "base/assert.h"

#include <errno.h>

enum { IOV_BATCH = 32 }; /* pieces of one send, besides head and chunk framing */

static struct exchange *exchange_of(struct stream *s)
{
    return CONTAINER_OF(s, struct exchange, s);
}

void server_exchange_end(struct exchange *ex, enum stream_end end)
{
    if (ex->is_over)
        return;
    ex->is_over = true;
    ex->end = end;
    timer_cancel(&ex->write_timer);
    conn_wake(ex->conn);
}

/* ---- Sending ---- */

static uint64_t conn_sent(const struct conn *conn)
{
    return conn->handed - io_queued(conn->io);
}

/* A client that takes nothing for body_idle_ms has stopped reading. */
static void exchange_write_due(void *arg)
{
    struct exchange *ex = arg;
    struct conn *conn = ex->conn;

    if (conn->io && conn_sent(conn) != ex->sent_mark) {
        ex->sent_mark = conn_sent(conn);
        timer_set(&ex->write_timer, conn->server->config.body_idle_ms);
        return;
    }
    conn->server->stats.timeouts++;
    server_exchange_end(ex, STREAM_CLIENT_TIMEOUT);
    conn_cut(conn);
}

static ssize_t exchange_send(struct exchange *ex, const struct iovec *iov, int count)
{
    struct conn *conn = ex->conn;
    ssize_t queued = io_send(conn->io, iov, count);

    if (queued < 0) {
        server_exchange_end(ex, STREAM_CLIENT_GONE);
        conn_cut(conn);
        return queued;
    }
    for (int i = 0; i < count; i++)
        conn->handed += iov[i].iov_len;
    if (queued > 0 && !timer_is_set(&ex->write_timer)) {
        timer_init(&ex->write_timer, conn->server->loop, exchange_write_due, ex);
        ex->sent_mark = conn_sent(conn);
        timer_set(&ex->write_timer, conn->server->config.body_idle_ms);
    }
    return queued;
}

void server_exchange_flush(struct exchange *ex)
{
    struct iovec iov = {ex->out.mem + ex->out.head, buf_len(&ex->out)};

    if (iov.iov_len == 0 || ex->is_over)
        return;
    exchange_send(ex, &iov, 1);
    buf_free(&ex->out);
}

void server_exchange_drained(struct exchange *ex)
{
    bool is_tunnel = ex->framing == HTTP_BODY_TUNNEL;

    timer_cancel(&ex->write_timer);
    if (ex->is_over)
        return;
    if (ex->is_finished) {
        if (!is_tunnel || ex->is_end_told)
            server_exchange_end(ex, STREAM_COMPLETE);
    } else if (ex->s.status && ex->s.handler->on_drained) {
        ex->s.handler->on_drained(ex->s.handler_arg);
    }
}

static void exchange_abort(struct exchange *ex)
{
    if (ex->is_over)
        return;
    server_exchange_end(ex, STREAM_ABORTED);
    conn_cut(ex->conn);
}

void server_exchange_fail(struct exchange *ex, enum stream_end end, unsigned status,
                          const char *text)
{
    struct http_head head;
    struct buf *out = &ex->out;

    if (ex->s.status || ex->is_over) {
        server_exchange_end(ex, end);
        conn_cut(ex->conn);
        return;
    }
    http_head_init(&head, &ex->s.pool);
    head.status = ex->s.status = status;
    head.keep_alive = false;
    head.method = ex->s.request.method;
    head.length = strlen(text) + 1;
    head.has_length = head.method == HTTP_HEAD;
    head.framing = head.has_length ? HTTP_BODY_NONE : HTTP_BODY_LENGTH;
    if (http_head_add(&head, STR("Content-Type"), STR("text/plain; charset=utf-8")) == 0 &&
        h1_write_response(out, &head) == 0 &&
        (head.has_length || buf_printf(out, "%s\n", text) == 0))
        server_exchange_flush(ex);
    server_exchange_end(ex, end);
    conn_leave(ex->conn);
}

/* ---- The operations ---- */

static void stream_op_read(struct stream *s)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct exchange *ex = exchange_of(s);
    union {
        const char *in;
        void *out;
    } base = {.in = text};
    struct iovec iov = {base.out, sizeof(text) - 1};

    if (ex->is_over || ex->is_end_told)
        return;
    ex->want_read = true;
    if (s->request.expect_continue && !ex->has_continued && !s->status && s->bytes_in == 0 &&
        buf_len(&ex->conn->surplus) == 0) {
        ex->has_continued = true;
        exchange_send(ex, &iov, 1);
    }
    if (!ex->conn->is_feeding)
        conn_wake(ex->conn);
}

static int stream_op_inform(struct stream *s, const struct http_head *head)
{
    struct exchange *ex = exchange_of(s);
    int err;

    ASSERT(head->status >= 100 && head->status < 200 && head->status != 101 && !s->status);
    if (ex->is_over)
        return -EPIPE;
    if (s->request.minor == 0 || (head->status == 100 && ex->has_continued))
        return 0;
    if (head->status == 100)
        ex->has_continued = true;
    err = h1_write_response(&ex->out, head);
    if (!err)
        server_exchange_flush(ex);
    return err ? err : ex->is_over ? -EPIPE : 0;
}

/* What the handler asked for, as this client and this request allow it. */
static void response_adapt(struct exchange *ex, struct http_head *head)
{
    const struct http_head *request = &ex->s.request;

    head->method = request->method;
    head->minor = request->minor;
    ex->is_bodiless =
        head->framing != HTTP_BODY_TUNNEL && http_response_is_bodiless(head->method, head->status);
    if (ex->is_bodiless) {
        head->has_length =
            head->status != 204 && (head->has_length || head->framing == HTTP_BODY_LENGTH);
        head->framing = HTTP_BODY_NONE;
    }
    if (head->framing == HTTP_BODY_CHUNKED && head->minor == 0)
        head->framing = HTTP_BODY_EOF;
    else if (head->framing == HTTP_BODY_EOF && head->minor > 0)
        head->framing = HTTP_BODY_CHUNKED;
    /* Without "100 Continue" it is open whether the client sends the body: only closing is safe. */
    if (head->framing == HTTP_BODY_EOF || !head->keep_alive || ex->conn->server->is_draining ||
        (request->expect_continue && !ex->has_continued && ex->s.bytes_in == 0))
        ex->close_after = true;
    head->keep_alive = !ex->close_after;
}

/* The Date line goes before the empty line that ends the head. */
static int response_add_date(struct exchange *ex, const struct http_head *head)
{
    struct str date = server_date_line(ex->conn->server);
    int err;

    if (head->status < 200 || http_head_find(head, STR("Date")))
        return 0;
    ex->out.tail -= 2;
    err = buf_add_str(&ex->out, date);
    return err ? err : buf_add_str(&ex->out, STR("\r\n"));
}

static int stream_op_respond(struct stream *s, const struct http_head *given)
{
    struct exchange *ex = exchange_of(s);
    struct http_head head = *given;
    int err;

    ASSERT(!s->status);
    ASSERT(head.framing == HTTP_BODY_TUNNEL ? head.status == 101 : head.status >= 200);
    if (ex->is_over)
        return -EPIPE;
    response_adapt(ex, &head);
    err = h1_write_response(&ex->out, &head);
    if (err)
        return err;
    err = response_add_date(ex, &head);
    if (err) {
        exchange_abort(ex);
        return err;
    }
    s->status = head.status;
    ex->framing = head.framing;
    ex->left = head.framing == HTTP_BODY_LENGTH ? head.length : 0;
    if (head.framing == HTTP_BODY_TUNNEL) {
        ex->close_after = true;
        ex->is_body_done = ex->is_end_told = false;
        timer_cancel(&ex->conn->timer);
    }
    conn_wake(ex->conn);
    return 0;
}

/* Head (when it waits), chunk line, bytes, chunk end: one send. */
static ssize_t exchange_send_body(struct exchange *ex, const struct iovec *iov, int count,
                                  size_t total)
{
    struct iovec all[IOV_BATCH + 3];
    char line[H1_CHUNK_LINE_MAX], crlf[2] = {'\r', '\n'};
    bool is_chunked = ex->framing == HTTP_BODY_CHUNKED;
    ssize_t queued;
    int n = 0;

    if (buf_len(&ex->out) > 0)
        all[n++] = (struct iovec){ex->out.mem + ex->out.head, buf_len(&ex->out)};
    if (is_chunked)
        all[n++] = (struct iovec){line, h1_chunk_line(line, total)};
    for (int i = 0; i < count; i++)
        all[n++] = iov[i];
    if (is_chunked)
        all[n++] = (struct iovec){crlf, sizeof(crlf)};
    queued = exchange_send(ex, all, n);
    buf_free(&ex->out);
    ex->s.bytes_out += total;
    return queued;
}

static ssize_t stream_op_write(struct stream *s, const struct iovec *iov, int count)
{
    struct exchange *ex = exchange_of(s);
    int batch = count < IOV_BATCH ? count : IOV_BATCH;
    size_t total = 0;
    ssize_t queued;

    if (ex->is_over)
        return -EPIPE;
    ASSERT(s->status && !ex->is_finished);
    for (int i = 0; i < batch; i++)
        total += iov[i].iov_len;
    if (total == 0 || ex->is_bodiless)
        return (ssize_t)io_queued(ex->conn->io);
    if (ex->framing == HTTP_BODY_LENGTH || ex->framing == HTTP_BODY_NONE) {
        if (total > ex->left) { /* more than Content-Length said would be the next response */
            exchange_abort(ex);
            return -EMSGSIZE;
        }
        ex->left -= total;
    }
    queued = exchange_send_body(ex, iov, batch, total);
    if (queued < 0 || batch == count)
        return queued;
    return stream_op_write(s, iov + batch, count - batch);
}

static void stream_op_finish(struct stream *s, const struct http_head *trailers)
{
    struct exchange *ex = exchange_of(s);
    bool is_tunnel = ex->framing == HTTP_BODY_TUNNEL;

    if (ex->is_over || ex->is_finished)
        return;
    ASSERT(s->status);
    if (ex->left > 0) { /* fewer bytes than announced: the client must see it */
        exchange_abort(ex);
        return;
    }
    ex->is_finished = true;
    if (!is_tunnel) { /* what is left of the request's body is not the handler's any more */
        ex->want_read = false;
        timer_cancel(&ex->conn->timer);
    }
    if (ex->framing == HTTP_BODY_CHUNKED && h1_write_last_chunk(&ex->out, trailers) < 0 &&
        h1_write_last_chunk(&ex->out, NULL) < 0) {
        exchange_abort(ex);
        return;
    }
    server_exchange_flush(ex);
    if (ex->is_over)
        return;
    if (is_tunnel)
        io_shutdown(ex->conn->io);
    if (io_queued(ex->conn->io) == 0 && (!is_tunnel || ex->is_end_told))
        server_exchange_end(ex, STREAM_COMPLETE);
}

static void stream_op_abort(struct stream *s)
{
    exchange_abort(exchange_of(s));
}

const struct stream_ops server_stream_ops = {
    .read = stream_op_read,
    .inform = stream_op_inform,
    .respond = stream_op_respond,
    .write = stream_op_write,
    .finish = stream_op_finish,
    .abort = stream_op_abort,
};

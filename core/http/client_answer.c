/* The answer of a call: from bytes to call-backs as far as credit goes, and how a call ends. */
#include "http/client_call.h"

#include "base/sys.h"

#include <stdio.h>

enum {
    INFORMS_MAX = 100, /* 1xx heads before the final one */
    TUNNEL_LINGER_MS = 5000,
    SAVED_MAX = 64 << 10, /* bytes read from a broken connection */
    SAVED_PIECE = 8 << 10,
    ERROR_TEXT_MAX = 256 + ADDR_TEXT_MAX
};

/* ---- Ends ---- */

void call_free(struct call *call)
{
    buf_free(&call->unsent);
    buf_free(&call->unread);
    call->magic = 0;
    mem_free(call);
}

struct conn *call_detach(struct call *call)
{
    call->state = CALL_OVER;
    loop_undefer(&call->step);
    timer_cancel(&call->connect_timer);
    list_remove(&call->node);
    call->client->stats.active--;
    peer_unref(call->peer);
    call->peer = NULL;
    return TAKE_PTR(call->conn);
}

void call_fail(struct call *call, enum call_error error, const char *text)
{
    call->client->stats.failures++;
    conn_close(call_detach(call));
    call->handler->on_error(call->arg, error, text);
}

void call_fail_broken(struct call *call, const char *reason)
{
    enum call_error error = CALL_RESET;
    const char *when = "before it answered";
    char addr[ADDR_TEXT_MAX], text[ERROR_TEXT_MAX];

    if (call->state == CALL_CONNECTING) {
        error = CALL_CONNECT_FAILED;
        when = "while connecting";
    } else if (call->got_answer) {
        error = CALL_TRUNCATED;
        when = "inside the answer";
    } else if (call->is_reused) {
        error = CALL_STALE;
    }
    addr_format(&call->peer->addr, addr);
    snprintf(text, sizeof(text), "%s: %s %s", addr, reason, when);
    call_fail(call, error, text);
}

static bool call_can_reuse(const struct call *call, bool is_clean)
{
    const struct http_head *head = h1_reader_head(call->conn->reader);
    bool is_sent = call->is_finished || (call->framing == HTTP_BODY_LENGTH && call->body_left == 0);

    return is_clean && is_sent && call->keep_alive && head->keep_alive &&
           head->framing != HTTP_BODY_EOF && !call->send_failed && io_queued(call->conn->io) == 0;
}

/* The answer is complete. `is_clean`: no byte came behind it. */
static void call_complete(struct call *call, bool is_clean)
{
    const struct http_head *trailers = h1_reader_trailers(call->conn->reader);
    bool can_reuse = call_can_reuse(call, is_clean);
    struct conn *conn = call_detach(call);

    if (can_reuse)
        conn_park(conn);
    else
        conn_close(conn);
    call->handler->on_end(call->arg, trailers);
}

void call_end_tunnel(struct call *call)
{
    conn_close_gently(call_detach(call), TUNNEL_LINGER_MS);
    call->handler->on_end(call->arg, NULL);
}

/* ---- Entries from the loop ---- */

struct call *call_enter(void *arg)
{
    struct call *call = arg;

    ASSERT_MAGIC(call, CALL_MAGIC);
    ASSERT(!call->is_busy && call->state != CALL_OVER);
    call->is_busy = true;
    return call;
}

static bool call_may_read(const struct call *call)
{
    return call->state == CALL_HEAD ||
           ((call->state == CALL_BODY || call->state == CALL_TUNNEL) && call->wants_body);
}

void call_ask(struct call *call)
{
    if (!call_may_read(call) || call->peer_finished)
        return;
    if (call->is_hungry && buf_len(&call->unread) == 0 && !call->broken)
        io_recv(call->conn->io);
    else
        loop_defer(call->client->loop, &call->step);
}

void call_leave(struct call *call)
{
    call->is_busy = false;
    if (call->state == CALL_OVER)
        call_free(call);
    else
        call_ask(call);
}

/* ---- The answer ---- */

static void call_take_head(struct call *call)
{
    const struct http_head *head = h1_reader_head(call->conn->reader);

    if (head->status < 200 && head->status != 101) {
        if (++call->informs > INFORMS_MAX) {
            call_fail(call, CALL_PROTOCOL, "too many interim answers");
            return;
        }
        if (call->handler->on_inform)
            call->handler->on_inform(call->arg, head);
        if (call->state != CALL_OVER)
            h1_reader_begin(call->conn->reader, call->pool, call->method, call->asks_upgrade);
        return;
    }
    call->state = CALL_BODY;
    if (head->framing == HTTP_BODY_TUNNEL) {
        call->state = CALL_TUNNEL;
        call->framing = HTTP_BODY_TUNNEL;
        call->is_finished = false;
    }
    call->handler->on_head(call->arg, head);
}

static void call_give_body(struct call *call, struct str data)
{
    call->wants_body = false;
    call->handler->on_body(call->arg, data);
}

/* Turns input into call-backs as far as credit goes, and cuts what it used off the front. */
static void call_pump(struct call *call, struct str *input)
{
    struct str data;

    call->is_hungry = false;
    while (call_may_read(call)) {
        if (call->state == CALL_TUNNEL && input->len > 0) {
            data = *input;
            *input = str_make(input->ptr + input->len, 0);
            call_give_body(call, data);
            continue;
        }
        switch (h1_reader_next(call->conn->reader, input, &data)) {
        case H1_MORE:
            call->is_hungry = true;
            return;
        case H1_HEAD:
            call_take_head(call);
            break;
        case H1_BODY:
            call_give_body(call, data);
            break;
        case H1_END:
            call_complete(call, input->len == 0);
            return;
        case H1_ERROR:
            call_fail(call, CALL_PROTOCOL, h1_reader_error(call->conn->reader));
            return;
        }
    }
}

void call_on_data(void *arg, struct str data)
{
    struct call *call = call_enter(arg);

    ASSERT(buf_len(&call->unread) == 0);
    call->got_answer = true;
    call_pump(call, &data);
    if (call->state != CALL_OVER && buf_add_str(&call->unread, data) < 0)
        call_fail(call, CALL_NO_MEMORY, "no memory for the answer");
    call_leave(call);
}

void call_read_on(struct call *call)
{
    struct str input = buf_str(&call->unread);
    size_t before = input.len;

    call_pump(call, &input);
    if (call->state == CALL_OVER)
        return;
    buf_consume(&call->unread, before - input.len);
    if (buf_len(&call->unread) > 0)
        return;
    buf_free(&call->unread);
    if (call->broken && call->is_hungry)
        call_fail_broken(call, strerror(-call->broken));
}

void call_on_eof(void *arg)
{
    struct call *call = call_enter(arg);

    call->peer_finished = true;
    if (call->state == CALL_TUNNEL) {
        call->wants_body = false;
        if (call->is_finished || !call->handler->on_half_closed)
            call_end_tunnel(call);
        else
            call->handler->on_half_closed(call->arg);
    } else if (h1_reader_eof(call->conn->reader) == H1_END) {
        call_complete(call, true);
    } else {
        call_fail_broken(call, "connection closed");
    }
    call_leave(call);
}

/* An answer that came before the connection broke is still in the socket: a peer that refuses a
 * body answers and closes, and our next bytes then meet a reset. */
static void call_save_rest(struct call *call)
{
    ssize_t n = 1;

    while (n > 0 && buf_len(&call->unread) < SAVED_MAX) {
        char *space = buf_reserve(&call->unread, SAVED_PIECE);

        n = space ? sys.recv(io_fd(call->conn->io), space, SAVED_PIECE, MSG_DONTWAIT) : 0;
        if (n > 0) {
            buf_commit(&call->unread, (size_t)n);
            call->got_answer = true;
        }
    }
}

void call_on_error(void *arg, int error)
{
    struct call *call = call_enter(arg);

    if (call->state == CALL_CONNECTING) {
        call_fail_broken(call, strerror(-error));
    } else {
        call->send_failed = true;
        call->broken = error;
        call_save_rest(call);
        call_read_on(call);
    }
    call_leave(call);
}

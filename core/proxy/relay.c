/* What passes between client and function once a call is under way: body up, answer down, bytes
 * both ways in a tunnel.
 *
 * Back-pressure: each side is asked for one piece at a time, and not asked while more than
 * buffer_max is queued towards the other. A piece goes out as it comes; nothing is collected, so
 * event streams need no mode of their own.
 */
#include "base/log.h"
#include "base/sys.h"
#include "proxy/exchange.h"

#include <errno.h>

static struct exchange *exchange_of(void *arg)
{
    struct exchange *ex = arg;

    ASSERT_MAGIC(ex, EXCHANGE_MAGIC);
    return ex;
}

static struct iovec iov_of(struct str data)
{
    union {
        const char *in;
        void *out;
    } base = {.in = data.ptr};

    return (struct iovec){base.out, data.len};
}

/* End-to-end trailer fields, in the stream's pool; NULL when there are none. */
static const struct http_head *trailers_of(struct exchange *ex, const struct http_head *from)
{
    struct http_head *to;

    if (!from || from->count == 0)
        return NULL;
    to = pool_alloc(&ex->stream->pool, sizeof(*to));
    if (!to)
        return NULL;
    http_head_init(to, &ex->stream->pool);
    return http_head_copy_end_to_end(to, from) == 0 ? to : NULL;
}

/* ---- Up: the client's body to the function ---- */

void relay_request(struct exchange *ex)
{
    if (ex->is_body_done || ex->is_body_asked || ex->is_up_blocked || !ex->call)
        return;
    ex->is_body_asked = true;
    stream_read(ex->stream);
}

void relay_replay(struct exchange *ex)
{
    struct str kept = buf_str(&ex->replay);

    ex->is_up_blocked = false;
    ex->is_answer_asked = false;
    if (kept.len > 0) {
        struct iovec iov = iov_of(kept);

        if (call_write(ex->call, &iov, 1) < 0)
            return; /* on_error follows */
    }
    if (ex->is_body_done)
        call_finish(ex->call, ex->trailers);
}

static void on_body(void *arg, struct str data)
{
    struct exchange *ex = exchange_of(arg);
    struct iovec iov = iov_of(data);
    bool is_kept;
    ssize_t queued;

    ex->is_body_asked = false;
    if (ex->state == EXCHANGE_ENDING)
        return;
    exchange_touch(ex);
    is_kept = retry_keep(ex, data);
    if (!ex->call) { /* parked between two attempts */
        if (!is_kept)
            exchange_fail(ex, FAULT_CONNECT_FAILED);
        return;
    }
    queued = call_write(ex->call, &iov, 1);
    if (queued < 0)
        return; /* on_error follows */
    ex->is_up_blocked = (size_t)queued > ex->proxy->config.buffer_max;
    relay_request(ex);
}

static void on_body_end(void *arg, const struct http_head *trailers)
{
    struct exchange *ex = exchange_of(arg);

    ex->is_body_asked = false;
    ex->is_body_done = true;
    if (ex->state == EXCHANGE_ENDING)
        return;
    ex->trailers = trailers_of(ex, trailers);
    if (ex->call)
        call_finish(ex->call, ex->trailers);
}

static void on_up_drained(void *arg)
{
    struct exchange *ex = exchange_of(arg);

    ex->is_up_blocked = false;
    relay_request(ex);
}

/* ---- Down: the function's answer to the client ---- */

static void relay_answer(struct exchange *ex)
{
    if (!ex->call || ex->is_answer_asked || ex->is_down_blocked)
        return;
    ex->is_answer_asked = true;
    call_read(ex->call);
}

static void on_connected(void *arg)
{
    struct exchange *ex = exchange_of(arg);

    ex->is_connected = true;
    ex->connected_ns = sys_monotonic_ns();
    endpoint_report(ex->ep, true, loop_now_ms(ex->proxy->loop));
    relay_request(ex);
}

/* 100 is between neighbours: our server says it by itself when it asks for the body. */
static void on_inform(void *arg, const struct http_head *head)
{
    struct exchange *ex = exchange_of(arg);
    struct http_head out;

    if (head->status == 100 || ex->state != EXCHANGE_CALLING)
        return;
    http_head_init(&out, &ex->stream->pool);
    if (http_head_copy_end_to_end(&out, head) == 0)
        stream_inform(ex->stream, &out);
}

static bool is_stream(const struct http_head *head)
{
    struct str type = http_head_get(head, STR("content-type")), word;

    if (!str_next(&type, ';', &word))
        return false;
    return str_ieq(word, STR("text/event-stream")) || str_ieq(word, STR("application/x-ndjson"));
}

/* Sends the head on. 0 or why not: -EPIPE when the client is gone, which on_done will say. */
static int respond(struct exchange *ex, const struct http_head *head)
{
    struct http_head *out = pool_alloc(&ex->stream->pool, sizeof(*out));
    int r = out ? headers_response(ex, head, out) : -ENOMEM;

    return r < 0 ? r : stream_respond(ex->stream, out);
}

static void on_head(void *arg, const struct http_head *head)
{
    struct exchange *ex = exchange_of(arg);
    bool is_tunnel = head->framing == HTTP_BODY_TUNNEL;
    int r;

    ex->first_byte_ns = sys_monotonic_ns();
    r = respond(ex, head);
    if (r == -EPIPE)
        return;
    if (r < 0) {
        exchange_fail(ex, r == -EBADMSG ? FAULT_UPSTREAM_INVALID : FAULT_NO_MEMORY);
        return;
    }
    ex->is_relayed = true;
    ex->state = is_tunnel ? EXCHANGE_TUNNEL : EXCHANGE_ANSWERING;
    buf_free(&ex->replay);
    if (is_tunnel)
        ex->is_body_done = false; /* from now on there are bytes to read */
    if (is_tunnel || is_stream(head))
        exchange_become_stream(ex);
    relay_request(ex);
    relay_answer(ex);
}

static void on_answer(void *arg, struct str data)
{
    struct exchange *ex = exchange_of(arg);
    ssize_t queued;

    ex->is_answer_asked = false;
    exchange_touch(ex);
    queued = stream_write(ex->stream, data);
    if (queued < 0)
        return; /* on_done follows */
    ex->is_down_blocked = (size_t)queued > ex->proxy->config.buffer_max;
    relay_answer(ex);
}

static void on_down_drained(void *arg)
{
    struct exchange *ex = exchange_of(arg);

    ex->is_down_blocked = false;
    relay_answer(ex);
}

/* A tunnel whose function has finished: what the client still has to say goes on. */
static void on_half_closed(void *arg)
{
    stream_finish(exchange_of(arg)->stream, NULL);
}

static void on_answer_end(void *arg, const struct http_head *trailers)
{
    struct exchange *ex = exchange_of(arg);

    ex->call = NULL;
    exchange_drop_endpoint(ex);
    ex->state = EXCHANGE_ENDING;
    timer_cancel(&ex->timer); /* the server bounds how long the client may take for the rest */
    stream_finish(ex->stream, trailers_of(ex, trailers));
}

/* ---- Failures ---- */

static enum fault fault_of(enum call_error error)
{
    switch (error) {
    case CALL_CONNECT_FAILED:
        return FAULT_CONNECT_FAILED;
    case CALL_PROTOCOL:
        return FAULT_UPSTREAM_INVALID;
    case CALL_NO_MEMORY:
        return FAULT_NO_MEMORY;
    case CALL_STALE:
    case CALL_RESET:
    case CALL_TRUNCATED:
        break;
    }
    return FAULT_UPSTREAM_RESET;
}

static void on_call_error(void *arg, enum call_error error, const char *text)
{
    struct exchange *ex = exchange_of(arg);
    bool has_sent = call_has_sent(ex->call);

    ex->call = NULL;
    log_debug("proxy", "%.*s.%.*s: replica %.*s: %s", STR_ARG(ex->name), STR_ARG(ex->ns),
              STR_ARG(ex->replica), text);
    if (error == CALL_CONNECT_FAILED)
        endpoint_report(ex->ep, false, loop_now_ms(ex->proxy->loop));
    if (ex->state == EXCHANGE_CALLING && retry_try(ex, error, has_sent))
        return;
    exchange_fail(ex, fault_of(error));
}

static void on_done(void *arg, enum stream_end end)
{
    exchange_end(exchange_of(arg), end);
}

const struct stream_handler relay_stream_handler = {.on_body = on_body,
                                                    .on_body_end = on_body_end,
                                                    .on_drained = on_down_drained,
                                                    .on_done = on_done};

const struct call_handler relay_call_handler = {.on_connected = on_connected,
                                                .on_drained = on_up_drained,
                                                .on_inform = on_inform,
                                                .on_head = on_head,
                                                .on_body = on_answer,
                                                .on_half_closed = on_half_closed,
                                                .on_end = on_answer_end,
                                                .on_error = on_call_error};

/* Mode http: a reverse proxy to the process. Bytes go on as they come, both ways. */
#include "base/buf.h"
#include "watchdog.h"

#include <errno.h>

struct relay {
    struct invocation *inv;
    struct stream *s;
    struct upstream_waiter waiter;
    struct http_head request;
    struct call *call;
    struct buf body; /* the request's, when it is to be complete first, or was */
    bool is_buffered;
    bool is_body_done;
    bool is_up_blocked, is_down_blocked;
    bool was_retried;
    bool is_tunnel;
};

/* ---- Up: the request ---- */

static void relay_read_request(struct relay *relay)
{
    if (!relay->is_body_done && !relay->is_up_blocked)
        stream_read(relay->s);
}

static void relay_on_call_error(void *arg, enum call_error error, const char *text);
static const struct call_handler relay_call_handler;

static void relay_send_buffered(struct relay *relay)
{
    struct iovec iov = {relay->body.mem + relay->body.head, buf_len(&relay->body)};

    if (iov.iov_len > 0)
        call_write(relay->call, &iov, 1);
    call_finish(relay->call, NULL);
}

static void relay_call(struct relay *relay)
{
    struct upstream *upstream = relay->inv->w->upstream;

    relay->call = call_start(upstream_client(upstream), upstream_addr(upstream), &relay->request,
                             relay->was_retried, &relay->s->pool, &relay_call_handler, relay);
    if (!relay->call)
        invocation_fail(relay->inv, 500, "out of memory\n");
    else if (relay->is_buffered)
        relay_send_buffered(relay);
    else
        relay_read_request(relay);
}

static void relay_on_upstream(struct upstream_waiter *waiter)
{
    relay_call(CONTAINER_OF(waiter, struct relay, waiter));
}

static void relay_keep(struct relay *relay, struct str data)
{
    if (buf_add_str(&relay->body, data) < 0)
        invocation_fail(relay->inv, 413, "the body is longer than max_body_size\n");
    else
        stream_read(relay->s);
}

static void relay_on_request_body(void *arg, struct str data)
{
    struct relay *relay = arg;
    union {
        const char *in;
        void *out;
    } base = {.in = data.ptr};
    struct iovec iov = {base.out, data.len};
    ssize_t queued;

    if (relay->is_buffered) {
        relay_keep(relay, data);
        return;
    }
    if (relay->call) { /* else a tunnel whose other side has ended: nobody wants it */
        queued = call_write(relay->call, &iov, 1);
        if (queued < 0)
            return; /* on_error follows */
        relay->is_up_blocked = queued > QUEUE_MAX;
    }
    relay_read_request(relay);
}

static void relay_on_request_end(void *arg, const struct http_head *trailers)
{
    struct relay *relay = arg;

    relay->is_body_done = true;
    if (!relay->is_buffered) {
        if (relay->call)
            call_finish(relay->call, trailers);
        return;
    }
    relay->request.framing = HTTP_BODY_LENGTH;
    relay->request.length = buf_len(&relay->body);
    upstream_wait(relay->inv->w->upstream, &relay->waiter);
}

static void relay_on_up_drained(void *arg)
{
    struct relay *relay = arg;

    relay->is_up_blocked = false;
    relay_read_request(relay);
}

/* ---- Down: the answer ---- */

static void relay_on_inform(void *arg, const struct http_head *head)
{
    struct relay *relay = arg;

    stream_inform(relay->s, head); /* a failure shows in on_done */
}

static void relay_on_head(void *arg, const struct http_head *head)
{
    struct relay *relay = arg;
    struct str seconds = invocation_seconds(relay->inv);
    struct http_head answer;
    int err;

    http_head_init(&answer, &relay->s->pool);
    err = http_head_copy_end_to_end(&answer, head);
    if (!err)
        err = seconds.ptr ? http_head_set(&answer, STR("X-Duration-Seconds"), seconds) : -ENOMEM;
    if (!err)
        err = stream_respond(relay->s, &answer);
    if (err) {
        stream_abort(relay->s);
        return;
    }
    if (answer.framing == HTTP_BODY_TUNNEL) {
        relay->is_tunnel = true;
        relay->is_body_done = false;
        timer_cancel(&relay->inv->deadline);
        relay_read_request(relay);
    }
    call_read(relay->call);
}

static void relay_on_answer_body(void *arg, struct str data)
{
    struct relay *relay = arg;
    ssize_t queued = stream_write(relay->s, data);

    if (queued < 0)
        return; /* on_done follows */
    relay->is_down_blocked = queued > QUEUE_MAX;
    if (!relay->is_down_blocked)
        call_read(relay->call);
}

static void relay_on_down_drained(void *arg)
{
    struct relay *relay = arg;

    if (!relay->is_down_blocked)
        return;
    relay->is_down_blocked = false;
    if (relay->call)
        call_read(relay->call);
}

static void relay_on_half_closed(void *arg)
{
    struct relay *relay = arg;

    stream_finish(relay->s, NULL);
}

static void relay_on_answer_end(void *arg, const struct http_head *trailers)
{
    struct relay *relay = arg;

    relay->call = NULL;
    timer_cancel(&relay->inv->deadline);
    stream_finish(relay->s, trailers);
    if (relay->is_tunnel) { /* the client's end completes it */
        relay->is_up_blocked = false;
        relay_read_request(relay);
    }
}

/* ---- Failures ---- */

/* A kept connection that the process was just closing: the request can be sent again when nothing
 * can have been done twice. */
static bool relay_retry(struct relay *relay, enum call_error error)
{
    bool can_repeat = relay->request.method == HTTP_GET || relay->request.method == HTTP_HEAD ||
                      relay->request.method == HTTP_OPTIONS || relay->request.method == HTTP_PUT ||
                      relay->request.method == HTTP_DELETE;

    if (error != CALL_STALE || relay->was_retried || !can_repeat ||
        (relay->request.framing != HTTP_BODY_NONE && !relay->is_buffered))
        return false;
    relay->was_retried = true;
    relay_call(relay);
    return true;
}

static void relay_on_call_error(void *arg, enum call_error error, const char *text)
{
    struct relay *relay = arg;

    relay->call = NULL;
    if (!relay_retry(relay, error))
        invocation_fail(relay->inv, 500, "the function failed: %s\n", text);
}

static const struct call_handler relay_call_handler = {
    .on_drained = relay_on_up_drained,
    .on_inform = relay_on_inform,
    .on_head = relay_on_head,
    .on_body = relay_on_answer_body,
    .on_half_closed = relay_on_half_closed,
    .on_end = relay_on_answer_end,
    .on_error = relay_on_call_error,
};

static void relay_stop(struct relay *relay)
{
    list_remove(&relay->waiter.node);
    if (relay->call)
        call_cancel(TAKE_PTR(relay->call));
    buf_free(&relay->body);
}

static void relay_on_due(void *arg)
{
    struct relay *relay = arg;

    relay_stop(relay);
    invocation_fail(relay->inv, 504, "the function took longer than its limit\n");
}

static void relay_on_done(void *arg, enum stream_end end)
{
    struct relay *relay = arg;

    (void)end;
    relay_stop(relay);
    invocation_end(relay->inv);
}

static const struct stream_handler relay_stream_handler = {
    .on_body = relay_on_request_body,
    .on_body_end = relay_on_request_end,
    .on_drained = relay_on_down_drained,
    .on_done = relay_on_done,
};

/* ---- The beginning ---- */

static int relay_make_request(struct relay *relay)
{
    const struct invocation *inv = relay->inv;
    int err;

    http_head_init(&relay->request, &relay->s->pool);
    err = http_head_copy_end_to_end(&relay->request, &relay->s->request);
    relay->request.target = inv->target;
    relay->request.path = inv->path;
    relay->request.query = inv->query;
    return err;
}

static void on_failed_done(void *arg, enum stream_end end)
{
    (void)end;
    invocation_end(arg);
}

void invoke_http(struct invocation *inv)
{
    static const struct stream_handler failed_handler = {.on_done = on_failed_done};
    struct relay *relay = pool_zalloc(&inv->s->pool, sizeof(*relay));
    int err = -ENOMEM;

    if (relay) {
        relay->inv = inv;
        relay->s = inv->s;
        relay->waiter.run = relay_on_upstream;
        list_init(&relay->waiter.node);
        buf_init(&relay->body, inv->w->config.body_max);
        err = relay_make_request(relay);
    }
    if (err) {
        stream_accept(inv->s, &failed_handler, inv);
        invocation_fail(inv, err == -ENOMEM ? 503 : 400, "the request cannot be passed on\n");
        return;
    }
    stream_accept(inv->s, &relay_stream_handler, relay);
    invocation_set_deadline(inv, relay_on_due, relay);
    relay->is_body_done = relay->request.framing == HTTP_BODY_NONE;
    relay->is_buffered = inv->w->config.buffer_http && !relay->is_body_done;
    if (relay->is_buffered)
        stream_read(relay->s);
    else
        upstream_wait(inv->w->upstream, &relay->waiter);
}

/* Calls: one request and its answer over a connection of client_pool.h. Here are the request and
 * the interface, in client_answer.c the rest.
 *
 * A call is started, and what was kept for want of credit is read on, in a deferred step at the end
 * of the loop's turn: so no call-back ever comes from inside a function of this interface, and body
 * bytes written in the same turn leave together with the head.
 */
#include "http/client.h"

#include "http/client_call.h"

#include <errno.h>

enum { CHUNK_IOV_MAX = 16 };

const struct client_config client_config_default = {
    .limits = {.line_max = 8 << 10,
               .head_max = 64 << 10,
               .fields_max = 100,
               .field_max = 16 << 10,
               .chunk_ext_max = 256,
               .trailers_max = 16 << 10},
    .connect_timeout_ms = 5000,
    .idle_ms = 60000,
    .idle_max = 1024,
    .idle_max_per_addr = 256,
};

/* ---- The request ---- */

/* Sends bytes of the request. A failure is not reported: an answer may have come before the peer
 * stopped reading, and if there is none, reading fails as well. */
static ssize_t call_send(struct call *call, const struct iovec *iov, int count)
{
    ssize_t queued;

    if (call->send_failed)
        return 0;
    call->has_sent = true;
    queued = io_send(call->conn->io, iov, count);
    if (queued >= 0)
        return queued;
    call->send_failed = true;
    return queued == -ENOMEM ? queued : 0;
}

/* The deferred step will report it. */
static ssize_t call_write_failed(struct call *call, int err)
{
    call->write_error = err;
    loop_defer(call->client->loop, &call->step);
    return err;
}

static void *iov_base(const char *ptr)
{
    union {
        const char *in;
        void *out;
    } base = {.in = ptr};

    return base.out;
}

static void call_send_start(struct call *call, struct buf *head)
{
    struct str first = buf_str(head), body = buf_str(&call->unsent);
    struct iovec iov[] = {{iov_base(first.ptr), first.len}, {iov_base(body.ptr), body.len}};
    ssize_t queued = call_send(call, iov, body.len > 0 ? 2 : 1);

    buf_free(&call->unsent);
    if (queued < 0)
        call_fail(call, CALL_NO_MEMORY, "no memory to send the request");
    else if (queued == 0 && body.len > 0 && !call->is_finished && call->handler->on_drained)
        call->handler->on_drained(call->arg);
}

/* The connection stands: serialise, report, send. */
static void call_begin_request(struct call *call)
{
    struct buf head;
    int err;

    timer_cancel(&call->connect_timer);
    buf_init(&head, 0);
    err = h1_write_request(&head, call->request);
    call->request = NULL;
    if (err) {
        call_fail(call, err == -ENOMEM ? CALL_NO_MEMORY : CALL_PROTOCOL,
                  "the request's head cannot be written");
        buf_free(&head);
        return;
    }
    if (call->handler->on_connected)
        call->handler->on_connected(call->arg);
    if (call->state != CALL_OVER) {
        call->state = CALL_HEAD;
        call->is_hungry = true;
        h1_reader_begin(call->conn->reader, call->pool, call->method, call->asks_upgrade);
        call_send_start(call, &head);
    }
    buf_free(&head);
}

static void call_on_connected(void *arg)
{
    struct call *call = call_enter(arg);

    call_begin_request(call);
    call_leave(call);
}

static void call_on_connect_due(void *arg)
{
    struct call *call = call_enter(arg);

    call_fail_broken(call, "timeout");
    call_leave(call);
}

static void call_on_drained(void *arg)
{
    struct call *call = call_enter(arg);

    if (!call->is_finished && call->handler->on_drained)
        call->handler->on_drained(call->arg);
    call_leave(call);
}

static const struct io_handler call_io_handler = {
    .on_data = call_on_data,
    .on_eof = call_on_eof,
    .on_error = call_on_error,
    .on_drained = call_on_drained,
    .on_connected = call_on_connected,
};

static void call_find_connection(struct call *call)
{
    struct client *client = call->client;

    call->state = CALL_CONNECTING;
    if (!call->fresh)
        call->conn = conn_take(call->peer, &call_io_handler, call);
    if (call->conn) {
        client->stats.reuses++;
        call->is_reused = true;
        call_begin_request(call);
        return;
    }
    client->stats.connects++;
    call->conn = conn_open(call->peer, &call_io_handler, call);
    if (!call->conn)
        call_fail(call, CALL_NO_MEMORY, "no memory or no descriptor for a connection");
    else
        timer_set(&call->connect_timer, client->config.connect_timeout_ms);
}

static void call_on_step(struct loop_defer *defer)
{
    struct call *call = call_enter(CONTAINER_OF(defer, struct call, step));

    if (call->write_error)
        call_fail(call, call->write_error == -ENOMEM ? CALL_NO_MEMORY : CALL_PROTOCOL,
                  "the request's body cannot be written");
    else if (call->state == CALL_STARTING)
        call_find_connection(call);
    else if (call->state == CALL_TUNNEL && call->peer_finished)
        call_end_tunnel(call);
    else
        call_read_on(call);
    call_leave(call);
}

/* ---- The interface ---- */

struct call *call_start(struct client *client, const struct addr *addr,
                        const struct http_head *head, bool fresh, struct pool *pool,
                        const struct call_handler *handler, void *arg)
{
    struct call *call = mem_zalloc(sizeof(*call));

    if (!call)
        return NULL;
    call->peer = peer_get(&client->pool, addr);
    if (!call->peer) {
        mem_free(call);
        return NULL;
    }
    call->magic = CALL_MAGIC;
    call->client = client;
    call->request = head;
    call->pool = pool;
    call->handler = handler;
    call->arg = arg;
    call->fresh = fresh;
    call->method = head->method;
    call->framing = head->framing;
    call->body_left = head->framing == HTTP_BODY_LENGTH ? head->length : 0;
    call->is_finished = head->framing == HTTP_BODY_NONE;
    call->asks_upgrade = head->upgrade;
    call->keep_alive = head->keep_alive;
    buf_init(&call->unsent, 0);
    buf_init(&call->unread, 0);
    timer_init(&call->connect_timer, client->loop, call_on_connect_due, call);
    loop_defer_init(&call->step, call_on_step);
    loop_defer(client->loop, &call->step);
    list_push(&client->calls, &call->node);
    client->stats.active++;
    return call;
}

static bool call_is_connected(const struct call *call)
{
    return call->state >= CALL_HEAD;
}

/* Bytes of the request as they are: kept until the connection stands, or sent. */
static ssize_t call_put(struct call *call, const struct iovec *iov, int count)
{
    ssize_t queued;

    if (call->write_error)
        return call->write_error;
    if (call_is_connected(call)) {
        queued = call_send(call, iov, count);
        return queued < 0 ? call_write_failed(call, (int)queued) : queued;
    }
    for (int i = 0; i < count; i++) {
        int err = buf_add(&call->unsent, iov[i].iov_base, iov[i].iov_len);

        if (err)
            return call_write_failed(call, err);
    }
    return (ssize_t)buf_len(&call->unsent);
}

static size_t iov_total(const struct iovec *iov, int count)
{
    size_t total = 0;

    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    return total;
}

/* Frames the bytes around the caller's pieces, so that none of them is copied. */
static ssize_t call_put_chunk(struct call *call, const struct iovec *iov, int count)
{
    struct iovec framed[CHUNK_IOV_MAX + 2];
    char line[H1_CHUNK_LINE_MAX];
    size_t len = iov_total(iov, count);

    framed[0] = (struct iovec){line, h1_chunk_line(line, len)};
    memcpy(&framed[1], iov, (size_t)count * sizeof(*iov));
    framed[count + 1] = (struct iovec){iov_base("\r\n"), 2};
    return call_put(call, framed, count + 2);
}

ssize_t call_write(struct call *call, const struct iovec *iov, int count)
{
    size_t len = iov_total(iov, count);
    ssize_t queued = 0;

    ASSERT_MAGIC(call, CALL_MAGIC);
    ASSERT(call->state != CALL_OVER && !call->is_finished);
    if (len == 0)
        return call->conn && call_is_connected(call) ? (ssize_t)io_queued(call->conn->io)
                                                     : (ssize_t)buf_len(&call->unsent);
    if (call->framing == HTTP_BODY_LENGTH) {
        ASSERT(len <= call->body_left);
        call->body_left -= len;
    }
    if (call->framing != HTTP_BODY_CHUNKED)
        return call_put(call, iov, count);
    for (int done = 0, part; done < count && queued >= 0; done += part) {
        part = count - done < CHUNK_IOV_MAX ? count - done : CHUNK_IOV_MAX;
        if (iov_total(iov + done, part) > 0)
            queued = call_put_chunk(call, iov + done, part);
    }
    return queued;
}

static void call_put_last_chunk(struct call *call, const struct http_head *trailers)
{
    struct buf last;
    int err;

    buf_init(&last, 0);
    err = h1_write_last_chunk(&last, trailers);
    if (err) {
        call_write_failed(call, err);
    } else {
        struct str bytes = buf_str(&last);
        struct iovec iov = {iov_base(bytes.ptr), bytes.len};

        call_put(call, &iov, 1);
    }
    buf_free(&last);
}

void call_finish(struct call *call, const struct http_head *trailers)
{
    ASSERT_MAGIC(call, CALL_MAGIC);
    ASSERT(call->state != CALL_OVER);
    if (call->is_finished)
        return;
    ASSERT(call->framing != HTTP_BODY_LENGTH || call->body_left == 0);
    call->is_finished = true;
    if (call->framing == HTTP_BODY_CHUNKED)
        call_put_last_chunk(call, trailers);
    if (call->framing != HTTP_BODY_TUNNEL)
        return;
    io_shutdown(call->conn->io);
    if (call->peer_finished)
        loop_defer(call->client->loop, &call->step);
}

void call_read(struct call *call)
{
    ASSERT_MAGIC(call, CALL_MAGIC);
    ASSERT(call->state != CALL_OVER);
    call->wants_body = true;
    if (!call->is_busy)
        call_ask(call);
}

void call_cancel(struct call *call)
{
    ASSERT_MAGIC(call, CALL_MAGIC);
    if (call->state != CALL_OVER)
        conn_close(call_detach(call));
    if (!call->is_busy)
        call_free(call);
}

bool call_has_sent(const struct call *call)
{
    return call->has_sent;
}

bool call_is_reused(const struct call *call)
{
    return call->is_reused;
}

/* ---- The client ---- */

struct client *client_new(struct loop *loop, const struct client_config *config)
{
    struct client *client = mem_zalloc(sizeof(*client));

    if (!client)
        return NULL;
    client->loop = loop;
    client->config = *config;
    list_init(&client->calls);
    conn_pool_init(&client->pool, loop, &client->config);
    return client;
}

void client_configure(struct client *client, const struct client_config *config)
{
    client->config = *config;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    while (!list_is_empty(&client->calls))
        call_cancel(CONTAINER_OF(client->calls.next, struct call, node));
    conn_pool_free(&client->pool);
    mem_free(client);
}

void client_stats(const struct client *client, struct client_stats *ret)
{
    *ret = client->stats;
    ret->idle = client->pool.idle_count;
}

/* Calls: one request and its answer over a connection of client_pool.h.
 *
 * A call is started, and what was kept for want of credit is read on, in a deferred step at the end
 * of the loop's turn: so no call-back ever comes from inside a function of this interface, and body
 * bytes written in the same turn leave together with the head.
 */
#include "http/client.h"

#include "base/assert.h"
#include "base/sys.h"
#include "http/client_pool.h"

#include <errno.h>
#include <stdio.h>

enum {
    CALL_MAGIC = 0x63616c6c,
    INFORMS_MAX = 100, /* 1xx heads before the final one */
    CHUNK_IOV_MAX = 16,
    TUNNEL_LINGER_MS = 5000,
    SAVED_MAX = 64 << 10, /* bytes read from a broken connection */
    SAVED_PIECE = 8 << 10,
    ERROR_TEXT_MAX = 256 + ADDR_TEXT_MAX
};

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

/* ---- Ends ---- */

static void call_free(struct call *call)
{
    buf_free(&call->unsent);
    buf_free(&call->unread);
    call->magic = 0;
    mem_free(call);
}

/* Takes the call out of the client; the connection is the caller's now. */
static struct conn *call_detach(struct call *call)
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

static void call_fail(struct call *call, enum call_error error, const char *text)
{
    call->client->stats.failures++;
    conn_close(call_detach(call));
    call->handler->on_error(call->arg, error, text);
}

/* The connection has failed: what that means depends on how far we were. */
static void call_fail_broken(struct call *call, const char *reason)
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

static void call_end_tunnel(struct call *call)
{
    conn_close_gently(call_detach(call), TUNNEL_LINGER_MS);
    call->handler->on_end(call->arg, NULL);
}

/* ---- Entries from the loop ---- */

static struct call *call_enter(void *arg)
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

/* Asks the socket, or goes on with what is there. */
static void call_ask(struct call *call)
{
    if (!call_may_read(call) || call->peer_finished)
        return;
    if (call->is_hungry && buf_len(&call->unread) == 0 && !call->broken)
        io_recv(call->conn->io);
    else
        loop_defer(call->client->loop, &call->step);
}

static void call_leave(struct call *call)
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

static void call_on_data(void *arg, struct str data)
{
    struct call *call = call_enter(arg);

    ASSERT(buf_len(&call->unread) == 0);
    call->got_answer = true;
    call_pump(call, &data);
    if (call->state != CALL_OVER && buf_add_str(&call->unread, data) < 0)
        call_fail(call, CALL_NO_MEMORY, "no memory for the answer");
    call_leave(call);
}

static void call_read_on(struct call *call)
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

static void call_on_eof(void *arg)
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

static void call_on_error(void *arg, int error)
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

static void call_on_drained(void *arg)
{
    struct call *call = call_enter(arg);

    if (!call->is_finished && call->handler->on_drained)
        call->handler->on_drained(call->arg);
    call_leave(call);
}

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

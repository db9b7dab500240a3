/* HTTP client: calls against a scripted upstream that lives on the same loop. A script says, per
 * accepted connection, which bytes to wait for, what to answer and how to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/sys.h"
#include "http/client.h"
#include "loop/io.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- The upstream ---- */

enum act { ACT_NONE, ACT_CLOSE, ACT_RESET, ACT_SHUTDOWN, ACT_DRAIN };

struct step {
    const char *expect; /* wait until these bytes are in what has come since the last step */
    const char *send;
    enum act act;
};

enum { CONNS_MAX = 8, STEPS_MAX = 8, GIVE_UP_MS = 60000 };

struct upstream_conn {
    struct world *world;
    struct io *io;
    const struct step *script;
    struct buf got;
    size_t total;
    bool has_eof;
    bool is_gone;
};

struct world {
    struct loop *loop;
    struct client *client;
    struct listener *listener;
    struct addr addr;
    struct step scripts[CONNS_MAX][STEPS_MAX];
    struct upstream_conn conns[CONNS_MAX];
    size_t accepted;
};

/* Allocations fail for the client only. */
static bool upstream_is_at_work;

static void conn_send(struct upstream_conn *conn, struct str data)
{
    struct iovec iov = {(void *)(uintptr_t)data.ptr, data.len};

    io_send(conn->io, &iov, 1);
}

static void conn_end(struct upstream_conn *conn, bool reset)
{
    io_close(TAKE_PTR(conn->io), reset);
    conn->is_gone = true;
}

/* Runs the steps whose bytes have come. */
static void conn_play(struct upstream_conn *conn)
{
    while (conn->io && conn->script->expect &&
           memmem(buf_str(&conn->got).ptr, buf_len(&conn->got), conn->script->expect,
                  strlen(conn->script->expect))) {
        const struct step *step = conn->script++;

        buf_clear(&conn->got);
        if (step->send)
            conn_send(conn, str_from(step->send));
        if (step->act == ACT_CLOSE || step->act == ACT_RESET)
            conn_end(conn, step->act == ACT_RESET);
        else if (step->act == ACT_SHUTDOWN)
            io_shutdown(conn->io);
    }
}

static void conn_on_data(void *arg, struct str data)
{
    struct upstream_conn *conn = arg;

    upstream_is_at_work = true;
    conn->total += data.len;
    if (conn->script->act == ACT_DRAIN && conn->total > data.len) {
        struct str tail = str_sub(data, data.len < 64 ? 0 : data.len - 64, 64);

        buf_clear(&conn->got);
        buf_add_str(&conn->got, tail);
    } else {
        buf_add_str(&conn->got, data);
    }
    conn_play(conn);
    if (conn->io)
        io_recv(conn->io);
    upstream_is_at_work = false;
}

static void conn_on_eof(void *arg)
{
    struct upstream_conn *conn = arg;

    conn->has_eof = true;
}

static void conn_on_error(void *arg, int error)
{
    (void)error;
    conn_end(arg, false);
}

static void on_nothing(void *arg)
{
    (void)arg;
}

static const struct io_handler upstream_handler = {
    .on_data = conn_on_data,
    .on_eof = conn_on_eof,
    .on_error = conn_on_error,
    .on_drained = on_nothing,
    .on_connected = on_nothing,
};

static void on_accept(void *arg, int fd, const struct addr *peer)
{
    struct world *w = arg;
    struct upstream_conn *conn = &w->conns[w->accepted];

    (void)peer;
    assert_true(w->accepted < CONNS_MAX);
    upstream_is_at_work = true;
    *conn = (struct upstream_conn){.world = w, .script = w->scripts[w->accepted++]};
    conn->io = io_new(w->loop, fd, &upstream_handler, conn);
    io_recv(conn->io);
    upstream_is_at_work = false;
}

/* ---- Running until something is true ---- */

static void world_on_due(void *arg)
{
    *(bool *)arg = true;
}

static void run_until(struct world *w, bool (*until)(void *arg), void *arg)
{
    bool is_late = false;
    struct timer give_up;

    timer_init(&give_up, w->loop, world_on_due, &is_late);
    timer_set(&give_up, GIVE_UP_MS);
    while (!until(arg) && !is_late)
        loop_turn(w->loop, true);
    timer_cancel(&give_up);
    assert_true(until(arg));
}

/* ---- Set-up ---- */

static void world_listen(struct world *w, const struct addr *addr)
{
    struct err err = {0};
    int fd = addr_listen(addr, 16, false, &err);
    /* over TCP smaller windows than a loopback segment crawl */
    int small = addr->any.sa_family == AF_UNIX ? 4096 : 65536;

    assert_true(fd >= 0);
    w->addr = *addr;
    if (addr->any.sa_family != AF_UNIX) {
        w->addr.len = sizeof(w->addr.space);
        assert_int_equal(getsockname(fd, &w->addr.any, &w->addr.len), 0);
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    w->listener = listener_new(w->loop, fd, on_accept, w);
    assert_non_null(w->listener);
}

static void world_open(struct world *w, const struct client_config *config, const char *address)
{
    struct addr addr;

    *w = (struct world){0};
    assert_int_equal(addr_parse(str_from(address), &addr, NULL), 0);
    w->loop = loop_new("test");
    w->client = client_new(w->loop, config);
    world_listen(w, &addr);
}

static void world_close(struct world *w)
{
    client_free(w->client);
    listener_free(w->listener);
    for (size_t i = 0; i < w->accepted; i++) {
        io_close(w->conns[i].io, false);
        buf_free(&w->conns[i].got);
    }
    for (int i = 0; i < 4; i++) /* what was closed gently sees its peer's end */
        loop_turn(w->loop, false);
    loop_free(w->loop);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    world_open(w, &client_config_default, "127.0.0.1:0");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

/* ---- A call that notes what happens to it ---- */

enum moment { AT_NEVER, AT_CONNECTED, AT_INFORM, AT_HEAD, AT_BODY, AT_DRAINED, AT_END, AT_ERROR };

struct probe {
    struct world *w;
    struct call *call;
    struct pool pool;
    struct http_head head;
    bool manual; /* the test gives credit */
    bool fresh;
    enum moment cancel_at;
    bool is_cancelled;
    unsigned connected, informs, drained, half_closed, bodies, wanted_bodies;
    unsigned status, inform_status;
    bool has_ended, has_failed, was_reused, had_sent;
    enum call_error error;
    char text[256];
    struct buf body;
    size_t body_len;
    char trailer[64];
    struct str upload; /* given piece by piece under back-pressure */
    size_t uploaded;
};

static bool probe_cancels(struct probe *p, enum moment moment)
{
    if (p->cancel_at != moment || p->is_cancelled)
        return false;
    p->is_cancelled = true;
    call_cancel(TAKE_PTR(p->call));
    return true;
}

static void write_str(struct call *call, struct str data)
{
    struct iovec iov = {(void *)(uintptr_t)data.ptr, data.len};

    call_write(call, &iov, 1);
}

enum { UPLOAD_PIECE = 30000, UPLOAD_QUEUE_MAX = 65536 };

static void probe_upload(struct probe *p)
{
    ssize_t queued = 0;

    while (p->uploaded < p->upload.len && queued >= 0 && queued < UPLOAD_QUEUE_MAX) {
        struct str piece = str_sub(p->upload, p->uploaded, UPLOAD_PIECE);
        struct iovec iov = {(void *)(uintptr_t)piece.ptr, piece.len};

        p->uploaded += piece.len;
        queued = call_write(p->call, &iov, 1);
        assert_true(queued <= UPLOAD_QUEUE_MAX + UPLOAD_PIECE + 64);
    }
    if (p->upload.len > 0 && p->uploaded == p->upload.len)
        call_finish(p->call, NULL);
}

static void on_connected(void *arg)
{
    struct probe *p = arg;

    p->connected++;
    p->was_reused = call_is_reused(p->call);
    if (!probe_cancels(p, AT_CONNECTED))
        probe_upload(p);
}

static void on_drained(void *arg)
{
    struct probe *p = arg;

    p->drained++;
    if (!probe_cancels(p, AT_DRAINED) && p->uploaded < p->upload.len)
        probe_upload(p);
}

static void on_inform(void *arg, const struct http_head *head)
{
    struct probe *p = arg;

    p->informs++;
    p->inform_status = head->status;
    probe_cancels(p, AT_INFORM);
}

static void on_head(void *arg, const struct http_head *head)
{
    struct probe *p = arg;

    p->status = head->status;
    if (!probe_cancels(p, AT_HEAD) && !p->manual)
        call_read(p->call);
}

static void on_body(void *arg, struct str data)
{
    struct probe *p = arg;

    p->bodies++;
    p->body_len += data.len;
    if (buf_len(&p->body) < 4096)
        buf_add_str(&p->body, data);
    if (!probe_cancels(p, AT_BODY) && !p->manual)
        call_read(p->call);
}

static void on_half_closed(void *arg)
{
    struct probe *p = arg;

    p->half_closed++;
}

static void probe_note_end(struct probe *p)
{
    assert_false(p->has_ended || p->has_failed || p->is_cancelled);
    p->had_sent = call_has_sent(p->call);
}

static void on_end(void *arg, const struct http_head *trailers)
{
    struct probe *p = arg;

    probe_note_end(p);
    p->has_ended = true;
    if (trailers && trailers->count > 0)
        snprintf(p->trailer, sizeof(p->trailer), "%.*s=%.*s", STR_ARG(trailers->fields[0].name),
                 STR_ARG(trailers->fields[0].value));
    if (!probe_cancels(p, AT_END))
        p->call = NULL;
}

static void on_error(void *arg, enum call_error error, const char *text)
{
    struct probe *p = arg;

    probe_note_end(p);
    p->has_failed = true;
    p->error = error;
    snprintf(p->text, sizeof(p->text), "%s", text);
    if (!probe_cancels(p, AT_ERROR))
        p->call = NULL;
}

static const struct call_handler probe_handler = {
    .on_connected = on_connected,
    .on_drained = on_drained,
    .on_inform = on_inform,
    .on_head = on_head,
    .on_body = on_body,
    .on_half_closed = on_half_closed,
    .on_end = on_end,
    .on_error = on_error,
};

static void probe_init(struct probe *p, struct world *w, const char *method)
{
    *p = (struct probe){.w = w};
    pool_init(&p->pool, 0);
    http_head_init(&p->head, &p->pool);
    p->head.method_text = str_from(method);
    p->head.method = http_method_parse(p->head.method_text);
    p->head.target = p->head.path = STR("/x");
    p->head.host = STR("fn");
    p->head.keep_alive = true;
}

static void probe_start(struct probe *p)
{
    p->call =
        call_start(p->w->client, &p->w->addr, &p->head, p->fresh, &p->pool, &probe_handler, p);
    assert_non_null(p->call);
    assert_int_equal(p->connected, 0);
}

static bool probe_is_done(void *arg)
{
    const struct probe *p = arg;

    return p->has_ended || p->has_failed || p->is_cancelled;
}

static bool probe_has_head(void *arg)
{
    return ((struct probe *)arg)->status > 0;
}

static void probe_free(struct probe *p)
{
    buf_free(&p->body);
    pool_free(&p->pool);
}

/* A whole call without a request body. */
static void probe_run(struct probe *p, struct world *w, const char *method)
{
    probe_init(p, w, method);
    probe_start(p);
    run_until(w, probe_is_done, p);
}

static struct client_stats stats_of(const struct world *w)
{
    struct client_stats stats;

    client_stats(w->client, &stats);
    return stats;
}

static void expect_body(const struct probe *p, const char *body)
{
    assert_true(p->has_ended);
    assert_true(str_eq(buf_str(&p->body), str_from(body)));
}

#define END_OF_HEAD "\r\n\r\n"
#define OK_HELLO    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

/* ---- Tests ---- */

static void check_reuse(struct world *w)
{
    struct probe first, second;

    w->scripts[0][0] = (struct step){END_OF_HEAD, OK_HELLO, ACT_NONE};
    w->scripts[0][1] = (struct step){END_OF_HEAD, OK_HELLO, ACT_NONE};
    probe_run(&first, w, "GET");
    expect_body(&first, "hello");
    assert_false(first.was_reused);
    assert_int_equal(stats_of(w).idle, 1);
    probe_run(&second, w, "GET");
    expect_body(&second, "hello");
    assert_true(second.was_reused);
    assert_true(second.had_sent);
    assert_int_equal(w->accepted, 1);
    assert_int_equal(stats_of(w).connects, 1);
    assert_int_equal(stats_of(w).reuses, 1);
    assert_int_equal(stats_of(w).active, 0);
    probe_free(&first);
    probe_free(&second);
}

static void a_connection_serves_one_call_after_the_other(void **state)
{
    check_reuse(*state);
}

/* A world whose upstream listens on a Unix socket. */
static void in_unix_world(void (*check)(struct world *w))
{
    char folder[] = "/tmp/test-client-XXXXXX", address[64];
    struct world w;

    assert_non_null(mkdtemp(folder));
    snprintf(address, sizeof(address), "unix:%s/s", folder);
    world_open(&w, &client_config_default, address);
    check(&w);
    world_close(&w);
    unlink(address + 5);
    assert_int_equal(rmdir(folder), 0);
}

static void unix_sockets_serve_as_well(void **state)
{
    (void)state;
    in_unix_world(check_reuse);
}

static void a_fresh_call_takes_no_idle_connection(void **state)
{
    struct world *w = *state;
    struct probe first, second;

    w->scripts[0][0] = w->scripts[1][0] = (struct step){END_OF_HEAD, OK_HELLO, ACT_NONE};
    probe_run(&first, w, "GET");
    probe_init(&second, w, "GET");
    second.fresh = true;
    probe_start(&second);
    run_until(w, probe_is_done, &second);
    assert_false(second.was_reused);
    assert_int_equal(w->accepted, 2);
    probe_free(&first);
    probe_free(&second);
}

static void a_reused_connection_that_dies_is_stale_a_new_one_reset(void **state)
{
    struct world *w = *state;
    struct probe first, second, third;

    w->scripts[0][0] = (struct step){END_OF_HEAD, OK_HELLO, ACT_NONE};
    w->scripts[0][1] = (struct step){END_OF_HEAD, NULL, ACT_CLOSE};
    w->scripts[1][0] = (struct step){END_OF_HEAD, NULL, ACT_RESET};
    probe_run(&first, w, "GET");
    probe_run(&second, w, "GET");
    assert_true(second.has_failed);
    assert_int_equal(second.error, CALL_STALE);
    probe_run(&third, w, "GET");
    assert_true(third.has_failed);
    assert_int_equal(third.error, CALL_RESET);
    assert_non_null(strstr(third.text, "127.0.0.1:"));
    assert_int_equal(stats_of(w).failures, 2);
    probe_free(&first);
    probe_free(&second);
    probe_free(&third);
}

static void check_failure(struct world *w, const char *answer, enum act act, enum call_error error)
{
    struct probe p;

    w->scripts[w->accepted][0] = (struct step){END_OF_HEAD, answer, act};
    probe_run(&p, w, "GET");
    assert_true(p.has_failed);
    assert_int_equal(p.error, error);
    assert_int_equal(stats_of(w).idle, 0);
    probe_free(&p);
}

static void an_answer_cut_short_is_truncated(void **state)
{
    struct world *w = *state;

    check_failure(w, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", ACT_SHUTDOWN,
                  CALL_TRUNCATED);
    check_failure(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                  ACT_SHUTDOWN, CALL_TRUNCATED);
    check_failure(w, "HTTP/1.1 200 OK\r\nContent-Le", ACT_SHUTDOWN, CALL_TRUNCATED);
    check_failure(w, "HTTP/1.1 103 Early Hints\r\n\r\n", ACT_SHUTDOWN, CALL_TRUNCATED);
}

static void garbage_is_a_protocol_error(void **state)
{
    struct world *w = *state;

    check_failure(w, "SSH-2.0-server\r\n\r\n", ACT_NONE, CALL_PROTOCOL);
    check_failure(w, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
                  ACT_NONE, CALL_PROTOCOL);
    check_failure(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", ACT_NONE,
                  CALL_PROTOCOL);
    check_failure(w,
                  "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: "
                  "websocket\r\n\r\n",
                  ACT_NONE, CALL_PROTOCOL);
}

static void surplus_bytes_end_the_connection(void **state)
{
    struct world *w = *state;
    struct probe p;

    w->scripts[0][0] = (struct step){END_OF_HEAD, OK_HELLO "HTTP/1.1 200 OK\r\n", ACT_NONE};
    probe_run(&p, w, "GET");
    expect_body(&p, "hello");
    assert_int_equal(stats_of(w).idle, 0);
    probe_free(&p);
}

static void check_not_kept(struct world *w, const char *answer, enum act act, const char *body)
{
    struct probe p;

    w->scripts[w->accepted][0] = (struct step){END_OF_HEAD, answer, act};
    probe_run(&p, w, "GET");
    expect_body(&p, body);
    assert_int_equal(stats_of(w).idle, 0);
    probe_free(&p);
}

static void an_answer_that_ends_the_connection_is_not_kept(void **state)
{
    struct world *w = *state;

    check_not_kept(w, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
                   ACT_NONE, "hi");
    check_not_kept(w, "HTTP/1.1 200 OK\r\n\r\nuntil the end", ACT_SHUTDOWN, "until the end");
    check_not_kept(w, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", ACT_NONE, "hi");
}

static void bodiless_answers_leave_the_connection_usable(void **state)
{
    struct world *w = *state;
    struct probe p;

    w->scripts[0][0] =
        (struct step){END_OF_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n", ACT_NONE};
    w->scripts[0][1] = (struct step){END_OF_HEAD, "HTTP/1.1 204 No Content\r\n\r\n", ACT_NONE};
    w->scripts[0][2] = (struct step){
        END_OF_HEAD, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ACT_NONE};
    w->scripts[0][3] = (struct step){END_OF_HEAD, OK_HELLO, ACT_NONE};
    probe_run(&p, w, "HEAD");
    expect_body(&p, "");
    probe_free(&p);
    for (unsigned status = 204; status <= 304; status += 100) {
        probe_run(&p, w, "GET");
        expect_body(&p, "");
        assert_int_equal(p.status, status);
        probe_free(&p);
    }
    probe_run(&p, w, "GET");
    expect_body(&p, "hello");
    assert_int_equal(w->accepted, 1);
    probe_free(&p);
}

static void interim_heads_come_before_the_final_one(void **state)
{
    struct world *w = *state;
    struct probe p;

    w->scripts[0][0] = (struct step){
        END_OF_HEAD,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK_HELLO,
        ACT_NONE};
    probe_run(&p, w, "GET");
    expect_body(&p, "hello");
    assert_int_equal(p.informs, 2);
    assert_int_equal(p.inform_status, 103);
    assert_int_equal(p.status, 200);
    assert_int_equal(stats_of(w).idle, 1);
    probe_free(&p);
}

#define SWITCHING                                                                                  \
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

static bool probe_is_half_closed(void *arg)
{
    return ((struct probe *)arg)->half_closed > 0;
}

static void probe_init_upgrade(struct probe *p, struct world *w)
{
    probe_init(p, w, "GET");
    p->head.upgrade = true;
}

static bool upstream_has_eof(void *arg)
{
    const struct world *w = arg;

    return w->conns[0].has_eof || w->conns[0].is_gone;
}

static void a_tunnel_carries_bytes_both_ways_and_half_closes(void **state)
{
    struct world *w = *state;
    struct probe p;

    w->scripts[0][0] = (struct step){END_OF_HEAD, SWITCHING "wel", ACT_NONE};
    w->scripts[0][1] = (struct step){"ping", "come", ACT_SHUTDOWN};
    probe_init_upgrade(&p, w);
    probe_start(&p);
    run_until(w, probe_has_head, &p);
    assert_int_equal(p.status, 101);
    write_str(p.call, STR("ping"));
    run_until(w, probe_is_half_closed, &p);
    assert_true(str_eq(buf_str(&p.body), STR("welcome")));
    assert_false(p.has_ended);
    write_str(p.call, STR("last words"));
    call_finish(p.call, NULL);
    run_until(w, probe_is_done, &p);
    assert_true(p.has_ended);
    run_until(w, upstream_has_eof, w);
    assert_true(str_eq(buf_str(&w->conns[0].got), STR("last words")));
    assert_int_equal(stats_of(w).idle, 0);
    probe_free(&p);
}

static void a_tunnel_can_be_finished_by_us_first(void **state)
{
    struct world *w = *state;
    struct probe p;

    w->scripts[0][0] = (struct step){END_OF_HEAD, SWITCHING, ACT_NONE};
    probe_init_upgrade(&p, w);
    probe_start(&p);
    run_until(w, probe_has_head, &p);
    write_str(p.call, STR("bye"));
    call_finish(p.call, NULL);
    run_until(w, upstream_has_eof, w);
    assert_false(p.has_ended);
    conn_send(&w->conns[0], STR("welcome"));
    io_shutdown(w->conns[0].io);
    run_until(w, probe_is_done, &p);
    expect_body(&p, "welcome");
    assert_int_equal(p.half_closed, 0);
    probe_free(&p);
}

static void a_refused_upgrade_is_an_ordinary_answer(void **state)
{
    struct world *w = *state;
    struct probe p;

    w->scripts[0][0] = (struct step){END_OF_HEAD, OK_HELLO, ACT_NONE};
    probe_init_upgrade(&p, w);
    probe_start(&p);
    run_until(w, probe_is_done, &p);
    expect_body(&p, "hello");
    probe_free(&p);
}

static void an_early_answer_spoils_a_connection_with_a_body_under_way(void **state)
{
    struct world *w = *state;
    struct probe p;

    w->scripts[0][0] = (struct step){END_OF_HEAD, OK_HELLO, ACT_NONE};
    w->scripts[1][0] = (struct step){"abc", OK_HELLO, ACT_NONE};
    for (int is_complete = 0; is_complete < 2; is_complete++) {
        probe_init(&p, w, "POST");
        p.head.framing = HTTP_BODY_LENGTH;
        p.head.length = is_complete ? 3 : 1000;
        probe_start(&p);
        write_str(p.call, STR("abc"));
        run_until(w, probe_is_done, &p);
        expect_body(&p, "hello");
        assert_int_equal(stats_of(w).idle, is_complete);
        probe_free(&p);
    }
}

static bool upstream_has_last_chunk(void *arg)
{
    const struct buf *got = &((struct world *)arg)->conns[0].got;

    return str_ends(buf_str(got), STR("y\r\n\r\n"));
}

static void chunks_are_framed_and_trailers_follow(void **state)
{
    static const char expected[] = "POST /x HTTP/1.1\r\nHost: fn\r\nTransfer-Encoding: chunked\r\n"
                                   "\r\n6\r\nabcdef\r\n14\r\n01234567890123456789\r\n1\r\n!\r\n"
                                   "0\r\nX-Sum: y\r\n\r\n";
    struct world *w = *state;
    struct iovec iov[20];
    struct probe p;
    struct http_head trailers;

    probe_init(&p, w, "POST");
    p.head.framing = HTTP_BODY_CHUNKED;
    probe_start(&p);
    iov[0] = (struct iovec){(void *)(uintptr_t) "abc", 3};
    iov[1] = (struct iovec){NULL, 0};
    iov[2] = (struct iovec){(void *)(uintptr_t) "def", 3};
    assert_true(call_write(p.call, iov, 3) > 0);
    assert_true(call_write(p.call, iov + 1, 1) > 0);
    write_str(p.call, STR("01234567890123456789"));
    write_str(p.call, STR("!"));
    http_head_init(&trailers, &p.pool);
    http_head_add(&trailers, STR("X-Sum"), STR("y"));
    call_finish(p.call, &trailers);
    run_until(w, upstream_has_last_chunk, w);
    assert_true(str_eq(buf_str(&w->conns[0].got), str_from(expected)));
    call_cancel(p.call);
    probe_free(&p);
}

static void trailers_of_the_answer_are_handed_out(void **state)
{
    struct world *w = *state;
    struct probe p;

    w->scripts[0][0] = (struct step){END_OF_HEAD,
                                     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                     "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n",
                                     ACT_NONE};
    probe_run(&p, w, "GET");
    expect_body(&p, "abcde");
    assert_string_equal(p.trailer, "X-Sum=7");
    assert_int_equal(stats_of(w).idle, 1);
    probe_free(&p);
}

static unsigned sends;

static ssize_t counting_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    sends++;
    return sendmsg(fd, msg, flags);
}

static void head_and_first_body_bytes_leave_in_one_send(void **state)
{
    struct world *w = *state;
    struct probe p;

    probe_init(&p, w, "POST");
    p.head.framing = HTTP_BODY_LENGTH;
    p.head.length = 3;
    probe_start(&p);
    write_str(p.call, STR("abc"));
    call_finish(p.call, NULL);
    sends = 0;
    sys.sendmsg = counting_sendmsg;
    w->scripts[0][0] = (struct step){"abc", OK_HELLO, ACT_NONE};
    run_until(w, probe_is_done, &p);
    sys_reset();
    expect_body(&p, "hello");
    assert_int_equal(sends, 2); /* one of them is the upstream's */
    probe_free(&p);
}

static void big_upload(struct world *w, enum http_framing framing)
{
    size_t len = 5 << 20;
    char *data = malloc(len);
    struct probe p;

    memset(data, 'u', len);
    memcpy(data + len - 3, "END", 3);
    w->scripts[w->accepted][0] = (struct step){"END", OK_HELLO, ACT_DRAIN};
    probe_init(&p, w, "POST");
    p.head.framing = framing;
    p.head.length = framing == HTTP_BODY_LENGTH ? len : 0;
    p.upload = str_make(data, len);
    p.fresh = true;
    probe_start(&p);
    run_until(w, probe_is_done, &p);
    expect_body(&p, "hello");
    assert_true(p.drained > 0);
    assert_true(w->conns[w->accepted - 1].total > len);
    probe_free(&p);
    free(data);
}

static bool nothing_is_idle(void *arg)
{
    return stats_of(arg).idle == 0;
}

static void an_answer_that_refuses_a_body_is_read_in_spite_of_the_reset(void **state)
{
    struct world *w = *state;
    size_t len = 4 << 20;
    char *data = malloc(len);
    struct probe p;

    memset(data, 'u', len);
    w->scripts[0][0] = (struct step){
        END_OF_HEAD, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno", ACT_RESET};
    probe_init(&p, w, "POST");
    p.head.framing = HTTP_BODY_LENGTH;
    p.head.length = len;
    p.upload = str_make(data, len);
    probe_start(&p);
    run_until(w, probe_is_done, &p);
    expect_body(&p, "no");
    assert_int_equal(p.status, 413);
    run_until(w, nothing_is_idle, w); /* the reset may show a moment later */
    probe_free(&p);
    free(data);
}

static void check_uploads(struct world *w)
{
    big_upload(w, HTTP_BODY_LENGTH);
    big_upload(w, HTTP_BODY_CHUNKED);
}

static void big_request_bodies_go_out_under_back_pressure(void **state)
{
    check_uploads(*state);
    in_unix_world(check_uploads);
}

static bool upstream_is_stuck(void *arg)
{
    const struct world *w = arg;

    return w->accepted > 0 && w->conns[0].io && w->conns[0].script->expect == NULL &&
           io_queued(w->conns[0].io) > 0;
}

static void check_big_answer(struct world *w)
{
    size_t len = 16 << 20;
    char *answer = malloc(len + 128);
    int head = sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
    struct probe p;

    memset(answer + head, 'd', len);
    answer[(size_t)head + len] = '\0';
    w->scripts[0][0] = (struct step){END_OF_HEAD, answer, ACT_NONE};
    probe_init(&p, w, "GET");
    p.manual = true;
    probe_start(&p);
    run_until(w, probe_has_head, &p);
    run_until(w, upstream_is_stuck, w);
    assert_int_equal(p.bodies, 0);
    p.manual = false;
    call_read(p.call);
    assert_int_equal(p.bodies, 0);
    run_until(w, probe_is_done, &p);
    assert_true(p.has_ended);
    assert_true(p.body_len == len);
    assert_int_equal(stats_of(w).idle, 1);
    probe_free(&p);
    free(answer);
}

static void big_answers_wait_for_credit(void **state)
{
    check_big_answer(*state);
    in_unix_world(check_big_answer);
}

static bool probe_has_wanted_bodies(void *arg)
{
    const struct probe *p = arg;

    return p->bodies >= p->wanted_bodies;
}

static void each_credit_gives_one_piece(void **state)
{
    struct world *w = *state;
    struct probe p;

    w->scripts[0][0] = (struct step){END_OF_HEAD,
                                     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                     "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n",
                                     ACT_NONE};
    probe_init(&p, w, "GET");
    p.manual = true;
    probe_start(&p);
    run_until(w, probe_has_head, &p);
    for (unsigned n = 1; n <= 3; n++) {
        call_read(p.call);
        assert_int_equal(p.bodies, n - 1);
        p.wanted_bodies = n;
        run_until(w, probe_has_wanted_bodies, &p);
        assert_int_equal(p.bodies, n);
        assert_false(p.has_ended);
    }
    call_read(p.call);
    run_until(w, probe_is_done, &p);
    expect_body(&p, "abc");
    probe_free(&p);
}

/* An address where nobody listens: bound, so that nobody else can, but closed to connections. */
static int refuse_address(struct addr *addr)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    addr->len = sizeof(addr->space);
    assert_int_equal(getsockname(fd, &addr->any, &addr->len), 0);
    return fd;
}

static void a_refused_connection_is_told_apart(void **state)
{
    struct world *w = *state;
    int fd = refuse_address(&w->addr);
    struct probe p;

    probe_run(&p, w, "GET");
    assert_true(p.has_failed);
    assert_int_equal(p.error, CALL_CONNECT_FAILED);
    assert_false(p.had_sent);
    assert_int_equal(p.connected, 0);
    close(fd);
    probe_free(&p);
}

static void connecting_takes_no_longer_than_its_limit(void **state)
{
    struct client_config config = client_config_default;
    struct world *w = *state;
    struct addr addr;
    int fd = refuse_address(&addr), fillers[2];
    struct probe p;

    /* A listener with a full queue leaves the next connection waiting. */
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < 2; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fillers[i], &addr.any, addr.len);
    }
    world_close(w);
    config.connect_timeout_ms = 20;
    world_open(w, &config, "127.0.0.1:0");
    w->addr = addr;
    probe_run(&p, w, "GET");
    assert_true(p.has_failed);
    assert_int_equal(p.error, CALL_CONNECT_FAILED);
    assert_false(p.had_sent);
    assert_non_null(strstr(p.text, "timeout"));
    close(fd);
    close(fillers[0]);
    close(fillers[1]);
    probe_free(&p);
}

static void the_oldest_idle_connection_goes_first(void **state)
{
    struct client_config config = client_config_default;
    struct world *w = *state;
    struct probe probes[3];

    world_close(w);
    config.idle_max = 2;
    world_open(w, &config, "127.0.0.1:0");
    for (int i = 0; i < 3; i++) {
        w->scripts[i][0] = (struct step){END_OF_HEAD, OK_HELLO, ACT_NONE};
        probe_init(&probes[i], w, "GET");
        probes[i].fresh = true;
        probe_start(&probes[i]);
        run_until(w, probe_is_done, &probes[i]);
    }
    run_until(w, upstream_has_eof, w);
    assert_int_equal(stats_of(w).idle, 2);
    assert_false(w->conns[1].has_eof || w->conns[2].has_eof);
    for (int i = 0; i < 3; i++)
        probe_free(&probes[i]);
}

static void an_idle_connection_is_closed_when_something_arrives(void **state)
{
    struct world *w = *state;
    struct probe p;

    for (int i = 0; i < 2; i++) {
        w->scripts[i][0] = (struct step){END_OF_HEAD, OK_HELLO, ACT_NONE};
        probe_run(&p, w, "GET");
        assert_int_equal(stats_of(w).idle, 1);
        if (i == 0)
            conn_send(&w->conns[0], STR("x"));
        else
            io_shutdown(w->conns[1].io);
        run_until(w, nothing_is_idle, w);
        probe_free(&p);
    }
}

static void an_idle_connection_has_its_time(void **state)
{
    struct client_config config = client_config_default;
    struct world *w = *state;
    struct probe p;

    world_close(w);
    config.idle_ms = 10;
    world_open(w, &config, "127.0.0.1:0");
    w->scripts[0][0] = (struct step){END_OF_HEAD, OK_HELLO, ACT_NONE};
    probe_run(&p, w, "GET");
    run_until(w, nothing_is_idle, w);
    run_until(w, upstream_has_eof, w);
    probe_free(&p);
}

static void a_call_can_be_cancelled_in_each_call_back(void **state)
{
    static const char answer[] = "HTTP/1.1 103 Early Hints\r\n\r\n" OK_HELLO;
    struct world *w = *state;
    struct probe p;

    for (enum moment at = AT_CONNECTED; at <= AT_ERROR; at++) {
        size_t n = w->accepted;

        w->scripts[n][0] = (struct step){at == AT_DRAINED ? "abc" : END_OF_HEAD,
                                         at == AT_ERROR ? "garbage\r\n\r\n" : answer, ACT_NONE};
        probe_init(&p, w, "POST");
        p.head.framing = HTTP_BODY_CHUNKED;
        p.cancel_at = at;
        p.fresh = true;
        probe_start(&p);
        write_str(p.call, STR("abc"));
        if (at != AT_DRAINED)
            call_finish(p.call, NULL);
        run_until(w, probe_is_done, &p);
        assert_true(p.is_cancelled);
        assert_int_equal(p.has_ended, at == AT_END);
        assert_int_equal(p.has_failed, at == AT_ERROR);
        assert_int_equal(stats_of(w).active, 0);
        assert_int_equal(stats_of(w).idle, at >= AT_END);
        probe_free(&p);
    }
}

static void a_call_can_be_cancelled_before_it_begins(void **state)
{
    struct world *w = *state;
    struct probe p;

    probe_init(&p, w, "GET");
    probe_start(&p);
    call_cancel(p.call);
    assert_int_equal(stats_of(w).active, 0);
    run_until(w, nothing_is_idle, w);
    assert_int_equal(w->accepted, 0);
    probe_free(&p);
}

static bool upstream_was_asked(void *arg)
{
    const struct world *w = arg;

    return w->accepted > 0 && w->conns[0].total > 0;
}

static void freeing_the_client_cancels_its_calls(void **state)
{
    struct world *w = *state;
    struct probe p;

    probe_init(&p, w, "GET");
    probe_start(&p);
    run_until(w, upstream_was_asked, w);
    client_free(TAKE_PTR(w->client));
    run_until(w, upstream_has_eof, w);
    assert_false(p.has_ended || p.has_failed);
    probe_free(&p);
}

static int allocations_left;

static void *failing_realloc(void *ptr, size_t size)
{
    if (!upstream_is_at_work && allocations_left-- == 0)
        return NULL;
    return realloc(ptr, size);
}

/* True when everything was allocated. */
static bool run_short_of_memory(struct world *w, int allocations)
{
    struct probe p;
    bool is_whole;

    w->scripts[0][0] = (struct step){"0\r\n\r\n",
                                     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                     "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n",
                                     ACT_NONE};
    probe_init(&p, w, "POST");
    p.head.framing = HTTP_BODY_CHUNKED;
    buf_reserve(&p.body, 16);
    allocations_left = allocations;
    sys.realloc = failing_realloc;
    p.call = call_start(w->client, &w->addr, &p.head, false, &p.pool, &probe_handler, &p);
    if (p.call) {
        write_str(p.call, STR("body"));
        call_finish(p.call, NULL);
        run_until(w, probe_is_done, &p);
    }
    sys_reset();
    is_whole = allocations_left > 0;
    if (is_whole)
        expect_body(&p, "abcde");
    assert_int_equal(stats_of(w).active, 0);
    probe_free(&p);
    return is_whole;
}

static void a_call_survives_any_failing_allocation(void **state)
{
    bool is_whole = false;

    for (int allocations = 0; !is_whole; allocations++) {
        struct world *w = *state;

        world_close(w);
        world_open(w, &client_config_default, "127.0.0.1:0");
        is_whole = run_short_of_memory(w, allocations);
        assert_true(allocations < 100);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_connection_serves_one_call_after_the_other),
        cmocka_unit_test(unix_sockets_serve_as_well),
        TEST(a_fresh_call_takes_no_idle_connection),
        TEST(a_reused_connection_that_dies_is_stale_a_new_one_reset),
        TEST(an_answer_cut_short_is_truncated),
        TEST(garbage_is_a_protocol_error),
        TEST(surplus_bytes_end_the_connection),
        TEST(an_answer_that_ends_the_connection_is_not_kept),
        TEST(bodiless_answers_leave_the_connection_usable),
        TEST(interim_heads_come_before_the_final_one),
        TEST(a_tunnel_carries_bytes_both_ways_and_half_closes),
        TEST(a_tunnel_can_be_finished_by_us_first),
        TEST(a_refused_upgrade_is_an_ordinary_answer),
        TEST(an_early_answer_spoils_a_connection_with_a_body_under_way),
        TEST(chunks_are_framed_and_trailers_follow),
        TEST(trailers_of_the_answer_are_handed_out),
        TEST(head_and_first_body_bytes_leave_in_one_send),
        TEST(big_request_bodies_go_out_under_back_pressure),
        TEST(an_answer_that_refuses_a_body_is_read_in_spite_of_the_reset),
        TEST(big_answers_wait_for_credit),
        TEST(each_credit_gives_one_piece),
        TEST(a_refused_connection_is_told_apart),
        TEST(connecting_takes_no_longer_than_its_limit),
        TEST(the_oldest_idle_connection_goes_first),
        TEST(an_idle_connection_is_closed_when_something_arrives),
        TEST(an_idle_connection_has_its_time),
        TEST(a_call_can_be_cancelled_in_each_call_back),
        TEST(a_call_can_be_cancelled_before_it_begins),
        TEST(freeing_the_client_cancels_its_calls),
        TEST(a_call_survives_any_failing_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

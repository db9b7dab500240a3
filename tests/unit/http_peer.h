/* A server on a loop of its own thread with a handler that does what the path says, and a blocking
 * client to talk to it byte by byte. */
#ifndef TESTS_HTTP_PEER_H
#define TESTS_HTTP_PEER_H

#include "base/buf.h"
#include "base/sys.h"
#include "http/server.h"
#include "loop/addr.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PEER_WAIT_MS = 20000,
    PEER_BIG = 32 << 20 /* more than the kernel buffers for a socket */,
    PEER_ENDS_MAX = 64
};

struct peer {
    struct loop *loop;
    struct server *server;
    struct server_config config;
    struct addr addr;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum stream_end ends[PEER_ENDS_MAX]; /* on_done, in order */
    unsigned ended, started;
    bool is_drained;
};

/* ---- The handler ---- */

struct peer_call {
    struct peer *peer;
    struct stream *s;
    struct buf body;
    size_t big_left;
    struct loop_defer later; /* "/later" asks and answers from outside of call-backs */
    bool is_complete;
};

static inline bool peer_path_is(const struct peer_call *call, const char *path)
{
    return str_eq(call->s->request.path, str_from(path));
}

static inline void peer_start(struct peer_call *call, unsigned status, enum http_framing framing,
                              uint64_t length)
{
    struct http_head head;

    http_head_init(&head, &call->s->pool);
    head.status = status;
    head.framing = framing;
    head.length = length;
    stream_respond(call->s, &head);
}

static inline void peer_write_big(struct peer_call *call)
{
    static const char block[65536];

    while (call->big_left > 0) {
        ssize_t queued = stream_write(call->s, str_make(block, sizeof(block)));

        if (queued < 0)
            return;
        call->big_left -= sizeof(block);
        if (queued > 0)
            break;
    }
    if (call->big_left == 0)
        stream_finish(call->s, NULL);
}

static inline void peer_on_body(void *arg, struct str data)
{
    struct peer_call *call = arg;

    if (peer_path_is(call, "/tunnel") || peer_path_is(call, "/stream"))
        stream_write(call->s, data);
    else
        buf_add_str(&call->body, data);
    if (peer_path_is(call, "/later"))
        loop_defer(call->s->loop, &call->later);
    else
        stream_read(call->s);
}

static inline void peer_on_later(struct loop_defer *defer)
{
    struct peer_call *call = CONTAINER_OF(defer, struct peer_call, later);

    if (call->is_complete)
        stream_reply(call->s, 200, NULL, STR("text/plain"), buf_str(&call->body));
    else
        stream_read(call->s);
}

static inline void peer_on_body_end(void *arg, const struct http_head *trailers)
{
    struct peer_call *call = arg;

    if (peer_path_is(call, "/tunnel") || peer_path_is(call, "/stream"))
        stream_finish(call->s, trailers);
    else if ((call->is_complete = true) && peer_path_is(call, "/later"))
        loop_defer(call->s->loop, &call->later);
    else
        stream_reply(call->s, 200, NULL, STR("text/plain"), buf_str(&call->body));
}

static inline void peer_on_drained(void *arg)
{
    struct peer_call *call = arg;

    if (peer_path_is(call, "/big"))
        peer_write_big(call);
}

static inline void peer_on_done(void *arg, enum stream_end end)
{
    struct peer_call *call = arg;
    struct peer *peer = call->peer;

    pthread_mutex_lock(&peer->lock);
    peer->ends[peer->ended++ % PEER_ENDS_MAX] = end;
    pthread_cond_broadcast(&peer->changed);
    pthread_mutex_unlock(&peer->lock);
    loop_undefer(&call->later);
    buf_free(&call->body);
    free(call);
}

static const struct stream_handler peer_handler = {peer_on_body, peer_on_body_end, peer_on_drained,
                                                   peer_on_done};

static inline void peer_inform(struct peer_call *call)
{
    struct http_head head;

    http_head_init(&head, &call->s->pool);
    head.status = 103;
    http_head_add(&head, STR("Link"), STR("</a>"));
    stream_inform(call->s, &head);
}

/* More pieces than one send takes. */
static inline void peer_write_pieces(struct peer_call *call)
{
    char byte = 'x';
    struct iovec iov[100];

    for (int i = 0; i < 100; i++)
        iov[i] = (struct iovec){&byte, 1};
    peer_start(call, 200, HTTP_BODY_LENGTH, 100);
    stream_writev(call->s, iov, 100);
    stream_finish(call->s, NULL);
}

/* Everything is queued at once, and finished while it still is. */
static inline void peer_write_heap(struct peer_call *call)
{
    char *heap = calloc(1, PEER_BIG);

    peer_start(call, 200, HTTP_BODY_LENGTH, PEER_BIG);
    stream_write(call->s, str_make(heap, PEER_BIG));
    stream_finish(call->s, NULL);
    free(heap);
}

static inline void peer_answer(struct peer_call *call)
{
    if (peer_path_is(call, "/hold"))
        return;
    if (peer_path_is(call, "/early")) {
        stream_reply(call->s, 200, NULL, STR_NONE, STR("early"));
    } else if (peer_path_is(call, "/inform")) {
        peer_inform(call);
        stream_reply(call->s, 200, NULL, STR_NONE, STR("a"));
    } else if (peer_path_is(call, "/204") || peer_path_is(call, "/304")) {
        stream_reply(call->s, peer_path_is(call, "/204") ? 204 : 304, NULL, STR_NONE, STR("x"));
    } else if (peer_path_is(call, "/stream")) {
        peer_start(call, 200, HTTP_BODY_CHUNKED, 0);
        stream_read(call->s);
    } else if (peer_path_is(call, "/tunnel")) {
        peer_start(call, 101, HTTP_BODY_TUNNEL, 0);
        stream_read(call->s);
    } else if (peer_path_is(call, "/big")) {
        peer_start(call, 200, HTTP_BODY_LENGTH, PEER_BIG);
        call->big_left = PEER_BIG;
        peer_write_big(call);
    } else if (peer_path_is(call, "/later")) {
        loop_defer(call->s->loop, &call->later);
    } else if (peer_path_is(call, "/pieces")) {
        peer_write_pieces(call);
    } else if (peer_path_is(call, "/heap")) {
        peer_write_heap(call);
    } else if (peer_path_is(call, "/long")) {
        peer_start(call, 200, HTTP_BODY_LENGTH, 2);
        stream_write(call->s, STR("abc"));
    } else if (peer_path_is(call, "/short") || peer_path_is(call, "/cut")) {
        peer_start(call, 200, HTTP_BODY_LENGTH, 10);
        stream_write(call->s, STR("abc"));
        if (peer_path_is(call, "/cut"))
            stream_abort(call->s);
        else
            stream_finish(call->s, NULL);
    } else {
        stream_read(call->s);
    }
}

static inline void peer_on_request(void *arg, struct stream *s)
{
    struct peer_call *call = calloc(1, sizeof(*call));
    struct peer *peer = arg;

    call->peer = peer;
    call->s = s;
    buf_init(&call->body, 0);
    loop_defer_init(&call->later, peer_on_later);
    stream_accept(s, &peer_handler, call);
    pthread_mutex_lock(&peer->lock);
    peer->started++;
    pthread_cond_broadcast(&peer->changed);
    pthread_mutex_unlock(&peer->lock);
    peer_answer(call);
}

/* ---- Life ---- */

/* Runs `act` on the loop's thread and waits for it. */
struct peer_task {
    struct loop_msg msg;
    struct peer *peer;
    void (*act)(struct peer *peer);
    bool is_done;
};

static inline void peer_run_task(struct loop_msg *msg)
{
    struct peer_task *task = CONTAINER_OF(msg, struct peer_task, msg);

    task->act(task->peer);
    pthread_mutex_lock(&task->peer->lock);
    task->is_done = true;
    pthread_cond_broadcast(&task->peer->changed);
    pthread_mutex_unlock(&task->peer->lock);
}

static inline void peer_act(struct peer *peer, void (*act)(struct peer *peer))
{
    struct peer_task task = {.msg = {.run = peer_run_task}, .peer = peer, .act = act};

    loop_post(peer->loop, &task.msg);
    pthread_mutex_lock(&peer->lock);
    while (!task.is_done)
        pthread_cond_wait(&peer->changed, &peer->lock);
    pthread_mutex_unlock(&peer->lock);
}

static inline void peer_start_server(struct peer *peer, const struct server_config *config)
{
    struct addr any;
    int fd;

    *peer = (struct peer){.config = *config};
    pthread_mutex_init(&peer->lock, NULL);
    pthread_cond_init(&peer->changed, NULL);
    peer->loop = loop_new("test");
    peer->server = server_new(peer->loop, &peer->config, peer_on_request, peer);
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &any, NULL), 0);
    fd = addr_listen(&any, 64, false, NULL);
    assert_true(fd >= 0);
    peer->addr.len = sizeof(peer->addr.space);
    getsockname(fd, &peer->addr.any, &peer->addr.len);
    assert_int_equal(server_listen(peer->server, fd), 0);
    assert_int_equal(loop_spawn(peer->loop), 0);
}

static inline void peer_free_server(struct peer *peer)
{
    server_free(peer->server);
    peer->server = NULL;
}

static inline void peer_nothing(struct peer *peer)
{
    (void)peer;
}

static inline void peer_stop(struct peer *peer)
{
    if (peer->server)
        peer_act(peer, peer_free_server);
    /* a whole turn, in which sockets that are closing gently see that the client has gone */
    peer_act(peer, peer_nothing);
    peer_act(peer, peer_nothing);
    loop_stop(peer->loop);
    loop_join(peer->loop);
    loop_free(peer->loop);
    pthread_mutex_destroy(&peer->lock);
    pthread_cond_destroy(&peer->changed);
}

/* Waits for the n-th on_done, counted from 1. */
static inline enum stream_end peer_wait_end(struct peer *peer, unsigned n)
{
    enum stream_end end;

    pthread_mutex_lock(&peer->lock);
    while (peer->ended < n)
        pthread_cond_wait(&peer->changed, &peer->lock);
    end = peer->ends[n - 1];
    pthread_mutex_unlock(&peer->lock);
    return end;
}

static inline void peer_wait_started(struct peer *peer, unsigned n)
{
    pthread_mutex_lock(&peer->lock);
    while (peer->started < n)
        pthread_cond_wait(&peer->changed, &peer->lock);
    pthread_mutex_unlock(&peer->lock);
}

static inline unsigned peer_started(struct peer *peer)
{
    unsigned started;

    pthread_mutex_lock(&peer->lock);
    started = peer->started;
    pthread_mutex_unlock(&peer->lock);
    return started;
}

static inline unsigned peer_ended(struct peer *peer)
{
    unsigned ended;

    pthread_mutex_lock(&peer->lock);
    ended = peer->ended;
    pthread_mutex_unlock(&peer->lock);
    return ended;
}

static inline bool peer_is_drained(struct peer *peer)
{
    bool is_drained;

    pthread_mutex_lock(&peer->lock);
    is_drained = peer->is_drained;
    pthread_mutex_unlock(&peer->lock);
    return is_drained;
}

/* ---- The client ---- */

static inline int peer_connect(const struct peer *peer)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), space = 65536;

    /* a fixed buffer, or the kernel would take a large answer for a client that does not read */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &space, sizeof(space));
    assert_int_equal(connect(fd, &peer->addr.any, peer->addr.len), 0);
    return fd;
}

static inline void peer_send(int fd, struct str data)
{
    while (data.len > 0) {
        ssize_t n = send(fd, data.ptr, data.len, MSG_NOSIGNAL);

        assert_true(n > 0);
        data = str_sub(data, (size_t)n, data.len);
    }
}

/* One read: bytes, 0 at the end, -1 when the peer has reset. */
static inline ssize_t peer_read(int fd, char *buf, size_t len)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&ready, 1, PEER_WAIT_MS), 1);
    return recv(fd, buf, len, 0);
}

/* Without the Date lines, whose content changes. */
static inline void strip_dates(char *text)
{
    char *date, *end;

    while ((date = strstr(text, "Date: ")) && (end = strchr(date, '\n')))
        memmove(date, end + 1, strlen(end + 1) + 1);
}

/* True while the last line may be the beginning of a Date line. */
static inline bool is_in_date(const char *text)
{
    const char *line = strrchr(text, '\n');
    size_t len = line ? strlen(line + 1) : 0;

    return len > 0 && strncmp(line + 1, "Date: ", len < 6 ? len : 6) == 0;
}

/* Reads until the text without Date lines is as long as `want`, and compares. */
static inline void peer_expect(int fd, const char *want)
{
    char text[8192] = "", piece[8192];
    size_t raw = 0;
    ssize_t n = 1;

    while (n > 0) {
        memcpy(piece, text, raw + 1);
        strip_dates(piece);
        if (strlen(piece) >= strlen(want) && !is_in_date(piece))
            break;
        n = peer_read(fd, text + raw, 1);
        raw += n > 0 ? (size_t)n : 0;
        text[raw] = '\0';
    }
    strip_dates(text);
    assert_string_equal(text, want);
}

/* Sends, and reads what comes until it ends with `tail`: true; false when the connection ends or
 * resets before, at whatever point. */
static inline bool peer_try(int fd, struct str data, const char *tail)
{
    char text[8192];
    size_t len = 0, want = strlen(tail);
    ssize_t n = send(fd, data.ptr, data.len, MSG_NOSIGNAL);

    while (n > 0 && len < sizeof(text)) {
        n = peer_read(fd, text + len, 1);
        len += n > 0 ? (size_t)n : 0;
        if (len >= want && memcmp(text + len - want, tail, want) == 0)
            return true;
    }
    return false;
}

/* The server has closed without another byte. */
static inline void peer_expect_end(int fd)
{
    char byte;

    assert_int_equal(peer_read(fd, &byte, 1), 0);
    close(fd);
}

/* The server has cut the connection: nothing more comes, by end or reset. */
static inline void peer_expect_cut(int fd)
{
    char byte;

    assert_true(peer_read(fd, &byte, 1) <= 0);
    close(fd);
}

#endif

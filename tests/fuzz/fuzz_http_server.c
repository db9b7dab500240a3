/* Any bytes as what a client sends to the server, over a socket pair: whole and octet by octet the
 * answers are the same, every stream ends exactly once, and nothing leaks. */
#include "oracle.h"

#include "base/buf.h"
#include "http/server_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { QUIET_TURNS = 6, OCTETWISE_MAX = 1024 };

struct side {
    struct loop *loop;
    struct server *server;
    int fd; /* the client's end */
    struct buf answers;
    unsigned started, ended;
};

struct call {
    struct side *side;
    struct stream *s;
    struct buf body;
    bool is_tunnel;
};

/* ---- The handler: POST and PUT echo, OPTIONS
 * gives up, an upgrade echoes; the rest is answered at once, read or not. ---- */

static void on_body(void *arg, struct str data)
{
    struct call *call = arg;

    if (call->is_tunnel)
        stream_write(call->s, data);
    else
        buf_add_str(&call->body, data);
    stream_read(call->s);
}

static void on_body_end(void *arg, const struct http_head *trailers)
{
    struct call *call = arg;

    (void)trailers;
    if (call->is_tunnel)
        stream_finish(call->s, NULL);
    else
        stream_reply(call->s, 200, NULL, STR_NONE, buf_str(&call->body));
}

static void on_drained(void *arg)
{
    (void)arg;
}

static void on_done(void *arg, enum stream_end end)
{
    struct call *call = arg;

    (void)end;
    call->side->ended++;
    buf_free(&call->body);
    free(call);
}

static void start_tunnel(struct call *call)
{
    struct http_head head;

    http_head_init(&head, &call->s->pool);
    head.status = 101;
    head.framing = HTTP_BODY_TUNNEL;
    call->is_tunnel = true;
    stream_respond(call->s, &head);
    stream_read(call->s);
}

static void on_request(void *arg, struct stream *s)
{
    static const struct stream_handler handler = {on_body, on_body_end, on_drained, on_done};
    struct call *call = calloc(1, sizeof(*call));

    call->side = arg;
    call->s = s;
    call->side->started++;
    buf_init(&call->body, 0);
    stream_accept(s, &handler, call);
    if (s->request.upgrade)
        start_tunnel(call);
    else if (s->request.method == HTTP_POST || s->request.method == HTTP_PUT)
        stream_read(s);
    else if (s->request.method == HTTP_OPTIONS)
        stream_abort(s);
    else
        stream_reply(s, s->request.method == HTTP_PATCH ? 204 : 200, NULL, STR_NONE,
                     s->request.path);
}

/* ---- The client ---- */

static void take_answers(struct side *side)
{
    char piece[4096];
    ssize_t n;

    while ((n = recv(side->fd, piece, sizeof(piece), MSG_DONTWAIT)) > 0)
        buf_add(&side->answers, piece, (size_t)n);
}

/* Turns until nothing more can happen; timers are far away. */
static void run_quiet(struct side *side)
{
    for (int i = 0; i < QUIET_TURNS; i++) {
        size_t before = buf_len(&side->answers);

        loop_turn(side->loop, false);
        take_answers(side);
        if (buf_len(&side->answers) != before)
            i = -1;
    }
}

static void give(struct side *side, struct str piece)
{
    while (piece.len > 0) {
        ssize_t n = send(side->fd, piece.ptr, piece.len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            return; /* the server has closed */
        piece = str_sub(piece, n > 0 ? (size_t)n : 0, piece.len);
        run_quiet(side);
        if (n < 0 && side->started == 0)
            return;
    }
}

/* Removes each line that begins with `start`, and the empty line after it for "100 Continue". */
static void strip(struct buf *text, struct str start, size_t extra)
{
    char *at = text->mem, *end;

    while (at && (at = memmem(at, (size_t)(text->mem + text->tail - at), start.ptr, start.len))) {
        end = memchr(at, '\n', (size_t)(text->mem + text->tail - at));
        if (!end || (size_t)(text->mem + text->tail - end) < 1 + extra)
            return;
        end += 1 + extra;
        memmove(at, end, (size_t)(text->mem + text->tail - end));
        text->tail -= (size_t)(end - at);
    }
}

static struct buf converse(struct str input, size_t step)
{
    struct side side = {.loop = loop_new("fuzz")};
    struct addr peer = {.len = sizeof(sa_family_t)};
    int fds[2];

    buf_init(&side.answers, 0);
    if (!side.loop || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) < 0)
        abort();
    side.fd = fds[1];
    side.server = server_new(side.loop, &server_config_default, on_request, &side);
    peer.any.sa_family = AF_UNIX;
    conn_new(side.server, fds[0], &peer);
    for (size_t at = 0; at < input.len; at += step)
        give(&side, str_sub(input, at, step));
    shutdown(side.fd, SHUT_WR);
    run_quiet(&side);
    close(side.fd);
    loop_turn(side.loop, false);
    loop_turn(side.loop, false);
    server_free(side.server);
    loop_turn(side.loop, false);
    loop_free(side.loop);
    if (side.started != side.ended)
        oracle_fail("a stream has not ended once", input, buf_str(&side.answers));
    strip(&side.answers, STR("Date: "), 0);
    strip(&side.answers, STR("HTTP/1.1 100 Continue"), 2);
    return side.answers;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct str input = str_make((const char *)bytes, len);
    struct buf whole = converse(input, len ? len : 1), cut;

    if (len <= OCTETWISE_MAX) {
        cut = converse(input, 1);
        if (!str_eq(buf_str(&whole), buf_str(&cut)))
            oracle_fail("the answers depend on how the input is cut", buf_str(&whole),
                        buf_str(&cut));
        buf_free(&cut);
    }
    buf_free(&whole);
    return 0;
}

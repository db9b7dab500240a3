/* What the functions of the proxy's tests do, by path, and a world that has them. */
#ifndef TEST_PROXY_FUNCTIONS_H
#define TEST_PROXY_FUNCTIONS_H

#include "unit/test_proxy_world.h"

enum { POUR_PIECES = 1024 }; /* of 64 KiB */

static inline bool is_path(const struct peer *peer, const char *path)
{
    const char *target = strchr(peer->head, ' ') + 1;
    size_t len = strlen(path);

    return strncmp(target, path, len) == 0 && strchr(" ?", target[len]);
}

static inline bool say_head_back(struct peer *peer)
{
    char head[128];

    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
             strlen(peer->head));
    return peer_say(peer, head) && peer_say(peer, peer->head);
}

static inline bool echo_body(struct peer *peer)
{
    char head[128], piece[16384];

    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", peer->length);
    if (!peer_say(peer, head))
        return false;
    for (size_t left = peer->length; left > 0;) {
        size_t n = peer_read(peer, piece, left < sizeof(piece) ? left : sizeof(piece));

        if (n == 0 || !peer_send(peer, piece, n))
            return false;
        left -= n;
    }
    return true;
}

/* 200 with "ok", after reading the body. */
static inline bool say_ok(struct peer *peer)
{
    char piece[4096];

    for (size_t left = peer->length; left > 0;) {
        size_t n = peer_read(peer, piece, left < sizeof(piece) ? left : sizeof(piece));

        if (n == 0)
            return false;
        left -= n;
    }
    return peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static inline bool say_and_close(struct peer *peer, const char *text)
{
    peer_say(peer, text);
    return false;
}

static inline bool refuse_early(struct peer *peer)
{
    peer_say(peer, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge");
    peer_wait_gone(peer);
    return false;
}

static inline bool tunnel(struct peer *peer)
{
    char piece[4096];
    size_t n;

    if (!strcasestr(peer->head, "\r\nupgrade: websocket") ||
        !strcasestr(peer->head, "\r\nconnection: upgrade"))
        return say_and_close(peer, "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n");
    peer_say(peer, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                   "Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello ");
    while ((n = peer_read(peer, piece, sizeof(piece))) > 0)
        peer_send(peer, piece, n);
    peer_say(peer, "bye");
    sem_post(&peer->upstream->gone);
    return false;
}

/* A tunnel whose function finishes first and then hears the client out. */
static inline bool bid_farewell(struct peer *peer)
{
    peer_say(peer, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                   "Upgrade: websocket\r\n\r\nfarewell");
    shutdown(peer->fd, SHUT_WR);
    while (!memmem(peer->buffer, peer->used, "so long", 7)) {
        if (!peer_more(peer))
            return false;
    }
    sem_post(&peer->upstream->gone);
    peer_wait_gone(peer);
    return false;
}

static inline bool stream_events(struct peer *peer)
{
    peer_say(peer, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n");
    wait_for(&peer->upstream->go);
    return peer_say(peer, "9\r\ndata: 2\n\n\r\n0\r\nX-Sum: 2\r\n\r\n");
}

/* Chunks as they come, without understanding them. */
static inline bool take_chunks(struct peer *peer)
{
    while (!strstr(peer->buffer, "0\r\nX-Check: 7\r\n\r\n")) {
        if (!peer_more(peer))
            return false;
    }
    return say_and_close(peer, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nchunks");
}

/* Reads nothing of the body before it is told to. */
static inline bool read_late(struct peer *peer)
{
    wait_for(&peer->upstream->go);
    return say_ok(peer);
}

static inline bool stay_silent(struct peer *peer)
{
    sem_post(&peer->upstream->go);
    peer_wait_gone(peer);
    sem_post(&peer->upstream->gone);
    return false;
}

/* Says "ok" to the first request of a connection and dies on the second, inside
 * its body. */
static inline bool die_when_reused(struct peer *peer)
{
    char piece[4096];
    size_t wanted = peer->length < 200000 ? peer->length : 200000;

    if (peer->nth == 0)
        return say_ok(peer);
    for (size_t got = 0, n; got < wanted; got += n) {
        n = peer_read(peer, piece, sizeof(piece));
        if (n == 0)
            break;
    }
    return false;
}

static inline bool pour(struct peer *peer)
{
    static char piece[1 << 16];

    memset(piece, 'z', sizeof(piece));
    peer_say(peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < POUR_PIECES; i++) {
        if (!peer_say(peer, "10000\r\n") || !peer_send(peer, piece, sizeof(piece)) ||
            !peer_say(peer, "\r\n"))
            return false;
    }
    return peer_say(peer, "0\r\n\r\n");
}

static inline bool script(struct peer *peer)
{
    static const struct {
        const char *path;
        bool (*run)(struct peer *peer);
    } scripts[] = {{"/echo", echo_body},        {"/ok", say_ok},
                   {"/early", refuse_early},    {"/tunnel", tunnel},
                   {"/farewell", bid_farewell}, {"/sse", stream_events},
                   {"/chunks", take_chunks},    {"/silent", stay_silent},
                   {"/once", die_when_reused},  {"/pour", pour},
                   {"/late", read_late}};
    static const struct {
        const char *path, *text;
    } texts[] = {
        {"/inform", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early "
                    "Hints\r\nLink: </a>\r\n\r\n"
                    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
        {"/cut-length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789"},
        {"/cut-chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"},
        {"/until-close", "HTTP/1.1 200 OK\r\n\r\nuntil the end"},
        {"/nonsense", "SSH-2.0-OpenSSH\r\n\r\n"},
        {"/die", ""},
        {"/empty", "HTTP/1.1 204 No Content\r\n\r\n"},
        {"/head", "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"},
        {"/redirect", "HTTP/1.1 302 Found\r\nLocation: "
                      "http://x/\r\nContent-Length: 0\r\n\r\n"},
    };

    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        if (is_path(peer, scripts[i].path))
            return scripts[i].run(peer);
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (is_path(peer, texts[i].path))
            return say_and_close(peer, texts[i].text);
    }
    return say_head_back(peer);
}

static inline int set_up(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    world_start(world, script);
    serve_at(world, &world->upstream.addr, ROUTE_READY, 0);
    *state = world;
    return 0;
}

static inline int tear_down(void **state)
{
    struct world *world = *state;

    world_stop(world);
    free(world);
    return 0;
}

static inline void check(struct answer answer, unsigned status, const char *part)
{
    if (answer.status != status || !strstr(answer.text, part))
        fail_msg("not %u with '%s':\n%s", status, part, answer.text);
    free(answer.text);
}

/* A fault's reply: status, name, and the marks that each carries. */
static inline void check_fault(struct answer answer, unsigned status, const char *name)
{
    assert_non_null(strcasestr(answer.text, "\r\nX-OpenFaaS-Internal: gateway\r\n"));
    assert_non_null(strcasestr(answer.text, "\r\nContent-Type: text/plain"));
    assert_non_null(strcasestr(answer.text, "\r\nX-Call-Id: "));
    assert_null(strstr(answer.text, "127.0.0.1"));
    assert_true(status != 503 || strcasestr(answer.text, "\r\nRetry-After: "));
    assert_ptr_equal(strstr(answer.body, name), answer.body);
    check(answer, status, name);
}

static inline void wait_record(struct world *world, const char *layer, const char *fault)
{
    wait_for(&world->recorded);
    assert_string_equal(world->layer, layer);
    assert_string_equal(world->fault, fault);
}

#endif

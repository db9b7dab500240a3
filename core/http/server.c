/* Listeners of a server, the life of its connections, and its end. */
#include "http/server.h"

#include "base/assert.h"
#include "base/sys.h"
#include "http/server_conn.h"
#include "http/tls.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

const struct server_config server_config_default = {
    .limits = HTTP_LIMITS_DEFAULT,
    .head_timeout_ms = 10000,
    .body_idle_ms = 30000,
    .keep_alive_ms = 75000,
    .requests_max = 10000,
    .connections_max = 10000,
};

#define FRESH_NS 1000000000

struct server_listener {
    struct list node;
    int fd; /* the listener's */
    struct listener *listener;
};

static void server_say_drained(struct loop_defer *defer)
{
    struct server *server = CONTAINER_OF(defer, struct server, drained_defer);

    if (server->on_drained)
        server->on_drained(server->drained_arg);
}

struct server *server_new(struct loop *loop, const struct server_config *config,
                          void (*on_request)(void *arg, struct stream *s), void *arg)
{
    struct server *server = mem_zalloc(sizeof(*server));

    if (!server)
        return NULL;
    server->loop = loop;
    server->config = *config;
    server->on_request = on_request;
    server->arg = arg;
    tls_context_ref(config->tls);
    buf_init(&server->gathered, 0);
    list_init(&server->listeners);
    list_init(&server->busy);
    list_init(&server->idle);
    loop_defer_init(&server->drained_defer, server_say_drained);
    return server;
}

static void server_pause(struct server *server, bool pause)
{
    if (server->is_paused == pause)
        return;
    server->is_paused = pause;
    LIST_FOR_EACH(node, &server->listeners)
    {
        struct server_listener *sl = CONTAINER_OF(node, struct server_listener, node);

        if (pause)
            listener_pause(sl->listener);
        else
            listener_resume(sl->listener);
    }
}

static bool server_is_full(const struct server *server)
{
    return server->stats.connections >= server->config.connections_max;
}

/* The connection that may go in favour of a new one: the oldest idle one. One that has just come
 * and not yet spoken is spared, or newcomers would push each other out before any is served. */
static struct conn *server_spare(struct server *server)
{
    struct conn *oldest = CONTAINER_OF(server->idle.next, struct conn, node);

    if (list_is_empty(&server->idle))
        return NULL;
    return oldest->requests > 0 || sys_monotonic_ns() - oldest->accepted_ns > FRESH_NS ? oldest
                                                                                       : NULL;
}

/* Accepting waits while there is no place for a newcomer. */
static void server_balance(struct server *server)
{
    if (!server->is_draining)
        server_pause(server, server_is_full(server) && !server_spare(server));
}

static void server_on_accept(void *arg, int fd, const struct addr *peer)
{
    struct server *server = arg;
    struct conn *conn = server_is_full(server) ? server_spare(server) : NULL;

    if (conn)
        conn_free(conn, STREAM_SHUTDOWN);
    if (server_is_full(server)) {
        server->stats.refused++;
        close(fd);
        return;
    }
    conn = conn_new(server, fd, peer);
    if (!conn) {
        server->stats.refused++;
        return;
    }
    server->stats.accepted++;
    server_balance(server);
}

int server_listen(struct server *server, int fd)
{
    struct server_listener *sl = mem_zalloc(sizeof(*sl));

    if (!sl)
        return -ENOMEM;
    sl->listener = listener_new(server->loop, fd, server_on_accept, server);
    if (!sl->listener) {
        mem_free(sl);
        return -ENOMEM;
    }
    sl->fd = fd;
    list_push(&server->listeners, &sl->node);
    if (server->is_paused)
        listener_pause(sl->listener);
    return 0;
}

void server_unlisten(struct server *server, int fd)
{
    LIST_FOR_EACH_SAFE(node, after, &server->listeners)
    {
        struct server_listener *sl = CONTAINER_OF(node, struct server_listener, node);

        if (sl->fd != fd)
            continue;
        list_remove(node);
        listener_free(sl->listener);
        mem_free(sl);
    }
}

void server_configure(struct server *server, const struct server_config *config)
{
    struct tls_context *tls = server->config.tls;

    server->config = *config;
    server->config.tls = tls;
    server_balance(server);
}

void server_set_tls(struct server *server, struct tls_context *tls)
{
    tls_context_ref(tls);
    tls_context_unref(server->config.tls);
    server->config.tls = tls;
}

/* ---- Connections come and go ---- */

void server_conn_idle(struct server *server, struct conn *conn)
{
    list_remove(&conn->node);
    list_push(&server->idle, &conn->node);
    server->stats.idle++;
    server_balance(server);
}

void server_conn_busy(struct server *server, struct conn *conn)
{
    list_remove(&conn->node);
    list_push(&server->busy, &conn->node);
    server->stats.idle--;
    server_balance(server);
}

void server_conn_gone(struct server *server, struct conn *conn)
{
    if (conn->phase == CONN_IDLE)
        server->stats.idle--;
    list_remove(&conn->node);
    server->stats.connections--;
    server_balance(server);
    if (server->is_draining && server->stats.connections == 0)
        loop_defer(server->loop, &server->drained_defer);
}

struct str server_date_line(struct server *server)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = (time_t)(sys_wall_ms() / 1000);
    struct tm tm;

    if (now != server->date_s) {
        gmtime_r(&now, &tm);
        server->date_len = (size_t)snprintf(
            server->date, sizeof(server->date), "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n",
            days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000,
            tm.tm_hour, tm.tm_min, tm.tm_sec);
        server->date_s = now;
    }
    return str_make(server->date, server->date_len);
}

/* ---- The end ---- */

static void server_close_listeners(struct server *server)
{
    struct list *node;

    while ((node = list_pop(&server->listeners))) {
        struct server_listener *sl = CONTAINER_OF(node, struct server_listener, node);

        listener_free(sl->listener);
        mem_free(sl);
    }
}

void server_drain(struct server *server, bool keep_listeners, void (*on_drained)(void *arg),
                  void *arg)
{
    server->is_draining = true;
    server->on_drained = on_drained;
    server->drained_arg = arg;
    if (keep_listeners) {
        server->is_paused = false;
        server_pause(server, true);
    } else {
        server_close_listeners(server);
    }
    LIST_FOR_EACH_SAFE(node, after, &server->idle)
    conn_drain(CONTAINER_OF(node, struct conn, node));
    if (server->stats.connections == 0)
        loop_defer(server->loop, &server->drained_defer);
}

void server_free(struct server *server)
{
    if (!server)
        return;
    server->is_draining = true;
    server_close_listeners(server);
    while (!list_is_empty(&server->idle))
        conn_free(CONTAINER_OF(server->idle.next, struct conn, node), STREAM_SHUTDOWN);
    while (!list_is_empty(&server->busy))
        conn_free(CONTAINER_OF(server->busy.next, struct conn, node), STREAM_SHUTDOWN);
    loop_undefer(&server->drained_defer);
    tls_context_unref(server->config.tls);
    buf_free(&server->gathered);
    mem_free(server);
}

void server_stats(const struct server *server, struct server_stats *ret)
{
    *ret = server->stats;
}

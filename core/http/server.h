/* HTTP/1.1 server: connections of one loop, each giving streams one after the other. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "http/message.h"
#include "http/stream.h"
#include "loop/io.h"

struct tls_context;
struct server;

struct server_config {
    struct http_limits limits;
    int64_t head_timeout_ms; /* from the first byte (or accept) to the end of the head: 10 s */
    int64_t body_idle_ms;    /* between two pieces of a body, and of a blocked write: 30 s */
    int64_t keep_alive_ms;   /* idle connection: 75 s */
    uint64_t requests_max;   /* per connection: 10,000 */
    size_t connections_max;  /* per server; above it the oldest idle one is closed: 10,000 */
    struct tls_context *tls; /* NULL: plain */
};
extern const struct server_config server_config_default;

struct server_stats {
    uint64_t accepted, requests, bad_requests, timeouts, refused;
    size_t connections, idle;
};

/* on_request gets each stream; it must call stream_accept before it returns. Loop's thread, as all
 * functions here. */
struct server *server_new(struct loop *loop, const struct server_config *config,
                          void (*on_request)(void *arg, struct stream *s), void *arg);
/* Adds a listening socket, which the server owns from now on. May be called several times. */
int server_listen(struct server *server, int fd);
/* Closes one of them, by its descriptor; connections that it accepted stay. */
void server_unlisten(struct server *server, int fd);
/* Replaces times and limits, but not TLS; what is under way keeps what it began with. */
void server_configure(struct server *server, const struct server_config *config);
/* Replaces the TLS context for new connections (reload). */
void server_set_tls(struct server *server, struct tls_context *tls);
/* Stops accepting (the listening sockets are closed, or only paused when `keep_listeners`), closes
 * idle connections, lets the others finish their exchange with "Connection: close". on_drained runs
 * when the last is gone. */
void server_drain(struct server *server, bool keep_listeners, void (*on_drained)(void *arg),
                  void *arg);
/* Cuts what is left (on_done with STREAM_SHUTDOWN) and frees. */
void server_free(struct server *server);
void server_stats(const struct server *server, struct server_stats *ret);

#endif

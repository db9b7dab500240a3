/* Connections of the HTTP client and where they rest: per address a list of idle ones, newest
 * used first, and one list of all by age, from which the oldest is closed when there are too many.
 * Inside of core/http/client*.c only.
 */
#ifndef HTTP_CLIENT_POOL_H
#define HTTP_CLIENT_POOL_H

#include "http/client.h"
#include "http/h1.h"
#include "loop/io.h"

/* All idle connections of a client, and the peers by address. */
struct conn_pool {
    struct loop *loop;
    const struct client_config *config;
    struct list *buckets; /* of struct peer; bucket_count is a power of two, or 0 */
    size_t bucket_count;
    size_t peer_count;
    struct list by_age; /* idle connections, oldest first */
    size_t idle_count;
    struct timer idle_timer;
};

/* An address; lives as long as a connection or a call refers to it. */
struct peer {
    struct list in_bucket;
    struct conn_pool *pool;
    struct addr addr;
    uint64_t hash;
    struct list idle; /* newest last */
    size_t idle_count;
    size_t refs;
};

struct conn {
    struct list in_peer; /* both only while it is idle */
    struct list in_age;
    struct peer *peer;
    struct io *io;
    struct h1_reader *reader;
    bool was_used; /* it has served a call */
    int64_t idle_since_ms;
};

void conn_pool_init(struct conn_pool *pool, struct loop *loop, const struct client_config *config);
/* Closes the idle connections. All others must be closed before. */
void conn_pool_free(struct conn_pool *pool);

/* A reference to the peer of that address; NULL when memory is short. */
struct peer *peer_get(struct conn_pool *pool, const struct addr *addr);
void peer_unref(struct peer *peer);

/* The idle connection used last, or NULL. */
struct conn *conn_take(struct peer *peer, const struct io_handler *handler, void *arg);
/* Begins to connect. NULL when memory or descriptors are short. */
struct conn *conn_open(struct peer *peer, const struct io_handler *handler, void *arg);
/* Gives back a connection that can serve another call. */
void conn_park(struct conn *conn);
/* NULL is allowed. */
void conn_close(struct conn *conn);
/* Closes once what is queued has gone out, or after linger_ms. */
void conn_close_gently(struct conn *conn, int64_t linger_ms);

#endif

/* Idle connections of the HTTP client. An idle connection keeps a question for bytes open at its
 * io: whatever comes then, a byte, the end or an error, it can not be used any more. It holds no
 * buffer.
 */
#include "http/client_pool.h"

#include "base/assert.h"
#include "base/map.h"

enum { BUCKETS_MIN = 16 };

/* ---- Peers ---- */

static struct list *bucket_of(const struct conn_pool *pool, uint64_t hash)
{
    return &pool->buckets[hash & (pool->bucket_count - 1)];
}

/* Doubles the table. When memory is short it stays as it is, unless there is none yet. */
static bool pool_grow_buckets(struct conn_pool *pool)
{
    size_t old_count = pool->bucket_count;
    size_t count = old_count ? old_count * 2 : BUCKETS_MIN;
    struct list *old = pool->buckets;
    struct list *fresh = mem_alloc(count * sizeof(*fresh));

    if (!fresh)
        return old != NULL;
    for (size_t i = 0; i < count; i++)
        list_init(&fresh[i]);
    pool->buckets = fresh;
    pool->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        struct list *node;

        while ((node = list_pop(&old[i])))
            list_push(bucket_of(pool, CONTAINER_OF(node, struct peer, in_bucket)->hash), node);
    }
    mem_free(old);
    return true;
}

static struct peer *peer_find(const struct conn_pool *pool, const struct addr *addr, uint64_t hash)
{
    if (pool->bucket_count == 0)
        return NULL;
    LIST_FOR_EACH(node, bucket_of(pool, hash))
    {
        struct peer *peer = CONTAINER_OF(node, struct peer, in_bucket);

        if (peer->hash == hash && addr_eq(&peer->addr, addr))
            return peer;
    }
    return NULL;
}

static struct peer *peer_new(struct conn_pool *pool, const struct addr *addr, uint64_t hash)
{
    struct peer *peer;

    if (pool->peer_count >= pool->bucket_count && !pool_grow_buckets(pool))
        return NULL;
    peer = mem_zalloc(sizeof(*peer));
    if (!peer)
        return NULL;
    peer->pool = pool;
    peer->addr = *addr;
    peer->hash = hash;
    list_init(&peer->idle);
    list_push(bucket_of(pool, hash), &peer->in_bucket);
    pool->peer_count++;
    return peer;
}

struct peer *peer_get(struct conn_pool *pool, const struct addr *addr)
{
    uint64_t hash = hash_bytes(&addr->any, addr->len);
    struct peer *peer = peer_find(pool, addr, hash);

    if (!peer)
        peer = peer_new(pool, addr, hash);
    if (peer)
        peer->refs++;
    return peer;
}

void peer_unref(struct peer *peer)
{
    ASSERT(peer->refs > 0);
    if (--peer->refs > 0)
        return;
    list_remove(&peer->in_bucket);
    peer->pool->peer_count--;
    mem_free(peer);
}

/* ---- Idle connections ---- */

static struct conn *oldest(const struct conn_pool *pool)
{
    return list_is_empty(&pool->by_age) ? NULL
                                        : CONTAINER_OF(pool->by_age.next, struct conn, in_age);
}

static void conn_unlist(struct conn *conn)
{
    if (!list_is_linked(&conn->in_age))
        return;
    list_remove(&conn->in_age);
    list_remove(&conn->in_peer);
    conn->peer->idle_count--;
    conn->peer->pool->idle_count--;
}

static void conn_free(struct conn *conn)
{
    conn_unlist(conn);
    h1_reader_free(conn->reader);
    peer_unref(conn->peer);
    mem_free(conn);
}

void conn_close(struct conn *conn)
{
    if (!conn)
        return;
    io_close(conn->io, false);
    conn_free(conn);
}

void conn_close_gently(struct conn *conn, int64_t linger_ms)
{
    io_close_gently(conn->io, linger_ms);
    conn_free(conn);
}

static void idle_on_data(void *arg, struct str data)
{
    (void)data;
    conn_close(arg);
}

static void idle_on_eof(void *arg)
{
    conn_close(arg);
}

static void idle_on_error(void *arg, int error)
{
    (void)error;
    conn_close(arg);
}

static void idle_on_nothing(void *arg)
{
    (void)arg;
}

static const struct io_handler idle_handler = {
    .on_data = idle_on_data,
    .on_eof = idle_on_eof,
    .on_error = idle_on_error,
    .on_drained = idle_on_nothing,
    .on_connected = idle_on_nothing,
};

struct conn *conn_open(struct peer *peer, const struct io_handler *handler, void *arg)
{
    struct conn_pool *pool = peer->pool;
    struct conn *conn = mem_zalloc(sizeof(*conn));

    if (!conn)
        return NULL;
    list_init(&conn->in_peer);
    list_init(&conn->in_age);
    conn->peer = peer;
    conn->reader = h1_reader_new(false, &pool->config->limits);
    conn->io = conn->reader ? io_connect(pool->loop, &peer->addr, handler, arg) : NULL;
    if (!conn->io) {
        h1_reader_free(conn->reader);
        mem_free(conn);
        return NULL;
    }
    peer->refs++;
    return conn;
}

struct conn *conn_take(struct peer *peer, const struct io_handler *handler, void *arg)
{
    struct conn *conn;

    if (list_is_empty(&peer->idle))
        return NULL;
    conn = CONTAINER_OF(peer->idle.prev, struct conn, in_peer);
    conn_unlist(conn);
    io_set_handler(conn->io, handler, arg);
    return conn;
}

void conn_park(struct conn *conn)
{
    struct peer *peer = conn->peer;
    struct conn_pool *pool = peer->pool;
    const struct client_config *config = pool->config;

    if (config->idle_max == 0 || config->idle_max_per_addr == 0) {
        conn_close(conn);
        return;
    }
    if (peer->idle_count >= config->idle_max_per_addr)
        conn_close(CONTAINER_OF(peer->idle.next, struct conn, in_peer));
    else if (pool->idle_count >= config->idle_max)
        conn_close(oldest(pool));
    conn->was_used = true;
    conn->idle_since_ms = loop_now_ms(pool->loop);
    list_push(&peer->idle, &conn->in_peer);
    list_push(&pool->by_age, &conn->in_age);
    peer->idle_count++;
    pool->idle_count++;
    io_set_handler(conn->io, &idle_handler, conn);
    io_recv(conn->io);
    if (!timer_is_set(&pool->idle_timer))
        timer_set(&pool->idle_timer, config->idle_ms);
}

static void pool_on_idle_due(void *arg)
{
    struct conn_pool *pool = arg;
    int64_t now_ms = loop_now_ms(pool->loop);
    struct conn *conn;

    while ((conn = oldest(pool)) && now_ms - conn->idle_since_ms >= pool->config->idle_ms)
        conn_close(conn);
    if (conn)
        timer_set(&pool->idle_timer, conn->idle_since_ms + pool->config->idle_ms - now_ms);
}

void conn_pool_init(struct conn_pool *pool, struct loop *loop, const struct client_config *config)
{
    *pool = (struct conn_pool){.loop = loop, .config = config};
    list_init(&pool->by_age);
    timer_init(&pool->idle_timer, loop, pool_on_idle_due, pool);
}

void conn_pool_free(struct conn_pool *pool)
{
    timer_cancel(&pool->idle_timer);
    while (!list_is_empty(&pool->by_age))
        conn_close(oldest(pool));
    ASSERT(pool->peer_count == 0);
    mem_free(pool->buckets);
}

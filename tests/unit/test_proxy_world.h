/* A gateway's data plane in one process: server, proxy, route table and client on one loop with a
 * thread of its own; functions played by threads that speak through plain blocking sockets, so that
 * they can do what no proper server would. The test's thread plays the client. */
#ifndef TEST_PROXY_WORLD_H
#define TEST_PROXY_WORLD_H

#include "base/assert.h"
#include "base/sys.h"
#include "http/server.h"
#include "proxy/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PEERS_MAX = 256, WAIT_S = 20, PEER_BUFFER = 64 << 10 };

/* One connection of a function. */
struct upstream;
struct peer {
    struct upstream *upstream;
    pthread_t thread;
    int fd;
    unsigned nth;  /* request on this connection, from 0 */
    char *head;    /* NUL-terminated, without the empty line */
    size_t length; /* Content-Length */
    char buffer[PEER_BUFFER];
    size_t used; /* bytes behind the head that have arrived already */
};

struct upstream {
    int fd;
    struct addr addr;
    pthread_t thread;
    struct peer *peers[PEERS_MAX];
    atomic_uint count; /* connections so far */
    bool (*script)(struct peer *peer);
    sem_t gone; /* posted by scripts that saw the gateway hang up */
    sem_t go;   /* waited for by scripts that are told when to go on */
};

struct world {
    struct loop *loop;
    unsigned cell;
    struct quiesce *domain;
    struct route_table *table;
    struct client *client;
    struct server *server;
    struct proxy *proxy;
    struct proxy_config config;
    struct sockaddr_in front;
    struct upstream upstream;
    struct route_fn *fn; /* "f" in "fn" */
    sem_t wanted, released, recorded;
    atomic_uint released_count;
    /* Of the last record. */
    atomic_uint status, attempts;
    _Atomic(const char *) layer, fault;
    atomic_bool is_cold;
};

static inline void wait_for(sem_t *sem)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    while (sem_timedwait(sem, &until) < 0)
        ASSERT(errno == EINTR);
}

/* ---- Jobs on the gateway's loop ---- */

struct job {
    struct loop_msg msg;
    struct world *world;
    void (*run)(struct world *world, const void *arg);
    const void *arg;
    sem_t done;
};

static inline void job_run(struct loop_msg *msg)
{
    struct job *job = CONTAINER_OF(msg, struct job, msg);

    job->run(job->world, job->arg);
    sem_post(&job->done);
}

static inline void on_loop(struct world *world, void (*run)(struct world *, const void *),
                           const void *arg)
{
    struct job job = {.msg.run = job_run, .world = world, .run = run, .arg = arg};

    sem_init(&job.done, 0, 0);
    loop_post(world->loop, &job.msg);
    wait_for(&job.done);
    sem_destroy(&job.done);
}

/* ---- Functions ---- */

static inline int listen_any(struct sockaddr_in *ret)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*ret);

    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ASSERT(bind(fd, (struct sockaddr *)ret, len) == 0);
    ASSERT(listen(fd, 64) == 0);
    ASSERT(getsockname(fd, (struct sockaddr *)ret, &len) == 0);
    return fd;
}

static inline struct addr addr_of(const struct sockaddr_in *in)
{
    struct addr addr;
    char text[64];

    snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(in->sin_port));
    ASSERT(addr_parse(str_from(text), &addr, NULL) == 0);
    return addr;
}

/* False at the end of the stream. */
static inline bool peer_more(struct peer *peer)
{
    ssize_t n = recv(peer->fd, peer->buffer + peer->used, PEER_BUFFER - 1 - peer->used, 0);

    if (n <= 0)
        return false;
    peer->used += (size_t)n;
    peer->buffer[peer->used] = '\0';
    return true;
}

/* Up to `max` bytes of the body; 0 at the end of the stream. */
static inline size_t peer_read(struct peer *peer, char *to, size_t max)
{
    size_t n;

    if (peer->used == 0 && !peer_more(peer))
        return 0;
    n = peer->used < max ? peer->used : max;
    memcpy(to, peer->buffer, n);
    memmove(peer->buffer, peer->buffer + n, peer->used - n);
    peer->used -= n;
    return n;
}

static inline bool peer_send(struct peer *peer, const void *data, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(peer->fd, (const char *)data + sent, len - sent, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    return true;
}

static inline bool peer_say(struct peer *peer, const char *text)
{
    return peer_send(peer, text, strlen(text));
}

/* Reads until the gateway closes. */
static inline void peer_wait_gone(struct peer *peer)
{
    char sink[4096];

    while (peer_read(peer, sink, sizeof(sink)) > 0)
        ;
}

static inline bool peer_head(struct peer *peer)
{
    char *end, *length;
    size_t head_len;

    peer->buffer[peer->used] = '\0';
    while (!(end = strstr(peer->buffer, "\r\n\r\n"))) {
        if (!peer_more(peer))
            return false;
    }
    head_len = (size_t)(end - peer->buffer);
    free(peer->head);
    peer->head = strndup(peer->buffer, head_len);
    length = strcasestr(peer->head, "\r\ncontent-length:");
    peer->length = length ? strtoul(length + 17, NULL, 10) : 0;
    memmove(peer->buffer, end + 4, peer->used - head_len - 4);
    peer->used -= head_len + 4;
    return true;
}

static inline void *peer_thread(void *arg)
{
    struct peer *peer = arg;

    while (peer_head(peer) && peer->upstream->script(peer))
        peer->nth++;
    shutdown(peer->fd, SHUT_RDWR);
    return NULL;
}

static inline void *upstream_thread(void *arg)
{
    struct upstream *upstream = arg;
    int fd;

    while ((fd = accept(upstream->fd, NULL, NULL)) >= 0) {
        struct peer *peer = calloc(1, sizeof(*peer));

        ASSERT(upstream->count < PEERS_MAX);
        ASSERT(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0);
        peer->upstream = upstream;
        peer->fd = fd;
        upstream->peers[upstream->count] = peer;
        ASSERT(pthread_create(&peer->thread, NULL, peer_thread, peer) == 0);
        upstream->count++;
    }
    return NULL;
}

static inline void upstream_start(struct upstream *upstream, bool (*script)(struct peer *))
{
    struct sockaddr_in in;

    *upstream = (struct upstream){.script = script};
    sem_init(&upstream->gone, 0, 0);
    sem_init(&upstream->go, 0, 0);
    upstream->fd = listen_any(&in);
    upstream->addr = addr_of(&in);
    ASSERT(pthread_create(&upstream->thread, NULL, upstream_thread, upstream) == 0);
}

static inline void upstream_stop(struct upstream *upstream)
{
    shutdown(upstream->fd, SHUT_RDWR);
    pthread_join(upstream->thread, NULL);
    close(upstream->fd);
    for (unsigned i = 0; i < upstream->count; i++) {
        struct peer *peer = upstream->peers[i];

        shutdown(peer->fd, SHUT_RDWR);
        sem_post(&upstream->go);
        pthread_join(peer->thread, NULL);
        close(peer->fd);
        free(peer->head);
        free(peer);
    }
}

/* ---- The gateway ---- */

static inline void on_request(void *arg, struct stream *s)
{
    struct world *world = arg;

    proxy_handle(world->proxy, s);
}

static inline void on_wanted(void *arg, struct route_fn *fn)
{
    struct world *world = arg;

    ASSERT(fn == world->fn);
    sem_post(&world->wanted);
}

static inline void on_released(void *arg, uint32_t provider, uint64_t id, uint64_t generation)
{
    struct world *world = arg;

    (void)provider;
    (void)id;
    (void)generation;
    world->released_count++;
    sem_post(&world->released);
}

static inline void on_record(void *arg, const struct proxy_record *record)
{
    struct world *world = arg;

    world->status = record->status;
    world->attempts = record->attempts;
    world->layer = record->layer;
    world->fault = record->fault;
    world->is_cold = record->is_cold;
    sem_post(&world->recorded);
}

static inline void gateway_start(struct world *world, const void *arg)
{
    struct proxy_hooks hooks = {world, on_wanted};
    int fd = listen_any(&world->front);

    (void)arg;
    ASSERT(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    world->client = client_new(world->loop, &client_config_default);
    world->proxy = proxy_new(world->loop, world->cell, world->table, world->client, &world->config,
                             &hooks, on_record, world);
    world->server = server_new(world->loop, &server_config_default, on_request, world);
    ASSERT(server_listen(world->server, fd) == 0);
}

static inline void gateway_stop(struct world *world, const void *arg)
{
    (void)arg;
    server_free(world->server);
    client_free(world->client);
    proxy_free(world->proxy);
}

static inline void world_init(struct world *world)
{
    sem_init(&world->wanted, 0, 0);
    sem_init(&world->released, 0, 0);
    sem_init(&world->recorded, 0, 0);
    world->config = proxy_config_default;
    world->config.default_ns = STR("fn");
    world->loop = loop_new("gateway");
}

/* One loop for everything: it reads the table and controls it. */
static inline void world_start(struct world *world, bool (*script)(struct peer *))
{
    world_init(world);
    world->domain = quiesce_new(world->loop);
    quiesce_add_loop(world->domain, world->loop);
    world->table = route_table_new(world->loop, world->domain, 1, on_released, world);
    world->fn = route_fn_put(world->table, STR("fn"), STR("f"));
    ASSERT(loop_spawn(world->loop) == 0);
    on_loop(world, gateway_start, NULL);
    upstream_start(&world->upstream, script);
}

static inline void world_stop(struct world *world)
{
    on_loop(world, gateway_stop, NULL);
    upstream_stop(&world->upstream);
    loop_stop(world->loop);
    loop_join(world->loop);
    route_table_free(world->table);
    quiesce_free(world->domain);
    loop_free(world->loop);
}

/* ---- Sets and policies ---- */

struct set {
    struct route_endpoint_spec specs[4];
    size_t count;
};

static inline void set_apply(struct world *world, const void *arg)
{
    static uint64_t generation;
    const struct set *set = arg;

    route_fn_set_endpoints(world->table, world->fn, ++generation, set->specs, set->count);
}

/* One endpoint at `addr`, or none when it is NULL. */
static inline void serve_at(struct world *world, const struct addr *addr,
                            enum route_endpoint_state state, unsigned concurrency_max)
{
    struct set set = {.count = addr != NULL};

    if (addr)
        set.specs[0] = (struct route_endpoint_spec){.id = 1,
                                                    .state = state,
                                                    .addr = *addr,
                                                    .concurrency_max = concurrency_max,
                                                    .replica = STR("f-1")};
    on_loop(world, set_apply, &set);
}

static inline void policy_apply(struct world *world, const void *arg)
{
    route_fn_set_policy(world->table, world->fn, arg);
}

static inline void policy_set(struct world *world, struct route_policy policy)
{
    on_loop(world, policy_apply, &policy);
}

/* ---- The client ---- */

static inline int client_connect(const struct world *world)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT(connect(fd, (const struct sockaddr *)&world->front, sizeof(world->front)) == 0);
    return fd;
}

static inline void client_say(int fd, const char *text)
{
    ASSERT(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* Waits until `text` has come; keeps what came in `got`. */
static inline void client_expect(int fd, char *got, size_t size, const char *text)
{
    size_t used = strlen(got);

    while (!strstr(got, text)) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        ssize_t n;

        ASSERT(poll(&poll_fd, 1, WAIT_S * 1000) == 1);
        n = recv(fd, got + used, size - 1 - used, 0);
        if (n <= 0) {
            fprintf(stderr, "waiting for '%s', got:\n%s\n", text, got);
            abort();
        }
        used += (size_t)n;
        got[used] = '\0';
    }
}

struct answer {
    char *text; /* all of it, NUL-terminated */
    size_t len;
    char *body; /* behind the last head */
    size_t body_len;
    unsigned status;
    bool is_reset;
};

static inline void answer_parse(struct answer *answer)
{
    char *head = answer->text;

    answer->body = answer->text;
    do {
        char *end = strstr(head, "\r\n\r\n");

        answer->status = 0;
        sscanf(head, "HTTP/1.1 %u", &answer->status);
        answer->body = end ? end + 4 : answer->text + answer->len;
        head = answer->body;
    } while (answer->status >= 100 && answer->status < 200);
    answer->body_len = answer->len - (size_t)(answer->body - answer->text);
}

/* Sends and receives at the same time, until the gateway closes. */
static inline struct answer client_finish(int fd, const char *out, size_t len)
{
    struct answer answer = {.text = malloc(1)};
    size_t sent = 0, cap = 1;

    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (sent < len)
            poll_fd.events |= POLLOUT;
        ASSERT(poll(&poll_fd, 1, WAIT_S * 1000) == 1);
        if (poll_fd.revents & POLLOUT) {
            n = send(fd, out + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0)
                sent += (size_t)n;
            else if (n < 0 && errno != EAGAIN)
                len = sent; /* it does not want the rest */
        }
        if (!(poll_fd.revents & (POLLIN | POLLHUP | POLLERR)))
            continue;
        if (cap - answer.len < 65536)
            answer.text = realloc(answer.text, cap = cap * 2 + 65536);
        n = recv(fd, answer.text + answer.len, cap - 1 - answer.len, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            continue;
        answer.is_reset = n < 0;
        if (n <= 0)
            break;
        answer.len += (size_t)n;
    }
    answer.text[answer.len] = '\0';
    close(fd);
    answer_parse(&answer);
    return answer;
}

static inline struct answer ask_body(struct world *world, const char *method, const char *path,
                                     const char *fields, const void *body, size_t len)
{
    char head[1024];
    int n = snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n%s",
                     method, path, fields);
    char *all = malloc((size_t)n + 64 + len);
    struct answer answer;

    memcpy(all, head, (size_t)n);
    if (body)
        n += snprintf(all + n, 64, "Content-Length: %zu\r\n", len);
    n += snprintf(all + n, 8, "\r\n");
    if (len > 0)
        memcpy(all + n, body, len);
    answer = client_finish(client_connect(world), all, (size_t)n + len);
    free(all);
    return answer;
}

static inline struct answer ask(struct world *world, const char *method, const char *path)
{
    return ask_body(world, method, path, "", NULL, 0);
}

#endif

/* The supervisor's side of wire.h: who may speak, what they may ask, and what they are told. */
#include "supervisor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 16, PENDING_MAX = 64 << 20 };

static void drop(struct client *client)
{
    struct supervisor *sup = client->sup;

    if (client->is_dead)
        return;
    client->is_dead = true;
    if (sup->owner == client)
        sup->owner = NULL;
    sup->idle_since_ms = monotonic_ms();
    supervisor_close(sup, &client->wire.fd);
    wire_free(&client->wire);
}

void protocol_reap(struct supervisor *sup)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (!sup->clients[i] || !sup->clients[i]->is_dead)
            continue;
        free(sup->clients[i]);
        sup->clients[i] = NULL;
    }
}

/* Sends what is queued, now or when there is room. False when the client had to be dropped. */
static bool flush(struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &client->source};
    int r;

    if (client->is_dead)
        return false;
    r = wire_flush(&client->wire);
    if ((r < 0 && r != -EAGAIN) || client->wire.out_len > PENDING_MAX) {
        drop(client);
        return false;
    }
    if (r == -EAGAIN)
        event.events |= EPOLLOUT;
    epoll_ctl(client->sup->epoll_fd, EPOLL_CTL_MOD, client->wire.fd, &event);
    return true;
}

void protocol_tell(struct supervisor *sup, const char *event, json_t *body)
{
    if (sup->owner && body) {
        json_object_set_new(body, "event", json_string(event));
        wire_put(&sup->owner->wire, body);
        flush(sup->owner);
    }
    json_decref(body);
}

/* The former owner is told, so that it does not come back for what is no longer its own. */
static void retire(struct client *former)
{
    AUTO_JSON json_t *event = json_pack("{s:s}", "event", "replaced");

    wire_put(&former->wire, event);
    wire_flush(&former->wire);
    drop(former);
}

static json_t *op_hello(struct client *client, const json_t *request)
{
    struct supervisor *sup = client->sup;
    struct client *former = sup->owner;

    if (wire_int(request, "version") != WIRE_VERSION)
        return json_pack("{s:s,s:i}", "error", "another version of the protocol is spoken here",
                         "version", WIRE_VERSION);
    if (former && former != client && json_is_true(json_object_get(request, "if_free")))
        return json_pack("{s:s}", "error", "the replicas have an owner");
    client->is_welcome = true;
    if (former && former != client)
        retire(former);
    sup->owner = client;
    return json_pack("{s:i,s:i,s:b,s:b,s:b}", "version", WIRE_VERSION, "pid", (int)getpid(),
                     "memory", sup->groups.memory != NULL, "cpu", sup->groups.cpu != NULL, "mount",
                     (int)sup->can_mount);
}

static json_t *op_list(struct client *client, const json_t *request)
{
    json_t *list = json_array();

    (void)request;
    for (size_t i = 0; i < client->sup->count; i++)
        json_array_append_new(list, replica_status(client->sup->replicas[i]));
    return json_pack("{s:o}", "replicas", list);
}

static json_t *op_start(struct client *client, const json_t *request)
{
    json_t *plan = json_object_get(request, "replica");
    AUTO_FREE char *error = NULL;
    struct replica *replica;

    if (!json_is_object(plan) || *wire_text(plan, "log") != '/' ||
        json_array_size(json_object_get(plan, "argv")) == 0)
        return json_pack("{s:s}", "error", "the plan has no command or no log");
    if (client->sup->is_stopping)
        return json_pack("{s:s}", "error", "the supervisor is stopping");
    replica = replica_start(client->sup, plan, &error);
    if (!replica)
        return json_pack("{s:s}", "error", error);
    return json_pack("{s:o}", "replica", replica_status(replica));
}

static json_t *op_stop(struct client *client, const json_t *request)
{
    struct replica *r = replica_find(client->sup, (uint64_t)wire_int(request, "id"));

    if (r)
        replica_stop(r, wire_int(request, "grace_ms"));
    return json_object();
}

static json_t *op_mark(struct client *client, const json_t *request)
{
    struct replica *r = replica_find(client->sup, (uint64_t)wire_int(request, "id"));

    if (r)
        replica_mark(r, json_is_true(json_object_get(request, "ready")));
    return json_object();
}

static json_t *op_leave(struct client *client, const json_t *request)
{
    (void)request;
    client->sup->is_leaving = true;
    return json_object();
}

static const struct {
    const char *name;
    json_t *(*run)(struct client *client, const json_t *request);
    bool is_open; /* may come before hello */
} ops[] = {{"hello", op_hello, true}, {"list", op_list, false}, {"start", op_start, false},
           {"stop", op_stop, false},  {"mark", op_mark, false}, {"leave", op_leave, true}};

static json_t *run_op(struct client *client, const json_t *request)
{
    const char *name = wire_text(request, "op");

    for (size_t i = 0; i < COUNT_OF(ops); i++)
        if (strcmp(ops[i].name, name) == 0 && (ops[i].is_open || client->is_welcome))
            return ops[i].run(client, request);
    return json_pack("{s:s}", "error", "not a request that can be answered now");
}

static bool answer(struct client *client, const json_t *request)
{
    AUTO_JSON json_t *reply = run_op(client, request);

    if (!reply)
        reply = json_pack("{s:s}", "error", "a text is not UTF-8");
    json_object_set(reply, "seq", json_object_get(request, "seq"));
    json_object_set_new(reply, "ok", json_boolean(!json_object_get(reply, "error")));
    if (!client->is_dead)
        wire_put(&client->wire, reply);
    return flush(client);
}

static void on_client(struct source *source)
{
    struct client *client = CONTAINER_OF(source, struct client, source);
    json_t *request;
    int r = wire_fill(&client->wire);

    if (r == 0 || (r < 0 && r != -EAGAIN)) {
        drop(client);
        return;
    }
    while ((r = wire_next(&client->wire, &request)) > 0) {
        bool is_there = answer(client, request);

        json_decref(request);
        if (!is_there)
            return;
    }
    if (r < 0)
        drop(client);
    else
        flush(client);
}

/* Only the user we run as, or root, may give orders. */
static bool is_trusted(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

static void on_connection(struct source *source)
{
    struct supervisor *sup = CONTAINER_OF(source, struct supervisor, socket_source);
    int fd = accept4(sup->socket_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct client *client;
    size_t slot = 0;

    if (fd < 0)
        return;
    while (slot < CLIENTS_MAX && sup->clients[slot])
        slot++;
    if (slot == CLIENTS_MAX || !is_trusted(fd)) {
        close(fd);
        return;
    }
    client = zalloc(sizeof(*client));
    client->source.on_ready = on_client;
    client->sup = sup;
    wire_init(&client->wire, fd);
    sup->clients[slot] = client;
    if (supervisor_watch(sup, fd, EPOLLIN, &client->source) < 0)
        drop(client);
}

int protocol_listen(struct supervisor *sup)
{
    AUTO_FREE char *path = text_format("%s/" WIRE_SOCKET_NAME, sup->run_dir);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    sup->socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sup->socket_fd < 0)
        return -errno;
    unlink(path);
    if (bind(sup->socket_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || chmod(path, 0600) < 0 ||
        listen(sup->socket_fd, BACKLOG) < 0)
        return -errno;
    sup->socket_source.on_ready = on_connection;
    return supervisor_watch(sup, sup->socket_fd, EPOLLIN, &sup->socket_source);
}

void protocol_close(struct supervisor *sup)
{
    AUTO_FREE char *path = text_format("%s/" WIRE_SOCKET_NAME, sup->run_dir);

    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (sup->clients[i])
            drop(sup->clients[i]);
    protocol_reap(sup);
    if (sup->socket_fd >= 0) {
        unlink(path);
        supervisor_close(sup, &sup->socket_fd);
    }
}

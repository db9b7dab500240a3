/* Listening sockets: opened here, one per worker and address where the kernel spreads connections
 * (SO_REUSEPORT). Workers accept on duplicates; the originals are kept for a successor. */
#include "app/gateway_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static unsigned count_open(const struct gateway *gateway, const struct addr *addr, bool is_metrics)
{
    unsigned count = 0;

    for (size_t i = 0; i < gateway->sockets.count; i++)
        count += gateway->sockets.items[i].is_metrics == is_metrics &&
                 addr_eq(&gateway->sockets.items[i].addr, addr);
    return count;
}

static int open_address(struct gateway *gateway, struct str text, bool is_metrics, struct err *err)
{
    struct addr addr;
    unsigned wanted, have;
    bool is_tcp;
    int error = addr_parse(text, &addr, err);

    if (error)
        return error;
    is_tcp = addr.any.sa_family != AF_UNIX;
    wanted = is_tcp && !is_metrics ? gateway->workers_count : 1;
    for (have = count_open(gateway, &addr, is_metrics); have < wanted; have++) {
        int fd = addr_listen(&addr, BACKLOG, is_tcp && !is_metrics, err);

        if (fd < 0)
            return fd;
        *VEC_PUSH(&gateway->sockets) =
            (struct listening){.fd = fd, .addr = addr, .is_metrics = is_metrics};
    }
    return 0;
}

static int open_all(struct gateway *gateway, const struct settings *settings, struct err *err)
{
    int error = 0;

    for (size_t i = 0; i < settings->listen.count && !error; i++)
        error = open_address(gateway, settings->listen.items[i], false, err);
    for (size_t i = 0; i < settings->metrics.listen.count && !error; i++)
        error = open_address(gateway, settings->metrics.listen.items[i], true, err);
    return error;
}

int sockets_open(struct gateway *gateway, const struct settings *settings, struct err *err)
{
    size_t before = gateway->sockets.count;
    int error = open_all(gateway, settings, err);

    while (error && gateway->sockets.count > before)
        close(gateway->sockets.items[--gateway->sockets.count].fd);
    return error;
}

void sockets_serve(struct gateway *gateway)
{
    for (size_t i = 0; i < gateway->sockets.count; i++) {
        struct listening *socket = &gateway->sockets.items[i];

        if (socket->is_served)
            continue;
        socket->worker = (unsigned)(i % gateway->workers_count);
        socket->worker_fd = fcntl(socket->fd, F_DUPFD_CLOEXEC, 0);
        if (socket->worker_fd < 0)
            continue;
        socket->is_served = true;
        worker_listen(gateway->workers[socket->worker], socket->worker_fd, socket->is_metrics);
    }
}

static bool is_named(const struct conf_str_list *list, const struct addr *addr)
{
    struct addr named;

    for (size_t i = 0; i < list->count; i++)
        if (addr_parse(list->items[i], &named, NULL) == 0 && addr_eq(&named, addr))
            return true;
    return false;
}

void sockets_retire(struct gateway *gateway, const struct settings *settings)
{
    for (size_t i = gateway->sockets.count; i > 0; i--) {
        struct listening *socket = &gateway->sockets.items[i - 1];

        if (is_named(socket->is_metrics ? &settings->metrics.listen : &settings->listen,
                     &socket->addr))
            continue;
        if (socket->is_served)
            worker_unlisten(gateway->workers[socket->worker], socket->worker_fd,
                            socket->is_metrics);
        if (socket->addr.any.sa_family == AF_UNIX)
            unlink(socket->addr.un.sun_path);
        close(socket->fd);
        VEC_REMOVE(&gateway->sockets, i - 1);
    }
}

void sockets_close(struct gateway *gateway)
{
    for (size_t i = 0; i < gateway->sockets.count; i++)
        close(gateway->sockets.items[i].fd);
    VEC_FREE(&gateway->sockets);
}

/* A replica of the toy provider. One connection at a time; a stop cuts it. */
#include "toy_replica.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Waits for input; false when the replica is to stop. */
static bool wait_input(struct replica *replica, int fd)
{
    struct pollfd fds[2] = {{fd, POLLIN, 0}, {replica->stop_fd, POLLIN, 0}};

    while (poll(fds, 2, -1) < 0)
        ;
    return !(fds[1].revents & POLLIN);
}

/* Bytes of the whole request once its head is there, else 0. */
static size_t request_len(const char *bytes)
{
    const char *end = strstr(bytes, "\r\n\r\n"), *field = strstr(bytes, "Content-Length: ");

    if (!end)
        return 0;
    return (size_t)(end + 4 - bytes) + (field && field < end ? strtoul(field + 16, NULL, 10) : 0);
}

static bool read_request(struct replica *replica, int fd)
{
    char bytes[4096] = "";
    size_t len = 0;

    while (len < sizeof(bytes) - 1 && wait_input(replica, fd)) {
        ssize_t got = recv(fd, bytes + len, sizeof(bytes) - 1 - len, 0);

        if (got <= 0)
            return false;
        len += (size_t)got;
        bytes[len] = 0;
        if (request_len(bytes) && len >= request_len(bytes))
            return true;
    }
    return false;
}

static void serve(struct replica *replica, int fd)
{
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

    if (read_request(replica, fd)) {
        /* The line is there before whoever asked can look for it. */
        replica->on_request(replica->arg, replica->function);
        send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
    }
    close(fd);
}

static void *replica_main(void *arg)
{
    struct replica *replica = arg;

    while (wait_input(replica, replica->listen_fd)) {
        int fd = accept4(replica->listen_fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0)
            serve(replica, fd);
    }
    return NULL;
}

static int listen_at(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
    unlink(path);
    if (fd >= 0 && (bind(fd, (struct sockaddr *)&name, sizeof(name)) != 0 || listen(fd, 16) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

struct replica *replica_new(const char *dir, uint64_t id, const char *function,
                            toy_request_f *on_request, void *arg)
{
    struct replica *replica = must_zalloc(sizeof(*replica));

    replica->id = id;
    replica->on_request = on_request;
    replica->arg = arg;
    snprintf(replica->function, sizeof(replica->function), "%s", function);
    snprintf(replica->address, sizeof(replica->address), "unix:%s/%llu-%s.sock", dir,
             (unsigned long long)id, function);
    replica->listen_fd = listen_at(replica->address + 5);
    replica->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (replica->listen_fd < 0 || replica->stop_fd < 0 ||
        pthread_create(&replica->thread, NULL, replica_main, replica) != 0) {
        perror("toy-provider: starting a replica");
        abort();
    }
    return replica;
}

void replica_free(struct replica *replica)
{
    eventfd_write(replica->stop_fd, 1);
    pthread_join(replica->thread, NULL);
    close(replica->listen_fd);
    close(replica->stop_fd);
    unlink(replica->address + 5);
    free(replica);
}

/* The floor: a relay that moves bytes between two sockets and parses nothing. One thread, epoll,
 * recv, send; one upstream connection per client. usage: bench-relay PORT UPSTREAM_PORT */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, FDS_MAX = 65536 };

static int other[FDS_MAX]; /* the socket on the other side */

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((in_port_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int listen_on(int port)
{
    struct sockaddr_in addr = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 4096) < 0) {
        perror("bench-relay");
        exit(1);
    }
    return fd;
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void accept_pair(int epoll, int listener, int upstream_port)
{
    struct sockaddr_in addr = loopback(upstream_port);
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    int upstream = socket(AF_INET, SOCK_STREAM, 0);

    if (client < 0 || client >= FDS_MAX || upstream < 0 || upstream >= FDS_MAX ||
        connect(upstream, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close(client);
        close(upstream);
        return;
    }
    other[client] = upstream;
    other[upstream] = client;
    watch(epoll, client);
    watch(epoll, upstream);
}

static void move_bytes(int fd)
{
    char buf[65536];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || send(other[fd], buf, (size_t)n, MSG_NOSIGNAL) != n) {
        close(other[fd]);
        close(fd);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    int listener, epoll = epoll_create1(0);

    if (argc != 3) {
        fprintf(stderr, "usage: bench-relay PORT UPSTREAM_PORT\n");
        return 2;
    }
    listener = listen_on(atoi(argv[1]));
    watch(epoll, listener);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);

        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_pair(epoll, listener, atoi(argv[2]));
            else
                move_bytes(events[i].data.fd);
        }
    }
}

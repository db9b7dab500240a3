/* An upstream that costs next to nothing: answers every request head with the same 12 bytes, keeps
 * connections alive, one thread, epoll. usage: bench-upstream PORT, or with LISTEN_FDS=1 on an
 * inherited socket. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, LISTEN_FD = 3 };

static const char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\n"
    "hello, world";

static int listen_on(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((in_port_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 4096) < 0) {
        perror("bench-upstream");
        exit(1);
    }
    return fd;
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Requests of the benchmarks have no body and fit one segment: one answer per blank line. */
static void serve(int fd)
{
    char buf[65536];
    ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

    if (n <= 0) {
        close(fd);
        return;
    }
    buf[n] = '\0';
    for (char *at = buf; (at = strstr(at, "\r\n\r\n")); at += 4)
        if (send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0)
            return;
}

int main(int argc, char **argv)
{
    int listener = getenv("LISTEN_FDS") ? LISTEN_FD : listen_on(argc > 1 ? atoi(argv[1]) : 9000);
    int epoll = epoll_create1(0);
    struct epoll_event events[EVENTS];

    watch(epoll, listener);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);

        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != listener) {
                serve(events[i].data.fd);
                continue;
            }
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;

            if (fd < 0)
                continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
            watch(epoll, fd);
        }
    }
}

/* HTTP requests to endpoints. */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
};

/* Length for connect, 0 when it cannot be parsed. */
static socklen_t parse_address(const char *text, union any_address *ret)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    size_t len;

    memset(ret, 0, sizeof(*ret));
    if (strncmp(text, "unix:", 5) == 0) {
        ret->un.sun_family = AF_UNIX;
        snprintf(ret->un.sun_path, sizeof(ret->un.sun_path), "%s", text + 5);
        return sizeof(ret->un);
    }
    if (!colon || (len = (size_t)(colon - text)) >= sizeof(host))
        return 0;
    memcpy(host, text, len);
    host[len] = 0;
    ret->v4.sin_family = AF_INET;
    ret->v4.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1)
        return sizeof(ret->v4);

    ret->v6.sin6_family = AF_INET6;
    ret->v6.sin6_port = htons((uint16_t)atoi(colon + 1));
    if (host[0] != '[' || host[len - 1] != ']')
        return 0;
    host[len - 1] = 0;
    return inet_pton(AF_INET6, host + 1, &ret->v6.sin6_addr) == 1 ? sizeof(ret->v6) : 0;
}

static void set_timeout(int fd, int64_t timeout_ms)
{
    struct timeval limit = {timeout_ms / 1000, timeout_ms % 1000 * 1000};

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static int probe_send(int fd, const char *text)
{
    size_t len = strlen(text);
    ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);

    if (sent == (ssize_t)len)
        return 0;
    return sent < 0 ? -errno : -EIO;
}

static int probe_open(const char *address, const char *request, int64_t timeout_ms)
{
    union any_address to;
    socklen_t len = parse_address(address, &to);
    int fd, result;

    if (len == 0)
        return -EINVAL;
    fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    set_timeout(fd, timeout_ms);
    result = connect(fd, &to.any, len) == 0 ? probe_send(fd, request) : -errno;
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

/* Status of the final answer (100 Continue is none), or negative errno. */
static int read_status(int fd)
{
    char answer[4096];
    size_t len = 0;
    int status;

    while (len < sizeof(answer) - 1) {
        ssize_t got = recv(fd, answer + len, sizeof(answer) - 1 - len, 0);
        const char *line = answer, *next;

        if (got <= 0)
            return got == 0 ? -ECONNRESET : -errno;
        len += (size_t)got;
        answer[len] = 0;
        while ((next = strstr(line, "\r\n\r\n")) != NULL) {
            if (sscanf(line, "HTTP/1.%*1[01] %3d", &status) != 1)
                return -EPROTO;
            if (status >= 200)
                return status;
            line = next + 4;
        }
    }
    return -EMSGSIZE;
}

int probe_get(const char *address, int64_t timeout_ms)
{
    int fd = probe_open(address, "GET / HTTP/1.1\r\nHost: function\r\nConnection: close\r\n\r\n",
                        timeout_ms);
    int status;

    if (fd < 0)
        return fd;
    status = read_status(fd);
    close(fd);
    return status;
}

int probe_begin(const char *address, int64_t timeout_ms)
{
    return probe_open(address,
                      "POST / HTTP/1.1\r\nHost: function\r\nConnection: close\r\n"
                      "Content-Type: text/plain\r\nContent-Length: 10\r\n\r\nhalf ",
                      timeout_ms);
}

int probe_finish(int fd, int64_t timeout_ms)
{
    int result;

    set_timeout(fd, timeout_ms);
    result = probe_send(fd, "whole");
    if (result == 0)
        result = read_status(fd);
    close(fd);
    return result == -EPIPE ? -ECONNRESET : result;
}

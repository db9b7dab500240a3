/* Socket addresses: parsing, formatting, listening. */
#include "loop/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int parse_unix(struct str path, struct addr *ret, struct err *err)
{
    if (path.len == 0 || path.ptr[0] != '/')
        return err_set(err, -EINVAL, "a Unix socket needs an absolute path: unix:/PATH");
    if (path.len >= sizeof(ret->un.sun_path))
        return err_set(err, -EINVAL, "a Unix socket's path may have at most %zu bytes",
                       sizeof(ret->un.sun_path) - 1);
    ret->un.sun_family = AF_UNIX;
    memcpy(ret->un.sun_path, path.ptr, path.len);
    ret->un.sun_path[path.len] = '\0';
    ret->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    return 0;
}

static int parse_ip(struct str host, in_port_t port, struct addr *ret)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = port};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = port};
    char text[INET6_ADDRSTRLEN];

    if (host.len >= sizeof(text))
        return -EINVAL;
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        ret->len = sizeof(in);
        memcpy(&ret->any, &in, sizeof(in));
        return 0;
    }
    if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1) {
        ret->len = sizeof(in6);
        memcpy(ret->space, &in6, sizeof(in6));
        return 0;
    }
    return -EINVAL;
}

int addr_parse(struct str text, struct addr *ret, struct err *err)
{
    ptrdiff_t colon = str_rfind(text, ':');
    struct str host;
    uint64_t port;

    memset(ret, 0, sizeof(*ret));
    if (str_find(text, '\0') >= 0)
        return err_set(err, -EINVAL, "an address has no NUL byte");
    if (str_starts(text, STR("unix:")))
        return parse_unix(str_sub(text, 5, text.len), ret, err);
    if (colon < 0 || !str_to_u64(str_sub(text, (size_t)colon + 1, text.len), 65535, &port))
        return err_set(err, -EINVAL, "an address is HOST:PORT, [IPV6]:PORT, :PORT or unix:/PATH");
    host = str_sub(text, 0, (size_t)colon);
    if (host.len == 0)
        host = STR("0.0.0.0");
    else if (host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = str_sub(host, 1, host.len - 2);
    else if (str_find(host, ':') >= 0)
        return err_set(err, -EINVAL, "an IPv6 address is written in brackets: [%.*s]:%u",
                       STR_ARG(host), (unsigned)port);
    if (parse_ip(host, htons((in_port_t)port), ret) < 0)
        return err_set(err, -EINVAL, "'%.*s' is no IP address (names are not resolved)",
                       STR_ARG(host));
    return 0;
}

static size_t format_ip(const struct addr *addr, char buf[ADDR_TEXT_MAX], bool with_port)
{
    char host[INET6_ADDRSTRLEN] = "";
    unsigned port;
    int len;

    if (addr->any.sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, addr->space, sizeof(in));
        inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
        port = ntohs(in.sin_port);
        len = with_port ? snprintf(buf, ADDR_TEXT_MAX, "%s:%u", host, port)
                        : snprintf(buf, ADDR_TEXT_MAX, "%s", host);
    } else {
        struct sockaddr_in6 in6;

        memcpy(&in6, addr->space, sizeof(in6));
        inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
        port = ntohs(in6.sin6_port);
        len = with_port ? snprintf(buf, ADDR_TEXT_MAX, "[%s]:%u", host, port)
                        : snprintf(buf, ADDR_TEXT_MAX, "%s", host);
    }
    return (size_t)len;
}

size_t addr_format(const struct addr *addr, char buf[ADDR_TEXT_MAX])
{
    size_t path_at = offsetof(struct sockaddr_un, sun_path);

    if (addr->any.sa_family != AF_UNIX)
        return format_ip(addr, buf, true);
    return (size_t)snprintf(buf, ADDR_TEXT_MAX, "unix:%s",
                            addr->len > path_at ? addr->un.sun_path : "");
}

size_t addr_format_host(const struct addr *addr, char buf[ADDR_TEXT_MAX])
{
    if (addr->any.sa_family != AF_UNIX)
        return format_ip(addr, buf, false);
    return (size_t)snprintf(buf, ADDR_TEXT_MAX, "unix:");
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return a->len == b->len && memcmp(a->space, b->space, a->len) == 0;
}

/* Removes a socket file on which nobody listens any more. */
static void remove_stale(const struct addr *addr)
{
    struct stat st;
    int fd;

    if (stat(addr->un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    /* non-blocking: a full backlog means that somebody listens */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, &addr->any, addr->len) < 0 && errno == ECONNREFUSED)
        unlink(addr->un.sun_path);
    close(fd);
}

int addr_listen(const struct addr *addr, int backlog, bool reuse_port, struct err *err)
{
    int on = 1, error = 0, fd;
    char text[ADDR_TEXT_MAX];

    addr_format(addr, text);
    if (addr->any.sa_family == AF_UNIX)
        remove_stale(addr);
    fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, -errno, "cannot listen on %s: %s", text, strerror(errno));
    if (addr->any.sa_family != AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (reuse_port)
            setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    }
    if (bind(fd, &addr->any, addr->len) < 0 || listen(fd, backlog) < 0) {
        error = -errno;
        close(fd);
        return err_set(err, error, "cannot listen on %s: %s", text, strerror(-error));
    }
    return fd;
}

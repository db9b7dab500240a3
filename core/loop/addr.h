/* Socket addresses: TCP over IPv4 and IPv6, and Unix sockets. Numeric only: names are resolved by
 * those who may block. */
#ifndef LOOP_ADDR_H
#define LOOP_ADDR_H

#include "base/err.h"
#include "base/str.h"

#include <sys/socket.h>
#include <sys/un.h>

struct addr {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        char space[sizeof(struct sockaddr_un)];
    };
};

enum { ADDR_TEXT_MAX = 128 };

/* "127.0.0.1:8080", "[::1]:8080", ":8080" (all interfaces), "unix:/absolute/path". 0 or -EINVAL
 * with a text that says what is wrong. */
int addr_parse(struct str text, struct addr *ret, struct err *err);
/* The same form again; for a peer of a Unix socket "unix:". NUL-terminated, returns the length. */
size_t addr_format(const struct addr *addr, char buf[ADDR_TEXT_MAX]);
/* Only the IP address, or "unix:". */
size_t addr_format_host(const struct addr *addr, char buf[ADDR_TEXT_MAX]);
bool addr_eq(const struct addr *a, const struct addr *b);

/* A listening, non-blocking, close-on-exec socket; SO_REUSEPORT for TCP when asked. A Unix socket's
 * stale file is replaced (only when nobody listens on it). Descriptor or negative errno. */
int addr_listen(const struct addr *addr, int backlog, bool reuse_port, struct err *err);

#endif

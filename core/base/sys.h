/* The seam: clock, random numbers, allocator and the system calls of the data path, behind one
 * table of functions. Production code calls the sys_ functions; a test swaps single members to make
 * time stand still, an allocation fail or a send return EAGAIN.
 */
#ifndef BASE_SYS_H
#define BASE_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct sys_table {
    int64_t (*monotonic_ns)(void);
    int64_t (*wall_ns)(void);
    void (*random)(void *buf, size_t len); /* cryptographic quality */
    void *(*realloc)(void *ptr, size_t size);
    ssize_t (*recv)(int fd, void *buf, size_t len, int flags);
    ssize_t (*sendmsg)(int fd, const struct msghdr *msg, int flags);
    int (*accept4)(int fd, struct sockaddr *addr, socklen_t *len, int flags);
    int (*connect)(int fd, const struct sockaddr *addr, socklen_t len);
};

/* The table in use. Written by tests only, before threads start. */
extern struct sys_table sys;

static inline int64_t sys_monotonic_ns(void)
{
    return sys.monotonic_ns();
}

static inline int64_t sys_monotonic_ms(void)
{
    return sys.monotonic_ns() / 1000000;
}

static inline int64_t sys_wall_ns(void)
{
    return sys.wall_ns();
}

static inline int64_t sys_wall_ms(void)
{
    return sys.wall_ns() / 1000000;
}

static inline void sys_random(void *buf, size_t len)
{
    sys.random(buf, len);
}

static inline void *sys_realloc(void *ptr, size_t size)
{
    return sys.realloc(ptr, size);
}

/* Back to the real table. */
void sys_reset(void);

#endif

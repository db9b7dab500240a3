/* The real members of the seam. */
#include "base/sys.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t real_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static int64_t real_wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

static void real_random(void *buf, size_t len)
{
    char *at = buf;

    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);

        ASSERT(n > 0 || errno == EINTR);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

#define REAL_TABLE                                                                                 \
    {                                                                                              \
        .monotonic_ns = real_monotonic_ns, .wall_ns = real_wall_ns, .random = real_random,         \
        .realloc = realloc, .recv = recv, .sendmsg = sendmsg, .accept4 = accept4,                  \
        .connect = connect,                                                                        \
    }

struct sys_table sys = REAL_TABLE;

void sys_reset(void)
{
    static const struct sys_table real = REAL_TABLE;

    sys = real;
}

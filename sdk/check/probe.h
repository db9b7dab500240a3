/* HTTP requests to endpoints, as a gateway would send them. Blocking, with a time limit. */
#ifndef CHECK_PROBE_H
#define CHECK_PROBE_H

#include "util.h"

/* GET / on "host:port" or "unix:/path". Status code, or negative errno. */
int probe_get(const char *address, int64_t timeout_ms);

/* A request that stays under way: its head and half of its body are sent. A descriptor, or negative
 * errno. */
int probe_begin(const char *address, int64_t timeout_ms);
/* Sends the rest, reads the answer and closes. Status code, or negative errno; -ECONNRESET when the
 * function has gone. */
int probe_finish(int fd, int64_t timeout_ms);

#endif

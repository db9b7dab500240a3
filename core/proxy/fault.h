/* The table of faults: what a caller gets when the platform, not the function, answers. It drives
 * the replies, the tests and the page docs/faults.md.
 */
#ifndef PROXY_FAULT_H
#define PROXY_FAULT_H

#include "base/str.h"

/* X(NAME, name, status, layer, retry_after_s, hint) */
#define FAULT_TABLE(X)                                                                             \
    X(BAD_NAME, "bad-name", 400, "gateway", 0,                                                     \
      "a function name is [a-z0-9]([-a-z0-9]*[a-z0-9])?, with .NAMESPACE behind it if need be")    \
    X(BAD_REQUEST, "bad-request", 400, "client", 0, "the request is not valid HTTP/1.1")           \
    X(UNKNOWN_FUNCTION, "unknown-function", 404, "gateway", 0,                                     \
      "deploy it, or list what there is with GET /system/functions")                               \
    X(METHOD_REFUSED, "method-refused", 405, "gateway", 0, "CONNECT and TRACE are not forwarded")  \
    X(TOO_MANY_REQUESTS, "too-many-requests", 429, "gateway", 1,                                   \
      "the function's concurrency limit is reached; try again later")                              \
    X(TOO_MANY_PARKED, "too-many-parked", 503, "gateway", 1,                                       \
      "too many requests wait for this function to start")                                         \
    X(NO_ENDPOINT, "no-endpoint", 503, "provider", 1,                                              \
      "the function has no ready replica; its status and logs say why")                            \
    X(START_TIMEOUT, "start-timeout", 504, "provider", 1,                                          \
      "the function did not get ready in time; its status and logs say why")                       \
    X(CONNECT_FAILED, "connect-failed", 502, "function", 0,                                        \
      "the replica does not accept connections; its logs say why")                                 \
    X(UPSTREAM_RESET, "upstream-reset", 502, "function", 0,                                        \
      "the replica closed the connection before it answered")                                      \
    X(UPSTREAM_INVALID, "upstream-invalid", 502, "function", 0,                                    \
      "the replica's answer is not valid HTTP/1.1")                                                \
    X(TIMEOUT, "timeout", 504, "function", 0,                                                      \
      "the function took longer than its limit; raise com.openfaas.timeout or the global one")     \
    X(SHUTDOWN, "shutdown", 503, "gateway", 1, "the gateway is stopping; try again")               \
    X(NO_MEMORY, "no-memory", 503, "gateway", 1, "the gateway is out of memory or descriptors")

enum fault {
#define X(NAME, name, status, layer, retry, hint) FAULT_##NAME,
    FAULT_TABLE(X)
#undef X
        FAULT_COUNT
};

struct fault_info {
    const char *name;
    unsigned status;
    const char *layer;
    unsigned retry_after_s;
    const char *hint;
};
extern const struct fault_info fault_table[FAULT_COUNT];

#endif

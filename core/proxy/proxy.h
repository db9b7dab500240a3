/* The hot path: request -> function -> endpoint -> response. One proxy per worker loop; it reads
 * the route table, never a plugin. "Nobody serves this function" is posted through proxy_hooks
 * while the request parks.
 */
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include "http/client.h"
#include "http/stream.h"
#include "route/route.h"

struct proxy;

struct proxy_config {
    int64_t timeout_ms;         /* whole exchange, from the request head: 60 s; 0: none */
    int64_t stream_idle_ms;     /* event streams and tunnels: 5 min without a byte either way */
    unsigned parked_max;        /* per function: 1000 */
    size_t buffer_max;          /* bytes queued towards a slow side before reading stops: 64 KiB */
    size_t replay_max;          /* body bytes kept for one retry: 64 KiB */
    struct str default_ns;      /* of names without a suffix */
    bool forwarded_for_port;    /* X-Forwarded-For with the port, as OpenFaaS CE does */
    const struct addr *trusted; /* peers whose X-Forwarded-* are kept and appended to */
    size_t trusted_count;
    struct str served_by; /* X-Served-By */
};
extern const struct proxy_config proxy_config_default;

struct proxy_hooks {
    void *arg;
    /* A request waits for an endpoint of `fn`: any loop, may be called often, must not block. */
    void (*wanted)(void *arg, struct route_fn *fn);
};

/* What is known of a finished exchange; given to the access log. Borrowed. */
struct proxy_record {
    const struct stream *stream;
    struct str fn_name, fn_ns, replica, call_id;
    unsigned status;
    const char *layer; /* who made the status: "function", "gateway", "client" ... */
    const char *fault; /* name of the fault of proxy/fault.h, "" for none */
    int64_t accepted_ns, head_ns, routed_ns, parked_ns, connected_ns, first_byte_ns, end_ns;
    unsigned attempts;
    bool is_cold; /* it was parked */
};
typedef void proxy_access_f(void *arg, const struct proxy_record *record);

struct proxy_stats {
    uint64_t requests, retries, parked, refused;
    unsigned in_flight;
};

/* `cell` is this loop's index in the route table, which is told so. `access` may be NULL. */
struct proxy *proxy_new(struct loop *loop, unsigned cell, struct route_table *table,
                        struct client *client, const struct proxy_config *config,
                        const struct proxy_hooks *hooks, proxy_access_f *access, void *access_arg);
void proxy_free(struct proxy *proxy);
/* Takes a request whose path begins with /function/. */
void proxy_handle(struct proxy *proxy, struct stream *s);
void proxy_stats(const struct proxy *proxy, struct proxy_stats *ret);

#endif

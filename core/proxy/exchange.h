/* Shared insides of the proxy; only the files of this folder include it.
 *
 * One exchange per request, in its stream's pool: gone when on_done returns. It holds a function
 * (route_fn_enter), at times an endpoint (route_pick) and a call, and never a pointer into a table.
 */
#ifndef PROXY_EXCHANGE_H
#define PROXY_EXCHANGE_H

#include "base/assert.h"
#include "base/buf.h"
#include "proxy/fault.h"
#include "proxy/proxy.h"

enum { EXCHANGE_MAGIC = 0x45584348, RANDOM_STOCK = 1024 };

struct proxy {
    struct loop *loop;
    unsigned cell;
    struct route_table *table;
    struct client *client;
    struct proxy_config config;
    struct proxy_hooks hooks;
    proxy_access_f *access;
    void *access_arg;
    /* Written by the loop, read by anyone. */
    _Atomic uint64_t requests, retries, parked, refused;
    _Atomic unsigned in_flight;
    /* Random bytes for ids, drawn ahead: one system call for some 25 requests. */
    unsigned char random[RANDOM_STOCK];
    size_t random_left;
};

static inline void figure_add(_Atomic uint64_t *figure, uint64_t n)
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

enum exchange_state {
    EXCHANGE_NEW,
    EXCHANGE_PARKED,
    EXCHANGE_CALLING,   /* a call is under way, its final head has not come */
    EXCHANGE_ANSWERING, /* the function's head has gone out */
    EXCHANGE_TUNNEL,    /* after a 101 */
    EXCHANGE_ENDING     /* the answer is complete or given up: only on_done is to come */
};

struct exchange {
    unsigned magic;
    enum exchange_state state;
    struct proxy *proxy;
    struct stream *stream;
    struct route_fn *fn;       /* entered */
    struct route_endpoint *ep; /* counted in */
    struct call *call;
    struct route_parked parked;
    struct timer timer;      /* the deadline; of streams and tunnels: idle */
    struct timer park_timer; /* only while a park_timeout_ms runs */

    struct str name, ns; /* of the function, as found */
    struct str rest;     /* path for the function: empty, or from its slash on */
    struct str call_id, start_time, replica;

    /* The request's body on its way up. */
    struct buf replay;                /* what was read so far, if all of it was kept */
    uint64_t body_bytes;              /* read so far */
    const struct http_head *trailers; /* in the stream's pool */
    bool is_body_asked, is_body_done;
    bool is_up_blocked; /* too much queued towards the function */
    /* The answer on its way down. */
    bool is_answer_asked, is_down_blocked;

    bool is_connected; /* of the present call */
    bool is_streaming; /* the timer is the idle limit */
    bool is_stale_retried;
    unsigned attempts;
    int64_t timeout_ms, stream_idle_ms; /* 0: none */
    const struct fault_info *fault;     /* NULL: none */
    bool is_relayed;                    /* the status is the function's */
    int64_t routed_ns, parked_ns, connected_ns, first_byte_ns;
};

/* name.c */
struct proxy_name {
    struct str name, ns; /* ns: ptr NULL when there was no suffix */
    struct str rest;     /* empty, or from the slash behind the name on */
};
/* Cuts "/function/NAME[.NS][/path]". False when the name breaks the grammar. */
bool proxy_name_parse(struct str path, struct proxy_name *ret);

/* exchange.c */
void exchange_init_timers(struct exchange *ex);
void exchange_start(struct exchange *ex);
/* Another attempt: `ep` is counted in and taken over. */
void exchange_call(struct exchange *ex, struct route_endpoint *ep, bool is_fresh);
/* No endpoint can be had now: waits for one, or says why not. */
void exchange_park(struct exchange *ex);
/* The platform answers, or cuts what the function began. */
void exchange_fail(struct exchange *ex, enum fault fault);
/* Until the deadline; meaningless without one. */
int64_t exchange_left_ms(const struct exchange *ex);
/* From now on the answer is a stream or a tunnel: the idle limit replaces the deadline. */
void exchange_become_stream(struct exchange *ex);
void exchange_drop_endpoint(struct exchange *ex);
/* A byte passed: streams and tunnels live on. */
void exchange_touch(struct exchange *ex);
void exchange_end(struct exchange *ex, enum stream_end end);

/* relay.c */
extern const struct stream_handler relay_stream_handler;
extern const struct call_handler relay_call_handler;
void relay_request(struct exchange *ex);
/* Gives a new call what was read of the body before. */
void relay_replay(struct exchange *ex);

/* retry.c */
/* After a call failed before its answer: begins another one if the rules allow it. */
bool retry_try(struct exchange *ex, enum call_error error, bool has_sent);
/* Keeps bytes for a retry. False when they are too many. */
bool retry_keep(struct exchange *ex, struct str data);
bool retry_may_repeat(enum http_method method);

/* headers.c */
/* X-Call-Id, X-Start-Time: once per exchange. False when memory is short. */
bool headers_identify(struct exchange *ex);
/* 0, -ENOMEM, or -EBADMSG when the request cannot be forwarded. */
int headers_request(struct exchange *ex, struct http_head *out);
int headers_response(struct exchange *ex, const struct http_head *in, struct http_head *out);
/* What our own replies carry, too. */
int headers_own(struct exchange *ex, struct http_head *out);

/* reply.c */
void reply_fault(struct exchange *ex, const struct fault_info *fault);

/* proxy.c */
void proxy_random(struct proxy *proxy, void *buf, size_t len);

#endif

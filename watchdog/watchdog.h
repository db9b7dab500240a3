/* What the files of the watchdog share: the one watchdog, and an invocation from request to answer.
 */
#ifndef WATCHDOG_WATCHDOG_H
#define WATCHDOG_WATCHDOG_H

#include "config.h"
#include "http/client.h"
#include "http/server.h"

struct watchdog {
    struct config config;
    struct loop *loop;
    struct server *server;
    struct server *metrics_server;
    struct upstream *upstream; /* mode http */
    unsigned in_flight;
    bool is_accepting; /* what health and readiness say; the lock file follows it */
    bool is_ending;
};

/* Bytes that may wait for a slow reader before the fast side is not read any more. */
enum { QUEUE_MAX = 64 << 10 };

/* A request for the function. Lives in the pool of its stream. */
struct invocation {
    struct watchdog *w;
    struct stream *s;
    struct str target, path, query; /* as the function sees them */
    bool is_counted;                /* against max_inflight */
    struct timer deadline;
};

/* ---- request.c ---- */

/* Takes each request of the main port; arg is the watchdog. */
void request_handle(void *arg, struct stream *s);
/* Takes each request of the metrics port. */
void request_handle_metrics(void *arg, struct stream *s);

/* Calls on_due when the time of the invocation is over, if it has a limit. */
void invocation_set_deadline(struct invocation *inv, void (*on_due)(void *arg), void *arg);
/* The text of X-Duration-Seconds; ptr NULL when memory is short. */
struct str invocation_seconds(struct invocation *inv);
/* An answer of the watchdog's own. When the function's answer has begun, it is cut. */
void invocation_fail(struct invocation *inv, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The last act of each mode's on_done: counts and logs. */
void invocation_end(struct invocation *inv);

/* ---- The modes: each accepts the stream and ends the invocation ---- */

void invoke_http(struct invocation *inv);
void invoke_fork(struct invocation *inv);
void invoke_static(struct invocation *inv);

/* ---- upstream.c: the process of mode http ---- */

/* Starts it and begins to look whether it listens. NULL with a text when it cannot be started. */
struct upstream *upstream_start(struct watchdog *w, struct err *err);
/* Calls `run` once it listens: at once, or later. A waiter that dies earlier is taken out. */
struct upstream_waiter {
    struct list node;
    void (*run)(struct upstream_waiter *waiter);
};
void upstream_wait(struct upstream *upstream, struct upstream_waiter *waiter);
struct client *upstream_client(struct upstream *upstream);
const struct addr *upstream_addr(const struct upstream *upstream);
void upstream_signal(struct upstream *upstream, int signal);
bool upstream_is_running(const struct upstream *upstream);
void upstream_free(struct upstream *upstream);

/* ---- main.c ---- */

/* The function can be called: health, readiness and the lock file say so from now on. */
void watchdog_accept(struct watchdog *w);
/* The process of mode http has ended. */
void watchdog_upstream_ended(struct watchdog *w, int status);

#endif

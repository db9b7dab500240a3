/* A worker: one loop with its listeners, HTTP server, client and proxy. Workers share nothing but
 * the route table and the control API's door. */
#ifndef APP_WORKER_H
#define APP_WORKER_H

#include "api/api.h"
#include "http/client.h"
#include "http/server.h"
#include "http/tls.h"
#include "proxy/proxy.h"

struct worker;

struct worker_config {
    unsigned index;
    struct server_config server;
    struct client_config client;
    struct proxy_config proxy;
    struct proxy_hooks hooks;
    proxy_access_f *access; /* NULL: no access log */
    void *access_arg;
    struct route_table *routes;
    struct api *api;
};

struct worker_stats {
    struct server_stats server;
    struct client_stats client;
    struct proxy_stats proxy;
};

/* Makes the parts; the loop does not run yet. NULL when descriptors or memory are short. */
struct worker *worker_new(struct loop *loop, const struct worker_config *config);
void worker_run(struct worker *worker);
struct loop *worker_loop(const struct worker *worker);

/* The following may be called from the control loop; they are posted to the worker. */

/* Begins to accept on `fd`, which the worker owns from now on. */
void worker_listen(struct worker *worker, int fd, bool is_metrics);
/* Stops accepting on that descriptor. */
void worker_unlisten(struct worker *worker, int fd, bool is_metrics);
/* Takes times and limits of servers and client, and the access log, over; the rest of the
 * configuration stays as it was made. */
void worker_configure(struct worker *worker, const struct worker_config *config);
void worker_set_tls(struct worker *worker, struct tls_context *tls);
/* Stops accepting and lets connections finish; on_drained runs on `control`. */
void worker_drain(struct worker *worker, struct loop *control, void (*on_drained)(void *arg),
                  void *arg);
/* Cuts what is left. The loop goes on: replies to clients who have left, the ends of log streams
 * and the like still come to it. */
void worker_stop(struct worker *worker);

/* When its loop does not run, or no more. NULL is allowed. */
void worker_free(struct worker *worker);

/* Figures as of at most a second ago; any thread. */
void worker_stats(struct worker *worker, struct worker_stats *ret);

#endif

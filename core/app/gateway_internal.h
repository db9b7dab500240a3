/* What the files of the gateway share: gateway.c (parts), start.c, stop.c, reload.c, takeover.c,
 * figures.c. */
#ifndef APP_GATEWAY_INTERNAL_H
#define APP_GATEWAY_INTERNAL_H

#include "app/gateway.h"
#include "app/worker.h"
#include "auth/auth.h"
#include "base/vec.h"
#include "scale/scale.h"

enum gateway_phase { GATEWAY_STARTING, GATEWAY_SERVING, GATEWAY_STOPPING };

struct listening {
    int fd;
    struct addr addr;
    bool is_metrics;
};

struct gateway {
    struct settings *settings;
    char *file; /* NULL: embedded defaults */
    enum gateway_phase phase;
    int exit_status;
    const char *why_not_ready;

    struct loop *control;
    struct quiesce *domain;
    unsigned workers_count;
    struct loop **loops; /* of the workers */
    struct worker **workers;

    struct plugins *plugins;
    struct instance *store;
    struct instance **providers; /* as in settings->providers */

    struct auth *auth;
    struct route_table *routes;
    struct catalog *catalog;
    struct scale *scale;
    struct api *api;
    struct tls_context *tls;

    VEC(struct listening) sockets;
    struct handover *handover; /* answers a successor; NULL before serving */
    int predecessor;           /* connection to the gateway that we take over from, or -1 */

    int signal_fd;
    struct loop_watch *signal_watch;
    struct timer start_timer; /* gives up waiting for providers to be in step */
    struct timer drain_timer;
    unsigned pending; /* answers that the phase under way still waits for */
};

/* gateway.c */
void gateway_fail(struct gateway *gateway, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* start.c: everything up to listening; stop.c: and back. */
void gateway_start(struct gateway *gateway);
void gateway_stop(struct gateway *gateway);
bool gateway_is_ready(void *arg, const char **ret_why);

/* sockets.c: opens what `listen` and `metrics.listen` name, except what was taken over. */
int sockets_open(struct gateway *gateway, struct err *err);
/* Lets the workers accept. */
void sockets_serve(struct gateway *gateway);
void sockets_close(struct gateway *gateway);

/* reload.c: SIGHUP. */
void gateway_reload(struct gateway *gateway);

/* takeover.c: the older side waits for a successor on STATE_DIR/run/takeover.sock; the newer one
 * takes the sockets. */
struct handover *handover_new(struct gateway *gateway, struct err *err);
void handover_free(struct handover *handover);
int takeover_begin(struct gateway *gateway, struct err *err);
void takeover_ready(struct gateway *gateway);

/* figures.c: the gateway's own part of /metrics. */
void gateway_figures(void *arg, struct buf *out);

#endif

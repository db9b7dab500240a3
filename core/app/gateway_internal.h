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
    bool is_served;
    unsigned worker; /* which accepts on `worker_fd`, a duplicate that it owns */
    int worker_fd;
};

struct gateway {
    struct settings *settings;
    char *file;           /* NULL: embedded defaults */
    char *default_ns;     /* settings come and go, this stays */
    struct addr *trusted; /* proxy.trusted */
    size_t trusted_count;
    char *store_text; /* what the file said of the store at the start, to tell a change */
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
    unsigned draining; /* workers; 0 once their time is over */
    unsigned pending;  /* answers that stopping still waits for */

    struct reload *reload;  /* under way, or NULL */
    bool is_reload_wanted;  /* once more afterwards */
    bool is_reload_awaited; /* stopping goes on when it has ended */
};

/* gateway.c */
void gateway_fail(struct gateway *gateway, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

struct instance *gateway_make_instance(struct gateway *gateway, const struct settings *settings,
                                       const struct plugin_settings *wanted, uint32_t kind,
                                       struct instance *predecessor, struct conf_report *report);
struct catalog_provider gateway_binding(struct instance *instance,
                                        const struct plugin_settings *settings);
/* By the settings as they are. */
struct catalog_config gateway_catalog_config(const struct gateway *gateway);
struct worker_config gateway_worker_config(struct gateway *gateway, unsigned index);

/* start.c: everything up to listening; stop.c: and back. */
void gateway_start(struct gateway *gateway);
void gateway_stop(struct gateway *gateway);
bool gateway_is_ready(void *arg, const char **ret_why);
/* The reload that stopping waited for has ended. */
void gateway_reload_ended(struct gateway *gateway);

/* sockets.c: opens what `listen` and `metrics.listen` name, except what is open already. On failure
 * everything is as before. */
int sockets_open(struct gateway *gateway, const struct settings *settings, struct err *err);
/* Lets the workers accept on those that they do not yet. */
void sockets_serve(struct gateway *gateway);
/* Closes those that the settings do not name. */
void sockets_retire(struct gateway *gateway, const struct settings *settings);
void sockets_close(struct gateway *gateway);

/* reload.c: SIGHUP. */
void gateway_reload(struct gateway *gateway);
/* The gateway stops: what a reload has begun ends; gateway->reload is NULL when it has. */
void gateway_reload_cancel(struct gateway *gateway);

/* reload_settings.c: the part of a reload that needs no plugin. */
/* Keys that only a restart changes keep their running value in `fresh`, with a warning each. */
void reload_keep_fixed(struct gateway *gateway, struct settings *fresh);
/* Everything but providers and sockets, from gateway->settings. `auth` and `tls` are taken over;
 * `tls` may be NULL. */
void reload_apply(struct gateway *gateway, struct auth *auth, struct tls_context *tls);
/* A provider's or store's entry as text, equal exactly when nothing of it has changed. Owned. */
char *reload_entry_text(const struct settings *settings, const struct plugin_settings *entry);

/* takeover.c: the older side waits for a successor on STATE_DIR/run/takeover.sock; the newer one
 * takes the sockets. */
struct handover *handover_new(struct gateway *gateway, struct err *err);
void handover_free(struct handover *handover);
int takeover_begin(struct gateway *gateway, struct err *err);
void takeover_ready(struct gateway *gateway);

/* openapi.c: the text of docs/openapi.yaml, NUL-terminated. */
const char *openapi_text(void);

/* figures.c: the gateway's own part of /metrics. */
void gateway_figures(void *arg, struct buf *out);

#endif

/* The control API: OpenFaaS's routes under /system, health, info, metrics.
 *
 * Requests arrive on worker loops. The door (api/door.c) authenticates, collects the body within
 * its limit and posts the request to the control loop, where the handlers of api/<resource>.c
 * answer from the catalog; replies travel back by mailbox. Log streams flow from a lane thread to
 * the worker loop with back-pressure.
 */
#ifndef API_API_H
#define API_API_H

#include "auth/auth.h"
#include "catalog/catalog.h"
#include "http/stream.h"

struct api;

struct api_config {
    struct loop *control;
    struct catalog *catalog;
    struct auth *auth;
    size_t body_max;      /* of one request: 4 MiB */
    unsigned waiting_max; /* requests in the control loop at a time: 1024, then 503 */
    const char *version;  /* of the gateway */
    const char *commit;
    const char *openapi_file; /* text of docs/openapi.yaml, served at /system/openapi.yaml */
    bool is_upsert;           /* PUT of an unknown function creates it instead of 404 */
    /* Writes the gateway's own figures (process, loops, proxies, HTTP servers) into the exposition.
     */
    void (*on_metrics)(void *arg, struct buf *out);
    /* False while starting or stopping: /readyz answers 503 with *ret_why. */
    bool (*is_ready)(void *arg, const char **ret_why);
    void *arg;
};

struct api *api_new(const struct api_config *config);
void api_free(struct api *api);
/* The gateway stops: from now on mutations are answered 503, and log streams that follow end. From
 * the control loop. */
void api_stop(struct api *api);
/* Takes a request that is not an invocation. Any worker loop. */
void api_handle(struct api *api, struct stream *s);
/* Takes a request on the metrics listener: /metrics, /healthz; no authentication. */
void api_handle_metrics(struct api *api, struct stream *s);

#endif

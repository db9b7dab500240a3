/* A control API request on its way: made on a worker loop by the door, handled on the control loop,
 * answered back on the worker loop. */
#ifndef API_REQUEST_H
#define API_REQUEST_H

#include "api/api.h"
#include "base/buf.h"

struct route;
struct log_feed;

struct request {
    struct loop_msg msg; /* one way at a time */
    struct api *api;
    struct loop *worker;
    struct stream *stream; /* worker loop only; NULL once the client has gone */
    const struct route *route;
    struct pool pool;
    struct buf body;
    int64_t started_ns;

    /* what handlers read */
    enum http_method method;
    struct str name;  /* the {} of the route's path; empty: none */
    struct str query; /* raw */

    /* the reply */
    unsigned status;
    struct str content_type;
    struct buf reply;
    uint32_t retry_after_s;
    struct log_feed *feed; /* of a log stream */
};

typedef void request_handler_f(struct request *request);

/* ---- Reading the request; control loop ---- */

/* A query parameter, percent-decoded; the last one wins. ptr NULL: absent. */
struct str request_param(struct request *request, const char *name);
/* The namespace meant: of the query, else `from_body` (may be empty), else the default; resolved.
 */
struct str request_ns(struct request *request, struct str from_body);

/* ---- Answering, exactly once; control loop ---- */

void request_reply(struct request *request, unsigned status);
/* request->reply holds the body already. */
void request_reply_body(struct request *request, unsigned status, const char *content_type);
void request_reply_text(struct request *request, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The outcome of a plugin or catalog call: `ok_status` with an empty body, or the error's status
 * with its text. A plugin_done_f adapter is request_done. */
void request_reply_result(struct request *request, unsigned ok_status,
                          const struct plugin_result *result);
/* 202, or the error. */
void request_done(void *request, const struct plugin_result *result);
/* 201, or the error. */
void request_created(void *request, const struct plugin_result *result);

/* ---- Handlers, one file per resource ---- */

request_handler_f functions_list, functions_create, functions_update, functions_remove,
    function_status, function_scale, function_alert;
request_handler_f secrets_list, secrets_create, secrets_update, secrets_remove;
request_handler_f namespaces_list, namespace_get, namespace_create, namespace_update,
    namespace_remove;
request_handler_f logs_open;
request_handler_f info_get, health_get, live_get, ready_get, root_get, openapi_get, metrics_get;

/* ---- Log streams (logs.c) ---- */

/* Gives the stream over to request->feed, instead of an answer; control loop. */
void request_begin_feed(struct request *request);
/* The stream side, on the worker loop: begins the response. */
void log_feed_begin(struct request *request);
/* The control side ends all streams. */
void logs_stop(struct api *api);

/* ---- The API object ---- */

struct metric_set;
struct api {
    struct api_config config;
    _Atomic unsigned waiting;
    _Atomic bool is_stopping;
    struct metric_set *timings; /* of /system requests: method, path, status */
    struct list feeds;          /* log streams; control loop */
};

#endif

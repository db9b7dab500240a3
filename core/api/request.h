/* A request on its way through the API, and what the files of the API share.
 *
 * The door (door.c) makes it on a worker loop, collects the body and posts it to the control loop,
 * where a handler runs; whoever answers posts it back. It belongs to one loop at a time: `stream`
 * and what stands with it are touched by the worker loop only, all else by whoever has the request.
 * A client that leaves meanwhile changes nothing for the handler: mutations run to their end.
 */
#ifndef API_REQUEST_H
#define API_REQUEST_H

#include "api/api.h"
#include "api/json.h"
#include "api/target.h"
#include "metrics/metrics.h"

#include <stdatomic.h>

struct api_request;
struct log_stream;

struct api_route {
    enum http_method method;
    const char *pattern;
    enum permission permission;
    void (*run)(struct api_request *r); /* on the control loop; must end in one api_reply_... */
};
/* End with run NULL. */
extern const struct api_route api_routes[];
extern const struct api_route api_metrics_routes[];

struct api {
    struct api_config config;
    struct metric_set *requests; /* replies under /system */
    atomic_uint waiting;         /* authenticated requests between the door and their reply */
    bool is_stopping;            /* control loop */
    struct list logs;            /* control loop: struct log_stream */
};

enum api_phase {
    API_COLLECTING, /* the worker reads the body */
    API_WAITING,    /* the control loop has it */
    API_STREAMING,  /* a log stream has it; the worker sends */
    API_REPLIED
};

enum { API_FIELDS_MAX = 4, API_MAGIC = 0x41504931 };
#define NAME_RULE "lower-case letters, digits and inner hyphens, at most 63"

struct api_request {
    unsigned magic;
    struct api *api;
    const struct api_route *route;
    struct pool pool; /* lives as long as the request */
    struct str name;  /* at {name} of the pattern */
    struct str query; /* raw */
    struct str peer, principal;
    char *body; /* wiped when the request ends */
    size_t body_len, body_cap;
    bool is_head, is_counted;
    int64_t begun_ns;

    /* For handlers. */
    json_t *json;              /* the body, once read; strings of it are borrowed */
    struct str ns;             /* resolved by request_namespace */
    struct str what;           /* "deploy of echo.openfaas-fn": begins error texts */
    struct str target;         /* name that the call is about, when it comes from the body */
    struct instance *provider; /* who is asked, for error texts; NULL: nobody */

    /* The reply. */
    unsigned status;
    const char *type;
    struct buf reply;
    struct http_field fields[API_FIELDS_MAX];
    size_t fields_count;

    /* Worker loop. */
    struct loop *worker;
    struct stream *stream; /* NULL: the client has left */
    enum api_phase phase;
    struct log_stream *log;
    struct loop_msg msg;
};

/* ---- Handlers, on the control loop. Each request gets exactly one reply. ---- */

void api_reply(struct api_request *r, unsigned status, const char *type); /* body: r->reply */
void api_reply_empty(struct api_request *r, unsigned status);
void api_reply_text(struct api_request *r, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* 200 with what was written, or 503 when memory ran out. */
void api_reply_json(struct api_request *r, const struct json_out *out);
/* A field of the reply; the value is copied. */
void api_field(struct api_request *r, struct str name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The outcome of a mutation: `status` without a body, or the failure. */
void api_reply_result(struct api_request *r, unsigned status, const struct plugin_result *result);
/* plugin_done_f with the request as `arg`: 202 on success. */
void api_on_done(void *arg, const struct plugin_result *result);

/* ---- error.c ---- */

/* HTTP status of a FNG_* class. */
unsigned api_status_of(int32_t error);
void api_reply_failure(struct api_request *r, const struct plugin_result *result);

/* ---- What handlers have in common (handler.c). false: a reply was sent. ---- */

bool request_json(struct api_request *r, const struct json_field *fields, size_t count,
                  void *target);
/* Query, else body, else default; into r->ns. */
bool request_namespace(struct api_request *r, struct fng_str from_body);
bool request_check(struct api_request *r, bool is_valid, const char *field, const char *grammar,
                   struct str value);
struct str request_param(struct api_request *r, struct str name);
/* A function name by its grammar; remembers it for error texts: "deploy of NAME.NS". */
bool request_function(struct api_request *r, const char *verb, const char *field, struct str name);
/* For error texts: the provider of r->target, or of the namespace when there is no such function.
 */
void request_provider(struct api_request *r);

/* ---- logs.c, worker loop ---- */

/* The client has left while the stream ran. */
void log_stream_gone(struct log_stream *log);
void log_stream_drained(struct log_stream *log);
void api_end_logs(struct api *api);

/* ---- door.c, worker loop ---- */

/* The exchange is over: counts it. */
void door_count(const struct api_request *r, unsigned status);
void door_free(struct api_request *r);
/* Sends r's reply and ends the exchange; frees r when the client has left. */
void door_reply(struct api_request *r);

#define API_TEXT "text/plain; charset=utf-8"
#define API_JSON "application/json"

#endif

/* The door: what happens to an API request on its worker loop. It is matched, authenticated, its
 * body collected within the limit, and posted to the control loop; the reply comes back the same
 * way. */
#include "api/routes.h"
#include "base/log.h"
#include "base/sys.h"
#include "metrics/metrics.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

/* ---- The API object ---- */

struct api *api_new(const struct api_config *config)
{
    static const char *const labels[] = {"method", "path", "status"};
    static const double bounds[] = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
    struct api *api = xcalloc(1, sizeof(*api));

    api->config = *config;
    api->timings = metric_set_new(labels, 3, bounds, sizeof(bounds) / sizeof(bounds[0]), 256);
    list_init(&api->feeds);
    return api;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    metric_set_free(api->timings);
    mem_free(api);
}

void api_stop(struct api *api)
{
    atomic_store(&api->is_stopping, true);
    logs_stop(api);
}

/* ---- Life of a request ---- */

static struct request *request_new(struct api *api, struct stream *s, const struct route *route,
                                   struct str name)
{
    struct request *request = xcalloc(1, sizeof(*request));

    request->api = api;
    request->worker = s->loop;
    request->stream = s;
    request->route = route;
    request->method = s->request.method;
    request->started_ns = sys_monotonic_ns();
    pool_init(&request->pool, 0);
    request->name = pool_str(&request->pool, name);
    request->query = pool_str(&request->pool, s->request.query);
    buf_init(&request->body, api->config.body_max);
    buf_init(&request->reply, 0);
    return request;
}

static void request_free(struct request *request)
{
    if (request->body.mem)
        explicit_bzero(request->body.mem, request->body.cap); /* it may have held a secret */
    buf_free(&request->body);
    buf_free(&request->reply);
    pool_free(&request->pool);
    mem_free(request);
}

/* ---- On the way back ---- */

static void send_reply(struct request *request)
{
    struct stream *s = request->stream;
    char retry_after[16];
    struct http_head head;

    http_head_init(&head, &s->pool);
    if (request->retry_after_s) {
        int len = snprintf(retry_after, sizeof(retry_after), "%u", request->retry_after_s);

        (void)http_head_add(&head, STR("Retry-After"),
                            pool_str(&s->pool, str_make(retry_after, (size_t)len)));
    }
    (void)http_head_add(&head, STR("Cache-Control"), STR("no-store"));
    (void)http_head_add(&head, STR("X-Content-Type-Options"), STR("nosniff"));
    if (stream_reply(s, request->status, &head, request->content_type, buf_str(&request->reply)) <
        0)
        stream_abort(s);
}

/* Worker loop: the control loop has answered. */
static void run_answered(struct loop_msg *msg)
{
    struct request *request = CONTAINER_OF(msg, struct request, msg);

    atomic_fetch_sub(&request->api->waiting, 1);
    if (!request->stream) {
        request_free(request);
        return;
    }
    request->stream->handler_arg = NULL; /* the request ends here; the stream goes on alone */
    send_reply(request);
    request_free(request);
}

static void count(struct request *request)
{
    struct str method = request->method == HTTP_GET      ? STR("GET")
                        : request->method == HTTP_POST   ? STR("POST")
                        : request->method == HTTP_PUT    ? STR("PUT")
                        : request->method == HTTP_DELETE ? STR("DELETE")
                                                         : STR("other");
    char status[8];
    struct str values[3] = {method, request->route->path, STR_NONE};

    snprintf(status, sizeof(status), "%u", request->status);
    values[2] = str_from(status);
    metric_set_observe(request->api->timings, values,
                       (double)(sys_monotonic_ns() - request->started_ns) / 1e9);
}

static void answer(struct request *request, unsigned status)
{
    request->status = status;
    count(request);
    request->msg.run = run_answered;
    loop_post(request->worker, &request->msg);
}

/* Worker loop: a log stream begins. */
static void run_feed_begun(struct loop_msg *msg)
{
    struct request *request = CONTAINER_OF(msg, struct request, msg);

    atomic_fetch_sub(&request->api->waiting, 1);
    log_feed_begin(request);
    request_free(request);
}

void request_begin_feed(struct request *request)
{
    request->status = 200;
    count(request);
    request->msg.run = run_feed_begun;
    loop_post(request->worker, &request->msg);
}

void request_reply(struct request *request, unsigned status)
{
    buf_clear(&request->reply);
    answer(request, status);
}

void request_reply_body(struct request *request, unsigned status, const char *content_type)
{
    request->content_type = str_from(content_type);
    answer(request, status);
}

void request_reply_text(struct request *request, unsigned status, const char *format, ...)
{
    va_list args;

    buf_clear(&request->reply);
    va_start(args, format);
    (void)buf_vprintf(&request->reply, format, args);
    va_end(args);
    (void)buf_add(&request->reply, "\n", 1);
    request_reply_body(request, status, "text/plain; charset=utf-8");
}

/* ---- On the way in ---- */

static void run_handler(struct loop_msg *msg)
{
    struct request *request = CONTAINER_OF(msg, struct request, msg);

    request->route->handler(request);
}

static void refuse(struct stream *s, unsigned status, struct http_head *head, struct str text)
{
    if (stream_reply(s, status, head, STR("text/plain; charset=utf-8"), text) < 0)
        stream_abort(s);
}

/* The body is complete: over to the control loop. */
static void post_request(struct request *request)
{
    struct api *api = request->api;
    bool is_change = request->method != HTTP_GET && request->method != HTTP_HEAD;
    bool is_stopping = is_change && atomic_load(&api->is_stopping);

    if (is_stopping || atomic_fetch_add(&api->waiting, 1) >= api->config.waiting_max) {
        struct stream *s = request->stream;
        struct http_head head;

        if (!is_stopping)
            atomic_fetch_sub(&api->waiting, 1);
        http_head_init(&head, &s->pool);
        (void)http_head_add(&head, STR("Retry-After"), STR("1"));
        s->handler_arg = NULL;
        request_free(request);
        refuse(s, 503, &head,
               is_stopping ? STR("the gateway is stopping; try again\n")
                           : STR("too many API requests wait for an answer; try again\n"));
        return;
    }
    request->msg.run = run_handler;
    loop_post(api->config.control, &request->msg);
}

static void on_body(void *arg, struct str data)
{
    struct request *request = arg;
    struct stream *s = request->stream;

    if (buf_add_str(&request->body, data) == 0) {
        stream_read(s);
        return;
    }
    s->handler_arg = NULL;
    request_free(request);
    refuse(s, 413, NULL, STR("the request body is larger than limits.api_body_bytes allows\n"));
}

static void on_body_end(void *arg, const struct http_head *trailers)
{
    (void)trailers;
    if (arg)
        post_request(arg);
}

static bool is_posted(const struct request *request)
{
    return request->msg.run != NULL;
}

static void on_done(void *arg, enum stream_end end)
{
    struct request *request = arg;

    (void)end;
    if (!request)
        return;
    if (is_posted(request))
        request->stream = NULL; /* freed when the control loop has answered */
    else
        request_free(request);
}

static const struct stream_handler request_stream = {
    .on_body = on_body, .on_body_end = on_body_end, .on_done = on_done};

static void refuse_credentials(struct stream *s, enum auth_verdict verdict)
{
    struct http_head head;

    http_head_init(&head, &s->pool);
    if (verdict == AUTH_DENIED) {
        refuse(s, 403, &head, STR("these credentials do not permit this\n"));
    } else if (verdict == AUTH_THROTTLED) {
        (void)http_head_add(&head, STR("Retry-After"), STR("60"));
        refuse(s, 429, &head, STR("too many wrong credentials from this address; wait a minute\n"));
    } else {
        (void)http_head_add(&head, STR("WWW-Authenticate"), STR("Basic realm=\"Restricted\""));
        refuse(s, 401, &head, STR("invalid credentials"));
    }
}

static void refuse_path(struct stream *s, const char *allow)
{
    struct http_head head;

    http_head_init(&head, &s->pool);
    if (!allow[0]) {
        refuse(s, 404, &head, STR("404 page not found\n"));
        return;
    }
    (void)http_head_add(&head, STR("Allow"), pool_str(&s->pool, str_from(allow)));
    refuse(s, 405, &head, STR("this path does not take this method\n"));
}

/* A browser on another site must not be able to change anything with stored credentials. */
static bool is_cross_site(const struct stream *s)
{
    return s->request.method != HTTP_GET && s->request.method != HTTP_HEAD &&
           str_eq(http_head_get(&s->request, STR("Sec-Fetch-Site")), STR("cross-site"));
}

void api_handle(struct api *api, struct stream *s)
{
    char allow[64], peer[ADDR_TEXT_MAX];
    struct str name, principal;
    const struct route *route = route_find(s->request.path, s->request.method, &name, allow);
    enum auth_verdict verdict;

    stream_accept(s, &request_stream, NULL);
    addr_format_host(&s->peer, peer);
    /* what does not exist is nobody's business without credentials either */
    verdict = auth_check(api->config.auth, &s->request,
                         route ? route->permission : PERM_SYSTEM_INFO, str_from(peer), &principal);
    if (verdict != AUTH_OK) {
        refuse_credentials(s, verdict);
        return;
    }
    if (!route) {
        refuse_path(s, allow);
        return;
    }
    if (is_cross_site(s)) {
        refuse(s, 403, NULL, STR("changes are not taken from pages of another site\n"));
        return;
    }
    s->handler_arg = request_new(api, s, route, name);
    stream_read(s);
}

void api_handle_metrics(struct api *api, struct stream *s)
{
    if (!str_eq(s->request.path, STR("/metrics"))) {
        api_handle(api, s);
        return;
    }
    stream_accept(s, &request_stream, NULL);
    s->handler_arg = request_new(api, s, route_metrics(), STR(""));
    stream_read(s);
}

/* ---- Reading the request ---- */

static int hex_digit(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent- and plus-decoding of a query component. */
static struct str decode(struct pool *pool, struct str s)
{
    char *out = pool_alloc(pool, s.len + 1);
    size_t len = 0;

    for (size_t i = 0; out && i < s.len; i++) {
        int high = i + 2 < s.len ? hex_digit(s.ptr[i + 1]) : -1;
        int low = i + 2 < s.len ? hex_digit(s.ptr[i + 2]) : -1;

        if (s.ptr[i] == '%' && high >= 0 && low >= 0) {
            out[len++] = (char)(high * 16 + low);
            i += 2;
        } else {
            out[len++] = s.ptr[i] == '+' ? ' ' : s.ptr[i];
        }
    }
    if (out)
        out[len] = '\0';
    return str_make(out, out ? len : 0);
}

struct str request_param(struct request *request, const char *name)
{
    struct str rest = request->query, pair, value = STR_NONE;

    while (str_next(&rest, '&', &pair)) {
        ptrdiff_t equals = str_find(pair, '=');
        struct str key = equals < 0 ? pair : str_sub(pair, 0, (size_t)equals);

        if (str_eq(key, str_from(name)))
            value = equals < 0 ? STR("") : str_sub(pair, (size_t)equals + 1, pair.len);
    }
    return value.ptr ? decode(&request->pool, value) : STR_NONE;
}

struct str request_ns(struct request *request, struct str from_body)
{
    struct str ns = request_param(request, "namespace");

    return catalog_resolve_ns(request->api->config.catalog, ns.len ? ns : from_body);
}

/* The door, on worker loops: finds the route, authenticates, collects the body within its limit,
 * posts the request to the control loop and gives the reply to the client when it comes back. */
#include "api/routes.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/sys.h"

#include <stdio.h>

enum { BODY_CAP_MIN = 4096, SERIES_MAX = 1024 };

static const double seconds_bounds[] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10};

/* ---- The API as a whole ---- */

struct api *api_new(const struct api_config *config)
{
    static const char *const labels[] = {"method", "path", "status"};
    struct api *api = xcalloc(1, sizeof(*api));

    api->config = *config;
    api->requests = metric_set_new(labels, 3, seconds_bounds,
                                   sizeof(seconds_bounds) / sizeof(seconds_bounds[0]), SERIES_MAX);
    list_init(&api->logs);
    json_wipe_on_free();
    return api;
}

void api_stop(struct api *api)
{
    api->is_stopping = true;
    api_end_logs(api);
}

void api_free(struct api *api)
{
    if (!api)
        return;
    metric_set_free(api->requests);
    mem_free(api);
}

/* ---- Requests ---- */

static struct api_request *request_of(void *arg)
{
    struct api_request *r = arg;

    ASSERT_MAGIC(r, API_MAGIC);
    return r;
}

static void door_uncount(struct api_request *r)
{
    if (r->is_counted)
        atomic_fetch_sub(&r->api->waiting, 1);
    r->is_counted = false;
}

void door_free(struct api_request *r)
{
    door_uncount(r);
    if (r->json)
        json_decref(r->json);
    if (r->body)
        explicit_bzero(r->body, r->body_cap);
    mem_free(r->body);
    buf_free(&r->reply);
    pool_free(&r->pool);
    r->magic = 0;
    mem_free(r);
}

/* One line for each change that somebody made or tried to make. */
static void audit(const struct api_request *r, unsigned status, double seconds)
{
    if (!r->route || r->route->method == HTTP_GET || status == 401)
        return;
    log_info("api", "%s %s (%.*s): %u after %.0f ms, for %.*s from %.*s",
             http_method_text(r->route->method), r->route->pattern, STR_ARG(r->what), status,
             seconds * 1000, STR_ARG(r->principal.len ? r->principal : STR("nobody")),
             STR_ARG(r->peer));
}

void door_count(const struct api_request *r, unsigned status)
{
    double seconds = (double)(sys_monotonic_ns() - r->begun_ns) / 1e9;
    const char *method = r->route ? http_method_text(r->route->method) : "OTHER";
    char code[16];

    audit(r, status, seconds);
    if (r->route && !str_starts(str_from(r->route->pattern), STR("/system/")))
        return;
    snprintf(code, sizeof(code), "%u", status);
    metric_set_observe(r->api->requests,
                       (struct str[]){str_from(method),
                                      r->route ? str_from(r->route->pattern) : STR("other"),
                                      str_from(code)},
                       seconds);
}

void door_reply(struct api_request *r)
{
    struct stream *s = r->stream;
    struct http_head head;
    int err = 0;

    r->phase = API_REPLIED;
    door_uncount(r);
    door_count(r, r->status);
    if (!s) {
        door_free(r);
        return;
    }
    http_head_init(&head, &s->pool);
    err = http_head_add(&head, STR("Cache-Control"), STR("no-store"));
    if (!err)
        err = http_head_add(&head, STR("X-Content-Type-Options"), STR("nosniff"));
    for (size_t i = 0; i < r->fields_count && !err; i++)
        err = http_head_add(&head, r->fields[i].name, r->fields[i].value);
    if (err)
        stream_abort(s);
    else
        stream_reply(s, r->status, &head, str_from(r->type), buf_str(&r->reply));
}

static void door_refuse(struct api_request *r, unsigned status, const char *text)
{
    r->status = status;
    r->type = API_TEXT;
    (void)buf_printf(&r->reply, "%s\n", text);
    door_reply(r);
}

static void door_field(struct api_request *r, struct str name, struct str value)
{
    ASSERT(r->fields_count < API_FIELDS_MAX);
    r->fields[r->fields_count++] = (struct http_field){name, value};
}

/* ---- To the control loop ---- */

static void request_arrived(struct loop_msg *msg)
{
    struct api_request *r = CONTAINER_OF(msg, struct api_request, msg);

    if (r->api->is_stopping && r->route->method != HTTP_GET) {
        api_field(r, STR("Retry-After"), "1");
        api_reply_text(r, 503, "the gateway is stopping and takes no changes; try again");
        return;
    }
    r->route->run(r);
}

static void door_post(struct api_request *r)
{
    r->phase = API_WAITING;
    r->msg.run = request_arrived;
    loop_post(r->api->config.control, &r->msg);
}

/* ---- The body ---- */

/* Grows by copying and wiping: realloc would leave old copies of secrets behind. */
static bool body_reserve(struct api_request *r, size_t need)
{
    size_t cap = r->body_cap ? r->body_cap : BODY_CAP_MIN;
    char *grown;

    if (need <= r->body_cap)
        return true;
    while (cap < need)
        cap *= 2;
    grown = mem_alloc(cap);
    if (!grown)
        return false;
    if (r->body) {
        memcpy(grown, r->body, r->body_len);
        explicit_bzero(r->body, r->body_cap);
        mem_free(r->body);
    }
    r->body = grown;
    r->body_cap = cap;
    return true;
}

static void refuse_body(struct api_request *r)
{
    char text[120];

    snprintf(text, sizeof(text),
             "the request body is larger than %zu bytes (limits.api_body_bytes)",
             r->api->config.body_max);
    door_refuse(r, 413, text);
}

static void door_on_body(void *arg, struct str data)
{
    struct api_request *r = request_of(arg);

    if (r->phase != API_COLLECTING)
        return;
    if (data.len > r->api->config.body_max - r->body_len) {
        refuse_body(r);
        return;
    }
    if (!body_reserve(r, r->body_len + data.len)) {
        door_refuse(r, 503, "the gateway is out of memory");
        return;
    }
    memcpy(r->body + r->body_len, data.ptr, data.len);
    r->body_len += data.len;
    stream_read(r->stream);
}

static void door_on_body_end(void *arg, const struct http_head *trailers)
{
    struct api_request *r = request_of(arg);

    (void)trailers;
    if (r->phase == API_COLLECTING)
        door_post(r);
}

static void door_on_drained(void *arg)
{
    struct api_request *r = request_of(arg);

    if (r->phase == API_STREAMING)
        log_stream_drained(r->log);
}

static void door_on_done(void *arg, enum stream_end end)
{
    struct api_request *r = request_of(arg);

    (void)end;
    r->stream = NULL;
    if (r->phase == API_STREAMING)
        log_stream_gone(r->log);
    else if (r->phase != API_WAITING)
        door_free(r);
}

static const struct stream_handler door_handler = {
    .on_body = door_on_body,
    .on_body_end = door_on_body_end,
    .on_drained = door_on_drained,
    .on_done = door_on_done,
};

/* ---- Who may come in ---- */

static bool is_change(enum http_method method)
{
    return method != HTTP_GET && method != HTTP_HEAD && method != HTTP_OPTIONS;
}

/* A page of another site makes the browser of a logged-in operator send a change (CSRF). */
static bool is_cross_site(const struct http_head *request)
{
    return is_change(request->method) &&
           str_ieq(http_head_get(request, STR("Sec-Fetch-Site")), STR("cross-site"));
}

static bool door_authenticate(struct api_request *r, enum permission permission)
{
    switch (
        auth_check(r->api->config.auth, &r->stream->request, permission, r->peer, &r->principal)) {
    case AUTH_OK: /* a reload may free the name before the reply */
        r->principal = pool_str(&r->pool, r->principal);
        return true;
    case AUTH_DENIED:
        door_refuse(r, 403, "this user may not do that");
        return false;
    case AUTH_THROTTLED:
        door_field(r, STR("Retry-After"), STR("60"));
        door_refuse(r, 429, "too many wrong passwords from this address; try again in a minute");
        return false;
    case AUTH_NEEDED:
        break;
    }
    door_field(r, STR("WWW-Authenticate"), STR("Basic realm=\"Restricted\""));
    r->status = 401;
    r->type = API_TEXT;
    (void)buf_add_str(&r->reply, STR("invalid credentials"));
    door_reply(r);
    return false;
}

static void refuse_route(struct api_request *r, const struct api_route *table, struct str path)
{
    char allow[ALLOW_TEXT_MAX];

    route_allow(table, path, allow);
    if (!allow[0]) {
        door_refuse(r, 404, "there is no such path; GET /system/openapi.yaml lists them all");
        return;
    }
    door_field(r, STR("Allow"), pool_str(&r->pool, str_from(allow)));
    door_refuse(r, 405, "this path does not take that method");
}

/* Counts the request among those that wait; probes are never refused. */
static bool door_admit(struct api_request *r)
{
    if (r->route->permission == PERM_PUBLIC)
        return true;
    r->is_counted = true;
    if (atomic_fetch_add(&r->api->waiting, 1) < r->api->config.waiting_max)
        return true;
    door_field(r, STR("Retry-After"), STR("1"));
    door_refuse(r, 503, "too many requests wait for the gateway already; try again");
    return false;
}

static void door_enter(struct api_request *r, const struct api_route *table)
{
    const struct http_head *request = &r->stream->request;
    struct str path, name = STR_NONE;
    enum permission permission;
    const char *why = path_normalise(&r->pool, request->path, &path);

    if (why) {
        door_refuse(r, 400, why);
        return;
    }
    r->route = route_find(table, request->method, path, &name);
    permission = r->route                ? r->route->permission
                 : route_is_system(path) ? PERM_SYSTEM_INFO
                                         : PERM_PUBLIC;
    if (is_cross_site(request)) {
        door_refuse(r, 403, "a page of another site asked for this change; it was refused");
        return;
    }
    if (!door_authenticate(r, permission))
        return;
    if (!r->route) {
        refuse_route(r, table, path);
        return;
    }
    r->name = name;
    r->query = pool_str(&r->pool, request->query);
    if (!door_admit(r))
        return;
    if (r->route->method == HTTP_GET || request->framing == HTTP_BODY_NONE)
        door_post(r);
    else if (request->framing == HTTP_BODY_LENGTH && request->length > r->api->config.body_max)
        refuse_body(r);
    else
        stream_read(r->stream);
}

static void lost_on_done(void *arg, enum stream_end end)
{
    (void)arg, (void)end;
}

static void door_open(struct api *api, struct stream *s, const struct api_route *table)
{
    static const struct stream_handler lost = {.on_done = lost_on_done};
    struct api_request *r = mem_zalloc(sizeof(*r));
    char peer[ADDR_TEXT_MAX];

    if (!r) {
        stream_accept(s, &lost, NULL);
        stream_abort(s);
        return;
    }
    r->magic = API_MAGIC;
    r->api = api;
    r->stream = s;
    r->worker = s->loop;
    r->begun_ns = s->head_ns;
    r->is_head = s->request.method == HTTP_HEAD;
    pool_init(&r->pool, 0);
    buf_init(&r->reply, 0);
    addr_format_host(&s->peer, peer);
    r->peer = pool_str(&r->pool, str_from(peer));
    stream_accept(s, &door_handler, r);
    door_enter(r, table);
}

void api_handle(struct api *api, struct stream *s)
{
    door_open(api, s, api_routes);
}

void api_handle_metrics(struct api *api, struct stream *s)
{
    door_open(api, s, api_metrics_routes);
}

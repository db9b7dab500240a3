/* From request to mode: the watchdog's own paths, the limit, the deadline, counting and the log. */
#include "base/assert.h"
#include "base/sys.h"
#include "journal.h"
#include "metrics.h"
#include "watchdog.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

/* ---- Answers of the watchdog's own ---- */

static void on_own_done(void *arg, enum stream_end end)
{
    (void)arg;
    (void)end;
}

static const struct stream_handler own_handler = {.on_done = on_own_done};

static void answer(struct stream *s, unsigned status, const char *text)
{
    stream_accept(s, &own_handler, NULL);
    stream_reply(s, status, NULL, STR("text/plain; charset=utf-8"), str_from(text));
}

static bool is_healthy(const struct watchdog *w)
{
    return w->is_accepting && (w->config.suppress_lock || access(w->config.lock_file, F_OK) == 0);
}

static void handle_health(struct watchdog *w, struct stream *s)
{
    if (s->request.method != HTTP_GET)
        answer(s, 405, "use GET\n");
    else if (is_healthy(w))
        answer(s, 200, "OK");
    else
        answer(s, 503, "the function does not accept requests\n");
}

void request_handle_metrics(void *arg, struct stream *s)
{
    struct buf page;

    (void)arg;
    stream_accept(s, &own_handler, NULL);
    buf_init(&page, 0);
    if (!str_eq(s->request.path, STR("/metrics")))
        stream_reply(s, 404, NULL, STR("text/plain"), STR("see /metrics\n"));
    else if (metrics_write(&page) < 0)
        stream_reply(s, 503, NULL, STR("text/plain"), STR("out of memory\n"));
    else
        stream_reply(s, 200, NULL, STR("text/plain; version=0.0.4; charset=utf-8"), buf_str(&page));
    buf_free(&page);
}

/* ---- Invocations ---- */

static double seconds_since(int64_t start_ns)
{
    return (double)(sys_monotonic_ns() - start_ns) / 1e9;
}

struct str invocation_seconds(struct invocation *inv)
{
    return pool_printf(&inv->s->pool, "%f", seconds_since(inv->s->head_ns));
}

void invocation_set_deadline(struct invocation *inv, void (*on_due)(void *arg), void *arg)
{
    struct str asked = http_head_get(&inv->s->request, STR("X-Timeout"));
    int64_t limit_ms = inv->w->config.exec_timeout_ms, asked_ms;

    if (asked.ptr && str_to_duration_ms(asked, &asked_ms) && asked_ms > 0 &&
        (limit_ms == 0 || asked_ms < limit_ms))
        limit_ms = asked_ms;
    timer_init(&inv->deadline, inv->w->loop, on_due, arg);
    if (limit_ms > 0)
        timer_set(&inv->deadline, limit_ms);
}

void invocation_fail(struct invocation *inv, unsigned status, const char *format, ...)
{
    struct stream *s = inv->s;
    struct http_head head;
    char text[1024];
    va_list args;

    timer_cancel(&inv->deadline);
    if (s->status) {
        stream_abort(s);
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    http_head_init(&head, &s->pool);
    if (http_head_add(&head, STR("X-OpenFaaS-Internal"), STR("of-watchdog")) < 0 ||
        http_head_add(&head, STR("X-Duration-Seconds"), invocation_seconds(inv)) < 0) {
        stream_abort(s);
        return;
    }
    stream_reply(s, status, &head, STR("text/plain; charset=utf-8"), str_from(text));
}

/* "5B", "1.234kB": four digits, powers of 1000. */
static void size_text(uint64_t bytes, char buf[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double size = (double)bytes;
    size_t unit = 0;

    for (; size >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        size /= 1000;
    snprintf(buf, 32, "%.4g%s", size, units[unit]);
}

static void log_access(const struct invocation *inv)
{
    const struct stream *s = inv->s;
    struct str call_id = http_head_get(&s->request, STR("X-Call-Id"));
    char size[32];

    if (str_starts(http_head_get(&s->request, STR("User-Agent")), STR("kube-probe")))
        return;
    size_text(s->bytes_out, size);
    if (inv->w->config.log_callid)
        journal("%.*s %.*s - %u %s - ContentLength: %s (%.4fs) [%.*s]",
                STR_ARG(s->request.method_text), STR_ARG(s->request.target), s->status,
                http_status_reason(s->status), size, seconds_since(s->head_ns),
                STR_ARG(call_id.ptr ? call_id : STR("none")));
    else
        journal("%.*s %.*s - %u %s - ContentLength: %s (%.4fs)", STR_ARG(s->request.method_text),
                STR_ARG(s->request.target), s->status, http_status_reason(s->status), size,
                seconds_since(s->head_ns));
}

void invocation_end(struct invocation *inv)
{
    timer_cancel(&inv->deadline);
    if (inv->is_counted)
        inv->w->in_flight--;
    metrics_in_flight(-1);
    metrics_count(inv->s->status, inv->s->request.method, seconds_since(inv->s->head_ns));
    log_access(inv);
}

static void on_refused_done(void *arg, enum stream_end end)
{
    (void)end;
    invocation_end(arg);
}

static void refuse(struct invocation *inv)
{
    static const struct stream_handler handler = {.on_done = on_refused_done};
    struct stream *s = inv->s;
    struct http_head head;
    char text[96];

    snprintf(text, sizeof(text), "the function serves %u requests at a time, try again later\n",
             inv->w->config.max_inflight);
    stream_accept(s, &handler, inv);
    http_head_init(&head, &s->pool);
    if (http_head_add(&head, STR("X-OpenFaaS-Internal"), STR("faas-middleware")) < 0)
        stream_abort(s);
    else
        stream_reply(s, 429, &head, STR("text/plain"), str_from(text));
}

static bool is_at_limit(const struct watchdog *w)
{
    return w->config.max_inflight > 0 && w->in_flight >= w->config.max_inflight;
}

static struct invocation *invocation_new(struct watchdog *w, struct stream *s)
{
    struct invocation *inv = pool_zalloc(&s->pool, sizeof(*inv));

    if (!inv) {
        stream_accept(s, &own_handler, NULL);
        stream_abort(s);
        return NULL;
    }
    inv->w = w;
    inv->s = s;
    inv->target = s->request.target;
    inv->path = s->request.path;
    inv->query = s->request.query;
    timer_init(&inv->deadline, w->loop, NULL, NULL);
    metrics_in_flight(1);
    return inv;
}

static void invoke(struct invocation *inv)
{
    switch (inv->w->config.mode) {
    case MODE_HTTP:
        invoke_http(inv);
        return;
    case MODE_STATIC:
        invoke_static(inv);
        return;
    case MODE_STREAMING:
    case MODE_SERIALIZING:
    case MODE_CLASSIC:
        invoke_fork(inv);
        return;
    }
}

static void handle_call(struct watchdog *w, struct stream *s)
{
    struct invocation *inv = invocation_new(w, s);

    if (!inv)
        return;
    if (is_at_limit(w)) {
        refuse(inv);
        return;
    }
    inv->is_counted = true;
    w->in_flight++;
    invoke(inv);
}

/* With ready_path the function itself answers, beside the limit. */
static void handle_ready(struct watchdog *w, struct stream *s)
{
    struct invocation *inv;

    if (s->request.method != HTTP_GET) {
        answer(s, 405, "use GET\n");
    } else if (!is_healthy(w)) {
        answer(s, 503, "the function does not accept requests\n");
    } else if (is_at_limit(w)) {
        answer(s, 429, "the function serves as many requests as it may\n");
    } else if (w->config.ready_path.len == 0) {
        answer(s, 200, "OK");
    } else {
        inv = invocation_new(w, s);
        if (!inv)
            return;
        inv->target = inv->path = w->config.ready_path;
        inv->query = STR_NONE;
        invoke(inv);
    }
}

void request_handle(void *arg, struct stream *s)
{
    struct watchdog *w = arg;

    if (str_eq(s->request.path, STR("/_/health")))
        handle_health(w, s);
    else if (str_eq(s->request.path, STR("/_/ready")) && w->config.mode != MODE_CLASSIC)
        handle_ready(w, s);
    else
        handle_call(w, s);
}

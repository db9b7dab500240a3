/* /system/logs: NDJSON, one line per log line. Lines are made on a stream thread of the provider
 * and flow to the worker loop through a bounded buffer: a slow reader stops the thread, never a
 * loop.
 *
 *   provider thread --on_line--> feed.pending (lock) --posted--> worker loop --> stream
 *
 * A feed has two owners: the worker side (its stream) and the control side (the provider's call).
 */
#include "api/request.h"
#include "base/log.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { PENDING_MAX = 256 * 1024, QUEUED_MAX = 64 * 1024 };

struct log_feed {
    struct loop_msg flush_msg; /* to the worker; posted while is_posted */
    struct loop_msg end_msg;   /* to the worker: the provider's call has ended */
    struct loop_msg gone_msg;  /* to the control loop: the client has gone */
    struct loop_msg free_msg;  /* to the control loop: the worker side is done */
    struct api *api;
    struct loop *worker;

    pthread_mutex_t lock; /* guards the four below */
    pthread_cond_t room;
    struct buf pending;
    bool is_posted, is_closed;

    /* worker loop only */
    struct stream *stream;
    bool is_blocked; /* waits for on_drained */
    bool has_ended;

    /* control loop only */
    struct list node; /* in api.feeds */
    struct plugin_ticket *ticket;
    char *ns, *name;
};

/* ---- Provider thread ---- */

static void add_line(struct log_feed *feed, const struct fng_log_line *line)
{
    char time[TIME_TEXT_MAX];
    struct buf *out = &feed->pending;

    time_format(time, line->time_ns, 9);
    (void)buf_add_str(out, STR("{\"name\":\""));
    (void)log_escape_json(out, str_from(feed->name));
    (void)buf_add_str(out, STR("\",\"namespace\":\""));
    (void)log_escape_json(out, str_from(feed->ns));
    (void)buf_add_str(out, STR("\",\"instance\":\""));
    (void)log_escape_json(out, str_of(line->replica));
    (void)buf_printf(out, "\",\"timestamp\":\"%s\",\"text\":\"", time);
    (void)log_escape_json(out, str_of(line->text));
    (void)buf_add_str(out, STR("\"}\n"));
}

static int32_t on_line(void *arg, const struct fng_log_line *line)
{
    struct log_feed *feed = arg;
    bool is_closed;

    pthread_mutex_lock(&feed->lock);
    while (buf_len(&feed->pending) > PENDING_MAX && !feed->is_closed)
        pthread_cond_wait(&feed->room, &feed->lock);
    is_closed = feed->is_closed;
    if (!is_closed) {
        add_line(feed, line);
        if (!feed->is_posted) {
            feed->is_posted = true;
            loop_post(feed->worker, &feed->flush_msg);
        }
    }
    pthread_mutex_unlock(&feed->lock);
    return is_closed;
}

/* ---- Worker loop ---- */

/* Moves what is pending to the stream, unless its client is slow. */
static void flush(struct log_feed *feed)
{
    struct buf batch;
    ssize_t queued;

    if (!feed->stream || feed->is_blocked)
        return;
    pthread_mutex_lock(&feed->lock);
    batch = feed->pending;
    buf_init(&feed->pending, 0);
    pthread_cond_signal(&feed->room);
    pthread_mutex_unlock(&feed->lock);
    queued = buf_len(&batch) ? stream_write(feed->stream, buf_str(&batch)) : 0;
    buf_free(&batch);
    feed->is_blocked = queued > QUEUED_MAX;
    if (queued >= 0 && feed->has_ended && !feed->is_blocked)
        stream_finish(feed->stream, NULL);
}

static void run_flush(struct loop_msg *msg)
{
    struct log_feed *feed = CONTAINER_OF(msg, struct log_feed, flush_msg);

    pthread_mutex_lock(&feed->lock);
    feed->is_posted = false;
    pthread_mutex_unlock(&feed->lock);
    flush(feed);
}

static void run_end(struct loop_msg *msg)
{
    struct log_feed *feed = CONTAINER_OF(msg, struct log_feed, end_msg);

    feed->has_ended = true;
    if (feed->stream)
        flush(feed);
    else /* the client went first; nothing is left to do here */
        loop_post(feed->api->config.control, &feed->free_msg);
}

static void on_drained(void *arg)
{
    struct log_feed *feed = arg;

    feed->is_blocked = false;
    flush(feed);
}

static void on_done(void *arg, enum stream_end end)
{
    struct log_feed *feed = arg;

    (void)end;
    feed->stream = NULL;
    pthread_mutex_lock(&feed->lock);
    feed->is_closed = true;
    pthread_cond_signal(&feed->room);
    pthread_mutex_unlock(&feed->lock);
    if (feed->has_ended)
        loop_post(feed->api->config.control, &feed->free_msg);
    else
        loop_post(feed->api->config.control, &feed->gone_msg);
}

static const struct stream_handler feed_stream = {.on_drained = on_drained, .on_done = on_done};

/* Worker loop: the provider's call is under way; the response begins. */
void log_feed_begin(struct request *request)
{
    struct log_feed *feed = request->feed;
    struct http_head head;

    feed->stream = request->stream;
    if (!feed->stream) { /* the client went before it began */
        on_done(feed, STREAM_CLIENT_GONE);
        return;
    }
    stream_accept(feed->stream, &feed_stream, feed);
    http_head_init(&head, &feed->stream->pool);
    head.status = 200;
    head.framing = HTTP_BODY_CHUNKED;
    (void)http_head_add(&head, STR("Content-Type"), STR("application/x-ndjson"));
    (void)http_head_add(&head, STR("Cache-Control"), STR("no-store"));
    if (stream_respond(feed->stream, &head) == 0)
        flush(feed);
}

/* ---- Control loop ---- */

static void feed_free(struct log_feed *feed)
{
    list_remove(&feed->node);
    pthread_mutex_destroy(&feed->lock);
    pthread_cond_destroy(&feed->room);
    buf_free(&feed->pending);
    mem_free(feed->ns);
    mem_free(feed->name);
    mem_free(feed);
}

static void run_free(struct loop_msg *msg)
{
    feed_free(CONTAINER_OF(msg, struct log_feed, free_msg));
}

static void run_gone(struct loop_msg *msg)
{
    struct log_feed *feed = CONTAINER_OF(msg, struct log_feed, gone_msg);

    if (feed->ticket)
        plugin_cancel(feed->ticket);
}

/* The provider's call has ended; no line comes any more. */
static void on_call_done(void *arg, const struct plugin_result *result)
{
    struct log_feed *feed = arg;

    feed->ticket = NULL;
    if (result->error != FNG_OK && result->error != FNG_E_CANCELLED)
        log_warn("api", "the log stream of %s.%s broke off: %.*s", feed->name, feed->ns,
                 STR_ARG(result->text));
    loop_post(feed->worker, &feed->end_msg);
}

void logs_stop(struct api *api)
{
    LIST_FOR_EACH(node, &api->feeds)
    {
        struct log_feed *feed = CONTAINER_OF(node, struct log_feed, node);

        if (feed->ticket)
            plugin_cancel(feed->ticket);
    }
}

static struct log_feed *feed_new(struct request *request, const struct catalog_fn *fn)
{
    struct log_feed *feed = xcalloc(1, sizeof(*feed));

    feed->api = request->api;
    feed->worker = request->worker;
    feed->flush_msg.run = run_flush;
    feed->end_msg.run = run_end;
    feed->gone_msg.run = run_gone;
    feed->free_msg.run = run_free;
    feed->ns = str_dup(catalog_fn_ns(fn));
    feed->name = str_dup(catalog_fn_name(fn));
    pthread_mutex_init(&feed->lock, NULL);
    pthread_cond_init(&feed->room, NULL);
    buf_init(&feed->pending, 0);
    list_init(&feed->node);
    list_push(&request->api->feeds, &feed->node);
    return feed;
}

static bool is_true(struct str s)
{
    static const char *const words[] = {"1", "t", "T", "true", "TRUE", "True"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (str_eq(s, str_from(words[i])))
            return true;
    return false;
}

/* RFC 3339 with any offset, in milliseconds of the Unix epoch. */
static bool parse_time(struct str s, int64_t *ret_ms)
{
    int year, month, day, hour, minute, second, offset_hour = 0, offset_minute = 0, used = 0;
    AUTO_FREE char *text = str_dup(s);
    const char *rest;
    struct tm tm;

    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second,
               &used) != 6 ||
        used == 0)
        return false;
    rest = text + used;
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (*rest == '+' || *rest == '-') {
        if (sscanf(rest + 1, "%2d:%2d%n", &offset_hour, &offset_minute, &used) != 2 ||
            rest[1 + used] != '\0')
            return false;
        if (*rest == '-') {
            offset_hour = -offset_hour;
            offset_minute = -offset_minute;
        }
    } else if (strcmp(rest, "Z") != 0 && strcmp(rest, "z") != 0) {
        return false;
    }
    tm = (struct tm){.tm_year = year - 1900,
                     .tm_mon = month - 1,
                     .tm_mday = day,
                     .tm_hour = hour - offset_hour,
                     .tm_min = minute - offset_minute,
                     .tm_sec = second};
    *ret_ms = (int64_t)timegm(&tm) * 1000;
    return true;
}

/* False after a 422. */
static bool read_query(struct request *request, struct fng_log_query *ret)
{
    struct str tail = request_param(request, "tail"), since = request_param(request, "since");

    ret->size = sizeof(*ret);
    ret->follow = is_true(request_param(request, "follow"));
    ret->replica = fng_of(request_param(request, "instance"));
    ret->tail = -1;
    if (tail.len && !str_to_i64(tail, &ret->tail)) {
        request_reply_text(request, 422, "request: tail: '%.*s' is not a number", STR_ARG(tail));
        return false;
    }
    if (ret->tail <= 0)
        ret->tail = -1;
    if (since.len && !parse_time(since, &ret->since_ms)) {
        request_reply_text(request, 422,
                           "request: since: '%.*s' is not a time such as 2026-01-31T12:00:00Z",
                           STR_ARG(since));
        return false;
    }
    return true;
}

void logs_open(struct request *request)
{
    struct fng_log_query query = {0};
    struct str name = request_param(request, "name");
    struct catalog_fn *fn =
        catalog_find(request->api->config.catalog, request_ns(request, STR("")), name);

    if (!fn) {
        request_reply_text(request, 404, "gateway: function %.*s does not exist", STR_ARG(name));
        return;
    }
    if (!((const struct fng_provider_ops *)instance_descriptor(fn->owner)->operations)->logs) {
        request_reply_text(request, 501, "provider: %s keeps no logs", instance_name(fn->owner));
        return;
    }
    if (!read_query(request, &query))
        return;
    query.ns = fng_of(catalog_fn_ns(fn));
    query.name = fng_of(catalog_fn_name(fn));
    request->feed = feed_new(request, fn);
    request->feed->ticket =
        provider_logs(fn->owner, &query, on_line, request->feed, on_call_done, request->feed);
    request_begin_feed(request);
}

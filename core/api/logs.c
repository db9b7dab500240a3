/* GET /system/logs: lines from a provider's stream thread to the client, as NDJSON.
 *
 * Three threads meet here. The stream thread makes a chunk of each line and posts it to the worker
 * loop; when too many bytes are on their way it waits on a condition, never a loop. The worker loop
 * sends and gives the bytes back once the client has taken them. The control loop starts, cancels
 * and hears of the end. The provider's `done` comes after the last line, so a stream is freed when
 * the control loop and the worker loop are both through with it.
 */
#include "api/routes.h"

#include "base/assert.h"
#include "base/log.h"

#include <pthread.h>
#include <stdio.h>

enum {
    ON_THE_WAY_MAX = 256 << 10, /* bytes between the stream thread and the client's socket */
    QUEUED_MAX = 64 << 10,      /* bytes queued on the socket before more are held */
    HEAD_DELAY_MS = 200,        /* how long the head waits for a refusal of the provider */
    TEXT_MAX = 480,
    CLIENT_LEFT = 499 /* in figures only */
};

struct log_stream {
    struct list node;      /* control loop: api->logs */
    struct api_request *r; /* worker loop; NULL once it has nothing left to do */
    struct loop *worker;
    char *ns, *name;
    struct plugin_ticket *ticket; /* control loop; NULL before and after the call */
    struct loop_msg begin_msg, cancel_msg, end_msg;
    atomic_uint refs; /* the control loop until done, the worker loop until sent, each chunk */
    bool is_follow;

    /* Worker loop. */
    struct timer head_timer;
    bool is_open; /* the head went out */
    size_t held;  /* bytes sent but not given back yet */

    /* Written by the control loop before it posts end_msg. */
    int32_t error;
    uint32_t retry_after_ms;
    int64_t elapsed_ms;
    char text[TEXT_MAX];

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t room;
    size_t on_the_way;
    bool is_gone; /* nobody reads any more */
};

struct chunk {
    struct loop_msg msg;
    struct log_stream *log;
    struct buf line;
};

static void log_unref(struct log_stream *log)
{
    if (atomic_fetch_sub(&log->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->room);
    mem_free(log->ns);
    mem_free(log->name);
    mem_free(log);
}

/* ---- Worker loop ---- */

/* Gives bytes back to the stream thread; the last ones when the client is gone. */
static void log_give_back(struct log_stream *log, size_t bytes, bool is_gone)
{
    pthread_mutex_lock(&log->lock);
    log->on_the_way -= bytes;
    log->is_gone |= is_gone;
    pthread_cond_signal(&log->room);
    pthread_mutex_unlock(&log->lock);
}

void log_stream_drained(struct log_stream *log)
{
    log_give_back(log, log->held, false);
    log->held = 0;
}

/* Control loop: the provider should end the call; once. */
static void log_stop(struct log_stream *log)
{
    if (log->ticket)
        plugin_cancel(TAKE_PTR(log->ticket));
}

static void log_cancel(struct loop_msg *msg)
{
    struct log_stream *log = CONTAINER_OF(msg, struct log_stream, cancel_msg);

    log_stop(log);
    log_unref(log);
}

/* The worker loop has nothing left to do for the stream; the provider is told to stop. The request
 * goes on alone, to be freed by its on_done. */
static void log_leave(struct log_stream *log)
{
    struct api_request *r = log->r;

    timer_cancel(&log->head_timer);
    log_give_back(log, 0, true);
    door_count(r, r->status ? r->status : CLIENT_LEFT);
    r->phase = API_REPLIED;
    r->log = NULL;
    log->r = NULL;
    log->cancel_msg.run = log_cancel;
    loop_post(r->api->config.control, &log->cancel_msg); /* takes the worker's reference along */
}

void log_stream_gone(struct log_stream *log)
{
    struct api_request *r = log->r;

    log_leave(log);
    door_free(r);
}

static bool log_open(struct log_stream *log)
{
    struct api_request *r = log->r;
    struct http_head head;

    if (log->is_open)
        return true;
    timer_cancel(&log->head_timer);
    http_head_init(&head, &r->stream->pool);
    head.status = r->status = 200;
    head.framing = HTTP_BODY_CHUNKED;
    log->is_open = true;
    if (http_head_add(&head, STR("Content-Type"), STR("application/x-ndjson")) == 0 &&
        stream_respond(r->stream, &head) == 0)
        return true;
    stream_abort(r->stream); /* on_done comes */
    return false;
}

static void log_head_due(void *arg)
{
    (void)log_open(arg);
}

static void log_begin(struct loop_msg *msg)
{
    struct log_stream *log = CONTAINER_OF(msg, struct log_stream, begin_msg);
    struct api_request *r = log->r;

    r->phase = API_STREAMING;
    r->log = log;
    timer_init(&log->head_timer, r->worker, log_head_due, log);
    if (r->is_counted)
        atomic_fetch_sub(&r->api->waiting, 1);
    r->is_counted = false;
    if (!r->stream)
        log_stream_gone(log);
    else
        timer_set(&log->head_timer, HEAD_DELAY_MS);
}

static void chunk_arrived(struct loop_msg *msg)
{
    struct chunk *chunk = CONTAINER_OF(msg, struct chunk, msg);
    struct log_stream *log = chunk->log;

    if (log->r && log_open(log)) {
        ssize_t queued = stream_write(log->r->stream, buf_str(&chunk->line));

        log->held += buf_len(&chunk->line);
        if (queued >= 0 && queued <= QUEUED_MAX)
            log_stream_drained(log);
    }
    buf_free(&chunk->line);
    mem_free(chunk);
    log_unref(log);
}

/* Refused before the first line: an ordinary reply takes the place of the stream. */
static void log_refuse(struct log_stream *log)
{
    struct api_request *r = log->r;
    struct plugin_result result = {.error = log->error,
                                   .text = str_from(log->text),
                                   .retry_after_ms = log->retry_after_ms,
                                   .elapsed_ms = log->elapsed_ms};

    timer_cancel(&log->head_timer);
    r->log = NULL;
    log->r = NULL;
    r->phase = API_WAITING;
    api_reply_failure(r, &result);
    log_unref(log); /* the worker's */
}

/* The provider is through. After the first line a failure can only be seen as a cut. */
static void log_end(struct loop_msg *msg)
{
    struct log_stream *log = CONTAINER_OF(msg, struct log_stream, end_msg);
    bool is_good = log->error == FNG_OK || log->error == FNG_E_CANCELLED;

    if (log->r && !is_good && !log->is_open) {
        log_refuse(log);
    } else if (log->r && log_open(log)) {
        struct stream *s = log->r->stream;

        log_leave(log);
        if (is_good)
            stream_finish(s, NULL);
        else
            stream_abort(s);
    }
    log_unref(log); /* the control loop's */
}

/* ---- Stream thread ---- */

static void write_line(struct buf *buf, const struct log_stream *log,
                       const struct fng_log_line *line)
{
    struct json_out out = {.buf = buf};
    char time[TIME_TEXT_MAX];

    time_format(time, line->time_ns, 9);
    json_open(&out, NULL, '{');
    json_put_str(&out, "name", str_from(log->name));
    json_put_str(&out, "namespace", str_from(log->ns));
    json_put_str(&out, "instance", str_of(line->replica));
    json_put_str(&out, "timestamp", str_from(time));
    json_put_str(&out, "text", str_of(line->text));
    json_close(&out, '}');
    (void)buf_add(buf, "\n", 1);
}

/* Waits while the client is slow; 1 when nobody reads any more. */
static int32_t log_take_line(void *arg, const struct fng_log_line *line)
{
    struct log_stream *log = arg;
    struct chunk *chunk = xcalloc(1, sizeof(*chunk));
    bool is_gone;

    chunk->log = log;
    chunk->msg.run = chunk_arrived;
    write_line(&chunk->line, log, line);
    pthread_mutex_lock(&log->lock);
    while (log->on_the_way >= ON_THE_WAY_MAX && !log->is_gone)
        pthread_cond_wait(&log->room, &log->lock);
    is_gone = log->is_gone;
    if (!is_gone)
        log->on_the_way += buf_len(&chunk->line);
    pthread_mutex_unlock(&log->lock);
    if (is_gone) {
        buf_free(&chunk->line);
        mem_free(chunk);
        return 1;
    }
    atomic_fetch_add(&log->refs, 1);
    loop_post(log->worker, &chunk->msg);
    return 0;
}

/* ---- Control loop ---- */

static void log_done(void *arg, const struct plugin_result *result)
{
    struct log_stream *log = arg;

    log->ticket = NULL;
    list_remove(&log->node);
    log->error = result->error;
    log->retry_after_ms = result->retry_after_ms;
    log->elapsed_ms = result->elapsed_ms;
    snprintf(log->text, sizeof(log->text), "%.*s", STR_ARG(result->text));
    log->end_msg.run = log_end;
    loop_post(log->worker, &log->end_msg);
}

void api_end_logs(struct api *api)
{
    LIST_FOR_EACH_SAFE(it, after, &api->logs)
    {
        struct log_stream *log = CONTAINER_OF(it, struct log_stream, node);

        if (log->is_follow)
            log_stop(log);
    }
}

static struct log_stream *log_new(struct api_request *r, bool is_follow)
{
    struct log_stream *log = xcalloc(1, sizeof(*log));

    log->r = r;
    log->worker = r->worker;
    log->ns = str_dup(r->ns);
    log->name = str_dup(r->target);
    log->is_follow = is_follow;
    atomic_init(&log->refs, 2);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->room, NULL);
    list_push(&r->api->logs, &log->node);
    return log;
}

/* 422 is what clients know for a query that does not parse. */
static bool read_query(struct api_request *r, struct fng_log_query *ret)
{
    struct str tail = request_param(r, STR("tail")), since = request_param(r, STR("since"));
    struct str follow = request_param(r, STR("follow"));

    *ret = (struct fng_log_query){.size = sizeof(*ret), .tail = -1};
    ret->ns = fng_of(r->ns);
    ret->name = fng_of(r->target);
    ret->replica = fng_of(request_param(r, STR("instance")));
    ret->follow =
        str_eq(follow, STR("1")) || str_ieq(follow, STR("t")) || str_ieq(follow, STR("true"));
    if (tail.len > 0 && !str_to_i64(tail, &ret->tail)) {
        api_reply_text(r, 422, "parameter 'tail': a number of lines was expected; -1 means all");
        return false;
    }
    if (ret->tail <= 0)
        ret->tail = -1;
    if (since.len > 0 && !time_parse(since, &ret->since_ms)) {
        api_reply_text(r, 422, "parameter 'since': a time like 2024-05-01T12:30:00Z was expected");
        return false;
    }
    return true;
}

void logs_get(struct api_request *r)
{
    struct fng_log_query query;
    struct catalog_fn *fn;
    struct log_stream *log;

    if (!request_namespace(r, FNG_STR("")) ||
        !request_function(r, "log stream", "name", request_param(r, STR("name"))) ||
        !read_query(r, &query))
        return;
    fn = catalog_find(r->api->config.catalog, r->ns, r->target);
    if (!fn) {
        api_reply_text(r, 404, "function %.*s.%.*s does not exist", STR_ARG(r->target),
                       STR_ARG(r->ns));
        return;
    }
    if (r->api->is_stopping && query.follow) {
        api_reply_text(r, 503, "the gateway is stopping");
        return;
    }
    if (r->is_head) {
        api_reply(r, 200, "application/x-ndjson");
        return;
    }
    request_provider(r);
    log = log_new(r, query.follow);
    log->begin_msg.run = log_begin;
    loop_post(r->worker, &log->begin_msg);
    log->ticket = provider_logs(fn->owner, &query, log_take_line, log, log_done, log);
}

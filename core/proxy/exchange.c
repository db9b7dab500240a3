/* The course of an exchange: pick an endpoint, or park until there is one; call it; end.
 *
 * One deadline spans all of it. What passes between the two sides is in relay.c, whether a failed
 * call is tried again in retry.c.
 */
#include "proxy/exchange.h"

#include "base/sys.h"
#include <errno.h>

static void on_timer(void *arg);
static void on_park_timer(void *arg);
static void on_wake(struct route_parked *parked);

void exchange_init_timers(struct exchange *ex)
{
    timer_init(&ex->timer, ex->proxy->loop, on_timer, ex);
    timer_init(&ex->park_timer, ex->proxy->loop, on_park_timer, ex);
}

int64_t exchange_left_ms(const struct exchange *ex)
{
    int64_t spent_ms = (sys_monotonic_ns() - ex->stream->head_ns) / 1000000;

    return spent_ms < ex->timeout_ms ? ex->timeout_ms - spent_ms : 0;
}

void exchange_become_stream(struct exchange *ex)
{
    ex->is_streaming = true;
    timer_cancel(&ex->timer);
    exchange_touch(ex);
}

void exchange_touch(struct exchange *ex)
{
    if (ex->is_streaming && ex->stream_idle_ms > 0)
        timer_set(&ex->timer, ex->stream_idle_ms);
}

static void exchange_route(struct exchange *ex)
{
    struct route_endpoint *ep = route_pick(ex->fn, ex->proxy->cell, NULL);

    if (ep)
        exchange_call(ex, ep, false);
    else
        exchange_park(ex);
}

void exchange_start(struct exchange *ex)
{
    const struct route_policy *policy = route_fn_policy(ex->fn);
    const struct proxy_config *config = &ex->proxy->config;

    ex->timeout_ms = policy->timeout_ms > 0 ? policy->timeout_ms : config->timeout_ms;
    ex->stream_idle_ms =
        policy->stream_idle_ms > 0 ? policy->stream_idle_ms : config->stream_idle_ms;
    if (ex->timeout_ms > 0)
        timer_set(&ex->timer, exchange_left_ms(ex));
    exchange_route(ex);
}

/* ---- Parking ---- */

static void park_begin(struct exchange *ex, const struct route_policy *policy)
{
    ex->state = EXCHANGE_PARKED;
    if (ex->parked_ns > 0)
        return;
    ex->parked_ns = sys_monotonic_ns();
    figure_add(&ex->proxy->parked, 1);
    if (policy->park_timeout_ms > 0)
        timer_set(&ex->park_timer, policy->park_timeout_ms);
}

void exchange_park(struct exchange *ex)
{
    struct proxy *proxy = ex->proxy;
    const struct route_policy *policy = route_fn_policy(ex->fn);
    unsigned parked_max = policy->parked_max > 0 ? policy->parked_max : proxy->config.parked_max;
    bool is_held = route_fn_is_held(ex->fn), is_at_zero = route_ready_count(ex->fn) == 0;

    if (route_fn_is_dropped(ex->fn)) {
        exchange_fail(ex, FAULT_UNKNOWN_FUNCTION);
        return;
    }
    if (is_at_zero && !is_held && !policy->can_wake) {
        exchange_fail(ex, FAULT_NO_ENDPOINT);
        return;
    }
    ex->parked.on_wake = on_wake;
    if (!route_park(ex->fn, proxy->cell, parked_max, &ex->parked)) {
        exchange_fail(ex, FAULT_TOO_MANY_PARKED);
        return;
    }
    park_begin(ex, policy);
    if (is_at_zero || is_held)
        proxy->hooks.wanted(proxy->hooks.arg, ex->fn);
}

static void on_wake(struct route_parked *parked)
{
    exchange_route(CONTAINER_OF(parked, struct exchange, parked));
}

static void on_park_timer(void *arg)
{
    exchange_fail(arg, FAULT_START_TIMEOUT);
}

/* ---- Calling ---- */

void exchange_drop_endpoint(struct exchange *ex)
{
    if (ex->ep)
        endpoint_release(TAKE_PTR(ex->ep), ex->proxy->cell);
}

/* A body that can be kept whole is asked for before the connection stands: then it leaves in one
 * piece with the head. */
static bool is_small(const struct exchange *ex)
{
    const struct http_head *request = &ex->stream->request;

    return request->framing == HTTP_BODY_LENGTH && !request->expect_continue &&
           request->length <= ex->proxy->config.replay_max;
}

void exchange_call(struct exchange *ex, struct route_endpoint *ep, bool is_fresh)
{
    struct proxy *proxy = ex->proxy;
    struct pool *pool = &ex->stream->pool;
    struct http_head *head = pool_alloc(pool, sizeof(*head));
    int r = head ? headers_request(ex, head) : -ENOMEM;

    timer_cancel(&ex->park_timer);
    ex->ep = ep;
    ex->state = EXCHANGE_CALLING;
    ex->routed_ns = sys_monotonic_ns();
    ex->replica = pool_str(pool, endpoint_replica(ep)); /* the log may outlive the endpoint */
    if (r < 0) {
        exchange_fail(ex, r == -EBADMSG ? FAULT_BAD_REQUEST : FAULT_NO_MEMORY);
        return;
    }
    ex->attempts++;
    ex->call =
        call_start(proxy->client, endpoint_addr(ep), head, is_fresh, pool, &relay_call_handler, ex);
    if (!ex->call) {
        exchange_fail(ex, FAULT_NO_MEMORY);
        return;
    }
    relay_replay(ex);
    if (is_small(ex))
        relay_request(ex);
}

/* ---- Ending ---- */

/* Lets go of everything but the function and the stream. */
static void exchange_release(struct exchange *ex)
{
    if (ex->call)
        call_cancel(TAKE_PTR(ex->call));
    exchange_drop_endpoint(ex);
    route_unpark(&ex->parked, ex->proxy->cell);
    timer_cancel(&ex->timer);
    timer_cancel(&ex->park_timer);
}

void exchange_fail(struct exchange *ex, enum fault fault)
{
    enum exchange_state state = ex->state;

    if (state == EXCHANGE_ENDING)
        return;
    exchange_release(ex);
    ex->state = EXCHANGE_ENDING;
    ex->fault = &fault_table[fault];
    if (ex->fault->status == 429 || ex->fault->status == 503)
        figure_add(&ex->proxy->refused, 1);
    if (state == EXCHANGE_ANSWERING || state == EXCHANGE_TUNNEL)
        stream_abort(ex->stream);
    else
        reply_fault(ex, ex->fault);
}

static void on_timer(void *arg)
{
    struct exchange *ex = arg;

    ASSERT_MAGIC(ex, EXCHANGE_MAGIC);
    exchange_fail(ex, ex->state == EXCHANGE_PARKED ? FAULT_START_TIMEOUT : FAULT_TIMEOUT);
}

static void record_write(const struct exchange *ex, enum stream_end end, unsigned status,
                         int64_t end_ns)
{
    const struct stream *s = ex->stream;
    struct proxy_record record = {.stream = s,
                                  .fn_name = ex->name,
                                  .fn_ns = ex->ns,
                                  .replica = ex->replica,
                                  .call_id = ex->call_id,
                                  .status = status,
                                  .layer = "function",
                                  .fault = "",
                                  .accepted_ns = s->accepted_ns,
                                  .head_ns = s->head_ns,
                                  .routed_ns = ex->routed_ns,
                                  .parked_ns = ex->parked_ns,
                                  .connected_ns = ex->connected_ns,
                                  .first_byte_ns = ex->first_byte_ns,
                                  .end_ns = end_ns,
                                  .attempts = ex->attempts,
                                  .is_cold = ex->parked_ns > 0};

    if (ex->fault) {
        record.layer = ex->fault->layer;
        record.fault = ex->fault->name;
    } else if (end == STREAM_SHUTDOWN || !ex->is_relayed) {
        record.layer = end == STREAM_SHUTDOWN ? "gateway" : "client";
    }
    ex->proxy->access(ex->proxy->access_arg, &record);
}

/* 499: the client was gone before there was an answer. */
static unsigned status_of(const struct exchange *ex, enum stream_end end)
{
    if (ex->stream->status > 0)
        return ex->stream->status;
    return end == STREAM_SHUTDOWN ? 503 : 499;
}

void exchange_end(struct exchange *ex, enum stream_end end)
{
    struct proxy *proxy = ex->proxy;
    int64_t end_ns = sys_monotonic_ns();
    unsigned status = status_of(ex, end);

    exchange_release(ex);
    buf_free(&ex->replay);
    if (proxy->access)
        record_write(ex, end, status, end_ns);
    if (ex->fn)
        route_fn_leave(ex->fn, proxy->cell, status, (double)(end_ns - ex->stream->head_ns) / 1e9);
    atomic_store_explicit(&proxy->in_flight, proxy->in_flight - 1, memory_order_relaxed);
    ex->magic = 0;
}

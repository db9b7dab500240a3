/* When a failed call may be tried again. The rule: only what the function cannot have begun.
 *
 * - The connection was not made: any method, at another endpoint. When there is none any more the
 *   request parks again.
 * - A pooled connection died before a byte of the answer: the function closed it while idle, most
 *   likely. If a byte of the request was handed over this is not certain, so then only methods that
 *   may be repeated (RFC 9110 section 9.2.2); once, over a new connection.
 * - Never a POST or PATCH of which a byte was sent.
 *
 * Always: what was read of the body must have been kept, all of it.
 */
#include "proxy/exchange.h"

enum { ATTEMPTS_MAX = 4 };

bool retry_may_repeat(enum http_method method)
{
    return method == HTTP_GET || method == HTTP_HEAD || method == HTTP_OPTIONS ||
           method == HTTP_PUT || method == HTTP_DELETE;
}

bool retry_keep(struct exchange *ex, struct str data)
{
    bool is_whole = ex->body_bytes == buf_len(&ex->replay);
    bool is_wanted = !ex->is_connected || retry_may_repeat(ex->stream->request.method);

    ex->body_bytes += data.len;
    if (ex->state != EXCHANGE_CALLING && ex->state != EXCHANGE_PARKED)
        return false;
    return is_whole && is_wanted && buf_add_str(&ex->replay, data) == 0;
}

static bool can_replay(const struct exchange *ex)
{
    return ex->body_bytes == buf_len(&ex->replay);
}

static bool retry_elsewhere(struct exchange *ex)
{
    struct route_endpoint *ep = route_pick(ex->fn, ex->proxy->cell, ex->ep);

    if (!ep && route_ready_count(ex->fn) == 0) {
        exchange_drop_endpoint(ex);
        exchange_park(ex);
        return true;
    }
    if (!ep || ep == ex->ep) { /* that one alone: it has just refused */
        if (ep)
            endpoint_release(ep, ex->proxy->cell);
        return false;
    }
    exchange_drop_endpoint(ex);
    figure_add(&ex->proxy->retries, 1);
    exchange_call(ex, ep, false);
    return true;
}

static bool retry_fresh(struct exchange *ex)
{
    struct route_endpoint *ep = TAKE_PTR(ex->ep);

    ex->is_stale_retried = true;
    figure_add(&ex->proxy->retries, 1);
    exchange_call(ex, ep, true);
    return true;
}

bool retry_try(struct exchange *ex, enum call_error error, bool has_sent)
{
    if (!can_replay(ex) || ex->attempts >= ATTEMPTS_MAX)
        return false;
    if (error == CALL_CONNECT_FAILED)
        return retry_elsewhere(ex);
    if (error != CALL_STALE || ex->is_stale_retried)
        return false;
    if (has_sent && !retry_may_repeat(ex->stream->request.method))
        return false;
    return retry_fresh(ex);
}

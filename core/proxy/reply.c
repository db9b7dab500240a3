/* Replies of the platform itself: one function for all faults, so that each says the same three
 * things: which layer failed, after how long, what to do. Nothing of the inside shows: no address,
 * no path.
 */
#include "base/sys.h"
#include "proxy/exchange.h"

static double seconds_between(int64_t from_ns, int64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e9 : 0;
}

/* "after 2.013 s, of which 2.001 s waiting for a replica". */
static void write_times(const struct exchange *ex, struct buf *text)
{
    int64_t now_ns = sys_monotonic_ns();
    int64_t wait_end_ns = ex->routed_ns > ex->parked_ns ? ex->routed_ns : now_ns;

    buf_printf(text, "after %.3f s", seconds_between(ex->stream->head_ns, now_ns));
    if (ex->parked_ns > 0)
        buf_printf(text, ", of which %.3f s waiting for a replica",
                   seconds_between(ex->parked_ns, wait_end_ns));
    if (ex->attempts > 1)
        buf_printf(text, ", %u attempts", ex->attempts);
}

static bool is_about_start(const struct fault_info *fault)
{
    return fault == &fault_table[FAULT_NO_ENDPOINT] || fault == &fault_table[FAULT_START_TIMEOUT] ||
           fault == &fault_table[FAULT_TOO_MANY_PARKED];
}

/* Why nobody serves the function: too few replicas, or what the provider says. */
static void write_reason(const struct exchange *ex, struct buf *text)
{
    unsigned ready = route_ready_count(ex->fn);
    char reason[ROUTE_REASON_MAX];

    if (ready > 0 && !route_fn_is_held(ex->fn)) {
        buf_printf(text, ": replicas that are ready: %u, each at its concurrency limit", ready);
        return;
    }
    route_fn_reason(ex->fn, reason);
    if (reason[0] != '\0')
        buf_printf(text, ": %s", reason);
}

static void write_text(struct exchange *ex, const struct fault_info *fault, struct buf *text)
{
    buf_printf(text, "%s (%s", fault->name, fault->layer);
    if (ex->ns.ptr) /* the name has passed the grammar, so it may stand in a text */
        buf_printf(text, ", function %.*s.%.*s", STR_ARG(ex->name), STR_ARG(ex->ns));
    buf_printf(text, "), ");
    write_times(ex, text);
    if (ex->fn && is_about_start(fault))
        write_reason(ex, text);
    buf_printf(text, "\n%s\n", fault->hint);
}

static int write_fields(struct exchange *ex, const struct fault_info *fault, struct http_head *head)
{
    struct pool *pool = &ex->stream->pool;
    int r = headers_own(ex, head);

    if (r == 0)
        r = http_head_set(head, STR("X-OpenFaaS-Internal"), STR("gateway"));
    if (r == 0 && fault->retry_after_s > 0)
        r = http_head_set(head, STR("Retry-After"), pool_printf(pool, "%u", fault->retry_after_s));
    if (r == 0 && fault->status == 405) /* RFC 9110 section 15.5.6 */
        r = http_head_set(head, STR("Allow"), STR("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    return r;
}

void reply_fault(struct exchange *ex, const struct fault_info *fault)
{
    struct http_head head;
    struct buf text;

    http_head_init(&head, &ex->stream->pool);
    buf_init(&text, 1024);
    write_text(ex, fault, &text);
    if (write_fields(ex, fault, &head) < 0 ||
        stream_reply(ex->stream, fault->status, &head, STR("text/plain; charset=utf-8"),
                     buf_str(&text)) < 0)
        stream_abort(ex->stream);
    buf_free(&text);
}

/* The proxy of one loop: where requests come in and find their function. */
#include "base/sys.h"
#include "proxy/exchange.h"

const struct proxy_config proxy_config_default = {
    .timeout_ms = 60000,
    .stream_idle_ms = 300000,
    .parked_max = 1000,
    .buffer_max = 64 << 10,
    .replay_max = 64 << 10,
    .default_ns = {"openfaas-fn", 11},
    .forwarded_for_port = false,
    .served_by = {"fngate", 6},
};

struct proxy *proxy_new(struct loop *loop, unsigned cell, struct route_table *table,
                        struct client *client, const struct proxy_config *config,
                        const struct proxy_hooks *hooks, proxy_access_f *access, void *access_arg)
{
    struct proxy *proxy = xcalloc(1, sizeof(*proxy));

    proxy->loop = loop;
    proxy->cell = cell;
    proxy->table = table;
    proxy->client = client;
    proxy->config = *config;
    proxy->hooks = *hooks;
    proxy->access = access;
    proxy->access_arg = access_arg;
    route_table_set_loop(table, cell, loop);
    return proxy;
}

void proxy_free(struct proxy *proxy)
{
    if (!proxy)
        return;
    ASSERT(proxy->in_flight == 0); /* their streams end first */
    mem_free(proxy);
}

void proxy_stats(const struct proxy *proxy, struct proxy_stats *ret)
{
    *ret = (struct proxy_stats){.requests = proxy->requests,
                                .retries = proxy->retries,
                                .parked = proxy->parked,
                                .refused = proxy->refused,
                                .in_flight = proxy->in_flight};
}

void proxy_random(struct proxy *proxy, void *buf, size_t len)
{
    ASSERT(len <= RANDOM_STOCK);
    if (proxy->random_left < len) {
        sys_random(proxy->random, RANDOM_STOCK);
        proxy->random_left = RANDOM_STOCK;
    }
    proxy->random_left -= len;
    memcpy(buf, proxy->random + proxy->random_left, len);
}

/* The suffix ".openfaas-fn" is what clients write without being asked to: it means the default
 * namespace unless one of that name really has the function. */
static struct route_fn *resolve(const struct proxy *proxy, const struct proxy_name *name,
                                struct str *ret_ns)
{
    struct str default_ns = proxy->config.default_ns;
    struct route_fn *fn;

    *ret_ns = name->ns.ptr ? name->ns : default_ns;
    fn = route_lookup(proxy->table, *ret_ns, name->name);
    if (fn || !str_eq(*ret_ns, STR("openfaas-fn")))
        return fn;
    *ret_ns = default_ns;
    return route_lookup(proxy->table, default_ns, name->name);
}

static bool is_refused(const struct http_head *request)
{
    return request->method == HTTP_OTHER && (str_eq(request->method_text, STR("CONNECT")) ||
                                             str_eq(request->method_text, STR("TRACE")));
}

/* Finds the function and begins, or says what is wrong. */
static void admit(struct exchange *ex)
{
    struct proxy *proxy = ex->proxy;
    struct stream *s = ex->stream;
    struct proxy_name name;
    struct route_fn *fn;

    if (!headers_identify(ex)) {
        exchange_fail(ex, FAULT_NO_MEMORY);
        return;
    }
    if (is_refused(&s->request)) {
        exchange_fail(ex, FAULT_METHOD_REFUSED);
        return;
    }
    if (!proxy_name_parse(s->request.path, &name)) {
        exchange_fail(ex, FAULT_BAD_NAME);
        return;
    }
    ex->name = name.name;
    ex->rest = name.rest;
    fn = resolve(proxy, &name, &ex->ns);
    if (!fn) {
        exchange_fail(ex, FAULT_UNKNOWN_FUNCTION);
        return;
    }
    if (!route_fn_enter(fn, proxy->cell)) {
        route_fn_refuse(fn, proxy->cell, fault_table[FAULT_TOO_MANY_REQUESTS].status);
        exchange_fail(ex, FAULT_TOO_MANY_REQUESTS);
        return;
    }
    ex->fn = fn;
    exchange_start(ex);
}

static void ignore(void *arg)
{
    (void)arg;
}

static void ignore_done(void *arg, enum stream_end end)
{
    (void)arg;
    (void)end;
}

/* Not even memory for an exchange: nothing is read, so only these can be called. */
static const struct stream_handler refused_handler = {.on_drained = ignore, .on_done = ignore_done};

void proxy_handle(struct proxy *proxy, struct stream *s)
{
    struct exchange *ex = pool_zalloc(&s->pool, sizeof(*ex));

    if (!ex) {
        stream_accept(s, &refused_handler, NULL);
        stream_abort(s);
        return;
    }
    figure_add(&proxy->requests, 1);
    atomic_store_explicit(&proxy->in_flight, proxy->in_flight + 1, memory_order_relaxed);
    ex->magic = EXCHANGE_MAGIC;
    ex->proxy = proxy;
    ex->stream = s;
    ex->is_body_done = s->request.framing == HTTP_BODY_NONE;
    exchange_init_timers(ex);
    buf_init(&ex->replay, proxy->config.replay_max);
    stream_accept(s, &relay_stream_handler, ex);
    admit(ex);
}

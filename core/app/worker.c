/* Workers. What the control loop wants of one is posted to its loop as a message. */
#include "app/worker.h"

#include "base/assert.h"
#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { STATS_INTERVAL_MS = 1000 };

struct worker {
    struct loop *loop;
    struct worker_config config;
    struct server *server;
    struct server *metrics_server;
    struct client *client;
    struct proxy *proxy;
    struct timer stats_timer;   /* set while there was traffic since it last fired */
    pthread_mutex_t stats_lock; /* guards `stats`: written by the loop, read by the control loop */
    struct worker_stats stats;
    unsigned draining; /* servers that have not drained yet */
    struct loop *drain_home;
    struct loop_msg drain_msg;
    void (*on_drained)(void *arg);
    void *drain_arg;
};

static void publish_stats(void *arg)
{
    struct worker *worker = arg;

    pthread_mutex_lock(&worker->stats_lock);
    server_stats(worker->server, &worker->stats.server);
    client_stats(worker->client, &worker->stats.client);
    proxy_stats(worker->proxy, &worker->stats.proxy);
    pthread_mutex_unlock(&worker->stats_lock);
}

void worker_stats(struct worker *worker, struct worker_stats *ret)
{
    pthread_mutex_lock(&worker->stats_lock);
    *ret = worker->stats;
    pthread_mutex_unlock(&worker->stats_lock);
}

static void on_request(void *arg, struct stream *s)
{
    struct worker *worker = arg;

    if (!timer_is_set(&worker->stats_timer))
        timer_set(&worker->stats_timer, STATS_INTERVAL_MS);
    if (str_starts(s->request.path, STR("/function/")))
        proxy_handle(worker->proxy, s);
    else
        api_handle(worker->config.api, s);
}

static void on_metrics_request(void *arg, struct stream *s)
{
    struct worker *worker = arg;

    api_handle_metrics(worker->config.api, s);
}

/* The proxy is made once; what is written and whether may change. */
static void on_access(void *arg, const struct proxy_record *record)
{
    struct worker *worker = arg;

    if (worker->config.access)
        worker->config.access(worker->config.access_arg, record);
}

/* Cuts what is left: the worker serves no more. */
static void worker_end(struct worker *worker)
{
    server_free(TAKE_PTR(worker->server));
    server_free(TAKE_PTR(worker->metrics_server));
    proxy_free(TAKE_PTR(worker->proxy));
    client_free(TAKE_PTR(worker->client));
    timer_cancel(&worker->stats_timer);
}

void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    worker_end(worker);
    tls_context_unref(worker->config.server.tls);
    pthread_mutex_destroy(&worker->stats_lock);
    mem_free(worker);
}

struct worker *worker_new(struct loop *loop, const struct worker_config *config)
{
    struct worker *worker = xcalloc(1, sizeof(*worker));
    struct server_config plain = config->server;

    plain.tls = NULL;
    worker->loop = loop;
    worker->config = *config;
    if (config->server.tls)
        tls_context_ref(config->server.tls);
    pthread_mutex_init(&worker->stats_lock, NULL);
    timer_init(&worker->stats_timer, loop, publish_stats, worker);
    worker->client = client_new(loop, &config->client);
    worker->server = server_new(loop, &worker->config.server, on_request, worker);
    worker->metrics_server = server_new(loop, &plain, on_metrics_request, worker);
    if (worker->client)
        worker->proxy = proxy_new(loop, config->index, config->routes, worker->client,
                                  &config->proxy, &config->hooks, on_access, worker);
    if (!worker->server || !worker->metrics_server || !worker->proxy) {
        worker_free(worker);
        return NULL;
    }
    return worker;
}

struct loop *worker_loop(const struct worker *worker)
{
    return worker->loop;
}

void worker_run(struct worker *worker)
{
    if (loop_spawn(worker->loop) < 0) {
        log_error("app", "no thread for worker %u", worker->config.index);
        abort();
    }
}

/* ---- Orders from the control loop ---- */

struct order {
    struct loop_msg msg;
    struct worker *worker;
    int fd;
    bool is_metrics;
    struct tls_context *tls;
    struct worker_config config;
};

static void post_order(struct worker *worker, void (*run)(struct loop_msg *msg), struct order order)
{
    struct order *copy = xmalloc(sizeof(*copy));

    *copy = order;
    copy->worker = worker;
    copy->msg.run = run;
    loop_post(worker->loop, &copy->msg);
}

static void run_listen(struct loop_msg *msg)
{
    struct order *order = CONTAINER_OF(msg, struct order, msg);
    struct worker *worker = order->worker;

    if (server_listen(order->is_metrics ? worker->metrics_server : worker->server, order->fd) < 0)
        log_error("app", "worker %u cannot listen: out of memory", worker->config.index);
    mem_free(order);
}

void worker_listen(struct worker *worker, int fd, bool is_metrics)
{
    post_order(worker, run_listen, (struct order){.fd = fd, .is_metrics = is_metrics});
}

static void run_unlisten(struct loop_msg *msg)
{
    struct order *order = CONTAINER_OF(msg, struct order, msg);
    struct worker *worker = order->worker;

    server_unlisten(order->is_metrics ? worker->metrics_server : worker->server, order->fd);
    mem_free(order);
}

void worker_unlisten(struct worker *worker, int fd, bool is_metrics)
{
    post_order(worker, run_unlisten, (struct order){.fd = fd, .is_metrics = is_metrics});
}

static void run_configure(struct loop_msg *msg)
{
    struct order *order = CONTAINER_OF(msg, struct order, msg);
    struct worker *worker = order->worker;

    server_configure(worker->server, &order->config.server);
    server_configure(worker->metrics_server, &order->config.server);
    client_configure(worker->client, &order->config.client);
    worker->config.access = order->config.access;
    worker->config.access_arg = order->config.access_arg;
    mem_free(order);
}

void worker_configure(struct worker *worker, const struct worker_config *config)
{
    post_order(worker, run_configure, (struct order){.fd = -1, .config = *config});
}

static void run_set_tls(struct loop_msg *msg)
{
    struct order *order = CONTAINER_OF(msg, struct order, msg);
    struct worker *worker = order->worker;

    server_set_tls(worker->server, order->tls);
    tls_context_unref(worker->config.server.tls);
    worker->config.server.tls = order->tls;
    mem_free(order);
}

void worker_set_tls(struct worker *worker, struct tls_context *tls)
{
    post_order(worker, run_set_tls, (struct order){.tls = tls_context_ref(tls)});
}

static void run_drained(struct loop_msg *msg)
{
    struct worker *worker = CONTAINER_OF(msg, struct worker, drain_msg);

    worker->on_drained(worker->drain_arg);
}

static void on_server_drained(void *arg)
{
    struct worker *worker = arg;

    if (--worker->draining > 0)
        return;
    worker->drain_msg.run = run_drained;
    loop_post(worker->drain_home, &worker->drain_msg);
}

static void run_drain(struct loop_msg *msg)
{
    struct order *order = CONTAINER_OF(msg, struct order, msg);
    struct worker *worker = order->worker;

    worker->draining = 2;
    server_drain(worker->server, false, on_server_drained, worker);
    server_drain(worker->metrics_server, false, on_server_drained, worker);
    mem_free(order);
}

void worker_drain(struct worker *worker, struct loop *control, void (*on_drained)(void *arg),
                  void *arg)
{
    worker->drain_home = control;
    worker->on_drained = on_drained;
    worker->drain_arg = arg;
    post_order(worker, run_drain, (struct order){.fd = -1});
}

static void run_stop(struct loop_msg *msg)
{
    struct order *order = CONTAINER_OF(msg, struct order, msg);

    worker_end(order->worker);
    mem_free(order);
}

void worker_stop(struct worker *worker)
{
    post_order(worker, run_stop, (struct order){.fd = -1});
}

/* /metrics: OpenFaaS's names for functions, our own for plugins and the gateway. Label values come
 * from known functions and routes only. */
#include "metrics/metrics.h"

#include "api/request.h"

#include <stdio.h>

enum { CODES_MAX = 64 };

/* Calls write(out, fn, labels) for every function; labels[0] is function_name. */
static void each_function(struct request *request, struct buf *out,
                          void (*write)(struct buf *out, const struct catalog_fn *fn,
                                        struct metric_label *labels))
{
    const struct catalog *catalog = request->api->config.catalog;

    for (const struct catalog_fn *fn = NULL; (fn = catalog_next(catalog, fn, STR_NONE));) {
        char name[160];
        struct metric_label labels[2] = {{"function_name", STR_NONE}, {"code", STR_NONE}};
        int len = snprintf(name, sizeof(name), "%.*s.%.*s", STR_ARG(catalog_fn_name(fn)),
                           STR_ARG(catalog_fn_ns(fn)));

        labels[0].value = str_make(name, (size_t)len);
        write(out, fn, labels);
    }
}

static void write_seconds(struct buf *out, const struct catalog_fn *fn, struct metric_label *labels)
{
    struct route_code_stats codes[CODES_MAX];
    size_t count = route_fn_codes(fn->route, codes, CODES_MAX);

    for (size_t i = 0; i < count && i < CODES_MAX; i++) {
        struct metric_histogram histogram = {route_buckets_s, ROUTE_BUCKETS - 1, codes[i].buckets,
                                             codes[i].seconds};
        char code[8];

        snprintf(code, sizeof(code), "%u", codes[i].code);
        labels[1].value = str_from(code);
        metric_histogram(out, "gateway_functions_seconds", labels, 2, &histogram);
    }
}

static void write_totals(struct buf *out, const struct catalog_fn *fn, struct metric_label *labels)
{
    struct route_code_stats codes[CODES_MAX];
    size_t count = route_fn_codes(fn->route, codes, CODES_MAX);

    for (size_t i = 0; i < count && i < CODES_MAX; i++) {
        char code[8];

        snprintf(code, sizeof(code), "%u", codes[i].code);
        labels[1].value = str_from(code);
        metric_sample(out, "gateway_function_invocation_total", labels, 2, (double)codes[i].count);
    }
}

static void write_started(struct buf *out, const struct catalog_fn *fn, struct metric_label *labels)
{
    struct route_fn_stats stats;

    route_fn_stats(fn->route, &stats);
    metric_sample(out, "gateway_function_invocation_started", labels, 1, (double)stats.started);
}

static void write_in_flight(struct buf *out, const struct catalog_fn *fn,
                            struct metric_label *labels)
{
    struct route_fn_stats stats;

    route_fn_stats(fn->route, &stats);
    metric_sample(out, "gateway_function_invocation_inflight", labels, 1, (double)stats.in_flight);
}

static void write_replicas(struct buf *out, const struct catalog_fn *fn,
                           struct metric_label *labels)
{
    metric_sample(out, "gateway_service_count", labels, 1, fn_spec_get(fn->spec)->replicas);
}

static void write_ready(struct buf *out, const struct catalog_fn *fn, struct metric_label *labels)
{
    metric_sample(out, "gateway_service_ready_count", labels, 1, fn->ready);
}

static void write_min(struct buf *out, const struct catalog_fn *fn, struct metric_label *labels)
{
    metric_sample(out, "gateway_service_min", labels, 1, catalog_scale_min(fn));
}

static void function_families(struct request *request, struct buf *out)
{
    static const struct {
        const char *name;
        enum metric_type type;
        const char *help;
        void (*write)(struct buf *out, const struct catalog_fn *fn, struct metric_label *labels);
    } families[] = {
        {"gateway_functions_seconds", METRIC_HISTOGRAM, "Duration of calls.", write_seconds},
        {"gateway_function_invocation_total", METRIC_COUNTER, "Calls that ended.", write_totals},
        {"gateway_function_invocation_started", METRIC_COUNTER, "Calls that began.", write_started},
        {"gateway_function_invocation_inflight", METRIC_GAUGE, "Calls under way.", write_in_flight},
        {"gateway_service_count", METRIC_GAUGE, "Desired replicas.", write_replicas},
        {"gateway_service_ready_count", METRIC_GAUGE, "Ready replicas.", write_ready},
        {"gateway_service_min", METRIC_GAUGE, "Least replicas while running.", write_min},
    };

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        metric_family(out, families[i].name, families[i].type, families[i].help);
        each_function(request, out, families[i].write);
    }
}

/* ---- Plugins ---- */

static double stat_calls(const struct instance_stats *stats)
{
    return (double)stats->calls;
}

static double stat_errors(const struct instance_stats *stats)
{
    return (double)stats->errors;
}

static double stat_timeouts(const struct instance_stats *stats)
{
    return (double)stats->timeouts;
}

static double stat_late(const struct instance_stats *stats)
{
    return (double)stats->late;
}

static double stat_refused(const struct instance_stats *stats)
{
    return (double)stats->refused;
}

static double stat_seconds(const struct instance_stats *stats)
{
    return stats->seconds;
}

static double stat_waiting(const struct instance_stats *stats)
{
    return stats->waiting;
}

static double stat_running(const struct instance_stats *stats)
{
    return stats->running;
}

static double stat_stuck(const struct instance_stats *stats)
{
    return stats->stuck;
}

static void plugin_families(struct request *request, struct buf *out)
{
    static const struct {
        const char *name;
        enum metric_type type;
        const char *help;
        double (*value)(const struct instance_stats *stats);
    } families[] = {
        {"fngate_plugin_calls_total", METRIC_COUNTER, "Calls into the plugin.", stat_calls},
        {"fngate_plugin_errors_total", METRIC_COUNTER, "Calls that failed.", stat_errors},
        {"fngate_plugin_timeouts_total", METRIC_COUNTER, "Calls over their deadline.",
         stat_timeouts},
        {"fngate_plugin_late_total", METRIC_COUNTER, "Results that came too late.", stat_late},
        {"fngate_plugin_refused_total", METRIC_COUNTER, "Calls refused by a full lane.",
         stat_refused},
        {"fngate_plugin_seconds_total", METRIC_COUNTER, "Time spent in calls.", stat_seconds},
        {"fngate_plugin_waiting", METRIC_GAUGE, "Calls that wait for a thread.", stat_waiting},
        {"fngate_plugin_running", METRIC_GAUGE, "Calls under way.", stat_running},
        {"fngate_plugin_stuck", METRIC_GAUGE, "Threads in calls that were given up.", stat_stuck},
    };
    const struct catalog_provider *providers;
    size_t count = catalog_providers(request->api->config.catalog, &providers);

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        metric_family(out, families[i].name, families[i].type, families[i].help);
        for (size_t j = 0; j < count; j++) {
            struct metric_label label = {"instance",
                                         str_from(instance_name(providers[j].instance))};
            struct instance_stats stats;

            instance_stats(providers[j].instance, &stats);
            metric_sample(out, families[i].name, &label, 1, families[i].value(&stats));
        }
    }
}

/* Figures of a plugin's own: one family each, under its instance. */
struct figure_context {
    struct buf *out;
    const char *instance;
};

static void write_figure(void *arg, struct str name, double value, bool is_counter)
{
    struct figure_context *context = arg;
    struct metric_label label = {"instance", str_from(context->instance)};
    char full[128];

    snprintf(full, sizeof(full), "fngate_plugin_%.*s", STR_ARG(name));
    metric_family(context->out, full, is_counter ? METRIC_COUNTER : METRIC_GAUGE,
                  "A figure of the plugin's own.");
    metric_sample(context->out, full, &label, 1, value);
}

void metrics_get(struct request *request)
{
    struct api *api = request->api;
    const struct catalog_provider *providers;
    size_t count = catalog_providers(api->config.catalog, &providers);

    function_families(request, &request->reply);
    plugin_families(request, &request->reply);
    for (size_t i = 0; i < count; i++) {
        struct figure_context context = {&request->reply, instance_name(providers[i].instance)};

        instance_figures(providers[i].instance, write_figure, &context);
    }
    metric_set_write(api->timings, &request->reply, "http_request_duration_seconds",
                     "Duration of control API requests.");
    metric_set_write_counts(api->timings, &request->reply, "http_requests_total",
                            "Control API requests.");
    if (api->config.on_metrics)
        api->config.on_metrics(api->config.arg, &request->reply);
    request_reply_body(request, 200, METRIC_CONTENT_TYPE);
}

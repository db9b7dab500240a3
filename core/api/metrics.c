/* /metrics: functions under the names that dashboards of OpenFaaS know, the control API, and each
 * provider instance under fngate_plugin_. */
#include "api/routes.h"

#include "base/vec.h"

#include <stdio.h>
#include <stdlib.h>

enum { CODES_MAX = 64, FN_NAME_MAX = 160 };

#define PLUGIN_PREFIX "fngate_plugin_"

static const struct catalog_fn *next_fn(const struct api_request *r, const struct catalog_fn *fn)
{
    return catalog_next(r->api->config.catalog, fn, STR_NONE);
}

/* "name.namespace" */
static struct str fn_name(const struct catalog_fn *fn, char space[FN_NAME_MAX])
{
    int len = snprintf(space, FN_NAME_MAX, "%.*s.%.*s", STR_ARG(catalog_fn_name(fn)),
                       STR_ARG(catalog_fn_ns(fn)));

    return str_make(space, (size_t)len);
}

/* ---- One figure per function ---- */

static double started_of(const struct catalog_fn *fn)
{
    struct route_fn_stats stats;

    route_fn_stats(fn->route, &stats);
    return (double)stats.started;
}

static double inflight_of(const struct catalog_fn *fn)
{
    struct route_fn_stats stats;

    route_fn_stats(fn->route, &stats);
    return stats.in_flight;
}

static double desired_of(const struct catalog_fn *fn)
{
    return fn_spec_get(fn->spec)->replicas;
}

static double ready_of(const struct catalog_fn *fn)
{
    return fn->ready;
}

static double min_of(const struct catalog_fn *fn)
{
    return catalog_scale_min(fn);
}

static const struct fn_figure {
    const char *name;
    enum metric_type type;
    const char *help;
    double (*value)(const struct catalog_fn *fn);
} fn_figures[] = {
    {"gateway_function_invocation_started", METRIC_COUNTER, "Invocations that began", started_of},
    {"gateway_function_invocation_inflight", METRIC_GAUGE, "Invocations under way", inflight_of},
    {"gateway_service_count", METRIC_GAUGE, "Replicas that are wanted", desired_of},
    {"gateway_service_ready_count", METRIC_GAUGE, "Replicas that are ready", ready_of},
    {"gateway_service_min", METRIC_GAUGE, "Replicas while it runs, at least", min_of},
};

static void write_fn_figure(struct api_request *r, const struct fn_figure *figure)
{
    char space[FN_NAME_MAX];

    metric_family(&r->reply, figure->name, figure->type, figure->help);
    for (const struct catalog_fn *fn = NULL; (fn = next_fn(r, fn));) {
        struct metric_label label = {"function_name", fn_name(fn, space)};

        metric_sample(&r->reply, figure->name, &label, 1, figure->value(fn));
    }
}

/* ---- Per function and status code ---- */

static void write_code(struct buf *out, const char *name, const struct metric_label *labels,
                       const struct route_code_stats *stats, enum metric_type type)
{
    struct metric_histogram histogram = {route_buckets_s, ROUTE_BUCKETS - 1, stats->buckets,
                                         stats->seconds};

    if (type == METRIC_HISTOGRAM)
        metric_histogram(out, name, labels, 2, &histogram);
    else
        metric_sample(out, name, labels, 2, (double)stats->count);
}

static void write_codes(struct api_request *r, const char *name, enum metric_type type,
                        const char *help)
{
    struct route_code_stats codes[CODES_MAX];
    char space[FN_NAME_MAX], code[16];

    metric_family(&r->reply, name, type, help);
    for (const struct catalog_fn *fn = NULL; (fn = next_fn(r, fn));) {
        size_t count = route_fn_codes(fn->route, codes, CODES_MAX);

        for (size_t i = 0; i < count && i < CODES_MAX; i++) {
            struct metric_label labels[] = {{"function_name", fn_name(fn, space)}, {"code", {0}}};

            snprintf(code, sizeof(code), "%u", codes[i].code);
            labels[1].value = str_from(code);
            write_code(&r->reply, name, labels, &codes[i], type);
        }
    }
}

/* ---- Instances ---- */

struct figure {
    char *name;
    struct str instance;
    double value;
    bool is_counter;
};

struct figures {
    VEC(struct figure) all;
    struct str instance;
};

static void add_figure(void *arg, struct str name, double value, bool is_counter)
{
    struct figures *figures = arg;

    *VEC_PUSH(&figures->all) =
        (struct figure){xasprintf(PLUGIN_PREFIX "%.*s%s", STR_ARG(name),
                                  is_counter && !str_ends(name, STR("_total")) ? "_total" : ""),
                        figures->instance, value, is_counter};
}

/* What the gateway counts stands first; the plugin's own figures follow. */
static void add_instance(struct figures *figures, const struct instance *instance)
{
    struct instance_stats stats;
    struct str why;

    figures->instance = str_from(instance_name(instance));
    instance_stats(instance, &stats);
    add_figure(figures, STR("calls"), (double)stats.calls, true);
    add_figure(figures, STR("call_errors"), (double)stats.errors, true);
    add_figure(figures, STR("call_timeouts"), (double)stats.timeouts, true);
    add_figure(figures, STR("calls_late"), (double)stats.late, true);
    add_figure(figures, STR("calls_refused"), (double)stats.refused, true);
    add_figure(figures, STR("call_seconds"), stats.seconds, true);
    add_figure(figures, STR("lane_waiting"), stats.waiting, false);
    add_figure(figures, STR("lane_running"), stats.running, false);
    add_figure(figures, STR("lane_stuck"), stats.stuck, false);
    add_figure(figures, STR("ready"), instance_state(instance) == INSTANCE_READY, false);
    add_figure(figures, STR("health"), instance_health(instance, &why), false);
    instance_figures(instance, add_figure, figures);
}

static int by_name(const void *a, const void *b)
{
    const struct figure *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order ? order : str_cmp(x->instance, y->instance);
}

static void write_figures(struct buf *out, struct figures *figures)
{
    const struct figure *before = NULL;

    qsort(figures->all.items, figures->all.count, sizeof(*figures->all.items), by_name);
    for (size_t i = 0; i < figures->all.count; i++) {
        const struct figure *figure = &figures->all.items[i];
        struct metric_label label = {"instance", figure->instance};
        bool is_new = !before || strcmp(before->name, figure->name) != 0;

        if (is_new)
            metric_family(out, figure->name, figure->is_counter ? METRIC_COUNTER : METRIC_GAUGE,
                          "Of a plugin instance");
        /* A plugin's figure that is named like one of ours is left out: a series comes once. */
        if (is_new || !str_eq(before->instance, figure->instance))
            metric_sample(out, figure->name, &label, 1, figure->value);
        before = figure;
    }
}

static void write_instances(struct api_request *r)
{
    const struct catalog_provider *providers;
    size_t count = catalog_providers(r->api->config.catalog, &providers);
    struct figures figures = {0};

    for (size_t i = 0; i < count; i++)
        add_instance(&figures, providers[i].instance);
    if (count)
        write_figures(&r->reply, &figures);
    for (size_t i = 0; i < figures.all.count; i++)
        mem_free(figures.all.items[i].name);
    VEC_FREE(&figures.all);
}

void metrics_get(struct api_request *r)
{
    const struct api_config *config = &r->api->config;

    write_codes(r, "gateway_functions_seconds", METRIC_HISTOGRAM, "Duration of invocations");
    write_codes(r, "gateway_function_invocation_total", METRIC_COUNTER, "Invocations that ended");
    for (size_t i = 0; i < sizeof(fn_figures) / sizeof(fn_figures[0]); i++)
        write_fn_figure(r, &fn_figures[i]);
    metric_set_write_counts(r->api->requests, &r->reply, "http_requests_total",
                            "Requests of the control API");
    metric_set_write(r->api->requests, &r->reply, "http_request_duration_seconds",
                     "Duration of requests of the control API");
    write_instances(r);
    if (config->on_metrics)
        config->on_metrics(config->arg, &r->reply);
    api_reply(r, 200, METRIC_CONTENT_TYPE);
}

/* /system/functions, /system/function/NAME, /system/scale-function/NAME, /system/alert. */
#include "api/json.h"
#include "base/sys.h"

void functions_list(struct request *request)
{
    const struct catalog *catalog = request->api->config.catalog;
    struct str ns = request_param(request, "namespace");
    json_t *list = json_array();

    /* without a namespace: the default one, as every provider does */
    ns = catalog_resolve_ns(catalog, ns.ptr ? ns : STR(""));
    for (const struct catalog_fn *fn = NULL; (fn = catalog_next(catalog, fn, ns));)
        json_array_append_new(list, json_of_function(fn, NULL));
    json_reply(request, 200, list);
}

static void deploy(struct request *request, enum catalog_deploy_mode mode)
{
    struct catalog *catalog = request->api->config.catalog;
    json_t *object = json_body(request);
    struct fng_function function;

    if (!object)
        return;
    if (json_function(request, object, &function)) {
        function.created_ms = sys_wall_ms();
        if (mode == CATALOG_UPDATE && request->api->config.is_upsert &&
            !catalog_find(catalog, str_of(function.ns), str_of(function.name)))
            mode = CATALOG_CREATE;
        catalog_deploy(catalog, mode, &function, request_done, request);
    }
    json_decref(object);
}

void functions_create(struct request *request)
{
    deploy(request, CATALOG_CREATE);
}

void functions_update(struct request *request)
{
    deploy(request, CATALOG_UPDATE);
}

void functions_remove(struct request *request)
{
    json_t *object = json_body(request);
    struct str name, ns;

    if (!object)
        return;
    if (json_text(request, object, "functionName", &name) &&
        json_text(request, object, "namespace", &ns)) {
        if (name.len == 0)
            request_reply_text(request, 400, "request: functionName: is required");
        else
            catalog_remove(request->api->config.catalog, request_ns(request, ns), name,
                           request_done, request);
    }
    json_decref(object);
}

/* ---- Status ---- */

static struct catalog_fn *find_named(struct request *request)
{
    return catalog_find(request->api->config.catalog, request_ns(request, STR("")), request->name);
}

static void on_usage(void *arg, const struct plugin_result *result, const struct fng_usage *usage)
{
    struct request *request = arg;
    const struct catalog_fn *fn = find_named(request);

    if (!fn)
        request_reply(request, 404);
    else /* a backend that cannot say does not make the status fail */
        json_reply(request, 200, json_of_function(fn, result->error == FNG_OK ? usage : NULL));
}

void function_status(struct request *request)
{
    struct str usage = request_param(request, "usage");
    struct catalog_fn *fn = find_named(request);

    if (!fn)
        request_reply(request, 404);
    else if ((str_eq(usage, STR("1")) || str_eq(usage, STR("true"))) && fn->ready > 0)
        provider_usage(fn->owner, catalog_fn_ns(fn), catalog_fn_name(fn), 1000, on_usage, request);
    else
        json_reply(request, 200, json_of_function(fn, NULL));
}

/* ---- Scale ---- */

void function_scale(struct request *request)
{
    json_t *object = json_body(request);
    const json_t *replicas;
    struct str name, ns;

    if (!object)
        return;
    replicas = json_object_get(object, "replicas");
    if (json_text(request, object, "serviceName", &name) &&
        json_text(request, object, "namespace", &ns)) {
        if (!json_is_integer(replicas) || json_integer_value(replicas) < 0 ||
            json_integer_value(replicas) > 100000)
            request_reply_text(request, 400,
                               "request: replicas: must be a number from 0 to 100000");
        else
            catalog_scale(request->api->config.catalog, request_ns(request, ns), request->name,
                          (uint32_t)json_integer_value(replicas), request_done, request);
    }
    json_decref(object);
}

/* ---- Alerts: the Alertmanager webhook that scales as OpenFaaS CE does ---- */

static uint64_t number_label(const struct catalog_fn *fn, const char *label, uint64_t fallback)
{
    uint64_t value;

    return str_to_u64(catalog_label(fn, str_from(label)), 100000, &value) ? value : fallback;
}

/* Replicas after one alert: a step up while it fires, straight to the minimum when it resolves. */
static uint32_t replicas_after(const struct catalog_fn *fn, bool is_firing)
{
    uint64_t min = catalog_scale_min(fn), max = number_label(fn, "com.openfaas.scale.max", 20);
    uint64_t factor = number_label(fn, "com.openfaas.scale.factor", 10);
    uint64_t current = fn_spec_get(fn->spec)->replicas, wanted;

    if (max < min)
        max = min;
    if (!is_firing)
        return (uint32_t)min;
    wanted = current + (max * factor + 99) / 100;
    return (uint32_t)(wanted > max ? max : wanted);
}

static void ignore_result(void *arg, const struct plugin_result *result)
{
    (void)arg;
    (void)result;
}

static void apply_alert(struct request *request, const json_t *alert)
{
    struct catalog *catalog = request->api->config.catalog;
    const char *status = json_string_value(json_object_get(alert, "status"));
    struct str full = str_from(
        json_string_value(json_object_get(json_object_get(alert, "labels"), "function_name")));
    ptrdiff_t dot = str_rfind(full, '.');
    struct str name = dot < 0 ? full : str_sub(full, 0, (size_t)dot);
    struct str ns = dot < 0 ? STR("") : str_sub(full, (size_t)dot + 1, full.len);
    struct catalog_fn *fn = catalog_find(catalog, catalog_resolve_ns(catalog, ns), name);
    uint32_t wanted;

    if (!fn || !status)
        return;
    wanted = replicas_after(fn, str_eq(str_from(status), STR("firing")));
    if (wanted != fn_spec_get(fn->spec)->replicas)
        catalog_scale(catalog, catalog_fn_ns(fn), catalog_fn_name(fn), wanted, ignore_result, NULL);
}

void function_alert(struct request *request)
{
    json_t *object = json_body(request);
    const json_t *alerts;

    if (!object)
        return;
    alerts = json_object_get(object, "alerts");
    if (!json_is_array(alerts)) {
        request_reply_text(request, 400, "request: alerts: must be a list");
    } else {
        for (size_t i = 0; i < json_array_size(alerts); i++)
            apply_alert(request, json_array_get(alerts, i));
        request_reply(request, 200);
    }
    json_decref(object);
}

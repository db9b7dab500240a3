/* POST /system/alert: Alertmanager's webhook. A firing alert adds a step of replicas to the
 * function that its label function_name names, a resolved one goes back to the minimum. */
#include "api/routes.h"

enum {
    ALERTS_MAX = 1000,
    DEFAULT_MAX = 20,   /* com.openfaas.scale.max */
    DEFAULT_FACTOR = 10 /* com.openfaas.scale.factor, per cent of the maximum */
};

/* Alerts of one request that are being acted on; the last one to end replies. */
struct alerts {
    struct api_request *r;
    unsigned pending, failed;
};

static uint32_t label_number(const struct catalog_fn *fn, struct str key, uint32_t fallback,
                             uint32_t max)
{
    uint64_t value;

    if (!str_to_u64(catalog_label(fn, key), max, &value) || value == 0)
        return fallback;
    return (uint32_t)value;
}

static uint32_t replicas_after(const struct catalog_fn *fn, bool is_firing)
{
    uint32_t now = fn_spec_get(fn->spec)->replicas, min = catalog_scale_min(fn);
    uint32_t max = label_number(fn, STR("com.openfaas.scale.max"), DEFAULT_MAX, 10000);
    uint32_t factor = label_number(fn, STR("com.openfaas.scale.factor"), DEFAULT_FACTOR, 100);
    uint32_t wanted = now + (max * factor + 99) / 100;

    if (!is_firing)
        return min;
    if (wanted > max)
        wanted = max;
    return wanted > min ? wanted : min;
}

static void alerts_end(struct alerts *alerts)
{
    struct api_request *r = alerts->r;

    if (--alerts->pending > 0)
        return;
    if (alerts->failed)
        api_reply(r, 500, API_TEXT); /* what was collected */
    else
        api_reply_empty(r, 200);
}

static void on_scaled(void *arg, const struct plugin_result *result)
{
    struct alerts *alerts = arg;

    if (result->error != FNG_OK)
        (void)buf_printf(&alerts->r->reply, "[%u] %.*s\n", alerts->failed++, STR_ARG(result->text));
    alerts_end(alerts);
}

/* "name.namespace", split at the last dot. */
static struct catalog_fn *find_function(struct api_request *r, struct str full)
{
    const struct catalog *catalog = r->api->config.catalog;
    ptrdiff_t dot = str_rfind(full, '.');
    struct str ns = dot < 0 ? STR("") : str_sub(full, (size_t)dot + 1, full.len);

    return catalog_find(catalog, catalog_resolve_ns(catalog, ns),
                        dot < 0 ? full : str_sub(full, 0, (size_t)dot));
}

/* Alerts about functions that are not there are none of our business. */
static void act(struct alerts *alerts, const json_t *alert)
{
    const char *status = json_string_value(json_object_get(alert, "status"));
    const char *name =
        json_string_value(json_object_get(json_object_get(alert, "labels"), "function_name"));
    struct catalog_fn *fn = name ? find_function(alerts->r, str_from(name)) : NULL;
    uint32_t wanted;

    if (!fn)
        return;
    wanted = replicas_after(fn, status && strcmp(status, "firing") == 0);
    if (wanted == fn_spec_get(fn->spec)->replicas)
        return;
    alerts->pending++;
    catalog_scale(alerts->r->api->config.catalog, catalog_fn_ns(fn), catalog_fn_name(fn), wanted,
                  on_scaled, alerts);
}

void alert_take(struct api_request *r)
{
    struct alerts *alerts = pool_zalloc(&r->pool, sizeof(*alerts));
    const json_t *list;

    if (!request_json(r, NULL, 0, NULL))
        return;
    list = json_object_get(r->json, "alerts");
    if (!alerts || !json_is_array(list) || json_array_size(list) > ALERTS_MAX) {
        api_reply_text(r, 400, "field 'alerts': an array of at most %d alerts was expected",
                       ALERTS_MAX);
        return;
    }
    r->what = STR("alerts");
    alerts->r = r;
    alerts->pending = 1; /* this loop */
    for (size_t i = 0; i < json_array_size(list); i++)
        act(alerts, json_array_get(list, i));
    alerts_end(alerts);
}

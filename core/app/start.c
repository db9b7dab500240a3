/* Starting, step by step: each step's answer begins the next one. */
#include "app/gateway_internal.h"

#include "base/log.h"

enum { SYNC_TIMEOUT_MS = 10000 };

static void serve(struct gateway *gateway)
{
    struct err err;

    if (gateway->phase != GATEWAY_STARTING)
        return;
    timer_cancel(&gateway->start_timer);
    gateway->phase = GATEWAY_SERVING;
    gateway->why_not_ready = NULL;
    sockets_serve(gateway);
    for (size_t i = 0; i < gateway->settings->listen.count; i++)
        log_info("app", "serving on %.*s", STR_ARG(gateway->settings->listen.items[i]));
    gateway->handover = handover_new(gateway, &err);
    if (!gateway->handover)
        log_warn("app", "no successor can take over: %s", err.text);
    takeover_ready(gateway);
    if (gateway->is_reload_wanted) {
        gateway->is_reload_wanted = false;
        gateway_reload(gateway);
    }
}

/* Requests are taken once every provider has said what runs, so that no call meets a 404 that a
 * moment later would be wrong. A provider that takes too long is waited for no longer. */
static void serve_when_synced(struct gateway *gateway)
{
    const struct catalog_provider *providers;
    size_t count = catalog_providers(gateway->catalog, &providers);

    for (size_t i = 0; i < count; i++)
        if (!providers[i].is_synced && instance_state(providers[i].instance) != INSTANCE_FAILED)
            return;
    serve(gateway);
}

static void on_sync_timeout(void *arg)
{
    struct gateway *gateway = arg;

    log_warn("app", "a provider is not in step with its backend yet; serving what is known");
    serve(gateway);
}

static void on_synced(void *arg)
{
    serve_when_synced(arg);
}

static void on_provider_started(void *arg, const struct plugin_result *result)
{
    struct gateway *gateway = arg;

    if (gateway->phase != GATEWAY_STARTING)
        return;
    if (result->error != FNG_OK) {
        gateway_fail(gateway, "a provider did not start: %.*s", STR_ARG(result->text));
        return;
    }
    serve_when_synced(gateway);
}

static void on_catalog_loaded(void *arg, const struct plugin_result *result)
{
    struct gateway *gateway = arg;

    if (gateway->phase != GATEWAY_STARTING)
        return;
    if (result->error != FNG_OK) {
        gateway_fail(gateway, "the state store cannot be read: %.*s", STR_ARG(result->text));
        return;
    }
    timer_set(&gateway->start_timer, SYNC_TIMEOUT_MS);
    catalog_on_synced(gateway->catalog, on_synced, gateway);
    for (size_t i = 0; i < gateway->settings->providers_count; i++)
        instance_start(gateway->providers[i], on_provider_started, gateway);
}

static void on_store_started(void *arg, const struct plugin_result *result)
{
    struct gateway *gateway = arg;

    if (gateway->phase != GATEWAY_STARTING)
        return;
    if (result->error != FNG_OK) {
        gateway_fail(gateway, "the state store did not start: %.*s", STR_ARG(result->text));
        return;
    }
    catalog_load(gateway->catalog, on_catalog_loaded, gateway);
}

void gateway_start(struct gateway *gateway)
{
    timer_init(&gateway->start_timer, gateway->control, on_sync_timeout, gateway);
    timer_init(&gateway->drain_timer, gateway->control, NULL, gateway);
    instance_start(gateway->store, on_store_started, gateway);
}

bool gateway_is_ready(void *arg, const char **ret_why)
{
    struct gateway *gateway = arg;

    *ret_why = gateway->why_not_ready;
    return gateway->phase == GATEWAY_SERVING;
}

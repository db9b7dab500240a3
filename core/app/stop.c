/* Stopping: accepted requests finish, then providers, records and the store, each within its limit.
 */
#include "app/gateway_internal.h"

#include "base/log.h"

#include <inttypes.h>

static void on_store_stopped(void *arg, const struct plugin_result *result)
{
    struct gateway *gateway = arg;

    (void)result;
    log_info("app", "stopped");
    loop_stop(gateway->control);
}

static void on_saved(void *arg, const struct plugin_result *result)
{
    struct gateway *gateway = arg;

    (void)result;
    instance_stop(gateway->store, on_store_stopped, gateway);
}

static bool is_running(const struct instance *instance)
{
    enum instance_state state = instance_state(instance);

    return state != INSTANCE_CONFIGURED && state != INSTANCE_STOPPED;
}

static void providers_stopped(struct gateway *gateway)
{
    if (instance_state(gateway->store) == INSTANCE_READY)
        catalog_save(gateway->catalog, on_saved, gateway);
    else if (is_running(gateway->store))
        instance_stop(gateway->store, on_store_stopped, gateway);
    else
        loop_stop(gateway->control);
}

static void on_provider_stopped(void *arg, const struct plugin_result *result)
{
    struct gateway *gateway = arg;

    if (result->error != FNG_OK)
        log_warn("app", "a provider did not stop cleanly: %.*s", STR_ARG(result->text));
    if (--gateway->pending == 0)
        providers_stopped(gateway);
}

void gateway_reload_ended(struct gateway *gateway)
{
    if (--gateway->pending == 0)
        providers_stopped(gateway);
}

static void stop_providers(struct gateway *gateway)
{
    size_t count = gateway->settings->providers_count;

    gateway->pending = 1;
    for (size_t i = 0; i < count; i++) {
        if (!is_running(gateway->providers[i]))
            continue;
        gateway->pending++;
        instance_stop(gateway->providers[i], on_provider_stopped, gateway);
    }
    if (gateway->reload) {
        gateway->is_reload_awaited = true;
        gateway->pending++;
    }
    if (--gateway->pending == 0)
        providers_stopped(gateway);
}

static void workers_done(struct gateway *gateway)
{
    timer_cancel(&gateway->drain_timer);
    for (unsigned i = 0; i < gateway->workers_count; i++)
        worker_stop(gateway->workers[i]);
    stop_providers(gateway);
}

static void on_worker_drained(void *arg)
{
    struct gateway *gateway = arg;

    if (gateway->draining > 0 && --gateway->draining == 0)
        workers_done(gateway);
}

static void on_drain_due(void *arg)
{
    struct gateway *gateway = arg;

    log_warn("app", "%" PRId64 " ms to drain have passed; cutting what is left",
             gateway->settings->timeouts.drain_ms);
    gateway->draining = 0;
    workers_done(gateway);
}

void gateway_stop(struct gateway *gateway)
{
    if (gateway->phase == GATEWAY_STOPPING)
        return;
    gateway->phase = GATEWAY_STOPPING;
    gateway->why_not_ready = "stopping";
    log_info("app", "stopping: accepted requests are finished first");
    gateway_reload_cancel(gateway);
    timer_cancel(&gateway->start_timer);
    timer_init(&gateway->drain_timer, gateway->control, on_drain_due, gateway);
    timer_set(&gateway->drain_timer, gateway->settings->timeouts.drain_ms);
    gateway->draining = gateway->workers_count;
    api_stop(gateway->api);
    sockets_close(gateway);
    for (unsigned i = 0; i < gateway->workers_count; i++)
        worker_drain(gateway->workers[i], gateway->control, on_worker_drained, gateway);
}

/* SIGHUP: a new generation of settings beside the running one.
 *
 *   read and check everything -> hold the providers that leave until nothing is under way there
 *   -> start the new ones, staged -> all in step with their backends -> open added addresses
 *   -> switch in one turn of the control loop -> stop the old ones
 *
 * Whatever fails before the switch leaves the running generation as it was. One reload at a time;
 * signals that come meanwhile make one more.
 */
#include "app/credentials.h"
#include "app/gateway_internal.h"
#include "base/assert.h"
#include "base/log.h"

enum { QUIET_TIMEOUT_MS = 10000, SYNC_TIMEOUT_MS = 10000 };

enum reload_phase { RELOAD_HOLDING, RELOAD_STARTING, RELOAD_ENDING };

/* A `providers:` entry of the new settings. */
struct entry {
    struct reload *reload;
    struct instance *instance;
    bool is_new; /* made by this reload, else it serves already */
};

struct reload {
    struct gateway *gateway;
    enum reload_phase phase;
    struct settings *fresh; /* the gateway's after the switch */
    struct entry *entries;  /* as in fresh->providers */
    size_t entries_count;
    VEC(struct instance *) leaving; /* changed or removed ones; after the switch they are stopped */
    struct auth *auth;
    struct tls_context *tls;
    struct timer timer;
    unsigned starting, stopping; /* answers that are awaited */
};

static void reload_free(struct reload *reload)
{
    timer_cancel(&reload->timer);
    settings_free(reload->fresh);
    auth_free(reload->auth);
    tls_context_unref(reload->tls);
    VEC_FREE(&reload->leaving);
    mem_free(reload->entries);
    mem_free(reload);
}

static void reload_end(struct reload *reload)
{
    struct gateway *gateway = reload->gateway;

    catalog_resume(gateway->catalog);
    reload_free(reload);
    gateway->reload = NULL;
    if (gateway->is_reload_awaited) {
        gateway_reload_ended(gateway);
    } else if (gateway->is_reload_wanted) {
        gateway->is_reload_wanted = false;
        gateway_reload(gateway);
    }
}

/* ---- Stopping instances: new ones after a failure, old ones after the switch ---- */

struct farewell {
    struct reload *reload;
    struct instance *instance;
};

static void on_stopped(void *arg, const struct plugin_result *result)
{
    struct farewell *farewell = arg;
    struct reload *reload = farewell->reload;

    if (result->error != FNG_OK)
        log_warn("app", "reload: %s did not stop cleanly: %.*s", instance_name(farewell->instance),
                 STR_ARG(result->text));
    instance_free(farewell->instance);
    mem_free(farewell);
    if (--reload->stopping == 0)
        reload_end(reload);
}

static void stop_instance(struct reload *reload, struct instance *instance)
{
    struct farewell *farewell;

    if (instance_state(instance) == INSTANCE_CONFIGURED) {
        instance_free(instance);
        return;
    }
    farewell = xcalloc(1, sizeof(*farewell));
    *farewell = (struct farewell){reload, instance};
    reload->stopping++;
    instance_stop(instance, on_stopped, farewell);
}

static void give_up(struct reload *reload, const char *why)
{
    struct catalog *catalog = reload->gateway->catalog;

    ASSERT(reload->phase != RELOAD_ENDING);
    reload->phase = RELOAD_ENDING;
    timer_cancel(&reload->timer);
    log_error("app", "reload given up, everything stays as it is: %s", why);
    catalog_on_synced(catalog, NULL, NULL);
    catalog_unstage(catalog);
    reload->stopping = 1;
    for (size_t i = 0; i < reload->entries_count; i++)
        if (reload->entries[i].is_new)
            stop_instance(reload, reload->entries[i].instance);
    if (--reload->stopping == 0)
        reload_end(reload);
}

void gateway_reload_cancel(struct gateway *gateway)
{
    if (gateway->reload && gateway->reload->phase != RELOAD_ENDING)
        give_up(gateway->reload, "the gateway stops");
}

/* ---- The switch ---- */

/* The new settings and providers become the gateway's; returns the former settings. */
static struct settings *adopt(struct reload *reload)
{
    struct gateway *gateway = reload->gateway;
    struct settings *former = gateway->settings;

    gateway->settings = TAKE_PTR(reload->fresh);
    mem_free(gateway->providers);
    gateway->providers = xcalloc(reload->entries_count, sizeof(struct instance *));
    for (size_t i = 0; i < reload->entries_count; i++)
        gateway->providers[i] = reload->entries[i].instance;
    return former;
}

static void switch_providers(struct reload *reload, struct catalog_moves *moves)
{
    const struct gateway *gateway = reload->gateway;
    struct catalog_provider *bindings = xcalloc(reload->entries_count, sizeof(*bindings));

    for (size_t i = 0; i < reload->entries_count; i++)
        bindings[i] =
            gateway_binding(reload->entries[i].instance, &gateway->settings->providers[i]);
    catalog_switch(gateway->catalog, bindings, reload->entries_count, moves);
    mem_free(bindings);
}

static void switch_over(struct reload *reload)
{
    struct gateway *gateway = reload->gateway;
    struct settings *former;
    struct catalog_moves moves;
    struct err err;

    if (sockets_open(gateway, reload->fresh, &err) < 0) {
        give_up(reload, err.text);
        return;
    }
    reload->phase = RELOAD_ENDING;
    timer_cancel(&reload->timer);
    catalog_on_synced(gateway->catalog, NULL, NULL);
    former = adopt(reload);
    switch_providers(reload, &moves);
    settings_free(former);
    reload_apply(gateway, TAKE_PTR(reload->auth), TAKE_PTR(reload->tls));
    sockets_serve(gateway);
    sockets_retire(gateway, gateway->settings);
    log_info("app", "reload done: %zu functions changed their provider, %zu came, %zu left",
             moves.kept, moves.added, moves.dropped);
    reload->stopping = 1;
    for (size_t i = 0; i < reload->leaving.count; i++)
        stop_instance(reload, reload->leaving.items[i]);
    if (--reload->stopping == 0)
        reload_end(reload);
}

/* ---- Starting the new ones ---- */

static void switch_when_synced(struct reload *reload)
{
    if (reload->phase == RELOAD_STARTING && reload->starting == 0 &&
        catalog_staged_are_synced(reload->gateway->catalog))
        switch_over(reload);
}

static void on_synced(void *arg)
{
    switch_when_synced(arg);
}

static void on_sync_due(void *arg)
{
    give_up(arg, "a new provider is not in step with its backend within 10 s");
}

static void on_started(void *arg, const struct plugin_result *result)
{
    struct entry *entry = arg;
    struct reload *reload = entry->reload;
    AUTO_FREE char *why = NULL;

    if (reload->phase != RELOAD_STARTING)
        return;
    reload->starting--;
    if (result->error != FNG_OK) {
        why = xasprintf("provider %s did not start: %.*s", instance_name(entry->instance),
                        STR_ARG(result->text));
        give_up(reload, why);
        return;
    }
    if (reload->starting == 0)
        timer_set(&reload->timer, SYNC_TIMEOUT_MS);
    switch_when_synced(reload);
}

static void start_new_ones(struct reload *reload)
{
    struct gateway *gateway = reload->gateway;

    timer_cancel(&reload->timer);
    timer_init(&reload->timer, gateway->control, on_sync_due, reload);
    reload->phase = RELOAD_STARTING;
    catalog_on_quiet(gateway->catalog, NULL, NULL);
    catalog_on_synced(gateway->catalog, on_synced, reload);
    for (size_t i = 0; i < reload->entries_count; i++) {
        if (!reload->entries[i].is_new)
            continue;
        reload->starting++;
        catalog_stage(gateway->catalog, reload->entries[i].instance);
        instance_start(reload->entries[i].instance, on_started, &reload->entries[i]);
    }
    switch_when_synced(reload);
}

/* ---- Holding those that leave ---- */

static void on_quiet(void *arg)
{
    struct reload *reload = arg;

    if (reload->phase == RELOAD_HOLDING)
        start_new_ones(reload);
}

static void on_quiet_due(void *arg)
{
    give_up(arg, "a provider that changes or leaves has a deploy, scale or removal under way for "
                 "more than 10 s");
}

static void begin(struct reload *reload)
{
    struct gateway *gateway = reload->gateway;

    gateway->reload = reload;
    for (size_t i = 0; i < reload->leaving.count; i++)
        catalog_hold(gateway->catalog, reload->leaving.items[i]);
    timer_init(&reload->timer, gateway->control, on_quiet_due, reload);
    if (catalog_is_quiet(gateway->catalog)) {
        start_new_ones(reload);
        return;
    }
    catalog_on_quiet(gateway->catalog, on_quiet, reload);
    timer_set(&reload->timer, QUIET_TIMEOUT_MS);
}

/* ---- Reading and checking ---- */

/* Index of the running provider of that name, or -1. */
static ptrdiff_t find_running(const struct gateway *gateway, struct str name)
{
    for (size_t i = 0; i < gateway->settings->providers_count; i++)
        if (str_eq(gateway->settings->providers[i].name, name))
            return (ptrdiff_t)i;
    return -1;
}

static bool is_same_entry(const struct reload *reload, size_t running, size_t wanted)
{
    const struct settings *old = reload->gateway->settings;
    AUTO_FREE char *before = reload_entry_text(old, &old->providers[running]);
    AUTO_FREE char *after = reload_entry_text(reload->fresh, &reload->fresh->providers[wanted]);

    return str_eq(str_from(before), str_from(after));
}

static void make_entry(struct reload *reload, size_t i, struct conf_report *report)
{
    struct gateway *gateway = reload->gateway;
    const struct plugin_settings *wanted = &reload->fresh->providers[i];
    struct entry *entry = &reload->entries[i];
    ptrdiff_t running = find_running(gateway, wanted->name);

    entry->reload = reload;
    if (running >= 0 && is_same_entry(reload, (size_t)running, i)) {
        entry->instance = gateway->providers[running];
        return;
    }
    entry->instance =
        gateway_make_instance(gateway, reload->fresh, wanted, FNG_KIND_PROVIDER,
                              running >= 0 ? gateway->providers[running] : NULL, report);
    entry->is_new = entry->instance != NULL;
    if (entry->instance)
        instance_set_store(entry->instance, gateway->store);
}

static void find_leaving(struct reload *reload)
{
    const struct gateway *gateway = reload->gateway;

    for (size_t i = 0; i < gateway->settings->providers_count; i++) {
        bool stays = false;

        for (size_t j = 0; j < reload->entries_count; j++)
            stays = stays || reload->entries[j].instance == gateway->providers[i];
        if (!stays)
            *VEC_PUSH(&reload->leaving) = gateway->providers[i];
    }
}

static void check_files(struct reload *reload, struct conf_report *report)
{
    const struct settings *fresh = reload->fresh;
    struct err err;

    if (credentials_open(fresh, &reload->auth, &err) < 0)
        conf_error(report, fresh->doc, 0, "auth", "%s", err.text);
    if (fresh->tls.certificate.len &&
        tls_context_new(fresh->tls.certificate.ptr, fresh->tls.key.ptr, &reload->tls, &err) < 0)
        conf_error(report, fresh->doc, 0, "tls", "%s", err.text);
}

/* False after complaints. */
static bool read_settings(struct reload *reload, struct conf_report *report)
{
    reload->fresh = settings_read(reload->gateway->file, report);
    if (!reload->fresh)
        return false;
    reload_keep_fixed(reload->gateway, reload->fresh);
    check_files(reload, report);
    reload->entries_count = reload->fresh->providers_count;
    reload->entries = xcalloc(reload->entries_count, sizeof(*reload->entries));
    for (size_t i = 0; i < reload->entries_count; i++)
        make_entry(reload, i, report);
    find_leaving(reload);
    return report->errors == 0;
}

static void log_report(const struct conf_report *report)
{
    struct str rest = buf_str(&report->text), line;

    while (str_next(&rest, '\n', &line))
        if (line.len)
            log_write(report->errors ? LOG_ERROR : LOG_WARN, "app", "%.*s", STR_ARG(line));
    if (report->errors)
        log_error("app", "reload refused, everything stays as it is");
}

static void forget_new_ones(struct reload *reload)
{
    for (size_t i = 0; i < reload->entries_count; i++)
        if (reload->entries[i].is_new)
            instance_free(reload->entries[i].instance);
}

void gateway_reload(struct gateway *gateway)
{
    struct conf_report report;
    struct reload *reload;
    bool is_good;

    if (gateway->phase == GATEWAY_STOPPING)
        return;
    if (gateway->reload || gateway->phase == GATEWAY_STARTING) {
        gateway->is_reload_wanted = true;
        return;
    }
    log_info("app", "reload: reading %s", gateway->file ? gateway->file : "embedded defaults");
    reload = xcalloc(1, sizeof(*reload));
    reload->gateway = gateway;
    timer_init(&reload->timer, gateway->control, NULL, reload);
    conf_report_init(&report);
    is_good = read_settings(reload, &report);
    log_report(&report);
    conf_report_free(&report);
    if (is_good) {
        begin(reload);
        return;
    }
    forget_new_ones(reload);
    reload_free(reload);
}

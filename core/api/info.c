/* What the gateway says about itself: /system/info, health, the front page, the API description. */
#include "api/routes.h"

#include <sys/utsname.h>

void info_root(struct api_request *r)
{
    api_reply_text(r, 200,
                   "fngate %s\n\nfunctions:    /function/NAME\ncontrol API:  /system/functions\n"
                   "description:  /system/openapi.yaml\nhealth:       /healthz",
                   r->api->config.version);
}

/* The control loop has answered: alive. */
void info_alive(struct api_request *r)
{
    api_reply_text(r, 200, "OK");
}

/* What faas-cli ready asks, too: providers are in step. */
void info_ready(struct api_request *r)
{
    const struct api_config *config = &r->api->config;
    const char *why = NULL;
    bool is_ready = !config->is_ready || config->is_ready(config->arg, &why);

    if (is_ready && !r->api->is_stopping) {
        api_reply_text(r, 200, "OK");
        return;
    }
    api_field(r, STR("Retry-After"), "1");
    api_reply_text(r, 503, "the gateway is not ready: %s", why ? why : "it is stopping");
}

void info_openapi(struct api_request *r)
{
    if (!r->api->config.openapi_file) {
        api_reply_text(r, 404, "the API description is not installed");
        return;
    }
    (void)buf_add_str(&r->reply, str_from(r->api->config.openapi_file));
    api_reply(r, 200, "application/yaml");
}

/* ---- /system/info ---- */

static const struct fng_provider_ops *ops_of(const struct instance *instance)
{
    return instance_descriptor(instance)->operations;
}

static void write_version(struct json_out *out, const char *release, const char *sha)
{
    json_open(out, "version", '{');
    json_put_str(out, "release", str_from(release && *release ? release : "unknown"));
    json_put_str(out, "sha", str_from(sha && *sha ? sha : "unknown"));
    json_close(out, '}');
}

/* ProviderInfo; faas-cli takes none of its parts as null. */
static void write_provider(struct json_out *out, const struct instance *instance)
{
    const struct fng_plugin *plugin = instance ? instance_descriptor(instance) : NULL;

    json_open(out, "provider", '{');
    json_put_str(out, "provider", str_from(plugin ? plugin->name : "none"));
    json_put_str(out, "orchestration", str_from(plugin ? ops_of(instance)->orchestration : "none"));
    write_version(out, plugin ? plugin->version : NULL, plugin ? plugin->version : NULL);
    json_close(out, '}');
}

static const char *state_text(enum instance_state state)
{
    static const char *const texts[] = {
        [INSTANCE_CONFIGURED] = "configured", [INSTANCE_STARTING] = "starting",
        [INSTANCE_READY] = "ready",           [INSTANCE_FAILED] = "failed",
        [INSTANCE_DRAINING] = "draining",     [INSTANCE_STOPPED] = "stopped"};

    return texts[state];
}

static void write_instance(struct json_out *out, const struct catalog_provider *provider)
{
    static const char *const healths[] = {
        [FNG_HEALTH_OK] = "ok", [FNG_HEALTH_DEGRADED] = "degraded", [FNG_HEALTH_DOWN] = "down"};
    const struct instance *instance = provider->instance;
    struct str why;
    uint32_t health = instance_health(instance, &why);

    json_open(out, NULL, '{');
    json_put_str(out, "name", str_from(instance_name(instance)));
    json_put_str(out, "plugin", str_from(instance_descriptor(instance)->name));
    json_put_str(out, "version", str_from(instance_descriptor(instance)->version));
    json_put_str(out, "orchestration", str_from(ops_of(instance)->orchestration));
    json_put_str(out, "state", str_from(state_text(instance_state(instance))));
    json_put_str(out, "health", str_from(healths[health <= FNG_HEALTH_DOWN ? health : 2]));
    if (why.len)
        json_put_str(out, "reason", why);
    json_put_bool(out, "default", provider->is_default);
    json_put_bool(out, "synced", provider->is_synced);
    json_close(out, '}');
}

/* The one that stands for all where clients know only one: the default, else the first. */
static const struct instance *main_provider(const struct catalog_provider *providers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (providers[i].is_default)
            return providers[i].instance;
    return count ? providers[0].instance : NULL;
}

void info_system(struct api_request *r)
{
    const struct catalog_provider *providers;
    size_t count = catalog_providers(r->api->config.catalog, &providers);
    struct json_out out = {.buf = &r->reply};
    struct utsname machine;

    json_open(&out, NULL, '{');
    write_provider(&out, main_provider(providers, count));
    write_version(&out, r->api->config.version, r->api->config.commit);
    json_put_str(&out, "arch", str_from(uname(&machine) == 0 ? machine.machine : "unknown"));
    json_open(&out, "providers", '[');
    for (size_t i = 0; i < count; i++)
        write_instance(&out, &providers[i]);
    json_close(&out, ']');
    json_close(&out, '}');
    api_reply_json(r, &out);
}

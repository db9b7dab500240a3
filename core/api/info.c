/* /system/info, health, the root, the OpenAPI file. */
#include "api/json.h"

#include <string.h>
#include <sys/utsname.h>

void info_get(struct request *request)
{
    const struct api_config *config = &request->api->config;
    const struct catalog_provider *providers;
    const struct fng_provider_ops *ops = NULL;
    struct utsname machine;
    json_t *list = json_array();
    size_t count = catalog_providers(config->catalog, &providers);

    uname(&machine);
    for (size_t i = 0; i < count; i++) {
        const struct fng_plugin *plugin = instance_descriptor(providers[i].instance);

        if (providers[i].is_default || !ops)
            ops = plugin->operations;
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b}", "name",
                                              instance_name(providers[i].instance), "plugin",
                                              plugin->name, "version", plugin->version, "synced",
                                              providers[i].is_synced));
    }
    json_reply(request, 200,
               json_pack("{s:{s:s, s:s, s:{s:s, s:s}}, s:{s:s, s:s, s:s}, s:s, s:o}", "provider",
                         "provider", "fngate", "orchestration", ops ? ops->orchestration : "none",
                         "version", "sha", config->commit, "release", config->version, "version",
                         "commit_message", "", "sha", config->commit, "release", config->version,
                         "arch", machine.machine, "providers", list));
}

static void ready(struct request *request)
{
    const char *why;

    if (request->api->config.is_ready(request->api->config.arg, &why)) {
        (void)buf_add(&request->reply, "OK\n", 3);
        request_reply_body(request, 200, "text/plain; charset=utf-8");
        return;
    }
    request->retry_after_s = 1;
    request_reply_text(request, 503, "gateway: %s", why ? why : "not ready");
}

void ready_get(struct request *request)
{
    ready(request);
}

/* What faas-cli ready asks: the gateway answers and its providers are in step. */
void health_get(struct request *request)
{
    ready(request);
}

void live_get(struct request *request)
{
    (void)buf_add(&request->reply, "OK\n", 3);
    request_reply_body(request, 200, "text/plain; charset=utf-8");
}

void root_get(struct request *request)
{
    (void)buf_printf(&request->reply,
                     "fngate %s: functions at /function/NAME, the API at /system/, its description "
                     "at /system/openapi.yaml\n",
                     request->api->config.version);
    request_reply_body(request, 200, "text/plain; charset=utf-8");
}

void openapi_get(struct request *request)
{
    const char *text = request->api->config.openapi_file;

    if (!text) {
        request_reply_text(request, 404, "gateway: this build carries no OpenAPI file");
        return;
    }
    (void)buf_add(&request->reply, text, strlen(text));
    request_reply_body(request, 200, "application/yaml");
}

/* POST /system/scale-function/NAME. */
#include "api/routes.h"

enum { REPLICAS_MAX = 10000 };

struct scale_request {
    struct fng_str ns;
    struct json_uint replicas;
};

/* The name in the body (serviceName) says the same as the path and is not needed. */
static const struct json_field fields[] = {
    {"namespace", JSON_FIELD_STR, offsetof(struct scale_request, ns)},
    {"replicas", JSON_FIELD_UINT32, offsetof(struct scale_request, replicas)},
};

void scale_function(struct api_request *r)
{
    struct scale_request body = {0};

    if (!request_json(r, fields, sizeof(fields) / sizeof(fields[0]), &body) ||
        !request_namespace(r, body.ns) || !request_function(r, "scaling", "name", r->name))
        return;
    if (!body.replicas.is_set || body.replicas.value > REPLICAS_MAX) {
        api_reply_text(r, 400, "field 'replicas': a number from 0 to %d is required", REPLICAS_MAX);
        return;
    }
    request_provider(r);
    catalog_scale(r->api->config.catalog, r->ns, r->target, body.replicas.value, api_on_done, r);
}

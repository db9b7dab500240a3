/* Outcomes of plugin and catalog calls as HTTP: one table from error classes to status and layer.
 */
#include "api/request.h"

#include <inttypes.h>

static const struct {
    int32_t error;
    unsigned status;
    const char *layer;
} classes[] = {
    {FNG_E_NOT_FOUND, 404, "gateway"},    {FNG_E_CONFLICT, 409, "gateway"},
    {FNG_E_INVALID, 400, "request"},      {FNG_E_UNAVAILABLE, 503, "provider"},
    {FNG_E_UNSUPPORTED, 501, "provider"}, {FNG_E_TIMEOUT, 504, "provider"},
    {FNG_E_CANCELLED, 503, "gateway"},    {FNG_E_LIMIT, 429, "gateway"},
    {FNG_E_INTERNAL, 500, "provider"},
};

void request_reply_result(struct request *request, unsigned ok_status,
                          const struct plugin_result *result)
{
    size_t i = 0, last = sizeof(classes) / sizeof(classes[0]) - 1;

    if (result->error == FNG_OK) {
        request_reply(request, ok_status);
        return;
    }
    while (i < last && classes[i].error != result->error)
        i++;
    request->retry_after_s = (result->retry_after_ms + 999) / 1000;
    if (!request->retry_after_s && (classes[i].status == 503 || classes[i].status == 429))
        request->retry_after_s = 1;
    if (result->field.len)
        request_reply_text(request, classes[i].status, "%s: %.*s: %.*s", classes[i].layer,
                           STR_ARG(result->field), STR_ARG(result->text));
    else if (result->elapsed_ms)
        request_reply_text(request, classes[i].status, "%s, after %" PRId64 " ms: %.*s",
                           classes[i].layer, result->elapsed_ms, STR_ARG(result->text));
    else
        request_reply_text(request, classes[i].status, "%s: %.*s", classes[i].layer,
                           STR_ARG(result->text));
}

void request_done(void *request, const struct plugin_result *result)
{
    request_reply_result(request, 202, result);
}

void request_created(void *request, const struct plugin_result *result)
{
    request_reply_result(request, 201, result);
}

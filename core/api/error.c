/* Failures as HTTP: a status by class, and a text that says which layer failed, after how long,
 * and what to do. */
#include "api/request.h"

static const struct failure {
    unsigned status;
    bool is_retryable;
    bool is_provider; /* a class that only the provider's side gives */
    const char *hint;
} failures[] = {
    [-FNG_E_INTERNAL] = {500, false, true, "the gateway's log may say more"},
    [-FNG_E_NOT_FOUND] = {404, false, false, ""},
    [-FNG_E_CONFLICT] = {409, false, false, ""},
    [-FNG_E_INVALID] = {400, false, false, ""},
    [-FNG_E_UNAVAILABLE] = {503, true, true,
                            "its backend cannot be reached now; GET /system/info shows its state"},
    [-FNG_E_UNSUPPORTED] = {501, false, true, "this provider cannot do that"},
    [-FNG_E_TIMEOUT] = {504, false, true, "it may still take effect: look before trying again"},
    [-FNG_E_CANCELLED] = {503, true, true, "the call was cancelled; try again"},
    [-FNG_E_LIMIT] = {429, true, true, "try again later"},
};

static const struct failure *failure_of(int32_t error)
{
    if (error >= FNG_OK || error < FNG_E_LIMIT)
        error = FNG_E_INTERNAL;
    return &failures[-error];
}

unsigned api_status_of(int32_t error)
{
    return error == FNG_OK ? 202 : failure_of(error)->status;
}

void api_reply_failure(struct api_request *r, const struct plugin_result *result)
{
    const struct failure *failure = failure_of(result->error);
    struct buf text;

    buf_init(&text, 0);
    if (r->what.len)
        (void)buf_printf(&text, "%.*s failed: ", STR_ARG(r->what));
    (void)buf_add_str(&text, result->text);
    if (result->field.len)
        (void)buf_printf(&text, " (field '%.*s')", STR_ARG(result->field));
    if (r->provider && (failure->is_provider || result->elapsed_ms > 0))
        (void)buf_printf(&text, " [provider '%s', after %lld ms]", instance_name(r->provider),
                         (long long)result->elapsed_ms);
    if (failure->hint[0])
        (void)buf_printf(&text, "; %s", failure->hint);
    if (failure->is_retryable)
        api_field(r, STR("Retry-After"), "%u",
                  result->retry_after_ms ? (result->retry_after_ms + 999) / 1000 : 1);
    api_reply_text(r, failure->status, "%.*s", STR_ARG(buf_str(&text)));
    buf_free(&text);
}

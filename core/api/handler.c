/* What handlers have in common: replies, bodies, namespaces, names. */
#include "api/request.h"

#include "api/names.h"
#include "base/assert.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- Replies ---- */

static void request_answered(struct loop_msg *msg)
{
    door_reply(CONTAINER_OF(msg, struct api_request, msg));
}

void api_reply(struct api_request *r, unsigned status, const char *type)
{
    ASSERT_MAGIC(r, API_MAGIC);
    ASSERT(r->status == 0);
    r->status = status;
    r->type = type;
    r->msg.run = request_answered;
    loop_post(r->worker, &r->msg);
}

void api_reply_empty(struct api_request *r, unsigned status)
{
    buf_clear(&r->reply);
    api_reply(r, status, "");
}

void api_reply_text(struct api_request *r, unsigned status, const char *format, ...)
{
    va_list args;

    buf_clear(&r->reply);
    va_start(args, format);
    (void)buf_vprintf(&r->reply, format, args);
    va_end(args);
    (void)buf_add_str(&r->reply, STR("\n"));
    api_reply(r, status, API_TEXT);
}

void api_reply_json(struct api_request *r, const struct json_out *out)
{
    if (out->error)
        api_reply_text(r, 503, "the gateway is out of memory");
    else
        api_reply(r, 200, API_JSON);
}

void api_field(struct api_request *r, struct str name, const char *format, ...)
{
    char text[256];
    va_list args;

    ASSERT(r->fields_count < API_FIELDS_MAX);
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    r->fields[r->fields_count++] = (struct http_field){name, pool_str(&r->pool, str_from(text))};
}

void api_reply_result(struct api_request *r, unsigned status, const struct plugin_result *result)
{
    if (result->error == FNG_OK)
        api_reply_empty(r, status);
    else
        api_reply_failure(r, result);
}

void api_on_done(void *arg, const struct plugin_result *result)
{
    api_reply_result(arg, 202, result);
}

/* ---- What a request says ---- */

bool request_json(struct api_request *r, const struct json_field *fields, size_t count,
                  void *target)
{
    struct err err;

    r->json = json_read_object(str_make(r->body ? r->body : "", r->body_len), &err);
    if (r->json && json_bind(r->json, fields, count, target, &r->pool, &err) == 0)
        return true;
    api_reply_text(r, err.code == -ENOMEM ? 503 : 400, "%s", err.text);
    return false;
}

struct str request_param(struct api_request *r, struct str name)
{
    return query_get(&r->pool, r->query, name);
}

bool request_check(struct api_request *r, bool is_valid, const char *field, const char *grammar,
                   struct str value)
{
    if (is_valid)
        return true;
    if (value.len == 0)
        api_reply_text(r, 400, "field '%s' is required: %s", field, grammar);
    else
        api_reply_text(r, 400, "field '%s': '%.*s' is not allowed: %s", field,
                       (int)(value.len < 100 ? value.len : 100), value.ptr, grammar);
    return false;
}

bool request_namespace(struct api_request *r, struct fng_str from_body)
{
    struct str ns = request_param(r, STR("namespace"));

    if (ns.len == 0)
        ns = str_of(from_body);
    if (ns.len > 0 && !request_check(r, name_is_label(ns), "namespace", NAME_RULE, ns))
        return false;
    r->ns = catalog_resolve_ns(r->api->config.catalog, ns);
    return true;
}

bool request_function(struct api_request *r, const char *verb, const char *field, struct str name)
{
    if (!request_check(r, name_is_label(name), field, NAME_RULE, name))
        return false;
    r->target = name;
    r->what = pool_printf(&r->pool, "%s of %.*s.%.*s", verb, STR_ARG(name), STR_ARG(r->ns));
    return true;
}

void request_provider(struct api_request *r)
{
    const struct catalog_fn *fn = catalog_find(r->api->config.catalog, r->ns, r->target);
    struct err err;

    r->provider = fn ? fn->owner : catalog_owner_of(r->api->config.catalog, r->ns, &err);
}

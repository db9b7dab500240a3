/* /system/secrets. Values pass through and are never kept, logged or returned: the body and what
 * was decoded from it are wiped, and the provider's lane has its own copy. */
#include "api/routes.h"

#include "api/names.h"
#include "auth/base64.h"

struct secret {
    struct fng_str name, ns, value, raw_value;
};

static const struct json_field fields[] = {
    {"name", JSON_FIELD_STR, offsetof(struct secret, name)},
    {"namespace", JSON_FIELD_STR, offsetof(struct secret, ns)},
    {"value", JSON_FIELD_STR, offsetof(struct secret, value)},
    {"rawValue", JSON_FIELD_STR, offsetof(struct secret, raw_value)},
};

/* The namespace must exist and somebody must serve it; into r->provider. */
static bool find_provider(struct api_request *r)
{
    const struct catalog *catalog = r->api->config.catalog;
    struct err err;

    if (!catalog_namespace_find(catalog, r->ns)) {
        api_reply_text(r, 400, "namespace '%.*s' does not exist", STR_ARG(r->ns));
        return false;
    }
    r->provider = catalog_owner_of(catalog, r->ns, &err);
    if (!r->provider)
        api_reply_text(r, 400, "%s", err.text);
    return r->provider != NULL;
}

/* ---- List ---- */

static void on_names(void *arg, const struct plugin_result *result, const struct str *names,
                     size_t count)
{
    struct api_request *r = arg;
    struct json_out out = {.buf = &r->reply};

    if (result->error != FNG_OK) {
        api_reply_failure(r, result);
        return;
    }
    json_open(&out, NULL, '[');
    for (size_t i = 0; i < count; i++) {
        json_open(&out, NULL, '{');
        json_put_str(&out, "name", names[i]);
        json_put_str(&out, "namespace", r->ns);
        json_close(&out, '}');
    }
    json_close(&out, ']');
    api_reply_json(r, &out);
}

void secrets_list(struct api_request *r)
{
    if (!request_namespace(r, FNG_STR("")) || !find_provider(r))
        return;
    r->what = pool_printf(&r->pool, "listing the secrets of %.*s", STR_ARG(r->ns));
    provider_secret_list(r->provider, r->ns, 0, on_names, r);
}

/* ---- Changes ---- */

static bool read_secret(struct api_request *r, const char *verb, struct secret *ret)
{
    *ret = (struct secret){0};
    if (!request_json(r, fields, sizeof(fields) / sizeof(fields[0]), ret) ||
        !request_namespace(r, ret->ns) ||
        !request_check(r, name_is_secret(str_of(ret->name)), "name",
                       "letters, digits, inner '-', '_' and '.', at most 253", str_of(ret->name)) ||
        !find_provider(r))
        return false;
    r->target = str_of(ret->name);
    r->what = pool_printf(&r->pool, "%s of secret %.*s in %.*s", verb, STR_ARG(r->target),
                          STR_ARG(r->ns));
    return true;
}

static void set_raw(struct api_request *r, struct str encoded, uint32_t mode)
{
    size_t cap = base64_decoded_max(encoded.len), len;
    AUTO_FREE char *bytes = mem_alloc(cap);

    if (!bytes) {
        api_reply_text(r, 503, "the gateway is out of memory");
        return;
    }
    if (base64_decode(encoded, bytes, &len))
        provider_secret_set(r->provider, r->ns, r->target, str_make(bytes, len), mode, 0,
                            api_on_done, r);
    else
        api_reply_text(r, 400, "field 'rawValue': expected base64 with padding");
    explicit_bzero(bytes, cap);
}

static void set_secret(struct api_request *r, const char *verb, uint32_t mode)
{
    struct secret secret;

    if (!read_secret(r, verb, &secret))
        return;
    if (secret.raw_value.len > 0)
        set_raw(r, str_of(secret.raw_value), mode);
    else if (secret.value.len > 0)
        provider_secret_set(r->provider, r->ns, r->target, str_of(secret.value), mode, 0,
                            api_on_done, r);
    else
        api_reply_text(r, 400, "field 'value' or 'rawValue' (base64) is required");
}

void secrets_create(struct api_request *r)
{
    set_secret(r, "creation", FNG_SECRET_CREATE);
}

void secrets_update(struct api_request *r)
{
    set_secret(r, "update", FNG_SECRET_UPDATE);
}

void secrets_delete(struct api_request *r)
{
    struct secret secret;

    if (read_secret(r, "removal", &secret))
        provider_secret_remove(r->provider, r->ns, r->target, 0, api_on_done, r);
}

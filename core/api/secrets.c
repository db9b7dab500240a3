/* /system/secrets: write only. Values go to the provider that owns the namespace and are wiped
 * here. */
#include "api/json.h"
#include "auth/base64.h"

enum { SECRET_NAME_MAX = 253 };

/* The provider of the namespace, NULL after an answer. */
static struct instance *owner_of(struct request *request, struct str ns)
{
    struct err err;
    struct instance *owner;

    if (!catalog_namespace_find(request->api->config.catalog, ns)) {
        request_reply_text(request, 400, "request: namespace: '%.*s' does not exist", STR_ARG(ns));
        return NULL;
    }
    owner = catalog_owner_of(request->api->config.catalog, ns, &err);
    if (!owner)
        request_reply_text(request, 400, "request: namespace: %s", err.text);
    return owner;
}

static void on_names(void *arg, const struct plugin_result *result, const struct str *names,
                     size_t count)
{
    struct request *request = arg;
    struct str ns = request_ns(request, STR(""));
    json_t *list;

    if (result->error != FNG_OK) {
        request_reply_result(request, 200, result);
        return;
    }
    list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s%, s:s%}", "name", names[i].ptr, names[i].len,
                                              "namespace", ns.ptr, ns.len));
    json_reply(request, 200, list);
}

void secrets_list(struct request *request)
{
    struct str ns = request_ns(request, STR(""));
    struct instance *owner = owner_of(request, ns);

    if (owner)
        provider_secret_list(owner, ns, 0, on_names, request);
}

/* A file name below the secrets folder: letters, digits, '-', '_', '.', not beginning with a dot.
 */
static bool name_is_valid(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = ascii_lower(name.ptr[i]);

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return name.len > 0 && name.len <= SECRET_NAME_MAX && name.ptr[0] != '.';
}

/* Exact bytes: rawValue (base64) wins over value. False after a 400. */
static bool read_value(struct request *request, const json_t *object, struct str *ret)
{
    struct str raw;
    char *bytes;
    size_t len;

    if (!json_text(request, object, "value", ret) || !json_text(request, object, "rawValue", &raw))
        return false;
    if (raw.len == 0)
        return true;
    bytes = pool_alloc(&request->pool, base64_decoded_max(raw.len) + 1);
    if (!bytes || !base64_decode(raw, bytes, &len)) {
        request_reply_text(request, 400, "request: rawValue: is not base64");
        return false;
    }
    *ret = str_make(bytes, len);
    return true;
}

static void wipe(struct str value)
{
    union {
        const char *in;
        char *out;
    } bytes = {.in = value.ptr};

    if (value.len)
        explicit_bzero(bytes.out, value.len);
}

/* Reads name and namespace; the owner, or NULL after an answer. */
static struct instance *read_target(struct request *request, const json_t *object,
                                    struct str *ret_ns, struct str *ret_name)
{
    if (!json_text(request, object, "name", ret_name) ||
        !json_text(request, object, "namespace", ret_ns))
        return NULL;
    if (!name_is_valid(*ret_name)) {
        request_reply_text(request, 400,
                           "request: name: a secret's name has letters, digits, '-', '_' and '.', "
                           "and does not begin with a dot");
        return NULL;
    }
    *ret_ns = request_ns(request, *ret_ns);
    return owner_of(request, *ret_ns);
}

static void set(struct request *request, uint32_t mode)
{
    json_t *object = json_body(request);
    struct str ns, name, value;
    struct instance *owner;

    if (!object)
        return;
    owner = read_target(request, object, &ns, &name);
    if (owner && read_value(request, object, &value)) {
        provider_secret_set(owner, ns, name, value, mode, 0, request_done, request);
        wipe(value);
    }
    json_decref(object);
}

void secrets_create(struct request *request)
{
    set(request, FNG_SECRET_CREATE);
}

void secrets_update(struct request *request)
{
    set(request, FNG_SECRET_UPDATE);
}

void secrets_remove(struct request *request)
{
    json_t *object = json_body(request);
    struct str ns, name;
    struct instance *owner;

    if (!object)
        return;
    owner = read_target(request, object, &ns, &name);
    if (owner)
        provider_secret_remove(owner, ns, name, 0, request_done, request);
    json_decref(object);
}

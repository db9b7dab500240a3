/* /system/namespaces and /system/namespace/NAME. */
#include "api/routes.h"

#include "api/names.h"

enum { VALUE_MAX = 4096 };

struct body {
    struct fng_str name;
    struct fng_kv_list labels, annotations;
};

static const struct json_field fields[] = {
    {"name", JSON_FIELD_STR, offsetof(struct body, name)},
    {"labels", JSON_FIELD_PAIRS, offsetof(struct body, labels)},
    {"annotations", JSON_FIELD_PAIRS, offsetof(struct body, annotations)},
};

/* ---- Reading back ---- */

static void write_name(void *arg, const struct catalog_namespace *ns)
{
    json_put_str(arg, NULL, ns->name);
}

void namespaces_list(struct api_request *r)
{
    struct json_out out = {.buf = &r->reply};

    json_open(&out, NULL, '[');
    catalog_namespaces(r->api->config.catalog, write_name, &out);
    json_close(&out, ']');
    api_reply_json(r, &out);
}

static void write_pairs(struct json_out *out, const char *key, const struct conf_pair_list *list)
{
    if (list->count == 0)
        return;
    json_open(out, key, '{');
    for (size_t i = 0; i < list->count; i++)
        json_put_pair(out, list->items[i].key, list->items[i].value);
    json_close(out, '}');
}

void namespaces_get(struct api_request *r)
{
    const struct catalog_namespace *ns = catalog_namespace_find(r->api->config.catalog, r->name);
    struct json_out out = {.buf = &r->reply};

    if (!ns) {
        api_reply_text(r, 404, "namespace %.*s does not exist", STR_ARG(r->name));
        return;
    }
    json_open(&out, NULL, '{');
    json_put_str(&out, "name", ns->name);
    write_pairs(&out, "annotations", &ns->annotations);
    write_pairs(&out, "labels", &ns->labels);
    json_close(&out, '}');
    api_reply_json(r, &out);
}

/* ---- Changes ---- */

static bool check_pairs(struct api_request *r, const char *field, struct fng_kv_list list)
{
    for (size_t i = 0; i < list.count; i++)
        if (!request_check(r, name_is_label_key(str_of(list.items[i].key)), field,
                           "letters, digits, '-', '_' and '.', perhaps behind PREFIX/",
                           str_of(list.items[i].key)) ||
            !request_check(r, text_is_line(str_of(list.items[i].value), VALUE_MAX), field,
                           "its value is too long or holds control characters",
                           str_of(list.items[i].key)))
            return false;
    return true;
}

/* One pair more than there are, for the mark. */
static bool convert(struct api_request *r, struct fng_kv_list from, struct conf_pair_list *ret)
{
    ret->items = pool_zalloc(&r->pool, (from.count + 1) * sizeof(*ret->items));
    ret->count = 0;
    if (!ret->items) {
        api_reply_text(r, 503, "the gateway is out of memory");
        return false;
    }
    for (; ret->count < from.count; ret->count++)
        ret->items[ret->count] = (struct conf_pair){str_of(from.items[ret->count].key),
                                                    str_of(from.items[ret->count].value)};
    return true;
}

/* openfaas=1 marks a namespace of functions: as label or annotation; added when it is neither. */
static void mark(struct catalog_namespace *ns, const struct body *body)
{
    if (fng_kv_find(body->labels, STR("openfaas")).ptr ||
        fng_kv_find(body->annotations, STR("openfaas")).ptr)
        return;
    ns->labels.items[ns->labels.count++] = (struct conf_pair){STR("openfaas"), STR("1")};
}

static bool read_namespace(struct api_request *r, struct catalog_namespace *ret)
{
    struct body body = {0};

    if (!request_json(r, fields, sizeof(fields) / sizeof(fields[0]), &body))
        return false;
    *ret = (struct catalog_namespace){.name = str_of(body.name)};
    if (r->name.len > 0 && ret->name.len == 0)
        ret->name = r->name;
    if (r->name.len > 0 && !str_eq(ret->name, r->name)) {
        api_reply_text(r, 400, "field 'name': '%.*s' is not the namespace of the path, '%.*s'",
                       STR_ARG(ret->name), STR_ARG(r->name));
        return false;
    }
    if (!request_check(r, name_is_label(ret->name), "name", NAME_RULE, ret->name) ||
        !check_pairs(r, "labels", body.labels) ||
        !check_pairs(r, "annotations", body.annotations) ||
        !convert(r, body.labels, &ret->labels) || !convert(r, body.annotations, &ret->annotations))
        return false;
    mark(ret, &body);
    return true;
}

static void on_created(void *arg, const struct plugin_result *result)
{
    api_reply_result(arg, 201, result);
}

void namespaces_create(struct api_request *r)
{
    struct catalog_namespace ns;

    if (!read_namespace(r, &ns))
        return;
    r->what = pool_printf(&r->pool, "creation of namespace %.*s", STR_ARG(ns.name));
    catalog_namespace_set(r->api->config.catalog, &ns, FNG_NAMESPACE_CREATE, on_created, r);
}

void namespaces_update(struct api_request *r)
{
    struct catalog_namespace ns;

    if (!read_namespace(r, &ns))
        return;
    r->what = pool_printf(&r->pool, "update of namespace %.*s", STR_ARG(ns.name));
    catalog_namespace_set(r->api->config.catalog, &ns, FNG_NAMESPACE_UPDATE, api_on_done, r);
}

/* The path says it all; clients send a body that repeats it. */
void namespaces_delete(struct api_request *r)
{
    if (!request_check(r, name_is_label(r->name), "name", NAME_RULE, r->name))
        return;
    r->what = pool_printf(&r->pool, "removal of namespace %.*s", STR_ARG(r->name));
    catalog_namespace_remove(r->api->config.catalog, r->name, api_on_done, r);
}

/* /system/namespaces, /system/namespace/NAME (the plural is an alias). */
#include "api/json.h"

static void add_name(void *arg, const struct catalog_namespace *ns)
{
    json_array_append_new(arg, json_stringn(ns->name.ptr, ns->name.len));
}

void namespaces_list(struct request *request)
{
    json_t *list = json_array();

    catalog_namespaces(request->api->config.catalog, add_name, list);
    json_reply(request, 200, list);
}

static json_t *pairs_of(const struct conf_pair_list *pairs)
{
    json_t *object = json_object();

    for (size_t i = 0; i < pairs->count; i++)
        json_object_setn_new(object, pairs->items[i].key.ptr, pairs->items[i].key.len,
                             json_stringn(pairs->items[i].value.ptr, pairs->items[i].value.len));
    return object;
}

void namespace_get(struct request *request)
{
    const struct catalog_namespace *ns =
        catalog_namespace_find(request->api->config.catalog, request->name);

    if (!ns)
        request_reply_text(request, 404, "gateway: namespace %.*s does not exist",
                           STR_ARG(request->name));
    else
        json_reply(request, 200,
                   json_pack("{s:s%, s:o, s:o}", "name", ns->name.ptr, ns->name.len, "labels",
                             pairs_of(&ns->labels), "annotations", pairs_of(&ns->annotations)));
}

static struct conf_pair_list read_pairs(struct request *request, struct fng_kv_list from)
{
    struct conf_pair_list to = {pool_alloc(&request->pool, (from.count + 1) * sizeof(*to.items)),
                                0};

    for (; to.count < from.count; to.count++)
        to.items[to.count] = (struct conf_pair){str_of(from.items[to.count].key),
                                                str_of(from.items[to.count].value)};
    return to;
}

static void set(struct request *request, uint32_t mode, plugin_done_f *done)
{
    json_t *object = json_body(request);
    struct catalog_namespace ns = {.name = STR("")};
    struct fng_kv_list labels, annotations;

    if (!object)
        return;
    if (json_text(request, object, "name", &ns.name) &&
        json_pairs(request, object, "labels", &labels) &&
        json_pairs(request, object, "annotations", &annotations)) {
        if (mode == FNG_NAMESPACE_UPDATE && ns.name.len && !str_eq(ns.name, request->name)) {
            request_reply_text(request, 400, "request: name: the body says %.*s, the path %.*s",
                               STR_ARG(ns.name), STR_ARG(request->name));
        } else {
            if (mode == FNG_NAMESPACE_UPDATE)
                ns.name = request->name;
            ns.labels = read_pairs(request, labels);
            ns.annotations = read_pairs(request, annotations);
            catalog_namespace_set(request->api->config.catalog, &ns, mode, done, request);
        }
    }
    json_decref(object);
}

void namespace_create(struct request *request)
{
    set(request, FNG_NAMESPACE_CREATE, request_created);
}

void namespace_update(struct request *request)
{
    set(request, FNG_NAMESPACE_UPDATE, request_done);
}

void namespace_remove(struct request *request)
{
    catalog_namespace_remove(request->api->config.catalog, request->name, request_done, request);
}

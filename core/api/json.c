/* Reading and writing the JSON of the control API. */
#include "api/json.h"

#include "base/log.h"

#include <stdlib.h>

json_t *json_body(struct request *request)
{
    struct str body = buf_str(&request->body);
    json_error_t error;
    json_t *object = json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES, &error);

    if (!object) {
        request_reply_text(request, 400, "request: the body is not JSON: line %d, column %d: %s",
                           error.line, error.column, error.text);
        return NULL;
    }
    if (!json_is_object(object)) {
        json_decref(object);
        request_reply_text(request, 400, "request: the body is not a JSON object");
        return NULL;
    }
    return object;
}

static bool refuse_type(struct request *request, const char *field, const char *expected)
{
    request_reply_text(request, 400, "request: %s: must be %s", field, expected);
    return false;
}

static struct str str_of_json(const json_t *value)
{
    return str_make(json_string_value(value), json_string_length(value));
}

bool json_text(struct request *request, const json_t *object, const char *field, struct str *ret)
{
    const json_t *value = json_object_get(object, field);

    *ret = STR("");
    if (!value || json_is_null(value))
        return true;
    if (!json_is_string(value))
        return refuse_type(request, field, "a string");
    *ret = str_of_json(value);
    return true;
}

bool json_pairs(struct request *request, const json_t *object, const char *field,
                struct fng_kv_list *ret)
{
    json_t *map = json_object_get(object, field), *value;
    struct fng_kv *items;
    const char *key;

    *ret = (struct fng_kv_list){NULL, 0};
    if (!map || json_is_null(map))
        return true;
    if (!json_is_object(map))
        return refuse_type(request, field, "an object of strings");
    items = pool_alloc(&request->pool, (json_object_size(map) + 1) * sizeof(*items));
    json_object_foreach(map, key, value)
    {
        if (!json_is_string(value))
            return refuse_type(request, field, "an object of strings");
        items[ret->count].key = fng_str_from(key);
        items[ret->count++].value = fng_of(str_of_json(value));
    }
    ret->items = items;
    return true;
}

static bool json_list(struct request *request, const json_t *object, const char *field,
                      struct fng_str_list *ret)
{
    const json_t *list = json_object_get(object, field);
    struct fng_str *items;

    *ret = (struct fng_str_list){NULL, 0};
    if (!list || json_is_null(list))
        return true;
    if (!json_is_array(list))
        return refuse_type(request, field, "a list of strings");
    items = pool_alloc(&request->pool, (json_array_size(list) + 1) * sizeof(*items));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);

        if (!json_is_string(item))
            return refuse_type(request, field, "a list of strings");
        items[ret->count++] = fng_of(str_of_json(item));
    }
    ret->items = items;
    return true;
}

static bool json_flag(struct request *request, const json_t *object, const char *field,
                      uint32_t flag, uint32_t *flags)
{
    const json_t *value = json_object_get(object, field);

    if (!value || json_is_null(value))
        return true;
    if (!json_is_boolean(value))
        return refuse_type(request, field, "true or false");
    if (json_is_true(value))
        *flags |= flag;
    return true;
}

bool json_function(struct request *request, const json_t *object, struct fng_function *ret)
{
    struct str name, image, ns, process;

    *ret = (struct fng_function){.size = sizeof(*ret)};
    if (!json_text(request, object, "service", &name) ||
        !json_text(request, object, "image", &image) ||
        !json_text(request, object, "namespace", &ns) ||
        !json_text(request, object, "envProcess", &process) ||
        !json_pairs(request, object, "envVars", &ret->env) ||
        !json_pairs(request, object, "labels", &ret->labels) ||
        !json_pairs(request, object, "annotations", &ret->annotations) ||
        !json_pairs(request, object, "limits", &ret->limits) ||
        !json_pairs(request, object, "requests", &ret->requests) ||
        !json_list(request, object, "secrets", &ret->secrets) ||
        !json_list(request, object, "constraints", &ret->constraints) ||
        !json_flag(request, object, "readOnlyRootFilesystem", FNG_FUNCTION_READ_ONLY_ROOT,
                   &ret->flags))
        return false;
    ret->name = fng_of(name);
    ret->image = fng_of(image);
    ret->env_process = fng_of(process);
    ret->ns = fng_of(request_ns(request, ns));
    return true;
}

/* ---- Writing ---- */

static json_t *text_of(struct fng_str s)
{
    json_t *text = json_stringn(s.ptr ? s.ptr : "", s.len);

    return text ? text : json_string(""); /* not UTF-8: cannot be shown */
}

json_t *json_of_pairs(const struct fng_kv_list *pairs)
{
    json_t *object = json_object();

    for (size_t i = 0; i < pairs->count; i++)
        json_object_setn_new(object, pairs->items[i].key.ptr, pairs->items[i].key.len,
                             text_of(pairs->items[i].value));
    return object;
}

static void set_pairs(json_t *object, const char *field, const struct fng_kv_list *pairs)
{
    if (pairs->count)
        json_object_set_new(object, field, json_of_pairs(pairs));
}

static void set_list(json_t *object, const char *field, const struct fng_str_list *list)
{
    json_t *array;

    if (!list->count)
        return;
    array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, text_of(list->items[i]));
    json_object_set_new(object, field, array);
}

static void set_count(json_t *object, const char *field, uint64_t count)
{
    if (count)
        json_object_set_new(object, field, json_integer((json_int_t)count));
}

/* Our own additions under a key of ours, so that clients which know OpenFaaS only are not confused.
 */
static void set_condition(json_t *object, const struct catalog_fn *fn)
{
    json_t *warnings;

    if (fn->reason)
        json_object_set_new(object, "reason", text_of(fng_str_from(fn->reason)));
    if (!fn->warnings_count)
        return;
    warnings = json_array();
    for (size_t i = 0; i < fn->warnings_count; i++)
        json_array_append_new(warnings, text_of(fng_str_from(fn->warnings[i])));
    json_object_set_new(object, "warnings", warnings);
}

json_t *json_of_function(const struct catalog_fn *fn, const struct fng_usage *usage)
{
    const struct fng_function *spec = fn_spec_get(fn->spec);
    json_t *object = json_object(), *labels = json_of_pairs(&spec->labels);
    char created[TIME_TEXT_MAX];

    time_format(created, spec->created_ms * 1000000, 0);
    json_object_set_new(labels, "faas_function", text_of(spec->name));
    json_object_set_new(object, "name", text_of(spec->name));
    json_object_set_new(object, "image", text_of(spec->image));
    json_object_set_new(object, "namespace", text_of(spec->ns));
    if (spec->env_process.len)
        json_object_set_new(object, "envProcess", text_of(spec->env_process));
    set_pairs(object, "envVars", &spec->env);
    set_list(object, "constraints", &spec->constraints);
    set_list(object, "secrets", &spec->secrets);
    json_object_set_new(object, "labels", labels);
    json_object_set_new(object, "annotations", json_of_pairs(&spec->annotations));
    set_pairs(object, "limits", &spec->limits);
    set_pairs(object, "requests", &spec->requests);
    if (spec->flags & FNG_FUNCTION_READ_ONLY_ROOT)
        json_object_set_new(object, "readOnlyRootFilesystem", json_true());
    set_count(object, "invocationCount", catalog_invocations(fn));
    set_count(object, "replicas", spec->replicas);
    set_count(object, "availableReplicas", fn->ready);
    json_object_set_new(object, "createdAt", json_string(created));
    if (usage)
        json_object_set_new(object, "usage",
                            json_pack("{s:f, s:I}", "cpu", usage->cpu_millicores,
                                      "totalMemoryBytes", (json_int_t)usage->memory_bytes));
    set_condition(object, fn);
    return object;
}

static int add_to_buf(const char *bytes, size_t len, void *buf)
{
    return buf_add(buf, bytes, len);
}

void json_reply(struct request *request, unsigned status, json_t *value)
{
    json_dump_callback(value, add_to_buf, &request->reply, JSON_COMPACT);
    json_decref(value);
    request_reply_body(request, status, "application/json");
}

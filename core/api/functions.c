/* /system/functions and /system/function/NAME: list, create, update, delete, status. */
#include "api/routes.h"

#include "api/names.h"
#include "base/log.h"
#include "base/sys.h"

enum {
    IMAGE_MAX = 1024,
    ANNOTATION_KEY_MAX = 317,
    LINE_MAX_BYTES = 4096, /* label values, constraints, quantities, the command line */
    VALUE_MAX = 256 << 10, /* environment and annotation values */
    USAGE_DEADLINE_MS = 2000,
};

#define LABEL_NAME  "faas_function" /* clients expect it; it is added to every reply */
#define LABEL_RULE  "letters, digits, '-', '_' and '.', perhaps behind PREFIX/"
#define SECRET_RULE "letters, digits, inner '-', '_' and '.', at most 253"
#define NEVER       "0001-01-01T00:00:00Z"

/* ---- Writing ---- */

static void write_pairs(struct json_out *out, const char *key, struct fng_kv_list list)
{
    if (list.count == 0)
        return;
    json_open(out, key, '{');
    for (size_t i = 0; i < list.count; i++)
        json_put_pair(out, str_of(list.items[i].key), str_of(list.items[i].value));
    json_close(out, '}');
}

static void write_strs(struct json_out *out, const char *key, struct fng_str_list list)
{
    if (list.count == 0)
        return;
    json_open(out, key, '[');
    for (size_t i = 0; i < list.count; i++)
        json_put_str(out, NULL, str_of(list.items[i]));
    json_close(out, ']');
}

/* Always an object, with the function's own label in it. */
static void write_labels(struct json_out *out, const struct fng_function *function)
{
    json_open(out, "labels", '{');
    for (size_t i = 0; i < function->labels.count; i++) {
        const struct fng_kv *label = &function->labels.items[i];

        if (!str_eq(str_of(label->key), STR(LABEL_NAME)))
            json_put_pair(out, str_of(label->key), str_of(label->value));
    }
    json_put_str(out, LABEL_NAME, str_of(function->name));
    json_close(out, '}');
}

static void write_annotations(struct json_out *out, const struct fng_function *function)
{
    if (function->annotations.count > 0) {
        write_pairs(out, "annotations", function->annotations);
        return;
    }
    json_open(out, "annotations", '{');
    json_close(out, '}');
}

static void write_spec(struct json_out *out, const struct fng_function *function)
{
    json_put_str(out, "name", str_of(function->name));
    json_put_str(out, "image", str_of(function->image));
    json_put_str(out, "namespace", str_of(function->ns));
    if (function->env_process.len)
        json_put_str(out, "envProcess", str_of(function->env_process));
    write_pairs(out, "envVars", function->env);
    write_strs(out, "constraints", function->constraints);
    write_strs(out, "secrets", function->secrets);
    write_labels(out, function);
    write_annotations(out, function);
    write_pairs(out, "limits", function->limits);
    write_pairs(out, "requests", function->requests);
    if (function->flags & FNG_FUNCTION_READ_ONLY_ROOT)
        json_put_bool(out, "readOnlyRootFilesystem", true);
}

static void write_count(struct json_out *out, const char *key, uint64_t value)
{
    if (value > 0)
        json_put_u64(out, key, value);
}

/* Why it is not as asked for: ours, no client of OpenFaaS reads it. */
static void write_trouble(struct json_out *out, const struct catalog_fn *fn)
{
    if (fn->reason)
        json_put_str(out, "reason", str_from(fn->reason));
    if (fn->warnings_count == 0)
        return;
    json_open(out, "warnings", '[');
    for (size_t i = 0; i < fn->warnings_count; i++)
        json_put_str(out, NULL, str_from(fn->warnings[i]));
    json_close(out, ']');
}

static void write_usage(struct json_out *out, const struct fng_usage *usage)
{
    json_open(out, "usage", '{');
    if (usage->cpu_millicores > 0)
        json_put_double(out, "cpu", usage->cpu_millicores);
    write_count(out, "totalMemoryBytes", usage->memory_bytes);
    json_close(out, '}');
}

/* FunctionStatus. `usage` may be NULL. */
static void write_function(struct json_out *out, const struct catalog_fn *fn,
                           const struct fng_usage *usage)
{
    const struct fng_function *function = fn_spec_get(fn->spec);
    char created[TIME_TEXT_MAX] = NEVER;

    if (function->created_ms > 0)
        time_format(created, function->created_ms * 1000000, 0);
    json_open(out, NULL, '{');
    write_spec(out, function);
    write_count(out, "invocationCount", catalog_invocations(fn));
    write_count(out, "replicas", function->replicas);
    write_count(out, "availableReplicas", fn->ready);
    json_put_str(out, "createdAt", str_from(created));
    json_put_str(out, "provider", str_from(instance_name(fn->owner)));
    write_trouble(out, fn);
    if (usage)
        write_usage(out, usage);
    json_close(out, '}');
}

/* ---- List and status ---- */

void functions_list(struct api_request *r)
{
    const struct catalog *catalog = r->api->config.catalog;
    struct json_out out = {.buf = &r->reply};

    if (!request_namespace(r, FNG_STR("")))
        return;
    json_open(&out, NULL, '[');
    for (const struct catalog_fn *fn = NULL; (fn = catalog_next(catalog, fn, r->ns));)
        write_function(&out, fn, NULL);
    json_close(&out, ']');
    api_reply_json(r, &out);
}

static void reply_unknown(struct api_request *r)
{
    api_reply_text(r, 404, "function %.*s.%.*s does not exist", STR_ARG(r->target), STR_ARG(r->ns));
}

static void reply_status(struct api_request *r, const struct fng_usage *usage)
{
    const struct catalog_fn *fn = catalog_find(r->api->config.catalog, r->ns, r->target);
    struct json_out out = {.buf = &r->reply};

    if (!fn) {
        reply_unknown(r);
        return;
    }
    write_function(&out, fn, usage);
    api_reply_json(r, &out);
}

/* A provider that cannot say costs the client the figures, not the answer. */
static void on_usage(void *arg, const struct plugin_result *result, const struct fng_usage *usage)
{
    reply_status(arg, result->error == FNG_OK ? usage : NULL);
}

void functions_status(struct api_request *r)
{
    const struct catalog_fn *fn;
    struct str usage;

    if (!request_namespace(r, FNG_STR("")) || !request_function(r, "status", "name", r->name))
        return;
    usage = request_param(r, STR("usage"));
    fn = catalog_find(r->api->config.catalog, r->ns, r->target);
    if (fn && (str_eq(usage, STR("1")) || str_ieq(usage, STR("true"))))
        provider_usage(fn->owner, r->ns, r->target, USAGE_DEADLINE_MS, on_usage, r);
    else
        reply_status(r, NULL);
}

/* ---- Reading a deployment ---- */

struct deployment {
    struct fng_function function;
    bool is_read_only;
};

#define AT(member) offsetof(struct deployment, member)

static const struct json_field deployment_fields[] = {
    {"service", JSON_FIELD_STR, AT(function.name)},
    {"image", JSON_FIELD_STR, AT(function.image)},
    {"namespace", JSON_FIELD_STR, AT(function.ns)},
    {"envProcess", JSON_FIELD_STR, AT(function.env_process)},
    {"envVars", JSON_FIELD_PAIRS, AT(function.env)},
    {"constraints", JSON_FIELD_STRS, AT(function.constraints)},
    {"secrets", JSON_FIELD_STRS, AT(function.secrets)},
    {"labels", JSON_FIELD_PAIRS, AT(function.labels)},
    {"annotations", JSON_FIELD_PAIRS, AT(function.annotations)},
    {"limits", JSON_FIELD_PAIRS, AT(function.limits)},
    {"requests", JSON_FIELD_PAIRS, AT(function.requests)},
    {"readOnlyRootFilesystem", JSON_FIELD_BOOL, AT(is_read_only)},
};

static bool is_annotation_key(struct str key)
{
    return key.len > 0 && text_is_line(key, ANNOTATION_KEY_MAX);
}

static bool is_any_value(struct str value)
{
    return value.len <= VALUE_MAX;
}

static bool is_line(struct str value)
{
    return text_is_line(value, LINE_MAX_BYTES);
}

static bool check_pairs(struct api_request *r, const char *field, struct fng_kv_list list,
                        bool (*is_key)(struct str), bool (*is_value)(struct str), const char *rule)
{
    for (size_t i = 0; i < list.count; i++) {
        struct str key = str_of(list.items[i].key);

        if (!request_check(r, is_key(key), field, rule, key) ||
            !request_check(r, is_value(str_of(list.items[i].value)), field,
                           "its value is too long or holds control characters", key))
            return false;
    }
    return true;
}

static bool check_strs(struct api_request *r, const char *field, struct fng_str_list list,
                       bool (*is_valid)(struct str), const char *rule)
{
    for (size_t i = 0; i < list.count; i++)
        if (!request_check(r, is_valid(str_of(list.items[i])), field, rule, str_of(list.items[i])))
            return false;
    return true;
}

static bool check_deployment(struct api_request *r, const struct fng_function *f)
{
    struct str image = str_of(f->image);

    return request_check(r, image.len > 0 && text_is_line(image, IMAGE_MAX), "image",
                         "one line of at most 1024 bytes", image) &&
           request_check(r, is_line(str_of(f->env_process)), "envProcess", "one line",
                         str_of(f->env_process)) &&
           check_pairs(r, "envVars", f->env, name_is_env, is_any_value,
                       "printable characters without '='") &&
           check_pairs(r, "labels", f->labels, name_is_label_key, is_line, LABEL_RULE) &&
           check_pairs(r, "annotations", f->annotations, is_annotation_key, is_any_value,
                       "one line of at most 317 bytes") &&
           check_pairs(r, "limits", f->limits, name_is_label_key, is_line, LABEL_RULE) &&
           check_pairs(r, "requests", f->requests, name_is_label_key, is_line, LABEL_RULE) &&
           check_strs(r, "secrets", f->secrets, name_is_secret, SECRET_RULE) &&
           check_strs(r, "constraints", f->constraints, is_line, "one line each");
}

/* Without pairs whose value is empty, and without the label that we add ourselves. */
static bool tidy(struct api_request *r, struct fng_kv_list *list, bool keep_empty)
{
    struct fng_kv *items = pool_alloc(&r->pool, (list->count + 1) * sizeof(*items));
    size_t count = 0;

    if (!items) {
        api_reply_text(r, 503, "the gateway is out of memory");
        return false;
    }
    for (size_t i = 0; i < list->count; i++)
        if ((keep_empty || list->items[i].value.len > 0) &&
            !str_eq(str_of(list->items[i].key), STR(LABEL_NAME)))
            items[count++] = list->items[i];
    *list = (struct fng_kv_list){items, count};
    return true;
}

static bool read_deployment(struct api_request *r, const char *verb, struct fng_function *ret)
{
    struct deployment d = {.function = {.size = sizeof(d.function)}};

    if (!request_json(r, deployment_fields,
                      sizeof(deployment_fields) / sizeof(deployment_fields[0]), &d) ||
        !request_namespace(r, d.function.ns) ||
        !request_function(r, verb, "service", str_of(d.function.name)) ||
        !check_deployment(r, &d.function) || !tidy(r, &d.function.labels, true) ||
        !tidy(r, &d.function.limits, false) || !tidy(r, &d.function.requests, false))
        return false;
    d.function.ns = fng_of(r->ns);
    d.function.created_ms = sys_wall_ms();
    if (d.is_read_only)
        d.function.flags |= FNG_FUNCTION_READ_ONLY_ROOT;
    *ret = d.function;
    return true;
}

/* ---- Create, update, delete ---- */

static void deploy(struct api_request *r, enum catalog_deploy_mode mode,
                   const struct fng_function *function)
{
    request_provider(r);
    catalog_deploy(r->api->config.catalog, mode, function, api_on_done, r);
}

void functions_create(struct api_request *r)
{
    struct fng_function function;

    if (read_deployment(r, "deploy", &function))
        deploy(r, CATALOG_CREATE, &function);
}

void functions_update(struct api_request *r)
{
    struct fng_function function;
    bool is_there;

    if (!read_deployment(r, "update", &function))
        return;
    is_there = catalog_find(r->api->config.catalog, r->ns, r->target) != NULL;
    deploy(r, is_there || !r->api->config.is_upsert ? CATALOG_UPDATE : CATALOG_CREATE, &function);
}

void functions_delete(struct api_request *r)
{
    static const struct json_field fields[] = {
        {"functionName", JSON_FIELD_STR, offsetof(struct fng_function, name)},
        {"namespace", JSON_FIELD_STR, offsetof(struct fng_function, ns)},
    };
    struct fng_function body = {0};

    if (!request_json(r, fields, 2, &body) || !request_namespace(r, body.ns) ||
        !request_function(r, "removal", "functionName", str_of(body.name)))
        return;
    request_provider(r);
    catalog_remove(r->api->config.catalog, r->ns, r->target, api_on_done, r);
}

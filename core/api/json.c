/* JSON reading with jansson, writing without it. */
#include "api/json.h"

#include "base/log.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>

/* ---- Reading ---- */

static void wiping_free(void *ptr)
{
    if (ptr)
        explicit_bzero(ptr, malloc_usable_size(ptr));
    free(ptr);
}

void json_wipe_on_free(void)
{
    json_set_alloc_funcs(malloc, wiping_free);
}

/* Counts brackets outside of strings: jansson's own bound on depth is far above what we need. */
static bool is_too_deep(struct str text)
{
    bool is_string = false;
    unsigned depth = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (is_string && c == '\\')
            i++;
        else if (c == '"')
            is_string = !is_string;
        else if (!is_string && (c == '{' || c == '[') && ++depth > JSON_DEPTH_MAX)
            return true;
        else if (!is_string && (c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return false;
}

static const char *type_name(const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null"};

    return names[json_typeof(value)];
}

json_t *json_read_object(struct str body, struct err *err)
{
    json_error_t error;
    json_t *root;

    if (str_trim(body).len == 0) {
        err_set(err, -EINVAL, "the request has no body; a JSON object was expected");
        return NULL;
    }
    if (is_too_deep(body)) {
        err_set(err, -EINVAL, "the JSON body is nested deeper than %d levels", JSON_DEPTH_MAX);
        return NULL;
    }
    root = json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        /* jansson quotes what it read: only for errors of syntax, which name a token. */
        err_set(err, -EINVAL, "the body is not valid JSON: line %d, column %d: %s", error.line,
                error.column,
                json_error_code(&error) == json_error_duplicate_key ? "a key occurs twice"
                                                                    : "syntax error");
        return NULL;
    }
    if (!json_is_object(root)) {
        err_set(err, -EINVAL, "the body is %s; a JSON object was expected", type_name(root));
        json_decref(root);
        return NULL;
    }
    return root;
}

static int wrong_type(struct err *err, const char *field, const char *expected, const json_t *got)
{
    return err_set(err, -EINVAL, "field '%s': expected %s, got %s", field, expected,
                   type_name(got));
}

static struct fng_str text_of(const json_t *value)
{
    return fng_str_make(json_string_value(value), json_string_length(value));
}

static int bind_strs(const char *name, const json_t *value, struct fng_str_list *ret,
                     struct pool *pool, struct err *err)
{
    size_t count = json_array_size(value);
    struct fng_str *items;

    if (!json_is_array(value))
        return wrong_type(err, name, "an array of strings", value);
    items = pool_alloc(pool, (count + 1) * sizeof(*items));
    if (!items)
        return err_set(err, -ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(value, i);

        if (!json_is_string(item))
            return wrong_type(err, name, "an array of strings, not one", item);
        items[i] = text_of(item);
    }
    *ret = (struct fng_str_list){items, count};
    return 0;
}

static int bind_pairs(const char *name, json_t *object, struct fng_kv_list *ret, struct pool *pool,
                      struct err *err)
{
    struct fng_kv *items;
    size_t count = 0;
    const char *key;
    json_t *value;

    if (!json_is_object(object))
        return wrong_type(err, name, "an object of strings", object);
    items = pool_alloc(pool, (json_object_size(object) + 1) * sizeof(*items));
    if (!items)
        return err_set(err, -ENOMEM, "out of memory");
    json_object_foreach(object, key, value)
    {
        if (json_is_null(value))
            continue;
        if (!json_is_string(value))
            return err_set(err, -EINVAL, "field '%s.%s': expected a string, got %s", name, key,
                           type_name(value));
        items[count++] = (struct fng_kv){fng_str_from(key), text_of(value)};
    }
    *ret = (struct fng_kv_list){items, count};
    return 0;
}

static int bind_uint(const char *name, const json_t *value, struct json_uint *ret, struct err *err)
{
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value))
        return wrong_type(err, name, "a whole number", value);
    if (number < 0 || number > UINT32_MAX)
        return err_set(err, -EINVAL, "field '%s': expected a number from 0 to %u", name,
                       UINT32_MAX);
    *ret = (struct json_uint){true, (uint32_t)number};
    return 0;
}

static int bind_one(const struct json_field *field, json_t *value, void *at, struct pool *pool,
                    struct err *err)
{
    switch (field->type) {
    case JSON_FIELD_STR:
        if (!json_is_string(value))
            return wrong_type(err, field->name, "a string", value);
        *(struct fng_str *)at = text_of(value);
        return 0;
    case JSON_FIELD_BOOL:
        if (!json_is_boolean(value))
            return wrong_type(err, field->name, "true or false", value);
        *(bool *)at = json_is_true(value);
        return 0;
    case JSON_FIELD_UINT32:
        return bind_uint(field->name, value, at, err);
    case JSON_FIELD_STRS:
        return bind_strs(field->name, value, at, pool, err);
    case JSON_FIELD_PAIRS:
        return bind_pairs(field->name, value, at, pool, err);
    }
    return 0;
}

int json_bind(const json_t *object, const struct json_field *fields, size_t count, void *target,
              struct pool *pool, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        json_t *value = json_object_get(object, fields[i].name);
        int error;

        if (!value || json_is_null(value))
            continue;
        error = bind_one(&fields[i], value, (char *)target + fields[i].offset, pool, err);
        if (error)
            return error;
    }
    return 0;
}

/* ---- Writing ---- */

static void put(struct json_out *out, const char *text, size_t len)
{
    int error = buf_add(out->buf, text, len);

    if (error)
        out->error = error;
}

static void put_quoted(struct json_out *out, struct str text)
{
    put(out, "\"", 1);
    if (log_escape_json(out->buf, text) < 0)
        out->error = -ENOMEM;
    put(out, "\"", 1);
}

static void put_key(struct json_out *out, struct str key)
{
    if (out->needs_comma)
        put(out, ",", 1);
    out->needs_comma = true;
    if (!key.ptr)
        return;
    put_quoted(out, key);
    put(out, ":", 1);
}

void json_open(struct json_out *out, const char *key, char bracket)
{
    put_key(out, str_from(key));
    put(out, &bracket, 1);
    out->needs_comma = false;
}

void json_close(struct json_out *out, char bracket)
{
    put(out, &bracket, 1);
    out->needs_comma = true;
}

void json_put_str(struct json_out *out, const char *key, struct str value)
{
    put_key(out, str_from(key));
    put_quoted(out, value);
}

void json_put_u64(struct json_out *out, const char *key, uint64_t value)
{
    put_key(out, str_from(key));
    if (buf_printf(out->buf, "%llu", (unsigned long long)value) < 0)
        out->error = -ENOMEM;
}

void json_put_double(struct json_out *out, const char *key, double value)
{
    put_key(out, str_from(key));
    if (buf_printf(out->buf, "%.15g", isfinite(value) ? value : 0) < 0)
        out->error = -ENOMEM;
}

void json_put_bool(struct json_out *out, const char *key, bool value)
{
    put_key(out, str_from(key));
    put(out, value ? "true" : "false", value ? 4 : 5);
}

void json_put_pair(struct json_out *out, struct str key, struct str value)
{
    put_key(out, str_make(key.ptr ? key.ptr : "", key.len));
    put_quoted(out, value);
}

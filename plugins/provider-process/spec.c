/* Functions as JSON: what the store keeps, and back into the shape that the host takes.
 *
 * spec: image, env_process, flags, created_ms, env, labels, annotations, limits, requests (objects
 * of texts), secrets, constraints (arrays of texts). */
#include "process.h"

#include <stdlib.h>
#include <string.h>

static json_t *text_json(struct fng_str s)
{
    if (s.len > 0 && memchr(s.ptr, '\0', s.len))
        return NULL;
    return json_stringn(s.ptr ? s.ptr : "", s.len);
}

static json_t *map_json(struct fng_kv_list list)
{
    json_t *map = json_object();

    for (size_t i = 0; i < list.count; i++) {
        json_t *key = text_json(list.items[i].key);
        json_t *value = text_json(list.items[i].value);
        bool is_set = key && value && json_object_set(map, json_string_value(key), value) == 0;

        json_decref(key);
        json_decref(value);
        if (!is_set) {
            json_decref(map);
            return NULL;
        }
    }
    return map;
}

static json_t *list_json(struct fng_str_list list)
{
    json_t *array = json_array();

    for (size_t i = 0; i < list.count; i++) {
        if (json_array_append_new(array, text_json(list.items[i])) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

json_t *spec_make(const struct fng_function *f)
{
    return json_pack("{s:o,s:o,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "image", text_json(f->image),
                     "env_process", text_json(f->env_process), "flags", (json_int_t)f->flags,
                     "created_ms", (json_int_t)f->created_ms, "env", map_json(f->env), "labels",
                     map_json(f->labels), "annotations", map_json(f->annotations), "limits",
                     map_json(f->limits), "requests", map_json(f->requests), "secrets",
                     list_json(f->secrets), "constraints", list_json(f->constraints));
}

const char *spec_map(const json_t *spec, const char *map, const char *key)
{
    return json_string_value(json_object_get(json_object_get(spec, map), key));
}

bool name_is_label(struct fng_str name)
{
    if (name.len == 0 || name.len > 63)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_inner = i > 0 && i + 1 < name.len;

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && is_inner)))
            return false;
    }
    return true;
}

static struct fng_str text_of(const json_t *value)
{
    return fng_str_make(json_string_value(value), json_string_length(value));
}

static struct fng_kv_list map_of(json_t *map, void **ret_memory)
{
    struct fng_kv *items = zalloc(json_object_size(map) * sizeof(*items));
    size_t n = 0;
    const char *key;
    json_t *value;

    json_object_foreach(map, key, value) items[n++] =
        (struct fng_kv){fng_str_from(key), text_of(value)};
    *ret_memory = items;
    return (struct fng_kv_list){items, n};
}

static struct fng_str_list list_of(const json_t *array, void **ret_memory)
{
    struct fng_str *items = zalloc(json_array_size(array) * sizeof(*items));
    size_t i;
    json_t *value;

    json_array_foreach(array, i, value) items[i] = text_of(value);
    *ret_memory = items;
    return (struct fng_str_list){items, json_array_size(array)};
}

void spec_view(struct spec_view *view, const struct function *fn)
{
    const json_t *spec = fn->spec;
    struct fng_function *f = &view->function;

    *view = (struct spec_view){0};
    f->size = sizeof(*f);
    f->flags = (uint32_t)wire_int(spec, "flags");
    f->generation = fn->generation;
    f->ns = fng_str_from(fn->ns);
    f->name = fng_str_from(fn->name);
    f->image = text_of(json_object_get(spec, "image"));
    f->env_process = text_of(json_object_get(spec, "env_process"));
    f->env = map_of(json_object_get(spec, "env"), &view->memory[0]);
    f->labels = map_of(json_object_get(spec, "labels"), &view->memory[1]);
    f->annotations = map_of(json_object_get(spec, "annotations"), &view->memory[2]);
    f->limits = map_of(json_object_get(spec, "limits"), &view->memory[3]);
    f->requests = map_of(json_object_get(spec, "requests"), &view->memory[4]);
    f->secrets = list_of(json_object_get(spec, "secrets"), &view->memory[5]);
    f->constraints = list_of(json_object_get(spec, "constraints"), &view->memory[6]);
    f->replicas = fn->wanted;
    f->created_ms = wire_int(spec, "created_ms");
}

void spec_view_free(struct spec_view *view)
{
    for (size_t i = 0; i < COUNT_OF(view->memory); i++)
        free(view->memory[i]);
}

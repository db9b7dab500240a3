/* Binding: a table of keys turns a map of the file into a struct, and says what is wrong with it.
 * Each key is converted into a value first and stored only when it is sound, so that a target
 * always holds either its default or a checked value.
 */
#include "base/assert.h"
#include "conf/conf.h"
#include "conf/file.h"
#include "conf/value.h"

#include <errno.h>
#include <stdlib.h>

enum { SECRET_FILE_MAX = 65536 };

struct binding {
    const struct conf_doc *doc;
    const struct conf_node *map;
    const struct conf_key *keys;
    size_t count;
    const char *who;
    char *target;
    struct pool *pool;
    struct conf_report *report;
};

#define COMPLAIN(b, line, ...) conf_error((b)->report, (b)->doc, line, (b)->who, __VA_ARGS__)

static void store(const struct binding *b, const struct conf_key *key,
                  const struct conf_value *value)
{
    memcpy(b->target + key->offset, &value->as, conf_value_size(key->type));
}

/* Converts and stores; `label` is how the complaint calls the value. */
static void take(struct binding *b, const struct conf_key *key, const struct conf_node *node,
                 const char *label)
{
    struct conf_value value;
    struct err err;

    if (conf_value_of(key, node, b->pool, &value, &err) == 0)
        store(b, key, &value);
    else
        COMPLAIN(b, node->line, "%s %s", label, err.text);
}

/* ---- Secrets from files ---- */

static char *path_beside(const struct conf_doc *doc, struct str path)
{
    struct str file = doc ? str_from(doc->file) : STR_NONE;
    ptrdiff_t slash = str_rfind(file, '/');

    if (str_starts(path, STR("/")) || slash < 0)
        return str_dup(path);
    return xasprintf("%.*s/%.*s", (int)slash, file.ptr, STR_ARG(path));
}

static struct str trim_end(struct str s)
{
    while (s.len > 0 && strchr(" \t\r\n", s.ptr[s.len - 1]))
        s.len--;
    return s;
}

static void take_secret_file(struct binding *b, const struct conf_key *key,
                             const struct conf_node *file)
{
    AUTO_FREE char *label = xasprintf("'%s_file'", key->name);
    AUTO_FREE char *path = NULL;
    struct conf_node content = {.type = CONF_SCALAR, .line = file->line};
    struct buf text;
    int err;

    if (file->type != CONF_SCALAR) {
        COMPLAIN(b, file->line, "%s must be the path of a file", label);
        return;
    }
    path = path_beside(b->doc, file->text);
    buf_init(&text, SECRET_FILE_MAX);
    err = conf_read_file(path, &text);
    content.text = pool_str(b->pool, trim_end(buf_str(&text)));
    if (err)
        COMPLAIN(b, file->line, "%s: '%s' cannot be read: %s", label, path, strerror(-err));
    else if (!content.text.ptr || str_find(content.text, '\0') >= 0)
        COMPLAIN(b, file->line, "%s: '%s' is not a text", label, path);
    else
        take(b, key, &content, label);
    if (buf_len(&text) > 0)
        explicit_bzero(text.mem, text.tail);
    buf_free(&text);
}

/* ---- One key ---- */

static const struct conf_node *given(const struct binding *b, const char *name)
{
    const struct conf_node *node = conf_get(b->map, name);

    return node && node->type != CONF_NULL ? node : NULL;
}

static const struct conf_node *given_as_file(const struct binding *b, const struct conf_key *key)
{
    AUTO_FREE char *name = NULL;

    if (!(key->flags & CONF_SECRET))
        return NULL;
    name = xasprintf("%s_file", key->name);
    return given(b, name);
}

static void take_default(struct binding *b, const struct conf_key *key)
{
    struct conf_value value = {0};
    struct err err;

    if (key->default_value)
        ASSERT(conf_value_parse(key, str_from(key->default_value), b->pool, &value, &err) == 0);
    store(b, key, &value);
}

/* True when the environment says something about the key. */
static bool take_environment(struct binding *b, const struct conf_key *key)
{
    const char *text = key->env ? getenv(key->env) : NULL;
    struct conf_value value;
    struct err err;

    if (!text)
        return false;
    if (conf_value_parse(key, str_from(text), b->pool, &value, &err) == 0)
        store(b, key, &value);
    else
        conf_error(b->report, NULL, 0, b->who, "environment variable '%s' %s", key->env, err.text);
    return true;
}

static void bind_key(struct binding *b, const struct conf_key *key)
{
    const struct conf_node *node = given(b, key->name), *file = given_as_file(b, key);
    AUTO_FREE char *label = xasprintf("'%s'", key->name);

    take_default(b, key);
    if (node && file)
        COMPLAIN(b, file->key_line, "both '%s' and '%s_file' are given; keep one", key->name,
                 key->name);
    if (node && (key->flags & CONF_DEPRECATED))
        conf_warn(b->report, b->doc, node->key_line, b->who, "'%s' is deprecated: %s", key->name,
                  key->help ? key->help : "remove it");
    if (node)
        take(b, key, node, label);
    else if (file)
        take_secret_file(b, key, file);

    if (!take_environment(b, key) && !node && !file && (key->flags & CONF_REQUIRED))
        COMPLAIN(b, b->map ? b->map->line : 0, "'%s' is missing: %s", key->name,
                 key->help ? key->help : "it is required");
}

/* ---- Keys that nobody knows ---- */

static bool is_known(const struct binding *b, struct str name)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct conf_key *key = &b->keys[i];

        if (str_eq(name, str_from(key->name)))
            return true;
        if ((key->flags & CONF_SECRET) && str_ends(name, STR("_file")) &&
            str_eq(str_sub(name, 0, name.len - 5), str_from(key->name)))
            return true;
    }
    return false;
}

static const char *nearest(const struct binding *b, struct str name)
{
    unsigned limit = name.len < 6 ? 2 : 3, best = limit + 1;
    const char *found = NULL;

    for (size_t i = 0; i < b->count; i++) {
        unsigned distance = str_distance(name, str_from(b->keys[i].name), limit);

        if (distance < best) {
            best = distance;
            found = b->keys[i].name;
        }
    }
    return found;
}

static void refuse_unknown(struct binding *b, const struct conf_node *node)
{
    const char *near = nearest(b, node->key);
    struct buf known;

    if (near) {
        COMPLAIN(b, node->key_line, "unknown key '%s', did you mean '%s'?", node->key.ptr, near);
        return;
    }
    buf_init(&known, 0);
    for (size_t i = 0; i < b->count; i++)
        (void)buf_printf(&known, "%s%s", i ? ", " : "", b->keys[i].name);
    COMPLAIN(b, node->key_line, "unknown key '%s'; %s%.*s", node->key.ptr,
             b->count ? "known are " : "there are no keys here", STR_ARG(buf_str(&known)));
    buf_free(&known);
}

void conf_bind(const struct conf_doc *doc, const struct conf_node *map, const struct conf_key *keys,
               size_t count, const char *who, void *target, struct pool *pool,
               struct conf_report *report)
{
    struct binding b = {doc, map, keys, count, who, target, pool, report};

    if (map && map->type != CONF_MAP && map->type != CONF_NULL) {
        COMPLAIN(&b, map->line, "this must be a map of keys");
        b.map = NULL;
    }
    for (size_t i = 0; i < count; i++)
        bind_key(&b, &keys[i]);
    if (!b.map || b.map->type != CONF_MAP)
        return;
    for (const struct conf_node *node = b.map->first; node; node = node->next)
        if (!is_known(&b, node->key))
            refuse_unknown(&b, node);
}

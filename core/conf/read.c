/* YAML to a tree with line numbers, out of libyaml's events. The subset is small on purpose: one
 * document of maps, lists and scalars. What could make a file mean something else than it looks
 * like (anchors, tags, duplicate keys) is refused, and so is what is larger than any real file.
 */
#include "base/map.h"
#include "conf/conf.h"
#include "conf/file.h"

#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

enum {
    FILE_MAX = 8 << 20,
    POOL_MAX = 128 << 20,
    DEPTH_MAX = 32,
    NODES_MAX = 200000,
    EXPANDED_MAX = 1 << 20
};

struct reader {
    yaml_parser_t yaml;
    struct conf_doc *doc;
    struct conf_report *report;
    unsigned nodes;
    bool is_broken; /* no use to read on */
};

static struct conf_node *read_node(struct reader *r, yaml_event_t *event, unsigned depth);

static int line_of(const yaml_event_t *event)
{
    return (int)event->start_mark.line + 1;
}

#define COMPLAIN(r, line, ...) conf_error((r)->report, (r)->doc, line, NULL, __VA_ARGS__)

static void give_up(struct reader *r, int line, const char *why)
{
    if (!r->is_broken)
        COMPLAIN(r, line, "%s", why);
    r->is_broken = true;
}

/* The next event, false after a syntax error. */
static bool next_event(struct reader *r, yaml_event_t *event)
{
    const yaml_parser_t *yaml = &r->yaml;

    if (r->is_broken)
        return false;
    if (yaml_parser_parse(&r->yaml, event))
        return true;
    COMPLAIN(r, (int)yaml->problem_mark.line + 1, "this is not YAML: %s%s%s",
             yaml->problem ? yaml->problem : "out of memory", yaml->context ? " " : "",
             yaml->context ? yaml->context : "");
    r->is_broken = true;
    return false;
}

static struct conf_node *node_new(struct reader *r, enum conf_node_type type, int line)
{
    struct conf_node *node;

    if (++r->nodes > NODES_MAX) {
        give_up(r, line, "the file has more than 200000 values");
        return NULL;
    }
    node = pool_zalloc(&r->doc->pool, sizeof(*node));
    if (!node) {
        give_up(r, line, "the file is too large");
        return NULL;
    }
    node->type = type;
    node->line = line;
    return node;
}

/* ---- ${NAME}, ${NAME:-default}; "$${" stands for a literal "${" ---- */

static bool is_name(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';

        if (!is_letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return name.len > 0;
}

/* What stands between the braces, into `out`. */
static int expand_one(struct reader *r, struct str inside, int line, struct buf *out)
{
    ptrdiff_t colon = str_find(inside, ':');
    struct str name = colon < 0 ? inside : str_sub(inside, 0, (size_t)colon);
    struct str rest = colon < 0 ? STR_NONE : str_sub(inside, (size_t)colon, inside.len);
    AUTO_FREE char *key = str_dup(name);
    const char *value;

    if (!is_name(name) || (colon >= 0 && !str_starts(rest, STR(":-")))) {
        COMPLAIN(r, line,
                 "'${%.*s}' is neither ${NAME} nor ${NAME:-default}; write $${ for a plain ${",
                 STR_ARG(inside));
        return 0;
    }
    value = getenv(key);
    if (value && (*value || colon < 0))
        return buf_add_str(out, str_from(value));
    if (colon >= 0)
        return buf_add_str(out, str_sub(rest, 2, rest.len));
    COMPLAIN(r, line, "environment variable '%s' is not set; set it or write ${%s:-default}", key,
             key);
    return 0;
}

static struct str expand(struct reader *r, struct str text, int line)
{
    struct buf out;
    struct str expanded;
    int err = 0;

    if (!memmem(text.ptr, text.len, "${", 2))
        return pool_str(&r->doc->pool, text);
    buf_init(&out, EXPANDED_MAX);
    for (size_t i = 0; i < text.len && !err;) {
        struct str rest = str_sub(text, i, text.len);
        ptrdiff_t end;

        if (str_starts(rest, STR("$${"))) {
            err = buf_add(&out, "${", 2);
            i += 3;
        } else if (str_starts(rest, STR("${")) && (end = str_find(rest, '}')) > 0) {
            err = expand_one(r, str_sub(rest, 2, (size_t)end - 2), line, &out);
            i += (size_t)end + 1;
        } else {
            err = buf_add(&out, rest.ptr, 1);
            i++;
        }
    }
    if (err)
        COMPLAIN(r, line, "the value is longer than 1 MiB once ${...} is replaced");
    expanded = pool_str(&r->doc->pool, buf_str(&out));
    buf_free(&out);
    return expanded;
}

/* ---- Nodes ---- */

static bool is_null(const yaml_event_t *event, struct str text)
{
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    return text.len == 0 || str_eq(text, STR("~")) || str_eq(text, STR("null"));
}

static struct str scalar_text(const yaml_event_t *event)
{
    return str_make((const char *)event->data.scalar.value, event->data.scalar.length);
}

static struct conf_node *read_scalar(struct reader *r, const yaml_event_t *event)
{
    struct str text = scalar_text(event);
    int line = line_of(event);
    struct conf_node *node = node_new(r, is_null(event, text) ? CONF_NULL : CONF_SCALAR, line);

    if (!node || node->type == CONF_NULL)
        return node;
    if (str_find(text, '\0') >= 0)
        COMPLAIN(r, line, "a value may not contain a NUL byte");
    node->text = expand(r, text, line);
    if (!node->text.ptr)
        give_up(r, line, "the file is too large");
    return node;
}

static struct conf_node *read_list(struct reader *r, const yaml_event_t *begin, unsigned depth)
{
    struct conf_node *list = node_new(r, CONF_LIST, line_of(begin));
    const struct conf_node **end = list ? &list->first : NULL;
    yaml_event_t event;

    while (list && next_event(r, &event)) {
        struct conf_node *item;

        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            break;
        }
        item = read_node(r, &event, depth + 1);
        if (!item)
            break;
        *end = item;
        end = &item->next;
    }
    return list;
}

/* Reads the value that belongs to `event`, a key. NULL: give up. */
static struct conf_node *read_entry(struct reader *r, yaml_event_t *event, struct map *seen,
                                    unsigned depth)
{
    int line = line_of(event);
    bool is_scalar = event->type == YAML_SCALAR_EVENT;
    struct str key =
        is_scalar ? pool_str(&r->doc->pool, scalar_text(event)) : pool_str(&r->doc->pool, STR(""));
    struct conf_node *node, *former;
    yaml_event_t value;

    if (!is_scalar || event->data.scalar.anchor || event->data.scalar.tag) {
        yaml_event_delete(event);
        give_up(r, line, "a key must be a plain word, without anchor, alias or tag");
        return NULL;
    }
    yaml_event_delete(event);
    if (!next_event(r, &value))
        return NULL;
    node = read_node(r, &value, depth + 1);
    if (!node || !key.ptr)
        return NULL;
    node->key = key;
    node->key_line = line;
    former = map_set(seen, key, node);
    if (former)
        COMPLAIN(r, line, "key '%s' stands on line %d already", key.ptr, former->key_line);
    return node;
}

static struct conf_node *read_map(struct reader *r, const yaml_event_t *begin, unsigned depth)
{
    struct conf_node *node = node_new(r, CONF_MAP, line_of(begin));
    const struct conf_node **end = node ? &node->first : NULL;
    struct map seen;
    yaml_event_t event;

    map_init(&seen);
    while (node && next_event(r, &event)) {
        struct conf_node *entry;

        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            break;
        }
        entry = read_entry(r, &event, &seen, depth);
        if (!entry)
            break;
        *end = entry;
        end = &entry->next;
    }
    map_free(&seen);
    return node;
}

/* Anchors and tags are refused wherever a node may carry them. */
static bool is_decorated(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor || event->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor || event->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor || event->data.mapping_start.tag;
    default:
        return false;
    }
}

/* The node that begins with `event`, which is deleted. NULL: give up. */
static struct conf_node *read_node(struct reader *r, yaml_event_t *event, unsigned depth)
{
    int line = line_of(event);
    struct conf_node *node = NULL;

    if (depth > DEPTH_MAX)
        give_up(r, line, "nested deeper than 32 levels");
    else if (is_decorated(event))
        COMPLAIN(r, line, "anchors (&) and tags (!) are not supported; write the value itself");

    if (r->is_broken)
        ; /* said already */
    else if (event->type == YAML_SCALAR_EVENT)
        node = read_scalar(r, event);
    else if (event->type == YAML_SEQUENCE_START_EVENT)
        node = read_list(r, event, depth);
    else if (event->type == YAML_MAPPING_START_EVENT)
        node = read_map(r, event, depth);
    else if (event->type == YAML_ALIAS_EVENT)
        give_up(r, line, "aliases (*) are not supported; write the value itself");
    else
        give_up(r, line, "a value is missing here");
    yaml_event_delete(event);
    return node;
}

/* ---- Documents ---- */

static void read_stream(struct reader *r)
{
    yaml_event_t event;
    bool is_end = false;

    while (!is_end && next_event(r, &event)) {
        int line = line_of(&event);

        switch (event.type) {
        case YAML_STREAM_END_EVENT:
            is_end = true;
            yaml_event_delete(&event);
            break;
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            yaml_event_delete(&event);
            break;
        default:
            if (r->doc->root) {
                yaml_event_delete(&event);
                give_up(r, line, "a second document begins here; put everything into one");
                break;
            }
            r->doc->root = read_node(r, &event, 1);
        }
    }
}

static void check_root(struct reader *r)
{
    static const struct conf_node nothing = {.type = CONF_NULL, .line = 1};

    if (!r->doc->root)
        r->doc->root = &nothing;
    if (r->doc->root->type != CONF_MAP && r->doc->root->type != CONF_NULL)
        COMPLAIN(r, r->doc->root->line, "the file must be a map of keys, not a %s",
                 r->doc->root->type == CONF_LIST ? "list" : "single value");
}

static struct conf_doc *doc_new(const char *file)
{
    struct conf_doc *doc = xcalloc(1, sizeof(*doc));

    pool_init(&doc->pool, POOL_MAX);
    doc->file = str_dup(str_from(file));
    return doc;
}

struct conf_doc *conf_read_text(const char *file, struct str text, struct conf_report *report)
{
    struct reader r = {.doc = doc_new(file), .report = report};
    unsigned errors = report->errors;

    if (!yaml_parser_initialize(&r.yaml)) {
        COMPLAIN(&r, 0, "out of memory");
    } else {
        yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&r.yaml, (const unsigned char *)(text.ptr ? text.ptr : ""),
                                     text.len);
        read_stream(&r);
        if (!r.is_broken)
            check_root(&r);
        yaml_parser_delete(&r.yaml);
    }
    if (report->errors == errors)
        return r.doc;
    conf_doc_free(r.doc);
    return NULL;
}

struct conf_doc *conf_read(const char *file, struct conf_report *report)
{
    struct conf_doc place = {.file = str_dup(str_from(file))};
    struct conf_doc *doc = NULL;
    struct buf text;
    int err;

    buf_init(&text, FILE_MAX);
    err = conf_read_file(file, &text);
    if (err == -EFBIG)
        conf_error(report, &place, 0, NULL, "larger than 8 MiB; is this the right file?");
    else if (err)
        conf_error(report, &place, 0, NULL, "cannot be read: %s", strerror(-err));
    else
        doc = conf_read_text(file, buf_str(&text), report);
    buf_free(&text);
    mem_free(place.file);
    return doc;
}

void conf_doc_free(struct conf_doc *doc)
{
    if (!doc)
        return;
    pool_free(&doc->pool);
    mem_free(doc->file);
    mem_free(doc);
}

const struct conf_node *conf_get(const struct conf_node *map, const char *key)
{
    if (!map || map->type != CONF_MAP)
        return NULL;
    for (const struct conf_node *it = map->first; it; it = it->next)
        if (str_eq(it->key, str_from(key)))
            return it;
    return NULL;
}

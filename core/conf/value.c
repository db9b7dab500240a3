/* Values: conversion, bounds and the words for both. */
#include "conf/value.h"

#include "base/assert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { SHOWN_MAX = 64 };

size_t conf_value_size(enum conf_type type)
{
    switch (type) {
    case CONF_STR:
        return sizeof(struct str);
    case CONF_BOOL:
        return sizeof(int32_t);
    case CONF_INT:
    case CONF_DURATION:
        return sizeof(int64_t);
    case CONF_SIZE:
        return sizeof(uint64_t);
    case CONF_STRS:
        return sizeof(struct conf_str_list);
    case CONF_PAIRS:
        return sizeof(struct conf_pair_list);
    case CONF_ANY:
        return sizeof(const struct conf_node *);
    }
    return 0;
}

/* ---- Words ---- */

static void say_duration(int64_t ms, struct buf *out)
{
    if (ms % 1000)
        (void)buf_printf(out, "%" PRId64 "ms", ms);
    else if (ms > 0 && ms % 3600000 == 0)
        (void)buf_printf(out, "%" PRId64 "h", ms / 3600000);
    else if (ms > 60000 && ms % 60000 == 0)
        (void)buf_printf(out, "%" PRId64 "m", ms / 60000);
    else
        (void)buf_printf(out, "%" PRId64 "s", ms / 1000);
}

static void say_size(int64_t bytes, struct buf *out)
{
    static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti"};
    size_t unit = 0;

    while (bytes > 0 && bytes % 1024 == 0 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    (void)buf_printf(out, "%" PRId64 "%s", bytes, units[unit]);
}

static void say_bound(enum conf_type type, int64_t bound, struct buf *out)
{
    if (type == CONF_DURATION)
        say_duration(bound, out);
    else if (type == CONF_SIZE)
        say_size(bound, out);
    else
        (void)buf_printf(out, "%" PRId64, bound);
}

static const char *type_words(enum conf_type type)
{
    static const char *const words[] = {
        "",           "a text", "true or false", "a whole number", "a size such as 64Mi or 4096",
        "a duration", "a list", "a map of texts"};

    return type < CONF_ANY ? words[type] : "a value";
}

static bool is_bounded(const struct conf_key *key)
{
    return (key->min || key->max) && key->type != CONF_BOOL && key->type != CONF_ANY;
}

void conf_value_expected(const struct conf_key *key, struct buf *out)
{
    enum conf_type type = key->type;
    const char *what = type == CONF_INT    ? "a number"
                       : type == CONF_SIZE ? "a size"
                                           : type_words(type);

    if (!is_bounded(key)) {
        (void)buf_printf(out, "%s%s", type_words(type),
                         type == CONF_DURATION ? " such as 250ms, 30s or 5m" : "");
        return;
    }
    (void)buf_printf(out, "%s%s ", what,
                     type == CONF_STR || type == CONF_STRS || type == CONF_PAIRS ? " of" : "");
    if (key->max == INT64_MAX) {
        (void)buf_add_str(out, STR("at least "));
        say_bound(type, key->min, out);
    } else {
        (void)buf_add_str(out, STR("between "));
        say_bound(type, key->min, out);
        (void)buf_add_str(out, STR(" and "));
        say_bound(type, key->max, out);
    }
    if (type == CONF_STR)
        (void)buf_add_str(out, STR(" bytes"));
    else if (type == CONF_STRS || type == CONF_PAIRS)
        (void)buf_add_str(out, STR(" entries"));
}

/* "must be EXPECTED, got 'GOT'"; secrets are not shown. */
static int refuse(const struct conf_key *key, const char *got, struct str text, struct err *err)
{
    struct buf expected;

    buf_init(&expected, 0);
    conf_value_expected(key, &expected);
    if (key->flags & CONF_SECRET)
        err_set(err, -EINVAL, "must be %.*s", STR_ARG(buf_str(&expected)));
    else if (got)
        err_set(err, -EINVAL, "must be %.*s, got %s", STR_ARG(buf_str(&expected)), got);
    else
        err_set(err, -EINVAL, "must be %.*s, got '%.*s'%s", STR_ARG(buf_str(&expected)),
                STR_ARG(str_sub(text, 0, SHOWN_MAX)), text.len > SHOWN_MAX ? "..." : "");
    buf_free(&expected);
    return -EINVAL;
}

/* ---- Conversion ---- */

static bool parse_bool(struct str text, int32_t *ret)
{
    static const char *const words[2][3] = {{"false", "no", "off"}, {"true", "yes", "on"}};

    for (int32_t value = 0; value < 2; value++) {
        for (size_t i = 0; i < 3; i++) {
            if (str_ieq(text, str_from(words[value][i]))) {
                *ret = value;
                return true;
            }
        }
    }
    return false;
}

static bool is_within(const struct conf_key *key, uint64_t value)
{
    return !is_bounded(key) || ((key->min <= 0 || value >= (uint64_t)key->min) && key->max >= 0 &&
                                value <= (uint64_t)key->max);
}

static bool parse_int(const struct conf_key *key, struct str text, int64_t *ret)
{
    return str_to_i64(text, ret) && (!is_bounded(key) || (*ret >= key->min && *ret <= key->max));
}

/* A scalar of a scalar type. */
static bool parse_scalar(const struct conf_key *key, struct str text, struct pool *pool,
                         struct conf_value *ret)
{
    switch (key->type) {
    case CONF_STR:
        ret->as.str = pool_str(pool, text); /* the document may go first */
        return is_within(key, text.len);
    case CONF_BOOL:
        return parse_bool(text, &ret->as.boolean);
    case CONF_INT:
        return parse_int(key, text, &ret->as.integer);
    case CONF_SIZE:
        return str_to_size(text, &ret->as.size) && is_within(key, ret->as.size);
    case CONF_DURATION:
        return str_to_duration_ms(text, &ret->as.integer) &&
               is_within(key, (uint64_t)ret->as.integer);
    default:
        return false;
    }
}

static size_t children(const struct conf_node *node)
{
    size_t count = 0;

    for (const struct conf_node *it = node->first; it; it = it->next)
        count++;
    return count;
}

static int refuse_count(const struct conf_key *key, size_t count, struct err *err)
{
    char got[48];

    snprintf(got, sizeof(got), "%zu", count);
    return refuse(key, got, STR_NONE, err);
}

static const char *node_words(const struct conf_node *node)
{
    return node->type == CONF_MAP ? "a map" : node->type == CONF_LIST ? "a list" : "nothing";
}

static int strs_of(const struct conf_key *key, const struct conf_node *node, struct pool *pool,
                   struct conf_value *ret, struct err *err)
{
    const struct conf_node *first = node->type == CONF_LIST ? node->first : node;
    size_t count = node->type == CONF_LIST ? children(node) : 1, i = 0;
    struct str *items;

    if (node->type == CONF_MAP)
        return refuse(key, node_words(node), STR_NONE, err);
    if (!is_within(key, count))
        return refuse_count(key, count, err);
    items = pool_alloc(pool, count * sizeof(*items));
    if (!items)
        return err_set(err, -EINVAL, "does not fit into memory");
    for (const struct conf_node *it = first; i < count; it = it->next) {
        if (it->type != CONF_SCALAR)
            return err_set(err, -EINVAL, "must be a list of texts, but entry %zu is %s", i + 1,
                           node_words(it));
        items[i++] = pool_str(pool, it->text);
    }
    ret->as.strs = (struct conf_str_list){items, count};
    return 0;
}

static int pairs_of(const struct conf_key *key, const struct conf_node *node, struct pool *pool,
                    struct conf_value *ret, struct err *err)
{
    size_t count = children(node), i = 0;
    struct conf_pair *items;

    if (node->type != CONF_MAP)
        return refuse(key, node->type == CONF_SCALAR ? NULL : node_words(node), node->text, err);
    if (!is_within(key, count))
        return refuse_count(key, count, err);
    items = pool_alloc(pool, count * sizeof(*items));
    if (!items)
        return err_set(err, -EINVAL, "does not fit into memory");
    for (const struct conf_node *it = node->first; it; it = it->next) {
        if (it->type != CONF_SCALAR && it->type != CONF_NULL)
            return err_set(err, -EINVAL, "must be a map of texts, but '%s' is %s", it->key.ptr,
                           node_words(it));
        items[i++] = (struct conf_pair){
            pool_str(pool, it->key),
            pool_str(pool, it->type == CONF_NULL ? STR("") : it->text),
        };
    }
    ret->as.pairs = (struct conf_pair_list){items, count};
    return 0;
}

int conf_value_of(const struct conf_key *key, const struct conf_node *node, struct pool *pool,
                  struct conf_value *ret, struct err *err)
{
    *ret = (struct conf_value){0};
    if (key->type == CONF_ANY) {
        ret->as.node = node;
        return 0;
    }
    if (key->type == CONF_STRS)
        return strs_of(key, node, pool, ret, err);
    if (key->type == CONF_PAIRS)
        return pairs_of(key, node, pool, ret, err);
    if (node->type != CONF_SCALAR)
        return refuse(key, node_words(node), STR_NONE, err);
    if (!parse_scalar(key, node->text, pool, ret))
        return refuse(key, NULL, node->text, err);
    return 0;
}

/* ---- From one line of text ---- */

/* A node for each element between commas; for a map each must be "key=value". */
static struct conf_node *split(enum conf_type type, struct str text, struct pool *pool)
{
    struct conf_node *parent = pool_zalloc(pool, sizeof(*parent));
    const struct conf_node **end = parent ? &parent->first : NULL;
    struct str item;

    if (!parent)
        return NULL;
    parent->type = type == CONF_PAIRS ? CONF_MAP : CONF_LIST;
    while (str_trim(text).len > 0 && str_next(&text, ',', &item)) {
        struct conf_node *node = pool_zalloc(pool, sizeof(*node));
        ptrdiff_t equals = str_find(item, '=');

        if (!node || (type == CONF_PAIRS && equals <= 0))
            return NULL;
        node->type = CONF_SCALAR;
        if (type == CONF_PAIRS) {
            node->key = pool_str(pool, str_trim(str_sub(item, 0, (size_t)equals)));
            item = str_trim(str_sub(item, (size_t)equals + 1, item.len));
        }
        node->text = pool_str(pool, item);
        *end = node;
        end = &node->next;
    }
    return parent;
}

int conf_value_parse(const struct conf_key *key, struct str text, struct pool *pool,
                     struct conf_value *ret, struct err *err)
{
    struct conf_node scalar = {.type = CONF_SCALAR, .text = pool_str(pool, text)};
    const struct conf_node *node = &scalar;

    ASSERT(key->type != CONF_ANY);
    if (key->type == CONF_STRS || key->type == CONF_PAIRS)
        node = split(key->type, text, pool);
    if (!node)
        return refuse(key, NULL, text, err);
    return conf_value_of(key, node, pool, ret, err);
}

int conf_check_key(const struct conf_key *key, struct err *err)
{
    struct conf_value value;
    struct pool pool;
    struct err why;
    int result = 0;

    if (key->min > key->max)
        return err_set(err, -EINVAL, "its minimum is above its maximum");
    if (!key->default_value || key->type == CONF_ANY)
        return 0;
    pool_init(&pool, 0);
    if (conf_value_parse(key, str_from(key->default_value), &pool, &value, &why) < 0)
        result = err_set(err, -EINVAL, "its default %s", why.text);
    pool_free(&pool);
    return result;
}

/* ---- For people ---- */

void conf_describe(const struct conf_key *keys, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct conf_key *key = &keys[i];

        (void)buf_printf(out, "  %s%s: ", key->name,
                         key->flags & CONF_SECRET ? " (or its _file form)" : "");
        conf_value_expected(key, out);
        if (key->flags & CONF_REQUIRED)
            (void)buf_add_str(out, STR(", required"));
        if (key->default_value)
            (void)buf_printf(out, ", default %s",
                             *key->default_value ? key->default_value : "\"\"");
        if (key->env)
            (void)buf_printf(out, ", environment variable %s", key->env);
        if (key->flags & CONF_DEPRECATED)
            (void)buf_add_str(out, STR(", deprecated"));
        (void)buf_printf(out, "\n      %s\n", key->help ? key->help : "");
    }
}

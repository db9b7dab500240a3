/* Settings of the plugin under test: command line and file, and their binding by key type. */
#include "settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Collecting ---- */

static void push(struct settings *settings, struct fng_str key, struct fng_str sub,
                 struct fng_str value)
{
    struct setting *setting = LIST_PUSH(settings);

    setting->key = must_copy(key);
    setting->sub = sub.ptr ? must_copy(sub) : NULL;
    setting->value = must_copy(value);
}

bool settings_add(struct settings *settings, const char *assignment)
{
    const char *equals = strchr(assignment, '='), *dot;
    struct fng_str key, sub = {NULL, 0};

    if (!equals || equals == assignment)
        return false;

    key = fng_str_make(assignment, (size_t)(equals - assignment));
    dot = memchr(key.ptr, '.', key.len);
    if (dot) {
        sub = fng_str_make(dot + 1, (size_t)(equals - dot - 1));
        key.len = (size_t)(dot - assignment);
    }
    push(settings, key, sub, fng_str_from(equals + 1));
    return true;
}

void settings_free(struct settings *settings)
{
    for (size_t i = 0; i < settings->count; i++) {
        free(settings->items[i].key);
        free(settings->items[i].sub);
        free(settings->items[i].value);
    }
    free(settings->items);
    memset(settings, 0, sizeof(*settings));
}

static struct fng_str trim(struct fng_str s)
{
    while (s.len && isspace((unsigned char)s.ptr[0]))
        s = fng_str_make(s.ptr + 1, s.len - 1);
    while (s.len && isspace((unsigned char)s.ptr[s.len - 1]))
        s.len--;
    if (s.len >= 2 && (s.ptr[0] == '"' || s.ptr[0] == '\'') && s.ptr[s.len - 1] == s.ptr[0])
        s = fng_str_make(s.ptr + 1, s.len - 2);
    return s;
}

/* A "[a, b]" value gives one setting per element. */
static void push_value(struct settings *settings, struct fng_str key, struct fng_str value)
{
    struct fng_str none = {NULL, 0};

    if (value.len < 2 || value.ptr[0] != '[' || value.ptr[value.len - 1] != ']') {
        push(settings, key, none, value);
        return;
    }
    value = fng_str_make(value.ptr + 1, value.len - 2);
    while (value.len) {
        const char *comma = memchr(value.ptr, ',', value.len);
        size_t len = comma ? (size_t)(comma - value.ptr) : value.len;
        size_t used = comma ? len + 1 : len;

        push(settings, key, none, trim(fng_str_make(value.ptr, len)));
        value = fng_str_make(value.ptr + used, value.len - used);
    }
}

/* One line; `parent` is the last key that had no value of its own. False when it is not understood.
 */
static bool read_line(struct settings *settings, const char *line, char parent[256])
{
    bool is_below = isspace((unsigned char)line[0]) || line[0] == '-';
    struct fng_str text = trim(fng_str_from(line)), name, value;
    const char *colon;

    if (text.len == 0 || text.ptr[0] == '#')
        return true;
    if (text.ptr[0] == '-') {
        push(settings, fng_str_from(parent), fng_str_make(NULL, 0),
             trim(fng_str_make(text.ptr + 1, text.len - 1)));
        return parent[0] != 0;
    }

    colon = memchr(text.ptr, ':', text.len);
    if (!colon)
        return false;
    name = trim(fng_str_make(text.ptr, (size_t)(colon - text.ptr)));
    value = trim(fng_str_make(colon + 1, text.len - (size_t)(colon + 1 - text.ptr)));
    if (is_below) {
        push(settings, fng_str_from(parent), name, value);
        return parent[0] != 0;
    }

    snprintf(parent, 256, "%.*s", STR_ARG(name));
    if (value.len)
        push_value(settings, name, value);
    return true;
}

char *settings_read(struct settings *settings, const char *file)
{
    char line[4096], parent[256] = "";
    FILE *stream = fopen(file, "re");

    if (!stream)
        return must_printf("%s: %s", file, strerror(errno));
    for (int number = 1; fgets(line, sizeof(line), stream); number++) {
        if (!read_line(settings, line, parent)) {
            fclose(stream);
            return must_printf("%s:%d: expected 'key: value', '- item' or a comment", file, number);
        }
    }
    fclose(stream);
    return NULL;
}

/* ---- Converting ---- */

struct unit {
    const char *name;
    double factor;
};

/* Sum of numbers with units: "1h30m", "64Mi". `bare` is the factor of a number without one. */
static bool parse_quantity(const char *text, const struct unit *units, double bare, double *ret)
{
    *ret = 0;
    if (!isdigit((unsigned char)*text))
        return false;
    while (*text) {
        char *end;
        double number = strtod(text, &end);
        size_t len = strcspn(end, "0123456789");
        double factor = len == 0 ? bare : 0;

        for (const struct unit *unit = units; unit->name; unit++)
            if (strlen(unit->name) == len && strncmp(end, unit->name, len) == 0)
                factor = unit->factor;
        if (end == text || factor == 0)
            return false;
        *ret += number * factor;
        text = end + len;
    }
    return true;
}

static bool parse_duration_ms(const char *text, int64_t *ret)
{
    static const struct unit units[] = {{"ms", 1},     {"s", 1e3},     {"m", 60e3},
                                        {"h", 3600e3}, {"d", 86400e3}, {NULL, 0}};
    double value;

    if (!parse_quantity(text, units, 1e3, &value))
        return false;
    *ret = (int64_t)value;
    return true;
}

static bool parse_size(const char *text, uint64_t *ret)
{
    static const struct unit units[] = {{"B", 1},           {"k", 1e3},
                                        {"K", 1e3},         {"M", 1e6},
                                        {"G", 1e9},         {"kB", 1e3},
                                        {"KB", 1e3},        {"MB", 1e6},
                                        {"GB", 1e9},        {"Ki", 1024.0},
                                        {"Mi", 1048576.0},  {"Gi", 1073741824},
                                        {"KiB", 1024.0},    {"Ti", 1099511627776.0},
                                        {"MiB", 1048576.0}, {"GiB", 1073741824},
                                        {NULL, 0}};
    double value;

    if (!parse_quantity(text, units, 1, &value))
        return false;
    *ret = (uint64_t)value;
    return true;
}

static bool parse_bool(const char *text, int32_t *ret)
{
    *ret = strcmp(text, "true") == 0 || strcmp(text, "yes") == 0 || strcmp(text, "on") == 0;
    return *ret || strcmp(text, "false") == 0 || strcmp(text, "no") == 0 ||
           strcmp(text, "off") == 0;
}

static bool parse_int(const char *text, int64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == 0;
}

/* ---- Binding ---- */

const struct fng_config_key *plugin_key(const struct fng_plugin *plugin, size_t i)
{
    return (const void *)((const char *)plugin->config + i * plugin->config_stride);
}

static void *bound_alloc(struct bound *bound, size_t size)
{
    void **place = LIST_PUSH(bound);

    return *place = must_zalloc(size);
}

static struct fng_str bound_str(struct bound *bound, const char *text)
{
    size_t len = strlen(text);

    return fng_str_make(memcpy(bound_alloc(bound, len + 1), text, len), len);
}

void bound_free(struct bound *bound)
{
    for (size_t i = 0; i < bound->count; i++)
        free(bound->items[i]);
    free(bound->items);
    memset(bound, 0, sizeof(*bound));
}

/* Writes one scalar; *ret_size is what the bounds of the key speak about. */
static bool bind_scalar(const struct fng_config_key *key, const char *text, char *place,
                        struct bound *bound, int64_t *ret_size)
{
    struct fng_str str;
    uint64_t bytes;
    int32_t truth;

    switch (key->type) {
    case FNG_CONF_STR:
        str = bound_str(bound, text);
        memcpy(place, &str, sizeof(str));
        *ret_size = (int64_t)str.len;
        return true;
    case FNG_CONF_BOOL:
        if (!parse_bool(text, &truth))
            return false;
        memcpy(place, &truth, sizeof(truth));
        *ret_size = key->min;
        return true;
    case FNG_CONF_SIZE:
        if (!parse_size(text, &bytes))
            return false;
        memcpy(place, &bytes, sizeof(bytes));
        *ret_size = (int64_t)bytes;
        return true;
    default:
        if (key->type == FNG_CONF_INT ? !parse_int(text, ret_size)
                                      : !parse_duration_ms(text, ret_size))
            return false;
        memcpy(place, ret_size, sizeof(*ret_size));
        return true;
    }
}

static void bind_list(const struct settings *settings, const struct fng_config_key *key,
                      char *place, struct bound *bound, int64_t *ret_count)
{
    bool is_map = key->type == FNG_CONF_MAP;
    struct fng_str *items = bound_alloc(bound, settings->count * sizeof(struct fng_str));
    struct fng_kv *pairs = bound_alloc(bound, settings->count * sizeof(struct fng_kv));
    struct fng_str_list list = {items, 0};
    struct fng_kv_list map = {pairs, 0};

    for (size_t i = 0; i < settings->count; i++) {
        const struct setting *setting = &settings->items[i];

        if (strcmp(setting->key, key->name) != 0)
            continue;
        if (!is_map)
            items[list.count++] = bound_str(bound, setting->value);
        else if (setting->sub)
            pairs[map.count++] =
                (struct fng_kv){bound_str(bound, setting->sub), bound_str(bound, setting->value)};
    }
    if (is_map)
        memcpy(place, &map, sizeof(map));
    else
        memcpy(place, &list, sizeof(list));
    *ret_count = (int64_t)(is_map ? map.count : list.count);
}

static const char *last_value(const struct settings *settings, const char *key)
{
    const char *value = NULL;

    for (size_t i = 0; i < settings->count; i++)
        if (strcmp(settings->items[i].key, key) == 0)
            value = settings->items[i].value;
    return value;
}

static char *bind_key(const struct settings *settings, const struct fng_config_key *key, char *self,
                      struct bound *bound)
{
    const char *value = last_value(settings, key->name);
    char *place = self + key->offset;
    int64_t size = 0;

    if (!value && (key->flags & FNG_CONF_REQUIRED))
        return must_printf("'%s' is required: give -o %s=VALUE", key->name, key->name);
    if (key->type == FNG_CONF_LIST && !value && key->default_value) {
        struct settings preset = {NULL, 0};

        push_value(&preset, fng_str_from(key->name), fng_str_from(key->default_value));
        bind_list(&preset, key, place, bound, &size);
        settings_free(&preset);
    } else if (key->type == FNG_CONF_LIST || key->type == FNG_CONF_MAP)
        bind_list(settings, key, place, bound, &size);
    else if (!value && !key->default_value)
        return NULL;
    else if (!bind_scalar(key, value ? value : key->default_value, place, bound, &size))
        return must_printf("'%s': '%s' is not a value of its type", key->name,
                           value ? value : key->default_value);

    if ((key->min != 0 || key->max != 0) && (size < key->min || size > key->max))
        return must_printf("'%s' must be between %lld and %lld, got %lld", key->name,
                           (long long)key->min, (long long)key->max, (long long)size);
    return NULL;
}

char *settings_bind(const struct settings *settings, const struct fng_plugin *plugin, void *self,
                    struct bound *bound)
{
    for (size_t i = 0; i < settings->count; i++) {
        size_t k = 0;

        while (k < plugin->config_count &&
               strcmp(plugin_key(plugin, k)->name, settings->items[i].key) != 0)
            k++;
        if (k == plugin->config_count)
            return must_printf("'%s' is no key of %s", settings->items[i].key, plugin->name);
    }
    for (size_t i = 0; i < plugin->config_count; i++) {
        char *wrong = bind_key(settings, plugin_key(plugin, i), self, bound);

        if (wrong)
            return wrong;
    }
    return NULL;
}

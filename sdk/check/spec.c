/* A function's specification as text. */
#include "spec.h"

#include <stdlib.h>

struct lines {
    char **items;
    size_t count;
};

static void add_line(struct lines *lines, const char *kind, struct fng_str key,
                     struct fng_str value)
{
    char **place = LIST_PUSH(lines);

    *place = must_printf("%s\t%.*s\t%.*s\n", kind, STR_ARG(key), STR_ARG(value));
}

static void add_pairs(struct lines *lines, const char *kind, struct fng_kv_list pairs)
{
    for (size_t i = 0; i < pairs.count; i++)
        add_line(lines, kind, pairs.items[i].key, pairs.items[i].value);
}

static void add_names(struct lines *lines, const char *kind, struct fng_str_list names)
{
    for (size_t i = 0; i < names.count; i++)
        add_line(lines, kind, names.items[i], FNG_STR(""));
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Joins and frees them. */
static char *join(struct lines *lines)
{
    size_t len = 0, at = 0;
    char *text;

    for (size_t i = 0; i < lines->count; i++)
        len += strlen(lines->items[i]);
    text = must_realloc(NULL, len + 1);
    for (size_t i = 0; i < lines->count; i++) {
        size_t line_len = strlen(lines->items[i]);

        memcpy(text + at, lines->items[i], line_len);
        at += line_len;
        free(lines->items[i]);
    }
    text[len] = 0;
    free(lines->items);
    return text;
}

char *spec_text(const struct fng_function *function)
{
    struct lines lines = {NULL, 0};

    add_line(&lines, "image", FNG_STR(""), function->image);
    add_line(&lines, "env_process", FNG_STR(""), function->env_process);
    add_pairs(&lines, "env", function->env);
    add_pairs(&lines, "label", function->labels);
    add_pairs(&lines, "annotation", function->annotations);
    add_pairs(&lines, "limit", function->limits);
    add_pairs(&lines, "request", function->requests);
    add_names(&lines, "secret", function->secrets);
    add_names(&lines, "constraint", function->constraints);
    qsort(lines.items, lines.count, sizeof(*lines.items), compare_lines);
    return join(&lines);
}

/* Does a whole line of `text` equal this one, its line end included? */
static bool has_line(const char *text, struct fng_str line)
{
    for (; *text; text = strchr(text, '\n') + 1)
        if (strncmp(text, line.ptr, line.len) == 0)
            return true;
    return false;
}

char *spec_missing(const char *wanted, const char *told)
{
    while (*wanted) {
        const char *end = strchr(wanted, '\n');
        struct fng_str line = {wanted, (size_t)(end + 1 - wanted)};

        if (!has_line(told, line))
            return must_copy(fng_str_make(wanted, (size_t)(end - wanted)));
        wanted = end + 1;
    }
    return NULL;
}

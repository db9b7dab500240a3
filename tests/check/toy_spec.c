/* The toy provider's copy of a specification. */
#include "toy_spec.h"

#include <stdlib.h>

/* Which list of the function a line belongs to, and the memory behind it. */
static struct fng_kv *list_of(struct toy_spec *spec, struct fng_function *function,
                              const char *kind, struct fng_kv_list **ret)
{
    if (strcmp(kind, "env") == 0)
        return *ret = &function->env, spec->env;
    if (strcmp(kind, "label") == 0)
        return *ret = &function->labels, spec->labels;
    if (strcmp(kind, "annotation") == 0)
        return *ret = &function->annotations, spec->annotations;
    return NULL;
}

static void read_line(struct toy_spec *spec, struct fng_function *function, char *line)
{
    char *kind = strsep(&line, "\t"), *key = strsep(&line, "\t");
    struct fng_kv_list *list;
    struct fng_kv *items = list_of(spec, function, kind, &list);

    if (items) {
        items[list->count++] = (struct fng_kv){fng_str_from(key), fng_str_from(line)};
        list->items = items;
    } else if (strcmp(kind, "image") == 0) {
        function->image = fng_str_from(line);
    } else if (strcmp(kind, "env_process") == 0) {
        function->env_process = fng_str_from(line);
    }
}

void toy_spec_read(struct toy_spec *spec, const char *text, struct fng_function *function)
{
    size_t count = 1;
    char *rest, *line;

    spec->lines = rest = must_copy(fng_str_from(text));
    for (const char *c = text; *c; c++)
        count += *c == '\n';
    spec->env = must_zalloc(count * sizeof(*spec->env));
    spec->labels = must_zalloc(count * sizeof(*spec->labels));
    spec->annotations = must_zalloc(count * sizeof(*spec->annotations));
    while ((line = strsep(&rest, "\n")) != NULL)
        if (*line)
            read_line(spec, function, line);
}

void toy_spec_free(struct toy_spec *spec)
{
    free(spec->lines);
    free(spec->env);
    free(spec->labels);
    free(spec->annotations);
    memset(spec, 0, sizeof(*spec));
}

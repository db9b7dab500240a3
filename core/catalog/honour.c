/* What a backend cannot honour, by the capability words of its plugin. Such a field is refused in a
 * strict configuration; otherwise the function carries a warning for each, behind those that the
 * provider sends itself. */
#include "catalog/internal.h"

static bool has_label_true(const struct fng_function *function, struct str label)
{
    return str_eq(fng_kv_find(function->labels, label), STR("true"));
}

const char *honour_next(const struct instance *owner, const struct fng_function *function,
                        size_t *pos)
{
    const struct {
        const char *field;
        bool is_asked;
        uint32_t capability;
    } words[] = {
        {"constraints", function->constraints.count > 0, FNG_PROVIDER_CAN_CONSTRAINTS},
        {"readOnlyRootFilesystem", function->flags & FNG_FUNCTION_READ_ONLY_ROOT,
         FNG_PROVIDER_CAN_READ_ONLY_ROOT},
        {"limits.memory", fng_kv_find(function->limits, STR("memory")).len > 0,
         FNG_PROVIDER_CAN_LIMIT_MEMORY},
        {"limits.cpu", fng_kv_find(function->limits, STR("cpu")).len > 0,
         FNG_PROVIDER_CAN_LIMIT_CPU},
        {"com.openfaas.scale.zero", has_label_true(function, STR("com.openfaas.scale.zero")),
         FNG_PROVIDER_CAN_SCALE_TO_ZERO},
    };
    uint32_t can = instance_descriptor(owner)->capabilities;

    while (*pos < sizeof(words) / sizeof(words[0])) {
        size_t i = (*pos)++;

        if (words[i].is_asked && !(can & words[i].capability))
            return words[i].field;
    }
    return NULL;
}

static void push(struct catalog_fn *fn, char *text)
{
    fn->warnings = xrealloc(fn->warnings, (fn->warnings_count + 1) * sizeof(*fn->warnings));
    fn->warnings[fn->warnings_count++] = text;
}

static void cut(struct catalog_fn *fn, size_t count)
{
    while (fn->warnings_count > count)
        mem_free(fn->warnings[--fn->warnings_count]);
}

/* The provider speaks of the field itself, and knows better what becomes of it. */
static bool is_said(const struct catalog_fn *fn, const char *field)
{
    for (size_t i = 0; i < fn->warnings_said; i++)
        if (strstr(fn->warnings[i], field))
            return true;
    return false;
}

void honour_refresh(struct catalog_fn *fn)
{
    const char *field;
    size_t pos = 0;

    cut(fn, fn->warnings_said);
    while ((field = honour_next(fn->owner, fn_spec_get(fn->spec), &pos)))
        if (!is_said(fn, field))
            push(fn, xasprintf("%s is ignored: provider %s cannot honour it", field,
                               instance_name(fn->owner)));
}

void catalog_set_warnings(struct catalog_fn *fn, const struct fng_str *warnings, size_t count)
{
    cut(fn, 0);
    for (size_t i = 0; i < count; i++)
        push(fn, str_dup(str_of(warnings[i])));
    fn->warnings_said = count;
    honour_refresh(fn);
}

void honour_forget(struct catalog_fn *fn)
{
    cut(fn, 0);
    mem_free(fn->warnings);
}

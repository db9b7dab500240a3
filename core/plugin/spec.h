/* A function's spec as the core keeps it: a deep copy of struct fng_function, immutable and
 * reference-counted. Any thread. */
#ifndef PLUGIN_SPEC_H
#define PLUGIN_SPEC_H

#include <fngate/provider.h>

#include "base/str.h"

struct fn_spec;

struct fn_spec *fn_spec_new(const struct fng_function *function);
struct fn_spec *fn_spec_ref(struct fn_spec *spec);
void fn_spec_unref(struct fn_spec *spec); /* NULL is allowed */
const struct fng_function *fn_spec_get(const struct fn_spec *spec);
/* A copy with other replicas and generation. */
struct fn_spec *fn_spec_with(const struct fn_spec *spec, uint32_t replicas, uint64_t generation);

static inline struct str str_of(struct fng_str s)
{
    return str_make(s.ptr, s.len);
}

static inline struct fng_str fng_of(struct str s)
{
    return fng_str_make(s.ptr, s.len);
}

/* Value of a key in a list of pairs; ptr NULL when there is none. */
struct str fng_kv_find(struct fng_kv_list list, struct str key);

#endif

/* A growable array of any element type: struct { T *items; size_t count, cap; }.
 *
 *   VEC(struct endpoint) eps = {0};
 *   *VEC_PUSH(&eps) = ep;
 *   VEC_FREE(&eps);
 *
 * Aborts when memory is short: control code only. */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include "base/mem.h"

#define VEC(type)                                                                                  \
    struct {                                                                                       \
        type *items;                                                                               \
        size_t count, cap;                                                                         \
    }

/* Address of a new, zeroed last element. */
#define VEC_PUSH(v)                                                                                \
    ((v)->items = vec_grow((v)->items, (v)->count, &(v)->cap, sizeof(*(v)->items)),                \
     &(v)->items[(v)->count++])

#define VEC_FREE(v) (mem_free((v)->items), (void)((v)->items = NULL, (v)->count = (v)->cap = 0))

/* Removes element i and keeps the order. */
#define VEC_REMOVE(v, i)                                                                           \
    (memmove(&(v)->items[i], &(v)->items[(i) + 1], ((v)->count - (i)-1) * sizeof(*(v)->items)),    \
     (void)(v)->count--)

static inline void *vec_grow(void *items, size_t count, size_t *cap, size_t size)
{
    if (count == *cap) {
        *cap = *cap ? *cap * 2 : 8;
        items = xrealloc(items, *cap * size);
    }
    memset((char *)items + count * size, 0, size);
    return items;
}

#endif

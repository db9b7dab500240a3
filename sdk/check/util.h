/* Small helpers of the conformance tool: memory that aborts when short, growing arrays, clocks. */
#ifndef CHECK_UTIL_H
#define CHECK_UTIL_H

#include <fngate/types.h>

#include <stdbool.h>
#include <stdint.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* realloc that aborts when memory is short; fresh bytes are not cleared. */
void *must_realloc(void *ptr, size_t size);
void *must_zalloc(size_t size);
char *must_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* NUL-terminated copy. */
char *must_copy(struct fng_str s);

/* A new zeroed last element of { T *items; size_t count; }. */
#define LIST_PUSH(list)                                                                            \
    ((list)->items = must_realloc((list)->items, ((list)->count + 1) * sizeof(*(list)->items)),    \
     memset(&(list)->items[(list)->count], 0, sizeof(*(list)->items)),                             \
     &(list)->items[(list)->count++])

int64_t now_ms(void);
void sleep_ms(unsigned ms);

/* printf arguments of a fng_str for "%.*s". */
#define STR_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : ""

#endif

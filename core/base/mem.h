/* Memory: owners that can be seen, and pools that are freed at once.
 *
 * x-functions abort when memory is short: for start-up and control code. The request path uses
 * pools and buffers, whose functions return NULL or an error instead. All of them allocate through
 * sys_alloc (base/sys.h), so that tests can make the n-th allocation fail.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/str.h"

#include <stddef.h>

void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *ptr, size_t size) __attribute__((returns_nonnull));
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

/* As malloc, calloc, free, through the seam. */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void mem_free(void *ptr);

/* Frees *p and sets it to NULL. */
#define XFREE(p) (mem_free(*(p)), (void)(*(p) = NULL))

/* AUTO_FREE char *s: freed at the end of the scope unless TAKE_PTR moved it out. */
#define AUTO_FREE __attribute__((cleanup(mem_free_at)))
/* AUTO_CLOSE int fd: closed at the end of the scope when >= 0. */
#define AUTO_CLOSE __attribute__((cleanup(mem_close_at)))
#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })
#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int taken_ = (fd);                                                                         \
        (fd) = -1;                                                                                 \
        taken_;                                                                                    \
    })

void mem_free_at(void *ptr_to_ptr);
void mem_close_at(int *fd);

/* A pool: many small allocations, freed together. One owner, one thread. `max` bounds what it may
 * hold in bytes; 0: no bound. */
struct pool_block;
struct pool {
    struct pool_block *blocks;
    char *next;
    size_t left;
    size_t total;
    size_t max;
};

void pool_init(struct pool *pool, size_t max);
void pool_free(struct pool *pool);
/* NULL when the bound is reached or memory is short. Aligned for any object; not zeroed. */
void *pool_alloc(struct pool *pool, size_t size);
void *pool_zalloc(struct pool *pool, size_t size);
/* Copy with a NUL after it; ptr NULL on failure. */
struct str pool_str(struct pool *pool, struct str s);
struct str pool_printf(struct pool *pool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif

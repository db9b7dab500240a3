/* Aborting allocators, scope clean-up and pools. */
#include "base/mem.h"

#include "base/assert.h"
#include "base/sys.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void out_of_memory(size_t size) __attribute__((noreturn, cold));

static void out_of_memory(size_t size)
{
    fprintf(stderr, "fngate: out of memory (%zu bytes)\n", size);
    abort();
}

void *mem_alloc(size_t size)
{
    return sys_realloc(NULL, size ? size : 1);
}

void *mem_zalloc(size_t size)
{
    void *ptr = mem_alloc(size);

    if (ptr)
        memset(ptr, 0, size);
    return ptr;
}

void mem_free(void *ptr)
{
    free(ptr);
}

void *xmalloc(size_t size)
{
    void *ptr = mem_alloc(size);

    if (!ptr)
        out_of_memory(size);
    return ptr;
}

void *xcalloc(size_t count, size_t size)
{
    void *ptr;

    ASSERT(size == 0 || count <= SIZE_MAX / size);
    ptr = xmalloc(count * size);
    memset(ptr, 0, count * size);
    return ptr;
}

void *xrealloc(void *ptr, size_t size)
{
    void *grown = sys_realloc(ptr, size ? size : 1);

    if (!grown)
        out_of_memory(size);
    return grown;
}

char *xasprintf(const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        out_of_memory(0);
    va_end(args);
    return text;
}

void mem_free_at(void *ptr_to_ptr)
{
    void *ptr;

    memcpy(&ptr, ptr_to_ptr, sizeof(ptr));
    mem_free(ptr);
}

void mem_close_at(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

enum { POOL_BLOCK_MIN = 1024, POOL_BLOCK_MAX = 16384, POOL_ALIGN = 16 };

struct pool_block {
    struct pool_block *next;
    size_t size;
};

void pool_init(struct pool *pool, size_t max)
{
    *pool = (struct pool){.max = max};
}

void pool_free(struct pool *pool)
{
    while (pool->blocks) {
        struct pool_block *block = pool->blocks;

        pool->blocks = block->next;
        mem_free(block);
    }
    pool_init(pool, pool->max);
}

/* A new block that holds at least `size` bytes; each is twice its predecessor up to a maximum. */
static int pool_grow(struct pool *pool, size_t size)
{
    size_t block_size = pool->blocks ? pool->blocks->size * 2 : POOL_BLOCK_MIN;
    struct pool_block *block;

    if (block_size > POOL_BLOCK_MAX)
        block_size = POOL_BLOCK_MAX;
    if (block_size < size)
        block_size = size;
    if (pool->max && pool->total + block_size > pool->max) {
        block_size = size;
        if (size > pool->max || pool->total > pool->max - size)
            return -1;
    }
    block = mem_alloc(sizeof(*block) + block_size);
    if (!block)
        return -1;
    block->next = pool->blocks;
    block->size = block_size;
    pool->blocks = block;
    pool->next = (char *)(block + 1);
    pool->left = block_size;
    pool->total += block_size;
    return 0;
}

void *pool_alloc(struct pool *pool, size_t size)
{
    void *ptr;

    if (size > SIZE_MAX - POOL_ALIGN)
        return NULL;
    size = (size + POOL_ALIGN - 1) & ~(size_t)(POOL_ALIGN - 1);
    if (size > pool->left && pool_grow(pool, size) < 0)
        return NULL;
    ptr = pool->next;
    pool->next += size;
    pool->left -= size;
    return ptr;
}

void *pool_zalloc(struct pool *pool, size_t size)
{
    void *ptr = pool_alloc(pool, size);

    if (ptr)
        memset(ptr, 0, size);
    return ptr;
}

struct str pool_str(struct pool *pool, struct str s)
{
    char *copy = s.len < SIZE_MAX ? pool_alloc(pool, s.len + 1) : NULL;

    if (!copy)
        return STR_NONE;
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return str_make(copy, s.len);
}

struct str pool_printf(struct pool *pool, const char *format, ...)
{
    va_list args, again;
    char *text;
    int len;

    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    text = len < 0 ? NULL : pool_alloc(pool, (size_t)len + 1);
    if (text)
        vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return text ? str_make(text, (size_t)len) : STR_NONE;
}

/* Byte buffer: compacts before it grows, doubles up to its maximum. */
#include "base/buf.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/sys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

enum { BUF_CAP_MIN = 256 };

void buf_init(struct buf *buf, size_t max)
{
    *buf = (struct buf){.max = max};
}

void buf_free(struct buf *buf)
{
    mem_free(buf->mem);
    buf_init(buf, buf->max);
}

static int buf_make_room(struct buf *buf, size_t len)
{
    size_t used = buf_len(buf), cap = buf->cap ? buf->cap : BUF_CAP_MIN;
    char *mem;

    if (buf->cap - buf->tail >= len)
        return 0;
    if (len > SIZE_MAX / 2 - used)
        return -ENOMEM;
    if (buf->head > 0) {
        memmove(buf->mem, buf->mem + buf->head, used);
        buf->head = 0;
        buf->tail = used;
        if (buf->cap - used >= len)
            return 0;
    }
    while (cap - used < len)
        cap *= 2;
    mem = sys_realloc(buf->mem, cap);
    if (!mem)
        return -ENOMEM;
    buf->mem = mem;
    buf->cap = cap;
    return 0;
}

char *buf_reserve(struct buf *buf, size_t len)
{
    if (buf->max && (len > buf->max || buf_len(buf) > buf->max - len))
        return NULL;
    return buf_make_room(buf, len) < 0 ? NULL : buf->mem + buf->tail;
}

void buf_commit(struct buf *buf, size_t len)
{
    ASSERT(len <= buf->cap - buf->tail);
    buf->tail += len;
}

int buf_add(struct buf *buf, const void *data, size_t len)
{
    int err;

    if (len == 0)
        return 0;
    if (buf->max && (len > buf->max || buf_len(buf) > buf->max - len))
        return -ENOSPC;
    err = buf_make_room(buf, len);
    if (err)
        return err;
    memcpy(buf->mem + buf->tail, data, len);
    buf->tail += len;
    return 0;
}

int buf_add_str(struct buf *buf, struct str s)
{
    return buf_add(buf, s.ptr, s.len);
}

int buf_vprintf(struct buf *buf, const char *format, va_list args)
{
    va_list again;
    char *at;
    int len;

    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    ASSERT(len >= 0);
    if (buf->max && ((size_t)len > buf->max || buf_len(buf) > buf->max - (size_t)len))
        return -ENOSPC;
    if (buf_make_room(buf, (size_t)len + 1) < 0)
        return -ENOMEM;
    at = buf->mem + buf->tail;
    vsnprintf(at, (size_t)len + 1, format, args);
    buf->tail += (size_t)len;
    return 0;
}

int buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    int err;

    va_start(args, format);
    err = buf_vprintf(buf, format, args);
    va_end(args);
    return err;
}

void buf_consume(struct buf *buf, size_t len)
{
    ASSERT(len <= buf_len(buf));
    buf->head += len;
    if (buf->head == buf->tail)
        buf->head = buf->tail = 0;
}

void buf_clear(struct buf *buf)
{
    buf->head = buf->tail = 0;
}

char *buf_take(struct buf *buf, size_t *ret_len)
{
    struct str content = buf_str(buf);
    char *copy = str_dup(content);

    if (ret_len)
        *ret_len = content.len;
    buf_clear(buf);
    return copy;
}

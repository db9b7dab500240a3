/* A growable byte buffer that knows its maximum. Bytes are appended at the end and consumed at the
 * front. One owner, one thread. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/str.h"

#include <stddef.h>

struct buf {
    char *mem;
    size_t head; /* first unread byte */
    size_t tail; /* one past the last */
    size_t cap;
    size_t max; /* most unread bytes it may hold; 0: no bound */
};

void buf_init(struct buf *buf, size_t max);
/* Frees the memory; the buffer may be used again. */
void buf_free(struct buf *buf);

static inline size_t buf_len(const struct buf *buf)
{
    return buf->tail - buf->head;
}

static inline struct str buf_str(const struct buf *buf)
{
    return str_make(buf->mem ? buf->mem + buf->head : "", buf_len(buf));
}

/* 0, -ENOSPC when the maximum would be passed, -ENOMEM. Nothing is written on failure. */
int buf_add(struct buf *buf, const void *data, size_t len);
int buf_add_str(struct buf *buf, struct str s);
int buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *buf, const char *format, __builtin_va_list args);
/* Room for `len` more bytes at the returned place, to be confirmed by buf_commit; NULL when there
 * is none. */
char *buf_reserve(struct buf *buf, size_t len);
void buf_commit(struct buf *buf, size_t len);
/* Drops `len` bytes at the front. */
void buf_consume(struct buf *buf, size_t len);
/* Empties it and keeps the memory. */
void buf_clear(struct buf *buf);
/* The content as an owned NUL-terminated string; the buffer is empty afterwards. Aborts when memory
 * is short. */
char *buf_take(struct buf *buf, size_t *ret_len);

#endif

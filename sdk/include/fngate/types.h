/* fngate SDK: the types that cross the plugin boundary.
 *
 * Everything here is plain data: fixed-width integers, size_t, double, pointers to bytes. Structs
 * that may grow begin with their size in bytes; whoever receives one reads min(size, what it knows)
 * and treats the rest as zero. Arrays of such structs carry an element stride. struct fng_str and
 * struct fng_kv are frozen for ever.
 *
 * Ownership never crosses the boundary: what a call receives is borrowed until the call returns,
 * and whoever wants to keep it copies it.
 */
#ifndef FNGATE_TYPES_H
#define FNGATE_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Borrowed bytes. Not NUL-terminated unless a comment says so; ptr may be NULL when len is 0. */
struct fng_str {
    const char *ptr;
    size_t len;
};

/* A key and its value, both borrowed. */
struct fng_kv {
    struct fng_str key;
    struct fng_str value;
};

/* Lists as they are written into a plugin's state by the configuration binding. */
struct fng_str_list {
    const struct fng_str *items;
    size_t count;
};

struct fng_kv_list {
    const struct fng_kv *items;
    size_t count;
};

/* Result of every operation: 0, or one of these error classes. The text that goes with it is
 * recorded by host->fail. The gateway maps classes to HTTP: 404, 409, 400, 503 with Retry-After,
 * 501, 504, 499 (never sent), 429, 500. */
enum {
    FNG_OK = 0,
    FNG_E_INTERNAL = -1,
    FNG_E_NOT_FOUND = -2,
    FNG_E_CONFLICT = -3,    /* it exists already, or the expected version is not the stored one */
    FNG_E_INVALID = -4,     /* the request is wrong; name the field in host->fail */
    FNG_E_UNAVAILABLE = -5, /* the backend cannot be reached now; give retry_after_ms */
    FNG_E_UNSUPPORTED = -6, /* this plugin or this host cannot do it */
    FNG_E_TIMEOUT = -7,
    FNG_E_CANCELLED = -8,
    FNG_E_LIMIT = -9 /* a limit is reached: too many, too large */
};

/* A constant string literal as fng_str. */
#ifdef __cplusplus
static inline struct fng_str fng_str_make(const char *ptr, size_t len)
{
    struct fng_str s;
    s.ptr = ptr;
    s.len = len;
    return s;
}
#else
static inline struct fng_str fng_str_make(const char *ptr, size_t len)
{
    struct fng_str s = {ptr, len};
    return s;
}
#endif

#define FNG_STR(literal) fng_str_make("" literal, sizeof(literal) - 1)

/* From a NUL-terminated string; NULL gives the empty string. */
static inline struct fng_str fng_str_from(const char *text)
{
    return fng_str_make(text, text ? strlen(text) : 0);
}

/* 1 when both hold the same bytes, else 0. */
static inline int fng_str_eq(struct fng_str a, struct fng_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

#ifdef __cplusplus
}
#endif

#endif

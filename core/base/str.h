/* Borrowed byte strings. A struct str never owns; it is passed by value and compared by bytes. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *ptr;
    size_t len;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE     ((struct str){NULL, 0})
/* For printf: "%.*s". */
#define STR_ARG(s) (int)(s).len, (s).ptr ? (s).ptr : ""

static inline struct str str_make(const char *ptr, size_t len)
{
    return (struct str){ptr, len};
}

static inline struct str str_from(const char *text)
{
    return (struct str){text, text ? strlen(text) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* ASCII case-insensitive equality, as HTTP field names and codings need it. */
bool str_ieq(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
/* Bytes from `from`, at most `len`; clamped to what there is. */
struct str str_sub(struct str s, size_t from, size_t len);
/* Without leading and trailing spaces and tabs. */
struct str str_trim(struct str s);
/* Index of the first/last c, or -1. */
ptrdiff_t str_find(struct str s, char c);
ptrdiff_t str_rfind(struct str s, char c);
/* <0, 0, >0 in byte order. */
int str_cmp(struct str a, struct str b);

/* Cuts the next element of a list separated by `sep` off *rest, trimmed. False when none is left;
 * empty elements are returned as empty strings. */
bool str_next(struct str *rest, char sep, struct str *ret_item);

/* Decimal digits only. False when empty, not digits, or larger than max. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *ret);
bool str_to_i64(struct str s, int64_t *ret);

/* "30s", "5m", "1h30m", "250ms"; a bare number is seconds. Result in milliseconds; false when it
 * is not a duration or does not fit. */
bool str_to_duration_ms(struct str s, int64_t *ret_ms);
/* "4096", "64Mi", "10MB", "1Gi", "512k"; Kubernetes suffixes, an optional B. */
bool str_to_size(struct str s, uint64_t *ret_bytes);

/* Number of single-character edits between a and b, at most `limit` + 1. For "did you mean". */
unsigned str_distance(struct str a, struct str b, unsigned limit);

/* Owned copy, NUL-terminated; aborts when memory is short. */
char *str_dup(struct str s);

#endif

/* Which bytes may stand where in HTTP messages, as one table, and a fast way over plain text. */
#ifndef HTTP_CHARS_H
#define HTTP_CHARS_H

#include "base/str.h"

enum char_class {
    CHAR_TOKEN = 1,  /* RFC 9110 section 5.6.2 */
    CHAR_HOST = 2,   /* RFC 3986 reg-name: unreserved and sub-delims; without '%' */
    CHAR_DIGIT = 4,  /* 0-9 */
    CHAR_HEX = 8,    /* 0-9 a-f A-F */
    CHAR_VALUE = 16, /* field-vchar, space and tab */
    CHAR_TARGET = 32 /* visible ASCII without '#' */
};

extern const uint8_t char_table[256];

static inline bool char_is(char c, unsigned classes)
{
    return (char_table[(unsigned char)c] & classes) != 0;
}

static inline bool str_is_all(struct str s, unsigned classes)
{
    for (size_t i = 0; i < s.len; i++)
        if (!char_is(s.ptr[i], classes))
            return false;
    return true;
}

/* Value of a hexadecimal digit that is known to be one. */
static inline unsigned char_hex(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

/* Number of bytes at the front of `s` that are CHAR_VALUE. */
size_t str_value_run(struct str s);
/* False when a '%' is not followed by two hexadecimal digits. */
bool str_has_good_escapes(struct str s);

#endif

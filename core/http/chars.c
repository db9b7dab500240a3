/* The table of byte classes. */
#include "http/chars.h"

#include "http/h1.h"

enum {
    V = CHAR_VALUE,
    T = CHAR_VALUE | CHAR_TARGET,
    TOK = CHAR_TOKEN | T,
    SUB = CHAR_HOST | T,
    BOTH = CHAR_TOKEN | CHAR_HOST | T,
    HEX = BOTH | CHAR_HEX,
    DIG = HEX | CHAR_DIGIT
};

const uint8_t char_table[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = BOTH,
    ['"'] = T,
    ['#'] = V | CHAR_TOKEN,
    ['$'] = BOTH,
    ['%'] = TOK,
    ['&'] = BOTH,
    ['\''] = BOTH,
    ['('] = SUB,
    [')'] = SUB,
    ['*'] = BOTH,
    ['+'] = BOTH,
    [','] = SUB,
    ['-'] = BOTH,
    ['.'] = BOTH,
    ['/'] = T,
    ['0' ... '9'] = DIG,
    [':'] = T,
    [';'] = SUB,
    ['<'] = T,
    ['='] = SUB,
    ['>'] = T,
    ['?'] = T,
    ['@'] = T,
    ['A' ... 'F'] = HEX,
    ['G' ... 'Z'] = BOTH,
    ['['] = T,
    ['\\'] = T,
    [']'] = T,
    ['^'] = TOK,
    ['_'] = BOTH,
    ['`'] = TOK,
    ['a' ... 'f'] = HEX,
    ['g' ... 'z'] = BOTH,
    ['{'] = T,
    ['|'] = TOK,
    ['}'] = T,
    ['~'] = BOTH,
    [0x80 ... 0xff] = V,
};

/* True when one of the eight bytes is below 0x20 or 0x7f. Bytes above 0x7f may be reported too, as
 * borrows travel upwards: the caller looks again byte by byte. */
static inline bool word_may_hold_control(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t del = word ^ (ones * 0x7f);

    return (((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & high;
}

size_t str_value_run(struct str s)
{
    size_t i = 0;
    uint64_t word;

    for (;;) {
        for (; i + sizeof(word) <= s.len; i += sizeof(word)) {
            memcpy(&word, s.ptr + i, sizeof(word));
            if (word_may_hold_control(word))
                break;
        }
        for (size_t end = i + sizeof(word); i < end; i++)
            if (i == s.len || !char_is(s.ptr[i], CHAR_VALUE))
                return i;
    }
}

bool str_has_good_escapes(struct str s)
{
    const char *end = s.ptr + s.len;

    for (const char *at = s.ptr; s.len && (at = memchr(at, '%', (size_t)(end - at))); at += 3) {
        if (end - at < 3 || !char_is(at[1], CHAR_HEX) || !char_is(at[2], CHAR_HEX))
            return false;
        if (at + 3 == end)
            return true;
    }
    return true;
}

bool http_is_token(struct str s)
{
    return s.len > 0 && str_is_all(s, CHAR_TOKEN);
}

bool http_is_field_value(struct str s)
{
    return str_value_run(s) == s.len;
}

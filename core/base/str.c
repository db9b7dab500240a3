/* Byte strings: comparing, cutting, numbers with units. */
#include "base/str.h"

#include "base/mem.h"

bool str_ieq(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i]))
            return false;
    return true;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_eq(str_make(s.ptr, prefix.len), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.len >= suffix.len &&
           str_eq(str_make(s.ptr + (s.len - suffix.len), suffix.len), suffix);
}

struct str str_sub(struct str s, size_t from, size_t len)
{
    if (from > s.len)
        from = s.len;
    if (len > s.len - from)
        len = s.len - from;
    return str_make(s.ptr + from, len);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = str_make(s.ptr + 1, s.len - 1);
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

ptrdiff_t str_find(struct str s, char c)
{
    const char *at = s.len ? memchr(s.ptr, c, s.len) : NULL;

    return at ? at - s.ptr : -1;
}

ptrdiff_t str_rfind(struct str s, char c)
{
    for (size_t i = s.len; i > 0; i--)
        if (s.ptr[i - 1] == c)
            return (ptrdiff_t)(i - 1);
    return -1;
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int diff = n ? memcmp(a.ptr, b.ptr, n) : 0;

    if (diff != 0)
        return diff;
    return a.len < b.len ? -1 : a.len > b.len;
}

bool str_next(struct str *rest, char sep, struct str *ret_item)
{
    ptrdiff_t at;

    if (!rest->ptr)
        return false;
    at = str_find(*rest, sep);
    if (at < 0) {
        *ret_item = str_trim(*rest);
        *rest = STR_NONE;
        return true;
    }
    *ret_item = str_trim(str_make(rest->ptr, (size_t)at));
    *rest = str_sub(*rest, (size_t)at + 1, rest->len);
    return true;
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.ptr[i] - '0';

        if (digit > 9 || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
        if (value > max)
            return false;
    }
    *ret = value;
    return true;
}

bool str_to_i64(struct str s, int64_t *ret)
{
    bool negative = s.len > 0 && s.ptr[0] == '-';
    uint64_t value;

    if (negative)
        s = str_sub(s, 1, s.len);
    if (!str_to_u64(s, INT64_MAX, &value))
        return false;
    *ret = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

/* Cuts leading digits with an optional fraction off *rest: number = digits / 10^scale. */
static bool cut_decimal(struct str *rest, uint64_t *ret_digits, unsigned *ret_scale)
{
    uint64_t digits = 0;
    unsigned scale = 0;
    bool in_fraction = false;
    size_t i, seen = 0;

    for (i = 0; i < rest->len; i++) {
        unsigned digit = (unsigned)(unsigned char)rest->ptr[i] - '0';

        if (rest->ptr[i] == '.' && !in_fraction) {
            in_fraction = true;
            continue;
        }
        if (digit > 9)
            break;
        if (digits > (UINT64_MAX - digit) / 10 || (in_fraction && scale >= 9))
            return false;
        digits = digits * 10 + digit;
        scale += in_fraction;
        seen++;
    }
    *rest = str_sub(*rest, i, rest->len);
    *ret_digits = digits;
    *ret_scale = scale;
    return seen > 0;
}

/* digits / 10^scale * unit, refused when it does not fit. */
static bool scale_up(uint64_t digits, unsigned scale, uint64_t unit, uint64_t max, uint64_t *ret)
{
    unsigned __int128 value = (unsigned __int128)digits * unit;

    while (scale-- > 0)
        value /= 10;
    if (value > max)
        return false;
    *ret = (uint64_t)value;
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* Cuts the unit, all letters at the front of *rest, and looks it up. */
static bool cut_unit(struct str *rest, const struct unit *units, uint64_t *ret_factor)
{
    size_t n = 0;

    while (n < rest->len && ascii_lower(rest->ptr[n]) >= 'a' && ascii_lower(rest->ptr[n]) <= 'z')
        n++;
    for (; units->name; units++) {
        if (str_eq(str_from(units->name), str_make(rest->ptr, n))) {
            *ret_factor = units->factor;
            *rest = str_sub(*rest, n, rest->len);
            return true;
        }
    }
    return false;
}

bool str_to_duration_ms(struct str s, int64_t *ret_ms)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};
    struct str rest = s;
    uint64_t seconds, total = 0;

    if (str_to_u64(s, INT64_MAX / 1000, &seconds)) {
        *ret_ms = (int64_t)seconds * 1000;
        return true;
    }
    if (s.len == 0)
        return false;
    while (rest.len > 0) {
        uint64_t digits, factor, part;
        unsigned scale;

        if (!cut_decimal(&rest, &digits, &scale) || !cut_unit(&rest, units, &factor) ||
            !scale_up(digits, scale, factor, INT64_MAX, &part) || total > INT64_MAX - part)
            return false;
        total += part;
    }
    *ret_ms = (int64_t)total;
    return true;
}

bool str_to_size(struct str s, uint64_t *ret_bytes)
{
    static const struct unit units[] = {{"", 1},
                                        {"k", 1000},
                                        {"K", 1000},
                                        {"M", 1000000},
                                        {"G", 1000000000},
                                        {"T", 1000000000000},
                                        {"Ki", UINT64_C(1) << 10},
                                        {"Mi", UINT64_C(1) << 20},
                                        {"Gi", UINT64_C(1) << 30},
                                        {"Ti", UINT64_C(1) << 40},
                                        {NULL, 0}};
    struct str rest = s;
    uint64_t digits, factor;
    unsigned scale;

    if (str_ends(rest, STR("B")))
        rest.len--;
    return cut_decimal(&rest, &digits, &scale) && cut_unit(&rest, units, &factor) &&
           rest.len == 0 && scale_up(digits, scale, factor, UINT64_MAX, ret_bytes);
}

unsigned str_distance(struct str a, struct str b, unsigned limit)
{
    enum { LEN_MAX = 64 };
    unsigned row[LEN_MAX + 1];

    if (a.len > LEN_MAX || b.len > LEN_MAX)
        return limit + 1;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            unsigned best = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b.len] > limit ? limit + 1 : row[b.len];
}

char *str_dup(struct str s)
{
    char *copy = xmalloc(s.len + 1);

    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

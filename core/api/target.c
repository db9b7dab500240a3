/* Paths, queries, times. */
#include "api/target.h"

#include <time.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "%XY" at the front of `s` stands for, or -1. */
static int escape_at(struct str s)
{
    if (s.len < 3 || hex(s.ptr[1]) < 0 || hex(s.ptr[2]) < 0)
        return -1;
    return hex(s.ptr[1]) << 4 | hex(s.ptr[2]);
}

static const char *check_segments(struct str path)
{
    struct str rest = str_sub(path, 1, path.len), segment;

    while (rest.len) {
        ptrdiff_t slash = str_find(rest, '/');

        segment = slash < 0 ? rest : str_sub(rest, 0, (size_t)slash);
        rest = slash < 0 ? STR("") : str_sub(rest, (size_t)slash + 1, rest.len);
        if (segment.len == 0)
            return "the path holds an empty segment";
        if (str_eq(segment, STR(".")) || str_eq(segment, STR("..")))
            return "the path holds a dot segment";
    }
    return NULL;
}

const char *path_normalise(struct pool *pool, struct str raw, struct str *ret)
{
    char *path = pool_alloc(pool, raw.len + 1);
    size_t len = 0;

    if (!path)
        return "the path does not fit into memory";
    if (raw.len == 0 || raw.ptr[0] != '/')
        return "the path does not begin with a slash";
    for (size_t i = 0; i < raw.len; i++) {
        int c = (unsigned char)raw.ptr[i];

        if (c == '%') {
            c = escape_at(str_sub(raw, i, raw.len));
            if (c < 0)
                return "the path holds a broken percent-escape";
            if (c == '/')
                return "the path holds an encoded slash";
            i += 2;
        }
        if (c < 0x20 || c == 0x7f || c == '\\')
            return "the path holds a control byte or a backslash";
        path[len++] = (char)c;
    }
    *ret = str_make(path, len);
    if (len > 1 && path[len - 1] == '/')
        ret->len--;
    return check_segments(str_make(path, len));
}

bool path_matches(const char *pattern, struct str path, struct str *ret_name)
{
    const char *brace = strchr(pattern, '{');
    struct str head;

    if (!brace)
        return str_eq(path, str_from(pattern));
    head = str_make(pattern, (size_t)(brace - pattern));
    if (!str_starts(path, head) || path.len == head.len)
        return false;
    *ret_name = str_sub(path, head.len, path.len);
    return str_find(*ret_name, '/') < 0;
}

/* Broken escapes stay as they are: they fail whatever grammar the value has. */
static struct str query_decode(struct pool *pool, struct str raw)
{
    char *text = pool_alloc(pool, raw.len + 1);
    size_t len = 0;

    if (!text)
        return STR_NONE;
    for (size_t i = 0; i < raw.len; i++) {
        int c = raw.ptr[i] == '%' ? escape_at(str_sub(raw, i, raw.len)) : -1;

        if (c >= 0)
            i += 2;
        else
            c = raw.ptr[i] == '+' ? ' ' : raw.ptr[i];
        text[len++] = (char)c;
    }
    return str_make(text, len);
}

struct str query_get(struct pool *pool, struct str query, struct str name)
{
    struct str pair, raw = STR_NONE;

    while (str_next(&query, '&', &pair)) {
        ptrdiff_t equals = str_find(pair, '=');
        struct str key = equals < 0 ? pair : str_sub(pair, 0, (size_t)equals);

        if (str_eq(key, name))
            raw = equals < 0 ? STR("") : str_sub(pair, (size_t)equals + 1, pair.len);
    }
    return raw.ptr ? query_decode(pool, raw) : STR_NONE;
}

/* Takes `digits` decimal digits and the byte `after` (0: none) off the front. */
static bool take_number(struct str *text, size_t digits, char after, int *ret)
{
    size_t len = digits + (after ? 1 : 0);
    uint64_t value;

    if (text->len < len || !str_to_u64(str_sub(*text, 0, digits), 9999, &value) ||
        (after && ascii_lower(text->ptr[digits]) != after))
        return false;
    *ret = (int)value;
    *text = str_sub(*text, len, text->len);
    return true;
}

/* ".25" to 250; digits beyond milliseconds are dropped. */
static bool take_fraction(struct str *text, int64_t *ret_ms)
{
    size_t len = 1;
    int64_t scale = 100;

    if (text->len == 0 || text->ptr[0] != '.')
        return true;
    for (; len < text->len && text->ptr[len] >= '0' && text->ptr[len] <= '9'; len++, scale /= 10)
        *ret_ms += (text->ptr[len] - '0') * scale;
    *text = str_sub(*text, len, text->len);
    return len > 1;
}

static bool take_offset(struct str *text, int64_t *ret_seconds)
{
    char sign = text->len ? text->ptr[0] : '\0';
    int hours, minutes;

    *text = str_sub(*text, 1, text->len);
    *ret_seconds = 0;
    if (sign == 'Z' || sign == 'z')
        return true;
    if ((sign != '+' && sign != '-' && sign != ' ') || !take_number(text, 2, ':', &hours) ||
        !take_number(text, 2, '\0', &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_seconds = (hours * 60 + minutes) * (sign == '-' ? -60 : 60);
    return true;
}

bool time_parse(struct str text, int64_t *ret_ms)
{
    int year, month, day, hour, minute, second;
    int64_t fraction_ms = 0, offset_s, seconds;
    struct tm tm;

    if (!take_number(&text, 4, '-', &year) || !take_number(&text, 2, '-', &month) ||
        !take_number(&text, 2, 't', &day) || !take_number(&text, 2, ':', &hour) ||
        !take_number(&text, 2, ':', &minute) || !take_number(&text, 2, '\0', &second) ||
        !take_fraction(&text, &fraction_ms) || !take_offset(&text, &offset_s) || text.len > 0)
        return false;
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
        return false;
    tm = (struct tm){.tm_year = year - 1900,
                     .tm_mon = month - 1,
                     .tm_mday = day,
                     .tm_hour = hour,
                     .tm_min = minute,
                     .tm_sec = second};
    seconds = timegm(&tm);
    if (tm.tm_mday != day && second < 60)
        return false; /* no such day in that month */
    *ret_ms = (seconds - offset_s) * 1000 + fraction_ms;
    return true;
}

/* Grammar of names. */
#include "api/names.h"

enum {
    LABEL_MAX = 63,
    SECRET_MAX = 253,
    PREFIX_MAX = 253,
    ENV_NAME_MAX = 256,
};

static bool is_lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

bool name_is_label(struct str name)
{
    if (name.len == 0 || name.len > LABEL_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!is_lower_or_digit(name.ptr[i]) && name.ptr[i] != '-')
            return false;
    return name.ptr[0] != '-' && name.ptr[name.len - 1] != '-';
}

/* Alphanumeric at both ends, '-', '_' and '.' inside. */
static bool is_qualified(struct str name, size_t max)
{
    if (name.len == 0 || name.len > max)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!is_alnum(name.ptr[i]) && !memchr("-_.", name.ptr[i], 3))
            return false;
    return is_alnum(name.ptr[0]) && is_alnum(name.ptr[name.len - 1]);
}

bool name_is_secret(struct str name)
{
    return is_qualified(name, SECRET_MAX) && !memmem(name.ptr, name.len, "..", 2);
}

bool name_is_label_key(struct str key)
{
    ptrdiff_t slash = str_find(key, '/');

    if (slash < 0)
        return is_qualified(key, LABEL_MAX);
    return is_qualified(str_sub(key, 0, (size_t)slash), PREFIX_MAX) &&
           is_qualified(str_sub(key, (size_t)slash + 1, key.len), LABEL_MAX);
}

bool name_is_env(struct str name)
{
    if (name.len == 0 || name.len > ENV_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] <= ' ' || name.ptr[i] > '~' || name.ptr[i] == '=')
            return false;
    return true;
}

bool text_is_line(struct str text, size_t max)
{
    if (text.len > max)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 0x7f)
            return false;
    return true;
}

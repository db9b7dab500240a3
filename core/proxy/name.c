/* Names in the path: "/function/NAME[.NS][/path]". Nothing is decoded: a percent sign, a dot
 * segment or a NUL breaks the grammar, so that no two spellings can mean one function. */
#include "proxy/exchange.h"

enum { LABEL_MAX = 63 };

static bool is_label(struct str s)
{
    if (s.len == 0 || s.len > LABEL_MAX || s.ptr[0] == '-' || s.ptr[s.len - 1] == '-')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
            return false;
    }
    return true;
}

bool proxy_name_parse(struct str path, struct proxy_name *ret)
{
    struct str prefix = STR("/function/"), full;
    ptrdiff_t slash, dot;

    if (!str_starts(path, prefix))
        return false;
    full = str_sub(path, prefix.len, path.len);
    slash = str_find(full, '/');
    ret->rest = slash < 0 ? STR_NONE : str_sub(full, (size_t)slash, full.len);
    if (slash >= 0)
        full.len = (size_t)slash;
    dot = str_rfind(full, '.');
    ret->name = dot < 0 ? full : str_sub(full, 0, (size_t)dot);
    ret->ns = dot < 0 ? STR_NONE : str_sub(full, (size_t)dot + 1, full.len);
    return is_label(ret->name) && (dot < 0 || is_label(ret->ns));
}

/* Looking a path up in the table of routes. */
#include "api/routes.h"

#include <stdio.h>

static const struct route routes[] = {
#define X(verb, pattern, permission, handler)                                                      \
    {HTTP_##verb, {pattern, sizeof(pattern) - 1}, permission, handler},
    ROUTE_TABLE(X)
#undef X
};

static const char *const method_names[] = {
    [HTTP_OTHER] = "",        [HTTP_GET] = "GET",        [HTTP_HEAD] = "HEAD",
    [HTTP_POST] = "POST",     [HTTP_PUT] = "PUT",        [HTTP_PATCH] = "PATCH",
    [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS"};

static bool is_segment(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = ascii_lower(s.ptr[i]);

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return s.len > 0 && !str_eq(s, STR(".")) && !str_eq(s, STR(".."));
}

static bool path_matches(struct str pattern, struct str path, struct str *ret_name)
{
    struct str prefix;

    *ret_name = STR("");
    if (!str_ends(pattern, STR("{}")))
        return str_eq(pattern, path);
    prefix = str_sub(pattern, 0, pattern.len - 2);
    if (!str_starts(path, prefix))
        return false;
    *ret_name = str_sub(path, prefix.len, path.len);
    return is_segment(*ret_name);
}

static void add_allowed(char allow[64], enum http_method method)
{
    size_t used = strlen(allow);

    snprintf(allow + used, 64 - used, "%s%s", used ? ", " : "", method_names[method]);
}

const struct route *route_find(struct str path, enum http_method method, struct str *ret_name,
                               char ret_allow[64])
{
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    if (path.len > 1 && str_ends(path, STR("/")))
        path.len--;
    ret_allow[0] = '\0';
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (!path_matches(routes[i].path, path, ret_name))
            continue;
        if (routes[i].method == method)
            return &routes[i];
        add_allowed(ret_allow, routes[i].method);
    }
    return NULL;
}

const struct route *route_metrics(void)
{
    static const struct route metrics = {HTTP_GET, {"/metrics", 8}, PERM_PUBLIC, metrics_get};

    return &metrics;
}

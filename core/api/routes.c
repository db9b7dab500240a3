/* The routes: one row says method, path, permission and handler. A row without a permission does
 * not compile. docs/openapi.yaml is checked against this table. */
#include "api/routes.h"

#include <stdio.h>

#define API_ROUTES(X)                                                                              \
    X(GET, "/", PUBLIC, info_root)                                                                 \
    X(GET, "/healthz", PUBLIC, info_ready)                                                         \
    X(GET, "/livez", PUBLIC, info_alive)                                                           \
    X(GET, "/readyz", PUBLIC, info_ready)                                                          \
    X(GET, "/system/info", SYSTEM_INFO, info_system)                                               \
    X(GET, "/system/openapi.yaml", SYSTEM_INFO, info_openapi)                                      \
    X(GET, "/system/functions", FUNCTION_READ, functions_list)                                     \
    X(POST, "/system/functions", FUNCTION_WRITE, functions_create)                                 \
    X(PUT, "/system/functions", FUNCTION_WRITE, functions_update)                                  \
    X(DELETE, "/system/functions", FUNCTION_WRITE, functions_delete)                               \
    X(GET, "/system/function/{name}", FUNCTION_READ, functions_status)                             \
    X(POST, "/system/scale-function/{name}", FUNCTION_SCALE, scale_function)                       \
    X(POST, "/system/alert", FUNCTION_SCALE, alert_take)                                           \
    X(GET, "/system/secrets", SECRET_READ, secrets_list)                                           \
    X(POST, "/system/secrets", SECRET_WRITE, secrets_create)                                       \
    X(PUT, "/system/secrets", SECRET_WRITE, secrets_update)                                        \
    X(DELETE, "/system/secrets", SECRET_WRITE, secrets_delete)                                     \
    X(GET, "/system/namespaces", NAMESPACE_READ, namespaces_list)                                  \
    X(POST, "/system/namespace", NAMESPACE_WRITE, namespaces_create)                               \
    X(GET, "/system/namespace/{name}", NAMESPACE_READ, namespaces_get)                             \
    X(PUT, "/system/namespace/{name}", NAMESPACE_WRITE, namespaces_update)                         \
    X(DELETE, "/system/namespace/{name}", NAMESPACE_WRITE, namespaces_delete)                      \
    X(GET, "/system/namespaces/{name}", NAMESPACE_READ, namespaces_get)                            \
    X(PUT, "/system/namespaces/{name}", NAMESPACE_WRITE, namespaces_update)                        \
    X(DELETE, "/system/namespaces/{name}", NAMESPACE_WRITE, namespaces_delete)                     \
    X(GET, "/system/logs", FUNCTION_LOGS, logs_get)

#define METRICS_ROUTES(X)                                                                          \
    X(GET, "/metrics", PUBLIC, metrics_get)                                                        \
    X(GET, "/healthz", PUBLIC, info_ready)                                                         \
    X(GET, "/livez", PUBLIC, info_alive)                                                           \
    X(GET, "/readyz", PUBLIC, info_ready)

#define ROW(method, pattern, permission, run) {HTTP_##method, pattern, PERM_##permission, run},
#define END                                                                                        \
    {                                                                                              \
        HTTP_OTHER, "", PERM_PUBLIC, NULL                                                          \
    }

const struct api_route api_routes[] = {API_ROUTES(ROW) END};
const struct api_route api_metrics_routes[] = {METRICS_ROUTES(ROW) END};

const struct api_route *route_find(const struct api_route *table, enum http_method method,
                                   struct str path, struct str *ret_name)
{
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    for (const struct api_route *row = table; row->run; row++)
        if (row->method == method && path_matches(row->pattern, path, ret_name))
            return row;
    return NULL;
}

const char *http_method_text(enum http_method method)
{
    static const char *const texts[] = {
        [HTTP_OTHER] = "OTHER",   [HTTP_GET] = "GET",        [HTTP_HEAD] = "HEAD",
        [HTTP_POST] = "POST",     [HTTP_PUT] = "PUT",        [HTTP_PATCH] = "PATCH",
        [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS"};

    return texts[method];
}

void route_allow(const struct api_route *table, struct str path, char text[ALLOW_TEXT_MAX])
{
    struct str name;
    size_t len = 0;

    text[0] = '\0';
    for (const struct api_route *row = table; row->run; row++) {
        if (!path_matches(row->pattern, path, &name))
            continue;
        len += (size_t)snprintf(text + len, ALLOW_TEXT_MAX - len, "%s%s%s", len ? ", " : "",
                                http_method_text(row->method),
                                row->method == HTTP_GET ? ", HEAD" : "");
    }
}

bool route_is_system(struct str path)
{
    return str_starts(path, STR("/system")) && (path.len == 7 || path.ptr[7] == '/');
}

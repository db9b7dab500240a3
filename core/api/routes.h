/* The routes of the control API: one table decides method, path, permission and handler. A route
 * without a permission does not compile. */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include "api/request.h"

/* X(method, path, permission, handler); {} stands for one path segment, at the end only. */
#define ROUTE_TABLE(X)                                                                             \
    X(GET, "/system/functions", PERM_FUNCTION_READ, functions_list)                                \
    X(POST, "/system/functions", PERM_FUNCTION_WRITE, functions_create)                            \
    X(PUT, "/system/functions", PERM_FUNCTION_WRITE, functions_update)                             \
    X(DELETE, "/system/functions", PERM_FUNCTION_WRITE, functions_remove)                          \
    X(GET, "/system/function/{}", PERM_FUNCTION_READ, function_status)                             \
    X(POST, "/system/scale-function/{}", PERM_FUNCTION_SCALE, function_scale)                      \
    X(POST, "/system/alert", PERM_FUNCTION_SCALE, function_alert)                                  \
    X(GET, "/system/secrets", PERM_SECRET_READ, secrets_list)                                      \
    X(POST, "/system/secrets", PERM_SECRET_WRITE, secrets_create)                                  \
    X(PUT, "/system/secrets", PERM_SECRET_WRITE, secrets_update)                                   \
    X(DELETE, "/system/secrets", PERM_SECRET_WRITE, secrets_remove)                                \
    X(GET, "/system/namespaces", PERM_NAMESPACE_READ, namespaces_list)                             \
    X(POST, "/system/namespace", PERM_NAMESPACE_WRITE, namespace_create)                           \
    X(GET, "/system/namespace/{}", PERM_NAMESPACE_READ, namespace_get)                             \
    X(PUT, "/system/namespace/{}", PERM_NAMESPACE_WRITE, namespace_update)                         \
    X(DELETE, "/system/namespace/{}", PERM_NAMESPACE_WRITE, namespace_remove)                      \
    X(GET, "/system/namespaces/{}", PERM_NAMESPACE_READ, namespace_get)                            \
    X(PUT, "/system/namespaces/{}", PERM_NAMESPACE_WRITE, namespace_update)                        \
    X(DELETE, "/system/namespaces/{}", PERM_NAMESPACE_WRITE, namespace_remove)                     \
    X(GET, "/system/logs", PERM_FUNCTION_LOGS, logs_open)                                          \
    X(GET, "/system/info", PERM_SYSTEM_INFO, info_get)                                             \
    X(GET, "/system/openapi.yaml", PERM_SYSTEM_INFO, openapi_get)                                  \
    X(GET, "/healthz", PERM_PUBLIC, health_get)                                                    \
    X(GET, "/livez", PERM_PUBLIC, live_get)                                                        \
    X(GET, "/readyz", PERM_PUBLIC, ready_get)                                                      \
    X(GET, "/", PERM_PUBLIC, root_get)

struct route {
    enum http_method method;
    struct str path;
    enum permission permission;
    request_handler_f *handler;
};

/* Finds the route of a raw path and method (HEAD counts as GET, one trailing slash is ignored).
 * *ret_name gets the segment of {}. NULL: no such path, or `*ret_allow` (space for 64 bytes) lists
 * the methods that the path has. Percent signs are not decoded: no route has one. */
const struct route *route_find(struct str path, enum http_method method, struct str *ret_name,
                               char ret_allow[64]);
/* The route of the metrics listener. */
const struct route *route_metrics(void);

#endif

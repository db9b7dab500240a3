/* Looking a request up in a route table. */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include "api/request.h"

/* The row for method and normalised path, NULL when there is none. HEAD finds GET rows. *ret_name
 * gets {name}. */
const struct api_route *route_find(const struct api_route *table, enum http_method method,
                                   struct str path, struct str *ret_name);
/* Methods of a path as Allow wants them ("GET, HEAD, POST"); empty: no such path. */
enum { ALLOW_TEXT_MAX = 64 };
void route_allow(const struct api_route *table, struct str path, char text[ALLOW_TEXT_MAX]);
/* True for paths that nobody may probe without credentials, whether or not a route is there. */
bool route_is_system(struct str path);
const char *http_method_text(enum http_method method);

/* The handlers, one per row; where they live is in their name. */
void info_root(struct api_request *r);
void info_alive(struct api_request *r);
void info_ready(struct api_request *r);
void info_system(struct api_request *r);
void info_openapi(struct api_request *r);
void functions_list(struct api_request *r);
void functions_create(struct api_request *r);
void functions_update(struct api_request *r);
void functions_delete(struct api_request *r);
void functions_status(struct api_request *r);
void scale_function(struct api_request *r);
void alert_take(struct api_request *r);
void secrets_list(struct api_request *r);
void secrets_create(struct api_request *r);
void secrets_update(struct api_request *r);
void secrets_delete(struct api_request *r);
void namespaces_list(struct api_request *r);
void namespaces_create(struct api_request *r);
void namespaces_get(struct api_request *r);
void namespaces_update(struct api_request *r);
void namespaces_delete(struct api_request *r);
void logs_get(struct api_request *r);
void metrics_get(struct api_request *r);

#endif

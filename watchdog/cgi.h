/* What a process per request learns of the request: its environment, or a JSON envelope. */
#ifndef WATCHDOG_CGI_H
#define WATCHDOG_CGI_H

#include "base/buf.h"
#include "watchdog.h"

/* Our environment and Http_Method, Http_Path, Http_Query, Http_<Field_Name> ..., in the pool of the
 * stream. NULL when memory is short. */
char **cgi_environment(const struct invocation *inv);
/* %XX decoded, as far as it is valid and no NUL; NUL-terminated. ptr NULL when memory is short. */
struct str cgi_decode_path(struct pool *pool, struct str path);
/* The classic envelope: {"header": {NAME: [VALUE...]}, "body": {"raw": BASE64}}. 0 or negative
 * errno. */
int cgi_marshal(struct buf *out, const struct invocation *inv, struct str body);

#endif

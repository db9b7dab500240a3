/* Request targets: the path decoded and normalised once, query parameters, times. */
#ifndef API_TARGET_H
#define API_TARGET_H

#include "base/mem.h"

/* Decodes percent-escapes once and drops one trailing slash. NULL, or why the path is refused:
 * empty and dot segments, encoded slashes, control bytes, broken escapes. No clean path looks
 * different to anyone else who reads it. */
const char *path_normalise(struct pool *pool, struct str raw, struct str *ret);

/* "/system/function/{name}" against a normalised path; *ret_name gets what stands at {name}. */
bool path_matches(const char *pattern, struct str path, struct str *ret_name);

/* Value of the last parameter of that name, decoded ('+' is a space); ptr NULL when there is none
 * or memory is short. */
struct str query_get(struct pool *pool, struct str query, struct str name);

/* "2024-05-01T12:30:00.25+02:00" to milliseconds of the Unix epoch. A space in place of '+' is what
 * an unescaped '+' in a query turns into. */
bool time_parse(struct str text, int64_t *ret_ms);

#endif

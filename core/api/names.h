/* The grammar of names, checked before a name reaches anything. */
#ifndef API_NAMES_H
#define API_NAMES_H

#include "base/err.h"

/* Lower-case DNS label of at most 63 bytes: functions, namespaces. */
bool name_is_label(struct str name);
/* File name of a secret: letters, digits, '-', '_', '.', an alphanumeric at both ends, no "..", at
 * most 253 bytes. */
bool name_is_secret(struct str name);
/* Key of a label or annotation: [prefix/]name, prefix at most 253 bytes, name at most 63. */
bool name_is_label_key(struct str key);
/* Name of an environment variable: printable ASCII without '=', at most 256 bytes. */
bool name_is_env(struct str name);
/* A value that may stand in a label: valid on one line, at most `max` bytes. */
bool text_is_line(struct str text, size_t max);

#endif

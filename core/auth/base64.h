/* Base64 (RFC 4648 section 4), decoded strictly: canonical padding, no white space. */
#ifndef AUTH_BASE64_H
#define AUTH_BASE64_H

#include "base/str.h"

/* Most bytes that `len` characters can decode to. */
static inline size_t base64_decoded_max(size_t len)
{
    return len / 4 * 3;
}

/* Writes at most base64_decoded_max(text.len) bytes to `out`; false when the text is not base64. */
bool base64_decode(struct str text, void *out, size_t *ret_len);

#endif

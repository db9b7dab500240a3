/* llhttp behind a narrow door: its header claims names (HTTP_GET...) that are ours elsewhere, so
 * only h1_llhttp.c includes it. */
#ifndef HTTP_H1_LLHTTP_H
#define HTTP_H1_LLHTTP_H

#include "base/str.h"

/* What llhttp understood of a start line. */
struct h1_start {
    struct str target;
    unsigned major, minor, status;
};

/* Runs llhttp, strict, over one complete head that the scanner has passed, and calls `add` for each
 * field with slices of `bytes`. Returns 0, what `add` returned, -EOPNOTSUPP for a method that
 * llhttp does not know, or -EBADMSG with llhttp's reason. */
int h1_llhttp_head(bool is_request, struct str bytes,
                   int (*add)(void *arg, struct str name, struct str value), void *arg,
                   struct h1_start *ret_start, const char **ret_error);

#endif

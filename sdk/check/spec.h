/* A function's specification as text: one line "kind <tab> key <tab> value" per setting, sorted, so
 * that two can be compared. Without name, generation and replicas. */
#ifndef CHECK_SPEC_H
#define CHECK_SPEC_H

#include "util.h"

#include <fngate/provider.h>

/* Owned by the caller. */
char *spec_text(const struct fng_function *function);
/* First line of `wanted` that `told` lacks (owned), or NULL. More lines are not a difference. */
char *spec_missing(const char *wanted, const char *told);

#endif

/* The toy provider's copy of a specification: the text of sdk/check/spec.h, read back into lists.
 */
#ifndef TOY_SPEC_H
#define TOY_SPEC_H

#include "spec.h"

struct toy_spec {
    char *lines; /* owned, cut in pieces; the lists point into it */
    struct fng_kv *env, *labels, *annotations;
};

/* Fills image, env_process, env, labels and annotations of `function`; valid until toy_spec_free.
 */
void toy_spec_read(struct toy_spec *spec, const char *text, struct fng_function *function);
void toy_spec_free(struct toy_spec *spec);

#endif

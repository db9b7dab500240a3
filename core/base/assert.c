/* What a failed assertion does: says where, and aborts so that a core file shows why. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void assert_failed(const char *cond, const char *file, int line, const char *func)
{
    fprintf(stderr, "fngate: assertion failed: %s (%s:%d in %s)\n", cond, file, line, func);
    abort();
}

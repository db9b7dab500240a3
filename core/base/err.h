/* An error with its text. Libraries fill one and return its code; an edge logs or answers it, once.
 * No allocation: longer texts are cut. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/str.h"

enum { ERR_TEXT_MAX = 512 };

struct err {
    int code; /* negative errno, 0: none */
    char text[ERR_TEXT_MAX];
};

/* Sets text and code, returns the code. `err` may be NULL. */
int err_set(struct err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif

/* Reading a whole small file. */
#ifndef CONF_FILE_H
#define CONF_FILE_H

#include "base/buf.h"

/* Appends the content of `path` to `out`. 0, -EFBIG when it passes out->max, or negative errno. */
int conf_read_file(const char *path, struct buf *out);

#endif

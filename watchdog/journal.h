/* Log lines of the watchdog and of the function, on stderr: "YYYY/MM/DD hh:mm:ss text". */
#ifndef WATCHDOG_JOURNAL_H
#define WATCHDOG_JOURNAL_H

#include "base/str.h"
#include "loop/loop.h"

/* One line; control bytes are replaced. */
void journal(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A line of the function, as it is: "... LABEL: text". */
void journal_function(const char *label, struct str line);

/* A pipe whose bytes come out line by line as journal_function; a line longer than `line_max`
 * (negative: no limit) comes out in parts, and reading never stops. Returns the end to write to,
 * close-on-exec, or negative errno. It lives until the last writer has closed. */
int journal_pipe(struct loop *loop, const char *label, int64_t line_max);
/* Takes what is in the pipes now: the last words of a process that has ended. */
void journal_take_rest(void);

#endif

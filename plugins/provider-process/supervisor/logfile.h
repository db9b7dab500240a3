/* The output of one replica: a FIFO that the processes write to, and a rotated file of stamped
 * lines.
 *
 * The FIFO lives in the file system, so it is there for a successor after kill -9, and the writers
 * hold it open for reading too, so they never see it broken. Bytes leave the FIFO only once they
 * are in the file. A line in the file is "<wall clock in ns> <text>"; longer ones than LOG_LINE_MAX
 * are continued on the next. */
#ifndef SUPERVISOR_LOGFILE_H
#define SUPERVISOR_LOGFILE_H

#include <stdbool.h>
#include <stdint.h>

enum { LOG_LINE_MAX = 64 << 10, LOG_TAIL_LINES = 5, LOG_TAIL_CHARS = 240 };

struct logfile {
    char *path, *fifo_path;
    int fd, fifo;
    uint64_t size, size_max;
    unsigned files;
    bool has_partial;           /* the FIFO holds a line without its end */
    char *tail[LOG_TAIL_LINES]; /* last lines, oldest first */
};

/* Makes or opens both. 0 or negative errno. */
int logfile_open(struct logfile *log, const char *path, const char *fifo_path, uint64_t size_max,
                 unsigned files);
/* Moves what has come into the file. `at_end`: take an unfinished last line as well. */
void logfile_pump(struct logfile *log, bool at_end);
/* A line of the supervisor's own. */
void logfile_note(struct logfile *log, const char *text);
/* Closes; the FIFO is removed, the file stays. */
void logfile_close(struct logfile *log, bool remove_fifo);

#endif

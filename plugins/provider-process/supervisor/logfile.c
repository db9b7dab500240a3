/* The output of one replica: from its FIFO into a rotated file. */
#include "logfile.h"

#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FIFO_BYTES = 1 << 20, ROUNDS_MAX = 64, FILE_MODE = 0600, STAMP_MAX = 32 };

/* The peeking pipe: tee() copies into it without taking from the FIFO. */
static int scratch[2] = {-1, -1};

static int open_file(struct logfile *log)
{
    struct stat st;

    log->fd = open(log->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (log->fd < 0)
        return -errno;
    log->size = fstat(log->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    return 0;
}

static int open_fifo(struct logfile *log)
{
    if (mkfifo(log->fifo_path, FILE_MODE) < 0 && errno != EEXIST)
        return -errno;
    log->fifo = open(log->fifo_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (log->fifo < 0)
        return -errno;
    /* Room for what is written while no supervisor runs; less is fine. */
    fcntl(log->fifo, F_SETPIPE_SZ, FIFO_BYTES);
    return 0;
}

static int open_scratch(void)
{
    if (scratch[0] >= 0)
        return 0;
    if (pipe2(scratch, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    fcntl(scratch[1], F_SETPIPE_SZ, FIFO_BYTES);
    return 0;
}

int logfile_open(struct logfile *log, const char *path, const char *fifo_path, uint64_t size_max,
                 unsigned files)
{
    AUTO_FREE char *folder = text_copy(path);
    char *slash = strrchr(folder, '/');
    int r;

    *log = (struct logfile){.path = text_copy(path),
                            .fifo_path = text_copy(fifo_path),
                            .fd = -1,
                            .fifo = -1,
                            .size_max = size_max ? size_max : UINT64_MAX,
                            .files = files ? files : 1};
    if (slash)
        *slash = '\0';
    r = folder_make(folder, 0700);
    if (r == 0)
        r = open_scratch();
    if (r == 0)
        r = open_file(log);
    return r < 0 ? r : open_fifo(log);
}

static void rotate(struct logfile *log)
{
    for (unsigned i = log->files - 1; i > 0; i--) {
        AUTO_FREE char *to = text_format("%s.%u", log->path, i);
        AUTO_FREE char *from =
            i > 1 ? text_format("%s.%u", log->path, i - 1) : text_copy(log->path);

        rename(from, to);
    }
    if (log->files == 1)
        unlink(log->path);
    close(log->fd);
    /* Without a file lines are dropped, never kept back: a writer must not wait for a full disk. */
    open_file(log);
}

static void remember(struct logfile *log, const char *text, size_t len)
{
    free(log->tail[0]);
    memmove(&log->tail[0], &log->tail[1], sizeof(log->tail[0]) * (LOG_TAIL_LINES - 1));
    log->tail[LOG_TAIL_LINES - 1] =
        text_format("%.*s", (int)(len < LOG_TAIL_CHARS ? len : LOG_TAIL_CHARS), text);
}

static void write_line(struct logfile *log, int64_t time_ns, const char *text, size_t len)
{
    char stamp[STAMP_MAX];
    int stamp_len = snprintf(stamp, sizeof(stamp), "%lld ", (long long)time_ns);
    struct iovec parts[] = {
        {stamp, (size_t)stamp_len}, {(void *)(uintptr_t)text, len}, {(void *)(uintptr_t) "\n", 1}};
    ssize_t n;

    remember(log, text, len);
    if (log->size > 0 && log->size + (size_t)stamp_len + len + 1 > log->size_max)
        rotate(log);
    if (log->fd < 0 && open_file(log) < 0)
        return;
    n = writev(log->fd, parts, COUNT_OF(parts));
    if (n > 0)
        log->size += (uint64_t)n;
}

/* Writes the whole lines of the text and returns how many bytes they took. */
static size_t write_lines(struct logfile *log, const char *text, size_t len)
{
    int64_t now_ns = wall_ns();
    size_t done = 0;
    const char *end;

    while (done < len && (end = memchr(text + done, '\n', len - done))) {
        write_line(log, now_ns, text + done, (size_t)(end - text) - done);
        done = (size_t)(end - text) + 1;
    }
    return done;
}

/* A look at what the FIFO holds, without taking it. */
static size_t peek(struct logfile *log, char *buf, size_t cap)
{
    ssize_t n = tee(log->fifo, scratch[1], cap, SPLICE_F_NONBLOCK);

    if (n <= 0)
        return 0;
    n = read(scratch[0], buf, (size_t)n);
    return n < 0 ? 0 : (size_t)n;
}

static void take(struct logfile *log, char *buf, size_t len)
{
    while (len > 0) {
        ssize_t n = read(log->fifo, buf, len);

        if (n <= 0)
            return;
        len -= (size_t)n;
    }
}

static bool is_full(const struct logfile *log)
{
    struct pollfd fifo = {.fd = log->fifo, .events = POLLOUT};

    return poll(&fifo, 1, 0) == 0;
}

void logfile_pump(struct logfile *log, bool at_end)
{
    static char buf[LOG_LINE_MAX];

    log->has_partial = false;
    for (int i = 0; i < ROUNDS_MAX; i++) {
        size_t len = peek(log, buf, sizeof(buf));
        size_t done = write_lines(log, buf, len);

        if (len == 0)
            return;
        /* A line that fills the buffer, or the FIFO, is continued on the next one. */
        if (done == 0 && (at_end || len == sizeof(buf) || is_full(log))) {
            write_line(log, wall_ns(), buf, len);
            done = len;
        }
        if (done == 0)
            break;
        take(log, buf, done);
    }
    log->has_partial = true;
}

void logfile_note(struct logfile *log, const char *text)
{
    write_line(log, wall_ns(), text, strlen(text));
}

void logfile_close(struct logfile *log, bool remove_fifo)
{
    if (log->fd >= 0)
        close(log->fd);
    if (log->fifo >= 0)
        close(log->fifo);
    if (remove_fifo && log->fifo_path)
        unlink(log->fifo_path);
    for (unsigned i = 0; i < LOG_TAIL_LINES; i++)
        free(log->tail[i]);
    free(log->path);
    free(log->fifo_path);
    *log = (struct logfile){.fd = -1, .fifo = -1};
}

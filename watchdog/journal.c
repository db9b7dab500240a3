/* Log lines, and the pipes that bring those of the function. */
#include "journal.h"

#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_OWN = 4096, READ_PIECE = 32 << 10, READS_PER_TURN = 8 };

static size_t put_time(char *buf, size_t size)
{
    time_t now = time(NULL);
    struct tm parts;

    localtime_r(&now, &parts);
    return strftime(buf, size, "%Y/%m/%d %H:%M:%S ", &parts);
}

/* All pieces in as few writes as stderr takes. */
static void write_out(struct iovec *iov, int count)
{
    while (count > 0) {
        ssize_t n = writev(STDERR_FILENO, iov, count);

        if (n < 0 && errno != EINTR)
            return; /* nowhere left to say so */
        for (; n > 0 && count > 0 && (size_t)n >= iov->iov_len; iov++, count--)
            n -= (ssize_t)iov->iov_len;
        if (n > 0) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
        while (count > 0 && iov->iov_len == 0)
            iov++, count--;
    }
}

void journal(const char *format, ...)
{
    char line[LINE_MAX_OWN];
    size_t len = put_time(line, sizeof(line)), start = len;
    struct iovec iov;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line + len, sizeof(line) - len - 1, format, args);
    va_end(args);
    len += n < 0 ? 0 : (size_t)n;
    if (len > sizeof(line) - 2)
        len = sizeof(line) - 2;
    for (size_t i = start; i < len; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    line[len++] = '\n';
    iov = (struct iovec){line, len};
    write_out(&iov, 1);
}

static void *base_of(struct str s)
{
    union {
        const char *in;
        void *out;
    } base = {.in = s.ptr};

    return base.out;
}

void journal_function(const char *label, struct str line)
{
    char prefix[64], end = '\n';
    size_t len = put_time(prefix, sizeof(prefix));
    struct iovec iov[3];

    len += (size_t)snprintf(prefix + len, sizeof(prefix) - len, "%s: ", label);
    iov[0] = (struct iovec){prefix, len};
    iov[1] = (struct iovec){base_of(line), line.len};
    iov[2] = (struct iovec){&end, 1};
    write_out(iov, 3);
}

/* ---- Pipes ---- */

struct journal_pipe {
    struct list node; /* in pipes */
    int fd;
    struct loop_watch *watch;
    const char *label;
    size_t line_max; /* 0: no limit */
    struct buf line; /* begun, not ended */
};

static struct list pipes = {&pipes, &pipes};

static void pipe_flush(struct journal_pipe *pipe)
{
    if (buf_len(&pipe->line) > 0)
        journal_function(pipe->label, buf_str(&pipe->line));
    buf_clear(&pipe->line);
}

static void pipe_keep(struct journal_pipe *pipe, struct str part)
{
    while (part.len > 0) {
        size_t room = pipe->line_max ? pipe->line_max - buf_len(&pipe->line) : part.len;
        struct str piece = str_sub(part, 0, room);

        if (buf_add_str(&pipe->line, piece) < 0) { /* rather in parts than lost */
            pipe_flush(pipe);
            journal_function(pipe->label, piece);
        }
        if (pipe->line_max && buf_len(&pipe->line) >= pipe->line_max)
            pipe_flush(pipe);
        part = str_sub(part, piece.len, part.len);
    }
}

static void pipe_take(struct journal_pipe *pipe, struct str data)
{
    ptrdiff_t end;

    while ((end = str_find(data, '\n')) >= 0) {
        struct str line = str_sub(data, 0, (size_t)end);

        if (buf_len(&pipe->line) == 0 && (!pipe->line_max || line.len <= pipe->line_max)) {
            journal_function(pipe->label, line);
        } else {
            pipe_keep(pipe, line);
            pipe_flush(pipe);
        }
        data = str_sub(data, (size_t)end + 1, data.len);
    }
    pipe_keep(pipe, data);
}

static void pipe_end(struct journal_pipe *pipe)
{
    pipe_flush(pipe);
    buf_free(&pipe->line);
    loop_unwatch(pipe->watch);
    list_remove(&pipe->node);
    close(pipe->fd);
    mem_free(pipe);
}

/* One read. False when nothing is there, or the pipe has ended and is freed. */
static bool pipe_read(struct journal_pipe *pipe)
{
    char piece[READ_PIECE];
    ssize_t n = read(pipe->fd, piece, sizeof(piece));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0)
        pipe_end(pipe);
    else
        pipe_take(pipe, str_make(piece, (size_t)n));
    return n > 0;
}

static void pipe_on_ready(void *arg)
{
    for (int i = 0; i < READS_PER_TURN && pipe_read(arg); i++)
        continue;
}

int journal_pipe(struct loop *loop, const char *label, int64_t line_max)
{
    struct journal_pipe *pipe;
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    pipe = xcalloc(1, sizeof(*pipe));
    pipe->fd = fds[0];
    pipe->label = label;
    pipe->line_max = line_max > 0 ? (size_t)line_max : 0;
    buf_init(&pipe->line, 0);
    list_push(&pipes, &pipe->node);
    pipe->watch = loop_watch(loop, fds[0], pipe_on_ready, pipe);
    return fds[1];
}

void journal_take_rest(void)
{
    LIST_FOR_EACH_SAFE(node, after, &pipes)
    {
        struct journal_pipe *pipe = CONTAINER_OF(node, struct journal_pipe, node);

        for (int i = 0; i < READS_PER_TURN && pipe_read(pipe); i++)
            continue;
    }
}

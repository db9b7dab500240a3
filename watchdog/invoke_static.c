/* Mode static: files of a folder. */
#include "cgi.h"
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FILE_PIECE = 64 << 10 };

struct transfer {
    struct invocation *inv;
    int fd;
    uint64_t left;
};

static struct str type_of(struct str path)
{
    static const struct {
        struct str ending, type;
    } table[] = {
        {{".html", 5}, {"text/html; charset=utf-8", 24}},
        {{".css", 4}, {"text/css; charset=utf-8", 23}},
        {{".js", 3}, {"text/javascript; charset=utf-8", 30}},
        {{".json", 5}, {"application/json", 16}},
        {{".txt", 4}, {"text/plain; charset=utf-8", 25}},
        {{".svg", 4}, {"image/svg+xml", 13}},
        {{".png", 4}, {"image/png", 9}},
        {{".jpg", 4}, {"image/jpeg", 10}},
        {{".gif", 4}, {"image/gif", 9}},
        {{".ico", 4}, {"image/x-icon", 12}},
        {{".wasm", 5}, {"application/wasm", 16}},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (str_ends(path, table[i].ending))
            return table[i].type;
    return STR("application/octet-stream");
}

/* Opens a file below the folder; the kernel refuses ways out of it, symbolic links included. */
static int open_below(const struct config *config, struct pool *pool, struct str path)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH};
    struct str relative = pool_printf(pool, "./%.*s", STR_ARG(path));
    int folder = open(config->static_path.ptr, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd;

    if (folder < 0 || !relative.ptr)
        return -ENOENT;
    fd = (int)syscall(SYS_openat2, folder, relative.ptr, &how, sizeof(how));
    if (fd < 0)
        fd = -errno;
    close(folder);
    return fd;
}

/* The file of the request, index.html for a folder; *ret_path is its name. */
static int open_file(const struct invocation *inv, struct str *ret_path, struct stat *ret_stat)
{
    struct pool *pool = &inv->s->pool;
    struct str path = cgi_decode_path(pool, str_sub(inv->path, 1, inv->path.len));
    int fd = open_below(&inv->w->config, pool, path);

    *ret_path = path;
    if (fd >= 0 && fstat(fd, ret_stat) == 0 && S_ISDIR(ret_stat->st_mode)) {
        close(fd);
        *ret_path = pool_printf(pool, "%.*s/index.html", STR_ARG(path));
        fd = ret_path->ptr ? open_below(&inv->w->config, pool, *ret_path) : -ENOMEM;
    }
    if (fd >= 0 && (fstat(fd, ret_stat) < 0 || !S_ISREG(ret_stat->st_mode))) {
        close(fd);
        return -ENOENT;
    }
    return fd;
}

static void transfer_go_on(void *arg)
{
    struct transfer *transfer = arg;
    struct stream *s = transfer->inv->s;
    char piece[FILE_PIECE];
    ssize_t queued = 0;

    while (transfer->left > 0 && queued >= 0 && queued < QUEUE_MAX) {
        ssize_t n = read(transfer->fd, piece, sizeof(piece));

        if (n <= 0 || (uint64_t)n > transfer->left) { /* the file has changed */
            stream_abort(s);
            return;
        }
        transfer->left -= (uint64_t)n;
        queued = stream_write(s, str_make(piece, (size_t)n));
    }
    if (transfer->left == 0 && queued >= 0)
        stream_finish(s, NULL);
}

static void transfer_on_done(void *arg, enum stream_end end)
{
    struct transfer *transfer = arg;

    (void)end;
    if (transfer->fd >= 0)
        close(transfer->fd);
    invocation_end(transfer->inv);
}

static void transfer_begin(struct transfer *transfer, struct str path, uint64_t size)
{
    struct stream *s = transfer->inv->s;
    struct http_head head;

    http_head_init(&head, &s->pool);
    head.status = 200;
    head.framing = HTTP_BODY_LENGTH;
    head.length = size;
    transfer->left = s->request.method == HTTP_HEAD ? 0 : size;
    if (http_head_add(&head, STR("Content-Type"), type_of(path)) < 0 ||
        stream_respond(s, &head) < 0)
        stream_abort(s);
    else
        transfer_go_on(transfer);
}

static const struct stream_handler transfer_handler = {.on_drained = transfer_go_on,
                                                       .on_done = transfer_on_done};

static void on_failed_done(void *arg, enum stream_end end)
{
    (void)end;
    invocation_end(arg);
}

void invoke_static(struct invocation *inv)
{
    static const struct stream_handler failed_handler = {.on_done = on_failed_done};
    struct transfer *transfer = pool_zalloc(&inv->s->pool, sizeof(*transfer));
    struct stat stat;
    struct str path;

    if (!transfer) {
        stream_accept(inv->s, &failed_handler, inv);
        invocation_fail(inv, 503, "out of memory\n");
        return;
    }
    transfer->inv = inv;
    transfer->fd = -1;
    stream_accept(inv->s, &transfer_handler, transfer);
    if (inv->s->request.method != HTTP_GET && inv->s->request.method != HTTP_HEAD) {
        invocation_fail(inv, 405, "use GET or HEAD\n");
        return;
    }
    transfer->fd = open_file(inv, &path, &stat);
    if (transfer->fd < 0)
        invocation_fail(inv, 404, "there is no such file\n");
    else
        transfer_begin(transfer, path, (uint64_t)stat.st_size);
}

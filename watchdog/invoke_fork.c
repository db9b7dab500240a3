/* A process per request: the body goes to its stdin, its stdout becomes the answer. In mode
 * streaming as it comes; in serializing and classic whole, so that a failure can still be told by
 * the status.
 */
#include "base/buf.h"
#include "cgi.h"
#include "child.h"
#include "journal.h"
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

struct run {
    struct invocation *inv;
    struct stream *s;
    struct child child;
    struct io *in;     /* to its stdin; NULL when closed */
    struct io *out;    /* from its stdout; NULL at its end */
    struct buf input;  /* whole modes: the request's body */
    struct buf output; /* whole modes: the answer's */
    int status;        /* as waitpid tells it */
    bool is_streaming;
    bool is_started, has_exited, is_over;
    bool is_body_done;
};

/* ---- The end ---- */

/* Ends what still runs: the process and all that it started in its group. */
static void run_stop(struct run *run)
{
    run->is_over = true;
    if (run->is_started && (!run->has_exited || run->out))
        child_kill(&run->child, SIGKILL);
    child_forget(&run->child);
    run->is_started = false;
    io_close(TAKE_PTR(run->in), false);
    io_close(TAKE_PTR(run->out), false);
    buf_free(&run->input);
    buf_free(&run->output);
}

static void run_fail(struct run *run, unsigned status, const char *text)
{
    journal("%s: %s", run->inv->w->config.argv[0], text);
    run_stop(run);
    invocation_fail(run->inv, status, "%s\n", text);
}

/* The content type that was configured; the classic watchdog gives back the request's. */
static struct str content_type(const struct run *run)
{
    const struct config *config = &run->inv->w->config;
    struct str type = config->content_type;

    if (type.len == 0 && config->mode == MODE_CLASSIC)
        type = http_head_get(&run->s->request, STR("Content-Type"));
    if (type.len == 0)
        type = config->mode == MODE_CLASSIC ? STR("text/plain") : STR("application/octet-stream");
    return type;
}

static void run_answer_whole(struct run *run)
{
    struct str seconds = invocation_seconds(run->inv);
    struct http_head head;

    http_head_init(&head, &run->s->pool);
    if (!seconds.ptr || http_head_add(&head, STR("X-Duration-Seconds"), seconds) < 0)
        stream_abort(run->s);
    else
        stream_reply(run->s, 200, &head, content_type(run), buf_str(&run->output));
}

static void run_answer_failure(struct run *run)
{
    char text[CHILD_STATUS_MAX];
    struct str output = buf_str(&run->output);

    child_status_text(run->status, text);
    journal("%s: %s", run->inv->w->config.argv[0], text);
    if (run->inv->w->config.mode == MODE_CLASSIC)
        invocation_fail(run->inv, 500, "%s\n%.*s", text, STR_ARG(output));
    else
        invocation_fail(run->inv, 500, "%s\n", text);
}

static int run_begin_answer(struct run *run)
{
    struct http_head head;
    int err;

    if (run->s->status)
        return 0;
    http_head_init(&head, &run->s->pool);
    head.status = 200;
    head.framing = HTTP_BODY_CHUNKED;
    err = http_head_add(&head, STR("Content-Type"), content_type(run));
    return err ? err : stream_respond(run->s, &head);
}

/* The status went out with the first bytes; a failure is only logged, as callers expect. */
static void run_end_stream(struct run *run)
{
    char text[CHILD_STATUS_MAX];

    if (run->status) {
        child_status_text(run->status, text);
        journal("%s: %s", run->inv->w->config.argv[0], text);
    }
    if (run_begin_answer(run) < 0)
        stream_abort(run->s);
    else
        stream_finish(run->s, NULL);
}

/* Complete when the process has ended and nobody holds its stdout any more. */
static void run_check_end(struct run *run)
{
    if (!run->has_exited || run->out || run->is_over)
        return;
    run->is_over = true;
    timer_cancel(&run->inv->deadline);
    if (run->inv->w->config.write_debug)
        journal_function("output", buf_str(&run->output));
    if (run->is_streaming)
        run_end_stream(run);
    else if (run->status == 0)
        run_answer_whole(run);
    else
        run_answer_failure(run);
}

static void run_on_exit(void *arg, int status)
{
    struct run *run = arg;

    run->has_exited = true;
    run->status = status;
    run_check_end(run);
}

static void run_on_due(void *arg)
{
    struct run *run = arg;

    run_fail(run, run->inv->w->config.mode == MODE_CLASSIC ? 408 : 504,
             "the function took longer than its limit and was ended");
}

/* ---- stdin ---- */

static void run_close_input(struct run *run)
{
    io_close(TAKE_PTR(run->in), false);
}

static void input_on_drained(void *arg)
{
    struct run *run = arg;

    if (run->is_body_done)
        run_close_input(run);
    else
        stream_read(run->s);
}

/* The process reads no more: that is its right. */
static void input_on_error(void *arg, int error)
{
    (void)error;
    run_close_input(arg);
}

static const struct io_handler input_handler = {.on_drained = input_on_drained,
                                                .on_error = input_on_error};

/* Returns what is queued, 0 also when the process does not want it. */
static size_t run_give(struct run *run, struct str data)
{
    union {
        const char *in;
        void *out;
    } base = {.in = data.ptr};
    struct iovec iov = {base.out, data.len};
    ssize_t queued = run->in && data.len > 0 ? io_send(run->in, &iov, 1) : 0;

    return queued > 0 ? (size_t)queued : 0;
}

/* ---- stdout ---- */

static void output_stream(struct run *run, struct str data)
{
    ssize_t queued = run_begin_answer(run);

    if (queued == 0)
        queued = stream_write(run->s, data);
    if (queued >= 0 && queued <= QUEUE_MAX)
        io_recv(run->out);
}

static void output_on_data(void *arg, struct str data)
{
    struct run *run = arg;

    if (run->is_streaming)
        output_stream(run, data);
    else if (buf_add_str(&run->output, data) < 0)
        run_fail(run, 500, "the answer is longer than max_body_size");
    else
        io_recv(run->out);
}

static void output_on_eof(void *arg)
{
    struct run *run = arg;

    io_close(TAKE_PTR(run->out), false);
    run_check_end(run);
}

static void output_on_error(void *arg, int error)
{
    (void)error;
    output_on_eof(arg);
}

static const struct io_handler output_handler = {
    .on_data = output_on_data, .on_eof = output_on_eof, .on_error = output_on_error};

/* ---- Start ---- */

static int run_open_log(struct run *run, int stdout_fd)
{
    const struct config *config = &run->inv->w->config;

    if (config->mode == MODE_CLASSIC && config->combine_output)
        return fcntl(stdout_fd, F_DUPFD_CLOEXEC, 3);
    return config->prefix_logs ? journal_pipe(run->inv->w->loop, "stderr", config->log_buffer)
                               : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
}

static int run_spawn(struct run *run)
{
    struct loop *loop = run->inv->w->loop;
    char **envp = cgi_environment(run->inv);
    int fds[3] = {-1, -1, -1};
    int err = envp ? 0 : -ENOMEM;

    run->in = pipe_io(loop, 1, &input_handler, run, &fds[0]);
    run->out = pipe_io(loop, 0, &output_handler, run, &fds[1]);
    if (!run->in || !run->out)
        err = -EMFILE;
    if (!err) {
        fds[2] = run_open_log(run, fds[1]);
        err = fds[2] < 0 ? -EMFILE : 0;
    }
    if (!err)
        err = child_spawn(&run->child, run->inv->w->config.argv, envp, fds);
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    run->is_started = !err;
    return err;
}

static bool run_start(struct run *run)
{
    int err = run_spawn(run);

    if (err) {
        run_fail(run, 500, strerror(-err));
        return false;
    }
    io_recv(run->out);
    return true;
}

/* Whole modes: the body is here. */
static void run_start_whole(struct run *run)
{
    struct buf envelope;
    struct str input = buf_str(&run->input);
    size_t queued;

    if (!run_start(run))
        return;
    buf_init(&envelope, 0);
    if (run->inv->w->config.marshal_request && run->inv->w->config.mode == MODE_CLASSIC) {
        if (cgi_marshal(&envelope, run->inv, input) < 0) {
            buf_free(&envelope);
            run_fail(run, 500, "no memory for the request's envelope");
            return;
        }
        input = buf_str(&envelope);
    }
    queued = run_give(run, input);
    buf_free(&envelope);
    buf_free(&run->input);
    if (queued == 0)
        run_close_input(run);
}

/* ---- The request ---- */

static void run_on_body(void *arg, struct str data)
{
    struct run *run = arg;

    if (run->is_over)
        return;
    if (run->is_streaming) {
        if (run_give(run, data) <= QUEUE_MAX)
            stream_read(run->s);
    } else if (buf_add_str(&run->input, data) < 0) {
        run_fail(run, 413, "the body is longer than max_body_size");
    } else {
        stream_read(run->s);
    }
}

static void run_on_body_end(void *arg, const struct http_head *trailers)
{
    struct run *run = arg;

    (void)trailers;
    run->is_body_done = true;
    if (run->is_over)
        return;
    if (!run->is_streaming)
        run_start_whole(run);
    else if (run->in && io_queued(run->in) == 0)
        run_close_input(run);
}

static void run_on_drained(void *arg)
{
    struct run *run = arg;

    if (run->out)
        io_recv(run->out);
}

static void run_on_done(void *arg, enum stream_end end)
{
    struct run *run = arg;

    (void)end;
    run_stop(run);
    invocation_end(run->inv);
}

static void on_failed_done(void *arg, enum stream_end end)
{
    (void)end;
    invocation_end(arg);
}

static const struct stream_handler run_stream_handler = {.on_body = run_on_body,
                                                         .on_body_end = run_on_body_end,
                                                         .on_drained = run_on_drained,
                                                         .on_done = run_on_done};

void invoke_fork(struct invocation *inv)
{
    static const struct stream_handler failed_handler = {.on_done = on_failed_done};
    struct run *run = pool_zalloc(&inv->s->pool, sizeof(*run));

    if (!run) {
        stream_accept(inv->s, &failed_handler, inv);
        invocation_fail(inv, 503, "out of memory\n");
        return;
    }
    run->inv = inv;
    run->s = inv->s;
    run->is_streaming = inv->w->config.mode == MODE_STREAMING;
    run->child.on_exit = run_on_exit;
    run->child.arg = run;
    list_init(&run->child.node);
    buf_init(&run->input, inv->w->config.body_max);
    buf_init(&run->output, inv->w->config.body_max);
    stream_accept(inv->s, &run_stream_handler, run);
    invocation_set_deadline(inv, run_on_due, run);
    if (run->is_streaming && !run_start(run))
        return;
    stream_read(run->s);
}

/* Stream sockets: completion-shaped above, edge-triggered readiness below.
 *
 * Each socket is registered once, for reading, writing and the peer's close; `readable` and
 * `writable` remember what the kernel said until a call comes back short. A receive that filled
 * less than the buffer has emptied the socket, unless the peer has closed or the connection may
 * have failed: then another receive must see that.
 */
#include "loop/io.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/sys.h"
#include "loop/internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { IO_MAGIC = 0x696f5f31, RECEIVES_PER_TURN = 16, CONNECT_RETRY_MS = 1, DOUBT_MS = 50 };

struct io {
    unsigned magic;
    int fd;
    struct loop *loop;
    const struct io_handler *handler;
    void *arg;
    const struct io_filter *filter;
    void *filter_state;
    struct event event;
    struct loop_defer defer; /* progress at the end of the turn */
    struct buf out;
    int error; /* to be told by on_error */
    bool is_readable, is_writable;
    bool peer_closed;     /* as the kernel says: bytes may be left before the end */
    bool saw_eof;         /* told by on_eof */
    bool may_have_failed; /* the last readiness could have been an error; until a receive says no */
    struct list doubt; /* in loop->doubts: received all there was, but an error may be behind it */
    bool is_connecting, is_asked, is_closed;
    bool wants_shutdown, is_shut;
    bool has_queued; /* on_drained is owed */
    bool error_is_told;
    struct addr *connect_addr; /* while a Unix socket's backlog is full */
    struct timer timer;        /* connect retry, or linger */
    struct list linger_node;   /* in loop->lingering */
};

/* ---- Making and closing ---- */

static void progress(struct io *io);

static void tell_peer_closed(struct io *io)
{
    if (io->is_closed || io->error || io->is_asked || io->saw_eof)
        return;
    if (io->handler->on_peer_closed)
        io->handler->on_peer_closed(io->arg);
}

static void on_deferred(struct loop_defer *defer)
{
    progress(CONTAINER_OF(defer, struct io, defer));
}

/* A pending error of the socket, which readiness alone does not show. */
static int socket_error(const struct io *io)
{
    socklen_t len = sizeof(int);
    int error = 0;

    getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return -error;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct io *io = arg;
    bool had_closed = io->peer_closed;

    (void)fd;
    ASSERT_MAGIC(io, IO_MAGIC);
    turn_enter(io->loop);
    list_remove(&io->doubt);
    if (what & EV_CLOSED)
        io->peer_closed = true;
    if (what & (EV_READ | EV_CLOSED))
        io->is_readable = true;
    if (what & EV_WRITE)
        io->is_writable = true;
    if (io->filter) /* either direction of the filter may have waited for either of the socket */
        io->is_readable = io->is_writable = true;
    /* libevent turns an error into both directions without the close */
    if (!io->is_connecting && (what & EV_READ) && (what & EV_WRITE) && !(what & EV_CLOSED)) {
        io->may_have_failed = true;
        if (!io->is_asked && !io->error)
            io->error = socket_error(io);
    }
    progress(io);
    if (io->peer_closed && !had_closed)
        tell_peer_closed(io);
}

struct io *io_new(struct loop *loop, int fd, const struct io_handler *handler, void *arg)
{
    struct io *io = mem_zalloc(sizeof(*io));
    int on = 1;

    if (!io) {
        close(fd);
        return NULL;
    }
    io->magic = IO_MAGIC;
    io->fd = fd;
    io->loop = loop;
    io->handler = handler;
    io->arg = arg;
    io->is_writable = true;
    buf_init(&io->out, 0);
    loop_defer_init(&io->defer, on_deferred);
    list_init(&io->doubt);
    timer_init(&io->timer, loop, NULL, io);
    list_init(&io->linger_node);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* refused by Unix sockets */
    event_assign(&io->event, loop->base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST,
                 on_event, io);
    if (event_add(&io->event, NULL) < 0) {
        close(fd);
        mem_free(io);
        return NULL;
    }
    return io;
}

void io_bury(struct loop *loop)
{
    struct list *node;

    while ((node = list_pop(&loop->dead))) {
        struct io *io = CONTAINER_OF(node, struct io, defer.node);

        io->magic = 0;
        mem_free(io);
    }
}

void io_close(struct io *io, bool reset)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};

    if (!io || io->is_closed)
        return;
    ASSERT_MAGIC(io, IO_MAGIC);
    io->is_closed = true;
    event_del(&io->event);
    loop_undefer(&io->defer);
    list_remove(&io->doubt);
    timer_cancel(&io->timer);
    list_remove(&io->linger_node);
    if (reset)
        setsockopt(io->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    if (io->filter)
        io->filter->free(io->filter_state);
    close(io->fd);
    buf_free(&io->out);
    mem_free(io->connect_addr);
    /* a call-back of this socket may be on the stack: freed at the end of the turn */
    list_push(&io->loop->dead, &io->defer.node);
}

void io_set_filter(struct io *io, const struct io_filter *ops, void *filter)
{
    io->filter = ops;
    io->filter_state = filter;
}

void io_set_handler(struct io *io, const struct io_handler *handler, void *arg)
{
    io->handler = handler;
    io->arg = arg;
}

int io_fd(const struct io *io)
{
    return io->fd;
}

struct loop *io_loop(const struct io *io)
{
    return io->loop;
}

static void set_timer(struct io *io, int64_t delay_ms, void (*on_due)(void *arg))
{
    io->timer.on_due = on_due;
    timer_set(&io->timer, delay_ms);
}

/* Tells the error once, from the loop. */
static void fail_later(struct io *io, int error)
{
    if (!io->error)
        io->error = error;
    loop_defer(io->loop, &io->defer);
}

/* ---- Connecting ---- */

static void try_connect(struct io *io, const struct addr *addr);

static void on_connect_retry(void *arg)
{
    struct io *io = arg;

    try_connect(io, io->connect_addr);
}

static void try_connect(struct io *io, const struct addr *addr)
{
    if (sys.connect(io->fd, &addr->any, addr->len) == 0) {
        io->is_writable = true;
        loop_defer(io->loop, &io->defer);
        return;
    }
    if (errno == EINPROGRESS)
        return;
    if (errno == EAGAIN) { /* a Unix socket with a full backlog: no readiness will tell */
        if (!io->connect_addr) {
            io->connect_addr = mem_alloc(sizeof(*addr));
            if (!io->connect_addr) {
                fail_later(io, -ENOMEM);
                return;
            }
            *io->connect_addr = *addr;
        }
        set_timer(io, CONNECT_RETRY_MS, on_connect_retry);
        return;
    }
    fail_later(io, -errno);
}

struct io *io_connect(struct loop *loop, const struct addr *addr, const struct io_handler *handler,
                      void *arg)
{
    int fd = socket(addr->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct io *io;

    if (fd < 0)
        return NULL;
    io = io_new(loop, fd, handler, arg);
    if (!io)
        return NULL;
    io->is_connecting = true;
    io->is_writable = false;
    try_connect(io, addr);
    return io;
}

/* The kernel says writable: connected, or failed. */
static void finish_connect(struct io *io)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);

    io->error = socket_error(io);
    if (!io->error && getpeername(io->fd, (struct sockaddr *)&peer, &len) < 0) {
        if (errno == ENOTCONN) { /* a fresh socket polls as writable before connect was tried */
            io->is_writable = false;
            return;
        }
        io->error = -errno;
    }
    if (io->error)
        return;
    io->is_connecting = false;
    timer_cancel(&io->timer);
    XFREE(&io->connect_addr);
    if (io->handler->on_connected)
        io->handler->on_connected(io->arg);
}

/* ---- Sending ---- */

/* One attempt; bytes taken, 0 when it would block, or negative errno. */
static ssize_t send_now(struct io *io, const struct iovec *iov, int count)
{
    bool want_write = true;
    ssize_t n;

    do {
        if (io->filter) {
            n = io->filter->send(io->filter_state, io->fd, iov, count, &want_write);
        } else {
            union {
                const struct iovec *in;
                struct iovec *out;
            } vector = {.in = iov};
            struct msghdr msg = {.msg_iov = vector.out, .msg_iovlen = (size_t)count};

            n = sys.sendmsg(io->fd, &msg, MSG_NOSIGNAL);
            n = n < 0 ? -errno : n;
        }
    } while (n == -EINTR);
    if (n == -EAGAIN) {
        io->is_writable = false;
        return 0;
    }
    return n;
}

static size_t iov_total(const struct iovec *iov, int count)
{
    size_t total = 0;

    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    return total;
}

/* Copies what was not sent into the queue. */
static int queue_rest(struct io *io, const struct iovec *iov, int count, size_t sent)
{
    for (int i = 0; i < count; i++) {
        size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;
        int error = buf_add(&io->out, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);

        if (error)
            return error;
        sent -= skip;
    }
    io->has_queued = io->has_queued || buf_len(&io->out) > 0;
    return 0;
}

ssize_t io_send(struct io *io, const struct iovec *iov, int count)
{
    size_t total = iov_total(iov, count);
    ssize_t sent = 0;
    int error;

    ASSERT_MAGIC(io, IO_MAGIC);
    if (io->is_closed)
        return -EPIPE;
    if (io->error)
        return io->error;
    ASSERT(!io->wants_shutdown);
    if (io->is_writable && !io->is_connecting && buf_len(&io->out) == 0 && total > 0)
        sent = send_now(io, iov, count);
    if (sent >= 0 && (size_t)sent < total) {
        error = queue_rest(io, iov, count, (size_t)sent);
        sent = error ? error : sent;
        if (!error && io->is_writable && !io->is_connecting)
            loop_defer(io->loop, &io->defer); /* short but not blocked: go on this turn */
    }
    if (sent < 0) {
        fail_later(io, (int)sent);
        return sent;
    }
    return (ssize_t)buf_len(&io->out);
}

size_t io_queued(const struct io *io)
{
    return buf_len(&io->out);
}

bool io_peer_has_closed(const struct io *io)
{
    return io->peer_closed;
}

static void shut_if_wanted(struct io *io)
{
    if (!io->wants_shutdown || io->is_shut || io->is_connecting || buf_len(&io->out) > 0)
        return;
    io->is_shut = true;
    if (io->filter)
        io->filter->shutdown(io->filter_state, io->fd);
    shutdown(io->fd, SHUT_WR);
}

void io_shutdown(struct io *io)
{
    io->wants_shutdown = true;
    shut_if_wanted(io);
}

/* Sends from the queue while the socket takes it. */
static void flush(struct io *io)
{
    while (io->is_writable && buf_len(&io->out) > 0) {
        struct iovec iov = {io->out.mem + io->out.head, buf_len(&io->out)};
        ssize_t sent = send_now(io, &iov, 1);

        if (sent < 0) {
            io->error = (int)sent;
            return;
        }
        buf_consume(&io->out, (size_t)sent);
    }
    if (buf_len(&io->out) > 0)
        return;
    if (io->out.cap)
        buf_free(&io->out);
    shut_if_wanted(io);
    if (io->has_queued) {
        io->has_queued = false;
        if (io->handler->on_drained)
            io->handler->on_drained(io->arg);
    }
}

/* ---- Receiving ---- */

void io_recv(struct io *io)
{
    ASSERT_MAGIC(io, IO_MAGIC);
    if (io->is_closed || io->is_asked)
        return;
    io->is_asked = true;
    if (io->is_readable && !io->is_connecting)
        loop_defer(io->loop, &io->defer);
}

void io_recv_stop(struct io *io)
{
    io->is_asked = false;
}

static ssize_t recv_now(struct io *io, char *buf, size_t len)
{
    bool want_write = false;
    ssize_t n;

    do {
        if (io->filter) {
            n = io->filter->recv(io->filter_state, io->fd, buf, len, &want_write);
        } else {
            n = sys.recv(io->fd, buf, len, 0);
            n = n < 0 ? -errno : n;
        }
    } while (n == -EINTR);
    return n;
}

/* libevent reports an error as "readable and writable", which data looks like too. To receive once
 * more after every message would cost a system call each, so it is done a little later, and only
 * for sockets on which nothing else happened: an error hidden behind data is noticed then. */
static void doubt(struct io *io)
{
    struct loop *loop = io->loop;

    if (!list_is_linked(&io->doubt))
        list_push(&loop->doubts, &io->doubt);
    if (!timer_is_set(&loop->doubt_timer))
        timer_set(&loop->doubt_timer, DOUBT_MS);
}

void io_settle_doubts(void *arg)
{
    struct loop *loop = arg;
    struct list batch, *node;

    list_init(&batch);
    while ((node = list_pop(&loop->doubts)))
        list_push(&batch, node);
    while ((node = list_pop(&batch))) {
        struct io *io = CONTAINER_OF(node, struct io, doubt);

        io->is_readable = true;
        progress(io);
    }
}

/* One receive and its call-back. */
static void receive(struct io *io)
{
    ssize_t n;

    if (!io->loop->scratch) {
        io->loop->scratch = mem_alloc(RECV_SCRATCH);
        if (!io->loop->scratch) {
            io->error = -ENOMEM;
            return;
        }
    }
    n = recv_now(io, io->loop->scratch, RECV_SCRATCH);
    if (n == -EAGAIN) {
        io->is_readable = io->may_have_failed = false;
        return;
    }
    if (n < 0) {
        io->error = (int)n;
        return;
    }
    io->is_asked = false;
    if (n == 0) {
        io->saw_eof = true;
        io->handler->on_eof(io->arg);
        return;
    }
    if (!io->filter && n < RECV_SCRATCH && !io->peer_closed) {
        io->is_readable = false;
        if (io->may_have_failed)
            doubt(io);
    }
    io->handler->on_data(io->arg, str_make(io->loop->scratch, (size_t)n));
}

static void tell_error(struct io *io)
{
    if (io->error_is_told)
        return;
    io->error_is_told = true;
    io->is_asked = false;
    event_del(&io->event);
    if (io->handler->on_error)
        io->handler->on_error(io->arg, io->error);
}

/* Everything that can be done now. Each call-back may close the socket. */
static void progress(struct io *io)
{
    if (io->is_connecting && io->is_writable && !io->error)
        finish_connect(io);
    if (!io->is_closed && !io->is_connecting && !io->error)
        flush(io);
    for (int i = 0; i < RECEIVES_PER_TURN && !io->is_closed && !io->error && !io->is_connecting &&
                    io->is_asked && io->is_readable;
         i++)
        receive(io);
    if (io->is_closed)
        return;
    if (io->error) {
        tell_error(io);
        return;
    }
    if (!io->is_connecting && io->is_asked && io->is_readable)
        loop_defer(io->loop, &io->defer);
}

/* ---- Closing gently ---- */

static void linger_on_data(void *arg, struct str data)
{
    (void)data;
    io_recv(arg);
}

static void linger_on_timeout(void *arg)
{
    io_close(arg, false);
}

/* The peer says no more, but may still read what is queued. */
static void linger_on_eof(void *arg)
{
    if (io_queued(arg) == 0)
        io_close(arg, false);
}

/* The end of the peer is told again if it was told before. */
static void linger_on_drained(void *arg)
{
    io_recv(arg);
}

static void linger_on_error(void *arg, int error)
{
    (void)error;
    io_close(arg, false);
}

static const struct io_handler linger_handler = {
    .on_data = linger_on_data,
    .on_eof = linger_on_eof,
    .on_error = linger_on_error,
    .on_drained = linger_on_drained,
};

void io_end_lingering(struct loop *loop)
{
    struct list *node;

    while ((node = list_pop(&loop->lingering)))
        io_close(CONTAINER_OF(node, struct io, linger_node), false);
}

void io_close_gently(struct io *io, int64_t linger_ms)
{
    if (!io || io->is_closed)
        return;
    if (io->error || io->is_connecting) {
        io_close(io, false);
        return;
    }
    io_set_handler(io, &linger_handler, io);
    list_remove(&io->linger_node);
    list_push(&io->loop->lingering, &io->linger_node);
    set_timer(io, linger_ms, linger_on_timeout);
    io_shutdown(io);
    io_recv(io);
}

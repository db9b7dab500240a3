/* Stream sockets with a completion-shaped interface: ask for bytes and get a call when they are
 * there; hand bytes over and be told when they have gone. Readiness (epoll, edge-triggered, one
 * registration per socket) is hidden below, so that io_uring can take its place.
 *
 * All functions belong to the loop's thread. Call-backs come from the loop, never from inside
 * io_recv or io_send. After io_close no call-back comes; closing from inside one is allowed.
 */
#ifndef LOOP_IO_H
#define LOOP_IO_H

#include "loop/addr.h"
#include "loop/loop.h"

#include <sys/uio.h>

struct io;

struct io_handler {
    /* Answers io_recv: bytes in a buffer of the loop (64 KiB), valid until it returns. Call io_recv
     * again for more. */
    void (*on_data)(void *arg, struct str data);
    /* Answers io_recv: the peer has closed its sending side. */
    void (*on_eof)(void *arg);
    /* The connection is of no use any more: -ECONNRESET, -EPIPE, -ETIMEDOUT, -ECONNREFUSED ... */
    void (*on_error)(void *arg, int error);
    /* Output that had to be queued has gone out. */
    void (*on_drained)(void *arg);
    /* io_connect has succeeded. NULL for accepted sockets. */
    void (*on_connected)(void *arg);
    /* The peer has closed its sending side while nobody asks for bytes: the only way to notice that
     * without reading. What it sent before can still be received, and on_eof after it. May be NULL.
     */
    void (*on_peer_closed)(void *arg);
};

/* What stands between the socket and its bytes (TLS). Returns as recv and send do: count, 0 at end
 * of stream (recv), or negative errno; -EAGAIN sets *want_write when progress needs writability. */
struct io_filter {
    ssize_t (*recv)(void *filter, int fd, void *buf, size_t len, bool *want_write);
    ssize_t (*send)(void *filter, int fd, const struct iovec *iov, int count, bool *want_write);
    void (*shutdown)(void *filter, int fd); /* tells the peer that no more will be sent */
    void (*free)(void *filter);
};

/* Takes over `fd` (connected, non-blocking). NULL when memory is short; fd is closed then. */
struct io *io_new(struct loop *loop, int fd, const struct io_handler *handler, void *arg);
/* Begins to connect; on_connected or on_error follows. NULL when memory or descriptors are short.
 */
struct io *io_connect(struct loop *loop, const struct addr *addr, const struct io_handler *handler,
                      void *arg);
/* Puts a filter in; io owns it from now on. Before the first io_recv or io_send. */
void io_set_filter(struct io *io, const struct io_filter *ops, void *filter);
/* Changes who is called. */
void io_set_handler(struct io *io, const struct io_handler *handler, void *arg);

/* Asks for one on_data, on_eof or on_error. No effect while asked already. */
void io_recv(struct io *io);
/* Takes the question back: back-pressure. Bytes stay in the kernel. */
void io_recv_stop(struct io *io);
/* Sends now what the socket takes and queues a copy of the rest. Returns the bytes that are queued
 * now (0: all gone; on_drained comes when the queue empties) or negative errno. */
ssize_t io_send(struct io *io, const struct iovec *iov, int count);
size_t io_queued(const struct io *io);
/* True when the kernel has said that the peer closed its sending side, whether or not all of what
 * it sent has been received. */
bool io_peer_has_closed(const struct io *io);
/* Closes the sending side once the queue is empty. */
void io_shutdown(struct io *io);
/* Closes now; queued output is dropped. With `reset` the peer sees RST. NULL is allowed. */
void io_close(struct io *io, bool reset);
/* Sends the queue (up to linger_ms), reads and drops what the peer still sends, then closes: so
 * that an answer is not lost to a RST. The io belongs to the loop afterwards. */
void io_close_gently(struct io *io, int64_t linger_ms);

int io_fd(const struct io *io);
struct loop *io_loop(const struct io *io);

/* Accepts on a listening socket; on_accept gets a non-blocking descriptor that it owns. Accepting
 * pauses for 100 ms when descriptors run out. listener_free closes the socket. */
struct listener;
struct listener *listener_new(struct loop *loop, int fd,
                              void (*on_accept)(void *arg, int fd, const struct addr *peer),
                              void *arg);
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);
/* Stops without closing: returns the descriptor. */
int listener_release(struct listener *listener);
void listener_free(struct listener *listener);

#endif

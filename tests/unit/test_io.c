/* io: sockets with a completion-shaped interface, over socketpairs, TCP and Unix sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/sys.h"
#include "loop/io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct peer {
    struct io *io;
    struct buf received;
    int eofs, errors, drains, connects, closes_seen, last_error;
    bool reads;  /* asks again after each piece */
    bool closes; /* closes itself in the next call-back */
};

static bool close_if_asked(struct peer *peer)
{
    if (!peer->closes)
        return false;
    io_close(peer->io, false);
    peer->io = NULL;
    return true;
}

static void on_data(void *arg, struct str data)
{
    struct peer *peer = arg;

    assert_int_equal(buf_add_str(&peer->received, data), 0);
    if (!close_if_asked(peer) && peer->reads)
        io_recv(peer->io);
}

static void on_eof(void *arg)
{
    struct peer *peer = arg;

    peer->eofs++;
    close_if_asked(peer);
}

static void on_error(void *arg, int error)
{
    struct peer *peer = arg;

    peer->errors++;
    peer->last_error = error;
    close_if_asked(peer);
}

static void on_drained(void *arg)
{
    struct peer *peer = arg;

    peer->drains++;
    close_if_asked(peer);
}

static void on_connected(void *arg)
{
    struct peer *peer = arg;

    peer->connects++;
    close_if_asked(peer);
}

static void on_peer_closed(void *arg)
{
    struct peer *peer = arg;

    peer->closes_seen++;
    close_if_asked(peer);
}

static const struct io_handler handler = {on_data,    on_eof,       on_error,
                                          on_drained, on_connected, on_peer_closed};

static struct loop *loop;

static int set_up(void **state)
{
    (void)state;
    loop = loop_new("test");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sys_reset();
    loop_free(loop);
    return 0;
}

#define TURN_UNTIL(condition)                                                                      \
    for (int turns_ = 0; !(condition); turns_++) {                                                 \
        assert_true(turns_ < 100000);                                                              \
        loop_turn(loop, true);                                                                     \
    }

static void settle(void)
{
    for (int i = 0; i < 10; i++)
        loop_turn(loop, false);
}

static void peer_free(struct peer *peer)
{
    io_close(peer->io, false);
    buf_free(&peer->received);
}

static void make_pair(struct peer *a, struct peer *b)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *a = (struct peer){.reads = true};
    *b = (struct peer){.reads = true};
    a->io = io_new(loop, fds[0], &handler, a);
    b->io = io_new(loop, fds[1], &handler, b);
}

static ssize_t send_text(struct peer *peer, const char *text)
{
    char copy[64];
    struct iovec iov = {copy, strlen(text)};

    memcpy(copy, text, strlen(text));
    return io_send(peer->io, &iov, 1);
}

static void nothing_is_read_unless_asked(void **state)
{
    struct peer a, b;

    (void)state;
    make_pair(&a, &b);
    assert_int_equal(send_text(&a, "one"), 0);
    settle();
    assert_int_equal(buf_len(&b.received), 0);
    b.reads = false;
    io_recv(b.io);
    TURN_UNTIL(buf_len(&b.received) == 3);
    assert_int_equal(send_text(&a, "two"), 0);
    settle();
    assert_int_equal(buf_len(&b.received), 3);
    io_recv(b.io);
    TURN_UNTIL(buf_len(&b.received) == 6);
    peer_free(&a);
    peer_free(&b);
}

static void the_end_is_seen_after_the_last_byte(void **state)
{
    struct peer a, b;

    (void)state;
    make_pair(&a, &b);
    send_text(&a, "last");
    io_close(a.io, false);
    a.io = NULL;
    io_recv(b.io);
    TURN_UNTIL(b.eofs == 1);
    assert_int_equal(b.closes_seen, 0); /* who asks is told by on_eof */
    assert_true(str_eq(buf_str(&b.received), STR("last")));
    assert_int_equal(b.errors, 0);
    peer_free(&b);
}

static void a_close_is_told_without_being_asked_to_read(void **state)
{
    struct peer a, b;

    (void)state;
    make_pair(&a, &b);
    send_text(&a, "unread");
    settle();
    assert_false(io_peer_has_closed(b.io));
    io_shutdown(a.io);
    TURN_UNTIL(b.closes_seen > 0);
    assert_true(io_peer_has_closed(b.io));
    assert_int_equal(buf_len(&b.received), 0);
    send_text(&b, "answer");
    io_recv(a.io);
    TURN_UNTIL(buf_len(&a.received) == 6);
    io_recv(b.io);
    TURN_UNTIL(b.eofs == 1);
    assert_true(str_eq(buf_str(&b.received), STR("unread")));
    assert_int_equal(b.closes_seen, 1);
    assert_int_equal(b.errors, 0);
    peer_free(&a);
    peer_free(&b);
}

static void half_close_leaves_the_other_direction_open(void **state)
{
    struct peer a, b;

    (void)state;
    make_pair(&a, &b);
    io_recv(a.io);
    io_recv(b.io);
    send_text(&a, "q");
    io_shutdown(a.io);
    TURN_UNTIL(b.eofs == 1);
    send_text(&b, "answer");
    TURN_UNTIL(buf_len(&a.received) == 6);
    peer_free(&a);
    peer_free(&b);
}

static void a_slow_reader_gets_every_byte_and_the_writer_is_told(void **state)
{
    enum { TOTAL = 3 << 20 };
    struct peer a, b;
    char *bytes = malloc(TOTAL);
    struct iovec iov[2] = {{bytes, 1000}, {bytes + 1000, TOTAL - 1000}};

    (void)state;
    for (int i = 0; i < TOTAL; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    make_pair(&a, &b);
    assert_true(io_send(a.io, iov, 2) > 0);
    assert_true(io_queued(a.io) > 0);
    settle();
    assert_int_equal(a.drains, 0);
    io_recv(b.io);
    TURN_UNTIL(buf_len(&b.received) == TOTAL);
    assert_memory_equal(buf_str(&b.received).ptr, bytes, TOTAL);
    assert_int_equal(a.drains, 1);
    free(bytes);
    peer_free(&a);
    peer_free(&b);
}

static ssize_t stingy_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    static int calls;
    struct msghdr one = *msg;
    struct iovec iov = msg->msg_iov[0];

    (void)flags;
    if (++calls % 3 == 0) {
        errno = EINTR;
        return -1;
    }
    iov.iov_len = iov.iov_len > 7 ? 7 : iov.iov_len;
    one.msg_iov = &iov;
    one.msg_iovlen = 1;
    return sendmsg(fd, &one, MSG_NOSIGNAL);
}

static void short_and_interrupted_sends_lose_nothing(void **state)
{
    struct peer a, b;

    (void)state;
    make_pair(&a, &b);
    sys.sendmsg = stingy_sendmsg;
    io_recv(b.io);
    send_text(&a, "a text that is longer than seven bytes");
    TURN_UNTIL(buf_len(&b.received) == 38);
    assert_true(str_eq(buf_str(&b.received), STR("a text that is longer than seven bytes")));
    peer_free(&a);
    peer_free(&b);
}

static ssize_t failing_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    (void)fd;
    (void)msg;
    (void)flags;
    errno = EPIPE;
    return -1;
}

static void a_failed_send_is_returned_and_told_once(void **state)
{
    struct peer a, b;

    (void)state;
    make_pair(&a, &b);
    sys.sendmsg = failing_sendmsg;
    assert_int_equal(send_text(&a, "x"), -EPIPE);
    assert_int_equal(a.errors, 0);
    settle();
    assert_int_equal(a.errors, 1);
    assert_int_equal(a.last_error, -EPIPE);
    assert_int_equal(send_text(&a, "x"), -EPIPE);
    settle();
    assert_int_equal(a.errors, 1);
    peer_free(&a);
    peer_free(&b);
}

static void closing_inside_each_call_back_is_allowed(void **state)
{
    struct peer a, b;

    (void)state;
    for (int i = 0; i < 3; i++) {
        make_pair(&a, &b);
        b.closes = true;
        io_recv(b.io);
        if (i == 0)
            send_text(&a, "data");
        else
            io_close(TAKE_PTR(a.io), i == 2);
        TURN_UNTIL(b.io == NULL);
        peer_free(&a);
        peer_free(&b);
    }
}

/* ---- TCP and Unix sockets ---- */

static struct peer accepted;

static void on_accept(void *arg, int fd, const struct addr *peer)
{
    (void)arg;
    (void)peer;
    accepted = (struct peer){.reads = true};
    accepted.io = io_new(loop, fd, &handler, &accepted);
}

static struct listener *listen_on(const char *text, struct addr *ret)
{
    struct err err;
    int fd;

    assert_int_equal(addr_parse(str_from(text), ret, &err), 0);
    fd = addr_listen(ret, 16, false, &err);
    assert_true(fd >= 0);
    ret->len = sizeof(ret->space);
    getsockname(fd, &ret->any, &ret->len);
    return listener_new(loop, fd, on_accept, NULL);
}

static void exchange_over(const char *address)
{
    struct addr addr;
    struct listener *listener = listen_on(address, &addr);
    struct peer client = {.reads = true};

    client.io = io_connect(loop, &addr, &handler, &client);
    assert_true(send_text(&client, "before connected") > 0);
    io_recv(client.io);
    TURN_UNTIL(client.connects == 1 && accepted.io);
    io_recv(accepted.io);
    TURN_UNTIL(buf_len(&accepted.received) == 16);
    send_text(&accepted, "back");
    TURN_UNTIL(buf_len(&client.received) == 4);
    io_close(TAKE_PTR(client.io), true);
    TURN_UNTIL(accepted.errors + accepted.eofs == 1);
    peer_free(&client);
    peer_free(&accepted);
    accepted = (struct peer){0};
    listener_free(listener);
}

static void tcp_connects_and_exchanges(void **state)
{
    (void)state;
    exchange_over("127.0.0.1:0");
    exchange_over("[::1]:0");
}

static void unix_sockets_connect_and_exchange(void **state)
{
    char folder[] = "/tmp/test_io.XXXXXX", text[64];

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(text, sizeof(text), "unix:%s/s", folder);
    exchange_over(text);
    exchange_over(text); /* the stale file of the first one is replaced */
    unlink(text + 5);
    rmdir(folder);
}

static void a_reset_is_told_without_being_asked_to_read(void **state)
{
    struct addr addr;
    struct listener *listener = listen_on("127.0.0.1:0", &addr);
    struct peer client = {0};

    (void)state;
    client.io = io_connect(loop, &addr, &handler, &client);
    TURN_UNTIL(client.connects == 1 && accepted.io);
    io_close(TAKE_PTR(client.io), true);
    TURN_UNTIL(accepted.errors == 1);
    assert_int_equal(accepted.last_error, -ECONNRESET);
    peer_free(&accepted);
    accepted = (struct peer){0};
    listener_free(listener);
}

static void a_refused_connection_is_an_error(void **state)
{
    struct addr addr;
    struct listener *listener = listen_on("127.0.0.1:0", &addr);
    struct peer client = {0};

    (void)state;
    listener_free(listener);
    client.io = io_connect(loop, &addr, &handler, &client);
    TURN_UNTIL(client.errors == 1);
    assert_int_equal(client.last_error, -ECONNREFUSED);
    assert_int_equal(client.connects, 0);
    peer_free(&client);
}

static void a_gentle_close_delivers_the_queue_first(void **state)
{
    enum { TOTAL = 1 << 20 };
    struct peer a, b;
    char *bytes = calloc(1, TOTAL);
    struct iovec iov = {bytes, TOTAL};

    (void)state;
    make_pair(&a, &b);
    assert_true(io_send(a.io, &iov, 1) > 0);
    io_close_gently(TAKE_PTR(a.io), 5000);
    send_text(&b, "still talking");
    io_recv(b.io);
    TURN_UNTIL(b.eofs == 1);
    assert_int_equal(buf_len(&b.received), TOTAL);
    peer_free(&b);
    settle();
    free(bytes);
}

static void a_gentle_close_outlasts_the_end_of_the_peer(void **state)
{
    enum { TOTAL = 1 << 20 };
    struct peer a, b;
    char *bytes = calloc(1, TOTAL);
    struct iovec iov = {bytes, TOTAL};

    (void)state;
    make_pair(&a, &b);
    io_shutdown(b.io); /* a client that has nothing more to say, and reads late */
    assert_true(io_send(a.io, &iov, 1) > 0);
    io_close_gently(TAKE_PTR(a.io), 5000);
    settle();
    io_recv(b.io);
    TURN_UNTIL(b.eofs + b.errors == 1);
    assert_int_equal(buf_len(&b.received), TOTAL);
    peer_free(&b);
    settle();
    free(bytes);
}

static void a_loop_that_ends_frees_sockets_that_close_gently(void **state)
{
    struct peer a, b;

    (void)state;
    make_pair(&a, &b);
    io_close_gently(TAKE_PTR(a.io), 5000);
    settle();
    peer_free(&b);
    /* tear_down frees the loop; the leak check sees what it forgot */
}

static void a_reset_right_behind_data_is_told_after_the_data(void **state)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    struct addr addr;
    struct listener *listener = listen_on("127.0.0.1:0", &addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_equal(connect(fd, &addr.any, addr.len), 0);
    TURN_UNTIL(accepted.io);
    settle();
    io_recv(accepted.io);
    assert_int_equal(send(fd, "last words", 10, MSG_NOSIGNAL), 10);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    close(fd);
    TURN_UNTIL(accepted.errors == 1);
    assert_true(str_eq(buf_str(&accepted.received), STR("last words")));
    assert_int_equal(accepted.last_error, -ECONNRESET);
    peer_free(&accepted);
    accepted = (struct peer){0};
    listener_free(listener);
}

static int accepts;

static void on_accept_pause(void *arg, int fd, const struct addr *peer)
{
    struct listener **listener = arg;

    (void)peer;
    accepts++;
    close(fd);
    listener_pause(*listener);
}

static void a_listener_paused_inside_its_call_back_accepts_no_more(void **state)
{
    struct listener *listener;
    struct addr addr;
    struct err err;
    int fds[3], fd;

    (void)state;
    accepts = 0;
    assert_int_equal(addr_parse(STR("127.0.0.1:0"), &addr, &err), 0);
    fd = addr_listen(&addr, 16, false, &err);
    assert_true(fd >= 0);
    addr.len = sizeof(addr.space);
    getsockname(fd, &addr.any, &addr.len);
    listener = listener_new(loop, fd, on_accept_pause, &listener);
    for (int i = 0; i < 3; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fds[i], &addr.any, addr.len), 0);
    }
    TURN_UNTIL(accepts > 0);
    settle();
    assert_int_equal(accepts, 1);
    listener_resume(listener);
    TURN_UNTIL(accepts == 2);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    listener_free(listener);
}

/* ---- Addresses ---- */

static void addresses_parse_and_format(void **state)
{
    static const char *const good[] = {"127.0.0.1:8080", "[::1]:80", "unix:/run/x.sock",
                                       "0.0.0.0:0"};
    static const char *const bad[] = {"",          "8080",          "127.0.0.1",  "localhost:80",
                                      "1.2.3.4:x", "1.2.3.4:65536", "::1:80",     "unix:relative",
                                      "unix:",     "[::1:80",       "1.2.3.4:-1", "[]:80"};
    char text[ADDR_TEXT_MAX];
    struct addr addr;
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(addr_parse(str_from(good[i]), &addr, &err), 0);
        addr_format(&addr, text);
        assert_string_equal(text, good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(addr_parse(str_from(bad[i]), &addr, &err), -EINVAL);
    assert_int_equal(addr_parse(STR("unix:/a\0b"), &addr, &err), -EINVAL);
    assert_int_equal(addr_parse(STR("127.0.0.1\0.example:80"), &addr, &err), -EINVAL);
}

#define IO_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IO_TEST(nothing_is_read_unless_asked),
        IO_TEST(the_end_is_seen_after_the_last_byte),
        IO_TEST(a_close_is_told_without_being_asked_to_read),
        IO_TEST(half_close_leaves_the_other_direction_open),
        IO_TEST(a_slow_reader_gets_every_byte_and_the_writer_is_told),
        IO_TEST(short_and_interrupted_sends_lose_nothing),
        IO_TEST(a_failed_send_is_returned_and_told_once),
        IO_TEST(closing_inside_each_call_back_is_allowed),
        IO_TEST(tcp_connects_and_exchanges),
        IO_TEST(unix_sockets_connect_and_exchange),
        IO_TEST(a_reset_is_told_without_being_asked_to_read),
        IO_TEST(a_refused_connection_is_an_error),
        IO_TEST(a_gentle_close_delivers_the_queue_first),
        IO_TEST(a_gentle_close_outlasts_the_end_of_the_peer),
        IO_TEST(a_loop_that_ends_frees_sockets_that_close_gently),
        IO_TEST(a_reset_right_behind_data_is_told_after_the_data),
        IO_TEST(a_listener_paused_inside_its_call_back_accepts_no_more),
        cmocka_unit_test(addresses_parse_and_format),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

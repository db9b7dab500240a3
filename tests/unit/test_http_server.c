/* http: the server over real loopback sockets, octet by octet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/http_peer.h"

static int set_up(void **state)
{
    static struct peer peer;

    peer_start_server(&peer, &server_config_default);
    *state = &peer;
    return 0;
}

static int tear_down(void **state)
{
    peer_stop(*state);
    return 0;
}

/* For tests that want another configuration: a new server in place of the one of set_up. */
static void restart(struct peer *peer, const struct server_config *config)
{
    peer_stop(peer);
    peer_start_server(peer, config);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define EARLY     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly"
#define PLAIN(n)  "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " #n "\r\n\r\n"
#define REFUSED(code, reason, n)                                                                   \
    "HTTP/1.1 " #code " " reason "\r\nContent-Type: text/plain; charset=utf-8\r\n"                 \
    "Content-Length: " #n "\r\nConnection: close\r\n\r\n"

static void a_connection_serves_one_request_after_the_other(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);

    for (int i = 0; i < 3; i++) {
        peer_send(fd, STR(GET("/early")));
        peer_expect(fd, EARLY);
        peer_send(fd, STR("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"));
        peer_expect(fd, PLAIN(3) "abc");
    }
    assert_int_equal(peer_wait_end(peer, 6), STREAM_COMPLETE);
    close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    int fd = peer_connect(*state);

    peer_send(fd,
              STR("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na" GET(
                  "/early") "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                            "1\r\nb\r\n0\r\n\r\n"));
    peer_expect(fd, PLAIN(1) "a" EARLY PLAIN(1) "b");
    close(fd);
}

static void long_pipelines_are_served_to_the_end(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);

    for (int i = 0; i < 100; i++)
        peer_send(fd, STR(GET("/early")));
    for (int i = 0; i < 100; i++)
        peer_expect(fd, EARLY);
    close(fd);
}

static void a_pipeline_behind_a_pending_request_is_bounded(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer), sent = 0;
    ssize_t n = 1;

    peer_send(fd, STR(GET("/hold")));
    while (n > 0 ||
           errno == EINTR) { /* until the socket buffers are full: the server has stopped */
        struct pollfd ready = {.fd = fd, .events = POLLOUT};

        if (poll(&ready, 1, 200) == 0)
            break;
        n = send(fd, GET("/early"), strlen(GET("/early")), MSG_DONTWAIT | MSG_NOSIGNAL);
        sent++;
    }
    assert_true(sent > 100);
    assert_int_equal(peer_started(peer), 1);
    peer_act(peer, peer_free_server);
    assert_int_equal(peer_wait_end(peer, 1), STREAM_SHUTDOWN);
    close(fd);
}

static void every_cut_of_the_input_gives_the_same_answers(void **state)
{
    struct str input = STR("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"
                           "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "2;x=y\r\ncd\r\n0\r\nT: v\r\n\r\n");
    int fd = peer_connect(*state);

    for (size_t cut = 1; cut < input.len; cut++) {
        peer_send(fd, str_sub(input, 0, cut));
        peer_send(fd, str_sub(input, cut, input.len));
        peer_expect(fd, PLAIN(2) "ab" PLAIN(2) "cd");
    }
    close(fd);
}

static void answers_without_body_say_so(void **state)
{
    int fd = peer_connect(*state);

    peer_send(fd,
              STR("HEAD /early HTTP/1.1\r\nHost: h\r\n\r\n" GET("/204") GET("/304") GET("/early")));
    peer_expect(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
                    "HTTP/1.1 204 No Content\r\n\r\n"
                    "HTTP/1.1 304 Not Modified\r\nContent-Length: 1\r\n\r\n" EARLY);
    close(fd);
}

static void bodies_stream_both_ways_with_trailers(void **state)
{
    int fd = peer_connect(*state);

    peer_send(fd, STR("POST /stream HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"));
    peer_expect(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    peer_send(fd, STR("3\r\nabc\r\n"));
    peer_expect(fd, "3\r\nabc\r\n");
    peer_send(fd, STR("1\r\nd\r\n1\r\ne\r\n0\r\nSum: 4\r\n\r\n")); /* small chunks are joined */
    peer_expect(fd, "2\r\nde\r\n0\r\nSum: 4\r\n\r\n");
    close(fd);
}

static void old_clients_get_what_they_understand(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);

    peer_send(fd, STR("GET /early HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    peer_expect(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nearly");
    peer_send(fd, STR("POST /stream HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n"
                      "abc"));
    peer_expect(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc");
    peer_expect_end(fd);
    fd = peer_connect(peer);
    peer_send(fd, STR("GET /inform HTTP/1.0\r\n\r\n"));
    peer_expect(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na");
    peer_expect_end(fd);
}

static void close_is_honoured(void **state)
{
    int fd = peer_connect(*state);

    peer_send(fd, STR("GET /early HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET("/early")));
    peer_expect(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly");
    peer_expect_end(fd);
}

static void continue_is_sent_when_the_body_is_wanted(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);

    peer_send(fd, STR("POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                      "Content-Length: 2\r\n\r\n"));
    peer_expect(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    peer_send(fd, STR("ab"));
    peer_expect(fd, PLAIN(2) "ab");
    peer_send(fd, STR("POST /early HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
                      "Content-Length: 2\r\n\r\n"));
    peer_expect(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly");
    peer_expect_end(fd);
}

static void interim_answers_go_first(void **state)
{
    int fd = peer_connect(*state);

    peer_send(fd, STR(GET("/inform")));
    peer_expect(fd, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
                    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
    close(fd);
}

static void the_rest_of_an_early_answered_body_is_drained(void **state)
{
    int fd = peer_connect(*state);

    peer_send(fd, STR("POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc"));
    peer_expect(fd, EARLY);
    peer_send(fd, STR("def" GET("/early")));
    peer_expect(fd, EARLY);
    close(fd);
}

static void an_early_answered_body_that_never_ends_closes_the_connection(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);

    peer_send(fd, STR("POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc"));
    peer_expect(fd, EARLY);
    assert_int_equal(peer_wait_end(peer, 1), STREAM_COMPLETE);
    peer_expect_end(fd);
}

static void tunnels_pass_bytes_and_the_end_both_ways(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);

    peer_send(fd, STR("GET /tunnel HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
                      "Upgrade: websocket\r\n\r\nfirst"));
    peer_expect(fd, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                    "Upgrade: websocket\r\n\r\nfirst");
    peer_send(fd, STR("\0\r\n\r\nmore"));
    for (int i = 0; i < 9; i++) {
        char byte;

        assert_int_equal(peer_read(fd, &byte, 1), 1);
        assert_int_equal(byte, "\0\r\n\r\nmore"[i]);
    }
    shutdown(fd, SHUT_WR);
    peer_expect_end(fd);
    assert_int_equal(peer_wait_end(peer, 1), STREAM_COMPLETE);
}

static void slow_readers_hold_the_writer_back(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);
    char buf[65536];
    size_t got = 0;

    peer_send(fd, STR(GET("/big")));
    peer_expect(fd, "HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n");
    while (got < PEER_BIG) {
        ssize_t n = peer_read(fd, buf, sizeof(buf));

        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_int_equal(got, PEER_BIG);
    assert_int_equal(peer_wait_end(peer, 1), STREAM_COMPLETE);
    peer_send(fd, STR(GET("/early")));
    peer_expect(fd, EARLY);
    close(fd);
}

static void an_answer_that_was_queued_whole_goes_out_whole(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);
    static char buf[65536];

    peer_send(fd, STR(GET("/heap")));
    peer_expect(fd, "HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n");
    for (size_t got = 0; got < PEER_BIG;) {
        ssize_t n = peer_read(fd, buf, sizeof(buf));

        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_int_equal(peer_wait_end(peer, 1), STREAM_COMPLETE);
    peer_send(fd, STR(GET("/early")));
    peer_expect(fd, EARLY);
    close(fd);
}

static void many_pieces_are_one_body(void **state)
{
    char want[256] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    int fd = peer_connect(*state);

    memset(want + strlen(want), 'x', 100);
    peer_send(fd, STR(GET("/pieces")));
    peer_expect(fd, want);
    close(fd);
}

static void handlers_may_ask_and_answer_later(void **state)
{
    int fd = peer_connect(*state);

    for (int i = 0; i < 3; i++) {
        peer_send(fd, STR("POST /later HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "1\r\na\r\n"));
        peer_send(fd, STR("1\r\nb\r\n0\r\n\r\n" GET("/early")));
        peer_expect(fd, PLAIN(2) "ab" EARLY);
    }
    close(fd);
}

static void a_body_too_large_to_drain_closes_the_connection(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);
    static char block[65536];
    ssize_t n = 1;

    peer_send(fd, STR("POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n"));
    peer_expect(fd, EARLY);
    for (int i = 0; i < 16 && n > 0; i++)
        n = send(fd, block, sizeof(block), MSG_NOSIGNAL);
    peer_expect_cut(fd);
}

static void a_broken_answer_is_seen_as_broken(void **state)
{
    static const char *const paths[] = {GET("/cut"), GET("/short"), GET("/long")};
    struct peer *peer = *state;

    for (unsigned i = 0; i < 3; i++) {
        int fd = peer_connect(peer);

        peer_send(fd, str_from(paths[i]));
        assert_int_equal(peer_wait_end(peer, i + 1), STREAM_ABORTED);
        for (char byte; peer_read(fd, &byte, 1) > 0;)
            ;
        close(fd);
    }
}

static void a_client_that_leaves_is_noticed(void **state)
{
    static const char *const requests[] = {
        GET("/hold"),
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na",
        GET("/big"),
    };
    struct peer *peer = *state;

    for (unsigned i = 0; i < 4; i++) {
        int fd = peer_connect(peer);

        peer_send(fd, str_from(requests[i]));
        peer_wait_started(peer, i + 1);
        close(fd);
        assert_int_equal(peer_wait_end(peer, i + 1), STREAM_CLIENT_GONE);
    }
}

static void a_client_that_leaves_an_unread_body_behind_is_noticed(void **state)
{
    static const char *const requests[] = {
        "POST /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n",
        "POST /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc",
        "POST /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabcdef" GET("/early"),
        "POST /hold HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na",
    };
    struct peer *peer = *state;
    unsigned n = 0;

    for (unsigned i = 0; i < 4; i++) {
        for (int is_half = 0; is_half < 2; is_half++) {
            int fd = peer_connect(peer);

            peer_send(fd, str_from(requests[i]));
            peer_wait_started(peer, ++n);
            peer_send(fd, STR("more"));
            shutdown(fd, is_half ? SHUT_WR : SHUT_RDWR);
            assert_int_equal(peer_wait_end(peer, n), STREAM_CLIENT_GONE);
            close(fd);
        }
    }
    assert_int_equal(peer_started(peer), n);
}

/* Request and end come in one: no readiness follows. */
static void a_client_that_left_before_its_request_was_seen_is_noticed(void **state)
{
    struct peer *peer = *state;

    for (unsigned i = 0; i < 20; i++) {
        int fd = peer_connect(peer);

        peer_send(fd, STR("POST /hold HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"));
        close(fd);
        assert_int_equal(peer_wait_end(peer, i + 1), STREAM_CLIENT_GONE);
    }
}

static void a_client_that_leaves_a_long_pipeline_behind_is_noticed(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);

    peer_send(fd, STR(GET("/hold")));
    for (int i = 0; i < 3000; i++)
        peer_send(fd, STR(GET("/early")));
    close(fd);
    assert_int_equal(peer_wait_end(peer, 1), STREAM_CLIENT_GONE);
    assert_int_equal(peer_started(peer), 1);
}

static void a_half_close_behind_a_pending_request_counts_as_leaving(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);

    peer_send(fd, STR(GET("/hold")));
    peer_wait_started(peer, 1);
    shutdown(fd, SHUT_WR);
    assert_int_equal(peer_wait_end(peer, 1), STREAM_CLIENT_GONE);
    peer_expect_cut(fd);
}

static void bad_requests_are_told_what_is_wrong(void **state)
{
    static const struct {
        const char *request, *answer;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", REFUSED(400, "Bad Request", 8) "no Host\n"},
        {"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
         REFUSED(505, "HTTP Version Not Supported",
                 43) "only HTTP/1.0 and HTTP/1.1 are spoken here\n"},
        {"\x16\x03\x01", REFUSED(400, "Bad Request", 30) "control character in the head\n"},
        {"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx",
         REFUSED(400, "Bad Request", 47) "a chunk does not begin with a hexadecimal size\n"},
    };
    struct peer *peer = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int fd = peer_connect(peer);

        peer_send(fd, str_from(rows[i].request));
        peer_expect(fd, rows[i].answer);
        shutdown(fd, SHUT_WR);
        peer_expect_end(fd);
    }
    assert_int_equal(peer_wait_end(peer, 1), STREAM_CLIENT_ERROR);
}

static void an_answer_under_way_is_cut_when_the_body_goes_bad(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);

    peer_send(fd, STR("POST /stream HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"));
    peer_expect(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    peer_send(fd, STR("zz"));
    assert_int_equal(peer_wait_end(peer, 1), STREAM_CLIENT_ERROR);
    peer_expect_cut(fd);
}

static void slow_heads_and_bodies_time_out(void **state)
{
    struct server_config config = server_config_default;
    struct peer *peer = *state;
    int fd;

    config.head_timeout_ms = config.body_idle_ms = 50;
    restart(peer, &config);
    fd = peer_connect(peer);
    peer_send(fd, STR("GET / HT"));
    peer_expect(fd,
                REFUSED(408, "Request Timeout", 40) "the request head did not arrive in time\n");
    close(fd);
    fd = peer_connect(peer);
    peer_send(fd, STR("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na"));
    peer_expect(fd, REFUSED(408, "Request Timeout", 34) "the request body stopped arriving\n");
    assert_int_equal(peer_wait_end(peer, 1), STREAM_CLIENT_TIMEOUT);
    close(fd);
    fd = peer_connect(peer);
    peer_expect_end(fd); /* a connection that says nothing just goes */
}

static void a_client_that_does_not_read_times_out(void **state)
{
    struct server_config config = server_config_default;
    struct peer *peer = *state;
    int fd;

    config.body_idle_ms = 50;
    restart(peer, &config);
    fd = peer_connect(peer);
    peer_send(fd, STR(GET("/big")));
    assert_int_equal(peer_wait_end(peer, 1), STREAM_CLIENT_TIMEOUT);
    close(fd);
}

static void idle_connections_end(void **state)
{
    struct server_config config = server_config_default;
    struct peer *peer = *state;
    int fd;

    config.keep_alive_ms = 20;
    config.requests_max = 2;
    restart(peer, &config);
    fd = peer_connect(peer);
    peer_send(fd, STR(GET("/early")));
    peer_expect(fd, EARLY);
    peer_expect_end(fd);
    fd = peer_connect(peer);
    peer_send(fd, STR(GET("/early") GET("/early")));
    peer_expect(fd, EARLY "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly");
    peer_expect_end(fd);
}

static void above_the_maximum_the_oldest_idle_connection_goes(void **state)
{
    struct server_config config = server_config_default;
    struct peer *peer = *state;
    int first, second, third;

    config.connections_max = 2;
    restart(peer, &config);
    first = peer_connect(peer);
    peer_send(first, STR(GET("/early")));
    peer_expect(first, EARLY);
    second = peer_connect(peer);
    peer_send(second, STR(GET("/hold")));
    peer_wait_started(peer, 2);
    third = peer_connect(peer);
    peer_send(third, STR(GET("/early")));
    peer_expect(third, EARLY);
    peer_expect_end(first);
    close(second);
    close(third);
}

static void newcomers_wait_while_all_connections_are_busy(void **state)
{
    struct server_config config = server_config_default;
    struct peer *peer = *state;
    int first, second;

    config.connections_max = 1;
    restart(peer, &config);
    first = peer_connect(peer);
    peer_send(first, STR(GET("/hold")));
    peer_wait_started(peer, 1);
    second = peer_connect(peer); /* in the backlog */
    peer_send(second, STR(GET("/early")));
    close(first);
    peer_expect(second, EARLY);
    close(second);
}

static void say_drained(void *arg)
{
    struct peer *peer = arg;

    pthread_mutex_lock(&peer->lock);
    peer->is_drained = true;
    pthread_cond_broadcast(&peer->changed);
    pthread_mutex_unlock(&peer->lock);
}

static void drain(struct peer *peer)
{
    server_drain(peer->server, false, say_drained, peer);
}

static void draining_lets_exchanges_finish(void **state)
{
    struct peer *peer = *state;
    int idle = peer_connect(peer), busy = peer_connect(peer);

    peer_send(idle, STR(GET("/early")));
    peer_expect(idle, EARLY);
    peer_send(busy, STR("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na"));
    peer_wait_started(peer, 2);
    peer_act(peer, drain);
    peer_expect_end(idle);
    assert_false(peer_is_drained(peer));
    peer_send(busy, STR("b"));
    peer_expect(busy, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n"
                      "Connection: close\r\n\r\nab");
    peer_expect_end(busy);
    pthread_mutex_lock(&peer->lock);
    while (!peer->is_drained)
        pthread_cond_wait(&peer->changed, &peer->lock);
    pthread_mutex_unlock(&peer->lock);
}

static void freeing_ends_what_is_under_way(void **state)
{
    struct peer *peer = *state;
    int fd = peer_connect(peer);

    peer_send(fd, STR(GET("/hold")));
    peer_wait_started(peer, 1);
    peer_act(peer, peer_free_server);
    assert_int_equal(peer_wait_end(peer, 1), STREAM_SHUTDOWN);
    peer_expect_cut(fd);
}

static atomic_int allocations_left;

/* Only the loop's thread runs short: the test itself goes on. */
static void *failing_realloc(void *ptr, size_t size)
{
    if (loop_current() && atomic_fetch_sub(&allocations_left, 1) <= 0)
        return NULL;
    return realloc(ptr, size);
}

/* Each exchange fails in its own way, but every stream ends and the server goes on. */
static void every_allocation_may_fail(void **state)
{
    struct str request =
        STR("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab" GET("/inform"));
    struct peer *peer = *state;
    unsigned n = 0;
    int fd;

    peer_stop(peer);
    sys.realloc = failing_realloc;
    atomic_store(&allocations_left, 1 << 20);
    peer_start_server(peer, &server_config_default);
    for (bool was_served = false; !was_served; n++) {
        assert_true(n < 200);
        atomic_store(&allocations_left, n);
        fd = peer_connect(peer);
        was_served = peer_try(fd, request, "\r\n\r\na");
        close(fd);
    }
    assert_true(n > 5);
    atomic_store(&allocations_left, 1 << 20);
    fd = peer_connect(peer);
    peer_send(fd, STR(GET("/early")));
    peer_expect(fd, EARLY);
    close(fd);
    peer_act(peer, peer_free_server);
    assert_int_equal(peer_started(peer), peer_ended(peer));
    peer_stop(peer);
    sys_reset();
    peer_start_server(peer, &server_config_default);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_connection_serves_one_request_after_the_other),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(long_pipelines_are_served_to_the_end),
        TEST(a_pipeline_behind_a_pending_request_is_bounded),
        TEST(every_cut_of_the_input_gives_the_same_answers),
        TEST(answers_without_body_say_so),
        TEST(bodies_stream_both_ways_with_trailers),
        TEST(old_clients_get_what_they_understand),
        TEST(close_is_honoured),
        TEST(continue_is_sent_when_the_body_is_wanted),
        TEST(interim_answers_go_first),
        TEST(the_rest_of_an_early_answered_body_is_drained),
        TEST(an_early_answered_body_that_never_ends_closes_the_connection),
        TEST(tunnels_pass_bytes_and_the_end_both_ways),
        TEST(slow_readers_hold_the_writer_back),
        TEST(an_answer_that_was_queued_whole_goes_out_whole),
        TEST(many_pieces_are_one_body),
        TEST(handlers_may_ask_and_answer_later),
        TEST(a_body_too_large_to_drain_closes_the_connection),
        TEST(a_broken_answer_is_seen_as_broken),
        TEST(a_client_that_leaves_is_noticed),
        TEST(a_client_that_leaves_an_unread_body_behind_is_noticed),
        TEST(a_client_that_left_before_its_request_was_seen_is_noticed),
        TEST(a_client_that_leaves_a_long_pipeline_behind_is_noticed),
        TEST(a_half_close_behind_a_pending_request_counts_as_leaving),
        TEST(bad_requests_are_told_what_is_wrong),
        TEST(an_answer_under_way_is_cut_when_the_body_goes_bad),
        TEST(slow_heads_and_bodies_time_out),
        TEST(a_client_that_does_not_read_times_out),
        TEST(idle_connections_end),
        TEST(above_the_maximum_the_oldest_idle_connection_goes),
        TEST(newcomers_wait_while_all_connections_are_busy),
        TEST(draining_lets_exchanges_finish),
        TEST(every_allocation_may_fail),
        TEST(freeing_ends_what_is_under_way),
    };

    return cmocka_run_group_tests_name("http server", tests, NULL, NULL);
}

/* proxy, end to end inside one process: heads, bodies, streams and tunnels, back-pressure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/test_proxy_functions.h"

/* ---- The seam: bytes that the gateway received, and allocations of its loop
 * that fail ---- */

static _Atomic size_t received;
static atomic_int allocations_left = -1; /* until one fails; negative: none does */

static ssize_t counting_recv(int fd, void *buf, size_t len, int flags)
{
    ssize_t n = recv(fd, buf, len, flags);

    if (n > 0)
        received += (size_t)n;
    return n;
}

static void *failing_realloc(void *ptr, size_t size)
{
    if (allocations_left >= 0 && loop_current() && allocations_left-- == 0)
        return NULL;
    return realloc(ptr, size);
}

/* ---- Heads and bodies ---- */

static void a_request_reaches_the_function_and_its_answer_the_client(void **state)
{
    struct world *world = *state;
    struct answer answer =
        ask_body(world, "GET", "/function/f/a%2fb?x=%20", "X-Call-Id: id-1\r\n", NULL, 0);

    assert_non_null(strcasestr(answer.text, "\r\nX-Served-By: fngate\r\n"));
    assert_non_null(strcasestr(answer.text, "\r\nX-Duration-Seconds: 0."));
    assert_non_null(strcasestr(answer.text, "\r\nX-Start-Time: 1"));
    assert_ptr_equal(strstr(answer.body, "GET /a%2fb?x=%20 HTTP/1.1\r\n"), answer.body);
    assert_non_null(strcasestr(answer.body, "\r\nX-Call-Id: id-1"));
    assert_non_null(strcasestr(answer.body, "\r\nX-Timeout: "));
    assert_non_null(strcasestr(answer.body, "\r\nHost: gw"));
    check(answer, 200, "X-Call-Id: id-1\r\n");
    wait_record(world, "function", "");
    assert_int_equal(world->attempts, 1);
    check(ask(world, "GET", "/function/f.fn"), 200, "GET / HTTP/1.1");
    check(ask(world, "GET", "/function/f.openfaas-fn/"), 200, "GET / HTTP/1.1");
    check(ask(world, "GET", "/function/f?q"), 200, "GET /?q HTTP/1.1");
    check(ask(world, "PURGE", "/function/f"), 200, "PURGE / HTTP/1.1");
    check(ask(world, "GET", "/function/f/redirect"), 302, "Location: http://x/\r\n");
}

static void a_big_body_goes_both_ways_unchanged(void **state)
{
    enum { SIZE = 8 << 20 };
    struct world *world = *state;
    char *body = malloc(SIZE);
    struct answer answer;

    for (size_t i = 0; i < SIZE; i++)
        body[i] = (char)(i * 2654435761u >> 13);
    answer = ask_body(world, "POST", "/function/f/echo", "", body, SIZE);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.body_len, SIZE);
    assert_memory_equal(answer.body, body, SIZE);
    assert_non_null(strcasestr(answer.text, "\r\nContent-Length: 8388608\r\n"));
    free(answer.text);
    free(body);
}

static void a_chunked_body_and_its_trailers_reach_the_function(void **state)
{
    static const char request[] = "POST /function/f/chunks HTTP/1.1\r\nHost: gw\r\n"
                                  "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "5\r\nhello\r\n1\r\n!\r\n0\r\nX-Check: 7\r\n\r\n";
    struct world *world = *state;

    check(client_finish(client_connect(world), request, strlen(request)), 200, "chunks");
}

static void the_body_is_asked_for_only_when_it_can_be_taken(void **state)
{
    struct world *world = *state;
    char got[4096] = "";
    int fd = client_connect(world);

    client_say(fd, "POST /function/f/echo HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n"
                   "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    client_expect(fd, got, sizeof(got), "HTTP/1.1 100 Continue\r\n\r\n");
    client_say(fd, "body");
    client_expect(fd, got, sizeof(got), "\r\n\r\nbody");
    assert_non_null(strstr(got, "HTTP/1.1 200 OK\r\n"));
    close(fd);
}

static void interim_answers_are_passed_on(void **state)
{
    struct world *world = *state;
    struct answer answer = ask(world, "GET", "/function/f/inform");

    assert_ptr_equal(strstr(answer.text, "HTTP/1.1 103 Early Hints\r\n"), answer.text);
    assert_non_null(strcasestr(answer.text, "\r\nLink: </a>\r\n"));
    check(answer, 200, "ok");
}

static void answers_without_a_body_keep_their_form(void **state)
{
    struct world *world = *state;
    struct answer answer = ask(world, "GET", "/function/f/empty");

    assert_null(strcasestr(answer.text, "Transfer-Encoding"));
    assert_int_equal(answer.body_len, 0);
    check(answer, 204, "HTTP/1.1 204 No Content\r\n");
    answer = ask(world, "HEAD", "/function/f/head");
    assert_int_equal(answer.body_len, 0);
    assert_non_null(strcasestr(answer.text, "Content-Length: 77\r\n"));
    check(answer, 200, "");
    check(ask(world, "GET", "/function/f/until-close"), 200, "d\r\nuntil the end\r\n0\r\n\r\n");
}

static void an_early_answer_is_relayed_while_the_body_arrives(void **state)
{
    enum { SIZE = 4 << 20 };
    struct world *world = *state;
    char *body = calloc(1, SIZE), got[4096] = "";
    int fd = client_connect(world);

    client_say(fd, "POST /function/f/early HTTP/1.1\r\nHost: "
                   "gw\r\nContent-Length: 4194304\r\n\r\n");
    client_say(fd, "the first bytes");
    client_expect(fd, got, sizeof(got), "large");
    assert_non_null(strstr(got, "HTTP/1.1 413 "));
    close(fd);
    free(body);
}

static void an_event_goes_out_before_the_next_one_comes(void **state)
{
    struct world *world = *state;
    char got[4096] = "";
    int fd = client_connect(world);

    client_say(fd, "GET /function/f/sse HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n");
    client_expect(fd, got, sizeof(got), "data: 1\n\n");
    sem_post(&world->upstream.go);
    client_expect(fd, got, sizeof(got), "data: 2\n\n");
    client_expect(fd, got, sizeof(got), "0\r\nX-Sum: 2\r\n\r\n");
    close(fd);
}

static void a_stream_outlives_the_deadline(void **state)
{
    struct world *world = *state;
    char got[4096] = "";
    int fd = client_connect(world);

    policy_set(world, (struct route_policy){.timeout_ms = 1000, .stream_idle_ms = 600000});
    client_say(fd, "GET /function/f/sse HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n");
    client_expect(fd, got, sizeof(got), "data: 1\n\n");
    /* A second request with the same limit, begun later, is over: so the stream's
     * has passed. */
    check_fault(ask(world, "GET", "/function/f/silent"), 504, "timeout");
    sem_post(&world->upstream.go);
    sem_post(&world->upstream.go);
    client_expect(fd, got, sizeof(got), "data: 2\n\n");
    close(fd);
}

static void a_silent_stream_ends_at_its_idle_limit(void **state)
{
    struct world *world = *state;
    struct answer answer;

    policy_set(world, (struct route_policy){.stream_idle_ms = 50});
    answer = ask(world, "GET", "/function/f/sse");
    assert_null(strstr(answer.body, "\r\n0\r\n"));
    check(answer, 200, "data: 1\n\n");
    wait_for(&world->recorded);
    assert_string_equal(world->fault, "timeout");
}

static void a_tunnel_goes_on_when_the_function_has_finished(void **state)
{
    struct world *world = *state;
    char got[4096] = "", byte;
    int fd = client_connect(world);

    client_say(fd, "GET /function/f/farewell HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\n"
                   "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   "Sec-WebSocket-Version: 13\r\n\r\n");
    client_expect(fd, got, sizeof(got), "farewell");
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    client_say(fd, "so long");
    wait_for(&world->upstream.gone);
    close(fd);
    wait_record(world, "function", "");
}

static void a_websocket_becomes_a_tunnel(void **state)
{
    struct world *world = *state;
    char got[4096] = "";
    int fd = client_connect(world);

    client_say(fd, "GET /function/f/tunnel HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\n"
                   "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                   "Sec-WebSocket-Version: 13\r\n\r\n");
    client_expect(fd, got, sizeof(got), "\r\n\r\nhello ");
    assert_non_null(strstr(got, "HTTP/1.1 101 "));
    assert_non_null(strcasestr(got, "\r\nConnection: Upgrade\r\n"));
    assert_non_null(strcasestr(got, "\r\nUpgrade: websocket\r\n"));
    client_say(fd, "ping");
    client_expect(fd, got, sizeof(got), "hello ping");
    client_say(fd, "pong");
    client_expect(fd, got, sizeof(got), "pingpong");
    shutdown(fd, SHUT_WR);
    client_expect(fd, got, sizeof(got), "bye");
    wait_for(&world->upstream.gone);
    wait_record(world, "function", "");
    assert_int_equal(world->status, 101);
    close(fd);
}

static void nothing(struct world *world, const void *arg)
{
    (void)world;
    (void)arg;
}

/* Returns when the gateway has received nothing through a good many turns of
 * its loop. */
static void wait_standstill(struct world *world)
{
    size_t before;

    do {
        before = received;
        for (int i = 0; i < 500; i++)
            on_loop(world, nothing, NULL);
    } while (received != before);
}

static void a_slow_client_holds_the_function_back_and_gets_all(void **state)
{
    static const char request[] = "GET /function/f/pour HTTP/1.1\r\nHost: gw\r\n"
                                  "Connection: close\r\n\r\n";
    struct world *world = *state;
    int fd = client_connect(world);
    struct answer answer;
    size_t count = 0;

    received = 0;
    client_say(fd, request);
    wait_standstill(world);
    assert_true(received < (POUR_PIECES << 16) / 2); /* the rest is in the function's hands */
    answer = client_finish(fd, "", 0);
    assert_int_equal(answer.status, 200);
    for (size_t i = 0; i < answer.body_len; i++)
        count += answer.body[i] == 'z';
    assert_int_equal(count, POUR_PIECES << 16);
    assert_memory_equal(answer.text + answer.len - 5, "0\r\n\r\n", 5);
    free(answer.text);
}

static void a_slow_function_holds_the_client_back_and_gets_all(void **state)
{
    enum { SIZE = 64 << 20 };
    struct world *world = *state;
    char *body = calloc(1, SIZE);
    int fd = client_connect(world);
    size_t sent = 0;
    ssize_t n;

    received = 0;
    client_say(fd, "POST /function/f/late HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n"
                   "Content-Length: 67108864\r\n\r\n");
    do {
        while ((n = send(fd, body + sent, SIZE - sent, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
            sent += (size_t)n;
        wait_standstill(world);
        n = send(fd, body + sent, SIZE - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    assert_true(received < SIZE / 2);
    sem_post(&world->upstream.go);
    check(client_finish(fd, body + sent, SIZE - sent), 200, "ok");
    free(body);
}

static void a_body_that_breaks_the_protocol_ends_the_call(void **state)
{
    struct world *world = *state;
    int fd = client_connect(world);

    client_say(fd, "POST /function/f/silent HTTP/1.1\r\nHost: gw\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n");
    wait_for(&world->upstream.go);
    client_say(fd, "5\r\nhello\r\nnot a chunk\r\n");
    wait_for(&world->upstream.gone);
    wait_record(world, "client", "");
    assert_int_equal(world->status, 400);
    close(fd);
}

static void requests_of_one_connection_follow_each_other(void **state)
{
    struct world *world = *state;
    char got[8192] = "";
    int fd = client_connect(world);

    for (int i = 0; i < 3; i++) {
        got[0] = '\0';
        client_say(fd, "POST /function/f/echo HTTP/1.1\r\nHost: "
                       "gw\r\nContent-Length: 3\r\n\r\nabc");
        client_expect(fd, got, sizeof(got), "\r\n\r\nabc");
    }
    assert_int_equal(world->upstream.count, 1); /* upstream connections are kept, too */
    close(fd);
}

static void an_old_client_gets_an_answer_without_chunks(void **state)
{
    static const char request[] = "GET /function/f/until-close HTTP/1.0\r\n\r\n";
    struct world *world = *state;
    struct answer answer = client_finish(client_connect(world), request, strlen(request));

    assert_int_equal(answer.body_len, strlen("until the end"));
    check(answer, 200, "until the end");
}

static void short_memory_is_a_refusal_not_a_crash(void **state)
{
    struct world *world = *state;
    unsigned failed = 0, served = 0;

    for (int i = 0; served < 3; i++) {
        struct answer answer;

        allocations_left = i;
        answer = ask_body(world, "POST", "/function/f/echo", "", "hello", 5);
        served = answer.status == 200 && allocations_left >= 0 ? served + 1 : 0;
        failed += answer.status != 200;
        allocations_left = -1;
        free(answer.text);
        assert_true(i < 1000);
    }
    assert_true(failed > 0);
    check(ask(world, "GET", "/function/f/ok"), 200, "ok");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_request_reaches_the_function_and_its_answer_the_client),
        TEST(a_big_body_goes_both_ways_unchanged),
        TEST(a_chunked_body_and_its_trailers_reach_the_function),
        TEST(the_body_is_asked_for_only_when_it_can_be_taken),
        TEST(interim_answers_are_passed_on),
        TEST(answers_without_a_body_keep_their_form),
        TEST(an_early_answer_is_relayed_while_the_body_arrives),
        TEST(an_event_goes_out_before_the_next_one_comes),
        TEST(a_stream_outlives_the_deadline),
        TEST(a_silent_stream_ends_at_its_idle_limit),
        TEST(a_tunnel_goes_on_when_the_function_has_finished),
        TEST(a_websocket_becomes_a_tunnel),
        TEST(a_slow_client_holds_the_function_back_and_gets_all),
        TEST(a_slow_function_holds_the_client_back_and_gets_all),
        TEST(a_body_that_breaks_the_protocol_ends_the_call),
        TEST(requests_of_one_connection_follow_each_other),
        TEST(an_old_client_gets_an_answer_without_chunks),
        TEST(short_memory_is_a_refusal_not_a_crash),
    };

    sys.recv = counting_recv;
    sys.realloc = failing_realloc;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

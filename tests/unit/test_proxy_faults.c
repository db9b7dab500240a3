/* proxy, end to end inside one process: retries, broken functions, time limits, waiting for a
 * function to start, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/test_proxy_functions.h"

/* ---- The seam: endpoints that go while a connection to them is made ---- */

static _Atomic(struct world *) meddled;

static int meddling_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct world *world = atomic_exchange(&meddled, NULL);

    if (world)
        set_apply(world, &(struct set){.count = 0});
    return connect(fd, addr, len);
}

/* ---- Requests that wait ---- */

struct asked {
    struct world *world;
    pthread_t thread;
    const char *path;
    struct answer answer;
};

static void *ask_thread(void *arg)
{
    struct asked *asked = arg;

    asked->answer = ask_body(asked->world, "POST", asked->path, "", "a body to keep", 14);
    return NULL;
}

static void ask_begin(struct asked *asked, struct world *world, const char *path)
{
    *asked = (struct asked){.world = world, .path = path};
    assert_int_equal(pthread_create(&asked->thread, NULL, ask_thread, asked), 0);
}

static struct answer ask_end(struct asked *asked)
{
    pthread_join(asked->thread, NULL);
    return asked->answer;
}

/* ---- Functions that fail ---- */

static struct addr dead_addr(void)
{
    struct sockaddr_in in;

    close(listen_any(&in)); /* nobody listens there any more */
    return addr_of(&in);
}

static void a_refused_connection_is_tried_at_another_endpoint(void **state)
{
    struct world *world = *state;
    struct set set = {.count = 2};

    set.specs[0] = (struct route_endpoint_spec){.id = 8, .state = ROUTE_READY};
    set.specs[0].addr = dead_addr();
    set.specs[1] = (struct route_endpoint_spec){.id = 9, .state = ROUTE_READY};
    set.specs[1].addr = world->upstream.addr;
    on_loop(world, set_apply, &set);
    for (int i = 0; i < 20; i++)
        check(ask_body(world, "POST", "/function/f/echo", "", "precious", 8), 200, "precious");
}

static void a_request_whose_endpoint_is_gone_waits_for_another(void **state)
{
    struct world *world = *state;
    struct addr dead = dead_addr();
    struct asked asked;

    policy_set(world, (struct route_policy){.can_wake = true});
    serve_at(world, &dead, ROUTE_READY, 0);
    meddled = world;
    ask_begin(&asked, world, "/function/f/echo");
    wait_for(&world->wanted);
    serve_at(world, &world->upstream.addr, ROUTE_READY, 0);
    check(ask_end(&asked), 200, "a body to keep");
    wait_record(world, "function", "");
    assert_int_equal(world->attempts, 2);
}

static void a_lone_endpoint_that_refuses_is_a_502(void **state)
{
    struct world *world = *state;
    struct addr dead = dead_addr();

    serve_at(world, &dead, ROUTE_READY, 0);
    check_fault(ask(world, "GET", "/function/f"), 502, "connect-failed");
    wait_record(world, "function", "connect-failed");
}

static void a_get_on_a_stale_connection_is_repeated_a_post_is_not(void **state)
{
    struct world *world = *state;

    check(ask(world, "GET", "/function/f/once"), 200, "ok");
    wait_record(world, "function", "");
    check(ask(world, "GET", "/function/f/once"), 200, "ok");
    wait_record(world, "function", "");
    assert_int_equal(world->attempts, 2);
    check(ask_body(world, "PUT", "/function/f/once", "", "kept", 4), 200, "ok");
    wait_record(world, "function", "");
    assert_int_equal(world->attempts, 2);
    check_fault(ask_body(world, "POST", "/function/f/once", "", "x", 1), 502, "upstream-reset");
    wait_record(world, "function", "upstream-reset");
    assert_int_equal(world->attempts, 1);
}

static void a_body_too_large_to_keep_is_not_repeated(void **state)
{
    enum { SIZE = 1 << 20 };
    struct world *world = *state;
    char *body = calloc(1, SIZE);

    check(ask(world, "GET", "/function/f/once"), 200, "ok");
    check_fault(ask_body(world, "PUT", "/function/f/once", "", body, SIZE), 502, "upstream-reset");
    free(body);
}

static void broken_answers_are_502(void **state)
{
    struct world *world = *state;

    check_fault(ask(world, "GET", "/function/f/nonsense"), 502, "upstream-invalid");
    check_fault(ask(world, "GET", "/function/f/die"), 502, "upstream-reset");
}

static void a_truncated_answer_does_not_look_whole(void **state)
{
    struct world *world = *state;
    struct answer answer = ask(world, "GET", "/function/f/cut-length");

    assert_true(answer.body_len < 100);
    check(answer, 200, "Content-Length: 100\r\n");
    wait_record(world, "function", "upstream-reset");
    answer = ask(world, "GET", "/function/f/cut-chunks");
    assert_null(strstr(answer.body, "\r\n0\r\n"));
    check(answer, 200, "hello");
}

static void a_function_that_takes_too_long_is_a_504(void **state)
{
    struct world *world = *state;

    policy_set(world, (struct route_policy){.timeout_ms = 50});
    check_fault(ask(world, "GET", "/function/f/silent"), 504, "timeout");
    wait_record(world, "function", "timeout");
    wait_for(&world->upstream.gone); /* the call was given up */
}

static void a_client_that_hangs_up_takes_its_call_along(void **state)
{
    struct world *world = *state;
    int fd = client_connect(world);

    client_say(fd, "GET /function/f/silent HTTP/1.1\r\nHost: gw\r\n\r\n");
    wait_for(&world->upstream.go);
    close(fd);
    wait_for(&world->upstream.gone);
    wait_record(world, "client", "");
    assert_int_equal(world->status, 499);
}

/* ---- From zero ---- */

static void a_request_waits_for_the_function_to_start(void **state)
{
    struct world *world = *state;
    struct asked asked[3];

    policy_set(world, (struct route_policy){.can_wake = true});
    serve_at(world, NULL, 0, 0);
    for (int i = 0; i < 3; i++)
        ask_begin(&asked[i], world, "/function/f/ok");
    for (int i = 0; i < 3; i++)
        wait_for(&world->wanted);
    serve_at(world, &world->upstream.addr, ROUTE_STARTING, 0);
    serve_at(world, &world->upstream.addr, ROUTE_READY, 1); /* one at a time */
    for (int i = 0; i < 3; i++) {
        check(ask_end(&asked[i]), 200, "ok");
        wait_record(world, "function", "");
        assert_true(world->is_cold);
    }
}

static void a_client_that_leaves_while_it_waits_is_forgotten(void **state)
{
    struct world *world = *state;
    int fd = client_connect(world);

    policy_set(world, (struct route_policy){.can_wake = true});
    serve_at(world, NULL, 0, 0);
    client_say(fd, "GET /function/f/ok HTTP/1.1\r\nHost: gw\r\n\r\n");
    wait_for(&world->wanted);
    close(fd);
    wait_record(world, "client", "");
    assert_int_equal(world->status, 499);
    serve_at(world, &world->upstream.addr, ROUTE_READY, 0);
    check(ask(world, "GET", "/function/f/ok"), 200, "ok");
    assert_int_equal(world->upstream.count, 1); /* its call was never made */
}

static void not_more_wait_than_may(void **state)
{
    struct world *world = *state;
    struct asked asked;

    policy_set(world, (struct route_policy){.can_wake = true, .parked_max = 1});
    serve_at(world, NULL, 0, 0);
    ask_begin(&asked, world, "/function/f/ok");
    wait_for(&world->wanted);
    check_fault(ask(world, "GET", "/function/f/ok"), 503, "too-many-parked");
    serve_at(world, &world->upstream.addr, ROUTE_READY, 0);
    check(ask_end(&asked), 200, "ok");
}

static void reason_apply(struct world *world, const void *arg)
{
    route_fn_set_reason(world->table, world->fn, str_from(arg));
}

static void waiting_ends_with_the_reason_why(void **state)
{
    struct world *world = *state;
    struct answer answer;

    on_loop(world, reason_apply, "image shop/env:9 does not exist");
    serve_at(world, NULL, 0, 0);
    policy_set(world, (struct route_policy){.can_wake = true, .park_timeout_ms = 30});
    answer = ask(world, "GET", "/function/f");
    assert_non_null(strstr(answer.body, "image shop/env:9 does not exist"));
    assert_non_null(strstr(answer.body, "waiting for a replica"));
    check_fault(answer, 504, "start-timeout");
    policy_set(world, (struct route_policy){.can_wake = true, .timeout_ms = 30});
    check_fault(ask(world, "GET", "/function/f"), 504, "start-timeout");
    policy_set(world, (struct route_policy){.can_wake = false});
    answer = ask(world, "GET", "/function/f");
    assert_non_null(strstr(answer.body, "image shop/env:9 does not exist"));
    check_fault(answer, 503, "no-endpoint");
}

static void waiting_for_a_busy_replica_says_so(void **state)
{
    struct world *world = *state;
    char got[4096] = "";
    int fd = client_connect(world);
    struct answer answer;

    policy_set(world, (struct route_policy){.can_wake = true, .park_timeout_ms = 30});
    serve_at(world, &world->upstream.addr, ROUTE_READY, 1);
    client_say(fd, "GET /function/f/sse HTTP/1.1\r\nHost: gw\r\n\r\n");
    client_expect(fd, got, sizeof(got), "data: 1\n\n");
    answer = ask(world, "GET", "/function/f/ok");
    assert_non_null(strstr(answer.body, "ready: 1, each at its concurrency limit\n"));
    check_fault(answer, 504, "start-timeout");
    close(fd);
}

static void drop_apply(struct world *world, const void *arg)
{
    (void)arg;
    route_fn_drop(world->table, world->fn);
}

static void whoever_waits_for_a_removed_function_gets_404(void **state)
{
    struct world *world = *state;
    struct asked asked;

    policy_set(world, (struct route_policy){.can_wake = true});
    serve_at(world, NULL, 0, 0);
    ask_begin(&asked, world, "/function/f/ok");
    wait_for(&world->wanted);
    on_loop(world, drop_apply, NULL);
    check_fault(ask_end(&asked), 404, "unknown-function");
}

static void hold_seen(void *arg, struct route_fn *fn)
{
    (void)fn;
    sem_post(arg);
}

static void hold_apply(struct world *world, const void *arg)
{
    (void)arg;
    route_fn_hold(world->table, world->fn, hold_seen, &world->released);
}

static void unhold_apply(struct world *world, const void *arg)
{
    (void)arg;
    route_fn_unhold(world->table, world->fn);
}

static void a_held_function_parks_its_requests(void **state)
{
    struct world *world = *state;
    struct asked asked;

    on_loop(world, hold_apply, NULL);
    wait_for(&world->released);
    ask_begin(&asked, world, "/function/f/ok");
    wait_for(&world->wanted);
    on_loop(world, unhold_apply, NULL);
    check(ask_end(&asked), 200, "ok");
}

static void a_drained_endpoint_is_released_once_its_request_has_ended(void **state)
{
    struct world *world = *state;
    char got[4096] = "";
    int fd = client_connect(world);

    client_say(fd, "GET /function/f/sse HTTP/1.1\r\nHost: gw\r\n\r\n");
    client_expect(fd, got, sizeof(got), "data: 1\n\n");
    serve_at(world, &world->upstream.addr, ROUTE_DRAINING, 0);
    serve_at(world, NULL, 0, 0);
    assert_int_equal(world->released_count, 0);
    sem_post(&world->upstream.go);
    client_expect(fd, got, sizeof(got), "data: 2\n\n");
    wait_for(&world->released);
    close(fd);
    wait_for(&world->recorded);
    assert_int_equal(world->released_count, 1);
}

/* ---- Refusals ---- */

static void what_cannot_be_served_is_explained(void **state)
{
    struct world *world = *state;
    struct answer answer;

    check_fault(ask(world, "GET", "/function/nobody"), 404, "unknown-function");
    wait_record(world, "gateway", "unknown-function");
    check_fault(ask(world, "GET", "/function/f.elsewhere"), 404, "unknown-function");
    check_fault(ask(world, "GET", "/function/F"), 400, "bad-name");
    check_fault(ask(world, "GET", "/function/f%2e"), 400, "bad-name");
    check_fault(ask(world, "GET", "/function/"), 400, "bad-name");
    answer = ask(world, "HEAD", "/function/nobody");
    assert_int_equal(answer.body_len, 0);
    check(answer, 404, "");
}

static void a_function_at_its_limit_answers_429(void **state)
{
    struct world *world = *state;
    char got[4096] = "";
    int fd = client_connect(world);

    policy_set(world, (struct route_policy){.concurrency_max = 1});
    client_say(fd, "GET /function/f/sse HTTP/1.1\r\nHost: gw\r\n\r\n");
    client_expect(fd, got, sizeof(got), "data: 1\n\n");
    check_fault(ask(world, "GET", "/function/f"), 429, "too-many-requests");
    wait_record(world, "gateway", "too-many-requests");
    sem_post(&world->upstream.go);
    client_expect(fd, got, sizeof(got), "data: 2\n\n");
    wait_for(&world->recorded);
    close(fd);
    check(ask(world, "GET", "/function/f"), 200, "GET / HTTP/1.1");
}

struct figures {
    struct route_fn_stats stats;
    struct route_code_stats codes[4];
    size_t count;
    struct proxy_stats proxy;
};

static void figures_read(struct world *world, const void *arg)
{
    struct figures *figures = (void *)(uintptr_t)arg;

    route_fn_stats(world->fn, &figures->stats);
    figures->count = route_fn_codes(world->fn, figures->codes, 4);
    proxy_stats(world->proxy, &figures->proxy);
}

static void every_request_of_a_function_is_counted_once(void **state)
{
    struct world *world = *state;
    struct figures figures;

    for (int i = 0; i < 5; i++)
        check(ask(world, "GET", "/function/f/ok"), 200, "ok");
    check_fault(ask(world, "GET", "/function/f/die"), 502, "upstream-reset");
    check_fault(ask(world, "GET", "/function/nobody"), 404, "unknown-function");
    for (int i = 0; i < 7; i++)
        wait_for(&world->recorded);
    on_loop(world, figures_read, &figures);
    assert_int_equal(figures.stats.started, 6);
    assert_int_equal(figures.stats.completed, 6);
    assert_int_equal(figures.stats.in_flight, 0);
    assert_int_equal(figures.count, 2);
    assert_int_equal(figures.proxy.requests, 7);
    assert_int_equal(figures.proxy.in_flight, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_refused_connection_is_tried_at_another_endpoint),
        TEST(a_request_whose_endpoint_is_gone_waits_for_another),
        TEST(a_lone_endpoint_that_refuses_is_a_502),
        TEST(a_get_on_a_stale_connection_is_repeated_a_post_is_not),
        TEST(a_body_too_large_to_keep_is_not_repeated),
        TEST(broken_answers_are_502),
        TEST(a_truncated_answer_does_not_look_whole),
        TEST(a_function_that_takes_too_long_is_a_504),
        TEST(a_client_that_hangs_up_takes_its_call_along),
        TEST(a_request_waits_for_the_function_to_start),
        TEST(a_client_that_leaves_while_it_waits_is_forgotten),
        TEST(not_more_wait_than_may),
        TEST(waiting_ends_with_the_reason_why),
        TEST(waiting_for_a_busy_replica_says_so),
        TEST(whoever_waits_for_a_removed_function_gets_404),
        TEST(a_held_function_parks_its_requests),
        TEST(a_drained_endpoint_is_released_once_its_request_has_ended),
        TEST(what_cannot_be_served_is_explained),
        TEST(a_function_at_its_limit_answers_429),
        TEST(every_request_of_a_function_is_counted_once),
    };

    sys.connect = meddling_connect;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

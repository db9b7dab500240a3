/* proxy and route together: a function is moved between endpoints, held, scaled to zero and back
 * while clients call it through two loops. No call may fail, and each endpoint is given back once.
 * Most telling under the thread sanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/test_proxy_functions.h"

enum { WORKERS = 2, UPSTREAMS = 3, CLIENTS = 4, CALLS = 60, MOVES_MIN = 200 };

static struct {
    struct world control; /* its loop, domain, table and function; no server */
    struct world workers[WORKERS];
    struct upstream upstreams[UPSTREAMS];
    unsigned created;
    unsigned seed;
    atomic_uint clients_left;
} all;

static void nothing(struct world *world, const void *arg)
{
    (void)world;
    (void)arg;
}

static void *client_thread(void *arg)
{
    unsigned index = (unsigned)(uintptr_t)arg, seed = index;
    enum { BODY_MAX = 100000 };
    char *body = calloc(1, BODY_MAX);

    for (int i = 0; i < CALLS; i++) {
        size_t len = (size_t)rand_r(&seed) % BODY_MAX;
        struct answer answer = ask_body(&all.workers[index % WORKERS], i % 2 ? "POST" : "PUT",
                                        "/function/f/echo", "", body, len);

        if (answer.status != 200 || answer.body_len != len) {
            fprintf(stderr, "call %d failed:\n%.2000s\n", i, answer.text);
            abort();
        }
        free(answer.text);
    }
    free(body);
    all.clients_left--;
    return NULL;
}

/* Whatever comes back: the calls of this client go wrong in all the ways that the scripts know, and
 * now and then it leaves before the end. */
static void *wild_client_thread(void *arg)
{
    static const char *const paths[] = {"/echo",   "/die",      "/cut-length", "/cut-chunks",
                                        "/once",   "/nonsense", "/early",      "/silent",
                                        "/inform", "/ok",       "/until-close"};
    unsigned index = (unsigned)(uintptr_t)arg, seed = index;
    struct world *world = &all.workers[index % WORKERS];
    char path[64], body[3000] = "";

    for (int i = 0; i < CALLS; i++) {
        const char *method = rand_r(&seed) % 2 ? "POST" : "PUT";
        size_t len = (size_t)rand_r(&seed) % sizeof(body);

        snprintf(path, sizeof(path), "/function/f%s",
                 paths[(size_t)rand_r(&seed) % (sizeof(paths) / sizeof(paths[0]))]);
        if (rand_r(&seed) % 4 == 0) {
            char head[256];
            int fd = client_connect(world);

            snprintf(head, sizeof(head),
                     "%s %s HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n1234", method, path);
            client_say(fd, head);
            if (rand_r(&seed) % 2)
                on_loop(world, nothing, NULL);
            close(fd);
        } else {
            free(ask_body(world, method, path, "", body, len).text);
        }
    }
    all.clients_left--;
    return NULL;
}

/* A new set: each upstream is in it or not, under a new id. */
static void move(struct world *control, const void *arg)
{
    struct set set = {.count = 0};

    for (unsigned i = 0; i < UPSTREAMS; i++) {
        if (rand_r(&all.seed) % 2)
            continue;
        set.specs[set.count++] =
            (struct route_endpoint_spec){.id = all.created++,
                                         .state = ROUTE_READY,
                                         .addr = all.upstreams[i].addr,
                                         .concurrency_max = (unsigned)rand_r(&all.seed) % 3};
    }
    set_apply(control, &set);
    (void)arg;
}

static void ignore_held(void *arg, struct route_fn *fn)
{
    (void)arg;
    (void)fn;
}

static void hold(struct world *control, const void *arg)
{
    (void)arg;
    route_fn_hold(control->table, control->fn, ignore_held, NULL);
}

static void unhold(struct world *control, const void *arg)
{
    (void)arg;
    route_fn_unhold(control->table, control->fn);
}

static void drop(struct world *control, const void *arg)
{
    (void)arg;
    route_fn_drop(control->table, control->fn);
}

/* The last set is a good one, so that nobody waits for ever. */
static void settle(struct world *control, const void *arg)
{
    struct set set = {.count = 1};

    unhold(control, arg);
    set.specs[0] = (struct route_endpoint_spec){
        .id = all.created++, .state = ROUTE_READY, .addr = all.upstreams[0].addr};
    set_apply(control, &set);
}

static void start(void)
{
    struct world *control = &all.control;

    world_init(control);
    control->domain = quiesce_new(control->loop);
    control->table = route_table_new(control->loop, control->domain, WORKERS, on_released, control);
    control->fn = route_fn_put(control->table, STR("fn"), STR("f"));
    route_fn_set_policy(control->table, control->fn, &(struct route_policy){.can_wake = true});
    for (unsigned i = 0; i < WORKERS; i++) {
        struct world *worker = &all.workers[i];

        world_init(worker);
        worker->cell = i;
        worker->table = control->table;
        worker->fn = control->fn;
        quiesce_add_loop(control->domain, worker->loop);
    }
    assert_int_equal(loop_spawn(control->loop), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(loop_spawn(all.workers[i].loop), 0);
        on_loop(&all.workers[i], gateway_start, NULL);
    }
    for (unsigned i = 0; i < UPSTREAMS; i++)
        upstream_start(&all.upstreams[i], script);
}

static void stop(void)
{
    struct world *control = &all.control;

    for (unsigned i = 0; i < WORKERS; i++) {
        on_loop(&all.workers[i], gateway_stop, NULL);
        loop_stop(all.workers[i].loop);
        loop_join(all.workers[i].loop);
    }
    loop_stop(control->loop);
    loop_join(control->loop);
    for (unsigned i = 0; i < UPSTREAMS; i++)
        upstream_stop(&all.upstreams[i]);
    route_table_free(control->table);
    quiesce_free(control->domain);
    for (unsigned i = 0; i < WORKERS; i++)
        loop_free(all.workers[i].loop);
    loop_free(control->loop);
}

static void run(void *(*client)(void *arg))
{
    pthread_t clients[CLIENTS];

    all.seed = 1;
    all.clients_left = CLIENTS;
    for (unsigned i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&clients[i], NULL, client, (void *)(uintptr_t)i), 0);
    for (unsigned moves = 0; moves < MOVES_MIN || all.clients_left > 0; moves++) {
        if (moves % 16 == 8)
            on_loop(&all.control, hold, NULL);
        on_loop(&all.control, move, NULL);
        if (moves % 16 == 9)
            on_loop(&all.control, unhold, NULL);
        on_loop(&all.workers[moves % WORKERS], nothing, NULL); /* lets it have a turn */
    }
    on_loop(&all.control, settle, NULL);
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
}

/* Exchanges end a little later than their clients. */
static void wait_idle(void)
{
    struct proxy_stats stats;

    for (unsigned i = 0; i < WORKERS; i++) {
        do {
            on_loop(&all.workers[i], nothing, NULL);
            proxy_stats(all.workers[i].proxy, &stats);
        } while (stats.in_flight > 0);
    }
}

static void figures_check(struct world *control, const void *arg)
{
    struct route_fn_stats stats;

    (void)arg;
    route_fn_stats(control->fn, &stats);
    ASSERT(stats.in_flight == 0 && stats.parked == 0 && stats.started == stats.completed);
}

static void check_all_is_given_back(void)
{
    wait_idle();
    on_loop(&all.control, figures_check, NULL);
    on_loop(&all.control, drop, NULL);
    while (all.control.released_count < all.created)
        wait_for(&all.control.released);
    assert_int_equal(all.control.released_count, all.created);
}

static void no_call_fails_while_its_function_moves(void **state)
{
    (void)state;
    start();
    run(client_thread);
    check_all_is_given_back();
    stop();
}

static void policy_short(struct world *control, const void *arg)
{
    (void)arg;
    route_fn_set_policy(
        control->table, control->fn,
        &(struct route_policy){.can_wake = true, .timeout_ms = 100, .concurrency_max = 3});
}

static void nothing_is_left_behind_by_calls_that_fail(void **state)
{
    (void)state;
    memset(&all, 0, sizeof(all));
    start();
    on_loop(&all.control, policy_short, NULL);
    run(wild_client_thread);
    check_all_is_given_back();
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_call_fails_while_its_function_moves),
        cmocka_unit_test(nothing_is_left_behind_by_calls_that_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

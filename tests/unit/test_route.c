/* route: the directory, endpoint sets, permits, release, parking, holds; one thread plays both the
 * control loop and a reading loop. What several threads do to each other is in
 * test_route_threads.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sys.h"
#include "route/route.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOOPS = 2 };

struct world {
    struct loop *loop;
    struct quiesce *domain;
    struct route_table *table;
    struct loop_msg turn;
    unsigned released;
    uint64_t released_id, released_generation;
    unsigned held;
};

static void on_released(void *arg, uint32_t provider, uint64_t id, uint64_t generation)
{
    struct world *world = arg;

    assert_int_equal(provider, 7);
    world->released++;
    world->released_id = id;
    world->released_generation = generation;
}

static void stop(struct loop_msg *msg)
{
    (void)msg;
    loop_stop(loop_current());
}

/* Runs what is posted, with some turns for messages that follow from messages. */
static void settle(struct world *world)
{
    for (int i = 0; i < 8; i++) {
        world->turn.run = stop;
        loop_post(world->loop, &world->turn);
        loop_run(world->loop);
    }
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    world->loop = loop_new("test");
    world->domain = quiesce_new(world->loop);
    quiesce_add_loop(world->domain, world->loop);
    world->table = route_table_new(world->loop, world->domain, LOOPS, on_released, world);
    route_table_set_loop(world->table, 0, world->loop);
    route_table_set_loop(world->table, 1, world->loop);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    route_table_free(world->table);
    quiesce_free(world->domain);
    loop_free(world->loop);
    free(world);
    return 0;
}

static struct route_endpoint_spec spec(uint64_t id, enum route_endpoint_state state)
{
    struct route_endpoint_spec ret = {.id = id, .provider = 7, .state = state};
    char text[32];

    snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned)(1000 + id));
    assert_int_equal(addr_parse(str_from(text), &ret.addr, NULL), 0);
    ret.replica = STR("replica-a");
    return ret;
}

static struct route_fn *fn_put(struct world *world, const char *name)
{
    return route_fn_put(world->table, STR("ns"), str_from(name));
}

static void a_name_is_found_until_it_is_dropped(void **state)
{
    struct world *world = *state;
    char name[32];

    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "fn-%d", i);
        assert_ptr_equal(fn_put(world, name), fn_put(world, name));
    }
    for (int i = 0; i < 3000; i += 2) {
        snprintf(name, sizeof(name), "fn-%d", i);
        route_fn_drop(world->table, fn_put(world, name));
    }
    for (int i = 0; i < 3000; i++) {
        struct route_fn *fn;

        snprintf(name, sizeof(name), "fn-%d", i);
        fn = route_lookup(world->table, STR("ns"), str_from(name));
        assert_int_equal(fn != NULL, i % 2);
        assert_null(route_lookup(world->table, STR("other"), str_from(name)));
        if (fn)
            assert_string_equal(route_fn_name(fn).ptr, name);
    }
    settle(world);
}

static void names_that_share_bytes_are_different(void **state)
{
    struct world *world = *state;
    struct route_fn *a = route_fn_put(world->table, STR("b"), STR("a"));

    assert_ptr_not_equal(a, route_fn_put(world->table, STR(""), STR("ab")));
    assert_ptr_not_equal(a, route_fn_put(world->table, STR("a"), STR("b")));
    assert_null(route_lookup(world->table, STR("b"), STR("")));
    assert_true(str_eq(route_fn_ns(a), STR("b")));
}

static void an_endpoint_is_picked_only_while_it_is_ready(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec specs[] = {spec(1, ROUTE_STARTING), spec(2, ROUTE_READY),
                                          spec(3, ROUTE_DRAINING)};
    struct route_endpoint *ep;

    assert_null(route_pick(fn, 0, NULL));
    route_fn_set_endpoints(world->table, fn, 1, specs, 3);
    assert_int_equal(route_ready_count(fn), 1);
    for (int i = 0; i < 20; i++) {
        ep = route_pick(fn, 0, NULL);
        assert_true(addr_eq(endpoint_addr(ep), &specs[1].addr));
        assert_string_equal(endpoint_replica(ep).ptr, "replica-a");
        endpoint_release(ep, 0);
    }
    settle(world);
    assert_int_equal(world->released_id, 3);
}

static void the_less_loaded_of_two_is_picked(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec specs[] = {spec(1, ROUTE_READY), spec(2, ROUTE_READY)};
    struct route_endpoint *eps[10];
    unsigned first = 0;

    route_fn_set_endpoints(world->table, fn, 1, specs, 2);
    for (int i = 0; i < 10; i++) {
        eps[i] = route_pick(fn, 0, NULL);
        first += addr_eq(endpoint_addr(eps[i]), &specs[0].addr);
    }
    assert_int_equal(first, 5);
    for (int i = 0; i < 10; i++)
        endpoint_release(eps[i], 0);
}

static void an_endpoint_in_use_is_released_once_when_its_last_request_ends(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec specs[] = {spec(1, ROUTE_READY), spec(2, ROUTE_READY)};
    struct route_endpoint *ep, *other;

    route_fn_set_endpoints(world->table, fn, 1, specs, 1);
    ep = route_pick(fn, 0, NULL);
    other = route_pick(fn, 1, NULL);
    assert_ptr_equal(ep, other);
    specs[0].state = ROUTE_DRAINING;
    route_fn_set_endpoints(world->table, fn, 2, specs, 2);
    settle(world);
    assert_int_equal(world->released, 0);
    endpoint_release(ep, 0);
    settle(world);
    assert_int_equal(world->released, 0);
    endpoint_release(other, 1);
    settle(world);
    assert_int_equal(world->released, 1);
    assert_int_equal(world->released_id, 1);
    assert_int_equal(world->released_generation, 2);
    route_fn_set_endpoints(world->table, fn, 3, specs + 1, 1); /* leaves the set, too */
    settle(world);
    assert_int_equal(world->released, 1);
}

static void what_drains_may_come_back_before_its_release(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec one = spec(1, ROUTE_READY);
    struct route_endpoint *ep;

    route_fn_set_endpoints(world->table, fn, 1, &one, 1);
    for (int i = 0; i < 3; i++) {
        one.state = ROUTE_DRAINING;
        route_fn_set_endpoints(world->table, fn, 2, &one, 1);
        one.state = ROUTE_READY;
        route_fn_set_endpoints(world->table, fn, 3, &one, 1);
    }
    settle(world);
    assert_int_equal(world->released, 0);
    ep = route_pick(fn, 0, NULL);
    assert_non_null(ep);
    endpoint_release(ep, 0);
    settle(world);
    assert_int_equal(world->released, 0);
    one.state = ROUTE_DRAINING;
    route_fn_set_endpoints(world->table, fn, 4, &one, 1);
    settle(world);
    assert_int_equal(world->released, 1);
    one.state = ROUTE_READY; /* too late: it may be dead */
    route_fn_set_endpoints(world->table, fn, 5, &one, 1);
    assert_int_equal(route_ready_count(fn), 0);
}

static void an_endpoint_in_use_may_come_back_into_the_set(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec one = spec(1, ROUTE_READY);
    struct route_endpoint *ep, *again;

    route_fn_set_endpoints(world->table, fn, 1, &one, 1);
    ep = route_pick(fn, 0, NULL);
    route_fn_set_endpoints(world->table, fn, 2, NULL, 0);
    settle(world);
    route_fn_set_endpoints(world->table, fn, 3, &one, 1);
    again = route_pick(fn, 0, NULL);
    assert_ptr_equal(again, ep);
    endpoint_release(ep, 0);
    endpoint_release(again, 0);
    settle(world);
    assert_int_equal(world->released, 0);
    route_fn_set_endpoints(world->table, fn, 4, NULL, 0);
    settle(world);
    assert_int_equal(world->released, 1);
    assert_int_equal(world->released_generation, 3);
}

static void an_address_may_change_until_requests_have_seen_it(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec one = spec(1, ROUTE_STARTING);
    struct route_endpoint *before, *after;

    route_fn_set_endpoints(world->table, fn, 1, &one, 1);
    one = spec(2, ROUTE_READY);
    one.id = 1;
    route_fn_set_endpoints(world->table, fn, 2, &one, 1);
    before = route_pick(fn, 0, NULL);
    assert_true(addr_eq(endpoint_addr(before), &one.addr));
    one.addr = spec(3, ROUTE_READY).addr;
    route_fn_set_endpoints(world->table, fn, 3, &one, 1);
    after = route_pick(fn, 0, NULL);
    assert_ptr_not_equal(before, after);
    assert_false(addr_eq(endpoint_addr(before), &one.addr));
    endpoint_release(before, 0);
    settle(world);
    assert_int_equal(world->released, 0); /* the id lives on */
    endpoint_release(after, 0);
    route_fn_drop(world->table, fn);
    settle(world);
    assert_int_equal(world->released, 1);
}

static void an_id_named_twice_is_one_endpoint(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec specs[] = {spec(1, ROUTE_READY), spec(1, ROUTE_READY),
                                          spec(2, ROUTE_READY), spec(1, ROUTE_DRAINING)};

    specs[1].addr = specs[2].addr;
    route_fn_set_endpoints(world->table, fn, 1, specs, 4);
    assert_int_equal(route_ready_count(fn), 2);
    route_fn_set_endpoints(world->table, fn, 2, NULL, 0);
    settle(world);
    assert_int_equal(world->released, 2);
}

static void on_held(void *arg, struct route_fn *fn)
{
    struct world *world = arg;

    assert_true(route_fn_is_held(fn));
    world->held++;
}

/* Whether anything is lost or freed twice is the address sanitizer's to say. */
static void a_table_is_freed_whatever_is_under_way(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f"), *gone = fn_put(world, "gone");
    struct route_endpoint_spec specs[] = {spec(1, ROUTE_READY), spec(2, ROUTE_READY),
                                          spec(3, ROUTE_READY)};
    struct route_endpoint *ep;

    route_fn_set_endpoints(world->table, gone, 1, specs, 3);
    assert_true(route_fn_enter(gone, 0));
    route_fn_drop(world->table, gone);
    settle(world);
    route_fn_set_endpoints(world->table, fn, 1, specs, 3);
    ep = route_pick(fn, 0, NULL);
    route_fn_set_endpoints(world->table, fn, 2, NULL, 0);
    settle(world);
    endpoint_release(ep, 0); /* its message is never run */
    route_fn_set_endpoints(world->table, fn, 3, specs, 1);
    specs[0].state = ROUTE_DRAINING;
    route_fn_set_endpoints(world->table, fn, 4, specs, 2);
    route_fn_hold(world->table, fn, on_held, world);
    route_fn_set_reason(world->table, fn, STR("why"));
    route_fn_drop(world->table, fn_put(world, "late"));
}

static void a_failing_endpoint_is_left_out_for_a_while_and_forgiven(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec specs[] = {spec(1, ROUTE_READY), spec(2, ROUTE_READY)};
    struct route_endpoint *bad, *ep;

    route_fn_set_endpoints(world->table, fn, 1, specs, 2);
    bad = route_pick(fn, 0, NULL);
    endpoint_report(bad, false, sys_monotonic_ms());
    endpoint_release(bad, 0);
    for (int i = 0; i < 20; i++) {
        ep = route_pick(fn, 0, NULL);
        assert_ptr_not_equal(ep, bad);
        endpoint_release(ep, 0);
    }
    ep = route_pick(fn, 0, ep); /* only the bad one is left: better than none */
    assert_ptr_equal(ep, bad);
    endpoint_report(bad, true, sys_monotonic_ms());
    endpoint_release(bad, 0);
    for (int i = 0; (ep = route_pick(fn, 0, NULL)) != bad; i++) {
        endpoint_release(ep, 0);
        assert_true(i < 1000);
    }
    endpoint_release(ep, 0);
}

static void permits_bound_endpoints_and_functions(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec one = spec(1, ROUTE_READY);
    struct route_policy policy = {.concurrency_max = 2};
    struct route_endpoint *ep;

    one.concurrency_max = 1;
    route_fn_set_endpoints(world->table, fn, 1, &one, 1);
    route_fn_set_policy(world->table, fn, &policy);
    ep = route_pick(fn, 0, NULL);
    assert_non_null(ep);
    assert_null(route_pick(fn, 1, NULL));
    endpoint_release(ep, 0);
    ep = route_pick(fn, 1, NULL);
    assert_non_null(ep);
    endpoint_release(ep, 1);

    assert_true(route_fn_enter(fn, 0));
    assert_true(route_fn_enter(fn, 1));
    assert_false(route_fn_enter(fn, 0));
    route_fn_leave(fn, 1, 200, 0.1);
    assert_true(route_fn_enter(fn, 0));
    route_fn_leave(fn, 0, 200, 0.1);
    route_fn_leave(fn, 0, 200, 0.1);
}

static void a_limit_that_is_lifted_leaves_no_count_behind(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_policy limited = {.concurrency_max = 1}, unlimited = {0};

    assert_true(route_fn_enter(fn, 0)); /* counted before there was a limit */
    route_fn_set_policy(world->table, fn, &limited);
    assert_true(route_fn_enter(fn, 1));
    route_fn_set_policy(world->table, fn, &unlimited);
    route_fn_leave(fn, 0, 200, 0);
    route_fn_leave(fn, 1, 200, 0);
    route_fn_set_policy(world->table, fn, &limited);
    assert_true(route_fn_enter(fn, 0));
    assert_false(route_fn_enter(fn, 1));
    route_fn_leave(fn, 0, 200, 0);
    settle(world);
}

struct waiter {
    struct route_parked parked;
    struct route_fn *fn;
    struct route_endpoint *ep;
    unsigned *sequence, order;
};

static void on_wake(struct route_parked *parked)
{
    struct waiter *waiter = CONTAINER_OF(parked, struct waiter, parked);

    waiter->order = ++*waiter->sequence;
    if (route_fn_is_dropped(waiter->fn))
        return;
    waiter->ep = route_pick(waiter->fn, 0, NULL);
    if (!waiter->ep)
        assert_true(route_park(waiter->fn, 0, 100, parked));
}

static void park(struct route_fn *fn, struct waiter *waiter, unsigned *sequence)
{
    *waiter = (struct waiter){.parked.on_wake = on_wake, .fn = fn, .sequence = sequence};
    assert_true(route_fn_enter(fn, 0));
    assert_null(route_pick(fn, 0, NULL));
    assert_true(route_park(fn, 0, 100, &waiter->parked));
}

static void parked_requests_go_in_order_as_permits_allow(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec one = spec(1, ROUTE_READY);
    struct waiter waiters[3];
    unsigned sequence = 0;

    for (int i = 0; i < 3; i++)
        park(fn, &waiters[i], &sequence);
    one.concurrency_max = 1;
    route_fn_set_endpoints(world->table, fn, 1, &one, 1);
    settle(world);
    assert_int_equal(sequence, 1);
    assert_null(route_pick(fn, 0, NULL)); /* no overtaking */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(waiters[i].order, i + 1);
        assert_non_null(waiters[i].ep);
        endpoint_release(waiters[i].ep, 0);
        assert_null(i < 2 ? route_pick(fn, 0, NULL) : NULL);
        settle(world);
        route_fn_leave(fn, 0, 200, 0);
    }
    assert_int_equal(sequence, 3);
}

static void parking_is_bounded_and_can_be_taken_back(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_fn_stats stats;
    struct waiter waiter;
    struct route_parked other = {.on_wake = on_wake};
    unsigned sequence = 0;

    park(fn, &waiter, &sequence);
    assert_false(route_park(fn, 0, 1, &other));
    route_unpark(&other, 0);
    route_fn_stats(fn, &stats);
    assert_int_equal(stats.parked, 1);
    route_unpark(&waiter.parked, 0);
    route_unpark(&waiter.parked, 0);
    route_fn_stats(fn, &stats);
    assert_int_equal(stats.parked, 0);
    route_fn_leave(fn, 0, 503, 0);
    settle(world);
    assert_int_equal(sequence, 0);
}

static void a_request_that_parks_beside_a_ready_endpoint_is_woken(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec one = spec(1, ROUTE_READY);
    struct waiter waiter = {.parked.on_wake = on_wake, .fn = fn};
    unsigned sequence = 0;

    waiter.sequence = &sequence;
    route_fn_set_endpoints(world->table, fn, 1, &one, 1); /* between its look and its parking */
    assert_true(route_park(fn, 0, 100, &waiter.parked));
    settle(world);
    assert_non_null(waiter.ep);
    endpoint_release(waiter.ep, 0);
}

static void a_dropped_function_wakes_its_waiters_and_waits_for_them(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct waiter waiter;
    unsigned sequence = 0;

    park(fn, &waiter, &sequence);
    route_fn_drop(world->table, fn);
    settle(world);
    assert_int_equal(sequence, 1);
    assert_true(route_fn_is_dropped(fn)); /* still there: the request has not left */
    route_fn_leave(fn, 0, 404, 0);
    settle(world);
}

static void a_held_function_parks_until_the_hold_is_lifted(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_endpoint_spec one = spec(1, ROUTE_READY);
    struct waiter waiter;
    unsigned sequence = 0;

    route_fn_set_endpoints(world->table, fn, 1, &one, 1);
    route_fn_hold(world->table, fn, on_held, world);
    settle(world);
    assert_int_equal(world->held, 1);
    park(fn, &waiter, &sequence);
    settle(world);
    assert_int_equal(sequence, 0);
    route_fn_unhold(world->table, fn);
    settle(world);
    assert_non_null(waiter.ep);
    endpoint_release(waiter.ep, 0);
    route_fn_leave(fn, 0, 200, 0);

    route_fn_hold(world->table, fn, on_held, world);
    route_fn_unhold(world->table, fn); /* before it was acknowledged */
    settle(world);
    assert_int_equal(world->held, 1);
}

static void figures_add_up_over_the_loops(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    struct route_code_stats codes[4];
    struct route_fn_stats stats;

    route_fn_add_history(fn, 100);
    for (unsigned cell = 0; cell < LOOPS; cell++) {
        assert_true(route_fn_enter(fn, cell));
        assert_true(route_fn_enter(fn, cell));
        assert_true(route_fn_enter(fn, cell));
        route_fn_leave(fn, cell, 200, 0.004);
        route_fn_leave(fn, cell, 502, 99);
    }
    route_fn_stats(fn, &stats);
    assert_int_equal(stats.started, 106);
    assert_int_equal(stats.completed, 104);
    assert_int_equal(stats.in_flight, 2);
    assert_true(stats.last_active_ms > 0);
    assert_int_equal(route_fn_codes(fn, codes, 4), 2);
    assert_int_equal(codes[0].code, 200);
    assert_int_equal(codes[0].count, 102);
    assert_int_equal(codes[0].buckets[0], 2);
    assert_int_equal(codes[1].code, 502);
    assert_int_equal(codes[1].count, 2);
    assert_int_equal(codes[1].buckets[ROUTE_BUCKETS - 1], 2);
    assert_true(codes[1].seconds > 197.9 && codes[1].seconds < 198.1);
    route_fn_leave(fn, 0, 0, 0); /* not counted */
    route_fn_leave(fn, 1, 0, 0);
    route_fn_stats(fn, &stats);
    assert_int_equal(stats.completed, 104);
    assert_int_equal(stats.in_flight, 0);
}

static void a_reason_is_shown_until_it_is_taken_back(void **state)
{
    struct world *world = *state;
    struct route_fn *fn = fn_put(world, "f");
    char text[ROUTE_REASON_MAX], longer[300];

    route_fn_reason(fn, text);
    assert_string_equal(text, "");
    memset(longer, 'x', sizeof(longer));
    route_fn_set_reason(world->table, fn, str_make(longer, sizeof(longer)));
    route_fn_reason(fn, text);
    assert_int_equal(strlen(text), ROUTE_REASON_MAX - 1);
    route_fn_set_reason(world->table, fn, STR_NONE);
    route_fn_reason(fn, text);
    assert_string_equal(text, "");
    settle(world);
}

static void a_function_with_one_endpoint_costs_less_than_a_kilobyte(void **state)
{
    enum { FUNCTIONS = 20000 };
    struct world *world = *state;
    struct route_endpoint_spec one = spec(1, ROUTE_READY);
    struct route_policy policy = {0};
    size_t before = mallinfo2().uordblks; /* a sanitizer's allocator says 0 */
    char name[32];

    for (int i = 0; i < FUNCTIONS; i++) {
        struct route_fn *fn;

        snprintf(name, sizeof(name), "function-%d", i);
        fn = fn_put(world, name);
        one.id = (uint64_t)i;
        route_fn_set_policy(world->table, fn, &policy);
        route_fn_set_endpoints(world->table, fn, 1, &one, 1);
        if (i % 1000 == 999)
            settle(world);
    }
    assert_true((mallinfo2().uordblks - before) / FUNCTIONS < 1024);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_name_is_found_until_it_is_dropped),
        TEST(names_that_share_bytes_are_different),
        TEST(an_endpoint_is_picked_only_while_it_is_ready),
        TEST(the_less_loaded_of_two_is_picked),
        TEST(an_endpoint_in_use_is_released_once_when_its_last_request_ends),
        TEST(what_drains_may_come_back_before_its_release),
        TEST(an_endpoint_in_use_may_come_back_into_the_set),
        TEST(an_address_may_change_until_requests_have_seen_it),
        TEST(an_id_named_twice_is_one_endpoint),
        TEST(a_table_is_freed_whatever_is_under_way),
        TEST(a_failing_endpoint_is_left_out_for_a_while_and_forgiven),
        TEST(permits_bound_endpoints_and_functions),
        TEST(a_limit_that_is_lifted_leaves_no_count_behind),
        TEST(parked_requests_go_in_order_as_permits_allow),
        TEST(parking_is_bounded_and_can_be_taken_back),
        TEST(a_request_that_parks_beside_a_ready_endpoint_is_woken),
        TEST(a_dropped_function_wakes_its_waiters_and_waits_for_them),
        TEST(a_held_function_parks_until_the_hold_is_lifted),
        TEST(figures_add_up_over_the_loops),
        TEST(a_reason_is_shown_until_it_is_taken_back),
        TEST(a_function_with_one_endpoint_costs_less_than_a_kilobyte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

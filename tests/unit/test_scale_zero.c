/* scale: to zero in two phases, and what may come between them. */
#include "catalog/catalog.h"

#include "scale/scale.h"
#include "test_catalog_world.h"

enum { DURATION_MS = 60000 };

static struct scale *scale;

static int set_up_scale(void **state)
{
    struct world *world;

    set_up(state);
    world = *state;
    scale = scale_new(&(struct scale_config){.control = world->loop,
                                             .catalog = world->catalog,
                                             .routes = world->routes,
                                             .zero_duration_ms = DURATION_MS});
    return 0;
}

static int tear_down_scale(void **state)
{
    scale_free(scale);
    return tear_down(state);
}

static struct fng_function sleepy_function(const char *wish)
{
    static struct fng_kv label;
    struct fng_function function = function_of("echo", "v1");

    label = (struct fng_kv){FNG_STR("com.openfaas.scale.zero"), fng_str_from(wish)};
    function.labels = (struct fng_kv_list){&label, 1};
    return function;
}

static struct catalog_fn *deploy_ready(struct world *world)
{
    struct fng_function function = sleepy_function("true");
    struct catalog_fn *fn = deploy(world, &function);

    push_endpoint(world, "echo", 1, FNG_ENDPOINT_READY);
    return fn;
}

/* The first turn after the clock has moved: the hold is set, and not yet acknowledged. */
static void advance_to_hold(struct world *world, const struct catalog_fn *fn)
{
    fake_now_ns += INT64_C(1000000) * DURATION_MS;
    for (int i = 0; i < 8 && !route_fn_is_held(fn->route); i++)
        loop_turn(world->loop, false);
    assert_true(route_fn_is_held(fn->route));
    assert_int_equal(world->provider.made[OP_SCALE], 0);
}

static void an_idle_function_goes_to_zero_and_comes_back(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);
    struct request request;

    advance(world, DURATION_MS - 1);
    assert_false(route_fn_is_held(fn->route));
    for (unsigned round = 1; round < 4; round++) {
        advance(world, DURATION_MS);
        assert_int_equal(call_of(&world->provider, OP_SCALE)->replicas, 0);
        assert_true(route_fn_is_held(fn->route));
        answer(&world->provider, OP_SCALE, FNG_OK);
        assert_true(route_fn_is_held(fn->route)); /* there is an endpoint yet */
        push_endpoint(world, "echo", round, FNG_ENDPOINT_DRAINING);
        assert_false(route_fn_is_held(fn->route));
        push_endpoint(world, "echo", 0, 0);
        advance(world, 10 * DURATION_MS);
        assert_int_equal(calls_open(&world->provider), 0);
        request_park(world, fn, &request);
        answer(&world->provider, OP_ACTIVATE, FNG_OK);
        push_endpoint(world, "echo", round + 1, FNG_ENDPOINT_READY);
        assert_true(request.is_woken);
        request_end(world, fn->route, &request);
        assert_int_equal(world->provider.made[OP_SCALE], round);
    }
}

static void a_function_that_does_not_ask_stays(void **state)
{
    struct world *world = *state;
    struct fng_function function = sleepy_function("false");

    deploy(world, &function);
    push_endpoint(world, "echo", 1, FNG_ENDPOINT_READY);
    advance(world, 10 * DURATION_MS);
    assert_int_equal(world->provider.made[OP_SCALE], 0);
}

static void a_function_that_nothing_could_start_again_stays(void **state)
{
    struct world *world = *state;

    world->provider.ops.activate = NULL;
    deploy_ready(world);
    advance(world, 10 * DURATION_MS);
    assert_int_equal(world->provider.made[OP_SCALE], 0);
}

static void requests_put_it_off(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);

    advance(world, DURATION_MS - 1000);
    assert_true(route_fn_enter(fn->route, 0));
    advance(world, 5 * DURATION_MS);
    assert_int_equal(world->provider.made[OP_SCALE], 0);
    route_fn_leave(fn->route, 0, 200, 1);
    advance(world, DURATION_MS - 1);
    assert_int_equal(world->provider.made[OP_SCALE], 0);
    advance(world, DURATION_MS);
    answer(&world->provider, OP_SCALE, FNG_OK);
    push_endpoint(world, "echo", 0, 0);
}

static void activity_between_hold_and_acknowledgement_lets_go(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);

    advance_to_hold(world, fn);
    assert_true(route_fn_enter(fn->route, 0));
    route_fn_leave(fn->route, 0, 200, 0.001);
    settle(world);
    assert_false(route_fn_is_held(fn->route));
    assert_int_equal(world->provider.made[OP_SCALE], 0);
}

static void a_request_that_parks_before_the_acknowledgement_is_served(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);
    struct request request;

    advance_to_hold(world, fn);
    request_park(world, fn, &request);
    assert_true(request.is_woken);
    assert_false(route_fn_is_held(fn->route));
    assert_int_equal(calls_open(&world->provider), 0);
    request_end(world, fn->route, &request);
}

static void a_request_that_parks_while_the_provider_stops_it_starts_it_again(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);
    struct request request;

    advance(world, DURATION_MS);
    request_park(world, fn, &request);
    assert_false(request.is_woken);
    assert_int_equal(calls_open(&world->provider), 1);
    answer(&world->provider, OP_SCALE, FNG_OK);
    assert_int_equal(world->provider.made[OP_ACTIVATE], 1);
    push_endpoint(world, "echo", 0, 0);
    answer(&world->provider, OP_ACTIVATE, FNG_OK);
    push_endpoint(world, "echo", 2, FNG_ENDPOINT_READY);
    assert_true(request.is_woken);
    assert_false(route_fn_is_held(fn->route));
    request_end(world, fn->route, &request);
}

static void a_set_that_never_is_empty_does_not_leave_the_hold(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);
    struct request request;

    advance(world, DURATION_MS);
    request_park(world, fn, &request);
    answer(&world->provider, OP_SCALE, FNG_OK);
    answer(&world->provider, OP_ACTIVATE, FNG_OK);
    push_endpoint(world, "echo", 2, FNG_ENDPOINT_READY); /* in place of the first */
    assert_false(route_fn_is_held(fn->route));
    assert_true(request.is_woken);
    request_end(world, fn->route, &request);
}

static void a_scaling_up_meanwhile_lets_go(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);
    struct outcome outcome;
    struct call *second;

    advance(world, DURATION_MS);
    scale_begin(world, "echo", 3, &outcome);
    second = &world->provider.calls.items[1]; /* the newer one is answered first */
    second->done(second->arg, &(struct plugin_result){.error = FNG_OK});
    VEC_REMOVE(&world->provider.calls, 1);
    answer(&world->provider, OP_SCALE, FNG_OK);
    assert_int_equal(fn_spec_get(fn->spec)->replicas, 3);
    assert_false(route_fn_is_held(fn->route));
}

static void a_provider_that_refuses_lets_go_and_is_asked_later(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);
    struct request request;

    advance(world, DURATION_MS);
    request_park(world, fn, &request);
    answer(&world->provider, OP_SCALE, FNG_E_UNAVAILABLE);
    settle(world);
    assert_true(request.is_woken);
    assert_false(route_fn_is_held(fn->route));
    request_end(world, fn->route, &request);
    advance(world, DURATION_MS - 1);
    assert_int_equal(world->provider.made[OP_SCALE], 1);
    advance(world, DURATION_MS);
    assert_int_equal(world->provider.made[OP_SCALE], 2);
    answer(&world->provider, OP_SCALE, FNG_OK);
    push_endpoint(world, "echo", 0, 0);
}

static void remove_now(struct world *world)
{
    struct outcome outcome;

    remove_begin(world, "echo", &outcome);
    answer(&world->provider, OP_REMOVE, FNG_OK);
    assert_null(find(world, "echo"));
}

static void a_function_may_be_removed_while_it_is_held(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);

    advance_to_hold(world, fn);
    catalog_remove(world->catalog, STR("openfaas-fn"), STR("echo"), NULL, NULL);
    answer(&world->provider, OP_REMOVE, FNG_OK);
    assert_null(find(world, "echo"));
    advance(world, 10 * DURATION_MS);
    assert_int_equal(world->provider.made[OP_SCALE], 0);
}

static void a_function_may_be_removed_while_it_is_stopped(void **state)
{
    struct world *world = *state;

    deploy_ready(world);
    advance(world, DURATION_MS);
    remove_now(world);
    deploy_ready(world); /* of the same name */
    answer(&world->provider, OP_SCALE, FNG_E_NOT_FOUND);
    assert_false(route_fn_is_held(find(world, "echo")->route));
    advance(world, DURATION_MS);
    answer(&world->provider, OP_SCALE, FNG_OK);
    remove_now(world);
}

static void update_label(struct world *world, const char *wish)
{
    struct fng_function function = sleepy_function(wish);
    struct outcome outcome;

    outcome = (struct outcome){0};
    catalog_deploy(world->catalog, CATALOG_UPDATE, &function, on_outcome, &outcome);
    answer(&world->provider, OP_UPDATE, FNG_OK);
    assert_int_equal(outcome.error, FNG_OK);
}

static void a_label_that_goes_in_either_phase_lets_go(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);

    advance_to_hold(world, fn);
    update_label(world, "false");
    assert_false(route_fn_is_held(fn->route));
    advance(world, DURATION_MS);
    assert_int_equal(world->provider.made[OP_SCALE], 0);
    update_label(world, "true");
    advance(world, DURATION_MS);
    assert_true(route_fn_is_held(fn->route));
    update_label(world, "false");
    assert_false(route_fn_is_held(fn->route));
    update_label(world, "true");
    answer(&world->provider, OP_SCALE, FNG_E_UNAVAILABLE);
    assert_false(route_fn_is_held(fn->route));
}

static void nothing_is_stopped_while_a_reload_holds_the_provider(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);

    advance_to_hold(world, fn);
    catalog_hold(world->catalog, &world->provider);
    advance(world, 3 * DURATION_MS);
    assert_false(route_fn_is_held(fn->route));
    assert_int_equal(world->provider.made[OP_SCALE], 0);
    catalog_resume(world->catalog);
    advance(world, 2 * DURATION_MS);
    assert_int_equal(world->provider.made[OP_SCALE], 1);
    answer(&world->provider, OP_SCALE, FNG_OK);
}

static void a_shorter_duration_holds_from_now_on(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_ready(world);

    advance(world, 5000);
    scale_set_zero_duration(scale, 10000);
    advance(world, 4000);
    assert_false(route_fn_is_held(fn->route));
    advance(world, 2000);
    assert_true(route_fn_is_held(fn->route));
    answer(&world->provider, OP_SCALE, FNG_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_scale, tear_down_scale)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_idle_function_goes_to_zero_and_comes_back),
        TEST(a_function_that_does_not_ask_stays),
        TEST(a_function_that_nothing_could_start_again_stays),
        TEST(requests_put_it_off),
        TEST(activity_between_hold_and_acknowledgement_lets_go),
        TEST(a_request_that_parks_before_the_acknowledgement_is_served),
        TEST(a_request_that_parks_while_the_provider_stops_it_starts_it_again),
        TEST(a_set_that_never_is_empty_does_not_leave_the_hold),
        TEST(a_scaling_up_meanwhile_lets_go),
        TEST(a_provider_that_refuses_lets_go_and_is_asked_later),
        TEST(a_function_may_be_removed_while_it_is_held),
        TEST(a_function_may_be_removed_while_it_is_stopped),
        TEST(a_label_that_goes_in_either_phase_lets_go),
        TEST(nothing_is_stopped_while_a_reload_holds_the_provider),
        TEST(a_shorter_duration_holds_from_now_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

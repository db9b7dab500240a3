/* catalog: wishes and deltas in every order, what is shown when, and starts that fail. */
#include "catalog/catalog.h"

#include "test_catalog_world.h"

static void a_deploy_is_shown_before_the_delta_of_its_provider(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct outcome outcome;
    struct catalog_fn *fn;

    deploy_begin(world, CATALOG_CREATE, &function, &outcome);
    assert_null(find(world, "echo"));
    assert_int_equal(outcome.answers, 0);
    answer(&world->provider, OP_DEPLOY, FNG_OK);
    assert_int_equal(outcome.answers, 1);
    fn = find(world, "echo");
    assert_non_null(fn);
    assert_int_equal(fn_spec_get(fn->spec)->replicas, 1);
    assert_non_null(route_lookup(world->routes, STR("openfaas-fn"), STR("echo")));
}

static void a_deploy_that_fails_is_not_shown(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct outcome outcome;

    deploy_begin(world, CATALOG_CREATE, &function, &outcome);
    answer(&world->provider, OP_DEPLOY, FNG_E_UNAVAILABLE);
    assert_int_equal(outcome.error, FNG_E_UNAVAILABLE);
    assert_null(find(world, "echo"));
    deploy(world, &function);
}

static void two_deploys_of_one_name_are_one_deploy_and_a_conflict(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct outcome first, second, third;

    deploy_begin(world, CATALOG_CREATE, &function, &first);
    deploy_begin(world, CATALOG_CREATE, &function, &second);
    assert_int_equal(second.error, FNG_E_CONFLICT);
    answer(&world->provider, OP_DEPLOY, FNG_OK);
    assert_int_equal(first.error, FNG_OK);
    deploy_begin(world, CATALOG_CREATE, &function, &third);
    assert_int_equal(third.error, FNG_E_CONFLICT);
}

static void a_late_delta_of_a_removed_function_is_refused(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    uint64_t generation = fn_spec_get(deploy(world, &function)->spec)->generation;
    struct outcome outcome;

    remove_begin(world, "echo", &outcome);
    assert_non_null(find(world, "echo"));
    answer(&world->provider, OP_REMOVE, FNG_OK);
    assert_int_equal(outcome.error, FNG_OK);
    assert_null(find(world, "echo"));
    assert_int_equal(push(world, &world->provider, function, 1, generation), FNG_E_CONFLICT);
    assert_null(find(world, "echo"));
}

static void a_function_that_goes_while_it_is_removed_stays_away(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    uint64_t generation = fn_spec_get(deploy(world, &function)->spec)->generation;
    struct outcome outcome;

    remove_begin(world, "echo", &outcome);
    world->sink.snapshot_begin(world->sink.arg, &world->provider);
    world->sink.snapshot_commit(world->sink.arg, &world->provider);
    assert_null(find(world, "echo"));
    answer(&world->provider, OP_REMOVE, FNG_OK);
    assert_int_equal(push(world, &world->provider, function, 1, generation), FNG_E_CONFLICT);
}

static void a_removed_name_can_be_deployed_again(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct catalog_fn *fn = deploy(world, &function);
    uint64_t generation = fn_spec_get(fn->spec)->generation;
    struct outcome outcome;

    remove_begin(world, "echo", &outcome);
    answer(&world->provider, OP_REMOVE, FNG_E_NOT_FOUND);
    assert_int_equal(outcome.error, FNG_OK);
    function.image = FNG_STR("v2");
    fn = deploy(world, &function);
    assert_int_equal(push(world, &world->provider, function, 1, generation), FNG_E_CONFLICT);
    generation = fn_spec_get(fn->spec)->generation;
    assert_int_equal(push(world, &world->provider, function, 1, generation), FNG_OK);
    assert_true(str_eq(str_of(fn_spec_get(find(world, "echo")->spec)->image), STR("v2")));
}

static void answers_that_come_after_a_removal_change_nothing(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct outcome scaled, removed;

    deploy(world, &function);
    scale_begin(world, "echo", 0, &scaled);
    answer(&world->provider, OP_SCALE, FNG_OK);
    catalog_wake(world->catalog, find(world, "echo"));
    scale_begin(world, "echo", 3, &scaled);
    remove_begin(world, "echo", &removed);
    answer(&world->provider, OP_REMOVE, FNG_OK);
    answer(&world->provider, OP_SCALE, FNG_OK);
    answer(&world->provider, OP_ACTIVATE, FNG_E_UNAVAILABLE);
    assert_null(find(world, "echo"));
}

/* ---- One function, several wishes at once ---- */

static void check_shown(struct world *world, const char *image, uint32_t replicas)
{
    const struct fng_function *shown = fn_spec_get(find(world, "echo")->spec);

    assert_true(str_eq(str_of(shown->image), str_from(image)));
    assert_int_equal(shown->replicas, replicas);
}

static void an_update_and_a_scaling_both_show_whichever_is_quicker(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct outcome updated, scaled;

    deploy(world, &function);
    for (unsigned i = 0; i < 4; i++) { /* begun and answered in each order */
        function.image = i % 2 ? FNG_STR("v1") : FNG_STR("v2");
        if (i & 1)
            deploy_begin(world, CATALOG_UPDATE, &function, &updated);
        scale_begin(world, "echo", 5 + i, &scaled);
        if (!(i & 1))
            deploy_begin(world, CATALOG_UPDATE, &function, &updated);
        answer(&world->provider, i & 2 ? OP_SCALE : OP_UPDATE, FNG_OK);
        answer(&world->provider, i & 2 ? OP_UPDATE : OP_SCALE, FNG_OK);
        assert_int_equal(updated.error, FNG_OK);
        assert_int_equal(scaled.error, FNG_OK);
        assert_true(
            str_eq(str_of(fn_spec_get(find(world, "echo")->spec)->image), str_of(function.image)));
    }
    check_shown(world, "v1", 8);
}

static void an_update_that_a_quicker_scaling_made_old_is_said_again(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct outcome updated, scaled;
    uint64_t generation;

    deploy(world, &function);
    function.image = FNG_STR("v2");
    deploy_begin(world, CATALOG_UPDATE, &function, &updated);
    scale_begin(world, "echo", 5, &scaled);
    generation = call_of(&world->provider, OP_SCALE)->generation;
    answer(&world->provider, OP_UPDATE, FNG_E_CONFLICT);
    assert_int_equal(updated.answers, 0);
    assert_true(call_of(&world->provider, OP_UPDATE)->generation > generation);
    assert_int_equal(fn_spec_get(call_of(&world->provider, OP_UPDATE)->spec)->generation,
                     call_of(&world->provider, OP_UPDATE)->generation);
    answer(&world->provider, OP_SCALE, FNG_OK);
    answer(&world->provider, OP_UPDATE, FNG_OK);
    assert_int_equal(updated.error, FNG_OK);
    check_shown(world, "v2", 5);
}

static void an_update_that_a_newer_update_made_old_is_not_said_again(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct outcome first, second, scaled;

    deploy(world, &function);
    deploy_begin(world, CATALOG_UPDATE, &function, &first);
    scale_begin(world, "echo", 2, &scaled);
    answer(&world->provider, OP_SCALE, FNG_OK);
    deploy_begin(world, CATALOG_UPDATE, &function, &second);
    answer(&world->provider, OP_UPDATE, FNG_E_CONFLICT);
    assert_int_equal(first.error, FNG_E_CONFLICT);
    answer(&world->provider, OP_UPDATE, FNG_OK);
    assert_int_equal(second.error, FNG_OK);
}

static void a_conflict_that_does_not_end_is_told(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct outcome removed, scaled;

    deploy(world, &function);
    remove_begin(world, "echo", &removed);
    for (unsigned i = 0; i < 10 && removed.answers == 0; i++) {
        scale_begin(world, "echo", 2, &scaled);
        answer(&world->provider, OP_SCALE, FNG_OK);
        answer(&world->provider, OP_REMOVE, FNG_E_CONFLICT);
    }
    assert_int_equal(removed.error, FNG_E_CONFLICT);
    assert_non_null(find(world, "echo"));
}

static void a_removal_holds_against_a_scaling_that_was_quicker(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct outcome removed, scaled;

    deploy(world, &function);
    remove_begin(world, "echo", &removed);
    scale_begin(world, "echo", 2, &scaled);
    answer(&world->provider, OP_SCALE, FNG_OK);
    answer(&world->provider, OP_REMOVE, FNG_OK);
    assert_int_equal(removed.error, FNG_OK);
    assert_null(find(world, "echo"));
}

/* ---- Snapshots ---- */

static void a_snapshot_drops_what_it_does_not_name(void **state)
{
    struct world *world = *state;
    struct fng_function a = function_of("a", "v1"), b = function_of("b", "v1");
    uint64_t generation = fn_spec_get(deploy(world, &a)->spec)->generation;

    deploy(world, &b);
    world->sink.snapshot_begin(world->sink.arg, &world->provider);
    assert_int_equal(push(world, &world->provider, b, 1, generation + 100), FNG_OK);
    world->sink.snapshot_abort(world->sink.arg, &world->provider);
    assert_non_null(find(world, "a"));
    world->sink.snapshot_begin(world->sink.arg, &world->provider);
    assert_int_equal(push(world, &world->provider, b, 1, generation + 100), FNG_OK);
    world->sink.snapshot_commit(world->sink.arg, &world->provider);
    assert_null(find(world, "a"));
    assert_non_null(find(world, "b"));
    /* It was only out of sight. */
    assert_int_equal(push(world, &world->provider, a, 1, generation), FNG_OK);
    assert_non_null(find(world, "a"));
}

static void a_snapshot_that_is_older_than_a_scaling_does_not_drop_the_function(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    uint64_t generation = fn_spec_get(deploy(world, &function)->spec)->generation;

    world->sink.snapshot_begin(world->sink.arg, &world->provider);
    scale_to(world, "echo", 4);
    world->sink.snapshot_begin(world->sink.arg, &world->provider);
    assert_int_equal(push(world, &world->provider, function, 1, generation), FNG_E_CONFLICT);
    world->sink.snapshot_commit(world->sink.arg, &world->provider);
    check_shown(world, "v1", 4);
}

static void a_deploy_during_a_snapshot_stays(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");

    world->sink.snapshot_begin(world->sink.arg, &world->provider);
    deploy(world, &function);
    world->sink.snapshot_commit(world->sink.arg, &world->provider);
    assert_non_null(find(world, "echo"));
}

static void the_deltas_of_another_provider_are_refused(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct provider_sink *sink = &world->sink;
    uint64_t newer = fn_spec_get(deploy(world, &function)->spec)->generation + 10;

    assert_int_equal(push(world, &world->other, function, 1, newer), FNG_E_CONFLICT);
    assert_int_equal(
        sink->fn_remove(sink->arg, &world->other, STR("openfaas-fn"), STR("echo"), newer),
        FNG_E_NOT_FOUND);
    sink->snapshot_begin(sink->arg, &world->other);
    sink->snapshot_commit(sink->arg, &world->other);
    assert_ptr_equal(find(world, "echo")->owner, &world->provider);
}

/* ---- What backends cannot honour ---- */

static struct fng_function demanding_function(void)
{
    static struct fng_str where[1];
    static struct fng_kv limits[2];
    struct fng_function function = function_of("echo", "v1");

    where[0] = FNG_STR("node.labels.zone == a");
    limits[0] = (struct fng_kv){FNG_STR("cpu"), FNG_STR("100m")};
    limits[1] = (struct fng_kv){FNG_STR("memory"), FNG_STR("64Mi")};
    function.constraints = (struct fng_str_list){where, 1};
    function.limits = (struct fng_kv_list){limits, 2};
    function.flags = FNG_FUNCTION_READ_ONLY_ROOT;
    return function;
}

static void what_the_backend_cannot_honour_is_in_the_warnings(void **state)
{
    struct world *world = *state;
    struct fng_function function = demanding_function();
    struct catalog_fn *fn = deploy(world, &function);
    struct outcome outcome;

    assert_int_equal(fn->warnings_count, 3);
    assert_string_equal(fn->warnings[0], "constraints is ignored: provider toy cannot honour it");
    assert_non_null(strstr(fn->warnings[1], "readOnlyRootFilesystem"));
    assert_non_null(strstr(fn->warnings[2], "limits.cpu"));
    function = function_of("echo", "v2");
    deploy_begin(world, CATALOG_UPDATE, &function, &outcome);
    answer(&world->provider, OP_UPDATE, FNG_OK);
    assert_int_equal(find(world, "echo")->warnings_count, 0);
}

static void the_words_of_the_provider_come_first_and_are_not_repeated(void **state)
{
    struct world *world = *state;
    struct fng_function function = demanding_function();
    struct fng_str said[] = {FNG_STR("constraints are ignored: there is one host"),
                             FNG_STR("no such zone")};
    struct fn_spec *spec;
    struct catalog_fn *fn;

    function.generation = 7;
    spec = fn_spec_new(&function);
    assert_int_equal(
        world->sink.fn_upsert(world->sink.arg, &world->provider, spec, STR(""), said, 2), FNG_OK);
    fn = find(world, "echo");
    assert_int_equal(fn->warnings_count, 4);
    assert_string_equal(fn->warnings[0], "constraints are ignored: there is one host");
    assert_string_equal(fn->warnings[1], "no such zone");
    assert_non_null(strstr(fn->warnings[2], "readOnlyRootFilesystem"));
    assert_int_equal(
        world->sink.fn_upsert(world->sink.arg, &world->provider, spec, STR(""), NULL, 0), FNG_OK);
    assert_int_equal(fn->warnings_count, 3);
    fn_spec_unref(spec);
}

static void a_strict_configuration_refuses_it_and_names_the_field(void **state)
{
    struct world *world = *state;
    struct fng_function function = demanding_function();
    struct outcome outcome;

    world->config.is_strict = true;
    catalog_configure(world->catalog, &world->config);
    deploy_begin(world, CATALOG_CREATE, &function, &outcome);
    assert_int_equal(outcome.error, FNG_E_INVALID);
    assert_string_equal(outcome.field, "constraints");
    function.constraints.count = 0;
    deploy_begin(world, CATALOG_CREATE, &function, &outcome);
    assert_string_equal(outcome.field, "readOnlyRootFilesystem");
    function.flags = 0;
    deploy_begin(world, CATALOG_CREATE, &function, &outcome);
    assert_string_equal(outcome.field, "limits.cpu");
    function.limits.items++; /* memory alone can be honoured */
    function.limits.count = 1;
    assert_int_equal(deploy(world, &function)->warnings_count, 0);
}

/* ---- From zero ---- */

static struct catalog_fn *deploy_at_zero(struct world *world)
{
    struct fng_function function = function_of("echo", "v1");

    deploy(world, &function);
    scale_to(world, "echo", 0);
    return find(world, "echo");
}

static void a_start_is_tried_again_while_requests_wait(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_at_zero(world);
    struct request first, second;
    char reason[ROUTE_REASON_MAX];

    request_park(world, fn, &first);
    answer(&world->provider, OP_ACTIVATE, FNG_E_UNAVAILABLE);
    assert_string_equal(fn->reason, "the engine is away");
    route_fn_reason(fn->route, reason);
    assert_string_equal(reason, "the engine is away");
    request_park(world, fn, &second); /* who comes next does not ask sooner */
    assert_int_equal(world->provider.made[OP_ACTIVATE], 1);
    for (unsigned i = 2; i < 12; i++) {
        advance(world, 100);
        assert_int_equal(world->provider.made[OP_ACTIVATE], i - 1);
        advance(world, 10000);
        assert_int_equal(world->provider.made[OP_ACTIVATE], i);
        answer(&world->provider, OP_ACTIVATE, FNG_E_UNAVAILABLE);
    }
    advance(world, 10000);
    answer(&world->provider, OP_ACTIVATE, FNG_OK);
    assert_null(fn->reason);
    assert_int_equal(fn_spec_get(fn->spec)->replicas, 1);
    push_endpoint(world, "echo", 1, FNG_ENDPOINT_READY);
    assert_true(first.is_woken && second.is_woken);
    request_end(world, fn->route, &first);
    request_end(world, fn->route, &second);
}

static void what_the_provider_says_of_a_start_stays_when_it_has_begun(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_at_zero(world);
    struct request request;
    struct fn_spec *spec;

    request_park(world, fn, &request);
    answer(&world->provider, OP_ACTIVATE, FNG_E_UNAVAILABLE);
    advance(world, 1000);
    spec = fn_spec_with(fn->spec, 1, call_of(&world->provider, OP_ACTIVATE)->generation);
    world->sink.fn_upsert(world->sink.arg, &world->provider, spec, STR("it pulls"), NULL, 0);
    fn_spec_unref(spec);
    answer(&world->provider, OP_ACTIVATE, FNG_OK);
    assert_string_equal(fn->reason, "it pulls");
    request_end(world, fn->route, &request);
}

static void a_start_is_not_tried_again_when_nobody_waits(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_at_zero(world);
    struct request request;

    request_park(world, fn, &request);
    answer(&world->provider, OP_ACTIVATE, FNG_E_UNAVAILABLE);
    request_end(world, fn->route, &request);
    advance(world, 60000);
    assert_int_equal(world->provider.made[OP_ACTIVATE], 1);
    request_park(world, fn, &request);
    assert_int_equal(world->provider.made[OP_ACTIVATE], 2);
    answer(&world->provider, OP_ACTIVATE, FNG_OK);
    request_end(world, fn->route, &request);
}

static void a_provider_says_when_it_wants_to_be_asked_again(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_at_zero(world);
    struct request request;

    request_park(world, fn, &request);
    answer_later(&world->provider, OP_ACTIVATE, FNG_E_UNAVAILABLE, 5000);
    advance(world, 4900);
    assert_int_equal(world->provider.made[OP_ACTIVATE], 1);
    advance(world, 200);
    assert_int_equal(world->provider.made[OP_ACTIVATE], 2);
    answer(&world->provider, OP_ACTIVATE, FNG_E_UNSUPPORTED); /* it will not learn it */
    advance(world, 60000);
    assert_int_equal(world->provider.made[OP_ACTIVATE], 2);
    request_end(world, fn->route, &request);
}

static void a_function_that_is_removed_is_not_started_again(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_at_zero(world);
    struct route_fn *route = fn->route;
    struct request request;
    struct outcome outcome;

    request_park(world, fn, &request);
    answer(&world->provider, OP_ACTIVATE, FNG_E_UNAVAILABLE);
    remove_begin(world, "echo", &outcome);
    answer(&world->provider, OP_REMOVE, FNG_OK);
    settle(world);
    assert_true(request.is_woken); /* and told that there is no such function */
    advance(world, 60000);
    assert_int_equal(world->provider.made[OP_ACTIVATE], 1);
    request_end(world, route, &request);
}

static void who_waits_when_a_function_is_scaled_to_zero_starts_it_again(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct catalog_fn *fn = deploy(world, &function);
    struct request request;

    request_park(world, fn, &request);
    assert_int_equal(calls_open(&world->provider), 0); /* it is being started */
    scale_to(world, "echo", 0);
    assert_int_equal(world->provider.made[OP_ACTIVATE], 1);
    answer(&world->provider, OP_ACTIVATE, FNG_OK);
    scale_to(world, "echo", 0); /* again at once: not in circles */
    assert_int_equal(world->provider.made[OP_ACTIVATE], 1);
    advance(world, 1000);
    assert_int_equal(world->provider.made[OP_ACTIVATE], 2);
    answer(&world->provider, OP_ACTIVATE, FNG_OK);
    request_end(world, fn->route, &request);
}

static void a_scaling_to_zero_that_overtakes_a_start_is_not_the_last_word(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_at_zero(world);
    struct request request;

    request_park(world, fn, &request);
    scale_to(world, "echo", 0);
    answer(&world->provider, OP_ACTIVATE, FNG_E_CONFLICT);
    advance(world, 1000);
    assert_int_equal(world->provider.made[OP_ACTIVATE], 2);
    scale_to(world, "echo", 0);
    answer(&world->provider, OP_ACTIVATE, FNG_OK);
    advance(world, 1000);
    assert_int_equal(world->provider.made[OP_ACTIVATE], 3);
    answer(&world->provider, OP_ACTIVATE, FNG_OK);
    assert_int_equal(fn_spec_get(fn->spec)->replicas, 1);
    request_end(world, fn->route, &request);
}

/* ---- Holding ---- */

static void wishes_that_wait_go_on_or_are_freed(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct catalog_fn *fn = deploy_at_zero(world);
    struct request request;
    struct outcome outcome;

    catalog_hold(world->catalog, &world->provider);
    request_park(world, fn, &request);
    scale_begin(world, "echo", 3, &outcome);
    assert_int_equal(calls_open(&world->provider), 0);
    assert_true(catalog_is_quiet(world->catalog));
    catalog_resume(world->catalog);
    answer(&world->provider, OP_ACTIVATE, FNG_OK);
    assert_false(catalog_is_held(fn));
    answer(&world->provider, OP_SCALE, FNG_OK);
    check_shown(world, "v1", 3);
    request_end(world, fn->route, &request);
    catalog_hold(world->catalog, &world->provider);
    deploy_begin(world, CATALOG_UPDATE, &function, &outcome);
    remove_begin(world, "echo", &outcome);
    assert_int_equal(outcome.answers, 0); /* the end of the world frees them */
}

static void settings_that_do_not_parse_are_refused_by_name(void **state)
{
    static const char *const bad[][2] = {{"com.openfaas.scale.min", "many"},
                                         {"com.openfaas.scale.max", "-1"},
                                         {"com.openfaas.scale.zero-duration", "0s"},
                                         {"com.openfaas.scale.zero-duration", "soon"}};
    struct world *world = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fng_function function = function_of("echo", "v1");
        struct fng_kv label = {fng_str_from(bad[i][0]), fng_str_from(bad[i][1])};
        struct outcome outcome;

        function.labels = (struct fng_kv_list){&label, 1};
        deploy_begin(world, CATALOG_CREATE, &function, &outcome);
        assert_int_equal(outcome.error, FNG_E_INVALID);
        assert_string_equal(outcome.field, bad[i][0]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_deploy_is_shown_before_the_delta_of_its_provider),
        TEST(a_deploy_that_fails_is_not_shown),
        TEST(two_deploys_of_one_name_are_one_deploy_and_a_conflict),
        TEST(a_late_delta_of_a_removed_function_is_refused),
        TEST(a_function_that_goes_while_it_is_removed_stays_away),
        TEST(a_removed_name_can_be_deployed_again),
        TEST(answers_that_come_after_a_removal_change_nothing),
        TEST(an_update_and_a_scaling_both_show_whichever_is_quicker),
        TEST(an_update_that_a_quicker_scaling_made_old_is_said_again),
        TEST(an_update_that_a_newer_update_made_old_is_not_said_again),
        TEST(a_conflict_that_does_not_end_is_told),
        TEST(a_removal_holds_against_a_scaling_that_was_quicker),
        TEST(a_snapshot_drops_what_it_does_not_name),
        TEST(a_snapshot_that_is_older_than_a_scaling_does_not_drop_the_function),
        TEST(a_deploy_during_a_snapshot_stays),
        TEST(the_deltas_of_another_provider_are_refused),
        TEST(what_the_backend_cannot_honour_is_in_the_warnings),
        TEST(the_words_of_the_provider_come_first_and_are_not_repeated),
        TEST(a_strict_configuration_refuses_it_and_names_the_field),
        TEST(a_start_is_tried_again_while_requests_wait),
        TEST(what_the_provider_says_of_a_start_stays_when_it_has_begun),
        TEST(a_start_is_not_tried_again_when_nobody_waits),
        TEST(a_provider_says_when_it_wants_to_be_asked_again),
        TEST(a_function_that_is_removed_is_not_started_again),
        TEST(who_waits_when_a_function_is_scaled_to_zero_starts_it_again),
        TEST(a_scaling_to_zero_that_overtakes_a_start_is_not_the_last_word),
        TEST(wishes_that_wait_go_on_or_are_freed),
        TEST(settings_that_do_not_parse_are_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* catalog: what is kept in the store: invocation counts and namespaces, and stores that fail. */
#include "catalog/catalog.h"

#include "test_catalog_world.h"

enum { INTERVAL_MS = 5000 };

static void call_function(struct world *world, struct catalog_fn *fn, unsigned times)
{
    for (; times > 0; times--) {
        assert_true(route_fn_enter(fn->route, 0));
        route_fn_leave(fn->route, 0, 200, 0.001);
    }
    settle(world);
}

/* The gateway ends and comes back with the same store. */
static void restart(struct world *world)
{
    world_free_catalog(world);
    world_make_catalog(world);
    assert_int_equal(world_load(world).error, FNG_OK);
}

static struct catalog_fn *deploy_named(struct world *world, const char *name)
{
    struct fng_function function = function_of(name, "v1");

    return deploy(world, &function);
}

static struct outcome save(struct world *world)
{
    struct outcome outcome = {0};

    catalog_save(world->catalog, on_outcome, &outcome);
    store_run(&world->store);
    settle(world);
    assert_int_equal(outcome.answers, 1);
    return outcome;
}

/* ---- Invocation counts ---- */

static void counts_survive_a_restart(void **state)
{
    struct world *world = *state;

    call_function(world, deploy_named(world, "echo"), 3);
    assert_int_equal(save(world).error, FNG_OK);
    restart(world);
    call_function(world, deploy_named(world, "echo"), 2);
    assert_int_equal(catalog_invocations(find(world, "echo")), 5);
    assert_int_equal(save(world).error, FNG_OK);
    restart(world);
    assert_int_equal(catalog_invocations(deploy_named(world, "echo")), 5);
    assert_int_equal(catalog_invocations(deploy_named(world, "other")), 0);
}

static void counts_are_written_now_and_then_and_only_when_they_changed(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_named(world, "echo");

    advance(world, 2 * INTERVAL_MS);
    store_run(&world->store);
    assert_int_equal(world->store.puts, 0);
    call_function(world, fn, 1);
    for (int i = 0; i < 3; i++) {
        advance(world, INTERVAL_MS);
        store_run(&world->store);
        assert_int_equal(world->store.puts, 1);
    }
}

static void counts_that_could_not_be_written_are_written_later(void **state)
{
    struct world *world = *state;

    call_function(world, deploy_named(world, "echo"), 3);
    world->store.is_broken = true;
    advance(world, INTERVAL_MS);
    store_run(&world->store);
    assert_int_equal(save(world).error, FNG_E_UNAVAILABLE);
    world->store.is_broken = false;
    assert_int_equal(save(world).error, FNG_OK);
    restart(world);
    assert_int_equal(catalog_invocations(deploy_named(world, "echo")), 3);
}

static void the_last_save_waits_for_an_older_one_and_has_the_newest_figures(void **state)
{
    struct world *world = *state;
    struct catalog_fn *fn = deploy_named(world, "echo");

    call_function(world, fn, 1);
    advance(world, INTERVAL_MS); /* a put is under way */
    assert_int_equal(world->store.store_calls.count, 1);
    call_function(world, fn, 4);
    assert_int_equal(save(world).error, FNG_OK);
    restart(world);
    assert_int_equal(catalog_invocations(deploy_named(world, "echo")), 5);
}

static void a_removed_function_takes_its_count_with_it(void **state)
{
    struct world *world = *state;
    struct outcome outcome;

    call_function(world, deploy_named(world, "echo"), 3);
    save(world);
    remove_begin(world, "echo", &outcome);
    answer(&world->provider, OP_REMOVE, FNG_OK);
    assert_int_equal(catalog_invocations(deploy_named(world, "echo")), 0);
    save(world);
    restart(world);
    assert_int_equal(catalog_invocations(deploy_named(world, "echo")), 0);
}

static void sync_with(struct world *world, struct instance *provider)
{
    world->sink.snapshot_begin(world->sink.arg, provider);
    world->sink.snapshot_commit(world->sink.arg, provider);
    advance(world, INTERVAL_MS);
    store_run(&world->store);
}

static void counts_of_functions_that_went_meanwhile_go_once_all_providers_have_spoken(void **state)
{
    struct world *world = *state;

    call_function(world, deploy_named(world, "echo"), 3);
    save(world);
    restart(world);
    world->store.puts = 0;
    sync_with(world, &world->provider);
    assert_int_equal(world->store.puts, 0);
    sync_with(world, &world->other);
    assert_int_equal(world->store.puts, 1);
    restart(world);
    assert_int_equal(catalog_invocations(deploy_named(world, "echo")), 0);
}

static void a_store_that_cannot_be_read_is_told_and_not_overwritten(void **state)
{
    struct world *world = *state;

    world_free_catalog(world);
    world_make_catalog(world);
    world->store.is_broken = true;
    assert_int_equal(world_load(world).error, FNG_E_UNAVAILABLE);
    world->store.is_broken = false;
    advance(world, 10 * INTERVAL_MS);
    assert_int_equal(world->store.store_calls.count, 0);
}

/* ---- Namespaces ---- */

static struct outcome set_namespace(struct world *world, const char *name, uint32_t mode)
{
    struct conf_pair label = {STR("team"), STR("blue")};
    struct catalog_namespace ns = {.name = str_from(name), .labels = {&label, 1}};
    struct outcome outcome = {0};

    catalog_namespace_set(world->catalog, &ns, mode, on_outcome, &outcome);
    assert_int_equal(outcome.answers, 0); /* never from inside */
    store_run(&world->store);
    settle(world);
    assert_int_equal(outcome.answers, 1);
    return outcome;
}

static struct outcome remove_namespace(struct world *world, const char *name)
{
    struct outcome outcome = {0};

    catalog_namespace_remove(world->catalog, str_from(name), on_outcome, &outcome);
    store_run(&world->store);
    settle(world);
    assert_int_equal(outcome.answers, 1);
    return outcome;
}

static void namespaces_survive_a_restart_and_the_default_needs_no_record(void **state)
{
    struct world *world = *state;
    const struct catalog_namespace *ns;

    assert_int_equal(set_namespace(world, "blue", FNG_NAMESPACE_CREATE).error, FNG_OK);
    assert_int_equal(set_namespace(world, "blue", FNG_NAMESPACE_CREATE).error, FNG_E_CONFLICT);
    assert_int_equal(set_namespace(world, "blue", FNG_NAMESPACE_UPDATE).error, FNG_OK);
    assert_int_equal(set_namespace(world, "red", FNG_NAMESPACE_UPDATE).error, FNG_E_NOT_FOUND);
    assert_int_equal(set_namespace(world, "Red", FNG_NAMESPACE_CREATE).error, FNG_E_INVALID);
    assert_int_equal(remove_namespace(world, "openfaas-fn").error, FNG_E_INVALID);
    restart(world);
    ns = catalog_namespace_find(world->catalog, STR("blue"));
    assert_non_null(ns);
    assert_int_equal(ns->labels.count, 1);
    assert_true(str_eq(ns->labels.items[0].value, STR("blue")));
    assert_non_null(catalog_namespace_find(world->catalog, STR("openfaas-fn")));
    assert_int_equal(remove_namespace(world, "blue").error, FNG_OK);
    restart(world);
    assert_null(catalog_namespace_find(world->catalog, STR("blue")));
}

static void a_namespace_that_somebody_else_changed_is_read_again(void **state)
{
    struct world *world = *state;

    assert_int_equal(set_namespace(world, "blue", FNG_NAMESPACE_CREATE).error, FNG_OK);
    store_write(&world->store, "core/namespaces/blue", "{\"labels\":{\"a\":\"1\",\"b\":\"2\"}}");
    assert_int_equal(set_namespace(world, "blue", FNG_NAMESPACE_UPDATE).error, FNG_E_CONFLICT);
    assert_int_equal(catalog_namespace_find(world->catalog, STR("blue"))->labels.count, 2);
    assert_int_equal(set_namespace(world, "blue", FNG_NAMESPACE_UPDATE).error, FNG_OK);
    store_write(&world->store, "core/namespaces/blue", "{}");
    assert_int_equal(remove_namespace(world, "blue").error, FNG_E_CONFLICT);
    store_erase(&world->store, "core/namespaces/blue");
    assert_int_equal(remove_namespace(world, "blue").error, FNG_E_NOT_FOUND);
    assert_null(catalog_namespace_find(world->catalog, STR("blue")));
    assert_int_equal(set_namespace(world, "green", FNG_NAMESPACE_CREATE).error, FNG_OK);
    store_erase(&world->store, "core/namespaces/green");
    assert_int_equal(set_namespace(world, "green", FNG_NAMESPACE_UPDATE).error, FNG_E_CONFLICT);
    assert_null(catalog_namespace_find(world->catalog, STR("green")));
    store_write(&world->store, "core/namespaces/red", "{}");
    assert_int_equal(set_namespace(world, "red", FNG_NAMESPACE_CREATE).error, FNG_E_CONFLICT);
    assert_non_null(catalog_namespace_find(world->catalog, STR("red")));
}

static void a_namespace_that_cannot_be_stored_does_not_exist(void **state)
{
    struct world *world = *state;

    world->store.is_broken = true;
    assert_int_equal(set_namespace(world, "blue", FNG_NAMESPACE_CREATE).error, FNG_E_UNAVAILABLE);
    assert_null(catalog_namespace_find(world->catalog, STR("blue")));
    world->store.is_broken = false;
    assert_int_equal(set_namespace(world, "blue", FNG_NAMESPACE_CREATE).error, FNG_OK);
    world->store.is_broken = true;
    assert_int_equal(remove_namespace(world, "blue").error, FNG_E_UNAVAILABLE);
    assert_non_null(catalog_namespace_find(world->catalog, STR("blue")));
}

static void a_namespace_with_functions_stays_and_so_while_one_is_deployed(void **state)
{
    struct world *world = *state;
    struct fng_function function = function_of("echo", "v1");
    struct outcome outcome;

    function.ns = FNG_STR("blue");
    deploy_begin(world, CATALOG_CREATE, &function, &outcome);
    assert_int_equal(outcome.error, FNG_E_INVALID);
    assert_string_equal(outcome.field, "namespace");
    assert_int_equal(set_namespace(world, "blue", FNG_NAMESPACE_CREATE).error, FNG_OK);
    deploy_begin(world, CATALOG_CREATE, &function, &outcome);
    assert_int_equal(remove_namespace(world, "blue").error, FNG_E_CONFLICT);
    answer(&world->provider, OP_DEPLOY, FNG_OK);
    assert_int_equal(remove_namespace(world, "blue").error, FNG_E_CONFLICT);
}

static void a_record_that_is_no_json_is_left_alone(void **state)
{
    struct world *world = *state;

    store_write(&world->store, "core/namespaces/odd", "not json");
    store_write(&world->store, "core/namespaces/even", "[1, 2]");
    restart(world);
    assert_null(catalog_namespace_find(world->catalog, STR("odd")));
    assert_non_null(catalog_namespace_find(world->catalog, STR("even")));
    assert_non_null(record_of(&world->store, "core/namespaces/odd"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(counts_survive_a_restart),
        TEST(counts_are_written_now_and_then_and_only_when_they_changed),
        TEST(counts_that_could_not_be_written_are_written_later),
        TEST(the_last_save_waits_for_an_older_one_and_has_the_newest_figures),
        TEST(a_removed_function_takes_its_count_with_it),
        TEST(counts_of_functions_that_went_meanwhile_go_once_all_providers_have_spoken),
        TEST(a_store_that_cannot_be_read_is_told_and_not_overwritten),
        TEST(namespaces_survive_a_restart_and_the_default_needs_no_record),
        TEST(a_namespace_that_somebody_else_changed_is_read_again),
        TEST(a_namespace_that_cannot_be_stored_does_not_exist),
        TEST(a_namespace_with_functions_stays_and_so_while_one_is_deployed),
        TEST(a_record_that_is_no_json_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

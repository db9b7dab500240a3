/* Succession in the catalog: what is staged, what the switch does, and which wishes wait. The
 * instances never start; the test pushes in their names and turns the control loop itself. */
#include "base/mem.h"
#include "catalog/catalog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct world {
    struct loop *control;
    struct quiesce *domain;
    struct route_table *routes;
    struct catalog *catalog;
    struct plugins *plugins;
    struct plugin *plugin;
    struct provider_sink sink;
    struct conf_doc *doc;
    struct conf_report report;
    struct instance *older;
    unsigned synced, answers;
    int32_t answer;
};

static void on_released(void *arg, uint32_t provider, uint64_t id, uint64_t generation)
{
    (void)arg, (void)provider, (void)id, (void)generation;
}

static void on_synced(void *arg)
{
    struct world *world = arg;

    world->synced++;
}

static int set_up(void **state)
{
    struct world *world = xcalloc(1, sizeof(*world));
    struct err err;

    world->control = loop_new("control");
    world->domain = quiesce_new(world->control);
    world->routes = route_table_new(world->control, world->domain, 1, on_released, NULL);
    world->catalog = catalog_new(&(struct catalog_config){
        .control = world->control, .routes = world->routes, .default_ns = STR("openfaas-fn")});
    world->sink = catalog_sink(world->catalog);
    world->plugins =
        plugins_new(&(struct plugins_config){.control = world->control, .sink = world->sink});
    assert_int_equal(plugin_open(BUNDLED_DIR "/provider-static.so", &world->plugin, &err), 0);
    conf_report_init(&world->report);
    world->doc = conf_read_text("test.yaml", STR("functions: {a: '127.0.0.1:1'}"), &world->report);
    world->older = instance_new(world->plugins, world->plugin, "one", world->doc, world->doc->root,
                                1, &world->report);
    assert_non_null(world->older);
    catalog_add_provider(world->catalog,
                         &(struct catalog_provider){.instance = world->older, .is_default = true});
    catalog_on_synced(world->catalog, on_synced, world);
    *state = world;
    return 0;
}

static void turn(struct world *world)
{
    for (int i = 0; i < 4; i++)
        loop_turn(world->control, false);
}

static int tear_down(void **state)
{
    struct world *world = *state;

    turn(world);
    catalog_free(world->catalog);
    plugins_free(world->plugins);
    route_table_free(world->routes);
    quiesce_free(world->domain);
    loop_free(world->control);
    conf_doc_free(world->doc);
    conf_report_free(&world->report);
    mem_free(world);
    return 0;
}

static struct instance *successor(struct world *world)
{
    struct instance *instance = instance_new_successor(world->older, world->plugin, world->doc,
                                                       world->doc->root, 1, &world->report);

    assert_non_null(instance);
    catalog_hold(world->catalog, world->older);
    catalog_stage(world->catalog, instance);
    return instance;
}

static int32_t upsert(struct world *world, struct instance *from, const char *name)
{
    struct fng_function function = {.size = sizeof(function), .generation = 1, .replicas = 1};
    struct fn_spec *spec;
    int32_t error;

    function.ns = FNG_STR("openfaas-fn");
    function.name = fng_str_from(name);
    function.image = FNG_STR("image");
    spec = fn_spec_new(&function);
    error = world->sink.fn_upsert(world->sink.arg, from, spec, STR(""), NULL, 0);
    fn_spec_unref(spec);
    return error;
}

static int32_t endpoints(struct world *world, struct instance *from, const char *name,
                         unsigned count)
{
    struct fng_endpoint list[4] = {{0}};

    for (unsigned i = 0; i < count; i++)
        list[i] = (struct fng_endpoint){.size = sizeof(list[i]),
                                        .state = FNG_ENDPOINT_READY,
                                        .id = i + 1,
                                        .address = FNG_STR("127.0.0.1:1")};
    return world->sink.endpoints_set(world->sink.arg, from, STR("openfaas-fn"), str_from(name), 1,
                                     list, count);
}

static void push(struct world *world, struct instance *from, const char *name, unsigned count)
{
    assert_int_equal(upsert(world, from, name), FNG_OK);
    assert_int_equal(endpoints(world, from, name, count), FNG_OK);
}

static void begin(struct world *world, struct instance *from)
{
    assert_int_equal(world->sink.snapshot_begin(world->sink.arg, from), FNG_OK);
}

static void commit(struct world *world, struct instance *from)
{
    assert_int_equal(world->sink.snapshot_commit(world->sink.arg, from), FNG_OK);
}

static struct catalog_fn *find(struct world *world, const char *name)
{
    return catalog_find(world->catalog, STR("openfaas-fn"), str_from(name));
}

static struct catalog_moves switch_to(struct world *world, struct instance *instance)
{
    struct catalog_provider provider = {.instance = instance, .is_default = true};
    struct catalog_moves moves;

    catalog_switch(world->catalog, &provider, 1, &moves);
    return moves;
}

static void on_answer(void *arg, const struct plugin_result *result)
{
    struct world *world = arg;

    world->answers++;
    world->answer = result->error;
}

/* ---- Tests ---- */

static void a_successor_has_name_and_index_of_its_predecessor(void **state)
{
    struct world *world = *state;
    struct instance *next = successor(world);

    assert_string_equal(instance_name(next), "one");
    assert_int_equal(instance_index(next), instance_index(world->older));
    assert_null(instance_new(world->plugins, world->plugin, "one", world->doc, world->doc->root, 1,
                             &world->report));
}

static void what_is_staged_shows_with_the_switch_and_not_before(void **state)
{
    struct world *world = *state;
    struct instance *next;
    struct catalog_moves moves;

    push(world, world->older, "kept", 1);
    push(world, world->older, "left", 1);
    next = successor(world);
    begin(world, next);
    push(world, next, "kept", 3);
    push(world, next, "came", 2);
    push(world, next, "brief", 1);
    assert_false(catalog_staged_are_synced(world->catalog));
    commit(world, next);
    assert_int_equal(world->synced, 1);
    assert_true(catalog_staged_are_synced(world->catalog));
    assert_int_equal(
        world->sink.fn_remove(world->sink.arg, next, STR("openfaas-fn"), STR("brief"), 1), FNG_OK);
    assert_int_equal(find(world, "kept")->ready, 1);
    assert_null(find(world, "came"));

    moves = switch_to(world, next);
    assert_int_equal(moves.kept, 1);
    assert_int_equal(moves.added, 1);
    assert_int_equal(moves.dropped, 1);
    assert_ptr_equal(find(world, "kept")->owner, next);
    assert_int_equal(find(world, "kept")->ready, 3);
    assert_int_equal(find(world, "came")->ready, 2);
    assert_null(find(world, "left"));
    assert_null(find(world, "brief"));
}

static void the_former_owner_is_refused(void **state)
{
    struct world *world = *state;
    struct instance *next;

    push(world, world->older, "kept", 1);
    next = successor(world);
    begin(world, next);
    push(world, next, "kept", 1);
    commit(world, next);
    switch_to(world, next);
    assert_int_equal(upsert(world, world->older, "kept"), FNG_E_CONFLICT);
    assert_int_equal(upsert(world, world->older, "new"), FNG_E_CONFLICT);
    assert_int_equal(endpoints(world, world->older, "kept", 0), FNG_E_CONFLICT);
    assert_int_equal(
        world->sink.fn_remove(world->sink.arg, world->older, STR("openfaas-fn"), STR("kept"), 9),
        FNG_E_CONFLICT);
    assert_int_equal(world->sink.snapshot_begin(world->sink.arg, world->older), FNG_E_CONFLICT);
    assert_int_equal(world->sink.snapshot_commit(world->sink.arg, world->older), FNG_E_CONFLICT);
    assert_int_equal(find(world, "kept")->ready, 1);
}

static void a_function_that_left_may_come_again_with_the_same_generation(void **state)
{
    struct world *world = *state;
    struct instance *next;

    push(world, world->older, "left", 1);
    next = successor(world);
    begin(world, next);
    commit(world, next);
    switch_to(world, next);
    assert_null(find(world, "left"));
    push(world, next, "left", 1);
    assert_non_null(find(world, "left"));
}

static void a_later_snapshot_replaces_what_was_staged(void **state)
{
    struct world *world = *state;
    struct instance *next = successor(world);

    begin(world, next);
    push(world, next, "a", 1);
    push(world, next, "b", 1);
    commit(world, next);
    begin(world, next);
    push(world, next, "b", 2);
    commit(world, next);
    switch_to(world, next);
    assert_null(find(world, "a"));
    assert_int_equal(find(world, "b")->ready, 2);
}

static void giving_up_leaves_everything(void **state)
{
    struct world *world = *state;
    struct instance *next;

    push(world, world->older, "kept", 1);
    next = successor(world);
    begin(world, next);
    push(world, next, "kept", 3);
    push(world, next, "came", 1);
    catalog_unstage(world->catalog);
    catalog_resume(world->catalog);
    assert_int_equal(upsert(world, next, "came"), FNG_E_CONFLICT);
    assert_null(find(world, "came"));
    assert_ptr_equal(find(world, "kept")->owner, world->older);
    push(world, world->older, "kept", 2);
    assert_int_equal(find(world, "kept")->ready, 2);
}

static void functions_of_an_owner_that_stays_are_not_taken(void **state)
{
    struct world *world = *state;
    struct instance *other = instance_new(world->plugins, world->plugin, "two", world->doc,
                                          world->doc->root, 1, &world->report);

    push(world, world->older, "kept", 1);
    catalog_stage(world->catalog, other);
    begin(world, other);
    assert_int_equal(upsert(world, other, "kept"), FNG_E_CONFLICT);
    push(world, other, "came", 1);
    commit(world, other);
}

static void wishes_wait_until_resumed(void **state)
{
    struct world *world = *state;
    struct instance *next;

    push(world, world->older, "kept", 1);
    catalog_hold(world->catalog, world->older);
    assert_true(catalog_is_quiet(world->catalog));
    catalog_scale(world->catalog, STR("openfaas-fn"), STR("kept"), 2, on_answer, world);
    catalog_remove(world->catalog, STR("openfaas-fn"), STR("kept"), on_answer, world);
    next = successor(world);
    begin(world, next);
    push(world, next, "kept", 1);
    commit(world, next);
    switch_to(world, next);
    catalog_scale(world->catalog, STR("openfaas-fn"), STR("kept"), 2, on_answer, world);
    turn(world);
    assert_int_equal(world->answers, 0);
    catalog_resume(world->catalog);
    turn(world);
    assert_int_equal(world->answers, 3);
    assert_int_not_equal(world->answer, FNG_OK); /* the instance has not started */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_successor_has_name_and_index_of_its_predecessor),
        TEST(what_is_staged_shows_with_the_switch_and_not_before),
        TEST(the_former_owner_is_refused),
        TEST(a_function_that_left_may_come_again_with_the_same_generation),
        TEST(a_later_snapshot_replaces_what_was_staged),
        TEST(giving_up_leaves_everything),
        TEST(functions_of_an_owner_that_stays_are_not_taken),
        TEST(wishes_wait_until_resumed),
    };

    return cmocka_run_group_tests_name("succession", tests, NULL, NULL);
}

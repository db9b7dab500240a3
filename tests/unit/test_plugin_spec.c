/* plugin/spec: deep copies of functions. */
#include "plugin/spec.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A function whose every byte is on the heap, so that a shallow copy would be found. */
struct source {
    char *text;
    struct fng_kv *pairs;
    struct fng_str *names;
    struct fng_function function;
};

static void source_make(struct source *source)
{
    struct fng_function *function = &source->function;

    source->text = str_dup(STR("nskeyvaluesecret"));
    source->pairs = xcalloc(1, sizeof(*source->pairs));
    source->names = xcalloc(1, sizeof(*source->names));
    source->pairs[0].key = fng_str_make(source->text + 2, 3);
    source->pairs[0].value = fng_str_make(source->text + 5, 5);
    source->names[0] = fng_str_make(source->text + 10, 6);
    *function = (struct fng_function){
        .size = sizeof(*function), .generation = 7, .replicas = 3, .created_ms = 11};
    function->ns = fng_str_make(source->text, 2);
    function->labels = (struct fng_kv_list){source->pairs, 1};
    function->secrets = (struct fng_str_list){source->names, 1};
}

static void source_free(struct source *source)
{
    mem_free(source->text);
    mem_free(source->pairs);
    mem_free(source->names);
}

static void a_copy_outlives_its_source(void **state)
{
    struct source source;
    struct fn_spec *spec;
    const struct fng_function *copy;

    (void)state;
    source_make(&source);
    spec = fn_spec_new(&source.function);
    source_free(&source);
    copy = fn_spec_get(spec);
    assert_int_equal(copy->generation, 7);
    assert_true(str_eq(str_of(copy->ns), STR("ns")));
    assert_true(str_eq(fng_kv_find(copy->labels, STR("key")), STR("value")));
    assert_null(fng_kv_find(copy->labels, STR("other")).ptr);
    assert_string_equal(copy->secrets.items[0].ptr, "secret");
    assert_int_equal(copy->image.len, 0);
    assert_int_equal(copy->env.count, 0);
    fn_spec_unref(spec);
}

static void a_changed_copy_differs_only_in_replicas_and_generation(void **state)
{
    struct source source;
    struct fn_spec *spec, *changed;

    (void)state;
    source_make(&source);
    spec = fn_spec_new(&source.function);
    changed = fn_spec_with(spec, 0, 8);
    fn_spec_unref(fn_spec_ref(spec));
    fn_spec_unref(spec);
    source_free(&source);
    assert_int_equal(fn_spec_get(changed)->replicas, 0);
    assert_int_equal(fn_spec_get(changed)->generation, 8);
    assert_int_equal(fn_spec_get(changed)->created_ms, 11);
    assert_true(str_eq(fng_kv_find(fn_spec_get(changed)->labels, STR("key")), STR("value")));
    fn_spec_unref(changed);
    fn_spec_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_outlives_its_source),
        cmocka_unit_test(a_changed_copy_differs_only_in_replicas_and_generation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

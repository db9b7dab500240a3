/* The example plugins as the gateway runs them. */
#include "rig.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct instance *add_static(struct rig *rig, const char *yaml)
{
    return rig_add(rig, BUNDLED_DIR "/provider-static.so", "fixed", yaml);
}

static void static_functions_are_pushed_with_ready_endpoints(void **state)
{
    static struct rig rig;
    struct instance *fixed;
    struct outcome outcome;
    struct instance *probe;

    (void)state;
    rig_make(&rig, &(struct rig_options){.more = ""});
    fixed = add_static(&rig, "functions:\n  hello: 127.0.0.1:9000\n  pics.media: '[::1]:80'\n"
                             "  local: unix:/run/f.sock\n");
    assert_non_null(fixed);
    rig_run(&rig, fixed);
    rig_wait_committed(&rig, 1);
    assert_string_equal(rig.pushed, "function openfaas-fn/hello x1\n"
                                    "endpoint 0af3bfebe01aa097 127.0.0.1:9000 state 2\n"
                                    "function media/pics x1\n"
                                    "endpoint a82d61f036a2fea1 [::1]:80 state 2\n"
                                    "function openfaas-fn/local x1\n"
                                    "endpoint 24a8a46fbedc4391 unix:/run/f.sock state 2\n");

    probe = rig.probe;
    rig.probe = fixed;
    rig_scale(&outcome, &rig, "hello");
    rig_wait_done(&rig, &outcome);
    assert_int_equal(outcome.error, FNG_E_UNSUPPORTED);
    assert_string_equal(outcome.text,
                        "hello stands in the configuration with one address; it cannot be scaled");
    rig_stop(&outcome, &rig, fixed);
    rig_wait_done(&rig, &outcome);
    assert_int_equal(outcome.error, FNG_OK);
    rig.probe = probe;
    rig_free(&rig);
}

static void static_addresses_and_names_are_checked(void **state)
{
    static const char *const cases[][2] = {
        {"functions: {a: localhost:80}",
         "test.yaml:1: fixed: 'functions': the address of 'a' must be IP:PORT, [IPV6]:PORT or "
         "unix:/path, got 'localhost:80'\n"},
        {"functions: {a: '127.0.0.1:0'}",
         "test.yaml:1: fixed: 'functions': the address of 'a' must be IP:PORT, [IPV6]:PORT or "
         "unix:/path, got '127.0.0.1:0'\n"},
        {"functions: {a: '::1:80'}",
         "test.yaml:1: fixed: 'functions': the address of 'a' must be IP:PORT, [IPV6]:PORT or "
         "unix:/path, got '::1:80'\n"},
        {"functions: {a: '1.2.3.4:80x'}",
         "test.yaml:1: fixed: 'functions': the address of 'a' must be IP:PORT, [IPV6]:PORT or "
         "unix:/path, got '1.2.3.4:80x'\n"},
        {"functions: {.b: '1.2.3.4:80'}",
         "test.yaml:1: fixed: 'functions': '.b' is neither NAME nor NAME.NAMESPACE\n"},
        {"functions: {}", "test.yaml:1: fixed: 'functions' must be a map of texts of between 1 and "
                          "10000 entries, got 0\n"},
        {"namespace: x", "test.yaml:1: fixed: 'functions' is missing: Map of function names (name "
                         "or name.namespace) to addresses (IP:PORT or unix:/path).\n"},
    };
    static struct rig rig;

    (void)state;
    rig_make(&rig, &(struct rig_options){.more = ""});
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_null(add_static(&rig, cases[i][0]));
        (void)buf_add(&rig.report.text, "", 1);
        assert_string_equal(buf_str(&rig.report.text).ptr, cases[i][1]);
        buf_clear(&rig.report.text);
    }
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(static_functions_are_pushed_with_ready_endpoints),
        cmocka_unit_test(static_addresses_and_names_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

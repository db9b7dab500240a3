/* conf: reading YAML, binding keys, and what each complaint says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct sample {
    struct str name;
    int32_t verbose;
    int64_t retries;
    uint64_t limit;
    int64_t timeout_ms;
    struct conf_str_list hosts;
    struct conf_pair_list labels;
    struct str token;
    const struct conf_node *extra;
};

#define AT(field) offsetof(struct sample, field)
static const struct conf_key keys[] = {
    {"name", CONF_STR, 0, "worker", "Its name.", 1, 8, AT(name), "FNG_TEST_NAME"},
    {"verbose", CONF_BOOL, 0, "no", "Talks more.", 0, 0, AT(verbose), NULL},
    {"retries", CONF_INT, 0, "3", "Attempts.", -1, 10, AT(retries), NULL},
    {"limit", CONF_SIZE, 0, "1Mi", "Most bytes.", 1024, 1 << 30, AT(limit), NULL},
    {"timeout", CONF_DURATION, 0, "5s", "Longest wait.", 1, 60000, AT(timeout_ms), NULL},
    {"hosts", CONF_STRS, 0, "a, b", "Peers.", 0, 3, AT(hosts), "FNG_TEST_HOSTS"},
    {"labels", CONF_PAIRS, 0, "k=v", "Marks.", 0, 0, AT(labels), NULL},
    {"token", CONF_STR, CONF_SECRET, NULL, "Shared secret.", 4, 64, AT(token), NULL},
    {"extra", CONF_ANY, 0, NULL, "Anything.", 0, 0, AT(extra), NULL},
};
static const struct conf_key required_key = {
    "url", CONF_STR, CONF_REQUIRED, NULL, "Where the server is.", 0, 0, AT(name), NULL};

struct bound {
    struct conf_report report;
    struct conf_doc *doc;
    struct pool pool;
    struct sample sample;
};

static void bind_keys(struct bound *b, const char *yaml, const struct conf_key *table, size_t count)
{
    conf_report_init(&b->report);
    pool_init(&b->pool, 0);
    b->doc = conf_read_text("fngate.yaml", str_from(yaml), &b->report);
    if (b->doc)
        conf_bind(b->doc, b->doc->root, table, count, "queue-nats", &b->sample, &b->pool,
                  &b->report);
    (void)buf_add(&b->report.text, "", 1);
}

static void bind(struct bound *b, const char *yaml)
{
    bind_keys(b, yaml, keys, sizeof(keys) / sizeof(keys[0]));
}

static void unbind(struct bound *b)
{
    conf_report_free(&b->report);
    conf_doc_free(b->doc);
    pool_free(&b->pool);
}

static void assert_complaint(const char *yaml, const char *expected)
{
    struct bound b;

    bind(&b, yaml);
    assert_string_equal(buf_str(&b.report.text).ptr, expected);
    unbind(&b);
}

static void defaults_fill_what_the_file_leaves_out(void **state)
{
    struct bound b;

    (void)state;
    bind(&b, "# nothing\n");
    assert_int_equal(b.report.errors, 0);
    assert_string_equal(b.sample.name.ptr, "worker");
    assert_int_equal(b.sample.verbose, 0);
    assert_int_equal(b.sample.retries, 3);
    assert_int_equal(b.sample.limit, 1 << 20);
    assert_int_equal(b.sample.timeout_ms, 5000);
    assert_int_equal(b.sample.hosts.count, 2);
    assert_string_equal(b.sample.hosts.items[1].ptr, "b");
    assert_string_equal(b.sample.labels.items[0].value.ptr, "v");
    assert_null(b.sample.token.ptr);
    assert_null(b.sample.extra);
    unbind(&b);
}

static void every_type_is_converted(void **state)
{
    struct bound b;

    (void)state;
    bind(&b, "name: 'n 1'\nverbose: Yes\nretries: -1\nlimit: 64Mi\ntimeout: 1m\nhosts: one\n"
             "labels: {z: 1, a: }\ntoken: abcd\nextra: [x, {y: z}]\n");
    assert_int_equal(b.report.errors, 0);
    assert_string_equal(b.sample.name.ptr, "n 1");
    assert_int_equal(b.sample.verbose, 1);
    assert_int_equal(b.sample.retries, -1);
    assert_int_equal(b.sample.limit, 64 << 20);
    assert_int_equal(b.sample.timeout_ms, 60000);
    assert_int_equal(b.sample.hosts.count, 1);
    assert_int_equal(b.sample.labels.count, 2);
    assert_string_equal(b.sample.labels.items[0].key.ptr, "z");
    assert_string_equal(b.sample.labels.items[1].value.ptr, "");
    assert_int_equal(b.sample.extra->type, CONF_LIST);
    assert_int_equal(b.sample.extra->line, 9);
    unbind(&b);
}

static void a_bad_value_is_named_with_line_bounds_and_what_was_found(void **state)
{
    (void)state;
    assert_complaint("\n\ntimeout: 0\n", "fngate.yaml:3: queue-nats: 'timeout' must be a duration "
                                         "between 1ms and 60s, got '0'\n");
    assert_complaint("limit: lots\n", "fngate.yaml:1: queue-nats: 'limit' must be a size between "
                                      "1Ki and 1Gi, got 'lots'\n");
    assert_complaint("retries: 11\n", "fngate.yaml:1: queue-nats: 'retries' must be a number "
                                      "between -1 and 10, got '11'\n");
    assert_complaint("verbose: 2\n",
                     "fngate.yaml:1: queue-nats: 'verbose' must be true or false, got '2'\n");
    assert_complaint("name: [a]\n", "fngate.yaml:1: queue-nats: 'name' must be a text of between 1 "
                                    "and 8 bytes, got a list\n");
    assert_complaint("hosts: [a, b, c, d]\n", "fngate.yaml:1: queue-nats: 'hosts' must be a list "
                                              "of between 0 and 3 entries, got 4\n");
    assert_complaint("hosts:\n- a\n- {b: c}\n", "fngate.yaml:2: queue-nats: 'hosts' must be a list "
                                                "of texts, but entry 2 is a map\n");
    assert_complaint("labels: x\n",
                     "fngate.yaml:1: queue-nats: 'labels' must be a map of texts, got 'x'\n");
}

static void several_complaints_are_collected_in_order(void **state)
{
    (void)state;
    assert_complaint("verbose: 2\nretries: x\ntimeot: 1s\nwhatever: 1\n",
                     "fngate.yaml:1: queue-nats: 'verbose' must be true or false, got '2'\n"
                     "fngate.yaml:2: queue-nats: 'retries' must be a number between -1 and 10, got "
                     "'x'\n"
                     "fngate.yaml:3: queue-nats: unknown key 'timeot', did you mean 'timeout'?\n"
                     "fngate.yaml:4: queue-nats: unknown key 'whatever'; known are name, verbose, "
                     "retries, limit, timeout, hosts, labels, token, extra\n");
}

static void a_missing_required_key_is_explained(void **state)
{
    struct bound b;

    (void)state;
    bind_keys(&b, "url:\n", &required_key, 1);
    assert_string_equal(buf_str(&b.report.text).ptr,
                        "fngate.yaml:1: queue-nats: 'url' is missing: Where the server is.\n");
    unbind(&b);
}

static void a_secret_is_never_shown(void **state)
{
    (void)state;
    assert_complaint(
        "token: abc\n",
        "fngate.yaml:1: queue-nats: 'token' must be a text of between 4 and 64 bytes\n");
}

static void a_secret_may_come_from_a_file(void **state)
{
    char path[] = "/tmp/fng-test-conf-XXXXXX", yaml[128];
    int fd = mkstemp(path);
    struct bound b;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "hush hush \r\n\n", 13), 13);
    close(fd);
    snprintf(yaml, sizeof(yaml), "token_file: %s\n", path);
    bind(&b, yaml);
    assert_int_equal(b.report.errors, 0);
    assert_string_equal(b.sample.token.ptr, "hush hush");
    unbind(&b);

    snprintf(yaml, sizeof(yaml), "token: abcd\ntoken_file: %s\n", path);
    assert_complaint(yaml, "fngate.yaml:2: queue-nats: both 'token' and 'token_file' are given; "
                           "keep one\n");
    unlink(path);
    assert_complaint("token_file: /nonexistent\n",
                     "fngate.yaml:1: queue-nats: 'token_file': '/nonexistent' cannot be read: No "
                     "such file or directory\n");
    assert_complaint("name_file: x\n",
                     "fngate.yaml:1: queue-nats: unknown key 'name_file'; known are name, verbose, "
                     "retries, limit, timeout, hosts, labels, token, extra\n");
}

static void the_environment_overrides_the_file(void **state)
{
    struct bound b;

    (void)state;
    setenv("FNG_TEST_NAME", "env", 1);
    setenv("FNG_TEST_HOSTS", "x,y , z", 1);
    bind(&b, "name: file\n");
    assert_int_equal(b.report.errors, 0);
    assert_string_equal(b.sample.name.ptr, "env");
    assert_int_equal(b.sample.hosts.count, 3);
    assert_string_equal(b.sample.hosts.items[2].ptr, "z");
    unbind(&b);
    setenv("FNG_TEST_NAME", "much too long", 1);
    assert_complaint("", "queue-nats: environment variable 'FNG_TEST_NAME' must be a text of "
                         "between 1 and 8 bytes, got 'much too long'\n");
    unsetenv("FNG_TEST_NAME");
    unsetenv("FNG_TEST_HOSTS");
}

static void variables_are_replaced_inside_scalars(void **state)
{
    struct bound b;

    (void)state;
    setenv("FNG_TEST_A", "1", 1);
    unsetenv("FNG_TEST_NONE");
    bind(&b, "hosts: ['x${FNG_TEST_A}y', '${FNG_TEST_NONE:-dflt}', '$${FNG_TEST_A} $5']\n");
    assert_int_equal(b.report.errors, 0);
    assert_string_equal(b.sample.hosts.items[0].ptr, "x1y");
    assert_string_equal(b.sample.hosts.items[1].ptr, "dflt");
    assert_string_equal(b.sample.hosts.items[2].ptr, "${FNG_TEST_A} $5");
    unbind(&b);
    assert_complaint("\nname: ${FNG_TEST_NONE}\n",
                     "fngate.yaml:2: environment variable 'FNG_TEST_NONE' is not set; set it or "
                     "write ${FNG_TEST_NONE:-default}\n");
    assert_complaint("name: ${a b}\n", "fngate.yaml:1: '${a b}' is neither ${NAME} nor "
                                       "${NAME:-default}; write $${ for a plain ${\n");
}

static void what_makes_yaml_surprising_is_refused(void **state)
{
    static const char *const cases[][2] = {
        {"name: a\nname: b\n", "fngate.yaml:2: key 'name' stands on line 1 already\n"},
        {"name: &x a\n",
         "fngate.yaml:1: anchors (&) and tags (!) are not supported; write the value itself\n"},
        {"name: !!str a\n",
         "fngate.yaml:1: anchors (&) and tags (!) are not supported; write the value itself\n"},
        {"name: *x\n", "fngate.yaml:1: aliases (*) are not supported; write the value itself\n"},
        {"name: a\n---\nname: b\n",
         "fngate.yaml:3: a second document begins here; put everything into one\n"},
        {"[a, b]\n", "fngate.yaml:1: the file must be a map of keys, not a list\n"},
        {"? [a]\n: b\n",
         "fngate.yaml:1: a key must be a plain word, without anchor, alias or tag\n"},
        {"name: \"a\\0b\"\n", "fngate.yaml:1: a value may not contain a NUL byte\n"},
        {"name: [a\nb: c", NULL},
        {"\x01", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bound b;

        bind(&b, cases[i][0]);
        assert_null(b.doc);
        assert_true(b.report.errors > 0);
        if (cases[i][1])
            assert_string_equal(buf_str(&b.report.text).ptr, cases[i][1]);
        unbind(&b);
    }
}

static void deep_nesting_is_refused(void **state)
{
    char yaml[256];

    (void)state;
    memset(yaml, '[', 100);
    memset(yaml + 100, ']', 100);
    yaml[200] = '\0';
    assert_complaint(yaml, "fngate.yaml:1: nested deeper than 32 levels\n");
}

static void a_complaint_stays_one_line(void **state)
{
    (void)state;
    assert_complaint("verbose: \"1\\nfngate.yaml:9: forged\"\n",
                     "fngate.yaml:1: queue-nats: 'verbose' must be true or false, got '1?fngate."
                     "yaml:9: forged'\n");
}

static void a_missing_file_is_named(void **state)
{
    struct conf_report report;

    (void)state;
    conf_report_init(&report);
    assert_null(conf_read("/nonexistent/fngate.yaml", &report));
    assert_true(str_eq(buf_str(&report.text), STR("/nonexistent/fngate.yaml: cannot be read: No "
                                                  "such file or directory\n")));
    conf_report_free(&report);
}

static void a_table_with_a_bad_default_is_found(void **state)
{
    struct conf_key key = keys[4];
    struct err err;

    (void)state;
    assert_int_equal(conf_check_key(&key, &err), 0);
    key.default_value = "2m";
    assert_true(conf_check_key(&key, &err) < 0);
    assert_string_equal(err.text, "its default must be a duration between 1ms and 60s, got '2m'");
    key.min = 70000;
    assert_true(conf_check_key(&key, &err) < 0);
    assert_string_equal(err.text, "its minimum is above its maximum");
}

static void keys_describe_themselves(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 0);
    conf_describe(&keys[4], 1, &out);
    conf_describe(&keys[7], 1, &out);
    assert_true(
        str_eq(buf_str(&out), STR("  timeout: a duration between 1ms and 60s, default 5s\n"
                                  "      Longest wait.\n"
                                  "  token (or its _file form): a text of between 4 and 64 bytes\n"
                                  "      Shared secret.\n")));
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_what_the_file_leaves_out),
        cmocka_unit_test(every_type_is_converted),
        cmocka_unit_test(a_bad_value_is_named_with_line_bounds_and_what_was_found),
        cmocka_unit_test(several_complaints_are_collected_in_order),
        cmocka_unit_test(a_missing_required_key_is_explained),
        cmocka_unit_test(a_secret_is_never_shown),
        cmocka_unit_test(a_secret_may_come_from_a_file),
        cmocka_unit_test(the_environment_overrides_the_file),
        cmocka_unit_test(variables_are_replaced_inside_scalars),
        cmocka_unit_test(what_makes_yaml_surprising_is_refused),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(a_complaint_stays_one_line),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(a_table_with_a_bad_default_is_found),
        cmocka_unit_test(keys_describe_themselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

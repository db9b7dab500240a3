/* api: paths, queries, times, names, JSON fields and JSON writing, as tables. */
#include "api/json.h"
#include "api/names.h"
#include "api/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static void paths_are_decoded_once_or_refused(void **state)
{
    static const struct {
        struct str raw;
        const char *path; /* NULL: refused */
    } rows[] = {
        {STR("/"), "/"},
        {STR("/a/b"), "/a/b"},
        {STR("/a/b/"), "/a/b"},
        {STR("/%61"), "/a"},
        {STR("/%2561"), "/%61"},
        {STR("/a.b/..c/..."), "/a.b/..c/..."},
        {STR("/\xc3\xa4"), "/\xc3\xa4"},
        {STR(""), NULL},
        {STR("a"), NULL},
        {STR("*"), NULL},
        {STR("//"), NULL},
        {STR("//a"), NULL},
        {STR("/a//b"), NULL},
        {STR("/a//"), NULL},
        {STR("/."), NULL},
        {STR("/.."), NULL},
        {STR("/a/../b"), NULL},
        {STR("/a/%2e%2E/b"), NULL},
        {STR("/a/.%2e"), NULL},
        {STR("/a%2fb"), NULL},
        {STR("/a%5cb"), NULL},
        {STR("/a%00"), NULL},
        {STR("/a%0a"), NULL},
        {STR("/a%7f"), NULL},
        {STR("/a%"), NULL},
        {STR("/a%4"), NULL},
        {STR("/a%4g"), NULL},
        {STR("/a\\b"), NULL},
        {STR("/a\0b"), NULL},
    };
    struct pool pool;
    struct str path;

    (void)state;
    pool_init(&pool, 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *why = path_normalise(&pool, rows[i].raw, &path);

        assert_true((why == NULL) == (rows[i].path != NULL));
        if (rows[i].path)
            assert_true(str_eq(path, str_from(rows[i].path)));
    }
    pool_free(&pool);
}

static void patterns_take_one_segment(void **state)
{
    struct str name = STR_NONE;

    (void)state;
    assert_true(path_matches("/a/{name}", STR("/a/b"), &name));
    assert_true(str_eq(name, STR("b")));
    assert_false(path_matches("/a/{name}", STR("/a"), &name));
    assert_false(path_matches("/a/{name}", STR("/a/b/c"), &name));
    assert_false(path_matches("/a/{name}", STR("/ab"), &name));
    assert_true(path_matches("/a", STR("/a"), &name));
    assert_false(path_matches("/a", STR("/A"), &name));
}

static void the_last_parameter_wins_and_is_decoded(void **state)
{
    struct pool pool;

    (void)state;
    pool_init(&pool, 0);
    assert_true(str_eq(query_get(&pool, STR("a=1&b=2&a=%33+x"), STR("a")), STR("3 x")));
    assert_true(str_eq(query_get(&pool, STR("a=b=c"), STR("a")), STR("b=c")));
    assert_true(str_eq(query_get(&pool, STR("a"), STR("a")), STR("")));
    assert_true(str_eq(query_get(&pool, STR("a=%zz%4"), STR("a")), STR("%zz%4")));
    assert_null(query_get(&pool, STR("ab=1"), STR("a")).ptr);
    assert_null(query_get(&pool, STR_NONE, STR("a")).ptr);
    pool_free(&pool);
}

static void times_are_rfc_3339(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2024-02-29T12:30:00Z", 1709209800000},
        {"2024-02-29t12:30:00.25z", 1709209800250},
        {"2024-02-29T12:30:00.123456789Z", 1709209800123},
        {"2024-02-29T14:30:00+02:00", 1709209800000},
        {"2024-02-29T14:30:00 02:00", 1709209800000},
        {"2024-02-29T10:00:00-02:30", 1709209800000},
        {"2023-02-29T12:30:00Z", -1},
        {"2024-13-01T00:00:00Z", -1},
        {"2024-01-01T24:00:00Z", -1},
        {"2024-01-01T00:00:00", -1},
        {"2024-01-01T00:00:00.Z", -1},
        {"2024-01-01T00:00:00Zx", -1},
        {"2024-01-01T00:00:00+2:00", -1},
        {"2024-01-01 00:00:00Z", -1},
        {"10m", -1},
        {"", -1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t ms = -1;

        assert_int_equal(time_parse(str_from(rows[i].text), &ms), rows[i].ms >= 0);
        if (rows[i].ms >= 0)
            assert_int_equal(ms, rows[i].ms);
    }
}

static void names_follow_their_grammar(void **state)
{
    static const char *const labels[] = {"a", "a-b", "0a", "x9"};
    static const char *const no_labels[] = {"", "-a", "a-", "A", "a.b", "a_b", "a/b", "\xc3\xa4"};
    static const char *const secrets[] = {"a", "api_key", "tls.crt", "A-1"};
    static const char *const no_secrets[] = {"", ".", "..", "a..b", ".a", "a.", "a/b", "a b", "-"};
    static const char *const keys[] = {"a", "com.openfaas.scale.min", "k8s.io/name"};
    static const char *const no_keys[] = {"", "/", "a/", "/a", "a/b/c", "a b", "-a", "a="};
    char longest[64];

    (void)state;
    memset(longest, 'a', sizeof(longest));
    assert_true(name_is_label(str_make(longest, 63)));
    assert_false(name_is_label(str_make(longest, 64)));
    for (size_t i = 0; i < COUNT(labels); i++)
        assert_true(name_is_label(str_from(labels[i])));
    for (size_t i = 0; i < COUNT(no_labels); i++)
        assert_false(name_is_label(str_from(no_labels[i])));
    for (size_t i = 0; i < COUNT(secrets); i++)
        assert_true(name_is_secret(str_from(secrets[i])));
    for (size_t i = 0; i < COUNT(no_secrets); i++)
        assert_false(name_is_secret(str_from(no_secrets[i])));
    for (size_t i = 0; i < COUNT(keys); i++)
        assert_true(name_is_label_key(str_from(keys[i])));
    for (size_t i = 0; i < COUNT(no_keys); i++)
        assert_false(name_is_label_key(str_from(no_keys[i])));
    assert_true(name_is_env(STR("http_proxy")));
    assert_false(name_is_env(STR("a=b")));
    assert_false(text_is_line(STR("a\nb"), 10));
}

struct target {
    struct fng_str text;
    struct fng_kv_list pairs;
    struct fng_str_list strings;
    struct json_uint number;
    bool flag;
};

static const struct json_field fields[] = {
    {"text", JSON_FIELD_STR, offsetof(struct target, text)},
    {"pairs", JSON_FIELD_PAIRS, offsetof(struct target, pairs)},
    {"strings", JSON_FIELD_STRS, offsetof(struct target, strings)},
    {"number", JSON_FIELD_UINT32, offsetof(struct target, number)},
    {"flag", JSON_FIELD_BOOL, offsetof(struct target, flag)},
};

static void fields_are_bound_and_null_is_absent(void **state)
{
    struct target target = {.text = FNG_STR("before")};
    struct pool pool;
    struct err err;
    json_t *root;

    (void)state;
    pool_init(&pool, 0);
    root = json_read_object(STR("{\"text\":null,\"pairs\":{\"a\":\"b\",\"c\":null},\"number\":"
                                "4294967295,\"strings\":[\"x\",\"\"],\"flag\":true,\"more\":{}}"),
                            &err);
    assert_non_null(root);
    assert_int_equal(json_bind(root, fields, COUNT(fields), &target, &pool, &err), 0);
    assert_true(fng_str_eq(target.text, FNG_STR("before")));
    assert_int_equal(target.pairs.count, 1);
    assert_true(fng_str_eq(target.pairs.items[0].value, FNG_STR("b")));
    assert_int_equal(target.strings.count, 2);
    assert_true(target.flag && target.number.is_set);
    assert_int_equal(target.number.value, UINT32_MAX);
    json_decref(root);
    pool_free(&pool);
}

static void wrong_types_are_named(void **state)
{
    static const struct {
        const char *body, *text;
    } rows[] = {
        {"{\"text\":1}", "field 'text': expected a string, got a number"},
        {"{\"text\":{}}", "field 'text': expected a string, got an object"},
        {"{\"pairs\":[]}", "field 'pairs': expected an object of strings, got an array"},
        {"{\"pairs\":{\"k\":true}}", "field 'pairs.k': expected a string, got true"},
        {"{\"strings\":\"x\"}", "field 'strings': expected an array of strings, got a string"},
        {"{\"strings\":[null]}",
         "field 'strings': expected an array of strings, not one, got null"},
        {"{\"number\":1.5}", "field 'number': expected a whole number, got a number"},
        {"{\"number\":-1}", "field 'number': expected a number from 0 to 4294967295"},
        {"{\"number\":4294967296}", "field 'number': expected a number from 0 to 4294967295"},
        {"{\"flag\":\"true\"}", "field 'flag': expected true or false, got a string"},
    };
    struct pool pool;
    struct err err;

    (void)state;
    pool_init(&pool, 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct target target = {0};
        json_t *root = json_read_object(str_from(rows[i].body), &err);

        assert_non_null(root);
        assert_true(json_bind(root, fields, COUNT(fields), &target, &pool, &err) < 0);
        assert_string_equal(err.text, rows[i].text);
        json_decref(root);
    }
    pool_free(&pool);
}

static void bodies_must_be_one_shallow_object(void **state)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "null",
                                      "[]",
                                      "{",
                                      "{}x",
                                      "{} {}",
                                      "{\"a\":1,\"a\":1}",
                                      "{\"a\":\"\\u0000\"}",
                                      "{\"a\":\"\xff\"}",
                                      "{'a':1}"};
    char deep[64] = "{\"a\":";
    struct err err;
    json_t *root;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_null(json_read_object(str_from(bad[i]), &err));
    memset(deep + 5, '[', 40);
    assert_null(json_read_object(str_from(deep), &err));
    assert_non_null(strstr(err.text, "nested"));
    root = json_read_object(STR("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[\"}"), &err);
    assert_non_null(root);
    json_decref(root);
}

static void writing_places_commas_and_escapes(void **state)
{
    struct buf buf;
    struct json_out out = {.buf = &buf};

    (void)state;
    buf_init(&buf, 0);
    json_open(&out, NULL, '[');
    json_open(&out, NULL, '{');
    json_close(&out, '}');
    json_open(&out, NULL, '{');
    json_put_str(&out, "a", STR("\"\n\xff"));
    json_put_u64(&out, "b", UINT64_MAX);
    json_put_double(&out, "c", 0.5);
    json_put_bool(&out, "d", false);
    json_open(&out, "e", '[');
    json_put_str(&out, NULL, STR("x"));
    json_put_str(&out, NULL, STR(""));
    json_close(&out, ']');
    json_put_pair(&out, STR("k\"ey"), STR_NONE);
    json_close(&out, '}');
    json_close(&out, ']');
    assert_int_equal(out.error, 0);
    assert_true(str_eq(buf_str(&buf),
                       STR("[{},{\"a\":\"\\\"\\n\\ufffd\",\"b\":18446744073709551615,\"c\":0.5,"
                           "\"d\":false,\"e\":[\"x\",\"\"],\"k\\\"ey\":\"\"}]")));
    buf_free(&buf);
}

static void writing_notices_a_full_buffer(void **state)
{
    struct buf buf;
    struct json_out out = {.buf = &buf};

    (void)state;
    buf_init(&buf, 8);
    json_open(&out, NULL, '{');
    json_put_str(&out, "key", STR("longer than that"));
    assert_true(out.error < 0);
    buf_free(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_decoded_once_or_refused),
        cmocka_unit_test(patterns_take_one_segment),
        cmocka_unit_test(the_last_parameter_wins_and_is_decoded),
        cmocka_unit_test(times_are_rfc_3339),
        cmocka_unit_test(names_follow_their_grammar),
        cmocka_unit_test(fields_are_bound_and_null_is_absent),
        cmocka_unit_test(wrong_types_are_named),
        cmocka_unit_test(bodies_must_be_one_shallow_object),
        cmocka_unit_test(writing_places_commas_and_escapes),
        cmocka_unit_test(writing_notices_a_full_buffer),
    };

    return cmocka_run_group_tests_name("api_parse", tests, NULL, NULL);
}

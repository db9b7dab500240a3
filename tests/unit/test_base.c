/* base: strings with units, buffers, pools, maps, the log's escaping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/sys.h"

#include <errno.h>
#include <stdio.h>

static void durations_take_units_and_bare_seconds(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"30", 30000}, {"250ms", 250}, {"1h30m", 5400000}, {"1.5s", 1500}, {"0", 0}};
    static const char *const bad[] = {"", "s", "1x", "-1s", "1s 2s", "99999999999999999999s", "."};
    int64_t ms;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(str_to_duration_ms(str_from(good[i].text), &ms));
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(str_to_duration_ms(str_from(bad[i]), &ms));
}

static void sizes_take_binary_and_decimal_suffixes(void **state)
{
    uint64_t bytes;

    (void)state;
    assert_true(str_to_size(STR("64Mi"), &bytes));
    assert_int_equal(bytes, 64 << 20);
    assert_true(str_to_size(STR("10MB"), &bytes));
    assert_int_equal(bytes, 10000000);
    assert_true(str_to_size(STR("1.5Ki"), &bytes));
    assert_int_equal(bytes, 1536);
    assert_true(str_to_size(STR("18446744073709551615"), &bytes));
    assert_true(bytes == UINT64_MAX);
    assert_false(str_to_size(STR("18446744073709551616"), &bytes));
    assert_false(str_to_size(STR("1Zi"), &bytes));
    assert_false(str_to_size(STR("-1"), &bytes));
    assert_false(str_to_size(STR(""), &bytes));
}

static void numbers_stop_at_their_maximum(void **state)
{
    uint64_t value;

    (void)state;
    assert_true(str_to_u64(STR("255"), 255, &value));
    assert_false(str_to_u64(STR("256"), 255, &value));
    assert_false(str_to_u64(STR("+1"), 255, &value));
    assert_false(str_to_u64(STR("1 "), 255, &value));
    assert_false(str_to_u64(STR("3"), 2, &value));
    assert_false(str_to_u64(STR("99999999999999999999"), UINT64_MAX, &value));
}

static void lists_are_cut_and_trimmed(void **state)
{
    struct str rest = STR("a, b ,,c"), item;
    char seen[64] = "";

    (void)state;
    while (str_next(&rest, ',', &item))
        snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "[%.*s]", STR_ARG(item));
    assert_string_equal(seen, "[a][b][][c]");
}

static void distance_counts_edits_up_to_the_limit(void **state)
{
    (void)state;
    assert_int_equal(str_distance(STR("listen"), STR("lsiten"), 3), 2);
    assert_int_equal(str_distance(STR("listen"), STR("listen"), 3), 0);
    assert_int_equal(str_distance(STR("abc"), STR("xyzxyz"), 2), 3);
}

static void buffer_keeps_its_maximum_and_its_bytes(void **state)
{
    struct buf buf;
    char big[300];

    (void)state;
    memset(big, 'x', sizeof(big));
    buf_init(&buf, 512);
    assert_int_equal(buf_add(&buf, big, 300), 0);
    assert_int_equal(buf_add(&buf, big, 300), -ENOSPC);
    buf_consume(&buf, 200);
    assert_int_equal(buf_add(&buf, big, 300), 0);
    assert_int_equal(buf_len(&buf), 400);
    assert_int_equal(buf_printf(&buf, "%0200d", 1), -ENOSPC);
    assert_int_equal(buf_printf(&buf, "%d", 42), 0);
    assert_true(str_ends(buf_str(&buf), STR("x42")));
    buf_free(&buf);
}

static void *failing_realloc(void *ptr, size_t size)
{
    (void)ptr;
    (void)size;
    return NULL;
}

static void short_memory_is_an_error_not_a_crash(void **state)
{
    struct pool pool;
    struct buf buf;

    (void)state;
    pool_init(&pool, 0);
    buf_init(&buf, 0);
    sys.realloc = failing_realloc;
    assert_null(pool_alloc(&pool, 10));
    assert_int_equal(buf_add(&buf, "x", 1), -ENOMEM);
    assert_null(pool_str(&pool, STR("x")).ptr);
    sys_reset();
    assert_non_null(pool_alloc(&pool, 10));
    pool_free(&pool);
}

static void pool_stops_at_its_bound(void **state)
{
    struct pool pool;
    size_t total = 0;

    (void)state;
    pool_init(&pool, 8192);
    while (pool_alloc(&pool, 100))
        total += 112;
    assert_in_range(total, 7000, 8192);
    pool_free(&pool);
}

static void map_survives_growth_and_removal(void **state)
{
    static int values[2000];
    struct map map;
    char key[16];
    size_t seen = 0, pos = 0;
    struct str name;
    void *value;

    (void)state;
    map_init(&map);
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        assert_null(map_set(&map, str_from(key), &values[i]));
    }
    for (int i = 0; i < 2000; i += 2) {
        snprintf(key, sizeof(key), "key-%d", i);
        assert_ptr_equal(map_remove(&map, str_from(key)), &values[i]);
    }
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        assert_ptr_equal(map_get(&map, str_from(key)), i % 2 ? (void *)&values[i] : NULL);
    }
    while (map_next(&map, &pos, &name, &value))
        seen++;
    assert_int_equal(seen, 1000);
    assert_int_equal(map.count, 1000);
    map_free(&map);
}

static void json_escape_leaves_no_control_byte(void **state)
{
    struct buf buf;

    (void)state;
    buf_init(&buf, 0);
    assert_int_equal(log_escape_json(&buf, STR("a\"\\\n\x01\x7f\xff\xc3\xa9\xe2\x80\xa8")), 0);
    assert_true(
        str_eq(buf_str(&buf), STR("a\\\"\\\\\\n\\u0001\\u007f\\ufffd\xc3\xa9\xe2\x80\xa8")));
    buf_free(&buf);
}

static void time_is_rfc_3339(void **state)
{
    char text[TIME_TEXT_MAX];

    (void)state;
    time_format(text, INT64_C(1700000000123456789), 9);
    assert_string_equal(text, "2023-11-14T22:13:20.123456789Z");
    time_format(text, INT64_C(1700000000123456789), 0);
    assert_string_equal(text, "2023-11-14T22:13:20Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_take_units_and_bare_seconds),
        cmocka_unit_test(sizes_take_binary_and_decimal_suffixes),
        cmocka_unit_test(numbers_stop_at_their_maximum),
        cmocka_unit_test(lists_are_cut_and_trimmed),
        cmocka_unit_test(distance_counts_edits_up_to_the_limit),
        cmocka_unit_test(buffer_keeps_its_maximum_and_its_bytes),
        cmocka_unit_test(short_memory_is_an_error_not_a_crash),
        cmocka_unit_test(pool_stops_at_its_bound),
        cmocka_unit_test(map_survives_growth_and_removal),
        cmocka_unit_test(json_escape_leaves_no_control_byte),
        cmocka_unit_test(time_is_rfc_3339),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* metrics: the text format, and sets that stay bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "metrics/metrics.h"

#include <stdio.h>

static void expect(struct buf *out, const char *text)
{
    AUTO_FREE char *got = str_dup(buf_str(out));

    assert_string_equal(got, text);
    buf_clear(out);
}

static void samples_escape_their_labels(void **state)
{
    const struct metric_label labels[] = {{"a", STR("x\"y\\z\n")}, {"b", STR("")}};
    struct buf out;

    (void)state;
    buf_init(&out, 0);
    metric_family(&out, "m", METRIC_GAUGE, "What it is");
    metric_sample(&out, "m", labels, 2, 0.25);
    metric_sample(&out, "m", NULL, 0, 9007199254740992.0);
    expect(&out, "# HELP m What it is\n# TYPE m gauge\n"
                 "m{a=\"x\\\"y\\\\z\\n\",b=\"\"} 0.25\nm 9007199254740992\n");
    buf_free(&out);
}

static void histograms_accumulate(void **state)
{
    static const double bounds[] = {.005, 1, 2.5};
    static const uint64_t buckets[] = {1, 0, 2, 3};
    const struct metric_label label = {"f", STR("x")};
    const struct metric_histogram histogram = {bounds, 3, buckets, 12.5};
    struct buf out;

    (void)state;
    buf_init(&out, 0);
    metric_histogram(&out, "h", &label, 1, &histogram);
    expect(&out, "h_bucket{f=\"x\",le=\"0.005\"} 1\nh_bucket{f=\"x\",le=\"1\"} 1\n"
                 "h_bucket{f=\"x\",le=\"2.5\"} 3\nh_bucket{f=\"x\",le=\"+Inf\"} 6\n"
                 "h_sum{f=\"x\"} 12.5\nh_count{f=\"x\"} 6\n");
    buf_free(&out);
}

static void a_set_keeps_series_apart_and_bounds_them(void **state)
{
    static const char *const names[] = {"a", "b"};
    static const double bounds[] = {1};
    struct metric_set *set = metric_set_new(names, 2, bounds, 1, 2);
    struct buf out;

    (void)state;
    buf_init(&out, 0);
    metric_set_observe(set, (struct str[]){STR("x"), STR("yz")}, 1);
    metric_set_observe(set, (struct str[]){STR("xy"), STR("z")}, 2);
    metric_set_observe(set, (struct str[]){STR("x"), STR("yz")}, 0.5);
    metric_set_observe(set, (struct str[]){STR("too"), STR("many")}, 3);
    metric_set_observe(set, (struct str[]){STR("far"), STR("too many")}, 4);
    metric_set_write_counts(set, &out, "n", "N");
    expect(&out, "# HELP n N\n# TYPE n counter\nn{a=\"x\",b=\"yz\"} 2\nn{a=\"xy\",b=\"z\"} 1\n"
                 "n{a=\"other\",b=\"other\"} 2\n");
    metric_set_write(set, &out, "h", "H");
    assert_non_null(strstr(out.mem, "h_bucket{a=\"x\",b=\"yz\",le=\"1\"} 2\n"));
    assert_non_null(strstr(out.mem, "h_sum{a=\"other\",b=\"other\"} 7\n"));
    metric_set_free(set);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_escape_their_labels),
        cmocka_unit_test(histograms_accumulate),
        cmocka_unit_test(a_set_keeps_series_apart_and_bounds_them),
    };

    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}

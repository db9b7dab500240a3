/* One series per status and method that occurred; there are few, so a list will do. */
#include "metrics.h"

#include "base/vec.h"

#define BUCKETS(X) X(0.005) X(0.01) X(0.025) X(0.05) X(0.1) X(0.25) X(0.5) X(1) X(2.5) X(5) X(10)

static const double bounds[] = {
#define X(bound) bound,
    BUCKETS(X)
#undef X
};

static const char *const bound_texts[] = {
#define X(bound) #bound,
    BUCKETS(X)
#undef X
};

enum { BOUNDS = sizeof(bounds) / sizeof(bounds[0]) };

struct series {
    unsigned status;
    enum http_method method;
    uint64_t buckets[BOUNDS]; /* not yet cumulated */
    uint64_t count;
    double sum;
};

static VEC(struct series) all;
static int in_flight;

static struct series *series_get(unsigned status, enum http_method method)
{
    struct series *series;

    for (size_t i = 0; i < all.count; i++)
        if (all.items[i].status == status && all.items[i].method == method)
            return &all.items[i];
    series = VEC_PUSH(&all);
    series->status = status;
    series->method = method;
    return series;
}

void metrics_count(unsigned status, enum http_method method, double seconds)
{
    struct series *series = series_get(status, method);

    series->count++;
    series->sum += seconds;
    for (int i = 0; i < BOUNDS; i++) {
        if (seconds <= bounds[i]) {
            series->buckets[i]++;
            return;
        }
    }
}

void metrics_in_flight(int change)
{
    in_flight += change;
}

static const char *method_label(enum http_method method)
{
    static const char *const labels[] = {
        [HTTP_OTHER] = "unknown", [HTTP_GET] = "get",        [HTTP_HEAD] = "head",
        [HTTP_POST] = "post",     [HTTP_PUT] = "put",        [HTTP_PATCH] = "patch",
        [HTTP_DELETE] = "delete", [HTTP_OPTIONS] = "options"};

    return labels[method];
}

static int write_histogram(struct buf *out, const struct series *series)
{
    static const char name[] = "http_request_duration_seconds";
    const char *method = method_label(series->method);
    uint64_t below = 0;
    int err = 0;

    for (int i = 0; i < BOUNDS && !err; i++) {
        below += series->buckets[i];
        err = buf_printf(out, "%s_bucket{code=\"%u\",method=\"%s\",le=\"%s\"} %llu\n", name,
                         series->status, method, bound_texts[i], (unsigned long long)below);
    }
    if (!err)
        err = buf_printf(out, "%s_bucket{code=\"%u\",method=\"%s\",le=\"+Inf\"} %llu\n", name,
                         series->status, method, (unsigned long long)series->count);
    if (!err)
        err = buf_printf(out, "%s_sum{code=\"%u\",method=\"%s\"} %g\n", name, series->status,
                         method, series->sum);
    if (!err)
        err = buf_printf(out, "%s_count{code=\"%u\",method=\"%s\"} %llu\n", name, series->status,
                         method, (unsigned long long)series->count);
    return err;
}

int metrics_write(struct buf *out)
{
    int err = buf_printf(out,
                         "# HELP http_requests_in_flight Requests that are being served.\n"
                         "# TYPE http_requests_in_flight gauge\nhttp_requests_in_flight %d\n"
                         "# HELP http_requests_total Requests by status and method.\n"
                         "# TYPE http_requests_total counter\n",
                         in_flight);

    for (size_t i = 0; i < all.count && !err; i++)
        err = buf_printf(out, "http_requests_total{code=\"%u\",method=\"%s\"} %llu\n",
                         all.items[i].status, method_label(all.items[i].method),
                         (unsigned long long)all.items[i].count);
    if (!err)
        err = buf_printf(out,
                         "# HELP http_request_duration_seconds Time from the request's head to the "
                         "end of the answer.\n"
                         "# TYPE http_request_duration_seconds histogram\n");
    for (size_t i = 0; i < all.count && !err; i++)
        err = write_histogram(out, &all.items[i]);
    return err;
}

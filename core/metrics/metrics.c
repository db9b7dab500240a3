/* Text exposition and the set of histograms. Writing stops at the buffer's bound; the reader of the
 * buffer sees that it is full. */
#include "metrics/metrics.h"

#include "base/assert.h"
#include "base/map.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>

static const double WHOLE_MAX = 1e18; /* fits int64_t */

static const char *const type_names[] = {
    [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};

void metric_family(struct buf *out, const char *name, enum metric_type type, const char *help)
{
    (void)buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type_names[type]);
}

static void write_escaped(struct buf *out, struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];

        if (c == '\n')
            (void)buf_add(out, "\\n", 2);
        else if (c == '"' || c == '\\')
            (void)buf_printf(out, "\\%c", c);
        else
            (void)buf_add(out, &c, 1);
    }
}

/* {a="x",b="y",le="0.5"}; nothing at all without labels. `le` may be NULL. */
static void write_labels(struct buf *out, const struct metric_label *labels, size_t count,
                         const char *le)
{
    const char *before = "{";

    for (size_t i = 0; i < count; i++) {
        (void)buf_printf(out, "%s%s=\"", before, labels[i].name);
        write_escaped(out, labels[i].value);
        (void)buf_add(out, "\"", 1);
        before = ",";
    }
    if (le)
        (void)buf_printf(out, "%sle=\"%s\"", before, le);
    if (count || le)
        (void)buf_add(out, "}", 1);
}

/* Whole numbers as such: a counter must not lose its last digits. */
static void write_value(struct buf *out, double value)
{
    bool is_whole = value > -WHOLE_MAX && value < WHOLE_MAX && (double)(int64_t)value == value;

    (void)buf_printf(out, is_whole ? " %.0f\n" : " %.15g\n", value);
}

void metric_sample(struct buf *out, const char *name, const struct metric_label *labels,
                   size_t count, double value)
{
    (void)buf_add_str(out, str_from(name));
    write_labels(out, labels, count, NULL);
    write_value(out, value);
}

void metric_histogram(struct buf *out, const char *name, const struct metric_label *labels,
                      size_t count, const struct metric_histogram *histogram)
{
    uint64_t total = 0;

    for (size_t i = 0; i <= histogram->bounds_count; i++) {
        char le[32] = "+Inf";

        if (i < histogram->bounds_count)
            snprintf(le, sizeof(le), "%g", histogram->bounds[i]);
        total += histogram->buckets[i];
        (void)buf_printf(out, "%s_bucket", name);
        write_labels(out, labels, count, le);
        (void)buf_printf(out, " %llu\n", (unsigned long long)total);
    }
    (void)buf_printf(out, "%s_sum", name);
    write_labels(out, labels, count, NULL);
    (void)buf_printf(out, " %.15g\n%s_count", histogram->sum, name);
    write_labels(out, labels, count, NULL);
    (void)buf_printf(out, " %llu\n", (unsigned long long)total);
}

struct series {
    struct series *next; /* in the order they came */
    char *values[METRIC_SET_LABELS_MAX];
    double sum;
    uint64_t count;
    uint64_t buckets[]; /* bounds_count + 1 */
};

struct metric_set {
    const char *label_names[METRIC_SET_LABELS_MAX];
    size_t label_count;
    const double *bounds;
    size_t bounds_count, series_max;
    pthread_mutex_t lock; /* guards what follows */
    struct map by_values;
    struct series *first, **last;
};

struct metric_set *metric_set_new(const char *const *label_names, size_t label_count,
                                  const double *bounds, size_t bounds_count, size_t series_max)
{
    struct metric_set *set = xcalloc(1, sizeof(*set));

    ASSERT(label_count > 0 && label_count <= METRIC_SET_LABELS_MAX);
    for (size_t i = 0; i < label_count; i++)
        set->label_names[i] = label_names[i];
    set->label_count = label_count;
    set->bounds = bounds;
    set->bounds_count = bounds_count;
    set->series_max = series_max;
    set->last = &set->first;
    pthread_mutex_init(&set->lock, NULL);
    map_init(&set->by_values);
    return set;
}

void metric_set_free(struct metric_set *set)
{
    if (!set)
        return;
    while (set->first) {
        struct series *series = set->first;

        set->first = series->next;
        for (size_t i = 0; i < set->label_count; i++)
            mem_free(series->values[i]);
        mem_free(series);
    }
    map_free(&set->by_values);
    pthread_mutex_destroy(&set->lock);
    mem_free(set);
}

static struct series *series_of(struct metric_set *set, const struct str *values)
{
    struct series *series;
    struct buf key;

    buf_init(&key, 0);
    for (size_t i = 0; i < set->label_count; i++) {
        (void)buf_add_str(&key, values[i]);
        (void)buf_add(&key, "", 1);
    }
    series = map_get(&set->by_values, buf_str(&key));
    if (!series && set->by_values.count < set->series_max) {
        series = xcalloc(1, sizeof(*series) + (set->bounds_count + 1) * sizeof(series->buckets[0]));
        for (size_t i = 0; i < set->label_count; i++)
            series->values[i] = str_dup(values[i]);
        map_set(&set->by_values, buf_str(&key), series);
        *set->last = series;
        set->last = &series->next;
    }
    buf_free(&key);
    return series;
}

void metric_set_observe(struct metric_set *set, const struct str *values, double value)
{
    struct series *series;
    size_t bucket = 0;

    while (bucket < set->bounds_count && value > set->bounds[bucket])
        bucket++;
    pthread_mutex_lock(&set->lock);
    series = series_of(set, values);
    if (!series) {
        struct str other[METRIC_SET_LABELS_MAX];

        for (size_t i = 0; i < set->label_count; i++)
            other[i] = STR("other");
        set->series_max++; /* room for this one */
        series = series_of(set, other);
        set->series_max--;
    }
    series->buckets[bucket]++;
    series->count++;
    series->sum += value;
    pthread_mutex_unlock(&set->lock);
}

static void series_labels(const struct metric_set *set, const struct series *series,
                          struct metric_label labels[METRIC_SET_LABELS_MAX])
{
    for (size_t i = 0; i < set->label_count; i++)
        labels[i] = (struct metric_label){set->label_names[i], str_from(series->values[i])};
}

void metric_set_write(struct metric_set *set, struct buf *out, const char *name, const char *help)
{
    struct metric_label labels[METRIC_SET_LABELS_MAX];

    metric_family(out, name, METRIC_HISTOGRAM, help);
    pthread_mutex_lock(&set->lock);
    for (const struct series *series = set->first; series; series = series->next) {
        struct metric_histogram histogram = {set->bounds, set->bounds_count, series->buckets,
                                             series->sum};

        series_labels(set, series, labels);
        metric_histogram(out, name, labels, set->label_count, &histogram);
    }
    pthread_mutex_unlock(&set->lock);
}

void metric_set_write_counts(struct metric_set *set, struct buf *out, const char *name,
                             const char *help)
{
    struct metric_label labels[METRIC_SET_LABELS_MAX];

    metric_family(out, name, METRIC_COUNTER, help);
    pthread_mutex_lock(&set->lock);
    for (const struct series *series = set->first; series; series = series->next) {
        series_labels(set, series, labels);
        metric_sample(out, name, labels, set->label_count, (double)series->count);
    }
    pthread_mutex_unlock(&set->lock);
}

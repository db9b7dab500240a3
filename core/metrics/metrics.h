/* Figures as text: the Prometheus exposition format 0.0.4, written into a buffer.
 *
 * A family is announced once, then its samples follow. Counters of the hot path live where they
 * are counted (route cells, servers); the set below is for what the control plane counts.
 */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include "base/buf.h"

struct metric_label {
    const char *name;
    struct str value; /* any bytes: escaped here */
};

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* What stands in the Content-Type of an exposition. */
#define METRIC_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* "# HELP" and "# TYPE". */
void metric_family(struct buf *out, const char *name, enum metric_type type, const char *help);
void metric_sample(struct buf *out, const char *name, const struct metric_label *labels,
                   size_t count, double value);

struct metric_histogram {
    const double *bounds; /* upper, ascending, without infinity */
    size_t bounds_count;
    const uint64_t *buckets; /* bounds_count + 1, each counts its own range only */
    double sum;
};
/* The _bucket, _sum and _count lines of one series. */
void metric_histogram(struct buf *out, const char *name, const struct metric_label *labels,
                      size_t count, const struct metric_histogram *histogram);

/* Histograms that differ in their label values, made when first observed. Any thread: a mutex, so
 * not for the request path. At most `series_max`: what comes later is counted with the value
 * "other" in each label. */
struct metric_set;
enum { METRIC_SET_LABELS_MAX = 4 };
struct metric_set *metric_set_new(const char *const *label_names, size_t label_count,
                                  const double *bounds, size_t bounds_count, size_t series_max);
void metric_set_free(struct metric_set *set);
void metric_set_observe(struct metric_set *set, const struct str *values, double value);
/* The whole family as histogram; as counter of the observations. */
void metric_set_write(struct metric_set *set, struct buf *out, const char *name, const char *help);
void metric_set_write_counts(struct metric_set *set, struct buf *out, const char *name,
                             const char *help);

#endif

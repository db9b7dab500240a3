/* Scaling to zero: functions that ask for it (label com.openfaas.scale.zero=true) are stopped after
 * com.openfaas.scale.zero-duration without a request, in two phases: new requests are held back,
 * all loops acknowledge, the figures are read again, and only then the provider is asked. What
 * arrived meanwhile wakes the function again. Starting from zero is catalog_wake.
 *
 * Belongs to the control loop. No polling: a timer per function that may go to zero.
 */
#ifndef SCALE_SCALE_H
#define SCALE_SCALE_H

#include "catalog/catalog.h"

struct scale;

struct scale_config {
    struct loop *control;
    struct catalog *catalog;
    struct route_table *routes;
    int64_t zero_duration_ms; /* where the label names none: 15 min */
};

struct scale *scale_new(const struct scale_config *config);
/* Replaces what holds where the label names no duration. */
void scale_set_zero_duration(struct scale *scale, int64_t duration_ms);
/* Before the catalog is freed. */
void scale_free(struct scale *scale);

#endif

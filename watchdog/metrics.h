/* Counters by status and method, in the text format of Prometheus; names as of-watchdog has them.
 */
#ifndef WATCHDOG_METRICS_H
#define WATCHDOG_METRICS_H

#include "base/buf.h"
#include "http/message.h"

void metrics_count(unsigned status, enum http_method method, double seconds);
void metrics_in_flight(int change);
/* The whole page. 0 or the error of buf_add. */
int metrics_write(struct buf *out);

#endif

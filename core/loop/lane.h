/* Lanes: threads for work that may block, behind a bounded queue. Threads start on demand, end
 * after 30 s idle, and have all signals blocked.
 *
 * A job that hangs keeps its thread; others go on. lane_free detaches such threads: their jobs must
 * own everything they touch, and on_thread_end does not run on them.
 */
#ifndef LOOP_LANE_H
#define LOOP_LANE_H

#include "base/list.h"

#include <stddef.h>
#include <stdint.h>

struct lane;

struct lane_job {
    struct list node;
    uint64_t key;                      /* jobs with the same non-zero key run one after the other */
    void (*run)(struct lane_job *job); /* on a lane thread; the job may free itself at its end */
};

struct lane_limits {
    unsigned threads_max;
    unsigned queue_max; /* waiting jobs, besides the running ones */
};

struct lane_stats {
    unsigned threads, running, waiting;
};

/* on_thread_start/end, either may be NULL, run on each thread, with `arg`. */
struct lane *lane_new(const char *name, const struct lane_limits *limits,
                      void (*on_thread_start)(void *arg), void (*on_thread_end)(void *arg),
                      void *arg);
/* Any thread. 0, or -EAGAIN when the queue is full. */
int lane_submit(struct lane *lane, struct lane_job *job);
/* Takes a job that does not run yet out of the queue: 0, else -EBUSY. Any thread. */
int lane_withdraw(struct lane *lane, struct lane_job *job);
void lane_stats(struct lane *lane, struct lane_stats *ret);
/* Waits up to wait_ms for running jobs; waiting ones are dropped (call lane_withdraw before).
 * Returns the number of threads that still run and were left behind. */
unsigned lane_free(struct lane *lane, int64_t wait_ms);

#endif

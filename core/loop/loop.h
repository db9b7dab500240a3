/* Event loops: one per thread, nothing shared between them but mailboxes.
 *
 * A loop owns its sockets, timers and whatever its handlers reach. Handlers never block. Other
 * threads talk to a loop by posting messages; the eventfd behind the mailbox is written only when
 * the mailbox turns from empty to non-empty.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* A message: embed it, set `run`, post it. The loop calls run(msg) once, on its thread. */
struct loop_msg {
    struct loop_msg *next;
    void (*run)(struct loop_msg *msg);
};

/* Name shows in thread lists, at most 15 bytes. NULL when descriptors or memory are short. */
struct loop *loop_new(const char *name);
/* Runs on the calling thread until loop_stop. Messages posted before the stop are still run. */
void loop_run(struct loop *loop);
/* A single turn: due timers, messages, ready sockets, deferred work. With may_wait it waits for the
 * first of them. For loops that the caller drives itself. */
void loop_turn(struct loop *loop, bool may_wait);
/* Any thread. */
void loop_stop(struct loop *loop);
/* After loop_run has returned. Messages that were never run are dropped. */
void loop_free(struct loop *loop);

/* loop_new + a thread that runs it, with all signals blocked. loop_join waits for its end. */
int loop_spawn(struct loop *loop);
void loop_join(struct loop *loop);

/* The loop of the calling thread, NULL on other threads. */
struct loop *loop_current(void);

/* Any thread; lock-free. In order per poster. */
void loop_post(struct loop *loop, struct loop_msg *msg);

/* Monotonic milliseconds, read once per turn of the loop. Loop's thread only. */
int64_t loop_now_ms(const struct loop *loop);

/* Watches a descriptor that is no stream socket of ours (signalfd, pipes, a listener): on_ready
 * runs whenever it is readable, until loop_unwatch. Loop's thread only. */
struct loop_watch;
struct loop_watch *loop_watch(struct loop *loop, int fd, void (*on_ready)(void *arg), void *arg);
void loop_unwatch(struct loop_watch *watch);

/* Runs `run` at the end of the current turn, before the loop waits again. Loop's thread only.
 * A deferred object that dies earlier is taken out with loop_undefer. */
struct loop_defer {
    struct list node;
    void (*run)(struct loop_defer *defer);
};
void loop_defer_init(struct loop_defer *defer, void (*run)(struct loop_defer *defer));
void loop_defer(struct loop *loop, struct loop_defer *defer); /* no effect when deferred already */
void loop_undefer(struct loop_defer *defer);

/* ---- Timers: a hierarchical wheel per loop, 1 ms ticks. Setting and cancelling cost O(1). ---- */
struct timer {
    struct list node;
    int64_t due_ms;
    void (*on_due)(void *arg);
    void *arg;
    struct loop *loop;
};
void timer_init(struct timer *timer, struct loop *loop, void (*on_due)(void *arg), void *arg);
/* (Re)starts it: fires once, delay_ms from loop_now_ms, never early. Loop's thread only. */
void timer_set(struct timer *timer, int64_t delay_ms);
void timer_cancel(struct timer *timer); /* harmless when it is not set */
static inline bool timer_is_set(const struct timer *timer)
{
    return list_is_linked(&timer->node);
}

/* ---- Quiescence: freeing what loops may still be reading. ----
 * A domain knows a set of loops. A loop holds no pointer into shared tables across the end of its
 * turn. quiesce_call runs `run` on `home` after every loop of the domain has ended a turn that was
 * under way when it was called (idle loops count as passed at once). Any thread. */
struct quiesce;
struct quiesce *quiesce_new(struct loop *home);
void quiesce_add_loop(struct quiesce *domain, struct loop *loop); /* before loops run */
void quiesce_call(struct quiesce *domain, struct loop_msg *msg);
void quiesce_free(struct quiesce *domain);

#endif

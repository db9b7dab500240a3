/* What the files of the loop share. */
#ifndef LOOP_INTERNAL_H
#define LOOP_INTERNAL_H

#include "loop/loop.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdatomic.h>

enum { WHEEL_LEVELS = 4, WHEEL_SLOTS = 256, RECV_SCRATCH = 65536 };

/* Timers by the time when they must be looked at again; see timer.c. */
struct wheel {
    int64_t time_ms; /* every tick up to this one has been handled */
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t used[WHEEL_LEVELS][WHEEL_SLOTS / 64]; /* slots that may hold timers */
    size_t count;
};

struct loop {
    struct event_base *base;
    char name[16];
    pthread_t thread;
    bool is_spawned;
    bool is_inside; /* a turn is under way */
    int64_t now_ms;
    struct wheel wheel;
    struct event wake_event;    /* the mailbox's eventfd */
    struct event timeout_event; /* the next timer */
    int wake_fd;
    _Atomic(struct loop_msg *) inbox; /* newest first */
    atomic_bool is_stopping;
    struct list deferred;
    struct list lingering; /* sockets that close gently: the loop's own */
    struct list doubts;    /* sockets that may have failed unseen, see io.c */
    struct timer doubt_timer;
    struct list dead;           /* closed sockets, freed at the end of the turn */
    atomic_uint_fast64_t turns; /* odd while a turn is under way */
    atomic_uint quiesce_waiters;
    struct quiesce *domain;
    char *scratch; /* RECV_SCRATCH bytes, made by the first receive */
};

/* Begins the turn unless it has begun: the first thing that every handler does. */
void turn_enter(struct loop *loop);

void wheel_init(struct wheel *wheel, int64_t now_ms);
/* Fires what is due. */
void wheel_advance(struct wheel *wheel, int64_t now_ms);
/* Milliseconds from now_ms to the next time the wheel must advance; -1 when it is empty. */
int64_t wheel_wait_ms(struct wheel *wheel, int64_t now_ms);

/* A loop ended a turn while somebody waited for that. */
void quiesce_turn_ended(struct quiesce *domain, struct loop *loop);

/* Closes the sockets on loop->lingering. */
void io_end_lingering(struct loop *loop);
/* Looks at the sockets on loop->doubts again; arg is the loop. */
void io_settle_doubts(void *arg);

/* Frees the sockets on loop->dead. */
void io_bury(struct loop *loop);

#endif

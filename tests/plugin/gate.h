/* A gate that a test and the probe plugin share: an operation that is closed waits at it for as
 * long as the test likes, deaf to cancellation, and both sides can wait for what has happened. */
#ifndef TESTS_PLUGIN_GATE_H
#define TESTS_PLUGIN_GATE_H

#include <pthread.h>
#include <stdint.h>

enum gate_op {
    GATE_START,
    GATE_DRAIN,
    GATE_STOP,
    GATE_UNLOAD,
    GATE_DEPLOY,
    GATE_UPDATE,
    GATE_REMOVE,
    GATE_SCALE,
    GATE_ACTIVATE,
    GATE_USAGE,
    GATE_SECRET_SET,
    GATE_SECRET_REMOVE,
    GATE_LOGS,
    GATE_WATCH,
    GATE_RELEASED,
    GATE_OPS
};

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int is_closed[GATE_OPS];
    unsigned entered[GATE_OPS], left[GATE_OPS];
    int32_t answer; /* what a service said to the last who left */
};

static inline void gate_enter(struct gate *gate, enum gate_op op)
{
    pthread_mutex_lock(&gate->lock);
    gate->entered[op]++;
    pthread_cond_broadcast(&gate->changed);
    while (gate->is_closed[op])
        pthread_cond_wait(&gate->changed, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

static inline void gate_leave_with(struct gate *gate, enum gate_op op, int32_t answer)
{
    pthread_mutex_lock(&gate->lock);
    gate->left[op]++;
    gate->answer = answer;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

static inline void gate_leave(struct gate *gate, enum gate_op op)
{
    gate_leave_with(gate, op, 0);
}

static inline void gate_set(struct gate *gate, enum gate_op op, int is_closed)
{
    pthread_mutex_lock(&gate->lock);
    gate->is_closed[op] = is_closed;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

#endif

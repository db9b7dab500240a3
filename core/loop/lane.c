/* Lanes: a bounded queue, threads on demand. The lane is reference-counted by its threads, so that
 * one which hangs inside a job can be left behind. */
#include "loop/lane.h"

#include "base/assert.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

enum { IDLE_S = 30 };

struct lane {
    char name[16];
    struct lane_limits limits;
    void (*on_thread_start)(void *arg);
    void (*on_thread_end)(void *arg);
    void *arg;

    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t work;  /* a job came, or the lane closes */
    pthread_cond_t ended; /* a thread ended */
    struct list queue;
    struct list running; /* struct run: which keys are busy */
    unsigned waiting, threads, idle, running_count;
    unsigned refs; /* threads, plus one for the owner */
    bool is_closing;
    bool is_abandoned; /* the owner is gone, and `arg` with it */
};

/* A job under way, on its thread's stack: the job itself may free itself. */
struct run {
    struct list node;
    uint64_t key;
};

struct lane *lane_new(const char *name, const struct lane_limits *limits,
                      void (*on_thread_start)(void *arg), void (*on_thread_end)(void *arg),
                      void *arg)
{
    struct lane *lane = xcalloc(1, sizeof(*lane));
    pthread_condattr_t attr;

    ASSERT(limits->threads_max > 0);
    snprintf(lane->name, sizeof(lane->name), "%.15s", name);
    lane->limits = *limits;
    lane->on_thread_start = on_thread_start;
    lane->on_thread_end = on_thread_end;
    lane->arg = arg;
    lane->refs = 1;
    list_init(&lane->queue);
    list_init(&lane->running);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->work, &attr);
    pthread_cond_init(&lane->ended, &attr);
    pthread_condattr_destroy(&attr);
    return lane;
}

/* With the lock held; gives it up. */
static void unref_and_unlock(struct lane *lane)
{
    bool is_last = --lane->refs == 0;

    pthread_mutex_unlock(&lane->lock);
    if (!is_last)
        return;
    pthread_cond_destroy(&lane->work);
    pthread_cond_destroy(&lane->ended);
    pthread_mutex_destroy(&lane->lock);
    mem_free(lane);
}

static bool key_is_busy(const struct lane *lane, uint64_t key)
{
    if (key == 0)
        return false;
    LIST_FOR_EACH(node, &lane->running)
    if (CONTAINER_OF(node, struct run, node)->key == key)
        return true;
    return false;
}

/* The first job whose key is free; jobs of one key stay in order as the first of them blocks. */
static struct lane_job *next_job(struct lane *lane)
{
    LIST_FOR_EACH(node, &lane->queue)
    {
        struct lane_job *job = CONTAINER_OF(node, struct lane_job, node);

        if (!key_is_busy(lane, job->key))
            return job;
    }
    return NULL;
}

static void deadline_after(struct timespec *ret, int64_t ms)
{
    clock_gettime(CLOCK_MONOTONIC, ret);
    ret->tv_sec += ms / 1000;
    ret->tv_nsec += (ms % 1000) * 1000000;
    if (ret->tv_nsec >= 1000000000) {
        ret->tv_sec++;
        ret->tv_nsec -= 1000000000;
    }
}

/* Waits for a job that may run; NULL when the thread should end. Lock held. */
static struct lane_job *wait_for_job(struct lane *lane)
{
    struct timespec until;
    struct lane_job *job;

    deadline_after(&until, IDLE_S * 1000);
    while (!(job = next_job(lane)) && !lane->is_closing) {
        int error;

        lane->idle++;
        error = pthread_cond_timedwait(&lane->work, &lane->lock, &until);
        lane->idle--;
        if (error == ETIMEDOUT)
            return next_job(lane);
    }
    return lane->is_closing ? NULL : job;
}

static void run_job(struct lane *lane, struct lane_job *job)
{
    struct run run = {.key = job->key};

    list_remove(&job->node);
    lane->waiting--;
    list_init(&run.node);
    list_push(&lane->running, &run.node);
    lane->running_count++;
    pthread_mutex_unlock(&lane->lock);

    job->run(job);

    pthread_mutex_lock(&lane->lock);
    lane->running_count--;
    list_remove(&run.node);
    /* a job of the same key may have waited for this one */
    if (run.key && lane->waiting > 0)
        pthread_cond_signal(&lane->work);
}

static void *lane_thread(void *arg)
{
    struct lane *lane = arg;
    struct lane_job *job;

    pthread_setname_np(pthread_self(), lane->name);
    if (lane->on_thread_start)
        lane->on_thread_start(lane->arg);
    pthread_mutex_lock(&lane->lock);
    while ((job = wait_for_job(lane)))
        run_job(lane, job);
    lane->threads--; /* takes no job any more; lane_free waits for refs */
    if (!lane->is_abandoned && lane->on_thread_end) {
        pthread_mutex_unlock(&lane->lock);
        lane->on_thread_end(lane->arg);
        pthread_mutex_lock(&lane->lock);
    }
    pthread_cond_signal(&lane->ended);
    unref_and_unlock(lane);
    return NULL;
}

/* A thread more when nobody is free and the limit allows it. Lock held. */
static int start_thread(struct lane *lane)
{
    sigset_t all, former;
    pthread_attr_t attr;
    pthread_t thread;
    int error;

    if (lane->idle > lane->waiting || lane->threads >= lane->limits.threads_max)
        return 0;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    error = pthread_create(&thread, &attr, lane_thread, lane);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    pthread_attr_destroy(&attr);
    if (error)
        return lane->threads > 0 ? 0 : -EAGAIN;
    lane->threads++;
    lane->refs++;
    return 0;
}

int lane_submit(struct lane *lane, struct lane_job *job)
{
    int error = -EAGAIN;

    pthread_mutex_lock(&lane->lock);
    if (!lane->is_closing &&
        lane->waiting < lane->limits.queue_max + (lane->limits.threads_max - lane->running_count))
        error = start_thread(lane);
    if (!error) {
        list_init(&job->node);
        list_push(&lane->queue, &job->node);
        lane->waiting++;
        pthread_cond_signal(&lane->work);
    }
    pthread_mutex_unlock(&lane->lock);
    return error;
}

int lane_withdraw(struct lane *lane, struct lane_job *job)
{
    int error = -EBUSY;

    pthread_mutex_lock(&lane->lock);
    LIST_FOR_EACH(node, &lane->queue)
    {
        if (node != &job->node)
            continue;
        list_remove(node);
        lane->waiting--;
        error = 0;
        break;
    }
    pthread_mutex_unlock(&lane->lock);
    return error;
}

void lane_stats(struct lane *lane, struct lane_stats *ret)
{
    pthread_mutex_lock(&lane->lock);
    *ret = (struct lane_stats){lane->threads, lane->running_count, lane->waiting};
    pthread_mutex_unlock(&lane->lock);
}

unsigned lane_free(struct lane *lane, int64_t wait_ms)
{
    struct timespec until;
    unsigned left;

    if (!lane)
        return 0;
    deadline_after(&until, wait_ms);
    pthread_mutex_lock(&lane->lock);
    lane->is_closing = true;
    while (list_pop(&lane->queue))
        lane->waiting--;
    pthread_cond_broadcast(&lane->work);
    while (lane->refs > 1 && pthread_cond_timedwait(&lane->ended, &lane->lock, &until) != ETIMEDOUT)
        continue;
    left = lane->refs - 1;
    lane->is_abandoned = true;
    unref_and_unlock(lane);
    return left;
}

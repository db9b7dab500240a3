/* CPU and memory of a function: the sum over the process groups of its replicas. */
#include "process.h"

#include <stdlib.h>
#include <unistd.h>

enum { SAMPLE_MS = 200, FRESH_MS = 10000, GROUPS_MAX = 4096 };

struct sum {
    pid_t groups[GROUPS_MAX];
    size_t count;
    uint64_t cpu_ticks, rss_pages;
};

static void add_process(void *arg, pid_t pid)
{
    struct sum *sum = arg;
    struct proc_stat stat;

    if (!proc_stat_read(pid, &stat))
        return;
    for (size_t i = 0; i < sum->count; i++) {
        if (sum->groups[i] != stat.pgrp)
            continue;
        sum->cpu_ticks += stat.cpu_ticks;
        sum->rss_pages += stat.rss_pages;
        return;
    }
}

static bool take_sum(struct provider *p, struct fng_str ns, struct fng_str name, struct sum *sum,
                     uint64_t *ret_ticks, int64_t *ret_at_ms)
{
    struct function *fn;

    *sum = (struct sum){0};
    pthread_mutex_lock(&p->lock);
    fn = function_find(p, ns, name);
    for (struct replica *r = fn ? fn->replicas : NULL; r && sum->count < GROUPS_MAX; r = r->next)
        if (r->pid > 0)
            sum->groups[sum->count++] = r->pid;
    pthread_mutex_unlock(&p->lock);
    if (!fn)
        return false;
    proc_each(add_process, sum);
    /* Remembered for the next call, which then need not wait. */
    pthread_mutex_lock(&p->lock);
    fn = function_find(p, ns, name);
    if (fn) {
        *ret_ticks = fn->cpu_ticks;
        *ret_at_ms = fn->cpu_at_ms;
        fn->cpu_ticks = sum->cpu_ticks;
        fn->cpu_at_ms = monotonic_ms();
    }
    pthread_mutex_unlock(&p->lock);
    return fn != NULL;
}

int32_t op_usage(void *self, struct fng_str ns, struct fng_str name, struct fng_usage *ret)
{
    struct provider *p = self;
    AUTO_FREE struct sum *sum = zalloc(sizeof(*sum));
    uint64_t ticks = 0;
    int64_t at_ms = 0, took_ms, hz = sysconf(_SC_CLK_TCK);
    bool is_there = take_sum(p, ns, name, sum, &ticks, &at_ms);

    took_ms = monotonic_ms() - at_ms;
    if (is_there && (at_ms == 0 || took_ms > FRESH_MS || took_ms < SAMPLE_MS / 2)) {
        if (p->host->wait_ms(p->host->instance, SAMPLE_MS) != FNG_OK)
            return FNG_E_CANCELLED;
        is_there = take_sum(p, ns, name, sum, &ticks, &at_ms);
        took_ms = monotonic_ms() - at_ms;
    }
    if (!is_there)
        return fng_fail(p->host, FNG_E_NOT_FOUND, "there is no such function");
    ret->memory_bytes = sum->rss_pages * (uint64_t)sysconf(_SC_PAGESIZE);
    ret->cpu_millicores = 0;
    /* A replica that ended meanwhile takes its ticks away; that is no negative load. */
    if (took_ms > 0 && sum->cpu_ticks > ticks)
        ret->cpu_millicores = (double)(sum->cpu_ticks - ticks) * 1e6 / (double)hz / (double)took_ms;
    return FNG_OK;
}

/* Jobs: a call on its way through a lane and back.
 *
 * A job is submitted and answered on the control loop, exactly once: by its thread's return, by its
 * deadline, or by a stop. Answered before its thread has returned, it stays with that thread; what
 * comes back later is counted and dropped.
 */
#include "plugin/internal.h"

#include "base/sys.h"

#include <stdarg.h>
#include <stdio.h>

enum { OUT_MAX = 256 << 20, LINE_RETRY_MS = 100, REFUSED_RETRY_MS = 1000 };

static const int64_t default_deadline_ms[JOB_CLASSES] = {600000, 30000, 10000, -1, -1};

static void job_overrun(void *arg);
static void job_returned(struct event *event);
static void job_dropped(struct event *event);

struct job *job_new(struct instance *instance, enum job_class class, const char *operation,
                    int32_t (*run)(struct job *job),
                    void (*answer)(struct job *job, const struct plugin_result *result))
{
    struct job *job = xcalloc(1, sizeof(*job));

    list_init(&job->node);
    list_init(&job->lane_job.node);
    job->instance = instance;
    job->class = class;
    job->run = run;
    job->answer = answer;
    job->give_up_error = FNG_E_TIMEOUT;
    job->submitted_ms = sys_monotonic_ms();
    job->event.run = job_returned;
    job->event.drop = job_dropped;
    call_init(&job->call, instance, operation);
    timer_init(&job->overrun, instance->plugins->config.control, job_overrun, job);
    pool_init(&job->pool, OUT_MAX);
    pthread_mutex_init(&job->line_lock, NULL);
    return job;
}

void job_free(struct job *job)
{
    call_close(&job->call);
    if (job->owns_spec)
        fn_spec_unref(job->in.spec);
    pool_free(&job->pool);
    pthread_mutex_destroy(&job->line_lock);
    mem_free(job);
}

/* ---- Answers ---- */

static void job_answer(struct job *job, struct plugin_result *result)
{
    ASSERT(!job->is_answered);
    job->is_answered = true;
    timer_cancel(&job->overrun);
    result->elapsed_ms = sys_monotonic_ms() - job->submitted_ms;
    if (result->error)
        job->instance->stats.errors++;
    if (job->answer)
        job->answer(job, result);
}

static void job_answer_returned(struct job *job)
{
    struct plugin_result result;
    char space[TEXT_MAX];

    call_result(&job->call, job->returned, space, &result);
    job_answer(job, &result);
}

static void job_answer_text(struct job *job, int32_t error, const char *text)
{
    job_answer(job, &(struct plugin_result){.error = error, .text = str_from(text)});
}

/* It has left the lane: its thread has returned, or it was withdrawn. */
static void job_leave(struct job *job)
{
    timer_cancel(&job->overrun);
    list_remove(&job->node);
    job->instance->running[job->class]--;
}

/* ---- Refusals ---- */

static void job_refused(struct event *event)
{
    struct job *job = CONTAINER_OF(event, struct job, event);

    job_answer_returned(job);
    job_free(job);
}

void job_refuse(struct job *job, int32_t error, uint32_t retry_after_ms, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    call_record(&job->call, error, STR_NONE, str_from(text), retry_after_ms);
    job->returned = error;
    job->instance->stats.refused++;
    job->event.run = job->event.drop = job_refused;
    if (!inbox_post(job->instance->plugins, &job->event))
        ASSERT(!"a call after plugins_free");
}

/* ---- The way there ---- */

static void job_thread(struct lane_job *lane_job)
{
    struct job *job = CONTAINER_OF(lane_job, struct job, lane_job);
    int64_t begin_ms = sys_monotonic_ms();

    ASSERT(loop_current() == NULL);
    call_set_current(&job->call);
    job->returned = job->run(job);
    call_set_current(NULL);
    job->ran_ms = sys_monotonic_ms() - begin_ms;
    if (!inbox_post(job->instance->plugins, &job->event))
        job_free(job);
}

void job_submit_always(struct job *job, int64_t deadline_ms)
{
    struct instance *instance = job->instance;

    if (deadline_ms == 0)
        deadline_ms = default_deadline_ms[job->class];
    if (deadline_ms > 0)
        job->call.deadline_at_ms = job->submitted_ms + deadline_ms;
    job->lane_job.run = job_thread;
    list_push(&instance->jobs, &job->node);
    instance->running[job->class]++;
    if (lane_submit(instance->lanes[job->class], &job->lane_job) < 0) {
        job_leave(job);
        job_refuse(job, FNG_E_LIMIT, REFUSED_RETRY_MS,
                   "%u calls wait for this instance already; try again later",
                   instance->plugins->config.queue_max);
        return;
    }
    instance->stats.calls++;
    if (deadline_ms > 0)
        timer_set(&job->overrun, deadline_ms);
}

void job_submit(struct job *job, int64_t deadline_ms)
{
    const struct instance *instance = job->instance;
    unsigned streams = instance->plugins->config.stream_threads;
    const char *why;
    int32_t error = instance_is_callable(instance, &why);

    if (error)
        job_refuse(job, error, REFUSED_RETRY_MS, "%s", why);
    else if (job->is_overfull)
        job_refuse(job, FNG_E_LIMIT, 0, "the arguments of %s are too large", job->call.operation);
    else if (job->class == JOB_STREAM && instance->running[JOB_STREAM] >= streams)
        job_refuse(job, FNG_E_LIMIT, REFUSED_RETRY_MS,
                   "%u streams are open already, the most that "
                   "this instance may have",
                   streams);
    else
        job_submit_always(job, deadline_ms);
}

/* ---- The way back ---- */

static void job_returned(struct event *event)
{
    struct job *job = CONTAINER_OF(event, struct job, event);
    struct instance *instance = job->instance;

    job_leave(job);
    instance->stats.seconds += (double)job->ran_ms / 1000;
    if (job->is_answered) {
        instance->stats.late++;
        instance->stats.stuck--;
        log_info(instance->name, "%s has returned after %.1f s, too late to matter",
                 job->call.operation, (double)job->ran_ms / 1000);
    } else {
        job_answer_returned(job);
    }
    job_free(job);
    instance_job_gone(instance);
}

static void job_dropped(struct event *event)
{
    struct job *job = CONTAINER_OF(event, struct job, event);

    job_leave(job);
    job_free(job);
}

/* ---- Deadlines and cancellation ---- */

bool job_give_up(struct job *job, int32_t error, const char *why)
{
    ASSERT(!job->is_answered);
    if (pthread_mutex_trylock(&job->line_lock) != 0)
        return false;
    job->is_deaf = true;
    pthread_mutex_unlock(&job->line_lock);
    job->instance->stats.stuck++;
    if (error == FNG_E_TIMEOUT)
        job->instance->stats.timeouts++;
    log_warn(job->instance->name, "%s; its thread goes on and its result will be dropped", why);
    job_answer_text(job, error, why);
    return true;
}

/* Withdrawn before a thread took it. */
static bool job_withdraw(struct job *job)
{
    if (lane_withdraw(job->instance->lanes[job->class], &job->lane_job) < 0)
        return false;
    job_leave(job);
    return true;
}

static void job_overrun(void *arg)
{
    struct job *job = arg;
    struct instance *instance = job->instance;
    double seconds = (double)(sys_monotonic_ms() - job->submitted_ms) / 1000;
    const char *operation = job->call.operation;
    char why[TEXT_MAX];

    plugin_call_cancel(&job->call);
    if (job_withdraw(job)) {
        snprintf(why, sizeof(why), "%s has waited %.1f s for a thread: all are busy", operation,
                 seconds);
        instance->stats.timeouts++;
        job_answer_text(job, FNG_E_TIMEOUT, why);
        job_free(job);
        instance_job_gone(instance);
        return;
    }
    snprintf(why, sizeof(why), "%s has not returned within %.1f s%s", operation, seconds,
             job->give_up_error == FNG_E_CANCELLED ? ", although it was cancelled" : "");
    if (!job_give_up(job, job->give_up_error, why))
        timer_set(&job->overrun, LINE_RETRY_MS);
}

bool job_cancel_waiting(struct job *job)
{
    if (job->is_answered || !job_withdraw(job))
        return false;
    job_refuse(job, FNG_E_CANCELLED, 0, "%s was cancelled before it began", job->call.operation);
    return true;
}

void job_cancel(struct job *job, int64_t grace_ms)
{
    if (job->is_answered || !list_is_linked(&job->node))
        return;
    plugin_call_cancel(&job->call);
    if (!job_cancel_waiting(job) && grace_ms > 0) {
        job->give_up_error = FNG_E_CANCELLED;
        timer_set(&job->overrun, grace_ms);
    }
}

/* Instances: made, started, watched over and stopped. Everything here runs on the control loop.
 *
 * Stopping has four steps with a limit each, so that it always ends: drain, wait for what was
 * cancelled, stop, and then either unload or leave behind what has not returned. Code, state and
 * jobs of an instance that was left behind stay in memory: a thread may still be using them.
 */
#include "plugin/internal.h"

#include "base/sys.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
    WATCH_WAIT_MIN_MS = 100,
    WATCH_WAIT_MAX_MS = 30000,
    RETRY_MS = 100,
    JOIN_MS = 1000,
    LIFE_THREADS = 2
};

/* Keeps what threads may still use reachable for leak checkers and debuggers. */
static struct plugins *left_behind[16];

_Static_assert(sizeof(struct str) == sizeof(struct fng_str) &&
                   sizeof(struct conf_str_list) == sizeof(struct fng_str_list) &&
                   sizeof(struct conf_pair) == sizeof(struct fng_kv),
               "configured values are written as the plugin reads them");
_Static_assert((int)CONF_STR == FNG_CONF_STR && (int)CONF_PAIRS == FNG_CONF_MAP &&
                   (int)CONF_SECRET == FNG_CONF_SECRET &&
                   (int)CONF_DEPRECATED == FNG_CONF_DEPRECATED,
               "types and flags of keys are the same numbers on both sides");

/* ---- All of them ---- */

static void or_default(unsigned *value, unsigned fallback)
{
    if (*value == 0)
        *value = fallback;
}

struct plugins *plugins_new(const struct plugins_config *config)
{
    struct plugins *plugins = xcalloc(1, sizeof(*plugins));
    struct plugins_config *c = &plugins->config;

    *c = *config;
    c->state_dir = config->state_dir ? str_dup(str_from(config->state_dir)) : NULL;
    c->libexec_dir = str_dup(str_from(config->libexec_dir));
    or_default(&c->control_threads, 4);
    or_default(&c->urgent_threads, 2);
    or_default(&c->read_threads, 4);
    or_default(&c->stream_threads, 64);
    or_default(&c->queue_max, 256);
    c->start_timeout_ms = c->start_timeout_ms ? c->start_timeout_ms : 30000;
    c->stop_timeout_ms = c->stop_timeout_ms ? c->stop_timeout_ms : 10000;
    list_init(&plugins->instances);
    inbox_init(plugins);
    return plugins;
}

/* Frees lanes; threads inside foreign code are detached. */
static void free_lanes(struct instance *instance)
{
    for (int i = 0; i < JOB_CLASSES; i++) {
        if (instance->lanes[i])
            lane_free(instance->lanes[i], instance->running[i] ? 0 : JOIN_MS);
        instance->lanes[i] = NULL;
    }
}

static void unload(struct instance *instance)
{
    if (!instance->self)
        return;
    call_unload(instance);
    XFREE(&instance->self);
}

/* No thread is inside. */
static void instance_destroy(struct instance *instance)
{
    free_lanes(instance);
    unload(instance);
    list_remove(&instance->node);
    timer_cancel(&instance->retry);
    timer_cancel(&instance->watch_again);
    timer_cancel(&instance->stop_timer);
    VEC_FREE(&instance->postponed);
    pthread_mutex_destroy(&instance->figures_lock);
    pool_free(&instance->pool);
    mem_free(instance->why_failed);
    mem_free(instance->health_why);
    mem_free(instance->state_dir);
    mem_free(instance->name);
    mem_free(instance);
}

static void give_up_all(struct instance *instance, const char *when)
{
    LIST_FOR_EACH_SAFE(it, after, &instance->jobs)
    {
        struct job *job = CONTAINER_OF(it, struct job, node);
        char why[TEXT_MAX];

        timer_cancel(&job->overrun);
        if (job->is_answered)
            continue;
        plugin_call_cancel(&job->call);
        snprintf(why, sizeof(why), "%s has not returned although %s", job->call.operation, when);
        (void)job_give_up(job, FNG_E_CANCELLED, why);
    }
}

static void leave_behind(struct plugins *plugins)
{
    for (size_t i = 0; i < sizeof(left_behind) / sizeof(left_behind[0]); i++) {
        if (!left_behind[i]) {
            left_behind[i] = plugins;
            return;
        }
    }
}

void plugins_free(struct plugins *plugins)
{
    if (!plugins)
        return;
    LIST_FOR_EACH(it, &plugins->instances)
    {
        struct instance *instance = CONTAINER_OF(it, struct instance, node);

        ASSERT(instance->stop_phase == STOP_DONE || !atomic_load(&instance->is_started));
        atomic_store(&instance->is_open, false);
        give_up_all(instance, "the gateway ends");
    }
    inbox_close(plugins);
    LIST_FOR_EACH_SAFE(it, after, &plugins->instances)
    {
        struct instance *instance = CONTAINER_OF(it, struct instance, node);

        if (list_is_empty(&instance->jobs))
            instance_destroy(instance);
        else
            free_lanes(instance);
    }
    if (!list_is_empty(&plugins->instances)) {
        leave_behind(plugins);
        return;
    }
    pthread_mutex_destroy(&plugins->lock);
    mem_free((char *)(uintptr_t)plugins->config.state_dir);
    mem_free((char *)(uintptr_t)plugins->config.libexec_dir);
    mem_free(plugins);
}

/* ---- Making one ---- */

static bool name_is_taken(const struct plugins *plugins, const char *name)
{
    LIST_FOR_EACH(it, &plugins->instances)
    {
        const struct instance *other = CONTAINER_OF(it, struct instance, node);

        if (!strcmp(other->name, name) && !other->has_given_name && other->stop_phase != STOP_DONE)
            return true;
    }
    return false;
}

static void watch_due(void *arg);
static void retry_due(void *arg);
static void wait_due(void *arg);
static void stopped_run(struct event *event);

static struct instance *instance_alloc(struct plugins *plugins, struct plugin *plugin,
                                       const char *name)
{
    struct instance *instance = xcalloc(1, sizeof(*instance));
    const char *state_dir = plugins->config.state_dir;
    struct loop *control = plugins->config.control;

    instance->plugins = plugins;
    instance->plugin = plugin;
    instance->index = plugins->next_index++;
    instance->name = str_dup(str_from(name));
    instance->state_dir =
        state_dir ? xasprintf("%s/plugins/%s", state_dir, name) : str_dup(STR(""));
    instance->self = xcalloc(1, plugin->descriptor.self_size);
    instance->watch_wait_ms = WATCH_WAIT_MIN_MS;
    atomic_init(&instance->is_open, false);
    atomic_init(&instance->is_started, false);
    pthread_mutex_init(&instance->figures_lock, NULL);
    pool_init(&instance->pool, 0);
    list_init(&instance->jobs);
    timer_init(&instance->watch_again, control, watch_due, instance);
    timer_init(&instance->retry, control, retry_due, instance);
    timer_init(&instance->stop_timer, control, wait_due, instance);
    instance->stopped = (struct event){.run = stopped_run, .drop = stopped_run};
    host_init(instance);
    list_push(&plugins->instances, &instance->node);
    return instance;
}

/* One of the steps before start; a failure is a complaint. */
static bool configure_step(struct instance *instance, const char *operation,
                           int32_t (*step)(struct call *call), const struct conf_doc *doc, int line,
                           struct conf_report *report)
{
    struct plugin_result result;
    char space[TEXT_MAX];
    struct call call;

    call_init(&call, instance, operation);
    call_result(&call, step(&call), space, &result);
    if (result.error)
        conf_error(report, doc, line, instance->name, "%.*s", STR_ARG(result.text));
    call_close(&call);
    return result.error == FNG_OK;
}

static bool configure(struct instance *instance, const struct conf_doc *doc,
                      const struct conf_node *map, int line, struct conf_report *report)
{
    const struct conf_node none = {.type = CONF_NULL, .line = line};
    const struct plugin *plugin = instance->plugin;
    unsigned errors = report->errors;

    if (!configure_step(instance, "load", call_load, doc, line, report))
        return false;
    conf_bind(doc, map ? map : &none, plugin->keys, plugin->keys_count, instance->name,
              instance->self, &instance->pool, report);
    return report->errors == errors &&
           configure_step(instance, "config_complete", call_config_complete, doc,
                          map ? map->line : line, report);
}

struct instance *instance_new(struct plugins *plugins, struct plugin *plugin, const char *name,
                              const struct conf_doc *doc, const struct conf_node *map, int line,
                              struct conf_report *report)
{
    struct instance *instance;

    if (!plugin_name_is_valid(str_from(name))) {
        conf_error(report, doc, line, NULL,
                   "the name '%s' must be small letters, digits and '-', begin with a letter and "
                   "have at most %d bytes",
                   name, NAME_MAX_LEN);
        return NULL;
    }
    if (name_is_taken(plugins, name)) {
        conf_error(report, doc, line, NULL, "the name '%s' is taken; give each instance its own",
                   name);
        return NULL;
    }
    instance = instance_alloc(plugins, plugin, name);
    if (configure(instance, doc, map, line, report))
        return instance;
    instance_destroy(instance);
    return NULL;
}

void instance_free(struct instance *instance)
{
    if (!instance)
        return;
    ASSERT(instance->state == INSTANCE_CONFIGURED || instance->state == INSTANCE_STOPPED);
    if (list_is_empty(&instance->jobs))
        instance_destroy(instance);
}

void instance_set_store(struct instance *instance, struct instance *store)
{
    ASSERT(instance->state == INSTANCE_CONFIGURED && store != instance);
    instance->store = store;
}

/* ---- Start and watch ---- */

void instance_changed(struct instance *instance)
{
    const struct provider_sink *sink = &instance->plugins->config.sink;

    if (sink->changed)
        sink->changed(sink->arg, instance);
}

static void set_state(struct instance *instance, enum instance_state state)
{
    instance->state = state;
    instance_changed(instance);
}

int32_t instance_is_callable(const struct instance *instance, const char **ret_why)
{
    switch (instance->state) {
    case INSTANCE_READY:
        return FNG_OK;
    case INSTANCE_CONFIGURED:
    case INSTANCE_STARTING:
        *ret_why = "it has not started yet";
        return FNG_E_UNAVAILABLE;
    case INSTANCE_FAILED:
        *ret_why = instance->why_failed;
        return FNG_E_UNAVAILABLE;
    default:
        *ret_why = "it stops";
        return FNG_E_UNAVAILABLE;
    }
}

static void answer_watch(struct job *job, const struct plugin_result *result)
{
    struct instance *instance = job->instance;

    if (instance->state != INSTANCE_READY)
        return;
    if (result->elapsed_ms > WATCH_WAIT_MAX_MS)
        instance->watch_wait_ms = WATCH_WAIT_MIN_MS;
    log_warn(instance->name, "watch ended after %.1f s: %.*s; again in %.1f s",
             (double)result->elapsed_ms / 1000,
             STR_ARG(result->error ? result->text : STR("it returned without being asked to")),
             (double)instance->watch_wait_ms / 1000);
    timer_set(&instance->watch_again, instance->watch_wait_ms);
    instance->watch_wait_ms *= 2;
    if (instance->watch_wait_ms > WATCH_WAIT_MAX_MS)
        instance->watch_wait_ms = WATCH_WAIT_MAX_MS;
}

static void watch_due(void *arg)
{
    struct instance *instance = arg;

    job_submit_always(job_new(instance, JOB_STREAM, "watch", call_watch, answer_watch), -1);
}

static void answer_start(struct job *job, const struct plugin_result *result)
{
    struct instance *instance = job->instance;

    if (instance->state == INSTANCE_STARTING && result->error) {
        XFREE(&instance->why_failed);
        instance->why_failed = xasprintf("it did not start: %.*s", STR_ARG(result->text));
        set_state(instance, INSTANCE_FAILED);
    } else if (instance->state == INSTANCE_STARTING) {
        set_state(instance, INSTANCE_READY);
        if (instance->plugin->descriptor.kind == FNG_KIND_PROVIDER)
            watch_due(instance);
    }
    if (instance->start_done)
        instance->start_done(instance->start_arg, result);
}

static int make_folder(const char *path)
{
    return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_state_dir(const struct instance *instance)
{
    const char *root = instance->plugins->config.state_dir;
    AUTO_FREE char *parent = NULL;
    int err;

    if (!root)
        return 0;
    parent = xasprintf("%s/plugins", root);
    err = make_folder(root);
    err = err ? err : make_folder(parent);
    return err ? err : make_folder(instance->state_dir);
}

static void make_lanes(struct instance *instance)
{
    static const char *const suffixes[JOB_CLASSES] = {"ctl", "urg", "read", "str", "life"};
    const struct plugins_config *config = &instance->plugins->config;
    const unsigned threads[JOB_CLASSES] = {config->control_threads, config->urgent_threads,
                                           config->read_threads, config->stream_threads,
                                           LIFE_THREADS};

    for (int i = 0; i < JOB_CLASSES; i++) {
        struct lane_limits limits = {threads[i], config->queue_max};
        char name[16]; /* as much as a thread's name may have */

        if (instance->lanes[i])
            continue;
        snprintf(name, sizeof(name), "%.10s-%s", instance->name, suffixes[i]);
        instance->lanes[i] = lane_new(name, &limits, NULL, NULL, NULL);
    }
}

void instance_start(struct instance *instance, plugin_done_f *done, void *arg)
{
    struct job *job = job_new(instance, JOB_LIFE, "start", plugin_call_start, answer_start);
    int err = make_state_dir(instance);

    ASSERT(instance->state == INSTANCE_CONFIGURED || instance->state == INSTANCE_FAILED);
    instance->start_done = done;
    instance->start_arg = arg;
    set_state(instance, INSTANCE_STARTING);
    if (err) {
        job_refuse(job, FNG_E_INTERNAL, 0, "the folder '%s' cannot be made: %s",
                   instance->state_dir, strerror(-err));
        return;
    }
    if (!list_is_empty(&instance->jobs)) {
        job_refuse(job, FNG_E_UNAVAILABLE, 0, "the start before has not returned yet");
        return;
    }
    make_lanes(instance);
    atomic_store(&instance->is_open, true);
    job_submit_always(job, instance->plugins->config.start_timeout_ms);
}

/* ---- Endpoints that were released while the lane was full ---- */

void instance_postpone(struct instance *instance, uint64_t endpoint_id, uint64_t generation)
{
    *VEC_PUSH(&instance->postponed) = (struct released){endpoint_id, generation};
    if (!timer_is_set(&instance->retry))
        timer_set(&instance->retry, RETRY_MS);
}

static void retry_due(void *arg)
{
    struct instance *instance = arg;
    struct released *items = instance->postponed.items;
    size_t count = instance->postponed.count;

    memset(&instance->postponed, 0, sizeof(instance->postponed));
    for (size_t i = 0; i < count; i++)
        provider_endpoint_released(instance, items[i].id, items[i].generation);
    mem_free(items);
}

/* ---- Stop ---- */

static void stopped_run(struct event *event)
{
    struct instance *instance = CONTAINER_OF(event, struct instance, stopped);
    bool is_clean = list_is_empty(&instance->jobs);
    struct plugin_result result = {.error = is_clean ? FNG_OK : FNG_E_TIMEOUT};

    if (!is_clean)
        result.text = STR("calls of it have not returned; their threads were left behind");
    /* The last thing: it may free everything. */
    if (instance->stop_done)
        instance->stop_done(instance->stop_arg, &result);
}

static void stop_end(struct instance *instance)
{
    instance->stop_phase = STOP_DONE;
    atomic_store(&instance->is_open, false);
    free_lanes(instance);
    if (list_is_empty(&instance->jobs))
        unload(instance);
    LIST_FOR_EACH(it, &instance->jobs)
    {
        struct job *job = CONTAINER_OF(it, struct job, node);

        log_warn(instance->name, "%s has not returned after %.1f s; its thread is left behind",
                 job->call.operation, (double)(sys_monotonic_ms() - job->submitted_ms) / 1000);
    }
    set_state(instance, INSTANCE_STOPPED);
    ASSERT(inbox_post(instance->plugins, &instance->stopped));
}

static void answer_stop(struct job *job, const struct plugin_result *result)
{
    (void)result; /* an overrun was logged */
    stop_end(job->instance);
}

static void stop_call(struct instance *instance)
{
    int64_t limit_ms = instance->plugins->config.stop_timeout_ms / 2;

    timer_cancel(&instance->stop_timer);
    instance->stop_phase = STOP_CALL;
    if (atomic_load(&instance->is_started) && instance->plugin->descriptor.stop)
        job_submit_always(job_new(instance, JOB_LIFE, "stop", call_stop, answer_stop), limit_ms);
    else
        stop_end(instance);
}

static void wait_due(void *arg)
{
    struct instance *instance = arg;

    give_up_all(instance, "the instance stops");
    stop_call(instance);
}

static void stop_wait(struct instance *instance)
{
    instance->stop_phase = STOP_WAIT;
    LIST_FOR_EACH_SAFE(it, after, &instance->jobs)
    {
        job_cancel(CONTAINER_OF(it, struct job, node), 0);
    }
    if (list_is_empty(&instance->jobs))
        stop_call(instance);
    else
        timer_set(&instance->stop_timer, instance->plugins->config.stop_timeout_ms / 4);
}

static void answer_drain(struct job *job, const struct plugin_result *result)
{
    (void)result; /* an overrun was logged */
    stop_wait(job->instance);
}

void instance_job_gone(struct instance *instance)
{
    if (instance->stop_phase == STOP_WAIT && list_is_empty(&instance->jobs))
        stop_call(instance);
}

void instance_stop(struct instance *instance, plugin_done_f *done, void *arg)
{
    int64_t limit_ms = instance->plugins->config.stop_timeout_ms / 4;

    ASSERT(instance->stop_phase == STOP_NOT);
    instance->stop_done = done;
    instance->stop_arg = arg;
    timer_cancel(&instance->watch_again);
    timer_cancel(&instance->retry);
    VEC_FREE(&instance->postponed);
    instance->stop_phase = STOP_DRAIN;
    set_state(instance, INSTANCE_DRAINING);
    LIST_FOR_EACH_SAFE(it, after, &instance->jobs)
    {
        (void)job_cancel_waiting(CONTAINER_OF(it, struct job, node));
    }
    if (atomic_load(&instance->is_started) && instance->plugin->descriptor.drain)
        job_submit_always(job_new(instance, JOB_LIFE, "drain", call_drain, answer_drain), limit_ms);
    else
        stop_wait(instance);
}

/* ---- What others may ask ---- */

const char *instance_name(const struct instance *instance)
{
    return instance->name;
}

const struct fng_plugin *instance_descriptor(const struct instance *instance)
{
    return &instance->plugin->descriptor;
}

enum instance_state instance_state(const struct instance *instance)
{
    return instance->state;
}

uint32_t instance_health(const struct instance *instance, struct str *ret_why)
{
    bool is_failed = instance->state == INSTANCE_FAILED;

    *ret_why = str_from(is_failed ? instance->why_failed : instance->health_why);
    return is_failed ? FNG_HEALTH_DOWN : instance->health;
}

uint32_t instance_index(const struct instance *instance)
{
    return instance->index;
}

void instance_set_user(struct instance *instance, void *user)
{
    instance->user = user;
}

void *instance_user(const struct instance *instance)
{
    return instance->user;
}

void instance_stats(const struct instance *instance, struct instance_stats *ret)
{
    *ret = instance->stats;
    for (int i = 0; i < JOB_CLASSES; i++) {
        struct lane_stats lane;

        if (!instance->lanes[i])
            continue;
        lane_stats(instance->lanes[i], &lane);
        ret->waiting += lane.waiting;
        ret->running += lane.running;
    }
}

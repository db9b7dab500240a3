/* See rig.h. */
#include "rig.h"

#include "base/assert.h"
#include "base/mem.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_S = 60 };

/* ---- Waiting ---- */

/* One wait on gate.lock; ends the test program when nothing happens for too long. */
static void wait_change(struct rig *rig)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    ASSERT(pthread_cond_timedwait(&rig->gate.changed, &rig->gate.lock, &until) == 0);
}

#define WAIT_UNTIL(rig, condition)                                                                 \
    do {                                                                                           \
        pthread_mutex_lock(&(rig)->gate.lock);                                                     \
        while (!(condition))                                                                       \
            wait_change(rig);                                                                      \
        pthread_mutex_unlock(&(rig)->gate.lock);                                                   \
    } while (0)

static void tell(struct rig *rig, bool *flag)
{
    pthread_mutex_lock(&rig->gate.lock);
    *flag = true;
    pthread_cond_broadcast(&rig->gate.changed);
    pthread_mutex_unlock(&rig->gate.lock);
}

struct task {
    struct loop_msg msg;
    struct rig *rig;
    void (*run)(void *arg);
    void *arg;
    bool is_done;
};

static void task_run(struct loop_msg *msg)
{
    struct task *task = CONTAINER_OF(msg, struct task, msg);

    task->run(task->arg);
    tell(task->rig, &task->is_done);
}

void rig_do(struct rig *rig, void (*run)(void *arg), void *arg)
{
    struct task task = {.msg.run = task_run, .rig = rig, .run = run, .arg = arg};

    loop_post(rig->control, &task.msg);
    WAIT_UNTIL(rig, task.is_done);
}

void rig_wait_done(struct rig *rig, const struct outcome *outcome)
{
    WAIT_UNTIL(rig, outcome->is_done);
}

void rig_wait_committed(struct rig *rig, unsigned count)
{
    WAIT_UNTIL(rig, rig->committed >= count);
}

void rig_wait_entered(struct rig *rig, enum gate_op op, unsigned count)
{
    WAIT_UNTIL(rig, rig->gate.entered[op] >= count);
}

void rig_wait_left(struct rig *rig, enum gate_op op, unsigned count)
{
    WAIT_UNTIL(rig, rig->gate.left[op] >= count);
}

/* ---- The sink ---- */

static int32_t count_one(void *arg, unsigned *counter)
{
    struct rig *rig = arg;

    pthread_mutex_lock(&rig->gate.lock);
    (*counter)++;
    pthread_cond_broadcast(&rig->gate.changed);
    pthread_mutex_unlock(&rig->gate.lock);
    return FNG_OK;
}

static void note(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(struct rig *rig, const char *format, ...)
{
    size_t len = strlen(rig->pushed);
    va_list args;

    va_start(args, format);
    vsnprintf(rig->pushed + len, sizeof(rig->pushed) - len, format, args);
    va_end(args);
}

static int32_t on_begin(void *arg, struct instance *from)
{
    (void)from;
    return count_one(arg, &((struct rig *)arg)->begun);
}

static int32_t on_commit(void *arg, struct instance *from)
{
    (void)from;
    return count_one(arg, &((struct rig *)arg)->committed);
}

static int32_t on_abort(void *arg, struct instance *from)
{
    (void)arg, (void)from;
    return FNG_OK;
}

static int32_t on_upsert(void *arg, struct instance *from, struct fn_spec *spec, struct str reason,
                         const struct fng_str *warnings, size_t warnings_count)
{
    const struct fng_function *function = fn_spec_get(spec);

    (void)from, (void)reason, (void)warnings, (void)warnings_count;
    if (fng_str_eq(function->name, FNG_STR("conflicts")))
        return FNG_E_CONFLICT;
    note(arg, "function %.*s/%.*s x%u\n", STR_ARG(str_of(function->ns)),
         STR_ARG(str_of(function->name)), function->replicas);
    return count_one(arg, &((struct rig *)arg)->upserts);
}

static int32_t on_remove(void *arg, struct instance *from, struct str ns, struct str name,
                         uint64_t generation)
{
    (void)arg, (void)from, (void)ns, (void)name, (void)generation;
    return FNG_OK;
}

static int32_t on_endpoints(void *arg, struct instance *from, struct str ns, struct str name,
                            uint64_t generation, const struct fng_endpoint *endpoints, size_t count)
{
    (void)from, (void)ns, (void)name, (void)generation;
    for (size_t i = 0; i < count; i++)
        note(arg, "endpoint %016llx %.*s state %u\n", (unsigned long long)endpoints[i].id,
             STR_ARG(str_of(endpoints[i].address)), endpoints[i].state);
    return count_one(arg, &((struct rig *)arg)->endpoints);
}

/* ---- Life ---- */

struct instance *rig_add(struct rig *rig, const char *path, const char *name, const char *yaml)
{
    struct conf_doc *doc = conf_read_text("test.yaml", str_from(yaml), &rig->report);
    struct instance *instance;
    struct plugin *plugin;
    struct err err;

    ASSERT(doc && plugin_open(path, &plugin, &err) == 0);
    instance = instance_new(rig->plugins, plugin, name, doc, doc->root, 1, &rig->report);
    conf_doc_free(doc);
    return instance;
}

void rig_make(struct rig *rig, const struct rig_options *options)
{
    struct plugins_config config = options->config;
    AUTO_FREE char *yaml = NULL;

    *rig = (struct rig){.state_dir = "/tmp/fng-test-plugin-XXXXXX"};
    pthread_mutex_init(&rig->gate.lock, NULL);
    pthread_cond_init(&rig->gate.changed, NULL);
    conf_report_init(&rig->report);
    ASSERT(mkdtemp(rig->state_dir));
    rig->control = loop_new("control");
    config.control = rig->control;
    config.state_dir = rig->state_dir;
    config.libexec_dir = "/nonexistent";
    config.sink = (struct provider_sink){.arg = rig,
                                         .snapshot_begin = on_begin,
                                         .snapshot_commit = on_commit,
                                         .snapshot_abort = on_abort,
                                         .fn_upsert = on_upsert,
                                         .fn_remove = on_remove,
                                         .endpoints_set = on_endpoints};
    rig->plugins = plugins_new(&config);
    yaml = xasprintf("gate: %lld\n%s", (long long)(intptr_t)&rig->gate,
                     options->more ? options->more : "");
    rig->store = rig_add(rig, BUNDLED_DIR "/store-memory.so", "memory", "");
    rig->probe = rig_add(rig, PLUGIN_DIR "/probe.so", "probe", yaml);
    if (rig->probe)
        instance_set_store(rig->probe, rig->store);
    ASSERT(loop_spawn(rig->control) == 0);
}

void rig_run(struct rig *rig, struct instance *instance)
{
    struct outcome outcome;

    rig_start(&outcome, rig, instance);
    rig_wait_done(rig, &outcome);
    ASSERT(outcome.error == FNG_OK);
}

void rig_begin(struct rig *rig)
{
    rig_run(rig, rig->store);
    rig_run(rig, rig->probe);
    rig_wait_committed(rig, 1);
}

static void free_plugins(void *arg)
{
    struct rig *rig = arg;

    plugins_free(rig->plugins);
    rig->plugins = NULL;
}

static void stop_if_running(struct rig *rig, struct instance *instance)
{
    enum instance_state state = instance ? rig_state(rig, instance) : INSTANCE_STOPPED;
    struct outcome outcome;

    if (state == INSTANCE_STOPPED || state == INSTANCE_CONFIGURED)
        return;
    rig_stop(&outcome, rig, instance);
    rig_wait_done(rig, &outcome);
}

void rig_free_plugins(struct rig *rig)
{
    stop_if_running(rig, rig->probe);
    stop_if_running(rig, rig->store);
    rig_do(rig, free_plugins, rig);
}

static void remove_tree(const char *path)
{
    struct dirent *entry;
    DIR *dir = opendir(path);

    while (dir && (entry = readdir(dir))) {
        AUTO_FREE char *child = xasprintf("%s/%s", path, entry->d_name);

        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            remove_tree(child);
    }
    if (dir)
        closedir(dir);
    (void)remove(path);
}

void rig_free(struct rig *rig)
{
    for (int op = 0; op < GATE_OPS; op++)
        gate_set(&rig->gate, (enum gate_op)op, 0);
    if (rig->plugins)
        rig_free_plugins(rig);
    loop_stop(rig->control);
    loop_join(rig->control);
    loop_free(rig->control);
    conf_report_free(&rig->report);
    remove_tree(rig->state_dir);
}

/* ---- Outcomes ---- */

static void keep(char *space, size_t cap, struct str s)
{
    snprintf(space, cap, "%.*s", STR_ARG(s));
}

void on_plain(void *arg, const struct plugin_result *result)
{
    struct outcome *outcome = arg;

    outcome->answers++;
    outcome->error = result->error;
    outcome->retry_after_ms = result->retry_after_ms;
    keep(outcome->field, sizeof(outcome->field), result->field);
    keep(outcome->text, sizeof(outcome->text), result->text);
    tell(outcome->rig, &outcome->is_done);
}

void on_usage(void *arg, const struct plugin_result *result, const struct fng_usage *usage)
{
    ((struct outcome *)arg)->count = usage->memory_bytes;
    on_plain(arg, result);
}

void on_names(void *arg, const struct plugin_result *result, const struct str *names, size_t count)
{
    (void)names;
    ((struct outcome *)arg)->count = count;
    on_plain(arg, result);
}

void on_value(void *arg, const struct plugin_result *result, struct str value, uint64_t version)
{
    struct outcome *outcome = arg;

    (void)version;
    keep(outcome->value, sizeof(outcome->value), value);
    on_plain(arg, result);
}

static int32_t on_line(void *arg, const struct fng_log_line *line)
{
    struct outcome *outcome = arg;

    keep(outcome->value, sizeof(outcome->value), str_of(line->text));
    outcome->count++;
    return 0;
}

/* ---- Calls ---- */

struct order {
    struct outcome *outcome;
    struct instance *instance;
    const char *name;
    int64_t deadline_ms;
    uint32_t follow;
};

static void order_do(struct outcome *outcome, struct rig *rig, void (*run)(void *arg),
                     struct order order)
{
    *outcome = (struct outcome){.rig = rig};
    order.outcome = outcome;
    rig_do(rig, run, &order);
}

static void do_deploy(void *arg)
{
    const struct order *order = arg;
    struct fng_function function = {.size = sizeof(function), .name = fng_str_from(order->name)};
    struct fn_spec *spec = fn_spec_new(&function);

    provider_deploy(order->instance, spec, order->deadline_ms, on_plain, order->outcome);
    fn_spec_unref(spec);
}

void rig_deploy(struct outcome *outcome, struct rig *rig, const char *name, int64_t deadline_ms)
{
    order_do(outcome, rig, do_deploy,
             (struct order){.instance = rig->probe, .name = name, .deadline_ms = deadline_ms});
}

static void do_update(void *arg)
{
    const struct order *order = arg;
    struct fng_function function = {.size = sizeof(function)};
    struct fn_spec *spec = fn_spec_new(&function);

    provider_update(order->instance, spec, 0, on_plain, order->outcome);
    fn_spec_unref(spec);
}

void rig_update(struct outcome *outcome, struct rig *rig)
{
    order_do(outcome, rig, do_update, (struct order){.instance = rig->probe});
}

static void do_remove(void *arg)
{
    const struct order *order = arg;

    provider_remove(order->instance, STR("ns"), STR("f"), 2, 0, on_plain, order->outcome);
}

void rig_remove(struct outcome *outcome, struct rig *rig)
{
    order_do(outcome, rig, do_remove, (struct order){.instance = rig->probe});
}

static void do_secret_set(void *arg)
{
    const struct order *order = arg;

    provider_secret_set(order->instance, STR("ns"), STR("key"), STR("value"), FNG_SECRET_CREATE, 0,
                        on_plain, order->outcome);
}

void rig_secret_set(struct outcome *outcome, struct rig *rig)
{
    order_do(outcome, rig, do_secret_set, (struct order){.instance = rig->probe});
}

static void do_secret_remove(void *arg)
{
    const struct order *order = arg;

    provider_secret_remove(order->instance, STR("ns"), STR("key"), 0, on_plain, order->outcome);
}

void rig_secret_remove(struct outcome *outcome, struct rig *rig)
{
    order_do(outcome, rig, do_secret_remove, (struct order){.instance = rig->probe});
}

static void do_scale(void *arg)
{
    const struct order *order = arg;

    provider_scale(order->instance, STR("ns"), str_from(order->name), 2, 3, 0, on_plain,
                   order->outcome);
}

void rig_scale(struct outcome *outcome, struct rig *rig, const char *name)
{
    order_do(outcome, rig, do_scale, (struct order){.instance = rig->probe, .name = name});
}

static void do_activate(void *arg)
{
    const struct order *order = arg;

    provider_activate(order->instance, STR("ns"), str_from(order->name), 1, 3, 0, on_plain,
                      order->outcome);
}

void rig_activate(struct outcome *outcome, struct rig *rig, const char *name)
{
    order_do(outcome, rig, do_activate, (struct order){.instance = rig->probe, .name = name});
}

static void do_usage(void *arg)
{
    const struct order *order = arg;

    provider_usage(order->instance, STR("ns"), STR("f"), 0, on_usage, order->outcome);
}

void rig_usage(struct outcome *outcome, struct rig *rig)
{
    order_do(outcome, rig, do_usage, (struct order){.instance = rig->probe});
}

static void do_secrets(void *arg)
{
    const struct order *order = arg;

    provider_secret_list(order->instance, STR("ns"), 0, on_names, order->outcome);
}

void rig_secrets(struct outcome *outcome, struct rig *rig)
{
    order_do(outcome, rig, do_secrets, (struct order){.instance = rig->probe});
}

static void do_logs(void *arg)
{
    const struct order *order = arg;
    struct fng_log_query query = {.size = sizeof(query), .follow = order->follow};

    order->outcome->ticket =
        provider_logs(order->instance, &query, on_line, order->outcome, on_plain, order->outcome);
}

void rig_logs(struct outcome *outcome, struct rig *rig, uint32_t follow)
{
    order_do(outcome, rig, do_logs, (struct order){.instance = rig->probe, .follow = follow});
}

static void do_get(void *arg)
{
    const struct order *order = arg;

    store_get(order->instance, str_from(order->name), on_value, order->outcome);
}

void rig_get(struct outcome *outcome, struct rig *rig, const char *key)
{
    order_do(outcome, rig, do_get, (struct order){.instance = rig->store, .name = key});
}

static void do_start(void *arg)
{
    const struct order *order = arg;

    instance_start(order->instance, on_plain, order->outcome);
}

void rig_start(struct outcome *outcome, struct rig *rig, struct instance *instance)
{
    order_do(outcome, rig, do_start, (struct order){.instance = instance});
}

static void do_stop(void *arg)
{
    const struct order *order = arg;

    instance_stop(order->instance, on_plain, order->outcome);
}

void rig_stop(struct outcome *outcome, struct rig *rig, struct instance *instance)
{
    order_do(outcome, rig, do_stop, (struct order){.instance = instance});
}

/* ---- Questions ---- */

struct question {
    const struct instance *instance;
    struct instance_stats stats;
    enum instance_state state;
};

static void ask_instance(void *arg)
{
    struct question *question = arg;

    instance_stats(question->instance, &question->stats);
    question->state = instance_state(question->instance);
}

struct instance_stats rig_stats(struct rig *rig)
{
    struct question question = {.instance = rig->probe};

    rig_do(rig, ask_instance, &question);
    return question.stats;
}

enum instance_state rig_state(struct rig *rig, const struct instance *instance)
{
    struct question question = {.instance = instance};

    rig_do(rig, ask_instance, &question);
    return question.state;
}

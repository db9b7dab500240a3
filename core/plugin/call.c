/* Calls: one wrapper for each operation. This file alone calls into foreign code.
 *
 * The upper half of each pair runs on the control loop: it copies the arguments into a job and
 * picks the lane. The lower half, run_..., runs on a lane thread. job.c has checked the state, set
 * the current call, the deadline and the clock around it.
 */
#include "plugin/internal.h"

#include "base/map.h"
#include "base/sys.h"

#include <stdio.h>

enum { CANCEL_GRACE_MS = 5000 };

static const struct fng_provider_ops *provider_ops(const struct job *job)
{
    return &job->instance->plugin->ops.provider;
}

static const struct fng_store_ops *store_ops(const struct job *job)
{
    return &job->instance->plugin->ops.store;
}

static void *self_of(const struct job *job)
{
    return job->instance->self;
}

/* ---- Results ---- */

static const char *class_words(int32_t error)
{
    static const char *const words[] = {"",
                                        "an internal error",
                                        "not found",
                                        "a conflict",
                                        "an invalid request",
                                        "the backend is unavailable",
                                        "not supported",
                                        "a timeout",
                                        "cancelled",
                                        "a limit"};

    return words[-error];
}

void call_result(const struct call *call, int32_t returned, char space[TEXT_MAX],
                 struct plugin_result *ret)
{
    *ret = (struct plugin_result){.error = returned};
    if (returned == FNG_OK)
        return;
    if (returned > 0 || returned < FNG_E_LIMIT) {
        ret->error = FNG_E_INTERNAL;
        snprintf(space, TEXT_MAX, "%s has returned %d, which is no result of the plugin ABI",
                 call->operation, (int)returned);
        ret->text = str_from(space);
        return;
    }
    if (call->error == returned) {
        ret->field = str_make(call->field, call->field_len);
        ret->retry_after_ms = call->retry_after_ms;
    }
    if (call->text_len > 0) {
        ret->text = str_make(call->text, call->text_len);
        return;
    }
    snprintf(space, TEXT_MAX, "%s failed without saying why: %s", call->operation,
             class_words(returned));
    ret->text = str_from(space);
}

static void answer_plain(struct job *job, const struct plugin_result *result)
{
    if (job->done.plain)
        job->done.plain(job->arg, result);
}

/* ---- Life ---- */

static int32_t call_on_main(struct call *call, int32_t (*function)(void *self))
{
    int32_t result;

    if (!function)
        return FNG_OK;
    call_set_current(call);
    result = function(call->instance->self);
    call_set_current(NULL);
    return result;
}

int32_t call_load(struct call *call)
{
    const struct instance *instance = call->instance;
    int32_t result;

    if (!instance->plugin->descriptor.load)
        return FNG_OK;
    call_set_current(call);
    result = instance->plugin->descriptor.load(instance->self, &instance->host);
    call_set_current(NULL);
    return result;
}

int32_t call_config_complete(struct call *call)
{
    return call_on_main(call, call->instance->plugin->descriptor.config_complete);
}

void call_unload(struct instance *instance)
{
    struct call call;

    if (!instance->plugin->descriptor.unload)
        return;
    call_init(&call, instance, "unload");
    call_set_current(&call);
    instance->plugin->descriptor.unload(instance->self);
    call_set_current(NULL);
    call_close(&call);
}

int32_t plugin_call_start(struct job *job)
{
    const struct fng_plugin *d = &job->instance->plugin->descriptor;
    int32_t result = d->start ? d->start(self_of(job)) : FNG_OK;

    if (result == FNG_OK)
        atomic_store(&job->instance->is_started, true);
    return result;
}

int32_t call_drain(struct job *job)
{
    job->instance->plugin->descriptor.drain(self_of(job));
    return FNG_OK;
}

int32_t call_stop(struct job *job)
{
    job->instance->plugin->descriptor.stop(self_of(job));
    return FNG_OK;
}

int32_t call_watch(struct job *job)
{
    return provider_ops(job)->watch(self_of(job));
}

/* ---- Arguments ---- */

static struct fng_str copy(struct job *job, struct str s)
{
    struct str kept = pool_str(&job->pool, s);

    if (!kept.ptr)
        job->is_overfull = true;
    return fng_of(kept);
}

/* Calls about one function run in order: same key, never 0. */
static uint64_t function_key(struct str ns, struct str name)
{
    return (hash_bytes(ns.ptr, ns.len) * 31 + hash_bytes(name.ptr, name.len)) | 1;
}

static struct job *provider_job(struct instance *instance, enum job_class class,
                                const char *operation, int32_t (*run)(struct job *job),
                                plugin_done_f *done, void *arg)
{
    struct job *job = job_new(instance, class, operation, run, answer_plain);

    ASSERT(instance->plugin->descriptor.kind == FNG_KIND_PROVIDER);
    job->done.plain = done;
    job->arg = arg;
    return job;
}

static void set_function(struct job *job, struct str ns, struct str name, uint32_t number,
                         uint64_t generation)
{
    job->in.fn.ns = copy(job, ns);
    job->in.fn.name = copy(job, name);
    job->in.fn.number = number;
    job->in.fn.generation = generation;
}

/* Submits when the plugin has the operation, else says that it has not. */
static void submit_if(bool is_there, struct job *job, int64_t deadline_ms)
{
    if (is_there)
        job_submit(job, deadline_ms);
    else
        job_refuse(job, FNG_E_UNSUPPORTED, 0, "%s %s has no operation '%s'",
                   plugin_kind_name(job->instance->plugin->descriptor.kind),
                   job->instance->plugin->descriptor.name, job->call.operation);
}

/* ---- Provider: control ---- */

static int32_t run_deploy(struct job *job)
{
    return provider_ops(job)->deploy(self_of(job), fn_spec_get(job->in.spec));
}

static int32_t run_update(struct job *job)
{
    return provider_ops(job)->update(self_of(job), fn_spec_get(job->in.spec));
}

static struct job *spec_job(struct instance *instance, const char *operation,
                            int32_t (*run)(struct job *job), struct fn_spec *spec,
                            plugin_done_f *done, void *arg)
{
    struct job *job = provider_job(instance, JOB_CONTROL, operation, run, done, arg);
    const struct fng_function *function = fn_spec_get(spec);

    job->in.spec = fn_spec_ref(spec);
    job->owns_spec = true;
    job->lane_job.key = function_key(str_of(function->ns), str_of(function->name));
    return job;
}

void provider_deploy(struct instance *instance, struct fn_spec *spec, int64_t deadline_ms,
                     plugin_done_f *done, void *arg)
{
    struct job *job = spec_job(instance, "deploy", run_deploy, spec, done, arg);

    submit_if(provider_ops(job)->deploy, job, deadline_ms);
}

void provider_update(struct instance *instance, struct fn_spec *spec, int64_t deadline_ms,
                     plugin_done_f *done, void *arg)
{
    struct job *job = spec_job(instance, "update", run_update, spec, done, arg);

    submit_if(provider_ops(job)->update, job, deadline_ms);
}

static int32_t run_remove(struct job *job)
{
    return provider_ops(job)->remove(self_of(job), job->in.fn.ns, job->in.fn.name,
                                     job->in.fn.generation);
}

void provider_remove(struct instance *instance, struct str ns, struct str name, uint64_t generation,
                     int64_t deadline_ms, plugin_done_f *done, void *arg)
{
    struct job *job = provider_job(instance, JOB_CONTROL, "remove", run_remove, done, arg);

    set_function(job, ns, name, 0, generation);
    job->lane_job.key = function_key(ns, name);
    submit_if(provider_ops(job)->remove, job, deadline_ms);
}

static int32_t run_secret_set(struct job *job)
{
    return provider_ops(job)->secret_set(self_of(job), job->in.fn.ns, job->in.fn.name,
                                         job->in.fn.value, job->in.fn.number);
}

void provider_secret_set(struct instance *instance, struct str ns, struct str name,
                         struct str value, uint32_t mode, int64_t deadline_ms, plugin_done_f *done,
                         void *arg)
{
    struct job *job = provider_job(instance, JOB_CONTROL, "secret_set", run_secret_set, done, arg);

    set_function(job, ns, name, mode, 0);
    job->in.fn.value = copy(job, value);
    job->lane_job.key = function_key(ns, name);
    submit_if(provider_ops(job)->secret_set, job, deadline_ms);
}

static int32_t run_secret_remove(struct job *job)
{
    return provider_ops(job)->secret_remove(self_of(job), job->in.fn.ns, job->in.fn.name);
}

void provider_secret_remove(struct instance *instance, struct str ns, struct str name,
                            int64_t deadline_ms, plugin_done_f *done, void *arg)
{
    struct job *job =
        provider_job(instance, JOB_CONTROL, "secret_remove", run_secret_remove, done, arg);

    set_function(job, ns, name, 0, 0);
    job->lane_job.key = function_key(ns, name);
    submit_if(provider_ops(job)->secret_remove, job, deadline_ms);
}

/* ---- Provider: urgent ---- */

static int32_t run_scale(struct job *job)
{
    return provider_ops(job)->scale(self_of(job), job->in.fn.ns, job->in.fn.name, job->in.fn.number,
                                    job->in.fn.generation);
}

void provider_scale(struct instance *instance, struct str ns, struct str name, uint32_t replicas,
                    uint64_t generation, int64_t deadline_ms, plugin_done_f *done, void *arg)
{
    struct job *job = provider_job(instance, JOB_URGENT, "scale", run_scale, done, arg);

    set_function(job, ns, name, replicas, generation);
    submit_if(provider_ops(job)->scale, job, deadline_ms);
}

static int32_t run_activate(struct job *job)
{
    return provider_ops(job)->activate(self_of(job), job->in.fn.ns, job->in.fn.name,
                                       job->in.fn.number, job->in.fn.generation);
}

void provider_activate(struct instance *instance, struct str ns, struct str name, uint32_t replicas,
                       uint64_t generation, int64_t deadline_ms, plugin_done_f *done, void *arg)
{
    struct job *job = provider_job(instance, JOB_URGENT, "activate", run_activate, done, arg);

    set_function(job, ns, name, replicas, generation);
    submit_if(provider_ops(job)->activate, job, deadline_ms);
}

static int32_t run_released(struct job *job)
{
    provider_ops(job)->endpoint_released(self_of(job), job->in.endpoint.id,
                                         job->in.endpoint.generation);
    return FNG_OK;
}

/* Said once per endpoint, so a full lane only delays it: instance.c keeps it and tries again. */
static void answer_released(struct job *job, const struct plugin_result *result)
{
    if (result->error == FNG_E_LIMIT)
        instance_postpone(job->instance, job->in.endpoint.id, job->in.endpoint.generation);
}

void provider_endpoint_released(struct instance *instance, uint64_t endpoint_id,
                                uint64_t generation)
{
    struct job *job;

    if (!instance->plugin->ops.provider.endpoint_released)
        return;
    job = provider_job(instance, JOB_URGENT, "endpoint_released", run_released, NULL, NULL);
    job->answer = answer_released;
    job->in.endpoint.id = endpoint_id;
    job->in.endpoint.generation = generation;
    job_submit(job, 0);
}

/* ---- What operations give back, collected in the job ---- */

/* Room for one more element; NULL when the job holds too much already. */
static void *grow(struct job *job, void *items, size_t count, size_t *cap, size_t size)
{
    size_t more = *cap ? *cap * 2 : 16;
    void *grown;

    if (count < *cap)
        return items;
    grown = pool_alloc(&job->pool, more * size);
    if (!grown) {
        job->is_overfull = true;
        return NULL;
    }
    if (count > 0)
        memcpy(grown, items, count * size);
    *cap = more;
    return grown;
}

static int32_t collected(struct job *job, int32_t result)
{
    if (!job->is_overfull)
        return result;
    call_record(&job->call, FNG_E_LIMIT, STR_NONE, STR("the answer is larger than 256 MiB"), 0);
    return FNG_E_LIMIT;
}

/* ---- Provider: read ---- */

static int32_t take_name(void *arg, struct fng_str name)
{
    struct job *job = arg;
    struct str *items =
        grow(job, job->out.names.items, job->out.names.count, &job->out.names.cap, sizeof(*items));
    struct str kept = items ? pool_str(&job->pool, str_of(name)) : STR_NONE;

    if (!kept.ptr) {
        job->is_overfull = true;
        return 1;
    }
    job->out.names.items = items;
    items[job->out.names.count++] = kept;
    return 0;
}

static int32_t run_secret_list(struct job *job)
{
    return collected(job,
                     provider_ops(job)->secret_list(self_of(job), job->in.fn.ns, take_name, job));
}

static void answer_names(struct job *job, const struct plugin_result *result)
{
    bool is_ok = result->error == FNG_OK;

    job->done.names(job->arg, result, is_ok ? job->out.names.items : NULL,
                    is_ok ? job->out.names.count : 0);
}

void provider_secret_list(struct instance *instance, struct str ns, int64_t deadline_ms,
                          names_done_f *done, void *arg)
{
    struct job *job = provider_job(instance, JOB_READ, "secret_list", run_secret_list, NULL, arg);

    job->done.names = done;
    job->answer = answer_names;
    set_function(job, ns, STR_NONE, 0, 0);
    submit_if(provider_ops(job)->secret_list, job, deadline_ms);
}

static int32_t run_usage(struct job *job)
{
    job->out.usage.size = sizeof(job->out.usage);
    return provider_ops(job)->usage(self_of(job), job->in.fn.ns, job->in.fn.name, &job->out.usage);
}

static void answer_usage(struct job *job, const struct plugin_result *result)
{
    static const struct fng_usage none = {.size = sizeof(none)};

    job->done.usage(job->arg, result, result->error == FNG_OK ? &job->out.usage : &none);
}

void provider_usage(struct instance *instance, struct str ns, struct str name, int64_t deadline_ms,
                    usage_done_f *done, void *arg)
{
    struct job *job = provider_job(instance, JOB_READ, "usage", run_usage, NULL, arg);

    job->done.usage = done;
    job->answer = answer_usage;
    set_function(job, ns, name, 0, 0);
    submit_if(provider_ops(job)->usage, job, deadline_ms);
}

/* ---- Provider: logs ---- */

static int32_t take_line(void *arg, const struct fng_log_line *theirs)
{
    struct job *job = arg;
    struct fng_log_line line = {0};
    int32_t stop = 1;

    if (theirs->size < sizeof(line))
        return FNG_E_INVALID;
    memcpy(&line, theirs, sizeof(line));
    line.size = sizeof(line);
    pthread_mutex_lock(&job->line_lock);
    if (!job->is_deaf && !call_is_cancelled(&job->call))
        stop = job->in.logs.on_line(job->in.logs.line_arg, &line);
    pthread_mutex_unlock(&job->line_lock);
    return stop;
}

static int32_t run_logs(struct job *job)
{
    return provider_ops(job)->logs(self_of(job), &job->in.logs.query, take_line, job);
}

struct plugin_ticket *provider_logs(struct instance *instance, const struct fng_log_query *query,
                                    fng_log_line_f *on_line, void *line_arg, plugin_done_f *done,
                                    void *arg)
{
    struct job *job = provider_job(instance, JOB_STREAM, "logs", run_logs, done, arg);

    job->in.logs.query = *query;
    job->in.logs.query.size = sizeof(*query);
    job->in.logs.query.ns = copy(job, str_of(query->ns));
    job->in.logs.query.name = copy(job, str_of(query->name));
    job->in.logs.query.replica = copy(job, str_of(query->replica));
    job->in.logs.on_line = on_line;
    job->in.logs.line_arg = line_arg;
    submit_if(provider_ops(job)->logs, job, 0);
    return &job->ticket;
}

void plugin_cancel(struct plugin_ticket *ticket)
{
    job_cancel(CONTAINER_OF(ticket, struct job, ticket), CANCEL_GRACE_MS);
}

/* ---- Store ---- */

static struct job *store_job(struct instance *store, enum job_class class, const char *operation,
                             int32_t (*run)(struct job *job), struct str key, void *arg)
{
    struct job *job = job_new(store, class, operation, run, answer_plain);

    ASSERT(store->plugin->descriptor.kind == FNG_KIND_STORE);
    job->in.kv.key = copy(job, key);
    job->arg = arg;
    if (class == JOB_CONTROL)
        job->lane_job.key = function_key(STR_NONE, key);
    return job;
}

static void take_value(void *arg, struct fng_str value, uint64_t version)
{
    struct job *job = arg;

    job->out.value.bytes = pool_str(&job->pool, str_of(value));
    job->out.value.version = version;
    if (!job->out.value.bytes.ptr)
        job->is_overfull = true;
}

static int32_t run_get(struct job *job)
{
    return collected(job, store_ops(job)->get(self_of(job), job->in.kv.key, take_value, job));
}

static void answer_value(struct job *job, const struct plugin_result *result)
{
    bool is_ok = result->error == FNG_OK;

    job->done.value(job->arg, result, is_ok ? job->out.value.bytes : STR_NONE,
                    is_ok ? job->out.value.version : 0);
}

void store_get(struct instance *store, struct str key, value_done_f *done, void *arg)
{
    struct job *job = store_job(store, JOB_READ, "get", run_get, key, arg);

    job->done.value = done;
    job->answer = answer_value;
    job_submit(job, 0);
}

static int32_t run_put(struct job *job)
{
    return store_ops(job)->put(self_of(job), job->in.kv.key, job->in.kv.value, job->in.kv.expected,
                               &job->out.value.version);
}

void store_put(struct instance *store, struct str key, struct str value, uint64_t expected,
               value_done_f *done, void *arg)
{
    struct job *job = store_job(store, JOB_CONTROL, "put", run_put, key, arg);

    job->done.value = done;
    job->answer = answer_value;
    job->in.kv.value = copy(job, value);
    job->in.kv.expected = expected;
    job_submit(job, STORE_WRITE_MS);
}

static int32_t run_store_remove(struct job *job)
{
    return store_ops(job)->remove(self_of(job), job->in.kv.key, job->in.kv.expected);
}

void store_remove(struct instance *store, struct str key, uint64_t expected, plugin_done_f *done,
                  void *arg)
{
    struct job *job = store_job(store, JOB_CONTROL, "remove", run_store_remove, key, arg);

    job->done.plain = done;
    job->in.kv.expected = expected;
    job_submit(job, STORE_WRITE_MS);
}

static int32_t take_entry(void *arg, struct fng_str key, struct fng_str value, uint64_t version)
{
    struct job *job = arg;
    struct store_entry *items = grow(job, job->out.entries.items, job->out.entries.count,
                                     &job->out.entries.cap, sizeof(*items));
    struct store_entry entry = {.version = version};

    if (items) {
        job->out.entries.items = items;
        entry.key = pool_str(&job->pool, str_of(key));
        entry.value = pool_str(&job->pool, str_of(value));
    }
    if (!entry.key.ptr || !entry.value.ptr) {
        job->is_overfull = true;
        return 1;
    }
    items[job->out.entries.count++] = entry;
    return 0;
}

static int32_t run_list(struct job *job)
{
    return collected(
        job, store_ops(job)->list(self_of(job), job->in.kv.key, FNG_STR(""), 0, take_entry, job));
}

static void answer_entries(struct job *job, const struct plugin_result *result)
{
    bool is_ok = result->error == FNG_OK;

    job->done.entries(job->arg, result, is_ok ? job->out.entries.items : NULL,
                      is_ok ? job->out.entries.count : 0);
}

void store_list(struct instance *store, struct str prefix, entries_done_f *done, void *arg)
{
    struct job *job = store_job(store, JOB_READ, "list", run_list, prefix, arg);

    job->done.entries = done;
    job->answer = answer_entries;
    job_submit(job, 0);
}

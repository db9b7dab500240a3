/* A small gateway for one plugin instance: host services and the life of the instance. */
#include "host.h"

#include "kv.h"
#include "settings.h"
#include "view.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { KV_KEY_MAX = 512, KV_VALUE_MAX = 1 << 20 };

static _Thread_local struct call *current;

static struct host *host_of(struct fng_instance *instance)
{
    struct host *host = (struct host *)(void *)instance;

    if (__atomic_load_n(&host->is_over, __ATOMIC_ACQUIRE))
        __atomic_add_fetch(&host->late_uses, 1, __ATOMIC_RELAXED);
    return host;
}

/* The call of this thread, when it is one of this host. */
static struct call *call_of(struct fng_instance *instance)
{
    struct host *host = host_of(instance);

    return current && current->host == host ? current : NULL;
}

/* ---- Services: the current call ---- */

static void service_log(struct fng_instance *instance, uint32_t level, struct fng_str text)
{
    if (host_of(instance)->is_loud)
        fprintf(stderr, "# log %u: %.*s\n", level, STR_ARG(text));
}

static int32_t service_fail(struct fng_instance *instance, int32_t error, struct fng_str field,
                            struct fng_str text, uint32_t retry_after_ms)
{
    struct call *call = call_of(instance);

    (void)retry_after_ms;
    if (!call) {
        service_log(instance, FNG_LOG_ERROR, text);
        return error;
    }
    call->error = error;
    snprintf(call->field, sizeof(call->field), "%.*s", STR_ARG(field));
    snprintf(call->text, sizeof(call->text), "%.*s", STR_ARG(text));
    return error;
}

static int64_t service_deadline_ms(struct fng_instance *instance)
{
    struct call *call = call_of(instance);
    int64_t left_ms;

    if (!call || call->deadline_ms == INT64_MAX)
        return -1;
    left_ms = call->deadline_ms - now_ms();
    return left_ms < 0 ? 0 : left_ms;
}

static int32_t service_cancelled(struct fng_instance *instance)
{
    struct call *call = call_of(instance);

    return call && (__atomic_load_n(&call->is_cancelled, __ATOMIC_ACQUIRE) ||
                    now_ms() >= call->deadline_ms);
}

static int32_t service_cancel_fd(struct fng_instance *instance)
{
    struct call *call = call_of(instance);

    return call ? call->timer_fd : -1;
}

static int32_t service_wait_ms(struct fng_instance *instance, uint32_t ms)
{
    struct call *call = call_of(instance);
    struct pollfd poll_fd = {call ? call->timer_fd : -1, POLLIN, 0};

    poll(&poll_fd, 1, ms > INT32_MAX ? INT32_MAX : (int)ms);
    return service_cancelled(instance) ? FNG_E_CANCELLED : 0;
}

static int64_t service_monotonic_ms(struct fng_instance *instance)
{
    (void)host_of(instance);
    return now_ms();
}

static int64_t service_wall_ms(struct fng_instance *instance)
{
    struct timespec now;

    (void)host_of(instance);
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct fng_str service_trace(struct fng_instance *instance)
{
    (void)host_of(instance);
    return fng_str_make("", 0);
}

/* ---- Services: store, deltas, health ---- */

static int32_t check_kv_key(struct fng_instance *instance, struct fng_str key)
{
    if (key.len > 0 && key.len <= KV_KEY_MAX && !memchr(key.ptr, 0, key.len))
        return 0;
    return service_fail(instance, FNG_E_INVALID, FNG_STR("key"),
                        FNG_STR("a key has 1 to 512 bytes without NUL"), 0);
}

static int32_t service_kv_get(struct fng_instance *instance, struct fng_str key,
                              fng_kv_value_f *on_value, void *arg)
{
    int32_t error = check_kv_key(instance, key);

    return error ? error : kv_get(host_of(instance)->kv, key, on_value, arg);
}

static int32_t service_kv_put(struct fng_instance *instance, struct fng_str key,
                              struct fng_str value, uint64_t expected, uint64_t *ret_version)
{
    int32_t error = check_kv_key(instance, key);

    if (!error && value.len > KV_VALUE_MAX)
        error = service_fail(instance, FNG_E_LIMIT, FNG_STR("value"),
                             FNG_STR("a value has at most 1 MiB"), 0);
    return error ? error : kv_put(host_of(instance)->kv, key, value, expected, ret_version);
}

static int32_t service_kv_remove(struct fng_instance *instance, struct fng_str key,
                                 uint64_t expected)
{
    int32_t error = check_kv_key(instance, key);

    return error ? error : kv_remove(host_of(instance)->kv, key, expected);
}

static int32_t service_kv_list(struct fng_instance *instance, struct fng_str prefix,
                               fng_kv_entry_f *on_entry, void *arg)
{
    return kv_list(host_of(instance)->kv, prefix, on_entry, arg);
}

static int32_t service_snapshot_begin(struct fng_instance *instance)
{
    return view_snapshot_begin(host_of(instance)->view);
}

static int32_t service_snapshot_commit(struct fng_instance *instance)
{
    return view_snapshot_commit(host_of(instance)->view);
}

static int32_t service_snapshot_abort(struct fng_instance *instance)
{
    return view_snapshot_abort(host_of(instance)->view);
}

static int32_t service_fn_upsert(struct fng_instance *instance,
                                 const struct fng_function_state *state)
{
    return view_upsert(host_of(instance)->view, state);
}

static int32_t service_fn_remove(struct fng_instance *instance, struct fng_str ns,
                                 struct fng_str name, uint64_t generation)
{
    return view_remove(host_of(instance)->view, ns, name, generation);
}

static int32_t service_endpoints_set(struct fng_instance *instance, struct fng_str ns,
                                     struct fng_str name, uint64_t generation,
                                     const struct fng_endpoint *endpoints, size_t count,
                                     size_t stride)
{
    return view_endpoints(host_of(instance)->view, ns, name, generation, endpoints, count, stride);
}

static void service_health(struct fng_instance *instance, uint32_t state, struct fng_str why)
{
    __atomic_store_n(&host_of(instance)->health, (int)state, __ATOMIC_RELEASE);
    service_log(instance, FNG_LOG_INFO, why);
}

static void service_metric(struct fng_instance *instance, struct fng_str name, double value)
{
    (void)host_of(instance);
    (void)name;
    (void)value;
}

static const struct fng_host services = {
    .size = sizeof(struct fng_host),
    .abi_major = FNG_ABI_MAJOR,
    .abi_minor = FNG_ABI_MINOR,
    .log = service_log,
    .fail = service_fail,
    .deadline_ms = service_deadline_ms,
    .cancelled = service_cancelled,
    .cancel_fd = service_cancel_fd,
    .wait_ms = service_wait_ms,
    .monotonic_ms = service_monotonic_ms,
    .wall_ms = service_wall_ms,
    .kv_get = service_kv_get,
    .kv_put = service_kv_put,
    .kv_remove = service_kv_remove,
    .kv_list = service_kv_list,
    .snapshot_begin = service_snapshot_begin,
    .snapshot_commit = service_snapshot_commit,
    .snapshot_abort = service_snapshot_abort,
    .fn_upsert = service_fn_upsert,
    .fn_remove = service_fn_remove,
    .endpoints_set = service_endpoints_set,
    .health = service_health,
    .metric_add = service_metric,
    .metric_set = service_metric,
    .trace = service_trace,
};

/* ---- Host and calls ---- */

struct host *host_new(const char *name, const char *state_dir, const char *libexec_dir,
                      struct kv *kv, struct view *view)
{
    struct host *host = must_zalloc(sizeof(*host));

    host->kv = kv;
    host->view = view;
    host->name = must_copy(fng_str_from(name));
    host->state_dir = must_copy(fng_str_from(state_dir));
    host->libexec_dir = must_copy(fng_str_from(libexec_dir));
    host->table = services;
    host->table.instance = (struct fng_instance *)(void *)host;
    host->table.name = fng_str_from(host->name);
    host->table.state_dir = fng_str_from(host->state_dir);
    host->table.libexec_dir = fng_str_from(host->libexec_dir);
    return host;
}

void host_free(struct host *host)
{
    if (!host)
        return;
    free(host->name);
    free(host->state_dir);
    free(host->libexec_dir);
    free(host);
}

static void set_timer(struct call *call, int64_t ms)
{
    struct itimerspec when = {.it_value = {ms / 1000, (long)(ms % 1000) * 1000000}};

    if (ms == 0)
        when.it_value = (struct timespec){0, 1};
    timerfd_settime(call->timer_fd, 0, &when, NULL);
}

void call_begin(struct call *call, struct host *host, int64_t timeout_ms)
{
    memset(call, 0, sizeof(*call));
    call->host = host;
    call->deadline_ms = timeout_ms == NO_TIMEOUT ? INT64_MAX : now_ms() + timeout_ms;
    call->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timeout_ms != NO_TIMEOUT)
        set_timer(call, timeout_ms);
    call->outer = current;
    current = call;
}

void call_cancel(struct call *call)
{
    __atomic_store_n(&call->is_cancelled, 1, __ATOMIC_RELEASE);
    set_timer(call, 0);
}

void call_end(struct call *call)
{
    current = call->outer;
    close(call->timer_fd);
    call->timer_fd = -1;
}

/* ---- Life ---- */

enum { START_TIMEOUT_MS = 30000, STOP_TIMEOUT_MS = 10000 };

char *instance_open(struct instance *instance, const struct fng_plugin *plugin, struct host *host,
                    const struct settings *settings)
{
    struct call call;
    int32_t error = 0;
    char *wrong;

    *instance = (struct instance){.plugin = plugin, .host = host};
    instance->self = must_zalloc(plugin->self_size);
    instance->bound = must_zalloc(sizeof(*instance->bound));

    call_begin(&call, host, START_TIMEOUT_MS);
    if (plugin->load)
        error = plugin->load(instance->self, &host->table);
    wrong = error ? must_printf("load: %d: %s", error, call.text)
                  : settings_bind(settings, plugin, instance->self, instance->bound);
    if (!wrong && plugin->config_complete && (error = plugin->config_complete(instance->self)) != 0)
        wrong = must_printf("config_complete: %d: %s", error, call.text);
    call_end(&call);

    if (wrong)
        instance_close(instance);
    return wrong;
}

int32_t instance_start(struct instance *instance, struct call *call)
{
    int32_t error = 0;

    call_begin(call, instance->host, START_TIMEOUT_MS);
    if (instance->plugin->start)
        error = instance->plugin->start(instance->self);
    call_end(call);
    return error;
}

void instance_drain(struct instance *instance)
{
    struct call call;

    call_begin(&call, instance->host, STOP_TIMEOUT_MS);
    if (instance->plugin->drain)
        instance->plugin->drain(instance->self);
    call_end(&call);
}

void instance_stop(struct instance *instance)
{
    struct call call;

    call_begin(&call, instance->host, STOP_TIMEOUT_MS);
    if (instance->plugin->stop)
        instance->plugin->stop(instance->self);
    call_end(&call);
    __atomic_store_n(&instance->host->is_over, 1, __ATOMIC_RELEASE);
}

void instance_close(struct instance *instance)
{
    if (!instance->self)
        return;
    if (instance->plugin->unload)
        instance->plugin->unload(instance->self);
    free(instance->self);
    bound_free(instance->bound);
    free(instance->bound);
    instance->self = NULL;
}

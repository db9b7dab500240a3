/* Services for plugins: the table that load receives.
 *
 * Whatever comes in here was written by somebody else: it is checked, not asserted. What the
 * control loop must know goes there as an event (health) or as a question (deltas), for which the
 * plugin's thread waits; so what it hands over is borrowed and stays where it is.
 */
#include "plugin/internal.h"

#include "base/sys.h"

#include <errno.h>
#include <poll.h>

struct instance *host_instance(struct fng_instance *handle)
{
    return (struct instance *)(void *)handle;
}

/* ---- Log and failure ---- */

static void host_log(struct fng_instance *handle, uint32_t level, struct fng_str text)
{
    bool is_known = level >= FNG_LOG_ERROR && level <= FNG_LOG_DEBUG;

    log_write(is_known ? (enum log_level)level : LOG_INFO, host_instance(handle)->name, "%.*s",
              STR_ARG(str_of(text)));
}

static int32_t host_fail(struct fng_instance *handle, int32_t error, struct fng_str field,
                         struct fng_str text, uint32_t retry_after_ms)
{
    struct instance *instance = host_instance(handle);
    struct call *call = call_current(instance);

    if (call)
        call_record(call, error, str_of(field), str_of(text), retry_after_ms);
    else
        log_error(instance->name, "%.*s", STR_ARG(str_of(text)));
    return error;
}

/* ---- The current call ---- */

static int64_t host_deadline_ms(struct fng_instance *handle)
{
    const struct call *call = call_current(host_instance(handle));

    return call ? call_left_ms(call) : -1;
}

static int32_t host_cancelled(struct fng_instance *handle)
{
    const struct call *call = call_current(host_instance(handle));

    return call && call_is_cancelled(call);
}

static int32_t host_cancel_fd(struct fng_instance *handle)
{
    struct call *call = call_current(host_instance(handle));

    return call ? call_fd(call) : -1;
}

static int32_t host_wait_ms(struct fng_instance *handle, uint32_t ms)
{
    struct call *call = call_current(host_instance(handle));
    struct pollfd fd = {.fd = call ? call_fd(call) : -1, .events = POLLIN};
    int64_t until_ms = sys_monotonic_ms() + ms, left_ms = ms;

    if (loop_current())
        return FNG_E_UNSUPPORTED; /* load and config_complete do not wait */
    while (left_ms > 0 && !(call && call_is_cancelled(call))) {
        int64_t call_ms = call ? call_left_ms(call) : -1;
        int64_t wait_ms = call_ms >= 0 && call_ms < left_ms ? call_ms : left_ms;

        (void)poll(&fd, 1, wait_ms < 60000 ? (int)wait_ms : 60000);
        left_ms = until_ms - sys_monotonic_ms();
    }
    return call && call_is_cancelled(call) ? FNG_E_CANCELLED : FNG_OK;
}

static struct fng_str host_trace(struct fng_instance *handle)
{
    (void)handle;
    return FNG_STR(""); /* control calls carry no trace context */
}

static int64_t host_monotonic_ms(struct fng_instance *handle)
{
    (void)handle;
    return sys_monotonic_ms();
}

static int64_t host_wall_ms(struct fng_instance *handle)
{
    (void)handle;
    return sys_wall_ms();
}

/* ---- Deltas ---- */

struct delta {
    struct ask ask;
    struct fn_spec *spec;
    struct str reason, ns, name;
    struct fng_str_list warnings;
    uint64_t generation;
    struct fng_endpoint *endpoints;
    size_t count;
};

static const struct provider_sink *sink_of(const struct ask *ask)
{
    return &ask->instance->plugins->config.sink;
}

static void ask_begin(struct ask *ask)
{
    ask_answer(ask, sink_of(ask)->snapshot_begin(sink_of(ask)->arg, ask->instance));
}

static void ask_commit(struct ask *ask)
{
    ask_answer(ask, sink_of(ask)->snapshot_commit(sink_of(ask)->arg, ask->instance));
}

static void ask_abort(struct ask *ask)
{
    ask_answer(ask, sink_of(ask)->snapshot_abort(sink_of(ask)->arg, ask->instance));
}

static void ask_upsert(struct ask *ask)
{
    struct delta *delta = CONTAINER_OF(ask, struct delta, ask);

    ask_answer(ask,
               sink_of(ask)->fn_upsert(sink_of(ask)->arg, ask->instance, delta->spec, delta->reason,
                                       delta->warnings.items, delta->warnings.count));
}

static void ask_remove(struct ask *ask)
{
    struct delta *delta = CONTAINER_OF(ask, struct delta, ask);

    ask_answer(ask, sink_of(ask)->fn_remove(sink_of(ask)->arg, ask->instance, delta->ns,
                                            delta->name, delta->generation));
}

static void ask_endpoints(struct ask *ask)
{
    struct delta *delta = CONTAINER_OF(ask, struct delta, ask);

    ask_answer(ask,
               sink_of(ask)->endpoints_set(sink_of(ask)->arg, ask->instance, delta->ns, delta->name,
                                           delta->generation, delta->endpoints, delta->count));
}

static int32_t push(struct fng_instance *handle, struct delta *delta,
                    void (*question)(struct ask *ask))
{
    struct instance *instance = host_instance(handle);

    if (instance->plugin->descriptor.kind != FNG_KIND_PROVIDER)
        return FNG_E_UNSUPPORTED;
    return ask_control(instance, &delta->ask, question);
}

static int32_t host_snapshot_begin(struct fng_instance *handle)
{
    struct delta delta;

    return push(handle, &delta, ask_begin);
}

static int32_t host_snapshot_commit(struct fng_instance *handle)
{
    struct delta delta;

    return push(handle, &delta, ask_commit);
}

static int32_t host_snapshot_abort(struct fng_instance *handle)
{
    struct delta delta;

    return push(handle, &delta, ask_abort);
}

/* Says which field of a delta is wrong, as the failure of the current call. */
static int32_t refuse_delta(struct fng_instance *handle, const char *field, const char *why)
{
    return host_fail(handle, FNG_E_INVALID, fng_str_from(field), fng_str_from(why), 0);
}

static int32_t host_fn_upsert(struct fng_instance *handle, const struct fng_function_state *state)
{
    const struct fng_function *function;
    struct delta delta = {0};
    int32_t result;

    if (!state || state->size < sizeof(*state) || !state->function)
        return refuse_delta(handle, "function", "fn_upsert got no function, or too small a size");
    function = state->function;
    if (function->size < sizeof(*function))
        return refuse_delta(handle, "size", "fn_upsert got a function with too small a size");
    if (function->name.len == 0 || function->ns.len == 0)
        return refuse_delta(handle, "name", "fn_upsert got a function without name or namespace");
    delta.spec = fn_spec_new(function);
    delta.reason = str_of(state->reason);
    delta.warnings = state->warnings;
    result = push(handle, &delta, ask_upsert);
    fn_spec_unref(delta.spec);
    return result;
}

static int32_t host_fn_remove(struct fng_instance *handle, struct fng_str ns, struct fng_str name,
                              uint64_t generation)
{
    struct delta delta = {.ns = str_of(ns), .name = str_of(name), .generation = generation};

    return push(handle, &delta, ask_remove);
}

static int32_t host_endpoints_set(struct fng_instance *handle, struct fng_str ns,
                                  struct fng_str name, uint64_t generation,
                                  const struct fng_endpoint *endpoints, size_t count, size_t stride)
{
    struct delta delta = {
        .ns = str_of(ns), .name = str_of(name), .generation = generation, .count = count};
    AUTO_FREE struct fng_endpoint *known = NULL;

    if (count > 0 && (!endpoints || stride < sizeof(*endpoints)))
        return refuse_delta(handle, "endpoints", "endpoints_set got too small a stride");
    known = xcalloc(count, sizeof(*known));
    for (size_t i = 0; i < count; i++) {
        memcpy(&known[i], (const char *)endpoints + i * stride, sizeof(*known));
        if (known[i].size < sizeof(*known) || known[i].state < FNG_ENDPOINT_STARTING ||
            known[i].state > FNG_ENDPOINT_DRAINING)
            return refuse_delta(handle, "endpoints",
                                "endpoints_set got an endpoint with too small a size or an "
                                "unknown state");
    }
    delta.endpoints = known;
    return push(handle, &delta, ask_endpoints);
}

/* ---- Health ---- */

struct health_event {
    struct event event;
    struct instance *instance;
    uint32_t state;
    char *why;
};

static void health_drop(struct event *event)
{
    struct health_event *health = CONTAINER_OF(event, struct health_event, event);

    mem_free(health->why);
    mem_free(health);
}

static void health_run(struct event *event)
{
    struct health_event *health = CONTAINER_OF(event, struct health_event, event);
    struct instance *instance = health->instance;
    bool is_change = instance->health != health->state;

    instance->health = health->state;
    XFREE(&instance->health_why);
    instance->health_why = TAKE_PTR(health->why);
    if (is_change)
        instance_changed(instance);
    health_drop(event);
}

static void host_health(struct fng_instance *handle, uint32_t state, struct fng_str why)
{
    struct instance *instance = host_instance(handle);
    struct health_event *health;

    if (state > FNG_HEALTH_DOWN || !atomic_load(&instance->is_open))
        return;
    health = xcalloc(1, sizeof(*health));
    health->event = (struct event){.run = health_run, .drop = health_drop};
    health->instance = instance;
    health->state = state;
    health->why = str_dup(str_of(why));
    if (!inbox_post(instance->plugins, &health->event))
        health_drop(&health->event);
}

/* ---- Figures ---- */

static bool figure_name_is_valid(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return name.len > 0 && name.len <= NAME_MAX_LEN;
}

/* The figure of that name, made when there is room. Under figures_lock. */
static struct figure *figure_get(struct instance *instance, struct str name, bool is_counter)
{
    struct figure *figure;

    for (size_t i = 0; i < instance->figures_count; i++)
        if (str_eq(str_from(instance->figures[i].name), name))
            return &instance->figures[i];
    if (instance->figures_count == FIGURES_MAX)
        return NULL;
    figure = &instance->figures[instance->figures_count++];
    memcpy(figure->name, name.ptr, name.len);
    figure->is_counter = is_counter;
    return figure;
}

static void figure_change(struct fng_instance *handle, struct fng_str name, double value,
                          bool is_counter)
{
    struct instance *instance = host_instance(handle);
    struct figure *figure;

    if (!figure_name_is_valid(str_of(name))) {
        log_warn(instance->name, "metric name '%.*s' must be [a-z0-9_], at most %d bytes",
                 STR_ARG(str_of(name)), NAME_MAX_LEN);
        return;
    }
    pthread_mutex_lock(&instance->figures_lock);
    figure = figure_get(instance, str_of(name), is_counter);
    if (figure)
        figure->value = is_counter ? figure->value + value : value;
    pthread_mutex_unlock(&instance->figures_lock);
    if (!figure)
        log_warn(instance->name, "metric '%.*s' is dropped: an instance may have %d",
                 STR_ARG(str_of(name)), FIGURES_MAX);
}

static void host_metric_add(struct fng_instance *handle, struct fng_str name, double delta)
{
    figure_change(handle, name, delta, true);
}

static void host_metric_set(struct fng_instance *handle, struct fng_str name, double value)
{
    figure_change(handle, name, value, false);
}

void instance_figures(const struct instance *instance,
                      void (*on_figure)(void *arg, struct str name, double value, bool is_counter),
                      void *arg)
{
    struct instance *lockable = (struct instance *)(uintptr_t)instance;
    struct figure figures[FIGURES_MAX];
    size_t count;

    pthread_mutex_lock(&lockable->figures_lock);
    count = instance->figures_count;
    memcpy(figures, instance->figures, count * sizeof(figures[0]));
    pthread_mutex_unlock(&lockable->figures_lock);
    for (size_t i = 0; i < count; i++)
        on_figure(arg, str_from(figures[i].name), figures[i].value, figures[i].is_counter);
}

/* ---- The table ---- */

void host_init(struct instance *instance)
{
    const struct plugins_config *config = &instance->plugins->config;

    instance->host = (struct fng_host){
        .size = sizeof(instance->host),
        .abi_major = FNG_ABI_MAJOR,
        .abi_minor = FNG_ABI_MINOR,
        .instance = (struct fng_instance *)(void *)instance,
        .log = host_log,
        .fail = host_fail,
        .deadline_ms = host_deadline_ms,
        .cancelled = host_cancelled,
        .cancel_fd = host_cancel_fd,
        .wait_ms = host_wait_ms,
        .monotonic_ms = host_monotonic_ms,
        .wall_ms = host_wall_ms,
        .snapshot_begin = host_snapshot_begin,
        .snapshot_commit = host_snapshot_commit,
        .snapshot_abort = host_snapshot_abort,
        .fn_upsert = host_fn_upsert,
        .fn_remove = host_fn_remove,
        .endpoints_set = host_endpoints_set,
        .health = host_health,
        .metric_add = host_metric_add,
        .metric_set = host_metric_set,
        .trace = host_trace,
        .name = fng_str_from(instance->name),
        .state_dir = fng_str_from(instance->state_dir),
        .libexec_dir = fng_str_from(config->libexec_dir),
    };
    host_init_kv(&instance->host);
}

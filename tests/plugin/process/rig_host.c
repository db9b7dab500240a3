/* The services that the rig offers to the provider: a store in memory, and a view of what is
 * pushed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Before cmocka.h, whose fail() is a macro. */
#include "rig_internal.h"

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct rig *of(struct fng_instance *instance)
{
    return (struct rig *)(void *)instance;
}

int64_t rig_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void copy_text(char *to, size_t cap, struct fng_str from)
{
    snprintf(to, cap, "%.*s", (int)from.len, from.ptr ? from.ptr : "");
}

static void host_log(struct fng_instance *instance, uint32_t level, struct fng_str text)
{
    (void)instance;
    if (getenv("RIG_VERBOSE"))
        fprintf(stderr, "# log %u: %.*s\n", level, (int)text.len, text.ptr);
}

static int32_t host_fail(struct fng_instance *instance, int32_t error, struct fng_str field,
                         struct fng_str text, uint32_t retry_after_ms)
{
    struct rig *rig = of(instance);

    (void)retry_after_ms;
    copy_text(rig->field, sizeof(rig->field), field);
    copy_text(rig->error, sizeof(rig->error), text);
    return error;
}

static int64_t host_deadline(struct fng_instance *instance)
{
    (void)instance;
    return -1;
}

static int32_t host_cancelled(struct fng_instance *instance)
{
    struct rig *rig = of(instance);
    int32_t is_cancelled;

    pthread_mutex_lock(&rig->lock);
    is_cancelled = rig->is_cancelled;
    pthread_mutex_unlock(&rig->lock);
    return is_cancelled;
}

static int32_t host_cancel_fd(struct fng_instance *instance)
{
    return of(instance)->cancel_fd;
}

static int32_t host_wait(struct fng_instance *instance, uint32_t ms)
{
    struct pollfd fd = {.fd = of(instance)->cancel_fd, .events = POLLIN};

    return poll(&fd, 1, (int)ms) > 0 ? FNG_E_CANCELLED : FNG_OK;
}

static int64_t host_wall(struct fng_instance *instance)
{
    (void)instance;
    return (int64_t)time(NULL) * 1000;
}

static int64_t host_monotonic(struct fng_instance *instance)
{
    (void)instance;
    return rig_now_ms();
}

static size_t find_record(struct rig *rig, struct fng_str key)
{
    size_t i = 0;

    while (i < RECORDS_MAX &&
           !(rig->records[i].key && fng_str_eq(fng_str_from(rig->records[i].key), key)))
        i++;
    return i;
}

static int32_t host_kv_put(struct fng_instance *instance, struct fng_str key, struct fng_str value,
                           uint64_t expected, uint64_t *ret_version)
{
    struct rig *rig = of(instance);
    size_t i;

    (void)expected;
    (void)ret_version;
    pthread_mutex_lock(&rig->lock);
    i = find_record(rig, key);
    for (size_t j = 0; i == RECORDS_MAX && j < RECORDS_MAX; j++)
        if (!rig->records[j].key)
            i = j;
    assert_true(i < RECORDS_MAX);
    if (!rig->records[i].key)
        rig->records[i].key = strndup(key.ptr, key.len);
    free(rig->records[i].value);
    rig->records[i].value = malloc(value.len + 1);
    memcpy(rig->records[i].value, value.ptr, value.len);
    rig->records[i].len = value.len;
    pthread_mutex_unlock(&rig->lock);
    return FNG_OK;
}

static int32_t host_kv_remove(struct fng_instance *instance, struct fng_str key, uint64_t expected)
{
    struct rig *rig = of(instance);
    size_t i;

    (void)expected;
    pthread_mutex_lock(&rig->lock);
    i = find_record(rig, key);
    if (i < RECORDS_MAX) {
        free(rig->records[i].key);
        free(rig->records[i].value);
        memset(&rig->records[i], 0, sizeof(rig->records[i]));
    }
    pthread_mutex_unlock(&rig->lock);
    return i < RECORDS_MAX ? FNG_OK : FNG_E_NOT_FOUND;
}

static int32_t host_kv_list(struct fng_instance *instance, struct fng_str prefix,
                            fng_kv_entry_f *on_entry, void *arg)
{
    struct rig *rig = of(instance);

    for (size_t i = 0; i < RECORDS_MAX; i++)
        if (rig->records[i].key && strncmp(rig->records[i].key, prefix.ptr, prefix.len) == 0)
            on_entry(arg, fng_str_from(rig->records[i].key),
                     fng_str_make(rig->records[i].value, rig->records[i].len), 1);
    return FNG_OK;
}

static int32_t host_snapshot(struct fng_instance *instance)
{
    (void)instance;
    return FNG_OK;
}

static int32_t host_commit(struct fng_instance *instance)
{
    struct rig *rig = of(instance);

    pthread_mutex_lock(&rig->lock);
    rig->is_synced = true;
    pthread_mutex_unlock(&rig->lock);
    return FNG_OK;
}

struct seen_function *rig_find_function(struct rig *rig, const char *name, bool make)
{
    struct seen_function *empty = NULL;

    for (size_t i = 0; i < FUNCTIONS_MAX; i++) {
        if (strcmp(rig->functions[i].name, name) == 0)
            return &rig->functions[i];
        if (!*rig->functions[i].name && !empty)
            empty = &rig->functions[i];
    }
    if (!make)
        return NULL;
    assert_non_null(empty);
    snprintf(empty->name, sizeof(empty->name), "%s", name);
    return empty;
}

static int32_t host_upsert(struct fng_instance *instance, const struct fng_function_state *state)
{
    struct rig *rig = of(instance);
    const struct fng_function *f = state->function;
    char name[64];
    struct rig_view *view;

    copy_text(name, sizeof(name), f->name);
    pthread_mutex_lock(&rig->lock);
    view = &rig_find_function(rig, name, true)->view;
    view->is_known = true;
    view->generation = f->generation;
    view->replicas = f->replicas;
    copy_text(view->reason, sizeof(view->reason), state->reason);
    copy_text(view->warning, sizeof(view->warning),
              state->warnings.count ? state->warnings.items[0] : FNG_STR(""));
    pthread_mutex_unlock(&rig->lock);
    return FNG_OK;
}

static void note_release(struct rig *rig, struct seen_endpoint *endpoint)
{
    if (endpoint->is_released || rig->to_release_count == RIG_ENDPOINTS_MAX)
        return;
    endpoint->is_released = true;
    rig->to_release[rig->to_release_count++] = endpoint->id;
}

static void note_left(struct rig *rig, struct seen_function *fn, const struct seen_function *now)
{
    for (size_t i = 0; i < fn->count; i++) {
        bool is_there = false;

        for (size_t j = 0; now && j < now->count; j++)
            is_there = is_there || now->endpoints[j].id == fn->endpoints[i].id;
        if (!is_there)
            note_release(rig, &fn->endpoints[i]);
    }
}

static int32_t host_remove(struct fng_instance *instance, struct fng_str ns, struct fng_str name,
                           uint64_t generation)
{
    struct rig *rig = of(instance);
    char text[64];
    struct seen_function *fn;

    (void)ns;
    (void)generation;
    copy_text(text, sizeof(text), name);
    pthread_mutex_lock(&rig->lock);
    fn = rig_find_function(rig, text, false);
    if (fn) {
        note_left(rig, fn, NULL);
        memset(fn, 0, sizeof(*fn));
    }
    pthread_mutex_unlock(&rig->lock);
    return FNG_OK;
}

static void read_endpoint(struct seen_endpoint *seen, const struct fng_endpoint *e)
{
    seen->id = e->id;
    seen->state = e->state;
    assert_true(e->address.len > 5 && memcmp(e->address.ptr, "unix:", 5) == 0);
    copy_text(seen->address, sizeof(seen->address),
              fng_str_make(e->address.ptr + 5, e->address.len - 5));
}

static int32_t host_endpoints(struct fng_instance *instance, struct fng_str ns, struct fng_str name,
                              uint64_t generation, const struct fng_endpoint *endpoints,
                              size_t count, size_t stride)
{
    struct rig *rig = of(instance);
    struct seen_function *fn, now = {0};
    char text[64];
    size_t ready = 0;

    (void)ns;
    (void)generation;
    assert_true(count <= RIG_ENDPOINTS_MAX);
    copy_text(text, sizeof(text), name);
    pthread_mutex_lock(&rig->lock);
    fn = rig_find_function(rig, text, true);
    for (size_t i = 0; i < count; i++) {
        read_endpoint(&now.endpoints[i], (const void *)((const char *)endpoints + i * stride));
        for (size_t j = 0; j < fn->count; j++)
            if (fn->endpoints[j].id == now.endpoints[i].id)
                now.endpoints[i].is_released = fn->endpoints[j].is_released;
        ready += now.endpoints[i].state == FNG_ENDPOINT_READY;
    }
    now.count = count;
    note_left(rig, fn, &now);
    memcpy(fn->endpoints, now.endpoints, sizeof(fn->endpoints));
    fn->count = count;
    for (size_t i = 0; i < count && !rig->is_holding; i++)
        if (fn->endpoints[i].state == FNG_ENDPOINT_DRAINING)
            note_release(rig, &fn->endpoints[i]);
    if (fn->was_ready && ready == 0)
        rig->had_gap = true;
    fn->was_ready = ready > 0;
    pthread_mutex_unlock(&rig->lock);
    return FNG_OK;
}

static void host_health(struct fng_instance *instance, uint32_t state, struct fng_str why)
{
    (void)state;
    host_log(instance, FNG_LOG_INFO, why);
}

void rig_host_init(struct rig *rig)
{
    rig->host = (struct fng_host){.size = sizeof(rig->host),
                                  .abi_minor = FNG_ABI_MINOR,
                                  .instance = (struct fng_instance *)(void *)rig,
                                  .log = host_log,
                                  .fail = host_fail,
                                  .deadline_ms = host_deadline,
                                  .cancelled = host_cancelled,
                                  .cancel_fd = host_cancel_fd,
                                  .wait_ms = host_wait,
                                  .monotonic_ms = host_monotonic,
                                  .wall_ms = host_wall,
                                  .kv_put = host_kv_put,
                                  .kv_remove = host_kv_remove,
                                  .kv_list = host_kv_list,
                                  .snapshot_begin = host_snapshot,
                                  .snapshot_commit = host_commit,
                                  .snapshot_abort = host_snapshot,
                                  .fn_upsert = host_upsert,
                                  .fn_remove = host_remove,
                                  .endpoints_set = host_endpoints,
                                  .health = host_health,
                                  .name = FNG_STR("process"),
                                  .state_dir = fng_str_from(rig->dir),
                                  .libexec_dir = FNG_STR(BIN_DIR)};
}

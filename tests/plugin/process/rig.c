/* A small gateway around the process provider. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Before cmocka.h, whose fail() is a macro. */
#include "rig.h"

#include <cmocka.h>

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_MS = 30000, STEP_MS = 2, FUNCTIONS_MAX = 16, RECORDS_MAX = 64, SETTINGS_MAX = 16 };

struct seen_endpoint {
    uint64_t id;
    uint32_t state;
    bool is_released;
    char address[RIG_ADDRESS_MAX];
};

struct seen_function {
    char name[64];
    struct rig_view view;
    struct seen_endpoint endpoints[RIG_ENDPOINTS_MAX];
    size_t count;
    bool was_ready;
};

struct rig {
    struct fng_host host;
    const struct fng_plugin *plugin;
    void *self;
    char dir[64];
    char settings[SETTINGS_MAX][2][128];
    size_t settings_count;
    pthread_t watcher;
    int cancel_fd;
    pthread_mutex_t lock; /* what follows */
    bool is_cancelled, is_synced, had_gap, is_holding;
    struct seen_function functions[FUNCTIONS_MAX];
    uint64_t to_release[RIG_ENDPOINTS_MAX];
    size_t to_release_count;
    struct {
        char *key, *value;
        size_t len;
    } records[RECORDS_MAX];
    char field[64], error[RIG_TEXT_MAX];
    uint64_t generation;
};

static struct rig *of(struct fng_instance *instance)
{
    return (struct rig *)(void *)instance;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void copy_text(char *to, size_t cap, struct fng_str from)
{
    snprintf(to, cap, "%.*s", (int)from.len, from.ptr ? from.ptr : "");
}

/* ---- Services ---- */

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
    return now_ms();
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

static struct seen_function *find_function(struct rig *rig, const char *name, bool make)
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
    view = &find_function(rig, name, true)->view;
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
    fn = find_function(rig, text, false);
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
    fn = find_function(rig, text, true);
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

/* ---- Life ---- */

static int64_t parse_setting(const char *text)
{
    static const struct {
        const char *unit;
        int64_t factor;
    } units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"Ki", 1024}, {"Mi", 1 << 20}};
    char *end;
    int64_t value = strtoll(text, &end, 10);

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(end, units[i].unit) == 0)
            return value * units[i].factor;
    fail_msg("not a setting that the rig understands: %s", text);
    return 0;
}

static void bind_setting(struct rig *rig, const struct fng_config_key *key, const char *text)
{
    char *at = (char *)rig->self + key->offset;
    struct fng_str s = fng_str_from(text);
    int32_t flag = strcmp(text, "true") == 0;
    int64_t number;

    if (key->type == FNG_CONF_STR) {
        memcpy(at, &s, sizeof(s));
    } else if (key->type == FNG_CONF_BOOL) {
        memcpy(at, &flag, sizeof(flag));
    } else {
        number = parse_setting(text);
        memcpy(at, &number, sizeof(number));
    }
}

static void bind_all(struct rig *rig)
{
    for (size_t i = 0; i < rig->plugin->config_count; i++) {
        const struct fng_config_key *key = &rig->plugin->config[i];
        const char *text = key->default_value;

        for (size_t j = 0; j < rig->settings_count; j++)
            if (strcmp(rig->settings[j][0], key->name) == 0)
                text = rig->settings[j][1];
        if (text)
            bind_setting(rig, key, text);
    }
}

struct rig *rig_new(void)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    fng_plugin_entry_f *entry;
    void *so = dlopen(PLUGIN_PATH, RTLD_NOW | RTLD_NODELETE);

    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (!so)
        fail_msg("%s", dlerror());
    *(void **)&entry = dlsym(so, FNG_PLUGIN_ENTRY_NAME);
    assert_non_null(entry);
    rig->plugin = entry(FNG_ABI_VERSION);
    strcpy(rig->dir, "/tmp/fngate-process-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    pthread_mutex_init(&rig->lock, NULL);
    rig->generation = 100;
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
    rig_set(rig, "stop_grace", "2s");
    return rig;
}

void rig_set(struct rig *rig, const char *key, const char *value)
{
    assert_true(rig->settings_count < SETTINGS_MAX);
    snprintf(rig->settings[rig->settings_count][0], 128, "%s", key);
    snprintf(rig->settings[rig->settings_count++][1], 128, "%s", value);
}

static void *watch(void *arg)
{
    struct rig *rig = arg;

    rig_ops(rig)->watch(rig->self);
    return NULL;
}

static bool is_synced(void *arg)
{
    struct rig *rig = arg;
    bool yes;

    pthread_mutex_lock(&rig->lock);
    yes = rig->is_synced;
    pthread_mutex_unlock(&rig->lock);
    return yes;
}

void rig_start(struct rig *rig)
{
    rig->self = calloc(1, rig->plugin->self_size);
    rig->cancel_fd = eventfd(0, EFD_CLOEXEC);
    rig->is_cancelled = rig->is_synced = false;
    memset(rig->functions, 0, sizeof(rig->functions));
    assert_int_equal(rig->plugin->load(rig->self, &rig->host), 0);
    bind_all(rig);
    assert_int_equal(rig->plugin->config_complete(rig->self), 0);
    if (rig->plugin->start(rig->self) != 0)
        fail_msg("start: %s", rig->error);
    assert_int_equal(pthread_create(&rig->watcher, NULL, watch, rig), 0);
    rig_until(is_synced, rig);
}

void rig_stop(struct rig *rig)
{
    if (!rig->self)
        return;
    pthread_mutex_lock(&rig->lock);
    rig->is_cancelled = true;
    pthread_mutex_unlock(&rig->lock);
    eventfd_write(rig->cancel_fd, 1);
    pthread_join(rig->watcher, NULL);
    rig->plugin->stop(rig->self);
    rig->plugin->unload(rig->self);
    close(rig->cancel_fd);
    free(rig->self);
    rig->self = NULL;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static bool has_no_process(void *arg)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    return rig_processes(arg) == 0 && rig_supervisor(arg) == 0;
}

/* A sanitizer that speaks in the supervisor has nobody else to tell. */
static void check_supervisor_log(struct rig *rig)
{
    static char text[65536];
    char path[128];
    size_t len;
    FILE *file;

    snprintf(path, sizeof(path), "%s/run/supervisor.log", rig->dir);
    file = fopen(path, "re");
    len = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
    text[len] = '\0';
    if (file)
        fclose(file);
    if (strstr(text, "Sanitizer") || strstr(text, "runtime error"))
        fail_msg("%s", text);
}

void rig_free(struct rig *rig)
{
    pid_t supervisor;

    rig_stop(rig);
    supervisor = rig_supervisor(rig);
    if (supervisor > 0)
        kill(supervisor, SIGTERM);
    rig_until(has_no_process, rig);
    check_supervisor_log(rig);
    for (size_t i = 0; i < RECORDS_MAX; i++) {
        free(rig->records[i].key);
        free(rig->records[i].value);
    }
    nftw(rig->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    pthread_mutex_destroy(&rig->lock);
    free(rig);
}

const char *rig_state_dir(const struct rig *rig)
{
    return rig->dir;
}

const struct fng_provider_ops *rig_ops(const struct rig *rig)
{
    return rig->plugin->operations;
}

void *rig_self(const struct rig *rig)
{
    return rig->self;
}

const char *rig_field(const struct rig *rig)
{
    return rig->field;
}

const char *rig_error(const struct rig *rig)
{
    return rig->error;
}

void rig_hold_releases(struct rig *rig, bool hold)
{
    pthread_mutex_lock(&rig->lock);
    rig->is_holding = hold;
    pthread_mutex_unlock(&rig->lock);
}

/* ---- Operations ---- */

static struct fng_kv_list pairs(const char *const (*from)[2], size_t max, struct fng_kv *to)
{
    size_t n = 0;

    while (n < max && from[n][0]) {
        to[n] = (struct fng_kv){fng_str_from(from[n][0]), fng_str_from(from[n][1])};
        n++;
    }
    return (struct fng_kv_list){to, n};
}

int32_t rig_deploy(struct rig *rig, const struct rig_function *given)
{
    static const char *const direct[][2] = {{"com.openfaas.process.mode", "direct"}};
    struct fng_kv env[3], annotations[3], limits[2];
    struct fng_str secret = fng_str_from(given->secret);
    bool is_plain = !given->image && !given->annotation[0][0];
    struct fng_function f = {
        .size = sizeof(f),
        .generation = ++rig->generation,
        .ns = FNG_STR(RIG_NS),
        .name = fng_str_from(given->name),
        .image = fng_str_from(given->image ? given->image : "process"),
        .env_process = fng_str_from(given->command || given->image ? given->command : ANSWERING),
        .env = pairs(given->env, 3, env),
        .annotations =
            is_plain ? pairs(direct, 1, annotations) : pairs(given->annotation, 3, annotations),
        .limits = pairs(given->limit, 2, limits),
        .secrets = {&secret, given->secret ? 1 : 0},
        .replicas = given->replicas ? given->replicas : 1};

    rig->field[0] = rig->error[0] = '\0';
    return given->is_update ? rig_ops(rig)->update(rig->self, &f)
                            : rig_ops(rig)->deploy(rig->self, &f);
}

int32_t rig_scale(struct rig *rig, const char *name, uint32_t replicas)
{
    return rig_ops(rig)->scale(rig->self, FNG_STR(RIG_NS), fng_str_from(name), replicas,
                               ++rig->generation);
}

int32_t rig_remove(struct rig *rig, const char *name)
{
    return rig_ops(rig)->remove(rig->self, FNG_STR(RIG_NS), fng_str_from(name), ++rig->generation);
}

/* ---- View and waiting ---- */

/* From the test's thread: the provider may not be called from inside a push. */
static void release_drained(struct rig *rig)
{
    uint64_t ids[RIG_ENDPOINTS_MAX];
    size_t count;

    pthread_mutex_lock(&rig->lock);
    count = rig->to_release_count;
    memcpy(ids, rig->to_release, sizeof(ids));
    rig->to_release_count = 0;
    pthread_mutex_unlock(&rig->lock);
    for (size_t i = 0; i < count && rig->self; i++)
        rig_ops(rig)->endpoint_released(rig->self, ids[i], rig->generation);
}

void rig_view(struct rig *rig, const char *name, struct rig_view *ret)
{
    const struct seen_function *fn;

    release_drained(rig);
    memset(ret, 0, sizeof(*ret));
    pthread_mutex_lock(&rig->lock);
    fn = find_function(rig, name, false);
    if (fn) {
        *ret = fn->view;
        ret->endpoints = fn->count;
        for (size_t i = 0; i < fn->count; i++) {
            const struct seen_endpoint *e = &fn->endpoints[i];

            ret->starting += e->state == FNG_ENDPOINT_STARTING;
            ret->draining += e->state == FNG_ENDPOINT_DRAINING;
            if (e->state == FNG_ENDPOINT_READY) {
                memcpy(ret->address[ret->ready], e->address, RIG_ADDRESS_MAX);
                ret->id[ret->ready++] = e->id;
            }
        }
    }
    pthread_mutex_unlock(&rig->lock);
}

void rig_until(bool (*condition)(void *arg), void *arg)
{
    int64_t end_ms = now_ms() + LIMIT_MS;

    while (!condition(arg)) {
        if (now_ms() > end_ms)
            fail_msg("what was waited for did not come");
        poll(NULL, 0, STEP_MS);
    }
}

void rig_wait(struct rig *rig, const char *name, rig_condition_f *condition, const void *arg,
              struct rig_view *ret)
{
    int64_t end_ms = now_ms() + LIMIT_MS;

    for (;;) {
        rig_view(rig, name, ret);
        if (condition(ret, arg))
            return;
        if (now_ms() > end_ms)
            fail_msg("%s: %zu endpoints, %zu ready, %zu starting, %zu draining; reason: %s", name,
                     ret->endpoints, ret->ready, ret->starting, ret->draining, ret->reason);
        poll(NULL, 0, STEP_MS);
    }
}

static bool is_ready(const struct rig_view *view, const void *arg)
{
    return view->is_known && view->ready == *(const size_t *)arg && view->endpoints == view->ready;
}

void rig_wait_ready(struct rig *rig, const char *name, size_t count, struct rig_view *ret)
{
    struct rig_view view;

    rig_wait(rig, name, is_ready, &count, ret ? ret : &view);
}

static bool has_reason(const struct rig_view *view, const void *arg)
{
    return strstr(view->reason, arg) != NULL;
}

void rig_wait_reason(struct rig *rig, const char *name, const char *text, struct rig_view *ret)
{
    struct rig_view view;

    rig_wait(rig, name, has_reason, text, ret ? ret : &view);
}

static bool is_gone(const struct rig_view *view, const void *arg)
{
    (void)arg;
    return !view->is_known && view->endpoints == 0;
}

void rig_wait_gone(struct rig *rig, const char *name)
{
    struct rig_view view;

    rig_wait(rig, name, is_gone, NULL, &view);
}

bool rig_had_gap(struct rig *rig)
{
    bool had_gap;

    pthread_mutex_lock(&rig->lock);
    had_gap = rig->had_gap;
    rig->had_gap = false;
    pthread_mutex_unlock(&rig->lock);
    return had_gap;
}

/* ---- Processes ---- */

int rig_get(const char *path, const char *target, char *body, size_t cap)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char text[8192] = "";
    const char *end;
    size_t len = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), n, status = 0;

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: f\r\n\r\n", target);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
        send(fd, text, (size_t)n, MSG_NOSIGNAL) == n) {
        ssize_t got;

        while (len < sizeof(text) - 1 &&
               (got = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
            len += (size_t)got;
        text[len] = '\0';
        end = strstr(text, "\r\n\r\n");
        if (end && sscanf(text, "HTTP/1.1 %d", &status) == 1 && body)
            snprintf(body, cap, "%s", end + 4);
    }
    close(fd);
    return status;
}

pid_t rig_pid(const char *socket)
{
    char body[32];

    assert_int_equal(rig_get(socket, "/pid", body, sizeof(body)), 200);
    return (pid_t)atoi(body);
}

static size_t read_proc(pid_t pid, const char *file, char *text, size_t cap)
{
    char path[64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = read(fd, text, cap - 1);
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return n < 0 ? 0 : (size_t)n;
}

/* Who listens at its socket; 0: nobody. */
pid_t rig_supervisor(struct rig *rig)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/run/supervisor.sock", rig->dir);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
    close(fd);
    return peer.pid;
}

void rig_kill_supervisor(struct rig *rig)
{
    pid_t pid = rig_supervisor(rig);

    if (pid > 0)
        kill(pid, SIGKILL);
}

size_t rig_processes(struct rig *rig)
{
    static char content[65536];
    struct dirent *entry;
    DIR *dir = opendir("/proc");
    size_t count = 0;
    char text[128];

    snprintf(text, sizeof(text), "FNGATE_STATE=%s/run", rig->dir);
    while ((entry = readdir(dir))) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        size_t len = pid > 0 ? read_proc(pid, "environ", content, sizeof(content)) : 0;

        count += len > 0 && memmem(content, len, text, strlen(text));
    }
    closedir(dir);
    return count;
}

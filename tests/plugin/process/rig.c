/* A small gateway around the process provider: its life, its operations, and waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Before cmocka.h, whose fail() is a macro. */
#include "rig_internal.h"

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

enum { LIMIT_MS = 30000, STEP_MS = 2 };

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
    rig_host_init(rig);
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
    struct rig *rig = arg;

    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    if (rig->supervisor > 0 && kill(rig->supervisor, 0) == 0)
        return false;
    return rig_processes(rig) == 0 && rig_supervisor(rig) == 0;
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
    rig_stop(rig);
    rig->supervisor = rig_supervisor(rig);
    if (rig->supervisor > 0)
        kill(rig->supervisor, SIGTERM);
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
    fn = rig_find_function(rig, name, false);
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
    int64_t end_ms = rig_now_ms() + LIMIT_MS;

    while (!condition(arg)) {
        if (rig_now_ms() > end_ms)
            fail_msg("what was waited for did not come");
        poll(NULL, 0, STEP_MS);
    }
}

void rig_wait(struct rig *rig, const char *name, rig_condition_f *condition, const void *arg,
              struct rig_view *ret)
{
    int64_t end_ms = rig_now_ms() + LIMIT_MS;

    for (;;) {
        rig_view(rig, name, ret);
        if (condition(ret, arg))
            return;
        if (rig_now_ms() > end_ms)
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

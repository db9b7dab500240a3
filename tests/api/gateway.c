/* See gateway.h. */
#include "gateway.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

enum { PATIENCE_S = 60, BODY_MAX = 64 << 10 };

/* ---- Waiting for loops ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void set_flag(bool *flag)
{
    pthread_mutex_lock(&lock);
    *flag = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_flag(const bool *flag)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&lock);
    while (!*flag)
        ASSERT(pthread_cond_timedwait(&changed, &lock, &until) == 0);
    pthread_mutex_unlock(&lock);
}

struct task {
    struct loop_msg msg;
    void (*run)(void *arg);
    void *arg;
    bool is_done;
};

static void task_run(struct loop_msg *msg)
{
    struct task *task = CONTAINER_OF(msg, struct task, msg);

    task->run(task->arg);
    set_flag(&task->is_done);
}

static void do_on(struct loop *loop, void (*run)(void *arg), void *arg)
{
    struct task task = {.msg.run = task_run, .run = run, .arg = arg};

    loop_post(loop, &task.msg);
    wait_flag(&task.is_done);
}

void gateway_do(struct gateway *gateway, void (*run)(void *arg), void *arg)
{
    do_on(gateway->control, run, arg);
}

/* ---- Steps that answer later ---- */

struct step {
    struct gateway *gateway;
    struct instance *instance;
    bool is_done;
    int32_t error;
};

static void step_done(void *arg, const struct plugin_result *result)
{
    struct step *step = arg;

    step->error = result->error;
    set_flag(&step->is_done);
}

static void step_start(void *arg)
{
    struct step *step = arg;

    instance_start(step->instance, step_done, step);
}

static void step_stop(void *arg)
{
    struct step *step = arg;

    instance_stop(step->instance, step_done, step);
}

static void step_load(void *arg)
{
    struct step *step = arg;

    catalog_load(step->gateway->catalog, step_done, step);
}

static void step_api_stop(void *arg)
{
    struct gateway *gateway = arg;

    api_stop(gateway->api);
}

static void take_step(struct gateway *gateway, void (*run)(void *arg), struct instance *instance)
{
    struct step step = {.gateway = gateway, .instance = instance};

    gateway_do(gateway, run, &step);
    wait_flag(&step.is_done);
    ASSERT(step.error == FNG_OK);
}

/* ---- Making ---- */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    ASSERT(file && fputs(text, file) >= 0 && fclose(file) == 0 && chmod(path, 0600) == 0);
}

static struct auth *make_auth(struct gateway *gateway, bool with_auth)
{
    struct auth *auth;
    struct err err;

    if (!with_auth)
        return auth_new_open();
    snprintf(gateway->user_file, sizeof(gateway->user_file), "%s/user", gateway->state_dir);
    snprintf(gateway->password_file, sizeof(gateway->password_file), "%s/password",
             gateway->state_dir);
    write_file(gateway->user_file, "admin\n");
    write_file(gateway->password_file, "pass:word\n");
    ASSERT(auth_new_basic(gateway->user_file, gateway->password_file, &auth, &err) == 0);
    return auth;
}

static struct instance *make_instance(struct gateway *gateway, const char *path, const char *name)
{
    struct instance *instance;
    struct plugin *plugin;
    struct err err;

    ASSERT(plugin_open(path, &plugin, &err) == 0);
    instance = instance_new(gateway->plugins, plugin, name, NULL, NULL, 0, &gateway->report);
    ASSERT(instance);
    return instance;
}

static void on_released(void *arg, uint32_t provider, uint64_t id, uint64_t generation)
{
    (void)arg, (void)provider, (void)id, (void)generation;
}

static void on_synced(void *arg)
{
    set_flag(arg);
}

static void on_request(void *arg, struct stream *s)
{
    api_handle(((struct gateway *)arg)->api, s);
}

static void on_metrics_request(void *arg, struct stream *s)
{
    api_handle_metrics(((struct gateway *)arg)->api, s);
}

static struct server *make_server(struct gateway *gateway, void (*run)(void *arg, struct stream *s),
                                  struct addr *ret)
{
    struct server *server = server_new(gateway->worker, &server_config_default, run, gateway);
    struct err err;
    int fd;

    ASSERT(addr_parse(STR("127.0.0.1:0"), ret, &err) == 0);
    fd = addr_listen(ret, 16, false, &err);
    ASSERT(server && fd >= 0 && getsockname(fd, &ret->any, &ret->len) == 0);
    ASSERT(server_listen(server, fd) == 0);
    return server;
}

static void make_core(struct gateway *gateway)
{
    struct catalog_config catalog = {
        .control = gateway->control, .default_ns = STR("openfaas-fn"), .timeout_ms = 60000};
    struct plugins_config plugins = {.control = gateway->control,
                                     .state_dir = gateway->state_dir,
                                     .libexec_dir = "/nonexistent",
                                     .control_threads = 4,
                                     .urgent_threads = 2,
                                     .read_threads = 4,
                                     .stream_threads = 8,
                                     .queue_max = 64,
                                     .start_timeout_ms = 30000,
                                     .stop_timeout_ms = 10000};

    gateway->domain = quiesce_new(gateway->control);
    quiesce_add_loop(gateway->domain, gateway->worker);
    gateway->routes = route_table_new(gateway->control, gateway->domain, 1, on_released, gateway);
    route_table_set_loop(gateway->routes, 0, gateway->worker);
    catalog.routes = gateway->routes;
    gateway->catalog = catalog_new(&catalog);
    plugins.sink = catalog_sink(gateway->catalog);
    gateway->plugins = plugins_new(&plugins);
    gateway->store = make_instance(gateway, BUNDLED_DIR "/store-memory.so", "memory");
    gateway->toy = make_instance(gateway, PLUGIN_DIR "/api-toy.so", "toy");
    instance_set_store(gateway->toy, gateway->store);
    catalog_set_store(gateway->catalog, gateway->store);
    catalog_add_provider(gateway->catalog,
                         &(struct catalog_provider){.instance = gateway->toy, .is_default = true});
}

static void make_api(struct gateway *gateway)
{
    struct api_config config = {.control = gateway->control,
                                .catalog = gateway->catalog,
                                .auth = gateway->auth,
                                .body_max = BODY_MAX,
                                .waiting_max = WAITING_MAX,
                                .version = "9.8.7",
                                .commit = "abcdef",
                                .openapi_file = "openapi: 3.1.0\n",
                                .is_upsert = gateway->is_upsert};

    gateway->api = api_new(&config);
    gateway->server = make_server(gateway, on_request, &gateway->addr);
    gateway->metrics_server = make_server(gateway, on_metrics_request, &gateway->metrics_addr);
}

void gateway_make(struct gateway *gateway, bool with_auth)
{
    static bool is_synced;

    *gateway = (struct gateway){.state_dir = "/tmp/fng-test-api-XXXXXX"};
    is_synced = false;
    ASSERT(mkdtemp(gateway->state_dir));
    conf_report_init(&gateway->report);
    gateway->control = loop_new("control");
    gateway->worker = loop_new("worker");
    gateway->auth = make_auth(gateway, with_auth);
    make_core(gateway);
    make_api(gateway);
    catalog_on_synced(gateway->catalog, on_synced, &is_synced);
    ASSERT(loop_spawn(gateway->control) == 0 && loop_spawn(gateway->worker) == 0);
    take_step(gateway, step_start, gateway->store);
    take_step(gateway, step_load, NULL);
    take_step(gateway, step_start, gateway->toy);
    wait_flag(&is_synced);
}

/* ---- The end ---- */

static void cut_servers(void *arg)
{
    struct gateway *gateway = arg;

    server_free(gateway->server);
    server_free(gateway->metrics_server);
}

static void free_control(void *arg)
{
    struct gateway *gateway = arg;

    plugins_free(gateway->plugins);
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

void gateway_free(struct gateway *gateway)
{
    gateway_do(gateway, step_api_stop, gateway);
    do_on(gateway->worker, cut_servers, gateway);
    take_step(gateway, step_stop, gateway->toy);
    take_step(gateway, step_stop, gateway->store);
    gateway_do(gateway, free_control, gateway);
    loop_stop(gateway->worker);
    loop_join(gateway->worker);
    loop_stop(gateway->control);
    loop_join(gateway->control);
    api_free(gateway->api);
    catalog_free(gateway->catalog);
    route_table_free(gateway->routes);
    quiesce_free(gateway->domain);
    loop_free(gateway->worker);
    loop_free(gateway->control);
    auth_free(gateway->auth);
    conf_report_free(&gateway->report);
    remove_tree(gateway->state_dir);
}

/* ---- The client ---- */

int gateway_send(const struct addr *to, const char *method, const char *path, const char *fields,
                 const char *body)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = PATIENCE_S};
    AUTO_FREE char *text =
        xasprintf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s"
                  "Content-Length: %zu\r\n\r\n%s",
                  method, path, fields ? fields : "", body ? strlen(body) : 0, body ? body : "");
    size_t len = strlen(text);

    ASSERT(fd >= 0 && connect(fd, &to->any, to->len) == 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ASSERT(send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len);
    return fd;
}

static struct answer read_answer(int fd)
{
    struct answer answer = {0};
    struct buf all;
    char space[4096], *end;
    ssize_t n;

    buf_init(&all, 0);
    while ((n = recv(fd, space, sizeof(space), 0)) > 0)
        (void)buf_add(&all, space, (size_t)n);
    close(fd);
    answer.head = buf_take(&all, NULL);
    buf_free(&all);
    end = strstr(answer.head, "\r\n\r\n");
    ASSERT(end && sscanf(answer.head, "HTTP/1.1 %u", &answer.status) == 1);
    answer.body = str_dup(str_from(end + 4));
    end[2] = '\0';
    return answer;
}

struct answer gateway_ask(const struct gateway *gateway, const char *method, const char *path,
                          const char *fields, const char *body)
{
    return read_answer(gateway_send(&gateway->addr, method, path, fields, body));
}

struct answer gateway_ask_metrics(const struct gateway *gateway, const char *path)
{
    return read_answer(gateway_send(&gateway->metrics_addr, "GET", path, NULL, NULL));
}

void answer_free(struct answer *answer)
{
    mem_free(answer->head);
    mem_free(answer->body);
}

void read_until(int fd, const char *text)
{
    char space[8192];
    size_t len = 0;
    ssize_t n;

    do {
        n = recv(fd, space + len, sizeof(space) - 1 - len, 0);
        ASSERT(n > 0);
        len += (size_t)n;
        space[len] = '\0';
    } while (!strstr(space, text));
}

/* A provider under test as a gateway runs it. One thread is in `watch`, one tells the provider
 * which endpoints are free of requests, the case's own threads call operations. */
#include "session.h"

#include "spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const char function_ns[] = "openfaas-fn";

enum { WATCH_BACK_OFF_MS = 50 };

static _Thread_local char last_text[1024];
static uint64_t last_generation = 1000;

/* ---- watch and releases ---- */

/* Once more into watch, or not any more? */
static bool begin_watch(struct session *session)
{
    bool is_over;

    pthread_mutex_lock(&session->watch_lock);
    is_over = session->is_watch_over;
    if (!is_over)
        call_begin(&session->watch_call, session->instance->host, NO_TIMEOUT);
    pthread_mutex_unlock(&session->watch_lock);
    return !is_over;
}

static void *watch_main(void *arg)
{
    struct session *session = arg;
    bool is_over;

    while (begin_watch(session)) {
        session->ops->watch(session->self);
        pthread_mutex_lock(&session->watch_lock);
        call_end(&session->watch_call);
        is_over = session->is_watch_over;
        pthread_mutex_unlock(&session->watch_lock);
        if (!is_over)
            sleep_ms(WATCH_BACK_OFF_MS);
    }
    __atomic_store_n(&session->has_watch_ended, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void *release_main(void *arg)
{
    struct session *session = arg;
    uint64_t id, generation;

    while (view_next_release(session->view, &id, &generation)) {
        struct call call;

        if (!session->ops->endpoint_released)
            continue;
        call_begin(&call, session->instance->host, OPERATION_TIMEOUT_MS);
        session->ops->endpoint_released(session->self, id, generation);
        call_end(&call);
    }
    return NULL;
}

void session_watch(struct session *session)
{
    session->is_watch_over = false;
    session->has_watch_ended = 0;
    CHECK(pthread_create(&session->watch_thread, NULL, watch_main, session) == 0,
          "the tool cannot start a thread");
}

void session_end_watch(struct session *session)
{
    int64_t begin_ms = now_ms();

    pthread_mutex_lock(&session->watch_lock);
    session->is_watch_over = true;
    if (session->watch_call.timer_fd >= 0)
        call_cancel(&session->watch_call);
    pthread_mutex_unlock(&session->watch_lock);
    while (!__atomic_load_n(&session->has_watch_ended, __ATOMIC_ACQUIRE)) {
        CHECK(now_ms() - begin_ms < CANCEL_LIMIT_MS,
              "watch did not return within %d ms of being cancelled: poll host->cancel_fd",
              CANCEL_LIMIT_MS);
        sleep_ms(2);
    }
    pthread_join(session->watch_thread, NULL);
}

void skip_generations(unsigned count)
{
    __atomic_add_fetch(&last_generation, count, __ATOMIC_RELAXED);
}

void session_end_releases(struct session *session)
{
    view_end_releases(session->view);
    pthread_join(session->release_thread, NULL);
}

/* ---- Life ---- */

struct session *session_start(struct case_context *context)
{
    struct session *session = must_zalloc(sizeof(*session));
    char *file = must_printf("%s/kv", context->dir);

    session->context = context;
    session->ops = context->plugin->operations;
    session->wait_ms = context->options->wait_ms;
    session->kv = kv_new(file);
    session->view = view_new();
    session->watch_call.timer_fd = -1;
    free(file);
    /* What the provider stored may quote any generation that was given before. */
    for (uint64_t generation = 1001; generation <= last_generation; generation++)
        view_give_generation(session->view, generation);
    pthread_mutex_init(&session->watch_lock, NULL);
    session->instance = case_start(context, "provider", session->kv, session->view);
    session->self = session->instance->self;
    CHECK(pthread_create(&session->release_thread, NULL, release_main, session) == 0,
          "the tool cannot start a thread");
    return session;
}

struct session *session_open(struct case_context *context)
{
    struct session *session = session_start(context);

    session_watch(session);
    CHECK(view_wait_commits(session->view, 1, session->wait_ms),
          "watch committed no snapshot within %lld ms", (long long)session->wait_ms);
    return session;
}

void session_free(struct session *session)
{
    case_close(session->instance);
    view_free(session->view);
    kv_free(session->kv);
    pthread_mutex_destroy(&session->watch_lock);
    free(session);
}

void session_close(struct session *session)
{
    instance_drain(session->instance);
    session_end_watch(session);
    session_end_releases(session);
    instance_stop(session->instance);
    session_free(session);
}

/* ---- Operations ---- */

uint64_t next_generation(struct session *session)
{
    uint64_t generation = __atomic_add_fetch(&last_generation, 1, __ATOMIC_RELAXED);

    view_give_generation(session->view, generation);
    return generation;
}

const char *session_text(void)
{
    return last_text[0] ? last_text : NO_TEXT;
}

static void begin(struct session *session, struct call *call)
{
    call_begin(call, session->instance->host, OPERATION_TIMEOUT_MS);
}

static int32_t end(struct call *call, int32_t error)
{
    snprintf(last_text, sizeof(last_text), "%s", call->text);
    call_end(call);
    return error;
}

/* A function to deploy, and the lists that it points to. */
struct deployable {
    struct fng_function function;
    struct fng_kv *env, *annotations;
    struct fng_kv label;
    struct fng_str secret;
};

/* Settings of one kind ("env", "annotation") and one of our own, as a list of pairs. */
static struct fng_kv *pairs_of(const struct settings *settings, const char *kind, struct fng_kv own,
                               struct fng_kv_list *ret)
{
    struct fng_kv *pairs = must_zalloc((settings->count + 1) * sizeof(*pairs));
    size_t count = 0;

    pairs[count++] = own;
    for (size_t i = 0; i < settings->count; i++)
        if (strcmp(settings->items[i].key, kind) == 0)
            pairs[count++] = (struct fng_kv){fng_str_from(settings->items[i].sub),
                                             fng_str_from(settings->items[i].value)};
    *ret = (struct fng_kv_list){pairs, count};
    return pairs;
}

static void deployable_init(struct deployable *d, const struct session *session)
{
    const struct options *options = session->context->options;
    struct fng_function *function = &d->function;

    memset(d, 0, sizeof(*d));
    d->env = pairs_of(&options->function, "env",
                      (struct fng_kv){FNG_STR("FNGATE_CHECK"), FNG_STR("a=b c")}, &function->env);
    d->annotations =
        pairs_of(&options->function, "annotation",
                 (struct fng_kv){FNG_STR("example.com/check"), FNG_STR("it's \"quoted\", {a: b}")},
                 &function->annotations);
    d->label = (struct fng_kv){FNG_STR("com.example.check"), FNG_STR("one")};
    function->size = sizeof(*function);
    function->labels = (struct fng_kv_list){&d->label, 1};
    function->ns = fng_str_from(function_ns);
    function->image = fng_str_from(options->image);
    function->env_process = fng_str_from(options->env_process);
    function->created_ms = INT64_C(1700000000000);
}

static void deployable_free(struct deployable *d)
{
    free(d->env);
    free(d->annotations);
}

typedef int32_t deploy_f(void *self, const struct fng_function *function);

static int32_t call_deploy(struct session *session, deploy_f *operation, const char *name,
                           struct deployable *d, uint32_t replicas, uint64_t generation)
{
    struct call call;
    int32_t error;

    d->function.name = fng_str_from(name);
    d->function.replicas = replicas;
    d->function.generation = generation;
    begin(session, &call);
    error = end(&call, operation(session->self, &d->function));
    deployable_free(d);
    return error;
}

int32_t try_deploy_image(struct session *session, const char *name, const char *image)
{
    struct deployable d;

    deployable_init(&d, session);
    d.function.image = fng_str_from(image);
    return call_deploy(session, session->ops->deploy, name, &d, 1, next_generation(session));
}

int32_t try_deploy_with_secret(struct session *session, const char *name, const char *secret)
{
    struct deployable d;

    deployable_init(&d, session);
    d.secret = fng_str_from(secret);
    d.function.secrets = (struct fng_str_list){&d.secret, 1};
    return call_deploy(session, session->ops->deploy, name, &d, 1, next_generation(session));
}

void check_spec(struct session *session, const char *name)
{
    const struct view_function *function;
    struct deployable d;
    char *wanted, *missing;

    deployable_init(&d, session);
    wanted = spec_text(&d.function);
    deployable_free(&d);
    function = view_lock(session->view, function_ns, name);
    CHECK(function, "%s is not known", name);
    missing = spec_missing(wanted, function->spec);
    view_unlock(session->view);
    CHECK(!missing, "fn_upsert of %s lacks what was deployed: %s", name, missing);
    free(wanted);
}

int32_t try_deploy(struct session *session, const char *name, uint32_t replicas,
                   uint64_t generation)
{
    struct deployable d;

    deployable_init(&d, session);
    return call_deploy(session, session->ops->deploy, name, &d, replicas, generation);
}

int32_t try_update(struct session *session, const char *name, uint32_t replicas,
                   uint64_t generation)
{
    struct deployable d;

    deployable_init(&d, session);
    return call_deploy(session, session->ops->update, name, &d, replicas, generation);
}

int32_t try_remove(struct session *session, const char *name, uint64_t generation)
{
    struct call call;

    begin(session, &call);
    return end(&call, session->ops->remove(session->self, fng_str_from(function_ns),
                                           fng_str_from(name), generation));
}

int32_t try_scale(struct session *session, const char *name, uint32_t replicas, uint64_t generation)
{
    struct call call;

    begin(session, &call);
    return end(&call, session->ops->scale(session->self, fng_str_from(function_ns),
                                          fng_str_from(name), replicas, generation));
}

int32_t try_activate(struct session *session, const char *name, uint64_t generation)
{
    struct call call;

    begin(session, &call);
    return end(&call, session->ops->activate(session->self, fng_str_from(function_ns),
                                             fng_str_from(name), 1, generation));
}

static void must_work(int32_t error, const char *what, const char *name)
{
    CHECK(error == 0, "%s of %s: %s: %s", what, name, error_name(error), session_text());
}

uint64_t must_deploy(struct session *session, const char *name, uint32_t replicas)
{
    uint64_t generation = next_generation(session);

    must_work(try_deploy(session, name, replicas, generation), "deploy", name);
    return generation;
}

uint64_t must_update(struct session *session, const char *name, uint32_t replicas)
{
    uint64_t generation = next_generation(session);

    must_work(try_update(session, name, replicas, generation), "update", name);
    return generation;
}

void must_remove(struct session *session, const char *name)
{
    must_work(try_remove(session, name, next_generation(session)), "remove", name);
}

uint64_t must_scale(struct session *session, const char *name, uint32_t replicas)
{
    uint64_t generation = next_generation(session);

    must_work(try_scale(session, name, replicas, generation), "scale", name);
    return generation;
}

uint64_t must_activate(struct session *session, const char *name)
{
    uint64_t generation = next_generation(session);

    must_work(try_activate(session, name, generation), "activate", name);
    return generation;
}

/* ---- Waiting ---- */

static bool has_ready(const void *arg, const struct view_function *function)
{
    return function && view_count_state(function, FNG_ENDPOINT_READY) == *(const unsigned *)arg &&
           view_count_state(function, FNG_ENDPOINT_STARTING) == 0;
}

static bool is_gone(const void *arg, const struct view_function *function)
{
    (void)arg;
    return !function;
}

static bool is_unready(const void *arg, const struct view_function *function)
{
    (void)arg;
    return view_count_state(function, FNG_ENDPOINT_READY) == 0;
}

static bool has_generation(const void *arg, const struct view_function *function)
{
    return function && function->generation == *(const uint64_t *)arg;
}

void wait_ready(struct session *session, const char *name, unsigned count)
{
    const struct view_function *function;
    char text[512];

    if (view_wait(session->view, function_ns, name, has_ready, &count, session->wait_ms))
        return;
    function = view_lock(session->view, function_ns, name);
    snprintf(text, sizeof(text), "%u ready, %u starting%s%s",
             view_count_state(function, FNG_ENDPOINT_READY),
             view_count_state(function, FNG_ENDPOINT_STARTING),
             function && function->reason[0] ? ": " : "", function ? function->reason : "");
    view_unlock(session->view);
    case_fail("%s does not get %u ready endpoints within %lld ms: %s", name, count,
              (long long)session->wait_ms, text);
}

void wait_gone(struct session *session, const char *name)
{
    CHECK(view_wait(session->view, function_ns, name, is_gone, NULL, session->wait_ms),
          "%s is still there %lld ms after its removal: push fn_remove", name,
          (long long)session->wait_ms);
}

void wait_unready(struct session *session, const char *name)
{
    CHECK(view_wait(session->view, function_ns, name, is_unready, NULL, session->wait_ms),
          "%s still has ready endpoints after %lld ms", name, (long long)session->wait_ms);
}

void wait_generation(struct session *session, const char *name, uint64_t generation)
{
    CHECK(
        view_wait(session->view, function_ns, name, has_generation, &generation, session->wait_ms),
        "no fn_upsert of %s with generation %llu within %lld ms", name,
        (unsigned long long)generation, (long long)session->wait_ms);
}

struct view_endpoint ready_endpoint(struct session *session, const char *name)
{
    const struct view_function *function = view_lock(session->view, function_ns, name);
    struct view_endpoint found = {0, 0, NULL};

    for (size_t i = 0; function && !found.address && i < function->endpoint_count; i++)
        if (function->endpoints[i].state == FNG_ENDPOINT_READY) {
            found = function->endpoints[i];
            found.address = must_copy(fng_str_from(found.address));
        }
    view_unlock(session->view);
    CHECK(found.address, "%s has no ready endpoint", name);
    return found;
}

void check_breach(struct session *session, enum breach breach)
{
    const char *text = view_breach(session->view, breach);

    CHECK(!text, "%s", text);
}

/* ---- Reasons to skip ---- */

const char *needs_deploy(const struct fng_plugin *plugin)
{
    const struct fng_provider_ops *ops = plugin->operations;

    return ops->deploy && ops->update && ops->remove ? NULL : "plugin has no deploy";
}

const char *needs_scale_to_zero(const struct fng_plugin *plugin)
{
    const struct fng_provider_ops *ops = plugin->operations;

    if (needs_deploy(plugin))
        return needs_deploy(plugin);
    if (!(plugin->capabilities & FNG_PROVIDER_CAN_SCALE_TO_ZERO))
        return "plugin cannot scale to zero";
    return ops->activate ? NULL : "plugin has no activate";
}

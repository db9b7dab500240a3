/* Provider cases: logs, secrets, usage, namespaces: what a provider may leave out. */
#include "provider_cases.h"

#include <stdio.h>
#include <stdlib.h>

/* A stream that ends by itself does so within this time. */
enum { QUIET_MS = 200 };

/* ---- Logs ---- */

const char *needs_logs(const struct fng_plugin *plugin)
{
    const struct fng_provider_ops *ops = plugin->operations;

    return needs_deploy(plugin) ? needs_deploy(plugin) : ops->logs ? NULL : "plugin has no logs";
}

/* One call of `logs` on a thread of its own. */
struct reader {
    struct session *session;
    bool follow;
    int64_t tail, since_ms;
    unsigned stop_after; /* lines; 0: reads all */
    pthread_t thread;
    struct call call;
    int is_begun, is_over; /* atomic */
    pthread_barrier_t end; /* call may be cancelled until both sides are here */
    unsigned lines;        /* atomic */
    unsigned lines_after_stop;
    int32_t error;
};

static int32_t take_line(void *arg, const struct fng_log_line *line)
{
    struct reader *reader = arg;
    unsigned lines = __atomic_add_fetch(&reader->lines, 1, __ATOMIC_ACQ_REL);

    CHECK(line->size >= offsetof(struct fng_log_line, text) + sizeof(line->text),
          "a log line has size %u", line->size);
    CHECK(!memchr(line->text.ptr ? line->text.ptr : "", '\n', line->text.len),
          "a log line holds a line end");
    if (reader->stop_after && lines > reader->stop_after)
        reader->lines_after_stop++;
    return reader->stop_after && lines >= reader->stop_after;
}

static void *reader_main(void *arg)
{
    struct reader *reader = arg;
    struct fng_log_query query = {.size = sizeof(query)};

    query.follow = reader->follow;
    query.ns = fng_str_from(function_ns);
    query.name = FNG_STR("one");
    query.tail = reader->tail;
    query.since_ms = reader->since_ms;
    call_begin(&reader->call, reader->session->instance->host, NO_TIMEOUT);
    __atomic_store_n(&reader->is_begun, 1, __ATOMIC_RELEASE);
    reader->error = reader->session->ops->logs(reader->session->self, &query, take_line, reader);
    __atomic_store_n(&reader->is_over, 1, __ATOMIC_RELEASE);
    pthread_barrier_wait(&reader->end);
    call_end(&reader->call);
    return NULL;
}

static void reader_begin(struct reader *reader)
{
    pthread_barrier_init(&reader->end, NULL, 2);
    CHECK(pthread_create(&reader->thread, NULL, reader_main, reader) == 0,
          "the tool cannot start a thread");
    while (!__atomic_load_n(&reader->is_begun, __ATOMIC_ACQUIRE))
        sleep_ms(1);
}

/* Waits for logs to return; false when it does not within the limit. */
static bool reader_join(struct reader *reader, int64_t limit_ms)
{
    int64_t begin_ms = now_ms();

    while (!__atomic_load_n(&reader->is_over, __ATOMIC_ACQUIRE)) {
        if (now_ms() - begin_ms >= limit_ms)
            return false;
        sleep_ms(2);
    }
    pthread_barrier_wait(&reader->end);
    pthread_join(reader->thread, NULL);
    pthread_barrier_destroy(&reader->end);
    return true;
}

static void cancel_and_join(struct reader *reader)
{
    call_cancel(&reader->call);
    CHECK(reader_join(reader, CANCEL_LIMIT_MS),
          "logs with follow did not return within %d ms of being cancelled: poll host->cancel_fd",
          CANCEL_LIMIT_MS);
}

/* Deploys "one" and makes it write to its log, if it ever does when it is called. */
static struct session *open_with_log(struct case_context *context)
{
    struct session *session = session_open(context);
    struct view_endpoint endpoint;

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    endpoint = ready_endpoint(session, "one");
    for (unsigned i = 0; i < 3; i++)
        probe_get(endpoint.address, session->wait_ms);
    free(endpoint.address);
    return session;
}

/* Until the log holds that many lines. Skips the case when the function does not write them. */
static void need_lines(struct session *session, unsigned count)
{
    struct reader reader = {.session = session, .follow = true, .tail = -1};
    int64_t begin_ms = now_ms();
    int64_t patience_ms = session->wait_ms < 3000 ? session->wait_ms : 3000;

    reader_begin(&reader);
    while (__atomic_load_n(&reader.lines, __ATOMIC_ACQUIRE) < count &&
           now_ms() - begin_ms < patience_ms)
        sleep_ms(2);
    cancel_and_join(&reader);
    if (reader.lines < count)
        case_skip("the function wrote %u log lines, %u are needed", reader.lines, count);
}

void case_logs_end_without_follow(struct case_context *context)
{
    struct session *session = open_with_log(context);
    struct reader reader = {.session = session, .tail = -1};

    reader_begin(&reader);
    CHECK(reader_join(&reader, session->wait_ms), "logs without follow did not return");
    CHECK(reader.error == 0, "logs: %s", error_name(reader.error));
    session_close(session);
}

void case_logs_follow_ends_when_cancelled(struct case_context *context)
{
    struct session *session = open_with_log(context);
    struct reader reader = {.session = session, .follow = true, .tail = -1};

    reader_begin(&reader);
    sleep_ms(QUIET_MS);
    CHECK(!__atomic_load_n(&reader.is_over, __ATOMIC_ACQUIRE),
          "logs with follow returned before it was cancelled: %s", error_name(reader.error));
    cancel_and_join(&reader);
    session_close(session);
}

void case_logs_stop_when_nobody_reads(struct case_context *context)
{
    struct session *session = open_with_log(context);
    struct reader reader = {.session = session, .follow = true, .tail = -1, .stop_after = 1};

    need_lines(session, 2);
    reader_begin(&reader);
    CHECK(reader_join(&reader, session->wait_ms), "on_line said stop and logs did not return");
    CHECK(reader.lines_after_stop == 0, "%u more lines came after on_line had said stop",
          reader.lines_after_stop);
    session_close(session);
}

void case_logs_tail(struct case_context *context)
{
    struct session *session = open_with_log(context);
    struct reader reader = {.session = session, .tail = 1};

    need_lines(session, 2);
    reader_begin(&reader);
    CHECK(reader_join(&reader, session->wait_ms), "logs without follow did not return");
    CHECK(reader.lines == 1, "%u lines came for tail 1", reader.lines);
    session_close(session);
}

void case_logs_since(struct case_context *context)
{
    struct session *session = open_with_log(context);
    struct reader reader = {.session = session, .tail = -1, .since_ms = INT64_C(4000000000000)};

    need_lines(session, 1);
    reader_begin(&reader);
    CHECK(reader_join(&reader, session->wait_ms), "logs without follow did not return");
    CHECK(reader.lines == 0, "%u lines came that are older than since_ms", reader.lines);
    session_close(session);
}

const char *needs_logs_and_scale_to_zero(const struct fng_plugin *plugin)
{
    return needs_logs(plugin) ? needs_logs(plugin) : needs_scale_to_zero(plugin);
}

void case_logs_follow_through_zero(struct case_context *context)
{
    struct session *session = open_with_log(context);
    struct reader reader = {.session = session, .follow = true, .tail = -1};

    reader_begin(&reader);
    must_scale(session, "one", 0);
    wait_ready(session, "one", 0);
    sleep_ms(QUIET_MS);
    must_activate(session, "one");
    wait_ready(session, "one", 1);
    sleep_ms(QUIET_MS);
    CHECK(!__atomic_load_n(&reader.is_over, __ATOMIC_ACQUIRE),
          "logs with follow returned when the function was scaled to zero");
    cancel_and_join(&reader);
    session_close(session);
}

/* ---- Secrets ---- */

const char *needs_secrets(const struct fng_plugin *plugin)
{
    const struct fng_provider_ops *ops = plugin->operations;

    return ops->secret_set && ops->secret_list && ops->secret_remove ? NULL
                                                                     : "plugin has no secrets";
}

const char *needs_secrets_and_deploy(const struct fng_plugin *plugin)
{
    return needs_secrets(plugin) ? needs_secrets(plugin) : needs_deploy(plugin);
}

static int32_t set_secret(struct session *session, const char *name, const char *value,
                          uint32_t mode)
{
    struct call call;
    int32_t error;

    call_begin(&call, session->instance->host, OPERATION_TIMEOUT_MS);
    error = session->ops->secret_set(session->self, fng_str_from(function_ns), fng_str_from(name),
                                     fng_str_from(value), mode);
    call_end(&call);
    return error;
}

static int32_t remove_secret(struct session *session, const char *name)
{
    struct call call;
    int32_t error;

    call_begin(&call, session->instance->host, OPERATION_TIMEOUT_MS);
    error =
        session->ops->secret_remove(session->self, fng_str_from(function_ns), fng_str_from(name));
    call_end(&call);
    return error;
}

struct count_name {
    const char *name;
    unsigned count;
};

static int32_t count_one(void *arg, struct fng_str name)
{
    struct count_name *wanted = arg;

    wanted->count += fng_str_eq(name, fng_str_from(wanted->name));
    return 0;
}

static unsigned count_secret(struct session *session, const char *name)
{
    struct count_name wanted = {name, 0};
    struct call call;
    int32_t error;

    call_begin(&call, session->instance->host, OPERATION_TIMEOUT_MS);
    error = session->ops->secret_list(session->self, fng_str_from(function_ns), count_one, &wanted);
    call_end(&call);
    CHECK(error == 0, "secret_list: %s", error_name(error));
    return wanted.count;
}

static void must_give(int32_t error, int32_t expected, const char *what)
{
    CHECK(error == expected, "%s gave %s instead of %s", what, error_name(error),
          error_name(expected));
}

void case_secret_create_twice(struct case_context *context)
{
    struct session *session = session_open(context);

    must_give(set_secret(session, "fngate-check-a", "one", FNG_SECRET_CREATE), 0, "create");
    must_give(set_secret(session, "fngate-check-a", "two", FNG_SECRET_CREATE), FNG_E_CONFLICT,
              "create of an existing secret");
    must_give(remove_secret(session, "fngate-check-a"), 0, "remove");
    session_close(session);
}

void case_secret_update_of_unknown(struct case_context *context)
{
    struct session *session = session_open(context);

    must_give(set_secret(session, "fngate-check-b", "one", FNG_SECRET_UPDATE), FNG_E_NOT_FOUND,
              "update of an unknown secret");
    CHECK(count_secret(session, "fngate-check-b") == 0, "a refused update created the secret");
    session_close(session);
}

void case_secret_list(struct case_context *context)
{
    struct session *session = session_open(context);

    must_give(set_secret(session, "fngate-check-c", "one", FNG_SECRET_CREATE), 0, "create");
    CHECK(count_secret(session, "fngate-check-c") == 1, "the secret is listed %u times",
          count_secret(session, "fngate-check-c"));
    must_give(set_secret(session, "fngate-check-c", "two", FNG_SECRET_UPDATE), 0, "update");
    CHECK(count_secret(session, "fngate-check-c") == 1, "an updated secret is listed %u times",
          count_secret(session, "fngate-check-c"));
    session_close(session);

    session = session_open(context);
    CHECK(count_secret(session, "fngate-check-c") == 1, "the secret is gone after a restart");
    must_give(remove_secret(session, "fngate-check-c"), 0, "remove");
    CHECK(count_secret(session, "fngate-check-c") == 0, "a removed secret is still listed");
    CHECK(remove_secret(session, "fngate-check-c") != 0, "a secret can be removed twice");
    session_close(session);
}

void case_secret_missing_at_deploy(struct case_context *context)
{
    struct session *session = session_open(context);

    must_give(try_deploy_with_secret(session, "one", "fngate-check-d"), FNG_E_INVALID,
              "deploy with a secret that does not exist");
    must_give(set_secret(session, "fngate-check-d", "one", FNG_SECRET_CREATE), 0, "create");
    must_give(try_deploy_with_secret(session, "one", "fngate-check-d"), 0,
              "deploy with a secret that exists");
    wait_ready(session, "one", 1);
    must_remove(session, "one");
    wait_gone(session, "one");
    must_give(remove_secret(session, "fngate-check-d"), 0, "remove");
    session_close(session);
}

/* ---- Usage ---- */

const char *needs_usage(const struct fng_plugin *plugin)
{
    const struct fng_provider_ops *ops = plugin->operations;

    return needs_deploy(plugin) ? needs_deploy(plugin) : ops->usage ? NULL : "plugin has no usage";
}

void case_usage_is_told(struct case_context *context)
{
    struct session *session = session_open(context);
    struct fng_usage usage = {.size = sizeof(usage), .cpu_millicores = -1};
    struct call call;
    int32_t error;

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    call_begin(&call, session->instance->host, OPERATION_TIMEOUT_MS);
    error = session->ops->usage(session->self, fng_str_from(function_ns), FNG_STR("one"), &usage);
    must_give(error, 0, "usage");
    CHECK(usage.cpu_millicores >= 0 && usage.cpu_millicores < 1e9, "usage gave %f millicores",
          usage.cpu_millicores);
    error =
        session->ops->usage(session->self, fng_str_from(function_ns), FNG_STR("nobody"), &usage);
    must_give(error, FNG_E_NOT_FOUND, "usage of an unknown function");
    call_end(&call);
    session_close(session);
}

/* ---- Namespaces ---- */

const char *needs_namespaces(const struct fng_plugin *plugin)
{
    const struct fng_provider_ops *ops = plugin->operations;

    return ops->namespace_set && ops->namespace_list && ops->namespace_remove
               ? NULL
               : "plugin has no namespaces";
}

static int32_t count_namespace(void *arg, const struct fng_namespace *ns)
{
    return count_one(arg, ns->name);
}

static unsigned count_namespaces(struct session *session)
{
    struct count_name wanted = {"fngate-check", 0};

    must_give(session->ops->namespace_list(session->self, count_namespace, &wanted), 0,
              "namespace_list");
    return wanted.count;
}

void case_namespaces(struct case_context *context)
{
    struct session *session = session_open(context);
    struct fng_namespace ns = {.size = sizeof(ns), .name = FNG_STR("fngate-check")};
    const struct fng_provider_ops *ops = session->ops;
    struct call call;

    call_begin(&call, session->instance->host, OPERATION_TIMEOUT_MS);
    must_give(ops->namespace_set(session->self, &ns, FNG_NAMESPACE_UPDATE), FNG_E_NOT_FOUND,
              "update of an unknown namespace");
    must_give(ops->namespace_set(session->self, &ns, FNG_NAMESPACE_CREATE), 0, "create");
    must_give(ops->namespace_set(session->self, &ns, FNG_NAMESPACE_CREATE), FNG_E_CONFLICT,
              "create of an existing namespace");
    CHECK(count_namespaces(session) == 1, "the namespace is not listed once");
    must_give(ops->namespace_remove(session->self, ns.name), 0, "remove");
    CHECK(count_namespaces(session) == 0, "a removed namespace is still listed");
    call_end(&call);
    session_close(session);
}

/* Provider cases: watch, restarts, stopping, leaks. */
#include "provider_cases.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Late work shows within this time. */
enum { QUIET_MS = 300, BYTES_PER_ROUND_MAX = 16384 };

/* ---- watch ---- */

void case_watch_ends_when_cancelled(struct case_context *context)
{
    struct session *session = session_open(context);

    session_end_watch(session);
    session_watch(session);
    session_close(session);
}

/* As after an error of the backend: the gateway calls watch again and wants the whole view. */
void case_watch_again_resyncs(struct case_context *context)
{
    bool is_able = !needs_deploy(context->plugin);
    struct session *session = session_open(context);
    unsigned commits;

    if (is_able) {
        must_deploy(session, "one", 1);
        wait_ready(session, "one", 1);
    }
    session_end_watch(session);
    commits = view_facts(session->view).commits;
    session_watch(session);
    CHECK(view_wait_commits(session->view, commits + 1, session->wait_ms),
          "watch was called again and committed no snapshot");
    if (is_able)
        wait_ready(session, "one", 1);
    check_breach(session, BREACH_SNAPSHOT);
    check_breach(session, BREACH_REUSED_ID);
    session_close(session);
}

/* ---- Restarts ---- */

static void check_in_snapshot(struct session *session, const char *name, uint64_t generation,
                              unsigned replicas)
{
    const struct view_function *function = view_lock(session->view, function_ns, name);

    CHECK(function, "%s is missing in the first snapshot after the restart", name);
    CHECK(function->generation == generation, "%s has generation %llu after the restart, not %llu",
          name, (unsigned long long)function->generation, (unsigned long long)generation);
    CHECK(function->replicas == replicas, "%s has %u replicas after the restart, not %u", name,
          function->replicas, replicas);
    view_unlock(session->view);
}

static void check_answers(struct session *session, const char *name)
{
    struct view_endpoint endpoint = ready_endpoint(session, name);
    int status = probe_get(endpoint.address, session->wait_ms);

    CHECK(status > 0, "endpoint %s of %s is ready after the restart and does not answer: %s",
          endpoint.address, name, strerror(-status));
    free(endpoint.address);
}

void case_restart_finds_functions(struct case_context *context)
{
    struct session *session = session_open(context);
    uint64_t one = must_deploy(session, "one", 1), two = must_deploy(session, "two", 1);

    wait_ready(session, "one", 1);
    wait_ready(session, "two", 1);
    session_close(session);

    session = session_open(context);
    check_in_snapshot(session, "one", one, 1);
    check_in_snapshot(session, "two", two, 1);
    wait_ready(session, "one", 1);
    wait_ready(session, "two", 1);
    check_answers(session, "one");
    check_answers(session, "two");
    session_close(session);
}

void case_restart_keeps_spec(struct case_context *context)
{
    struct session *session = session_open(context);

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    session_close(session);

    session = session_open(context);
    check_spec(session, "one");
    session_close(session);
}

void case_restart_keeps_scale(struct case_context *context)
{
    bool has_zero = !needs_scale_to_zero(context->plugin);
    struct session *session = session_open(context);
    uint64_t one, two = 0;

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    one = must_scale(session, "one", 2);
    wait_ready(session, "one", 2);
    if (has_zero) {
        must_deploy(session, "two", 1);
        wait_ready(session, "two", 1);
        two = must_scale(session, "two", 0);
        wait_ready(session, "two", 0);
    }
    session_close(session);

    session = session_open(context);
    check_in_snapshot(session, "one", one, 2);
    wait_ready(session, "one", 2);
    if (has_zero) {
        check_in_snapshot(session, "two", two, 0);
        wait_ready(session, "two", 0);
    }
    session_close(session);
}

void case_restart_forgets_removed(struct case_context *context)
{
    struct session *session = session_open(context);
    const struct view_function *function;

    must_deploy(session, "one", 1);
    must_deploy(session, "two", 1);
    wait_ready(session, "two", 1);
    must_remove(session, "one");
    wait_gone(session, "one");
    session_close(session);

    session = session_open(context);
    function = view_lock(session->view, function_ns, "one");
    CHECK(!function, "a function that was removed is there again after the restart");
    view_unlock(session->view);
    session_close(session);
}

/* Deploys in a child and is killed as soon as deploy has returned. */
static void deploy_and_be_killed(struct case_context *context, int fd)
{
    struct session *session = session_open(context);
    uint64_t generation = must_deploy(session, "one", 1);

    if (write(fd, &generation, sizeof(generation)) != (ssize_t)sizeof(generation))
        _exit(1);
    for (;;)
        pause();
}

/* What deploy acknowledged is durable. Replicas of the killed process may live on or not. */
void case_restart_after_kill(struct case_context *context)
{
    struct session *session;
    uint64_t generation;
    ssize_t got;
    int fds[2];
    pid_t child;

    CHECK(pipe(fds) == 0 && (child = fork()) >= 0, "the tool cannot fork: %s", strerror(errno));
    if (child == 0) {
        close(fds[0]);
        deploy_and_be_killed(context, fds[1]);
    }
    close(fds[1]);
    got = read(fds[0], &generation, sizeof(generation));
    close(fds[0]);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK(got == (ssize_t)sizeof(generation), "the process that deployed ended by itself");

    skip_generations(10);
    session = session_open(context);
    check_in_snapshot(session, "one", generation, 1);
    wait_ready(session, "one", 1);
    check_answers(session, "one");
    session_close(session);
}

/* ---- Stopping ---- */

void case_stop_within_limit(struct case_context *context)
{
    struct session *session = session_open(context);
    int64_t begin_ms;

    if (!needs_deploy(context->plugin)) {
        must_deploy(session, "one", 2);
        wait_ready(session, "one", 2);
        must_deploy(session, "starting", 1);
    }
    begin_ms = now_ms();
    session_close(session);
    CHECK(now_ms() - begin_ms < STOP_LIMIT_MS, "drain and stop took %lld ms, the limit is %d",
          (long long)(now_ms() - begin_ms), STOP_LIMIT_MS);
}

void case_silent_after_stop(struct case_context *context)
{
    struct session *session = session_open(context);
    int uses;

    if (!needs_deploy(context->plugin)) {
        must_deploy(session, "one", 1);
        wait_ready(session, "one", 1);
        must_deploy(session, "starting", 1);
    }
    instance_drain(session->instance);
    session_end_watch(session);
    session_end_releases(session);
    instance_stop(session->instance);
    sleep_ms(QUIET_MS);
    uses = __atomic_load_n(&session->instance->host->late_uses, __ATOMIC_ACQUIRE);
    CHECK(uses == 0, "%d host services were called after stop had returned", uses);
    session_free(session);
}

void case_no_thread_left_after_stop(struct case_context *context)
{
    unsigned before = count_threads(), left;
    struct session *session = session_open(context);

    if (!needs_deploy(context->plugin)) {
        must_deploy(session, "one", 2);
        wait_ready(session, "one", 2);
    }
    session_close(session);
    left = threads_left(before);
    CHECK(left == 0, "%u threads are left after stop: join them", left);
}

/* ---- Leaks ---- */

static void one_round(struct session *session)
{
    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    must_remove(session, "one");
    wait_gone(session, "one");
}

static unsigned rounds_of(const struct session *session)
{
    return session->context->options->is_slow ? 200 : 20;
}

void case_no_descriptor_leak(struct case_context *context)
{
    struct session *session = session_open(context);
    unsigned before, after;
    int64_t begin_ms;

    one_round(session);
    sleep_ms(QUIET_MS);
    before = count_descriptors();
    for (unsigned i = 0; i < rounds_of(session); i++)
        one_round(session);
    begin_ms = now_ms();
    while ((after = count_descriptors()) > before + 2 && now_ms() - begin_ms < session->wait_ms)
        sleep_ms(10);
    CHECK(after <= before + 2, "%u more descriptors are open after %u deploys and removals",
          after - before, rounds_of(session));
    session_close(session);
}

void case_memory_is_bounded(struct case_context *context)
{
    struct session *session = session_open(context);
    size_t before, after, bound;
    int64_t begin_ms;

    one_round(session);
    one_round(session);
    before = mallinfo2().uordblks;
    if (before == 0)
        case_skip("the allocator does not tell what it has given out");
    for (unsigned i = 0; i < rounds_of(session); i++)
        one_round(session);
    bound = before + (size_t)rounds_of(session) * BYTES_PER_ROUND_MAX;
    begin_ms = now_ms();
    while ((after = mallinfo2().uordblks) > bound && now_ms() - begin_ms < session->wait_ms)
        sleep_ms(10);
    CHECK(after <= bound, "%zu bytes more are in use after %u deploys and removals", after - before,
          rounds_of(session));
    session_close(session);
}

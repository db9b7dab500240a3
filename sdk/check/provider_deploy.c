/* Provider cases: what is deployed, updated and removed is told and answers. */
#include "provider_cases.h"

#include <stdio.h>
#include <stdlib.h>

/* What a late delta needs to show up. */
enum { QUIET_MS = 300, THREADS = 8 };

void case_snapshot_is_committed(struct case_context *context)
{
    struct session *session = session_open(context);

    check_breach(session, BREACH_SNAPSHOT);
    check_breach(session, BREACH_FUNCTION);
    session_close(session);
}

/* A snapshot is what there is; removals come later or by absence. Functions are there already when
 * the second session begins, where the provider can deploy any. */
void case_snapshot_only_adds(struct case_context *context)
{
    bool is_able = !needs_deploy(context->plugin);
    struct session *session = session_open(context);

    if (is_able) {
        must_deploy(session, "one", 1);
        must_deploy(session, "two", 1);
        wait_ready(session, "two", 1);
        must_remove(session, "two");
        wait_gone(session, "two");
    }
    session_close(session);

    session = session_open(context);
    CHECK(view_facts(session->view).early_removals == 0,
          "fn_remove came before the first snapshot_commit");
    check_breach(session, BREACH_SNAPSHOT);
    session_close(session);
}

void case_deploy_is_told(struct case_context *context)
{
    struct session *session = session_open(context);
    uint64_t generation = must_deploy(session, "one", 1);
    const struct view_function *function;

    wait_generation(session, "one", generation);
    check_breach(session, BREACH_FUNCTION);
    function = view_lock(session->view, function_ns, "one");
    CHECK(function, "the function was told and is gone again");
    CHECK(function->replicas == 1, "fn_upsert has %u replicas, deployed was 1", function->replicas);
    view_unlock(session->view);
    check_spec(session, "one");
    session_close(session);
}

static void check_answers(struct session *session, const char *name)
{
    struct view_endpoint endpoint = ready_endpoint(session, name);
    int status = probe_get(endpoint.address, session->wait_ms);

    CHECK(status > 0, "endpoint %s of %s is ready and does not answer: %s", endpoint.address, name,
          strerror(-status));
    free(endpoint.address);
}

void case_deploy_becomes_ready(struct case_context *context)
{
    struct session *session = session_open(context);

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    check_answers(session, "one");
    session_close(session);
}

void case_addresses_parse(struct case_context *context)
{
    struct session *session = session_open(context);

    if (!needs_deploy(context->plugin)) {
        must_deploy(session, "one", 1);
        CHECK(view_wait_endpoints(session->view, session->wait_ms), "endpoints_set was not called");
    }
    check_breach(session, BREACH_ADDRESS);
    check_breach(session, BREACH_ENDPOINT_STATE);
    session_close(session);
}

void case_endpoints_quote_known_generation(struct case_context *context)
{
    struct session *session = session_open(context);

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    must_scale(session, "one", 2);
    wait_ready(session, "one", 2);
    check_breach(session, BREACH_GENERATION);
    check_breach(session, BREACH_UNKNOWN);
    session_close(session);
}

void case_deploy_twice_is_harmless(struct case_context *context)
{
    struct session *session = session_open(context);
    uint64_t generation = must_deploy(session, "one", 1);
    struct view_endpoint before, after;
    int32_t error;

    wait_ready(session, "one", 1);
    before = ready_endpoint(session, "one");
    error = try_deploy(session, "one", 1, generation);
    CHECK(error == 0, "deploy with the same generation: %s: %s", error_name(error), session_text());
    sleep_ms(QUIET_MS);
    wait_ready(session, "one", 1);
    after = ready_endpoint(session, "one");
    CHECK(before.id == after.id, "deploy with the same generation replaced the replica");
    free(before.address);
    free(after.address);
    session_close(session);
}

void case_deploy_refuses_older_generation(struct case_context *context)
{
    struct session *session = session_open(context);
    uint64_t older = next_generation(session), newer = must_deploy(session, "one", 1);
    int32_t error = try_deploy(session, "one", 1, older);

    CHECK(error == FNG_E_CONFLICT, "deploy of generation %llu over %llu gave %s, not CONFLICT",
          (unsigned long long)older, (unsigned long long)newer, error_name(error));
    session_close(session);
}

void case_update_is_told(struct case_context *context)
{
    struct session *session = session_open(context);
    uint64_t generation;

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    generation = must_update(session, "one", 2);
    wait_generation(session, "one", generation);
    wait_ready(session, "one", 2);
    check_answers(session, "one");
    session_close(session);
}

/* No replica comes up, and the gateway can say why: at once or by a delta. */
static bool has_reason(const void *arg, const struct view_function *function)
{
    (void)arg;
    return function && function->reason[0];
}

void case_failure_is_explained(struct case_context *context)
{
    const char *image = context->options->bad_image;
    struct session *session;
    int32_t error;

    if (!image)
        case_skip("say with --bad-image what cannot run");
    session = session_open(context);
    error = try_deploy_image(session, "one", image);
    if (error == 0)
        CHECK(view_wait(session->view, function_ns, "one", has_reason, NULL, session->wait_ms),
              "deploy of image '%s' gave OK and no fn_upsert has a reason", image);
    else
        CHECK(strcmp(session_text(), NO_TEXT) != 0, "deploy of image '%s' gave %s without a text",
              image, error_name(error));
    session_close(session);
}

void case_update_of_unknown(struct case_context *context)
{
    struct session *session = session_open(context);
    int32_t error = try_update(session, "nobody", 1, next_generation(session));

    CHECK(error == FNG_E_NOT_FOUND, "update of an unknown function gave %s, not NOT_FOUND",
          error_name(error));
    session_close(session);
}

void case_remove_of_unknown(struct case_context *context)
{
    struct session *session = session_open(context);
    int32_t error = try_remove(session, "nobody", next_generation(session));

    CHECK(error == FNG_E_NOT_FOUND, "remove of an unknown function gave %s, not NOT_FOUND",
          error_name(error));
    session_close(session);
}

void case_remove_is_told(struct case_context *context)
{
    struct session *session = session_open(context);
    struct view_endpoint endpoint;
    int64_t begin_ms;

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    endpoint = ready_endpoint(session, "one");
    must_remove(session, "one");
    wait_gone(session, "one");
    begin_ms = now_ms();
    while (probe_get(endpoint.address, session->wait_ms) > 0) {
        CHECK(now_ms() - begin_ms < session->wait_ms, "%s still answers after the removal",
              endpoint.address);
        sleep_ms(5);
    }
    free(endpoint.address);
    session_close(session);
}

/* Removed while it is starting, while it is ready, and while it is being scaled. */
void case_late_delta_after_remove(struct case_context *context)
{
    struct session *session = session_open(context);

    for (unsigned i = 0; i < 6; i++) {
        must_deploy(session, "one", 1);
        if (i % 3 == 1)
            wait_ready(session, "one", 1);
        if (i % 3 == 2)
            must_scale(session, "one", 2);
        must_remove(session, "one");
        wait_gone(session, "one");
    }
    sleep_ms(QUIET_MS);
    check_breach(session, BREACH_LATE);
    session_close(session);
}

void case_deploy_after_remove(struct case_context *context)
{
    struct session *session = session_open(context);

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    must_remove(session, "one");
    wait_gone(session, "one");
    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    check_answers(session, "one");
    session_close(session);
}

/* Different functions at the same time, each through its whole life. */
static void live_and_die(unsigned index, void *arg)
{
    struct session *session = arg;
    char name[32];

    snprintf(name, sizeof(name), "thread-%u", index);
    must_deploy(session, name, 1);
    wait_ready(session, name, 1);
    must_scale(session, name, 2);
    wait_ready(session, name, 2);
    must_update(session, name, 1);
    wait_ready(session, name, 1);
    must_remove(session, name);
    wait_gone(session, name);
}

void case_operations_on_8_threads(struct case_context *context)
{
    struct session *session = session_open(context);

    run_threads(THREADS, live_and_die, session);
    for (int breach = 0; breach < BREACH_COUNT; breach++)
        check_breach(session, (enum breach)breach);
    session_close(session);
}

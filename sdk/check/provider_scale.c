/* Provider cases: replicas, their ids, and how they go. */
#include "provider_cases.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* How long a replica must outlive the moment it should have been waiting for. */
enum { PATIENCE_MS = 500 };

static void check_all_answer(struct session *session, const char *name)
{
    char *addresses[16];
    unsigned count = 0;
    const struct view_function *function = view_lock(session->view, function_ns, name);

    for (size_t i = 0; function && i < function->endpoint_count && count < COUNT_OF(addresses); i++)
        if (function->endpoints[i].state == FNG_ENDPOINT_READY)
            addresses[count++] = must_copy(fng_str_from(function->endpoints[i].address));
    view_unlock(session->view);

    for (unsigned i = 0; i < count; i++) {
        int status = probe_get(addresses[i], session->wait_ms);

        CHECK(status > 0, "endpoint %s is ready and does not answer: %s", addresses[i],
              strerror(-status));
        for (unsigned k = 0; k < i; k++)
            CHECK(strcmp(addresses[i], addresses[k]) != 0, "two replicas have the address %s",
                  addresses[i]);
    }
    for (unsigned i = 0; i < count; i++)
        free(addresses[i]);
}

static void check_replicas(struct session *session, const char *name, unsigned expected)
{
    const struct view_function *function = view_lock(session->view, function_ns, name);

    CHECK(function && function->replicas == expected, "fn_upsert has %u replicas, desired are %u",
          function ? function->replicas : 0, expected);
    view_unlock(session->view);
}

void case_scale_to_three(struct case_context *context)
{
    struct session *session = session_open(context);
    uint64_t generation;

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    generation = must_scale(session, "one", 3);
    wait_generation(session, "one", generation);
    check_replicas(session, "one", 3);
    wait_ready(session, "one", 3);
    check_all_answer(session, "one");
    must_scale(session, "one", 1);
    wait_ready(session, "one", 1);
    session_close(session);
}

void case_scale_to_zero(struct case_context *context)
{
    struct session *session = session_open(context);
    uint64_t generation;

    must_deploy(session, "one", 2);
    wait_ready(session, "one", 2);
    generation = must_scale(session, "one", 0);
    wait_generation(session, "one", generation);
    check_replicas(session, "one", 0);
    wait_ready(session, "one", 0);
    session_close(session);
}

static void deploy_at_zero(struct session *session)
{
    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    must_scale(session, "one", 0);
    wait_ready(session, "one", 0);
}

void case_deploy_at_zero(struct case_context *context)
{
    struct session *session = session_open(context);
    uint64_t generation = must_deploy(session, "one", 0);

    wait_generation(session, "one", generation);
    sleep_ms(PATIENCE_MS);
    wait_ready(session, "one", 0);
    check_replicas(session, "one", 0);
    must_activate(session, "one");
    wait_ready(session, "one", 1);
    check_all_answer(session, "one");
    session_close(session);
}

void case_activate_from_zero(struct case_context *context)
{
    struct session *session = session_open(context);
    uint64_t generation;

    deploy_at_zero(session);
    generation = must_activate(session, "one");
    wait_ready(session, "one", 1);
    wait_generation(session, "one", generation);
    check_replicas(session, "one", 1);
    check_all_answer(session, "one");
    session_close(session);
}

/* Several requests may wait at once, and each may lead to a call. */
static void activate_in_thread(unsigned index, void *arg)
{
    (void)index;
    must_activate(arg, "one");
}

void case_activate_twice_is_harmless(struct case_context *context)
{
    struct session *session = session_open(context);

    deploy_at_zero(session);
    run_threads(2, activate_in_thread, session);
    wait_ready(session, "one", 1);
    must_activate(session, "one");
    sleep_ms(PATIENCE_MS);
    wait_ready(session, "one", 1);
    check_replicas(session, "one", 1);
    session_close(session);
}

void case_ids_are_distinct(struct case_context *context)
{
    struct session *session = session_open(context);

    must_deploy(session, "one", 2);
    must_deploy(session, "two", 2);
    wait_ready(session, "one", 2);
    wait_ready(session, "two", 2);
    check_breach(session, BREACH_DUPLICATE_ID);
    session_close(session);
}

/* What was seen before must not stand for another replica later, not even after a restart. */
void case_ids_are_never_reused(struct case_context *context)
{
    struct session *session = session_open(context);
    struct view_endpoint before, after;

    for (unsigned i = 0; i < 3; i++) {
        must_deploy(session, "one", 1);
        wait_ready(session, "one", 1);
        must_scale(session, "one", 2);
        wait_ready(session, "one", 2);
        must_scale(session, "one", 1);
        wait_ready(session, "one", 1);
        must_remove(session, "one");
        wait_gone(session, "one");
    }
    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    before = ready_endpoint(session, "one");
    check_breach(session, BREACH_REUSED_ID);
    must_remove(session, "one");
    wait_gone(session, "one");
    session_close(session);

    session = session_open(context);
    must_deploy(session, "two", 1);
    wait_ready(session, "two", 1);
    after = ready_endpoint(session, "two");
    CHECK(before.id != after.id, "after a restart id %llu stands for another replica",
          (unsigned long long)after.id);
    free(before.address);
    free(after.address);
    session_close(session);
}

/* ---- Going ---- */

struct open_request {
    struct view_endpoint endpoint;
    int fd;
};

/* A ready replica of "one" with a request under way. */
static struct open_request begin_request(struct session *session)
{
    struct open_request request;

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    request.endpoint = ready_endpoint(session, "one");
    request.fd = probe_begin(request.endpoint.address, session->wait_ms);
    CHECK(request.fd >= 0, "endpoint %s is ready and takes no request: %s",
          request.endpoint.address, strerror(-request.fd));
    view_hold(session->view, request.endpoint.id, true);
    return request;
}

static void finish_request(struct session *session, struct open_request *request, const char *when)
{
    int status;

    sleep_ms(PATIENCE_MS);
    status = probe_finish(request->fd, session->wait_ms);
    CHECK(status > 0,
          "a request that was under way at the %s failed (%s): the replica must live until "
          "endpoint_released",
          when, strerror(-status));
}

/* No process, no answer: waits until nothing listens there any more. */
static void wait_silent(struct session *session, const char *address)
{
    int64_t begin_ms = now_ms();

    while (probe_get(address, session->wait_ms) > 0) {
        CHECK(now_ms() - begin_ms < session->wait_ms,
              "%s still answers %lld ms after endpoint_released", address,
              (long long)session->wait_ms);
        sleep_ms(5);
    }
}

/* Down to nothing, by the means that the provider has. */
static void take_down(struct session *session)
{
    if (needs_scale_to_zero(session->context->plugin)) {
        must_scale(session, "one", 2);
        wait_ready(session, "one", 2);
        must_update(session, "one", 1);
        wait_ready(session, "one", 1);
        return;
    }
    must_scale(session, "one", 0);
    wait_ready(session, "one", 0);
}

void case_not_killed_before_release(struct case_context *context)
{
    struct session *session = session_open(context);
    struct open_request request = begin_request(session);

    take_down(session);
    finish_request(session, &request, "scaling down");
    view_hold(session->view, request.endpoint.id, false);
    free(request.endpoint.address);
    session_close(session);
}

/* The last replica still answers its last request; a new one does not wait for that. */
void case_activate_while_draining(struct case_context *context)
{
    struct session *session = session_open(context);
    struct open_request request = begin_request(session);

    must_scale(session, "one", 0);
    wait_unready(session, "one");
    must_activate(session, "one");
    wait_ready(session, "one", 1);
    check_breach(session, BREACH_REUSED_ID);
    check_breach(session, BREACH_ENDPOINT_STATE);
    check_all_answer(session, "one");
    finish_request(session, &request, "scaling to zero");
    view_hold(session->view, request.endpoint.id, false);
    free(request.endpoint.address);
    session_close(session);
}

static bool is_absent(const void *arg, const struct view_function *function)
{
    for (size_t i = 0; function && i < function->endpoint_count; i++)
        if (function->endpoints[i].id == *(const uint64_t *)arg)
            return false;
    return true;
}

void case_goes_after_release(struct case_context *context)
{
    struct session *session = session_open(context);
    struct view_endpoint endpoint;

    must_deploy(session, "one", 1);
    wait_ready(session, "one", 1);
    endpoint = ready_endpoint(session, "one");
    take_down(session);
    CHECK(view_wait(session->view, function_ns, "one", is_absent, &endpoint.id, session->wait_ms),
          "endpoint %llu stays in the set after endpoint_released",
          (unsigned long long)endpoint.id);
    wait_silent(session, endpoint.address);
    free(endpoint.address);
    session_close(session);
}

void case_remove_waits_for_requests(struct case_context *context)
{
    struct session *session = session_open(context);
    struct open_request request = begin_request(session);

    must_remove(session, "one");
    wait_unready(session, "one");
    finish_request(session, &request, "removal");
    view_hold(session->view, request.endpoint.id, false);
    wait_gone(session, "one");
    wait_silent(session, request.endpoint.address);
    free(request.endpoint.address);
    session_close(session);
}

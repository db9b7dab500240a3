/* Instances: what a call's outcome is, what the lanes promise, and that stopping always ends. */
#include "rig.h"

#include "base/mem.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A rig is static: a thread that was left behind may still look at its gate. */
#define RIG(rig, ...)                                                                              \
    static struct rig rig;                                                                         \
    rig_make(&rig, &(struct rig_options){__VA_ARGS__});                                            \
    rig_begin(&rig)

static void assert_deploy(struct rig *rig, const char *name, int32_t error, const char *text)
{
    struct outcome outcome;

    rig_deploy(&outcome, rig, name, 0);
    rig_wait_done(rig, &outcome);
    assert_string_equal(outcome.text, text);
    assert_int_equal(outcome.error, error);
}

/* ---- Results ---- */

static void results_are_normalised_and_have_a_text(void **state)
{
    struct outcome outcome;

    (void)state;
    RIG(rig, .more = "");
    assert_deploy(&rig, "fine", FNG_OK, "");
    assert_deploy(&rig, "returns-42", FNG_E_INTERNAL,
                  "deploy has returned 42, which is no result of the plugin ABI");
    assert_deploy(&rig, "says-nothing", FNG_E_UNAVAILABLE,
                  "deploy failed without saying why: the backend is unavailable");
    rig_deploy(&outcome, &rig, "has-no-image", 0);
    rig_wait_done(&rig, &outcome);
    assert_int_equal(outcome.error, FNG_E_INVALID);
    assert_string_equal(outcome.field, "image");
    assert_string_equal(outcome.text, "there is no image 'x'");

    rig_secrets(&outcome, &rig);
    rig_wait_done(&rig, &outcome);
    assert_int_equal(outcome.error, FNG_E_UNSUPPORTED);
    assert_string_equal(outcome.text, "provider probe has no operation 'secret_list'");
    assert_int_equal(rig_stats(&rig).errors, 4);
    rig_free(&rig);
}

static void reads_and_logs_bring_what_the_plugin_gave(void **state)
{
    struct outcome outcome;

    (void)state;
    RIG(rig, .more = "");
    rig_usage(&outcome, &rig);
    rig_wait_done(&rig, &outcome);
    assert_int_equal(outcome.count, 4096);
    rig_logs(&outcome, &rig, 0);
    rig_wait_done(&rig, &outcome);
    assert_int_equal(outcome.error, FNG_OK);
    assert_string_equal(outcome.value, "a line");
    assert_int_equal(outcome.count, 2);
    rig_free(&rig);
}

static void deltas_give_the_plugin_the_answer_of_the_sink(void **state)
{
    (void)state;
    RIG(rig, .more = "");
    assert_int_equal(rig.begun, 1);
    assert_int_equal(rig.upserts, 1);
    assert_int_equal(rig.endpoints, 1);
    assert_string_equal(rig.pushed, "function ns/seen x0\n"
                                    "endpoint 0000000000000007 127.0.0.1:1 state 2\n");
    assert_deploy(&rig, "conflicts", FNG_E_CONFLICT,
                  "deploy failed without saying why: a conflict");
    rig_free(&rig);
}

static void keys_go_to_the_store_below_the_instances_name(void **state)
{
    struct outcome outcome;

    (void)state;
    RIG(rig, .more = "");
    assert_deploy(&rig, "uses-store", FNG_OK, "");
    rig_get(&outcome, &rig, "plugin/probe/key");
    rig_wait_done(&rig, &outcome);
    assert_string_equal(outcome.value, "value");
    rig_get(&outcome, &rig, "plugin/probe/zero");
    rig_wait_done(&rig, &outcome);
    assert_int_equal(outcome.error, FNG_E_NOT_FOUND);
    rig_free(&rig);
}

struct seen {
    struct instance *instance;
    uint32_t health;
    char why[32], figures[64];
};

static void on_figure(void *arg, struct str name, double value, bool is_counter)
{
    struct seen *seen = arg;
    size_t len = strlen(seen->figures);

    snprintf(seen->figures + len, sizeof(seen->figures) - len, "%.*s=%g%s ", STR_ARG(name), value,
             is_counter ? "+" : "");
}

static void look(void *arg)
{
    struct seen *seen = arg;
    struct str why;

    seen->health = instance_health(seen->instance, &why);
    snprintf(seen->why, sizeof(seen->why), "%.*s", STR_ARG(why));
    instance_figures(seen->instance, on_figure, seen);
}

static void health_and_figures_are_kept(void **state)
{
    struct seen seen = {0};

    (void)state;
    RIG(rig, .more = "");
    assert_deploy(&rig, "fine", FNG_OK, "");
    assert_deploy(&rig, "fine", FNG_OK, "");
    seen.instance = rig.probe;
    rig_do(&rig, look, &seen);
    assert_int_equal(seen.health, FNG_HEALTH_DEGRADED);
    assert_string_equal(seen.why, "a disk is full");
    assert_string_equal(seen.figures, "deploys=2+ load=0.5 ");
    rig_free(&rig);
}

/* ---- Lanes ---- */

static void a_hung_deploy_delays_nobody_else(void **state)
{
    struct outcome hung, activate, scale, usage, logs;

    (void)state;
    RIG(rig, .more = "");
    gate_set(&rig.gate, GATE_DEPLOY, 1);
    rig_deploy(&hung, &rig, "hangs", 0);
    rig_wait_entered(&rig, GATE_DEPLOY, 1);

    rig_activate(&activate, &rig, "other");
    rig_scale(&scale, &rig, "other");
    rig_usage(&usage, &rig);
    rig_logs(&logs, &rig, 0);
    assert_deploy(&rig, "other", FNG_OK, "");
    rig_wait_done(&rig, &activate);
    rig_wait_done(&rig, &scale);
    rig_wait_done(&rig, &usage);
    rig_wait_done(&rig, &logs);
    assert_int_equal(activate.error | scale.error | usage.error | logs.error, FNG_OK);
    assert_false(hung.is_done);

    gate_set(&rig.gate, GATE_DEPLOY, 0);
    rig_wait_done(&rig, &hung);
    assert_int_equal(hung.error, FNG_OK);
    rig_free(&rig);
}

static void calls_about_one_function_wait_for_each_other(void **state)
{
    struct outcome first, second;

    (void)state;
    RIG(rig, .more = "");
    gate_set(&rig.gate, GATE_DEPLOY, 1);
    rig_deploy(&first, &rig, "hangs", 0);
    rig_wait_entered(&rig, GATE_DEPLOY, 1);
    rig_deploy(&second, &rig, "hangs", 30);
    rig_wait_done(&rig, &second);
    assert_int_equal(second.error, FNG_E_TIMEOUT);
    assert_non_null(strstr(second.text, "s for a thread: all are busy"));
    assert_int_equal(rig.gate.entered[GATE_DEPLOY], 1);

    gate_set(&rig.gate, GATE_DEPLOY, 0);
    rig_wait_done(&rig, &first);
    assert_int_equal(first.error, FNG_OK);
    assert_int_equal(rig_stats(&rig).late, 0);
    rig_free(&rig);
}

static void a_call_that_overruns_is_answered_and_its_late_result_dropped(void **state)
{
    struct outcome hung;
    struct instance_stats stats;

    (void)state;
    RIG(rig, .more = "");
    gate_set(&rig.gate, GATE_DEPLOY, 1);
    rig_deploy(&hung, &rig, "hangs", 30);
    rig_wait_done(&rig, &hung);
    assert_int_equal(hung.error, FNG_E_TIMEOUT);
    assert_non_null(strstr(hung.text, "deploy has not returned within "));
    stats = rig_stats(&rig);
    assert_int_equal(stats.timeouts, 1);
    assert_int_equal(stats.stuck, 1);
    assert_int_equal(stats.late, 0);

    gate_set(&rig.gate, GATE_DEPLOY, 0);
    rig_wait_left(&rig, GATE_DEPLOY, 1);
    do
        stats = rig_stats(&rig);
    while (stats.late == 0); /* its event is on the way */
    assert_int_equal(stats.stuck, 0);
    rig_free(&rig);
}

static void the_deadline_wakes_who_polls_the_cancel_descriptor(void **state)
{
    struct outcome outcome;

    (void)state;
    RIG(rig, .more = "");
    rig_deploy(&outcome, &rig, "waits-for-cancel", 30);
    rig_wait_left(&rig, GATE_DEPLOY, 1);
    assert_int_equal(rig.gate.answer, 1);
    rig_wait_done(&rig, &outcome);
    assert_true(outcome.error == FNG_E_TIMEOUT || outcome.error == FNG_E_CANCELLED);
    rig_free(&rig);
}

static void a_full_lane_refuses_at_once(void **state)
{
    struct outcome running, waiting, refused;

    (void)state;
    RIG(rig, .config = {.control_threads = 1, .queue_max = 1});
    gate_set(&rig.gate, GATE_DEPLOY, 1);
    rig_deploy(&running, &rig, "hangs", 0);
    rig_wait_entered(&rig, GATE_DEPLOY, 1);
    rig_deploy(&waiting, &rig, "waiting", 0);
    rig_deploy(&refused, &rig, "refused", 0);
    rig_wait_done(&rig, &refused);
    assert_int_equal(refused.error, FNG_E_LIMIT);
    assert_int_equal(refused.retry_after_ms, 1000);
    assert_string_equal(refused.text, "1 calls wait for this instance already; try again later");
    assert_int_equal(rig_stats(&rig).refused, 1);

    gate_set(&rig.gate, GATE_DEPLOY, 0);
    rig_wait_done(&rig, &running);
    rig_wait_done(&rig, &waiting);
    assert_int_equal(waiting.error, FNG_OK);
    rig_free(&rig);
}

static void streams_have_a_cap(void **state)
{
    struct outcome first, second;

    (void)state;
    RIG(rig, .config = {.stream_threads = 2}); /* watch has one */
    rig_logs(&first, &rig, 1);
    rig_wait_entered(&rig, GATE_LOGS, 1);
    rig_logs(&second, &rig, 1);
    rig_wait_done(&rig, &second);
    assert_int_equal(second.error, FNG_E_LIMIT);
    rig_free(&rig);
    assert_true(first.is_done);
}

static void cancel(void *arg)
{
    plugin_cancel(((struct outcome *)arg)->ticket);
}

static void cancelled_logs_end_and_deliver_no_more(void **state)
{
    struct outcome logs;

    (void)state;
    RIG(rig, .more = "");
    rig_logs(&logs, &rig, 1);
    rig_wait_entered(&rig, GATE_LOGS, 1);
    rig_do(&rig, cancel, &logs);
    rig_wait_done(&rig, &logs);
    assert_int_equal(logs.error, FNG_E_CANCELLED);
    assert_int_equal(logs.count, 1);
    rig_free(&rig);
}

static void watch_is_called_again_when_it_returns(void **state)
{
    (void)state;
    RIG(rig, .more = "short_watch: true\n");
    rig_wait_entered(&rig, GATE_WATCH, 3);
    rig_free(&rig);
    assert_true(rig.committed >= 3);
}

/* ---- Life ---- */

static void a_configuration_that_the_plugin_refuses_is_a_complaint(void **state)
{
    static struct rig rig;

    (void)state;
    rig_make(&rig, &(struct rig_options){.more = "refuse: true\n"});
    assert_null(rig.probe);
    assert_true(
        str_eq(buf_str(&rig.report.text), STR("test.yaml:1: probe: 'refuse' was asked for\n")));
    assert_int_equal(rig.gate.left[GATE_UNLOAD], 1);
    rig_free(&rig);
}

static void calls_before_start_are_refused(void **state)
{
    static struct rig rig;
    struct outcome outcome;

    (void)state;
    rig_make(&rig, &(struct rig_options){.more = ""});
    rig_scale(&outcome, &rig, "f");
    rig_wait_done(&rig, &outcome);
    assert_int_equal(outcome.error, FNG_E_UNAVAILABLE);
    assert_string_equal(outcome.text, "it has not started yet");
    rig_free(&rig);
}

static void a_start_that_hangs_fails_within_its_limit(void **state)
{
    static struct rig rig;
    struct outcome start, again, stop;

    (void)state;
    rig_make(&rig,
             &(struct rig_options){.config = {.start_timeout_ms = 30, .stop_timeout_ms = 200}});
    gate_set(&rig.gate, GATE_START, 1);
    rig_start(&start, &rig, rig.probe);
    rig_wait_done(&rig, &start);
    assert_int_equal(start.error, FNG_E_TIMEOUT);
    assert_int_equal(rig_state(&rig, rig.probe), INSTANCE_FAILED);
    rig_start(&again, &rig, rig.probe);
    rig_wait_done(&rig, &again);
    assert_string_equal(again.text, "the start before has not returned yet");

    rig_stop(&stop, &rig, rig.probe);
    rig_wait_done(&rig, &stop);
    assert_int_equal(stop.error, FNG_E_TIMEOUT);
    rig_free_plugins(&rig);
    gate_set(&rig.gate, GATE_START, 0);
    rig_wait_left(&rig, GATE_START, 1);
    rig_free(&rig);
    assert_int_equal(rig.gate.entered[GATE_STOP], 0);
    assert_int_equal(rig.gate.entered[GATE_UNLOAD], 0);
}

static void a_quiet_instance_stops_and_unloads(void **state)
{
    struct outcome stop;

    (void)state;
    RIG(rig, .more = "");
    rig_stop(&stop, &rig, rig.probe);
    rig_wait_done(&rig, &stop);
    assert_int_equal(stop.error, FNG_OK);
    assert_int_equal(rig_state(&rig, rig.probe), INSTANCE_STOPPED);
    assert_int_equal(rig.gate.left[GATE_DRAIN], 1);
    assert_int_equal(rig.gate.left[GATE_STOP], 1);
    assert_int_equal(rig.gate.left[GATE_UNLOAD], 1);
    rig_free(&rig);
}

static void stop_cancels_what_runs_and_refuses_what_waits(void **state)
{
    struct outcome logs, running, waiting, stop;

    (void)state;
    RIG(rig, .config = {.control_threads = 1});
    rig_logs(&logs, &rig, 1);
    rig_wait_entered(&rig, GATE_LOGS, 1);
    rig_deploy(&running, &rig, "waits-for-cancel", 0);
    rig_wait_entered(&rig, GATE_DEPLOY, 1);
    rig_deploy(&waiting, &rig, "other", 0);
    rig_stop(&stop, &rig, rig.probe);
    rig_wait_done(&rig, &stop);
    assert_true(logs.is_done && running.is_done && waiting.is_done);
    assert_int_equal(logs.error, FNG_E_CANCELLED);
    assert_int_equal(running.error, FNG_E_CANCELLED);
    assert_string_equal(waiting.text, "deploy was cancelled before it began");
    rig_free(&rig);
}

/* Stops while `op` hangs for ever; true when the stop reported that threads were left behind. */
static void assert_stop_ends_while(enum gate_op op, struct rig *rig)
{
    struct outcome stop, hung = {.is_done = true};

    gate_set(&rig->gate, op, 1);
    if (op == GATE_DEPLOY) {
        rig_deploy(&hung, rig, "hangs", 0);
        rig_wait_entered(rig, op, 1);
    }
    rig_stop(&stop, rig, rig->probe);
    rig_wait_done(rig, &stop);
    assert_int_equal(stop.error, FNG_E_TIMEOUT);
    assert_string_equal(stop.text, "calls of it have not returned; their threads were left behind");
    assert_true(hung.is_done);
    assert_int_equal(rig->gate.entered[GATE_UNLOAD], 0);
}

static void stop_ends_although_an_operation_hangs(void **state)
{
    (void)state;
    RIG(rig, .config = {.stop_timeout_ms = 200});
    assert_stop_ends_while(GATE_DEPLOY, &rig);
    assert_int_equal(rig_state(&rig, rig.probe), INSTANCE_STOPPED);

    /* It comes back while the control loop runs: dropped, and its services say no. */
    gate_set(&rig.gate, GATE_DEPLOY, 0);
    rig_wait_left(&rig, GATE_DEPLOY, 1);
    assert_int_equal(rig.gate.answer, FNG_E_CANCELLED);
    while (rig_stats(&rig).late == 0)
        continue;
    rig_free(&rig);
}

static void a_call_may_return_when_the_control_loop_is_gone(void **state)
{
    (void)state;
    RIG(rig, .config = {.stop_timeout_ms = 200});
    assert_stop_ends_while(GATE_DEPLOY, &rig);
    rig_free_plugins(&rig);
    gate_set(&rig.gate, GATE_DEPLOY, 0);
    rig_wait_left(&rig, GATE_DEPLOY, 1);
    assert_int_equal(rig.gate.answer, FNG_E_CANCELLED);
    rig_free(&rig);
}

static void stop_ends_although_drain_hangs(void **state)
{
    (void)state;
    RIG(rig, .config = {.stop_timeout_ms = 200});
    assert_stop_ends_while(GATE_DRAIN, &rig);
    assert_int_equal(rig.gate.left[GATE_STOP], 1);
    rig_free_plugins(&rig);
    gate_set(&rig.gate, GATE_DRAIN, 0);
    rig_wait_left(&rig, GATE_DRAIN, 1);
    rig_free(&rig);
}

static void stop_ends_although_stop_hangs(void **state)
{
    (void)state;
    RIG(rig, .config = {.stop_timeout_ms = 200});
    assert_stop_ends_while(GATE_STOP, &rig);
    rig_free_plugins(&rig);
    gate_set(&rig.gate, GATE_STOP, 0);
    rig_wait_left(&rig, GATE_STOP, 1);
    rig_free(&rig);
}

static void call_scale(struct outcome *outcome, struct rig *rig)
{
    rig_scale(outcome, rig, "f");
}

static void call_activate(struct outcome *outcome, struct rig *rig)
{
    rig_activate(outcome, rig, "f");
}

static void call_logs(struct outcome *outcome, struct rig *rig)
{
    rig_logs(outcome, rig, 0);
}

static void stop_ends_whatever_hangs(void **state)
{
    static const struct {
        enum gate_op op;
        void (*call)(struct outcome *outcome, struct rig *rig);
    } cases[] = {{GATE_UPDATE, rig_update},
                 {GATE_REMOVE, rig_remove},
                 {GATE_SCALE, call_scale},
                 {GATE_ACTIVATE, call_activate},
                 {GATE_USAGE, rig_usage},
                 {GATE_SECRET_SET, rig_secret_set},
                 {GATE_SECRET_REMOVE, rig_secret_remove},
                 {GATE_LOGS, call_logs}};
    enum { CASES = sizeof(cases) / sizeof(cases[0]) };
    static struct rig rigs[CASES];

    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        struct rig *rig = &rigs[i];
        struct outcome hung, stop;

        rig_make(rig, &(struct rig_options){.config = {.stop_timeout_ms = 100}});
        rig_begin(rig);
        gate_set(&rig->gate, cases[i].op, 1);
        cases[i].call(&hung, rig);
        rig_wait_entered(rig, cases[i].op, 1);
        rig_stop(&stop, rig, rig->probe);
        rig_wait_done(rig, &stop);
        assert_int_equal(stop.error, FNG_E_TIMEOUT);
        assert_int_equal(hung.error, FNG_E_CANCELLED);
        assert_int_equal(rig->gate.left[GATE_STOP], 1);
        rig_free_plugins(rig);
        gate_set(&rig->gate, cases[i].op, 0);
        rig_wait_left(rig, cases[i].op, 1);
        rig_free(rig);
        assert_int_equal(hung.answers, 1);
    }
}

static void stop_ends_although_watch_hangs(void **state)
{
    static struct rig rig;
    struct outcome stop;

    (void)state;
    rig_make(&rig, &(struct rig_options){.config = {.stop_timeout_ms = 100}});
    gate_set(&rig.gate, GATE_WATCH, 1);
    rig_begin(&rig);
    rig_wait_entered(&rig, GATE_WATCH, 1);
    rig_stop(&stop, &rig, rig.probe);
    rig_wait_done(&rig, &stop);
    assert_int_equal(stop.error, FNG_E_TIMEOUT);
    rig_free_plugins(&rig);
    gate_set(&rig.gate, GATE_WATCH, 0);
    rig_wait_left(&rig, GATE_WATCH, 1);
    rig_free(&rig);
}

static void every_call_is_answered_once_however_return_and_deadline_race(void **state)
{
    enum { CALLS = 300 };
    static struct outcome outcomes[CALLS];

    (void)state;
    RIG(rig, .more = "");
    for (size_t i = 0; i < CALLS; i++) {
        rig_deploy(&outcomes[i], &rig, "waits-for-cancel", 1); /* returns when that cancels it */
        rig_wait_done(&rig, &outcomes[i]);
    }
    rig_free(&rig);
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(outcomes[i].answers, 1);
        assert_true(outcomes[i].error == FNG_E_TIMEOUT || outcomes[i].error == FNG_E_CANCELLED);
    }
}

static void stop_is_told_although_every_control_thread_hangs(void **state)
{
    struct outcome first, second, stop;

    (void)state;
    RIG(rig, .config = {.control_threads = 2, .stop_timeout_ms = 200});
    gate_set(&rig.gate, GATE_DEPLOY, 1);
    rig_deploy(&first, &rig, "hangs", 0);
    rig_deploy(&second, &rig, "waits-for-cancel", 0);
    rig_wait_entered(&rig, GATE_DEPLOY, 2);
    rig_stop(&stop, &rig, rig.probe);
    rig_wait_done(&rig, &stop);
    assert_int_equal(rig.gate.left[GATE_DRAIN], 1);
    assert_int_equal(rig.gate.left[GATE_STOP], 1);
    rig_free_plugins(&rig);
    gate_set(&rig.gate, GATE_DEPLOY, 0);
    rig_wait_left(&rig, GATE_DEPLOY, 2);
    rig_free(&rig);
}

static void release(void *arg)
{
    for (uint64_t id = 0; id < 8; id++)
        provider_endpoint_released(arg, id, 1);
}

static void released_endpoints_are_told_however_full_the_lane(void **state)
{
    (void)state;
    RIG(rig, .config = {.urgent_threads = 1, .queue_max = 1});
    gate_set(&rig.gate, GATE_RELEASED, 1);
    rig_do(&rig, release, rig.probe);
    rig_wait_entered(&rig, GATE_RELEASED, 1);
    gate_set(&rig.gate, GATE_RELEASED, 0);
    rig_wait_left(&rig, GATE_RELEASED, 8);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_normalised_and_have_a_text),
        cmocka_unit_test(reads_and_logs_bring_what_the_plugin_gave),
        cmocka_unit_test(deltas_give_the_plugin_the_answer_of_the_sink),
        cmocka_unit_test(keys_go_to_the_store_below_the_instances_name),
        cmocka_unit_test(health_and_figures_are_kept),
        cmocka_unit_test(a_hung_deploy_delays_nobody_else),
        cmocka_unit_test(calls_about_one_function_wait_for_each_other),
        cmocka_unit_test(a_call_that_overruns_is_answered_and_its_late_result_dropped),
        cmocka_unit_test(the_deadline_wakes_who_polls_the_cancel_descriptor),
        cmocka_unit_test(a_full_lane_refuses_at_once),
        cmocka_unit_test(streams_have_a_cap),
        cmocka_unit_test(cancelled_logs_end_and_deliver_no_more),
        cmocka_unit_test(watch_is_called_again_when_it_returns),
        cmocka_unit_test(a_configuration_that_the_plugin_refuses_is_a_complaint),
        cmocka_unit_test(calls_before_start_are_refused),
        cmocka_unit_test(a_start_that_hangs_fails_within_its_limit),
        cmocka_unit_test(a_quiet_instance_stops_and_unloads),
        cmocka_unit_test(stop_cancels_what_runs_and_refuses_what_waits),
        cmocka_unit_test(stop_ends_although_an_operation_hangs),
        cmocka_unit_test(a_call_may_return_when_the_control_loop_is_gone),
        cmocka_unit_test(stop_ends_although_drain_hangs),
        cmocka_unit_test(stop_ends_although_stop_hangs),
        cmocka_unit_test(stop_ends_whatever_hangs),
        cmocka_unit_test(stop_ends_although_watch_hangs),
        cmocka_unit_test(every_call_is_answered_once_however_return_and_deadline_race),
        cmocka_unit_test(stop_is_told_although_every_control_thread_hangs),
        cmocka_unit_test(released_endpoints_are_told_however_full_the_lane),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

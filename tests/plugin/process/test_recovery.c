/* provider-process: whoever is killed, the functions run on, under exactly one owner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Before cmocka.h, whose fail() is a macro. */
#include "rig.h"

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPLICAS = 3, ROUNDS = 10 };

static int set_up(void **state)
{
    *state = rig_new();
    rig_start(*state);
    return 0;
}

static int tear_down(void **state)
{
    rig_free(*state);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    return *(const pid_t *)a < *(const pid_t *)b ? -1 : *(const pid_t *)a > *(const pid_t *)b;
}

static void collect_pids(struct rig *rig, const char *name, pid_t pids[REPLICAS])
{
    struct rig_view view;

    rig_wait_ready(rig, name, REPLICAS, &view);
    for (size_t i = 0; i < REPLICAS; i++)
        pids[i] = rig_pid(view.address[i]);
    qsort(pids, REPLICAS, sizeof(*pids), by_number);
}

static void check_same(struct rig *rig, const char *name, const pid_t before[REPLICAS])
{
    pid_t now[REPLICAS];

    collect_pids(rig, name, now);
    for (size_t i = 0; i < REPLICAS; i++)
        assert_int_equal(now[i], before[i]);
    assert_int_equal(rig_processes(rig), REPLICAS);
}

static bool is_other_supervisor(void *arg)
{
    static pid_t former;
    struct rig *rig = arg;
    pid_t now = rig_supervisor(rig);

    if (now == 0 || now == former)
        return false;
    former = now;
    return true;
}

static void a_killed_supervisor_is_replaced_and_the_functions_run_on(void **state)
{
    pid_t pids[REPLICAS];

    rig_deploy(*state, &(struct rig_function){.name = "kept", .replicas = REPLICAS});
    collect_pids(*state, "kept", pids);
    rig_until(is_other_supervisor, *state);
    for (int i = 0; i < ROUNDS; i++) {
        rig_kill_supervisor(*state);
        check_same(*state, "kept", pids);
        rig_until(is_other_supervisor, *state);
        check_same(*state, "kept", pids);
    }
    assert_false(rig_had_gap(*state));
}

static void a_kill_while_replicas_come_and_go_leaves_the_wanted_number(void **state)
{
    struct rig_view view;

    rig_deploy(*state, &(struct rig_function){.name = "busy"});
    srand(7);
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t wanted = 1 + (uint32_t)(i % 5);

        assert_int_equal(rig_scale(*state, "busy", wanted), 0);
        usleep((useconds_t)(rand() % 4000)); /* a random moment is the point */
        rig_kill_supervisor(*state);
        rig_wait_ready(*state, "busy", wanted, &view);
        for (size_t j = 0; j < view.ready; j++)
            assert_true(rig_pid(view.address[j]) > 0);
    }
}

static void a_new_gateway_takes_the_functions_over(void **state)
{
    pid_t pids[REPLICAS];

    rig_deploy(*state, &(struct rig_function){.name = "kept", .replicas = REPLICAS});
    collect_pids(*state, "kept", pids);
    rig_stop(*state);
    rig_start(*state);
    check_same(*state, "kept", pids);
}

static void gateway_and_supervisor_may_die_together(void **state)
{
    pid_t pids[REPLICAS];

    rig_deploy(*state, &(struct rig_function){.name = "kept", .replicas = REPLICAS});
    collect_pids(*state, "kept", pids);
    for (int i = 0; i < ROUNDS / 2; i++) {
        rig_kill_supervisor(*state);
        rig_stop(*state);
        rig_kill_supervisor(*state);
        rig_start(*state);
        check_same(*state, "kept", pids);
    }
}

static bool has_other_pids(const struct rig_view *view, const void *arg)
{
    return view->ready == 1 && view->endpoints == 1 &&
           rig_get(view->address[0], "/pid", NULL, 0) == 200 &&
           rig_pid(view->address[0]) != *(const pid_t *)arg;
}

static void an_adopted_replica_is_started_again_when_it_ends(void **state)
{
    struct rig_view view;
    pid_t pid;

    rig_deploy(*state, &(struct rig_function){.name = "one"});
    rig_wait_ready(*state, "one", 1, &view);
    pid = rig_pid(view.address[0]);
    rig_kill_supervisor(*state);
    rig_stop(*state);
    rig_start(*state);
    rig_wait_ready(*state, "one", 1, &view);
    assert_int_equal(rig_pid(view.address[0]), pid);
    kill(pid, SIGKILL);
    rig_wait(*state, "one", has_other_pids, &pid, &view);
}

static void a_replica_that_died_unseen_is_started_again(void **state)
{
    struct rig_view view;
    pid_t pid;

    rig_deploy(*state, &(struct rig_function){.name = "one"});
    rig_wait_ready(*state, "one", 1, &view);
    pid = rig_pid(view.address[0]);
    rig_stop(*state);
    rig_kill_supervisor(*state);
    kill(pid, SIGKILL);
    rig_start(*state);
    rig_wait(*state, "one", has_other_pids, &pid, &view);
}

static bool has_only_one_process(void *arg)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    return rig_processes(arg) == 1;
}

static void a_marked_process_that_nobody_knows_is_killed(void **state)
{
    char mark[128];
    pid_t pid;

    rig_deploy(*state, &(struct rig_function){.name = "one"});
    rig_wait_ready(*state, "one", 1, NULL);
    snprintf(mark, sizeof(mark), "FNGATE_STATE=%s/run", rig_state_dir(*state));
    pid = fork();
    if (pid == 0) {
        char id[] = "FNGATE_REPLICA=1", sleep_word[] = "sleep", hour[] = "3600";
        char *argv[] = {sleep_word, hour, NULL}, *env[] = {mark, id, NULL};

        execve("/bin/sleep", argv, env);
        _exit(127);
    }
    rig_stop(*state);
    rig_kill_supervisor(*state);
    rig_start(*state);
    rig_until(has_only_one_process, *state);
    rig_wait_ready(*state, "one", 1, NULL);
}

static void a_function_removed_while_nobody_ran_is_gone(void **state)
{
    rig_deploy(*state, &(struct rig_function){.name = "one"});
    rig_deploy(*state, &(struct rig_function){.name = "two"});
    rig_wait_ready(*state, "one", 1, NULL);
    rig_wait_ready(*state, "two", 1, NULL);
    rig_kill_supervisor(*state);
    assert_int_equal(rig_remove(*state, "two"), 0);
    rig_stop(*state);
    rig_kill_supervisor(*state);
    rig_start(*state);
    rig_wait_gone(*state, "two");
    rig_until(has_only_one_process, *state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_killed_supervisor_is_replaced_and_the_functions_run_on),
        CASE(a_kill_while_replicas_come_and_go_leaves_the_wanted_number),
        CASE(a_new_gateway_takes_the_functions_over),
        CASE(gateway_and_supervisor_may_die_together),
        CASE(an_adopted_replica_is_started_again_when_it_ends),
        CASE(a_replica_that_died_unseen_is_started_again),
        CASE(a_marked_process_that_nobody_knows_is_killed),
        CASE(a_function_removed_while_nobody_ran_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* provider-process: functions come, change, fail and go, with real processes. */
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
#include <sys/stat.h>
#include <unistd.h>

static int set_up(void **state)
{
    struct rig *rig = rig_new();

    setenv("RIG_SECRET_OF_THE_GATEWAY", "leaked", 1);
    rig_start(rig);
    *state = rig;
    return 0;
}

static int tear_down(void **state)
{
    rig_free(*state);
    return 0;
}

static bool has_no_function_process(void *arg)
{
    struct rig_view view;

    rig_view(arg, "", &view);
    return rig_processes(arg) == 0;
}

static bool has_one_function_process(void *arg)
{
    return rig_processes(arg) == 1;
}

static void a_deployed_function_answers(void **state)
{
    struct rig_view view;
    char body[64];

    assert_int_equal(rig_deploy(*state, &(struct rig_function){.name = "hello"}), 0);
    rig_wait_ready(*state, "hello", 1, &view);
    assert_int_equal(rig_get(view.address[0], "/", body, sizeof(body)), 200);
    assert_string_equal(body, "hello");
    assert_string_equal(view.reason, "");
}

static void scaling_starts_and_stops_processes(void **state)
{
    struct rig_view view;

    assert_int_equal(rig_deploy(*state, &(struct rig_function){.name = "many"}), 0);
    rig_wait_ready(*state, "many", 1, &view);
    assert_int_equal(rig_scale(*state, "many", 3), 0);
    rig_wait_ready(*state, "many", 3, &view);
    assert_int_not_equal(rig_pid(view.address[0]), rig_pid(view.address[1]));
    assert_int_equal(rig_processes(*state), 3);
    assert_int_equal(rig_scale(*state, "many", 0), 0);
    rig_wait_ready(*state, "many", 0, &view);
    rig_until(has_no_function_process, *state);
    assert_int_equal(
        rig_ops(*state)->activate(rig_self(*state), FNG_STR(RIG_NS), FNG_STR("many"), 2, 1000), 0);
    rig_wait_ready(*state, "many", 2, &view);
    assert_int_equal(view.replicas, 2);
}

static bool is_draining(const struct rig_view *view, const void *arg)
{
    (void)arg;
    return view->draining == 1;
}

static void a_draining_replica_lives_until_it_is_released(void **state)
{
    struct rig_view view;
    char address[RIG_ADDRESS_MAX];
    uint64_t id;
    pid_t pid;

    rig_hold_releases(*state, true);
    assert_int_equal(rig_deploy(*state, &(struct rig_function){.name = "held"}), 0);
    rig_wait_ready(*state, "held", 1, &view);
    memcpy(address, view.address[0], sizeof(address));
    id = view.id[0];
    pid = rig_pid(address);
    assert_int_equal(rig_scale(*state, "held", 0), 0);
    rig_wait(*state, "held", is_draining, NULL, &view);
    assert_int_equal(rig_pid(address), pid);
    rig_ops(*state)->endpoint_released(rig_self(*state), id, 1);
    rig_wait_ready(*state, "held", 0, &view);
    rig_until(has_no_function_process, *state);
}

static bool has_other_pid(const struct rig_view *view, const void *arg)
{
    return view->ready == 1 && view->endpoints == 1 &&
           rig_pid(view->address[0]) != *(const pid_t *)arg;
}

static void an_update_replaces_replicas_without_a_gap(void **state)
{
    struct rig_view view;
    char body[64];
    pid_t pid;

    assert_int_equal(rig_deploy(*state, &(struct rig_function){.name = "roll"}), 0);
    rig_wait_ready(*state, "roll", 1, &view);
    pid = rig_pid(view.address[0]);
    assert_int_equal(
        rig_deploy(*state, &(struct rig_function){.name = "roll",
                                                  .is_update = true,
                                                  .env = {{"COLOUR", "blue"}, {"SLOW_MS", "100"}}}),
        0);
    rig_wait(*state, "roll", has_other_pid, &pid, &view);
    assert_int_equal(rig_get(view.address[0], "/env/COLOUR", body, sizeof(body)), 200);
    assert_string_equal(body, "blue");
    assert_false(rig_had_gap(*state));
    rig_until(has_one_function_process, *state);
}

static void a_failing_update_leaves_the_former_revision(void **state)
{
    struct rig_view view;
    pid_t pid;

    assert_int_equal(rig_deploy(*state, &(struct rig_function){.name = "stays"}), 0);
    rig_wait_ready(*state, "stays", 1, &view);
    pid = rig_pid(view.address[0]);
    assert_int_equal(rig_deploy(*state, &(struct rig_function){.name = "stays",
                                                               .is_update = true,
                                                               .env = {{"FAIL", "7"}}}),
                     0);
    rig_wait_reason(*state, "stays", "former one stays", &view);
    assert_non_null(strstr(view.reason, "exit status 7"));
    assert_non_null(strstr(view.reason, "cannot find my configuration"));
    rig_wait_ready(*state, "stays", 1, &view);
    assert_int_equal(rig_pid(view.address[0]), pid);
    assert_false(rig_had_gap(*state));
    /* A sound revision then takes its place. */
    assert_int_equal(rig_deploy(*state, &(struct rig_function){.name = "stays", .is_update = true}),
                     0);
    rig_wait(*state, "stays", has_other_pid, &pid, &view);
    assert_string_equal(view.reason, "");
}

static void a_crash_loop_is_explained(void **state)
{
    struct rig_view view;

    assert_int_equal(
        rig_deploy(*state, &(struct rig_function){.name = "broken", .env = {{"FAIL", "3"}}}), 0);
    rig_wait_reason(*state, "broken", "restarted slowly", &view);
    assert_non_null(strstr(view.reason, "exit status 3"));
    assert_non_null(strstr(view.reason, "cannot find my configuration"));
    assert_int_equal(view.ready, 0);
    assert_int_equal(rig_remove(*state, "broken"), 0);
    rig_wait_gone(*state, "broken");
}

static void a_replica_that_ends_is_started_again(void **state)
{
    struct rig_view view;
    pid_t pid;

    assert_int_equal(rig_deploy(*state, &(struct rig_function){.name = "phoenix"}), 0);
    rig_wait_ready(*state, "phoenix", 1, &view);
    pid = rig_pid(view.address[0]);
    assert_int_equal(rig_get(view.address[0], "/exit/5", NULL, 0), 0);
    rig_wait_reason(*state, "phoenix", "exit status 5", &view);
    /* The socket stays: a request waits for the restart. */
    rig_wait(*state, "phoenix", has_other_pid, &pid, &view);
}

static bool is_not_there(void *path)
{
    return access(path, F_OK) < 0;
}

static void removal_leaves_no_process_and_no_file(void **state)
{
    char path[128];
    struct stat st;

    assert_int_equal(rig_deploy(*state, &(struct rig_function){.name = "family",
                                                               .env = {{"SPAWN", "1"}},
                                                               .replicas = 2}),
                     0);
    rig_wait_ready(*state, "family", 2, NULL);
    snprintf(path, sizeof(path), "%s/logs/" RIG_NS "/family", rig_state_dir(*state));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(rig_remove(*state, "family"), 0);
    rig_wait_gone(*state, "family");
    rig_until(has_no_function_process, *state);
    rig_until(is_not_there, path);
    assert_int_equal(rig_remove(*state, "family"), FNG_E_NOT_FOUND);
}

static void the_environment_is_clean_and_names_the_function(void **state)
{
    struct rig_view view;
    char body[128];

    assert_int_equal(
        rig_deploy(*state, &(struct rig_function){.name = "env", .env = {{"A", "b c"}}}), 0);
    rig_wait_ready(*state, "env", 1, &view);
    assert_int_equal(rig_get(view.address[0], "/env/RIG_SECRET_OF_THE_GATEWAY", body, 128), 404);
    assert_int_equal(rig_get(view.address[0], "/env/OPENFAAS_NAME", body, 128), 200);
    assert_string_equal(body, "env");
    assert_int_equal(rig_get(view.address[0], "/env/OPENFAAS_NAMESPACE", body, 128), 200);
    assert_string_equal(body, RIG_NS);
    assert_int_equal(rig_get(view.address[0], "/env/A", body, 128), 200);
    assert_string_equal(body, "b c");
    assert_int_equal(rig_get(view.address[0], "/env/LISTEN_PID", body, 128), 200);
    assert_int_equal(atoi(body), rig_pid(view.address[0]));
}

static int32_t set_secret(struct rig *rig, const char *name, const char *value, uint32_t mode)
{
    return rig_ops(rig)->secret_set(rig_self(rig), FNG_STR(RIG_NS), fng_str_from(name),
                                    fng_str_from(value), mode);
}

/* As the function itself sees it. */
static void check_secret(const char *socket, const char *value)
{
    char path[256] = "/file", body[256];

    assert_int_equal(rig_get(socket, "/env/OPENFAAS_SECRETS_DIR", path + 5, 200), 200);
    strcat(path, "/token");
    assert_int_equal(rig_get(socket, path, body, sizeof(body)), 200);
    assert_string_equal(body, value);
}

static void secrets_are_files_that_follow_updates(void **state)
{
    struct rig_function function = {.name = "keeper", .secret = "token"};
    struct rig_view view;

    assert_int_equal(rig_deploy(*state, &function), FNG_E_INVALID);
    assert_string_equal(rig_field(*state), "secrets");
    assert_int_equal(set_secret(*state, "../up", "x", FNG_SECRET_CREATE), FNG_E_INVALID);
    assert_int_equal(set_secret(*state, "token", "one", FNG_SECRET_CREATE), 0);
    assert_int_equal(rig_deploy(*state, &function), 0);
    rig_wait_ready(*state, "keeper", 1, &view);
    check_secret(view.address[0], "one");
    assert_int_equal(set_secret(*state, "token", "two", FNG_SECRET_UPDATE), 0);
    check_secret(view.address[0], "two");
}

static void put_file(const char *folder, const char *name, const char *text, mode_t mode)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    chmod(path, mode);
}

static void an_image_is_a_folder_below_the_root(void **state)
{
    struct rig_view view;
    char root[128], folder[192], path[256], body[64];

    snprintf(root, sizeof(root), "%s/functions", rig_state_dir(*state));
    snprintf(folder, sizeof(folder), "%s/greeter", root);
    mkdir(root, 0700);
    mkdir(folder, 0700);
    snprintf(path, sizeof(path), "%s/handler", folder);
    assert_int_equal(symlink(ANSWERING, path), 0);
    put_file(folder, "function.json",
             "{\"mode\":\"direct\",\"fprocess\":\"./handler 'an argument'\","
             "\"env\":{\"FROM\":\"manifest\"}}",
             0600);
    assert_int_equal(
        rig_deploy(*state, &(struct rig_function){.name = "greeter", .image = "greeter:latest"}),
        0);
    rig_wait_ready(*state, "greeter", 1, &view);
    assert_int_equal(rig_get(view.address[0], "/env/FROM", body, sizeof(body)), 200);
    assert_string_equal(body, "manifest");
}

static void what_cannot_run_is_refused_with_the_field(void **state)
{
    static const struct {
        struct rig_function function;
        const char *field;
    } cases[] = {
        {{.name = "x", .image = "nowhere/to/be:found"}, "image"},
        {{.name = "x", .image = "../etc"}, "image"},
        {{.name = "x", .image = "escape"}, "image"},
        {{.name = "x", .image = "process", .command = "no-such-program-here"}, "envProcess"},
        {{.name = "x", .image = "process", .command = "sh -c 'open"}, "envProcess"},
        {{.name = "x", .image = "process", .command = ""}, "envProcess"},
        {{.name = "Bad_Name"}, "service"},
        {{.name = "x", .replicas = 101}, "replicas"},
        {{.name = "x", .limit = {{"memory", "lots"}}}, "limits.memory"},
    };
    char root[128], path[192];

    snprintf(root, sizeof(root), "%s/functions", rig_state_dir(*state));
    snprintf(path, sizeof(path), "%s/escape", root);
    mkdir(root, 0700);
    assert_int_equal(symlink("/tmp", path), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(rig_deploy(*state, &cases[i].function), FNG_E_INVALID);
        assert_string_equal(rig_field(*state), cases[i].field);
        assert_true(strlen(rig_error(*state)) > 10);
    }
}

static bool is_starting(const struct rig_view *view, const void *arg)
{
    (void)arg;
    return view->starting == 1 || view->ready == 1;
}

static void a_ready_path_is_asked_before_requests_come(void **state)
{
    struct rig_view view;

    assert_int_equal(
        rig_deploy(*state,
                   &(struct rig_function){.name = "slow",
                                          .command = ANSWERING,
                                          .env = {{"SLOW_MS", "200"}},
                                          .annotation = {{"com.openfaas.process.mode", "direct"},
                                                         {"com.openfaas.ready.http.path", "/up"}}}),
        0);
    rig_wait(*state, "slow", is_starting, NULL, &view);
    assert_int_equal(view.ready, 0);
    rig_wait_ready(*state, "slow", 1, &view);
}

static void limits_become_control_groups_or_a_warning(void **state)
{
    struct rig_view view;
    char body[2048];

    assert_int_equal(
        rig_deploy(*state, &(struct rig_function){.name = "small",
                                                  .limit = {{"memory", "64Mi"}, {"cpu", "500m"}}}),
        0);
    rig_wait_ready(*state, "small", 1, &view);
    assert_int_equal(rig_get(view.address[0], "/file/proc/self/cgroup", body, sizeof(body)), 200);
    if (!strstr(body, "/fngate-"))
        assert_non_null(strstr(view.warning, "not enforced"));
    assert_int_equal(rig_deploy(*state, &(struct rig_function){.name = "gpu",
                                                               .limit = {{"nvidia.com/gpu", "1"}}}),
                     0);
    rig_wait_ready(*state, "gpu", 1, &view);
    assert_non_null(strstr(view.warning, "nvidia.com/gpu"));
}

static void in_strict_mode_what_cannot_be_honoured_is_refused(void **state)
{
    struct rig *rig = *state;

    rig_stop(rig);
    rig_set(rig, "strict", "true");
    rig_start(rig);
    assert_int_equal(
        rig_deploy(rig, &(struct rig_function){.name = "gpu", .limit = {{"nvidia.com/gpu", "1"}}}),
        FNG_E_INVALID);
    assert_string_equal(rig_field(rig), "limits");
}

/* A copy that any user may execute: the build folder need not be open to all. */
static void copy_program(const char *from, const char *to)
{
    char buf[65536];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    size_t n;

    assert_true(in && out);
    while ((n = fread(buf, 1, sizeof(buf), in)) > 0)
        assert_int_equal(fwrite(buf, 1, n, out), n);
    fclose(in);
    fclose(out);
    chmod(to, 0755);
}

static void functions_run_as_the_user_that_is_configured(void **state)
{
    struct rig *rig = *state;
    char program[] = "/tmp/fngate-answering-XXXXXX", body[4096];
    struct rig_view view;

    if (geteuid() != 0)
        return; /* others cannot change the user; start() refuses it */
    close(mkstemp(program));
    copy_program(ANSWERING, program);
    rig_stop(rig);
    rig_set(rig, "user", "nobody");
    rig_start(rig);
    assert_int_equal(set_secret(rig, "token", "mine", FNG_SECRET_CREATE), 0);
    assert_int_equal(
        rig_deploy(rig,
                   &(struct rig_function){.name = "humble",
                                          .command = program,
                                          .secret = "token",
                                          .annotation = {{"com.openfaas.process.mode", "direct"}}}),
        0);
    rig_wait_ready(rig, "humble", 1, &view);
    assert_int_equal(rig_get(view.address[0], "/file/proc/self/status", body, sizeof(body)), 200);
    unlink(program);
    assert_null(strstr(body, "Uid:\t0"));
    assert_non_null(strstr(body, "NoNewPrivs:\t1"));
    if (strstr(view.warning, "no private mounts"))
        print_message("this host allows no private mounts: the warning is checked instead\n");
    else
        check_secret(view.address[0], "mine");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_deployed_function_answers),
        CASE(scaling_starts_and_stops_processes),
        CASE(a_draining_replica_lives_until_it_is_released),
        CASE(an_update_replaces_replicas_without_a_gap),
        CASE(a_failing_update_leaves_the_former_revision),
        CASE(a_crash_loop_is_explained),
        CASE(a_replica_that_ends_is_started_again),
        CASE(removal_leaves_no_process_and_no_file),
        CASE(the_environment_is_clean_and_names_the_function),
        CASE(secrets_are_files_that_follow_updates),
        CASE(an_image_is_a_folder_below_the_root),
        CASE(what_cannot_run_is_refused_with_the_field),
        CASE(a_ready_path_is_asked_before_requests_come),
        CASE(limits_become_control_groups_or_a_warning),
        CASE(in_strict_mode_what_cannot_be_honoured_is_refused),
        CASE(functions_run_as_the_user_that_is_configured),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* store-sqlite: what the conformance suite cannot know: its file, damage to it, a full disk, other
 * processes, and kill -9 between an acknowledgement and the next. */
#include "fixture.h"

/* After the SDK: cmocka has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int32_t lease(struct fixture *f, const char *owner, uint32_t ttl_ms)
{
    int32_t error;

    call_begin(&f->call, f->host, 10000);
    error = store_ops()->lease(f->instance.self, FNG_STR("leader"), fng_str_from(owner), ttl_ms);
    call_end(&f->call);
    return error;
}

static void write_file(const char *file, long offset, const char *text)
{
    FILE *stream = fopen(file, offset ? "r+" : "w");

    assert_non_null(stream);
    fseek(stream, offset, SEEK_SET);
    fputs(text, stream);
    fclose(stream);
}

static void run_sql(const char *file, const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void assert_mode_0600(const char *file, const char *suffix)
{
    char name[160];
    struct stat st;

    snprintf(name, sizeof(name), "%s%s", file, suffix);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void files_are_for_the_owner_alone(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(start(f), 0);
    assert_int_equal(put(f, "a", FNG_STR("1"), 0), 0);
    assert_mode_0600(f->file, "");
    assert_mode_0600(f->file, "-wal");
    assert_mode_0600(f->file, "-shm");
}

static void a_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(start(f), 0);
    close_instance(f);
    run_sql(f->file, "PRAGMA user_version=7");
    open_instance(f);
    assert_int_equal(start(f), FNG_E_UNSUPPORTED);
    assert_non_null(strstr(f->call.text, f->file));
    assert_non_null(strstr(f->call.text, "schema version 7"));
    assert_non_null(strstr(f->call.text, "up to 1"));
}

static void a_database_of_another_program_is_left_alone(void **state)
{
    struct fixture *f = *state;

    run_sql(f->file, "CREATE TABLE cat (name TEXT)");
    assert_int_equal(start(f), FNG_E_INVALID);
    assert_non_null(strstr(f->call.text, f->file));
    assert_non_null(strstr(f->call.text, "another program"));
}

static void a_file_that_is_no_database_is_named(void **state)
{
    struct fixture *f = *state;

    write_file(f->file, 0, "version: 1\nlisten: somewhere, and more than a hundred bytes of it\n");
    for (int i = 1; i < 50; i++)
        write_file(f->file, i * 60, "not a database, and longer than one page header would be\n");
    assert_int_equal(start(f), FNG_E_INTERNAL);
    assert_non_null(strstr(f->call.text, f->file));
    assert_non_null(strstr(f->call.text, "damaged"));
}

static void damage_inside_is_found_at_start(void **state)
{
    struct fixture *f = *state;
    char big[3000], key[16];
    struct stat st;

    memset(big, 'x', sizeof(big));
    assert_int_equal(start(f), 0);
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "key-%d", i);
        assert_int_equal(put(f, key, fng_str_make(big, sizeof(big)), 0), 0);
    }
    close_instance(f);
    assert_int_equal(stat(f->file, &st), 0);
    for (long page = 2 * 4096; page < st.st_size; page += 4096)
        write_file(f->file, page, "\x05this is no b-tree page");
    open_instance(f);
    assert_int_equal(start(f), FNG_E_INTERNAL);
    assert_non_null(strstr(f->call.text, f->file));
    assert_non_null(strstr(f->call.text, "damaged"));
}

static void a_missing_folder_is_named(void **state)
{
    struct fixture *f = *state;

    close_instance(f);
    settings_add(&f->settings, "path=/nonexistent/fngate/state.db");
    open_instance(f);
    assert_int_equal(start(f), FNG_E_UNAVAILABLE);
    assert_non_null(strstr(f->call.text, "/nonexistent/fngate/state.db"));
    assert_non_null(strstr(f->call.text, "No such file"));
}

/* A file size limit stands in for a full disk: writes fail in the same place. */
static void a_full_disk_is_told_and_overcome(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, tight;
    char big[200000];

    memset(big, 'x', sizeof(big));
    assert_int_equal(start(f), 0);
    assert_int_equal(put(f, "a", FNG_STR("1"), 0), 0);

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = (struct rlimit){100000, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    int32_t error = put(f, "b", fng_str_make(big, sizeof(big)), 0);
    setrlimit(RLIMIT_FSIZE, &old);

    assert_int_equal(error, FNG_E_UNAVAILABLE);
    assert_non_null(strstr(f->call.text, f->file));
    assert_int_equal(f->host->health, FNG_HEALTH_DEGRADED);
    assert_int_equal(version_of(f, "b"), 0);
    assert_true(version_of(f, "a") != 0);
    assert_int_equal(put(f, "b", fng_str_make(big, sizeof(big)), 0), 0);
    assert_int_equal(f->host->health, FNG_HEALTH_OK);
}

static void a_lock_of_another_process_is_told(void **state)
{
    struct fixture *f = *state;
    sqlite3 *other;

    close_instance(f);
    settings_add(&f->settings, "busy_timeout=10ms");
    open_instance(f);
    assert_int_equal(start(f), 0);
    assert_int_equal(sqlite3_open(f->file, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(put(f, "a", FNG_STR("1"), 0), FNG_E_UNAVAILABLE);
    assert_non_null(strstr(f->call.text, "busy_timeout"));
    sqlite3_close(other);
    assert_int_equal(put(f, "a", FNG_STR("1"), 0), 0);
}

static void two_instances_share_a_file(void **state)
{
    struct fixture *f = *state, other = {0};
    uint64_t version;

    snprintf(other.dir, sizeof(other.dir), "%s", f->dir);
    open_instance(&other);
    assert_int_equal(start(f), 0);
    assert_int_equal(start(&other), 0);
    assert_int_equal(put(f, "a", FNG_STR("1"), 0), 0);
    version = version_of(&other, "a");
    assert_true(version != 0);
    assert_int_equal(put(&other, "a", FNG_STR("2"), version), 0);
    assert_int_equal(put(f, "a", FNG_STR("3"), version), FNG_E_CONFLICT);
    assert_int_equal(lease(f, "one", 60000), 0);
    assert_int_equal(lease(&other, "two", 60000), FNG_E_CONFLICT);
    close_instance(&other);
}

static void a_lease_of_an_earlier_boot_is_void(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(start(f), 0);
    assert_int_equal(lease(f, "one", 3600000), 0);
    assert_int_equal(lease(f, "two", 1000), FNG_E_CONFLICT);
    run_sql(f->file, "UPDATE lease SET boot = 'before'");
    assert_int_equal(lease(f, "two", 1000), 0);
}

/* ---- kill -9 ---- */

/* Writes keys from `first` on and sends each number once it is acknowledged; never returns. */
static void write_until_killed(const struct fixture *parent, uint32_t first, int pipe_fd)
{
    struct fixture f = {0};
    char key[16];

    snprintf(f.dir, sizeof(f.dir), "%s", parent->dir);
    open_instance(&f);
    if (start(&f) != 0)
        _exit(1);
    for (uint32_t i = first;; i++) {
        snprintf(key, sizeof(key), "%u", i);
        if (put(&f, key, FNG_STR("value"), 0) != 0 || write(pipe_fd, &i, sizeof(i)) < 0)
            _exit(1);
    }
}

/* One child, killed after `acks` acknowledgements. Returns the last acknowledged number. */
static uint32_t run_and_kill(const struct fixture *f, uint32_t first, unsigned acks)
{
    uint32_t number, last = first;
    int fds[2], status;
    unsigned seen = 0;
    pid_t child;

    assert_int_equal(pipe(fds), 0);
    child = fork();
    if (child == 0) {
        close(fds[0]);
        write_until_killed(f, first, fds[1]);
    }
    close(fds[1]);
    while (read(fds[0], &number, sizeof(number)) == (ssize_t)sizeof(number)) {
        last = number;
        if (++seen == acks)
            kill(child, SIGKILL);
    }
    close(fds[0]);
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return last;
}

static void nothing_acknowledged_is_lost_by_kill_9(void **state)
{
    struct fixture *f = *state;
    uint32_t acknowledged[31], first[31];
    char key[16];

    first[0] = 0;
    for (unsigned round = 0; round < 30; round++) {
        acknowledged[round] = run_and_kill(f, first[round], 1 + round * 7 % 23);
        /* The write after the last acknowledged one may be there or not. */
        first[round + 1] = acknowledged[round] + 2;
    }

    assert_int_equal(start(f), 0);
    for (unsigned round = 0; round < 30; round++)
        for (uint32_t i = first[round]; i <= acknowledged[round]; i++) {
            snprintf(key, sizeof(key), "%u", i);
            assert_true(version_of(f, key) != 0);
        }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, fixture_free)
    const struct CMUnitTest tests[] = {
        TEST(files_are_for_the_owner_alone),
        TEST(a_newer_schema_is_refused),
        TEST(a_database_of_another_program_is_left_alone),
        TEST(a_file_that_is_no_database_is_named),
        TEST(damage_inside_is_found_at_start),
        TEST(a_missing_folder_is_named),
        TEST(a_full_disk_is_told_and_overcome),
        TEST(a_lock_of_another_process_is_told),
        TEST(two_instances_share_a_file),
        TEST(a_lease_of_an_earlier_boot_is_void),
        TEST(nothing_acknowledged_is_lost_by_kill_9),
    };

    if (!fixture_load())
        return 1;
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* store-sqlite on a disk that fails: each write and each sync fails once, or from then on, and the
 * power fails at each of them. Nothing acknowledged may be lost, nothing refused may be there, and
 * the store works again once the disk does. */
#include "faulty_vfs.h"
#include "fixture.h"

/* After the SDK: cmocka has a macro named fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { KEYS = 40, BIG = 30000, IO_MAX = 100000 };

static char big[BIG];

static void assert_sentence(const struct fixture *f)
{
    assert_non_null(strstr(f->call.text, f->file));
}

/* A put and a removal while the n-th change of a file fails. False when none was reached. */
static bool write_on_failing_disk(struct fixture *f, unsigned nth, int code, bool is_persistent)
{
    int32_t put_error, remove_error;

    assert_int_equal(start(f), 0);
    assert_int_equal(put(f, "kept", FNG_STR("1"), 0), 0);
    assert_int_equal(put(f, "old", FNG_STR("1"), 0), 0);

    faulty_vfs_fail(nth, code, is_persistent);
    put_error = put(f, "new", fng_str_make(big, sizeof(big)), 0);
    if (put_error != 0)
        assert_sentence(f);
    remove_error = take_away(f, "old");
    if (remove_error != 0)
        assert_sentence(f);
    bool has_failed = faulty_vfs_heal();

    assert_true(put_error == 0 || put_error == FNG_E_UNAVAILABLE);
    assert_true(remove_error == 0 || remove_error == FNG_E_UNAVAILABLE);
    assert_true(version_of(f, "kept") != 0);
    assert_int_equal(version_of(f, "new") != 0, put_error == 0);
    assert_int_equal(version_of(f, "old") == 0, remove_error == 0);
    assert_int_equal(put(f, "after", FNG_STR("1"), 0), 0);
    assert_int_equal(f->host->health == FNG_HEALTH_DEGRADED, false);
    return has_failed;
}

static void fail_each(struct fixture *f, int code, bool is_persistent)
{
    bool has_failed = true;
    unsigned nth;

    for (nth = 1; has_failed && nth < IO_MAX; nth++) {
        has_failed = write_on_failing_disk(f, nth, code, is_persistent);
        close_instance(f);
        empty_folder(f->dir);
        faulty_vfs_forget();
        open_instance(f);
    }
    assert_true(nth > 3);
}

static void a_write_that_fails_once_is_refused_and_forgotten(void **state)
{
    fail_each(*state, SQLITE_FULL, false);
    fail_each(*state, SQLITE_IOERR_WRITE, false);
    fail_each(*state, SQLITE_IOERR_FSYNC, false);
}

static void a_disk_that_stays_full_is_overcome_when_there_is_room(void **state)
{
    fail_each(*state, SQLITE_FULL, true);
    fail_each(*state, SQLITE_IOERR_WRITE, true);
}

static void a_start_on_a_failing_disk_can_be_repeated(void **state)
{
    struct fixture *f = *state;
    int32_t error = -1;

    for (unsigned nth = 1; nth < IO_MAX; nth++) {
        faulty_vfs_fail(nth, SQLITE_IOERR_WRITE, false);
        error = start(f);
        if (!faulty_vfs_heal())
            break;
        if (error != 0) {
            assert_sentence(f);
            assert_int_equal(start(f), 0);
        }
        assert_int_equal(put(f, "a", FNG_STR("1"), 0), 0);
        close_instance(f);
        empty_folder(f->dir);
        faulty_vfs_forget();
        open_instance(f);
    }
    assert_int_equal(error, 0);
}

/* ---- Power ---- */

/* What was acknowledged when the power failed. */
struct ledger {
    bool is_there[KEYS];
    int unsure; /* the key whose operation was under way, -1: none */
};

/* Puts, replacements and removals, large enough for checkpoints. */
static int32_t one_write(struct fixture *f, unsigned i, bool *ret_is_there)
{
    char key[16];

    snprintf(key, sizeof(key), "key-%u", i % KEYS);
    *ret_is_there = i % 5 != 4;
    if (*ret_is_there)
        return put(f, key, fng_str_make(big, i % 3 ? BIG : 10), FNG_KV_ANY);
    return version_of(f, key) ? take_away(f, key) : 0;
}

/* Writes until the power fails; false when it did not within all writes. */
static bool write_until_cut(struct fixture *f, struct ledger *ledger)
{
    memset(ledger, 0, sizeof(*ledger));
    for (unsigned i = 0; i < 6 * KEYS; i++) {
        bool is_there;

        ledger->unsure = (int)(i % KEYS);
        assert_int_equal(one_write(f, i, &is_there), 0);
        if (faulty_vfs_was_cut())
            return true;
        ledger->is_there[i % KEYS] = is_there;
    }
    return false;
}

static void check_ledger(const char *dir, const struct ledger *ledger)
{
    struct fixture f = {.call.timer_fd = -1};
    char key[16];

    snprintf(f.dir, sizeof(f.dir), "%s", dir);
    open_instance(&f);
    if (start(&f) != 0)
        fail_msg("after the power failure: %s", f.call.text);
    for (int i = 0; i < KEYS; i++) {
        if (i == ledger->unsure)
            continue;
        snprintf(key, sizeof(key), "key-%d", i);
        if ((version_of(&f, key) != 0) != ledger->is_there[i])
            fail_msg("%s was %s and is %s", key, ledger->is_there[i] ? "written" : "removed",
                     ledger->is_there[i] ? "lost" : "back");
    }
    assert_int_equal(put(&f, "after", FNG_STR("1"), FNG_KV_ANY), 0);
    close_instance(&f);
}

static void nothing_acknowledged_is_lost_by_a_power_failure(void **state)
{
    char to_dir[] = "/tmp/fngate-power-XXXXXX";
    struct fixture *f = *state;
    struct ledger ledger;
    bool was_cut = true;
    unsigned cuts = 0;

    assert_non_null(mkdtemp(to_dir));
    for (unsigned nth = 1; was_cut; nth += 1 + nth / 12) {
        assert_int_equal(start(f), 0);
        faulty_vfs_cut_power(nth, nth);
        was_cut = write_until_cut(f, &ledger);
        if (was_cut) {
            faulty_vfs_restore(f->dir, to_dir);
            check_ledger(to_dir, &ledger);
            cuts++;
        }
        close_instance(f);
        empty_folder(f->dir);
        empty_folder(to_dir);
        faulty_vfs_forget();
        open_instance(f);
    }
    rmdir(to_dir);
    assert_true(cuts > 50);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_new, fixture_free)
    const struct CMUnitTest tests[] = {
        TEST(a_write_that_fails_once_is_refused_and_forgotten),
        TEST(a_disk_that_stays_full_is_overcome_when_there_is_room),
        TEST(a_start_on_a_failing_disk_can_be_repeated),
        TEST(nothing_acknowledged_is_lost_by_a_power_failure),
    };

    if (!fixture_load())
        return 1;
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)('a' + i % 26);
    faulty_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* auth: files, credentials, the throttle, base64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "auth/auth.h"
#include "auth/base64.h"
#include "auth/throttle.h"
#include "base/mem.h"
#include "base/sys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

struct files {
    char folder[40], user[64], password[64];
};

static int64_t now_ns;

static int64_t still_clock(void)
{
    return now_ns;
}

static void put(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static int make_files(void **state)
{
    static struct files files;

    files = (struct files){.folder = "/tmp/fng-test-auth-XXXXXX"};
    assert_non_null(mkdtemp(files.folder));
    snprintf(files.user, sizeof(files.user), "%s/user", files.folder);
    snprintf(files.password, sizeof(files.password), "%s/password", files.folder);
    put(files.user, " admin\n", 0600);
    put(files.password, "\tpass:word\r\n", 0640);
    *state = &files;
    now_ns = 1;
    sys.monotonic_ns = still_clock;
    return 0;
}

static int remove_files(void **state)
{
    struct files *files = *state;

    sys_reset();
    unlink(files->user);
    unlink(files->password);
    return rmdir(files->folder);
}

static enum auth_verdict check(struct auth *auth, const char *authorization, const char *peer,
                               struct str *ret_principal)
{
    struct http_head head;
    struct pool pool;
    enum auth_verdict verdict;

    pool_init(&pool, 0);
    http_head_init(&head, &pool);
    if (authorization)
        assert_int_equal(http_head_add(&head, STR("authorization"), str_from(authorization)), 0);
    verdict = auth_check(auth, &head, PERM_FUNCTION_READ, str_from(peer), ret_principal);
    pool_free(&pool);
    return verdict;
}

static struct auth *make_auth(const struct files *files)
{
    struct auth *auth = NULL;
    struct err err;

    assert_int_equal(auth_new_basic(files->user, files->password, &auth, &err), 0);
    return auth;
}

static void credentials_are_judged(void **state)
{
    static const struct {
        const char *authorization;
        enum auth_verdict verdict;
    } rows[] = {
        {NULL, AUTH_NEEDED},
        {"Bearer", AUTH_NEEDED},
        {"Bearer ", AUTH_NEEDED},
        {"Bearer token", AUTH_NEEDED},
        {"Basic", AUTH_NEEDED},
        {"Basic !!!!", AUTH_NEEDED},
        {"Basic YWRtaW4=", AUTH_NEEDED},             /* admin */
        {"Basic YWRtaW46cGFzcw==", AUTH_NEEDED},     /* admin:pass */
        {"Basic Og==", AUTH_NEEDED},                 /* : */
        {"Basic cm9vdDpwYXNzOndvcmQ=", AUTH_NEEDED}, /* root:pass:word */
        {"Basic YWRtaW46cGFzczp3b3Jk", AUTH_OK},     /* admin:pass:word */
        {"basic   YWRtaW46cGFzczp3b3Jk ", AUTH_OK},
        {"Basic YWRtaW46cGFzczp3b3JkAA==", AUTH_NEEDED}, /* and a NUL */
        {"Digest YWRtaW46cGFzczp3b3Jk", AUTH_NEEDED},
    };
    struct auth *auth = make_auth(*state);
    struct str principal;

    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(check(auth, rows[i].authorization, "p", &principal), rows[i].verdict);
        assert_true(str_eq(principal, rows[i].verdict == AUTH_OK ? STR("admin") : STR("")));
    }
    auth_free(auth);
}

static void swapped_knowledge_judges_from_then_on(void **state)
{
    const struct files *files = *state;
    struct auth *auth = make_auth(files), *fresh;
    struct str principal;

    put(files->user, "root", 0600);
    fresh = make_auth(files);
    auth_swap(auth, fresh);
    auth_free(fresh);
    assert_int_equal(check(auth, "Basic YWRtaW46cGFzczp3b3Jk", "p", &principal), AUTH_NEEDED);
    assert_int_equal(check(auth, "Basic cm9vdDpwYXNzOndvcmQ=", "p", &principal), AUTH_OK);
    assert_true(str_eq(principal, STR("root")));
    fresh = auth_new_open();
    auth_swap(auth, fresh);
    auth_free(fresh);
    assert_int_equal(check(auth, NULL, "p", &principal), AUTH_OK);
    auth_free(auth);
}

static void public_needs_nothing_and_open_lets_all_in(void **state)
{
    struct auth *auth = make_auth(*state), *open = auth_new_open();
    struct http_head head;
    struct pool pool;
    struct str principal;

    pool_init(&pool, 0);
    http_head_init(&head, &pool);
    assert_int_equal(auth_check(auth, &head, PERM_PUBLIC, STR("p"), &principal), AUTH_OK);
    assert_int_equal(auth_check(open, &head, PERM_SECRET_WRITE, STR("p"), &principal), AUTH_OK);
    auth_free(auth);
    auth_free(open);
    pool_free(&pool);
}

static void files_are_refused_with_what_to_do(void **state)
{
    static const struct {
        const char *text;
        mode_t mode;
        int code;
        const char *part;
    } rows[] = {
        {"x", 0604, -EPERM, "chmod o= "},
        {"x", 0602, -EPERM, "chmod o= "},
        {"", 0600, -EINVAL, "is empty"},
        {" \r\n", 0600, -EINVAL, "is empty"},
        {"a:b", 0600, -EINVAL, "cannot contain ':'"},
    };
    struct files *files = *state;
    struct auth *auth = NULL;
    struct err err;

    for (size_t i = 0; i < COUNT(rows); i++) {
        put(files->user, rows[i].text, rows[i].mode);
        assert_int_equal(auth_new_basic(files->user, files->password, &auth, &err), rows[i].code);
        assert_non_null(strstr(err.text, rows[i].part));
        assert_non_null(strstr(err.text, files->user));
    }
    assert_int_equal(auth_new_basic("/nonexistent/x", files->password, &auth, &err), -ENOENT);
    assert_int_equal(auth_new_basic(files->folder, files->password, &auth, &err), -EINVAL);
    assert_null(auth);
}

static void guesses_are_counted_per_address_and_forgotten(void **state)
{
    static const char right[] = "Basic YWRtaW46cGFzczp3b3Jk", wrong[] = "Basic eDp5";
    struct auth *auth = make_auth(*state);
    struct str principal;

    for (int i = 0; i < THROTTLE_TRIES - 1; i++)
        assert_int_equal(check(auth, wrong, "a", &principal), AUTH_NEEDED);
    assert_int_equal(check(auth, NULL, "a", &principal), AUTH_NEEDED);
    assert_int_equal(check(auth, wrong, "a", &principal), AUTH_NEEDED);
    assert_int_equal(check(auth, wrong, "a", &principal), AUTH_THROTTLED);
    assert_int_equal(check(auth, right, "a", &principal), AUTH_THROTTLED);
    assert_int_equal(check(auth, NULL, "a", &principal), AUTH_NEEDED);
    assert_int_equal(check(auth, right, "b", &principal), AUTH_OK);
    now_ns += INT64_C(1000000) * THROTTLE_WINDOW_MS;
    assert_int_equal(check(auth, right, "a", &principal), AUTH_OK);
    auth_free(auth);
}

static void the_throttle_forgets_the_oldest_first(void **state)
{
    struct throttle *throttle = throttle_new();
    char peer[16];

    (void)state;
    for (int i = 0; i < THROTTLE_TRIES; i++)
        throttle_count_wrong(throttle, STR("first"), 0);
    assert_true(throttle_is_closed(throttle, STR("first"), 1));
    for (int i = 0; i < THROTTLE_PEERS_MAX - 1; i++) {
        snprintf(peer, sizeof(peer), "p%d", i);
        throttle_count_wrong(throttle, str_from(peer), 1);
    }
    assert_true(throttle_is_closed(throttle, STR("first"), 1));
    throttle_count_wrong(throttle, STR("one more"), 1);
    assert_false(throttle_is_closed(throttle, STR("first"), 1));
    throttle_free(throttle);
}

static void base64_is_strict(void **state)
{
    static const struct {
        const char *text, *plain; /* NULL: refused */
    } rows[] = {
        {"", ""},
        {"QQ==", "A"},
        {"QUI=", "AB"},
        {"QUJD", "ABC"},
        {"+/+/", "\xfb\xff\xbf"},
        {"QUJDRA==", "ABCD"},
        {"Q", NULL},
        {"QQ", NULL},
        {"QQ=", NULL},
        {"QR==", NULL},
        {"QUJ=", NULL},
        {"====", NULL},
        {"Q===", NULL},
        {"QQ==QQ==", NULL},
        {"QU D", NULL},
        {"QUJ\n", NULL},
        {"Q-_D", NULL},
    };
    char out[16];
    size_t len;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(base64_decode(str_from(rows[i].text), out, &len), rows[i].plain != NULL);
        if (rows[i].plain)
            assert_true(str_eq(str_make(out, len), str_from(rows[i].plain)));
    }
}

#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, make_files, remove_files)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILES(credentials_are_judged),
        WITH_FILES(swapped_knowledge_judges_from_then_on),
        WITH_FILES(public_needs_nothing_and_open_lets_all_in),
        WITH_FILES(files_are_refused_with_what_to_do),
        WITH_FILES(guesses_are_counted_per_address_and_forgotten),
        cmocka_unit_test(the_throttle_forgets_the_oldest_first),
        cmocka_unit_test(base64_is_strict),
    };

    return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}

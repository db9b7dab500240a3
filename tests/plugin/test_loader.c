/* The loader: every way in which a plugin is refused, with its whole message. */
/* Before cmocka.h, whose macro `fail` would hit the service of that name. */
#include "plugin/plugin.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* "bad-NAME.so" is refused with "PATH: MESSAGE". */
static void assert_refused(const char *name, const char *message)
{
    AUTO_FREE char *path = xasprintf(PLUGIN_DIR "/bad-%s.so", name);
    AUTO_FREE char *expected = xasprintf("%s: %s", path, message);
    struct plugin *plugin = NULL;
    struct err err = {0};

    assert_true(plugin_open(path, &plugin, &err) < 0);
    assert_string_equal(err.text, expected);
    assert_null(plugin);
}

static void what_differs_in_nothing_is_loaded_once(void **state)
{
    const char *path = PLUGIN_DIR "/bad-nothing.so";
    struct plugin *first, *second;
    struct err err;

    (void)state;
    assert_int_equal(plugin_open(path, &first, &err), 0);
    assert_int_equal(plugin_open(PLUGIN_DIR "/../plugin/bad-nothing.so", &second, &err), 0);
    assert_ptr_equal(first, second);
    assert_string_equal(plugin_path(first), path);
    assert_string_equal(plugin_descriptor(first)->name, "bad");
}

static void a_plugin_that_is_newer_is_read_as_far_as_known(void **state)
{
    struct plugin *plugin;
    struct buf text;
    struct err err;

    (void)state;
    assert_int_equal(plugin_open(PLUGIN_DIR "/bad-newer.so", &plugin, &err), 0);
    buf_init(&text, 0);
    plugin_describe(plugin, &text);
    (void)buf_add(&text, "", 1);
    assert_non_null(strstr(buf_str(&text).ptr, "  second: a number between 0 and 10, default 5\n"));
    buf_free(&text);
}

static void descriptors_are_checked_step_by_step(void **state)
{
    static const char *const cases[][2] = {
        {"no-entry", "is no fngate plugin: it has no symbol fng_plugin_entry (FNG_PLUGIN_REGISTER "
                     "makes it)"},
        {"null-descriptor",
         "declines to serve this gateway (ABI 0.1): its entry gave no descriptor"},
        {"magic", "its descriptor begins with 0x12345678 instead of 0x464e4731"},
        {"size", "its descriptor says it has 64 bytes; the smallest known has 200"},
        {"major", "was built for ABI 7.1; this gateway speaks 0.1: rebuild it with this gateway's "
                  "SDK"},
        {"min-host", "needs a gateway with ABI 0.99 or newer; this one has 0.1"},
        {"name", "its name 'Bad_Name' must be [a-z][a-z0-9-]*, at most 64 bytes"},
        {"no-name", "its name '' must be [a-z][a-z0-9-]*, at most 64 bytes"},
        {"kind", "bad is of kind 42, which this gateway does not know"},
        {"kind-reserved", "bad is a queue; ABI 0.1 reserves this kind but does not serve it yet"},
        {"no-operations", "bad has no operations"},
        {"operations-size",
         "the operations of bad say they have 16 bytes; the smallest known have 112"},
        {"operation-missing", "bad lacks the operation 'list', which every store needs"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_refused(cases[i][0], cases[i][1]);
}

static void configuration_tables_are_checked(void **state)
{
    static const char *const cases[][2] = {
        {"stride", "its configuration table has no keys or a stride below 72 bytes"},
        {"key-twice", "its configuration key 'first' is declared twice"},
        {"key-name", "the name of its configuration key 1, 'Second-Key', must be [a-z][a-z0-9_]*"},
        {"key-type",
         "its configuration key 'second' has the type 99, which this gateway does not know"},
        {"key-offset", "its configuration key 'second' lies outside the instance state (offset 20, "
                       "8 bytes, of 24)"},
        {"key-default", "its configuration key 'second' is wrong: its default must be a number "
                        "between 0 and 10, got 'many'"},
        {"key-bounds", "its configuration key 'second' is wrong: its minimum is above its maximum"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_refused(cases[i][0], cases[i][1]);
}

/* ---- Files ---- */

struct file {
    char dir[32];
    char path[64];
};

/* A copy of a good plugin under a name of its own, so that it may be spoilt. */
static void copy_plugin(struct file *file, const char *from)
{
    AUTO_CLOSE int in = open(from, O_RDONLY);
    AUTO_CLOSE int out = -1;
    char chunk[4096];
    ssize_t n;

    strcpy(file->dir, "/tmp/fng-test-loader-XXXXXX");
    assert_non_null(mkdtemp(file->dir));
    snprintf(file->path, sizeof(file->path), "%s/copy.so", file->dir);
    out = open(file->path, O_WRONLY | O_CREAT | O_EXCL, 0755);
    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, chunk, sizeof(chunk))) > 0)
        assert_int_equal(write(out, chunk, (size_t)n), n);
}

static void remove_copy(const struct file *file)
{
    unlink(file->path);
    rmdir(file->dir);
}

static void assert_path_refused(const char *path, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void assert_path_refused(const char *path, const char *format, ...)
{
    char expected[ERR_TEXT_MAX];
    struct plugin *plugin = NULL;
    struct err err = {0};
    va_list args;

    va_start(args, format);
    vsnprintf(expected, sizeof(expected), format, args);
    va_end(args);
    assert_true(plugin_open(path, &plugin, &err) < 0);
    assert_string_equal(err.text, expected);
}

static void files_that_are_none_are_refused(void **state)
{
    (void)state;
    assert_path_refused("/nonexistent.so", "/nonexistent.so: cannot be opened: No such file or "
                                           "directory");
    assert_path_refused("/", "/: is not a regular file");
}

static void files_that_others_may_write_are_refused(void **state)
{
    struct file file;

    (void)state;
    copy_plugin(&file, PLUGIN_DIR "/bad-nothing.so");
    chmod(file.path, 0775);
    assert_path_refused(file.path,
                        "%s: may be written by its group or by others (mode 0775), and its code "
                        "would run here; chmod go-w",
                        file.path);
    chmod(file.path, 0702);
    assert_path_refused(file.path,
                        "%s: may be written by its group or by others (mode 0702), and its code "
                        "would run here; chmod go-w",
                        file.path);
    remove_copy(&file);
}

static void files_of_other_users_are_refused(void **state)
{
    struct file file;

    (void)state;
    if (geteuid() != 0) {
        print_message("needs root to give a file to another user: sudo ctest -R test_loader\n");
        skip();
    }
    copy_plugin(&file, PLUGIN_DIR "/bad-nothing.so");
    assert_int_equal(chown(file.path, 12345, 0), 0);
    assert_path_refused(file.path, "%s: belongs to user 12345; it must belong to root or to user 0",
                        file.path);
    remove_copy(&file);
}

static void what_the_linker_refuses_comes_with_a_hint(void **state)
{
    struct file file;
    struct plugin *plugin;
    struct err err;

    (void)state;
    copy_plugin(&file, "/etc/passwd");
    assert_path_refused(file.path,
                        "%s: cannot be loaded: %s: invalid ELF header (this is not a shared "
                        "object)",
                        file.path, file.path);
    assert_int_equal(truncate(file.path, 3), 0);
    assert_path_refused(file.path,
                        "%s: cannot be loaded: %s: file too short (this is not a shared object)",
                        file.path, file.path);
    remove_copy(&file);

    assert_true(plugin_open(PLUGIN_DIR "/bad-undefined.so", &plugin, &err) < 0);
    assert_non_null(strstr(err.text, "undefined symbol: function_that_no_library_has (it must be "
                                     "linked with every library that it uses; -Wl,-z,defs finds "
                                     "this when it is built)"));
}

static void a_plugin_describes_itself(void **state)
{
    struct plugin *plugin;
    struct buf text;
    struct err err;

    (void)state;
    assert_int_equal(plugin_open(PLUGIN_DIR "/bad-nothing.so", &plugin, &err), 0);
    buf_init(&text, 0);
    plugin_describe(plugin, &text);
    assert_true(str_eq(buf_str(&text), STR("bad 1 (store)\n"
                                           "Wrong in one way.\n"
                                           "file: " PLUGIN_DIR "/bad-nothing.so\n"
                                           "abi: 0.1, needs a gateway with 0.0 or newer\n"
                                           "operations:\n"
                                           "  get: yes\n"
                                           "  put: yes\n"
                                           "  remove: yes\n"
                                           "  list: yes\n"
                                           "  lease: no\n"
                                           "capabilities:\n"
                                           "  shared by several gateways: no\n"
                                           "configuration:\n"
                                           "  first: a text\n"
                                           "      \n"
                                           "  second: a number between 0 and 10, default 5\n"
                                           "      \n")));
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_differs_in_nothing_is_loaded_once),
        cmocka_unit_test(a_plugin_that_is_newer_is_read_as_far_as_known),
        cmocka_unit_test(descriptors_are_checked_step_by_step),
        cmocka_unit_test(configuration_tables_are_checked),
        cmocka_unit_test(files_that_are_none_are_refused),
        cmocka_unit_test(files_that_others_may_write_are_refused),
        cmocka_unit_test(files_of_other_users_are_refused),
        cmocka_unit_test(what_the_linker_refuses_comes_with_a_hint),
        cmocka_unit_test(a_plugin_describes_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The conformance tool's own parts: settings from files and options, binding, ELF files. */
#include "elf_file.h"
#include "settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct bound_state {
    struct fng_str text;
    int32_t truth;
    int64_t number, span_ms;
    uint64_t bytes;
    struct fng_str_list list, preset;
    struct fng_kv_list map;
};

static const struct fng_config_key keys[] = {
    {.name = "text", .type = FNG_CONF_STR, .offset = offsetof(struct bound_state, text)},
    {.name = "truth", .type = FNG_CONF_BOOL, .offset = offsetof(struct bound_state, truth)},
    {.name = "number",
     .type = FNG_CONF_INT,
     .default_value = "7",
     .min = -5,
     .max = 100,
     .offset = offsetof(struct bound_state, number)},
    {.name = "span", .type = FNG_CONF_DURATION, .offset = offsetof(struct bound_state, span_ms)},
    {.name = "bytes", .type = FNG_CONF_SIZE, .offset = offsetof(struct bound_state, bytes)},
    {.name = "list", .type = FNG_CONF_LIST, .offset = offsetof(struct bound_state, list)},
    {.name = "preset",
     .type = FNG_CONF_LIST,
     .default_value = "[a, b]",
     .offset = offsetof(struct bound_state, preset)},
    {.name = "map", .type = FNG_CONF_MAP, .offset = offsetof(struct bound_state, map)},
};

static const struct fng_plugin plugin = {
    .name = "test",
    .config = keys,
    .config_count = COUNT_OF(keys),
    .config_stride = sizeof(keys[0]),
};

static struct settings read_text(const char *text, char **ret_wrong)
{
    char name[] = "/tmp/fngate-settings-XXXXXX";
    struct settings settings = {NULL, 0};
    FILE *stream = fdopen(mkstemp(name), "w");

    fputs(text, stream);
    fclose(stream);
    *ret_wrong = settings_read(&settings, name);
    unlink(name);
    return settings;
}

static void assert_str(struct fng_str s, const char *expected)
{
    assert_true(fng_str_eq(s, fng_str_from(expected)));
}

static void a_file_is_bound_by_the_types_of_its_keys(void **state)
{
    struct bound_state self = {.number = 0};
    struct bound bound = {NULL, 0};
    char *wrong;
    struct settings settings = read_text("# a comment\n"
                                         "text: \"two words\"\n"
                                         "truth: yes\n"
                                         "span: 1m30s\n"
                                         "bytes: 64Ki\n"
                                         "list: [x, y]\n"
                                         "map:\n"
                                         "  one: 1\n"
                                         "  two: unix:/run/two.sock\n",
                                         &wrong);

    (void)state;
    assert_null(wrong);
    assert_null(settings_bind(&settings, &plugin, &self, &bound));
    assert_str(self.text, "two words");
    assert_int_equal(self.truth, 1);
    assert_int_equal(self.number, 7);
    assert_int_equal(self.span_ms, 90000);
    assert_int_equal(self.bytes, 65536);
    assert_int_equal(self.list.count, 2);
    assert_str(self.list.items[1], "y");
    assert_int_equal(self.preset.count, 2);
    assert_str(self.preset.items[0], "a");
    assert_int_equal(self.map.count, 2);
    assert_str(self.map.items[1].key, "two");
    assert_str(self.map.items[1].value, "unix:/run/two.sock");
    bound_free(&bound);
    settings_free(&settings);
}

static void items_and_options_add_up_to_lists(void **state)
{
    struct bound_state self = {.number = 0};
    struct bound bound = {NULL, 0};
    char *wrong;
    struct settings settings = read_text("list:\n- one\n- two\n", &wrong);

    (void)state;
    assert_null(wrong);
    assert_true(settings_add(&settings, "list=three"));
    assert_true(settings_add(&settings, "map.a.b=c=d"));
    assert_false(settings_add(&settings, "list"));
    assert_false(settings_add(&settings, "=x"));
    assert_null(settings_bind(&settings, &plugin, &self, &bound));
    assert_int_equal(self.list.count, 3);
    assert_str(self.map.items[0].key, "a.b");
    assert_str(self.map.items[0].value, "c=d");
    bound_free(&bound);
    settings_free(&settings);
}

static void wrong_values_are_named(void **state)
{
    static const char *const wrong_ones[][2] = {
        {"nothing=1", "'nothing' is no key of test"},
        {"truth=perhaps", "'truth': 'perhaps' is not a value of its type"},
        {"number=1x", "'number': '1x' is not a value of its type"},
        {"number=101", "'number' must be between -5 and 100, got 101"},
        {"span=soon", "'span': 'soon' is not a value of its type"},
        {"bytes=1Zi", "'bytes': '1Zi' is not a value of its type"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong_ones); i++) {
        struct bound_state self = {.number = 0};
        struct settings settings = {NULL, 0};
        struct bound bound = {NULL, 0};
        char *wrong;

        assert_true(settings_add(&settings, wrong_ones[i][0]));
        wrong = settings_bind(&settings, &plugin, &self, &bound);
        assert_non_null(wrong);
        assert_string_equal(wrong, wrong_ones[i][1]);
        free(wrong);
        bound_free(&bound);
        settings_free(&settings);
    }
}

static void lines_that_are_not_understood_are_named(void **state)
{
    char *wrong;
    struct settings settings = read_text("text: a\nwhat is this\n", &wrong);

    (void)state;
    assert_non_null(wrong);
    assert_non_null(strstr(wrong, ":2: expected"));
    free(wrong);
    settings_free(&settings);
}

/* ---- ELF ---- */

static char *plugin_bytes;
static size_t plugin_len;

static void read_plugin(void)
{
    FILE *stream = fopen(PLUGIN_FILE, "re");

    assert_non_null(stream);
    fseek(stream, 0, SEEK_END);
    plugin_len = (size_t)ftell(stream);
    rewind(stream);
    plugin_bytes = must_realloc(NULL, plugin_len);
    assert_int_equal(fread(plugin_bytes, 1, plugin_len, stream), plugin_len);
    fclose(stream);
}

/* Reads `len` bytes as a file; whatever they are, it must return. */
static void read_symbols(const char *bytes, size_t len)
{
    char name[] = "/tmp/fngate-elf-XXXXXX";
    FILE *stream = fdopen(mkstemp(name), "w");
    struct elf_symbols symbols;

    fwrite(bytes, 1, len, stream);
    fclose(stream);
    free(elf_read_symbols(name, &symbols));
    elf_symbols_free(&symbols);
    unlink(name);
}

static void symbols_of_a_plugin_are_read(void **state)
{
    struct elf_symbols symbols;

    (void)state;
    assert_null(elf_read_symbols(PLUGIN_FILE, &symbols));
    assert_int_equal(symbols.exports.count, 1);
    assert_string_equal(symbols.exports.items[0], "fng_plugin_entry");
    assert_true(symbols.imports.count > 5);
    elf_symbols_free(&symbols);
}

static void damaged_files_are_survived(void **state)
{
    (void)state;
    read_plugin();
    for (size_t len = 1; len < plugin_len; len += 1 + plugin_len / 61)
        read_symbols(plugin_bytes, len);
    srand(1);
    for (unsigned i = 0; i < 300; i++) {
        /* The header and, at the end of the file, the section table steer the reader. */
        size_t at = i % 2 ? (size_t)rand() % 64 : plugin_len - 1 - (size_t)rand() % 2500;
        char before = plugin_bytes[at];

        plugin_bytes[at] = (char)rand();
        read_symbols(plugin_bytes, plugin_len);
        plugin_bytes[at] = before;
    }
    free(plugin_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_bound_by_the_types_of_its_keys),
        cmocka_unit_test(items_and_options_add_up_to_lists),
        cmocka_unit_test(wrong_values_are_named),
        cmocka_unit_test(lines_that_are_not_understood_are_named),
        cmocka_unit_test(symbols_of_a_plugin_are_read),
        cmocka_unit_test(damaged_files_are_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

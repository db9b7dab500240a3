/* What holds for plugins of every kind: the file, its descriptor, loading and life. */
#include "case.h"
#include "elf_file.h"
#include "kv.h"
#include "view.h"

#include <fngate/provider.h>
#include <fngate/store.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_LEN = 64, SELF_MAX = 1 << 24, KEYS_MAX = 256, STOP_LIMIT_MS = 10000 };

/* ---- file/: before any of its code runs ---- */

/* What the gateway's loader asks of the file. */
static void is_trustworthy(struct case_context *context)
{
    struct stat st;

    CHECK(stat(context->options->file, &st) == 0, "%s", strerror(errno));
    CHECK(S_ISREG(st.st_mode), "it is not a regular file");
    CHECK(!(st.st_mode & (S_IWGRP | S_IWOTH)),
          "its group or others may write it (mode %04o), so the gateway will not load it: "
          "chmod go-w",
          (unsigned)(st.st_mode & 07777));
    CHECK(st.st_uid == 0 || st.st_uid == geteuid(),
          "it belongs to user %u, so the gateway will not load it: it must be root's or its own",
          (unsigned)st.st_uid);
}

static void exports_one_symbol(struct case_context *context)
{
    struct elf_symbols symbols;
    char *wrong = elf_read_symbols(context->options->file, &symbols);

    CHECK(!wrong, "%s", wrong);
    CHECK(symbols.exports.count > 0, "it exports nothing: use FNG_PLUGIN_REGISTER");
    for (size_t i = 0; i < symbols.exports.count; i++)
        CHECK(strcmp(symbols.exports.items[i], FNG_PLUGIN_ENTRY_NAME) == 0,
              "it exports %s: compile with -fvisibility=hidden and link with "
              "-Wl,--exclude-libs,ALL",
              symbols.exports.items[i]);
    elf_symbols_free(&symbols);
}

/* They change the process, which belongs to the gateway. A warning: how they are used decides. */
static void imports_are_harmless(struct case_context *context)
{
    static const char *const suspects[] = {
        "exit",
        "_exit",
        "quick_exit",
        "fork",
        "vfork",
        "daemon",
        "signal",
        "sigaction",
        "sigprocmask",
        "setenv",
        "putenv",
        "unsetenv",
        "clearenv",
        "chdir",
        "fchdir",
        "chroot",
        "umask",
        "setlocale",
        "setuid",
        "setgid",
        "setsid",
        "setrlimit",
        "prctl",
        "atexit",
        "system",
        "popen",
        "dlclose",
        "curl_global_init",
        "mallopt",
        "tzset",
        "vhangup",
        "personality",
        "json_set_alloc_funcs",
        "nice",
        "alarm",
    };
    struct elf_symbols symbols;
    char *wrong = elf_read_symbols(context->options->file, &symbols);

    CHECK(!wrong, "%s", wrong);
    for (size_t i = 0; i < symbols.imports.count; i++)
        for (size_t k = 0; k < COUNT_OF(suspects); k++)
            if (strcmp(symbols.imports.items[i], suspects[k]) == 0)
                printf("# warning: it imports %s, which may change the gateway's process\n",
                       suspects[k]);
    fflush(stdout);
    elf_symbols_free(&symbols);
}

/* ---- descriptor/ ---- */

static void has_magic_and_size(struct case_context *context)
{
    const struct fng_plugin *plugin = context->plugin;

    CHECK(plugin->magic == FNG_PLUGIN_MAGIC, "magic is %#x", plugin->magic);
    CHECK(plugin->size >= FNG_PLUGIN_SIZE_MIN, "size is %u, at least %zu is needed", plugin->size,
          FNG_PLUGIN_SIZE_MIN);
    CHECK(plugin->self_size <= SELF_MAX, "self_size is %zu", plugin->self_size);
}

static void fits_this_abi(struct case_context *context)
{
    const struct fng_plugin *plugin = context->plugin;

    CHECK(plugin->abi_major == FNG_ABI_MAJOR, "it was built for ABI %u, this is %u",
          plugin->abi_major, FNG_ABI_MAJOR);
    CHECK(plugin->min_host_minor <= plugin->abi_minor,
          "min_host_minor %u is newer than the ABI %u.%u that it was built for",
          plugin->min_host_minor, plugin->abi_major, plugin->abi_minor);
    CHECK(plugin->min_host_minor <= FNG_ABI_MINOR, "it needs a host of ABI %u.%u, this is %u.%u",
          plugin->abi_major, plugin->min_host_minor, FNG_ABI_MAJOR, FNG_ABI_MINOR);
}

/* [a-z][a-z0-9]*, and `also`. */
static bool is_name(const char *name, char also)
{
    size_t len = name ? strlen(name) : 0;

    if (len == 0 || len > NAME_MAX_LEN || !islower((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) && name[i] != also)
            return false;
    return true;
}

static void introduces_itself(struct case_context *context)
{
    const struct fng_plugin *plugin = context->plugin;

    CHECK(is_name(plugin->name, '-'), "name '%s' is not [a-z][a-z0-9-]*",
          plugin->name ? plugin->name : "");
    CHECK(plugin->version && plugin->version[0], "version is missing");
    CHECK(plugin->description && plugin->description[0], "description is missing");
}

static size_t size_of_type(uint32_t type)
{
    switch (type) {
    case FNG_CONF_BOOL:
        return sizeof(int32_t);
    case FNG_CONF_INT:
    case FNG_CONF_SIZE:
    case FNG_CONF_DURATION:
        return sizeof(int64_t);
    default:
        return sizeof(struct fng_str);
    }
}

static void check_config_key(const struct fng_plugin *plugin, size_t index)
{
    const struct fng_config_key *key = plugin_key(plugin, index);
    size_t size = size_of_type(key->type);

    CHECK(is_name(key->name, '_'), "key %zu: name '%s' is not [a-z][a-z0-9_]*", index,
          key->name ? key->name : "");
    CHECK(key->type >= FNG_CONF_STR && key->type <= FNG_CONF_MAP, "key '%s': type %u", key->name,
          key->type);
    CHECK(key->help && key->help[0], "key '%s' has no help", key->name);
    CHECK(key->min <= key->max, "key '%s': min is greater than max", key->name);
    CHECK(key->offset <= plugin->self_size && size <= plugin->self_size - key->offset,
          "key '%s' is written outside of self_size", key->name);
    CHECK(!(key->flags & FNG_CONF_REQUIRED) || !key->default_value,
          "key '%s' is required and has a default", key->name);
    for (size_t i = 0; i < index; i++) {
        const struct fng_config_key *other = plugin_key(plugin, i);

        CHECK(strcmp(other->name, key->name) != 0, "key '%s' stands twice", key->name);
        CHECK(other->offset + size_of_type(other->type) <= key->offset ||
                  key->offset + size <= other->offset,
              "keys '%s' and '%s' overlap in self", other->name, key->name);
    }
}

static void has_a_sound_config_table(struct case_context *context)
{
    const struct fng_plugin *plugin = context->plugin;

    CHECK(plugin->config_count <= KEYS_MAX, "%zu keys", plugin->config_count);
    if (plugin->config_count == 0)
        return;
    CHECK(plugin->config, "config is NULL");
    CHECK(plugin->config_stride >= sizeof(struct fng_config_key), "config_stride is %zu",
          plugin->config_stride);
    for (size_t i = 0; i < plugin->config_count; i++)
        check_config_key(plugin, i);
}

static void has_the_required_operations(struct case_context *context)
{
    const struct fng_plugin *plugin = context->plugin;

    CHECK(plugin->operations, "operations is NULL");
    if (plugin->kind == FNG_KIND_STORE) {
        const struct fng_store_ops *ops = plugin->operations;

        CHECK(ops->size >= sizeof(*ops), "operations size is %u", ops->size);
        CHECK(ops->get && ops->put && ops->remove && ops->list,
              "a store needs get, put, remove and list");
    } else {
        const struct fng_provider_ops *ops = plugin->operations;

        CHECK(ops->size >= sizeof(*ops), "operations size is %u", ops->size);
        CHECK(ops->watch && ops->scale, "a provider needs watch and scale");
        CHECK(ops->orchestration && ops->orchestration[0], "orchestration is missing");
    }
}

/* ---- life/ ---- */

/* What `fngate check` does: no I/O and no threads before start. */
static void checks_configuration_without_side_effects(struct case_context *context)
{
    unsigned descriptors = count_descriptors(), threads = count_threads();
    struct kv *kv = kv_new(NULL);
    struct view *view = view_new();
    struct instance *instance = case_open(context, "only-checked", kv, view);

    CHECK(threads_left(threads) == 0, "load or config_complete started a thread");
    CHECK(count_descriptors() == descriptors, "load or config_complete opened a descriptor");
    CHECK(view_facts(view).changes == 0, "load or config_complete pushed a delta");
    case_close(instance);
    view_free(view);
    kv_free(kv);
}

static void starts_and_stops(struct case_context *context)
{
    struct kv *kv = kv_new(NULL);
    struct view *view = view_new();
    struct instance *instance = case_start(context, "one", kv, view);
    int64_t begin_ms = now_ms();

    instance_drain(instance);
    instance_stop(instance);
    CHECK(now_ms() - begin_ms < STOP_LIMIT_MS, "drain and stop took %lld ms",
          (long long)(now_ms() - begin_ms));
    case_close(instance);
    view_free(view);
    kv_free(kv);
}

static void gives_everything_back(struct case_context *context)
{
    unsigned rounds = context->options->is_slow ? 20 : 3;
    unsigned descriptors, threads = count_threads(), left;

    starts_and_stops(context); /* what a library opens once, for ever */
    descriptors = count_descriptors();
    for (unsigned i = 0; i < rounds; i++)
        starts_and_stops(context);
    CHECK(count_descriptors() <= descriptors, "%u more descriptors after %u starts and stops",
          count_descriptors() - descriptors, rounds);
    left = threads_left(threads);
    CHECK(left == 0, "%u threads are left after stop", left);
}

static const char *skip_two_instances(const struct fng_plugin *plugin)
{
    for (size_t i = 0; i < plugin->config_count; i++)
        if (plugin_key(plugin, i)->flags & FNG_CONF_REQUIRED)
            return "its required settings may not be given twice";
    return NULL;
}

static void lives_twice_at_a_time(struct case_context *context)
{
    struct kv *kv_one = kv_new(NULL), *kv_two = kv_new(NULL);
    struct view *view_one = view_new(), *view_two = view_new();
    struct instance *one = case_start(context, "one", kv_one, view_one);
    struct instance *two = case_start(context, "two", kv_two, view_two);

    case_stop(one);
    case_stop(two);
    view_free(view_one);
    view_free(view_two);
    kv_free(kv_one);
    kv_free(kv_two);
}

static const struct check_case cases[] = {
    {"file/is-trustworthy", is_trustworthy, NULL},
    {"file/exports-one-symbol", exports_one_symbol, NULL},
    {"file/imports-are-harmless", imports_are_harmless, NULL},
    {"descriptor/magic-and-size", has_magic_and_size, NULL},
    {"descriptor/abi", fits_this_abi, NULL},
    {"descriptor/names", introduces_itself, NULL},
    {"descriptor/config-table", has_a_sound_config_table, NULL},
    {"descriptor/operations", has_the_required_operations, NULL},
    {"life/check-has-no-side-effects", checks_configuration_without_side_effects, NULL},
    {"life/start-and-stop", starts_and_stops, NULL},
    {"life/nothing-left-after-stop", gives_everything_back, NULL},
    {"life/two-instances", lives_twice_at_a_time, skip_two_instances},
};

const struct suite life_suite = {cases, COUNT_OF(cases)};

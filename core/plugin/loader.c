/* Loading: a file is opened, checked step by step and copied. Each refusal has a sentence of its
 * own that says what to do. Code is never unloaded, also after a refusal: its constructors have
 * run.
 */
#include "plugin/internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct list opened = {&opened, &opened};

struct kind_info {
    const char *name;
    const struct operation_info *operations;
    size_t operations_count;
    size_t size_min;   /* of the operations, in ABI 0.1 */
    size_t size_known; /* what this gateway reads of them */
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define OPERATION(kind, member, is_required)                                                       \
    {                                                                                              \
#        member, offsetof(struct fng_##kind##_ops, member), is_required                            \
    }

static const struct operation_info provider_operations[] = {
    OPERATION(provider, deploy, false),
    OPERATION(provider, update, false),
    OPERATION(provider, remove, false),
    OPERATION(provider, scale, true),
    OPERATION(provider, activate, false),
    OPERATION(provider, endpoint_released, false),
    OPERATION(provider, logs, false),
    OPERATION(provider, watch, true),
    OPERATION(provider, secret_list, false),
    OPERATION(provider, usage, false),
    OPERATION(provider, namespace_list, false),
    OPERATION(provider, secret_set, false),
    OPERATION(provider, secret_remove, false),
    OPERATION(provider, namespace_set, false),
    OPERATION(provider, namespace_remove, false)};
static const struct operation_info store_operations[] = {
    OPERATION(store, get, true), OPERATION(store, put, true), OPERATION(store, remove, true),
    OPERATION(store, list, true), OPERATION(store, lease, false)};

static const struct kind_info kinds[] = {
    {"", NULL, 0, 0, 0},
    {"provider", provider_operations, COUNT_OF(provider_operations),
     sizeof(struct fng_provider_ops), sizeof(struct fng_provider_ops)},
    {"store", store_operations, COUNT_OF(store_operations), sizeof(struct fng_store_ops),
     sizeof(struct fng_store_ops)},
    {"queue", NULL, 0, 0, 0},
    {"metrics", NULL, 0, 0, 0},
    {"trigger", NULL, 0, 0, 0}};

const char *plugin_kind_name(uint32_t kind)
{
    return kind > 0 && kind < COUNT_OF(kinds) ? kinds[kind].name : "unknown";
}

const struct operation_info *plugin_operations(uint32_t kind, size_t *ret_count)
{
    ASSERT(kind < COUNT_OF(kinds));
    *ret_count = kinds[kind].operations_count;
    return kinds[kind].operations;
}

bool plugin_has(const struct plugin *plugin, const struct operation_info *operation)
{
    void *function;

    memcpy(&function, (const char *)&plugin->ops + operation->offset, sizeof(function));
    return function != NULL;
}

static bool name_is_valid(struct str name, char separator)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_letter = c >= 'a' && c <= 'z';

        if (!is_letter && (i == 0 || !((c >= '0' && c <= '9') || c == separator)))
            return false;
    }
    return name.len > 0 && name.len <= NAME_MAX_LEN;
}

bool plugin_name_is_valid(struct str name)
{
    return name_is_valid(name, '-');
}

/* ---- The file ---- */

static int check_file(const char *path, struct stat *ret_stat, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    mode_t mode;

    if (fd < 0 || fstat(fd, ret_stat) < 0)
        return err_set(err, -errno, "%s: cannot be opened: %s", path, strerror(errno));
    mode = ret_stat->st_mode;
    if (!S_ISREG(mode))
        return err_set(err, -EINVAL, "%s: is not a regular file", path);
    if (mode & (S_IWGRP | S_IWOTH))
        return err_set(err, -EPERM,
                       "%s: may be written by its group or by others (mode %04o), and its code "
                       "would run here; chmod go-w",
                       path, (unsigned)(mode & 07777));
    if (ret_stat->st_uid != 0 && ret_stat->st_uid != geteuid())
        return err_set(err, -EPERM, "%s: belongs to user %u; it must belong to root or to user %u",
                       path, (unsigned)ret_stat->st_uid, (unsigned)geteuid());
    return 0;
}

/* What the dynamic linker's sentence means for whoever installs the plugin. */
static const char *linker_hint(const char *why)
{
    static const char *const hints[][2] = {
        {"undefined symbol", "it must be linked with every library that it uses; -Wl,-z,defs finds "
                             "this when it is built"},
        {"wrong ELF class", "it was built for another processor"},
        {"invalid ELF header", "this is not a shared object"},
        {"file too short", "this is not a shared object"},
        {"cannot dynamically load", "this is a program, not a shared object"},
        {"' not found", "it was built for a newer system than this one"},
        {"cannot open shared object file", "a library that it needs is not installed; see ldd"}};

    for (size_t i = 0; i < COUNT_OF(hints); i++)
        if (strstr(why, hints[i][0]))
            return hints[i][1];
    return "see ldd and readelf -d for what it needs";
}

static int find_descriptor(const char *path, const struct fng_plugin **ret, struct err *err)
{
    fng_plugin_entry_f *entry;
    void *handle, *symbol;

    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle) {
        const char *why = dlerror();

        why = why ? why : "unknown";
        return err_set(err, -ENOEXEC, "%s: cannot be loaded: %s (%s)", path, why, linker_hint(why));
    }
    symbol = dlsym(handle, FNG_PLUGIN_ENTRY_NAME);
    if (!symbol)
        return err_set(err, -EINVAL,
                       "%s: is no fngate plugin: it has no symbol " FNG_PLUGIN_ENTRY_NAME
                       " (FNG_PLUGIN_REGISTER makes it)",
                       path);
    memcpy(&entry, &symbol, sizeof(entry));
    *ret = entry(FNG_ABI_VERSION);
    if (!*ret)
        return err_set(err, -EINVAL,
                       "%s: declines to serve this gateway (ABI %d.%d): its entry gave no "
                       "descriptor",
                       path, FNG_ABI_MAJOR, FNG_ABI_MINOR);
    return 0;
}

/* ---- The descriptor ---- */

static int check_version(const char *path, const struct fng_plugin *d, struct err *err)
{
    if (d->magic != FNG_PLUGIN_MAGIC)
        return err_set(err, -EINVAL, "%s: its descriptor begins with 0x%08x instead of 0x%08x",
                       path, (unsigned)d->magic, (unsigned)FNG_PLUGIN_MAGIC);
    if (d->size < FNG_PLUGIN_SIZE_MIN)
        return err_set(err, -EINVAL,
                       "%s: its descriptor says it has %u bytes; the smallest known has %zu", path,
                       (unsigned)d->size, FNG_PLUGIN_SIZE_MIN);
    if (d->abi_major != FNG_ABI_MAJOR)
        return err_set(err, -EINVAL,
                       "%s: was built for ABI %u.%u; this gateway speaks %d.%d: rebuild it with "
                       "this gateway's SDK",
                       path, d->abi_major, d->abi_minor, FNG_ABI_MAJOR, FNG_ABI_MINOR);
    if (d->min_host_minor > FNG_ABI_MINOR)
        return err_set(err, -EINVAL,
                       "%s: needs a gateway with ABI %u.%u or newer; this one has %d.%d", path,
                       d->abi_major, d->min_host_minor, FNG_ABI_MAJOR, FNG_ABI_MINOR);
    return 0;
}

static int check_identity(const char *path, const struct fng_plugin *d, struct err *err)
{
    if (!plugin_name_is_valid(str_from(d->name)))
        return err_set(err, -EINVAL,
                       "%s: its name '%.64s' must be [a-z][a-z0-9-]*, at most %d bytes", path,
                       d->name ? d->name : "", NAME_MAX_LEN);
    if (d->kind == 0 || d->kind >= COUNT_OF(kinds))
        return err_set(err, -EINVAL, "%s: %s is of kind %u, which this gateway does not know", path,
                       d->name, (unsigned)d->kind);
    if (!kinds[d->kind].operations)
        return err_set(err, -EINVAL,
                       "%s: %s is a %s; ABI %d.%d reserves this kind but does not serve it yet",
                       path, d->name, kinds[d->kind].name, FNG_ABI_MAJOR, FNG_ABI_MINOR);
    return 0;
}

/* Copies the operations once their size is known to be sound. */
static int take_operations(struct plugin *plugin, struct err *err)
{
    const struct fng_plugin *d = &plugin->descriptor;
    const struct kind_info *kind = &kinds[d->kind];
    uint32_t size;

    if (!d->operations)
        return err_set(err, -EINVAL, "%s: %s has no operations", plugin->path, d->name);
    memcpy(&size, d->operations, sizeof(size));
    if (size < kind->size_min)
        return err_set(err, -EINVAL,
                       "%s: the operations of %s say they have %u bytes; the smallest known have "
                       "%zu",
                       plugin->path, d->name, (unsigned)size, kind->size_min);
    memcpy(&plugin->ops, d->operations, size < kind->size_known ? size : kind->size_known);
    for (size_t i = 0; i < kind->operations_count; i++)
        if (kind->operations[i].is_required && !plugin_has(plugin, &kind->operations[i]))
            return err_set(err, -EINVAL, "%s: %s lacks the operation '%s', which every %s needs",
                           plugin->path, d->name, kind->operations[i].name, kind->name);
    return 0;
}

/* ---- The configuration table ---- */

static size_t size_at_offset(uint32_t type)
{
    static const size_t sizes[] = {0,
                                   sizeof(struct fng_str),
                                   sizeof(int32_t),
                                   sizeof(int64_t),
                                   sizeof(uint64_t),
                                   sizeof(int64_t),
                                   sizeof(struct fng_str_list),
                                   sizeof(struct fng_kv_list)};

    return type < COUNT_OF(sizes) ? sizes[type] : 0;
}

static int check_key(const struct plugin *plugin, size_t at, const struct fng_config_key *key,
                     struct err *err)
{
    const struct fng_plugin *d = &plugin->descriptor;
    size_t size = size_at_offset(key->type);
    struct err why;

    if (!name_is_valid(str_from(key->name), '_'))
        return err_set(err, -EINVAL,
                       "%s: the name of its configuration key %zu, '%.64s', must be "
                       "[a-z][a-z0-9_]*",
                       plugin->path, at, key->name ? key->name : "");
    for (size_t i = 0; i < at; i++)
        if (!strcmp(plugin->keys[i].name, key->name))
            return err_set(err, -EINVAL, "%s: its configuration key '%s' is declared twice",
                           plugin->path, key->name);
    if (size == 0)
        return err_set(err, -EINVAL,
                       "%s: its configuration key '%s' has the type %u, which this gateway does "
                       "not know",
                       plugin->path, key->name, (unsigned)key->type);
    if (key->offset > d->self_size || size > d->self_size - key->offset)
        return err_set(err, -EINVAL,
                       "%s: its configuration key '%s' lies outside the instance state (offset "
                       "%zu, %zu bytes, of %zu)",
                       plugin->path, key->name, key->offset, size, d->self_size);
    if (conf_check_key(&plugin->keys[at], &why) < 0)
        return err_set(err, -EINVAL, "%s: its configuration key '%s' is wrong: %s", plugin->path,
                       key->name, why.text);
    return 0;
}

static int take_config(struct plugin *plugin, struct err *err)
{
    const struct fng_plugin *d = &plugin->descriptor;

    if (d->config_count == 0)
        return 0;
    if (!d->config || d->config_stride < sizeof(struct fng_config_key))
        return err_set(err, -EINVAL,
                       "%s: its configuration table has no keys or a stride below %zu bytes",
                       plugin->path, sizeof(struct fng_config_key));
    plugin->keys = xcalloc(d->config_count, sizeof(*plugin->keys));
    plugin->keys_count = d->config_count;
    for (size_t i = 0; i < d->config_count; i++) {
        struct fng_config_key key;
        int result;

        memcpy(&key, (const char *)d->config + i * d->config_stride, sizeof(key));
        plugin->keys[i] = (struct conf_key){.name = key.name,
                                            .type = (enum conf_type)key.type,
                                            .flags = key.flags,
                                            .default_value = key.default_value,
                                            .help = key.help,
                                            .min = key.min,
                                            .max = key.max,
                                            .offset = key.offset};
        result = check_key(plugin, i, &key, err);
        if (result < 0)
            return result;
    }
    return 0;
}

/* ---- All steps in order ---- */

static int check(struct plugin *plugin, struct err *err)
{
    const struct fng_plugin *theirs;
    int result = find_descriptor(plugin->path, &theirs, err);

    if (result == 0)
        result = check_version(plugin->path, theirs, err);
    if (result < 0)
        return result;
    memcpy(&plugin->descriptor, theirs,
           theirs->size < sizeof(*theirs) ? theirs->size : sizeof(*theirs));
    result = check_identity(plugin->path, &plugin->descriptor, err);
    if (result == 0)
        result = take_operations(plugin, err);
    return result == 0 ? take_config(plugin, err) : result;
}

static struct plugin *find_opened(const struct stat *st)
{
    LIST_FOR_EACH(it, &opened)
    {
        struct plugin *plugin = CONTAINER_OF(it, struct plugin, node);

        if (plugin->device == st->st_dev && plugin->inode == st->st_ino)
            return plugin;
    }
    return NULL;
}

int plugin_open(const char *path, struct plugin **ret, struct err *err)
{
    struct plugin *plugin;
    struct stat st;
    int result = check_file(path, &st, err);

    if (result < 0)
        return result;
    *ret = find_opened(&st);
    if (*ret)
        return 0;

    plugin = xcalloc(1, sizeof(*plugin));
    plugin->device = st.st_dev;
    plugin->inode = st.st_ino;
    /* Absolute, so that the dynamic linker searches nowhere else. */
    plugin->path = realpath(path, NULL);
    result = plugin->path ? check(plugin, err)
                          : err_set(err, -errno, "%s: cannot be opened: %s", path, strerror(errno));
    if (result < 0) {
        mem_free(plugin->keys);
        mem_free(plugin->path);
        mem_free(plugin);
        return result;
    }
    list_push(&opened, &plugin->node);
    *ret = plugin;
    return 0;
}

const struct fng_plugin *plugin_descriptor(const struct plugin *plugin)
{
    return &plugin->descriptor;
}

const char *plugin_path(const struct plugin *plugin)
{
    return plugin->path;
}

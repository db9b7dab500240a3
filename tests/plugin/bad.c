/* Plugins that are wrong in one way each, chosen by BAD_... at compile time. What is not named is
 * as it should be. */
#include <fngate/store.h>

#include <stddef.h>

struct bad {
    struct fng_str text;
    int64_t number;
};

static int32_t bad_get(void *self, struct fng_str key, fng_kv_value_f *on_value, void *arg)
{
    (void)self, (void)key, (void)on_value, (void)arg;
    return FNG_E_NOT_FOUND;
}

static int32_t bad_put(void *self, struct fng_str key, struct fng_str value, uint64_t expected,
                       uint64_t *ret_version)
{
    (void)self, (void)key, (void)value, (void)expected, (void)ret_version;
    return FNG_E_CONFLICT;
}

static int32_t bad_remove(void *self, struct fng_str key, uint64_t expected)
{
    (void)self, (void)key, (void)expected;
    return FNG_E_NOT_FOUND;
}

#ifndef BAD_LIST
static int32_t bad_list(void *self, struct fng_str prefix, struct fng_str after, uint32_t limit,
                        fng_kv_entry_f *on_entry, void *arg)
{
    (void)self, (void)prefix, (void)after, (void)limit, (void)on_entry, (void)arg;
    return FNG_OK;
}
#    define BAD_LIST bad_list
#endif

#ifndef BAD_OPS_SIZE
#    define BAD_OPS_SIZE sizeof(struct fng_store_ops)
#endif
static const struct fng_store_ops bad_operations __attribute__((used)) = {
    .size = BAD_OPS_SIZE, .get = bad_get, .put = bad_put, .remove = bad_remove, .list = BAD_LIST};

#ifndef BAD_KEY_NAME
#    define BAD_KEY_NAME "second"
#endif
#ifndef BAD_KEY_TYPE
#    define BAD_KEY_TYPE FNG_CONF_INT
#endif
#ifndef BAD_KEY_DEFAULT
#    define BAD_KEY_DEFAULT "5"
#endif
#ifndef BAD_KEY_OFFSET
#    define BAD_KEY_OFFSET offsetof(struct bad, number)
#endif
#ifndef BAD_KEY_MIN
#    define BAD_KEY_MIN 0
#endif
/* A newer SDK may have appended members: the stride says so. */
struct newer_key {
    struct fng_config_key key;
    const char *unit;
};
#ifdef BAD_NEWER
#    define KEY_TYPE struct newer_key
#    define KEY(...)                                                                               \
        {                                                                                          \
            .key = {__VA_ARGS__}, .unit = "unknown today"                                          \
        }
#    define BAD_STRIDE sizeof(struct newer_key)
#else
#    define KEY_TYPE struct fng_config_key
#    define KEY(...)                                                                               \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }
#endif
static const KEY_TYPE bad_keys[] = {
    KEY(.name = "first", .type = FNG_CONF_STR, .offset = offsetof(struct bad, text)),
    KEY(.name = BAD_KEY_NAME, .type = BAD_KEY_TYPE, .default_value = BAD_KEY_DEFAULT,
        .min = BAD_KEY_MIN, .max = 10, .offset = BAD_KEY_OFFSET),
};

#ifndef BAD_MAGIC
#    define BAD_MAGIC FNG_PLUGIN_MAGIC
#endif
#ifndef BAD_SIZE
#    define BAD_SIZE sizeof(struct fng_plugin)
#endif
#ifndef BAD_MAJOR
#    define BAD_MAJOR FNG_ABI_MAJOR
#endif
#ifndef BAD_MIN_HOST
#    define BAD_MIN_HOST 0
#endif
#ifndef BAD_KIND
#    define BAD_KIND FNG_KIND_STORE
#endif
#ifndef BAD_NAME
#    define BAD_NAME "bad"
#endif
#ifndef BAD_OPERATIONS
#    define BAD_OPERATIONS &bad_operations
#endif
#ifndef BAD_STRIDE
#    define BAD_STRIDE sizeof(struct fng_config_key)
#endif

static const struct fng_plugin bad_descriptor
    __attribute__((used)) = {.magic = BAD_MAGIC,
                             .size = BAD_SIZE,
                             .abi_major = BAD_MAJOR,
                             .abi_minor = FNG_ABI_MINOR,
                             .min_host_minor = BAD_MIN_HOST,
                             .kind = BAD_KIND,
                             .name = BAD_NAME,
                             .version = "1",
                             .description = "Wrong in one way.",
                             .self_size = sizeof(struct bad),
                             .config = (const struct fng_config_key *)(const void *)bad_keys,
                             .config_count = 2,
                             .config_stride = BAD_STRIDE,
                             .operations = BAD_OPERATIONS};

#if defined(BAD_NULL_DESCRIPTOR)
FNG_EXPORT const struct fng_plugin *fng_plugin_entry(uint32_t host_abi);
FNG_EXPORT const struct fng_plugin *fng_plugin_entry(uint32_t host_abi)
{
    (void)host_abi;
    return NULL;
}
#elif defined(BAD_UNDEFINED_SYMBOL)
extern int function_that_no_library_has(void);
FNG_EXPORT const struct fng_plugin *fng_plugin_entry(uint32_t host_abi);
FNG_EXPORT const struct fng_plugin *fng_plugin_entry(uint32_t host_abi)
{
    return host_abi + (uint32_t)function_that_no_library_has() ? &bad_descriptor : NULL;
}
#elif !defined(BAD_NO_ENTRY)
FNG_PLUGIN_REGISTER(bad_descriptor)
#endif

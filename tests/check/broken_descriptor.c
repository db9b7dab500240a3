/* A plugin that does nothing, and is wrong before it could: built once per fault, as the faults are
 * in the file, in its descriptor or in what runs before start. */
#include <fngate/provider.h>

#include <fcntl.h>
#include <stdlib.h>

struct broken {
    struct fng_str text;
};

static int32_t broken_config_complete(void *self)
{
    (void)self;
#ifdef FAULT_OPENS_EARLY
    if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
        abort();
#endif
#ifdef FAULT_SETS_ENVIRONMENT
    setenv("BROKEN", "1", 1);
#endif
    return 0;
}

static int32_t broken_scale(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                            uint64_t generation)
{
    (void)self, (void)ns, (void)name, (void)replicas, (void)generation;
    return FNG_E_UNSUPPORTED;
}

#ifndef FAULT_NO_WATCH
static int32_t broken_watch(void *self)
{
    (void)self;
    return 0;
}
#endif

static const struct fng_provider_ops operations = {
    .size = sizeof(operations),
    .orchestration = "broken",
    .scale = broken_scale,
#ifndef FAULT_NO_WATCH
    .watch = broken_watch,
#endif
};

static const struct fng_config_key config_keys[] = {
    {.name = "text",
     .help = "A text.",
     .type = FNG_CONF_STR,
#ifdef FAULT_KEY_OUTSIDE
     .offset = sizeof(struct broken)},
#else
     .offset = offsetof(struct broken, text)},
#endif
};

static const struct fng_plugin plugin = {
    .magic = FNG_PLUGIN_MAGIC,
    .size = sizeof(plugin),
#ifdef FAULT_OTHER_ABI
    .abi_major = FNG_ABI_MAJOR + 1,
#else
    .abi_major = FNG_ABI_MAJOR,
#endif
    .abi_minor = FNG_ABI_MINOR,
    .kind = FNG_KIND_PROVIDER,
#ifdef FAULT_BAD_NAME
    .name = "Broken Plugin",
#else
    .name = "broken",
#endif
    .version = "0.1.0",
    .description = "Is wrong.",
    .self_size = sizeof(struct broken),
    .config = config_keys,
    .config_count = 1,
    .config_stride = sizeof(config_keys[0]),
    .config_complete = broken_config_complete,
    .operations = &operations,
};

#ifdef FAULT_TWO_SYMBOLS
FNG_EXPORT int broken_helper(void);
FNG_EXPORT int broken_helper(void)
{
    return 1;
}
#endif

#ifdef FAULT_CRASHES_EARLY
static void __attribute__((constructor)) crash(void)
{
    abort();
}
#endif

#ifdef FAULT_NO_ENTRY
FNG_EXPORT const struct fng_plugin *some_other_entry(void);
FNG_EXPORT const struct fng_plugin *some_other_entry(void)
{
    return &plugin;
}
#else
FNG_PLUGIN_REGISTER(plugin)
#endif

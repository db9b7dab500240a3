/* fngate SDK: the descriptor of a plugin and its life.
 *
 * A plugin is a shared object with exactly one exported symbol, made by FNG_PLUGIN_REGISTER. It may
 * block: its calls run on threads of the gateway's lanes, never on an event loop.
 *
 *   open and check -> load -> configuration bound by the gateway -> config_complete -> start
 *     -> operations -> drain -> stop -> unload
 *
 * `fngate check` goes as far as config_complete. Code is never unloaded; the same .so may have
 * several instances, each with its own state.
 *
 * ABI history
 *   0.1  first: kinds provider and store.
 */
#ifndef FNGATE_PLUGIN_H
#define FNGATE_PLUGIN_H

#include <fngate/host.h>
#include <fngate/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FNG_ABI_MAJOR 0
#define FNG_ABI_MINOR 1
/* Host version as given to the entry function: major in the high half. */
#define FNG_ABI_VERSION  (((uint32_t)FNG_ABI_MAJOR << 16) | FNG_ABI_MINOR)
#define FNG_PLUGIN_MAGIC UINT32_C(0x464e4731) /* "FNG1" */

enum {
    FNG_KIND_PROVIDER = 1, /* fngate/provider.h */
    FNG_KIND_STORE = 2,    /* fngate/store.h */
    FNG_KIND_QUEUE = 3,    /* reserved; not served by ABI 0.1 */
    FNG_KIND_METRICS = 4,  /* reserved */
    FNG_KIND_TRIGGER = 5   /* reserved */
};

/* Types of configuration keys, and what the gateway writes at `offset` of the instance state.
 * Strings and lists are owned by the gateway and valid until unload. */
enum {
    FNG_CONF_STR = 1,      /* struct fng_str, NUL-terminated as well */
    FNG_CONF_BOOL = 2,     /* int32_t, 0 or 1 */
    FNG_CONF_INT = 3,      /* int64_t */
    FNG_CONF_SIZE = 4,     /* uint64_t, bytes; text like 64Mi, 10MB, 4096 */
    FNG_CONF_DURATION = 5, /* int64_t, milliseconds; text like 250ms, 30s, 5m, 1h30m; a bare number
                              is seconds */
    FNG_CONF_LIST = 6,     /* struct fng_str_list; a single scalar is a list of one */
    FNG_CONF_MAP = 7       /* struct fng_kv_list, in the order of the file */
};

enum {
    FNG_CONF_REQUIRED = 1 << 0,
    FNG_CONF_SECRET = 1 << 1,    /* never shown; the value may be given as `key_file: PATH` too */
    FNG_CONF_DEPRECATED = 1 << 2 /* accepted with a warning */
};

/* One configuration key. */
struct fng_config_key {
    const char *name;          /* [a-z][a-z0-9_]* */
    const char *default_value; /* text as in the file; NULL: zero value */
    const char *help;          /* one sentence */
    uint32_t type;             /* FNG_CONF_* type */
    uint32_t flags;
    int64_t min; /* bounds of INT (value), SIZE (bytes), DURATION (ms), LIST and MAP (count), STR */
    int64_t max; /* (length); ignored when both are 0 */
    size_t offset;
    void *reserved[2];
};

/* Life of an instance. Every call-back may be NULL. Those that return int32_t return 0 or FNG_E_*
 * with a text given to host->fail. */
struct fng_plugin {
    uint32_t magic; /* FNG_PLUGIN_MAGIC */
    uint32_t size;  /* sizeof(struct fng_plugin) as the plugin was built */
    uint16_t abi_major;
    uint16_t abi_minor;
    uint16_t min_host_minor; /* the oldest host minor that this plugin can live with */
    uint16_t reserved0;
    uint32_t kind;
    uint32_t capabilities; /* FNG_<KIND>_CAN_* */
    const char *name;      /* [a-z][a-z0-9-]*, as in `plugin:` of the configuration */
    const char *version;
    const char *description; /* one sentence */
    size_t self_size;        /* the gateway allocates this much, zeroed, per instance */
    const struct fng_config_key *config;
    size_t config_count;
    size_t config_stride; /* sizeof(struct fng_config_key) as the plugin was built */

    /* Keep `host`. No I/O. Main thread. */
    int32_t (*load)(void *self, const struct fng_host *host);
    /* All keys are bound: check what one key alone cannot say. Pure: no I/O, no threads, also run
     * by `fngate check`. Main thread. */
    int32_t (*config_complete)(void *self);
    /* Connect, recover, begin. Control lane; may block up to the start deadline (30 s). */
    int32_t (*start)(void *self);
    /* No new operations will come; finish soon. Control lane. */
    void (*drain)(void *self);
    /* All operations have returned or were given up; join your own threads. Control lane. */
    void (*stop)(void *self);
    /* Free what `self` points to; the gateway frees self. Main thread; after a failed load or
     * config_complete too. */
    void (*unload)(void *self);

    const void *operations; /* struct fng_<kind>_ops */
    void *reserved[8];
};

/* Size of the descriptor in ABI 0.1: the smallest that is accepted. */
#define FNG_PLUGIN_SIZE_MIN sizeof(struct fng_plugin)

typedef const struct fng_plugin *fng_plugin_entry_f(uint32_t host_abi);
#define FNG_PLUGIN_ENTRY_NAME "fng_plugin_entry"

#if defined(__GNUC__)
#    define FNG_EXPORT __attribute__((visibility("default")))
#else
#    define FNG_EXPORT
#endif

#ifdef __cplusplus
#    define FNG_EXTERN_C extern "C"
#else
#    define FNG_EXTERN_C
#endif

/* Defines the one exported symbol. `descriptor` is a static const struct fng_plugin. */
#define FNG_PLUGIN_REGISTER(descriptor)                                                            \
    FNG_EXTERN_C FNG_EXPORT const struct fng_plugin *fng_plugin_entry(uint32_t host_abi);          \
    FNG_EXTERN_C FNG_EXPORT const struct fng_plugin *fng_plugin_entry(uint32_t host_abi)           \
    {                                                                                              \
        (void)host_abi;                                                                            \
        return &(descriptor);                                                                      \
    }

#ifdef __cplusplus
}
#endif

#endif

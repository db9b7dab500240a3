/* fngate SDK: the services that the gateway offers to a plugin instance.
 *
 * The gateway exports no symbols. A plugin gets this table once, in load(), and keeps the pointer:
 * it is valid until unload() returns. Test `host->size` before using a member that is newer than
 * the descriptor's min_host_minor.
 *
 * Unless a comment says otherwise a service may be called from any thread, from start() until
 * stop() returns. The services of "the current call" (fail, deadline_ms, cancelled, cancel_fd,
 * wait_ms, trace) look at the operation that the calling thread is in; on a thread of the plugin's
 * own there is none, and they say so in their return value.
 */
#ifndef FNGATE_HOST_H
#define FNGATE_HOST_H

#include <fngate/types.h>

#include <stdarg.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fng_instance; /* this instance, opaque */
struct fng_function_state;
struct fng_endpoint;

enum { FNG_LOG_ERROR = 1, FNG_LOG_WARN = 2, FNG_LOG_INFO = 3, FNG_LOG_DEBUG = 4 };
enum { FNG_HEALTH_OK = 0, FNG_HEALTH_DEGRADED = 1, FNG_HEALTH_DOWN = 2 };

/* Receives the value of a key. `value` is borrowed until it returns. */
typedef void fng_kv_value_f(void *arg, struct fng_str value, uint64_t version);
/* Receives one entry of a listing, in byte order of the keys; return non-zero to stop. */
typedef int32_t fng_kv_entry_f(void *arg, struct fng_str key, struct fng_str value,
                               uint64_t version);

struct fng_host {
    uint32_t size; /* bytes of this table */
    uint16_t abi_major;
    uint16_t abi_minor;
    struct fng_instance *instance; /* first argument of every service */

    /* Writes one log record; the gateway adds time, instance and thread. Level FNG_LOG_*. */
    void (*log)(struct fng_instance *instance, uint32_t level, struct fng_str text);

    /* Records why the current call fails, and returns `error` so that `return FNG_FAIL(...)` reads
     * well. `field` names the request field at fault ("" when none), `retry_after_ms` is 0 when
     * unknown. On a thread without a current call the text is logged instead. */
    int32_t (*fail)(struct fng_instance *instance, int32_t error, struct fng_str field,
                    struct fng_str text, uint32_t retry_after_ms);

    /* Milliseconds left for the current call; negative when it has no deadline. */
    int64_t (*deadline_ms)(struct fng_instance *instance);
    /* 1 once the current call should return as soon as it can (the caller has left, the deadline
     * has passed, the instance drains), else 0. */
    int32_t (*cancelled)(struct fng_instance *instance);
    /* A descriptor that becomes readable when `cancelled` turns 1: add it to your poll set, never
     * read or close it. -1 without a current call. Valid until the call returns. */
    int32_t (*cancel_fd)(struct fng_instance *instance);
    /* Sleeps up to `ms`; returns FNG_E_CANCELLED at once when the current call is cancelled. */
    int32_t (*wait_ms)(struct fng_instance *instance, uint32_t ms);

    /* Monotonic clock and wall clock (Unix epoch), in milliseconds. */
    int64_t (*monotonic_ms)(struct fng_instance *instance);
    int64_t (*wall_ms)(struct fng_instance *instance);

    /* Key/value access to the state store that the configuration names. Keys are private to this
     * instance (the gateway prefixes them), at most 512 bytes; values at most 1 MiB. They block
     * until the store has answered: never call them from a thread that must not wait.
     * kv_get: FNG_E_NOT_FOUND when there is none.
     * kv_put: `expected` is the version that must be stored now: 0 means "must not exist",
     *   FNG_KV_ANY means whatever; FNG_E_CONFLICT otherwise. *ret_version gets the new one; may be
     *   NULL. Durable when it returns 0.
     * kv_remove: `expected` likewise; removing what is not there is FNG_E_NOT_FOUND. */
    int32_t (*kv_get)(struct fng_instance *instance, struct fng_str key, fng_kv_value_f *on_value,
                      void *arg);
    int32_t (*kv_put)(struct fng_instance *instance, struct fng_str key, struct fng_str value,
                      uint64_t expected, uint64_t *ret_version);
    int32_t (*kv_remove)(struct fng_instance *instance, struct fng_str key, uint64_t expected);
    int32_t (*kv_list)(struct fng_instance *instance, struct fng_str prefix,
                       fng_kv_entry_f *on_entry, void *arg);

    /* Deltas of a provider: what runs where. Copied before they return; they never block for long.
     *
     * snapshot_begin .. snapshot_commit brackets a complete view: functions of this instance that
     * were not upserted in between are removed at the commit. Nothing is removed before the first
     * commit. snapshot_commit also says that the view is now in step with the backend ("synced").
     * snapshot_abort gives the view up: nothing is removed, what was upserted meanwhile stays.
     *
     * fn_upsert: a function and its state. FNG_E_CONFLICT when the gateway knows a newer generation
     *   already, or another provider owns the name; FNG_E_INVALID names a bad field.
     * fn_remove: it is gone. FNG_E_CONFLICT when `generation` is older than the known one.
     * endpoints_set: the whole endpoint set of a function, replacing the former one. `stride` is
     *   the distance in bytes between elements. FNG_E_CONFLICT for a generation older than the
     *   known one, FNG_E_NOT_FOUND for an unknown function, FNG_E_INVALID for a bad address. An
     *   endpoint that leaves the set, or turns draining, gets no new requests; when its last
     *   request is done the gateway calls the provider's endpoint_released. */
    int32_t (*snapshot_begin)(struct fng_instance *instance);
    int32_t (*snapshot_commit)(struct fng_instance *instance);
    int32_t (*snapshot_abort)(struct fng_instance *instance);
    int32_t (*fn_upsert)(struct fng_instance *instance, const struct fng_function_state *state);
    int32_t (*fn_remove)(struct fng_instance *instance, struct fng_str ns, struct fng_str name,
                         uint64_t generation);
    int32_t (*endpoints_set)(struct fng_instance *instance, struct fng_str ns, struct fng_str name,
                             uint64_t generation, const struct fng_endpoint *endpoints,
                             size_t count, size_t stride);

    /* Health of the instance as a whole, FNG_HEALTH_*, with one sentence saying why. */
    void (*health)(struct fng_instance *instance, uint32_t state, struct fng_str why);

    /* Figures under the name fngate_plugin_<name>{instance="..."}; [a-z0-9_], at most 64 bytes and
     * 32 names per instance. add makes a counter, set a gauge. */
    void (*metric_add)(struct fng_instance *instance, struct fng_str name, double delta);
    void (*metric_set)(struct fng_instance *instance, struct fng_str name, double value);

    /* The W3C traceparent of the current call, empty when there is none. Valid until it returns. */
    struct fng_str (*trace)(struct fng_instance *instance);

    /* The instance's name in the configuration and the folder it may keep files in (exists, mode
     * 0700), both NUL-terminated, valid until unload. */
    struct fng_str name;
    struct fng_str state_dir;
    /* Folder of the gateway's own executables (fngate-supervisor), NUL-terminated. */
    struct fng_str libexec_dir;

    void *reserved[16];
};

#define FNG_KV_ANY UINT64_MAX

/* printf-style helpers. They format here, in the plugin, so that no variadic function crosses the
 * boundary and languages without one lose nothing. Texts are cut at 1023 bytes. */
#if defined(__GNUC__)
#    define FNG_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#    define FNG_PRINTF(f, a)
#endif

static inline struct fng_str fng_vformat(char *buf, size_t cap, const char *format, va_list args)
{
    int n = vsnprintf(buf, cap, format, args);
    size_t len = n < 0 ? 0 : (size_t)n;

    return fng_str_make(buf, len < cap ? len : cap - 1);
}

FNG_PRINTF(3, 4)
static inline void fng_log(const struct fng_host *host, uint32_t level, const char *format, ...)
{
    char buf[1024];
    va_list args;

    va_start(args, format);
    host->log(host->instance, level, fng_vformat(buf, sizeof(buf), format, args));
    va_end(args);
}

FNG_PRINTF(3, 4)
static inline int32_t fng_fail(const struct fng_host *host, int32_t error, const char *format, ...)
{
    char buf[1024];
    va_list args;

    va_start(args, format);
    host->fail(host->instance, error, fng_str_make("", 0),
               fng_vformat(buf, sizeof(buf), format, args), 0);
    va_end(args);
    return error;
}

FNG_PRINTF(3, 4)
static inline int32_t fng_invalid(const struct fng_host *host, const char *field,
                                  const char *format, ...)
{
    char buf[1024];
    va_list args;

    va_start(args, format);
    host->fail(host->instance, FNG_E_INVALID, fng_str_from(field),
               fng_vformat(buf, sizeof(buf), format, args), 0);
    va_end(args);
    return FNG_E_INVALID;
}

FNG_PRINTF(3, 4)
static inline int32_t fng_unavailable(const struct fng_host *host, uint32_t retry_after_ms,
                                      const char *format, ...)
{
    char buf[1024];
    va_list args;

    va_start(args, format);
    host->fail(host->instance, FNG_E_UNAVAILABLE, fng_str_make("", 0),
               fng_vformat(buf, sizeof(buf), format, args), retry_after_ms);
    va_end(args);
    return FNG_E_UNAVAILABLE;
}

#ifdef __cplusplus
}
#endif

#endif

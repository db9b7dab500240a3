/* fngate SDK: the provider kind. A provider runs functions and says where they answer.
 *
 * Operations change the desired state and return; progress and failure arrive through the host's
 * deltas (fn_upsert, endpoints_set), usually pushed from `watch`. Requests never wait for an
 * operation: the gateway routes by the endpoint sets it was given.
 *
 * Lanes: each operation names its class. `control` operations may take minutes (pulls, builds);
 * `urgent` ones have threads of their own so that nothing delays a start from zero; `stream` ones
 * have a thread each. The gateway runs operations on one function of class control one after the
 * other; different functions, and different classes, run at the same time.
 */
#ifndef FNGATE_PROVIDER_H
#define FNGATE_PROVIDER_H

#include <fngate/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    FNG_PROVIDER_CAN_LIMIT_MEMORY = 1 << 0,
    FNG_PROVIDER_CAN_LIMIT_CPU = 1 << 1,
    FNG_PROVIDER_CAN_CONSTRAINTS = 1 << 2,
    FNG_PROVIDER_CAN_READ_ONLY_ROOT = 1 << 3,
    FNG_PROVIDER_CAN_SCALE_TO_ZERO = 1 << 4
};

enum { FNG_FUNCTION_READ_ONLY_ROOT = 1 << 0 };

/* A function as it was asked for. */
struct fng_function {
    uint32_t size;
    uint32_t flags;      /* FNG_FUNCTION_* */
    uint64_t generation; /* given by the gateway, grows with each deploy, update and scale */
    struct fng_str ns;
    struct fng_str name;
    struct fng_str image;
    struct fng_str env_process; /* command line; empty: what the image says */
    struct fng_kv_list env;
    struct fng_kv_list labels;
    struct fng_kv_list annotations;
    struct fng_kv_list limits;   /* "memory", "cpu", "nvidia.com/gpu" ..., Kubernetes quantities */
    struct fng_kv_list requests; /* likewise */
    struct fng_str_list secrets; /* names; they exist, or deploy fails with FNG_E_INVALID */
    struct fng_str_list constraints;
    uint32_t replicas; /* desired */
    uint32_t reserved0;
    int64_t created_ms; /* Unix epoch */
    void *reserved[8];
};

/* A function and how it fares, as reported by fn_upsert. */
struct fng_function_state {
    uint32_t size;
    uint32_t reserved0;
    const struct fng_function *function; /* the newest spec that the provider has taken over */
    struct fng_str reason;               /* why it is not as desired, one sentence; empty: it is */
    struct fng_str_list warnings;        /* what the backend cannot honour, one sentence each */
    void *reserved[8];
};

enum { FNG_ENDPOINT_STARTING = 1, FNG_ENDPOINT_READY = 2, FNG_ENDPOINT_DRAINING = 3 };

/* One replica's address. */
struct fng_endpoint {
    uint32_t size;
    uint32_t state;           /* FNG_ENDPOINT_* */
    uint64_t id;              /* unique in this instance, never used again for another replica */
    struct fng_str address;   /* "127.0.0.1:9000", "[::1]:80" or "unix:/absolute/path" */
    struct fng_str replica;   /* name of the replica, the `instance` of its log lines */
    uint32_t concurrency_max; /* requests at a time; 0: no limit */
    uint32_t reserved0;
    void *reserved[4];
};

struct fng_log_query {
    uint32_t size;
    uint32_t follow; /* 1: stay until cancelled, through restarts, updates and zero replicas */
    struct fng_str ns;
    struct fng_str name;
    struct fng_str replica; /* empty: all */
    int64_t since_ms;       /* Unix epoch, 0: from the beginning */
    int64_t tail;           /* last N lines; negative: all */
    void *reserved[4];
};

struct fng_log_line {
    uint32_t size;
    uint32_t reserved0;
    int64_t time_ns; /* Unix epoch */
    struct fng_str replica;
    struct fng_str text; /* without the line end */
};

/* Takes one line. Blocks while the reader is slow. Non-zero: stop, nobody reads any more. */
typedef int32_t fng_log_line_f(void *arg, const struct fng_log_line *line);
/* Takes one name; non-zero: stop. */
typedef int32_t fng_name_f(void *arg, struct fng_str name);

struct fng_namespace {
    uint32_t size;
    uint32_t reserved0;
    struct fng_str name;
    struct fng_kv_list labels;
    struct fng_kv_list annotations;
    void *reserved[4];
};
typedef int32_t fng_namespace_f(void *arg, const struct fng_namespace *ns);

struct fng_usage {
    uint32_t size;
    uint32_t reserved0;
    double cpu_millicores; /* of all replicas, over the last second or so */
    uint64_t memory_bytes; /* of all replicas */
};

enum { FNG_SECRET_CREATE = 1, FNG_SECRET_UPDATE = 2 };
enum { FNG_NAMESPACE_CREATE = 1, FNG_NAMESPACE_UPDATE = 2 };

/* A NULL operation is answered 501 by the gateway, except that `watch` and `scale` are required. */
struct fng_provider_ops {
    uint32_t size;
    uint32_t reserved0;
    const char *orchestration; /* as shown in /system/info: "process", "docker", "kubernetes" */

    /* control. Take over the desired state durably and return. deploy: FNG_E_CONFLICT when it
     * exists with a newer generation. update: FNG_E_NOT_FOUND. remove: FNG_E_NOT_FOUND. Repeating
     * a call with the same generation is harmless. */
    int32_t (*deploy)(void *self, const struct fng_function *function);
    int32_t (*update)(void *self, const struct fng_function *function);
    int32_t (*remove)(void *self, struct fng_str ns, struct fng_str name, uint64_t generation);

    /* urgent. scale: set the desired number of replicas, 0 included. */
    int32_t (*scale)(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                     uint64_t generation);
    /* urgent. A request waits for this function, which has no ready endpoint: if its desired
     * number is 0 make it `replicas` (durably, after the start was begun); push a new fn_upsert
     * with it. May be called again while it starts. */
    int32_t (*activate)(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                        uint64_t generation);
    /* urgent. The last request on a draining or removed endpoint is done: it may be killed now.
     * The gateway calls it once per endpoint id. */
    void (*endpoint_released)(void *self, uint64_t endpoint_id, uint64_t generation);

    /* stream. Delivers stored lines, then (follow) new ones. */
    int32_t (*logs)(void *self, const struct fng_log_query *query, fng_log_line_f *on_line,
                    void *arg);
    /* stream. Runs from start until cancelled: pushes a snapshot, then deltas. When it returns
     * early it is called again with back-off, and resyncs. Required. */
    int32_t (*watch)(void *self);

    /* read. */
    int32_t (*secret_list)(void *self, struct fng_str ns, fng_name_f *on_name, void *arg);
    int32_t (*usage)(void *self, struct fng_str ns, struct fng_str name, struct fng_usage *ret);
    int32_t (*namespace_list)(void *self, fng_namespace_f *on_namespace, void *arg);

    /* control. mode FNG_SECRET_CREATE: FNG_E_CONFLICT when it exists; UPDATE: FNG_E_NOT_FOUND. */
    int32_t (*secret_set)(void *self, struct fng_str ns, struct fng_str name, struct fng_str value,
                          uint32_t mode);
    int32_t (*secret_remove)(void *self, struct fng_str ns, struct fng_str name);
    int32_t (*namespace_set)(void *self, const struct fng_namespace *ns, uint32_t mode);
    int32_t (*namespace_remove)(void *self, struct fng_str name);
    void *reserved[8];
};

#ifdef __cplusplus
}
#endif

#endif

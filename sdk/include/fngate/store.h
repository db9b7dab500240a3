/* fngate SDK: the store kind. A small, durable key/value store with versions.
 *
 * Keys are 1 to 1024 bytes without NUL, ordered as bytes; values are 0 to 1 MiB, any bytes. Every
 * stored value has a version: a number that differs each time the key is written, never 0. A call
 * that returned 0 is durable: it survives kill -9 and power loss as far as the medium can.
 * All operations run on the instance's `control` lane (writes) and `read` lane (get, list), at the
 * same time.
 */
#ifndef FNGATE_STORE_H
#define FNGATE_STORE_H

#include <fngate/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { FNG_STORE_CAN_SHARE = 1 << 0 /* several gateways may use it at the same time */ };

/* All but lease are required. */
struct fng_store_ops {
    uint32_t size;
    uint32_t reserved0;

    /* FNG_E_NOT_FOUND when there is none; else on_value once. */
    int32_t (*get)(void *self, struct fng_str key, fng_kv_value_f *on_value, void *arg);
    /* Compare and set. expected 0: must not exist; FNG_KV_ANY: whatever; else the stored version.
     * FNG_E_CONFLICT otherwise, nothing is written. */
    int32_t (*put)(void *self, struct fng_str key, struct fng_str value, uint64_t expected,
                   uint64_t *ret_version);
    /* FNG_E_NOT_FOUND, FNG_E_CONFLICT as above. */
    int32_t (*remove)(void *self, struct fng_str key, uint64_t expected);
    /* Keys that begin with `prefix` and are greater than `after` (empty: from the first), in byte
     * order, at most `limit` (0: all). on_entry may not call back into the store. */
    int32_t (*list)(void *self, struct fng_str prefix, struct fng_str after, uint32_t limit,
                    fng_kv_entry_f *on_entry, void *arg);
    /* Takes or extends the lease `name` for `owner` until ttl_ms from now. FNG_E_CONFLICT while
     * another owner holds it. ttl_ms 0 gives it up. Optional. */
    int32_t (*lease)(void *self, struct fng_str name, struct fng_str owner, uint32_t ttl_ms);
    void *reserved[8];
};

#ifdef __cplusplus
}
#endif

#endif

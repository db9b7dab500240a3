/* The state store that the tool offers to plugins: sorted, versioned, any thread. With a file,
 * every change is appended to it, and read again by whoever opens it next: it survives kill -9. */
#ifndef CHECK_KV_H
#define CHECK_KV_H

#include "util.h"

#include <fngate/host.h>

struct kv;

/* `file` may be NULL. */
struct kv *kv_new(const char *file);
void kv_free(struct kv *kv);

/* As the services of the same name in fngate/host.h. on_value and on_entry run without a lock. */
int32_t kv_get(struct kv *kv, struct fng_str key, fng_kv_value_f *on_value, void *arg);
int32_t kv_put(struct kv *kv, struct fng_str key, struct fng_str value, uint64_t expected,
               uint64_t *ret_version);
int32_t kv_remove(struct kv *kv, struct fng_str key, uint64_t expected);
int32_t kv_list(struct kv *kv, struct fng_str prefix, fng_kv_entry_f *on_entry, void *arg);

#endif

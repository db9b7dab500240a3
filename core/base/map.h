/* Hash map from byte strings to pointers. Keys are copied; values are the caller's. Open addressing
 * with a per-process random seed, so that names from outside cannot be made to collide. One owner,
 * one thread; aborts when memory is short (control code). */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/str.h"

struct map_slot {
    char *key;
    size_t len;
    uint64_t hash;
    void *value;
};

struct map {
    struct map_slot *slots;
    size_t cap;  /* power of two, or 0 */
    size_t used; /* with tombstones */
    size_t count;
};

void map_init(struct map *map);
/* Frees the map, not the values. */
void map_free(struct map *map);
void *map_get(const struct map *map, struct str key);
/* Returns the former value or NULL. `value` must not be NULL. */
void *map_set(struct map *map, struct str key, void *value);
void *map_remove(struct map *map, struct str key);

/* Iteration in no order: for (size_t i = 0; map_next(map, &i, &key, &value);). The map must not be
 * changed meanwhile, except by removing the entry just returned. */
bool map_next(const struct map *map, size_t *pos, struct str *ret_key, void **ret_value);

/* SipHash-1-3 under the process seed. */
uint64_t hash_bytes(const void *data, size_t len);

#endif

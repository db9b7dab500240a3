/* Hash map: linear probing, tombstones, rebuilt at 7/8 full. */
#include "base/map.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/sys.h"

#include <pthread.h>

enum { MAP_CAP_MIN = 16 };

static char tombstone; /* the key of a removed slot points here */

static uint64_t hash_seed[2];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void hash_seed_make(void)
{
    sys_random(hash_seed, sizeof(hash_seed));
}

static inline uint64_t rotl(uint64_t x, int b)
{
    return (x << b) | (x >> (64 - b));
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

uint64_t hash_bytes(const void *data, size_t len)
{
    const unsigned char *at = data;
    uint64_t v[4], word;
    size_t left = len;

    pthread_once(&hash_once, hash_seed_make);
    v[0] = hash_seed[0] ^ UINT64_C(0x736f6d6570736575);
    v[1] = hash_seed[1] ^ UINT64_C(0x646f72616e646f6d);
    v[2] = hash_seed[0] ^ UINT64_C(0x6c7967656e657261);
    v[3] = hash_seed[1] ^ UINT64_C(0x7465646279746573);
    for (; left >= 8; left -= 8, at += 8) {
        memcpy(&word, at, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = (uint64_t)len << 56;
    for (size_t i = 0; i < left; i++)
        word |= (uint64_t)at[i] << (8 * i);
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *map)
{
    *map = (struct map){0};
}

static bool slot_is_live(const struct map_slot *slot)
{
    return slot->key && slot->key != &tombstone;
}

void map_free(struct map *map)
{
    for (size_t i = 0; i < map->cap; i++)
        if (slot_is_live(&map->slots[i]))
            mem_free(map->slots[i].key);
    mem_free(map->slots);
    map_init(map);
}

/* The slot that holds the key, or NULL. */
static struct map_slot *map_find(const struct map *map, struct str key, uint64_t hash)
{
    if (map->cap == 0)
        return NULL;
    for (size_t i = hash & (map->cap - 1);; i = (i + 1) & (map->cap - 1)) {
        struct map_slot *slot = &map->slots[i];

        if (!slot->key)
            return NULL;
        if (slot->hash == hash && slot_is_live(slot) && str_eq(str_make(slot->key, slot->len), key))
            return slot;
    }
}

static struct map_slot *map_free_slot(struct map_slot *slots, size_t cap, uint64_t hash)
{
    size_t i = hash & (cap - 1);

    while (slots[i].key)
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

static void map_rebuild(struct map *map)
{
    size_t cap = MAP_CAP_MIN;
    struct map_slot *slots;

    while (cap < (map->count + 1) * 2)
        cap *= 2;
    slots = xcalloc(cap, sizeof(*slots));
    for (size_t i = 0; i < map->cap; i++)
        if (slot_is_live(&map->slots[i]))
            *map_free_slot(slots, cap, map->slots[i].hash) = map->slots[i];
    mem_free(map->slots);
    map->slots = slots;
    map->cap = cap;
    map->used = map->count;
}

void *map_get(const struct map *map, struct str key)
{
    struct map_slot *slot = map_find(map, key, hash_bytes(key.ptr, key.len));

    return slot ? slot->value : NULL;
}

void *map_set(struct map *map, struct str key, void *value)
{
    uint64_t hash = hash_bytes(key.ptr, key.len);
    struct map_slot *slot = map_find(map, key, hash);

    ASSERT(value);
    if (slot) {
        void *former = slot->value;

        slot->value = value;
        return former;
    }
    if (map->used + 1 > map->cap / 8 * 7)
        map_rebuild(map);
    slot = map_free_slot(map->slots, map->cap, hash);
    *slot = (struct map_slot){str_dup(key), key.len, hash, value};
    map->used++;
    map->count++;
    return NULL;
}

void *map_remove(struct map *map, struct str key)
{
    struct map_slot *slot = map_find(map, key, hash_bytes(key.ptr, key.len));

    if (!slot)
        return NULL;
    mem_free(slot->key);
    slot->key = &tombstone;
    map->count--;
    return slot->value;
}

bool map_next(const struct map *map, size_t *pos, struct str *ret_key, void **ret_value)
{
    for (; *pos < map->cap; (*pos)++) {
        const struct map_slot *slot = &map->slots[*pos];

        if (slot_is_live(slot)) {
            if (ret_key)
                *ret_key = str_make(slot->key, slot->len);
            *ret_value = slot->value;
            (*pos)++;
            return true;
        }
    }
    return false;
}

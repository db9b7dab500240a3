/* The table: its directory of names, and the reclaiming of what readers may still look at.
 *
 * A name is looked up in one of 4096 shards by its hash. A shard is immutable: a change copies that
 * shard, publishes the copy and frees the old one after a grace period. So one change costs a shard
 * (with 100,000 functions about 25 entries, which also bounds what piles up when all of them arrive
 * within one grace period), and a look-up costs one load, one probe and one comparison.
 */
#include "base/map.h"
#include "base/sys.h"
#include "route/internal.h"

static void on_reap(struct loop_msg *msg);
static void on_grace(struct loop_msg *msg);

struct route_table *route_table_new(struct loop *control, struct quiesce *domain, unsigned loops,
                                    void (*on_released)(void *arg, uint32_t provider, uint64_t id,
                                                        uint64_t generation),
                                    void *arg)
{
    struct route_table *table = xcalloc(1, sizeof(*table) + loops * sizeof(table->cells[0]));

    table->control = control;
    table->domain = domain;
    table->loops = loops;
    table->on_released = on_released;
    table->arg = arg;
    table->grace_msg.run = on_grace;
    table->grace_tail = &table->grace_next;
    list_init(&table->leaving);
    list_init(&table->dropped);
    for (unsigned i = 0; i < loops; i++) {
        table->cells[i].reap.run = on_reap;
        table->cells[i].table = table;
        sys_random(&table->cells[i].random, sizeof(table->cells[i].random));
        table->cells[i].random |= 1; /* the generator must not start from zero */
    }
    return table;
}

void route_table_set_loop(struct route_table *table, unsigned cell, struct loop *loop)
{
    ASSERT(cell < table->loops);
    table->cells[cell].loop = loop;
}

/* Runs what waits for a grace period: the loops have ended, so all of it is over. Frees happen;
 * the rest sees is_ending and does nothing. */
static void grace_flush(struct route_table *table)
{
    struct grace *grace = table->grace_running;

    table->grace_running = NULL;
    for (int i = 0; i < 2; i++) {
        while (grace) {
            struct grace *next = grace->next;

            grace->run(grace, table);
            grace = next;
        }
        grace = table->grace_next;
        table->grace_next = NULL;
    }
}

void route_table_free(struct route_table *table)
{
    struct list *node;

    if (!table)
        return;
    table->is_ending = true;
    grace_flush(table);
    endpoints_free(table);
    while ((node = list_pop(&table->dropped)))
        fn_free(CONTAINER_OF(node, struct route_fn, node));
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = atomic_load(&table->shards[i]);

        for (size_t k = 0; shard && k <= shard->mask; k++) {
            if (shard->slots[k].fn)
                fn_free(shard->slots[k].fn);
        }
        mem_free(shard);
    }
    mem_free(table);
}

/* ---- Grace periods ---- */

static void grace_begin(struct route_table *table)
{
    table->grace_running = table->grace_next;
    table->grace_next = NULL;
    table->grace_tail = &table->grace_next;
    table->is_grace_running = true;
    quiesce_call(table->domain, &table->grace_msg);
}

static void on_grace(struct loop_msg *msg)
{
    struct route_table *table = CONTAINER_OF(msg, struct route_table, grace_msg);
    struct grace *grace = TAKE_PTR(table->grace_running);

    while (grace) {
        struct grace *next = grace->next;

        grace->run(grace, table);
        grace = next;
    }
    if (table->grace_next)
        grace_begin(table);
    else
        table->is_grace_running = false;
}

void grace_wait(struct route_table *table, struct grace *grace,
                void (*run)(struct grace *grace, struct route_table *table))
{
    grace->run = run;
    grace->next = NULL;
    *table->grace_tail = grace;
    table->grace_tail = &grace->next;
    if (!table->is_grace_running)
        grace_begin(table);
}

void grace_free(struct grace *grace, struct route_table *table)
{
    (void)table;
    mem_free(grace);
}

/* ---- Reaping: what leaves is gone when its last request is ----
 * A loop that drops the last request it has on something leaving posts its one message, unless that
 * is on its way already; the control loop then looks through all that is leaving. No pointer to an
 * endpoint or a function crosses, so none can be stale. */

void reap_post(struct route_table *table, unsigned cell)
{
    struct table_cell *own = &table->cells[cell];

    if (!atomic_exchange(&own->is_reap_pending, true))
        loop_post(table->control, &own->reap);
}

static void on_reap(struct loop_msg *msg)
{
    struct table_cell *cell = CONTAINER_OF(msg, struct table_cell, reap);
    struct route_table *table = cell->table;

    atomic_exchange(&cell->is_reap_pending, false); /* before looking: later changes post again */
    endpoints_reap(table);
    LIST_FOR_EACH_SAFE(node, after, &table->dropped)
    fn_check(CONTAINER_OF(node, struct route_fn, node));
}

/* ---- Directory ---- */

struct dir_key {
    size_t len;
    char bytes[2 * KEY_PART_MAX + 2];
};

static bool key_make(struct dir_key *key, struct str ns, struct str name)
{
    if (name.len == 0 || name.len > KEY_PART_MAX || ns.len > KEY_PART_MAX)
        return false;
    memcpy(key->bytes, name.ptr, name.len);
    key->bytes[name.len] = '\0';
    if (ns.len > 0)
        memcpy(key->bytes + name.len + 1, ns.ptr, ns.len);
    key->len = name.len + 1 + ns.len;
    return true;
}

static size_t shard_of(uint64_t hash)
{
    return hash >> (64 - SHARD_BITS);
}

static struct route_fn *shard_find(const struct shard *shard, const struct dir_key *key,
                                   uint64_t hash)
{
    if (!shard)
        return NULL;
    for (size_t i = hash & shard->mask; shard->slots[i].fn; i = (i + 1) & shard->mask) {
        const struct route_fn *fn = shard->slots[i].fn;

        if (shard->slots[i].hash == hash && (size_t)fn->name_len + 1 + fn->ns_len == key->len &&
            memcmp(fn->key, key->bytes, key->len) == 0)
            return shard->slots[i].fn;
    }
    return NULL;
}

struct route_fn *route_lookup(const struct route_table *table, struct str ns, struct str name)
{
    struct dir_key key;
    uint64_t hash;

    if (!key_make(&key, ns, name))
        return NULL;
    hash = hash_bytes(key.bytes, key.len);
    return shard_find(atomic_load_explicit(&table->shards[shard_of(hash)], memory_order_acquire),
                      &key, hash);
}

static void shard_add(struct shard *shard, uint64_t hash, struct route_fn *fn)
{
    size_t i = hash & shard->mask;

    while (shard->slots[i].fn)
        i = (i + 1) & shard->mask;
    shard->slots[i].hash = hash;
    shard->slots[i].fn = fn;
    shard->count++;
}

/* Publishes a copy of the shard without `gone` and with `added`; either may be NULL. */
static void shard_replace(struct route_table *table, size_t index, const struct route_fn *gone,
                          struct route_fn *added)
{
    struct shard *old = atomic_load_explicit(&table->shards[index], memory_order_relaxed);
    size_t count = (old ? old->count : 0) + 1, cap = 4;
    struct shard *shard;

    while (cap * 3 < count * 4) /* a quarter stays free, so that probes end */
        cap *= 2;
    shard = xcalloc(1, sizeof(*shard) + cap * sizeof(shard->slots[0]));
    shard->mask = cap - 1;
    for (size_t i = 0; old && i <= old->mask; i++) {
        if (old->slots[i].fn && old->slots[i].fn != gone)
            shard_add(shard, old->slots[i].hash, old->slots[i].fn);
    }
    if (added)
        shard_add(shard, added->hash, added);
    atomic_store_explicit(&table->shards[index], shard, memory_order_release);
    if (old)
        grace_wait(table, &old->grace, grace_free);
}

void directory_remove(struct route_table *table, struct route_fn *fn)
{
    shard_replace(table, shard_of(fn->hash), fn, NULL);
}

/* One allocation: the slot with its cells on cache lines of their own, then the key. */
static struct route_fn *fn_new(struct route_table *table, const struct dir_key *key,
                               size_t name_len)
{
    size_t size = sizeof(struct route_fn) + table->loops * sizeof(struct fn_cell);
    char *memory = xcalloc(1, size + key->len + 1 + CACHE_LINE - 16);
    struct route_fn *fn = (void *)(memory + (-(uintptr_t)memory & (CACHE_LINE - 1)));
    char *text = (char *)fn + size;

    memcpy(text, key->bytes, key->len);
    text[key->len] = '\0';
    fn->memory = memory;
    fn->table = table;
    fn->key = text;
    fn->name_len = (uint8_t)name_len;
    fn->ns_len = (uint8_t)(key->len - name_len - 1);
    list_init(&fn->node);
    return fn;
}

struct route_fn *route_fn_put(struct route_table *table, struct str ns, struct str name)
{
    struct route_fn *fn = route_lookup(table, ns, name);
    struct dir_key key;
    bool is_valid;

    if (fn)
        return fn;
    is_valid = key_make(&key, ns, name);
    ASSERT(is_valid);
    fn = fn_new(table, &key, name.len);
    fn->hash = hash_bytes(key.bytes, key.len);
    atomic_init(&fn->set, set_new(0));
    shard_replace(table, shard_of(fn->hash), NULL, fn);
    return fn;
}

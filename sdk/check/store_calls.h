/* A store under test, and calls to it with the checks that every case makes. "must" ends the case.
 */
#ifndef CHECK_STORE_CALLS_H
#define CHECK_STORE_CALLS_H

#include "case.h"

#include <fngate/store.h>

enum { CALL_TIMEOUT_MS = 30000, KEY_MAX = 1024, VALUE_MAX = 1 << 20, ROUNDS = 20, THREADS = 8 };

struct store {
    struct instance *instance;
    const struct fng_store_ops *ops;
    void *self;
};

struct store store_open(struct case_context *context);
void store_close(struct store *store);

int32_t store_put(struct store *store, struct fng_str key, struct fng_str value, uint64_t expected,
                  uint64_t *ret_version);
/* Puts whatever is stored now; returns the version. */
uint64_t must_put(struct store *store, struct fng_str key, struct fng_str value);

struct found {
    char *value;
    size_t len;
    uint64_t version;
    unsigned calls;
};

/* found->value is the caller's. */
int32_t store_get(struct store *store, struct fng_str key, struct found *found);
/* Exactly these bytes are stored; returns their version. */
uint64_t must_have(struct store *store, struct fng_str key, struct fng_str value);
void must_miss(struct store *store, struct fng_str key);

int32_t store_remove(struct store *store, struct fng_str key, uint64_t expected);

/* A listing as text: "a,b,c". */
struct listing {
    char keys[4096];
    size_t len;
    unsigned count, stop_after;
    char last[KEY_MAX + 1];
};

/* All values must be "v". */
void store_list(struct store *store, const char *prefix, const char *after, uint32_t limit,
                struct listing *listing);
void must_list(struct store *store, const char *prefix, const char *after, uint32_t limit,
               const char *expected);

void must_be(int32_t error, int32_t expected, const char *what);
/* Adds one to a number by compare and set, until it works. */
void count_up(struct store *store, struct fng_str key);

#endif

/* A store under test, and calls to it. */
#include "store_calls.h"

#include <stdio.h>
#include <stdlib.h>

struct store store_open(struct case_context *context)
{
    struct store store = {.instance = case_start(context, "store", NULL, NULL)};

    store.ops = context->plugin->operations;
    store.self = store.instance->self;
    return store;
}

void store_close(struct store *store)
{
    case_stop(store->instance);
}

int32_t store_put(struct store *store, struct fng_str key, struct fng_str value, uint64_t expected,
                  uint64_t *ret_version)
{
    struct call call;
    int32_t error;

    call_begin(&call, store->instance->host, CALL_TIMEOUT_MS);
    error = store->ops->put(store->self, key, value, expected, ret_version);
    call_end(&call);
    return error;
}

uint64_t must_put(struct store *store, struct fng_str key, struct fng_str value)
{
    uint64_t version = 0;
    int32_t error = store_put(store, key, value, FNG_KV_ANY, &version);

    CHECK(error == 0, "put of '%.*s': %s", STR_ARG(key), error_name(error));
    CHECK(version != 0, "put of '%.*s' gave version 0", STR_ARG(key));
    return version;
}

static void keep_value(void *arg, struct fng_str value, uint64_t version)
{
    struct found *found = arg;

    free(found->value);
    found->value = must_copy(value);
    found->len = value.len;
    found->version = version;
    found->calls++;
}

int32_t store_get(struct store *store, struct fng_str key, struct found *found)
{
    struct call call;
    int32_t error;

    memset(found, 0, sizeof(*found));
    call_begin(&call, store->instance->host, CALL_TIMEOUT_MS);
    error = store->ops->get(store->self, key, keep_value, found);
    call_end(&call);
    CHECK(found->calls == (error == 0), "get of '%.*s' returned %s and called on_value %u times",
          STR_ARG(key), error_name(error), found->calls);
    return error;
}

uint64_t must_have(struct store *store, struct fng_str key, struct fng_str value)
{
    struct found found;
    int32_t error = store_get(store, key, &found);

    CHECK(error == 0, "get of '%.*s': %s", STR_ARG(key), error_name(error));
    CHECK(fng_str_eq(fng_str_make(found.value, found.len), value),
          "get of '%.*s' gave %zu other bytes than the %zu that were put", STR_ARG(key), found.len,
          value.len);
    free(found.value);
    return found.version;
}

void must_miss(struct store *store, struct fng_str key)
{
    struct found found;
    int32_t error = store_get(store, key, &found);

    CHECK(error == FNG_E_NOT_FOUND, "get of '%.*s' gave %s instead of NOT_FOUND", STR_ARG(key),
          error_name(error));
}

int32_t store_remove(struct store *store, struct fng_str key, uint64_t expected)
{
    struct call call;
    int32_t error;

    call_begin(&call, store->instance->host, CALL_TIMEOUT_MS);
    error = store->ops->remove(store->self, key, expected);
    call_end(&call);
    return error;
}

void must_be(int32_t error, int32_t expected, const char *what)
{
    CHECK(error == expected, "%s gave %s instead of %s", what, error_name(error),
          error_name(expected));
}

static int32_t keep_entry(void *arg, struct fng_str key, struct fng_str value, uint64_t version)
{
    struct listing *listing = arg;

    CHECK(version != 0, "list gave version 0 for '%.*s'", STR_ARG(key));
    CHECK(fng_str_eq(value, FNG_STR("v")), "list gave a wrong value for '%.*s'", STR_ARG(key));
    CHECK(listing->len + key.len + 2 < sizeof(listing->keys), "list does not end");
    if (listing->count++)
        listing->keys[listing->len++] = ',';
    memcpy(listing->keys + listing->len, key.ptr, key.len);
    listing->len += key.len;
    listing->keys[listing->len] = 0;
    snprintf(listing->last, sizeof(listing->last), "%.*s", STR_ARG(key));
    return listing->stop_after && listing->count >= listing->stop_after;
}

void store_list(struct store *store, const char *prefix, const char *after, uint32_t limit,
                struct listing *listing)
{
    struct call call;
    int32_t error;

    call_begin(&call, store->instance->host, CALL_TIMEOUT_MS);
    error = store->ops->list(store->self, fng_str_from(prefix), fng_str_from(after), limit,
                             keep_entry, listing);
    call_end(&call);
    CHECK(error == 0, "list of '%s' after '%s': %s", prefix, after, error_name(error));
}

void must_list(struct store *store, const char *prefix, const char *after, uint32_t limit,
               const char *expected)
{
    struct listing listing = {.len = 0};

    store_list(store, prefix, after, limit, &listing);
    CHECK(strcmp(listing.keys, expected) == 0, "list of '%s' after '%s' gave '%s', expected '%s'",
          prefix, after, listing.keys, expected);
}

void count_up(struct store *store, struct fng_str key)
{
    for (;;) {
        struct found found;
        int32_t error = store_get(store, key, &found);
        char text[16];

        CHECK(error == 0, "get under load: %s", error_name(error));
        snprintf(text, sizeof(text), "%d", atoi(found.value) + 1);
        free(found.value);
        error = store_put(store, key, fng_str_from(text), found.version, NULL);
        if (error == 0)
            return;
        CHECK(error == FNG_E_CONFLICT, "put under load: %s", error_name(error));
    }
}

/* Store cases: single calls, listings, and what keys and values may be. */
#include "store_cases.h"

#include <stdio.h>
#include <stdlib.h>

static void put_keys(struct store *store, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        must_put(store, fng_str_from(keys[i]), FNG_STR("v"));
}

/* ---- get and put ---- */

void case_get_missing(struct case_context *context)
{
    struct store store = store_open(context);

    must_miss(&store, FNG_STR("nothing"));
    store_close(&store);
}

void case_put_then_get(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t version = must_put(&store, FNG_STR("a"), FNG_STR("one"));

    CHECK(must_have(&store, FNG_STR("a"), FNG_STR("one")) == version,
          "get gives another version than put gave");
    must_miss(&store, FNG_STR("A"));
    must_miss(&store, FNG_STR("a "));
    store_close(&store);
}

void case_put_replaces(struct case_context *context)
{
    struct store store = store_open(context);

    must_put(&store, FNG_STR("a"), FNG_STR("a long value"));
    must_put(&store, FNG_STR("a"), FNG_STR("short"));
    must_have(&store, FNG_STR("a"), FNG_STR("short"));
    must_put(&store, FNG_STR("a"), FNG_STR(""));
    must_have(&store, FNG_STR("a"), FNG_STR(""));
    store_close(&store);
}

void case_put_without_version_pointer(struct case_context *context)
{
    struct store store = store_open(context);

    must_be(store_put(&store, FNG_STR("a"), FNG_STR("one"), 0, NULL), 0, "put without ret_version");
    must_have(&store, FNG_STR("a"), FNG_STR("one"));
    store_close(&store);
}

void case_create_only(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t version;

    must_be(store_put(&store, FNG_STR("a"), FNG_STR("one"), 0, &version), 0, "put of a new key");
    must_be(store_put(&store, FNG_STR("a"), FNG_STR("two"), 0, &version), FNG_E_CONFLICT,
            "put of an existing key with expected 0");
    must_have(&store, FNG_STR("a"), FNG_STR("one"));
    store_close(&store);
}

void case_cas_accepts_the_stored_version(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t version = must_put(&store, FNG_STR("a"), FNG_STR("one"));

    must_be(store_put(&store, FNG_STR("a"), FNG_STR("two"), version, &version), 0, "put");
    must_be(store_put(&store, FNG_STR("a"), FNG_STR("three"), version, &version), 0,
            "the second put");
    must_have(&store, FNG_STR("a"), FNG_STR("three"));
    store_close(&store);
}

void case_cas_refuses_an_old_version(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t old = must_put(&store, FNG_STR("a"), FNG_STR("one"));
    uint64_t now = must_put(&store, FNG_STR("a"), FNG_STR("two"));

    must_be(store_put(&store, FNG_STR("a"), FNG_STR("three"), old, NULL), FNG_E_CONFLICT,
            "put with an old version");
    CHECK(must_have(&store, FNG_STR("a"), FNG_STR("two")) == now,
          "a refused put changed the version");
    store_close(&store);
}

void case_cas_refuses_a_missing_key(struct case_context *context)
{
    struct store store = store_open(context);

    must_be(store_put(&store, FNG_STR("a"), FNG_STR("one"), 1, NULL), FNG_E_CONFLICT,
            "put of a missing key with a version");
    must_miss(&store, FNG_STR("a"));
    store_close(&store);
}

void case_versions_differ(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t seen[40];

    for (unsigned i = 0; i < COUNT_OF(seen); i++) {
        seen[i] = must_put(&store, FNG_STR("a"), FNG_STR("same"));
        for (unsigned k = 0; k < i; k++)
            CHECK(seen[k] != seen[i], "writes %u and %u got the same version", k, i);
        if (i % 10 == 9)
            must_be(store_remove(&store, FNG_STR("a"), FNG_KV_ANY), 0, "remove");
    }
    store_close(&store);
}

/* ---- remove ---- */

void case_remove_then_get(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t version = must_put(&store, FNG_STR("a"), FNG_STR("one"));

    must_put(&store, FNG_STR("b"), FNG_STR("v"));
    must_be(store_remove(&store, FNG_STR("a"), version), 0, "remove");
    must_miss(&store, FNG_STR("a"));
    must_list(&store, "", "", 0, "b");
    must_be(store_put(&store, FNG_STR("a"), FNG_STR("two"), 0, NULL), 0, "put after remove");
    store_close(&store);
}

void case_remove_missing(struct case_context *context)
{
    struct store store = store_open(context);

    must_be(store_remove(&store, FNG_STR("a"), FNG_KV_ANY), FNG_E_NOT_FOUND, "remove of nothing");
    store_close(&store);
}

void case_remove_refuses_an_old_version(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t old = must_put(&store, FNG_STR("a"), FNG_STR("one"));

    must_put(&store, FNG_STR("a"), FNG_STR("two"));
    must_be(store_remove(&store, FNG_STR("a"), old), FNG_E_CONFLICT, "remove with an old version");
    must_have(&store, FNG_STR("a"), FNG_STR("two"));
    store_close(&store);
}

/* ---- list ---- */

void case_list_empty(struct case_context *context)
{
    struct store store = store_open(context);

    must_list(&store, "", "", 0, "");
    must_put(&store, FNG_STR("a"), FNG_STR("v"));
    must_list(&store, "b", "", 0, "");
    store_close(&store);
}

void case_list_in_byte_order(struct case_context *context)
{
    static const char *const keys[] = {"b",    "a/2",  "B",  "a",       "\xff",
                                       "a/10", "\x01", "ab", "\xc3\xa9"};
    struct store store = store_open(context);

    put_keys(&store, keys, COUNT_OF(keys));
    must_list(&store, "", "", 0, "\x01,B,a,a/10,a/2,ab,b,\xc3\xa9,\xff");
    store_close(&store);
}

void case_list_by_prefix(struct case_context *context)
{
    static const char *const keys[] = {"a%b", "a_b",   "aXb",       "a", "A%b",
                                       "b",   "x\xff", "x\xff\xff", "y"};
    struct store store = store_open(context);

    put_keys(&store, keys, COUNT_OF(keys));
    must_list(&store, "a", "", 0, "a,a%b,aXb,a_b");
    must_list(&store, "a%", "", 0, "a%b");
    must_list(&store, "a_", "", 0, "a_b");
    must_list(&store, "x\xff", "", 0, "x\xff,x\xff\xff");
    must_list(&store, "*", "", 0, "");
    store_close(&store);
}

void case_list_after_a_key(struct case_context *context)
{
    static const char *const keys[] = {"p/1", "p/2", "p/3", "q"};
    struct store store = store_open(context);

    put_keys(&store, keys, COUNT_OF(keys));
    must_list(&store, "p/", "p/1", 0, "p/2,p/3");
    must_list(&store, "p/", "p/11", 0, "p/2,p/3");
    must_list(&store, "p/", "p/3", 0, "");
    must_list(&store, "p/", "a", 0, "p/1,p/2,p/3");
    must_list(&store, "p/", "z", 0, "");
    must_list(&store, "", "p/3", 0, "q");
    store_close(&store);
}

void case_list_in_pages(struct case_context *context)
{
    struct listing page = {.len = 0};
    struct store store = store_open(context);
    char key[16], after[KEY_MAX + 1] = "";
    unsigned total = 0;

    for (unsigned i = 0; i < 25; i++) {
        snprintf(key, sizeof(key), "k%02u", i);
        must_put(&store, fng_str_from(key), FNG_STR("v"));
    }
    must_list(&store, "k", "", 3, "k00,k01,k02");
    do {
        memset(&page, 0, sizeof(page));
        store_list(&store, "k", after, 4, &page);
        CHECK(page.count <= 4, "list gave %u entries for limit 4", page.count);
        total += page.count;
        memcpy(after, page.last, sizeof(after));
    } while (page.count == 4);
    CHECK(total == 25, "pages of 4 gave %u of 25 keys", total);
    store_close(&store);
}

void case_list_stops(struct case_context *context)
{
    static const char *const keys[] = {"a", "b", "c", "d"};
    struct listing listing = {.stop_after = 2};
    struct store store = store_open(context);

    put_keys(&store, keys, COUNT_OF(keys));
    store_list(&store, "", "", 0, &listing);
    CHECK(listing.count == 2, "on_entry said stop at entry 2 and was called %u times",
          listing.count);
    store_close(&store);
}

/* ---- Keys and values ---- */

void case_values_are_bytes(struct case_context *context)
{
    struct store store = store_open(context);
    char bytes[512];

    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)i;
    must_put(&store, FNG_STR("a"), fng_str_make(bytes, sizeof(bytes)));
    must_have(&store, FNG_STR("a"), fng_str_make(bytes, sizeof(bytes)));
    must_put(&store, FNG_STR("b"), fng_str_make("\0\0", 2));
    must_have(&store, FNG_STR("b"), fng_str_make("\0\0", 2));
    store_close(&store);
}

void case_value_may_be_empty(struct case_context *context)
{
    struct store store = store_open(context);

    must_put(&store, FNG_STR("a"), fng_str_make(NULL, 0));
    must_have(&store, FNG_STR("a"), FNG_STR(""));
    store_close(&store);
}

void case_value_of_1_mib(struct case_context *context)
{
    struct store store = store_open(context);
    char *bytes = must_realloc(NULL, VALUE_MAX);

    for (unsigned i = 0; i < VALUE_MAX; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    must_put(&store, FNG_STR("a"), fng_str_make(bytes, VALUE_MAX));
    must_have(&store, FNG_STR("a"), fng_str_make(bytes, VALUE_MAX));
    free(bytes);
    store_close(&store);
}

/* Refused is INVALID or LIMIT, and nothing is written. */
static void must_refuse(struct store *store, struct fng_str key, struct fng_str value,
                        const char *what)
{
    int32_t error = store_put(store, key, value, FNG_KV_ANY, NULL);

    CHECK(error == FNG_E_INVALID || error == FNG_E_LIMIT, "put of %s gave %s", what,
          error_name(error));
    must_list(store, "", "", 0, "");
}

void case_value_too_large(struct case_context *context)
{
    struct store store = store_open(context);
    char *bytes = must_zalloc(VALUE_MAX + 1);

    must_refuse(&store, FNG_STR("a"), fng_str_make(bytes, VALUE_MAX + 1),
                "a value of 1 MiB and a byte");
    free(bytes);
    store_close(&store);
}

void case_key_limits(struct case_context *context)
{
    struct store store = store_open(context);
    char key[KEY_MAX + 1];

    memset(key, 'k', sizeof(key));
    must_refuse(&store, FNG_STR(""), FNG_STR("v"), "an empty key");
    must_refuse(&store, fng_str_make(key, KEY_MAX + 1), FNG_STR("v"), "a key of 1025 bytes");
    must_refuse(&store, fng_str_make("a\0b", 3), FNG_STR("v"), "a key with a NUL byte");
    must_put(&store, fng_str_make(key, KEY_MAX), FNG_STR("v"));
    must_have(&store, fng_str_make(key, KEY_MAX), FNG_STR("v"));
    must_put(&store, fng_str_make(key, KEY_MAX - 1), FNG_STR("w"));
    must_have(&store, fng_str_make(key, KEY_MAX), FNG_STR("v"));
    store_close(&store);
}

void case_keys_are_bytes(struct case_context *context)
{
    struct store store = store_open(context);
    char key[2] = {0};

    for (unsigned i = 1; i < 256; i++) {
        key[0] = (char)i;
        must_put(&store, fng_str_make(key, 1), fng_str_make(key, 1));
    }
    for (unsigned i = 1; i < 256; i++) {
        key[0] = (char)i;
        must_have(&store, fng_str_make(key, 1), fng_str_make(key, 1));
    }
    store_close(&store);
}

void case_errors_have_texts(struct case_context *context)
{
    struct store store = store_open(context);
    struct call call;
    int32_t error;

    must_put(&store, FNG_STR("a"), FNG_STR("v"));
    call_begin(&call, store.instance->host, CALL_TIMEOUT_MS);
    error = store.ops->put(store.self, FNG_STR("a"), FNG_STR("v"), 0, NULL);
    CHECK(call.text[0], "CONFLICT came without a text: call host->fail");
    CHECK(call.error == error, "host->fail was given %s and the call returned %s",
          error_name(call.error), error_name(error));
    call.text[0] = 0;
    store.ops->put(store.self, FNG_STR(""), FNG_STR("v"), 0, NULL);
    CHECK(call.text[0], "an empty key was refused without a text: call host->fail");
    call_end(&call);
    store_close(&store);
}

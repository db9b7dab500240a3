/* Suite of the store kind: the promises of fngate/store.h. */
#include "case.h"

#include <fngate/store.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALL_TIMEOUT_MS = 30000, KEY_MAX = 1024, VALUE_MAX = 1 << 20 };

/* ---- One store, and calls to it ---- */

struct store {
    struct instance *instance;
    const struct fng_store_ops *ops;
    void *self;
};

static struct store store_open(struct case_context *context)
{
    struct store store = {.instance = case_start(context, "store", NULL, NULL)};

    store.ops = context->plugin->operations;
    store.self = store.instance->self;
    return store;
}

static void store_close(struct store *store)
{
    case_stop(store->instance);
}

static int32_t put(struct store *store, struct fng_str key, struct fng_str value, uint64_t expected,
                   uint64_t *ret_version)
{
    struct call call;
    int32_t error;

    call_begin(&call, store->instance->host, CALL_TIMEOUT_MS);
    error = store->ops->put(store->self, key, value, expected, ret_version);
    call_end(&call);
    return error;
}

/* Puts whatever is stored now; returns the version. */
static uint64_t must_put(struct store *store, struct fng_str key, struct fng_str value)
{
    uint64_t version = 0;
    int32_t error = put(store, key, value, FNG_KV_ANY, &version);

    CHECK(error == 0, "put of '%.*s': %s", STR_ARG(key), error_name(error));
    CHECK(version != 0, "put of '%.*s' gave version 0", STR_ARG(key));
    return version;
}

struct found {
    char *value;
    size_t len;
    uint64_t version;
    unsigned calls;
};

static void keep_value(void *arg, struct fng_str value, uint64_t version)
{
    struct found *found = arg;

    free(found->value);
    found->value = must_copy(value);
    found->len = value.len;
    found->version = version;
    found->calls++;
}

/* `found` is to be freed by found_free. */
static int32_t get(struct store *store, struct fng_str key, struct found *found)
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

/* Fails the case unless exactly these bytes are stored; returns their version. */
static uint64_t must_have(struct store *store, struct fng_str key, struct fng_str value)
{
    struct found found;
    int32_t error = get(store, key, &found);

    CHECK(error == 0, "get of '%.*s': %s", STR_ARG(key), error_name(error));
    CHECK(fng_str_eq(fng_str_make(found.value, found.len), value),
          "get of '%.*s' gave %zu other bytes than the %zu that were put", STR_ARG(key), found.len,
          value.len);
    free(found.value);
    return found.version;
}

static void must_miss(struct store *store, struct fng_str key)
{
    struct found found;
    int32_t error = get(store, key, &found);

    CHECK(error == FNG_E_NOT_FOUND, "get of '%.*s' gave %s instead of NOT_FOUND", STR_ARG(key),
          error_name(error));
}

static int32_t take_away(struct store *store, struct fng_str key, uint64_t expected)
{
    struct call call;
    int32_t error;

    call_begin(&call, store->instance->host, CALL_TIMEOUT_MS);
    error = store->ops->remove(store->self, key, expected);
    call_end(&call);
    return error;
}

static void must_be(int32_t error, int32_t expected, const char *what)
{
    CHECK(error == expected, "%s gave %s instead of %s", what, error_name(error),
          error_name(expected));
}

/* A listing as text: "a,b,c". */
struct listing {
    char keys[4096];
    size_t len;
    unsigned count, stop_after;
    char last[KEY_MAX + 1];
};

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

static void list(struct store *store, const char *prefix, const char *after, uint32_t limit,
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

static void must_list(struct store *store, const char *prefix, const char *after, uint32_t limit,
                      const char *expected)
{
    struct listing listing = {.len = 0};

    list(store, prefix, after, limit, &listing);
    CHECK(strcmp(listing.keys, expected) == 0, "list of '%s' after '%s' gave '%s', expected '%s'",
          prefix, after, listing.keys, expected);
}

static void put_keys(struct store *store, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        must_put(store, fng_str_from(keys[i]), FNG_STR("v"));
}

/* ---- get and put ---- */

static void get_missing(struct case_context *context)
{
    struct store store = store_open(context);

    must_miss(&store, FNG_STR("nothing"));
    store_close(&store);
}

static void put_then_get(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t version = must_put(&store, FNG_STR("a"), FNG_STR("one"));

    CHECK(must_have(&store, FNG_STR("a"), FNG_STR("one")) == version,
          "get gives another version than put gave");
    must_miss(&store, FNG_STR("A"));
    must_miss(&store, FNG_STR("a "));
    store_close(&store);
}

static void put_replaces(struct case_context *context)
{
    struct store store = store_open(context);

    must_put(&store, FNG_STR("a"), FNG_STR("a long value"));
    must_put(&store, FNG_STR("a"), FNG_STR("short"));
    must_have(&store, FNG_STR("a"), FNG_STR("short"));
    must_put(&store, FNG_STR("a"), FNG_STR(""));
    must_have(&store, FNG_STR("a"), FNG_STR(""));
    store_close(&store);
}

static void put_without_version_pointer(struct case_context *context)
{
    struct store store = store_open(context);

    must_be(put(&store, FNG_STR("a"), FNG_STR("one"), 0, NULL), 0, "put without ret_version");
    must_have(&store, FNG_STR("a"), FNG_STR("one"));
    store_close(&store);
}

static void create_only(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t version;

    must_be(put(&store, FNG_STR("a"), FNG_STR("one"), 0, &version), 0, "put of a new key");
    must_be(put(&store, FNG_STR("a"), FNG_STR("two"), 0, &version), FNG_E_CONFLICT,
            "put of an existing key with expected 0");
    must_have(&store, FNG_STR("a"), FNG_STR("one"));
    store_close(&store);
}

static void cas_accepts_the_stored_version(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t version = must_put(&store, FNG_STR("a"), FNG_STR("one"));

    must_be(put(&store, FNG_STR("a"), FNG_STR("two"), version, &version), 0, "put");
    must_be(put(&store, FNG_STR("a"), FNG_STR("three"), version, &version), 0, "the second put");
    must_have(&store, FNG_STR("a"), FNG_STR("three"));
    store_close(&store);
}

static void cas_refuses_an_old_version(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t old = must_put(&store, FNG_STR("a"), FNG_STR("one"));
    uint64_t now = must_put(&store, FNG_STR("a"), FNG_STR("two"));

    must_be(put(&store, FNG_STR("a"), FNG_STR("three"), old, NULL), FNG_E_CONFLICT,
            "put with an old version");
    CHECK(must_have(&store, FNG_STR("a"), FNG_STR("two")) == now,
          "a refused put changed the version");
    store_close(&store);
}

static void cas_refuses_a_missing_key(struct case_context *context)
{
    struct store store = store_open(context);

    must_be(put(&store, FNG_STR("a"), FNG_STR("one"), 1, NULL), FNG_E_CONFLICT,
            "put of a missing key with a version");
    must_miss(&store, FNG_STR("a"));
    store_close(&store);
}

static void versions_differ(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t seen[40];

    for (unsigned i = 0; i < COUNT_OF(seen); i++) {
        seen[i] = must_put(&store, FNG_STR("a"), FNG_STR("same"));
        for (unsigned k = 0; k < i; k++)
            CHECK(seen[k] != seen[i], "writes %u and %u got the same version", k, i);
        if (i % 10 == 9)
            must_be(take_away(&store, FNG_STR("a"), FNG_KV_ANY), 0, "remove");
    }
    store_close(&store);
}

/* ---- remove ---- */

static void remove_then_get(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t version = must_put(&store, FNG_STR("a"), FNG_STR("one"));

    must_put(&store, FNG_STR("b"), FNG_STR("v"));
    must_be(take_away(&store, FNG_STR("a"), version), 0, "remove");
    must_miss(&store, FNG_STR("a"));
    must_list(&store, "", "", 0, "b");
    must_be(put(&store, FNG_STR("a"), FNG_STR("two"), 0, NULL), 0, "put after remove");
    store_close(&store);
}

static void remove_missing(struct case_context *context)
{
    struct store store = store_open(context);

    must_be(take_away(&store, FNG_STR("a"), FNG_KV_ANY), FNG_E_NOT_FOUND, "remove of nothing");
    store_close(&store);
}

static void remove_refuses_an_old_version(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t old = must_put(&store, FNG_STR("a"), FNG_STR("one"));

    must_put(&store, FNG_STR("a"), FNG_STR("two"));
    must_be(take_away(&store, FNG_STR("a"), old), FNG_E_CONFLICT, "remove with an old version");
    must_have(&store, FNG_STR("a"), FNG_STR("two"));
    store_close(&store);
}

/* ---- list ---- */

static void list_empty(struct case_context *context)
{
    struct store store = store_open(context);

    must_list(&store, "", "", 0, "");
    must_put(&store, FNG_STR("a"), FNG_STR("v"));
    must_list(&store, "b", "", 0, "");
    store_close(&store);
}

static void list_in_byte_order(struct case_context *context)
{
    static const char *const keys[] = {"b",    "a/2",  "B",  "a",       "\xff",
                                       "a/10", "\x01", "ab", "\xc3\xa9"};
    struct store store = store_open(context);

    put_keys(&store, keys, COUNT_OF(keys));
    must_list(&store, "", "", 0, "\x01,B,a,a/10,a/2,ab,b,\xc3\xa9,\xff");
    store_close(&store);
}

static void list_by_prefix(struct case_context *context)
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

static void list_after_a_key(struct case_context *context)
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

static void list_in_pages(struct case_context *context)
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
        list(&store, "k", after, 4, &page);
        CHECK(page.count <= 4, "list gave %u entries for limit 4", page.count);
        total += page.count;
        memcpy(after, page.last, sizeof(after));
    } while (page.count == 4);
    CHECK(total == 25, "pages of 4 gave %u of 25 keys", total);
    store_close(&store);
}

static void list_stops(struct case_context *context)
{
    static const char *const keys[] = {"a", "b", "c", "d"};
    struct listing listing = {.stop_after = 2};
    struct store store = store_open(context);

    put_keys(&store, keys, COUNT_OF(keys));
    list(&store, "", "", 0, &listing);
    CHECK(listing.count == 2, "on_entry said stop at entry 2 and was called %u times",
          listing.count);
    store_close(&store);
}

/* ---- Keys and values ---- */

static void values_are_bytes(struct case_context *context)
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

static void value_may_be_empty(struct case_context *context)
{
    struct store store = store_open(context);

    must_put(&store, FNG_STR("a"), fng_str_make(NULL, 0));
    must_have(&store, FNG_STR("a"), FNG_STR(""));
    store_close(&store);
}

static void value_of_1_mib(struct case_context *context)
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
    int32_t error = put(store, key, value, FNG_KV_ANY, NULL);

    CHECK(error == FNG_E_INVALID || error == FNG_E_LIMIT, "put of %s gave %s", what,
          error_name(error));
    must_list(store, "", "", 0, "");
}

static void value_too_large(struct case_context *context)
{
    struct store store = store_open(context);
    char *bytes = must_zalloc(VALUE_MAX + 1);

    must_refuse(&store, FNG_STR("a"), fng_str_make(bytes, VALUE_MAX + 1),
                "a value of 1 MiB and a byte");
    free(bytes);
    store_close(&store);
}

static void key_limits(struct case_context *context)
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

static void keys_are_bytes(struct case_context *context)
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

static void errors_have_texts(struct case_context *context)
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

/* ---- Many threads ---- */

enum { COUNTERS = 3, ROUNDS = 20, THREADS = 8 };

/* Adds one by compare and set until it works. */
static void count_up(struct store *store, struct fng_str key)
{
    for (;;) {
        struct found found;
        int32_t error = get(store, key, &found);
        char text[16];

        CHECK(error == 0, "get under load: %s", error_name(error));
        snprintf(text, sizeof(text), "%d", atoi(found.value) + 1);
        free(found.value);
        error = put(store, key, fng_str_from(text), found.version, NULL);
        if (error == 0)
            return;
        CHECK(error == FNG_E_CONFLICT, "put under load: %s", error_name(error));
    }
}

static void count_in_thread(unsigned index, void *arg)
{
    static const char *const keys[COUNTERS] = {"x", "y", "z"};

    for (unsigned i = 0; i < ROUNDS; i++)
        count_up(arg, fng_str_from(keys[(index + i) % COUNTERS]));
}

static void counters_of_8_threads(struct case_context *context)
{
    static const char *const keys[COUNTERS] = {"x", "y", "z"};
    struct store store = store_open(context);
    struct found found;
    int total = 0;

    for (unsigned i = 0; i < COUNTERS; i++)
        must_put(&store, fng_str_from(keys[i]), FNG_STR("0"));
    run_threads(THREADS, count_in_thread, &store);
    for (unsigned i = 0; i < COUNTERS; i++) {
        must_be(get(&store, fng_str_from(keys[i]), &found), 0, "get");
        total += atoi(found.value);
        free(found.value);
    }
    CHECK(total == THREADS * ROUNDS, "8 threads added %d and the counters hold %d",
          THREADS * ROUNDS, total);
    store_close(&store);
}

/* Even threads write values of one repeated byte, odd ones look for a mixture. */
static void write_or_read_whole(unsigned index, void *arg)
{
    struct store *store = arg;
    char bytes[20000];

    for (unsigned i = 0; i < ROUNDS; i++) {
        struct found found;

        if (index % 2 == 0) {
            memset(bytes, 'a' + (int)(i + index) % 26, sizeof(bytes));
            must_put(store, FNG_STR("big"), fng_str_make(bytes, sizeof(bytes)));
            continue;
        }
        if (get(store, FNG_STR("big"), &found) != 0)
            continue;
        for (size_t k = 0; k < found.len; k++)
            CHECK(found.value[k] == found.value[0], "a reader saw two values mixed");
        free(found.value);
    }
}

static void values_are_never_mixed(struct case_context *context)
{
    struct store store = store_open(context);

    run_threads(THREADS, write_or_read_whole, &store);
    store_close(&store);
}

static void create_in_thread(unsigned index, void *arg)
{
    struct store *store = arg;
    char text[8];
    int32_t error;

    snprintf(text, sizeof(text), "%u", index);
    for (unsigned i = 0; i < ROUNDS; i++) {
        char key[16];

        snprintf(key, sizeof(key), "once/%u", i);
        error = put(store, fng_str_from(key), fng_str_from(text), 0, NULL);
        CHECK(error == 0 || error == FNG_E_CONFLICT, "create: %s", error_name(error));
        if (error == 0)
            must_have(store, fng_str_from(key), fng_str_from(text));
    }
}

static void one_creator_wins(struct case_context *context)
{
    struct store store = store_open(context);

    run_threads(THREADS, create_in_thread, &store);
    store_close(&store);
}

/* ---- Durability ---- */

static void durable_after_restart(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t version = must_put(&store, FNG_STR("kept"), FNG_STR("v"));

    must_put(&store, FNG_STR("gone"), FNG_STR("v"));
    must_be(take_away(&store, FNG_STR("gone"), FNG_KV_ANY), 0, "remove");
    store_close(&store);

    store = store_open(context);
    CHECK(must_have(&store, FNG_STR("kept"), FNG_STR("v")) == version,
          "the version is another one after a restart");
    must_miss(&store, FNG_STR("gone"));
    must_be(put(&store, FNG_STR("kept"), FNG_STR("w"), version, NULL), 0,
            "compare and set after a restart");
    store_close(&store);
}

static void versions_differ_across_restarts(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t before = must_put(&store, FNG_STR("a"), FNG_STR("v")), after;

    must_be(take_away(&store, FNG_STR("a"), FNG_KV_ANY), 0, "remove");
    store_close(&store);

    store = store_open(context);
    must_be(put(&store, FNG_STR("a"), FNG_STR("v"), 0, &after), 0, "put");
    CHECK(before != after, "a key that was removed, and made anew after a restart, has its old "
                           "version");
    store_close(&store);
}

/* Writes numbered keys and sends each number once the store has acknowledged it. */
static void write_until_killed(struct case_context *context, uint32_t first, int fd)
{
    struct store store = store_open(context);

    for (uint32_t i = first;; i++) {
        char key[16];

        snprintf(key, sizeof(key), "%u", i);
        must_put(&store, fng_str_from(key), FNG_STR("v"));
        if (write(fd, &i, sizeof(i)) != (ssize_t)sizeof(i))
            _exit(1);
    }
}

/* Returns the last number that was acknowledged before the child was killed. */
static uint32_t kill_a_writer(struct case_context *context, uint32_t first, unsigned acks)
{
    uint32_t number, last = first;
    unsigned seen = 0;
    int fds[2], status;
    pid_t child;

    CHECK(pipe(fds) == 0 && (child = fork()) >= 0, "the tool cannot fork: %s", strerror(errno));
    if (child == 0) {
        close(fds[0]);
        write_until_killed(context, first, fds[1]);
    }
    close(fds[1]);
    while (read(fds[0], &number, sizeof(number)) == (ssize_t)sizeof(number)) {
        last = number;
        if (++seen == acks)
            kill(child, SIGKILL);
    }
    close(fds[0]);
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the writer failed by itself");
    return last;
}

static void durable_after_kill(struct case_context *context)
{
    unsigned rounds = context->options->is_slow ? 50 : 5;
    uint32_t *first = must_zalloc((rounds + 1) * sizeof(*first));
    uint32_t *last = must_zalloc(rounds * sizeof(*last));
    struct store store;
    char key[16];

    for (unsigned i = 0; i < rounds; i++) {
        last[i] = kill_a_writer(context, first[i], 1 + i * 7 % 23);
        /* The write after the last acknowledged one may be there or not. */
        first[i + 1] = last[i] + 2;
    }
    store = store_open(context);
    for (unsigned i = 0; i < rounds; i++)
        for (uint32_t number = first[i]; number <= last[i]; number++) {
            snprintf(key, sizeof(key), "%u", number);
            must_have(&store, fng_str_from(key), FNG_STR("v"));
        }
    store_close(&store);
    free(first);
    free(last);
}

/* ---- Stop with operations under way ---- */

struct writers {
    struct store *store;
    int is_over;               /* atomic: begin no more operations */
    unsigned written[THREADS]; /* keys that each thread got acknowledged */
    pthread_barrier_t begin;
};

static void write_until_over(unsigned index, void *arg)
{
    struct writers *writers = arg;
    char key[32];

    pthread_barrier_wait(&writers->begin);
    if (index == 0) {
        /* Let the others get under way; what they have begun is under way during stop. */
        while (__atomic_load_n(&writers->written[THREADS - 1], __ATOMIC_RELAXED) < 3)
            sleep_ms(1);
        __atomic_store_n(&writers->is_over, 1, __ATOMIC_RELEASE);
        instance_drain(writers->store->instance);
        instance_stop(writers->store->instance);
        return;
    }
    while (!__atomic_load_n(&writers->is_over, __ATOMIC_ACQUIRE)) {
        snprintf(key, sizeof(key), "%u/%u", index, writers->written[index]);
        if (put(writers->store, fng_str_from(key), FNG_STR("v"), 0, NULL) != 0)
            return;
        __atomic_add_fetch(&writers->written[index], 1, __ATOMIC_RELAXED);
    }
}

static void stop_under_load(struct case_context *context)
{
    struct store store = store_open(context);
    struct writers writers = {.store = &store};
    char key[32];

    pthread_barrier_init(&writers.begin, NULL, THREADS);
    run_threads(THREADS, write_until_over, &writers);
    pthread_barrier_destroy(&writers.begin);
    case_close(store.instance);

    store = store_open(context);
    for (unsigned thread = 1; thread < THREADS; thread++)
        for (unsigned i = 0; i < writers.written[thread]; i++) {
            snprintf(key, sizeof(key), "%u/%u", thread, i);
            must_have(&store, fng_str_from(key), FNG_STR("v"));
        }
    store_close(&store);
}

/* ---- Sharing ---- */

static const char *skip_unless_shared(const struct fng_plugin *plugin)
{
    return plugin->capabilities & FNG_STORE_CAN_SHARE ? NULL : "plugin is not for sharing";
}

static void share_count(unsigned index, void *arg)
{
    struct store *stores = arg;

    for (unsigned i = 0; i < ROUNDS; i++)
        count_up(&stores[index % 2], FNG_STR("x"));
}

static void two_instances_share(struct case_context *context)
{
    struct store stores[2] = {store_open(context), store_open(context)};
    struct found found;

    must_put(&stores[0], FNG_STR("x"), FNG_STR("0"));
    must_have(&stores[1], FNG_STR("x"), FNG_STR("0"));
    run_threads(4, share_count, stores);
    must_be(get(&stores[0], FNG_STR("x"), &found), 0, "get");
    CHECK(atoi(found.value) == 4 * ROUNDS, "two instances added %d and the counter holds %s",
          4 * ROUNDS, found.value);
    free(found.value);
    store_close(&stores[0]);
    must_miss(&stores[1], FNG_STR("y"));
    store_close(&stores[1]);
}

/* ---- Leases ---- */

static const char *skip_without_lease(const struct fng_plugin *plugin)
{
    const struct fng_store_ops *ops = plugin->operations;

    return ops->lease ? NULL : "plugin has no lease";
}

static int32_t lease(struct store *store, const char *owner, uint32_t ttl_ms)
{
    struct call call;
    int32_t error;

    call_begin(&call, store->instance->host, CALL_TIMEOUT_MS);
    error = store->ops->lease(store->self, FNG_STR("leader"), fng_str_from(owner), ttl_ms);
    call_end(&call);
    return error;
}

static void lease_excludes_others(struct case_context *context)
{
    struct store store = store_open(context);

    must_be(lease(&store, "one", 60000), 0, "lease");
    must_be(lease(&store, "two", 60000), FNG_E_CONFLICT, "lease of another owner");
    must_be(lease(&store, "one", 60000), 0, "extending the lease");
    must_be(lease(&store, "two", 0), FNG_E_CONFLICT, "giving up a lease of another owner");
    must_be(lease(&store, "two", 60000), FNG_E_CONFLICT, "lease of another owner");
    must_list(&store, "", "", 0, "");
    store_close(&store);
}

static void lease_can_be_given_up(struct case_context *context)
{
    struct store store = store_open(context);

    must_be(lease(&store, "one", 60000), 0, "lease");
    must_be(lease(&store, "one", 0), 0, "giving it up");
    must_be(lease(&store, "two", 60000), 0, "lease of another owner afterwards");
    store_close(&store);
}

static void lease_ends(struct case_context *context)
{
    struct store store = store_open(context);
    int64_t begin_ms = now_ms();
    int32_t error;

    must_be(lease(&store, "one", 300), 0, "lease");
    while ((error = lease(&store, "two", 60000)) == FNG_E_CONFLICT) {
        CHECK(now_ms() - begin_ms < context->options->wait_ms, "a lease of 300 ms does not end");
        sleep_ms(5);
    }
    must_be(error, 0, "lease after the end of the former one");
    CHECK(now_ms() - begin_ms >= 250, "a lease of 300 ms ended after %lld ms",
          (long long)(now_ms() - begin_ms));
    must_be(lease(&store, "one", 60000), FNG_E_CONFLICT, "lease of the former owner");
    store_close(&store);
}

static void lease_survives_restart(struct case_context *context)
{
    struct store store = store_open(context);

    must_be(lease(&store, "one", 60000), 0, "lease");
    store_close(&store);
    store = store_open(context);
    must_be(lease(&store, "two", 60000), FNG_E_CONFLICT, "lease of another owner after a restart");
    must_be(lease(&store, "one", 60000), 0, "extending it after a restart");
    store_close(&store);
}

struct race {
    struct store *store;
    unsigned winners;
};

static void race_for_lease(unsigned index, void *arg)
{
    struct race *race = arg;
    char owner[16];

    snprintf(owner, sizeof(owner), "owner-%u", index);
    if (lease(race->store, owner, 60000) == 0)
        __atomic_add_fetch(&race->winners, 1, __ATOMIC_RELAXED);
}

static void lease_has_one_winner(struct case_context *context)
{
    struct store store = store_open(context);
    struct race race = {&store, 0};

    run_threads(THREADS, race_for_lease, &race);
    CHECK(race.winners == 1, "%u of 8 owners hold the lease", race.winners);
    store_close(&store);
}

static const struct check_case cases[] = {
    {"store/get-missing", get_missing, NULL},
    {"store/put-then-get", put_then_get, NULL},
    {"store/put-replaces", put_replaces, NULL},
    {"store/put-without-version-pointer", put_without_version_pointer, NULL},
    {"store/create-only", create_only, NULL},
    {"store/cas-accepts-stored-version", cas_accepts_the_stored_version, NULL},
    {"store/cas-refuses-old-version", cas_refuses_an_old_version, NULL},
    {"store/cas-refuses-missing-key", cas_refuses_a_missing_key, NULL},
    {"store/versions-differ", versions_differ, NULL},
    {"store/remove-then-get", remove_then_get, NULL},
    {"store/remove-missing", remove_missing, NULL},
    {"store/remove-refuses-old-version", remove_refuses_an_old_version, NULL},
    {"store/list-empty", list_empty, NULL},
    {"store/list-byte-order", list_in_byte_order, NULL},
    {"store/list-prefix", list_by_prefix, NULL},
    {"store/list-after", list_after_a_key, NULL},
    {"store/list-pages", list_in_pages, NULL},
    {"store/list-stop", list_stops, NULL},
    {"store/value-bytes", values_are_bytes, NULL},
    {"store/value-empty", value_may_be_empty, NULL},
    {"store/value-1-mib", value_of_1_mib, NULL},
    {"store/value-too-large", value_too_large, NULL},
    {"store/key-limits", key_limits, NULL},
    {"store/key-bytes", keys_are_bytes, NULL},
    {"store/errors-have-texts", errors_have_texts, NULL},
    {"store/counters-of-8-threads", counters_of_8_threads, NULL},
    {"store/values-never-mixed", values_are_never_mixed, NULL},
    {"store/one-creator-wins", one_creator_wins, NULL},
    {"store/durable-after-restart", durable_after_restart, NULL},
    {"store/durable-after-kill", durable_after_kill, NULL},
    {"store/versions-differ-across-restarts", versions_differ_across_restarts, NULL},
    {"store/stop-under-load", stop_under_load, NULL},
    {"store/two-instances-share", two_instances_share, skip_unless_shared},
    {"store/lease-excludes-others", lease_excludes_others, skip_without_lease},
    {"store/lease-given-up", lease_can_be_given_up, skip_without_lease},
    {"store/lease-ends", lease_ends, skip_without_lease},
    {"store/lease-survives-restart", lease_survives_restart, skip_without_lease},
    {"store/lease-one-winner", lease_has_one_winner, skip_without_lease},
};

const struct suite store_suite = {cases, COUNT_OF(cases)};

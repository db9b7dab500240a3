/* Store cases: many threads, restarts and kills, sharing, leases. */
#include "store_cases.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Many threads ---- */

enum { COUNTERS = 3 };

static void count_in_thread(unsigned index, void *arg)
{
    static const char *const keys[COUNTERS] = {"x", "y", "z"};

    for (unsigned i = 0; i < ROUNDS; i++)
        count_up(arg, fng_str_from(keys[(index + i) % COUNTERS]));
}

void case_counters_of_8_threads(struct case_context *context)
{
    static const char *const keys[COUNTERS] = {"x", "y", "z"};
    struct store store = store_open(context);
    struct found found;
    int total = 0;

    for (unsigned i = 0; i < COUNTERS; i++)
        must_put(&store, fng_str_from(keys[i]), FNG_STR("0"));
    run_threads(THREADS, count_in_thread, &store);
    for (unsigned i = 0; i < COUNTERS; i++) {
        must_be(store_get(&store, fng_str_from(keys[i]), &found), 0, "get");
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
        if (store_get(store, FNG_STR("big"), &found) != 0)
            continue;
        for (size_t k = 0; k < found.len; k++)
            CHECK(found.value[k] == found.value[0], "a reader saw two values mixed");
        free(found.value);
    }
}

void case_values_are_never_mixed(struct case_context *context)
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
        error = store_put(store, fng_str_from(key), fng_str_from(text), 0, NULL);
        CHECK(error == 0 || error == FNG_E_CONFLICT, "create: %s", error_name(error));
        if (error == 0)
            must_have(store, fng_str_from(key), fng_str_from(text));
    }
}

void case_one_creator_wins(struct case_context *context)
{
    struct store store = store_open(context);

    run_threads(THREADS, create_in_thread, &store);
    store_close(&store);
}

/* ---- Durability ---- */

void case_durable_after_restart(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t version = must_put(&store, FNG_STR("kept"), FNG_STR("v"));

    must_put(&store, FNG_STR("gone"), FNG_STR("v"));
    must_be(store_remove(&store, FNG_STR("gone"), FNG_KV_ANY), 0, "remove");
    store_close(&store);

    store = store_open(context);
    CHECK(must_have(&store, FNG_STR("kept"), FNG_STR("v")) == version,
          "the version is another one after a restart");
    must_miss(&store, FNG_STR("gone"));
    must_be(store_put(&store, FNG_STR("kept"), FNG_STR("w"), version, NULL), 0,
            "compare and set after a restart");
    store_close(&store);
}

void case_versions_differ_across_restarts(struct case_context *context)
{
    struct store store = store_open(context);
    uint64_t before = must_put(&store, FNG_STR("a"), FNG_STR("v")), after;

    must_be(store_remove(&store, FNG_STR("a"), FNG_KV_ANY), 0, "remove");
    store_close(&store);

    store = store_open(context);
    must_be(store_put(&store, FNG_STR("a"), FNG_STR("v"), 0, &after), 0, "put");
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

void case_durable_after_kill(struct case_context *context)
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
        if (store_put(writers->store, fng_str_from(key), FNG_STR("v"), 0, NULL) != 0)
            return;
        __atomic_add_fetch(&writers->written[index], 1, __ATOMIC_RELAXED);
    }
}

void case_stop_under_load(struct case_context *context)
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

const char *skip_unless_shared(const struct fng_plugin *plugin)
{
    return plugin->capabilities & FNG_STORE_CAN_SHARE ? NULL : "plugin is not for sharing";
}

static void share_count(unsigned index, void *arg)
{
    struct store *stores = arg;

    for (unsigned i = 0; i < ROUNDS; i++)
        count_up(&stores[index % 2], FNG_STR("x"));
}

void case_two_instances_share(struct case_context *context)
{
    struct store stores[2] = {store_open(context), store_open(context)};
    struct found found;

    must_put(&stores[0], FNG_STR("x"), FNG_STR("0"));
    must_have(&stores[1], FNG_STR("x"), FNG_STR("0"));
    run_threads(4, share_count, stores);
    must_be(store_get(&stores[0], FNG_STR("x"), &found), 0, "get");
    CHECK(atoi(found.value) == 4 * ROUNDS, "two instances added %d and the counter holds %s",
          4 * ROUNDS, found.value);
    free(found.value);
    store_close(&stores[0]);
    must_miss(&stores[1], FNG_STR("y"));
    store_close(&stores[1]);
}

/* ---- Leases ---- */

const char *skip_without_lease(const struct fng_plugin *plugin)
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

void case_lease_excludes_others(struct case_context *context)
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

void case_lease_can_be_given_up(struct case_context *context)
{
    struct store store = store_open(context);

    must_be(lease(&store, "one", 60000), 0, "lease");
    must_be(lease(&store, "one", 0), 0, "giving it up");
    must_be(lease(&store, "two", 60000), 0, "lease of another owner afterwards");
    store_close(&store);
}

void case_lease_ends(struct case_context *context)
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

void case_lease_survives_restart(struct case_context *context)
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

void case_lease_has_one_winner(struct case_context *context)
{
    struct store store = store_open(context);
    struct race race = {&store, 0};

    run_threads(THREADS, race_for_lease, &race);
    CHECK(race.winners == 1, "%u of 8 owners hold the lease", race.winners);
    store_close(&store);
}

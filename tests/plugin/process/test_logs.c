/* provider-process: no line is lost, whatever happens to its writer, its reader or its file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Before cmocka.h, whose fail() is a macro. */
#include "rig.h"

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_MAX = 4096, LINE_MAX_BYTES = 65536 };

/* What a reader has got so far. */
struct taken {
    struct rig *rig;
    struct fng_log_query query;
    pthread_mutex_t lock;
    size_t count, bytes;
    int64_t last_ns;
    bool is_ordered;
    size_t longest;
    char lines[LINES_MAX][64];
    char stop_at[64]; /* a line after which nothing more is wanted */
    int32_t result;
};

static int set_up(void **state)
{
    struct rig *rig = rig_new();

    rig_set(rig, "log_max_bytes", "64Ki");
    rig_set(rig, "log_files", "2");
    rig_start(rig);
    *state = rig;
    return 0;
}

static int tear_down(void **state)
{
    rig_free(*state);
    return 0;
}

static int32_t take_line(void *arg, const struct fng_log_line *line)
{
    struct taken *taken = arg;
    bool is_last;

    pthread_mutex_lock(&taken->lock);
    taken->is_ordered = taken->is_ordered && line->time_ns >= taken->last_ns;
    taken->last_ns = line->time_ns;
    taken->bytes += line->text.len;
    if (line->text.len > taken->longest)
        taken->longest = line->text.len;
    if (taken->count < LINES_MAX)
        snprintf(taken->lines[taken->count++], sizeof(taken->lines[0]), "%.*s", (int)line->text.len,
                 line->text.ptr);
    is_last = *taken->stop_at && fng_str_eq(line->text, fng_str_from(taken->stop_at));
    pthread_mutex_unlock(&taken->lock);
    return is_last;
}

static struct taken *taken_new(struct rig *rig, const char *name, int64_t tail)
{
    struct taken *taken = calloc(1, sizeof(*taken));

    taken->rig = rig;
    taken->is_ordered = true;
    taken->query = (struct fng_log_query){.size = sizeof(taken->query),
                                          .ns = FNG_STR(RIG_NS),
                                          .name = fng_str_from(name),
                                          .tail = tail};
    pthread_mutex_init(&taken->lock, NULL);
    return taken;
}

static void *read_logs(void *arg)
{
    struct taken *taken = arg;

    taken->result =
        rig_ops(taken->rig)->logs(rig_self(taken->rig), &taken->query, take_line, taken);
    return NULL;
}

static size_t count_of(struct taken *taken, const char *text)
{
    size_t n = 0;

    pthread_mutex_lock(&taken->lock);
    for (size_t i = 0; i < taken->count; i++)
        n += strcmp(taken->lines[i], text) == 0;
    pthread_mutex_unlock(&taken->lock);
    return n;
}

/* Lines reach the file through another process: read until the awaited one is there. */
static struct taken *read_until(struct rig *rig, const char *name, int64_t tail, const char *last)
{
    struct taken *taken = taken_new(rig, name, -1);

    snprintf(taken->stop_at, sizeof(taken->stop_at), "%s", last);
    taken->query.follow = 1;
    read_logs(taken);
    if (tail < 0)
        return taken;
    free(taken);
    taken = taken_new(rig, name, tail);
    read_logs(taken);
    return taken;
}

static void say(const struct rig_view *view, size_t replica, const char *text)
{
    char path[128];

    snprintf(path, sizeof(path), "/say/%s", text);
    assert_int_equal(rig_get(view->address[replica], path, NULL, 0), 200);
}

static void lines_of_all_replicas_are_merged_by_time(void **state)
{
    struct rig_view view;
    struct taken *taken;
    char text[32];

    rig_deploy(*state, &(struct rig_function){.name = "talk", .replicas = 3});
    rig_wait_ready(*state, "talk", 3, &view);
    for (int i = 0; i < 30; i++) {
        snprintf(text, sizeof(text), "line-%d", i);
        say(&view, (size_t)i % 3, text);
    }
    taken = read_until(*state, "talk", 5, "line-29");
    assert_int_equal(taken->count, 5);
    assert_true(taken->is_ordered);
    free(taken);
    taken = read_until(*state, "talk", -1, "line-29");
    assert_true(taken->is_ordered);
    free(taken);
}

static void since_leaves_older_lines_out(void **state)
{
    struct rig_view view;
    struct taken *taken;

    rig_deploy(*state, &(struct rig_function){.name = "talk"});
    rig_wait_ready(*state, "talk", 1, &view);
    say(&view, 0, "old");
    taken = read_until(*state, "talk", -1, "old");
    taken->query.since_ms = taken->last_ns / 1000000 + 1;
    taken->query.follow = 0;
    taken->count = 0;
    read_logs(taken);
    assert_int_equal(taken->count, 0);
    free(taken);
}

static void following_goes_through_ends_updates_and_zero(void **state)
{
    struct taken *taken;
    struct rig_view view;
    pthread_t thread;

    rig_deploy(*state, &(struct rig_function){.name = "talk"});
    rig_wait_ready(*state, "talk", 1, &view);
    taken = taken_new(*state, "talk", -1);
    taken->query.follow = 1;
    strcpy(taken->stop_at, "the-end");
    pthread_create(&thread, NULL, read_logs, taken);
    say(&view, 0, "first");
    rig_get(view.address[0], "/exit/0", NULL, 0);
    rig_wait_ready(*state, "talk", 1, &view);
    say(&view, 0, "after-its-end");
    rig_kill_supervisor(*state);
    say(&view, 0, "without-a-supervisor");
    rig_wait_ready(*state, "talk", 1, &view);
    rig_scale(*state, "talk", 0);
    rig_wait_ready(*state, "talk", 0, &view);
    rig_scale(*state, "talk", 1);
    rig_wait_ready(*state, "talk", 1, &view);
    say(&view, 0, "the-end");
    pthread_join(thread, NULL);
    assert_int_equal(taken->result, 0);
    assert_int_equal(count_of(taken, "first"), 1);
    /* Twice when the supervisor was killed between writing it and taking it out of the FIFO. */
    assert_true(count_of(taken, "after-its-end") >= 1);
    assert_true(count_of(taken, "without-a-supervisor") >= 1);
    free(taken);
}

static void long_lines_are_continued_and_stop_nobody(void **state)
{
    struct rig_view view;
    struct taken *taken;

    rig_deploy(*state, &(struct rig_function){.name = "long"});
    rig_wait_ready(*state, "long", 1, &view);
    taken = taken_new(*state, "long", -1);
    taken->query.follow = 1;
    strcpy(taken->stop_at, "done");
    assert_int_equal(rig_get(view.address[0], "/long/50000", NULL, 0), 200);
    assert_int_equal(rig_get(view.address[0], "/long/3000000", NULL, 0), 200);
    say(&view, 0, "done");
    read_logs(taken);
    assert_true(taken->longest <= LINE_MAX_BYTES);
    free(taken);
}

static void lines_survive_a_supervisor_that_is_killed_again_and_again(void **state)
{
    enum { LINES = 200 };
    struct taken *taken;
    struct rig_view view;
    char text[32];

    rig_deploy(*state, &(struct rig_function){.name = "talk"});
    rig_wait_ready(*state, "talk", 1, &view);
    for (int i = 0; i < LINES; i++) {
        snprintf(text, sizeof(text), "line-%d", i);
        say(&view, 0, text);
        if (i % 20 == 10)
            rig_kill_supervisor(*state);
    }
    taken = read_until(*state, "talk", -1, "line-199");
    for (int i = 0; i < LINES; i++) {
        snprintf(text, sizeof(text), "line-%d", i);
        if (count_of(taken, text) == 0)
            fail_msg("%s is missing", text);
    }
    free(taken);
}

static void logs_of_an_unknown_function_are_not_found(void **state)
{
    struct taken *taken = taken_new(*state, "nobody", -1);

    read_logs(taken);
    assert_int_equal(taken->result, FNG_E_NOT_FOUND);
    free(taken);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(lines_of_all_replicas_are_merged_by_time),
        CASE(since_leaves_older_lines_out),
        CASE(following_goes_through_ends_updates_and_zero),
        CASE(long_lines_are_continued_and_stop_nobody),
        CASE(lines_survive_a_supervisor_that_is_killed_again_and_again),
        CASE(logs_of_an_unknown_function_are_not_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

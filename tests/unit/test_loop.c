/* loop: timers on a virtual clock, mailboxes, deferred work, quiescence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/sys.h"
#include "loop/loop.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

static int64_t virtual_ms;

static int64_t virtual_clock(void)
{
    return virtual_ms * 1000000;
}

static int use_virtual_clock(void **state)
{
    (void)state;
    virtual_ms = 1000;
    sys.monotonic_ns = virtual_clock;
    return 0;
}

static int use_real_clock(void **state)
{
    (void)state;
    sys_reset();
    return 0;
}

/* Moves the clock in one step and lets the loop see it. */
static void advance(struct loop *loop, int64_t ms)
{
    virtual_ms += ms;
    loop_turn(loop, false);
}

struct alarm {
    struct timer timer;
    int64_t fired_ms;
    int count;
};

static void on_alarm(void *arg)
{
    struct alarm *alarm = arg;

    alarm->fired_ms = virtual_ms;
    alarm->count++;
}

static void timers_fire_once_at_their_millisecond(void **state)
{
    static const int64_t delays[] = {1,        2,        255,       256,   257,   511,
                                     512,      65535,    65536,     65537, 70000, 16777215,
                                     16777216, 20000000, 300000000, 0};
    enum { COUNT = sizeof(delays) / sizeof(delays[0]) };
    struct loop *loop = loop_new("test");
    struct alarm alarms[COUNT] = {0};
    int64_t start = virtual_ms, wanted;

    (void)state;
    loop_turn(loop, false);
    for (int i = 0; i < COUNT; i++) {
        timer_init(&alarms[i].timer, loop, on_alarm, &alarms[i]);
        timer_set(&alarms[i].timer, delays[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        wanted = delays[i] ? delays[i] : 1;
        if (start + wanted > virtual_ms + 1)
            advance(loop, start + wanted - 1 - virtual_ms);
        for (int j = 0; j < COUNT; j++)
            assert_true(alarms[j].count == (start + (delays[j] ? delays[j] : 1) <= virtual_ms));
        if (start + wanted > virtual_ms)
            advance(loop, start + wanted - virtual_ms);
        assert_int_equal(alarms[i].count, 1);
    }
    loop_free(loop);
}

static void random_timers_keep_their_order_and_count(void **state)
{
    enum { COUNT = 2000 };
    struct loop *loop = loop_new("test");
    struct alarm *alarms = calloc(COUNT, sizeof(*alarms));
    int64_t due[COUNT];
    int fired = 0;

    (void)state;
    srand(7);
    loop_turn(loop, false);
    for (int i = 0; i < COUNT; i++) {
        timer_init(&alarms[i].timer, loop, on_alarm, &alarms[i]);
        timer_set(&alarms[i].timer, 1 + rand() % 200000);
        due[i] = alarms[i].timer.due_ms;
        if (i % 5 == 0)
            timer_cancel(&alarms[i].timer);
        if (i % 7 == 0) {
            timer_set(&alarms[i].timer, 1 + rand() % 1000);
            due[i] = alarms[i].timer.due_ms;
        }
    }
    while (virtual_ms < 300000)
        advance(loop, 1 + rand() % 300);
    for (int i = 0; i < COUNT; i++) {
        bool is_set = i % 5 != 0 || i % 7 == 0;

        assert_int_equal(alarms[i].count, is_set);
        fired += alarms[i].count;
        if (is_set)
            assert_in_range(alarms[i].fired_ms, due[i], due[i] + 300);
    }
    assert_true(fired > COUNT / 2);
    free(alarms);
    loop_free(loop);
}

static void on_alarm_again(void *arg)
{
    struct alarm *alarm = arg;

    if (++alarm->count < 3)
        timer_set(&alarm->timer, 10);
}

static void a_timer_may_set_itself_again(void **state)
{
    struct loop *loop = loop_new("test");
    struct alarm alarm = {0};

    (void)state;
    loop_turn(loop, false);
    timer_init(&alarm.timer, loop, on_alarm_again, &alarm);
    timer_set(&alarm.timer, 10);
    for (int i = 0; i < 100; i++)
        advance(loop, 1);
    assert_int_equal(alarm.count, 3);
    assert_false(timer_is_set(&alarm.timer));
    loop_free(loop);
}

/* ---- Mailboxes ---- */

enum { POSTERS = 4, POSTS = 20000 };

struct counted {
    struct loop_msg msg;
    struct loop *loop;
    int poster, number;
};

static int last_number[POSTERS], received;

static void run_counted(struct loop_msg *msg)
{
    struct counted *counted = CONTAINER_OF(msg, struct counted, msg);

    assert_int_equal(counted->number, last_number[counted->poster] + 1);
    last_number[counted->poster] = counted->number;
    if (++received == POSTERS * POSTS)
        loop_stop(counted->loop);
    free(counted);
}

struct poster {
    struct loop *loop;
    int index;
};

static void *post_many(void *arg)
{
    struct poster *poster = arg;

    for (int i = 1; i <= POSTS; i++) {
        struct counted *counted = malloc(sizeof(*counted));

        *counted = (struct counted){{NULL, run_counted}, poster->loop, poster->index, i};
        loop_post(poster->loop, &counted->msg);
    }
    return NULL;
}

static void messages_arrive_once_and_in_order_per_poster(void **state)
{
    struct loop *loop = loop_new("test");
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];

    (void)state;
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){loop, i};
        pthread_create(&threads[i], NULL, post_many, &posters[i]);
    }
    loop_run(loop);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(received, POSTERS * POSTS);
    loop_free(loop);
}

/* ---- Quiescence: readers follow a pointer that a writer replaces and frees ---- */

enum { READERS = 3, SWAPS = 2000 };

struct object {
    struct loop_msg msg;
    int magic;
};

struct reader {
    struct loop *loop;
    struct loop_defer defer;
    atomic_long seen;
};

static _Atomic(struct object *) shared;
static atomic_int freed;

static void run_free(struct loop_msg *msg)
{
    struct object *object = CONTAINER_OF(msg, struct object, msg);

    object->magic = 0;
    free(object);
    atomic_fetch_add(&freed, 1);
}

static void read_shared(struct loop_defer *defer)
{
    struct reader *reader = CONTAINER_OF(defer, struct reader, defer);
    struct object *object = atomic_load_explicit(&shared, memory_order_acquire);

    for (int i = 0; i < 10; i++)
        assert_int_equal(object->magic, 42);
    atomic_fetch_add(&reader->seen, 1);
    loop_defer(reader->loop, defer);
}

static struct object *new_object(void)
{
    struct object *object = malloc(sizeof(*object));

    *object = (struct object){{NULL, run_free}, 42};
    return object;
}

static void nothing_is_freed_while_a_loop_may_read_it(void **state)
{
    struct loop *home = loop_new("home");
    struct quiesce *domain = quiesce_new(home);
    struct reader readers[READERS];

    (void)state;
    atomic_store(&shared, new_object());
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.loop = loop_new("reader")};
        loop_defer_init(&readers[i].defer, read_shared);
        loop_defer(readers[i].loop, &readers[i].defer);
        quiesce_add_loop(domain, readers[i].loop);
    }
    for (int i = 0; i < READERS; i++)
        assert_int_equal(loop_spawn(readers[i].loop), 0);
    for (int i = 0; i < READERS; i++)
        while (atomic_load(&readers[i].seen) == 0)
            sched_yield();
    for (int i = 0; i < SWAPS; i++) {
        struct object *former =
            atomic_exchange_explicit(&shared, new_object(), memory_order_acq_rel);

        quiesce_call(domain, &former->msg);
        loop_turn(home, false);
    }
    while (atomic_load(&freed) < SWAPS)
        loop_turn(home, true);
    for (int i = 0; i < READERS; i++) {
        loop_stop(readers[i].loop);
        loop_join(readers[i].loop);
        loop_free(readers[i].loop);
    }
    free(atomic_load(&shared));
    quiesce_free(domain);
    loop_free(home);
}

static void idle_and_ended_loops_count_as_passed(void **state)
{
    struct loop *home = loop_new("home"), *idle = loop_new("idle");
    struct quiesce *domain = quiesce_new(home);
    struct object *object = new_object();
    int before = atomic_load(&freed);

    (void)state;
    quiesce_add_loop(domain, idle);
    quiesce_call(domain, &object->msg);
    loop_turn(home, false);
    assert_int_equal(atomic_load(&freed), before + 1);
    quiesce_free(domain);
    loop_free(idle);
    loop_free(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_fire_once_at_their_millisecond, use_virtual_clock,
                                        use_real_clock),
        cmocka_unit_test_setup_teardown(random_timers_keep_their_order_and_count, use_virtual_clock,
                                        use_real_clock),
        cmocka_unit_test_setup_teardown(a_timer_may_set_itself_again, use_virtual_clock,
                                        use_real_clock),
        cmocka_unit_test(messages_arrive_once_and_in_order_per_poster),
        cmocka_unit_test(nothing_is_freed_while_a_loop_may_read_it),
        cmocka_unit_test(idle_and_ended_loops_count_as_passed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* lanes: bounded queue, keys, withdrawal, and threads that hang. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "loop/lane.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

struct job {
    struct lane_job job;
    sem_t *started, *may_end;
    atomic_int *order; /* next place */
    int place;         /* in which it ran */
};

static void run_job(struct lane_job *lane_job)
{
    struct job *job = CONTAINER_OF(lane_job, struct job, job);

    if (job->order)
        job->place = atomic_fetch_add(job->order, 1);
    sem_post(job->started);
    if (job->may_end)
        sem_wait(job->may_end);
}

struct fixture {
    sem_t started, may_end;
    atomic_int order;
};

static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));

    sem_init(&f->started, 0, 0);
    sem_init(&f->may_end, 0, 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    sem_destroy(&f->started);
    sem_destroy(&f->may_end);
    mem_free(f);
    return 0;
}

static struct job make_job(struct fixture *f, uint64_t key, bool is_blocking)
{
    return (struct job){.job = {.key = key, .run = run_job},
                        .started = &f->started,
                        .may_end = is_blocking ? &f->may_end : NULL,
                        .order = &f->order};
}

static struct lane *make_lane(unsigned threads, unsigned queue)
{
    return lane_new("test", &(struct lane_limits){threads, queue}, NULL, NULL, NULL);
}

static void every_thread_of_the_limit_works_at_the_same_time(void **state)
{
    struct fixture *f = *state;
    struct lane *lane = make_lane(4, 0);
    struct job jobs[5];

    for (int i = 0; i < 5; i++)
        jobs[i] = make_job(f, 0, true);
    for (int i = 0; i < 4; i++)
        assert_int_equal(lane_submit(lane, &jobs[i].job), 0);
    for (int i = 0; i < 4; i++)
        sem_wait(&f->started); /* would hang if one waited for another */
    assert_int_equal(lane_submit(lane, &jobs[4].job), -EAGAIN);
    for (int i = 0; i < 4; i++)
        sem_post(&f->may_end);
    assert_int_equal(lane_free(lane, 10000), 0);
}

static void a_full_queue_refuses_at_once(void **state)
{
    struct fixture *f = *state;
    struct lane *lane = make_lane(1, 2);
    struct job jobs[4];
    struct lane_stats stats;

    for (int i = 0; i < 4; i++)
        jobs[i] = make_job(f, 0, true);
    assert_int_equal(lane_submit(lane, &jobs[0].job), 0);
    sem_wait(&f->started);
    assert_int_equal(lane_submit(lane, &jobs[1].job), 0);
    assert_int_equal(lane_submit(lane, &jobs[2].job), 0);
    assert_int_equal(lane_submit(lane, &jobs[3].job), -EAGAIN);
    lane_stats(lane, &stats);
    assert_int_equal(stats.running, 1);
    assert_int_equal(stats.waiting, 2);
    for (int i = 0; i < 3; i++)
        sem_post(&f->may_end);
    sem_wait(&f->started);
    sem_wait(&f->started);
    assert_int_equal(lane_free(lane, 10000), 0);
}

static void jobs_of_one_key_run_in_order_and_others_overtake_them(void **state)
{
    struct fixture *f = *state;
    struct lane *lane = make_lane(3, 8);
    struct job first = make_job(f, 7, true), second = make_job(f, 7, false);
    struct job other = make_job(f, 8, false);

    assert_int_equal(lane_submit(lane, &first.job), 0);
    sem_wait(&f->started);
    assert_int_equal(lane_submit(lane, &second.job), 0);
    assert_int_equal(lane_submit(lane, &other.job), 0);
    sem_wait(&f->started);
    assert_int_equal(other.place, 1);
    sem_post(&f->may_end);
    sem_wait(&f->started);
    assert_int_equal(second.place, 2);
    assert_int_equal(lane_free(lane, 10000), 0);
}

static void a_waiting_job_can_be_withdrawn_a_running_one_not(void **state)
{
    struct fixture *f = *state;
    struct lane *lane = make_lane(1, 4);
    struct job running = make_job(f, 0, true), waiting = make_job(f, 0, false);

    assert_int_equal(lane_submit(lane, &running.job), 0);
    sem_wait(&f->started);
    assert_int_equal(lane_submit(lane, &waiting.job), 0);
    assert_int_equal(lane_withdraw(lane, &waiting.job), 0);
    assert_int_equal(lane_withdraw(lane, &waiting.job), -EBUSY);
    assert_int_equal(lane_withdraw(lane, &running.job), -EBUSY);
    sem_post(&f->may_end);
    assert_int_equal(lane_free(lane, 10000), 0);
    assert_int_equal(waiting.place, 0);
}

static void a_hung_thread_is_left_behind_and_may_return_later(void **state)
{
    struct fixture *f = *state;
    struct lane *lane = make_lane(2, 4);
    struct job hung = make_job(f, 0, true), fine = make_job(f, 0, false);

    assert_int_equal(lane_submit(lane, &hung.job), 0);
    sem_wait(&f->started);
    assert_int_equal(lane_submit(lane, &fine.job), 0);
    sem_wait(&f->started);
    assert_int_equal(lane_free(lane, 20), 1);
    sem_post(&f->may_end); /* returns into a lane that its owner gave up */
    while (sem_trywait(&f->may_end) == 0)
        sem_post(&f->may_end);
}

static void count_up(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void every_thread_that_starts_also_ends_before_its_lane(void **state)
{
    struct fixture *f = *state;
    struct job jobs[3];
    struct lane *lane;

    lane = lane_new("test", &(struct lane_limits){3, 0}, NULL, count_up, &f->order);
    for (int i = 0; i < 3; i++) {
        jobs[i] = make_job(f, 0, true);
        jobs[i].order = NULL;
        assert_int_equal(lane_submit(lane, &jobs[i].job), 0);
    }
    for (int i = 0; i < 3; i++)
        sem_wait(&f->started);
    for (int i = 0; i < 3; i++)
        sem_post(&f->may_end);
    assert_int_equal(lane_free(lane, 10000), 0);
    assert_int_equal(atomic_load(&f->order), 3);
}

#define LANE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LANE_TEST(every_thread_of_the_limit_works_at_the_same_time),
        LANE_TEST(a_full_queue_refuses_at_once),
        LANE_TEST(jobs_of_one_key_run_in_order_and_others_overtake_them),
        LANE_TEST(a_waiting_job_can_be_withdrawn_a_running_one_not),
        LANE_TEST(every_thread_that_starts_also_ends_before_its_lane),
        LANE_TEST(a_hung_thread_is_left_behind_and_may_return_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

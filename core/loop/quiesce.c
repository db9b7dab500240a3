/* Quiescence. A loop counts its turns: odd while one is under way. quiesce_call notes the count of
 * each busy loop and waits until it has moved on.
 *
 * The order that makes it safe: whoever replaces a pointer stores it before quiesce_call; here
 * quiesce_waiters is raised before the count is read, while the loop raises its count before it
 * reads quiesce_waiters (all sequentially consistent). So either we see the turn ended, or the loop
 * sees that somebody waits. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/vec.h"
#include "loop/internal.h"

struct waiter {
    struct list node;
    struct loop_msg *msg;
    unsigned busy;     /* loops that have not moved on */
    uint64_t counts[]; /* per loop: the count to move on from, 0: passed */
};

struct quiesce {
    struct loop *home;
    pthread_mutex_t lock; /* guards waiters */
    struct list waiters;
    VEC(struct loop *) loops;
};

struct quiesce *quiesce_new(struct loop *home)
{
    struct quiesce *domain = xcalloc(1, sizeof(*domain));

    domain->home = home;
    pthread_mutex_init(&domain->lock, NULL);
    list_init(&domain->waiters);
    return domain;
}

void quiesce_add_loop(struct quiesce *domain, struct loop *loop)
{
    ASSERT(!loop->domain);
    loop->domain = domain;
    *VEC_PUSH(&domain->loops) = loop;
}

void quiesce_free(struct quiesce *domain)
{
    struct list *node;

    if (!domain)
        return;
    while ((node = list_pop(&domain->waiters)))
        mem_free(CONTAINER_OF(node, struct waiter, node));
    pthread_mutex_destroy(&domain->lock);
    VEC_FREE(&domain->loops);
    mem_free(domain);
}

/* Notes that loop i must move on, unless it is between turns. */
static void wait_for_loop(struct quiesce *domain, struct waiter *waiter, size_t i)
{
    struct loop *loop = domain->loops.items[i];
    uint64_t count;

    atomic_fetch_add_explicit(&loop->quiesce_waiters, 1, memory_order_seq_cst);
    count = atomic_load_explicit(&loop->turns, memory_order_seq_cst);
    if (count % 2 == 0) {
        atomic_fetch_sub_explicit(&loop->quiesce_waiters, 1, memory_order_seq_cst);
        return;
    }
    waiter->counts[i] = count;
    waiter->busy++;
}

static void waiter_end(struct quiesce *domain, struct waiter *waiter)
{
    loop_post(domain->home, waiter->msg);
    mem_free(waiter);
}

void quiesce_call(struct quiesce *domain, struct loop_msg *msg)
{
    struct waiter *waiter =
        xcalloc(1, sizeof(*waiter) + domain->loops.count * sizeof(waiter->counts[0]));
    bool all_passed;

    waiter->msg = msg;
    list_init(&waiter->node);
    atomic_thread_fence(memory_order_seq_cst);
    pthread_mutex_lock(&domain->lock);
    for (size_t i = 0; i < domain->loops.count; i++)
        wait_for_loop(domain, waiter, i);
    all_passed = waiter->busy == 0;
    if (!all_passed)
        list_push(&domain->waiters, &waiter->node);
    pthread_mutex_unlock(&domain->lock);
    if (all_passed)
        waiter_end(domain, waiter);
}

static size_t index_of(const struct quiesce *domain, const struct loop *loop)
{
    size_t i = 0;

    while (domain->loops.items[i] != loop)
        i++;
    return i;
}

void quiesce_turn_ended(struct quiesce *domain, struct loop *loop)
{
    size_t i = index_of(domain, loop);
    struct list ended, *entry;

    list_init(&ended);
    pthread_mutex_lock(&domain->lock);
    LIST_FOR_EACH_SAFE(node, after, &domain->waiters)
    {
        struct waiter *waiter = CONTAINER_OF(node, struct waiter, node);

        if (!waiter->counts[i])
            continue;
        waiter->counts[i] = 0;
        atomic_fetch_sub_explicit(&loop->quiesce_waiters, 1, memory_order_seq_cst);
        if (--waiter->busy == 0) {
            list_remove(node);
            list_push(&ended, node);
        }
    }
    pthread_mutex_unlock(&domain->lock);
    while ((entry = list_pop(&ended)))
        waiter_end(domain, CONTAINER_OF(entry, struct waiter, node));
}

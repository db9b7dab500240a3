/* The timer wheel: four levels of 256 slots. A timer sits in the level whose slots are as wide as
 * its distance asks for, and moves down as its time comes near; level 0 has one slot per
 * millisecond. */
#include "base/assert.h"
#include "loop/internal.h"

#include <string.h>

void wheel_init(struct wheel *wheel, int64_t now_ms)
{
    wheel->time_ms = now_ms;
    for (int level = 0; level < WHEEL_LEVELS; level++)
        for (int slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
}

static unsigned slot_of(int64_t time_ms, int level)
{
    return (unsigned)(time_ms >> (8 * level)) & (WHEEL_SLOTS - 1);
}

/* Puts the timer where it belongs, seen from time_ms; one that is due now goes to the current slot.
 */
static void wheel_place(struct wheel *wheel, struct timer *timer, int64_t due_ms)
{
    int64_t distance = due_ms - wheel->time_ms, reach = (int64_t)1 << (8 * WHEEL_LEVELS);
    int level = 0;
    unsigned slot;

    if (distance >= reach) {
        /* farther than the wheel reaches: looked at again when the last slot comes round */
        distance = reach - 1;
        due_ms = wheel->time_ms + distance;
    }
    while (distance >> (8 * (level + 1)))
        level++;
    slot = slot_of(due_ms, level);
    list_push(&wheel->slots[level][slot], &timer->node);
    wheel->used[level][slot / 64] |= UINT64_C(1) << (slot % 64);
}

/* Slots from the one after `from`, cyclically, to the first that holds a timer: 1..256, 0: none. */
static unsigned slots_to_next(struct wheel *wheel, int level, unsigned from)
{
    for (unsigned step = 1; step <= WHEEL_SLOTS;) {
        unsigned slot = (from + step) & (WHEEL_SLOTS - 1);
        uint64_t word = wheel->used[level][slot / 64] >> (slot % 64);

        if (!word) {
            step += 64 - slot % 64;
            continue;
        }
        step += (unsigned)__builtin_ctzll(word);
        slot = (from + step) & (WHEEL_SLOTS - 1);
        if (step > WHEEL_SLOTS)
            return 0;
        if (!list_is_empty(&wheel->slots[level][slot]))
            return step;
        wheel->used[level][slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    }
    return 0;
}

/* The next tick at which something must be done; -1 when there is nothing. */
static int64_t next_tick(struct wheel *wheel)
{
    int64_t best = -1;

    for (int level = 0; level < WHEEL_LEVELS; level++) {
        int64_t width = (int64_t)1 << (8 * level);
        unsigned steps = slots_to_next(wheel, level, slot_of(wheel->time_ms, level));
        int64_t tick = ((wheel->time_ms >> (8 * level)) + steps) * width;

        if (steps && (best < 0 || tick < best))
            best = tick;
    }
    return best;
}

static void take_slot(struct wheel *wheel, int level, unsigned slot, struct list *ret)
{
    struct list *node;

    list_init(ret);
    while ((node = list_pop(&wheel->slots[level][slot])))
        list_push(ret, node);
    wheel->used[level][slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

/* At the border of an upper slot its timers move down. */
static void cascade(struct wheel *wheel)
{
    for (int level = 1; level < WHEEL_LEVELS; level++) {
        struct list batch, *node;

        if (wheel->time_ms & (((int64_t)1 << (8 * level)) - 1))
            return;
        take_slot(wheel, level, slot_of(wheel->time_ms, level), &batch);
        while ((node = list_pop(&batch))) {
            struct timer *timer = CONTAINER_OF(node, struct timer, node);

            wheel_place(wheel, timer, timer->due_ms);
        }
    }
}

void wheel_advance(struct wheel *wheel, int64_t now_ms)
{
    int64_t tick;

    while (wheel->count > 0 && (tick = next_tick(wheel)) >= 0 && tick <= now_ms) {
        struct list due, *node;

        wheel->time_ms = tick;
        cascade(wheel);
        take_slot(wheel, 0, slot_of(tick, 0), &due);
        while ((node = list_pop(&due))) {
            struct timer *timer = CONTAINER_OF(node, struct timer, node);

            wheel->count--;
            timer->on_due(timer->arg);
        }
    }
    if (now_ms > wheel->time_ms)
        wheel->time_ms = now_ms;
}

int64_t wheel_wait_ms(struct wheel *wheel, int64_t now_ms)
{
    int64_t tick = wheel->count ? next_tick(wheel) : -1;

    if (tick < 0)
        return -1;
    return tick > now_ms ? tick - now_ms : 0;
}

void timer_init(struct timer *timer, struct loop *loop, void (*on_due)(void *arg), void *arg)
{
    list_init(&timer->node);
    timer->due_ms = 0;
    timer->loop = loop;
    timer->on_due = on_due;
    timer->arg = arg;
}

void timer_set(struct timer *timer, int64_t delay_ms)
{
    struct wheel *wheel = &timer->loop->wheel;

    ASSERT(timer->on_due);
    timer_cancel(timer);
    timer->due_ms = loop_now_ms(timer->loop) + (delay_ms > 0 ? delay_ms : 0);
    wheel->count++;
    /* the current tick has been handled already */
    wheel_place(wheel, timer, timer->due_ms > wheel->time_ms ? timer->due_ms : wheel->time_ms + 1);
}

void timer_cancel(struct timer *timer)
{
    if (!timer_is_set(timer))
        return;
    list_remove(&timer->node);
    timer->loop->wheel.count--;
}

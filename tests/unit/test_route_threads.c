/* route under threads: loops look up, pick, park and release while the control loop swaps sets,
 * drops names, holds and unholds. What must hold: an endpoint is reported released once, never
 * while a request is on it; and nobody parks for ever. Most telling under the thread sanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "route/route.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    READERS = 3,
    FUNCTIONS = 3,
    STEPS = 20000,
    ENDPOINTS_MAX = STEPS * 3 + FUNCTIONS,
    HELD_MAX = 12,
    STEPS_PER_TURN = 8
};

static atomic_int in_use[ENDPOINTS_MAX], released[ENDPOINTS_MAX];
static atomic_int readers_done, woken;
static atomic_bool is_ending;

struct reader;
struct request {
    struct route_parked parked;
    struct reader *reader;
    struct route_fn *fn; /* NULL: free */
    struct route_endpoint *ep;
};

struct reader {
    struct loop_msg msg;
    struct loop *loop;
    struct route_table *table;
    unsigned cell, seed;
    struct request requests[HELD_MAX];
};

struct writer {
    struct loop_msg msg;
    struct loop *loop;
    struct route_table *table;
    unsigned seed, steps, created, released;
    struct route_endpoint_spec last[FUNCTIONS][3];
    size_t counts[FUNCTIONS];
};

static unsigned id_of(const struct route_endpoint *ep)
{
    return (unsigned)strtoul(endpoint_replica(ep).ptr, NULL, 10);
}

static struct str name_of(unsigned i)
{
    static const char *const names[FUNCTIONS] = {"one", "two", "three"};

    return str_from(names[i]);
}

/* ---- Readers ---- */

static void request_end(struct request *request)
{
    unsigned cell = request->reader->cell;

    if (request->ep) {
        unsigned id = id_of(request->ep);

        ASSERT(!released[id]);
        in_use[id]--;
        endpoint_release(request->ep, cell);
    }
    route_unpark(&request->parked, cell);
    route_fn_leave(request->fn, cell, 200, 0.01);
    request->ep = NULL;
    request->fn = NULL;
}

static void request_route(struct request *request)
{
    if (route_fn_is_dropped(request->fn)) {
        request_end(request);
        return;
    }
    request->ep = route_pick(request->fn, request->reader->cell, NULL);
    if (request->ep) {
        unsigned id = id_of(request->ep);

        in_use[id]++;
        ASSERT(!released[id]);
    } else if (!route_park(request->fn, request->reader->cell, 20, &request->parked)) {
        request_end(request);
    }
}

static void on_wake(struct route_parked *parked)
{
    woken++;
    request_route(CONTAINER_OF(parked, struct request, parked));
}

static void request_begin(struct reader *reader, struct request *request)
{
    struct route_fn *fn = route_lookup(reader->table, STR("ns"),
                                       name_of((unsigned)rand_r(&reader->seed) % FUNCTIONS));

    if (!fn || !route_fn_enter(fn, reader->cell))
        return;
    request->reader = reader;
    request->parked.on_wake = on_wake;
    request->fn = fn;
    request_route(request);
}

static bool reader_drain(struct reader *reader)
{
    bool is_empty = true;

    for (size_t i = 0; i < HELD_MAX; i++) {
        struct request *request = &reader->requests[i];

        if (request->fn && request->ep)
            request_end(request);
        is_empty = is_empty && !request->fn; /* what is parked must be woken */
    }
    return is_empty;
}

static void reader_run(struct loop_msg *msg)
{
    struct reader *reader = CONTAINER_OF(msg, struct reader, msg);

    if (is_ending && reader_drain(reader)) {
        readers_done++;
        return;
    }
    for (int i = 0; !is_ending && i < STEPS_PER_TURN; i++) {
        struct request *request = &reader->requests[(unsigned)rand_r(&reader->seed) % HELD_MAX];

        if (!request->fn)
            request_begin(reader, request);
        else if (request->ep || rand_r(&reader->seed) % 8 == 0)
            request_end(request);
    }
    loop_post(reader->loop, &reader->msg);
}

/* ---- Writer ---- */

static void on_released(void *arg, uint32_t provider, uint64_t id, uint64_t generation)
{
    struct writer *writer = arg;

    (void)provider;
    (void)generation;
    ASSERT(in_use[id] == 0);
    ASSERT(released[id] == 0);
    released[id]++;
    writer->released++;
}

static struct route_endpoint_spec endpoint_new(struct writer *writer, char text[16])
{
    struct route_endpoint_spec spec = {.id = writer->created++, .state = ROUTE_READY};

    ASSERT(spec.id < ENDPOINTS_MAX);
    ASSERT(addr_parse(STR("127.0.0.1:80"), &spec.addr, NULL) == 0);
    spec.concurrency_max = (unsigned)rand_r(&writer->seed) % 4;
    snprintf(text, 16, "%u", (unsigned)spec.id);
    spec.replica = str_from(text);
    return spec;
}

/* Keeps some of what there was, drains some, adds some. */
static void swap_set(struct writer *writer, unsigned which, struct route_fn *fn)
{
    struct route_endpoint_spec *specs = writer->last[which];
    char texts[3][16];
    size_t count = 0;

    for (size_t i = 0; i < writer->counts[which]; i++) {
        if (rand_r(&writer->seed) % 3 == 0 || specs[i].state == ROUTE_DRAINING)
            continue;
        specs[count] = specs[i];
        specs[count++].state = rand_r(&writer->seed) % 3 == 0 ? ROUTE_DRAINING : ROUTE_READY;
    }
    while (count < 3 && rand_r(&writer->seed) % 2 == 0) {
        specs[count] = endpoint_new(writer, texts[count]);
        count++;
    }
    writer->counts[which] = count;
    route_fn_set_endpoints(writer->table, fn, writer->steps, specs, count);
}

static void nothing(void *arg, struct route_fn *fn)
{
    (void)arg;
    (void)fn;
}

static void writer_step(struct writer *writer)
{
    unsigned which = (unsigned)rand_r(&writer->seed) % FUNCTIONS;
    struct route_fn *fn = route_fn_put(writer->table, STR("ns"), name_of(which));
    struct route_policy policy = {.concurrency_max = (unsigned)rand_r(&writer->seed) % 30};

    switch (rand_r(&writer->seed) % 16) {
    case 0:
        route_fn_drop(writer->table, fn);
        writer->counts[which] = 0;
        break;
    case 1:
        route_fn_hold(writer->table, fn, nothing, NULL);
        break;
    case 2:
    case 3:
        route_fn_unhold(writer->table, fn);
        break;
    case 4:
        route_fn_set_policy(writer->table, fn, &policy);
        break;
    default:
        swap_set(writer, which, fn);
    }
}

static void writer_settle(struct writer *writer)
{
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        struct route_fn *fn = route_fn_put(writer->table, STR("ns"), name_of(i));
        char text[16];
        struct route_endpoint_spec one = endpoint_new(writer, text);

        route_fn_unhold(writer->table, fn);
        route_fn_set_endpoints(writer->table, fn, writer->steps, &one, 1);
    }
    is_ending = true;
}

static void writer_run(struct loop_msg *msg)
{
    struct writer *writer = CONTAINER_OF(msg, struct writer, msg);

    writer->steps++;
    if (writer->steps < STEPS)
        writer_step(writer);
    else if (writer->steps == STEPS)
        writer_settle(writer);
    else if (readers_done == READERS) {
        for (unsigned i = 0; i < FUNCTIONS; i++) {
            struct route_fn *fn = route_lookup(writer->table, STR("ns"), name_of(i));

            if (fn)
                route_fn_drop(writer->table, fn);
        }
        if (writer->released == writer->created) {
            loop_stop(writer->loop);
            return;
        }
    }
    loop_post(writer->loop, &writer->msg);
}

static void tables_survive_readers_and_a_writer(void **state)
{
    static struct reader readers[READERS];
    struct writer writer = {.msg.run = writer_run, .seed = 1};
    struct quiesce *domain;

    (void)state;
    writer.loop = loop_new("control");
    domain = quiesce_new(writer.loop);
    writer.table = route_table_new(writer.loop, domain, READERS, on_released, &writer);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.msg.run = reader_run, .cell = i, .seed = i + 2};
        readers[i].loop = loop_new("reader");
        readers[i].table = writer.table;
        quiesce_add_loop(domain, readers[i].loop);
        route_table_set_loop(writer.table, i, readers[i].loop);
    }
    for (unsigned i = 0; i < READERS; i++) {
        loop_post(readers[i].loop, &readers[i].msg);
        assert_int_equal(loop_spawn(readers[i].loop), 0);
    }
    loop_post(writer.loop, &writer.msg);
    loop_run(writer.loop);
    for (unsigned i = 0; i < READERS; i++) {
        loop_stop(readers[i].loop);
        loop_join(readers[i].loop);
    }
    assert_true(writer.created > 100);
    assert_true(woken > 0);
    for (unsigned i = 0; i < writer.created; i++)
        assert_int_equal(released[i], 1);
    route_table_free(writer.table);
    quiesce_free(domain);
    for (unsigned i = 0; i < READERS; i++)
        loop_free(readers[i].loop);
    loop_free(writer.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_survive_readers_and_a_writer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a provider has told. One lock, one condition that each delta signals; cases wait on it, so
 * nothing here polls. */
#include "view.h"

#include "spec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* An endpoint id, kept for ever: ids may not come back. */
struct known_id {
    uint64_t id, generation;
    uint32_t state; /* the last one told */
    char *ns, *name;
    char *address;
    bool is_in_set, is_held, is_released;
};

struct view {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct {
        struct view_function *items;
        size_t count;
    } functions;
    struct {
        struct known_id *items;
        size_t count;
    } ids;
    struct {
        uint64_t *items;
        size_t count;
    } generations;
    bool is_in_snapshot, has_ended;
    struct view_facts facts;
    char breaches[BREACH_COUNT][512];
};

struct view *view_new(void)
{
    struct view *view = must_zalloc(sizeof(*view));
    pthread_condattr_t attr;

    pthread_mutex_init(&view->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&view->changed, &attr);
    pthread_condattr_destroy(&attr);
    return view;
}

static void free_endpoints(struct view_function *function)
{
    for (size_t i = 0; i < function->endpoint_count; i++)
        free(function->endpoints[i].address);
    free(function->endpoints);
    function->endpoints = NULL;
    function->endpoint_count = 0;
}

void view_free(struct view *view)
{
    for (size_t i = 0; i < view->functions.count; i++) {
        struct view_function *function = &view->functions.items[i];

        free_endpoints(function);
        free(function->ns);
        free(function->name);
        free(function->spec);
        free(function->reason);
    }
    for (size_t i = 0; i < view->ids.count; i++) {
        free(view->ids.items[i].ns);
        free(view->ids.items[i].name);
        free(view->ids.items[i].address);
    }
    free(view->functions.items);
    free(view->ids.items);
    free(view->generations.items);
    pthread_cond_destroy(&view->changed);
    pthread_mutex_destroy(&view->lock);
    free(view);
}

/* Keeps the first text per kind; returns the error that the plugin gets. */
static int32_t breach(struct view *view, enum breach kind, int32_t error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int32_t breach(struct view *view, enum breach kind, int32_t error, const char *format, ...)
{
    va_list args;

    if (!view->breaches[kind][0]) {
        va_start(args, format);
        vsnprintf(view->breaches[kind], sizeof(view->breaches[kind]), format, args);
        va_end(args);
    }
    return error;
}

static int32_t changed(struct view *view, int32_t error)
{
    view->facts.changes++;
    pthread_cond_broadcast(&view->changed);
    pthread_mutex_unlock(&view->lock);
    return error;
}

static struct view_function *find(struct view *view, struct fng_str ns, struct fng_str name)
{
    for (size_t i = 0; i < view->functions.count; i++) {
        struct view_function *function = &view->functions.items[i];

        if (fng_str_eq(fng_str_from(function->ns), ns) &&
            fng_str_eq(fng_str_from(function->name), name))
            return function;
    }
    return NULL;
}

static bool is_given(const struct view *view, uint64_t generation)
{
    for (size_t i = 0; i < view->generations.count; i++)
        if (view->generations.items[i] == generation)
            return true;
    return false;
}

void view_give_generation(struct view *view, uint64_t generation)
{
    uint64_t *place;

    pthread_mutex_lock(&view->lock);
    place = LIST_PUSH(&view->generations);
    *place = generation;
    pthread_mutex_unlock(&view->lock);
}

/* ---- Endpoints ---- */

static struct known_id *find_id(struct view *view, uint64_t id)
{
    for (size_t i = 0; i < view->ids.count; i++)
        if (view->ids.items[i].id == id)
            return &view->ids.items[i];
    return NULL;
}

/* "1.2.3.4:80", "[::1]:80" or "unix:/path". */
static bool is_address(struct fng_str address)
{
    char host[INET6_ADDRSTRLEN + 1], text[256];
    unsigned char binary[16];
    unsigned port;
    int end = 0;

    if (address.len == 0 || address.len >= sizeof(text) || memchr(address.ptr, 0, address.len))
        return false;
    snprintf(text, sizeof(text), "%.*s", STR_ARG(address));
    if (strncmp(text, "unix:", 5) == 0)
        return text[5] == '/' && text[6] != 0 && strlen(text + 5) < 108;
    if (sscanf(text, "[%46[0-9a-fA-F:.]]:%5u%n", host, &port, &end) == 2)
        return text[end] == 0 && port > 0 && port < 65536 && inet_pton(AF_INET6, host, binary);
    if (sscanf(text, "%46[0-9.]:%5u%n", host, &port, &end) == 2)
        return text[end] == 0 && port > 0 && port < 65536 && inet_pton(AF_INET, host, binary);
    return false;
}

/* The same replica, listed again on its way out, when its function was removed and deployed anew.
 */
static bool is_still_draining(const struct known_id *known, const struct fng_endpoint *told)
{
    return told->state == FNG_ENDPOINT_DRAINING &&
           fng_str_eq(fng_str_from(known->address), told->address);
}

static void check_known_id(struct view *view, const struct known_id *known,
                           const struct view_function *function, const struct fng_endpoint *told)
{
    unsigned long long id = told->id;

    if (strcmp(known->name, function->name) != 0 || strcmp(known->ns, function->ns) != 0)
        breach(view, known->is_in_set ? BREACH_DUPLICATE_ID : BREACH_REUSED_ID, 0,
               "endpoint id %llu belongs to %s.%s and to %s.%s", id, known->name, known->ns,
               function->name, function->ns);
    else if (!known->is_in_set && !is_still_draining(known, told))
        breach(view, BREACH_REUSED_ID, 0, "endpoint id %llu of %s came back after it had left", id,
               function->name);
    else if (known->state == FNG_ENDPOINT_DRAINING && told->state != FNG_ENDPOINT_DRAINING)
        breach(view, BREACH_ENDPOINT_STATE, 0,
               "endpoint %llu of %s turned from draining to state %u", id, function->name,
               told->state);
}

static void note_id(struct view *view, const struct view_function *function, uint64_t generation,
                    const struct fng_endpoint *told)
{
    struct known_id *known = find_id(view, told->id);

    if (known) {
        check_known_id(view, known, function, told);
    } else {
        known = LIST_PUSH(&view->ids);
        known->id = told->id;
        known->ns = must_copy(fng_str_from(function->ns));
        known->name = must_copy(fng_str_from(function->name));
        known->address = must_copy(told->address);
    }
    known->state = told->state;
    known->generation = generation;
    known->is_in_set = true;
}

/* Ids of the function that the set does not hold have left. */
static void note_absent_ids(struct view *view, const struct view_function *function)
{
    for (size_t i = 0; i < view->ids.count; i++) {
        struct known_id *known = &view->ids.items[i];
        bool is_there = false;

        if (strcmp(known->name, function->name) != 0 || strcmp(known->ns, function->ns) != 0)
            continue;
        for (size_t k = 0; k < function->endpoint_count; k++)
            is_there = is_there || function->endpoints[k].id == known->id;
        known->is_in_set = is_there;
    }
}

static int32_t check_endpoint(struct view *view, const struct view_function *function,
                              const struct fng_endpoint *told)
{
    if (told->size < offsetof(struct fng_endpoint, reserved))
        return breach(view, BREACH_FUNCTION, FNG_E_INVALID, "an endpoint of %s has size %u",
                      function->name, told->size);
    if (told->state < FNG_ENDPOINT_STARTING || told->state > FNG_ENDPOINT_DRAINING)
        return breach(view, BREACH_ENDPOINT_STATE, FNG_E_INVALID, "endpoint %llu of %s: state %u",
                      (unsigned long long)told->id, function->name, told->state);
    if (!is_address(told->address))
        return breach(view, BREACH_ADDRESS, FNG_E_INVALID,
                      "endpoint %llu of %s: address '%.*s' is not host:port or unix:/path",
                      (unsigned long long)told->id, function->name, STR_ARG(told->address));
    return 0;
}

static const struct fng_endpoint *element(const struct fng_endpoint *endpoints, size_t i,
                                          size_t stride)
{
    return (const void *)((const char *)endpoints + i * stride);
}

static void take_endpoints(struct view *view, struct view_function *function, uint64_t generation,
                           const struct fng_endpoint *endpoints, size_t count, size_t stride)
{
    free_endpoints(function);
    function->endpoints = must_zalloc((count + 1) * sizeof(*function->endpoints));
    for (size_t i = 0; i < count; i++) {
        const struct fng_endpoint *told = element(endpoints, i, stride);

        for (size_t k = 0; k < i; k++)
            if (function->endpoints[k].id == told->id)
                breach(view, BREACH_DUPLICATE_ID, 0,
                       "endpoint id %llu stands twice in the set of %s",
                       (unsigned long long)told->id, function->name);
        function->endpoints[i] =
            (struct view_endpoint){told->id, told->state, must_copy(told->address)};
        note_id(view, function, generation, told);
    }
    function->endpoint_count = count;
    function->endpoints_generation = generation;
    note_absent_ids(view, function);
}

static int32_t set_endpoints(struct view *view, struct view_function *function, uint64_t generation,
                             const struct fng_endpoint *endpoints, size_t count, size_t stride)
{
    int32_t error;

    if (function->is_gone)
        return breach(view, BREACH_LATE, FNG_E_NOT_FOUND,
                      "endpoints_set for %s came after its fn_remove", function->name);
    if (!is_given(view, generation))
        breach(view, BREACH_GENERATION, 0,
               "endpoints_set for %s quotes generation %llu, given by nobody", function->name,
               (unsigned long long)generation);
    if (generation < function->generation)
        return FNG_E_CONFLICT;
    for (size_t i = 0; i < count; i++)
        if ((error = check_endpoint(view, function, element(endpoints, i, stride))) != 0)
            return error;
    take_endpoints(view, function, generation, endpoints, count, stride);
    return 0;
}

int32_t view_endpoints(struct view *view, struct fng_str ns, struct fng_str name,
                       uint64_t generation, const struct fng_endpoint *endpoints, size_t count,
                       size_t stride)
{
    struct view_function *function;
    int32_t error;

    pthread_mutex_lock(&view->lock);
    view->facts.endpoints += (unsigned)count;
    function = find(view, ns, name);
    if (!function)
        error = breach(view, BREACH_UNKNOWN, FNG_E_NOT_FOUND,
                       "endpoints_set for %.*s came before any fn_upsert", STR_ARG(name));
    else
        error = set_endpoints(view, function, generation, endpoints, count, stride);
    return changed(view, error);
}

void view_hold(struct view *view, uint64_t endpoint_id, bool is_held)
{
    struct known_id *known;

    pthread_mutex_lock(&view->lock);
    known = find_id(view, endpoint_id);
    if (known)
        known->is_held = is_held;
    pthread_cond_broadcast(&view->changed);
    pthread_mutex_unlock(&view->lock);
}

static struct known_id *due_release(struct view *view)
{
    for (size_t i = 0; i < view->ids.count; i++) {
        struct known_id *known = &view->ids.items[i];
        bool is_done = !known->is_in_set || known->state == FNG_ENDPOINT_DRAINING;

        if (is_done && !known->is_held && !known->is_released)
            return known;
    }
    return NULL;
}

bool view_next_release(struct view *view, uint64_t *ret_id, uint64_t *ret_generation)
{
    struct known_id *known = NULL;

    pthread_mutex_lock(&view->lock);
    while (!view->has_ended && !(known = due_release(view)))
        pthread_cond_wait(&view->changed, &view->lock);
    if (view->has_ended)
        known = NULL;
    if (known) {
        known->is_released = true;
        *ret_id = known->id;
        *ret_generation = known->generation;
    }
    pthread_mutex_unlock(&view->lock);
    return known != NULL;
}

void view_end_releases(struct view *view)
{
    pthread_mutex_lock(&view->lock);
    view->has_ended = true;
    pthread_cond_broadcast(&view->changed);
    pthread_mutex_unlock(&view->lock);
}

/* ---- Functions ---- */

static void drop_function(struct view *view, struct view_function *function)
{
    function->is_gone = true;
    free_endpoints(function);
    note_absent_ids(view, function);
}

static void replace(char **text, struct fng_str value)
{
    free(*text);
    *text = must_copy(value);
}

static struct view_function *add_function(struct view *view, const struct fng_function *told)
{
    struct view_function *function = LIST_PUSH(&view->functions);

    replace(&function->ns, told->ns);
    replace(&function->name, told->name);
    return function;
}

static int32_t upsert(struct view *view, const struct fng_function_state *state)
{
    const struct fng_function *told = state->function;
    struct view_function *function;

    if (state->size < offsetof(struct fng_function_state, reserved) || !told ||
        told->size < offsetof(struct fng_function, reserved) || told->name.len == 0)
        return breach(view, BREACH_FUNCTION, FNG_E_INVALID,
                      "fn_upsert without function or name, or with a size that is too small");
    if (!is_given(view, told->generation))
        breach(view, BREACH_GENERATION, 0,
               "fn_upsert of %.*s quotes generation %llu, given by nobody", STR_ARG(told->name),
               (unsigned long long)told->generation);

    function = find(view, told->ns, told->name);
    if (function && function->is_gone && told->generation <= function->generation)
        return breach(view, BREACH_LATE, FNG_E_CONFLICT,
                      "fn_upsert of %s with generation %llu came after its fn_remove",
                      function->name, (unsigned long long)told->generation);
    if (function && told->generation < function->generation)
        return FNG_E_CONFLICT;
    if (!function)
        function = add_function(view, told);
    function->is_gone = false;
    function->is_in_snapshot = true;
    function->generation = told->generation;
    function->replicas = told->replicas;
    free(function->spec);
    function->spec = spec_text(told);
    replace(&function->reason, state->reason);
    return 0;
}

int32_t view_upsert(struct view *view, const struct fng_function_state *state)
{
    pthread_mutex_lock(&view->lock);
    return changed(view, upsert(view, state));
}

static int32_t remove_function(struct view *view, struct fng_str name, uint64_t generation,
                               struct view_function *function)
{
    if (view->is_in_snapshot)
        breach(view, BREACH_SNAPSHOT, 0, "fn_remove of %.*s between snapshot_begin and its commit",
               STR_ARG(name));
    if (view->facts.commits == 0)
        view->facts.early_removals++;
    if (!function || function->is_gone)
        return 0;
    if (generation < function->generation)
        return FNG_E_CONFLICT;
    function->generation = generation;
    drop_function(view, function);
    return 0;
}

int32_t view_remove(struct view *view, struct fng_str ns, struct fng_str name, uint64_t generation)
{
    pthread_mutex_lock(&view->lock);
    return changed(view, remove_function(view, name, generation, find(view, ns, name)));
}

int32_t view_snapshot_begin(struct view *view)
{
    int32_t error = 0;

    pthread_mutex_lock(&view->lock);
    if (view->is_in_snapshot)
        error = breach(view, BREACH_SNAPSHOT, FNG_E_INVALID, "snapshot_begin within a snapshot");
    view->is_in_snapshot = true;
    for (size_t i = 0; i < view->functions.count; i++)
        view->functions.items[i].is_in_snapshot = false;
    return changed(view, error);
}

int32_t view_snapshot_commit(struct view *view)
{
    pthread_mutex_lock(&view->lock);
    if (!view->is_in_snapshot)
        return changed(view, breach(view, BREACH_SNAPSHOT, FNG_E_INVALID,
                                    "snapshot_commit without snapshot_begin"));
    for (size_t i = 0; i < view->functions.count; i++)
        if (!view->functions.items[i].is_in_snapshot && !view->functions.items[i].is_gone)
            drop_function(view, &view->functions.items[i]);
    view->is_in_snapshot = false;
    view->facts.commits++;
    return changed(view, 0);
}

int32_t view_snapshot_abort(struct view *view)
{
    int32_t error = 0;

    pthread_mutex_lock(&view->lock);
    if (!view->is_in_snapshot)
        error =
            breach(view, BREACH_SNAPSHOT, FNG_E_INVALID, "snapshot_abort without snapshot_begin");
    view->is_in_snapshot = false;
    return changed(view, error);
}

/* ---- Looking ---- */

struct view_facts view_facts(struct view *view)
{
    struct view_facts facts;

    pthread_mutex_lock(&view->lock);
    facts = view->facts;
    pthread_mutex_unlock(&view->lock);
    return facts;
}

static const struct view_function *find_known(struct view *view, const char *ns, const char *name)
{
    struct view_function *function = find(view, fng_str_from(ns), fng_str_from(name));

    return function && !function->is_gone ? function : NULL;
}

const struct view_function *view_lock(struct view *view, const char *ns, const char *name)
{
    pthread_mutex_lock(&view->lock);
    return find_known(view, ns, name);
}

void view_unlock(struct view *view)
{
    pthread_mutex_unlock(&view->lock);
}

void view_each(struct view *view, int (*on_function)(void *arg, const struct view_function *f),
               void *arg)
{
    pthread_mutex_lock(&view->lock);
    for (size_t i = 0; i < view->functions.count; i++)
        if (!view->functions.items[i].is_gone && on_function(arg, &view->functions.items[i]) != 0)
            break;
    pthread_mutex_unlock(&view->lock);
}

static struct timespec in_ms(int64_t timeout_ms)
{
    int64_t end_ms = now_ms() + timeout_ms;

    return (struct timespec){end_ms / 1000, (long)(end_ms % 1000) * 1000000};
}

bool view_wait(struct view *view, const char *ns, const char *name, view_condition_f *is_so,
               const void *arg, int64_t timeout_ms)
{
    struct timespec end = in_ms(timeout_ms);
    bool holds, is_late = false;

    pthread_mutex_lock(&view->lock);
    while (!(holds = is_so(arg, find_known(view, ns, name))) && !is_late)
        is_late = pthread_cond_timedwait(&view->changed, &view->lock, &end) == ETIMEDOUT;
    pthread_mutex_unlock(&view->lock);
    return holds;
}

/* Waits until a counter of the facts has reached `least`. */
static bool wait_fact(struct view *view, const unsigned *fact, unsigned least, int64_t timeout_ms)
{
    struct timespec end = in_ms(timeout_ms);
    bool holds;

    pthread_mutex_lock(&view->lock);
    while (!(holds = *fact >= least))
        if (pthread_cond_timedwait(&view->changed, &view->lock, &end) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&view->lock);
    return holds;
}

bool view_wait_commits(struct view *view, unsigned commits, int64_t timeout_ms)
{
    return wait_fact(view, &view->facts.commits, commits, timeout_ms);
}

bool view_wait_endpoints(struct view *view, int64_t timeout_ms)
{
    return wait_fact(view, &view->facts.endpoints, 1, timeout_ms);
}

const char *view_breach(struct view *view, enum breach breach_kind)
{
    const char *text;

    pthread_mutex_lock(&view->lock);
    text = view->breaches[breach_kind][0] ? view->breaches[breach_kind] : NULL;
    pthread_mutex_unlock(&view->lock);
    return text;
}

unsigned view_count_state(const struct view_function *function, uint32_t state)
{
    unsigned count = 0;

    for (size_t i = 0; function && i < function->endpoint_count; i++)
        count += function->endpoints[i].state == state;
    return count;
}

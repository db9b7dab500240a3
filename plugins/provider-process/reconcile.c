/* From what is wanted to what runs. Called by the watch thread with `lock` held.
 *
 * A revision is rolled out beside the former one: all its replicas are started, and when all of
 * them answer the former ones are drained. Until then callers see the former only. If it does not
 * come up it is taken away again, and the former stays. */
#include "process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_MS = 1000 };

static bool is_live(const struct replica *r)
{
    return !r->is_draining && r->state != REPLICA_STOPPING;
}

static unsigned count_live(const struct function *fn, bool of_revision)
{
    unsigned n = 0;

    for (const struct replica *r = fn->replicas; r; r = r->next)
        n += is_live(r) && (r->revision == fn->revision) == of_revision;
    return n;
}

bool function_has_former(const struct function *fn)
{
    return count_live(fn, false) > 0;
}

static void call_stop(struct provider *p, struct function *fn, struct replica *r)
{
    AUTO_FREE char *error = NULL;
    json_t *reply = link_call(p,
                              json_pack("{s:s,s:I,s:I}", "op", "stop", "id", (json_int_t)r->id,
                                        "grace_ms", (json_int_t)p->stop_grace_ms),
                              &error);

    probe_cancel(&r->probe);
    if (reply)
        r->state = REPLICA_STOPPING;
    json_decref(reply);
    fn->is_moved = true;
}

/* Requests may be on one that was offered: it waits for their end. */
static void drain(struct provider *p, struct function *fn, struct replica *r, int64_t now_ms)
{
    if (r->is_draining || r->state == REPLICA_STOPPING)
        return;
    r->is_draining = true;
    r->drain_end_ms = now_ms + p->drain_timeout_ms;
    fn->is_moved = true;
    if (!r->is_offered)
        call_stop(p, fn, r);
}

void function_withdraw(struct provider *p, struct function *fn)
{
    for (struct replica *r = fn->replicas; r; r = r->next) {
        r->is_hidden = true;
        if (r->is_draining)
            continue;
        r->is_draining = true;
        r->drain_end_ms = monotonic_ms() + p->drain_timeout_ms;
    }
}

static void drain_all(struct provider *p, struct function *fn, bool of_revision, int64_t now_ms)
{
    for (struct replica *r = fn->replicas; r; r = r->next)
        if ((r->revision == fn->revision) == of_revision)
            drain(p, fn, r, now_ms);
}

static char *free_name(const struct function *fn)
{
    for (unsigned n = 0;; n++) {
        char *name = text_format("%s-%u", fn->name, n);
        const struct replica *r = fn->replicas;

        while (r && strcmp(r->name, name) != 0)
            r = r->next;
        if (!r)
            return name;
        free(name);
    }
}

static bool is_worse(const struct replica *a, const struct replica *b)
{
    if (a->is_ready != b->is_ready)
        return b->is_ready;
    return a->id > b->id;
}

/* Drains until `keep` are left: those that are not ready first, then the youngest. */
static void trim(struct provider *p, struct function *fn, bool of_revision, unsigned keep,
                 int64_t now_ms)
{
    for (unsigned n = count_live(fn, of_revision); n > keep; n--) {
        struct replica *worst = NULL;

        for (struct replica *r = fn->replicas; r; r = r->next)
            if (is_live(r) && (r->revision == fn->revision) == of_revision &&
                (!worst || is_worse(r, worst)))
                worst = r;
        drain(p, fn, worst, now_ms);
    }
}

static void keep_facts(struct function *fn, struct plan *plan)
{
    fn->is_direct = plan->is_direct;
    fn->needs_probe = plan->needs_probe;
    free(fn->ready_path);
    fn->ready_path = plan->ready_path;
    plan->ready_path = NULL;
}

/* Makes the plan and the secrets of one replica; false with start_error set. */
static bool plan_replica(struct provider *p, struct function *fn, struct plan *plan)
{
    AUTO_FREE char *name = free_name(fn);
    AUTO_FREE char *error = NULL;
    const char *field;
    int r;

    if (plan_make(p, fn, name, plan, &field, &error) != FNG_OK) {
        fn->start_error = text_format("a replica cannot be started: %s", error);
        return false;
    }
    keep_facts(fn, plan);
    r = secrets_prepare(p, fn);
    if (r == 0)
        return true;
    fn->start_error = text_format("its secrets cannot be handed over: %s", strerror(-r));
    plan_free(plan);
    return false;
}

static bool start_one(struct provider *p, struct function *fn, int64_t now_ms)
{
    AUTO_FREE char *error = NULL;
    struct plan plan;
    json_t *reply;

    free(fn->start_error);
    fn->start_error = NULL;
    fn->is_stale = true;
    if (!plan_replica(p, fn, &plan)) {
        fn->retry_ms = now_ms + RETRY_MS;
        return false;
    }
    reply = link_call(p, json_pack("{s:s,s:O}", "op", "start", "replica", plan.body), &error);
    plan_free(&plan);
    if (!reply) {
        fn->start_error = text_format("a replica cannot be started: %s", error);
        fn->retry_ms = now_ms + RETRY_MS;
        return false;
    }
    reconcile_status(p, json_object_get(reply, "replica"));
    json_decref(reply);
    return true;
}

static void fill(struct provider *p, struct function *fn, int64_t now_ms)
{
    if (fn->retry_ms > now_ms)
        return;
    fn->retry_ms = 0;
    for (unsigned n = count_live(fn, true); n < fn->wanted; n++)
        if (!start_one(p, fn, now_ms))
            return;
    trim(p, fn, true, fn->wanted, now_ms);
}

static const struct replica *find_broken(const struct function *fn)
{
    for (const struct replica *r = fn->replicas; r; r = r->next)
        if (is_live(r) && r->revision == fn->revision && r->state == REPLICA_CRASH_LOOP)
            return r;
    return NULL;
}

static bool all_ready(const struct function *fn)
{
    unsigned ready = 0;

    for (const struct replica *r = fn->replicas; r; r = r->next)
        ready += is_live(r) && r->revision == fn->revision && r->is_ready;
    return ready >= fn->wanted;
}

static char *describe(const struct replica *r)
{
    return text_format("replica %s: %s%s%s", r->name, *r->exit_text ? r->exit_text : "not ready",
                       *r->tail ? "; last output: " : "", r->tail);
}

static void fail_rollout(struct provider *p, struct function *fn, const struct replica *broken,
                         int64_t now_ms)
{
    AUTO_FREE char *why = NULL;

    for (const struct replica *r = fn->replicas; r && !broken; r = r->next)
        if (is_live(r) && r->revision == fn->revision && !r->is_ready)
            broken = r;
    why = broken ? describe(broken) : text_copy(fn->start_error ? fn->start_error : "not ready");
    free(fn->rollout_error);
    fn->rollout_error =
        text_format("the new revision did not get ready, the former one stays in place; %s", why);
    fn->failed_revision = fn->revision;
    fn->rollout_end_ms = 0;
    drain_all(p, fn, true, now_ms);
}

static void roll_out(struct provider *p, struct function *fn, int64_t now_ms)
{
    const struct replica *broken;

    if (fn->rollout_end_ms == 0)
        fn->rollout_end_ms = now_ms + p->ready_timeout_ms;
    fill(p, fn, now_ms);
    broken = find_broken(fn);
    if (broken || now_ms >= fn->rollout_end_ms) {
        fail_rollout(p, fn, broken, now_ms);
    } else if (all_ready(fn)) {
        fn->rollout_end_ms = 0;
        drain_all(p, fn, false, now_ms);
    }
}

void reconcile(struct provider *p, struct function *fn, int64_t now_ms)
{
    unsigned wanted = fn->is_removed ? 0 : fn->wanted;

    fn->is_dirty = false;
    fn->is_stale = true;
    if (p->link.fd < 0)
        return;
    if (wanted == 0) {
        fn->rollout_end_ms = 0;
        drain_all(p, fn, true, now_ms);
        drain_all(p, fn, false, now_ms);
    } else if (!function_has_former(fn)) {
        fn->rollout_end_ms = 0;
        fill(p, fn, now_ms);
    } else if (fn->failed_revision == fn->revision) {
        trim(p, fn, false, wanted, now_ms);
    } else {
        roll_out(p, fn, now_ms);
    }
}

/* ---- News from the supervisor ---- */

static enum replica_state state_of(const char *text)
{
    if (strcmp(text, WIRE_RUNNING) == 0)
        return REPLICA_RUNNING;
    if (strcmp(text, WIRE_BACK_OFF) == 0)
        return REPLICA_BACK_OFF;
    return strcmp(text, WIRE_CRASH_LOOP) == 0 ? REPLICA_CRASH_LOOP : REPLICA_STOPPING;
}

static char *join_lines(const json_t *lines)
{
    char *text = text_copy("");
    size_t i;
    json_t *line;

    json_array_foreach(lines, i, line)
    {
        char *longer = text_format("%s%s%s", text, i ? " | " : "", json_string_value(line));

        free(text);
        text = longer;
    }
    return text;
}

static void set_text(char **text, char *value)
{
    free(*text);
    *text = value;
}

static struct replica *add_replica(struct provider *p, struct function *fn, const json_t *status)
{
    struct replica *r = zalloc(sizeof(*r));

    (void)p;
    r->id = (uint64_t)wire_int(status, "id");
    r->revision = (uint64_t)wire_int(status, "revision");
    r->name = text_copy(wire_text(status, "name"));
    r->socket = text_copy(wire_text(status, "socket"));
    r->probe.fd = -1;
    r->started_ms = monotonic_ms();
    /* What replaces a working revision is asked before it is trusted. */
    r->needs_probe = fn->needs_probe || (r->revision == fn->revision && function_has_former(fn));
    r->is_ready = json_is_true(json_object_get(status, "ready"));
    r->pid = (pid_t)wire_int(status, "pid");
    r->next = fn->replicas;
    fn->replicas = r;
    return r;
}

static void set_ready(struct provider *p, struct function *fn, struct replica *r)
{
    AUTO_FREE char *error = NULL;

    r->is_ready = true;
    r->is_late = false;
    fn->is_moved = fn->is_dirty = true;
    json_decref(link_call(
        p, json_pack("{s:s,s:I,s:b}", "op", "mark", "id", (json_int_t)r->id, "ready", 1), &error));
}

static void judge(struct provider *p, struct function *fn, struct replica *r)
{
    if (r->state != REPLICA_RUNNING) {
        r->is_ready = false;
        probe_cancel(&r->probe);
    } else if (!r->is_ready && !r->needs_probe) {
        set_ready(p, fn, r);
    } else if (!r->is_ready) {
        r->started_ms = monotonic_ms();
        probe_start(&r->probe, r->started_ms);
    }
}

void reconcile_status(struct provider *p, const json_t *status)
{
    struct function *fn =
        function_find_text(p, wire_text(status, "ns"), wire_text(status, "function"));
    struct replica *r;

    if (!fn) {
        /* Nobody wants it any more: an entry that only sees it off. */
        fn = function_add(p, wire_text(status, "ns"), wire_text(status, "function"));
        fn->is_removed = fn->is_removal_pushed = true;
    }
    r = function_replica(fn, (uint64_t)wire_int(status, "id"));
    if (!r)
        r = add_replica(p, fn, status);
    else if (r->pid != (pid_t)wire_int(status, "pid"))
        r->is_ready = false;
    r->pid = (pid_t)wire_int(status, "pid");
    r->state = state_of(wire_text(status, "state"));
    r->restarts = (unsigned)wire_int(status, "restarts");
    r->is_listed = true;
    set_text(&r->exit_text, text_copy(wire_text(status, "exit")));
    set_text(&r->warning, text_copy(wire_text(status, "warning")));
    set_text(&r->tail, join_lines(json_object_get(status, "tail")));
    fn->is_dirty = fn->is_moved = true;
    judge(p, fn, r);
}

static void clean_revision(struct provider *p, struct function *fn, uint64_t revision)
{
    AUTO_FREE char *folder = secrets_folder(p, fn, revision);

    for (const struct replica *r = fn->replicas; r; r = r->next)
        if (r->revision == revision)
            return;
    if (revision != fn->revision)
        tree_remove(folder);
}

void reconcile_gone(struct provider *p, uint64_t id)
{
    for (struct function *fn = p->functions; fn; fn = fn->next) {
        struct replica *r = function_replica(fn, id);
        uint64_t revision = r ? r->revision : 0;

        if (!r)
            continue;
        function_drop_replica(fn, id);
        clean_revision(p, fn, revision);
        fn->is_dirty = fn->is_moved = true;
        return;
    }
}

/* How a function that was only read from the store is asked whether it is ready. */
static void learn_facts(struct provider *p, struct function *fn)
{
    AUTO_FREE char *error = NULL;
    const char *field;
    struct plan plan;

    if (fn->ready_path || plan_make(p, fn, fn->name, &plan, &field, &error) != FNG_OK)
        return;
    keep_facts(fn, &plan);
    plan_free(&plan);
}

void reconcile_list(struct provider *p, const json_t *list)
{
    size_t i;
    json_t *status;

    for (struct function *fn = p->functions; fn; fn = fn->next) {
        fn->is_dirty = true;
        if (!fn->is_removed)
            learn_facts(p, fn);
        for (struct replica *r = fn->replicas; r; r = r->next)
            r->is_listed = false;
    }
    json_array_foreach(list, i, status) reconcile_status(p, status);
    for (struct function *fn = p->functions; fn; fn = fn->next) {
        struct replica *r = fn->replicas;

        while (r) {
            struct replica *next = r->next;

            if (!r->is_listed)
                function_drop_replica(fn, r->id);
            r = next;
        }
    }
}

/* ---- Time passes ---- */

static void sooner(int64_t *next_ms, int64_t at_ms)
{
    if (at_ms < *next_ms)
        *next_ms = at_ms;
}

static void tick_probe(struct provider *p, struct function *fn, struct replica *r, int64_t now_ms,
                       int64_t *next_ms)
{
    int64_t late_ms = r->started_ms + p->ready_timeout_ms;

    if (r->state != REPLICA_RUNNING || r->is_ready || r->is_draining)
        return;
    if (probe_turn(&r->probe, r->socket, fn->ready_path ? fn->ready_path : "/_/ready",
                   fn->is_direct && !fn->needs_probe, now_ms)) {
        probe_cancel(&r->probe);
        set_ready(p, fn, r);
        return;
    }
    sooner(next_ms, r->probe.fd >= 0 ? r->probe.end_ms : r->probe.next_ms);
    if (!r->is_late && now_ms >= late_ms)
        r->is_late = fn->is_stale = true;
    else if (!r->is_late)
        sooner(next_ms, late_ms);
}

static void tick_drain(struct provider *p, struct function *fn, struct replica *r, int64_t now_ms,
                       int64_t *next_ms)
{
    if (!r->is_draining || r->state == REPLICA_STOPPING || p->link.fd < 0)
        return;
    if (r->is_released || !r->is_offered || now_ms >= r->drain_end_ms)
        call_stop(p, fn, r);
    else
        sooner(next_ms, r->drain_end_ms);
}

void reconcile_timers(struct provider *p, int64_t now_ms, int64_t *next_ms)
{
    for (struct function *fn = p->functions; fn; fn = fn->next) {
        for (struct replica *r = fn->replicas; r; r = r->next) {
            tick_probe(p, fn, r, now_ms, next_ms);
            tick_drain(p, fn, r, now_ms, next_ms);
        }
        if ((fn->retry_ms && now_ms >= fn->retry_ms) ||
            (fn->rollout_end_ms && now_ms >= fn->rollout_end_ms))
            fn->is_dirty = true;
        if (fn->retry_ms)
            sooner(next_ms, fn->retry_ms);
        if (fn->rollout_end_ms)
            sooner(next_ms, fn->rollout_end_ms);
    }
}

char *reconcile_reason(const struct provider *p, const struct function *fn, int64_t now_ms)
{
    (void)now_ms;
    if (fn->wanted == 0)
        return text_copy("");
    if (fn->failed_revision && fn->failed_revision == fn->revision && fn->rollout_error)
        return text_copy(fn->rollout_error);
    if (fn->start_error)
        return text_copy(fn->start_error);
    for (const struct replica *r = fn->replicas; r; r = r->next) {
        AUTO_FREE char *what = is_live(r) ? describe(r) : NULL;

        if (what && r->state == REPLICA_CRASH_LOOP)
            return text_format("it keeps ending and is restarted slowly; %s", what);
        if (what && r->state == REPLICA_BACK_OFF)
            return text_format("it ended and is restarted; %s", what);
        if (what && r->is_late)
            return text_format("not ready after %lld s; %s", (long long)p->ready_timeout_ms / 1000,
                               what);
    }
    return text_copy("");
}

/* What the host is told: functions, their endpoints, and what is gone. Watch thread, `lock` held.
 */
#include "process.h"

#include <stdlib.h>
#include <string.h>

static void complain(struct provider *p, const struct function *fn, const char *what, int32_t r)
{
    /* The host knows a newer generation: the operation that brings it is on its way. */
    if (r != FNG_OK && r != FNG_E_CONFLICT)
        fng_log(p->host, FNG_LOG_WARN, "the host refuses the %s of %s.%s (%d)", what, fn->name,
                fn->ns, (int)r);
}

static json_t *collect_warnings(const struct provider *p, const struct function *fn)
{
    const char *field;
    json_t *warnings = plan_warnings(p, fn->spec, &field);

    for (const struct replica *r = fn->replicas; r; r = r->next) {
        if (!r->warning || !*r->warning)
            continue;
        json_array_append_new(warnings, json_string(r->warning));
        break;
    }
    return warnings;
}

void push_function(struct provider *p, struct function *fn, int64_t now_ms)
{
    AUTO_FREE char *reason = reconcile_reason(p, fn, now_ms);
    AUTO_JSON json_t *warnings = collect_warnings(p, fn);
    size_t count = json_array_size(warnings), i;
    AUTO_FREE struct fng_str *texts = zalloc(count * sizeof(*texts));
    struct fng_function_state state = {.size = sizeof(state)};
    struct spec_view view;
    json_t *item;

    fn->is_stale = false;
    if (!fn->is_new && fn->pushed_reason && strcmp(fn->pushed_reason, reason) == 0 &&
        json_equal(warnings, fn->warnings))
        return;
    json_array_foreach(warnings, i, item) texts[i] = fng_str_from(json_string_value(item));
    spec_view(&view, fn);
    state.function = &view.function;
    state.reason = fng_str_from(reason);
    state.warnings = (struct fng_str_list){texts, count};
    complain(p, fn, "state", p->host->fn_upsert(p->host->instance, &state));
    spec_view_free(&view);
    fn->is_new = false;
    free(fn->pushed_reason);
    fn->pushed_reason = text_copy(reason);
    json_decref(fn->warnings);
    fn->warnings = json_incref(warnings);
}

static uint32_t endpoint_state(const struct function *fn, struct replica *r, bool has_former)
{
    if (r->is_draining)
        return FNG_ENDPOINT_DRAINING;
    /* A revision is shown when all of it is ready. */
    if (!r->is_ready || (has_former && r->revision == fn->revision))
        return FNG_ENDPOINT_STARTING;
    r->is_offered = true;
    return FNG_ENDPOINT_READY;
}

void push_endpoints(struct provider *p, struct function *fn)
{
    struct fng_endpoint *endpoints;
    bool has_former = function_has_former(fn);
    size_t count = 0, n = 0;

    fn->is_moved = false;
    for (const struct replica *r = fn->replicas; r; r = r->next)
        count++;
    endpoints = zalloc(count * sizeof(*endpoints));
    for (struct replica *r = fn->replicas; r; r = r->next) {
        char *address;

        r->is_hidden = r->is_hidden || r->state == REPLICA_STOPPING;
        if (r->is_hidden)
            continue;
        address = text_format("unix:%s", r->socket);
        endpoints[n++] = (struct fng_endpoint){.size = sizeof(*endpoints),
                                               .state = endpoint_state(fn, r, has_former),
                                               .id = r->id,
                                               .address = fng_str_from(address),
                                               .replica = fng_str_from(r->name)};
    }
    complain(p, fn, "endpoints",
             p->host->endpoints_set(p->host->instance, fng_str_from(fn->ns), fng_str_from(fn->name),
                                    fn->generation, endpoints, n, sizeof(*endpoints)));
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)endpoints[i].address.ptr);
    free(endpoints);
}

static void clean_up(struct provider *p, const struct function *fn)
{
    AUTO_FREE char *logs = log_folder(p, fn->ns, fn->name);
    AUTO_FREE char *mounts = text_format("%s/mounts/%s/%s", p->state_path, fn->ns, fn->name);

    tree_remove(logs);
    tree_remove(mounts);
}

static void push_removal(struct provider *p, struct function *fn)
{
    int32_t r;

    if (fn->is_removal_pushed)
        return;
    r = p->host->fn_remove(p->host->instance, fng_str_from(fn->ns), fng_str_from(fn->name),
                           fn->generation);
    /* When the operation returned before we came here, the host has removed it by itself. */
    if (r != FNG_E_NOT_FOUND)
        complain(p, fn, "removal", r);
    fn->is_removal_pushed = true;
    function_withdraw(p, fn);
}

void push_all(struct provider *p, int64_t now_ms)
{
    struct function *fn = p->functions;

    while (fn) {
        struct function *next = fn->next;

        if (fn->is_removed) {
            push_removal(p, fn);
            if (!fn->replicas) {
                clean_up(p, fn);
                function_delete(p, fn);
            }
        } else {
            if (fn->is_stale || fn->is_new)
                push_function(p, fn, now_ms);
            if (fn->is_moved)
                push_endpoints(p, fn);
        }
        fn = next;
    }
}

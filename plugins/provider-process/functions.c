/* The table of functions, what the store keeps of it, and the operations that change it. */
#include "process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { RECORD_VERSION = 1, RETRY_AFTER_MS = 1000 };

struct function *function_find_text(struct provider *p, const char *ns, const char *name)
{
    for (struct function *fn = p->functions; fn; fn = fn->next)
        if (strcmp(fn->name, name) == 0 && strcmp(fn->ns, ns) == 0)
            return fn;
    return NULL;
}

/* One that is there for its user: not being removed. */
struct function *function_find(struct provider *p, struct fng_str ns, struct fng_str name)
{
    for (struct function *fn = p->functions; fn; fn = fn->next)
        if (fng_str_eq(fng_str_from(fn->name), name) && fng_str_eq(fng_str_from(fn->ns), ns))
            return fn->is_removed ? NULL : fn;
    return NULL;
}

struct function *function_add(struct provider *p, const char *ns, const char *name)
{
    struct function *fn = zalloc(sizeof(*fn));

    fn->ns = text_copy(ns);
    fn->name = text_copy(name);
    fn->spec = json_object();
    fn->next = p->functions;
    p->functions = fn;
    return fn;
}

static void replica_free(struct replica *r)
{
    probe_cancel(&r->probe);
    free(r->name);
    free(r->socket);
    free(r->exit_text);
    free(r->tail);
    free(r->warning);
    free(r);
}

struct replica *function_replica(struct function *fn, uint64_t id)
{
    struct replica *r = fn->replicas;

    while (r && r->id != id)
        r = r->next;
    return r;
}

void function_drop_replica(struct function *fn, uint64_t id)
{
    for (struct replica **at = &fn->replicas; *at; at = &(*at)->next) {
        struct replica *r = *at;

        if (r->id != id)
            continue;
        *at = r->next;
        replica_free(r);
        return;
    }
}

static void function_free(struct function *fn)
{
    while (fn->replicas)
        function_drop_replica(fn, fn->replicas->id);
    json_decref(fn->spec);
    json_decref(fn->warnings);
    free(fn->ready_path);
    free(fn->rollout_error);
    free(fn->start_error);
    free(fn->pushed_reason);
    free(fn->ns);
    free(fn->name);
    free(fn);
}

void function_delete(struct provider *p, struct function *fn)
{
    struct function **at = &p->functions;

    while (*at != fn)
        at = &(*at)->next;
    *at = fn->next;
    function_free(fn);
}

void functions_free(struct provider *p)
{
    while (p->functions)
        function_delete(p, p->functions);
}

void provider_wake(struct provider *p)
{
    eventfd_write(p->wake_fd, 1);
}

/* ---- What the store keeps: key "fn/NAMESPACE/NAME" ---- */

static char *record_key(struct fng_str ns, struct fng_str name)
{
    return text_format("fn/%.*s/%.*s", (int)ns.len, ns.ptr, (int)name.len, name.ptr);
}

static int32_t record_write(struct provider *p, struct fng_str ns, struct fng_str name,
                            json_t *spec, uint64_t generation, uint64_t revision, uint32_t wanted)
{
    AUTO_FREE char *key = record_key(ns, name);
    AUTO_JSON json_t *record = json_pack("{s:i,s:I,s:I,s:i,s:O}", "v", RECORD_VERSION, "generation",
                                         (json_int_t)generation, "revision", (json_int_t)revision,
                                         "replicas", (int)wanted, "spec", spec);
    AUTO_FREE char *text = json_dumps(record, JSON_COMPACT);

    return p->host->kv_put(p->host->instance, fng_str_from(key), fng_str_from(text), FNG_KV_ANY,
                           NULL);
}

static void adopt_spec(struct function *fn, json_t *spec)
{
    json_incref(spec);
    json_decref(fn->spec);
    fn->spec = spec;
}

static int32_t on_record(void *arg, struct fng_str key, struct fng_str value, uint64_t version)
{
    struct provider *p = arg;
    AUTO_FREE char *path = text_format("%.*s", (int)key.len, key.ptr);
    AUTO_JSON json_t *record = json_loadb(value.ptr, value.len, 0, NULL);
    char *ns = strchr(path, '/'), *name = ns ? strchr(ns + 1, '/') : NULL;
    struct function *fn;

    (void)version;
    if (!name || wire_int(record, "v") != RECORD_VERSION) {
        fng_log(p->host, FNG_LOG_ERROR,
                "the record %s is of a version that is not known here; the function is left alone",
                path);
        return 0;
    }
    *name++ = '\0';
    fn = function_add(p, ns + 1, name);
    adopt_spec(fn, json_object_get(record, "spec"));
    fn->generation = (uint64_t)wire_int(record, "generation");
    fn->revision = (uint64_t)wire_int(record, "revision");
    fn->wanted = (uint32_t)wire_int(record, "replicas");
    fn->is_dirty = fn->is_new = fn->is_moved = true;
    return 0;
}

int functions_load(struct provider *p)
{
    return p->host->kv_list(p->host->instance, FNG_STR("fn/"), on_record, p);
}

/* An order that came to a gateway whose successor has read the functions already would be lost. */
static int32_t check_owner(const struct provider *p)
{
    if (!p->is_replaced)
        return FNG_OK;
    return fng_unavailable(p->host, RETRY_AFTER_MS,
                           "another gateway has taken the functions over; ask again");
}

/* ---- deploy and update ---- */

static int32_t check_secrets(struct provider *p, const struct fng_function *f, const json_t *spec)
{
    AUTO_FREE char *ns = text_format("%.*s", (int)f->ns.len, f->ns.ptr);
    size_t i;
    json_t *item;

    json_array_foreach(
        json_object_get(spec, "secrets"), i,
        item) if (!secret_exists(p, ns,
                                 json_string_value(
                                     item))) return fng_invalid(p->host, "secrets",
                                                                "there is no secret '%s' in "
                                                                "namespace %s; create it first",
                                                                json_string_value(item), ns);
    return FNG_OK;
}

static int32_t check_warnings(struct provider *p, const json_t *spec)
{
    const char *field;
    AUTO_JSON json_t *warnings = plan_warnings(p, spec, &field);

    if (!p->is_strict || !field)
        return FNG_OK;
    return fng_invalid(p->host, field, "%s", json_string_value(json_array_get(warnings, 0)));
}

/* A plan is made and thrown away: what is wrong with it is told now rather than at the start. */
static int32_t check_plan(struct provider *p, const struct fng_function *f, json_t *spec)
{
    AUTO_FREE char *ns = text_format("%.*s", (int)f->ns.len, f->ns.ptr);
    AUTO_FREE char *name = text_format("%.*s", (int)f->name.len, f->name.ptr);
    AUTO_FREE char *error = NULL;
    struct function trial = {.ns = ns, .name = name, .spec = spec};
    const char *field = "";
    struct plan plan;
    int32_t r = plan_make(p, &trial, name, &plan, &field, &error);

    if (r != FNG_OK)
        return fng_invalid(p->host, field, "%s", error ? error : "not a valid function");
    plan_free(&plan);
    return FNG_OK;
}

static int32_t check_function(struct provider *p, const struct fng_function *f, json_t *spec)
{
    int32_t r;

    if (!name_is_label(f->name))
        return fng_invalid(p->host, "service", "'%.*s' is not a name: a-z, 0-9 and '-', at most 63",
                           (int)f->name.len, f->name.ptr);
    if (!name_is_label(f->ns))
        return fng_invalid(p->host, "namespace", "'%.*s' is not a namespace's name", (int)f->ns.len,
                           f->ns.ptr);
    if (!spec)
        return fng_invalid(p->host, "", "a text is not UTF-8 or holds a NUL");
    if (f->replicas > p->replicas_max)
        return fng_invalid(p->host, "replicas", "at most %lld replicas are allowed",
                           (long long)p->replicas_max);
    r = check_secrets(p, f, spec);
    if (r == FNG_OK)
        r = check_warnings(p, spec);
    return r == FNG_OK ? check_plan(p, f, spec) : r;
}

static void take_over(struct provider *p, const struct fng_function *f, json_t *spec)
{
    struct function *fn;
    AUTO_FREE char *ns = text_format("%.*s", (int)f->ns.len, f->ns.ptr);
    AUTO_FREE char *name = text_format("%.*s", (int)f->name.len, f->name.ptr);

    pthread_mutex_lock(&p->lock);
    fn = function_find_text(p, ns, name);
    if (!fn)
        fn = function_add(p, ns, name);
    adopt_spec(fn, spec);
    fn->generation = fn->revision = f->generation;
    fn->wanted = f->replicas;
    fn->is_removed = fn->is_removal_pushed = false;
    fn->failed_revision = 0;
    fn->rollout_end_ms = fn->retry_ms = 0;
    fn->is_dirty = fn->is_new = fn->is_moved = true;
    pthread_mutex_unlock(&p->lock);
    provider_wake(p);
}

/* 1: the very call was made before; 0: go on; or FNG_E_*. */
static int32_t compare_generation(struct provider *p, const struct fng_function *f, bool must_exist)
{
    const struct function *fn;
    int32_t r = 0;

    pthread_mutex_lock(&p->lock);
    fn = function_find(p, f->ns, f->name);
    if (!fn)
        r = must_exist ? FNG_E_NOT_FOUND : 0;
    else if (fn->generation > f->generation)
        r = FNG_E_CONFLICT;
    else if (fn->revision == f->generation)
        r = 1;
    pthread_mutex_unlock(&p->lock);
    return r;
}

static int32_t set_function(struct provider *p, const struct fng_function *given, bool must_exist)
{
    struct fng_function f = {0};
    AUTO_JSON json_t *spec = NULL;
    int32_t r;

    memcpy(&f, given, given->size < sizeof(f) ? given->size : sizeof(f));
    spec = spec_make(&f);
    r = check_function(p, &f, spec);
    if (r == FNG_OK)
        r = check_owner(p);
    if (r != FNG_OK)
        return r;
    pthread_mutex_lock(&p->write_lock);
    r = compare_generation(p, &f, must_exist);
    if (r == 0)
        r = record_write(p, f.ns, f.name, spec, f.generation, f.generation, f.replicas);
    else if (r < 0)
        fng_fail(p->host, r, "function %.*s %s", (int)f.name.len, f.name.ptr,
                 r == FNG_E_CONFLICT ? "has a newer generation already" : "is not there");
    if (r == FNG_OK)
        take_over(p, &f, spec);
    pthread_mutex_unlock(&p->write_lock);
    return r > 0 ? FNG_OK : r;
}

int32_t op_deploy(void *self, const struct fng_function *function)
{
    return set_function(self, function, false);
}

int32_t op_update(void *self, const struct fng_function *function)
{
    return set_function(self, function, true);
}

/* ---- scale, activate, remove ---- */

static void set_wanted(struct function *fn, uint32_t replicas, uint64_t generation)
{
    /* Asking for more is a reason to try a revision again that did not come up. */
    if (replicas > fn->wanted)
        fn->failed_revision = 0;
    fn->wanted = replicas;
    if (generation > fn->generation)
        fn->generation = generation;
    fn->retry_ms = 0;
    fn->is_dirty = fn->is_new = fn->is_moved = true;
}

/* Writes the present state of a function down; write_lock is held. */
static int32_t record_function(struct provider *p, struct fng_str ns, struct fng_str name)
{
    struct function *fn;
    json_t *spec = NULL;
    uint64_t generation = 0, revision = 0;
    uint32_t wanted = 0;
    int32_t r;

    pthread_mutex_lock(&p->lock);
    fn = function_find(p, ns, name);
    if (fn) {
        spec = json_incref(fn->spec);
        generation = fn->generation;
        revision = fn->revision;
        wanted = fn->wanted;
    }
    pthread_mutex_unlock(&p->lock);
    if (!spec)
        return FNG_OK;
    r = record_write(p, ns, name, spec, generation, revision, wanted);
    json_decref(spec);
    return r;
}

int32_t op_scale(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                 uint64_t generation)
{
    struct provider *p = self;
    struct function *fn;
    int32_t r = check_owner(p);

    if (r != FNG_OK)
        return r;
    if (replicas > p->replicas_max)
        return fng_invalid(p->host, "replicas", "at most %lld replicas are allowed",
                           (long long)p->replicas_max);
    pthread_mutex_lock(&p->lock);
    fn = function_find(p, ns, name);
    if (!fn)
        r = fng_fail(p->host, FNG_E_NOT_FOUND, "there is no such function");
    else if (generation < fn->generation)
        r = fng_fail(p->host, FNG_E_CONFLICT, "function %s has a newer generation", fn->name);
    else
        set_wanted(fn, replicas, generation);
    pthread_mutex_unlock(&p->lock);
    if (r != FNG_OK)
        return r;
    provider_wake(p);
    pthread_mutex_lock(&p->write_lock);
    r = record_function(p, ns, name);
    pthread_mutex_unlock(&p->write_lock);
    return r;
}

int32_t op_activate(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                    uint64_t generation)
{
    struct provider *p = self;
    struct function *fn;
    bool is_changed = false, is_there;
    int32_t r = check_owner(p);

    if (r != FNG_OK)
        return r;
    pthread_mutex_lock(&p->lock);
    fn = function_find(p, ns, name);
    is_there = fn != NULL;
    /* When it is to run already the generation counts all the same: the host compares with it. */
    is_changed = fn && (fn->wanted == 0 || generation > fn->generation);
    if (is_changed)
        set_wanted(fn, fn->wanted ? fn->wanted : replicas ? replicas : 1, generation);
    pthread_mutex_unlock(&p->lock);
    if (!is_there)
        return fng_fail(p->host, FNG_E_NOT_FOUND, "there is no such function");
    if (!is_changed)
        return FNG_OK;
    provider_wake(p);
    pthread_mutex_lock(&p->write_lock);
    r = record_function(p, ns, name);
    pthread_mutex_unlock(&p->write_lock);
    return r;
}

int32_t op_remove(void *self, struct fng_str ns, struct fng_str name, uint64_t generation)
{
    struct provider *p = self;
    AUTO_FREE char *key = record_key(ns, name);
    struct function *fn;
    int32_t r = check_owner(p);

    if (r != FNG_OK)
        return r;
    pthread_mutex_lock(&p->write_lock);
    pthread_mutex_lock(&p->lock);
    fn = function_find(p, ns, name);
    r = !fn ? FNG_E_NOT_FOUND : generation < fn->generation ? FNG_E_CONFLICT : FNG_OK;
    pthread_mutex_unlock(&p->lock);
    if (r != FNG_OK) {
        pthread_mutex_unlock(&p->write_lock);
        return fng_fail(p->host, r, "function %.*s %s", (int)name.len, name.ptr,
                        r == FNG_E_CONFLICT ? "has a newer generation" : "is not there");
    }
    r = p->host->kv_remove(p->host->instance, fng_str_from(key), FNG_KV_ANY);
    if (r == FNG_OK || r == FNG_E_NOT_FOUND) {
        pthread_mutex_lock(&p->lock);
        fn = function_find(p, ns, name);
        if (fn) {
            fn->is_removed = fn->is_dirty = true;
            fn->generation = generation;
            function_withdraw(p, fn);
        }
        pthread_mutex_unlock(&p->lock);
        provider_wake(p);
        r = FNG_OK;
    }
    pthread_mutex_unlock(&p->write_lock);
    return r;
}

void op_endpoint_released(void *self, uint64_t id, uint64_t generation)
{
    struct provider *p = self;

    (void)generation;
    pthread_mutex_lock(&p->lock);
    for (struct function *fn = p->functions; fn; fn = fn->next) {
        struct replica *r = function_replica(fn, id);

        if (r)
            r->is_released = true;
    }
    pthread_mutex_unlock(&p->lock);
    provider_wake(p);
}

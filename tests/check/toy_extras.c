/* The toy provider: logs, secrets and namespaces. */
#include "toy_provider.h"

#include <stdio.h>
#include <stdlib.h>

void toy_ignore_value(void *arg, struct fng_str value, uint64_t version)
{
    (void)arg;
    (void)value;
    (void)version;
}

/* ---- Logs ---- */

static bool is_asked_for(const struct toy *toy, const struct fng_log_query *query, size_t line)
{
    bool is_old = toy->line_times_ms[line] < query->since_ms &&
                  !has_fault(toy, "since-ignored"); /* provider/logs-since */

    return !is_old && fng_str_eq(fng_str_from(toy->lines[line]), query->name);
}

/* True when the function has no replica any more and logs is to end for that. */
static bool ends_at_zero(struct toy *toy, const struct fng_log_query *query)
{
    const struct toy_function *f;
    bool is_zero;

    if (!has_fault(toy, "logs-end-at-zero")) /* provider/logs-follow-through-zero */
        return false;
    pthread_mutex_lock(&toy->lock);
    f = toy_find(toy, query->ns, query->name);
    is_zero = f && !f->running;
    pthread_mutex_unlock(&toy->lock);
    return is_zero;
}

/* The n-th line of the function from `from` on, or line_count. */
static size_t next_line(struct toy *toy, const struct fng_log_query *query, size_t from)
{
    pthread_mutex_lock(&toy->log_lock);
    while (from < toy->line_count && !is_asked_for(toy, query, from))
        from++;
    if (from == toy->line_count)
        from = LINES_MAX;
    pthread_mutex_unlock(&toy->log_lock);
    return from;
}

static size_t first_line(struct toy *toy, const struct fng_log_query *query)
{
    size_t lines[LINES_MAX], count = 0;

    for (size_t at = next_line(toy, query, 0); at < LINES_MAX; at = next_line(toy, query, at + 1))
        lines[count++] = at;
    if (query->tail < 0 || (size_t)query->tail >= count ||
        has_fault(toy, "tail-ignored")) /* provider/logs-tail */
        return 0;
    return query->tail == 0 ? lines[count - 1] + 1 : lines[count - (size_t)query->tail];
}

int32_t toy_logs(void *self, const struct fng_log_query *query, fng_log_line_f *on_line, void *arg)
{
    struct toy *toy = self;
    size_t at = first_line(toy, query);

    for (;;) {
        struct fng_log_line line = {.size = sizeof(line), .text = FNG_STR("called")};
        size_t found = next_line(toy, query, at);

        if (found < LINES_MAX) {
            line.replica = fng_str_from(toy->lines[found]);
            line.time_ns = toy->line_times_ms[found] * 1000000;
            at = found + 1;
            if (on_line(arg, &line) != 0 &&
                !has_fault(toy, "logs-go-on")) /* provider/logs-stop-when-nobody-reads */
                return 0;
        } else if (!query->follow || ends_at_zero(toy, query)) {
            return 0;
        } else if (toy->host->wait_ms(toy->host->instance, 5) != 0 &&
                   !has_fault(toy, "logs-stay")) { /* provider/logs-follow-ends-when-cancelled */
            return 0;
        }
    }
}

/* ---- Secrets and namespaces: names in the store ---- */

static int32_t put_named(struct toy *toy, const char *key, struct fng_str value, bool is_create)
{
    int32_t error =
        toy->host->kv_get(toy->host->instance, fng_str_from(key), toy_ignore_value, NULL);

    if (is_create && error == 0 && !has_fault(toy, "secret-overwrites"))
        return fng_fail(toy->host, FNG_E_CONFLICT, "it exists"); /* provider/secret-create-twice */
    if (!is_create && error != 0)
        return fng_fail(toy->host, FNG_E_NOT_FOUND, "it does not exist");
    return toy->host->kv_put(toy->host->instance, fng_str_from(key), value, FNG_KV_ANY, NULL);
}

int32_t toy_secret_set(void *self, struct fng_str ns, struct fng_str name, struct fng_str value,
                       uint32_t mode)
{
    char key[KEY_MAX];

    snprintf(key, sizeof(key), "secret/%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
    return put_named(self, key, value, mode == FNG_SECRET_CREATE);
}

int32_t toy_secret_remove(void *self, struct fng_str ns, struct fng_str name)
{
    struct toy *toy = self;
    char key[KEY_MAX];

    snprintf(key, sizeof(key), "secret/%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
    return toy->host->kv_remove(toy->host->instance, fng_str_from(key), FNG_KV_ANY);
}

struct listing {
    size_t prefix_len;
    fng_name_f *on_name;
    fng_namespace_f *on_namespace;
    void *arg;
};

static int32_t list_name(void *arg, struct fng_str key, struct fng_str value, uint64_t version)
{
    const struct listing *listing = arg;
    struct fng_namespace ns = {.size = sizeof(ns)};

    (void)value;
    (void)version;
    ns.name = fng_str_make(key.ptr + listing->prefix_len, key.len - listing->prefix_len);
    if (listing->on_name)
        return listing->on_name(listing->arg, ns.name);
    return listing->on_namespace(listing->arg, &ns);
}

int32_t toy_secret_list(void *self, struct fng_str ns, fng_name_f *on_name, void *arg)
{
    struct listing listing = {.on_name = on_name, .arg = arg};
    struct toy *toy = self;
    char prefix[KEY_MAX];

    snprintf(prefix, sizeof(prefix), "secret/%.*s/", STR_ARG(ns));
    listing.prefix_len = strlen(prefix);
    return toy->host->kv_list(toy->host->instance, fng_str_from(prefix), list_name, &listing);
}

int32_t toy_namespace_set(void *self, const struct fng_namespace *ns, uint32_t mode)
{
    char key[KEY_MAX];

    snprintf(key, sizeof(key), "namespace/%.*s", STR_ARG(ns->name));
    return put_named(self, key, FNG_STR(""), mode == FNG_NAMESPACE_CREATE);
}

int32_t toy_namespace_remove(void *self, struct fng_str name)
{
    struct toy *toy = self;
    char key[KEY_MAX];

    if (has_fault(toy, "namespace-stays")) /* provider/namespaces */
        return 0;
    snprintf(key, sizeof(key), "namespace/%.*s", STR_ARG(name));
    return toy->host->kv_remove(toy->host->instance, fng_str_from(key), FNG_KV_ANY);
}

int32_t toy_namespace_list(void *self, fng_namespace_f *on_namespace, void *arg)
{
    struct listing listing = {.on_namespace = on_namespace, .arg = arg};
    struct toy *toy = self;

    listing.prefix_len = strlen("namespace/");
    return toy->host->kv_list(toy->host->instance, FNG_STR("namespace/"), list_name, &listing);
}

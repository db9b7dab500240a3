/* The watch thread: keeps the connection to the supervisor, takes its news, reconciles, probes, and
 * pushes. It sleeps in poll() until one of these has something to do. */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { RECONNECT_MS = 500, FIXED_FDS = 3, TURNS_MAX = 100 };

static bool is_cancelled(const struct provider *p)
{
    return p->host->cancelled(p->host->instance) != 0;
}

/* Finds or starts a supervisor and compares notes. False: not now. */
static bool connect_supervisor(struct provider *p)
{
    AUTO_FREE char *error = NULL;
    json_t *reply = NULL;

    if (p->link.fd >= 0 || link_open(p, &error) == 0)
        reply = link_call(p, json_pack("{s:s}", "op", "list"), &error);
    if (!reply) {
        fng_log(p->host, FNG_LOG_ERROR, "%s", error ? error : "no supervisor");
        p->host->health(p->host->instance, FNG_HEALTH_DOWN, fng_str_from(error));
        return false;
    }
    pthread_mutex_lock(&p->lock);
    reconcile_list(p, json_object_get(reply, "replicas"));
    pthread_mutex_unlock(&p->lock);
    json_decref(reply);
    p->host->health(p->host->instance, FNG_HEALTH_OK, fng_str_from("the supervisor answers"));
    return true;
}

static void take_events(struct provider *p)
{
    json_t *event;
    int r;

    while ((event = link_event(p, &r))) {
        if (strcmp(wire_text(event, "event"), "gone") == 0)
            reconcile_gone(p, (uint64_t)wire_int(event, "id"));
        else if (strcmp(wire_text(event, "event"), "replica") == 0)
            reconcile_status(p, json_object_get(event, "replica"));
        json_decref(event);
    }
}

static bool is_any_dirty(const struct provider *p)
{
    for (const struct function *fn = p->functions; fn; fn = fn->next)
        if (fn->is_dirty)
            return true;
    return json_array_size(p->link_events) > 0;
}

/* All that can be done now; returns when the next thing is due. */
static int64_t work(struct provider *p)
{
    int64_t next_ms = INT64_MAX;

    for (int i = 0; i < TURNS_MAX; i++) {
        int64_t now_ms = monotonic_ms();

        next_ms = INT64_MAX;
        take_events(p);
        reconcile_timers(p, now_ms, &next_ms);
        for (struct function *fn = p->functions; fn; fn = fn->next)
            if (fn->is_dirty)
                reconcile(p, fn, now_ms);
        if (p->link.fd < 0 || !is_any_dirty(p))
            return next_ms;
    }
    return monotonic_ms();
}

static void sleep_until(struct provider *p, int64_t next_ms)
{
    struct pollfd *fds = zalloc((FIXED_FDS + 1) * sizeof(*fds));
    int64_t wait_ms = next_ms == INT64_MAX ? -1 : next_ms - monotonic_ms();
    eventfd_t ignored;
    nfds_t n = FIXED_FDS;

    fds[0] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = p->host->cancel_fd(p->host->instance), .events = POLLIN};
    fds[2] = (struct pollfd){.fd = p->link.fd, .events = POLLIN};
    pthread_mutex_lock(&p->lock);
    for (const struct function *fn = p->functions; fn; fn = fn->next)
        for (const struct replica *r = fn->replicas; r; r = r->next) {
            if (r->probe.fd < 0)
                continue;
            fds = resize(fds, (n + 1) * sizeof(*fds));
            fds[n++] = (struct pollfd){.fd = r->probe.fd, .events = POLLIN};
        }
    pthread_mutex_unlock(&p->lock);
    if (wait_ms < 0 && next_ms != INT64_MAX)
        wait_ms = 0;
    poll(fds, n, wait_ms > 60000 ? 60000 : (int)wait_ms);
    if (fds[0].revents)
        eventfd_read(p->wake_fd, &ignored);
    free(fds);
}

/* The first view as a whole: from now on the host may forget what is not in it. */
static int32_t push_snapshot(struct provider *p, int64_t now_ms)
{
    int32_t r = p->host->snapshot_begin(p->host->instance);

    if (r != FNG_OK)
        return r;
    for (struct function *fn = p->functions; fn; fn = fn->next)
        fn->is_new = fn->is_moved = true;
    push_all(p, now_ms);
    return p->host->snapshot_commit(p->host->instance);
}

/* Removes what a function left below `kind` when it was removed and we were killed meanwhile. */
static void clean_kind(struct provider *p, const char *kind)
{
    AUTO_FREE char *top = text_format("%s/%s", p->state_path, kind);
    struct dirent *space, *entry;
    DIR *dir = opendir(top), *inner;

    while (dir && (space = readdir(dir))) {
        AUTO_FREE char *folder = text_format("%s/%s", top, space->d_name);

        inner = space->d_name[0] == '.' ? NULL : opendir(folder);
        while (inner && (entry = readdir(inner))) {
            AUTO_FREE char *path = text_format("%s/%s", folder, entry->d_name);

            if (entry->d_name[0] != '.' && !function_find_text(p, space->d_name, entry->d_name))
                tree_remove(path);
        }
        if (inner)
            closedir(inner);
    }
    if (dir)
        closedir(dir);
}

static int32_t turn(struct provider *p, bool *is_synced, int64_t *next_ms)
{
    int32_t r = FNG_OK;

    pthread_mutex_lock(&p->lock);
    *next_ms = work(p);
    if (p->is_replaced) {
        pthread_mutex_unlock(&p->lock);
        return FNG_OK;
    }
    if (p->link.fd >= 0 && !*is_synced) {
        clean_kind(p, "logs");
        clean_kind(p, "mounts");
        r = push_snapshot(p, monotonic_ms());
        *is_synced = r == FNG_OK;
    } else if (*is_synced) {
        push_all(p, monotonic_ms());
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* What we know grows old from here, so nothing is pushed and nothing is started or stopped, unless
 * the other one goes away: a takeover or a reload that failed. */
static void stand_by(struct provider *p)
{
    static const char why[] = "another gateway has taken the functions over";

    fng_log(p->host, FNG_LOG_WARN, "%s", why);
    p->host->health(p->host->instance, FNG_HEALTH_DEGRADED, fng_str_from(why));
    while (!is_cancelled(p) && !link_retake(p))
        p->host->wait_ms(p->host->instance, RECONNECT_MS);
}

int32_t op_watch(void *self)
{
    struct provider *p = self;
    bool is_synced = false, is_known = false;
    int32_t r = FNG_OK;

    while (r == FNG_OK && !is_cancelled(p)) {
        int64_t next_ms;

        if (p->is_replaced) {
            stand_by(p);
            return FNG_OK;
        }
        if (p->link.fd < 0 || !is_known) {
            is_known = connect_supervisor(p);
            if (!is_known) {
                p->host->wait_ms(p->host->instance, RECONNECT_MS);
                continue;
            }
        }
        r = turn(p, &is_synced, &next_ms);
        if (r == FNG_OK && p->link.fd >= 0)
            sleep_until(p, next_ms);
    }
    return r;
}

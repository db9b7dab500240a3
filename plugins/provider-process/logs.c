/* The logs operation: the files that the supervisor writes, merged by time, then what comes.
 *
 * A reader per replica goes through its files from the oldest to the newest and, at the end of the
 * newest, waits there; when that was rotated away it goes on with the one that came after. */
#include "process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 100, TAIL_MAX = 100000, POLL_MS = 1000 };

struct reader {
    char *replica, *path; /* of the current file, without number */
    FILE *file;
    ino_t inode;
    char *line;
    size_t cap;
    ssize_t len; /* of the line that waits; 0: none */
    int64_t time_ns;
    const char *text;
    bool is_left; /* the file was rotated away and is read to its end once more */
};

struct session {
    struct provider *p;
    const struct fng_log_query *query;
    fng_log_line_f *on_line;
    void *arg;
    char *folder;
    struct reader *readers;
    size_t count;
    int notify_fd;
    bool is_over; /* nobody reads any more */
};

char *log_folder(const struct provider *p, const char *ns, const char *name)
{
    return text_format("%s/logs/%s/%s", p->state_path, ns, name);
}

static char *numbered(const struct reader *r, unsigned number)
{
    return number ? text_format("%s.%u", r->path, number) : text_copy(r->path);
}

static bool open_number(struct reader *r, unsigned number)
{
    AUTO_FREE char *path = numbered(r, number);
    FILE *file = fopen(path, "re");
    struct stat st;

    if (!file)
        return false;
    if (r->file)
        fclose(r->file);
    r->file = file;
    r->inode = fstat(fileno(file), &st) == 0 ? st.st_ino : 0;
    return true;
}

/* Number of the file that is open now; -1: it is gone. */
static int find_number(const struct reader *r)
{
    for (unsigned i = 0; i < FILES_MAX; i++) {
        AUTO_FREE char *path = numbered(r, i);
        struct stat st;

        if (stat(path, &st) < 0 && i > 0)
            return -1;
        if (stat(path, &st) == 0 && st.st_ino == r->inode)
            return (int)i;
    }
    return -1;
}

static bool open_oldest(struct reader *r)
{
    for (unsigned i = FILES_MAX; i > 0; i--)
        if (open_number(r, i - 1))
            return true;
    return false;
}

static bool open_next(struct reader *r)
{
    int number;

    if (!r->file)
        return open_oldest(r);
    number = find_number(r);
    if (number == 0)
        return false;
    /* What was written between our look and the rotation comes first. */
    r->is_left = !r->is_left;
    if (r->is_left)
        return true;
    return number > 0 ? open_number(r, (unsigned)number - 1) : open_oldest(r);
}

static bool parse(struct reader *r, ssize_t len)
{
    char *end;

    r->line[len - 1] = '\0';
    r->time_ns = strtoll(r->line, &end, 10);
    if (end == r->line || *end != ' ')
        return false;
    r->text = end + 1;
    r->len = len - 1;
    return true;
}

/* Makes sure that the reader's next line is at hand; false: there is none yet. */
static bool peek(struct reader *r)
{
    while (r->len == 0) {
        long at = r->file ? ftell(r->file) : 0;
        ssize_t len = r->file ? getline(&r->line, &r->cap, r->file) : -1;

        if (len > 0 && r->line[len - 1] == '\n') {
            parse(r, len);
            continue;
        }
        if (r->file) {
            clearerr(r->file);
            fseek(r->file, at, SEEK_SET);
        }
        if (!open_next(r))
            return false;
    }
    return true;
}

static struct reader *earliest(struct session *s)
{
    struct reader *first = NULL;

    for (size_t i = 0; i < s->count; i++) {
        struct reader *r = &s->readers[i];

        if (peek(r) && (!first || r->time_ns < first->time_ns))
            first = r;
    }
    return first;
}

static bool is_known(const struct session *s, const char *replica, size_t len)
{
    for (size_t i = 0; i < s->count; i++)
        if (strlen(s->readers[i].replica) == len &&
            memcmp(s->readers[i].replica, replica, len) == 0)
            return true;
    return false;
}

/* Readers for replicas that have none yet; file names are REPLICA.log[.N]. */
static void find_replicas(struct session *s)
{
    struct fng_str only = s->query->replica;
    struct dirent *entry;
    DIR *dir = opendir(s->folder);

    while (dir && (entry = readdir(dir))) {
        const char *suffix = strstr(entry->d_name, ".log");
        size_t len = suffix ? (size_t)(suffix - entry->d_name) : 0;
        struct reader *r;

        if (len == 0 || is_known(s, entry->d_name, len))
            continue;
        if (only.len > 0 && (only.len != len || memcmp(only.ptr, entry->d_name, len) != 0))
            continue;
        s->readers = resize(s->readers, (s->count + 1) * sizeof(*s->readers));
        r = &s->readers[s->count++];
        *r = (struct reader){.replica = text_format("%.*s", (int)len, entry->d_name)};
        r->path = text_format("%s/%s.log", s->folder, r->replica);
    }
    if (dir)
        closedir(dir);
}

static void deliver(struct session *s, const char *replica, int64_t time_ns, const char *text,
                    size_t len)
{
    struct fng_log_line line = {.size = sizeof(line),
                                .time_ns = time_ns,
                                .replica = fng_str_from(replica),
                                .text = fng_str_make(text, len)};

    if (!s->is_over && s->on_line(s->arg, &line) != 0)
        s->is_over = true;
}

static size_t text_len(const struct reader *r)
{
    return (size_t)r->len - (size_t)(r->text - r->line);
}

static void deliver_all(struct session *s)
{
    struct reader *r;

    while (!s->is_over && !s->p->host->cancelled(s->p->host->instance) && (r = earliest(s))) {
        if (r->time_ns >= s->query->since_ms * 1000000)
            deliver(s, r->replica, r->time_ns, r->text, text_len(r));
        r->len = 0;
    }
}

struct kept {
    char *text;
    size_t len;
    int64_t time_ns;
    const char *replica;
};

/* The last `tail` of what there is now. */
static void deliver_tail(struct session *s, size_t tail)
{
    struct kept *ring = zalloc(tail * sizeof(*ring));
    size_t n = 0;
    struct reader *r;

    while (!s->p->host->cancelled(s->p->host->instance) && (r = earliest(s))) {
        struct kept *slot = tail ? &ring[n % tail] : NULL;

        if (slot && r->time_ns >= s->query->since_ms * 1000000) {
            free(slot->text);
            *slot = (struct kept){.text = zalloc(text_len(r) + 1),
                                  .len = text_len(r),
                                  .time_ns = r->time_ns,
                                  .replica = r->replica};
            memcpy(slot->text, r->text, slot->len);
            n++;
        }
        r->len = 0;
    }
    for (size_t i = n > tail ? n - tail : 0; i < n; i++)
        deliver(s, ring[i % tail].replica, ring[i % tail].time_ns, ring[i % tail].text,
                ring[i % tail].len);
    for (size_t i = 0; i < tail; i++)
        free(ring[i].text);
    free(ring);
}

/* Sleeps until something changed in the folder. False: the folder is gone, or the caller is. */
static bool wait_change(struct session *s)
{
    const struct fng_host *host = s->p->host;
    struct pollfd fds[] = {{.fd = s->notify_fd, .events = POLLIN},
                           {.fd = host->cancel_fd(host->instance), .events = POLLIN}};
    char events[4096] __attribute__((aligned(8)));

    poll(fds, COUNT_OF(fds), POLL_MS);
    while (read(s->notify_fd, events, sizeof(events)) > 0)
        ;
    return !s->is_over && !host->cancelled(host->instance) && access(s->folder, F_OK) == 0;
}

static void follow(struct session *s)
{
    s->notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (s->notify_fd < 0 ||
        inotify_add_watch(s->notify_fd, s->folder,
                          IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_ONLYDIR) < 0) {
        fng_log(s->p->host, FNG_LOG_WARN, "logs of %s are polled: %s", s->folder, strerror(errno));
    }
    do {
        find_replicas(s);
        deliver_all(s);
    } while (wait_change(s));
    if (s->notify_fd >= 0)
        close(s->notify_fd);
}

int32_t op_logs(void *self, const struct fng_log_query *query, fng_log_line_f *on_line, void *arg)
{
    struct provider *p = self;
    struct session s = {.p = p, .query = query, .on_line = on_line, .arg = arg, .notify_fd = -1};
    struct function *fn;

    pthread_mutex_lock(&p->lock);
    fn = function_find(p, query->ns, query->name);
    if (fn)
        s.folder = log_folder(p, fn->ns, fn->name);
    pthread_mutex_unlock(&p->lock);
    if (!s.folder)
        return fng_fail(p->host, FNG_E_NOT_FOUND, "there is no function %.*s", (int)query->name.len,
                        query->name.ptr);
    folder_make(s.folder, 0700);
    find_replicas(&s);
    if (query->tail >= 0)
        deliver_tail(&s, query->tail < TAIL_MAX ? (size_t)query->tail : TAIL_MAX);
    else
        deliver_all(&s);
    if (query->follow && !s.is_over)
        follow(&s);
    for (size_t i = 0; i < s.count; i++) {
        if (s.readers[i].file)
            fclose(s.readers[i].file);
        free(s.readers[i].line);
        free(s.readers[i].replica);
        free(s.readers[i].path);
    }
    free(s.readers);
    free(s.folder);
    return FNG_OK;
}

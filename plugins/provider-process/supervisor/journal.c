/* The journal: what a successor must know. One JSON object per line, appended with one write()
 * each; the newest words on a replica win. It survives kill -9 because the kernel holds what was
 * written; after a power cut no process is left, and the boot id in the first line says so. */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { JOURNAL_VERSION = 1, JOURNAL_MAX = 256 << 20, COMPACT_ABOVE = 1 << 20 };

#define JOURNAL_NAME "journal"

char *journal_boot_id(void)
{
    char *text = file_read("/proc/sys/kernel/random/boot_id", 256, NULL);

    if (!text)
        return text_copy("unknown");
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static json_t *header(const struct supervisor *sup)
{
    AUTO_FREE char *boot = journal_boot_id();

    return json_pack("{s:i,s:s,s:I}", "journal", JOURNAL_VERSION, "boot", boot, "next_id",
                     (json_int_t)sup->next_id);
}

static json_t *changes(const struct replica *r)
{
    json_t *record = json_pack("{s:I,s:s,s:i,s:I,s:i,s:i,s:b}", "id", (json_int_t)r->id, "state",
                               replica_state_name(r->state), "pid", (int)r->pid, "start",
                               (json_int_t)r->start_ticks, "failures", (int)r->failures, "restarts",
                               (int)r->restarts, "ready", (int)r->is_ready);

    if (record && r->exit_text)
        json_object_set_new(record, "exit", json_string(r->exit_text));
    return record;
}

static void append_line(char **text, size_t *len, json_t *record)
{
    AUTO_FREE char *line = json_dumps(record, JSON_COMPACT);
    size_t line_len = line ? strlen(line) : 0;

    json_decref(record);
    if (!line)
        abort();
    *text = resize(*text, *len + line_len + 1);
    memcpy(*text + *len, line, line_len);
    (*text)[*len + line_len] = '\n';
    *len += line_len + 1;
}

/* Writes the table anew beside the journal and puts it in its place. */
static int rewrite(struct supervisor *sup)
{
    AUTO_FREE char *path = text_format("%s/" JOURNAL_NAME, sup->run_dir);
    AUTO_FREE char *text = NULL;
    size_t len = 0;
    int r;

    append_line(&text, &len, header(sup));
    for (size_t i = 0; i < sup->count; i++) {
        json_t *record = changes(sup->replicas[i]);

        json_object_set(record, "plan", sup->replicas[i]->plan);
        append_line(&text, &len, record);
    }
    r = file_write(path, text, len, 0600, (uid_t)-1, (gid_t)-1);
    if (r < 0)
        return r;
    if (sup->journal_fd >= 0)
        close(sup->journal_fd);
    sup->journal_size = len;
    sup->journal_fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    return sup->journal_fd < 0 ? -errno : 0;
}

static void append(struct supervisor *sup, json_t *record)
{
    AUTO_FREE char *line = NULL;
    size_t len = 0;

    append_line(&line, &len, record);
    if (write(sup->journal_fd, line, len) != (ssize_t)len)
        supervisor_log("the journal cannot be written: %s", strerror(errno));
    sup->journal_size += len;
    /* At least as much dead text as live text, so that rewriting stays rare. */
    if (sup->journal_size > COMPACT_ABOVE + sup->count * 8192 && rewrite(sup) < 0)
        supervisor_log("the journal cannot be rewritten");
}

void journal_add(struct replica *replica)
{
    json_t *record = changes(replica);

    json_object_set(record, "plan", replica->plan);
    json_object_set_new(record, "next_id", json_integer((json_int_t)replica->sup->next_id));
    append(replica->sup, record);
}

void journal_update(struct replica *replica)
{
    append(replica->sup, changes(replica));
}

void journal_remove(struct replica *replica)
{
    append(replica->sup, json_pack("{s:I,s:b}", "id", (json_int_t)replica->id, "gone", 1));
}

/* Merges one line into `known`, an object of records by id. */
static void read_line(struct supervisor *sup, json_t *known, json_t *record)
{
    AUTO_FREE char *id = text_format("%lld", (long long)wire_int(record, "id"));
    uint64_t next_id = (uint64_t)wire_int(record, "next_id");
    json_t *former = json_object_get(known, id);

    if (next_id > sup->next_id)
        sup->next_id = next_id;
    if (json_object_get(record, "journal"))
        return;
    if (json_is_true(json_object_get(record, "gone")))
        json_object_del(known, id);
    else if (former)
        json_object_update(former, record);
    else
        json_object_set(known, id, record);
}

static bool read_all(struct supervisor *sup, json_t *known, char *text)
{
    AUTO_FREE char *boot = journal_boot_id();
    bool is_same_boot = false;
    char *rest = text, *line;

    while ((line = strsep(&rest, "\n"))) {
        AUTO_JSON json_t *record = json_loads(line, 0, NULL);

        if (!json_is_object(record))
            continue; /* the torn end of a full disk */
        if (json_object_get(record, "journal"))
            is_same_boot = strcmp(wire_text(record, "boot"), boot) == 0;
        read_line(sup, known, record);
    }
    return is_same_boot;
}

int journal_open(struct supervisor *sup, bool *ret_same_boot)
{
    AUTO_FREE char *path = text_format("%s/" JOURNAL_NAME, sup->run_dir);
    AUTO_FREE char *text = file_read(path, JOURNAL_MAX, NULL);
    AUTO_JSON json_t *known = json_object();
    uint64_t now_ms = (uint64_t)(wall_ns() / 1000000);
    const char *id;
    json_t *record;

    *ret_same_boot = text && read_all(sup, known, text);
    /* Numbers grow slower than milliseconds pass, so the clock makes new ones even when the journal
     * was lost. */
    if (sup->next_id < now_ms)
        sup->next_id = now_ms;
    json_object_foreach(known, id, record)
    {
        struct replica *replica = replica_restore(sup, record);

        if (replica) {
            sup->replicas = resize(sup->replicas, (sup->count + 1) * sizeof(*sup->replicas));
            sup->replicas[sup->count++] = replica;
            sup->cap = sup->count;
        }
    }
    return rewrite(sup);
}

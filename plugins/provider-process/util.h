/* Small helpers that the process provider and its supervisor share: memory, clocks, files, /proc.
 *
 * Memory functions abort when memory is short: both sides handle small control data only. */
#ifndef PROCESS_UTIL_H
#define PROCESS_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define AUTO_FREE __attribute__((cleanup(free_at)))
/* AUTO_CLOSE int fd: closed at the end of the scope when >= 0. */
#define AUTO_CLOSE __attribute__((cleanup(close_at)))
/* AUTO_JSON json_t *value: released at the end of the scope. For files that include jansson.h. */
#define AUTO_JSON __attribute__((cleanup(json_decrefp)))

void free_at(void *ptr_to_ptr);
void close_at(int *fd);

void *zalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *resize(void *ptr, size_t size) __attribute__((returns_nonnull));
char *text_copy(const char *text) __attribute__((returns_nonnull));
char *text_format(const char *format, ...)
    __attribute__((format(printf, 1, 2), malloc, returns_nonnull));

int64_t monotonic_ms(void);
int64_t wall_ns(void);

/* mkdir -p; folders that it makes get `mode`. 0 or negative errno. */
int folder_make(const char *path, mode_t mode);
/* Removes a file, or a folder with all in it; what is not there is fine. Never follows symlinks. */
int tree_remove(const char *path);
/* Writes path.tmp, syncs it, gives it to uid:gid (-1: as it is) and renames it over `path`. */
int file_write(const char *path, const void *data, size_t len, mode_t mode, uid_t uid, gid_t gid);
/* The content of a file, NUL-terminated, at most `max` bytes; NULL with errno set. */
char *file_read(const char *path, size_t max, size_t *ret_len);

/* What /proc/PID/stat says of a process. */
struct proc_stat {
    pid_t pid, pgrp, session;
    char state;           /* 'Z': dead, not reaped */
    uint64_t start_ticks; /* since boot: with the pid it names one process */
    uint64_t cpu_ticks;   /* user and system, with reaped children */
    uint64_t rss_pages;
};
bool proc_stat_read(pid_t pid, struct proc_stat *ret);
/* Calls `on_process` for each process that can be seen, by number. */
void proc_each(void (*on_process)(void *arg, pid_t pid), void *arg);
/* Value of a variable in the environment that the process was started with; NULL when there is none
 * or it cannot be seen. To be freed. */
char *proc_env(pid_t pid, const char *name);

#endif

/* Small helpers that the process provider and its supervisor share. */
#include "util.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void free_at(void *ptr_to_ptr)
{
    free(*(void **)ptr_to_ptr);
}

void close_at(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static void *need(void *ptr)
{
    if (!ptr)
        abort();
    return ptr;
}

void *zalloc(size_t size)
{
    return need(calloc(1, size ? size : 1));
}

void *resize(void *ptr, size_t size)
{
    return need(realloc(ptr, size ? size : 1));
}

char *text_copy(const char *text)
{
    return need(strdup(text));
}

char *text_format(const char *format, ...)
{
    char *text;
    va_list args;
    int n;

    va_start(args, format);
    n = vasprintf(&text, format, args);
    va_end(args);
    return need(n < 0 ? NULL : text);
}

int64_t monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int folder_make(const char *path, mode_t mode)
{
    AUTO_FREE char *copy = text_copy(path);

    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            return -errno;
        *p = '/';
    }
    return mkdir(copy, mode) < 0 && errno != EEXIST ? -errno : 0;
}

int tree_remove(const char *path)
{
    struct dirent *entry;
    DIR *dir;

    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    dir = opendir(path);
    if (!dir)
        return -errno;
    while ((entry = readdir(dir))) {
        AUTO_FREE char *below = NULL;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        below = text_format("%s/%s", path, entry->d_name);
        if (unlink(below) < 0)
            tree_remove(below);
    }
    closedir(dir);
    return rmdir(path) < 0 ? -errno : 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int file_write(const char *path, const void *data, size_t len, mode_t mode, uid_t uid, gid_t gid)
{
    AUTO_FREE char *temporary = text_format("%s.tmp", path);
    AUTO_CLOSE int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    int r;

    if (fd < 0)
        return -errno;
    r = write_all(fd, data, len);
    if (r == 0 && fchmod(fd, mode) < 0)
        r = -errno;
    if (r == 0 && (uid != (uid_t)-1 || gid != (gid_t)-1) && fchown(fd, uid, gid) < 0)
        r = -errno;
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r == 0 && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(temporary);
    return r;
}

char *file_read(const char *path, size_t max, size_t *ret_len)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0, cap = 4096;
    char *text;

    if (fd < 0)
        return NULL;
    text = resize(NULL, cap);
    for (;;) {
        ssize_t n = read(fd, text + len, cap - len - 1);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || len + (size_t)n > max) {
            errno = n < 0 ? errno : EFBIG;
            free(text);
            return NULL;
        }
        len += (size_t)n;
        if (n == 0)
            break;
        if (len + 1 == cap)
            text = resize(text, cap *= 2);
    }
    text[len] = '\0';
    if (ret_len)
        *ret_len = len;
    return text;
}

bool proc_stat_read(pid_t pid, struct proc_stat *ret)
{
    unsigned long long user, kernel, child_user, child_kernel, start, rss;
    AUTO_FREE char *path = text_format("/proc/%d/stat", (int)pid);
    AUTO_FREE char *text = file_read(path, 8192, NULL);
    const char *rest = text ? strrchr(text, ')') : NULL;
    int pgrp, session;
    char state;

    /* Fields 3 to 24; the command name before them may hold anything, so count from its end. */
    if (!rest || sscanf(rest + 1,
                        " %c %*d %d %d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu %*d %*d %*d"
                        " %*d %llu %*u %llu",
                        &state, &pgrp, &session, &user, &kernel, &child_user, &child_kernel, &start,
                        &rss) != 9)
        return false;
    *ret = (struct proc_stat){.pid = pid,
                              .pgrp = pgrp,
                              .session = session,
                              .state = state,
                              .start_ticks = start,
                              .cpu_ticks = user + kernel + child_user + child_kernel,
                              .rss_pages = rss};
    return true;
}

void proc_each(void (*on_process)(void *arg, pid_t pid), void *arg)
{
    struct dirent *entry;
    DIR *dir = opendir("/proc");

    if (!dir)
        return;
    while ((entry = readdir(dir)))
        if (isdigit((unsigned char)entry->d_name[0]))
            on_process(arg, (pid_t)atoi(entry->d_name));
    closedir(dir);
}

char *proc_env(pid_t pid, const char *name)
{
    AUTO_FREE char *path = text_format("/proc/%d/environ", (int)pid);
    size_t name_len = strlen(name), len;
    AUTO_FREE char *text = file_read(path, 4 << 20, &len);

    if (!text)
        return NULL;
    for (char *p = text; p < text + len; p += strlen(p) + 1)
        if (strncmp(p, name, name_len) == 0 && p[name_len] == '=')
            return text_copy(p + name_len + 1);
    return NULL;
}

/* Memory and CPU limits by control groups, version 2 or 1. Groups are made below the supervisor's
 * own, so that whatever limits it was given hold for the functions too. */
#include "supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"
enum { CPU_PERIOD_US = 100000, US_PER_MILLICORE = CPU_PERIOD_US / 1000 };

static bool write_text(const char *folder, const char *file, const char *text)
{
    AUTO_FREE char *path = text_format("%s/%s", folder, file);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool write_number(const char *folder, const char *file, int64_t value)
{
    AUTO_FREE char *text = text_format("%lld", (long long)value);

    return write_text(folder, file, text);
}

static bool has_controller(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = list; (p = strstr(p, name)); p += len)
        if ((p == list || p[-1] == ',') && (p[len] == ',' || p[len] == '\0'))
            return true;
    return false;
}

/* The folder of our own group in a hierarchy, when groups can be made in it. */
static char *own_folder(const char *hierarchy, const char *path)
{
    char *folder = text_format(ROOT "/%s%s", hierarchy, strcmp(path, "/") == 0 ? "" : path);

    if (access(folder, W_OK) == 0)
        return folder;
    free(folder);
    return NULL;
}

/* Version 2 wants no process in a group whose children have controllers: step aside first. */
static bool enable_unified(const char *folder)
{
    AUTO_FREE char *aside = text_format("%s/fngate-supervisor", folder);

    if (write_text(folder, "cgroup.subtree_control", "+memory +cpu"))
        return true;
    if (mkdir(aside, 0755) < 0 && errno != EEXIST)
        return false;
    return write_text(aside, "cgroup.procs", "0") &&
           write_text(folder, "cgroup.subtree_control", "+memory +cpu");
}

static void probe_unified(struct cgroups *groups, const char *path)
{
    char *folder = own_folder("", path);

    /* After a restart we sit in the group that we stepped aside into. */
    if (folder && strstr(folder, "/fngate-supervisor"))
        *strstr(folder, "/fngate-supervisor") = '\0';
    if (!folder || !enable_unified(folder)) {
        free(folder);
        return;
    }
    groups->is_unified = true;
    groups->memory = folder;
    groups->cpu = text_copy(folder);
}

void cgroups_probe(struct cgroups *groups)
{
    AUTO_FREE char *text = file_read("/proc/self/cgroup", 65536, NULL);
    bool is_unified = access(ROOT "/cgroup.controllers", F_OK) == 0;
    char *rest = text, *line;

    while (text && (line = strsep(&rest, "\n"))) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;

        if (!path)
            continue;
        *path++ = '\0';
        controllers++;
        if (is_unified && *controllers == '\0')
            probe_unified(groups, path);
        else if (!groups->memory && has_controller(controllers, "memory"))
            groups->memory = own_folder(controllers, path);
        else if (!groups->cpu && has_controller(controllers, "cpu"))
            groups->cpu = own_folder(controllers, path);
    }
}

/* "fngate-<run folder>-": several supervisors may share a parent. */
static char *group_prefix(const struct supervisor *sup)
{
    uint32_t hash = 2166136261U; /* FNV-1a */

    for (const char *p = sup->run_dir; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619U;
    return text_format("fngate-%08x-", hash);
}

static char *group_path(const char *parent, const struct replica *replica)
{
    AUTO_FREE char *prefix = group_prefix(replica->sup);

    return text_format("%s/%s%llu", parent, prefix, (unsigned long long)replica->id);
}

static int open_procs(const char *folder)
{
    AUTO_FREE char *path = text_format("%s/cgroup.procs", folder);

    return open(path, O_WRONLY | O_CLOEXEC);
}

static bool limit_memory(const struct cgroups *groups, const char *folder, int64_t bytes)
{
    if (groups->is_unified) {
        write_text(folder, "memory.swap.max", "0");
        write_text(folder, "memory.oom.group", "1");
        return write_number(folder, "memory.max", bytes);
    }
    if (!write_number(folder, "memory.limit_in_bytes", bytes))
        return false;
    write_number(folder, "memory.memsw.limit_in_bytes", bytes);
    return true;
}

static bool limit_cpu(const struct cgroups *groups, const char *folder, int64_t millicores)
{
    AUTO_FREE char *text = NULL;

    if (!groups->is_unified)
        return write_number(folder, "cpu.cfs_period_us", CPU_PERIOD_US) &&
               write_number(folder, "cpu.cfs_quota_us", millicores * US_PER_MILLICORE);
    text = text_format("%lld %d", (long long)(millicores * US_PER_MILLICORE), CPU_PERIOD_US);
    return write_text(folder, "cpu.max", text);
}

typedef bool limit_f(const struct cgroups *groups, const char *folder, int64_t value);

static bool make_group(const struct cgroups *groups, const struct replica *replica,
                       const char *parent, int64_t value, limit_f *limit, int *ret_fd)
{
    AUTO_FREE char *folder = parent ? group_path(parent, replica) : NULL;

    if (!folder || (mkdir(folder, 0755) < 0 && errno != EEXIST))
        return false;
    if (!limit(groups, folder, value))
        return false;
    *ret_fd = open_procs(folder);
    return *ret_fd >= 0;
}

char *cgroup_make(const struct cgroups *groups, const struct replica *replica, int fds[2])
{
    int64_t memory = wire_int(replica->plan, "memory");
    int64_t cpu = wire_int(replica->plan, "cpu");
    bool has_memory, has_cpu;

    fds[0] = fds[1] = -1;
    has_memory =
        memory == 0 || make_group(groups, replica, groups->memory, memory, limit_memory, &fds[0]);
    has_cpu = cpu == 0 || make_group(groups, replica, groups->cpu, cpu, limit_cpu, &fds[1]);
    if (has_memory && has_cpu)
        return NULL;
    return text_format("the %s limit is not enforced: no control group can be made here",
                       has_cpu      ? "memory"
                       : has_memory ? "cpu"
                                    : "memory and cpu");
}

/* Kills what is left in a group and removes it; false: its processes are still dying. */
static bool remove_group(const char *folder)
{
    AUTO_FREE char *procs = text_format("%s/cgroup.procs", folder);
    AUTO_FREE char *text = file_read(procs, 1 << 20, NULL);
    char *rest = text, *line;

    while (text && (line = strsep(&rest, "\n")))
        if (atoi(line) > 1)
            kill(atoi(line), SIGKILL);
    return rmdir(folder) == 0 || errno == ENOENT;
}

static bool sweep_parent(struct supervisor *sup, const char *parent)
{
    AUTO_FREE char *prefix = group_prefix(sup);
    size_t prefix_len = strlen(prefix);
    DIR *dir = parent ? opendir(parent) : NULL;
    struct dirent *entry;
    bool is_clean = true;

    while (dir && (entry = readdir(dir))) {
        AUTO_FREE char *folder = text_format("%s/%s", parent, entry->d_name);

        if (strncmp(entry->d_name, prefix, prefix_len) != 0 ||
            replica_find(sup, strtoull(entry->d_name + prefix_len, NULL, 10)))
            continue;
        is_clean = remove_group(folder) && is_clean;
    }
    if (dir)
        closedir(dir);
    return is_clean;
}

bool cgroups_sweep(struct supervisor *sup)
{
    bool is_clean = sweep_parent(sup, sup->groups.memory);

    return sweep_parent(sup, sup->groups.cpu) && is_clean;
}

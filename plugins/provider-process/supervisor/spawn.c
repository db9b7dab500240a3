/* Runs a replica's command: everything is made ready first, then a vforked child does nothing but
 * system calls until exec. The child shares our memory while we are suspended, which is how its
 * error comes back.
 *
 * The child holds the supervisor's lock until exec closes it: a successor that got the lock can be
 * sure that every child carries its marks in /proc/PID/environ. */
#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LISTEN_FD = 3, FDS_ABOVE = 10, EXIT_NOT_STARTED = 127, PID_CHARS = 12 };

struct launch {
    char **argv, **env;
    char *listen_pid; /* "LISTEN_PID=" and room for the number, inside env */
    const char *folder, *secrets_from, *secrets_at;
    int null_fd, log_fd, listen_fd, group_fds[2];
    int64_t uid, gid, nofile;
    const char *failed_step; /* what the child could not do, NULL: it runs */
    int failed_errno;
};

static char **text_array(const json_t *list, size_t spare)
{
    char **array = zalloc((json_array_size(list) + spare + 1) * sizeof(*array));
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item) array[i] =
        text_copy(json_is_string(item) ? json_string_value(item) : "");
    return array;
}

static void free_array(char **array)
{
    for (size_t i = 0; array && array[i]; i++)
        free(array[i]);
    free(array);
}

static void make_env(struct launch *launch, const struct replica *replica)
{
    const json_t *list = json_object_get(replica->plan, "env");
    size_t n = json_array_size(list);
    char **env = text_array(list, 5);

    env[n++] = text_copy("LISTEN_FDS=1");
    env[n++] = launch->listen_pid = text_format("LISTEN_PID=%*s", PID_CHARS, "");
    env[n++] = text_format("FNGATE_LISTEN_FD=%d", LISTEN_FD);
    env[n++] = text_format("FNGATE_REPLICA=%llu", (unsigned long long)replica->id);
    env[n++] = text_format("FNGATE_STATE=%s", replica->sup->run_dir);
    launch->env = env;
}

/* Async-signal-safe: the number goes behind "LISTEN_PID=". */
static void put_pid(char *text, pid_t pid)
{
    char digits[PID_CHARS];
    size_t n = 0;

    text += strlen("LISTEN_PID=");
    for (; pid > 0; pid /= 10)
        digits[n++] = (char)('0' + pid % 10);
    while (n > 0)
        *text++ = digits[--n];
    *text = '\0';
}

static bool fail(struct launch *launch, const char *step)
{
    launch->failed_step = step;
    launch->failed_errno = errno;
    return false;
}

static void reset_signals(void)
{
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool join_groups(struct launch *launch)
{
    for (int i = 0; i < 2; i++)
        if (launch->group_fds[i] >= 0 && write(launch->group_fds[i], "0", 1) != 1)
            return fail(launch, "join its control group");
    return true;
}

static bool mount_secrets(struct launch *launch)
{
    if (!launch->secrets_at)
        return true;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return fail(launch, "make a mount namespace");
    if (mount(launch->secrets_from, launch->secrets_at, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, launch->secrets_at, NULL,
              MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return fail(launch, "mount its secrets");
    return true;
}

static bool set_limits(struct launch *launch)
{
    struct rlimit none = {0, 0}, files;

    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return fail(launch, "set its limits");
    if (launch->nofile == 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
        return true;
    if ((rlim_t)launch->nofile < files.rlim_max)
        files.rlim_max = (rlim_t)launch->nofile;
    files.rlim_cur = files.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &files) == 0 || fail(launch, "set its limits");
}

/* By system call: glibc's wrappers talk to all threads, which is not for a vforked child. */
static bool change_user(struct launch *launch)
{
    if (launch->gid >= 0 && (syscall(SYS_setgroups, 0, NULL) < 0 ||
                             syscall(SYS_setresgid, launch->gid, launch->gid, launch->gid) < 0))
        return fail(launch, "change its group");
    if (launch->uid >= 0 && syscall(SYS_setresuid, launch->uid, launch->uid, launch->uid) < 0)
        return fail(launch, "change its user");
    return true;
}

static bool place_fds(struct launch *launch)
{
    if (dup2(launch->null_fd, 0) < 0 || dup2(launch->log_fd, 1) < 0 ||
        dup2(launch->log_fd, 2) < 0 || dup2(launch->listen_fd, LISTEN_FD) < 0)
        return fail(launch, "pass its descriptors");
    return syscall(SYS_close_range, LISTEN_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0 ||
           fail(launch, "close other descriptors");
}

__attribute__((noinline)) static void child(struct launch *launch)
{
    setsid();
    umask(077);
    reset_signals();
    put_pid(launch->listen_pid, getpid());
    if (join_groups(launch) && mount_secrets(launch) && set_limits(launch) && place_fds(launch) &&
        change_user(launch)) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (chdir(launch->folder) < 0) {
            fail(launch, "enter its folder");
        } else {
            execve(launch->argv[0], launch->argv, launch->env);
            fail(launch, "execute");
        }
    }
    _exit(EXIT_NOT_STARTED);
}

static int open_high(const char *path, int flags)
{
    AUTO_CLOSE int fd = open(path, flags | O_CLOEXEC);

    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FDS_ABOVE);
}

static void close_high(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void prepare(struct launch *launch, struct replica *replica)
{
    const json_t *plan = replica->plan, *uid = json_object_get(plan, "uid");
    char *warning;

    *launch = (struct launch){.argv = text_array(json_object_get(plan, "argv"), 0),
                              .folder = wire_text(plan, "folder"),
                              .null_fd = open_high("/dev/null", O_RDONLY),
                              .log_fd = open_high(replica->log.fifo_path, O_RDWR),
                              .listen_fd = replica->listen_fd,
                              .uid = uid ? json_integer_value(uid) : -1,
                              .gid = uid ? wire_int(plan, "gid") : -1,
                              .nofile = wire_int(plan, "nofile")};
    make_env(launch, replica);
    if (*wire_text(plan, "secrets_at")) {
        launch->secrets_from = wire_text(plan, "secrets_from");
        launch->secrets_at = wire_text(plan, "secrets_at");
        folder_make(launch->secrets_at, 0755);
    }
    warning = cgroup_make(&replica->sup->groups, replica, launch->group_fds);
    free(replica->warning);
    replica->warning = warning;
}

static void dispose(struct launch *launch)
{
    free_array(launch->argv);
    free_array(launch->env);
    close_high(launch->null_fd);
    close_high(launch->log_fd);
    close_high(launch->group_fds[0]);
    close_high(launch->group_fds[1]);
}

static void explain(struct replica *replica, const struct launch *launch)
{
    bool is_exec = strcmp(launch->failed_step, "execute") == 0;

    free(replica->exit_text);
    replica->exit_text =
        text_format("cannot %s%s%s: %s", launch->failed_step, is_exec ? " " : "",
                    is_exec ? launch->argv[0] : "", strerror(launch->failed_errno));
}

static pid_t run(struct launch *launch)
{
    pid_t pid = vfork();

    if (pid == 0)
        child(launch);
    if (pid < 0)
        fail(launch, "start a process");
    return pid;
}

int spawn(struct replica *replica)
{
    struct launch launch;
    struct proc_stat stat;
    pid_t pid = 0;
    int r = 0;

    prepare(&launch, replica);
    if (!launch.argv[0] || launch.null_fd < 0 || launch.log_fd < 0) {
        launch.failed_step = "open its descriptors";
        launch.failed_errno = errno ? errno : EINVAL;
    } else {
        pid = run(&launch);
    }
    if (launch.failed_step) {
        explain(replica, &launch);
        r = -launch.failed_errno;
        if (pid > 0)
            waitpid(pid, NULL, 0);
    } else {
        replica->pid = pid;
        replica->start_ticks = proc_stat_read(pid, &stat) ? stat.start_ticks : 0;
        replica->started_ms = monotonic_ms();
    }
    dispose(&launch);
    return r;
}

bool spawn_can_mount(void)
{
    int status;
    pid_t pid;

    if (geteuid() != 0)
        return false;
    pid = vfork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0
                  ? 0
                  : 1);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

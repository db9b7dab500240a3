/* Starting, ending and reaping processes, and pipes to them. */
#include "child.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DESCRIPTORS_MAX = 1 << 20 };

static struct list children = {&children, &children};
static struct rlimit given_limit, own_limit;

void child_raise_own_limit(void)
{
    if (getrlimit(RLIMIT_NOFILE, &given_limit) < 0)
        return;
    own_limit = given_limit;
    if (own_limit.rlim_cur < own_limit.rlim_max)
        own_limit.rlim_cur =
            own_limit.rlim_max < DESCRIPTORS_MAX ? own_limit.rlim_max : DESCRIPTORS_MAX;
    setrlimit(RLIMIT_NOFILE, &own_limit);
}

static int set_actions(posix_spawn_file_actions_t *actions, const int fds[3])
{
    int err = posix_spawn_file_actions_init(actions);

    for (int i = 0; i < 3 && !err; i++)
        if (fds[i] >= 0)
            err = posix_spawn_file_actions_adddup2(actions, fds[i], i);
    return err;
}

static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    int err = posix_spawnattr_init(attr);

    if (err)
        return err;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setsigdefault(attr, &all);
    posix_spawnattr_setpgroup(attr, 0);
    return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
}

int child_spawn(struct child *child, char *const *argv, char *const *envp, const int fds[3])
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int err = set_actions(&actions, fds);

    if (err)
        return -err;
    err = set_attributes(&attr);
    if (!err) {
        setrlimit(RLIMIT_NOFILE, &given_limit);
        err = posix_spawnp(&child->pid, argv[0], &actions, &attr, argv, envp);
        setrlimit(RLIMIT_NOFILE, &own_limit);
    }
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    if (!err)
        list_push(&children, &child->node);
    return -err;
}

void child_forget(struct child *child)
{
    list_remove(&child->node);
}

void child_kill(const struct child *child, int signal)
{
    ASSERT(child->pid > 1);
    kill(-child->pid, signal);
}

static void child_exited(pid_t pid, int status)
{
    LIST_FOR_EACH_SAFE(node, after, &children)
    {
        struct child *child = CONTAINER_OF(node, struct child, node);

        if (child->pid == pid) {
            child_forget(child);
            child->on_exit(child->arg, status);
            return;
        }
    }
}

void child_reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        child_exited(pid, status);
}

void child_status_text(int status, char buf[CHILD_STATUS_MAX])
{
    if (WIFSIGNALED(status))
        snprintf(buf, CHILD_STATUS_MAX, "signal: %s", strsignal(WTERMSIG(status)));
    else
        snprintf(buf, CHILD_STATUS_MAX, "exit status %d", WEXITSTATUS(status));
}

/* ---- Pipes ---- */

static ssize_t pipe_recv(void *filter, int fd, void *buf, size_t len, bool *want_write)
{
    ssize_t n = read(fd, buf, len);

    (void)filter;
    *want_write = false;
    return n < 0 ? -errno : n;
}

static ssize_t pipe_send(void *filter, int fd, const struct iovec *iov, int count, bool *want_write)
{
    ssize_t n = writev(fd, iov, count);

    (void)filter;
    *want_write = true;
    return n < 0 ? -errno : n;
}

static void pipe_shutdown(void *filter, int fd)
{
    /* a pipe ends by being closed */
    (void)filter;
    (void)fd;
}

static void pipe_free(void *filter)
{
    (void)filter;
}

struct io *pipe_io(struct loop *loop, int our_end, const struct io_handler *handler, void *arg,
                   int *ret_theirs)
{
    static const struct io_filter filter = {pipe_recv, pipe_send, pipe_shutdown, pipe_free};
    struct io *io;
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return NULL;
    fcntl(fds[our_end], F_SETFL, O_NONBLOCK);
    io = io_new(loop, fds[our_end], handler, arg);
    if (!io) {
        close(fds[!our_end]);
        return NULL;
    }
    io_set_filter(io, &filter, NULL);
    *ret_theirs = fds[!our_end];
    return io;
}

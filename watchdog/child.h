/* Processes of the function: each leads a group of its own, so that what it started can be ended
 * with it. */
#ifndef WATCHDOG_CHILD_H
#define WATCHDOG_CHILD_H

#include "base/list.h"
#include "loop/io.h"

#include <sys/types.h>

struct child {
    struct list node;                       /* list_init before use */
    pid_t pid;                              /* and process group */
    void (*on_exit)(void *arg, int status); /* as waitpid tells it */
    void *arg;
};

/* Starts argv[0], looked up in PATH, with fds as 0, 1 and 2 (negative: inherited) and nothing else
 * open, all signals as by default. 0 or negative errno. on_exit comes from child_reap. */
int child_spawn(struct child *child, char *const *argv, char *const *envp, const int fds[3]);
/* Lets us have as many descriptors as allowed; processes start with the limit that we were given.
 */
void child_raise_own_limit(void);
/* No on_exit any more. */
void child_forget(struct child *child);
/* Signals the group. */
void child_kill(const struct child *child, int signal);
/* After SIGCHLD: takes all that have ended, orphans that we inherited as process 1 too. */
void child_reap(void);

enum { CHILD_STATUS_MAX = 64 };
/* "exit status 3", "signal: Killed". */
void child_status_text(int status, char buf[CHILD_STATUS_MAX]);

/* A pipe as an io: `our_end` 1 writes to the child, 0 reads from it. *ret_theirs is the child's
 * end, to be closed after the spawn. NULL when memory or descriptors are short. */
struct io *pipe_io(struct loop *loop, int our_end, const struct io_handler *handler, void *arg,
                   int *ret_theirs);

#endif

/* The bare cold start: from spawn to the first answered byte of a program that serves HTTP on an
 * inherited listening socket (descriptor 3), with nothing in between. Prints the median in
 * milliseconds. usage: bench-spawn ROUNDS PROGRAM [ARGUMENT]... */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LISTEN_FD = 3, ROUNDS_MAX = 1000 };

extern char **environ;

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    unlink(addr->sun_path);
    if (fd < 0 || bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 || listen(fd, 16) < 0)
        die("bench-spawn: listen");
    return fd;
}

static pid_t spawn(char **argv, int listener)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int error;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, listener, LISTEN_FD);
    error = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error) {
        errno = error;
        die(argv[0]);
    }
    return pid;
}

static double one_round(char **argv, const struct sockaddr_un *addr)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    int listener = listen_on(addr), client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    double started = now_ms(), ended;
    pid_t pid = spawn(argv, listener);
    char byte;

    if (connect(client, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ||
        send(client, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0 ||
        recv(client, &byte, 1, 0) != 1)
        die("bench-spawn: call");
    ended = now_ms();
    close(client);
    close(listener);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return ended - started;
}

static int compare(const void *a, const void *b)
{
    double x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    double times[ROUNDS_MAX];
    int rounds;

    if (argc < 3 || (rounds = atoi(argv[1])) < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench-spawn ROUNDS PROGRAM [ARGUMENT]...\n");
        return 2;
    }
    snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/bench-spawn.%d", (int)getpid());
    setenv("LISTEN_FDS", "1", 1);
    for (int i = 0; i < rounds; i++)
        times[i] = one_round(argv + 2, &addr);
    unlink(addr.sun_path);
    qsort(times, (size_t)rounds, sizeof(times[0]), compare);
    printf("%.3f\n", times[rounds / 2]);
    return 0;
}

/* A function for tests that serves HTTP itself, on descriptor 3. Each connection has a thread and
 * one request. What it answers depends on the path:
 *
 *   /pid       its process number       /env/NAME     the variable, or 404
 *   /file/PATH the file's content       /exit/N       ends with status N, no answer
 *   /say/TEXT  writes TEXT to stderr    /long/N       writes one line of N bytes
 *   any other  "hello", after the request's body was read; one line is logged
 *
 * FAIL=N in the environment: says why and ends with status N at once. SLOW_MS: starts to answer
 * only then; SPAWN=1: has a child of its own. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LISTEN_FD = 3, HEAD_MAX = 8192 };

static void reply(int fd, const char *status, const char *body, size_t len)
{
    char head[256];
    int n =
        snprintf(head, sizeof(head),
                 "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status, len);

    if (send(fd, head, (size_t)n, MSG_NOSIGNAL) > 0)
        (void)!send(fd, body, len, MSG_NOSIGNAL);
}

static void reply_text(int fd, const char *text)
{
    reply(fd, text ? "200 OK" : "404 Not Found", text ? text : "", text ? strlen(text) : 0);
}

static void reply_file(int fd, const char *path)
{
    static const char missing[] = "missing";
    FILE *file = fopen(path, "r");
    char body[4096];
    size_t len = file ? fread(body, 1, sizeof(body), file) : 0;

    reply(fd, file ? "200 OK" : "404 Not Found", file ? body : missing,
          file ? len : sizeof(missing) - 1);
    if (file)
        fclose(file);
}

static void say_long(int fd, size_t len)
{
    char *line = malloc(len + 1);

    memset(line, 'x', len);
    line[len] = '\n';
    for (size_t done = 0; done < len + 1;) {
        ssize_t n = write(2, line + done, len + 1 - done);

        if (n <= 0)
            break;
        done += (size_t)n;
    }
    free(line);
    reply_text(fd, "said");
}

static void serve_path(int fd, const char *path)
{
    char number[32];

    if (strcmp(path, "/pid") == 0) {
        snprintf(number, sizeof(number), "%d", (int)getpid());
        reply_text(fd, number);
    } else if (strncmp(path, "/env/", 5) == 0) {
        reply_text(fd, getenv(path + 5));
    } else if (strncmp(path, "/file/", 6) == 0) {
        reply_file(fd, path + 5);
    } else if (strncmp(path, "/exit/", 6) == 0) {
        fprintf(stderr, "asked to end with %s\n", path + 6);
        _exit(atoi(path + 6));
    } else if (strncmp(path, "/say/", 5) == 0) {
        fprintf(stderr, "%s\n", path + 5);
        reply_text(fd, "said");
    } else if (strncmp(path, "/long/", 6) == 0) {
        say_long(fd, strtoul(path + 6, NULL, 10));
    } else {
        fprintf(stderr, "called %s\n", path);
        reply_text(fd, "hello");
    }
}

/* Bytes of body that still have to come after the head. */
static long body_left(const char *head, size_t have)
{
    const char *field = strcasestr(head, "\r\nContent-Length:");

    return field ? strtol(field + 17, NULL, 10) - (long)have : 0;
}

static void *serve(void *arg)
{
    int fd = (int)(size_t)arg;
    char head[HEAD_MAX + 1], path[HEAD_MAX], scratch[4096];
    size_t len = 0;
    char *end = NULL;

    while (!end && len < HEAD_MAX) {
        ssize_t n = recv(fd, head + len, HEAD_MAX - len, 0);

        if (n <= 0)
            break;
        len += (size_t)n;
        head[len] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    if (end && sscanf(head, "%*s %8191s", path) == 1) {
        long left = body_left(head, len - (size_t)(end + 4 - head));
        ssize_t n;

        while (left > 0 && (n = recv(fd, scratch, sizeof(scratch), 0)) > 0)
            left -= n;
        serve_path(fd, path);
    }
    close(fd);
    return NULL;
}

int main(void)
{
    const char *fail = getenv("FAIL"), *slow = getenv("SLOW_MS");
    pthread_attr_t attr;
    pthread_t thread;

    if (fail) {
        fprintf(stderr, "cannot find my configuration\n");
        return atoi(fail);
    }
    if (getenv("SPAWN") && fork() == 0) {
        setsid();
        pause();
    }
    if (slow)
        nanosleep(&(struct timespec){atoi(slow) / 1000, atoi(slow) % 1000 * 1000000L}, NULL);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int fd = accept(LISTEN_FD, NULL, NULL);

        if (fd >= 0 && pthread_create(&thread, &attr, serve, (void *)(size_t)fd) != 0)
            close(fd);
    }
}

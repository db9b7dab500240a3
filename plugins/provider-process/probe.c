/* Asks a replica whether it is ready: GET over its socket, a little at a time, so that the watch
 * thread can ask many at once. */
#include "process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { STEP_MAX_MS = 50, ANSWER_MAX_MS = 1000 };

void probe_cancel(struct probe *probe)
{
    if (probe->fd >= 0)
        close(probe->fd);
    probe->fd = -1;
    probe->reply_len = 0;
}

void probe_start(struct probe *probe, int64_t now_ms)
{
    probe_cancel(probe);
    probe->tries = 0;
    probe->next_ms = now_ms;
}

/* 1, 2, 4 ... 50 ms: quick ones are admitted at once, slow ones cost little. */
static void again(struct probe *probe, int64_t now_ms)
{
    int64_t step_ms = probe->tries < 6 ? (int64_t)1 << probe->tries : STEP_MAX_MS;

    probe_cancel(probe);
    probe->tries++;
    probe->next_ms = now_ms + (step_ms < STEP_MAX_MS ? step_ms : STEP_MAX_MS);
}

static bool ask(struct probe *probe, const char *socket_path, const char *path)
{
    AUTO_FREE char *request = text_format("GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: "
                                          "kube-probe/fngate\r\nConnection: close\r\n\r\n",
                                          path);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(request);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
    probe->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return probe->fd >= 0 && connect(probe->fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
           send(probe->fd, request, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* "HTTP/1.x NNN": enough is read once 12 bytes are there. -1: no answer of that kind. */
static int status_of(const struct probe *probe)
{
    int status;
    char copy[13] = {0};

    memcpy(copy, probe->reply, sizeof(copy) - 1);
    return sscanf(copy, "HTTP/1.%*1d %3d", &status) == 1 ? status : -1;
}

bool probe_turn(struct probe *probe, const char *socket_path, const char *path, bool is_lenient,
                int64_t now_ms)
{
    ssize_t n;
    int status;

    if (probe->fd < 0) {
        if (now_ms < probe->next_ms)
            return false;
        probe->end_ms = now_ms + ANSWER_MAX_MS;
        if (!ask(probe, socket_path, path)) {
            again(probe, now_ms);
            return false;
        }
    }
    n = recv(probe->fd, probe->reply + probe->reply_len, sizeof(probe->reply) - probe->reply_len,
             MSG_DONTWAIT);
    if (n > 0)
        probe->reply_len += (size_t)n;
    if (probe->reply_len >= 12) {
        status = status_of(probe);
        again(probe, now_ms);
        return (status >= 200 && status < 300) || (is_lenient && status >= 100 && status < 500);
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || now_ms >= probe->end_ms)
        again(probe, now_ms);
    return false;
}

/* The connection to the supervisor, which is started when nobody answers. Watch thread only, except
 * the first link_open in start(). */
#include "process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    REPLY_TIMEOUT_MS = 10000,
    ATTEMPTS = 40,
    ATTEMPT_STEP_MS = 25,
    HELLOS = 5,
    FIRST_CLOSED_FD = 3
};

void link_close(struct provider *p)
{
    if (p->link.fd >= 0)
        close(p->link.fd);
    wire_free(&p->link);
    json_decref(p->link_events);
    p->link_events = json_array();
}

static int dial(const struct provider *p)
{
    AUTO_FREE char *path = text_format("%s/" WIRE_SOCKET_NAME, p->run_path);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fd;
    close(fd);
    return -errno;
}

/* Waits for the first process only: it ends when the supervisor serves, or could not. */
static int start_supervisor(const struct provider *p, char **ret_error)
{
    static char path_env[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *argv[] = {p->supervisor_path, p->run_path, NULL}, *env[] = {path_env, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t set;
    int status = 0, r;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclosefrom_np(&actions, FIRST_CLOSED_FD);
    posix_spawnattr_init(&attr);
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&attr, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&attr, &set);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    r = posix_spawn(&pid, p->supervisor_path, &actions, &attr, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    free(*ret_error);
    *ret_error = NULL;
    if (r != 0) {
        *ret_error = text_format("cannot run %s: %s", p->supervisor_path, strerror(r));
        return -r;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == WIRE_EXIT_LOCKED))
        return 0;
    *ret_error = text_format("%s did not start (status %d); see %s/" WIRE_LOG_NAME,
                             p->supervisor_path, status, p->run_path);
    return -EIO;
}

static int connect_or_start(struct provider *p, char **ret_error)
{
    int fd = dial(p);

    for (int i = 0; fd < 0 && i < ATTEMPTS; i++) {
        int r = start_supervisor(p, ret_error);

        if (r < 0)
            return r;
        fd = dial(p);
        if (fd < 0)
            poll(NULL, 0, ATTEMPT_STEP_MS);
    }
    if (fd < 0)
        *ret_error =
            text_format("the supervisor in %s does not answer: %s", p->run_path, strerror(-fd));
    return fd;
}

static int say_hello(struct provider *p, char **ret_error)
{
    AUTO_JSON json_t *reply =
        link_call(p, json_pack("{s:s,s:i}", "op", "hello", "version", WIRE_VERSION), ret_error);

    if (!reply)
        return -EPROTO;
    p->can_memory = json_is_true(json_object_get(reply, "memory"));
    p->can_cpu = json_is_true(json_object_get(reply, "cpu"));
    p->can_mount = json_is_true(json_object_get(reply, "mount"));
    return 0;
}

/* A supervisor of another version leaves its replicas to the one that we bring. */
static int replace_supervisor(struct provider *p, char **ret_error)
{
    AUTO_JSON json_t *reply = link_call(p, json_pack("{s:s}", "op", "leave"), ret_error);

    return reply ? 0 : -EPROTO;
}

static int open_once(struct provider *p, char **ret_error)
{
    int fd, r;

    link_close(p);
    fd = connect_or_start(p, ret_error);
    if (fd < 0)
        return fd;
    wire_init(&p->link, fd);
    r = say_hello(p, ret_error);
    if (r == 0)
        return 0;
    if (p->link.fd >= 0)
        replace_supervisor(p, ret_error);
    link_close(p);
    return r;
}

/* More than once: the first that is reached may be dying, or be of another version. */
int link_open(struct provider *p, char **ret_error)
{
    int r = open_once(p, ret_error);

    for (int i = 1; r == -EPROTO && i < HELLOS; i++) {
        poll(NULL, 0, ATTEMPT_STEP_MS);
        r = open_once(p, ret_error);
    }
    return r;
}

bool link_retake(struct provider *p)
{
    AUTO_FREE char *error = NULL;
    json_t *reply;
    int fd;

    link_close(p);
    fd = dial(p);
    if (fd < 0)
        return false;
    wire_init(&p->link, fd);
    reply = link_call(
        p, json_pack("{s:s,s:i,s:b}", "op", "hello", "version", WIRE_VERSION, "if_free", 1),
        &error);
    if (!reply)
        link_close(p);
    json_decref(reply);
    p->is_replaced = !reply;
    return !p->is_replaced;
}

static bool wait_for(struct provider *p, short events, int64_t end_ms)
{
    struct pollfd fd = {.fd = p->link.fd, .events = events};
    int64_t left_ms = end_ms - monotonic_ms();

    return left_ms > 0 && (poll(&fd, 1, (int)left_ms) > 0 || errno == EINTR);
}

static bool is_event(struct provider *p, const json_t *message)
{
    const char *event = wire_text(message, "event");

    if (strcmp(event, "replaced") == 0)
        p->is_replaced = true;
    return *event != '\0';
}

/* Takes messages until the reply comes; events are kept for link_event. */
static int await_reply(struct provider *p, int64_t seq, json_t **ret)
{
    int64_t end_ms = monotonic_ms() + REPLY_TIMEOUT_MS;

    for (;;) {
        json_t *message;
        int r;

        while ((r = wire_next(&p->link, &message)) > 0) {
            if (is_event(p, message)) {
                json_array_append(p->link_events, message);
            } else if (wire_int(message, "seq") == seq) {
                *ret = message;
                return 0;
            }
            json_decref(message);
        }
        if (r < 0)
            return r;
        r = wire_fill(&p->link);
        if (r == 0)
            return -EPIPE;
        if (r < 0 && (r != -EAGAIN || !wait_for(p, POLLIN, end_ms)))
            return r == -EAGAIN ? -ETIMEDOUT : r;
    }
}

static int send_all(struct provider *p)
{
    int64_t end_ms = monotonic_ms() + REPLY_TIMEOUT_MS;
    int r;

    while ((r = wire_flush(&p->link)) == -EAGAIN)
        if (!wait_for(p, POLLOUT, end_ms))
            return -ETIMEDOUT;
    return r;
}

/* Before a connection that broke is given up: it may have said that another gateway is in charge
 * now. Who misses that connects again and takes the functions back. */
static void hear_last_words(struct provider *p)
{
    json_t *message;
    int r;

    if (p->link.fd < 0)
        return;
    do {
        while ((r = wire_next(&p->link, &message)) > 0) {
            is_event(p, message);
            json_decref(message);
        }
    } while (r == 0 && wire_fill(&p->link) > 0);
}

json_t *link_call(struct provider *p, json_t *request, char **ret_error)
{
    json_t *reply = NULL;
    int64_t seq = ++p->link_seq;
    int r = p->link.fd < 0 || !request ? -ENOTCONN : 0;

    free(*ret_error);
    *ret_error = NULL;
    json_object_set_new(request, "seq", json_integer(seq));
    if (r == 0)
        r = wire_put(&p->link, request);
    if (r == 0)
        r = send_all(p);
    if (r == 0)
        r = await_reply(p, seq, &reply);
    json_decref(request);
    if (r < 0) {
        *ret_error = text_format("the supervisor does not answer: %s", strerror(-r));
        hear_last_words(p);
        link_close(p);
        return NULL;
    }
    if (json_is_true(json_object_get(reply, "ok")))
        return reply;
    *ret_error = text_format("the supervisor refuses: %s", wire_text(reply, "error"));
    json_decref(reply);
    return NULL;
}

json_t *link_event(struct provider *p, int *ret_r)
{
    json_t *message = json_incref(json_array_get(p->link_events, 0));
    int r;

    *ret_r = 0;
    if (message) {
        json_array_remove(p->link_events, 0);
        return message;
    }
    while (p->link.fd >= 0 && (r = wire_next(&p->link, &message)) == 0) {
        r = wire_fill(&p->link);
        if (r == -EAGAIN)
            return NULL;
        if (r <= 0)
            break;
    }
    if (message && is_event(p, message))
        return message;
    json_decref(message);
    *ret_r = -EPIPE;
    link_close(p);
    return NULL;
}

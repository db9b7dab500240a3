/* Takeover: a successor gets the listening sockets, so that no connection is refused or lost while
 * one process replaces another. Spoken over STATE_DIR/run/takeover.sock, one packet a message:
 *
 *   successor: "take 1"                   (version of this protocol)
 *   older:     "sockets N" + N descriptors, then one line "listen ADDRESS" or "metrics ADDRESS"
 * each successor: "serving"                  once it accepts; the older one drains and ends
 *
 * A successor that dies before "serving" changes nothing.
 */
#include "app/gateway_internal.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { SOCKETS_MAX = 250, PACKET_MAX = 65536, ANSWER_TIMEOUT_MS = 5000 };

struct handover {
    struct gateway *gateway;
    int listen_fd;
    int successor; /* connection, or -1 */
    struct loop_watch *listen_watch, *successor_watch;
};

static int socket_path(const struct gateway *gateway, struct sockaddr_un *ret, struct err *err)
{
    AUTO_FREE char *folder = xasprintf("%.*s/run", STR_ARG(gateway->settings->state_dir));
    int len;

    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return err_set(err, -errno, "%s cannot be made: %s", folder, strerror(errno));
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    len = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/takeover.sock", folder);
    if (len >= (int)sizeof(ret->sun_path))
        return err_set(err, -ENAMETOOLONG, "%s/takeover.sock is longer than a socket path may be",
                       folder);
    return 0;
}

/* ---- The older side ---- */

static void send_sockets(struct handover *handover)
{
    const struct gateway *gateway = handover->gateway;
    size_t count =
        gateway->sockets.count < SOCKETS_MAX ? gateway->sockets.count : (size_t)SOCKETS_MAX;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * SOCKETS_MAX)];
    } control = {.space = {0}};
    struct buf text;
    struct iovec iov;
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space};
    int fds[SOCKETS_MAX];

    buf_init(&text, PACKET_MAX);
    (void)buf_printf(&text, "sockets %zu\n", count);
    for (size_t i = 0; i < count; i++) {
        char address[ADDR_TEXT_MAX];

        addr_format(&gateway->sockets.items[i].addr, address);
        (void)buf_printf(&text, "%s %s\n",
                         gateway->sockets.items[i].is_metrics ? "metrics" : "listen", address);
        fds[i] = gateway->sockets.items[i].fd;
    }
    iov = (struct iovec){text.mem + text.head, buf_len(&text)};
    msg.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
    CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
    CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, sizeof(int) * count);
    if (sendmsg(handover->successor, &msg, MSG_NOSIGNAL) < 0)
        log_warn("app", "the successor did not get the sockets: %s", strerror(errno));
    buf_free(&text);
}

static void drop_successor(struct handover *handover)
{
    if (handover->successor_watch)
        loop_unwatch(handover->successor_watch);
    if (handover->successor >= 0)
        close(handover->successor);
    handover->successor_watch = NULL;
    handover->successor = -1;
}

static void on_successor(void *arg)
{
    struct handover *handover = arg;
    char packet[64];
    ssize_t len = recv(handover->successor, packet, sizeof(packet), MSG_DONTWAIT);

    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len > 0 && str_eq(str_make(packet, (size_t)len), STR("take 1"))) {
        log_info("app", "a successor takes the listening sockets");
        send_sockets(handover);
        return;
    }
    if (len > 0 && str_eq(str_make(packet, (size_t)len), STR("serving"))) {
        log_info("app", "the successor serves");
        gateway_stop(handover->gateway);
    } else if (len > 0) {
        log_warn("app", "a successor speaks another version of the takeover protocol");
    }
    drop_successor(handover);
}

static bool is_same_user(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

static void on_successor_connects(void *arg)
{
    struct handover *handover = arg;
    int fd = accept4(handover->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    if (handover->successor >= 0 || !is_same_user(fd)) {
        close(fd);
        return;
    }
    handover->successor = fd;
    handover->successor_watch = loop_watch(handover->gateway->control, fd, on_successor, handover);
}

struct handover *handover_new(struct gateway *gateway, struct err *err)
{
    struct handover *handover;
    struct sockaddr_un addr;
    int fd;

    if (socket_path(gateway, &addr, err) < 0)
        return NULL;
    unlink(addr.sun_path); /* ours now: an older gateway has handed over or is gone */
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        chmod(addr.sun_path, 0600) < 0 || listen(fd, 4) < 0) {
        err_set(err, -errno, "%s: %s", addr.sun_path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    handover = xcalloc(1, sizeof(*handover));
    handover->gateway = gateway;
    handover->listen_fd = fd;
    handover->successor = -1;
    handover->listen_watch = loop_watch(gateway->control, fd, on_successor_connects, handover);
    return handover;
}

void handover_free(struct handover *handover)
{
    if (!handover)
        return;
    drop_successor(handover);
    loop_unwatch(handover->listen_watch);
    close(handover->listen_fd);
    mem_free(handover);
}

/* ---- The successor's side ---- */

static bool wait_readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    return poll(&poll_fd, 1, ANSWER_TIMEOUT_MS) == 1;
}

/* Line i of the answer belongs to descriptor i. */
static void keep_sockets(struct gateway *gateway, struct str text, const int *fds, size_t count)
{
    struct str line;
    size_t i = 0;

    str_next(&text, '\n', &line); /* "sockets N" */
    while (i < count && str_next(&text, '\n', &line)) {
        ptrdiff_t space = str_find(line, ' ');
        struct listening socket = {.fd = fds[i++]};

        socket.is_metrics = str_starts(line, STR("metrics "));
        if (space < 0 ||
            addr_parse(str_sub(line, (size_t)space + 1, line.len), &socket.addr, NULL) < 0) {
            close(socket.fd);
            continue;
        }
        *VEC_PUSH(&gateway->sockets) = socket;
    }
}

static int receive_sockets(struct gateway *gateway, int fd, struct err *err)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * SOCKETS_MAX)];
    } control;
    AUTO_FREE char *text = xmalloc(PACKET_MAX);
    struct iovec iov = {text, PACKET_MAX};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof(control.space)};
    int fds[SOCKETS_MAX];
    size_t count;
    ssize_t len;

    if (!wait_readable(fd))
        return err_set(err, -ETIMEDOUT, "the running gateway does not answer the takeover");
    len = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    if (len <= 0 || !CMSG_FIRSTHDR(&msg) || CMSG_FIRSTHDR(&msg)->cmsg_type != SCM_RIGHTS)
        return err_set(err, -EPROTO, "the running gateway refuses the takeover");
    count = (CMSG_FIRSTHDR(&msg)->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), count * sizeof(int));
    keep_sockets(gateway, str_make(text, (size_t)len), fds, count);
    return 0;
}

int takeover_begin(struct gateway *gateway, struct err *err)
{
    struct sockaddr_un addr;
    int fd, error = socket_path(gateway, &addr, err);

    if (error)
        return error;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(err, -errno, "socket: %s", strerror(errno));
    gateway->predecessor = fd;
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
        log_info("app", "no gateway to take over from (%s); starting afresh", strerror(errno));
        close(TAKE_FD(gateway->predecessor));
        return 0;
    }
    if (send(fd, "take 1", 6, MSG_NOSIGNAL) < 0)
        return err_set(err, -errno, "the running gateway cannot be asked: %s", strerror(errno));
    return receive_sockets(gateway, fd, err);
}

void takeover_ready(struct gateway *gateway)
{
    if (gateway->predecessor < 0)
        return;
    if (send(gateway->predecessor, "serving", 7, MSG_NOSIGNAL) < 0)
        log_warn("app", "the older gateway was gone before it could be told to end");
    close(TAKE_FD(gateway->predecessor));
}

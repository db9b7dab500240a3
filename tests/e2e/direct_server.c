/* A function that serves HTTP itself, on descriptor 3, as in mode "direct": for tests with load.
 *
 * It echoes what it gets, with VERSION from its environment in the field X-Version. /slow answers
 * after two seconds, /ws is a WebSocket that echoes messages. With TICK_MS it writes numbered lines
 * to its output. SIGTERM ends it when its calls are done; WebSockets are closed with 1001. */
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LISTEN_FD = 3, HEAD_MAX = 64 << 10, BODY_MAX = 16 << 20, STACK = 128 << 10, SLOW_MS = 2000 };
enum { WS_TEXT = 1, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10, WS_MAX = 125 };

static int leaving_fd; /* readable for ever once SIGTERM came */
static unsigned busy;  /* calls and WebSockets that are open */
static pthread_mutex_t busy_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t busy_change = PTHREAD_COND_INITIALIZER;

struct conn {
    int fd;
    char *buf; /* a head and what came behind it */
    size_t len;
};

static void set_busy(int change)
{
    pthread_mutex_lock(&busy_lock);
    busy += (unsigned)change;
    pthread_cond_signal(&busy_change);
    pthread_mutex_unlock(&busy_lock);
}

static bool send_all(int fd, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool receive_all(struct conn *c, char *to, size_t len)
{
    size_t have = c->len < len ? c->len : len;

    memcpy(to, c->buf, have);
    c->len -= have;
    memmove(c->buf, c->buf + have, c->len);
    while (have < len) {
        ssize_t n = recv(c->fd, to + have, len - have, 0);

        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

/* Length of the next head, 0 at the end of the connection. */
static size_t read_head(struct conn *c)
{
    for (;;) {
        const char *end = memmem(c->buf, c->len, "\r\n\r\n", 4);
        ssize_t n;

        if (end)
            return (size_t)(end + 4 - c->buf);
        n = c->len < HEAD_MAX ? recv(c->fd, c->buf + c->len, HEAD_MAX - c->len, 0) : 0;
        if (n <= 0)
            return 0;
        c->len += (size_t)n;
    }
}

/* Copies a field's value out; "" when the head has none. */
static void field(const char *head, const char *name, char *ret, size_t cap)
{
    size_t len = strlen(name);

    *ret = '\0';
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) != 0 || line[len] != ':')
            continue;
        line += len + 1;
        line += strspn(line, " ");
        snprintf(ret, cap, "%.*s", (int)strcspn(line, "\r"), line);
        return;
    }
}

static bool answer(struct conn *c, const char *head)
{
    char length[32], out[512];
    const char *version = getenv("VERSION");
    size_t len;
    char *body;
    bool is_sent;
    int n;

    field(head, "Content-Length", length, sizeof(length));
    len = strtoul(length, NULL, 10);
    body = len <= BODY_MAX ? malloc(len + 1) : NULL;
    if (!body || !receive_all(c, body, len)) {
        free(body);
        return false;
    }
    if (strstr(head, "/slow"))
        poll(NULL, 0, SLOW_MS);
    n = snprintf(out, sizeof(out),
                 "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nX-Version: %s\r\n\r\n", len,
                 version ? version : "0");
    is_sent = send_all(c->fd, out, (size_t)n) && send_all(c->fd, body, len);
    free(body);
    return is_sent;
}

/* ---- WebSocket, RFC 6455: short unfragmented messages only ---- */

static bool accept_websocket(const struct conn *c, const char *head)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char key[64], joined[128], out[256];
    unsigned char digest[EVP_MAX_MD_SIZE], encoded[64];
    unsigned digest_len;
    int n;

    field(head, "Sec-WebSocket-Key", key, sizeof(key));
    n = snprintf(joined, sizeof(joined), "%s%s", key, guid);
    if (!EVP_Digest(joined, (size_t)n, digest, &digest_len, EVP_sha1(), NULL))
        return false;
    EVP_EncodeBlock(encoded, digest, (int)digest_len);
    n = snprintf(out, sizeof(out),
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %s\r\n\r\n",
                 encoded);
    return send_all(c->fd, out, (size_t)n);
}

static bool send_frame(const struct conn *c, unsigned op, const char *data, size_t len)
{
    unsigned char frame[2 + WS_MAX] = {(unsigned char)(0x80 | op), (unsigned char)len};

    memcpy(frame + 2, data, len);
    return send_all(c->fd, frame, len + 2);
}

/* One message: false when the connection is to be closed. Who is closing waits for the other side's
 * close and answers nothing. */
static bool turn_frame(struct conn *c, bool is_closing)
{
    unsigned char head[6];
    char data[WS_MAX];
    size_t len;

    if (!receive_all(c, (char *)head, sizeof(head)))
        return false;
    len = head[1] & 0x7f;
    if (!(head[1] & 0x80) || len > WS_MAX || !receive_all(c, data, len))
        return false;
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(data[i] ^ head[2 + i % 4]);
    if ((head[0] & 0x0f) == WS_CLOSE) {
        if (!is_closing)
            send_frame(c, WS_CLOSE, data, len);
        return false;
    }
    return is_closing || send_frame(c, (head[0] & 0x0f) == WS_PING ? WS_PONG : WS_TEXT, data, len);
}

static void serve_websocket(struct conn *c, const char *head)
{
    struct pollfd fds[] = {{.fd = c->fd, .events = POLLIN}, {.fd = leaving_fd, .events = POLLIN}};

    if (!accept_websocket(c, head))
        return;
    for (;;) {
        if (c->len == 0 && poll(fds, 2, -1) < 0)
            return;
        if (fds[1].revents) {
            send_frame(c, WS_CLOSE, "\x03\xe9", 2);
            while (turn_frame(c, true))
                ;
            return;
        }
        if (!turn_frame(c, false))
            return;
    }
}

static bool serve_one(struct conn *c)
{
    size_t len = read_head(c);
    bool is_open, is_websocket;
    char *head;

    if (len == 0)
        return false;
    set_busy(1);
    head = strndup(c->buf, len);
    c->len -= len;
    memmove(c->buf, c->buf + len, c->len);
    is_websocket = strstr(head, "/ws HTTP/") != NULL;
    if (is_websocket)
        serve_websocket(c, head);
    is_open = !is_websocket && answer(c, head);
    free(head);
    set_busy(-1);
    return is_open;
}

static void *serve(void *arg)
{
    struct conn c = {.fd = (int)(intptr_t)arg, .buf = malloc(HEAD_MAX)};

    while (c.buf && serve_one(&c))
        ;
    close(c.fd);
    free(c.buf);
    return NULL;
}

static void *tick(void *arg)
{
    struct timespec step = {.tv_nsec = (long)(intptr_t)arg * 1000000};

    for (unsigned long n = 1;; n++) {
        printf("tick %lu\n", n);
        fflush(stdout);
        nanosleep(&step, NULL);
    }
    return NULL;
}

static void run_thread(void *(*run)(void *arg), intptr_t arg)
{
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK);
    if (pthread_create(&thread, &attr, run, (void *)arg) != 0)
        abort();
    pthread_attr_destroy(&attr);
}

/* What was accepted is answered before the end. */
static void leave(void)
{
    eventfd_write(leaving_fd, 1);
    pthread_mutex_lock(&busy_lock);
    while (busy > 0)
        pthread_cond_wait(&busy_change, &busy_lock);
    pthread_mutex_unlock(&busy_lock);
    _exit(0);
}

int main(void)
{
    const char *tick_ms = getenv("TICK_MS");
    sigset_t set;
    struct pollfd fds[2];

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    leaving_fd = eventfd(0, EFD_CLOEXEC);
    fds[0] = (struct pollfd){.fd = LISTEN_FD, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = signalfd(-1, &set, SFD_CLOEXEC), .events = POLLIN};
    printf("serving version %s\n", getenv("VERSION") ? getenv("VERSION") : "0");
    fflush(stdout);
    if (tick_ms)
        run_thread(tick, atoi(tick_ms));
    while (poll(fds, 2, -1) > 0) {
        int fd;

        if (fds[1].revents)
            leave();
        fd = fds[0].revents ? accept(LISTEN_FD, NULL, NULL) : -1;
        if (fd >= 0)
            run_thread(serve, fd);
    }
    return 1;
}

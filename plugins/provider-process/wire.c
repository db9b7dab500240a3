/* Frames of JSON over a non-blocking socket. */
#include "wire.h"

#include "util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { HEAD_LEN = 4, READ_MIN = 16384 };

void wire_init(struct wire *wire, int fd)
{
    *wire = (struct wire){.fd = fd};
}

void wire_free(struct wire *wire)
{
    free(wire->in);
    free(wire->out);
    *wire = (struct wire){.fd = -1};
}

static void make_room(char **mem, size_t *cap, size_t need)
{
    if (need <= *cap)
        return;
    *cap = need * 2;
    *mem = resize(*mem, *cap);
}

int wire_put(struct wire *wire, const json_t *message)
{
    size_t len = json_dumpb(message, NULL, 0, JSON_COMPACT);
    unsigned char *head;

    if (len == 0 || len > WIRE_FRAME_MAX)
        return -EMSGSIZE;
    make_room(&wire->out, &wire->out_cap, wire->out_len + HEAD_LEN + len);
    head = (unsigned char *)wire->out + wire->out_len;
    head[0] = (unsigned char)(len >> 24);
    head[1] = (unsigned char)(len >> 16);
    head[2] = (unsigned char)(len >> 8);
    head[3] = (unsigned char)len;
    json_dumpb(message, (char *)head + HEAD_LEN, len, JSON_COMPACT);
    wire->out_len += HEAD_LEN + len;
    return 0;
}

int wire_flush(struct wire *wire)
{
    while (wire->out_len > 0) {
        ssize_t n = send(wire->fd, wire->out, wire->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        wire->out_len -= (size_t)n;
        memmove(wire->out, wire->out + n, wire->out_len);
    }
    return 0;
}

int wire_fill(struct wire *wire)
{
    ssize_t n;

    make_room(&wire->in, &wire->in_cap, wire->in_len + READ_MIN);
    do
        n = recv(wire->fd, wire->in + wire->in_len, wire->in_cap - wire->in_len, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    wire->in_len += (size_t)n;
    return n > 0;
}

int wire_next(struct wire *wire, json_t **ret)
{
    const unsigned char *head = (const unsigned char *)wire->in;
    size_t len;

    if (wire->in_len < HEAD_LEN)
        return 0;
    len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    if (len > WIRE_FRAME_MAX)
        return -EPROTO;
    if (wire->in_len < HEAD_LEN + len)
        return 0;
    *ret = json_loadb(wire->in + HEAD_LEN, len, JSON_REJECT_DUPLICATES, NULL);
    wire->in_len -= HEAD_LEN + len;
    memmove(wire->in, wire->in + HEAD_LEN + len, wire->in_len);
    if (json_is_object(*ret))
        return 1;
    json_decref(*ret);
    *ret = NULL;
    return -EPROTO;
}

const char *wire_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

int64_t wire_int(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* Whole small responses. */
#include "http/stream.h"

#include <errno.h>

int stream_reply(struct stream *s, unsigned status, const struct http_head *head, struct str type,
                 struct str body)
{
    struct http_head reply;
    int err = 0;

    http_head_init(&reply, &s->pool);
    reply.status = status;
    reply.framing = HTTP_BODY_LENGTH;
    reply.length = body.len;
    if (type.len)
        err = http_head_add(&reply, STR("Content-Type"), type);
    for (size_t i = 0; head && i < head->count && !err; i++)
        err = http_head_add(&reply, head->fields[i].name, head->fields[i].value);
    if (head)
        reply.keep_alive = head->keep_alive;
    if (!err)
        err = stream_respond(s, &reply);
    if (err) {
        stream_abort(s);
        return err;
    }
    if (body.len && stream_write(s, body) < 0)
        return -EPIPE;
    stream_finish(s, NULL);
    return 0;
}

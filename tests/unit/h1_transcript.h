/* What a reader makes of some bytes, as one line of text: heads, bodies, trailers, ends, errors.
 * Bodies are joined, so that the transcript does not depend on how the input was cut. */
#ifndef TESTS_H1_TRANSCRIPT_H
#define TESTS_H1_TRANSCRIPT_H

#include "base/buf.h"
#include "http/h1.h"

#include <stdio.h>

struct transcript {
    struct h1_reader *reader;
    struct pool pool;
    struct buf text;
    bool is_request, upgrade_asked;
    bool in_body, is_over;
    enum http_method method;
};

static inline void transcript_init(struct transcript *t, bool is_request, enum http_method method,
                                   bool upgrade_asked, const struct http_limits *limits)
{
    *t = (struct transcript){
        .is_request = is_request, .upgrade_asked = upgrade_asked, .method = method};
    pool_init(&t->pool, 0);
    buf_init(&t->text, 0);
    t->reader = h1_reader_new(is_request, limits);
    h1_reader_begin(t->reader, &t->pool, method, upgrade_asked);
}

static inline void transcript_free(struct transcript *t)
{
    h1_reader_free(t->reader);
    pool_free(&t->pool);
    buf_free(&t->text);
}

static inline void transcript_fields(struct transcript *t, const struct http_head *head)
{
    for (size_t i = 0; i < head->count; i++)
        buf_printf(&t->text, " %.*s=%.*s", STR_ARG(head->fields[i].name),
                   STR_ARG(head->fields[i].value));
}

static inline void transcript_head(struct transcript *t)
{
    static const char *const framings[] = {"none", "length", "chunked", "eof", "tunnel"};
    const struct http_head *head = h1_reader_head(t->reader);

    if (t->is_request)
        buf_printf(&t->text, "[%.*s %.*s %.*s", STR_ARG(head->method_text), STR_ARG(head->target),
                   STR_ARG(head->host));
    else
        buf_printf(&t->text, "[%u %.*s", head->status, STR_ARG(head->reason));
    buf_printf(&t->text, " 1.%u %s%s%s%s", head->minor, framings[head->framing],
               head->keep_alive ? "" : " close", head->expect_continue ? " expect" : "",
               head->upgrade ? " upgrade" : "");
    if (head->framing == HTTP_BODY_LENGTH || head->has_length)
        buf_printf(&t->text, " %llu", (unsigned long long)head->length);
    buf_add_str(&t->text, STR(":"));
    transcript_fields(t, head);
    buf_add_str(&t->text, STR("]"));
}

static inline void transcript_event(struct transcript *t, enum h1_event event, struct str data)
{
    const struct http_head *head = h1_reader_head(t->reader);

    if (t->in_body && event != H1_BODY && event != H1_MORE) {
        buf_add_str(&t->text, STR(")"));
        t->in_body = false;
    }
    switch (event) {
    case H1_MORE:
        break;
    case H1_HEAD:
        transcript_head(t);
        if (head->framing == HTTP_BODY_TUNNEL)
            t->is_over = true;
        else if (!t->is_request && head->status < 200)
            h1_reader_begin(t->reader, &t->pool, t->method, t->upgrade_asked);
        break;
    case H1_BODY:
        if (!t->in_body)
            buf_add_str(&t->text, STR("("));
        t->in_body = true;
        buf_add_str(&t->text, data);
        break;
    case H1_END:
        if (h1_reader_trailers(t->reader)) {
            buf_add_str(&t->text, STR("{"));
            transcript_fields(t, h1_reader_trailers(t->reader));
            buf_add_str(&t->text, STR("}"));
        }
        buf_add_str(&t->text, STR("."));
        h1_reader_begin(t->reader, &t->pool, t->method, t->upgrade_asked);
        break;
    case H1_ERROR:
        buf_printf(&t->text, "!%u", h1_reader_error_status(t->reader));
        t->is_over = true;
        break;
    }
}

/* Feeds one piece of input. The piece is copied, so that a slice kept too long is found. */
static inline void transcript_feed(struct transcript *t, struct str piece)
{
    char *copy = str_dup(piece);
    struct str input = str_make(copy, piece.len), data;
    enum h1_event event = H1_HEAD;

    while (event != H1_MORE && !t->is_over) {
        event = h1_reader_next(t->reader, &input, &data);
        transcript_event(t, event, data);
    }
    memset(copy, 'X', piece.len);
    mem_free(copy);
}

static inline void transcript_eof(struct transcript *t)
{
    enum h1_event event;

    if (t->is_over)
        return;
    event = h1_reader_eof(t->reader);
    transcript_event(t, event, STR_NONE);
}

#endif

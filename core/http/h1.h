/* HTTP/1.1 without I/O: bytes in, events out, and messages back to bytes. llhttp parses behind a
 * scanner that looks at the raw head first; this header names neither. Used by the server, the
 * client, the watchdog, the fuzzers.
 */
#ifndef HTTP_H1_H
#define HTTP_H1_H

#include "base/buf.h"
#include "http/message.h"

enum h1_event {
    H1_MORE,  /* give more input */
    H1_HEAD,  /* reader.head is complete */
    H1_BODY,  /* `*ret_data` holds body bytes, a part of the input */
    H1_END,   /* the message is complete; reader.trailers may hold fields */
    H1_ERROR, /* reader.error_status and error_text say why; the connection must be closed */
};

struct h1_reader;

/* Readers cost about 300 bytes plus, during a head, a buffer and pool memory. */
struct h1_reader *h1_reader_new(bool is_request, const struct http_limits *limits);
void h1_reader_free(struct h1_reader *reader);

/* Begins a message: its head and trailers are allocated in `pool`, which must outlive them. For
 * responses `method` is the request's method; HTTP_OTHER with is_upgrade when an upgrade was asked
 * for allows a 101. Unconsumed input of the former message is simply given again. */
void h1_reader_begin(struct h1_reader *reader, struct pool *pool, enum http_method method,
                     bool upgrade_asked);

/* Consumes from the front of *input and returns the next event. Call until H1_MORE: then all of the
 * input has been consumed. After H1_END it consumes nothing until h1_reader_begin. After H1_HEAD of
 * a 1xx response (not 101) call h1_reader_begin for the next head. After H1_HEAD with framing
 * HTTP_BODY_TUNNEL, the rest of the input belongs to the tunnel. */
enum h1_event h1_reader_next(struct h1_reader *reader, struct str *input, struct str *ret_data);
/* The peer has closed: H1_END when that completes the message (framing EOF), H1_MORE when no byte
 * of a message had come (a clean end), else H1_ERROR: truncated. */
enum h1_event h1_reader_eof(struct h1_reader *reader);

const struct http_head *h1_reader_head(const struct h1_reader *reader);
/* NULL when the message had no trailer section. */
const struct http_head *h1_reader_trailers(const struct h1_reader *reader);
/* Request errors: the status to answer (400, 413, 414, 417, 431, 501, 503, 505). Response errors:
 * 502. */
unsigned h1_reader_error_status(const struct h1_reader *reader);
const char *h1_reader_error(const struct h1_reader *reader);
/* True between the first byte of a message and its end. */
bool h1_reader_is_inside(const struct h1_reader *reader);

/* Serialising. Flags and framing decide Content-Length, Transfer-Encoding, Connection, Upgrade,
 * Expect (and head->host, when set, Host); fields of these names in the head are not written.
 *   framing   LENGTH: Content-Length. CHUNKED: Transfer-Encoding. EOF: Connection: close.
 *             NONE: neither in a request; in a response Content-Length when has_length, else
 *             `Content-Length: 0` unless the response is bodiless by its status or method.
 *   upgrade   (and framing TUNNEL): Connection: Upgrade, Upgrade: websocket.
 *   !keep_alive: Connection: close. keep_alive with minor 0: Connection: keep-alive.
 * The version on the wire is always HTTP/1.1; an empty head->reason is filled in. Names, values and
 * start-line parts must be valid (they are, when they were parsed): -EBADMSG otherwise, and nothing
 * is written. 0, -EBADMSG, or the error of buf_add. */
int h1_write_request(struct buf *out, const struct http_head *head);
int h1_write_response(struct buf *out, const struct http_head *head);
/* The line in front of a chunk of `len` bytes, len > 0; behind the bytes goes CRLF. */
enum { H1_CHUNK_LINE_MAX = 20 };
size_t h1_chunk_line(char line[H1_CHUNK_LINE_MAX], size_t len);
/* Last chunk and trailers (may be NULL). Fields that frame, route or authenticate a message, or
 * that belong to one hop, are not written: no recipient may take them from a trailer section. */
int h1_write_last_chunk(struct buf *out, const struct http_head *trailers);

/* "llhttp 8.1.0" */
const char *h1_parser_version(void);

/* True when every byte may stand in a field name (token) / in a field value. */
bool http_is_token(struct str s);
bool http_is_field_value(struct str s);

#endif

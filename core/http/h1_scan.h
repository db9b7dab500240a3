/* Scanner of raw heads and trailer sections: finds the end and refuses what parsers are known to
 * disagree about, before any parser sees it. Bytes may come in any pieces: the result is the same,
 * as each byte is judged on its own. */
#ifndef HTTP_H1_SCAN_H
#define HTTP_H1_SCAN_H

#include "http/message.h"

enum h1_scan_kind { H1_SCAN_REQUEST, H1_SCAN_RESPONSE, H1_SCAN_TRAILERS };
enum h1_scan_result { H1_SCAN_MORE, H1_SCAN_DONE, H1_SCAN_ERROR };

struct h1_scan {
    const struct http_limits *limits;
    enum h1_scan_kind kind;
    unsigned state;
    size_t skip;   /* bytes of an empty line in front of a request */
    size_t total;  /* bytes seen */
    size_t line;   /* bytes of the current line */
    size_t fields; /* lines after the start line */
    unsigned status;
    const char *error;
};

void h1_scan_init(struct h1_scan *scan, enum h1_scan_kind kind, const struct http_limits *limits);
/* *ret_used tells how many bytes of `input` belong to the head. On error, status and error say
 * why. */
enum h1_scan_result h1_scan(struct h1_scan *scan, struct str input, size_t *ret_used);
/* True once a byte of the message itself was seen. */
static inline bool h1_scan_has_begun(const struct h1_scan *scan)
{
    return scan->total > scan->skip;
}

/* The next field of a scanned section: cuts a line off *rest. False at the empty line. */
bool h1_scan_next_field(struct str *rest, struct str *ret_name, struct str *ret_value);

#endif

/* The rules for heads that come after parsing: start lines, Host, codings, lengths, connection
 * options; and the framing that follows from them (RFC 9112 section 6.3). */
#ifndef HTTP_H1_RULES_H
#define HTTP_H1_RULES_H

#include "http/message.h"

/* Splits the request line (without CRLF) into method, target and version. 0, or the status to
 * answer with *ret_error set. */
unsigned h1_rules_request_line(struct http_head *head, struct str line, const char **ret_error);
unsigned h1_rules_status_line(struct http_head *head, struct str line, const char **ret_error);
/* After the fields are there: checks and fills in host, target, framing, length, keep_alive,
 * expect_continue, upgrade. */
unsigned h1_rules_request(struct http_head *head, const struct http_limits *limits,
                          const char **ret_error);
/* For responses head->method is the request's. */
unsigned h1_rules_response(struct http_head *head, const struct http_limits *limits,
                           bool upgrade_asked, const char **ret_error);

#endif

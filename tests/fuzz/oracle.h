/* What must hold for any bytes: the outcome does not depend on how the input is cut, and a head
 * that was read and written again reads as the same message. A violation aborts with both sides
 * shown. */
#ifndef TESTS_FUZZ_ORACLE_H
#define TESTS_FUZZ_ORACLE_H

#include "http/h1.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct reading {
    bool is_request;
    enum http_method method; /* responses: of the request */
    bool upgrade_asked;
};

/* Reads whole, octet by octet, and in pieces of sizes that derive from the content. */
void check_cuts(const struct reading *reading, struct str input);
/* Writes and reads again every head in `input`. */
void check_rewrite(const struct reading *reading, struct str input);
void oracle_fail(const char *what, struct str a, struct str b) __attribute__((noreturn));

/* reference.c: llhttp alone, over a whole request with a chunked body. True when it takes the
 * message; the body is appended to `body`, *ret_used tells where the message ends. */
struct buf;
bool reference_request(struct str input, struct buf *body, size_t *ret_used);

#endif

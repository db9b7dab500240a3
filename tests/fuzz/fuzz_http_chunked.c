/* Any bytes as a chunked body: what we take, llhttp takes too, with the same content and the same
 * end; and encoded again it reads the same. */
#include "oracle.h"

#include "base/buf.h"

#include <stdlib.h>

#define HEAD "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

/* True when the body is complete; its content goes to `body`, *ret_used tells its length. */
static bool decode(struct str input, struct buf *body, size_t *ret_used)
{
    struct h1_reader *reader = h1_reader_new(true, &http_limits_default);
    struct str rest = input, data;
    enum h1_event event;
    struct pool pool;

    pool_init(&pool, 0);
    h1_reader_begin(reader, &pool, HTTP_OTHER, false);
    do {
        event = h1_reader_next(reader, &rest, &data);
        if (event == H1_BODY)
            buf_add_str(body, data);
    } while (event == H1_HEAD || event == H1_BODY);
    *ret_used = input.len - rest.len;
    h1_reader_free(reader);
    pool_free(&pool);
    return event == H1_END;
}

static void check_reference(struct str input, const struct buf *body, size_t used)
{
    struct buf other;
    size_t other_used = 0;

    buf_init(&other, 0);
    if (!reference_request(input, &other, &other_used)) {
        buf_free(&other);
        if (str_find(str_sub(input, 0, used), ';') >= 0)
            return; /* llhttp 8.1 refuses some valid extensions (two with values, quoted ';') */
        oracle_fail("llhttp refuses this body", input, STR_NONE);
    }
    if (!str_eq(buf_str(body), buf_str(&other)))
        oracle_fail("llhttp reads another content", buf_str(body), buf_str(&other));
    if (used != other_used)
        oracle_fail("llhttp sees another end", str_sub(input, 0, used),
                    str_sub(input, 0, other_used));
    buf_free(&other);
}

static void check_again(const struct buf *body)
{
    char line[H1_CHUNK_LINE_MAX];
    struct buf encoded, decoded;
    size_t used;

    buf_init(&encoded, 0);
    buf_init(&decoded, 0);
    buf_add_str(&encoded, STR(HEAD));
    for (size_t at = 0, step = 1; at < buf_len(body); at += step, step *= 3) {
        struct str piece = str_sub(buf_str(body), at, step);

        buf_add(&encoded, line, h1_chunk_line(line, piece.len));
        buf_add_str(&encoded, piece);
        buf_add_str(&encoded, STR("\r\n"));
    }
    h1_write_last_chunk(&encoded, NULL);
    if (!decode(buf_str(&encoded), &decoded, &used) || used != buf_len(&encoded) ||
        !str_eq(buf_str(body), buf_str(&decoded)))
        oracle_fail("encoded again it is another body", buf_str(body), buf_str(&decoded));
    buf_free(&encoded);
    buf_free(&decoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct reading reading = {.is_request = true};
    struct buf input, body;
    size_t used;

    buf_init(&input, 0);
    buf_init(&body, 0);
    buf_add_str(&input, STR(HEAD));
    buf_add(&input, bytes, len);
    check_cuts(&reading, buf_str(&input));
    if (decode(buf_str(&input), &body, &used)) {
        check_reference(buf_str(&input), &body, used);
        check_again(&body);
    }
    buf_free(&input);
    buf_free(&body);
    return 0;
}

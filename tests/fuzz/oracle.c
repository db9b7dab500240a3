/* The oracles shared by the targets. */
#include "oracle.h"

#include "unit/h1_transcript.h"

#include <stdlib.h>

enum { OCTETWISE_MAX = 2048, FIELDS_MARGIN = 4 };

void oracle_fail(const char *what, struct str a, struct str b)
{
    fprintf(stderr, "%s\n--- %.*s\n--- %.*s\n", what, STR_ARG(a), STR_ARG(b));
    abort();
}

/* A piece size for position `at`, from a small generator over the content's hash. */
static size_t piece_size(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return 1 + (*seed >> 24) % 37;
}

static uint32_t content_seed(struct str input)
{
    uint32_t seed = 2166136261u;

    for (size_t i = 0; i < input.len; i++)
        seed = (seed ^ (unsigned char)input.ptr[i]) * 16777619u;
    return seed;
}

enum cut { WHOLE, OCTETS, PIECES };

static char *read_all(const struct reading *reading, struct str input, enum cut cut,
                      size_t *ret_len)
{
    uint32_t seed = content_seed(input);
    struct transcript t;
    size_t step;
    char *text;

    transcript_init(&t, reading->is_request, reading->method, reading->upgrade_asked,
                    &http_limits_default);
    for (size_t at = 0; at < input.len; at += step) {
        step = cut == WHOLE ? input.len : cut == OCTETS ? 1 : piece_size(&seed);
        transcript_feed(&t, str_sub(input, at, step));
    }
    transcript_eof(&t);
    text = buf_take(&t.text, ret_len);
    transcript_free(&t);
    return text;
}

void check_cuts(const struct reading *reading, struct str input)
{
    size_t whole_len, other_len;
    char *whole = read_all(reading, input, WHOLE, &whole_len), *other;

    for (enum cut cut = OCTETS; cut <= PIECES; cut++) {
        if (cut == OCTETS && input.len > OCTETWISE_MAX)
            continue;
        other = read_all(reading, input, cut, &other_len);
        if (!str_eq(str_make(whole, whole_len), str_make(other, other_len)))
            oracle_fail("the outcome depends on how the input is cut", str_make(whole, whole_len),
                        str_make(other, other_len));
        free(other);
    }
    free(whole);
}

/* ---- Writing and reading again ---- */

static bool is_rewritten(struct str name)
{
    return str_ieq(name, STR("Host")) || str_ieq(name, STR("Connection")) ||
           str_ieq(name, STR("Upgrade")) || str_ieq(name, STR("Expect")) ||
           str_ieq(name, STR("Content-Length")) || str_ieq(name, STR("Transfer-Encoding"));
}

/* Everything of a head that must survive, as text. */
static void describe(struct buf *out, const struct http_head *head, bool is_request)
{
    if (is_request)
        buf_printf(out, "%.*s %.*s %.*s %d", STR_ARG(head->method_text), STR_ARG(head->target),
                   STR_ARG(head->host), head->expect_continue);
    else
        buf_printf(out, "%u %d", head->status, head->has_length);
    buf_printf(out, " %d %llu %d %d\n", head->framing,
               head->framing == HTTP_BODY_LENGTH || head->has_length
                   ? (unsigned long long)head->length
                   : 0ull,
               head->upgrade, is_request || head->status >= 200 ? head->keep_alive : 0);
    for (size_t i = 0; i < head->count; i++)
        if (!is_rewritten(head->fields[i].name))
            buf_printf(out, "%.*s: %.*s\n", STR_ARG(head->fields[i].name),
                       STR_ARG(head->fields[i].value));
}

static void check_rewritten_head(const struct reading *reading, const struct http_head *head)
{
    struct buf bytes, before, after;
    struct h1_reader *reader = h1_reader_new(reading->is_request, &http_limits_default);
    struct str input, data;
    struct pool pool;
    int err;

    pool_init(&pool, 0);
    buf_init(&bytes, 0);
    buf_init(&before, 0);
    buf_init(&after, 0);
    err = reading->is_request ? h1_write_request(&bytes, head) : h1_write_response(&bytes, head);
    if (err)
        oracle_fail("a head that was read cannot be written", STR_NONE, STR_NONE);
    h1_reader_begin(reader, &pool, reading->method, reading->upgrade_asked);
    input = buf_str(&bytes);
    if (h1_reader_next(reader, &input, &data) != H1_HEAD || input.len > 0)
        oracle_fail(h1_reader_error(reader), buf_str(&bytes), STR_NONE);
    describe(&before, head, reading->is_request);
    describe(&after, h1_reader_head(reader), reading->is_request);
    if (!str_eq(buf_str(&before), buf_str(&after)))
        oracle_fail("written and read again it is another message", buf_str(&before),
                    buf_str(&after));
    h1_reader_free(reader);
    pool_free(&pool);
    buf_free(&bytes);
    buf_free(&before);
    buf_free(&after);
}

/* A request without host cannot be written as HTTP/1.1, and our own fields may pass the limit. */
static bool can_rewrite(const struct reading *reading, const struct http_head *head)
{
    return head->count + FIELDS_MARGIN < http_limits_default.fields_max &&
           (!reading->is_request || head->host.len > 0);
}

void check_rewrite(const struct reading *reading, struct str input)
{
    struct h1_reader *reader = h1_reader_new(reading->is_request, &http_limits_default);
    const struct http_head *head;
    enum h1_event event;
    struct pool pool;
    struct str data;

    pool_init(&pool, 0);
    h1_reader_begin(reader, &pool, reading->method, reading->upgrade_asked);
    while ((event = h1_reader_next(reader, &input, &data)) != H1_MORE && event != H1_ERROR) {
        head = h1_reader_head(reader);
        if (event == H1_HEAD && can_rewrite(reading, head))
            check_rewritten_head(reading, head);
        if (event == H1_END || (event == H1_HEAD && !reading->is_request && head->status < 200 &&
                                head->framing != HTTP_BODY_TUNNEL))
            h1_reader_begin(reader, &pool, reading->method, reading->upgrade_asked);
    }
    h1_reader_free(reader);
    pool_free(&pool);
}

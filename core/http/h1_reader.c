/* The reader: gathers a head (in place when it arrives whole), has it scanned, parsed and judged,
 * then hands the body out piece by piece as slices of the input. */
#include "http/h1.h"

#include "base/assert.h"
#include "http/chars.h"
#include "http/h1_llhttp.h"
#include "http/h1_rules.h"
#include "http/h1_scan.h"

#include <errno.h>

enum reader_state {
    READER_RESTING, /* before h1_reader_begin */
    READER_HEAD,
    READER_LENGTH, /* `left` bytes of body */
    READER_EOF,    /* a body until the connection ends */
    CHUNK_SIZE_FIRST,
    CHUNK_SIZE,
    CHUNK_EXT_FIRST,
    CHUNK_EXT,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILERS,
    READER_TUNNEL,
    READER_ENDED,
    READER_FAILED
};

enum {
    CHUNK_DIGITS_MAX = 15, /* so that a size never overflows */
    CHUNK_EXTS_MAX = 64,   /* extension bytes of a body, in multiples of chunk_ext_max */
    FIELDS_SPARE = 4       /* room for fields that the user adds */
};

struct h1_reader {
    enum reader_state state;
    bool is_request;
    bool upgrade_asked;
    enum http_method method;
    struct http_limits limits;
    struct pool *pool;
    struct http_head *head;
    struct http_head *trailers;
    struct buf partial; /* a head or trailer section of which more is to come */
    struct h1_scan scan;
    uint64_t left;      /* of the body or chunk */
    uint64_t body_seen; /* bytes of chunked or EOF-framed body */
    size_t digits, ext, ext_total;
    unsigned error_status;
    const char *error;
};

struct h1_reader *h1_reader_new(bool is_request, const struct http_limits *limits)
{
    struct h1_reader *reader = mem_zalloc(sizeof(*reader));

    if (!reader)
        return NULL;
    reader->is_request = is_request;
    reader->limits = *limits;
    buf_init(&reader->partial, 0); /* the scanner bounds it */
    return reader;
}

void h1_reader_free(struct h1_reader *reader)
{
    if (!reader)
        return;
    buf_free(&reader->partial);
    mem_free(reader);
}

void h1_reader_begin(struct h1_reader *reader, struct pool *pool, enum http_method method,
                     bool upgrade_asked)
{
    ASSERT(reader->state != READER_FAILED);
    reader->state = READER_HEAD;
    reader->pool = pool;
    reader->method = method;
    reader->upgrade_asked = upgrade_asked;
    reader->head = reader->trailers = NULL;
    reader->left = reader->body_seen = 0;
    reader->digits = reader->ext = reader->ext_total = 0;
    buf_free(&reader->partial);
    h1_scan_init(&reader->scan, reader->is_request ? H1_SCAN_REQUEST : H1_SCAN_RESPONSE,
                 &reader->limits);
}

static enum h1_event reader_fail(struct h1_reader *reader, unsigned status, const char *text)
{
    reader->state = READER_FAILED;
    reader->error_status = reader->is_request ? status : 502;
    reader->error = text;
    return H1_ERROR;
}

static struct str input_take(struct str *input, size_t len)
{
    struct str taken = str_make(input->ptr, len);

    *input = str_sub(*input, len, input->len);
    return taken;
}

/* ---- Heads and trailer sections ---- */

/* Scans input. When the section is complete, *ret_section is a copy of it in the pool: H1_HEAD;
 * else H1_MORE with the bytes kept, or H1_ERROR. */
static enum h1_event reader_gather(struct h1_reader *reader, struct str *input,
                                   struct str *ret_section)
{
    size_t used, before = buf_len(&reader->partial);
    enum h1_scan_result result = h1_scan(&reader->scan, *input, &used);
    struct str piece = input_take(input, used);
    char *copy;

    if (result == H1_SCAN_ERROR)
        return reader_fail(reader, reader->scan.status, reader->scan.error);
    if (result == H1_SCAN_MORE) {
        if (buf_add(&reader->partial, piece.ptr, piece.len) < 0)
            return reader_fail(reader, 503, "out of memory");
        return H1_MORE;
    }
    copy = pool_alloc(reader->pool, before + piece.len);
    if (!copy)
        return reader_fail(reader, 503, "out of memory");
    if (before)
        memcpy(copy, buf_str(&reader->partial).ptr, before);
    memcpy(copy + before, piece.ptr, piece.len);
    buf_free(&reader->partial);
    *ret_section = str_sub(str_make(copy, before + piece.len), reader->scan.skip, SIZE_MAX);
    return H1_HEAD;
}

static struct http_head *reader_new_head(struct h1_reader *reader)
{
    struct http_head *head = pool_alloc(reader->pool, sizeof(*head));

    if (!head)
        return NULL;
    http_head_init(head, reader->pool);
    return http_head_reserve(head, reader->scan.fields + FIELDS_SPARE) < 0 ? NULL : head;
}

static int head_add_parsed(void *arg, struct str name, struct str value)
{
    return http_head_add(arg, name, value);
}

/* llhttp must have understood the start line as we did. */
static bool start_agrees(const struct http_head *head, const struct h1_start *start,
                         bool is_request)
{
    if (start->major != 1 || start->minor != head->minor)
        return false;
    return is_request ? str_eq(start->target, head->target) : start->status == head->status;
}

static enum h1_event reader_parse_fields(struct h1_reader *reader, struct str section)
{
    const char *error = NULL;
    struct h1_start start;
    int err =
        h1_llhttp_head(reader->is_request, section, head_add_parsed, reader->head, &start, &error);

    if (err == -ENOMEM)
        return reader_fail(reader, 503, "out of memory");
    if (err == -EOPNOTSUPP)
        return reader_fail(reader, 501, "the method is not known here");
    if (err)
        return reader_fail(reader, 400, error);
    if (reader->head->count != reader->scan.fields ||
        !start_agrees(reader->head, &start, reader->is_request))
        return reader_fail(reader, 400, "the head can be read in two ways");
    return H1_HEAD;
}

static void reader_expect_body(struct h1_reader *reader)
{
    switch (reader->head->framing) {
    case HTTP_BODY_NONE:
        reader->state = READER_LENGTH;
        break;
    case HTTP_BODY_LENGTH:
        reader->state = READER_LENGTH;
        reader->left = reader->head->length;
        break;
    case HTTP_BODY_CHUNKED:
        reader->state = CHUNK_SIZE_FIRST;
        break;
    case HTTP_BODY_EOF:
        reader->state = READER_EOF;
        break;
    case HTTP_BODY_TUNNEL:
        reader->state = READER_TUNNEL;
        break;
    }
}

static enum h1_event reader_head(struct h1_reader *reader, struct str *input)
{
    struct http_head *head;
    struct str section, line;
    const char *error = NULL;
    unsigned status;
    enum h1_event event = reader_gather(reader, input, &section);

    if (event != H1_HEAD)
        return event;
    reader->head = head = reader_new_head(reader);
    if (!head)
        return reader_fail(reader, 503, "out of memory");
    line = str_sub(section, 0, (size_t)str_find(section, '\r'));
    status = reader->is_request ? h1_rules_request_line(head, line, &error)
                                : h1_rules_status_line(head, line, &error);
    if (status)
        return reader_fail(reader, status, error);
    event = reader_parse_fields(reader, section);
    if (event != H1_HEAD)
        return event;
    if (!reader->is_request)
        head->method = reader->method;
    status = reader->is_request
                 ? h1_rules_request(head, &reader->limits, &error)
                 : h1_rules_response(head, &reader->limits, reader->upgrade_asked, &error);
    if (status)
        return reader_fail(reader, status, error);
    reader_expect_body(reader);
    return H1_HEAD;
}

static enum h1_event reader_trailers(struct h1_reader *reader, struct str *input)
{
    struct str section, name, value;
    enum h1_event event = reader_gather(reader, input, &section);

    if (event != H1_HEAD)
        return event;
    reader->state = READER_ENDED;
    if (reader->scan.fields == 0)
        return H1_END;
    reader->trailers = reader_new_head(reader);
    if (!reader->trailers)
        return reader_fail(reader, 503, "out of memory");
    while (h1_scan_next_field(&section, &name, &value))
        if (http_head_add(reader->trailers, name, value) < 0)
            return reader_fail(reader, 503, "out of memory");
    return H1_END;
}

/* ---- Bodies ---- */

static enum h1_event reader_body(struct h1_reader *reader, struct str *input, struct str *ret_data)
{
    size_t len = reader->left < input->len ? (size_t)reader->left : input->len;

    if (len == 0)
        return H1_MORE;
    *ret_data = input_take(input, len);
    reader->left -= len;
    return H1_BODY;
}

static enum h1_event reader_body_until_eof(struct h1_reader *reader, struct str *input,
                                           struct str *ret_data)
{
    if (input->len == 0)
        return H1_MORE;
    reader->body_seen += input->len;
    if (reader->limits.body_max && reader->body_seen > reader->limits.body_max)
        return reader_fail(reader, 502, "the body is longer than allowed");
    *ret_data = input_take(input, input->len);
    return H1_BODY;
}

static void chunk_line_end(struct h1_reader *reader)
{
    uint64_t max = reader->limits.body_max;

    reader->digits = reader->ext = 0;
    if (reader->left == 0) {
        h1_scan_init(&reader->scan, H1_SCAN_TRAILERS, &reader->limits);
        reader->state = CHUNK_TRAILERS;
        return;
    }
    reader->state = CHUNK_DATA;
    /* A size has at most 60 bits; the sum stops growing at the limit or the first overflow. */
    if (reader->left > INT64_MAX - reader->body_seen)
        reader_fail(reader, 413, "the body is longer than can be counted");
    else if (max && reader->body_seen + reader->left > max)
        reader_fail(reader, 413, "the body is longer than allowed");
    else
        reader->body_seen += reader->left;
}

static void chunk_size_byte(struct h1_reader *reader, char c)
{
    if (char_is(c, CHAR_HEX)) {
        reader->left = reader->left * 16 + char_hex(c);
        reader->state = CHUNK_SIZE;
        if (++reader->digits > CHUNK_DIGITS_MAX)
            reader_fail(reader, 400, "a chunk size has too many digits");
    } else if (reader->state == CHUNK_SIZE_FIRST) {
        reader_fail(reader, 400, "a chunk does not begin with a hexadecimal size");
    } else if (c == '\r') {
        reader->state = CHUNK_SIZE_LF;
    } else if (c == ';') {
        reader->state = CHUNK_EXT_FIRST;
    } else {
        reader_fail(reader, 400, "a chunk size is followed by something else than CRLF or ';'");
    }
}

static void chunk_ext_byte(struct h1_reader *reader, char c)
{
    if (c == '\r' && reader->state == CHUNK_EXT) {
        reader->state = CHUNK_SIZE_LF;
        return;
    }
    if (!char_is(c, CHAR_VALUE))
        reader_fail(reader, 400, "a chunk extension holds a control character");
    else if (reader->state == CHUNK_EXT_FIRST && !char_is(c, CHAR_TOKEN))
        reader_fail(reader, 400, "a chunk extension has no name");
    else if (++reader->ext > reader->limits.chunk_ext_max ||
             ++reader->ext_total > CHUNK_EXTS_MAX * reader->limits.chunk_ext_max)
        reader_fail(reader, 413, "the chunk extensions are too long");
    else
        reader->state = CHUNK_EXT;
}

/* One byte of what stands between the data of chunks. */
static void chunk_byte(struct h1_reader *reader, char c)
{
    switch (reader->state) {
    case CHUNK_SIZE_FIRST:
    case CHUNK_SIZE:
        chunk_size_byte(reader, c);
        break;
    case CHUNK_EXT_FIRST:
    case CHUNK_EXT:
        chunk_ext_byte(reader, c);
        break;
    case CHUNK_SIZE_LF:
        if (c == '\n')
            chunk_line_end(reader);
        else
            reader_fail(reader, 400, "a chunk line has CR without LF");
        break;
    case CHUNK_DATA_CR:
        reader->state = CHUNK_DATA_LF;
        if (c != '\r')
            reader_fail(reader, 400, "a chunk is longer than its size");
        break;
    default:
        reader->state = CHUNK_SIZE_FIRST;
        if (c != '\n')
            reader_fail(reader, 400, "a chunk ends with CR without LF");
        break;
    }
}

static enum h1_event reader_chunked(struct h1_reader *reader, struct str *input,
                                    struct str *ret_data)
{
    while (input->len > 0 || reader->state == READER_FAILED) {
        if (reader->state == READER_FAILED)
            return H1_ERROR;
        if (reader->state == CHUNK_TRAILERS)
            return reader_trailers(reader, input);
        if (reader->state != CHUNK_DATA) {
            chunk_byte(reader, input_take(input, 1).ptr[0]);
            continue;
        }
        if (reader->left > 0)
            return reader_body(reader, input, ret_data);
        reader->state = CHUNK_DATA_CR;
    }
    return H1_MORE;
}

enum h1_event h1_reader_next(struct h1_reader *reader, struct str *input, struct str *ret_data)
{
    ASSERT(reader->state != READER_RESTING);
    *ret_data = STR_NONE;
    switch (reader->state) {
    case READER_HEAD:
        return input->len ? reader_head(reader, input) : H1_MORE;
    case READER_LENGTH:
        if (reader->left > 0)
            return reader_body(reader, input, ret_data);
        reader->state = READER_ENDED;
        return H1_END;
    case READER_EOF:
        return reader_body_until_eof(reader, input, ret_data);
    case READER_TUNNEL:
        return H1_MORE;
    case READER_ENDED:
        return H1_END;
    case READER_FAILED:
        return H1_ERROR;
    default:
        return reader_chunked(reader, input, ret_data);
    }
}

enum h1_event h1_reader_eof(struct h1_reader *reader)
{
    switch (reader->state) {
    case READER_RESTING:
    case READER_ENDED:
    case READER_TUNNEL:
        return H1_MORE;
    case READER_HEAD:
        if (!h1_scan_has_begun(&reader->scan))
            return H1_MORE;
        return reader_fail(reader, 400, "the connection ended inside the head");
    case READER_LENGTH:
        if (reader->left > 0)
            break;
        reader->state = READER_ENDED;
        return H1_END;
    case READER_EOF:
        reader->state = READER_ENDED;
        return H1_END;
    case READER_FAILED:
        return H1_ERROR;
    default:
        break;
    }
    return reader_fail(reader, 400, "the connection ended inside the body");
}

const struct http_head *h1_reader_head(const struct h1_reader *reader)
{
    return reader->head;
}

const struct http_head *h1_reader_trailers(const struct h1_reader *reader)
{
    return reader->trailers;
}

unsigned h1_reader_error_status(const struct h1_reader *reader)
{
    return reader->error_status;
}

const char *h1_reader_error(const struct h1_reader *reader)
{
    return reader->error ? reader->error : "";
}

bool h1_reader_is_inside(const struct h1_reader *reader)
{
    if (reader->state == READER_HEAD)
        return h1_scan_has_begun(&reader->scan);
    return reader->state != READER_RESTING && reader->state != READER_ENDED;
}

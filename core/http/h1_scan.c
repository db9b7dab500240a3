/* The scanner: a state machine with a fast way over the plain text of a line. */
#include "http/h1_scan.h"

#include "http/chars.h"

enum scan_state {
    AT_START,  /* before the start line */
    SKIP_LF,   /* CR of an empty line before a request came */
    IN_LINE,   /* in the start line */
    LINE_LF,   /* CR came */
    AT_FIELD,  /* first byte of a field line, or the end */
    IN_NAME,   /* before the colon */
    IN_VALUE,  /* after it */
    FIELD_LF,  /* CR came */
    END_LF,    /* CR of the empty line came */
    SCAN_ENDED /* nothing more is wanted */
};

void h1_scan_init(struct h1_scan *scan, enum h1_scan_kind kind, const struct http_limits *limits)
{
    *scan = (struct h1_scan){.limits = limits, .kind = kind};
    scan->state = kind == H1_SCAN_TRAILERS ? AT_FIELD : AT_START;
}

static void scan_fail(struct h1_scan *scan, unsigned status, const char *error)
{
    if (scan->status)
        return;
    scan->status = status;
    scan->error = error;
}

static void scan_control(struct h1_scan *scan, char c)
{
    scan_fail(scan, 400,
              c == '\n'   ? "a line ends with LF without CR"
              : c == '\0' ? "NUL byte in the head"
                          : "control character in the head");
}

static void scan_expect_lf(struct h1_scan *scan, char c, enum scan_state next)
{
    if (c != '\n')
        scan_fail(scan, 400, "CR without LF");
    scan->state = next;
    scan->line = 0;
}

static void scan_count(struct h1_scan *scan)
{
    bool is_first = scan->state == IN_LINE;

    scan->line++;
    if (is_first && scan->line > scan->limits->line_max)
        scan_fail(scan, 414, "the start line is too long");
    if (!is_first && scan->line > scan->limits->field_max)
        scan_fail(scan, 431, "a field line is too long");
}

static size_t scan_total_max(const struct h1_scan *scan)
{
    return scan->kind == H1_SCAN_TRAILERS ? scan->limits->trailers_max : scan->limits->head_max;
}

static void scan_start(struct h1_scan *scan, char c)
{
    if (c == '\r' && scan->kind == H1_SCAN_REQUEST && scan->skip == 0) {
        scan->skip = 1;
        scan->state = SKIP_LF;
        return;
    }
    if (!char_is(c, CHAR_VALUE) && c != '\r')
        scan_control(scan, c);
    else if (!char_is(c, CHAR_TOKEN))
        scan_fail(scan, 400, "the start line begins with a character that it may not begin with");
    scan->state = IN_LINE;
    scan_count(scan);
}

static void scan_skipped_lf(struct h1_scan *scan, char c)
{
    scan_expect_lf(scan, c, AT_START);
    scan->skip = 2; /* one empty line, no more: RFC 9112 section 2.2 */
}

static void scan_text(struct h1_scan *scan, char c, enum scan_state after_cr)
{
    if (c == '\r') {
        scan->state = after_cr;
        return;
    }
    if (!char_is(c, CHAR_VALUE))
        scan_control(scan, c);
    scan_count(scan);
}

static void scan_field_start(struct h1_scan *scan, char c)
{
    if (c == '\r') {
        scan->state = END_LF;
        return;
    }
    if (c == ' ' || c == '\t')
        scan_fail(scan, 400, "a field line begins with white space (line folding)");
    else if (c == ':')
        scan_fail(scan, 400, "a field without a name");
    else if (c == '\n')
        scan_control(scan, c);
    else if (!char_is(c, CHAR_TOKEN))
        scan_fail(scan, 400, "a field name holds a character that is not allowed");
    scan->state = IN_NAME;
    if (++scan->fields > scan->limits->fields_max)
        scan_fail(scan, 431, "too many fields");
    scan_count(scan);
}

static void scan_name(struct h1_scan *scan, char c)
{
    if (c == ':')
        scan->state = IN_VALUE;
    else if (c == ' ' || c == '\t')
        scan_fail(scan, 400, "white space between field name and colon");
    else if (c == '\r' || c == '\n')
        scan_fail(scan, 400, "a field line without a colon");
    else if (!char_is(c, CHAR_TOKEN))
        scan_fail(scan, 400, "a field name holds a character that is not allowed");
    scan_count(scan);
}

static void scan_byte(struct h1_scan *scan, char c)
{
    scan->total++;
    switch ((enum scan_state)scan->state) {
    case AT_START:
        scan_start(scan, c);
        break;
    case SKIP_LF:
        scan_skipped_lf(scan, c);
        break;
    case IN_LINE:
        scan_text(scan, c, LINE_LF);
        break;
    case LINE_LF:
        scan_expect_lf(scan, c, AT_FIELD);
        break;
    case AT_FIELD:
        scan_field_start(scan, c);
        break;
    case IN_NAME:
        scan_name(scan, c);
        break;
    case IN_VALUE:
        scan_text(scan, c, FIELD_LF);
        break;
    case FIELD_LF:
        scan_expect_lf(scan, c, AT_FIELD);
        break;
    case END_LF:
        scan_expect_lf(scan, c, SCAN_ENDED);
        break;
    case SCAN_ENDED:
        break;
    }
    if (scan->total - scan->skip > scan_total_max(scan))
        scan_fail(scan, 431, "the head or trailer section is too long");
}

static size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Plain text in a line or value, up to the byte before a limit. */
static size_t scan_run(struct h1_scan *scan, struct str input)
{
    const struct http_limits *limits = scan->limits;
    size_t line_max = scan->state == IN_LINE ? limits->line_max : limits->field_max;
    size_t len = input.len;

    if (scan->state != IN_LINE && scan->state != IN_VALUE)
        return 0;
    len = size_min(len, line_max - scan->line);
    len = size_min(len, scan_total_max(scan) - (scan->total - scan->skip));
    len = str_value_run(str_make(input.ptr, len));
    scan->line += len;
    scan->total += len;
    return len;
}

enum h1_scan_result h1_scan(struct h1_scan *scan, struct str input, size_t *ret_used)
{
    size_t used = 0;

    while (used < input.len && scan->state != SCAN_ENDED && !scan->status) {
        used += scan_run(scan, str_sub(input, used, input.len));
        if (used < input.len)
            scan_byte(scan, input.ptr[used++]);
    }
    *ret_used = used;
    if (scan->status)
        return H1_SCAN_ERROR;
    return scan->state == SCAN_ENDED ? H1_SCAN_DONE : H1_SCAN_MORE;
}

bool h1_scan_next_field(struct str *rest, struct str *ret_name, struct str *ret_value)
{
    ptrdiff_t end = str_find(*rest, '\n'), colon;
    struct str line;

    if (end <= 1)
        return false;
    line = str_make(rest->ptr, (size_t)end - 1);
    *rest = str_sub(*rest, (size_t)end + 1, rest->len);
    colon = str_find(line, ':');
    if (colon < 0)
        return false;
    *ret_name = str_make(line.ptr, (size_t)colon);
    *ret_value = str_trim(str_sub(line, (size_t)colon + 1, line.len));
    return true;
}

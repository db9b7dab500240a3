/* http: the reader, by tables: one row per rule. Each row also runs with the input cut at every
 * octet, and octet by octet: the outcome must be the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sys.h"
#include "unit/h1_transcript.h"

#include <stdlib.h>

struct row {
    const char *rule; /* RFC 9112 unless it says otherwise */
    const char *input;
    const char *want;
    size_t len; /* when the input holds NUL */
};

struct setting {
    bool is_request, upgrade_asked;
    enum http_method method;
    struct http_limits limits;
};

static char *run(const struct setting *setting, struct str input, size_t first, size_t step)
{
    struct transcript t;
    char *text;

    transcript_init(&t, setting->is_request, setting->method, setting->upgrade_asked,
                    &setting->limits);
    transcript_feed(&t, str_sub(input, 0, first));
    for (size_t at = first; at < input.len; at += step)
        transcript_feed(&t, str_sub(input, at, step));
    transcript_eof(&t);
    text = buf_take(&t.text, NULL);
    transcript_free(&t);
    return text;
}

static void check(const struct setting *setting, const struct row *row)
{
    struct str input = str_make(row->input, row->len ? row->len : strlen(row->input));
    char *whole = run(setting, input, input.len, 1), *other;

    if (strcmp(whole, row->want) != 0)
        fail_msg("%s: \"%.*s\"\n  want %s\n  got  %s", row->rule, STR_ARG(input), row->want, whole);
    for (size_t cut = 0; cut <= input.len; cut++) {
        other = run(setting, input, cut, cut == 0 ? 1 : input.len);
        if (strcmp(whole, other) != 0)
            fail_msg("%s: \"%.*s\" cut at %zu\n  whole %s\n  cut   %s", row->rule, STR_ARG(input),
                     cut, whole, other);
        free(other);
    }
    free(whole);
}

static void check_all(const struct setting *setting, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check(setting, &rows[i]);
}

#define CHECK_ALL(setting, rows) check_all(setting, rows, sizeof(rows) / sizeof((rows)[0]))
#define REQUEST(line)            line "\r\nHost: h\r\n\r\n"
#define FIELDS(fields)           "POST / HTTP/1.1\r\nHost: h\r\n" fields "\r\n\r\n"
#define CHUNKED(body)            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" body
#define CHUNKED_HEAD             "[POST / h 1.1 chunked: Host=h Transfer-Encoding=chunked]"
#define ANSWER(fields)           "HTTP/1.1 200 OK\r\n" fields "\r\n"

static struct setting requests(void)
{
    return (struct setting){.is_request = true, .limits = http_limits_default};
}

static struct setting responses(enum http_method method)
{
    return (struct setting){.method = method, .limits = http_limits_default};
}

static void request_lines_follow_the_grammar(void **state)
{
    static const struct row rows[] = {
        {"3", REQUEST("GET / HTTP/1.1"), "[GET / h 1.1 none: Host=h].", 0},
        {"3", REQUEST("GET /a?b=c HTTP/1.1"), "[GET /a?b=c h 1.1 none: Host=h].", 0},
        {"2.2 one empty line in front", "\r\n" REQUEST("GET / HTTP/1.1"),
         "[GET / h 1.1 none: Host=h].", 0},
        {"2.2 two", "\r\n\r\n" REQUEST("GET / HTTP/1.1"), "!400", 0},
        {"2.2 bare LF in front", "\n" REQUEST("GET / HTTP/1.1"), "!400", 0},
        {"2.2 only an empty line", "\r\n", "", 0},
        {"2.2 bare LF", "GET / HTTP/1.1\nHost: h\r\n\r\n", "!400", 0},
        {"2.2 bare CR", "GET / HTTP/1.1\rHost: h\r\n\r\n", "!400", 0},
        {"3 no version (HTTP/0.9)", "GET /\r\n", "!400", 0},
        {"3 no version, fields", REQUEST("GET /"), "!400", 0},
        {"3 only a method", REQUEST("GET"), "!400", 0},
        {"3 white space in front", REQUEST(" GET / HTTP/1.1"), "!400", 0},
        {"3 two spaces", REQUEST("GET  / HTTP/1.1"), "!400", 0},
        {"3 two spaces", REQUEST("GET /  HTTP/1.1"), "!400", 0},
        {"3 space at the end", REQUEST("GET / HTTP/1.1 "), "!400", 0},
        {"3 tab", REQUEST("GET\t/\tHTTP/1.1"), "!400", 0},
        {"3.1 unknown method", REQUEST("BREW / HTTP/1.1"), "!501", 0},
        {"3.1 lower case", REQUEST("get / HTTP/1.1"), "!501", 0},
        {"3.1 no token", REQUEST("G(T / HTTP/1.1"), "!400", 0},
        {"3.1 RTSP method", REQUEST("DESCRIBE / HTTP/1.1"), "!501", 0},
        {"9110 9.3.6", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", "!501", 0},
        {"9110 9.3.8", REQUEST("TRACE / HTTP/1.1"), "!501", 0},
        {"2.3 version", REQUEST("GET / HTTP/2.0"), "!505", 0},
        {"2.3 version", REQUEST("GET / HTTP/0.9"), "!505", 0},
        {"2.3 version", REQUEST("GET / HTTP/1.2"), "!505", 0},
        {"2.3 version", REQUEST("GET / http/1.1"), "!400", 0},
        {"2.3 version", REQUEST("GET / HTTP/1.10"), "!400", 0},
        {"2.3 version", REQUEST("GET / HTTP/1"), "!400", 0},
        {"2.3 version", REQUEST("GET / HTTP/ 1.1"), "!400", 0},
        {"2.3 version", REQUEST("GET / RTSP/1.1"), "!400", 0},
        {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "!505", 0},
        {"TLS bytes", "\x16\x03\x01\x02", "!400", 4},
        {"2.2 NUL", "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", "!400", 28},
        {"8 cut inside the head", "GET / HTTP/1.1\r\nHo", "!400", 0},
        {"9.3 pipelined", REQUEST("GET /1 HTTP/1.1") REQUEST("GET /2 HTTP/1.1"),
         "[GET /1 h 1.1 none: Host=h].[GET /2 h 1.1 none: Host=h].", 0},
    };
    struct setting setting = requests();

    (void)state;
    CHECK_ALL(&setting, rows);
}

static void targets_follow_the_grammar(void **state)
{
    static const struct row rows[] = {
        {"3.2.1 escapes", REQUEST("GET /%41%2f HTTP/1.1"), "[GET /%41%2f h 1.1 none: Host=h].", 0},
        {"3.2.1 escape", REQUEST("GET /%4 HTTP/1.1"), "!400", 0},
        {"3.2.1 escape", REQUEST("GET /% HTTP/1.1"), "!400", 0},
        {"3.2.1 escape", REQUEST("GET /%zz HTTP/1.1"), "!400", 0},
        {"3.2.1 fragment", REQUEST("GET /a#b HTTP/1.1"), "!400", 0},
        {"3.2.1 non-ASCII", REQUEST("GET /\xc3\xa4 HTTP/1.1"), "!400", 0},
        {"3.2.1 control", REQUEST("GET /\x01 HTTP/1.1"), "!400", 0},
        {"3.2.1 DEL", REQUEST("GET /\x7f HTTP/1.1"), "!400", 0},
        {"3.2.1 space", REQUEST("GET /a b HTTP/1.1"), "!400", 0},
        {"3.2.1 no slash", REQUEST("GET a HTTP/1.1"), "!400", 0},
        {"3.2.3 authority", REQUEST("GET h:80 HTTP/1.1"), "!400", 0},
        {"3.2.4 asterisk", REQUEST("OPTIONS * HTTP/1.1"), "[OPTIONS * h 1.1 none: Host=h].", 0},
        {"3.2.4 asterisk", REQUEST("GET * HTTP/1.1"), "!400", 0},
        {"3.2.4 asterisk", REQUEST("OPTIONS *a HTTP/1.1"), "!400", 0},
        {"3.2.2 absolute", REQUEST("GET http://g/a HTTP/1.1"), "[GET /a g 1.1 none: Host=g].", 0},
        {"3.2.2 absolute", REQUEST("GET HTTPS://g:8/a?b HTTP/1.1"),
         "[GET /a?b g:8 1.1 none: Host=g:8].", 0},
        {"3.2.2 no path", REQUEST("GET http://g HTTP/1.1"), "[GET / g 1.1 none: Host=g].", 0},
        {"3.2.2 only a query", REQUEST("GET http://g?q HTTP/1.1"), "[GET /?q g 1.1 none: Host=g].",
         0},
        {"3.2.4 OPTIONS", REQUEST("OPTIONS http://g HTTP/1.1"), "[OPTIONS * g 1.1 none: Host=g].",
         0},
        {"9110 4.2.1 empty host", REQUEST("GET http:///a HTTP/1.1"), "!400", 0},
        {"9110 4.2.4 userinfo", REQUEST("GET http://u@g/a HTTP/1.1"), "!400", 0},
        {"3.2.2 scheme", REQUEST("GET ftp://g/a HTTP/1.1"), "!400", 0},
        {"3.2.2 Host all the same", "GET http://g/a HTTP/1.1\r\n\r\n", "!400", 0},
        {"3.2.2 and valid", "GET http://g/a HTTP/1.1\r\nHost: a b\r\n\r\n", "!400", 0},
    };
    struct setting setting = requests();

    (void)state;
    CHECK_ALL(&setting, rows);
}

#define HOST(value) "GET / HTTP/1.1\r\nHost: " value "\r\n\r\n"

static void host_is_there_once_and_is_a_host(void **state)
{
    static const struct row rows[] = {
        {"3.2 none", "GET / HTTP/1.1\r\n\r\n", "!400", 0},
        {"3.2 none in 1.0", "GET / HTTP/1.0\r\n\r\n", "[GET /  1.0 none close:].", 0},
        {"3.2 two", HOST("a\r\nHost: a"), "!400", 0},
        {"3.2 two in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", "!400", 0},
        {"9110 4.2.1 empty", HOST(""), "!400", 0},
        {"9110 7.2", HOST("a.b-c_d~:8080"), "[GET / a.b-c_d~:8080 1.1 none: Host=a.b-c_d~:8080].",
         0},
        {"9110 7.2 empty port", HOST("a:"), "[GET / a: 1.1 none: Host=a:].", 0},
        {"9110 7.2 IPv6", HOST("[::1]:80"), "[GET / [::1]:80 1.1 none: Host=[::1]:80].", 0},
        {"9110 7.2 IPv6", HOST("[::1"), "!400", 0},
        {"9110 7.2 IPv6", HOST("[x::1]"), "!400", 0},
        {"9110 7.2 IPv6", HOST("[::1]a"), "!400", 0},
        {"9110 7.2 port", HOST("a:x"), "!400", 0},
        {"9110 7.2 port", HOST("a:65536"), "!400", 0},
        {"9110 7.2 port", HOST("a:1:2"), "!400", 0},
        {"9110 7.2 no name", HOST(":80"), "!400", 0},
        {"9110 7.2 space", HOST("a b"), "!400", 0},
        {"9110 7.2 path", HOST("a/b"), "!400", 0},
        {"9110 7.2 userinfo", HOST("u@a"), "!400", 0},
        {"9110 7.2 non-ASCII", HOST("\xc3\xa4"), "!400", 0},
        {"9110 7.2 escape", HOST("a%2"), "!400", 0},
    };
    struct setting setting = requests();

    (void)state;
    CHECK_ALL(&setting, rows);
}

static void field_lines_follow_the_grammar(void **state)
{
    static const struct row rows[] = {
        {"5 white space around values", FIELDS("A: \t b c \t"),
         "[POST / h 1.1 none: Host=h A=b c].", 0},
        {"5 empty value", FIELDS("A:\r\nB: "), "[POST / h 1.1 none: Host=h A= B=].", 0},
        {"9110 5.5 obs-text", FIELDS("A: \xff"), "[POST / h 1.1 none: Host=h A=\xff].", 0},
        {"5.1 space before the colon", FIELDS("A : b"), "!400", 0},
        {"5.1 tab before the colon", FIELDS("A\t: b"), "!400", 0},
        {"5.1 no name", FIELDS(": b"), "!400", 0},
        {"5.1 no colon", FIELDS("A"), "!400", 0},
        {"9110 5.1 name", FIELDS("A(: b"), "!400", 0},
        {"9110 5.1 name", FIELDS("\xc3\xa4: b"), "!400", 0},
        {"5.2 folding", FIELDS("A: b\r\n c"), "!400", 0},
        {"5.2 folding", FIELDS("A: b\r\n\tc: d"), "!400", 0},
        {"5.2 folding in the first line", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", "!400", 0},
        {"9110 5.5 NUL", FIELDS("A: b\0c"), "!400", 36},
        {"9110 5.5 control", FIELDS("A: b\x01"), "!400", 0},
        {"9110 5.5 DEL", FIELDS("A: b\x7f"), "!400", 0},
        {"2.2 bare CR", FIELDS("A: b\rc"), "!400", 0},
        {"2.2 CR CR LF", FIELDS("A: b\r"), "!400", 0},
        {"2.2 bare LF", FIELDS("A: b\nC: d"), "!400", 0},
        {"2.2 LF ends the head", "GET / HTTP/1.1\r\nHost: h\r\n\n", "!400", 0},
    };
    struct setting setting = requests();

    (void)state;
    CHECK_ALL(&setting, rows);
}

static void lengths_are_plain_decimal_numbers(void **state)
{
    static const struct row rows[] = {
        {"6.3", FIELDS("Content-Length: 3") "abc",
         "[POST / h 1.1 length 3: Host=h Content-Length=3](abc).", 0},
        {"6.3 zero", FIELDS("Content-Length: 0"),
         "[POST / h 1.1 length 0: Host=h Content-Length=0].", 0},
        {"6.3 next message", FIELDS("Content-Length: 1") "a" REQUEST("GET / HTTP/1.1"),
         "[POST / h 1.1 length 1: Host=h Content-Length=1](a).[GET / h 1.1 none: Host=h].", 0},
        {"6.3 truncated", FIELDS("Content-Length: 3") "ab",
         "[POST / h 1.1 length 3: Host=h Content-Length=3](ab)!400", 0},
        {"6.3 twice", FIELDS("Content-Length: 3\r\nContent-Length: 3") "abc", "!400", 0},
        {"6.3 list", FIELDS("Content-Length: 3, 3") "abc", "!400", 0},
        {"9110 8.6 sign", FIELDS("Content-Length: +3") "abc", "!400", 0},
        {"9110 8.6 sign", FIELDS("Content-Length: -3") "abc", "!400", 0},
        {"9110 8.6 hexadecimal", FIELDS("Content-Length: 0x3") "abc", "!400", 0},
        {"9110 8.6 empty", FIELDS("Content-Length:"), "!400", 0},
        {"9110 8.6 space inside", FIELDS("Content-Length: 1 2"), "!400", 0},
        {"9110 8.6 overflow", FIELDS("Content-Length: 18446744073709551616"), "!400", 0},
        {"9110 8.6 overflow", FIELDS("Content-Length: 99999999999999999999999"), "!400", 0},
        {"own limit", FIELDS("Content-Length: 1001"), "!413", 0},
    };
    struct setting setting = requests();

    (void)state;
    setting.limits.body_max = 1000;
    CHECK_ALL(&setting, rows);
}

static void transfer_encoding_is_chunked_or_refused(void **state)
{
    static const struct row rows[] = {
        {"6.1", FIELDS("Transfer-Encoding: ChunkeD") "0\r\n\r\n",
         "[POST / h 1.1 chunked: Host=h Transfer-Encoding=ChunkeD].", 0},
        {"6.1 gzip", FIELDS("Transfer-Encoding: gzip, chunked"), "!501", 0},
        {"6.1 identity", FIELDS("Transfer-Encoding: identity"), "!501", 0},
        {"6.3 chunked not last", FIELDS("Transfer-Encoding: chunked, identity"), "!400", 0},
        {"6.1 twice", FIELDS("Transfer-Encoding: chunked, chunked"), "!400", 0},
        {"6.1 two fields", FIELDS("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
         "!400", 0},
        {"6.1 quoted", FIELDS("Transfer-Encoding: \"chunked\""), "!501", 0},
        {"6.1 parameter", FIELDS("Transfer-Encoding: chunked;a=b"), "!501", 0},
        {"6.1 prefix", FIELDS("Transfer-Encoding: xchunked"), "!501", 0},
        {"6.1 empty", FIELDS("Transfer-Encoding:"), "!400", 0},
        {"6.1 empty and a length", FIELDS("Transfer-Encoding:\r\nContent-Length: 3") "abc", "!400",
         0},
        {"6.3 and a length", FIELDS("Transfer-Encoding: chunked\r\nContent-Length: 3"), "!400", 0},
        {"6.3 and a length", FIELDS("Content-Length: 3\r\nTransfer-Encoding: chunked"), "!400", 0},
        {"6.1 HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "!400",
         0},
    };
    struct setting setting = requests();

    (void)state;
    CHECK_ALL(&setting, rows);
}

static void chunks_follow_the_grammar(void **state)
{
    static const struct row rows[] = {
        {"7.1", CHUNKED("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"), CHUNKED_HEAD "(abcd).", 0},
        {"7.1 hexadecimal", CHUNKED("00A\r\n0123456789\r\n000\r\n\r\n"),
         CHUNKED_HEAD "(0123456789).", 0},
        {"7.1 next message", CHUNKED("0\r\n\r\n") REQUEST("GET / HTTP/1.1"),
         CHUNKED_HEAD ".[GET / h 1.1 none: Host=h].", 0},
        {"7.1 no size", CHUNKED("\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1 sign", CHUNKED("+1\r\na\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1 prefix", CHUNKED("0x1\r\na\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1 space", CHUNKED("1 \r\na\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1 space", CHUNKED(" 1\r\na\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1 overflow", CHUNKED("10000000000000001\r\na\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1 too much", CHUNKED("fffffffffffffff\r\na\r\n"), CHUNKED_HEAD "!413", 0},
        {"7.1 bare LF", CHUNKED("1\na\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1 bare CR", CHUNKED("1\ra\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1 spill", CHUNKED("1\r\nab\r\n"), CHUNKED_HEAD "(a)!400", 0},
        {"7.1 terminator", CHUNKED("1\r\na\n0\r\n\r\n"), CHUNKED_HEAD "(a)!400", 0},
        {"7.1 terminator", CHUNKED("1\r\na\rX"), CHUNKED_HEAD "(a)!400", 0},
        {"7.1 truncated", CHUNKED("3\r\nab"), CHUNKED_HEAD "(ab)!400", 0},
        {"7.1 truncated", CHUNKED("3\r\nabc\r\n"), CHUNKED_HEAD "(abc)!400", 0},
        {"7.1 truncated", CHUNKED("0\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1.1 extension", CHUNKED("1;a=\"b;c\"\r\nx\r\n0;d\r\n\r\n"), CHUNKED_HEAD "(x).", 0},
        {"7.1.1 no name", CHUNKED("1;\r\nx\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1.1 bare LF", CHUNKED("1;a\nx\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1.1 control", CHUNKED("1;a\x01\r\nx\r\n"), CHUNKED_HEAD "!400", 0},
        {"own limit", CHUNKED("1;abcdefghi\r\nx\r\n"), CHUNKED_HEAD "!413", 0},
        {"own limit", CHUNKED("a\r\n0123456789\r\nb\r\n"), CHUNKED_HEAD "(0123456789)!413", 0},
        {"7.1.2", CHUNKED("0\r\nA: b\r\nC:\r\n\r\n"), CHUNKED_HEAD "{ A=b C=}.", 0},
        {"7.1.2 folding", CHUNKED("0\r\nA: b\r\n c\r\n\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1.2 no colon", CHUNKED("0\r\nA\r\n\r\n"), CHUNKED_HEAD "!400", 0},
        {"7.1.2 truncated", CHUNKED("0\r\nA: b\r\n"), CHUNKED_HEAD "!400", 0},
        {"own limit", CHUNKED("0\r\nA: 0123456789abcdef\r\n\r\n"), CHUNKED_HEAD "!431", 0},
    };
    struct setting setting = requests();

    (void)state;
    setting.limits.chunk_ext_max = 8;
    setting.limits.body_max = 20;
    setting.limits.trailers_max = 20;
    CHECK_ALL(&setting, rows);
}

static void limits_of_the_head_hold_to_the_octet(void **state)
{
    static const struct row rows[] = {
        {"line fits", REQUEST("GET /678 HTTP/1.1"), "[GET /678 h 1.1 none: Host=h].", 0},
        {"line", REQUEST("GET /6789 HTTP/1.1"), "!414", 0},
        {"field fits", FIELDS("A: 456789"), "[POST / h 1.1 none: Host=h A=456789].", 0},
        {"field", FIELDS("A: 4567890"), "!431", 0},
        {"head fits", FIELDS("A: 456789\r\nB: 4567"),
         "[POST / h 1.1 none: Host=h A=456789 B=4567].", 0},
        {"head", FIELDS("A: 456789\r\nB: 456789"), "!431", 0},
        {"count", FIELDS("A:\r\nB:\r\nC:"), "!431", 0},
    };
    struct setting setting = requests();

    (void)state;
    setting.limits.line_max = 17;
    setting.limits.field_max = 9;
    setting.limits.head_max = 49;
    setting.limits.fields_max = 3;
    CHECK_ALL(&setting, rows);
}

static void connection_options_are_understood(void **state)
{
    static const struct row rows[] = {
        {"9.3", FIELDS("Connection: a, Close"),
         "[POST / h 1.1 none close: Host=h Connection=a, Close].", 0},
        {"9.3 1.0", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
         "[GET /  1.0 none: Connection=keep-alive].", 0},
        {"9110 7.6.1", FIELDS("Connection: host"), "!400", 0},
        {"9110 7.6.1", FIELDS("Connection: x, Content-Length"), "!400", 0},
        {"9110 7.6.1", FIELDS("Connection: transfer-encoding"), "!400", 0},
        {"9110 10.1.1", FIELDS("Expect: 100-Continue\r\nContent-Length: 0"),
         "[POST / h 1.1 length 0: Host=h Expect=100-Continue Content-Length=0].", 0},
        {"9110 10.1.1", FIELDS("Expect: 100-continue\r\nContent-Length: 1") "a",
         "[POST / h 1.1 length expect 1: Host=h Expect=100-continue Content-Length=1](a).", 0},
        {"9110 10.1.1", FIELDS("Expect: tea"), "!417", 0},
        {"9110 10.1.1 1.0", "GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
         "[GET /  1.0 none close: Expect=100-continue].", 0},
        {"9110 7.8",
         "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n",
         "[GET / h 1.1 none upgrade: Host=h Connection=Upgrade Upgrade=WebSocket].", 0},
        {"9110 7.8 not a GET", FIELDS("Connection: Upgrade\r\nUpgrade: websocket"),
         "[POST / h 1.1 none: Host=h Connection=Upgrade Upgrade=websocket].", 0},
        {"9110 7.8 h2c", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
         "[GET / h 1.1 none: Host=h Connection=Upgrade Upgrade=h2c].", 0},
        {"9110 7.8 not asked for", "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
         "[GET / h 1.1 none: Host=h Upgrade=websocket].", 0},
    };
    struct setting setting = requests();

    (void)state;
    CHECK_ALL(&setting, rows);
}

static void responses_follow_the_grammar(void **state)
{
    static const struct row rows[] = {
        {"6.3 length", ANSWER("Content-Length: 2\r\n") "ab",
         "[200 OK 1.1 length 2: Content-Length=2](ab).", 0},
        {"6.3 chunked", ANSWER("Transfer-Encoding: chunked\r\n") "1\r\na\r\n0\r\nB: c\r\n\r\n",
         "[200 OK 1.1 chunked: Transfer-Encoding=chunked](a){ B=c}.", 0},
        {"6.3 until the end", ANSWER("") "abc", "[200 OK 1.1 eof close:](abc).", 0},
        {"6.3 truncated", ANSWER("Content-Length: 2\r\n") "a",
         "[200 OK 1.1 length 2: Content-Length=2](a)!502", 0},
        {"6.3 truncated", ANSWER("Transfer-Encoding: chunked\r\n") "1\r\na\r\n",
         "[200 OK 1.1 chunked: Transfer-Encoding=chunked](a)!502", 0},
        {"6.3 no body", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
         "[204 No Content 1.1 none: Content-Length=3].", 0},
        {"6.3 no body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
         "[304 Not Modified 1.1 none 3: Content-Length=3].", 0},
        {"6.3 both", ANSWER("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n"), "!502", 0},
        {"6.3 twice", ANSWER("Content-Length: 2\r\nContent-Length: 3\r\n"), "!502", 0},
        {"6.1 gzip", ANSWER("Transfer-Encoding: gzip, chunked\r\n"), "!502", 0},
        {"6.1 HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "!502", 0},
        {"4 no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
         "[200  1.1 length 0: Content-Length=0].", 0},
        {"4 status", "HTTP/1.1 099 X\r\n\r\n", "!502", 0},
        {"4 status", "HTTP/1.1 600 X\r\n\r\n", "!502", 0},
        {"4 status", "HTTP/1.1 20 X\r\n\r\n", "!502", 0},
        {"4 status", "HTTP/1.1 2000 X\r\n\r\n", "!502", 0},
        {"4 status", "HTTP/1.1  200 X\r\n\r\n", "!502", 0},
        {"4 version", "HTTP/2.0 200 OK\r\n\r\n", "!502", 0},
        {"4 version", "ICY 200 OK\r\n\r\n", "!502", 0},
        {"2.2 empty line in front", "\r\nHTTP/1.1 200 OK\r\n\r\n", "!502", 0},
        {"2.2 bare LF", "HTTP/1.1 200 OK\n\n", "!502", 0},
        {"5.2 folding", ANSWER("A: b\r\n c\r\n"), "!502", 0},
        {"9110 15.2", "HTTP/1.1 103 Early\r\nA: b\r\n\r\n" ANSWER("Content-Length: 0\r\n"),
         "[103 Early 1.1 none: A=b][200 OK 1.1 length 0: Content-Length=0].", 0},
        {"9110 15.2.2 not asked for",
         "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "!502", 0},
        {"9.6 close", ANSWER("Connection: close\r\nContent-Length: 0\r\n"),
         "[200 OK 1.1 length close 0: Connection=close Content-Length=0].", 0},
        {"8 nothing came", "", "", 0},
        {"8 cut inside the head", "HTTP/1.1 2", "!502", 0},
    };
    struct setting setting = responses(HTTP_GET);

    (void)state;
    CHECK_ALL(&setting, rows);
}

static void responses_depend_on_the_request(void **state)
{
    static const struct row head[] = {
        {"6.3 HEAD", ANSWER("Content-Length: 2\r\n"), "[200 OK 1.1 none 2: Content-Length=2].", 0},
        {"6.3 HEAD", ANSWER("Transfer-Encoding: chunked\r\n"),
         "[200 OK 1.1 none: Transfer-Encoding=chunked].", 0},
    };
    static const struct row upgrade[] = {
        {"9110 7.8", "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nabc",
         "[101 X 1.1 tunnel upgrade: Connection=upgrade Upgrade=websocket]", 0},
        {"9110 7.8 other protocol", "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
         "!502", 0},
        {"9110 7.8 refused", ANSWER("Content-Length: 0\r\n"),
         "[200 OK 1.1 length 0: Content-Length=0].", 0},
    };
    struct setting setting = responses(HTTP_HEAD);

    (void)state;
    CHECK_ALL(&setting, head);
    setting = responses(HTTP_GET);
    setting.upgrade_asked = true;
    CHECK_ALL(&setting, upgrade);
}

static unsigned allocations_left;

static void *failing_realloc(void *ptr, size_t size)
{
    return allocations_left == 0 ? NULL : (allocations_left--, realloc(ptr, size));
}

/* Reads one request octet by octet; the last event. */
static enum h1_event read_short_of_memory(struct h1_reader *reader, struct pool *pool,
                                          struct str text)
{
    enum h1_event event = H1_MORE;

    h1_reader_begin(reader, pool, HTTP_OTHER, false);
    for (size_t i = 0; i < text.len; i++) {
        struct str input = str_sub(text, i, 1), data;

        do
            event = h1_reader_next(reader, &input, &data);
        while (event == H1_HEAD || event == H1_BODY);
        if (event != H1_MORE)
            break;
    }
    return event;
}

static void every_allocation_may_fail(void **state)
{
    struct http_limits limits = http_limits_default;
    struct h1_reader *reader;
    enum h1_event event = H1_MORE;
    struct pool pool;

    (void)state;
    sys.realloc = failing_realloc;
    for (unsigned n = 0; event != H1_END; n++) {
        assert_true(n < 100);
        allocations_left = n;
        reader = h1_reader_new(true, &limits);
        if (!reader)
            continue;
        pool_init(&pool, 0);
        event = read_short_of_memory(reader, &pool, STR(CHUNKED("1\r\na\r\n0\r\nT: v\r\n\r\n")));
        if (event != H1_END) {
            assert_int_equal(event, H1_ERROR);
            assert_int_equal(h1_reader_error_status(reader), 503);
        }
        h1_reader_free(reader);
        pool_free(&pool);
    }
    sys_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_lines_follow_the_grammar),
        cmocka_unit_test(targets_follow_the_grammar),
        cmocka_unit_test(host_is_there_once_and_is_a_host),
        cmocka_unit_test(field_lines_follow_the_grammar),
        cmocka_unit_test(lengths_are_plain_decimal_numbers),
        cmocka_unit_test(transfer_encoding_is_chunked_or_refused),
        cmocka_unit_test(chunks_follow_the_grammar),
        cmocka_unit_test(limits_of_the_head_hold_to_the_octet),
        cmocka_unit_test(connection_options_are_understood),
        cmocka_unit_test(responses_follow_the_grammar),
        cmocka_unit_test(responses_depend_on_the_request),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests_name("http reader", tests, NULL, NULL);
}

/* proxy: names in paths, and which fields go to the function and to the client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sys.h"
#include "proxy/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void only_the_grammar_is_a_name(void **state)
{
    static const struct {
        const char *path, *name, *ns, *rest;
    } good[] = {
        {"/function/env", "env", NULL, ""},
        {"/function/env/", "env", NULL, "/"},
        {"/function/env.openfaas-fn", "env", "openfaas-fn", ""},
        {"/function/a-1.b/c/d", "a-1", "b", "/c/d"},
        {"/function/env/..%2f%00//x", "env", NULL, "/..%2f%00//x"},
        {"/function/0", "0", NULL, ""},
    };
    static const char *const bad[] = {
        "/function/",      "/function//",         "/function/.",        "/function/..",
        "/function/a.",    "/function/.a",        "/function/A",        "/function/a_b",
        "/function/-a",    "/function/a-",        "/function/a%2e",     "/function/a%0a",
        "/function/a.b.c", "/function/a%2Fb",     "/function/a\\b",     "/function/a b",
        "/function/a.B",   "/function/../system", "/function/%61",      "/functions/a",
        "/function",       "/function/a;b",       "/function/\xc3\xa4", "",
    };
    struct proxy_name name;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(proxy_name_parse(str_from(good[i].path), &name));
        assert_true(str_eq(name.name, str_from(good[i].name)));
        assert_int_equal(name.ns.ptr != NULL, good[i].ns != NULL);
        assert_true(str_eq(name.ns, str_from(good[i].ns)));
        assert_true(str_eq(name.rest, str_from(good[i].rest)));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(proxy_name_parse(str_from(bad[i]), &name));
}

static void a_name_has_at_most_63_bytes(void **state)
{
    char path[128] = "/function/";
    struct proxy_name name;

    (void)state;
    memset(path + 10, 'a', 63);
    assert_true(proxy_name_parse(str_from(path), &name));
    memset(path + 10, 'a', 64);
    assert_false(proxy_name_parse(str_from(path), &name));
}

/* ---- Heads ---- */

struct fixture {
    struct proxy proxy;
    struct stream stream;
    struct exchange ex;
    struct http_head out;
};

static void request_line(struct fixture *f, const char *path, const char *query)
{
    struct http_head *request = &f->stream.request;

    request->path = str_from(path);
    request->query = query ? str_from(query) : STR_NONE;
    assert_true(proxy_name_parse(request->path, &(struct proxy_name){0}));
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    pool_init(&f->stream.pool, 0);
    f->proxy.config = proxy_config_default;
    f->ex.proxy = &f->proxy;
    f->ex.stream = &f->stream;
    f->ex.name = STR("env");
    f->ex.ns = STR("fn");
    f->ex.timeout_ms = 60000;
    f->stream.head_ns = sys_monotonic_ns();
    assert_int_equal(addr_parse(STR("192.0.2.7:4321"), &f->stream.peer, NULL), 0);
    http_head_init(&f->stream.request, &f->stream.pool);
    f->stream.request.method = HTTP_GET;
    f->stream.request.method_text = STR("GET");
    f->stream.request.host = STR("gateway:8080");
    request_line(f, "/function/env", NULL);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    pool_free(&f->stream.pool);
    free(f);
    return 0;
}

static void add(struct fixture *f, const char *name, const char *value)
{
    assert_int_equal(http_head_add(&f->stream.request, str_from(name), str_from(value)), 0);
}

static void make(struct fixture *f)
{
    assert_true(headers_identify(&f->ex));
    assert_int_equal(headers_request(&f->ex, &f->out), 0);
}

static unsigned count_of(const struct http_head *head, const char *name)
{
    unsigned count = 0;

    for (size_t i = 0; i < head->count; i++)
        count += str_ieq(head->fields[i].name, str_from(name));
    return count;
}

static void assert_field(const struct http_head *head, const char *name, const char *value)
{
    struct str found = http_head_get(head, str_from(name));

    if (!value) {
        assert_null(found.ptr);
        return;
    }
    assert_int_equal(count_of(head, name), 1);
    if (!str_eq(found, str_from(value)))
        fail_msg("%s is '%.*s', not '%s'", name, STR_ARG(found), value);
}

static void end_to_end_fields_reach_the_function_and_no_others(void **state)
{
    struct fixture *f = *state;

    add(f, "Accept", "text/html");
    add(f, "Cookie", "a=b");
    add(f, "Authorization", "Basic eA==");
    add(f, "Connection", "close, X-Secret");
    add(f, "X-Secret", "1");
    add(f, "Keep-Alive", "timeout=5");
    add(f, "Proxy-Authorization", "x");
    add(f, "TE", "trailers");
    add(f, "Expect", "100-continue");
    add(f, "Proxy", "http://evil");
    make(f);
    assert_field(&f->out, "Accept", "text/html");
    assert_field(&f->out, "Cookie", "a=b");
    assert_field(&f->out, "Authorization", "Basic eA==");
    assert_field(&f->out, "X-Secret", NULL);
    assert_field(&f->out, "Keep-Alive", NULL);
    assert_field(&f->out, "Proxy-Authorization", NULL);
    assert_field(&f->out, "TE", NULL);
    assert_field(&f->out, "Expect", NULL);
    assert_field(&f->out, "Proxy", NULL);
    assert_field(&f->out, "Via", "1.1 fngate");
    assert_true(str_eq(f->out.host, STR("gateway:8080")));
}

static void a_hostile_connection_field_is_refused(void **state)
{
    struct fixture *f = *state;

    add(f, "Connection", "Host");
    assert_true(headers_identify(&f->ex));
    assert_int_equal(headers_request(&f->ex, &f->out), -EBADMSG);
}

static void path_and_query_go_on_byte_for_byte(void **state)
{
    static const struct {
        const char *rest, *query, *target;
    } cases[] = {{"", NULL, "/"},
                 {"/", NULL, "/"},
                 {"", "x=1", "/?x=1"},
                 {"", "", "/?"},
                 {"/a%2Fb/../c%3F", "q=%20+%%", "/a%2Fb/../c%3F?q=%20+%%"}};
    struct fixture *f = *state;
    static const char whole[] = "/function/env/a?b=c";

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        f->ex.rest = str_from(cases[i].rest);
        f->stream.request.query = cases[i].query ? str_from(cases[i].query) : STR_NONE;
        make(f);
        assert_true(str_eq(f->out.target, str_from(cases[i].target)));
    }
    f->ex.rest = str_make(whole + 13, 2);
    f->stream.request.query = str_from(whole + 16);
    make(f);
    assert_ptr_equal(f->out.target.ptr, whole + 13); /* side by side: nothing is copied */
    assert_int_equal(f->out.target.len, 6);
}

static void a_call_id_is_kept_when_it_is_one(void **state)
{
    struct fixture *f = *state;
    struct str id;

    make(f);
    id = http_head_get(&f->out, STR("X-Call-Id"));
    assert_int_equal(id.len, 36);
    assert_int_equal(id.ptr[14], '4');
    assert_non_null(strchr("89ab", id.ptr[19]));
    add(f, "X-Call-Id", "order-17.a_b");
    make(f);
    assert_field(&f->out, "X-Call-Id", "order-17.a_b");
    f->stream.request.count = 0;
    add(f, "X-Call-Id", "a b\"<script>");
    make(f);
    assert_int_equal(http_head_get(&f->out, STR("X-Call-Id")).len, 36);
    assert_int_equal(count_of(&f->out, "X-Call-Id"), 1);
}

static void start_time_is_ours_once(void **state)
{
    struct fixture *f = *state;
    uint64_t ns;

    add(f, "X-Start-Time", "1");
    add(f, "x-start-time", "2");
    make(f);
    assert_int_equal(count_of(&f->out, "X-Start-Time"), 1);
    assert_true(str_to_u64(http_head_get(&f->out, STR("X-Start-Time")), UINT64_MAX, &ns));
    assert_true(ns > 1600000000u * UINT64_C(1000000000));
}

static void forwarded_fields_are_the_peers_unless_it_is_trusted(void **state)
{
    struct fixture *f = *state;
    struct addr trusted;

    add(f, "X-Forwarded-For", "198.51.100.1");
    add(f, "X-Forwarded-Host", "shop.example");
    add(f, "X-Forwarded-Proto", "https");
    make(f);
    assert_field(&f->out, "X-Forwarded-For", "192.0.2.7");
    assert_field(&f->out, "X-Forwarded-Host", "gateway:8080");
    assert_field(&f->out, "X-Forwarded-Proto", "http");

    assert_int_equal(addr_parse(STR("192.0.2.7:1"), &trusted, NULL), 0);
    f->proxy.config.trusted = &trusted;
    f->proxy.config.trusted_count = 1;
    make(f);
    assert_field(&f->out, "X-Forwarded-For", "198.51.100.1, 192.0.2.7");
    assert_field(&f->out, "X-Forwarded-Host", "shop.example");
    assert_field(&f->out, "X-Forwarded-Proto", "https");

    f->proxy.config.trusted_count = 0;
    f->proxy.config.forwarded_for_port = true;
    f->stream.is_tls = true;
    make(f);
    assert_field(&f->out, "X-Forwarded-For", "192.0.2.7:4321");
    assert_field(&f->out, "X-Forwarded-Proto", "https");
}

static void peers_of_every_kind_can_be_trusted(void **state)
{
    static const struct {
        const char *trusted, *peer;
        bool is_trusted;
    } cases[] = {{"[2001:db8::1]:1", "[2001:db8::1]:2", true},
                 {"[2001:db8::1]:1", "[2001:db8::2]:1", false},
                 {"192.0.2.7:1", "[2001:db8::1]:1", false},
                 {"unix:/run/a.sock", "unix:/run/b.sock", true}};
    struct fixture *f = *state;
    struct addr trusted;

    add(f, "X-Forwarded-Proto", "https");
    f->proxy.config.trusted = &trusted;
    f->proxy.config.trusted_count = 1;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(addr_parse(str_from(cases[i].trusted), &trusted, NULL), 0);
        assert_int_equal(addr_parse(str_from(cases[i].peer), &f->stream.peer, NULL), 0);
        make(f);
        assert_field(&f->out, "X-Forwarded-Proto", cases[i].is_trusted ? "https" : "http");
    }
}

static void a_call_from_inside_keeps_what_it_says_of_its_origin(void **state)
{
    struct fixture *f = *state;

    f->stream.is_internal = true;
    add(f, "X-Forwarded-For", "198.51.100.1");
    make(f);
    assert_field(&f->out, "X-Forwarded-For", "198.51.100.1");
}

static int64_t fake_ns;

static int64_t fake_monotonic_ns(void)
{
    return fake_ns;
}

static void timeout_says_what_is_left(void **state)
{
    static const struct {
        int64_t spent_ms;
        const char *text;
    } cases[] = {
        {0, "60s"}, {200, "59.8s"}, {59750, "0.25s"}, {59999, "0.001s"}, {70000, "0.001s"}};
    struct fixture *f = *state;

    sys.monotonic_ns = fake_monotonic_ns;
    add(f, "X-Timeout", "9h");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fake_ns = f->stream.head_ns + cases[i].spent_ms * 1000000;
        make(f);
        assert_field(&f->out, "X-Timeout", cases[i].text);
    }
    sys_reset();
    f->ex.timeout_ms = 0;
    make(f);
    assert_field(&f->out, "X-Timeout", NULL);
}

static void a_trace_is_continued_or_begun(void **state)
{
    static const char valid[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    static const char *const invalid[] = {
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        "x",
        "",
    };
    struct fixture *f = *state;

    add(f, "traceparent", valid);
    add(f, "tracestate", "a=b");
    make(f);
    assert_field(&f->out, "traceparent", valid);
    assert_field(&f->out, "tracestate", "a=b");
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        f->stream.request.count = 0;
        add(f, "traceparent", invalid[i]);
        add(f, "tracestate", "a=b");
        make(f);
        assert_int_equal(count_of(&f->out, "traceparent"), 1);
        assert_int_equal(http_head_get(&f->out, STR("traceparent")).len, 55);
        assert_false(str_eq(http_head_get(&f->out, STR("traceparent")), str_from(invalid[i])));
        assert_field(&f->out, "tracestate", NULL);
    }
}

static void the_client_gets_the_functions_fields_and_ours_once(void **state)
{
    struct fixture *f = *state;
    struct http_head in;

    make(f);
    http_head_init(&in, &f->stream.pool);
    in.status = 201;
    in.framing = HTTP_BODY_LENGTH;
    in.length = 5;
    http_head_add(&in, STR("Set-Cookie"), STR("a"));
    http_head_add(&in, STR("Set-Cookie"), STR("b"));
    http_head_add(&in, STR("X-Call-Id"), STR("echoed"));
    http_head_add(&in, STR("X-Start-Time"), STR("1"));
    http_head_add(&in, STR("X-Duration-Seconds"), STR("0.5"));
    http_head_add(&in, STR("Keep-Alive"), STR("timeout=5"));
    assert_int_equal(headers_response(&f->ex, &in, &f->out), 0);
    assert_int_equal(f->out.status, 201);
    assert_int_equal(f->out.framing, HTTP_BODY_LENGTH);
    assert_int_equal(f->out.length, 5);
    assert_int_equal(count_of(&f->out, "Set-Cookie"), 2);
    assert_true(str_eq(http_head_get(&f->out, STR("X-Call-Id")), f->ex.call_id));
    assert_int_equal(count_of(&f->out, "X-Call-Id"), 1);
    assert_int_equal(count_of(&f->out, "X-Start-Time"), 1);
    assert_field(&f->out, "X-Duration-Seconds", "0.5");
    assert_field(&f->out, "X-Served-By", "fngate");
    assert_field(&f->out, "Keep-Alive", NULL);

    in.count = 0;
    in.framing = HTTP_BODY_EOF;
    assert_int_equal(headers_response(&f->ex, &in, &f->out), 0);
    assert_int_equal(f->out.framing, HTTP_BODY_CHUNKED);
    assert_int_equal(count_of(&f->out, "X-Duration-Seconds"), 1);
}

/* ---- A stream that comes from inside ---- */

static struct {
    unsigned status;
    char fields[512], body[512];
} said;

static int inner_respond(struct stream *s, const struct http_head *head)
{
    s->status = said.status = head->status;
    for (size_t i = 0; i < head->count; i++)
        snprintf(said.fields + strlen(said.fields), sizeof(said.fields) - strlen(said.fields),
                 "%.*s: %.*s\n", STR_ARG(head->fields[i].name), STR_ARG(head->fields[i].value));
    return 0;
}

static ssize_t inner_write(struct stream *s, const struct iovec *iov, int count)
{
    (void)s;
    for (int i = 0; i < count; i++)
        snprintf(said.body + strlen(said.body), sizeof(said.body) - strlen(said.body), "%.*s",
                 (int)iov[i].iov_len, (const char *)iov[i].iov_base);
    return 0;
}

static void inner_finish(struct stream *s, const struct http_head *trailers)
{
    (void)s;
    (void)trailers;
}

static void connect_and_trace_are_refused(void **state)
{
    static const struct stream_ops ops = {
        .respond = inner_respond, .write = inner_write, .finish = inner_finish};
    static const char *const methods[] = {"CONNECT", "TRACE"};
    struct fixture *f = *state;

    f->stream.ops = &ops;
    f->stream.is_internal = true;
    for (size_t i = 0; i < 2; i++) {
        memset(&said, 0, sizeof(said));
        f->stream.request.method = HTTP_OTHER;
        f->stream.request.method_text = str_from(methods[i]);
        proxy_handle(&f->proxy, &f->stream);
        assert_int_equal(said.status, 405);
        assert_non_null(strstr(said.fields, "Allow: GET, HEAD"));
        assert_non_null(strstr(said.fields, "X-OpenFaaS-Internal: gateway"));
        assert_ptr_equal(strstr(said.body, "method-refused (gateway), after 0."), said.body);
        f->stream.handler->on_done(f->stream.handler_arg, STREAM_COMPLETE);
        assert_int_equal(f->proxy.in_flight, 0);
    }
}

static void every_fault_has_a_name_a_status_and_a_hint(void **state)
{
    (void)state;
    for (int i = 0; i < FAULT_COUNT; i++) {
        assert_in_range(fault_table[i].status, 400, 599);
        assert_true(strlen(fault_table[i].name) > 0 && strlen(fault_table[i].hint) > 0);
        assert_true(fault_table[i].status != 503 || fault_table[i].retry_after_s > 0);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(fault_table[i].name, fault_table[k].name);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_grammar_is_a_name),
        cmocka_unit_test(a_name_has_at_most_63_bytes),
        TEST(end_to_end_fields_reach_the_function_and_no_others),
        TEST(a_hostile_connection_field_is_refused),
        TEST(path_and_query_go_on_byte_for_byte),
        TEST(a_call_id_is_kept_when_it_is_one),
        TEST(start_time_is_ours_once),
        TEST(forwarded_fields_are_the_peers_unless_it_is_trusted),
        TEST(peers_of_every_kind_can_be_trusted),
        TEST(a_call_from_inside_keeps_what_it_says_of_its_origin),
        TEST(timeout_says_what_is_left),
        TEST(a_trace_is_continued_or_begun),
        TEST(the_client_gets_the_functions_fields_and_ours_once),
        TEST(connect_and_trace_are_refused),
        cmocka_unit_test(every_fault_has_a_name_a_status_and_a_hint),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

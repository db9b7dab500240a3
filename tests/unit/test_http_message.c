/* http: heads as lists of fields, what is passed on of them, and how they are written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "http/h1.h"

#include <errno.h>
#include <stdio.h>

struct fixture {
    struct pool pool;
    struct http_head head;
    struct buf out;
};

static int set_up(void **state)
{
    static struct fixture f;

    pool_init(&f.pool, 0);
    http_head_init(&f.head, &f.pool);
    buf_init(&f.out, 0);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    buf_free(&f->out);
    pool_free(&f->pool);
    return 0;
}

static void assert_written(struct fixture *f, const char *want)
{
    assert_int_equal(buf_add(&f->out, "", 1), 0);
    assert_string_equal(buf_str(&f->out).ptr, want);
    buf_clear(&f->out);
}

static void fields_are_found_whatever_their_case(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 40; i++)
        assert_int_equal(http_head_add(&f->head, STR("X-Many"), STR("v")), 0);
    http_head_add(&f->head, STR("Content-Type"), STR("text/plain"));
    assert_true(str_eq(http_head_get(&f->head, STR("content-type")), STR("text/plain")));
    assert_null(http_head_get(&f->head, STR("absent")).ptr);
    http_head_set(&f->head, STR("x-many"), STR("w"));
    assert_int_equal(f->head.count, 2);
    assert_true(str_eq(http_head_get(&f->head, STR("X-Many")), STR("w")));
    http_head_remove(&f->head, STR("X-MANY"));
    assert_int_equal(f->head.count, 1);
}

static void lists_are_searched_over_all_fields_of_a_name(void **state)
{
    struct fixture *f = *state;

    http_head_add(&f->head, STR("Connection"), STR("a, keep-alive"));
    http_head_add(&f->head, STR("connection"), STR(" CLOSE ,"));
    assert_true(http_head_has_token(&f->head, STR("Connection"), STR("close")));
    assert_true(http_head_has_token(&f->head, STR("Connection"), STR("A")));
    assert_false(http_head_has_token(&f->head, STR("Connection"), STR("alive")));
}

static void hop_by_hop_fields_are_not_passed_on(void **state)
{
    static const char *const dropped[] = {
        "Connection",     "Keep-Alive",         "Proxy-Connection",    "TE",      "Upgrade",
        "HTTP2-Settings", "Proxy-Authenticate", "Proxy-Authorization", "Proxy",   "Trailer",
        "Expect",         "Content-Length",     "Transfer-Encoding",   "X-Named",
    };
    static const char *const kept[] = {"Authorization", "X-Forwarded-For", "Content-Type",
                                       "X-Other"};
    struct fixture *f = *state;
    struct http_head to;

    for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
        http_head_add(&f->head, str_from(dropped[i]), STR("1"));
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        http_head_add(&f->head, str_from(kept[i]), STR("2"));
    http_head_set(&f->head, STR("Connection"),
                  STR("x-named, authorization, x-forwarded-for, content-type"));
    f->head.target = STR("/t");
    f->head.framing = HTTP_BODY_LENGTH;
    f->head.length = 7;
    http_head_init(&to, &f->pool);
    assert_int_equal(http_head_copy_end_to_end(&to, &f->head), 0);
    assert_int_equal(to.count, sizeof(kept) / sizeof(kept[0]));
    for (size_t i = 0; i < to.count; i++)
        assert_true(str_eq(to.fields[i].name, str_from(kept[i])));
    assert_true(str_eq(to.target, STR("/t")));
    assert_int_equal(to.framing, HTTP_BODY_LENGTH);
    assert_int_equal(to.length, 7);
}

static void a_connection_that_names_framing_is_refused(void **state)
{
    static const char *const hostile[] = {"Host", "x, content-length", "transfer-encoding"};
    struct fixture *f = *state;
    struct http_head to;

    http_head_init(&to, &f->pool);
    for (size_t i = 0; i < 3; i++) {
        http_head_set(&f->head, STR("Connection"), str_from(hostile[i]));
        assert_int_equal(http_head_copy_end_to_end(&to, &f->head), -EBADMSG);
    }
}

static void requests_are_written_from_the_model(void **state)
{
    struct fixture *f = *state;

    f->head.method_text = STR("POST");
    f->head.target = STR("/a?b");
    f->head.host = STR("h:1");
    http_head_add(&f->head, STR("Host"), STR("other"));
    http_head_add(&f->head, STR("Content-Length"), STR("99"));
    http_head_add(&f->head, STR("A"), STR("b"));
    assert_int_equal(h1_write_request(&f->out, &f->head), 0);
    assert_written(f, "POST /a?b HTTP/1.1\r\nHost: h:1\r\nA: b\r\n\r\n");
    f->head.framing = HTTP_BODY_LENGTH;
    f->head.keep_alive = false;
    assert_int_equal(h1_write_request(&f->out, &f->head), 0);
    assert_written(f, "POST /a?b HTTP/1.1\r\nHost: h:1\r\nA: b\r\nContent-Length: 0\r\n"
                      "Connection: close\r\n\r\n");
    f->head.framing = HTTP_BODY_CHUNKED;
    f->head.keep_alive = true;
    assert_int_equal(h1_write_request(&f->out, &f->head), 0);
    assert_written(f,
                   "POST /a?b HTTP/1.1\r\nHost: h:1\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n");
    f->head.framing = HTTP_BODY_NONE;
    f->head.upgrade = true;
    f->head.host = STR_NONE;
    http_head_remove(&f->head, STR("Host"));
    assert_int_equal(h1_write_request(&f->out, &f->head), 0);
    assert_written(f, "POST /a?b HTTP/1.1\r\nHost: \r\nA: b\r\nConnection: Upgrade\r\n"
                      "Upgrade: websocket\r\n\r\n");
}

static void responses_say_how_their_body_ends(void **state)
{
    static const struct {
        struct http_head head;
        const char *want;
    } rows[] = {
        {{.status = 200, .minor = 1, .keep_alive = true},
         "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
        {{.status = 204, .minor = 1, .keep_alive = true}, "HTTP/1.1 204 No Content\r\n\r\n"},
        {{.status = 304, .minor = 1, .keep_alive = true, .has_length = true, .length = 5},
         "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"},
        {{.status = 200, .minor = 1, .keep_alive = true, .method = HTTP_HEAD},
         "HTTP/1.1 200 OK\r\n\r\n"},
        {{.status = 100, .minor = 1}, "HTTP/1.1 100 Continue\r\n\r\n"},
        {{.status = 299, .minor = 1, .framing = HTTP_BODY_LENGTH, .length = UINT64_MAX},
         "HTTP/1.1 299 \r\nContent-Length: 18446744073709551615\r\nConnection: close\r\n\r\n"},
        {{.status = 200, .minor = 0, .keep_alive = true, .framing = HTTP_BODY_LENGTH, .length = 1},
         "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n"},
        {{.status = 200, .minor = 1, .keep_alive = true, .framing = HTTP_BODY_CHUNKED},
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {{.status = 200, .minor = 1, .keep_alive = true, .framing = HTTP_BODY_EOF},
         "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"},
        {{.status = 101, .minor = 1, .keep_alive = true, .framing = HTTP_BODY_TUNNEL},
         "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(h1_write_response(&f->out, &rows[i].head), 0);
        assert_written(f, rows[i].want);
    }
}

static void what_could_split_a_message_is_not_written(void **state)
{
    static const struct http_field bad[] = {
        {{"A\r\nB", 4}, {"c", 1}}, {{"A ", 2}, {"c", 1}},   {{"", 0}, {"c", 1}},
        {{"A", 1}, {"b\r\nc", 4}}, {{"A", 1}, {"b\0c", 3}}, {{"A", 1}, {"b\nc", 3}},
    };
    struct fixture *f = *state;

    f->head.method_text = STR("GET");
    f->head.target = STR("/");
    f->head.status = 200;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        f->head.count = 0;
        http_head_add(&f->head, bad[i].name, bad[i].value);
        assert_int_equal(h1_write_request(&f->out, &f->head), -EBADMSG);
        assert_int_equal(h1_write_response(&f->out, &f->head), -EBADMSG);
        assert_int_equal(h1_write_last_chunk(&f->out, &f->head), -EBADMSG);
    }
    f->head.count = 0;
    f->head.target = STR("/ HTTP/1.1");
    assert_int_equal(h1_write_request(&f->out, &f->head), -EBADMSG);
    f->head.reason = STR("OK\r\nSet-Cookie: a");
    assert_int_equal(h1_write_response(&f->out, &f->head), -EBADMSG);
    assert_int_equal(buf_len(&f->out), 0);
}

static void trailers_carry_no_framing(void **state)
{
    char line[H1_CHUNK_LINE_MAX];
    struct fixture *f = *state;

    assert_int_equal(h1_write_last_chunk(&f->out, NULL), 0);
    assert_written(f, "0\r\n\r\n");
    http_head_add(&f->head, STR("Content-Length"), STR("3"));
    http_head_add(&f->head, STR("X-Sum"), STR("1"));
    assert_int_equal(h1_write_last_chunk(&f->out, &f->head), 0);
    assert_written(f, "0\r\nX-Sum: 1\r\n\r\n");
    assert_int_equal(h1_chunk_line(line, 0x1f), 4);
    assert_memory_equal(line, "1f\r\n", 4);
    assert_int_equal(h1_chunk_line(line, SIZE_MAX), 18);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fields_are_found_whatever_their_case, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_are_searched_over_all_fields_of_a_name, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(hop_by_hop_fields_are_not_passed_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_connection_that_names_framing_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(requests_are_written_from_the_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(responses_say_how_their_body_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_could_split_a_message_is_not_written, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(trailers_carry_no_framing, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("http message", tests, NULL, NULL);
}

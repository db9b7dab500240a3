/* The control API as clients see it: status codes, bodies and fields of each route, the way in
 * (credentials, paths, limits), log streams, figures. */
#include "gateway.h"

#include "api/routes.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h> /* last: its `fail` is a macro */

#define ADMIN "Authorization: Basic YWRtaW46cGFzczp3b3Jk\r\n"

static struct gateway gateway;

static int make(void **state)
{
    (void)state;
    gateway_make(&gateway, false);
    return 0;
}

static int make_guarded(void **state)
{
    (void)state;
    gateway_make(&gateway, true);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    gateway_free(&gateway);
    return 0;
}

/* Asks and compares the status, and the body when `body` is given. */
static void expect_with(const char *method, const char *path, const char *fields, const char *send,
                        unsigned status, const char *body)
{
    struct answer answer = gateway_ask(&gateway, method, path, fields, send);

    if (answer.status != status)
        print_error("%s %s: %u, not %u: %s\n", method, path, answer.status, status, answer.body);
    assert_int_equal(answer.status, status);
    if (body)
        assert_string_equal(answer.body, body);
    answer_free(&answer);
}

static void expect(const char *method, const char *path, const char *send, unsigned status,
                   const char *body)
{
    expect_with(method, path, NULL, send, status, body);
}

static void expect_part(const char *method, const char *path, const char *send, unsigned status,
                        const char *part)
{
    struct answer answer = gateway_ask(&gateway, method, path, NULL, send);

    if (answer.status != status || !strstr(answer.body, part))
        print_error("%s %s: %u %s\n", method, path, answer.status, answer.body);
    assert_int_equal(answer.status, status);
    assert_non_null(strstr(answer.body, part));
    answer_free(&answer);
}

static void expect_field(const char *method, const char *path, const char *fields, unsigned status,
                         const char *field)
{
    struct answer answer = gateway_ask(&gateway, method, path, fields, NULL);

    if (!strstr(answer.head, field))
        print_error("%s %s: %s\n", method, path, answer.head);
    assert_int_equal(answer.status, status);
    assert_non_null(strstr(answer.head, field));
    answer_free(&answer);
}

/* ---- Functions ---- */

static void a_function_is_created_listed_updated_scaled_and_removed(void **state)
{
    (void)state;
    expect("GET", "/system/functions", NULL, 200, "[]");
    expect("PUT", "/system/functions", "{\"service\":\"echo\",\"image\":\"i\"}", 404, NULL);
    expect("POST", "/system/functions",
           "{\"service\":\"echo\",\"image\":\"i:1\",\"labels\":null,\"annotations\":null,"
           "\"limits\":{\"memory\":\"64Mi\",\"cpu\":\"\"},\"requests\":null,\"network\":\"x\","
           "\"envVars\":{\"a\":\"1\\n2\"},\"readOnlyRootFilesystem\":true,\"unknown\":[1,{}]}",
           202, "");
    expect_part("GET", "/system/function/echo", NULL, 200,
                "{\"name\":\"echo\",\"image\":\"i:1\",\"namespace\":\"openfaas-fn\","
                "\"envVars\":{\"a\":\"1\\n2\"},\"labels\":{\"faas_function\":\"echo\"},"
                "\"annotations\":{},\"limits\":{\"memory\":\"64Mi\"},"
                "\"readOnlyRootFilesystem\":true,\"replicas\":1,\"createdAt\":\"2");
    expect_part("POST", "/system/functions", "{\"service\":\"echo\",\"image\":\"i\"}", 409,
                "exists already");
    expect("PUT", "/system/functions",
           "{\"service\":\"echo\",\"image\":\"i:2\",\"labels\":{\"a.b/c\":\"d\"}}", 202, "");
    expect_part("GET", "/system/functions", NULL, 200,
                "\"labels\":{\"a.b/c\":\"d\",\"faas_function\":\"echo\"}");
    expect("POST", "/system/scale-function/echo", "{\"serviceName\":\"echo\",\"replicas\":3}", 202,
           "");
    expect_part("GET", "/system/function/echo?usage=1", NULL, 200,
                "\"usage\":{\"cpu\":12.5,\"totalMemoryBytes\":4096}");
    expect_part("GET", "/system/function/echo", NULL, 200, "\"replicas\":3");
    expect("POST", "/system/scale-function/echo", "{\"replicas\":0}", 202, "");
    expect("DELETE", "/system/functions", "{\"functionName\":\"echo\"}", 202, "");
    expect("DELETE", "/system/functions", "{\"functionName\":\"echo\"}", 404, NULL);
    expect("GET", "/system/function/echo", NULL, 404, NULL);
    expect("POST", "/system/scale-function/echo", "{\"replicas\":1}", 404, NULL);
}

static void bad_deployments_are_refused_by_field(void **state)
{
    static const struct {
        const char *body, *part;
    } rows[] = {
        {"", "no body"},
        {"{", "not valid JSON"},
        {"[]", "expected"},
        {"{\"service\":\"a\",\"service\":\"b\",\"image\":\"i\"}", "twice"},
        {"{\"image\":\"i\"}", "field 'service' is required"},
        {"{\"service\":\"a\"}", "field 'image' is required"},
        {"{\"service\":7,\"image\":\"i\"}", "field 'service': expected a string, got a number"},
        {"{\"service\":\"A\",\"image\":\"i\"}", "field 'service': 'A' is not allowed"},
        {"{\"service\":\"../x\",\"image\":\"i\"}", "field 'service'"},
        {"{\"service\":\"a\",\"image\":\"i\",\"labels\":[]}", "field 'labels': expected an object"},
        {"{\"service\":\"a\",\"image\":\"i\",\"labels\":{\"x\":1}}", "field 'labels.x'"},
        {"{\"service\":\"a\",\"image\":\"i\",\"labels\":{\"x y\":\"\"}}", "field 'labels'"},
        {"{\"service\":\"a\",\"image\":\"i\",\"envVars\":{\"x=y\":\"\"}}", "field 'envVars'"},
        {"{\"service\":\"a\",\"image\":\"i\",\"secrets\":[\"../etc\"]}", "field 'secrets'"},
        {"{\"service\":\"a\",\"image\":\"i\",\"secrets\":\"x\"}", "expected an array of strings"},
        {"{\"service\":\"a\",\"image\":\"i\\u0000\"}", "not valid JSON"},
        {"{\"service\":\"a\",\"image\":\"i\\n\"}", "field 'image'"},
        {"{\"service\":\"a\",\"image\":\"i\",\"namespace\":\"No\"}", "field 'namespace'"},
        {"{\"service\":\"a\",\"image\":\"i\",\"namespace\":\"none\"}", "does not exist"},
        {"{\"service\":\"refused\",\"image\":\"i\"}", "there is no image 'i' (field 'image')"},
        {"{\"a\":[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}", "nested deeper than 16"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_part("POST", "/system/functions", rows[i].body, 400, rows[i].part);
}

static void a_backend_that_is_down_is_named_with_the_time_to_wait(void **state)
{
    struct answer answer = gateway_ask(&gateway, "POST", "/system/functions", NULL,
                                       "{\"service\":\"down\",\"image\":\"i\"}");

    (void)state;
    assert_int_equal(answer.status, 503);
    assert_non_null(strstr(answer.head, "Retry-After: 3\r\n"));
    assert_non_null(strstr(answer.body, "deploy of down.openfaas-fn failed: the engine does not "
                                        "answer [provider 'toy', after "));
    answer_free(&answer);
}

static void alerts_step_up_to_the_maximum_and_back_to_the_minimum(void **state)
{
    static const char firing[] = "{\"alerts\":[{\"status\":\"firing\",\"labels\":{"
                                 "\"function_name\":\"busy.openfaas-fn\"}},"
                                 "{\"status\":\"firing\",\"labels\":{\"function_name\":\"x\"}}]}";
    static const char resolved[] = "{\"alerts\":[{\"status\":\"resolved\",\"labels\":{"
                                   "\"function_name\":\"busy\"}}]}";

    (void)state;
    expect("POST", "/system/functions",
           "{\"service\":\"busy\",\"image\":\"i\",\"labels\":{\"com.openfaas.scale.max\":\"4\","
           "\"com.openfaas.scale.factor\":\"50\"}}",
           202, "");
    expect("POST", "/system/alert", firing, 200, "");
    expect_part("GET", "/system/function/busy", NULL, 200, "\"replicas\":3");
    expect("POST", "/system/alert", firing, 200, "");
    expect_part("GET", "/system/function/busy", NULL, 200, "\"replicas\":4");
    expect("POST", "/system/alert", resolved, 200, "");
    expect_part("GET", "/system/function/busy", NULL, 200, "\"replicas\":1");
    expect("POST", "/system/alert", "{\"alerts\":1}", 400, NULL);
}

/* ---- Secrets, namespaces, info ---- */

static void secrets_keep_their_bytes_and_are_never_shown(void **state)
{
    (void)state;
    expect("GET", "/system/secrets", NULL, 200, "[]");
    expect("POST", "/system/secrets", "{\"name\":\"key\",\"value\":\"zzz\",\"rawValue\":\"QQ==\"}",
           202, "");
    expect("POST", "/system/secrets", "{\"name\":\"key\",\"value\":\"x\"}", 409, NULL);
    expect("GET", "/system/secrets", NULL, 200,
           "[{\"name\":\"key\",\"namespace\":\"openfaas-fn\"}]");
    expect("PUT", "/system/secrets", "{\"name\":\"other\",\"value\":\"x\"}", 404, NULL);
    expect("PUT", "/system/secrets", "{\"name\":\"key\",\"value\":\" y \"}", 202, "");
    expect("POST", "/system/secrets", "{\"name\":\"..\",\"value\":\"x\"}", 400, NULL);
    expect("POST", "/system/secrets", "{\"name\":\"a/b\",\"value\":\"x\"}", 400, NULL);
    expect("POST", "/system/secrets", "{\"name\":\"a\",\"rawValue\":\"QQ=\"}", 400, NULL);
    expect("POST", "/system/secrets", "{\"name\":\"a\"}", 400, NULL);
    expect("GET", "/system/secrets?namespace=none", NULL, 400, NULL);
    expect("DELETE", "/system/secrets", "{\"name\":\"key\"}", 202, "");
    expect("DELETE", "/system/secrets", "{\"name\":\"key\"}", 404, NULL);
}

static void namespaces_answer_on_both_spellings(void **state)
{
    (void)state;
    expect("GET", "/system/namespaces", NULL, 200, "[\"openfaas-fn\"]");
    expect("POST", "/system/namespace/", "{\"name\":\"dev\",\"annotations\":{\"openfaas\":\"1\"}}",
           201, "");
    expect("POST", "/system/namespace", "{\"name\":\"dev\"}", 409, NULL);
    expect("POST", "/system/namespace", "{\"name\":\"kube-system\"}", 400, NULL);
    expect("GET", "/system/namespace/dev", NULL, 200,
           "{\"name\":\"dev\",\"annotations\":{\"openfaas\":\"1\"}}");
    expect("PUT", "/system/namespaces/dev", "{\"name\":\"dev\",\"labels\":{\"a\":\"b\"}}", 202, "");
    expect("GET", "/system/namespaces/dev", NULL, 200,
           "{\"name\":\"dev\",\"labels\":{\"a\":\"b\",\"openfaas\":\"1\"}}");
    expect("PUT", "/system/namespace/dev", "{\"name\":\"other\"}", 400, NULL);
    expect("PUT", "/system/namespace/none", "{}", 404, NULL);
    expect("POST", "/system/functions?namespace=dev",
           "{\"service\":\"inner\",\"image\":\"i\",\"namespace\":\"other\"}", 202, "");
    expect_part("GET", "/system/functions?namespace=dev", NULL, 200, "\"namespace\":\"dev\"");
    expect("GET", "/system/functions", NULL, 200, "[]");
    expect("DELETE", "/system/namespace/dev", NULL, 409, NULL);
    expect("DELETE", "/system/functions?namespace=dev", "{\"functionName\":\"inner\"}", 202, "");
    expect("DELETE", "/system/namespaces/dev", "{\"name\":\"dev\"}", 202, "");
    expect("GET", "/system/namespace/dev", NULL, 404, NULL);
}

static void info_has_no_nulls(void **state)
{
    (void)state;
    expect_part("GET", "/system/info", NULL, 200,
                "{\"provider\":{\"provider\":\"api-toy\",\"orchestration\":\"toy\",\"version\":{"
                "\"release\":\"1.2.3\",\"sha\":\"1.2.3\"}},\"version\":{\"release\":\"9.8.7\","
                "\"sha\":\"abcdef\"},\"arch\":\"");
    expect("GET", "/system/openapi.yaml", NULL, 200, "openapi: 3.1.0\n");
    expect("GET", "/healthz", NULL, 200, "OK\n");
    expect("GET", "/readyz", NULL, 200, "OK\n");
    expect_part("GET", "/", NULL, 200, "fngate 9.8.7");
}

/* ---- The way in ---- */

static void odd_paths_never_reach_a_route(void **state)
{
    static const struct {
        const char *path;
        unsigned status;
    } rows[] = {
        {"/system/functions/", 200},
        {"/system/%66unctions", 200},
        {"//system/functions", 400},
        {"/system//functions", 400},
        {"/system/./functions", 400},
        {"/healthz/../system/functions", 400},
        {"/healthz/%2e%2e/system/functions", 400},
        {"/system%2ffunctions", 400},
        {"/system/function/a%2Fb", 400},
        {"/system/functions%00", 400},
        {"/system/functions%", 400},
        {"/system/functions%zz", 400},
        {"/system\\functions", 400},
        {"/system/functions//", 400},
        {"/system/function/%252e", 400},
        {"/system/function/", 404},
        {"/System/functions", 404},
        {"/system/nothing", 404},
        {"/metrics", 404},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect("GET", rows[i].path, NULL, rows[i].status, NULL);
}

static void other_methods_are_405_and_head_is_get(void **state)
{
    (void)state;
    expect_field("PATCH", "/system/functions", NULL, 405,
                 "Allow: GET, HEAD, POST, PUT, DELETE\r\n");
    expect_field("POST", "/healthz", NULL, 405, "Allow: GET, HEAD\r\n");
    expect_field("HEAD", "/system/functions", NULL, 200, "Content-Length: 2\r\n");
    expect("HEAD", "/system/functions", NULL, 200, "");
}

static void bodies_beyond_the_limit_are_413(void **state)
{
    AUTO_FREE char *big = xmalloc((65 << 10) + 1);

    (void)state;
    memset(big, ' ', 65 << 10);
    big[65 << 10] = '\0';
    expect("POST", "/system/functions", big, 413, NULL);
}

static void pages_of_other_sites_change_nothing(void **state)
{
    (void)state;
    expect_with("POST", "/system/functions", "Sec-Fetch-Site: cross-site\r\n",
                "{\"service\":\"a\",\"image\":\"i\"}", 403, NULL);
    expect_with("POST", "/system/functions", "Sec-Fetch-Site: same-origin\r\n",
                "{\"service\":\"a\",\"image\":\"i\"}", 202, "");
    expect_with("GET", "/system/functions", "Sec-Fetch-Site: cross-site\r\n", NULL, 200, NULL);
}

static void all_of_system_needs_credentials(void **state)
{
    static const char *const paths[] = {
        "/system/functions", "/system/info", "/system/openapi.yaml", "/system/logs?name=a",
        "/system/nothing",   "/system",      "/system/%66unctions",  "/system/secrets/"};

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        expect("GET", paths[i], NULL, 401, "invalid credentials");
    expect_field("GET", "/system/functions", NULL, 401,
                 "WWW-Authenticate: Basic realm=\"Restricted\"\r\n");
    expect_with("GET", "/system/functions", "Authorization: Bearer \r\n", NULL, 401,
                "invalid credentials");
    expect_with("GET", "/system/functions", ADMIN, NULL, 200, "[]");
    expect_with("PATCH", "/system/functions", NULL, NULL, 401, NULL);
    expect_with("GET", "/system/nothing", ADMIN, NULL, 404, NULL);
    expect("GET", "/healthz", NULL, 200, NULL);
    expect("GET", "/", NULL, 200, NULL);
    expect("GET", "/nothing", NULL, 404, NULL);
}

static void every_route_keeps_its_permission(void **state)
{
    (void)state;
    for (const struct api_route *row = api_routes; row->run; row++) {
        const char *brace = strchr(row->pattern, '{');
        size_t len = brace ? (size_t)(brace - row->pattern) : strlen(row->pattern);
        AUTO_FREE char *path = xasprintf("%.*s%s", (int)len, row->pattern, brace ? "x" : "");

        expect(http_method_text(row->method), path, NULL,
               row->permission == PERM_PUBLIC ? 200 : 401, NULL);
    }
}

/* Two deploys that never end are all that may wait. Their clients leave; the calls go on until the
 * gateway stops. */
static void who_waits_is_bounded_and_probes_go_on(void **state)
{
    static const char body[] = "{\"service\":\"stuck\",\"image\":\"i\"}";
    int fds[WAITING_MAX];
    unsigned status = 0;

    (void)state;
    for (int i = 0; i < WAITING_MAX; i++) {
        AUTO_FREE char *path = xasprintf("/system/functions?namespace=%s", i ? "other" : "");

        if (i > 0)
            expect("POST", "/system/namespace", "{\"name\":\"other\"}", 201, "");
        fds[i] = gateway_send(&gateway.addr, "POST", path, NULL, body);
    }
    while (status != 503) {
        struct answer answer = gateway_ask(&gateway, "GET", "/system/functions", NULL, NULL);

        status = answer.status;
        assert_true(status == 200 || strstr(answer.head, "Retry-After: 1\r\n"));
        answer_free(&answer);
    }
    expect("GET", "/livez", NULL, 200, "OK\n");
    for (int i = 0; i < WAITING_MAX; i++)
        close(fds[i]);
}

static void guessing_is_slowed_down(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        expect_with("GET", "/system/functions", "Authorization: Basic eDp5\r\n", NULL, 401, NULL);
    expect_field("GET", "/system/functions", "Authorization: Basic eDp5\r\n", 429,
                 "Retry-After: 60\r\n");
    expect("GET", "/healthz", NULL, 200, NULL);
}

/* ---- Logs ---- */

static void deploy(const char *name)
{
    AUTO_FREE char *body = xasprintf("{\"service\":\"%s\",\"image\":\"i\"}", name);

    expect("POST", "/system/functions", body, 202, "");
}

static void logs_are_ndjson(void **state)
{
    static const char line[] = "{\"name\":\"talk\",\"namespace\":\"openfaas-fn\",\"instance\":"
                               "\"toy-1\",\"timestamp\":\"2023-11-14T22:13:20.123456789Z\","
                               "\"text\":\"a \\\"quoted\\\" line\\u0001\"}\n";
    struct answer answer;

    (void)state;
    deploy("talk");
    answer = gateway_ask(&gateway, "GET", "/system/logs?name=talk&tail=1&follow=false", NULL, NULL);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.head, "Content-Type: application/x-ndjson\r\n"));
    assert_non_null(strstr(answer.body, line)); /* between chunk lines */
    assert_non_null(strstr(answer.body, "\r\n0\r\n\r\n"));
    answer_free(&answer);
    expect("GET", "/system/logs?name=none", NULL, 404, NULL);
    expect("GET", "/system/logs", NULL, 400, NULL);
    expect("GET", "/system/logs?name=talk&tail=x", NULL, 422, NULL);
    expect("GET", "/system/logs?name=talk&since=yesterday", NULL, 422, NULL);
    expect("GET", "/system/logs?name=talk&since=2024-05-01T00:00:00%2B02:00&tail=-1", NULL, 200,
           NULL);
    expect("HEAD", "/system/logs?name=talk&follow=1", NULL, 200, "");
    deploy("mute");
    expect_part("GET", "/system/logs?name=mute", NULL, 503, "the engine does not answer");
}

static void end_streams(void *arg)
{
    api_stop(arg);
}

static void a_follower_is_ended_by_the_gateway_in_order(void **state)
{
    int fd;

    (void)state;
    deploy("talk");
    fd = gateway_send(&gateway.addr, "GET", "/system/logs?name=talk&follow=1", NULL, NULL);
    read_until(fd, "\"text\"");
    gateway_do(&gateway, end_streams, gateway.api);
    read_until(fd, "0\r\n\r\n");
    close(fd);
    expect("GET", "/system/logs?name=talk&follow=1", NULL, 503, NULL);
    expect("POST", "/system/functions", "{\"service\":\"b\",\"image\":\"i\"}", 503, NULL);
    expect("GET", "/system/functions", NULL, 200, NULL);
    expect("GET", "/readyz", NULL, 503, NULL);
}

/* The toy writes without end: only the bound stops it, and only the client's end frees its thread.
 * Eight threads are all there are, so ten floods pass only when each is freed. */
static void a_flood_stops_at_the_bound_and_ends_with_its_client(void **state)
{
    (void)state;
    deploy("flood");
    for (int i = 0; i < 10; i++) {
        int fd = gateway_send(&gateway.addr, "GET", "/system/logs?name=flood", NULL, NULL);

        read_until(fd, "200 OK");
        close(fd);
    }
}

/* ---- Figures ---- */

static void metrics_name_functions_routes_and_instances(void **state)
{
    static const char *const parts[] = {
        "gateway_service_count{function_name=\"talk.openfaas-fn\"} 1\n",
        "gateway_service_min{function_name=\"talk.openfaas-fn\"} 1\n",
        "# TYPE gateway_functions_seconds histogram\n",
        "http_requests_total{method=\"POST\",path=\"/system/functions\",status=\"202\"} 1\n",
        "http_request_duration_seconds_count{method=\"GET\",path=\"/system/function/{name}\","
        "status=\"404\"} 1\n",
        "fngate_plugin_pulls_total{instance=\"toy\"} 3\n",
        "fngate_plugin_ready{instance=\"toy\"} 1\n",
    };
    struct answer answer;

    (void)state;
    deploy("talk");
    expect("GET", "/system/function/none", NULL, 404, NULL);
    answer = gateway_ask_metrics(&gateway, "/metrics");
    /* the toy counts on a thread of its own */
    for (int i = 0; i < 10000 && !strstr(answer.body, parts[5]); i++) {
        answer_free(&answer);
        answer = gateway_ask_metrics(&gateway, "/metrics");
    }
    assert_int_equal(answer.status, 200);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (!strstr(answer.body, parts[i]))
            print_error("missing: %s\n%s\n", parts[i], answer.body);
        assert_non_null(strstr(answer.body, parts[i]));
    }
    answer_free(&answer);
    answer = gateway_ask_metrics(&gateway, "/system/functions");
    assert_int_equal(answer.status, 404);
    answer_free(&answer);
}

#define OPEN(test)    cmocka_unit_test_setup_teardown(test, make, unmake)
#define GUARDED(test) cmocka_unit_test_setup_teardown(test, make_guarded, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPEN(a_function_is_created_listed_updated_scaled_and_removed),
        OPEN(bad_deployments_are_refused_by_field),
        OPEN(a_backend_that_is_down_is_named_with_the_time_to_wait),
        OPEN(alerts_step_up_to_the_maximum_and_back_to_the_minimum),
        OPEN(secrets_keep_their_bytes_and_are_never_shown),
        OPEN(namespaces_answer_on_both_spellings),
        OPEN(info_has_no_nulls),
        OPEN(odd_paths_never_reach_a_route),
        OPEN(other_methods_are_405_and_head_is_get),
        OPEN(bodies_beyond_the_limit_are_413),
        OPEN(pages_of_other_sites_change_nothing),
        GUARDED(all_of_system_needs_credentials),
        GUARDED(every_route_keeps_its_permission),
        OPEN(who_waits_is_bounded_and_probes_go_on),
        GUARDED(guessing_is_slowed_down),
        OPEN(logs_are_ndjson),
        OPEN(a_follower_is_ended_by_the_gateway_in_order),
        OPEN(a_flood_stops_at_the_bound_and_ends_with_its_client),
        OPEN(metrics_name_functions_routes_and_instances),
    };

    return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}

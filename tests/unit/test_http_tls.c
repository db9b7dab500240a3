/* http: TLS in front of the server, with a certificate made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/tls.h"
#include "unit/http_peer.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>

struct fixture {
    struct peer peer;
    struct tls_context *tls;
    SSL_CTX *client;
    char folder[64], cert[96], key[96];
};

/* A self-signed certificate for "test" and its key, as PEM files. */
static void write_pair(const struct fixture *f)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    FILE *file;

    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_set_pubkey(cert, pkey);
    assert_true(X509_sign(cert, pkey, EVP_sha256()) > 0);
    file = fopen(f->cert, "w");
    PEM_write_X509(file, cert);
    fclose(file);
    file = fopen(f->key, "w");
    PEM_write_PrivateKey(file, pkey, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    X509_free(cert);
    EVP_PKEY_free(pkey);
}

static void start(struct fixture *f, int64_t head_timeout_ms)
{
    struct server_config config = server_config_default;

    config.tls = f->tls;
    config.head_timeout_ms = head_timeout_ms;
    peer_start_server(&f->peer, &config);
}

static int set_up(void **state)
{
    static struct fixture f;

    signal(SIGPIPE, SIG_IGN); /* of the test's own client */
    snprintf(f.folder, sizeof(f.folder), "/tmp/fngate-tls-XXXXXX");
    assert_non_null(mkdtemp(f.folder));
    snprintf(f.cert, sizeof(f.cert), "%s/cert.pem", f.folder);
    snprintf(f.key, sizeof(f.key), "%s/key.pem", f.folder);
    write_pair(&f);
    assert_int_equal(tls_context_new(f.cert, f.key, &f.tls, NULL), 0);
    f.client = SSL_CTX_new(TLS_client_method());
    start(&f, 10000);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    peer_stop(&f->peer);
    tls_context_unref(f->tls);
    SSL_CTX_free(f->client);
    unlink(f->cert);
    unlink(f->key);
    rmdir(f->folder);
    return 0;
}

static void restart(struct fixture *f, int64_t head_timeout_ms)
{
    peer_stop(&f->peer);
    start(f, head_timeout_ms);
}

/* NULL when the handshake fails. */
static SSL *tls_connect(struct fixture *f)
{
    SSL *ssl = SSL_new(f->client);

    SSL_set_fd(ssl, peer_connect(&f->peer));
    if (SSL_connect(ssl) == 1)
        return ssl;
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
    ERR_clear_error();
    return NULL;
}

static void tls_close(SSL *ssl)
{
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
}

static void tls_send(SSL *ssl, const char *text)
{
    assert_int_equal(SSL_write(ssl, text, (int)strlen(text)), strlen(text));
}

static void tls_expect(SSL *ssl, const char *want)
{
    char text[4096] = "";
    size_t len = 0;

    while (strlen(text) < strlen(want) || is_in_date(text)) {
        int n = SSL_read(ssl, text + len, 1);

        assert_int_equal(n, 1);
        text[++len] = '\0';
        if (text[len - 1] == '\n') {
            strip_dates(text);
            len = strlen(text);
        }
    }
    assert_string_equal(text, want);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define EARLY     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly"

static void requests_are_answered_over_tls(void **state)
{
    struct fixture *f = *state;
    SSL *ssl = tls_connect(f);

    assert_non_null(ssl);
    for (int i = 0; i < 3; i++) {
        tls_send(ssl, GET("/early"));
        tls_expect(ssl, EARLY);
        tls_send(ssl, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
        tls_send(ssl, "abc");
        tls_expect(ssl,
                   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc");
    }
    tls_close(ssl);
}

static void large_answers_pass_a_slow_reader(void **state)
{
    struct fixture *f = *state;
    SSL *ssl = tls_connect(f);
    static char buf[65536];
    size_t got = 0;

    tls_send(ssl, GET("/big"));
    tls_expect(ssl, "HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n");
    while (got < PEER_BIG) {
        int n = SSL_read(ssl, buf, sizeof(buf));

        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_int_equal(peer_wait_end(&f->peer, 1), STREAM_COMPLETE);
    tls_send(ssl, GET("/early"));
    tls_expect(ssl, EARLY);
    tls_close(ssl);
}

static void a_close_is_announced(void **state)
{
    struct fixture *f = *state;
    SSL *ssl = tls_connect(f);
    char byte;

    tls_send(ssl, "GET /early HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    tls_expect(ssl, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly");
    assert_int_equal(SSL_read(ssl, &byte, 1), 0);
    assert_int_equal(SSL_get_error(ssl, 0), SSL_ERROR_ZERO_RETURN);
    tls_close(ssl);
}

static void a_client_that_leaves_is_noticed(void **state)
{
    struct fixture *f = *state;
    SSL *ssl = tls_connect(f);

    tls_send(ssl, GET("/hold"));
    peer_wait_started(&f->peer, 1);
    tls_close(ssl);
    assert_int_equal(peer_wait_end(&f->peer, 1), STREAM_CLIENT_GONE);
}

static void only_http_1_1_is_negotiated(void **state)
{
    struct fixture *f = *state;
    const unsigned char *chosen;
    unsigned len;
    SSL *ssl;

    SSL_CTX_set_alpn_protos(f->client, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    ssl = tls_connect(f);
    assert_non_null(ssl);
    SSL_get0_alpn_selected(ssl, &chosen, &len);
    assert_int_equal(len, 8);
    assert_memory_equal(chosen, "http/1.1", 8);
    tls_close(ssl);
    SSL_CTX_set_alpn_protos(f->client, (const unsigned char *)"\x02h2", 3);
    assert_null(tls_connect(f));
}

static void old_versions_are_refused(void **state)
{
    struct fixture *f = *state;
    SSL *ssl;

    SSL_CTX_set_security_level(f->client, 0);
    SSL_CTX_set_min_proto_version(f->client, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(f->client, TLS1_1_VERSION);
    assert_null(tls_connect(f));
    SSL_CTX_set_max_proto_version(f->client, TLS1_2_VERSION);
    ssl = tls_connect(f);
    assert_non_null(ssl);
    assert_int_equal(SSL_version(ssl), TLS1_2_VERSION);
    tls_close(ssl);
}

static void plain_http_on_the_tls_port_is_cut(void **state)
{
    struct fixture *f = *state;
    int fd = peer_connect(&f->peer);
    char byte;

    peer_send(fd, STR(GET("/early")));
    while (peer_read(fd, &byte, 1) > 0) /* perhaps an alert */
        ;
    assert_int_equal(peer_started(&f->peer), 0);
    close(fd);
}

static void a_silent_handshake_ends_with_the_time_for_a_head(void **state)
{
    struct fixture *f = *state;

    restart(f, 50);
    peer_expect_end(peer_connect(&f->peer));
}

static void drop_context(struct peer *peer)
{
    server_set_tls(peer->server, NULL);
}

static void connections_keep_the_context_they_began_with(void **state)
{
    struct fixture *f = *state;
    SSL *ssl = tls_connect(f);
    int fd;

    tls_send(ssl, GET("/early"));
    tls_expect(ssl, EARLY);
    peer_act(&f->peer, drop_context);
    tls_context_unref(f->tls);
    f->tls = NULL;
    tls_send(ssl, GET("/early"));
    tls_expect(ssl, EARLY);
    tls_close(ssl);
    fd = peer_connect(&f->peer);
    peer_send(fd, STR(GET("/early")));
    peer_expect(fd, EARLY);
    close(fd);
}

static void bad_files_are_named(void **state)
{
    struct fixture *f = *state;
    struct tls_context *tls;
    struct err err;

    assert_true(tls_context_new("/absent/cert.pem", f->key, &tls, &err) < 0);
    assert_non_null(strstr(err.text, "/absent/cert.pem"));
    assert_true(tls_context_new(f->cert, f->cert, &tls, &err) < 0);
    assert_non_null(strstr(err.text, f->cert));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(requests_are_answered_over_tls),
        TEST(large_answers_pass_a_slow_reader),
        TEST(a_close_is_announced),
        TEST(a_client_that_leaves_is_noticed),
        TEST(only_http_1_1_is_negotiated),
        TEST(old_versions_are_refused),
        TEST(plain_http_on_the_tls_port_is_cut),
        TEST(a_silent_handshake_ends_with_the_time_for_a_head),
        TEST(connections_keep_the_context_they_began_with),
        TEST(bad_files_are_named),
    };

    return cmocka_run_group_tests_name("http tls", tests, NULL, NULL);
}

/* TLS server connections: OpenSSL between the socket and the HTTP bytes. A small BIO of our own
 * sends and receives through the seam, without SIGPIPE; record buffers are released when empty, so
 * that idle connections stay small. */
#include "http/tls.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/sys.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdatomic.h>

enum { RECORD_MAX = 16384 };

struct tls_context {
    atomic_uint refs;
    SSL_CTX *ctx;
    BIO_METHOD *bio_method;
};

struct tls_filter {
    struct tls_context *tls;
    SSL *ssl;
    int fd;
};

/* ---- The BIO ---- */

static int bio_result(BIO *bio, ssize_t n, int retry_flag)
{
    BIO_clear_retry_flags(bio);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_flags(bio, retry_flag | BIO_FLAGS_SHOULD_RETRY);
    return (int)n;
}

static int bio_read(BIO *bio, char *buf, int len)
{
    struct tls_filter *filter = BIO_get_data(bio);
    ssize_t n = sys.recv(filter->fd, buf, (size_t)len, 0);

    if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return bio_result(bio, n, BIO_FLAGS_READ);
}

static int bio_write(BIO *bio, const char *buf, int len)
{
    struct tls_filter *filter = BIO_get_data(bio);
    union {
        const char *in;
        void *out;
    } base = {.in = buf};
    struct iovec iov = {base.out, (size_t)len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    return bio_result(bio, sys.sendmsg(filter->fd, &msg, MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

static long bio_ctrl(BIO *bio, int command, long number, void *ptr)
{
    (void)number;
    (void)ptr;
    if (command == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *bio_method_new(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fngate socket");

    if (!method)
        return NULL;
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
    return method;
}

/* ---- Contexts ---- */

static int alpn_select(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                       const unsigned char *offered, unsigned len, void *arg)
{
    static const char ours[] = "http/1.1";

    (void)ssl;
    (void)arg;
    for (unsigned at = 0; at + 1 <= len && at + 1 + offered[at] <= len; at += 1u + offered[at]) {
        if (offered[at] != sizeof(ours) - 1 || memcmp(offered + at + 1, ours, offered[at]) != 0)
            continue;
        *ret = offered + at + 1;
        *ret_len = offered[at];
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int tls_fail(struct err *err, const char *file, const char *what)
{
    unsigned long code = ERR_peek_error();
    char text[160];

    ERR_error_string_n(code, text, sizeof(text));
    ERR_clear_error();
    return err_set(err, -EINVAL, "%s: %s: %s", file, what, text);
}

static int tls_load(SSL_CTX *ctx, const char *cert_file, const char *key_file, struct err *err)
{
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1)
        return tls_fail(err, cert_file, "cannot use it as a certificate chain in PEM");
    if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1)
        return tls_fail(err, key_file, "cannot use it as the certificate's private key in PEM");
    if (SSL_CTX_check_private_key(ctx) != 1)
        return tls_fail(err, key_file, "does not belong to the certificate");
    return 0;
}

static SSL_CTX *tls_new_ctx(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    if (!ctx)
        return NULL;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 /* HTTP's framing shows truncation of requests. */
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets carry sessions */
    SSL_CTX_set_alpn_select_cb(ctx, alpn_select, NULL);
    return ctx;
}

int tls_context_new(const char *cert_file, const char *key_file, struct tls_context **ret,
                    struct err *err)
{
    struct tls_context *tls = mem_zalloc(sizeof(*tls));
    int code;

    if (!tls)
        return err_set(err, -ENOMEM, "out of memory");
    atomic_init(&tls->refs, 1);
    tls->bio_method = bio_method_new();
    tls->ctx = tls_new_ctx();
    code = tls->ctx && tls->bio_method ? tls_load(tls->ctx, cert_file, key_file, err)
                                       : err_set(err, -ENOMEM, "out of memory for TLS");
    if (code) {
        tls_context_unref(tls);
        return code;
    }
    *ret = tls;
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *tls)
{
    if (tls)
        atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
    return tls;
}

void tls_context_unref(struct tls_context *tls)
{
    if (!tls || atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(tls->ctx);
    BIO_meth_free(tls->bio_method);
    mem_free(tls);
}

/* ---- The filter ---- */

/* What an SSL call that returned `n` <= 0 means in the words of io_filter. */
static ssize_t filter_result(struct tls_filter *filter, int n, bool *want_write)
{
    int saved = errno;

    switch (SSL_get_error(filter->ssl, n)) {
    case SSL_ERROR_WANT_READ:
        *want_write = false;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        *want_write = true;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        return saved ? -saved : -ECONNRESET;
    default:
        ERR_clear_error();
        return -EPROTO;
    }
}

static ssize_t filter_recv(void *arg, int fd, void *buf, size_t len, bool *want_write)
{
    struct tls_filter *filter = arg;
    int n;

    filter->fd = fd;
    ERR_clear_error();
    errno = 0;
    n = SSL_read(filter->ssl, buf, len < INT32_MAX ? (int)len : INT32_MAX);
    return n > 0 ? n : filter_result(filter, n, want_write);
}

/* The bytes of `iov` after the first `skip`, as one piece of at most a record. */
static struct str gather(const struct iovec *iov, int count, size_t skip, char *space)
{
    size_t len = 0;

    for (int i = 0; i < count && len < RECORD_MAX; i++) {
        size_t left = iov[i].iov_len, part;

        if (skip >= left) {
            skip -= left;
            continue;
        }
        left -= skip;
        part = left < RECORD_MAX - len ? left : RECORD_MAX - len;
        memcpy(space + len, (const char *)iov[i].iov_base + skip, part);
        len += part;
        skip = 0;
    }
    return str_make(space, len);
}

/* After -EAGAIN OpenSSL wants the same bytes again, or more: the queue of io gives just that. */
static ssize_t filter_send(void *arg, int fd, const struct iovec *iov, int count, bool *want_write)
{
    struct tls_filter *filter = arg;
    char space[RECORD_MAX];
    size_t sent = 0;
    struct str piece;
    ssize_t result;
    int n;

    filter->fd = fd;
    for (;;) {
        piece = gather(iov, count, sent, space);
        if (piece.len == 0)
            return (ssize_t)sent;
        ERR_clear_error();
        errno = 0;
        n = SSL_write(filter->ssl, piece.ptr, (int)piece.len);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    if (sent > 0)
        return (ssize_t)sent;
    result = filter_result(filter, n, want_write);
    return result ? result : -EPIPE;
}

/* close_notify; when the socket does not take it, the FIN has to do. */
static void filter_shutdown(void *arg, int fd)
{
    struct tls_filter *filter = arg;

    filter->fd = fd;
    ERR_clear_error();
    if (SSL_is_init_finished(filter->ssl))
        SSL_shutdown(filter->ssl);
    ERR_clear_error();
}

static void filter_free(void *arg)
{
    struct tls_filter *filter = arg;

    SSL_free(filter->ssl);
    tls_context_unref(filter->tls);
    mem_free(filter);
}

int tls_wrap(struct tls_context *tls, struct io *io)
{
    static const struct io_filter ops = {filter_recv, filter_send, filter_shutdown, filter_free};
    struct tls_filter *filter = mem_zalloc(sizeof(*filter));
    BIO *bio = BIO_new(tls->bio_method);

    if (filter)
        filter->ssl = SSL_new(tls->ctx);
    if (!filter || !bio || !filter->ssl) {
        BIO_free(bio);
        if (filter)
            SSL_free(filter->ssl);
        mem_free(filter);
        return -ENOMEM;
    }
    filter->tls = tls_context_ref(tls);
    filter->fd = io_fd(io);
    BIO_set_data(bio, filter);
    BIO_set_init(bio, 1);
    SSL_set_bio(filter->ssl, bio, bio);
    SSL_set_accept_state(filter->ssl);
    io_set_filter(io, &ops, filter);
    return 0;
}

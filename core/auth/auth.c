/* HTTP basic authentication (RFC 7617) with one principal, read from two files. */
#include "auth/auth.h"

#include "auth/base64.h"
#include "auth/throttle.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/sys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_FILE_MAX = 4096, CREDENTIALS_MAX = 8192 };

/* Immutable. */
struct knowledge {
    bool is_open; /* everybody may do everything */
    char *user;
    unsigned char user_hash[SHA256_DIGEST_LENGTH];
    unsigned char password_hash[SHA256_DIGEST_LENGTH];
};

struct auth {
    _Atomic(struct knowledge *) knowledge; /* read by any loop within one turn */
    struct throttle *throttle;
};

static void hash(struct str s, unsigned char digest[SHA256_DIGEST_LENGTH])
{
    SHA256((const unsigned char *)(s.ptr ? s.ptr : ""), s.len, digest);
}

static struct str trim_lines(struct str s)
{
    while (s.len && strchr(" \t\r\n", s.ptr[s.len - 1]))
        s.len--;
    while (s.len && strchr(" \t\r\n", s.ptr[0]))
        s = str_sub(s, 1, s.len);
    return s;
}

/* Opens a file that must be there, regular, and closed to others. */
static int open_private(const char *file, struct err *err)
{
    AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0 && errno == ENOENT)
        return err_set(err, -ENOENT, "%s: there is no such file; create it, or set auth to none",
                       file);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, -errno, "%s: cannot be read: %s", file, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, -EINVAL, "%s: is not a regular file", file);
    if (st.st_mode & S_IRWXO)
        return err_set(err, -EPERM, "%s: every user of this machine can open it; run: chmod o= %s",
                       file, file);
    return TAKE_FD(fd);
}

/* Content of a credential file without surrounding white space. Points into `space`. */
static int read_private(const char *file, char space[SECRET_FILE_MAX + 1], struct str *ret,
                        struct err *err)
{
    AUTO_CLOSE int fd = open_private(file, err);
    ssize_t n, len = 0;

    if (fd < 0)
        return fd;
    while ((n = read(fd, space + len, (size_t)(SECRET_FILE_MAX + 1 - len))) > 0)
        len += n;
    if (n < 0)
        return err_set(err, -errno, "%s: cannot be read: %s", file, strerror(errno));
    if (len > SECRET_FILE_MAX)
        return err_set(err, -EFBIG, "%s: holds more than %d bytes", file, SECRET_FILE_MAX);
    *ret = trim_lines(str_make(space, (size_t)len));
    if (ret->len == 0)
        return err_set(err, -EINVAL, "%s: is empty", file);
    return 0;
}

static struct auth *auth_new(struct knowledge *knowledge)
{
    struct auth *auth = xcalloc(1, sizeof(*auth));

    atomic_init(&auth->knowledge, knowledge);
    auth->throttle = throttle_new();
    return auth;
}

int auth_new_basic(const char *user_file, const char *password_file, struct auth **ret,
                   struct err *err)
{
    char user_space[SECRET_FILE_MAX + 1], password_space[SECRET_FILE_MAX + 1];
    struct str user, password;
    struct knowledge *knowledge;
    int error;

    error = read_private(user_file, user_space, &user, err);
    if (!error && str_find(user, ':') >= 0)
        error = err_set(err, -EINVAL, "%s: a user name cannot contain ':'", user_file);
    if (!error)
        error = read_private(password_file, password_space, &password, err);
    if (!error) {
        knowledge = xcalloc(1, sizeof(*knowledge));
        knowledge->user = str_dup(user);
        hash(user, knowledge->user_hash);
        hash(password, knowledge->password_hash);
        *ret = auth_new(knowledge);
    }
    OPENSSL_cleanse(user_space, sizeof(user_space));
    OPENSSL_cleanse(password_space, sizeof(password_space));
    return error;
}

struct auth *auth_new_open(void)
{
    struct knowledge *knowledge = xcalloc(1, sizeof(*knowledge));

    knowledge->is_open = true;
    return auth_new(knowledge);
}

void auth_swap(struct auth *auth, struct auth *fresh)
{
    atomic_store(&fresh->knowledge,
                 atomic_exchange(&auth->knowledge, atomic_load(&fresh->knowledge)));
}

void auth_free(struct auth *auth)
{
    struct knowledge *knowledge = auth ? atomic_load(&auth->knowledge) : NULL;

    if (!auth)
        return;
    throttle_free(auth->throttle);
    mem_free(knowledge->user);
    OPENSSL_cleanse(knowledge, sizeof(*knowledge));
    mem_free(knowledge);
    mem_free(auth);
}

/* Both halves are hashed and compared whatever the user is, so that time tells nothing. */
static bool is_known(const struct knowledge *knowledge, struct str user, struct str password)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    int differs;

    hash(user, digest);
    differs = CRYPTO_memcmp(digest, knowledge->user_hash, sizeof(digest));
    hash(password, digest);
    differs |= CRYPTO_memcmp(digest, knowledge->password_hash, sizeof(digest));
    OPENSSL_cleanse(digest, sizeof(digest));
    return differs == 0;
}

/* `encoded` is base64 of "user:password". */
static bool is_right(const struct knowledge *knowledge, struct str encoded)
{
    char plain[CREDENTIALS_MAX / 4 * 3];
    struct str pair;
    ptrdiff_t colon;
    bool is_ok;

    if (encoded.len > CREDENTIALS_MAX || !base64_decode(encoded, plain, &pair.len))
        return false;
    pair.ptr = plain;
    colon = str_find(pair, ':');
    is_ok = colon >= 0 && is_known(knowledge, str_sub(pair, 0, (size_t)colon),
                                   str_sub(pair, (size_t)colon + 1, pair.len));
    OPENSSL_cleanse(plain, pair.len);
    return is_ok;
}

/* Splits "Scheme credentials"; false when there are no credentials. faas-cli sends "Bearer " with
 * nothing behind it when nobody has logged in. */
static bool credentials_of(const struct http_head *request, struct str *ret_scheme,
                           struct str *ret_value)
{
    struct str text = str_trim(http_head_get(request, STR("Authorization")));
    ptrdiff_t space = str_find(text, ' ');

    if (text.len == 0 || str_ieq(text, STR("Bearer")))
        return false;
    *ret_scheme = space < 0 ? text : str_sub(text, 0, (size_t)space);
    *ret_value = space < 0 ? STR("") : str_trim(str_sub(text, (size_t)space, text.len));
    return true;
}

enum auth_verdict auth_check(struct auth *auth, const struct http_head *request,
                             enum permission permission, struct str peer, struct str *ret_principal)
{
    const struct knowledge *knowledge = atomic_load(&auth->knowledge);
    struct str scheme, value;
    int64_t now_ms;

    ASSERT(permission >= PERM_PUBLIC && permission < PERM_COUNT);
    *ret_principal = STR_NONE;
    if (knowledge->is_open || permission == PERM_PUBLIC)
        return AUTH_OK;
    if (!credentials_of(request, &scheme, &value))
        return AUTH_NEEDED;
    now_ms = sys_monotonic_ms();
    if (throttle_is_closed(auth->throttle, peer, now_ms))
        return AUTH_THROTTLED;
    if (!str_ieq(scheme, STR("Basic")) || !is_right(knowledge, value)) {
        throttle_count_wrong(auth->throttle, peer, now_ms);
        return AUTH_NEEDED;
    }
    throttle_forgive(auth->throttle, peer);
    *ret_principal = str_from(knowledge->user);
    return AUTH_OK;
}

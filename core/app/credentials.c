/* Credentials made on the first start: 20 random bytes, written once, readable by the owner only.
 */
#include "app/credentials.h"

#include "base/log.h"
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PASSWORD_BYTES = 20 };

/* Creates the file with its content; one that exists already is left as it is. */
static int write_once(const char *path, struct str content, bool *ret_is_new, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    *ret_is_new = fd >= 0;
    if (fd < 0 && errno == EEXIST)
        return 0;
    if (fd < 0 || write(fd, content.ptr, content.len) != (ssize_t)content.len || fsync(fd) < 0)
        return err_set(err, -errno, "%s cannot be written: %s", path, strerror(errno));
    return 0;
}

static void random_password(char text[2 * PASSWORD_BYTES + 1])
{
    unsigned char bytes[PASSWORD_BYTES];

    sys_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    explicit_bzero(bytes, sizeof(bytes));
}

static int make_pair(const char *user_file, const char *password_file, struct err *err)
{
    char password[2 * PASSWORD_BYTES + 1];
    bool is_new;
    int error = write_once(user_file, STR("admin"), &is_new, err);

    if (error)
        return error;
    random_password(password);
    error = write_once(password_file, str_from(password), &is_new, err);
    explicit_bzero(password, sizeof(password));
    if (!error && is_new)
        log_info("app", "made a password for user admin: %s", password_file);
    return error;
}

int credentials_open(const struct settings *settings, struct auth **ret, struct err *err)
{
    AUTO_FREE char *folder = xasprintf("%.*s/auth", STR_ARG(settings->state_dir));
    AUTO_FREE char *user_file = xasprintf("%s/basic-auth-user", folder);
    AUTO_FREE char *password_file = xasprintf("%s/basic-auth-password", folder);
    int error;

    if (!settings->auth.is_enabled) {
        *ret = auth_new_open();
        log_warn("app", "authentication is off: whoever reaches the gateway controls it");
        return 0;
    }
    if (settings->auth.user_file.len)
        return auth_new_basic(settings->auth.user_file.ptr, settings->auth.password_file.ptr, ret,
                              err);
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return err_set(err, -errno, "%s cannot be made: %s", folder, strerror(errno));
    error = make_pair(user_file, password_file, err);
    return error ? error : auth_new_basic(user_file, password_file, ret, err);
}

/* The image of a function without an image registry: a folder below functions_root, or nothing.
 *
 * The reference keeps the form that faas-cli knows, REPOSITORY[:TAG]. The repository "process"
 * means that there are no files; any other is a path below functions_root, and the tag picks the
 * folder of that name in it where there is one. */
#include "process.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MANIFEST_MAX = 1 << 20 };

static bool is_component(const char *text, size_t len)
{
    if (len == 0 || text[0] == '.')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("._-:", text[i]))
            return false;
    return true;
}

static bool is_path(const char *text)
{
    for (;;) {
        size_t len = strcspn(text, "/");

        if (!is_component(text, len))
            return false;
        if (text[len] == '\0')
            return true;
        text += len + 1;
    }
}

/* The kernel refuses every way out of the root, symlinks included. */
static char *open_below(const char *root, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    AUTO_CLOSE int root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int fd = -1;
    AUTO_FREE char *link = NULL;

    if (root_fd < 0)
        return NULL;
    fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    if (fd < 0)
        return NULL;
    link = text_format("/proc/self/fd/%d", fd);
    return realpath(link, NULL);
}

static int32_t read_manifest(struct image *image, char **ret_error)
{
    AUTO_FREE char *path = text_format("%s/function.json", image->folder);
    AUTO_FREE char *text = file_read(path, MANIFEST_MAX, NULL);
    json_error_t error;

    if (!text && errno == ENOENT)
        return FNG_OK;
    image->manifest = text ? json_loads(text, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (json_is_object(image->manifest))
        return FNG_OK;
    *ret_error = text ? text_format("%s:%d: %s", path, error.line, error.text)
                      : text_format("%s: %s", path, strerror(errno));
    return FNG_E_INVALID;
}

static int32_t find_folder(const struct provider *p, const char *repository, const char *tag,
                           struct image *ret, char **ret_error)
{
    AUTO_FREE char *tagged = text_format("%s/%s", repository, tag);

    if (*tag && is_component(tag, strlen(tag)))
        ret->folder = open_below(p->root_path, tagged);
    if (!ret->folder)
        ret->folder = open_below(p->root_path, repository);
    if (!ret->folder && errno == EXDEV)
        *ret_error =
            text_format("image '%s' leads out of %s by a symlink", repository, p->root_path);
    else if (!ret->folder)
        *ret_error = text_format("image '%s': there is no folder %s/%s; put the function's files "
                                 "there, or use image 'process' and a command",
                                 repository, p->root_path, repository);
    return ret->folder ? read_manifest(ret, ret_error) : FNG_E_INVALID;
}

int32_t image_resolve(const struct provider *p, const char *image, struct image *ret,
                      char **ret_error)
{
    AUTO_FREE char *repository = text_copy(image);
    char *slash = strrchr(repository, '/');
    char *colon = strrchr(slash ? slash : repository, ':');
    const char *tag = "";

    *ret = (struct image){0};
    if (colon) {
        *colon = '\0';
        tag = colon + 1;
    }
    if (strcmp(repository, "process") == 0) {
        ret->folder = text_copy("/");
        return FNG_OK;
    }
    if (!is_path(repository)) {
        *ret_error =
            text_format("image '%s' is not a reference of the form NAME[/NAME...][:TAG]", image);
        return FNG_E_INVALID;
    }
    ret->has_files = true;
    return find_folder(p, repository, tag, ret, ret_error);
}

void image_free(struct image *image)
{
    free(image->folder);
    json_decref(image->manifest);
    *image = (struct image){0};
}

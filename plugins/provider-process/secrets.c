/* Secrets: files below state/secrets/NAMESPACE, and per function and revision a folder with copies
 * of those it asked for. Copies are replaced by rename, so a function that reads again sees the new
 * one. */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_MAX = 1 << 20, NAME_MAX_LEN = 253 };

static bool is_secret_name(struct fng_str name)
{
    if (name.len == 0 || name.len > NAME_MAX_LEN || name.ptr[0] == '.')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_' || c == '.'))
            return false;
    }
    return true;
}

static char *secret_path(const struct provider *p, const char *ns, const char *name)
{
    return text_format("%s/secrets/%s/%s", p->state_path, ns, name);
}

bool secret_exists(const struct provider *p, const char *ns, const char *name)
{
    AUTO_FREE char *path = secret_path(p, ns, name);

    return is_secret_name(fng_str_from(name)) && access(path, F_OK) == 0;
}

char *secrets_folder(const struct provider *p, const struct function *fn, uint64_t revision)
{
    return text_format("%s/mounts/%s/%s/%llu", p->state_path, fn->ns, fn->name,
                       (unsigned long long)revision);
}

static int give(const struct provider *p, const char *folder, const char *name, const char *value,
                size_t len)
{
    AUTO_FREE char *path = text_format("%s/%s", folder, name);

    return file_write(path, value, len, 0600, p->uid >= 0 ? (uid_t)p->uid : (uid_t)-1,
                      p->uid >= 0 ? (gid_t)p->gid : (gid_t)-1);
}

int secrets_prepare(const struct provider *p, const struct function *fn)
{
    AUTO_FREE char *folder = secrets_folder(p, fn, fn->revision);
    const json_t *names = json_object_get(fn->spec, "secrets");
    size_t i;
    json_t *item;
    int r;

    if (json_array_size(names) == 0)
        return 0;
    r = folder_make(folder, 0700);
    if (r == 0 && p->uid >= 0 && chown(folder, (uid_t)p->uid, (gid_t)p->gid) < 0)
        r = -errno;
    json_array_foreach(names, i, item)
    {
        AUTO_FREE char *path = secret_path(p, fn->ns, json_string_value(item));
        size_t len;
        AUTO_FREE char *value = r == 0 ? file_read(path, SECRET_MAX, &len) : NULL;

        if (r == 0)
            r = value ? give(p, folder, json_string_value(item), value, len) : -errno;
    }
    return r;
}

/* Visits the folders below `path`, `depth` levels down, and renews the secret where it is mounted.
 */
static void renew(const struct provider *p, const char *path, int depth, const char *name,
                  struct fng_str value)
{
    AUTO_FREE char *file = text_format("%s/%s", path, name);
    struct dirent *entry;
    DIR *dir;

    if (depth == 0) {
        if (access(file, F_OK) == 0 && give(p, path, name, value.ptr, value.len) < 0)
            fng_log(p->host, FNG_LOG_ERROR, "%s cannot be renewed: %s", file, strerror(errno));
        return;
    }
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        AUTO_FREE char *below = text_format("%s/%s", path, entry->d_name);

        if (entry->d_name[0] != '.')
            renew(p, below, depth - 1, name, value);
    }
    if (dir)
        closedir(dir);
}

static int32_t check_names(struct provider *p, struct fng_str ns, struct fng_str name)
{
    if (!name_is_label(ns))
        return fng_invalid(p->host, "namespace", "'%.*s' is not a namespace's name", (int)ns.len,
                           ns.ptr);
    if (!is_secret_name(name))
        return fng_invalid(p->host, "name",
                           "'%.*s' is not a secret's name: letters, digits, '-', '_' and '.', not "
                           "beginning with a dot, at most 253",
                           (int)name.len, name.ptr);
    return FNG_OK;
}

int32_t op_secret_set(void *self, struct fng_str ns, struct fng_str name, struct fng_str value,
                      uint32_t mode)
{
    struct provider *p = self;
    AUTO_FREE char *space = text_format("%.*s", (int)ns.len, ns.ptr);
    AUTO_FREE char *secret = text_format("%.*s", (int)name.len, name.ptr);
    AUTO_FREE char *folder = text_format("%s/secrets/%s", p->state_path, space);
    AUTO_FREE char *mounts = text_format("%s/mounts/%s", p->state_path, space);
    AUTO_FREE char *path = secret_path(p, space, secret);
    int32_t r = check_names(p, ns, name);
    bool exists;

    if (r != FNG_OK)
        return r;
    if (value.len > SECRET_MAX)
        return fng_invalid(p->host, "value", "a secret has at most %d bytes", SECRET_MAX);
    exists = access(path, F_OK) == 0;
    if (mode == FNG_SECRET_CREATE && exists)
        return fng_fail(p->host, FNG_E_CONFLICT, "secret %s exists already", secret);
    if (mode == FNG_SECRET_UPDATE && !exists)
        return fng_fail(p->host, FNG_E_NOT_FOUND, "there is no secret %s", secret);
    r = folder_make(folder, 0700);
    if (r == 0)
        r = file_write(path, value.ptr, value.len, 0600, (uid_t)-1, (gid_t)-1);
    if (r < 0)
        return fng_fail(p->host, FNG_E_INTERNAL, "%s cannot be written: %s", path, strerror(-r));
    renew(p, mounts, 2, secret, value);
    return FNG_OK;
}

int32_t op_secret_remove(void *self, struct fng_str ns, struct fng_str name)
{
    struct provider *p = self;
    AUTO_FREE char *space = text_format("%.*s", (int)ns.len, ns.ptr);
    AUTO_FREE char *secret = text_format("%.*s", (int)name.len, name.ptr);
    AUTO_FREE char *path = secret_path(p, space, secret);
    int32_t r = check_names(p, ns, name);

    if (r != FNG_OK)
        return r;
    if (unlink(path) == 0)
        return FNG_OK;
    if (errno == ENOENT)
        return fng_fail(p->host, FNG_E_NOT_FOUND, "there is no secret %s", secret);
    return fng_fail(p->host, FNG_E_INTERNAL, "%s cannot be removed: %s", path, strerror(errno));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_secret_file(const struct dirent *entry)
{
    return is_secret_name(fng_str_from(entry->d_name));
}

int32_t op_secret_list(void *self, struct fng_str ns, fng_name_f *on_name, void *arg)
{
    struct provider *p = self;
    AUTO_FREE char *folder =
        text_format("%s/secrets/%.*s", p->state_path, (int)ns.len, ns.ptr ? ns.ptr : "");
    struct dirent **entries = NULL;
    bool goes_on = true;
    int count;

    if (!name_is_label(ns))
        return FNG_OK;
    count = scandir(folder, &entries, is_secret_file, by_name);
    for (int i = 0; i < count; i++) {
        goes_on = goes_on && on_name(arg, fng_str_from(entries[i]->d_name)) == 0;
        free(entries[i]);
    }
    free(entries);
    return FNG_OK;
}

/* The process provider: functions as supervised local processes. The descriptor, the configuration
 * and the life of an instance. */
#include "process.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

enum { SOCKET_NAME_MAX = 32 }; /* "/r<number>.sock", with room */

#define KEY(n, t, member, ...)                                                                     \
    {                                                                                              \
        .name = n, .type = FNG_CONF_##t, .offset = offsetof(struct provider, member), __VA_ARGS__  \
    }

static const struct fng_config_key keys[] = {
    KEY("functions_root", STR, functions_root,
        .help = "Folder below which an image names a function's files; default: functions in the "
                "state folder."),
    KEY("supervisor", STR, supervisor,
        .help = "Path of fngate-supervisor; default: beside the gateway."),
    KEY("watchdog", STR, watchdog, .help = "Path of fwatchdog; default: beside the gateway."),
    KEY("run_dir", STR, run_dir,
        .help = "Folder of sockets and of what runs; its path must be short; default: run in the "
                "state folder."),
    KEY("user", STR, user,
        .help = "User that functions run as, when the gateway is root; default: the gateway's."),
    KEY("secrets_mount", STR, secrets_mount, .default_value = "/var/openfaas/secrets",
        .help = "Where a function sees its secrets when private mounts can be made (as root); "
                "empty: only the folder named by OPENFAAS_SECRETS_DIR."),
    KEY("strict", BOOL, is_strict, .default_value = "false",
        .help = "Refuse a function that asks for what cannot be honoured, instead of warning."),
    KEY("drain_timeout", DURATION, drain_timeout_ms, .default_value = "60s", .min = 0,
        .max = 86400000,
        .help = "How long a replica that leaves waits for the end of its requests."),
    KEY("ready_timeout", DURATION, ready_timeout_ms, .default_value = "30s", .min = 100,
        .max = 86400000,
        .help = "How long a new revision may take to get ready before it is given up."),
    KEY("stop_grace", DURATION, stop_grace_ms, .default_value = "10s", .min = 0, .max = 3600000,
        .help = "Time between SIGTERM and SIGKILL."),
    KEY("log_max_bytes", SIZE, log_max_bytes, .default_value = "10Mi", .min = 4096,
        .max = INT64_C(1) << 40, .help = "Size at which a replica's log file is rotated."),
    KEY("log_files", INT, log_files, .default_value = "3", .min = 1, .max = 100,
        .help = "Number of log files kept per replica, the current one included."),
    KEY("replicas_max", INT, replicas_max, .default_value = "100", .min = 1, .max = 10000,
        .help = "Most replicas of one function."),
    KEY("open_files_max", INT, nofile, .default_value = "4096", .min = 16, .max = 1048576,
        .help = "Most open files of one process of a function."),
};

static int32_t load(void *self, const struct fng_host *host)
{
    struct provider *p = self;

    p->host = host;
    p->link.fd = p->wake_fd = -1;
    p->uid = p->gid = -1;
    pthread_mutex_init(&p->write_lock, NULL);
    pthread_mutex_init(&p->lock, NULL);
    return FNG_OK;
}

static int32_t check_absolute(struct provider *p, const char *key, struct fng_str path)
{
    if (path.len == 0 || path.ptr[0] == '/')
        return FNG_OK;
    return fng_invalid(p->host, key, "%s must be an absolute path, got '%.*s'", key, (int)path.len,
                       path.ptr);
}

static int32_t config_complete(void *self)
{
    struct provider *p = self;
    int32_t r = check_absolute(p, "functions_root", p->functions_root);

    if (r == FNG_OK)
        r = check_absolute(p, "supervisor", p->supervisor);
    if (r == FNG_OK)
        r = check_absolute(p, "watchdog", p->watchdog);
    if (r == FNG_OK)
        r = check_absolute(p, "run_dir", p->run_dir);
    if (r == FNG_OK)
        r = check_absolute(p, "secrets_mount", p->secrets_mount);
    if (r != FNG_OK)
        return r;
    if (p->run_dir.len + SOCKET_NAME_MAX > sizeof(((struct sockaddr_un *)0)->sun_path))
        return fng_invalid(p->host, "run_dir", "run_dir is too long for the sockets in it");
    return FNG_OK;
}

static char *path_or(struct fng_str given, const char *folder, const char *name)
{
    return given.len > 0 ? text_format("%.*s", (int)given.len, given.ptr)
                         : text_format("%s/%s", folder, name);
}

static int32_t set_paths(struct provider *p)
{
    const char *libexec = p->host->libexec_dir.ptr ? p->host->libexec_dir.ptr : "";

    p->state_path = realpath(p->host->state_dir.ptr, NULL);
    if (!p->state_path)
        return fng_fail(p->host, FNG_E_INTERNAL, "state folder %s: %s", p->host->state_dir.ptr,
                        strerror(errno));
    p->run_path = path_or(p->run_dir, p->state_path, "run");
    p->root_path = path_or(p->functions_root, p->state_path, "functions");
    p->supervisor_path = path_or(p->supervisor, libexec, "fngate-supervisor");
    p->watchdog_path = path_or(p->watchdog, libexec, "fwatchdog");
    if (strlen(p->run_path) + SOCKET_NAME_MAX > sizeof(((struct sockaddr_un *)0)->sun_path))
        return fng_invalid(p->host, "run_dir",
                           "%s is too long for the sockets in it: set run_dir to a shorter path",
                           p->run_path);
    if (folder_make(p->run_path, 0700) < 0 || access(p->run_path, W_OK) < 0)
        return fng_fail(p->host, FNG_E_INTERNAL, "%s: %s", p->run_path, strerror(errno));
    return FNG_OK;
}

static int32_t set_user(struct provider *p)
{
    const struct passwd *user;

    if (p->user.len == 0)
        return FNG_OK;
    user = getpwnam(p->user.ptr);
    if (!user)
        return fng_invalid(p->host, "user", "there is no user '%s'", p->user.ptr);
    if (geteuid() != 0 && geteuid() != user->pw_uid)
        return fng_invalid(p->host, "user", "only root can run functions as another user");
    if (geteuid() == 0) {
        p->uid = user->pw_uid;
        p->gid = user->pw_gid;
    }
    return FNG_OK;
}

static int32_t start(void *self)
{
    struct provider *p = self;
    AUTO_FREE char *error = NULL;
    int32_t r = set_paths(p);

    if (r == FNG_OK)
        r = set_user(p);
    if (r != FNG_OK)
        return r;
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->wake_fd < 0)
        return fng_fail(p->host, FNG_E_INTERNAL, "eventfd: %s", strerror(errno));
    if (link_open(p, &error) < 0)
        return fng_fail(p->host, FNG_E_UNAVAILABLE, "%s", error ? error : "no supervisor");
    /* Read now that a former gateway, if there is one, takes no more orders. */
    r = functions_load(p);
    return r == FNG_OK ? r : fng_fail(p->host, r, "the functions cannot be read from the store");
}

/* The supervisor and the replicas stay: the next gateway takes them over. */
static void stop(void *self)
{
    link_close(self);
}

static void unload(void *self)
{
    struct provider *p = self;

    link_close(p);
    functions_free(p);
    json_decref(p->link_events);
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    free(p->state_path);
    free(p->run_path);
    free(p->root_path);
    free(p->supervisor_path);
    free(p->watchdog_path);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->write_lock);
}

static const struct fng_provider_ops ops = {.size = sizeof(ops),
                                            .orchestration = "process",
                                            .deploy = op_deploy,
                                            .update = op_update,
                                            .remove = op_remove,
                                            .scale = op_scale,
                                            .activate = op_activate,
                                            .endpoint_released = op_endpoint_released,
                                            .logs = op_logs,
                                            .watch = op_watch,
                                            .secret_list = op_secret_list,
                                            .usage = op_usage,
                                            .secret_set = op_secret_set,
                                            .secret_remove = op_secret_remove};

static const struct fng_plugin descriptor = {
    .magic = FNG_PLUGIN_MAGIC,
    .size = sizeof(descriptor),
    .abi_major = FNG_ABI_MAJOR,
    .abi_minor = FNG_ABI_MINOR,
    .kind = FNG_KIND_PROVIDER,
    .capabilities =
        FNG_PROVIDER_CAN_LIMIT_MEMORY | FNG_PROVIDER_CAN_LIMIT_CPU | FNG_PROVIDER_CAN_SCALE_TO_ZERO,
    .name = "provider-process",
    .version = "0.1.0",
    .description = "Runs functions as supervised processes on the gateway's own host.",
    .self_size = sizeof(struct provider),
    .config = keys,
    .config_count = COUNT_OF(keys),
    .config_stride = sizeof(keys[0]),
    .load = load,
    .config_complete = config_complete,
    .start = start,
    .stop = stop,
    .unload = unload,
    .operations = &ops};

FNG_PLUGIN_REGISTER(descriptor)

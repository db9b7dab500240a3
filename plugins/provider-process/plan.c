/* From a function to what the supervisor shall run: command, environment, folder, limits. */
#include "process.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANNOTATION_MODE  "com.openfaas.process.mode"
#define ANNOTATION_READY "com.openfaas.ready.http.path"
#define DEFAULT_PATH     "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

json_t *command_split(const char *text)
{
    json_t *words = json_array();
    AUTO_FREE char *word = zalloc(strlen(text) + 1);
    size_t len = 0;
    bool is_open = false; /* a word has begun, be it an empty one */
    char quote = '\0';

    for (const char *p = text; *p; p++) {
        if (*p == '\\' && quote != '\'' && p[1]) {
            word[len++] = *++p;
            is_open = true;
        } else if (quote ? *p == quote : *p == '"' || *p == '\'') {
            quote = quote ? '\0' : *p;
            is_open = true;
        } else if (!quote && strchr(" \t\r\n", *p)) {
            if (is_open)
                json_array_append_new(words, json_stringn(word, len));
            is_open = false;
            len = 0;
        } else {
            word[len++] = *p;
            is_open = true;
        }
    }
    if (is_open)
        json_array_append_new(words, json_stringn(word, len));
    if (!quote)
        return words;
    json_decref(words);
    return NULL;
}

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* Absolute path of a command as the function would find it; NULL: not there. */
static char *find_program(const char *command, const char *folder, const char *path)
{
    AUTO_FREE char *folders = text_copy(path);
    char *rest = folders, *item, *found;

    if (strchr(command, '/')) {
        found = *command == '/' ? text_copy(command) : text_format("%s/%s", folder, command);
        if (is_program(found))
            return found;
        free(found);
        return NULL;
    }
    while ((item = strsep(&rest, ":"))) {
        found = text_format("%s/%s", item, command);
        if (is_program(found))
            return found;
        free(found);
    }
    return NULL;
}

static const char *first_text(const char *a, const char *b, const char *c)
{
    return a && *a ? a : b && *b ? b : c;
}

/* The command line: of the request, of the manifest, or the one program that the folder holds. */
static const char *pick_command(const json_t *spec, const struct image *image)
{
    AUTO_FREE char *handler = text_format("%s/handler", image->folder);
    AUTO_FREE char *main_program = text_format("%s/main", image->folder);
    const char *fallback = "";

    if (image->has_files && is_program(handler))
        fallback = "./handler";
    else if (image->has_files && is_program(main_program))
        fallback = "./main";
    return first_text(wire_text(spec, "env_process"), wire_text(image->manifest, "fprocess"),
                      fallback);
}

static void set_text(json_t *env, const char *key, const char *value)
{
    json_object_set_new(env, key, json_string(value));
}

static json_t *make_env(const struct provider *p, const struct function *fn,
                        const struct image *image, const char *secrets_dir)
{
    json_t *env = json_object();
    AUTO_FREE char *path =
        image->has_files ? text_format("%s:" DEFAULT_PATH, image->folder) : text_copy(DEFAULT_PATH);

    (void)p;
    set_text(env, "PATH", path);
    set_text(env, "HOME", image->folder);
    set_text(env, "LANG", "C.UTF-8");
    json_object_update(env, json_object_get(image->manifest, "env"));
    json_object_update(env, json_object_get(fn->spec, "env"));
    set_text(env, "OPENFAAS_NAME", fn->name);
    set_text(env, "OPENFAAS_NAMESPACE", fn->ns);
    if (secrets_dir) {
        set_text(env, "OPENFAAS_SECRETS_DIR", secrets_dir);
        set_text(env, "secret_mount_path", secrets_dir);
    }
    return env;
}

static json_t *flatten(json_t *env)
{
    json_t *list = json_array(), *value;
    const char *key;

    json_object_foreach(env, key, value)
    {
        AUTO_FREE char *item =
            text_format("%s=%s", key, json_is_string(value) ? json_string_value(value) : "");

        if (*key && !strchr(key, '='))
            json_array_append_new(list, json_string(item));
    }
    return list;
}

static void set_default(json_t *env, const char *key, const char *value)
{
    if (!json_object_get(env, key))
        set_text(env, key, value);
}

static int32_t wrong(const char **ret_field, char **ret_error, const char *field, char *error)
{
    *ret_field = field;
    *ret_error = error;
    return FNG_E_INVALID;
}

/* The argv: the command itself, or the watchdog, which gets the command in its environment. */
static int32_t make_argv(const struct provider *p, struct plan *plan, const char *command,
                         const char *mode, const struct image *image, json_t *env,
                         const char **ret_field, char **ret_error)
{
    json_t *words = command_split(command);
    const char *first = json_string_value(json_array_get(words, 0));
    AUTO_FREE char *program =
        first ? find_program(first, image->folder, wire_text(env, "PATH")) : NULL;

    json_object_set_new(plan->body, "argv", words ? words : json_array());
    if (!words)
        return wrong(ret_field, ret_error, "envProcess",
                     text_format("the command '%s' has a quote that is not closed", command));
    if (!first)
        return wrong(ret_field, ret_error, "envProcess",
                     text_copy("there is no command: set envProcess, or give the image folder a "
                               "function.json with fprocess, or a program named handler or main"));
    if (!program)
        return wrong(ret_field, ret_error, "envProcess",
                     text_format("the command '%s' is not a program in %s or on the path", first,
                                 image->folder));
    if (plan->is_direct) {
        json_array_set_new(words, 0, json_string(program));
        return FNG_OK;
    }
    if (!is_program(p->watchdog_path))
        return wrong(ret_field, ret_error, "annotations",
                     text_format("mode '%s' needs the watchdog, and %s is not there; set the "
                                 "annotation " ANNOTATION_MODE "=direct if the program serves "
                                 "HTTP on descriptor 3",
                                 mode, p->watchdog_path));
    json_array_clear(words);
    json_array_append_new(words, json_string(p->watchdog_path));
    set_text(env, "fprocess", command);
    set_text(env, "mode", mode);
    set_default(env, "metrics_port", "0");
    set_default(env, "suppress_lock", "true");
    set_default(env, "fprocess_quoting", "true");
    /* When SIGTERM comes the gateway has drained the replica already. */
    set_default(env, "healthcheck_interval", "0");
    return FNG_OK;
}

static int32_t set_limit(json_t *body, const json_t *spec, const char *name, double factor,
                         const char **ret_field, char **ret_error)
{
    const char *text = spec_map(spec, "limits", name);
    double value;

    if (!text || !*text)
        return FNG_OK;
    if (!quantity_parse(text, &value) || value <= 0 || value * factor > 1e15)
        return wrong(ret_field, ret_error,
                     strcmp(name, "cpu") == 0 ? "limits.cpu" : "limits.memory",
                     text_format("'%s' is not a quantity such as 64Mi, 0.5 or 100m", text));
    json_object_set_new(body, name, json_integer((json_int_t)(value * factor + 0.5)));
    return FNG_OK;
}

static void set_constants(const struct provider *p, const struct function *fn, const char *replica,
                          json_t *body)
{
    AUTO_FREE char *logs = log_folder(p, fn->ns, fn->name);
    AUTO_FREE char *log = text_format("%s/%s.log", logs, replica);

    set_text(body, "ns", fn->ns);
    set_text(body, "function", fn->name);
    set_text(body, "name", replica);
    set_text(body, "log", log);
    json_object_set_new(body, "revision", json_integer((json_int_t)fn->revision));
    json_object_set_new(body, "log_max", json_integer((json_int_t)p->log_max_bytes));
    json_object_set_new(body, "log_files", json_integer(p->log_files));
    json_object_set_new(body, "grace_ms", json_integer(p->stop_grace_ms));
    json_object_set_new(body, "nofile", json_integer(p->nofile));
    if (p->uid >= 0) {
        json_object_set_new(body, "uid", json_integer(p->uid));
        json_object_set_new(body, "gid", json_integer(p->gid));
    }
}

/* Returns where the function sees its secrets, to be freed; NULL when it has none. */
static char *set_secrets(const struct provider *p, const struct function *fn, json_t *body)
{
    AUTO_FREE char *folder = NULL;

    if (json_array_size(json_object_get(fn->spec, "secrets")) == 0)
        return NULL;
    folder = secrets_folder(p, fn, fn->revision);
    if (!p->can_mount || p->secrets_mount.len == 0)
        return text_copy(folder);
    set_text(body, "secrets_from", folder);
    set_text(body, "secrets_at", p->secrets_mount.ptr);
    return text_copy(p->secrets_mount.ptr);
}

static int32_t fill(struct provider *p, const struct function *fn, const struct image *image,
                    struct plan *plan, const char **ret_field, char **ret_error)
{
    AUTO_FREE char *secrets_dir = set_secrets(p, fn, plan->body);
    AUTO_JSON json_t *env = make_env(p, fn, image, secrets_dir);
    const char *mode =
        first_text(spec_map(fn->spec, "annotations", ANNOTATION_MODE), wire_text(env, "mode"),
                   first_text(wire_text(image->manifest, "mode"), NULL, "streaming"));
    const char *ready = first_text(spec_map(fn->spec, "annotations", ANNOTATION_READY),
                                   wire_text(image->manifest, "ready"), NULL);
    int32_t r;

    plan->is_direct = strcmp(mode, "direct") == 0;
    plan->needs_probe = ready || strcmp(mode, "http") == 0;
    plan->ready_path = text_copy(ready ? ready : "/_/ready");
    set_text(plan->body, "folder", image->folder);
    r = make_argv(p, plan, pick_command(fn->spec, image), mode, image, env, ret_field, ret_error);
    json_object_set_new(plan->body, "env", flatten(env));
    if (r == FNG_OK)
        r = set_limit(plan->body, fn->spec, "memory", 1, ret_field, ret_error);
    if (r == FNG_OK)
        r = set_limit(plan->body, fn->spec, "cpu", 1000, ret_field, ret_error);
    return r;
}

int32_t plan_make(struct provider *p, const struct function *fn, const char *replica,
                  struct plan *ret, const char **ret_field, char **ret_error)
{
    struct image image;
    int32_t r;

    *ret = (struct plan){.body = json_object()};
    *ret_field = "image";
    r = image_resolve(p, wire_text(fn->spec, "image"), &image, ret_error);
    if (r == FNG_OK) {
        set_constants(p, fn, replica, ret->body);
        r = fill(p, fn, &image, ret, ret_field, ret_error);
    }
    image_free(&image);
    if (r != FNG_OK)
        plan_free(ret);
    return r;
}

void plan_free(struct plan *plan)
{
    json_decref(plan->body);
    free(plan->ready_path);
    *plan = (struct plan){0};
}

static void warn(json_t *warnings, const char **ret_field, const char *field, char *text)
{
    if (!*ret_field)
        *ret_field = field;
    json_array_append_new(warnings, json_string(text));
    free(text);
}

static void warn_of_limits(const struct provider *p, const json_t *spec, json_t *warnings,
                           const char **ret_field)
{
    json_t *value;
    const char *key;

    json_object_foreach(json_object_get(spec, "limits"), key, value)
    {
        bool is_memory = strcmp(key, "memory") == 0, is_cpu = strcmp(key, "cpu") == 0;

        if (!*json_string_value(value) || (is_memory && p->can_memory) || (is_cpu && p->can_cpu))
            continue;
        warn(warnings, ret_field, "limits",
             is_memory || is_cpu
                 ? text_format("the %s limit is not enforced: control groups are not writable here",
                               key)
                 : text_format("the limit of %s is not enforced by the process provider", key));
    }
}

json_t *plan_warnings(const struct provider *p, const json_t *spec, const char **ret_field)
{
    json_t *warnings = json_array();

    *ret_field = NULL;
    warn_of_limits(p, spec, warnings, ret_field);
    if (json_array_size(json_object_get(spec, "constraints")) > 0)
        warn(warnings, ret_field, "constraints",
             text_copy("constraints are ignored: processes run on the gateway's host only"));
    if (wire_int(spec, "flags") & FNG_FUNCTION_READ_ONLY_ROOT)
        warn(warnings, ret_field, "readOnlyRootFilesystem",
             text_copy("readOnlyRootFilesystem is ignored: processes share the host's files"));
    if (json_array_size(json_object_get(spec, "secrets")) > 0 && p->user.len > 0 &&
        (!p->can_mount || p->secrets_mount.len == 0))
        warn(warnings, ret_field, "secrets",
             text_format("the secrets cannot be read by user '%s': this host allows no private "
                         "mounts, and the state folder is closed to others",
                         p->user.ptr));
    return warnings;
}

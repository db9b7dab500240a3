/* A provider for the API's tests: everything succeeds at once, except where a function's name asks
 * for trouble. Secrets are kept with their bytes so that the test can see what arrived. */
#include <fngate/provider.h>

#include <pthread.h>
#include <stdlib.h>

enum { SECRETS_MAX = 8, SECRET_SPACE = 64 };

struct secret {
    char name[SECRET_SPACE], value[SECRET_SPACE];
    size_t name_len, value_len;
};

struct toy {
    const struct fng_host *host;
    pthread_mutex_t lock;
    struct secret secrets[SECRETS_MAX];
    size_t count;
};

static int is_named(struct fng_str name, const char *text)
{
    return fng_str_eq(name, fng_str_from(text));
}

static int32_t toy_load(void *self, const struct fng_host *host)
{
    struct toy *toy = self;

    toy->host = host;
    pthread_mutex_init(&toy->lock, NULL);
    return FNG_OK;
}

static int32_t toy_deploy(void *self, const struct fng_function *function)
{
    const struct toy *toy = self;

    if (is_named(function->name, "refused"))
        return fng_invalid(toy->host, "image", "there is no image '%.*s'", (int)function->image.len,
                           function->image.ptr);
    if (is_named(function->name, "down"))
        return fng_unavailable(toy->host, 2500, "the engine does not answer");
    while (is_named(function->name, "stuck"))
        if (toy->host->wait_ms(toy->host->instance, 60000) == FNG_E_CANCELLED)
            return FNG_E_CANCELLED;
    return FNG_OK;
}

static int32_t toy_remove(void *self, struct fng_str ns, struct fng_str name, uint64_t generation)
{
    (void)self, (void)ns, (void)name, (void)generation;
    return FNG_OK;
}

static int32_t toy_scale(void *self, struct fng_str ns, struct fng_str name, uint32_t replicas,
                         uint64_t generation)
{
    (void)self, (void)ns, (void)name, (void)replicas, (void)generation;
    return FNG_OK;
}

static int32_t toy_watch(void *self)
{
    const struct fng_host *host = ((struct toy *)self)->host;
    int32_t error = host->snapshot_begin(host->instance);

    if (!error)
        error = host->snapshot_commit(host->instance);
    host->metric_add(host->instance, FNG_STR("pulls"), 3);
    while (!error)
        error = host->wait_ms(host->instance, 60000);
    return error;
}

/* "flood" writes until nobody reads; others write three lines, then wait when asked to follow. */
static int32_t toy_logs(void *self, const struct fng_log_query *query, fng_log_line_f *on_line,
                        void *arg)
{
    const struct fng_host *host = ((struct toy *)self)->host;
    struct fng_log_line line = {.size = sizeof(line), .time_ns = INT64_C(1700000000123456789)};
    int64_t lines = query->tail >= 0 && query->tail < 3 ? query->tail : 3;

    line.replica = FNG_STR("toy-1");
    line.text = FNG_STR("a \"quoted\" line\x01");
    if (is_named(query->name, "mute"))
        return fng_unavailable(host, 1000, "the engine does not answer");
    while (is_named(query->name, "flood"))
        if (on_line(arg, &line))
            return FNG_OK;
    for (; lines > 0; lines--)
        if (on_line(arg, &line))
            return FNG_OK;
    while (query->follow && host->wait_ms(host->instance, 60000) != FNG_E_CANCELLED)
        continue;
    return FNG_OK;
}

static int32_t toy_usage(void *self, struct fng_str ns, struct fng_str name, struct fng_usage *ret)
{
    (void)self, (void)ns, (void)name;
    ret->cpu_millicores = 12.5;
    ret->memory_bytes = 4096;
    return FNG_OK;
}

/* ---- Secrets ---- */

static struct secret *find(struct toy *toy, struct fng_str name)
{
    for (size_t i = 0; i < toy->count; i++)
        if (fng_str_eq(fng_str_make(toy->secrets[i].name, toy->secrets[i].name_len), name))
            return &toy->secrets[i];
    return NULL;
}

static int32_t toy_secret_list(void *self, struct fng_str ns, fng_name_f *on_name, void *arg)
{
    struct toy *toy = self;

    (void)ns;
    pthread_mutex_lock(&toy->lock);
    for (size_t i = 0; i < toy->count; i++)
        on_name(arg, fng_str_make(toy->secrets[i].name, toy->secrets[i].name_len));
    pthread_mutex_unlock(&toy->lock);
    return FNG_OK;
}

static int32_t set_locked(struct toy *toy, struct fng_str name, struct fng_str value, uint32_t mode)
{
    struct secret *secret = find(toy, name);

    if (mode == FNG_SECRET_CREATE && secret)
        return fng_fail(toy->host, FNG_E_CONFLICT, "it exists already");
    if (mode == FNG_SECRET_UPDATE && !secret)
        return fng_fail(toy->host, FNG_E_NOT_FOUND, "there is no such secret");
    if (value.len > SECRET_SPACE || name.len > SECRET_SPACE || toy->count == SECRETS_MAX)
        return fng_fail(toy->host, FNG_E_LIMIT, "too large or too many");
    if (!secret)
        secret = &toy->secrets[toy->count++];
    memcpy(secret->name, name.ptr, secret->name_len = name.len);
    memcpy(secret->value, value.ptr, secret->value_len = value.len);
    toy->host->metric_set(toy->host->instance, FNG_STR("secret_bytes"), (double)value.len);
    toy->host->metric_set(toy->host->instance, FNG_STR("secret_first_byte"),
                          (unsigned char)value.ptr[0]);
    return FNG_OK;
}

static int32_t toy_secret_set(void *self, struct fng_str ns, struct fng_str name,
                              struct fng_str value, uint32_t mode)
{
    struct toy *toy = self;
    int32_t error;

    (void)ns;
    pthread_mutex_lock(&toy->lock);
    error = set_locked(toy, name, value, mode);
    pthread_mutex_unlock(&toy->lock);
    return error;
}

static int32_t toy_secret_remove(void *self, struct fng_str ns, struct fng_str name)
{
    struct toy *toy = self;
    struct secret *secret;

    (void)ns;
    pthread_mutex_lock(&toy->lock);
    secret = find(toy, name);
    if (secret)
        *secret = toy->secrets[--toy->count];
    pthread_mutex_unlock(&toy->lock);
    return secret ? FNG_OK : fng_fail(toy->host, FNG_E_NOT_FOUND, "there is no such secret");
}

static const struct fng_provider_ops operations = {
    .size = sizeof(operations),
    .orchestration = "toy",
    .deploy = toy_deploy,
    .update = toy_deploy,
    .remove = toy_remove,
    .scale = toy_scale,
    .logs = toy_logs,
    .watch = toy_watch,
    .usage = toy_usage,
    .secret_list = toy_secret_list,
    .secret_set = toy_secret_set,
    .secret_remove = toy_secret_remove,
};

static const struct fng_plugin descriptor = {
    .magic = FNG_PLUGIN_MAGIC,
    .size = sizeof(descriptor),
    .abi_major = FNG_ABI_MAJOR,
    .abi_minor = FNG_ABI_MINOR,
    .kind = FNG_KIND_PROVIDER,
    .name = "api-toy",
    .version = "1.2.3",
    .description = "Succeeds at once.",
    .self_size = sizeof(struct toy),
    .load = toy_load,
    .operations = &operations,
};

FNG_PLUGIN_REGISTER(descriptor)

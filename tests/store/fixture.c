/* One instance of store-sqlite in a folder of its own. */
#include "fixture.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CALL_TIMEOUT_MS = 10000 };

static const struct fng_plugin *plugin;

bool fixture_load(void)
{
    void *handle = dlopen(PLUGIN_FILE, RTLD_NOW | RTLD_LOCAL);
    fng_plugin_entry_f *entry;

    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        return false;
    }
    *(void **)&entry = dlsym(handle, FNG_PLUGIN_ENTRY_NAME);
    plugin = entry(FNG_ABI_VERSION);
    return true;
}

const struct fng_store_ops *store_ops(void)
{
    return plugin->operations;
}

void open_instance(struct fixture *f)
{
    char *wrong;

    f->host = host_new("state", f->dir, "", NULL, NULL);
    wrong = instance_open(&f->instance, plugin, f->host, &f->settings);
    if (wrong) {
        fprintf(stderr, "%s\n", wrong);
        abort();
    }
}

void close_instance(struct fixture *f)
{
    instance_drain(&f->instance);
    instance_stop(&f->instance);
    instance_close(&f->instance);
    host_free(f->host);
}

int32_t start(struct fixture *f)
{
    return instance_start(&f->instance, &f->call);
}

int fixture_new(void **state)
{
    struct fixture *f = must_zalloc(sizeof(*f));

    snprintf(f->dir, sizeof(f->dir), "/tmp/fngate-store-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->file, sizeof(f->file), "%s/state.db", f->dir);
    open_instance(f);
    *state = f;
    return 0;
}

void empty_folder(const char *dir)
{
    DIR *stream = opendir(dir);
    struct dirent *entry;
    char path[512];

    while (stream && (entry = readdir(stream)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        unlink(path);
    }
    if (stream)
        closedir(stream);
}

int fixture_free(void **state)
{
    struct fixture *f = *state;

    close_instance(f);
    empty_folder(f->dir);
    rmdir(f->dir);
    settings_free(&f->settings);
    free(f);
    return 0;
}

int32_t put(struct fixture *f, const char *key, struct fng_str value, uint64_t expected)
{
    uint64_t version;
    int32_t error;

    call_begin(&f->call, f->host, CALL_TIMEOUT_MS);
    error = store_ops()->put(f->instance.self, fng_str_from(key), value, expected, &version);
    call_end(&f->call);
    return error;
}

int32_t take_away(struct fixture *f, const char *key)
{
    int32_t error;

    call_begin(&f->call, f->host, CALL_TIMEOUT_MS);
    error = store_ops()->remove(f->instance.self, fng_str_from(key), FNG_KV_ANY);
    call_end(&f->call);
    return error;
}

static void keep_version(void *arg, struct fng_str value, uint64_t version)
{
    (void)value;
    *(uint64_t *)arg = version;
}

uint64_t version_of(struct fixture *f, const char *key)
{
    uint64_t version = 0;

    call_begin(&f->call, f->host, CALL_TIMEOUT_MS);
    store_ops()->get(f->instance.self, fng_str_from(key), keep_version, &version);
    call_end(&f->call);
    return version;
}

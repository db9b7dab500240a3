/* One instance of store-sqlite in a folder of its own. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include "host.h"
#include "settings.h"

#include <fngate/store.h>

struct fixture {
    char dir[64];
    char file[128];
    struct settings settings;
    struct host *host;
    struct instance instance;
    struct call call; /* the last one */
};

/* Loads PLUGIN_FILE; false, with a line on stderr, when that fails. Once per process. */
bool fixture_load(void);
const struct fng_store_ops *store_ops(void);

/* cmocka set-up and tear-down: a new folder with an opened instance, and the end of both. */
int fixture_new(void **state);
int fixture_free(void **state);

/* load and configuration; stop and unload. Abort when the plugin refuses its configuration. */
void open_instance(struct fixture *f);
void close_instance(struct fixture *f);
int32_t start(struct fixture *f);

int32_t put(struct fixture *f, const char *key, struct fng_str value, uint64_t expected);
int32_t take_away(struct fixture *f, const char *key);
/* Version of the key, 0 when there is none. */
uint64_t version_of(struct fixture *f, const char *key);
/* Removes all files in the folder. */
void empty_folder(const char *dir);

#endif

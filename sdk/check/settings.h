/* Settings of the plugin under test, and their binding into its state as the gateway does it. */
#ifndef CHECK_SETTINGS_H
#define CHECK_SETTINGS_H

#include "util.h"

#include <fngate/plugin.h>

struct setting {
    char *key;
    char *sub; /* the key inside a map, else NULL */
    char *value;
};

struct settings {
    struct setting *items;
    size_t count;
};

/* "key=value" or, for an entry of a map, "key.sub=value". A list is a key given several times.
 * False when there is no '='. */
bool settings_add(struct settings *settings, const char *assignment);
/* Reads the flat part of YAML that plugin configurations use: "key: value" lines, "[a, b]", and
 * below a key without a value "- item" or "sub: value" lines. NULL, or what is wrong (owned). */
char *settings_read(struct settings *settings, const char *file);
void settings_free(struct settings *settings);

/* What a binding allocated. */
struct bound {
    void **items;
    size_t count;
};

/* Writes all keys of `plugin` into `self`. NULL, or what is wrong (owned). */
char *settings_bind(const struct settings *settings, const struct fng_plugin *plugin, void *self,
                    struct bound *bound);
void bound_free(struct bound *bound);

/* Key i of the plugin's table, whatever its stride. */
const struct fng_config_key *plugin_key(const struct fng_plugin *plugin, size_t i);

#endif

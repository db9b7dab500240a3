/* The rig, inside: what its two files share. */
#ifndef PROCESS_RIG_INTERNAL_H
#define PROCESS_RIG_INTERNAL_H

#include "rig.h"

#include <pthread.h>

enum { FUNCTIONS_MAX = 16, RECORDS_MAX = 64, SETTINGS_MAX = 16 };

struct seen_endpoint {
    uint64_t id;
    uint32_t state;
    bool is_released;
    char address[RIG_ADDRESS_MAX];
};

struct seen_function {
    char name[64];
    struct rig_view view;
    struct seen_endpoint endpoints[RIG_ENDPOINTS_MAX];
    size_t count;
    bool was_ready;
};

struct rig {
    struct fng_host host;
    const struct fng_plugin *plugin;
    void *self;
    char dir[64];
    char settings[SETTINGS_MAX][2][128];
    size_t settings_count;
    pthread_t watcher;
    int cancel_fd;
    pthread_mutex_t lock; /* what follows */
    bool is_cancelled, is_synced, had_gap, is_holding;
    struct seen_function functions[FUNCTIONS_MAX];
    uint64_t to_release[RIG_ENDPOINTS_MAX];
    size_t to_release_count;
    struct {
        char *key, *value;
        size_t len;
    } records[RECORDS_MAX];
    char field[64], error[RIG_TEXT_MAX];
    uint64_t generation;
    pid_t supervisor; /* that was asked to end */
};

/* rig_host.c: fills the table of services. */
void rig_host_init(struct rig *rig);
/* What was pushed of a function; `lock` is held. NULL unless `make`. */
struct seen_function *rig_find_function(struct rig *rig, const char *name, bool make);
int64_t rig_now_ms(void);

#endif

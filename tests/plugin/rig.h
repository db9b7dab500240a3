/* What the tests of instances stand on: a control loop on its own thread, a probe instance with its
 * gate, a store, and a sink that records. Calls are posted to the control loop and waited for. */
#ifndef TESTS_PLUGIN_RIG_H
#define TESTS_PLUGIN_RIG_H

#include "plugin/plugin.h"

#include "gate.h"

struct rig {
    struct loop *control;
    struct plugins *plugins;
    struct instance *probe, *store;
    struct gate gate;
    char state_dir[40];
    struct conf_report report;
    /* What the sink has seen, under gate.lock. */
    unsigned begun, committed, upserts, endpoints;
    char pushed[1024]; /* one line for each function and endpoint */
};

/* What a call-back brought; zero it before each call. */
struct outcome {
    struct rig *rig;
    bool is_done; /* under gate.lock */
    unsigned answers;
    int32_t error;
    uint32_t retry_after_ms;
    char field[32], text[256], value[64];
    size_t count;
    struct plugin_ticket *ticket;
};

struct rig_options {
    struct plugins_config config; /* limits only */
    const char *more;             /* further lines of the probe's configuration */
};

void rig_make(struct rig *rig, const struct rig_options *options);
/* One more instance, before loops run or on the control loop. NULL after a complaint in `report`.
 */
struct instance *rig_add(struct rig *rig, const char *path, const char *name, const char *yaml);
void rig_run(struct rig *rig, struct instance *instance); /* starts it and waits until it runs */
/* Starts store and probe, and waits until the first snapshot is in. */
void rig_begin(struct rig *rig);
/* Stops what runs, frees everything, opens all gates. */
void rig_free(struct rig *rig);
/* The part of rig_free that ends the instances, while gates may still be closed. */
void rig_free_plugins(struct rig *rig);

/* Runs `run` on the control loop and waits for its end. */
void rig_do(struct rig *rig, void (*run)(void *arg), void *arg);
void rig_wait_done(struct rig *rig, const struct outcome *outcome);
void rig_wait_committed(struct rig *rig, unsigned count);
void rig_wait_entered(struct rig *rig, enum gate_op op, unsigned count);
void rig_wait_left(struct rig *rig, enum gate_op op, unsigned count);

/* Call-backs that fill `arg`, a struct outcome. */
void on_plain(void *arg, const struct plugin_result *result);
void on_usage(void *arg, const struct plugin_result *result, const struct fng_usage *usage);
void on_names(void *arg, const struct plugin_result *result, const struct str *names, size_t count);
void on_value(void *arg, const struct plugin_result *result, struct str value, uint64_t version);

/* Calls; the outcome arrives later. */
void rig_deploy(struct outcome *outcome, struct rig *rig, const char *name, int64_t deadline_ms);
void rig_update(struct outcome *outcome, struct rig *rig);
void rig_remove(struct outcome *outcome, struct rig *rig);
void rig_secret_set(struct outcome *outcome, struct rig *rig);
void rig_secret_remove(struct outcome *outcome, struct rig *rig);
void rig_scale(struct outcome *outcome, struct rig *rig, const char *name);
void rig_activate(struct outcome *outcome, struct rig *rig, const char *name);
void rig_usage(struct outcome *outcome, struct rig *rig);
void rig_secrets(struct outcome *outcome, struct rig *rig);
void rig_logs(struct outcome *outcome, struct rig *rig, uint32_t follow);
void rig_get(struct outcome *outcome, struct rig *rig, const char *key);
void rig_start(struct outcome *outcome, struct rig *rig, struct instance *instance);
void rig_stop(struct outcome *outcome, struct rig *rig, struct instance *instance);
struct instance_stats rig_stats(struct rig *rig);
enum instance_state rig_state(struct rig *rig, const struct instance *instance);

#endif

/* A small gateway around the process provider: configuration, a store in memory, a view of what was
 * pushed, and a watch thread. Waiting is for conditions, up to a generous limit. */
#ifndef PROCESS_RIG_H
#define PROCESS_RIG_H

#include <fngate/provider.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RIG_NS "openfaas-fn"
enum { RIG_ENDPOINTS_MAX = 32, RIG_ADDRESS_MAX = 128, RIG_TEXT_MAX = 1024 };

struct rig;

/* What the gateway would know of one function. */
struct rig_view {
    bool is_known;
    uint64_t generation;
    uint32_t replicas;
    char reason[RIG_TEXT_MAX];
    char warning[RIG_TEXT_MAX]; /* the first */
    size_t endpoints, ready, starting, draining;
    char address[RIG_ENDPOINTS_MAX][RIG_ADDRESS_MAX]; /* of the ready ones, without "unix:" */
    uint64_t id[RIG_ENDPOINTS_MAX];
};

/* A fresh state folder and an instance that is not started. */
struct rig *rig_new(void);
/* Overrides a setting; before rig_start. */
void rig_set(struct rig *rig, const char *key, const char *value);
/* load, configure, start, and watch until the first snapshot is committed. */
void rig_start(struct rig *rig);
/* Ends the instance as a gateway that stops does; the store stays, rig_start makes a new one. */
void rig_stop(struct rig *rig);
/* Stops everything, checks that no process is left, and removes the folder. */
void rig_free(struct rig *rig);

const char *rig_state_dir(const struct rig *rig);
const struct fng_provider_ops *rig_ops(const struct rig *rig);
void *rig_self(const struct rig *rig);
/* Field and text of the last failure. */
const char *rig_field(const struct rig *rig);
const char *rig_error(const struct rig *rig);
/* Keep drained endpoints unreleased. */
void rig_hold_releases(struct rig *rig, bool hold);

struct rig_function {
    const char *name, *image, *command, *env[3][2], *annotation[3][2], *limit[2][2], *secret;
    uint32_t replicas;
    bool is_update;
};
/* Deploys with the next generation. Without image, command and annotations: `answering`, direct. */
int32_t rig_deploy(struct rig *rig, const struct rig_function *function);
int32_t rig_scale(struct rig *rig, const char *name, uint32_t replicas);
int32_t rig_remove(struct rig *rig, const char *name);

void rig_view(struct rig *rig, const char *name, struct rig_view *ret);
/* The condition must come true in time, or the test fails; *ret gets the view of then. */
typedef bool rig_condition_f(const struct rig_view *view, const void *arg);
void rig_wait(struct rig *rig, const char *name, rig_condition_f *condition, const void *arg,
              struct rig_view *ret);
/* `count` ready endpoints and no other. */
void rig_wait_ready(struct rig *rig, const char *name, size_t count, struct rig_view *ret);
/* A reason that contains the text. */
void rig_wait_reason(struct rig *rig, const char *name, const char *text, struct rig_view *ret);
void rig_wait_gone(struct rig *rig, const char *name);
/* True when a function that had a ready endpoint was left without one since the last call. */
bool rig_had_gap(struct rig *rig);

/* GET over a Unix socket; the status, body in `body`; 0 when there was no answer. */
int rig_get(const char *socket, const char *path, char *body, size_t cap);
/* The body must be a number: of a ready replica's process. */
pid_t rig_pid(const char *socket);

pid_t rig_supervisor(struct rig *rig);
void rig_kill_supervisor(struct rig *rig);
/* Processes that carry the marks of this rig. */
size_t rig_processes(struct rig *rig);
/* Waits until `condition` holds. */
void rig_until(bool (*condition)(void *arg), void *arg);

#endif

/* A small gateway for one plugin instance: the host services, with the state store in memory and
 * every delta kept in a view that cases can look at.
 *
 * Everything may be used from any thread. Services of the current call look at the call that the
 * thread has begun.
 */
#ifndef CHECK_HOST_H
#define CHECK_HOST_H

#include "util.h"

#include <fngate/host.h>
#include <fngate/plugin.h>

struct kv;
struct view;

/* One operation under way on the calling thread. Cancelling is allowed from other threads until
 * call_end. */
struct call {
    struct host *host;
    struct call *outer;
    int timer_fd; /* readable once cancelled or past the deadline */
    int64_t deadline_ms;
    int is_cancelled; /* atomic */
    int32_t error;    /* as given to host->fail; 0: it was not called */
    char field[64];
    char text[1024];
};

struct host {
    struct fng_host table;
    struct kv *kv;
    struct view *view;
    bool is_loud; /* log records go to stderr as "# " lines */
    int health;   /* last FNG_HEALTH_*, atomic */
    int is_over;  /* stop has returned, atomic: services used from now on are a fault */
    int late_uses;
    char *name, *state_dir, *libexec_dir;
};

/* `kv` and `view` are borrowed, and may be those of an earlier host. */
struct host *host_new(const char *name, const char *state_dir, const char *libexec_dir,
                      struct kv *kv, struct view *view);
void host_free(struct host *host);

/* timeout_ms NO_TIMEOUT: only until cancelled. */
enum { NO_TIMEOUT = -1 };
void call_begin(struct call *call, struct host *host, int64_t timeout_ms);
void call_cancel(struct call *call);
void call_end(struct call *call);

/* ---- Life of an instance ---- */

struct settings;
struct bound;

struct instance {
    const struct fng_plugin *plugin;
    struct host *host;
    void *self;
    struct bound *bound;
};

/* load, bind, config_complete. NULL, or what is wrong (owned); the instance is then closed. */
char *instance_open(struct instance *instance, const struct fng_plugin *plugin, struct host *host,
                    const struct settings *settings);
/* 0 or FNG_E_*; the text is in `call`, which must not be begun. */
int32_t instance_start(struct instance *instance, struct call *call);
void instance_drain(struct instance *instance);
void instance_stop(struct instance *instance);
/* unload. */
void instance_close(struct instance *instance);

#endif

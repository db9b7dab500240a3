/* A provider under test as a gateway runs it: started, watched, told when endpoints are free of
 * requests; and its operations with the checks that every case makes. */
#ifndef CHECK_SESSION_H
#define CHECK_SESSION_H

#include "case.h"
#include "kv.h"
#include "probe.h"
#include "view.h"

#include <fngate/provider.h>

#include <pthread.h>

enum { OPERATION_TIMEOUT_MS = 30000, STOP_LIMIT_MS = 10000, CANCEL_LIMIT_MS = 2000 };

struct session {
    struct case_context *context;
    const struct fng_provider_ops *ops;
    struct instance *instance;
    void *self;
    struct kv *kv;
    struct view *view;
    int64_t wait_ms;

    pthread_t watch_thread, release_thread;
    struct call watch_call;
    pthread_mutex_t watch_lock; /* guards is_watch_over and whether watch_call is begun */
    bool is_watch_over;
    int has_watch_ended; /* atomic */
};

/* Starts an instance on the state of this case, and waits for its first snapshot. Ends the case
 * when there is none. A later session of the same case finds the state of the former one. */
struct session *session_open(struct case_context *context);
/* drain, cancel, stop, unload, as the gateway does it, within the limits. */
void session_close(struct session *session);

/* The steps of both, for cases that look between them. */
struct session *session_start(struct case_context *context);
void session_watch(struct session *session);
/* Cancels watch; ends the case when it does not return in time. */
void session_end_watch(struct session *session);
void session_end_releases(struct session *session);
void session_free(struct session *session);

/* ---- Operations. The text of the last failure on this thread is in session_text(). ---- */

#define NO_TEXT "no text was given to host->fail"
const char *session_text(void);
/* A generation newer than all before, in this process and its ancestors. */
uint64_t next_generation(struct session *session);
/* Leaves out those that a child process may have given. */
void skip_generations(unsigned count);

int32_t try_deploy(struct session *session, const char *name, uint32_t replicas,
                   uint64_t generation);
int32_t try_deploy_image(struct session *session, const char *name, const char *image);
int32_t try_deploy_with_secret(struct session *session, const char *name, const char *secret);
int32_t try_update(struct session *session, const char *name, uint32_t replicas,
                   uint64_t generation);
int32_t try_remove(struct session *session, const char *name, uint64_t generation);
int32_t try_scale(struct session *session, const char *name, uint32_t replicas,
                  uint64_t generation);
int32_t try_activate(struct session *session, const char *name, uint64_t generation);

/* With a new generation, which they return; end the case unless the result is 0. */
uint64_t must_deploy(struct session *session, const char *name, uint32_t replicas);
uint64_t must_update(struct session *session, const char *name, uint32_t replicas);
void must_remove(struct session *session, const char *name);
uint64_t must_scale(struct session *session, const char *name, uint32_t replicas);
uint64_t must_activate(struct session *session, const char *name);

/* ---- Waiting, within --wait; they end the case when it does not come true. ---- */

/* Exactly so many endpoints are ready and none is starting. */
void wait_ready(struct session *session, const char *name, unsigned count);
/* No endpoint is ready, or the function is gone. */
void wait_unready(struct session *session, const char *name);
void wait_gone(struct session *session, const char *name);
void wait_generation(struct session *session, const char *name, uint64_t generation);

/* Ends the case unless the function is known and was told as it was deployed. */
void check_spec(struct session *session, const char *name);
/* First ready endpoint; the address is owned by the caller. */
struct view_endpoint ready_endpoint(struct session *session, const char *name);
/* Ends the case when the rule was broken in this session. */
void check_breach(struct session *session, enum breach breach);

/* ---- Reasons to skip ---- */

const char *needs_deploy(const struct fng_plugin *plugin);
const char *needs_scale_to_zero(const struct fng_plugin *plugin);

extern const char function_ns[];

#endif

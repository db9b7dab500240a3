/* A replica of the toy provider: a thread that answers HTTP on a unix socket. */
#ifndef TOY_REPLICA_H
#define TOY_REPLICA_H

#include "util.h"

#include <pthread.h>

/* Called by the replica's thread once a request is answered. */
typedef void toy_request_f(void *arg, const char *function);

struct replica {
    struct replica *next;
    uint64_t id, generation;
    char function[64];
    char address[128]; /* "unix:/path" */
    int listen_fd, stop_fd;
    pthread_t thread;
    toy_request_f *on_request;
    void *arg;
};

/* Listens at DIR/ID-FUNCTION.sock; aborts when that fails. */
struct replica *replica_new(const char *dir, uint64_t id, const char *function,
                            toy_request_f *on_request, void *arg);
/* Cuts a request that is under way; joins the thread. */
void replica_free(struct replica *replica);

#endif

/* A gateway without a data plane, for the API's tests: control loop, one worker loop with a server
 * on a port of the kernel's choice, catalog, store and toy provider; and a blocking client. */
#ifndef TESTS_API_GATEWAY_H
#define TESTS_API_GATEWAY_H

#include "api/api.h"
#include "http/server.h"

enum { WAITING_MAX = 2 };

struct gateway {
    struct loop *control, *worker;
    struct quiesce *domain;
    struct route_table *routes;
    struct catalog *catalog;
    struct plugins *plugins;
    struct instance *store, *toy;
    struct auth *auth;
    struct api *api;
    struct server *server, *metrics_server;
    struct addr addr, metrics_addr;
    struct conf_report report;
    char state_dir[40], user_file[64], password_file[64];
    bool is_upsert;
};

/* With auth: user "admin", password "pass:word". */
void gateway_make(struct gateway *gateway, bool with_auth);
void gateway_free(struct gateway *gateway);
/* Runs `run` on the control loop and waits. */
void gateway_do(struct gateway *gateway, void (*run)(void *arg), void *arg);

/* A response, whole. */
struct answer {
    unsigned status;
    char *head, *body; /* NUL-terminated */
};

/* Sends "METHOD PATH" with further header lines (each with CRLF, may be NULL) and body (may be
 * NULL), and reads until the server closes. */
struct answer gateway_ask(const struct gateway *gateway, const char *method, const char *path,
                          const char *fields, const char *body);
struct answer gateway_ask_metrics(const struct gateway *gateway, const char *path);
void answer_free(struct answer *answer);
/* A connected socket to which the request was sent. */
int gateway_send(const struct addr *to, const char *method, const char *path, const char *fields,
                 const char *body);
/* Reads until `text` has come; fails the program when the connection ends before. */
void read_until(int fd, const char *text);

#endif

/* The protocol between the process provider and fngate-supervisor.
 *
 * A stream socket in the run folder carries frames: four bytes of length, most significant first,
 * then that many bytes of JSON, one object. Requests have "op" and "seq"; the reply has the same
 * "seq" and either "ok": true or "error": text. Frames with "event" come unasked.
 *
 *   hello {version}          -> {version, pid, limits: {memory, cpu}}; the newest client that said
 *                               hello is the owner, the former one is disconnected
 *   list                     -> {replicas: [status...]}
 *   start {replica: plan}    -> {replica: status}; the supervisor gives the id
 *   stop {id, grace_ms}      -> {}; event "gone" follows when no process is left
 *   mark {id, ready}         -> {}; remembered until the process ends
 *   leave                    -> {}; the supervisor exits, the replicas stay for its successor
 *
 *   event "replica" {replica: status}, event "gone" {id}, event "replaced" {}: another client said
 *   hello and is the owner now; hello {version, if_free: true} is refused while there is one
 *
 * plan:   ns, function, name, revision, argv, env, folder, log, log_max, log_files, grace_ms,
 *         secrets_from, secrets_at, uid, gid, nofile, memory (bytes), cpu (millicores)
 * status: id, ns, function, name, revision, state (WIRE_*), pid, socket, ready, restarts, failures,
 *         exit (text of the last end), tail (last lines of its output), warning
 */
#ifndef PROCESS_WIRE_H
#define PROCESS_WIRE_H

#include <jansson.h>
#include <stddef.h>

enum { WIRE_VERSION = 1, WIRE_FRAME_MAX = 8 << 20 };

#define WIRE_RUNNING    "running"
#define WIRE_BACK_OFF   "back-off"   /* it ended, a restart is due */
#define WIRE_CRASH_LOOP "crash-loop" /* it ended too often, restarts are slow */
#define WIRE_STOPPING   "stopping"

#define WIRE_SOCKET_NAME "supervisor.sock"
#define WIRE_LOCK_NAME   "supervisor.lock"
#define WIRE_LOG_NAME    "supervisor.log"

/* Exit codes of fngate-supervisor when it cannot start. */
enum { WIRE_EXIT_USAGE = 2, WIRE_EXIT_LOCKED = 3, WIRE_EXIT_FAILED = 4 };

/* One end of a connection, on a non-blocking socket that the caller owns. */
struct wire {
    int fd;
    char *in, *out;
    size_t in_len, in_cap, out_len, out_cap;
};

void wire_init(struct wire *wire, int fd);
/* Frees the buffers; the socket stays open. */
void wire_free(struct wire *wire);
/* Queues one message; 0 or -EMSGSIZE. */
int wire_put(struct wire *wire, const json_t *message);
/* Writes what is queued: 0 when all is out, -EAGAIN when the socket is full, negative errno. */
int wire_flush(struct wire *wire);
/* Reads once: > 0 when something came, 0 at the end, -EAGAIN or another negative errno. */
int wire_fill(struct wire *wire);
/* Takes the next message out: 1, 0 when none is complete, -EPROTO for bytes that make no sense. */
int wire_next(struct wire *wire, json_t **ret);

/* The member's value, or a neutral one when it is missing or of another type. */
const char *wire_text(const json_t *object, const char *key);
int64_t wire_int(const json_t *object, const char *key);

#endif

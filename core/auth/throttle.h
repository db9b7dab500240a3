/* Slows guessing of passwords: counts wrong tries per peer address within a window. Bounded: the
 * address that was wrong longest ago is forgotten first. Any thread. */
#ifndef AUTH_THROTTLE_H
#define AUTH_THROTTLE_H

#include "base/str.h"

enum { THROTTLE_TRIES = 20, THROTTLE_WINDOW_MS = 60000, THROTTLE_PEERS_MAX = 4096 };

struct throttle;

struct throttle *throttle_new(void);
void throttle_free(struct throttle *throttle);
/* True when the peer has used up its tries of the current window. */
bool throttle_is_closed(struct throttle *throttle, struct str peer, int64_t now_ms);
void throttle_count_wrong(struct throttle *throttle, struct str peer, int64_t now_ms);
void throttle_forgive(struct throttle *throttle, struct str peer);

#endif

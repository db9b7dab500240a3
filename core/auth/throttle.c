/* Wrong tries per peer: a map for the look-up, a list in order of the last wrong try. */
#include "auth/throttle.h"

#include "base/assert.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#include <pthread.h>

struct peer {
    struct list node;
    char *address;
    unsigned wrong;
    int64_t begun_ms; /* of the window */
};

struct throttle {
    pthread_mutex_t lock; /* guards all below; held for a look-up only */
    struct map peers;
    struct list by_age; /* oldest first */
};

struct throttle *throttle_new(void)
{
    struct throttle *throttle = xcalloc(1, sizeof(*throttle));

    pthread_mutex_init(&throttle->lock, NULL);
    map_init(&throttle->peers);
    list_init(&throttle->by_age);
    return throttle;
}

static void peer_drop(struct throttle *throttle, struct peer *peer)
{
    map_remove(&throttle->peers, str_from(peer->address));
    list_remove(&peer->node);
    mem_free(peer->address);
    mem_free(peer);
}

static struct peer *peer_at(struct list *node)
{
    return CONTAINER_OF(node, struct peer, node);
}

void throttle_free(struct throttle *throttle)
{
    if (!throttle)
        return;
    while (!list_is_empty(&throttle->by_age))
        peer_drop(throttle, peer_at(throttle->by_age.next));
    map_free(&throttle->peers);
    pthread_mutex_destroy(&throttle->lock);
    mem_free(throttle);
}

/* The peer's entry, unless there is none or its window is over. */
static struct peer *peer_current(struct throttle *throttle, struct str address, int64_t now_ms)
{
    struct peer *peer = map_get(&throttle->peers, address);

    if (peer && now_ms - peer->begun_ms >= THROTTLE_WINDOW_MS) {
        peer_drop(throttle, peer);
        return NULL;
    }
    return peer;
}

bool throttle_is_closed(struct throttle *throttle, struct str peer, int64_t now_ms)
{
    const struct peer *found;
    bool is_closed;

    pthread_mutex_lock(&throttle->lock);
    found = peer_current(throttle, peer, now_ms);
    is_closed = found && found->wrong >= THROTTLE_TRIES;
    pthread_mutex_unlock(&throttle->lock);
    return is_closed;
}

static struct peer *peer_add(struct throttle *throttle, struct str address, int64_t now_ms)
{
    struct peer *peer;

    if (throttle->peers.count >= THROTTLE_PEERS_MAX)
        peer_drop(throttle, peer_at(throttle->by_age.next));
    peer = xcalloc(1, sizeof(*peer));
    peer->address = str_dup(address);
    peer->begun_ms = now_ms;
    list_init(&peer->node);
    map_set(&throttle->peers, address, peer);
    return peer;
}

void throttle_count_wrong(struct throttle *throttle, struct str peer, int64_t now_ms)
{
    struct peer *found;

    pthread_mutex_lock(&throttle->lock);
    found = peer_current(throttle, peer, now_ms);
    if (!found)
        found = peer_add(throttle, peer, now_ms);
    found->wrong++;
    list_remove(&found->node);
    list_push(&throttle->by_age, &found->node);
    pthread_mutex_unlock(&throttle->lock);
}

void throttle_forgive(struct throttle *throttle, struct str peer)
{
    struct peer *found;

    pthread_mutex_lock(&throttle->lock);
    found = map_get(&throttle->peers, peer);
    if (found)
        peer_drop(throttle, found);
    pthread_mutex_unlock(&throttle->lock);
}

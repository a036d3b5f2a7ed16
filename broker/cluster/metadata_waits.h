/* Who waits until the metadata shows something: a new topic with leaders, a topic gone.
 *
 * Registered and removed on any loop, evaluated by the state thread after each change. Who waits
 * when the broker stops is woken by metadata_waits_stop, or would never be finished. */
#ifndef OTTLA_BROKER_CLUSTER_METADATA_WAITS_H
#define OTTLA_BROKER_CLUSTER_METADATA_WAITS_H

#include "base/list.h"
#include "base/waiter.h"
#include "broker/cluster/metadata.h"

struct metadata_waits;

struct metadata_wait {
    struct list link;
    struct waiter *waiter;
    bool (*satisfied)(struct metadata_wait *wait, const struct metadata *metadata);
};

struct metadata_waits *metadata_waits_new(struct metadata_cache *cache);
/* Nobody waits any more. */
void metadata_waits_free(struct metadata_waits *waits);
/* Wakes all, and at once whoever comes later. Call it when the connections are closed: an answer
 * would say that what was waited for is there. */
void metadata_waits_stop(struct metadata_waits *waits);
/* Wakes the waiter, now or later; a request is parked already. */
void metadata_wait_add(struct metadata_waits *waits, struct metadata_wait *wait);
void metadata_wait_remove(struct metadata_waits *waits, struct metadata_wait *wait);
void metadata_waits_check(struct metadata_waits *waits);

#endif

/* Requests that wait until the metadata shows something: a new topic with leaders, a topic gone.
 *
 * Registered and removed on any loop, evaluated by the control thread after each change. */
#ifndef OTTLA_BROKER_CLUSTER_METADATA_WAITS_H
#define OTTLA_BROKER_CLUSTER_METADATA_WAITS_H

#include "base/list.h"
#include "broker/cluster/metadata.h"

struct req;
struct metadata_waits;

struct metadata_wait {
    struct list link;
    struct req *req;
    bool (*satisfied)(struct metadata_wait *wait, const struct metadata *metadata);
    void *context;
};

struct metadata_waits *metadata_waits_new(struct metadata_cache *cache);
void metadata_waits_free(struct metadata_waits *waits);
/* Wakes the request, now or later. The request is parked already. */
void metadata_wait_add(struct metadata_waits *waits, struct metadata_wait *wait);
void metadata_wait_remove(struct metadata_waits *waits, struct metadata_wait *wait);
void metadata_waits_check(struct metadata_waits *waits);

#endif

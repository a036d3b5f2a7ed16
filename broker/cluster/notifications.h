/* Notifications: sequential nodes below one of the store, by which brokers tell each other that something has changed
 * there. Each with a higher number than the last one that was seen is taken, in their order; those older than 15 minutes are
 * deleted by whoever sees them. (reference: zookeeper §1, §2)
 *
 * Thread: the control thread. */
#ifndef OTTLA_BROKER_CLUSTER_NOTIFICATIONS_H
#define OTTLA_BROKER_CLUSTER_NOTIFICATIONS_H

#include "base/clock.h"
#include "zk/coord.h"

struct notifications {
    struct coord *coord;
    struct clock *clock;
    const char *path;   /* static, as is */
    const char *prefix; /* of the nodes' names, before the number */
    int64_t seen;       /* the number of the last one; -1: none */
};

/* Watches from here on: those that are there are known. Errors of the store, in the arena's memory. */
NODISCARD err notifications_begin(struct notifications *all, struct arena *arena);
/* The list has changed, or may have: takes the new ones, deletes old ones, and watches on. One counts as seen when `take`
 * returns OK; its error ends this. `any` (may be NULL) is set when there was one. */
NODISCARD err notifications_follow(struct notifications *all, struct arena *arena,
                                   err (*take)(void *context, struct arena *arena,
                                               struct bytes value),
                                   void *context, bool *any);

#endif

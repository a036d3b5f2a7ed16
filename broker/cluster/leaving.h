/* A broker that is to stop asks the controller to let others lead first (ControlledShutdown), so that
 * clients and followers are told where to go, and nobody waits for its session to end.
 *
 * It asks controlled.shutdown.max.retries times, and then waits, LEAVE_WAIT_MS at most, until it leads
 * nothing that others could lead; and, if it is the controller itself, until the others have been told.
 * In any case it may stop afterwards: whatever it led is elected anew then.
 * State thread, but for leaving_begin(). (reference: zookeeper §5.4, replication §1, §2) */
#ifndef OTTLA_BROKER_CLUSTER_LEAVING_H
#define OTTLA_BROKER_CLUSTER_LEAVING_H

#include "base/workers.h"
#include "broker/cluster/metadata.h"

#include <stdbool.h>

enum { LEAVE_WAIT_MS = 2000 };

struct leaving;

struct leaving_config {
    int32_t broker_id;
    struct loop *state;
    struct workers *workers;
    struct metadata_cache *metadata;
    const char *listener; /* of the brokers among themselves; borrowed */
    int16_t version;      /* of ControlledShutdown */
    int32_t tries_max;
    int64_t pause_ms;
    const struct peer_security *security; /* NULL: neither TLS nor a login; outlives it */
    int64_t connect_timeout_ms;
    int64_t timeout_ms;
    int64_t (*broker_epoch)(void *context);
    /* It is about to ask for the first time: nothing is to be fetched that is not already. */
    void (*begins)(void *context);
    /* Does this broker lead anything of which there are other replicas, or, as the controller, know
     * something that others are still to be told? */
    bool (*is_needed)(void *context);
    void *context;
};

struct leaving *leaving_new(const struct leaving_config *config);
/* The state thread has ended. */
void leaving_free(struct leaving *leaving);

/* Any thread, once. `done` is called on the state thread. */
void leaving_begin(struct leaving *leaving, void (*done)(void *context), void *context);

#endif

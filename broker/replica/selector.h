/* Which replica a consumer reads from: one in its own rack (KIP-392), as Kafka's
 * org.apache.kafka.common.replica.RackAwareReplicaSelector has it. (reference: replication §7) */
#ifndef OTTLA_BROKER_REPLICA_SELECTOR_H
#define OTTLA_BROKER_REPLICA_SELECTOR_H

#include "base/bytes.h"
#include "broker/replica/followers.h"

struct selector {
    struct str rack; /* the consumer's, not empty */
    /* The rack of a broker that the consumer can reach; null: it has none, or cannot be reached. Called
     * with the partition's lock held. */
    struct str (*rack_of)(void *context, int32_t broker_id);
    void *context;
};

/* Of the in-sync followers in the consumer's rack that have the offset the one that has most, of those
 * the one that was last caught up. -1: there is none, or the leader, `self`, is in that rack. */
int32_t selector_choose(const struct selector *selector, const struct followers *followers,
                        int32_t self, int64_t offset);

#endif

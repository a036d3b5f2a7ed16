/* The group coordinator: all groups and their offsets, divided into shards, one for each partition
 * of __consumer_offsets that this broker leads. Knows no requests: handlers go through the gate
 * (group_shard.h:group_shard_lock), call a group (group.h), and hand what it decided to
 * group_shard_finish_event(). Groups themselves are pure state machines (group.h). */
#ifndef OTTLA_BROKER_COORDINATOR_GROUP_COORDINATOR_H
#define OTTLA_BROKER_COORDINATOR_GROUP_COORDINATOR_H

#include "base/loop.h"
#include "base/random.h"
#include "broker/cluster/metadata.h"
#include "broker/config.h"
#include "broker/coordinator/marker_batch.h"
#include "broker/replica/replicas.h"

struct group_coordinator;

struct group_coordinator_config {
    const struct config *config;
    struct clock *clock;
    struct random *random; /* of member ids */
    struct metadata_cache *metadata;
    struct loop *background; /* timers run there */
};

struct group_coordinator *group_coordinator_new(const struct group_coordinator_config *config);
/* Tells every waiting request NOT_COORDINATOR; afterwards nothing waits. */
void group_coordinator_shutdown(struct group_coordinator *coordinator);
void group_coordinator_free(struct group_coordinator *coordinator);

/* Leadership of a partition of __consumer_offsets: shards.h. */
void group_coordinator_elected(struct group_coordinator *coordinator, struct partition *p,
                               int32_t leader_epoch, bool uninterrupted);
void group_coordinator_resigned(struct group_coordinator *coordinator, int32_t partition);
/* A topic is gone: its committed offsets are removed. */
void group_coordinator_topic_deleted(struct group_coordinator *coordinator, struct str topic);

/* It comes to a partition of __consumer_offsets. Embedded in who waits for it, who keeps it until it is done. */
struct group_txn_end {
    struct txn_end end;
    struct waiter
        *waiter; /* woken when it is done, unless that is at once; under the shard's lock */
    /* The shard's. */
    bool is_awaited;
    err outcome; /* E_BUSY until it is done */
};
/* Appends the marker to the partition, and when that is safe applies or drops what the transaction has
 * committed: OK; E_BUSY when that is to be waited for. NOT_LEADER_OR_FOLLOWER (6) where the shard does not serve
 * (yet), as Kafka's newer coordinator answers; others as partition_append. */
NODISCARD err group_coordinator_end_txn(struct group_coordinator *coordinator, int32_t partition,
                                        struct group_txn_end *end);
/* After E_BUSY: as it is by now. */
NODISCARD err group_coordinator_txn_ended(struct group_coordinator *coordinator, int32_t partition,
                                          const struct group_txn_end *end);

#endif

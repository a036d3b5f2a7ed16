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

/* A transaction of this producer ends: appends its marker to the partition, and applies or drops the
 * offsets that it committed. With OK `done` is called once, when the marker is safe and they are visible,
 * or when that failed; perhaps at once, under a lock: it only sets and posts. NOT_LEADER_OR_FOLLOWER (6) where
 * the shard does not serve (yet), as Kafka's newer coordinator answers. */
struct txn_end {
    int64_t producer_id;
    int16_t producer_epoch;
    bool commit;
    int32_t coordinator_epoch;
};
NODISCARD err group_coordinator_end_txn(struct group_coordinator *coordinator, int32_t partition,
                                        const struct txn_end *end,
                                        void (*done)(void *context, err outcome), void *context);

#endif

/* The group coordinator: all groups and their offsets, divided into shards, one for each partition
 * of __consumer_offsets that this broker leads. Knows no requests: handlers go through the gate
 * (shard.h:shard_lock), call a group (group.h), and hand what it decided to shard_finish_event().
 *
 * A shard is a monitor: one mutex for all its groups. It appends to its partition under that lock,
 * in the order of its decisions (the one nesting: shard → partition), and makes them visible and
 * answers when the high watermark passes them. Groups themselves are pure state machines
 * (group.h). */
#ifndef OTTLA_BROKER_COORDINATOR_COORDINATOR_H
#define OTTLA_BROKER_COORDINATOR_COORDINATOR_H

#include "base/loop.h"
#include "base/random.h"
#include "broker/cluster/metadata.h"
#include "broker/config.h"
#include "broker/replica/replicas.h"

struct coordinator;

struct coordinator_config {
    const struct config *config;
    struct clock *clock;
    struct random *random; /* of member ids */
    struct metadata_cache *metadata;
    struct loop *background; /* timers run there */
};

struct coordinator *coordinator_new(const struct coordinator_config *config);
/* Tells every waiting request NOT_COORDINATOR; afterwards nothing waits. */
void coordinator_shutdown(struct coordinator *coordinator);
void coordinator_free(struct coordinator *coordinator);

/* The partition of __consumer_offsets that has this group, of `partitions_n`. */
int32_t coordinator_partition_of(struct str group_id, int32_t partitions_n);

/* Leadership of a partition of __consumer_offsets (state thread). Loading reads the log.
 * `uninterrupted`: it was led before, and nobody else can have led since. */
void coordinator_partition_elected(struct coordinator *coordinator, struct partition *p,
                                   int32_t leader_epoch, bool uninterrupted);
void coordinator_partition_resigned(struct coordinator *coordinator, int32_t partition);
/* A topic is gone: its committed offsets are removed. */
void coordinator_topic_deleted(struct coordinator *coordinator, struct str topic);

#endif

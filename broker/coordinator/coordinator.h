/* The group coordinator: all groups and their offsets, divided into shards, one for each partition
 * of __consumer_offsets that this broker leads.
 *
 * A shard is a monitor: one mutex for all its groups. It appends to its partition under that lock,
 * in the order of its decisions (the one nesting: shard → partition), and makes them visible and
 * answers when the high watermark passes them. Groups themselves are pure state machines
 * (group.h).
 *
 * The calls below take a request. They fill its `out` (memory of its arena) and answer REQ_DONE, or
 * park it and wake it when what it waits for has happened. */
#ifndef OTTLA_BROKER_COORDINATOR_COORDINATOR_H
#define OTTLA_BROKER_COORDINATOR_COORDINATOR_H

#include "broker/api/request.h"
#include "broker/cluster/metadata.h"
#include "broker/config.h"
#include "broker/net/loop.h"
#include "broker/replica/replicas.h"

struct coordinator;

struct coordinator_config {
    const struct config *config;
    struct clock *clock;
    struct metadata_cache *metadata;
    struct loop *background; /* timers run there */
};

struct coordinator *coordinator_new(const struct coordinator_config *config);
/* Tells every waiting request NOT_COORDINATOR; afterwards nothing waits. */
void coordinator_shutdown(struct coordinator *coordinator);
void coordinator_free(struct coordinator *coordinator);

/* The partition of __consumer_offsets that has this group, of `partitions_n`. */
int32_t coordinator_partition_of(struct str group_id, int32_t partitions_n);

/* Leadership of a partition of __consumer_offsets (control thread). Loading reads the log. */
void coordinator_partition_elected(struct coordinator *coordinator, struct partition *p,
                                   int32_t leader_epoch);
void coordinator_partition_resigned(struct coordinator *coordinator, int32_t partition,
                                    int32_t leader_epoch);
/* A topic is gone: its committed offsets are removed. */
void coordinator_topic_deleted(struct coordinator *coordinator, struct str topic);

enum req_status coordinator_join_group(struct coordinator *coordinator, struct req *r);
enum req_status coordinator_sync_group(struct coordinator *coordinator, struct req *r);
enum req_status coordinator_offset_commit(struct coordinator *coordinator, struct req *r);
void coordinator_heartbeat(struct coordinator *coordinator, struct req *r);
void coordinator_leave_group(struct coordinator *coordinator, struct req *r);
void coordinator_offset_fetch(struct coordinator *coordinator, struct req *r);
void coordinator_describe_groups(struct coordinator *coordinator, struct req *r);
void coordinator_list_groups(struct coordinator *coordinator, struct req *r);
void coordinator_delete_groups(struct coordinator *coordinator, struct req *r);

#endif

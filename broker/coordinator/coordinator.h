/* The group coordinator: all groups and their offsets, divided into shards, one for each partition
 * of __consumer_offsets that this broker leads.
 *
 * A shard is a monitor: one mutex for all its groups. It appends to its partition under that lock,
 * in the order of its decisions (the one nesting: shard → partition), and makes them visible and
 * answers when the high watermark passes them. Groups themselves are pure state machines
 * (group.h).
 *
 * The calls below take values and a request to wake: they fill `out` structs whose memory is the
 * request's arena, at once (they return true) or later, before req_wake (false: the caller returns
 * REQ_PARKED after having called req_park). */
#ifndef OTTLA_BROKER_COORDINATOR_COORDINATOR_H
#define OTTLA_BROKER_COORDINATOR_COORDINATOR_H

#include "broker/config.h"
#include "broker/replica/replicas.h"
#include "broker/net/loop.h"

struct coordinator;
struct req;

struct coordinator_config {
    const struct config *config;
    struct clock *clock;
    struct replicas *replicas;
    struct loop *control; /* timers run there */
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

/* One for each API; `in` and `out` of the request are that API's structs. True: `out` is complete;
 * false: the request is parked (the function has called req_park) and will be woken. */
bool coordinator_join_group(struct coordinator *coordinator, struct req *r);
bool coordinator_sync_group(struct coordinator *coordinator, struct req *r);
bool coordinator_heartbeat(struct coordinator *coordinator, struct req *r);
bool coordinator_leave_group(struct coordinator *coordinator, struct req *r);
bool coordinator_offset_commit(struct coordinator *coordinator, struct req *r);
bool coordinator_offset_fetch(struct coordinator *coordinator, struct req *r);
bool coordinator_describe_groups(struct coordinator *coordinator, struct req *r);
bool coordinator_list_groups(struct coordinator *coordinator, struct req *r);
bool coordinator_delete_groups(struct coordinator *coordinator, struct req *r);

#endif

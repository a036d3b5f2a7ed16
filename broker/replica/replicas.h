/* The partitions of this broker, and the two messages of the controller that change them:
 * LeaderAndIsr and StopReplica. (The third, UpdateMetadata, changes cluster/metadata.h.)
 *
 * Look-ups come from any thread (a read-write lock inside); changes only from the state thread. */
#ifndef OTTLA_BROKER_REPLICA_REPLICAS_H
#define OTTLA_BROKER_REPLICA_REPLICAS_H

#include "broker/replica/fetchers.h"
#include "broker/replica/partition.h"
#include "protocol/messages.h"
#include "storage/logs.h"

struct replicas;

/* Told when this broker begins or ceases to lead a partition of an internal topic, and when it leads
 * on in a new epoch; `uninterrupted`: nobody else can have led since the last. */
struct replica_listener {
    void (*became_leader)(void *context, struct partition *p, int32_t leader_epoch,
                          bool uninterrupted);
    void (*resigned)(void *context, struct topic_partition name, int32_t leader_epoch);
    void *context;
};

struct replicas_config {
    int32_t broker_id;
    struct logs *logs;
    /* Any thread, under a lock. False: the topic's options are not known, and `config` is careful. */
    bool (*config_of)(void *context, struct str topic, struct log_config *config);
    /* The same: is a replica throttled? NULL: none is. */
    struct replica_throttled (*throttled_of)(void *context, struct topic_partition name);
    void *config_context;             /* of both */
    struct throttle *leader_throttle; /* of struct partition_env */
    struct replica_listener listener;
    struct clock *clock; /* those up to failed_context: of struct partition_env */
    int64_t replica_lag_ms;
    bool (*is_alive)(void *context, int32_t broker_id);
    void *alive_context;
    struct loop *flush;
    struct events *events;
    void (*upkeep_due)(void *context);
    void *upkeep_context;
    void (*isr_wanted)(void *context, struct partition *p);
    void (*behind)(void *context, struct partition *p);
    void *isr_context;
    void (*log_failed)(void *context);
    void *failed_context;
    struct fetchers *fetchers; /* NULL: nobody is followed */
    /* A partition was made of its log, and nobody knows it yet; may be NULL. */
    void (*made)(void *context, struct partition *p);
    void *made_context;
};

struct replicas *replicas_new(const struct replicas_config *config);
void replicas_free(struct replicas *replicas);

/* A reference to the partition, or NULL: partition_release() it. */
struct partition *replicas_find(struct replicas *replicas, struct str topic, int32_t partition);
/* Calls `each` for every partition, under the table's read lock. */
void replicas_each(struct replicas *replicas, void (*each)(void *context, struct partition *p),
                   void *context);
size_t replicas_count(struct replicas *replicas);

/* Carries out a request that has passed the fence (cluster/requests_in.h); one that was `refused` is
 * only answered, that for each partition. Response arrays go into `arena`. (reference: zookeeper §5.1,
 * §5.3) */
void replicas_leader_and_isr(struct replicas *replicas,
                             const struct leader_and_isr_request *request, err refused,
                             struct arena *arena, struct leader_and_isr_response *response);
void replicas_stop_replica(struct replicas *replicas, const struct stop_replica_request *request,
                           struct arena *arena, struct stop_replica_response *response);

/* Writes replication-offset-checkpoint (logs_write_high_watermarks). */
NODISCARD err replicas_checkpoint_high_watermarks(struct replicas *replicas, bool durable);
/* Logs of the topic, or (null) all of them, take the configuration that config_of tells now. */
void replicas_take_configs(struct replicas *replicas, struct str topic);
/* A log directory has failed: who waits for a partition in it is told. */
void replicas_wake_offline(struct replicas *replicas);
/* A broker lives no more: partitions that are led look again whom they wait for. */
void replicas_reconsider(struct replicas *replicas);
/* Retention on every partition that is compacted, or on every one that is not; returns how many segments went. */
int replicas_apply_retention(struct replicas *replicas, bool compacted);
/* Removes files of segments that were deleted long enough ago. Returns the milliseconds until there is more to do, or
 * -1. */
int64_t replicas_remove_deleted(struct replicas *replicas);
/* Forgets idle producers, and says which transactions are open for longer than any may be: nobody ends
 * them. */
void replicas_expire_producers(struct replicas *replicas, int64_t txn_max_ms);
/* flush.ms, on every partition. */
void replicas_flush_due(struct replicas *replicas, int64_t now_ms);

#endif

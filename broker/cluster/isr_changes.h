/* Carries the changes of in-sync replicas that leaders want to the controller: all that have come while a
 * request is on its way go into the next one, which is sent again until a controller answers. And looks,
 * twice in replica.lag.time.max.ms, at those partitions where a member may be behind.
 *
 * State thread, but for what partitions tell. (reference: replication §5.1, zookeeper §6) */
#ifndef OTTLA_BROKER_CLUSTER_ISR_CHANGES_H
#define OTTLA_BROKER_CLUSTER_ISR_CHANGES_H

#include "broker/cluster/to_controller.h"
#include "broker/replica/partition.h"

struct isr_changes;

struct isr_changes_config {
    int32_t broker_id;
    struct loop *state;
    struct clock *clock;
    struct to_controller *to;
    int64_t lag_ms; /* replica.lag.time.max.ms */
    int64_t (*broker_epoch)(void *context);
    void *context;
};

struct isr_changes *isr_changes_new(const struct isr_changes_config *config);
/* The threads have ended, and `to` is stopped: lets go of the partitions. */
void isr_changes_stop(struct isr_changes *changes);
void isr_changes_free(struct isr_changes *changes);

/* For struct partition_env, whose isr_context the changes are. */
void isr_changes_wanted(void *changes, struct partition *p);
void isr_changes_behind(void *changes, struct partition *p);

#endif

/* One marker, which ends a transaction in one partition, written where that is led. (reference: coordinators
 * §4.6) */
#ifndef OTTLA_BROKER_COORDINATOR_TXN_MARKER_H
#define OTTLA_BROKER_COORDINATOR_TXN_MARKER_H

#include "broker/coordinator/group_coordinator.h"

/* What has partitions on this broker. */
struct txn_marker_places {
    struct replicas *replicas;
    struct group_coordinator *groups;
    struct clock *clock;
};

/* A marker that is being written. Embedded in who waits for it, who keeps it until it is done. */
struct txn_marker {
    struct topic_partition name; /* borrowed */
    struct txn_end end;
    struct waiter *waiter; /* woken when it is worth looking again */
    /* Its own. */
    struct group_coordinator *groups; /* whose shard writes it; NULL: it is written here */
    struct group_txn_end by_shard;
    struct partition *partition;
    struct partition_append appended;
    struct watch watch;
};

/* Writes it: OK when it is safe, E_BUSY when that is to be waited for. UNKNOWN_TOPIC_OR_PARTITION (3) when there is
 * no such partition here; UNKNOWN_SERVER_ERROR (-1), as in Kafka, where there is no producer; others as
 * partition_append. Any thread, without a lock. */
NODISCARD err txn_marker_begin(const struct txn_marker_places *places, struct txn_marker *marker);
/* After E_BUSY: the same, as it is by now. */
NODISCARD err txn_marker_look(struct txn_marker *marker);
/* Waits no more. False: it must, what a shard has begun is not given up. After anything but E_BUSY it
 * is harmless. */
bool txn_marker_give_up(struct txn_marker *marker);

#endif

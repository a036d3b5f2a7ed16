/* The transaction coordinator: all transactional ids, divided into shards, one for each partition of
 * __transaction_state that this broker leads. Knows no requests: handlers go through the gate and ask
 * (txn_shard.h); transactions themselves are pure state machines (txn.h).
 *
 * When a transaction's outcome is stored its markers are written (txn_markers.h), and when they are, that it
 * is complete. (reference: coordinators §4) */
#ifndef OTTLA_BROKER_COORDINATOR_TXN_COORDINATOR_H
#define OTTLA_BROKER_COORDINATOR_TXN_COORDINATOR_H

#include "base/loop.h"
#include "broker/cluster/broker_client.h"
#include "broker/cluster/metadata.h"
#include "broker/cluster/topic_sizes.h"
#include "broker/config.h"
#include "broker/coordinator/group_coordinator.h"
#include "broker/coordinator/txn_marker.h"
#include "broker/replica/replicas.h"

struct txn_coordinator;

struct txn_coordinator_config {
    const struct config *config;
    int32_t broker_id;
    struct clock *clock;
    struct metadata_cache *metadata;
    struct loop *background; /* timers run there, and what other brokers are asked */
    struct workers *workers;
    struct replicas *replicas; /* those of this broker, for markers */
    struct group_coordinator *groups;
    /* Where another broker listens for brokers. False: nobody knows. */
    bool (*address)(void *context, int32_t broker_id, struct peer_address *address);
    /* Which topics are there, whatever the metadata say. */
    void (*topic_sizes)(void *context, struct topic_sizes_question *question);
    void *context;
    const struct peer_security *security; /* NULL: neither TLS nor a login; outlives it */
    int64_t connect_timeout_ms;
};

struct txn_coordinator *txn_coordinator_new(const struct txn_coordinator_config *config);
/* Tells every waiting request NOT_COORDINATOR; afterwards nothing waits. */
void txn_coordinator_shutdown(struct txn_coordinator *coordinator);
/* The threads have ended: nothing is asked of other brokers any more. */
void txn_coordinator_stop(struct txn_coordinator *coordinator);
void txn_coordinator_free(struct txn_coordinator *coordinator);

/* Where markers are written on this broker. */
struct txn_marker_places txn_coordinator_places(const struct txn_coordinator_config *config);

/* Leadership of a partition of __transaction_state: shards.h. */
void txn_coordinator_elected(struct txn_coordinator *coordinator, struct partition *p,
                             int32_t leader_epoch, bool uninterrupted);
void txn_coordinator_resigned(struct txn_coordinator *coordinator, int32_t partition);

#endif

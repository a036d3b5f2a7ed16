/* The controller's requests, carried out: LeaderAndIsr, UpdateMetadata, StopReplica, whichever way they
 * came. The only way in which this broker's partitions and metadata change.
 *
 * Each is fenced first: by the epoch of the controller (the highest seen wins) and by this broker's own
 * epoch, so that neither a deposed controller nor a request to an earlier life of this broker changes
 * anything. Thread: the control thread. (reference: zookeeper §5) */
#ifndef OTTLA_BROKER_CLUSTER_REQUESTS_IN_H
#define OTTLA_BROKER_CLUSTER_REQUESTS_IN_H

#include "broker/cluster/metadata_waits.h"
#include "broker/replica/replicas.h"

struct requests_in;

struct requests_in_config {
    struct replicas *replicas;
    struct metadata_cache *metadata;
    struct metadata_waits *metadata_waits;
    /* Told of a topic that has vanished from the metadata, and that files may wait to be removed. */
    void (*topic_removed)(void *context, struct str topic);
    void (*logs_removed)(void *context);
    void *context;
};

struct requests_in *requests_in_new(const struct requests_in_config *config);
void requests_in_free(struct requests_in *in);
/* This broker has registered, with this epoch. */
void requests_in_set_broker_epoch(struct requests_in *in, int64_t broker_epoch);

/* The responses are initialised here; their arrays go into `arena`. Refusals are
 * STALE_CONTROLLER_EPOCH (11) and STALE_BROKER_EPOCH (77). */
void requests_in_leader_and_isr(struct requests_in *in,
                                const struct leader_and_isr_request *request, struct arena *arena,
                                struct leader_and_isr_response *response);
void requests_in_stop_replica(struct requests_in *in, const struct stop_replica_request *request,
                              struct arena *arena, struct stop_replica_response *response);
void requests_in_update_metadata(struct requests_in *in,
                                 const struct update_metadata_request *request,
                                 struct update_metadata_response *response);

#endif

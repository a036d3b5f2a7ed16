/* The controller's requests to brokers, made of its model (reference: zookeeper §5).
 *
 * Memory: in the arena, names and lists of the model's own; valid until the model changes. */
#ifndef OTTLA_BROKER_CLUSTER_CONTROLLER_REQUESTS_H
#define OTTLA_BROKER_CLUSTER_CONTROLLER_REQUESTS_H

#include "broker/cluster/controller_state.h"
#include "protocol/messages.h"

/* The roles of these partitions to one broker that holds replicas of them; of those that it has refused, since
 * their directory has failed, only where that is asked for. False: there are none. */
bool ctl_leader_and_isr(const struct ctl_state *state, struct arena *arena,
                        const struct ctl_broker *to, const struct parts *parts, bool also_refused,
                        struct leader_and_isr_request *request);
/* All registered brokers, and the states of these partitions (leader -2 where the topic is being
 * deleted). */
void ctl_update_metadata(const struct ctl_state *state, struct arena *arena,
                         const struct ctl_broker *to, const struct parts *parts,
                         struct update_metadata_request *request);
/* How many replicas of the topic a broker is told to stop: also those that it is to have no more. */
int32_t ctl_replicas_on(const struct ctl_topic *topic, int32_t broker);
/* Stops a broker's replicas of these partitions, or deletes them; also those that it is to have no more.
 * False: it holds none. */
bool ctl_stop_replica(const struct ctl_state *state, struct arena *arena,
                      const struct ctl_broker *to, const struct parts *parts, bool delete_partition,
                      struct stop_replica_request *request);

#endif

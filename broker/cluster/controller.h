/* The controller: the one broker that decides who leads what.
 *
 * It is elected in the coordination store, keeps Kafka's znodes, and tells brokers by LeaderAndIsr,
 * UpdateMetadata and StopReplica messages, also the broker that it is itself. It reacts to watches
 * only: nobody calls it to create or delete a topic; they write znodes.
 * Every write of the controller is a transaction that checks /controller_epoch, so that one which
 * was deposed changes nothing.
 *
 * Thread: the control thread. (Source: reference zookeeper §4, §8, §9.) */
#ifndef OTTLA_BROKER_CLUSTER_CONTROLLER_H
#define OTTLA_BROKER_CLUSTER_CONTROLLER_H

#include "protocol/messages.h"
#include "zk/coord.h"
#include "zk/znodes.h"

struct controller;

/* How the decisions reach a broker. Requests live until the call returns. */
struct controller_links {
    void (*leader_and_isr)(void *context, int32_t broker_id,
                           const struct leader_and_isr_request *request, struct arena *arena,
                           struct leader_and_isr_response *response);
    void (*update_metadata)(void *context, int32_t broker_id,
                            const struct update_metadata_request *request);
    void (*stop_replica)(void *context, int32_t broker_id,
                         const struct stop_replica_request *request, struct arena *arena,
                         struct stop_replica_response *response);
    void *context;
};

struct controller_config {
    int32_t broker_id;
    bool delete_topic_enable;
    struct coord *coord;
    struct clock *clock;
    struct controller_links links;
};

struct controller *controller_new(const struct controller_config *config);
void controller_free(struct controller *controller);

/* Takes part in the election, and when elected takes over: loads everything, elects leaders, tells
 * all brokers. Called again after an event that failed, when it is not active any more. */
NODISCARD err controller_elect(struct controller *controller);
/* Something that the controller watches has changed. */
void controller_on_watch(struct controller *controller, enum coord_watch_type type,
                         const char *path);
bool controller_is_active(const struct controller *controller);

#endif

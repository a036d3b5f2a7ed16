/* The controller: the one broker that decides who leads what.
 *
 * It is elected in the coordination store, keeps Kafka's znodes, and tells brokers by LeaderAndIsr,
 * UpdateMetadata and StopReplica requests, also the broker that it is itself. It reacts to events
 * only: watches of the store, answers of brokers. Nobody calls it to create or delete a topic; they
 * write znodes.
 * Every write of the controller is a transaction that checks /controller_epoch, so that one which
 * was deposed changes nothing.
 *
 * Thread: the control thread. (reference: zookeeper §4, §5, §8, §9) */
#ifndef OTTLA_BROKER_CLUSTER_CONTROLLER_H
#define OTTLA_BROKER_CLUSTER_CONTROLLER_H

#include "base/random.h"
#include "broker/cluster/control_keys.h"
#include "broker/cluster/inter_broker.h"
#include "broker/metrics/events.h"
#include "protocol/messages.h"
#include "zk/coord.h"
#include "zk/znodes.h"

struct controller;

enum { LINK_HOST_MAX = 256 };

/* A broker in one of its lives, and where it listens to the controller. */
struct link_target {
    int32_t id;
    int64_t epoch;
    char host[LINK_HOST_MAX]; /* "": it has no such listener */
    int32_t port;
};

/* How requests reach a broker: in the order in which they are sent, again and again until it answers,
 * as long as it is among the targets. The request is copied before `send` returns; its answer comes
 * later, by controller_on_answer. */
struct controller_links {
    void (*set_targets)(void *context, const struct link_target *targets, int32_t count);
    void (*send)(void *context, int32_t broker_id, int16_t api_key, int version,
                 const void *request);
    void *context;
};

struct controller_config {
    int32_t broker_id;
    bool delete_topic_enable;
    int32_t imbalance_percent;    /* leader.imbalance.per.broker.percentage */
    const char *listener;         /* where brokers listen to their controller; borrowed */
    struct inter_broker versions; /* of its requests */
    struct coord *coord;
    struct clock *clock;
    struct random *random; /* of topic ids */
    struct controller_links links;
    /* May a replica of the topic lead that is not in sync? (unclean.leader.election.enable) */
    bool (*unclean_allowed)(void *context, struct str topic);
    void *unclean_context;
    struct events *events; /* NULL: nobody counts */
};

struct controller *controller_new(const struct controller_config *config);
void controller_free(struct controller *controller);

/* Takes part in the election, and when elected takes over: loads everything, elects leaders, tells
 * all brokers. Otherwise follows whoever is the controller, and stands again when that one goes.
 * Called again after an event that failed, when it is not active any more. */
NODISCARD err controller_elect(struct controller *controller);
/* The node that the last election stumbled over, or NULL. */
const char *controller_unreadable(const struct controller *controller);
/* The session has expired: whatever was decided is somebody else's now. */
void controller_resign(struct controller *controller, const char *why);
/* Something that a controller, or one in waiting, watches has changed. */
void controller_on_watch(struct controller *controller, enum coord_watch_type type,
                         const char *path);
struct told_request; /* untold.h */
/* A broker has answered what it was told. `response` is of the API's type. */
void controller_on_answer(struct controller *controller, int32_t broker_id,
                          const struct told_request *told, const void *response);
/* The options of a topic, or (null) of all of them, have changed: perhaps others may lead now. */
void controller_reconsider(struct controller *controller, struct str topic);
/* Gives partitions back to their preferred leaders where too many are led by others. */
void controller_rebalance(struct controller *controller);
bool controller_is_active(const struct controller *controller);
/* This broker is the controller, or it knows who is and will hear when that one goes. */
bool controller_is_settled(const struct controller *controller);
/* May this broker, in this life, ask this controller? NOT_CONTROLLER (41), BROKER_ID_NOT_REGISTERED
 * (102), STALE_BROKER_EPOCH (77). */
NODISCARD err controller_check_broker(const struct controller *controller, int32_t broker_id,
                                      int64_t broker_epoch);
/* ---- what it is asked ---- */

/* Answers go into `response`, which is initialized; its arrays into the arena. */

/* Leaders want other in-sync replicas. NOT_CONTROLLER (41), STALE_BROKER_EPOCH (77); of each partition
 * see ctl_alter_isr. */
void controller_alter_partition(struct controller *controller, int version,
                                const struct alter_partition_request *request, struct arena *arena,
                                struct alter_partition_response *response);
/* A broker wants to stop: others lead, as far as they can. STALE_CONTROLLER_EPOCH (11) where this is no
 * controller, STALE_BROKER_EPOCH (77), UNKNOWN_SERVER_ERROR (-1), BROKER_NOT_AVAILABLE (8). */
void controller_controlled_shutdown(struct controller *controller,
                                    const struct controlled_shutdown_request *request,
                                    struct arena *arena,
                                    struct controlled_shutdown_response *response);
/* As controller_check_broker; UNKNOWN_SERVER_ERROR (-1) where the store fails. */
void controller_allocate_producer_ids(struct controller *controller,
                                      const struct allocate_producer_ids_request *request,
                                      struct allocate_producer_ids_response *response);
/* The same by key, for AlterPartition of the newest version and AllocateProducerIds. */
void controller_answer(void *controller, int16_t api_key, const void *request, struct arena *arena,
                       void *response);

/* One election that is asked for, and what became of it. */
struct controller_election {
    struct str topic;
    int32_t partition;
    bool unclean;
    err error;
    int32_t leader_epoch; /* OK: the metadata shows the leader when it has come to this epoch */
};
/* NOT_CONTROLLER (41), with which none was looked at. */
NODISCARD err controller_elect_leaders(struct controller *controller,
                                       struct controller_election *elections, int32_t count);
/* All partitions, for elections of all; returns how many. */
int32_t controller_partitions(struct controller *controller, struct arena *arena,
                              struct controller_election **elections);

/* A partition that is to have these replicas, or (cancel) those of before, and what became of it: OK it
 * is under way, or there. INVALID_REPLICA_ASSIGNMENT (39), NO_REASSIGNMENT_IN_PROGRESS (85),
 * UNKNOWN_TOPIC_OR_PARTITION (3), with a message. */
struct controller_reassignment {
    struct str topic;
    int32_t partition;
    struct id_list replicas;
    bool cancel;
    bool by_node; /* /admin/reassign_partitions asks for it */
    err error;
    struct str message;
};
/* Each partition is named once. NOT_CONTROLLER (41), with which nothing is under way. */
NODISCARD err controller_reassign(struct controller *controller,
                                  struct controller_reassignment *plans, int32_t count,
                                  struct arena *arena);

/* One that is under way. */
struct controller_move {
    struct str topic;
    int32_t partition;
    struct id_list replicas;
    struct id_list adding;
    struct id_list removing;
};
/* All of them, by topic. NOT_CONTROLLER (41), UNKNOWN_SERVER_ERROR (-1). */
NODISCARD err controller_reassignments(struct controller *controller, struct arena *arena,
                                       struct controller_move **moves, int32_t *count);

/* A transaction for somebody else on the control thread: behind the check of the epoch while this
 * is the controller, so that a deposed one writes nothing; plain otherwise. Results are not given
 * back, but for the error. */
NODISCARD err controller_multi(struct controller *controller, const struct coord_op *ops,
                               size_t count, struct arena *arena);

#endif

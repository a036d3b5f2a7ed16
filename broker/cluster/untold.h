/* What a controller has decided and one broker has not been told yet: of each partition the newest
 * state only, so that it is bounded by the number of partitions, however long the broker does not
 * answer.
 *
 * It goes out in rounds, as Kafka's controller orders a batch: who lives, if that has changed; the roles
 * (LeaderAndIsr); the metadata (UpdateMetadata); what to stop, and what to delete (StopReplica, each of one
 * kind: the answer does not say which it was). A state replaces an older one of its partition in the last
 * round, unless the two must be told one after the other: a partition that is deleted and then made again
 * begins another round.
 *
 * One thread at a time. (reference: zookeeper §5, replication §1, §2) */
#ifndef OTTLA_BROKER_CLUSTER_UNTOLD_H
#define OTTLA_BROKER_CLUSTER_UNTOLD_H

#include "base/list.h"
#include "broker/cluster/control_keys.h"
#include "protocol/codec.h"
#include "protocol/messages.h"

struct untold {
    struct list rounds; /* struct round */
    struct arena brokers_arena;
    struct update_metadata_request_live_broker *brokers; /* the newest that were told of */
    int32_t brokers_n;
};

void untold_init(struct untold *untold);
/* With the states of one LeaderAndIsr, UpdateMetadata or StopReplica request. */
void untold_init_of(struct untold *untold, int16_t api_key, int version, const void *request);
/* Of a LeaderAndIsr request what that broker is to lead, or (not `led`) the rest. */
void untold_init_of_roles(struct untold *untold, int version,
                          const struct leader_and_isr_request *request, int32_t broker_id,
                          bool led);
void untold_deinit(struct untold *untold);
bool untold_is_empty(const struct untold *untold);
/* The brokers that lead by the roles in it: adds to `ids` those that are not among the `count` there, at
 * most `max`. Returns how many there are. */
int32_t untold_leaders(const struct untold *untold, int32_t *ids, int32_t count, int32_t max);
/* Adds what is newer; `from` is empty afterwards, and still to be deinitialized. */
void untold_take(struct untold *to, struct untold *from);

struct told_request {
    int16_t api_key;
    int version;
    int32_t controller_epoch;
    int64_t broker_epoch;
    bool deletes; /* a StopReplica that does */
    err error;    /* of encoding it: something in the store has a form that no message can carry */
};
/* Takes the next request out and encodes it; `inter_broker` is the listener whose addresses LeaderAndIsr
 * tells of the leaders in it. False: everything is told. */
bool untold_next(struct untold *untold, const char *inter_broker, struct writer *body,
                 struct told_request *next);

#endif

/* The transactions of one partition of __transaction_state. Everything is under the shard's lock (shard.h). */
#ifndef OTTLA_BROKER_COORDINATOR_TXN_SHARD_H
#define OTTLA_BROKER_COORDINATOR_TXN_SHARD_H

#include "broker/coordinator/shard.h"
#include "broker/coordinator/txn.h"
#include "broker/coordinator/txn_coordinator.h"
#include "broker/coordinator/txn_marker.h"

struct txn_markers;
struct txn_ending;
struct txn_verifier;

struct txn_shard {
    struct shard shard;
    struct txn_coordinator *coordinator;
    struct map txns;      /* id → struct txn */
    struct list ongoing;  /* those that may time out */
    int64_t looked_ms;    /* when it was last looked for those that have */
    struct list unstored; /* those that are complete, which could not be stored yet */
    int64_t retry_ms;     /* when that is tried again */
    _Atomic int64_t life; /* counts what it forgot: what is of another one means nothing here */
    struct list endings;  /* struct txn_ending, that began since the gate; sent out behind it */
    bool is_at_gate;      /* locked by txn_shard_lock() */
};

struct txn_coordinator {
    struct txn_coordinator_config config;
    struct shards shards;
    struct txn_markers *markers;
    struct txn_verifier *verifier;
    int64_t began_ms;
    struct timer expiry; /* of ids that are not used; background thread */
};

static inline struct txn_shard *txn_shard_of(struct shard *shard)
{
    return container_of(shard, struct txn_shard, shard);
}

extern const struct shard_kind txn_shard_kind;

/* The gate: the shard of a transactional id, locked; txn_shard_unlock() it. Codes of shards_lock(). */
NODISCARD err txn_shard_lock(struct txn_coordinator *c, struct str id, struct txn_shard **out);
/* Also sends out the markers of what has been decided meanwhile: those for this broker may be written when it
 * returns. */
void txn_shard_unlock(struct txn_shard *shard);

/* NULL when there is none. */
struct txn *txn_shard_find(const struct txn_shard *shard, struct str id);

/* Who waits for an event's answer. Embedded in a request; woken once, perhaps at once. */
struct txn_waiter {
    struct waiter *waiter;
    err error;
    int64_t producer_id; /* of InitProducerId */
    int16_t epoch;
};

/* Events. E_BUSY: `waiter` will be, or is, woken with the answer. Else the answer: codes of txn.h, and those
 * of storing: COORDINATOR_NOT_AVAILABLE (15), NOT_COORDINATOR (16), UNKNOWN_SERVER_ERROR (-1). */

/* E_NOT_FOUND: a fresh producer id is needed, and event->fresh_producer_id is -1. */
NODISCARD err txn_shard_init_producer_id(struct txn_shard *shard, struct str id,
                                         const struct txn_init *event, struct txn_waiter *waiter);
NODISCARD err txn_shard_add_partitions(struct txn_shard *shard, struct str id,
                                       struct txn_producer by, const struct txn_partitions *added,
                                       struct txn_waiter *waiter);
NODISCARD err txn_shard_end(struct txn_shard *shard, struct str id, struct txn_producer by,
                            bool commit, struct txn_waiter *waiter);

/* All markers of an ending that this shard began are written (no lock is held). */
void txn_shard_markers_written(struct txn_shard *shard, const struct txn_ending *ending);

/* Forgets what has not been used for long. */
void txn_shard_expire(struct txn_shard *shard, int64_t now_ms);

#endif

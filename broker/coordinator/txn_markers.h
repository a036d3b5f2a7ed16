/* The markers of transactions that have been decided: into every partition of a transaction, wherever its
 * leader is, until all are written. (reference: coordinators §4.6)
 *
 * What this broker leads is written in process, by whoever began if there is little of it, else on the
 * background thread; what others lead is asked of them with WriteTxnMarkers, one request at a time for each
 * broker, and what comes up meanwhile goes into the next. On errors that pass the leader is looked up again; a
 * partition without a leader waits; one whose topic is gone is done. A producer epoch or a coordinator
 * that is newer there ends it: somebody else decides. */
#ifndef OTTLA_BROKER_COORDINATOR_TXN_MARKERS_H
#define OTTLA_BROKER_COORDINATOR_TXN_MARKERS_H

#include "broker/coordinator/txn_shard.h"

struct txn_markers;

/* A transaction that ends. */
struct txn_ending {
    struct list link;
    struct txn_shard *shard;
    int64_t life; /* the shard's */
    struct str id;
    struct txn_end end;
    struct txn_partitions *partitions; /* a reference */
};

struct txn_markers *txn_markers_new(const struct txn_coordinator_config *config);
/* The background thread's loop does not run any more, but is drained after this; the shards of groups have been
 * shut down. */
void txn_markers_stop(struct txn_markers *markers);
void txn_markers_free(struct txn_markers *markers);

struct txn_ending *txn_ending_new(struct txn_shard *shard, const struct txn *txn);
void txn_ending_free(struct txn_ending *ending);

/* Writes what can be written here and now. No lock is held. Takes the ending. */
void txn_markers_begin(struct txn_markers *markers, struct txn_ending *ending);
/* The same, later, on the background thread. Any lock may be held. */
void txn_markers_begin_later(struct txn_markers *markers, struct txn_ending *ending);

#endif

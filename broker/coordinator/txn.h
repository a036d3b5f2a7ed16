/* One transactional id, and its current transaction: a pure state machine. An event and the time go in; what
 * is to be answered, or first to be stored, comes out. No clock, no lock, no log, no connection.
 *
 * What is to be stored is there when it has been: until then the transition is pending, and most events
 * are answered CONCURRENT_TRANSACTIONS (51). (reference: coordinators §4; KIP-98, KIP-360)
 *
 * Lock: the shard's. */
#ifndef OTTLA_BROKER_COORDINATOR_TXN_H
#define OTTLA_BROKER_COORDINATOR_TXN_H

#include "base/err.h"
#include "base/list.h"
#include "broker/coordinator/txn_partitions.h"

/* The numbers are those of the log. */
enum txn_state {
    TXN_EMPTY = 0,
    TXN_ONGOING = 1,
    TXN_PREPARE_COMMIT = 2,
    TXN_PREPARE_ABORT = 3,
    TXN_COMPLETE_COMMIT = 4,
    TXN_COMPLETE_ABORT = 5,
    TXN_DEAD = 6,
    TXN_STATES = 7,
    TXN_NOTHING_PENDING = -1,
};

/* "Empty", "Ongoing", …: as clients see them. */
const char *txn_state_name(enum txn_state state);

enum { TXN_NO_EPOCH = -1, TXN_NO_PRODUCER_ID = -1 };

struct txn_values {
    enum txn_state state;
    int64_t producer_id;
    int64_t last_producer_id; /* before the current one; not in the log: -1 after a load */
    int16_t epoch;            /* -1: never stored */
    int16_t last_epoch;       /* as last_producer_id */
    int32_t timeout_ms;
    int64_t start_ms; /* of the current transaction, or the last one; -1: none */
    int64_t update_ms;
    struct txn_partitions *partitions; /* a reference; NULL: none */
};

struct txn {
    struct str id; /* owned */
    struct txn_values is;
    enum txn_state pending; /* where a transition that is being stored leads */
    bool is_fenced;   /* its epoch was raised to end the transaction, which is not complete yet */
    struct list link; /* the shard's */
};

/* What comes of an event: an answer, or what is to be stored first. */
struct txn_step {
    err error; /* the answer; with `store` the one when it is stored */
    bool store;
    struct txn_values next; /* with `store`; its reference is the caller's, until txn_stored() */
};

/* As it is before its first InitProducerId is stored. */
struct txn *txn_new(struct str id, int64_t producer_id, int32_t timeout_ms, int64_t now_ms);
/* As it stands in the log. Takes the reference of `values`. */
struct txn *txn_new_loaded(struct str id, const struct txn_values *values);
void txn_free(struct txn *txn);

/* ---- events ---- */

struct txn_init {
    int32_t timeout_ms;
    int64_t producer_id; /* what the producer believes; -1: nothing (before version 3, or new) */
    int16_t epoch;
    int64_t fresh_producer_id; /* for when one is needed; -1: none is at hand */
};
/* PRODUCER_FENCED (90), CONCURRENT_TRANSACTIONS (51), UNKNOWN_SERVER_ERROR (-1). E_NOT_FOUND: a fresh producer id
 * is needed. A transaction that is open is aborted first, with a higher epoch: the answer is 51. */
void txn_init_producer_id(struct txn *txn, const struct txn_init *event, int64_t now_ms,
                          struct txn_step *step);

struct txn_producer {
    int64_t id;
    int16_t epoch;
};
/* INVALID_PRODUCER_ID_MAPPING (49), PRODUCER_FENCED (90), CONCURRENT_TRANSACTIONS (51). */
void txn_add_partitions(struct txn *txn, struct txn_producer by, const struct txn_partitions *added,
                        int64_t now_ms, struct txn_step *step);
/* The same, of whoever verifies; then each partition is TRANSACTION_ABORTABLE (120) unless the transaction
 * has it. */
err txn_verify(const struct txn *txn, struct txn_producer by);
err txn_verify_partition(const struct txn *txn, struct str topic, int32_t partition);
/* Also INVALID_TXN_STATE (48). */
void txn_end(struct txn *txn, struct txn_producer by, bool commit, int64_t now_ms,
             struct txn_step *step);

/* The clock of the coordinator before was ahead of this one's: its time begins now, else it would not end. */
void txn_begins_not_after(struct txn *txn, int64_t now_ms);
/* Is it open for too long? Then txn_abort() it: with a higher epoch, so that its producer is fenced. */
bool txn_has_timed_out(const struct txn *txn, int64_t now_ms);
void txn_abort(struct txn *txn, int64_t now_ms, struct txn_step *step);

/* Is the outcome decided, and to be told to the partitions, by markers? */
bool txn_is_prepared(enum txn_state state);
/* All of them are written. */
void txn_markers_written(struct txn *txn, int64_t now_ms, struct txn_step *step);

/* Has the id not been used for so long? Then it is to be forgotten. */
bool txn_has_expired(const struct txn *txn, int64_t now_ms, int64_t expiration_ms);
void txn_expire(struct txn *txn, struct txn_step *step);

/* What a step had stored is, or is not. Takes the reference of `next`. */
void txn_stored(struct txn *txn, struct txn_values *next);
void txn_not_stored(struct txn *txn, struct txn_values *next);

/* Stops the process where it contradicts itself: see base/check.h. */
void txn_check(const struct txn *txn);

#endif

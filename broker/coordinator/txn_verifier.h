/* Has a transaction these partitions? Asked of its coordinator before the first batch of a transaction is taken
 * into a partition (KIP-890): of this broker's at once, of another with AddPartitionsToTxn, one request at a
 * time for each broker, and what comes up meanwhile goes into the next. (reference: coordinators §4.9) */
#ifndef OTTLA_BROKER_COORDINATOR_TXN_VERIFIER_H
#define OTTLA_BROKER_COORDINATOR_TXN_VERIFIER_H

#include "broker/coordinator/txn_shard.h"

struct txn_verifier;

struct txn_question_partition {
    struct topic_partition name;
    /* The answer: OK; what txn_verify() and the gate say, but INVALID_PRODUCER_EPOCH (47) for 90;
     * TRANSACTION_ABORTABLE (120) where the transaction has it not; NETWORK_EXCEPTION (13) where the
     * coordinator cannot be asked. */
    err error;
};

/* Embedded in who asks, who keeps it, and what it points to, until it is answered. */
struct txn_question {
    struct list link;
    struct str id;
    struct txn_producer by;
    struct txn_question_partition *partitions; /* each once, those of a topic together */
    int32_t partitions_n;
    struct waiter *waiter; /* woken when all are answered, unless that is at once */
};

struct txn_verifier *txn_verifier_new(struct txn_coordinator *coordinator);
/* The background thread's loop does not run any more; what waits is answered. */
void txn_verifier_stop(struct txn_verifier *verifier);
void txn_verifier_free(struct txn_verifier *verifier);

/* True: answered. False: the waiter will be woken. Any thread, without a lock. */
bool txn_verifier_ask(struct txn_verifier *verifier, struct txn_question *question);

#endif

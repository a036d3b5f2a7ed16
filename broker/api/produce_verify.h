/* Before the first batch of a transaction is taken into a partition, its coordinator is asked whether the
 * transaction has it (KIP-890). (reference: coordinators §4.9). A whole Produce is asked for at once; each
 * partition is judged alone. */
#ifndef OTTLA_BROKER_API_PRODUCE_VERIFY_H
#define OTTLA_BROKER_API_PRODUCE_VERIFY_H

#include "broker/api/request.h"
#include "broker/coordinator/txn_verifier.h"

struct produce_verify {
    struct txn_question question;
    struct verified_partition {
        struct partition *partition; /* a reference */
        uint64_t guard;
        int32_t place; /* in the request, all topics counted through */
    } * each;          /* beside those of the question, ascending */
    int32_t next;      /* of produce_verify_of() */
};

/* Is it a batch of a transaction? Then its header is in *batch. */
bool produce_batch_of(struct bytes records, struct batch *batch);

/* Looks what must be asked, and asks. OK: all is known, or nothing was to be asked; E_BUSY: the request, which is
 * parked, will be woken. INVALID_PRODUCER_ID_MAPPING (49) where batches are of several producers: for every
 * partition. E_LIMIT: no memory. What the request points to must stay until produce_verify_end(). */
NODISCARD err produce_verify_begin(struct req *r, struct produce_verify *verify);
/* All is answered: partitions may take what is verified. */
void produce_verify_end(struct produce_verify *verify);
/* After that, for places in ascending order: why that partition may not take its batch, and what is told beside;
 * or OK, and the guard of its append (0: none). */
NODISCARD err produce_verify_of(struct req *r, struct produce_verify *verify, int32_t place,
                                uint64_t *guard, struct str *message);

#endif

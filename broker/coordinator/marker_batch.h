/* What a marker is made of: a control batch that ends a transaction in a partition. (reference: storage format
 * §4.2) */
#ifndef OTTLA_BROKER_COORDINATOR_MARKER_BATCH_H
#define OTTLA_BROKER_COORDINATOR_MARKER_BATCH_H

#include "base/writer.h"

/* The end of a producer's transaction. */
struct txn_end {
    int64_t producer_id;
    int16_t producer_epoch;
    bool commit;
    int32_t coordinator_epoch;
};
/* As one batch; the caller deinits. */
void marker_batch_write(struct writer *out, const struct txn_end *end, int64_t now_ms);

#endif

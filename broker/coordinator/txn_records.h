/* The records of __transaction_state, in Kafka's schemas (reference: storage format §14). */
#ifndef OTTLA_BROKER_COORDINATOR_TXN_RECORDS_H
#define OTTLA_BROKER_COORDINATOR_TXN_RECORDS_H

#include "base/arena.h"
#include "broker/coordinator/txn.h"
#include "protocol/batch.h"

/* Added to a batch. E_LIMIT when it is too large for any. */
NODISCARD err txn_record_add(struct batch_builder *batch, int64_t now_ms, struct str id,
                             const struct txn_values *values);
/* The id is forgotten. */
NODISCARD err txn_record_add_tombstone(struct batch_builder *batch, int64_t now_ms, struct str id);

/* The id is the arena's; null: a key of another version, to be passed over. */
NODISCARD err txn_record_read_key(struct bytes key, struct arena *arena, struct str *id);
/* The reference to the partitions is the caller's. E_UNSUPPORTED: a version that is not known; E_MALFORMED
 * too for values that contradict themselves. */
NODISCARD err txn_record_read(struct bytes value, struct arena *arena, struct txn_values *values);

#endif

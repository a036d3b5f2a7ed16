/* The marker that ends a transaction in a partition: a control batch. (reference: storage format §4.2) */
#ifndef OTTLA_BROKER_COORDINATOR_TXN_MARKER_H
#define OTTLA_BROKER_COORDINATOR_TXN_MARKER_H

#include "base/writer.h"
#include "broker/coordinator/group_coordinator.h"

/* As one batch; the caller deinits. */
void txn_marker_write(struct writer *out, const struct txn_end *end, int64_t now_ms);

#endif

/* The partitions of a transaction: a set that never changes, shared by who holds a reference. Adding makes
 * another one. Any thread may hold and let go. */
#ifndef OTTLA_BROKER_COORDINATOR_TXN_PARTITIONS_H
#define OTTLA_BROKER_COORDINATOR_TXN_PARTITIONS_H

#include "base/bytes.h"
#include "storage/plog.h"

#include <stdatomic.h>

struct txn_partitions {
    atomic_int references;
    int32_t count;
    struct topic_partition *items; /* ascending by topic and number, each once */
};

/* `names` in any order, also twice; copied, and sorted in place. */
struct txn_partitions *txn_partitions_new(struct topic_partition *names, size_t count);
struct txn_partitions *txn_partitions_retain(struct txn_partitions *partitions);
/* NULL is allowed here and below: no partitions. */
void txn_partitions_release(struct txn_partitions *partitions);

struct txn_partitions *txn_partitions_union(const struct txn_partitions *a,
                                            const struct txn_partitions *b);
bool txn_partitions_hold(const struct txn_partitions *partitions, struct str topic,
                         int32_t partition);
bool txn_partitions_hold_all(const struct txn_partitions *partitions,
                             const struct txn_partitions *all);

static inline int32_t txn_partitions_count(const struct txn_partitions *partitions)
{
    return partitions == NULL ? 0 : partitions->count;
}

/* How many from `from` on are of the same topic. */
int32_t txn_partitions_of_topic(const struct txn_partitions *partitions, int32_t from);

#endif

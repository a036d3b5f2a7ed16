/* Which brokers get the replicas of new partitions (reference: zookeeper §9; KIP-36).
 *
 * A random start, replicas round robin over the brokers, shifted by one more with each turn; where brokers
 * have racks, over brokers of one rack after the other, and no rack gets a second replica of a partition
 * before all have one. */
#ifndef OTTLA_BROKER_CLUSTER_PLACEMENT_H
#define OTTLA_BROKER_CLUSTER_PLACEMENT_H

#include "base/random.h"
#include "broker/cluster/metadata.h"
#include "zk/znodes.h"

/* Some brokers have a rack, others not: nothing can be placed. */
bool placement_is_mixed(const struct metadata *metadata);
/* `factor` replicas for each of `count` partitions, of which the first has the number `first`, into lists
 * with room for them; the first replica is to lead. 1 <= factor <= brokers, racks not mixed. */
void placement_choose(struct random *random, const struct metadata *metadata, struct id_list *lists,
                      int32_t first, int32_t count, int32_t factor);

#endif

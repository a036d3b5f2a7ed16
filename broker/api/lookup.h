/* From a name in a request to what has it on this broker. */
#ifndef OTTLA_BROKER_API_LOOKUP_H
#define OTTLA_BROKER_API_LOOKUP_H

#include "broker/api/request.h"
#include "broker/replica/partition.h"

/* A reference to the partition: partition_release() it. Without one here: NOT_LEADER_OR_FOLLOWER (6)
 * where another broker has it by the metadata, UNKNOWN_TOPIC_OR_PARTITION (3) where nobody has. */
NODISCARD err lookup_partition(struct req *r, struct str topic, int32_t partition,
                               struct partition **p);

#endif

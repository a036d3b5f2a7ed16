/* The table of partitions first: the metadata is asked only about what is not there. */
#include "broker/api/lookup.h"

#include "broker/broker.h"

err lookup_partition(struct req *r, struct str topic, int32_t partition, struct partition **p)
{
    *p = replicas_find(r->broker->replicas, topic, partition);
    if (*p != NULL) {
        return OK;
    }
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    bool elsewhere = metadata_has_partition(metadata, topic, partition);
    metadata_release(metadata);
    return elsewhere ? ERR_NOT_LEADER_OR_FOLLOWER : ERR_UNKNOWN_TOPIC_OR_PARTITION;
}

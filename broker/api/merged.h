/* The topics and partitions that a request names, each once: Kafka answers a partition that is named
 * twice once, by what the last one says. Where it looks first whether there is such a partition, it answers
 * what is not there as it is named: each time, and a topic also without partitions. */
#ifndef OTTLA_BROKER_API_MERGED_H
#define OTTLA_BROKER_API_MERGED_H

#include "broker/api/request.h"

struct metadata;

/* How to read the request. */
struct merge_source {
    const void *topics; /* the request's array */
    int32_t topics_n;
    const struct metadata *there; /* only what is in it is merged; NULL: everything */
    struct str (*name)(const void *topics, int32_t topic);
    int32_t (*partitions_n)(const void *topics, int32_t topic);
    int32_t (*partition)(const void *topics, int32_t topic, int32_t place);
};

struct merged_partition {
    int32_t number;
    int32_t topic; /* where it stands in the request, the last that names it */
    int32_t place;
};

struct merged_topic {
    struct str name; /* the request's */
    struct merged_partition *partitions;
    int32_t partitions_n;
};

struct merged {
    struct merged_topic *topics; /* in the order in which they are named first */
    int32_t topics_n;
};

/* In the request's arena. A topic without partitions is left out, where everything of it would be merged.
 * False: no memory. */
bool merge_partitions(struct req *r, const struct merge_source *source, struct merged *merged);

#endif

/* What requests bring and take is counted here for the metrics, of the topic and of the broker, as Kafka's
 * BrokerTopicMetrics do. Nothing happens where nobody wants metrics.
 *
 * Thread: the request's loop. */
#ifndef OTTLA_BROKER_API_TRAFFIC_H
#define OTTLA_BROKER_API_TRAFFIC_H

#include "broker/api/request.h"
#include "broker/replica/partition.h"

/* One partition of a Produce has its outcome. Not of one that is refused before its log is looked at: there is
 * no such partition, it may not be asked so. `p` NULL: it is not on this broker. */
struct traffic_produced {
    err error;
    size_t bytes;    /* as they were sent */
    int64_t records; /* a repetition that is not stored again has them too */
    int64_t
        converted; /* those that were encoded anew: from an older format, with the topic's codec */
};
void traffic_produced(const struct req *r, struct partition *p,
                      const struct traffic_produced *produced);
/* One partition of a Fetch has its answer; not of one that nobody knows. */
struct traffic_fetched {
    err error;
    size_t bytes;
    bool by_replica;
    bool converted; /* to an older format */
};
void traffic_fetched(const struct req *r, struct partition *p,
                     const struct traffic_fetched *fetched);

#endif

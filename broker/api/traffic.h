/* What requests bring and take is counted here for the metrics, of the topic and of the broker, as Kafka's
 * BrokerTopicMetrics do. Nothing happens where nobody wants metrics.
 *
 * Thread: the request's loop. */
#ifndef OTTLA_BROKER_API_TRAFFIC_H
#define OTTLA_BROKER_API_TRAFFIC_H

#include "broker/api/request.h"
#include "broker/replica/partition.h"

/* One partition of a Produce has its outcome. `p` NULL: there is no such partition. */
struct traffic_produced {
    err error;
    size_t bytes; /* as they are stored; of an error, as they were sent */
    int64_t records;
    bool converted; /* from an older format */
};
void traffic_produced(const struct req *r, struct partition *p,
                      const struct traffic_produced *produced);
/* One partition of a Fetch has its answer. */
struct traffic_fetched {
    err error;
    size_t bytes;
    bool by_replica;
    bool converted;
};
void traffic_fetched(const struct req *r, struct partition *p,
                     const struct traffic_fetched *fetched);

#endif

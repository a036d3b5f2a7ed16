/* Log directories without a coordination store: a new store takes over the topics whose logs are
 * there, so that what a Kafka broker wrote (or a store that was lost left behind) can be read.
 *
 * Thread: at the start, after the logs are loaded and before the controller is elected. */
#ifndef OTTLA_BROKER_CLUSTER_ADOPT_H
#define OTTLA_BROKER_CLUSTER_ADOPT_H

#include "broker/cluster/topic_configs.h"
#include "storage/logs.h"

struct adoption {
    int32_t broker_id;
    struct coord *coord;
    struct logs *logs;
    struct topic_configs *topic_configs;
    struct random *random; /* of the ids of topics that have none */
};

/* Does nothing where the store knows a topic, or there are no logs. */
NODISCARD err adopt_logs(const struct adoption *adoption);

#endif

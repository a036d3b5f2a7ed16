/* Log directories without a coordination store: a new store takes over the topics whose logs are
 * there, so that what a Kafka broker wrote (or a store that was lost left behind) can be read.
 *
 * Thread: at the start, after the logs are loaded and before the controller is elected. */
#ifndef OTTLA_BROKER_CLUSTER_ADOPT_H
#define OTTLA_BROKER_CLUSTER_ADOPT_H

#include "base/err.h"

struct broker;

/* Does nothing where the store knows a topic, or there are no logs. */
NODISCARD err adopt_logs(struct broker *broker);

#endif

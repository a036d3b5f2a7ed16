/* A broker's place in the cluster: the coordination store, the identity that is settled with it, and
 * the registration, which ends with the session and is made anew.
 *
 * Thread: the start's, then the control thread. (reference: zookeeper §1.1, §3) */
#ifndef OTTLA_BROKER_CLUSTER_MEMBERSHIP_H
#define OTTLA_BROKER_CLUSTER_MEMBERSHIP_H

#include "base/err.h"
#include "storage/logs.h"

struct broker;

/* Opens the store that the configuration names: ZooKeeper, or the embedded one in the first log
 * directory. Refusals here and below are one line in `reason` (BROKER_REASON_BYTES). */
NODISCARD err membership_connect(struct broker *broker, char *reason);
/* Makes Kafka's persistent nodes, settles cluster id and broker id, and sees that nobody else is
 * registered with it: a session that is dying is waited for. Writes nothing when it refuses because
 * of what meta.properties says. */
NODISCARD err membership_settle(struct broker *broker, const struct logs_identity *identity,
                                char *reason);
/* Writes /brokers/ids/N. The node's transaction number is the broker's epoch. A node that an own
 * earlier session left is replaced. */
NODISCARD err membership_register(struct broker *broker, char *reason);
/* Stands for election. From then on whatever fails or ends (the session, the registration, the
 * office) is tried again until it is there. */
NODISCARD err membership_elect(struct broker *broker, char *reason);
void membership_stop(struct broker *broker);

#endif

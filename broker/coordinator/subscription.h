/* Which topics the members of a consumer group subscribe to, by what they put into JoinGroup.
 *
 * Lock: the shard's. (source: Kafka's consumer protocol, protocol/schema/consumer_protocol.msg) */
#ifndef OTTLA_BROKER_COORDINATOR_SUBSCRIPTION_H
#define OTTLA_BROKER_COORDINATOR_SUBSCRIPTION_H

#include "broker/coordinator/group.h"

struct subscription {
    bool known;        /* the group is of consumers, and what all of them say can be read */
    struct map topics; /* a set of names */
};

void subscription_read(struct subscription *subscription, const struct group *group);
void subscription_deinit(struct subscription *subscription);
bool subscription_holds(const struct subscription *subscription, struct str topic);
/* Is its protocol type the consumers'? */
bool group_is_of_consumers(const struct group *group);

#endif

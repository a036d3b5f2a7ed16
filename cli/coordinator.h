/* Which broker keeps a group. */
#ifndef OTTLA_CLI_COORDINATOR_H
#define OTTLA_CLI_COORDINATOR_H

#include "cli/brokers.h"

/* The connection to it. Asks again while the group's partition is being made or loaded, until the time-out of the
 * brokers. An error has its sentence in brokers->reason. */
NODISCARD err coordinator_of_group(struct brokers *brokers, const char *group,
                                   struct client **client);

#endif

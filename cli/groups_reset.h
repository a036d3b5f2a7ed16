/* kafka-consumer-groups --reset-offsets. */
#ifndef OTTLA_CLI_GROUPS_RESET_H
#define OTTLA_CLI_GROUPS_RESET_H

#include "cli/brokers.h"
#include "cli/options.h"

/* NULL: the options are whole. */
const char *groups_reset_mistake(const struct cli_options *options);
/* Shows what the offsets of one group would be, and with --execute writes them. Errors as in groups.h. */
NODISCARD err groups_reset(struct brokers *brokers, const struct cli_options *options,
                           const char *group);

#endif

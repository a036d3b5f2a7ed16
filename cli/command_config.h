/* --command-config: a file of client options. There is nothing in it that the tools follow; one that asks for security
 * cannot be followed, and is refused. */
#ifndef OTTLA_CLI_COMMAND_CONFIG_H
#define OTTLA_CLI_COMMAND_CONFIG_H

#include "base/err.h"

/* `path` NULL: there is none. E_CONFIG with a sentence in `reason` (CLI_REASON_BYTES). */
NODISCARD err command_config_check(const char *path, char *reason);

/* The version of Kafka whose tools these are like. */
#define CLI_KAFKA_VERSION "3.9.1"

#endif

/* The options of the command, from all that sets them: the file, the environment, the command line; at the start, and
 * again after SIGHUP. */
#ifndef OTTLA_COMMAND_GATHER_H
#define OTTLA_COMMAND_GATHER_H

#include "command/arguments.h"
#include "broker/config.h"
#include "broker/memory_dir.h"

/* As texts, which are not looked at yet. E_CONFIG with one sentence. */
NODISCARD err gather_texts(struct config *config, const struct arguments *arguments,
                           char reason[CONFIG_REASON_BYTES]);
/* Finished. With --in-memory the logs are in *memory, which is made where it is NULL; the caller removes it. */
NODISCARD err gather_config(struct config *config, const struct arguments *arguments,
                            struct memory_dir **memory, char reason[CONFIG_REASON_BYTES]);

#endif

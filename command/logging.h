/* The options of the log, put into force: the log is the process's, so the command does this, and not a
 * broker. */
#ifndef OTTLA_COMMAND_LOGGING_H
#define OTTLA_COMMAND_LOGGING_H

#include "broker/config.h"

/* E_CONFIG with one sentence: the file cannot be opened, an area or a level is unknown. */
NODISCARD err logging_begin(const struct config *config, char reason[CONFIG_REASON_BYTES]);
/* After SIGHUP. */
void logging_reopen(void);

#endif

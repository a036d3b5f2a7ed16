/* What Kafka's scripts around the server do. */
#ifndef OTTLA_CLI_SERVER_H
#define OTTLA_CLI_SERVER_H

#include "base/err.h"

/* Goes on in a process of its own, in the background, which writes to $LOG_DIR/kafkaServer.out (LOG_DIR: ./logs, made
 * where it is not there), as kafka-server-start -daemon does; the former process ends with status 0. Before any thread
 * is started. E_… with a sentence in `reason` (CLI_REASON_BYTES). */
NODISCARD err server_to_background(char *reason);

#endif

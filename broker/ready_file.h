/* A file that is there while the broker serves clients, for whoever started it: one line for each listener,
 * NAME=host:port, with the port that the system chose where the option says 0. */
#ifndef OTTLA_BROKER_READY_FILE_H
#define OTTLA_BROKER_READY_FILE_H

#include "broker/broker.h"

/* What a client on this machine connects to. */
const char *listener_local_host(const struct listener *listener);

/* One that a broker left which was killed says nothing of this one. Before the start; `reason` is of a broker. */
NODISCARD err ready_file_clear(const char *path, char reason[BROKER_REASON_BYTES]);
/* All of it at once, once clients are served; `more` is lines of somebody else, or "". */
NODISCARD err ready_file_write(const char *path, const struct broker *broker, const char *more,
                               char reason[BROKER_REASON_BYTES]);

#endif

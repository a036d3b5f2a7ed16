/* What systemd, or whoever else starts the broker as it does, is told: sd_notify(3)'s datagrams to NOTIFY_SOCKET,
 * without its library. Where that is not set all of this does nothing.
 *
 * Main thread, where nothing else is said. */
#ifndef OTTLA_COMMAND_SUPERVISED_H
#define OTTLA_COMMAND_SUPERVISED_H

#include "broker/broker.h"

struct supervised;

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. What is wrong in them is warned of, and the broker goes on without. NULL: nobody wants to be told; all functions take that. */
struct supervised *supervised_new(void);
void supervised_free(struct supervised *supervised);

/* Clients are served: READY=1; `status` is one line. From here on WATCHDOG=1 at half of the interval that was asked for,
 * as long as the loops of connections, the state and the background thread take their turns. */
void supervised_ready(struct supervised *supervised, struct broker *broker, const char *status);
/* The configuration is being read again, and then (any thread) it has been. */
void supervised_reloading(struct supervised *supervised);
void supervised_reloaded(struct supervised *supervised);
/* STOPPING=1, and what it is about; may be said again. */
void supervised_stopping(struct supervised *supervised, const char *status);
/* Before broker_stop(): the loops are asked no more. */
void supervised_end_watch(struct supervised *supervised);

#endif

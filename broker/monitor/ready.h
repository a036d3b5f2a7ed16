/* May clients be sent to this broker? */
#ifndef OTTLA_BROKER_MONITOR_READY_H
#define OTTLA_BROKER_MONITOR_READY_H

#include "broker/broker.h"

#include <stddef.h>

enum { READY_REASONS_BYTES = 512 };

/* Of a broker that serves. "" in `reasons`: yes; else one line for each reason why not. Any thread. */
void ready_look(const struct broker *broker, char reasons[READY_REASONS_BYTES]);

#endif

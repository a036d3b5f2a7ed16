/* What the command says, and has done, before others may rely on a broker that serves: the topics that were asked
 * for, and the lines that Kafka writes when it is ready. */
#ifndef OTTLA_COMMAND_ANNOUNCE_H
#define OTTLA_COMMAND_ANNOUNCE_H

#include "command/arguments.h"
#include "broker/broker.h"
#include "command/signals.h"

/* Makes the topics of --create-topic, which may take a while where a cluster starts; OK too when a stop came
 * meanwhile. `reason` is of a broker. */
NODISCARD err announce_first_topics(const struct broker *broker, const struct arguments *arguments,
                                    const struct signals *signals,
                                    char reason[BROKER_REASON_BYTES]);
/* The lines by which scripts and test frameworks know a Kafka that is ready, of both its modes; the
 * ports answer by now. (reference: conventions §2.4) */
void announce_ready(const struct broker *broker);

#endif

/* What tools say of errors, as Kafka's tools do: scripts look at it. */
#ifndef OTTLA_CLI_SAID_H
#define OTTLA_CLI_SAID_H

#include "base/bytes.h"
#include "base/err.h"

/* The class of the error in Kafka's Java, "org.apache.kafka.common.errors.TopicExistsException". */
const char *kafka_exception(err code);

/* On stdout "Error while executing <what> command : <sentence>", on stderr the line of a log with the class of the
 * error and the tool's; `tool_class` is below org.apache.kafka.tools. An error of this process becomes the class that
 * its like has in Java. Returns the exit status of a failure. */
int said_failure(const char *what, const char *tool_class, err code, const char *sentence);

/* A sentence of a broker's answer, or the name of the code where it has none. Terminated, in the arena. */
struct arena;
const char *said_by_broker(struct arena *arena, err code, struct str message);

#endif

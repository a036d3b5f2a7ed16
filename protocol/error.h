/* Kafka's error codes, by name: ERR_NOT_LEADER_OR_FOLLOWER and so on. They are values of `err`. */
#ifndef OTTLA_PROTOCOL_ERROR_H
#define OTTLA_PROTOCOL_ERROR_H

#include "base/err.h"

#include <stdint.h>

enum kafka_error {
#define KAFKA_ERROR(code, name) ERR_##name = (code),
#include "protocol/error.def"
#undef KAFKA_ERROR
};

/* "NOT_LEADER_OR_FOLLOWER", "NONE", or "UNKNOWN_CODE". */
const char *kafka_error_name(int code);

/* A code that may go onto the wire: itself where it is one, else UNKNOWN_SERVER_ERROR. Each API
 * that knows better translates its local errors before. */
int16_t kafka_error_wire(err e);

#endif

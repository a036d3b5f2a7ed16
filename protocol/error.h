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

/* The code that goes onto the wire: `e` itself where it is one of Kafka's. An error that is local to
 * this process becomes, by one rule for all APIs,
 *   KAFKA_STORAGE_ERROR    where a log or its disk has failed: kafka_error_of_log(); a limit of memory
 *                          that a look into a log has met is no such failure,
 *   `local`                where an API has a rule of its own, with the reason beside the call,
 *   UNKNOWN_SERVER_ERROR   otherwise: kafka_error_wire(). */
int16_t kafka_error_or(err e, enum kafka_error local);

static inline int16_t kafka_error_wire(err e)
{
    return kafka_error_or(e, ERR_UNKNOWN_SERVER_ERROR);
}

static inline int16_t kafka_error_of_log(err e)
{
    return kafka_error_or(e, e == E_LIMIT ? ERR_UNKNOWN_SERVER_ERROR : ERR_KAFKA_STORAGE_ERROR);
}

#endif

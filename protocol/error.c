/* The names of Kafka's error codes, and which codes may go onto the wire. */
#include "protocol/error.h"

#include <stddef.h>

static const char *name_of(int code)
{
    switch (code) {
#define KAFKA_ERROR(number, name)                                                                  \
    case number:                                                                                   \
        return #name;
#include "protocol/error.def"
#undef KAFKA_ERROR
    default:
        return NULL;
    }
}

const char *kafka_error_name(int code)
{
    if (code == OK) {
        return "NONE";
    }
    const char *name = name_of(code);
    return name == NULL ? "UNKNOWN_CODE" : name;
}

int16_t kafka_error_or(err e, enum kafka_error local)
{
    return e == OK || name_of(e) != NULL ? (int16_t)e : (int16_t)local;
}

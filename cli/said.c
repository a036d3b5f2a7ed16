/* Java's classes for Kafka's errors, and the lines that tools write of them. */
#define _GNU_SOURCE
#include "cli/said.h"

#include "base/arena.h"
#include "protocol/error.h"

#include <stdio.h>
#include <time.h>

static const char *exception_of(err code)
{
    switch (code) {
#define KAFKA_EXCEPTION(name, class)                                                               \
    case ERR_##name:                                                                               \
        return "org.apache.kafka.common." class;
#include "cli/exceptions.def"
#undef KAFKA_EXCEPTION
    default:
        return NULL;
    }
}

const char *kafka_exception(err code)
{
    const char *exception = exception_of(code);
    if (exception != NULL) {
        return exception;
    }
    switch (code) {
    case E_CONFIG:
        return "java.lang.IllegalArgumentException";
    case E_UNSUPPORTED:
        return exception_of(ERR_UNSUPPORTED_VERSION);
    case E_BUSY:
        return exception_of(ERR_REQUEST_TIMED_OUT);
    default:
        return err_is_local(code) ? exception_of(ERR_NETWORK_EXCEPTION)
                                  : exception_of(ERR_UNKNOWN_SERVER_ERROR);
    }
}

int said_failure(const char *what, const char *tool_class, err code, const char *sentence)
{
    printf("Error while executing %s command : %s\n", what, sentence);
    fflush(stdout); /* before the other one where both are the same */
    struct timespec now;
    struct tm local;
    char time[32];
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    strftime(time, sizeof(time), "%Y-%m-%d %H:%M:%S", &local);
    fprintf(stderr, "[%s,%03d] ERROR %s: %s\n (org.apache.kafka.tools.%s)\n", time,
            (int)(now.tv_nsec / 1000000), kafka_exception(code), sentence, tool_class);
    return 1;
}

const char *said_by_broker(struct arena *arena, err code, struct str message)
{
    struct str copy = message.len > 0 ? arena_str(arena, message) : (struct str){0};
    return copy.data != NULL ? copy.data : kafka_error_name(code);
}

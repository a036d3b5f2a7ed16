/* One line of the log, as text: log.c's own. */
#ifndef OTTLA_BASE_LOG_LINE_H
#define OTTLA_BASE_LOG_LINE_H

#include "base/log.h"

#include <time.h>

enum { LOG_MESSAGE_MAX_BYTES = 1900, LOG_LINE_MAX_BYTES = 16 << 10 };

struct log_line {
    enum log_level level;
    const char *area;
    struct timespec time; /* since 1970 */
    char *message;        /* its control characters become '?' */
    size_t message_len;   /* at most LOG_MESSAGE_MAX_BYTES */
};

/* With its line end; the length. */
size_t log_line_format(struct log_line *line, enum log_format format, char out[LOG_LINE_MAX_BYTES]);

#endif

/* The log: state changes, as a message and key=value pairs, one line each, on standard error.
 *
 * Each error is logged once, by whoever handles it. Never a secret, never a line per request.
 * Lines look as Kafka's do: [2026-11-21 02:00:00,123] INFO message key=value (area).
 * Thread-safe: a line is one write. */
#ifndef OTTLA_BASE_LOG_H
#define OTTLA_BASE_LOG_H

#include "base/bytes.h"

/* As Kafka names them; nothing is written at TRACE that is not at DEBUG. */
enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_FATAL, LOG_OFF };

/* What is below it is left out. Tests turn the log off. */
void log_set_level(enum log_level level);
enum log_level log_level(void);
/* The name of a level, and the level of a name; false: there is none. */
const char *log_level_name(enum log_level level);
bool log_level_of(struct str name, enum log_level *level);

__attribute__((format(printf, 3, 4))) void log_write(enum log_level level, const char *area,
                                                     const char *format, ...);

#define log_debug(area, ...) log_write(LOG_DEBUG, (area), __VA_ARGS__)
#define log_info(area, ...)  log_write(LOG_INFO, (area), __VA_ARGS__)
#define log_warn(area, ...)  log_write(LOG_WARN, (area), __VA_ARGS__)
#define log_error(area, ...) log_write(LOG_ERROR, (area), __VA_ARGS__)
#define log_fatal(area, ...) log_write(LOG_FATAL, (area), __VA_ARGS__)

#endif

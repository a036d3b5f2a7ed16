/* The log: state changes, as a message and key=value pairs, one line each, on standard error or in a file.
 *
 * Each error is logged once, by whoever handles it. Never a secret, never a line per request unless
 * somebody asks for these (the area kafka.request.logger at DEBUG).
 * Lines look as Kafka's do: [2026-11-21 02:00:00,123] INFO message key=value (area); or they are JSON.
 * Thread-safe: a line is one write. The log is the process's, as standard error is: its settings are the one
 * state that brokers in one process share. */
#ifndef OTTLA_BASE_LOG_H
#define OTTLA_BASE_LOG_H

#include "base/bytes.h"
#include "base/err.h"

/* As Kafka names them; nothing is written at TRACE that is not at DEBUG. */
enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_FATAL, LOG_OFF };

/* The name of a level, and the level of a name; false: there is none. */
const char *log_level_name(enum log_level level);
bool log_level_of(struct str name, enum log_level *level);

/* What is below it is left out, in all areas that have no level of their own. Tests turn the log off. */
void log_set_level(enum log_level level);
enum log_level log_level(void);

/* The areas, by number (log_areas.def). */
int log_areas(void);
const char *log_area_name(int area);
/* -1: there is none of that name. */
int log_area_of(struct str name);
enum log_level log_area_level(int area);
void log_set_area_level(int area, enum log_level level);
/* It has the root's again. */
void log_unset_area_level(int area);

/* ---- where and how ---- */

enum log_format { LOG_FORMAT_KAFKA, LOG_FORMAT_JSON };
void log_set_format(enum log_format format);
/* From here on lines are appended to this file. -errno, and nothing has changed. */
NODISCARD err log_open_file(const char *path);
/* The file was renamed by who rotates it: goes on in one of that name. Fine without a file. */
NODISCARD err log_reopen(void);
/* At most so many lines of one kind (one place in the code) each second, but for DEBUG and FATAL; how many
 * were left out is said afterwards. 0: no bound. Clients provoke lines, and could fill a disk with them. */
void log_set_rate(int lines_per_second);

/* ---- writing ---- */

/* Is a line of this level written at all? Cheap when it is not. */
bool log_is_on(enum log_level level, const char *area);

__attribute__((format(printf, 3, 4))) void log_write(enum log_level level, const char *area,
                                                     const char *format, ...);

#define log_debug(area, ...) log_write(LOG_DEBUG, (area), __VA_ARGS__)
#define log_info(area, ...)  log_write(LOG_INFO, (area), __VA_ARGS__)
#define log_warn(area, ...)  log_write(LOG_WARN, (area), __VA_ARGS__)
#define log_error(area, ...) log_write(LOG_ERROR, (area), __VA_ARGS__)
#define log_fatal(area, ...) log_write(LOG_FATAL, (area), __VA_ARGS__)

#endif

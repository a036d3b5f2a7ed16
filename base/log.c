/* One formatted line, one write(2). The level is the one process-wide setting there is: it belongs
 * to standard error, which is process-wide too. Control characters in a line become '?', so that a
 * peer's name cannot forge a second line. */
#define _GNU_SOURCE
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048 };

static _Atomic int level_min = LOG_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&level_min, (int)level);
}

enum log_level log_level(void)
{
    return (enum log_level)atomic_load(&level_min);
}

static const char *const NAMES[] = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "OFF"};

const char *log_level_name(enum log_level level)
{
    return NAMES[level];
}

bool log_level_of(struct str name, enum log_level *level)
{
    for (int i = LOG_TRACE; i < LOG_OFF; i++) {
        if (str_is(name, NAMES[i])) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_write(enum log_level level, const char *area, const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&level_min, memory_order_relaxed)) {
        return;
    }
    struct timespec now;
    struct tm local;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);

    char line[LINE_MAX_BYTES];
    size_t len = strftime(line, sizeof(line), "[%Y-%m-%d %H:%M:%S", &local);
    len += (size_t)snprintf(line + len, sizeof(line) - len, ",%03d] %s ",
                            (int)(now.tv_nsec / 1000000), log_level_name(level));
    size_t room = sizeof(line) - len - strlen(area) - 5;
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(line + len, room, format, args);
    va_end(args);
    size_t message = wanted < 0 ? 0 : (size_t)wanted >= room ? room - 1 : (size_t)wanted;
    for (size_t i = len; i < len + message; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
    len += message;
    len += (size_t)snprintf(line + len, sizeof(line) - len, " (%s)\n", area);
    ssize_t ignored = write(STDERR_FILENO, line, len);
    (void)ignored;
}

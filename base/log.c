/* Settings, and one write(2) for each line.
 *
 * Levels. `least` is the lowest level of any area: what is below it costs one load. Above it an area is
 * looked up by its name, of which there are few; one that is not in the table has the root's level.
 *
 * Rate. Lines are counted by their format, whose address tells the place in the code, in a small table: two
 * places that share an entry share the bound. What was left out is said by the next line of a later second,
 * whichever line that is. */
#define _GNU_SOURCE
#include "base/log.h"

#include "base/log_line.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const AREAS[] = {
#define LOG_AREA(name) name,
#include "base/log_areas.def"
#undef LOG_AREA
};

enum { AREAS_N = sizeof(AREAS) / sizeof(AREAS[0]), RATES_N = 64, WORDS_MAX_BYTES = 150 };

/* Lines of one format, or of several that share the entry, in the current second. */
struct rate {
    int64_t second;
    int written;
    int left_out;
    const char *area; /* of the last that was left out */
    const char *format;
};

/* The process's log: see log.h. */
static struct {
    _Atomic int root;
    _Atomic int least;
    _Atomic int own[AREAS_N]; /* level + 1; 0: the root's */
    _Atomic int format;
    _Atomic int fd;
    _Atomic int rate_max;
    pthread_mutex_t lock; /* guards what follows */
    char *path;           /* NULL: no file */
    struct rate rates[RATES_N];
} process = {
    .root = LOG_INFO, .least = LOG_INFO, .fd = STDERR_FILENO, .lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- levels ---- */

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

enum log_level log_level(void)
{
    return (enum log_level)atomic_load_explicit(&process.root, memory_order_relaxed);
}

enum log_level log_area_level(int area)
{
    int own = atomic_load_explicit(&process.own[area], memory_order_relaxed);
    return own == 0 ? log_level() : (enum log_level)(own - 1);
}

static void find_least(void)
{
    int least = (int)log_level();
    for (int i = 0; i < AREAS_N; i++) {
        int level = (int)log_area_level(i);
        least = level < least ? level : least;
    }
    atomic_store(&process.least, least);
}

void log_set_level(enum log_level level)
{
    atomic_store(&process.root, (int)level);
    find_least();
}

int log_areas(void)
{
    return AREAS_N;
}

const char *log_area_name(int area)
{
    return AREAS[area];
}

int log_area_of(struct str name)
{
    for (int i = 0; i < AREAS_N; i++) {
        if (str_is(name, AREAS[i])) {
            return i;
        }
    }
    return -1;
}

void log_set_area_level(int area, enum log_level level)
{
    atomic_store(&process.own[area], (int)level + 1);
    find_least();
}

void log_unset_area_level(int area)
{
    atomic_store(&process.own[area], 0);
    find_least();
}

bool log_is_on(enum log_level level, const char *area)
{
    if ((int)level < atomic_load_explicit(&process.least, memory_order_relaxed)) {
        return false;
    }
    int number = log_area_of(str_of(area));
    return level >= (number < 0 ? log_level() : log_area_level(number));
}

/* ---- where and how ---- */

void log_set_format(enum log_format format)
{
    atomic_store(&process.format, (int)format);
}

void log_set_rate(int lines_per_second)
{
    atomic_store(&process.rate_max, lines_per_second);
}

static int open_append(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

/* Who is writing to the former file keeps a descriptor that is open: the new one takes its number. */
static err take_file(const char *path)
{
    int fd = open_append(path);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    int before = atomic_load(&process.fd);
    if (before == STDERR_FILENO) {
        atomic_store(&process.fd, fd);
        return OK;
    }
    int failed = dup3(fd, before, O_CLOEXEC) < 0 ? errno : 0;
    close(fd);
    return failed == 0 ? OK : err_from_errno(failed);
}

err log_open_file(const char *path)
{
    pthread_mutex_lock(&process.lock);
    err e = take_file(path);
    if (e == OK) {
        free(process.path);
        process.path = xstrdup(path);
    }
    pthread_mutex_unlock(&process.lock);
    return e;
}

err log_reopen(void)
{
    pthread_mutex_lock(&process.lock);
    err e = process.path == NULL ? OK : take_file(process.path);
    pthread_mutex_unlock(&process.lock);
    return e;
}

/* ---- writing ---- */

static void write_line(enum log_level level, const char *area, char *message, size_t len)
{
    struct log_line line = {.level = level, .area = area, .message = message, .message_len = len};
    clock_gettime(CLOCK_REALTIME, &line.time);
    char text[LOG_LINE_MAX_BYTES];
    enum log_format format =
        (enum log_format)atomic_load_explicit(&process.format, memory_order_relaxed);
    len = log_line_format(&line, format, text);
    ssize_t ignored = write(atomic_load_explicit(&process.fd, memory_order_relaxed), text, len);
    (void)ignored;
}

static void take_left_out(int64_t second, struct rate *taken)
{
    *taken = (struct rate){0};
    for (int i = 0; i < RATES_N; i++) {
        struct rate *rate = &process.rates[i];
        if (rate->left_out > 0 && rate->second != second) {
            *taken = *rate;
            rate->left_out = 0;
            return;
        }
    }
}

/* False: there were too many of them in this second. *before: what was left out in another one, and not said yet. */
static bool passes_rate(const char *area, const char *format, int max, struct rate *before)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    pthread_mutex_lock(&process.lock);
    struct rate *rate = &process.rates[((uintptr_t)format >> 3) * 2654435761u % RATES_N];
    take_left_out(now.tv_sec, before);
    if (rate->second != now.tv_sec) {
        rate->second = now.tv_sec;
        rate->written = 0;
    }
    bool passes = rate->written < max;
    rate->written += passes;
    if (!passes) {
        rate->left_out++;
        rate->area = area;
        rate->format = format;
    }
    pthread_mutex_unlock(&process.lock);
    return passes;
}

/* Of a format, the words before its values: they have quotes. */
static int words_len(const char *format)
{
    size_t len = strcspn(format, "=%\"");
    while (len > 0 && format[len] != '\0' && format[len - 1] != ' ') {
        len--; /* the name of the first value */
    }
    len -= len > 0 && format[len - 1] == ' ';
    return len < WORDS_MAX_BYTES ? (int)len : WORDS_MAX_BYTES;
}

static bool may_write(enum log_level level, const char *area, const char *format)
{
    int max = atomic_load_explicit(&process.rate_max, memory_order_relaxed);
    if (max <= 0 || level <= LOG_DEBUG || level == LOG_FATAL) {
        return true;
    }
    struct rate before;
    bool passes = passes_rate(area, format, max, &before);
    if (before.left_out > 0) {
        char message[256];
        int len = snprintf(message, sizeof(message),
                           "lines left out, there were too many count=%d of=\"%.*s\"",
                           before.left_out, words_len(before.format), before.format);
        write_line(LOG_WARN, before.area, message, (size_t)len);
    }
    return passes;
}

/* Where a text that did not fit ends: not within a character. */
static size_t whole_characters(const char *text, size_t len)
{
    size_t start = len;
    while (start > 0 && len - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80) {
        start--;
    }
    if (start == 0 || (unsigned char)text[start - 1] < 0xc0) {
        return len; /* it ends with ASCII, or is no UTF-8 */
    }
    unsigned char first = (unsigned char)text[start - 1];
    size_t wanted = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    return len - start + 1 < wanted ? start - 1 : len;
}

void log_write(enum log_level level, const char *area, const char *format, ...)
{
    if (!log_is_on(level, area) || !may_write(level, area, format)) {
        return;
    }
    char message[LOG_MESSAGE_MAX_BYTES + 1];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    size_t len = wanted < 0 ? 0 : (size_t)wanted;
    if (len >= sizeof(message)) {
        len = whole_characters(message, sizeof(message) - 1);
    }
    write_line(level, area, message, len);
}

/* Texts for local errors, the end of a failed CHECK, and allocation that cannot fail. */
#define _GNU_SOURCE
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *err_text(err e)
{
    static _Thread_local char text[96];
    switch (e) {
    case OK:
        return "no error";
    case E_LIMIT:
        return "limit exceeded";
    case E_TRUNCATED:
        return "input too short";
    case E_MALFORMED:
        return "malformed input";
    case E_CORRUPT:
        return "corrupt data";
    case E_NOT_FOUND:
        return "not found";
    case E_EXISTS:
        return "exists already";
    case E_VERSION:
        return "version conflict";
    case E_CLOSED:
        return "closed";
    case E_CONFIG:
        return "bad configuration";
    case E_NOT_EMPTY:
        return "not empty";
    case E_UNSUPPORTED:
        return "unsupported";
    case E_BUSY:
        return "busy";
    case E_SESSION:
        return "session lost";
    case E_UNKNOWN_OUTCOME:
        return "outcome unknown";
    default:
        break;
    }
    if (err_to_errno(e) != 0) {
        snprintf(text, sizeof(text), "%s", strerrordesc_np(err_to_errno(e)));
    } else {
        snprintf(text, sizeof(text), "Kafka error %d", e);
    }
    return text;
}

void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "ottla: internal error: CHECK(%s) failed at %s:%d\n", condition, file, line);
    abort();
}

void *xmalloc(unsigned long size)
{
    void *memory = malloc(size == 0 ? 1 : size);
    CHECK(memory != NULL);
    return memory;
}

void *xcalloc(unsigned long count, unsigned long size)
{
    void *memory = calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
    CHECK(memory != NULL);
    return memory;
}

void *xrealloc(void *memory, unsigned long size)
{
    void *grown = realloc(memory, size == 0 ? 1 : size);
    CHECK(grown != NULL);
    return grown;
}

char *xstrdup(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

char *xasprintf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    CHECK(length >= 0);
    return text;
}

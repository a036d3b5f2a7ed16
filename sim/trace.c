/* The number is FNV-1a's, by words where words come. */
#include "sim/trace.h"

#include <stdarg.h>
#include <string.h>

static const uint64_t PRIME = 0x100000001b3u;

enum { LINE_BYTES = 512 };

void trace_init(struct trace *trace, const int64_t *now_us)
{
    *trace = (struct trace){.hash = 0xcbf29ce484222325u, .now_us = now_us};
}

void trace_mix(struct trace *trace, uint64_t value)
{
    uint64_t mixed = (trace->hash ^ value) * PRIME;
    trace->hash = mixed ^ (mixed >> 29);
}

void trace_bytes(struct trace *trace, const void *data, size_t len)
{
    const uint8_t *at = data;
    for (; len >= sizeof(uint64_t); at += sizeof(uint64_t), len -= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        trace_mix(trace, word);
    }
    for (; len > 0; at++, len--) {
        trace_mix(trace, *at);
    }
}

void trace_line(struct trace *trace, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    size_t len = wanted < 0                       ? 0
                 : (size_t)wanted >= sizeof(line) ? sizeof(line) - 1
                                                  : (size_t)wanted;
    trace_mix(trace, (uint64_t)*trace->now_us);
    trace_bytes(trace, line, len);
    if (trace->out != NULL) {
        fprintf(trace->out, "%12.6f %s\n", (double)*trace->now_us / 1e6, line);
    }
}

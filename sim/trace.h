/* What a simulation did: a number that all of it goes into, in order, and lines for who wants to read.
 * Two runs that did the same have the same number. */
#ifndef OTTLA_SIM_TRACE_H
#define OTTLA_SIM_TRACE_H

#include <stdint.h>
#include <stdio.h>

struct trace {
    uint64_t hash;
    FILE *out; /* NULL: nobody reads */
    const int64_t *now_us;
};

/* `now_us` is read with each line. */
void trace_init(struct trace *trace, const int64_t *now_us);
/* Something small that happens often. */
void trace_mix(struct trace *trace, uint64_t value);
void trace_bytes(struct trace *trace, const void *data, size_t len);
/* A line, without its end. */
__attribute__((format(printf, 2, 3))) void trace_line(struct trace *trace, const char *format, ...);

#endif

/* How often values of which size occurred: counts in buckets whose width is at most a sixteenth of what
 * they hold, so that a percentile is told with an error of at most 3.2 %, in 4 KiB.
 *
 * One thread records; any thread reads meanwhile, and may miss what is being recorded in that moment. */
#ifndef OTTLA_BASE_HISTOGRAM_H
#define OTTLA_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

/* Values below 16 have buckets of their own; each further power of two has 16. The last holds all above. */
enum {
    HISTOGRAM_OCTAVE_BUCKETS = 16,
    HISTOGRAM_OCTAVES = 33, /* up to 2^36: in microseconds, 19 hours */
    HISTOGRAM_BUCKETS = HISTOGRAM_OCTAVE_BUCKETS * HISTOGRAM_OCTAVES,
};

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS]; /* since the start */
    _Atomic uint64_t sum;
};

/* The same, read: several histograms added up, or the difference of two moments. */
struct histogram_counts {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t sum;
};

/* Below 0 is 0. */
void histogram_record(struct histogram *histogram, int64_t value);
void histogram_add(const struct histogram *histogram, struct histogram_counts *to);
/* What was recorded in `to` after `from` was read. */
void histogram_since(const struct histogram_counts *from, struct histogram_counts *to);
uint64_t histogram_count(const struct histogram_counts *counts);
/* The value that `part` (0 to 1) of all do not exceed: the middle of its bucket. 0 of none. */
double histogram_quantile(const struct histogram_counts *counts, double part);

#endif

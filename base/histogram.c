/* Buckets are found by the position of the highest bit and the four bits below it: no table, no branch on
 * the size but one. */
#include "base/histogram.h"

enum { OCTAVE_BITS = 4 };

static unsigned bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_OCTAVE_BUCKETS) {
        return (unsigned)value;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - OCTAVE_BITS;
    unsigned bucket = (shift + 1) * HISTOGRAM_OCTAVE_BUCKETS + ((unsigned)(value >> shift) & 15u);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static double middle_of(unsigned bucket)
{
    if (bucket < HISTOGRAM_OCTAVE_BUCKETS) {
        return bucket;
    }
    unsigned shift = bucket / HISTOGRAM_OCTAVE_BUCKETS - 1;
    uint64_t low = (uint64_t)(HISTOGRAM_OCTAVE_BUCKETS + bucket % HISTOGRAM_OCTAVE_BUCKETS)
                   << shift;
    return (double)low + (double)((1ull << shift) - 1) / 2;
}

/* One writer: a load and a store, which no other processor has to agree to. */
void histogram_record(struct histogram *histogram, int64_t value)
{
    uint64_t v = value < 0 ? 0 : (uint64_t)value;
    _Atomic uint64_t *count = &histogram->counts[bucket_of(v)];
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&histogram->sum,
                          atomic_load_explicit(&histogram->sum, memory_order_relaxed) + v,
                          memory_order_relaxed);
}

void histogram_add(const struct histogram *histogram, struct histogram_counts *to)
{
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        to->counts[i] += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
    }
    to->sum += atomic_load_explicit(&histogram->sum, memory_order_relaxed);
}

void histogram_since(const struct histogram_counts *from, struct histogram_counts *to)
{
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        to->counts[i] -= from->counts[i];
    }
    to->sum -= from->sum;
}

uint64_t histogram_count(const struct histogram_counts *counts)
{
    uint64_t count = 0;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += counts->counts[i];
    }
    return count;
}

double histogram_quantile(const struct histogram_counts *counts, double part)
{
    double wanted = part * (double)histogram_count(counts);
    uint64_t seen = 0;
    unsigned last = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (counts->counts[i] == 0) {
            continue;
        }
        seen += counts->counts[i];
        last = i;
        if ((double)seen >= wanted) {
            break;
        }
    }
    return middle_of(last);
}

/* How much of something there was lately: sums of up to `samples_max` samples, each of which begins with
 * what is recorded first after the one before has run for `sample_ms`. As Kafka's rates count. */
#ifndef OTTLA_BASE_SAMPLED_RATE_H
#define OTTLA_BASE_SAMPLED_RATE_H

#include <stdint.h>

struct rate_sample {
    int64_t began_ms;
    double amount;
};

struct sampled_rate {
    struct rate_sample *samples; /* the caller's, samples_max of them; the oldest first */
    int samples_max;
    int samples_n;
    int64_t sample_ms;
};

/* Times are of one clock, ascending. Negative amounts take back what was recorded. */
void sampled_rate_record(struct sampled_rate *rate, double amount, int64_t now_ms);
/* What the samples sum up to, and since when: `began_ms` is `now_ms` when there are none. */
double sampled_rate_sum(struct sampled_rate *rate, int64_t now_ms, int64_t *began_ms);
/* For how long nothing may be recorded until what was is no more than `limit` per second, not yet begun samples counted
 * as ones without anything in them, so that a burst goes through first. With a limit of 0: all samples long. */
double sampled_rate_excess_ms(struct sampled_rate *rate, double limit, int64_t now_ms);

#endif

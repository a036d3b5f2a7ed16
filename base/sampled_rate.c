#include "base/sampled_rate.h"

#include <string.h>

enum { MS_PER_SECOND = 1000 };

static void drop_old(struct sampled_rate *rate, int64_t now_ms)
{
    int old = 0;
    while (old < rate->samples_n &&
           now_ms - rate->samples[old].began_ms >= rate->samples_max * rate->sample_ms) {
        old++;
    }
    if (old > 0) {
        rate->samples_n -= old;
        memmove(rate->samples, rate->samples + old,
                (size_t)rate->samples_n * sizeof(*rate->samples));
    }
}

void sampled_rate_record(struct sampled_rate *rate, double amount, int64_t now_ms)
{
    drop_old(rate, now_ms);
    int n = rate->samples_n;
    if (n == 0 || now_ms - rate->samples[n - 1].began_ms >= rate->sample_ms) {
        rate->samples[n] = (struct rate_sample){.began_ms = now_ms};
        rate->samples_n = ++n;
    }
    rate->samples[n - 1].amount += amount;
}

double sampled_rate_sum(struct sampled_rate *rate, int64_t now_ms, int64_t *began_ms)
{
    double sum = 0;
    drop_old(rate, now_ms);
    for (int i = 0; i < rate->samples_n; i++) {
        sum += rate->samples[i].amount;
    }
    *began_ms = rate->samples_n == 0 ? now_ms : rate->samples[0].began_ms;
    return sum;
}

/* The time over which the rate is, with that of the samples that are missing. */
static double window_ms(const struct sampled_rate *rate, int64_t began_ms, int64_t now_ms)
{
    int64_t elapsed_ms = now_ms - began_ms;
    int64_t missing = rate->samples_max - 1 - elapsed_ms / rate->sample_ms;
    double window = (double)(elapsed_ms + (missing > 0 ? missing * rate->sample_ms : 0));
    return window < 1 ? 1 : window;
}

/* The time x that makes rate * window / (window + x) the limit. */
double sampled_rate_excess_ms(struct sampled_rate *rate, double limit, int64_t now_ms)
{
    int64_t began_ms = 0;
    double sum = sampled_rate_sum(rate, now_ms, &began_ms);
    double window = window_ms(rate, began_ms, now_ms);
    double per_second = sum * MS_PER_SECOND / window;
    if (per_second <= limit) {
        return 0;
    }
    return limit <= 0 ? (double)(rate->samples_max * rate->sample_ms)
                      : (per_second - limit) / limit * window;
}

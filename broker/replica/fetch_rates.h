/* How often each fetcher fetches, for the metrics: over the last 30 to 60 seconds. One that follows something and
 * fetches never is stuck. The lock is a leaf. */
#ifndef OTTLA_BROKER_REPLICA_FETCH_RATES_H
#define OTTLA_BROKER_REPLICA_FETCH_RATES_H

#include "base/list.h"

#include <pthread.h>
#include <stdint.h>

struct fetch_rates {
    pthread_mutex_t lock;
    struct list all; /* struct fetch_rate */
};

/* One fetcher's; embedded in it. */
struct fetch_rate {
    struct list link;
    int32_t follows_n; /* partitions */
    int64_t began_ms;  /* of the period that is counted */
    uint32_t count;
    uint32_t count_before; /* in the period before it */
};

void fetch_rates_init(struct fetch_rates *rates);
void fetch_rates_deinit(struct fetch_rates *rates);
/* Any thread: the least fetches a second of those that follow something; 0 without any, as Kafka tells it. */
double fetch_rates_least(struct fetch_rates *rates, int64_t now_ms);

/* The fetcher's loop. NULL `rates`: nobody wants to know. */
void fetch_rate_begin(struct fetch_rates *rates, struct fetch_rate *rate, int64_t now_ms);
void fetch_rate_end(struct fetch_rates *rates, struct fetch_rate *rate);
void fetch_rate_follows(struct fetch_rates *rates, struct fetch_rate *rate, int32_t change);
void fetch_rate_count(struct fetch_rates *rates, struct fetch_rate *rate, int64_t now_ms);

#endif

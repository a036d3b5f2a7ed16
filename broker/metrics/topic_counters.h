/* What is counted of a topic's traffic (Kafka's BrokerTopicMetrics). Each partition counts for itself; a
 * topic's is the sum of those that are here. That of the broker is counted beside it, since topics go: loop by
 * loop what requests bring, and in events.h what coordinators append. */
#ifndef OTTLA_BROKER_METRICS_TOPIC_COUNTERS_H
#define OTTLA_BROKER_METRICS_TOPIC_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

enum topic_counter {
    COUNT_MESSAGES_IN,
    COUNT_BYTES_IN,
    COUNT_BYTES_OUT,
    COUNT_BYTES_REJECTED,
    COUNT_PRODUCE_REQUESTS, /* of one partition each, as Kafka counts them */
    COUNT_FETCH_REQUESTS,
    COUNT_FAILED_PRODUCE,
    COUNT_FAILED_FETCH,
    COUNT_PRODUCE_CONVERSIONS,
    COUNT_FETCH_CONVERSIONS,
    COUNT_REPLICATION_BYTES_OUT,
    TOPIC_COUNTERS_N,
};

struct topic_counters {
    _Atomic uint64_t counts[TOPIC_COUNTERS_N];
};

/* Any thread. */
static inline void topic_counters_add(struct topic_counters *counters, enum topic_counter counter,
                                      uint64_t n)
{
    atomic_fetch_add_explicit(&counters->counts[counter], n, memory_order_relaxed);
}

/* Where one thread alone counts. */
static inline void topic_counters_add_alone(struct topic_counters *counters,
                                            enum topic_counter counter, uint64_t n)
{
    _Atomic uint64_t *count = &counters->counts[counter];
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline uint64_t topic_counters_get(const struct topic_counters *counters,
                                          enum topic_counter counter)
{
    return atomic_load_explicit(&counters->counts[counter], memory_order_relaxed);
}

#endif

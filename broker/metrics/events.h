/* What happens to a broker now and then, counted for its metrics: by any thread, so each count is one
 * atomic addition, which is why nothing that a request does each time is counted here. */
#ifndef OTTLA_BROKER_METRICS_EVENTS_H
#define OTTLA_BROKER_METRICS_EVENTS_H

#include "base/clock.h"
#include "base/histogram.h"
#include "broker/metrics/topic_counters.h"

#include <stddef.h>

enum counted_event {
    EVENT_ISR_SHRINKS,
    EVENT_ISR_EXPANDS,
    EVENT_FAILED_ISR_UPDATES,
    EVENT_UNCLEAN_ELECTIONS,
    EVENT_STORE_DISCONNECTS, /* ZooKeeper's connection was lost, or its session: */
    EVENT_STORE_CONNECTS,
    EVENT_STORE_EXPIRES,
    EVENT_REPLICATION_BYTES_IN,
    EVENT_LOCK_WAITS, /* for a partition's lock, longer than a moment */
    EVENT_LOCK_WAIT_US,
    EVENTS_N,
};

struct events {
    struct clock *clock; /* outlives whoever counts, as these counts do */
    _Atomic uint64_t counts[EVENTS_N];
    struct histogram
        store_us; /* how long a request to ZooKeeper took; its client's thread records */
    struct topic_counters coordinators; /* what they append, beside what requests bring */
    struct histogram flush_us; /* the flush thread alone records: how long a log's flush took */
};

/* NULL: nobody counts. */
static inline void events_add(struct events *events, enum counted_event event, uint64_t n)
{
    if (events != NULL) {
        atomic_fetch_add_explicit(&events->counts[event], n, memory_order_relaxed);
    }
}

static inline uint64_t events_count(const struct events *events, enum counted_event event)
{
    return atomic_load_explicit(&events->counts[event], memory_order_relaxed);
}

#endif

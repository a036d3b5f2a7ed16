/* Who watches over a broker asks here, by HTTP (`ottla.http.listener`): is it alive, may clients be sent to
 * it, how does it fare.
 *
 *   /livez                            200 while the process works
 *   /readyz  /v1/ready  /v1/status/ready
 *                                     200 when clients are served well; else 503, and a line for each reason
 *   /v1/broker-state                  {"brokerState": 3}, as Kafka's metric of that name
 *   /version                          {"version": …}
 *   /metrics  /public_metrics         the metrics (broker/metrics.def)
 * (reference: conventions §2.6, §2.7)
 *
 * It answers from the first moment of a start to the last of a stop; what it tells of the broker's parts it
 * tells while they are there. Nothing that it serves is a secret, and nothing can be changed through it.
 *
 * Threads: started and stopped by the broker's main thread. */
#ifndef OTTLA_BROKER_MONITOR_MONITOR_H
#define OTTLA_BROKER_MONITOR_MONITOR_H

#include "base/err.h"

#include <stddef.h>

struct broker;
struct monitor;

/* In this order, with Kafka's numbers for them (BrokerState). */
enum monitor_phase {
    MONITOR_STARTING = 1,
    MONITOR_SERVING = 3,
    MONITOR_LEAVING = 6,  /* others take over; still serving */
    MONITOR_STOPPING = 7, /* the parts of the broker go */
};

/* Begins with MONITOR_STARTING, where no part of the broker is looked at. E_CONFIG with one sentence. */
NODISCARD err monitor_start(struct broker *broker, struct monitor **monitor, char *reason,
                            size_t reason_size);
/* Waits until nobody looks at what may go from here on. NULL is fine, here and below. */
void monitor_enter(struct monitor *monitor, enum monitor_phase phase);
void monitor_stop(struct monitor *monitor);

#endif

/* inter.broker.protocol.version: which versions brokers use when they talk to each other without asking
 * what the other one has. (reference: zookeeper §10) */
#ifndef OTTLA_BROKER_CLUSTER_INTER_BROKER_H
#define OTTLA_BROKER_CLUSTER_INTER_BROKER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inter_broker {
    int16_t leader_and_isr;
    int16_t update_metadata;
    int16_t stop_replica;
    int16_t controlled_shutdown;
    int16_t fetch;
    int16_t list_offsets;
    bool producer_ids;    /* the controller gives them out */
    int16_t feature_node; /* the version of /feature's text */
};

/* "3.9", "3.9-IV0", "2.8.1": a version without its part is the last of its parts. E_CONFIG, with a line in
 * `reason`: it is none, or older than 2.8, before which brokers need what is not built. */
NODISCARD err inter_broker_parse(const char *text, struct inter_broker *out, char *reason,
                                 size_t reason_size);

#endif

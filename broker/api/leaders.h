/* Who leads instead, for clients that have asked the wrong broker: told beside the error, with where that
 * broker is, so that they need not ask for metadata first (KIP-951). */
#ifndef OTTLA_BROKER_API_LEADERS_H
#define OTTLA_BROKER_API_LEADERS_H

#include "broker/api/endpoint.h"

/* Of one answer. Zero to begin with. */
struct leaders {
    struct metadata *metadata; /* as of the first question; NULL before */
    struct client_broker
        *brokers; /* that were named and can be reached; each once, ascending; in the
                                      request's arena */
    int32_t brokers_n;
};

/* -1 and -1 where nothing is known of the partition. */
void leaders_find(struct req *r, struct leaders *leaders, struct str topic, int32_t partition,
                  int32_t *leader_id, int32_t *leader_epoch);
/* Afterwards `brokers` stays, and nothing more is asked. */
void leaders_done(struct leaders *leaders);

#endif

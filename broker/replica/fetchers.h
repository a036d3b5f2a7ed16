/* The fetchers of a broker: num.replica.fetchers for each leader, made when they are first needed, spread
 * over the event loops. They have no threads of their own.
 *
 * The state thread says which partition follows whom; that is posted to the fetcher's loop. A former
 * fetcher may still be at work then: the leader epoch fences it off (partition.h). */
#ifndef OTTLA_BROKER_REPLICA_FETCHERS_H
#define OTTLA_BROKER_REPLICA_FETCHERS_H

#include "broker/replica/fetcher.h"

struct fetchers;

struct fetchers_config {
    struct fetcher_env env; /* copied */
    struct loop **loops;    /* copied */
    int loops_n;
    int fetchers_n; /* for each leader */
};

struct fetchers *fetchers_new(const struct fetchers_config *config);
/* The threads have ended; what was posted is done or drained. */
void fetchers_free(struct fetchers *fetchers);

/* Any thread: this broker has registered, with this epoch. */
void fetchers_set_broker_epoch(struct fetchers *fetchers, int64_t broker_epoch);

/* Any thread: how many requests a second the slowest of those that follow something sends. */
double fetchers_least_rate(struct fetchers *fetchers);

/* State thread. */
void fetchers_follow(struct fetchers *fetchers, struct partition *p, int32_t leader,
                     int32_t leader_epoch);
/* Harmless for one that follows nobody. */
void fetchers_unfollow(struct fetchers *fetchers, struct partition *p);
/* This broker shuts down: what is followed from now on is not fetched. A leader would have it in sync
 * again as soon as it has caught up, which the controller refuses. */
void fetchers_leave(struct fetchers *fetchers);

#endif

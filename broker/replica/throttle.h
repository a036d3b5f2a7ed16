/* How fast replicas that are not in sync may catch up (KIP-73): a bound on what a broker sends as a leader,
 * and one on what it fetches as a follower, of the partitions that their topics' options name.
 *
 * The rate is that of up to 11 samples of a second, so that a burst goes through, and then nothing until the
 * average is below. All bytes of such partitions count, also those of replicas in sync, which are never held
 * back. (reference: replication §8) */
#ifndef OTTLA_BROKER_REPLICA_THROTTLE_H
#define OTTLA_BROKER_REPLICA_THROTTLE_H

#include "base/clock.h"
#include "base/sampled_rate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { THROTTLE_SAMPLES = 11 };

/* Any thread. */
struct throttle {
    struct clock *clock;
    _Atomic int64_t limit; /* bytes per second; INT64_MAX: none */
    pthread_mutex_t lock;  /* guards the rest */
    struct sampled_rate rate;
    struct rate_sample samples[THROTTLE_SAMPLES];
};

void throttle_init(struct throttle *throttle, struct clock *clock);
void throttle_deinit(struct throttle *throttle);
/* Bytes per second, at least 0; INT64_MAX: no limit. */
void throttle_set_limit(struct throttle *throttle, int64_t limit);
void throttle_record(struct throttle *throttle, int64_t bytes);
/* Milliseconds until more may go, at most a second; 0: now. */
int64_t throttle_wait_ms(struct throttle *throttle);

/* Which of a broker's replicas of a topic are throttled: what leader.replication.throttled.replicas, or the
 * follower's, says of it. */
struct throttled_replicas {
    bool all;
    int32_t *partitions; /* malloc'd, sorted */
    int32_t count;
};

/* Of one replica. */
struct replica_throttled {
    bool as_leader;
    bool as_follower;
};

/* `text` is a valid value, or NULL: none. */
struct throttled_replicas throttled_replicas_parse(const char *text, int32_t broker_id);
void throttled_replicas_deinit(struct throttled_replicas *list);
bool throttled_replicas_hold(const struct throttled_replicas *list, int32_t partition);

#endif

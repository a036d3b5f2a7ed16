/* What a leader knows of the other replicas of its partition: how far each has fetched, and since when
 * it has been caught up. A part of struct partition, under its lock; no clock and no log of its own.
 * (reference: replication §5) */
#ifndef OTTLA_BROKER_REPLICA_FOLLOWERS_H
#define OTTLA_BROKER_REPLICA_FOLLOWERS_H

#include <stdbool.h>
#include <stdint.h>

struct follower {
    int32_t id;
    int64_t broker_epoch;      /* of its registration, at its last fetch; -1: not told */
    bool in_sync;              /* a member of the ISR */
    int64_t end_offset;        /* of its log; -1: not known yet */
    int64_t log_start_offset;  /* of its log; -1: not known yet */
    int64_t fetched_ms;        /* its last fetch */
    int64_t leader_end_offset; /* our log's, at its last fetch */
    int64_t caught_up_ms; /* when it last had all that was here; 0: never, as far as is known */
};

struct followers {
    struct follower *all;
    int32_t count;
};

/* Ids of brokers, in the order in which they were told; borrowed. */
struct replica_set {
    const int32_t *ids;
    int32_t count;
};

bool replica_set_holds(const struct replica_set *set, int32_t id);

/* The replicas other than `self`, as the controller told them, at the beginning of a leader epoch; and who
 * is in the ISR and a replica no more, at the end of a reassignment: as long as the controller has not
 * dropped it, another controller may have it lead. What was known of them counts only where this broker led
 * before, too. */
void followers_begin(struct followers *followers, const struct replica_set *replicas,
                     const struct replica_set *isr, int32_t self, bool led, int64_t now_ms);
void followers_deinit(struct followers *followers);
/* NULL: the broker has no replica. */
struct follower *followers_find(const struct followers *followers, int32_t id);

/* What a replica's fetch tells. */
struct replica_fetch {
    int64_t offset;            /* from which on it fetches: it has all below */
    int64_t log_start_offset;  /* where its log begins; -1: not told */
    int64_t leader_end_offset; /* where ours ended when it was read */
    int32_t leader_epoch;      /* ours, then: what is told counts in no other */
    int64_t broker_epoch;      /* of who fetches; -1: not told */
};
void follower_fetched(struct follower *follower, const struct replica_fetch *fetch, int64_t now_ms);
/* The least offset up to which all have fetched that count: the members of the ISR, and those who have
 * been caught up within `lag_ms` and are alive, since they are about to join it. At most `own`, what is
 * safe here; -1: of one it is not known yet. */
struct high_watermark_rule {
    int64_t own;
    int64_t end_offset; /* of our log */
    int64_t now_ms;
    int64_t lag_ms;
    bool (*is_alive)(void *context, int32_t id); /* NULL: all are */
    void *context;
};
int64_t followers_high_watermark(const struct followers *followers,
                                 const struct high_watermark_rule *rule);

#endif

/* Reading one partition for a Fetch: epoch checks, isolation, divergence, aborted transactions. */
#ifndef OTTLA_BROKER_REPLICA_READ_H
#define OTTLA_BROKER_REPLICA_READ_H

#include "broker/replica/partition.h"

struct read_request {
    int64_t offset;
    int32_t leader_epoch;       /* -1: not told */
    int32_t last_fetched_epoch; /* -1: not told */
    int32_t replica_id;         /* -1: a consumer */
    int64_t broker_epoch;       /* the replica's; -1: not told */
    int64_t log_start_offset;   /* the replica's; -1: not told */
    bool again;                 /* it has waited: where a replica is was noted */
    bool read_committed;
    bool any_replica;                /* a follower will do */
    const struct selector *selector; /* sends it to another replica; NULL: nobody does */
    size_t max_bytes;
    bool min_one; /* the first batch is returned whole, however large */
};

struct read_result {
    err error;
    int64_t high_watermark; /* -1 with an error */
    int64_t last_stable_offset;
    int64_t log_start_offset;
    int64_t end_offset;     /* of the log, when it was read; -1 with an error */
    struct log_range range; /* a reference: log_range_release() */
    int32_t preferred;      /* the replica to read from instead, and nothing was read; -1 */
    bool in_sync; /* a replica's first read: it is in the ISR, and no change of that is under way */
    bool held_back; /* it is throttled: there would be more */
    bool diverged;
    int32_t diverging_epoch;
    int64_t diverging_end_offset;
    struct aborted_txn *aborted; /* in the arena; read_committed only */
    int32_t aborted_n;
};

/* Never fails but through result->error. A replica's fetch moves the high watermark. */
void partition_read(struct partition *p, const struct read_request *request, struct arena *arena,
                    struct read_result *result);

#endif

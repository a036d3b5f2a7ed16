/* A shard: what one partition of a coordinator's topic holds (the groups of a partition of
 * __consumer_offsets, the transactions of one of __transaction_state), while this broker leads it. Here is
 * what both have in common: owning the partition, loading it, storing in order, waiting for the high
 * watermark, timers, giving it up. What it holds is its kind's (group_shard.h, txn_shard.h), which embeds it.
 *
 * A shard is a monitor: one mutex for all that it holds. It appends to its partition under that lock, in
 * the order of its decisions (the one nesting: shard → partition), and makes them visible and answers
 * when the high watermark passes them. Timers, loading, and the news that the high watermark has moved
 * come through the background thread's loop. */
#ifndef OTTLA_BROKER_COORDINATOR_SHARD_H
#define OTTLA_BROKER_COORDINATOR_SHARD_H

#include "base/loop.h"
#include "broker/coordinator/shards.h"
#include "protocol/batch.h"

#include <pthread.h>

enum shard_state {
    SHARD_NOT_OWNED,
    SHARD_LOADING,
    SHARD_ACTIVE,
    SHARD_BROKEN, /* owned, but its log cannot be loaded */
};

struct shard_load;

struct shard {
    struct shards *shards;
    int32_t number;
    pthread_mutex_t lock;
    _Atomic enum shard_state state; /* changed under the lock; who only asks needs none */
    struct partition *partition;    /* a reference while owned */
    int32_t leader_epoch;
    struct shard_load *load; /* while LOADING */
    int64_t load_began_ms;
    struct list stores; /* struct store, in the order of their offsets */
    struct watch watch; /* of the partition, while there are stores */
    struct waiter waiter;
    int64_t armed_ms;   /* when the timer is due; INT64_MAX: not armed */
    struct timer timer; /* background thread */
    struct loop_task arm;
    struct loop_task advance;
    struct loop_task go_on_loading;
    bool arm_posted;
    bool load_posted;
    atomic_bool advance_posted;
};

/* For kinds: the common part of theirs. */
void shard_init(struct shard *shard, struct shards *shards, int32_t number);
void shard_deinit(struct shard *shard);

void shard_lock(struct shard *shard);
void shard_unlock(struct shard *shard);
/* OK; COORDINATOR_LOAD_IN_PROGRESS (14), COORDINATOR_NOT_AVAILABLE (15) where the log cannot be loaded,
 * NOT_COORDINATOR (16). The second needs no lock. */
err shard_ready_locked(const struct shard *shard);
err shard_ready_at_a_glance(const struct shard *shard);
int64_t shard_now_ms(const struct shard *shard);

/* Takes over a partition and loads it: at once when it is small, else in pieces, soon. With `uninterrupted`
 * what is loaded already stays. */
void shard_elect(struct shard *shard, struct partition *p, int32_t leader_epoch,
                 bool uninterrupted);
/* Gives it up: whoever waits is told `error`. */
void shard_resign(struct shard *shard, err error);

/* What waits for a batch to be safe. Embedded in what it is about; it is its owner's again when `done` is
 * called: at once or later, always under the shard's lock. */
struct store {
    struct list link;
    uint64_t guard; /* of partition_verify_txn(); 0: none */
    struct partition_append appended;
    int64_t deadline_ms;
    void (*done)(struct shard *shard, struct store *store, err outcome);
};
/* Appends a batch, which is used up. `outcome` of done: OK; REQUEST_TIMED_OUT after timeout_ms; NOT_COORDINATOR
 * when the shard was given up; or why it could not be appended, as partition_append. */
void shard_store(struct shard *shard, struct writer *batch, struct store *store,
                 int64_t timeout_ms);
/* What was asked for is answered this, where it could not be stored (`outcome` of done): COORDINATOR_NOT_AVAILABLE (15)
 * or NOT_COORDINATOR (16), what the API says of time and of size, or the outcome itself. */
err shard_store_err(err outcome, err timed_out, err too_large);
/* How large a batch the partition takes. */
size_t shard_batch_bytes_max(const struct shard *shard);

/* Not later than this the kind's tick() is called. */
void shard_arm(struct shard *shard, int64_t due_ms);

/* ---- shard_load.c: a shard from its partition's log ---- */

/* The way through a log: pieces of load_bytes, each record given to the kind's apply(). */
struct shard_load *shard_load_new(struct shard *shard);
void shard_load_free(struct shard_load *load);
/* The next piece; *done after the last. An error of reading, or of the kind's, with offset in *at. */
NODISCARD err shard_load_piece(struct shard_load *load, struct plog *log, bool *done, int64_t *at);

#endif

/* One partition's role on this broker: leader or follower, in sync replicas, high watermark, and
 * who waits for it.
 *
 * A partition is a monitor: one mutex, short critical sections, never held while sending, waiting,
 * flushing or calling the coordination store. It changes role only by the controller's messages
 * (replicas.h). Partitions are reference-counted; replicas_find() gives a reference.
 *
 * Reading the log does not need the lock: partition_pin() checks the role and keeps the log from
 * being closed until partition_unpin(). */
#ifndef OTTLA_BROKER_REPLICA_PARTITION_H
#define OTTLA_BROKER_REPLICA_PARTITION_H

#include "base/list.h"
#include "storage/plog.h"

#include <pthread.h>
#include <stdatomic.h>

struct flusher;
struct req;

enum { REPLICAS_MAX = 32 };

struct replica_set {
    int32_t ids[REPLICAS_MAX];
    int32_t count;
};

/* What the controller said of a partition; values of LeaderAndIsr. */
struct partition_state {
    int32_t controller_epoch;
    int32_t leader;
    int32_t leader_epoch;
    int32_t partition_epoch;
    struct replica_set isr;
    struct replica_set replicas;
};

/* What all partitions of a broker share; outlives them. */
struct partition_env {
    int32_t broker_id;
    struct flusher *flusher;
    /* Told, under the partition's lock, when a high watermark has moved; may be NULL. */
    void (*on_progress)(void *context);
    void *context;
};

struct partition {
    pthread_mutex_t lock;
    atomic_int refs;
    struct topic_partition name; /* owned */
    struct uuid topic_id;
    const struct partition_env *env;

    /* Under the lock. */
    struct plog *log; /* NULL: offline or deleted */
    struct partition_state state;
    bool is_leader;
    int pins; /* readers that use the log without the lock */
    pthread_cond_t unpinned;
    struct list watches;       /* struct watch */
    int64_t unflushed_records; /* since the last flush was asked for */
    int64_t flushed_ms;        /* when flush.ms last asked for a flush */
    bool flush_queued;         /* under the flusher's lock, as is flush_link */
    struct list flush_link;
    void (*on_high_watermark)(void *context, struct partition *p); /* a coordinator's shard */
    void *on_high_watermark_context;

    _Atomic int64_t high_watermark;
};

/* Somebody waits for a partition: woken when its high watermark moves (or its role changes). */
struct watch {
    struct list link;
    struct partition *partition; /* a reference is held while registered */
    struct req *req;
    int64_t offset;                /* produce: wake when the high watermark reaches it; -1: fetch */
    int64_t seen;                  /* fetch: the high watermark when it last looked */
    _Atomic int64_t *wanted_bytes; /* fetch: counted down by what becomes readable; wake at 0 */
};

struct partition *partition_new(struct topic_partition name, struct uuid topic_id,
                                const struct partition_env *env);
void partition_retain(struct partition *p);
void partition_release(struct partition *p);

static inline int64_t partition_high_watermark(const struct partition *p)
{
    return atomic_load_explicit(&p->high_watermark, memory_order_acquire);
}

/* `leader_epoch` is what the client believes, -1: nothing. Answers NOT_LEADER_OR_FOLLOWER (6),
 * FENCED_LEADER_EPOCH (74), UNKNOWN_LEADER_EPOCH (75) or KAFKA_STORAGE_ERROR (56). With
 * `any_replica` a follower will do. */
NODISCARD err partition_check_locked(const struct partition *p, int32_t leader_epoch,
                                     bool any_replica);
NODISCARD err partition_pin(struct partition *p, int32_t leader_epoch, bool any_replica,
                            struct plog **log);
void partition_unpin(struct partition *p);
/* Waits until nobody reads the log, then takes it away: afterwards it may be closed. */
struct plog *partition_detach_log(struct partition *p);

struct partition_append {
    struct append_result result;
    int64_t log_start_offset;
    int64_t required_offset; /* acknowledged when the high watermark reaches it */
};

/* Appends as the leader, validated batches (storage/validate.h), and moves the high watermark.
 * `required_acks` -1 needs min.insync.replicas: NOT_ENOUGH_REPLICAS (19). */
NODISCARD err partition_append(struct partition *p, uint8_t *batches, size_t len,
                               enum append_origin origin, int16_t required_acks,
                               struct partition_append *appended);

/* Takes the role that the controller gave. The log is there already. */
NODISCARD err partition_become(struct partition *p, const struct partition_state *state);

/* The first offset that is not yet safe to acknowledge under flush.messages=1 moved: called by the
 * flusher after a flush. */
void partition_flushed(struct partition *p, err outcome);

void watch_add(struct watch *watch, struct partition *p);
void watch_remove(struct watch *watch);

/* The last stable offset for the current high watermark. Needs a pin or the lock. */
int64_t partition_last_stable_offset(struct partition *p, struct plog *log);

#endif

/* A partition, for its own files: partition.c (life, leading, watches), partition_follower.c (its log
 * follows a leader's), partition_isr.c (who is in sync). */
#ifndef OTTLA_BROKER_REPLICA_PARTITION_INTERNAL_H
#define OTTLA_BROKER_REPLICA_PARTITION_INTERNAL_H

#include "broker/replica/partition.h"

#include <pthread.h>

/* A change of the in-sync replicas that the controller has not confirmed. */
enum isr_pending { ISR_COMMITTED, ISR_EXPANDS, ISR_SHRINKS };

struct partition {
    pthread_mutex_t lock;
    atomic_int refs;
    struct topic_partition name; /* owned */
    struct uuid topic_id;
    const struct partition_env
        *env;              /* until partition_detach_log(): who holds it later asks nothing of it */
    struct events *events; /* env's, which outlives even those; NULL: nobody counts */

    /* Under the lock. */
    struct plog *log; /* NULL: detached */
    err gone;         /* then, and when it is about to be, what everybody is told; else OK */
    struct partition_state state;
    int32_t *isr_ids; /* owned; the state's */
    int32_t *replica_ids;
    struct followers followers; /* as far as this broker leads */
    enum isr_pending pending;
    struct replica_set pending_isr; /* its ids are owned; empty with ISR_COMMITTED */
    int64_t joiner_epoch; /* who is to join: the broker epoch with which it fetched; -1: not told */
    bool pending_said;    /* in the log */
    bool behind;          /* told to env->behind, and not yet that nobody is behind any more */
    struct {
        int64_t offset; /* where it began; -1: none was open when that was last looked at */
        int64_t since_ms;
        bool is_told;
    } oldest_txn;     /* for partition_report_hanging() */
    int64_t led_from; /* where the log ended when this leadership began */
    int64_t
        leader_high_watermark; /* as a follower: what the leader last told, though the log may end before */
    int to_end_watches;
    bool is_leader;
    bool failure_told; /* to env->log_failed */
    int32_t led_since; /* the leader epoch since which this broker has led without interruption */
    int32_t min_insync_replicas; /* of the log's configuration, which is too large to copy often */
    int64_t flush_messages;
    int64_t flush_ms;
    int pins; /* readers that use the log without the lock */
    pthread_cond_t unpinned;
    /* While it moves to another log directory (partition_move.c). */
    bool is_moving;
    uint64_t points_lowered; /* how often a cut has put the recovery point back */
    uint64_t points_written; /* up to which of them it is in the checkpoint */
    uint32_t move_number;
    struct plog *future; /* the copy that is being made, of whoever owns the log */
    int future_pins;
    int64_t
        future_cut; /* from there on the log is another than when it was copied; INT64_MAX: nowhere */
    struct plog *former; /* has been moved; readers may still be at it */
    int former_pins;
    struct list watches;       /* struct watch */
    int64_t unflushed_records; /* since the last flush was asked for */
    int64_t flushed_ms;        /* when flush.ms last asked for a flush */

    _Atomic int64_t high_watermark;
    _Atomic uint32_t changes; /* of the role, and of whether there is a log */
    atomic_bool throttled_as_leader;
    atomic_bool throttled_as_follower;
    atomic_bool is_cleaned;   /* just now */
    atomic_bool is_set_aside; /* by the cleaner */
    atomic_bool flush_queued; /* a reference is held then */
    struct loop_task flush;
    struct topic_counters counters;
};

void partition_lock(struct partition *p);
void partition_unlock(struct partition *p);

/* All below with the lock held. */

err partition_check_log(const struct partition *p);
/* The role and the epoch that a caller believes in; see partition_pin(). */
err partition_check_role(const struct partition *p, int32_t leader_epoch, bool any_replica);
void partition_wake_all(struct partition *p);
void partition_set_high_watermark(struct partition *p, int64_t high_watermark,
                                  int64_t appended_bytes);
/* What is safe on this broker ends here. */
int64_t partition_safe_end(const struct partition *p);
void partition_queue_flush(struct partition *p);
/* As a leader: the high watermark moves as far as it may. */
void partition_advance(struct partition *p, int64_t appended_bytes);
/* By flush.messages, and when a segment is full. */
void partition_ask_for_flush(struct partition *p, const struct append_result *result);
void partition_upkeep_due(const struct partition *p);

/* What is copied of its log to another directory is another one from `offset` on. */
void partition_note_cut(struct partition *p, int64_t offset);
/* Appends what was read of another replica's log: whole batches up to that leader epoch. `all`: of those together, also
 * after an error; base_offset -1: none. Errors as partition_append_as_follower. Of a log of which the caller is the
 * only appender. */
NODISCARD err log_replicate(struct plog *log, int32_t leader_epoch, uint8_t *batches, size_t len,
                            struct append_result *all);

/* A copy of ids, owned by the caller. */
int32_t *replica_ids_copy(const struct replica_set *set);
/* Nothing is pending any more: a new leader epoch, or an answer. */
void partition_isr_settle(struct partition *p);
/* How many are in sync by the larger of what was and what is wanted. */
int32_t partition_isr_maximal(const struct partition *p);
/* A follower has fetched: does it belong into the ISR? */
void partition_isr_consider(struct partition *p, struct follower *follower);
/* Somebody in the ISR may be behind from now on. */
void partition_isr_note_behind(struct partition *p);

#endif

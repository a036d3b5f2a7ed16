/* One partition's role on this broker: leader or follower, in-sync replicas, high watermark, and who
 * waits for it.
 *
 * A partition is a monitor: one mutex, inside, taken by the functions here and nowhere else; short
 * critical sections, never held while sending, waiting, flushing or calling the coordination store.
 * It changes its role only by the controller's messages (replicas.h). Partitions are
 * reference-counted; replicas_find() gives a reference.
 *
 * Reading the log does not need the lock: partition_pin() checks the role and keeps the log from
 * being closed until partition_unpin().
 *
 * Who still holds a partition that has gone (its topic was deleted, or it moved away) is answered
 * what a look-up would answer now: UNKNOWN_TOPIC_OR_PARTITION (3) or NOT_LEADER_OR_FOLLOWER (6). */
#ifndef OTTLA_BROKER_REPLICA_PARTITION_H
#define OTTLA_BROKER_REPLICA_PARTITION_H

#include "base/list.h"
#include "base/loop.h"
#include "base/waiter.h"
#include "broker/metrics/events.h"
#include "broker/metrics/topic_counters.h"
#include "broker/replica/followers.h"
#include "broker/replica/selector.h"
#include "broker/replica/throttle.h"
#include "storage/plog.h"

#include <stdatomic.h>

struct partition;

/* What the controller said of a partition; values of LeaderAndIsr, whose ids are borrowed. */
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
    struct clock *clock;
    int64_t replica_lag_ms; /* replica.lag.time.max.ms */
    struct throttle
        *leader_throttle; /* what this broker sends as a leader; NULL: as fast as it can */
    /* Is the broker alive, by the metadata? Asked under a partition's lock; NULL: all are. */
    bool (*is_alive)(void *context, int32_t broker_id);
    void *alive_context;
    /* Where logs are made durable: it waits for the disk, so it serves nothing else. */
    struct loop *flush;
    struct events *events; /* NULL: nobody counts */
    /* Told, under a partition's lock, that something has changed that a checkpoint should say (a high watermark, a
     * log's start), or by which there may be more to compact; may be NULL. */
    void (*upkeep_due)(void *context);
    void *context;
    /* Writes the recovery point of the log of that name, as logs_write_recovery_points_of; NULL: nobody does. */
    err (*write_recovery_points)(void *context, struct topic_partition name);
    void *write_context;
    /* Told under a partition's lock, so they only post: that the leader wants another ISR
     * (partition_isr_proposal), that a member of it may be behind (partition_check_lag). Whoever keeps
     * the partition takes a reference. NULL: nobody can change the ISR. */
    void (*isr_wanted)(void *context, struct partition *p);
    void (*behind)(void *context, struct partition *p);
    void *isr_context;
    /* Told under a partition's lock, once, that its log alone is offline, and not its directory, while there
     * are other replicas, which may lead; may be NULL. */
    void (*log_failed)(void *context);
    void *failed_context;
};

/* ---- life ---- */

/* A partition without a role yet. `name` is copied; the log stays its owner's (storage/logs.h), which
 * ends it after partition_detach_log(). */
struct partition *partition_new(struct topic_partition name, struct uuid topic_id,
                                const struct partition_env *env, struct plog *log,
                                int64_t high_watermark);
void partition_retain(struct partition *p);
/* NULL is allowed. */
void partition_release(struct partition *p);

/* Valid as long as the reference. */
struct topic_partition partition_name(const struct partition *p);
struct uuid partition_topic_id(struct partition *p);
/* A topic that had no id gets one; a zero one says nothing. INCONSISTENT_TOPIC_ID (103). */
NODISCARD err partition_take_topic_id(struct partition *p, struct uuid id);
/* Between the log's start and its end, both included, while the log is online. */
int64_t partition_high_watermark(const struct partition *p);
/* Valid as long as the reference; counted by whoever serves requests. */
struct topic_counters *partition_counters(struct partition *p);

/* ---- the role ---- */

struct partition_role {
    int32_t leader;       /* -1: none */
    int32_t leader_epoch; /* -1: none yet */
    int32_t led_since;    /* the epoch since which it has led without interruption */
    bool leads;
};
struct partition_role partition_role(struct partition *p);
/* There is a log, and it is not offline. */
bool partition_is_online(struct partition *p);
/* How it stands, for who watches over it: all of one moment. What is not this broker's business, as the ISR is
 * not a follower's, is what the controller last told it. */
struct partition_look {
    struct partition_role role;
    int32_t partition_epoch;
    int32_t isr_n; /* as the controller has confirmed it */
    int64_t high_watermark;
    int64_t last_stable_offset;
    int64_t end_offset;
    int64_t led_from; /* where the log ended when it began to lead; as a follower: nothing */
};
/* KAFKA_STORAGE_ERROR (56), or why it has gone. */
NODISCARD err partition_look(struct partition *p, struct partition_look *look);
/* The same for its metrics; it needs no log, and tells what is known. */
struct partition_figures {
    bool leads;
    bool online;
    bool follows; /* another broker leads */
    int32_t isr_n;
    int32_t replicas_n;
    int32_t min_insync_replicas;
    bool moves; /* to another directory */
    int64_t high_watermark;
    int64_t last_stable_offset;
    int64_t start_offset;
    int64_t end_offset;
    int64_t size_bytes;
    int32_t segments_n;
    int64_t lag; /* as a follower: in records, when it last heard of its leader */
};
void partition_tell_figures(struct partition *p, struct partition_figures *figures);
/* Does it lead, with replicas elsewhere that could lead too? */
bool partition_leads_for_others(struct partition *p);

/* What a message of the controller did to the role. */
struct role_change {
    bool led;           /* before */
    bool leads;         /* now */
    bool uninterrupted; /* led before, leads now, and nobody can have led in between */
};

/* Takes the role that the controller gave. STALE_CONTROLLER_EPOCH (11) unless its leader epoch is
 * higher than the one that is known; KAFKA_STORAGE_ERROR (56) when the log is offline. */
NODISCARD err partition_become(struct partition *p, const struct partition_state *state,
                               struct role_change *change);
/* StopReplica without a deletion: it neither leads nor follows until the controller says more.
 * FENCED_LEADER_EPOCH (74) when `leader_epoch` is older than what is known; -1: not told. With
 * LEADER_EPOCH_DURING_DELETE its topic is on its way out, and already told as gone (3).
 * KAFKA_STORAGE_ERROR (56): it has stopped, and the log is offline. Not where the topic may be on its way
 * out: a log that takes no records can often be deleted. */
enum { LEADER_EPOCH_DURING_DELETE = -2 };
NODISCARD err partition_resign(struct partition *p, int32_t leader_epoch, bool *led);
/* Takes the log away, for good: whoever holds, waits for or comes late to this partition is answered
 * `gone`. Waits until nobody reads the log; afterwards it may be closed. */
struct plog *partition_detach_log(struct partition *p, err gone);

/* ---- reading ---- */

/* `leader_epoch` is what the client believes, -1: nothing. Answers NOT_LEADER_OR_FOLLOWER (6),
 * FENCED_LEADER_EPOCH (74), UNKNOWN_LEADER_EPOCH (75), KAFKA_STORAGE_ERROR (56), or why it has gone.
 * With `any_replica` a follower will do. A pin is held for the time of one look, never while
 * waiting. */
NODISCARD err partition_pin(struct partition *p, int32_t leader_epoch, bool any_replica,
                            struct plog **log);
void partition_unpin(struct partition *p, const struct plog *log);
/* Is it (still) the partition's? One that has moved to another directory meanwhile has ended where it did. */
bool partition_has_log(struct partition *p, const struct plog *log);

/* For a replica of the partition on another broker: a leader only, and only where the controller has
 * assigned it, else UNKNOWN_LEADER_EPOCH (75), or NOT_LEADER_OR_FOLLOWER (6) without an epoch. `own_epoch`:
 * the leader epoch here. */
NODISCARD err partition_pin_for_replica(struct partition *p, int32_t leader_epoch,
                                        int32_t replica_id, struct plog **log, int32_t *own_epoch);
/* A replica on another broker fetches: moves the high watermark, unless the leader epoch is another by now. True:
 * it is in the ISR, and no change of that is under way. */
bool partition_replica_fetched(struct partition *p, int32_t replica_id,
                               const struct replica_fetch *fetch);
/* The replica that a consumer should read from, where this broker leads (selector.h); -1: this one. */
int32_t partition_choose_replica(struct partition *p, const struct selector *selector,
                                 int64_t offset);
/* Does this broker know the high watermark of its leadership yet? Not before the followers that count
 * have fetched what was there when it began. */
bool partition_knows_high_watermark(struct partition *p);

/* ---- appending, as the leader ---- */

struct partition_append {
    struct append_result result;
    int64_t log_start_offset;
    int64_t required_offset; /* acknowledged when what is safe reaches it */
    int32_t leader_epoch;    /* under which it was appended */
    bool committed;          /* it has reached it already */
};

/* Appends validated batches (storage/validate.h) and moves the high watermark. `required_acks` -1
 * needs min.insync.replicas: NOT_ENOUGH_REPLICAS (19). Other errors as partition_pin and
 * plog_append. */
NODISCARD err partition_append(struct partition *p, uint8_t *batches, size_t len,
                               enum append_origin origin, int16_t required_acks,
                               struct partition_append *appended);
/* The same of what a transaction may begin with: the guard is of partition_verify_txn(); 0: none. */
struct partition_append_as {
    enum append_origin origin;
    int16_t required_acks;
    uint64_t guard;
};
NODISCARD err partition_append_as(struct partition *p, uint8_t *batches, size_t len,
                                  const struct partition_append_as *as,
                                  struct partition_append *appended);
/* What became of an append; with `required_acks` 1 what is safe on this broker will do. An error when
 * it can never be acknowledged: this broker does not lead, or has not led without interruption since
 * (6), has lost the log (56, or why it has gone); with `required_acks` -1 and too few in-sync replicas
 * NOT_ENOUGH_REPLICAS_AFTER_APPEND (20). */
NODISCARD err partition_is_committed(struct partition *p, const struct partition_append *appended,
                                     int16_t required_acks, bool *committed);

/* Before the first batch of a transaction, which its coordinator is to verify (KIP-890): a guard for
 * partition_txn_verified(); 0: nothing needs to be asked. `sequence` -1: a coordinator's batch. Not leading as
 * partition_append. */
NODISCARD err partition_verify_txn(struct partition *p, int64_t producer_id, int16_t epoch,
                                   int32_t sequence, uint64_t *guard);
/* The coordinator has confirmed it: partition_append_as() takes it, unless a marker comes first. */
void partition_txn_verified(struct partition *p, int64_t producer_id, uint64_t guard);
/* Those who have written, in the arena; of any replica. KAFKA_STORAGE_ERROR (56), or why it has gone. */
NODISCARD err partition_producers(struct partition *p, struct arena *arena,
                                  struct producer_info **producers, int32_t *count);

struct partition_deletion {
    int64_t required_offset; /* done when the low watermark has reached it */
    int64_t low_watermark;
};
/* DeleteRecords: moves the log's start forward to `offset`, -1: to the high watermark, which the other replicas hear
 * of when they fetch. Not leading as partition_append; POLICY_VIOLATION (44) where the topic's
 * cleanup.policy keeps records (no "delete"); OFFSET_OUT_OF_RANGE (1) above the high watermark. The new
 * start is on disk with the next checkpoint. */
NODISCARD err partition_delete_records(struct partition *p, int64_t offset,
                                       struct partition_deletion *deletion);
/* The least offset at which the log of a replica begins whose broker lives; -1: one has not told it yet. Not leading as
 * partition_append. */
NODISCARD err partition_low_watermark(struct partition *p, int64_t *low_watermark);

/* ---- in-sync replicas, as the leader ---- */

/* Looks for members of the ISR that lag, and wants them out. False: nobody is behind, so it need not be
 * asked again before env->behind is told again. */
bool partition_check_lag(struct partition *p, int64_t now_ms);

/* What the leader asks the controller for: AlterPartition's fields. */
struct isr_proposal {
    int32_t leader_epoch;
    int32_t partition_epoch; /* on which it is based */
    struct replica_set isr;  /* in the arena */
    int64_t *
        broker_epochs; /* the members', as their fetches told them; -1: not told, or the leader's own */
};
/* False: it wants nothing (any more). */
bool partition_isr_proposal(struct partition *p, struct arena *arena,
                            struct isr_proposal *proposal);
struct isr_answer {
    int32_t leader_epoch;
    int32_t partition_epoch;
    struct replica_set isr;
};
/* What the controller said to it: `answer` counts where there is no error. True: ask again. */
bool partition_isr_answered(struct partition *p, const struct isr_proposal *proposal, err error,
                            const struct isr_answer *answer);

/* ---- following ---- */

/* For the functions below `leader_epoch` is the one that the caller follows: NOT_LEADER_OR_FOLLOWER (6)
 * when this broker leads, FENCED_LEADER_EPOCH (74) or UNKNOWN_LEADER_EPOCH (75) when it is another,
 * KAFKA_STORAGE_ERROR (56), or why the partition has gone. What was cut out of what the recovery point
 * promised is on disk when they return. One caller at a time. */

/* Where the next fetch begins. */
struct follower_position {
    int64_t offset;
    int32_t last_epoch; /* of the record before it; -1: none is known */
    int64_t log_start_offset;
    bool
        safe; /* what is below is safe here: a leader may be told (flush.messages=1: it is on the disk) */
};

/* What cuts writes the recovery point first. E_BUSY from any of them: there is no room for that; begin again later. Until
 * it is written nothing is cut or appended. */

/* A log without leader epochs is cut to its high watermark first. */
NODISCARD err partition_begin_to_follow(struct partition *p, int32_t leader_epoch,
                                        struct follower_position *position);
/* What the leader answered to a fetch from `offset` on. */
struct fetched {
    int64_t offset;
    uint8_t *batches; /* the last one may be cut; rewritten never */
    size_t len;
    int64_t high_watermark;
    int64_t log_start_offset;
};
/* Appends it with its offsets and epochs, takes over the leader's high watermark as far as this log
 * reaches, and its log start as far as that. E_VERSION when the log does not end at `offset`; E_BUSY when its disk is
 * full: it can be tried again;
 * CORRUPT_MESSAGE (2), E_MALFORMED (offsets that go back, or beyond all) and nothing appended of the part
 * that is so, nor of what a later epoch wrote; others as plog_append. */
NODISCARD err partition_append_as_follower(struct partition *p, int32_t leader_epoch,
                                           const struct fetched *fetched,
                                           struct follower_position *position);
/* Is what is below `offset` safe here by now? Else a watch that `follows` is woken when it is. */
NODISCARD err partition_is_safe(struct partition *p, int32_t leader_epoch, int64_t offset,
                                bool *safe);
/* The leader's log has, of the largest epoch that is not above ours, this end (DivergingEpoch). */
struct divergence {
    int32_t epoch;
    int64_t end_offset;
};
/* Cuts what is not the leader's: as far as both know the epoch; if that is not all, the next fetch is
 * told the rest. E_MALFORMED when nothing is cut by it, or its epoch is above ours. (KIP-101, KIP-279) */
NODISCARD err partition_reconcile(struct partition *p, int32_t leader_epoch,
                                  const struct divergence *told,
                                  struct follower_position *position);
/* Cuts everything at and above `offset`. */
NODISCARD err partition_truncate(struct partition *p, int32_t leader_epoch, int64_t offset,
                                 struct follower_position *position);
/* Drops all of it, and begins at `offset`, where the leader's log begins. */
NODISCARD err partition_begin_anew(struct partition *p, int32_t leader_epoch, int64_t offset,
                                   struct follower_position *position);

/* ---- from time to time ---- */

/* Its log may have gone offline with its directory: who waits for the partition is told then. */
void partition_wake_if_offline(struct partition *p);
/* Who lives has changed: as a leader it looks again how far the high watermark may move. */
void partition_reconsider(struct partition *p);
void partition_set_config(struct partition *p, const struct log_config *config);
/* Without the lock. */
void partition_set_throttled(struct partition *p, struct replica_throttled throttled);
struct replica_throttled partition_throttled(const struct partition *p);
/* As a leader: is this replica, which is not in sync, to get nothing for now? */
bool partition_holds_back(struct partition *p, int32_t replica_id);
/* Returns how many segments went; none while it is cleaned. `compacted`: only of topics that are, or only of those that
 * are not. */
int partition_apply_retention(struct partition *p, bool compacted);
/* Removes files of segments that were deleted long enough ago. Returns the milliseconds until there is more to do, or
 * -1. */
int64_t partition_remove_deleted(struct partition *p);
/* Forgets producers that were idle for long. */
void partition_expire_producers(struct partition *p);
/* Says in the log, once, that the oldest open transaction has been that for longer than any may be open: no
 * coordinator will end it (KIP-664: kafka-transactions abort does). */
void partition_report_hanging(struct partition *p, int64_t txn_max_ms);
/* flush.ms: asks for a flush when the last one is so long ago. */
void partition_flush_if_due(struct partition *p, int64_t now_ms);

/* ---- compaction, on a cleaner's thread ---- */

/* What its log's cleaning would bring; of any replica. False: it is not to be cleaned, or cannot be: its topic is not
 * compacted, it is set aside, somebody cleans it, or there is no log. */
struct partition_dirt {
    struct plog_dirt dirt;
    double min_ratio; /* min.cleanable.dirty.ratio */
};
bool partition_find_dirt(struct partition *p, struct partition_dirt *found);
/* Cleans it once: plog_clean(), whose errors these are, with `how` without a lock. Given up also when the log is
 * taken away. E_BUSY: another thread has begun. */
NODISCARD err partition_clean(struct partition *p, const struct plog_dirt *dirt,
                              const struct plog_clean *how, struct plog_cleaned *cleaned);
/* It is not cleaned any more until the broker starts again. */
void partition_set_aside(struct partition *p);
bool partition_is_set_aside(const struct partition *p);

/* ---- moving to another log directory (dir_mover.h is the caller), on the state thread unless it says otherwise ---- */

/* `future` is the copy that storage/logs.h has made, whose it stays. The move's number. */
uint32_t partition_begin_move(struct partition *p, struct plog *future);
/* Any thread. */
bool partition_moves(struct partition *p);
bool partition_is_moved_as(struct partition *p, uint32_t number);
/* Waits until nobody uses the copy: it may be closed. For a while, until it goes on with another one, or for good. */
void partition_hold_move(struct partition *p);
void partition_go_on_moving(struct partition *p, struct plog *future);
void partition_give_up_move(struct partition *p);

struct move_buffer {
    size_t piece_bytes; /* about so many are copied at once */
    uint8_t *bytes;     /* malloc'd; the caller's */
    size_t size;
};
struct move_progress {
    int64_t
        copied_bytes; /* what the end of a piece cuts comes with the next one, and counts once */
    int64_t left_bytes;
    bool future_failed; /* it is the copy that is offline */
};
/* Copies one piece. Any thread, one at a time. E_NOT_FOUND: this move goes on no more; E_BUSY: the log is still being
 * cleaned; other errors as plog_read and plog_append. */
NODISCARD err partition_move_on(struct partition *p, uint32_t number, struct move_buffer *buffer,
                                struct move_progress *progress);
/* Makes durable what is copied. The thread that copies. */
NODISCARD err partition_flush_move(struct partition *p, uint32_t number);
/* Copies what is missing, and the copy is the log; *end_offset is where the two were equal. A flush is asked for. After
 * an error nothing has changed. */
NODISCARD err partition_swap_log(struct partition *p, struct move_buffer *buffer,
                                 int64_t *end_offset);
/* Nobody uses the former log any more when this returns OK. E_BUSY: the new one is not flushed up to there yet; it is
 * asked for. KAFKA_STORAGE_ERROR (56), or why the partition has gone. */
NODISCARD err partition_release_former(struct partition *p, int64_t end_offset);

/* ---- waiting ---- */

/* What there was, for who reads and then waits by bytes: taken before it reads. */
struct partition_seen {
    uint32_t changes;
    int64_t high_watermark;
    int64_t
        end_offset; /* of the log, which a replica sees: told by partition_read(); -1: it waits for
                           another role */
    int64_t log_start_offset; /* the same, by a replica */
};
struct partition_seen partition_seen(const struct partition *p);

/* Somebody waits for a partition: woken when its high (or low) watermark moves far enough, and when its role
 * changes. Embedded in whoever waits; removed before its memory goes. */
struct watch {
    struct list link;
    struct partition *partition; /* a reference is held while registered */
    struct waiter *waiter;
    int64_t offset;                /* wake when the high watermark reaches it; -1: by bytes */
    bool here;                     /* by offset: what is safe on this broker will do (acks=1) */
    bool follows;                  /* the same of a follower, as long as it is one in that epoch */
    bool starts;                   /* by offset: of the low watermark, not the high one */
    bool to_end;                   /* by bytes: those up to the log's end, for a replica */
    int32_t leader_epoch;          /* by offset: under which it was appended */
    struct partition_seen seen;    /* by bytes: before it last looked */
    _Atomic int64_t *wanted_bytes; /* counted down by what becomes readable; wake at 0 */
};

/* Wakes at once when it has happened already. */
void watch_add(struct watch *watch, struct partition *p);
/* Twice is harmless, and so is a watch of zeros that was never added. */
void watch_remove(struct watch *watch);

#endif

/* What the files of plog_*.c and recovery.c share: the log itself. Nobody else includes this. */
#ifndef OTTLA_STORAGE_PLOG_INTERNAL_H
#define OTTLA_STORAGE_PLOG_INTERNAL_H

#include "storage/epochs.h"
#include "storage/producers.h"
#include "storage/segment.h"

/* One of the last appended batches, so that a reader at the tail needs no file to find it. */
struct tail_batch {
    int64_t base_offset;
    int64_t last_offset;
    int64_t position;
    int32_t size_bytes;
};
enum { TAIL_BATCHES = 64 };

/* A renamed file that waits for its end. */
struct deleted_file {
    char *path;
    int64_t due_ms;
};

struct plog {
    const struct storage_env *env;
    struct health *health; /* a reference */
    char *dir;
    char *topic;
    int32_t partition;

    /* The leaf mutex. It guards the list of segments and what they publish, the tail, epochs, the
     * transactions in `producers`, config_next, the topic id and the deleted files. */
    pthread_mutex_t guard;
    pthread_cond_t changed;     /* `cutting` went to 0, or a roll has ended */
    pthread_mutex_t flush_lock; /* of plog_flush(): one at a time; held over syncs */
    pthread_mutex_t proof_lock; /* plog_epochs.c; the guard is taken inside of it */
    struct segment **segments;  /* ascending; the last is active; at least one */
    size_t segments_n;
    size_t segments_cap;
    struct tail_batch *tail; /* a ring, made at the first append */
    uint64_t tail_count;     /* batches ever put into it; the newest is at (count - 1) % size */
    struct epochs epochs;
    /* An epoch that began at the log's end with nothing written in it: not in `epochs`, by the rule
     * for loading, but still in the file, and right as soon as it is assigned again. */
    struct epoch_entry idle_epoch;
    bool idle_epoch_on_disk;
    struct log_config config_next;
    struct uuid topic_id;
    struct deleted_file *deleted;
    size_t deleted_n;
    size_t deleted_cap;

    _Atomic int64_t start_offset;
    _Atomic int64_t end_offset;
    _Atomic int64_t recovery_point;
    _Atomic int64_t size_bytes;
    _Atomic int open_txns;
    _Atomic int txns; /* open and decided: 0 lets readers skip the guard */
    _Atomic bool config_changed;
    _Atomic bool epochs_proven;    /* the log agrees with them */
    _Atomic bool epochs_unwritten; /* the file is still the wrong one */
    _Atomic int64_t cleaned_to;    /* where the cleaner begins to look for keys */
    _Atomic bool damage_said;      /* the line about corrupt bytes */
    _Atomic bool entries_dirty;    /* directory entries not synced */
    _Atomic int entries_syncing;   /* or about to be; after entries_dirty has been cleared */
    int64_t sealing_at;            /* a roll at that offset is under way; -1: none. Guarded */
    /* For readers beside a truncation or deletion: `cuts` moves when one begins and when it has
     * ended, `cutting` counts those in progress. */
    _Atomic uint32_t cuts;
    _Atomic int cutting;
    /* A cleaned segment has taken the place of others: odd while it does. What a reader found meanwhile, also
     * without a failure, may be of two layouts. */
    _Atomic uint32_t swaps;
    _Atomic uint32_t truncations; /* how often the end went back; under the guard */

    /* Only whoever holds the partition's lock. */
    struct log_config config;
    bool activated; /* the active segment was looked at since the start */
    bool touched;   /* something to write at a clean close */
    struct producers producers;
    int64_t snapshot_offset; /* of the newest snapshot file; -1: none */
};

static inline void guard_lock(const struct plog *log)
{
    pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&log->guard);
}

static inline void guard_unlock(const struct plog *log)
{
    pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&log->guard);
}

static inline struct segment_place log_place(const struct plog *log)
{
    return (struct segment_place){.env = log->env, .dir = log->dir, .health = log->health};
}

static inline struct segment *log_active(const struct plog *log)
{
    return log->segments[log->segments_n - 1];
}

/* Where the next segment begins, or the end of the log; the guard or the partition lock is held. */
static inline int64_t segment_end(const struct plog *log, size_t i)
{
    return i + 1 < log->segments_n ? log->segments[i + 1]->base_offset
                                   : atomic_load(&log->end_offset);
}

#define AREA "storage"

static inline void cut_begin(struct plog *log)
{
    atomic_fetch_add(&log->cutting, 1);
    atomic_fetch_add(&log->cuts, 1);
}

static inline void cut_end(struct plog *log)
{
    guard_lock(log);
    atomic_fetch_add(&log->cuts, 1);
    CHECK(atomic_fetch_sub(&log->cutting, 1) > 0);
    pthread_cond_broadcast(&log->changed);
    guard_unlock(log);
}

/* Has a reader's failure since `cuts` was read another explanation than a bad disk? */
static inline bool cut_beside(struct plog *log, uint32_t cuts)
{
    return atomic_load(&log->cutting) > 0 || atomic_load(&log->cuts) != cuts;
}

/* For a reader: what the log was when it began. */
struct log_moment {
    uint32_t cuts;
    uint32_t layout;
};
struct log_moment plog_moment(struct plog *log);
/* Of what a reader that began then has found, which ended with `e`: is it to be sought again? Waits for the end of what
 * went on beside it, as whoever wants to append does. */
bool plog_read_again(struct plog *log, const struct log_moment *moment, err e);

/* After a failed change: takes the log offline, with one line that says why. Codes of Kafka pass
 * through; everything else becomes KAFKA_STORAGE_ERROR. */
err plog_fail(struct plog *log, err e, const char *doing);
/* Of a change that was not begun, or was taken back wholly: for want of room it is refused, the log goes on, and its
 * directory is full. All else is passed on. */
err plog_refuse(struct plog *log, err e);
/* After a failed read: a disk that fails takes the log offline (KAFKA_STORAGE_ERROR); bytes that are
 * no batch do not (CORRUPT_MESSAGE, and one line for each log); a shortage of memory is E_LIMIT. */
err plog_read_fail(struct plog *log, err e, const char *doing);
#define LOG_TRY(log, expression, doing)                                                            \
    do {                                                                                           \
        err log_try_err_ = (expression);                                                           \
        if (log_try_err_ != OK) {                                                                  \
            return plog_fail((log), log_try_err_, (doing));                                        \
        }                                                                                          \
    } while (0)

/* plog_core.c */
/* In debug builds: is the log as it must be between two changes? The partition's lock is held. */
void plog_check(const struct plog *log);
/* Before the first change. Judges its own failures. */
NODISCARD err plog_activate(struct plog *log);
void plog_take_config(struct plog *log);
void plog_add_segment(struct plog *log, struct segment *segment);
void plog_tail_clear(struct plog *log);
/* Index of the segment that would hold `offset`: the last whose base is at or below it, or 0. */
size_t plog_segment_at(const struct plog *log, int64_t offset);

/* The segments at one moment, with a reference each. */
struct segment_list {
    struct segment **segments;
    int64_t *max_timestamps; /* INT64_MIN: not known without the file */
    size_t count;
};
void plog_segments_take(struct plog *log, struct segment_list *list);
void plog_segments_release(struct segment_list *list);

/* plog_topic_id.c */
NODISCARD err plog_read_topic_id(struct plog *log);

/* plog_epochs.c */
NODISCARD err plog_load_epochs(struct plog *log);
/* At an open: cuts the epochs to the log. The usual case after a clean stop, one epoch that was led in
 * and not written in, costs no write: ten thousand idle partitions start quickly. */
NODISCARD err plog_settle_epochs(struct plog *log, int64_t start, int64_t end_offset);
/* Compares them with the log, once; before a question, an append or a cut. A disk that fails takes the
 * log offline. Any thread. */
void plog_prove_epochs(struct plog *log);
/* Their file, if it is still the wrong one, since the proof made them again or there was no room for it: at the first
 * change, the next retention pass, the close. */
NODISCARD err plog_write_due_epochs(struct plog *log);
/* Without room the file is due, and that is no error: a next start makes it again from the batches. */
NODISCARD err plog_write_epochs(struct plog *log);
/* Those of another log, which has the same batches. */
NODISCARD err plog_take_epochs(struct plog *log, struct plog *from);
/* Takes back an epoch that began at the end and has no record. */
NODISCARD err plog_drop_empty_epoch(struct plog *log);
NODISCARD err plog_note_epoch(struct plog *log, int32_t epoch, int64_t start_offset);

/* plog_txns.c */
void plog_count_txns_locked(struct plog *log);
/* Compares a segment's index with its batches, once; a large segment's only in the background. Any
 * thread. */
NODISCARD err plog_prove_txns(struct plog *log, struct segment *segment, bool in_background);

/* plog_producers.c */
NODISCARD err plog_take_snapshot(struct plog *log, bool sync);
/* Those of a log of which this is a copy: also what they did in batches that have gone since, and what waits for a
 * transaction to be verified. */
NODISCARD err plog_take_producers(struct plog *log, struct plog *former);
/* The same where one that is missing costs time alone: without room there is none. */
NODISCARD err plog_take_snapshot_if_room(struct plog *log);
/* Accounts for one batch of the log; an abort is noted in the segment's index if asked. `bytes` are
 * looked at for a marker only. */
NODISCARD err plog_apply_batch(struct plog *log, struct segment *segment, const struct batch *batch,
                               const uint8_t *bytes, bool with_txnindex);
/* Producer state at `end_offset`: the newest good snapshot, and the batches after it. */
NODISCARD err plog_load_producers(struct plog *log, int64_t end_offset);
/* The same with the directory's names at hand. */
NODISCARD err plog_load_producers_from(struct plog *log, const struct name_list *names,
                                       int64_t end_offset);
/* Removes snapshots that belong to no segment; one at `keep` stays if that is beyond all of their bases. */
NODISCARD err plog_drop_stray_snapshots(struct plog *log, const struct name_list *names,
                                        int64_t keep);

/* plog.c: syncs the directory and the one above it, if names changed. */
NODISCARD err plog_flush_entries(struct plog *log);

/* plog_change.c */
/* A base above the end: the caller appends there, or takes the roll back. */
NODISCARD err plog_roll_at(struct plog *log, int64_t base_offset);
/* What was to be appended behind a gap was refused: nothing is left of the segment that was made for it. Fine where there
 * is none. */
NODISCARD err plog_take_back_roll(struct plog *log);
/* Removes producer snapshots above `offset`: they describe what is no more. */
NODISCARD err plog_drop_snapshots_above(struct plog *log, int64_t offset);
/* Drops segments [from, to) from the list and renames their files to .deleted. */
NODISCARD err plog_drop_segments(struct plog *log, size_t from, size_t to);
/* Renames the files of a segment that no list has any more. Its name may be taken by another one that begins with the
 * same producers. */
NODISCARD err plog_delete_files(struct plog *log, struct segment *segment, bool keep_snapshot);

/* The timestamp that segment.ms and retention.ms go by: of the data, or of the file without any. */
NODISCARD err plog_retention_timestamp(struct plog *log, struct segment *segment,
                                       int64_t *timestamp);

/* recovery.c */
/* Scans segments from `first` on, rebuilds what belongs to them, and cuts at the first bad batch. `names`: what is in the
 * directory. */
NODISCARD err recovery_run(struct plog *log, size_t first, const struct name_list *names,
                           int64_t *end_offset);

/* swap.c: removes and completes what an interrupted deletion or compaction left. (reference:
 * storage format §9) *changed: the directory's names are others now. */
NODISCARD err swap_finish(struct plog *log, const struct name_list *names, bool *changed);

#endif

/* One partition's log: segments, indexes, leader epochs, producer state.
 *
 * The files are Kafka's to the byte (reference: storage format). A log knows nothing of leaders,
 * high watermarks or requests: those are broker/replica's, which passes them in.
 *
 * Lock: whoever appends, truncates, rolls, deletes or closes holds the partition's lock, one caller
 * at a time. Reading needs no lock: plog_read and the look-ups may run beside an append on any
 * thread (a leaf mutex inside guards the segment list and the active index for moments; it is never
 * held over a read from the disk).
 * Errors: a disk that fails a write, an fsync or a read is final: the log is offline from then on, with all
 * others of its log directory (health.h), and every call answers
 * KAFKA_STORAGE_ERROR; plog_is_offline() says so. A disk that is full is not: what had no room answers
 * KAFKA_STORAGE_ERROR, has changed nothing, and may be tried again; but a sync that met it is final for the log. Bytes that are no batch where one
 * should be are CORRUPT_MESSAGE for whoever reads there, and nothing else. Indexes, snapshots and
 * epochs that are wrong are no error at all: they are made again (README). */
#ifndef OTTLA_STORAGE_PLOG_H
#define OTTLA_STORAGE_PLOG_H

#include "base/arena.h"
#include "protocol/batch.h"
#include "protocol/error.h"
#include "storage/env.h"
#include "storage/log_config.h"

struct plog;

struct topic_partition {
    struct str topic;
    int32_t partition;
};

/* How a log is opened. */
struct plog_open {
    const char *dir;             /* "<log dir>/<topic>-<partition>"; copied */
    struct topic_partition name; /* copied */
    struct health *dir_health;   /* of the log directory; retained. NULL: it stands alone */
    struct log_config config;
    bool clean;               /* the last stop was clean: nothing is scanned */
    int64_t recovery_point;   /* from its checkpoint, 0 if none */
    int64_t log_start_offset; /* from its checkpoint, 0 if none */
    int64_t cleaned_to;       /* the same */
};

/* Opens and, after an unclean stop, recovers; creates the directory and a first segment at
 * log_start_offset when there is none. A torn tail is cut and logged. Damage below the recovery
 * point, which fsync had promised, is reported with file and offset and answered E_CORRUPT:
 * nothing is cut. */
NODISCARD err plog_open(const struct storage_env *env, const struct plog_open *how,
                        struct plog **log);
/* After an open that recovered, or plog_close_begin(): says that everything the log's directory holds has been made durable
 * (by one fs_sync_all for all logs of a log directory): the recovery point is the end. */
void plog_note_synced(struct plog *log);
/* Where many logs are closed: writes what plog_close() does, and syncs nothing. After one fs_sync_all for all of them and
 * plog_note_synced() there is nothing left for plog_close() to do. Nobody uses the log meanwhile. */
NODISCARD err plog_close_begin(struct plog *log);
/* A clean close: flush, producer snapshot at the end offset, indexes trimmed. Frees. */
NODISCARD err plog_close(struct plog *log);
/* Frees without touching the files (a log that failed, or that is deleted). */
void plog_abandon(struct plog *log);

const char *plog_dir(const struct plog *log);
struct topic_partition plog_name(const struct plog *log);
/* Also used from other threads: takes effect at the next append, roll or retention. */
void plog_set_config(struct plog *log, const struct log_config *config);
struct log_config plog_config(const struct plog *log);
/* cleanup.policy has "compact". Needs the partition's lock. */
bool plog_is_compacted(struct plog *log);
bool plog_is_offline(const struct plog *log);
/* It is offline, and its log directory is not: nobody is told of it but by this. */
bool plog_failed_alone(const struct plog *log);
/* What must be on the disk before the log may go on could not be written there: `e` is an errno's. */
void plog_take_offline(struct plog *log, err e, const char *doing);
/* Opening it repaired nothing, and nothing was appended, rolled or truncated since: after a clean
 * stop its files are still those of a clean stop. */
bool plog_is_unchanged(const struct plog *log);

/* partition.metadata. Zero when there is none. Written (atomically) before the first byte of data;
 * INCONSISTENT_TOPIC_ID when another id is there. */
struct uuid plog_topic_id(const struct plog *log);
NODISCARD err plog_set_topic_id(struct plog *log, struct uuid topic_id);

/* Atomic reads. */
int64_t plog_start_offset(const struct plog *log);
int64_t plog_end_offset(const struct plog *log);
int64_t plog_recovery_point(const struct plog *log); /* what is flushed ends here */
int64_t plog_size_bytes(const struct plog *log);
int32_t plog_segments_n(const struct plog *log);
/* What log-start-offset-checkpoint has to say about this log: its start where that lies inside the
 * first segment, or where the segments before it may come back after a power cut; else 0 (the file names tell). */
int64_t plog_start_to_checkpoint(const struct plog *log);

enum append_origin {
    APPEND_CLIENT,      /* produce: sequences, epochs and transactions are checked */
    APPEND_COORDINATOR, /* group and transaction coordinators: only producer epochs are checked */
    APPEND_REPLICATION, /* a follower: offsets and epochs are taken as they are */
};

struct append_result {
    int64_t base_offset; /* of the first batch; for a duplicate, the original's */
    int64_t last_offset;
    int64_t append_time_ms; /* with LogAppendTime; else -1 */
    bool duplicate;         /* an exact repetition of one of the producer's last five batches:
                               nothing was written */
    bool rolled; /* a new segment was begun: plog_flush() is due, soon, on a background thread */
};

/* Appends validated v2 batches (storage/validate.h); the leader's offsets, epoch are set in place.
 *
 * Memory:   `batches` is rewritten and not kept.
 * Durable:  in the page cache on return; on disk after plog_flush().
 * Returns:  OK; MESSAGE_TOO_LARGE (10) when a coordinator's batch is above max.message.bytes;
 *           RECORD_LIST_TOO_LARGE (18) when they do not fit a segment; 45, 47, 48, 52
 *           (reference: coordinators §3); KAFKA_STORAGE_ERROR (56) when the disk refused. */
NODISCARD err plog_append(struct plog *log, uint8_t *batches, size_t len, enum append_origin origin,
                          int32_t leader_epoch, struct append_result *result);

/* The same of what a transaction begins with, after plog_verify_txn() has given that guard; 0: none. */
NODISCARD err plog_append_verified(struct plog *log, uint8_t *batches, size_t len,
                                   enum append_origin origin, uint64_t guard, int32_t leader_epoch,
                                   struct append_result *result);

/* A range of one segment's file. `file` carries a reference: log_range_release(). */
struct log_range {
    struct open_file *file; /* NULL: empty */
    int64_t position;
    size_t len;
    int64_t base_offset; /* of the first batch in it */
    bool next_segment;   /* more is readable, but in a later segment */
};
/* Finds the batches from the one that holds `offset` on, up to `max_bytes`, below `max_offset`
 * (exclusive), all in one segment. The last batch may be cut by max_bytes, as Kafka does; with
 * `min_one` the first batch is whole, however large. An offset at max_offset gives an empty range;
 * below the start or above the end OFFSET_OUT_OF_RANGE (1). */
NODISCARD err plog_read(struct plog *log, int64_t offset, int64_t max_offset, size_t max_bytes,
                        bool min_one, struct log_range *range);
/* Copies `len` bytes from `offset` bytes into the range, which holds them. Any thread, also when the
 * log is closed meanwhile. KAFKA_STORAGE_ERROR when the disk fails (the log is offline then) or when
 * a truncation took the bytes. */
NODISCARD err log_range_read(const struct log_range *range, size_t offset, void *data, size_t len);
void log_range_release(struct log_range *range);

/* Bytes that a reader at `offset` could get below `max_offset`: exact within a segment, across
 * segments the sum of sizes; cheap enough to call for every long poll. */
int64_t plog_bytes_between(struct plog *log, int64_t offset, int64_t max_offset);

struct found_offset {
    int64_t offset;       /* -1: none */
    int64_t timestamp;    /* -1: none */
    int32_t leader_epoch; /* -1: none */
};
/* The first record with a timestamp at or after `timestamp`, below max_offset. Reads (and inflates)
 * batches. */
NODISCARD err plog_offset_for_timestamp(struct plog *log, int64_t timestamp, int64_t max_offset,
                                        struct found_offset *found);
/* The record with the largest timestamp, the first of equals; none in an empty log. */
NODISCARD err plog_offset_for_max_timestamp(struct plog *log, struct found_offset *found);
/* ListOffsets v0: base offsets of segments, newest first, at most `max`; preceded by `end_offset`
 * for timestamp -1; by modification time otherwise. Returns the number. */
NODISCARD err plog_offsets_before(struct plog *log, int64_t timestamp, int64_t end_offset,
                                  int32_t max, struct arena *arena, int64_t **offsets,
                                  int32_t *count);

/* Leader epochs (leader-epoch-checkpoint). A new leader assigns its epoch at its end offset. */
NODISCARD err plog_assign_epoch(struct plog *log, int32_t leader_epoch, int64_t start_offset);
/* -1 when there is none. */
int32_t plog_latest_epoch(struct plog *log);
int64_t plog_latest_epoch_start(struct plog *log);
int32_t plog_epoch_of(struct plog *log, int64_t offset);
/* KIP-320: the largest epoch at or below `leader_epoch`, and where it ends; both -1 if undefined.
 */
void plog_end_offset_for_epoch(struct plog *log, int32_t leader_epoch, int32_t *epoch,
                               int64_t *end_offset);

/* Transactions. The last stable offset: what read_committed may see. */
int64_t plog_last_stable_offset(struct plog *log, int64_t high_watermark);
struct aborted_txn {
    int64_t producer_id;
    int64_t first_offset;
};
/* Aborted transactions that overlap [from, to), in the arena. */
NODISCARD err plog_aborted_txns(struct plog *log, int64_t from, int64_t to, struct arena *arena,
                                struct aborted_txn **txns, int32_t *count);
/* How many producers have a transaction open here. */
int plog_open_txns(const struct plog *log);
/* The two need the partition's lock (KIP-890). Before the first batch of a transaction, which is to be verified by
 * the transaction's coordinator: a guard for plog_txn_verified(); 0: there is nothing to be asked.
 * `sequence` -1: a coordinator's batch. */
uint64_t plog_verify_txn(struct plog *log, int64_t producer_id, int16_t epoch, int32_t sequence);
/* The coordinator has confirmed it: plog_append_verified() takes it, unless a marker comes first. */
void plog_txn_verified(struct plog *log, int64_t producer_id, uint64_t guard);

struct producer_info {
    int64_t producer_id;
    int16_t epoch;
    int32_t last_sequence;
    int64_t last_timestamp;
    int32_t coordinator_epoch;
    int64_t txn_start_offset; /* -1: none */
};
/* Known producers, in the arena (DescribeProducers). Needs the partition lock. */
NODISCARD err plog_producers(struct plog *log, struct arena *arena,
                             struct producer_info **producers, int32_t *count);

/* Makes everything up to the end durable and moves the recovery point. May run on another thread
 * than the appender's, without the partition lock; who comes beside another flush waits for its end. */
NODISCARD err plog_flush(struct plog *log);
/* A new segment, as by segment.ms or segment.bytes. */
NODISCARD err plog_roll(struct plog *log);
/* The log ends at `offset`, above its end, from now on: what is in between was there, and is not any more, as in a
 * compacted log that ends in an empty segment. */
NODISCARD err plog_skip_to(struct plog *log, int64_t offset);
/* A copy that ends where `former` does, and has all of its batches, takes its place: it has its start, its
 * configuration, its epochs and producers, of which some may have no batch any more. Needs the partition's lock. */
NODISCARD err plog_succeed(struct plog *log, struct plog *former);
/* Nothing at or above `offset` is promised any more: a recovery point that lies above goes back. */
void plog_promise_less(struct plog *log, int64_t offset);
/* Cuts everything at and above `offset`, with the epochs that begin there: also one that begins at the end
 * and has no record yet. The caller has let go of what is promised there and has written the recovery points
 * (logs.h): after a crash in the middle, or a torn tail later, a checkpoint above the end would make damage of
 * it. */
NODISCARD err plog_truncate(struct plog *log, int64_t offset);
/* Empties the log and starts it again at `offset`. */
NODISCARD err plog_truncate_fully_and_start_at(struct plog *log, int64_t offset);
/* Moves the start (DeleteRecords, a follower told by its leader). Never back. Needs the partition's
 * lock. The new start is on disk (in log-start-offset-checkpoint, or as a segment's name) when
 * logs_write_recovery_points, or logs_write_checkpoint for starts, has returned: until then a crash
 * brings the old one back. Epochs below it are gone from their file on return. */
NODISCARD err plog_advance_start(struct plog *log, int64_t offset);
/* Retention by start offset, size and time, for segments that end at or below the high watermark;
 * files are renamed to .deleted. Returns how many segments went in *deleted. Also makes the index of
 * one segment again, if one was found wrong. */
NODISCARD err plog_apply_retention(struct plog *log, int64_t high_watermark, int *deleted);
/* Forgets producers that were idle for producer.id.expiration.ms. */
void plog_expire_producers(struct plog *log);
/* Removes .deleted files that are older than file.delete.delay.ms; all while the directory is full. Returns the
 * milliseconds until there is more to do, or -1. Any thread; the caller keeps the log from being closed. */
int64_t plog_remove_deleted(struct plog *log);

/* ---- compaction (reference: storage format §12) ---- */

/* What could be cleaned. */
struct plog_dirt {
    int64_t first_dirty; /* keys are looked for from here on */
    int64_t end;         /* a segment's base: from here on nothing is touched yet */
    int64_t clean_bytes; /* of segments below first_dirty */
    int64_t dirty_bytes;
    bool is_late; /* some of it has waited for max.compaction.lag.ms */
    int64_t
        look_ms; /* by the wall clock: there may be more then, though nothing is written; INT64_MAX: no */
    uint32_t truncations; /* how often the log had been cut */
};
/* Needs the partition's lock. A segment that is not wholly below `last_stable_offset` and flushed is left alone.
 * Errors as plog_read. */
NODISCARD err plog_find_dirt(struct plog *log, int64_t last_stable_offset, struct plog_dirt *dirt);
/* The part of it that is dirty. */
double plog_dirt_ratio(const struct plog_dirt *dirt);

struct plog_clean {
    size_t map_bytes; /* for the map of keys, taken meanwhile */
    double map_load;
    size_t io_bytes; /* are read and written at once */
    /* The partition's lock, which is taken for moments. */
    void (*lock)(void *context);
    void (*unlock)(void *context);
    /* So many bytes were read or written. False: give up. */
    bool (*go_on)(void *context, int64_t bytes);
    void *context;
};
/* What a clean did. */
struct plog_cleaned {
    int64_t end; /* keys are known up to here */
    uint64_t keys;
    size_t segments_before;
    size_t segments_after;
    int64_t bytes_before;
    int64_t bytes_after;
};
/* Cleans once, from the log's start up to where the map of keys is full, or to the last segment's end that is no
 * further than dirt->end. Beside readers and
 * appends, on a thread of its own, without the partition's lock; the caller keeps the log from being closed. What is
 * read is told to the kernel as not wanted any more. plog_cleaned_to() moves when it is done.
 *
 * Returns:  OK; E_BUSY when it was given up, or the log was cut since the dirt was found, or cut or trimmed beside it:
 *           nothing is lost, and some segments may be cleaned; E_CORRUPT for a batch that is damaged, which is said with file and position:
 *           its segment is as before; E_LIMIT: no memory, or the result would not fit a segment; ENOSPC and EDQUOT;
 *           KAFKA_STORAGE_ERROR: the log is offline. */
NODISCARD err plog_clean(struct plog *log, const struct plog_dirt *dirt,
                         const struct plog_clean *how, struct plog_cleaned *cleaned);
/* What cleaner-offset-checkpoint has to say; 0: nothing. Atomic. */
int64_t plog_cleaned_to(const struct plog *log);

/* Changes when a cleaned segment takes the place of others: what was read before and what was read behind may not be
 * of the same log. Waits while one does. Not for who holds the partition's lock. */
uint32_t plog_layout(struct plog *log);

#endif

/* One segment of a log: a .log file, its indexes, and what is known about them.
 *
 * Reference-counted: the log holds one reference, a reader beside it another. Everything below the
 * published size is immutable. Written by the log's appender only. */
#ifndef OTTLA_STORAGE_SEGMENT_H
#define OTTLA_STORAGE_SEGMENT_H

#include "storage/health.h"
#include "storage/index.h"
#include "storage/names.h"
#include "storage/scan.h"
#include "storage/txnindex.h"

#include <stdatomic.h>

/* Where a log's segments live. */
struct segment_place {
    const struct storage_env *env;
    const char *dir;
    struct health *health; /* of the log; each segment takes a reference */
};

struct segment {
    _Atomic int refs;
    struct health *health;
    int64_t base_offset;
    char *log_path;
    struct index offsets;
    struct index times;
    struct txn_index txns;
    _Atomic int64_t size_bytes;
    /* The largest batch timestamp and the last offset of its batch; -1 if there is none. Published
     * together under the log's guard; known once `activated` or asked for. */
    int64_t max_timestamp;
    int64_t max_timestamp_offset;
    bool max_timestamp_known;
    /* Below: the appender only. */
    int64_t created_ms;
    int64_t first_timestamp; /* of the first batch, for segment.ms */
    bool first_timestamp_known;
    int64_t jitter_ms;
    int64_t bytes_since_index;
    _Atomic bool suspect;   /* an entry of an index was wrong: segment_mend() is due */
    _Atomic bool log_dirty; /* written since the last fsync */
    _Atomic bool dropped;   /* its files are renamed: it belongs to no log any more */
};

/* A segment whose files exist; they are not touched. */
struct segment *segment_new(const struct segment_place *place, int64_t base_offset,
                            int64_t size_bytes, bool has_txnindex);
/* Makes .log, .index and .timeindex, empty; none of them where there is no room (ENOSPC, EDQUOT). */
NODISCARD err segment_create(const struct segment_place *place, int64_t base_offset,
                             struct segment **segment);
void segment_retain(struct segment *segment);
void segment_release(struct segment *segment);
/* ENOENT when the segment was dropped. */
NODISCARD err segment_file(struct segment *segment, struct open_file **file);

/* A batch as it lies in the file. */
struct placed_batch {
    struct batch header;
    int64_t position;
};
/* The first batch whose last offset is at or above `offset`, among the first `size_bytes`;
 * E_NOT_FOUND if there is none. */
NODISCARD err segment_find(struct segment *segment, int fd, int64_t offset, int64_t size_bytes,
                           struct placed_batch *found);
/* The largest timestamp of the first batch, which segment.ms and max.compaction.lag.ms go by; -1: it has none, or there
 * is none. Needs the partition's lock. */
NODISCARD err segment_first_timestamp(struct segment *segment, int64_t *timestamp);
/* The last batch; E_NOT_FOUND in an empty segment. */
NODISCARD err segment_find_last(struct segment *segment, struct placed_batch *found);
/* Where to begin looking for the first batch with a timestamp at or after `timestamp`. */
NODISCARD err segment_seek_time(struct segment *segment, int fd, int64_t timestamp,
                                int64_t size_bytes, int64_t *position);
/* The largest timestamp and the last offset of the first batch that has it; -1 if there is none. In a
 * sealed segment the last time entry tells; otherwise the batches after it are looked at. */
NODISCARD err segment_max_timestamp(struct segment *segment, bool sealed, int64_t *timestamp,
                                    int64_t *offset);

/* Makes both indexes from the batches, as Kafka's recovery does: an entry for a batch that begins
 * more than index.interval.bytes after the last one. */
struct index_maker {
    struct segment *segment;
    int32_t interval_bytes;
    int64_t last_position;
    int64_t max_timestamp; /* -1: none */
    int64_t max_timestamp_offset;
};
void index_maker_init(struct index_maker *maker, struct segment *segment, int32_t interval_bytes);
/* Empties the indexes. */
NODISCARD err index_maker_begin(struct index_maker *maker);
/* Batches in order. */
NODISCARD err index_maker_add(struct index_maker *maker, const struct batch *batch,
                              int64_t position);
NODISCARD err index_maker_end(struct index_maker *maker);
/* Makes the indexes of a segment again. The appender only; readers beside it find less in them, and
 * so begin earlier. Reads every header: about as long as one search without an index. */
NODISCARD err segment_mend(struct segment *segment, int32_t interval_bytes);
/* Modification time of the .log. */
NODISCARD err segment_mtime_ms(struct segment *segment, int64_t *mtime_ms);

/* The largest timestamp, and the last offset of the first batch that has it. */
struct time_point {
    int64_t timestamp;
    int64_t offset;
};
/* Index entries for a batch at `position`, if they are due; `largest`: with this batch. (reference: storage format §6) */
NODISCARD err segment_index(struct segment *segment, const struct batch *batch, int64_t position,
                            struct time_point largest, int32_t interval_bytes);
/* The last time entry, then both indexes to their files. */
NODISCARD err segment_seal(struct segment *segment);
/* fsync of the .log; of the indexes too if the segment is sealed. Any thread. */
NODISCARD err segment_flush(struct segment *segment, bool with_indexes);
/* Are the offset or the time index full? (max entries by segment.index.bytes) */
NODISCARD err segment_index_full(struct segment *segment, int32_t index_bytes, bool *full);

#endif

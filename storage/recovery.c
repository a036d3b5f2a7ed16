/* What is done to a log whose last stop was not clean. (reference: storage format §9,
 * hardening §5.3 S7 S8)
 *
 * The .log is the truth; everything else is made from it again. Segments from the recovery point on
 * are read in order; each batch must be whole, of a known format, fit its CRC, keep offsets
 * strictly and epochs weakly ascending and fit its segment. The first that does not ends the log:
 *
 *   - at or above the recovery point it is a torn tail, what a crash leaves behind: the file is cut
 *     there and later segments go, also when they hold valid batches (pages reach the disk in any
 *     order, so a hole may lie between); a missing end of a segment counts as torn too;
 *   - below the recovery point an fsync had promised those bytes: that is damage. It is reported
 * with file and position, and nothing is changed.
 *
 * Indexes, leader epochs and producer state are rebuilt on the way, by the rules of Kafka's own
 * recovery: an index entry for a batch that begins more than index.interval.bytes after the last.
 * Running it again, or after a crash in its middle, does the same.
 *
 * What comes out as it was is not written again: most of ten thousand logs were idle when the broker died, and two
 * fsyncs for each were a start of 15 s (bench/logs). */
#define _GNU_SOURCE
#include "storage/plog_internal.h"

#include "base/log.h"
#include "base/planted.h"
#include "storage/whole_scan.h"

#include <fcntl.h>
#include <stdlib.h>

enum { READ_BYTES = 1 << 20 };

struct rebuild {
    struct plog *log;
    struct segment *segment;
    int64_t next_offset;
    int32_t epoch; /* of the last v2 batch with one */
    struct index_maker maker;
};

static bool batch_fits(const struct rebuild *state, const struct batch *batch)
{
    int64_t last = batch_last_offset(batch);
    return batch->base_offset >= state->next_offset &&
           last - state->segment->base_offset <= INT32_MAX &&
           (batch->magic < 2 || batch->leader_epoch < 0 || batch->leader_epoch >= state->epoch);
}

static err rebuild_batch(struct rebuild *state, const struct batch *batch, const uint8_t *bytes,
                         int64_t position)
{
    CHECK(batch->base_offset >= state->next_offset);
    struct segment *segment = state->segment;
    int64_t last = batch_last_offset(batch);
    TRY(index_maker_add(&state->maker, batch, position));
    if (batch->magic == 2 && batch->leader_epoch >= 0) {
        state->epoch = batch->leader_epoch;
        if (epochs_confirm(&state->log->epochs, batch->leader_epoch, batch->base_offset)) {
            atomic_store(&state->log->epochs_unwritten, true);
        }
    }
    state->next_offset = last + 1;
    return plog_apply_batch(state->log, segment, batch, bytes, true);
}

/* All that a batch must be is asked before anything is made from it. */
static bool batch_is_good(const struct rebuild *state, const struct batch *batch,
                          const uint8_t *bytes)
{
    struct marker marker;
    return batch_fits(state, batch) &&
           (!batch_is_marker(batch) ||
            marker_parse(bytes_of(bytes, (size_t)batch->size_bytes), &marker) == OK);
}

static err scan_segment(struct rebuild *state, struct whole_scan *scan)
{
    struct batch batch;
    const uint8_t *bytes = NULL;
    err e;
    while ((e = whole_scan_next(scan, &batch, &bytes)) == OK) {
        if (!batch_is_good(state, &batch, bytes)) {
            return E_CORRUPT;
        }
        TRY(rebuild_batch(state, &batch, bytes, scan->position));
        scan->position += batch.size_bytes;
    }
    return e;
}

/* Before anything is changed: is there damage below the recovery point? Reads up to there only. */
static err check_promised(struct plog *log, struct segment *segment, int fd, int64_t *next_offset)
{
    int64_t promised = plog_recovery_point(log);
    struct rebuild state = {
        .log = log, .segment = segment, .next_offset = *next_offset, .epoch = -1};
    struct whole_scan scan;
    whole_scan_begin(&scan, log->env->fs, fd, atomic_load(&segment->size_bytes), READ_BYTES);
    struct batch batch;
    const uint8_t *bytes = NULL;
    err e = OK;
    while (state.next_offset < promised && (e = whole_scan_next(&scan, &batch, &bytes)) == OK) {
        if (!batch_is_good(&state, &batch, bytes)) {
            e = E_CORRUPT;
            break;
        }
        state.next_offset = batch_last_offset(&batch) + 1;
        scan.position += batch.size_bytes;
    }
    whole_scan_end(&scan);
    if (e == E_TRUNCATED || e == E_CORRUPT) {
        log_error(AREA,
                  "damage below the recovery point: the log is not opened, nothing was changed "
                  "file=%s position=%lld next_offset=%lld recovery_point=%lld",
                  segment->log_path, (long long)scan.position, (long long)state.next_offset,
                  (long long)promised);
        return E_CORRUPT;
    }
    *next_offset = state.next_offset;
    return e == E_NOT_FOUND ? OK : e;
}

static err check_promised_all(struct plog *log, size_t first)
{
    int64_t next_offset = log->segments[first]->base_offset;
    for (size_t i = first; i < log->segments_n; i++) {
        if (next_offset >= plog_recovery_point(log) && i > first) {
            return OK;
        }
        struct open_file *file = NULL;
        TRY(segment_file(log->segments[i], &file));
        next_offset = log->segments[i]->base_offset > next_offset ? log->segments[i]->base_offset
                                                                  : next_offset;
        err e = check_promised(log, log->segments[i], open_file_fd(file), &next_offset);
        open_file_release(file);
        TRY(e);
    }
    return OK;
}

/* Segment `i` ends at `position`. What follows goes first: a crash in between must not leave a cut
 * segment with a successor, which would look like a hole that compaction made. */
static err cut_at(struct plog *log, size_t i, int fd, int64_t position, int64_t next_offset)
{
    CHECK(position >= 0 && position <= atomic_load(&log->segments[i]->size_bytes));
    struct segment *segment = log->segments[i];
    int64_t size = atomic_load(&segment->size_bytes);
    log_warn(AREA,
             "cutting a torn tail file=%s position=%lld bytes=%lld next_offset=%lld "
             "segments_after=%zu",
             segment->log_path, (long long)position, (long long)(size - position),
             (long long)next_offset, log->segments_n - i - 1);
    TRY(plog_drop_segments(log, i + 1, log->segments_n));
    TRY(fs_truncate(log->env->fs, fd, position));
    atomic_fetch_sub(&log->size_bytes, size - position);
    atomic_store(&segment->size_bytes, position);
    return OK;
}

static err recover_segment(struct plog *log, size_t i, struct rebuild *state)
{
    struct segment *segment = log->segments[i];
    struct open_file *file = NULL;
    index_maker_init(&state->maker, segment, log->config.index_interval_bytes);
    TRY(index_maker_begin(&state->maker));
    TRY(txn_index_truncate(&segment->txns, 0));
    atomic_store(&segment->log_dirty, true);
    TRY(segment_file(segment, &file));
    struct whole_scan scan;
    whole_scan_begin(&scan, log->env->fs, open_file_fd(file), atomic_load(&segment->size_bytes),
                     READ_BYTES);
    state->segment = segment;
    err e = scan_segment(state, &scan);
    whole_scan_end(&scan);
    if (e == E_TRUNCATED || e == E_CORRUPT) {
        e = cut_at(log, i, scan.fd, scan.position, state->next_offset);
    }
    open_file_release(file);
    if (e != OK && e != E_NOT_FOUND) {
        return e;
    }
    segment->max_timestamp = state->maker.max_timestamp;
    segment->max_timestamp_offset = state->maker.max_timestamp_offset;
    segment->max_timestamp_known = true;
    e = index_maker_end(&state->maker);
    if (err_is_no_room(e)) { /* what is not in the files is in memory, and written when there is */
        atomic_store(&segment->suspect, true);
        return OK;
    }
    return e;
}

/* A segment that does not begin where the one before ended, or the recovered part of the log does not hold
 * together from here on.
 *
 * Later: in a compacted log that is normal. In another, above the recovery point, the end of the segment before was
 * lost, at the border of a batch or as a whole.
 *
 * Earlier: the one before had been cut, and the crash has undone that, but not what was written since. What stands
 * there then is what was cut, and nothing that follows belongs to it. */
static bool is_apart(const struct plog *log, const struct segment *segment, int64_t next_offset)
{
    return (segment->base_offset < next_offset && !planted(MISTAKE_OVERLAP_STAYS)) ||
           (segment->base_offset > next_offset && next_offset >= plog_recovery_point(log) &&
            !log->config.cleanup_compact);
}

err recovery_run(struct plog *log, size_t first, const struct name_list *names, int64_t *end_offset)
{
    CHECK(first < log->segments_n);
    TRY(check_promised_all(log, first));
    struct rebuild state = {.log = log, .epoch = -1};
    state.next_offset = log->segments[first]->base_offset;
    TRY(plog_load_producers_from(log, names, state.next_offset));
    for (size_t i = first; i < log->segments_n; i++) {
        struct segment *segment = log->segments[i];
        if (is_apart(log, segment, state.next_offset)) {
            log_warn(AREA,
                     "a segment does not begin where the log ends: it and later ones go file=%s "
                     "next_offset=%lld",
                     segment->log_path, (long long)state.next_offset);
            TRY(plog_drop_segments(log, i, log->segments_n));
            break;
        }
        if (segment->base_offset > state.next_offset) {
            state.next_offset = segment->base_offset;
        }
        if (i > first) {
            log->producers.end_offset = segment->base_offset;
            TRY(plog_take_snapshot_if_room(log));
        }
        TRY(recover_segment(log, i, &state));
    }
    *end_offset = state.next_offset;
    return plog_write_due_epochs(log);
}

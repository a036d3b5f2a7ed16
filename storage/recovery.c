/* What is done to a log whose last stop was not clean (storage format §9, crash safety S7, S8).
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
 * Running it again, or after a crash in its middle, does the same. */
#define _GNU_SOURCE
#include "storage/plog_internal.h"

#include "base/crc32c.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdlib.h>

enum { READ_AHEAD_BYTES = 1024 * 1024 };

/* CRC-32 (IEEE), of the formats before 2; a nibble at a time: they are rare. */
static uint32_t crc32_ieee(const uint8_t *data, size_t len)
{
    static const uint32_t TABLE[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ TABLE[crc & 15];
        crc = crc >> 4 ^ TABLE[crc & 15];
    }
    return ~crc;
}

bool batch_is_sound(const uint8_t *data, const struct batch *batch)
{
    size_t len = (size_t)batch->size_bytes;
    if (batch->base_offset < 0) {
        return false;
    }
    if (batch->magic < 2) {
        return crc32_ieee(data + 16, len - 16) == batch->crc;
    }
    /* Compaction removes records and keeps the delta, so fewer are fine; more are not. */
    return batch->last_offset_delta >= 0 && batch->count >= 0 &&
           (int64_t)batch->count <= (int64_t)batch->last_offset_delta + 1 &&
           batch->base_offset <= INT64_MAX - batch->last_offset_delta &&
           batch_crc(data, len) == batch->crc;
}

/* A buffered walk over whole batches of one file. */
struct whole_scan {
    struct fs *fs;
    int fd;
    int64_t size_bytes;
    int64_t position; /* of the next batch */
    uint8_t *buffer;
    size_t buffer_cap;
    size_t buffer_len;
    int64_t buffer_position;
};

/* Makes `len` bytes at the current position readable; NULL when the file ends before. */
static err whole_view(struct whole_scan *scan, size_t len, const uint8_t **bytes)
{
    int64_t skip = scan->position - scan->buffer_position;
    *bytes = NULL;
    if ((int64_t)len > scan->size_bytes - scan->position) {
        return E_TRUNCATED;
    }
    if (scan->buffer == NULL || skip < 0 || skip + (int64_t)len > (int64_t)scan->buffer_len) {
        size_t cap = len > READ_AHEAD_BYTES ? len : READ_AHEAD_BYTES;
        if (cap > scan->buffer_cap) {
            free(scan->buffer);
            scan->buffer_cap = 0;
            scan->buffer = malloc(cap);
            if (scan->buffer == NULL) {
                return E_LIMIT;
            }
            scan->buffer_cap = cap;
        }
        TRY(fs_read_some(scan->fs, scan->fd, scan->buffer, scan->buffer_cap, scan->position,
                         &scan->buffer_len));
        scan->buffer_position = scan->position;
        skip = 0;
        if (scan->buffer_len < len) {
            return E_TRUNCATED;
        }
    }
    *bytes = scan->buffer + skip;
    return OK;
}

/* The next whole batch; E_NOT_FOUND at the end; E_TRUNCATED or E_CORRUPT for a bad one. */
static err whole_next(struct whole_scan *scan, struct batch *batch, const uint8_t **bytes)
{
    int64_t left = scan->size_bytes - scan->position;
    if (left == 0) {
        return E_NOT_FOUND;
    }
    size_t head = left < BATCH_HEADER_BYTES ? (size_t)left : BATCH_HEADER_BYTES;
    TRY(whole_view(scan, head, bytes));
    TRY(header_parse(*bytes, head, batch));
    TRY(whole_view(scan, (size_t)batch->size_bytes, bytes));
    return batch_is_sound(*bytes, batch) ? OK : E_CORRUPT;
}

struct rebuild {
    struct plog *log;
    struct segment *segment;
    int64_t next_offset;
    int32_t epoch; /* of the last v2 batch with one */
    int64_t since_index;
    int64_t last_index_position;
};

static bool batch_fits(const struct rebuild *state, const struct batch *batch)
{
    int64_t last = batch_last_offset(batch);
    return batch->base_offset >= state->next_offset &&
           last - state->segment->base_offset <= INT32_MAX &&
           (batch->magic < 2 || batch->leader_epoch < 0 || batch->leader_epoch >= state->epoch);
}

/* A control batch of a producer must hold a marker that can be read. */
static bool is_marker(const struct batch *batch)
{
    return batch->magic == 2 && batch->producer_id >= 0 && batch_is(batch, BATCH_CONTROL);
}

static err rebuild_producers(struct plog *log, struct segment *segment, const struct batch *batch,
                             const uint8_t *bytes, bool with_txnindex)
{
    struct marker marker;
    struct txn_entry aborted;
    bool control = is_marker(batch);
    if (control) {
        TRY(marker_parse(bytes_of(bytes, (size_t)batch->size_bytes), &marker));
    }
    guard_lock(log);
    bool is_abort = producers_apply(&log->producers, batch, control ? &marker : NULL, &aborted);
    guard_unlock(log);
    return is_abort && with_txnindex ? txn_index_append(&segment->txns, &aborted) : OK;
}

static err rebuild_batch(struct rebuild *state, const struct batch *batch, const uint8_t *bytes,
                         int64_t position)
{
    struct segment *segment = state->segment;
    int64_t last = batch_last_offset(batch);
    if (batch->max_timestamp > segment->max_timestamp) {
        segment->max_timestamp = batch->max_timestamp;
        segment->max_timestamp_offset = last;
    }
    if (position - state->last_index_position > state->log->config.index_interval_bytes) {
        TRY(offset_index_append(&segment->offsets, (int32_t)(last - segment->base_offset),
                                (int32_t)position));
        TRY(time_index_append(&segment->times, segment->max_timestamp,
                              (int32_t)(segment->max_timestamp_offset - segment->base_offset)));
        state->last_index_position = position;
    }
    if (batch->magic == 2 && batch->leader_epoch >= 0) {
        state->epoch = batch->leader_epoch;
        if (batch->leader_epoch > epochs_latest(&state->log->epochs)) {
            epochs_assign(&state->log->epochs, batch->leader_epoch, batch->base_offset);
        }
    }
    state->next_offset = last + 1;
    return rebuild_producers(state->log, segment, batch, bytes, true);
}

/* All that a batch must be is asked before anything is made from it. */
static bool batch_is_good(const struct rebuild *state, const struct batch *batch,
                          const uint8_t *bytes)
{
    struct marker marker;
    return batch_fits(state, batch) &&
           (!is_marker(batch) ||
            marker_parse(bytes_of(bytes, (size_t)batch->size_bytes), &marker) == OK);
}

static err scan_segment(struct rebuild *state, struct whole_scan *scan)
{
    struct batch batch;
    const uint8_t *bytes = NULL;
    err e;
    while ((e = whole_next(scan, &batch, &bytes)) == OK) {
        if (!batch_is_good(state, &batch, bytes)) {
            return E_CORRUPT;
        }
        TRY(rebuild_batch(state, &batch, bytes, scan->position));
        scan->position += batch.size_bytes;
    }
    return e;
}

static err reset_indexes(struct segment *segment)
{
    TRY(index_create(&segment->offsets));
    TRY(index_create(&segment->times));
    TRY(txn_index_truncate(&segment->txns, 0));
    segment->max_timestamp = -1;
    segment->max_timestamp_offset = segment->base_offset;
    segment->max_timestamp_known = true;
    atomic_store(&segment->log_dirty, true);
    return OK;
}

/* Before anything is changed: is there damage below the recovery point? Reads up to there only. */
static err check_promised(struct plog *log, struct segment *segment, int fd, int64_t *next_offset)
{
    int64_t promised = plog_recovery_point(log);
    struct rebuild state = {
        .log = log, .segment = segment, .next_offset = *next_offset, .epoch = -1};
    struct whole_scan scan = {
        .fs = log->env->fs, .fd = fd, .size_bytes = atomic_load(&segment->size_bytes)};
    struct batch batch;
    const uint8_t *bytes = NULL;
    err e = OK;
    while (state.next_offset < promised && (e = whole_next(&scan, &batch, &bytes)) == OK) {
        if (!batch_is_good(&state, &batch, bytes)) {
            e = E_CORRUPT;
            break;
        }
        state.next_offset = batch_last_offset(&batch) + 1;
        scan.position += batch.size_bytes;
    }
    free(scan.buffer);
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
    TRY(reset_indexes(segment));
    TRY(segment_file(segment, &file));
    struct whole_scan scan = {.fs = log->env->fs,
                              .fd = open_file_fd(file),
                              .size_bytes = atomic_load(&segment->size_bytes)};
    state->segment = segment;
    state->last_index_position = 0;
    err e = scan_segment(state, &scan);
    free(scan.buffer);
    if (e == E_TRUNCATED || e == E_CORRUPT) {
        e = cut_at(log, i, scan.fd, scan.position, state->next_offset);
    }
    open_file_release(file);
    return e == OK || e == E_NOT_FOUND ? segment_seal(segment) : e;
}

/* A segment that does not begin where the one before ended. In a compacted log that is normal. In
 * another, above the recovery point, the end of the segment before was lost, at the border of a
 * batch or as a whole. */
static bool is_hole(const struct plog *log, const struct segment *segment, int64_t next_offset)
{
    return segment->base_offset > next_offset && next_offset >= plog_recovery_point(log) &&
           !log->config.cleanup_compact;
}

err recovery_run(struct plog *log, size_t first, int64_t *end_offset)
{
    TRY(check_promised_all(log, first));
    struct rebuild state = {.log = log, .epoch = -1};
    state.next_offset = log->segments[first]->base_offset;
    TRY(recovery_load_producers(log, state.next_offset));
    for (size_t i = first; i < log->segments_n; i++) {
        struct segment *segment = log->segments[i];
        if (is_hole(log, segment, state.next_offset)) {
            log_warn(AREA, "a hole before a segment: it and later ones go file=%s next_offset=%lld",
                     segment->log_path, (long long)state.next_offset);
            TRY(plog_drop_segments(log, i, log->segments_n));
            break;
        }
        if (segment->base_offset > state.next_offset) {
            state.next_offset = segment->base_offset;
        }
        if (i > first) {
            log->producers.end_offset = segment->base_offset;
            TRY(plog_take_snapshot(log, false));
        }
        TRY(recover_segment(log, i, &state));
    }
    *end_offset = state.next_offset;
    return plog_write_epochs(log);
}

/* The newest readable snapshot at or below `end_offset`; damaged ones are removed. */
static err load_snapshot(struct plog *log, const struct name_list *names, int64_t end_offset,
                         struct producers *producers)
{
    err e = OK;
    bool loaded = false;
    for (size_t i = names->count; i > 0 && e == OK && !loaded; i--) {
        int64_t offset = 0;
        if (!segment_name_parse(names->names[i - 1], SUFFIX_SNAPSHOT, &offset) ||
            offset > end_offset) {
            continue;
        }
        char *path = xasprintf("%s/%s", log->dir, names->names[i - 1]);
        e = producers_load(producers, log->env->fs, path, offset, clock_wall_ms(log->env->clock),
                           log->config.producer_id_expiration_ms);
        if (e == OK) {
            loaded = true;
            log->snapshot_offset = offset;
        } else if (e == E_CORRUPT) {
            log_warn(AREA, "removing a damaged producer snapshot file=%s", path);
            e = fs_unlink(log->env->fs, path);
        } else if (err_to_errno(e) == ENOENT) {
            e = OK; /* it was stray, and went after the names were read */
        }
        free(path);
    }
    return e;
}

/* One batch of a log that is known to be sound. Only control batches are read beyond the header. */
static err replay_batch(struct plog *log, struct segment *segment, int fd,
                        const struct placed_batch *placed)
{
    size_t len = is_marker(&placed->header) ? (size_t)placed->header.size_bytes : 0;
    uint8_t *bytes = malloc(len + 1);
    err e = bytes == NULL ? E_LIMIT : fs_read(log->env->fs, fd, bytes, len, placed->position);
    e = e == OK ? rebuild_producers(log, segment, &placed->header, bytes, false) : e;
    free(bytes);
    return e;
}

/* Replays one segment's batches from the state's end up to `end_offset`. */
static err replay_segment(struct plog *log, struct segment *segment, int64_t end_offset)
{
    struct open_file *file = NULL;
    struct placed_batch placed;
    struct scan scan;
    int64_t size = atomic_load(&segment->size_bytes);
    TRY(segment_file(segment, &file));
    int fd = open_file_fd(file);
    err e = segment_find(segment, fd, log->producers.end_offset, size, &placed);
    if (e == OK) {
        scan_init(&scan, log->env->fs, fd, placed.position, size);
        e = scan_next(&scan, &placed.header, &placed.position);
        while (e == OK && placed.header.base_offset < end_offset) {
            e = replay_batch(log, segment, fd, &placed);
            e = e == OK ? scan_next(&scan, &placed.header, &placed.position) : e;
        }
    }
    open_file_release(file);
    return e == E_NOT_FOUND ? OK : e;
}

err recovery_load_producers(struct plog *log, int64_t end_offset)
{
    struct name_list names;
    TRY(fs_list(log->env->fs, log->dir, &names));
    err e = recovery_load_producers_from(log, &names, end_offset);
    name_list_deinit(&names);
    return e;
}

/* The snapshot is read without the guard, into a state that nobody sees yet. A reader beside a
 * truncation may see fewer transactions until the batches after it have been replayed; what it
 * could read of them is above the high watermark. */
err recovery_load_producers_from(struct plog *log, const struct name_list *names,
                                 int64_t end_offset)
{
    struct producers loaded;
    producers_init(&loaded);
    producers_clear(&loaded, log->segments[0]->base_offset);
    log->snapshot_offset = log->segments[0]->base_offset;
    err e = load_snapshot(log, names, end_offset, &loaded);
    if (e != OK) {
        producers_deinit(&loaded);
        return e;
    }
    guard_lock(log);
    struct producers before = log->producers;
    log->producers = loaded;
    plog_count_txns_locked(log);
    guard_unlock(log);
    producers_deinit(&before);
    for (size_t i = 0; i < log->segments_n; i++) {
        if (segment_end(log, i) > log->producers.end_offset &&
            log->segments[i]->base_offset < end_offset) {
            TRY(replay_segment(log, log->segments[i], end_offset));
        }
    }
    guard_lock(log);
    log->producers.end_offset = end_offset;
    plog_count_txns_locked(log);
    guard_unlock(log);
    return OK;
}

err recovery_drop_stray_snapshots(struct plog *log, const struct name_list *names)
{
    int64_t newest_base = log_active(log)->base_offset;
    int64_t stray = -1; /* the newest that is at no segment's base */
    for (size_t i = 0; i < names->count; i++) {
        int64_t offset = 0;
        if (!segment_name_parse(names->names[i], SUFFIX_SNAPSHOT, &offset) ||
            log->segments[plog_segment_at(log, offset)]->base_offset == offset) {
            continue;
        }
        int64_t drop = offset < newest_base ? offset : stray;
        stray = offset < newest_base ? stray : offset;
        if (drop >= 0) {
            char *path = segment_path(log->dir, drop, SUFFIX_SNAPSHOT);
            err e = fs_unlink(log->env->fs, path);
            free(path);
            TRY(e);
        }
    }
    return OK;
}

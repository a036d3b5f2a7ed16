/* From an index to a batch. An index is a hint: nothing of it is believed before the log confirmed it.
 *
 * Offset index. An entry says "offset r ends a set of batches that begins at position p". A search for
 * t may start at p if a batch begins there, and r is at or below t. Whether a batch begins there is
 * asked of the batch itself, once for each entry that was found at the start: its header fits the
 * entry, its bytes fit its CRC, and another batch follows (record values may hold bytes that look like
 * a batch; that they hold two, with fitting offsets, just there, is not seen). Entries that this
 * process wrote need no proof. One that is wrong is passed over for the one before, at the worst
 * for the segment's begin. The order of entries is only good for speed: a search that went astray
 * finds the entry after the next one before what it looks for, and notes that.
 *
 * Time index. An entry says "up to offset r no timestamp is larger than s, and r's batch has it". The
 * batch is looked up and must have that timestamp; neighbours must be in order. A search for t begins
 * at the last entry below t, never at one of t itself: another batch may have the same timestamp.
 *
 * A wrong entry costs the way from the one before it. The index is made again by whoever holds the
 * partition's lock in the background (plog_apply_retention); one line says that it was wrong. */
#include "storage/segment.h"

#include "base/log.h"

#include <stdlib.h>

enum { TRIES_MAX = 8, SEALED_LOOK_BYTES = 64 * 1024 };

/* A search that may begin at `position`, and must have ended before `end`. */
struct seek {
    int64_t position;
    int64_t end;
};

struct offset_entry {
    int32_t relative;
    int32_t position;
};

static void suspect(struct segment *segment)
{
    if (!atomic_exchange(&segment->suspect, true)) {
        log_warn("storage",
                 "an index does not fit its log: it is passed over, and made again file=%s",
                 segment->log_path);
    }
}

/* The file of a hint is gone or too short: as bad as wrong. */
static bool is_lost(err e)
{
    return e == E_TRUNCATED || e == E_NOT_FOUND || err_to_errno(e) == ENOENT;
}

static err offset_entry_get(struct segment *segment, int32_t n, struct offset_entry *entry)
{
    CHECK(n >= 0);
    uint8_t bytes[INDEX_ENTRY_BYTES_MAX];
    TRY(index_get(&segment->offsets, n, bytes));
    *entry = (struct offset_entry){
        .relative = (int32_t)index_column_of(&segment->offsets, bytes, COLUMN_OFFSET),
        .position = (int32_t)index_column_of(&segment->offsets, bytes, COLUMN_POSITION),
    };
    return OK;
}

/* Does another batch, or the end, come at `position`? A record's value may hold a whole batch. */
static err is_followed(struct fs *fs, int fd, const struct batch *batch, int64_t position,
                       int64_t size_bytes, bool *yes)
{
    uint8_t head[BATCH_HEADER_BYTES];
    struct batch next;
    size_t len = 0;
    *yes = position == size_bytes;
    if (*yes) {
        return OK;
    }
    TRY(fs_read_some(fs, fd, head, sizeof(head), position, &len));
    *yes = header_parse(head, len, &next) == OK && next.size_bytes <= size_bytes - position &&
           next.base_offset > batch_last_offset(batch);
    return OK;
}

/* Compaction leaves an entry for the last record that is left, where the batch may say a later end. */
static bool ends_by(const struct batch *batch, int64_t last)
{
    bool is_whole = batch->magic < 2 || batch->count == batch->last_offset_delta + 1;
    return batch_last_offset(batch) <= last || !is_whole;
}

/* Does a whole batch begin there that the entry can stand for? */
static err leads_to_batch(struct segment *segment, int fd, const struct offset_entry *entry,
                          int64_t size_bytes, bool *yes)
{
    struct fs *fs = segment->offsets.env->fs;
    uint8_t head[BATCH_HEADER_BYTES];
    struct batch batch;
    size_t len = 0;
    int64_t last = segment->base_offset + entry->relative;
    *yes = false;
    if (entry->position < 0 || entry->position >= size_bytes) {
        return OK;
    }
    TRY(fs_read_some(fs, fd, head, sizeof(head), entry->position, &len));
    if (header_parse(head, len, &batch) != OK || batch.size_bytes > size_bytes - entry->position ||
        batch.last_offset_delta < 0 || batch.base_offset < segment->base_offset ||
        batch.base_offset > last || !ends_by(&batch, last)) {
        return OK;
    }
    uint8_t *bytes = malloc((size_t)batch.size_bytes);
    if (bytes == NULL) {
        return OK;
    }
    err e = fs_read(fs, fd, bytes, (size_t)batch.size_bytes, entry->position);
    bool sound = e == OK && batch_is_sound(bytes, &batch);
    free(bytes);
    TRY(e == E_TRUNCATED ? OK : e);
    return sound ? is_followed(fs, fd, &batch, entry->position + batch.size_bytes, size_bytes, yes)
                 : OK;
}

static err offset_entry_confirm(struct segment *segment, int fd, int32_t n, int64_t size_bytes,
                                struct offset_entry *entry, bool *yes)
{
    *yes = true;
    TRY(offset_entry_get(segment, n, entry));
    if (index_is_trusted(&segment->offsets, n)) {
        return OK;
    }
    struct offset_entry before = {0};
    if (n > 0) {
        TRY(offset_entry_get(segment, n - 1, &before));
    }
    *yes = entry->relative >= 0 && before.position <= entry->position;
    if (*yes) {
        TRY(leads_to_batch(segment, fd, entry, size_bytes, yes));
    }
    if (*yes) {
        index_trust(&segment->offsets, n);
    }
    return OK;
}

/* Where a search has ended that began at entry n - 1: entry n is for an offset behind the wanted one,
 * so what is wanted lies before entry n + 1. */
static err seek_end(struct segment *segment, int32_t n, struct seek *seek)
{
    struct offset_entry entry;
    err e = offset_entry_get(segment, n + 1, &entry);
    if (e == OK) {
        seek->end = entry.position;
    }
    return is_lost(e) ? OK : e;
}

static err seek_try(struct segment *segment, int fd, int64_t offset, int64_t size_bytes,
                    int32_t *limit, struct seek *seek)
{
    int32_t n = 0;
    bool good = false;
    struct offset_entry entry;
    TRY(index_lower_bound(&segment->offsets, COLUMN_OFFSET, offset - segment->base_offset + 1,
                          *limit, &n));
    *limit = n - 1;
    if (n == 0) {
        return OK;
    }
    TRY(offset_entry_confirm(segment, fd, n - 1, size_bytes, &entry, &good));
    if (!good || entry.relative > offset - segment->base_offset) {
        return E_CORRUPT;
    }
    *limit = -1;
    seek->position = entry.position;
    return seek_end(segment, n, seek);
}

/* Where to begin looking for `offset`: a batch begins there, and nothing before it holds `offset`. */
static err segment_seek(struct segment *segment, int fd, int64_t offset, int64_t size_bytes,
                        struct seek *seek)
{
    int32_t limit = INT32_MAX;
    err e = OK;
    *seek = (struct seek){.position = 0, .end = INT64_MAX};
    if (offset <= segment->base_offset) {
        return OK;
    }
    for (int i = 0; i < TRIES_MAX && limit > 0; i++) {
        e = seek_try(segment, fd, offset, size_bytes, &limit, seek);
        if (e == OK) {
            return OK;
        }
        if (e != E_CORRUPT && !is_lost(e)) {
            return e;
        }
        suspect(segment);
        *seek = (struct seek){.position = 0, .end = INT64_MAX};
        if (e != E_CORRUPT) {
            return OK;
        }
    }
    return OK;
}

err segment_find(struct segment *segment, int fd, int64_t offset, int64_t size_bytes,
                 struct placed_batch *found)
{
    CHECK(size_bytes >= 0);
    struct scan scan;
    struct seek seek;
    TRY(segment_seek(segment, fd, offset, size_bytes, &seek));
    scan_init(&scan, segment->offsets.env->fs, fd, seek.position, size_bytes);
    do {
        TRY(scan_next(&scan, &found->header, &found->position));
    } while (batch_last_offset(&found->header) < offset);
    if (found->position >= seek.end) {
        suspect(segment);
    }
    return OK;
}

err segment_first_timestamp(struct segment *segment, int64_t *timestamp)
{
    if (!segment->first_timestamp_known) {
        struct open_file *file = NULL;
        struct placed_batch first;
        TRY(segment_file(segment, &file));
        err e = segment_find(segment, open_file_fd(file), segment->base_offset,
                             atomic_load(&segment->size_bytes), &first);
        open_file_release(file);
        if (e != OK) {
            *timestamp = -1;
            return e == E_NOT_FOUND ? OK : e;
        }
        segment->first_timestamp = first.header.max_timestamp;
        segment->first_timestamp_known = true;
    }
    *timestamp = segment->first_timestamp;
    return OK;
}

err segment_find_last(struct segment *segment, struct placed_batch *found)
{
    int64_t size_bytes = atomic_load(&segment->size_bytes);
    struct open_file *file = NULL;
    struct scan scan;
    struct seek seek;
    if (size_bytes == 0) {
        return E_NOT_FOUND;
    }
    TRY(segment_file(segment, &file));
    int fd = open_file_fd(file);
    struct placed_batch next;
    err e = segment_seek(segment, fd, INT64_MAX - 1, size_bytes, &seek);
    if (e == OK) {
        scan_init(&scan, segment->offsets.env->fs, fd, seek.position, size_bytes);
        e = scan_next(&scan, &next.header, &next.position);
    }
    while (e == OK) {
        *found = next;
        e = scan_next(&scan, &next.header, &next.position);
    }
    open_file_release(file);
    return e == E_NOT_FOUND ? OK : e;
}

/* Is the entry true, as far as its batch and its neighbours tell? *position: of its batch. */
static err time_entry_confirm(struct segment *segment, int fd, int32_t n, int64_t size_bytes,
                              struct time_entry *entry, int64_t *position)
{
    struct time_entry before = {.timestamp = -1};
    struct time_entry after = {.timestamp = INT64_MAX, .relative = INT32_MAX};
    struct placed_batch placed;
    TRY(time_index_get(&segment->times, n, entry));
    if (n > 0) {
        TRY(time_index_get(&segment->times, n - 1, &before));
    }
    err e = time_index_get(&segment->times, n + 1, &after);
    TRY(is_lost(e) ? OK : e);
    if (entry->relative < before.relative || entry->relative > after.relative ||
        entry->timestamp <= before.timestamp || entry->timestamp >= after.timestamp) {
        return E_CORRUPT;
    }
    int64_t offset = segment->base_offset + entry->relative;
    e = segment_find(segment, fd, offset, size_bytes, &placed);
    if (e == E_NOT_FOUND || e == E_TRUNCATED ||
        (e == OK &&
         (placed.header.base_offset > offset || placed.header.max_timestamp != entry->timestamp))) {
        return E_CORRUPT;
    }
    *position = placed.position;
    return e;
}

err segment_seek_time(struct segment *segment, int fd, int64_t timestamp, int64_t size_bytes,
                      int64_t *position)
{
    int32_t limit = INT32_MAX;
    *position = 0;
    for (int i = 0; i < TRIES_MAX && limit > 0; i++) {
        struct time_entry entry;
        err e = index_lower_bound(&segment->times, COLUMN_TIMESTAMP, timestamp, limit, &limit);
        if (e == OK && limit == 0) {
            return OK;
        }
        e = e == OK ? time_entry_confirm(segment, fd, --limit, size_bytes, &entry, position) : e;
        if (e == OK && entry.timestamp < timestamp) {
            return OK;
        }
        *position = 0;
        TRY(e == OK || e == E_CORRUPT || is_lost(e) ? OK : e);
        suspect(segment);
    }
    return OK;
}

/* The last time entry and where its batch is; timestamp -1 and 0 if it tells nothing. */
static err last_time_entry(struct segment *segment, int fd, int64_t size_bytes,
                           struct time_entry *last, int64_t *position)
{
    int32_t count = 0;
    err e = index_count(&segment->times, &count);
    if (e == OK && count > 0) {
        e = time_entry_confirm(segment, fd, count - 1, size_bytes, last, position);
    }
    if (e == OK && count > 0) {
        return OK;
    }
    *last = (struct time_entry){.timestamp = -1};
    *position = 0;
    TRY(e == OK || e == E_CORRUPT || is_lost(e) ? OK : e);
    if (e != OK) {
        suspect(segment);
    }
    return OK;
}

/* Looks at the batches from `scan` on for a larger timestamp. `sealed`: the last entry claims that there
 * is none; then only a few are looked at, unless one of them shows that entries are missing. */
static err look_for_larger(struct segment *segment, struct scan *scan, bool sealed,
                           int64_t *timestamp, int64_t *offset)
{
    struct placed_batch next;
    int64_t look_end = scan->next + SEALED_LOOK_BYTES;
    err e = OK;
    for (int n = 0; (e = scan_next(scan, &next.header, &next.position)) == OK; n++) {
        if (sealed && n > 1 && next.position > look_end) {
            return OK;
        }
        if (next.header.max_timestamp > *timestamp) {
            *timestamp = next.header.max_timestamp;
            *offset = batch_last_offset(&next.header);
            if (sealed) {
                suspect(segment);
                sealed = false;
            }
        }
    }
    return e == E_NOT_FOUND ? OK : e;
}

err segment_max_timestamp(struct segment *segment, bool sealed, int64_t *timestamp, int64_t *offset)
{
    struct time_entry last;
    int64_t position = 0;
    int64_t size_bytes = atomic_load(&segment->size_bytes);
    struct open_file *file = NULL;
    struct scan scan;
    TRY(segment_file(segment, &file));
    int fd = open_file_fd(file);
    err e = last_time_entry(segment, fd, size_bytes, &last, &position);
    *timestamp = last.timestamp;
    *offset = segment->base_offset + last.relative;
    if (e == OK) {
        scan_init(&scan, segment->offsets.env->fs, fd, position, size_bytes);
        e = look_for_larger(segment, &scan, sealed && last.timestamp >= 0, timestamp, offset);
    }
    open_file_release(file);
    return e;
}

void index_maker_init(struct index_maker *maker, struct segment *segment, int32_t interval_bytes)
{
    *maker = (struct index_maker){.segment = segment,
                                  .interval_bytes = interval_bytes,
                                  .max_timestamp = -1,
                                  .max_timestamp_offset = segment->base_offset};
}

err index_maker_begin(struct index_maker *maker)
{
    TRY(index_restart(&maker->segment->offsets));
    return index_restart(&maker->segment->times);
}

err index_maker_add(struct index_maker *maker, const struct batch *batch, int64_t position)
{
    CHECK(position >= maker->last_position);
    struct segment *segment = maker->segment;
    int64_t last = batch_last_offset(batch);
    if (batch->max_timestamp > maker->max_timestamp) {
        maker->max_timestamp = batch->max_timestamp;
        maker->max_timestamp_offset = last;
    }
    if (position - maker->last_position <= maker->interval_bytes) {
        return OK;
    }
    maker->last_position = position;
    TRY(offset_index_append(&segment->offsets, (int32_t)(last - segment->base_offset),
                            (int32_t)position));
    return time_index_append(&segment->times, maker->max_timestamp,
                             (int32_t)(maker->max_timestamp_offset - segment->base_offset));
}

err index_maker_end(struct index_maker *maker)
{
    struct segment *segment = maker->segment;
    TRY(time_index_append(&segment->times, maker->max_timestamp,
                          (int32_t)(maker->max_timestamp_offset - segment->base_offset)));
    TRY(index_write(&segment->offsets));
    return index_write(&segment->times);
}

err segment_mend(struct segment *segment, int32_t interval_bytes)
{
    struct index_maker maker;
    struct open_file *file = NULL;
    struct scan scan;
    struct placed_batch next;
    index_maker_init(&maker, segment, interval_bytes);
    TRY(segment_file(segment, &file));
    scan_init(&scan, segment->offsets.env->fs, open_file_fd(file), 0,
              atomic_load(&segment->size_bytes));
    err e = index_maker_begin(&maker);
    while (e == OK && (e = scan_next(&scan, &next.header, &next.position)) == OK) {
        e = index_maker_add(&maker, &next.header, next.position);
    }
    open_file_release(file);
    if (e != E_NOT_FOUND && e != E_CORRUPT && e != E_TRUNCATED) {
        return e;
    }
    TRY(index_maker_end(&maker));
    atomic_store(&segment->suspect, false);
    log_info("storage", "an index was made again file=%s", segment->log_path);
    return OK;
}

/* The producers of a log: what is loaded at an open, brought up to the end, and saved.
 *
 * A snapshot bears a CRC: one that does not fit is removed, the next older one is taken, and the
 * batches after it are replayed, from the log's first if there is none. Nothing is believed that the
 * log does not say. */
#define _GNU_SOURCE
#include "storage/plog_internal.h"

#include "base/log.h"
#include "base/planted.h"

#include <stdlib.h>

err plog_apply_batch(struct plog *log, struct segment *segment, const struct batch *batch,
                     const uint8_t *bytes, bool with_txnindex)
{
    struct marker marker;
    struct txn_entry aborted;
    bool control = batch_is_marker(batch);
    if (control) {
        TRY(marker_parse(bytes_of(bytes, (size_t)batch->size_bytes), &marker));
    }
    guard_lock(log);
    bool is_abort = producers_apply(&log->producers, batch, control ? &marker : NULL, &aborted);
    guard_unlock(log);
    return is_abort && with_txnindex ? txn_index_append(&segment->txns, &aborted) : OK;
}

/* The newest readable snapshot at or below `end_offset`; damaged ones are removed. One from before the first segment is of
 * no use: what was written in between is not there to be added. */
static err load_snapshot(struct plog *log, const struct name_list *names, int64_t end_offset,
                         struct producers *producers)
{
    err e = OK;
    bool loaded = false;
    for (size_t i = names->count; i > 0 && e == OK && !loaded; i--) {
        int64_t offset = 0;
        if (!segment_name_parse(names->names[i - 1], SUFFIX_SNAPSHOT, &offset) ||
            offset > end_offset || offset < log->segments[0]->base_offset) {
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
    size_t len = batch_is_marker(&placed->header) ? (size_t)placed->header.size_bytes : 0;
    uint8_t *bytes = malloc(len + 1);
    err e = bytes == NULL ? E_LIMIT : fs_read(log->env->fs, fd, bytes, len, placed->position);
    e = e == OK ? plog_apply_batch(log, segment, &placed->header, bytes, false) : e;
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

err plog_load_producers(struct plog *log, int64_t end_offset)
{
    struct name_list names;
    TRY(fs_list(log->env->fs, log->dir, &names));
    err e = plog_load_producers_from(log, &names, end_offset);
    name_list_deinit(&names);
    return e;
}

/* The snapshot is read without the guard, into a state that nobody sees yet. A reader beside a
 * truncation may see fewer transactions until the batches after it have been replayed; what it
 * could read of them is above the high watermark. */
err plog_load_producers_from(struct plog *log, const struct name_list *names, int64_t end_offset)
{
    CHECK(end_offset >= log->segments[0]->base_offset);
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
    log->producers.guards = before.guards;
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

err plog_drop_stray_snapshots(struct plog *log, const struct name_list *names, int64_t keep)
{
    int64_t newest_base = log_active(log)->base_offset;
    for (size_t i = 0; i < names->count; i++) {
        int64_t offset = 0;
        if (!segment_name_parse(names->names[i], SUFFIX_SNAPSHOT, &offset) ||
            log->segments[plog_segment_at(log, offset)]->base_offset == offset ||
            (offset == keep && offset > newest_base)) {
            continue;
        }
        char *path = segment_path(log->dir, offset, SUFFIX_SNAPSHOT);
        err e = fs_unlink(log->env->fs, path);
        free(path);
        TRY(e);
    }
    return OK;
}

err plog_producers(struct plog *log, struct arena *arena, struct producer_info **infos,
                   int32_t *count)
{
    size_t n = log->producers.by_id.count;
    *count = 0;
    *infos = arena_array(arena, n == 0 ? 1 : n, sizeof(**infos));
    if (*infos == NULL) {
        return E_LIMIT;
    }
    map_each (entry, &log->producers.by_id) {
        const struct producer *producer = entry->value;
        int last = producer->batches_n - 1;
        (*infos)[(*count)++] = (struct producer_info){
            .producer_id = producer->id,
            .epoch = producer->epoch,
            .last_sequence = last < 0 ? -1 : producer->batches[last].last_sequence,
            .last_timestamp = producer->last_timestamp,
            .coordinator_epoch = producer->coordinator_epoch,
            .txn_start_offset = producer->txn_first_offset,
        };
    }
    return OK;
}

uint64_t plog_verify_txn(struct plog *log, int64_t producer_id, int16_t epoch, int32_t sequence)
{
    plog_take_config(log);
    return log->config.verify_transactions && !planted(MISTAKE_NO_VERIFICATION)
               ? producers_verify(&log->producers, producer_id, epoch, sequence,
                                  clock_wall_ms(log->env->clock))
               : 0;
}

void plog_txn_verified(struct plog *log, int64_t producer_id, uint64_t guard)
{
    producers_verified(&log->producers, producer_id, guard);
}

void plog_expire_producers(struct plog *log)
{
    plog_take_config(log);
    producers_expire(&log->producers, clock_wall_ms(log->env->clock),
                     log->config.producer_id_expiration_ms);
}

/* Only when something happened since the newest one. */
err plog_take_snapshot(struct plog *log, bool sync)
{
    CHECK(log->producers.end_offset >= 0);
    if (log->producers.end_offset <= log->snapshot_offset) {
        return OK;
    }
    char *path = segment_path(log->dir, log->producers.end_offset, SUFFIX_SNAPSHOT);
    err e = producers_save(&log->producers, log->env->fs, path, sync);
    if (err_is_no_room(e)) {
        err_ignore(fs_unlink(log->env->fs, path)); /* half of one is passed over too */
    }
    free(path);
    TRY(e);
    log->snapshot_offset = log->producers.end_offset;
    atomic_store(&log->entries_dirty, true);
    return OK;
}

/* Readers of the former log see those of the copy from then on, which have what is there. */
static void exchange_producers(struct plog *log, struct plog *former)
{
    struct producers none;
    producers_init(&none);
    guard_lock(log); /* nobody reads it yet */
    struct producers own = log->producers;
    log->producers = none;
    guard_unlock(log);
    guard_lock(former);
    struct producers taken = former->producers;
    former->producers = own;
    plog_count_txns_locked(former);
    guard_unlock(former);
    guard_lock(log);
    log->producers = taken;
    plog_count_txns_locked(log);
    guard_unlock(log);
}

err plog_take_producers(struct plog *log, struct plog *former)
{
    exchange_producers(log, former);
    log->touched = true;
    log->snapshot_offset = -1; /* the copy's own says less */
    err e = plog_take_snapshot_if_room(log);
    if (e != OK) {
        exchange_producers(log, former);
    }
    return e;
}

err plog_take_snapshot_if_room(struct plog *log)
{
    err e = plog_take_snapshot(log, false);
    return err_is_no_room(e) ? OK : e;
}

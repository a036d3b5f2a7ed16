/* Changes of the list of segments: roll, truncation, retention, deletion.
 *
 * Order on the disk, so that a crash in between leaves a log that loads: a roll creates the new
 * files last; retention renames from the oldest, truncation from the newest, so what is left is
 * always one run of segments. A renamed file is forgotten by the file cache after the rename: from
 * then on nobody can open it under its old name.
 *
 * Readers are beside us: the list and the offsets change under the guard; a reader that held a
 * segment meanwhile finds it `dropped`, or its files shorter, sees that `cuts` moved, and asks
 * again.
 *
 * Directory entries are synced by the next plog_flush(): until then nothing new is promised. */
#define _GNU_SOURCE
#include "storage/plog_internal.h"

#include "base/log.h"
#include "base/planted.h"

#include <fcntl.h>
#include <stdlib.h>

static int64_t jitter_of(struct random *random, const struct log_config *config)
{
    int64_t limit = config->segment_jitter_ms < config->segment_ms ? config->segment_jitter_ms
                                                                   : config->segment_ms;
    if (limit <= 0) {
        return 0;
    }
    return (int64_t)(random_u64(random) % (uint64_t)limit);
}

static err roll_to(struct plog *log, struct segment *active, int64_t base_offset)
{
    CHECK(log->sealing_at == base_offset);
    TRY(segment_seal(active));
    log->producers.end_offset = base_offset;
    /* With all of its batches on disk, recovery would begin behind it: nothing makes its indexes
     * again, so that they have to be there. Kafka loses them at a power cut. */
    bool behind_recovery = plog_recovery_point(log) >= base_offset;
    TRY(plog_take_snapshot(log, behind_recovery));
    if (behind_recovery) { /* a sync that fails is final, whatever for */
        LOG_TRY(log, segment_flush(active, true), "rolling");
        LOG_TRY(log, plog_flush_entries(log), "rolling");
    }
    struct segment *next = NULL;
    struct segment_place place = log_place(log);
    TRY(segment_create(&place, base_offset, &next));
    next->jitter_ms = jitter_of(log->env->random, &log->config);
    atomic_store(&log->entries_dirty, true);
    plog_add_segment(log, next);
    if (planted(MISTAKE_RECOVERY_POINT_BEFORE_DATA)) {
        atomic_store(&log->recovery_point, base_offset);
    }
    log->touched = true;
    log_debug(AREA, "rolled dir=%s base_offset=%lld", log->dir, (long long)base_offset);
    return OK;
}

static void note_sealing(struct plog *log, int64_t base_offset)
{
    guard_lock(log);
    log->sealing_at = base_offset;
    pthread_cond_broadcast(&log->changed);
    guard_unlock(log);
}

static err take_back_roll(struct plog *log, int64_t end)
{
    size_t last = log->segments_n - 1;
    if (log_active(log)->base_offset > end) {
        TRY(plog_drop_segments(log, last, last + 1));
    }
    if (log->snapshot_offset > end) {
        TRY(plog_drop_snapshots_above(log, end));
        log->snapshot_offset = -1; /* the next one is taken in any case */
    }
    log->producers.end_offset = end;
    return OK;
}

err plog_take_back_roll(struct plog *log)
{
    int64_t end = plog_end_offset(log);
    if (plog_is_offline(log) || log->producers.end_offset <= end) {
        return OK;
    }
    LOG_TRY(log, take_back_roll(log, end), "taking back a roll");
    plog_check(log);
    return OK;
}

/* Until the new segment stands in the list a flush beside us does not move the recovery point to its
 * base: whether the one before is flushed here is decided by where that point is. What is sealed may be sealed again,
 * and until then be longer. */
err plog_roll_at(struct plog *log, int64_t base_offset)
{
    CHECK(base_offset >= log_active(log)->base_offset);
    struct segment *active = log_active(log);
    if (active->base_offset == base_offset && atomic_load(&active->size_bytes) == 0) {
        return OK;
    }
    note_sealing(log, base_offset);
    err e = roll_to(log, active, base_offset);
    note_sealing(log, -1);
    if (err_is_no_room(e)) {
        TRY(plog_take_back_roll(log));
    }
    return plog_refuse(log, e);
}

err plog_roll(struct plog *log)
{
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    TRY(plog_activate(log));
    plog_take_config(log);
    LOG_TRY(log, plog_roll_at(log, plog_end_offset(log)), "rolling");
    plog_check(log);
    return OK;
}

err plog_skip_to(struct plog *log, int64_t offset)
{
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    CHECK(offset > plog_end_offset(log));
    TRY(plog_activate(log));
    plog_take_config(log);
    LOG_TRY(log, plog_roll_at(log, offset), "rolling");
    guard_lock(log);
    atomic_store(&log->end_offset, offset);
    guard_unlock(log);
    plog_check(log);
    return OK;
}

static err file_delete_now(struct plog *log, const char *path)
{
    TRY(fs_unlink(log->env->fs, path));
    file_cache_forget(log->env->files, path);
    atomic_store(&log->entries_dirty, true);
    return OK;
}

/* `path` becomes "<path>.deleted" and is removed later; at once where its room is needed. A missing file is fine. */
static err file_delete_later(struct plog *log, const char *path)
{
    if (health_is_full(log->health)) {
        return file_delete_now(log, path);
    }
    char *renamed = xasprintf("%s%s", path, SUFFIX_DELETED);
    err e = fs_rename(log->env->fs, path, renamed);
    if (e != OK) {
        free(renamed);
        return err_to_errno(e) == ENOENT ? OK : err_is_no_room(e) ? file_delete_now(log, path) : e;
    }
    file_cache_forget(log->env->files, path);
    guard_lock(log);
    if (log->deleted_n == log->deleted_cap) {
        log->deleted_cap = log->deleted_cap == 0 ? 8 : log->deleted_cap * 2;
        log->deleted = xrealloc(log->deleted, log->deleted_cap * sizeof(*log->deleted));
    }
    int64_t due_ms = clock_monotonic_ms(log->env->clock) + log->config.file_delete_delay_ms;
    log->deleted[log->deleted_n++] = (struct deleted_file){.path = renamed, .due_ms = due_ms};
    guard_unlock(log);
    atomic_store(&log->entries_dirty, true);
    return OK;
}

err plog_delete_files(struct plog *log, struct segment *segment, bool keep_snapshot)
{
    static const char *const SUFFIXES[] = {SUFFIX_INDEX, SUFFIX_TIMEINDEX, SUFFIX_TXNINDEX,
                                           SUFFIX_SNAPSHOT};
    size_t suffixes_n = sizeof(SUFFIXES) / sizeof(SUFFIXES[0]) - (keep_snapshot ? 1 : 0);
    atomic_store(&segment->dropped, true);
    txn_index_retire(&segment->txns);
    TRY(file_delete_later(log, segment->log_path));
    for (size_t i = 0; i < suffixes_n; i++) {
        char path[PATH_MAX];
        segment_sibling(segment->log_path, SUFFIXES[i], path);
        TRY(file_delete_later(log, path));
    }
    return OK;
}

err plog_drop_segments(struct plog *log, size_t from, size_t to)
{
    CHECK(from <= to && to <= log->segments_n);
    if (from == to) {
        return OK;
    }
    bool newest_first = to == log->segments_n;
    size_t count = to - from;
    struct segment **dropped = xcalloc(count, sizeof(struct segment *));
    cut_begin(log);
    guard_lock(log);
    int64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        dropped[i] = log->segments[newest_first ? to - 1 - i : from + i];
        bytes += atomic_load(&dropped[i]->size_bytes);
    }
    memmove(log->segments + from, log->segments + to,
            (log->segments_n - to) * sizeof(*log->segments));
    log->segments_n -= count;
    if (newest_first) {
        log->tail_count = 0;
    }
    atomic_fetch_sub(&log->size_bytes, bytes);
    guard_unlock(log);
    err e = OK;
    for (size_t i = 0; i < count; i++) {
        e = e == OK ? plog_delete_files(log, dropped[i], false) : e;
        segment_release(dropped[i]);
    }
    free(dropped);
    if (e != OK) { /* they may come back at the next start: plog_start_to_checkpoint() */
        atomic_store(&log->entries_dirty, true);
    }
    cut_end(log);
    return e;
}

err plog_drop_snapshots_above(struct plog *log, int64_t offset)
{
    struct name_list names;
    TRY(fs_list(log->env->fs, log->dir, &names));
    err e = OK;
    for (size_t i = 0; i < names.count && e == OK; i++) {
        int64_t at = 0;
        if (segment_name_parse(names.names[i], SUFFIX_SNAPSHOT, &at) && at > offset) {
            char *path = xasprintf("%s/%s", log->dir, names.names[i]);
            e = fs_unlink(log->env->fs, path);
            free(path);
        }
    }
    name_list_deinit(&names);
    return e;
}

/* Where the batch that holds `offset` begins, or the segment's size. */
static err cut_position(struct segment *segment, int64_t offset, int64_t *position)
{
    struct open_file *file = NULL;
    struct placed_batch first;
    int64_t size = atomic_load(&segment->size_bytes);
    TRY(segment_file(segment, &file));
    err e = segment_find(segment, open_file_fd(file), offset, size, &first);
    open_file_release(file);
    *position = e == OK ? first.position : size;
    return e == E_NOT_FOUND ? OK : e;
}

/* Cuts the files of a segment, whose published size is the cut's position already. */
static err segment_cut(struct plog *log, struct segment *segment, int64_t offset)
{
    CHECK(offset >= segment->base_offset);
    struct open_file *file = NULL;
    int64_t position = atomic_load(&segment->size_bytes);
    TRY(segment_file(segment, &file));
    open_file_cut(log->env->files, file, position);
    err e = fs_truncate(log->env->fs, open_file_fd(file), position);
    open_file_release(file);
    TRY(e);
    int32_t keep = 0;
    int64_t relative = offset - segment->base_offset;
    TRY(index_run_below(&segment->offsets, COLUMN_OFFSET, relative, &keep));
    TRY(index_truncate(&segment->offsets, keep));
    TRY(index_run_below(&segment->times, COLUMN_OFFSET, relative, &keep));
    TRY(index_truncate(&segment->times, keep));
    TRY(txn_index_truncate(&segment->txns, offset));
    atomic_store(&segment->log_dirty, true);
    segment->bytes_since_index = 0;
    if (position == 0) {
        segment->first_timestamp_known = false;
        segment->created_ms = clock_wall_ms(log->env->clock);
    }
    int64_t timestamp = -1;
    int64_t timestamp_offset = segment->base_offset;
    TRY(segment_max_timestamp(segment, false, &timestamp, &timestamp_offset));
    guard_lock(log);
    segment->max_timestamp = timestamp;
    segment->max_timestamp_offset = timestamp_offset;
    segment->max_timestamp_known = true;
    guard_unlock(log);
    return OK;
}

/* Under the guard. */
static void promise_less(struct plog *log, int64_t offset)
{
    if (plog_recovery_point(log) > offset) {
        atomic_store(&log->recovery_point, offset);
    }
}

void plog_promise_less(struct plog *log, int64_t offset)
{
    CHECK(offset >= 0);
    guard_lock(log);
    promise_less(log, offset);
    guard_unlock(log);
}

/* First nobody may see what goes, and the recovery point may not promise it; then the files. */
static err truncate_to(struct plog *log, int64_t offset)
{
    CHECK(offset >= log->segments[0]->base_offset && offset <= plog_end_offset(log));
    size_t keep = plog_segment_at(log, offset);
    struct segment *segment = log->segments[keep];
    int64_t position = 0;
    TRY(cut_position(segment, offset, &position));
    guard_lock(log);
    atomic_store(&log->end_offset, offset);
    atomic_fetch_add(&log->truncations, 1);
    promise_less(log, offset);
    if (plog_start_offset(log) > offset) {
        atomic_store(&log->start_offset, offset);
    }
    if (plog_cleaned_to(log) > segment->base_offset) {
        atomic_store(&log->cleaned_to, segment->base_offset);
    }
    atomic_fetch_sub(&log->size_bytes, atomic_load(&segment->size_bytes) - position);
    atomic_store(&segment->size_bytes, position);
    log->tail_count = 0;
    bool epochs_changed = epochs_truncate_end(&log->epochs, offset);
    guard_unlock(log);
    TRY(plog_drop_segments(log, keep + 1, log->segments_n));
    TRY(segment_cut(log, segment, offset));
    if (epochs_changed) {
        TRY(plog_write_epochs(log));
    }
    TRY(plog_drop_snapshots_above(log, offset));
    log->activated = log->touched = true;
    TRY(plog_load_producers(log, offset));
    return plog_take_snapshot_if_room(log);
}

/* Whoever led in it appended nothing here, and another leader may not know it. */
err plog_drop_empty_epoch(struct plog *log)
{
    guard_lock(log);
    bool changed = epochs_truncate_end(&log->epochs, plog_end_offset(log));
    guard_unlock(log);
    return changed ? plog_write_epochs(log) : OK;
}

err plog_truncate(struct plog *log, int64_t offset)
{
    CHECK(offset >= 0);
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    if (offset >= plog_end_offset(log)) {
        return plog_fail(log, plog_drop_empty_epoch(log), "writing leader epochs");
    }
    plog_take_config(log);
    log_info(AREA, "truncating dir=%s offset=%lld end_offset=%lld", log->dir, (long long)offset,
             (long long)plog_end_offset(log));
    if (offset < log->segments[0]->base_offset) {
        return plog_truncate_fully_and_start_at(log, offset);
    }
    plog_prove_epochs(log);
    err e =
        plog_refuse(log, plog_prove_txns(log, log->segments[plog_segment_at(log, offset)], true));
    if (e == OK) {
        cut_begin(log);
        e = truncate_to(log, offset);
        cut_end(log);
    }
    if (e == OK) {
        plog_check(log);
    }
    return plog_fail(log, e, "truncating");
}

static err empty_at(struct plog *log, int64_t offset)
{
    CHECK(offset >= 0 && atomic_load(&log->cutting) > 0);
    struct segment *fresh = NULL;
    guard_lock(log);
    size_t old = log->segments_n;
    int64_t old_size = atomic_load(&log->size_bytes);
    atomic_store(&log->start_offset, offset);
    atomic_store(&log->end_offset, offset);
    atomic_fetch_add(&log->truncations, 1);
    atomic_store(&log->recovery_point, offset);
    atomic_store(&log->cleaned_to, 0);
    log->tail_count = 0;
    producers_clear(&log->producers, offset);
    plog_count_txns_locked(log);
    bool epochs_changed = epochs_clear(&log->epochs);
    guard_unlock(log);
    for (size_t i = old; i > 0; i--) {
        TRY(plog_delete_files(log, log->segments[i - 1], false));
    }
    struct segment_place place = log_place(log);
    TRY(segment_create(&place, offset, &fresh));
    guard_lock(log);
    struct segment **dropped = log->segments;
    log->segments = xcalloc(1, sizeof(struct segment *));
    log->segments[0] = fresh;
    log->segments_n = log->segments_cap = 1;
    atomic_fetch_sub(&log->size_bytes, old_size);
    guard_unlock(log);
    for (size_t i = 0; i < old; i++) {
        segment_release(dropped[i]);
    }
    free(dropped);
    atomic_store(&log->entries_dirty, true);
    log->activated = log->touched = true;
    TRY(plog_drop_snapshots_above(log, -1));
    log->snapshot_offset = offset;
    return epochs_changed ? plog_write_epochs(log) : OK;
}

err plog_truncate_fully_and_start_at(struct plog *log, int64_t offset)
{
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    plog_take_config(log);
    log_info(AREA, "emptying the log dir=%s offset=%lld end_offset=%lld", log->dir,
             (long long)offset, (long long)plog_end_offset(log));
    cut_begin(log);
    err e = empty_at(log, offset);
    cut_end(log);
    if (e == OK) {
        plog_check(log);
    }
    return plog_fail(log, e, "emptying");
}

err plog_advance_start(struct plog *log, int64_t offset)
{
    CHECK(offset >= 0);
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    if (offset <= plog_start_offset(log)) {
        return OK;
    }
    if (offset > plog_end_offset(log)) {
        return ERR_OFFSET_OUT_OF_RANGE;
    }
    guard_lock(log);
    atomic_store(&log->start_offset, offset);
    bool changed = epochs_truncate_start(&log->epochs, offset);
    guard_unlock(log);
    return changed ? plog_fail(log, plog_write_epochs(log), "writing leader epochs") : OK;
}

err plog_retention_timestamp(struct plog *log, struct segment *segment, int64_t *timestamp)
{
    if (!segment->max_timestamp_known) {
        int64_t largest = -1;
        int64_t offset = segment->base_offset;
        err e = segment_max_timestamp(segment, segment != log_active(log), &largest, &offset);
        if (e == E_CORRUPT || e == E_TRUNCATED) {
            return segment_mtime_ms(segment, timestamp); /* never early */
        }
        TRY(e);
        guard_lock(log);
        segment->max_timestamp = largest;
        segment->max_timestamp_offset = offset;
        segment->max_timestamp_known = true;
        guard_unlock(log);
    }
    *timestamp = segment->max_timestamp;
    return *timestamp >= 0 ? OK : segment_mtime_ms(segment, timestamp);
}

enum retention_rule { RETAIN_START, RETAIN_SIZE, RETAIN_TIME };

/* How many of the oldest segments the rule lets go. */
static err count_deletable(struct plog *log, enum retention_rule rule, int64_t high_watermark,
                           size_t *count)
{
    const struct log_config *config = &log->config;
    int64_t excess = plog_size_bytes(log) - config->retention_bytes;
    int64_t now_ms = clock_wall_ms(log->env->clock);
    for (*count = 0; *count < log->segments_n; (*count)++) {
        struct segment *segment = log->segments[*count];
        bool last = *count + 1 == log->segments_n;
        int64_t size = atomic_load(&segment->size_bytes);
        bool goes = false;
        if (high_watermark < segment_end(log, *count) || (last && size == 0)) {
            return OK;
        }
        if (rule == RETAIN_START) {
            goes = !last && segment_end(log, *count) <= plog_start_offset(log);
        } else if (rule == RETAIN_SIZE) {
            goes = excess >= size;
            excess -= size;
        } else {
            int64_t timestamp = 0;
            TRY(plog_retention_timestamp(log, segment, &timestamp));
            goes = now_ms - timestamp > config->retention_ms;
        }
        if (!goes) {
            return OK;
        }
    }
    return OK;
}

static err apply_rule(struct plog *log, enum retention_rule rule, int64_t high_watermark,
                      int *deleted)
{
    size_t count = 0;
    TRY(count_deletable(log, rule, high_watermark, &count));
    CHECK(count <= log->segments_n);
    if (count == 0) {
        return OK;
    }
    if (count == log->segments_n) {
        TRY(plog_activate(log));
        TRY(plog_roll_at(log, plog_end_offset(log)));
    }
    int64_t start = log->segments[count]->base_offset;
    static const char *const REASONS[] = {"start offset", "retention.bytes", "retention.ms"};
    log_info(AREA, "deleting old segments dir=%s count=%zu reason=\"%s\" start_offset=%lld",
             log->dir, count, REASONS[rule], (long long)start);
    bool epochs_changed = false;
    guard_lock(log);
    if (start > plog_start_offset(log)) {
        atomic_store(&log->start_offset, start);
        epochs_changed = epochs_truncate_start(&log->epochs, start);
    }
    guard_unlock(log);
    TRY(plog_drop_segments(log, 0, count));
    plog_check(log);
    *deleted += (int)count;
    return epochs_changed ? plog_write_epochs(log) : OK;
}

/* One at a time: the partition's lock is held for a walk over a segment's headers. */
static err mend_one(struct plog *log)
{
    TRY(plog_write_due_epochs(log));
    for (size_t i = 0; i < log->segments_n; i++) {
        struct segment *segment = log->segments[i];
        if (atomic_load(&segment->suspect)) {
            log->touched = true;
            return segment_mend(segment, log->config.index_interval_bytes);
        }
        if (!txn_index_is_proven(&segment->txns)) {
            return plog_prove_txns(log, segment, true);
        }
    }
    return OK;
}

/* The active segment of a log whose records are all deleted holds room for nothing. */
static err seal_if_empty(struct plog *log, int64_t high_watermark)
{
    int64_t end = plog_end_offset(log);
    if (!health_is_full(log->health) || plog_start_offset(log) < end || high_watermark < end) {
        return OK;
    }
    TRY(plog_activate(log));
    return plog_roll_at(log, end);
}

err plog_apply_retention(struct plog *log, int64_t high_watermark, int *deleted)
{
    *deleted = 0;
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    plog_take_config(log);
    err e = mend_one(log);
    e = err_is_no_room(e) ? OK : plog_read_fail(log, e, "mending an index");
    if (e == ERR_KAFKA_STORAGE_ERROR) {
        return e;
    }
    LOG_TRY(log, seal_if_empty(log, high_watermark), "rolling");
    LOG_TRY(log, apply_rule(log, RETAIN_START, high_watermark, deleted), "deleting segments");
    if (log->config.cleanup_delete) {
        if (log->config.retention_bytes >= 0) {
            LOG_TRY(log, apply_rule(log, RETAIN_SIZE, high_watermark, deleted),
                    "deleting segments");
        }
        if (log->config.retention_ms >= 0) {
            LOG_TRY(log, apply_rule(log, RETAIN_TIME, high_watermark, deleted),
                    "deleting segments");
        }
    }
    return OK;
}

int64_t plog_remove_deleted(struct plog *log)
{
    for (;;) {
        char *path = NULL;
        int64_t wait_ms = -1;
        guard_lock(log);
        if (log->deleted_n >
            0) { /* in order of deletion, which is nearly the order of their times */
            wait_ms = log->deleted[0].due_ms - clock_monotonic_ms(log->env->clock);
            wait_ms = health_is_full(log->health) || wait_ms < 0 ? 0 : wait_ms;
        }
        if (wait_ms == 0) {
            path = log->deleted[0].path;
            log->deleted_n--;
            memmove(log->deleted, log->deleted + 1, log->deleted_n * sizeof(*log->deleted));
        }
        guard_unlock(log);
        if (path == NULL) {
            return wait_ms;
        }
        err e = fs_unlink(log->env->fs, path);
        if (e != OK) {
            log_warn(AREA, "cannot remove a deleted file path=%s error=\"%s\"", path, err_text(e));
        }
        free(path);
    }
}

/* Compaction of one log: what is dirty, one pass over it, and the cleaned segment's way into the log.
 *
 * A pass reads the dirty part for its keys, then all segments up to where the keys are known, in groups that fit one
 * segment again. A group becomes one file beside the log, whole and on the disk; then, for a moment under the
 * partition's lock, its segments are looked at once more (a truncation or a deletion beside us wins), and names
 * change: .cleaned to .swap, from where on the next start would finish it; the old files to .deleted; .swap to the
 * final name. Readers hold the old files, or find their segment dropped and look again.
 *
 * Only what is flushed is cleaned, so that a hole that compaction makes is never one that a crash might have made. */
#define _GNU_SOURCE
#include "storage/plog_internal.h"

#include "base/log.h"
#include "base/planted.h"
#include "storage/clean.h"
#include "storage/clean_files.h"
#include "storage/whole_scan.h"

#include <stdlib.h>

/* ---- what is dirty ---- */

/* The first whose largest timestamp is younger than the lag, of those from `first` on that are not active. */
static err young_segment(struct plog *log, size_t first, int64_t lag_ms, size_t *young)
{
    int64_t limit_ms = clock_wall_ms(log->env->clock) - lag_ms;
    for (*young = first; *young + 1 < log->segments_n; (*young)++) {
        int64_t timestamp = 0;
        TRY(plog_retention_timestamp(log, log->segments[*young], &timestamp));
        if (timestamp > limit_ms) {
            return OK;
        }
    }
    return OK;
}

/* By max.compaction.lag.ms, of segments [from, to). */
static err look_for_late(struct plog *log, size_t from, size_t to, struct plog_dirt *dirt)
{
    int64_t lag_ms = log->config.max_compaction_lag_ms;
    int64_t now_ms = clock_wall_ms(log->env->clock);
    for (size_t i = from; lag_ms < INT64_MAX && i < to; i++) {
        int64_t timestamp = 0;
        TRY(segment_first_timestamp(log->segments[i], &timestamp));
        if (timestamp > 0 && now_ms - timestamp > lag_ms) {
            dirt->is_late = true;
        } else if (timestamp > 0 && timestamp < dirt->look_ms - lag_ms - 1) {
            dirt->look_ms = timestamp + lag_ms + 1;
        }
    }
    return OK;
}

/* By retention.ms, where the topic's records are deleted, too. */
static err look_for_old(struct plog *log, struct plog_dirt *dirt)
{
    int64_t timestamp = 0;
    int64_t retention_ms = log->config.retention_ms;
    if (!log->config.cleanup_delete || retention_ms < 0 || plog_size_bytes(log) == 0) {
        return OK;
    }
    TRY(plog_retention_timestamp(log, log->segments[0], &timestamp));
    if (timestamp <= INT64_MAX - 1 - retention_ms && timestamp + retention_ms + 1 < dirt->look_ms) {
        dirt->look_ms = timestamp + retention_ms + 1;
    }
    return OK;
}

static err find_dirt(struct plog *log, int64_t last_stable_offset, struct plog_dirt *dirt)
{
    int64_t from = plog_cleaned_to(log);
    int64_t start = plog_start_offset(log);
    from = from < start || from > plog_end_offset(log) ? start : from;
    *dirt = (struct plog_dirt){
        .first_dirty = from, .look_ms = INT64_MAX, .truncations = atomic_load(&log->truncations)};
    size_t first = plog_segment_at(log, from);
    size_t end = log->segments_n - 1;
    int64_t limit = last_stable_offset < plog_recovery_point(log) ? last_stable_offset
                                                                  : plog_recovery_point(log);
    if (planted(MISTAKE_CLEANS_UNDECIDED)) {
        limit = plog_recovery_point(log);
    }
    size_t unstable = plog_segment_at(log, limit);
    end = unstable < end ? unstable : end;
    if (log->config.min_compaction_lag_ms > 0) {
        size_t young = end;
        int64_t lag_ms = log->config.min_compaction_lag_ms;
        TRY(young_segment(log, first, lag_ms, &young));
        if (young < end) {
            end = young;
            TRY(plog_retention_timestamp(log, log->segments[young], &dirt->look_ms));
            dirt->look_ms += lag_ms;
        }
    }
    dirt->end = log->segments[end]->base_offset;
    for (size_t i = 0; i < end; i++) {
        int64_t size = atomic_load(&log->segments[i]->size_bytes);
        dirt->clean_bytes += log->segments[i]->base_offset < from ? size : 0;
        dirt->dirty_bytes += i >= first ? size : 0;
    }
    TRY(look_for_late(log, first, end, dirt));
    return look_for_old(log, dirt);
}

err plog_find_dirt(struct plog *log, int64_t last_stable_offset, struct plog_dirt *dirt)
{
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    plog_take_config(log);
    return plog_read_fail(log, find_dirt(log, last_stable_offset, dirt), "looking for dirt");
}

double plog_dirt_ratio(const struct plog_dirt *dirt)
{
    int64_t all = dirt->clean_bytes + dirt->dirty_bytes;
    return all == 0 ? 0 : (double)dirt->dirty_bytes / (double)all;
}

/* ---- a pass ---- */

/* The aborted transactions, read from the indexes of one segment after the other. A transaction is in that of its
 * marker, which may be far behind its records. */
struct aborted_reader {
    struct clean_txns *txns;
    size_t next;           /* segment of the list */
    int64_t stable_offset; /* all that began below it are read */
};

struct pass {
    struct plog *log;
    const struct plog_clean *how;
    struct plog_cleaned *cleaned;
    struct log_config config;
    struct segment_list list;
    struct segment **segments; /* the list's */
    size_t segments_n;         /* those that may be cleaned */
    int64_t end;               /* where they end */
    int64_t first_dirty;
    uint32_t truncations;
    struct clean_map map;
    struct clean clean;
    struct aborted_reader aborted; /* for `clean` */
    struct writer out;
    int64_t untold_bytes; /* read or written, and not yet told to go_on */
};

/* Under the lock: the segments that end at or below dirt->end. It was found before: in a log that was cut since it tells
 * nothing of what is stable, and in a copy that has taken the log's place it may lie within a segment, of which
 * what is beyond it may be undecided. */
static err take_segments(struct pass *pass, const struct plog_dirt *dirt)
{
    struct plog *log = pass->log;
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    if (log->truncations != dirt->truncations) {
        return E_BUSY;
    }
    plog_take_config(log);
    pass->config = log->config;
    pass->truncations = log->truncations;
    plog_segments_take(log, &pass->list);
    pass->segments = pass->list.segments;
    while (pass->segments_n + 1 < pass->list.count &&
           pass->segments[pass->segments_n + 1]->base_offset <= dirt->end) {
        pass->segments_n++;
    }
    pass->end = pass->segments[pass->segments_n]->base_offset;
    pass->first_dirty = dirt->first_dirty;
    return pass->segments_n > 0 && pass->first_dirty < pass->end ? OK : E_BUSY;
}

static err pass_begin(struct pass *pass, struct plog *log, const struct plog_dirt *dirt,
                      const struct plog_clean *how, struct plog_cleaned *cleaned)
{
    *pass = (struct pass){.log = log, .how = how, .cleaned = cleaned};
    how->lock(how->context);
    err e = take_segments(pass, dirt);
    how->unlock(how->context);
    clean_init(&pass->clean, &pass->map, clock_wall_ms(log->env->clock),
               pass->config.delete_retention_ms);
    pass->aborted = (struct aborted_reader){.txns = &pass->clean.txns};
    writer_init(&pass->out, SIZE_MAX);
    TRY(e);
    return clean_map_init(&pass->map, how->map_bytes, how->map_load, pass->first_dirty, pass->end,
                          log->env->random);
}

static void pass_end(struct pass *pass)
{
    plog_segments_release(&pass->list);
    clean_map_deinit(&pass->map);
    clean_deinit(&pass->clean);
    writer_deinit(&pass->out);
}

static int64_t pass_segment_end(const struct pass *pass, size_t i)
{
    return i + 1 < pass->segments_n ? pass->segments[i + 1]->base_offset : pass->end;
}

static err go_on_now(struct pass *pass)
{
    if (pass->untold_bytes == 0) {
        return OK;
    }
    bool yes = pass->how->go_on(pass->how->context, pass->untold_bytes);
    pass->untold_bytes = 0;
    return yes ? OK : E_BUSY;
}

static err go_on(struct pass *pass, int64_t bytes)
{
    pass->untold_bytes += bytes;
    return pass->untold_bytes < (int64_t)pass->how->io_bytes ? OK : go_on_now(pass);
}

/* Damage is said here, and is E_CORRUPT, unless the log was cut or trimmed beside us; other errors speak for
 * themselves. */
static err say_damage(const struct pass *pass, const struct segment *segment, int64_t position,
                      err e)
{
    if (e != E_CORRUPT && e != E_TRUNCATED && e != E_MALFORMED) {
        return e;
    }
    if (atomic_load(&pass->log->truncations) != pass->truncations ||
        atomic_load(&segment->dropped)) {
        return E_BUSY;
    }
    log_error(AREA, "cleaning met damage: nothing was changed file=%s position=%lld error=\"%s\"",
              segment->log_path, (long long)position, err_text(e));
    return E_CORRUPT;
}

static bool note_aborted(void *context, const struct txn_entry *entry)
{
    struct aborted_reader *reader = context;
    clean_txns_add(reader->txns, entry);
    if (entry->last_stable_offset > reader->stable_offset) {
        reader->stable_offset = entry->last_stable_offset;
    }
    return true;
}

/* All that overlap what is below `offset`. */
static err read_aborted(struct pass *pass, struct aborted_reader *reader, int64_t offset)
{
    while (reader->next < pass->list.count && reader->stable_offset < offset) {
        struct segment *segment = pass->segments[reader->next++];
        err e = plog_prove_txns(pass->log, segment, true);
        e = e == OK ? txn_index_each(&segment->txns, note_aborted, reader) : e;
        TRY(say_damage(pass, segment, 0, e));
    }
    return OK;
}

/* Calls `each` for every batch of a segment. It sets *done to end the walk early. `drop_cache`: nobody will read it
 * again. */
static err each_batch(struct pass *pass, struct segment *segment,
                      err (*each)(struct pass *pass, struct bytes bytes, const struct batch *batch,
                                  void *context, bool *done),
                      void *context, bool drop_cache, bool *done)
{
    struct fs *fs = pass->log->env->fs;
    struct open_file *file = NULL;
    struct whole_scan scan;
    struct batch batch;
    const uint8_t *bytes = NULL;
    int64_t size_bytes = atomic_load(&segment->size_bytes);
    TRY(segment_file(segment, &file));
    whole_scan_begin(&scan, fs, open_file_fd(file), size_bytes, pass->how->io_bytes);
    err e = OK;
    while (e == OK && !*done && (e = whole_scan_next(&scan, &batch, &bytes)) == OK) {
        e = each(pass, bytes_of(bytes, (size_t)batch.size_bytes), &batch, context, done);
        if (e == OK) {
            scan.position += batch.size_bytes;
            e = go_on(pass, batch.size_bytes);
        }
    }
    e = e == E_NOT_FOUND ? OK : say_damage(pass, segment, scan.position, e);
    if (e == OK && drop_cache) {
        fs_drop_cache(fs, open_file_fd(file), size_bytes);
    }
    whole_scan_end(&scan);
    open_file_release(file);
    return e;
}

/* ---- the map ---- */

static err map_batch(struct pass *pass, struct bytes bytes, const struct batch *batch,
                     void *context, bool *full)
{
    return clean_map_batch(&pass->map, context, bytes, batch, pass->first_dirty,
                           &pass->clean.scratch, full);
}

static err fill_map(struct pass *pass)
{
    struct clean_txns txns;
    struct aborted_reader aborted = {.txns = &txns};
    bool full = false;
    err e = OK;
    clean_txns_init(&txns);
    for (size_t i = 0; i < pass->segments_n && e == OK && !full; i++) {
        int64_t end = pass_segment_end(pass, i);
        if (end <= pass->first_dirty) {
            continue;
        }
        aborted.next = aborted.next < i ? i : aborted.next;
        e = read_aborted(pass, &aborted, end);
        e = e == OK ? each_batch(pass, pass->segments[i], map_batch, &txns, false, &full) : e;
        if (e == OK && !full) {
            clean_map_passed(&pass->map, end - 1);
        }
    }
    clean_txns_deinit(&txns);
    pass->cleaned->keys = pass->map.count;
    return e == OK ? go_on_now(pass) : e;
}

/* ---- groups ---- */

/* What goes into one cleaned segment: [from, to) of pass->segments. */
struct group {
    size_t from;
    size_t to;
    struct clean_files files;
};

static err index_bytes(struct segment *segment, int64_t *offsets, int64_t *times)
{
    int32_t n = 0;
    TRY(index_count(&segment->offsets, &n));
    *offsets += (int64_t)n * OFFSET_ENTRY_BYTES;
    TRY(index_count(&segment->times, &n));
    *times += (int64_t)n * TIME_ENTRY_BYTES;
    return OK;
}

/* As many as fit one segment, by their sizes before they are cleaned. */
static err find_group(const struct pass *pass, struct group *group)
{
    int64_t bytes = 0;
    int64_t offsets = 0;
    int64_t times = 0;
    int64_t index_max = pass->config.segment_index_bytes;
    int64_t base = pass->segments[group->from]->base_offset;
    group->to = group->from;
    while (group->to < pass->segments_n &&
           pass->segments[group->to]->base_offset <= pass->map.latest_offset) {
        struct segment *segment = pass->segments[group->to];
        int64_t size = atomic_load(&segment->size_bytes);
        bytes += size;
        TRY(index_bytes(segment, &offsets, &times));
        bool fits = bytes <= pass->config.segment_bytes && offsets <= index_max &&
                    times <= index_max &&
                    (size == 0 || planted(MISTAKE_MERGES_TOO_FAR) ||
                     pass_segment_end(pass, group->to) - 1 - base <= INT32_MAX);
        if (!fits && group->to > group->from) {
            return OK;
        }
        group->to++;
    }
    return OK;
}

static void note_producers(struct pass *pass)
{
    struct plog *log = pass->log;
    clean_forget_producers(&pass->clean);
    pass->how->lock(pass->how->context);
    map_each (entry, &log->producers.by_id) {
        const struct producer *producer = entry->value;
        int64_t last =
            producer->batches_n == 0 ? -1 : producer->batches[producer->batches_n - 1].last_offset;
        clean_note_producer(&pass->clean, producer->id,
                            (struct clean_producer){.last_offset = last, .epoch = producer->epoch});
    }
    pass->how->unlock(pass->how->context);
}

/* Writes what has gathered. */
static err group_write(struct pass *pass, struct group *group)
{
    size_t len = pass->out.len;
    if (len == 0) {
        return OK;
    }
    TRY(clean_files_add(&group->files, bytes_of(pass->out.data, len)));
    writer_clear(&pass->out);
    return go_on(pass, (int64_t)len);
}

static err group_batch(struct pass *pass, struct bytes bytes, const struct batch *batch,
                       void *context, bool *done)
{
    struct group *group = context;
    struct cleaned left;
    (void)done;
    TRY(clean_batch(&pass->clean, bytes, batch, &pass->out, &left));
    if (left.has_aborted) {
        clean_files_add_txn(&group->files, &left.aborted);
    }
    return pass->out.len >= pass->how->io_bytes ? group_write(pass, group) : OK;
}

static err group_rewrite(struct pass *pass, struct group *group)
{
    struct segment **segments = pass->segments;
    int64_t mtime_ms = 0;
    bool done = false;
    TRY(clean_files_begin(&group->files, pass->log->env, pass->log->dir,
                          segments[group->from]->base_offset, pass->config.index_interval_bytes));
    note_producers(pass);
    writer_clear(&pass->out);
    for (size_t i = group->from; i < group->to; i++) {
        TRY(read_aborted(pass, &pass->aborted, pass_segment_end(pass, i)));
        TRY(each_batch(pass, segments[i], group_batch, group, true, &done));
        TRY(group_write(pass, group));
    }
    TRY(go_on_now(pass));
    TRY(segment_mtime_ms(segments[group->to - 1], &mtime_ms));
    return clean_files_finish(&group->files, mtime_ms);
}

/* ---- the swap, under the partition's lock ---- */

/* Where the group's segments are in the log's list; false when they are not those that were read. */
static bool find_olds(const struct pass *pass, const struct group *group, size_t *at)
{
    const struct plog *log = pass->log;
    size_t count = group->to - group->from;
    *at = plog_segment_at(log, pass->segments[group->from]->base_offset);
    if (*at + count >= log->segments_n) { /* the active one is none of them */
        return false;
    }
    return memcmp(log->segments + *at, pass->segments + group->from,
                  count * sizeof(*log->segments)) == 0 &&
           log->truncations == pass->truncations;
}

static err rename_files(struct plog *log, const struct pass *pass, const struct group *group)
{
    TRY(clean_files_rename(&group->files, SUFFIX_CLEANED, SUFFIX_SWAP));
    if (planted(MISTAKE_OLDS_LAST)) {
        TRY(clean_files_rename(&group->files, SUFFIX_SWAP, ""));
    }
    for (size_t i = group->from; i < group->to; i++) {
        bool keep_snapshot = i == group->from && !planted(MISTAKE_DROPS_SNAPSHOT);
        TRY(plog_delete_files(log, pass->segments[i], keep_snapshot));
    }
    return planted(MISTAKE_OLDS_LAST) ? OK : clean_files_rename(&group->files, SUFFIX_SWAP, "");
}

static struct segment *segment_of(const struct plog *log, const struct group *group)
{
    const struct clean_files *files = &group->files;
    struct segment_place place = log_place(log);
    struct segment *segment =
        segment_new(&place, files->base_offset, files->size_bytes, files->txns.len > 0);
    segment->max_timestamp = files->max_timestamp;
    segment->max_timestamp_offset = files->max_timestamp_offset;
    segment->max_timestamp_known = true;
    txn_index_believe(&segment->txns);
    return segment;
}

static void put_into_list(struct plog *log, size_t at, size_t count, struct segment *segment)
{
    guard_lock(log);
    int64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += atomic_load(&log->segments[at + i]->size_bytes);
        segment_release(log->segments[at + i]); /* the pass has one, too */
    }
    log->segments[at] = segment;
    memmove(log->segments + at + 1, log->segments + at + count,
            (log->segments_n - at - count) * sizeof(*log->segments));
    log->segments_n -= count - 1;
    atomic_fetch_sub(&log->size_bytes, bytes - atomic_load(&segment->size_bytes));
    guard_unlock(log);
}

static err swap_in(struct plog *log, const struct pass *pass, const struct group *group)
{
    size_t at = 0;
    if (plog_is_offline(log) || !find_olds(pass, group, &at)) {
        return E_BUSY;
    }
    cut_begin(log);
    atomic_fetch_add(&log->swaps, 1);
    err e = rename_files(log, pass, group);
    put_into_list(log, at, group->to - group->from, segment_of(log, group));
    atomic_fetch_add(&log->swaps, 1);
    cut_end(log);
    log->touched = true;
    atomic_store(&log->entries_dirty, true);
    LOG_TRY(log, e, "renaming cleaned files");
    plog_check(log);
    return OK;
}

/* ---- all of it ---- */

/* That they are dirty stays noted: a flush beside us may not take for done what we are still at. */
static err sync_names(struct plog *log)
{
    return fs_sync_dir(log->env->fs, log->dir);
}

static err clean_group(struct pass *pass, struct group *group)
{
    struct plog *log = pass->log;
    err e = group_rewrite(pass, group);
    if (e == OK) {
        for (size_t i = group->from; i < group->to; i++) {
            pass->cleaned->bytes_before += atomic_load(&pass->segments[i]->size_bytes);
        }
        pass->cleaned->bytes_after += group->files.size_bytes;
        pass->cleaned->segments_before += group->to - group->from;
        pass->cleaned->segments_after++;
        pass->how->lock(pass->how->context);
        e = swap_in(log, pass, group);
        pass->how->unlock(pass->how->context);
        e = e == OK ? plog_fail(log, sync_names(log), "syncing the directory") : e;
    }
    if (e != OK && e != ERR_KAFKA_STORAGE_ERROR) {
        clean_files_discard(&group->files);
    }
    clean_files_deinit(&group->files);
    return e;
}

static err clean_groups(struct pass *pass)
{
    struct group group = {.files.fd = -1};
    while (group.to < pass->segments_n &&
           pass->segments[group.to]->base_offset <= pass->map.latest_offset) {
        group.from = group.to;
        TRY(find_group(pass, &group));
        TRY(clean_group(pass, &group));
    }
    return OK;
}

static err set_cleaned_to(struct pass *pass)
{
    struct plog *log = pass->log;
    pass->how->lock(pass->how->context);
    bool same = log->truncations == pass->truncations;
    if (same) {
        pass->cleaned->end = pass->map.latest_offset + 1;
        atomic_store(&log->cleaned_to, pass->cleaned->end);
    }
    pass->how->unlock(pass->how->context);
    return same ? OK : E_BUSY;
}

/* What went wrong, as plog_clean() tells it. */
static err judge(struct plog *log, err e)
{
    int number = err_to_errno(e);
    if (number == 0 || err_is_no_room(e)) {
        return e;
    }
    /* A segment that was dropped beside us cannot be opened. */
    return number == ENOENT && !plog_is_offline(log) ? E_BUSY : plog_fail(log, e, "cleaning");
}

err plog_clean(struct plog *log, const struct plog_dirt *dirt, const struct plog_clean *how,
               struct plog_cleaned *cleaned)
{
    CHECK(how->io_bytes >= BATCH_HEADER_BYTES && how->map_load > 0);
    *cleaned = (struct plog_cleaned){.end = dirt->first_dirty};
    struct pass pass;
    /* What made a transaction stable, its marker, may be newer than what is flushed: were it lost, what was cleaned in
     * favour of the transaction's records would be, too. */
    TRY(plog_flush(log));
    err e = pass_begin(&pass, log, dirt, how, cleaned);
    e = e == OK ? fill_map(&pass) : e;
    if (e == OK && planted(MISTAKE_CLEANED_AHEAD)) {
        e = set_cleaned_to(&pass);
    }
    e = e == OK ? clean_groups(&pass) : e;
    e = e == OK ? set_cleaned_to(&pass) : e;
    pass_end(&pass);
    return judge(log, e);
}

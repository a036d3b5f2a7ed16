/* Opening a log: what is in the directory, what is missing, where it ends.
 *
 * After a clean stop as little as possible is touched: one listing, a stat for each .log, and three
 * small files (epochs, topic id, the newest producer snapshot). The end offset is the recovery
 * point that the clean stop left, if the newest snapshot bears the same number, as it does after
 * every clean close; otherwise the last batches are looked for. The first append compares once
 * more.
 *
 * After an unclean stop recovery.c reads every segment from the recovery point on. */
#define _GNU_SOURCE
#include "storage/plog_internal.h"

#include "base/log.h"

#include <stdlib.h>

static bool name_exists(const struct name_list *names, const char *name)
{
    size_t low = 0;
    size_t high = names->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(names->names[middle], name);
        if (order == 0) {
            return true;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

/* Does the segment of `log_name` have a file with this suffix? */
static bool sibling_exists(const struct name_list *names, const char *log_name, const char *suffix)
{
    char name[PATH_MAX];
    segment_sibling(log_name, suffix, name);
    return name_exists(names, name);
}

/* One .log file that was found. *broken: its indexes have to be made again. */
static err load_segment(struct plog *log, const struct name_list *names, const char *name,
                        int64_t base_offset, bool *broken)
{
    bool has_txnindex = sibling_exists(names, name, SUFFIX_TXNINDEX);
    struct segment_place place = log_place(log);
    struct segment *segment = segment_new(&place, base_offset, 0, has_txnindex);
    plog_add_segment(log, segment);
    int64_t size = 0;
    TRY(fs_path_size(log->env->fs, segment->log_path, &size));
    if (size > INT32_MAX) {
        log_error(AREA, "a segment is larger than 2 GiB file=%s", segment->log_path);
        return E_CORRUPT;
    }
    atomic_store(&segment->size_bytes, size);
    atomic_fetch_add(&log->size_bytes, size);
    *broken = !sibling_exists(names, name, SUFFIX_INDEX);
    if (!*broken && !sibling_exists(names, name, SUFFIX_TIMEINDEX)) {
        TRY(index_create(&segment->times));
    }
    if (has_txnindex) {
        char path[PATH_MAX];
        segment_sibling(segment->log_path, SUFFIX_TXNINDEX, path);
        TRY(fs_path_size(log->env->fs, path, &size));
        *broken |= size % TXN_ENTRY_BYTES != 0;
    }
    return OK;
}

/* *first_broken: the first segment that must be recovered whatever the stop was; SIZE_MAX: none. */
static err load_segments(struct plog *log, const struct name_list *names, size_t *first_broken)
{
    *first_broken = SIZE_MAX;
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        int64_t base_offset = 0;
        if (!segment_name_parse(name, SUFFIX_LOG, &base_offset)) {
            continue;
        }
        if (log->segments_n > 0 && base_offset <= log_active(log)->base_offset) {
            log_error(AREA, "segments do not ascend in the order of their names file=%s/%s",
                      log->dir, name);
            return E_CORRUPT; /* names of fewer than 20 digits do not sort as numbers */
        }
        bool broken = false;
        TRY(load_segment(log, names, name, base_offset, &broken));
        if (broken && *first_broken == SIZE_MAX) {
            *first_broken = log->segments_n - 1;
        }
    }
    return OK;
}

/* An index without its .log. */
static err remove_orphans(struct plog *log, const struct name_list *names)
{
    static const char *const SUFFIXES[] = {SUFFIX_INDEX, SUFFIX_TIMEINDEX, SUFFIX_TXNINDEX};
    for (size_t i = 0; i < names->count; i++) {
        for (size_t j = 0; j < sizeof(SUFFIXES) / sizeof(SUFFIXES[0]); j++) {
            int64_t offset = 0;
            if (!segment_name_parse(names->names[i], SUFFIXES[j], &offset)) {
                continue;
            }
            size_t at = plog_segment_at(log, offset);
            if (log->segments_n == 0 || log->segments[at]->base_offset != offset) {
                char *path = xasprintf("%s/%s", log->dir, names->names[i]);
                log_warn(AREA, "removing an index without its log file=%s", path);
                err e = fs_unlink(log->env->fs, path);
                free(path);
                TRY(e);
            }
        }
    }
    return OK;
}

static int64_t newest_snapshot(const struct name_list *names)
{
    int64_t newest = -1;
    for (size_t i = 0; i < names->count; i++) {
        int64_t offset = 0;
        if (segment_name_parse(names->names[i], SUFFIX_SNAPSHOT, &offset) && offset > newest) {
            newest = offset;
        }
    }
    return newest;
}

/* Where a cleanly stopped log ends. */
static err find_end(struct plog *log, const struct name_list *names, int64_t recovery_point,
                    int64_t *end_offset)
{
    struct segment *active = log_active(log);
    *end_offset = active->base_offset;
    if (atomic_load(&active->size_bytes) == 0) {
        return OK;
    }
    if (recovery_point > active->base_offset && newest_snapshot(names) == recovery_point) {
        *end_offset = recovery_point;
        return OK;
    }
    struct placed_batch last;
    TRY(segment_find_last(active, &last));
    *end_offset = batch_last_offset(&last.header) + 1;
    return OK;
}

/* Recovery has made the producers' state from the batches, and the snapshots at the segments it has read. Others may be of
 * batches that were cut: a crash brings back files whose removal was not synced. The one at the end is compared with what it has to be when it
 * is taken again. */
static err settle_recovered_producers(struct plog *log, const struct name_list *names,
                                      int64_t end_offset)
{
    TRY(plog_drop_stray_snapshots(log, names, end_offset));
    guard_lock(log);
    log->producers.end_offset = end_offset;
    plog_count_txns_locked(log);
    guard_unlock(log);
    return plog_take_snapshot_if_room(log);
}

/* The start, and what depends on both ends: recovery point, epochs, producers. */
static err settle(struct plog *log, const struct plog_open *how, const struct name_list *names,
                  int64_t end_offset, bool recovered)
{
    int64_t base = log->segments[0]->base_offset;
    int64_t start = how->log_start_offset > base ? how->log_start_offset : base;
    int64_t promised = atomic_load(&log->recovery_point);
    atomic_store(&log->start_offset, start);
    atomic_store(&log->end_offset, end_offset);
    atomic_store(&log->recovery_point, !recovered || promised > end_offset ? end_offset : promised);
    TRY(plog_settle_epochs(log, start, end_offset));
    if (!recovered) {
        TRY(plog_drop_stray_snapshots(log, names, newest_snapshot(names)));
        return plog_load_producers_from(log, names, end_offset);
    }
    log->touched = true;
    return settle_recovered_producers(log, names, end_offset);
}

/* In a directory that was there a crash has taken the segments' names. The new ones are synced at once: where two log
 * directories share a disk, a syncfs that failed for one may have dropped what the other had to write. */
static err make_first_segment(struct plog *log, int64_t base_offset)
{
    bool is_new = atomic_load(&log->entries_dirty);
    struct segment *segment = NULL;
    struct segment_place place = log_place(log);
    TRY(segment_create(&place, base_offset, &segment));
    plog_add_segment(log, segment);
    atomic_store(&log->entries_dirty, true);
    log->touched = true;
    err e = is_new ? OK : plog_flush_entries(log);
    return err_is_no_room(e) ? OK : e;
}

static err open_existing(struct plog *log, const struct plog_open *how,
                         const struct name_list *names)
{
    size_t first = SIZE_MAX;
    int64_t end_offset = 0;
    TRY(load_segments(log, names, &first));
    TRY(remove_orphans(log, names));
    if (log->segments_n == 0) {
        TRY(make_first_segment(log, how->log_start_offset));
    }
    if (name_exists(names, "leader-epoch-checkpoint")) {
        TRY(plog_load_epochs(log));
    }
    if (name_exists(names, "partition.metadata")) {
        TRY(plog_read_topic_id(log));
    }
    atomic_store(&log->recovery_point, how->recovery_point);
    atomic_store(&log->cleaned_to, how->cleaned_to);
    if (!how->clean) {
        size_t at = plog_segment_at(log, how->recovery_point);
        first = first < at ? first : at;
    }
    bool recovered = first != SIZE_MAX;
    if (recovered) {
        TRY(recovery_run(log, first, names, &end_offset));
    } else {
        TRY(find_end(log, names, how->recovery_point, &end_offset));
    }
    if (end_offset < how->log_start_offset) {
        log_warn(AREA,
                 "the log ends below its checkpointed start and is emptied dir=%s end_offset=%lld"
                 " log_start_offset=%lld",
                 log->dir, (long long)end_offset, (long long)how->log_start_offset);
        atomic_store(&log->end_offset, end_offset);
        return plog_truncate_fully_and_start_at(log, how->log_start_offset);
    }
    return settle(log, how, names, end_offset, recovered);
}

/* Lists the directory, made if need be, after finishing what was left half done. */
static err list_dir(struct plog *log, struct name_list *names)
{
    bool changed = false;
    err e = fs_list(log->env->fs, log->dir, names);
    if (err_to_errno(e) == ENOENT) {
        TRY(fs_mkdir(log->env->fs, log->dir));
        atomic_store(&log->entries_dirty, true);
        return fs_list(log->env->fs, log->dir, names);
    }
    TRY(e);
    e = swap_finish(log, names, &changed);
    if (e == OK && changed) {
        name_list_deinit(names);
        return fs_list(log->env->fs, log->dir, names);
    }
    if (e != OK) {
        name_list_deinit(names);
    }
    return e;
}

static struct plog *plog_new(const struct storage_env *env, const struct plog_open *how)
{
    struct plog *log = xcalloc(1, sizeof(*log));
    log->env = env;
    log->dir = xstrdup(how->dir);
    log->health = health_of_log(how->dir, how->dir_health);
    log->topic = str_dup(how->name.topic);
    log->partition = how->name.partition;
    log->config = log->config_next = how->config;
    pthread_mutex_init(&log->guard, NULL);
    pthread_cond_init(&log->changed, NULL);
    pthread_mutex_init(&log->flush_lock, NULL);
    pthread_mutex_init(&log->proof_lock, NULL);
    log->sealing_at = -1;
    producers_init(&log->producers);
    return log;
}

err plog_open(const struct storage_env *env, const struct plog_open *how, struct plog **log)
{
    struct plog *opened = plog_new(env, how);
    struct name_list names = {0};
    err e = list_dir(opened, &names);
    if (e == OK) {
        e = open_existing(opened, how, &names);
        name_list_deinit(&names);
    }
    if (e != OK) {
        log_error(AREA, "cannot open a log dir=%s error=\"%s\"", how->dir, err_text(e));
        plog_abandon(opened);
        return e == E_MALFORMED || e == E_TRUNCATED ? E_CORRUPT : e;
    }
    plog_check(opened);
    *log = opened;
    return OK;
}

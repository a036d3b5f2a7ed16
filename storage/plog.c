/* A log's life between open and close: appending, flushing, and what everybody asks it.
 *
 * An append: look at the batches (offsets, epochs, producers), roll if the active segment is full,
 * one pwrite, account for producers, publish, index. Publishing is what makes the batches visible:
 * under the guard the size, the newest timestamps, the tail and the end offset change together. On
 * the usual path nothing is allocated and no file but the .log is touched.
 *
 * Offsets of the last few batches stay in a ring, since nearly every read is at the tail: position
 * and size come from there without a look at the disk.
 *
 * A disk that is full takes nothing away: what was begun is cut off again before anything in memory has moved, the
 * append is refused, and the log goes on. While the directory is full clients' records are refused before anything is
 * tried; coordinators' ones have a part of the reserve (room.h). Index entries that find no room wait in memory.
 *
 * Any other failed write leaves an unknown number of bytes behind the end; nobody can see them, the log
 * takes no more appends, and recovery cuts them off. A failed fsync means that the kernel may have
 * dropped what was not written: the log is offline too, for good (never tried again). */
#define _GNU_SOURCE
#include "storage/plog_internal.h"

#include "base/log.h"
#include "base/planted.h"

#include <fcntl.h>
#include <stdlib.h>

const char *plog_dir(const struct plog *log)
{
    return log->dir;
}

struct topic_partition plog_name(const struct plog *log)
{
    return (struct topic_partition){.topic = str_of(log->topic), .partition = log->partition};
}

void plog_set_config(struct plog *log, const struct log_config *config)
{
    guard_lock(log);
    log->config_next = *config;
    atomic_store(&log->config_changed, true);
    guard_unlock(log);
}

struct log_config plog_config(const struct plog *log)
{
    guard_lock(log);
    struct log_config config = log->config_next;
    guard_unlock(log);
    return config;
}

bool plog_is_compacted(struct plog *log)
{
    plog_take_config(log);
    return log->config.cleanup_compact;
}

bool plog_is_offline(const struct plog *log)
{
    return health_is_offline(log->health);
}

bool plog_failed_alone(const struct plog *log)
{
    return health_failed_alone(log->health);
}

int64_t plog_cleaned_to(const struct plog *log)
{
    return atomic_load(&log->cleaned_to);
}

int64_t plog_start_offset(const struct plog *log)
{
    return atomic_load(&log->start_offset);
}

int64_t plog_end_offset(const struct plog *log)
{
    return atomic_load(&log->end_offset);
}

int64_t plog_recovery_point(const struct plog *log)
{
    return atomic_load(&log->recovery_point);
}

int64_t plog_size_bytes(const struct plog *log)
{
    return atomic_load(&log->size_bytes);
}

int32_t plog_segments_n(const struct plog *log)
{
    guard_lock(log);
    int32_t count = (int32_t)log->segments_n;
    guard_unlock(log);
    return count;
}

/* Would a power cut bring back the segments that have gone? Asked in this order, each of the three covers for the next:
 * names change, are noted as changed, are synced. */
static bool names_may_change(const struct plog *log)
{
    return atomic_load(&log->cutting) > 0 || atomic_load(&log->entries_dirty) ||
           atomic_load(&log->entries_syncing) > 0;
}

int64_t plog_start_to_checkpoint(const struct plog *log)
{
    guard_lock(log);
    int64_t start = plog_start_offset(log);
    int64_t base = log->segments[0]->base_offset;
    guard_unlock(log);
    bool is_told = start > base || (names_may_change(log) && !planted(MISTAKE_START_UNTOLD));
    return is_told ? start : 0;
}

/* What one append will do. */
struct append {
    uint8_t *batches;
    size_t len;
    enum append_origin origin;
    uint64_t guard; /* of plog_verify_txn() */
    int64_t first_offset;
    int64_t last_offset;
    int64_t max_timestamp;        /* -1: none */
    int64_t max_timestamp_offset; /* last offset of its batch */
    int64_t append_time_ms;
    int32_t leader_epoch_max;
    int32_t aborts; /* markers that abort */
    bool producers; /* some batch has a producer id */
    bool legacy;    /* some batch is of format 0 or 1 */
    const struct producer_batch *duplicate;
};

/* A follower's batch must continue the log and be whole. */
static err examine_replicated(const uint8_t *at, const struct batch *batch, int64_t next_offset)
{
    if (!batch_is_sound(at, batch)) {
        return ERR_CORRUPT_MESSAGE;
    }
    bool in_range = batch->base_offset >= next_offset &&
                    batch->base_offset < INT64_MAX - batch->last_offset_delta;
    return in_range ? OK : E_MALFORMED;
}

static err examine_producer(const struct plog *log, struct append *append, const uint8_t *at,
                            const struct batch *batch)
{
    append->producers = true;
    struct marker marker;
    bool control = batch_is(batch, BATCH_CONTROL);
    if (control && marker_parse(bytes_of(at, (size_t)batch->size_bytes), &marker) != OK) {
        return ERR_CORRUPT_MESSAGE;
    }
    append->aborts += control && marker.type == CONTROL_ABORT ? 1 : 0;
    struct producers_rules rules = {.origin = append->origin,
                                    .verify = log->config.verify_transactions,
                                    .guard = append->guard};
    return producers_check(&log->producers, batch, control ? &marker : NULL, &rules,
                           &append->duplicate);
}

static void examine_note(struct append *append, const struct batch *batch)
{
    append->last_offset = batch_last_offset(batch);
    if (batch->max_timestamp > append->max_timestamp) {
        append->max_timestamp = batch->max_timestamp;
        append->max_timestamp_offset = append->last_offset;
    }
    if (batch_is(batch, BATCH_LOG_APPEND_TIME)) {
        append->append_time_ms = batch->max_timestamp;
    }
    if (batch->magic < 2) {
        append->legacy = true;
    } else if (batch->leader_epoch > append->leader_epoch_max) {
        append->leader_epoch_max = batch->leader_epoch;
    }
}

/* Walks the batches: offsets and epoch are set (a leader) or checked (a follower), producers are
 * asked. Nothing in the log changes. */
static err append_examine(struct plog *log, struct append *append, int32_t leader_epoch)
{
    CHECK(append->origin >= APPEND_CLIENT && append->origin <= APPEND_REPLICATION);
    int64_t next_offset = plog_end_offset(log);
    append->max_timestamp = append->append_time_ms = append->first_offset = -1;
    append->leader_epoch_max = -1;
    for (size_t at = 0; at < append->len;) {
        uint8_t *bytes = append->batches + at;
        struct batch batch;
        if (header_parse(bytes, append->len - at, &batch) != OK ||
            (size_t)batch.size_bytes > append->len - at || batch.last_offset_delta < 0) {
            return ERR_CORRUPT_MESSAGE;
        }
        if (append->origin == APPEND_REPLICATION) {
            TRY(examine_replicated(bytes, &batch, next_offset));
        } else {
            if (batch.magic != 2) {
                return ERR_CORRUPT_MESSAGE;
            }
            batch.base_offset = next_offset;
            batch.leader_epoch = leader_epoch;
            batch_set_base_offset(bytes, next_offset);
            batch_set_leader_epoch(bytes, leader_epoch);
        }
        if (batch.magic == 2 && batch.producer_id >= 0) {
            TRY(examine_producer(log, append, bytes, &batch));
        }
        if (append->first_offset < 0) {
            append->first_offset = batch.base_offset;
        }
        examine_note(append, &batch);
        next_offset = append->last_offset + 1;
        at += (size_t)batch.size_bytes;
    }
    return append->first_offset < 0 ? ERR_CORRUPT_MESSAGE : OK;
}

static err should_roll(struct plog *log, const struct append *append, bool *roll)
{
    CHECK(append->last_offset >= log_active(log)->base_offset);
    struct segment *active = log_active(log);
    const struct log_config *config = &log->config;
    int64_t size = atomic_load(&active->size_bytes);
    *roll = size > (int64_t)config->segment_bytes - (int64_t)append->len ||
            append->last_offset - active->base_offset > INT32_MAX;
    if (*roll || size == 0) {
        return OK;
    }
    int64_t segment_ms = config->segment_ms;
    if (config->cleanup_compact && config->max_compaction_lag_ms < segment_ms) {
        segment_ms = config->max_compaction_lag_ms;
    }
    int64_t began = -1;
    TRY(segment_first_timestamp(active, &began));
    int64_t waited = began >= 0 ? append->max_timestamp - began
                                : clock_wall_ms(log->env->clock) - active->created_ms;
    *roll = waited > segment_ms - active->jitter_ms;
    return *roll ? OK : segment_index_full(active, config->segment_index_bytes, roll);
}

/* Producers first: an abort's index entry must be there when the marker becomes visible. */
static err append_account(struct plog *log, const struct append *append)
{
    if (!append->producers) {
        log->producers.end_offset = append->last_offset + 1;
        return OK;
    }
    for (size_t at = 0; at < append->len;) {
        struct batch batch;
        struct marker marker;
        struct txn_entry aborted;
        CHECK(header_parse(append->batches + at, append->len - at, &batch) == OK);
        bool control = batch.producer_id >= 0 && batch_is(&batch, BATCH_CONTROL);
        if (control) {
            TRY(marker_parse(bytes_of(append->batches + at, (size_t)batch.size_bytes), &marker));
        }
        guard_lock(log);
        bool is_abort =
            producers_apply(&log->producers, &batch, control ? &marker : NULL, &aborted);
        plog_count_txns_locked(log);
        guard_unlock(log);
        bool spans = is_abort && aborted.first_offset < log_active(log)->base_offset;
        if (is_abort && !(spans && planted(MISTAKE_LOSES_ABORTED))) {
            TRY(txn_index_append(&log_active(log)->txns, &aborted));
        }
        at += (size_t)batch.size_bytes;
    }
    return OK;
}

static void append_publish(struct plog *log, const struct append *append, int64_t position)
{
    CHECK(append->first_offset >= 0 && append->last_offset >= append->first_offset);
    struct segment *active = log_active(log);
    CHECK(position == atomic_load(&active->size_bytes));
    if (log->tail == NULL) {
        log->tail = xcalloc(TAIL_BATCHES, sizeof(*log->tail));
    }
    atomic_store(&active->log_dirty, true);
    if (position == 0) {
        struct batch first;
        CHECK(header_parse(append->batches, append->len, &first) == OK);
        active->first_timestamp = first.max_timestamp;
        active->first_timestamp_known = true;
    }
    guard_lock(log);
    for (size_t at = 0; at < append->len;) {
        struct batch batch;
        CHECK(header_parse(append->batches + at, append->len - at, &batch) == OK);
        log->tail[log->tail_count++ % TAIL_BATCHES] = (struct tail_batch){
            .base_offset = batch.base_offset,
            .last_offset = batch_last_offset(&batch),
            .position = position + (int64_t)at,
            .size_bytes = batch.size_bytes,
        };
        at += (size_t)batch.size_bytes;
    }
    if (append->max_timestamp > active->max_timestamp) {
        active->max_timestamp = append->max_timestamp;
        active->max_timestamp_offset = append->max_timestamp_offset;
    }
    atomic_store(&active->size_bytes, position + (int64_t)append->len);
    atomic_fetch_add(&log->size_bytes, (int64_t)append->len);
    atomic_store(&log->end_offset, append->last_offset + 1);
    guard_unlock(log);
}

/* Each batch of the set, as Kafka does it; `largest`: of what was there before. */
static err append_index(struct segment *active, const struct append *append, int64_t position,
                        struct time_point largest, int32_t interval_bytes)
{
    struct batch batch;
    for (size_t at = 0; at < append->len; at += (size_t)batch.size_bytes) {
        CHECK(header_parse(append->batches + at, append->len - at, &batch) == OK);
        if (batch.max_timestamp > largest.timestamp) {
            largest = (struct time_point){batch.max_timestamp, batch_last_offset(&batch)};
        }
        TRY(segment_index(active, &batch, position + (int64_t)at, largest, interval_bytes));
    }
    return OK;
}

/* The reserve is not for clients. */
static err check_room(struct plog *log, const struct append *append)
{
    bool refused = append->origin != APPEND_COORDINATOR && health_is_full(log->health);
    return refused ? ERR_KAFKA_STORAGE_ERROR : OK;
}

/* The bytes, behind the end; without room for all of them there are none. */
static err append_bytes(struct plog *log, const struct append *append, int64_t position)
{
    struct open_file *file = NULL;
    bool by_coordinator = append->origin == APPEND_COORDINATOR;
    struct fs *fs = by_coordinator ? env_fs_of_coordinators(log->env) : env_fs_of_records(log->env);
    TRY(segment_file(log_active(log), &file));
    err e = fs_write(fs, open_file_fd(file), bytes_of(append->batches, append->len), position);
    if (err_is_no_room(e)) {
        err cut = fs_truncate(fs, open_file_fd(file), position);
        e = cut == OK ? plog_refuse(log, e) : plog_fail(log, cut, "taking back an append");
    }
    open_file_release(file);
    return e;
}

/* What must be written with the bytes is certain of its room before them. */
static err append_with_txns(struct plog *log, const struct append *append, int64_t position)
{
    struct txn_index *txns = &log_active(log)->txns;
    if (append->aborts == 0) {
        return append_bytes(log, append, position);
    }
    TRY(plog_refuse(log, txn_index_make_room(txns, append->aborts)));
    err e = append_bytes(log, append, position);
    if (e == ERR_KAFKA_STORAGE_ERROR) {
        TRY(txn_index_trim(txns));
    }
    return e;
}

static err append_write(struct plog *log, const struct append *append)
{
    CHECK(append->first_offset >= plog_end_offset(log) && append->duplicate == NULL);
    bool roll = false;
    TRY(should_roll(log, append, &roll));
    if (roll) {
        TRY(plog_roll_at(log, append->first_offset));
    }
    TRY(check_room(log, append)); /* what came before it may have met the end */
    struct segment *active = log_active(log);
    int64_t position = atomic_load(&active->size_bytes);
    struct time_point largest = {active->max_timestamp, active->max_timestamp_offset};
    TRY(append_with_txns(log, append, position));
    log->touched = true;
    TRY(append_account(log, append));
    if (append->aborts > 0) {
        TRY(txn_index_trim(&active->txns)); /* not every one had something to abort */
    }
    append_publish(log, append, position);
    return append_index(active, append, position, largest, log->config.index_interval_bytes);
}

/* Epochs that the log has not seen. Only this thread changes them, so it may look without the
 * guard. */
static err append_epochs(struct plog *log, const struct append *append)
{
    if (!append->legacy && append->leader_epoch_max <= epochs_latest(&log->epochs)) {
        return OK;
    }
    bool changed = false;
    for (size_t at = 0; at < append->len;) {
        struct batch batch;
        CHECK(header_parse(append->batches + at, append->len - at, &batch) == OK);
        guard_lock(log);
        if (batch.magic < 2) {
            changed |= epochs_clear(&log->epochs);
        } else if (batch.leader_epoch > epochs_latest(&log->epochs)) {
            changed |= epochs_assign(&log->epochs, batch.leader_epoch, batch.base_offset);
        }
        guard_unlock(log);
        at += (size_t)batch.size_bytes;
    }
    return changed ? plog_write_epochs(log) : OK;
}

/* A follower whose log is empty takes a first batch that begins below its end: the leader's log
 * starts inside that batch. */
static err restart_if_spanned(struct plog *log, const struct append *append)
{
    struct batch batch;
    if (append->origin != APPEND_REPLICATION || plog_start_offset(log) != plog_end_offset(log) ||
        header_parse(append->batches, append->len, &batch) != OK || batch.last_offset_delta < 0) {
        return OK;
    }
    int64_t end = plog_end_offset(log);
    bool spans = batch.base_offset >= 0 && batch.base_offset < end &&
                 batch_last_offset(&batch) >= end && batch_is_sound(append->batches, &batch);
    return spans ? plog_truncate_fully_and_start_at(log, batch.base_offset) : OK;
}

/* What made it begin anew is not good: it begins again where it did. */
static err went_back(struct plog *log, int64_t end, err why)
{
    err e = plog_truncate_fully_and_start_at(log, end);
    return e == OK ? why : e;
}

/* A client's batches have been measured by validate_batches(), a coordinator's one by nobody; what a
 * leader has taken a follower takes. */
static err check_message_size(const struct plog *log, size_t len, enum append_origin origin)
{
    bool fits = origin != APPEND_COORDINATOR || len <= (size_t)log->config.max_message_bytes;
    return fits ? OK : ERR_MESSAGE_TOO_LARGE;
}

/* Nothing was appended: an epoch that would have begun with it has not, nor a segment behind a gap. */
static err refused(struct plog *log, int32_t epoch_before, err why)
{
    TRY(plog_take_back_roll(log));
    if (!plog_is_offline(log) && epochs_latest(&log->epochs) != epoch_before) {
        LOG_TRY(log, plog_drop_empty_epoch(log), "writing leader epochs");
    }
    return why;
}

err plog_append(struct plog *log, uint8_t *batches, size_t len, enum append_origin origin,
                int32_t leader_epoch, struct append_result *result)
{
    return plog_append_verified(log, batches, len, origin, 0, leader_epoch, result);
}

static err append_examined(struct plog *log, struct append *append, struct append_result *result)
{
    if (append->duplicate != NULL) {
        result->duplicate = true;
        result->base_offset = append->duplicate->last_offset - append->duplicate->offset_delta;
        result->last_offset = append->duplicate->last_offset;
        result->append_time_ms = log->config.log_append_time ? append->duplicate->timestamp : -1;
        return OK;
    }
    if (append->len > (size_t)log->config.segment_bytes) {
        return ERR_RECORD_LIST_TOO_LARGE;
    }
    TRY(check_room(log, append));
    size_t segments_before = log->segments_n;
    int32_t epoch_before = epochs_latest(&log->epochs);
    LOG_TRY(log, append_epochs(log, append), "writing leader epochs");
    err e = plog_fail(log, append_write(log, append), "appending");
    if (e != OK) {
        return refused(log, epoch_before, e);
    }
    result->base_offset = append->first_offset;
    result->last_offset = append->last_offset;
    result->append_time_ms = append->append_time_ms;
    result->rolled = log->segments_n != segments_before;
    plog_check(log);
    return OK;
}

err plog_append_verified(struct plog *log, uint8_t *batches, size_t len, enum append_origin origin,
                         uint64_t guard, int32_t leader_epoch, struct append_result *result)
{
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    *result = (struct append_result){.base_offset = -1, .last_offset = -1, .append_time_ms = -1};
    TRY(plog_activate(log));
    plog_take_config(log);
    TRY(check_message_size(log, len, origin));
    struct append append = {.batches = batches, .len = len, .origin = origin, .guard = guard};
    int64_t end = plog_end_offset(log);
    if (origin == APPEND_REPLICATION) {
        TRY(check_room(log, &append)); /* before it begins anew */
    }
    TRY(restart_if_spanned(log, &append));
    err e = append_examine(log, &append, leader_epoch);
    e = e == OK ? append_examined(log, &append, result) : e;
    return e != OK && plog_end_offset(log) < end ? went_back(log, end, e) : e;
}

/* The segments that hold unflushed data, with a reference each. */
static struct segment **unflushed_segments(struct plog *log, int64_t end_offset, size_t *count,
                                           size_t *sealed)
{
    CHECK(end_offset >= 0);
    guard_lock(log);
    size_t first = plog_segment_at(log, atomic_load(&log->recovery_point));
    struct segment **found = xcalloc(log->segments_n - first, sizeof(struct segment *));
    *count = *sealed = 0;
    for (size_t i = first; i < log->segments_n; i++) {
        if (i > first && log->segments[i]->base_offset > end_offset) {
            break;
        }
        segment_retain(log->segments[i]);
        found[(*count)++] = log->segments[i];
        *sealed += i + 1 < log->segments_n ? 1 : 0;
    }
    guard_unlock(log);
    return found;
}

/* The snapshot at a segment's base was written without fsync by the roll. */
static err flush_snapshot(struct plog *log, const struct segment *segment)
{
    char path[PATH_MAX];
    int fd = -1;
    segment_sibling(segment->log_path, SUFFIX_SNAPSHOT, path);
    err e = fs_open(log->env->fs, path, O_RDWR, &fd);
    if (e != OK) {
        return err_to_errno(e) == ENOENT ? OK : e;
    }
    e = fs_datasync(log->env->fs, fd);
    fs_close(log->env->fs, fd);
    return e;
}

static err sync_entries(struct plog *log)
{
    if (planted(MISTAKE_NO_SYNC_OF_DIR)) {
        return OK;
    }
    TRY(fs_sync_dir(log->env->fs, log->dir));
    char *parent = xstrdup(log->dir);
    char *slash = strrchr(parent, '/');
    if (slash != NULL && slash != parent) {
        *slash = '\0';
    }
    err e = slash == NULL ? OK : fs_sync_dir(log->env->fs, parent);
    free(parent);
    return e;
}

err plog_flush_entries(struct plog *log)
{
    err e = OK;
    atomic_fetch_add(&log->entries_syncing, 1);
    if (atomic_exchange(&log->entries_dirty, false)) {
        e = sync_entries(log);
        if (e != OK) {
            atomic_store(&log->entries_dirty, true);
        }
    }
    atomic_fetch_sub(&log->entries_syncing, 1);
    return e;
}

static err flush_to(struct plog *log, int64_t end_offset, bool with_active_indexes)
{
    size_t count = 0;
    size_t sealed = 0;
    struct segment **segments = unflushed_segments(log, end_offset, &count, &sealed);
    err e = OK;
    for (size_t i = 0; i < count && e == OK; i++) {
        e = segment_flush(segments[i], i < sealed || with_active_indexes);
        if (e == OK && i > 0) {
            e = flush_snapshot(log, segments[i]);
        }
        if (e != OK && atomic_load(&segments[i]->dropped)) {
            e = OK; /* deleted beside us */
        }
    }
    for (size_t i = 0; i < count; i++) {
        segment_release(segments[i]);
    }
    free(segments);
    return e == OK ? plog_flush_entries(log) : e;
}

/* Did a roll beside a flush up to `end_offset` seal the segment that it took for the active one, just
 * there, or is it about to? The guard is held. */
static bool sealed_beside(const struct plog *log, int64_t end_offset, int64_t active_base)
{
    if (log->sealing_at == end_offset && plog_recovery_point(log) < end_offset) {
        return true;
    }
    return end_offset != active_base &&
           log->segments[plog_segment_at(log, end_offset)]->base_offset == end_offset;
}

/* One round. *settled is false when it proved worthless because of what happened beside it: a
 * truncation cut what was synced, and it was written again; or a roll at its very end sealed a
 * segment whose indexes it left out, and recovery from that end would not make them again. */
static err flush_round(struct plog *log, bool *settled)
{
    guard_lock(log);
    uint32_t truncations = atomic_load(&log->truncations);
    int64_t end_offset = plog_end_offset(log);
    int64_t active_base = log_active(log)->base_offset;
    guard_unlock(log);
    *settled = true;
    if (end_offset <= plog_recovery_point(log) && !atomic_load(&log->entries_dirty)) {
        return OK;
    }
    TRY(flush_to(log, end_offset, false));
    guard_lock(log);
    CHECK(plog_recovery_point(log) <= plog_end_offset(log));
    *settled = truncations == atomic_load(&log->truncations) &&
               !sealed_beside(log, end_offset, active_base);
    if (*settled && end_offset > plog_recovery_point(log)) {
        atomic_store(&log->recovery_point, end_offset);
    }
    guard_unlock(log);
    return OK;
}

/* Until none is under way. */
static void wait_for_roll(struct plog *log)
{
    guard_lock(log);
    while (log->sealing_at >= 0) {
        pthread_cond_wait(&log->changed, &log->guard);
    }
    guard_unlock(log);
}

static err flush(struct plog *log)
{
    bool settled = false;
    while (!settled) {
        if (plog_is_offline(log)) {
            return ERR_KAFKA_STORAGE_ERROR;
        }
        LOG_TRY(log, flush_round(log, &settled), "flushing");
        if (!settled) {
            wait_for_roll(log);
        }
    }
    return OK;
}

err plog_flush(struct plog *log)
{
    pthread_mutex_lock(&log->flush_lock);
    err e = flush(log);
    pthread_mutex_unlock(&log->flush_lock);
    return e;
}

void plog_note_synced(struct plog *log)
{
    guard_lock(log);
    CHECK(plog_recovery_point(log) <= plog_end_offset(log));
    atomic_store(&log->recovery_point, plog_end_offset(log));
    guard_unlock(log);
    atomic_store(&log->entries_dirty, false);
}

bool plog_is_unchanged(const struct plog *log)
{
    return !log->touched && !plog_is_offline(log);
}

/* What a clean stop leaves beside the batches, not synced. */
static err write_last(struct plog *log)
{
    TRY(plog_write_due_epochs(log));
    if (atomic_load(&log->epochs_unwritten)) {
        return err_from_errno(ENOSPC);
    }
    return log->touched ? segment_seal(log_active(log)) : OK;
}

static err close_begin(struct plog *log)
{
    TRY(write_last(log));
    TRY(log->touched ? plog_take_snapshot(log, false) : OK);
    log->touched = false;
    return OK;
}

err plog_close_begin(struct plog *log)
{
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    return plog_fail(log, plog_refuse(log, close_begin(log)), "closing");
}

static err close_clean(struct plog *log)
{
    TRY(write_last(log));
    if (!log->touched) {
        return plog_flush_entries(log);
    }
    TRY(flush_to(log, plog_end_offset(log), true));
    TRY(plog_take_snapshot(log, true));
    TRY(plog_flush_entries(log));
    atomic_store(&log->recovery_point, plog_end_offset(log));
    return OK;
}

err plog_close(struct plog *log)
{
    if (plog_is_offline(log)) {
        plog_abandon(log);
        return ERR_KAFKA_STORAGE_ERROR;
    }
    err e = plog_fail(log, plog_refuse(log, close_clean(log)), "closing");
    plog_abandon(log);
    return e;
}

void plog_abandon(struct plog *log)
{
    if (log == NULL) {
        return;
    }
    CHECK(atomic_load(&log->cutting) == 0);
    for (size_t i = 0; i < log->segments_n; i++) {
        struct segment *segment = log->segments[i];
        char path[PATH_MAX];
        file_cache_forget(log->env->files, segment->log_path);
        segment_sibling(segment->log_path, SUFFIX_INDEX, path);
        file_cache_forget(log->env->files, path);
        segment_sibling(segment->log_path, SUFFIX_TIMEINDEX, path);
        file_cache_forget(log->env->files, path);
        segment_sibling(segment->log_path, SUFFIX_TXNINDEX, path);
        file_cache_forget(log->env->files, path);
        segment_release(segment);
    }
    for (size_t i = 0; i < log->deleted_n; i++) {
        free(log->deleted[i].path);
    }
    free(log->deleted);
    free(log->segments);
    free(log->tail);
    epochs_deinit(&log->epochs);
    producers_deinit(&log->producers);
    pthread_mutex_destroy(&log->guard);
    pthread_cond_destroy(&log->changed);
    pthread_mutex_destroy(&log->flush_lock);
    pthread_mutex_destroy(&log->proof_lock);
    health_release(log->health);
    free(log->topic);
    free(log->dir);
    free(log);
}

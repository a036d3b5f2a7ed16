/* Files of one segment, and the rules of its indexes. Offsets that no batch holds (compaction left
 * holes) resolve to the next batch. Finding is in seek.c. */
#define _GNU_SOURCE
#include "storage/segment.h"

#include "base/clock.h"
#include "base/planted.h"

#include <fcntl.h>
#include <stdlib.h>

struct segment *segment_new(const struct segment_place *place, int64_t base_offset,
                            int64_t size_bytes, bool has_txnindex)
{
    CHECK(base_offset >= 0 && size_bytes >= 0);
    const struct storage_env *env = place->env;
    struct segment *segment = xcalloc(1, sizeof(*segment));
    segment->health = place->health;
    health_retain(segment->health);
    atomic_init(&segment->refs, 1);
    atomic_init(&segment->size_bytes, size_bytes);
    segment->base_offset = base_offset;
    segment->log_path = segment_path(place->dir, base_offset, SUFFIX_LOG);
    segment->created_ms = clock_wall_ms(env->clock);
    segment->max_timestamp = -1;
    segment->max_timestamp_offset = base_offset;
    index_init(&segment->offsets, env, segment->log_path, OFFSET_ENTRY_BYTES);
    index_init(&segment->times, env, segment->log_path, TIME_ENTRY_BYTES);
    txn_index_init(&segment->txns, env, segment->log_path, has_txnindex);
    return segment;
}

/* A name without a log must not stay where the one before it may grow. */
static err remove_files(struct segment *segment, err why)
{
    static const char *const SUFFIXES[] = {SUFFIX_LOG, SUFFIX_INDEX, SUFFIX_TIMEINDEX};
    for (size_t i = 0; i < sizeof(SUFFIXES) / sizeof(SUFFIXES[0]); i++) {
        char path[PATH_MAX];
        segment_sibling(segment->log_path, SUFFIXES[i], path);
        err e = fs_unlink(segment->offsets.env->fs, path);
        if (e != OK) {
            return err_is_no_room(e) ? err_from_errno(EIO) : e;
        }
    }
    return why;
}

err segment_create(const struct segment_place *place, int64_t base_offset, struct segment **segment)
{
    const struct storage_env *env = place->env;
    struct segment *made = segment_new(place, base_offset, 0, false);
    char path[PATH_MAX];
    int fd = -1;
    err e = fs_open(env->fs, made->log_path, O_RDWR | O_CREAT | O_TRUNC, &fd);
    fs_close(env->fs, e == OK ? fd : -1);
    if (e == OK) {
        e = index_create(&made->offsets);
    }
    if (e == OK) {
        e = index_create(&made->times);
    }
    if (e == OK) {
        segment_sibling(made->log_path, SUFFIX_TXNINDEX, path);
        e = fs_unlink(env->fs, path);
    }
    if (e != OK) {
        e = err_is_no_room(e) ? remove_files(made, e) : e;
        segment_release(made);
        return e;
    }
    made->max_timestamp_known = true;
    *segment = made;
    return OK;
}

void segment_retain(struct segment *segment)
{
    CHECK(atomic_fetch_add_explicit(&segment->refs, 1, memory_order_relaxed) > 0);
}

void segment_release(struct segment *segment)
{
    if (segment != NULL &&
        atomic_fetch_sub_explicit(&segment->refs, 1, memory_order_acq_rel) == 1) {
        index_deinit(&segment->offsets);
        index_deinit(&segment->times);
        txn_index_deinit(&segment->txns);
        health_release(segment->health);
        free(segment->log_path);
        free(segment);
    }
}

err segment_file(struct segment *segment, struct open_file **file)
{
    TRY(file_cache_acquire(segment->offsets.env->files, segment->log_path, segment->health, file));
    if (atomic_load(&segment->dropped)) { /* the name may be another's by now */
        open_file_release(*file);
        *file = NULL;
        return err_from_errno(ENOENT);
    }
    return OK;
}

err segment_mtime_ms(struct segment *segment, int64_t *mtime_ms)
{
    struct open_file *file = NULL;
    TRY(segment_file(segment, &file));
    err e = fs_mtime_ms(segment->offsets.env->fs, open_file_fd(file), mtime_ms);
    open_file_release(file);
    return e;
}

err segment_index(struct segment *segment, const struct batch *batch, int64_t position,
                  struct time_point largest, int32_t interval_bytes)
{
    int64_t last_offset = batch_last_offset(batch);
    CHECK(last_offset >= segment->base_offset && position >= 0);
    if (segment->bytes_since_index > interval_bytes) {
        TRY(offset_index_append(&segment->offsets, (int32_t)(last_offset - segment->base_offset),
                                (int32_t)position));
        TRY(time_index_append(&segment->times, largest.timestamp,
                              (int32_t)(largest.offset - segment->base_offset)));
        segment->bytes_since_index = 0;
    }
    segment->bytes_since_index += batch->size_bytes;
    return OK;
}

err segment_seal(struct segment *segment)
{
    TRY(time_index_append(&segment->times, segment->max_timestamp,
                          (int32_t)(segment->max_timestamp_offset - segment->base_offset)));
    TRY(index_write(&segment->offsets));
    return index_write(&segment->times);
}

err segment_flush(struct segment *segment, bool with_indexes)
{
    if (atomic_exchange(&segment->log_dirty, false) && !planted(MISTAKE_ACK_BEFORE_FLUSH)) {
        struct open_file *file = NULL;
        TRY(segment_file(segment, &file));
        err e = fs_datasync(segment->offsets.env->fs, open_file_fd(file));
        open_file_release(file);
        TRY(e);
    }
    if (with_indexes) {
        TRY(index_flush(&segment->offsets));
        TRY(index_flush(&segment->times));
        TRY(txn_index_flush(&segment->txns));
    }
    return OK;
}

err segment_index_full(struct segment *segment, int32_t index_bytes, bool *full)
{
    int32_t offsets_n = 0;
    int32_t times_n = 0;
    TRY(index_count(&segment->offsets, &offsets_n));
    TRY(index_count(&segment->times, &times_n));
    *full = offsets_n >= index_bytes / OFFSET_ENTRY_BYTES ||
            times_n >= index_bytes / TIME_ENTRY_BYTES - 1;
    return OK;
}

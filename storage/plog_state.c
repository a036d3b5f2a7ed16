/* What a log knows beside its bytes: topic id, leader epochs, transactions. */
#define _GNU_SOURCE
#include "storage/plog_internal.h"

#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum { METADATA_BYTES_MAX = 4096 };

/* partition.metadata: "version: 0" and "topic_id: <22 characters>", a line each. The first is only
 * required to be a number at or above 0, as Kafka requires it. */
err plog_read_topic_id(struct plog *log)
{
    char *path = xasprintf("%s/partition.metadata", log->dir);
    char *text = NULL;
    size_t len = 0;
    err e = fs_read_all(log->env->fs, path, METADATA_BYTES_MAX, &text, &len);
    free(path);
    if (err_to_errno(e) == ENOENT) {
        return OK;
    }
    TRY(e);
    int version = -1;
    char id[64] = "";
    int fields = sscanf(text, "version: %d topic_id: %63s", &version, id);
    free(text);
    struct uuid topic_id;
    if (fields != 2 || version < 0 || !uuid_parse(str_of(id), &topic_id) ||
        uuid_is_zero(topic_id)) {
        log_error(AREA, "partition.metadata is damaged dir=%s", log->dir);
        return E_CORRUPT;
    }
    log->topic_id = topic_id;
    return OK;
}

struct uuid plog_topic_id(const struct plog *log)
{
    guard_lock(log);
    struct uuid id = log->topic_id;
    guard_unlock(log);
    return id;
}

/* The content is synced before the rename; the directory entry with the log's first flush, which is
 * the first time that anything of this partition is promised. */
err plog_set_topic_id(struct plog *log, struct uuid topic_id)
{
    struct uuid known = plog_topic_id(log);
    if (uuid_equal(known, topic_id)) {
        return OK;
    }
    if (!uuid_is_zero(known) || uuid_is_zero(topic_id)) {
        return ERR_INCONSISTENT_TOPIC_ID;
    }
    char id[UUID_TEXT_LEN + 1];
    char text[64];
    uuid_format(topic_id, id);
    int len = snprintf(text, sizeof(text), "version: 0\ntopic_id: %s", id);
    char *path = xasprintf("%s/partition.metadata", log->dir);
    char *temporary = xasprintf("%s.tmp", path);
    struct fs *fs = log->env->fs;
    int fd = -1;
    err e = fs_open(fs, temporary, O_WRONLY | O_CREAT | O_TRUNC, &fd);
    if (e == OK) {
        e = fs_write(fs, fd, bytes_of(text, (size_t)len), 0);
        e = e == OK ? fs_datasync(fs, fd) : e;
        fs_close(fs, fd);
    }
    e = e == OK ? fs_rename(fs, temporary, path) : e;
    free(temporary);
    free(path);
    LOG_TRY(log, e, "writing partition.metadata");
    guard_lock(log);
    log->topic_id = topic_id;
    guard_unlock(log);
    atomic_store(&log->entries_dirty, true);
    return OK;
}

err plog_write_epochs(struct plog *log)
{
    char *path = xasprintf("%s/leader-epoch-checkpoint", log->dir);
    err e = epoch_checkpoint_write(log->env->fs, path, log->epochs.entries, log->epochs.count);
    free(path);
    log->idle_epoch_on_disk = false;
    return e;
}

err plog_note_epoch(struct plog *log, int32_t epoch, int64_t start_offset)
{
    guard_lock(log);
    bool changed = epochs_assign(&log->epochs, epoch, start_offset);
    guard_unlock(log);
    if (changed && log->idle_epoch_on_disk && log->idle_epoch.epoch == epoch &&
        log->idle_epoch.start_offset == start_offset) {
        log->idle_epoch_on_disk = false; /* the file says so already */
        return OK;
    }
    return changed ? plog_write_epochs(log) : OK;
}

err plog_assign_epoch(struct plog *log, int32_t leader_epoch, int64_t start_offset)
{
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    return plog_fail(log, plog_note_epoch(log, leader_epoch, start_offset),
                     "writing leader epochs");
}

int32_t plog_latest_epoch(const struct plog *log)
{
    guard_lock(log);
    int32_t epoch = epochs_latest(&log->epochs);
    guard_unlock(log);
    return epoch;
}

int64_t plog_latest_epoch_start(const struct plog *log)
{
    guard_lock(log);
    const struct epochs *epochs = &log->epochs;
    int64_t start = epochs->count == 0 ? -1 : epochs->entries[epochs->count - 1].start_offset;
    guard_unlock(log);
    return start;
}

int32_t plog_epoch_of(const struct plog *log, int64_t offset)
{
    guard_lock(log);
    int32_t epoch = epochs_of_offset(&log->epochs, offset);
    guard_unlock(log);
    return epoch;
}

void plog_end_offset_for_epoch(const struct plog *log, int32_t leader_epoch, int32_t *epoch,
                               int64_t *end_offset)
{
    guard_lock(log);
    epochs_end_of(&log->epochs, leader_epoch, plog_end_offset(log), epoch, end_offset);
    guard_unlock(log);
}

void plog_count_txns_locked(struct plog *log)
{
    const struct producers *producers = &log->producers;
    atomic_store(&log->open_txns, (int)producers->open.count);
    atomic_store(&log->txns, (int)(producers->open.count + producers->decided.count));
}

int plog_open_txns(const struct plog *log)
{
    return atomic_load(&log->open_txns);
}

bool plog_open_transaction(const struct plog *log, struct open_transaction *out)
{
    guard_lock(log);
    const struct txn_list *open = &log->producers.open; /* ascends by first offset */
    bool any = open->count > 0;
    if (any) {
        *out = (struct open_transaction){.producer_id = open->spans[0].producer_id,
                                         .first_offset = open->spans[0].first_offset};
    }
    guard_unlock(log);
    return any;
}

int64_t plog_last_stable_offset(struct plog *log, int64_t high_watermark)
{
    if (atomic_load(&log->txns) == 0) {
        return high_watermark;
    }
    guard_lock(log);
    int64_t first = producers_first_unstable(&log->producers, high_watermark);
    plog_count_txns_locked(log);
    guard_unlock(log);
    return first < high_watermark ? first : high_watermark;
}

/* A walk over the transaction indexes for one question. */
struct txn_search {
    int64_t from;
    int64_t to;
    struct arena *arena;
    struct aborted_txn *found;
    int32_t count;
    int32_t cap;
    bool done;
    err error;
};

static bool txn_visit(void *context, const struct txn_entry *entry)
{
    struct txn_search *search = context;
    if (entry->last_offset >= search->from && entry->first_offset < search->to) {
        if (search->count == search->cap) {
            int32_t cap = search->cap == 0 ? 8 : search->cap * 2;
            struct aborted_txn *grown = arena_array(search->arena, (size_t)cap, sizeof(*grown));
            if (grown == NULL) {
                search->error = E_LIMIT;
                return false;
            }
            if (search->count > 0) {
                memcpy(grown, search->found, (size_t)search->count * sizeof(*grown));
            }
            search->found = grown;
            search->cap = cap;
        }
        search->found[search->count++] = (struct aborted_txn){.producer_id = entry->producer_id,
                                                              .first_offset = entry->first_offset};
    }
    search->done = entry->last_stable_offset >= search->to;
    return !search->done;
}

/* From the segment that holds `from` forward, until an entry says that everything below its last
 * stable offset, and so below `to`, was decided. */
static err aborted_txns(struct plog *log, struct txn_search *search)
{
    int64_t base = search->from;
    bool more = true;
    while (more && !search->done && search->error == OK) {
        guard_lock(log);
        size_t i = plog_segment_at(log, base);
        struct segment *segment = log->segments[i];
        more = i + 1 < log->segments_n;
        base = more ? log->segments[i + 1]->base_offset : base;
        segment_retain(segment);
        guard_unlock(log);
        err e = txn_index_each(&segment->txns, txn_visit, search);
        segment_release(segment);
        TRY(e);
    }
    return search->error;
}

err plog_aborted_txns(struct plog *log, int64_t from, int64_t to, struct arena *arena,
                      struct aborted_txn **txns, int32_t *count)
{
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    struct txn_search search = {.from = from, .to = to, .arena = arena};
    uint32_t cuts = atomic_load(&log->cuts);
    err e = aborted_txns(log, &search);
    *txns = search.found;
    *count = search.count;
    if (e == E_LIMIT || e == OK) {
        return e;
    }
    return cut_beside(log, cuts) ? ERR_KAFKA_STORAGE_ERROR
                                 : plog_read_fail(log, e, "reading a transaction index");
}

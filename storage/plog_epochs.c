/* The leader epochs of a log and their file, leader-epoch-checkpoint.
 *
 * The file has no check sum. What it says is believed for an answer or an append only after a proof:
 * an epoch must begin where a batch with it begins, behind a batch with an older one, and the last
 * batch must have the newest. Two look-ups an epoch, made once, before the first question or change.
 * A table that contradicts the log is made again from the batches: epochs never go down in a log, so
 * only segments in which they change are read.
 *
 * What cannot be seen: an epoch in which nothing was written (the last in the file). It is kept out of
 * the table until it is assigned again.
 *
 * proof_lock: any thread; held over reads; the guard is taken inside of it. Who holds the partition's
 * lock proves before changing the end, so the end stands still meanwhile. */
#include "storage/plog_internal.h"

#include "base/log.h"

#include <stdlib.h>

err plog_write_epochs(struct plog *log)
{
    char *path = xasprintf("%s/leader-epoch-checkpoint", log->dir);
    guard_lock(log); /* a reader that proves the table may put another in its place */
    size_t count = log->epochs.count;
    struct epoch_entry *entries = xcalloc(count + 1, sizeof(*entries));
    for (size_t i = 0; i < count; i++) {
        entries[i] = log->epochs.entries[i];
    }
    guard_unlock(log);
    err e = epoch_checkpoint_write(log->env->fs, path, entries, count);
    free(entries);
    free(path);
    log->idle_epoch_on_disk = false;
    if (err_is_no_room(e)) {
        health_note_full(log->health, e);
        atomic_store(&log->epochs_unwritten, true);
        return OK;
    }
    return e;
}

err plog_load_epochs(struct plog *log)
{
    char *path = xasprintf("%s/leader-epoch-checkpoint", log->dir);
    size_t count = 0;
    struct epoch_entry *entries = NULL;
    err e = epoch_checkpoint_read(log->env->fs, path, &entries, &count);
    if (e == E_MALFORMED) {
        log_warn(AREA,
                 "leader epochs are unreadable and are made again from what is in the log "
                 "file=%s",
                 path);
        atomic_store(&log->epochs_unwritten, true);
        e = OK;
    }
    free(path);
    log->epochs = (struct epochs){.entries = entries, .count = count, .cap = count};
    return e;
}

err plog_settle_epochs(struct plog *log, int64_t start, int64_t end_offset)
{
    size_t count = log->epochs.count;
    if (count > 0 && log->epochs.entries[count - 1].start_offset == end_offset) {
        log->idle_epoch = log->epochs.entries[count - 1];
    }
    bool changed = epochs_truncate_end(&log->epochs, end_offset);
    bool idle_only =
        changed && log->epochs.count + 1 == count && log->idle_epoch.start_offset == end_offset;
    changed = epochs_truncate_start(&log->epochs, start) || (changed && !idle_only);
    log->idle_epoch_on_disk = idle_only && !changed;
    return changed ? plog_write_epochs(log) : OK;
}

/* ---- the proof ---- */

/* The log and its table at one moment. */
struct proof {
    struct segment_list list;
    struct epochs claimed; /* a copy, without epochs in which nothing was written */
    int64_t start_offset;
    int64_t end_offset;
};

static void proof_begin(struct plog *log, struct proof *proof)
{
    *proof = (struct proof){0};
    plog_segments_take(log, &proof->list);
    guard_lock(log);
    proof->start_offset = plog_start_offset(log);
    proof->end_offset = plog_end_offset(log);
    for (size_t i = 0; i < log->epochs.count; i++) {
        const struct epoch_entry *entry = &log->epochs.entries[i];
        if (entry->start_offset < proof->end_offset) {
            (void)epochs_assign(&proof->claimed, entry->epoch, entry->start_offset);
        }
    }
    guard_unlock(log);
}

static void proof_end(struct proof *proof)
{
    plog_segments_release(&proof->list);
    epochs_deinit(&proof->claimed);
}

/* The batch that holds `offset`, or the next one; E_NOT_FOUND behind the last. */
static err batch_at(const struct proof *proof, int64_t offset, struct batch *batch)
{
    size_t i = proof->list.count;
    while (i > 1 && proof->list.segments[i - 1]->base_offset > offset) {
        i--;
    }
    for (i = i == 0 ? 0 : i - 1; i < proof->list.count; i++) {
        struct segment *segment = proof->list.segments[i];
        struct open_file *file = NULL;
        struct placed_batch found;
        TRY(segment_file(segment, &file));
        err e = segment_find(segment, open_file_fd(file), offset, atomic_load(&segment->size_bytes),
                             &found);
        open_file_release(file);
        if (e != E_NOT_FOUND) {
            *batch = found.header;
            return e;
        }
    }
    return E_NOT_FOUND;
}

/* Does an epoch begin where entry `i` says? Batches that compaction removed prove nothing. */
static err entry_is_true(const struct proof *proof, size_t i, bool *yes)
{
    CHECK(i < proof->claimed.count);
    const struct epoch_entry *entry = &proof->claimed.entries[i];
    int64_t at =
        entry->start_offset > proof->start_offset ? entry->start_offset : proof->start_offset;
    int32_t before = i == 0 ? -1 : proof->claimed.entries[i - 1].epoch;
    struct batch batch;
    err e = batch_at(proof, at, &batch);
    if (e != OK) {
        *yes = true;
        return e == E_NOT_FOUND ? OK : e;
    }
    bool inside = batch.base_offset < at && at > proof->start_offset;
    *yes = batch.leader_epoch < 0 ||
           (!inside && (batch.base_offset > at ? batch.leader_epoch >= entry->epoch
                                               : batch.leader_epoch == entry->epoch));
    if (*yes && at > proof->start_offset) {
        TRY(batch_at(proof, at - 1, &batch));
        *yes = batch.base_offset >= at || batch.leader_epoch <= before;
    }
    return OK;
}

static err table_is_true(const struct proof *proof, bool *yes)
{
    struct batch last;
    *yes = true;
    if (proof->start_offset >= proof->end_offset) {
        return OK;
    }
    err e = batch_at(proof, proof->end_offset - 1, &last);
    if (e != OK) {
        return e == E_NOT_FOUND ? OK : e; /* compaction left nothing of the last ones */
    }
    *yes = last.leader_epoch < 0 || last.leader_epoch == epochs_latest(&proof->claimed);
    for (size_t i = 0; *yes && i < proof->claimed.count; i++) {
        TRY(entry_is_true(proof, i, yes));
    }
    return OK;
}

static err read_epochs_of(struct segment *segment, int64_t start_offset, struct epochs *made)
{
    struct open_file *file = NULL;
    struct placed_batch next;
    struct scan scan;
    TRY(segment_file(segment, &file));
    scan_init(&scan, segment->offsets.env->fs, open_file_fd(file), 0,
              atomic_load(&segment->size_bytes));
    err e;
    while ((e = scan_next(&scan, &next.header, &next.position)) == OK) {
        const struct batch *batch = &next.header;
        int64_t at = batch->base_offset > start_offset ? batch->base_offset : start_offset;
        if (batch->magic < 2) {
            (void)epochs_clear(made);
        } else if (batch_last_offset(batch) >= start_offset &&
                   batch->leader_epoch > epochs_latest(made)) {
            (void)epochs_assign(made, batch->leader_epoch, at);
        }
    }
    open_file_release(file);
    return e == E_NOT_FOUND || e == E_CORRUPT || e == E_TRUNCATED ? OK : e;
}

/* From the batches: a segment is read if the next one begins with a newer epoch, and the first and the
 * last are. */
static err make_again(const struct proof *proof, struct epochs *made)
{
    size_t count = proof->list.count;
    for (size_t i = 0; i < count; i++) {
        struct batch next;
        bool same = i > 0 && i + 1 < count &&
                    batch_at(proof, proof->list.segments[i + 1]->base_offset, &next) == OK &&
                    next.magic == 2 && next.leader_epoch == epochs_latest(made);
        if (!same) {
            TRY(read_epochs_of(proof->list.segments[i], proof->start_offset, made));
        }
    }
    return OK;
}

/* Puts what was made in place of what was claimed; later epochs stay. */
static void replace_table(struct plog *log, const struct proof *proof, struct epochs *made)
{
    guard_lock(log);
    struct epochs before = log->epochs;
    for (size_t i = 0; i < before.count; i++) {
        if (before.entries[i].start_offset >= proof->end_offset) {
            (void)epochs_assign(made, before.entries[i].epoch, before.entries[i].start_offset);
        }
    }
    (void)epochs_truncate_start(made, plog_start_offset(log));
    epochs_check(made);
    log->epochs = *made;
    guard_unlock(log);
    epochs_deinit(&before);
    atomic_store(&log->epochs_unwritten, true);
    log_warn(AREA, "leader epochs do not fit the log: they were made again dir=%s", log->dir);
}

static err prove(struct plog *log)
{
    struct proof proof;
    struct epochs made = {0};
    bool yes = true;
    uint32_t layout = plog_layout(log);
    proof_begin(log, &proof);
    err e = table_is_true(&proof, &yes);
    if (e == OK && !yes) {
        e = make_again(&proof, &made);
        e = e == OK && atomic_load(&log->swaps) != layout ? E_BUSY : e;
        if (e == OK) {
            replace_table(log, &proof, &made);
        } else {
            epochs_deinit(&made);
        }
    }
    proof_end(&proof);
    return e;
}

void plog_prove_epochs(struct plog *log)
{
    if (atomic_load(&log->epochs_proven) || plog_is_offline(log)) {
        return;
    }
    pthread_mutex_lock(&log->proof_lock);
    if (!atomic_load(&log->epochs_proven)) {
        uint32_t cuts = atomic_load(&log->cuts);
        err e = prove(log);
        bool beside = cut_beside(log, cuts);
        if (e != OK && !beside) {
            err_ignore(
                plog_read_fail(log, e, "proving leader epochs")); /* asked again: answers it */
        }
        atomic_store(&log->epochs_proven, e == OK || !beside);
    }
    pthread_mutex_unlock(&log->proof_lock);
}

err plog_write_due_epochs(struct plog *log)
{
    return atomic_exchange(&log->epochs_unwritten, false) ? plog_write_epochs(log) : OK;
}

/* ---- questions and changes ---- */

err plog_note_epoch(struct plog *log, int32_t epoch, int64_t start_offset)
{
    CHECK(start_offset >= 0);
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

err plog_take_epochs(struct plog *log, struct plog *from)
{
    struct epochs taken = {0};
    plog_prove_epochs(from);
    plog_prove_epochs(log);
    guard_lock(from);
    for (size_t i = 0; i < from->epochs.count; i++) {
        const struct epoch_entry *entry = &from->epochs.entries[i];
        (void)epochs_assign(&taken, entry->epoch, entry->start_offset);
    }
    guard_unlock(from);
    guard_lock(log);
    struct epochs before = log->epochs;
    log->epochs = taken;
    log->idle_epoch_on_disk = false;
    guard_unlock(log);
    epochs_deinit(&before);
    return plog_write_epochs(log);
}

int32_t plog_latest_epoch(struct plog *log)
{
    plog_prove_epochs(log);
    guard_lock(log);
    int32_t epoch = epochs_latest(&log->epochs);
    guard_unlock(log);
    return epoch;
}

int64_t plog_latest_epoch_start(struct plog *log)
{
    plog_prove_epochs(log);
    guard_lock(log);
    const struct epochs *epochs = &log->epochs;
    int64_t start = epochs->count == 0 ? -1 : epochs->entries[epochs->count - 1].start_offset;
    guard_unlock(log);
    return start;
}

int32_t plog_epoch_of(struct plog *log, int64_t offset)
{
    plog_prove_epochs(log);
    guard_lock(log);
    int32_t epoch = epochs_of_offset(&log->epochs, offset);
    guard_unlock(log);
    return epoch;
}

void plog_end_offset_for_epoch(struct plog *log, int32_t leader_epoch, int32_t *epoch,
                               int64_t *end_offset)
{
    plog_prove_epochs(log);
    guard_lock(log);
    epochs_end_of(&log->epochs, leader_epoch, plog_end_offset(log), epoch, end_offset);
    guard_unlock(log);
}

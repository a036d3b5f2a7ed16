/* What every other file of a log stands on: how it fails, its list of segments, its tail, and the
 * look at the active segment that comes before the first change. */
#include "storage/plog_internal.h"

#include "base/check.h"
#include "base/log.h"

#include <stdlib.h>

err plog_fail(struct plog *log, err e, const char *doing)
{
    if (e == OK || e == ERR_UNKNOWN_SERVER_ERROR || e > 0) {
        return e;
    }
    health_fail(log->health, e, doing);
    return ERR_KAFKA_STORAGE_ERROR;
}

err plog_refuse(struct plog *log, err e)
{
    if (!err_is_no_room(e)) {
        return e;
    }
    health_note_full(log->health, e);
    return ERR_KAFKA_STORAGE_ERROR;
}

void plog_take_offline(struct plog *log, err e, const char *doing)
{
    health_fail(log->health, e, doing);
}

err plog_read_fail(struct plog *log, err e, const char *doing)
{
    if (e == E_LIMIT || err_to_errno(e) != 0 || e >= ERR_UNKNOWN_SERVER_ERROR) {
        return e == E_LIMIT ? e : plog_fail(log, e, doing);
    }
    if (!atomic_exchange(&log->damage_said, true)) {
        log_error(AREA, "%s met bytes that are no batch dir=%s error=\"%s\"", doing, log->dir,
                  err_text(e));
    }
    return ERR_CORRUPT_MESSAGE;
}

uint32_t plog_layout(struct plog *log)
{
    uint32_t swaps = atomic_load(&log->swaps);
    if (swaps % 2 == 0) {
        return swaps;
    }
    guard_lock(log);
    while ((swaps = atomic_load(&log->swaps)) % 2 != 0) {
        pthread_cond_wait(&log->changed, &log->guard);
    }
    guard_unlock(log);
    return swaps;
}

struct log_moment plog_moment(struct plog *log)
{
    struct log_moment moment = {.layout = plog_layout(log)};
    moment.cuts = atomic_load(&log->cuts);
    return moment;
}

bool plog_read_again(struct plog *log, const struct log_moment *moment, err e)
{
    bool again = e == OK || e > 0 ? atomic_load(&log->swaps) != moment->layout
                                  : cut_beside(log, moment->cuts);
    if (!again) {
        return false;
    }
    guard_lock(log);
    while (atomic_load(&log->cutting) > 0) {
        pthread_cond_wait(&log->changed, &log->guard);
    }
    guard_unlock(log);
    return true;
}

void plog_take_config(struct plog *log)
{
    if (!atomic_load_explicit(&log->config_changed, memory_order_acquire)) {
        return;
    }
    guard_lock(log);
    log->config = log->config_next;
    atomic_store(&log->config_changed, false);
    guard_unlock(log);
}

void plog_add_segment(struct plog *log, struct segment *segment)
{
    guard_lock(log);
    CHECK(log->segments_n == 0 || log_active(log)->base_offset < segment->base_offset);
    if (log->segments_n == log->segments_cap) {
        log->segments_cap = log->segments_cap == 0 ? 1 : log->segments_cap * 2;
        log->segments = xrealloc(log->segments, log->segments_cap * sizeof(*log->segments));
    }
    log->segments[log->segments_n++] = segment;
    log->tail_count = 0;
    guard_unlock(log);
}

void plog_tail_clear(struct plog *log)
{
    guard_lock(log);
    log->tail_count = 0;
    guard_unlock(log);
}

size_t plog_segment_at(const struct plog *log, int64_t offset)
{
    size_t low = 0;
    size_t high = log->segments_n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (log->segments[middle]->base_offset <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? 0 : low - 1;
}

/* Both ends, the run of segments, their sizes, the tail, epochs, transactions. */
static void check_locked(const struct plog *log)
{
    int64_t end = plog_end_offset(log);
    int64_t size = 0;
    CHECK(log->segments_n > 0 && log->segments_n <= log->segments_cap);
    for (size_t i = 0; i < log->segments_n; i++) {
        const struct segment *segment = log->segments[i];
        CHECK(atomic_load(&segment->refs) > 0 && !atomic_load(&segment->dropped));
        CHECK(i == 0 || log->segments[i - 1]->base_offset < segment->base_offset);
        CHECK(atomic_load(&segment->size_bytes) >= 0);
        CHECK(!segment->max_timestamp_known ||
              segment->max_timestamp_offset >= segment->base_offset);
        size += atomic_load(&segment->size_bytes);
    }
    CHECK(size == plog_size_bytes(log));
    CHECK(log->segments[0]->base_offset <= plog_start_offset(log));
    CHECK(plog_start_offset(log) <= end && log_active(log)->base_offset <= end);
    CHECK(plog_recovery_point(log) <= end);
    if (log->tail_count > 0) {
        const struct tail_batch *last = &log->tail[(log->tail_count - 1) % TAIL_BATCHES];
        CHECK(last->last_offset + 1 == end);
        CHECK(last->position + last->size_bytes == atomic_load(&log_active(log)->size_bytes));
    }
    epochs_check(&log->epochs);
    producers_check_whole(&log->producers);
    CHECK(atomic_load(&log->open_txns) == (int)log->producers.open.count);
}

void plog_check(const struct plog *log)
{
    if (DEBUG_CHECKS) {
        guard_lock(log);
        check_locked(log);
        guard_unlock(log);
    }
}

void plog_segments_take(struct plog *log, struct segment_list *list)
{
    guard_lock(log);
    list->count = log->segments_n;
    list->segments = xcalloc(list->count, sizeof(struct segment *));
    list->max_timestamps = xcalloc(list->count, sizeof(int64_t));
    for (size_t i = 0; i < list->count; i++) {
        struct segment *segment = log->segments[i];
        segment_retain(segment);
        list->segments[i] = segment;
        list->max_timestamps[i] = segment->max_timestamp_known ? segment->max_timestamp : INT64_MIN;
    }
    guard_unlock(log);
}

void plog_segments_release(struct segment_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        segment_release(list->segments[i]);
    }
    free(list->segments);
    free(list->max_timestamps);
}

/* The first change after a start: only now are the active segment's files opened. A clean start
 * took the end offset from a checkpoint; here it is compared with the last batch. */
static err activate(struct plog *log)
{
    struct segment *active = log_active(log);
    struct placed_batch last;
    err e = segment_find_last(active, &last);
    if (e == OK && batch_last_offset(&last.header) >= plog_end_offset(log)) {
        log_error(AREA,
                  "the log is longer than its checkpoint says file=%s last_offset=%lld "
                  "end_offset=%lld",
                  active->log_path, (long long)batch_last_offset(&last.header),
                  (long long)plog_end_offset(log));
        e = E_CORRUPT;
    }
    if (e != OK && e != E_NOT_FOUND) {
        return e;
    }
    if (!active->max_timestamp_known) {
        int64_t timestamp = -1;
        int64_t offset = active->base_offset;
        TRY(segment_max_timestamp(active, false, &timestamp, &offset));
        guard_lock(log);
        active->max_timestamp = timestamp;
        active->max_timestamp_offset = offset;
        active->max_timestamp_known = true;
        guard_unlock(log);
    }
    log->activated = true;
    return OK;
}

err plog_activate(struct plog *log)
{
    if (log->activated) {
        return OK;
    }
    plog_prove_epochs(log);
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    TRY(plog_fail(log, plog_write_due_epochs(log), "writing leader epochs"));
    err e = plog_read_fail(log, activate(log), "opening the active segment");
    /* Nothing can be appended to what cannot be understood; it can still be read. */
    return e == ERR_CORRUPT_MESSAGE ? ERR_KAFKA_STORAGE_ERROR : e;
}

err plog_succeed(struct plog *log, struct plog *former)
{
    CHECK(plog_end_offset(log) == plog_end_offset(former));
    struct log_config config = plog_config(former);
    plog_set_config(log, &config);
    plog_take_config(log);
    guard_lock(log); /* what was found out of the former one is out of date */
    atomic_fetch_add(&log->truncations, atomic_load(&former->truncations) + 1);
    guard_unlock(log);
    TRY(plog_advance_start(log, plog_start_offset(former)));
    LOG_TRY(log, plog_take_epochs(log, former), "writing leader epochs");
    LOG_TRY(log, plog_take_producers(log, former), "writing producers");
    plog_check(log);
    return OK;
}

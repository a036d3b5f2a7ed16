/* A partition's log moves to another log directory while it is led or followed (storage/logs.h has the files' side).
 *
 * The copy, `future`, is appended to by one thread, in pieces, without the partition's lock: it reads the log as a
 * replica does, up to its end, and takes the batches as they are. What happens to the log meanwhile needs no care, but
 * for a cut (after a start the two are compared, logs_move.c): it is noted under the lock, as `future_cut`, and before the next piece the copy is cut as well. Bytes that
 * were read beside the cut are of what is cut again. The log is not compacted meanwhile, so that the cleaner's
 * checkpoint says of the copy what it says of the log; what a clean that was under way leaves is waited for.
 *
 * At last, under the lock, what is still missing is copied, and the copy is the log. Readers that pinned the former one
 * go on reading it, to where it ends. The high watermark stays; where every message must be flushed
 * (flush.messages=1), what the new log has not flushed counts as not safe again: acknowledgements wait for that. */
#include "broker/replica/partition_internal.h"

#include <stdlib.h>

void partition_note_cut(struct partition *p, int64_t offset)
{
    if (p->is_moving && offset < p->future_cut) {
        p->future_cut = offset;
    }
}

bool partition_moves(struct partition *p)
{
    partition_lock(p);
    bool moves = p->is_moving;
    partition_unlock(p);
    return moves;
}

bool partition_is_moved_as(struct partition *p, uint32_t number)
{
    partition_lock(p);
    bool is = p->is_moving && p->move_number == number;
    partition_unlock(p);
    return is;
}

uint32_t partition_begin_move(struct partition *p, struct plog *future)
{
    partition_lock(p);
    CHECK(!p->is_moving && p->future == NULL && p->former == NULL);
    p->is_moving = true;
    p->future = future;
    p->future_cut = INT64_MAX;
    uint32_t number = ++p->move_number;
    atomic_fetch_add(&p->changes, 1); /* who cleans it gives up */
    partition_unlock(p);
    return number;
}

static void take_future_away(struct partition *p)
{
    p->future = NULL;
    while (p->future_pins > 0) {
        pthread_cond_wait(&p->unpinned, &p->lock);
    }
}

void partition_hold_move(struct partition *p)
{
    partition_lock(p);
    take_future_away(p);
    partition_unlock(p);
}

void partition_go_on_moving(struct partition *p, struct plog *future)
{
    partition_lock(p);
    CHECK(p->is_moving && p->future == NULL);
    p->future = future;
    partition_unlock(p);
}

void partition_give_up_move(struct partition *p)
{
    partition_lock(p);
    take_future_away(p);
    p->is_moving = false;
    partition_upkeep_due(p); /* it was not compacted meanwhile */
    partition_unlock(p);
}

/* ---- one piece ---- */

/* What both logs were when the piece began. */
struct piece {
    struct plog *log;
    struct plog *future;
    int64_t cut; /* where the copy is to be cut first */
};

static err grow(struct move_buffer *buffer, size_t len)
{
    if (len > buffer->size) {
        uint8_t *bytes = realloc(buffer->bytes, len);
        if (bytes == NULL) {
            return E_LIMIT;
        }
        buffer->bytes = bytes;
        buffer->size = len;
    }
    return OK;
}

/* The copy's end and start follow the log's. */
static err follow_ends(const struct piece *piece)
{
    struct plog *future = piece->future;
    if (piece->cut < plog_end_offset(future)) {
        plog_promise_less(future, piece->cut);
        TRY(plog_truncate(future, piece->cut));
    }
    int64_t start = plog_start_offset(piece->log);
    return start > plog_end_offset(future) ? plog_truncate_fully_and_start_at(future, start)
                                           : plog_advance_start(future, start);
}

static err copy_range(const struct piece *piece, const struct log_range *range,
                      struct move_buffer *buffer)
{
    struct append_result result;
    TRY(grow(buffer, range->len));
    TRY(log_range_read(range, 0, buffer->bytes, range->len));
    return log_replicate(piece->future, INT32_MAX, buffer->bytes, range->len, &result);
}

/* Copies what follows; nothing where the copy has all of it. An empty range below the end: compaction has left
 * nothing there. */
static err copy_piece(const struct piece *piece, struct move_buffer *buffer,
                      struct move_progress *progress)
{
    struct log_range range;
    TRY(follow_ends(piece));
    int64_t at = plog_end_offset(piece->future);
    int64_t end = plog_end_offset(piece->log);
    int64_t size_bytes = plog_size_bytes(piece->future);
    if (at >= end) {
        return OK;
    }
    TRY(plog_read(piece->log, at, end, buffer->piece_bytes, true, &range));
    err e = range.len > 0 ? copy_range(piece, &range, buffer) : plog_skip_to(piece->future, end);
    progress->copied_bytes = plog_size_bytes(piece->future) - size_bytes;
    log_range_release(&range);
    return e;
}

/* The cut is taken: it is the copy's business now. */
static err piece_begin(struct partition *p, struct piece *piece)
{
    TRY(partition_check_log(p));
    *piece = (struct piece){.log = p->log, .future = p->future, .cut = p->future_cut};
    p->future_cut = INT64_MAX;
    return OK;
}

static void piece_end(struct partition *p, const struct piece *piece, err e)
{
    if (e != OK) {
        partition_note_cut(p, piece->cut);
    }
}

/* Both logs stay open until unpin_both(). */
static err pin_both(struct partition *p, uint32_t number, struct piece *piece)
{
    if (p->future == NULL || p->move_number != number) {
        return E_NOT_FOUND;
    }
    if (atomic_load(&p->is_cleaned)) {
        return E_BUSY;
    }
    TRY(piece_begin(p, piece));
    p->pins++;
    p->future_pins++;
    return OK;
}

static void unpin_both(struct partition *p)
{
    p->pins--;
    p->future_pins--;
    pthread_cond_broadcast(&p->unpinned);
}

err partition_move_on(struct partition *p, uint32_t number, struct move_buffer *buffer,
                      struct move_progress *progress)
{
    struct piece piece = {0};
    *progress = (struct move_progress){0};
    partition_lock(p);
    err e = pin_both(p, number, &piece);
    partition_unlock(p);
    TRY(e);
    e = copy_piece(&piece, buffer, progress);
    progress->left_bytes =
        plog_bytes_between(piece.log, plog_end_offset(piece.future), plog_end_offset(piece.log));
    progress->future_failed = plog_is_offline(piece.future);
    partition_lock(p);
    piece_end(p, &piece, e);
    unpin_both(p);
    partition_unlock(p);
    return e;
}

err partition_flush_move(struct partition *p, uint32_t number)
{
    partition_lock(p);
    struct plog *future = p->move_number == number ? p->future : NULL;
    p->future_pins += future != NULL ? 1 : 0;
    partition_unlock(p);
    if (future == NULL) {
        return E_NOT_FOUND;
    }
    err e = plog_flush(future);
    plog_expire_producers(future);
    (void)plog_last_stable_offset(future, plog_end_offset(future)); /* forgets what is decided */
    partition_lock(p);
    p->future_pins--;
    pthread_cond_broadcast(&p->unpinned);
    partition_unlock(p);
    return e;
}

/* ---- the end ---- */

static err swap(struct partition *p, struct move_buffer *buffer)
{
    struct piece piece;
    do {
        struct move_progress progress;
        TRY(piece_begin(p, &piece));
        err e = copy_piece(&piece, buffer, &progress);
        piece_end(p, &piece, e);
        TRY(e);
    } while (plog_end_offset(piece.future) < plog_end_offset(piece.log));
    if (plog_end_offset(piece.future) != plog_end_offset(piece.log)) {
        return E_CORRUPT; /* it is a copy of something else */
    }
    TRY(plog_succeed(piece.future, piece.log));
    p->former = p->log;
    p->former_pins = p->pins;
    p->log = piece.future;
    p->pins = 0;
    p->future = NULL;
    p->is_moving = false;
    return OK;
}

err partition_swap_log(struct partition *p, struct move_buffer *buffer, int64_t *end_offset)
{
    partition_lock(p);
    err e = swap(p, buffer);
    if (e == OK) {
        *end_offset = plog_end_offset(p->log);
        partition_queue_flush(p);
        partition_upkeep_due(p);
    }
    partition_unlock(p);
    return e;
}

/* A cut since then may have taken some of it along. */
static bool is_flushed(const struct partition *p, int64_t end_offset)
{
    int64_t end = plog_end_offset(p->log);
    return plog_recovery_point(p->log) >= (end < end_offset ? end : end_offset);
}

err partition_release_former(struct partition *p, int64_t end_offset)
{
    partition_lock(p);
    err e = p->gone != OK ? p->gone : partition_check_log(p);
    if (e == OK && !is_flushed(p, end_offset)) {
        partition_queue_flush(p);
        e = E_BUSY;
    }
    if (e == OK) {
        while (p->former_pins > 0) {
            pthread_cond_wait(&p->unpinned, &p->lock);
        }
        p->former = NULL;
    }
    partition_unlock(p);
    return e;
}

/* The log of a follower: it grows by what its leader sends, and is cut where it is not the leader's.
 *
 * Everything here is fenced by the leader epoch that the caller follows: an answer of a former leader, or
 * one that comes when the role has changed, changes nothing. So nobody has to wait for a fetch that is
 * under way before a role changes.
 *
 * The high watermark is the leader's, as far as this log reaches. It does not go back because a new
 * leader knows less than this follower: what was committed stays so. Only a cut takes it along, which
 * below the high watermark happens after an unclean election alone.
 *
 * Before a cut the recovery point goes back and is written, since a checkpoint above the new end would make
 * damage of what a power loss leaves of the cut, and of a later torn tail: such a log is not opened any more.
 * (reference: zookeeper §7, replication §4) */
#include "broker/replica/partition_internal.h"

#include "base/log.h"
#include "base/planted.h"
#include "protocol/batch.h"

static err check_follows(const struct partition *p, int32_t leader_epoch)
{
    CHECK(leader_epoch >= 0);
    TRY(partition_check_role(p, leader_epoch, true));
    return p->is_leader ? ERR_NOT_LEADER_OR_FOLLOWER : OK;
}

/* Where it is not safe, it will be: a flush is asked for. */
static void tell_position(struct partition *p, struct follower_position *position)
{
    *position =
        (struct follower_position){.offset = plog_end_offset(p->log),
                                   .last_epoch = plog_latest_epoch(p->log),
                                   .log_start_offset = plog_start_offset(p->log),
                                   .safe = planted(MISTAKE_TELLS_UNFLUSHED) ||
                                           partition_safe_end(p) >= plog_end_offset(p->log)};
    if (!position->safe) {
        partition_queue_flush(p);
    }
}

/* ---- cutting ---- */

static err cut(struct partition *p, int64_t offset)
{
    int64_t high_watermark = partition_high_watermark(p);
    if (offset < high_watermark) {
        log_warn("replica",
                 "log is cut below its high watermark topic=%.*s partition=%d offset=%lld "
                 "high_watermark=%lld",
                 (int)p->name.topic.len, p->name.topic.data, p->name.partition, (long long)offset,
                 (long long)high_watermark);
    }
    partition_note_cut(p, offset);
    TRY(plog_truncate(p->log, offset));
    if (plog_end_offset(p->log) < high_watermark) {
        atomic_store(&p->high_watermark, plog_end_offset(p->log));
    }
    partition_upkeep_due(p);
    return OK;
}

static int64_t recovery_point(const struct partition *p)
{
    return p->log == NULL ? 0 : plog_recovery_point(p->log);
}

static void note_lower(struct partition *p, int64_t before)
{
    p->points_lowered += recovery_point(p) < before ? 1 : 0;
}

/* With the lock let go: a recovery point that went back is written before the caller, who alone cuts and
 * appends, does so. E_BUSY: its disk is full, and until there is room nothing is cut or appended. Where it cannot be
 * written at all the log is offline: what was promised up to there would be taken for damage after a crash. */
static err write_lower(struct partition *p)
{
    partition_lock(p);
    uint64_t lowered = p->points_lowered;
    bool is_due = lowered != p->points_written && p->env->write_recovery_points != NULL;
    partition_unlock(p);
    if (!is_due) {
        return OK;
    }
    err e = p->env->write_recovery_points(p->env->write_context, p->name);
    partition_lock(p);
    if (e == OK) {
        p->points_written = lowered;
    } else if (err_is_no_room(e)) {
        e = E_BUSY;
    } else {
        if (p->log != NULL && !plog_is_offline(p->log)) {
            plog_take_offline(p->log, e, "writing the recovery point of what is cut");
        }
        partition_wake_all(p);
        e = ERR_KAFKA_STORAGE_ERROR;
    }
    partition_unlock(p);
    return e;
}

/* Before a cut to `offset`. A flush that ends meanwhile may raise the recovery point again: the cut itself
 * puts it back, and then it is written once more. */
static err promise_less(struct partition *p, int32_t leader_epoch, int64_t offset)
{
    partition_lock(p);
    int64_t before = recovery_point(p);
    err e = check_follows(p, leader_epoch);
    if (e == OK) {
        plog_promise_less(p->log, offset < 0 ? 0 : offset);
        note_lower(p, before);
    }
    partition_unlock(p);
    return e == OK ? write_lower(p) : e;
}

/* Where this log and the leader's were last the same, as far as both know the epoch. */
static int64_t divergence(const struct partition *p, const struct divergence *told)
{
    int64_t end = plog_end_offset(p->log);
    int32_t epoch = -1;
    int64_t epoch_end = -1;
    plog_end_offset_for_epoch(p->log, told->epoch, &epoch, &epoch_end);
    int64_t offset = epoch_end < 0                  ? told->end_offset
                     : epoch != told->epoch         ? epoch_end
                     : epoch_end < told->end_offset ? epoch_end
                                                    : told->end_offset;
    int64_t start = plog_start_offset(p->log);
    offset = offset < start ? start : offset;
    return offset > end ? end : offset;
}

/* ---- the doors ---- */

/* Without epochs a log cannot be compared with the leader's: only what is committed is kept. */
static bool is_cut_at_once(const struct partition *p)
{
    return plog_latest_epoch(p->log) < 0 || planted(MISTAKE_CUT_TO_HIGH_WATERMARK);
}

static err begin(struct partition *p, int32_t leader_epoch, struct follower_position *position)
{
    TRY(check_follows(p, leader_epoch));
    if (is_cut_at_once(p)) {
        TRY(cut(p, partition_high_watermark(p)));
    }
    tell_position(p, position);
    return OK;
}

err partition_begin_to_follow(struct partition *p, int32_t leader_epoch,
                              struct follower_position *position)
{
    partition_lock(p);
    bool cuts = check_follows(p, leader_epoch) == OK && is_cut_at_once(p);
    partition_unlock(p);
    if (cuts) {
        TRY(promise_less(p, leader_epoch, partition_high_watermark(p)));
    }
    partition_lock(p);
    int64_t before = recovery_point(p);
    err e = begin(p, leader_epoch, position);
    note_lower(p, before);
    partition_unlock(p);
    return e == OK ? write_lower(p) : e;
}

/* The leader has got a newer epoch while it answered: what that one wrote is followed under it, since
 * until then nobody could say what of it must be cut. */
static bool is_of_later_epoch(const uint8_t *batch, size_t size, int32_t leader_epoch)
{
    struct batch header;
    if (size < BATCH_HEADER_BYTES) {
        return false;
    }
    batch_parse(batch, &header);
    return header.magic == 2 && header.leader_epoch > leader_epoch;
}

/* How many of the bytes are whole batches of this epoch and those before it; the last one of an answer may
 * be cut. With `limit_bytes` no more than that, but for one batch. */
static size_t whole_batches(const uint8_t *bytes, size_t len, size_t limit_bytes,
                            int32_t leader_epoch)
{
    size_t at = 0;
    while (len - at >= BATCH_PREFIX_BYTES) {
        size_t size = BATCH_PREFIX_BYTES + (size_t)load_u32(bytes + at + 8);
        if (size > len - at || (at > 0 && at + size > limit_bytes) ||
            is_of_later_epoch(bytes + at, size, leader_epoch)) {
            break;
        }
        at += size;
    }
    return at;
}

/* A segment takes no more than it may hold; an answer may be of larger ones. */
err log_replicate(struct plog *log, int32_t leader_epoch, uint8_t *batches, size_t len,
                  struct append_result *all)
{
    size_t limit = (size_t)plog_config(log).segment_bytes;
    *all = (struct append_result){.base_offset = -1, .last_offset = -1};
    for (size_t at = 0; at < len;) {
        struct append_result result;
        size_t size = whole_batches(batches + at, len - at, limit, leader_epoch);
        if (size == 0) {
            return at == 0 ? ERR_CORRUPT_MESSAGE : OK;
        }
        TRY(plog_append(log, batches + at, size, APPEND_REPLICATION, leader_epoch, &result));
        all->base_offset = at == 0 ? result.base_offset : all->base_offset;
        all->last_offset = result.last_offset;
        all->rolled |= result.rolled;
        at += size;
    }
    return OK;
}

static err append_all(struct partition *p, int32_t leader_epoch, const struct fetched *fetched)
{
    struct append_result result;
    err e = log_replicate(p->log, leader_epoch, fetched->batches, fetched->len, &result);
    if (result.base_offset >= 0) {
        partition_ask_for_flush(p, &result);
    }
    return e;
}

static err take(struct partition *p, int32_t leader_epoch, const struct fetched *fetched,
                struct follower_position *position)
{
    TRY(check_follows(p, leader_epoch));
    if (plog_end_offset(p->log) != fetched->offset) {
        return E_VERSION; /* somebody else has moved the end */
    }
    if (p->points_lowered != p->points_written && p->env->write_recovery_points != NULL) {
        return E_BUSY;
    }
    if (fetched->len > 0) {
        TRY(append_all(p, leader_epoch, fetched));
        events_add(p->events, EVENT_REPLICATION_BYTES_IN, fetched->len);
    }
    int64_t end = plog_end_offset(p->log);
    p->leader_high_watermark = fetched->high_watermark;
    /* What it passes may have come long before. */
    partition_set_high_watermark(p, fetched->high_watermark < end ? fetched->high_watermark : end,
                                 INT32_MAX);
    int64_t start = fetched->log_start_offset;
    if (start > plog_start_offset(p->log) && start <= partition_high_watermark(p)) {
        TRY(plog_advance_start(p->log, start));
        partition_upkeep_due(p);
    }
    tell_position(p, position);
    return OK;
}

err partition_append_as_follower(struct partition *p, int32_t leader_epoch,
                                 const struct fetched *fetched, struct follower_position *position)
{
    partition_lock(p);
    err e = take(p, leader_epoch, fetched, position);
    if (e == ERR_KAFKA_STORAGE_ERROR && p->log != NULL && !plog_is_offline(p->log)) {
        e = E_BUSY; /* its disk is full */
    }
    partition_unlock(p);
    return e;
}

err partition_is_safe(struct partition *p, int32_t leader_epoch, int64_t offset, bool *safe)
{
    partition_lock(p);
    err e = check_follows(p, leader_epoch);
    *safe = e == OK && partition_safe_end(p) >= offset;
    partition_unlock(p);
    return e;
}

static err cut_of(const struct partition *p, int32_t leader_epoch, const struct divergence *told,
                  int64_t *offset)
{
    TRY(check_follows(p, leader_epoch));
    if (told->epoch < 0 || told->epoch > plog_latest_epoch(p->log) || told->end_offset < 0) {
        return E_MALFORMED;
    }
    *offset = planted(MISTAKE_ONE_LOOK_UP) ? told->end_offset : divergence(p, told);
    return OK;
}

static err reconcile(struct partition *p, int32_t leader_epoch, const struct divergence *told,
                     struct follower_position *position)
{
    int64_t offset = -1;
    TRY(cut_of(p, leader_epoch, told, &offset));
    struct follower_position before;
    tell_position(p, &before);
    TRY(cut(p, offset));
    tell_position(p, position);
    position->last_epoch = planted(MISTAKE_ONE_LOOK_UP) ? -1 : position->last_epoch;
    bool less = position->offset < before.offset || position->last_epoch < before.last_epoch;
    return less ? OK : E_MALFORMED;
}

err partition_reconcile(struct partition *p, int32_t leader_epoch, const struct divergence *told,
                        struct follower_position *position)
{
    int64_t offset = -1;
    partition_lock(p);
    err e = cut_of(p, leader_epoch, told, &offset);
    partition_unlock(p);
    TRY(e);
    TRY(promise_less(p, leader_epoch, offset));
    partition_lock(p);
    int64_t before = recovery_point(p);
    e = reconcile(p, leader_epoch, told, position);
    note_lower(p, before);
    partition_unlock(p);
    return e == OK ? write_lower(p) : e;
}

/* The cut below the start of the own log, and what lies above its end, are both a log begun anew. */
static err move(struct partition *p, int32_t leader_epoch, int64_t offset, bool anew,
                struct follower_position *position)
{
    TRY(check_follows(p, leader_epoch));
    if (anew) {
        partition_note_cut(p, 0);
        TRY(plog_truncate_fully_and_start_at(p->log, offset));
        atomic_store(&p->high_watermark, offset);
        partition_upkeep_due(p);
    } else {
        TRY(cut(p, offset));
    }
    tell_position(p, position);
    return OK;
}

err partition_truncate(struct partition *p, int32_t leader_epoch, int64_t offset,
                       struct follower_position *position)
{
    TRY(promise_less(p, leader_epoch, offset));
    partition_lock(p);
    int64_t before = recovery_point(p);
    err e = partition_check_role(p, leader_epoch, true);
    bool below = e == OK && offset < plog_start_offset(p->log);
    e = move(p, leader_epoch, offset, below, position);
    note_lower(p, before);
    partition_unlock(p);
    return e == OK ? write_lower(p) : e;
}

err partition_begin_anew(struct partition *p, int32_t leader_epoch, int64_t offset,
                         struct follower_position *position)
{
    TRY(promise_less(p, leader_epoch, offset));
    partition_lock(p);
    int64_t before = recovery_point(p);
    err e = move(p, leader_epoch, offset, true, position);
    note_lower(p, before);
    partition_unlock(p);
    return e == OK ? write_lower(p) : e;
}

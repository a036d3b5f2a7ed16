/* Who is in sync.
 *
 * The controller keeps the set; the leader asks it to change it, one change at a time. While a change is
 * under way the leader reckons with the larger of the two sets: a follower that is to join already holds
 * the high watermark back, one that is to leave still does. So whatever the controller has made of it by
 * now, everything below the high watermark is on every member of the set that it keeps.
 *
 * Joins: who has everything below the high watermark, and everything from before this leadership, and
 * lives. Leaves: who has not had all of the log for replica.lag.time.max.ms, and does not have it now.
 * A partition tells (env->behind) when a member may be behind, and is looked at until none is: one that
 * nobody writes costs nothing. (reference: replication §5, zookeeper §6) */
#include "broker/replica/partition_internal.h"

#include "base/log.h"
#include "base/planted.h"

#include <stdio.h>
#include <stdlib.h>

int32_t *replica_ids_copy(const struct replica_set *set)
{
    CHECK(set->count >= 0);
    int32_t *ids = xcalloc((size_t)set->count, sizeof(*ids));
    for (int32_t i = 0; i < set->count; i++) {
        ids[i] = set->ids[i];
    }
    return ids;
}

/* ---- the sets ---- */

void partition_isr_settle(struct partition *p)
{
    free((void *)(uintptr_t)p->pending_isr.ids);
    p->pending_isr = (struct replica_set){0};
    p->pending = ISR_COMMITTED;
    p->pending_said = false;
}

static void mark_members(struct partition *p)
{
    for (int32_t i = 0; i < p->followers.count; i++) {
        struct follower *follower = &p->followers.all[i];
        follower->in_sync =
            replica_set_holds(&p->state.isr, follower->id) ||
            (replica_set_holds(&p->pending_isr, follower->id) && !planted(MISTAKE_COMMITTED_ISR));
    }
}

int32_t partition_isr_maximal(const struct partition *p)
{
    return p->pending == ISR_EXPANDS ? p->pending_isr.count : p->state.isr.count;
}

static void say(const struct partition *p, const char *what, const struct replica_set *isr)
{
    char text[256] = "";
    size_t len = 0;
    for (int32_t i = 0; i < isr->count && len + 16 < sizeof(text); i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, i == 0 ? "%d" : ",%d", isr->ids[i]);
    }
    log_info("replica", "%s topic=%.*s partition=%d isr=%s leader_epoch=%d partition_epoch=%d",
             what, (int)p->name.topic.len, p->name.topic.data, p->name.partition, text,
             p->state.leader_epoch, p->state.partition_epoch);
}

static void want(struct partition *p, enum isr_pending pending, int32_t *ids, int32_t count)
{
    CHECK(p->pending == ISR_COMMITTED && p->is_leader && count > 0);
    p->pending = pending;
    p->pending_isr = (struct replica_set){.ids = ids, .count = count};
    mark_members(p);
    p->env->isr_wanted(p->env->isr_context, p);
}

static bool may_change(const struct partition *p)
{
    return p->pending == ISR_COMMITTED && p->is_leader && p->env->isr_wanted != NULL;
}

/* ---- joining and leaving ---- */

void partition_isr_consider(struct partition *p, struct follower *follower)
{
    if (!may_change(p) || replica_set_holds(&p->state.isr, follower->id) ||
        follower->end_offset < partition_high_watermark(p) ||
        (follower->end_offset < p->led_from && !planted(MISTAKE_EARLY_JOINER)) ||
        (p->env->is_alive != NULL && !p->env->is_alive(p->env->alive_context, follower->id))) {
        return;
    }
    int32_t count = p->state.isr.count;
    int32_t *ids = xcalloc((size_t)count + 1, sizeof(*ids));
    for (int32_t i = 0; i < count; i++) {
        ids[i] = p->state.isr.ids[i];
    }
    ids[count] = follower->id;
    p->joiner_epoch = follower->broker_epoch;
    want(p, ISR_EXPANDS, ids, count + 1);
}

void partition_isr_note_behind(struct partition *p)
{
    if (!p->behind && p->env->behind != NULL && p->state.isr.count > 1) {
        p->behind = true;
        p->env->behind(p->env->isr_context, p);
    }
}

static bool is_behind(const struct partition *p, int32_t id)
{
    const struct follower *follower = followers_find(&p->followers, id);
    return follower != NULL && follower->end_offset != plog_end_offset(p->log);
}

static bool lags(const struct partition *p, int32_t id, int64_t now_ms)
{
    const struct follower *follower = followers_find(&p->followers, id);
    return is_behind(p, id) && now_ms - follower->caught_up_ms > p->env->replica_lag_ms;
}

static void consider_shrinking(struct partition *p, int64_t now_ms)
{
    const struct replica_set *isr = &p->state.isr;
    int32_t *ids = xcalloc((size_t)isr->count, sizeof(*ids));
    int32_t count = 0;
    for (int32_t i = 0; i < isr->count; i++) {
        if (!lags(p, isr->ids[i], now_ms)) {
            ids[count++] = isr->ids[i];
        }
    }
    if (count == isr->count || count == 0) {
        free(ids);
        return;
    }
    want(p, ISR_SHRINKS, ids, count);
}

bool partition_check_lag(struct partition *p, int64_t now_ms)
{
    partition_lock(p);
    p->behind = false;
    if (p->is_leader && partition_check_log(p) == OK) {
        for (int32_t i = 0; i < p->state.isr.count; i++) {
            p->behind |= is_behind(p, p->state.isr.ids[i]);
        }
        if (p->behind && may_change(p)) {
            consider_shrinking(p, now_ms);
        }
    }
    bool behind = p->behind;
    partition_unlock(p);
    return behind;
}

/* ---- looking ---- */

err partition_look(struct partition *p, struct partition_look *look)
{
    partition_lock(p);
    err e = partition_check_log(p);
    if (e == OK) {
        int64_t high_watermark = partition_high_watermark(p);
        *look = (struct partition_look){
            .role = {.leader_epoch = p->state.leader_epoch,
                     .led_since = p->led_since,
                     .leads = p->is_leader},
            .partition_epoch = p->state.partition_epoch,
            .isr_n = p->state.isr.count,
            .high_watermark = high_watermark,
            .last_stable_offset = plog_last_stable_offset(p->log, high_watermark),
            .end_offset = plog_end_offset(p->log),
            .led_from = p->led_from,
        };
    }
    partition_unlock(p);
    return e;
}

/* ---- asking the controller ---- */

/* Who joins is who has fetched all that is needed; by now there may be another life under its id. */
static int64_t *epochs_of(const struct partition *p, const struct replica_set *isr,
                          struct arena *arena)
{
    int64_t *epochs = arena_array(arena, (size_t)isr->count, sizeof(*epochs));
    CHECK(epochs != NULL);
    for (int32_t i = 0; i < isr->count; i++) {
        const struct follower *follower = followers_find(&p->followers, isr->ids[i]);
        bool joins = !replica_set_holds(&p->state.isr, isr->ids[i]);
        epochs[i] = joins ? p->joiner_epoch : follower == NULL ? -1 : follower->broker_epoch;
    }
    return epochs;
}

bool partition_isr_proposal(struct partition *p, struct arena *arena, struct isr_proposal *proposal)
{
    partition_lock(p);
    bool wanted = p->pending != ISR_COMMITTED && p->is_leader;
    if (wanted) {
        const struct replica_set *isr = &p->pending_isr;
        int32_t *ids =
            arena_copy(arena, bytes_of(isr->ids, (size_t)isr->count * sizeof(*isr->ids)));
        CHECK(ids != NULL);
        *proposal = (struct isr_proposal){.leader_epoch = p->state.leader_epoch,
                                          .partition_epoch = p->state.partition_epoch,
                                          .isr = {.ids = ids, .count = isr->count},
                                          .broker_epochs = epochs_of(p, isr, arena)};
        if (!p->pending_said) {
            p->pending_said = true;
            say(p, p->pending == ISR_EXPANDS ? "expanding the ISR" : "shrinking the ISR", isr);
        }
    }
    partition_unlock(p);
    return wanted;
}

static void commit(struct partition *p, const struct isr_answer *answer)
{
    int32_t *ids = replica_ids_copy(&answer->isr);
    free(p->isr_ids);
    p->isr_ids = ids;
    p->state.isr = (struct replica_set){.ids = ids, .count = answer->isr.count};
    p->state.partition_epoch = answer->partition_epoch;
    events_add(p->events, p->pending == ISR_EXPANDS ? EVENT_ISR_EXPANDS : EVENT_ISR_SHRINKS, 1);
    partition_isr_settle(p);
    mark_members(p);
    say(p, "ISR changed", &p->state.isr);
    partition_advance(p, INT32_MAX);
    partition_isr_note_behind(p);
}

/* The controller would not have it so: what was committed holds, and may be asked for again. */
static void revert(struct partition *p)
{
    events_add(p->events, EVENT_FAILED_ISR_UPDATES, 1);
    partition_isr_settle(p);
    mark_members(p);
    partition_advance(p, INT32_MAX);
}

static bool answered(struct partition *p, const struct isr_proposal *proposal, err error,
                     const struct isr_answer *answer)
{
    if (p->pending == ISR_COMMITTED || !p->is_leader ||
        p->state.leader_epoch != proposal->leader_epoch ||
        p->state.partition_epoch != proposal->partition_epoch) {
        return false; /* to a change that is no more */
    }
    switch (error) {
    case OK:
        if (answer->leader_epoch == p->state.leader_epoch &&
            answer->partition_epoch >= p->state.partition_epoch) {
            commit(p, answer);
        }
        return false;
    case ERR_OPERATION_NOT_ATTEMPTED:
    case ERR_INELIGIBLE_REPLICA:
        revert(p);
        return false;
    case ERR_UNKNOWN_TOPIC_OR_PARTITION:
    case ERR_UNKNOWN_TOPIC_ID:
    case ERR_FENCED_LEADER_EPOCH:
    case ERR_INVALID_UPDATE_VERSION:
    case ERR_INVALID_REQUEST:
        return false; /* the controller knows something newer, which it will tell */
    default:
        return true;
    }
}

bool partition_isr_answered(struct partition *p, const struct isr_proposal *proposal, err error,
                            const struct isr_answer *answer)
{
    partition_lock(p);
    bool again = answered(p, proposal, error, answer);
    partition_unlock(p);
    return again;
}

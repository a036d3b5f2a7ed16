/* The states, and what leads from one to the next:
 *
 *   Empty ──add──▶ Ongoing ──end──▶ Prepare{Commit,Abort} ──markers──▶ Complete{Commit,Abort}
 *     ▲               ▲                                                    │     │
 *     │               └────────────────────────add─────────────────────────┘     │
 *     └───────────────────────────InitProducerId─────────────────────────────────┘
 *
 * Every arrow is a record of the log, and pending until that is stored. From a stored Prepare on the outcome is
 * decided; the transition to Complete is pending from then on, while markers are written.
 *
 * An open transaction that is not ended by its producer (another one with its id begins, or it takes too
 * long) is aborted with an epoch higher by one, which is in force at once: whoever had the old one is
 * fenced. If that cannot be stored the epoch stays, and is not raised again by the next try. */
#include "broker/coordinator/txn.h"

#include "base/check.h"
#include "base/planted.h"
#include "protocol/error.h"

#include <stdlib.h>

enum { LAST_EPOCH = INT16_MAX - 1 }; /* of a producer id; one more is kept for fencing */

const char *txn_state_name(enum txn_state state)
{
    static const char *const names[TXN_STATES] = {
        [TXN_EMPTY] = "Empty",
        [TXN_ONGOING] = "Ongoing",
        [TXN_PREPARE_COMMIT] = "PrepareCommit",
        [TXN_PREPARE_ABORT] = "PrepareAbort",
        [TXN_COMPLETE_COMMIT] = "CompleteCommit",
        [TXN_COMPLETE_ABORT] = "CompleteAbort",
        [TXN_DEAD] = "Dead",
    };
    CHECK(state >= 0 && state < TXN_STATES);
    return names[state];
}

/* ---- life ---- */

/* From a stored Prepare on the end is pending, until the markers are written. */
static enum txn_state pending_after(enum txn_state state)
{
    return state == TXN_PREPARE_COMMIT  ? TXN_COMPLETE_COMMIT
           : state == TXN_PREPARE_ABORT ? TXN_COMPLETE_ABORT
                                        : TXN_NOTHING_PENDING;
}

struct txn *txn_new_loaded(struct str id, const struct txn_values *values)
{
    struct txn *txn = xcalloc(1, sizeof(*txn));
    txn->id = (struct str){.data = str_dup(id), .len = id.len};
    txn->is = *values;
    txn->pending = pending_after(values->state);
    list_init(&txn->link);
    return txn;
}

struct txn *txn_new(struct str id, int64_t producer_id, int32_t timeout_ms, int64_t now_ms)
{
    const struct txn_values values = {.state = TXN_EMPTY,
                                      .producer_id = producer_id,
                                      .last_producer_id = TXN_NO_PRODUCER_ID,
                                      .epoch = TXN_NO_EPOCH,
                                      .last_epoch = TXN_NO_EPOCH,
                                      .timeout_ms = timeout_ms,
                                      .start_ms = -1,
                                      .update_ms = now_ms};
    return txn_new_loaded(id, &values);
}

void txn_free(struct txn *txn)
{
    txn_partitions_release(txn->is.partitions);
    free((void *)(uintptr_t)txn->id.data);
    free(txn);
}

static bool is_pending(const struct txn *txn)
{
    return txn->pending != TXN_NOTHING_PENDING;
}

static bool is_complete(enum txn_state state)
{
    return state == TXN_COMPLETE_COMMIT || state == TXN_COMPLETE_ABORT;
}

bool txn_is_prepared(enum txn_state state)
{
    return state == TXN_PREPARE_COMMIT || state == TXN_PREPARE_ABORT;
}

static bool is_exhausted(int16_t epoch)
{
    return epoch >= LAST_EPOCH;
}

/* ---- steps ---- */

static void answer(struct txn_step *step, err error)
{
    *step = (struct txn_step){.error = error};
}

/* The values as they are, to be changed by the caller, in another state. Partitions are shared. */
static struct txn_values *move(struct txn *txn, enum txn_state state, struct txn_step *step)
{
    *step = (struct txn_step){.store = true, .next = txn->is};
    step->next.state = state;
    step->next.last_producer_id = txn->is.producer_id;
    (void)txn_partitions_retain(step->next.partitions);
    txn->pending = state;
    return &step->next;
}

static void drop_partitions(struct txn_values *values)
{
    txn_partitions_release(values->partitions);
    values->partitions = NULL;
}

void txn_stored(struct txn *txn, struct txn_values *next)
{
    CHECK(txn->pending == next->state);
    struct txn_partitions *before = txn->is.partitions;
    int64_t start_ms = txn->is.start_ms;
    txn->is = *next;
    if (next->state == TXN_EMPTY) {
        txn->is.start_ms = start_ms; /* as in Kafka it is still told, though not in the log */
    }
    txn->pending = pending_after(txn->is.state);
    *next = (struct txn_values){0};
    txn_partitions_release(before);
    if (is_complete(txn->is.state)) {
        txn->is_fenced = false;
    }
}

void txn_not_stored(struct txn *txn, struct txn_values *next)
{
    CHECK(txn->pending == next->state);
    drop_partitions(next);
    if (!is_complete(next->state)) { /* that is tried again */
        txn->pending = TXN_NOTHING_PENDING;
    }
}

/* ---- InitProducerId ---- */

/* May one who believes this go on? (Its epoch is looked at later, and not at all while a transaction is
 * open.) */
static bool is_known_producer(const struct txn *txn, const struct txn_init *event)
{
    return event->producer_id == TXN_NO_PRODUCER_ID || txn->is.epoch == TXN_NO_EPOCH ||
           event->producer_id == txn->is.producer_id ||
           (event->producer_id == txn->is.last_producer_id && is_exhausted(event->epoch));
}

static void begin_anew(struct txn *txn, const struct txn_init *event, int64_t now_ms,
                       struct txn_step *step)
{
    struct txn_values *next = move(txn, TXN_EMPTY, step);
    drop_partitions(next);
    next->timeout_ms = event->timeout_ms;
    next->start_ms = -1;
    next->update_ms = now_ms;
}

static void rotate_producer_id(struct txn *txn, const struct txn_init *event, int64_t now_ms,
                               struct txn_step *step)
{
    if (event->fresh_producer_id == TXN_NO_PRODUCER_ID) {
        answer(step, E_NOT_FOUND);
        return;
    }
    bool expects = event->producer_id != TXN_NO_PRODUCER_ID;
    begin_anew(txn, event, now_ms, step);
    step->next.producer_id = event->fresh_producer_id;
    step->next.epoch = 0;
    step->next.last_epoch = expects ? txn->is.epoch : TXN_NO_EPOCH;
}

static void raise_epoch(struct txn *txn, const struct txn_init *event, int64_t now_ms,
                        struct txn_step *step)
{
    const struct txn_values *is = &txn->is;
    bool expects = event->producer_id != TXN_NO_PRODUCER_ID;
    if (is_exhausted(is->epoch)) { /* and the caller has another one */
        answer(step, ERR_UNKNOWN_SERVER_ERROR);
    } else if (!expects || is->epoch == TXN_NO_EPOCH || event->epoch == is->epoch) {
        begin_anew(txn, event, now_ms, step);
        step->next.epoch = (int16_t)(is->epoch + 1);
        step->next.last_epoch = expects ? is->epoch : TXN_NO_EPOCH;
    } else if (event->epoch == is->last_epoch) { /* again what was done already (KIP-360) */
        begin_anew(txn, event, now_ms, step);
    } else {
        answer(step, ERR_PRODUCER_FENCED);
    }
}

void txn_init_producer_id(struct txn *txn, const struct txn_init *event, int64_t now_ms,
                          struct txn_step *step)
{
    bool matches = event->producer_id == TXN_NO_PRODUCER_ID || event->epoch == txn->is.epoch;
    if (is_pending(txn)) {
        answer(step, ERR_CONCURRENT_TRANSACTIONS);
    } else if (!is_known_producer(txn, event)) {
        answer(step, ERR_PRODUCER_FENCED);
    } else if (txn->is.state == TXN_ONGOING) {
        txn_abort(txn, now_ms, step);
        step->error = step->store ? ERR_CONCURRENT_TRANSACTIONS : step->error;
    } else if (is_exhausted(txn->is.epoch) && matches) {
        rotate_producer_id(txn, event, now_ms, step);
    } else {
        raise_epoch(txn, event, now_ms, step);
    }
}

/* ---- what its producer does ---- */

static err check_producer(const struct txn *txn, struct txn_producer by)
{
    if (txn->is.producer_id != by.id || txn->is.epoch == TXN_NO_EPOCH) {
        return ERR_INVALID_PRODUCER_ID_MAPPING;
    }
    bool former = planted(MISTAKE_OLD_EPOCH) && by.epoch < txn->is.epoch;
    return txn->is.epoch == by.epoch || former ? OK : ERR_PRODUCER_FENCED;
}

void txn_add_partitions(struct txn *txn, struct txn_producer by, const struct txn_partitions *added,
                        int64_t now_ms, struct txn_step *step)
{
    err e = check_producer(txn, by);
    bool open = txn->is.state == TXN_ONGOING;
    if (e == OK && is_pending(txn)) {
        e = ERR_CONCURRENT_TRANSACTIONS;
    }
    if (e != OK || (open && txn_partitions_hold_all(txn->is.partitions, added))) {
        answer(step, e);
        return;
    }
    struct txn_values *next = move(txn, TXN_ONGOING, step);
    drop_partitions(next);
    next->partitions = txn_partitions_union(txn->is.partitions, added);
    next->start_ms = open ? txn->is.start_ms : now_ms;
    next->update_ms = now_ms;
}

err txn_verify(const struct txn *txn, struct txn_producer by)
{
    TRY(check_producer(txn, by));
    return txn_is_prepared(txn->is.state) ? ERR_CONCURRENT_TRANSACTIONS : OK;
}

err txn_verify_partition(const struct txn *txn, struct str topic, int32_t partition)
{
    return txn_partitions_hold(txn->is.partitions, topic, partition) ? OK
                                                                     : ERR_TRANSACTION_ABORTABLE;
}

/* Asked again, or asked for what cannot be any more. */
static err ended_already(const struct txn *txn, bool commit)
{
    switch (txn->is.state) {
    case TXN_COMPLETE_COMMIT:
        return commit ? OK : ERR_INVALID_TXN_STATE;
    case TXN_COMPLETE_ABORT:
        return commit ? ERR_INVALID_TXN_STATE : OK;
    default:
        return ERR_INVALID_TXN_STATE;
    }
}

static void prepare(struct txn *txn, enum txn_state state, int64_t now_ms, struct txn_step *step)
{
    struct txn_values *next = move(txn, state, step);
    next->update_ms = now_ms;
}

void txn_end(struct txn *txn, struct txn_producer by, bool commit, int64_t now_ms,
             struct txn_step *step)
{
    err e = check_producer(txn, by);
    if (e == OK && is_pending(txn)) {
        e = ERR_CONCURRENT_TRANSACTIONS;
    } else if (e == OK && txn->is.state != TXN_ONGOING) {
        e = ended_already(txn, commit);
    } else if (e == OK) {
        prepare(txn, commit ? TXN_PREPARE_COMMIT : TXN_PREPARE_ABORT, now_ms, step);
        return;
    }
    answer(step, e);
}

/* ---- what the coordinator does ---- */

void txn_begins_not_after(struct txn *txn, int64_t now_ms)
{
    txn->is.start_ms = txn->is.start_ms > now_ms ? now_ms : txn->is.start_ms;
}

bool txn_has_timed_out(const struct txn *txn, int64_t now_ms)
{
    return txn->is.state == TXN_ONGOING && !is_pending(txn) &&
           now_ms - txn->is.start_ms > txn->is.timeout_ms;
}

void txn_abort(struct txn *txn, int64_t now_ms, struct txn_step *step)
{
    CHECK(txn->is.state == TXN_ONGOING && !is_pending(txn));
    if (!txn->is_fenced && txn->is.epoch < INT16_MAX && !planted(MISTAKE_NO_NEW_EPOCH)) {
        txn->is.epoch++;
        txn->is.last_epoch = TXN_NO_EPOCH;
        txn->is_fenced = true;
    }
    prepare(txn, TXN_PREPARE_ABORT, now_ms, step);
}

void txn_markers_written(struct txn *txn, int64_t now_ms, struct txn_step *step)
{
    CHECK(txn_is_prepared(txn->is.state) && is_complete(txn->pending));
    struct txn_values *next = move(txn, txn->pending, step);
    drop_partitions(next);
    next->update_ms = now_ms;
}

bool txn_has_expired(const struct txn *txn, int64_t now_ms, int64_t expiration_ms)
{
    return (txn->is.state == TXN_EMPTY || is_complete(txn->is.state)) && !is_pending(txn) &&
           now_ms - txn->is.update_ms >= expiration_ms;
}

void txn_expire(struct txn *txn, struct txn_step *step)
{
    (void)move(txn, TXN_DEAD, step);
}

/* ---- checking ---- */

void txn_check(const struct txn *txn)
{
    const struct txn_values *is = &txn->is;
    CHECK(is->state >= 0 && is->state < TXN_STATES && is->epoch >= TXN_NO_EPOCH);
    CHECK(is->producer_id >= 0 && is->last_epoch >= TXN_NO_EPOCH);
    CHECK(txn_partitions_count(is->partitions) == 0 || is->state == TXN_ONGOING ||
          txn_is_prepared(is->state));
    CHECK(!txn_is_prepared(is->state) || is_complete(txn->pending));
}

/* The transactions of a shard: finding them, storing what they decide, carrying it out; timeouts and expiry.
 *
 * Transactions are looked through for timeouts at times that lie transaction.abort.timed.out… apart, and only
 * while some are open: an id that is not in use costs no timer. */
#include "broker/coordinator/txn_shard.h"

#include "base/check.h"
#include "base/log.h"
#include "base/planted.h"
#include "broker/coordinator/txn_markers.h"
#include "broker/coordinator/txn_records.h"

#include <stdlib.h>

enum {
    BATCH_LIMIT_BYTES = 128 << 20,
    RETRY_MS = 100,
    TOMBSTONES_BYTES_MAX = 16 << 10,
    TOMBSTONE_BYTES = 32, /* of a record, at most, beside the id */
};

#define AREA "transactions"

/* A transition that is being stored. */
struct txn_store {
    struct store store;
    struct txn *txn;
    struct txn_values next;
    struct txn_waiter *waiter; /* NULL: nobody */
    err answer;
};

/* ---- the gate ---- */

err txn_shard_lock(struct txn_coordinator *c, struct str id, struct txn_shard **out)
{
    struct shard *shard = NULL;
    *out = NULL;
    TRY(shards_lock(&c->shards, id, &shard));
    *out = txn_shard_of(shard);
    (*out)->is_at_gate = true;
    return OK;
}

void txn_shard_unlock(struct txn_shard *shard)
{
    struct txn_markers *markers = shard->coordinator->markers;
    struct list endings;
    list_init(&endings);
    list_each_safe (item, &shard->endings) {
        list_remove(item);
        list_append(&endings, item);
    }
    shard->is_at_gate = false;
    shard_unlock(&shard->shard);
    list_each_safe (item, &endings) {
        list_remove(item);
        txn_markers_begin(markers, container_of(item, struct txn_ending, link));
    }
}

struct txn *txn_shard_find(const struct txn_shard *shard, struct str id)
{
    return map_get_str(&shard->txns, id);
}

static void add(struct txn_shard *shard, struct txn *txn)
{
    CHECK(map_set_str(&shard->txns, txn->id, txn) == NULL);
}

static void drop(struct txn_shard *shard, struct txn *txn)
{
    CHECK(map_remove_str(&shard->txns, txn->id) == txn);
    list_remove(&txn->link);
    txn_free(txn);
}

/* ---- timeouts ---- */

/* When timeouts are looked for next, at or after that time. */
static int64_t next_look_ms(const struct txn_shard *shard, int64_t due_ms)
{
    const struct txn_coordinator *c = shard->coordinator;
    int64_t interval_ms = c->config.config->transaction_abort_timed_out_cleanup_interval_ms;
    int64_t past_ms = due_ms - c->began_ms;
    int64_t looks = past_ms <= 0 ? 1 : (past_ms + interval_ms - 1) / interval_ms;
    return c->began_ms + looks * interval_ms;
}

/* When it is aborted, unless it has ended by then; what could not be aborted at one look is at the next. */
static int64_t times_out_ms(const struct txn_shard *shard, const struct txn *txn)
{
    int64_t late_ms = txn->is.start_ms + txn->is.timeout_ms + 1;
    return next_look_ms(shard, late_ms > shard->looked_ms ? late_ms : shard->looked_ms + 1);
}

/* It is in the list that its state asks for. */
static void place(struct txn_shard *shard, struct txn *txn)
{
    list_remove(&txn->link);
    if (txn->is.state == TXN_ONGOING) {
        list_append(&shard->ongoing, &txn->link);
        shard_arm(&shard->shard, times_out_ms(shard, txn));
    }
}

/* ---- storing ---- */

static void complete(struct txn_shard *shard, struct txn *txn);

static void end_in_partitions(struct txn_shard *shard, struct txn *txn)
{
    struct txn_ending *ending = txn_ending_new(shard, txn);
    if (planted(MISTAKE_COMPLETES_EARLY)) {
        complete(shard, txn);
    }
    if (shard->is_at_gate) {
        list_append(&shard->endings, &ending->link);
    } else {
        txn_markers_begin_later(shard->coordinator->markers, ending);
    }
}

static void tell(struct txn_store *store, err error)
{
    struct txn_waiter *waiter = store->waiter;
    if (waiter != NULL) {
        waiter->error = error;
        waiter->producer_id = store->txn->is.producer_id;
        waiter->epoch = store->txn->is.epoch;
        waiter_wake(waiter->waiter);
    }
}

static void after_stored(struct txn_shard *shard, struct txn_store *store)
{
    struct txn *txn = store->txn;
    txn_stored(txn, &store->next);
    place(shard, txn);
    tell(store, store->answer);
    if (txn_is_prepared(txn->is.state)) {
        end_in_partitions(shard, txn);
    }
}

/* That a transaction is complete is tried again, for as long as this broker coordinates it. */
static void after_failure(struct txn_shard *shard, struct txn_store *store, err error)
{
    struct txn *txn = store->txn;
    txn_not_stored(txn, &store->next);
    tell(store, error);
    if (txn->is.epoch == TXN_NO_EPOCH) {
        drop(shard, txn);
    } else if (txn_is_prepared(txn->is.state) && error != ERR_NOT_COORDINATOR) {
        list_append(&shard->unstored, &txn->link);
        shard->retry_ms = shard_now_ms(&shard->shard) + RETRY_MS;
        shard_arm(&shard->shard, shard->retry_ms);
    }
}

static void on_stored(struct shard *base, struct store *stored, err outcome)
{
    struct txn_store *store = container_of(stored, struct txn_store, store);
    err e = shard_store_err(outcome, ERR_COORDINATOR_NOT_AVAILABLE, ERR_UNKNOWN_SERVER_ERROR);
    if (e == OK) {
        after_stored(txn_shard_of(base), store);
    } else {
        log_warn(AREA, "not stored partition=%d transactional.id=%.*s state=%s error=%s",
                 base->number, (int)store->txn->id.len, store->txn->id.data,
                 txn_state_name(store->next.state), kafka_error_name(outcome));
        after_failure(txn_shard_of(base), store, e);
    }
    free(store);
}

/* As in Kafka a transition waits for as long as its transaction may take; nobody waits for the last one. */
static int64_t timeout_ms(const struct txn_shard *shard, const struct txn_values *next)
{
    int64_t request_ms = shard->coordinator->config.config->request_timeout_ms;
    bool last = next->state == TXN_COMPLETE_COMMIT || next->state == TXN_COMPLETE_ABORT;
    return last && next->timeout_ms < request_ms ? request_ms : next->timeout_ms;
}

/* A batch of one record. */
static err make_batch(const struct txn_shard *shard, struct str id, const struct txn_values *values,
                      struct writer *writer)
{
    struct batch_builder batch;
    writer_init(writer, BATCH_LIMIT_BYTES);
    batch_begin(&batch, writer, CODEC_NONE);
    TRY(txn_record_add(&batch, shard_now_ms(&shard->shard), id, values));
    return batch_end(&batch);
}

static void store_next(struct txn_shard *shard, struct txn_store *store)
{
    struct writer writer;
    err e = make_batch(shard, store->txn->id, &store->next, &writer);
    if (e != OK) {
        writer_deinit(&writer);
        on_stored(&shard->shard, &store->store, ERR_RECORD_LIST_TOO_LARGE);
        return;
    }
    if (planted(MISTAKE_ANSWERS_EARLY) && txn_is_prepared(store->next.state)) {
        tell(store, store->answer);
        store->waiter = NULL;
    }
    shard_store(&shard->shard, &writer, &store->store, timeout_ms(shard, &store->next));
}

/* An answer that changes nothing, and is to be true. */
struct txn_confirmation {
    struct store store;
    struct txn_waiter *waiter;
};

static void on_confirmed(struct shard *base, struct store *stored, err outcome)
{
    struct txn_confirmation *confirmation = container_of(stored, struct txn_confirmation, store);
    (void)base;
    confirmation->waiter->error =
        shard_store_err(outcome, ERR_COORDINATOR_NOT_AVAILABLE, ERR_UNKNOWN_SERVER_ERROR);
    waiter_wake(confirmation->waiter->waiter);
    free(confirmation);
}

/* That something is so already is told when it has been stored once more: another broker may coordinate by now, and
 * this one be the last to hear of it. (Kafka answers at once.) */
static err confirm(struct txn_shard *shard, const struct txn *txn, struct txn_waiter *waiter)
{
    struct writer writer;
    err e = make_batch(shard, txn->id, &txn->is, &writer);
    if (e != OK) {
        writer_deinit(&writer);
        return ERR_UNKNOWN_SERVER_ERROR;
    }
    struct txn_confirmation *confirmation = xcalloc(1, sizeof(*confirmation));
    *confirmation = (struct txn_confirmation){.store.done = on_confirmed, .waiter = waiter};
    shard_store(&shard->shard, &writer, &confirmation->store, timeout_ms(shard, &txn->is));
    return E_BUSY;
}

/* Carries out what came of an event. */
static err carry_out(struct txn_shard *shard, struct txn *txn, const struct txn_step *step,
                     struct txn_waiter *waiter)
{
    if (DEBUG_CHECKS) {
        txn_check(txn);
    }
    if (!step->store) {
        bool may_be_old = step->error == OK && partition_leads_for_others(shard->shard.partition);
        return may_be_old ? confirm(shard, txn, waiter) : step->error;
    }
    struct txn_store *store = xcalloc(1, sizeof(*store));
    *store = (struct txn_store){.store.done = on_stored,
                                .txn = txn,
                                .next = step->next,
                                .waiter = waiter,
                                .answer = step->error};
    store_next(shard, store);
    return E_BUSY;
}

/* ---- events ---- */

err txn_shard_init_producer_id(struct txn_shard *shard, struct str id, const struct txn_init *event,
                               struct txn_waiter *waiter)
{
    struct txn *txn = txn_shard_find(shard, id);
    struct txn_step step;
    int64_t now_ms = shard_now_ms(&shard->shard);
    if (txn == NULL && event->fresh_producer_id == TXN_NO_PRODUCER_ID) {
        return E_NOT_FOUND;
    }
    if (txn == NULL) {
        txn = txn_new(id, event->fresh_producer_id, event->timeout_ms, now_ms);
        add(shard, txn);
    }
    txn_init_producer_id(txn, event, now_ms, &step);
    return carry_out(shard, txn, &step, waiter);
}

err txn_shard_add_partitions(struct txn_shard *shard, struct str id, struct txn_producer by,
                             const struct txn_partitions *added, struct txn_waiter *waiter)
{
    struct txn *txn = txn_shard_find(shard, id);
    struct txn_step step;
    if (txn == NULL) {
        return ERR_INVALID_PRODUCER_ID_MAPPING;
    }
    txn_add_partitions(txn, by, added, shard_now_ms(&shard->shard), &step);
    return carry_out(shard, txn, &step, waiter);
}

err txn_shard_end(struct txn_shard *shard, struct str id, struct txn_producer by, bool commit,
                  struct txn_waiter *waiter)
{
    struct txn *txn = txn_shard_find(shard, id);
    struct txn_step step;
    if (txn == NULL) {
        return ERR_INVALID_PRODUCER_ID_MAPPING;
    }
    txn_end(txn, by, commit, shard_now_ms(&shard->shard), &step);
    return carry_out(shard, txn, &step, waiter);
}

static void complete(struct txn_shard *shard, struct txn *txn)
{
    struct txn_step step;
    txn_markers_written(txn, shard_now_ms(&shard->shard), &step);
    err_ignore(carry_out(shard, txn, &step, NULL)); /* nobody waits for it */
}

void txn_shard_markers_written(struct txn_shard *shard, const struct txn_ending *ending)
{
    shard_lock(&shard->shard);
    struct txn *txn = txn_shard_find(shard, ending->id);
    if (shard->shard.state == SHARD_ACTIVE && shard->life == ending->life && txn != NULL &&
        !planted(MISTAKE_COMPLETES_EARLY)) {
        complete(shard, txn);
    }
    shard_unlock(&shard->shard);
}

/* ---- what is due ---- */

static void time_out(struct txn_shard *shard, struct txn *txn, int64_t now_ms)
{
    struct txn_step step;
    log_info(AREA, "timed out, aborted transactional.id=%.*s producer=%lld epoch=%d",
             (int)txn->id.len, txn->id.data, (long long)txn->is.producer_id, txn->is.epoch);
    txn_abort(txn, now_ms, &step);
    err_ignore(carry_out(shard, txn, &step, NULL)); /* nobody waits for it */
}

static int64_t look_for_timeouts(struct txn_shard *shard, int64_t now_ms)
{
    list_each_safe (item, &shard->ongoing) {
        struct txn *txn = container_of(item, struct txn, link);
        if (txn_has_timed_out(txn, now_ms) && times_out_ms(shard, txn) <= now_ms) {
            time_out(shard, txn, now_ms);
        }
    }
    shard->looked_ms = now_ms;
    int64_t next_ms = INT64_MAX;
    list_each (item, &shard->ongoing) {
        int64_t due_ms = times_out_ms(shard, container_of(item, struct txn, link));
        next_ms = due_ms < next_ms ? due_ms : next_ms;
    }
    return next_ms;
}

static void retry_completions(struct txn_shard *shard)
{
    struct list due;
    list_init(&due);
    list_each_safe (item, &shard->unstored) {
        list_remove(item);
        list_append(&due, item);
    }
    list_each_safe (item, &due) {
        struct txn *txn = container_of(item, struct txn, link);
        list_remove(item);
        complete(shard, txn);
    }
}

static int64_t tick(struct shard *base, int64_t now_ms)
{
    struct txn_shard *shard = txn_shard_of(base);
    if (!list_empty(&shard->unstored) && shard->retry_ms <= now_ms) {
        retry_completions(shard);
    }
    int64_t next_ms = look_for_timeouts(shard, now_ms);
    bool retry = !list_empty(&shard->unstored) && shard->retry_ms < next_ms;
    return retry ? shard->retry_ms : next_ms;
}

/* ---- expiry ---- */

/* Ids whose tombstones are one batch. */
struct txn_removal {
    struct store store;
    size_t count;
    struct txn *txns[TOMBSTONES_BYTES_MAX / TOMBSTONE_BYTES];
    struct txn_values next[TOMBSTONES_BYTES_MAX / TOMBSTONE_BYTES];
};

static void on_removed(struct shard *base, struct store *stored, err outcome)
{
    struct txn_removal *removal = container_of(stored, struct txn_removal, store);
    for (size_t i = 0; i < removal->count; i++) {
        struct txn *txn = removal->txns[i];
        if (outcome == OK) {
            txn_stored(txn, &removal->next[i]);
            drop(txn_shard_of(base), txn);
        } else {
            txn_not_stored(txn, &removal->next[i]);
        }
    }
    if (outcome != OK) {
        log_warn(AREA, "expired ids not removed partition=%d error=%s", base->number,
                 kafka_error_name(outcome));
    }
    free(removal);
}

static void remove_now(struct txn_shard *shard, struct txn_removal *removal, struct writer *writer,
                       struct batch_builder *batch)
{
    int64_t timeout_ms = shard->coordinator->config.config->request_timeout_ms;
    removal->store.done = on_removed;
    err e = batch_end(batch);
    if (e != OK) {
        writer_deinit(writer);
        on_removed(&shard->shard, &removal->store, ERR_RECORD_LIST_TOO_LARGE);
        return;
    }
    shard_store(&shard->shard, writer, &removal->store, timeout_ms);
}

static bool has_room(const struct txn_removal *removal, const struct writer *writer,
                     const struct txn *next)
{
    size_t cap = sizeof(removal->txns) / sizeof(removal->txns[0]);
    return removal->count == 0 ||
           (removal->count < cap &&
            writer->len + TOMBSTONE_BYTES + next->id.len <= TOMBSTONES_BYTES_MAX);
}

static void remove_all(struct txn_shard *shard, struct txn **expired, size_t count, int64_t now_ms)
{
    for (size_t i = 0; i < count;) {
        struct txn_removal *removal = xcalloc(1, sizeof(*removal));
        struct writer writer;
        struct batch_builder batch;
        writer_init(&writer, BATCH_LIMIT_BYTES);
        batch_begin(&batch, &writer, CODEC_NONE);
        for (; i < count && has_room(removal, &writer, expired[i]); i++) {
            struct txn_step step;
            txn_expire(expired[i], &step);
            removal->txns[removal->count] = expired[i];
            removal->next[removal->count++] = step.next;
            CHECK(txn_record_add_tombstone(&batch, now_ms, expired[i]->id) == OK);
        }
        remove_now(shard, removal, &writer, &batch);
    }
}

void txn_shard_expire(struct txn_shard *shard, int64_t now_ms)
{
    int64_t expiration_ms = shard->coordinator->config.config->transactional_id_expiration_ms;
    struct txn **expired = NULL;
    size_t count = 0;
    map_each (entry, &shard->txns) {
        if (txn_has_expired(entry->value, now_ms, expiration_ms)) {
            expired = expired == NULL ? xcalloc(shard->txns.count, sizeof(*expired)) : expired;
            expired[count++] = entry->value;
        }
    }
    remove_all(shard, expired, count, now_ms);
    free(expired);
}

/* ---- the kind ---- */

static struct shard *make(struct shards *shards, int32_t number)
{
    struct txn_shard *shard = xcalloc(1, sizeof(*shard));
    shard_init(&shard->shard, shards, number);
    shard->coordinator = shards->config.owner;
    map_init(&shard->txns);
    list_init(&shard->ongoing);
    list_init(&shard->unstored);
    list_init(&shard->endings);
    return &shard->shard;
}

static void clear(struct txn_shard *shard)
{
    map_each (entry, &shard->txns) {
        struct txn *txn = entry->value;
        list_remove(&txn->link);
        txn_free(txn);
    }
    map_deinit(&shard->txns);
    list_each_safe (item, &shard->endings) {
        list_remove(item);
        txn_ending_free(container_of(item, struct txn_ending, link));
    }
}

static void unmake(struct shard *base)
{
    struct txn_shard *shard = txn_shard_of(base);
    clear(shard);
    shard_deinit(base);
    free(shard);
}

static void forget(struct shard *base, err error)
{
    struct txn_shard *shard = txn_shard_of(base);
    (void)error; /* who waits, waits for a store, and has been told */
    clear(shard);
    shard->life++;
}

/* The last record of an id counts. */
static err apply(struct shard *base, struct arena *arena, const struct batch *batch,
                 const struct record *record)
{
    struct txn_shard *shard = txn_shard_of(base);
    struct txn_values values = {0};
    struct str id;
    if (batch_is(batch, BATCH_CONTROL) || record->key.data == NULL) {
        return OK;
    }
    TRY(txn_record_read_key(record->key, arena, &id));
    if (id.data == NULL) {
        return OK;
    }
    if (record->value.data != NULL) {
        TRY(txn_record_read(record->value, arena, &values));
    }
    struct txn *before = txn_shard_find(shard, id);
    if (before != NULL) {
        drop(shard, before);
    }
    if (record->value.data != NULL) {
        add(shard, txn_new_loaded(id, &values));
    }
    return OK;
}

/* What was decided goes on from there; what is open waits for its producer, or its timeout. */
static size_t loaded(struct shard *base)
{
    struct txn_shard *shard = txn_shard_of(base);
    map_each (entry, &shard->txns) {
        struct txn *txn = entry->value;
        txn_begins_not_after(txn, shard_now_ms(base));
        if (!planted(MISTAKE_FORGETS_TIMEOUTS)) {
            place(shard, txn);
        }
        if (txn_is_prepared(txn->is.state) && !planted(MISTAKE_NO_SECOND_MARKERS)) {
            end_in_partitions(shard, txn);
        }
    }
    return shard->txns.count;
}

static void check(const struct shard *base)
{
    const struct txn_shard *shard = container_of(base, struct txn_shard, shard);
    bool holds = base->state == SHARD_ACTIVE || base->state == SHARD_LOADING;
    CHECK(holds || shard->txns.count == 0);
    CHECK(list_empty(&shard->endings));
}

const struct shard_kind txn_shard_kind = {
    .topic = "__transaction_state",
    .what = "transactions",
    .make = make,
    .unmake = unmake,
    .apply = apply,
    .passes_over = false,
    .only_committed = true,
    .loaded = loaded,
    .forget = forget,
    .tick = tick,
    .check = check,
};

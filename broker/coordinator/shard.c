/* Owning a partition, storing batches, timers.
 *
 * A store that is not safe at once (the high watermark waits for a flush or for followers) stands
 * in a queue, in the order of their offsets, and the shard watches the partition for the first of
 * them. The partition's news come under its lock, so they only post, and the background thread
 * completes the queue's head under the shard's lock.
 *
 * A log that is not small is loaded piece by piece, and other work of the background thread goes on between
 * the pieces. What a new leader has loaded above the high watermark may still be lost with its lead: a kind that
 * acts on what is there (markers cannot be taken back) is loading until that has been passed. */
#include "broker/coordinator/shard.h"

#include "base/check.h"
#include "base/log.h"

#include <stdlib.h>

enum { LOAD_AT_ONCE_BYTES = 4 << 20 };

#define AREA "coordinator"

static void on_timer(struct timer *timer);
static void on_arm(struct loop_task *task);
static void on_advance(struct loop_task *task);
static void on_load(struct loop_task *task);
static void on_partition(struct waiter *waiter);

static const struct shard_kind *kind_of(const struct shard *shard)
{
    return shard->shards->config.kind;
}

static struct loop *background(const struct shard *shard)
{
    return shard->shards->config.background;
}

static bool is_stopping(const struct shard *shard)
{
    return atomic_load(&shard->shards->stopping);
}

void shard_init(struct shard *shard, struct shards *shards, int32_t number)
{
    shard->shards = shards;
    shard->number = number;
    shard->armed_ms = INT64_MAX;
    shard->timer.fire = on_timer;
    shard->arm.run = on_arm;
    shard->advance.run = on_advance;
    shard->waiter.wake = on_partition;
    shard->go_on_loading.run = on_load;
    pthread_mutex_init(&shard->lock, NULL);
    list_init(&shard->stores);
}

void shard_deinit(struct shard *shard)
{
    CHECK(list_empty(&shard->stores) && shard->load == NULL);
    partition_release(shard->partition);
    pthread_mutex_destroy(&shard->lock);
}

int64_t shard_now_ms(const struct shard *shard)
{
    return shards_now_ms(shard->shards);
}

/* The queue is in the order of the log, and its head is what is watched for. */
static void check_stores(const struct shard *shard)
{
    const struct store *before = NULL;
    list_each (item, &shard->stores) {
        const struct store *store = container_of(item, struct store, link);
        if (before == NULL) {
            CHECK(shard->watch.partition == shard->partition);
            CHECK(shard->watch.offset == store->appended.required_offset);
        } else {
            CHECK(store->appended.required_offset > before->appended.required_offset);
            CHECK(store->appended.leader_epoch >= before->appended.leader_epoch);
        }
        CHECK(shard->armed_ms <= store->deadline_ms || is_stopping(shard));
        before = store;
    }
    CHECK(before != NULL || shard->watch.partition == NULL || shard->state == SHARD_LOADING);
}

static void shard_check(const struct shard *shard)
{
    bool active = shard->state == SHARD_ACTIVE;
    CHECK(shard->state == SHARD_NOT_OWNED || shard->partition != NULL);
    CHECK((shard->state == SHARD_LOADING) == (shard->load != NULL));
    CHECK(active || list_empty(&shard->stores));
    check_stores(shard);
    kind_of(shard)->check(shard);
}

void shard_lock(struct shard *shard)
{
    pthread_mutex_lock(&shard->lock);
}

void shard_unlock(struct shard *shard)
{
    if (DEBUG_CHECKS) {
        shard_check(shard);
    }
    pthread_mutex_unlock(&shard->lock);
}

err shard_ready_at_a_glance(const struct shard *shard)
{
    switch (atomic_load(&shard->state)) {
    case SHARD_ACTIVE:
        return OK;
    case SHARD_LOADING:
        return ERR_COORDINATOR_LOAD_IN_PROGRESS;
    case SHARD_BROKEN:
        return ERR_COORDINATOR_NOT_AVAILABLE;
    default:
        return ERR_NOT_COORDINATOR;
    }
}

/* The partition hears the controller first: until shard_elect() or shard_resign() what the shard holds is of
 * before, and is asked nothing. */
err shard_ready_locked(const struct shard *shard)
{
    TRY(shard_ready_at_a_glance(shard));
    struct partition_role role = partition_role(shard->partition);
    if (!role.leads) {
        return ERR_NOT_COORDINATOR;
    }
    return role.led_since <= shard->leader_epoch ? OK : ERR_COORDINATOR_LOAD_IN_PROGRESS;
}

/* ---- ownership ---- */

static void end_load(struct shard *shard)
{
    watch_remove(&shard->watch);
    shard_load_free(shard->load);
    shard->load = NULL;
}

static void give_up_load(struct shard *shard)
{
    end_load(shard);
    atomic_store(&shard->state, SHARD_NOT_OWNED);
    kind_of(shard)->forget(shard, ERR_NOT_COORDINATOR);
}

static void fail_load(struct shard *shard, err e, int64_t at)
{
    log_error(AREA, "cannot load %s topic=%s partition=%d offset=%lld error=\"%s\"",
              kind_of(shard)->what, kind_of(shard)->topic, shard->number, (long long)at,
              err_text(e));
    give_up_load(shard);
    atomic_store(&shard->state, SHARD_BROKEN);
}

static void finish_load(struct shard *shard)
{
    CHECK(list_empty(&shard->stores));
    end_load(shard);
    atomic_store(&shard->state, SHARD_ACTIVE);
    shards_note_load(shard->shards, shards_now_ms(shard->shards) - shard->load_began_ms);
    size_t count = kind_of(shard)->loaded(shard);
    if (count > 0) {
        log_info(AREA, "%s loaded partition=%d %s=%zu", kind_of(shard)->what, shard->number,
                 kind_of(shard)->what, count);
    }
}

/* Is what has been loaded below the high watermark? Else it is watched for. */
static bool is_committed(struct shard *shard, int64_t end_offset)
{
    const struct partition_append all = {.required_offset = end_offset,
                                         .leader_epoch = shard->leader_epoch};
    bool committed = false;
    watch_remove(&shard->watch);
    if (!kind_of(shard)->only_committed || end_offset == 0) {
        return true;
    }
    err_ignore(partition_is_committed(shard->partition, &all, -1, &committed)); /* of a lead that is
                                                  * lost: whoever tells that ends the load */
    if (!committed) {
        shard->watch = (struct watch){
            .waiter = &shard->waiter, .offset = end_offset, .leader_epoch = shard->leader_epoch};
        watch_add(&shard->watch, shard->partition);
    }
    return committed;
}

/* One piece, or with `to_the_end` all. */
static void load_locked(struct shard *shard, bool to_the_end)
{
    struct plog *log = NULL;
    bool done = false;
    int64_t at = -1;
    int64_t end_offset = 0;
    if (partition_pin(shard->partition, -1, false, &log) != OK) {
        give_up_load(shard); /* it is led no more, or lost */
        return;
    }
    err e = OK;
    do {
        e = shard_load_piece(shard->load, log, &done, &at);
    } while (e == OK && !done && to_the_end);
    end_offset = plog_end_offset(log);
    partition_unpin(shard->partition, log);
    if (e != OK) {
        fail_load(shard, e, at);
    } else if (done && is_committed(shard, end_offset)) {
        finish_load(shard);
    }
}

static void post_load(struct shard *shard)
{
    if (!shard->load_posted) { /* an earlier election's may still be queued: it will do */
        shard->load_posted = true;
        loop_post(background(shard), &shard->go_on_loading);
    }
}

static void on_load(struct loop_task *task)
{
    struct shard *shard = container_of(task, struct shard, go_on_loading);
    shard_lock(shard);
    shard->load_posted = false;
    if (shard->state == SHARD_LOADING) {
        load_locked(shard, false);
    }
    if (shard->state == SHARD_LOADING && shard->watch.partition == NULL) {
        post_load(shard);
    }
    shard_unlock(shard);
}

static void store_end(struct shard *shard, struct store *store, err outcome)
{
    list_remove(&store->link);
    store->done(shard, store, outcome);
}

static void fail_stores(struct shard *shard, err error)
{
    watch_remove(&shard->watch);
    while (!list_empty(&shard->stores)) {
        struct store *store = container_of(shard->stores.next, struct store, link);
        store_end(shard, store, error);
    }
}

static void resign_locked(struct shard *shard, err error)
{
    if (shard->state == SHARD_NOT_OWNED) {
        return;
    }
    end_load(shard);
    atomic_store(&shard->state, SHARD_NOT_OWNED);
    fail_stores(shard, error);
    kind_of(shard)->forget(shard, error);
}

void shard_resign(struct shard *shard, err error)
{
    shard_lock(shard);
    resign_locked(shard, error);
    shard_unlock(shard);
}

/* A small log is loaded at once; for a large one the caller does not wait. */
static void begin_load(struct shard *shard)
{
    struct plog *log = NULL;
    bool small = false;
    if (partition_pin(shard->partition, -1, true, &log) == OK) {
        small = plog_size_bytes(log) <= LOAD_AT_ONCE_BYTES;
        partition_unpin(shard->partition, log);
    }
    shard->load = shard_load_new(shard);
    shard->load_began_ms = shards_now_ms(shard->shards);
    atomic_store(&shard->state, SHARD_LOADING);
    if (small) {
        load_locked(shard, true);
    } else {
        post_load(shard);
    }
}

/* A lead that was lost and regained without a word in between may have seen another coordinator write:
 * what was loaded before is not believed. */
void shard_elect(struct shard *shard, struct partition *p, int32_t leader_epoch, bool uninterrupted)
{
    CHECK(leader_epoch >= 0);
    shard_lock(shard);
    if (is_stopping(shard)) {
        shard_unlock(shard);
        return;
    }
    if (!uninterrupted) {
        resign_locked(shard, ERR_NOT_COORDINATOR);
    }
    shard->leader_epoch = leader_epoch;
    if (shard->state == SHARD_NOT_OWNED) {
        partition_retain(p);
        partition_release(shard->partition);
        shard->partition = p;
        begin_load(shard);
    }
    shard_unlock(shard);
}

/* ---- storing ---- */

static void watch_first(struct shard *shard)
{
    watch_remove(&shard->watch);
    if (!list_empty(&shard->stores)) {
        const struct store *store = container_of(shard->stores.next, struct store, link);
        shard->watch = (struct watch){.waiter = &shard->waiter,
                                      .offset = store->appended.required_offset,
                                      .leader_epoch = store->appended.leader_epoch};
        watch_add(&shard->watch, shard->partition);
    }
}

void shard_store(struct shard *shard, struct writer *batch, struct store *store, int64_t timeout_ms)
{
    CHECK(shard->partition != NULL && store->done != NULL);
    struct partition_append_as as = {
        .origin = APPEND_COORDINATOR, .required_acks = -1, .guard = store->guard};
    err e = batch->failed ? ERR_RECORD_LIST_TOO_LARGE
                          : partition_append_as(shard->partition, batch->data, batch->len, &as,
                                                &store->appended);
    writer_deinit(batch);
    if (e != OK) {
        store->done(shard, store, kafka_error_of_log(e));
        return;
    }
    if (store->appended.committed && list_empty(&shard->stores)) {
        store->done(shard, store, OK);
        return;
    }
    store->deadline_ms = shard_now_ms(shard) + timeout_ms;
    bool first = list_empty(&shard->stores);
    list_append(&shard->stores, &store->link);
    shard_arm(shard, store->deadline_ms);
    if (first) {
        watch_first(shard);
    }
}

err shard_store_err(err outcome, err timed_out, err too_large)
{
    switch (outcome) {
    case ERR_UNKNOWN_TOPIC_OR_PARTITION:
    case ERR_NOT_ENOUGH_REPLICAS:
    case ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
        return ERR_COORDINATOR_NOT_AVAILABLE;
    case ERR_NOT_LEADER_OR_FOLLOWER:
    case ERR_KAFKA_STORAGE_ERROR:
        return ERR_NOT_COORDINATOR;
    case ERR_REQUEST_TIMED_OUT:
        return timed_out;
    case ERR_MESSAGE_TOO_LARGE:
    case ERR_RECORD_LIST_TOO_LARGE:
        return too_large;
    default:
        return outcome;
    }
}

size_t shard_batch_bytes_max(const struct shard *shard)
{
    struct plog *log = NULL;
    if (partition_pin(shard->partition, -1, false, &log) != OK) {
        return SIZE_MAX; /* nothing can be appended, whatever its size */
    }
    struct log_config config = plog_config(log);
    partition_unpin(shard->partition, log);
    return (size_t)(config.max_message_bytes < config.segment_bytes ? config.max_message_bytes
                                                                    : config.segment_bytes);
}

static void on_partition(struct waiter *waiter)
{
    struct shard *shard = container_of(waiter, struct shard, waiter);
    if (!atomic_exchange(&shard->advance_posted, true)) {
        loop_post(background(shard), &shard->advance);
    }
}

static void on_advance(struct loop_task *task)
{
    struct shard *shard = container_of(task, struct shard, advance);
    atomic_store(&shard->advance_posted, false);
    shard_lock(shard);
    if (shard->state == SHARD_LOADING && shard->watch.partition != NULL) {
        load_locked(shard, true); /* all is read: is it committed by now? */
        shard_unlock(shard);
        return;
    }
    while (!list_empty(&shard->stores)) {
        struct store *store = container_of(shard->stores.next, struct store, link);
        bool committed = false;
        err e = partition_is_committed(shard->partition, &store->appended, -1, &committed);
        if (e == OK && !committed) {
            break;
        }
        store_end(shard, store, kafka_error_of_log(e));
    }
    watch_first(shard);
    shard_unlock(shard);
}

/* Those of all kinds of deadlines; returns when the next is due. Short ones may stand behind long ones. */
static int64_t expire_stores(struct shard *shard, int64_t now_ms)
{
    bool expired = false;
    int64_t next_ms = INT64_MAX;
    list_each_safe (item, &shard->stores) {
        struct store *store = container_of(item, struct store, link);
        if (store->deadline_ms <= now_ms) {
            store_end(shard, store, ERR_REQUEST_TIMED_OUT);
            expired = true;
        } else if (store->deadline_ms < next_ms) {
            next_ms = store->deadline_ms;
        }
    }
    if (expired) {
        watch_first(shard);
    }
    return next_ms;
}

/* ---- timers ---- */

void shard_arm(struct shard *shard, int64_t due_ms)
{
    if (due_ms >= shard->armed_ms || is_stopping(shard)) {
        return;
    }
    shard->armed_ms = due_ms;
    if (!shard->arm_posted) {
        shard->arm_posted = true;
        loop_post(background(shard), &shard->arm);
    }
}

static void on_arm(struct loop_task *task)
{
    struct shard *shard = container_of(task, struct shard, arm);
    shard_lock(shard);
    shard->arm_posted = false;
    if (!is_stopping(shard) && shard->armed_ms != INT64_MAX) {
        timer_start(background(shard), &shard->timer, shard->armed_ms - shard_now_ms(shard));
    }
    shard_unlock(shard);
}

static void on_timer(struct timer *timer)
{
    struct shard *shard = container_of(timer, struct shard, timer);
    shard_lock(shard);
    shard->armed_ms = INT64_MAX;
    int64_t now_ms = shard_now_ms(shard);
    shard_arm(shard, expire_stores(shard, now_ms));
    if (shard_ready_locked(shard) == OK) {
        shard_arm(shard, kind_of(shard)->tick(shard, now_ms));
    }
    shard_unlock(shard);
}

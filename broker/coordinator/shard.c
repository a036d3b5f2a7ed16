/* Owning a partition, storing batches, carrying out what groups decide, timers.
 *
 * A store that is not safe at once (the high watermark waits for a flush or for followers) stands
 * in a queue, in the order of their offsets, and the shard watches the partition for the first of
 * them. The partition's news come under its lock, so they only post, and the background thread
 * completes the queue's head under the shard's lock. */
#include "broker/coordinator/shard.h"

#include "base/check.h"
#include "base/log.h"
#include "broker/coordinator/group.h"

#include <stdlib.h>

enum { LOAD_AT_ONCE_BYTES = 4 << 20, BATCH_LIMIT_BYTES = 128 << 20 };

struct store {
    struct list link;
    struct partition_append appended;
    int64_t deadline_ms;
    void (*done)(struct shard *shard, void *context, err outcome);
    void *context;
    struct store_commits commits;
};

static void arm(struct shard *shard, int64_t due_ms);
static void on_timer(struct timer *timer);
static void on_arm(struct loop_task *task);
static void on_advance(struct loop_task *task);
static void on_load(struct loop_task *task);
static void on_partition(struct waiter *waiter);

struct shard *shard_new(struct coordinator *coordinator, int32_t number)
{
    struct shard *shard = xcalloc(1, sizeof(*shard));
    shard->coordinator = coordinator;
    shard->number = number;
    shard->armed_ms = INT64_MAX;
    shard->timer.fire = on_timer;
    shard->arm.run = on_arm;
    shard->advance.run = on_advance;
    shard->waiter.wake = on_partition;
    shard->load.run = on_load;
    pthread_mutex_init(&shard->lock, NULL);
    map_init(&shard->groups);
    pending_offsets_init(&shard->pending);
    list_init(&shard->stores);
    return shard;
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
            CHECK(shard->armed_ms <= store->deadline_ms ||
                  atomic_load(&shard->coordinator->stopping));
        } else {
            CHECK(store->appended.required_offset > before->appended.required_offset);
            CHECK(store->appended.leader_epoch >= before->appended.leader_epoch);
        }
        CHECK(store->appended.leader_epoch <= shard->leader_epoch);
        before = store;
    }
    CHECK(before != NULL || shard->watch.partition == NULL);
}

static void shard_check(const struct shard *shard)
{
    bool active = shard->state == SHARD_ACTIVE;
    CHECK(shard->state == SHARD_NOT_OWNED || shard->partition != NULL);
    CHECK(active || (shard->groups.count == 0 && shard->pending.by_producer.count == 0));
    CHECK(active || list_empty(&shard->stores));
    check_stores(shard);
}

void shard_unlock(struct shard *shard)
{
    if (DEBUG_CHECKS) {
        shard_check(shard);
    }
    pthread_mutex_unlock(&shard->lock);
}

static void groups_clear(struct shard *shard)
{
    map_each (entry, &shard->groups) {
        offsets_clear(entry->value);
        group_free(entry->value);
    }
    map_deinit(&shard->groups);
    map_init(&shard->groups);
}

void shard_free(struct shard *shard)
{
    CHECK(list_empty(&shard->stores));
    groups_clear(shard);
    pending_offsets_clear(&shard->pending);
    map_deinit(&shard->groups);
    partition_release(shard->partition);
    pthread_mutex_destroy(&shard->lock);
    free(shard);
}

/* The partition hears the controller first: until shard_elect() or shard_resign() the groups are those
 * of before, and are asked nothing. */
static err groups_are_current(const struct shard *shard)
{
    struct partition_role role = partition_role(shard->partition);
    if (!role.leads) {
        return ERR_NOT_COORDINATOR;
    }
    return role.led_since <= shard->leader_epoch ? OK : ERR_COORDINATOR_LOAD_IN_PROGRESS;
}

err shard_ready_locked(const struct shard *shard)
{
    switch (shard->state) {
    case SHARD_ACTIVE:
        return groups_are_current(shard);
    case SHARD_LOADING:
        return ERR_COORDINATOR_LOAD_IN_PROGRESS;
    default:
        return ERR_NOT_COORDINATOR;
    }
}

struct group *shard_group(struct shard *shard, struct str id)
{
    return map_get_str(&shard->groups, id);
}

struct group *shard_group_add(struct shard *shard, struct str id)
{
    struct group *group = group_new(id, coordinator_now_ms(shard->coordinator));
    CHECK(map_set_str(&shard->groups, group->id, group) == NULL);
    return group;
}

void shard_group_remove(struct shard *shard, struct group *group)
{
    CHECK(map_remove_str(&shard->groups, group->id) == group);
    offsets_clear(group);
    group_free(group);
}

/* ---- ownership ---- */

static void begin_groups(struct shard *shard)
{
    map_each (entry, &shard->groups) {
        struct group *group = entry->value;
        struct group_output out;
        group_output_init(&out);
        group_loaded(group, &shard->coordinator->limits, coordinator_now_ms(shard->coordinator),
                     &out);
        shard_finish_event(shard, group, &out);
        group_output_deinit(&out);
    }
}

static void load_locked(struct shard *shard)
{
    struct plog *log = NULL;
    err e = partition_pin(shard->partition, -1, false, &log);
    if (e == OK) {
        e = shard_load(shard, log);
        partition_unpin(shard->partition);
    }
    if (e != OK) {
        log_error("coordinator", "cannot load groups partition=%d error=\"%s\"", shard->number,
                  err_text(e));
        groups_clear(shard);
        pending_offsets_clear(&shard->pending);
        shard->state = SHARD_NOT_OWNED;
        return;
    }
    CHECK(list_empty(&shard->stores));
    shard->state = SHARD_ACTIVE;
    if (shard->groups.count > 0) {
        log_info("coordinator", "groups loaded partition=%d groups=%zu", shard->number,
                 shard->groups.count);
    }
    begin_groups(shard);
}

static void on_load(struct loop_task *task)
{
    struct shard *shard = container_of(task, struct shard, load);
    pthread_mutex_lock(&shard->lock);
    shard->load_posted = false;
    if (shard->state == SHARD_LOADING) {
        load_locked(shard);
    }
    shard_unlock(shard);
}

static void store_end(struct shard *shard, struct store *store, err outcome)
{
    list_remove(&store->link);
    store->done(shard, store->context, outcome);
    free(store);
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
    shard->state = SHARD_NOT_OWNED;
    fail_stores(shard, error);
    map_each (entry, &shard->groups) {
        struct group_output out;
        group_output_init(&out);
        group_kill(entry->value, error, &out);
        shard_finish_event(shard, NULL, &out);
        group_output_deinit(&out);
    }
    groups_clear(shard);
    pending_offsets_clear(&shard->pending);
}

void shard_resign(struct shard *shard, err error)
{
    pthread_mutex_lock(&shard->lock);
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
        partition_unpin(shard->partition);
    }
    if (small) {
        load_locked(shard);
    } else if (!shard->load_posted) { /* an earlier election's may still be queued: it will do */
        shard->load_posted = true;
        loop_post(shard->coordinator->config.background, &shard->load);
    }
}

/* A lead that was lost and regained without a word in between may have seen another coordinator write:
 * what was loaded before is not believed. */
void shard_elect(struct shard *shard, struct partition *p, int32_t leader_epoch, bool uninterrupted)
{
    CHECK(leader_epoch >= 0);
    pthread_mutex_lock(&shard->lock);
    if (!uninterrupted) {
        resign_locked(shard, ERR_NOT_COORDINATOR);
    }
    shard->leader_epoch = leader_epoch;
    if (shard->state == SHARD_NOT_OWNED) {
        partition_retain(p);
        partition_release(shard->partition);
        shard->partition = p;
        shard->state = SHARD_LOADING;
        begin_load(shard);
    }
    shard_unlock(shard);
}

/* ---- storing ---- */

void shard_batch_begin(struct shard *shard, struct writer *out, struct batch_builder *batch,
                       bool offsets)
{
    writer_init(out, BATCH_LIMIT_BYTES);
    int codec = shard->coordinator->config.config->offsets_topic_compression_codec;
    batch_begin(batch, out, (int16_t)codec);
    if (offsets) {
        batch->base_sequence = 0;
    }
}

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

void shard_store(struct shard *shard, struct writer *batch,
                 void (*done)(struct shard *shard, void *context, err outcome), void *context,
                 const struct store_commits *commits)
{
    CHECK(shard->partition != NULL);
    struct partition_append appended;
    err e = batch->failed ? ERR_RECORD_LIST_TOO_LARGE
                          : partition_append(shard->partition, batch->data, batch->len,
                                             APPEND_COORDINATOR, -1, &appended);
    writer_deinit(batch);
    if (e != OK) {
        done(shard, context, kafka_error_of_log(e));
        return;
    }
    if (appended.committed && list_empty(&shard->stores)) {
        done(shard, context, OK);
        return;
    }
    const struct config *config = shard->coordinator->config.config;
    struct store *store = xcalloc(1, sizeof(*store));
    *store = (struct store){.appended = appended,
                            .deadline_ms = coordinator_now_ms(shard->coordinator) +
                                           config->offsets_commit_timeout_ms,
                            .done = done,
                            .context = context};
    if (commits != NULL) {
        store->commits = *commits;
    }
    bool first = list_empty(&shard->stores);
    list_append(&shard->stores, &store->link);
    arm(shard, store->deadline_ms);
    if (first) {
        watch_first(shard);
    }
}

void shard_coming_init(const struct shard *shard, struct str group_id, struct map *coming)
{
    map_init(coming);
    list_each (item, &shard->stores) {
        const struct store *store = container_of(item, struct store, link);
        struct str id = store->commits.group_id;
        if (store->commits.set == NULL || (group_id.data != NULL && !str_equal(id, group_id))) {
            continue;
        }
        struct group *group = map_get_str(coming, id);
        if (group == NULL) {
            group = group_new(id, 0);
            (void)map_set_str(coming, id, group);
        }
        store->commits.set(store->context, group);
    }
}

void shard_coming_deinit(struct map *coming)
{
    map_each (entry, coming) {
        offsets_clear(entry->value);
        group_free(entry->value);
    }
    map_deinit(coming);
}

static void on_partition(struct waiter *waiter)
{
    struct shard *shard = container_of(waiter, struct shard, waiter);
    if (!atomic_exchange(&shard->advance_posted, true)) {
        loop_post(shard->coordinator->config.background, &shard->advance);
    }
}

static void on_advance(struct loop_task *task)
{
    struct shard *shard = container_of(task, struct shard, advance);
    atomic_store(&shard->advance_posted, false);
    pthread_mutex_lock(&shard->lock);
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

/* Returns when the next is due. */
static int64_t expire_stores(struct shard *shard, int64_t now_ms)
{
    bool expired = false;
    int64_t next_ms = INT64_MAX;
    while (!list_empty(&shard->stores)) {
        struct store *store = container_of(shard->stores.next, struct store, link);
        next_ms = store->deadline_ms;
        if (next_ms > now_ms) {
            break;
        }
        store_end(shard, store, ERR_REQUEST_TIMED_OUT);
        next_ms = INT64_MAX;
        expired = true;
    }
    if (expired) {
        watch_first(shard);
    }
    return next_ms;
}

/* ---- timers ---- */

static void arm(struct shard *shard, int64_t due_ms)
{
    if (due_ms >= shard->armed_ms || atomic_load(&shard->coordinator->stopping)) {
        return;
    }
    shard->armed_ms = due_ms;
    if (!shard->arm_posted) {
        shard->arm_posted = true;
        loop_post(shard->coordinator->config.background, &shard->arm);
    }
}

static void on_arm(struct loop_task *task)
{
    struct shard *shard = container_of(task, struct shard, arm);
    pthread_mutex_lock(&shard->lock);
    shard->arm_posted = false;
    if (!atomic_load(&shard->coordinator->stopping) && shard->armed_ms != INT64_MAX) {
        timer_start(shard->coordinator->config.background, &shard->timer,
                    shard->armed_ms - coordinator_now_ms(shard->coordinator));
    }
    shard_unlock(shard);
}

/* Returns when the next is due. */
static int64_t tick_groups(struct shard *shard, int64_t now_ms)
{
    int64_t next_ms = INT64_MAX;
    map_each (entry, &shard->groups) {
        struct group *group = entry->value;
        struct group_output out;
        if (group_next_deadline_ms(group) <= now_ms) {
            group_output_init(&out);
            (void)group_tick(group, &shard->coordinator->limits, now_ms, &out);
            shard_finish_event(shard, group, &out);
            group_output_deinit(&out);
        }
        int64_t due_ms = group_next_deadline_ms(group);
        next_ms = due_ms < next_ms ? due_ms : next_ms;
    }
    return next_ms;
}

static void on_timer(struct timer *timer)
{
    struct shard *shard = container_of(timer, struct shard, timer);
    pthread_mutex_lock(&shard->lock);
    shard->armed_ms = INT64_MAX;
    int64_t now_ms = coordinator_now_ms(shard->coordinator);
    arm(shard, expire_stores(shard, now_ms));
    if (shard_ready_locked(shard) == OK) {
        arm(shard, tick_groups(shard, now_ms));
    }
    shard_unlock(shard);
}

/* ---- what groups decide ---- */

static void carry_out(const struct group_action *action)
{
    CHECK(action->waiter != NULL && action->waiter->waiter != NULL);
    action->waiter->fill(action->waiter, action);
    waiter_wake(action->waiter->waiter);
}

/* Errors of storing, as clients of the group protocol know them. */
static err group_store_err(err e)
{
    switch (e) {
    case OK:
        return OK;
    case ERR_UNKNOWN_TOPIC_OR_PARTITION:
    case ERR_NOT_ENOUGH_REPLICAS:
    case ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
        return ERR_COORDINATOR_NOT_AVAILABLE;
    case ERR_NOT_LEADER_OR_FOLLOWER:
    case ERR_KAFKA_STORAGE_ERROR:
    case ERR_NOT_COORDINATOR:
        return ERR_NOT_COORDINATOR;
    case ERR_REQUEST_TIMED_OUT:
        return ERR_REBALANCE_IN_PROGRESS;
    default:
        return ERR_UNKNOWN_SERVER_ERROR;
    }
}

struct group_store_context {
    enum group_store kind;
    int32_t generation;
    struct group_waiter *held; /* STORE_MEMBER: its answer is filled in */
    struct str member_id;      /* STORE_MEMBER, owned; and whose place it took */
    struct str replaced_id;
    char group_id[];
};

/* Not stored: the answer that was filled in is another. */
static void refuse_member(struct shard *shard, const struct group_store_context *ctx,
                          struct group *group, err e)
{
    struct group_action refused = {
        .type = ANSWER_JOIN, .waiter = ctx->held, .error = e, .generation = -1};
    if (group != NULL) {
        group_member_not_stored(group, ctx->member_id, ctx->replaced_id,
                                coordinator_now_ms(shard->coordinator), &refused);
    }
    ctx->held->fill(ctx->held, &refused);
}

static void group_stored(struct shard *shard, void *context, err outcome)
{
    struct group_store_context *ctx = context;
    struct group *group = shard_group(shard, str_of(ctx->group_id));
    err e = group_store_err(outcome);
    if (ctx->kind == STORE_MEMBER) {
        if (e != OK) {
            refuse_member(shard, ctx, group, e);
        }
        waiter_wake(ctx->held->waiter);
    }
    if (ctx->kind == STORE_ASSIGNMENT && group != NULL) {
        struct group_output out;
        group_output_init(&out);
        group_assignment_stored(group, ctx->generation, e, coordinator_now_ms(shard->coordinator),
                                &out);
        shard_finish_event(shard, group, &out);
        group_output_deinit(&out);
    }
    free((void *)(uintptr_t)ctx->member_id.data);
    free((void *)(uintptr_t)ctx->replaced_id.data);
    free(ctx);
}

static void store_group(struct shard *shard, struct group *group, const struct group_output *out)
{
    struct group_store_context *ctx = xcalloc(1, sizeof(*ctx) + group->id.len + 1);
    ctx->kind = out->store;
    ctx->generation = group->generation;
    memcpy(ctx->group_id, group->id.data, group->id.len);
    CHECK(out->has_held == (out->store == STORE_MEMBER));
    if (out->store == STORE_MEMBER) {
        ctx->held = out->held.waiter;
        ctx->held->fill(ctx->held, &out->held);
        group_set_text(&ctx->member_id, out->held.member_id);
        group_set_text(&ctx->replaced_id, out->replaced_id);
    }
    struct writer writer;
    struct batch_builder batch;
    shard_batch_begin(shard, &writer, &batch, false);
    err e = record_add_group(&batch, coordinator_now_ms(shard->coordinator), group);
    if (e == OK) {
        e = batch_end(&batch);
    }
    if (e != OK) {
        writer_deinit(&writer);
        group_stored(shard, ctx, ERR_RECORD_LIST_TOO_LARGE);
        return;
    }
    shard_store(shard, &writer, group_stored, ctx, NULL);
}

void shard_finish_event(struct shard *shard, struct group *group, struct group_output *out)
{
    for (int32_t i = 0; i < out->actions_n; i++) {
        carry_out(&out->actions[i]);
    }
    if (group == NULL) {
        return;
    }
    if (DEBUG_CHECKS) {
        group_check(group);
    }
    arm(shard, group_next_deadline_ms(group));
    if (out->store != STORE_NOTHING) {
        store_group(shard, group, out);
    }
}

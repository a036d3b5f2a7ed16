/* The groups of a shard: finding them, storing what they decide, carrying it out. */
#include "broker/coordinator/group_shard.h"

#include "base/check.h"
#include "broker/coordinator/group.h"

#include <stdlib.h>

enum { BATCH_LIMIT_BYTES = 128 << 20 };

/* ---- the groups ---- */

struct group *group_shard_find(const struct group_shard *shard, struct str id)
{
    return map_get_str(&shard->groups, id);
}

struct group *group_shard_add(struct group_shard *shard, struct str id)
{
    struct group *group = group_new(id, shard_now_ms(&shard->shard));
    CHECK(map_set_str(&shard->groups, group->id, group) == NULL);
    return group;
}

void group_shard_remove(struct group_shard *shard, struct group *group)
{
    CHECK(map_remove_str(&shard->groups, group->id) == group);
    offsets_clear(group);
    group_free(group);
}

err group_shard_lock(struct group_coordinator *c, struct str group_id, bool empty_allowed,
                     struct group_shard **out)
{
    struct shard *shard = NULL;
    *out = NULL;
    if (group_id.data == NULL || (group_id.len == 0 && !empty_allowed)) {
        return ERR_INVALID_GROUP_ID;
    }
    TRY(shards_lock(&c->shards, group_id, &shard));
    *out = group_shard_of(shard);
    return OK;
}

/* ---- storing ---- */

/* A store of groups, which knows what it commits. */
struct group_shard_store {
    struct store store;
    group_stored done;
    void *context;
    struct store_commits commits;
};

void group_batch_begin(struct group_shard *shard, struct writer *out, struct batch_builder *batch,
                       bool offsets)
{
    const struct config *config = shard->coordinator->config.config;
    writer_init(out, BATCH_LIMIT_BYTES);
    batch_begin(batch, out, (int16_t)config->offsets_topic_compression_codec);
    if (offsets) {
        batch->base_sequence = 0;
    }
}

static void on_stored(struct shard *shard, struct store *stored, err outcome)
{
    struct group_shard_store *store = container_of(stored, struct group_shard_store, store);
    store->done(group_shard_of(shard), store->context, outcome,
                store->store.appended.result.base_offset);
    free(store);
}

void group_shard_store(struct group_shard *shard, struct writer *batch, group_stored done,
                       void *context, const struct store_commits *commits)
{
    struct group_shard_store *store = xcalloc(1, sizeof(*store));
    *store = (struct group_shard_store){.store.done = on_stored, .done = done, .context = context};
    if (commits != NULL) {
        store->commits = *commits;
        store->store.guard = commits->guard;
    }
    shard_store(&shard->shard, batch, &store->store,
                shard->coordinator->config.config->offsets_commit_timeout_ms);
}

void group_shard_coming_init(const struct group_shard *shard, struct str group_id,
                             struct map *coming)
{
    map_init(coming);
    list_each (item, &shard->shard.stores) {
        const struct group_shard_store *store =
            container_of(item, struct group_shard_store, store.link);
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

void group_shard_coming_deinit(struct map *coming)
{
    map_each (entry, coming) {
        offsets_clear(entry->value);
        group_free(entry->value);
    }
    map_deinit(coming);
}

/* ---- what groups decide ---- */

static void carry_out(const struct group_action *action)
{
    CHECK(action->waiter != NULL && action->waiter->waiter != NULL);
    action->waiter->fill(action->waiter, action);
    waiter_wake(action->waiter->waiter);
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
static void refuse_member(struct group_shard *shard, const struct group_store_context *ctx,
                          struct group *group, err e)
{
    struct group_action refused = {
        .type = ANSWER_JOIN, .waiter = ctx->held, .error = e, .generation = -1};
    if (group != NULL) {
        group_member_not_stored(group, ctx->member_id, ctx->replaced_id,
                                shard_now_ms(&shard->shard), &refused);
    }
    ctx->held->fill(ctx->held, &refused);
}

static void on_group_stored(struct group_shard *shard, void *context, err outcome, int64_t at)
{
    struct group_store_context *ctx = context;
    (void)at;
    struct group *group = group_shard_find(shard, str_of(ctx->group_id));
    err e = shard_store_err(outcome, ERR_REBALANCE_IN_PROGRESS, ERR_UNKNOWN_SERVER_ERROR);
    if (ctx->kind == STORE_MEMBER) {
        if (e != OK) {
            refuse_member(shard, ctx, group, e);
        }
        waiter_wake(ctx->held->waiter);
    }
    if (ctx->kind == STORE_ASSIGNMENT && group != NULL) {
        struct group_output out;
        group_output_init(&out);
        group_assignment_stored(group, ctx->generation, e, shard_now_ms(&shard->shard), &out);
        group_shard_finish_event(shard, group, &out);
        group_output_deinit(&out);
    }
    free((void *)(uintptr_t)ctx->member_id.data);
    free((void *)(uintptr_t)ctx->replaced_id.data);
    free(ctx);
}

static void store_group(struct group_shard *shard, struct group *group,
                        const struct group_output *out)
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
    group_batch_begin(shard, &writer, &batch, false);
    err e = record_add_group(&batch, shard_now_ms(&shard->shard), group);
    if (e == OK) {
        e = batch_end(&batch);
    }
    if (e != OK) {
        writer_deinit(&writer);
        on_group_stored(shard, ctx, ERR_RECORD_LIST_TOO_LARGE, -1);
        return;
    }
    group_shard_store(shard, &writer, on_group_stored, ctx, NULL);
}

void group_shard_finish_event(struct group_shard *shard, struct group *group,
                              struct group_output *out)
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
    shard_arm(&shard->shard, group_next_deadline_ms(group));
    if (out->store != STORE_NOTHING) {
        store_group(shard, group, out);
    }
}

/* ---- the kind ---- */

static struct shard *make(struct shards *shards, int32_t number)
{
    struct group_shard *shard = xcalloc(1, sizeof(*shard));
    shard_init(&shard->shard, shards, number);
    shard->coordinator = shards->config.owner;
    map_init(&shard->groups);
    pending_offsets_init(&shard->pending);
    return &shard->shard;
}

static void clear(struct group_shard *shard)
{
    map_each (entry, &shard->groups) {
        offsets_clear(entry->value);
        group_free(entry->value);
    }
    map_deinit(&shard->groups);
    pending_offsets_clear(&shard->pending);
}

static void unmake(struct shard *base)
{
    struct group_shard *shard = group_shard_of(base);
    clear(shard);
    shard_deinit(base);
    free(shard);
}

static size_t loaded(struct shard *base)
{
    struct group_shard *shard = group_shard_of(base);
    group_shard_drop_mentioned(shard);
    map_each (entry, &shard->groups) {
        struct group *group = entry->value;
        struct group_output out;
        group_output_init(&out);
        group_loaded(group, &shard->coordinator->limits, shard_now_ms(base), &out);
        group_shard_finish_event(shard, group, &out);
        group_output_deinit(&out);
    }
    return shard->groups.count;
}

static void forget(struct shard *base, err error)
{
    struct group_shard *shard = group_shard_of(base);
    map_each (entry, &shard->groups) {
        struct group_output out;
        group_output_init(&out);
        group_kill(entry->value, error, &out);
        group_shard_finish_event(shard, NULL, &out);
        group_output_deinit(&out);
    }
    clear(shard);
}

static int64_t tick(struct shard *base, int64_t now_ms)
{
    struct group_shard *shard = group_shard_of(base);
    int64_t next_ms = INT64_MAX;
    map_each (entry, &shard->groups) {
        struct group *group = entry->value;
        struct group_output out;
        if (group_next_deadline_ms(group) <= now_ms) {
            group_output_init(&out);
            (void)group_tick(group, &shard->coordinator->limits, now_ms, &out);
            group_shard_finish_event(shard, group, &out);
            group_output_deinit(&out);
        }
        int64_t due_ms = group_next_deadline_ms(group);
        next_ms = due_ms < next_ms ? due_ms : next_ms;
    }
    return next_ms;
}

static void check(const struct shard *base)
{
    const struct group_shard *shard = container_of(base, struct group_shard, shard);
    bool holds = base->state == SHARD_ACTIVE || base->state == SHARD_LOADING;
    CHECK(holds || (shard->groups.count == 0 && shard->pending.by_producer.count == 0));
}

const struct shard_kind group_shard_kind = {
    .topic = "__consumer_offsets",
    .what = "groups",
    .make = make,
    .unmake = unmake,
    .apply = group_shard_apply,
    .passes_over = true,
    .loaded = loaded,
    .forget = forget,
    .tick = tick,
    .check = check,
};

/* The coordinator's life, and what concerns all of its shards. */
#include "broker/coordinator/group_coordinator.h"

#include "broker/coordinator/group_shard.h"

#include <stdlib.h>

enum { LOAD_BYTES = 1 << 20 };

/* ---- life ---- */

static void expire_offsets(struct shard *shard, void *context)
{
    (void)context;
    group_shard_expire_offsets(group_shard_of(shard), shard_now_ms(shard));
}

static void on_expiry(struct timer *timer)
{
    struct group_coordinator *c = container_of(timer, struct group_coordinator, expiry);
    err_ignore(shards_each(&c->shards, expire_offsets, NULL)); /* what is loading: the next time */
    timer_start(c->config.background, timer, c->config.config->offsets_retention_check_interval_ms);
}

struct group_coordinator *group_coordinator_new(const struct group_coordinator_config *config)
{
    struct group_coordinator *c = xcalloc(1, sizeof(*c));
    struct shards_config shards = {.config = config->config,
                                   .clock = config->clock,
                                   .metadata = config->metadata,
                                   .background = config->background,
                                   .load_bytes = LOAD_BYTES,
                                   .kind = &group_shard_kind,
                                   .owner = c};
    c->config = *config;
    c->limits = (struct group_limits){
        .session_timeout_min_ms = config->config->group_min_session_timeout_ms,
        .session_timeout_max_ms = config->config->group_max_session_timeout_ms,
        .initial_delay_ms = config->config->group_initial_rebalance_delay_ms,
        .size_max = config->config->group_max_size,
        .random = config->random,
    };
    shards_init(&c->shards, &shards);
    c->expiry.fire = on_expiry;
    timer_start(config->background, &c->expiry,
                config->config->offsets_retention_check_interval_ms);
    return c;
}

void group_coordinator_shutdown(struct group_coordinator *c)
{
    if (c != NULL) {
        shards_shutdown(&c->shards);
    }
}

void group_coordinator_free(struct group_coordinator *c)
{
    if (c == NULL) {
        return;
    }
    timer_stop(c->config.background, &c->expiry);
    shards_deinit(&c->shards);
    free(c);
}

/* ---- what its partitions and topics do ---- */

void group_coordinator_elected(struct group_coordinator *c, struct partition *p,
                               int32_t leader_epoch, bool uninterrupted)
{
    shards_elected(&c->shards, p, leader_epoch, uninterrupted);
}

void group_coordinator_resigned(struct group_coordinator *c, int32_t partition)
{
    shards_resigned(&c->shards, partition);
}

static void remove_topic(struct shard *shard, void *topic)
{
    group_shard_remove_topic(group_shard_of(shard), *(const struct str *)topic);
}

void group_coordinator_topic_deleted(struct group_coordinator *c, struct str topic)
{
    err_ignore(shards_each(&c->shards, remove_topic, &topic)); /* what is loading keeps them */
}

/* ---- transactions ---- */

static void on_marker_stored(struct group_shard *shard, void *context, err outcome, int64_t at)
{
    struct group_txn_end *end = context;
    (void)at;
    if (outcome == OK) {
        pending_offsets_decide(&shard->pending, end->end.producer_id, end->end.commit,
                               group_shard_apply_offset, shard);
    }
    end->outcome = outcome;
    if (end->is_awaited) {
        waiter_wake(end->waiter);
    }
}

err group_coordinator_end_txn(struct group_coordinator *c, int32_t partition,
                              struct group_txn_end *end)
{
    struct shard *shard = shards_at(&c->shards, partition);
    if (shard == NULL || shard_ready_at_a_glance(shard) != OK) {
        return ERR_NOT_LEADER_OR_FOLLOWER;
    }
    shard_lock(shard);
    err e = shard_ready_locked(shard) == OK ? E_BUSY : ERR_NOT_LEADER_OR_FOLLOWER;
    if (e == E_BUSY) {
        struct writer batch;
        end->outcome = E_BUSY;
        end->is_awaited = false;
        marker_batch_write(&batch, &end->end, shard_now_ms(shard));
        group_shard_store(group_shard_of(shard), &batch, on_marker_stored, end, NULL);
        end->is_awaited = true;
        e = end->outcome;
    }
    shard_unlock(shard);
    return e;
}

err group_coordinator_txn_ended(struct group_coordinator *c, int32_t partition,
                                const struct group_txn_end *end)
{
    struct shard *shard = shards_at(&c->shards, partition);
    shard_lock(shard);
    err e = end->outcome;
    shard_unlock(shard);
    return e;
}

/* The coordinator's life, and what concerns all of its shards. */
#include "broker/coordinator/txn_coordinator.h"

#include "broker/coordinator/txn_markers.h"
#include "broker/coordinator/txn_shard.h"
#include "broker/coordinator/txn_verifier.h"

#include <stdlib.h>

static void expire(struct shard *shard, void *context)
{
    (void)context;
    txn_shard_expire(txn_shard_of(shard), shard_now_ms(shard));
}

static void on_expiry(struct timer *timer)
{
    struct txn_coordinator *c = container_of(timer, struct txn_coordinator, expiry);
    err_ignore(shards_each(&c->shards, expire, NULL)); /* what is loading: the next time */
    timer_start(c->config.background, timer,
                c->config.config->transaction_remove_expired_cleanup_interval_ms);
}

struct txn_marker_places txn_coordinator_places(const struct txn_coordinator_config *config)
{
    return (struct txn_marker_places){
        .replicas = config->replicas, .groups = config->groups, .clock = config->clock};
}

struct txn_coordinator *txn_coordinator_new(const struct txn_coordinator_config *config)
{
    struct txn_coordinator *c = xcalloc(1, sizeof(*c));
    struct shards_config shards = {
        .config = config->config,
        .clock = config->clock,
        .metadata = config->metadata,
        .background = config->background,
        .load_bytes = config->config->transaction_state_log_load_buffer_size,
        .kind = &txn_shard_kind,
        .owner = c,
    };
    c->config = *config;
    shards_init(&c->shards, &shards);
    c->began_ms = shards_now_ms(&c->shards);
    c->markers = txn_markers_new(config);
    c->verifier = txn_verifier_new(c);
    c->expiry.fire = on_expiry;
    timer_start(config->background, &c->expiry,
                config->config->transaction_remove_expired_cleanup_interval_ms);
    return c;
}

void txn_coordinator_shutdown(struct txn_coordinator *c)
{
    if (c != NULL) {
        shards_shutdown(&c->shards);
    }
}

void txn_coordinator_stop(struct txn_coordinator *c)
{
    if (c != NULL) {
        txn_verifier_stop(c->verifier);
        txn_markers_stop(c->markers);
    }
}

void txn_coordinator_free(struct txn_coordinator *c)
{
    if (c == NULL) {
        return;
    }
    txn_coordinator_stop(c);
    timer_stop(c->config.background, &c->expiry);
    txn_markers_free(c->markers);
    txn_verifier_free(c->verifier);
    shards_deinit(&c->shards);
    free(c);
}

void txn_coordinator_elected(struct txn_coordinator *c, struct partition *p, int32_t leader_epoch,
                             bool uninterrupted)
{
    shards_elected(&c->shards, p, leader_epoch, uninterrupted);
}

void txn_coordinator_resigned(struct txn_coordinator *c, int32_t partition)
{
    shards_resigned(&c->shards, partition);
}

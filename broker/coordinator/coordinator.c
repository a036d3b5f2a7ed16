/* The coordinator's life: its shards, which partition has which group, and the gate that every
 * request passes.
 *
 * The gate, in Kafka's order: a group id that is not allowed, a partition of __consumer_offsets
 * that this broker does not lead, one that is being loaded (reference: coordinators §1.3). */
#include "broker/coordinator/coordinator.h"

#include "broker/coordinator/shard.h"

#include <stdlib.h>

#define OFFSETS_TOPIC "__consumer_offsets"

/* ---- life ---- */

static void on_expiry(struct timer *timer)
{
    struct coordinator *c = container_of(timer, struct coordinator, expiry);
    pthread_rwlock_rdlock(&c->lock);
    for (int32_t i = 0; i < c->shards_n; i++) {
        struct shard *shard = c->shards[i];
        pthread_mutex_lock(&shard->lock);
        if (shard_ready_locked(shard) == OK) {
            shard_expire_offsets(shard, coordinator_now_ms(c));
        }
        shard_unlock(shard);
    }
    pthread_rwlock_unlock(&c->lock);
    timer_start(c->config.background, timer, c->config.config->offsets_retention_check_interval_ms);
}

struct coordinator *coordinator_new(const struct coordinator_config *config)
{
    struct coordinator *c = xcalloc(1, sizeof(*c));
    c->config = *config;
    c->limits = (struct group_limits){
        .session_timeout_min_ms = config->config->group_min_session_timeout_ms,
        .session_timeout_max_ms = config->config->group_max_session_timeout_ms,
        .initial_delay_ms = config->config->group_initial_rebalance_delay_ms,
        .size_max = config->config->group_max_size,
        .random = config->random,
    };
    c->wall_offset_ms = clock_wall_ms(config->clock) - clock_monotonic_ms(config->clock);
    pthread_rwlock_init(&c->lock, NULL);
    c->expiry.fire = on_expiry;
    timer_start(config->background, &c->expiry,
                config->config->offsets_retention_check_interval_ms);
    return c;
}

void coordinator_shutdown(struct coordinator *c)
{
    pthread_rwlock_rdlock(&c->lock);
    atomic_store(&c->stopping, true);
    for (int32_t i = 0; i < c->shards_n; i++) {
        shard_resign(c->shards[i], ERR_NOT_COORDINATOR);
    }
    pthread_rwlock_unlock(&c->lock);
}

void coordinator_free(struct coordinator *c)
{
    if (c == NULL) {
        return;
    }
    timer_stop(c->config.background, &c->expiry);
    for (int32_t i = 0; i < c->shards_n; i++) {
        shard_resign(c->shards[i], ERR_NOT_COORDINATOR);
        timer_stop(c->config.background, &c->shards[i]->timer);
        shard_free(c->shards[i]);
    }
    free(c->shards);
    pthread_rwlock_destroy(&c->lock);
    free(c);
}

/* Java's String.hashCode over UTF-16 units. */
static int32_t java_hash(struct str s)
{
    uint32_t hash = 0;
    for (size_t i = 0; i < s.len;) {
        uint32_t c = (uint8_t)s.data[i];
        size_t more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        c = more == 0 ? c : c & (0x3fu >> more);
        for (size_t k = 1; k <= more && i + k < s.len; k++) {
            c = c << 6 | ((uint8_t)s.data[i + k] & 0x3f);
        }
        i += more + 1;
        if (c >= 0x10000) {
            hash = hash * 31 + (0xd800 + ((c - 0x10000) >> 10));
            hash = hash * 31 + (0xdc00 + ((c - 0x10000) & 0x3ff));
        } else {
            hash = hash * 31 + c;
        }
    }
    return (int32_t)hash;
}

int32_t coordinator_partition_of(struct str group_id, int32_t partitions_n)
{
    int32_t hash = java_hash(group_id);
    return (hash == INT32_MIN ? 0 : abs(hash)) % partitions_n;
}

struct shard *shard_at(struct coordinator *c, int32_t number)
{
    pthread_rwlock_rdlock(&c->lock);
    struct shard *shard = number < c->shards_n ? c->shards[number] : NULL;
    pthread_rwlock_unlock(&c->lock);
    return shard;
}

void coordinator_partition_elected(struct coordinator *c, struct partition *p, int32_t leader_epoch,
                                   bool uninterrupted)
{
    int32_t number = partition_name(p).partition;
    pthread_rwlock_wrlock(&c->lock);
    while (c->shards_n <= number) {
        c->shards = xrealloc(c->shards, (size_t)(c->shards_n + 1) * sizeof(struct shard *));
        c->shards[c->shards_n] = shard_new(c, c->shards_n);
        c->shards_n++;
    }
    struct shard *shard = c->shards[number];
    pthread_rwlock_unlock(&c->lock);
    shard_elect(shard, p, leader_epoch, uninterrupted);
}

void coordinator_partition_resigned(struct coordinator *c, int32_t partition)
{
    struct shard *shard = shard_at(c, partition);
    if (shard != NULL) {
        shard_resign(shard, ERR_NOT_COORDINATOR);
    }
}

void coordinator_topic_deleted(struct coordinator *c, struct str topic)
{
    for (int32_t i = 0; i < c->shards_n; i++) {
        struct shard *shard = shard_at(c, i);
        pthread_mutex_lock(&shard->lock);
        if (shard_ready_locked(shard) == OK) {
            shard_remove_topic(shard, topic);
        }
        shard_unlock(shard);
    }
}

/* ---- the gate ---- */

err shard_lock(struct coordinator *c, struct str group_id, bool empty_allowed, struct shard **out)
{
    *out = NULL;
    if (group_id.data == NULL || (group_id.len == 0 && !empty_allowed)) {
        return ERR_INVALID_GROUP_ID;
    }
    struct metadata *metadata = metadata_acquire(c->config.metadata);
    const struct topic_info *topic = metadata_topic(metadata, STR(OFFSETS_TOPIC));
    int32_t number = topic == NULL ? -1 : coordinator_partition_of(group_id, topic->partitions_n);
    metadata_release(metadata);
    struct shard *shard = number < 0 ? NULL : shard_at(c, number);
    if (shard == NULL) {
        return ERR_NOT_COORDINATOR;
    }
    pthread_mutex_lock(&shard->lock);
    err e = shard_ready_locked(shard);
    if (e != OK) {
        pthread_mutex_unlock(&shard->lock);
        return e;
    }
    *out = shard;
    return OK;
}

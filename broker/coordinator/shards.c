/* An array that only grows: a shard is made when its partition is first led, and stays. */
#include "broker/coordinator/shards.h"

#include "broker/coordinator/shard.h"

#include <stdlib.h>

/* ---- life ---- */

void shards_init(struct shards *shards, const struct shards_config *config)
{
    *shards = (struct shards){.config = *config};
    shards->wall_offset_ms = clock_wall_ms(config->clock) - clock_monotonic_ms(config->clock);
    pthread_rwlock_init(&shards->lock, NULL);
}

void shards_shutdown(struct shards *shards)
{
    pthread_rwlock_rdlock(&shards->lock);
    atomic_store(&shards->stopping, true);
    for (int32_t i = 0; i < shards->count; i++) {
        shard_resign(shards->all[i], ERR_NOT_COORDINATOR);
    }
    pthread_rwlock_unlock(&shards->lock);
}

void shards_deinit(struct shards *shards)
{
    for (int32_t i = 0; i < shards->count; i++) {
        struct shard *shard = shards->all[i];
        shard_resign(shard, ERR_NOT_COORDINATOR);
        timer_stop(shards->config.background, &shard->timer);
        shards->config.kind->unmake(shard);
    }
    free(shards->all);
    pthread_rwlock_destroy(&shards->lock);
}

/* Loads end under the locks of their shards, on several threads. */
void shards_note_load(struct shards *shards, int64_t took_ms)
{
    atomic_fetch_add(&shards->loads_n, 1);
    atomic_fetch_add(&shards->loads_ms, took_ms);
    int64_t longest = atomic_load(&shards->longest_load_ms);
    while (took_ms > longest &&
           !atomic_compare_exchange_weak(&shards->longest_load_ms, &longest, took_ms)) {
    }
}

int64_t shards_now_ms(const struct shards *shards)
{
    return clock_monotonic_ms(shards->config.clock) + shards->wall_offset_ms;
}

/* ---- which has what ---- */

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

int32_t shards_partition_of(struct str key, int32_t partitions_n)
{
    int32_t hash = java_hash(key);
    return (hash == INT32_MIN ? 0 : abs(hash)) % partitions_n;
}

int32_t shards_number_of(const struct shards *shards, struct str key)
{
    struct metadata *metadata = metadata_acquire(shards->config.metadata);
    const struct topic_info *topic = metadata_topic(metadata, str_of(shards->config.kind->topic));
    int32_t number = topic == NULL ? -1 : shards_partition_of(key, topic->partitions_n);
    metadata_release(metadata);
    return number;
}

struct shard *shards_at(struct shards *shards, int32_t number)
{
    pthread_rwlock_rdlock(&shards->lock);
    struct shard *shard = number >= 0 && number < shards->count ? shards->all[number] : NULL;
    pthread_rwlock_unlock(&shards->lock);
    return shard;
}

/* One that is being loaded is not waited for. */
static err lock_ready(struct shard *shard)
{
    TRY(shard_ready_at_a_glance(shard));
    shard_lock(shard);
    err e = shard_ready_locked(shard);
    if (e != OK) {
        shard_unlock(shard);
    }
    return e;
}

err shards_lock(struct shards *shards, struct str key, struct shard **out)
{
    *out = NULL;
    struct shard *shard = shards_at(shards, shards_number_of(shards, key));
    TRY(shard == NULL ? ERR_NOT_COORDINATOR : lock_ready(shard));
    *out = shard;
    return OK;
}

err shards_each(struct shards *shards, void (*each)(struct shard *shard, void *context),
                void *context)
{
    err result = OK;
    struct shard *shard = NULL;
    for (int32_t i = 0; (shard = shards_at(shards, i)) != NULL; i++) {
        err e = lock_ready(shard);
        if (e == OK) {
            each(shard, context);
            shard_unlock(shard);
        }
        result = e == ERR_COORDINATOR_LOAD_IN_PROGRESS ? e : result;
    }
    return result;
}

/* ---- leadership ---- */

void shards_elected(struct shards *shards, struct partition *p, int32_t leader_epoch,
                    bool uninterrupted)
{
    int32_t number = partition_name(p).partition;
    pthread_rwlock_wrlock(&shards->lock);
    while (shards->count <= number) {
        size_t size = (size_t)(shards->count + 1) * sizeof(struct shard *);
        shards->all = xrealloc(shards->all, size);
        shards->all[shards->count] = shards->config.kind->make(shards, shards->count);
        shards->count++;
    }
    struct shard *shard = shards->all[number];
    pthread_rwlock_unlock(&shards->lock);
    shard_elect(shard, p, leader_epoch, uninterrupted);
}

void shards_resigned(struct shards *shards, int32_t number)
{
    struct shard *shard = shards_at(shards, number);
    if (shard != NULL) {
        shard_resign(shard, ERR_NOT_COORDINATOR);
    }
}

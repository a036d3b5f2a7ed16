/* The shards of one coordinator's topic: which of them has a key, and the gate that every request passes.
 *
 * The gate, in Kafka's order: a partition of the topic that this broker does not lead, one that is being
 * loaded (reference: coordinators §1.3, §4.11). */
#ifndef OTTLA_BROKER_COORDINATOR_SHARDS_H
#define OTTLA_BROKER_COORDINATOR_SHARDS_H

#include "base/loop.h"
#include "broker/cluster/metadata.h"
#include "broker/config.h"
#include "broker/replica/replicas.h"
#include "protocol/batch.h"

struct shard;
struct shards;

/* What one kind of shard does; all but make() and unmake() under the shard's lock. */
struct shard_kind {
    const char *topic;
    const char *what; /* it holds: for the log */
    struct shard *(*make)(struct shards *shards, int32_t number);
    void (*unmake)(struct shard *shard);
    /* One record of the log, in order; what it points to is gone on return, as is the arena's. */
    err (*apply)(struct shard *shard, struct arena *arena, const struct batch *batch,
                 const struct record *record);
    /* A record that cannot be read is passed over, since the rest is worth having; else nothing is. */
    bool passes_over;
    /* It serves when all that it has loaded is below the high watermark, and may act on it; else at once. */
    bool only_committed;
    /* All of it has been applied; from now on it serves. Returns how much it holds. */
    size_t (*loaded)(struct shard *shard);
    /* It is given up, or could not be loaded: whoever waits is told, and everything forgotten. */
    void (*forget)(struct shard *shard, err error);
    /* Does what is due; returns when to come again (INT64_MAX: not). */
    int64_t (*tick)(struct shard *shard, int64_t now_ms);
    /* Stops the process where it contradicts itself: see base/check.h. */
    void (*check)(const struct shard *shard);
};

struct shards_config {
    const struct config *config;
    struct clock *clock;
    struct metadata_cache *metadata;
    struct loop *background; /* timers and loading run there */
    int32_t load_bytes;      /* what is read of a log at a time */
    const struct shard_kind *kind;
    void *owner; /* the coordinator, for the kind */
};

struct shards {
    struct shards_config config;
    int64_t
        wall_offset_ms; /* wall clock minus monotonic, at the start: a wall clock that never jumps */
    pthread_rwlock_t lock; /* guards the array */
    struct shard **all;
    int32_t count;
    atomic_bool stopping;    /* no timer is armed any more */
    _Atomic int64_t loads_n; /* partitions that were loaded, since the start */
    _Atomic int64_t loads_ms;
    _Atomic int64_t longest_load_ms;
};

void shards_init(struct shards *shards, const struct shards_config *config);
/* Tells everybody who waits NOT_COORDINATOR; afterwards nothing waits. */
void shards_shutdown(struct shards *shards);
/* The threads have ended. */
void shards_deinit(struct shards *shards);

int64_t shards_now_ms(const struct shards *shards);
/* One has been loaded. */
void shards_note_load(struct shards *shards, int64_t took_ms);

/* The partition of a coordinator's topic that has this key, of `partitions_n`. */
int32_t shards_partition_of(struct str key, int32_t partitions_n);
/* The same by the metadata; -1: there is no such topic. */
int32_t shards_number_of(const struct shards *shards, struct str key);
/* The shard of a partition's number, or NULL. */
struct shard *shards_at(struct shards *shards, int32_t number);
/* The gate: the shard of a key, locked. COORDINATOR_LOAD_IN_PROGRESS (14), COORDINATOR_NOT_AVAILABLE (15: it
 * cannot be loaded) or NOT_COORDINATOR (16). */
NODISCARD err shards_lock(struct shards *shards, struct str key, struct shard **out);
/* Calls `each` for every shard that serves, under its lock. COORDINATOR_LOAD_IN_PROGRESS: some are being
 * loaded, and were left out. */
NODISCARD err shards_each(struct shards *shards, void (*each)(struct shard *shard, void *context),
                          void *context);

/* Leadership of a partition (state thread). `uninterrupted`: it was led before, and nobody else can have led
 * since. */
void shards_elected(struct shards *shards, struct partition *p, int32_t leader_epoch,
                    bool uninterrupted);
void shards_resigned(struct shards *shards, int32_t number);

#endif

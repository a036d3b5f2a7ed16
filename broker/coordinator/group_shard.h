/* The groups of one partition of __consumer_offsets, and the offsets that they have committed. Everything is
 * under the shard's lock (shard.h). */
#ifndef OTTLA_BROKER_COORDINATOR_GROUP_SHARD_H
#define OTTLA_BROKER_COORDINATOR_GROUP_SHARD_H

#include "broker/coordinator/group_coordinator.h"
#include "broker/coordinator/pending_offsets.h"
#include "broker/coordinator/shard.h"

struct group_shard {
    struct shard shard;
    struct group_coordinator *coordinator;
    struct map groups; /* id → struct group */
    struct pending_offsets pending;
};

struct group_coordinator {
    struct group_coordinator_config config;
    struct group_limits limits;
    struct shards shards;
    struct timer expiry; /* of committed offsets; background thread */
};

static inline int64_t group_coordinator_now_ms(const struct group_coordinator *c)
{
    return shards_now_ms(&c->shards);
}

static inline struct group_shard *group_shard_of(struct shard *shard)
{
    return container_of(shard, struct group_shard, shard);
}

extern const struct shard_kind group_shard_kind;

/* The gate: the shard of a group, locked; group_shard_unlock() it. INVALID_GROUP_ID, and the
 * codes of shards_lock(). */
NODISCARD err group_shard_lock(struct group_coordinator *c, struct str group_id, bool empty_allowed,
                               struct group_shard **out);
static inline void group_shard_unlock(struct group_shard *shard)
{
    shard_unlock(&shard->shard);
}

static inline struct str text_or_empty(struct str s)
{
    return s.data == NULL ? STR("") : s;
}

/* NULL when there is none. */
struct group *group_shard_find(const struct group_shard *shard, struct str id);
struct group *group_shard_add(struct group_shard *shard, struct str id);
void group_shard_remove(struct group_shard *shard, struct group *group);

/* What a store commits, until its `done` is called: what its group has committed, it has not yet. */
struct store_commits {
    struct str group_id;
    void (*set)(void *context,
                struct group *group); /* offsets_set() for each; NULL: they are pending */
    uint64_t guard;                   /* of partition_verify_txn(); 0: none */
};

/* Appends a batch and calls `done` when it is safe or has failed: at once or later, always under
 * the shard's lock. `at` is the offset of its first record. `batch` is used up; `commits` (NULL: nothing) is
 * copied, what it points to is not. */
typedef void (*group_stored)(struct group_shard *shard, void *context, err outcome, int64_t at);
void group_shard_store(struct group_shard *shard, struct writer *batch, group_stored done,
                       void *context, const struct store_commits *commits);

/* The offsets that are being committed, as new groups that have nothing else: id → struct group. With an
 * id those of that group only. group_shard_coming_deinit() it. */
void group_shard_coming_init(const struct group_shard *shard, struct str group_id,
                             struct map *coming);
void group_shard_coming_deinit(struct map *coming);

/* Begins a batch as Kafka's coordinator writes them. Offsets have base sequence 0, others -1. */
void group_batch_begin(struct group_shard *shard, struct writer *out, struct batch_builder *batch,
                       bool offsets);

/* After an event on a group: stores what it wants stored, sends its answers, arms the timer. */
void group_shard_finish_event(struct group_shard *shard, struct group *group,
                              struct group_output *out);

/* group_load.c: for group_shard_kind. */
err group_shard_apply(struct shard *shard, struct arena *arena, const struct batch *batch,
                      const struct record *record);
/* Groups that were only mentioned go: nothing committed or undecided, no members, no generation. */
void group_shard_drop_mentioned(struct group_shard *shard);
/* What a transaction has committed, or (a tombstone) deleted, where nothing newer is there. */
void group_shard_apply_offset(void *shard, struct str group_id, const struct committed *value,
                              bool tombstone);

/* removal.c: removes what is older than its retention. */
void group_shard_expire_offsets(struct group_shard *shard, int64_t now_ms);
void group_shard_remove_topic(struct group_shard *shard, struct str topic);
/* One offset to remove; each at most once. */
struct offset_pick {
    struct str topic;
    int32_t partition;
    err error; /* GROUP_SUBSCRIBED_TO_TOPIC */
};
/* Removes committed offsets; one that is not there is no error. With OK `waiter` is woken once, when
 * that is stored or has failed (*outcome), perhaps at once. GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP. */
NODISCARD err group_shard_delete_offsets(struct group_shard *shard, struct str group_id,
                                         struct offset_pick *picks, int32_t picks_n,
                                         struct waiter *waiter, err *outcome);
/* Removes an empty group and its offsets, as above. Who joins or commits before that is stored keeps
 * the group. */
NODISCARD err group_shard_delete_group(struct group_shard *shard, struct str id,
                                       struct waiter *waiter, err *outcome);

#endif

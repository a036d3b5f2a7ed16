/* A shard: the groups of one partition of __consumer_offsets, while this broker leads it.
 *
 * Everything is under the shard's lock. Timers and the news that the high watermark has moved come
 * through the background thread's loop. */
#ifndef OTTLA_BROKER_COORDINATOR_SHARD_H
#define OTTLA_BROKER_COORDINATOR_SHARD_H

#include "broker/coordinator/coordinator.h"
#include "broker/coordinator/pending_offsets.h"

#include <pthread.h>

enum shard_state { SHARD_NOT_OWNED, SHARD_LOADING, SHARD_ACTIVE };

struct shard {
    struct coordinator *coordinator;
    int32_t number;
    pthread_mutex_t lock;
    enum shard_state state;
    struct partition *partition; /* a reference while owned */
    int32_t leader_epoch;
    struct map groups; /* id → struct group */
    struct pending_offsets pending;
    struct list stores; /* struct store, in the order of their offsets */
    struct watch watch; /* of the partition, while there are stores */
    struct waiter waiter;
    int64_t armed_ms;   /* when the timer is due; INT64_MAX: not armed */
    struct timer timer; /* background thread */
    struct loop_task arm;
    struct loop_task advance;
    struct loop_task load;
    bool arm_posted;
    bool load_posted;
    atomic_bool advance_posted;
};

struct coordinator {
    struct coordinator_config config;
    struct group_limits limits;
    int64_t wall_offset_ms; /* wall clock minus monotonic, at the start: a wall clock that never
                               jumps */
    pthread_rwlock_t lock;  /* guards the array */
    struct shard **shards;
    int32_t shards_n;
    struct timer expiry;  /* of committed offsets; background thread */
    atomic_bool stopping; /* no timer is armed any more */
};

static inline int64_t coordinator_now_ms(const struct coordinator *c)
{
    return clock_monotonic_ms(c->config.clock) + c->wall_offset_ms;
}

/* The shard of a partition's number, or NULL. */
struct shard *shard_at(struct coordinator *c, int32_t number);
/* The gate: the shard of a group, locked; shard_unlock() it. INVALID_GROUP_ID, NOT_COORDINATOR or
 * COORDINATOR_LOAD_IN_PROGRESS. */
NODISCARD err shard_lock(struct coordinator *c, struct str group_id, bool empty_allowed,
                         struct shard **out);
void shard_unlock(struct shard *shard);

static inline struct str text_or_empty(struct str s)
{
    return s.data == NULL ? STR("") : s;
}

struct shard *shard_new(struct coordinator *coordinator, int32_t number);
void shard_free(struct shard *shard);
/* Takes over a partition and loads it: at once when it is small, else soon. With `uninterrupted` what
 * is loaded already stays. */
void shard_elect(struct shard *shard, struct partition *p, int32_t leader_epoch,
                 bool uninterrupted);
/* Gives it up: whoever waits is told `error`. */
void shard_resign(struct shard *shard, err error);

/* OK, COORDINATOR_LOAD_IN_PROGRESS or NOT_COORDINATOR. */
err shard_ready_locked(const struct shard *shard);
/* NULL when there is none. */
struct group *shard_group(struct shard *shard, struct str id);
struct group *shard_group_add(struct shard *shard, struct str id);
void shard_group_remove(struct shard *shard, struct group *group);

/* What a store commits, until its `done` is called: what its group has committed, it has not yet. */
struct store_commits {
    struct str group_id;
    void (*set)(void *context, struct group *group); /* offsets_set() for each */
};

/* Appends a batch and calls `done` when it is safe or has failed: at once or later, always under
 * the shard's lock. `batch` is used up; `commits` (NULL: nothing) is copied, what it points to is not. */
void shard_store(struct shard *shard, struct writer *batch,
                 void (*done)(struct shard *shard, void *context, err outcome), void *context,
                 const struct store_commits *commits);

/* The offsets that are being committed, as new groups that have nothing else: id → struct group. With an
 * id those of that group only. shard_coming_deinit() it. */
void shard_coming_init(const struct shard *shard, struct str group_id, struct map *coming);
void shard_coming_deinit(struct map *coming);

/* Begins a batch as Kafka's coordinator writes them. Offsets have base sequence 0, others -1. */
void shard_batch_begin(struct shard *shard, struct writer *out, struct batch_builder *batch,
                       bool offsets);

/* After an event on a group: stores what it wants stored, sends its answers, arms the timer. */
void shard_finish_event(struct shard *shard, struct group *group, struct group_output *out);

/* load.c: reads the partition's log into the shard. */
NODISCARD err shard_load(struct shard *shard, struct plog *log);
/* removal.c: removes what is older than its retention. */
void shard_expire_offsets(struct shard *shard, int64_t now_ms);
void shard_remove_topic(struct shard *shard, struct str topic);
/* One offset to remove; each at most once. */
struct offset_pick {
    struct str topic;
    int32_t partition;
    err error; /* GROUP_SUBSCRIBED_TO_TOPIC */
};
/* Removes committed offsets; one that is not there is no error. With OK `waiter` is woken once, when
 * that is stored or has failed (*outcome), perhaps at once. GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP. */
NODISCARD err shard_delete_offsets(struct shard *shard, struct str group_id,
                                   struct offset_pick *picks, int32_t picks_n,
                                   struct waiter *waiter, err *outcome);
/* Removes an empty group and its offsets, as above. Who joins or commits before that is stored keeps
 * the group. */
NODISCARD err shard_delete_group(struct shard *shard, struct str id, struct waiter *waiter,
                                 err *outcome);

#endif

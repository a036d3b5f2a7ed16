/* What the tests of replicas share: partitions on logs of their own, and what a leader's clients, and a
 * follower's leader, would send. */
#ifndef OTTLA_BROKER_TESTS_PARTITION_UTIL_H
#define OTTLA_BROKER_TESTS_PARTITION_UTIL_H

#include "storage/tests/util.h"

#include "broker/replica/partition.h"

/* A partition whose log is in the place. */
struct kept {
    struct plog *log;
    struct partition *p;
};

UNUSED static void kept_open(struct kept *kept, struct place *place,
                             const struct partition_env *env, struct topic_partition name,
                             struct uuid id)
{
    char file[64];
    snprintf(file, sizeof(file), "%.*s-%d", (int)name.topic.len, name.topic.data, name.partition);
    char *dir = place_path(place, file);
    struct plog_open open = {
        .dir = dir, .name = name, .config = log_config_default(), .clean = true};
    MUST(plog_open(&place->env, &open, &kept->log));
    kept->p = partition_new(name, id, env, kept->log, 0);
    free(dir);
}

/* Who leads it, of these replicas, all in sync. */
UNUSED static void kept_become(struct kept *kept, int32_t leader, int32_t leader_epoch,
                               const int32_t *replicas, int32_t count)
{
    struct partition_state state = {.leader = leader,
                                    .leader_epoch = leader_epoch,
                                    .isr = {.ids = replicas, .count = count},
                                    .replicas = {.ids = replicas, .count = count}};
    struct role_change change;
    MUST(partition_become(kept->p, &state, &change));
}

/* Nobody else holds it any more. */
UNUSED static void kept_close(struct kept *kept)
{
    (void)partition_detach_log(kept->p, ERR_NOT_LEADER_OR_FOLLOWER);
    partition_release(kept->p);
    if (plog_is_offline(kept->log)) { /* as a test wanted it */
        plog_abandon(kept->log);
    } else {
        MUST(plog_close(kept->log));
    }
}

/* One batch of so many records. */
UNUSED static void kept_append(struct kept *kept, int count)
{
    struct partition_append append;
    struct writer w;
    writer_init(&w, 1 << 20);
    make_batch(&w, &(struct batch_spec){.count = count}, 0);
    MUST(partition_append(kept->p, w.data, w.len, APPEND_CLIENT, 1, &append));
    writer_deinit(&w);
}

/* Adds a batch as a leader's log has it. */
UNUSED static void put_batch(struct writer *w, int64_t offset, int32_t leader_epoch, int count)
{
    size_t at = w->len;
    make_batch(w, &(struct batch_spec){.count = count}, 0);
    store_u64(w->data + at, (uint64_t)offset);
    store_u32(w->data + at + 12, (uint32_t)leader_epoch);
}

#endif

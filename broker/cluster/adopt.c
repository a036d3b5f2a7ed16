/* For each topic: its node (the id of partition.metadata, this broker as the only replica of every
 * partition), an empty configuration (compaction for the internal topics), and each partition's
 * state with the leader epoch that its log has reached, so that epochs go on growing. A partition
 * that has no log begins empty. Overrides of options were in the other store, and are not known: so
 * that nothing is deleted that somebody meant to keep, retention is off until it is set again. */
#include "broker/cluster/adopt.h"

#include "base/log.h"
#include "base/map.h"
#include "protocol/topic_name.h"
#include "zk/znodes.h"

#include <stdlib.h>

enum { ARENA_BYTES = 512 << 20 };

struct found_topic {
    struct str name; /* the plog's */
    struct uuid id;
    int32_t partitions_n; /* the highest number plus one */
    int32_t *epochs;      /* by partition; malloc'd */
};

struct survey {
    struct map topics; /* name → struct found_topic */
};

static void look_at(void *context, struct plog *log)
{
    struct survey *survey = context;
    struct topic_partition name = plog_name(log);
    struct found_topic *topic = map_get_str(&survey->topics, name.topic);
    if (topic == NULL) {
        topic = xcalloc(1, sizeof(*topic));
        topic->name = name.topic;
        (void)map_set_str(&survey->topics, name.topic, topic);
    }
    if (!uuid_is_zero(plog_topic_id(log))) {
        topic->id = plog_topic_id(log);
    }
    if (name.partition >= topic->partitions_n) {
        int32_t n = name.partition + 1;
        topic->epochs = xrealloc(topic->epochs, (size_t)n * sizeof(*topic->epochs));
        for (int32_t i = topic->partitions_n; i < n; i++) {
            topic->epochs[i] = 0;
        }
        topic->partitions_n = n;
    }
    int32_t epoch = plog_latest_epoch(log);
    topic->epochs[name.partition] = epoch < 0 ? 0 : epoch;
}

static struct bytes config_of(struct arena *arena, struct str topic)
{
    struct znode_config_entry compact[] = {{STR("cleanup.policy"), STR("compact")}};
    struct znode_config_entry keep[] = {{STR("retention.ms"), STR("-1")},
                                        {STR("retention.bytes"), STR("-1")}};
    bool internal = topic_is_internal(topic);
    struct znode_config config = {.entries = internal ? compact : keep,
                                  .entries_n = internal ? 1 : 2};
    return znode_config_encode(arena, &config);
}

static err write_states(const struct adoption *adoption, struct arena *arena,
                        const struct found_topic *topic)
{
    struct coord_op *ops = arena_array(arena, (size_t)topic->partitions_n * 2, sizeof(*ops));
    if (ops == NULL) {
        return E_LIMIT;
    }
    size_t n = 0;
    int32_t self = adoption->broker_id;
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        struct znode_state state = {.leader = adoption->broker_id,
                                    .leader_epoch = topic->epochs[p],
                                    .isr = {.ids = &self, .count = 1}};
        ops[n++] = (struct coord_op){.type = COORD_CREATE,
                                     .path = znode_partition_path(arena, topic->name, p)};
        ops[n++] = (struct coord_op){.type = COORD_CREATE,
                                     .path = znode_state_path(arena, topic->name, p),
                                     .data = znode_state_encode(arena, &state)};
    }
    TRY(coord_run(adoption->coord, ops, n, arena));
    for (size_t i = 0; i < n; i++) {
        TRY(ops[i].error);
    }
    return OK;
}

static err write_topic(const struct adoption *adoption, struct arena *arena,
                       struct found_topic *topic)
{
    struct znode_topic node = {
        .id = uuid_is_zero(topic->id) ? uuid_random(adoption->random) : topic->id,
        .partitions = arena_array(arena, (size_t)topic->partitions_n, sizeof(struct id_list)),
        .partitions_n = topic->partitions_n,
    };
    if (node.partitions == NULL) {
        return E_LIMIT;
    }
    int32_t self = adoption->broker_id;
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        node.partitions[p] = (struct id_list){.ids = &self, .count = 1};
    }
    struct coord_op ops[] = {
        {.type = COORD_CREATE,
         .path = znode_topic_config_path(arena, topic->name),
         .data = config_of(arena, topic->name)},
        {.type = COORD_CREATE,
         .path = znode_topic_path(arena, topic->name),
         .data = znode_topic_encode(arena, &node)},
        {.type = COORD_CREATE, .path = znode_partitions_path(arena, topic->name)},
    };
    TRY(coord_multi(adoption->coord, ops, 3, arena));
    TRY(topic_configs_refresh(adoption->topic_configs, topic->name, NULL));
    return write_states(adoption, arena, topic);
}

static err adopt_all(const struct adoption *adoption, struct survey *survey)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = OK;
    map_each (entry, &survey->topics) {
        if (e == OK) {
            e = write_topic(adoption, &arena, entry->value);
            arena_reset(&arena, ARENA_BYTES);
        }
    }
    arena_deinit(&arena);
    log_warn("adopt",
             "topics of the log directories taken over, with retention off, since their options "
             "are not known count=%zu",
             survey->topics.count);
    return e;
}

/* The logs were loaded before their topics were known. */
static void use_config(void *context, struct plog *log)
{
    struct log_config config;
    (void)topic_configs_in_force(context, plog_name(log).topic, &config); /* or a careful one */
    plog_set_config(log, &config);
}

err adopt_logs(const struct adoption *adoption)
{
    struct arena arena;
    struct coord_op children = {.type = COORD_CHILDREN, .path = ZNODE_TOPICS};
    if (logs_count(adoption->logs) == 0) {
        return OK;
    }
    arena_init(&arena, ARENA_BYTES);
    err e = coord_run(adoption->coord, &children, 1, &arena);
    int32_t known = children.children_n;
    arena_deinit(&arena);
    if (e != OK || known > 0) {
        return e;
    }
    struct survey survey;
    map_init(&survey.topics);
    logs_each(adoption->logs, look_at, &survey);
    e = adopt_all(adoption, &survey);
    logs_each(adoption->logs, use_config, adoption->topic_configs);
    map_each (entry, &survey.topics) {
        struct found_topic *topic = entry->value;
        free(topic->epochs);
        free(topic);
    }
    map_deinit(&survey.topics);
    return e;
}

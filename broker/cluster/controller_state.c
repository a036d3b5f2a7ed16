/* Elections (reference: zookeeper §8):
 *
 *   trigger            leader                                     in-sync replicas
 *   new partition      first live replica                         all live replicas; waits if none
 *   leader is gone     first assigned that lives and is in sync   those of them that live
 *   preferred          the first assigned, if it lives, in sync   unchanged
 *
 * When nobody can lead, the last in-sync replicas keep their claim. "Lives" means that the broker
 * is registered and has not refused the partition for its directory. Each election raises the
 * leader epoch by one. */
#include "broker/cluster/controller_state.h"

#include "base/log.h"

#include <stdlib.h>

enum { BROKERS_ARENA_BYTES = 64 << 20, PERCENT = 100 };

/* ---- lists of ids ---- */

static void id_list_set(struct id_list *to, const int32_t *ids, int32_t count)
{
    int32_t *copy = xcalloc((size_t)count, sizeof(*copy)); /* `ids` may be the list's own */
    for (int32_t i = 0; i < count; i++) {
        copy[i] = ids[i];
    }
    free(to->ids);
    *to = (struct id_list){.ids = copy, .count = count};
}

static void id_list_remove(struct id_list *list, int32_t id)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < list->count; i++) {
        if (list->ids[i] != id) {
            list->ids[kept++] = list->ids[i];
        }
    }
    list->count = kept;
}

bool id_list_holds(const struct id_list *list, int32_t id)
{
    for (int32_t i = 0; i < list->count; i++) {
        if (list->ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* ---- the model ---- */

void ctl_state_init(struct ctl_state *state, int32_t broker_id)
{
    *state = (struct ctl_state){.broker_id = broker_id};
    map_init(&state->topics);
    map_init(&state->ids);
    arena_init(&state->brokers_arena, BROKERS_ARENA_BYTES);
}

static void topic_free(struct ctl_topic *topic)
{
    for (int32_t i = 0; i < topic->partitions_n; i++) {
        free(topic->partitions[i].replicas.ids);
        free(topic->partitions[i].offline.ids);
        free(topic->partitions[i].state.isr.ids);
    }
    free(topic->partitions);
    free(topic->stops.ids);
    free((void *)(uintptr_t)topic->name.data);
    free(topic);
}

void ctl_state_clear(struct ctl_state *state)
{
    map_each (entry, &state->topics) {
        topic_free(entry->value);
    }
    map_deinit(&state->topics);
    map_init(&state->topics);
    map_deinit(&state->ids);
    map_init(&state->ids);
    free(state->brokers);
    state->brokers = NULL;
    state->brokers_n = 0;
}

void ctl_state_deinit(struct ctl_state *state)
{
    ctl_state_clear(state);
    map_deinit(&state->topics);
    map_deinit(&state->ids);
    arena_deinit(&state->brokers_arena);
}

void ctl_writes_add(struct ctl_writes *writes, struct coord_op op)
{
    if (writes->count == writes->room) {
        writes->room = writes->room == 0 ? 16 : writes->room * 2;
        writes->ops = xrealloc(writes->ops, writes->room * sizeof(*writes->ops));
    }
    writes->ops[writes->count++] = op;
}

void ctl_writes_deinit(struct ctl_writes *writes)
{
    free(writes->ops);
    *writes = (struct ctl_writes){0};
}

const struct ctl_broker *ctl_broker_find(const struct ctl_state *state, int32_t id)
{
    for (int32_t i = 0; i < state->brokers_n; i++) {
        if (state->brokers[i].id == id) {
            return &state->brokers[i];
        }
    }
    return NULL;
}

bool ctl_broker_is_live(const struct ctl_state *state, int32_t id)
{
    return ctl_broker_find(state, id) != NULL;
}

static void forget_offline(struct ctl_state *state, int32_t broker)
{
    map_each (entry, &state->topics) {
        struct ctl_topic *topic = entry->value;
        for (int32_t i = 0; i < topic->partitions_n; i++) {
            id_list_remove(&topic->partitions[i].offline, broker);
        }
    }
}

void ctl_set_brokers(struct ctl_state *state, const struct ctl_broker_snapshot *brokers,
                     int32_t count)
{
    struct ctl_broker *next = xcalloc((size_t)count, sizeof(*next));
    int32_t next_n = 0;
    struct arena *arena = &state->brokers_arena;
    arena_reset(arena, BROKERS_ARENA_BYTES);
    for (int32_t i = 0; i < count; i++) {
        struct ctl_broker *broker = &next[next_n];
        *broker = (struct ctl_broker){.id = brokers[i].id, .epoch = brokers[i].epoch};
        if (znode_broker_decode(arena, brokers[i].json, &broker->node) != OK) {
            log_warn("controller", "broker node unreadable, ignored id=%d", brokers[i].id);
            continue;
        }
        const struct ctl_broker *before = ctl_broker_find(state, broker->id);
        if (before != NULL && before->epoch != broker->epoch) {
            forget_offline(state, broker->id);
        }
        next_n++;
    }
    free(state->brokers);
    state->brokers = next;
    state->brokers_n = next_n;
}

struct ctl_topic *ctl_topic_find(const struct ctl_state *state, struct str name)
{
    return map_get_str(&state->topics, name);
}

static struct bytes id_key(const struct uuid *id)
{
    return bytes_of(id->bytes, sizeof(id->bytes));
}

struct ctl_topic *ctl_topic_by_id(const struct ctl_state *state, struct uuid id)
{
    return map_get(&state->ids, id_key(&id));
}

struct ctl_topic *ctl_set_topic(struct ctl_state *state, struct str name,
                                const struct znode_topic *node)
{
    struct ctl_topic *topic = ctl_topic_find(state, name);
    if (topic == NULL) {
        topic = xcalloc(1, sizeof(*topic));
        topic->name = (struct str){.data = str_dup(name), .len = name.len};
        (void)map_set_str(&state->topics, topic->name, topic);
    }
    (void)map_remove(&state->ids, id_key(&topic->id));
    topic->id = node->id;
    (void)map_set(&state->ids, id_key(&topic->id), topic);
    if (node->partitions_n > topic->partitions_n) {
        topic->partitions =
            xrealloc(topic->partitions, (size_t)node->partitions_n * sizeof(*topic->partitions));
        for (int32_t i = topic->partitions_n; i < node->partitions_n; i++) {
            topic->partitions[i] = (struct ctl_partition){.state_version = CTL_NO_STATE};
        }
        topic->partitions_n = node->partitions_n;
    }
    for (int32_t i = 0; i < node->partitions_n; i++) {
        id_list_set(&topic->partitions[i].replicas, node->partitions[i].ids,
                    node->partitions[i].count);
    }
    return topic;
}

void ctl_set_unreadable(struct ctl_topic *topic, int32_t partition)
{
    struct ctl_partition *p = &topic->partitions[partition];
    p->unreadable = true;
    p->state_version = CTL_NO_STATE;
    p->state.leader = CTL_NO_LEADER;
    p->state.isr.count = 0;
}

err ctl_set_partition(struct ctl_topic *topic, int32_t partition, const struct znode_state *state,
                      int32_t version)
{
    struct ctl_partition *p = &topic->partitions[partition];
    if (state->leader_epoch < 0 || state->leader_epoch == INT32_MAX) {
        ctl_set_unreadable(topic, partition);
        return E_MALFORMED;
    }
    struct id_list isr = p->state.isr;
    id_list_set(&isr, state->isr.ids, state->isr.count);
    p->state = *state;
    p->state.isr = isr;
    p->state_version = version;
    p->unreadable = false;
    p->node_there = true;
    topic->partitions_there = true;
    return OK;
}

void ctl_remove_topic(struct ctl_state *state, struct ctl_topic *topic)
{
    (void)map_remove_str(&state->topics, topic->name);
    (void)map_remove(&state->ids, id_key(&topic->id));
    topic_free(topic);
}

struct topic_list ctl_all_topics(const struct ctl_state *state, struct arena *arena)
{
    struct topic_list all = {
        .topics = arena_array(arena, state->topics.count, sizeof(struct ctl_topic *))};
    CHECK(all.topics != NULL);
    map_each (entry, &state->topics) {
        struct ctl_topic *topic = entry->value;
        if (!topic->deleting) {
            all.topics[all.count++] = topic;
        }
    }
    return all;
}

bool ctl_set_replica_offline(struct ctl_topic *topic, int32_t partition, int32_t broker,
                             bool offline)
{
    if (partition < 0 || partition >= topic->partitions_n) {
        return false;
    }
    struct id_list *list = &topic->partitions[partition].offline;
    if (id_list_holds(list, broker) == offline) {
        return false;
    }
    if (offline) {
        list->ids = xrealloc(list->ids, (size_t)(list->count + 1) * sizeof(*list->ids));
        list->ids[list->count++] = broker;
    } else {
        id_list_remove(list, broker);
    }
    return true;
}

/* ---- elections ---- */

static bool replica_is_live(const struct ctl_state *state, const struct ctl_partition *p,
                            int32_t id)
{
    return ctl_broker_is_live(state, id) && !id_list_holds(&p->offline, id);
}

/* The assigned replicas that live, of those in `among` if it is given. */
static struct id_list live_replicas(const struct ctl_state *state, struct arena *arena,
                                    const struct ctl_partition *p, const struct id_list *among)
{
    struct id_list live = {.ids = arena_array(arena, (size_t)p->replicas.count, sizeof(*live.ids))};
    CHECK(live.ids != NULL);
    for (int32_t i = 0; i < p->replicas.count; i++) {
        int32_t id = p->replicas.ids[i];
        if (replica_is_live(state, p, id) && (among == NULL || id_list_holds(among, id))) {
            live.ids[live.count++] = id;
        }
    }
    return live;
}

/* False: nobody lives. */
static bool elect_first(struct ctl_state *state, struct arena *arena, struct ctl_partition *p)
{
    struct id_list live = live_replicas(state, arena, p, NULL);
    if (live.count == 0) {
        return false;
    }
    p->state.leader = live.ids[0];
    p->state.leader_epoch = 0;
    p->state.controller_epoch = state->epoch;
    id_list_set(&p->state.isr, live.ids, live.count);
    return true;
}

/* False: the leader lives, or the partition is known to be without one. */
static bool elect_another(struct ctl_state *state, struct arena *arena, struct ctl_partition *p)
{
    int32_t leader = p->state.leader;
    if (leader != CTL_NO_LEADER && replica_is_live(state, p, leader)) {
        return false;
    }
    struct id_list live = live_replicas(state, arena, p, &p->state.isr);
    if (live.count == 0 && leader == CTL_NO_LEADER) {
        return false;
    }
    p->state.leader = live.count > 0 ? live.ids[0] : CTL_NO_LEADER;
    p->state.leader_epoch++;
    p->state.controller_epoch = state->epoch;
    if (live.count > 0) {
        id_list_set(&p->state.isr, live.ids, live.count);
    }
    return true;
}

static void write_first(struct arena *arena, const struct ctl_topic *topic, int32_t partition,
                        struct ctl_writes *writes)
{
    struct ctl_partition *p = &topic->partitions[partition];
    if (!p->node_there) {
        const char *path = znode_partition_path(arena, topic->name, partition);
        ctl_writes_add(writes, (struct coord_op){.type = COORD_CREATE, .path = path});
    }
    ctl_writes_add(writes,
                   (struct coord_op){.type = COORD_CREATE,
                                     .path = znode_state_path(arena, topic->name, partition),
                                     .data = znode_state_encode(arena, &p->state)});
    p->state_version = 0;
    p->node_there = true;
    p->is_new = true;
}

static void write_next(struct arena *arena, const struct ctl_topic *topic, int32_t partition,
                       struct ctl_writes *writes)
{
    struct ctl_partition *p = &topic->partitions[partition];
    ctl_writes_add(writes,
                   (struct coord_op){.type = COORD_SET,
                                     .path = znode_state_path(arena, topic->name, partition),
                                     .data = znode_state_encode(arena, &p->state),
                                     .version = p->state_version});
    p->state_version++;
}

static bool settle_topic(struct ctl_state *state, struct arena *arena, struct ctl_topic *topic,
                         struct ctl_writes *writes)
{
    bool changed = false;
    for (int32_t i = 0; i < topic->partitions_n; i++) {
        struct ctl_partition *p = &topic->partitions[i];
        if (p->unreadable) {
            continue;
        }
        if (p->state_version != CTL_NO_STATE && elect_another(state, arena, p)) {
            write_next(arena, topic, i, writes);
            changed = true;
        } else if (p->state_version == CTL_NO_STATE && elect_first(state, arena, p)) {
            if (!topic->partitions_there) {
                const char *path = znode_partitions_path(arena, topic->name);
                ctl_writes_add(writes, (struct coord_op){.type = COORD_CREATE, .path = path});
                topic->partitions_there = true;
            }
            write_first(arena, topic, i, writes);
            changed = true;
        }
    }
    return changed;
}

bool ctl_settle(struct ctl_state *state, struct arena *arena, const struct topic_list *list,
                struct ctl_writes *writes)
{
    bool changed = false;
    for (int32_t t = 0; t < list->count; t++) {
        changed |= settle_topic(state, arena, list->topics[t], writes);
    }
    return changed;
}

/* ---- preferred leaders ---- */

bool ctl_prefer(struct ctl_state *state, struct arena *arena, struct ctl_topic *topic,
                int32_t partition, struct ctl_writes *writes)
{
    struct ctl_partition *p = &topic->partitions[partition];
    if (p->state_version == CTL_NO_STATE || p->replicas.count == 0) {
        return false;
    }
    int32_t preferred = p->replicas.ids[0];
    if (p->state.leader == preferred || !replica_is_live(state, p, preferred) ||
        !id_list_holds(&p->state.isr, preferred)) {
        return false;
    }
    p->state.leader = preferred;
    p->state.leader_epoch++;
    p->state.controller_epoch = state->epoch;
    write_next(arena, topic, partition, writes);
    return true;
}

static bool broker_is_imbalanced(const struct ctl_state *state, int32_t broker, int32_t percent)
{
    int64_t preferred = 0;
    int64_t led_by_others = 0;
    map_each (entry, &state->topics) {
        const struct ctl_topic *topic = entry->value;
        for (int32_t i = 0; i < topic->partitions_n && !topic->deleting; i++) {
            const struct ctl_partition *p = &topic->partitions[i];
            if (p->replicas.count > 0 && p->replicas.ids[0] == broker) {
                preferred++;
                led_by_others += p->state.leader != broker ? 1 : 0;
            }
        }
    }
    return led_by_others * PERCENT > preferred * percent;
}

bool ctl_is_imbalanced(const struct ctl_state *state, int32_t percent)
{
    for (int32_t i = 0; i < state->brokers_n; i++) {
        if (broker_is_imbalanced(state, state->brokers[i].id, percent)) {
            return true;
        }
    }
    return false;
}

/* ---- deletion ---- */

bool ctl_begin_deletion(struct ctl_state *state, struct ctl_topic *topic)
{
    topic->deleting = true;
    topic->stops.count = 0;
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        const struct id_list *replicas = &topic->partitions[p].replicas;
        for (int32_t r = 0; r < replicas->count; r++) {
            int32_t id = replicas->ids[r];
            if (!replica_is_live(state, &topic->partitions[p], id)) {
                topic->stops.count = 0;
                return false;
            }
            if (!id_list_holds(&topic->stops, id)) {
                size_t room = (size_t)topic->stops.count + 1;
                topic->stops.ids = xrealloc(topic->stops.ids, room * sizeof(int32_t));
                topic->stops.ids[topic->stops.count++] = id;
            }
        }
    }
    return true;
}

bool ctl_confirm_deletion(struct ctl_topic *topic, int32_t broker)
{
    if (!id_list_holds(&topic->stops, broker)) {
        return false;
    }
    id_list_remove(&topic->stops, broker);
    return topic->stops.count == 0;
}

/* The model itself: snapshots in, look-ups out. What is decided of it is controller_decide.c. */
#include "broker/cluster/controller_state.h"

#include "base/log.h"
#include "base/planted.h"

#include <stdlib.h>

enum { BROKERS_ARENA_BYTES = 64 << 20 };

/* ---- lists of ids ---- */

void id_list_set(struct id_list *to, const int32_t *ids, int32_t count)
{
    int32_t *copy = xcalloc((size_t)count, sizeof(*copy)); /* `ids` may be the list's own */
    for (int32_t i = 0; i < count; i++) {
        copy[i] = ids[i];
    }
    free(to->ids);
    *to = (struct id_list){.ids = copy, .count = count};
}

void id_list_add(struct id_list *list, int32_t id)
{
    if (!id_list_holds(list, id)) {
        list->ids = xrealloc(list->ids, (size_t)(list->count + 1) * sizeof(*list->ids));
        list->ids[list->count++] = id;
    }
}

void id_list_remove(struct id_list *list, int32_t id)
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

/* ---- lists of partitions ---- */

void parts_add(struct parts *parts, struct arena *arena, struct ctl_topic *topic, int32_t partition)
{
    if (parts->count == parts->room) {
        int32_t room = parts->room == 0 ? 16 : parts->room * 2;
        struct part *grown = arena_array(arena, (size_t)room, sizeof(*grown));
        CHECK(grown != NULL);
        if (parts->count > 0) {
            memcpy(grown, parts->all, (size_t)parts->count * sizeof(*grown));
        }
        parts->all = grown;
        parts->room = room;
    }
    parts->all[parts->count++] = (struct part){.topic = topic, .partition = partition};
}

void parts_add_topics(struct parts *parts, struct arena *arena, const struct topic_list *list)
{
    for (int32_t t = 0; t < list->count; t++) {
        for (int32_t p = 0; p < list->topics[t]->partitions_n; p++) {
            parts_add(parts, arena, list->topics[t], p);
        }
    }
}

static int by_name(const void *one, const void *other)
{
    struct str a = (*(struct ctl_topic *const *)one)->name;
    struct str b = (*(struct ctl_topic *const *)other)->name;
    int differ = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return differ != 0 ? differ : (a.len > b.len) - (a.len < b.len);
}

struct topic_list parts_topics(const struct parts *parts, struct arena *arena)
{
    struct topic_list list = {
        .topics = arena_array(arena, (size_t)parts->count, sizeof(struct ctl_topic *))};
    CHECK(list.topics != NULL);
    for (int32_t i = 0; i < parts->count; i++) {
        list.topics[i] = parts->all[i].topic;
    }
    qsort(list.topics, (size_t)parts->count, sizeof(*list.topics), by_name);
    for (int32_t i = 0; i < parts->count; i++) {
        if (list.count == 0 || list.topics[list.count - 1] != list.topics[i]) {
            list.topics[list.count++] = list.topics[i];
        }
    }
    return list;
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
        free(topic->partitions[i].adding.ids);
        free(topic->partitions[i].removing.ids);
        free(topic->partitions[i].fresh.ids);
        free(topic->partitions[i].leaving.ids);
        free(topic->partitions[i].asked.ids);
        free(topic->partitions[i].told.ids);
        free(topic->partitions[i].offline.ids);
        free(topic->partitions[i].state.isr.ids);
    }
    free(topic->partitions);
    free(topic->stops.ids);
    free(topic->asked.ids);
    free(topic->told.ids);
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

struct ctl_broker *ctl_broker_find(const struct ctl_state *state, int32_t id)
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
    const struct ctl_broker *broker = ctl_broker_find(state, id);
    return broker != NULL && !broker->shuts_down && broker->news != CTL_BROKER_BOUNCED;
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

/* What is known of a life of a broker: nothing of an earlier one counts. */
static enum ctl_broker_news news_of(struct ctl_state *state, struct ctl_broker *broker)
{
    const struct ctl_broker *before = ctl_broker_find(state, broker->id);
    if (before == NULL) {
        forget_offline(state, broker->id);
        return CTL_BROKER_CAME;
    }
    if (before->epoch != broker->epoch) {
        forget_offline(state, broker->id);
        return planted(MISTAKE_NO_BOUNCE) ? CTL_BROKER_CAME : CTL_BROKER_BOUNCED;
    }
    broker->shuts_down = before->shuts_down;
    return CTL_BROKER_STAYED;
}

static bool is_among(const struct ctl_broker *brokers, int32_t count, int32_t id)
{
    for (int32_t i = 0; i < count; i++) {
        if (brokers[i].id == id) {
            return true;
        }
    }
    return false;
}

void ctl_set_brokers(struct ctl_state *state, const struct ctl_broker_snapshot *brokers,
                     int32_t count, struct id_list *left)
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
        broker->news = news_of(state, broker);
        next_n++;
    }
    for (int32_t i = 0; i < state->brokers_n; i++) {
        if (!is_among(next, next_n, state->brokers[i].id)) {
            left->ids[left->count++] = state->brokers[i].id;
        }
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

struct ctl_partition *ctl_partition_find(const struct ctl_topic *topic, int32_t partition)
{
    bool there = topic != NULL && partition >= 0 && partition < topic->partitions_n;
    return there ? &topic->partitions[partition] : NULL;
}

struct ctl_topic *ctl_set_topic(struct ctl_state *state, struct str name,
                                const struct znode_topic *node, int32_t version, bool *news)
{
    struct ctl_topic *topic = ctl_topic_find(state, name);
    *news = topic == NULL || topic->version != version;
    if (!*news) {
        return topic;
    }
    if (topic == NULL) {
        topic = xcalloc(1, sizeof(*topic));
        topic->name = (struct str){.data = str_dup(name), .len = name.len};
        (void)map_set_str(&state->topics, topic->name, topic);
    }
    (void)map_remove(&state->ids, id_key(&topic->id));
    topic->id = node->id;
    topic->version = version;
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
        struct ctl_partition *p = &topic->partitions[i];
        id_list_set(&p->replicas, node->partitions[i].ids, node->partitions[i].count);
        id_list_set(&p->adding, node->adding[i].ids, node->adding[i].count);
        id_list_set(&p->removing, node->removing[i].ids, node->removing[i].count);
        p->node_due = false;
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
                      const struct coord_stat *stat)
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
    p->state_version = stat->version;
    p->state_zxid = stat->mzxid;
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
    struct ctl_partition *p = ctl_partition_find(topic, partition);
    if (p == NULL || id_list_holds(&p->offline, broker) == offline) {
        return false;
    }
    struct id_list *list = &p->offline;
    if (offline) {
        id_list_add(list, broker);
    } else {
        id_list_remove(list, broker);
    }
    return true;
}

bool ctl_replica_is_idle(const struct ctl_partition *p, int32_t broker)
{
    return p->state.leader != broker && !id_list_holds(&p->state.isr, broker);
}

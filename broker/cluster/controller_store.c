/* What the controller reads from the store and writes to it.
 *
 * Reading fills the model. What makes no sense there is told once, with its path, and left alone, so
 * that one bad node does not stop the others. Writes are grouped, at most MULTI_MAX operations and
 * MULTI_BYTES in a transaction (or one operation), each behind the check of the controller's epoch. */
#include "broker/cluster/controller_internal.h"

#include "base/log.h"
#include "base/planted.h"
#include "broker/cluster/metadata.h"

enum { MULTI_MAX = 900, MULTI_BYTES = 512 << 10 };

void *controller_alloc(struct controller *c, size_t count, size_t size)
{
    void *memory = arena_array(&c->arena, count, size);
    CHECK(memory != NULL);
    return memory;
}

/* ---- reading and writing ---- */

err controller_read_node(struct controller *c, const char *path, int flags, struct coord_op *get)
{
    *get = (struct coord_op){.type = COORD_GET, .path = path, .flags = flags};
    return coord_run(c->config.coord, get, 1, &c->arena);
}

err controller_read_children(struct controller *c, const char *path, int flags,
                             struct coord_op *list)
{
    *list = (struct coord_op){.type = COORD_CHILDREN, .path = path, .flags = flags};
    TRY(coord_run(c->config.coord, list, 1, &c->arena));
    return list->error;
}

/* One transaction behind a check of the controller's epoch. */
static err fenced_multi(struct controller *c, const struct coord_op *ops, size_t count,
                        struct arena *arena)
{
    struct coord_op *all = arena_array(arena, count + 1, sizeof(*all));
    if (all == NULL) {
        return E_LIMIT;
    }
    all[0] = (struct coord_op){
        .type = COORD_CHECK, .path = ZNODE_CONTROLLER_EPOCH, .version = c->epoch_version};
    memcpy(all + 1, ops, count * sizeof(*ops));
    size_t skipped = planted(MISTAKE_UNFENCED_CONTROLLER) ? 1 : 0;
    err e = coord_multi(c->config.coord, all + skipped, count + 1 - skipped, arena);
    if (all[0].error == E_VERSION || all[0].error == E_NOT_FOUND) {
        log_warn("controller", "another controller was elected; resigned epoch=%d", c->state.epoch);
        c->active = false;
    }
    return e;
}

err controller_checked_multi(struct controller *c, const struct coord_op *ops, size_t count)
{
    return fenced_multi(c, ops, count, &c->arena);
}

err controller_multi(struct controller *c, const struct coord_op *ops, size_t count,
                     struct arena *arena)
{
    if (c->active) {
        return fenced_multi(c, ops, count, arena);
    }
    struct coord_op *copy = arena_array(arena, count, sizeof(*copy));
    if (copy == NULL) {
        return E_LIMIT;
    }
    memcpy(copy, ops, count * sizeof(*ops));
    return coord_multi(c->config.coord, copy, count, arena);
}

/* How many operations from there on go into one transaction. */
static size_t group_size(const struct ctl_writes *writes, size_t at)
{
    size_t n = 0;
    size_t bytes = 0;
    while (at + n < writes->count && n < MULTI_MAX) {
        const struct coord_op *op = &writes->ops[at + n];
        bytes += strlen(op->path) + op->data.len;
        if (n > 0 && bytes > MULTI_BYTES) {
            break;
        }
        n++;
    }
    return n;
}

err controller_commit(struct controller *c, struct ctl_writes *writes)
{
    err e = OK;
    for (size_t at = 0, n = 0; e == OK && at < writes->count; at += n) {
        n = group_size(writes, at);
        e = controller_checked_multi(c, writes->ops + at, n);
    }
    ctl_writes_deinit(writes);
    return e;
}

/* Adds the nodes of one level to `found`, those that are there, and gives their children's paths. */
static err list_level(struct controller *c, const char ***paths, size_t *count,
                      struct ctl_writes *found)
{
    struct coord_op *lists = controller_alloc(c, *count, sizeof(*lists));
    size_t below = 0;
    for (size_t i = 0; i < *count; i++) {
        lists[i] = (struct coord_op){.type = COORD_CHILDREN, .path = (*paths)[i]};
    }
    TRY(coord_run(c->config.coord, lists, *count, &c->arena));
    for (size_t i = 0; i < *count; i++) {
        below += lists[i].error == OK ? (size_t)lists[i].children_n : 0;
    }
    const char **next = controller_alloc(c, below, sizeof(*next));
    below = 0;
    for (size_t i = 0; i < *count; i++) {
        const char *path = (*paths)[i];
        if (lists[i].error != OK) {
            continue;
        }
        ctl_writes_add(
            found,
            (struct coord_op){.type = COORD_DELETE, .path = path, .version = COORD_ANY_VERSION});
        for (int32_t k = 0; k < lists[i].children_n; k++) {
            next[below++] = arena_format(&c->arena, "%s/%s", path, lists[i].children[k]).data;
        }
    }
    *paths = next;
    *count = below;
    return OK;
}

/* Deletes these nodes and all below them, whoever made them; the lowest first. */
err controller_remove_trees(struct controller *c, const char **paths, size_t count)
{
    struct ctl_writes found = {0};
    struct ctl_writes writes = {0};
    err e = OK;
    while (e == OK && count > 0) {
        e = list_level(c, &paths, &count, &found);
    }
    for (size_t i = found.count; e == OK && i-- > 0;) {
        ctl_writes_add(&writes, found.ops[i]);
    }
    ctl_writes_deinit(&found);
    return e == OK ? controller_commit(c, &writes) : e;
}

/* The notifications of a directory are gone, whatever they said. */
err controller_remove_children(struct controller *c, const char *path, const struct coord_op *list)
{
    const char **paths = controller_alloc(c, (size_t)list->children_n, sizeof(*paths));
    for (int32_t i = 0; i < list->children_n; i++) {
        paths[i] = arena_format(&c->arena, "%s/%s", path, list->children[i]).data;
    }
    return controller_remove_trees(c, paths, (size_t)list->children_n);
}

/* ---- loading ---- */

err controller_load_brokers(struct controller *c, struct id_list *left)
{
    struct coord_op ids;
    TRY(controller_read_children(c, ZNODE_BROKER_IDS, COORD_WATCH, &ids));
    struct coord_op *gets = controller_alloc(c, (size_t)ids.children_n, sizeof(*gets));
    for (int32_t i = 0; i < ids.children_n; i++) {
        const char *path = arena_format(&c->arena, "%s/%s", ZNODE_BROKER_IDS, ids.children[i]).data;
        gets[i] = (struct coord_op){.type = COORD_GET, .path = path, .flags = COORD_WATCH};
    }
    TRY(coord_run(c->config.coord, gets, (size_t)ids.children_n, &c->arena));
    struct ctl_broker_snapshot *brokers =
        controller_alloc(c, (size_t)ids.children_n, sizeof(*brokers));
    int32_t brokers_n = 0;
    for (int32_t i = 0; i < ids.children_n; i++) {
        int32_t id = znode_broker_id(ids.children[i]);
        if (id < 0) {
            log_warn("controller", "no broker id, ignored path=%s", gets[i].path);
        } else if (gets[i].error == OK) {
            brokers[brokers_n++] = (struct ctl_broker_snapshot){
                .id = id, .epoch = gets[i].stat.czxid, .json = gets[i].value};
        }
    }
    size_t before = (size_t)c->state.brokers_n;
    *left = (struct id_list){.ids = controller_alloc(c, before, sizeof(*left->ids))};
    ctl_set_brokers(&c->state, brokers, brokers_n, left);
    return OK;
}

/* Topics written before Kafka 2.8 have no id: the controller gives them one. */
static err assign_id(struct controller *c, const char *path, struct znode_topic *node,
                     int32_t version)
{
    node->id = uuid_random(c->config.random);
    struct coord_op set = {.type = COORD_SET,
                           .path = path,
                           .data = znode_topic_encode(&c->arena, node),
                           .version = version};
    return controller_checked_multi(c, &set, 1);
}

/* One that cannot be read is told, and left alone: the others go on. */
static void take_state(struct controller *c, struct ctl_topic *topic, int32_t partition,
                       const struct coord_op *get)
{
    struct znode_state state;
    if (get->error == E_NOT_FOUND) {
        return;
    }
    if (get->error != OK || znode_state_decode(&c->arena, get->value, &state) != OK) {
        ctl_set_unreadable(topic, partition);
    } else if (ctl_set_partition(topic, partition, &state, &get->stat) == OK) {
        return;
    }
    log_error("controller", "partition state unreadable, the partition has no leader path=%s",
              get->path);
}

static bool lacks_states(const struct ctl_topic *topic)
{
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        if (topic->partitions[p].state_version == CTL_NO_STATE &&
            !topic->partitions[p].unreadable) {
            return true;
        }
    }
    return false;
}

/* Which of the znodes above missing states are there? A controller that died may have left them. */
static err look_for_nodes(struct controller *c, const struct topic_list *list)
{
    struct coord_op *lists = controller_alloc(c, (size_t)list->count, sizeof(*lists));
    struct ctl_topic **topics = controller_alloc(c, (size_t)list->count, sizeof(*topics));
    size_t n = 0;
    for (int32_t t = 0; t < list->count; t++) {
        if (lacks_states(list->topics[t])) {
            topics[n] = list->topics[t];
            lists[n] = (struct coord_op){.type = COORD_CHILDREN,
                                         .path = znode_partitions_path(&c->arena, topics[n]->name)};
            n++;
        }
    }
    TRY(coord_run(c->config.coord, lists, n, &c->arena));
    for (size_t i = 0; i < n; i++) {
        topics[i]->partitions_there = lists[i].error == OK;
        for (int32_t k = 0; k < lists[i].children_n; k++) {
            const char *name = lists[i].children[k];
            int64_t number = -1;
            if (znode_number_decode(bytes_of(name, strlen(name)), &number) == OK && number >= 0 &&
                number < topics[i]->partitions_n) {
                topics[i]->partitions[number].node_there = true;
            }
        }
    }
    return OK;
}

err controller_load_states(struct controller *c, const struct topic_list *list)
{
    size_t total = 0;
    for (int32_t t = 0; t < list->count; t++) {
        total += (size_t)list->topics[t]->partitions_n;
    }
    struct coord_op *gets = controller_alloc(c, total, sizeof(*gets));
    size_t n = 0;
    for (int32_t t = 0; t < list->count; t++) {
        for (int32_t p = 0; p < list->topics[t]->partitions_n; p++) {
            gets[n++] = (struct coord_op){
                .type = COORD_GET, .path = znode_state_path(&c->arena, list->topics[t]->name, p)};
        }
    }
    TRY(coord_run(c->config.coord, gets, total, &c->arena));
    n = 0;
    for (int32_t t = 0; t < list->count; t++) {
        for (int32_t p = 0; p < list->topics[t]->partitions_n; p++, n++) {
            take_state(c, list->topics[t], p, &gets[n]);
        }
    }
    return look_for_nodes(c, list);
}

/* Reads these topics' nodes (and watches them) into the model, and the states of those whose node is not as the
 * model has it. */
err controller_load_topics(struct controller *c, const char *const *names, int32_t count,
                           struct topic_list *list)
{
    struct coord_op *gets = controller_alloc(c, (size_t)count, sizeof(*gets));
    for (int32_t i = 0; i < count; i++) {
        gets[i] = (struct coord_op){.type = COORD_GET,
                                    .path = znode_topic_path(&c->arena, str_of(names[i])),
                                    .flags = COORD_WATCH};
    }
    TRY(coord_run(c->config.coord, gets, (size_t)count, &c->arena));
    list->topics = controller_alloc(c, (size_t)count, sizeof(*list->topics));
    list->count = 0;
    struct topic_list news = {.topics = controller_alloc(c, (size_t)count, sizeof(*news.topics))};
    for (int32_t i = 0; i < count; i++) {
        struct znode_topic node;
        if (gets[i].error == E_NOT_FOUND) {
            continue;
        }
        TRY(gets[i].error);
        if (!topic_name_is_legal(str_of(names[i])) ||
            znode_topic_decode(&c->arena, gets[i].value, &node) != OK) {
            log_error("controller", "topic node unreadable, ignored topic=%.300s", names[i]);
            (void)map_set_str(&c->ignored, str_of(names[i]), c);
            continue;
        }
        int32_t version = gets[i].stat.version;
        if (uuid_is_zero(node.id)) {
            TRY(assign_id(c, gets[i].path, &node, version++));
        }
        bool is_news = false;
        struct ctl_topic *topic =
            ctl_set_topic(&c->state, str_of(names[i]), &node, version, &is_news);
        list->topics[list->count++] = topic;
        if (is_news) {
            news.topics[news.count++] = topic;
        }
    }
    return controller_load_states(c, &news);
}

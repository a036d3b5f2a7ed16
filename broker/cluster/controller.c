/* The controller's state is a model of what is in the store: live brokers, topics, assignments,
 * partition states with their versions. An event re-reads what changed, the model follows, and the
 * difference becomes writes (checked against the epoch) and messages.
 *
 * An event that meets an error of the store ends the leadership: the next election starts from what
 * is really there. Writes of one event are grouped, at most MULTI_MAX operations in a transaction.
 */
#include "broker/cluster/controller.h"

#include "base/log.h"
#include "base/map.h"
#include "protocol/error.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    MULTI_MAX = 900,
    ARENA_BYTES = 1 << 30,
    NO_LEADER = -1,
    LEADER_DURING_DELETE = -2,
    EPOCH_DURING_DELETE = -2,
    NO_STATE = -1, /* version of a state node that does not exist */
};

struct ctl_partition {
    struct id_list replicas; /* malloc'd */
    struct znode_state state;
    int32_t state_version; /* of the znode: the partition epoch; NO_STATE */
    bool is_new;
};

struct ctl_topic {
    struct str name; /* owned */
    struct uuid id;
    struct ctl_partition *partitions;
    int32_t partitions_n;
    bool deleting;
};

struct ctl_broker {
    int32_t id;
    int64_t epoch;
    struct znode_broker node; /* memory in controller.brokers_arena */
};

struct controller {
    struct controller_config config;
    bool active;
    int32_t epoch;
    int32_t epoch_version; /* of /controller_epoch */
    struct arena arena;    /* of the current event */
    struct arena brokers_arena;
    struct ctl_broker *brokers;
    int32_t brokers_n;
    struct map topics; /* name → struct ctl_topic */
};

/* ---- the model ---- */

static void id_list_set(struct id_list *to, const struct id_list *from)
{
    free(to->ids);
    to->count = from->count;
    to->ids = xcalloc((size_t)from->count, sizeof(*to->ids));
    for (int32_t i = 0; i < from->count; i++) {
        to->ids[i] = from->ids[i];
    }
}

static void topic_free(struct ctl_topic *topic)
{
    for (int32_t i = 0; i < topic->partitions_n; i++) {
        free(topic->partitions[i].replicas.ids);
        free(topic->partitions[i].state.isr.ids);
    }
    free(topic->partitions);
    free((void *)(uintptr_t)topic->name.data);
    free(topic);
}

static void model_clear(struct controller *c)
{
    map_each (entry, &c->topics) {
        topic_free(entry->value);
    }
    map_deinit(&c->topics);
    map_init(&c->topics);
    free(c->brokers);
    c->brokers = NULL;
    c->brokers_n = 0;
}

struct controller *controller_new(const struct controller_config *config)
{
    struct controller *c = xcalloc(1, sizeof(*c));
    c->config = *config;
    map_init(&c->topics);
    arena_init(&c->arena, ARENA_BYTES);
    arena_init(&c->brokers_arena, ARENA_BYTES);
    return c;
}

void controller_free(struct controller *c)
{
    if (c == NULL) {
        return;
    }
    model_clear(c);
    map_deinit(&c->topics);
    arena_deinit(&c->arena);
    arena_deinit(&c->brokers_arena);
    free(c);
}

bool controller_is_active(const struct controller *c)
{
    return c->active;
}

static bool broker_is_live(const struct controller *c, int32_t id)
{
    for (int32_t i = 0; i < c->brokers_n; i++) {
        if (c->brokers[i].id == id) {
            return true;
        }
    }
    return false;
}

static bool list_holds(const struct id_list *list, int32_t id)
{
    for (int32_t i = 0; i < list->count; i++) {
        if (list->ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* ---- writing ---- */

static void *ctl_alloc(struct controller *c, size_t count, size_t size)
{
    void *memory = arena_array(&c->arena, count, size);
    CHECK(memory != NULL);
    return memory;
}

/* One transaction behind a check of the controller's epoch. */
static err checked_multi(struct controller *c, const struct coord_op *ops, size_t count)
{
    struct coord_op *all = ctl_alloc(c, count + 1, sizeof(*all));
    all[0] = (struct coord_op){
        .type = COORD_CHECK, .path = ZNODE_CONTROLLER_EPOCH, .version = c->epoch_version};
    memcpy(all + 1, ops, count * sizeof(*ops));
    err e = coord_multi(c->config.coord, all, count + 1, &c->arena);
    if (all[0].error == E_VERSION || all[0].error == E_NOT_FOUND) {
        log_warn("controller", "another controller was elected; resigning epoch=%d", c->epoch);
        c->active = false;
    }
    return e;
}

/* Operations of one event, written in groups. */
struct batch_ops {
    struct coord_op ops[MULTI_MAX];
    size_t count;
};

static err ops_flush(struct controller *c, struct batch_ops *batch)
{
    err e = batch->count == 0 ? OK : checked_multi(c, batch->ops, batch->count);
    batch->count = 0;
    return e;
}

static err ops_add(struct controller *c, struct batch_ops *batch, struct coord_op op)
{
    if (batch->count == MULTI_MAX) {
        TRY(ops_flush(c, batch));
    }
    batch->ops[batch->count++] = op;
    return OK;
}

/* ---- messages ---- */

static struct update_metadata_request_live_broker *live_brokers(struct controller *c)
{
    struct update_metadata_request_live_broker *out =
        ctl_alloc(c, (size_t)c->brokers_n, sizeof(*out));
    for (int32_t i = 0; i < c->brokers_n; i++) {
        const struct znode_broker *node = &c->brokers[i].node;
        out[i].id = c->brokers[i].id;
        out[i].rack = node->rack;
        out[i].endpoints_n = node->endpoints_n;
        out[i].endpoints = ctl_alloc(c, (size_t)node->endpoints_n, sizeof(*out[i].endpoints));
        for (int32_t e = 0; e < node->endpoints_n; e++) {
            out[i].endpoints[e].host = node->endpoints[e].host;
            out[i].endpoints[e].port = node->endpoints[e].port;
            out[i].endpoints[e].listener = node->endpoints[e].listener;
        }
    }
    return out;
}

struct topic_list {
    struct ctl_topic **topics;
    int32_t count;
};

static struct update_metadata_request_topic_state *metadata_topics(struct controller *c,
                                                                   const struct topic_list *list)
{
    struct update_metadata_request_topic_state *out =
        ctl_alloc(c, (size_t)list->count, sizeof(*out));
    for (int32_t t = 0; t < list->count; t++) {
        const struct ctl_topic *topic = list->topics[t];
        out[t].topic_name = topic->name;
        out[t].topic_id = topic->id;
        out[t].partition_states =
            ctl_alloc(c, (size_t)topic->partitions_n, sizeof(*out[t].partition_states));
        for (int32_t p = 0; p < topic->partitions_n; p++) {
            const struct ctl_partition *in = &topic->partitions[p];
            if (in->state_version == NO_STATE) {
                continue;
            }
            struct update_metadata_request_partition_state *state =
                &out[t].partition_states[out[t].partition_states_n++];
            state->topic_name = topic->name;
            state->partition_index = p;
            state->controller_epoch = in->state.controller_epoch;
            state->leader = topic->deleting ? LEADER_DURING_DELETE : in->state.leader;
            state->leader_epoch = in->state.leader_epoch;
            state->isr = in->state.isr.ids;
            state->isr_n = in->state.isr.count;
            state->zk_version = in->state_version;
            state->replicas = in->replicas.ids;
            state->replicas_n = in->replicas.count;
        }
    }
    return out;
}

/* The brokers, and the states of these topics, to every live broker. */
static void send_metadata(struct controller *c, const struct topic_list *list)
{
    for (int32_t b = 0; b < c->brokers_n; b++) {
        struct update_metadata_request request;
        update_metadata_request_init(&request);
        request.controller_id = c->config.broker_id;
        request.controller_epoch = c->epoch;
        request.broker_epoch = c->brokers[b].epoch;
        request.live_brokers = live_brokers(c);
        request.live_brokers_n = c->brokers_n;
        request.topic_states = metadata_topics(c, list);
        request.topic_states_n = list->count;
        c->config.links.update_metadata(c->config.links.context, c->brokers[b].id, &request);
    }
}

static void fill_leader_and_isr(struct controller *c, const struct ctl_topic *topic, int32_t broker,
                                struct leader_and_isr_request_topic_state *out)
{
    out->topic_name = topic->name;
    out->topic_id = topic->id;
    out->partition_states =
        ctl_alloc(c, (size_t)topic->partitions_n, sizeof(*out->partition_states));
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        const struct ctl_partition *in = &topic->partitions[p];
        if (in->state_version == NO_STATE || !list_holds(&in->replicas, broker)) {
            continue;
        }
        struct leader_and_isr_request_partition_state *state =
            &out->partition_states[out->partition_states_n++];
        state->topic_name = topic->name;
        state->partition_index = p;
        state->controller_epoch = in->state.controller_epoch;
        state->leader = in->state.leader;
        state->leader_epoch = in->state.leader_epoch;
        state->isr = in->state.isr.ids;
        state->isr_n = in->state.isr.count;
        state->partition_epoch = in->state_version;
        state->replicas = in->replicas.ids;
        state->replicas_n = in->replicas.count;
        state->is_new = in->is_new;
    }
}

static void log_refusals(const struct leader_and_isr_response *response)
{
    for (int32_t i = 0; i < response->partition_errors_n; i++) {
        const struct leader_and_isr_response_partition_error *p = &response->partition_errors[i];
        if (p->error_code != OK && p->error_code != ERR_STALE_CONTROLLER_EPOCH) {
            log_error("controller", "replica refused its role topic=%.*s partition=%d error=%s",
                      (int)p->topic_name.len, p->topic_name.data, p->partition_index,
                      kafka_error_name(p->error_code));
        }
    }
}

/* Roles of these topics to the brokers that hold them. */
static void send_roles(struct controller *c, const struct topic_list *list)
{
    for (int32_t b = 0; b < c->brokers_n; b++) {
        struct leader_and_isr_request request;
        leader_and_isr_request_init(&request);
        request.controller_id = c->config.broker_id;
        request.controller_epoch = c->epoch;
        request.broker_epoch = c->brokers[b].epoch;
        request.topic_states = ctl_alloc(c, (size_t)list->count, sizeof(*request.topic_states));
        for (int32_t t = 0; t < list->count; t++) {
            struct leader_and_isr_request_topic_state *out =
                &request.topic_states[request.topic_states_n];
            fill_leader_and_isr(c, list->topics[t], c->brokers[b].id, out);
            request.topic_states_n += out->partition_states_n > 0 ? 1 : 0;
        }
        if (request.topic_states_n == 0) {
            continue;
        }
        struct leader_and_isr_response response = {0};
        c->config.links.leader_and_isr(c->config.links.context, c->brokers[b].id, &request,
                                       &c->arena, &response);
        log_refusals(&response);
    }
    for (int32_t t = 0; t < list->count; t++) {
        for (int32_t p = 0; p < list->topics[t]->partitions_n; p++) {
            list->topics[t]->partitions[p].is_new = false;
        }
    }
}

/* ---- elections ---- */

static void isr_set(struct controller *c, struct ctl_partition *p, const int32_t *ids,
                    int32_t count)
{
    struct id_list list = {.ids = ctl_alloc(c, (size_t)count, sizeof(int32_t)), .count = count};
    for (int32_t i = 0; i < count; i++) {
        list.ids[i] = ids[i];
    }
    id_list_set(&p->state.isr, &list);
}

/* A new partition: the first live replica leads, all live ones are in sync. False: none lives. */
static bool state_first(struct controller *c, struct ctl_partition *p)
{
    int32_t *live = ctl_alloc(c, (size_t)p->replicas.count, sizeof(*live));
    int32_t live_n = 0;
    for (int32_t i = 0; i < p->replicas.count; i++) {
        if (broker_is_live(c, p->replicas.ids[i])) {
            live[live_n++] = p->replicas.ids[i];
        }
    }
    if (live_n == 0) {
        return false;
    }
    p->state.leader = live[0];
    p->state.leader_epoch = 0;
    p->state.controller_epoch = c->epoch;
    isr_set(c, p, live, live_n);
    return true;
}

/* An offline partition: the first assigned replica that lives and is in sync leads, or nobody. False:
 * no change. */
static bool state_elect(struct controller *c, struct ctl_partition *p)
{
    if (p->state.leader != NO_LEADER && broker_is_live(c, p->state.leader)) {
        return false;
    }
    int32_t leader = NO_LEADER;
    int32_t *isr = ctl_alloc(c, (size_t)p->state.isr.count, sizeof(*isr));
    int32_t isr_n = 0;
    for (int32_t i = 0; i < p->replicas.count; i++) {
        int32_t id = p->replicas.ids[i];
        if (broker_is_live(c, id) && list_holds(&p->state.isr, id)) {
            leader = leader == NO_LEADER ? id : leader;
            isr[isr_n++] = id;
        }
    }
    if (leader == NO_LEADER && p->state.leader == NO_LEADER) {
        return false; /* known to be offline */
    }
    p->state.leader = leader;
    p->state.leader_epoch++;
    p->state.controller_epoch = c->epoch;
    if (leader != NO_LEADER) {
        isr_set(c, p, isr, isr_n); /* else the last in-sync replicas keep their claim */
    }
    return true;
}

static err create_state(struct controller *c, struct batch_ops *batch, struct ctl_topic *topic,
                        int32_t partition)
{
    struct ctl_partition *p = &topic->partitions[partition];
    TRY(ops_add(
        c, batch,
        (struct coord_op){.type = COORD_CREATE,
                          .path = znode_partition_path(&c->arena, topic->name, partition)}));
    TRY(ops_add(c, batch,
                (struct coord_op){.type = COORD_CREATE,
                                  .path = znode_state_path(&c->arena, topic->name, partition),
                                  .data = znode_state_encode(&c->arena, &p->state)}));
    p->state_version = 0;
    p->is_new = true;
    return OK;
}

/* Gives every partition of a topic that has none a state, and offline ones a new leader. */
static err settle_topic(struct controller *c, struct batch_ops *batch, struct ctl_topic *topic,
                        bool *changed)
{
    bool parent_there = false;
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        parent_there |= topic->partitions[p].state_version != NO_STATE;
    }
    for (int32_t i = 0; i < topic->partitions_n; i++) {
        struct ctl_partition *p = &topic->partitions[i];
        if (p->state_version == NO_STATE && state_first(c, p)) {
            if (!parent_there) {
                const char *path = znode_partitions_path(&c->arena, topic->name);
                TRY(ops_add(c, batch, (struct coord_op){.type = COORD_CREATE, .path = path}));
                parent_there = true;
            }
            TRY(create_state(c, batch, topic, i));
            *changed = true;
        } else if (p->state_version != NO_STATE && state_elect(c, p)) {
            TRY(ops_add(c, batch,
                        (struct coord_op){.type = COORD_SET,
                                          .path = znode_state_path(&c->arena, topic->name, i),
                                          .data = znode_state_encode(&c->arena, &p->state),
                                          .version = p->state_version}));
            p->state_version++;
            *changed = true;
        }
    }
    return OK;
}

static err settle_topics(struct controller *c, const struct topic_list *list)
{
    struct batch_ops *batch = ctl_alloc(c, 1, sizeof(*batch));
    bool changed = false;
    for (int32_t t = 0; t < list->count; t++) {
        TRY(settle_topic(c, batch, list->topics[t], &changed));
    }
    return ops_flush(c, batch);
}

/* ---- loading ---- */

static err load_brokers(struct controller *c)
{
    struct coord_op ids = {.type = COORD_CHILDREN, .path = ZNODE_BROKER_IDS, .flags = COORD_WATCH};
    TRY(coord_run(c->config.coord, &ids, 1, &c->arena));
    TRY(ids.error);
    struct coord_op *gets = ctl_alloc(c, (size_t)ids.children_n, sizeof(*gets));
    for (int32_t i = 0; i < ids.children_n; i++) {
        const char *path = arena_format(&c->arena, "%s/%s", ZNODE_BROKER_IDS, ids.children[i]).data;
        gets[i] = (struct coord_op){.type = COORD_GET, .path = path};
    }
    arena_reset(&c->brokers_arena, ARENA_BYTES);
    TRY(coord_run(c->config.coord, gets, (size_t)ids.children_n, &c->brokers_arena));
    free(c->brokers);
    c->brokers = xcalloc((size_t)ids.children_n, sizeof(*c->brokers));
    c->brokers_n = 0;
    for (int32_t i = 0; i < ids.children_n; i++) {
        struct ctl_broker *broker = &c->brokers[c->brokers_n];
        if (gets[i].error != OK ||
            znode_broker_decode(&c->brokers_arena, gets[i].value, &broker->node) != OK) {
            log_warn("controller", "broker node unreadable, ignored id=%s", ids.children[i]);
            continue;
        }
        broker->id = (int32_t)strtol(ids.children[i], NULL, 10);
        broker->epoch = gets[i].stat.czxid;
        c->brokers_n++;
    }
    return OK;
}

/* Grows or makes the model of a topic by its node. */
static struct ctl_topic *model_topic(struct controller *c, struct str name,
                                     const struct znode_topic *node)
{
    struct ctl_topic *topic = map_get_str(&c->topics, name);
    if (topic == NULL) {
        topic = xcalloc(1, sizeof(*topic));
        topic->name = (struct str){.data = str_dup(name), .len = name.len};
        (void)map_set_str(&c->topics, topic->name, topic);
    }
    topic->id = node->id;
    if (node->partitions_n > topic->partitions_n) {
        topic->partitions =
            xrealloc(topic->partitions, (size_t)node->partitions_n * sizeof(*topic->partitions));
        for (int32_t i = topic->partitions_n; i < node->partitions_n; i++) {
            topic->partitions[i] = (struct ctl_partition){.state_version = NO_STATE};
        }
        topic->partitions_n = node->partitions_n;
    }
    for (int32_t i = 0; i < node->partitions_n; i++) {
        id_list_set(&topic->partitions[i].replicas, &node->partitions[i]);
    }
    return topic;
}

/* Topics written before Kafka 2.8 have no id: the controller gives them one. */
static err assign_id(struct controller *c, const char *path, struct znode_topic *node,
                     int32_t version)
{
    node->id = uuid_random();
    struct coord_op set = {.type = COORD_SET,
                           .path = path,
                           .data = znode_topic_encode(&c->arena, node),
                           .version = version};
    return checked_multi(c, &set, 1);
}

static err load_states(struct controller *c, const struct topic_list *list)
{
    size_t total = 0;
    for (int32_t t = 0; t < list->count; t++) {
        total += (size_t)list->topics[t]->partitions_n;
    }
    struct coord_op *gets = ctl_alloc(c, total, sizeof(*gets));
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
            struct ctl_partition *partition = &list->topics[t]->partitions[p];
            struct znode_state state;
            if (gets[n].error == E_NOT_FOUND) {
                continue;
            }
            TRY(gets[n].error);
            TRY(znode_state_decode(&c->arena, gets[n].value, &state));
            struct id_list isr = state.isr;
            state.isr = partition->state.isr;
            partition->state = state;
            id_list_set(&partition->state.isr, &isr);
            partition->state_version = gets[n].stat.version;
        }
    }
    return OK;
}

/* Reads these topics' nodes (and watches them) into the model. */
static err load_topics(struct controller *c, const char *const *names, int32_t count,
                       struct topic_list *list)
{
    struct coord_op *gets = ctl_alloc(c, (size_t)count, sizeof(*gets));
    for (int32_t i = 0; i < count; i++) {
        gets[i] = (struct coord_op){.type = COORD_GET,
                                    .path = znode_topic_path(&c->arena, str_of(names[i])),
                                    .flags = COORD_WATCH};
    }
    TRY(coord_run(c->config.coord, gets, (size_t)count, &c->arena));
    list->topics = ctl_alloc(c, (size_t)count, sizeof(*list->topics));
    list->count = 0;
    for (int32_t i = 0; i < count; i++) {
        struct znode_topic node;
        if (gets[i].error == E_NOT_FOUND) {
            continue;
        }
        TRY(gets[i].error);
        if (znode_topic_decode(&c->arena, gets[i].value, &node) != OK) {
            log_error("controller", "topic node unreadable, ignored topic=%s", names[i]);
            continue;
        }
        if (uuid_is_zero(node.id)) {
            TRY(assign_id(c, gets[i].path, &node, gets[i].stat.version));
        }
        list->topics[list->count++] = model_topic(c, str_of(names[i]), &node);
    }
    return load_states(c, list);
}

static err topic_names(struct controller *c, struct coord_op *children)
{
    *children =
        (struct coord_op){.type = COORD_CHILDREN, .path = ZNODE_TOPICS, .flags = COORD_WATCH};
    TRY(coord_run(c->config.coord, children, 1, &c->arena));
    return children->error;
}

/* ---- deletion ---- */

static err delete_znodes(struct controller *c, const struct ctl_topic *topic)
{
    struct batch_ops *batch = ctl_alloc(c, 1, sizeof(*batch));
    struct arena *arena = &c->arena;
    bool states = false;
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        if (topic->partitions[p].state_version == NO_STATE) {
            continue;
        }
        states = true;
        const char *paths[] = {znode_state_path(arena, topic->name, p),
                               znode_partition_path(arena, topic->name, p)};
        for (int i = 0; i < 2; i++) {
            TRY(ops_add(c, batch,
                        (struct coord_op){
                            .type = COORD_DELETE, .path = paths[i], .version = COORD_ANY_VERSION}));
        }
    }
    const char *rest[] = {states ? znode_partitions_path(arena, topic->name) : NULL,
                          znode_topic_path(arena, topic->name),
                          znode_topic_config_path(arena, topic->name),
                          znode_delete_topic_path(arena, topic->name)};
    for (int i = 0; i < 4; i++) {
        struct coord_op there = {.type = COORD_GET, .path = rest[i]};
        if (rest[i] == NULL) {
            continue;
        }
        TRY(coord_run(c->config.coord, &there, 1, arena));
        if (there.error == OK) {
            TRY(ops_add(c, batch,
                        (struct coord_op){
                            .type = COORD_DELETE, .path = rest[i], .version = COORD_ANY_VERSION}));
        }
    }
    return ops_flush(c, batch);
}

static void send_stop(struct controller *c, const struct ctl_topic *topic, int32_t broker,
                      int64_t broker_epoch)
{
    struct stop_replica_request request;
    stop_replica_request_init(&request);
    struct stop_replica_request_topic_state *state = ctl_alloc(c, 1, sizeof(*state));
    state->topic_name = topic->name;
    state->partition_states =
        ctl_alloc(c, (size_t)topic->partitions_n, sizeof(*state->partition_states));
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        if (list_holds(&topic->partitions[p].replicas, broker)) {
            struct stop_replica_request_partition_state *out =
                &state->partition_states[state->partition_states_n++];
            out->partition_index = p;
            out->leader_epoch = EPOCH_DURING_DELETE;
            out->delete_partition = true;
        }
    }
    request.controller_id = c->config.broker_id;
    request.controller_epoch = c->epoch;
    request.broker_epoch = broker_epoch;
    request.topic_states = state;
    request.topic_states_n = 1;
    struct stop_replica_response response = {0};
    if (state->partition_states_n > 0) {
        c->config.links.stop_replica(c->config.links.context, broker, &request, &c->arena,
                                     &response);
    }
}

/* Halted while a replica is on a broker that is not live. */
static bool all_replicas_live(const struct controller *c, const struct ctl_topic *topic)
{
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        for (int32_t r = 0; r < topic->partitions[p].replicas.count; r++) {
            if (!broker_is_live(c, topic->partitions[p].replicas.ids[r])) {
                return false;
            }
        }
    }
    return true;
}

static err delete_topic(struct controller *c, struct ctl_topic *topic)
{
    topic->deleting = true;
    struct topic_list list = {.topics = &topic, .count = 1};
    send_metadata(c, &list);
    if (!all_replicas_live(c, topic)) {
        log_warn("controller", "deletion waits for an offline replica topic=%.*s",
                 (int)topic->name.len, topic->name.data);
        return OK;
    }
    for (int32_t b = 0; b < c->brokers_n; b++) {
        send_stop(c, topic, c->brokers[b].id, c->brokers[b].epoch);
    }
    TRY(delete_znodes(c, topic));
    log_info("controller", "topic deleted topic=%.*s", (int)topic->name.len, topic->name.data);
    (void)map_remove_str(&c->topics, topic->name);
    topic_free(topic);
    return OK;
}

static err remove_request(struct controller *c, const char *name)
{
    struct coord_op op = {.type = COORD_DELETE,
                          .path = znode_delete_topic_path(&c->arena, str_of(name)),
                          .version = COORD_ANY_VERSION};
    return checked_multi(c, &op, 1);
}

static err on_delete_requests(struct controller *c)
{
    struct coord_op children = {
        .type = COORD_CHILDREN, .path = ZNODE_DELETE_TOPICS, .flags = COORD_WATCH};
    TRY(coord_run(c->config.coord, &children, 1, &c->arena));
    TRY(children.error);
    for (int32_t i = 0; i < children.children_n; i++) {
        struct ctl_topic *topic = map_get_str(&c->topics, str_of(children.children[i]));
        TRY(topic == NULL || !c->config.delete_topic_enable
                ? remove_request(c, children.children[i])
                : delete_topic(c, topic));
    }
    return OK;
}

/* ---- events ---- */

static err on_topics_changed(struct controller *c)
{
    struct coord_op children;
    TRY(topic_names(c, &children));
    const char **fresh = ctl_alloc(c, (size_t)children.children_n, sizeof(*fresh));
    int32_t fresh_n = 0;
    for (int32_t i = 0; i < children.children_n; i++) {
        if (map_get_str(&c->topics, str_of(children.children[i])) == NULL) {
            fresh[fresh_n++] = children.children[i];
        }
    }
    if (fresh_n == 0) {
        return OK;
    }
    struct topic_list list;
    TRY(load_topics(c, fresh, fresh_n, &list));
    TRY(settle_topics(c, &list));
    log_info("controller", "topics created count=%d first=%s", fresh_n, fresh[0]);
    send_roles(c, &list);
    send_metadata(c, &list);
    return OK;
}

/* Partitions were added. */
static err on_topic_changed(struct controller *c, const char *name)
{
    struct ctl_topic *known = map_get_str(&c->topics, str_of(name));
    if (known == NULL) {
        return OK; /* deleted, or on its way in by the list of topics */
    }
    int32_t before = known->partitions_n;
    struct topic_list list;
    TRY(load_topics(c, &name, 1, &list));
    if (list.count == 0 || known->partitions_n == before) {
        return OK;
    }
    TRY(settle_topics(c, &list));
    log_info("controller", "partitions added topic=%s from=%d to=%d", name, before,
             known->partitions_n);
    send_roles(c, &list);
    send_metadata(c, &list);
    return OK;
}

static err on_brokers_changed(struct controller *c)
{
    TRY(load_brokers(c));
    struct topic_list all = {.topics = ctl_alloc(c, c->topics.count, sizeof(*all.topics))};
    map_each (entry, &c->topics) {
        struct ctl_topic *topic = entry->value;
        if (!topic->deleting) {
            all.topics[all.count++] = topic;
        }
    }
    TRY(settle_topics(c, &all));
    struct topic_list none = {0};
    send_metadata(c, &none);
    send_roles(c, &all);
    send_metadata(c, &all);
    return on_delete_requests(c); /* one may have waited for this broker */
}

static void event_done(struct controller *c, err e, const char *what)
{
    arena_reset(&c->arena, ARENA_BYTES);
    if (e != OK) {
        log_error("controller", "event failed; resigning event=%s error=\"%s\"", what, err_text(e));
        c->active = false;
    }
}

void controller_on_watch(struct controller *c, enum coord_watch_type type, const char *path)
{
    if (!c->active) {
        return;
    }
    size_t topics_len = sizeof(ZNODE_TOPICS) - 1;
    err e = OK;
    if (type == COORD_CHILDREN_CHANGED && strcmp(path, ZNODE_TOPICS) == 0) {
        e = on_topics_changed(c);
    } else if (type == COORD_CHILDREN_CHANGED && strcmp(path, ZNODE_DELETE_TOPICS) == 0) {
        e = on_delete_requests(c);
    } else if (type == COORD_CHILDREN_CHANGED && strcmp(path, ZNODE_BROKER_IDS) == 0) {
        e = on_brokers_changed(c);
    } else if (type == COORD_NODE_CHANGED && strncmp(path, ZNODE_TOPICS "/", topics_len + 1) == 0) {
        e = on_topic_changed(c, path + topics_len + 1);
    }
    event_done(c, e, path);
}

/* ---- election ---- */

static err read_epoch(struct controller *c)
{
    struct coord_op get = {.type = COORD_GET, .path = ZNODE_CONTROLLER_EPOCH};
    TRY(coord_run(c->config.coord, &get, 1, &c->arena));
    if (get.error == E_NOT_FOUND) {
        struct coord_op create = {.type = COORD_CREATE,
                                  .path = ZNODE_CONTROLLER_EPOCH,
                                  .data = znode_number_encode(&c->arena, 0)};
        TRY(coord_run(c->config.coord, &create, 1, &c->arena));
        c->epoch = 0;
        c->epoch_version = 0;
        return create.error;
    }
    TRY(get.error);
    int64_t epoch = 0;
    TRY(znode_number_decode(get.value, &epoch));
    c->epoch = (int32_t)epoch;
    c->epoch_version = get.stat.version;
    return OK;
}

static err ensure_feature(struct controller *c)
{
    struct coord_op get = {.type = COORD_GET, .path = ZNODE_FEATURE};
    TRY(coord_run(c->config.coord, &get, 1, &c->arena));
    if (get.error != E_NOT_FOUND) {
        return get.error;
    }
    struct coord_op create = {
        .type = COORD_CREATE, .path = ZNODE_FEATURE, .data = znode_feature_encode(&c->arena)};
    return checked_multi(c, &create, 1);
}

static err take_over(struct controller *c)
{
    model_clear(c);
    TRY(ensure_feature(c));
    TRY(load_brokers(c));
    struct topic_list none = {0};
    send_metadata(c, &none);
    struct coord_op children;
    TRY(topic_names(c, &children));
    struct topic_list all;
    TRY(load_topics(c, children.children, children.children_n, &all));
    TRY(settle_topics(c, &all));
    send_roles(c, &all);
    send_metadata(c, &all);
    return on_delete_requests(c);
}

/* After an event that failed the node of the last election is still there, and this session's. */
static err holds_office(struct controller *c, bool *own)
{
    struct coord_op get = {.type = COORD_GET, .path = ZNODE_CONTROLLER};
    TRY(coord_run(c->config.coord, &get, 1, &c->arena));
    *own = get.error == OK && get.stat.ephemeral_owner == coord_session_id(c->config.coord);
    return get.error == E_NOT_FOUND ? OK : get.error;
}

static err elect(struct controller *c)
{
    bool own = false;
    TRY(read_epoch(c));
    TRY(holds_office(c, &own));
    int64_t now_ms = clock_wall_ms(c->config.clock);
    struct coord_op ops[3] = {
        {.type = COORD_DELETE, .path = ZNODE_CONTROLLER, .version = COORD_ANY_VERSION},
        {.type = COORD_CREATE,
         .path = ZNODE_CONTROLLER,
         .data = znode_controller_encode(&c->arena, c->config.broker_id, now_ms),
         .flags = COORD_EPHEMERAL},
        {.type = COORD_SET,
         .path = ZNODE_CONTROLLER_EPOCH,
         .data = znode_number_encode(&c->arena, c->epoch + 1),
         .version = c->epoch_version},
    };
    int skipped = own ? 0 : 1;
    err e = coord_multi(c->config.coord, ops + skipped, (size_t)(3 - skipped), &c->arena);
    if (e == E_EXISTS || e == E_VERSION) {
        return OK; /* another broker was faster */
    }
    TRY(e);
    c->epoch++;
    c->epoch_version++;
    c->active = true;
    log_info("controller", "elected broker=%d epoch=%d", c->config.broker_id, c->epoch);
    return take_over(c);
}

err controller_elect(struct controller *c)
{
    err e = elect(c);
    event_done(c, e, "election");
    return e;
}

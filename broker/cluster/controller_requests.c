/* From the model to the messages. What a version does not have, the codec leaves out. */
#include "broker/cluster/controller_requests.h"

enum { LEADER_DURING_DELETE = -2, EPOCH_DURING_DELETE = -2 };

static void *alloc(struct arena *arena, size_t count, size_t size)
{
    void *memory = arena_array(arena, count, size);
    CHECK(memory != NULL);
    return memory;
}

/* ---- LeaderAndIsr ---- */

static void fill_role(const struct ctl_topic *topic, int32_t partition,
                      struct leader_and_isr_request_partition_state *out)
{
    const struct ctl_partition *in = &topic->partitions[partition];
    out->topic_name = topic->name;
    out->partition_index = partition;
    out->controller_epoch = in->state.controller_epoch;
    out->leader = in->state.leader;
    out->leader_epoch = in->state.leader_epoch;
    out->isr = in->state.isr.ids;
    out->isr_n = in->state.isr.count;
    out->partition_epoch = in->state_version;
    out->replicas = in->replicas.ids;
    out->replicas_n = in->replicas.count;
    out->is_new = in->is_new;
    out->leader_recovery_state = in->state.leader_recovery_state;
}

static void fill_roles(struct arena *arena, const struct ctl_topic *topic, int32_t broker,
                       struct leader_and_isr_request_topic_state *out)
{
    out->topic_name = topic->name;
    out->topic_id = topic->id;
    out->partition_states =
        alloc(arena, (size_t)topic->partitions_n, sizeof(*out->partition_states));
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        const struct ctl_partition *in = &topic->partitions[p];
        if (in->state_version != CTL_NO_STATE && id_list_holds(&in->replicas, broker)) {
            fill_role(topic, p, &out->partition_states[out->partition_states_n++]);
        }
    }
}

bool ctl_leader_and_isr(const struct ctl_state *state, struct arena *arena,
                        const struct ctl_broker *to, const struct topic_list *list,
                        struct leader_and_isr_request *request)
{
    leader_and_isr_request_init(request);
    request->controller_id = state->broker_id;
    request->controller_epoch = state->epoch;
    request->broker_epoch = to->epoch;
    request->topic_states = alloc(arena, (size_t)list->count, sizeof(*request->topic_states));
    for (int32_t t = 0; t < list->count; t++) {
        struct leader_and_isr_request_topic_state *out =
            &request->topic_states[request->topic_states_n];
        fill_roles(arena, list->topics[t], to->id, out);
        request->topic_states_n += out->partition_states_n > 0 ? 1 : 0;
    }
    request->live_leaders = alloc(arena, (size_t)state->brokers_n, sizeof(*request->live_leaders));
    for (int32_t i = 0; i < state->brokers_n; i++) {
        const struct ctl_broker *broker = &state->brokers[i];
        if (broker->node.endpoints_n > 0) {
            request->live_leaders[request->live_leaders_n++] =
                (struct leader_and_isr_request_live_leader){
                    .broker_id = broker->id,
                    .host_name = broker->node.endpoints[0].host,
                    .port = broker->node.endpoints[0].port,
                };
        }
    }
    return request->topic_states_n > 0;
}

/* ---- UpdateMetadata ---- */

static int16_t security_protocol_number(struct str name)
{
    static const char *const NAMES[] = {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"};
    for (int16_t i = 0; i < 4; i++) {
        if (str_is(name, NAMES[i])) {
            return i;
        }
    }
    return 0;
}

static void fill_live_broker(struct arena *arena, const struct ctl_broker *broker,
                             struct update_metadata_request_live_broker *out)
{
    const struct znode_broker *node = &broker->node;
    out->id = broker->id;
    out->rack = node->rack;
    out->endpoints_n = node->endpoints_n;
    out->endpoints = alloc(arena, (size_t)node->endpoints_n, sizeof(*out->endpoints));
    for (int32_t e = 0; e < node->endpoints_n; e++) {
        out->endpoints[e].host = node->endpoints[e].host;
        out->endpoints[e].port = node->endpoints[e].port;
        out->endpoints[e].listener = node->endpoints[e].listener;
        out->endpoints[e].security_protocol =
            security_protocol_number(node->endpoints[e].security_protocol);
    }
}

static bool replica_is_offline(const struct ctl_state *state, const struct ctl_partition *p,
                               int32_t id)
{
    return !ctl_broker_is_live(state, id) || id_list_holds(&p->offline, id);
}

static void fill_state(const struct ctl_state *state, struct arena *arena,
                       const struct ctl_topic *topic, int32_t partition,
                       struct update_metadata_request_partition_state *out)
{
    const struct ctl_partition *in = &topic->partitions[partition];
    out->topic_name = topic->name;
    out->partition_index = partition;
    out->controller_epoch = in->state.controller_epoch;
    out->leader = topic->deleting ? LEADER_DURING_DELETE : in->state.leader;
    out->leader_epoch = in->state.leader_epoch;
    out->isr = in->state.isr.ids;
    out->isr_n = in->state.isr.count;
    out->zk_version = in->state_version;
    out->replicas = in->replicas.ids;
    out->replicas_n = in->replicas.count;
    out->offline_replicas = alloc(arena, (size_t)in->replicas.count, sizeof(int32_t));
    for (int32_t i = 0; i < in->replicas.count; i++) {
        if (replica_is_offline(state, in, in->replicas.ids[i])) {
            out->offline_replicas[out->offline_replicas_n++] = in->replicas.ids[i];
        }
    }
}

static void fill_topic(const struct ctl_state *state, struct arena *arena,
                       const struct ctl_topic *topic,
                       struct update_metadata_request_topic_state *out)
{
    out->topic_name = topic->name;
    out->topic_id = topic->id;
    out->partition_states =
        alloc(arena, (size_t)topic->partitions_n, sizeof(*out->partition_states));
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        const struct ctl_partition *in = &topic->partitions[p];
        if (in->state_version != CTL_NO_STATE || in->unreadable) {
            fill_state(state, arena, topic, p, &out->partition_states[out->partition_states_n++]);
        }
    }
}

void ctl_update_metadata(const struct ctl_state *state, struct arena *arena,
                         const struct ctl_broker *to, const struct topic_list *list,
                         struct update_metadata_request *request)
{
    update_metadata_request_init(request);
    request->controller_id = state->broker_id;
    request->controller_epoch = state->epoch;
    request->broker_epoch = to->epoch;
    request->live_brokers = alloc(arena, (size_t)state->brokers_n, sizeof(*request->live_brokers));
    request->live_brokers_n = state->brokers_n;
    for (int32_t i = 0; i < state->brokers_n; i++) {
        fill_live_broker(arena, &state->brokers[i], &request->live_brokers[i]);
    }
    request->topic_states = alloc(arena, (size_t)list->count, sizeof(*request->topic_states));
    request->topic_states_n = list->count;
    for (int32_t t = 0; t < list->count; t++) {
        fill_topic(state, arena, list->topics[t], &request->topic_states[t]);
    }
}

/* ---- StopReplica ---- */

void ctl_stop_replica(const struct ctl_state *state, struct arena *arena,
                      const struct ctl_broker *to, const struct ctl_topic *topic,
                      struct stop_replica_request *request)
{
    stop_replica_request_init(request);
    struct stop_replica_request_topic_state *out = alloc(arena, 1, sizeof(*out));
    out->topic_name = topic->name;
    out->partition_states =
        alloc(arena, (size_t)topic->partitions_n, sizeof(*out->partition_states));
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        if (id_list_holds(&topic->partitions[p].replicas, to->id)) {
            struct stop_replica_request_partition_state *state_out =
                &out->partition_states[out->partition_states_n++];
            state_out->partition_index = p;
            state_out->leader_epoch = EPOCH_DURING_DELETE;
            state_out->delete_partition = true;
        }
    }
    request->controller_id = state->broker_id;
    request->controller_epoch = state->epoch;
    request->broker_epoch = to->epoch;
    request->topic_states = out;
    request->topic_states_n = 1;
}

/* From the model to the messages. What a version does not have, the codec leaves out. */
#include "broker/cluster/controller_requests.h"

#include "broker/security/security_protocol.h"

enum { LEADER_DURING_DELETE = -2, EPOCH_DURING_DELETE = -2 };

static void *alloc(struct arena *arena, size_t count, size_t size)
{
    void *memory = arena_array(arena, count, size);
    CHECK(memory != NULL);
    return memory;
}

/* ---- LeaderAndIsr ---- */

static void fill_role(const struct ctl_topic *topic, int32_t partition, int32_t to,
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
    out->adding_replicas = in->adding.ids;
    out->adding_replicas_n = in->adding.count;
    out->removing_replicas = in->removing.ids;
    out->removing_replicas_n = in->removing.count;
    out->is_new = in->is_new || id_list_holds(&in->fresh, to);
    out->leader_recovery_state = in->state.leader_recovery_state;
}

/* What a broker has no working directory for it has refused, and would refuse again. */
static bool is_told(const struct part *part, int32_t broker, bool also_refused)
{
    const struct ctl_partition *p = &part->topic->partitions[part->partition];
    return p->state_version != CTL_NO_STATE && id_list_holds(&p->replicas, broker) &&
           (also_refused || !id_list_holds(&p->offline, broker));
}

bool ctl_leader_and_isr(const struct ctl_state *state, struct arena *arena,
                        const struct ctl_broker *to, const struct parts *parts, bool also_refused,
                        struct leader_and_isr_request *request)
{
    leader_and_isr_request_init(request);
    request->controller_id = state->broker_id;
    request->controller_epoch = state->epoch;
    request->broker_epoch = to->epoch;
    request->topic_states = alloc(arena, (size_t)parts->count, sizeof(*request->topic_states));
    struct leader_and_isr_request_partition_state *states =
        alloc(arena, (size_t)parts->count, sizeof(*states));
    const struct ctl_topic *last = NULL;
    for (int32_t i = 0; i < parts->count; i++) {
        const struct part *part = &parts->all[i];
        if (!is_told(part, to->id, also_refused)) {
            continue;
        }
        if (part->topic != last) {
            last = part->topic;
            request->topic_states[request->topic_states_n++] =
                (struct leader_and_isr_request_topic_state){
                    .topic_name = last->name, .topic_id = last->id, .partition_states = states};
        }
        fill_role(part->topic, part->partition, to->id, states++);
        request->topic_states[request->topic_states_n - 1].partition_states_n++;
    }
    return request->topic_states_n > 0;
}

/* ---- UpdateMetadata ---- */

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
        int16_t protocol = security_protocol_of(node->endpoints[e].security_protocol);
        out->endpoints[e].security_protocol = protocol < 0 ? PROTOCOL_PLAINTEXT : protocol;
    }
}

/* One that shuts down is among the live brokers, and its replicas are offline. */
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
    out->leader_epoch = topic->deleting ? 0 : in->state.leader_epoch;
    out->isr = in->state.isr.ids;
    out->isr_n = in->state.isr.count;
    out->zk_version = topic->deleting ? 0 : in->state_version;
    out->replicas = in->replicas.ids;
    out->replicas_n = in->replicas.count;
    out->offline_replicas = alloc(arena, (size_t)in->replicas.count, sizeof(int32_t));
    for (int32_t i = 0; i < in->replicas.count; i++) {
        if (replica_is_offline(state, in, in->replicas.ids[i])) {
            out->offline_replicas[out->offline_replicas_n++] = in->replicas.ids[i];
        }
    }
}

static bool has_state(const struct part *part)
{
    const struct ctl_partition *p = &part->topic->partitions[part->partition];
    return p->state_version != CTL_NO_STATE || p->unreadable;
}

void ctl_update_metadata(const struct ctl_state *state, struct arena *arena,
                         const struct ctl_broker *to, const struct parts *parts,
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
    request->topic_states = alloc(arena, (size_t)parts->count, sizeof(*request->topic_states));
    struct update_metadata_request_partition_state *states =
        alloc(arena, (size_t)parts->count, sizeof(*states));
    const struct ctl_topic *last = NULL;
    for (int32_t i = 0; i < parts->count; i++) {
        const struct part *part = &parts->all[i];
        if (!has_state(part)) {
            continue;
        }
        if (part->topic != last) {
            last = part->topic;
            request->topic_states[request->topic_states_n++] =
                (struct update_metadata_request_topic_state){
                    .topic_name = last->name, .topic_id = last->id, .partition_states = states};
        }
        fill_state(state, arena, part->topic, part->partition, states++);
        request->topic_states[request->topic_states_n - 1].partition_states_n++;
    }
}

/* ---- StopReplica ---- */

static bool has_replica(const struct ctl_partition *p, int32_t broker)
{
    return id_list_holds(&p->replicas, broker) || id_list_holds(&p->leaving, broker);
}

int32_t ctl_replicas_on(const struct ctl_topic *topic, int32_t broker)
{
    int32_t count = 0;
    for (int32_t i = 0; i < topic->partitions_n; i++) {
        count += has_replica(&topic->partitions[i], broker) ? 1 : 0;
    }
    return count;
}

bool ctl_stop_replica(const struct ctl_state *state, struct arena *arena,
                      const struct ctl_broker *to, const struct parts *parts, bool delete_partition,
                      struct stop_replica_request *request)
{
    stop_replica_request_init(request);
    request->controller_id = state->broker_id;
    request->controller_epoch = state->epoch;
    request->broker_epoch = to->epoch;
    request->topic_states = alloc(arena, (size_t)parts->count, sizeof(*request->topic_states));
    struct stop_replica_request_partition_state *states =
        alloc(arena, (size_t)parts->count, sizeof(*states));
    const struct ctl_topic *last = NULL;
    for (int32_t i = 0; i < parts->count; i++) {
        const struct part *part = &parts->all[i];
        const struct ctl_partition *p = &part->topic->partitions[part->partition];
        if (!has_replica(p, to->id)) {
            continue;
        }
        if (part->topic != last) {
            last = part->topic;
            request->topic_states[request->topic_states_n++] =
                (struct stop_replica_request_topic_state){.topic_name = last->name,
                                                          .partition_states = states};
        }
        *states++ = (struct stop_replica_request_partition_state){
            .partition_index = part->partition,
            .leader_epoch = last->deleting ? EPOCH_DURING_DELETE : p->state.leader_epoch,
            .delete_partition = delete_partition};
        request->topic_states[request->topic_states_n - 1].partition_states_n++;
    }
    return request->topic_states_n > 0;
}

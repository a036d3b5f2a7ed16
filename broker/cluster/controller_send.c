/* What brokers are told: requests made of the model (controller_requests.h), on their way. They go
 * out only after the writes that they tell of are made. */
#include "broker/cluster/controller_internal.h"

#include "broker/cluster/controller_requests.h"

enum {
    VERSION_LEADER_AND_ISR = 7,
    VERSION_STOP_REPLICA = 4,
    VERSION_UPDATE_METADATA = 8,
};

static void send_request(struct controller *c, const struct ctl_broker *to, int16_t api_key,
                         int version, const void *request)
{
    c->config.links.send(c->config.links.context, to->id, api_key, version, request);
}

void controller_send_metadata(struct controller *c, const struct topic_list *list)
{
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        struct update_metadata_request request;
        const struct ctl_broker *to = &c->state.brokers[b];
        ctl_update_metadata(&c->state, &c->arena, to, list, &request);
        send_request(c, to, KEY_UPDATE_METADATA, VERSION_UPDATE_METADATA, &request);
    }
}

void controller_send_roles(struct controller *c, const struct topic_list *list)
{
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        struct leader_and_isr_request request;
        const struct ctl_broker *to = &c->state.brokers[b];
        if (ctl_leader_and_isr(&c->state, &c->arena, to, list, &request)) {
            send_request(c, to, KEY_LEADER_AND_ISR, VERSION_LEADER_AND_ISR, &request);
        }
    }
    for (int32_t t = 0; t < list->count; t++) {
        for (int32_t p = 0; p < list->topics[t]->partitions_n; p++) {
            list->topics[t]->partitions[p].is_new = false;
        }
    }
}

void controller_send_deletion(struct controller *c, const struct ctl_topic *topic)
{
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        const struct ctl_broker *to = &c->state.brokers[b];
        if (id_list_holds(&topic->stops, to->id)) {
            struct stop_replica_request request;
            ctl_stop_replica(&c->state, &c->arena, to, topic, &request);
            send_request(c, to, KEY_STOP_REPLICA, VERSION_STOP_REPLICA, &request);
        }
    }
}

err controller_settle_and_send(struct controller *c, const struct topic_list *list)
{
    struct ctl_writes writes = {0};
    (void)ctl_settle(&c->state, &c->arena, list, &writes);
    TRY(controller_commit(c, &writes));
    controller_send_roles(c, list);
    controller_send_metadata(c, list);
    return OK;
}

err controller_commit_and_send(struct controller *c, struct ctl_writes *writes,
                               const struct topic_list *changed)
{
    TRY(controller_commit(c, writes));
    if (changed->count > 0) {
        controller_send_roles(c, changed);
        controller_send_metadata(c, changed);
    }
    return OK;
}

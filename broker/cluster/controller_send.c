/* What brokers are told: requests made of the model (controller_requests.h), on their way. They go
 * out only after the writes that they tell of are made. In one batch a broker gets its roles first, then
 * the metadata, then what to stop. (reference: replication §2) */
#include "broker/cluster/controller_internal.h"

#include "base/log.h"
#include "broker/cluster/controller_requests.h"

#include <stdio.h>

enum { TRIES_MAX = 5 };

static void send_request(struct controller *c, const struct ctl_broker *to, int16_t api_key,
                         int version, const void *request)
{
    c->config.links.send(c->config.links.context, to->id, api_key, version, request);
}

/* ---- whom ---- */

/* On the listener for controllers, or, where a broker has none, on that among brokers. */
static const struct znode_endpoint *endpoint_of(const struct controller *c,
                                                const struct znode_broker *node)
{
    for (int32_t i = 0; i < node->endpoints_n; i++) {
        if (str_is(node->endpoints[i].listener, c->config.listener)) {
            return &node->endpoints[i];
        }
    }
    return NULL;
}

void controller_send_targets(struct controller *c)
{
    size_t count = (size_t)c->state.brokers_n;
    struct link_target *targets = controller_alloc(c, count, sizeof(*targets));
    for (size_t i = 0; i < count; i++) {
        const struct ctl_broker *broker = &c->state.brokers[i];
        const struct znode_endpoint *endpoint = endpoint_of(c, &broker->node);
        targets[i] = (struct link_target){.id = broker->id, .epoch = broker->epoch};
        if (endpoint == NULL) {
            log_error("controller",
                      "broker has no listener for the controller broker=%d listener=%s", broker->id,
                      c->config.listener);
            continue;
        }
        snprintf(targets[i].host, sizeof(targets[i].host), "%.*s", (int)endpoint->host.len,
                 endpoint->host.data);
        targets[i].port = endpoint->port;
    }
    c->config.links.set_targets(c->config.links.context, targets, (int32_t)count);
}

/* ---- what ---- */

void controller_send_metadata_to(struct controller *c, const struct ctl_broker *to,
                                 const struct parts *parts)
{
    struct update_metadata_request request;
    ctl_update_metadata(&c->state, &c->arena, to, parts, &request);
    send_request(c, to, KEY_UPDATE_METADATA, c->config.versions.update_metadata, &request);
}

void controller_send_metadata(struct controller *c, const struct parts *parts)
{
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        controller_send_metadata_to(c, &c->state.brokers[b], parts);
    }
}

void controller_send_states(struct controller *c, const struct parts *parts)
{
    if (parts->count > 0) {
        controller_send_metadata(c, parts);
    }
}

static void send_roles(struct controller *c, const struct ctl_broker *to, const struct parts *parts,
                       bool also_refused)
{
    struct leader_and_isr_request request;
    if (ctl_leader_and_isr(&c->state, &c->arena, to, parts, also_refused, &request)) {
        send_request(c, to, KEY_LEADER_AND_ISR, c->config.versions.leader_and_isr, &request);
    }
}

void controller_ask_roles(struct controller *c, const struct ctl_broker *to,
                          const struct parts *parts)
{
    send_roles(c, to, parts, true);
}

void controller_send_roles_to(struct controller *c, const struct ctl_broker *to,
                              const struct parts *parts)
{
    send_roles(c, to, parts, false);
}

void controller_send_roles(struct controller *c, const struct parts *parts)
{
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        controller_send_roles_to(c, &c->state.brokers[b], parts);
    }
    for (int32_t i = 0; i < parts->count; i++) {
        struct ctl_partition *p = &parts->all[i].topic->partitions[parts->all[i].partition];
        p->is_new = false;
        p->fresh.count = 0;
    }
}

void controller_send_stops(struct controller *c, const struct ctl_broker *to,
                           const struct parts *parts, bool delete_partitions)
{
    struct stop_replica_request request;
    if (ctl_stop_replica(&c->state, &c->arena, to, parts, delete_partitions, &request)) {
        send_request(c, to, KEY_STOP_REPLICA, c->config.versions.stop_replica, &request);
    }
}

static void send_stops_of(struct controller *c, const struct ctl_broker *to,
                          struct ctl_topic *topic, bool delete_partitions)
{
    struct parts parts = {0};
    struct topic_list one = {.topics = &topic, .count = 1};
    parts_add_topics(&parts, &c->arena, &one);
    controller_send_stops(c, to, &parts, delete_partitions);
}

/* Has it left replicas of the topic that it may still have? */
static bool has_left(const struct ctl_topic *topic, int32_t broker)
{
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        if (id_list_holds(&topic->partitions[p].leaving, broker)) {
            return true;
        }
    }
    return false;
}

/* Who has left is told to delete at once, and not waited for. */
void controller_send_deletion(struct controller *c, struct ctl_topic *topic)
{
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        const struct ctl_broker *to = &c->state.brokers[b];
        bool waited_for = id_list_holds(&topic->stops, to->id);
        if (!id_list_holds(&topic->asked, to->id) && (waited_for || has_left(topic, to->id))) {
            id_list_add(&topic->asked, to->id);
            send_stops_of(c, to, topic, !waited_for);
        }
    }
}

void controller_send_deletion_next(struct controller *c, struct ctl_topic *topic, int32_t broker)
{
    const struct ctl_broker *to = ctl_broker_find(&c->state, broker);
    CHECK(to != NULL);
    id_list_add(&topic->told, broker);
    send_stops_of(c, to, topic, true);
}

/* ---- deciding, writing, telling ---- */

void controller_decision_init(struct controller *c, struct ctl_decision *d)
{
    *d = (struct ctl_decision){.state = &c->state, .arena = &c->arena};
}

err controller_carry_out(struct controller *c, struct ctl_decision *d)
{
    TRY(controller_commit(c, &d->writes));
    if (d->changed.count > 0) {
        controller_send_roles(c, &d->changed);
        controller_send_metadata(c, &d->changed);
    }
    return OK;
}

static bool is_conflict(const struct controller *c, err e)
{
    return (e == E_VERSION || e == E_EXISTS || e == E_NOT_FOUND) && c->active;
}

/* Another's write came in between: what is there now is read. */
static err read_again(struct controller *c, const struct topic_list *list)
{
    log_warn("controller", "a partition's state was changed by somebody else, reading again");
    return controller_load_states(c, list);
}

err controller_decide(struct controller *c, const struct topic_list *list,
                      void (*decide)(struct ctl_decision *d, const struct topic_list *list),
                      struct ctl_decision *d)
{
    err e = OK;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        controller_decision_init(c, d);
        decide(d, list);
        e = controller_carry_out(c, d);
        if (!is_conflict(c, e)) {
            return e;
        }
        TRY(read_again(c, list));
    }
    return e;
}

err controller_decide_each(struct controller *c, const struct parts *parts,
                           void (*decide)(struct ctl_decision *d, struct ctl_topic *topic,
                                          int32_t partition))
{
    err e = OK;
    for (int tries = 0; tries < TRIES_MAX && parts->count > 0; tries++) {
        struct ctl_decision d;
        controller_decision_init(c, &d);
        for (int32_t i = 0; i < parts->count; i++) {
            decide(&d, parts->all[i].topic, parts->all[i].partition);
        }
        e = controller_carry_out(c, &d);
        if (!is_conflict(c, e)) {
            return e;
        }
        struct topic_list topics = parts_topics(parts, &c->arena);
        TRY(read_again(c, &topics));
    }
    return e;
}

err controller_settle(struct controller *c, const struct topic_list *list)
{
    struct ctl_decision d;
    return controller_decide(c, list, ctl_settle, &d);
}

#include "broker/api/leaders.h"

#include "broker/broker.h"

/* Where it belongs among those that were named; they are few. */
static int32_t place_of(const struct leaders *leaders, int32_t id)
{
    int32_t at = 0;
    while (at < leaders->brokers_n && leaders->brokers[at].id < id) {
        at++;
    }
    return at;
}

static void name(struct req *r, struct leaders *leaders, int32_t id)
{
    const struct broker_info *info = metadata_broker(leaders->metadata, id);
    int32_t at = place_of(leaders, id);
    bool is_named = at < leaders->brokers_n && leaders->brokers[at].id == id;
    struct client_broker broker = {.id = id};
    if (info == NULL || is_named || leaders->brokers == NULL ||
        !endpoint_for_client(r, info, &broker.endpoint)) {
        return;
    }
    broker.endpoint.host = arena_str(&r->arena, broker.endpoint.host);
    broker.rack = info->rack == NULL ? (struct str){0} : arena_str(&r->arena, str_of(info->rack));
    memmove(&leaders->brokers[at + 1], &leaders->brokers[at],
            (size_t)(leaders->brokers_n - at) * sizeof(*leaders->brokers));
    leaders->brokers[at] = broker;
    leaders->brokers_n++;
}

/* A replica hears of its leader before all hear of it by metadata. */
static void look_here(struct req *r, struct str topic, int32_t partition, int32_t *leader_id,
                      int32_t *leader_epoch)
{
    struct partition *p = replicas_find(r->broker->replicas, topic, partition);
    if (p == NULL) {
        return;
    }
    struct partition_role role = partition_role(p);
    if (role.leader_epoch > *leader_epoch) {
        *leader_id = role.leader;
        *leader_epoch = role.leader_epoch;
    }
    partition_release(p);
}

void leaders_find(struct req *r, struct leaders *leaders, struct str topic, int32_t partition,
                  int32_t *leader_id, int32_t *leader_epoch)
{
    if (leaders->metadata == NULL) {
        leaders->metadata = metadata_acquire(r->broker->metadata);
        leaders->brokers = req_array(r, leaders->metadata->brokers_n, sizeof(*leaders->brokers));
    }
    *leader_id = *leader_epoch = -1;
    if (metadata_has_partition(leaders->metadata, topic, partition)) {
        const struct partition_info *info =
            &metadata_topic(leaders->metadata, topic)->partitions[partition];
        *leader_id = info->leader;
        *leader_epoch = info->leader_epoch;
    }
    look_here(r, topic, partition, leader_id, leader_epoch);
    name(r, leaders, *leader_id);
}

void leaders_done(struct leaders *leaders)
{
    if (leaders->metadata != NULL) {
        metadata_release(leaders->metadata);
        leaders->metadata = NULL;
    }
}

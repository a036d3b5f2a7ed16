/* OffsetCommit: stores offsets of a group. Version 0 keeps them in the coordination store, under
 * /consumers, where only version 0 looks. (reference: coordinators §1.9) */
#include "broker/broker.h"
#include "zk/znodes.h"

/* Creates the nodes above, then the offset. */
static err write_offset(struct broker *broker, struct arena *arena, struct str group,
                        struct str topic, const struct offset_commit_request_partition *p)
{
    const char *paths[] = {
        arena_format(arena, "/consumers/%.*s", (int)group.len, group.data).data,
        arena_format(arena, "/consumers/%.*s/offsets", (int)group.len, group.data).data,
        arena_format(arena, "/consumers/%.*s/offsets/%.*s", (int)group.len, group.data,
                     (int)topic.len, topic.data)
            .data,
        arena_format(arena, "/consumers/%.*s/offsets/%.*s/%d", (int)group.len, group.data,
                     (int)topic.len, topic.data, p->partition_index)
            .data,
    };
    struct coord_op ops[5] = {{0}};
    for (int i = 0; i < 4; i++) {
        if (paths[i] == NULL) {
            return E_LIMIT;
        }
        ops[i] = (struct coord_op){.type = COORD_CREATE, .path = paths[i]};
    }
    ops[4] = (struct coord_op){.type = COORD_SET,
                               .path = paths[3],
                               .data = znode_number_encode(arena, p->committed_offset),
                               .version = COORD_ANY_VERSION};
    TRY(coord_run(broker->coord, ops, 5, arena));
    return ops[4].error;
}

static bool exists(struct broker *broker, struct str topic, int32_t partition)
{
    struct metadata *metadata = metadata_acquire(broker->metadata);
    const struct topic_info *info = metadata_topic(metadata, topic);
    bool there = info != NULL && partition >= 0 && partition < info->partitions_n;
    metadata_release(metadata);
    return there;
}

/* On the control thread. */
static void commit_old_style(struct req *r)
{
    const struct offset_commit_request *in = r->in;
    struct offset_commit_response *out = r->out;
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    for (int32_t t = 0; out->topics != NULL && t < in->topics_n; t++) {
        struct offset_commit_response_topic *topic = &out->topics[out->topics_n++];
        topic->name = in->topics[t].name;
        topic->partitions = req_array(r, in->topics[t].partitions_n, sizeof(*topic->partitions));
        for (int32_t i = 0; topic->partitions != NULL && i < in->topics[t].partitions_n; i++) {
            const struct offset_commit_request_partition *p = &in->topics[t].partitions[i];
            bool slash = memchr(in->group_id.data, '/', in->group_id.len) != NULL;
            err e = in->group_id.len == 0 || slash ? ERR_INVALID_GROUP_ID
                    : exists(r->broker, topic->name, p->partition_index)
                        ? write_offset(r->broker, &r->arena, in->group_id, topic->name, p)
                        : ERR_UNKNOWN_TOPIC_OR_PARTITION;
            topic->partitions[topic->partitions_n++] = (struct offset_commit_response_partition){
                .partition_index = p->partition_index, .error_code = kafka_error_wire(e)};
        }
    }
}

enum req_status handle_offset_commit(struct req *r)
{
    return r->version == 0 ? req_on_control(r, commit_old_style, NULL)
                           : coordinator_offset_commit(r->broker->coordinator, r);
}

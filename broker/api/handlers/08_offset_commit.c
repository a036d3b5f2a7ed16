/* OffsetCommit: stores offsets of a group. Version 0 keeps them in the coordination store, under
 * /consumers, where only version 0 looks. (reference: coordinators §1.9) */
#include "broker/broker.h"
#include "zk/znodes.h"

enum { OPS_PER_OFFSET = 5, OFFSETS_PER_WRITE = 100 };

/* Offsets that are written together: a transaction of the store costs a flush of the disk. */
struct old_offsets {
    struct coord_op ops[OPS_PER_OFFSET * OFFSETS_PER_WRITE];
    struct offset_commit_response_partition *out[OFFSETS_PER_WRITE];
    size_t count;
};

static void write_offsets(struct req *r, struct old_offsets *old)
{
    err e = coord_run(r->broker->coord, old->ops, old->count * OPS_PER_OFFSET, &r->arena);
    for (size_t i = 0; i < old->count; i++) {
        const struct coord_op *set = &old->ops[(i + 1) * OPS_PER_OFFSET - 1];
        old->out[i]->error_code = kafka_error_wire(e != OK ? e : set->error);
    }
    old->count = 0;
}

/* Creates the nodes above, where they are not there, then sets the offset. */
static void add_offset(struct req *r, struct old_offsets *old, struct str topic,
                       const struct offset_commit_request_partition *p,
                       struct offset_commit_response_partition *out)
{
    const struct offset_commit_request *in = r->in;
    struct arena *arena = &r->arena;
    struct str group =
        arena_format(arena, "/consumers/%.*s", (int)in->group_id.len, in->group_id.data);
    struct str offsets = arena_format(arena, "%s/offsets", group.data);
    struct str parent = arena_format(arena, "%s/%.*s", offsets.data, (int)topic.len, topic.data);
    struct str path = arena_format(arena, "%s/%d", parent.data, p->partition_index);
    struct bytes number = znode_number_encode(arena, p->committed_offset);
    const char *paths[] = {group.data, offsets.data, parent.data, path.data};
    if (group.data == NULL || offsets.data == NULL || parent.data == NULL || path.data == NULL ||
        number.data == NULL) {
        out->error_code = ERR_UNKNOWN_SERVER_ERROR;
        return;
    }
    struct coord_op *ops = &old->ops[old->count * OPS_PER_OFFSET];
    for (int i = 0; i < OPS_PER_OFFSET - 1; i++) {
        ops[i] = (struct coord_op){.type = COORD_CREATE, .path = paths[i]};
    }
    ops[OPS_PER_OFFSET - 1] = (struct coord_op){
        .type = COORD_SET, .path = path.data, .data = number, .version = COORD_ANY_VERSION};
    old->out[old->count++] = out;
    if (old->count == OFFSETS_PER_WRITE) {
        write_offsets(r, old);
    }
}

static bool exists(struct broker *broker, struct str topic, int32_t partition)
{
    struct metadata *metadata = metadata_acquire(broker->metadata);
    bool there = metadata_has_partition(metadata, topic, partition);
    metadata_release(metadata);
    return there;
}

static void commit_topic(struct req *r, struct old_offsets *old,
                         const struct offset_commit_request_topic *in,
                         struct offset_commit_response_topic *out)
{
    const struct offset_commit_request *request = r->in;
    struct str group = request->group_id;
    bool legal = group.len > 0 && memchr(group.data, '/', group.len) == NULL;
    out->name = in->name;
    out->partitions = req_array(r, in->partitions_n, sizeof(*out->partitions));
    for (int32_t i = 0; out->partitions != NULL && i < in->partitions_n; i++) {
        const struct offset_commit_request_partition *p = &in->partitions[i];
        struct offset_commit_response_partition *answer = &out->partitions[out->partitions_n++];
        answer->partition_index = p->partition_index;
        if (!legal) {
            answer->error_code = ERR_INVALID_GROUP_ID;
        } else if (!exists(r->broker, in->name, p->partition_index)) {
            answer->error_code = ERR_UNKNOWN_TOPIC_OR_PARTITION;
        } else {
            add_offset(r, old, in->name, p, answer);
        }
    }
}

/* On the control thread. */
static void commit_old_style(struct req *r)
{
    const struct offset_commit_request *in = r->in;
    struct offset_commit_response *out = r->out;
    struct old_offsets *old = req_alloc(r, sizeof(*old));
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    if (old == NULL || out->topics == NULL) {
        return;
    }
    for (int32_t t = 0; t < in->topics_n; t++) {
        commit_topic(r, old, &in->topics[t], &out->topics[out->topics_n++]);
    }
    write_offsets(r, old);
}

enum req_status handle_offset_commit(struct req *r)
{
    return r->version == 0 ? req_on_control(r, commit_old_style, NULL)
                           : coordinator_offset_commit(r->broker->coordinator, r);
}

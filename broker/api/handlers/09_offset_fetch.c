/* OffsetFetch: the committed offsets of groups. Version 0 reads what version 0 committed, from the
 * coordination store. (reference: coordinators §1.9) */
#include "broker/broker.h"
#include "zk/znodes.h"

static err read_offset(struct broker *broker, struct arena *arena, struct str group,
                       struct str topic, int32_t partition, int64_t *offset)
{
    struct str path = arena_format(arena, "/consumers/%.*s/offsets/%.*s/%d", (int)group.len,
                                   group.data, (int)topic.len, topic.data, partition);
    struct coord_op get = {.type = COORD_GET, .path = path.data};
    if (path.data == NULL) {
        return ERR_UNKNOWN_SERVER_ERROR;
    }
    TRY(coord_run(broker->coord, &get, 1, arena));
    if (get.error != OK || znode_number_decode(get.value, offset) != OK) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    return OK;
}

/* On the control thread. */
static void fetch_old_style(struct req *r)
{
    const struct offset_fetch_request *in = r->in;
    struct offset_fetch_response *out = r->out;
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    for (int32_t t = 0; out->topics != NULL && t < in->topics_n; t++) {
        struct offset_fetch_response_topic *topic = &out->topics[out->topics_n++];
        topic->name = in->topics[t].name;
        topic->partitions =
            req_array(r, in->topics[t].partition_indexes_n, sizeof(*topic->partitions));
        for (int32_t i = 0; topic->partitions != NULL && i < in->topics[t].partition_indexes_n;
             i++) {
            struct offset_fetch_response_partition *p = &topic->partitions[topic->partitions_n++];
            offset_fetch_response_partition_init(p);
            p->partition_index = in->topics[t].partition_indexes[i];
            p->committed_offset = -1;
            p->metadata = STR("");
            p->error_code =
                kafka_error_wire(read_offset(r->broker, &r->arena, in->group_id, topic->name,
                                             p->partition_index, &p->committed_offset));
        }
    }
}

enum req_status handle_offset_fetch(struct req *r)
{
    if (r->version == 0) {
        return req_on_control(r, fetch_old_style, NULL);
    }
    coordinator_offset_fetch(r->broker->coordinator, r);
    return REQ_DONE;
}

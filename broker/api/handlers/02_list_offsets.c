/* ListOffsets: the offset of a moment, or of an end of the log. (reference: requests §4.3) */
#include "broker/broker.h"

enum {
    LATEST = -1,
    EARLIEST = -2,
    MAX_TIMESTAMP = -3,
    EARLIEST_LOCAL = -4,
    LATEST_TIERED = -5,
    DEBUGGING_REPLICA = -2,
    FIRST_SINGLE_OFFSET_VERSION = 1,
};

/* The first version that knows a special timestamp, or a version that never comes. */
static int first_version_of(int64_t timestamp)
{
    switch (timestamp) {
    case LATEST:
    case EARLIEST:
        return 0;
    case MAX_TIMESTAMP:
        return 7;
    case EARLIEST_LOCAL:
        return 8;
    case LATEST_TIERED:
        return 9;
    default:
        return timestamp >= 0 ? 0 : INT16_MAX;
    }
}

static err look_up(struct req *r, struct partition *p, struct plog *log, int64_t timestamp,
                   struct found_offset *found)
{
    const struct list_offsets_request *in = r->in;
    int64_t end = in->replica_id >= 0        ? plog_end_offset(log)
                  : in->isolation_level == 1 ? partition_last_stable_offset(p, log)
                                             : partition_high_watermark(p);
    *found = (struct found_offset){.offset = -1, .timestamp = -1, .leader_epoch = -1};
    switch (timestamp) {
    case LATEST:
        found->offset = end;
        found->leader_epoch = plog_latest_epoch(log);
        return OK;
    case EARLIEST:
    case EARLIEST_LOCAL:
        found->offset = plog_start_offset(log);
        found->leader_epoch = plog_epoch_of(log, found->offset);
        return OK;
    case LATEST_TIERED:
        return OK;
    case MAX_TIMESTAMP:
        return plog_offset_for_max_timestamp(log, found);
    default:
        return plog_offset_for_timestamp(log, timestamp, end, found);
    }
}

/* Version 0: a list of segments' first offsets, newest first. */
static err list_old_style(struct req *r, struct partition *p, struct plog *log,
                          const struct list_offsets_request_partition *in,
                          struct list_offsets_response_partition *out)
{
    return plog_offsets_before(log, in->timestamp, partition_high_watermark(p), in->max_num_offsets,
                               &r->arena, &out->old_style_offsets, &out->old_style_offsets_n);
}

static err list_partition(struct req *r, struct str topic,
                          const struct list_offsets_request_partition *in,
                          struct list_offsets_response_partition *out)
{
    const struct list_offsets_request *request = r->in;
    if (r->version < first_version_of(in->timestamp)) {
        return ERR_UNSUPPORTED_VERSION;
    }
    struct partition *p = replicas_find(r->broker->replicas, topic, in->partition_index);
    if (p == NULL) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    struct plog *log = NULL;
    err e =
        partition_pin(p, in->current_leader_epoch, request->replica_id == DEBUGGING_REPLICA, &log);
    struct found_offset found = {.offset = -1, .timestamp = -1, .leader_epoch = -1};
    if (e == OK) {
        e = r->version < FIRST_SINGLE_OFFSET_VERSION ? list_old_style(r, p, log, in, out)
                                                     : look_up(r, p, log, in->timestamp, &found);
        partition_unpin(p);
    }
    partition_release(p);
    if (e == OK) {
        out->offset = found.offset;
        out->timestamp =
            in->timestamp >= 0 || in->timestamp == MAX_TIMESTAMP ? found.timestamp : -1;
        out->leader_epoch = found.leader_epoch;
    }
    return e;
}

static bool is_named_twice(const struct list_offsets_request *in, int32_t topic, int32_t index)
{
    int32_t number = in->topics[topic].partitions[index].partition_index;
    for (int32_t t = 0; t < in->topics_n; t++) {
        if (!str_equal(in->topics[t].name, in->topics[topic].name)) {
            continue;
        }
        for (int32_t i = 0; i < in->topics[t].partitions_n; i++) {
            bool itself = t == topic && i == index;
            if (!itself && in->topics[t].partitions[i].partition_index == number) {
                return true;
            }
        }
    }
    return false;
}

enum req_status handle_list_offsets(struct req *r)
{
    const struct list_offsets_request *in = r->in;
    struct list_offsets_response *out = r->out;
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    if (out->topics == NULL) {
        return REQ_CLOSE;
    }
    for (int32_t t = 0; t < in->topics_n; t++) {
        struct list_offsets_response_topic *topic = &out->topics[out->topics_n++];
        topic->name = in->topics[t].name;
        topic->partitions = req_array(r, in->topics[t].partitions_n, sizeof(*topic->partitions));
        for (int32_t i = 0; topic->partitions != NULL && i < in->topics[t].partitions_n; i++) {
            struct list_offsets_response_partition *p = &topic->partitions[topic->partitions_n++];
            list_offsets_response_partition_init(p);
            p->partition_index = in->topics[t].partitions[i].partition_index;
            err e = is_named_twice(in, t, i)
                        ? ERR_INVALID_REQUEST
                        : list_partition(r, topic->name, &in->topics[t].partitions[i], p);
            p->error_code = e <= -1000 ? (int16_t)ERR_UNKNOWN_SERVER_ERROR : kafka_error_wire(e);
        }
    }
    return REQ_DONE;
}

/* ListOffsets: the offset of a moment, or of an end of the log. (reference: requests §4.3) */
#include "broker/api/lookup.h"
#include "base/seen.h"

enum {
    LATEST = -1,
    EARLIEST = -2,
    MAX_TIMESTAMP = -3,
    EARLIEST_LOCAL = -4,
    LATEST_TIERED = -5,
    CONSUMER = -1, /* replica ids */
    DEBUGGING_REPLICA = -2,
    FIRST_NOT_AVAILABLE_VERSION = 5,
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

static const struct found_offset NONE = {.offset = -1, .timestamp = -1, .leader_epoch = -1};

/* A new leader does not know yet how far its followers are: a client is not told an end that is too
 * low. */
static err high_watermark_error(const struct req *r, struct partition *p)
{
    const struct list_offsets_request *in = r->in;
    if (in->replica_id != CONSUMER || partition_knows_high_watermark(p)) {
        return OK;
    }
    return r->version >= FIRST_NOT_AVAILABLE_VERSION ? ERR_OFFSET_NOT_AVAILABLE
                                                     : ERR_LEADER_NOT_AVAILABLE;
}

static err look_up(struct req *r, struct partition *p, struct plog *log, int64_t timestamp,
                   struct found_offset *found)
{
    const struct list_offsets_request *in = r->in;
    err unknown = high_watermark_error(r, p);
    int64_t high_watermark = partition_high_watermark(p);
    int64_t end = in->replica_id >= 0        ? plog_end_offset(log)
                  : in->isolation_level == 1 ? plog_last_stable_offset(log, high_watermark)
                                             : high_watermark;
    *found = NONE;
    switch (timestamp) {
    case LATEST:
        TRY(unknown);
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
        TRY(plog_offset_for_max_timestamp(log, found));
        if (found->offset >= end) {
            *found = NONE;
        }
        break;
    default:
        TRY(plog_offset_for_timestamp(log, timestamp, end, found));
        break;
    }
    return found->offset < 0 ? unknown : OK;
}

/* Version 0: a list of segments' first offsets, newest first. */
static err list_old_style(struct req *r, struct partition *p, struct plog *log,
                          const struct list_offsets_request_partition *in,
                          struct list_offsets_response_partition *out)
{
    if (in->max_num_offsets < 0) {
        return ERR_UNKNOWN_SERVER_ERROR; /* Kafka's, whose list it cannot be */
    }
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
    struct partition *p = NULL;
    TRY(lookup_partition(r, topic, in->partition_index, &p));
    struct plog *log = NULL;
    err e =
        partition_pin(p, in->current_leader_epoch, request->replica_id == DEBUGGING_REPLICA, &log);
    struct found_offset found = NONE;
    if (e == OK) {
        e = r->version < FIRST_SINGLE_OFFSET_VERSION ? list_old_style(r, p, log, in, out)
                                                     : look_up(r, p, log, in->timestamp, &found);
        partition_unpin(p, log);
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

static struct seen_key key_of(const struct list_offsets_request_topic *topic, int32_t index)
{
    return (struct seen_key){.name = topic->name,
                             .number = topic->partitions[index].partition_index};
}

static void note_names(const struct list_offsets_request *in, struct seen *seen)
{
    for (int32_t t = 0; t < in->topics_n; t++) {
        for (int32_t i = 0; i < in->topics[t].partitions_n; i++) {
            struct seen_key key = key_of(&in->topics[t], i);
            (void)seen_add(seen, &key);
        }
    }
}

/* Every copy of a partition that is named twice is refused, but not in the version of lists. */
static void list_topic(struct req *r, const struct list_offsets_request_topic *in,
                       struct seen *seen, struct list_offsets_response_topic *out)
{
    out->name = in->name;
    out->partitions = req_array(r, in->partitions_n, sizeof(*out->partitions));
    for (int32_t i = 0; out->partitions != NULL && i < in->partitions_n; i++) {
        struct list_offsets_response_partition *p = &out->partitions[out->partitions_n++];
        list_offsets_response_partition_init(p);
        p->partition_index = in->partitions[i].partition_index;
        struct seen_key key = key_of(in, i);
        bool twice = r->version >= FIRST_SINGLE_OFFSET_VERSION && seen_times(seen, &key) > 1;
        err e = twice ? ERR_INVALID_REQUEST : list_partition(r, in->name, &in->partitions[i], p);
        p->error_code = kafka_error_of_log(e);
    }
}

enum req_status handle_list_offsets(struct req *r)
{
    const struct list_offsets_request *in = r->in;
    struct list_offsets_response *out = r->out;
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    if (out->topics == NULL) {
        return REQ_CLOSE;
    }
    struct seen seen;
    seen_init(&seen);
    note_names(in, &seen);
    for (int32_t t = 0; t < in->topics_n; t++) {
        list_topic(r, &in->topics[t], &seen, &out->topics[out->topics_n++]);
    }
    seen_deinit(&seen);
    return REQ_DONE;
}

/* OffsetForLeaderEpoch: where an epoch ended, so that a consumer or a follower finds out whether its
 * log was cut. (reference: requests §4.5; KIP-320) */
#include "broker/api/lookup.h"

static err look_up(struct req *r, struct str topic,
                   const struct offset_for_leader_epoch_request_partition *in,
                   struct offset_for_leader_epoch_response_partition *out)
{
    struct partition *p = NULL;
    TRY(lookup_partition(r, topic, in->partition, &p));
    struct plog *log = NULL;
    err e = partition_pin(p, in->current_leader_epoch, false, &log);
    if (e == OK) {
        plog_end_offset_for_epoch(log, in->leader_epoch, &out->leader_epoch, &out->end_offset);
        partition_unpin(p, log);
    }
    partition_release(p);
    return e;
}

enum req_status handle_offset_for_leader_epoch(struct req *r)
{
    const struct offset_for_leader_epoch_request *in = r->in;
    struct offset_for_leader_epoch_response *out = r->out;
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    for (int32_t t = 0; out->topics != NULL && t < in->topics_n; t++) {
        struct offset_for_leader_epoch_response_topic *topic = &out->topics[out->topics_n++];
        int32_t count = in->topics[t].partitions_n;
        topic->topic = in->topics[t].topic;
        topic->partitions = req_array(r, count, sizeof(*topic->partitions));
        for (int32_t i = 0; topic->partitions != NULL && i < count; i++) {
            struct offset_for_leader_epoch_response_partition *p =
                &topic->partitions[topic->partitions_n++];
            offset_for_leader_epoch_response_partition_init(p);
            p->partition = in->topics[t].partitions[i].partition;
            p->error_code =
                kafka_error_of_log(look_up(r, topic->topic, &in->topics[t].partitions[i], p));
        }
    }
    return out->topics == NULL ? REQ_CLOSE : REQ_DONE;
}

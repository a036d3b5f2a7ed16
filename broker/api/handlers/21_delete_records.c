/* DeleteRecords: moves the start of logs forward. A partition that is named twice is answered once, by
 * what the last one says, as Kafka does. (reference: requests §6.4) */
#include "broker/api/lookup.h"
#include "base/seen.h"
#include "protocol/topic_name.h"

static err delete_from(struct req *r, struct str topic,
                       const struct delete_records_request_partition *in, int64_t *low_watermark)
{
    struct partition *p = NULL;
    err e = lookup_partition(r, topic, in->partition_index, &p);
    if (e != ERR_UNKNOWN_TOPIC_OR_PARTITION && topic_is_internal(topic)) {
        e = ERR_INVALID_TOPIC_EXCEPTION;
    }
    if (e == OK) {
        e = partition_delete_records(p, in->offset, low_watermark);
    }
    if (p != NULL) {
        partition_release(p);
    }
    return e;
}

/* From the last to the first: what was seen already has had its last word. */
static void delete_from_topic(struct req *r, struct seen *seen,
                              const struct delete_records_request_topic *in)
{
    struct delete_records_response *out = r->out;
    struct delete_records_response_topic *topic = &out->topics[out->topics_n];
    topic->name = in->name;
    topic->partitions = req_array(r, in->partitions_n, sizeof(*topic->partitions));
    for (int32_t i = in->partitions_n - 1; topic->partitions != NULL && i >= 0; i--) {
        const struct delete_records_request_partition *partition = &in->partitions[i];
        if (seen_add(seen, &(struct seen_key){.name = in->name,
                                              .number = partition->partition_index}) > 0) {
            continue;
        }
        struct delete_records_response_partition *p = &topic->partitions[topic->partitions_n++];
        p->partition_index = partition->partition_index;
        p->low_watermark = -1;
        p->error_code = kafka_error_of_log(delete_from(r, in->name, partition, &p->low_watermark));
    }
    out->topics_n += topic->partitions_n > 0 ? 1 : 0;
}

enum req_status handle_delete_records(struct req *r)
{
    const struct delete_records_request *in = r->in;
    struct delete_records_response *out = r->out;
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    if (out->topics == NULL) {
        return REQ_CLOSE;
    }
    struct seen seen;
    seen_init(&seen);
    for (int32_t t = in->topics_n - 1; t >= 0; t--) {
        delete_from_topic(r, &seen, &in->topics[t]);
    }
    seen_deinit(&seen);
    return REQ_DONE;
}

/* DescribeProducers: who writes to a partition, and what it has open there (KIP-664). Any replica tells.
 * (reference: coordinators §4.10) */
#include "broker/api/lookup.h"
#include "broker/broker.h"

typedef struct describe_producers_response_partition partition_out;

/* As Kafka says it. */
static err check_topic(struct req *r, struct str topic, struct str *message)
{
    if (!topic_name_is_legal(topic)) {
        *message = arena_format(&r->arena,
                                "Topic name is invalid: '%.*s' contains one or more characters "
                                "other than ASCII alphanumerics, '.', '_' and '-'",
                                (int)topic.len, topic.data);
        return ERR_INVALID_TOPIC_EXCEPTION;
    }
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    bool there = metadata_topic(metadata, topic) != NULL;
    metadata_release(metadata);
    if (!there) {
        *message = STR("This server does not host this topic-partition.");
    }
    return there ? OK : ERR_UNKNOWN_TOPIC_OR_PARTITION;
}

static err describe(struct req *r, struct str topic, partition_out *out)
{
    struct partition *p = NULL;
    struct producer_info *infos = NULL;
    int32_t count = 0;
    TRY(check_topic(r, topic, &out->error_message));
    TRY(lookup_partition(r, topic, out->partition_index, &p));
    err e = partition_producers(p, &r->arena, &infos, &count);
    partition_release(p);
    TRY(e);
    out->active_producers = req_array(r, count, sizeof(*out->active_producers));
    for (int32_t i = 0; out->active_producers != NULL && i < count; i++) {
        out->active_producers[out->active_producers_n++] =
            (struct describe_producers_response_active_producer){
                .producer_id = infos[i].producer_id,
                .producer_epoch = infos[i].epoch,
                .last_sequence = infos[i].last_sequence,
                .last_timestamp = infos[i].last_timestamp,
                .coordinator_epoch = infos[i].coordinator_epoch,
                .current_txn_start_offset = infos[i].txn_start_offset,
            };
    }
    return OK;
}

enum req_status handle_describe_producers(struct req *r)
{
    const struct describe_producers_request *in = r->in;
    struct describe_producers_response *out = r->out;
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    for (int32_t t = 0; out->topics != NULL && t < in->topics_n; t++) {
        struct describe_producers_response_topic *topic = &out->topics[out->topics_n++];
        describe_producers_response_topic_init(topic);
        topic->name = in->topics[t].name;
        topic->partitions =
            req_array(r, in->topics[t].partition_indexes_n, sizeof(*topic->partitions));
        for (int32_t i = 0; topic->partitions != NULL && i < in->topics[t].partition_indexes_n;
             i++) {
            partition_out *partition = &topic->partitions[topic->partitions_n++];
            describe_producers_response_partition_init(partition);
            partition->partition_index = in->topics[t].partition_indexes[i];
            partition->error_code = kafka_error_of_log(describe(r, topic->name, partition));
        }
    }
    return REQ_DONE;
}

/* ListPartitionReassignments: what the controller has under way, of all topics or of those that are named.
 * (reference: requests §6) */
#include "base/seen.h"
#include "broker/broker.h"

typedef struct list_partition_reassignments_response_topic topic_out;
typedef struct list_partition_reassignments_response_partition partition_out;

static void read_named(const struct list_partition_reassignments_request *in, struct seen *named)
{
    for (int32_t t = 0; t < in->topics_n; t++) {
        for (int32_t i = 0; i < in->topics[t].partition_indexes_n; i++) {
            const struct seen_key key = {.name = in->topics[t].name,
                                         .number = in->topics[t].partition_indexes[i]};
            (void)seen_add(named, &key);
        }
    }
}

static void add(struct list_partition_reassignments_response *out, partition_out *partition,
                const struct controller_move *move)
{
    topic_out *topic = out->topics_n == 0 ? NULL : &out->topics[out->topics_n - 1];
    if (topic == NULL || !str_equal(topic->name, move->topic)) {
        topic = &out->topics[out->topics_n++];
        topic->name = move->topic;
        topic->partitions = partition;
    }
    *partition = (partition_out){.partition_index = move->partition,
                                 .replicas = move->replicas.ids,
                                 .replicas_n = move->replicas.count,
                                 .adding_replicas = move->adding.ids,
                                 .adding_replicas_n = move->adding.count,
                                 .removing_replicas = move->removing.ids,
                                 .removing_replicas_n = move->removing.count};
    topic->partitions_n++;
}

/* On the control thread. */
static void list(struct req *r)
{
    const struct list_partition_reassignments_request *in = r->in;
    struct list_partition_reassignments_response *out = r->out;
    struct controller_move *moves = NULL;
    struct seen named;
    int32_t count = 0;
    out->error_message = STR("");
    err e = controller_reassignments(r->broker->controller, &r->arena, &moves, &count);
    out->topics = req_array(r, count, sizeof(*out->topics));
    partition_out *partitions = req_array(r, count, sizeof(*partitions));
    if (e == OK && (out->topics == NULL || partitions == NULL)) {
        e = ERR_UNKNOWN_SERVER_ERROR;
    }
    if (e != OK) {
        out->error_code = kafka_error_wire(e);
        out->error_message = e == ERR_NOT_CONTROLLER
                                 ? STR("This is not the correct controller for this cluster.")
                                 : (struct str){0};
        return;
    }
    seen_init(&named);
    read_named(in, &named);
    for (int32_t i = 0; i < count; i++) {
        const struct seen_key key = {.name = moves[i].topic, .number = moves[i].partition};
        if (in->topics_n < 0 || seen_times(&named, &key) > 0) {
            add(out, partitions++, &moves[i]);
        }
    }
    seen_deinit(&named);
}

enum req_status handle_list_partition_reassignments(struct req *r)
{
    return req_on_control(r, list, NULL);
}

/* AlterPartitionReassignments: plans that the controller takes or refuses; nobody waits until they have come
 * to their end. (reference: requests §6, replication §9) */
#include "base/seen.h"
#include "broker/broker.h"

struct plans {
    struct controller_reassignment *all; /* the last of a topic comes first */
    int32_t count;
};

typedef struct alter_partition_reassignments_request_topic topic_in;
typedef struct alter_partition_reassignments_response_topic topic_out;
typedef struct alter_partition_reassignments_response_partition partition_out;

static void add_plan(struct plans *plans, const topic_in *topic, int32_t at)
{
    plans->all[plans->count++] =
        (struct controller_reassignment){.topic = topic->name,
                                         .partition = topic->partitions[at].partition_index,
                                         .replicas = {.ids = topic->partitions[at].replicas,
                                                      .count = topic->partitions[at].replicas_n},
                                         .cancel = topic->partitions[at].replicas_n < 0};
}

/* Each partition once: of one that is named again the last plan counts. */
static struct plans *read_plans(struct req *r)
{
    const struct alter_partition_reassignments_request *in = r->in;
    struct plans *plans = req_alloc(r, sizeof(*plans));
    struct seen seen;
    int32_t count = 0;
    for (int32_t t = 0; t < in->topics_n; t++) {
        count += in->topics[t].partitions_n;
    }
    if (plans == NULL || (plans->all = req_array(r, count, sizeof(*plans->all))) == NULL) {
        return NULL;
    }
    seen_init(&seen);
    for (int32_t t = in->topics_n - 1; t >= 0; t--) {
        const topic_in *topic = &in->topics[t];
        for (int32_t i = topic->partitions_n - 1; i >= 0; i--) {
            const struct seen_key key = {.name = topic->name,
                                         .number = topic->partitions[i].partition_index};
            if (seen_add(&seen, &key) == 0) {
                add_plan(plans, topic, i);
            }
        }
    }
    seen_deinit(&seen);
    return plans;
}

/* On the control thread. */
static void reassign(struct req *r)
{
    struct alter_partition_reassignments_response *out = r->out;
    struct plans *plans = r->state;
    err e = controller_reassign(r->broker->controller, plans->all, plans->count, &r->arena);
    out->error_code = kafka_error_wire(e);
    out->error_message =
        e == OK ? STR("") : STR("This is not the correct controller for this cluster.");
    plans->count = e == OK ? plans->count : 0;
}

static enum req_status answer(struct req *r)
{
    struct alter_partition_reassignments_response *out = r->out;
    const struct plans *plans = r->state;
    out->topics = req_array(r, plans->count, sizeof(*out->topics));
    partition_out *results = req_array(r, plans->count, sizeof(*results));
    if (out->topics == NULL || results == NULL) {
        return REQ_CLOSE;
    }
    topic_out *topic = NULL;
    for (int32_t i = 0; i < plans->count; i++) {
        const struct controller_reassignment *plan = &plans->all[i];
        if (topic == NULL || !str_equal(topic->name, plan->topic)) {
            topic = &out->topics[out->topics_n++];
            topic->name = plan->topic;
            topic->partitions = results;
        }
        *results++ = (partition_out){.partition_index = plan->partition,
                                     .error_code = kafka_error_wire(plan->error),
                                     .error_message = plan->message};
        topic->partitions_n++;
    }
    return REQ_DONE;
}

enum req_status handle_alter_partition_reassignments(struct req *r)
{
    r->state = read_plans(r);
    return r->state == NULL ? REQ_CLOSE : req_on_control(r, reassign, answer);
}

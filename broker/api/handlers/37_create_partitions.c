/* CreatePartitions: rewrites the topic's node on the control thread, then waits for the leaders of
 * the new partitions. (reference: requests §6) */
#include "broker/broker.h"
#include "broker/cluster/topics.h"

typedef struct create_partitions_request_topic topic_in;

struct growth {
    struct metadata_wait wait;
};

static bool is_named_twice(const struct create_partitions_request *in, int32_t index)
{
    for (int32_t i = 0; i < in->topics_n; i++) {
        if (i != index && str_equal(in->topics[i].name, in->topics[index].name)) {
            return true;
        }
    }
    return false;
}

static bool is_named_before(const struct create_partitions_request *in, int32_t index)
{
    for (int32_t i = 0; i < index; i++) {
        if (str_equal(in->topics[i].name, in->topics[index].name)) {
            return true;
        }
    }
    return false;
}

static err grow_one(struct req *r, const topic_in *in, char message[TOPIC_MESSAGE_BYTES])
{
    const struct create_partitions_request *request = r->in;
    struct partitions_wish wish = {.name = in->name,
                                   .total = in->count,
                                   .assignment_n = in->assignments_n,
                                   .validate_only = request->validate_only};
    wish.assignment = req_array(r, in->assignments_n, sizeof(*wish.assignment));
    for (int32_t i = 0; wish.assignment != NULL && i < in->assignments_n; i++) {
        wish.assignment[i] = (struct id_list){.ids = in->assignments[i].broker_ids,
                                              .count = in->assignments[i].broker_ids_n};
    }
    return topics_add_partitions(r->broker, &wish, message);
}

/* On the control thread. */
static void grow_all(struct req *r)
{
    const struct create_partitions_request *in = r->in;
    struct create_partitions_response *out = r->out;
    out->results = req_array(r, in->topics_n, sizeof(*out->results));
    for (int32_t i = 0; out->results != NULL && i < in->topics_n; i++) {
        if (is_named_before(in, i)) {
            continue;
        }
        struct create_partitions_response_result *result = &out->results[out->results_n++];
        create_partitions_response_result_init(result);
        char message[TOPIC_MESSAGE_BYTES] = "Duplicate topic in request.";
        err e = is_named_twice(in, i) ? ERR_INVALID_REQUEST : grow_one(r, &in->topics[i], message);
        result->name = in->topics[i].name;
        result->error_code = kafka_error_wire(e);
        if (e != OK) {
            result->error_message = arena_str(&r->arena, str_of(message));
        }
    }
}

static int32_t wanted_count(const struct create_partitions_request *in, struct str name)
{
    for (int32_t i = 0; i < in->topics_n; i++) {
        if (str_equal(in->topics[i].name, name)) {
            return in->topics[i].count;
        }
    }
    return 0;
}

static bool is_ready(const struct metadata *metadata, struct str name, int32_t count)
{
    const struct topic_info *topic = metadata_topic(metadata, name);
    if (topic == NULL || topic->partitions_n < count) {
        return false;
    }
    for (int32_t p = 0; p < count; p++) {
        if (!topic->partitions[p].known || topic->partitions[p].leader < 0) {
            return false;
        }
    }
    return true;
}

static bool all_ready(struct metadata_wait *wait, const struct metadata *metadata)
{
    const struct create_partitions_request *in = wait->req->in;
    const struct create_partitions_response *out = wait->req->out;
    for (int32_t i = 0; i < out->results_n; i++) {
        if (out->results[i].error_code == OK &&
            !is_ready(metadata, out->results[i].name, wanted_count(in, out->results[i].name))) {
            return false;
        }
    }
    return true;
}

static void time_out(struct req *r)
{
    struct create_partitions_response *out = r->out;
    for (int32_t i = 0; i < out->results_n; i++) {
        if (out->results[i].error_code == OK) {
            out->results[i].error_code = ERR_REQUEST_TIMED_OUT;
        }
    }
}

static enum req_status waited(struct req *r)
{
    struct growth *growth = r->state;
    metadata_wait_remove(r->broker->metadata_waits, &growth->wait);
    if (r->timed_out) {
        time_out(r);
    }
    return REQ_DONE;
}

static enum req_status wait_for_leaders(struct req *r)
{
    const struct create_partitions_request *in = r->in;
    struct growth *growth = req_alloc(r, sizeof(*growth));
    if (in->validate_only || growth == NULL) {
        return REQ_DONE;
    }
    if (in->timeout_ms <= 0) {
        time_out(r);
        return REQ_DONE;
    }
    r->state = growth;
    req_park(r, in->timeout_ms, waited);
    growth->wait = (struct metadata_wait){.req = r, .satisfied = all_ready};
    metadata_wait_add(r->broker->metadata_waits, &growth->wait);
    return REQ_PARKED;
}

enum req_status handle_create_partitions(struct req *r)
{
    return req_on_control(r, grow_all, wait_for_leaders);
}

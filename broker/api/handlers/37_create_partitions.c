/* CreatePartitions: rewrites the topic's node on the control thread, then waits for the leaders of
 * the new partitions. (reference: requests §6.3) */
#include "base/refuse.h"
#include "base/seen.h"
#include "broker/api/throttling.h"
#include "broker/api/topics_wait.h"
#include "broker/broker.h"

typedef struct create_partitions_request_topic topic_in;

struct growth {
    struct topics_wait wait; /* first */
    int32_t *counts;         /* how many partitions each result is to have */
};

static err grow_one(struct req *r, const topic_in *in, char message[TOPIC_MESSAGE_BYTES])
{
    const struct create_partitions_request *request = r->in;
    struct partitions_wish wish = {.name = in->name,
                                   .total = in->count,
                                   .assignment_n = in->assignments_n,
                                   .check = throttling_mutation_check(r),
                                   .validate_only = request->validate_only};
    wish.assignment = req_array(r, in->assignments_n, sizeof(*wish.assignment));
    for (int32_t i = 0; wish.assignment != NULL && i < in->assignments_n; i++) {
        wish.assignment[i] = (struct id_list){.ids = in->assignments[i].broker_ids,
                                              .count = in->assignments[i].broker_ids_n};
    }
    return topics_add_partitions(&r->broker->topics, &wish, message);
}

static void answer_one(struct req *r, const topic_in *in, bool named_twice,
                       struct create_partitions_response_result *out)
{
    char message[TOPIC_MESSAGE_BYTES] = "";
    create_partitions_response_result_init(out);
    err e = named_twice ? refuse_with(ERR_INVALID_REQUEST, message, sizeof(message),
                                      "Duplicate topic in request.")
                        : grow_one(r, in, message);
    out->name = in->name;
    out->error_code = kafka_error_wire(e);
    if (message[0] != '\0') {
        out->error_message = arena_str(&r->arena, str_of(message));
    }
}

/* On the control thread. A topic that is named twice is answered once. */
static void grow_all(struct req *r)
{
    const struct create_partitions_request *in = r->in;
    struct create_partitions_response *out = r->out;
    struct growth *growth = r->state;
    struct seen named;
    struct seen answered;
    seen_init(&named);
    seen_init(&answered);
    for (int32_t i = 0; i < in->topics_n; i++) {
        (void)seen_add(&named, &(struct seen_key){.name = in->topics[i].name});
    }
    for (int32_t i = 0; i < in->topics_n; i++) {
        struct seen_key key = {.name = in->topics[i].name};
        if (seen_add(&answered, &key) == 0) {
            growth->counts[out->results_n] = in->topics[i].count;
            answer_one(r, &in->topics[i], seen_times(&named, &key) > 1,
                       &out->results[out->results_n++]);
        }
    }
    seen_deinit(&named);
    seen_deinit(&answered);
}

static int16_t *error_of(const struct req *r, int32_t at)
{
    return &((struct create_partitions_response *)r->out)->results[at].error_code;
}

static bool is_ready(const struct req *r, const struct metadata *metadata, int32_t at)
{
    const struct growth *growth = r->state;
    const struct create_partitions_response *out = r->out;
    return topics_wait_leaders(metadata, out->results[at].name, growth->counts[at]);
}

static enum req_status wait_for_leaders(struct req *r)
{
    static const struct topics_wait_rules RULES = {.error_of = error_of, .is_done = is_ready};
    const struct create_partitions_request *in = r->in;
    const struct create_partitions_response *out = r->out;
    return in->validate_only ? REQ_DONE
                             : topics_wait_begin(r, &RULES, out->results_n, in->timeout_ms);
}

enum req_status handle_create_partitions(struct req *r)
{
    const struct create_partitions_request *in = r->in;
    struct create_partitions_response *out = r->out;
    struct growth *growth = req_alloc(r, sizeof(*growth));
    out->results = req_array(r, in->topics_n, sizeof(*out->results));
    if (growth == NULL || out->results == NULL) {
        return REQ_CLOSE;
    }
    growth->counts = req_array(r, in->topics_n, sizeof(*growth->counts));
    if (growth->counts == NULL) {
        return REQ_CLOSE;
    }
    r->state = growth;
    return req_on_control(r, grow_all, wait_for_leaders);
}

/* ElectLeaders: elections on the control thread, then the request waits until the metadata shows the
 * leaders, or until its time is over. (reference: requests §6.6) */
#include "base/seen.h"
#include "broker/api/topics_wait.h"
#include "broker/broker.h"

enum { TYPE_UNCLEAN = 1, TYPE_MAX = 1 };

struct elect {
    struct topics_wait wait; /* first */
    struct controller_election *elections;
    int32_t count;
    int16_t *errors; /* of each */
};

typedef struct elect_leaders_request_topic_partition topic_in;
typedef struct elect_leaders_response_replica_election_result topic_out;

/* Each partition that is named, once. */
static void add_named(struct elect *elect, struct seen *seen, const topic_in *topic)
{
    for (int32_t i = 0; i < topic->partitions_n; i++) {
        const struct seen_key key = {.name = topic->topic, .number = topic->partitions[i]};
        if (seen_add(seen, &key) == 0) {
            struct controller_election *election = &elect->elections[elect->count++];
            election->topic = topic->topic;
            election->partition = topic->partitions[i];
        }
    }
}

/* False: no memory. */
static bool read_named(struct req *r, struct elect *elect)
{
    const struct elect_leaders_request *in = r->in;
    struct seen seen;
    int32_t count = 0;
    for (int32_t t = 0; t < in->topic_partitions_n; t++) {
        count += in->topic_partitions[t].partitions_n;
    }
    elect->elections = req_array(r, count, sizeof(*elect->elections));
    seen_init(&seen);
    for (int32_t t = 0; elect->elections != NULL && t < in->topic_partitions_n; t++) {
        add_named(elect, &seen, &in->topic_partitions[t]);
    }
    seen_deinit(&seen);
    return elect->elections != NULL;
}

/* On the control thread. */
static void elect_all(struct req *r)
{
    const struct elect_leaders_request *in = r->in;
    struct elect_leaders_response *out = r->out;
    struct elect *elect = r->state;
    struct controller *controller = r->broker->controller;
    if (in->topic_partitions_n < 0) {
        elect->count = controller_partitions(controller, &r->arena, &elect->elections);
    }
    elect->errors = req_array(r, elect->count, sizeof(*elect->errors));
    if (elect->errors == NULL) {
        elect->count = 0;
        out->error_code = ERR_UNKNOWN_SERVER_ERROR;
        return;
    }
    for (int32_t i = 0; i < elect->count; i++) {
        elect->elections[i].unclean = in->election_type == TYPE_UNCLEAN;
    }
    err e = controller_elect_leaders(controller, elect->elections, elect->count);
    for (int32_t i = 0; i < elect->count; i++) {
        elect->errors[i] = kafka_error_wire(e != OK ? e : elect->elections[i].error);
    }
}

static int16_t *error_of(const struct req *r, int32_t at)
{
    return &((struct elect *)r->state)->errors[at];
}

static bool is_known(const struct req *r, const struct metadata *metadata, int32_t at)
{
    const struct controller_election *election = &((struct elect *)r->state)->elections[at];
    const struct topic_info *topic = metadata_topic(metadata, election->topic);
    return topic == NULL || election->partition >= topic->partitions_n ||
           topic->partitions[election->partition].leader_epoch >= election->leader_epoch;
}

/* In Kafka's words, which its tool shows. */
static struct str not_elected(struct req *r, const struct controller_election *election, err e)
{
    return arena_format(&r->arena, "Failed to elect leader for partition %.*s-%d under strategy %s",
                        (int)election->topic.len, election->topic.data, election->partition,
                        e == ERR_PREFERRED_LEADER_NOT_AVAILABLE
                            ? "PreferredReplicaPartitionLeaderElectionStrategy"
                            : "OfflinePartitionLeaderElectionStrategy(true)");
}

static const char *message_for(err e)
{
    switch (e) {
    case ERR_ELECTION_NOT_NEEDED:
        return "Leader election not needed for topic partition.";
    case ERR_UNKNOWN_TOPIC_OR_PARTITION:
        return "The partition does not exist.";
    case ERR_INVALID_TOPIC_EXCEPTION:
        return "The topic is being deleted.";
    case ERR_NOT_CONTROLLER:
        return "This is not the correct controller for this cluster.";
    default:
        return NULL;
    }
}

static struct str message_of(struct req *r, const struct controller_election *election, err e)
{
    if (e == ERR_PREFERRED_LEADER_NOT_AVAILABLE || e == ERR_ELIGIBLE_LEADERS_NOT_AVAILABLE) {
        return not_elected(r, election, e);
    }
    const char *message = message_for(e);
    return message == NULL ? (struct str){0} : str_of(message);
}

/* Where all partitions were meant, those that need no election are not told. */
static enum req_status answer(struct req *r)
{
    const struct elect_leaders_request *in = r->in;
    struct elect_leaders_response *out = r->out;
    struct elect *elect = r->state;
    out->replica_election_results =
        req_array(r, elect->count, sizeof(*out->replica_election_results));
    struct elect_leaders_response_partition_result *results =
        req_array(r, elect->count, sizeof(*results));
    if (out->replica_election_results == NULL || results == NULL) {
        return REQ_CLOSE;
    }
    topic_out *topic = NULL;
    for (int32_t i = 0; i < elect->count; i++) {
        const struct controller_election *election = &elect->elections[i];
        if (in->topic_partitions_n < 0 && elect->errors[i] == ERR_ELECTION_NOT_NEEDED) {
            continue;
        }
        if (topic == NULL || !str_equal(topic->topic, election->topic)) {
            topic = &out->replica_election_results[out->replica_election_results_n++];
            topic->topic = election->topic;
            topic->partition_results = results;
        }
        results->partition_id = election->partition;
        results->error_code = elect->errors[i];
        results->error_message = message_of(r, election, elect->errors[i]);
        results++;
        topic->partition_results_n++;
    }
    return REQ_DONE;
}

static enum req_status wait_for_leaders(struct req *r)
{
    static const struct topics_wait_rules RULES = {
        .error_of = error_of, .is_done = is_known, .answer = answer};
    const struct elect_leaders_request *in = r->in;
    const struct elect *elect = r->state;
    return topics_wait_begin(r, &RULES, elect->count, in->timeout_ms);
}

enum req_status handle_elect_leaders(struct req *r)
{
    const struct elect_leaders_request *in = r->in;
    struct elect_leaders_response *out = r->out;
    struct elect *elect = req_alloc(r, sizeof(*elect));
    if (elect == NULL) {
        return REQ_CLOSE;
    }
    r->state = elect;
    if (in->election_type < 0 || in->election_type > TYPE_MAX) {
        out->error_code = ERR_INVALID_REQUEST;
        return REQ_DONE;
    }
    if (in->topic_partitions_n >= 0 && !read_named(r, elect)) {
        return REQ_CLOSE;
    }
    return req_on_control(r, elect_all, wait_for_leaders);
}

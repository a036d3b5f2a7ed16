/* FindCoordinator: which broker coordinates a group, or a transactional id. Their topics are created when the
 * first one asks; until its leader is known the answer is COORDINATOR_NOT_AVAILABLE.
 * (reference: requests §5) */
#include "broker/api/endpoint.h"
#include "broker/broker.h"
#include "broker/coordinator/shards.h"

enum {
    KEY_GROUP = 0,
    KEY_TRANSACTION = 1,
    KEY_SHARE = 2, /* nobody coordinates share groups: known, and never there */
    FIRST_BATCHED_VERSION = 4,
    FIRST_SHARE_VERSION = 6,
};

#define NOT_AVAILABLE "The coordinator is not available."
#define BAD_TYPE                                                                                   \
    "This most likely occurs because of a request being malformed by the client library or the "   \
    "message was sent to an incompatible broker. See the broker logs for more details."

struct found {
    err error;
    const char *message; /* static */
    int32_t node_id;
    struct str host;
    int32_t port;
};

static struct found not_found(err e)
{
    return (struct found){.error = e,
                          .message = e == ERR_INVALID_REQUEST ? BAD_TYPE : NOT_AVAILABLE,
                          .node_id = -1,
                          .host = STR(""),
                          .port = -1};
}

static err refuse_type(const struct req *r, int8_t key_type)
{
    return key_type == KEY_SHARE && r->version >= FIRST_SHARE_VERSION
               ? ERR_COORDINATOR_NOT_AVAILABLE
               : ERR_INVALID_REQUEST;
}

/* The topic that says who coordinates; null: none does. */
static struct str topic_of(int8_t key_type)
{
    return key_type == KEY_GROUP         ? STR("__consumer_offsets")
           : key_type == KEY_TRANSACTION ? STR("__transaction_state")
                                         : (struct str){0};
}

static struct found find(struct req *r, const struct metadata *metadata, int8_t key_type,
                         struct str key)
{
    if (topic_of(key_type).data == NULL) {
        return not_found(refuse_type(r, key_type));
    }
    const struct topic_info *topic = metadata_topic(metadata, topic_of(key_type));
    if (topic == NULL) {
        return not_found(ERR_COORDINATOR_NOT_AVAILABLE);
    }
    int32_t number = shards_partition_of(key, topic->partitions_n);
    const struct broker_info *leader = metadata_broker(metadata, topic->partitions[number].leader);
    struct client_endpoint endpoint;
    if (!topic->partitions[number].known || leader == NULL ||
        !endpoint_for_client(r, leader, &endpoint)) {
        return not_found(ERR_COORDINATOR_NOT_AVAILABLE);
    }
    return (struct found){.message = "NONE",
                          .node_id = leader->id,
                          .host = arena_str(&r->arena, endpoint.host),
                          .port = endpoint.port};
}

static void create_topic(struct req *r)
{
    const struct find_coordinator_request *in = r->in;
    err_ignore(topics_auto_create(&r->broker->topics,
                                  topic_of(in->key_type))); /* logged there; asked again */
}

static void answer_single(struct req *r, const struct metadata *metadata)
{
    const struct find_coordinator_request *in = r->in;
    struct find_coordinator_response *out = r->out;
    struct found found = find(r, metadata, in->key_type, in->key);
    out->error_code = kafka_error_wire(found.error);
    out->error_message = str_of(found.message);
    out->node_id = found.node_id;
    out->host = found.host;
    out->port = found.port;
}

/* Of several only a type that nobody knows is explained. */
static void answer_batch(struct req *r, const struct metadata *metadata)
{
    const struct find_coordinator_request *in = r->in;
    struct find_coordinator_response *out = r->out;
    bool known = in->key_type >= KEY_GROUP && in->key_type <= KEY_SHARE;
    out->coordinators = req_array(r, in->coordinator_keys_n, sizeof(*out->coordinators));
    for (int32_t i = 0; out->coordinators != NULL && i < in->coordinator_keys_n; i++) {
        struct found found = find(r, metadata, in->key_type, in->coordinator_keys[i]);
        struct find_coordinator_response_coordinator *one =
            &out->coordinators[out->coordinators_n++];
        one->key = in->coordinator_keys[i];
        one->error_code = kafka_error_wire(found.error);
        one->error_message = known ? STR("") : str_of(found.message);
        one->node_id = found.node_id;
        one->host = found.host;
        one->port = found.port;
    }
}

enum req_status handle_find_coordinator(struct req *r)
{
    const struct find_coordinator_request *in = r->in;
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    struct str topic = topic_of(in->key_type);
    bool missing = topic.data != NULL && metadata_topic(metadata, topic) == NULL;
    if (r->version < FIRST_BATCHED_VERSION) {
        answer_single(r, metadata);
    } else {
        answer_batch(r, metadata);
    }
    metadata_release(metadata);
    return missing ? req_on_control(r, create_topic, NULL) : REQ_DONE;
}

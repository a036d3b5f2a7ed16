/* Metadata: brokers and topics, from the current snapshot. A named topic that does not exist may be
 * created on the way: its znodes are written on the control thread, and the answer is
 * LEADER_NOT_AVAILABLE; the client asks again. (reference: requests §4.4)
 *
 * A broker that has just begun knows of nobody until the controller's first word, which may take as long as a
 * controller's session. Kafka answers with no brokers then, and there are clients (librdkafka 2.16) that forget
 * all brokers they know at that, some of them for ever: here they wait, and are sent elsewhere by a closed
 * connection if it takes too long. */
#include "broker/api/authorize.h"
#include "broker/api/endpoint.h"
#include "base/seen.h"
#include "broker/broker.h"

enum {
    FIRST_NULL_MEANS_ALL_VERSION = 1,
    FIRST_AUTO_CREATE_FLAG_VERSION = 4,
    FIRST_LISTENER_NOT_FOUND_VERSION = 6,
    FIRST_ID_VERSION = 12,
    CREATED_MAX = 100,
    FIRST_WORD_WAIT_MS = 10000,
};

typedef struct metadata_response_topic topic_out;

/* Its broker is dead, or it shuts down, or the directory has failed: the last two are told only. */
static bool is_offline(const struct metadata *metadata, const struct partition_info *p, int32_t id)
{
    bool told = false;
    for (int32_t i = 0; i < p->offline_n; i++) {
        told |= p->offline[i] == id;
    }
    return told || metadata_broker(metadata, id) == NULL;
}

static void fill_partition(struct req *r, const struct metadata *metadata,
                           const struct partition_info *p, int32_t number,
                           struct metadata_response_partition *out)
{
    out->partition_index = number;
    out->leader_id = p->leader;
    out->leader_epoch = p->leader_epoch;
    out->replica_nodes = p->replicas;
    out->replica_nodes_n = p->replicas_n;
    out->isr_nodes = p->isr;
    out->isr_nodes_n = p->isr_n;
    const struct broker_info *leader = metadata_broker(metadata, p->leader);
    if (leader == NULL) {
        out->error_code = ERR_LEADER_NOT_AVAILABLE;
        out->leader_id = -1;
    } else if (broker_endpoint_of(leader, r->listener->name) == NULL) {
        out->error_code = r->version >= FIRST_LISTENER_NOT_FOUND_VERSION
                              ? (int16_t)ERR_LISTENER_NOT_FOUND
                              : (int16_t)ERR_LEADER_NOT_AVAILABLE;
        out->leader_id = -1;
    }
    out->offline_replicas = req_array(r, p->replicas_n, sizeof(int32_t));
    for (int32_t i = 0; out->offline_replicas != NULL && i < p->replicas_n; i++) {
        if (is_offline(metadata, p, p->replicas[i])) {
            out->offline_replicas[out->offline_replicas_n++] = p->replicas[i];
        }
    }
}

/* Kafka names them also for a topic that is not there, unless it was asked for by its id. */
static int32_t topic_operations(const struct req *r, struct str topic)
{
    const struct metadata_request *in = r->in;
    return in->include_topic_authorized_operations ? req_operations(r, ACL_TOPIC, topic)
                                                   : INT32_MIN;
}

static void fill_topic(struct req *r, const struct metadata *metadata,
                       const struct topic_info *topic, topic_out *out)
{
    out->name = topic->name;
    out->topic_id = topic->id;
    out->is_internal = topic->internal;
    out->topic_authorized_operations = topic_operations(r, topic->name);
    out->partitions = req_array(r, topic->partitions_n, sizeof(*out->partitions));
    for (int32_t i = 0; out->partitions != NULL && i < topic->partitions_n; i++) {
        if (topic->partitions[i].known) {
            fill_partition(r, metadata, &topic->partitions[i], i,
                           &out->partitions[out->partitions_n++]);
        }
    }
}

static void fill_brokers(struct req *r, const struct metadata *metadata)
{
    struct metadata_response *out = r->out;
    const struct metadata_request *in = r->in;
    out->cluster_id = str_of(r->broker->cluster_id);
    out->controller_id = metadata->controller_id;
    out->cluster_authorized_operations =
        in->include_cluster_authorized_operations ? req_cluster_operations(r) : INT32_MIN;
    int32_t count = 0;
    const struct client_broker *brokers = brokers_for_client(r, metadata, &count);
    out->brokers = req_array(r, count, sizeof(*out->brokers));
    for (int32_t i = 0; out->brokers != NULL && i < count; i++) {
        out->brokers[out->brokers_n++] =
            (struct metadata_response_broker){.node_id = brokers[i].id,
                                              .host = brokers[i].endpoint.host,
                                              .port = brokers[i].endpoint.port,
                                              .rack = brokers[i].rack};
    }
}

/* ---- topics by name or id ---- */

static bool wants_all(const struct req *r)
{
    const struct metadata_request *in = r->in;
    return in->topics_n < 0 || (r->version < FIRST_NULL_MEANS_ALL_VERSION && in->topics_n == 0);
}

/* Topics that are not there. */
static bool creates(const struct req *r)
{
    const struct metadata_request *in = r->in;
    return r->broker->config->auto_create_topics_enable &&
           (r->version < FIRST_AUTO_CREATE_FLAG_VERSION || in->allow_auto_topic_creation);
}

static void answer_all(struct req *r, const struct metadata *metadata)
{
    struct metadata_response *out = r->out;
    out->topics = req_array(r, (int32_t)metadata->topics.count, sizeof(*out->topics));
    if (out->topics == NULL) {
        return;
    }
    map_each (entry, &metadata->topics) {
        const struct topic_info *topic = entry->value;
        if (req_sees(r, ACL_DESCRIBE, ACL_TOPIC, topic->name)) {
            fill_topic(r, metadata, topic, &out->topics[out->topics_n++]);
        }
    }
}

/* Only a topic that is not there has this error and no partitions. */
static bool is_to_be_created(const topic_out *topic)
{
    return topic->error_code == ERR_LEADER_NOT_AVAILABLE && topic->partitions_n == 0;
}

static bool may_create(const struct req *r, struct str name)
{
    return req_sees(r, ACL_CREATE, ACL_CLUSTER, STR(ACL_CLUSTER_NAME)) ||
           req_may(r, ACL_CREATE, ACL_TOPIC, name);
}

/* Nothing is told, not even whether it is there: the name is the asked one, or null with the asked id. */
static void refuse_topic(struct str name, struct uuid id, topic_out *out)
{
    metadata_response_topic_init(out);
    out->name = name;
    out->topic_id = id;
    out->error_code = ERR_TOPIC_AUTHORIZATION_FAILED;
}

/* A topic that is not there: created if that is allowed (then it is collected in `missing`). */
static void answer_missing(struct req *r, struct str name, topic_out *out)
{
    out->name = name;
    out->is_internal = topic_is_internal(name);
    out->topic_authorized_operations = topic_operations(r, name);
    bool legal = topic_name_is_legal(name);
    if (creates(r) && !may_create(r, name)) {
        refuse_topic(name, (struct uuid){{0}}, out);
    } else {
        out->error_code = !legal       ? (int16_t)ERR_INVALID_TOPIC_EXCEPTION
                          : creates(r) ? (int16_t)ERR_LEADER_NOT_AVAILABLE
                                       : (int16_t)ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
}

static void answer_one(struct req *r, const struct metadata *metadata,
                       const struct metadata_request_topic *in, topic_out *out)
{
    bool by_id = r->version >= FIRST_ID_VERSION && in->name.data == NULL;
    const struct topic_info *found =
        by_id ? metadata_topic_by_id(metadata, in->topic_id) : metadata_topic(metadata, in->name);
    struct str name = found != NULL ? found->name : in->name;
    metadata_response_topic_init(out);
    if (name.data != NULL && !req_may(r, ACL_DESCRIBE, ACL_TOPIC, name)) {
        refuse_topic(by_id ? (struct str){0} : name, by_id ? in->topic_id : (struct uuid){{0}},
                     out);
    } else if (found != NULL) {
        fill_topic(r, metadata, found, out);
    } else if (by_id) {
        out->name = (struct str){0};
        out->topic_id = in->topic_id;
        out->error_code = ERR_UNKNOWN_TOPIC_ID;
    } else {
        answer_missing(r, in->name, out);
    }
}

/* Each topic once. Returns whether some topic is to be created. */
static bool answer_named(struct req *r, const struct metadata *metadata)
{
    const struct metadata_request *in = r->in;
    struct metadata_response *out = r->out;
    bool missing = false;
    struct seen seen;
    seen_init(&seen);
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    for (int32_t i = 0; out->topics != NULL && i < in->topics_n; i++) {
        struct seen_key key = {.name = in->topics[i].name, .id = in->topics[i].topic_id};
        if (seen_add(&seen, &key) > 0) {
            continue;
        }
        topic_out *topic = &out->topics[out->topics_n++];
        answer_one(r, metadata, &in->topics[i], topic);
        missing |= is_to_be_created(topic);
    }
    seen_deinit(&seen);
    return missing;
}

/* Versions 10 and 11 carry ids and null names that nobody understood yet. */
static bool names_are_missing(const struct req *r)
{
    const struct metadata_request *in = r->in;
    for (int32_t i = 0; i < in->topics_n; i++) {
        bool id = !uuid_is_zero(in->topics[i].topic_id);
        if (r->version < FIRST_ID_VERSION && (in->topics[i].name.data == NULL || id)) {
            return true;
        }
        if (r->version >= FIRST_ID_VERSION && in->topics[i].name.data == NULL && !id) {
            return true;
        }
    }
    return false;
}

static enum req_status refuse_all(struct req *r)
{
    const struct metadata_request *in = r->in;
    struct metadata_response *out = r->out;
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    for (int32_t i = 0; out->topics != NULL && i < in->topics_n; i++) {
        topic_out *topic = &out->topics[out->topics_n++];
        metadata_response_topic_init(topic);
        topic->name = r->version < FIRST_ID_VERSION && in->topics[i].name.data == NULL
                          ? STR("")
                          : in->topics[i].name;
        topic->topic_id = in->topics[i].topic_id;
        topic->error_code = ERR_INVALID_REQUEST;
    }
    return REQ_DONE;
}

/* On the control thread: writes the missing topics' znodes. What is over CREATED_MAX is created
 * when the client asks again, as it does for every such topic: each is a transaction, and one
 * request must not hold the control thread for longer. */
static void create_missing(struct req *r)
{
    struct metadata_response *out = r->out;
    int32_t created_n = 0;
    for (int32_t i = 0; i < out->topics_n && created_n < CREATED_MAX; i++) {
        topic_out *topic = &out->topics[i];
        if (is_to_be_created(topic)) {
            created_n++;
            err e = topics_auto_create(&r->broker->topics, topic->name);
            topic->error_code = e == OK || e == ERR_TOPIC_ALREADY_EXISTS
                                    ? (int16_t)ERR_LEADER_NOT_AVAILABLE
                                    : kafka_error_wire(e);
        }
    }
}

static void release_snapshot(struct req *r)
{
    metadata_release(r->state);
}

static enum req_status answer(struct req *r, struct metadata *metadata)
{
    bool missing = false;
    fill_brokers(r, metadata);
    if (wants_all(r)) {
        answer_all(r, metadata);
    } else {
        missing = answer_named(r, metadata);
    }
    /* The answer points into the snapshot until it is encoded. */
    r->state = metadata;
    r->release = release_snapshot;
    return missing && creates(r) ? req_on_control(r, create_missing, NULL) : REQ_DONE;
}

/* ---- nothing is known yet ---- */

static bool is_known(struct metadata_wait *wait, const struct metadata *metadata)
{
    (void)wait;
    return metadata->brokers_n > 0;
}

/* NULL: nobody is known yet. */
static struct metadata *acquire_known(struct req *r)
{
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    if (!is_known(NULL, metadata)) {
        metadata_release(metadata);
        return NULL;
    }
    return metadata;
}

static enum req_status waited(struct req *r)
{
    metadata_wait_remove(r->broker->metadata_waits, r->state);
    struct metadata *metadata = acquire_known(r);
    return metadata == NULL ? REQ_CLOSE : answer(r, metadata);
}

/* Until a controller has told this broker who there is. */
static enum req_status wait_until_known(struct req *r)
{
    struct metadata_wait *wait = req_alloc(r, sizeof(*wait));
    if (wait == NULL) {
        return REQ_CLOSE;
    }
    *wait = (struct metadata_wait){.waiter = &r->waiter, .satisfied = is_known};
    r->state = wait;
    req_park(r, FIRST_WORD_WAIT_MS, waited);
    metadata_wait_add(r->broker->metadata_waits, wait);
    return REQ_PARKED;
}

enum req_status handle_metadata(struct req *r)
{
    if (names_are_missing(r)) {
        return refuse_all(r);
    }
    struct metadata *metadata = acquire_known(r);
    return metadata == NULL ? wait_until_known(r) : answer(r, metadata);
}

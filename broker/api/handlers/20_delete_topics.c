/* DeleteTopics: asks for the deletion on the control thread, then waits until the topics are gone.
 * (reference: requests §6.2) */
#include "broker/api/authorize.h"
#include "broker/api/throttling.h"
#include "broker/api/topics_wait.h"
#include "broker/broker.h"

enum { FIRST_STATES_VERSION = 6, FIRST_DELETION_DISABLED_VERSION = 3 };

/* Names and ids of all versions, in one form. */
struct target {
    struct str name;
    struct uuid id;
};

static int32_t targets_of(struct req *r, struct target **targets)
{
    const struct delete_topics_request *in = r->in;
    bool states = r->version >= FIRST_STATES_VERSION;
    int32_t count = states ? in->topics_n : in->topic_names_n;
    *targets = req_array(r, count, sizeof(**targets));
    for (int32_t i = 0; *targets != NULL && i < count; i++) {
        (*targets)[i].name = states ? in->topics[i].name : in->topic_names[i];
        (*targets)[i].id = states ? in->topics[i].topic_id : (struct uuid){{0}};
    }
    return *targets == NULL ? 0 : count;
}

static bool both_given(const struct target *targets, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        if (targets[i].name.data != NULL && !uuid_is_zero(targets[i].id)) {
            return true;
        }
    }
    return false;
}

/* Who knows only an id, and may not describe the topic, is not told its name. */
static err may_delete(struct req *r, bool by_id, struct str name)
{
    bool may = (!by_id || req_may(r, ACL_DESCRIBE, ACL_TOPIC, name)) &&
               req_may(r, ACL_DELETE, ACL_TOPIC, name);
    return may ? OK : ERR_TOPIC_AUTHORIZATION_FAILED;
}

static err delete_one(struct req *r, struct delete_topics_response_topic *out)
{
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    bool by_id = out->name.data == NULL;
    const struct topic_info *topic =
        by_id ? metadata_topic_by_id(metadata, out->topic_id) : metadata_topic(metadata, out->name);
    struct str name = topic == NULL ? out->name : arena_str(&r->arena, topic->name);
    struct uuid id = topic == NULL ? out->topic_id : topic->id;
    int32_t partitions_n = topic == NULL ? 0 : topic->partitions_n;
    metadata_release(metadata);
    if (topic == NULL && by_id) {
        return ERR_UNKNOWN_TOPIC_ID;
    }
    TRY(may_delete(r, by_id, name));
    if (topic == NULL) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    out->name = name;
    out->topic_id = id;
    TRY(throttling_mutate(r, partitions_n));
    return topics_delete(&r->broker->topics, out->name);
}

/* On the control thread. */
static void delete_all(struct req *r)
{
    struct delete_topics_response *out = r->out;
    struct target *targets = NULL;
    int32_t count = targets_of(r, &targets);
    bool disabled = !r->broker->config->delete_topic_enable;
    bool invalid = both_given(targets, count);
    out->topics = req_array(r, count, sizeof(*out->topics));
    for (int32_t i = 0; out->topics != NULL && i < count; i++) {
        struct delete_topics_response_topic *topic = &out->topics[out->topics_n++];
        delete_topics_response_topic_init(topic);
        topic->name = targets[i].name;
        topic->topic_id = targets[i].id;
        err e = invalid                                         ? ERR_INVALID_REQUEST
                : !disabled                                     ? delete_one(r, topic)
                : r->version >= FIRST_DELETION_DISABLED_VERSION ? ERR_TOPIC_DELETION_DISABLED
                                                                : ERR_INVALID_REQUEST;
        topic->error_code = kafka_error_wire(e);
    }
}

static int16_t *error_of(const struct req *r, int32_t at)
{
    return &((struct delete_topics_response *)r->out)->topics[at].error_code;
}

static bool is_gone(const struct req *r, const struct metadata *metadata, int32_t at)
{
    const struct delete_topics_response *out = r->out;
    const struct topic_info *topic = metadata_topic(metadata, out->topics[at].name);
    return topic == NULL || !uuid_equal(topic->id, out->topics[at].topic_id);
}

static enum req_status wait_until_gone(struct req *r)
{
    static const struct topics_wait_rules RULES = {.error_of = error_of, .is_done = is_gone};
    const struct delete_topics_request *in = r->in;
    const struct delete_topics_response *out = r->out;
    r->state = req_alloc(r, sizeof(struct topics_wait));
    return r->state == NULL ? REQ_CLOSE
                            : topics_wait_begin(r, &RULES, out->topics_n, in->timeout_ms);
}

enum req_status handle_delete_topics(struct req *r)
{
    return req_on_control(r, delete_all, wait_until_gone);
}

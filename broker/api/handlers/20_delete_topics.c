/* DeleteTopics: asks for the deletion on the control thread, then waits until the topics are gone.
 * (reference: requests §6.2) */
#include "broker/broker.h"

enum { FIRST_STATES_VERSION = 6, FIRST_DELETION_DISABLED_VERSION = 3 };

struct deletion {
    struct metadata_wait wait;
};

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

static err delete_one(struct req *r, struct delete_topics_response_topic *out)
{
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    bool by_id = out->name.data == NULL;
    const struct topic_info *topic =
        by_id ? metadata_topic_by_id(metadata, out->topic_id) : metadata_topic(metadata, out->name);
    if (topic != NULL) {
        out->name = arena_str(&r->arena, topic->name);
        out->topic_id = topic->id;
    }
    metadata_release(metadata);
    if (topic == NULL) {
        return by_id ? ERR_UNKNOWN_TOPIC_ID : ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
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

static bool is_gone(const struct metadata *metadata, const struct delete_topics_response_topic *t)
{
    const struct topic_info *topic = metadata_topic(metadata, t->name);
    return topic == NULL || !uuid_equal(topic->id, t->topic_id);
}

static bool all_gone(struct metadata_wait *wait, const struct metadata *metadata)
{
    const struct delete_topics_response *out = wait->context;
    for (int32_t i = 0; i < out->topics_n; i++) {
        if (out->topics[i].error_code == OK && !is_gone(metadata, &out->topics[i])) {
            return false;
        }
    }
    return true;
}

static enum req_status time_out(struct req *r)
{
    struct delete_topics_response *out = r->out;
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    for (int32_t i = 0; i < out->topics_n; i++) {
        if (out->topics[i].error_code == OK && !is_gone(metadata, &out->topics[i])) {
            out->topics[i].error_code = ERR_REQUEST_TIMED_OUT;
        }
    }
    metadata_release(metadata);
    return REQ_DONE;
}

static enum req_status waited(struct req *r)
{
    struct deletion *deletion = r->state;
    metadata_wait_remove(r->broker->metadata_waits, &deletion->wait);
    return r->timed_out ? time_out(r) : REQ_DONE;
}

static enum req_status wait_until_gone(struct req *r)
{
    const struct delete_topics_request *in = r->in;
    struct delete_topics_response *out = r->out;
    struct deletion *deletion = req_alloc(r, sizeof(*deletion));
    if (deletion == NULL) {
        return REQ_CLOSE;
    }
    for (int32_t i = 0; in->timeout_ms <= 0 && i < out->topics_n; i++) {
        out->topics[i].error_code = out->topics[i].error_code == OK ? (int16_t)ERR_REQUEST_TIMED_OUT
                                                                    : out->topics[i].error_code;
    }
    if (in->timeout_ms <= 0) {
        return REQ_DONE;
    }
    r->state = deletion;
    req_park(r, in->timeout_ms, waited);
    deletion->wait =
        (struct metadata_wait){.waiter = &r->waiter, .context = r->out, .satisfied = all_gone};
    metadata_wait_add(r->broker->metadata_waits, &deletion->wait);
    return REQ_PARKED;
}

enum req_status handle_delete_topics(struct req *r)
{
    return req_on_control(r, delete_all, wait_until_gone);
}

/* CreateTopics: the wishes are checked and written on the control thread (cluster/topics.h); then
 * the request waits until every new partition has a leader, or until its time is over.
 * (reference: requests §6.1) */
#include "base/seen.h"
#include "broker/api/authorize.h"
#include "broker/api/config_shown.h"
#include "broker/api/throttling.h"
#include "broker/api/topics_wait.h"
#include "broker/broker.h"

#include <stdio.h>

typedef struct create_topics_request_topic topic_in;
typedef struct create_topics_response_topic topic_out;

struct creation {
    struct topics_wait wait; /* first */
    int32_t *counts;         /* how many partitions each topic is to have: not everybody is told */
};

static bool read_assignment(struct req *r, const topic_in *in, struct topic_wish *wish)
{
    struct assigned *assignment = req_array(r, in->assignments_n, sizeof(*assignment));
    for (int32_t i = 0; assignment != NULL && i < in->assignments_n; i++) {
        assignment[i] = (struct assigned){.partition = in->assignments[i].partition_index,
                                          .replicas = {.ids = in->assignments[i].broker_ids,
                                                       .count = in->assignments[i].broker_ids_n}};
    }
    wish->assignment = assignment;
    wish->assignment_n = in->assignments_n;
    return assignment != NULL;
}

/* False: no memory. */
static bool read_wish(struct req *r, const topic_in *in, struct topic_wish *wish)
{
    const struct create_topics_request *request = r->in;
    *wish = (struct topic_wish){.name = in->name,
                                .partitions_n = in->num_partitions,
                                .replication_factor = in->replication_factor,
                                .check = throttling_mutation_check(r),
                                .validate_only = request->validate_only};
    wish->config.entries = req_array(r, in->configs_n, sizeof(*wish->config.entries));
    for (int32_t i = 0; wish->config.entries != NULL && i < in->configs_n; i++) {
        wish->config.entries[wish->config.entries_n++] =
            (struct znode_config_entry){.name = in->configs[i].name, .value = in->configs[i].value};
    }
    return wish->config.entries != NULL && read_assignment(r, in, wish);
}

/* The new topic's configuration, as DescribeConfigs would show it. */
static void echo_config(struct req *r, const struct topic_wish *wish, topic_out *out)
{
    size_t count = 0;
    const struct topic_option *options = topic_options(&count);
    out->configs = req_array(r, (int32_t)count, sizeof(*out->configs));
    out->configs_n = 0;
    for (size_t i = 0; out->configs != NULL && i < count; i++) {
        struct create_topics_response_config *c = &out->configs[out->configs_n++];
        create_topics_response_config_init(c);
        c->name = str_of(options[i].name);
        const char *value = topic_option_default(r->broker->config, &options[i]);
        c->value = config_shown(r, options[i].type, value);
        c->config_source = topic_option_source(r->broker->config, &options[i]);
        for (int32_t k = 0; k < wish->config.entries_n; k++) {
            if (str_is(wish->config.entries[k].name, options[i].name)) {
                struct str sent = arena_str(&r->arena, wish->config.entries[k].value);
                c->value = config_shown(r, options[i].type, sent.data);
                c->config_source = CONFIG_SOURCE_TOPIC;
            }
        }
    }
}

static void create_one(struct req *r, int32_t index, bool named_twice)
{
    const struct create_topics_request *in = r->in;
    struct create_topics_response *response = r->out;
    topic_out *out = &response->topics[index];
    struct topic_wish wish;
    struct topic_made made = {.partitions_n = -1, .replication_factor = -1};
    create_topics_response_topic_init(out);
    out->name = in->topics[index].name;
    out->num_partitions = -1;
    out->replication_factor = -1;
    err e = ERR_INVALID_REQUEST;
    if (named_twice) {
        snprintf(made.message, sizeof(made.message), "Duplicate topic name.");
    } else {
        e = read_wish(r, &in->topics[index], &wish)
                ? topics_create(&r->broker->topics, &wish, &made)
                : ERR_UNKNOWN_SERVER_ERROR;
    }
    out->error_code = kafka_error_wire(e);
    out->error_message = (struct str){0};
    if (e != OK) {
        out->error_message =
            made.message[0] == '\0' ? (struct str){0} : arena_str(&r->arena, str_of(made.message));
        return;
    }
    ((struct creation *)r->state)->counts[index] = made.partitions_n;
    out->topic_id = wish.validate_only ? (struct uuid){{0}} : made.id;
    if (!req_may(r, ACL_DESCRIBE_CONFIGS, ACL_TOPIC, out->name)) {
        out->topic_config_error_code = ERR_TOPIC_AUTHORIZATION_FAILED;
        return;
    }
    out->num_partitions = made.partitions_n;
    out->replication_factor = made.replication_factor;
    echo_config(r, &wish, out);
}

/* On the control thread. */
static void create_all(struct req *r)
{
    const struct create_topics_request *in = r->in;
    struct create_topics_response *out = r->out;
    struct seen seen;
    seen_init(&seen);
    for (int32_t i = 0; i < in->topics_n; i++) {
        (void)seen_add(&seen, &(struct seen_key){.name = in->topics[i].name});
    }
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    for (int32_t i = 0; out->topics != NULL && i < in->topics_n; i++) {
        create_one(r, i, seen_times(&seen, &(struct seen_key){.name = in->topics[i].name}) > 1);
        out->topics_n++;
    }
    seen_deinit(&seen);
}

static int16_t *error_of(const struct req *r, int32_t at)
{
    return &((struct create_topics_response *)r->out)->topics[at].error_code;
}

static bool is_ready(const struct req *r, const struct metadata *metadata, int32_t at)
{
    const struct creation *creation = r->state;
    const topic_out *topic = &((const struct create_topics_response *)r->out)->topics[at];
    return topics_wait_leaders(metadata, topic->name, creation->counts[at]);
}

static void say_late(struct req *r, int32_t at)
{
    struct create_topics_response *out = r->out;
    out->topics[at].error_message = STR("The topic is created; not all of its partitions have a "
                                        "leader yet.");
}

static enum req_status wait_for_leaders(struct req *r)
{
    static const struct topics_wait_rules RULES = {
        .error_of = error_of, .is_done = is_ready, .late = say_late};
    const struct create_topics_request *in = r->in;
    const struct create_topics_response *out = r->out;
    return in->validate_only ? REQ_DONE
                             : topics_wait_begin(r, &RULES, out->topics_n, in->timeout_ms);
}

enum req_status handle_create_topics(struct req *r)
{
    const struct create_topics_request *in = r->in;
    struct creation *creation = req_alloc(r, sizeof(*creation));
    if (creation == NULL) {
        return REQ_CLOSE;
    }
    creation->counts = req_array(r, in->topics_n, sizeof(*creation->counts));
    if (creation->counts == NULL) {
        return REQ_CLOSE;
    }
    r->state = creation;
    return req_on_control(r, create_all, wait_for_leaders);
}

/* What the tests of the controller share: it works on the embedded store, and the messages that it sends
 * are kept as text. Broker 1 is the controller's own; others are registered by the test. */
#ifndef OTTLA_BROKER_TESTS_CONTROLLER_UTIL_H
#define OTTLA_BROKER_TESTS_CONTROLLER_UTIL_H

#include "broker/cluster/controller.h"
#include "broker/cluster/producer_ids.h"
#include "broker/cluster/untold.h"

#include "broker/tests/store_util.h"
#include "protocol/error.h"

#include <stdarg.h>

enum { ARENA_BYTES = 64 << 20, QUEUE_MAX = 64 };

/* Of a broker to StopReplica. */
struct answer {
    int32_t broker;
    int32_t controller_epoch;
    char topic[64];
    struct stop_replica_response_partition_error *partitions; /* of one topic, in the arena */
    int32_t partitions_n;
    int16_t error;
    bool deletes;
    int64_t broker_epoch;
};

static struct {
    char dir[64];
    struct arena arena;
    struct manual_clock clock;
    struct coord *coord;
    struct controller *controller;
    char sent[16384]; /* one line for each message */
    bool delete_topic_enable;
    bool unclean; /* a replica that is not in sync may lead */
    bool speaks_2_8_iv0;
    struct {
        enum coord_watch_type type;
        char path[128];
    } queue[QUEUE_MAX]; /* watches, as the control thread would get them */
    int queue_n;
    struct answer answers[QUEUE_MAX];
    int answers_n;
    int16_t stop_error;
    bool keep_answers;
} t;

/* ---- messages ---- */

__attribute__((format(printf, 1, 2))) UNUSED static void note(const char *format, ...)
{
    size_t at = strlen(t.sent);
    va_list args;
    va_start(args, format);
    vsnprintf(t.sent + at, sizeof(t.sent) - at, format, args);
    va_end(args);
}

UNUSED static void note_ids(const char *name, const int32_t *ids, int32_t count)
{
    note(" %s=", name);
    for (int32_t i = 0; i < count; i++) {
        note(i == 0 ? "%d" : ",%d", ids[i]);
    }
}

UNUSED static void on_leader_and_isr(int32_t broker, const struct leader_and_isr_request *request)
{
    for (int32_t i = 0; i < request->topic_states_n; i++) {
        const struct leader_and_isr_request_topic_state *topic = &request->topic_states[i];
        CU_ASSERT_FALSE(uuid_is_zero(topic->topic_id));
        for (int32_t p = 0; p < topic->partition_states_n; p++) {
            const struct leader_and_isr_request_partition_state *s = &topic->partition_states[p];
            note("lisr to=%d epoch=%d %.*s-%d leader=%d/%d version=%d", broker,
                 request->controller_epoch, (int)topic->topic_name.len, topic->topic_name.data,
                 s->partition_index, s->leader, s->leader_epoch, s->partition_epoch);
            note_ids("replicas", s->replicas, s->replicas_n);
            note_ids("isr", s->isr, s->isr_n);
            if (s->adding_replicas_n > 0 || s->removing_replicas_n > 0) {
                note_ids("adding", s->adding_replicas, s->adding_replicas_n);
                note_ids("removing", s->removing_replicas, s->removing_replicas_n);
            }
            note("%s", s->leader_recovery_state == 1 ? " recovering" : "");
            note(s->is_new ? " new\n" : "\n");
        }
    }
}

UNUSED static void on_update_metadata(int32_t broker, const struct update_metadata_request *request)
{
    note("umr to=%d epoch=%d live=%d", broker, request->controller_epoch, request->live_brokers_n);
    for (int32_t i = 0; i < request->topic_states_n; i++) {
        const struct update_metadata_request_topic_state *topic = &request->topic_states[i];
        for (int32_t p = 0; p < topic->partition_states_n; p++) {
            note(" %.*s-%d:%d", (int)topic->topic_name.len, topic->topic_name.data,
                 topic->partition_states[p].partition_index, topic->partition_states[p].leader);
        }
    }
    note("\n");
}

UNUSED static void on_stop_replica(int32_t broker, const struct stop_replica_request *request)
{
    const struct stop_replica_request_topic_state *topic = &request->topic_states[0];
    CU_ASSERT_FATAL(t.answers_n < QUEUE_MAX);
    struct answer *answer = &t.answers[t.answers_n++];
    *answer = (struct answer){.broker = broker,
                              .controller_epoch = request->controller_epoch,
                              .error = t.stop_error,
                              .deletes = topic->partition_states[0].delete_partition,
                              .broker_epoch = request->broker_epoch};
    snprintf(answer->topic, sizeof(answer->topic), "%.*s", (int)topic->topic_name.len,
             topic->topic_name.data);
    answer->partitions_n = topic->partition_states_n;
    answer->partitions =
        arena_array(&t.arena, (size_t)answer->partitions_n, sizeof(*answer->partitions));
    for (int32_t p = 0; p < answer->partitions_n; p++) {
        answer->partitions[p].partition_index = topic->partition_states[p].partition_index;
    }
    for (int32_t i = 0; i < request->topic_states_n; i++) {
        topic = &request->topic_states[i];
        for (int32_t p = 0; p < topic->partition_states_n; p++) {
            note("stop to=%d %.*s-%d epoch=%d%s\n", broker, (int)topic->topic_name.len,
                 topic->topic_name.data, topic->partition_states[p].partition_index,
                 topic->partition_states[p].leader_epoch,
                 topic->partition_states[p].delete_partition ? " delete" : "");
        }
    }
}

UNUSED static void on_send(void *context, int32_t broker, int16_t api_key, int version,
                           const void *request)
{
    (void)context;
    if (api_key == 4) {
        CU_ASSERT_EQUAL(version, t.speaks_2_8_iv0 ? 4 : 7);
        on_leader_and_isr(broker, request);
    } else if (api_key == 5) {
        CU_ASSERT_EQUAL(version, 4);
        on_stop_replica(broker, request);
    } else {
        CU_ASSERT(api_key == 6 && version == 8);
        on_update_metadata(broker, request);
    }
}

UNUSED static void on_targets(void *context, const struct link_target *targets, int32_t count)
{
    (void)context;
    for (int32_t i = 0; i < count; i++) {
        CU_ASSERT_EQUAL(targets[i].port, 9092 + targets[i].id);
        CU_ASSERT_STRING_EQUAL(targets[i].host, "localhost");
    }
}

/* Was exactly this sent since the last question? */
UNUSED static bool was_sent(const char *expected)
{
    bool same = strcmp(t.sent, expected) == 0;
    if (!same) {
        printf("\nsent:\n%sexpected:\n%s", t.sent, expected);
    }
    t.sent[0] = '\0';
    return same;
}

/* ---- the store ---- */

UNUSED static void on_watch(void *context, enum coord_watch_type type, const char *path)
{
    (void)context;
    CU_ASSERT_FATAL(t.queue_n < QUEUE_MAX);
    t.queue[t.queue_n].type = type;
    snprintf(t.queue[t.queue_n++].path, sizeof(t.queue[0].path), "%s", path);
}

UNUSED static void deliver_answer(void)
{
    struct answer answer = t.answers[0];
    memmove(t.answers, t.answers + 1, (size_t)--t.answers_n * sizeof(t.answers[0]));
    for (int32_t p = 0; p < answer.partitions_n; p++) {
        answer.partitions[p].topic_name = str_of(answer.topic);
        answer.partitions[p].error_code = answer.error;
    }
    struct stop_replica_response response = {.partition_errors = answer.partitions,
                                             .partition_errors_n = answer.partitions_n};
    struct told_request told = {.api_key = 5,
                                .controller_epoch = answer.controller_epoch,
                                .broker_epoch = answer.broker_epoch,
                                .deletes = answer.deletes};
    controller_on_answer(t.controller, answer.broker, &told, &response);
}

/* Hands watches and answers to the controller, until there are none. */
UNUSED static void deliver(void)
{
    while (t.queue_n > 0 || (t.answers_n > 0 && !t.keep_answers)) {
        if (t.queue_n == 0) {
            deliver_answer();
            continue;
        }
        char path[128];
        enum coord_watch_type type = t.queue[0].type;
        snprintf(path, sizeof(path), "%s", t.queue[0].path);
        memmove(t.queue, t.queue + 1, (size_t)--t.queue_n * sizeof(t.queue[0]));
        controller_on_watch(t.controller, type, path);
    }
}

UNUSED static void create(const char *path, struct bytes data, int flags)
{
    struct coord_op op = {.type = COORD_CREATE, .path = path, .data = data, .flags = flags};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    CU_ASSERT(op.error == OK || op.error == E_EXISTS);
}

UNUSED static void create_text(const char *path, const char *text)
{
    create(path, bytes_of(text, strlen(text)), 0);
}

UNUSED static void set_text(const char *path, const char *text)
{
    struct coord_op op = {.type = COORD_SET,
                          .path = path,
                          .data = bytes_of(text, strlen(text)),
                          .version = COORD_ANY_VERSION};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    MUST(op.error);
}

UNUSED static void delete (const char *path)
{
    struct coord_op op = {.type = COORD_DELETE, .path = path, .version = COORD_ANY_VERSION};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    MUST(op.error);
}

UNUSED static bool holds(const char *path, const char *expected)
{
    struct coord_op op = {.type = COORD_GET, .path = path};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    if (expected == NULL) {
        return op.error == E_NOT_FOUND;
    }
    bool same = op.error == OK && bytes_equal(op.value, bytes_of(expected, strlen(expected)));
    if (!same) {
        printf("\n%s: %.*s\n", path, (int)op.value.len, (const char *)op.value.data);
    }
    return same;
}

UNUSED static void register_broker(int32_t id)
{
    struct znode_endpoint endpoint = {STR("PLAINTEXT"), STR("localhost"), 9092 + id,
                                      STR("PLAINTEXT")};
    struct znode_broker broker = {.endpoints = &endpoint, .endpoints_n = 1};
    create(znode_broker_path(&t.arena, id), znode_broker_encode(&t.arena, &broker),
           COORD_EPHEMERAL);
}

/* Each name has an id of its own; that of "a" is UWiCpwSsQ4ivFT6VXwMLDA. */
UNUSED static void create_topic(const char *name, const char *partitions)
{
    struct str node = arena_format(
        &t.arena, "{\"version\":3,\"topic_id\":\"%cWiCpwSsQ4ivFT6VXwMLDA\",\"partitions\":%s}",
        'A' + (name[0] - 'a' + 'U' - 'A') % 26, partitions);
    create_text(znode_topic_config_path(&t.arena, str_of(name)), "{\"version\":1,\"config\":{}}");
    create_text(znode_topic_path(&t.arena, str_of(name)), node.data);
}

UNUSED static bool unclean_allowed(void *context, struct str topic)
{
    (void)context;
    (void)topic;
    return t.unclean;
}

UNUSED static void elect(void)
{
    const struct controller_config config = {
        .broker_id = 1,
        .delete_topic_enable = t.delete_topic_enable,
        .coord = t.coord,
        .clock = &t.clock.clock,
        .random = random_system(),
        .imbalance_percent = 10,
        .listener = "PLAINTEXT",
        .versions = {.leader_and_isr = t.speaks_2_8_iv0 ? 4 : 7,
                     .update_metadata = 8,
                     .stop_replica = 4,
                     .feature_node = 2},
        .links = {.send = on_send, .set_targets = on_targets},
        .unclean_allowed = unclean_allowed};
    t.controller = controller_new(&config);
    MUST(controller_elect(t.controller));
}

UNUSED static void begin(void)
{
    memset(&t, 0, sizeof(t));
    t.delete_topic_enable = true;
    temp_dir_make(t.dir);
    arena_init(&t.arena, ARENA_BYTES);
    manual_clock_init(&t.clock, 1700000000000);
    t.coord = store_open(t.dir, &t.clock.clock, on_watch);
    t.queue_n = 0;
    register_broker(1);
}

UNUSED static void end(void)
{
    controller_free(t.controller);
    coord_close(t.coord);
    arena_deinit(&t.arena);
    temp_dir_remove(t.dir);
}

UNUSED static void restart(void)
{
    controller_free(t.controller);
    coord_close(t.coord);
    t.coord = store_open(t.dir, &t.clock.clock, on_watch);
    t.queue_n = 0;
    register_broker(1);
    elect();
}

/* The state of a partition as the store has it, leader/leader epoch/ISR. */
UNUSED static bool state_is(const char *topic, int32_t partition, int32_t leader,
                            int32_t leader_epoch, const char *isr)
{
    char text[64] = "";
    struct znode_state state;
    struct coord_op get = {.type = COORD_GET,
                           .path = znode_state_path(&t.arena, str_of(topic), partition)};
    MUST(coord_run(t.coord, &get, 1, &t.arena));
    MUST(get.error);
    MUST(znode_state_decode(&t.arena, get.value, &state));
    for (int32_t i = 0; i < state.isr.count; i++) {
        size_t at = strlen(text);
        snprintf(text + at, sizeof(text) - at, i == 0 ? "%d" : ",%d", state.isr.ids[i]);
    }
    bool same =
        state.leader == leader && state.leader_epoch == leader_epoch && strcmp(text, isr) == 0;
    if (!same) {
        printf("\n%s-%d: leader=%d/%d isr=%s\n", topic, partition, state.leader, state.leader_epoch,
               text);
    }
    return same;
}

/* The life of a broker that is registered. */
UNUSED static int64_t epoch_of(int32_t id)
{
    struct coord_op get = {.type = COORD_GET, .path = znode_broker_path(&t.arena, id)};
    MUST(coord_run(t.coord, &get, 1, &t.arena));
    MUST(get.error);
    return get.stat.czxid;
}

/* Brokers 1 to `count`, and a controller that has done all it has to. */
UNUSED static void begin_cluster(int32_t count)
{
    begin();
    for (int32_t id = 2; id <= count; id++) {
        register_broker(id);
    }
    elect();
    deliver();
    t.sent[0] = '\0';
}

/* A topic of which everybody has been told. */
UNUSED static void make_topic(const char *name, const char *partitions)
{
    create_topic(name, partitions);
    deliver();
    t.sent[0] = '\0';
}

#endif

/* What one broker has not been told yet: what goes in, and, as text, what comes out of it. */
#include "broker/cluster/untold.h"

#include "base/tests/suite.h"

#include <stdarg.h>

enum { ARENA_BYTES = 64 << 20, BODY_BYTES = 64 << 20, DURING_DELETE = -2, MANY = 10000 };

static struct {
    struct untold untold;
    struct arena arena;
    char told[4096]; /* one line for each request */
} t;

static void begin(void)
{
    memset(&t, 0, sizeof(t));
    untold_init(&t.untold);
    arena_init(&t.arena, ARENA_BYTES);
}

static void end(void)
{
    untold_deinit(&t.untold);
    arena_deinit(&t.arena);
}

/* ---- what goes in ---- */

static void take(int16_t api_key, int version, const void *request)
{
    struct untold from;
    untold_init_of(&from, api_key, version, request);
    untold_take(&t.untold, &from);
    untold_deinit(&from);
}

static void add_role(const char *topic, int32_t partition, int32_t leader, int32_t leader_epoch,
                     bool is_new)
{
    int32_t ids[] = {1, 2};
    struct leader_and_isr_request_partition_state state;
    struct leader_and_isr_request_topic_state of = {
        .topic_name = str_of(topic), .partition_states = &state, .partition_states_n = 1};
    struct leader_and_isr_request request;
    leader_and_isr_request_partition_state_init(&state);
    state.partition_index = partition;
    state.leader = leader;
    state.leader_epoch = leader_epoch;
    state.isr = state.replicas = ids;
    state.isr_n = state.replicas_n = 2;
    state.is_new = is_new;
    leader_and_isr_request_init(&request);
    request.controller_epoch = leader_epoch;
    request.broker_epoch = 100;
    request.topic_states = &of;
    request.topic_states_n = 1;
    take(KEY_LEADER_AND_ISR, 7, &request);
    ids[0] = ids[1] = 99; /* it was copied */
}

/* Who lives: brokers 1 to `live`. With a topic (may be NULL) also the state of one of its partitions. */
static void add_metadata(int32_t live, const char *topic, int32_t partition, int32_t leader)
{
    struct update_metadata_request_endpoint endpoints[] = {
        {.port = 9, .host = STR("outside"), .listener = STR("OUT")},
        {.port = 8, .host = STR("inside"), .listener = STR("IN")}};
    struct update_metadata_request_live_broker brokers[8];
    struct update_metadata_request_partition_state state;
    struct update_metadata_request_topic_state of = {.topic_name =
                                                         str_of(topic == NULL ? "" : topic),
                                                     .partition_states = &state,
                                                     .partition_states_n = 1};
    struct update_metadata_request request;
    for (int32_t i = 0; i < live; i++) {
        brokers[i] = (struct update_metadata_request_live_broker){
            .id = i + 1, .endpoints = endpoints, .endpoints_n = 2};
    }
    update_metadata_request_partition_state_init(&state);
    state.partition_index = partition;
    state.leader = leader;
    update_metadata_request_init(&request);
    request.live_brokers = brokers;
    request.live_brokers_n = live;
    request.topic_states = &of;
    request.topic_states_n = topic == NULL ? 0 : 1;
    take(KEY_UPDATE_METADATA, 8, &request);
    memset(endpoints, 0xee, sizeof(endpoints));
}

static void add_stop(const char *topic, int32_t partition, bool delete)
{
    struct stop_replica_request_partition_state state;
    struct stop_replica_request_topic_state of = {
        .topic_name = str_of(topic), .partition_states = &state, .partition_states_n = 1};
    struct stop_replica_request request;
    stop_replica_request_partition_state_init(&state);
    state.partition_index = partition;
    state.delete_partition = delete;
    stop_replica_request_init(&request);
    request.topic_states = &of;
    request.topic_states_n = 1;
    take(KEY_STOP_REPLICA, 4, &request);
}

/* ---- what comes out ---- */

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    size_t at = strlen(t.told);
    va_list args;
    va_start(args, format);
    vsnprintf(t.told + at, sizeof(t.told) - at, format, args);
    va_end(args);
}

static void note_roles(const struct leader_and_isr_request *request)
{
    note("roles");
    for (int32_t i = 0; i < request->topic_states_n; i++) {
        const struct leader_and_isr_request_topic_state *topic = &request->topic_states[i];
        for (int32_t p = 0; p < topic->partition_states_n; p++) {
            const struct leader_and_isr_request_partition_state *s = &topic->partition_states[p];
            CU_ASSERT_FATAL(s->isr_n == 2 && s->replicas_n == 2);
            CU_ASSERT(s->isr[0] == 1 && s->isr[1] == 2 && s->replicas[1] == 2);
            note(" %.*s-%d:%d/%d%s", (int)topic->topic_name.len, topic->topic_name.data,
                 s->partition_index, s->leader, s->leader_epoch, s->is_new ? "new" : "");
        }
    }
    for (int32_t i = 0; i < request->live_leaders_n; i++) {
        note(" %d@%.*s:%d", request->live_leaders[i].broker_id,
             (int)request->live_leaders[i].host_name.len, request->live_leaders[i].host_name.data,
             request->live_leaders[i].port);
    }
}

static void note_metadata(const struct update_metadata_request *request)
{
    note("metadata live=%d", request->live_brokers_n);
    for (int32_t i = 0; i < request->live_brokers_n; i++) {
        CU_ASSERT_EQUAL_FATAL(request->live_brokers[i].endpoints_n, 2);
        CU_ASSERT(str_is(request->live_brokers[i].endpoints[1].host, "inside"));
    }
    for (int32_t i = 0; i < request->topic_states_n; i++) {
        const struct update_metadata_request_topic_state *topic = &request->topic_states[i];
        for (int32_t p = 0; p < topic->partition_states_n; p++) {
            note(" %.*s-%d:%d", (int)topic->topic_name.len, topic->topic_name.data,
                 topic->partition_states[p].partition_index, topic->partition_states[p].leader);
        }
    }
}

static void note_stops(const struct stop_replica_request *request)
{
    note("stop");
    for (int32_t i = 0; i < request->topic_states_n; i++) {
        const struct stop_replica_request_topic_state *topic = &request->topic_states[i];
        for (int32_t p = 0; p < topic->partition_states_n; p++) {
            note(" %.*s-%d%s", (int)topic->topic_name.len, topic->topic_name.data,
                 topic->partition_states[p].partition_index,
                 topic->partition_states[p].delete_partition ? "delete" : "");
        }
    }
}

union any {
    struct leader_and_isr_request roles;
    struct update_metadata_request metadata;
    struct stop_replica_request stops;
};

/* Takes the next request out; false: there is none. */
static bool next(union any *request, struct told_request *told)
{
    struct writer body;
    writer_init(&body, BODY_BYTES);
    bool is_one = untold_next(&t.untold, "IN", &body, told);
    if (is_one) {
        MUST(told->error);
        const struct message *message = api_schema_of(told->api_key)->request;
        struct bytes copy = bytes_of(arena_copy(&t.arena, bytes_of(body.data, body.len)), body.len);
        struct reader reader = reader_of(copy);
        message_init(message, request);
        MUST(message_decode(message, told->version, &reader, &t.arena, request));
    }
    writer_deinit(&body);
    return is_one;
}

static void drain(void)
{
    union any request;
    struct told_request told;
    while (next(&request, &told)) {
        switch (told.api_key) {
        case KEY_LEADER_AND_ISR:
            note_roles(&request.roles);
            break;
        case KEY_STOP_REPLICA:
            note_stops(&request.stops);
            break;
        default:
            note_metadata(&request.metadata);
        }
        note("\n");
    }
}

/* Is this all that it is told? */
static bool told(const char *expected)
{
    t.told[0] = '\0';
    drain();
    bool same = strcmp(t.told, expected) == 0;
    if (!same) {
        printf("\ntold:\n%sexpected:\n%s", t.told, expected);
    }
    return same;
}

/* ---- tests ---- */

static void test_nothing(void)
{
    begin();
    CU_ASSERT(told(""));
    end();
}

/* In whatever order they came. */
static void test_order(void)
{
    begin();
    add_stop("s", 0, false);
    add_metadata(2, "m", 0, 1);
    add_role("r", 0, 1, 5, false);
    add_metadata(1, NULL, 0, 0);
    CU_ASSERT(told("metadata live=1\nroles r-0:1/5 1@inside:8\nmetadata live=1 m-0:1\nstop s-0\n"));
    CU_ASSERT(told(""));
    end();
}

static void test_newest_wins(void)
{
    begin();
    add_role("r", 0, 1, 5, false);
    add_role("q", 3, 1, 5, false);
    add_role("r", 1, 1, 6, false);
    add_role("r", 0, 2, 7, false);
    add_metadata(2, "r", 0, 1);
    add_metadata(2, "r", 0, 2);
    add_stop("s", 0, false);
    add_stop("s", 0, false);
    CU_ASSERT(told("roles q-3:1/5 r-0:2/7 r-1:1/6 1@inside:8 2@inside:8\n"
                   "metadata live=2 r-0:2\nstop s-0\n"));
    end();
}

/* A broker that has not heard of a partition may only make it when it is told that it is new. */
static void test_stays_new(void)
{
    begin();
    add_role("r", 0, 1, 5, true);
    add_role("r", 0, 2, 6, false);
    CU_ASSERT(told("roles r-0:2/6new\n"));
    add_role("r", 0, 2, 7, false);
    CU_ASSERT(told("roles r-0:2/7\n"));
    end();
}

/* Each is answered, and the answer does not say which it was. */
static void test_stops_and_deletions_are_two(void)
{
    begin();
    add_stop("d", 0, true);
    add_stop("s", 0, false);
    add_stop("s", 0, true);
    add_stop("s", 0, false);
    union any request;
    struct told_request told_one;
    CU_ASSERT(next(&request, &told_one) && !told_one.deletes);
    note_stops(&request.stops);
    CU_ASSERT_STRING_EQUAL(t.told, "stop s-0");
    CU_ASSERT(next(&request, &told_one) && told_one.deletes);
    t.told[0] = '\0';
    note_stops(&request.stops);
    CU_ASSERT_STRING_EQUAL(t.told, "stop d-0delete s-0delete");
    end();
}

/* A topic that is deleted and made again: what is new comes after what ends the old one. */
static void test_rounds(void)
{
    begin();
    add_role("r", 0, 1, 5, false);
    add_role("other", 0, 1, 5, false);
    add_metadata(1, "r", 0, DURING_DELETE);
    add_stop("r", 0, false);
    add_stop("r", 0, true);
    add_role("r", 0, 1, 0, true);
    add_metadata(1, "r", 0, 1);
    add_role("other", 0, 1, 6,
             false); /* by now in the last round, and after its own earlier state */
    CU_ASSERT(told("roles other-0:1/5 r-0:1/5 1@inside:8\n"
                   "metadata live=1 r-0:-2\nstop r-0\nstop r-0delete\n"
                   "roles other-0:1/6 r-0:1/0new 1@inside:8\nmetadata live=1 r-0:1\n"));
    end();
}

/* The deletion's own messages do not wait for each other, whichever comes first. */
static void test_deletion_is_one_round(void)
{
    begin();
    add_stop("r", 0, true);
    add_metadata(1, "r", 0, DURING_DELETE);
    CU_ASSERT(told("metadata live=1 r-0:-2\nstop r-0delete\n"));
    end();
}

/* Another deletion before the first one is told: each life of the topic has its round. */
static void test_deleted_twice(void)
{
    begin();
    for (int i = 0; i < 2; i++) {
        add_role("r", 0, 1, i, true);
        add_stop("r", 0, true);
    }
    CU_ASSERT(told("roles r-0:1/0new\nstop r-0delete\nroles r-0:1/1new\nstop r-0delete\n"));
    end();
}

/* What has been taken out is on its way: what comes then is told after it. */
static void test_half_told(void)
{
    union any request;
    struct told_request told_one;
    begin();
    add_role("r", 0, 1, 5, false);
    add_metadata(1, "r", 0, 1);
    CU_ASSERT_FATAL(next(&request, &told_one));
    CU_ASSERT_EQUAL(told_one.api_key, KEY_LEADER_AND_ISR);
    CU_ASSERT_EQUAL(told_one.controller_epoch, 5);
    CU_ASSERT_EQUAL(request.roles.broker_epoch, 100);
    add_role("r", 0, 2, 6, false);
    CU_ASSERT(told("roles r-0:2/6\nmetadata live=1 r-0:1\n"));
    end();
}

/* Live leaders are those that a request names, and that live; the newest brokers go with all of it. */
static void test_brokers(void)
{
    begin();
    add_metadata(3, "m", 0, 1);
    add_role("r", 0, 2, 1, false);
    add_role("r", 1, 3, 1, false);
    add_role("r", 2, 2, 1, false);
    add_role("r", 3, -1, 1, false);
    add_metadata(2, NULL, 0, 0);
    CU_ASSERT(told("metadata live=2\nroles r-0:2/1 r-1:3/1 r-2:2/1 r-3:-1/1 2@inside:8\n"
                   "metadata live=2 m-0:1\n"));
    add_role("r", 0, 1, 2, false); /* who lives is known from then on */
    CU_ASSERT(told("roles r-0:1/2 1@inside:8\n"));
    end();
}

/* A broker that does not answer for long: one state for each partition, whatever happens to it. */
static void test_many(void)
{
    union any request;
    struct told_request told_one;
    begin();
    for (int32_t i = 0; i < MANY; i++) {
        add_role("r", i / 2, 1, i, false);
    }
    CU_ASSERT_FATAL(next(&request, &told_one));
    CU_ASSERT_EQUAL_FATAL(request.roles.topic_states_n, 1);
    CU_ASSERT_EQUAL_FATAL(request.roles.topic_states[0].partition_states_n, MANY / 2);
    for (int32_t i = 0; i < MANY / 2; i++) {
        const struct leader_and_isr_request_partition_state *state =
            &request.roles.topic_states[0].partition_states[i];
        CU_ASSERT_FATAL(state->partition_index == i && state->leader_epoch == 2 * i + 1);
    }
    CU_ASSERT(told(""));
    end();
}

/* What cannot be encoded is said, and what comes after it is told all the same. */
static void test_cannot_be_encoded(void)
{
    struct told_request told_one;
    struct writer body;
    begin();
    add_role("r", 0, 1, 5, false);
    add_stop("s", 0, false);
    writer_init(&body, 4);
    CU_ASSERT(untold_next(&t.untold, "IN", &body, &told_one));
    CU_ASSERT_NOT_EQUAL(told_one.error, OK);
    writer_deinit(&body);
    CU_ASSERT(told("stop s-0\n"));
    end();
}

SUITE("untold", TEST(test_nothing), TEST(test_order), TEST(test_newest_wins), TEST(test_stays_new),
      TEST(test_stops_and_deletions_are_two), TEST(test_rounds), TEST(test_deletion_is_one_round),
      TEST(test_deleted_twice), TEST(test_half_told), TEST(test_brokers), TEST(test_many),
      TEST(test_cannot_be_encoded))

/* What leaders want of their ISRs, on its way to a controller on the same broker, which the test plays:
 * its loop is turned when the test says so. */
#include "broker/tests/partition_util.h"

#include "broker/cluster/isr_changes.h"
#include "protocol/error.h"

#include <stdarg.h>

enum {
    ME = 1,
    OTHER = 2,
    OTHERS_EPOCH = 88,
    LAG_MS = 1000,
    AGAIN_MS = 50,
    LEADER_EPOCH = 4,
    PARTITIONS = 3
};

static const struct topic_partition NAMES[PARTITIONS] = {
    {STR("a"), 0}, {STR("b"), 0}, {STR("a"), 1}};

static struct {
    struct place place;
    struct loop *control;
    struct loop *state;
    struct metadata_cache *metadata;
    struct to_controller *to;
    struct isr_changes *changes;
    struct partition_env env;
    struct kept kept[PARTITIONS];
    char asked[512];             /* one line for each request */
    int16_t error;               /* of the next answers */
    int16_t errors[PARTITIONS];  /* of their partitions; 0: as wanted */
    bool leaves_out[PARTITIONS]; /* nothing is said of it */
} t;

/* ---- the controller ---- */

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    size_t at = strlen(t.asked);
    va_list args;
    va_start(args, format);
    vsnprintf(t.asked + at, sizeof(t.asked) - at, format, args);
    va_end(args);
}

static int index_of(struct str topic, int32_t partition)
{
    for (int i = 0; i < PARTITIONS; i++) {
        if (str_equal(topic, NAMES[i].topic) && NAMES[i].partition == partition) {
            return i;
        }
    }
    CU_FAIL_FATAL("no such partition");
    return -1;
}

static void answer_partition(int i, const struct alter_partition_request_partition *in,
                             struct arena *arena, struct alter_partition_response_partition *out)
{
    *out = (struct alter_partition_response_partition){
        .partition_index = in->partition_index, .error_code = t.errors[i], .leader_id = -1};
    if (out->error_code == OK) {
        out->leader_id = ME;
        out->leader_epoch = in->leader_epoch;
        out->partition_epoch = in->partition_epoch + 1;
        out->isr = arena_array(arena, (size_t)in->new_isr_n, sizeof(*out->isr));
        memcpy(out->isr, in->new_isr, (size_t)in->new_isr_n * sizeof(*out->isr));
        out->isr_n = in->new_isr_n;
    }
}

static void note_partition(struct str topic, const struct alter_partition_request_partition *in)
{
    CU_ASSERT_EQUAL(in->new_isr_with_epochs_n, in->new_isr_n);
    note(" %.*s-%d:%d/%d:", (int)topic.len, topic.data, in->partition_index, in->leader_epoch,
         in->partition_epoch);
    for (int32_t i = 0; i < in->new_isr_n; i++) {
        CU_ASSERT_EQUAL(in->new_isr_with_epochs[i].broker_id, in->new_isr[i]);
        CU_ASSERT_EQUAL(in->new_isr_with_epochs[i].broker_epoch,
                        in->new_isr[i] == OTHER ? OTHERS_EPOCH : -1);
        note(i == 0 ? "%d" : ",%d", in->new_isr[i]);
    }
}

static void answer(void *context, int16_t api_key, const void *request, struct arena *arena,
                   void *response)
{
    const struct alter_partition_request *in = request;
    struct alter_partition_response *out = response;
    (void)context;
    CU_ASSERT_EQUAL(api_key, KEY_ALTER_PARTITION);
    CU_ASSERT(in->broker_id == ME && in->broker_epoch == 77);
    out->error_code = t.error;
    out->topics = arena_array(arena, (size_t)in->topics_n, sizeof(*out->topics));
    for (int32_t n = 0; n < in->topics_n; n++) {
        const struct alter_partition_request_topic *topic = &in->topics[n];
        struct alter_partition_response_topic *to = &out->topics[out->topics_n++];
        *to = (struct alter_partition_response_topic){.topic_id = topic->topic_id};
        to->partitions = arena_array(arena, (size_t)topic->partitions_n, sizeof(*to->partitions));
        for (int32_t p = 0; p < topic->partitions_n; p++) {
            int i = index_of(topic->topic_name, topic->partitions[p].partition_index);
            note_partition(topic->topic_name, &topic->partitions[p]);
            if (!t.leaves_out[i]) {
                answer_partition(i, &topic->partitions[p], arena,
                                 &to->partitions[to->partitions_n++]);
            }
        }
    }
    note("\n");
}

static int64_t broker_epoch(void *context)
{
    (void)context;
    return 77;
}

/* ---- life ---- */

static void know_controller(int32_t id)
{
    struct update_metadata_request update;
    update_metadata_request_init(&update);
    update.controller_id = id;
    metadata_update(t.metadata, &update, NULL, NULL);
}

static void begin(void)
{
    memset(&t, 0, sizeof(t));
    place_make(&t.place);
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &t.control));
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &t.state));
    t.metadata = metadata_cache_new();
    know_controller(ME);
    t.to = to_controller_new(&(struct to_controller_config){.broker_id = ME,
                                                            .state = t.state,
                                                            .control = t.control,
                                                            .metadata = t.metadata,
                                                            .listener = "IN",
                                                            .answer = answer});
    t.changes = isr_changes_new(&(struct isr_changes_config){.broker_id = ME,
                                                             .state = t.state,
                                                             .clock = &t.place.clock.clock,
                                                             .to = t.to,
                                                             .lag_ms = LAG_MS,
                                                             .broker_epoch = broker_epoch});
    t.env = (struct partition_env){.broker_id = ME,
                                   .clock = &t.place.clock.clock,
                                   .replica_lag_ms = LAG_MS,
                                   .isr_wanted = isr_changes_wanted,
                                   .behind = isr_changes_behind,
                                   .isr_context = t.changes};
    for (int i = 0; i < PARTITIONS; i++) {
        struct uuid id = {{(uint8_t)(NAMES[i].topic.data[0])}};
        kept_open(&t.kept[i], &t.place, &t.env, NAMES[i], id);
    }
}

static void end(void)
{
    while (loop_drain(t.control) || loop_drain(t.state)) {
    }
    to_controller_stop(t.to);
    isr_changes_stop(t.changes);
    while (loop_drain(t.control) || loop_drain(t.state)) {
    }
    to_controller_free(t.to);
    isr_changes_free(t.changes);
    for (int i = 0; i < PARTITIONS; i++) {
        kept_close(&t.kept[i]);
    }
    metadata_cache_free(t.metadata);
    loop_free(t.control);
    loop_free(t.state);
    place_remove(&t.place);
}

static void settle(void)
{
    while (loop_turn(t.state) || loop_turn(t.control)) {
    }
}

/* The controller has not come to it. */
static void settle_here(void)
{
    while (loop_turn(t.state)) {
    }
}

static void pass(int64_t ms)
{
    t.place.clock.now_ms += ms;
    settle();
}

static bool idle(void)
{
    return loop_next_due_ms(t.state) == INT64_MAX;
}

/* Once it has been seen that nobody is behind. */
static bool is_idle_soon(void)
{
    pass(LAG_MS / 2);
    return idle();
}

/* Was exactly this asked since the last question? */
static bool was_asked(const char *expected)
{
    bool same = strcmp(t.asked, expected) == 0;
    if (!same) {
        printf("\nasked:\n%sexpected:\n%s", t.asked, expected);
    }
    t.asked[0] = '\0';
    return same;
}

/* ---- partitions ---- */

/* This broker leads, with the first `isr_n` replicas in sync. */
static void lead(int i, int32_t leader_epoch, int isr_n)
{
    static const int32_t REPLICAS[] = {ME, OTHER};
    struct partition_state state = {.leader = ME,
                                    .leader_epoch = leader_epoch,
                                    .isr = {.ids = REPLICAS, .count = isr_n},
                                    .replicas = {.ids = REPLICAS, .count = 2}};
    struct role_change change;
    MUST(partition_become(t.kept[i].p, &state, &change));
}

/* The other replica has all that is here: if it is not in sync, it should be. */
static void catch_up(int i)
{
    int64_t end = plog_end_offset(t.kept[i].log);
    const struct replica_fetch fetch = {.offset = end,
                                        .leader_end_offset = end,
                                        .leader_epoch = partition_role(t.kept[i].p).leader_epoch,
                                        .broker_epoch = OTHERS_EPOCH};
    partition_replica_fetched(t.kept[i].p, OTHER, &fetch);
}

static void want(int i)
{
    lead(i, LEADER_EPOCH, 1);
    catch_up(i);
}

/* ---- tests ---- */

static void test_one(void)
{
    begin();
    want(0);
    CU_ASSERT(was_asked(""));
    settle();
    CU_ASSERT(was_asked(" a-0:4/0:1,2\n"));
    catch_up(0);
    pass(10 * LAG_MS);
    CU_ASSERT(was_asked("")); /* that is how it is */
    CU_ASSERT(idle());
    end();
}

/* What comes while a request is on its way goes into the next one. */
static void test_batches(void)
{
    begin();
    want(0);
    settle_here();
    want(2);
    want(1);
    settle_here();
    settle();
    CU_ASSERT(was_asked(" a-0:4/0:1,2\n a-1:4/0:1,2 b-0:4/0:1,2\n"));
    end();
}

static void test_one_topic_once(void)
{
    begin();
    want(1);
    settle_here();
    want(0);
    want(2);
    settle();
    CU_ASSERT(was_asked(" b-0:4/0:1,2\n a-0:4/0:1,2 a-1:4/0:1,2\n"));
    end();
}

/* The whole request has failed: all of it again, with what has come meanwhile. */
static void test_not_controller(void)
{
    begin();
    t.error = ERR_NOT_CONTROLLER;
    want(0);
    settle();
    CU_ASSERT(was_asked(" a-0:4/0:1,2\n"));
    want(1);
    pass(AGAIN_MS - 1);
    CU_ASSERT(was_asked(""));
    pass(1);
    CU_ASSERT(was_asked(" a-0:4/0:1,2 b-0:4/0:1,2\n"));
    t.error = OK;
    pass(AGAIN_MS);
    CU_ASSERT(was_asked(" a-0:4/0:1,2 b-0:4/0:1,2\n"));
    CU_ASSERT(is_idle_soon());
    end();
}

static void test_nobody_answers(void)
{
    begin();
    know_controller(-1);
    want(0);
    for (int i = 0; i < 3; i++) {
        settle();
        CU_ASSERT_EQUAL(loop_next_due_ms(t.state), loop_now_ms(t.state) + AGAIN_MS);
        pass(AGAIN_MS);
    }
    CU_ASSERT(was_asked(""));
    know_controller(ME);
    pass(AGAIN_MS);
    CU_ASSERT(was_asked(" a-0:4/0:1,2\n"));
    CU_ASSERT(is_idle_soon());
    end();
}

/* One is refused, one is to wait for the controller's word, one must ask again. */
static void test_each_has_its_answer(void)
{
    begin();
    t.errors[0] = ERR_INELIGIBLE_REPLICA;
    t.errors[1] = ERR_INVALID_UPDATE_VERSION;
    t.errors[2] = ERR_UNKNOWN_SERVER_ERROR;
    for (int i = 0; i < PARTITIONS; i++) {
        want(i);
    }
    settle_here();
    settle();
    t.asked[0] = '\0';
    memset(t.errors, 0, sizeof(t.errors));
    pass(AGAIN_MS);
    CU_ASSERT(was_asked(" a-1:4/0:1,2\n"));
    for (int i = 0; i < PARTITIONS; i++) {
        catch_up(i);
    }
    pass(AGAIN_MS);
    CU_ASSERT(was_asked(" a-0:4/0:1,2\n")); /* which may try anew */
    lead(1, LEADER_EPOCH + 1, 1);
    catch_up(1);
    settle();
    CU_ASSERT(was_asked(" b-0:5/0:1,2\n")); /* that was the word */
    end();
}

/* An answer that says nothing of a partition is none. */
static void test_left_out(void)
{
    begin();
    t.leaves_out[0] = true;
    want(0);
    settle();
    CU_ASSERT(was_asked(" a-0:4/0:1,2\n"));
    pass(AGAIN_MS);
    CU_ASSERT(was_asked(" a-0:4/0:1,2\n"));
    t.leaves_out[0] = false;
    pass(AGAIN_MS);
    CU_ASSERT(was_asked(" a-0:4/0:1,2\n"));
    CU_ASSERT(is_idle_soon());
    end();
}

/* When its turn comes it wants nothing any more: somebody else leads, or it has begun anew. */
static void test_not_wanted_any_more(void)
{
    begin();
    want(0);
    want(1);
    lead(1, LEADER_EPOCH + 1, 2);
    struct role_change change;
    int32_t other = OTHER;
    struct partition_state state = {.leader = OTHER,
                                    .leader_epoch = LEADER_EPOCH + 1,
                                    .isr = {.ids = &other, .count = 1},
                                    .replicas = {.ids = &other, .count = 1}};
    MUST(partition_become(t.kept[0].p, &state, &change));
    settle();
    CU_ASSERT(was_asked(""));
    CU_ASSERT(is_idle_soon());
    end();
}

/* It wants the same twice, by two epochs, before it is asked for. */
static void test_once_each(void)
{
    begin();
    want(0);
    lead(0, LEADER_EPOCH + 1, 1);
    catch_up(0);
    settle();
    CU_ASSERT(was_asked(" a-0:5/0:1,2\n"));
    end();
}

/* Looked at twice in the time that a member may lag, and only while one is behind. */
static void test_lag(void)
{
    begin();
    lead(0, LEADER_EPOCH, 2);
    catch_up(0);
    settle();
    CU_ASSERT(is_idle_soon());
    kept_append(&t.kept[0], 1);
    settle();
    CU_ASSERT_EQUAL(loop_next_due_ms(t.state), loop_now_ms(t.state) + LAG_MS / 2);
    catch_up(0);
    pass(LAG_MS / 2);
    CU_ASSERT(idle());
    catch_up(0);
    kept_append(&t.kept[0], 1);
    settle();
    pass(LAG_MS / 2);
    CU_ASSERT(was_asked("") && !idle());
    pass(LAG_MS / 2); /* just as long as it may */
    CU_ASSERT(was_asked("") && !idle());
    pass(LAG_MS / 2);
    CU_ASSERT(was_asked(" a-0:4/0:1\n"));
    CU_ASSERT(is_idle_soon());
    catch_up(0);
    settle();
    CU_ASSERT(was_asked(" a-0:4/1:1,2\n"));
    end();
}

/* Whatever is under way, or has not come here yet. */
static void test_stopped(void)
{
    begin();
    want(0);
    settle_here();
    want(1);
    lead(2, LEADER_EPOCH, 2);
    kept_append(&t.kept[2], 1);
    settle_here();
    lead(2, LEADER_EPOCH + 1, 1);
    catch_up(2);
    end();
}

SUITE("isr_changes", TEST(test_one), TEST(test_batches), TEST(test_one_topic_once),
      TEST(test_not_controller), TEST(test_nobody_answers), TEST(test_each_has_its_answer),
      TEST(test_left_out), TEST(test_not_wanted_any_more), TEST(test_once_each), TEST(test_lag),
      TEST(test_stopped))

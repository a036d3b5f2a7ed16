/* A broker that is to stop asks its controller, which the test plays, to let others lead. */
#include "broker/cluster/leaving.h"

#include "broker/tests/played.h"
#include "protocol/error.h"

enum {
    ME = 1,
    OTHER = 2,
    NEXT = 3,
    KEY = 7,
    VERSION = 3,
    EPOCH = 88,
    TRIES = 3,
    PAUSE_MS = 5000,
    LOOK_MS = 10,
    TIMEOUT_MS = 30000
};

static struct {
    struct manual_clock clock;
    struct loop *state;
    struct workers *workers;
    struct metadata_cache *metadata;
    struct leaving *leaving;
    struct played other;
    struct played next;
    bool needed;
    int begun_n;
    int done_n;
} t;

static int64_t broker_epoch(void *context)
{
    CU_ASSERT_PTR_EQUAL(context, &t);
    return EPOCH;
}

static void begins(void *context)
{
    CU_ASSERT_PTR_EQUAL(context, &t);
    t.begun_n++;
}

static bool is_needed(void *context)
{
    CU_ASSERT_PTR_EQUAL(context, &t);
    return t.needed;
}

static void on_done(void *context)
{
    CU_ASSERT_PTR_EQUAL(context, &t);
    t.done_n++;
}

static void settle(void)
{
    while (loop_turn(t.state)) {
    }
}

static void pass(int64_t ms)
{
    t.clock.now_ms += ms;
    settle();
}

/* So many brokers live, and that one is the controller. */
static void know(int32_t brokers_n, int32_t controller)
{
    struct update_metadata_request_endpoint at[] = {
        {.port = t.other.port, .host = STR("127.0.0.1"), .listener = STR("IN")},
        {.port = t.next.port, .host = STR("127.0.0.1"), .listener = STR("IN")}};
    struct update_metadata_request_live_broker brokers[] = {
        {.id = ME},
        {.id = OTHER, .endpoints = &at[0], .endpoints_n = 1},
        {.id = NEXT, .endpoints = &at[1], .endpoints_n = 1}};
    struct update_metadata_request update;
    update_metadata_request_init(&update);
    update.controller_id = controller;
    update.live_brokers = brokers;
    update.live_brokers_n = brokers_n;
    metadata_update(t.metadata, &update, NULL, NULL);
}

static void begin(void)
{
    memset(&t, 0, sizeof(t));
    manual_clock_init(&t.clock, 1000000);
    MUST(loop_new(&t.clock.clock, sockets_system(), &t.state));
    t.workers = workers_new(&(struct workers_config){.threads = threads_system(),
                                                     .sockets = sockets_system(),
                                                     .clock = clock_system(),
                                                     .threads_max = 1,
                                                     .queued_max = 10,
                                                     .queued_bytes_max = 1 << 20});
    t.metadata = metadata_cache_new();
    played_begin(&t.other, settle);
    played_begin(&t.next, settle);
    t.leaving = leaving_new(&(struct leaving_config){.broker_id = ME,
                                                     .state = t.state,
                                                     .workers = t.workers,
                                                     .metadata = t.metadata,
                                                     .listener = "IN",
                                                     .version = VERSION,
                                                     .tries_max = TRIES,
                                                     .pause_ms = PAUSE_MS,
                                                     .connect_timeout_ms = 10000,
                                                     .timeout_ms = TIMEOUT_MS,
                                                     .broker_epoch = broker_epoch,
                                                     .begins = begins,
                                                     .is_needed = is_needed,
                                                     .context = &t});
    know(3, OTHER);
}

static void end(void)
{
    leaving_free(t.leaving);
    workers_stop(t.workers);
    workers_free(t.workers);
    metadata_cache_free(t.metadata);
    loop_free(t.state);
    played_end(&t.other);
    played_end(&t.next);
}

static void leave(void)
{
    leaving_begin(t.leaving, on_done, &t);
    settle();
}

static void get_at(struct played *b)
{
    const struct controlled_shutdown_request *request = played_next(b, KEY);
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    CU_ASSERT_EQUAL(b->asked.version, VERSION);
    CU_ASSERT(str_is(b->client_id, "1"));
    CU_ASSERT(request->broker_id == ME && request->broker_epoch == EPOCH);
}

static void get(void)
{
    get_at(&t.other);
}

static void answer(int16_t error, int32_t remaining_n)
{
    struct controlled_shutdown_response_remaining_partition remaining[2] = {
        {.topic_name = STR("a"), .partition_index = 0},
        {.topic_name = STR("a"), .partition_index = 1}};
    struct controlled_shutdown_response response = {.error_code = error,
                                                    .remaining_partitions = remaining,
                                                    .remaining_partitions_n = remaining_n};
    played_answer(&t.other, &response);
}

/* The answer is on its way through the sockets. */
static bool until_timer_is_due_in(int64_t ms)
{
    for (int i = 0; i < PATIENCE_MS; i++) {
        settle();
        if (loop_next_due_ms(t.state) == t.clock.now_ms + ms) {
            return true;
        }
        sleep_ms(1);
    }
    return false;
}

/* ---- tests ---- */

static void test_lets_go(void)
{
    begin();
    leave();
    get();
    CU_ASSERT_EQUAL(t.done_n, 0);
    answer(OK, 0);
    EVENTUALLY((settle(), t.done_n == 1));
    end();
}

/* The controller has answered, and its word that others lead is on its way. */
static void test_waits_for_the_word(void)
{
    begin();
    t.needed = true;
    leave();
    get();
    answer(OK, 0);
    CU_ASSERT(until_timer_is_due_in(LOOK_MS));
    for (int i = 0; i < 5; i++) {
        pass(LOOK_MS);
        CU_ASSERT_EQUAL(t.done_n, 0);
    }
    t.needed = false;
    pass(LOOK_MS);
    CU_ASSERT_EQUAL(t.done_n, 1);
    pass(LEAVE_WAIT_MS);
    CU_ASSERT_EQUAL(t.done_n, 1);
    end();
}

static void word_comes(struct loop_task *task)
{
    (void)task;
    t.needed = true;
}

/* On a busy machine both are there when the thread wakes: what was posted before the answer counts. */
static void test_answer_is_read_before_the_word(void)
{
    begin();
    leave();
    get();
    struct loop_task word = {.run = word_comes};
    loop_post(t.state, &word);
    answer(OK, 0);
    CU_ASSERT(until_timer_is_due_in(LOOK_MS));
    CU_ASSERT_EQUAL(t.done_n, 0);
    t.needed = false;
    pass(LOOK_MS);
    CU_ASSERT_EQUAL(t.done_n, 1);
    end();
}

/* It does not come; whoever lost the answer to it elects anew when the session ends. */
static void test_word_does_not_come(void)
{
    begin();
    t.needed = true;
    leave();
    get();
    answer(OK, 0);
    CU_ASSERT(until_timer_is_due_in(LOOK_MS));
    pass(LEAVE_WAIT_MS - 1);
    CU_ASSERT_EQUAL(t.done_n, 0);
    pass(LOOK_MS);
    CU_ASSERT_EQUAL(t.done_n, 1);
    end();
}

/* Nobody else is in sync: three tries, five seconds apart, and then it goes anyway. */
static void test_remaining(void)
{
    begin();
    t.needed = true;
    leave();
    for (int i = 0; i < TRIES; i++) {
        get();
        CU_ASSERT_EQUAL(t.begun_n, 1);
        answer(i == 1 ? ERR_STALE_CONTROLLER_EPOCH : OK, i == 1 ? 0 : 2);
        if (i < TRIES - 1) {
            CU_ASSERT(until_timer_is_due_in(PAUSE_MS));
            pass(PAUSE_MS - 1);
            CU_ASSERT(played_silence(&t.other));
            pass(1);
            CU_ASSERT(played_is_left(&t.other)); /* each try by a connection of its own */
        }
    }
    EVENTUALLY((settle(), t.done_n == 1));
    end();
}

/* A controller that is gone, or makes no sense, counts as a try; another one may be known by the next. */
static void test_no_answer(void)
{
    begin();
    leave();
    get();
    played_reset(&t.other);
    EVENTUALLY(until_timer_is_due_in(LOOK_MS));
    pass(LOOK_MS); /* the connection's pause */
    know(3, -1);
    pass(PAUSE_MS - LOOK_MS);
    CU_ASSERT_EQUAL(t.done_n, 0);
    know(3, OTHER);
    pass(PAUSE_MS);
    get();
    played_answer_bytes(&t.other, "\0", 1);
    EVENTUALLY((settle(), t.done_n == 1));
    end();
}

/* Who was asked is the controller no more. */
static void test_another_controller(void)
{
    begin();
    leave();
    get();
    answer(ERR_STALE_CONTROLLER_EPOCH, 0);
    CU_ASSERT(until_timer_is_due_in(PAUSE_MS));
    know(3, NEXT);
    pass(PAUSE_MS);
    get_at(&t.next);
    end();
}

static void test_silent_controller(void)
{
    begin();
    leave();
    for (int i = 0; i < TRIES; i++) {
        get();
        pass(TIMEOUT_MS);
        CU_ASSERT(played_is_left(&t.other));
        CU_ASSERT_EQUAL(t.done_n, i == TRIES - 1 ? 1 : 0);
        pass(PAUSE_MS);
    }
    end();
}

static void test_nobody_else(void)
{
    begin();
    know(1, ME);
    leave();
    CU_ASSERT_EQUAL(t.done_n, 1);
    CU_ASSERT(played_silence(&t.other));
    end();
}

static void test_freed_while_it_asks(void)
{
    begin();
    leave();
    get();
    end();
    CU_ASSERT_EQUAL(t.done_n, 0);
}

SUITE("leaving", TEST(test_lets_go), TEST(test_waits_for_the_word),
      TEST(test_answer_is_read_before_the_word), TEST(test_word_does_not_come),
      TEST(test_remaining), TEST(test_no_answer), TEST(test_another_controller),
      TEST(test_silent_controller), TEST(test_nobody_else), TEST(test_freed_while_it_asks))

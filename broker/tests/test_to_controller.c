/* Questions of a broker to its controller: to one that the test plays, whichever versions that has, and
 * to one on this broker. The question is AllocateProducerIds (version 0) or AlterPartition (0 to 3). */
#include "broker/cluster/to_controller.h"

#include "broker/tests/played.h"
#include "protocol/error.h"

enum { ME = 1, OTHER = 2, NEXT = 3, TIMEOUT_MS = 30000, QUESTIONS = 3, KEY_HELLO = 18 };

struct asked {
    struct question question;
    struct alter_partition_request request;
    struct alter_partition_response response;
    int told;
    err outcome;
    int16_t error; /* as answered */
    int order;
};

static struct {
    struct manual_clock clock;
    struct loop *control;
    struct loop *state;
    struct workers *workers;
    struct metadata_cache *metadata;
    struct to_controller *to;
    struct played other;
    struct played next;
    struct asked q[QUESTIONS];
    int told_n;
    int answered_here_n;
    bool asks_again;
} t;

static void answer_here(void *context, int16_t api_key, const void *request, struct arena *arena,
                        void *response)
{
    (void)arena;
    CU_ASSERT_PTR_EQUAL(context, &t);
    CU_ASSERT_EQUAL(api_key, KEY_ALTER_PARTITION);
    struct alter_partition_response *out = response;
    out->error_code = (int16_t)((const struct alter_partition_request *)request)->broker_id;
    t.answered_here_n++;
}

static void settle(void)
{
    while (loop_turn(t.state) || loop_turn(t.control)) {
    }
}

static void pass(int64_t ms)
{
    t.clock.now_ms += ms;
    settle();
}

/* The controller is that broker, and these are where they listen. */
static void know_controller(int32_t id)
{
    struct update_metadata_request_endpoint at[] = {
        {.port = t.other.port, .host = STR("127.0.0.1"), .listener = STR("IN")},
        {.port = t.next.port, .host = STR("127.0.0.1"), .listener = STR("IN")}};
    struct update_metadata_request_live_broker brokers[] = {
        {.id = OTHER, .endpoints = &at[0], .endpoints_n = 1},
        {.id = NEXT, .endpoints = &at[1], .endpoints_n = 1}};
    struct update_metadata_request update;
    update_metadata_request_init(&update);
    update.controller_id = id;
    update.live_brokers = brokers;
    update.live_brokers_n = 2;
    metadata_update(t.metadata, &update, NULL, NULL);
}

static void begin(void)
{
    memset(&t, 0, sizeof(t));
    manual_clock_init(&t.clock, 1000000);
    MUST(loop_new(&t.clock.clock, sockets_system(), &t.control));
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
    t.to = to_controller_new(&(struct to_controller_config){.broker_id = ME,
                                                            .state = t.state,
                                                            .control = t.control,
                                                            .workers = t.workers,
                                                            .metadata = t.metadata,
                                                            .listener = "IN",
                                                            .connect_timeout_ms = 10000,
                                                            .timeout_ms = TIMEOUT_MS,
                                                            .answer = answer_here,
                                                            .context = &t});
    know_controller(OTHER);
}

static void end(void)
{
    to_controller_stop(t.to);
    while (loop_drain(t.control) || loop_drain(t.state)) {
    }
    to_controller_free(t.to);
    workers_stop(t.workers);
    workers_free(t.workers);
    metadata_cache_free(t.metadata);
    loop_free(t.control);
    loop_free(t.state);
    played_end(&t.other);
    played_end(&t.next);
}

/* ---- questions ---- */

static void on_told(struct question *question, err outcome)
{
    struct asked *q = container_of(question, struct asked, question);
    q->told++;
    q->outcome = outcome;
    q->error = outcome == OK ? q->response.error_code : 0;
    q->order = t.told_n++;
    if (t.asks_again && q->told < 2) {
        to_controller_ask(t.to, question);
    }
}

/* The question can be told from others by its broker id: 50 + i. */
static void ask_up_to(int i, int16_t version_max)
{
    struct asked *q = &t.q[i];
    memset(q, 0, sizeof(*q));
    alter_partition_request_init(&q->request);
    q->request.broker_id = 50 + i;
    q->question = (struct question){.api_key = KEY_ALTER_PARTITION,
                                    .version_max = version_max,
                                    .request = &q->request,
                                    .response = &q->response,
                                    .done = on_told};
    to_controller_ask(t.to, &q->question);
    settle();
}

static void ask(int i)
{
    ask_up_to(i, 0);
}

static bool until_told(int count)
{
    for (int i = 0; i < PATIENCE_MS && t.told_n < count; i++) {
        settle();
        sleep_ms(1);
    }
    return t.told_n == count;
}

/* ---- what the controller gets, and says ---- */

/* The first on each connection; it has AlterPartition up to that version, -1: not at all. */
static void greet(struct played *b, int16_t version_max)
{
    const struct api_versions_request *request = played_next(b, KEY_HELLO);
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    CU_ASSERT_EQUAL(b->asked.version, 3);
    CU_ASSERT(str_is(b->client_id, "1"));
    struct api_versions_response_api_key keys[] = {
        {.api_key = 1000, .max_version = 99},
        {.api_key = version_max < 0 ? 3 : KEY_ALTER_PARTITION, .max_version = version_max}};
    struct api_versions_response response;
    api_versions_response_init(&response);
    response.api_keys = keys;
    response.api_keys_n = 2;
    played_answer(b, &response);
}

static void get(struct played *b, int i, int version)
{
    const struct alter_partition_request *request = played_next(b, KEY_ALTER_PARTITION);
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    CU_ASSERT_EQUAL(b->asked.version, version);
    CU_ASSERT_EQUAL(request->broker_id, 50 + i);
}

static void answer(struct played *b, int16_t error)
{
    struct alter_partition_response response;
    alter_partition_response_init(&response);
    response.error_code = error;
    played_answer(b, &response);
}

/* ---- tests ---- */

static void test_in_order(void)
{
    begin();
    CU_ASSERT(played_silence(&t.other)); /* nothing is opened before there is a question */
    ask(0);
    ask(1);
    greet(&t.other, 3);
    get(&t.other, 0, 3);
    CU_ASSERT(played_silence(&t.other));
    answer(&t.other, ERR_NOT_CONTROLLER);
    CU_ASSERT(until_told(1));
    CU_ASSERT(t.q[0].outcome == OK && t.q[0].error == ERR_NOT_CONTROLLER);
    get(&t.other, 1, 3);
    answer(&t.other, OK);
    CU_ASSERT(until_told(2));
    ask(2); /* the versions are known */
    get(&t.other, 2, 3);
    end();
    CU_ASSERT(t.q[2].told == 1 && t.q[2].outcome == E_CLOSED);
}

/* The newest that both know. */
static void test_versions(void)
{
    begin();
    ask(0);
    greet(&t.other, 1);
    get(&t.other, 0, 1);
    answer(&t.other, OK);
    CU_ASSERT(until_told(1));
    played_hang_up(&t.other);
    settle();
    ask(1); /* it comes back as something newer */
    greet(&t.other, 77);
    get(&t.other, 1, 3);
    answer(&t.other, OK);
    CU_ASSERT(until_told(2));
    played_hang_up(&t.other);
    settle();
    ask(2); /* and as something that has not got it */
    greet(&t.other, -1);
    CU_ASSERT(until_told(3));
    CU_ASSERT_EQUAL(t.q[2].outcome, E_UNSUPPORTED);
    end();
}

/* Who asks may not know what newer ones want: ids of topics, in versions of AlterPartition from 2 on. */
static void test_version_bound(void)
{
    begin();
    ask_up_to(0, 1);
    greet(&t.other, 3);
    get(&t.other, 0, 1);
    answer(&t.other, OK);
    ask(1);
    get(&t.other, 1, 3);
    answer(&t.other, OK);
    CU_ASSERT(until_told(2));
    end();
}

static void test_version_unknown(void)
{
    begin();
    ask(0);
    ask(1);
    greet(&t.other, -1);
    CU_ASSERT(until_told(1));
    CU_ASSERT_EQUAL(t.q[0].outcome, E_UNSUPPORTED);
    greet(&t.other, 2); /* each question looks again */
    get(&t.other, 1, 2);
    end();
}

static void test_hello_fails(void)
{
    begin();
    ask(0);
    ask(1);
    CU_ASSERT_PTR_NOT_NULL(played_next(&t.other, KEY_HELLO));
    played_hang_up(&t.other);
    CU_ASSERT(until_told(1));
    CU_ASSERT_EQUAL(t.q[0].outcome, E_CLOSED);
    CU_ASSERT(!played_hears(&t.other)); /* not at once */
    pass(20);
    CU_ASSERT_PTR_NOT_NULL(played_next(&t.other, KEY_HELLO));
    played_answer_bytes(&t.other, "\0", 1);
    CU_ASSERT(until_told(2));
    CU_ASSERT_NOT_EQUAL(t.q[1].outcome, OK);
    end();
}

/* Asked once: who gets no answer decides whether to ask again. */
static void test_no_answer(void)
{
    begin();
    ask(0);
    ask(1);
    ask(2);
    greet(&t.other, 3);
    get(&t.other, 0, 3);
    played_reset(&t.other);
    CU_ASSERT(until_told(1));
    CU_ASSERT_NOT_EQUAL(t.q[0].outcome, OK);
    pass(20);
    greet(&t.other, 3);
    get(&t.other, 1, 3);
    pass(TIMEOUT_MS);
    CU_ASSERT(until_told(2));
    CU_ASSERT_EQUAL(t.q[1].outcome, err_from_errno(ETIMEDOUT));
    CU_ASSERT(played_is_left(&t.other));
    pass(100);
    greet(&t.other, 3);
    get(&t.other, 2, 3);
    played_answer_bytes(&t.other, "\0", 1);
    CU_ASSERT(until_told(3));
    CU_ASSERT(t.q[2].outcome != OK && t.q[0].told == 1);
    end();
}

static void test_asks_again(void)
{
    begin();
    t.asks_again = true;
    ask(0);
    ask(1);
    greet(&t.other, 3);
    for (int i = 0; i < 4; i++) { /* by turns */
        get(&t.other, i % 2, 3);
        answer(&t.other, OK);
    }
    CU_ASSERT(until_told(4));
    end();
}

/* The address is that of who is the controller when it is asked. */
static void test_another_controller(void)
{
    begin();
    ask(0);
    greet(&t.other, 3);
    get(&t.other, 0, 3);
    know_controller(NEXT);
    ask(1);
    CU_ASSERT(played_silence(&t.next));
    answer(&t.other, ERR_NOT_CONTROLLER);
    CU_ASSERT(until_told(1));
    CU_ASSERT(played_is_left(&t.other));
    greet(&t.next, 3);
    get(&t.next, 1, 3);
    answer(&t.next, OK);
    CU_ASSERT(until_told(2));
    end();
}

static void test_no_controller(void)
{
    begin();
    know_controller(-1);
    ask(0);
    CU_ASSERT(until_told(1));
    CU_ASSERT_EQUAL(t.q[0].outcome, E_NOT_FOUND);
    know_controller(77); /* nobody knows where it is */
    ask(1);
    CU_ASSERT(until_told(2));
    CU_ASSERT_EQUAL(t.q[1].outcome, E_NOT_FOUND);
    end();
}

static void test_here(void)
{
    begin();
    know_controller(ME);
    ask(0);
    ask(1);
    CU_ASSERT(until_told(2));
    CU_ASSERT(t.q[0].outcome == OK && t.q[0].error == 50 && t.q[0].order == 0);
    CU_ASSERT(t.q[1].outcome == OK && t.q[1].error == 51 && t.q[1].order == 1);
    CU_ASSERT(played_silence(&t.other));
    know_controller(OTHER);
    ask(2);
    greet(&t.other, 3);
    get(&t.other, 2, 3);
    end();
}

/* The control thread comes to it when nobody waits any more. */
static void test_stopped(void)
{
    begin();
    know_controller(ME);
    for (int i = 0; i < QUESTIONS - 1; i++) {
        struct asked *q = &t.q[i];
        q->question = (struct question){.api_key = KEY_ALTER_PARTITION,
                                        .request = &q->request,
                                        .response = &q->response,
                                        .done = on_told};
        to_controller_ask(t.to, &q->question);
    }
    to_controller_stop(t.to);
    CU_ASSERT_EQUAL(t.told_n, 2);
    CU_ASSERT(t.q[0].outcome == E_CLOSED && t.q[1].outcome == E_CLOSED);
    ask(2);
    CU_ASSERT(t.told_n == 3 && t.q[2].outcome == E_CLOSED);
    CU_ASSERT_EQUAL(t.answered_here_n, 0);
    end();
}

SUITE("to_controller", TEST(test_in_order), TEST(test_versions), TEST(test_version_bound),
      TEST(test_version_unknown), TEST(test_hello_fails), TEST(test_no_answer),
      TEST(test_asks_again), TEST(test_another_controller), TEST(test_no_controller),
      TEST(test_here), TEST(test_stopped))

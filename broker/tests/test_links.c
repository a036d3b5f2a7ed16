/* The controller's links: to its own broker, which carries its requests out, and to one that the test
 * plays. The controller is the test's, too: it only keeps the answers that it gets. */
#include "broker/cluster/links.h"

#include "broker/cluster/untold.h"
#include "broker/tests/played.h"
#include "protocol/error.h"

enum {
    ARENA_BYTES = 64 << 20,
    ME = 1,
    OTHER = 2,
    TIMEOUT_MS = 30000,
    RETRY_MS = 100,
    ANSWERS_MAX = 16
};

static struct {
    struct manual_clock clock;
    struct arena arena;
    struct loop *control;
    struct loop *state;
    struct workers *workers;
    struct metadata_cache *metadata;
    struct metadata_waits *waits;
    struct requests_in *in;
    struct links *links;
    struct controller_links door;
    struct played other;
    struct {
        int32_t broker;
        int16_t api_key;
        int32_t controller_epoch;
        int16_t error;
    } answers[ANSWERS_MAX];
    int answers_n;
} t;

/* Stands for controller.c's. */
void controller_on_answer(struct controller *controller, int32_t broker_id,
                          const struct told_request *told, const void *response)
{
    int16_t error = told->api_key == KEY_STOP_REPLICA
                        ? ((const struct stop_replica_response *)response)->error_code
                        : ((const struct leader_and_isr_response *)response)->error_code;
    CU_ASSERT_PTR_EQUAL(controller, (struct controller *)&t);
    CU_ASSERT_FATAL(t.answers_n < ANSWERS_MAX);
    t.answers[t.answers_n].broker = broker_id;
    t.answers[t.answers_n].api_key = told->api_key;
    t.answers[t.answers_n].controller_epoch = told->controller_epoch;
    t.answers[t.answers_n++].error = error;
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

static void begin(void)
{
    memset(&t, 0, sizeof(t));
    arena_init(&t.arena, ARENA_BYTES);
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
    t.waits = metadata_waits_new(t.metadata);
    t.in = requests_in_new(&(struct requests_in_config){
        .state = t.state, .control = t.control, .metadata = t.metadata, .metadata_waits = t.waits});
    t.links = links_new(&(struct links_config){.broker_id = ME,
                                               .state = t.state,
                                               .control = t.control,
                                               .workers = t.workers,
                                               .in = t.in,
                                               .inter_broker_listener = "IN",
                                               .connect_timeout_ms = 10000,
                                               .timeout_ms = TIMEOUT_MS});
    links_set_controller(t.links, (struct controller *)&t);
    t.door = links_of(t.links);
    played_begin(&t.other, settle);
}

static void end(void)
{
    while (loop_drain(t.control) || loop_drain(t.state)) {
    }
    requests_in_stop(t.in);
    links_stop(t.links);
    while (loop_drain(t.control) || loop_drain(t.state)) {
    }
    links_free(t.links);
    requests_in_free(t.in);
    metadata_waits_free(t.waits);
    metadata_cache_free(t.metadata);
    workers_stop(t.workers);
    workers_free(t.workers);
    loop_free(t.control);
    loop_free(t.state);
    played_end(&t.other);
    arena_deinit(&t.arena);
}

/* ---- what the controller says ---- */

static void set_targets(bool me, int64_t other_epoch)
{
    struct link_target targets[2];
    int32_t count = 0;
    if (me) {
        targets[count++] = (struct link_target){.id = ME, .epoch = 1, .host = "x", .port = 1};
    }
    if (other_epoch > 0) {
        targets[count++] = (struct link_target){
            .id = OTHER, .epoch = other_epoch, .host = "127.0.0.1", .port = t.other.port};
    }
    t.door.set_targets(t.door.context, targets, count);
    memset(targets, 0xee, sizeof(targets)); /* it was copied */
    settle();
}

static void send_brokers(int32_t to, int32_t controller_epoch)
{
    struct update_metadata_request request;
    update_metadata_request_init(&request);
    request.controller_id = controller_epoch;
    request.controller_epoch = controller_epoch;
    t.door.send(t.door.context, to, KEY_UPDATE_METADATA, 8, &request);
}

static void send_stop(int32_t to, const char *topic, int32_t controller_epoch)
{
    struct stop_replica_request_partition_state state;
    struct stop_replica_request_topic_state of = {
        .topic_name = str_of(topic), .partition_states = &state, .partition_states_n = 1};
    struct stop_replica_request request;
    stop_replica_request_partition_state_init(&state);
    stop_replica_request_init(&request);
    request.controller_epoch = controller_epoch;
    request.topic_states = &of;
    request.topic_states_n = 1;
    t.door.send(t.door.context, to, KEY_STOP_REPLICA, 4, &request);
    settle();
}

/* ---- what the other broker gets, and says ---- */

/* The next request there stops exactly that many topics, the first of which is this one. */
static void get_stop(const char *first, int32_t topics_n)
{
    const struct stop_replica_request *request = played_next(&t.other, KEY_STOP_REPLICA);
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    CU_ASSERT_EQUAL(t.other.asked.version, 4);
    CU_ASSERT_EQUAL_FATAL(request->topic_states_n, topics_n);
    CU_ASSERT(str_is(request->topic_states[0].topic_name, first));
}

static void answer_stop(int16_t error)
{
    struct stop_replica_response response = {.error_code = error};
    played_answer(&t.other, &response);
}

static bool one_answer(int32_t broker, int32_t controller_epoch, int16_t error)
{
    bool same = t.answers_n == 1 && t.answers[0].broker == broker &&
                t.answers[0].api_key == KEY_STOP_REPLICA &&
                t.answers[0].controller_epoch == controller_epoch && t.answers[0].error == error;
    t.answers_n = 0;
    return same;
}

static int32_t known_controller(void)
{
    struct metadata *now = metadata_acquire(t.metadata);
    int32_t id = now->controller_id;
    metadata_release(now);
    return id;
}

static bool until_answered(void)
{
    for (int i = 0; i < PATIENCE_MS && t.answers_n == 0; i++) {
        settle();
        sleep_ms(1);
    }
    return t.answers_n > 0;
}

/* ---- tests ---- */

/* In process, but fenced and answered as anywhere. Nobody is told of UpdateMetadata's answers. */
static void test_own_broker(void)
{
    begin();
    set_targets(true, 0);
    send_brokers(ME, 7);
    settle();
    CU_ASSERT_EQUAL(known_controller(), 7);
    CU_ASSERT_EQUAL(t.answers_n, 0);
    send_stop(ME, "a", 6);
    CU_ASSERT(one_answer(ME, 6, ERR_STALE_CONTROLLER_EPOCH));
    end();
}

/* Its next request is made when the one before is answered, of what is newest then. */
static void test_own_broker_in_turn(void)
{
    begin();
    set_targets(true, 0);
    for (int32_t i = 5; i < 8; i++) {
        send_brokers(ME, i);
    }
    settle();
    CU_ASSERT_EQUAL(known_controller(), 7);
    end();
}

static void test_one_in_flight(void)
{
    begin();
    set_targets(true, 1);
    send_stop(OTHER, "a", 3);
    get_stop("a", 1);
    CU_ASSERT(str_is(t.other.client_id, "1"));
    send_stop(OTHER, "c", 3);
    send_stop(OTHER, "b", 4);
    send_stop(OTHER, "c", 4);
    CU_ASSERT(played_silence(&t.other));
    CU_ASSERT_EQUAL(t.answers_n, 0);
    CU_ASSERT(links_have_untold(t.links));
    answer_stop(OK);
    CU_ASSERT(until_answered());
    CU_ASSERT(one_answer(OTHER, 3, OK));
    get_stop("b", 2); /* all that waited */
    answer_stop(ERR_STALE_BROKER_EPOCH);
    CU_ASSERT(until_answered());
    CU_ASSERT(one_answer(OTHER, 4, ERR_STALE_BROKER_EPOCH));
    CU_ASSERT(played_silence(&t.other));
    CU_ASSERT_FALSE(links_have_untold(t.links));
    end();
}

/* Brokers do not wait for each other. */
static void test_others_do_not_wait(void)
{
    begin();
    set_targets(true, 1);
    send_stop(OTHER, "a", 3);
    get_stop("a", 1);
    send_brokers(ME, 3);
    settle();
    CU_ASSERT_EQUAL(known_controller(), 3);
    end();
}

/* It may have been carried out; the broker is asked the same again, before what has come meanwhile. */
static void test_same_again(void)
{
    begin();
    set_targets(true, 1);
    send_stop(OTHER, "a", 3);
    for (int i = 0; i < 3; i++) {
        get_stop("a", 1);
        if (i == 0) {
            played_hang_up(&t.other);
        } else if (i == 1) {
            played_reset(&t.other);
        }
        if (i < 2) {
            send_stop(OTHER, "b", 3);
            CU_ASSERT(!played_hears(&t.other));
            pass(RETRY_MS - 1);
            CU_ASSERT(!played_hears(&t.other));
            pass(1);
        }
    }
    answer_stop(OK);
    get_stop("b", 1);
    end();
}

static void test_silent(void)
{
    begin();
    set_targets(true, 1);
    send_stop(OTHER, "a", 3);
    get_stop("a", 1);
    pass(TIMEOUT_MS - 1);
    CU_ASSERT(played_silence(&t.other));
    pass(1);
    CU_ASSERT(played_is_left(&t.other));
    pass(RETRY_MS);
    get_stop("a", 1);
    end();
}

static void test_nobody_listens(void)
{
    begin();
    close(t.other.listener);
    set_targets(true, 1);
    send_stop(OTHER, "a", 3);
    for (int i = 0; i < 5; i++) {
        pass(RETRY_MS);
    }
    CU_ASSERT_FALSE(links_have_untold(t.links)); /* nobody who would hear it */
    played_listen(&t.other);
    pass(RETRY_MS);
    get_stop("a", 1);
    end();
}

/* An answer that cannot be read is none; nor is the broker asked again without a pause. */
static void test_garbage(void)
{
    begin();
    set_targets(true, 1);
    send_stop(OTHER, "a", 3);
    for (int i = 0; i < 3; i++) {
        get_stop("a", 1);
        played_answer_bytes(&t.other, "\0\0", 2);
        CU_ASSERT(played_is_left(&t.other));
        CU_ASSERT(played_silence(&t.other));
        pass(RETRY_MS);
    }
    CU_ASSERT_EQUAL(t.answers_n, 0);
    get_stop("a", 1);
    answer_stop(OK);
    CU_ASSERT(until_answered());
    end();
}

/* In another life it is another broker: nothing that was meant for the one before. */
static void test_bounced(void)
{
    begin();
    set_targets(true, 1);
    send_stop(OTHER, "a", 3);
    get_stop("a", 1);
    send_stop(OTHER, "b", 3);
    set_targets(true, 2);
    CU_ASSERT(played_is_left(&t.other));
    CU_ASSERT(played_silence(&t.other));
    send_stop(OTHER, "c", 3);
    get_stop("c", 1);
    answer_stop(OK);
    CU_ASSERT(until_answered());
    CU_ASSERT(one_answer(OTHER, 3, OK));
    end();
}

/* The same targets again disturb nobody. */
static void test_same_targets(void)
{
    begin();
    set_targets(true, 1);
    send_stop(OTHER, "a", 3);
    get_stop("a", 1);
    set_targets(false, 1);
    set_targets(true, 1);
    answer_stop(OK);
    CU_ASSERT(until_answered());
    end();
}

static void test_gone(void)
{
    begin();
    set_targets(true, 1);
    send_stop(OTHER, "a", 3);
    get_stop("a", 1);
    set_targets(true, 0);
    CU_ASSERT(played_is_left(&t.other));
    send_stop(OTHER, "b", 3); /* it has decided before it knew */
    pass(RETRY_MS);
    CU_ASSERT(played_silence(&t.other));
    CU_ASSERT_EQUAL(t.answers_n, 0);
    end();
}

/* The own broker's link ends while its request is carried out. */
static void test_own_link_ends(void)
{
    begin();
    set_targets(true, 0);
    send_brokers(ME, 9);
    send_brokers(ME, 10);
    t.door.set_targets(t.door.context, NULL, 0);
    settle();
    CU_ASSERT_EQUAL(known_controller(), 9); /* the second one was not sent any more */
    end();
}

/* Who has ended as a controller hears nothing more. */
static void test_no_controller(void)
{
    begin();
    set_targets(true, 1);
    send_stop(OTHER, "a", 3);
    get_stop("a", 1);
    links_set_controller(t.links, NULL);
    answer_stop(OK);
    for (int i = 0; i < 20; i++) {
        settle();
        sleep_ms(1);
    }
    CU_ASSERT_EQUAL(t.answers_n, 0);
    end();
}

SUITE("links", TEST(test_own_broker), TEST(test_own_broker_in_turn), TEST(test_one_in_flight),
      TEST(test_others_do_not_wait), TEST(test_same_again), TEST(test_silent),
      TEST(test_nobody_listens), TEST(test_garbage), TEST(test_bounced), TEST(test_same_targets),
      TEST(test_gone), TEST(test_own_link_ends), TEST(test_no_controller))

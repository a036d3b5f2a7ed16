/* Reassignments: from a plan to the last znode, over second plans, cancels, deaths and other controllers.
 * (reference: replication §2, zookeeper §9) */
#include "broker/tests/controller_util.h"

/* ---- plans, and what leaders say ---- */

static struct str message; /* of the last plan */

static err plan_of(const char *topic, int32_t partition, const int32_t *replicas, int32_t count)
{
    struct controller_reassignment plan = {
        .topic = str_of(topic),
        .partition = partition,
        .replicas = {.ids = (int32_t *)(uintptr_t)replicas, .count = count},
        .cancel = replicas == NULL,
    };
    err e = controller_reassign(t.controller, &plan, 1, &t.arena);
    message = plan.message;
    return e != OK ? e : plan.error;
}

#define MOVE(...)                                                                                  \
    plan_of("a", 0, (const int32_t[]){__VA_ARGS__},                                                \
            (int32_t)(sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t)))

static err cancel(void)
{
    return plan_of("a", 0, NULL, 0);
}

static struct znode_topic node_of_a(void)
{
    struct coord_op get = {.type = COORD_GET, .path = "/brokers/topics/a"};
    struct znode_topic node;
    MUST(coord_run(t.coord, &get, 1, &t.arena));
    MUST(get.error);
    MUST(znode_topic_decode(&t.arena, get.value, &node));
    return node;
}

static int32_t version_of(const char *path)
{
    struct coord_op get = {.type = COORD_GET, .path = path};
    MUST(coord_run(t.coord, &get, 1, &t.arena));
    MUST(get.error);
    return get.stat.version;
}

static bool same_list(const struct id_list *list, const char *expected)
{
    char text[64] = "";
    for (int32_t i = 0; i < list->count; i++) {
        size_t at = strlen(text);
        snprintf(text + at, sizeof(text) - at, i == 0 ? "%d" : ",%d", list->ids[i]);
    }
    return strcmp(text, expected) == 0;
}

/* Of a-0 in its node. */
static bool node_is(const char *replicas, const char *adding, const char *removing)
{
    struct znode_topic node = node_of_a();
    return same_list(&node.partitions[0], replicas) && same_list(&node.adding[0], adding) &&
           same_list(&node.removing[0], removing);
}

/* The leader of a-0, as the store names it, has these in sync. */
static err in_sync(const int32_t *isr, int32_t count)
{
    struct coord_op get = {.type = COORD_GET, .path = znode_state_path(&t.arena, str_of("a"), 0)};
    struct znode_state state;
    MUST(coord_run(t.coord, &get, 1, &t.arena));
    MUST(znode_state_decode(&t.arena, get.value, &state));
    struct alter_partition_request_partition partition;
    struct alter_partition_request_topic topic = {
        .topic_id = node_of_a().id, .partitions = &partition, .partitions_n = 1};
    struct alter_partition_request request;
    struct alter_partition_response response;
    alter_partition_request_partition_init(&partition);
    partition.leader_epoch = state.leader_epoch;
    partition.partition_epoch = get.stat.version;
    partition.new_isr = (int32_t *)(uintptr_t)isr;
    partition.new_isr_n = count;
    alter_partition_request_init(&request);
    request.broker_id = state.leader;
    request.broker_epoch = epoch_of(state.leader);
    request.topics = &topic;
    request.topics_n = 1;
    alter_partition_response_init(&response);
    controller_alter_partition(t.controller, 2, &request, &t.arena, &response);
    MUST(response.error_code);
    return response.topics[0].partitions[0].error_code;
}

#define IN_SYNC(...)                                                                               \
    MUST(in_sync((const int32_t[]){__VA_ARGS__},                                                   \
                 (int32_t)(sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))))

static int32_t under_way(void)
{
    struct controller_move *moves = NULL;
    int32_t count = -1;
    MUST(controller_reassignments(t.controller, &t.arena, &moves, &count));
    return count;
}

/* Another controller, at the same store. */
static void fail_over(void)
{
    controller_free(t.controller);
    t.queue_n = 0;
    t.answers_n = 0;
    delete ("/controller");
    t.queue_n = 0;
    elect();
    deliver();
}

/* ---- from the beginning to the end ---- */

/* The messages that Apache's controller sends, but that the new replica is told once. */
static void test_moves(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(2, 3));
    CU_ASSERT(was_sent(
        "lisr to=1 epoch=1 a-0 leader=1/1 version=1 replicas=2,3,1 isr=1,2 adding=3 removing=1\n"
        "lisr to=2 epoch=1 a-0 leader=1/1 version=1 replicas=2,3,1 isr=1,2 adding=3 removing=1\n"
        "lisr to=3 epoch=1 a-0 leader=1/1 version=1 replicas=2,3,1 isr=1,2 adding=3 removing=1 "
        "new\n"
        "umr to=1 epoch=1 live=3 a-0:1\numr to=2 epoch=1 live=3 a-0:1\n"
        "umr to=3 epoch=1 live=3 a-0:1\n"));
    CU_ASSERT(node_is("2,3,1", "3", "1"));
    deliver();
    CU_ASSERT(was_sent(""));
    CU_ASSERT_EQUAL(under_way(), 1);
    IN_SYNC(1, 2, 3);
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=3 a-0:1\numr to=2 epoch=1 live=3 a-0:1\n"
                       "umr to=3 epoch=1 live=3 a-0:1\n"
                       "lisr to=2 epoch=1 a-0 leader=2/2 version=3 replicas=2,3 isr=1,2,3\n"
                       "lisr to=3 epoch=1 a-0 leader=2/2 version=3 replicas=2,3 isr=1,2,3\n"
                       "umr to=1 epoch=1 live=3 a-0:2\numr to=2 epoch=1 live=3 a-0:2\n"
                       "umr to=3 epoch=1 live=3 a-0:2\n"
                       "stop to=1 a-0 epoch=2\n"
                       "lisr to=2 epoch=1 a-0 leader=2/3 version=4 replicas=2,3 isr=2,3\n"
                       "lisr to=3 epoch=1 a-0 leader=2/3 version=4 replicas=2,3 isr=2,3\n"
                       "umr to=1 epoch=1 live=3 a-0:2\numr to=2 epoch=1 live=3 a-0:2\n"
                       "umr to=3 epoch=1 live=3 a-0:2\n"));
    CU_ASSERT_EQUAL(under_way(), 0);
    CU_ASSERT(node_is("2,3,1", "3", "1")); /* not until the data is gone */
    deliver();
    CU_ASSERT(was_sent("stop to=1 a-0 epoch=3 delete\n"
                       "umr to=1 epoch=1 live=3 a-0:2\numr to=2 epoch=1 live=3 a-0:2\n"
                       "umr to=3 epoch=1 live=3 a-0:2\n"));
    CU_ASSERT(node_is("2,3", "", "") && state_is("a", 0, 2, 3, "2,3"));
    end();
}

/* A leader that stays goes on, in another epoch. */
static void test_leader_stays(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(3, 1));
    IN_SYNC(1, 2, 3);
    CU_ASSERT(state_is("a", 0, 1, 3, "1,3"));
    deliver();
    CU_ASSERT(node_is("3,1", "", ""));
    end();
}

/* More replicas, fewer, or the same in another order: what is in sync already is done at once. */
static void test_without_a_move(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(2, 1));
    CU_ASSERT(node_is("2,1", "", "") && state_is("a", 0, 1, 1, "1,2"));
    MUST(MOVE(2, 1));
    CU_ASSERT(state_is("a", 0, 1, 2, "1,2")); /* Apache's raises it too */
    MUST(MOVE(2));
    deliver();
    CU_ASSERT(node_is("2", "", "") && state_is("a", 0, 2, 4, "2"));
    MUST(MOVE(2, 3));
    CU_ASSERT(node_is("2,3", "3", "") && under_way() == 1);
    IN_SYNC(2, 3);
    CU_ASSERT(node_is("2,3", "", "") && under_way() == 0);
    end();
}

/* ---- plans that are refused ---- */

static void test_refusals(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    t.sent[0] = '\0';
    CU_ASSERT_EQUAL(plan_of("a", 0, (const int32_t[]){1}, 0), ERR_INVALID_REPLICA_ASSIGNMENT);
    CU_ASSERT_EQUAL(MOVE(1, 3, 1), ERR_INVALID_REPLICA_ASSIGNMENT);
    CU_ASSERT(str_is(message, "A replica is named twice: 1,3,1."));
    CU_ASSERT_EQUAL(MOVE(1, -3), ERR_INVALID_REPLICA_ASSIGNMENT);
    CU_ASSERT_EQUAL(MOVE(1, 7), ERR_INVALID_REPLICA_ASSIGNMENT);
    CU_ASSERT(str_is(message, "A broker that is not alive cannot get a replica: 7."));
    CU_ASSERT_EQUAL(MOVE(1, 2, 3, 4, 5, 6), ERR_INVALID_REPLICA_ASSIGNMENT);
    CU_ASSERT_EQUAL(cancel(), ERR_NO_REASSIGNMENT_IN_PROGRESS);
    CU_ASSERT_EQUAL(plan_of("a", 1, (const int32_t[]){1}, 1), ERR_UNKNOWN_TOPIC_OR_PARTITION);
    CU_ASSERT_EQUAL(plan_of("a", -1, (const int32_t[]){1}, 1), ERR_UNKNOWN_TOPIC_OR_PARTITION);
    CU_ASSERT_EQUAL(plan_of("b", 0, (const int32_t[]){1}, 1), ERR_UNKNOWN_TOPIC_OR_PARTITION);
    CU_ASSERT_EQUAL(plan_of("b", 0, NULL, 0), ERR_NO_REASSIGNMENT_IN_PROGRESS);
    CU_ASSERT_EQUAL(plan_of("b", 0, (const int32_t[]){7}, 1), ERR_INVALID_REPLICA_ASSIGNMENT);
    CU_ASSERT(was_sent("") && node_is("1,2", "", "") && state_is("a", 0, 1, 0, "1,2"));
    delete ("/brokers/ids/2");
    deliver();
    MUST(MOVE(2, 3)); /* who is a replica already may be dead */
    CU_ASSERT(node_is("2,3,1", "3", "1"));
    IN_SYNC(1, 3);
    CU_ASSERT_EQUAL(under_way(), 1); /* until it comes back */
    create_text("/admin/delete_topics/a", "");
    deliver();
    CU_ASSERT_EQUAL(MOVE(1, 3), ERR_UNKNOWN_TOPIC_OR_PARTITION);
    CU_ASSERT_EQUAL(cancel(), ERR_UNKNOWN_TOPIC_OR_PARTITION);
    CU_ASSERT(controller_is_active(t.controller));
    controller_resign(t.controller, "a test");
    CU_ASSERT_EQUAL(MOVE(1, 3), ERR_NOT_CONTROLLER);
    end();
}

/* ---- second thoughts ---- */

/* Who was added goes, and deletes what it has; the order of the plan stays. */
static void test_cancel(void)
{
    begin_cluster(4);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(3, 4));
    IN_SYNC(1, 2, 3);
    t.sent[0] = '\0';
    MUST(cancel());
    CU_ASSERT(node_is("1,2", "", "") && state_is("a", 0, 1, 3, "1,2"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=3 a-0 epoch=2\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=4 a-0 epoch=2\n"));
    t.sent[0] = '\0';
    deliver();
    CU_ASSERT(was_sent("stop to=3 a-0 epoch=3 delete\nstop to=4 a-0 epoch=3 delete\n"));
    CU_ASSERT_EQUAL(cancel(), ERR_NO_REASSIGNMENT_IN_PROGRESS);
    end();
}

static void test_another_plan(void)
{
    begin_cluster(4);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(3, 2));
    MUST(MOVE(4, 2));
    CU_ASSERT(node_is("4,2,1", "4", "1"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=3 a-0"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(t.sent, "lisr to=4 epoch=1 a-0 leader=1/2 version=2 replicas=4,2,1 isr=1,2 "
                       "adding=4 removing=1 new\n"));
    deliver();
    t.sent[0] = '\0';
    MUST(MOVE(3, 4)); /* it is a replica again */
    deliver();
    CU_ASSERT_PTR_NULL(strstr(t.sent, "stop"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "adding=3,4 removing=2,1 new\n"));
    IN_SYNC(1, 2, 3, 4);
    deliver();
    CU_ASSERT(node_is("3,4", "", "") && state_is("a", 0, 3, 5, "3,4"));
    end();
}

/* Before all of the first have deleted what they had. */
static void test_another_before_the_end(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(1, 3));
    t.keep_answers = true;
    IN_SYNC(1, 2, 3);
    CU_ASSERT(node_is("1,3,2", "3", "2") && under_way() == 0);
    MUST(MOVE(2, 1));
    CU_ASSERT(node_is("2,1,3", "2", "3"));
    t.keep_answers = false;
    fail_over();
    IN_SYNC(1, 2, 3);
    deliver();
    CU_ASSERT(node_is("2,1", "", "") && state_is("a", 0, 1, 7, "1,2"));
    end();
}

/* Nobody of the old ones is left who has all: there is no way back. */
static void test_no_way_back(void)
{
    begin_cluster(4);
    make_topic("a", "{\"0\":[2]}");
    MUST(MOVE(3, 4));
    IN_SYNC(2, 3);
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT(state_is("a", 0, 3, 2, "3"));
    CU_ASSERT_EQUAL(cancel(), ERR_INVALID_REPLICA_ASSIGNMENT);
    CU_ASSERT(str_is(message, "None of the replicas that would be left is in sync."));
    CU_ASSERT_EQUAL(MOVE(2, 4), ERR_INVALID_REPLICA_ASSIGNMENT);
    IN_SYNC(3, 4);
    CU_ASSERT(node_is("3,4", "", "") && state_is("a", 0, 3, 3, "3,4"));
    end();
}

/* ---- deaths ---- */

/* Who is not there to delete its replica is told when it comes. */
static void test_old_replica_is_dead(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(1, 3));
    delete ("/brokers/ids/2");
    deliver();
    IN_SYNC(1, 3);
    deliver();
    CU_ASSERT(node_is("1,3", "", ""));
    CU_ASSERT_PTR_NULL(strstr(t.sent, "stop"));
    t.sent[0] = '\0';
    register_broker(2);
    deliver();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=2 a-0 epoch=3\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=2 a-0 epoch=3 delete\n"));
    CU_ASSERT_PTR_NULL(strstr(t.sent, "lisr to=2"));
    t.sent[0] = '\0';
    delete ("/brokers/ids/2");
    register_broker(2);
    deliver();
    CU_ASSERT_PTR_NULL(strstr(t.sent, "stop"));
    end();
}

/* It dies when it has been asked. */
static void test_old_replica_dies(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(1, 3));
    t.keep_answers = true;
    IN_SYNC(1, 2, 3);
    CU_ASSERT(node_is("1,3,2", "3", "2"));
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT(node_is("1,3", "", ""));
    end();
}

/* Its directory has failed. */
static void test_old_replica_cannot_delete(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(1, 3));
    t.stop_error = ERR_KAFKA_STORAGE_ERROR;
    IN_SYNC(1, 2, 3);
    deliver();
    CU_ASSERT(node_is("1,3", "", ""));
    end();
}

/* It leaves, is to stay, and leaves again: that it did not do the first is not said of the second. */
static void test_old_replica_answers_late(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(1, 3));
    t.stop_error = ERR_FENCED_LEADER_EPOCH;
    IN_SYNC(1, 2, 3);
    t.stop_error = OK;
    MUST(MOVE(2, 1));
    MUST(cancel());
    t.sent[0] = '\0';
    deliver();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=2 a-0 epoch=5 delete\n"));
    CU_ASSERT(node_is("1,3", "", ""));
    end();
}

/* It was told to stop for another reason, too: that it has is not that it has deleted. */
static void test_old_replica_stops_twice(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(1, 3));
    t.keep_answers = true;
    IN_SYNC(1, 2, 3);
    t.answers[t.answers_n++] = t.answers[0];
    deliver_answer();
    deliver_answer();
    CU_ASSERT(node_is("1,3,2", "3", "2"));
    deliver_answer();
    CU_ASSERT(node_is("1,3", "", ""));
    end();
}

static void test_new_replica_dies(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(3));
    delete ("/brokers/ids/3");
    deliver();
    CU_ASSERT(node_is("3,1,2", "3", "1,2") && under_way() == 1);
    CU_ASSERT(state_is("a", 0, 1, 1, "1,2"));
    t.sent[0] = '\0';
    register_broker(3);
    deliver();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "lisr to=3 epoch=1 a-0 leader=1/1"));
    IN_SYNC(1, 2, 3);
    deliver();
    CU_ASSERT(node_is("3", "", "") && state_is("a", 0, 3, 3, "3"));
    end();
}

/* It had no replica that lived, and gets one. */
static void test_never_led(void)
{
    begin_cluster(2);
    make_topic("a", "{\"0\":[7,8]}");
    MUST(MOVE(2));
    CU_ASSERT(node_is("2", "", "") && state_is("a", 0, 2, 1, "2"));
    end();
}

static void test_deleted_meanwhile(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(3));
    create_text("/admin/delete_topics/a", "");
    deliver();
    CU_ASSERT(holds("/brokers/topics/a", NULL) && holds("/admin/delete_topics/a", NULL));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=3 a-0 epoch=-2 delete\n"));
    end();
}

/* Who has left and has not deleted yet is not forgotten. */
static void test_deleted_while_one_leaves(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(1, 3));
    t.keep_answers = true;
    IN_SYNC(1, 2, 3);
    create_text("/admin/delete_topics/a", "");
    t.sent[0] = '\0';
    deliver();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=2 a-0 epoch=-2 delete\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=1 a-0 epoch=-2\n"));
    end();
}

/* A topic on its way out does not come back with the end of a move. */
static void test_ends_while_it_is_deleted(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(1, 3));
    t.keep_answers = true;
    create_text("/admin/delete_topics/a", "");
    deliver();
    t.sent[0] = '\0';
    IN_SYNC(1, 2, 3);
    CU_ASSERT_PTR_NULL(strstr(t.sent, "lisr"));
    end();
}

/* ---- other controllers ---- */

/* In each phase: what the store says is gone on with. */
static void test_failover(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    set_text(
        "/brokers/topics/a",
        "{\"version\":3,\"topic_id\":\"UWiCpwSsQ4ivFT6VXwMLDA\",\"partitions\":{\"0\":[3,1,2]},"
        "\"adding_replicas\":{\"0\":[3]},\"removing_replicas\":{\"0\":[1,2]}}");
    fail_over(); /* nobody had been told */
    CU_ASSERT(state_is("a", 0, 1, 1, "1,2") && under_way() == 1);
    IN_SYNC(1, 2, 3);
    fail_over(); /* they have been asked to stop, and may not have */
    CU_ASSERT(node_is("3", "", "") && state_is("a", 0, 3, 4, "3"));
    t.sent[0] = '\0';
    fail_over();
    CU_ASSERT(state_is("a", 0, 3, 4, "3"));
    CU_ASSERT_PTR_NULL(strstr(t.sent, "stop"));
    end();
}

/* A plan was cancelled by a controller that wrote that, and nothing more: who was in sync by then goes. */
static void test_failover_after_a_cancel(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[3,1,2]}");
    set_text("/brokers/topics/a",
             "{\"version\":3,\"topic_id\":\"UWiCpwSsQ4ivFT6VXwMLDA\",\"partitions\":{\"0\":[1,2]},"
             "\"adding_replicas\":{},\"removing_replicas\":{}}");
    t.sent[0] = '\0';
    fail_over();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=3 a-0 epoch=1\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=3 a-0 epoch=2 delete\n"));
    CU_ASSERT(state_is("a", 0, 1, 2, "1,2") && node_is("1,2", "", "") && under_way() == 0);
    end();
}

/* ---- with others' writes ---- */

/* Partitions are added by somebody else in between. */
static void test_conflicts(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    set_text("/brokers/topics/a",
             "{\"version\":3,\"topic_id\":\"UWiCpwSsQ4ivFT6VXwMLDA\",\"partitions\":{\"0\":[1,2],"
             "\"1\":[2,3]}}");
    MUST(MOVE(1, 3));
    CU_ASSERT(node_is("1,3,2", "3", "2") && node_of_a().partitions_n == 2);
    deliver();
    t.keep_answers = true;
    IN_SYNC(1, 2, 3);
    set_text("/brokers/topics/a",
             "{\"version\":3,\"topic_id\":\"UWiCpwSsQ4ivFT6VXwMLDA\",\"partitions\":{\"0\":[1,3,2],"
             "\"1\":[2,3],\"2\":[2]},\"adding_replicas\":{\"0\":[3]},\"removing_replicas\":{\"0\":["
             "2]}}");
    t.queue_n = 0; /* it has not heard of it */
    t.keep_answers = false;
    deliver();
    CU_ASSERT(node_is("1,3", "", "") && node_of_a().partitions_n == 3);
    CU_ASSERT(controller_is_active(t.controller));
    end();
}

/* ---- /admin/reassign_partitions ---- */

static const char PLAN[] = "/admin/reassign_partitions";

static void test_by_node(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    create_text(PLAN, "{\"version\":1,\"partitions\":["
                      "{\"topic\":\"a\",\"partition\":0,\"replicas\":[1,3]},"
                      "{\"topic\":\"a\",\"partition\":9,\"replicas\":[1,3]},"
                      "{\"topic\":\"b\",\"partition\":0,\"replicas\":[1]}]}");
    deliver();
    CU_ASSERT(holds(PLAN, "{\"version\":1,\"partitions\":[{\"topic\":\"a\",\"partition\":0,"
                          "\"replicas\":[1,3]}]}"));
    CU_ASSERT(node_is("1,3,2", "3", "2") && state_is("a", 0, 1, 1, "1,2"));
    fail_over();
    CU_ASSERT(state_is("a", 0, 1, 2, "1,2"));
    IN_SYNC(1, 2, 3);
    deliver();
    CU_ASSERT(holds(PLAN, NULL) && node_is("1,3", "", ""));
    create_text(PLAN, "no plan");
    deliver();
    CU_ASSERT(holds(PLAN, NULL));
    create_text(PLAN, "{\"version\":1,\"partitions\":[{\"topic\":\"a\",\"partition\":0,"
                      "\"replicas\":[2]}]}");
    deliver();
    CU_ASSERT_EQUAL(under_way(), 1);
    MUST(cancel());
    deliver();
    CU_ASSERT(holds(PLAN, NULL) && node_is("1,3", "", ""));
    CU_ASSERT(controller_is_active(t.controller));
    end();
}

/* Each topic's node is written once, in whatever order its partitions come. */
static void test_by_node_in_any_order(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2],\"1\":[1,2]}");
    make_topic("b", "{\"0\":[1,2],\"1\":[1,2]}");
    int32_t version = version_of("/brokers/topics/a");
    create_text(PLAN, "{\"version\":1,\"partitions\":["
                      "{\"topic\":\"a\",\"partition\":0,\"replicas\":[1,3]},"
                      "{\"topic\":\"b\",\"partition\":0,\"replicas\":[1,3]},"
                      "{\"topic\":\"a\",\"partition\":1,\"replicas\":[1,3]},"
                      "{\"topic\":\"b\",\"partition\":1,\"replicas\":[1,3]}]}");
    deliver();
    CU_ASSERT_EQUAL(under_way(), 4);
    CU_ASSERT_EQUAL(version_of("/brokers/topics/a"), version + 1);
    end();
}

/* Elected again it does not take what it knew of the node for what is there. */
static void test_by_node_in_two_offices(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    create_text(PLAN, "{\"version\":1,\"partitions\":["
                      "{\"topic\":\"a\",\"partition\":0,\"replicas\":[1,3]}]}");
    deliver();
    controller_resign(t.controller, "a test");
    set_text("/brokers/topics/a",
             "{\"version\":3,\"topic_id\":\"UWiCpwSsQ4ivFT6VXwMLDA\",\"partitions\":{\"0\":[2,1]},"
             "\"adding_replicas\":{\"0\":[2]},\"removing_replicas\":{}}");
    delete ("/controller");
    t.queue_n = 0;
    MUST(controller_elect(t.controller)); /* what is under way has come to its end */
    CU_ASSERT(node_is("1,3,2", "3", "2") && under_way() == 1);
    CU_ASSERT(holds(PLAN, "{\"version\":1,\"partitions\":[{\"topic\":\"a\",\"partition\":0,"
                          "\"replicas\":[1,3]}]}"));
    end();
}

/* What is under way is left where it is by who balances leaders. */
static void test_no_balance_meanwhile(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2]}");
    MUST(MOVE(2, 3));
    controller_rebalance(t.controller);
    CU_ASSERT(state_is("a", 0, 1, 1, "1,2"));
    end();
}

SUITE("controller_moves", TEST(test_moves), TEST(test_leader_stays), TEST(test_without_a_move),
      TEST(test_refusals), TEST(test_cancel), TEST(test_another_plan),
      TEST(test_another_before_the_end), TEST(test_no_way_back), TEST(test_old_replica_is_dead),
      TEST(test_old_replica_dies), TEST(test_old_replica_cannot_delete),
      TEST(test_old_replica_answers_late), TEST(test_old_replica_stops_twice),
      TEST(test_new_replica_dies), TEST(test_never_led), TEST(test_deleted_meanwhile),
      TEST(test_deleted_while_one_leaves), TEST(test_ends_while_it_is_deleted), TEST(test_failover),
      TEST(test_failover_after_a_cancel), TEST(test_conflicts), TEST(test_by_node),
      TEST(test_by_node_in_any_order), TEST(test_by_node_in_two_offices),
      TEST(test_no_balance_meanwhile))

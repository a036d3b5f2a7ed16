/* The controller by itself: elections, topics as znodes, deletions, whatever else it finds in the
 * store. Several brokers: test_controller_cluster.c; what it is asked: test_controller_asked.c. */
#include "broker/tests/controller_util.h"

static void test_election(void)
{
    begin();
    elect();
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT(holds(ZNODE_CONTROLLER, "{\"version\":2,\"brokerid\":1,\"timestamp\":"
                                      "\"1700000000000\",\"kraftControllerEpoch\":-1}"));
    CU_ASSERT(holds(ZNODE_CONTROLLER_EPOCH, "1"));
    CU_ASSERT(holds(ZNODE_FEATURE, "{\"features\":{},\"version\":2,\"status\":1}"));
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=1\n"));
    restart();
    CU_ASSERT(holds(ZNODE_CONTROLLER_EPOCH, "2"));
    CU_ASSERT(was_sent("umr to=1 epoch=2 live=1\n"));
    end();
}

static void test_another_controller_is_there(void)
{
    begin();
    create_text(ZNODE_CONTROLLER_EPOCH, "5");
    create_text(ZNODE_CONTROLLER, "{\"version\":2,\"brokerid\":9,\"timestamp\":\"1\"}");
    elect();
    CU_ASSERT_FALSE(controller_is_active(t.controller));
    CU_ASSERT(holds(ZNODE_CONTROLLER_EPOCH, "5"));
    create_topic("a", "{\"0\":[1]}");
    deliver();
    CU_ASSERT(was_sent(""));
    CU_ASSERT(holds("/brokers/topics/a/partitions", NULL));
    end();
}

/* The store refuses every transaction, as with a full disk; reading goes on. */
static err refuse_multi(struct coord *coord, struct coord_op *ops, size_t count,
                        struct arena *arena)
{
    (void)coord;
    (void)ops;
    (void)count;
    (void)arena;
    return err_from_errno(ENOSPC);
}

/* A broker asks its controller for producer ids: who it is, and in which life. */
static void test_who_may_ask(void)
{
    begin();
    elect();
    struct coord_op get = {.type = COORD_GET, .path = "/brokers/ids/1"};
    MUST(coord_run(t.coord, &get, 1, &t.arena));
    int64_t epoch = get.stat.czxid;
    MUST(controller_check_broker(t.controller, 1, epoch));
    CU_ASSERT_EQUAL(controller_check_broker(t.controller, 1, epoch - 1), ERR_STALE_BROKER_EPOCH);
    CU_ASSERT_EQUAL(controller_check_broker(t.controller, 1, epoch + 1), ERR_STALE_BROKER_EPOCH);
    CU_ASSERT_EQUAL(controller_check_broker(t.controller, 2, epoch), ERR_BROKER_ID_NOT_REGISTERED);
    int64_t first = -1;
    MUST(producer_ids_block(t.coord, 1, &first));
    CU_ASSERT_EQUAL(first, 0);
    MUST(producer_ids_block(t.coord, 2, &first));
    CU_ASSERT_EQUAL(first, PRODUCER_IDS_BLOCK);
    controller_resign(t.controller, "for the test");
    CU_ASSERT_EQUAL(controller_check_broker(t.controller, 1, epoch), ERR_NOT_CONTROLLER);
    end();
}

static void test_store_fails_for_a_while(void)
{
    begin();
    elect();
    deliver();
    const struct coord_ops *usual = t.coord->ops;
    const struct coord_ops full = {.run = usual->run, .multi = refuse_multi, .owned = usual->owned};
    create_topic("a", "{\"0\":[1]}");
    t.coord->ops = &full;
    deliver();
    CU_ASSERT_FALSE(controller_is_active(t.controller));
    CU_ASSERT_NOT_EQUAL(controller_elect(t.controller), OK);
    CU_ASSERT_FALSE(controller_is_active(t.controller));
    t.coord->ops = usual;
    t.sent[0] = '\0';
    MUST(controller_elect(t.controller));
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT(holds(ZNODE_CONTROLLER_EPOCH, "2"));
    CU_ASSERT(was_sent("umr to=1 epoch=2 live=1\n"
                       "lisr to=1 epoch=2 a-0 leader=1/0 version=0 replicas=1 isr=1 new\n"
                       "umr to=1 epoch=2 live=1 a-0:1\n"));
    create_topic("b", "{\"0\":[1]}");
    deliver();
    CU_ASSERT(holds("/brokers/topics/b/partitions/0/state",
                    "{\"controller_epoch\":2,\"leader\":1,\"version\":1,\"leader_epoch\":0,"
                    "\"isr\":[1]}"));
    end();
}

static void test_create_topic(void)
{
    begin();
    elect();
    deliver();
    t.sent[0] = '\0';
    create_topic("a", "{\"0\":[1],\"1\":[1]}");
    deliver();
    CU_ASSERT(was_sent("lisr to=1 epoch=1 a-0 leader=1/0 version=0 replicas=1 isr=1 new\n"
                       "lisr to=1 epoch=1 a-1 leader=1/0 version=0 replicas=1 isr=1 new\n"
                       "umr to=1 epoch=1 live=1 a-0:1 a-1:1\n"));
    CU_ASSERT(holds("/brokers/topics/a/partitions/1/state",
                    "{\"controller_epoch\":1,\"leader\":1,\"version\":1,\"leader_epoch\":0,"
                    "\"isr\":[1]}"));
    create_topic("b", "{\"0\":[1]}");
    create_topic("c", "{\"0\":[1]}");
    deliver();
    CU_ASSERT(was_sent("lisr to=1 epoch=1 b-0 leader=1/0 version=0 replicas=1 isr=1 new\n"
                       "lisr to=1 epoch=1 c-0 leader=1/0 version=0 replicas=1 isr=1 new\n"
                       "umr to=1 epoch=1 live=1 b-0:1 c-0:1\n"));
    CU_ASSERT(controller_is_active(t.controller));
    end();
}

/* A broker alone that comes back keeps the leader epoch. */
static void test_restart(void)
{
    begin();
    elect();
    create_topic("a", "{\"0\":[1]}");
    deliver();
    t.sent[0] = '\0';
    restart();
    CU_ASSERT(was_sent("umr to=1 epoch=2 live=1\n"
                       "lisr to=1 epoch=2 a-0 leader=1/0 version=0 replicas=1 isr=1\n"
                       "umr to=1 epoch=2 live=1 a-0:1\n"));
    CU_ASSERT(holds("/brokers/topics/a/partitions/0/state",
                    "{\"controller_epoch\":1,\"leader\":1,\"version\":1,\"leader_epoch\":0,"
                    "\"isr\":[1]}"));
    end();
}

/* A topic that was written while no controller was there is found by the next one. */
static void test_topic_made_in_between(void)
{
    begin();
    create_topic("a", "{\"0\":[1]}");
    create_text("/admin/delete_topics/gone", "");
    elect();
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=1\n"
                       "lisr to=1 epoch=1 a-0 leader=1/0 version=0 replicas=1 isr=1 new\n"
                       "umr to=1 epoch=1 live=1 a-0:1\n"));
    CU_ASSERT(holds("/admin/delete_topics/gone", NULL));
    end();
}

static void test_add_partitions(void)
{
    begin();
    elect();
    create_topic("a", "{\"0\":[1]}");
    deliver();
    t.sent[0] = '\0';
    set_text("/brokers/topics/a", "{\"version\":3,\"topic_id\":\"UWiCpwSsQ4ivFT6VXwMLDA\","
                                  "\"partitions\":{\"0\":[1],\"1\":[1],\"2\":[1]}}");
    deliver();
    CU_ASSERT(was_sent("lisr to=1 epoch=1 a-1 leader=1/0 version=0 replicas=1 isr=1 new\n"
                       "lisr to=1 epoch=1 a-2 leader=1/0 version=0 replicas=1 isr=1 new\n"
                       "umr to=1 epoch=1 live=1 a-1:1 a-2:1\n"));
    set_text("/brokers/topics/a", "{\"version\":3,\"topic_id\":\"UWiCpwSsQ4ivFT6VXwMLDA\","
                                  "\"partitions\":{\"0\":[1],\"1\":[1],\"2\":[1],\"3\":[1]}}");
    deliver(); /* the watch was set again */
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "a-3 leader=1/0"));
    end();
}

static void test_delete_topic(void)
{
    begin();
    elect();
    create_topic("a", "{\"0\":[1],\"1\":[1]}");
    create_topic("b", "{\"0\":[1]}");
    deliver();
    t.sent[0] = '\0';
    create_text("/admin/delete_topics/a", "");
    deliver();
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=1 a-0:-2 a-1:-2\n"
                       "stop to=1 a-0 epoch=-2\nstop to=1 a-1 epoch=-2\n"
                       "stop to=1 a-0 epoch=-2 delete\nstop to=1 a-1 epoch=-2 delete\n"));
    CU_ASSERT(holds("/brokers/topics/a", NULL) && holds("/config/topics/a", NULL));
    CU_ASSERT(holds("/admin/delete_topics/a", NULL));
    CU_ASSERT_FALSE(holds("/brokers/topics/b/partitions/0", NULL));
    create_topic("a", "{\"0\":[1]}");
    deliver();
    CU_ASSERT(was_sent("lisr to=1 epoch=1 a-0 leader=1/0 version=0 replicas=1 isr=1 new\n"
                       "umr to=1 epoch=1 live=1 a-0:1\n"));
    create_text("/admin/delete_topics/a", "");
    create_text("/admin/delete_topics/b", "");
    deliver();
    CU_ASSERT(holds("/brokers/topics/a", NULL) && holds("/brokers/topics/b", NULL));
    CU_ASSERT(controller_is_active(t.controller));
    end();
}

static void test_deletion_is_disabled(void)
{
    begin();
    t.delete_topic_enable = false;
    elect();
    create_topic("a", "{\"0\":[1]}");
    deliver();
    t.sent[0] = '\0';
    create_text("/admin/delete_topics/a", "");
    deliver();
    CU_ASSERT(was_sent(""));
    CU_ASSERT(holds("/admin/delete_topics/a", NULL));
    CU_ASSERT_FALSE(holds("/brokers/topics/a", NULL));
    end();
}

/* Somebody else raised the epoch: nothing is written any more. */
static void test_foreign_epoch(void)
{
    begin();
    elect();
    create_topic("a", "{\"0\":[1]}");
    deliver();
    t.sent[0] = '\0';
    set_text(ZNODE_CONTROLLER_EPOCH, "2");
    create_topic("b", "{\"0\":[1]}");
    deliver();
    CU_ASSERT_FALSE(controller_is_active(t.controller));
    CU_ASSERT(holds("/brokers/topics/b/partitions", NULL));
    CU_ASSERT(was_sent(""));
    create_text("/admin/delete_topics/a", "");
    deliver();
    CU_ASSERT(was_sent(""));
    CU_ASSERT_FALSE(holds("/brokers/topics/a", NULL));
    end();
}

static void test_several_brokers(void)
{
    begin();
    register_broker(2);
    elect();
    t.sent[0] = '\0';
    create_topic("a", "{\"0\":[2,1],\"1\":[3,2],\"2\":[3]}"); /* 3 is not there */
    deliver();
    CU_ASSERT(was_sent("lisr to=1 epoch=1 a-0 leader=2/0 version=0 replicas=2,1 isr=2,1 new\n"
                       "lisr to=2 epoch=1 a-0 leader=2/0 version=0 replicas=2,1 isr=2,1 new\n"
                       "lisr to=2 epoch=1 a-1 leader=2/0 version=0 replicas=3,2 isr=2 new\n"
                       "umr to=1 epoch=1 live=2 a-0:2 a-1:2\n"
                       "umr to=2 epoch=1 live=2 a-0:2 a-1:2\n"));
    register_broker(3); /* its partition gets a leader */
    deliver();
    CU_ASSERT_PTR_NOT_NULL(
        strstr(t.sent, "lisr to=3 epoch=1 a-2 leader=3/0 version=0 replicas=3 isr=3 new\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "umr to=3 epoch=1 live=3 a-0:2 a-1:2\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "umr to=3 epoch=1 live=3 a-2:3\n"));
    t.sent[0] = '\0';
    delete ("/brokers/ids/2"); /* the first replica that lives and is in sync leads */
    deliver();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "a-0 leader=1/1 version=1 replicas=2,1 isr=1\n"));
    CU_ASSERT(holds("/brokers/topics/a/partitions/0/state",
                    "{\"controller_epoch\":1,\"leader\":1,\"version\":1,\"leader_epoch\":1,"
                    "\"isr\":[1]}"));
    /* a-1's only replica in sync is gone: 3 may not lead. */
    CU_ASSERT_PTR_NULL(strstr(t.sent, "a-1 leader=3"));
    CU_ASSERT(controller_is_active(t.controller));
    end();
}

/* A deletion waits for the broker that has a replica, also over an election. */
static void test_deletion_waits(void)
{
    begin();
    register_broker(2);
    elect();
    create_topic("a", "{\"0\":[1,2]}");
    deliver();
    delete ("/brokers/ids/2");
    deliver();
    t.sent[0] = '\0';
    create_text("/admin/delete_topics/a", "");
    deliver();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=1 a-0 epoch=-2 delete"));
    CU_ASSERT_PTR_NULL(strstr(t.sent, "stop to=2"));
    CU_ASSERT_FALSE(holds("/brokers/topics/a", NULL));
    register_broker(2);
    deliver();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=2 a-0 epoch=-2 delete"));
    CU_ASSERT(holds("/brokers/topics/a", NULL));
    end();
}

/* Nodes of older versions, and one that is no topic, which is passed over. */
static void test_other_topic_nodes(void)
{
    begin();
    create_text("/brokers/topics/old", "{\"version\":1,\"partitions\":{\"0\":[1]}}");
    create_text("/brokers/topics/bad", "{\"version\":1,\"partitions\":\"x\"}");
    elect();
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "old-0 leader=1/0"));
    CU_ASSERT_PTR_NULL(strstr(t.sent, "bad"));
    struct coord_op get = {.type = COORD_GET, .path = "/brokers/topics/old"};
    struct znode_topic node;
    MUST(coord_run(t.coord, &get, 1, &t.arena));
    MUST(znode_topic_decode(&t.arena, get.value, &node));
    CU_ASSERT_FALSE(uuid_is_zero(node.id));
    end();
}

/* More operations than fit in one transaction. */
static void test_many_partitions(void)
{
    begin();
    elect();
    enum { N = 1500 };
    struct id_list lists[N];
    int32_t one = 1;
    for (int i = 0; i < N; i++) {
        lists[i] = (struct id_list){.ids = &one, .count = 1};
    }
    struct znode_topic node = {
        .id = uuid_random(random_system()), .partitions = lists, .partitions_n = N};
    create("/brokers/topics/many", znode_topic_encode(&t.arena, &node), 0);
    deliver();
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT_FALSE(holds("/brokers/topics/many/partitions/1499/state", NULL));
    create_text("/admin/delete_topics/many", "");
    deliver();
    CU_ASSERT(holds("/brokers/topics/many", NULL));
    CU_ASSERT(controller_is_active(t.controller));
    end();
}

/* Its node goes (the session has expired at the store): it stands for election again, with the next
 * epoch, and the leaders stay. */
static void test_node_vanishes(void)
{
    begin();
    elect();
    create_topic("a", "{\"0\":[1]}");
    deliver();
    t.sent[0] = '\0';
    delete (ZNODE_CONTROLLER);
    deliver();
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT(holds(ZNODE_CONTROLLER_EPOCH, "2"));
    CU_ASSERT(was_sent("umr to=1 epoch=2 live=1\n"
                       "lisr to=1 epoch=2 a-0 leader=1/0 version=0 replicas=1 isr=1\n"
                       "umr to=1 epoch=2 live=1 a-0:1\n"));
    end();
}

/* Another broker takes the office while this one believes to hold it; when that one goes, this one
 * follows. */
static void test_deposed_and_back(void)
{
    begin();
    elect();
    deliver();
    delete (ZNODE_CONTROLLER);
    set_text(ZNODE_CONTROLLER_EPOCH, "2");
    create_text(ZNODE_CONTROLLER, "{\"version\":2,\"brokerid\":9,\"timestamp\":\"1\"}");
    deliver();
    CU_ASSERT_FALSE(controller_is_active(t.controller));
    t.sent[0] = '\0';
    create_topic("a", "{\"0\":[1]}");
    deliver();
    CU_ASSERT(was_sent(""));
    delete (ZNODE_CONTROLLER);
    deliver();
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT(holds(ZNODE_CONTROLLER_EPOCH, "3"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "lisr to=1 epoch=3 a-0 leader=1/0"));
    end();
}

static void test_resign(void)
{
    begin();
    elect();
    deliver();
    controller_resign(t.controller, "the test says so");
    t.sent[0] = '\0';
    create_topic("a", "{\"0\":[1]}");
    deliver();
    CU_ASSERT(was_sent(""));
    MUST(controller_elect(t.controller)); /* its own old node does not keep it from it */
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT(holds(ZNODE_CONTROLLER_EPOCH, "2"));
    deliver();
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT(holds(ZNODE_CONTROLLER_EPOCH, "2"));
    end();
}

/* The nodes of a topic go when its brokers have confirmed, not before; a refusal keeps them. */
static void test_deletion_is_confirmed(void)
{
    begin();
    register_broker(2);
    elect();
    create_topic("a", "{\"0\":[1,2]}");
    deliver();
    t.keep_answers = true;
    t.stop_error = 56;
    create_text("/admin/delete_topics/a", "");
    deliver();
    CU_ASSERT_EQUAL(t.answers_n, 2);
    CU_ASSERT_FALSE(holds("/brokers/topics/a", NULL));
    t.keep_answers = false;
    deliver();
    CU_ASSERT_FALSE(holds("/brokers/topics/a", NULL));
    t.stop_error = 0;
    delete ("/brokers/ids/2"); /* not while one is away */
    deliver();
    CU_ASSERT_FALSE(holds("/brokers/topics/a", NULL));
    t.keep_answers = true;
    register_broker(2);
    deliver();
    deliver_answer();
    CU_ASSERT_FALSE(holds("/brokers/topics/a", NULL));
    deliver_answer();
    CU_ASSERT(holds("/brokers/topics/a", NULL) && holds("/admin/delete_topics/a", NULL));
    CU_ASSERT(controller_is_active(t.controller));
    end();
}

/* Before version 5 topics are named, not by ids. */
static void answer_roles(const char *name, int32_t broker, int16_t error)
{
    struct coord_op get = {.type = COORD_GET,
                           .path = arena_format(&t.arena, "/brokers/topics/%s", name).data};
    struct znode_topic node;
    MUST(coord_run(t.coord, &get, 1, &t.arena));
    MUST(znode_topic_decode(&t.arena, get.value, &node));
    struct leader_and_isr_response_partition_error partition = {.error_code = error};
    struct leader_and_isr_response_topic topic = {
        .topic_id = node.id, .partition_errors = &partition, .partition_errors_n = 1};
    struct leader_and_isr_response_partition_error named[] = {
        {.topic_name = STR("unknown"), .error_code = error},
        {.topic_name = str_of(name), .partition_index = 7, .error_code = error},
        {.topic_name = str_of(name), .error_code = error}};
    struct leader_and_isr_response response = {.topics = &topic, .topics_n = 1};
    if (t.speaks_2_8_iv0) {
        response =
            (struct leader_and_isr_response){.partition_errors = named, .partition_errors_n = 3};
    }
    struct told_request told = {
        .api_key = 4, .controller_epoch = 1, .broker_epoch = epoch_of(broker)};
    controller_on_answer(t.controller, broker, &told, &response);
}

/* A broker whose directory has failed asks to be asked; what it refuses then has another leader, or
 * none, until it can be used again. */
static void directory_fails(bool speaks_2_8_iv0)
{
    begin();
    t.speaks_2_8_iv0 = speaks_2_8_iv0;
    register_broker(2);
    elect();
    create_topic("a", "{\"0\":[1,2]}");
    deliver();
    t.sent[0] = '\0';
    create_text("/log_dir_event_notification/log_dir_event_0000000000",
                "{\"version\":1,\"broker\":1,\"event\":1}");
    deliver();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "lisr to=1 epoch=1 a-0 leader=1/0"));
    CU_ASSERT_PTR_NULL(strstr(t.sent, "to=2"));
    CU_ASSERT(holds("/log_dir_event_notification/log_dir_event_0000000000", NULL));
    answer_roles("a", 1, 56);
    const char *then =
        strstr(t.sent, "lisr to=2 epoch=1 a-0 leader=2/1 version=1 replicas=1,2 isr=2\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(then); /* the other is told who leads now, this one to stop */
    CU_ASSERT_STRING_EQUAL(then, "lisr to=2 epoch=1 a-0 leader=2/1 version=1 replicas=1,2 isr=2\n"
                                 "umr to=1 epoch=1 live=2 a-0:2\numr to=2 epoch=1 live=2 a-0:2\n"
                                 "stop to=1 a-0 epoch=1\n");
    CU_ASSERT_PTR_NULL(strstr(t.sent, "lisr to=1 epoch=1 a-0 leader=2"));
    t.sent[0] = '\0';
    answer_roles("a", 1, 56); /* no news */
    answer_roles("a", 1, 11); /* neither: it had these roles before */
    CU_ASSERT(was_sent(""));
    answer_roles("a", 2, 56);
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "umr to=1 epoch=1 live=2 a-0:-1\n"));
    answer_roles("a", 2, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "a-0 leader=2/3 version=3 replicas=1,2 isr=2\n"));
    t.sent[0] = '\0';
    create_text("/log_dir_event_notification/log_dir_event_0000000001", "{\"broker\":7}");
    create_text("/log_dir_event_notification/log_dir_event_0000000002", "nobody's");
    deliver();
    CU_ASSERT(was_sent("") && holds("/log_dir_event_notification/log_dir_event_0000000001", NULL));
    CU_ASSERT(controller_is_active(t.controller));
    end();
}

static void test_failed_directory(void)
{
    directory_fails(false);
    directory_fails(true);
}

/* Of a replica that is not in sync nothing is decided when its directory fails; that it is offline is
 * told, and that it can be used again. */
static void test_failed_directory_of_idle(void)
{
    begin();
    elect();
    create_topic("a", "{\"0\":[1,2]}");
    deliver();
    register_broker(2);
    deliver();
    t.sent[0] = '\0';
    answer_roles("a", 2, 56);
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=2 a-0:1\numr to=2 epoch=1 live=2 a-0:1\n"
                       "stop to=2 a-0 epoch=0\n"));
    t.sent[0] = '\0';
    create_text("/log_dir_event_notification/log_dir_event_0000000000", "{\"broker\":2}");
    deliver();
    CU_ASSERT(was_sent(
        "lisr to=2 epoch=1 a-0 leader=1/0 version=0 replicas=1,2 isr=1\n")); /* asked again */
    t.sent[0] = '\0';
    answer_roles("a", 2, 0);
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=2 a-0:1\numr to=2 epoch=1 live=2 a-0:1\n"));
    end();
}

/* Preferred leaders: asked for by a node, or where too many partitions are led by others. */
static void test_preferred_leaders(void)
{
    begin();
    register_broker(2);
    create_topic("a", "{\"0\":[2,1],\"1\":[2,1],\"2\":[2]}");
    create_text("/brokers/topics/a/partitions", "");
    create_text("/brokers/topics/a/partitions/0", "");
    create_text("/brokers/topics/a/partitions/1", "");
    create_text("/brokers/topics/a/partitions/0/state",
                "{\"controller_epoch\":0,\"leader\":1,\"version\":1,\"leader_epoch\":4,"
                "\"isr\":[1,2]}");
    create_text("/brokers/topics/a/partitions/1/state",
                "{\"controller_epoch\":0,\"leader\":1,\"version\":1,\"leader_epoch\":4,"
                "\"isr\":[1]}");
    elect();
    deliver();
    t.sent[0] = '\0';
    create_text(ZNODE_PREFERRED_ELECTION,
                "{\"version\":1,\"partitions\":[{\"topic\":\"nowhere\",\"partition\":0},"
                "{\"topic\":\"a\",\"partition\":9},{\"topic\":\"a\",\"partition\":1}]}");
    deliver();
    CU_ASSERT(was_sent("")); /* 2 is not in sync in a-1 */
    CU_ASSERT(holds(ZNODE_PREFERRED_ELECTION, NULL));
    create_text(ZNODE_PREFERRED_ELECTION, "{\"version\":1,\"partitions\":7}");
    deliver();
    CU_ASSERT(was_sent("") && holds(ZNODE_PREFERRED_ELECTION, NULL));
    create_text(ZNODE_PREFERRED_ELECTION,
                "{\"version\":1,\"partitions\":[{\"topic\":\"a\",\"partition\":0}]}");
    deliver();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "a-0 leader=2/5 version=1 replicas=2,1 isr=1,2\n"));
    set_text("/brokers/topics/a/partitions/1/state",
             "{\"controller_epoch\":0,\"leader\":1,\"version\":1,\"leader_epoch\":4,"
             "\"isr\":[1,2]}");
    controller_resign(t.controller, "to read it again");
    MUST(controller_elect(t.controller));
    deliver();
    t.sent[0] = '\0';
    controller_rebalance(t.controller);
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "a-1 leader=2/5 version=2 replicas=2,1 isr=1,2\n"));
    t.sent[0] = '\0';
    controller_rebalance(t.controller);
    CU_ASSERT(was_sent(""));
    end();
}

/* Somebody removes a topic's nodes by hand: the controller forgets it, and goes on. */
static void test_topic_node_vanishes(void)
{
    begin();
    elect();
    create_topic("a", "{\"0\":[1]}");
    deliver();
    delete ("/brokers/topics/a/partitions/0/state");
    delete ("/brokers/topics/a/partitions/0");
    delete ("/brokers/topics/a/partitions");
    delete ("/brokers/topics/a");
    deliver();
    CU_ASSERT(controller_is_active(t.controller));
    t.sent[0] = '\0';
    create_topic("a", "{\"0\":[1]}");
    deliver();
    CU_ASSERT(was_sent("lisr to=1 epoch=1 a-0 leader=1/0 version=0 replicas=1 isr=1 new\n"
                       "umr to=1 epoch=1 live=1 a-0:1\n"));
    end();
}

/* What an earlier controller was told is dropped. */
static void test_old_notifications(void)
{
    begin();
    create_text("/log_dir_event_notification/log_dir_event_0000000003", "");
    create_text("/isr_change_notification/isr_change_0000000001", "");
    elect();
    CU_ASSERT(holds("/log_dir_event_notification/log_dir_event_0000000003", NULL));
    CU_ASSERT(holds("/isr_change_notification/isr_change_0000000001", NULL));
    end();
}

/* Nodes that a controller left when it died in the middle of a creation. */
static void test_half_made_topic(void)
{
    begin();
    create_topic("a", "{\"0\":[1],\"1\":[1]}");
    create_text("/brokers/topics/a/partitions", "");
    create_text("/brokers/topics/a/partitions/1", "");
    elect();
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT_FALSE(holds("/brokers/topics/a/partitions/0/state", NULL));
    CU_ASSERT_FALSE(holds("/brokers/topics/a/partitions/1/state", NULL));
    create_text("/brokers/topics/b", "{\"version\":3,\"topic_id\":\"UWiCpwSsQ4ivFT6VXwMLDB\","
                                     "\"partitions\":{\"0\":[1]}}");
    create_text("/brokers/topics/b/partitions", ""); /* before the controller looks */
    deliver();
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT_FALSE(holds("/brokers/topics/b/partitions/0/state", NULL));
    end();
}

/* Whatever is below a topic goes with it; what is below a notification too. */
static void test_junk_below(void)
{
    begin();
    create_text("/log_dir_event_notification/log_dir_event_0000000001", "");
    create_text("/log_dir_event_notification/log_dir_event_0000000001/x", "");
    elect();
    CU_ASSERT(holds("/log_dir_event_notification/log_dir_event_0000000001", NULL));
    create_topic("a", "{\"0\":[1]}");
    deliver();
    create_text("/brokers/topics/a/partitions/7", "");
    create_text("/brokers/topics/a/extra", "");
    create_text("/brokers/topics/a/extra/deep", "");
    create_text("/admin/delete_topics/a", "");
    deliver();
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT(holds("/brokers/topics/a", NULL) && holds("/config/topics/a", NULL));
    CU_ASSERT(holds("/admin/delete_topics/a", NULL));
    end();
}

/* A state that makes no sense leaves its partition alone, and nothing else. */
static void test_unreadable_states(void)
{
#define STATE(epoch)                                                                               \
    "{\"controller_epoch\":0,\"leader\":1,\"version\":1,\"leader_epoch\":" epoch ",\"isr\":[1]}"
    static const char *const BAD[] = {"", "x", "{\"x\":1}", STATE("-5"), STATE("2147483647")};
#undef STATE
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        begin();
        create_topic("a", "{\"0\":[1],\"1\":[1]}");
        create_text("/brokers/topics/a/partitions", "");
        create_text("/brokers/topics/a/partitions/0", "");
        create_text("/brokers/topics/a/partitions/0/state", BAD[i]);
        elect();
        CU_ASSERT(controller_is_active(t.controller));
        CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "a-1 leader=1/0"));
        CU_ASSERT_PTR_NULL(strstr(t.sent, "a-0 "));
        CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "umr to=1 epoch=1 live=1 a-0:-1\n"));
        CU_ASSERT(holds("/brokers/topics/a/partitions/0/state", BAD[i]));
        end();
    }
}

/* Topics that cannot be read are passed over, until they can. */
static void test_topic_is_mended(void)
{
    begin();
    elect();
    create_text("/brokers/topics/a", "x");
    create_text("/brokers/topics/not legal", "{\"version\":1,\"partitions\":{\"0\":[1]}}");
    deliver();
    CU_ASSERT(controller_is_active(t.controller));
    t.sent[0] = '\0';
    set_text("/brokers/topics/a", "{\"version\":3,\"topic_id\":\"UWiCpwSsQ4ivFT6VXwMLDA\","
                                  "\"partitions\":{\"0\":[1]}}");
    deliver();
    CU_ASSERT(was_sent("lisr to=1 epoch=1 a-0 leader=1/0 version=0 replicas=1 isr=1 new\n"
                       "umr to=1 epoch=1 live=1 a-0:1\n"));
    CU_ASSERT(holds("/brokers/topics/not legal/partitions", NULL));
    create_text("/brokers/topics/b", "y");
    deliver();
    delete ("/brokers/topics/b");
    create_topic("b", "{\"0\":[1]}");
    deliver();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "b-0 leader=1/0"));
    end();
}

static void test_epoch_out_of_range(void)
{
    static const char *const BAD[] = {"", "x", "-9", "2147483647", "99999999999"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        begin();
        create_text(ZNODE_CONTROLLER_EPOCH, BAD[i]);
        const struct controller_config config = {
            .broker_id = 1,
            .coord = t.coord,
            .clock = &t.clock.clock,
            .random = random_system(),
            .listener = "PLAINTEXT",
            .versions = {.leader_and_isr = 7,
                         .update_metadata = 8,
                         .stop_replica = 4,
                         .feature_node = 2},
            .links = {.send = on_send, .set_targets = on_targets}};
        t.controller = controller_new(&config);
        CU_ASSERT_EQUAL(controller_elect(t.controller), E_MALFORMED);
        CU_ASSERT_STRING_EQUAL(controller_unreadable(t.controller), ZNODE_CONTROLLER_EPOCH);
        CU_ASSERT(holds(ZNODE_CONTROLLER, NULL) && holds(ZNODE_CONTROLLER_EPOCH, BAD[i]));
        end();
    }
}

/* Children of /brokers/ids that are no ids. */
static void test_odd_broker_ids(void)
{
    begin();
    create_text("/brokers/ids/abc", "{}");
    create_text("/brokers/ids/007", "{}");
    create_text("/brokers/ids/99999999999", "{}");
    elect();
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=1\n"));
    end();
}

SUITE("controller", TEST(test_election), TEST(test_another_controller_is_there),
      TEST(test_who_may_ask), TEST(test_store_fails_for_a_while), TEST(test_create_topic),
      TEST(test_restart), TEST(test_topic_made_in_between), TEST(test_add_partitions),
      TEST(test_delete_topic), TEST(test_deletion_is_disabled), TEST(test_foreign_epoch),
      TEST(test_several_brokers), TEST(test_deletion_waits), TEST(test_other_topic_nodes),
      TEST(test_many_partitions), TEST(test_node_vanishes), TEST(test_deposed_and_back),
      TEST(test_resign), TEST(test_deletion_is_confirmed), TEST(test_failed_directory),
      TEST(test_failed_directory_of_idle), TEST(test_preferred_leaders),
      TEST(test_topic_node_vanishes), TEST(test_old_notifications), TEST(test_half_made_topic),
      TEST(test_junk_below), TEST(test_unreadable_states), TEST(test_topic_is_mended),
      TEST(test_epoch_out_of_range), TEST(test_odd_broker_ids))

/* What the controller is asked by brokers and clients, and answers: AlterPartition, ControlledShutdown,
 * ElectLeaders, AllocateProducerIds. (reference: replication §9) */
#include "broker/tests/controller_util.h"

/* ---- AlterPartition ---- */

/* One partition's wish, and what became of it. */
struct wish {
    int32_t broker;
    int64_t broker_epoch;
    const int64_t *epochs; /* of the members, or NULL */
    const char *topic;     /* by name, as before version 2; NULL: by the id of "a" */
    int32_t partition;
    int32_t leader_epoch;
    int32_t partition_epoch;
    const int32_t *isr;
    int32_t isr_n;
    int8_t recovery;
    bool other_id; /* one that nobody has */
};

static struct uuid id_of_a(void)
{
    struct coord_op get = {.type = COORD_GET, .path = "/brokers/topics/a"};
    struct znode_topic node;
    MUST(coord_run(t.coord, &get, 1, &t.arena));
    MUST(znode_topic_decode(&t.arena, get.value, &node));
    return node.id;
}

static struct alter_partition_response_partition altered; /* the last answer */

/* The error of the whole, or of the partition. */
static int16_t alter_as(int version, const struct wish *wish)
{
    struct alter_partition_request_partition partition;
    struct alter_partition_request_topic topic = {.partitions = &partition, .partitions_n = 1};
    struct alter_partition_request request;
    struct alter_partition_response response;
    alter_partition_request_partition_init(&partition);
    partition.partition_index = wish->partition;
    partition.leader_epoch = wish->leader_epoch;
    partition.partition_epoch = wish->partition_epoch;
    partition.new_isr = (int32_t *)(uintptr_t)wish->isr;
    partition.new_isr_n = wish->isr_n;
    partition.leader_recovery_state = wish->recovery;
    struct alter_partition_request_broker_state members[4];
    for (int32_t i = 0; wish->epochs != NULL && i < wish->isr_n; i++) {
        members[i] = (struct alter_partition_request_broker_state){.broker_id = wish->isr[i],
                                                                   .broker_epoch = wish->epochs[i]};
        partition.new_isr_with_epochs = members;
        partition.new_isr_with_epochs_n = i + 1;
    }
    if (wish->topic != NULL) {
        topic.topic_name = str_of(wish->topic);
    } else {
        topic.topic_id = id_of_a();
        topic.topic_id.bytes[0] ^= wish->other_id ? 1 : 0;
    }
    alter_partition_request_init(&request);
    request.broker_id = wish->broker;
    request.broker_epoch = wish->broker_epoch;
    request.topics = &topic;
    request.topics_n = 1;
    alter_partition_response_init(&response);
    controller_alter_partition(t.controller, version, &request, &t.arena, &response);
    if (response.error_code != OK) {
        CU_ASSERT_EQUAL(response.topics_n, 0);
        return response.error_code;
    }
    CU_ASSERT_FATAL(response.topics_n == 1 && response.topics[0].partitions_n == 1);
    altered = response.topics[0].partitions[0];
    CU_ASSERT_EQUAL(altered.partition_index, wish->partition);
    if (altered.error_code != OK) {
        CU_ASSERT(altered.leader_id == 0 && altered.leader_epoch == 0 && altered.isr_n == 0);
    }
    return altered.error_code;
}

static int16_t alter(const struct wish *wish)
{
    return alter_as(3, wish);
}

static const int32_t ISR[] = {2, 1};
static const int32_t WITH_THIRD[] = {2, 1, 3};

/* Broker 2 leads a-0 of replicas 2, 1, 3, 4, of which 2 and 1 are in sync: leader epoch 2, partition
 * epoch 2. Broker 4 is dead. What is returned changes nothing. */
static struct wish begin_wish(void)
{
    begin_cluster(4);
    make_topic("a", "{\"0\":[2,1,3,4]}");
    delete ("/brokers/ids/4");
    deliver();
    delete ("/brokers/ids/3");
    deliver();
    register_broker(3);
    deliver();
    CU_ASSERT(state_is("a", 0, 2, 2, "2,1"));
    t.sent[0] = '\0';
    return (struct wish){.broker = 2,
                         .broker_epoch = epoch_of(2),
                         .leader_epoch = 2,
                         .partition_epoch = 2,
                         .isr = ISR,
                         .isr_n = 2};
}

/* Who joins is who has fetched, and not the next one under its id, whose disk may be another. */
static void test_joins_in_its_life(void)
{
    struct wish wish = begin_wish();
    int64_t epochs[] = {-1, 1, epoch_of(3) - 1}; /* who is in sync already is not asked */
    wish.isr = WITH_THIRD;
    wish.isr_n = 3;
    wish.epochs = epochs;
    CU_ASSERT_EQUAL(alter(&wish), ERR_INELIGIBLE_REPLICA);
    CU_ASSERT(state_is("a", 0, 2, 2, "2,1"));
    epochs[2]++;
    CU_ASSERT_EQUAL(alter(&wish), OK);
    CU_ASSERT(state_is("a", 0, 2, 2, "2,1,3"));
    end();
}

static void test_isr_grows_and_shrinks(void)
{
    struct wish wish = begin_wish();
    wish.isr = WITH_THIRD;
    wish.isr_n = 3;
    CU_ASSERT_EQUAL(alter(&wish), OK);
    CU_ASSERT(altered.leader_id == 2 && altered.leader_epoch == 2);
    CU_ASSERT(altered.partition_epoch == 3 && altered.isr_n == 3 && altered.isr[2] == 3);
    CU_ASSERT(state_is("a", 0, 2, 2, "2,1,3"));
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=3 a-0:2\numr to=2 epoch=1 live=3 a-0:2\n"
                       "umr to=3 epoch=1 live=3 a-0:2\n"));
    CU_ASSERT_EQUAL(alter(&wish), OK); /* the answer was lost; it is so by now */
    CU_ASSERT_EQUAL(altered.partition_epoch, 3);
    wish.isr_n = 1;
    wish.partition_epoch = 3;
    CU_ASSERT_EQUAL(alter(&wish), OK);
    CU_ASSERT(state_is("a", 0, 2, 2, "2"));
    CU_ASSERT_EQUAL(altered.partition_epoch, 4);
    end();
}

static void test_who_may_alter(void)
{
    struct wish wish = begin_wish();
    wish.broker_epoch--;
    CU_ASSERT_EQUAL(alter(&wish), ERR_STALE_BROKER_EPOCH);
    wish.broker_epoch = -1;
    CU_ASSERT_EQUAL(alter(&wish), ERR_STALE_BROKER_EPOCH);
    wish.broker = 77;
    CU_ASSERT_EQUAL(alter(&wish), ERR_STALE_BROKER_EPOCH);
    wish.broker = 1; /* another's partition */
    wish.broker_epoch = epoch_of(1);
    CU_ASSERT_EQUAL(alter(&wish), ERR_FENCED_LEADER_EPOCH);
    controller_resign(t.controller, "for the test");
    CU_ASSERT_EQUAL(alter(&wish), ERR_NOT_CONTROLLER);
    end();
}

/* Each is refused, nothing is written, and the leader is told what is so. */
static void test_wishes_that_are_refused(void)
{
    static const int32_t WITH_DEAD[] = {2, 1, 4};
    static const int32_t WITH_STRANGER[] = {2, 1, 77};
    static const int32_t WITH_NEGATIVE[] = {2, 1, -3};
    static const int32_t TWICE[] = {2, 2};
    static const int32_t WITHOUT_LEADER[] = {1, 3};
    static const int32_t MANY[10000] = {2};
    const struct wish same = begin_wish();
    const struct {
        struct wish wish;
        err error;
    } cases[] = {
        {{.leader_epoch = 3, .partition_epoch = 2, .isr = ISR, .isr_n = 1}, ERR_NOT_CONTROLLER},
        {{.leader_epoch = 2, .partition_epoch = 3, .isr = ISR, .isr_n = 1}, ERR_NOT_CONTROLLER},
        {{.leader_epoch = 1, .partition_epoch = 2, .isr = ISR, .isr_n = 2},
         ERR_FENCED_LEADER_EPOCH},
        {{.leader_epoch = 2, .partition_epoch = 1, .isr = ISR, .isr_n = 2}, OK},
        {{.leader_epoch = 2, .partition_epoch = 1, .isr = ISR, .isr_n = 1},
         ERR_INVALID_UPDATE_VERSION},
        {{.leader_epoch = 2, .partition_epoch = 2, .isr = ISR, .isr_n = 2, .recovery = 1},
         ERR_INVALID_REQUEST},
        {{.leader_epoch = 2, .partition_epoch = 2, .isr = ISR, .isr_n = 1, .recovery = 1},
         ERR_INVALID_REQUEST},
        {{.leader_epoch = 2, .partition_epoch = 2, .isr = ISR, .isr_n = 0}, ERR_INVALID_REQUEST},
        {{.leader_epoch = 2, .partition_epoch = 2, .isr = TWICE, .isr_n = 2}, ERR_INVALID_REQUEST},
        {{.leader_epoch = 2, .partition_epoch = 2, .isr = WITHOUT_LEADER, .isr_n = 2},
         ERR_INVALID_REQUEST},
        {{.leader_epoch = 2, .partition_epoch = 2, .isr = WITH_DEAD, .isr_n = 3},
         ERR_INELIGIBLE_REPLICA},
        {{.leader_epoch = 2, .partition_epoch = 2, .isr = WITH_STRANGER, .isr_n = 3},
         ERR_INELIGIBLE_REPLICA},
        {{.leader_epoch = 2, .partition_epoch = 2, .isr = WITH_NEGATIVE, .isr_n = 3},
         ERR_INELIGIBLE_REPLICA},
        {{.leader_epoch = 2, .partition_epoch = 2, .isr = MANY, .isr_n = 10000},
         ERR_INELIGIBLE_REPLICA},
        {{.partition = 1, .isr = ISR, .isr_n = 2}, ERR_UNKNOWN_TOPIC_OR_PARTITION},
        {{.partition = -1, .isr = ISR, .isr_n = 2}, ERR_UNKNOWN_TOPIC_OR_PARTITION},
        {{.topic = "nowhere", .isr = ISR, .isr_n = 2}, ERR_UNKNOWN_TOPIC_OR_PARTITION},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wish wish = cases[i].wish;
        wish.broker = same.broker;
        wish.broker_epoch = same.broker_epoch;
        err e = alter(&wish);
        if (e != cases[i].error) {
            printf("\nwish %zu: %d, not %d\n", i, e, cases[i].error);
        }
        CU_ASSERT_EQUAL(e, cases[i].error);
        CU_ASSERT(state_is("a", 0, 2, 2, "2,1"));
    }
    CU_ASSERT(controller_is_active(t.controller));
    end();
}

/* An id that nobody has; before version 2 topics have names, and another error for who is not alive. */
static void test_versions(void)
{
    static const int32_t WITH_DEAD[] = {2, 1, 4};
    struct wish wish = begin_wish();
    wish.isr = WITH_DEAD;
    wish.isr_n = 3;
    CU_ASSERT_EQUAL(alter_as(2, &wish), ERR_INELIGIBLE_REPLICA);
    wish.topic = "a";
    CU_ASSERT_EQUAL(alter_as(1, &wish), ERR_OPERATION_NOT_ATTEMPTED);
    wish.isr = WITH_THIRD;
    CU_ASSERT_EQUAL(alter_as(0, &wish), OK);
    CU_ASSERT(state_is("a", 0, 2, 2, "2,1,3"));
    wish.topic = NULL;
    wish.other_id = true;
    CU_ASSERT_EQUAL(alter(&wish), ERR_UNKNOWN_TOPIC_ID);
    end();
}

/* Its next wish says that the partition has recovered. */
static void test_recovers(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[2,3]}");
    delete ("/brokers/ids/3");
    deliver();
    register_broker(3);
    t.unclean = true;
    delete ("/brokers/ids/2");
    deliver();
    register_broker(2);
    deliver();
    CU_ASSERT(state_is("a", 0, 3, 2, "3"));
    static const int32_t BOTH[] = {3, 2};
    struct wish wish = {.broker = 3,
                        .broker_epoch = epoch_of(3),
                        .leader_epoch = 2,
                        .partition_epoch = 2,
                        .isr = BOTH,
                        .isr_n = 2,
                        .recovery = 1};
    CU_ASSERT_EQUAL(alter(&wish), ERR_INVALID_REQUEST); /* not while it recovers */
    wish.recovery = 0;
    CU_ASSERT_EQUAL(alter(&wish), OK);
    CU_ASSERT_EQUAL(altered.leader_recovery_state, 0);
    CU_ASSERT(state_is("a", 0, 3, 2, "3,2"));
    end();
}

/* Several in one request, of which the store has one otherwise: the rest is done, in the same event. */
static void test_one_of_many_has_moved(void)
{
    static int32_t smaller[] = {2};
    struct alter_partition_request_partition partitions[2];
    struct alter_partition_request_topic topic = {
        .topic_name = STR("a"), .partitions = partitions, .partitions_n = 2};
    struct alter_partition_request request;
    struct alter_partition_response response;
    begin_cluster(2);
    make_topic("a", "{\"0\":[2,1],\"1\":[2,1]}");
    set_text("/brokers/topics/a/partitions/1/state",
             "{\"controller_epoch\":1,\"leader\":2,\"version\":1,\"leader_epoch\":0,"
             "\"isr\":[2,1]}");
    for (int32_t i = 0; i < 2; i++) {
        alter_partition_request_partition_init(&partitions[i]);
        partitions[i].partition_index = i;
        partitions[i].new_isr = smaller;
        partitions[i].new_isr_n = 1;
    }
    alter_partition_request_init(&request);
    request.broker_id = 2;
    request.broker_epoch = epoch_of(2);
    request.topics = &topic;
    request.topics_n = 1;
    alter_partition_response_init(&response);
    controller_alter_partition(t.controller, 1, &request, &t.arena, &response);
    CU_ASSERT(response.error_code == OK && response.topics_n == 1);
    CU_ASSERT_EQUAL(response.topics[0].partitions[0].error_code, OK);
    CU_ASSERT_EQUAL(response.topics[0].partitions[0].partition_epoch, 1);
    CU_ASSERT_EQUAL(response.topics[0].partitions[1].error_code, ERR_INVALID_UPDATE_VERSION);
    CU_ASSERT(state_is("a", 0, 2, 0, "2") && state_is("a", 1, 2, 0, "2,1"));
    CU_ASSERT(controller_is_active(t.controller));
    end();
}

/* ---- ControlledShutdown ---- */

static struct controlled_shutdown_response let_go;

static int16_t shut_down(int32_t broker, int64_t broker_epoch)
{
    const struct controlled_shutdown_request request = {.broker_id = broker,
                                                        .broker_epoch = broker_epoch};
    controlled_shutdown_response_init(&let_go);
    controller_controlled_shutdown(t.controller, &request, &t.arena, &let_go);
    return let_go.error_code;
}

static void test_leader_shuts_down(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[2,3,1]}");
    CU_ASSERT_EQUAL(shut_down(2, epoch_of(2)), OK);
    CU_ASSERT_EQUAL(let_go.remaining_partitions_n, 0);
    CU_ASSERT(was_sent("lisr to=1 epoch=1 a-0 leader=3/1 version=1 replicas=2,3,1 isr=3,1\n"
                       "lisr to=2 epoch=1 a-0 leader=3/1 version=1 replicas=2,3,1 isr=3,1\n"
                       "lisr to=3 epoch=1 a-0 leader=3/1 version=1 replicas=2,3,1 isr=3,1\n"
                       "umr to=1 epoch=1 live=3 a-0:3\numr to=2 epoch=1 live=3 a-0:3\n"
                       "umr to=3 epoch=1 live=3 a-0:3\n"));
    CU_ASSERT(state_is("a", 0, 3, 1, "3,1"));
    delete ("/brokers/ids/2"); /* and goes: nothing is left to decide */
    deliver();
    CU_ASSERT(state_is("a", 0, 3, 1, "3,1"));
    end();
}

/* It fetches no more, before others hear of it. */
static void test_follower_shuts_down(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[3,2,1]}");
    CU_ASSERT_EQUAL(shut_down(2, epoch_of(2)), OK);
    CU_ASSERT(was_sent("stop to=2 a-0 epoch=0\n"
                       "lisr to=1 epoch=1 a-0 leader=3/1 version=1 replicas=3,2,1 isr=3,1\n"
                       "lisr to=3 epoch=1 a-0 leader=3/1 version=1 replicas=3,2,1 isr=3,1\n"
                       "umr to=1 epoch=1 live=3 a-0:3\numr to=2 epoch=1 live=3 a-0:3\n"
                       "umr to=3 epoch=1 live=3 a-0:3\n"));
    end();
}

/* Nobody else is in sync, or has a replica at all. */
static void test_only_member_shuts_down(void)
{
    begin_cluster(2);
    make_topic("a", "{\"0\":[2,1],\"1\":[2]}");
    delete ("/brokers/ids/1");
    deliver();
    register_broker(1);
    deliver();
    t.sent[0] = '\0';
    CU_ASSERT_EQUAL(shut_down(2, epoch_of(2)), OK);
    CU_ASSERT(was_sent("")); /* nothing has changed */
    CU_ASSERT_EQUAL_FATAL(let_go.remaining_partitions_n, 1);
    CU_ASSERT(str_is(let_go.remaining_partitions[0].topic_name, "a"));
    CU_ASSERT_EQUAL(let_go.remaining_partitions[0].partition_index, 0);
    CU_ASSERT(state_is("a", 0, 2, 1, "2"));
    CU_ASSERT_EQUAL(shut_down(2, epoch_of(2)), OK); /* the same again */
    CU_ASSERT_EQUAL(let_go.remaining_partitions_n, 1);
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT(state_is("a", 0, -1, 2, "2"));
    end();
}

/* Who shuts down is told everything, and is in sync with nobody until it is back in another life. */
static void test_shuts_down_and_comes_back(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[2,3,1]}");
    CU_ASSERT_EQUAL(shut_down(2, epoch_of(2)), OK);
    struct wish wish = {.broker = 3,
                        .broker_epoch = epoch_of(3),
                        .leader_epoch = 1,
                        .partition_epoch = 1,
                        .isr = WITH_THIRD,
                        .isr_n = 3};
    CU_ASSERT_EQUAL(alter(&wish), ERR_INELIGIBLE_REPLICA);
    CU_ASSERT_EQUAL(shut_down(3, epoch_of(3)), OK);
    CU_ASSERT(state_is("a", 0, 1, 2, "1"));
    CU_ASSERT_EQUAL(shut_down(1, epoch_of(1)), OK);
    CU_ASSERT_EQUAL(let_go.remaining_partitions_n, 1);
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT(state_is("a", 0, 1, 2, "1")); /* it leads until it is gone */
    register_broker(2);
    deliver();
    wish = (struct wish){.broker = 1,
                         .broker_epoch = epoch_of(1),
                         .leader_epoch = 2,
                         .partition_epoch = 2,
                         .isr = ISR,
                         .isr_n = 2};
    CU_ASSERT_EQUAL(alter(&wish), ERR_INELIGIBLE_REPLICA); /* 1 shuts down itself */
    end();
}

static void test_who_may_shut_down(void)
{
    begin_cluster(2);
    int64_t epoch = epoch_of(2);
    CU_ASSERT_EQUAL(shut_down(77, 5), ERR_UNKNOWN_SERVER_ERROR);
    CU_ASSERT_EQUAL(shut_down(77, -1), ERR_BROKER_NOT_AVAILABLE);
    CU_ASSERT_EQUAL(shut_down(-3, INT64_MIN), ERR_UNKNOWN_SERVER_ERROR);
    CU_ASSERT_EQUAL(shut_down(2, epoch - 1), ERR_STALE_BROKER_EPOCH);
    CU_ASSERT_EQUAL(shut_down(2, -1), OK);
    controller_resign(t.controller, "for the test");
    CU_ASSERT_EQUAL(shut_down(2, epoch), ERR_STALE_CONTROLLER_EPOCH);
    end();
}

/* The store has another state than is known: by that one, in the same event. */
static void test_shuts_down_where_versions_move(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[2,3,1]}");
    set_text("/brokers/topics/a/partitions/0/state",
             "{\"controller_epoch\":1,\"leader\":2,\"version\":1,\"leader_epoch\":4,"
             "\"isr\":[2,1]}");
    CU_ASSERT_EQUAL(shut_down(2, epoch_of(2)), OK);
    CU_ASSERT_EQUAL(let_go.remaining_partitions_n, 0);
    CU_ASSERT(state_is("a", 0, 1, 5, "1"));
    CU_ASSERT(controller_is_active(t.controller));
    end();
}

/* ---- ElectLeaders ---- */

static err elect_one(const char *topic, int32_t partition, bool unclean)
{
    struct controller_election election = {
        .topic = str_of(topic), .partition = partition, .unclean = unclean};
    err e = controller_elect_leaders(t.controller, &election, 1);
    return e != OK ? e : election.error;
}

static void test_elections(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[2,1]}");
    CU_ASSERT_EQUAL(elect_one("a", 0, false), ERR_ELECTION_NOT_NEEDED);
    CU_ASSERT_EQUAL(elect_one("a", 0, true), ERR_ELECTION_NOT_NEEDED);
    CU_ASSERT_EQUAL(elect_one("a", 1, false), ERR_UNKNOWN_TOPIC_OR_PARTITION);
    CU_ASSERT_EQUAL(elect_one("a", -1, true), ERR_UNKNOWN_TOPIC_OR_PARTITION);
    CU_ASSERT_EQUAL(elect_one("nowhere", 0, false), ERR_UNKNOWN_TOPIC_OR_PARTITION);
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT_EQUAL(elect_one("a", 0, false), ERR_PREFERRED_LEADER_NOT_AVAILABLE);
    CU_ASSERT_EQUAL(elect_one("a", 0, true), ERR_ELECTION_NOT_NEEDED);
    register_broker(2);
    deliver();
    CU_ASSERT_EQUAL(elect_one("a", 0, false), ERR_PREFERRED_LEADER_NOT_AVAILABLE);
    delete ("/brokers/ids/1");
    deliver();
    CU_ASSERT(state_is("a", 0, -1, 2, "1"));
    CU_ASSERT_EQUAL(elect_one("a", 0, true), OK);
    CU_ASSERT(state_is("a", 0, 2, 3, "2"));
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT_EQUAL(elect_one("a", 0, true), ERR_ELIGIBLE_LEADERS_NOT_AVAILABLE);
    controller_resign(t.controller, "for the test");
    CU_ASSERT_EQUAL(elect_one("a", 0, true), ERR_NOT_CONTROLLER);
    end();
}

/* All at once: those that have another leader than their first replica; the rest says why not. */
static void test_elect_all(void)
{
    struct controller_election *all = NULL;
    begin_cluster(2);
    create_topic("a", "{\"0\":[2,1],\"1\":[1,2]}");
    create_text("/brokers/topics/a/partitions", "");
    create_text("/brokers/topics/a/partitions/0", "");
    create_text("/brokers/topics/a/partitions/0/state",
                "{\"controller_epoch\":1,\"leader\":1,\"version\":1,\"leader_epoch\":6,"
                "\"isr\":[1,2]}");
    deliver();
    int32_t count = controller_partitions(t.controller, &t.arena, &all);
    CU_ASSERT_EQUAL_FATAL(count, 2);
    MUST(controller_elect_leaders(t.controller, all, count));
    CU_ASSERT(all[0].error == OK && all[0].leader_epoch == 7);
    CU_ASSERT_EQUAL(all[1].error, ERR_ELECTION_NOT_NEEDED);
    CU_ASSERT(state_is("a", 0, 2, 7, "1,2"));
    end();
}

/* ---- AllocateProducerIds ---- */

static void test_producer_ids(void)
{
    begin_cluster(2);
    struct allocate_producer_ids_request request = {.broker_id = 2, .broker_epoch = epoch_of(2)};
    struct allocate_producer_ids_response response;
    for (int64_t first = 0; first <= 1000; first += 1000) {
        allocate_producer_ids_response_init(&response);
        controller_allocate_producer_ids(t.controller, &request, &response);
        CU_ASSERT(response.error_code == OK && response.producer_id_start == first);
        CU_ASSERT_EQUAL(response.producer_id_len, 1000);
    }
    request.broker_epoch--;
    allocate_producer_ids_response_init(&response);
    controller_allocate_producer_ids(t.controller, &request, &response);
    CU_ASSERT_EQUAL(response.error_code, ERR_STALE_BROKER_EPOCH);
    request.broker_id = 77;
    controller_allocate_producer_ids(t.controller, &request, &response);
    CU_ASSERT_EQUAL(response.error_code, ERR_BROKER_ID_NOT_REGISTERED);
    CU_ASSERT(response.producer_id_len == 0);
    controller_resign(t.controller, "for the test");
    controller_allocate_producer_ids(t.controller, &request, &response);
    CU_ASSERT_EQUAL(response.error_code, ERR_NOT_CONTROLLER);
    end();
}

SUITE("controller_asked", TEST(test_joins_in_its_life), TEST(test_isr_grows_and_shrinks),
      TEST(test_who_may_alter), TEST(test_wishes_that_are_refused), TEST(test_versions),
      TEST(test_recovers), TEST(test_one_of_many_has_moved), TEST(test_leader_shuts_down),
      TEST(test_follower_shuts_down), TEST(test_only_member_shuts_down),
      TEST(test_shuts_down_and_comes_back), TEST(test_who_may_shut_down),
      TEST(test_shuts_down_where_versions_move), TEST(test_elections), TEST(test_elect_all),
      TEST(test_producer_ids))

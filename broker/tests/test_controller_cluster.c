/* The controller and several brokers: they come, go and come back, topics move with them; leaders are
 * elected anew, also by another controller. (reference: replication §2) */
#include "broker/tests/controller_util.h"

/* ---- brokers come ---- */

/* The old ones hear of it, the new one of everything. */
static void test_joins_without_replicas(void)
{
    begin_cluster(2);
    make_topic("a", "{\"0\":[1,2]}");
    register_broker(3);
    deliver();
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=3\numr to=2 epoch=1 live=3\n"
                       "umr to=3 epoch=1 live=3\numr to=3 epoch=1 live=3 a-0:1\n"));
    end();
}

/* One that holds replicas is told its roles as they are, and the others, that its replicas are there. */
static void test_joins_with_replicas(void)
{
    begin_cluster(2);
    make_topic("a", "{\"0\":[1,2,3],\"1\":[1,2]}");
    register_broker(3);
    deliver();
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=3\numr to=2 epoch=1 live=3\n"
                       "umr to=3 epoch=1 live=3\numr to=3 epoch=1 live=3 a-0:1 a-1:1\n"
                       "lisr to=3 epoch=1 a-0 leader=1/0 version=0 replicas=1,2,3 isr=1,2\n"
                       "umr to=1 epoch=1 live=3 a-0:1\numr to=2 epoch=1 live=3 a-0:1\n"));
    CU_ASSERT(state_is("a", 0, 1, 0, "1,2")); /* it is not in sync by coming */
    end();
}

/* The last in-sync replica comes back: it leads again. */
static void test_joins_and_leads(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[3,2]}");
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT(state_is("a", 0, 3, 1, "3"));
    delete ("/brokers/ids/3");
    deliver();
    CU_ASSERT(state_is("a", 0, -1, 2, "3"));
    register_broker(2);
    deliver();
    CU_ASSERT(state_is("a", 0, -1, 2, "3")); /* it is not in sync */
    t.sent[0] = '\0';
    register_broker(3);
    deliver();
    CU_ASSERT(state_is("a", 0, 3, 3, "3"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(t.sent, "lisr to=2 epoch=1 a-0 leader=3/3 version=3 replicas=3,2 isr=3\n"));
    end();
}

/* ---- brokers go ---- */

/* Of one leader's partitions each gets another, and it is in no ISR any more; one epoch for both. */
static void test_leader_dies(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[2,1,3]}");
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=2\numr to=3 epoch=1 live=2\n"
                       "lisr to=1 epoch=1 a-0 leader=1/1 version=1 replicas=2,1,3 isr=1,3\n"
                       "lisr to=3 epoch=1 a-0 leader=1/1 version=1 replicas=2,1,3 isr=1,3\n"
                       "umr to=1 epoch=1 live=2 a-0:1\numr to=3 epoch=1 live=2 a-0:1\n"));
    CU_ASSERT(state_is("a", 0, 1, 1, "1,3"));
    end();
}

/* The leader stays, but has to know that it need not wait: another epoch. */
static void test_follower_dies(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[1,2,3],\"1\":[1,3]}");
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=2\numr to=3 epoch=1 live=2\n"
                       "lisr to=1 epoch=1 a-0 leader=1/1 version=1 replicas=1,2,3 isr=1,3\n"
                       "lisr to=3 epoch=1 a-0 leader=1/1 version=1 replicas=1,2,3 isr=1,3\n"
                       "umr to=1 epoch=1 live=2 a-0:1\numr to=3 epoch=1 live=2 a-0:1\n"));
    CU_ASSERT(state_is("a", 1, 1, 0, "1,3"));
    end();
}

/* It was not in sync: nothing is decided, but clients are to hear that its replica is offline. */
static void test_idle_follower_dies(void)
{
    begin_cluster(2);
    make_topic("a", "{\"0\":[1,2,3],\"1\":[1,2]}");
    register_broker(3);
    deliver();
    t.sent[0] = '\0';
    delete ("/brokers/ids/3");
    deliver();
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=2\numr to=2 epoch=1 live=2\n"
                       "umr to=1 epoch=1 live=2 a-0:1\numr to=2 epoch=1 live=2 a-0:1\n"));
    CU_ASSERT(state_is("a", 0, 1, 0, "1,2"));
    end();
}

static void test_two_die_at_once(void)
{
    begin_cluster(4);
    make_topic("a", "{\"0\":[2,3,4],\"1\":[2,3]}");
    delete ("/brokers/ids/2");
    delete ("/brokers/ids/3");
    deliver();
    CU_ASSERT(state_is("a", 0, 4, 1, "4"));
    CU_ASSERT(state_is("a", 1, -1, 1, "2,3")); /* both keep their claim */
    register_broker(3);
    deliver();
    CU_ASSERT(state_is("a", 1, 3, 2, "3"));
    end();
}

/* It has started anew between two looks: what its former life led is another's, and what nobody else can
 * lead is its own again, in another epoch. */
static void test_bounce(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[2,3],\"1\":[2],\"2\":[3,2]}");
    delete ("/brokers/ids/2");
    register_broker(2);
    deliver();
    CU_ASSERT(state_is("a", 0, 3, 1, "3"));
    CU_ASSERT(state_is("a", 1, 2, 2, "2"));
    CU_ASSERT(state_is("a", 2, 3, 1, "3"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(t.sent, "lisr to=2 epoch=1 a-0 leader=3/1 version=1 replicas=2,3 isr=3\n"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(t.sent, "lisr to=2 epoch=1 a-1 leader=2/2 version=2 replicas=2 isr=2\n"));
    CU_ASSERT_EQUAL(controller_check_broker(t.controller, 2, epoch_of(2)), OK);
    t.sent[0] = '\0';
    deliver();
    CU_ASSERT(was_sent("")); /* that was all */
    end();
}

/* ---- another controller ---- */

static void write_state(const char *topic, int32_t partition, const char *state)
{
    create_text(znode_partitions_path(&t.arena, str_of(topic)), "");
    create_text(znode_partition_path(&t.arena, str_of(topic), partition), "");
    create_text(znode_state_path(&t.arena, str_of(topic), partition), state);
}

/* Two steps: who does not live neither leads nor is in sync, then another leads. */
static void test_failover(void)
{
    begin();
    register_broker(3);
    create_topic("a", "{\"0\":[2,3,1]}");
    create_text(ZNODE_CONTROLLER_EPOCH, "8");
    write_state("a", 0,
                "{\"controller_epoch\":8,\"leader\":2,\"version\":1,\"leader_epoch\":5,"
                "\"isr\":[2,3]}");
    elect();
    deliver();
    CU_ASSERT(was_sent("umr to=1 epoch=9 live=2\numr to=3 epoch=9 live=2\n"
                       "lisr to=1 epoch=9 a-0 leader=2/5 version=0 replicas=2,3,1 isr=2,3\n"
                       "lisr to=3 epoch=9 a-0 leader=2/5 version=0 replicas=2,3,1 isr=2,3\n"
                       "umr to=1 epoch=9 live=2 a-0:2\numr to=3 epoch=9 live=2 a-0:2\n"
                       "lisr to=1 epoch=9 a-0 leader=-1/6 version=1 replicas=2,3,1 isr=3\n"
                       "lisr to=3 epoch=9 a-0 leader=-1/6 version=1 replicas=2,3,1 isr=3\n"
                       "umr to=1 epoch=9 live=2 a-0:-1\numr to=3 epoch=9 live=2 a-0:-1\n"
                       "lisr to=1 epoch=9 a-0 leader=3/7 version=2 replicas=2,3,1 isr=3\n"
                       "lisr to=3 epoch=9 a-0 leader=3/7 version=2 replicas=2,3,1 isr=3\n"
                       "umr to=1 epoch=9 live=2 a-0:3\numr to=3 epoch=9 live=2 a-0:3\n"));
    CU_ASSERT(state_is("a", 0, 3, 7, "3"));
    end();
}

/* The leader lost power, and is there again before the new controller looks: it is not told that it leads. */
static void test_failover_after_a_bounce(void)
{
    begin();
    register_broker(3);
    create_topic("a", "{\"0\":[2,3]}");
    create_text(ZNODE_CONTROLLER_EPOCH, "8");
    write_state("a", 0,
                "{\"controller_epoch\":8,\"leader\":2,\"version\":1,\"leader_epoch\":5,"
                "\"isr\":[2,3]}");
    register_broker(2);
    elect();
    deliver();
    CU_ASSERT_PTR_NULL(strstr(t.sent, "leader=2/"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(t.sent, "lisr to=2 epoch=9 a-0 leader=3/7 version=2 replicas=2,3 isr=3\n"));
    CU_ASSERT(state_is("a", 0, 3, 7, "3"));
    end();
}

/* The last one in sync is dead: it keeps its claim. */
static void test_failover_without_heirs(void)
{
    begin();
    create_topic("a", "{\"0\":[2,1]}");
    write_state("a", 0,
                "{\"controller_epoch\":1,\"leader\":2,\"version\":1,\"leader_epoch\":5,"
                "\"isr\":[2]}");
    elect();
    deliver();
    CU_ASSERT(state_is("a", 0, -1, 6, "2"));
    end();
}

/* ---- unclean elections ---- */

static void test_unclean(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[2,3]}");
    delete ("/brokers/ids/3");
    deliver();
    register_broker(3);
    deliver();
    CU_ASSERT(state_is("a", 0, 2, 1, "2"));
    t.unclean = true;
    t.sent[0] = '\0';
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT_PTR_NOT_NULL(
        strstr(t.sent, "a-0 leader=3/2 version=2 replicas=2,3 isr=3 recovering\n"));
    CU_ASSERT(state_is("a", 0, 3, 2, "3"));
    register_broker(2); /* it has to follow now */
    deliver();
    CU_ASSERT(state_is("a", 0, 3, 2, "3"));
    end();
}

/* Who is in sync comes first, whatever the topic permits. */
static void test_clean_comes_first(void)
{
    begin_cluster(3);
    t.unclean = true;
    make_topic("a", "{\"0\":[2,1,3]}");
    delete ("/brokers/ids/1");
    deliver();
    register_broker(1);
    deliver();
    CU_ASSERT(state_is("a", 0, 2, 1, "2,3"));
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT(state_is("a", 0, 3, 2, "3"));
    CU_ASSERT_PTR_NULL(strstr(t.sent, "recovering"));
    end();
}

/* It is switched on while a partition has no leader. */
static void test_unclean_is_switched_on(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[2,3]}");
    make_topic("b", "{\"0\":[2,3]}");
    delete ("/brokers/ids/3");
    deliver();
    register_broker(3);
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT(state_is("a", 0, -1, 2, "2"));
    controller_reconsider(t.controller, STR("a"));
    CU_ASSERT(state_is("a", 0, -1, 2, "2"));
    t.unclean = true;
    controller_reconsider(t.controller, STR("nowhere"));
    CU_ASSERT(state_is("a", 0, -1, 2, "2"));
    controller_reconsider(t.controller, STR("a"));
    CU_ASSERT(state_is("a", 0, 3, 3, "3"));
    CU_ASSERT(state_is("b", 0, -1, 2, "2"));
    controller_reconsider(t.controller, (struct str){0});
    CU_ASSERT(state_is("b", 0, 3, 3, "3"));
    end();
}

/* ---- balance ---- */

/* Of brokers that lead less than nine tenths of what they should, everything; of others, nothing. */
static void test_imbalance_of_one(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[2,1],\"1\":[3,1],\"2\":[3,1],\"3\":[3,1],\"4\":[3,1],\"5\":[3,1],"
                    "\"6\":[3,1],\"7\":[3,1],\"8\":[3,1],\"9\":[3,1],\"10\":[3,1]}");
    make_topic("b", "{\"0\":[2,3]}");
    delete ("/brokers/ids/2");
    deliver();
    register_broker(2);
    deliver();
    CU_ASSERT(state_is("a", 0, 1, 1, "1"));
    set_text("/brokers/topics/a/partitions/0/state",
             "{\"controller_epoch\":1,\"leader\":1,\"version\":1,\"leader_epoch\":1,"
             "\"isr\":[1,2]}");
    set_text("/brokers/topics/a/partitions/1/state",
             "{\"controller_epoch\":1,\"leader\":1,\"version\":1,\"leader_epoch\":1,"
             "\"isr\":[3,1]}");
    controller_resign(t.controller, "to read the states again");
    MUST(controller_elect(t.controller));
    deliver();
    controller_rebalance(t.controller);
    CU_ASSERT(state_is("a", 0, 2, 2, "1,2"));
    CU_ASSERT(state_is("a", 1, 1, 1, "3,1")); /* one of ten is led by another: it is few enough */
    CU_ASSERT(state_is("b", 0, 3, 1, "3"));   /* 2 is not in sync */
    end();
}

/* ---- states that somebody else has changed ---- */

static void test_version_moves(void)
{
    begin_cluster(3);
    make_topic("a", "{\"0\":[2,1,3],\"1\":[2,1]}");
    set_text("/brokers/topics/a/partitions/0/state",
             "{\"controller_epoch\":1,\"leader\":2,\"version\":1,\"leader_epoch\":3,"
             "\"isr\":[2,3]}");
    delete ("/brokers/ids/2");
    deliver();
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT(state_is("a", 0, 3, 4, "3")); /* by what is there now, and in the same event */
    CU_ASSERT(state_is("a", 1, 1, 1, "1"));
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "a-0 leader=3/4 version=2 replicas=2,1,3 isr=3\n"));
    end();
}

/* ---- deletions ---- */

/* Every broker has stopped before it deletes; each goes on by itself. */
static void test_deletion_in_two_phases(void)
{
    begin_cluster(2);
    make_topic("a", "{\"0\":[1,2]}");
    t.keep_answers = true;
    create_text("/admin/delete_topics/a", "");
    deliver();
    CU_ASSERT(was_sent("umr to=1 epoch=1 live=2 a-0:-2\numr to=2 epoch=1 live=2 a-0:-2\n"
                       "stop to=1 a-0 epoch=-2\nstop to=2 a-0 epoch=-2\n"));
    deliver_answer();
    CU_ASSERT(was_sent("stop to=1 a-0 epoch=-2 delete\n"));
    deliver_answer();
    CU_ASSERT(was_sent("stop to=2 a-0 epoch=-2 delete\n"));
    deliver_answer();
    CU_ASSERT_FALSE(holds("/brokers/topics/a", NULL));
    deliver_answer();
    CU_ASSERT(holds("/brokers/topics/a", NULL) && holds("/admin/delete_topics/a", NULL));
    end();
}

/* It has stopped, and dies before it deletes: that is not confirmed by anybody. */
static void test_dies_between_the_phases(void)
{
    begin_cluster(2);
    make_topic("a", "{\"0\":[1,2]}");
    t.keep_answers = true;
    create_text("/admin/delete_topics/a", "");
    deliver();
    delete ("/brokers/ids/2");
    deliver();
    t.keep_answers = false;
    deliver(); /* both have stopped; the second one's answer was on its way */
    CU_ASSERT_FALSE(holds("/brokers/topics/a", NULL));
    t.sent[0] = '\0';
    register_broker(2);
    deliver();
    CU_ASSERT_PTR_NOT_NULL(
        strstr(t.sent, "stop to=2 a-0 epoch=-2\nstop to=2 a-0 epoch=-2 delete\n"));
    CU_ASSERT(holds("/brokers/topics/a", NULL));
    end();
}

/* In another life it is asked from the front. */
static void test_bounces_between_the_phases(void)
{
    begin_cluster(2);
    make_topic("a", "{\"0\":[2]}");
    t.keep_answers = true;
    create_text("/admin/delete_topics/a", "");
    deliver();
    t.answers_n = 0; /* it has lost it */
    t.sent[0] = '\0';
    delete ("/brokers/ids/2");
    register_broker(2);
    deliver();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.sent, "stop to=2 a-0 epoch=-2\n"));
    CU_ASSERT_PTR_NULL(strstr(t.sent, "lisr to=2"));
    t.keep_answers = false;
    deliver();
    CU_ASSERT(holds("/brokers/topics/a", NULL));
    end();
}

SUITE("controller_cluster", TEST(test_joins_without_replicas), TEST(test_joins_with_replicas),
      TEST(test_joins_and_leads), TEST(test_leader_dies), TEST(test_follower_dies),
      TEST(test_idle_follower_dies), TEST(test_two_die_at_once), TEST(test_bounce),
      TEST(test_failover), TEST(test_failover_after_a_bounce), TEST(test_failover_without_heirs),
      TEST(test_unclean), TEST(test_clean_comes_first), TEST(test_unclean_is_switched_on),
      TEST(test_imbalance_of_one), TEST(test_version_moves), TEST(test_deletion_in_two_phases),
      TEST(test_dies_between_the_phases), TEST(test_bounces_between_the_phases))

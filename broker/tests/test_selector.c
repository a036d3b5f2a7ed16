/* Which replica a consumer is sent to. */
#include "broker/replica/selector.h"

#include "base/tests/suite.h"

enum { LEADER = 0, FOLLOWERS = 4 };

static struct {
    struct follower all[FOLLOWERS]; /* brokers 1 to 4: in sync, from 10 to 100, caught up at 1000 */
    struct followers followers;
    const char *racks[FOLLOWERS + 1]; /* NULL: none */
    int asked;
} t;

static struct str rack_of(void *context, int32_t broker_id)
{
    (void)context;
    t.asked++;
    const char *rack = t.racks[broker_id];
    return rack == NULL ? (struct str){0} : str_of(rack);
}

/* The racks of the leader and the others, a letter each; '-': none. */
static void begin(const char *racks)
{
    static const char *const names[] = {"a", "b", "c"};
    memset(&t, 0, sizeof(t));
    for (int32_t i = 0; i <= FOLLOWERS; i++) {
        t.racks[i] = racks[i] == '-' ? NULL : names[racks[i] - 'a'];
    }
    for (int32_t i = 0; i < FOLLOWERS; i++) {
        t.all[i] = (struct follower){.id = i + 1,
                                     .in_sync = true,
                                     .log_start_offset = 10,
                                     .end_offset = 100,
                                     .caught_up_ms = 1000};
    }
    t.followers = (struct followers){.all = t.all, .count = FOLLOWERS};
}

static int32_t chosen(const char *rack, int64_t offset)
{
    const struct selector selector = {.rack = str_of(rack), .rack_of = rack_of};
    return selector_choose(&selector, &t.followers, LEADER, offset);
}

static void test_rack(void)
{
    begin("ab-cc");
    CU_ASSERT_EQUAL(chosen("a", 50), -1);
    CU_ASSERT_EQUAL(chosen("b", 50), 1);
    CU_ASSERT_EQUAL(chosen("c", 50), 4);
    CU_ASSERT_EQUAL(chosen("d", 50), -1);
    begin("-bbbb");
    CU_ASSERT_EQUAL(chosen("b", 50), 4);
}

/* Who is in the leader's rack reads from the leader, though others are there, too. */
static void test_leader_first(void)
{
    begin("aaaaa");
    CU_ASSERT_EQUAL(chosen("a", 50), -1);
}

static void test_who_has_it(void)
{
    begin("abbbb");
    t.all[3].in_sync = false;
    t.all[2].end_offset = 49;
    t.all[1].log_start_offset = 51;
    CU_ASSERT_EQUAL(chosen("b", 50), 1);
    CU_ASSERT_EQUAL(chosen("b", 49), 1); /* more than the third has */
    CU_ASSERT_EQUAL(chosen("b", 51), 2);
    CU_ASSERT_EQUAL(chosen("b", 101), -1);
    CU_ASSERT_EQUAL(chosen("b", 9), -1);
    t.all[0].end_offset = -1; /* it has not fetched yet */
    t.all[0].log_start_offset = -1;
    CU_ASSERT_EQUAL(chosen("b", 50), -1);
}

/* Who has most, then who was last caught up, then the greatest number. */
static void test_best(void)
{
    begin("abbbb");
    t.all[1].end_offset = 120;
    t.all[2].caught_up_ms = 2000;
    CU_ASSERT_EQUAL(chosen("b", 50), 2);
    t.all[1].end_offset = 100;
    CU_ASSERT_EQUAL(chosen("b", 50), 3);
    t.all[2].caught_up_ms = 1000;
    CU_ASSERT_EQUAL(chosen("b", 50), 4);
}

static void test_alone(void)
{
    begin("abbbb");
    t.followers.count = 0;
    CU_ASSERT_EQUAL(chosen("b", 50), -1);
    CU_ASSERT_EQUAL(t.asked, 0);
}

SUITE("selector", TEST(test_rack), TEST(test_leader_first), TEST(test_who_has_it), TEST(test_best),
      TEST(test_alone))

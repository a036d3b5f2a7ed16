/* What a replica's fetches wait for while nothing happens. */
#include "broker/replica/standing.h"

#include "broker/tests/partition_util.h"

enum { ME = 1, OTHER = 2, UNTIL_MS = 5000, PARTITIONS = 3 };

static const struct topic_partition NAMES[PARTITIONS] = {
    {STR("a"), 0}, {STR("a"), 1}, {STR("b"), 0}};

static struct {
    struct place place;
    struct loop *loop;
    struct partition_env env;
    struct kept kept[PARTITIONS];
    struct standing *standing;
    struct waiter waiter;
    int woken;
} t;

static void on_wake(struct waiter *waiter)
{
    CU_ASSERT_PTR_EQUAL(waiter, &t.waiter);
    t.woken++;
}

static void become(int i, int32_t leader, int32_t leader_epoch)
{
    static const int32_t REPLICAS[] = {ME, OTHER};
    kept_become(&t.kept[i], leader, leader_epoch, REPLICAS, 2);
}

static struct partition_seen seen_of(int i)
{
    struct partition_seen seen = partition_seen(t.kept[i].p);
    seen.end_offset = plog_end_offset(t.kept[i].log);
    seen.log_start_offset = plog_start_offset(t.kept[i].log);
    return seen;
}

/* Three partitions that this broker leads, watched as they are now. */
static void begin(void)
{
    memset(&t, 0, sizeof(t));
    place_make(&t.place);
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &t.loop));
    t.waiter.wake = on_wake;
    t.env = (struct partition_env){.broker_id = ME, .clock = &t.place.clock.clock};
    t.standing = standing_new(t.loop, PARTITIONS, UNTIL_MS);
    for (int i = 0; i < PARTITIONS; i++) {
        kept_open(&t.kept[i], &t.place, &t.env, NAMES[i], (struct uuid){{9}});
        become(i, ME, 1);
        standing_watch(t.standing, t.kept[i].p, seen_of(i));
    }
}

static void settle(void)
{
    while (loop_turn(t.loop)) {
    }
}

static void end(void)
{
    standing_drop(t.standing);
    settle();
    for (int i = 0; i < PARTITIONS; i++) {
        kept_close(&t.kept[i]);
    }
    loop_free(t.loop);
    place_remove(&t.place);
}

static void test_nothing_happens(void)
{
    begin();
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_PTR_EQUAL(standing_enter(t.standing, UNTIL_MS), t.standing);
        CU_ASSERT(standing_wait(t.standing, &t.waiter));
        settle();
        CU_ASSERT(standing_leave(t.standing, &t.waiter));
    }
    CU_ASSERT_PTR_NULL(standing_enter(t.standing, UNTIL_MS + 1));
    CU_ASSERT_EQUAL(t.woken, 0);
    end();
}

/* Records wake who waits, once, and the watches go. */
static void test_records(void)
{
    begin();
    (void)standing_enter(t.standing, 0);
    CU_ASSERT(standing_wait(t.standing, &t.waiter));
    kept_append(&t.kept[1], 1);
    kept_append(&t.kept[2], 1);
    CU_ASSERT_EQUAL(t.woken, 1);
    settle();
    kept_append(&t.kept[1], 1);
    CU_ASSERT_EQUAL(t.woken, 1);
    CU_ASSERT(!standing_leave(t.standing, &t.waiter));
    CU_ASSERT_PTR_NULL(standing_enter(t.standing, 0));
    end();
}

static void test_role(void)
{
    begin();
    (void)standing_enter(t.standing, 0);
    CU_ASSERT(standing_wait(t.standing, &t.waiter));
    become(2, OTHER, 2);
    CU_ASSERT_EQUAL(t.woken, 1);
    CU_ASSERT(!standing_leave(t.standing, &t.waiter));
    end();
}

/* A log that begins later is told, too. */
static void test_start(void)
{
    begin();
    kept_append(&t.kept[0], 3);
    settle();
    standing_drop(t.standing);
    const struct replica_fetch fetch = {
        .offset = 3, .leader_end_offset = 3, .leader_epoch = 1, .broker_epoch = -1};
    CU_ASSERT(partition_replica_fetched(t.kept[0].p, OTHER, &fetch));
    t.standing = standing_new(t.loop, 1, UNTIL_MS);
    standing_watch(t.standing, t.kept[0].p, seen_of(0));
    struct partition_deletion deletion;
    CU_ASSERT_PTR_NOT_NULL(standing_enter(t.standing, 0));
    MUST(partition_delete_records(t.kept[0].p, 2, &deletion));
    CU_ASSERT(!standing_leave(t.standing, &t.waiter));
    end();
}

/* What happened before it was watched, and after it was looked at, ends it at once. */
static void test_happened_before(void)
{
    begin();
    struct partition_seen seen = seen_of(0);
    kept_append(&t.kept[0], 1);
    settle();
    standing_drop(t.standing);
    t.standing = standing_new(t.loop, 1, UNTIL_MS);
    standing_watch(t.standing, t.kept[0].p, seen);
    CU_ASSERT_PTR_NULL(standing_enter(t.standing, 0));
    end();
}

/* Who waits is told when the session drops it, and once. */
static void test_dropped_meanwhile(void)
{
    begin();
    struct standing *standing = standing_enter(t.standing, 0);
    CU_ASSERT(standing_wait(standing, &t.waiter));
    standing_drop(t.standing);
    t.standing = NULL;
    kept_append(&t.kept[0], 1);
    CU_ASSERT_EQUAL(t.woken, 1);
    CU_ASSERT(!standing_leave(standing, &t.waiter));
    end();
}

SUITE("standing", TEST(test_nothing_happens), TEST(test_records), TEST(test_role), TEST(test_start),
      TEST(test_happened_before), TEST(test_dropped_meanwhile))

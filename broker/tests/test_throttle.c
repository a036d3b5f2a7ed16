/* A bound on replication: rates on a clock that is moved by hand, and which replicas it is for. */
#include "broker/replica/throttle.h"

#include "base/tests/suite.h"

static struct manual_clock clock_;
static struct throttle throttle;

static void begin(int64_t limit)
{
    manual_clock_init(&clock_, 1000000);
    throttle_init(&throttle, &clock_.clock);
    throttle_set_limit(&throttle, limit);
}

static void end(void)
{
    throttle_deinit(&throttle);
}

static int64_t wait_after(int64_t ms, int64_t bytes)
{
    clock_.now_ms += ms;
    throttle_record(&throttle, bytes);
    return throttle_wait_ms(&throttle);
}

static void test_no_limit(void)
{
    begin(INT64_MAX);
    CU_ASSERT_EQUAL(wait_after(0, INT64_MAX / 4), 0);
    end();
}

/* As Kafka does it: 1 MiB at once at 200 kB/s, then nothing for 5.24 s. */
static void test_burst(void)
{
    begin(200000);
    CU_ASSERT_EQUAL(throttle_wait_ms(&throttle), 0);
    CU_ASSERT_EQUAL(wait_after(0, 1 << 20), 1000);
    clock_.now_ms += 5000;
    int64_t left_ms = throttle_wait_ms(&throttle);
    CU_ASSERT(left_ms >= 242 && left_ms <= 244);
    clock_.now_ms += left_ms;
    CU_ASSERT_EQUAL(throttle_wait_ms(&throttle), 0);
    end();
}

/* Within the first second the rate is that of a second. */
static void test_first_second(void)
{
    begin(1000);
    CU_ASSERT_EQUAL(wait_after(0, 500), 0);
    CU_ASSERT_EQUAL(wait_after(100, 500), 0);
    CU_ASSERT_EQUAL(wait_after(0, 100), 101); /* until 1.1 s are over */
    end();
}

/* Whatever comes in pieces, over a minute it is the rate, and one window's more at most. */
static void test_rate_over_time(void)
{
    begin(1000000);
    int64_t total = 0;
    for (int64_t ms = 0; ms < 60000; ms += 10) {
        clock_.now_ms += 10;
        while (throttle_wait_ms(&throttle) == 0) {
            throttle_record(&throttle, 30000);
            total += 30000;
        }
    }
    CU_ASSERT(total > 59 * 1000000LL && total < 62 * 1000000LL);
    end();
}

/* What is older than the window is forgotten. */
static void test_forgets(void)
{
    begin(10);
    CU_ASSERT(wait_after(0, 1000000) > 0);
    clock_.now_ms += 10999;
    CU_ASSERT(throttle_wait_ms(&throttle) > 0);
    clock_.now_ms += 1;
    CU_ASSERT_EQUAL(throttle_wait_ms(&throttle), 0);
    end();
}

/* The first fetch is not known to be too much; then nothing. */
static void test_zero(void)
{
    begin(0);
    CU_ASSERT_EQUAL(throttle_wait_ms(&throttle), 0);
    CU_ASSERT_EQUAL(wait_after(0, 1), 1000);
    clock_.now_ms += 9000;
    CU_ASSERT_EQUAL(throttle_wait_ms(&throttle), 1000);
    end();
}

static bool holds(const char *text, int32_t broker_id, int32_t partition)
{
    struct throttled_replicas list = throttled_replicas_parse(text, broker_id);
    bool found = throttled_replicas_hold(&list, partition);
    throttled_replicas_deinit(&list);
    return found;
}

static void test_replicas(void)
{
    CU_ASSERT(!holds(NULL, 1, 0) && !holds("", 1, 0));
    CU_ASSERT(holds("*", 1, 7) && holds("0:1,*", 2, 0));
    CU_ASSERT(holds("0:1", 1, 0) && !holds("0:1", 0, 1) && !holds("0:1", 1, 1));
    CU_ASSERT(holds("9:1,3:2, 4:1,,0:1", 1, 4) && holds("9:1,3:2, 4:1,,0:1", 1, 9));
    CU_ASSERT(!holds("9:1,3:2,4:1,0:1", 1, 3) && holds("9:1,3:2", 2, 3));
    CU_ASSERT(!holds("no:list", 1, 3) && !holds(":", 0, 3));
}

SUITE("throttle", TEST(test_no_limit), TEST(test_burst), TEST(test_first_second),
      TEST(test_rate_over_time), TEST(test_forgets), TEST(test_zero), TEST(test_replicas))

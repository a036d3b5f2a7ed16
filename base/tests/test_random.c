/* Chance that repeats, chance that does not, and ids made of it. */
#include "base/random.h"

#include "base/tests/suite.h"

static void test_seed_repeats(void)
{
    struct seeded_random a;
    struct seeded_random b;
    struct seeded_random c;
    seeded_random_init(&a, 7);
    seeded_random_init(&b, 7);
    seeded_random_init(&c, 8);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t number = random_u64(&a.random);
        CU_ASSERT_EQUAL(number, random_u64(&b.random));
        same += number == random_u64(&c.random) ? 1 : 0;
    }
    CU_ASSERT_EQUAL(same, 0);
    uint8_t of_a[13];
    uint8_t of_b[13];
    a.random.fill(&a.random, of_a, sizeof(of_a));
    b.random.fill(&b.random, of_b, sizeof(of_b));
    CU_ASSERT_EQUAL(memcmp(of_a, of_b, sizeof(of_a)), 0);
}

static void test_below_is_even(void)
{
    struct seeded_random r;
    seeded_random_init(&r, 1);
    int counts[3] = {0};
    for (int i = 0; i < 30000; i++) {
        uint32_t n = random_below(&r.random, 3);
        CU_ASSERT_FATAL(n < 3);
        counts[n]++;
    }
    for (int i = 0; i < 3; i++) {
        CU_ASSERT(counts[i] > 9500 && counts[i] < 10500);
    }
    CU_ASSERT_EQUAL(random_below(&r.random, 1), 0);
}

static void test_system_differs(void)
{
    uint64_t a = random_u64(random_system());
    uint64_t b = random_u64(random_system());
    CU_ASSERT(a != b);
}

static void test_ids(void)
{
    struct seeded_random r;
    seeded_random_init(&r, 3);
    char text[UUID_TEXT_LEN + 1];
    for (int i = 0; i < 10000; i++) {
        struct uuid id = uuid_random(&r.random);
        uuid_format(id, text);
        CU_ASSERT_NOT_EQUAL(text[0], '-');
        CU_ASSERT_EQUAL(id.bytes[6] >> 4, 4);
        CU_ASSERT_EQUAL(id.bytes[8] >> 6, 2);
    }
    struct uuid of_system = uuid_random(random_system());
    CU_ASSERT_FALSE(uuid_equal(of_system, uuid_random(random_system())));
}

SUITE("random", TEST(test_seed_repeats), TEST(test_below_is_even), TEST(test_system_differs),
      TEST(test_ids))

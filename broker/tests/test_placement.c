/* Where replicas of new partitions go. */
#include "broker/cluster/placement.h"

#include "base/tests/suite.h"

enum { BROKERS_MAX = 8, PARTITIONS = 240, FACTOR_MAX = 6 };

static struct {
    struct broker_info brokers[BROKERS_MAX];
    struct metadata metadata;
    int32_t ids[PARTITIONS][FACTOR_MAX];
    struct id_list lists[PARTITIONS];
} t;

/* Brokers 0, 1, … in these racks; NULL: without. */
static void brokers_in(const char *const *racks, int32_t count)
{
    memset(&t, 0, sizeof(t));
    for (int32_t i = 0; i < count; i++) {
        t.brokers[i] = (struct broker_info){.id = i, .rack = (char *)(uintptr_t)racks[i]};
    }
    t.metadata.brokers = t.brokers;
    t.metadata.brokers_n = count;
    for (int32_t p = 0; p < PARTITIONS; p++) {
        t.lists[p].ids = t.ids[p];
    }
}

static void choose(uint64_t seed, int32_t first, int32_t factor)
{
    struct seeded_random random;
    seeded_random_init(&random, seed);
    placement_choose(&random.random, &t.metadata, t.lists, first, PARTITIONS, factor);
}

static const char *rack_of(int32_t partition, int32_t replica)
{
    return t.brokers[t.ids[partition][replica]].rack;
}

/* How many different brokers, and racks, a partition has. */
static int32_t different(int32_t partition, int32_t factor, bool racks)
{
    int32_t n = 0;
    for (int32_t i = 0; i < factor; i++) {
        bool before = false;
        for (int32_t j = 0; j < i; j++) {
            before |= racks ? strcmp(rack_of(partition, i), rack_of(partition, j)) == 0
                            : t.ids[partition][i] == t.ids[partition][j];
        }
        n += before ? 0 : 1;
    }
    return n;
}

static bool are_even(int32_t brokers, int32_t factor)
{
    int32_t led[BROKERS_MAX] = {0};
    int32_t held[BROKERS_MAX] = {0};
    for (int32_t p = 0; p < PARTITIONS; p++) {
        led[t.ids[p][0]]++;
        for (int32_t i = 0; i < factor; i++) {
            held[t.ids[p][i]]++;
        }
    }
    for (int32_t b = 0; b < brokers; b++) {
        if (led[b] != PARTITIONS / brokers || held[b] != PARTITIONS * factor / brokers) {
            return false;
        }
    }
    return true;
}

static void test_without_racks(void)
{
    const char *none[BROKERS_MAX] = {NULL};
    for (int32_t brokers = 1; brokers <= 5; brokers++) {
        for (int32_t factor = 1; factor <= brokers; factor++) {
            brokers_in(none, brokers);
            CU_ASSERT_FALSE(placement_is_mixed(&t.metadata));
            choose((uint64_t)(brokers * 10 + factor), 0, factor);
            for (int32_t p = 0; p < PARTITIONS; p++) {
                CU_ASSERT_EQUAL(t.lists[p].count, factor);
                CU_ASSERT_EQUAL(different(p, factor, false), factor);
            }
            CU_ASSERT(are_even(brokers, factor));
        }
    }
}

/* One replica in each rack before any has two; brokers share evenly where racks are alike. */
static void test_racks(void)
{
    const char *racks[] = {"b", "a", "c", "a", "b", "c"};
    for (int32_t factor = 1; factor <= 6; factor++) {
        for (uint64_t seed = 0; seed < 20; seed++) {
            brokers_in(racks, 6);
            choose(seed, (int32_t)seed, factor);
            for (int32_t p = 0; p < PARTITIONS; p++) {
                CU_ASSERT_EQUAL(different(p, factor, false), factor);
                CU_ASSERT_EQUAL(different(p, factor, true), factor < 3 ? factor : 3);
            }
            CU_ASSERT(factor > 3 || are_even(6, factor));
        }
    }
}

static void test_uneven_racks(void)
{
    const char *racks[] = {"a", "a", "a", "b"};
    brokers_in(racks, 4);
    CU_ASSERT_FALSE(placement_is_mixed(&t.metadata));
    for (int32_t factor = 1; factor <= 4; factor++) {
        choose(7, 0, factor);
        for (int32_t p = 0; p < PARTITIONS; p++) {
            CU_ASSERT_EQUAL(different(p, factor, false), factor);
            CU_ASSERT_EQUAL(different(p, factor, true), factor < 2 ? factor : 2);
        }
    }
}

/* Leaders take turns over the racks. */
static void test_order(void)
{
    const char *racks[] = {"b", "b", "a", "a"};
    brokers_in(racks, 4);
    choose(1, 0, 1);
    for (int32_t p = 1; p < PARTITIONS; p++) {
        CU_ASSERT_STRING_NOT_EQUAL(rack_of(p, 0), rack_of(p - 1, 0));
    }
}

static void test_mixed(void)
{
    const char *racks[] = {"a", NULL, "b"};
    brokers_in(racks, 3);
    CU_ASSERT(placement_is_mixed(&t.metadata));
    brokers_in(racks, 1);
    CU_ASSERT_FALSE(placement_is_mixed(&t.metadata));
    brokers_in(racks, 0);
    CU_ASSERT_FALSE(placement_is_mixed(&t.metadata));
}

SUITE("placement", TEST(test_without_racks), TEST(test_racks), TEST(test_uneven_racks),
      TEST(test_order), TEST(test_mixed))

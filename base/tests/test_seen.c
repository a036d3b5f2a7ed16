/* What a request has named: few names, many names, and keys that differ in one field only. */
#include "base/seen.h"

#include "base/tests/suite.h"

static void check_count(int32_t count)
{
    struct seen seen;
    seen_init(&seen);
    for (int32_t i = 0; i < count; i++) {
        CU_ASSERT_EQUAL(seen_add(&seen, &(struct seen_key){.number = i}), 0);
    }
    for (int32_t i = 0; i < count; i += 2) {
        CU_ASSERT_EQUAL(seen_add(&seen, &(struct seen_key){.number = i}), 1);
    }
    for (int32_t i = 0; i < count; i++) {
        CU_ASSERT_EQUAL(seen_times(&seen, &(struct seen_key){.number = i}), i % 2 == 0 ? 2 : 1);
    }
    CU_ASSERT_EQUAL(seen_times(&seen, &(struct seen_key){.number = -1}), 0);
    seen_deinit(&seen);
}

static void test_counts(void)
{
    for (int32_t n = 0; n < 3 * SEEN_FEW; n++) {
        check_count(n);
    }
    check_count(100000);
}

static void add_others(struct seen *seen)
{
    const struct seen_key others[] = {{.name = STR("")},
                                      {.number = 1},
                                      {.id = {{1}}},
                                      {.name = STR("a")},
                                      {.name = STR("a"), .number = 1},
                                      {.name = STR("a"), .id = {{1}}}};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        CU_ASSERT_EQUAL(seen_add(seen, &others[i]), 0);
        CU_ASSERT_EQUAL(seen_add(seen, &others[i]), 1);
    }
    CU_ASSERT_EQUAL(seen_times(seen, &(struct seen_key){.number = 2}), 0);
}

static void test_every_field_counts(void)
{
    struct seen seen;
    seen_init(&seen);
    add_others(&seen); /* in the short list */
    seen_deinit(&seen);
    seen_init(&seen);
    for (int32_t i = 0; i < SEEN_FEW; i++) {
        (void)seen_add(&seen, &(struct seen_key){.number = 1000 + i});
    }
    add_others(&seen); /* in the map */
    seen_deinit(&seen);
}

SUITE("seen", TEST(test_counts), TEST(test_every_field_counts))

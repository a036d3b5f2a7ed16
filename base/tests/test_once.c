/* Said once, and with a bound. */
#include "base/once.h"

#include "base/tests/suite.h"

static void test_once(void)
{
    struct once once;
    once_init(&once);
    CU_ASSERT(once_first(&once, STR("a")));
    CU_ASSERT(once_first(&once, STR("b")));
    CU_ASSERT(!once_first(&once, STR("a")));
    CU_ASSERT(once_first(&once, STR("")));
    CU_ASSERT(!once_first(&once, STR("")));
    once_deinit(&once);
}

static void test_bound(void)
{
    struct once once;
    char name[16];
    once_init(&once);
    for (int i = 0; i < ONCE_NAMES_MAX; i++) {
        snprintf(name, sizeof(name), "%d", i);
        CU_ASSERT(once_first(&once, str_of(name)));
    }
    CU_ASSERT(!once_first(&once, STR("one more")));
    CU_ASSERT_EQUAL(once.names.count, ONCE_NAMES_MAX);
    once_deinit(&once);
}

SUITE("once", TEST(test_once), TEST(test_bound))

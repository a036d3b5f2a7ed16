/* Legal names of topics, and internal ones. */
#include "protocol/topic_name.h"

#include "base/tests/suite.h"

static void test_names(void)
{
    char name[251];
    memset(name, 'x', sizeof(name));
    static const char *const LEGAL[] = {"a", "A.b_c-9", "...", "__consumer_offsets"};
    static const char *const ILLEGAL[] = {"",         ".",   "..",   "a b", "a/b",
                                          "\xc3\xa9", "a\n", "../x", "a:b"};
    for (size_t i = 0; i < sizeof(LEGAL) / sizeof(LEGAL[0]); i++) {
        CU_ASSERT(topic_name_is_legal(str_of(LEGAL[i])));
    }
    for (size_t i = 0; i < sizeof(ILLEGAL) / sizeof(ILLEGAL[0]); i++) {
        CU_ASSERT_FALSE(topic_name_is_legal(str_of(ILLEGAL[i])));
    }
    CU_ASSERT(topic_name_is_legal((struct str){name, 249}));
    CU_ASSERT_FALSE(topic_name_is_legal((struct str){name, 250}));
    CU_ASSERT_FALSE(topic_name_is_legal((struct str){0}));
    CU_ASSERT(topic_is_internal(STR("__transaction_state")));
    CU_ASSERT_FALSE(topic_is_internal(STR("__consumer_offset")));
}

SUITE("topic name", TEST(test_names))

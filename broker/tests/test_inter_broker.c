/* inter.broker.protocol.version: what each step means, and what is refused. */
#include "broker/cluster/inter_broker.h"

#include "base/tests/suite.h"

static struct inter_broker parsed(const char *text)
{
    char reason[256] = "";
    struct inter_broker versions = {0};
    err e = inter_broker_parse(text, &versions, reason, sizeof(reason));
    if (e != OK) {
        printf("\n%s: %s\n", text, reason);
    }
    CU_ASSERT_EQUAL(e, OK);
    return versions;
}

static bool is(const char *text, struct inter_broker expected)
{
    struct inter_broker v = parsed(text);
    return v.leader_and_isr == expected.leader_and_isr &&
           v.update_metadata == expected.update_metadata &&
           v.stop_replica == expected.stop_replica &&
           v.controlled_shutdown == expected.controlled_shutdown && v.fetch == expected.fetch &&
           v.list_offsets == expected.list_offsets && v.producer_ids == expected.producer_ids &&
           v.feature_node == expected.feature_node;
}

/* LeaderAndIsr, UpdateMetadata, StopReplica, ControlledShutdown, Fetch, ListOffsets, producer ids,
 * /feature.
 * (reference: zookeeper §5, §7, §10) */
static void test_steps(void)
{
    CU_ASSERT(is("2.8-IV0", (struct inter_broker){4, 6, 3, 3, 12, 6, false, 1}));
    CU_ASSERT(is("2.8-IV1", (struct inter_broker){5, 7, 3, 3, 12, 6, false, 1}));
    CU_ASSERT(is("3.0-IV0", (struct inter_broker){5, 7, 3, 3, 12, 6, true, 1}));
    CU_ASSERT(is("3.0-IV1", (struct inter_broker){5, 7, 3, 3, 12, 7, true, 1}));
    CU_ASSERT(is("3.1-IV0", (struct inter_broker){5, 7, 3, 3, 13, 7, true, 1}));
    CU_ASSERT(is("3.2-IV0", (struct inter_broker){6, 7, 3, 3, 13, 7, true, 1}));
    CU_ASSERT(is("3.3-IV0", (struct inter_broker){6, 7, 3, 3, 13, 7, true, 2}));
    CU_ASSERT(is("3.3-IV3", (struct inter_broker){6, 7, 3, 3, 13, 7, true, 2}));
    CU_ASSERT(is("3.4-IV0", (struct inter_broker){7, 8, 4, 3, 13, 7, true, 2}));
    CU_ASSERT(is("3.5-IV0", (struct inter_broker){7, 8, 4, 3, 14, 8, true, 2}));
    CU_ASSERT(is("3.5-IV1", (struct inter_broker){7, 8, 4, 3, 15, 8, true, 2}));
    CU_ASSERT(is("3.5-IV2", (struct inter_broker){7, 8, 4, 3, 15, 8, true, 2}));
    CU_ASSERT(is("3.6-IV0", (struct inter_broker){7, 8, 4, 3, 15, 8, true, 2}));
    CU_ASSERT(is("3.6-IV2", (struct inter_broker){7, 8, 4, 3, 15, 8, true, 2}));
    CU_ASSERT(is("3.7-IV3", (struct inter_broker){7, 8, 4, 3, 15, 8, true, 2}));
    CU_ASSERT(is("3.7-IV4", (struct inter_broker){7, 8, 4, 3, 16, 8, true, 2}));
    CU_ASSERT(is("3.8-IV0", (struct inter_broker){7, 8, 4, 3, 16, 8, true, 2}));
    CU_ASSERT(is("3.9-IV0", (struct inter_broker){7, 8, 4, 3, 17, 9, true, 2}));
}

/* Without a part it is the last one; a patch level says nothing. */
static void test_whole_versions(void)
{
    CU_ASSERT(is("3.9", parsed("3.9-IV0")));
    CU_ASSERT(is("3.9.1", parsed("3.9-IV0")));
    CU_ASSERT(is("2.8", parsed("2.8-IV1")));
    CU_ASSERT(is("2.8.1", parsed("2.8-IV1")));
    CU_ASSERT(is("3.0", parsed("3.0-IV1")));
    CU_ASSERT(is("3.5", parsed("3.5-IV2")));
    CU_ASSERT(is("3.7.2", parsed("3.7-IV4")));
}

static void check_refused(const char *text, const char *why)
{
    char reason[256] = "";
    struct inter_broker versions;
    CU_ASSERT_EQUAL(inter_broker_parse(text, &versions, reason, sizeof(reason)), E_CONFIG);
    bool said = strstr(reason, why) != NULL;
    if (!said) {
        printf("\n%s: %s\n", text, reason);
    }
    CU_ASSERT(said);
}

static void test_refused(void)
{
    check_refused("2.7", "too old");
    check_refused("2.7-IV2", "too old");
    check_refused("0.10.0-IV1", "too old");
    check_refused("1.0", "too old");
    const char *const unknown[] = {
        "3.9-IV1", "3.10", "4.0",   "4.0-IV0",  "3.4-IV1", "2.8-IV2",   "",
        "3",       "3.",   "three", "3.9-IV",   "3.9-IVx", "3.9-IV0x",  "3.9 ",
        "3.9-",    "-3.9", "3.-9",  "3.9-IV-1", "3.9x",    "99.99",     "3.9-IV0 3",
        "3.9-iv0", " 3.9", "3. 9",  "3.9-IV 0", "+3.9",    "3.9-IV00x", "3.009"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        check_refused(unknown[i], "is not a version");
    }
}

SUITE("inter_broker", TEST(test_steps), TEST(test_whole_versions), TEST(test_refused))

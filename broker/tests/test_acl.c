/* ACLs as words, as numbers, as filters, and as znodes. */
#include "broker/security/acl.h"

#include "base/tests/suite.h"

static struct arena arena;

static struct acl acl_of(const char *principal, enum acl_operation operation,
                         enum acl_permission permission)
{
    return (struct acl){str_of(principal), STR("*"), operation, permission};
}

static void test_words(void)
{
    for (int i = ACL_TOPIC; i < ACL_TYPES_END; i++) {
        CU_ASSERT_EQUAL((int)acl_type_of(str_of(acl_type_word((enum acl_type)i))), i);
        CU_ASSERT_EQUAL((int)acl_type_of(str_of(acl_type_upper((enum acl_type)i))), i);
    }
    for (int i = ACL_ALL; i < ACL_OPERATIONS_END; i++) {
        CU_ASSERT_EQUAL((int)acl_operation_of(str_of(acl_operation_word((enum acl_operation)i))),
                        i);
    }
    CU_ASSERT_EQUAL(acl_operation_of(STR("DESCRIBECONFIGS")), ACL_DESCRIBE_CONFIGS);
    CU_ASSERT_EQUAL(acl_permission_of(STR("DENY")), ACL_DENY);
    CU_ASSERT_EQUAL(acl_permission_of(STR("Any")), 0);
    CU_ASSERT_EQUAL(acl_operation_of(STR("")), 0);
    CU_ASSERT_EQUAL(acl_type_of((struct str){0}), 0);
    CU_ASSERT_PTR_NULL(acl_type_word(ACL_TYPES_END));
    CU_ASSERT_PTR_NULL(acl_operation_word((enum acl_operation)0));
    /* As Kafka tells a super user. */
    CU_ASSERT_EQUAL(acl_operations_on(ACL_TOPIC), 0xdf8);
    CU_ASSERT_EQUAL(acl_operations_on(ACL_GROUP), 328);
    CU_ASSERT_EQUAL(acl_operations_on(ACL_CLUSTER), 0x1fa0);
}

static struct bytes text(const char *json)
{
    return bytes_of(json, strlen(json));
}

static void test_znode(void)
{
    struct acl *acls = NULL;
    int32_t count = 0;
    MUST(acls_decode(
        &arena,
        text("{\"acls\":[{\"principal\":\"User:ANONYMOUS\",\"permissionType\":\"Allow\","
             "\"host\":\"*\",\"operation\":\"Write\"},{\"principal\":\"User:eve\","
             "\"permissionType\":\"Deny\",\"host\":\"10.0.0.1\",\"operation\":\"All\"},"
             "{\"principal\":\"User:eve\",\"permissionType\":\"DENY\","
             "\"host\":\"10.0.0.1\",\"operation\":\"ALL\"}],\"version\":1}"),
        &acls, &count));
    CU_ASSERT_EQUAL_FATAL(count, 2); /* the same twice is one */
    CU_ASSERT(str_is(acls[0].principal, "User:ANONYMOUS"));
    CU_ASSERT_EQUAL(acls[0].operation, ACL_WRITE);
    CU_ASSERT(str_is(acls[1].host, "10.0.0.1"));
    CU_ASSERT_EQUAL(acls[1].permission, ACL_DENY);
    struct bytes json = acls_encode(&arena, acls, count);
    struct acl *again = NULL;
    int32_t again_n = 0;
    MUST(acls_decode(&arena, json, &again, &again_n));
    CU_ASSERT_EQUAL_FATAL(again_n, 2);
    CU_ASSERT(acl_equals(&acls[0], &again[0]) && acl_equals(&acls[1], &again[1]));
    MUST(acls_decode(&arena, text(""), &acls, &count)); /* as Kafka reads it */
    CU_ASSERT_EQUAL(count, 0);
}

/* What an ACL says that is not understood is not known: it may be a DENY. */
static void test_znode_not_understood(void)
{
#define ONE(fields) "{\"version\":1,\"acls\":[{" fields "}]}"
    static const char *const BROKEN[] = {
        "{",
        "[]",
        "{}",
        "{\"version\":1}",
        "{\"version\":2,\"acls\":[]}",
        "{\"version\":1,\"acls\":[1]}",
        ONE("\"principal\":\"User:a\",\"permissionType\":\"Allow\",\"operation\":\"Read\""),
        ONE("\"principal\":\"User:a\",\"permissionType\":\"Allow\",\"operation\":\"Fly\",\"host\":"
            "\"*\""),
        ONE("\"principal\":\"User:a\",\"permissionType\":\"Maybe\",\"operation\":\"Read\",\"host\":"
            "\"*\""),
        ONE("\"principal\":\"alice\",\"permissionType\":\"Allow\",\"operation\":\"Read\",\"host\":"
            "\"*\""),
        ONE("\"principal\":7,\"permissionType\":\"Allow\",\"operation\":\"Read\",\"host\":\"*\""),
    };
    for (size_t i = 0; i < sizeof(BROKEN) / sizeof(BROKEN[0]); i++) {
        struct acl *acls = NULL;
        int32_t count = 0;
        CU_ASSERT_EQUAL(acls_decode(&arena, text(BROKEN[i]), &acls, &count), E_MALFORMED);
    }
}

static void check_change(enum acl_type type, enum acl_pattern pattern, const char *name,
                         const char *expected)
{
    struct acl_resource resource = {type, pattern, str_of(name)};
    struct acl_resource again;
    struct bytes change = acl_change_encode(&arena, &resource);
    if (expected != NULL) {
        CU_ASSERT(bytes_equal(change, text(expected)));
    }
    MUST(acl_change_decode(&arena, change, pattern == ACL_PREFIXED, &again));
    CU_ASSERT_EQUAL(again.type, type);
    CU_ASSERT_EQUAL(again.pattern, pattern);
    CU_ASSERT(str_is(again.name, name));
}

static void test_changes(void)
{
    struct acl_resource resource;
    check_change(ACL_TOPIC, ACL_LITERAL, "s-5e6d6c-4", "TOPIC:s-5e6d6c-4");
    check_change(ACL_TRANSACTIONAL_ID, ACL_LITERAL, "a:b", "TRANSACTIONAL_ID:a:b");
    check_change(ACL_GROUP, ACL_PREFIXED, "*", NULL);
    check_change(ACL_USER, ACL_PREFIXED, "User:\"b", NULL);
    MUST(acl_change_decode(&arena, text("Topic:x"), false, &resource));
    CU_ASSERT_EQUAL(resource.type, ACL_TOPIC);
    CU_ASSERT_EQUAL(acl_change_decode(&arena, text("Comet:x"), false, &resource), E_MALFORMED);
    CU_ASSERT_EQUAL(acl_change_decode(&arena, text("TOPIC"), false, &resource), E_MALFORMED);
    CU_ASSERT_EQUAL(acl_change_decode(&arena, text("{\"version\":1}"), true, &resource),
                    E_MALFORMED);
    CU_ASSERT_EQUAL(acl_change_decode(&arena, text("TOPIC:x"), true, &resource), E_MALFORMED);
}

static bool takes(enum acl_pattern filter, const char *name, enum acl_pattern pattern,
                  const char *resource)
{
    struct acl_filter f = {.type = ACL_TYPE_ANY, .pattern = filter, .name = str_of(name)};
    return acl_filter_takes_resource(&f,
                                     &(struct acl_resource){ACL_TOPIC, pattern, str_of(resource)});
}

static void test_filters_of_names(void)
{
    CU_ASSERT(takes(ACL_LITERAL, "ab", ACL_LITERAL, "ab"));
    CU_ASSERT_FALSE(takes(ACL_LITERAL, "ab", ACL_PREFIXED, "ab"));
    CU_ASSERT_FALSE(takes(ACL_LITERAL, "ab", ACL_LITERAL, "*"));
    CU_ASSERT(takes(ACL_PREFIXED, "ab", ACL_PREFIXED, "ab"));
    CU_ASSERT_FALSE(takes(ACL_PREFIXED, "ab", ACL_PREFIXED, "a"));
    CU_ASSERT(takes(ACL_PATTERN_ANY, "ab", ACL_PREFIXED, "ab"));
    CU_ASSERT(takes(ACL_PATTERN_ANY, "ab", ACL_LITERAL, "ab"));
    CU_ASSERT_FALSE(takes(ACL_PATTERN_ANY, "ab", ACL_PREFIXED, "a"));
    CU_ASSERT(takes(ACL_MATCH, "ab", ACL_LITERAL, "ab"));
    CU_ASSERT(takes(ACL_MATCH, "ab", ACL_LITERAL, "*"));
    CU_ASSERT(takes(ACL_MATCH, "ab", ACL_PREFIXED, "a"));
    CU_ASSERT(takes(ACL_MATCH, "ab", ACL_PREFIXED, "ab"));
    CU_ASSERT_FALSE(takes(ACL_MATCH, "ab", ACL_PREFIXED, "abc"));
    CU_ASSERT_FALSE(takes(ACL_MATCH, "ab", ACL_LITERAL, "a"));
    CU_ASSERT(takes(ACL_LITERAL, NULL, ACL_LITERAL, "x"));
    CU_ASSERT_FALSE(takes(ACL_LITERAL, NULL, ACL_PREFIXED, "x"));
    CU_ASSERT(takes(ACL_MATCH, NULL, ACL_PREFIXED, "x"));
}

static void test_filters_of_acls(void)
{
    struct acl_filter filter = {
        .acl = {.operation = ACL_OPERATION_ANY, .permission = ACL_PERMISSION_ANY}};
    struct acl acl = acl_of("User:a", ACL_READ, ACL_DENY);
    CU_ASSERT(acl_filter_takes(&filter, &acl));
    filter.acl.principal = STR("User:b");
    CU_ASSERT_FALSE(acl_filter_takes(&filter, &acl));
    filter.acl.principal = STR("User:a");
    filter.acl.operation = ACL_ALL; /* no wildcard here */
    CU_ASSERT_FALSE(acl_filter_takes(&filter, &acl));
    filter.acl.operation = ACL_READ;
    filter.acl.permission = ACL_ALLOW;
    CU_ASSERT_FALSE(acl_filter_takes(&filter, &acl));
    filter.acl.permission = ACL_DENY;
    filter.acl.host = STR("10.0.0.1");
    CU_ASSERT_FALSE(acl_filter_takes(&filter, &acl));
    filter.acl.host = STR("*");
    CU_ASSERT(acl_filter_takes(&filter, &acl));
}

#define TEST(function)                                                                             \
    {                                                                                              \
#function, function                                                                        \
    }

int main(int argc, char **argv)
{
    const struct suite_test tests[] = {
        TEST(test_words),
        TEST(test_znode),
        TEST(test_znode_not_understood),
        TEST(test_changes),
        TEST(test_filters_of_names),
        TEST(test_filters_of_acls),
    };
    arena_init(&arena, 1 << 20);
    int status = suite_run("ACLs", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
    arena_deinit(&arena);
    return status;
}

/* Who may do what: the rules of Kafka's AclAuthorizer, one by one; then at random beside the simplest program that has
 * them, over any sequence of changes. Seeds are printed when one fails (test_authorizer random SEED). */
#include "broker/security/authorizer.h"

#include "base/tests/suite.h"

#include <pthread.h>
#include <stdatomic.h>

enum { SEEDS = 300, STEPS = 60, QUESTIONS = 40, MANY = 10000 };

static struct authorizer *authorizer;

static void begin_with(const char *super_users, bool allow_if_no_acl)
{
    authorizer = authorizer_new(&(struct authorizer_config){super_users, allow_if_no_acl});
}

static void end(void)
{
    authorizer_free(authorizer);
}

static void set(enum acl_type type, enum acl_pattern pattern, const char *name,
                const struct acl *acls, int32_t count)
{
    acl_cache_set(authorizer_cache(authorizer), &(struct acl_resource){type, pattern, str_of(name)},
                  acls, count);
    acl_cache_publish(authorizer_cache(authorizer));
}

static struct asker ask_from(const char *principal, const char *host)
{
    return asker_of(authorizer, str_of(principal), str_of(host), "Test");
}

static bool may_from(const char *principal, const char *host, enum acl_operation operation,
                     enum acl_type type, const char *name)
{
    struct asker asker = ask_from(principal, host);
    bool may = asker_may(&asker, ASKED_TO_DO, operation, type, str_of(name));
    CU_ASSERT_EQUAL(asker_may(&asker, ASKED_TO_FILTER, operation, type, str_of(name)), may);
    asker_done(&asker);
    return may;
}

static bool may(const char *principal, enum acl_operation operation, const char *topic)
{
    return may_from(principal, "10.0.0.1", operation, ACL_TOPIC, topic);
}

static bool may_any(const char *principal)
{
    struct asker asker = ask_from(principal, "10.0.0.1");
    bool may = asker_may_any(&asker, ACL_WRITE, ACL_TOPIC);
    asker_done(&asker);
    return may;
}

static int32_t operations(const char *principal, enum acl_type type, const char *name)
{
    struct asker asker = ask_from(principal, "10.0.0.1");
    int32_t bits = asker_operations(&asker, type, str_of(name));
    asker_done(&asker);
    return bits;
}

#define ACL(principal, operation, permission)                                                      \
    ((struct acl){STR(principal), STR("*"), ACL_##operation, ACL_##permission})
#define SET(pattern, name, ...)                                                                    \
    do {                                                                                           \
        const struct acl acls[] = {__VA_ARGS__};                                                   \
        set(ACL_TOPIC, ACL_##pattern, name, acls, sizeof(acls) / sizeof(acls[0]));                 \
    } while (0)

/* ---- one by one ---- */

static void test_super_users(void)
{
    struct str part;
    begin_with("User:root; User:CN=a,O=b:c", false);
    SET(LITERAL, "t", ACL("User:*", ALL, DENY));
    CU_ASSERT(may("User:root", ACL_WRITE, "t"));
    CU_ASSERT(may("User:CN=a,O=b:c", ACL_WRITE, "other"));
    CU_ASSERT_FALSE(may("User:ROOT", ACL_WRITE, "t"));
    CU_ASSERT_FALSE(may("Group:root", ACL_WRITE, "t"));
    CU_ASSERT(may_any("User:root"));
    CU_ASSERT_EQUAL(operations("User:root", ACL_TOPIC, "t"), 0xdf8);
    end();
    CU_ASSERT(authorizer_super_users_valid(NULL, &part));
    CU_ASSERT(authorizer_super_users_valid("", &part));
    CU_ASSERT(authorizer_super_users_valid("User:a;Group:b", &part));
    CU_ASSERT_FALSE(authorizer_super_users_valid("User:a;;User:b", &part));
    CU_ASSERT_EQUAL(part.len, 0);
    CU_ASSERT_FALSE(authorizer_super_users_valid("User:a;", &part));
    CU_ASSERT_FALSE(authorizer_super_users_valid("User:a;bob", &part));
    CU_ASSERT(str_is(part, "bob"));
    CU_ASSERT_FALSE(authorizer_super_users_valid("User:", &part));
}

static void test_no_acl(void)
{
    begin_with(NULL, false);
    CU_ASSERT_FALSE(may("User:a", ACL_READ, "t"));
    CU_ASSERT_FALSE(may_any("User:a"));
    CU_ASSERT_EQUAL(operations("User:a", ACL_TOPIC, "t"), 0);
    end();
    begin_with(NULL, true);
    CU_ASSERT(may("User:a", ACL_READ, "t"));
    CU_ASSERT(may_any("User:a"));
    SET(LITERAL, "t", ACL("User:b", READ, ALLOW)); /* now it has one */
    CU_ASSERT_FALSE(may("User:a", ACL_READ, "t"));
    CU_ASSERT(may("User:a", ACL_READ, "u"));
    SET(PREFIXED, "u", ACL("User:b", READ, ALLOW));
    CU_ASSERT_FALSE(may("User:a", ACL_READ, "u1"));
    set(ACL_TOPIC, ACL_PREFIXED, "u", NULL, 0);
    CU_ASSERT(may("User:a", ACL_READ, "u1"));
    end();
}

static void test_deny_wins(void)
{
    begin_with(NULL, false);
    SET(LITERAL, "t", ACL("User:a", ALL, ALLOW), ACL("User:a", WRITE, DENY));
    CU_ASSERT(may("User:a", ACL_READ, "t"));
    CU_ASSERT_FALSE(may("User:a", ACL_WRITE, "t"));
    SET(LITERAL, "t", ACL("User:a", ALL, ALLOW), ACL("User:*", ALL, DENY));
    CU_ASSERT_FALSE(may("User:a", ACL_READ, "t"));
    SET(LITERAL, "t", ACL("User:a", ALL, ALLOW));
    SET(PREFIXED, "", ACL("User:a", READ, DENY));
    CU_ASSERT_FALSE(may("User:a", ACL_READ, "t"));
    CU_ASSERT(may("User:a", ACL_WRITE, "t"));
    SET(LITERAL, "*", ACL("User:a", WRITE, DENY));
    CU_ASSERT_FALSE(may("User:a", ACL_WRITE, "t"));
    end();
}

static void test_implied(void)
{
    begin_with(NULL, false);
    SET(LITERAL, "w", ACL("User:a", WRITE, ALLOW), ACL("User:c", ALTER_CONFIGS, ALLOW));
    CU_ASSERT(may("User:a", ACL_DESCRIBE, "w"));
    CU_ASSERT_FALSE(may("User:a", ACL_READ, "w"));
    CU_ASSERT_FALSE(may("User:a", ACL_DESCRIBE_CONFIGS, "w"));
    CU_ASSERT(may("User:c", ACL_DESCRIBE_CONFIGS, "w"));
    CU_ASSERT_FALSE(may("User:c", ACL_DESCRIBE, "w"));
    CU_ASSERT_EQUAL(operations("User:a", ACL_TOPIC, "w"), 1 << 4 | 1 << 8);
    SET(LITERAL, "d", ACL("User:a", WRITE, ALLOW), ACL("User:a", DESCRIBE, DENY));
    CU_ASSERT(may("User:a", ACL_WRITE, "d")); /* it is not taken away */
    CU_ASSERT_FALSE(may("User:a", ACL_DESCRIBE, "d"));
    SET(LITERAL, "r", ACL("User:a", READ, DENY), ACL("User:a", DESCRIBE, ALLOW));
    CU_ASSERT(may("User:a", ACL_DESCRIBE, "r"));
    end();
}

static void test_hosts_and_principals(void)
{
    const struct acl here = {STR("User:a"), STR("10.0.0.1"), ACL_READ, ACL_ALLOW};
    begin_with(NULL, false);
    set(ACL_GROUP, ACL_LITERAL, "g", &here, 1);
    CU_ASSERT(may_from("User:a", "10.0.0.1", ACL_READ, ACL_GROUP, "g"));
    CU_ASSERT_FALSE(may_from("User:a", "10.0.0.10", ACL_READ, ACL_GROUP, "g"));
    CU_ASSERT_FALSE(may_from("User:a", "10.0.0.1", ACL_READ, ACL_TOPIC, "g"));
    SET(LITERAL, "t", ACL("Group:a", READ, ALLOW), ACL("Group:*", READ, ALLOW));
    CU_ASSERT_FALSE(may("User:a", ACL_READ, "t"));
    CU_ASSERT_FALSE(may("Group:b", ACL_READ, "t")); /* only User:* is everybody */
    SET(LITERAL, "t", ACL("User:*", READ, ALLOW));
    CU_ASSERT(may("User:a", ACL_READ, "t"));
    CU_ASSERT(may("Group:b", ACL_READ, "t"));
    CU_ASSERT_FALSE(may("user:", ACL_READ, "T"));
    end();
}

static void test_prefixes(void)
{
    begin_with(NULL, false);
    SET(PREFIXED, "ab", ACL("User:a", READ, ALLOW));
    SET(PREFIXED, "abc", ACL("User:c", READ, ALLOW));
    SET(PREFIXED, "abca", ACL("User:d", READ, ALLOW));
    SET(PREFIXED, "abd", ACL("User:e", READ, ALLOW));
    SET(PREFIXED, "b", ACL("User:f", READ, ALLOW));
    CU_ASSERT(may("User:a", ACL_READ, "ab"));
    CU_ASSERT(may("User:a", ACL_READ, "abzz"));
    CU_ASSERT(may("User:a", ACL_READ, "abcz"));
    CU_ASSERT(may("User:c", ACL_READ, "abcz"));
    CU_ASSERT_FALSE(may("User:d", ACL_READ, "abcz"));
    CU_ASSERT_FALSE(may("User:c", ACL_READ, "ab"));
    CU_ASSERT_FALSE(may("User:a", ACL_READ, "a"));
    CU_ASSERT_FALSE(may("User:e", ACL_READ, "abcz"));
    CU_ASSERT(may("User:f", ACL_READ, "b"));
    CU_ASSERT_FALSE(may("User:f", ACL_READ, "ab"));
    end();
}

static void test_any(void)
{
    begin_with(NULL, false);
    SET(LITERAL, "t", ACL("User:a", WRITE, ALLOW));
    SET(LITERAL, "u", ACL("User:b", WRITE, ALLOW), ACL("User:b", WRITE, DENY));
    SET(PREFIXED, "p", ACL("User:c", ALL, ALLOW));
    SET(PREFIXED, "q", ACL("User:d", WRITE, ALLOW));
    SET(PREFIXED, "", ACL("User:d", WRITE, DENY));
    SET(LITERAL, "*", ACL("User:e", WRITE, DENY), ACL("User:f", WRITE, ALLOW));
    SET(LITERAL, "e", ACL("User:e", WRITE, ALLOW), ACL("User:r", READ, ALLOW));
    SET(LITERAL, "p", ACL("User:c", WRITE, DENY)); /* of one name, not of all that begin so */
    CU_ASSERT(may_any("User:a"));
    CU_ASSERT_FALSE(may_any("User:b"));
    CU_ASSERT(may_any("User:c"));
    CU_ASSERT_FALSE(may_any("User:d"));
    CU_ASSERT_FALSE(may_any("User:e"));
    CU_ASSERT(may_any("User:f"));
    CU_ASSERT_FALSE(may_any("User:r"));
    end();
}

static void test_unreadable(void)
{
    begin_with("User:root", true);
    struct acl_resource resource = {ACL_TOPIC, ACL_LITERAL, STR("t")};
    SET(LITERAL, "*", ACL("User:a", ALL, ALLOW));
    CU_ASSERT(may("User:a", ACL_READ, "t"));
    acl_cache_set_unreadable(authorizer_cache(authorizer), &resource);
    acl_cache_publish(authorizer_cache(authorizer));
    CU_ASSERT_FALSE(may("User:a", ACL_READ, "t"));
    CU_ASSERT(may("User:root", ACL_READ, "t"));
    CU_ASSERT(may("User:a", ACL_READ, "u"));
    CU_ASSERT_EQUAL(operations("User:a", ACL_TOPIC, "t"), 0);
    end();
}

/* Who has begun to ask goes on with what was known then. */
static void test_books(void)
{
    begin_with(NULL, false);
    struct asker before = ask_from("User:a", "h");
    SET(LITERAL, "t", ACL("User:a", READ, ALLOW));
    struct asker after = ask_from("User:a", "h");
    set(ACL_TOPIC, ACL_LITERAL, "t", NULL, 0);
    CU_ASSERT_FALSE(asker_may(&before, ASKED_TO_DO, ACL_READ, ACL_TOPIC, STR("t")));
    CU_ASSERT(asker_may(&after, ASKED_TO_DO, ACL_READ, ACL_TOPIC, STR("t")));
    asker_done(&before);
    asker_done(&after);
    end();
}

/* With ten thousand ACLs a decision takes about as long as with one: bounded here by far too much. */
static void test_many(void)
{
    begin_with(NULL, false);
    struct acl_cache *cache = authorizer_cache(authorizer);
    struct acl *all = xcalloc(MANY, sizeof(*all));
    char(*names)[24] = xcalloc(MANY, sizeof(*names));
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "User:u%d", i);
        all[i] = (struct acl){str_of(names[i]), STR("*"), ACL_READ, ACL_ALLOW};
        struct acl_resource own = {ACL_TOPIC, i % 2 == 0 ? ACL_LITERAL : ACL_PREFIXED,
                                   str_of(names[i])};
        acl_cache_set(cache, &own, &all[i], 1);
    }
    acl_cache_set(cache, &(struct acl_resource){ACL_TOPIC, ACL_LITERAL, STR("*")}, all, MANY);
    acl_cache_publish(cache);
    int64_t begin_ms = now_ms();
    for (int i = 0; i < MANY; i++) {
        CU_ASSERT(may(names[i], ACL_READ, "anything"));
    }
    CU_ASSERT(now_ms() - begin_ms < 2000);
    CU_ASSERT_FALSE(may("User:stranger", ACL_READ, "User:u1"));
    free(all);
    free(names);
    end();
}

/* ---- threads ---- */

static atomic_bool over;
static atomic_int wrong;

/* Two ACLs come and go together: nobody sees one without the other. */
static void *read_books(void *context)
{
    (void)context;
    while (!atomic_load(&over)) {
        struct asker asker = ask_from("User:a", "h");
        bool read = asker_may(&asker, ASKED_TO_DO, ACL_READ, ACL_TOPIC, STR("t"));
        bool write = asker_may(&asker, ASKED_TO_DO, ACL_WRITE, ACL_TOPIC, STR("prefixed"));
        atomic_fetch_add(&wrong, read != write ? 1 : 0);
        asker_done(&asker);
    }
    return NULL;
}

static void test_readers_beside_the_writer(void)
{
    pthread_t readers[3];
    const struct acl acls[] = {ACL("User:a", READ, ALLOW), ACL("User:a", WRITE, ALLOW)};
    begin_with(NULL, false);
    struct acl_cache *cache = authorizer_cache(authorizer);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL_FATAL(pthread_create(&readers[i], NULL, read_books, NULL), 0);
    }
    for (int i = 0; i < 2000; i++) {
        struct acl_resource literal = {ACL_TOPIC, ACL_LITERAL, STR("t")};
        struct acl_resource prefixed = {ACL_TOPIC, ACL_PREFIXED, STR("pre")};
        acl_cache_set(cache, &literal, &acls[0], i % 2);
        acl_cache_set(cache, &prefixed, &acls[1], i % 2);
        acl_cache_publish(cache);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(readers[i], NULL);
    }
    CU_ASSERT_EQUAL(atomic_load(&wrong), 0);
    end();
}

/* ---- at random ---- */

static const char *const NAMES[] = {"*", "a", "ab", "abc", "abcd", "ac", "b", "ba", "c"};
static const char *const PRINCIPALS[] = {"User:*", "User:a", "User:b", "Group:a"};
static const char *const HOSTS[] = {"*", "h1", "h2"};

enum { NAMES_N = 9, PRINCIPALS_N = 4, HOSTS_N = 3, MODEL_MAX = 4096 };

/* The simplest program: a list of bindings. */
static struct {
    struct seeded_random random;
    struct model_acl {
        struct acl_resource resource;
        struct acl acl;
    } all[MODEL_MAX];
    int count;
} model;

static int draw(int n)
{
    return (int)random_below(&model.random.random, (uint32_t)n);
}

static bool fits(const struct model_acl *one, enum acl_type type, struct str name)
{
    const struct acl_resource *r = &one->resource;
    bool begins = name.len >= r->name.len && memcmp(name.data, r->name.data, r->name.len) == 0;
    return r->type == type &&
           (r->pattern == ACL_PREFIXED ? begins : str_equal(r->name, name) || str_is(r->name, "*"));
}

static bool is_about(const struct acl *acl, struct str principal, struct str host)
{
    return (str_equal(acl->principal, principal) || str_is(acl->principal, "User:*")) &&
           (str_is(acl->host, "*") || str_equal(acl->host, host));
}

static bool implies(enum acl_operation allowed, enum acl_operation operation)
{
    bool describe = operation == ACL_DESCRIBE && (allowed == ACL_READ || allowed == ACL_WRITE ||
                                                  allowed == ACL_DELETE || allowed == ACL_ALTER);
    return allowed == operation || allowed == ACL_ALL || describe ||
           (operation == ACL_DESCRIBE_CONFIGS && allowed == ACL_ALTER_CONFIGS);
}

static bool model_may(bool allow_if_no_acl, struct str principal, struct str host,
                      enum acl_operation operation, enum acl_type type, struct str name)
{
    bool any = false;
    bool allowed = false;
    for (int i = 0; i < model.count; i++) {
        const struct acl *acl = &model.all[i].acl;
        if (!fits(&model.all[i], type, name)) {
            continue;
        }
        any = true;
        if (!is_about(acl, principal, host)) {
            continue;
        }
        if (acl->permission == ACL_DENY &&
            (acl->operation == operation || acl->operation == ACL_ALL)) {
            return false;
        }
        allowed |= acl->permission == ACL_ALLOW && implies(acl->operation, operation);
    }
    return any ? allowed : allow_if_no_acl;
}

static struct model_acl draw_binding(void)
{
    return (struct model_acl){
        .resource = {(enum acl_type)(ACL_TOPIC + draw(2)),
                     (enum acl_pattern)(ACL_LITERAL + draw(2)), str_of(NAMES[draw(NAMES_N)])},
        .acl = {str_of(PRINCIPALS[draw(PRINCIPALS_N)]), str_of(HOSTS[draw(HOSTS_N)]),
                (enum acl_operation)(ACL_ALL + draw(ACL_OPERATIONS_END - ACL_ALL)),
                (enum acl_permission)(ACL_DENY + draw(2))}};
}

static bool same_resource(const struct acl_resource *a, const struct acl_resource *b)
{
    return a->type == b->type && a->pattern == b->pattern && str_equal(a->name, b->name);
}

/* The cache is told what a resource has. */
static void tell_cache(const struct acl_resource *resource)
{
    static struct acl acls[MODEL_MAX];
    int32_t count = 0;
    for (int i = 0; i < model.count; i++) {
        if (same_resource(&model.all[i].resource, resource)) {
            acls[count++] = model.all[i].acl;
        }
    }
    acl_cache_set(authorizer_cache(authorizer), resource, acls, count);
}

/* Adds one, removes one, or all of a resource. */
static void change_one(void)
{
    struct model_acl drawn = draw_binding();
    int how = draw(4);
    if (how > 1 && model.count > 0) {
        drawn = model.all[draw(model.count)];
    }
    int kept = 0;
    for (int i = 0; i < model.count; i++) {
        bool resource = same_resource(&model.all[i].resource, &drawn.resource);
        bool gone = resource && (how == 3 || acl_equals(&model.all[i].acl, &drawn.acl));
        if (!gone) {
            model.all[kept++] = model.all[i];
        }
    }
    model.count = kept;
    if (how < 2) {
        model.all[model.count++] = drawn;
    }
    tell_cache(&drawn.resource);
}

static bool ask_some(bool allow_if_no_acl)
{
    bool agree = true;
    for (int i = 0; i < QUESTIONS; i++) {
        const char *principal = PRINCIPALS[1 + draw(PRINCIPALS_N - 1)];
        const char *host = HOSTS[1 + draw(HOSTS_N - 1)];
        const char *name = NAMES[draw(NAMES_N)];
        enum acl_type type = (enum acl_type)(ACL_TOPIC + draw(2));
        enum acl_operation operation =
            (enum acl_operation)(ACL_READ + draw(ACL_OPERATIONS_END - ACL_READ));
        bool expected = model_may(allow_if_no_acl, str_of(principal), str_of(host), operation, type,
                                  str_of(name));
        agree &= may_from(principal, host, operation, type, name) == expected;
    }
    return agree;
}

static void run_seed(uint64_t seed)
{
    bool agree = true;
    bool allow_if_no_acl = seed % 2 == 0;
    model.count = 0;
    seeded_random_init(&model.random, seed);
    begin_with(NULL, allow_if_no_acl);
    for (int step = 0; agree && step < STEPS; step++) {
        for (int changes = draw(4); changes >= 0; changes--) {
            change_one();
        }
        acl_cache_publish(authorizer_cache(authorizer));
        agree = ask_some(allow_if_no_acl);
        if (!agree) {
            printf("seed %llu, step %d: the model disagrees\n", (unsigned long long)seed, step);
        }
    }
    CU_ASSERT(agree);
    end();
}

static uint64_t only_seed;

static void test_random(void)
{
    for (uint64_t seed = 1; only_seed == 0 && seed <= SEEDS; seed++) {
        run_seed(seed);
    }
    if (only_seed != 0) {
        run_seed(only_seed);
    }
}

#define TEST(function)                                                                             \
    {                                                                                              \
#function, function                                                                        \
    }

int main(int argc, char **argv)
{
    const struct suite_test tests[] = {
        TEST(test_super_users),
        TEST(test_no_acl),
        TEST(test_deny_wins),
        TEST(test_implied),
        TEST(test_hosts_and_principals),
        TEST(test_prefixes),
        TEST(test_any),
        TEST(test_unreadable),
        TEST(test_books),
        TEST(test_many),
        TEST(test_readers_beside_the_writer),
        TEST(test_random),
    };
    only_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    return suite_run("the authorizer", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}

/* ACLs in the store: two brokers on one embedded store, and somebody who writes nodes as Kafka does. What is written, what
 * the other one knows when it has followed; who was faster; what cannot be read. Then any sequence of changes, at random,
 * beside a list: no change of one ACL may hide another (test_acls random SEED runs one). */
#include "broker/cluster/acls.h"

#include "broker/tests/store_util.h"

enum { ARENA_BYTES = 64 << 20, BROKERS = 2, SEEDS = 25, STEPS = 40, MODEL_MAX = 512 };

static struct {
    char dir[64];
    struct arena arena;
    struct manual_clock clock;
    struct coord *coord;
    struct coord between; /* the store, with somebody else who may be faster */
    void (*before_multi)(void);
    struct acl_cache *cache[BROKERS];
    struct acls *acls[BROKERS];
    int multis;
    int gets;
} t;

/* ---- the store, with somebody in between ---- */

static err between_run(struct coord *coord, struct coord_op *ops, size_t count, struct arena *arena)
{
    (void)coord;
    for (size_t i = 0; i < count; i++) {
        t.gets += ops[i].type == COORD_GET ? 1 : 0;
    }
    return coord_run(t.coord, ops, count, arena);
}

static err between_multi(struct coord *coord, struct coord_op *ops, size_t count,
                         struct arena *arena)
{
    (void)coord;
    t.multis++;
    if (t.before_multi != NULL) {
        t.before_multi();
    }
    return coord_multi(t.coord, ops, count, arena);
}

static struct coord_op do_op(struct coord_op op)
{
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    return op;
}

static struct coord_op get(const char *path)
{
    return do_op((struct coord_op){.type = COORD_GET, .path = path});
}

static void write_raw(const char *path, const char *text)
{
    struct bytes data = bytes_of(text, strlen(text));
    struct coord_op set = do_op((struct coord_op){
        .type = COORD_SET, .path = path, .data = data, .version = COORD_ANY_VERSION});
    if (set.error == E_NOT_FOUND) {
        set = do_op((struct coord_op){.type = COORD_CREATE, .path = path, .data = data});
    }
    MUST(set.error);
}

static void notify_raw(const char *list, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/acl_changes_", list);
    MUST(do_op((struct coord_op){.type = COORD_CREATE,
                                 .path = path,
                                 .flags = COORD_SEQUENTIAL,
                                 .data = bytes_of(text, strlen(text))})
             .error);
}

/* ---- parts ---- */

static void begin(void)
{
    static const struct coord_ops BETWEEN = {.run = between_run, .multi = between_multi};
    memset(&t, 0, sizeof(t));
    temp_dir_make(t.dir);
    arena_init(&t.arena, ARENA_BYTES);
    manual_clock_init(&t.clock, 1000000);
    t.coord = store_open(t.dir, &t.clock.clock, ignore_watch);
    t.between.ops = &BETWEEN;
    for (int i = 0; i < BROKERS; i++) {
        t.cache[i] = acl_cache_new();
        t.acls[i] = acls_new(&(struct acls_config){
            .coord = &t.between, .clock = &t.clock.clock, .cache = t.cache[i]});
        MUST(acls_load(t.acls[i]));
    }
}

static void end(void)
{
    for (int i = 0; i < BROKERS; i++) {
        acls_free(t.acls[i]);
        acl_cache_free(t.cache[i]);
    }
    coord_close(t.coord);
    arena_deinit(&t.arena);
    temp_dir_remove(t.dir);
}

static struct acl_binding binding(enum acl_type type, enum acl_pattern pattern, const char *name,
                                  const char *principal, enum acl_permission permission)
{
    return (struct acl_binding){.resource = {type, pattern, str_of(name)},
                                .acl = {str_of(principal), STR("*"), ACL_READ, permission},
                                .error = E_CLOSED};
}

static err add(int broker, struct acl_binding one)
{
    acls_add(t.acls[broker], &one, 1, &t.arena);
    return one.error;
}

static int32_t remove_all(int broker, const struct acl_filter *filter)
{
    struct acl_binding *removed = NULL;
    int32_t count = 0;
    MUST(acls_remove(t.acls[broker], filter, &t.arena, &removed, &count));
    for (int32_t i = 0; i < count; i++) {
        MUST(removed[i].error);
    }
    return count;
}

static struct acl_filter filter_of(const struct acl_binding *one)
{
    return (struct acl_filter){one->resource.type, one->resource.pattern, one->resource.name,
                               one->acl};
}

/* How many ACLs a broker's readers find on a resource; -1: it cannot be read. */
struct look {
    struct acl_resource resource;
    int32_t count;
    const struct acl_entry *entry;
};

static bool look_at(void *context, const struct acl_entry *entry)
{
    struct look *look = context;
    if (entry->resource.type == look->resource.type &&
        entry->resource.pattern == look->resource.pattern &&
        str_equal(entry->resource.name, look->resource.name)) {
        look->count = entry->unreadable ? -1 : entry->acls_n;
    }
    return true;
}

static int32_t known(int broker, enum acl_type type, enum acl_pattern pattern, const char *name)
{
    struct look look = {.resource = {type, pattern, str_of(name)}};
    const struct acl_book *book = acl_cache_acquire(t.cache[broker]);
    acl_book_each(book, look_at, &look);
    acl_book_release(book);
    return look.count;
}

/* ---- one by one ---- */

static void test_nodes_are_made(void)
{
    static const char *const PATHS[] = {
        "/kafka-acl/Cluster",
        "/kafka-acl/DelegationToken",
        "/kafka-acl/Group",
        "/kafka-acl/Topic",
        "/kafka-acl/TransactionalId",
        "/kafka-acl/User",
        "/kafka-acl-changes",
        "/kafka-acl-extended-changes",
        "/kafka-acl-extended/prefixed/Topic",
        "/kafka-acl-extended/prefixed/TransactionalId",
    };
    begin();
    for (size_t i = 0; i < sizeof(PATHS) / sizeof(PATHS[0]); i++) {
        struct coord_op node = get(PATHS[i]);
        MUST(node.error);
        CU_ASSERT_PTR_NULL(node.value.data);
    }
    CU_ASSERT(acls_watches("/kafka-acl-changes"));
    CU_ASSERT_FALSE(acls_watches("/kafka-acl"));
    end();
}

static void test_add_and_remove(void)
{
    begin();
    struct acl_binding alice = binding(ACL_TOPIC, ACL_LITERAL, "t", "User:alice", ACL_ALLOW);
    struct acl_binding eve = binding(ACL_TOPIC, ACL_LITERAL, "t", "User:eve", ACL_DENY);
    MUST(add(0, alice));
    MUST(add(1, eve));
    MUST(add(1, eve)); /* there already: nothing is written */
    CU_ASSERT_EQUAL(get("/kafka-acl/Topic/t").stat.version, 1);
    CU_ASSERT(bytes_equal(get("/kafka-acl-changes/acl_changes_0000000001").value,
                          bytes_of("TOPIC:t", 7)));
    CU_ASSERT_EQUAL(get("/kafka-acl-changes/acl_changes_0000000002").error, E_NOT_FOUND);
    CU_ASSERT_EQUAL(known(1, ACL_TOPIC, ACL_LITERAL, "t"), 2); /* at once */
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_LITERAL, "t"), 1);
    MUST(acls_on_watch(t.acls[0]));
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_LITERAL, "t"), 2);
    t.gets = 0;
    MUST(acls_on_watch(t.acls[0])); /* it has seen all: one look at how old the oldest is */
    CU_ASSERT_EQUAL(t.gets, 1);
    struct acl_filter filter = filter_of(&alice);
    CU_ASSERT_EQUAL(remove_all(0, &filter), 1);
    CU_ASSERT_EQUAL(remove_all(0, &filter), 0);
    MUST(acls_on_watch(t.acls[1]));
    CU_ASSERT_EQUAL(known(1, ACL_TOPIC, ACL_LITERAL, "t"), 1); /* the DENY is still there */
    filter = filter_of(&eve);
    CU_ASSERT_EQUAL(remove_all(1, &filter), 1);
    CU_ASSERT_EQUAL(get("/kafka-acl/Topic/t").error, E_NOT_FOUND);
    end();
}

static void test_prefixed(void)
{
    begin();
    MUST(add(0, binding(ACL_GROUP, ACL_PREFIXED, "*", "User:a", ACL_ALLOW)));
    MUST(add(0, binding(ACL_USER, ACL_LITERAL, "User:bob", "User:a", ACL_ALLOW)));
    MUST(get("/kafka-acl-extended/prefixed/Group/*").error);
    MUST(get("/kafka-acl/User/User:bob").error);
    struct acl_resource resource;
    MUST(acl_change_decode(&t.arena,
                           get("/kafka-acl-extended-changes/acl_changes_0000000000").value, true,
                           &resource));
    CU_ASSERT_EQUAL(resource.type, ACL_GROUP);
    MUST(acls_on_watch(t.acls[1]));
    CU_ASSERT_EQUAL(known(1, ACL_GROUP, ACL_PREFIXED, "*"), 1);
    CU_ASSERT_EQUAL(known(1, ACL_GROUP, ACL_LITERAL, "*"), 0);
    CU_ASSERT_EQUAL(known(1, ACL_USER, ACL_LITERAL, "User:bob"), 1);
    end();
}

#define NODE(operation)                                                                            \
    "{\"acls\":[{\"principal\":\"User:k\",\"permissionType\":\"Deny\",\"host\":\"*\","             \
    "\"operation\":\"" operation "\"}],\"version\":1}"

static void test_written_by_kafka(void)
{
    begin();
    write_raw("/kafka-acl/Topic/k", NODE("All"));
    notify_raw("/kafka-acl-changes", "TOPIC:k");
    write_raw("/kafka-acl-extended/prefixed/Topic/k", NODE("Write"));
    notify_raw("/kafka-acl-extended-changes",
               "{\"version\":1,\"resourceType\":\"TOPIC\",\"name\":\"k\",\"patternType\":"
               "\"PREFIXED\"}");
    MUST(acls_on_watch(t.acls[0]));
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_LITERAL, "k"), 1);
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_PREFIXED, "k"), 1);
    MUST(add(0, binding(ACL_TOPIC, ACL_LITERAL, "k", "User:a", ACL_ALLOW)));
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_LITERAL, "k"), 2);
    write_raw("/kafka-acl/Topic/unseen", NODE("All")); /* and a notification that nobody reads */
    notify_raw("/kafka-acl-changes", "what is this");
    MUST(acls_on_watch(t.acls[0]));
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_LITERAL, "unseen"), 1);
    CU_ASSERT(acls_are_watched(t.acls[0]));
    end();
}

static void test_unreadable(void)
{
    begin();
    MUST(add(0, binding(ACL_TOPIC, ACL_LITERAL, "t", "User:a", ACL_ALLOW)));
    write_raw("/kafka-acl/Topic/t", NODE("Fly"));
    notify_raw("/kafka-acl-changes", "TOPIC:t");
    MUST(acls_on_watch(t.acls[0]));
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_LITERAL, "t"), -1);
    MUST(acls_load(t.acls[1]));
    CU_ASSERT_EQUAL(known(1, ACL_TOPIC, ACL_LITERAL, "t"), -1);
    /* What is not understood is not written over. */
    CU_ASSERT_EQUAL(add(0, binding(ACL_TOPIC, ACL_LITERAL, "t", "User:b", ACL_ALLOW)), -1);
    CU_ASSERT(
        bytes_equal(get("/kafka-acl/Topic/t").value, bytes_of(NODE("Fly"), strlen(NODE("Fly")))));
    write_raw("/kafka-acl/Topic/t", NODE("Read"));
    notify_raw("/kafka-acl-changes", "TOPIC:t");
    MUST(acls_on_watch(t.acls[0]));
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_LITERAL, "t"), 1);
    end();
}

static void other_adds(void)
{
    static int n;
    char text[256];
    t.before_multi = NULL;
    snprintf(text, sizeof(text),
             "{\"version\":1,\"acls\":[{\"principal\":\"User:o%d\",\"permissionType\":\"Allow\","
             "\"operation\":\"Read\",\"host\":\"*\"}]}",
             n++);
    write_raw("/kafka-acl/Topic/t", text);
}

static void other_is_always_faster(void)
{
    other_adds();
    t.before_multi = other_is_always_faster;
}

static void other_deletes(void)
{
    t.before_multi = NULL;
    MUST(do_op((struct coord_op){.type = COORD_DELETE,
                                 .path = "/kafka-acl/Topic/t",
                                 .version = COORD_ANY_VERSION})
             .error);
}

static void test_somebody_is_faster(void)
{
    begin();
    t.before_multi = other_adds;
    MUST(add(0, binding(ACL_TOPIC, ACL_LITERAL, "t", "User:a", ACL_ALLOW)));
    CU_ASSERT_EQUAL(t.multis, 2);
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_LITERAL, "t"), 2); /* both */
    t.before_multi = other_deletes;
    MUST(add(0, binding(ACL_TOPIC, ACL_LITERAL, "t", "User:b", ACL_ALLOW)));
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_LITERAL, "t"), 1);
    t.before_multi = other_is_always_faster;
    t.multis = 0;
    struct acl_binding late = binding(ACL_TOPIC, ACL_LITERAL, "t", "User:c", ACL_ALLOW);
    acls_add(t.acls[0], &late, 1, &t.arena);
    CU_ASSERT_EQUAL(late.error, -1);
    CU_ASSERT_EQUAL(t.multis, 11);
    CU_ASSERT(str_is(late.message,
                     "Failed to update ACLs for ResourcePattern(resourceType=TOPIC, name=t, "
                     "patternType=LITERAL) after trying a maximum of 10 times"));
    end();
}

static void test_old_notifications_go(void)
{
    begin();
    MUST(add(0, binding(ACL_TOPIC, ACL_LITERAL, "a", "User:a", ACL_ALLOW)));
    t.clock.now_ms += 15 * 60 * 1000 + 1;
    MUST(add(0, binding(ACL_TOPIC, ACL_LITERAL, "b", "User:a", ACL_ALLOW)));
    MUST(acls_on_watch(t.acls[1]));
    CU_ASSERT_EQUAL(get("/kafka-acl-changes/acl_changes_0000000000").error, E_NOT_FOUND);
    MUST(get("/kafka-acl-changes/acl_changes_0000000001").error);
    CU_ASSERT_EQUAL(known(1, ACL_TOPIC, ACL_LITERAL, "a"), 1);
    end();
}

static void test_new_session(void)
{
    begin();
    MUST(add(0, binding(ACL_TOPIC, ACL_LITERAL, "a", "User:a", ACL_ALLOW)));
    acls_forget_watch(t.acls[1]);
    CU_ASSERT_FALSE(acls_are_watched(t.acls[1]));
    MUST(acls_load(t.acls[1]));
    CU_ASSERT(acls_are_watched(t.acls[1]));
    CU_ASSERT_EQUAL(known(1, ACL_TOPIC, ACL_LITERAL, "a"), 1);
    end();
}

static void test_filters(void)
{
    begin();
    struct acl_binding all[] = {
        binding(ACL_TOPIC, ACL_LITERAL, "ab", "User:a", ACL_ALLOW),
        binding(ACL_TOPIC, ACL_LITERAL, "*", "User:a", ACL_ALLOW),
        binding(ACL_TOPIC, ACL_PREFIXED, "a", "User:a", ACL_ALLOW),
        binding(ACL_TOPIC, ACL_PREFIXED, "b", "User:a", ACL_ALLOW),
        binding(ACL_TOPIC, ACL_LITERAL, "ab", "User:b", ACL_DENY),
        binding(ACL_GROUP, ACL_LITERAL, "ab", "User:a", ACL_ALLOW),
    };
    acls_add(t.acls[0], all, 6, &t.arena);
    for (int i = 0; i < 6; i++) {
        MUST(all[i].error);
    }
    struct acl_filter filter = {ACL_TOPIC,
                                ACL_MATCH,
                                STR("ab"),
                                {.principal = STR("User:a"),
                                 .operation = ACL_OPERATION_ANY,
                                 .permission = ACL_PERMISSION_ANY}};
    CU_ASSERT_EQUAL(remove_all(0, &filter), 3);
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_LITERAL, "ab"), 1);
    CU_ASSERT_EQUAL(known(0, ACL_TOPIC, ACL_PREFIXED, "b"), 1);
    CU_ASSERT_EQUAL(known(0, ACL_GROUP, ACL_LITERAL, "ab"), 1);
    end();
}

/* ---- at random ---- */

static struct {
    struct seeded_random random;
    struct acl_binding all[MODEL_MAX];
    int count;
} model;

static int draw(int n)
{
    return (int)random_below(&model.random.random, (uint32_t)n);
}

static struct acl_binding draw_binding(void)
{
    static const char *const NAMES[] = {"*", "a", "ab", "abc", "kafka-cluster"};
    static const char *const PRINCIPALS[] = {"User:*", "User:a", "User:b"};
    struct acl_binding one =
        binding((enum acl_type)(ACL_TOPIC + draw(3)), (enum acl_pattern)(ACL_LITERAL + draw(2)),
                NAMES[draw(5)], PRINCIPALS[draw(3)], (enum acl_permission)(ACL_DENY + draw(2)));
    one.acl.operation = (enum acl_operation)(ACL_ALL + draw(3));
    return one;
}

static bool same(const struct acl_binding *a, const struct acl_binding *b)
{
    return a->resource.type == b->resource.type && a->resource.pattern == b->resource.pattern &&
           str_equal(a->resource.name, b->resource.name) && acl_equals(&a->acl, &b->acl);
}

static void model_add(const struct acl_binding *one)
{
    for (int i = 0; i < model.count; i++) {
        if (same(&model.all[i], one)) {
            return;
        }
    }
    CU_ASSERT_FATAL(model.count < MODEL_MAX);
    model.all[model.count++] = *one;
}

static int32_t model_remove(const struct acl_filter *filter)
{
    int kept = 0;
    int before = model.count;
    for (int i = 0; i < before; i++) {
        bool taken = acl_filter_takes_resource(filter, &model.all[i].resource) &&
                     acl_filter_takes(filter, &model.all[i].acl);
        model.all[kept] = model.all[i];
        kept += taken ? 0 : 1;
    }
    model.count = kept;
    return before - kept;
}

struct comparison {
    int matched;
    bool wrong;
};

static bool compare_entry(void *context, const struct acl_entry *entry)
{
    struct comparison *c = context;
    for (int32_t i = 0; i < entry->acls_n; i++) {
        struct acl_binding one = {.resource = entry->resource, .acl = entry->acls[i]};
        bool there = false;
        for (int k = 0; k < model.count; k++) {
            there |= same(&model.all[k], &one);
        }
        c->matched++;
        c->wrong |= !there;
    }
    c->wrong |= entry->unreadable;
    return true;
}

static bool agrees(int broker)
{
    struct comparison c = {0};
    const struct acl_book *book = acl_cache_acquire(t.cache[broker]);
    acl_book_each(book, compare_entry, &c);
    acl_book_release(book);
    return !c.wrong && c.matched == model.count;
}

/* By one broker, who knows what the other did only by its notifications; or its session ends. */
static bool step(void)
{
    int broker = draw(BROKERS);
    MUST(draw(5) == 0 ? acls_load(t.acls[broker]) : acls_on_watch(t.acls[broker]));
    if (draw(3) > 0) {
        struct acl_binding some[4];
        int32_t count = 1 + draw(4);
        for (int32_t i = 0; i < count; i++) {
            some[i] = draw_binding();
            model_add(&some[i]);
        }
        acls_add(t.acls[broker], some, count, &t.arena);
        for (int32_t i = 0; i < count; i++) {
            MUST(some[i].error);
        }
    } else {
        struct acl_binding one =
            model.count > 0 && draw(4) > 0 ? model.all[draw(model.count)] : draw_binding();
        struct acl_filter filter = filter_of(&one);
        filter.pattern = draw(3) == 0 ? ACL_MATCH : filter.pattern;
        filter.acl.operation = draw(3) == 0 ? ACL_OPERATION_ANY : filter.acl.operation;
        filter.acl.principal = draw(4) == 0 ? (struct str){0} : filter.acl.principal;
        int32_t removed = remove_all(broker, &filter);
        if (removed != model_remove(&filter)) {
            return false;
        }
    }
    return agrees(broker);
}

static void run_seed(uint64_t seed)
{
    bool right = true;
    model.count = 0;
    seeded_random_init(&model.random, seed);
    begin();
    for (int i = 0; right && i < STEPS; i++) {
        right = step();
        if (!right) {
            printf("seed %llu, step %d\n", (unsigned long long)seed, i);
        }
    }
    for (int i = 0; right && i < BROKERS; i++) {
        MUST(acls_on_watch(t.acls[i]));
        right = agrees(i);
        MUST(acls_load(t.acls[i]));
        right = right && agrees(i);
    }
    CU_ASSERT(right);
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
        TEST(test_nodes_are_made),
        TEST(test_add_and_remove),
        TEST(test_prefixed),
        TEST(test_written_by_kafka),
        TEST(test_unreadable),
        TEST(test_somebody_is_faster),
        TEST(test_old_notifications_go),
        TEST(test_new_session),
        TEST(test_filters),
        TEST(test_random),
    };
    only_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    return suite_run("ACLs in the store", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}

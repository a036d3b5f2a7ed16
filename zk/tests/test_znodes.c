/* Kafka's znodes: written as Kafka 3.9.1 writes them (the texts below were read from its
 * ZooKeeper), read tolerantly, and garbage refused. */
#include "zk/znodes.h"

#include "base/tests/suite.h"

static const char BROKER[] =
    "{\"features\":{},\"listener_security_protocol_map\":{\"PLAINTEXT\":\"PLAINTEXT\",\"SSL\":"
    "\"SSL\"},\"endpoints\":[\"PLAINTEXT://127.0.0.1:19405\",\"SSL://127.0.0.1:19406\"],\"rack\":"
    "\"r1\",\"jmx_port\":-1,\"port\":19405,\"host\":\"127.0.0.1\",\"version\":5,\"timestamp\":"
    "\"1795258828598\"}";
static const char TOPIC[] =
    "{\"partitions\":{\"0\":[1001,1],\"1\":[1],\"2\":[1]},\"topic_id\":\"UWiCpwSsQ4ivFT6VXwMLDA\","
    "\"adding_replicas\":{\"0\":[1001]},\"removing_replicas\":{},\"version\":3}";
static const char STATE[] = "{\"controller_epoch\":1,\"leader\":1001,\"version\":1,"
                            "\"leader_epoch\":0,\"isr\":[1001,1]}";
static const char CONFIG[] = "{\"version\":1,\"config\":{\"cleanup.policy\":\"compact,delete\","
                             "\"retention.ms\":\"86400000\"}}";
static const char CLUSTER[] = "{\"version\":\"1\",\"id\":\"4mC4ktazS8expo_spEuzVA\"}";
static const char LOG_DIR_EVENT[] = "{\"version\":1,\"broker\":3,\"event\":1}";
static const char CONTROLLER[] = "{\"version\":2,\"brokerid\":1,\"timestamp\":\"1795258828701\","
                                 "\"kraftControllerEpoch\":-1}";
static const char FEATURE[] = "{\"features\":{},\"version\":2,\"status\":1}";
static const char PRODUCER_IDS[] =
    "{\"version\":1,\"broker\":1,\"block_start\":\"0\",\"block_end\":\"999\"}";

static struct arena arena;

static struct bytes json(const char *text)
{
    return bytes_of(text, strlen(text));
}

static void same(struct bytes got, const char *expected)
{
    CU_ASSERT(bytes_equal(got, json(expected)));
    if (!bytes_equal(got, json(expected))) {
        printf("got      %.*s\nexpected %s\n", (int)got.len, (const char *)got.data, expected);
    }
}

static void begin(void)
{
    arena_init(&arena, 16 << 20);
}

static void end(void)
{
    arena_deinit(&arena);
}

static void test_broker(void)
{
    begin();
    struct znode_broker broker;
    MUST(znode_broker_decode(&arena, json(BROKER), &broker));
    CU_ASSERT_EQUAL_FATAL(broker.endpoints_n, 2);
    CU_ASSERT(str_is(broker.endpoints[1].listener, "SSL"));
    CU_ASSERT(str_is(broker.endpoints[1].host, "127.0.0.1"));
    CU_ASSERT_EQUAL(broker.endpoints[1].port, 19406);
    CU_ASSERT(str_is(broker.endpoints[1].security_protocol, "SSL"));
    CU_ASSERT(str_is(broker.rack, "r1"));
    CU_ASSERT_EQUAL(broker.timestamp_ms, 1795258828598);
    same(znode_broker_encode(&arena, &broker), BROKER);
    broker.endpoints_n = 0;
    broker.rack = (struct str){0};
    same(znode_broker_encode(&arena, &broker),
         "{\"features\":{},\"listener_security_protocol_map\":{},\"endpoints\":[],\"jmx_port\":-1,"
         "\"port\":-1,\"host\":null,\"version\":5,\"timestamp\":\"1795258828598\"}");
    end();
}

static void test_old_and_new_brokers(void)
{
    begin();
    struct znode_broker broker;
    MUST(znode_broker_decode(&arena,
                             json("{\"version\":9,\"new\":{\"a\":[1,{}]},\"timestamp\":\"7\","
                                  "\"endpoints\":[\"SSL://h.example:1\"]}"),
                             &broker));
    CU_ASSERT(str_is(broker.endpoints[0].security_protocol, "SSL"));
    CU_ASSERT(str_is_null(broker.rack));
    MUST(znode_broker_decode(
        &arena, json("{\"endpoints\":[],\"timestamp\":12,\"rack\":null,\"version\":4}"), &broker));
    CU_ASSERT_EQUAL(broker.timestamp_ms, 12);
    end();
}

/* An IPv6 address has brackets in the URL, and none anywhere else. */
static void test_ipv6(void)
{
    begin();
    struct znode_endpoint endpoint = {.listener = STR("IN"),
                                      .host = STR("fe80::1"),
                                      .port = 9092,
                                      .security_protocol = STR("PLAINTEXT")};
    struct znode_broker broker = {.endpoints = &endpoint, .endpoints_n = 1};
    struct bytes node = znode_broker_encode(&arena, &broker);
    same(node, "{\"features\":{},\"listener_security_protocol_map\":{\"IN\":\"PLAINTEXT\"},"
               "\"endpoints\":[\"IN://[fe80::1]:9092\"],\"jmx_port\":-1,\"port\":9092,\"host\":"
               "\"fe80::1\",\"version\":5,\"timestamp\":\"0\"}");
    MUST(znode_broker_decode(&arena, node, &broker));
    CU_ASSERT(str_is(broker.endpoints[0].host, "fe80::1"));
    CU_ASSERT_EQUAL(broker.endpoints[0].port, 9092);
    end();
}

static void test_topic(void)
{
    begin();
    struct znode_topic topic;
    MUST(znode_topic_decode(&arena, json(TOPIC), &topic));
    CU_ASSERT_EQUAL_FATAL(topic.partitions_n, 3);
    CU_ASSERT(topic.partitions[0].count == 2 && topic.partitions[0].ids[0] == 1001);
    CU_ASSERT(topic.partitions[2].count == 1 && topic.partitions[2].ids[0] == 1);
    CU_ASSERT(topic.adding[0].count == 1 && topic.adding[0].ids[0] == 1001);
    CU_ASSERT(topic.adding[1].count == 0 && topic.removing[0].count == 0);
    char id[UUID_TEXT_LEN + 1];
    uuid_format(topic.id, id);
    CU_ASSERT_STRING_EQUAL(id, "UWiCpwSsQ4ivFT6VXwMLDA");
    same(znode_topic_encode(&arena, &topic), TOPIC);
    topic = (struct znode_topic){.id = topic.id};
    same(znode_topic_encode(&arena, &topic),
         "{\"partitions\":{},\"topic_id\":\"UWiCpwSsQ4ivFT6VXwMLDA\",\"adding_replicas\":{},"
         "\"removing_replicas\":{},\"version\":3}");
    end();
}

static void test_topics_of_old_versions(void)
{
    begin();
    struct znode_topic topic;
    MUST(znode_topic_decode(&arena, json("{\"version\":1,\"partitions\":{\"1\":[2],\"0\":[1,2]}}"),
                            &topic));
    CU_ASSERT(uuid_is_zero(topic.id));
    CU_ASSERT(topic.partitions_n == 2 && topic.partitions[1].ids[0] == 2);
    CU_ASSERT(topic.adding[0].count == 0 && topic.removing[1].count == 0);
    MUST(znode_topic_decode(&arena,
                            json("{\"version\":2,\"partitions\":{\"0\":[1,2]},\"adding_replicas\":"
                                 "{},\"removing_replicas\":{\"0\":[2]}}"),
                            &topic));
    CU_ASSERT(uuid_is_zero(topic.id) && topic.removing[0].ids[0] == 2);
    MUST(znode_topic_decode(&arena, json("{\"version\":4,\"partitions\":{},\"x\":[]}"), &topic));
    CU_ASSERT_EQUAL(topic.partitions_n, 0);
    end();
}

static void test_many_partitions(void)
{
    begin();
    enum { N = 2000 };
    struct id_list *lists = arena_array(&arena, N, sizeof(*lists));
    int32_t ids[N];
    for (int32_t i = 0; i < N; i++) {
        ids[i] = i % 7;
        lists[i] = (struct id_list){.ids = &ids[i], .count = 1};
    }
    struct znode_topic topic = {
        .id = uuid_random(random_system()), .partitions = lists, .partitions_n = N};
    struct znode_topic back;
    MUST(znode_topic_decode(&arena, znode_topic_encode(&arena, &topic), &back));
    CU_ASSERT_EQUAL_FATAL(back.partitions_n, N);
    CU_ASSERT(uuid_equal(back.id, topic.id));
    for (int32_t i = 0; i < N; i++) {
        CU_ASSERT(back.partitions[i].count == 1 && back.partitions[i].ids[0] == i % 7);
    }
    end();
}

static void test_state(void)
{
    begin();
    struct znode_state state;
    MUST(znode_state_decode(&arena, json(STATE), &state));
    CU_ASSERT(state.leader == 1001 && state.leader_epoch == 0 && state.controller_epoch == 1);
    CU_ASSERT(state.isr.count == 2 && state.isr.ids[1] == 1 && state.leader_recovery_state == 0);
    same(znode_state_encode(&arena, &state), STATE);
    static const char RECOVERING[] = "{\"controller_epoch\":1,\"leader\":-1,\"version\":1,"
                                     "\"leader_epoch\":2,\"isr\":[],\"leader_recovery_state\":1}";
    MUST(znode_state_decode(&arena, json(RECOVERING), &state));
    CU_ASSERT(state.leader == -1 && state.isr.count == 0 && state.leader_recovery_state == 1);
    same(znode_state_encode(&arena, &state), RECOVERING);
    end();
}

static void test_config(void)
{
    begin();
    struct znode_config config;
    MUST(znode_config_decode(&arena, json(CONFIG), &config));
    CU_ASSERT_EQUAL_FATAL(config.entries_n, 2);
    CU_ASSERT(str_is(config.entries[0].name, "cleanup.policy"));
    CU_ASSERT(str_is(config.entries[1].value, "86400000"));
    same(znode_config_encode(&arena, &config), CONFIG);
    MUST(znode_config_decode(&arena, json("{\"version\":1,\"config\":{}}"), &config));
    CU_ASSERT_EQUAL(config.entries_n, 0);
    same(znode_config_encode(&arena, &config), "{\"version\":1,\"config\":{}}");
    struct znode_config_entry entry = {STR("a\"b"), STR("c\\\n\xc3\xa9")};
    config = (struct znode_config){.entries = &entry, .entries_n = 1};
    struct znode_config back;
    MUST(znode_config_decode(&arena, znode_config_encode(&arena, &config), &back));
    CU_ASSERT(str_equal(back.entries[0].name, entry.name));
    CU_ASSERT(str_equal(back.entries[0].value, entry.value));
    end();
}

static void test_single_values(void)
{
    begin();
    struct str id;
    MUST(znode_cluster_id_decode(&arena, json(CLUSTER), &id));
    CU_ASSERT(str_is(id, "4mC4ktazS8expo_spEuzVA"));
    same(znode_cluster_id_encode(&arena, id), CLUSTER);
    int32_t broker = -1;
    MUST(znode_controller_decode(&arena, json(CONTROLLER), &broker));
    CU_ASSERT_EQUAL(broker, 1);
    MUST(znode_controller_decode(&arena, json("{\"version\":1,\"brokerid\":5}"), &broker));
    CU_ASSERT_EQUAL(broker, 5);
    same(znode_controller_encode(&arena, 1, 1795258828701), CONTROLLER);
    same(znode_feature_encode(&arena, 2), FEATURE);
    same(znode_feature_encode(&arena, 1), "{\"features\":{},\"version\":1,\"status\":1}");
    MUST(znode_log_dir_event_decode(json(LOG_DIR_EVENT), &broker));
    CU_ASSERT_EQUAL(broker, 3);
    same(znode_log_dir_event_encode(&arena, 3), LOG_DIR_EVENT);
    struct znode_producer_ids block;
    MUST(znode_producer_ids_decode(&arena, json(PRODUCER_IDS), &block));
    CU_ASSERT(block.broker_id == 1 && block.first == 0 && block.last == 999);
    same(znode_producer_ids_encode(&arena, &block), PRODUCER_IDS);
    block.last = INT64_MAX;
    MUST(znode_producer_ids_decode(&arena, znode_producer_ids_encode(&arena, &block), &block));
    CU_ASSERT_EQUAL(block.last, INT64_MAX);
    end();
}

static void test_numbers(void)
{
    begin();
    static const int64_t NUMBERS[] = {0, 1, -1, 2147483648, INT64_MAX, INT64_MIN};
    int64_t number = 0;
    for (size_t i = 0; i < sizeof(NUMBERS) / sizeof(NUMBERS[0]); i++) {
        MUST(znode_number_decode(znode_number_encode(&arena, NUMBERS[i]), &number));
        CU_ASSERT_EQUAL(number, NUMBERS[i]);
    }
    same(znode_number_encode(&arena, 17), "17");
    static const char *const BAD[] = {"",
                                      "x",
                                      "1x",
                                      "0x10",
                                      "9223372036854775808",
                                      "1.5",
                                      "- 1",
                                      " 1",
                                      "1 ",
                                      "+",
                                      "00000000000000000000000000000001"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        CU_ASSERT_EQUAL(znode_number_decode(json(BAD[i]), &number), E_MALFORMED);
    }
    CU_ASSERT_EQUAL(znode_number_decode((struct bytes){0}, &number), E_MALFORMED);
    CU_ASSERT_EQUAL(znode_number_decode(bytes_of("1\0", 2), &number), E_MALFORMED);
    end();
}

/* ---- what is no such node ---- */

enum kind { BROKERS, TOPICS, STATES, CONFIGS, CLUSTERS, CONTROLLERS, DIRECTORIES, BLOCKS, KINDS };

static err decode(enum kind kind, struct bytes node)
{
    struct znode_broker broker;
    struct znode_topic topic;
    struct znode_state state;
    struct znode_config config;
    struct znode_producer_ids block;
    struct str id;
    int32_t number;
    switch (kind) {
    case BROKERS:
        return znode_broker_decode(&arena, node, &broker);
    case TOPICS:
        return znode_topic_decode(&arena, node, &topic);
    case STATES:
        return znode_state_decode(&arena, node, &state);
    case CONFIGS:
        return znode_config_decode(&arena, node, &config);
    case CLUSTERS:
        return znode_cluster_id_decode(&arena, node, &id);
    case CONTROLLERS:
        return znode_controller_decode(&arena, node, &number);
    case DIRECTORIES:
        return znode_log_dir_event_decode(node, &number);
    default:
        return znode_producer_ids_decode(&arena, node, &block);
    }
}

static void test_garbage(void)
{
    begin();
    static const struct {
        enum kind kind;
        const char *node;
    } BAD[] = {
        {BROKERS, "{\"endpoints\":[\"nothing\"],\"timestamp\":\"1\"}"},
        {BROKERS, "{\"endpoints\":[\"A://h\"],\"timestamp\":\"1\"}"},
        {BROKERS, "{\"endpoints\":[\"A://h:x\"],\"timestamp\":\"1\"}"},
        {BROKERS, "{\"endpoints\":[\"A://h:99999999999\"],\"timestamp\":\"1\"}"},
        {BROKERS, "{\"endpoints\":[7],\"timestamp\":\"1\"}"},
        {BROKERS, "{\"endpoints\":{},\"timestamp\":\"1\"}"},
        {BROKERS, "{\"endpoints\":[],\"timestamp\":\"yesterday\"}"},
        {TOPICS, "{\"partitions\":[[1]]}"},
        {TOPICS, "{\"partitions\":{\"1\":[1]}}"},
        {TOPICS, "{\"partitions\":{\"-1\":[1]}}"},
        {TOPICS, "{\"partitions\":{\"x\":[1]}}"},
        {TOPICS, "{\"partitions\":{\"0\":[1],\"00\":[1]}}"},
        {TOPICS, "{\"partitions\":{\"0\":[1],\"0\":[2]}}"},
        {TOPICS, "{\"partitions\":{\"0\":1}}"},
        {TOPICS, "{\"partitions\":{\"0\":[\"1\"]}}"},
        {TOPICS, "{\"partitions\":{\"0\":[4294967297]}}"},
        {TOPICS, "{\"partitions\":{\"0\":[1]},\"topic_id\":\"short\"}"},
        {TOPICS, "{\"partitions\":{\"0\":[1]},\"adding_replicas\":{\"7\":[1]}}"},
        {STATES, "{\"controller_epoch\":1,\"leader\":1,\"leader_epoch\":0}"},
        {STATES, "{\"controller_epoch\":1,\"leader\":\"1\",\"leader_epoch\":0,\"isr\":[1]}"},
        {STATES, "{\"controller_epoch\":1,\"leader\":2147483648,\"leader_epoch\":0,\"isr\":[1]}"},
        {STATES, "{\"controller_epoch\":1,\"leader_epoch\":0,\"isr\":[1]}"},
        {CONFIGS, "{\"version\":1}"},
        {CONFIGS, "{\"config\":[\"a\"]}"},
        {CONFIGS, "{\"config\":{\"a\":1}}"},
        {CLUSTERS, "{\"id\":7}"},
        {CONTROLLERS, "{\"brokerid\":\"1\"}"},
        {DIRECTORIES, "{\"version\":1,\"event\":1}"},
        {BLOCKS, "{\"broker\":1,\"block_start\":\"0\"}"},
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        CU_ASSERT_EQUAL(decode(BAD[i].kind, json(BAD[i].node)), E_MALFORMED);
        if (decode(BAD[i].kind, json(BAD[i].node)) != E_MALFORMED) {
            printf("accepted: %s\n", BAD[i].node);
        }
    }
    static const char *const NOTHING[] = {"",  "null", "[]",  "7",        "\"x\"",
                                          "{", "{}",   "{}x", "\xff\xfe", "{\"a\":1,}"};
    for (int kind = 0; kind < KINDS; kind++) {
        for (size_t i = 0; i < sizeof(NOTHING) / sizeof(NOTHING[0]); i++) {
            CU_ASSERT_EQUAL(decode((enum kind)kind, json(NOTHING[i])), E_MALFORMED);
        }
        CU_ASSERT_EQUAL(decode((enum kind)kind, (struct bytes){0}), E_MALFORMED);
    }
    end();
}

/* Every cut, and every byte changed, is a node or an error. */
static void test_damaged(void)
{
    static const char *const NODES[KINDS] = {BROKER,  TOPIC,      STATE,         CONFIG,
                                             CLUSTER, CONTROLLER, LOG_DIR_EVENT, PRODUCER_IDS};
    static const char BYTES[] = "\"{}[],:0-x\\";
    for (int kind = 0; kind < KINDS; kind++) {
        size_t len = strlen(NODES[kind]);
        for (size_t i = 0; i < len; i++) {
            begin();
            char *copy = xmalloc(i);
            memcpy(copy, NODES[kind], i);
            CU_ASSERT_EQUAL(decode((enum kind)kind, bytes_of(copy, i)), E_MALFORMED);
            free(copy);
            char *damaged = xstrdup(NODES[kind]);
            damaged[i] = BYTES[i % (sizeof(BYTES) - 1)];
            err e = decode((enum kind)kind, json(damaged));
            CU_ASSERT(e == OK || e == E_MALFORMED);
            free(damaged);
            end();
        }
    }
}

static void test_paths(void)
{
    begin();
    CU_ASSERT_STRING_EQUAL(znode_broker_path(&arena, 1001), "/brokers/ids/1001");
    struct str topic = {.data = "open!", .len = 4};
    CU_ASSERT_STRING_EQUAL(znode_topic_path(&arena, topic), "/brokers/topics/open");
    CU_ASSERT_STRING_EQUAL(znode_partitions_path(&arena, topic), "/brokers/topics/open/partitions");
    CU_ASSERT_STRING_EQUAL(znode_partition_path(&arena, topic, 2),
                           "/brokers/topics/open/partitions/2");
    CU_ASSERT_STRING_EQUAL(znode_state_path(&arena, topic, 2),
                           "/brokers/topics/open/partitions/2/state");
    CU_ASSERT_STRING_EQUAL(znode_topic_config_path(&arena, topic), "/config/topics/open");
    CU_ASSERT_STRING_EQUAL(znode_delete_topic_path(&arena, topic), "/admin/delete_topics/open");
    static const char *const MUST_EXIST[] = {
        ZNODE_BROKER_IDS,     ZNODE_TOPICS,        ZNODE_SEQID,       ZNODE_CONFIG_TOPICS,
        ZNODE_CONFIG_CHANGES, ZNODE_DELETE_TOPICS, ZNODE_PRODUCER_IDS};
    for (size_t i = 0; i < sizeof(MUST_EXIST) / sizeof(MUST_EXIST[0]); i++) {
        bool found = false;
        for (size_t k = 0; k < ZNODE_PERSISTENT_N; k++) {
            found |= strcmp(ZNODE_PERSISTENT[k], MUST_EXIST[i]) == 0;
        }
        CU_ASSERT(found);
    }
    /* Parents come first. */
    for (size_t k = 0; k < ZNODE_PERSISTENT_N; k++) {
        size_t up = (size_t)(strrchr(ZNODE_PERSISTENT[k], '/') - ZNODE_PERSISTENT[k]);
        bool parent = up == 0;
        for (size_t i = 0; i < k; i++) {
            parent |= strlen(ZNODE_PERSISTENT[i]) == up &&
                      strncmp(ZNODE_PERSISTENT[i], ZNODE_PERSISTENT[k], up) == 0;
        }
        CU_ASSERT(parent);
    }
    end();
}

SUITE("znodes", TEST(test_broker), TEST(test_old_and_new_brokers), TEST(test_ipv6),
      TEST(test_topic), TEST(test_topics_of_old_versions), TEST(test_many_partitions),
      TEST(test_state), TEST(test_config), TEST(test_single_values), TEST(test_numbers),
      TEST(test_garbage), TEST(test_damaged), TEST(test_paths))

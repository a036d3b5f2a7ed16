/* Topics, options and membership over the embedded store, without a broker: what is written, in which
 * order it is refused, what is told. Brokers 1 to 3 are in the metadata; the controller is broker 1 and
 * its messages go nowhere. */
#include "broker/cluster/config_alter.h"
#include "broker/cluster/config_changes.h"
#include "broker/cluster/membership.h"
#include "broker/cluster/topics.h"

#include "broker/tests/no_links.h"
#include "broker/tests/store_util.h"

enum { ARENA_BYTES = 64 << 20, BROKERS = 3, START_MS = 1000000 };

static struct {
    char dir[64];
    struct arena arena;
    struct manual_clock clock;
    struct seeded_random random;
    struct config config;
    struct loop *control;
    struct coord *coord;
    struct coord_events events; /* the membership's */
    struct metadata_cache *metadata;
    struct controller *controller;
    struct topic_configs *topic_configs;
    struct topics topics;
    struct config_editor editor;
    char told[512];
    err answer; /* of who is told */
} t;

/* ---- the store ---- */

static void on_watch(void *context, enum coord_watch_type type, const char *path)
{
    (void)context;
    if (t.events.watch != NULL) {
        t.events.watch(t.events.context, type, path);
    }
}

static struct coord_op get(const char *path)
{
    struct coord_op op = {.type = COORD_GET, .path = path};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    return op;
}

static bool is_there(const char *path)
{
    return get(path).error == OK;
}

static int children(const char *path)
{
    struct coord_op op = {.type = COORD_CHILDREN, .path = path};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    return op.children_n;
}

/* ---- parts ---- */

static void know_brokers(void)
{
    struct update_metadata_request_live_broker brokers[BROKERS];
    struct update_metadata_request_endpoint endpoint = {
        .port = 9092, .host = STR("localhost"), .listener = STR("PLAINTEXT")};
    for (int32_t i = 0; i < BROKERS; i++) {
        update_metadata_request_live_broker_init(&brokers[i]);
        brokers[i].id = i + 1;
        brokers[i].endpoints = &endpoint;
        brokers[i].endpoints_n = 1;
    }
    struct update_metadata_request request;
    update_metadata_request_init(&request);
    request.live_brokers = brokers;
    request.live_brokers_n = BROKERS;
    metadata_update(t.metadata, &request, NULL, NULL);
}

static void begin_with_seed(uint64_t seed)
{
    char reason[CONFIG_REASON_BYTES];
    memset(&t, 0, sizeof(t));
    temp_dir_make(t.dir);
    arena_init(&t.arena, ARENA_BYTES);
    manual_clock_init(&t.clock, START_MS);
    seeded_random_init(&t.random, seed);
    config_init(&t.config);
    MUST(config_finish(&t.config, reason));
    MUST(loop_new(&t.clock.clock, sockets_system(), &t.control));
    t.coord = store_open(t.dir, &t.clock.clock, on_watch);
    t.metadata = metadata_cache_new();
    know_brokers();
    const struct controller_config controller = {.broker_id = 1,
                                                 .delete_topic_enable = true,
                                                 .coord = t.coord,
                                                 .clock = &t.clock.clock,
                                                 .random = &t.random.random,
                                                 .listener = "PLAINTEXT",
                                                 .links = NO_LINKS};
    t.controller = controller_new(&controller);
    t.topic_configs = topic_configs_new(&t.config);
    topic_configs_use(t.topic_configs, t.coord, 0);
    t.topics = (struct topics){.coord = t.coord,
                               .topic_configs = t.topic_configs,
                               .controller = t.controller,
                               .metadata = t.metadata,
                               .config = &t.config,
                               .random = &t.random.random};
    t.editor = (struct config_editor){.coord = t.coord,
                                      .config = &t.config,
                                      .topic_configs = t.topic_configs,
                                      .metadata = t.metadata,
                                      .controller = t.controller};
}

static void begin(void)
{
    begin_with_seed(1);
    MUST(controller_elect(t.controller));
}

static void end(void)
{
    controller_free(t.controller);
    coord_close(t.coord);
    loop_drain(t.control);
    loop_free(t.control);
    topic_configs_free(t.topic_configs);
    metadata_cache_free(t.metadata);
    config_deinit(&t.config);
    arena_deinit(&t.arena);
    temp_dir_remove(t.dir);
}

/* ---- topics ---- */

static struct topic_wish wish_of(const char *name, int32_t partitions, int16_t factor)
{
    return (struct topic_wish){
        .name = str_of(name), .partitions_n = partitions, .replication_factor = factor};
}

static err create(const char *name, int32_t partitions, int16_t factor)
{
    struct topic_wish wish = wish_of(name, partitions, factor);
    struct topic_made made;
    return topics_create(&t.topics, &wish, &made);
}

static void test_topics_are_written(void)
{
    begin();
    struct topic_wish wish = wish_of("t", 6, 2);
    struct topic_made made;
    MUST(topics_create(&t.topics, &wish, &made));
    CU_ASSERT_EQUAL(made.partitions_n, 6);
    CU_ASSERT_EQUAL(made.replication_factor, 2);
    CU_ASSERT(is_there("/config/topics/t"));
    struct znode_topic node;
    MUST(znode_topic_decode(&t.arena, get("/brokers/topics/t").value, &node));
    CU_ASSERT(uuid_equal(node.id, made.id));
    int leads[BROKERS + 1] = {0};
    for (int32_t p = 0; p < node.partitions_n; p++) {
        CU_ASSERT_EQUAL_FATAL(node.partitions[p].count, 2);
        CU_ASSERT_NOT_EQUAL(node.partitions[p].ids[0], node.partitions[p].ids[1]);
        leads[node.partitions[p].ids[0]]++;
    }
    CU_ASSERT(leads[1] == 2 && leads[2] == 2 && leads[3] == 2);
    wish = wish_of("only-checked", 1, 1);
    wish.validate_only = true;
    MUST(topics_create(&t.topics, &wish, &made));
    CU_ASSERT(!is_there("/brokers/topics/only-checked"));
    end();
}

static void test_topics_are_refused(void)
{
    begin();
    MUST(create("a.b", 1, 1));
    CU_ASSERT_EQUAL(create("a.b", 0, 9), ERR_TOPIC_ALREADY_EXISTS);
    CU_ASSERT_EQUAL(create("x", 0, 1), ERR_INVALID_PARTITIONS);
    CU_ASSERT_EQUAL(create("x", 1, 0), ERR_INVALID_REPLICATION_FACTOR);
    CU_ASSERT_EQUAL(create("x", 1, BROKERS + 1), ERR_INVALID_REPLICATION_FACTOR);
    CU_ASSERT_EQUAL(create("x/y", 1, 1), ERR_INVALID_TOPIC_EXCEPTION);
    CU_ASSERT_EQUAL(create("a_b", 1, 1), ERR_INVALID_TOPIC_EXCEPTION);
    int32_t ids[] = {1, 9};
    struct assigned list = {.replicas = {.ids = ids, .count = 2}};
    struct topic_wish wish = wish_of("x", -1, -1);
    struct topic_made made;
    wish.assignment = &list;
    wish.assignment_n = 1;
    CU_ASSERT_EQUAL(topics_create(&t.topics, &wish, &made), ERR_INVALID_REPLICA_ASSIGNMENT);
    struct znode_config_entry entry = {STR("no.such.option"), STR("1")};
    wish = wish_of("x", 1, 1);
    wish.config = (struct znode_config){.entries = &entry, .entries_n = 1};
    CU_ASSERT_EQUAL(topics_create(&t.topics, &wish, &made), ERR_INVALID_CONFIG);
    CU_ASSERT_EQUAL(topics_delete(&t.topics, STR("nothing")), ERR_UNKNOWN_TOPIC_OR_PARTITION);
    CU_ASSERT(!is_there("/brokers/topics/x"));
    controller_resign(t.controller, "for the test");
    CU_ASSERT_EQUAL(create("x", 1, 1), ERR_NOT_CONTROLLER);
    end();
}

static void test_more_partitions(void)
{
    begin();
    char message[TOPIC_MESSAGE_BYTES];
    MUST(create("t", 2, 3));
    struct partitions_wish wish = {.name = STR("t"), .total = 2, .assignment_n = -1};
    CU_ASSERT_EQUAL(topics_add_partitions(&t.topics, &wish, message), ERR_INVALID_PARTITIONS);
    wish.total = 5;
    MUST(topics_add_partitions(&t.topics, &wish, message));
    struct znode_topic node;
    MUST(znode_topic_decode(&t.arena, get("/brokers/topics/t").value, &node));
    CU_ASSERT_EQUAL(node.partitions_n, 5);
    CU_ASSERT_EQUAL(node.partitions[4].count, 3);
    end();
}

/* The tools show the words, so they are Kafka's. */
static void refuses(struct id_list *list, const char *words)
{
    char message[TOPIC_MESSAGE_BYTES] = "";
    struct partitions_wish wish = {
        .name = STR("t"), .total = 3, .assignment = list, .assignment_n = 1};
    CU_ASSERT_EQUAL(topics_add_partitions(&t.topics, &wish, message),
                    ERR_INVALID_REPLICA_ASSIGNMENT);
    CU_ASSERT_STRING_EQUAL(message, words);
}

static void test_more_partitions_by_hand(void)
{
    begin();
    MUST(create("t", 2, 3));
    int32_t ids[] = {1, 9, 2};
    refuses(&(struct id_list){.ids = ids, .count = 3},
            "Unknown broker(s) in replica assignment: 9.");
    ids[1] = 3;
    refuses(&(struct id_list){.ids = ids, .count = 2},
            "Inconsistent replication factor between partitions, partition 0 has 3 while "
            "partitions [2] have replication factors [2], respectively.");
    end();
}

static struct str assignment_with(uint64_t seed)
{
    static char kept[2][4096];
    static int which;
    begin_with_seed(seed);
    MUST(controller_elect(t.controller));
    MUST(create("t", 8, 2));
    struct bytes value = get("/brokers/topics/t").value;
    char *copy = kept[which ^= 1];
    CU_ASSERT_FATAL(value.len < sizeof(kept[0]));
    snprintf(copy, sizeof(kept[0]), "%.*s", (int)value.len, (const char *)value.data);
    end();
    return str_of(copy);
}

/* Two brokers, or one that starts again, do not place alike; the same seed does. */
static void test_placement(void)
{
    struct str a = assignment_with(5);
    struct str b = assignment_with(5);
    CU_ASSERT(str_equal(a, b));
    int differ = 0;
    for (uint64_t seed = 6; seed < 16; seed++) {
        a = assignment_with(5);
        const char *partitions = strstr(a.data, "\"partitions\"");
        b = assignment_with(seed);
        differ += strcmp(partitions, strstr(b.data, "\"partitions\"")) != 0 ? 1 : 0;
    }
    CU_ASSERT(differ >= 5); /* of 9 placements each is as likely */
}

/* ---- options ---- */

static err on_topic_changed(void *context, struct str topic)
{
    (void)context;
    snprintf(t.told + strlen(t.told), sizeof(t.told) - strlen(t.told), "topic %.*s;",
             (int)topic.len, topic.data);
    return t.answer;
}

static err on_broker_changed(void *context, struct str entity)
{
    (void)context;
    snprintf(t.told + strlen(t.told), sizeof(t.told) - strlen(t.told), "broker %.*s;",
             (int)entity.len, entity.data);
    return t.answer;
}

static err on_client_changed(void *context, struct str path)
{
    (void)context;
    snprintf(t.told + strlen(t.told), sizeof(t.told) - strlen(t.told), "client %.*s;",
             (int)path.len, path.data);
    return t.answer;
}

static bool was_told(const char *expected)
{
    bool same = strcmp(t.told, expected) == 0;
    if (!same) {
        printf("\ntold: %s, expected: %s\n", t.told, expected);
    }
    t.told[0] = '\0';
    return same;
}

static struct config_changes *changes_new(void)
{
    struct config_changes_config config = {.coord = t.coord,
                                           .clock = &t.clock.clock,
                                           .topic_changed = on_topic_changed,
                                           .broker_changed = on_broker_changed,
                                           .client_changed = on_client_changed};
    return config_changes_new(&config);
}

static void know_topic(const char *name)
{
    struct update_metadata_request_partition_state partition;
    update_metadata_request_partition_state_init(&partition);
    struct update_metadata_request_topic_state topic = {.topic_name = str_of(name),
                                                        .topic_id = {{7}},
                                                        .partition_states = &partition,
                                                        .partition_states_n = 1};
    struct update_metadata_request request;
    update_metadata_request_init(&request);
    request.topic_states = &topic;
    request.topic_states_n = 1;
    metadata_update(t.metadata, &request, NULL, NULL);
}

static char message[CONFIG_REASON_BYTES];

static err alter(const char *topic, const char *name, const char *value, int8_t operation)
{
    struct config_edit edit = {
        .name = str_of(name), .value = str_of(value), .operation = operation};
    struct config_change change = {
        .resource_type = 2, .name = str_of(topic), .edits = &edit, .edits_n = 1};
    return config_alter(&t.editor, &change, message);
}

/* Of this broker, number 0, or of all: "". */
static err alter_broker(const char *broker, const char *name, const char *value, int8_t operation)
{
    struct config_edit edit = {
        .name = str_of(name), .value = str_of(value), .operation = operation};
    struct config_change change = {
        .resource_type = RESOURCE_BROKER, .name = str_of(broker), .edits = &edit, .edits_n = 1};
    return config_alter(&t.editor, &change, message);
}

static bool node_is(const char *path, const char *text)
{
    struct bytes value = get(path).value;
    return value.len == strlen(text) && memcmp(value.data, text, value.len) == 0;
}

/* Another has written it. */
static void put(const char *path, const char *text)
{
    struct coord_op op = {.type = is_there(path) ? COORD_SET : COORD_CREATE,
                          .path = path,
                          .data = bytes_of(text, strlen(text)),
                          .version = COORD_ANY_VERSION};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    MUST(op.error);
}

static const char *override_of(const char *topic, const char *name)
{
    const struct properties *overrides = NULL;
    MUST(topic_configs_refresh(t.topic_configs, str_of(topic), NULL));
    MUST(topic_configs_get(t.topic_configs, str_of(topic), &overrides));
    return properties_get(overrides, name);
}

static void test_options_of_brokers_are_altered(void)
{
    begin();
    struct config_changes *changes = changes_new();
    MUST(config_changes_begin(changes));
    MUST(alter_broker("0", "log.retention.ms", "77", CONFIG_SET));
    CU_ASSERT(
        node_is("/config/brokers/0", "{\"version\":1,\"config\":{\"log.retention.ms\":\"77\"}}"));
    MUST(config_changes_on_watch(changes));
    CU_ASSERT(was_told("broker 0;"));
    MUST(alter_broker("", "log.cleanup.policy", "compact", CONFIG_APPEND));
    CU_ASSERT(node_is("/config/brokers/<default>", "{\"version\":1,\"config\":{\"log.cleanup."
                                                   "policy\":\"delete,compact\"}}"));
    MUST(config_changes_on_watch(changes));
    CU_ASSERT(was_told("broker <default>;"));
    MUST(alter_broker("0", "log.retention.ms", NULL, CONFIG_DELETE));
    MUST(alter_broker("0", "leader.replication.throttled.rate", NULL, CONFIG_DELETE));
    CU_ASSERT(node_is("/config/brokers/0", "{\"version\":1,\"config\":{}}"));
    config_changes_free(changes);
    end();
}

/* What an Apache broker has left there stays, and is not judged. */
static void test_options_of_brokers_that_are_there(void)
{
    begin();
    put("/config/brokers/0", "{\"version\":1,\"config\":{\"num.io.threads\":\"9\"}}");
    MUST(alter_broker("0", "min.insync.replicas", "2", CONFIG_SET));
    CU_ASSERT(node_is("/config/brokers/0", "{\"version\":1,\"config\":{\"num.io.threads\":\"9\","
                                           "\"min.insync.replicas\":\"2\"}}"));
    CU_ASSERT_EQUAL(alter_broker("0", "num.io.threads", "10", CONFIG_SET), ERR_INVALID_REQUEST);
    CU_ASSERT_STRING_EQUAL(message, "Cannot update these configs dynamically: Set(num.io.threads)");
    CU_ASSERT_EQUAL(
        alter_broker("0", "replica.alter.log.dirs.io.max.bytes.per.second", "-1", CONFIG_SET),
        ERR_INVALID_REQUEST);
    MUST(alter_broker("0", "replica.alter.log.dirs.io.max.bytes.per.second", "1", CONFIG_SET));
    MUST(alter_broker("0", "replica.alter.log.dirs.io.max.bytes.per.second", NULL, CONFIG_DELETE));
    MUST(alter_broker("0", "num.io.threads", NULL, CONFIG_DELETE));
    put("/config/brokers/0", "no json");
    CU_ASSERT_EQUAL(alter_broker("0", "min.insync.replicas", "1", CONFIG_SET),
                    ERR_UNKNOWN_SERVER_ERROR);
    end();
}

/* Both over all layers, before the number of threads is compared with what runs. */
static void test_size_of_the_cleaner(void)
{
    static const struct {
        const char *broker;
        const char *name;
        const char *value;
        const char *said; /* NULL: fine */
    } ROWS[] = {
        {"0", "log.cleaner.threads", "200", "requirement failed: log.cleaner.dedupe.buffer.size"},
        {"0", "log.cleaner.dedupe.buffer.size", "100", "requirement failed: "},
        {"", "log.cleaner.dedupe.buffer.size", "4194304", "requirement failed: "},
        {"", "log.cleaner.dedupe.buffer.size", "4194308", NULL},
        {"", "log.cleaner.dedupe.buffer.size", "10000000", NULL},
        {"0", "log.cleaner.threads", "9",
         "Invalid value org.apache.kafka.common.config.ConfigException: Log cleaner threads cannot "
         "be increased to more than double the current value 4 for"},
        {"", "log.cleaner.threads", "8", NULL},
        {"", "log.cleaner.threads", "2", NULL},
        {"", "log.cleaner.threads", "1",
         "Invalid value org.apache.kafka.common.config.ConfigException: Log cleaner threads cannot "
         "be reduced to less than half the current value 4 for"},
        {"", "log.cleaner.threads", "0", "Invalid value 0 for configuration log.cleaner.threads: "},
    };
    begin();
    t.config.log_cleaner_threads = 4; /* as if it had been set */
    properties_set(&t.config.properties, "log.cleaner.threads", "4");
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        err e = alter_broker(ROWS[i].broker, ROWS[i].name, ROWS[i].value, CONFIG_SET);
        CU_ASSERT_EQUAL(e, ROWS[i].said == NULL ? OK : ERR_INVALID_REQUEST);
        CU_ASSERT(ROWS[i].said == NULL ||
                  strncmp(message, ROWS[i].said, strlen(ROWS[i].said)) == 0);
    }
    /* this broker's own option wins, whatever is said of all */
    char reason[CONFIG_REASON_BYTES];
    MUST(config_set_dynamic(&t.config, config_option("log.cleaner.threads"),
                            CONFIG_SOURCE_DYNAMIC_BROKER, "3", reason));
    MUST(alter_broker("", "log.cleaner.threads", "90", CONFIG_SET));
    CU_ASSERT_EQUAL(alter_broker("0", "log.cleaner.threads", "7", CONFIG_SET), ERR_INVALID_REQUEST);
    t.config.log_cleaner_enable = false; /* no threads, no steps */
    MUST(alter_broker("0", "log.cleaner.threads", "7", CONFIG_SET));
    end();
}

static void test_throttles_of_brokers(void)
{
    begin();
    MUST(alter_broker("0", "leader.replication.throttled.rate", "0", CONFIG_SET));
    MUST(
        alter_broker("", "follower.replication.throttled.rate", "9223372036854775807", CONFIG_SET));
    CU_ASSERT(node_is("/config/brokers/0",
                      "{\"version\":1,\"config\":{\"leader.replication.throttled.rate\":\"0\"}}"));
    static const char *const BAD[] = {"-1", "no number", "", "1.5", "9223372036854775808"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        CU_ASSERT_EQUAL(alter_broker("0", "leader.replication.throttled.rate", BAD[i], CONFIG_SET),
                        ERR_INVALID_REQUEST);
    }
    end();
}

static void test_options_are_altered(void)
{
    begin();
    know_topic("t");
    struct config_changes *changes = changes_new();
    MUST(config_changes_begin(changes));
    CU_ASSERT(config_changes_are_watched(changes));
    MUST(alter("t", "retention.ms", "77", CONFIG_SET));
    CU_ASSERT_STRING_EQUAL(override_of("t", "retention.ms"), "77");
    MUST(config_changes_on_watch(changes));
    CU_ASSERT(was_told("topic t;"));
    MUST(alter("t", "cleanup.policy", "compact", CONFIG_APPEND));
    CU_ASSERT_STRING_EQUAL(override_of("t", "cleanup.policy"), "delete,compact");
    MUST(alter("t", "cleanup.policy", "delete", CONFIG_SUBTRACT));
    CU_ASSERT_STRING_EQUAL(override_of("t", "cleanup.policy"), "compact");
    MUST(alter("t", "retention.ms", NULL, CONFIG_DELETE));
    CU_ASSERT_PTR_NULL(override_of("t", "retention.ms"));
    CU_ASSERT_EQUAL(alter("t", "retention.ms", "x", CONFIG_SET), ERR_INVALID_CONFIG);
    CU_ASSERT_EQUAL(alter("t", "no.such", "1", CONFIG_SET), ERR_INVALID_CONFIG);
    CU_ASSERT_EQUAL(alter("nothing", "retention.ms", "1", CONFIG_SET),
                    ERR_UNKNOWN_TOPIC_OR_PARTITION);
    MUST(config_changes_on_watch(changes));
    CU_ASSERT(was_told("topic t;topic t;topic t;"));
    MUST(config_changes_on_watch(changes)); /* seen already */
    CU_ASSERT(was_told(""));
    config_changes_free(changes);
    end();
}

static void notify(const char *json)
{
    struct coord_op op = {.type = COORD_CREATE,
                          .path = "/config/changes/config_change_",
                          .data = bytes_of(json, strlen(json)),
                          .flags = COORD_SEQUENTIAL};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    MUST(op.error);
}

static void test_notifications(void)
{
    begin();
    notify("{\"version\":2,\"entity_path\":\"topics/before\"}");
    struct config_changes *changes = changes_new();
    MUST(config_changes_begin(changes));
    notify("{\"version\":2,\"entity_path\":\"brokers/<default>\"}");
    notify("{garbage");
    notify("{\"version\":2,\"entity_path\":\"users/u\"}");
    notify("{\"version\":2,\"entity_path\":\"topics/a\"}");
    MUST(config_changes_on_watch(changes));
    CU_ASSERT(was_told("broker <default>;client users/u;topic a;"));
    notify("{\"version\":2,\"entity_path\":\"topics/b\"}");
    t.answer = E_SESSION; /* it cannot be read now */
    CU_ASSERT_EQUAL(config_changes_on_watch(changes), E_SESSION);
    CU_ASSERT(!config_changes_are_watched(changes));
    t.answer = OK;
    MUST(config_changes_on_watch(changes));
    CU_ASSERT(was_told("topic b;topic b;"));
    t.clock.now_ms += 16 * 60 * 1000;
    MUST(config_changes_on_watch(changes)); /* old ones go */
    CU_ASSERT_EQUAL(children("/config/changes"), 0);
    config_changes_free(changes);
    end();
}

/* ---- membership ---- */

static int64_t told_epoch;
static int configs_read;

static err lend_store(void *context, const struct coord_events *events, struct coord **coord,
                      char *reason)
{
    (void)context;
    (void)reason;
    t.events = *events;
    *coord = t.coord;
    return OK;
}

static void on_registered(void *context, int64_t broker_epoch)
{
    (void)context;
    CU_ASSERT(broker_epoch > told_epoch);
    told_epoch = broker_epoch;
}

static err read_configs(void *context)
{
    (void)context;
    configs_read++;
    return t.answer;
}

static struct membership *membership_of_test(void)
{
    char reason[MEMBERSHIP_REASON_BYTES] = "";
    told_epoch = 0;
    configs_read = 0;
    struct membership_config config = {.config = &t.config,
                                       .clock = &t.clock.clock,
                                       .random = &t.random.random,
                                       .control = t.control,
                                       .dir = t.dir,
                                       .open = lend_store,
                                       .registered = on_registered,
                                       .read_configs = read_configs};
    struct membership *m = membership_new(&config);
    MUST(membership_connect(m, reason));
    return m;
}

static void forget_registration(void)
{
    struct coord_op op = {
        .type = COORD_DELETE, .path = "/brokers/ids/1", .version = COORD_ANY_VERSION};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    MUST(op.error);
}

/* Registered, elected; the session ends; whatever fails then is tried again. */
static void test_membership(void)
{
    char reason[MEMBERSHIP_REASON_BYTES] = "";
    begin_with_seed(1);
    struct membership *m = membership_of_test();
    struct logs_identity identity = {.broker_id = 1};
    MUST(membership_settle(m, &identity, reason));
    CU_ASSERT_EQUAL(membership_broker_id(m), 1);
    CU_ASSERT_EQUAL(strlen(membership_cluster_id(m)), UUID_TEXT_LEN);
    struct znode_endpoint endpoint = {STR("PLAINTEXT"), STR("h"), 9, STR("PLAINTEXT")};
    MUST(membership_register(m, &endpoint, 1, reason));
    CU_ASSERT(is_there("/brokers/ids/1"));
    struct config_changes *changes = changes_new();
    MUST(config_changes_begin(changes));
    MUST(membership_elect(m, t.controller, changes, reason));
    CU_ASSERT(controller_is_active(t.controller));
    int64_t first_epoch = told_epoch;

    forget_registration();
    t.answer = E_SESSION;
    t.events.session(t.events.context, COORD_EXPIRED);
    CU_ASSERT(controller_is_active(t.controller)); /* nothing happens on the teller's thread */
    loop_turn(t.control);
    CU_ASSERT(is_there("/brokers/ids/1"));
    CU_ASSERT(told_epoch > first_epoch);
    CU_ASSERT(controller_is_active(t.controller));
    CU_ASSERT_EQUAL(configs_read, 1);
    t.clock.now_ms += 2000;
    loop_turn(t.control);
    CU_ASSERT_EQUAL(configs_read, 2);
    t.answer = OK;
    t.clock.now_ms += 2000;
    loop_turn(t.control);
    CU_ASSERT_EQUAL(configs_read, 3);
    t.clock.now_ms += 60000;
    loop_turn(t.control);
    CU_ASSERT_EQUAL(configs_read, 3); /* settled */

    membership_stop(m);
    t.events.session(t.events.context, COORD_EXPIRED);
    loop_drain(t.control); /* passed over */
    CU_ASSERT_EQUAL(configs_read, 3);
    controller_free(t.controller);
    t.controller = NULL;
    coord_close(t.coord);
    loop_drain(t.control);
    membership_free(m);
    config_changes_free(changes);
    loop_free(t.control);
    topic_configs_free(t.topic_configs);
    metadata_cache_free(t.metadata);
    config_deinit(&t.config);
    arena_deinit(&t.arena);
    temp_dir_remove(t.dir);
}

static void test_another_cluster(void)
{
    char reason[MEMBERSHIP_REASON_BYTES] = "";
    begin_with_seed(1);
    struct membership *m = membership_of_test();
    struct logs_identity identity = {.broker_id = 1, .cluster_id = "mine"};
    MUST(membership_settle(m, &identity, reason));
    CU_ASSERT_STRING_EQUAL(membership_cluster_id(m), "mine");
    struct logs_identity other = {.broker_id = 1, .cluster_id = "other"};
    CU_ASSERT_EQUAL(membership_settle(m, &other, reason), E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, "cluster.id=other"));
    membership_free(m);
    t.events = (struct coord_events){0};
    end();
}

SUITE("cluster", TEST(test_topics_are_written), TEST(test_topics_are_refused),
      TEST(test_more_partitions), TEST(test_more_partitions_by_hand), TEST(test_placement),
      TEST(test_throttles_of_brokers), TEST(test_size_of_the_cleaner),
      TEST(test_options_are_altered), TEST(test_options_of_brokers_are_altered),
      TEST(test_options_of_brokers_that_are_there), TEST(test_notifications), TEST(test_membership),
      TEST(test_another_cluster))

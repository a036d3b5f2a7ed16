/* The configuration: every row's default and range, values that are refused with one clear line,
 * where values come from, topics' options. */
#include "broker/config.h"

#include "base/tests/suite.h"

static struct config config;
static char reason[CONFIG_REASON_BYTES];

/* Reads "name=value" texts as overrides. */
static err finish(const char *const *overrides, size_t count)
{
    config_init(&config);
    reason[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        MUST(config_override(&config, overrides[i], reason));
    }
    return config_finish(&config, reason);
}

static err finish_one(const char *override)
{
    return finish(&override, override == NULL ? 0 : 1);
}

static void test_every_default_is_valid(void)
{
    size_t count = 0;
    const struct option *options = config_options(&count);
    MUST(finish_one(NULL));
    CU_ASSERT(count > 300);
    for (size_t i = 0; i < count; i++) {
        const struct option *o = &options[i];
        CU_ASSERT_PTR_EQUAL(config_option(o->name), o); /* no name twice */
        CU_ASSERT_FALSE(config_is_set(&config, o));
        CU_ASSERT(o->doc != NULL && strlen(o->doc) > 5 && o->range != NULL);
        const char *text = config_text(&config, o);
        CU_ASSERT((text == NULL) == (o->default_text == NULL));
        CU_ASSERT(text == NULL || strcmp(text, o->default_text) == 0);
        if (o->fate != FATE_IN_FORCE) {
            continue;
        }
        const void *field = (const char *)&config + o->field_offset;
        if (text == NULL && o->type == OPTION_INT) {
            CU_ASSERT_EQUAL(*(const int32_t *)field, CONFIG_NULL_INT);
        } else if (text == NULL && o->type == OPTION_LONG) {
            CU_ASSERT_EQUAL(*(const int64_t *)field, CONFIG_NULL_LONG);
        } else if (o->type == OPTION_SHORT) {
            CU_ASSERT_EQUAL(*(const int16_t *)field, strtol(text, NULL, 10));
        } else if (o->type == OPTION_INT) {
            CU_ASSERT_EQUAL(*(const int32_t *)field, strtol(text, NULL, 10));
        } else if (o->type == OPTION_LONG) {
            CU_ASSERT_EQUAL(*(const int64_t *)field, strtoll(text, NULL, 10));
        } else if (o->type == OPTION_BOOL) {
            CU_ASSERT_EQUAL(*(const bool *)field, strcmp(text, "true") == 0);
        }
    }
    CU_ASSERT_STRING_EQUAL(config.log_dirs, "/tmp/kafka-logs");
    config_deinit(&config);
}

/* One line that names the option, the value, and what is allowed. */
static void refused(const char *override, const char *name, const char *value, const char *allowed)
{
    CU_ASSERT_EQUAL(finish_one(override), E_CONFIG);
    bool clear = strstr(reason, name) != NULL && strstr(reason, value) != NULL &&
                 strstr(reason, allowed) != NULL && strchr(reason, '\n') == NULL;
    CU_ASSERT(clear);
    if (!clear) {
        printf("%s: \"%s\"\n", override, reason);
    }
    config_deinit(&config);
}

static void test_bad_values(void)
{
    refused("num.partitions=0", "num.partitions", "\"0\"", "1..");
    refused("num.partitions=many", "num.partitions", "\"many\"", "a whole number of 32 bits");
    refused("num.partitions=", "num.partitions", "\"\"", "a whole number");
    refused("num.partitions=1.5", "num.partitions", "\"1.5\"", "a whole number");
    refused("num.partitions=2147483648", "num.partitions", "2147483648", "32 bits");
    refused("num.partitions=1 2", "num.partitions", "1 2", "a whole number");
    refused("connections.max.idle.ms=9223372036854775808", "connections.max.idle.ms", "\"9223",
            "64 bits");
    refused("auto.create.topics.enable=yes", "auto.create.topics.enable", "\"yes\"",
            "true or false");
    refused("compression.type=brotli", "compression.type", "\"brotli\"", "gzip");
    refused("compression.type=gzip|lz4", "compression.type", "gzip|lz4", "gzip");
    refused("log.cleanup.policy=delete,shrink", "log.cleanup.policy", "delete,shrink", "compact");
    refused("log.retention.hours=0", "log.retention.hours", "0 is not allowed", "at least 1");
    refused("log.retention.minutes=0", "log.retention.minutes", "0 is", "at least 1");
    refused("log.retention.ms=0", "log.retention.ms", "0 is", "at least 1");
    refused("max.connections.per.ip.overrides=:1", "max.connections.per.ip.overrides", "\":1\"",
            "address:count");
    refused("max.connections.per.ip.overrides=a:1,b", "max.connections.per.ip.overrides", "a:1,b",
            "address:count");
    refused("max.connections.per.ip.overrides=a:-1", "max.connections.per.ip.overrides", "a:-1",
            "address:count");
    refused("compression.gzip.level=0", "compression.gzip.level", "\"0\"", "-1|1..9");
    refused("offsets.topic.replication.factor=32768", "offsets.topic", "32768", "16 bits");
    refused("quota.window.num=0", "quota.window.num", "\"0\"",
            "1.."); /* passed over, yet checked */
    refused("authorizer.class.name=x.Y", "authorizer.class.name", "\"x.Y\"", "AclAuthorizer");
    refused("super.users=User:a;", "super.users", "\"\"", "User:alice;User:bob");
    refused("super.users=User:a;bob", "super.users", "\"bob\"", "no empty part");
    refused("broker.id=5000", "broker.id", "5000", "reserved.broker.max.id");
    refused("connections.max.idle.ms=100", "connections.max.idle.ms", "100", "below 0 or above");
    refused("max.connections.per.ip=0", "max.connections.per.ip", "0", "overrides");
    refused("queued.max.request.bytes=1", "queued.max.request.bytes", "1 must be -1", "at least");
    refused("ottla.cluster.id="
            "0123456789012345678901234567890123456789012345678901234567890123",
            "ottla.cluster.id", "0123456789", "63 bytes");
}

/* What Kafka's ZooKeeper client can and this broker's cannot is refused where ZooKeeper is used; what
 * Kafka does not use without it is fine. */
static void test_zookeeper(void)
{
    static const char *const REFUSED[][2] = {
        {"zookeeper.set.acl=true", "option zookeeper.set.acl: ACLs in ZooKeeper need SASL or TLS "
                                   "towards it, which are not built; remove the option"},
        {"zookeeper.ssl.client.enable=true", "option zookeeper.ssl.client.enable: TLS towards "
                                             "ZooKeeper is not built; remove the option"},
        {"zookeeper.sasl.client=true", "option zookeeper.sasl.client: SASL towards ZooKeeper is "
                                       "not built; remove the option"},
        {"zookeeper.sasl.clientconfig=Client", "option zookeeper.sasl.clientconfig: SASL towards "
                                               "ZooKeeper is not built; remove the option"},
        {"zookeeper.metadata.migration.enable=true",
         "option zookeeper.metadata.migration.enable: migration to KRaft is not built; remove the "
         "option"},
        {"process.roles=broker", "option process.roles: with it Kafka runs KRaft and does not use "
                                 "zookeeper.connect; remove one of the two"}};
    for (size_t i = 0; i < sizeof(REFUSED) / sizeof(REFUSED[0]); i++) {
        const char *const set[] = {"zookeeper.connect=a:2181", REFUSED[i][0]};
        CU_ASSERT_EQUAL(finish(set, 2), E_CONFIG);
        CU_ASSERT_STRING_EQUAL(reason, REFUSED[i][1]);
        config_deinit(&config);
    }
    for (size_t i = 0; i + 1 < sizeof(REFUSED) / sizeof(REFUSED[0]); i++) {
        CU_ASSERT_EQUAL(finish_one(REFUSED[i][0]), OK); /* without zookeeper.connect */
        config_deinit(&config);
    }
    refused("zookeeper.session.timeout.ms=0", "zookeeper.session.timeout.ms", "\"0\"", "1..");
    static const char *const FINE[] = {
        "zookeeper.connect=a:2181,b/kafka",
        "zookeeper.set.acl=false",
        "zookeeper.ssl.client.enable=False",
        "zookeeper.ssl.keystore.location=/x",
        "zookeeper.ssl.crl.enable=true",
        "zookeeper.sasl.client=false ",
        "zookeeper.metadata.migration.enable=false",
        "zookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNIO",
        "zookeeper.connection.timeout.ms=6000",
        "process.roles="};
    MUST(finish(FINE, sizeof(FINE) / sizeof(FINE[0])));
    CU_ASSERT_STRING_EQUAL(config.zookeeper_connect, "a:2181,b/kafka");
    CU_ASSERT_EQUAL(config.zookeeper_connection_timeout_ms, 6000);
    config_deinit(&config);
}

/* Two names of one number, and which may be above reserved.broker.max.id. */
static void test_node_id(void)
{
    MUST(finish_one("node.id=7"));
    CU_ASSERT(config.broker_id == 7 && config.node_id == 7);
    config_deinit(&config);
    MUST(finish_one("broker.id=8"));
    CU_ASSERT(config.broker_id == 8 && config.node_id == 8);
    config_deinit(&config);
    static const char *const TWO[] = {"node.id=7", "broker.id=8"};
    CU_ASSERT_EQUAL(finish(TWO, 2), E_CONFIG);
    CU_ASSERT_STRING_EQUAL(reason, "option node.id: 7 is not broker.id (8); they must be the same, "
                                   "or one of them removed");
    config_deinit(&config);
    refused("node.id=5000", "broker.id", "5000", "reserved.broker.max.id");
    static const char *const KRAFT[] = {"node.id=5000", "process.roles=broker,controller"};
    MUST(finish(KRAFT, 2));
    config_deinit(&config);
    static const char *const FREE[] = {"broker.id=5000", "broker.id.generation.enable=false"};
    MUST(finish(FREE, 2));
    config_deinit(&config);
}

/* One node that does everything runs alone; a node of a cluster does not. */
static void test_kraft(void)
{
    static const char *const FINE[] = {"process.roles= controller, broker",
                                       "controller.quorum.voters=1@localhost:9093,",
                                       "controller.quorum.bootstrap.servers=localhost:9093"};
    MUST(finish(FINE, 3));
    config_deinit(&config);
    refused("process.roles=broker", "process.roles", "\"broker\"", "must be broker,controller");
    refused("process.roles=controller", "process.roles", "\"controller\"", "broker,controller");
    refused("process.roles=x", "process.roles", "\"x\"", "broker|controller");
    static const char *const SEVERAL[] = {"controller.quorum.voters=1@a:9093, 2@b:9093",
                                          "controller.quorum.bootstrap.servers=a:1,b:2"};
    for (size_t i = 0; i < 2; i++) {
        const char *const set[] = {"process.roles=broker,controller", SEVERAL[i]};
        CU_ASSERT_EQUAL(finish(set, 2), E_CONFIG);
        CU_ASSERT_PTR_NOT_NULL(strstr(reason, "it names several nodes"));
        config_deinit(&config);
        MUST(finish_one(SEVERAL[i])); /* no KRaft without process.roles */
        config_deinit(&config);
    }
}

/* Both ends of every range, and one past them. */
static void test_ranges(void)
{
    size_t count = 0;
    const struct option *options = config_options(&count);
    for (size_t i = 0; i < count; i++) {
        const struct option *o = &options[i];
        const char *dots = strstr(o->range, "..");
        if (dots == NULL || o->dynamic == ONLY_DYNAMIC || o->type == OPTION_DOUBLE ||
            strchr(o->range, '|') != NULL) {
            continue;
        }
        for (int end = 0; end < 2; end++) {
            const char *text = end == 0 ? o->range : dots + 2;
            if ((end == 0 && dots == o->range) || *text == '\0') {
                continue;
            }
            long long edge = strtoll(text, NULL, 10);
            char override[200];
            snprintf(override, sizeof(override), "%s=%lld", o->name, edge + (end == 0 ? -1 : 1));
            CU_ASSERT_EQUAL(finish_one(override), E_CONFIG);
            CU_ASSERT_PTR_NOT_NULL(strstr(reason, o->name));
            config_deinit(&config);
            snprintf(override, sizeof(override), "%s=%lld", o->name, edge);
            err e = finish_one(override);
            CU_ASSERT(e == OK || strstr(reason, "must not be above") != NULL ||
                      strstr(reason, "is only allowed with") != NULL);
            config_deinit(&config);
        }
    }
}

static void test_good_values(void)
{
    static const char *const SET[] = {"num.partitions=7",
                                      "auto.create.topics.enable=FALSE",
                                      "log.cleanup.policy= compact , delete ",
                                      "log.retention.ms=-1",
                                      "log.dirs= /a,/b ",
                                      "log.retention.hours=0", /* ms wins */
                                      "max.connections.per.ip.overrides=a:1, ::1:0",
                                      "no.such.option=is told, not refused",
                                      "num.network.threads= 2 ",
                                      "num.partitions=8",
                                      "sasl.jaas.config=",
                                      "ssl.keystore.location=/x", /* no listener has TLS */
                                      "sasl.enabled.mechanisms=PLAIN",
                                      "queued.max.request.bytes=0"};
    MUST(finish(SET, sizeof(SET) / sizeof(SET[0])));
    CU_ASSERT_EQUAL(config.num_partitions, 8);
    CU_ASSERT_FALSE(config.auto_create_topics_enable);
    CU_ASSERT_EQUAL(config.log_retention_ms, -1);
    CU_ASSERT_EQUAL(config.num_network_threads, 2);
    CU_ASSERT_STRING_EQUAL(config.log_dirs, "/a,/b");
    CU_ASSERT(config_is_set(&config, config_option("num.partitions")));
    CU_ASSERT_STRING_EQUAL(config_text(&config, config_option("num.network.threads")), "2");
    struct log_config log = topic_log_config(&config, NULL);
    CU_ASSERT(log.cleanup_compact && log.cleanup_delete && log.retention_ms == -1);
    config_deinit(&config);
}

static void test_override_form(void)
{
    config_init(&config);
    static const char *const BAD[] = {"", "=x", "num.partitions"};
    for (size_t i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(config_override(&config, BAD[i], reason), E_CONFIG);
        CU_ASSERT_PTR_NOT_NULL(strstr(reason, "name=value"));
    }
    MUST(config_override(&config, "listeners=A://h:1=2", reason));
    CU_ASSERT_STRING_EQUAL(config_text(&config, config_option("listeners")), "A://h:1=2");
    config_deinit(&config);
}

static void test_environment(void)
{
    static char *const ENVIRONMENT[] = {"PATH=/bin",
                                        "KAFKA_NUM_PARTITIONS=3",
                                        "KAFKA_CFG_LOG_DIRS=/x=y",
                                        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=A:PLAINTEXT",
                                        "KAFKA_A__B___C=d",
                                        "KAFKA_HEAP_OPTS=-Xmx1G",
                                        "KAFKA_OPTS=-Dx",
                                        "KAFKA_JVM_PERFORMANCE_OPTS=-x",
                                        "KAFKA_LOG4J_OPTS=x",
                                        "KAFKA_VERSION=3.9.1",
                                        "KAFKA_HOME=/opt/kafka",
                                        "KAFKA_PORT=tcp://10.0.0.1:9092",
                                        "KAFKA_PORT_9092_TCP_ADDR=10.0.0.1",
                                        "KAFKA_SERVICE_HOST=10.0.0.1",
                                        "KAFKA_NOTHING",
                                        "XKAFKA_NUM_PARTITIONS=9",
                                        NULL};
    config_init(&config);
    config_read_environment(&config, ENVIRONMENT);
    CU_ASSERT_STRING_EQUAL(properties_get(&config.properties, "num.partitions"), "3");
    CU_ASSERT_STRING_EQUAL(properties_get(&config.properties, "log.dirs"), "/x=y");
    CU_ASSERT_STRING_EQUAL(properties_get(&config.properties, "listener.security.protocol.map"),
                           "A:PLAINTEXT");
    CU_ASSERT_STRING_EQUAL(properties_get(&config.properties, "a_b-c"), "d");
    CU_ASSERT_EQUAL(config.properties.count, 4);
    config_use_shipped_defaults(&config);
    CU_ASSERT_STRING_EQUAL(properties_get(&config.properties, "log.dirs"), "/x=y");
    MUST(config_finish(&config, reason));
    CU_ASSERT_EQUAL(config.num_partitions, 3);
    CU_ASSERT_EQUAL(config.offsets_topic_replication_factor, 1);
    CU_ASSERT_EQUAL(config.group_initial_rebalance_delay_ms, 0);
    config_deinit(&config);
}

/* The variables of an environment, as after a start without a file. */
static void finish_environment(char *const *environment)
{
    config_init(&config);
    config_read_environment(&config, environment);
    config_use_shipped_defaults(&config);
    MUST(config_finish(&config, reason));
}

/* What is shipped does not count as set. */
static void test_images(void)
{
    static char *const NODE[] = {"KAFKA_NODE_ID=7",
                                 "CLUSTER_ID=5L6g3nShT-eMCtK--X86sw",
                                 "KAFKA_LOG_DIR=/x",
                                 "KAFKA_PROCESS_ROLES=broker,controller",
                                 "KAFKA_CONTROLLER_QUORUM_VOTERS=7@localhost:9093",
                                 NULL};
    finish_environment(NODE);
    CU_ASSERT_EQUAL(config.broker_id, 7);
    CU_ASSERT_STRING_EQUAL(config.ottla_cluster_id, "5L6g3nShT-eMCtK--X86sw");
    CU_ASSERT_STRING_EQUAL(config.log_dirs, "/x");
    config_deinit(&config);
    static char *const BITNAMI[] = {"KAFKA_KRAFT_CLUSTER_ID=abc", "KAFKA_CFG_NODE_ID=0", NULL};
    finish_environment(BITNAMI);
    CU_ASSERT_STRING_EQUAL(config.ottla_cluster_id, "abc");
    config_deinit(&config);
    static char *const NOTHING[] = {NULL};
    finish_environment(NOTHING);
    CU_ASSERT(config.broker_id == 0 && config.ottla_cluster_id == NULL);
    CU_ASSERT_STRING_EQUAL(config.log_dirs, "./data");
    CU_ASSERT_STRING_EQUAL(config.listeners, "PLAINTEXT://:9092");
    config_deinit(&config);
    static char *const ADVERTISED[] = {"KAFKA_ADVERTISED_LISTENERS=A://h:1,B://[::1]:2", NULL};
    finish_environment(ADVERTISED);
    CU_ASSERT_STRING_EQUAL(config.listeners, "A://:1,B://:2");
    config_deinit(&config);
    static char *const BOTH[] = {"KAFKA_ADVERTISED_LISTENERS=A://h:1", "KAFKA_LISTENERS=A://:9",
                                 NULL};
    finish_environment(BOTH);
    CU_ASSERT_STRING_EQUAL(config.listeners, "A://:9");
    config_deinit(&config);
}

static void check_text(const char *mechanism, const char *option, const char *text)
{
    const char *found = config_listener_text(&config, "OUTSIDE", mechanism, option);
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    CU_ASSERT_STRING_EQUAL(found, text);
}

#define TWO_LISTENERS                                                                              \
    "listeners=INSIDE://:1,OUTSIDE://:2",                                                          \
        "listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:SSL"

static void test_listener_options(void)
{
    static const char *const SET[] = {TWO_LISTENERS,
                                      "listener.name.inside.max.connections= 5 ",
                                      "ssl.client.auth=requested",
                                      "ssl.keystore.type=PEM",
                                      "listener.name.outside.ssl.client.auth= required ",
                                      "listener.name.outside.plain.sasl.jaas.config=x"};
    MUST(finish(SET, 7));
    CU_ASSERT_EQUAL(config_listener_limit(&config, "OTHER", "max.connections"), INT32_MAX);
    CU_ASSERT_EQUAL(config_listener_limit(&config, "INSIDE", "max.connections"), 5);
    check_text(NULL, "ssl.client.auth", "required");
    check_text(NULL, "ssl.keystore.type", "PEM");
    check_text("PLAIN", "sasl.jaas.config", "x");
    check_text("plain", "ssl.client.auth", "required");
    CU_ASSERT_STRING_EQUAL(config_listener_own_text(&config, "OUTSIDE", "ssl.client.auth", "none"),
                           "required");
    CU_ASSERT_STRING_EQUAL(config_listener_own_text(&config, "INSIDE", "ssl.client.auth", "none"),
                           "none");
    CU_ASSERT_PTR_NULL(config_listener_text(&config, "OUTSIDE", "GSSAPI", "sasl.jaas.config"));
    CU_ASSERT_STRING_EQUAL(config_listener_text(&config, "INSIDE", NULL, "ssl.client.auth"),
                           "requested");
    properties_set(&config.dynamic, "listener.name.outside.ssl.client.auth", "none");
    check_text(NULL, "ssl.client.auth", "none");
    config_deinit(&config);
}

static void check_listener_refusal(const char *setting, const char *words)
{
    const char *set[] = {TWO_LISTENERS, setting};
    CU_ASSERT_EQUAL(finish(set, 3), E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, words));
    config_deinit(&config);
}

static void test_listener_refusals(void)
{
    check_listener_refusal("listener.name.inside.max.connections=-1", "\"-1\" is not allowed");
    check_listener_refusal("listener.name.inside.nothing=1", "there is no such option");
    check_listener_refusal("listener.name.inside.ssl.client.auht=required",
                           "there is no such option");
    check_listener_refusal("listener.name.insid.ssl.client.auth=required",
                           "there is no such listener");
    check_listener_refusal("ssl.client.auht=required", "there is no such option");
    check_listener_refusal("sasl.enabled.mechanism=PLAIN", "there is no such option");
    check_listener_refusal("SSL.client.auth=required", "there is no such option");
    check_listener_refusal("Listener.name.outside.ssl.client.auth=required",
                           "there is no such option");
    check_listener_refusal("listener.name.OUTSIDE.ssl.client.auth=none", "must be in lower case");
    check_listener_refusal("listener.name.outside.foo.ssl.client.auth=required",
                           "there is no such option");
    check_listener_refusal("listener.name.outside.plain.ssl.client.auth=required",
                           "there is no such option");
    check_listener_refusal("listener.name.outside.scram-sha256.connections.max.reauth.ms=1",
                           "there is no such option");
    check_listener_refusal("authorizer.class=kafka.security.authorizer.AclAuthorizer",
                           "there is no such option");
    check_listener_refusal("authorizer.zookeeper.url=elsewhere:2181", "there is no such option");
    check_listener_refusal("Super.users=User:a", "there is no such option");
    check_listener_refusal("delegation.token.secret.keys=x", "there is no such option");
    check_listener_refusal("connections.max.reauth=1", "there is no such option");
}

/* They change nothing about who may do what. */
static void test_options_of_the_authorizers_store(void)
{
    static const char *const SET[] = {"authorizer.zookeeper.session.timeout.ms=1"};
    MUST(finish(SET, 1));
    config_deinit(&config);
}

static void test_file(void)
{
    char dir[64];
    char path[128];
    temp_dir_make(dir);
    snprintf(path, sizeof(path), "%s/server.properties", dir);
    config_init(&config);
    CU_ASSERT_NOT_EQUAL(config_read_file(&config, path, reason), OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, path));
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs("# comment\nbroker.id=4\nnum.partitions : 6\n", file);
    fclose(file);
    MUST(config_read_file(&config, path, reason));
    MUST(config_override(&config, "num.partitions=9", reason));
    MUST(config_finish(&config, reason));
    CU_ASSERT(config.broker_id == 4 && config.num_partitions == 9);
    config_deinit(&config);
    config_init(&config);
    file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs("a=b\nc=\\uXYZW\n", file);
    fclose(file);
    CU_ASSERT_EQUAL(config_read_file(&config, path, reason), E_MALFORMED);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, "line 2"));
    config_deinit(&config);
    temp_dir_remove(dir);
}

static void test_topic_options(void)
{
    size_t count = 0;
    const struct topic_option *options = topic_options(&count);
    MUST(finish_one(NULL));
    for (size_t i = 0; i < count; i++) {
        const struct topic_option *o = &options[i];
        CU_ASSERT_PTR_EQUAL(topic_option(str_of(o->name)), o);
        CU_ASSERT(o->broker_option == NULL || config_option(o->broker_option) != NULL);
        const char *text = topic_option_default(&config, o);
        CU_ASSERT_PTR_NOT_NULL_FATAL(text);
        CU_ASSERT_EQUAL(topic_option_check(o, text, reason), OK);
    }
    CU_ASSERT_PTR_NULL(topic_option(STR("no.such")));
    static const struct {
        const char *name;
        const char *value;
        bool fine;
    } CHECKS[] = {{"retention.ms", "-1", true},
                  {"retention.ms", "-2", false},
                  {"cleanup.policy", "compact,delete", true},
                  {"cleanup.policy", "x", false},
                  {"min.cleanable.dirty.ratio", "1.1", false},
                  {"preallocate", "TRUE", true},
                  {"segment.bytes", "13", false},
                  {"max.message.bytes", "1e3", false}};
    for (size_t i = 0; i < sizeof(CHECKS) / sizeof(CHECKS[0]); i++) {
        const struct topic_option *o = topic_option(str_of(CHECKS[i].name));
        err e = topic_option_check(o, CHECKS[i].value, reason);
        CU_ASSERT_EQUAL(e == OK, CHECKS[i].fine);
        CU_ASSERT(e == OK || (strstr(reason, CHECKS[i].name) != NULL &&
                              strstr(reason, CHECKS[i].value) != NULL));
    }
    config_deinit(&config);
}

/* A duration of the broker in the finest unit that is set. */
static void test_units(void)
{
    static const char *const HOURS[] = {"log.retention.hours=2", "log.roll.hours=3"};
    MUST(finish(HOURS, 2));
    CU_ASSERT_EQUAL(topic_log_config(&config, NULL).retention_ms, 2 * 3600000);
    CU_ASSERT_EQUAL(topic_log_config(&config, NULL).segment_ms, 3 * 3600000);
    config_deinit(&config);
    static const char *const ALL[] = {"log.retention.hours=2", "log.retention.minutes=5",
                                      "log.retention.ms=77"};
    MUST(finish(ALL, 2));
    CU_ASSERT_EQUAL(topic_log_config(&config, NULL).retention_ms, 5 * 60000);
    config_deinit(&config);
    MUST(finish(ALL, 3));
    CU_ASSERT_EQUAL(topic_log_config(&config, NULL).retention_ms, 77);
    struct properties overrides;
    properties_init(&overrides);
    properties_set(&overrides, "retention.ms", "5");
    properties_set(&overrides, "compression.type", "gzip");
    struct log_config log = topic_log_config(&config, &overrides);
    CU_ASSERT_EQUAL(log.retention_ms, 5);
    CU_ASSERT_EQUAL(log.compression_type, 1);
    properties_deinit(&overrides);
    config_deinit(&config);
    MUST(finish_one("log.retention.hours=-1"));
    CU_ASSERT_EQUAL(topic_log_config(&config, NULL).retention_ms, -1);
    config_deinit(&config);
}

SUITE("config", TEST(test_every_default_is_valid), TEST(test_bad_values), TEST(test_zookeeper),
      TEST(test_node_id), TEST(test_kraft), TEST(test_images), TEST(test_listener_options),
      TEST(test_listener_refusals), TEST(test_options_of_the_authorizers_store), TEST(test_ranges),
      TEST(test_good_values), TEST(test_override_form), TEST(test_environment), TEST(test_file),
      TEST(test_topic_options), TEST(test_units))

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
    CU_ASSERT(count > 90);
    for (size_t i = 0; i < count; i++) {
        const struct option *o = &options[i];
        CU_ASSERT_PTR_EQUAL(config_option(o->name), o); /* no name twice */
        CU_ASSERT_FALSE(config_is_set(&config, o));
        CU_ASSERT(o->doc != NULL && strlen(o->doc) > 5 && o->range != NULL);
        const char *text = config_text(&config, o);
        CU_ASSERT((text == NULL) == (o->default_text == NULL));
        CU_ASSERT(text == NULL || strcmp(text, o->default_text) == 0);
        const void *field = (const char *)&config + o->field_offset;
        if (text == NULL && o->type == OPTION_INT) {
            CU_ASSERT_EQUAL(*(const int32_t *)field, CONFIG_NULL_INT);
        } else if (text == NULL && o->type == OPTION_LONG) {
            CU_ASSERT_EQUAL(*(const int64_t *)field, CONFIG_NULL_LONG);
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
    refused("ssl.keystore.location=/x", "ssl.keystore.location", "not built", "remove");
    refused("sasl.enabled.mechanisms=PLAIN", "sasl.enabled.mechanisms", "not built", "remove");
    refused("authorizer.class.name=x.Y", "authorizer.class.name", "not built", "remove");
    refused("broker.id=5000", "broker.id", "5000", "reserved.broker.max.id");
}

/* What Kafka's ZooKeeper client can and this broker's cannot is refused, each by its own words;
 * false and nothing are fine. */
static void test_zookeeper(void)
{
    refused("zookeeper.set.acl=true", "zookeeper.set.acl", "ACLs in ZooKeeper", "not built");
    refused("zookeeper.ssl.client.enable=true", "zookeeper.ssl.client.enable", "TLS", "not built");
    refused("zookeeper.ssl.keystore.location=/x", "zookeeper.ssl.keystore.location",
            "TLS towards ZooKeeper", "not built");
    refused("zookeeper.ssl.crl.enable=false", "zookeeper.ssl.crl.enable", "TLS", "not built");
    refused("zookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty",
            "zookeeper.clientCnxnSocket", "ClientCnxnSocketNIO", "remove");
    refused("zookeeper.sasl.client=true", "zookeeper.sasl.client", "SASL towards ZooKeeper",
            "not built");
    refused("zookeeper.sasl.clientconfig=Client", "zookeeper.sasl.clientconfig", "SASL", "not");
    refused("zookeeper.metadata.migration.enable=true", "zookeeper.metadata.migration.enable",
            "migration to KRaft", "not built");
    refused("zookeeper.session.timeout.ms=0", "zookeeper.session.timeout.ms", "\"0\"", "1..");
    static const char *const FINE[] = {
        "zookeeper.connect=a:2181,b/kafka",
        "zookeeper.set.acl=false",
        "zookeeper.ssl.client.enable=False",
        "zookeeper.ssl.keystore.location=",
        "zookeeper.sasl.client=false ",
        "zookeeper.metadata.migration.enable=false",
        "zookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNIO",
        "zookeeper.connection.timeout.ms=6000",
        "process.roles="};
    MUST(finish(FINE, sizeof(FINE) / sizeof(FINE[0])));
    CU_ASSERT_STRING_EQUAL(config.zookeeper_connect, "a:2181,b/kafka");
    CU_ASSERT_EQUAL(config.zookeeper_connection_timeout_ms, 6000);
    CU_ASSERT_FALSE(config.zookeeper_ssl_client_enable);
    config_deinit(&config);
    static const char *const BOTH[] = {"zookeeper.connect=a:2181", "process.roles=broker"};
    CU_ASSERT_EQUAL(finish(BOTH, 2), E_CONFIG);
    CU_ASSERT(strstr(reason, "process.roles") != NULL && strstr(reason, "KRaft") != NULL);
    config_deinit(&config);
    MUST(finish(BOTH + 1, 1));
    config_deinit(&config);
}

/* Both ends of every range, and one past them. */
static void test_ranges(void)
{
    size_t count = 0;
    const struct option *options = config_options(&count);
    for (size_t i = 0; i < count; i++) {
        const struct option *o = &options[i];
        const char *dots = strstr(o->range, "..");
        if (dots == NULL || o->type == OPTION_DOUBLE) {
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
            CU_ASSERT(e == OK || strstr(reason, "must not be above") != NULL);
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
                                      "sasl.jaas.config="};
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
                                        "KAFKA_NOTHING",
                                        "XKAFKA_NUM_PARTITIONS=9",
                                        NULL};
    config_init(&config);
    config_use_shipped_defaults(&config);
    size_t shipped = config.properties.count;
    config_read_environment(&config, ENVIRONMENT);
    CU_ASSERT_STRING_EQUAL(properties_get(&config.properties, "num.partitions"), "3");
    CU_ASSERT_STRING_EQUAL(properties_get(&config.properties, "log.dirs"), "/x=y");
    CU_ASSERT_STRING_EQUAL(properties_get(&config.properties, "listener.security.protocol.map"),
                           "A:PLAINTEXT");
    CU_ASSERT_STRING_EQUAL(properties_get(&config.properties, "a_b-c"), "d");
    CU_ASSERT_EQUAL(config.properties.count, shipped + 3); /* log.dirs was there */
    MUST(config_finish(&config, reason));
    CU_ASSERT_EQUAL(config.num_partitions, 3);
    CU_ASSERT_EQUAL(config.offsets_topic_replication_factor, 1);
    CU_ASSERT_EQUAL(config.group_initial_rebalance_delay_ms, 0);
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
      TEST(test_ranges), TEST(test_good_values), TEST(test_override_form), TEST(test_environment),
      TEST(test_file), TEST(test_topic_options), TEST(test_units))

/* Dynamic options of brokers: nodes over the embedded store, at the start and while a broker runs;
 * which value wins, and what is ignored with one warning each. */
#define _GNU_SOURCE
#include "broker/cluster/broker_configs.h"
#include "broker/replica/replicas.h"

#include "broker/tests/store_util.h"

#include <fcntl.h>

enum { ARENA_BYTES = 64 << 20, SAID_BYTES = 1 << 16, OWN_ID = 3 };

static struct {
    char dir[64];
    struct manual_clock clock;
    struct arena arena;
    struct coord *coord;
    struct config config;
    char said[SAID_BYTES]; /* the log lines of the last load or change */
    int stderr_fd;
} t;

/* ---- the store ---- */

static void put(const char *entity, const char *json)
{
    struct str path = arena_format(&t.arena, "/config/brokers/%s", entity);
    struct bytes data = json == NULL ? (struct bytes){0} : bytes_of(json, strlen(json));
    struct coord_op ops[] = {
        {.type = COORD_CREATE, .path = path.data, .data = data},
        {.type = COORD_SET, .path = path.data, .data = data, .version = COORD_ANY_VERSION}};
    MUST(coord_run(t.coord, ops, 2, &t.arena));
    MUST(ops[1].error);
}

/* "{...}" as the config of a node. */
static void put_config(const char *entity, const char *config)
{
    put(entity, arena_format(&t.arena, "{\"version\":1,\"config\":%s}", config).data);
}

static void remove_node(const char *entity)
{
    struct str path = arena_format(&t.arena, "/config/brokers/%s", entity);
    struct coord_op op = {.type = COORD_DELETE, .path = path.data, .version = COORD_ANY_VERSION};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    MUST(op.error);
}

/* ---- a test's beginning and end ---- */

static void begin(const char *const *overrides, size_t count)
{
    char reason[CONFIG_REASON_BYTES];
    memset(&t, 0, sizeof(t));
    temp_dir_make(t.dir);
    manual_clock_init(&t.clock, 1700000000000);
    arena_init(&t.arena, ARENA_BYTES);
    t.coord = store_open(t.dir, &t.clock.clock, ignore_watch);
    config_init(&t.config);
    for (size_t i = 0; i < count; i++) {
        MUST(config_override(&t.config, overrides[i], reason));
    }
    MUST(config_finish(&t.config, reason));
}

static void end(void)
{
    config_deinit(&t.config);
    coord_close(t.coord);
    arena_deinit(&t.arena);
    temp_dir_remove(t.dir);
}

/* ---- what is said ---- */

static void listen_begin(void)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/said", t.dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CU_ASSERT_FATAL(fd >= 0);
    t.stderr_fd = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
    log_set_level(LOG_INFO);
}

static void listen_end(void)
{
    log_set_level(LOG_OFF);
    lseek(STDERR_FILENO, 0, SEEK_SET);
    ssize_t len = read(STDERR_FILENO, t.said, sizeof(t.said) - 1);
    t.said[len < 0 ? 0 : len] = '\0';
    dup2(t.stderr_fd, STDERR_FILENO);
    close(t.stderr_fd);
}

/* Lines with both texts in them. */
static int said(const char *first, const char *second)
{
    int count = 0;
    for (const char *line = t.said; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        count += memmem(line, len, first, strlen(first)) != NULL &&
                 memmem(line, len, second, strlen(second)) != NULL;
        line += line[len] == '\n' ? len + 1 : len;
    }
    return count;
}

static void load(void)
{
    listen_begin();
    err e = broker_configs_load(&t.config, t.coord, OWN_ID);
    listen_end();
    MUST(e);
}

static bool has(const char *name, enum config_source source, const char *text)
{
    const struct option *option = config_option(name);
    const char *found = config_text(&t.config, option);
    bool same = found == NULL ? text == NULL : text != NULL && strcmp(found, text) == 0;
    if (!same || config_source(&t.config, option) != source) {
        printf("%s is %s from %d\n", name, found == NULL ? "null" : found,
               config_source(&t.config, option));
        return false;
    }
    return true;
}

/* ---- the start ---- */

static void test_precedence(void)
{
    static const char *const STATIC[] = {"message.max.bytes=2000", "log.retention.hours=5",
                                         "num.network.threads=4", "log.segment.bytes=1000",
                                         "log.roll.ms=70000"};
    begin(STATIC, 5);
    put_config("<default>", "{\"message.max.bytes\":\"3000\",\"log.retention.ms\":\"222\","
                            "\"log.cleanup.policy\":\"compact, delete\",\"preallocate\":\"x\"}");
    put_config("3", "{\"message.max.bytes\":\" 4000 \",\"num.network.threads\":\"2\","
                    "\"log.message.downconversion.enable\":\"FALSE\"}");
    put_config("4", "{\"log.segment.bytes\":\"5000\"}"); /* another broker's */
    load();
    CU_ASSERT(has("message.max.bytes", CONFIG_SOURCE_DYNAMIC_BROKER, "4000"));
    CU_ASSERT_EQUAL(t.config.message_max_bytes, 4000);
    CU_ASSERT(has("num.network.threads", CONFIG_SOURCE_DYNAMIC_BROKER, "2"));
    CU_ASSERT_EQUAL(t.config.num_network_threads, 2);
    CU_ASSERT(has("log.retention.ms", CONFIG_SOURCE_DYNAMIC_DEFAULT, "222"));
    CU_ASSERT(has("log.cleanup.policy", CONFIG_SOURCE_DYNAMIC_DEFAULT, "compact, delete"));
    CU_ASSERT_STRING_EQUAL(t.config.log_cleanup_policy, "compact, delete");
    CU_ASSERT(has("log.segment.bytes", CONFIG_SOURCE_STATIC_BROKER, "1000"));
    CU_ASSERT(has("log.retention.hours", CONFIG_SOURCE_STATIC_BROKER, "5"));
    CU_ASSERT(has("min.insync.replicas", CONFIG_SOURCE_DEFAULT, "1"));
    CU_ASSERT_FALSE(t.config.log_message_downconversion_enable);
    const struct option *bytes = config_option("message.max.bytes");
    CU_ASSERT_STRING_EQUAL(config_text_from(&t.config, bytes, CONFIG_SOURCE_DYNAMIC_DEFAULT),
                           "3000");
    CU_ASSERT_STRING_EQUAL(config_text_from(&t.config, bytes, CONFIG_SOURCE_STATIC_BROKER), "2000");
    CU_ASSERT_STRING_EQUAL(config_text_from(&t.config, bytes, CONFIG_SOURCE_DEFAULT), "1048588");
    struct log_config log = topic_log_config(&t.config, NULL);
    CU_ASSERT(log.max_message_bytes == 4000 && log.retention_ms == 222);
    CU_ASSERT(log.cleanup_compact && log.cleanup_delete && !log.message_downconversion_enable);
    CU_ASSERT_EQUAL(topic_option_source(&t.config, topic_option(STR("retention.ms"))),
                    CONFIG_SOURCE_DYNAMIC_DEFAULT);
    CU_ASSERT_EQUAL(topic_option_source(&t.config, topic_option(STR("segment.ms"))),
                    CONFIG_SOURCE_STATIC_BROKER);
    CU_ASSERT_EQUAL(said("WARN", ""), 1);
    CU_ASSERT_EQUAL(said("WARN", "unknown option, ignored broker=<default> name=preallocate"), 1);
    end();
}

/* One warning each; the value below stays in force; no value is ever shown. */
static void test_ignored(void)
{
    static const char *const STATIC[] = {"message.max.bytes=2000"};
    begin(STATIC, 1);
    put_config("<default>", "{\"listeners\":\"PLAINTEXT://x:1\",\"ssl.client.auth\":\"required\","
                            "\"log.retention.bytes\":\"777\",\"message.max.bytes\":\"garbage\"}");
    put_config("3",
               "{\"message.max.bytes\":\"99999999999\",\"broker.rack\":\"r\",\"broker.id\":\"7\","
               "\"log.segment.bytes\":\"13\",\"compression.type\":\"\","
               "\"log.retention.ms\":\"0\",\"log.cleanup.policy\":\"shrink\","
               "\"log.flush.interval.messages\":\"9223372036854775808\","
               "\"log.cleaner.min.cleanable.ratio\":\"1.5\",\"log.preallocate\":\"yes\","
               "\"max.connections.per.ip.overrides\":\"nonsense\","
               "\"listener.name.x.ssl.keystore.password\":\"encryptedPassword:SECRET\","
               "\"no.such\\nfoo\":\"SECRET\",\"max.connections\":\"50\"}");
    load();
    CU_ASSERT(has("message.max.bytes", CONFIG_SOURCE_STATIC_BROKER, "2000"));
    CU_ASSERT(has("broker.rack", CONFIG_SOURCE_DEFAULT, NULL));
    CU_ASSERT_PTR_NULL(t.config.broker_rack);
    CU_ASSERT_EQUAL(t.config.broker_id, -1);
    CU_ASSERT(has("listeners", CONFIG_SOURCE_DEFAULT, "PLAINTEXT://:9092"));
    CU_ASSERT(has("log.segment.bytes", CONFIG_SOURCE_DEFAULT, "1073741824"));
    CU_ASSERT(has("compression.type", CONFIG_SOURCE_DEFAULT, "producer"));
    CU_ASSERT(has("log.retention.ms", CONFIG_SOURCE_DEFAULT, NULL));
    CU_ASSERT_EQUAL(t.config.log_retention_ms, CONFIG_NULL_LONG);
    CU_ASSERT(has("log.cleanup.policy", CONFIG_SOURCE_DEFAULT, "delete"));
    CU_ASSERT(has("max.connections.per.ip.overrides", CONFIG_SOURCE_DEFAULT, ""));
    CU_ASSERT(has("max.connections", CONFIG_SOURCE_DYNAMIC_BROKER, "50"));
    CU_ASSERT(has("log.retention.bytes", CONFIG_SOURCE_DYNAMIC_DEFAULT, "777"));
    static const char *const WARNED[][2] = {
        {"broker=<default> name=listeners", "for single brokers"},
        {"broker=<default> name=ssl.client.auth", "for single brokers"},
        {"broker=<default> name=message.max.bytes", "a whole number of 32 bits"},
        {"broker=3 name=message.max.bytes", "a whole number of 32 bits"},
        {"broker=3 name=broker.rack", "server.properties"},
        {"broker=3 name=broker.id", "server.properties"},
        {"broker=3 name=log.segment.bytes", "in 14.."},
        {"broker=3 name=compression.type", "producer|uncompressed"},
        {"broker=3 name=log.retention.ms", "at least 1"},
        {"broker=3 name=log.cleanup.policy", "delete|compact"},
        {"broker=3 name=log.flush.interval.messages", "64 bits"},
        {"broker=3 name=log.cleaner.min.cleanable.ratio", "0..1"},
        {"broker=3 name=log.preallocate", "true or false"},
        {"broker=3 name=max.connections.per.ip.overrides", "address:count"},
        {"option of a listener ignored", "name=listener.name.x.ssl.keystore.password"},
        {"unknown option", "name=no.such?foo"}};
    int expected = sizeof(WARNED) / sizeof(WARNED[0]);
    for (int i = 0; i < expected; i++) {
        CU_ASSERT_EQUAL(said(WARNED[i][0], WARNED[i][1]), 1);
    }
    CU_ASSERT_EQUAL(said("WARN", ""), expected);
    CU_ASSERT_EQUAL(said("", "SECRET") + said("", "garbage") + said("", "9999999"), 0);
    end();
}

static void test_unreadable_nodes(void)
{
    static const char *const BAD[] = {"{nonsense",
                                      "[]",
                                      "7",
                                      "\"text\"",
                                      "",
                                      "{\"version\":1}",
                                      "{\"version\":1,\"config\":null}",
                                      "{\"version\":1,\"config\":[\"log.retention.ms\"]}",
                                      "{\"version\":1,\"config\":{\"log.retention.ms\":5}}",
                                      "{\"version\":1,\"config\":{\"log.retention.ms\":null}}",
                                      "{\"version\":1,\"config\":{\"log.retention.ms\":\"5\"}}x"};
    begin(NULL, 0);
    load(); /* no nodes */
    CU_ASSERT_STRING_EQUAL(t.said, "");
    put("3", NULL);
    load();
    CU_ASSERT_STRING_EQUAL(t.said, "");
    put_config("<default>", "{\"log.retention.bytes\":\"55\"}");
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        put("3", BAD[i]);
        load();
        CU_ASSERT(has("log.retention.ms", CONFIG_SOURCE_DEFAULT, NULL));
        CU_ASSERT(has("log.retention.bytes", CONFIG_SOURCE_DYNAMIC_DEFAULT, "55"));
        CU_ASSERT_EQUAL(said("WARN", "path=/config/brokers/3"), 1);
        CU_ASSERT_EQUAL(said("WARN", ""), 1);
    }
    /* Kafka does not look at the version. */
    put("3", "{\"version\":2,\"more\":1,\"config\":{\"log.retention.ms\":\"5\"}}");
    load();
    CU_ASSERT(has("log.retention.ms", CONFIG_SOURCE_DYNAMIC_BROKER, "5"));
    /* A value of half a megabyte is a value that is not allowed. */
    size_t size = 512 * 1024;
    char *huge = malloc(size + 64);
    CU_ASSERT_PTR_NOT_NULL_FATAL(huge);
    size_t at = (size_t)sprintf(huge, "{\"log.retention.ms\":\"");
    memset(huge + at, '1', size);
    memcpy(huge + at + size, "\"}", 3);
    put_config("3", huge);
    free(huge);
    load();
    CU_ASSERT(has("log.retention.ms", CONFIG_SOURCE_DEFAULT, NULL));
    CU_ASSERT_EQUAL(said("WARN", "name=log.retention.ms"), 1);
    CU_ASSERT(strlen(t.said) < 500);
    end();
}

/* Every option, at both nodes: only those whose class permits it, and with its own default. */
static void test_classes(void)
{
    size_t count = 0;
    const struct option *options = config_options(&count);
    begin(NULL, 0);
    for (size_t i = 0; i < count; i++) {
        const struct option *o = &options[i];
        if (o->default_text == NULL) {
            continue;
        }
        char reason[CONFIG_REASON_BYTES];
        bool built = o->fate != FATE_REFUSED && o->fate != FATE_REFUSED_WITH_ZOOKEEPER;
        err own =
            config_set_dynamic(&t.config, o, CONFIG_SOURCE_DYNAMIC_BROKER, o->default_text, reason);
        CU_ASSERT_EQUAL(own == OK, built && o->dynamic != READ_ONLY);
        err all = config_set_dynamic(&t.config, o, CONFIG_SOURCE_DYNAMIC_DEFAULT, o->default_text,
                                     reason);
        CU_ASSERT_EQUAL(all == OK,
                        built && (o->dynamic == CLUSTER_WIDE || o->dynamic == ONLY_DYNAMIC));
        CU_ASSERT_EQUAL(config_source(&t.config, o), own == OK   ? CONFIG_SOURCE_DYNAMIC_BROKER
                                                     : all == OK ? CONFIG_SOURCE_DYNAMIC_DEFAULT
                                                                 : CONFIG_SOURCE_DEFAULT);
        MUST(config_set_dynamic(&t.config, o, CONFIG_SOURCE_DYNAMIC_BROKER, NULL, reason));
        MUST(config_set_dynamic(&t.config, o, CONFIG_SOURCE_DYNAMIC_DEFAULT, NULL, reason));
        CU_ASSERT_FALSE(config_is_set(&t.config, o));
    }
    end();
}

/* ---- while a broker runs ---- */

static struct {
    struct broker_configs configs;
    struct logs *logs;
    struct replicas *replicas;
    struct storage_env env;
    struct loop *flush;
    struct plog *plain;
    struct plog *own; /* has an override of its own */
} r;

static struct log_config config_of(void *context, struct str topic)
{
    struct log_config config;
    (void)topic_configs_in_force(context, topic, &config);
    return config;
}

static void on_changed(void *context)
{
    (void)context;
    replicas_take_configs(r.replicas, (struct str){0});
}

static struct plog *create_log(const char *topic)
{
    struct plog *log = NULL;
    struct topic_partition name = {.topic = str_of(topic)};
    struct log_config config;
    MUST(topic_configs_read(r.configs.topic_configs, &name.topic, 1));
    CU_ASSERT(topic_configs_in_force(r.configs.topic_configs, name.topic, &config));
    MUST(logs_create(r.logs, name, (struct uuid){{7}}, &config, &log));
    return log;
}

static void begin_broker(const char *const *overrides, size_t count)
{
    begin(overrides, count);
    memset(&r, 0, sizeof(r));
    r.env = (struct storage_env){.fs = fs_system(),
                                 .clock = &t.clock.clock,
                                 .random = random_system(),
                                 .files = file_cache_new(fs_system(), 100)};
    r.configs = (struct broker_configs){.broker_id = OWN_ID,
                                        .config = &t.config,
                                        .coord = t.coord,
                                        .topic_configs = topic_configs_new(&t.config),
                                        .changed = on_changed};
    topic_configs_use(r.configs.topic_configs, t.coord, OWN_ID);
    char *dir = xasprintf("%s/data", t.dir);
    struct logs_open how = {.dirs = &dir,
                            .dirs_n = 1,
                            .broker_id = OWN_ID,
                            .config_of = config_of,
                            .context = r.configs.topic_configs};
    struct logs_identity identity;
    char reason[LOGS_REASON_BYTES];
    MUST(logs_lock(&r.env, &how, &r.logs, &identity, reason));
    MUST(logs_load(r.logs, OWN_ID, "c", reason));
    free(dir);
    static const char OVERRIDE[] = "{\"version\":1,\"config\":{\"retention.ms\":\"9\"}}";
    struct coord_op op = {.type = COORD_CREATE,
                          .path = "/config/topics/own",
                          .data = bytes_of(OVERRIDE, sizeof(OVERRIDE) - 1)};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    MUST(op.error);
    MUST(loop_new(&t.clock.clock, sockets_system(), &r.flush));
    struct replicas_config replicas = {.broker_id = OWN_ID,
                                       .logs = r.logs,
                                       .clock = &t.clock.clock,
                                       .flush = r.flush,
                                       .config_of = topic_configs_in_force,
                                       .config_context = r.configs.topic_configs};
    r.replicas = replicas_new(&replicas);
    r.plain = create_log("plain");
    r.own = create_log("own");
}

static void end_broker(void)
{
    replicas_free(r.replicas);
    loop_free(r.flush);
    logs_close(r.logs);
    topic_configs_free(r.configs.topic_configs);
    file_cache_free(r.env.files);
    end();
}

static void change(const char *entity)
{
    listen_begin();
    MUST(broker_configs_changed(&r.configs, str_of(entity)));
    listen_end();
}

/* What the store has of brokers is read before topics inherit it. */
static void test_topics_inherit_what_was_read(void)
{
    begin_broker(NULL, 0);
    put_config("<default>", "{\"message.max.bytes\":\"500\"}");
    struct topic_configs *configs = topic_configs_new(&t.config);
    load();
    topic_configs_use(configs, t.coord, OWN_ID);
    struct log_config config;
    struct str topic = STR("plain");
    CU_ASSERT(!topic_configs_in_force(configs, topic, &config));
    CU_ASSERT_EQUAL(config.max_message_bytes, 500);
    CU_ASSERT(config.retention_ms == -1 &&
              config.retention_bytes == -1); /* nothing is known of it */
    MUST(topic_configs_read(configs, &topic, 1));
    CU_ASSERT(topic_configs_in_force(configs, topic, &config));
    CU_ASSERT_EQUAL(config.max_message_bytes, 500);
    CU_ASSERT_EQUAL(config.retention_ms, 7 * 24 * 3600 * 1000LL);
    topic_configs_free(configs);
    end_broker();
}

/* In the store, a topic's options are those of its partitions on all brokers. */
static void test_throttled_replicas(void)
{
    begin_broker(NULL, 0);
    struct topic_configs *configs = r.configs.topic_configs;
    struct properties overrides;
    properties_init(&overrides);
    properties_set(&overrides, "leader.replication.throttled.replicas", "0:3,1:4,2:3");
    properties_set(&overrides, "follower.replication.throttled.replicas", "*");
    topic_configs_written(configs, STR("t"), &overrides);
    for (int32_t i = 0; i < 4; i++) {
        struct topic_partition name = {.topic = STR("t"), .partition = i};
        struct replica_throttled throttled = topic_configs_throttled(configs, name);
        CU_ASSERT_EQUAL(throttled.as_leader, i == 0 || i == 2);
        CU_ASSERT(throttled.as_follower);
    }
    struct replica_throttled plain =
        topic_configs_throttled(configs, (struct topic_partition){.topic = STR("plain")});
    CU_ASSERT(!plain.as_leader && !plain.as_follower);
    properties_remove(&overrides, "follower.replication.throttled.replicas");
    topic_configs_written(configs, STR("t"), &overrides);
    CU_ASSERT(
        !topic_configs_throttled(configs, (struct topic_partition){.topic = STR("t")}).as_follower);
    properties_deinit(&overrides);
    end_broker();
}

/* They change while the broker runs, and are nothing in server.properties. */
static void test_throttles(void)
{
    static const char *const STATIC[] = {"leader.replication.throttled.rate=1"};
    begin_broker(STATIC, 1);
    CU_ASSERT_EQUAL(t.config.leader_replication_throttled_rate, INT64_MAX);
    put_config("<default>", "{\"leader.replication.throttled.rate\":\"500\"}");
    change("<default>");
    CU_ASSERT_EQUAL(t.config.leader_replication_throttled_rate, 500);
    put_config("3", "{\"leader.replication.throttled.rate\":\"0\"}");
    change("3");
    CU_ASSERT_EQUAL(t.config.leader_replication_throttled_rate, 0);
    put_config("3", "{\"leader.replication.throttled.rate\":\"no number\"}");
    change("3");
    CU_ASSERT_EQUAL(t.config.leader_replication_throttled_rate, 500);
    remove_node("<default>");
    change("<default>");
    CU_ASSERT_EQUAL(t.config.leader_replication_throttled_rate, INT64_MAX);
    end_broker();
}

static void test_running(void)
{
    static const char *const STATIC[] = {"log.retention.ms=1000", "num.network.threads=4"};
    begin_broker(STATIC, 2);
    put_config("3", "{\"log.retention.ms\":\"2000\",\"max.connections\":\"5\"}");
    load();
    put_config("<default>", "{\"message.max.bytes\":\"500\"}");
    change("<default>");
    CU_ASSERT_EQUAL(said("options changed", "broker=<default> count=1"), 1);
    CU_ASSERT_EQUAL(plog_config(r.plain).retention_ms, 2000);
    CU_ASSERT_EQUAL(plog_config(r.plain).max_message_bytes, 500);
    CU_ASSERT_EQUAL(plog_config(r.own).retention_ms, 9);
    CU_ASSERT_EQUAL(plog_config(r.own).max_message_bytes, 500);
    put_config("3", "{\"log.retention.ms\":\"3000\",\"message.max.bytes\":\"x\","
                    "\"num.network.threads\":\"2\",\"producer.id.expiration.ms\":\"77\"}");
    change("4"); /* another broker */
    CU_ASSERT_STRING_EQUAL(t.said, "");
    CU_ASSERT_EQUAL(plog_config(r.plain).retention_ms, 2000);
    change("3");
    CU_ASSERT_EQUAL(plog_config(r.plain).retention_ms, 3000);
    CU_ASSERT_EQUAL(plog_config(r.plain).producer_id_expiration_ms, 77);
    CU_ASSERT_EQUAL(plog_config(r.plain).max_message_bytes, 500);
    /* what was used at the start stays as it is */
    CU_ASSERT(has("num.network.threads", CONFIG_SOURCE_STATIC_BROKER, "4"));
    CU_ASSERT(has("max.connections", CONFIG_SOURCE_DYNAMIC_BROKER, "5"));
    CU_ASSERT_EQUAL(said("INFO", "changes at the next start broker=3 name=num.network.threads"), 1);
    CU_ASSERT_EQUAL(said("INFO", "changes at the next start broker=3 name=max.connections"), 1);
    CU_ASSERT_EQUAL(said("WARN", "name=message.max.bytes"), 1);
    change("3"); /* nothing new */
    CU_ASSERT_EQUAL(said("options changed", ""), 0);
    /* an invalid value takes the one before away, as in Kafka */
    put_config("3", "{\"log.retention.ms\":\"0\"}");
    change("3");
    CU_ASSERT(has("log.retention.ms", CONFIG_SOURCE_STATIC_BROKER, "1000"));
    CU_ASSERT_EQUAL(plog_config(r.plain).retention_ms, 1000);
    put_config("3", "{\"log.retention.ms\":\"4000\"}");
    change("3");
    remove_node("3");
    change("3");
    CU_ASSERT_EQUAL(plog_config(r.plain).retention_ms, 1000);
    put("<default>", "{garbage");
    change("<default>");
    CU_ASSERT_EQUAL(plog_config(r.plain).max_message_bytes, 1048588);
    CU_ASSERT_EQUAL(plog_config(r.own).retention_ms, 9);
    end_broker();
}

static bool cleaner_is(int32_t threads, int64_t bytes)
{
    return t.config.log_cleaner_threads == threads &&
           t.config.log_cleaner_dedupe_buffer_size == bytes;
}

/* What does not fit is passed over at the start, and leaves a running cleaner as it is. */
static void test_size_of_the_cleaner(void)
{
    static const char *const STATIC[] = {"log.cleaner.dedupe.buffer.size=4194304"};
    begin_broker(STATIC, 1);
    put_config("<default>", "{\"log.cleaner.threads\":\"8\"}");
    put_config("3", "{\"log.cleaner.dedupe.buffer.size\":\"10000000\"}");
    load();
    CU_ASSERT(cleaner_is(8, 10000000)); /* together they fit */
    CU_ASSERT_EQUAL(said("WARN", ""), 0);
    put_config("3", "{\"log.cleaner.dedupe.buffer.size\":\"5\",\"log.retention.ms\":\"7\"}");
    change("3");
    CU_ASSERT(cleaner_is(8, 10000000) && t.config.log_retention_ms == 7);
    CU_ASSERT_EQUAL(said("WARN", "options of the cleaner ignored broker=3"), 1);
    put_config("<default>", "{\"log.cleaner.threads\":\"3\"}");
    change("<default>");
    CU_ASSERT(cleaner_is(8, 10000000));
    CU_ASSERT_EQUAL(said("WARN", "less than half the current value 8"), 1);
    put_config("<default>", "{\"log.cleaner.threads\":\"4\"}");
    change("<default>");
    CU_ASSERT(cleaner_is(4, 10000000));
    put_config("<default>", "{\"log.cleaner.threads\":\"3\"}");
    load(); /* this broker's is still too little */
    CU_ASSERT(cleaner_is(3, 4194304));
    CU_ASSERT_EQUAL(said("WARN", "of=this-broker"), 1);
    CU_ASSERT_EQUAL(said("WARN", ""), 1);
    put_config("<default>", "{\"log.cleaner.threads\":\"9\"}");
    load();
    CU_ASSERT(cleaner_is(1, 4194304));
    CU_ASSERT_EQUAL(said("WARN", "of=all-brokers"), 1);
    end_broker();
}

static void reload(const char *const *overrides, size_t count)
{
    char reason[CONFIG_REASON_BYTES];
    struct config fresh;
    config_init(&fresh);
    for (size_t i = 0; i < count; i++) {
        MUST(config_override(&fresh, overrides[i], reason));
    }
    MUST(config_finish(&fresh, reason));
    listen_begin();
    broker_configs_reload(&r.configs, &fresh);
    listen_end();
    config_deinit(&fresh);
}

/* What server.properties says anew takes effect where it may, under what the store says. */
static void test_reload(void)
{
    static const char *const STATIC[] = {"log.retention.ms=1000", "message.max.bytes=600",
                                         "num.network.threads=4"};
    static const char *const CHANGED[] = {"log.retention.ms=5000", "message.max.bytes=700",
                                          "num.network.threads=5", "log.cleaner.threads=2",
                                          "leader.replication.throttled.rate=1"};
    begin_broker(STATIC, 3);
    put_config("3", "{\"message.max.bytes\":\"500\"}");
    load();
    reload(CHANGED, 5);
    CU_ASSERT_EQUAL(said("read again", "changed=2"), 1);
    CU_ASSERT_EQUAL(said("INFO", "changes at the next start name=num.network.threads"), 1);
    CU_ASSERT_EQUAL(said("INFO", "changes at the next start name=log.cleaner.threads"), 1);
    CU_ASSERT_EQUAL(plog_config(r.plain).retention_ms, 5000);
    CU_ASSERT_EQUAL(plog_config(r.own).retention_ms, 9);
    CU_ASSERT_EQUAL(plog_config(r.plain).max_message_bytes, 500);
    CU_ASSERT_EQUAL(t.config.num_network_threads, 4);
    CU_ASSERT_EQUAL(t.config.log_cleaner_threads, 1);
    remove_node("3");
    change("3");
    CU_ASSERT_EQUAL(plog_config(r.plain).max_message_bytes, 700);
    reload(STATIC, 0);
    CU_ASSERT_EQUAL(said("read again", "changed=2"), 1);
    CU_ASSERT_EQUAL(plog_config(r.plain).retention_ms, 7 * 24 * 3600 * 1000LL);
    CU_ASSERT_EQUAL(plog_config(r.plain).max_message_bytes, 1048588);
    end_broker();
}

SUITE("broker configs", TEST(test_precedence), TEST(test_ignored), TEST(test_unreadable_nodes),
      TEST(test_classes), TEST(test_topics_inherit_what_was_read), TEST(test_throttled_replicas),
      TEST(test_throttles), TEST(test_running), TEST(test_reload), TEST(test_size_of_the_cleaner))

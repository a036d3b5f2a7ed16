/* The tables of options against Kafka's: kafka_options.tsv is what Kafka 3.9.1 says of its own options
 * (interop-tests/java39 makes it, and compares it with the jar where that is there). Every name has a
 * row; types, defaults and what may change at run time are the same; of the values that were tried
 * on Kafka the same are taken. Where they differ on purpose stands here, with the reason. */
#define _GNU_SOURCE
#include "broker/config.h"

#include "base/tests/suite.h"

enum { FIELDS = 7, VALUES_MAX = 64, LINE_BYTES = 4096 };

static char numbers[LINE_BYTES];
static char others[LINE_BYTES];
static char reason[CONFIG_REASON_BYTES];

/* Names whose values are judged differently. */
static const char *const DIFFERENT[] = {
    "listeners", /* texts are read when sockets are bound: net/listeners.h */
    "advertised.listeners", "listener.security.protocol.map", "inter.broker.listener.name",
    "control.plane.listener.name", /* passed over: any listener */
    "controller.listener.names",   /* without process.roles too */
    "process.roles",       /* not with zookeeper.connect, which was set when Kafka was tried */
    "log.dir", "log.dirs", /* "": refused when they are opened */
    "early.start.listeners", "controller.quorum.voters", "controller.quorum.bootstrap.servers",
    "inter.broker.protocol.version",
    "log.message.format.version", /* versions have no meaning here */
    "message.format.version", "zookeeper.session.timeout.ms",
    "zookeeper.connection.timeout.ms", /* below 1 no session begins */
    /* classes that cannot be there */
    "principal.builder.class", "sasl.client.callback.handler.class", "sasl.login.class",
    "sasl.login.callback.handler.class", "sasl.server.callback.handler.class",
    "ssl.engine.factory.class", "group.consumer.assignors", "metric.reporters",
    "kafka.metrics.reporters", "replica.selector.class",
    /* of tiered storage; Kafka refuses no text */
    "remote.log.metadata.manager.class.name", "remote.log.metadata.manager.impl.prefix",
    "remote.log.metadata.manager.listener.name", "remote.log.storage.manager.class.name",
    "remote.log.storage.manager.impl.prefix",
    /* what Kafka compares with another option, both not in force here */
    "group.coordinator.rebalance.protocols", "connection.failed.authentication.delay.ms",
    "authorizer.class.name", "log.cleaner.dedupe.buffer.size", "log.cleaner.threads",
    "offsets.commit.required.acks", "replica.fetch.wait.max.ms", "replica.lag.time.max.ms",
    "replica.socket.timeout.ms"};

static bool is_different(const char *name)
{
    for (size_t i = 0; i < sizeof(DIFFERENT) / sizeof(DIFFERENT[0]); i++) {
        if (strcmp(DIFFERENT[i], name) == 0) {
            return true;
        }
    }
    return strncmp(name, "group.consumer.", 15) == 0 || strncmp(name, "group.share.", 12) == 0;
}

static const char *kafka_type(enum option_type type)
{
    static const char *const TYPES[] = {"BOOLEAN", "SHORT", "INT",      "LONG", "DOUBLE",
                                        "STRING",  "LIST",  "PASSWORD", "CLASS"};
    return TYPES[type];
}

static bool is_number(enum option_type type)
{
    return type == OPTION_SHORT || type == OPTION_INT || type == OPTION_LONG ||
           type == OPTION_DOUBLE;
}

/* "[a][b]" has the value in brackets. */
static bool has(const char *list, const char *value)
{
    char *wanted = xasprintf("[%s]", value);
    bool found = strstr(list, wanted) != NULL;
    free(wanted);
    return found;
}

static void say(bool fine, const char *name, const char *what, const char *here, const char *there)
{
    CU_ASSERT(fine);
    if (!fine) {
        printf("%s: %s is \"%s\" here, \"%s\" in Kafka\n", name, what, here, there);
    }
}

static bool broker_takes(const char *name, const char *value)
{
    struct config config;
    config_init(&config);
    properties_set(&config.properties, "zookeeper.connect", "localhost:2181");
    properties_set(&config.properties, name, value);
    bool taken = config_finish(&config, reason) == OK;
    config_deinit(&config);
    return taken;
}

static bool topic_takes(const char *name, const char *value)
{
    return topic_option_check(topic_option(str_of(name)), value, reason) == OK;
}

/* Each value that was tried on Kafka. */
static void compare_values(const char *name, bool number, bool topic, const char *taken)
{
    char *list = xstrdup(number ? numbers : others);
    for (char *at = list; *at == '[';) {
        char *end = strchr(at, ']');
        *end = '\0';
        bool here = topic ? topic_takes(name, at + 1) : broker_takes(name, at + 1);
        bool there = has(taken, at + 1);
        say(here == there, name, at + 1, here ? "taken" : reason, there ? "taken" : "refused");
        at = end + 1;
    }
    free(list);
}

/* A choice is the same words, in any order. */
static void compare_words(const char *name, const char *range, const char *validator)
{
    if (strchr(range, '|') == NULL || strstr(range, "..") != NULL || validator[0] != '[') {
        return;
    }
    size_t here = 1;
    size_t there = 1;
    for (const char *c = range; *c != '\0'; c++) {
        here += *c == '|';
    }
    for (const char *c = validator; *c != '\0'; c++) {
        there += *c == ',';
    }
    char *copy = xstrdup(range);
    char *save = NULL;
    for (char *w = strtok_r(copy, "|", &save); w != NULL; w = strtok_r(NULL, "|", &save)) {
        say(strstr(validator, w) != NULL, name, "a choice", w, validator);
    }
    free(copy);
    say(here == there, name, "the choice", range, validator);
}

static void compare_broker(char *f[FIELDS])
{
    static const char *const DYNAMIC[] = {
        [READ_ONLY] = "", [PER_BROKER] = "per-broker", [CLUSTER_WIDE] = "cluster-wide"};
    const struct option *o = config_option(f[1]);
    say(o != NULL, f[1], "its row", "missing", "an option");
    if (o == NULL) {
        return;
    }
    const char *text = o->default_text == NULL ? "<null>" : o->default_text;
    say(strcmp(kafka_type(o->type), f[2]) == 0, f[1], "the type", kafka_type(o->type), f[2]);
    say(strcmp(text, f[3]) == 0, f[1], "the default", text, f[3]);
    say(strcmp(DYNAMIC[o->dynamic], f[4]) == 0, f[1], "dynamic", DYNAMIC[o->dynamic], f[4]);
    if (is_different(f[1])) {
        return;
    }
    compare_words(f[1], o->range, f[5]);
    if (o->fate != FATE_REFUSED && o->fate != FATE_REFUSED_WITH_ZOOKEEPER) {
        compare_values(f[1], is_number(o->type), false, f[6]);
    }
}

static void compare_topic(const struct config *config, char *f[FIELDS])
{
    const struct topic_option *o = topic_option(str_of(f[1]));
    say(o != NULL, f[1], "its row", "missing", "an option");
    if (o == NULL) {
        return;
    }
    const char *text = topic_option_default(config, o);
    say(strcmp(kafka_type(o->type), f[2]) == 0, f[1], "the type", kafka_type(o->type), f[2]);
    say(strcmp(text, f[3]) == 0, f[1], "the default", text, f[3]);
    if (!is_different(f[1])) {
        compare_words(f[1], o->range, f[5]);
        compare_values(f[1], is_number(o->type), true, f[6]);
    }
}

/* Returns the number of options. */
static int compare_all(FILE *file, const struct config *config)
{
    char line[LINE_BYTES];
    int n = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *f[FIELDS] = {0};
        char *at = line;
        for (int i = 0; i < FIELDS && at != NULL; i++) {
            f[i] = strsep(&at, "\t");
        }
        if (strcmp(f[0], "numbers") == 0 || strcmp(f[0], "others") == 0) {
            snprintf(f[0][0] == 'n' ? numbers : others, LINE_BYTES, "%s", f[1]);
            continue;
        }
        CU_ASSERT_PTR_NOT_NULL_FATAL(f[FIELDS - 1]);
        if (strcmp(f[0], "topic") == 0) {
            compare_topic(config, f);
        } else {
            compare_broker(f);
        }
        n++;
    }
    return n;
}

static void test_as_in_kafka(void)
{
    FILE *file = fopen(SOURCE_DIR "/tests/kafka_options.tsv", "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    struct config config;
    config_init(&config);
    MUST(config_finish(&config, reason));
    int n = compare_all(file, &config);
    fclose(file);
    CU_ASSERT(n > 350);
    config_deinit(&config);
}

/* And no row is of an option that Kafka does not have, but our own and the authorizer's. */
static void test_no_others(void)
{
    static const char *const OTHERS[] = {
        "ottla.", "super.users", "allow.everyone.if.no.acl.found", "config.providers",
        /* of Kafka's dynamic options alone */
        "leader.replication.throttled.rate", "follower.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second"};
    char *text = calloc(1, 1 << 20);
    FILE *file = fopen(SOURCE_DIR "/tests/kafka_options.tsv", "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT(fread(text, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    size_t count = 0;
    const struct option *options = config_options(&count);
    for (size_t i = 0; i < count; i++) {
        char *wanted = xasprintf("broker\t%s\t", options[i].name);
        bool found = strstr(text, wanted) != NULL;
        for (size_t k = 0; k < sizeof(OTHERS) / sizeof(OTHERS[0]); k++) {
            found |= strncmp(options[i].name, OTHERS[k], strlen(OTHERS[k])) == 0;
        }
        say(found, options[i].name, "the row", "there", "no option");
        free(wanted);
    }
    free(text);
}

/* A value that is allowed and is not the default. */
static const char *another_value(const struct option *o)
{
    static const char *const TRIED[] = {"true", "false", "1",    "2",     "15",   "101",
                                        "1001", "20000", "5000", "40000", "0.25", "x"};
    static char word[64];
    if (!is_number(o->type) && o->range[0] != '\0') {
        snprintf(word, sizeof(word), "%.*s", (int)strcspn(o->range, "|"), o->range);
        if (strcmp(word, o->default_text) != 0) {
            return word;
        }
        snprintf(word, sizeof(word), "%s", o->range + strlen(word) + 1);
        word[strcspn(word, "|")] = '\0';
        return word;
    }
    for (size_t i = 0; i < sizeof(TRIED) / sizeof(TRIED[0]); i++) {
        bool same = o->default_text != NULL && strcmp(o->default_text, TRIED[i]) == 0;
        struct config config;
        config_init(&config);
        properties_set(&config.properties, o->name, TRIED[i]);
        bool taken =
            config_finish(&config, reason) == OK || strstr(reason, "; remove the option") != NULL;
        config_deinit(&config);
        if (taken && !same) {
            return TRIED[i];
        }
    }
    return NULL;
}

/* What config_finish says of one option, on standard error and in `reason`. */
static err said_of(const char *name, const char *value, bool zookeeper, char *said, size_t size)
{
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    log_set_level(LOG_INFO);
    struct config config;
    config_init(&config);
    if (zookeeper) {
        properties_set(&config.properties, "zookeeper.connect", "a:2181");
    }
    properties_set(&config.properties, name, value);
    reason[0] = '\0';
    err e = config_finish(&config, reason);
    config_deinit(&config);
    log_set_level(LOG_OFF);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = pread(fileno(file), said, size - 1, 0);
    said[n < 0 ? 0 : n] = '\0';
    fclose(file);
    return e;
}

static void check_fate(const struct option *o, const char *value, bool zookeeper)
{
    char said[LINE_BYTES];
    err e = said_of(o->name, value, zookeeper, said, sizeof(said));
    bool refused = o->fate == FATE_REFUSED || (o->fate == FATE_REFUSED_WITH_ZOOKEEPER && zookeeper);
    const char *name = strstr(refused ? reason : said, o->name);
    bool told = name != NULL && strstr(name, o->doc) != NULL;
    bool once = strchr(said, '\n') == strrchr(said, '\n');
    bool fine = e == (refused ? E_CONFIG : OK) && once &&
                told == (refused || o->fate == FATE_PASSED) && (said[0] == '\0' || !refused);
    say(fine, o->name, value, said, reason);
}

/* Each that is not in force: warned once, silent, or refused. With the default: silent. */
static void test_fates(void)
{
    size_t count = 0;
    const struct option *options = config_options(&count);
    char said[LINE_BYTES];
    for (size_t i = 0; i < count; i++) {
        const struct option *o = &options[i];
        if (o->fate == FATE_IN_FORCE) {
            continue;
        }
        const char *value = another_value(o);
        CU_ASSERT_PTR_NOT_NULL(value);
        if (value == NULL) {
            printf("%s: no value\n", o->name);
            continue;
        }
        char *copy = xstrdup(value);
        check_fate(o, copy, false);
        check_fate(o, copy, true);
        free(copy);
        if (o->default_text != NULL) {
            CU_ASSERT_EQUAL(said_of(o->name, o->default_text, true, said, sizeof(said)), OK);
            CU_ASSERT_STRING_EQUAL(said, "");
        }
    }
}

SUITE("kafka_options", TEST(test_as_in_kafka), TEST(test_no_others), TEST(test_fates))

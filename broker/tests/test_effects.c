/* What is in force has an effect: effects.tsv names for every option a test that shows it, or ("-")
 * why none can; what topics inherit of the broker, and what they override, reaches their logs. */
#define _GNU_SOURCE
#include "broker/config.h"

#include "base/tests/suite.h"

enum { FIELDS = 4, TEXT_BYTES = 1 << 20 };

static char reason[CONFIG_REASON_BYTES];
static char rows[1 << 16];

/* ---- the list ---- */

static char *text_of(const char *path)
{
    char *whole = xasprintf(SOURCE_DIR "/%s", path);
    FILE *file = fopen(whole, "r");
    free(whole);
    if (file == NULL) {
        return NULL;
    }
    char *text = xcalloc(1, TEXT_BYTES);
    size_t n = fread(text, 1, TEXT_BYTES - 1, file);
    fclose(file);
    text[n] = '\0';
    return text;
}

static void say(bool fine, const char *name, const char *what)
{
    CU_ASSERT(fine);
    if (!fine) {
        printf("%s: %s\n", name, what);
    }
}

static bool has_row(const char *kind, const char *name)
{
    char *row = xasprintf("%s\t%s\t", kind, name);
    const char *found = strstr(rows, row);
    bool has = found != NULL && (found == rows || found[-1] == '\n');
    free(row);
    return has;
}

static bool is_in_force(const char *kind, const char *name)
{
    if (strcmp(kind, "topic") == 0) {
        const struct topic_option *topic = topic_option(str_of(name));
        return topic != NULL && topic->lost == NULL;
    }
    const struct option *option = config_option(name);
    return strcmp(kind, "broker") == 0 && option != NULL && option->fate == FATE_IN_FORCE;
}

static void check_row(char *line)
{
    char *f[FIELDS] = {0};
    for (int i = 0; i < FIELDS && line != NULL; i++) {
        f[i] = strsep(&line, "\t");
    }
    CU_ASSERT_FATAL(f[FIELDS - 1] != NULL && f[FIELDS - 1][0] != '\0');
    say(is_in_force(f[0], f[1]), f[1], "is not in force");
    if (strcmp(f[2], "-") == 0) {
        return;
    }
    char *path = xasprintf("../%s", f[2]);
    char *text = text_of(path);
    say(text != NULL && strstr(text, f[3]) != NULL, f[1], "its test is not there");
    free(text);
    free(path);
}

static void test_every_option_has_a_test(void)
{
    char *text = text_of("tests/effects.tsv");
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    snprintf(rows, sizeof(rows), "%s", text);
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        check_row(line);
    }
    free(text);
    size_t count = 0;
    const struct option *options = config_options(&count);
    for (size_t i = 0; i < count; i++) {
        say(options[i].fate != FATE_IN_FORCE || has_row("broker", options[i].name), options[i].name,
            "no test shows its effect");
    }
    const struct topic_option *topics = topic_options(&count);
    for (size_t i = 0; i < count; i++) {
        say(topics[i].lost != NULL || has_row("topic", topics[i].name), topics[i].name,
            "no test shows its effect");
    }
}

/* ---- what reaches a log ---- */

/* A value that is allowed and is not the default. */
static const char *another_value(const struct topic_option *option, const char *normal)
{
    static const char *const TRIED[] = {"true", "false",         "2",   "15",  "compact",
                                        "gzip", "LogAppendTime", "100", "0.25"};
    for (size_t i = 0; i < sizeof(TRIED) / sizeof(TRIED[0]); i++) {
        if (strcmp(TRIED[i], normal) != 0 && topic_option_check(option, TRIED[i], reason) == OK) {
            return TRIED[i];
        }
    }
    return NULL;
}

/* The level of a codec counts when that codec is written. */
static const char *codec_of(const char *name)
{
    static char codec[16];
    if (sscanf(name, "compression.%15[a-z0-9].level", codec) != 1 ||
        strstr(name, ".level") == NULL) {
        return NULL;
    }
    return codec;
}

/* What a log is told, with one option of the broker and one of the topic. */
static struct log_config told(const char *broker_name, const char *topic_name, const char *value)
{
    struct config config;
    struct properties overrides;
    config_init(&config);
    properties_init(&overrides);
    const char *codec = codec_of(broker_name != NULL ? broker_name : topic_name);
    if (codec != NULL) {
        properties_set(&config.properties, "compression.type", codec);
    }
    if (broker_name != NULL && value != NULL) {
        properties_set(&config.properties, broker_name, value);
    }
    if (topic_name != NULL && value != NULL) {
        properties_set(&overrides, topic_name, value);
    }
    MUST(config_finish(&config, reason));
    struct log_config out = topic_log_config(&config, &overrides);
    properties_deinit(&overrides);
    config_deinit(&config);
    return out;
}

static bool same(struct log_config a, struct log_config b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static void check_reaches(const char *broker_name, const char *topic_name, const char *value)
{
    const char *name = broker_name != NULL ? broker_name : topic_name;
    struct log_config normal = told(broker_name, topic_name, NULL);
    CU_ASSERT(same(normal, told(broker_name, topic_name, NULL))); /* no padding differs */
    say(value != NULL && !same(normal, told(broker_name, topic_name, value)), name,
        "does not reach the log");
}

static void each_in_force(void (*check)(const struct topic_option *option, const char *value))
{
    struct config config;
    config_init(&config);
    MUST(config_finish(&config, reason));
    size_t count = 0;
    const struct topic_option *options = topic_options(&count);
    for (size_t i = 0; i < count; i++) {
        if (options[i].lost == NULL) {
            const char *normal = topic_option_default(&config, &options[i]);
            check(&options[i], another_value(&options[i], normal));
        }
    }
    config_deinit(&config);
}

static void check_inherited(const struct topic_option *option, const char *value)
{
    if (option->broker_option != NULL) {
        check_reaches(option->broker_option, NULL, value);
    }
}

static void check_override(const struct topic_option *option, const char *value)
{
    if (strstr(option->name, ".throttled.replicas") != NULL) {
        return; /* a partition is told, not its log: test_broker_configs.c */
    }
    check_reaches(NULL, option->name, value);
}

static void test_inherited(void)
{
    each_in_force(check_inherited);
}

static void test_as_override(void)
{
    each_in_force(check_override);
}

static void test_hours_of_jitter(void)
{
    CU_ASSERT_EQUAL(told("log.roll.jitter.hours", NULL, "3").segment_jitter_ms, 3 * 3600000);
}

SUITE("effects", TEST(test_every_option_has_a_test), TEST(test_inherited), TEST(test_as_override),
      TEST(test_hours_of_jitter))

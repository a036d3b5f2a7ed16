/* Reading and checking of the configuration, from the table in config.def.
 *
 * Order, later wins: built-in defaults, the properties file (or, without one, the values that
 * Kafka's own server.properties ships), the environment, --override; then the dynamic layers. Only
 * names that were set are kept in a layer, so that DescribeConfigs can tell a default from a value.
 */
#define _GNU_SOURCE
#include "broker/config.h"

#include "base/file.h"
#include "base/log.h"
#include "protocol/error.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILE_LIMIT_BYTES = 1 << 20, ADDRESS_BYTES_MAX = 64 };

static const struct option OPTIONS[] = {
#define OPTION(type, field, name, default_, range, dynamic, doc)                                   \
    {name, OPTION_##type, default_, range, dynamic, doc, offsetof(struct config, field)},
#include "broker/config.def"
#undef OPTION
};

const struct option *config_options(size_t *count)
{
    *count = sizeof(OPTIONS) / sizeof(OPTIONS[0]);
    return OPTIONS;
}

const struct option *config_option(const char *name)
{
    for (size_t i = 0; i < sizeof(OPTIONS) / sizeof(OPTIONS[0]); i++) {
        if (strcmp(OPTIONS[i].name, name) == 0) {
            return &OPTIONS[i];
        }
    }
    return NULL;
}

const char *config_text_from(const struct config *config, const struct option *option,
                             enum config_source source)
{
    switch (source) {
    case CONFIG_SOURCE_DYNAMIC_BROKER:
        return properties_get(&config->dynamic, option->name);
    case CONFIG_SOURCE_DYNAMIC_DEFAULT:
        return properties_get(&config->dynamic_default, option->name);
    case CONFIG_SOURCE_STATIC_BROKER:
        return properties_get(&config->properties, option->name);
    default:
        return option->default_text;
    }
}

enum config_source config_source(const struct config *config, const struct option *option)
{
    enum config_source source = CONFIG_SOURCE_DYNAMIC_BROKER;
    while (source < CONFIG_SOURCE_DEFAULT && config_text_from(config, option, source) == NULL) {
        source++;
    }
    return source;
}

const char *config_text(const struct config *config, const struct option *option)
{
    return config_text_from(config, option, config_source(config, option));
}

bool config_is_set(const struct config *config, const struct option *option)
{
    return config_source(config, option) != CONFIG_SOURCE_DEFAULT;
}

void config_init(struct config *config)
{
    *config = (struct config){0};
    properties_init(&config->properties);
    properties_init(&config->dynamic);
    properties_init(&config->dynamic_default);
}

void config_deinit(struct config *config)
{
    properties_deinit(&config->properties);
    properties_deinit(&config->dynamic);
    properties_deinit(&config->dynamic_default);
}

void config_use_shipped_defaults(struct config *config)
{
    static const struct property SHIPPED[] = {
        {"broker.id", "0"},
        {"log.dirs", "./data"},
        {"offsets.topic.replication.factor", "1"},
        {"transaction.state.log.replication.factor", "1"},
        {"transaction.state.log.min.isr", "1"},
        {"group.initial.rebalance.delay.ms", "0"},
    };
    for (size_t i = 0; i < sizeof(SHIPPED) / sizeof(SHIPPED[0]); i++) {
        properties_set(&config->properties, SHIPPED[i].name, SHIPPED[i].value);
    }
}

err config_read_file(struct config *config, const char *path, char reason[CONFIG_REASON_BYTES])
{
    char *text = NULL;
    size_t len = 0;
    err e = fs_read_all(fs_system(), path, FILE_LIMIT_BYTES, &text, &len);
    if (e != OK) {
        snprintf(reason, CONFIG_REASON_BYTES, "cannot read %s: %s", path, err_text(e));
        return e;
    }
    int line = 0;
    e = properties_parse(&config->properties, text, len, &line);
    free(text);
    if (e != OK) {
        snprintf(reason, CONFIG_REASON_BYTES, "%s, line %d: broken \\u escape", path, line);
    }
    return e;
}

/* '_' is a dot, "__" an underscore, "___" a dash; lower case. */
static char *name_of_variable(const char *variable, size_t len)
{
    char *name = xmalloc(len + 1);
    size_t out = 0;
    for (size_t i = 0; i < len;) {
        if (variable[i] != '_') {
            name[out++] = (char)tolower((unsigned char)variable[i++]);
            continue;
        }
        size_t run = 1;
        while (run < 3 && i + run < len && variable[i + run] == '_') {
            run++;
        }
        name[out++] = run == 1 ? '.' : run == 2 ? '_' : '-';
        i += run;
    }
    name[out] = '\0';
    return name;
}

/* Variables that steer the images' scripts and the JVM; no options. */
static bool is_image_variable(const char *name)
{
    static const char *const PREFIXES[] = {"heap.",   "jvm.", "jmx.",  "log4j.", "opts", "gc.",
                                           "version", "home", "debug", "mode",   "cfg."};
    for (size_t i = 0; i < sizeof(PREFIXES) / sizeof(PREFIXES[0]); i++) {
        if (strncmp(name, PREFIXES[i], strlen(PREFIXES[i])) == 0) {
            return true;
        }
    }
    return false;
}

void config_read_environment(struct config *config, char *const *environment)
{
    for (; *environment != NULL; environment++) {
        const char *variable = *environment;
        const char *equals = strchr(variable, '=');
        if (equals == NULL || strncmp(variable, "KAFKA_", 6) != 0) {
            continue;
        }
        size_t skip = strncmp(variable, "KAFKA_CFG_", 10) == 0 ? 10 : 6;
        char *name = name_of_variable(variable + skip, (size_t)(equals - variable) - skip);
        if (!is_image_variable(name)) {
            properties_set(&config->properties, name, equals + 1);
        }
        free(name);
    }
}

err config_override(struct config *config, const char *name_and_value,
                    char reason[CONFIG_REASON_BYTES])
{
    const char *equals = strchr(name_and_value, '=');
    if (equals == NULL || equals == name_and_value) {
        snprintf(reason, CONFIG_REASON_BYTES, "--override wants name=value, not \"%s\"",
                 name_and_value);
        return E_CONFIG;
    }
    char *name = strndup(name_and_value, (size_t)(equals - name_and_value));
    properties_set(&config->properties, name, equals + 1);
    free(name);
    return OK;
}

/* ---- values ---- */

static const char *type_words(enum option_type type)
{
    switch (type) {
    case OPTION_BOOL:
        return "true or false";
    case OPTION_INT:
        return "a whole number of 32 bits";
    case OPTION_LONG:
        return "a whole number of 64 bits";
    case OPTION_DOUBLE:
        return "a number";
    default:
        return "text";
    }
}

static char *trimmed(const char *text)
{
    while (isspace((unsigned char)*text)) {
        text++;
    }
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1])) {
        len--;
    }
    return strndup(text, len);
}

static bool word_in(const char *words, const char *word, size_t len)
{
    for (const char *at = words; at != NULL;) {
        const char *end = strchr(at, '|');
        size_t n = end == NULL ? strlen(at) : (size_t)(end - at);
        if (n == len && strncmp(at, word, n) == 0) {
            return true;
        }
        at = end == NULL ? NULL : end + 1;
    }
    return false;
}

/* Each element of a list must be one of the words. */
static bool list_in(const char *words, const char *list)
{
    while (*list != '\0') {
        const char *comma = strchr(list, ',');
        const char *end = comma == NULL ? list + strlen(list) : comma;
        const char *start = list;
        while (start < end && isspace((unsigned char)*start)) {
            start++;
        }
        const char *stop = end;
        while (stop > start && isspace((unsigned char)stop[-1])) {
            stop--;
        }
        if (!word_in(words, start, (size_t)(stop - start))) {
            return false;
        }
        list = comma == NULL ? end : comma + 1;
    }
    return true;
}

static bool number_in(const char *range, double value)
{
    const char *dots = strstr(range, "..");
    if (dots == NULL) {
        return true;
    }
    if (dots != range && value < strtod(range, NULL)) {
        return false;
    }
    return dots[2] == '\0' || value <= strtod(dots + 2, NULL);
}

static bool parse_long(const char *text, int64_t min, int64_t max, int64_t *value)
{
    char *end = NULL;
    errno = 0;
    long long parsed = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0' || errno != 0 || parsed < min || parsed > max) {
        return false;
    }
    *value = parsed;
    return true;
}

static bool parse_bool(const char *text, bool *value)
{
    *value = strcasecmp(text, "true") == 0;
    return *value || strcasecmp(text, "false") == 0;
}

#define RANGE_COUNTS "address:count,…"

/* max.connections.per.ip.overrides */
static bool counts_fit(const char *text)
{
    char *copy = xstrdup(text);
    char *save = NULL;
    bool fit = true;
    for (char *item = strtok_r(copy, ", ", &save); item != NULL;
         item = strtok_r(NULL, ", ", &save)) {
        char *colon = strrchr(item, ':');
        int64_t count = 0;
        fit = fit && colon != NULL && colon != item && colon - item < ADDRESS_BYTES_MAX &&
              parse_long(colon + 1, 0, INT64_MAX, &count);
    }
    free(copy);
    return fit;
}

/* A parsed value: one member is set, by the type. */
struct value {
    bool boolean;
    int64_t number;
    double real;
};

static bool value_parse(enum option_type type, const char *range, const char *text,
                        struct value *value)
{
    char *end = NULL;
    switch (type) {
    case OPTION_BOOL:
        return parse_bool(text, &value->boolean);
    case OPTION_INT:
        return parse_long(text, INT32_MIN, INT32_MAX, &value->number) &&
               number_in(range, (double)value->number);
    case OPTION_LONG:
        return parse_long(text, INT64_MIN, INT64_MAX, &value->number) &&
               number_in(range, (double)value->number);
    case OPTION_DOUBLE:
        value->real = strtod(text, &end);
        return *text != '\0' && *end == '\0' && isfinite(value->real) &&
               number_in(range, value->real);
    case OPTION_LIST:
        return *range == '\0' || list_in(range, text);
    default:
        if (strcmp(range, RANGE_COUNTS) == 0) {
            return counts_fit(text);
        }
        return *range == '\0' || word_in(range, text, strlen(text));
    }
}

static err refuse(char reason[CONFIG_REASON_BYTES], const char *name, const char *value,
                  enum option_type type, const char *range)
{
    snprintf(reason, CONFIG_REASON_BYTES, "option %s: \"%s\" is not allowed; it must be %s%s%s",
             name, type == OPTION_PASSWORD ? "***" : value, type_words(type),
             *range == '\0' ? "" : " in ", range);
    return E_CONFIG;
}

static err field_set(struct config *config, const struct option *option,
                     char reason[CONFIG_REASON_BYTES])
{
    void *field = (char *)config + option->field_offset;
    const char *raw = config_text(config, option);
    if (raw == NULL) {
        if (option->type == OPTION_INT) {
            *(int32_t *)field = CONFIG_NULL_INT;
        } else if (option->type == OPTION_LONG) {
            *(int64_t *)field = CONFIG_NULL_LONG;
        }
        return OK;
    }
    char *text = trimmed(raw);
    struct value value = {0};
    if (!value_parse(option->type, option->range, text, &value)) {
        err e = refuse(reason, option->name, text, option->type, option->range);
        free(text);
        return e;
    }
    if (strcmp(text, raw) != 0) {
        properties_set(&config->properties, option->name, text);
    }
    free(text);
    switch (option->type) {
    case OPTION_BOOL:
        *(bool *)field = value.boolean;
        break;
    case OPTION_INT:
        *(int32_t *)field = (int32_t)value.number;
        break;
    case OPTION_LONG:
        *(int64_t *)field = value.number;
        break;
    case OPTION_DOUBLE:
        *(double *)field = value.real;
        break;
    default:
        *(const char **)field = config_text(config, option);
        break;
    }
    return OK;
}

/* ---- all of them together ---- */

static bool has_prefix(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool is_security_name(const char *name)
{
    static const char *const PREFIXES[] = {"sasl.", "ssl.", "listener.name.", "delegation.token.",
                                           "password.encoder."};
    for (size_t i = 0; i < sizeof(PREFIXES) / sizeof(PREFIXES[0]); i++) {
        if (has_prefix(name, PREFIXES[i])) {
            return true;
        }
    }
    return strcmp(name, "authorizer.class.name") == 0 || strcmp(name, "super.users") == 0 ||
           strcmp(name, "principal.builder.class") == 0;
}

/* What Kafka's ZooKeeper client can and the C client cannot: names or their beginnings, the first
 * that fits counts; the one value that is fine, besides none; what to say to others. zookeeper.sasl
 * are Java system properties, which some put into the file. */
static const struct {
    const char *name;
    const char *fine;
    const char *words;
} NOT_BUILT[] = {
    {"zookeeper.ssl.client.enable", "false", "TLS towards ZooKeeper is not built"},
    {"zookeeper.ssl.", "", "TLS towards ZooKeeper is not built"},
    {"zookeeper.sasl.", "false", "SASL towards ZooKeeper is not built"},
    {"zookeeper.set.acl", "false",
     "ACLs in ZooKeeper need SASL or TLS towards it, which are not built"},
    {"zookeeper.clientCnxnSocket", "org.apache.zookeeper.ClientCnxnSocketNIO",
     "TLS towards ZooKeeper is not built, so it must be org.apache.zookeeper.ClientCnxnSocketNIO"},
    {"zookeeper.metadata.migration.enable", "false", "migration to KRaft is not built"},
};

static bool is_value(const char *raw, const char *wanted)
{
    char *text = trimmed(raw);
    bool same = *text == '\0' || strcasecmp(text, wanted) == 0;
    free(text);
    return same;
}

static err check_zookeeper(const char *name, const char *value, char reason[CONFIG_REASON_BYTES])
{
    for (size_t i = 0; i < sizeof(NOT_BUILT) / sizeof(NOT_BUILT[0]); i++) {
        if (!has_prefix(name, NOT_BUILT[i].name)) {
            continue;
        }
        if (is_value(value, NOT_BUILT[i].fine)) {
            return OK;
        }
        snprintf(reason, CONFIG_REASON_BYTES, "option %s: %s; remove the option", name,
                 NOT_BUILT[i].words);
        return E_CONFIG;
    }
    return OK;
}

/* A security feature that is configured and not built refuses to start. */
static err check_names(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    for (size_t i = 0; i < config->properties.count; i++) {
        const char *name = config->properties.items[i].name;
        TRY(check_zookeeper(name, config->properties.items[i].value, reason));
        if (is_security_name(name) && *config->properties.items[i].value != '\0') {
            snprintf(reason, CONFIG_REASON_BYTES,
                     "option %s: TLS, SASL and authorization are not built; remove the option",
                     name);
            return E_CONFIG;
        }
        if (config_option(name) == NULL && !has_prefix(name, "zookeeper.sasl.")) {
            log_warn("config", "unknown option, ignored name=%s", name);
        }
    }
    return OK;
}

static bool is_given(const char *text)
{
    return text != NULL && *text != '\0';
}

/* 0 would delete whatever is not being written to. */
static err check_retention(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    bool in_ms = config->log_retention_ms != CONFIG_NULL_LONG;
    bool in_minutes = config->log_retention_minutes != CONFIG_NULL_INT;
    int64_t retention = in_ms        ? config->log_retention_ms
                        : in_minutes ? config->log_retention_minutes
                                     : config->log_retention_hours;
    if (retention != 0) {
        return OK;
    }
    snprintf(reason, CONFIG_REASON_BYTES,
             "option log.retention.%s: 0 is not allowed; it must be -1 or at least 1",
             in_ms        ? "ms"
             : in_minutes ? "minutes"
                          : "hours");
    return E_CONFIG;
}

static err check_together(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    if (config->broker_id > config->reserved_broker_max_id && config->broker_id_generation_enable) {
        snprintf(reason, CONFIG_REASON_BYTES,
                 "option broker.id: %d must not be above reserved.broker.max.id (%d)",
                 config->broker_id, config->reserved_broker_max_id);
        return E_CONFIG;
    }
    if (config->queued_max_request_bytes >= 0 &&
        config->queued_max_request_bytes < config->socket_request_max_bytes) {
        snprintf(reason, CONFIG_REASON_BYTES,
                 "option queued.max.request.bytes: %lld must be -1 or at least "
                 "socket.request.max.bytes (%d)",
                 (long long)config->queued_max_request_bytes, config->socket_request_max_bytes);
        return E_CONFIG;
    }
    if (is_given(config->zookeeper_connect) && is_given(config->process_roles)) {
        snprintf(reason, CONFIG_REASON_BYTES,
                 "option process.roles: with it Kafka runs KRaft and does not use "
                 "zookeeper.connect; remove one of the two");
        return E_CONFIG;
    }
    if (config->group_min_session_timeout_ms > config->group_max_session_timeout_ms) {
        snprintf(reason, CONFIG_REASON_BYTES,
                 "option group.min.session.timeout.ms: %d must not be above "
                 "group.max.session.timeout.ms (%d)",
                 config->group_min_session_timeout_ms, config->group_max_session_timeout_ms);
        return E_CONFIG;
    }
    return check_retention(config, reason);
}

/* A file made for KRaft: its node is this broker. */
static void take_node_id(struct config *config)
{
    const char *node_id = properties_get(&config->properties, "node.id");
    if (node_id != NULL && properties_get(&config->properties, "broker.id") == NULL) {
        properties_set(&config->properties, "broker.id", node_id);
    }
}

err config_finish(struct config *config, char reason[CONFIG_REASON_BYTES])
{
    take_node_id(config);
    TRY(check_names(config, reason));
    for (size_t i = 0; i < sizeof(OPTIONS) / sizeof(OPTIONS[0]); i++) {
        TRY(field_set(config, &OPTIONS[i], reason));
    }
    if (config->log_dirs == NULL) {
        config->log_dirs = config->log_dir;
    }
    return check_together(config, reason);
}

/* ---- dynamic values ---- */

static err check_dynamic(const struct option *option, enum config_source source, const char *value,
                         char reason[CONFIG_REASON_BYTES])
{
    struct value parsed = {0};
    const char *wrong = NULL;
    if (option->dynamic == READ_ONLY) {
        wrong = "it can only be set in server.properties";
    } else if (is_security_name(option->name)) {
        wrong = "TLS and SASL are not built";
    } else if (option->dynamic == PER_BROKER && source == CONFIG_SOURCE_DYNAMIC_DEFAULT) {
        wrong = "it can only be set for single brokers";
    }
    if (wrong != NULL) {
        snprintf(reason, CONFIG_REASON_BYTES, "%s", wrong);
        return E_CONFIG;
    }
    if (!value_parse(option->type, option->range, value, &parsed)) {
        snprintf(reason, CONFIG_REASON_BYTES, "it must be %s%s%s", type_words(option->type),
                 *option->range == '\0' ? "" : " in ", option->range);
        return E_CONFIG;
    }
    if (strcmp(option->name, "log.retention.ms") == 0 && parsed.number == 0) {
        snprintf(reason, CONFIG_REASON_BYTES, "it must be -1 or at least 1"); /* check_retention */
        return E_CONFIG;
    }
    return OK;
}

static void layer_put(struct properties *layer, const char *name, const char *value)
{
    if (value != NULL) {
        properties_set(layer, name, value);
        return;
    }
    for (size_t i = 0; i < layer->count; i++) {
        if (strcmp(layer->items[i].name, name) == 0) {
            free(layer->items[i].name);
            free(layer->items[i].value);
            layer->items[i] = layer->items[--layer->count];
            return;
        }
    }
}

err config_set_dynamic(struct config *config, const struct option *option,
                       enum config_source source, const char *value,
                       char reason[CONFIG_REASON_BYTES])
{
    CHECK(source == CONFIG_SOURCE_DYNAMIC_BROKER || source == CONFIG_SOURCE_DYNAMIC_DEFAULT);
    struct properties *layer =
        source == CONFIG_SOURCE_DYNAMIC_BROKER ? &config->dynamic : &config->dynamic_default;
    char *text = value == NULL ? NULL : trimmed(value);
    err e = text == NULL ? OK : check_dynamic(option, source, text, reason);
    if (e == OK) {
        layer_put(layer, option->name, text);
        e = field_set(config, option, reason);
        CHECK(e == OK); /* every layer's values are valid by themselves */
    }
    free(text);
    return e;
}

err topic_option_check(const struct topic_option *option, const char *value,
                       char reason[CONFIG_REASON_BYTES])
{
    char *text = trimmed(value);
    struct value parsed = {0};
    bool fine = value_parse(option->type, option->range, text, &parsed);
    free(text);
    if (fine) {
        return OK;
    }
    snprintf(reason, CONFIG_REASON_BYTES,
             "Invalid value %s for configuration %s: it must be %s%s%s", value, option->name,
             type_words(option->type), *option->range == '\0' ? "" : " in ", option->range);
    return ERR_INVALID_CONFIG;
}

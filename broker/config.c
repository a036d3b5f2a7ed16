/* The options and their values, from the tables config.def and passed_options.def. (Where texts come
 * from: config_sources.c; what does not go together: config_check.c.)
 *
 * Order, later wins: built-in defaults, the properties file (or, without one, the values that
 * Kafka's own server.properties ships), the environment, --override; then the dynamic layers. Only
 * names that were set are kept in a layer, so that DescribeConfigs can tell a default from a value.
 */
#define _GNU_SOURCE
#include "broker/config_internal.h"

#include "base/refuse.h"
#include "protocol/error.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ADDRESS_BYTES_MAX = 64 };

static const struct option OPTIONS[] = {
#define OPTION(type, field, name, default_, range, dynamic, doc)                                   \
    {name,    OPTION_##type, default_,      range,                                                 \
     dynamic, doc,           FATE_IN_FORCE, offsetof(struct config, field)},
#include "broker/config.def"
#undef OPTION
#define PASSED_OPTION(type, name, default_, range, dynamic, fate, words)                           \
    {name, OPTION_##type, default_, range, dynamic, words, FATE_##fate, 0},
#include "broker/passed_options.def"
#undef PASSED_OPTION
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
        return option->dynamic == ONLY_DYNAMIC ? NULL
                                               : properties_get(&config->properties, option->name);
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

/* ---- values ---- */

static const char *type_words(enum option_type type)
{
    switch (type) {
    case OPTION_BOOL:
        return "true or false";
    case OPTION_SHORT:
        return "a whole number of 16 bits";
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

char *config_trimmed(const char *text)
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

/* "a..b" with either end left out, or one number. */
static bool number_in_span(const char *span, size_t len, double value)
{
    const char *dots = memmem(span, len, "..", 2);
    if (dots == NULL) {
        return value == strtod(span, NULL);
    }
    if (dots != span && value < strtod(span, NULL)) {
        return false;
    }
    return dots + 2 == span + len || value <= strtod(dots + 2, NULL);
}

static bool number_in(const char *range, double value)
{
    for (const char *at = range; *at != '\0';) {
        size_t len = strcspn(at, "|");
        if (number_in_span(at, len, value)) {
            return true;
        }
        at += at[len] == '|' ? len + 1 : len;
    }
    return *range == '\0';
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

#define RANGE_COUNTS   "address:count,…"
#define RANGE_REPLICAS "partition:broker,…"

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

static bool is_replica(const char *item)
{
    const char *broker = item + strspn(item, "0123456789");
    return broker != item && *broker == ':' && broker[1] != '\0' &&
           broker[1 + strspn(broker + 1, "0123456789")] == '\0';
}

/* leader.replication.throttled.replicas; "*" is all. */
static bool replicas_fit(const char *text)
{
    char *copy = xstrdup(text);
    char *save = NULL;
    bool fit = true;
    for (char *item = strtok_r(copy, ", ", &save); item != NULL && strcmp(text, "*") != 0;
         item = strtok_r(NULL, ", ", &save)) {
        fit = fit && is_replica(item);
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
    case OPTION_SHORT:
        return parse_long(text, INT16_MIN, INT16_MAX, &value->number) &&
               number_in(range, (double)value->number);
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
        return strcmp(range, RANGE_REPLICAS) == 0 ? replicas_fit(text)
                                                  : *range == '\0' || list_in(range, text);
    default:
        if (strcmp(range, RANGE_COUNTS) == 0) {
            return counts_fit(text);
        }
        return *range == '\0' || word_in(range, text, strlen(text));
    }
}

/* What is allowed, in words: `where` is " in " and the range. */
static const char *allowed(enum option_type type, const char *range, const char **where)
{
    *where = *range == '\0' ? "" : " in ";
    return type_words(type);
}

static err check_value(const struct option *option, const char *text, struct value *value,
                       char reason[CONFIG_REASON_BYTES])
{
    if (value_parse(option->type, option->range, text, value)) {
        return OK;
    }
    const char *where = NULL;
    const char *words = allowed(option->type, option->range, &where);
    return refuse(reason, CONFIG_REASON_BYTES,
                  "option %s: \"%.200s\" is not allowed; it must be %s%s%s", option->name,
                  option->type == OPTION_PASSWORD ? "***" : text, words, where, option->range);
}

err config_check_value(const struct option *option, const char *text,
                       char reason[CONFIG_REASON_BYTES])
{
    struct value value;
    char *trimmed = config_trimmed(text);
    err e = check_value(option, trimmed, &value, reason);
    free(trimmed);
    return e;
}

static void field_put(struct config *config, const struct option *option, struct value value)
{
    void *field = (char *)config + option->field_offset;
    switch (option->type) {
    case OPTION_BOOL:
        *(bool *)field = value.boolean;
        break;
    case OPTION_SHORT:
        *(int16_t *)field = (int16_t)value.number;
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
}

/* The value is checked, and put into the field if there is one. */
static err field_set(struct config *config, const struct option *option,
                     char reason[CONFIG_REASON_BYTES])
{
    struct value value = {.number =
                              option->type == OPTION_INT ? CONFIG_NULL_INT : CONFIG_NULL_LONG};
    const char *raw = config_text(config, option);
    if (raw != NULL) {
        char *text = config_trimmed(raw);
        err e = check_value(option, text, &value, reason);
        if (e == OK && strcmp(text, raw) != 0) {
            properties_set(&config->properties, option->name, text);
        }
        free(text);
        TRY(e);
    }
    if (option->fate == FATE_IN_FORCE) {
        field_put(config, option, value);
    }
    return OK;
}

/* ---- all of them together ---- */

/* Two names of one number: each sets the other. */
static void share_id(struct config *config, const char *name, const char *other)
{
    const char *id = properties_get(&config->properties, name);
    if (id != NULL && properties_get(&config->properties, other) == NULL) {
        properties_set(&config->properties, other, id);
    }
}

/* So that config_listener_text() may point into the table. */
static void trim_listener_values(struct config *config)
{
    for (size_t i = 0; i < config->properties.count; i++) {
        struct property *p = &config->properties.items[i];
        if (strncmp(p->name, "listener.name.", 14) == 0) {
            char *text = config_trimmed(p->value);
            free(p->value);
            p->value = text;
        }
    }
}

err config_finish(struct config *config, char reason[CONFIG_REASON_BYTES])
{
    TRY(field_set(config, config_option("node.id"), reason)); /* refused by the name that is set */
    share_id(config, "node.id", "broker.id");
    share_id(config, "broker.id", "node.id");
    trim_listener_values(config);
    TRY(config_check_names(config, reason));
    for (size_t i = 0; i < sizeof(OPTIONS) / sizeof(OPTIONS[0]); i++) {
        TRY(field_set(config, &OPTIONS[i], reason));
    }
    if (config->log_dirs == NULL) {
        config->log_dirs = config->log_dir;
    }
    return config_check_together(config, reason);
}

static const char *text_of_name(const struct config *config, const char *name)
{
    const struct properties *layers[] = {&config->dynamic, &config->properties};
    for (size_t layer = 0; layer < 2; layer++) {
        for (size_t i = 0; i < layers[layer]->count; i++) {
            if (strcasecmp(layers[layer]->items[i].name, name) == 0) {
                return layers[layer]->items[i].value;
            }
        }
    }
    return NULL;
}

const char *config_listener_text(const struct config *config, const char *listener,
                                 const char *mechanism, const char *option)
{
    const char *text = NULL;
    if (mechanism != NULL) {
        char *name = xasprintf("listener.name.%s.%s.%s", listener, mechanism, option);
        text = text_of_name(config, name);
        free(name);
    }
    if (text == NULL) {
        char *name = xasprintf("listener.name.%s.%s", listener, option);
        text = text_of_name(config, name);
        free(name);
    }
    return text != NULL ? text : config_text(config, config_option(option));
}

const char *config_listener_own_text(const struct config *config, const char *listener,
                                     const char *option, const char *otherwise)
{
    char *name = xasprintf("listener.name.%s.%s", listener, option);
    const char *text = text_of_name(config, name);
    free(name);
    return text == NULL ? otherwise : text;
}

int32_t config_listener_limit(const struct config *config, const char *listener, const char *option)
{
    char *name = xasprintf("listener.name.%s.%s", listener, option);
    const char *text = text_of_name(config, name);
    free(name);
    return text == NULL ? INT32_MAX : (int32_t)strtol(text, NULL, 10); /* checked */
}

/* ---- dynamic values ---- */

err config_check_dynamic(const struct option *option, enum config_source source, const char *value,
                         char reason[CONFIG_REASON_BYTES])
{
    struct value parsed = {0};
    const char *wrong = NULL;
    if (option->dynamic == READ_ONLY) {
        wrong = "it can only be set in server.properties";
    } else if (option->fate == FATE_REFUSED || option->fate == FATE_REFUSED_WITH_ZOOKEEPER) {
        wrong = option->doc; /* nothing would ever ask for it */
    } else if (option->dynamic == PER_BROKER && source == CONFIG_SOURCE_DYNAMIC_DEFAULT) {
        wrong = "it can only be set for single brokers";
    }
    if (wrong != NULL) {
        return refuse(reason, CONFIG_REASON_BYTES, "%s", wrong);
    }
    if (!value_parse(option->type, option->range, value, &parsed)) {
        const char *where = NULL;
        const char *words = allowed(option->type, option->range, &where);
        return refuse(reason, CONFIG_REASON_BYTES, "it must be %s%s%s", words, where,
                      option->range);
    }
    if (strcmp(option->name, "log.retention.ms") == 0 && parsed.number == 0) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "it must be -1 or at least 1"); /* as config_check.c */
    }
    return OK;
}

err config_set_dynamic(struct config *config, const struct option *option,
                       enum config_source source, const char *value,
                       char reason[CONFIG_REASON_BYTES])
{
    CHECK(source == CONFIG_SOURCE_DYNAMIC_BROKER || source == CONFIG_SOURCE_DYNAMIC_DEFAULT);
    struct properties *layer =
        source == CONFIG_SOURCE_DYNAMIC_BROKER ? &config->dynamic : &config->dynamic_default;
    char *text = value == NULL ? NULL : config_trimmed(value);
    err e = text == NULL ? OK : config_check_dynamic(option, source, text, reason);
    if (e == OK) {
        if (text == NULL) {
            properties_remove(layer, option->name);
        } else {
            properties_set(layer, option->name, text);
            config_warn_passed(option, option->name, text);
        }
        e = field_set(config, option, reason);
        CHECK(e == OK); /* every layer's values are valid by themselves */
    }
    free(text);
    return e;
}

void config_set_static(struct config *config, const struct option *option, const char *value)
{
    char reason[CONFIG_REASON_BYTES];
    if (value == NULL) {
        properties_remove(&config->properties, option->name);
    } else {
        properties_set(&config->properties, option->name, value);
    }
    err e = field_set(config, option, reason);
    CHECK(e == OK);
}

/* What Kafka permits only with tiered storage, which is not built: true is refused, in its words. */
static const char *tiered_refusal(const char *name)
{
    if (strcmp(name, "remote.storage.enable") == 0) {
        return "Tiered Storage functionality is disabled in the broker. Topic cannot be configured "
               "with remote log storage.";
    }
    if (strcmp(name, "remote.log.copy.disable") == 0 ||
        strcmp(name, "remote.log.delete.on.disable") == 0) {
        return "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` "
               "under Zookeeper's mode.";
    }
    return NULL;
}

err topic_option_check(const struct topic_option *option, const char *value,
                       char reason[CONFIG_REASON_BYTES])
{
    char *text = config_trimmed(value);
    struct value parsed = {0};
    bool fine = value_parse(option->type, option->range, text, &parsed);
    free(text);
    const char *tiered = fine && parsed.boolean ? tiered_refusal(option->name) : NULL;
    if (tiered != NULL) {
        snprintf(reason, CONFIG_REASON_BYTES, "%s", tiered);
        return ERR_INVALID_CONFIG;
    }
    if (fine) {
        return OK;
    }
    const char *where = NULL;
    const char *words = allowed(option->type, option->range, &where);
    snprintf(reason, CONFIG_REASON_BYTES,
             "Invalid value %.200s for configuration %s: it must be %s%s%s", value, option->name,
             words, where, option->range);
    return ERR_INVALID_CONFIG;
}

/* DescribeConfigs: what options have which value, and where it comes from. Topic overrides are read
 * from the coordination store, on the control thread. (reference: requests §7) */
#include "broker/broker.h"

#include <stdio.h>
#include <stdlib.h>

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4, RESOURCE_LOGGER = 8, RESOURCE_CLIENT_METRICS = 16 };
/* ConfigDef's types as on the wire. */
enum {
    WIRE_BOOLEAN = 1,
    WIRE_STRING,
    WIRE_INT,
    WIRE_SHORT,
    WIRE_LONG,
    WIRE_DOUBLE,
    WIRE_LIST,
    WIRE_CLASS,
    WIRE_PASSWORD
};
enum { SYNONYMS_MAX = 6 };

typedef struct describe_configs_request_resource resource_in;
typedef struct describe_configs_response_result result_out;
typedef struct describe_configs_response_config config_out;
typedef struct describe_configs_response_synonym synonym_out;

static int8_t wire_type(enum option_type type)
{
    static const int8_t TYPES[] = {WIRE_BOOLEAN, WIRE_INT,  WIRE_LONG,     WIRE_DOUBLE,
                                   WIRE_STRING,  WIRE_LIST, WIRE_PASSWORD, WIRE_CLASS};
    return TYPES[type];
}

/* Null or empty: all keys. */
static bool is_wanted(const resource_in *in, const char *name)
{
    for (int32_t i = 0; i < in->configuration_keys_n; i++) {
        if (str_is(in->configuration_keys[i], name)) {
            return true;
        }
    }
    return in->configuration_keys_n <= 0;
}

static void add_synonym(config_out *out, struct str name, struct str value, int8_t source)
{
    if (out->synonyms != NULL && out->synonyms_n < SYNONYMS_MAX) {
        synonym_out *synonym = &out->synonyms[out->synonyms_n++];
        describe_configs_response_synonym_init(synonym);
        synonym->name = name;
        synonym->value = value;
        synonym->source = source;
    }
}

static void begin_config(struct req *r, config_out *out, const char *name, enum option_type type,
                         const char *doc)
{
    const struct describe_configs_request *in = r->in;
    describe_configs_response_config_init(out);
    out->name = str_of(name);
    out->config_type = wire_type(type);
    out->is_sensitive = type == OPTION_PASSWORD;
    out->synonyms =
        in->include_synonyms ? req_array(r, SYNONYMS_MAX, sizeof(*out->synonyms)) : NULL;
    out->documentation = in->include_documentation ? str_of(doc) : (struct str){0};
}

/* The broker's value of an option and its default, as synonyms. */
static void add_broker_synonyms(struct req *r, config_out *out, const struct option *option)
{
    const struct config *config = r->broker->config;
    if (config_is_set(config, option)) {
        add_synonym(out, str_of(option->name), str_of(config_text(config, option)),
                    CONFIG_SOURCE_STATIC_BROKER);
    }
    if (option->default_text != NULL) {
        add_synonym(out, str_of(option->name), str_of(option->default_text), CONFIG_SOURCE_DEFAULT);
    }
}

/* ---- topics ---- */

/* Broker options that stand behind a topic option, the one that wins first. */
static const char *const *broker_options_of(const struct topic_option *option)
{
    static const char *const RETENTION[] = {"log.retention.ms", "log.retention.minutes",
                                            "log.retention.hours", NULL};
    static const char *const ROLL[] = {"log.roll.ms", "log.roll.hours", NULL};
    static const char *const JITTER[] = {"log.roll.jitter.ms", "log.roll.jitter.hours", NULL};
    static const char *const FLUSH[] = {"log.flush.interval.ms", "log.flush.scheduler.interval.ms",
                                        NULL};
    static _Thread_local const char *one[2];
    if (option->broker_option == NULL) {
        one[0] = NULL;
        return one;
    }
    const char *const *const GROUPS[] = {RETENTION, ROLL, JITTER, FLUSH};
    for (size_t i = 0; i < sizeof(GROUPS) / sizeof(GROUPS[0]); i++) {
        if (strcmp(GROUPS[i][0], option->broker_option) == 0) {
            return GROUPS[i];
        }
    }
    one[0] = option->broker_option;
    one[1] = NULL;
    return one;
}

static void describe_topic_option(struct req *r, const struct properties *overrides,
                                  const struct topic_option *option, config_out *out)
{
    const struct config *config = r->broker->config;
    const char *override = properties_get(overrides, option->name);
    begin_config(r, out, option->name, option->type, option->doc);
    const char *value = override != NULL ? override : topic_option_default(config, option);
    out->value = arena_str(&r->arena, str_of(value));
    out->config_source =
        override != NULL ? (int8_t)CONFIG_SOURCE_TOPIC : topic_option_source(config, option);
    if (override != NULL) {
        add_synonym(out, out->name, out->value, CONFIG_SOURCE_TOPIC);
    }
    const char *const *names = broker_options_of(option);
    for (int i = 0; names[i] != NULL; i++) {
        const struct option *behind = config_option(names[i]);
        if (i == 0) {
            add_broker_synonyms(r, out, behind);
        } else if (config_is_set(config, behind)) {
            add_synonym(out, str_of(behind->name), str_of(config_text(config, behind)),
                        CONFIG_SOURCE_STATIC_BROKER);
        }
    }
}

static err describe_topic(struct req *r, const resource_in *in, result_out *out)
{
    if (!topic_name_is_legal(in->resource_name)) {
        return ERR_INVALID_TOPIC_EXCEPTION;
    }
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    bool known = metadata_topic(metadata, in->resource_name) != NULL;
    metadata_release(metadata);
    if (!known) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    const struct properties *overrides =
        topic_configs_get(r->broker->topic_configs, in->resource_name);
    size_t count = 0;
    const struct topic_option *options = topic_options(&count);
    out->configs = req_array(r, (int32_t)count, sizeof(*out->configs));
    for (size_t i = 0; out->configs != NULL && i < count; i++) {
        if (is_wanted(in, options[i].name)) {
            describe_topic_option(r, overrides, &options[i], &out->configs[out->configs_n++]);
        }
    }
    return OK;
}

/* ---- brokers ---- */

static void describe_broker_option(struct req *r, const struct option *option, config_out *out)
{
    const struct config *config = r->broker->config;
    bool set = config_is_set(config, option);
    begin_config(r, out, option->name, option->type, option->doc);
    out->value =
        option->type == OPTION_PASSWORD ? (struct str){0} : str_of(config_text(config, option));
    out->read_only = option->dynamic == READ_ONLY;
    out->config_source = set ? (int8_t)CONFIG_SOURCE_STATIC_BROKER : (int8_t)CONFIG_SOURCE_DEFAULT;
    add_broker_synonyms(r, out, option);
}

/* An empty name asks for the cluster-wide dynamic values, of which there are none. */
static err describe_broker(struct req *r, const resource_in *in, result_out *out)
{
    char own[16];
    snprintf(own, sizeof(own), "%d", r->broker->id);
    if (in->resource_name.len == 0) {
        return OK;
    }
    if (!str_is(in->resource_name, own)) {
        out->error_message = arena_format(&r->arena,
                                          "Unexpected broker id, expected %s or empty string, but "
                                          "received %.*s",
                                          own, (int)in->resource_name.len, in->resource_name.data);
        return ERR_INVALID_REQUEST;
    }
    size_t count = 0;
    const struct option *options = config_options(&count);
    out->configs = req_array(r, (int32_t)count, sizeof(*out->configs));
    for (size_t i = 0; out->configs != NULL && i < count; i++) {
        if (is_wanted(in, options[i].name)) {
            describe_broker_option(r, &options[i], &out->configs[out->configs_n++]);
        }
    }
    return OK;
}

/* ---- the request ---- */

static bool is_known_type(int8_t type)
{
    return type == RESOURCE_TOPIC || type == RESOURCE_BROKER || type == RESOURCE_LOGGER ||
           type == RESOURCE_CLIENT_METRICS;
}

static err describe_one(struct req *r, const resource_in *in, result_out *out)
{
    switch (in->resource_type) {
    case RESOURCE_TOPIC:
        return describe_topic(r, in, out);
    case RESOURCE_BROKER:
        return describe_broker(r, in, out);
    default:
        out->error_message = STR("This type of resource is not supported.");
        return ERR_INVALID_REQUEST;
    }
}

/* On the control thread. An unknown type fails every resource. */
static void describe_all(struct req *r)
{
    const struct describe_configs_request *in = r->in;
    struct describe_configs_response *out = r->out;
    bool valid = true;
    for (int32_t i = 0; i < in->resources_n; i++) {
        valid &= is_known_type(in->resources[i].resource_type);
    }
    out->results = req_array(r, in->resources_n, sizeof(*out->results));
    for (int32_t i = 0; out->results != NULL && i < in->resources_n; i++) {
        result_out *result = &out->results[out->results_n++];
        describe_configs_response_result_init(result);
        result->resource_type = in->resources[i].resource_type;
        result->resource_name = in->resources[i].resource_name;
        err e = valid ? describe_one(r, &in->resources[i], result) : ERR_INVALID_REQUEST;
        result->error_code = kafka_error_wire(e);
        if (e != OK && result->error_message.data == NULL) {
            result->error_message = str_of(kafka_error_name(e));
        }
    }
}

enum req_status handle_describe_configs(struct req *r)
{
    return req_on_control(r, describe_all, NULL);
}

/* DescribeConfigs: what options have which value, and where it comes from. On the control thread,
 * which topic overrides and dynamic options belong to. (reference: requests §7.1)
 *
 * Synonyms are every value that was given to an option, or to a coarser one that it is derived from
 * (retention in ms, minutes, hours), the one that wins first: by source, then by name. What comes
 * before the first value of the option itself is left out; so a retention of server.properties in
 * hours is, for the option in ms and for topics, a default without synonyms. All of it as Kafka
 * 3.9.1 answers. */
#include "base/log.h"
#include "broker/api/config_shown.h"
#include "broker/broker.h"
#include "broker/cluster/loggers.h"

#include <stdio.h>
#include <stdlib.h>

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
enum { WIRE_UNKNOWN = 0, NAMES_MAX = 3, SYNONYMS_MAX = 1 + NAMES_MAX * 4 };

typedef struct describe_configs_request_resource resource_in;
typedef struct describe_configs_response_result result_out;
typedef struct describe_configs_response_config config_out;
typedef struct describe_configs_response_synonym synonym_out;

static int8_t wire_type(enum option_type type)
{
    static const int8_t TYPES[] = {WIRE_BOOLEAN, WIRE_SHORT, WIRE_INT,      WIRE_LONG, WIRE_DOUBLE,
                                   WIRE_STRING,  WIRE_LIST,  WIRE_PASSWORD, WIRE_CLASS};
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

/* The option and those it is derived from, the one that wins first. Returns their number. */
static int names_behind(const char *name, const char *names[NAMES_MAX])
{
    static const struct {
        const char *names[NAMES_MAX];
        bool each; /* they are synonyms of one another */
    } GROUPS[] = {
        {{"log.retention.ms", "log.retention.minutes", "log.retention.hours"}, true},
        {{"log.roll.ms", "log.roll.hours"}, true},
        {{"log.roll.jitter.ms", "log.roll.jitter.hours"}, true},
        {{"log.flush.interval.ms", "log.flush.scheduler.interval.ms"}, false},
    };
    for (size_t i = 0; i < sizeof(GROUPS) / sizeof(GROUPS[0]); i++) {
        bool found = false;
        int n = 0;
        for (; n < NAMES_MAX && GROUPS[i].names[n] != NULL; n++) {
            names[n] = GROUPS[i].names[n];
            found |= strcmp(names[n], name) == 0 && (n == 0 || GROUPS[i].each);
        }
        if (found) {
            return n;
        }
    }
    names[0] = name;
    return 1;
}

/* What stands behind a broker's option, from `first` to `last`. */
static void add_broker_synonyms(struct req *r, config_out *out, const char *name,
                                enum config_source first, enum config_source last)
{
    const char *names[NAMES_MAX];
    int names_n = names_behind(name, names);
    bool begun = false;
    for (enum config_source source = first; source <= last; source++) {
        for (int i = 0; i < names_n; i++) {
            const struct option *option = config_option(names[i]);
            const char *text = config_text_from(r->broker->config, option, source);
            begun |= text != NULL && strcmp(names[i], name) == 0;
            if (text != NULL && begun) {
                struct str value = option->type == OPTION_PASSWORD ? (struct str){0} : str_of(text);
                add_synonym(out, str_of(option->name), value, (int8_t)source);
            }
        }
    }
}

/* ---- topics ---- */

static void describe_topic_option(struct req *r, const struct properties *overrides,
                                  const struct topic_option *option, config_out *out)
{
    const struct config *config = r->broker->config;
    const char *override = properties_get(overrides, option->name);
    begin_config(r, out, option->name, option->type, option->doc);
    const char *value = override != NULL ? override : topic_option_default(config, option);
    out->value = config_shown(r, option->type, value);
    out->config_source =
        override != NULL ? (int8_t)CONFIG_SOURCE_TOPIC : topic_option_source(config, option);
    if (override != NULL) {
        add_synonym(out, out->name, out->value, CONFIG_SOURCE_TOPIC);
    }
    if (option->broker_option != NULL) {
        add_broker_synonyms(r, out, option->broker_option, CONFIG_SOURCE_DYNAMIC_BROKER,
                            CONFIG_SOURCE_DEFAULT);
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
    const struct properties *overrides = NULL;
    err e = topic_configs_refresh(r->broker->topic_configs, in->resource_name, NULL);
    if (e == OK || e == E_MALFORMED) { /* unreadable: what was known before is in force */
        e = topic_configs_get(r->broker->topic_configs, in->resource_name, &overrides);
    }
    if (e != OK) {
        out->error_message = e == E_MALFORMED
                                 ? STR("The topic's node in the coordination store cannot be read.")
                                 : STR("The coordination store cannot be reached.");
        return e == E_MALFORMED ? ERR_UNKNOWN_SERVER_ERROR : ERR_REQUEST_TIMED_OUT;
    }
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

/* Kafka says so of those that are not in server.properties, too, which can be set nowhere else. */
static bool is_read_only(const struct option *option)
{
    return option->dynamic == READ_ONLY || option->dynamic == ONLY_DYNAMIC;
}

/* One that is not in server.properties is there when it is set. */
static bool is_there(const struct config *config, const struct option *option)
{
    return option->dynamic != ONLY_DYNAMIC ||
           config_source(config, option) < CONFIG_SOURCE_STATIC_BROKER;
}

static void describe_broker_option(struct req *r, const struct option *option, config_out *out)
{
    const struct config *config = r->broker->config;
    begin_config(r, out, option->name, option->type, option->doc);
    out->value = config_shown(r, option->type, config_text(config, option));
    out->read_only =
        option->dynamic == READ_ONLY || option->dynamic == ONLY_DYNAMIC; /* as Kafka says */
    out->config_source = (int8_t)config_source(config, option);
    bool has_default = option->dynamic != ONLY_DYNAMIC;
    add_broker_synonyms(r, out, option->name, CONFIG_SOURCE_DYNAMIC_BROKER,
                        has_default ? CONFIG_SOURCE_DEFAULT : CONFIG_SOURCE_DYNAMIC_DEFAULT);
}

/* A name in server.properties that is no option: its value may be a secret. */
static void describe_unknown(struct req *r, const char *name, config_out *out)
{
    begin_config(r, out, name, OPTION_PASSWORD, NULL);
    out->config_type = WIRE_UNKNOWN;
    out->value = (struct str){0};
    out->read_only = true;
    out->config_source = CONFIG_SOURCE_STATIC_BROKER;
    add_synonym(out, out->name, (struct str){0}, CONFIG_SOURCE_STATIC_BROKER);
}

static const struct properties *layer_of(const struct config *config, enum config_source source)
{
    return source == CONFIG_SOURCE_DYNAMIC_BROKER  ? &config->dynamic
           : source == CONFIG_SOURCE_STATIC_BROKER ? &config->properties
                                                   : NULL;
}

/* Of one listener: it comes before the general option, which is behind it. */
static void describe_listener_option(struct req *r, const char *name, const struct option *option,
                                     config_out *out)
{
    const struct config *config = r->broker->config;
    begin_config(r, out, name, option->type, NULL);
    out->read_only = true; /* as Kafka says, also of those that it changes */
    for (enum config_source source = CONFIG_SOURCE_DYNAMIC_BROKER; source <= CONFIG_SOURCE_DEFAULT;
         source++) {
        const struct properties *layer = layer_of(config, source);
        const char *own = layer == NULL ? NULL : properties_get(layer, name);
        if (own != NULL) {
            struct str shown = config_shown(r, option->type, own);
            if (out->config_source < 0) {
                out->value = shown;
                out->config_source = (int8_t)source;
            }
            add_synonym(out, str_of(name), shown, (int8_t)source);
        }
        const char *general = config_text_from(config, option, source);
        if (general != NULL) {
            add_synonym(out, str_of(option->name), config_shown(r, option->type, general),
                        (int8_t)source);
        }
    }
}

/* Those that are set for single listeners: by the store, then by server.properties alone. */
static void describe_listener_options(struct req *r, const resource_in *in, result_out *out)
{
    const struct config *config = r->broker->config;
    const struct properties *layers[] = {&config->dynamic, &config->properties};
    for (size_t l = 0; l < 2; l++) {
        for (size_t i = 0; i < layers[l]->count; i++) {
            const char *name = layers[l]->items[i].name;
            const struct option *option = config_listener_option(config, name);
            bool again = l > 0 && properties_get(layers[0], name) != NULL;
            if (option != NULL && !again && is_wanted(in, name)) {
                describe_listener_option(r, name, option, &out->configs[out->configs_n++]);
            }
        }
    }
}

static void describe_all_options(struct req *r, const resource_in *in, result_out *out)
{
    size_t count = 0;
    const struct option *options = config_options(&count);
    const struct config *config = r->broker->config;
    const struct properties *set = &config->properties;
    out->configs =
        req_array(r, (int32_t)(count + set->count + config->dynamic.count), sizeof(*out->configs));
    for (size_t i = 0; out->configs != NULL && i < count; i++) {
        if (is_wanted(in, options[i].name) && is_there(r->broker->config, &options[i])) {
            describe_broker_option(r, &options[i], &out->configs[out->configs_n++]);
        }
    }
    for (size_t i = 0; out->configs != NULL && i < set->count; i++) {
        const char *name = set->items[i].name;
        if (config_option(name) == NULL && config_listener_option(config, name) == NULL &&
            is_wanted(in, name)) {
            describe_unknown(r, name, &out->configs[out->configs_n++]);
        }
    }
    if (out->configs != NULL) {
        describe_listener_options(r, in, out);
    }
}

/* What is set for all brokers, and nothing else. */
static void describe_cluster_options(struct req *r, const resource_in *in, result_out *out)
{
    const struct properties *set = &r->broker->config->dynamic_default;
    out->configs = req_array(r, (int32_t)set->count, sizeof(*out->configs));
    for (size_t i = 0; out->configs != NULL && i < set->count; i++) {
        const struct option *option = config_option(set->items[i].name);
        if (is_wanted(in, option->name)) {
            config_out *c = &out->configs[out->configs_n++];
            begin_config(r, c, option->name, option->type, option->doc);
            c->value = config_shown(r, option->type, set->items[i].value);
            c->read_only = is_read_only(option);
            c->config_source = CONFIG_SOURCE_DYNAMIC_DEFAULT;
            add_broker_synonyms(r, c, option->name, CONFIG_SOURCE_DYNAMIC_DEFAULT,
                                CONFIG_SOURCE_DYNAMIC_DEFAULT);
        }
    }
}

/* An empty name asks for the options of all brokers. */
static err describe_broker(struct req *r, const resource_in *in, result_out *out)
{
    char own[16];
    snprintf(own, sizeof(own), "%d", r->broker->id);
    if (in->resource_name.len == 0) {
        describe_cluster_options(r, in, out);
        return OK;
    }
    if (!str_is(in->resource_name, own)) {
        out->error_message = arena_format(&r->arena,
                                          "Unexpected broker id, expected %s or empty string, but "
                                          "received %.*s",
                                          own, (int)in->resource_name.len, in->resource_name.data);
        return ERR_INVALID_REQUEST;
    }
    describe_all_options(r, in, out);
    return OK;
}

/* ---- loggers ---- */

static void describe_logger(const resource_in *in, result_out *out, const char *name,
                            enum log_level level)
{
    if (is_wanted(in, name)) {
        config_out *c = &out->configs[out->configs_n++];
        describe_configs_response_config_init(c);
        c->name = str_of(name);
        c->value = str_of(log_level_name(level));
        c->config_source = CONFIG_SOURCE_LOGGER;
        c->config_type = WIRE_UNKNOWN;
        c->documentation = STR("");
    }
}

static err describe_loggers(struct req *r, const resource_in *in, result_out *out)
{
    char message[CONFIG_REASON_BYTES];
    err e = logger_check_broker(r->broker->id, in->resource_name, message);
    if (e != OK) {
        out->error_message = arena_str(&r->arena, str_of(message));
        return e;
    }
    out->configs = req_array(r, loggers_count(), sizeof(*out->configs));
    if (out->configs == NULL) {
        return ERR_UNKNOWN_SERVER_ERROR;
    }
    for (int i = 0; i < loggers_count(); i++) {
        describe_logger(in, out, logger_name(i), logger_level(i));
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
    case RESOURCE_LOGGER:
        return describe_loggers(r, in, out);
    default:
        out->error_message = STR("Config type client-metrics is only supported on KRaft clusters");
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

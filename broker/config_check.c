/* Checks over all options: what becomes of those that are not in force (passed_options.def), of
 * unknown names, and of values that do not go together. */
#define _GNU_SOURCE
#include "broker/config_internal.h"

#include "base/log.h"
#include "base/refuse.h"
#include "broker/security/authorizer.h"

#include <stdlib.h>

/* Of what is about security. */
#define MISTYPED "there is no such option, and a mistyped one must not take protection away"

enum { CLUSTER_ID_BYTES_MAX = 64, CLEANER_THREAD_BYTES_MIN = 1 << 20 };

static bool has_prefix(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool is_given(const char *text)
{
    return text != NULL && *text != '\0';
}

/* ---- names ---- */

/* The default, or nothing: then the option might as well not be there. */
static bool says_nothing(const struct option *option, const char *value)
{
    char *text = config_trimmed(value);
    bool same = *text == '\0' ||
                (option->default_text != NULL && strcasecmp(text, option->default_text) == 0);
    free(text);
    return same;
}

void config_warn_passed(const struct option *option, const char *name, const char *value)
{
    if (option->fate == FATE_PASSED && !says_nothing(option, value)) {
        log_warn("config", "option passed over name=%s reason=\"%s\"", name, option->doc);
    }
}

static struct judgement judge_fate(const struct config *config, const struct option *option,
                                   const char *value)
{
    const char *zookeeper = properties_get(&config->properties, "zookeeper.connect");
    bool refused = option->fate == FATE_REFUSED ||
                   (option->fate == FATE_REFUSED_WITH_ZOOKEEPER && is_given(zookeeper));
    if (option->fate == FATE_IN_FORCE) {
        return (struct judgement){JUDGED_IN_FORCE, option, NULL};
    }
    if (says_nothing(option, value)) {
        return (struct judgement){JUDGED_NOTHING_SAID, option, NULL};
    }
    enum judged judged = refused                       ? JUDGED_REFUSED
                         : option->fate == FATE_PASSED ? JUDGED_PASSED
                                                       : JUDGED_UNUSED;
    return (struct judgement){judged, option, option->doc};
}

/* Is it a mechanism's name, as options have it, and one of the options that a mechanism may have? */
static bool is_of_mechanism(struct str mechanism, const char *option)
{
    static const char *const NAMES[] = {"plain", "scram-sha-256", "scram-sha-512", "oauthbearer",
                                        "gssapi"};
    bool known = false;
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        known |= str_is(mechanism, NAMES[i]);
    }
    return known &&
           (has_prefix(option, "sasl.") || strcmp(option, "connections.max.reauth.ms") == 0);
}

/* The part of "listener.name.<listener>.<option>" that names the option, of SASL after the mechanism:
 * "listener.name.outside.plain.sasl.jaas.config" is sasl.jaas.config. NULL: it is no such name. */
static const struct option *option_of_listener(const char *name)
{
    const char *at = has_prefix(name, "listener.name.") ? strchr(name + 14, '.') : NULL;
    const struct option *option = at == NULL ? NULL : config_option(at + 1);
    const char *next = at == NULL ? NULL : strchr(at + 1, '.');
    if (option != NULL || next == NULL) {
        return option;
    }
    struct str mechanism = {.data = at + 1, .len = (size_t)(next - at - 1)};
    return is_of_mechanism(mechanism, next + 1) ? config_option(next + 1) : NULL;
}

/* May single listeners have it? */
static bool is_for_listeners(const char *name)
{
    static const char *const OTHERS[] = {"max.connections", "max.connection.creation.rate",
                                         "connections.max.reauth.ms"};
    for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++) {
        if (strcmp(name, OTHERS[i]) == 0) {
            return true;
        }
    }
    return has_prefix(name, "ssl.") || has_prefix(name, "sasl.");
}

/* Is the listener in this list of NAME, NAME:PROTOCOL or NAME://host:port? */
static bool is_listed(const char *list, struct str listener)
{
    for (const char *at = list; at != NULL && *at != '\0'; at += strcspn(at, ",")) {
        at += strspn(at, ", \t");
        if (strcspn(at, ":, \t") == listener.len &&
            strncasecmp(at, listener.data, listener.len) == 0) {
            return true;
        }
    }
    return false;
}

static bool knows_listener(const struct config *config, const char *name)
{
    static const char *const LISTS[] = {"listeners", "listener.security.protocol.map",
                                        "controller.listener.names"};
    name += strlen("listener.name.");
    struct str listener = {.data = name, .len = strcspn(name, ".")};
    for (size_t i = 0; i < sizeof(LISTS) / sizeof(LISTS[0]); i++) {
        const char *set = properties_get(&config->properties, LISTS[i]);
        if (is_listed(set != NULL ? set : config_option(LISTS[i])->default_text, listener)) {
            return true;
        }
    }
    return false;
}

/* Kafka looks for a listener's options by its name in lower case only: others would be passed over there, and must not
 * win over those that are meant here. */
static bool has_upper_case(const char *name)
{
    name += strlen("listener.name.");
    for (size_t i = 0; name[i] != '\0' && name[i] != '.'; i++) {
        if (name[i] >= 'A' && name[i] <= 'Z') {
            return true;
        }
    }
    return false;
}

const struct option *config_listener_option(const struct config *config, const char *name)
{
    const struct option *option = option_of_listener(name);
    return option != NULL && !has_upper_case(name) && knows_listener(config, name) ? option : NULL;
}

static struct judgement judge_listener_option(const struct config *config, const char *name,
                                              const char *value)
{
    const struct option *option = option_of_listener(name);
    if (option == NULL) {
        return (struct judgement){JUDGED_REFUSED, NULL, MISTYPED};
    }
    if (has_upper_case(name)) {
        return (struct judgement){JUDGED_REFUSED, option,
                                  "the listener's name in it must be in lower case"};
    }
    if (!knows_listener(config, name)) {
        return (struct judgement){JUDGED_REFUSED, option, "there is no such listener"};
    }
    if (option->fate == FATE_IN_FORCE && !is_for_listeners(option->name)) {
        return (struct judgement){JUDGED_PASSED, option, "it is one for all listeners"};
    }
    return judge_fate(config, option, value);
}

/* Java system properties of Kafka's ZooKeeper client, which some put into the file. */
static struct judgement judge_zookeeper_sasl(const struct config *config, const char *value)
{
    char *text = config_trimmed(value);
    bool off = *text == '\0' || strcasecmp(text, "false") == 0;
    free(text);
    if (off || !is_given(properties_get(&config->properties, "zookeeper.connect"))) {
        return (struct judgement){JUDGED_NOTHING_SAID, NULL, NULL};
    }
    return (struct judgement){JUDGED_REFUSED, NULL, "SASL towards ZooKeeper is not built"};
}

/* Is it about security, as far as its beginning tells, in whatever case? Kafka's authorizer knows options for a
 * ZooKeeper of its own: where the ACLs are matters, how long it waits does not. */
static bool is_about_security(const char *name)
{
    static const char *const BEGINNINGS[] = {
        "ssl.",          "sasl.",           "listener.name.",         "authorizer.",
        "super.user",    "allow.everyone.", "connections.max.reauth", "delegation.token.",
        "password.encod"};
    bool timing =
        has_prefix(name, "authorizer.zookeeper.") && strcmp(name, "authorizer.zookeeper.url") != 0;
    for (size_t i = 0; !timing && i < sizeof(BEGINNINGS) / sizeof(BEGINNINGS[0]); i++) {
        if (strncasecmp(name, BEGINNINGS[i], strlen(BEGINNINGS[i])) == 0) {
            return true;
        }
    }
    return false;
}

struct judgement config_judge(const struct config *config, const char *name, const char *value)
{
    const struct option *option = config_option(name);
    if (option != NULL && option->dynamic == ONLY_DYNAMIC) {
        return (struct judgement){JUDGED_DYNAMIC, option, NULL};
    }
    if (option != NULL) {
        return judge_fate(config, option, value);
    }
    if (has_prefix(name, "zookeeper.sasl.")) {
        return judge_zookeeper_sasl(config, value);
    }
    if (has_prefix(name, "listener.name.")) {
        return judge_listener_option(config, name, value);
    }
    if (is_about_security(name)) {
        return (struct judgement){JUDGED_REFUSED, NULL, MISTYPED};
    }
    return (struct judgement){JUDGED_UNKNOWN, NULL, NULL};
}

/* Those of options for all listeners are checked where their fields are filled. */
static err check_listener_value(const struct option *option, const char *name, const char *value,
                                char reason[CONFIG_REASON_BYTES])
{
    struct option named = *option;
    named.name = name;
    return config_check_value(&named, value, reason);
}

static err check_name(const struct config *config, const char *name, const char *value,
                      char reason[CONFIG_REASON_BYTES])
{
    struct judgement judgement = config_judge(config, name, value);
    switch (judgement.judged) {
    case JUDGED_REFUSED:
        return refuse(reason, CONFIG_REASON_BYTES, "option %s: %s; remove the option", name,
                      judgement.why);
    case JUDGED_PASSED:
        log_warn("config", "option passed over name=%s reason=\"%s\"", name, judgement.why);
        return OK;
    case JUDGED_DYNAMIC:
        log_warn("config", "option ignored, it is set by kafka-configs name=%s", name);
        return OK;
    case JUDGED_IN_FORCE:
        return has_prefix(name, "listener.name.")
                   ? check_listener_value(judgement.option, name, value, reason)
                   : OK;
    case JUDGED_UNKNOWN:
        log_warn("config", "unknown option, ignored name=%s", name);
        return OK;
    default:
        return OK;
    }
}

err config_check_names(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    for (size_t i = 0; i < config->properties.count; i++) {
        const struct property *p = &config->properties.items[i];
        TRY(check_name(config, p->name, p->value, reason));
    }
    return OK;
}

/* ---- together ---- */

/* 0 would delete whatever is not being written to. */
static err check_retention(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    bool in_ms = config->log_retention_ms != CONFIG_NULL_LONG;
    bool in_minutes = config->log_retention_minutes != CONFIG_NULL_INT;
    int64_t retention = in_ms        ? config->log_retention_ms
                        : in_minutes ? config->log_retention_minutes
                                     : config->log_retention_hours;
    const char *unit = in_ms ? "ms" : in_minutes ? "minutes" : "hours";
    return retention != 0 ? OK
                          : refuse(reason, CONFIG_REASON_BYTES,
                                   "option log.retention.%s: 0 is not allowed; it must be -1 or "
                                   "at least 1",
                                   unit);
}

/* A number must be a generated one's, or below those; KRaft generates none. */
static err check_broker_id(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    if (config->broker_id != config->node_id) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "option node.id: %d is not broker.id (%d); they must be the same, or one of "
                      "them removed",
                      config->node_id, config->broker_id);
    }
    if (config->broker_id > config->reserved_broker_max_id && config->broker_id_generation_enable &&
        !is_given(config->process_roles)) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "option broker.id: %d must not be above reserved.broker.max.id (%d); raise "
                      "that, or set broker.id.generation.enable=false",
                      config->broker_id, config->reserved_broker_max_id);
    }
    return OK;
}

static bool has_role(const struct config *config, const char *role)
{
    const char *found = strstr(config->process_roles, role);
    return found != NULL;
}

/* One that names several nodes is of a cluster. */
static err check_one_node(const struct config *config, const char *name,
                          char reason[CONFIG_REASON_BYTES])
{
    const char *value = properties_get(&config->properties, name);
    const char *comma = value == NULL ? NULL : strchr(value, ',');
    return comma == NULL || comma[1 + strspn(comma + 1, ", ")] == '\0'
               ? OK
               : refuse(reason, CONFIG_REASON_BYTES,
                        "option %s: it names several nodes, and a cluster of several is not "
                        "built; name this one alone",
                        name);
}

/* A file made for KRaft is that of one node that does everything. */
static err check_kraft(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    if (!is_given(config->process_roles)) {
        return OK;
    }
    if (config_uses_zookeeper(config)) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "option process.roles: with it Kafka runs KRaft and does not use "
                      "zookeeper.connect; remove one of the two");
    }
    if (!has_role(config, "broker") || !has_role(config, "controller")) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "option process.roles: \"%s\" is a node of a cluster of several, which is "
                      "not built; it must be broker,controller",
                      config->process_roles);
    }
    TRY(check_one_node(config, "controller.quorum.voters", reason));
    return check_one_node(config, "controller.quorum.bootstrap.servers", reason);
}

/* Nothing is guessed about who may do what. */
static err check_authorizer(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    struct str part;
    if (is_given(config->authorizer_class_name) &&
        strcmp(config->authorizer_class_name, AUTHORIZER_CLASS) != 0) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "option authorizer.class.name: \"%.200s\" cannot be asked, and everybody "
                      "could do everything; it must be " AUTHORIZER_CLASS " or empty",
                      config->authorizer_class_name);
    }
    if (!authorizer_super_users_valid(config->super_users, &part)) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "option super.users: \"%.*s\" is not allowed; it must be a list like "
                      "User:alice;User:bob, with no empty part",
                      (int)(part.len < 200 ? part.len : 200), part.data);
    }
    return OK;
}

/* A connection lives at least as long as the refusal of its client is held back. */
static err check_connections(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    const struct option *delay = config_option("connection.failed.authentication.delay.ms");
    int64_t delay_ms = strtoll(config_text(config, delay), NULL, 10);
    if (config->connections_max_idle_ms >= 0 && config->connections_max_idle_ms <= delay_ms) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "option connections.max.idle.ms: %lld must be below 0 or above "
                      "connection.failed.authentication.delay.ms (%lld)",
                      (long long)config->connections_max_idle_ms, (long long)delay_ms);
    }
    if (config->max_connections_per_ip == 0 &&
        !is_given(config->max_connections_per_ip_overrides)) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "option max.connections.per.ip: 0 is only allowed with "
                      "max.connections.per.ip.overrides: nobody could connect");
    }
    if (config->queued_max_request_bytes > 0 &&
        config->queued_max_request_bytes < config->socket_request_max_bytes) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "option queued.max.request.bytes: %lld must be -1 or at least "
                      "socket.request.max.bytes (%d)",
                      (long long)config->queued_max_request_bytes,
                      config->socket_request_max_bytes);
    }
    return OK;
}

bool config_cleaner_fits(const struct config *config)
{
    return config->log_cleaner_dedupe_buffer_size / config->log_cleaner_threads >
           CLEANER_THREAD_BYTES_MIN;
}

static err check_cleaner(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    return config_cleaner_fits(config)
               ? OK
               : refuse(reason, CONFIG_REASON_BYTES,
                        "option log.cleaner.dedupe.buffer.size: %lld is too little; each of %d "
                        "log.cleaner.threads must get more than %d",
                        (long long)config->log_cleaner_dedupe_buffer_size,
                        config->log_cleaner_threads, CLEANER_THREAD_BYTES_MIN);
}

static void warn_of_session_timeouts(const struct config *config)
{
    if (config->group_min_session_timeout_ms > config->group_max_session_timeout_ms) {
        log_warn("config",
                 "no member can join a group: group.min.session.timeout.ms is above "
                 "group.max.session.timeout.ms min=%d max=%d",
                 config->group_min_session_timeout_ms, config->group_max_session_timeout_ms);
    }
}

static err check_cluster_id(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    const char *id = config->ottla_cluster_id;
    return id == NULL || strlen(id) < CLUSTER_ID_BYTES_MAX
               ? OK
               : refuse(reason, CONFIG_REASON_BYTES,
                        "option ottla.cluster.id: \"%.80s\" is too long; it must be at most %d "
                        "bytes",
                        id, CLUSTER_ID_BYTES_MAX - 1);
}

err config_check_together(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    TRY(check_broker_id(config, reason));
    TRY(check_cluster_id(config, reason));
    TRY(check_kraft(config, reason));
    TRY(check_connections(config, reason));
    TRY(check_authorizer(config, reason));
    TRY(check_cleaner(config, reason));
    warn_of_session_timeouts(config);
    return check_retention(config, reason);
}

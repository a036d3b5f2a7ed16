/* The broker's configuration: server.properties with Kafka's names, meanings and defaults.
 *
 * Read once at the start; a value that is wrong stops it with one line that names the option, the
 * value and what is allowed. config.def is the list of options, passed_options.def that of those which
 * Kafka has and this broker knows and does not follow.
 *
 * Over these static values lie two layers of dynamic ones, of this broker and of the cluster, for
 * the options that permit it (cluster/broker_configs.h). Options that are READ_ONLY never change
 * after config_finish: any thread may read their fields. The others, the layers and all functions
 * that take their text belong to the control thread once the broker runs. */
#ifndef OTTLA_BROKER_CONFIG_H
#define OTTLA_BROKER_CONFIG_H

#include "base/bytes.h"
#include "base/properties.h"
#include "storage/log_config.h"

#include <stdbool.h>
#include <stdint.h>

enum option_type {
    OPTION_BOOL,
    OPTION_SHORT,
    OPTION_INT,
    OPTION_LONG,
    OPTION_DOUBLE,
    OPTION_STRING,
    OPTION_LIST,
    OPTION_PASSWORD,
    OPTION_CLASS,
};

enum option_dynamic {
    READ_ONLY,
    PER_BROKER,
    CLUSTER_WIDE,
    ONLY_DYNAMIC, /* the same, and unknown in server.properties; not shown until it is set */
};

/* What becomes of a value that is not the default: passed_options.def says more. */
enum option_fate {
    FATE_IN_FORCE,
    FATE_PASSED,
    FATE_UNUSED,
    FATE_REFUSED,
    FATE_REFUSED_WITH_ZOOKEEPER,
};

#define CONFIG_C_BOOL     bool
#define CONFIG_C_SHORT    int16_t
#define CONFIG_C_INT      int32_t
#define CONFIG_C_LONG     int64_t
#define CONFIG_C_DOUBLE   double
#define CONFIG_C_STRING   const char *
#define CONFIG_C_LIST     const char *
#define CONFIG_C_PASSWORD const char *
#define CONFIG_C_CLASS    const char *

/* The value of a number that is null. */
#define CONFIG_NULL_INT  INT32_MIN
#define CONFIG_NULL_LONG INT64_MIN

/* Where a value comes from, as on the wire. Of a broker's, the smaller one wins. */
enum config_source {
    CONFIG_SOURCE_TOPIC = 1,
    CONFIG_SOURCE_DYNAMIC_BROKER = 2,
    CONFIG_SOURCE_DYNAMIC_DEFAULT = 3, /* of all brokers */
    CONFIG_SOURCE_STATIC_BROKER = 4,
    CONFIG_SOURCE_DEFAULT = 5,
    CONFIG_SOURCE_LOGGER = 6, /* the level of a logger, which is no option */
};

/* One field for each option; text is owned by the three layers or static, NULL for null. */
struct config {
    struct properties properties; /* what was set, defaults not among it */
    struct properties dynamic;    /* of this broker */
    struct properties dynamic_default;
#define OPTION(type, field, name, default_, range, dynamic, doc) CONFIG_C_##type field;
#include "broker/config.def"
#undef OPTION
};

struct option {
    const char *name;
    enum option_type type;
    const char *default_text; /* NULL: null */
    const char *range;
    enum option_dynamic dynamic;
    const char *doc; /* of one that is not in force: what is lost, or why it is refused */
    enum option_fate fate;
    size_t field_offset; /* of one that is in force */
};

/* All options, in the order of config.def, then passed_options.def. */
const struct option *config_options(size_t *count);
const struct option *config_option(const char *name);
/* The value in force as text: NULL for null. */
const char *config_text(const struct config *config, const struct option *option);
enum config_source config_source(const struct config *config, const struct option *option);
/* What one source says; NULL if nothing. */
const char *config_text_from(const struct config *config, const struct option *option,
                             enum config_source source);
/* Is there a value other than the default? */
bool config_is_set(const struct config *config, const struct option *option);

enum { CONFIG_REASON_BYTES = 512 };

void config_init(struct config *config);
void config_deinit(struct config *config);
NODISCARD err config_read_file(struct config *config, const char *path,
                               char reason[CONFIG_REASON_BYTES]);
/* KAFKA_…, KAFKA_CFG_… and CLUSTER_ID, as Kafka's images map them. */
void config_read_environment(struct config *config, char *const *environment);
NODISCARD err config_override(struct config *config, const char *name_and_value,
                              char reason[CONFIG_REASON_BYTES]);
/* For a broker that was given no file, after all else was read: what nobody has set is as in the
 * server.properties that Kafka ships, but ./data and no ZooKeeper. */
void config_use_shipped_defaults(struct config *config);
/* Fills the fields and checks them, each by itself and together. Unknown names warn once. */
NODISCARD err config_finish(struct config *config, char reason[CONFIG_REASON_BYTES]);

/* What holds for one listener: of the values that are set for
 *   listener.name.<listener>.<mechanism>.<option>     (`mechanism` not NULL)
 *   listener.name.<listener>.<option>
 *   <option>
 * the first, dynamic before static in each row; at last the default, or NULL. Names of listeners and mechanisms count
 * without case. (reference: security §1) */
const char *config_listener_text(const struct config *config, const char *listener,
                                 const char *mechanism, const char *option);
/* The option that "listener.name.<listener>.<option>" means; NULL: it is no such name, or there is no such listener. */
const struct option *config_listener_option(const struct config *config, const char *name);
/* What is set for the listener itself, dynamic before static, or `otherwise`. */
const char *config_listener_own_text(const struct config *config, const char *listener,
                                     const char *option, const char *otherwise);
/* listener.name.<listener>.<option> of a limit whose general option is for all listeners together; INT32_MAX where it
 * is not set. */
int32_t config_listener_limit(const struct config *config, const char *listener,
                              const char *option);

/* May the option have this value in a dynamic layer (`source` is one of the two)? E_CONFIG with the reason,
 * without the value. */
NODISCARD err config_check_dynamic(const struct option *option, enum config_source source,
                                   const char *value, char reason[CONFIG_REASON_BYTES]);
/* Sets the value of a dynamic layer (`source` is one of the two), or removes it (NULL), and the field
 * after it. E_CONFIG, with nothing changed and the reason without the value, if the option or the
 * layer does not permit it, or the value is not allowed. */
NODISCARD err config_set_dynamic(struct config *config, const struct option *option,
                                 enum config_source source, const char *value,
                                 char reason[CONFIG_REASON_BYTES]);

/* The value that server.properties and its like give, which was checked with all the others, becomes `value` (NULL: the
 * default) while the broker runs. */
void config_set_static(struct config *config, const struct option *option, const char *value);

/* Does each of log.cleaner.threads get more than the least of log.cleaner.dedupe.buffer.size? */
bool config_cleaner_fits(const struct config *config);

/* The manual: every option, its type, default, range and meaning, as Markdown on stdout. */
void config_print_manual(void);

/* ---- topics ---- */

struct topic_option {
    const char *name;
    enum option_type type;
    const char *range;
    const char *broker_option; /* where the default comes from; NULL: `fixed_default` */
    const char *fixed_default;
    const char *lost; /* what a topic that sets it does not get; NULL: it is in force */
    const char *doc;
};

const struct topic_option *topic_options(size_t *count);
const struct topic_option *topic_option(struct str name);
/* Is the value allowed? `reason` says what is. */
NODISCARD err topic_option_check(const struct topic_option *option, const char *value,
                                 char reason[CONFIG_REASON_BYTES]);
/* Do the overrides of a topic, each of them valid, go together over the broker's values? INVALID_CONFIG
 * with the reason. */
NODISCARD err topic_overrides_check(const struct config *config, const struct properties *overrides,
                                    char reason[CONFIG_REASON_BYTES]);
/* The source of a topic option that has no override. That log.retention.ms is derived from
 * log.retention.hours does not count, as in Kafka: it is a default then. */
int8_t topic_option_source(const struct config *config, const struct topic_option *option);
/* The effective text of a topic option without an override. NULL for none. */
const char *topic_option_default(const struct config *config, const struct topic_option *option);
/* The options with overrides applied over the broker's values; overrides are valid. */
struct log_config topic_log_config(const struct config *config, const struct properties *overrides);

/* Are consumers sent to a replica in their own rack? */
static inline bool config_selects_by_rack(const struct config *config)
{
    const char *class = config->replica_selector_class;
    return class != NULL &&
           strcmp(class, "org.apache.kafka.common.replica.RackAwareReplicaSelector") == 0;
}

/* Coordinated by ZooKeeper, or alone? */
static inline bool config_uses_zookeeper(const struct config *config)
{
    return config->zookeeper_connect != NULL && *config->zookeeper_connect != '\0';
}

#endif

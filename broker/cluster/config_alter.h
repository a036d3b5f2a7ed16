/* Changes of topics' and brokers' options: written as Kafka writes them (the node, then a notification below
 * /config/changes), and applied by every broker when it sees the notification (config_changes.h).
 *
 * Thread: the control thread. (reference: zookeeper §1, §2) */
#ifndef OTTLA_BROKER_CLUSTER_CONFIG_ALTER_H
#define OTTLA_BROKER_CLUSTER_CONFIG_ALTER_H

#include "broker/cluster/controller.h"
#include "broker/cluster/metadata.h"
#include "broker/cluster/topic_configs.h"

/* Types of resources, as on the wire. */
enum config_resource {
    RESOURCE_TOPIC = 2,
    RESOURCE_BROKER = 4,
    RESOURCE_LOGGER = 8,
    RESOURCE_CLIENT_METRICS = 16,
};

/* What they are changed with. */
struct config_editor {
    int32_t broker_id; /* whose loggers can be altered */
    struct coord *coord;
    const struct config *config;
    struct topic_configs *topic_configs;
    struct metadata_cache *metadata;
    struct controller *controller; /* writes for us while it is in office */
    /* Could listeners' TLS be made if this was all that the broker's own node said of them? INVALID_REQUEST with
     * words. NULL: no listener has TLS. */
    err (*check_tls)(void *context, const struct properties *listener_options,
                     char message[CONFIG_REASON_BYTES]);
    void *tls_context;
};

/* One operation on one option; values of IncrementalAlterConfigs. */
enum config_operation { CONFIG_SET, CONFIG_DELETE, CONFIG_APPEND, CONFIG_SUBTRACT };
struct config_edit {
    struct str name;
    struct str value; /* may be null with CONFIG_DELETE */
    int8_t operation;
};

/* What one resource of a request asks for. `resource_type` as on the wire. */
struct config_change {
    int8_t resource_type;
    struct str name;
    const struct config_edit *edits;
    int32_t edits_n;
    bool replace_all; /* AlterConfigs: what is not named goes back to its default */
    bool validate_only;
};

/* Checks and writes; sets levels of loggers (loggers.h). Of brokers' options those that take effect while
 * they run (broker_config_alter.h). INVALID_CONFIG, INVALID_REQUEST, UNKNOWN_TOPIC_OR_PARTITION, with words. */
NODISCARD err config_alter(const struct config_editor *editor, const struct config_change *change,
                           char message[CONFIG_REASON_BYTES]);

#endif

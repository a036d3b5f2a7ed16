/* Changes of topics' configurations: written as Kafka writes them (the node, then a notification
 * below /config/changes), and applied when the notification is seen, by every broker alike.
 *
 * Thread: the control thread. (reference: zookeeper §1, §2) */
#ifndef OTTLA_BROKER_CLUSTER_CONFIG_CHANGES_H
#define OTTLA_BROKER_CLUSTER_CONFIG_CHANGES_H

#include "base/properties.h"
#include "broker/config.h"
#include "zk/znodes.h"

struct broker;

/* Watches from here on; what was notified before is known already. */
NODISCARD err config_changes_begin(struct broker *broker);
/* The list of notifications has changed, or may have: applies the new ones, deletes old ones, and
 * watches on. After an error it does not watch. */
NODISCARD err config_changes_on_watch(struct broker *broker);

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

/* Checks and writes, for topics; options of brokers are not dynamic. INVALID_CONFIG,
 * INVALID_REQUEST, UNKNOWN_TOPIC_OR_PARTITION, with words. */
NODISCARD err config_alter(struct broker *broker, const struct config_change *change,
                           char message[CONFIG_REASON_BYTES]);

#endif

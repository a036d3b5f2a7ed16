/* Quotas as the coordination store keeps them: read out of an entity's node, and altered there (KIP-546).
 *
 * Thread: the control thread. (reference: zookeeper §1, requests §7.3) */
#ifndef OTTLA_BROKER_CLUSTER_CLIENT_QUOTAS_H
#define OTTLA_BROKER_CLUSTER_CLIENT_QUOTAS_H

#include "broker/cluster/client_configs.h"
#include "broker/security/quotas.h"

/* The limits in a node; what is no number is no limit. */
struct quota_limits client_quotas_read(const struct znode_config *config);

/* "user", "client-id" or "ip" of an entity, as on the wire; a null name is the default. */
struct quota_entity_part {
    struct str type;
    struct str name;
};
struct quota_edit {
    struct str key;
    double value;
    bool remove;
};
struct quota_alteration {
    const struct quota_entity_part *parts;
    int32_t parts_n;
    const struct quota_edit *edits;
    int32_t edits_n;
    bool validate_only;
};
/* Checks, and unless validate_only writes. INVALID_REQUEST with words; errors of the store. */
NODISCARD err client_quotas_alter(const struct config_editor *editor,
                                  const struct quota_alteration *alteration,
                                  char message[CONFIG_REASON_BYTES]);

#endif

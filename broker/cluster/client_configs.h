/* What the coordination store keeps of users, clients and addresses: quotas of all of them, SCRAM credentials
 * of users. Read at the start and at each notification (config_changes.h), told to who uses it; written by
 * one function, since both kinds share the nodes.
 *
 * Thread: the control thread. (reference: zookeeper §1, security §3, §5) */
#ifndef OTTLA_BROKER_CLUSTER_CLIENT_CONFIGS_H
#define OTTLA_BROKER_CLUSTER_CLIENT_CONFIGS_H

#include "broker/security/client_entity.h"
#include "broker/cluster/config_alter.h"
#include "zk/coord.h"
#include "zk/znodes.h"

/* Who is told. All pointers are gone when it returns. */
struct client_configs_sink {
    /* What the entity's node says now; no entries: nothing, or it is gone. */
    void (*changed)(void *context, const struct client_entity *entity,
                    const struct znode_config *config);
    void *context;
};

/* Tells of every entity. A node that cannot be read is logged, and left out. Errors of the store. */
NODISCARD err client_configs_load(struct coord *coord, const struct client_configs_sink *sink);
/* The same after a time in which changes may have passed untold: of those that are known, paths below /config, and have no
 * node any more, it tells that they are gone. */
NODISCARD err client_configs_load_again(struct coord *coord, const struct client_configs_sink *sink,
                                        const char *const *known, size_t known_n);
/* A notification names the entity, as a path below /config. */
NODISCARD err client_configs_changed(struct coord *coord, const struct client_configs_sink *sink,
                                     struct str path);

/* Reads what the entity's node says. No node: no entries, version -1. In the arena. E_MALFORMED, or an error of the store. */
NODISCARD err client_config_read(struct coord *coord, struct arena *arena,
                                 const struct client_entity *entity, struct znode_config *config,
                                 int32_t *version);

/* One change of an entity. */
struct client_config_edit {
    struct str name;
    struct str value; /* null: it is removed */
};
/* Carries all of them out, and notifies; nothing changes with none. Nodes that say nothing are removed, with
 * those above them. The same again while others write meanwhile. Errors of the store, E_MALFORMED. */
NODISCARD err client_config_alter(const struct config_editor *editor,
                                  const struct client_entity *entity,
                                  const struct client_config_edit *edits, int32_t edits_n);

#endif

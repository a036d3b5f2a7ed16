/* What changes of topics' options and of brokers' have in common: operations on a set of overrides, and how
 * it is written: the node, and a notification of it below /config/changes, as one transaction.
 *
 * Thread: the control thread. (reference: zookeeper §1, §2) */
#ifndef OTTLA_BROKER_CLUSTER_CONFIG_EDIT_H
#define OTTLA_BROKER_CLUSTER_CONFIG_EDIT_H

#include "broker/cluster/config_alter.h"

/* Sets, deletes, appends to or subtracts from one override; the value is not checked. For a list that has
 * none, `inherited` is what it is without (NULL: empty). INVALID_CONFIG with words where it must be a list, and
 * `is_list` is false. */
NODISCARD err config_edit_apply(struct properties *overrides, const struct config_edit *edit,
                                bool is_list, const char *inherited,
                                char message[CONFIG_REASON_BYTES]);

/* Whose overrides: `type` "topics" or "brokers", and where they are. */
struct config_entity {
    struct str type;
    struct str name;
    const char *path;
    int32_t version; /* of the node that was read; -1: there was none */
};
/* E_VERSION, E_EXISTS or E_NOT_FOUND: another has written it since; errors of the store. */
NODISCARD err config_edit_write(const struct config_editor *editor, struct arena *arena,
                                const struct config_entity *entity,
                                const struct properties *overrides);

/* The same again while others write meanwhile; and how a client is told of what the store says. */
NODISCARD err config_edit_persist(const struct config_editor *editor,
                                  const struct config_change *change,
                                  err (*once)(const struct config_editor *editor,
                                              const struct config_change *change,
                                              char message[CONFIG_REASON_BYTES]),
                                  char message[CONFIG_REASON_BYTES]);

#endif

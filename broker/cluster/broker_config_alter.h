/* Changes of brokers' options, of one or of all: /config/brokers, which broker_configs.h reads. Kafka's rules
 * and words, but what would take effect at the next start only is refused, and so is the throttle of moves
 * between directories, which are not built. (reference: requests §7.2)
 *
 * Thread: the control thread. */
#ifndef OTTLA_BROKER_CLUSTER_BROKER_CONFIG_ALTER_H
#define OTTLA_BROKER_CLUSTER_BROKER_CONFIG_ALTER_H

#include "broker/cluster/config_alter.h"

/* INVALID_REQUEST, INVALID_CONFIG, with words. */
NODISCARD err broker_config_alter(const struct config_editor *editor,
                                  const struct config_change *change,
                                  char message[CONFIG_REASON_BYTES]);

#endif

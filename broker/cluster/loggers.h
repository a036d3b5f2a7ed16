/* The broker's loggers as resources of the configs APIs (KIP-412): `root`, and the areas of the log
 * (base/log_areas.def), which have root's level unless they are given their own. A level is set until the
 * next start, as in Kafka.
 *
 * Any thread. */
#ifndef OTTLA_BROKER_CLUSTER_LOGGERS_H
#define OTTLA_BROKER_CLUSTER_LOGGERS_H

#include "base/log.h"
#include "broker/cluster/config_alter.h"

#define LOGGER_ROOT "root"

/* The loggers by number: root first, then the areas, then the names under which Kafka's users know some of
 * them (kafka.controller). */
int loggers_count(void);
const char *logger_name(int logger);
enum log_level logger_level(int logger);

/* Are they this broker's? INVALID_REQUEST, with words. */
NODISCARD err logger_check_broker(int32_t broker_id, struct str name,
                                  char message[CONFIG_REASON_BYTES]);
/* IncrementalAlterConfigs: all edits are checked before the first is made. INVALID_REQUEST,
 * INVALID_CONFIG, with words. */
NODISCARD err logger_alter(int32_t broker_id, const struct config_change *change,
                           char message[CONFIG_REASON_BYTES]);

#endif

/* Overrides of topics' options, as they are in /config/topics/T. Control thread only. */
#ifndef OTTLA_BROKER_CLUSTER_TOPIC_CONFIGS_H
#define OTTLA_BROKER_CLUSTER_TOPIC_CONFIGS_H

#include "broker/config.h"
#include "zk/coord.h"

struct topic_configs;

struct topic_configs *topic_configs_new(const struct config *config);
/* The store to read from; before this nothing may be looked up. */
void topic_configs_use(struct topic_configs *configs, struct coord *coord);
void topic_configs_free(struct topic_configs *configs);
/* Reads all of them, at the start. */
NODISCARD err topic_configs_load(struct topic_configs *configs);
/* The overrides of a topic; read from the store when not known. Never NULL; valid until the next
 * call with another topic's change. */
const struct properties *topic_configs_get(struct topic_configs *configs, struct str topic);
void topic_configs_forget(struct topic_configs *configs, struct str topic);
/* For logs: the effective configuration. `configs` as void *. */
struct log_config topic_configs_log_config(void *configs, struct str topic);

#endif

/* Overrides of topics' options, as they are in /config/topics/T. Control thread only.
 *
 * What is kept here was really read: an error of the store, or a node that cannot be read, is never
 * taken for "no overrides", since records would be deleted by it. */
#ifndef OTTLA_BROKER_CLUSTER_TOPIC_CONFIGS_H
#define OTTLA_BROKER_CLUSTER_TOPIC_CONFIGS_H

#include "broker/config.h"
#include "zk/coord.h"

struct topic_configs;

struct topic_configs *topic_configs_new(const struct config *config);
/* The store to read from; before this nothing may be looked up. */
void topic_configs_use(struct topic_configs *configs, struct coord *coord);
void topic_configs_free(struct topic_configs *configs);
/* Reads all of them anew. What cannot be read stays as it was known. Errors of the store. */
NODISCARD err topic_configs_load(struct topic_configs *configs);

/* The overrides of a topic, read from the store when not known; no node means none. They are valid
 * until the next call that changes them. E_MALFORMED when the node cannot be read and never could,
 * or an error of the store. */
NODISCARD err topic_configs_get(struct topic_configs *configs, struct str topic,
                                const struct properties **overrides);
/* Reads one anew. `version` (may be NULL) is the node's, or -1 when there is none. E_MALFORMED when
 * it cannot be read, which leaves what was known; or an error of the store. */
NODISCARD err topic_configs_refresh(struct topic_configs *configs, struct str topic,
                                    int32_t *version);
/* The topic is gone. */
void topic_configs_forget(struct topic_configs *configs, struct str topic);
/* For logs: the effective configuration. Where the overrides cannot be known, nothing is deleted by
 * retention. `configs` as void *. */
struct log_config topic_configs_log_config(void *configs, struct str topic);

#endif

/* Options of brokers that are kept in the coordination store: /config/brokers/<default> for all of
 * them, /config/brokers/N for one, which wins; both win over server.properties (config.h). Written
 * by kafka-configs, while no broker runs or through a broker that can. (reference: zookeeper §1,
 * requests §7.2)
 *
 * Thread: the control thread; at the start the one that starts. */
#ifndef OTTLA_BROKER_CLUSTER_BROKER_CONFIGS_H
#define OTTLA_BROKER_CLUSTER_BROKER_CONFIGS_H

#include "broker/cluster/topic_configs.h"
#include "zk/coord.h"
#include "zk/znodes.h"

#define BROKER_CONFIGS_OF_ALL "<default>" /* as an entity: all brokers */

/* What changes of them take effect on, while a broker runs. */
struct broker_configs {
    int32_t broker_id;
    struct config *config;
    struct coord *coord;
    struct topic_configs *topic_configs;
    /* An option that takes effect has changed; what topics inherit is published. */
    void (*changed)(void *context);
    void *context;
};

/* Reads both nodes and sets what they say, before anything has used the options. What is unknown,
 * not dynamic, not allowed or not readable is ignored with a warning each, as Kafka does it. Returns
 * errors of the store only. */
NODISCARD err broker_configs_load(struct config *config, struct coord *coord, int32_t broker_id);

/* Takes effect on a running broker? */
bool broker_option_is_live(const struct option *option);

/* An entity's node, and what it says; `version` -1: it is not there. In the arena. E_MALFORMED, or an error
 * of the store. */
struct str broker_config_path(struct arena *arena, const char *entity);
NODISCARD err broker_configs_read(struct coord *coord, const char *entity, struct arena *arena,
                                  struct znode_config *node, int32_t *version);

/* What server.properties and its like say by now, checked as a whole, over what they said: an option that is live
 * changes, with topics that inherit it, and of any other one line says that it waits for the next start. */
void broker_configs_reload(const struct broker_configs *configs, const struct config *fresh);

/* A notification names "brokers/<entity>". If that is this broker or <default>, its node is read
 * again: what topics inherit takes effect on every log at once, the rest at the next start. Errors
 * of the store. */
NODISCARD err broker_configs_changed(const struct broker_configs *configs, struct str entity);

#endif

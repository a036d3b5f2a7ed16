/* Overrides of topics' options, as they are in /config/topics/T, and what logs are configured with for
 * them.
 *
 * What is kept here was really read: an error of the store, or a node that cannot be read, is never
 * taken for "no overrides", since records would be deleted by it.
 *
 * Thread: the control thread, which may ask the store; but what is in force is published, and any
 * thread may look at it, since logs are made by a thread that must not wait for the store. */
#ifndef OTTLA_BROKER_CLUSTER_TOPIC_CONFIGS_H
#define OTTLA_BROKER_CLUSTER_TOPIC_CONFIGS_H

#include "broker/config.h"
#include "broker/replica/throttle.h"
#include "storage/plog.h"
#include "zk/coord.h"

struct topic_configs;

struct topic_configs *topic_configs_new(const struct config *config);
/* The store to read from, and who this broker is; before this nothing may be looked up. */
void topic_configs_use(struct topic_configs *configs, struct coord *coord, int32_t broker_id);
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
/* Reads those of the topics that are not known, all in one go. Errors of the store; a node that cannot
 * be read is logged. */
NODISCARD err topic_configs_read(struct topic_configs *configs, const struct str *topics,
                                 size_t count);
/* A new topic was written with these: they need not be read. */
void topic_configs_written(struct topic_configs *configs, struct str topic,
                           const struct properties *overrides);
/* The topic is gone. */
void topic_configs_forget(struct topic_configs *configs, struct str topic);
/* The broker's own options have changed: publishes anew what follows from them. */
void topic_configs_republish(struct topic_configs *configs);

/* Any thread: what is in force for logs of the topic. False: its overrides are not known, then `config`
 * deletes nothing by retention, and acknowledges only what all replicas have on their disks: the overrides
 * may ask for that. `configs` as void *. */
bool topic_configs_in_force(void *configs, struct str topic, struct log_config *config);
/* Any thread: is this broker's replica throttled, as a leader and as a follower? */
struct replica_throttled topic_configs_throttled(void *configs, struct topic_partition name);
/* Any thread: the topic is gone, and one that is made under its name has other options.
 * topic_configs_forget comes later. */
void topic_configs_withdraw(struct topic_configs *configs, struct str topic);

#endif

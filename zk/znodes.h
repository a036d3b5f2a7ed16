/* Kafka's znodes: paths, and their JSON as structs (reference: zookeeper §1).
 *
 * Encoding returns text in the arena; decoding reads what any Kafka version wrote, ignores members
 * it does not know, and answers E_MALFORMED for what is not such a node. All memory is the arena's.
 */
#ifndef OTTLA_ZK_ZNODES_H
#define OTTLA_ZK_ZNODES_H

#include "base/arena.h"
#include "base/err.h"

#define ZNODE_BROKER_IDS           "/brokers/ids"
#define ZNODE_TOPICS               "/brokers/topics"
#define ZNODE_SEQID                "/brokers/seqid"
#define ZNODE_CLUSTER_ID           "/cluster/id"
#define ZNODE_CONTROLLER           "/controller"
#define ZNODE_CONTROLLER_EPOCH     "/controller_epoch"
#define ZNODE_CONFIG_TOPICS        "/config/topics"
#define ZNODE_CONFIG_CHANGES       "/config/changes"
#define ZNODE_CONFIG_CHANGE_PREFIX "config_change_" /* of its children */
#define ZNODE_DELETE_TOPICS        "/admin/delete_topics"
#define ZNODE_PRODUCER_IDS         "/latest_producer_id_block"
#define ZNODE_FEATURE              "/feature"
#define ZNODE_ISR_CHANGES          "/isr_change_notification"
#define ZNODE_LOG_DIR_EVENTS       "/log_dir_event_notification"
#define ZNODE_PREFERRED_ELECTION   "/admin/preferred_replica_election"
#define ZNODE_REASSIGNMENTS        "/admin/reassign_partitions"

/* What must be there before a broker registers; parents first. */
extern const char *const ZNODE_PERSISTENT[];
extern const size_t ZNODE_PERSISTENT_N;

const char *znode_broker_path(struct arena *arena, int32_t broker_id);
/* The number of a child of /brokers/ids, or -1 if it is none. */
int32_t znode_broker_id(const char *name);
const char *znode_topic_path(struct arena *arena, struct str topic);
const char *znode_partitions_path(struct arena *arena, struct str topic);
const char *znode_partition_path(struct arena *arena, struct str topic, int32_t partition);
const char *znode_state_path(struct arena *arena, struct str topic, int32_t partition);
const char *znode_topic_config_path(struct arena *arena, struct str topic);
const char *znode_delete_topic_path(struct arena *arena, struct str topic);

struct id_list {
    int32_t *ids;
    int32_t count;
};

struct znode_endpoint {
    struct str listener;
    struct str host;
    int32_t port;
    struct str security_protocol; /* "PLAINTEXT" */
};

/* /brokers/ids/N, version 5. */
struct znode_broker {
    struct znode_endpoint *endpoints;
    int32_t endpoints_n;
    struct str rack; /* null: none */
    int64_t timestamp_ms;
};
struct bytes znode_broker_encode(struct arena *arena, const struct znode_broker *broker);
NODISCARD err znode_broker_decode(struct arena *arena, struct bytes json,
                                  struct znode_broker *broker);

/* /brokers/topics/T, version 3. */
struct znode_topic {
    struct uuid id;             /* zero: the node has none (written before Kafka 2.8) */
    struct id_list *partitions; /* replicas, by partition number */
    struct id_list *adding;     /* by partition number; count 0: none */
    struct id_list *removing;
    int32_t partitions_n;
};
struct bytes znode_topic_encode(struct arena *arena, const struct znode_topic *topic);
NODISCARD err znode_topic_decode(struct arena *arena, struct bytes json, struct znode_topic *topic);

/* …/state */
struct znode_state {
    int32_t leader;
    int32_t leader_epoch;
    int32_t controller_epoch;
    struct id_list isr;
    int8_t leader_recovery_state;
};
struct bytes znode_state_encode(struct arena *arena, const struct znode_state *state);
NODISCARD err znode_state_decode(struct arena *arena, struct bytes json, struct znode_state *state);

/* /config/<type>/<name>: names and values, in file order. */
struct znode_config_entry {
    struct str name;
    struct str value;
};
struct znode_config {
    struct znode_config_entry *entries;
    int32_t entries_n;
};
struct bytes znode_config_encode(struct arena *arena, const struct znode_config *config);
NODISCARD err znode_config_decode(struct arena *arena, struct bytes json,
                                  struct znode_config *config);

/* /config/changes/config_change_N: which entity changed, as a path below /config ("topics/t"). Both
 * versions of Kafka's are read. */
struct bytes znode_entity_change_encode(struct arena *arena, struct str entity);
struct bytes znode_config_change_encode(struct arena *arena, struct str type, struct str name);
NODISCARD err znode_config_change_decode(struct arena *arena, struct bytes json,
                                         struct str *entity);

/* /cluster/id */
struct bytes znode_cluster_id_encode(struct arena *arena, struct str id);
NODISCARD err znode_cluster_id_decode(struct arena *arena, struct bytes json, struct str *id);

/* /controller */
struct bytes znode_controller_encode(struct arena *arena, int32_t broker_id, int64_t timestamp_ms);
NODISCARD err znode_controller_decode(struct arena *arena, struct bytes json, int32_t *broker_id);

/* /latest_producer_id_block: inclusive bounds. */
struct znode_producer_ids {
    int32_t broker_id;
    int64_t first;
    int64_t last;
};
struct bytes znode_producer_ids_encode(struct arena *arena, const struct znode_producer_ids *block);
NODISCARD err znode_producer_ids_decode(struct arena *arena, struct bytes json,
                                        struct znode_producer_ids *block);

/* /admin/preferred_replica_election: topics and partitions, side by side. */
struct znode_partitions {
    struct str *topics;
    int32_t *partitions;
    int32_t count;
};
NODISCARD err znode_partitions_decode(struct arena *arena, struct bytes json,
                                      struct znode_partitions *list);

/* /admin/reassign_partitions */
struct znode_reassignment {
    struct str topic;
    int32_t partition;
    struct id_list replicas;
};
struct znode_reassignments {
    struct znode_reassignment *all;
    int32_t count;
};
struct bytes znode_reassignments_encode(struct arena *arena,
                                        const struct znode_reassignments *list);
NODISCARD err znode_reassignments_decode(struct arena *arena, struct bytes json,
                                         struct znode_reassignments *list);

/* /log_dir_event_notification/log_dir_event_N: a directory of this broker has failed. */
struct bytes znode_log_dir_event_encode(struct arena *arena, int32_t broker_id);
NODISCARD err znode_log_dir_event_decode(struct bytes json, int32_t *broker_id);

/* /feature, with no features: in version 1, which brokers before 3.3 read, or 2. */
struct bytes znode_feature_encode(struct arena *arena, int version);

/* A decimal number as bytes, and back: only as it is written, no blanks, no zeros in front. */
struct bytes znode_number_encode(struct arena *arena, int64_t number);
NODISCARD err znode_number_decode(struct bytes text, int64_t *number);

#endif

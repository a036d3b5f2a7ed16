/* Creating, growing and deleting topics: the znodes that say so. The controller sees them and acts.
 *
 * Thread: the control thread. (reference: requests §6, zookeeper §9) */
#ifndef OTTLA_BROKER_CLUSTER_TOPICS_H
#define OTTLA_BROKER_CLUSTER_TOPICS_H

#include "base/random.h"
#include "broker/cluster/controller.h"
#include "broker/cluster/metadata.h"
#include "broker/cluster/topic_configs.h"
#include "broker/config.h"

enum { TOPIC_MESSAGE_BYTES = 512 };

/* What they are made with. */
struct topics {
    struct coord *coord;
    struct controller *controller; /* writes for us while it is in office */
    struct metadata_cache *metadata;
    struct topic_configs *topic_configs;
    const struct config *config;
    struct random *random; /* of ids, and of where assignments begin */
};

/* Asked before anything is written: may so many partitions be made? Its error is the answer. */
struct mutation_check {
    err (*ask)(void *context, int32_t partitions); /* NULL: they may */
    void *context;
};

/* Replicas that a client chose for a partition. */
struct assigned {
    int32_t partition;
    struct id_list replicas;
};

/* One topic to create. */
struct topic_wish {
    struct str name;
    int32_t partitions_n;              /* -1: the broker's default */
    int16_t replication_factor;        /* -1: the broker's default */
    const struct assigned *assignment; /* in any order, the last of a partition counts */
    int32_t assignment_n;              /* 0: chosen here */
    struct znode_config config;        /* checked here */
    struct mutation_check check;
    bool validate_only;
};

/* What became of it. */
struct topic_made {
    struct uuid id;
    int32_t partitions_n;
    int16_t replication_factor;
    char message[TOPIC_MESSAGE_BYTES]; /* for the client, with an error */
};

/* Checks, and unless validate_only writes. Kafka's code in Kafka's order of checks. */
NODISCARD err topics_create(const struct topics *topics, const struct topic_wish *wish,
                            struct topic_made *made);
/* A topic that a client asked the metadata of, with the broker's defaults; the internal ones with
 * theirs. */
NODISCARD err topics_auto_create(const struct topics *topics, struct str name);

/* Asks for the deletion. TOPIC_DELETION_DISABLED, UNKNOWN_TOPIC_OR_PARTITION. */
NODISCARD err topics_delete(const struct topics *topics, struct str name);

/* More partitions. `assignment` is of the new ones only, or NULL. */
struct partitions_wish {
    struct str name;
    int32_t total;
    struct id_list *assignment;
    int32_t assignment_n; /* -1: none given */
    struct mutation_check check;
    bool validate_only;
};
NODISCARD err topics_add_partitions(const struct topics *topics, const struct partitions_wish *wish,
                                    char message[TOPIC_MESSAGE_BYTES]);

#endif

/* What this broker knows of the cluster: brokers, controller, topics with their partitions'
 * leaders.
 *
 * A snapshot is immutable while anybody has a reference to it. The state thread makes a new one of the old
 * one and an UpdateMetadata message, and publishes it; that is the only way it changes. Any thread
 * takes a reference to the current one. */
#ifndef OTTLA_BROKER_CLUSTER_METADATA_H
#define OTTLA_BROKER_CLUSTER_METADATA_H

#include "base/map.h"
#include "protocol/messages.h"
#include "protocol/topic_name.h"

#include <stdatomic.h>

/* A topic's partitions are an array by number, which nobody may make larger. */
enum { PARTITIONS_PER_TOPIC_MAX = 100000 };

/* Bytes; longer ones are cut. */
enum { ENDPOINT_LISTENER_MAX = 64, ENDPOINT_HOST_MAX = 256 };

struct broker_endpoint {
    char listener[ENDPOINT_LISTENER_MAX];
    char host[ENDPOINT_HOST_MAX];
    int32_t port;
    int16_t security_protocol;
};

struct broker_info {
    int32_t id;
    char *rack; /* NULL: none */
    struct broker_endpoint *endpoints;
    int32_t endpoints_n;
};

struct partition_info {
    int32_t leader; /* -1: none */
    int32_t leader_epoch;
    int32_t partition_epoch;
    int32_t *replicas;
    int32_t replicas_n;
    int32_t *isr;
    int32_t isr_n;
    int32_t *offline;
    int32_t offline_n;
    bool known; /* a hole in the numbering is not */
};

/* Shared by all snapshots in which the topic is the same. */
struct topic_info {
    atomic_int refs;
    struct str name;
    struct uuid id;
    bool internal;
    struct partition_info *partitions; /* by number */
    int32_t partitions_n;
};

struct metadata {
    atomic_int refs;
    int32_t controller_id;
    struct broker_info *brokers; /* ascending by id; shared with no other snapshot */
    int32_t brokers_n;
    struct map topics; /* name → struct topic_info */
    struct map ids;    /* 16 bytes → struct topic_info */
};

struct metadata_cache; /* the current snapshot */

struct metadata_cache *metadata_cache_new(void);
void metadata_cache_free(struct metadata_cache *cache);
/* A reference to the current snapshot: metadata_release() it. */
struct metadata *metadata_acquire(struct metadata_cache *cache);
void metadata_release(struct metadata *metadata);

/* Applies UpdateMetadata, state thread only. Leader -2 removes a partition; the names of topics
 * that vanished with it are told to `removed` (may be NULL) when the current snapshot is without them.
 * True: a broker that lived does not live any more. */
bool metadata_update(struct metadata_cache *cache, const struct update_metadata_request *request,
                     void (*removed)(void *context, struct str topic), void *context);

const struct topic_info *metadata_topic(const struct metadata *metadata, struct str name);
const struct topic_info *metadata_topic_by_id(const struct metadata *metadata, struct uuid id);
/* A hole in a topic's numbering is no partition. */
bool metadata_has_partition(const struct metadata *metadata, struct str topic, int32_t partition);
const struct broker_info *metadata_broker(const struct metadata *metadata, int32_t id);
/* The broker's endpoint on that listener, or NULL. */
const struct broker_endpoint *broker_endpoint_of(const struct broker_info *broker,
                                                 const char *listener);

#endif

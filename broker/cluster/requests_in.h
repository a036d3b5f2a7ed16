/* The controller's requests, carried out: LeaderAndIsr, UpdateMetadata, StopReplica, whichever way they
 * came. The only way in which this broker's partitions and metadata change.
 *
 * They are carried out one after the other on the state thread, which never waits for the coordination
 * store: a broker that is cut off from it can still be told to lead no more. Each is fenced first: by
 * the epoch of the controller (the highest seen wins) and by this broker's own epoch, so that neither a
 * deposed controller nor a request to an earlier life of this broker changes anything.
 *
 * New logs need their topics' options. Where those are not known, the control thread is asked for them
 * (topic_configs.h), and the queue waits, but no longer than OPTIONS_WAIT_MS: then the logs are made
 * with the broker's options and without retention, and get their own when they come.
 * (reference: zookeeper §5, replication §3) */
#ifndef OTTLA_BROKER_CLUSTER_REQUESTS_IN_H
#define OTTLA_BROKER_CLUSTER_REQUESTS_IN_H

#include "broker/cluster/control_keys.h"
#include "broker/cluster/metadata_waits.h"
#include "broker/cluster/topic_configs.h"
#include "broker/replica/replicas.h"

enum { OPTIONS_WAIT_MS = 1000 };

struct requests_in;

struct requests_in_config {
    struct loop *state;
    struct loop *control;
    struct replicas *replicas;
    struct metadata_cache *metadata;
    struct metadata_waits *metadata_waits;
    struct topic_configs *topic_configs;
    /* On the state thread, told of a topic that has vanished from the metadata, and that files may wait
     * to be removed. */
    void (*topic_removed)(void *context, struct str topic);
    void (*logs_removed)(void *context);
    void *context;
};

/* One request. Embedded in whoever brings it, who keeps all that it points to until `done`. */
struct request_in {
    struct loop_task task;
    struct list link;
    struct requests_in *in;
    int16_t api_key;     /* control_keys.h */
    const void *request; /* of the API's types */
    void *response;
    struct arena *arena; /* for the response's arrays */
    /* On the state thread: `response` is filled. It may free the request. */
    void (*done)(struct request_in *request);
};

struct requests_in *requests_in_new(const struct requests_in_config *config);
/* The threads have ended; what was not carried out is answered BROKER_NOT_AVAILABLE (8). */
void requests_in_stop(struct requests_in *in);
void requests_in_free(struct requests_in *in);

/* Any thread: this broker has registered, with this epoch. */
void requests_in_set_broker_epoch(struct requests_in *in, int64_t broker_epoch);
/* -1: it has not. */
int64_t requests_in_broker_epoch(const struct requests_in *in);
/* Any thread; they are carried out in this order. Refusals of a whole request are
 * STALE_CONTROLLER_EPOCH (11) and STALE_BROKER_EPOCH (77). */
void requests_in_submit(struct requests_in *in, struct request_in *request);
/* Any thread: the options of a topic, or (null) what all of them inherit, have changed and are
 * published; logs take them, in turn with the requests. */
void requests_in_take_configs(struct requests_in *in, struct str topic);

#endif

/* The broker object: everything that one broker is made of, and its life from start to stop.
 *
 * Nothing below it is global: two brokers can live in one process. What it uses of the outside
 * (clock, files, coordination) is handed to it or made by it here, and nowhere else.
 *
 * Threads: the event loops (net/server.h), the control thread and the background thread (loops
 * without connections), the flusher. The control thread alone uses the coordination store, runs the
 * controller, and changes partitions and metadata; it waits for the store when that is out of reach.
 * The background thread does what must go on meanwhile: timers and loading of groups,
 * checkpoints, retention. */
#ifndef OTTLA_BROKER_BROKER_H
#define OTTLA_BROKER_BROKER_H

#include "broker/api/api.h"
#include "broker/cluster/controller.h"
#include "broker/cluster/metadata.h"
#include "broker/cluster/metadata_waits.h"
#include "broker/cluster/producer_ids.h"
#include "broker/cluster/topic_configs.h"
#include "broker/config.h"
#include "broker/coordinator/coordinator.h"
#include "broker/replica/fetch_session.h"
#include "broker/replica/replicas.h"
#include "zk/coord.h"

#include <pthread.h>

enum { CLUSTER_ID_MAX = 64 };

struct broker {
    struct config *config; /* dynamic options change: cluster/broker_configs.h */
    struct clock *clock;
    struct storage_env storage;

    int32_t id;
    char cluster_id[CLUSTER_ID_MAX];
    int64_t epoch;     /* czxid of the registration; control thread only */
    bool registered;   /* in this session; control thread only */
    bool session_over; /* and no new one has begun; control thread only */
    bool started;

    struct listener *listeners;
    size_t listeners_n;
    struct ip_override *ip_overrides;
    size_t ip_overrides_n;
    struct server *server;
    int loops_n;
    struct api_loop *api_loops;

    struct loop *control; /* the control thread's loop */
    pthread_t control_thread;
    struct loop *background; /* the background thread's loop */
    pthread_t background_thread;

    struct coord *coord; /* control thread only */
    struct logs *logs;
    struct replicas *replicas;
    struct metadata_cache *metadata;
    struct metadata_waits *metadata_waits; /* who waits for topics to come and go */
    struct topic_configs *topic_configs;   /* control thread only */
    int64_t config_change_seen;            /* the last notification; control thread only */
    bool config_changes_watched;           /* control thread only */
    bool configs_known;                    /* read in this session; control thread only */
    struct controller *controller;         /* control thread only */
    struct timer membership_retry;         /* registration and election, after a failure */
    struct timer rebalance;                /* of preferred leaders */
    struct producer_ids *producer_ids;
    struct fetch_sessions *fetch_sessions;
    struct coordinator *coordinator;
    struct housekeeping *housekeeping;
};

enum { BROKER_REASON_BYTES = 640 };

/* Starts everything up to the moment before the first client is served: broker_serve() is next. A
 * refusal is one line in `reason`. `config` outlives the broker, which changes its dynamic options. */
NODISCARD err broker_start(struct config *config, struct broker **broker,
                           char reason[BROKER_REASON_BYTES]);
/* Serves clients. A failure ends the broker and frees it. */
NODISCARD err broker_serve(struct broker *broker, char reason[BROKER_REASON_BYTES]);
/* Stops one that serves: no new connections, groups told, requests in progress answered, logs closed cleanly. */
void broker_stop(struct broker *broker);

#endif

/* The broker object: everything that one broker is made of, and its life from start to stop.
 *
 * Nothing below it is global: two brokers can live in one process. What it uses of the outside is
 * handed to it as a struct broker_env; nothing below starts a thread, sleeps, draws a random number or
 * asks the time by itself.
 *
 * Threads, each an event loop (base/loop.h): those of connections (net/server.h), the control thread,
 * the state thread, the background thread, the flush thread. The control thread alone uses the
 * coordination store and runs the controller; it waits for the store when that is out of reach. The
 * state thread alone changes the roles of partitions and the metadata, as a controller tells it, and
 * never waits for the store. The background thread does what must go on meanwhile: timers and loading of groups,
 * checkpoints, retention. The flush thread waits for the disk. The cleaner and the mover have threads of their own. Workers (base/workers.h) begin with
 * their first work. Who watches over the broker is answered on threads of the HTTP server's
 * (monitor/monitor.h). */
#ifndef OTTLA_BROKER_BROKER_H
#define OTTLA_BROKER_BROKER_H

#include "base/loop.h"
#include "base/threads.h"
#include "broker/api/api.h"
#include "broker/cluster/acls.h"
#include "broker/cluster/broker_configs.h"
#include "broker/cluster/config_alter.h"
#include "broker/cluster/delegation_tokens.h"
#include "broker/cluster/config_changes.h"
#include "broker/cluster/isr_changes.h"
#include "broker/cluster/leaving.h"
#include "broker/cluster/links.h"
#include "broker/cluster/membership.h"
#include "broker/cluster/producer_ids.h"
#include "broker/cluster/topics.h"
#include "broker/coordinator/group_coordinator.h"
#include "broker/coordinator/txn_coordinator.h"
#include "broker/metrics/events.h"
#include "broker/net/listeners.h"
#include "broker/net/server.h"
#include "broker/replica/fetch_session.h"
#include "broker/security/authorizer.h"
#include "broker/security/quotas.h"
#include "broker/security/sasl_listener.h"

/* The outside of a broker; all of it outlives the broker. Brokers on virtual time in one process have a
 * clock and threads of their own (base/threads.h, loop_turn), a seeded random, and files, a network and a
 * store that are models. */
struct broker_env {
    struct clock *clock;
    struct fs *fs;
    struct random *random;
    struct threads *threads;
    struct sockets *sockets;
    struct bound_sockets
        *bound; /* what is there of the listeners already (net/server.h); or NULL */
    /* Opens the coordination store; NULL: the one that the configuration names. */
    err (*coord_open)(void *context, const struct coord_events *events, struct coord **coord,
                      char *reason);
    void *coord_context;
    /* Ends the process at once, and not well: no log directory is left. NULL: the broker stays, and its
     * partitions answer KAFKA_STORAGE_ERROR. */
    void (*halt)(void);
    /* Called instead of a request's handler (api_handle() calls that), for who tests clients; a request is then
     * copied before it is decoded, so that it may wait. NULL: nobody. On the loops' threads. */
    enum req_status (*intercept)(void *context, struct req *r);
    void *intercept_context;
};

/* The system's. */
struct broker_env broker_env_system(void);

struct monitor;
struct workers;

struct broker {
    struct broker_env env;
    struct config *config; /* dynamic options change: cluster/broker_configs.h */
    struct clock *clock;   /* env.clock */
    struct storage_env storage;
    int32_t id;
    const char *cluster_id; /* membership's */
    bool started;
    bool wants_metrics; /* ottla.http.listener is set */
    struct events events;
    struct monitor *monitor; /* NULL: nobody asks */

    struct authorizer *authorizer; /* NULL: everybody may do everything */
    struct listeners listeners;
    struct znode_endpoint *endpoints; /* what is registered of the listeners */
    struct server *server;
    int loops_n;
    struct api_loop *api_loops;

    struct loop *control;
    struct thread *control_thread;
    struct loop *state;
    struct thread *state_thread;
    struct loop *background;
    struct thread *background_thread;
    struct loop *flush;
    struct thread *flush_thread;
    struct workers *workers; /* for what takes long */

    struct logs *logs;
    struct loop_task dir_failed; /* of one or more; on the state thread */
    atomic_bool dir_failure_posted;
    struct replicas *replicas;
    struct metadata_cache *metadata;
    struct metadata_waits *metadata_waits; /* who waits for topics to come and go */
    struct producer_ids *producer_ids;
    struct fetch_sessions *fetch_sessions;
    struct quotas *quotas;
    struct scram_users *scram_users;
    struct tokens *tokens;
    struct sasl_identity identity;         /* as whom it logs in at others; no user: it need not */
    struct sasl_identity control_identity; /* the same on the controller's listener */
    struct group_coordinator *groups;
    struct txn_coordinator *txns;
    struct housekeeping *housekeeping;
    struct cleaner *cleaner;
    struct requests_in *requests_in; /* carried out on the state thread */
    struct inter_broker versions;
    const char *inter_broker_listener;
    const char *control_listener;
    struct peer_security inter_broker_security; /* towards others on the same */
    struct peer_security control_security;
    char **tls_made_of; /* of each listener; control thread: what its TLS was made of */
    struct fetchers *fetchers;
    struct throttle leader_throttle;
    struct throttle follower_throttle;
    struct throttle move_throttle; /* between log directories */
    struct dir_mover *mover;
    struct links *links; /* those of the controller to brokers */
    struct to_controller *to_controller;
    struct isr_changes *isr_changes;
    struct leaving *leaving;

    /* Control thread only. */
    struct membership *membership;
    struct coord *coord;
    struct topic_configs *topic_configs;
    struct broker_configs broker_configs;
    struct config_changes *config_changes;
    struct delegation_tokens *delegation; /* NULL: there are no delegation tokens */
    struct acls *acls;                    /* NULL: without an authorizer */
    struct config_editor config_editor;
    struct topics topics;
    struct controller *controller;
};

enum { BROKER_REASON_BYTES = 640 };

/* Starts everything up to the moment before the first client is served: broker_serve() is next. A
 * refusal is one line in `reason`. `config` outlives the broker, which changes its dynamic options. */
NODISCARD err broker_start(const struct broker_env *env, struct config *config,
                           struct broker **broker, char reason[BROKER_REASON_BYTES]);
/* Serves clients. A failure ends the broker and frees it. */
NODISCARD err broker_serve(struct broker *broker, char reason[BROKER_REASON_BYTES]);
/* The configuration was read again (`fresh`, finished; freed): options that may change while the broker runs do, of the
 * others one line each says that they wait for the next start. `done` is called once, on the control thread. Any
 * thread, while it serves. */
void broker_reload(struct broker *broker, struct config *fresh, void (*done)(void *context),
                   void *context);
/* Before a stop: others are to lead what this broker leads. `done` is called once, on a thread of the
 * broker's, when they do or cannot; at once where there is nobody else. */
void broker_leave(struct broker *broker, void (*done)(void *context), void *context);
/* Stops one that serves: no new connections, groups told, requests in progress answered, logs closed cleanly. */
void broker_stop(struct broker *broker);

#endif

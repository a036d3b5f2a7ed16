/* The parts of the model, and how they are called (internal to model/).
 *
 *   client.c      the coord.h of one broker: its connection, its calls
 *   wire.c        messages under way: order, delay, cuts
 *   ensemble.c    the server: sessions, watches, requests
 *   tree.c        its nodes
 *   coord_model.c the time, and what the owner of the model may do
 *
 * A client and the ensemble know each other only by packets: messages. A packet belongs to a connection,
 * a number that is never used again: the receiver drops it when it has another connection. */
#ifndef OTTLA_ZK_MODEL_MODEL_H
#define OTTLA_ZK_MODEL_MODEL_H

#include "zk/coord_remote.h"
#include "zk/model/coord_model.h"
#include "zk/model/tree.h"

struct client;
struct step;

enum packet_kind {
    PACKET_CONNECT, /* answered by itself, with the session, or by: */
    PACKET_EXPIRED, /* there is no such session */
    PACKET_PING,    /* answered by itself */
    PACKET_CALL,    /* answered by itself, with the results */
    PACKET_CLOSE,   /* answered by itself */
    PACKET_WATCH,   /* to a client */
    PACKET_BROKEN,  /* to a client: the connection is no more */
};

/* Bits of a path that is watched. At the ensemble the first two are one: WATCHED_NODE. */
enum watched { WATCHED_NODE = 1, WATCHED_ABSENT = 2, WATCHED_CHILDREN = 4 };

struct packet {
    struct list link; /* in coord_model.packets */
    struct coord_model_way *way;
    enum packet_kind kind;
    bool to_client;
    int64_t due_ms;
    int64_t connection;
    int64_t session_id; /* connect: 0 for a new one */
    int64_t zxid; /* connect: the newest of which the client has heard; to a client: the newest */
    struct arena arena;   /* of what follows */
    struct coord_op *ops; /* of a call; connect: what is watched, bits of enum watched as flags */
    size_t ops_n;
    err error;         /* of a transaction */
    struct step *step; /* whose call it is; NULL: nobody waits any more */
    enum coord_watch_type watch_type;
    const char *path; /* of a watch */
};

struct coord_model_way {
    struct list link; /* in coord_model.ways */
    struct coord_model *model;
    struct coord_model_config config;
    struct client *client; /* or NULL */
    int64_t kept_session;  /* of a client that did not close it; 0: none */
    unsigned cut;          /* bits of coord_model_direction */
    int32_t delay_min_ms;
    int32_t delay_max_ms;
    int64_t last_due_ms[2]; /* of this connection: to the ensemble, to the client */
    int lose_skip;
    int lose_left;
    bool lose_applies;
    uint32_t lose_per_million;
};

struct coord_model {
    struct clock *clock;
    struct random *random;
    int64_t now_ms; /* of what is being done; between turns, of the last turn */
    bool turning;
    struct list ways;
    struct list packets; /* by due_ms, then as they were sent */
    int64_t connections; /* the last number of one */
    struct tree tree;
    struct list sessions;
    int64_t zxid;
};

/* ---- wire.c ---- */

/* With an arena of its own. */
struct packet *packet_new(struct coord_model_way *way, enum packet_kind kind);
void packet_free(struct packet *packet);
/* Takes the message; its connection is set. */
void wire_send(struct packet *packet, bool to_client);
/* The first message that is not held up by a cut, or NULL. */
struct packet *wire_next(const struct coord_model *model);
/* A connection begins: its messages do not wait for those of the last one. */
void wire_restart(struct coord_model_way *way);
/* The client has given a connection up: answers and what is held up are lost; where `broken`,
 * everything is. */
void wire_drop(struct coord_model_way *way, int64_t connection, bool broken);
/* Nobody waits for the answers of this way. */
void wire_forget(struct coord_model_way *way);

/* ---- ensemble.c ---- */

/* Takes a message that has arrived. */
void ensemble_receive(struct coord_model *model, struct packet *packet);
/* When the next session expires, or INT64_MAX. */
int64_t ensemble_next_due_ms(const struct coord_model *model);
/* Ends the sessions that are due. */
void ensemble_expire_due(struct coord_model *model);
void ensemble_expire(struct coord_model *model, int64_t session_id);
void ensemble_remove(struct coord_model *model, const char *path);
void ensemble_print_sessions(const struct coord_model *model, FILE *out);
void ensemble_deinit(struct coord_model *model);

/* ---- client.c ---- */

/* Takes a message that has arrived. */
void client_receive(struct client *client, struct packet *packet);
/* What it does by itself: pings, attempts to connect, giving up. */
int64_t client_next_due_ms(const struct client *client);
void client_tick(struct client *client);
void client_break(struct client *client);
void client_kill(struct client *client);
int64_t client_session_id(const struct client *client);

#endif

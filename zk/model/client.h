/* One client of the model, between its connection (client.c) and its calls (steps.c). */
#ifndef OTTLA_ZK_MODEL_CLIENT_H
#define OTTLA_ZK_MODEL_CLIENT_H

#include "zk/model/model.h"

enum { CLIENT_FORMER_MAX = 8 };

enum client_state {
    CLIENT_DOWN,       /* until attempt_ms */
    CLIENT_CONNECTING, /* until attempt_ms, then it gives this attempt up */
    CLIENT_UP,
    CLIENT_EXPIRED,
};

struct call;

struct client {
    struct coord coord;
    struct coord_model_way *way;
    struct coord_events events;
    enum client_state state;
    int64_t connection;
    int64_t attempt_ms;
    int64_t heard_ms; /* when it last heard of the ensemble */
    int64_t ping_ms;  /* when the next ping is due */
    int64_t session_id;
    int64_t wanted_session; /* to connect with; 0: a new one */
    int64_t seen_zxid;
    struct map watched; /* path → bits of enum watched */
    bool established;   /* this session was connected before */
    bool closed;        /* the ensemble has answered the close */
    bool killed;
    bool interrupted;
    int64_t deadline_ms; /* of the opening; INT64_MAX: none */
    int64_t former[CLIENT_FORMER_MAX];
    size_t former_n;
    struct call *call; /* the one that waits, or NULL */
};

/* ---- client.c ---- */

/* Why nothing can be asked any more: E_CLOSED, E_SESSION, E_BUSY (the deadline); or OK. */
err client_obstacle(const struct client *client);
/* Lets time pass, after a turn; then a turn. `since_ms`: the beginning of this waiting. */
void client_wait(struct client *client, int64_t since_ms);
/* Sends on the connection, which is up. */
void client_send(struct client *client, struct packet *packet);
void client_watch_add(struct client *client, const char *path, unsigned bits);

/* ---- steps.c ---- */

/* As coord_run and coord_multi. */
err steps_run(struct client *client, struct coord_op *ops, size_t count, struct arena *arena);
NODISCARD err steps_multi(struct client *client, struct coord_op *ops, size_t count,
                          struct arena *arena);
/* Sends what can be sent. */
void steps_pump(struct client *client);
void steps_answered(struct client *client, struct packet *packet);
/* The connection is lost. */
void steps_lost(struct client *client);

#endif

/* One consumer group of the classic protocol: a pure state machine. An event and the time go in;
 * answers and what is to be stored come out. No clock, no lock, no connection, no log.
 *
 * (reference: coordinators §1; KIP-62, KIP-345 static members, KIP-394 member ids)
 *
 * Lock: the shard's. Waiters are opaque: they are answered exactly once, by an action. */
#ifndef OTTLA_BROKER_COORDINATOR_GROUP_H
#define OTTLA_BROKER_COORDINATOR_GROUP_H

#include "base/arena.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/random.h"
#include "base/waiter.h"

enum group_state {
    GROUP_EMPTY,
    GROUP_PREPARING_REBALANCE,
    GROUP_COMPLETING_REBALANCE,
    GROUP_STABLE,
    GROUP_DEAD,
};

/* A record may hold the largest of numbers: as in Kafka it goes on with the smallest. */
static inline int32_t generation_after(int32_t generation)
{
    return (int32_t)((uint32_t)generation + 1);
}

/* "Empty", "PreparingRebalance", …: as clients see them. */
const char *group_state_name(enum group_state state);

struct protocol {
    struct str name; /* owned */
    struct bytes metadata;
};

struct member {
    struct list link; /* in the order of joining */
    struct str id;    /* owned, as are the texts below; instance_id may be null */
    struct str instance_id;
    struct str client_id;
    struct str client_host;
    int32_t session_timeout_ms;
    int32_t rebalance_timeout_ms;
    struct protocol *protocols;
    int32_t protocols_n;
    struct bytes assignment;
    struct group_waiter *join_waiter; /* NULL: does not wait */
    struct group_waiter *sync_waiter;
    int64_t session_deadline_ms;
    int64_t sync_deadline_ms; /* by when it must have synced; INT64_MAX: nothing is due */
    bool is_new; /* joined for the first time, not yet answered: may expire while it waits */
};

struct group {
    struct str id; /* owned, as are the texts below */
    enum group_state state;
    struct str protocol_type; /* null: none (a group that only commits) */
    struct str protocol_name; /* null: none */
    struct str leader_id;     /* null: none */
    int32_t generation;
    int64_t state_timestamp_ms;
    struct list members;
    struct map by_id;
    struct map by_instance;
    struct map pending; /* member id → struct pending_member: told its id, not joined */
    int64_t rebalance_deadline_ms; /* in PREPARING_REBALANCE */
    int64_t initial_delay_left_ms; /* > 0 while the first rebalance waits for more members */
    bool initial_delay;            /* the rebalance came out of Empty: it never ends early */
    bool joined_in_window;         /* only in the very first generation */
    bool storing;                  /* an assignment is being stored */
    struct map offsets;            /* offsets.h */
};

/* A request that the group holds: answered exactly once, by fill() and then a wake-up. Embedded in
 * whoever waits; fill() is called under the lock that guards the group, and again when what it filled
 * in turns out not to be stored. */
struct group_action;
struct group_waiter {
    void (*fill)(struct group_waiter *waiter, const struct group_action *action);
    struct waiter *waiter;
};

struct group_limits {
    int32_t session_timeout_min_ms;
    int32_t session_timeout_max_ms;
    int32_t initial_delay_ms;
    int32_t size_max;
    struct random *random; /* of member ids */
};

/* ---- what comes out ---- */

enum group_action_type { ANSWER_JOIN, ANSWER_SYNC };

struct join_member {
    struct str id;
    struct str instance_id;
    struct bytes metadata;
};

/* Texts point into the group or the arena of the output; valid until the next event. */
struct group_action {
    enum group_action_type type;
    struct group_waiter *waiter;
    err error;
    /* join */
    int32_t generation;
    struct str protocol_type;
    struct str protocol_name;
    struct str leader_id;
    struct str member_id;
    bool skip_assignment;
    struct join_member *members; /* for the leader */
    int32_t members_n;
    /* sync */
    struct bytes assignment;
};

enum group_store {
    STORE_NOTHING,
    STORE_GROUP,      /* the group as it is; nobody waits for it */
    STORE_ASSIGNMENT, /* group_assignment_stored() comes when it is safe */
    STORE_MEMBER,     /* a static member came back: the held answer goes out when it is safe */
};

struct group_output {
    struct arena arena;
    struct group_action *actions;
    int32_t actions_n;
    int32_t actions_cap;
    enum group_store store;
    struct group_action held; /* with STORE_MEMBER */
    bool has_held;
    struct str replaced_id; /* with STORE_MEMBER: of the one whose place it took */
};

void group_output_init(struct group_output *out);
void group_output_deinit(struct group_output *out);

/* ---- life ---- */

struct group *group_new(struct str id, int64_t now_ms);
void group_free(struct group *group);
/* The coordinator moves: everybody who waits is told `error`; the group is Dead. */
void group_kill(struct group *group, err error, struct group_output *out);

/* ---- events ---- */

struct join_event {
    struct str member_id;   /* "" : new */
    struct str instance_id; /* null: dynamic */
    struct str client_id;
    struct str client_host;
    struct str protocol_type;
    struct protocol *protocols; /* views */
    int32_t protocols_n;
    int32_t session_timeout_ms;
    int32_t rebalance_timeout_ms;
    bool require_known_id;    /* version 4 and later: MEMBER_ID_REQUIRED for new dynamic members */
    bool can_skip_assignment; /* version 9 and later */
    struct group_waiter *waiter;
};
/* Always answers through actions, now or later. */
void group_join(struct group *group, const struct join_event *event,
                const struct group_limits *limits, int64_t now_ms, struct group_output *out);

struct sync_event {
    struct str member_id;
    struct str instance_id;
    int32_t generation;
    struct str protocol_type; /* null: not told */
    struct str protocol_name;
    const struct join_member *assignments; /* id and metadata = assignment; from the leader */
    int32_t assignments_n;
    struct group_waiter *waiter;
};
void group_sync(struct group *group, const struct sync_event *event, int64_t now_ms,
                struct group_output *out);
/* The assignment of `generation` is stored, or could not be. */
void group_assignment_stored(struct group *group, int32_t generation, err outcome, int64_t now_ms,
                             struct group_output *out);

/* A static member that came back could not be stored: the one before has its place again, with what the
 * other told of itself, as in Kafka. Fills in what the answer says of the group. */
void group_member_not_stored(struct group *group, struct str member_id, struct str replaced_id,
                             int64_t now_ms, struct group_action *refused);

err group_heartbeat(struct group *group, struct str member_id, struct str instance_id,
                    int32_t generation, int64_t now_ms);
err group_leave(struct group *group, struct str member_id, struct str instance_id, int64_t now_ms,
                struct group_output *out);
/* May this member commit? `generation` -1 and no ids: anybody, into an empty group. */
err group_check_commit(struct group *group, struct str member_id, struct str instance_id,
                       int32_t generation, int64_t now_ms);

/* May this member commit as a part of a transaction? The group's state is not looked at. */
err group_check_txn_commit(const struct group *group, struct str member_id, struct str instance_id,
                           int32_t generation);

/* Expires what is due; returns when to come again (INT64_MAX: never). */
int64_t group_tick(struct group *group, const struct group_limits *limits, int64_t now_ms,
                   struct group_output *out);
int64_t group_next_deadline_ms(const struct group *group);

/* Stops the process where the group contradicts itself: see base/check.h. */
void group_check(const struct group *group);

struct member *group_member(const struct group *group, struct str member_id);
int32_t group_size(const struct group *group);
/* The metadata of the chosen protocol. */
struct bytes member_metadata(const struct group *group, const struct member *member);

/* All of it has been loaded: a group of more members than are allowed by now rebalances. */
void group_loaded(struct group *group, const struct group_limits *limits, int64_t now_ms,
                  struct group_output *out);
/* For loading: adds a member as it was stored. */
struct member *group_add_loaded(struct group *group, struct str member_id, struct str instance_id,
                                struct str client_id, struct str client_host);
void member_set_protocol(struct member *member, struct str name, struct bytes metadata);
void member_set_assignment(struct member *member, struct bytes assignment);
void group_set_text(struct str *field, struct str value);

#endif

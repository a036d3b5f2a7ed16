/* What the controller knows, and what it decides.
 *
 * A model of what is in the store: live brokers, topics, assignments, partition states with their
 * versions. Nothing here reads or writes: snapshots of znodes go in, and a decision comes out as a
 * list of writes to be made, with the model already as it will be after them. Who makes the writes
 * and fails throws the model away, and loads it again.
 *
 * Names begin with ctl_, for the controller's model; what is made of it is controller_requests.h.
 *
 * Thread: the controller's. (reference: zookeeper §8, §9) */
#ifndef OTTLA_BROKER_CLUSTER_CONTROLLER_STATE_H
#define OTTLA_BROKER_CLUSTER_CONTROLLER_STATE_H

#include "base/map.h"
#include "broker/metrics/events.h"
#include "zk/coord.h"
#include "zk/znodes.h"

enum {
    CTL_NO_LEADER = -1,
    CTL_NO_STATE = -1, /* version of a state node that does not exist */
};

struct ctl_partition {
    struct id_list replicas; /* malloc'd; the first is the preferred leader */
    struct id_list adding;   /* malloc'd; of a reassignment that is under way */
    struct id_list removing; /* malloc'd */
    struct id_list fresh;    /* malloc'd: of those that are added, who has not been told of it */
    struct id_list leaving;  /* malloc'd: replicas no more, that have not confirmed to be deleted */
    struct id_list
        asked; /* malloc'd: those of them that were told, in their present life, to stop */
    struct id_list told; /* malloc'd: those of them that have stopped, and are to delete theirs */
    bool node_due;       /* the topic's node still has a reassignment that has come to its end */
    bool requested;      /* a reassignment that /admin/reassign_partitions asked for */
    struct id_list offline; /* malloc'd: brokers that live and have no working directory for it */
    struct znode_state state;
    int32_t state_version; /* of the znode: the partition epoch; CTL_NO_STATE */
    int64_t state_zxid; /* at or before the znode's last change: who registered later has not been
                              dealt with since it began its life */
    bool is_new;        /* no broker has been told of it */
    bool node_there;    /* the znode above the state; a controller that died left it */
    bool unreadable;    /* its state: left alone, known to have no leader */
};

struct ctl_topic {
    struct str name; /* owned */
    struct uuid id;
    int32_t version; /* of its znode */
    struct ctl_partition *partitions;
    int32_t partitions_n;
    bool partitions_there; /* the znode above the partitions */
    bool deleting;         /* asked for, and told */
    struct id_list stops;  /* malloc'd: brokers that have not confirmed to have deleted it */
    struct id_list
        asked; /* malloc'd: those of them that were told, in their present life, to stop it */
    struct id_list told; /* malloc'd: those that did, and were told to delete it */
};

/* What the last look at the brokers has found of one. */
enum ctl_broker_news {
    CTL_BROKER_STAYED,
    CTL_BROKER_CAME,
    CTL_BROKER_BOUNCED, /* it is in another life: the one before has ended unseen */
};

struct ctl_broker {
    int32_t id;
    int64_t epoch;
    enum ctl_broker_news news; /* a bounced one does not live until its last life is dealt with */
    bool shuts_down; /* it is told everything, and leads nothing and is in no ISR any more */
    bool wants_more; /* others lead too much of what it should */
    struct znode_broker node; /* memory in ctl_state.brokers_arena */
};

struct ctl_state {
    int32_t broker_id; /* whose controller this is */
    int32_t epoch;
    struct ctl_broker *brokers;
    int32_t brokers_n;
    struct arena brokers_arena;
    struct map topics; /* name → struct ctl_topic */
    struct map ids;    /* 16 bytes → struct ctl_topic */
    /* May a replica of the topic lead that is not in sync? */
    bool (*unclean_allowed)(void *context, struct str topic);
    void *context;
    struct events *events; /* NULL: nobody counts */
};

/* Some topics of the model; `topics` in somebody's arena. */
struct topic_list {
    struct ctl_topic **topics;
    int32_t count;
};

/* Some partitions of the model; in somebody's arena. All zero is empty. */
struct part {
    struct ctl_topic *topic;
    int32_t partition;
};
struct parts {
    struct part *all;
    int32_t count;
    int32_t room;
};
void parts_add(struct parts *parts, struct arena *arena, struct ctl_topic *topic,
               int32_t partition);
void parts_add_topics(struct parts *parts, struct arena *arena, const struct topic_list *list);
/* Their topics; each once, by name. */
struct topic_list parts_topics(const struct parts *parts, struct arena *arena);

/* Writes in the order in which they are to be made. Paths and data in the arena of the call. */
struct ctl_writes {
    struct coord_op *ops; /* malloc'd */
    size_t count;
    size_t room;
};

/* The two last fields are set by the owner. */
void ctl_state_init(struct ctl_state *state, int32_t broker_id);
void ctl_state_clear(struct ctl_state *state);
void ctl_state_deinit(struct ctl_state *state);

void ctl_writes_add(struct ctl_writes *writes, struct coord_op op);
void ctl_writes_deinit(struct ctl_writes *writes);

/* ---- snapshots ---- */

struct ctl_broker_snapshot {
    int32_t id;
    int64_t epoch; /* czxid */
    struct bytes json;
};
/* Takes these as the registered brokers, and notes what is new of each. Of one that has come, or is in
 * another life, what was known of its directories is forgotten. Those that have gone are added to `left`, which
 * has room for all that were known. */
void ctl_set_brokers(struct ctl_state *state, const struct ctl_broker_snapshot *brokers,
                     int32_t count, struct id_list *left);
/* NULL: it is not registered. */
struct ctl_broker *ctl_broker_find(const struct ctl_state *state, int32_t id);
/* May it lead, and be in sync? */
bool ctl_broker_is_live(const struct ctl_state *state, int32_t id);

struct ctl_topic *ctl_topic_find(const struct ctl_state *state, struct str name);
struct ctl_topic *ctl_topic_by_id(const struct ctl_state *state, struct uuid id);
/* NULL: the topic has none of that number, or is NULL. */
struct ctl_partition *ctl_partition_find(const struct ctl_topic *topic, int32_t partition);
/* Makes or grows the model of a topic. `news`: false where the model has that version of the node already. */
struct ctl_topic *ctl_set_topic(struct ctl_state *state, struct str name,
                                const struct znode_topic *node, int32_t version, bool *news);
/* E_MALFORMED, and the partition is left alone, if the state makes no sense. */
NODISCARD err ctl_set_partition(struct ctl_topic *topic, int32_t partition,
                                const struct znode_state *state, const struct coord_stat *stat);
void ctl_set_unreadable(struct ctl_topic *topic, int32_t partition);
void ctl_remove_topic(struct ctl_state *state, struct ctl_topic *topic);
/* All topics that are not being deleted. */
struct topic_list ctl_all_topics(const struct ctl_state *state, struct arena *arena);

/* A broker answered that it cannot use its directory for a partition, or that it can. True: that is
 * news. */
bool ctl_set_replica_offline(struct ctl_topic *topic, int32_t partition, int32_t broker,
                             bool offline);
/* It neither leads nor is in sync: whether it lives decides nothing. */
bool ctl_replica_is_idle(const struct ctl_partition *p, int32_t broker);

/* ---- decisions: controller_decide.c ---- */

/* What a decision comes to: writes to be made, and the partitions whose state they change. */
struct ctl_decision {
    struct ctl_state *state;
    struct arena *arena;
    struct ctl_writes writes;
    struct parts changed;
};

/* Settles every partition of these topics. One without a state gets its first: the first live replica
 * leads, and all live ones are in sync. One whose leader does not live gets another: the first replica
 * that lives and is in sync; or, where the topic permits it, the first that lives; or none. One whose
 * leader lives loses from its ISR who does not. */
void ctl_settle(struct ctl_decision *d, const struct topic_list *list);
/* The same; all of them count as changed. */
void ctl_settle_and_tell(struct ctl_decision *d, const struct topic_list *list);
/* Has the leader started anew since the state was written, and may another lead? Until one was elected its
 * new life must not hear that it leads: it would go on in the epoch of the last one. */
bool ctl_is_led_by_former_life(const struct ctl_state *state, const struct ctl_partition *p);
/* A new controller: who does not live neither leads nor is in sync, where others are. */
void ctl_drop_dead(struct ctl_decision *d, const struct topic_list *list);
/* A broker that shuts down hands over what it leads (added to `led`), and leaves the ISRs. What it still
 * leads because nobody else could is added to `remaining`. */
void ctl_shut_down(struct ctl_decision *d, int32_t broker, struct parts *led,
                   struct parts *remaining);
/* Gives one partition to its preferred leader. ELECTION_NOT_NEEDED (84), PREFERRED_LEADER_NOT_AVAILABLE
 * (80); left alone and OK if it has no state. */
err ctl_prefer(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition);
/* Lets any replica lead, if nobody leads. ELECTION_NOT_NEEDED (84), ELIGIBLE_LEADERS_NOT_AVAILABLE (83). */
err ctl_elect_unclean(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition);
/* A leader wants this ISR. The error that it is answered, with which nothing changes. */
struct ctl_isr_wish {
    int32_t leader; /* who asks */
    int32_t leader_epoch;
    int32_t partition_epoch;
    struct id_list isr;
    const int64_t *broker_epochs; /* the members'; -1, or NULL: not told */
    int8_t leader_recovery_state;
};
err ctl_alter_isr(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition,
                  const struct ctl_isr_wish *wish);
/* Does this broker lead so much less than it should that more than `percent` of it are led by others? */
bool ctl_is_imbalanced(const struct ctl_state *state, int32_t broker, int32_t percent);

/* ---- reassignments: controller_reassign.c ---- */

/* Are replicas added or removed? */
bool ctl_is_moving(const struct ctl_partition *p);
/* Where it is to be: the replicas without those that are removed. In the arena. */
struct id_list ctl_target(const struct ctl_partition *p, struct arena *arena);
/* Takes these as the replicas that the partition is to have; NULL: those that it had before any plan. The
 * model's lists of replicas alone are changed. In this order NO_REASSIGNMENT_IN_PROGRESS (85),
 * INVALID_REPLICA_ASSIGNMENT (39), UNKNOWN_TOPIC_OR_PARTITION (3; `topic` may be NULL), with a `message` in the
 * arena. */
err ctl_reassign(const struct ctl_state *state, struct arena *arena, struct ctl_topic *topic,
                 int32_t partition, const struct id_list *target, struct str *message);
/* Are all replicas of the target in sync, and does one of them live? */
bool ctl_is_reached(const struct ctl_state *state, struct arena *arena,
                    const struct ctl_partition *p);
/* The target alone are the replicas. The model's lists alone are changed. */
void ctl_arrive(struct ctl_topic *topic, int32_t partition, struct arena *arena);
/* Another leader epoch, and another leader if it is no replica any more. */
void ctl_lead_assigned(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition);
/* Is somebody in the ISR who is no replica? They have left, and have replicas to be deleted. */
bool ctl_has_unassigned(const struct ctl_partition *p);
void ctl_leave_unassigned(struct ctl_partition *p, struct arena *arena);
/* Who is no replica any more leaves the ISR. */
void ctl_drop_unassigned(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition);
/* The topic's node, as the model has it; what is `node_due` as if it were still on the move. */
void ctl_write_node(struct ctl_decision *d, struct ctl_topic *topic);

/* ---- deletion ---- */

/* Begins a deletion: `topic->stops` are the brokers that have to confirm it. */
void ctl_begin_deletion(struct ctl_topic *topic);
/* A broker has deleted its replicas. True: it was the last one. */
bool ctl_confirm_deletion(struct ctl_topic *topic, int32_t broker);

void id_list_set(struct id_list *to, const int32_t *ids, int32_t count);
/* Adds it, unless it is there. */
void id_list_add(struct id_list *list, int32_t id);
void id_list_remove(struct id_list *list, int32_t id);
bool id_list_holds(const struct id_list *list, int32_t id);

#endif

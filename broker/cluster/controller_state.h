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
#include "zk/coord.h"
#include "zk/znodes.h"

enum {
    CTL_NO_LEADER = -1,
    CTL_NO_STATE = -1, /* version of a state node that does not exist */
};

struct ctl_partition {
    struct id_list replicas; /* malloc'd; the first is the preferred leader */
    struct id_list offline;  /* malloc'd: brokers that live and have no working directory for it */
    struct znode_state state;
    int32_t state_version; /* of the znode: the partition epoch; CTL_NO_STATE */
    bool is_new;           /* no broker has been told of it */
    bool node_there;       /* the znode above the state; a controller that died left it */
    bool unreadable;       /* its state: left alone, known to have no leader */
};

struct ctl_topic {
    struct str name; /* owned */
    struct uuid id;
    struct ctl_partition *partitions;
    int32_t partitions_n;
    bool partitions_there; /* the znode above the partitions */
    bool deleting;         /* asked for */
    struct id_list stops;  /* malloc'd: brokers that have not confirmed to have deleted it */
};

struct ctl_broker {
    int32_t id;
    int64_t epoch;
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
};

/* Some topics of the model; `topics` in somebody's arena. */
struct topic_list {
    struct ctl_topic **topics;
    int32_t count;
};

/* Writes in the order in which they are to be made. Paths and data in the arena of the call. */
struct ctl_writes {
    struct coord_op *ops; /* malloc'd */
    size_t count;
    size_t room;
};

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
/* Takes these as the live brokers. One that is there again with another epoch has started anew: what
 * was known of its directories is forgotten. */
void ctl_set_brokers(struct ctl_state *state, const struct ctl_broker_snapshot *brokers,
                     int32_t count);
/* NULL: it does not live. */
const struct ctl_broker *ctl_broker_find(const struct ctl_state *state, int32_t id);
bool ctl_broker_is_live(const struct ctl_state *state, int32_t id);

struct ctl_topic *ctl_topic_find(const struct ctl_state *state, struct str name);
struct ctl_topic *ctl_topic_by_id(const struct ctl_state *state, struct uuid id);
/* Makes or grows the model of a topic. */
struct ctl_topic *ctl_set_topic(struct ctl_state *state, struct str name,
                                const struct znode_topic *node);
/* E_MALFORMED, and the partition is left alone, if the state makes no sense. */
NODISCARD err ctl_set_partition(struct ctl_topic *topic, int32_t partition,
                                const struct znode_state *state, int32_t version);
void ctl_set_unreadable(struct ctl_topic *topic, int32_t partition);
void ctl_remove_topic(struct ctl_state *state, struct ctl_topic *topic);
/* All topics that are not being deleted. */
struct topic_list ctl_all_topics(const struct ctl_state *state, struct arena *arena);

/* A broker answered that it cannot use its directory for a partition, or that it can. True: that is
 * news. */
bool ctl_set_replica_offline(struct ctl_topic *topic, int32_t partition, int32_t broker,
                             bool offline);

/* ---- decisions ---- */

/* Settles every partition of these topics. One without a state gets its first: the first live replica
 * leads, and all live ones are in sync. One whose leader is not live gets another: the first replica
 * that is live and in sync, or none. True: something changed. */
bool ctl_settle(struct ctl_state *state, struct arena *arena, const struct topic_list *list,
                struct ctl_writes *writes);
/* Gives one partition to its preferred leader, if that lives and is in sync. True: a change. */
bool ctl_prefer(struct ctl_state *state, struct arena *arena, struct ctl_topic *topic,
                int32_t partition, struct ctl_writes *writes);
/* Does a broker that should lead more than `percent` of its share not lead it? */
bool ctl_is_imbalanced(const struct ctl_state *state, int32_t percent);
/* Begins a deletion; false while a replica is on a broker that does not live. */
bool ctl_begin_deletion(struct ctl_state *state, struct ctl_topic *topic);
/* A broker has deleted its replicas. True: it was the last one. */
bool ctl_confirm_deletion(struct ctl_topic *topic, int32_t broker);

bool id_list_holds(const struct id_list *list, int32_t id);

#endif

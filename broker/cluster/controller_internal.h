/* The controller, for its own files: controller.c (events), controller_election.c,
 * controller_preferred.c (preferred leaders), controller_send.c (what brokers are told) and
 * controller_store.c (reading and writing). */
#ifndef OTTLA_BROKER_CLUSTER_CONTROLLER_INTERNAL_H
#define OTTLA_BROKER_CLUSTER_CONTROLLER_INTERNAL_H

#include "broker/cluster/controller.h"
#include "broker/cluster/controller_state.h"

enum { CONTROLLER_ARENA_BYTES = 1 << 30 };

struct controller {
    struct controller_config config;
    struct ctl_state state;
    bool active;
    int32_t epoch_version;  /* of /controller_epoch */
    int32_t known_leader;   /* the controller that was last read; -1 */
    const char *unreadable; /* the node that an election stumbled over, or NULL */
    struct map ignored;     /* topics whose nodes cannot be read, until they change; value unused */
    struct arena arena;     /* of the current event */
};

/* ---- controller_store.c ---- */

/* Memory of the current event. */
void *controller_alloc(struct controller *c, size_t count, size_t size);

/* One node; `get->error` is its own. */
NODISCARD err controller_read_node(struct controller *c, const char *path, int flags,
                                   struct coord_op *get);
NODISCARD err controller_read_children(struct controller *c, const char *path, int flags,
                                       struct coord_op *list);
/* One transaction behind a check of the controller's epoch. When that fails the office is lost. */
NODISCARD err controller_checked_multi(struct controller *c, const struct coord_op *ops,
                                       size_t count);
/* Makes the writes, and frees the list. */
NODISCARD err controller_commit(struct controller *c, struct ctl_writes *writes);
/* Deletes these nodes and all below them, whoever made them. */
NODISCARD err controller_remove_trees(struct controller *c, const char **paths, size_t count);
NODISCARD err controller_remove_children(struct controller *c, const char *path,
                                         const struct coord_op *list);

/* Reads all brokers, and watches them. */
NODISCARD err controller_load_brokers(struct controller *c);
/* Reads these topics' nodes and states into the model, and watches them. `list` are those that were
 * found. */
NODISCARD err controller_load_topics(struct controller *c, const char *const *names, int32_t count,
                                     struct topic_list *list);

/* ---- controller_send.c ---- */

/* The brokers, and the states of these topics, to every live broker. */
void controller_send_metadata(struct controller *c, const struct topic_list *list);
/* Roles of these topics to the brokers that hold them. */
void controller_send_roles(struct controller *c, const struct topic_list *list);
/* To the brokers that have not confirmed to have deleted this topic. */
void controller_send_deletion(struct controller *c, const struct ctl_topic *topic);
/* Makes the writes, then tells the brokers of the topics that they changed. */
NODISCARD err controller_commit_and_send(struct controller *c, struct ctl_writes *writes,
                                         const struct topic_list *changed);
/* Settles these topics in the store, and tells the brokers of all of them. */
NODISCARD err controller_settle_and_send(struct controller *c, const struct topic_list *list);

/* ---- controller_preferred.c ---- */

/* Every partition. */
NODISCARD err controller_prefer_all(struct controller *c);
/* Those that /admin/preferred_replica_election names, and watches it. */
NODISCARD err controller_prefer_requested(struct controller *c);

/* ---- controller_election.c ---- */

/* Who is the controller? `there` is false when nobody is; `own` tells a node of this broker's own
 * session, or of one before it, which is a left-over. Watched. */
NODISCARD err controller_read_office(struct controller *c, bool *there, bool *own);
/* Stands for election until there is a controller. `elected`: it is this broker, just now, and it
 * has to take over. */
NODISCARD err controller_stand(struct controller *c, bool *elected);

#endif

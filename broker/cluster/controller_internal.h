/* The controller, for its own files: controller.c (events), controller_election.c,
 * controller_preferred.c (preferred leaders), controller_moves.c (reassignments), controller_send.c (what
 * brokers are told) and controller_store.c (reading and writing). */
#ifndef OTTLA_BROKER_CLUSTER_CONTROLLER_INTERNAL_H
#define OTTLA_BROKER_CLUSTER_CONTROLLER_INTERNAL_H

#include "broker/cluster/controller.h"
#include "broker/cluster/controller_state.h"

enum { CONTROLLER_ARENA_BYTES = 1 << 30 };

/* An event that met this error is over; with one of the store the office is given up. */
void controller_event_done(struct controller *c, err e, const char *what);

struct controller {
    struct controller_config config;
    struct ctl_state state;
    bool active;
    int32_t epoch_version;  /* of /controller_epoch */
    int32_t known_leader;   /* the controller that was last read; -1 */
    bool follows;           /* another is the controller, and its node is watched */
    const char *unreadable; /* the node that an election stumbled over, or NULL */
    int32_t requested_n;    /* partitions in /admin/reassign_partitions; -1: it is not there */
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

/* Reads all brokers, and watches them. `left`: those that were known and are gone. */
NODISCARD err controller_load_brokers(struct controller *c, struct id_list *left);
/* Reads these topics' nodes and states into the model, and watches them. `list` are those that were
 * found. */
NODISCARD err controller_load_topics(struct controller *c, const char *const *names, int32_t count,
                                     struct topic_list *list);

/* Reads the states of these topics anew. */
NODISCARD err controller_load_states(struct controller *c, const struct topic_list *list);

/* ---- controller_send.c ---- */

/* Whom the controller talks to: the brokers of the model. */
void controller_send_targets(struct controller *c);
/* The brokers, and the states of these partitions, to every broker, or to one. */
void controller_send_metadata(struct controller *c, const struct parts *parts);
void controller_send_metadata_to(struct controller *c, const struct ctl_broker *to,
                                 const struct parts *parts);
/* The same to every broker, if there are such partitions. */
void controller_send_states(struct controller *c, const struct parts *parts);
/* Roles of these partitions to the brokers that hold them, or to one of those; not to one whose directory
 * has failed. That one is asked only to find out. */
void controller_send_roles(struct controller *c, const struct parts *parts);
void controller_send_roles_to(struct controller *c, const struct ctl_broker *to,
                              const struct parts *parts);
void controller_ask_roles(struct controller *c, const struct ctl_broker *to,
                          const struct parts *parts);
void controller_send_stops(struct controller *c, const struct ctl_broker *to,
                           const struct parts *parts, bool delete_partitions);
/* A topic that is being deleted: brokers that hold it, and have not been asked, are to stop its replicas
 * first. */
void controller_send_deletion(struct controller *c, struct ctl_topic *topic);
/* This one, which is registered, has: it is to delete them now. */
void controller_send_deletion_next(struct controller *c, struct ctl_topic *topic, int32_t broker);

void controller_decision_init(struct controller *c, struct ctl_decision *d);
/* Makes the writes, then tells the brokers of what has changed. */
NODISCARD err controller_carry_out(struct controller *c, struct ctl_decision *d);
/* Decides, and carries it out; where another's write came in between, on what is there now. */
NODISCARD err controller_decide(struct controller *c, const struct topic_list *list,
                                void (*decide)(struct ctl_decision *d,
                                               const struct topic_list *list),
                                struct ctl_decision *d);
/* The same of some partitions, one by one. */
NODISCARD err controller_decide_each(struct controller *c, const struct parts *parts,
                                     void (*decide)(struct ctl_decision *d, struct ctl_topic *topic,
                                                    int32_t partition));
NODISCARD err controller_settle(struct controller *c, const struct topic_list *list);

/* ---- controller_moves.c ---- */

/* Something has changed of these: reassignments that have come to their end are completed. */
NODISCARD err controller_check_moves(struct controller *c, const struct parts *parts);
NODISCARD err controller_check_all_moves(struct controller *c);
/* A new controller: those that are under way go on. */
NODISCARD err controller_resume_moves(struct controller *c);
/* Those that /admin/reassign_partitions asks for, and watches it. */
NODISCARD err controller_move_requested(struct controller *c);
/* A broker has come: it is told of replicas that it had, and that are not its own any more. */
void controller_stop_left(struct controller *c, const struct ctl_broker *broker);
/* What a broker says of partitions that it was told to stop, or to delete. */
struct left_answer {
    int32_t broker;
    bool deletes;
    struct parts done;
    struct parts refused;
};
NODISCARD err controller_on_left(struct controller *c, const struct left_answer *answer);
/* /admin/reassign_partitions has what is still to be done; when that is nothing it goes. */
NODISCARD err controller_note_requested(struct controller *c);

/* ---- controller_preferred.c ---- */

/* Those of brokers that lead too little of what they should. */
NODISCARD err controller_prefer_imbalanced(struct controller *c);
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

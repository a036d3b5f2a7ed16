/* The controller, for its own files: controller.c (events) and controller_store.c (reading and
 * writing). */
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

#endif

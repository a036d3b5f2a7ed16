/* The nodes of the model and its transactions, as ZooKeeper's DataTree and PrepRequestProcessor keep
 * them. One thread, no lock; knows nothing of sessions but their numbers.
 *
 * A write is applied at once and can be taken back until its transaction is committed; the next
 * operation of a transaction sees what the ones before it did. */
#ifndef OTTLA_ZK_MODEL_TREE_H
#define OTTLA_ZK_MODEL_TREE_H

#include "base/list.h"
#include "base/map.h"
#include "zk/coord.h"

struct tree_node {
    char *path;
    struct tree_node *parent; /* NULL: the root */
    struct list sibling;
    struct list children;
    uint8_t *data; /* NULL: null data */
    struct coord_stat stat;
    int64_t pzxid;   /* of the last change of its children */
    int32_t creates; /* children that were ever made: the next sequential number */
};

/* What a committed transaction did to one node, for watches. */
struct tree_change {
    struct list link;
    enum coord_watch_type type; /* created, deleted, changed */
    char path[];
};

/* Under which number, when and for whom a transaction writes. */
struct tree_txn {
    int64_t zxid;
    int64_t wall_ms;
    int64_t session_id; /* owns the ephemeral nodes that it makes */
};

struct tree {
    struct map nodes; /* path → struct tree_node */
    struct tree_node *root;
    struct list undo;    /* what the open transaction did, newest first */
    struct list changes; /* what committed ones did; the caller takes them */
};

void tree_init(struct tree *tree);
void tree_deinit(struct tree *tree);

/* The node, or NULL. */
const struct tree_node *tree_find(const struct tree *tree, const char *path);

/* Get and children: OK or E_NOT_FOUND; results in the arena, which has room. */
NODISCARD err tree_read(const struct tree *tree, struct coord_op *op, struct arena *arena);

/* Create, set, delete, check, inside a transaction: OK, with results in the arena, or why not, in which
 * case nothing was done. Then tree_commit or tree_rollback. */
NODISCARD err tree_write(struct tree *tree, const struct tree_txn *txn, struct coord_op *op,
                         struct arena *arena);
void tree_commit(struct tree *tree);
void tree_rollback(struct tree *tree);

/* A transaction of its own: the ephemeral nodes of a session go. */
void tree_end_session(struct tree *tree, const struct tree_txn *txn);

/* The directory that a path is in: its length. */
size_t tree_parent_len(const char *path);

#endif

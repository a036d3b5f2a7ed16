/* As ZooKeeper 3.8 counts: a node keeps how many children were ever made below it. That is the number of
 * the next sequential child, and children_version is twice that less the children that are there:
 * every creation and every deletion counts one. All operations of a transaction have one zxid.
 *
 * A node that a transaction deletes is kept in its undo until the commit. */
#define _GNU_SOURCE
#include "zk/model/tree.h"

#include <stdio.h>
#include <stdlib.h>

/* How to take one operation back. */
struct undo {
    struct list link;
    enum coord_op_type type;
    struct tree_node *node;
    struct coord_stat stat; /* set: as it was, */
    uint8_t *data;          /* with its data */
    int64_t parent_pzxid;   /* create, delete */
};

/* ---- nodes ---- */

size_t tree_parent_len(const char *path)
{
    size_t len = (size_t)(strrchr(path, '/') - path);
    return len == 0 ? 1 : len;
}

static struct tree_node *node_find(const struct tree *tree, const char *path, size_t len)
{
    return map_get(&tree->nodes, bytes_of(path, len));
}

const struct tree_node *tree_find(const struct tree *tree, const char *path)
{
    return node_find(tree, path, strlen(path));
}

static struct coord_stat node_stat(const struct tree_node *node)
{
    struct coord_stat stat = node->stat;
    stat.children_version = node->creates * 2 - node->stat.children_n;
    return stat;
}

static void node_link(struct tree *tree, struct tree_node *node)
{
    CHECK(map_set_str(&tree->nodes, str_of(node->path), node) == NULL);
    list_append(&node->parent->children, &node->sibling);
    node->parent->stat.children_n++;
}

static void node_unlink(struct tree *tree, struct tree_node *node)
{
    CHECK(list_empty(&node->children));
    CHECK(map_remove_str(&tree->nodes, str_of(node->path)) == node);
    list_remove(&node->sibling);
    node->parent->stat.children_n--;
}

static void node_free(struct tree_node *node)
{
    free(node->data);
    free(node->path);
    free(node);
}

/* A copy; null data stays null, empty data does not become it. */
static uint8_t *data_dup(struct bytes data)
{
    if (data.data == NULL) {
        return NULL;
    }
    uint8_t *copy = xmalloc(data.len + 1);
    memcpy(copy, data.data, data.len);
    return copy;
}

static struct tree_node *node_new(const char *path, struct tree_node *parent, struct bytes data)
{
    struct tree_node *node = xcalloc(1, sizeof(*node));
    node->path = xstrdup(path);
    node->parent = parent;
    list_init(&node->sibling);
    list_init(&node->children);
    node->data = data_dup(data);
    node->stat.data_len = (int32_t)data.len;
    return node;
}

void tree_init(struct tree *tree)
{
    map_init(&tree->nodes);
    tree->root = node_new("/", NULL, bytes_of("", 0));
    (void)map_set_str(&tree->nodes, STR("/"), tree->root);
    list_init(&tree->undo);
    list_init(&tree->changes);
}

void tree_deinit(struct tree *tree)
{
    CHECK(list_empty(&tree->undo));
    map_each (entry, &tree->nodes) {
        node_free(entry->value);
    }
    map_deinit(&tree->nodes);
    list_each_safe (item, &tree->changes) {
        list_remove(item);
        free(container_of(item, struct tree_change, link));
    }
}

/* ---- reading ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void read_children(const struct tree_node *node, struct coord_op *op, struct arena *arena)
{
    size_t count = (size_t)node->stat.children_n;
    op->children = arena_array(arena, count + 1, sizeof(*op->children));
    CHECK(op->children != NULL);
    list_each (item, &node->children) {
        const struct tree_node *child = container_of(item, struct tree_node, sibling);
        const char *name = arena_str(arena, str_of(strrchr(child->path, '/') + 1)).data;
        CHECK(name != NULL);
        op->children[op->children_n++] = name;
    }
    CHECK((size_t)op->children_n == count);
    qsort(op->children, count, sizeof(*op->children), compare_names);
}

static void read_data(const struct tree_node *node, struct coord_op *op, struct arena *arena)
{
    if (node->data == NULL) {
        return;
    }
    size_t len = (size_t)node->stat.data_len;
    uint8_t *copy = arena_alloc(arena, len + 1);
    CHECK(copy != NULL);
    memcpy(copy, node->data, len);
    op->value = bytes_of(copy, len);
}

err tree_read(const struct tree *tree, struct coord_op *op, struct arena *arena)
{
    const struct tree_node *node = tree_find(tree, op->path);
    if (node == NULL) {
        return E_NOT_FOUND;
    }
    op->stat = node_stat(node);
    if (op->type == COORD_CHILDREN) {
        read_children(node, op, arena);
    } else {
        read_data(node, op, arena);
    }
    return OK;
}

/* ---- writing ---- */

static struct undo *undo_new(struct tree *tree, enum coord_op_type type, struct tree_node *node)
{
    struct undo *undo = xcalloc(1, sizeof(*undo));
    undo->type = type;
    undo->node = node;
    list_prepend(&tree->undo, &undo->link);
    return undo;
}

static err write_create(struct tree *tree, const struct tree_txn *txn, struct coord_op *op,
                        struct arena *arena)
{
    struct tree_node *parent = node_find(tree, op->path, tree_parent_len(op->path));
    if (parent == NULL) {
        return E_NOT_FOUND;
    }
    struct str path = (op->flags & COORD_SEQUENTIAL) != 0
                          ? arena_format(arena, "%s%010d", op->path, parent->creates)
                          : arena_str(arena, str_of(op->path));
    CHECK(path.data != NULL);
    if (tree_find(tree, path.data) != NULL) {
        return E_EXISTS;
    }
    if (parent->stat.ephemeral_owner != 0) {
        return E_UNSUPPORTED; /* no children below an ephemeral node */
    }
    struct tree_node *node = node_new(path.data, parent, op->data);
    node->stat.czxid = node->stat.mzxid = node->pzxid = txn->zxid;
    node->stat.ctime_ms = node->stat.mtime_ms = txn->wall_ms;
    node->stat.ephemeral_owner = (op->flags & COORD_EPHEMERAL) != 0 ? txn->session_id : 0;
    node_link(tree, node);
    undo_new(tree, COORD_CREATE, node)->parent_pzxid = parent->pzxid;
    parent->creates++;
    parent->pzxid = txn->zxid;
    op->created_path = path.data;
    op->stat = node_stat(node);
    return OK;
}

static err write_set(struct tree *tree, const struct tree_txn *txn, struct coord_op *op,
                     struct tree_node *node)
{
    struct undo *undo = undo_new(tree, COORD_SET, node);
    undo->stat = node->stat;
    undo->data = node->data;
    node->data = data_dup(op->data);
    node->stat.data_len = (int32_t)op->data.len;
    node->stat.version++;
    node->stat.mzxid = txn->zxid;
    node->stat.mtime_ms = txn->wall_ms;
    op->stat = node_stat(node);
    return OK;
}

static err write_delete(struct tree *tree, const struct tree_txn *txn, struct tree_node *node)
{
    if (node->stat.children_n > 0) {
        return E_NOT_EMPTY;
    }
    undo_new(tree, COORD_DELETE, node)->parent_pzxid = node->parent->pzxid;
    node->parent->pzxid = txn->zxid;
    node_unlink(tree, node);
    return OK;
}

err tree_write(struct tree *tree, const struct tree_txn *txn, struct coord_op *op,
               struct arena *arena)
{
    if (op->type == COORD_CREATE) {
        return write_create(tree, txn, op, arena);
    }
    struct tree_node *node = node_find(tree, op->path, strlen(op->path));
    if (node == NULL) {
        return E_NOT_FOUND;
    }
    if (op->version != COORD_ANY_VERSION && op->version != node->stat.version) {
        return E_VERSION;
    }
    if (op->type == COORD_SET) {
        return write_set(tree, txn, op, node);
    }
    if (op->type == COORD_DELETE) {
        return node == tree->root ? E_MALFORMED : write_delete(tree, txn, node);
    }
    op->stat = node_stat(node);
    return OK;
}

/* ---- the end of a transaction ---- */

static void undo_free(struct undo *undo)
{
    list_remove(&undo->link);
    free(undo);
}

/* Newest first, so that each finds what it left. */
void tree_rollback(struct tree *tree)
{
    list_each_safe (item, &tree->undo) {
        struct undo *undo = container_of(item, struct undo, link);
        struct tree_node *node = undo->node;
        if (undo->type == COORD_SET) {
            free(node->data);
            node->data = undo->data;
            node->stat = undo->stat;
        } else {
            node->parent->pzxid = undo->parent_pzxid;
        }
        if (undo->type == COORD_DELETE) {
            node_link(tree, node);
        } else if (undo->type == COORD_CREATE) {
            node->parent->creates--;
            node_unlink(tree, node);
            node_free(node);
        }
        undo_free(undo);
    }
}

static void change_add(struct tree *tree, const struct undo *undo)
{
    size_t size = strlen(undo->node->path) + 1;
    struct tree_change *change = xmalloc(sizeof(*change) + size);
    change->type = undo->type == COORD_CREATE ? COORD_NODE_CREATED
                   : undo->type == COORD_SET  ? COORD_NODE_CHANGED
                                              : COORD_NODE_DELETED;
    memcpy(change->path, undo->node->path, size);
    list_append(&tree->changes, &change->link);
}

/* Oldest first. A node may be set, or even made, before it is deleted: it goes when its last undo does,
 * which is that of its deletion. */
void tree_commit(struct tree *tree)
{
    while (!list_empty(&tree->undo)) {
        struct undo *undo = container_of(tree->undo.prev, struct undo, link);
        change_add(tree, undo);
        free(undo->data);
        if (undo->type == COORD_DELETE) {
            node_free(undo->node);
        }
        undo_free(undo);
    }
}

void tree_end_session(struct tree *tree, const struct tree_txn *txn)
{
    size_t n = 0;
    struct tree_node **owned = xcalloc(tree->nodes.count, sizeof(struct tree_node *));
    map_each (entry, &tree->nodes) {
        struct tree_node *node = entry->value;
        if (node->stat.ephemeral_owner == txn->session_id) {
            owned[n++] = node;
        }
    }
    for (size_t i = 0; i < n; i++) {
        CHECK(write_delete(tree, txn, owned[i]) == OK);
    }
    free(owned);
    tree_commit(tree);
}

/* A write that was sent twice leaves a trace by which it is known: a node with its data and its owner,
 * a version, the absence of a node. A sequential node has none, since nobody knows its number; a
 * check has none either. A transaction was done when every trace of it is there. */
#include "zk/coord_remote.h"

enum {
    OP_OVERHEAD_BYTES = 64,
    FOUND_BYTES_MAX = 4 << 20, /* a node, read to compare */
};

/* ---- an operation ---- */

size_t remote_request_bytes(const struct coord_op *op)
{
    return strlen(op->path) + op->data.len + OP_OVERHEAD_BYTES;
}

err remote_op_prepare(struct coord_op *op, struct arena *arena)
{
    op->stat = (struct coord_stat){0};
    op->value = (struct bytes){0};
    op->children = NULL;
    op->children_n = 0;
    op->created_path = NULL;
    if (!coord_path_valid(op->path, (op->flags & COORD_SEQUENTIAL) != 0)) {
        return E_MALFORMED;
    }
    if (op->type != COORD_CREATE) {
        return OK;
    }
    op->created_path = arena_alloc(arena, strlen(op->path) + REMOTE_SEQUENCE_BYTES);
    return op->created_path == NULL ? E_LIMIT : OK;
}

void remote_op_finish(struct coord_op *op, err e)
{
    if (e != OK) {
        op->created_path = NULL;
    }
}

void remote_created_path_set(struct coord_op *op, const char *path)
{
    size_t len = strlen(path);
    CHECK(len < strlen(op->path) + REMOTE_SEQUENCE_BYTES);
    memcpy((char *)op->created_path, path, len + 1);
}

bool remote_is_refusal(err e)
{
    return e == E_NOT_FOUND || e == E_EXISTS || e == E_VERSION || e == E_NOT_EMPTY ||
           e == E_UNSUPPORTED;
}

/* ---- a refusal of what was sent twice ---- */

static bool data_same(struct bytes a, struct bytes b)
{
    return (a.data == NULL) == (b.data == NULL) && bytes_equal(a, b);
}

/* Is what was found what the operation was to make? */
static bool looks_applied(const struct coord_op *op, const struct coord_op *found,
                          int64_t session_id)
{
    int64_t owner = (op->flags & COORD_EPHEMERAL) != 0 ? session_id : 0;
    switch (op->type) {
    case COORD_CREATE:
        return found->error == OK && found->stat.ephemeral_owner == owner &&
               data_same(found->value, op->data);
    case COORD_SET:
        return found->error == OK && data_same(found->value, op->data) &&
               (op->version == COORD_ANY_VERSION || found->stat.version == op->version + 1);
    default:
        return found->error == E_NOT_FOUND;
    }
}

bool remote_may_be_applied(const struct coord_op *op, err refused)
{
    switch (op->type) {
    case COORD_CREATE:
        return refused == E_EXISTS && (op->flags & COORD_SEQUENTIAL) == 0;
    case COORD_SET:
        return refused == E_VERSION;
    case COORD_DELETE:
        return refused == E_NOT_FOUND;
    default:
        return false;
    }
}

err remote_settle(const struct remote_reader *reader, struct coord_op *op, err refused)
{
    struct arena arena;
    arena_init(&arena, FOUND_BYTES_MAX);
    struct coord_op found = {.type = COORD_GET, .path = op->path};
    reader->read(reader->context, &found, &arena);
    err e = refused;
    if (found.error != OK && found.error != E_NOT_FOUND) {
        e = found.error;
    } else if (looks_applied(op, &found, reader->session_id)) {
        e = OK;
        op->stat = found.stat;
        if (op->type == COORD_CREATE) {
            remote_created_path_set(op, op->path);
        }
    }
    arena_deinit(&arena);
    return e;
}

/* The last operation of a transaction on the same node. */
static size_t last_on_node(const struct coord_op *ops, size_t count, size_t i)
{
    for (size_t k = count; k-- > i + 1;) {
        if (ops[k].type != COORD_CHECK && strcmp(ops[k].path, ops[i].path) == 0) {
            return k;
        }
    }
    return i;
}

/* Does the transaction leave its trace here: not a check, not followed by another operation on the
 * same node, not a node whose number is unknown? */
static bool leaves_trace(const struct coord_op *ops, size_t count, size_t i)
{
    return ops[i].type != COORD_CHECK && (ops[i].flags & COORD_SEQUENTIAL) == 0 &&
           last_on_node(ops, count, i) == i;
}

/* An operation that another one of its transaction followed on the node: made by the same transaction, it
 * has the same numbers, but for the version. */
static void take_stat(struct coord_op *ops, size_t count, size_t i)
{
    size_t last = last_on_node(ops, count, i);
    if (last != i && ops[i].type != COORD_CHECK && ops[i].type != COORD_DELETE) {
        ops[i].stat = ops[last].stat;
        ops[i].stat.version = ops[i].type == COORD_CREATE ? 0 : ops[i].version + 1;
        ops[i].stat.data_len = (int32_t)ops[i].data.len;
    }
}

void remote_settle_lost(const struct remote_reader *reader, struct coord_op *op, err e, int losses)
{
    bool doubtful = losses > 0 && remote_may_be_applied(op, e);
    op->error = doubtful ? remote_settle(reader, op, e) : e;
}

err remote_run_finish(struct coord_op *ops, size_t count)
{
    err e = OK;
    for (size_t i = count; i-- > 0;) {
        remote_op_finish(&ops[i], ops[i].error);
        e = ops[i].error == OK || remote_is_refusal(ops[i].error) ? e : ops[i].error;
    }
    return e;
}

err remote_settle_multi(const struct remote_reader *reader, struct coord_op *ops, size_t count,
                        err refused)
{
    bool traces = false;
    for (size_t i = 0; i < count; i++) {
        if (leaves_trace(ops, count, i)) {
            TRY(remote_settle(reader, &ops[i], refused));
            traces = true;
        }
    }
    if (!traces) {
        return refused;
    }
    for (size_t i = 0; i < count; i++) {
        ops[i].error = OK;
        take_stat(ops, count, i);
        if (ops[i].type == COORD_CREATE && (ops[i].flags & COORD_SEQUENTIAL) != 0) {
            ops[i].created_path = NULL;
        } else if (ops[i].type == COORD_CREATE) {
            remote_created_path_set(&ops[i], ops[i].path);
        }
    }
    return OK;
}

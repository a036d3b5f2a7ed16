/* Requests to the C client, and its answers. An answer comes on the client's thread and is copied into
 * the caller's arena under the lock, while the caller waits. A request whose call is over has no
 * step: its late answer touches nothing but the request. What the client writes without asking (the
 * results of a transaction) lies in the request for the same reason.
 *
 * The client's length of null data is -1, both ways. Paths in its answers are without the chroot. */
#define _GNU_SOURCE
#include "zk/zookeeper_client.h"

#include <stdlib.h>

/* What the client fills in for a transaction, one of each for every operation. */
struct transaction {
    zoo_op_t *ops;
    zoo_op_result_t *results;
    struct Stat *stats;
    char **paths; /* NULL where nothing is created */
    size_t count;
};

struct request {
    struct list link; /* in zookeeper_calls.requests */
    struct zookeeper_calls *calls;
    struct step *step; /* NULL: the call is over */
    struct transaction transaction;
};

/* ---- answers as errors ---- */

/* The outcome is unknown, or the request was not looked at: it is sent again. */
bool zookeeper_is_loss(int rc)
{
    return rc == ZCONNECTIONLOSS || rc == ZOPERATIONTIMEOUT || rc == ZSYSTEMERROR ||
           rc == ZRUNTIMEINCONSISTENCY || rc == ZSESSIONMOVED || rc == ZTHROTTLEDOP;
}

bool zookeeper_is_end_of_session(int rc)
{
    return rc == ZSESSIONEXPIRED || rc == ZINVALIDSTATE || rc == ZAUTHFAILED || rc == ZCLOSING;
}

err zookeeper_err(int rc)
{
    switch (rc) {
    case ZOK:
        return OK;
    case ZNONODE:
        return E_NOT_FOUND;
    case ZNODEEXISTS:
        return E_EXISTS;
    case ZBADVERSION:
        return E_VERSION;
    case ZNOTEMPTY:
        return E_NOT_EMPTY;
    case ZNOCHILDRENFOREPHEMERALS:
        return E_UNSUPPORTED;
    case ZBADARGUMENTS:
        return E_MALFORMED;
    case ZNOAUTH:
    case ZSESSIONCLOSEDREQUIRESASLAUTH:
        return err_from_errno(EACCES);
    default:
        return zookeeper_is_end_of_session(rc) ? E_SESSION : err_from_errno(EIO);
    }
}

/* ---- requests ---- */

static void transaction_deinit(struct transaction *transaction)
{
    for (size_t i = 0; i < transaction->count; i++) {
        free(transaction->paths[i]);
    }
    free(transaction->paths);
    free(transaction->stats);
    free(transaction->results);
    free(transaction->ops);
}

static void request_free(struct request *request)
{
    list_remove(&request->link);
    transaction_deinit(&request->transaction);
    free(request);
}

/* The request of an answer; locks. */
static struct request *answer_begin(const void *data)
{
    struct request *request = (struct request *)data;
    pthread_mutex_lock(&request->calls->lock);
    return request;
}

/* Frees the request and unlocks. */
static void answer_end(struct request *request, int rc, err e)
{
    struct zookeeper_calls *calls = request->calls;
    struct step *step = request->step;
    request_free(request);
    if (step != NULL) {
        step_answered(calls, step, rc, e);
    }
    pthread_cond_broadcast(&calls->changed);
    pthread_mutex_unlock(&calls->lock);
}

/* ---- answers ---- */

static struct coord_stat stat_of(const struct Stat *stat)
{
    return (struct coord_stat){
        .czxid = stat->czxid,
        .mzxid = stat->mzxid,
        .ctime_ms = stat->ctime,
        .mtime_ms = stat->mtime,
        .version = stat->version,
        .children_version = stat->cversion,
        .ephemeral_owner = stat->ephemeralOwner,
        .data_len = stat->dataLength,
        .children_n = stat->numChildren,
    };
}

static err value_copy(struct arena *arena, struct coord_op *op, const char *value, int len)
{
    if (len < 0) {
        return OK; /* null data */
    }
    uint8_t *copy = arena_alloc(arena, (size_t)len + 1);
    if (copy == NULL) {
        return E_LIMIT;
    }
    if (len > 0) {
        memcpy(copy, value, (size_t)len);
    }
    op->value = bytes_of(copy, (size_t)len);
    return OK;
}

static void on_data(int rc, const char *value, int len, const struct Stat *stat, const void *data)
{
    struct request *request = answer_begin(data);
    struct step *step = request->step;
    err e = OK;
    if (step != NULL && rc == ZOK) {
        step->ops->stat = stat_of(stat);
        e = value_copy(request->calls->call->arena, step->ops, value, len);
    }
    answer_end(request, rc, e);
}

static void on_stat(int rc, const struct Stat *stat, const void *data)
{
    struct request *request = answer_begin(data);
    if (request->step != NULL && rc == ZOK) {
        request->step->ops->stat = stat_of(stat);
    }
    answer_end(request, rc, OK);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static err children_copy(struct arena *arena, struct coord_op *op,
                         const struct String_vector *names)
{
    size_t count = (size_t)names->count;
    op->children = arena_array(arena, count + 1, sizeof(*op->children));
    if (op->children == NULL) {
        return E_LIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        op->children[i] = arena_str(arena, str_of(names->data[i])).data;
        if (op->children[i] == NULL) {
            return E_LIMIT;
        }
    }
    op->children_n = names->count;
    qsort(op->children, count, sizeof(*op->children), compare_names);
    return OK;
}

static void on_children(int rc, const struct String_vector *names, const struct Stat *stat,
                        const void *data)
{
    struct request *request = answer_begin(data);
    struct step *step = request->step;
    err e = OK;
    if (step != NULL && rc == ZOK) {
        step->ops->stat = stat_of(stat);
        e = children_copy(request->calls->call->arena, step->ops, names);
    }
    answer_end(request, rc, e);
}

static void on_created(int rc, const char *path, const struct Stat *stat, const void *data)
{
    struct request *request = answer_begin(data);
    if (request->step != NULL && rc == ZOK) {
        request->step->ops->stat = stat_of(stat);
        remote_created_path_set(request->step->ops, path);
    }
    answer_end(request, rc, OK);
}

static void on_deleted(int rc, const void *data)
{
    answer_end(answer_begin(data), rc, OK);
}

static void on_synced(int rc, const char *path, const void *data)
{
    (void)rc; /* if it is lost, so is the read behind it */
    (void)path;
    (void)data;
}

/* The operations before the one that failed have no error of their own, those behind it were not
 * looked at. */
static void transaction_errors_copy(const struct transaction *transaction, struct coord_op *ops)
{
    bool failed = false;
    for (size_t i = 0; i < transaction->count; i++) {
        int rc = transaction->results[i].err;
        ops[i].error = failed ? E_CLOSED : zookeeper_err(rc);
        failed = failed || rc != ZOK;
    }
}

static void transaction_results_copy(const struct transaction *transaction, struct coord_op *ops)
{
    for (size_t i = 0; i < transaction->count; i++) {
        ops[i].error = OK;
        if (ops[i].type == COORD_CREATE && transaction->results[i].value != NULL) {
            remote_created_path_set(&ops[i], transaction->paths[i]);
        } else if (ops[i].type == COORD_SET) {
            ops[i].stat = stat_of(&transaction->stats[i]);
        }
    }
}

static void on_multi(int rc, const void *data)
{
    struct request *request = answer_begin(data);
    struct step *step = request->step;
    if (step != NULL && rc == ZOK) {
        transaction_results_copy(&request->transaction, step->ops);
    } else if (step != NULL && !zookeeper_is_loss(rc)) {
        transaction_errors_copy(&request->transaction, step->ops);
    }
    answer_end(request, rc, OK);
}

/* ---- questions ---- */

/* The client's length of null data is -1. */
static int data_len(struct bytes data)
{
    return data.data == NULL ? -1 : (int)data.len;
}

static int create_mode(const struct coord_op *op)
{
    return ((op->flags & COORD_EPHEMERAL) != 0 ? ZOO_EPHEMERAL : 0) |
           ((op->flags & COORD_SEQUENTIAL) != 0 ? ZOO_SEQUENCE : 0);
}

static void transaction_op_init(struct transaction *transaction, size_t i,
                                const struct coord_op *op)
{
    zoo_op_t *to = &transaction->ops[i];
    const char *data = (const char *)op->data.data;
    size_t room = strlen(op->path) + REMOTE_SEQUENCE_BYTES;
    switch (op->type) {
    case COORD_CREATE:
        transaction->paths[i] = xcalloc(1, room);
        zoo_create_op_init(to, op->path, data, data_len(op->data), &ZOO_OPEN_ACL_UNSAFE,
                           create_mode(op), transaction->paths[i], (int)room);
        break;
    case COORD_SET:
        zoo_set_op_init(to, op->path, data, data_len(op->data), op->version,
                        &transaction->stats[i]);
        break;
    case COORD_DELETE:
        zoo_delete_op_init(to, op->path, op->version);
        break;
    default:
        CHECK(op->type == COORD_CHECK);
        zoo_check_op_init(to, op->path, op->version);
    }
}

static int send_multi(zhandle_t *handle, const struct step *step, struct request *request)
{
    struct transaction *transaction = &request->transaction;
    *transaction = (struct transaction){
        .ops = xcalloc(step->ops_n, sizeof(*transaction->ops)),
        .results = xcalloc(step->ops_n, sizeof(*transaction->results)),
        .stats = xcalloc(step->ops_n, sizeof(*transaction->stats)),
        .paths = xcalloc(step->ops_n, sizeof(*transaction->paths)),
        .count = step->ops_n,
    };
    for (size_t i = 0; i < step->ops_n; i++) {
        transaction_op_init(transaction, i, &step->ops[i]);
    }
    return zoo_amulti(handle, (int)step->ops_n, transaction->ops, transaction->results, on_multi,
                      request);
}

static int send_op(const struct zookeeper_calls *calls, const struct step *step,
                   struct request *request)
{
    zhandle_t *handle = calls->handle;
    const struct coord_op *op = step->ops;
    const char *data = (const char *)op->data.data;
    watcher_fn watcher = (op->flags & COORD_WATCH) != 0 ? calls->watcher : NULL;
    switch (op->type) {
    case COORD_GET:
        return zoo_awget(handle, op->path, watcher, calls->watcher_context, on_data, request);
    case COORD_CHILDREN:
        return zoo_awget_children2(handle, op->path, watcher, calls->watcher_context, on_children,
                                   request);
    case COORD_CREATE:
        return zoo_acreate2(handle, op->path, data, data_len(op->data), &ZOO_OPEN_ACL_UNSAFE,
                            create_mode(op), on_created, request);
    case COORD_SET:
        return zoo_aset(handle, op->path, data, data_len(op->data), op->version, on_stat, request);
    case COORD_DELETE:
        return zoo_adelete(handle, op->path, op->version, on_deleted, request);
    default:
        return send_multi(handle, step, request);
    }
}

static int send_step(const struct zookeeper_calls *calls, const struct step *step,
                     struct request *request)
{
    zhandle_t *handle = calls->handle;
    const char *path = step->ops->path;
    switch (step->ask) {
    case ASK_OP:
        return send_op(calls, step, request);
    case ASK_ABSENT:
        return zoo_awexists(handle, path, calls->watcher, calls->watcher_context, on_stat, request);
    case ASK_STAT:
        return zoo_aexists(handle, path, 0, on_stat, request);
    case ASK_FRESH:
        (void)zoo_async(handle, path, on_synced, NULL);
        return zoo_aget(handle, path, 0, on_data, request);
    default:
        return send_multi(handle, step, request);
    }
}

/* ---- the interface ---- */

static struct request *request_new(struct zookeeper_calls *calls, struct step *step)
{
    struct request *request = xcalloc(1, sizeof(*request));
    request->calls = calls;
    request->step = step;
    list_append(&calls->requests, &request->link);
    return request;
}

int request_send(struct zookeeper_calls *calls, const struct step *question, struct step *step)
{
    struct request *request = request_new(calls, step);
    int rc = send_step(calls, question, request);
    if (rc != ZOK) {
        request->step = NULL;
    }
    if (rc == ZBADARGUMENTS || rc == ZINVALIDSTATE) {
        request_free(request);
    }
    return rc;
}

void requests_forget(struct zookeeper_calls *calls)
{
    list_each (item, &calls->requests) {
        container_of(item, struct request, link)->step = NULL;
    }
}

void requests_free(struct zookeeper_calls *calls)
{
    list_each_safe (item, &calls->requests) {
        request_free(container_of(item, struct request, link));
    }
}

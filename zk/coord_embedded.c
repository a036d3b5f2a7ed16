/* The embedded coordination store: one SQLite table of nodes, for a broker that runs alone.
 *
 *   node(path, parent, data, czxid, mzxid, ctime, mtime, version, cversion, sequence, owner)
 *   meta(name, value): "zxid", the last transaction number; "session", the last session
 *
 * Durability: rollback journal, synchronous=FULL. A batch is one SQLite transaction, committed
 * before the call returns, so a batch of many writes costs the same few flushes as one. Within a
 * batch each operation stands for itself (a savepoint is not needed: a refused operation changes
 * nothing); in a multi the first refusal rolls everything back.
 *
 * A session is a number; opening ends the one before: its ephemeral nodes are deleted. That is
 * committed with the first write of the new session, and costs no flush of its own. Transaction
 * numbers only grow, over restarts too: broker epochs depend on it.
 *
 * A disk that is full: SQLite rolls the transaction back, by itself or asked to, with all of the call and with what
 * the session had changed before it; both are done again when there is more room (coord_events.make_room), as often as
 * there is. A call that fails has changed nothing, and the store goes on.
 *
 * Watches are one-shot entries in memory. They fire from inside a call, after its commit; whoever
 * listens only posts.
 *
 * SQLite takes its own advisory locks on the file; two brokers on one directory are kept apart
 * before, by .lock. exclusive locking mode keeps it to one lock call. */
#define _GNU_SOURCE
#include "zk/coord.h"

#include "base/list.h"
#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 1 << 20, OWNER_ONLY = 0600 };

enum statement {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_SAVEPOINT,
    SQL_RELEASE,
    SQL_ROLLBACK_TO,
    SQL_GET,
    SQL_CHILDREN,
    SQL_CHILD_COUNT,
    SQL_INSERT,
    SQL_SET,
    SQL_DELETE,
    SQL_PARENT_TOUCH,
    SQL_META_GET,
    SQL_META_SET,
    SQL_EPHEMERAL,
    SQL_COUNT,
};

static const char *const STATEMENTS[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_SAVEPOINT] = "SAVEPOINT call",
    [SQL_RELEASE] = "RELEASE call",
    [SQL_ROLLBACK_TO] = "ROLLBACK TO call",
    [SQL_GET] = "SELECT data, czxid, mzxid, ctime, mtime, version, cversion, sequence, owner "
                "FROM node WHERE path = ?1",
    [SQL_CHILDREN] = "SELECT path FROM node WHERE parent = ?1 ORDER BY path",
    [SQL_CHILD_COUNT] = "SELECT COUNT(*) FROM node WHERE parent = ?1",
    [SQL_INSERT] = "INSERT INTO node (path, parent, data, czxid, mzxid, ctime, mtime, version, "
                   "cversion, sequence, owner) VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?5, 0, 0, 0, ?6)",
    [SQL_SET] = "UPDATE node SET data = ?2, mzxid = ?3, mtime = ?4, version = version + 1 "
                "WHERE path = ?1",
    [SQL_DELETE] = "DELETE FROM node WHERE path = ?1",
    [SQL_PARENT_TOUCH] = "UPDATE node SET cversion = cversion + 1, sequence = sequence + ?2 "
                         "WHERE path = ?1",
    [SQL_META_GET] = "SELECT value FROM meta WHERE name = ?1",
    [SQL_META_SET] = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)",
    [SQL_EPHEMERAL] = "SELECT path FROM node WHERE owner != 0 AND owner != ?1 LIMIT 1",
};

static const char SCHEMA[] =
    "PRAGMA locking_mode = EXCLUSIVE;"
    "PRAGMA journal_mode = TRUNCATE;"
    "PRAGMA synchronous = FULL;"
    "CREATE TABLE IF NOT EXISTS node (path TEXT PRIMARY KEY, parent TEXT NOT NULL, data BLOB,"
    " czxid INTEGER NOT NULL, mzxid INTEGER NOT NULL, ctime INTEGER NOT NULL,"
    " mtime INTEGER NOT NULL, version INTEGER NOT NULL, cversion INTEGER NOT NULL,"
    " sequence INTEGER NOT NULL, owner INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS node_parent ON node (parent);"
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT "
    "ROWID;";

/* A watch that fires when the transaction is committed, and waits on when it is not. */
struct firing {
    struct list link;
    enum coord_watch_type type;
    bool children;
    char path[];
};

struct embedded {
    struct coord coord;
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT];
    struct clock *clock;
    struct coord_events events;
    int64_t zxid;
    int64_t session;
    int64_t zxid_before; /* of the running call */
    bool wrote;          /* in the running call */
    bool session_waits;  /* its own changes are not committed yet */
    struct map data_watches;
    struct map child_watches;
    struct list firing;
};

/* ---- SQLite ---- */

static err sql_err(int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return OK;
    case SQLITE_FULL:
        return err_from_errno(ENOSPC);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return E_CORRUPT;
    default:
        return err_from_errno(EIO);
    }
}

static sqlite3_stmt *use(struct embedded *store, enum statement which)
{
    sqlite3_stmt *statement = store->statements[which];
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return statement;
}

static void bind_text(sqlite3_stmt *statement, int index, const char *text, size_t len)
{
    CHECK(sqlite3_bind_text(statement, index, text, (int)len, SQLITE_TRANSIENT) == SQLITE_OK);
}

static void bind_number(sqlite3_stmt *statement, int index, int64_t value)
{
    CHECK(sqlite3_bind_int64(statement, index, value) == SQLITE_OK);
}

static void bind_data(sqlite3_stmt *statement, int index, struct bytes data)
{
    if (data.data == NULL) {
        CHECK(sqlite3_bind_null(statement, index) == SQLITE_OK);
    } else {
        CHECK(sqlite3_bind_blob(statement, index, data.data, (int)data.len, SQLITE_TRANSIENT) ==
              SQLITE_OK);
    }
}

/* SQLite takes a quota, and a sync without room, for any error of input and output, and tells the number of few. The
 * number is what the system said last, since errno was cleared before the call, or what SQLite noted of it: what it does
 * afterwards, as rolling back, may change errno. */
static err sql_err_by_errno(sqlite3 *db, int code)
{
    err now = err_from_errno(errno);
    err noted = err_from_errno(db == NULL ? 0 : sqlite3_system_errno(db));
    bool is_io = (code & 0xff) == SQLITE_IOERR;
    return is_io && err_is_no_room(now)     ? now
           : is_io && err_is_no_room(noted) ? noted
                                            : sql_err(code);
}

static err step(sqlite3_stmt *statement)
{
    errno = 0;
    int code = sqlite3_step(statement);
    err e = sql_err_by_errno(sqlite3_db_handle(statement), code);
    sqlite3_reset(statement);
    return e;
}

static err simple(struct embedded *store, enum statement which)
{
    return step(use(store, which));
}

static int64_t meta_get(struct embedded *store, const char *name)
{
    sqlite3_stmt *statement = use(store, SQL_META_GET);
    bind_text(statement, 1, name, strlen(name));
    int64_t value = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return value;
}

static err meta_set(struct embedded *store, const char *name, int64_t value)
{
    sqlite3_stmt *statement = use(store, SQL_META_SET);
    bind_text(statement, 1, name, strlen(name));
    bind_number(statement, 2, value);
    return step(statement);
}

/* ---- watches ---- */

/* Two maps, one for data and one for children: path → the store itself, as a mark. */
static struct map *watches_of(struct embedded *store, bool children)
{
    return children ? &store->child_watches : &store->data_watches;
}

static void watch_add(struct embedded *store, const char *path, bool children)
{
    (void)map_set_str(watches_of(store, children), str_of(path), store);
}

static void watch_fire(struct embedded *store, const char *path, size_t len, bool children,
                       enum coord_watch_type type)
{
    if (map_remove(watches_of(store, children), bytes_of(path, len)) == NULL) {
        return;
    }
    struct firing *f = xmalloc(sizeof(*f) + len + 1);
    f->type = type;
    f->children = children;
    memcpy(f->path, path, len);
    f->path[len] = '\0';
    list_append(&store->firing, &f->link);
}

static void watches_deliver(struct embedded *store, bool committed)
{
    list_each_safe (item, &store->firing) {
        struct firing *f = container_of(item, struct firing, link);
        list_remove(&f->link);
        if (committed) {
            store->events.watch(store->events.context, f->type, f->path);
        } else {
            watch_add(store, f->path, f->children);
        }
        free(f);
    }
}

/* ---- nodes ---- */

static size_t parent_len(const char *path)
{
    size_t len = (size_t)(strrchr(path, '/') - path);
    return len == 0 ? 1 : len;
}

static err node_get(struct embedded *store, const char *path, size_t len, struct arena *arena,
                    struct coord_op *op, int64_t *sequence)
{
    sqlite3_stmt *statement = use(store, SQL_GET);
    bind_text(statement, 1, path, len);
    int code = sqlite3_step(statement);
    if (code != SQLITE_ROW) {
        sqlite3_reset(statement);
        return code == SQLITE_DONE ? E_NOT_FOUND : sql_err(code);
    }
    const void *data = sqlite3_column_blob(statement, 0);
    int data_len = sqlite3_column_bytes(statement, 0);
    op->stat = (struct coord_stat){
        .czxid = sqlite3_column_int64(statement, 1),
        .mzxid = sqlite3_column_int64(statement, 2),
        .ctime_ms = sqlite3_column_int64(statement, 3),
        .mtime_ms = sqlite3_column_int64(statement, 4),
        .version = sqlite3_column_int(statement, 5),
        .children_version = sqlite3_column_int(statement, 6),
        .ephemeral_owner = sqlite3_column_int64(statement, 8),
        .data_len = data_len,
    };
    if (sequence != NULL) {
        *sequence = sqlite3_column_int64(statement, 7);
    }
    err e = OK;
    op->value = (struct bytes){0};
    if (arena != NULL && sqlite3_column_type(statement, 0) != SQLITE_NULL) {
        uint8_t *copy = arena_alloc(arena, (size_t)data_len + 1);
        e = copy == NULL ? E_LIMIT : OK;
        if (copy != NULL && data_len > 0) {
            memcpy(copy, data, (size_t)data_len);
        }
        op->value = bytes_of(copy, (size_t)data_len);
    }
    sqlite3_reset(statement);
    return e;
}

static int32_t child_count(struct embedded *store, const char *path)
{
    sqlite3_stmt *statement = use(store, SQL_CHILD_COUNT);
    bind_text(statement, 1, path, strlen(path));
    int32_t count = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : 0;
    sqlite3_reset(statement);
    return count;
}

static err parent_touch(struct embedded *store, const char *path, bool created)
{
    size_t len = parent_len(path);
    sqlite3_stmt *statement = use(store, SQL_PARENT_TOUCH);
    bind_text(statement, 1, path, len);
    bind_number(statement, 2, created ? 1 : 0);
    TRY(step(statement));
    watch_fire(store, path, len, true, COORD_CHILDREN_CHANGED);
    return OK;
}

static err op_get(struct embedded *store, struct coord_op *op, struct arena *arena)
{
    if ((op->flags & COORD_WATCH) != 0) {
        watch_add(store, op->path, false);
    }
    TRY(node_get(store, op->path, strlen(op->path), arena, op, NULL));
    op->stat.children_n = child_count(store, op->path);
    return OK;
}

static err op_children(struct embedded *store, struct coord_op *op, struct arena *arena)
{
    TRY(node_get(store, op->path, strlen(op->path), NULL, op, NULL));
    if ((op->flags & COORD_WATCH) != 0) {
        watch_add(store, op->path, true);
    }
    int32_t count = child_count(store, op->path);
    op->children = arena_array(arena, (size_t)count + 1, sizeof(*op->children));
    if (op->children == NULL) {
        return E_LIMIT;
    }
    sqlite3_stmt *statement = use(store, SQL_CHILDREN);
    bind_text(statement, 1, op->path, strlen(op->path));
    size_t skip = strcmp(op->path, "/") == 0 ? 1 : strlen(op->path) + 1;
    err e = OK;
    while (e == OK && op->children_n < count && sqlite3_step(statement) == SQLITE_ROW) {
        const char *path = (const char *)sqlite3_column_text(statement, 0);
        struct str name = arena_str(arena, str_of(path + skip));
        e = name.data == NULL ? E_LIMIT : OK;
        op->children[op->children_n++] = name.data;
    }
    sqlite3_reset(statement);
    op->stat.children_n = op->children_n;
    return e;
}

static err op_create(struct embedded *store, struct coord_op *op, struct arena *arena)
{
    struct coord_op parent = {0};
    int64_t sequence = 0;
    size_t up = parent_len(op->path);
    TRY(node_get(store, op->path, up, NULL, &parent, &sequence));
    if (parent.stat.ephemeral_owner != 0) {
        return E_UNSUPPORTED; /* no children below an ephemeral node */
    }
    struct str path = (op->flags & COORD_SEQUENTIAL) != 0
                          ? arena_format(arena, "%s%010lld", op->path, (long long)sequence)
                          : arena_str(arena, str_of(op->path));
    if (path.data == NULL) {
        return E_LIMIT;
    }
    struct coord_op there = {0};
    err e = node_get(store, path.data, path.len, NULL, &there, NULL);
    if (e != E_NOT_FOUND) {
        return e == OK ? E_EXISTS : e;
    }
    int64_t now_ms = clock_wall_ms(store->clock);
    int64_t zxid = ++store->zxid;
    sqlite3_stmt *statement = use(store, SQL_INSERT);
    bind_text(statement, 1, path.data, path.len);
    bind_text(statement, 2, op->path, up);
    bind_data(statement, 3, op->data);
    bind_number(statement, 4, zxid);
    bind_number(statement, 5, now_ms);
    bind_number(statement, 6, (op->flags & COORD_EPHEMERAL) != 0 ? store->session : 0);
    TRY(step(statement));
    store->wrote = true;
    op->created_path = path.data;
    op->stat = (struct coord_stat){.czxid = zxid,
                                   .mzxid = zxid,
                                   .ctime_ms = now_ms,
                                   .mtime_ms = now_ms,
                                   .data_len = (int32_t)op->data.len};
    watch_fire(store, path.data, path.len, false, COORD_NODE_CREATED);
    return parent_touch(store, op->path, true);
}

/* Is the node there, at the expected version? */
static err expect(struct embedded *store, const struct coord_op *op, struct coord_op *found)
{
    TRY(node_get(store, op->path, strlen(op->path), NULL, found, NULL));
    return op->version == COORD_ANY_VERSION || op->version == found->stat.version ? OK : E_VERSION;
}

static err op_set(struct embedded *store, struct coord_op *op)
{
    struct coord_op found = {0};
    TRY(expect(store, op, &found));
    int64_t now_ms = clock_wall_ms(store->clock);
    sqlite3_stmt *statement = use(store, SQL_SET);
    bind_text(statement, 1, op->path, strlen(op->path));
    bind_data(statement, 2, op->data);
    bind_number(statement, 3, ++store->zxid);
    bind_number(statement, 4, now_ms);
    TRY(step(statement));
    store->wrote = true;
    op->stat = found.stat;
    op->stat.version++;
    op->stat.mzxid = store->zxid;
    op->stat.mtime_ms = now_ms;
    op->stat.data_len = (int32_t)op->data.len;
    watch_fire(store, op->path, strlen(op->path), false, COORD_NODE_CHANGED);
    return OK;
}

static err op_delete(struct embedded *store, struct coord_op *op)
{
    struct coord_op found = {0};
    TRY(expect(store, op, &found));
    if (child_count(store, op->path) > 0) {
        return E_NOT_EMPTY;
    }
    sqlite3_stmt *statement = use(store, SQL_DELETE);
    bind_text(statement, 1, op->path, strlen(op->path));
    TRY(step(statement));
    store->wrote = true;
    store->zxid++;
    watch_fire(store, op->path, strlen(op->path), false, COORD_NODE_DELETED);
    watch_fire(store, op->path, strlen(op->path), true, COORD_NODE_DELETED);
    return parent_touch(store, op->path, false);
}

static err op_run(struct embedded *store, struct coord_op *op, struct arena *arena)
{
    struct coord_op found = {0};
    if (!coord_path_valid(op->path, (op->flags & COORD_SEQUENTIAL) != 0)) {
        return E_MALFORMED;
    }
    switch (op->type) {
    case COORD_GET:
        return op_get(store, op, arena);
    case COORD_CHILDREN:
        return op_children(store, op, arena);
    case COORD_CREATE:
        return op_create(store, op, arena);
    case COORD_SET:
        return op_set(store, op);
    case COORD_DELETE:
        return op_delete(store, op);
    default:
        return expect(store, op, &found);
    }
}

/* ---- the session ---- */

/* An ephemeral node of another session than `keep`; its path is "" when there is none. */
static err ephemeral_find(struct embedded *store, int64_t keep, struct arena *arena,
                          struct str *path)
{
    sqlite3_stmt *statement = use(store, SQL_EPHEMERAL);
    bind_number(statement, 1, keep);
    int code = sqlite3_step(statement);
    *path = arena_str(arena, code == SQLITE_ROW
                                 ? str_of((const char *)sqlite3_column_text(statement, 0))
                                 : STR(""));
    sqlite3_reset(statement);
    TRY(sql_err(code));
    return path->data == NULL ? E_LIMIT : OK;
}

static err ephemerals_delete(struct embedded *store, int64_t keep, struct arena *arena)
{
    for (;;) {
        struct str path;
        arena_reset(arena, PATH_BYTES_MAX);
        TRY(ephemeral_find(store, keep, arena, &path));
        if (path.len == 0) {
            return OK;
        }
        struct coord_op op = {
            .type = COORD_DELETE, .path = path.data, .version = COORD_ANY_VERSION};
        TRY(op_delete(store, &op));
    }
}

static err root_create(struct embedded *store)
{
    struct coord_op root = {0};
    err e = node_get(store, "/", 1, NULL, &root, NULL);
    if (e != E_NOT_FOUND) {
        return e;
    }
    sqlite3_stmt *statement = use(store, SQL_INSERT);
    bind_text(statement, 1, "/", 1);
    bind_text(statement, 2, "", 0);
    bind_data(statement, 3, (struct bytes){0});
    bind_number(statement, 4, 0);
    bind_number(statement, 5, 0);
    bind_number(statement, 6, 0);
    return step(statement);
}

/* Its own changes, in a transaction that the first write of a call commits. */
static err session_write(struct embedded *store)
{
    struct arena arena;
    TRY(simple(store, SQL_BEGIN));
    arena_init(&arena, PATH_BYTES_MAX);
    err e = ephemerals_delete(store, store->session, &arena);
    arena_deinit(&arena);
    e = e == OK ? root_create(store) : e;
    e = e == OK ? meta_set(store, "session", store->session) : e;
    store->wrote = false; /* no call has */
    return e;
}

static err session_begin(struct embedded *store)
{
    store->zxid = meta_get(store, "zxid");
    store->session = meta_get(store, "session") + 1;
    store->session_waits = true;
    TRY(session_write(store));
    store->zxid++; /* a session is an event of its own */
    return OK;
}

/* ---- the interface ---- */

static bool is_refusal(err e)
{
    return e == E_NOT_FOUND || e == E_EXISTS || e == E_VERSION || e == E_NOT_EMPTY ||
           e == E_UNSUPPORTED;
}

/* Begins a call: inside the transaction of the session's own changes while that is not committed. A call
 * that failed may have rolled it back.
 */
static err begin(struct embedded *store)
{
    if (sqlite3_get_autocommit(store->db) != 0) {
        err e = store->session_waits ? session_write(store) : simple(store, SQL_BEGIN);
        if (e != OK) {
            err_ignore(simple(store, SQL_ROLLBACK)); /* may be rolled back already */
            return e;
        }
    }
    store->zxid_before = store->zxid;
    return simple(store, SQL_SAVEPOINT);
}

/* Ends a call: what was written is committed, what failed is rolled back. A call that only read
 * flushes nothing. */
static err finish(struct embedded *store, err e)
{
    if (e == OK && store->wrote) {
        e = meta_set(store, "zxid", store->zxid);
    }
    if (e != OK) {
        err_ignore(simple(store, SQL_ROLLBACK_TO)); /* may be rolled back already */
    }
    err_ignore(simple(store, SQL_RELEASE));
    bool commits = e == OK && store->wrote;
    if (commits) {
        e = simple(store, SQL_COMMIT);
        store->session_waits = store->session_waits && e != OK;
    }
    if ((commits || !store->session_waits) && sqlite3_get_autocommit(store->db) == 0) {
        err_ignore(simple(store, SQL_ROLLBACK)); /* what is not committed is not there */
    }
    if (e != OK) {
        store->zxid = store->zxid_before;
    }
    store->wrote = false;
    watches_deliver(store, e == OK);
    return e;
}

/* What an earlier try of the call has told. */
static void forget_results(struct coord_op *ops, size_t count, err e)
{
    for (size_t i = 0; i < count; i++) {
        ops[i].error = e;
        ops[i].value = (struct bytes){0};
        ops[i].children = NULL;
        ops[i].children_n = 0;
        ops[i].created_path = NULL;
    }
}

static bool make_room(const struct coord_events *events, err e)
{
    return err_is_no_room(e) && events->make_room != NULL && events->make_room(events->context);
}

static err run_once(struct embedded *store, struct coord_op *ops, size_t count, struct arena *arena)
{
    TRY(begin(store));
    err failed = OK;
    for (size_t i = 0; i < count; i++) {
        ops[i].error = failed != OK ? failed : op_run(store, &ops[i], arena);
        if (ops[i].error != OK && !is_refusal(ops[i].error)) {
            failed = ops[i].error;
        }
    }
    err e = finish(store, failed);
    for (size_t i = 0; e != OK && i < count; i++) {
        ops[i].error = e;
    }
    return e;
}

static err embedded_run(struct coord *coord, struct coord_op *ops, size_t count,
                        struct arena *arena)
{
    struct embedded *store = container_of(coord, struct embedded, coord);
    err e = run_once(store, ops, count, arena);
    while (make_room(&store->events, e)) {
        forget_results(ops, count, e);
        e = run_once(store, ops, count, arena);
    }
    return e;
}

static err multi_once(struct embedded *store, struct coord_op *ops, size_t count,
                      struct arena *arena)
{
    TRY(begin(store));
    err failed = OK;
    for (size_t i = 0; i < count; i++) {
        ops[i].error = failed != OK ? E_CLOSED : op_run(store, &ops[i], arena);
        failed = failed != OK ? failed : ops[i].error;
    }
    return finish(store, failed);
}

static err embedded_multi(struct coord *coord, struct coord_op *ops, size_t count,
                          struct arena *arena)
{
    struct embedded *store = container_of(coord, struct embedded, coord);
    err e = multi_once(store, ops, count, arena);
    while (make_room(&store->events, e)) {
        forget_results(ops, count, e);
        e = multi_once(store, ops, count, arena);
    }
    return e;
}

static int64_t embedded_session_id(struct coord *coord)
{
    return container_of(coord, struct embedded, coord)->session;
}

/* Its session ends with the process: there is nothing to renew, and no call waits. */
static bool embedded_owned(struct coord *coord, int64_t session_id)
{
    return session_id == embedded_session_id(coord);
}

static err embedded_renew(struct coord *coord)
{
    (void)coord;
    return OK;
}

static void embedded_interrupt(struct coord *coord)
{
    (void)coord;
}

static void store_free(struct embedded *store)
{
    for (int i = 0; i < SQL_COUNT; i++) {
        sqlite3_finalize(store->statements[i]);
    }
    sqlite3_close(store->db);
    map_deinit(&store->data_watches);
    map_deinit(&store->child_watches);
    free(store);
}

/* A clean end leaves the ephemeral nodes: the next session deletes them, and saves two flushes. */
static void embedded_close(struct coord *coord)
{
    store_free(container_of(coord, struct embedded, coord));
}

/* `e`: as it was classified at once, since what is done afterwards may change errno. */
static err refuse(struct embedded *store, const char *path, err e, char reason[COORD_REASON_BYTES])
{
    snprintf(reason, COORD_REASON_BYTES, "coordination store %s: %s", path,
             store->db == NULL ? "no memory" : sqlite3_errmsg(store->db));
    store_free(store);
    return e;
}

/* There are credentials of users in it: it is its owner's alone, and so is its journal, whose mode SQLite takes from it.
 * What cannot be opened here SQLite says in its own words. */
static void make_private(const char *path)
{
    char *journal = xasprintf("%s-journal", path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, OWNER_ONLY);
    if (fd >= 0) {
        err_ignore(fchmod(fd, OWNER_ONLY) == 0 ? OK : err_from_errno(errno));
        err_ignore(chmod(journal, OWNER_ONLY) == 0 ? OK : err_from_errno(errno));
        close(fd);
    }
    free(journal);
}

static err open_once(const char *path, struct clock *clock, const struct coord_events *events,
                     struct coord **coord, char reason[COORD_REASON_BYTES])
{
    static const struct coord_ops OPS = {.run = embedded_run,
                                         .multi = embedded_multi,
                                         .session_id = embedded_session_id,
                                         .owned = embedded_owned,
                                         .renew = embedded_renew,
                                         .interrupt = embedded_interrupt,
                                         .close = embedded_close};
    struct embedded *store = xcalloc(1, sizeof(*store));
    errno = 0;
    store->coord.ops = &OPS;
    store->clock = clock;
    store->events = *events;
    map_init(&store->data_watches);
    map_init(&store->child_watches);
    list_init(&store->firing);
    make_private(path);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_open_v2(path, &store->db, flags, NULL);
    err e = sql_err_by_errno(store->db, code);
    if (e == OK) {
        code = sqlite3_exec(store->db, SCHEMA, NULL, NULL, NULL);
        e = sql_err_by_errno(store->db, code);
    }
    for (int i = 0; i < SQL_COUNT && e == OK; i++) {
        code = sqlite3_prepare_v3(store->db, STATEMENTS[i], -1, SQLITE_PREPARE_PERSISTENT,
                                  &store->statements[i], NULL);
        e = sql_err_by_errno(store->db, code);
    }
    e = e == OK ? session_begin(store) : e;
    if (e != OK) {
        return refuse(store, path, e, reason);
    }
    *coord = &store->coord;
    return OK;
}

err coord_embedded_open(const char *path, struct clock *clock, const struct coord_events *events,
                        struct coord **coord, char reason[COORD_REASON_BYTES])
{
    err e = open_once(path, clock, events, coord, reason);
    while (make_room(events, e)) {
        reason[0] = '\0';
        e = open_once(path, clock, events, coord, reason);
    }
    return e;
}

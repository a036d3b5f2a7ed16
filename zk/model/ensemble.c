/* The server side of the model: sessions, their watches, and what arrives.
 *
 * Every write takes a transaction number, also one that is refused; the beginning and the end of a session
 * too. Watches belong to a connection: a client that connects again says what it watches and which
 * transaction it has heard of last, and is told at once of what has changed since. Watches that a
 * write fires are sent before its answer; so whoever has an answer has heard of what went before.
 *
 * A request of a connection that the ensemble still has is carried out, though the client may have given
 * it up meanwhile. */
#define _GNU_SOURCE
#include "zk/model/model.h"

#include <inttypes.h>
#include <stdlib.h>

enum { MILLION = 1000000 };

struct session {
    struct list link; /* in coord_model.sessions */
    int64_t id;
    int64_t expires_ms;
    struct coord_model_way *way; /* of its last connection */
    int64_t connection;          /* 0: it has none */
    struct map watched;          /* path → bits of enum watched */
};

/* ---- sessions ---- */

static struct session *session_find(const struct coord_model *model, int64_t id)
{
    list_each (item, &model->sessions) {
        struct session *session = container_of(item, struct session, link);
        if (session->id == id) {
            return session;
        }
    }
    return NULL;
}

static int64_t session_id_draw(struct coord_model *model)
{
    int64_t id = 0;
    while (id == 0 || session_find(model, id) != NULL) {
        id = (int64_t)(random_u64(model->random) >> 1);
    }
    return id;
}

static struct session *session_new(struct coord_model *model)
{
    struct session *session = xcalloc(1, sizeof(*session));
    session->id = session_id_draw(model);
    map_init(&session->watched);
    list_append(&model->sessions, &session->link);
    model->zxid++;
    return session;
}

static void session_free(struct session *session)
{
    list_remove(&session->link);
    map_deinit(&session->watched);
    free(session);
}

static void session_touch(struct coord_model *model, struct session *session)
{
    session->expires_ms = model->now_ms + session->way->config.session_timeout_ms;
}

static struct packet *to_session(const struct session *session, enum packet_kind kind)
{
    struct packet *packet = packet_new(session->way, kind);
    packet->connection = session->connection;
    packet->session_id = session->id;
    return packet;
}

/* Ends the connection, if there is one; the client hears of it. */
static void connection_end(struct session *session)
{
    if (session->connection != 0) {
        wire_send(to_session(session, PACKET_BROKEN), true);
    }
    session->connection = 0;
    map_deinit(&session->watched);
}

/* ---- watches ---- */

static unsigned watched_bits(const struct session *session, const char *path, size_t len)
{
    return (unsigned)(uintptr_t)map_get(&session->watched, bytes_of(path, len));
}

static void watched_set(struct session *session, const char *path, size_t len, unsigned bits)
{
    if (bits == 0) {
        (void)map_remove(&session->watched, bytes_of(path, len));
    } else {
        (void)map_set(&session->watched, bytes_of(path, len), (void *)(uintptr_t)bits);
    }
}

static void watched_add(struct session *session, const char *path, unsigned bits)
{
    size_t len = strlen(path);
    watched_set(session, path, len, watched_bits(session, path, len) | bits);
}

static void tell(const struct session *session, enum coord_watch_type type, const char *path,
                 size_t len)
{
    struct packet *packet = to_session(session, PACKET_WATCH);
    packet->watch_type = type;
    packet->path = arena_str(&packet->arena, (struct str){path, len}).data;
    CHECK(packet->path != NULL);
    wire_send(packet, true);
}

/* Tells each session that has one of the bits, once, and takes them. */
static void fire(struct coord_model *model, enum coord_watch_type type, const char *path,
                 size_t len, unsigned bits)
{
    list_each (item, &model->sessions) {
        struct session *session = container_of(item, struct session, link);
        unsigned has = watched_bits(session, path, len);
        if ((has & bits) != 0) {
            watched_set(session, path, len, has & ~bits);
            tell(session, type, path, len);
        }
    }
}

static void fire_changes(struct coord_model *model)
{
    list_each_safe (item, &model->tree.changes) {
        struct tree_change *change = container_of(item, struct tree_change, link);
        bool deleted = change->type == COORD_NODE_DELETED;
        fire(model, change->type, change->path, strlen(change->path),
             WATCHED_NODE | (deleted ? WATCHED_CHILDREN : 0));
        if (change->type != COORD_NODE_CHANGED) {
            fire(model, COORD_CHILDREN_CHANGED, change->path, tree_parent_len(change->path),
                 WATCHED_CHILDREN);
        }
        list_remove(&change->link);
        free(change);
    }
}

/* What a client watches that has connected again, having heard of `seen_zxid`. */
static void watches_resume(struct coord_model *model, struct session *session,
                           const struct coord_op *watched, int64_t seen_zxid)
{
    const char *path = watched->path;
    const struct tree_node *node = tree_find(&model->tree, path);
    unsigned bits = (unsigned)watched->flags;
    if (node == NULL) {
        if ((bits & (WATCHED_NODE | WATCHED_CHILDREN)) != 0) {
            tell(session, COORD_NODE_DELETED, path, strlen(path));
        } else {
            watched_add(session, path, WATCHED_NODE);
        }
        return;
    }
    if ((bits & WATCHED_ABSENT) != 0) {
        tell(session, COORD_NODE_CREATED, path, strlen(path));
    } else if ((bits & WATCHED_NODE) != 0 && node->stat.mzxid > seen_zxid) {
        tell(session, COORD_NODE_CHANGED, path, strlen(path));
    } else if ((bits & WATCHED_NODE) != 0) {
        watched_add(session, path, WATCHED_NODE);
    }
    if ((bits & WATCHED_CHILDREN) != 0 && node->pzxid > seen_zxid) {
        tell(session, COORD_CHILDREN_CHANGED, path, strlen(path));
    } else if ((bits & WATCHED_CHILDREN) != 0) {
        watched_add(session, path, WATCHED_CHILDREN);
    }
}

/* ---- the end of a session ---- */

/* Its ephemeral nodes go, which it hears of itself if it has a connection. */
static void session_end(struct coord_model *model, struct session *session)
{
    struct tree_txn txn = {
        .zxid = ++model->zxid, .wall_ms = clock_wall_ms(model->clock), .session_id = session->id};
    tree_end_session(&model->tree, &txn);
    fire_changes(model);
    connection_end(session);
    session_free(session);
}

void ensemble_expire(struct coord_model *model, int64_t session_id)
{
    struct session *session = session_find(model, session_id);
    if (session != NULL) {
        session_end(model, session);
    }
}

void ensemble_remove(struct coord_model *model, const char *path)
{
    struct tree_txn txn = {.zxid = ++model->zxid, .wall_ms = clock_wall_ms(model->clock)};
    struct coord_op op = {.type = COORD_DELETE, .path = path, .version = COORD_ANY_VERSION};
    if (tree_write(&model->tree, &txn, &op, NULL) == OK) { /* a deletion has no result */
        tree_commit(&model->tree);
        fire_changes(model);
    }
}

static struct session *session_next_due(const struct coord_model *model)
{
    struct session *next = NULL;
    list_each (item, &model->sessions) {
        struct session *session = container_of(item, struct session, link);
        next = next == NULL || session->expires_ms < next->expires_ms ? session : next;
    }
    return next;
}

int64_t ensemble_next_due_ms(const struct coord_model *model)
{
    const struct session *next = session_next_due(model);
    return next == NULL ? INT64_MAX : next->expires_ms;
}

void ensemble_expire_due(struct coord_model *model)
{
    struct session *next = NULL;
    while ((next = session_next_due(model)) != NULL && next->expires_ms <= model->now_ms) {
        session_end(model, next);
    }
}

void ensemble_deinit(struct coord_model *model)
{
    list_each_safe (item, &model->sessions) {
        session_free(container_of(item, struct session, link));
    }
}

void ensemble_print_sessions(const struct coord_model *model, FILE *out)
{
    list_each (item, &model->sessions) {
        const struct session *session = container_of(item, struct session, link);
        fprintf(out, "session %" PRIx64 " expires_ms=%" PRId64 " connection=%" PRId64 "\n",
                session->id, session->expires_ms, session->connection);
    }
}

/* ---- requests ---- */

static void answer(struct coord_model *model, struct packet *packet)
{
    packet->zxid = model->zxid;
    wire_send(packet, true);
}

/* A session that begins, or one that goes on over a new connection. */
static void on_connect(struct coord_model *model, struct packet *packet)
{
    int64_t seen_zxid = packet->zxid;
    struct session *session =
        packet->session_id == 0 ? session_new(model) : session_find(model, packet->session_id);
    if (session == NULL) {
        packet->kind = PACKET_EXPIRED;
        answer(model, packet);
        return;
    }
    session->way = packet->way;
    session->connection = packet->connection;
    session_touch(model, session);
    map_deinit(&session->watched);
    packet->session_id = session->id;
    answer(model, packet);
    for (size_t i = 0; i < packet->ops_n; i++) {
        watches_resume(model, session, &packet->ops[i], seen_zxid);
    }
}

static err read_one(struct coord_model *model, struct session *session, struct packet *packet)
{
    struct coord_op *op = packet->ops;
    op->error = tree_read(&model->tree, op, &packet->arena);
    bool children = op->type == COORD_CHILDREN;
    if ((op->flags & COORD_WATCH) != 0 && !(children && op->error != OK)) {
        watched_add(session, op->path, children ? WATCHED_CHILDREN : WATCHED_NODE);
    }
    return op->error;
}

/* All or nothing. What was not looked at has E_CLOSED. */
static err write_all(struct coord_model *model, const struct session *session,
                     struct packet *packet)
{
    struct tree_txn txn = {
        .zxid = ++model->zxid, .wall_ms = clock_wall_ms(model->clock), .session_id = session->id};
    err e = OK;
    for (size_t i = 0; i < packet->ops_n; i++) {
        struct coord_op *op = &packet->ops[i];
        op->error = e == OK ? tree_write(&model->tree, &txn, op, &packet->arena) : E_CLOSED;
        e = e == OK ? op->error : e;
    }
    if (e != OK) {
        tree_rollback(&model->tree);
        return e;
    }
    tree_commit(&model->tree);
    fire_changes(model);
    return OK;
}

static void carry_out(struct coord_model *model, struct session *session, struct packet *packet)
{
    bool reads = packet->ops->type == COORD_GET || packet->ops->type == COORD_CHILDREN;
    packet->error = reads ? read_one(model, session, packet) : write_all(model, session, packet);
}

/* Does this request lose the connection? And is it carried out all the same? */
static bool is_lost(struct coord_model_way *way, bool *applies)
{
    struct random *random = way->model->random;
    *applies = way->lose_applies;
    if (way->lose_left > 0 && way->lose_skip-- <= 0) {
        way->lose_left--;
        way->lose_skip = 0;
        return true;
    }
    if (way->lose_per_million > 0 && random_below(random, MILLION) < way->lose_per_million) {
        *applies = random_below(random, 2) == 1;
        return true;
    }
    return false;
}

static void on_call(struct coord_model *model, struct session *session, struct packet *packet)
{
    bool applies = true;
    bool lost = is_lost(packet->way, &applies);
    if (!lost || applies) {
        carry_out(model, session, packet);
    }
    if (lost) {
        connection_end(session);
        packet_free(packet);
    } else {
        answer(model, packet);
    }
}

/* The last word over this connection is the answer. */
static void on_close(struct coord_model *model, struct session *session, struct packet *packet)
{
    session->connection = 0;
    map_deinit(&session->watched);
    session_end(model, session);
    answer(model, packet);
}

void ensemble_receive(struct coord_model *model, struct packet *packet)
{
    if (packet->kind == PACKET_CONNECT) {
        on_connect(model, packet);
        return;
    }
    struct session *session = session_find(model, packet->session_id);
    if (session == NULL || session->connection != packet->connection) {
        packet_free(packet);
        return;
    }
    session_touch(model, session);
    if (packet->kind == PACKET_CALL) {
        on_call(model, session, packet);
    } else if (packet->kind == PACKET_CLOSE) {
        on_close(model, session, packet);
    } else {
        answer(model, packet);
    }
}

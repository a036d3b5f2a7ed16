/* The ZooKeeper coordination store: a session by the Apache ZooKeeper C client.
 *
 * The client has two threads: one talks to a server, one calls us back. On the second come the
 * session's events, the watches and the answers, in the order in which they happened at the server.
 * Answers are the business of zookeeper_calls.c; this file begins sessions, follows their events and
 * ends them.
 *
 * A session lives in one handle of the client, which finds another server by itself when the
 * connection is lost, and sets all watches again. When the session has expired the handle is dead;
 * coord_renew closes it and begins another. So a watch callback always belongs to the live session.
 *
 * What is told: the first connection of a session is told by the return of the call that waits for
 * it (open, renew), every later change by an event. `told` is what the owner believes.
 *
 * The session's number and password are kept in a file (zookeeper_session_file.c) from the moment
 * it begins until it is closed at the server. Where the server could not be told, the file stays:
 * the session lives on there, and the next start goes on with it.
 *
 * The client resolves the host names in every turn of its loop unless told otherwise; here it does
 * when it looks for a server. It sends all watches in one request when it is back: beyond some ten
 * thousand of them that is more than a server takes, and the session ends by expiry. */
#define _GNU_SOURCE
#include "zk/zookeeper_calls.h"
#include "zk/zookeeper_session_file.h"

#include "base/log.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PORT_DEFAULT = 2181,
    PORT_MAX = 65535,
    IN_FLIGHT_MAX = 1000,   /* the client's wake-up pipe holds 65536 requests */
    FORMER_MAX = 8,         /* sessions before this one that are remembered */
    DRAIN_MS = 1000,        /* for answers that are under way at the end */
    CLOSE_ANSWER_MS = 1400, /* the client gives up waiting for the answer to its close at 1500 */
    RETRY_MS = 1000,        /* when names cannot be resolved */
    SERVER_TEXT_BYTES = 80,
    ROOT_BYTES_MAX = 4 << 20,
};

struct zookeeper {
    struct coord coord;
    struct zookeeper_calls calls;
    struct coord_events events;
    char *servers;      /* for the client: every host with its port, without the chroot */
    const char *chroot; /* "" or /… */
    char *connect;      /* the two together */
    char *session_path; /* or NULL */
    int32_t session_timeout_ms;

    /* Under calls.lock. */
    bool established; /* this session was connected before */
    enum link told;
    int64_t former[FORMER_MAX]; /* sessions; 0: none */
    size_t former_n;            /* counted on, over the end */
};

static struct zookeeper *zookeeper_of(struct coord *coord)
{
    return container_of(coord, struct zookeeper, coord);
}

/* ---- the connect string ---- */

/* A port from its digits, or 0. */
static int port_parse(struct str digits)
{
    int port = 0;
    for (size_t i = 0; i < digits.len && port <= PORT_MAX; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9') {
            return 0;
        }
        port = port * 10 + (digits.data[i] - '0');
    }
    return port <= PORT_MAX ? port : 0;
}

static struct str trim(struct str s)
{
    while (s.len > 0 && s.data[0] == ' ') {
        s = (struct str){s.data + 1, s.len - 1};
    }
    while (s.len > 0 && s.data[s.len - 1] == ' ') {
        s.len--;
    }
    return s;
}

/* Cuts `host` into a name and what follows it: nothing, or a colon and a port. */
static bool host_split(struct str host, struct str *name, struct str *rest)
{
    bool bracket = host.len > 0 && host.data[0] == '[';
    if (bracket) {
        host = (struct str){host.data + 1, host.len - 1};
    }
    const char *end = memchr(host.data, bracket ? ']' : ':', host.len);
    if (bracket && end == NULL) {
        return false;
    }
    size_t len = end == NULL ? host.len : (size_t)(end - host.data);
    size_t skip = len + (bracket ? 1 : 0);
    *name = (struct str){host.data, len};
    *rest = (struct str){host.data + skip, host.len - skip};
    return len > 0;
}

/* Adds one host to `servers`, with its port. The client takes an IPv6 address without brackets. */
static bool server_add(char **servers, struct str host)
{
    struct str name;
    struct str rest;
    if (!host_split(trim(host), &name, &rest) || (rest.len > 0 && rest.data[0] != ':')) {
        return false;
    }
    int port = rest.len == 0 ? PORT_DEFAULT : port_parse((struct str){rest.data + 1, rest.len - 1});
    char *more = xasprintf("%s%s%.*s:%d", *servers, **servers == '\0' ? "" : ",", (int)name.len,
                           name.data, port);
    free(*servers);
    *servers = more;
    return port > 0;
}

static err refuse(char reason[COORD_REASON_BYTES], const char *text, const char *why)
{
    snprintf(reason, COORD_REASON_BYTES, "zookeeper.connect: %.300s %s", text, why);
    return E_CONFIG;
}

/* Fills in servers, connect and chroot. */
static err connect_parse(struct zookeeper *zk, const char *text, char reason[COORD_REASON_BYTES])
{
    zk->servers = xstrdup("");
    const char *at = text;
    for (bool more = true; more;) {
        size_t len = strcspn(at, ",/");
        if (!server_add(&zk->servers, (struct str){at, len})) {
            return refuse(reason, text, "is not host:port,host:port/chroot");
        }
        more = at[len] == ',';
        at += len + (more ? 1 : 0);
    }
    if (*at == '/' && !coord_path_valid(at, false)) {
        return refuse(reason, text, "has a chroot that is not a path");
    }
    zk->connect = xasprintf("%s%s", zk->servers, strcmp(at, "/") == 0 ? "" : at);
    zk->chroot = zk->connect + strlen(zk->servers);
    zk->calls.chroot_len = strlen(zk->chroot);
    return OK;
}

/* ---- events ---- */

static enum link link_of(int state)
{
    if (state == ZOO_CONNECTED_STATE) {
        return LINK_UP;
    }
    if (state == ZOO_EXPIRED_SESSION_STATE) {
        return LINK_EXPIRED;
    }
    return state == ZOO_AUTH_FAILED_STATE ? LINK_REFUSED : LINK_DOWN;
}

static void server_text(zhandle_t *handle, char text[SERVER_TEXT_BYTES])
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    char host[64] = "?";
    char port[8] = "?";
    if (zookeeper_get_connected_host(handle, (struct sockaddr *)&address, &len) != NULL) {
        (void)getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port, sizeof(port),
                          NI_NUMERICHOST | NI_NUMERICSERV);
    }
    snprintf(text, SERVER_TEXT_BYTES, "%s:%s", host, port);
}

static void log_link(zhandle_t *handle, enum link link, bool first)
{
    unsigned long long session = (unsigned long long)zoo_client_id(handle)->client_id;
    char server[SERVER_TEXT_BYTES];
    switch (link) {
    case LINK_UP:
        server_text(handle, server);
        log_info("zookeeper", "%s server=%s session=0x%llx timeout_ms=%d",
                 first ? "connected" : "reconnected", server, session, zoo_recv_timeout(handle));
        break;
    case LINK_DOWN:
        log_warn("zookeeper", "connection lost, trying again session=0x%llx", session);
        break;
    case LINK_EXPIRED:
        log_warn("zookeeper", "session expired session=0x%llx", session);
        break;
    default:
        log_error("zookeeper", "the servers refuse us session=0x%llx", session);
    }
}

static enum coord_session event_of(enum link link)
{
    if (link == LINK_UP) {
        return COORD_CONNECTED;
    }
    return link == LINK_DOWN ? COORD_DISCONNECTED : COORD_EXPIRED;
}

static void on_state(struct zookeeper *zk, zhandle_t *handle, int state)
{
    enum link link = link_of(state);
    pthread_mutex_lock(&zk->calls.lock);
    bool first = link == LINK_UP && !zk->established;
    bool tell = zk->established && link != zk->told;
    zk->calls.link = link;
    zk->told = link;
    if (first) {
        zk->established = true;
        zk->calls.session_id = zoo_client_id(handle)->client_id;
    }
    pthread_cond_broadcast(&zk->calls.changed);
    pthread_mutex_unlock(&zk->calls.lock);
    if (first || tell) {
        log_link(handle, link, first);
    }
    if (tell) {
        zk->events.session(zk->events.context, event_of(link));
    }
}

static void on_watch(struct zookeeper *zk, int type, const char *path)
{
    enum coord_watch_type told = COORD_CHILDREN_CHANGED;
    if (type == ZOO_CREATED_EVENT) {
        told = COORD_NODE_CREATED;
    } else if (type == ZOO_DELETED_EVENT) {
        told = COORD_NODE_DELETED;
    } else if (type == ZOO_CHANGED_EVENT) {
        told = COORD_NODE_CHANGED;
    } else if (type != ZOO_CHILD_EVENT) {
        return;
    }
    zk->events.watch(zk->events.context, told, path);
}

/* The session's and every watch's callback: one function with one context, so that the client sees
 * a watch set twice as the same one, and tells it a session's event once. */
static void on_event(zhandle_t *handle, int type, int state, const char *path, void *context)
{
    struct zookeeper *zk = context;
    if (type == ZOO_SESSION_EVENT) {
        on_state(zk, handle, state);
    } else {
        on_watch(zk, type, path);
    }
}

/* ---- the beginning and the end of a session ---- */

/* The client's level of talk is global in its library, and it would talk to standard error. */
static void client_silence(void)
{
    zoo_set_debug_level((ZooLogLevel)0);
}

/* Makes a handle, which begins to look for a server; with the old session, if there is one. ENOENT
 * or EINVAL when no name can be resolved. */
static err handle_open(struct zookeeper *zk, const struct zookeeper_session *old)
{
    clientid_t id = {0};
    if (old != NULL) {
        id.client_id = old->id;
        memcpy(id.passwd, old->password, sizeof(id.passwd));
    }
    pthread_mutex_lock(&zk->calls.lock);
    zk->calls.link = LINK_DOWN;
    zk->told = LINK_DOWN;
    zk->established = false;
    pthread_mutex_unlock(&zk->calls.lock);
    zhandle_t *handle = zookeeper_init2(zk->connect, on_event, zk->session_timeout_ms,
                                        old == NULL ? NULL : &id, zk, ZOO_NO_LOG_CLIENTENV, NULL);
    if (handle == NULL) {
        return err_from_errno(errno);
    }
    (void)zoo_set_servers_resolution_delay(handle, -1);
    pthread_mutex_lock(&zk->calls.lock);
    zk->calls.handle = handle;
    pthread_mutex_unlock(&zk->calls.lock);
    return OK;
}

/* Closes the handle, if there is one. True if the server has ended the session: an answer that came
 * before the client gave up waiting for one. With other answers under way the client would take one
 * of those for it, so they are waited for first. */
static bool handle_close(struct zookeeper *zk)
{
    pthread_mutex_lock(&zk->calls.lock);
    zhandle_t *handle = zk->calls.handle;
    bool up = zk->calls.link == LINK_UP;
    pthread_mutex_unlock(&zk->calls.lock);
    if (handle == NULL) {
        return false;
    }
    bool answers = up && calls_drain(&zk->calls, DRAIN_MS) == OK;
    int64_t begin_ms = clock_monotonic_ms(clock_system());
    int rc = zookeeper_close(handle);
    int64_t took_ms = clock_monotonic_ms(clock_system()) - begin_ms;
    pthread_mutex_lock(&zk->calls.lock);
    zk->calls.handle = NULL;
    pthread_mutex_unlock(&zk->calls.lock);
    return answers && rc == ZOK && took_ms < CLOSE_ANSWER_MS;
}

/* OK when connected, or what calls_obstacle says. */
static err connected_wait(struct zookeeper *zk)
{
    pthread_mutex_lock(&zk->calls.lock);
    err e = OK;
    while ((e = calls_obstacle(&zk->calls)) == OK && zk->calls.link != LINK_UP) {
        calls_wait(&zk->calls, zk->calls.deadline_ms);
    }
    pthread_mutex_unlock(&zk->calls.lock);
    return e;
}

static void former_add(struct zookeeper *zk, int64_t session_id)
{
    pthread_mutex_lock(&zk->calls.lock);
    zk->former[zk->former_n++ % FORMER_MAX] = session_id;
    pthread_mutex_unlock(&zk->calls.lock);
}

/* ---- the session file ---- */

/* Is there a session to go on with? What is no session of ours is told and passed over. So is that of a
 * broker whose machine has been started anew: what had not been synced may be lost, and a broker that
 * stays registered stays in sync, and leads. Its end must be noticed. */
static bool session_load(const struct zookeeper *zk, struct zookeeper_session *old)
{
    if (zk->session_path == NULL) {
        return false;
    }
    err e = session_file_read(zk->session_path, old);
    if (e != OK && e != E_NOT_FOUND) {
        log_warn("zookeeper", "session file not used file=%s reason=%s", zk->session_path,
                 e == E_MALFORMED ? "damaged, or copied from another directory" : err_text(e));
    }
    if (e == OK && old->machine_restarted) {
        log_info("zookeeper",
                 "the machine has been restarted: the session of the last run is left to expire "
                 "session=0x%llx",
                 (unsigned long long)old->id);
    }
    return e == OK && !old->machine_restarted;
}

/* A session that cannot be kept works all the same. */
static void session_save(struct zookeeper *zk)
{
    if (zk->session_path == NULL) {
        return;
    }
    const clientid_t *id = zoo_client_id(zk->calls.handle);
    struct zookeeper_session session = {.id = id->client_id};
    memcpy(session.password, id->passwd, sizeof(session.password));
    err e = session_file_write(zk->session_path, &session);
    if (e != OK) {
        log_warn("zookeeper", "session file not written file=%s reason=%s", zk->session_path,
                 err_text(e));
    }
}

static void session_forget(const struct zookeeper *zk)
{
    err e = zk->session_path == NULL ? OK : session_file_remove(zk->session_path);
    if (e != OK) {
        log_warn("zookeeper", "session file not removed file=%s reason=%s", zk->session_path,
                 err_text(e));
    }
}

/* ---- opening ---- */

/* E_CLOSED if interrupted meanwhile. */
static err pause_ms(struct zookeeper *zk, int64_t ms)
{
    int64_t until_ms = clock_monotonic_ms(clock_system()) + ms;
    pthread_mutex_lock(&zk->calls.lock);
    while (!zk->calls.interrupted && clock_monotonic_ms(clock_system()) < until_ms) {
        calls_wait(&zk->calls, until_ms);
    }
    err e = zk->calls.interrupted ? E_CLOSED : OK;
    pthread_mutex_unlock(&zk->calls.lock);
    return e;
}

static bool is_unresolved(err e)
{
    return e == err_from_errno(ENOENT) || e == err_from_errno(EINVAL);
}

/* Names may come to be known while we wait, as where all machines start at the same time. */
static err handle_open_patiently(struct zookeeper *zk, const struct zookeeper_session *old)
{
    int64_t deadline_ms = zk->calls.deadline_ms;
    for (;;) {
        err e = handle_open(zk, old);
        int64_t left_ms = deadline_ms - clock_monotonic_ms(clock_system());
        if (!is_unresolved(e) || left_ms <= 0) {
            return e;
        }
        TRY(pause_ms(zk, left_ms < RETRY_MS ? left_ms : RETRY_MS));
    }
}

/* E_NOT_FOUND when the chroot does not exist. The first answer also shows whether the servers want
 * to be told who we are. */
static err root_check(struct zookeeper *zk)
{
    struct arena arena;
    arena_init(&arena, ROOT_BYTES_MAX);
    struct coord_op root = {.type = COORD_GET, .path = "/"};
    err e = calls_run(&zk->calls, &root, 1, &arena);
    arena_deinit(&arena);
    return e == OK ? root.error : e;
}

/* Connects, with the old session if there is one, until the chroot has answered. */
static err session_begin(struct zookeeper *zk, const struct zookeeper_session *old)
{
    TRY(handle_open_patiently(zk, old));
    TRY(connected_wait(zk));
    return root_check(zk);
}

/* With the session of the last run, or where that has expired, with a new one. It may expire even
 * now: when the server comes to read that the last run closed it. */
static err session_open(struct zookeeper *zk)
{
    struct zookeeper_session old;
    if (session_load(zk, &old)) {
        log_info("zookeeper", "taking up the session of the last run session=0x%llx",
                 (unsigned long long)old.id);
        err e = session_begin(zk, &old);
        if (e != E_SESSION) {
            return e;
        }
        log_info("zookeeper", "the session of the last run has expired session=0x%llx",
                 (unsigned long long)old.id);
        (void)handle_close(zk);
        former_add(zk, old.id);
    }
    TRY(session_begin(zk, NULL));
    session_save(zk);
    return OK;
}

static void open_reason(const struct zookeeper *zk, const struct coord_zookeeper *how, err e,
                        char reason[COORD_REASON_BYTES])
{
    int first_len = (int)strcspn(zk->servers, ",");
    if (e == E_BUSY) {
        snprintf(reason, COORD_REASON_BYTES,
                 "zookeeper.connect: no server of %.300s answered within %d ms", zk->servers,
                 how->connection_timeout_ms);
    } else if (e == E_NOT_FOUND) {
        snprintf(reason, COORD_REASON_BYTES,
                 "zookeeper.connect: the chroot %.150s does not exist; to create it: "
                 "zookeeper-shell %.*s create %.150s \"\"",
                 zk->chroot, first_len < 100 ? first_len : 100, zk->servers, zk->chroot);
    } else if (is_unresolved(e)) {
        (void)refuse(reason, zk->servers, "cannot be resolved: no host of this name");
    } else if (e == err_from_errno(EACCES)) {
        (void)refuse(reason, zk->servers, "wants authentication, which is not supported");
    } else {
        snprintf(reason, COORD_REASON_BYTES, "zookeeper.connect: %.300s: %s", zk->servers,
                 err_text(e));
    }
}

/* ---- the interface ---- */

static err zookeeper_run(struct coord *coord, struct coord_op *ops, size_t count,
                         struct arena *arena)
{
    return calls_run(&zookeeper_of(coord)->calls, ops, count, arena);
}

static err zookeeper_multi(struct coord *coord, struct coord_op *ops, size_t count,
                           struct arena *arena)
{
    return calls_multi(&zookeeper_of(coord)->calls, ops, count, arena);
}

static int64_t zookeeper_session_id(struct coord *coord)
{
    struct zookeeper *zk = zookeeper_of(coord);
    pthread_mutex_lock(&zk->calls.lock);
    int64_t id = zk->calls.session_id;
    pthread_mutex_unlock(&zk->calls.lock);
    return id;
}

static bool zookeeper_owned(struct coord *coord, int64_t session_id)
{
    struct zookeeper *zk = zookeeper_of(coord);
    pthread_mutex_lock(&zk->calls.lock);
    bool owned = session_id == zk->calls.session_id;
    for (size_t i = 0; i < FORMER_MAX; i++) {
        owned = owned || session_id == zk->former[i];
    }
    pthread_mutex_unlock(&zk->calls.lock);
    return owned && session_id != 0;
}

static err zookeeper_renew(struct coord *coord)
{
    struct zookeeper *zk = zookeeper_of(coord);
    pthread_mutex_lock(&zk->calls.lock);
    err e = calls_obstacle(&zk->calls);
    pthread_mutex_unlock(&zk->calls.lock);
    if (e != E_SESSION) {
        return e;
    }
    former_add(zk, zookeeper_session_id(coord));
    for (;;) {
        (void)handle_close(zk);
        e = handle_open(zk, NULL);
        if (e == OK) {
            e = connected_wait(zk);
        }
        if (e == OK) {
            session_save(zk);
        }
        if (e == OK || e == E_CLOSED) {
            return e;
        }
        TRY(pause_ms(zk, RETRY_MS));
    }
}

static void zookeeper_interrupt(struct coord *coord)
{
    struct zookeeper *zk = zookeeper_of(coord);
    pthread_mutex_lock(&zk->calls.lock);
    zk->calls.interrupted = true;
    pthread_cond_broadcast(&zk->calls.changed);
    pthread_mutex_unlock(&zk->calls.lock);
}

static void zookeeper_free(struct zookeeper *zk)
{
    calls_deinit(&zk->calls);
    free(zk->session_path);
    free(zk->connect);
    free(zk->servers);
    free(zk);
}

static void zookeeper_end(struct coord *coord)
{
    struct zookeeper *zk = zookeeper_of(coord);
    unsigned long long session = (unsigned long long)zookeeper_session_id(coord);
    if (handle_close(zk)) {
        log_info("zookeeper", "session closed session=0x%llx", session);
        session_forget(zk);
    } else {
        log_warn("zookeeper",
                 "ZooKeeper could not be told of the end, it ends the session later "
                 "session=0x%llx",
                 session);
    }
    zookeeper_free(zk);
}

static struct zookeeper *zookeeper_new(const struct coord_zookeeper *how,
                                       const struct coord_events *events)
{
    static const struct coord_ops OPS = {.run = zookeeper_run,
                                         .multi = zookeeper_multi,
                                         .session_id = zookeeper_session_id,
                                         .owned = zookeeper_owned,
                                         .renew = zookeeper_renew,
                                         .interrupt = zookeeper_interrupt,
                                         .close = zookeeper_end};
    struct zookeeper *zk = xcalloc(1, sizeof(*zk));
    zk->coord.ops = &OPS;
    zk->events = *events;
    zk->session_timeout_ms = how->session_timeout_ms;
    zk->session_path = how->session_path == NULL ? NULL : xstrdup(how->session_path);
    zk->calls.watcher = on_event;
    zk->calls.watcher_context = zk;
    calls_init(&zk->calls);
    int32_t window = how->in_flight_max < IN_FLIGHT_MAX ? how->in_flight_max : IN_FLIGHT_MAX;
    zk->calls.in_flight_max = window < 1 ? 1 : (size_t)window;
    zk->calls.latency_us = how->latency_us;
    return zk;
}

err coord_zookeeper_open(const struct coord_zookeeper *how, const struct coord_events *events,
                         struct coord **coord, char reason[COORD_REASON_BYTES])
{
    client_silence();
    struct zookeeper *zk = zookeeper_new(how, events);
    err e = connect_parse(zk, how->connect, reason);
    if (e != OK) {
        zookeeper_free(zk);
        return e;
    }
    zk->calls.deadline_ms = clock_monotonic_ms(clock_system()) + how->connection_timeout_ms;
    e = session_open(zk);
    if (e != OK) {
        open_reason(zk, how, e, reason);
        if (handle_close(zk)) {
            session_forget(zk);
        }
        zookeeper_free(zk);
        return e;
    }
    pthread_mutex_lock(&zk->calls.lock);
    zk->calls.deadline_ms = INT64_MAX;
    pthread_mutex_unlock(&zk->calls.lock);
    *coord = &zk->coord;
    return OK;
}

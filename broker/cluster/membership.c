/* What the store tells (watches, the session) comes on any thread and is posted to the control
 * thread.
 *
 * When the session has expired the broker is no controller any more and is not registered: it begins
 * a new session, registers (with a new epoch), reads what it may have missed, and stands for
 * election. Its logs, the partitions that it leads and its clients are not touched by any of this:
 * what leads is decided by epochs, not by sessions. */
#define _GNU_SOURCE
#include "broker/cluster/membership.h"

#include "base/list.h"
#include "base/log.h"
#include "base/refuse.h"
#include "broker/metrics/events.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ARENA_BYTES = 64 << 20,
    RETRY_MS = 2000,
    FIRST_REBALANCE_MS = 5000,
    ID_POLL_MS = 100,
    ID_GONE_MS = 2000,
    SESSION_MS_MAX = INT32_MAX / 4, /* the C client calculates with it; servers allow far less */
    ID_WAIT_SLACK_MS = 3000,        /* the ensemble expires sessions at its own ticks */
};

struct membership {
    struct membership_config config;
    char *dir;
    struct coord *coord;
    struct controller *controller; /* NULL before the election, and after the end */
    struct config_changes *changes;
    struct acls *acls;                    /* NULL: there is no authorizer */
    struct delegation_tokens *delegation; /* the same */
    const struct znode_endpoint *endpoints;
    int32_t endpoints_n;
    int32_t broker_id;
    char cluster_id[CLUSTER_ID_MAX];
    /* What is not settled is tried again. */
    bool registered;    /* in this session */
    bool session_over;  /* and no new one has begun */
    bool configs_known; /* read in this session */
    struct timer retry;
    struct timer rebalance; /* of preferred leaders */
    struct loop_task log_failed;
    atomic_bool log_failure_posted;
    /* For membership_tell(), as of the control loop's last turn. */
    atomic_bool disconnected; /* at once */
    atomic_bool told_settled;
    atomic_bool told_controller;
};

#define EMBEDDED_FILE "ottla-coordination.db"
#define SESSION_FILE  "ottla-zookeeper-session"

/* ---- events ---- */

static bool is_settled(const struct membership *m)
{
    bool acls_known = m->acls == NULL || acls_are_watched(m->acls);
    bool tokens_known = m->delegation == NULL || delegation_tokens_are_watched(m->delegation);
    return !m->session_over && m->registered && config_changes_are_watched(m->changes) &&
           acls_known && tokens_known && m->configs_known && controller_is_settled(m->controller);
}

static err register_now(struct membership *m, char *reason);

/* Does what is not done: begins a session, registers, follows the notifications, reads the
 * configurations, stands for election. Each step logs its own failure. */
static void settle_in(struct membership *m)
{
    char reason[MEMBERSHIP_REASON_BYTES] = "";
    if (m->session_over) {
        err e = coord_renew(m->coord);
        if (e != OK && e != E_CLOSED) { /* E_CLOSED: the broker stops */
            log_error("membership", "no new session, trying again error=\"%s\"", err_text(e));
        }
        if (e != OK) {
            return;
        }
        m->session_over = false;
    }
    if (!m->registered && register_now(m, reason) != OK) {
        log_error("membership", "cannot register, trying again reason=\"%s\"", reason);
    }
    if (!config_changes_are_watched(m->changes)) {
        err_ignore(config_changes_on_watch(m->changes)); /* logged there */
    }
    if (m->acls != NULL && !acls_are_watched(m->acls)) {
        err_ignore(acls_load(m->acls)); /* logged there */
    }
    if (m->delegation != NULL && !delegation_tokens_are_watched(m->delegation)) {
        err_ignore(delegation_tokens_load(m->delegation)); /* logged there */
    }
    if (!m->configs_known) {
        err e = m->config.read_configs(m->config.context);
        m->configs_known = e == OK;
        if (e != OK) {
            log_error("membership", "configurations not read, trying again error=\"%s\"",
                      err_text(e));
        }
    }
    if (!controller_is_settled(m->controller)) {
        err_ignore(controller_elect(m->controller));
    }
}

static void on_retry(struct timer *timer)
{
    settle_in(container_of(timer, struct membership, retry));
}

/* After each turn of the control loop: whatever it was that failed, it is tried again. */
static void on_turn_end(void *context)
{
    struct membership *m = context;
    if (m->controller == NULL) {
        return;
    }
    bool settled = is_settled(m);
    atomic_store(&m->told_settled, settled);
    atomic_store(&m->told_controller, controller_is_active(m->controller));
    if (!settled && !timer_is_running(&m->retry)) {
        timer_start(m->config.control, &m->retry, RETRY_MS);
    }
}

struct membership_figures membership_tell(const struct membership *m)
{
    return (struct membership_figures){.connected = !atomic_load(&m->disconnected),
                                       .settled = atomic_load(&m->told_settled),
                                       .is_controller = atomic_load(&m->told_controller)};
}

static void on_rebalance(struct timer *timer)
{
    struct membership *m = container_of(timer, struct membership, rebalance);
    controller_rebalance(m->controller);
    int64_t interval_s = m->config.config->leader_imbalance_check_interval_seconds;
    timer_start(m->config.control, timer,
                interval_s > INT64_MAX / 1000 ? INT64_MAX : interval_s * 1000);
}

struct watch_event {
    struct loop_task task;
    struct membership *membership;
    enum coord_watch_type type;
    char path[];
};

static void on_watch_task(struct loop_task *task)
{
    struct watch_event *event = container_of(task, struct watch_event, task);
    struct membership *m = event->membership;
    if (m->controller == NULL) {
        free(event); /* the start has failed */
        return;
    }
    if (strcmp(event->path, ZNODE_CONFIG_CHANGES) == 0) {
        err_ignore(config_changes_on_watch(m->changes)); /* logged there */
    } else if (m->acls != NULL && acls_watches(event->path)) {
        err_ignore(acls_on_watch(m->acls)); /* logged there */
    } else if (m->delegation != NULL && delegation_tokens_watches(event->path)) {
        err_ignore(delegation_tokens_on_watch(m->delegation)); /* logged there */
    } else {
        controller_on_watch(m->controller, event->type, event->path);
    }
    free(event);
}

static void on_watch(void *context, enum coord_watch_type type, const char *path)
{
    struct membership *m = context;
    size_t size = strlen(path) + 1;
    struct watch_event *event = xmalloc(sizeof(*event) + size);
    *event = (struct watch_event){.task.run = on_watch_task, .membership = m, .type = type};
    memcpy(event->path, path, size);
    loop_post(m->config.control, &event->task);
}

struct expiry_event {
    struct loop_task task;
    struct membership *membership;
};

static void on_expiry_task(struct loop_task *task)
{
    struct expiry_event *event = container_of(task, struct expiry_event, task);
    struct membership *m = event->membership;
    free(event);
    if (m->controller == NULL) {
        return; /* the start has failed */
    }
    m->session_over = true;
    m->registered = false;
    config_changes_forget_watch(m->changes);
    if (m->acls != NULL) {
        acls_forget_watch(m->acls);
    }
    if (m->delegation != NULL) {
        delegation_tokens_forget_watch(m->delegation);
    }
    m->configs_known = false;
    controller_resign(m->controller, "the session has expired");
    settle_in(m);
}

static void count_session(struct events *events, enum coord_session state)
{
    static const enum counted_event EVENTS[] = {[COORD_CONNECTED] = EVENT_STORE_CONNECTS,
                                                [COORD_DISCONNECTED] = EVENT_STORE_DISCONNECTS,
                                                [COORD_EXPIRED] = EVENT_STORE_EXPIRES};
    events_add(events, EVENTS[state], 1);
}

/* The control thread may wait for the store in this moment: what is only to be said is said here. */
static void on_session(void *context, enum coord_session state)
{
    struct membership *m = context;
    atomic_store(&m->disconnected, state != COORD_CONNECTED);
    count_session(m->config.events, state);
    if (state == COORD_DISCONNECTED) {
        log_warn("membership", "ZooKeeper is out of reach: records go on being served, topics and "
                               "configurations cannot be changed until it is back");
    } else if (state == COORD_EXPIRED) {
        log_warn("membership", "session expired: records go on being served; registering again "
                               "when ZooKeeper can be reached");
        struct expiry_event *event = xcalloc(1, sizeof(*event));
        *event = (struct expiry_event){.task.run = on_expiry_task, .membership = m};
        loop_post(m->config.control, &event->task);
    }
}

/* ---- the store ---- */

static err connect_zookeeper(struct membership *m, const struct coord_events *events, char *reason)
{
    const struct config *config = m->config.config;
    char *session = xasprintf("%s/%s", m->dir, SESSION_FILE);
    int32_t patience_ms = config->zookeeper_connection_timeout_ms;
    struct coord_zookeeper how = {
        .connect = config->zookeeper_connect,
        .session_timeout_ms = config->zookeeper_session_timeout_ms < SESSION_MS_MAX
                                  ? config->zookeeper_session_timeout_ms
                                  : SESSION_MS_MAX,
        .connection_timeout_ms =
            patience_ms == CONFIG_NULL_INT ? config->zookeeper_session_timeout_ms : patience_ms,
        .in_flight_max = config->zookeeper_max_in_flight_requests,
        .session_path = session,
        .latency_us = m->config.events == NULL ? NULL : &m->config.events->store_us,
    };
    log_info("membership", "connecting zookeeper.connect=%s patience_ms=%d", how.connect,
             how.connection_timeout_ms);
    err e = coord_zookeeper_open(&how, events, &m->coord, reason);
    free(session);
    return e;
}

static err connect_embedded(struct membership *m, const struct coord_events *events, char *reason)
{
    char *path = xasprintf("%s/%s", m->dir, EMBEDDED_FILE);
    err e = coord_embedded_open(path, m->config.clock, events, &m->coord, reason);
    free(path);
    return e;
}

static bool on_no_room(void *context)
{
    const struct membership *m = context;
    return m->config.make_room != NULL && m->config.make_room(m->config.context);
}

err membership_connect(struct membership *m, char *reason)
{
    struct coord_events events = {
        .watch = on_watch, .session = on_session, .make_room = on_no_room, .context = m};
    if (m->config.open != NULL) {
        return m->config.open(m->config.open_context, &events, &m->coord, reason);
    }
    return config_uses_zookeeper(m->config.config) ? connect_zookeeper(m, &events, reason)
                                                   : connect_embedded(m, &events, reason);
}

struct coord *membership_coord(const struct membership *m)
{
    return m->coord;
}

int32_t membership_broker_id(const struct membership *m)
{
    return m->broker_id;
}

const char *membership_cluster_id(const struct membership *m)
{
    return m->cluster_id;
}

static err get(struct membership *m, struct arena *arena, const char *path, struct coord_op *op)
{
    *op = (struct coord_op){.type = COORD_GET, .path = path};
    return coord_run(m->coord, op, 1, arena);
}

/* ---- identity ---- */

static err create_base(struct membership *m, struct arena *arena)
{
    struct coord_op *ops = arena_array(arena, ZNODE_PERSISTENT_N, sizeof(*ops));
    CHECK(ops != NULL);
    for (size_t i = 0; i < ZNODE_PERSISTENT_N; i++) {
        ops[i] = (struct coord_op){.type = COORD_CREATE, .path = ZNODE_PERSISTENT[i]};
    }
    TRY(coord_run(m->coord, ops, ZNODE_PERSISTENT_N, arena));
    for (size_t i = 0; i < ZNODE_PERSISTENT_N; i++) {
        if (ops[i].error != OK && ops[i].error != E_EXISTS) {
            return ops[i].error;
        }
    }
    return OK;
}

static err read_cluster_id(struct membership *m, struct arena *arena, char *reason)
{
    struct coord_op op;
    TRY(get(m, arena, ZNODE_CLUSTER_ID, &op));
    if (op.error != OK) {
        return op.error == E_NOT_FOUND ? OK : op.error;
    }
    struct str id = {0};
    if (znode_cluster_id_decode(arena, op.value, &id) != OK || id.len >= CLUSTER_ID_MAX) {
        return refuse(reason, MEMBERSHIP_REASON_BYTES, "the coordination store's %s cannot be read",
                      ZNODE_CLUSTER_ID);
    }
    snprintf(m->cluster_id, sizeof(m->cluster_id), "%.*s", (int)id.len, id.data);
    return OK;
}

/* Does the store's cluster fit the log directories? An embedded store is theirs, and takes their
 * id. */
static err check_cluster_id(struct membership *m, const struct logs_identity *identity,
                            char *reason)
{
    const char *of_logs = identity->cluster_id;
    const char *of_store = m->cluster_id;
    const char *where = config_uses_zookeeper(m->config.config)
                            ? m->config.config->zookeeper_connect
                            : "the coordination store";
    if (of_logs[0] != '\0' && of_store[0] != '\0' && strcmp(of_logs, of_store) != 0) {
        return refuse(reason, MEMBERSHIP_REASON_BYTES,
                      "meta.properties says cluster.id=%s, but %s says %s", of_logs, where,
                      of_store);
    }
    if (of_logs[0] != '\0' && of_store[0] == '\0' && config_uses_zookeeper(m->config.config)) {
        return refuse(reason, MEMBERSHIP_REASON_BYTES,
                      "meta.properties says cluster.id=%s, but %s has no cluster: is "
                      "zookeeper.connect right?",
                      of_logs, where);
    }
    return OK;
}

/* What CLUSTER_ID asks for, for a cluster that is made here. NULL: nothing. */
static const char *wanted_cluster_id(const struct config *config)
{
    return config_uses_zookeeper(config) || config->ottla_cluster_id == NULL ||
                   config->ottla_cluster_id[0] == '\0'
               ? NULL
               : config->ottla_cluster_id;
}

/* As kafka-storage format does: another id is somebody else's data. */
static err check_wanted_cluster_id(struct membership *m, const struct logs_identity *identity,
                                   char *reason)
{
    const char *wanted = wanted_cluster_id(m->config.config);
    const char *there = m->cluster_id[0] != '\0' ? m->cluster_id : identity->cluster_id;
    if (wanted == NULL || there[0] == '\0' || strcmp(wanted, there) == 0) {
        return OK;
    }
    return refuse(reason, MEMBERSHIP_REASON_BYTES,
                  "option ottla.cluster.id (or CLUSTER_ID in the environment): \"%s\" is not the "
                  "cluster of what is in log.dirs, which is %s; remove the option, or name other "
                  "directories",
                  wanted, there);
}

static err make_cluster_id(struct membership *m, struct arena *arena,
                           const struct logs_identity *identity, char *reason)
{
    char fresh[UUID_TEXT_LEN + 1];
    uuid_format(uuid_random(m->config.random), fresh);
    const char *wanted = wanted_cluster_id(m->config.config);
    struct str id = str_of(identity->cluster_id[0] != '\0' ? identity->cluster_id
                           : wanted != NULL                ? wanted
                                                           : fresh);
    struct coord_op create = {
        .type = COORD_CREATE, .path = ZNODE_CLUSTER_ID, .data = znode_cluster_id_encode(arena, id)};
    TRY(coord_run(m->coord, &create, 1, arena));
    if (create.error == E_EXISTS) {
        return read_cluster_id(m, arena, reason); /* another broker was faster */
    }
    TRY(create.error);
    snprintf(m->cluster_id, sizeof(m->cluster_id), "%s", id.data);
    return OK;
}

/* The number that is configured, or that the directories have, or a generated one. */
static err settle_broker_id(struct membership *m, struct arena *arena,
                            const struct logs_identity *identity, char *reason)
{
    const struct config *config = m->config.config;
    m->broker_id = config->broker_id >= 0 ? config->broker_id : identity->broker_id;
    if (m->broker_id >= 0) {
        return OK;
    }
    if (!config->broker_id_generation_enable) {
        return refuse(reason, MEMBERSHIP_REASON_BYTES,
                      "option broker.id: it must be set when broker.id.generation.enable "
                      "is false");
    }
    struct coord_op set = {.type = COORD_SET,
                           .path = ZNODE_SEQID,
                           .data = bytes_of("", 0),
                           .version = COORD_ANY_VERSION};
    TRY(coord_run(m->coord, &set, 1, arena));
    TRY(set.error);
    int64_t id = (int64_t)config->reserved_broker_max_id + set.stat.version;
    if (id > INT32_MAX) {
        return refuse(
            reason, MEMBERSHIP_REASON_BYTES,
            "option reserved.broker.max.id: no number above %d is left to generate; lower "
            "it, or set broker.id",
            config->reserved_broker_max_id);
    }
    m->broker_id = (int32_t)id;
    return OK;
}

/* "PLAINTEXT://host:port" of a registration, for a message. */
static const char *first_endpoint(struct arena *arena, struct bytes json)
{
    struct znode_broker node;
    if (znode_broker_decode(arena, json, &node) != OK || node.endpoints_n == 0) {
        return "?";
    }
    return arena_format(arena, "%.*s:%d", (int)node.endpoints[0].host.len,
                        node.endpoints[0].host.data, node.endpoints[0].port)
        .data;
}

/* A broker that was killed stays registered until its session expires. When it has, a controller must see
 * that it is gone before it is there again, maybe with less than it had: if it was the controller itself,
 * there has to be another first. */
static err wait_for_id(struct membership *m, struct arena *arena, char *reason)
{
    const char *path = znode_broker_path(arena, m->broker_id);
    int64_t patience_ms =
        (int64_t)m->config.config->zookeeper_session_timeout_ms + ID_WAIT_SLACK_MS;
    int64_t deadline_ms = clock_monotonic_ms(m->config.clock) + patience_ms;
    bool said = false;
    for (;;) {
        struct coord_op op;
        TRY(get(m, arena, path, &op));
        if (op.error == E_NOT_FOUND && said) {
            clock_sleep_us(m->config.clock, ID_GONE_MS * 1000);
        }
        if (op.error == E_NOT_FOUND ||
            (op.error == OK && coord_owned(m->coord, op.stat.ephemeral_owner))) {
            return OK;
        }
        TRY(op.error);
        if (!said) {
            said = true;
            log_warn("membership",
                     "broker.id is registered by another session, waiting for it to end broker=%d "
                     "endpoint=%s session=0x%llx patience_ms=%lld",
                     m->broker_id, first_endpoint(arena, op.value),
                     (unsigned long long)op.stat.ephemeral_owner, (long long)patience_ms);
        }
        if (clock_monotonic_ms(m->config.clock) >= deadline_ms) {
            return refuse(reason, MEMBERSHIP_REASON_BYTES,
                          "option broker.id: %d is registered by another broker, at %s",
                          m->broker_id, first_endpoint(arena, op.value));
        }
        clock_sleep_us(m->config.clock, ID_POLL_MS * 1000);
    }
}

static err settle(struct membership *m, struct arena *arena, const struct logs_identity *identity,
                  char *reason)
{
    TRY(read_cluster_id(m, arena, reason));
    TRY(check_cluster_id(m, identity, reason));
    TRY(check_wanted_cluster_id(m, identity, reason));
    TRY(create_base(m, arena));
    if (m->cluster_id[0] == '\0') {
        TRY(make_cluster_id(m, arena, identity, reason));
        TRY(check_cluster_id(m, identity, reason));
    }
    TRY(settle_broker_id(m, arena, identity, reason));
    return wait_for_id(m, arena, reason);
}

err membership_settle(struct membership *m, const struct logs_identity *identity, char *reason)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = settle(m, &arena, identity, reason);
    arena_deinit(&arena);
    return e;
}

/* ---- registration ---- */

static struct bytes registration(struct membership *m, struct arena *arena)
{
    struct znode_broker node = {
        .endpoints = (struct znode_endpoint *)(uintptr_t)m->endpoints, /* only read */
        .endpoints_n = m->endpoints_n,
        .rack = str_of(m->config.config->broker_rack),
        .timestamp_ms = clock_wall_ms(m->config.clock),
    };
    return znode_broker_encode(arena, &node);
}

/* Deletes a node that is one's own, and writes it, as one transaction: a new node, a new epoch. */
static err write_registration(struct membership *m, struct arena *arena, bool replace)
{
    const char *path = znode_broker_path(arena, m->broker_id);
    struct coord_op ops[3] = {
        {.type = COORD_DELETE, .path = path, .version = COORD_ANY_VERSION},
        {.type = COORD_CREATE, .path = path, .flags = COORD_EPHEMERAL},
        {.type = COORD_SET, .path = path, .data = registration(m, arena), .version = 0},
    };
    size_t skipped = replace ? 0 : 1;
    TRY(coord_multi(m->coord, ops + skipped, 3 - skipped, arena));
    int64_t epoch = ops[2].stat.czxid; /* where the answer was lost, only the last one is known */
    CHECK(epoch > 0);
    m->registered = true;
    atomic_store(&m->disconnected, false); /* that a session has begun is not told */
    log_info("membership", "registered broker=%d epoch=%lld", m->broker_id, (long long)epoch);
    m->config.registered(m->config.context, epoch);
    return OK;
}

static bool same_endpoint(const struct znode_endpoint *a, const struct znode_endpoint *b)
{
    return a->port == b->port && str_equal(a->host, b->host);
}

static err check_others_endpoints(struct membership *m, int32_t id, const struct znode_broker *node,
                                  char *reason)
{
    for (int32_t i = 0; i < node->endpoints_n; i++) {
        for (int32_t k = 0; k < m->endpoints_n; k++) {
            if (same_endpoint(&node->endpoints[i], &m->endpoints[k])) {
                return refuse(reason, MEMBERSHIP_REASON_BYTES,
                              "option advertised.listeners: %.*s:%d is registered by broker %d",
                              (int)node->endpoints[i].host.len, node->endpoints[i].host.data,
                              node->endpoints[i].port, id);
            }
        }
    }
    return OK;
}

/* Two brokers at one address would be taken for each other. */
static err check_endpoints(struct membership *m, struct arena *arena, char *reason)
{
    struct coord_op ids = {.type = COORD_CHILDREN, .path = ZNODE_BROKER_IDS};
    TRY(coord_run(m->coord, &ids, 1, arena));
    TRY(ids.error);
    for (int32_t i = 0; i < ids.children_n; i++) {
        int32_t id = znode_broker_id(ids.children[i]);
        struct coord_op op;
        struct znode_broker node;
        if (id < 0 || id == m->broker_id) {
            continue;
        }
        TRY(get(m, arena, znode_broker_path(arena, id), &op));
        if (op.error == OK && znode_broker_decode(arena, op.value, &node) == OK) {
            TRY(check_others_endpoints(m, id, &node, reason));
        }
    }
    return OK;
}

static err do_register(struct membership *m, struct arena *arena, char *reason)
{
    struct coord_op there;
    TRY(get(m, arena, znode_broker_path(arena, m->broker_id), &there));
    if (there.error == OK && !coord_owned(m->coord, there.stat.ephemeral_owner)) {
        return refuse(reason, MEMBERSHIP_REASON_BYTES,
                      "broker id %d is registered by another broker, at %s", m->broker_id,
                      first_endpoint(arena, there.value));
    }
    err e = write_registration(m, arena, there.error == OK);
    /* The ensemble removed the node of the session before in this moment. */
    return e == E_NOT_FOUND ? write_registration(m, arena, false) : e;
}

static err register_now(struct membership *m, char *reason)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = do_register(m, &arena, reason);
    arena_deinit(&arena);
    if (e != OK && reason[0] == '\0') {
        snprintf(reason, MEMBERSHIP_REASON_BYTES, "%s", err_text(e));
    }
    return e;
}

err membership_register(struct membership *m, const struct znode_endpoint *endpoints,
                        int32_t endpoints_n, char *reason)
{
    m->endpoints = endpoints;
    m->endpoints_n = endpoints_n;
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = check_endpoints(m, &arena, reason);
    arena_deinit(&arena);
    return e == OK ? register_now(m, reason) : e;
}

void membership_follow_acls(struct membership *m, struct acls *acls)
{
    m->acls = acls;
}

void membership_follow_tokens(struct membership *m, struct delegation_tokens *delegation)
{
    m->delegation = delegation;
}

err membership_elect(struct membership *m, struct controller *controller,
                     struct config_changes *changes, char *reason)
{
    m->controller = controller;
    m->changes = changes;
    err e = controller_elect(controller);
    if (e != OK) {
        const char *path = controller_unreadable(controller);
        snprintf(reason, MEMBERSHIP_REASON_BYTES, "the controller cannot be elected: %s%s%s",
                 path == NULL ? "" : path, path == NULL ? "" : ": ", err_text(e));
        return e;
    }
    m->configs_known = true;
    const struct config *config = m->config.config;
    if (config->auto_leader_rebalance_enable && config_uses_zookeeper(config)) {
        timer_start(m->config.control, &m->rebalance, FIRST_REBALANCE_MS);
    }
    loop_on_turn_end(m->config.control, on_turn_end, m);
    on_turn_end(m); /* there may be no turn for long */
    return OK;
}

/* ---- failed logs ---- */

static err tell_log_failure(struct membership *m)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct coord_op create = {.type = COORD_CREATE,
                              .path = ZNODE_LOG_DIR_EVENTS "/log_dir_event_",
                              .data = znode_log_dir_event_encode(&arena, m->broker_id),
                              .flags = COORD_SEQUENTIAL};
    err e = coord_run(m->coord, &create, 1, &arena);
    arena_deinit(&arena);
    return e == OK ? create.error : e;
}

/* What fails meanwhile is another event. */
static void on_log_failed(struct loop_task *task)
{
    struct membership *m = container_of(task, struct membership, log_failed);
    atomic_store(&m->log_failure_posted, false);
    err e = m->controller == NULL ? OK : tell_log_failure(m);
    if (e != OK) {
        log_error("membership", "the controller is not told of a failed log error=\"%s\"",
                  err_text(e));
    }
}

void membership_log_failed(struct membership *m)
{
    if (!atomic_exchange(&m->log_failure_posted, true)) {
        loop_post(m->config.control, &m->log_failed);
    }
}

/* ---- life ---- */

struct membership *membership_new(const struct membership_config *config)
{
    struct membership *m = xcalloc(1, sizeof(*m));
    m->config = *config;
    m->dir = xstrdup(config->dir);
    m->broker_id = -1;
    m->retry.fire = on_retry;
    m->rebalance.fire = on_rebalance;
    m->log_failed.run = on_log_failed;
    return m;
}

void membership_stop(struct membership *m)
{
    m->controller = NULL;
    timer_stop(m->config.control, &m->retry);
    timer_stop(m->config.control, &m->rebalance);
}

void membership_free(struct membership *m)
{
    if (m != NULL) {
        free(m->dir);
        free(m);
    }
}

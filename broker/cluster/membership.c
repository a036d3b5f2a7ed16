/* What the store tells (watches, the session) comes on any thread and is posted to the control
 * thread.
 *
 * When the session has expired the broker is no controller any more and is not registered: it begins
 * a new session, registers (with a new epoch), reads what it may have missed, and stands for
 * election. Its logs, the partitions that it leads and its clients are not touched by any of this:
 * what leads is decided by epochs, not by sessions. */
#define _GNU_SOURCE
#include "broker/cluster/membership.h"

#include "base/log.h"
#include "broker/broker.h"
#include "broker/cluster/broker_configs.h"
#include "broker/cluster/config_changes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    ARENA_BYTES = 64 << 20,
    RETRY_MS = 2000,
    FIRST_REBALANCE_MS = 5000,
    ID_POLL_MS = 100,
    ID_WAIT_SLACK_MS = 3000, /* the ensemble expires sessions at its own ticks */
};

#define EMBEDDED_FILE "ottla-coordination.db"
#define SESSION_FILE  "ottla-zookeeper-session"

__attribute__((format(printf, 2, 3))) static err refuse(char *reason, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, BROKER_REASON_BYTES, format, args);
    va_end(args);
    return E_CONFIG;
}

/* ---- events ---- */

static bool is_settled(const struct broker *broker)
{
    return !broker->session_over && broker->registered && broker->config_changes_watched &&
           broker->configs_known && controller_is_active(broker->controller);
}

/* What was changed while nobody listened, and what could not be read. */
static err read_configs(struct broker *broker)
{
    TRY(topic_configs_load(broker->topic_configs));
    broker_configs_use(broker);
    return OK;
}

/* Does what is not done: begins a session, registers, follows the notifications, reads the
 * configurations, stands for election. Each step logs its own failure. */
static void settle_in(struct broker *broker)
{
    char reason[BROKER_REASON_BYTES] = "";
    if (broker->session_over) {
        err e = coord_renew(broker->coord);
        if (e != OK && e != E_CLOSED) { /* E_CLOSED: the broker stops */
            log_error("membership", "no new session, trying again error=\"%s\"", err_text(e));
        }
        if (e != OK) {
            return;
        }
        broker->session_over = false;
    }
    if (!broker->registered && membership_register(broker, reason) != OK) {
        log_error("membership", "cannot register, trying again reason=\"%s\"", reason);
    }
    if (!broker->config_changes_watched) {
        broker->config_changes_watched = config_changes_on_watch(broker) == OK;
    }
    if (!broker->configs_known) {
        err e = read_configs(broker);
        broker->configs_known = e == OK;
        if (e != OK) {
            log_error("membership", "configurations not read, trying again error=\"%s\"",
                      err_text(e));
        }
    }
    if (!controller_is_active(broker->controller)) {
        err_ignore(controller_elect(broker->controller));
    }
}

static void on_retry(struct timer *timer)
{
    settle_in(container_of(timer, struct broker, membership_retry));
}

/* After each turn of the control loop: whatever it was that failed, it is tried again. With one
 * broker nobody else can take its place. */
static void on_turn_end(void *context)
{
    struct broker *broker = context;
    if (broker->controller != NULL && !is_settled(broker) &&
        !timer_is_running(&broker->membership_retry)) {
        timer_start(broker->control, &broker->membership_retry, RETRY_MS);
    }
}

static void on_rebalance(struct timer *timer)
{
    struct broker *broker = container_of(timer, struct broker, rebalance);
    controller_rebalance(broker->controller);
    timer_start(broker->control, timer,
                broker->config->leader_imbalance_check_interval_seconds * 1000LL);
}

struct watch_event {
    struct loop_task task;
    struct broker *broker;
    enum coord_watch_type type;
    char path[];
};

static void on_watch_task(struct loop_task *task)
{
    struct watch_event *event = container_of(task, struct watch_event, task);
    struct broker *broker = event->broker;
    if (broker->controller == NULL) {
        free(event); /* the start has failed */
        return;
    }
    if (strcmp(event->path, ZNODE_CONFIG_CHANGES) == 0) {
        broker->config_changes_watched = config_changes_on_watch(broker) == OK;
    } else {
        controller_on_watch(broker->controller, event->type, event->path);
    }
    free(event);
}

static void on_watch(void *context, enum coord_watch_type type, const char *path)
{
    struct broker *broker = context;
    size_t size = strlen(path) + 1;
    struct watch_event *event = xmalloc(sizeof(*event) + size);
    *event = (struct watch_event){.task.run = on_watch_task, .broker = broker, .type = type};
    memcpy(event->path, path, size);
    loop_post(broker->control, &event->task);
}

struct expiry_event {
    struct loop_task task;
    struct broker *broker;
};

static void on_expiry_task(struct loop_task *task)
{
    struct expiry_event *event = container_of(task, struct expiry_event, task);
    struct broker *broker = event->broker;
    free(event);
    if (broker->controller == NULL) {
        return; /* the start has failed */
    }
    broker->session_over = true;
    broker->registered = false;
    broker->config_changes_watched = false;
    broker->configs_known = false;
    controller_resign(broker->controller, "the session has expired");
    settle_in(broker);
}

/* The control thread may wait for the store in this moment: what is only to be said is said here. */
static void on_session(void *context, enum coord_session state)
{
    struct broker *broker = context;
    if (state == COORD_DISCONNECTED) {
        log_warn("membership", "ZooKeeper is out of reach: records go on being served, topics and "
                               "configurations cannot be changed until it is back");
    } else if (state == COORD_EXPIRED) {
        log_warn("membership", "session expired: records go on being served; registering again "
                               "when ZooKeeper can be reached");
        struct expiry_event *event = xcalloc(1, sizeof(*event));
        *event = (struct expiry_event){.task.run = on_expiry_task, .broker = broker};
        loop_post(broker->control, &event->task);
    }
}

/* ---- the store ---- */

static err connect_zookeeper(struct broker *broker, const struct coord_events *events, char *reason)
{
    const struct config *config = broker->config;
    char *session = xasprintf("%s/%s", logs_first_dir(broker->logs), SESSION_FILE);
    int32_t patience_ms = config->zookeeper_connection_timeout_ms;
    struct coord_zookeeper how = {
        .connect = config->zookeeper_connect,
        .session_timeout_ms = config->zookeeper_session_timeout_ms,
        .connection_timeout_ms =
            patience_ms == CONFIG_NULL_INT ? config->zookeeper_session_timeout_ms : patience_ms,
        .in_flight_max = config->zookeeper_max_in_flight_requests,
        .session_path = session,
    };
    log_info("membership", "connecting zookeeper.connect=%s patience_ms=%d", how.connect,
             how.connection_timeout_ms);
    err e = coord_zookeeper_open(&how, events, &broker->coord, reason);
    free(session);
    return e;
}

err membership_connect(struct broker *broker, char *reason)
{
    struct coord_events events = {.watch = on_watch, .session = on_session, .context = broker};
    broker->membership_retry.fire = on_retry;
    broker->rebalance.fire = on_rebalance;
    if (config_uses_zookeeper(broker->config)) {
        return connect_zookeeper(broker, &events, reason);
    }
    char *path = xasprintf("%s/%s", logs_first_dir(broker->logs), EMBEDDED_FILE);
    err e = coord_embedded_open(path, broker->clock, &events, &broker->coord, reason);
    free(path);
    return e;
}

static err get(struct broker *broker, struct arena *arena, const char *path, struct coord_op *op)
{
    *op = (struct coord_op){.type = COORD_GET, .path = path};
    return coord_run(broker->coord, op, 1, arena);
}

/* ---- identity ---- */

static err create_base(struct broker *broker, struct arena *arena)
{
    struct coord_op *ops = arena_array(arena, ZNODE_PERSISTENT_N, sizeof(*ops));
    CHECK(ops != NULL);
    for (size_t i = 0; i < ZNODE_PERSISTENT_N; i++) {
        ops[i] = (struct coord_op){.type = COORD_CREATE, .path = ZNODE_PERSISTENT[i]};
    }
    TRY(coord_run(broker->coord, ops, ZNODE_PERSISTENT_N, arena));
    for (size_t i = 0; i < ZNODE_PERSISTENT_N; i++) {
        if (ops[i].error != OK && ops[i].error != E_EXISTS) {
            return ops[i].error;
        }
    }
    return OK;
}

static err read_cluster_id(struct broker *broker, struct arena *arena, char *reason)
{
    struct coord_op op;
    TRY(get(broker, arena, ZNODE_CLUSTER_ID, &op));
    if (op.error != OK) {
        return op.error == E_NOT_FOUND ? OK : op.error;
    }
    struct str id = {0};
    if (znode_cluster_id_decode(arena, op.value, &id) != OK || id.len >= CLUSTER_ID_MAX) {
        return refuse(reason, "the coordination store's %s cannot be read", ZNODE_CLUSTER_ID);
    }
    snprintf(broker->cluster_id, sizeof(broker->cluster_id), "%.*s", (int)id.len, id.data);
    return OK;
}

/* Does the store's cluster fit the log directories? An embedded store is theirs, and takes their
 * id. */
static err check_cluster_id(struct broker *broker, const struct logs_identity *identity,
                            char *reason)
{
    const char *of_logs = identity->cluster_id;
    const char *of_store = broker->cluster_id;
    const char *where = config_uses_zookeeper(broker->config) ? broker->config->zookeeper_connect
                                                              : "the coordination store";
    if (of_logs[0] != '\0' && of_store[0] != '\0' && strcmp(of_logs, of_store) != 0) {
        return refuse(reason, "meta.properties says cluster.id=%s, but %s says %s", of_logs, where,
                      of_store);
    }
    if (of_logs[0] != '\0' && of_store[0] == '\0' && config_uses_zookeeper(broker->config)) {
        return refuse(reason,
                      "meta.properties says cluster.id=%s, but %s has no cluster: is "
                      "zookeeper.connect right?",
                      of_logs, where);
    }
    return OK;
}

static err make_cluster_id(struct broker *broker, struct arena *arena,
                           const struct logs_identity *identity, char *reason)
{
    char fresh[UUID_TEXT_LEN + 1];
    uuid_format(uuid_random(), fresh);
    struct str id = str_of(identity->cluster_id[0] != '\0' ? identity->cluster_id : fresh);
    struct coord_op create = {
        .type = COORD_CREATE, .path = ZNODE_CLUSTER_ID, .data = znode_cluster_id_encode(arena, id)};
    TRY(coord_run(broker->coord, &create, 1, arena));
    if (create.error == E_EXISTS) {
        return read_cluster_id(broker, arena, reason); /* another broker was faster */
    }
    TRY(create.error);
    snprintf(broker->cluster_id, sizeof(broker->cluster_id), "%s", id.data);
    return OK;
}

/* The number that is configured, or that the directories have, or a generated one. */
static err settle_broker_id(struct broker *broker, struct arena *arena,
                            const struct logs_identity *identity, char *reason)
{
    const struct config *config = broker->config;
    broker->id = config->broker_id >= 0 ? config->broker_id : identity->broker_id;
    if (broker->id >= 0) {
        return OK;
    }
    if (!config->broker_id_generation_enable) {
        return refuse(reason, "option broker.id: it must be set when broker.id.generation.enable "
                              "is false");
    }
    struct coord_op set = {.type = COORD_SET,
                           .path = ZNODE_SEQID,
                           .data = bytes_of("", 0),
                           .version = COORD_ANY_VERSION};
    TRY(coord_run(broker->coord, &set, 1, arena));
    TRY(set.error);
    broker->id = config->reserved_broker_max_id + set.stat.version;
    return OK;
}

/* Brokers do not talk to each other yet: a cluster of several would be led wrongly. */
static err check_alone(struct broker *broker, struct arena *arena, char *reason)
{
    struct coord_op ids = {.type = COORD_CHILDREN, .path = ZNODE_BROKER_IDS};
    TRY(coord_run(broker->coord, &ids, 1, arena));
    TRY(ids.error);
    for (int32_t i = 0; i < ids.children_n; i++) {
        int32_t id = znode_broker_id(ids.children[i]);
        if (id >= 0 && id != broker->id) {
            return refuse(reason,
                          "broker %s is registered too: a cluster of several brokers is not built "
                          "yet",
                          ids.children[i]);
        }
    }
    return OK;
}

static void pause_ms(int ms)
{
    struct timespec time = {.tv_nsec = ms * 1000000L};
    nanosleep(&time, NULL);
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

/* A broker that was killed stays registered until its session expires. */
static err wait_for_id(struct broker *broker, struct arena *arena, char *reason)
{
    const char *path = znode_broker_path(arena, broker->id);
    int64_t patience_ms = broker->config->zookeeper_session_timeout_ms + ID_WAIT_SLACK_MS;
    int64_t deadline_ms = clock_monotonic_ms(broker->clock) + patience_ms;
    bool said = false;
    for (;;) {
        struct coord_op op;
        TRY(get(broker, arena, path, &op));
        if (op.error == E_NOT_FOUND ||
            (op.error == OK && coord_owned(broker->coord, op.stat.ephemeral_owner))) {
            return OK;
        }
        TRY(op.error);
        if (!said) {
            said = true;
            log_warn("membership",
                     "broker.id is registered by another session, waiting for it to end broker=%d "
                     "endpoint=%s session=0x%llx patience_ms=%lld",
                     broker->id, first_endpoint(arena, op.value),
                     (unsigned long long)op.stat.ephemeral_owner, (long long)patience_ms);
        }
        if (clock_monotonic_ms(broker->clock) >= deadline_ms) {
            return refuse(reason, "option broker.id: %d is registered by another broker, at %s",
                          broker->id, first_endpoint(arena, op.value));
        }
        pause_ms(ID_POLL_MS);
    }
}

static err settle(struct broker *broker, struct arena *arena, const struct logs_identity *identity,
                  char *reason)
{
    TRY(read_cluster_id(broker, arena, reason));
    TRY(check_cluster_id(broker, identity, reason));
    TRY(create_base(broker, arena));
    if (broker->cluster_id[0] == '\0') {
        TRY(make_cluster_id(broker, arena, identity, reason));
        TRY(check_cluster_id(broker, identity, reason));
    }
    TRY(settle_broker_id(broker, arena, identity, reason));
    TRY(check_alone(broker, arena, reason));
    return wait_for_id(broker, arena, reason);
}

err membership_settle(struct broker *broker, const struct logs_identity *identity, char *reason)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = settle(broker, &arena, identity, reason);
    arena_deinit(&arena);
    return e;
}

/* ---- registration ---- */

static struct bytes registration(struct broker *broker, struct arena *arena)
{
    char hostname[LISTENER_HOST_MAX] = "localhost";
    (void)gethostname(hostname, sizeof(hostname) - 1);
    struct znode_broker node = {
        .endpoints = arena_array(arena, broker->listeners_n, sizeof(*node.endpoints)),
        .endpoints_n = (int32_t)broker->listeners_n,
        .rack = str_of(broker->config->broker_rack),
        .timestamp_ms = clock_wall_ms(broker->clock),
    };
    CHECK(node.endpoints != NULL);
    for (size_t i = 0; i < broker->listeners_n; i++) {
        const struct listener *l = &broker->listeners[i];
        const char *bound =
            l->host[0] != '\0' && strcmp(l->host, "0.0.0.0") != 0 ? l->host : hostname;
        node.endpoints[i] = (struct znode_endpoint){
            .listener = str_of(l->name),
            .host = str_of(l->advertised_host[0] != '\0' ? l->advertised_host : bound),
            .port = l->advertised_host[0] != '\0' ? l->advertised_port : l->port,
            .security_protocol = STR("PLAINTEXT"),
        };
    }
    return znode_broker_encode(arena, &node);
}

/* Deletes a node that is one's own, and writes it, as one transaction: a new node, a new epoch. */
static err write_registration(struct broker *broker, struct arena *arena, bool replace)
{
    const char *path = znode_broker_path(arena, broker->id);
    struct coord_op ops[3] = {
        {.type = COORD_DELETE, .path = path, .version = COORD_ANY_VERSION},
        {.type = COORD_CREATE, .path = path, .flags = COORD_EPHEMERAL},
        {.type = COORD_SET, .path = path, .data = registration(broker, arena), .version = 0},
    };
    size_t skipped = replace ? 0 : 1;
    TRY(coord_multi(broker->coord, ops + skipped, 3 - skipped, arena));
    broker->epoch = ops[1].stat.czxid;
    broker->registered = true;
    log_info("membership", "registered broker=%d epoch=%lld", broker->id, (long long)broker->epoch);
    return OK;
}

static err do_register(struct broker *broker, struct arena *arena, char *reason)
{
    struct coord_op there;
    TRY(get(broker, arena, znode_broker_path(arena, broker->id), &there));
    if (there.error == OK && !coord_owned(broker->coord, there.stat.ephemeral_owner)) {
        return refuse(reason, "broker id %d is registered by another broker, at %s", broker->id,
                      first_endpoint(arena, there.value));
    }
    err e = write_registration(broker, arena, there.error == OK);
    /* The ensemble removed the node of the session before in this moment. */
    return e == E_NOT_FOUND ? write_registration(broker, arena, false) : e;
}

err membership_register(struct broker *broker, char *reason)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = do_register(broker, &arena, reason);
    arena_deinit(&arena);
    if (e != OK && reason[0] == '\0') {
        snprintf(reason, BROKER_REASON_BYTES, "%s", err_text(e));
    }
    return e;
}

err membership_elect(struct broker *broker, char *reason)
{
    err e = controller_elect(broker->controller);
    if (e != OK) {
        const char *path = controller_unreadable(broker->controller);
        snprintf(reason, BROKER_REASON_BYTES, "the controller cannot be elected: %s%s%s",
                 path == NULL ? "" : path, path == NULL ? "" : ": ", err_text(e));
        return e;
    }
    broker->configs_known = true;
    if (broker->config->auto_leader_rebalance_enable && config_uses_zookeeper(broker->config)) {
        timer_start(broker->control, &broker->rebalance, FIRST_REBALANCE_MS);
    }
    loop_on_turn_end(broker->control, on_turn_end, broker);
    return OK;
}

void membership_stop(struct broker *broker)
{
    timer_stop(broker->control, &broker->membership_retry);
    timer_stop(broker->control, &broker->rebalance);
}

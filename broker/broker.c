/* Start and stop of a broker, in the order that makes each step safe.
 *
 * Start: listening sockets are bound first (a port that is taken is the commonest refusal, and
 * ports must be known to register), the log directories are locked and their identity read, the
 * coordination store is opened, topic configurations are read, logs are loaded, the broker
 * registers, the controller is elected and makes partitions lead; only then are connections
 * accepted. All of it runs on the caller's thread; the control thread and the loops start at the
 * end.
 *
 * Stop is the reverse: no new connections, waiting group members are told, the loops end (what is
 * in progress is answered), the control thread ends, logs are closed and marked clean. */
#define _GNU_SOURCE
#include "broker/broker.h"

#include "base/log.h"
#include "broker/cluster/adopt.h"
#include "broker/cluster/config_changes.h"
#include "broker/housekeeping.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    PARTIAL_FRAME_IDLE_MS = 30000,
    OPEN_FILES_SHARE = 2, /* one half of the descriptors for files, the rest for connections */
    OPEN_FILES_MIN = 64,
    OPEN_FILES_MAX = 100000,
    DESCRIPTORS_RESERVED = 64,
    START_ARENA_BYTES = 64 << 20,
    ELECTION_RETRY_MS = 5000,
};

#define COORDINATION_FILE "ottla-coordination.db"

/* ---- listeners ---- */

__attribute__((format(printf, 2, 3))) static err refuse(char reason[BROKER_REASON_BYTES],
                                                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, BROKER_REASON_BYTES, format, args);
    va_end(args);
    return E_CONFIG;
}

/* "NAME://host:port" */
static err parse_url(const char *option, const char *url, size_t len, struct listener *out,
                     char reason[BROKER_REASON_BYTES])
{
    char text[LISTENER_HOST_MAX + LISTENER_NAME_MAX];
    if (len >= sizeof(text)) {
        return refuse(reason, "option %s: \"%.80s…\" is too long", option, url);
    }
    memcpy(text, url, len);
    text[len] = '\0';
    char *scheme = strstr(text, "://");
    char *colon = scheme == NULL ? NULL : strrchr(scheme + 3, ':');
    char *end = NULL;
    long port = colon == NULL ? -1 : strtol(colon + 1, &end, 10);
    if (colon == NULL || end == colon + 1 || *end != '\0' || port < 0 || port > 65535 ||
        scheme == text || (size_t)(scheme - text) >= LISTENER_NAME_MAX) {
        return refuse(reason, "option %s: \"%s\" is not allowed; it must be NAME://host:port",
                      option, text);
    }
    *scheme = '\0';
    *colon = '\0';
    char *host = scheme + 3;
    size_t host_len = strlen(host);
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host[host_len - 1] = '\0';
        host++;
    }
    for (char *c = text; *c != '\0'; c++) {
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
    }
    snprintf(out->name, sizeof(out->name), "%.*s", LISTENER_NAME_MAX - 1, text);
    snprintf(out->host, sizeof(out->host), "%s", host);
    out->port = (int)port;
    out->conns_max = INT32_MAX;
    return OK;
}

static bool next_item(const char **at, const char **item, size_t *len)
{
    while (**at == ' ' || **at == ',') {
        (*at)++;
    }
    *item = *at;
    *len = strcspn(*at, ", ");
    *at += *len;
    return *len > 0;
}

/* One of controller.listener.names, of a file made for KRaft. */
static bool is_controller_listener(const struct config *config, const char *name)
{
    const char *at = config->controller_listener_names;
    const char *item = NULL;
    size_t len = 0;
    while (at != NULL && next_item(&at, &item, &len)) {
        if (len == strlen(name) && strncasecmp(item, name, len) == 0) {
            return true;
        }
    }
    return false;
}

/* The protocol that the map gives a listener must be one that is built. */
static err check_protocol(const struct config *config, const struct listener *listener,
                          char reason[BROKER_REASON_BYTES])
{
    const char *at = config->listener_security_protocol_map;
    const char *item = NULL;
    size_t len = 0;
    size_t name_len = strlen(listener->name);
    while (next_item(&at, &item, &len)) {
        if (len > name_len && strncasecmp(item, listener->name, name_len) == 0 &&
            item[name_len] == ':') {
            bool plain =
                len - name_len - 1 == 9 && strncasecmp(item + name_len + 1, "PLAINTEXT", 9) == 0;
            return plain ? OK
                         : refuse(reason,
                                  "option listeners: %s needs %.*s, which is not built; "
                                  "only PLAINTEXT is",
                                  listener->name, (int)(len - name_len - 1), item + name_len + 1);
        }
    }
    return refuse(reason, "option listener.security.protocol.map: no protocol for listener %s",
                  listener->name);
}

static err parse_advertised(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    const char *at = broker->config->advertised_listeners;
    const char *item = NULL;
    size_t len = 0;
    while (at != NULL && next_item(&at, &item, &len)) {
        struct listener one = {0};
        TRY(parse_url("advertised.listeners", item, len, &one, reason));
        size_t i = 0;
        while (i < broker->listeners_n && strcmp(broker->listeners[i].name, one.name) != 0) {
            i++;
        }
        if (i == broker->listeners_n) {
            return refuse(reason, "option advertised.listeners: %s is not in listeners", one.name);
        }
        if (one.host[0] == '\0' || strcmp(one.host, "0.0.0.0") == 0) {
            return refuse(reason,
                          "option advertised.listeners: \"%s\" cannot be connected to; "
                          "name a host",
                          one.host);
        }
        snprintf(broker->listeners[i].advertised_host, LISTENER_HOST_MAX, "%s", one.host);
        broker->listeners[i].advertised_port = one.port;
    }
    return OK;
}

static err parse_listeners(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    const char *at = broker->config->listeners;
    const char *item = NULL;
    size_t len = 0;
    while (next_item(&at, &item, &len)) {
        broker->listeners =
            xrealloc(broker->listeners, (broker->listeners_n + 1) * sizeof(*broker->listeners));
        struct listener *listener = &broker->listeners[broker->listeners_n];
        *listener = (struct listener){0};
        TRY(parse_url("listeners", item, len, listener, reason));
        if (is_controller_listener(broker->config, listener->name)) {
            continue;
        }
        for (size_t i = 0; i < broker->listeners_n; i++) {
            if (strcmp(broker->listeners[i].name, listener->name) == 0) {
                return refuse(reason, "option listeners: %s is there twice", listener->name);
            }
        }
        TRY(check_protocol(broker->config, listener, reason));
        broker->listeners_n++;
    }
    if (broker->listeners_n == 0) {
        return refuse(reason, "option listeners: at least one NAME://host:port is needed");
    }
    return parse_advertised(broker, reason);
}

static err parse_ip_overrides(const char *text, struct ip_override **out, size_t *count,
                              char reason[BROKER_REASON_BYTES])
{
    const char *item = NULL;
    size_t len = 0;
    while (next_item(&text, &item, &len)) {
        char *one = strndup(item, len);
        char *colon = strrchr(one, ':');
        char *end = NULL;
        long limit = colon == NULL ? -1 : strtol(colon + 1, &end, 10);
        if (colon == NULL || *end != '\0' || limit < 0 || (size_t)(colon - one) >= 64) {
            err e = refuse(reason,
                           "option max.connections.per.ip.overrides: \"%s\" is not "
                           "allowed; it must be address:count",
                           one);
            free(one);
            return e;
        }
        *colon = '\0';
        *out = xrealloc(*out, (*count + 1) * sizeof(**out));
        struct ip_override *added = &(*out)[(*count)++];
        snprintf(added->address, sizeof(added->address), "%s",
                 strcmp(one, "localhost") == 0 ? "127.0.0.1" : one);
        added->conns_max = limit > INT32_MAX ? INT32_MAX : (int32_t)limit;
        free(one);
    }
    return OK;
}

/* Raises the limit of descriptors as far as it goes, and tells it. */
static int64_t descriptors_max(void)
{
    struct rlimit limit = {.rlim_cur = 1024};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur > INT32_MAX ? INT32_MAX : (int64_t)limit.rlim_cur;
}

/* One half of the descriptors is for files. */
static int open_files_max(void)
{
    int64_t share = descriptors_max() / OPEN_FILES_SHARE;
    return share < OPEN_FILES_MIN ? OPEN_FILES_MIN
                                  : (int)(share > OPEN_FILES_MAX ? OPEN_FILES_MAX : share);
}

/* The rest is for connections, less what the broker itself needs: a flood of them must not keep it
 * from opening its files. */
static int32_t connections_max(const struct config *config)
{
    int64_t rest = descriptors_max() - open_files_max() - DESCRIPTORS_RESERVED;
    rest = rest < 1 ? 1 : rest;
    return config->max_connections < rest ? config->max_connections : (int32_t)rest;
}

static int loops_wanted(const struct config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 && cores < config->num_network_threads ? (int)cores
                                                            : config->num_network_threads;
}

/* queued.max.request.bytes; without it a quarter of the machine's memory. */
static size_t buffered_bytes_max(const struct config *config)
{
    if (config->queued_max_request_bytes >= 0) {
        return (size_t)config->queued_max_request_bytes;
    }
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (size_t)pages / 4 * (size_t)page_bytes : (size_t)1 << 30;
}

static int set_bytes(const struct config *config, const char *name, int32_t value)
{
    return config_is_set(config, config_option(name)) ? value : -1;
}

static err bind_listeners(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    const struct config *config = broker->config;
    TRY(parse_listeners(broker, reason));
    TRY(parse_ip_overrides(config->max_connections_per_ip_overrides, &broker->ip_overrides,
                           &broker->ip_overrides_n, reason));
    struct server_config server = {
        .listeners = broker->listeners,
        .listeners_n = broker->listeners_n,
        .loops_n = loops_wanted(config),
        .backlog = config->socket_listen_backlog_size,
        .conns_max = connections_max(config),
        .conns_per_ip_max = config->max_connections_per_ip,
        .ip_overrides = broker->ip_overrides,
        .ip_overrides_n = broker->ip_overrides_n,
        .buffered_bytes_max = buffered_bytes_max(config),
        .limits = {.frame_bytes_max = config->socket_request_max_bytes,
                   .idle_ms = config->connections_max_idle_ms,
                   .partial_idle_ms = PARTIAL_FRAME_IDLE_MS,
                   .send_buffer_bytes = set_bytes(config, "socket.send.buffer.bytes",
                                                  config->socket_send_buffer_bytes),
                   .receive_buffer_bytes = set_bytes(config, "socket.receive.buffer.bytes",
                                                     config->socket_receive_buffer_bytes)},
    };
    return server_new(broker->clock, &server, &broker->server, reason, BROKER_REASON_BYTES);
}

/* ---- log directories and coordination ---- */

struct dir_list {
    char **dirs;
    size_t count;
};

static struct dir_list split_dirs(const char *text)
{
    struct dir_list list = {0};
    while (*text != '\0') {
        const char *comma = strchrnul(text, ',');
        const char *start = text;
        const char *end = comma;
        while (start < end && *start == ' ') {
            start++;
        }
        while (end > start && (end[-1] == ' ' || (end[-1] == '/' && end > start + 1))) {
            end--;
        }
        if (end > start) {
            list.dirs = xrealloc(list.dirs, (list.count + 1) * sizeof(*list.dirs));
            list.dirs[list.count++] = strndup(start, (size_t)(end - start));
        }
        text = *comma == '\0' ? comma : comma + 1;
    }
    return list;
}

static void dir_list_deinit(struct dir_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->dirs[i]);
    }
    free(list->dirs);
}

static err lock_logs(struct broker *broker, struct logs_identity *identity,
                     char reason[BROKER_REASON_BYTES])
{
    struct dir_list list = split_dirs(broker->config->log_dirs);
    if (list.count == 0) {
        return refuse(reason, "option log.dirs: at least one directory is needed");
    }
    struct logs_open how = {
        .dirs = list.dirs,
        .dirs_n = list.count,
        .broker_id = broker->config->broker_id,
        .config_of = topic_configs_log_config,
        .context = broker->topic_configs,
    };
    err e = logs_lock(&broker->storage, &how, &broker->logs, identity, reason);
    dir_list_deinit(&list);
    return e;
}

struct watch_event {
    struct loop_task task;
    struct broker *broker;
    enum coord_watch_type type;
    char path[];
};

/* A controller that met an error of the store (a full disk) has resigned. Nobody else can take its
 * place here, so it stands for election until the store works again. */
static void elect_again(struct broker *broker)
{
    if (!controller_is_active(broker->controller)) {
        timer_start(broker->control, &broker->election, ELECTION_RETRY_MS);
    }
}

static void on_election(struct timer *timer)
{
    struct broker *broker = container_of(timer, struct broker, election);
    err_ignore(controller_elect(broker->controller)); /* logged there */
    elect_again(broker);
}

static void on_watch_task(struct loop_task *task)
{
    struct watch_event *event = container_of(task, struct watch_event, task);
    if (strcmp(event->path, ZNODE_CONFIG_CHANGES) == 0) {
        config_changes_on_watch(event->broker);
    } else {
        controller_on_watch(event->broker->controller, event->type, event->path);
        elect_again(event->broker);
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

static void on_session(void *context, enum coord_session state)
{
    (void)context;
    (void)state; /* the embedded store's session does not end */
}

static err open_coord(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    struct coord_events events = {.watch = on_watch, .session = on_session, .context = broker};
    char *path = xasprintf("%s/%s", logs_first_dir(broker->logs), COORDINATION_FILE);
    err e = coord_embedded_open(path, broker->clock, &events, &broker->coord, reason);
    free(path);
    return e;
}

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

/* The store's cluster id; a new store takes over the one of the log directories. */
static err settle_cluster_id(struct broker *broker, struct arena *arena,
                             const struct logs_identity *identity, char reason[BROKER_REASON_BYTES])
{
    struct coord_op get = {.type = COORD_GET, .path = ZNODE_CLUSTER_ID};
    TRY(coord_run(broker->coord, &get, 1, arena));
    if (get.error == E_NOT_FOUND) {
        char fresh[UUID_TEXT_LEN + 1];
        uuid_format(uuid_random(), fresh);
        struct str id = str_of(identity->cluster_id[0] != '\0' ? identity->cluster_id : fresh);
        struct coord_op create = {.type = COORD_CREATE,
                                  .path = ZNODE_CLUSTER_ID,
                                  .data = znode_cluster_id_encode(arena, id)};
        TRY(coord_run(broker->coord, &create, 1, arena));
        TRY(create.error);
        snprintf(broker->cluster_id, sizeof(broker->cluster_id), "%s", id.data);
        return OK;
    }
    TRY(get.error);
    struct str id = {0};
    TRY(znode_cluster_id_decode(arena, get.value, &id));
    snprintf(broker->cluster_id, sizeof(broker->cluster_id), "%.*s", (int)id.len, id.data);
    if (identity->cluster_id[0] != '\0' && strcmp(identity->cluster_id, broker->cluster_id) != 0) {
        return refuse(reason,
                      "meta.properties says cluster.id=%s, but the coordination store says %s",
                      identity->cluster_id, broker->cluster_id);
    }
    return OK;
}

/* The number that is configured, or that the directories have, or a generated one. */
static err settle_broker_id(struct broker *broker, struct arena *arena,
                            const struct logs_identity *identity, char reason[BROKER_REASON_BYTES])
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

static err register_broker(struct broker *broker, struct arena *arena)
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
    const char *path = znode_broker_path(arena, broker->id);
    struct coord_op ops[2] = {
        {.type = COORD_CREATE, .path = path, .flags = COORD_EPHEMERAL},
        {.type = COORD_SET, .path = path, .data = znode_broker_encode(arena, &node), .version = 0},
    };
    TRY(coord_multi(broker->coord, ops, 2, arena));
    broker->epoch = ops[0].stat.czxid;
    return OK;
}

/* ---- the controller's messages to this broker ---- */

static void on_leader_and_isr(void *context, int32_t broker_id,
                              const struct leader_and_isr_request *request, struct arena *arena,
                              struct leader_and_isr_response *response)
{
    struct broker *broker = context;
    CHECK(broker_id == broker->id);
    replicas_leader_and_isr(broker->replicas, request, broker->epoch, arena, response);
}

static void on_topic_removed(void *context, struct str topic)
{
    struct broker *broker = context;
    topic_configs_forget(broker->topic_configs, topic);
    coordinator_topic_deleted(broker->coordinator, topic);
}

static void on_update_metadata(void *context, int32_t broker_id,
                               const struct update_metadata_request *request)
{
    struct broker *broker = context;
    CHECK(broker_id == broker->id);
    metadata_update(broker->metadata, request, on_topic_removed, broker);
    metadata_waits_check(broker->metadata_waits);
}

static void on_stop_replica(void *context, int32_t broker_id,
                            const struct stop_replica_request *request, struct arena *arena,
                            struct stop_replica_response *response)
{
    struct broker *broker = context;
    CHECK(broker_id == broker->id);
    replicas_stop_replica(broker->replicas, request, broker->epoch, arena, response);
    housekeeping_expect_removal(broker->housekeeping);
}

static void on_became_leader(void *context, struct partition *p, int32_t leader_epoch)
{
    struct broker *broker = context;
    if (str_is(p->name.topic, "__consumer_offsets")) {
        coordinator_partition_elected(broker->coordinator, p, leader_epoch);
    }
}

static void on_resigned(void *context, struct topic_partition name, int32_t leader_epoch)
{
    struct broker *broker = context;
    if (str_is(name.topic, "__consumer_offsets")) {
        coordinator_partition_resigned(broker->coordinator, name.partition, leader_epoch);
    }
}

/* ---- start ---- */

static void make_parts(struct broker *broker)
{
    broker->metadata = metadata_cache_new();
    broker->metadata_waits = metadata_waits_new(broker->metadata);
    broker->producer_ids = producer_ids_new(broker->id);
    broker->fetch_sessions =
        fetch_sessions_new(broker->config->max_incremental_fetch_session_cache_slots);
    broker->housekeeping = housekeeping_new(broker);
    struct replicas_config replicas = {
        .broker_id = broker->id,
        .logs = broker->logs,
        .config_of = topic_configs_log_config,
        .config_context = broker->topic_configs,
        .listener = {.became_leader = on_became_leader, .resigned = on_resigned, .context = broker},
        .on_progress = housekeeping_mark_dirty,
        .progress_context = broker->housekeeping,
    };
    broker->replicas = replicas_new(&replicas);
    struct coordinator_config coordinator = {.config = broker->config,
                                             .clock = broker->clock,
                                             .metadata = broker->metadata,
                                             .control = broker->control};
    broker->coordinator = coordinator_new(&coordinator);
    struct controller_config controller = {
        .broker_id = broker->id,
        .delete_topic_enable = broker->config->delete_topic_enable,
        .coord = broker->coord,
        .clock = broker->clock,
        .links = {.leader_and_isr = on_leader_and_isr,
                  .update_metadata = on_update_metadata,
                  .stop_replica = on_stop_replica,
                  .context = broker},
    };
    broker->controller = controller_new(&controller);
}

static err join_cluster(struct broker *broker, struct arena *arena,
                        char reason[BROKER_REASON_BYTES])
{
    struct logs_identity identity;
    TRY(lock_logs(broker, &identity, reason));
    TRY(open_coord(broker, reason));
    topic_configs_use(broker->topic_configs, broker->coord);
    TRY(create_base(broker, arena));
    TRY(settle_cluster_id(broker, arena, &identity, reason));
    TRY(settle_broker_id(broker, arena, &identity, reason));
    TRY(topic_configs_load(broker->topic_configs));
    TRY(logs_load(broker->logs, broker->id, broker->cluster_id, reason));
    TRY(logs_refuse_open_transactions(broker->logs, reason)); /* nothing here could end them */
    TRY(register_broker(broker, arena));
    TRY(adopt_logs(broker));
    make_parts(broker);
    TRY(config_changes_begin(broker));
    return controller_elect(broker->controller);
}

static void *control_thread(void *argument)
{
    loop_run(((struct broker *)argument)->control);
    return NULL;
}

static err start_threads(struct broker *broker)
{
    int loops_n = server_loops(broker->server);
    broker->api_loops = xcalloc((size_t)loops_n, sizeof(*broker->api_loops));
    struct conn_handler *handlers = xcalloc((size_t)loops_n, sizeof(*handlers));
    for (int i = 0; i < loops_n; i++) {
        api_loop_init(&broker->api_loops[i], broker, server_loop(broker->server, i)->loop);
        handlers[i] = api_conn_handler(&broker->api_loops[i]);
    }
    housekeeping_start(broker->housekeeping);
    int failed = pthread_create(&broker->control_thread, NULL, control_thread, broker);
    err e = failed != 0 ? err_from_errno(failed) : server_start(broker->server, handlers);
    free(handlers);
    return e;
}

static err start(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    broker->storage.files = file_cache_new(broker->storage.fs, open_files_max());
    TRY(loop_new(broker->clock, &broker->control));
    broker->topic_configs = topic_configs_new(broker->config);
    TRY(bind_listeners(broker, reason));
    struct arena arena;
    arena_init(&arena, START_ARENA_BYTES);
    err e = join_cluster(broker, &arena, reason);
    arena_deinit(&arena);
    TRY(e);
    return start_threads(broker);
}

/* Requests that still wait for a partition are woken when the last flush is done, or when the
 * partition goes: their loops must be there, and run once more. */
static void end_requests(struct broker *broker)
{
    coordinator_free(broker->coordinator);
    replicas_free(broker->replicas);
    for (int i = 0; broker->api_loops != NULL && i < broker->loops_n; i++) {
        loop_drain(server_loop(broker->server, i)->loop);
        api_loop_deinit(&broker->api_loops[i]);
    }
    free(broker->api_loops);
}

static void broker_free(struct broker *broker)
{
    end_requests(broker);
    server_free(broker->server);
    controller_free(broker->controller);
    fetch_sessions_free(broker->fetch_sessions);
    producer_ids_free(broker->producer_ids);
    metadata_waits_free(broker->metadata_waits);
    metadata_cache_free(broker->metadata);
    topic_configs_free(broker->topic_configs);
    housekeeping_free(broker->housekeeping);
    if (broker->coord != NULL) {
        coord_close(broker->coord);
    }
    if (broker->logs != NULL && broker->started) {
        logs_close(broker->logs);
    } else if (broker->logs != NULL) {
        logs_abandon(broker->logs);
    }
    loop_free(broker->control);
    if (broker->storage.files != NULL) {
        file_cache_free(broker->storage.files);
    }
    free(broker->listeners);
    free(broker->ip_overrides);
    free(broker);
}

err broker_start(const struct config *config, struct broker **out, char reason[BROKER_REASON_BYTES])
{
    struct broker *broker = xcalloc(1, sizeof(*broker));
    broker->config = config;
    broker->clock = clock_system();
    broker->storage = (struct storage_env){.fs = fs_system(), .clock = broker->clock};
    broker->id = -1;
    broker->config_change_seen = -1;
    broker->election.fire = on_election;
    broker->loops_n = loops_wanted(config);
    reason[0] = '\0';
    err e = start(broker, reason);
    if (e != OK) {
        if (reason[0] == '\0') {
            snprintf(reason, BROKER_REASON_BYTES, "%s", err_text(e));
        }
        broker_free(broker);
        return e;
    }
    broker->started = true;
    *out = broker;
    return OK;
}

/* ---- stop ---- */

void broker_stop(struct broker *broker)
{
    server_stop_accepting(broker->server);
    coordinator_shutdown(broker->coordinator);
    loop_stop(broker->control);
    pthread_join(broker->control_thread, NULL);
    housekeeping_stop(broker->housekeeping);
    server_stop(broker->server);
    loop_drain(broker->control); /* what requests still asked of it; it wakes them */
    for (int i = 0; i < broker->loops_n; i++) {
        loop_drain(server_loop(broker->server, i)->loop);
    }
    err e = replicas_checkpoint_high_watermarks(broker->replicas, true);
    if (e != OK) {
        log_error("broker", "cannot write high watermarks error=\"%s\"", err_text(e));
    }
    broker_free(broker);
}

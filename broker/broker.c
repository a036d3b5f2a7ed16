/* Start and stop of a broker, in the order that makes each step safe.
 *
 * Start: the log directories are locked and their identity read, the coordination store is opened
 * and must know the same cluster, the options that it keeps of brokers are read, listening sockets
 * are bound (before the long loading, and ports must be known to register), topic configurations
 * are read, logs are loaded, the broker registers, the controller is elected and makes partitions
 * lead. All of it runs on the caller's thread. broker_serve() then starts the control, state and
 * background threads and the loops, which accept connections: until there a start may be broken off
 * at any point, since nobody has been promised anything.
 *
 * Stop is the reverse: no new connections, waiting group members are told, the loops end (what is
 * in progress is answered), the control and the state thread end, logs are closed and marked clean; the session
 * with the store ends last, so that nobody takes over what is still being closed. */
#define _GNU_SOURCE
#include "broker/broker.h"

#include "base/log.h"
#include "base/refuse.h"
#include "base/workers.h"
#include "broker/cluster/adopt.h"
#include "broker/housekeeping.h"
#include "broker/net/host_name.h"

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
    WORK_QUEUED_MAX = 256,
    WORK_QUEUED_BYTES_MAX = 64 << 20,
};

/* ---- listeners ---- */

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

/* So many as are allowed, but no more than the machine has cores. */
static int threads_wanted(int32_t allowed)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 && cores < allowed ? (int)cores : allowed;
}

/* queued.max.request.bytes; without it a quarter of the machine's memory. */
static size_t buffered_bytes_max(const struct config *config)
{
    if (config->queued_max_request_bytes > 0) {
        return (size_t)config->queued_max_request_bytes;
    }
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (size_t)pages / 4 * (size_t)page_bytes : (size_t)1 << 30;
}

/* Times are added to it. */
static int64_t idle_ms(const struct config *config)
{
    return config->connections_max_idle_ms < INT64_MAX / 2 ? config->connections_max_idle_ms : -1;
}

static int set_bytes(const struct config *config, const char *name, int32_t value)
{
    return config_is_set(config, config_option(name)) ? value : -1;
}

/* NULL: none is named. */
static const char *inter_broker_listener(const struct config *config)
{
    if (config->inter_broker_listener_name != NULL) {
        return config->inter_broker_listener_name;
    }
    return strcmp(config->security_inter_broker_protocol, "PLAINTEXT") != 0
               ? config->security_inter_broker_protocol
               : NULL;
}

/* listener.name.<listener>.max.connections */
static err take_listener_limits(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    for (size_t i = 0; i < broker->listeners.count; i++) {
        struct listener *listener = &broker->listeners.all[i];
        TRY(config_listener_connections(broker->config, listener->name, &listener->conns_max,
                                        reason));
    }
    return OK;
}

static struct listener *listener_named(const struct broker *broker, const char *name)
{
    for (size_t i = 0; name != NULL && i < broker->listeners.count; i++) {
        if (strcasecmp(broker->listeners.all[i].name, name) == 0) {
            return &broker->listeners.all[i];
        }
    }
    return NULL;
}

static bool has_control_plane(const struct broker *broker)
{
    return broker->control_listener != broker->inter_broker_listener;
}

/* Where brokers, and their controller, talk to each other. Without a name it is PLAINTEXT, or where there
 * is none the first. */
static err take_brokers_listeners(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    const char *control = broker->config->control_plane_listener_name;
    const struct listener *among = listener_named(broker, inter_broker_listener(broker->config));
    among = among != NULL ? among : listener_named(broker, "PLAINTEXT");
    among = among != NULL ? among : &broker->listeners.all[0];
    broker->inter_broker_listener = broker->control_listener = among->name;
    if (control == NULL) {
        return OK;
    }
    struct listener *of_controller = listener_named(broker, control);
    if (of_controller == NULL || of_controller == among) {
        return refuse(
            reason, BROKER_REASON_BYTES,
            "option control.plane.listener.name: \"%s\" must be one of the listeners, and "
            "not the one of the brokers among themselves (%s)",
            control, among->name);
    }
    of_controller->alone = true; /* load from clients does not delay it */
    broker->control_listener = of_controller->name;
    return OK;
}

static err bind_listeners(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    const struct config *config = broker->config;
    const struct listeners_config texts = {
        .listeners = config->listeners,
        .advertised = config->advertised_listeners,
        .protocol_map = config->listener_security_protocol_map,
        .controller_names = config->controller_listener_names,
        .inter_broker = inter_broker_listener(config),
        .inter_broker_option = config->inter_broker_listener_name != NULL
                                   ? "inter.broker.listener.name"
                                   : "security.inter.broker.protocol",
        .ip_overrides = config->max_connections_per_ip_overrides,
        .host_name = host_name_canonical,
    };
    TRY(listeners_parse(&texts, &broker->listeners, reason, BROKER_REASON_BYTES));
    TRY(take_listener_limits(broker, reason));
    TRY(take_brokers_listeners(broker, reason));
    broker->loops_n =
        threads_wanted(config->num_network_threads) + (has_control_plane(broker) ? 1 : 0);
    struct server_config server = {
        .threads = broker->env.threads,
        .sockets = broker->env.sockets,
        .listeners = broker->listeners.all,
        .listeners_n = broker->listeners.count,
        .loops_n = broker->loops_n,
        .backlog = config->socket_listen_backlog_size,
        .conns_max = connections_max(config),
        .conns_per_ip_max = config->max_connections_per_ip,
        .ip_overrides = broker->listeners.ip_overrides,
        .ip_overrides_n = broker->listeners.ip_overrides_n,
        .buffered_bytes_max = buffered_bytes_max(config),
        .limits = {.frame_bytes_max = config->socket_request_max_bytes,
                   .idle_ms = idle_ms(config),
                   .partial_idle_ms = PARTIAL_FRAME_IDLE_MS,
                   .send_buffer_bytes = set_bytes(config, "socket.send.buffer.bytes",
                                                  config->socket_send_buffer_bytes),
                   .receive_buffer_bytes = set_bytes(config, "socket.receive.buffer.bytes",
                                                     config->socket_receive_buffer_bytes)},
    };
    return server_new(broker->clock, &server, &broker->server, reason, BROKER_REASON_BYTES);
}

/* ---- log directories ---- */

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

/* Before a controller has said whether the log is anybody's: what is not known is read then. */
static struct log_config config_of_loaded(void *topic_configs, struct str topic)
{
    struct log_config config;
    (void)topic_configs_in_force(topic_configs, topic, &config);
    return config;
}

static err lock_logs(struct broker *broker, struct logs_identity *identity,
                     char reason[BROKER_REASON_BYTES])
{
    struct dir_list list = split_dirs(broker->config->log_dirs);
    if (list.count == 0) {
        return refuse(reason, BROKER_REASON_BYTES,
                      "option log.dirs: at least one directory is needed");
    }
    struct logs_open how = {
        .dirs = list.dirs,
        .dirs_n = list.count,
        .broker_id = broker->config->broker_id,
        .config_of = config_of_loaded,
        .context = broker->topic_configs,
    };
    err e = logs_lock(&broker->storage, &how, &broker->logs, identity, reason);
    dir_list_deinit(&list);
    return e;
}

/* ---- what the parts tell each other ---- */

/* These four on the state thread. */

static void on_became_leader(void *context, struct partition *p, int32_t leader_epoch,
                             bool uninterrupted)
{
    struct broker *broker = context;
    if (str_is(partition_name(p).topic, "__consumer_offsets")) {
        coordinator_partition_elected(broker->coordinator, p, leader_epoch, uninterrupted);
    }
}

static void on_resigned(void *context, struct topic_partition name, int32_t leader_epoch)
{
    struct broker *broker = context;
    (void)leader_epoch;
    if (str_is(name.topic, "__consumer_offsets")) {
        coordinator_partition_resigned(broker->coordinator, name.partition);
    }
}

static void on_topic_removed(void *context, struct str topic)
{
    struct broker *broker = context;
    coordinator_topic_deleted(broker->coordinator, topic);
}

static void on_logs_removed(void *context)
{
    struct broker *broker = context;
    housekeeping_expect_removal(broker->housekeeping);
}

static void on_registered(void *context, int64_t broker_epoch)
{
    struct broker *broker = context;
    fetchers_set_broker_epoch(broker->fetchers, broker_epoch);
    requests_in_set_broker_epoch(broker->requests_in, broker_epoch);
}

/* An unreadable node is told, and passed over: what was known stays. */
static err on_topic_config_changed(void *context, struct str topic)
{
    struct broker *broker = context;
    err e = topic_configs_refresh(broker->topic_configs, topic, NULL);
    if (e != OK) {
        return e == E_MALFORMED ? OK : e;
    }
    requests_in_take_configs(broker->requests_in, topic);
    controller_reconsider(broker->controller, topic);
    log_info("config-changes", "topic configuration changed topic=%.*s", (int)topic.len,
             topic.data);
    return OK;
}

static err on_broker_config_changed(void *context, struct str entity)
{
    struct broker *broker = context;
    TRY(broker_configs_changed(&broker->broker_configs, entity));
    controller_reconsider(broker->controller, (struct str){0});
    return OK;
}

static void on_inherited_config_changed(void *context)
{
    struct broker *broker = context;
    requests_in_take_configs(broker->requests_in, (struct str){0});
}

static err read_configs(void *context)
{
    struct broker *broker = context;
    TRY(topic_configs_load(broker->topic_configs));
    on_inherited_config_changed(broker);
    return OK;
}

/* ---- start ---- */

static err connect_store(struct broker *broker, const struct logs_identity *identity,
                         char reason[BROKER_REASON_BYTES])
{
    struct membership_config membership = {
        .config = broker->config,
        .clock = broker->clock,
        .random = broker->env.random,
        .control = broker->control,
        .dir = logs_first_dir(broker->logs),
        .open = broker->env.coord_open,
        .open_context = broker->env.coord_context,
        .registered = on_registered,
        .read_configs = read_configs,
        .context = broker,
    };
    broker->membership = membership_new(&membership);
    err e = membership_connect(broker->membership, reason);
    broker->coord = membership_coord(broker->membership);
    if (e == OK) {
        e = membership_settle(broker->membership, identity, reason);
    }
    broker->id = membership_broker_id(broker->membership);
    broker->cluster_id = membership_cluster_id(broker->membership);
    return e;
}

/* What the store has to say is read; nothing that was read may change unseen. */
static err read_options(struct broker *broker)
{
    struct config_changes_config changes = {.coord = broker->coord,
                                            .clock = broker->clock,
                                            .topic_changed = on_topic_config_changed,
                                            .broker_changed = on_broker_config_changed,
                                            .context = broker};
    broker->config_changes = config_changes_new(&changes);
    TRY(config_changes_begin(broker->config_changes));
    return broker_configs_load(broker->config, broker->coord, broker->id);
}

static void make_coordinator(struct broker *broker)
{
    struct coordinator_config coordinator = {.config = broker->config,
                                             .clock = broker->clock,
                                             .random = broker->env.random,
                                             .metadata = broker->metadata,
                                             .background = broker->background};
    broker->coordinator = coordinator_new(&coordinator);
}

static bool is_alive(void *context, int32_t broker_id)
{
    struct broker *broker = context;
    struct metadata *metadata = metadata_acquire(broker->metadata);
    bool alive = metadata_broker(metadata, broker_id) != NULL;
    metadata_release(metadata);
    return alive;
}

/* The endpoint of another broker on the listener that brokers use among themselves. */
static bool address_of(void *context, int32_t broker_id, struct peer_address *address)
{
    struct broker *broker = context;
    struct metadata *metadata = metadata_acquire(broker->metadata);
    const struct broker_info *info = metadata_broker(metadata, broker_id);
    const struct broker_endpoint *endpoint =
        info == NULL ? NULL : broker_endpoint_of(info, broker->inter_broker_listener);
    if (endpoint != NULL) {
        snprintf(address->host, sizeof(address->host), "%s", endpoint->host);
        address->port = endpoint->port;
    }
    metadata_release(metadata);
    return endpoint != NULL;
}

static int64_t connect_timeout_ms(const struct config *config)
{
    int64_t timeout_ms = config->socket_connection_setup_timeout_ms;
    int64_t max_ms = config->socket_connection_setup_timeout_max_ms;
    return timeout_ms < max_ms ? timeout_ms : max_ms;
}

static void make_fetchers(struct broker *broker)
{
    const struct config *config = broker->config;
    int loops_n = broker->loops_n - (has_control_plane(broker) ? 1 : 0);
    struct loop **loops = xcalloc((size_t)loops_n, sizeof(*loops));
    for (int i = 0; i < loops_n; i++) {
        loops[i] = server_loop(broker->server, i)->loop;
    }
    struct fetchers_config fetchers = {
        .env = {.broker_id = broker->id,
                .broker_epoch = -1,
                .workers = broker->workers,
                .clock = broker->clock,
                .address = address_of,
                .context = broker,
                .fetch_version = broker->versions.fetch,
                .list_offsets_version = broker->versions.list_offsets,
                .wait_ms = config->replica_fetch_wait_max_ms,
                .min_bytes = config->replica_fetch_min_bytes,
                .max_bytes = config->replica_fetch_response_max_bytes,
                .partition_max_bytes = config->replica_fetch_max_bytes,
                .pause_max_ms = config->replica_fetch_backoff_ms,
                .timeout_ms = config->replica_socket_timeout_ms,
                .connect_timeout_ms = config->replica_socket_timeout_ms,
                .receive_buffer_bytes = set_bytes(config, "replica.socket.receive.buffer.bytes",
                                                  config->replica_socket_receive_buffer_bytes)},
        .loops = loops,
        .loops_n = loops_n,
        .fetchers_n = config->num_replica_fetchers,
    };
    broker->fetchers = fetchers_new(&fetchers);
    free(loops);
}

static int64_t broker_epoch_of(void *context)
{
    struct broker *broker = context;
    return requests_in_broker_epoch(broker->requests_in);
}

/* The controller's answers to this broker's questions. Before it gives producer ids out, each broker takes
 * them from the store. */
static void answer_here(void *context, int16_t api_key, const void *request, struct arena *arena,
                        void *response)
{
    struct broker *broker = context;
    if (api_key == KEY_ALLOCATE_PRODUCER_IDS && !broker->versions.producer_ids) {
        producer_ids_answer(broker->coord, request, response);
    } else {
        controller_answer(broker->controller, api_key, request, arena, response);
    }
}

static void make_isr_changes(struct broker *broker)
{
    const struct config *config = broker->config;
    struct to_controller_config to = {.broker_id = broker->id,
                                      .state = broker->state,
                                      .control = broker->control,
                                      .workers = broker->workers,
                                      .metadata = broker->metadata,
                                      .listener = broker->control_listener,
                                      .connect_timeout_ms = connect_timeout_ms(config),
                                      .timeout_ms = config->request_timeout_ms,
                                      .answer = answer_here,
                                      .context = broker};
    broker->to_controller = to_controller_new(&to);
    struct isr_changes_config changes = {.broker_id = broker->id,
                                         .state = broker->state,
                                         .clock = broker->clock,
                                         .to = broker->to_controller,
                                         .lag_ms = config->replica_lag_time_max_ms,
                                         .broker_epoch = broker_epoch_of,
                                         .context = broker};
    broker->isr_changes = isr_changes_new(&changes);
}

static void make_producer_ids(struct broker *broker)
{
    struct producer_ids_config ids = {.broker_id = broker->id,
                                      .state = broker->state,
                                      .to = broker->to_controller,
                                      .by_broker = !broker->versions.producer_ids,
                                      .broker_epoch = broker_epoch_of,
                                      .context = broker};
    broker->producer_ids = producer_ids_new(&ids);
}

static void look_if_leads(void *context, struct partition *p)
{
    bool *leads = context;
    *leads |= partition_leads_for_others(p);
}

static bool is_needed(void *context)
{
    struct broker *broker = context;
    bool leads = false;
    replicas_each(broker->replicas, look_if_leads, &leads);
    return leads || links_have_untold(broker->links);
}

static void fetch_nothing_new(void *context)
{
    struct broker *broker = context;
    fetchers_leave(broker->fetchers);
}

static void make_leaving(struct broker *broker)
{
    const struct config *config = broker->config;
    struct leaving_config leaving = {.broker_id = broker->id,
                                     .state = broker->state,
                                     .workers = broker->workers,
                                     .metadata = broker->metadata,
                                     .listener = broker->inter_broker_listener,
                                     .version = broker->versions.controlled_shutdown,
                                     .tries_max = config->controlled_shutdown_max_retries,
                                     .pause_ms = config->controlled_shutdown_retry_backoff_ms,
                                     .connect_timeout_ms = config->controller_socket_timeout_ms,
                                     .timeout_ms = config->controller_socket_timeout_ms,
                                     .broker_epoch = broker_epoch_of,
                                     .begins = fetch_nothing_new,
                                     .is_needed = is_needed,
                                     .context = broker};
    broker->leaving = leaving_new(&leaving);
}

static void on_log_failed(void *context)
{
    struct broker *broker = context;
    membership_log_failed(broker->membership);
}

static void make_replicas(struct broker *broker)
{
    struct replicas_config replicas = {
        .broker_id = broker->id,
        .logs = broker->logs,
        .config_of = topic_configs_in_force,
        .config_context = broker->topic_configs,
        .listener = {.became_leader = on_became_leader, .resigned = on_resigned, .context = broker},
        .clock = broker->clock,
        .replica_lag_ms = broker->config->replica_lag_time_max_ms,
        .is_alive = is_alive,
        .alive_context = broker,
        .flush = broker->flush,
        .checkpoint_due = housekeeping_mark_dirty,
        .checkpoint_context = broker->housekeeping,
        .isr_wanted = isr_changes_wanted,
        .behind = isr_changes_behind,
        .isr_context = broker->isr_changes,
        .log_failed = on_log_failed,
        .failed_context = broker,
        .fetchers = broker->fetchers,
    };
    broker->replicas = replicas_new(&replicas);
    struct requests_in_config requests_in = {.state = broker->state,
                                             .control = broker->control,
                                             .topic_configs = broker->topic_configs,
                                             .replicas = broker->replicas,
                                             .metadata = broker->metadata,
                                             .metadata_waits = broker->metadata_waits,
                                             .topic_removed = on_topic_removed,
                                             .logs_removed = on_logs_removed,
                                             .context = broker};
    broker->requests_in = requests_in_new(&requests_in);
}

/* On the control thread. A configuration that cannot be read permits nothing. */
static bool unclean_allowed(void *context, struct str topic)
{
    struct broker *broker = context;
    const struct properties *overrides = NULL;
    return topic_configs_get(broker->topic_configs, topic, &overrides) == OK &&
           topic_log_config(broker->config, overrides).unclean_leader_election_enable;
}

static void make_controller(struct broker *broker)
{
    const struct config *config = broker->config;
    struct links_config links = {.broker_id = broker->id,
                                 .state = broker->state,
                                 .control = broker->control,
                                 .workers = broker->workers,
                                 .in = broker->requests_in,
                                 .inter_broker_listener = broker->inter_broker_listener,
                                 .connect_timeout_ms = config->controller_socket_timeout_ms,
                                 .timeout_ms = config->controller_socket_timeout_ms};
    broker->links = links_new(&links);
    struct controller_config controller = {
        .broker_id = broker->id,
        .delete_topic_enable = config->delete_topic_enable,
        .imbalance_percent = config->leader_imbalance_per_broker_percentage,
        .listener = broker->control_listener,
        .versions = broker->versions,
        .coord = broker->coord,
        .clock = broker->clock,
        .random = broker->env.random,
        .links = links_of(broker->links),
        .unclean_allowed = unclean_allowed,
        .unclean_context = broker,
    };
    broker->controller = controller_new(&controller);
    links_set_controller(broker->links, broker->controller);
}

/* What changes topics and options is made of what is there by now. */
static void make_editors(struct broker *broker)
{
    broker->broker_configs = (struct broker_configs){.broker_id = broker->id,
                                                     .config = broker->config,
                                                     .coord = broker->coord,
                                                     .topic_configs = broker->topic_configs,
                                                     .changed = on_inherited_config_changed,
                                                     .context = broker};
    broker->config_editor = (struct config_editor){.broker_id = broker->id,
                                                   .config = broker->config,
                                                   .topic_configs = broker->topic_configs,
                                                   .metadata = broker->metadata,
                                                   .controller = broker->controller};
    broker->topics = (struct topics){.coord = broker->coord,
                                     .topic_configs = broker->topic_configs,
                                     .controller = broker->controller,
                                     .metadata = broker->metadata,
                                     .config = broker->config,
                                     .random = broker->env.random};
}

static void make_parts(struct broker *broker)
{
    broker->metadata = metadata_cache_new();
    broker->metadata_waits = metadata_waits_new(broker->metadata);
    broker->fetch_sessions = fetch_sessions_new(
        broker->config->max_incremental_fetch_session_cache_slots, broker->env.random);
    broker->housekeeping = housekeeping_new(broker);
    make_coordinator(broker);
    make_fetchers(broker);
    make_isr_changes(broker);
    make_producer_ids(broker);
    make_replicas(broker);
    make_controller(broker);
    make_leaving(broker);
    make_editors(broker);
}

/* What clients are told to connect to, and the machine's name where a listener binds all addresses. */
static void make_endpoints(struct broker *broker)
{
    static const char *const PROTOCOL = "PLAINTEXT";
    char hostname[LISTENER_HOST_MAX] = "localhost";
    (void)gethostname(hostname, sizeof(hostname) - 1);
    broker->endpoints = xcalloc(broker->listeners.count, sizeof(*broker->endpoints));
    for (size_t i = 0; i < broker->listeners.count; i++) {
        struct listener *l = &broker->listeners.all[i];
        bool advertised = l->advertised_host[0] != '\0';
        bool any = l->host[0] == '\0' || strcmp(l->host, "0.0.0.0") == 0;
        const char *host = advertised ? l->advertised_host : any ? hostname : l->host;
        broker->endpoints[i] = (struct znode_endpoint){
            .listener = str_of(l->name),
            .host = (struct str){.data = xstrdup(host), .len = strlen(host)},
            .port = listener_told_port(l),
            .security_protocol = str_of(PROTOCOL),
        };
    }
}

static err take_over_logs(struct broker *broker)
{
    struct adoption adoption = {.broker_id = broker->id,
                                .coord = broker->coord,
                                .logs = broker->logs,
                                .topic_configs = broker->topic_configs,
                                .random = broker->env.random};
    return config_uses_zookeeper(broker->config) ? OK /* what ZooKeeper does not know is no topic */
                                                 : adopt_logs(&adoption);
}

/* Lets the control and the state thread's loops, whose threads do not run, tell each other all. */
static void settle(struct broker *broker)
{
    bool busy = true;
    while (busy) {
        busy = broker->control != NULL && loop_drain(broker->control);
        busy |= broker->state != NULL && loop_drain(broker->state);
    }
}

/* Nothing is written anywhere before the log directories, the store and the configuration are known
 * to fit. */
static err join_cluster(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    struct logs_identity identity;
    TRY(lock_logs(broker, &identity, reason));
    TRY(connect_store(broker, &identity, reason));
    TRY(read_options(broker));
    TRY(bind_listeners(broker, reason));
    topic_configs_use(broker->topic_configs, broker->coord);
    TRY(topic_configs_load(broker->topic_configs));
    TRY(logs_load(broker->logs, broker->id, broker->cluster_id, reason));
    TRY(logs_refuse_open_transactions(broker->logs, reason)); /* nothing here could end them */
    make_parts(broker);
    make_endpoints(broker);
    TRY(membership_register(broker->membership, broker->endpoints, (int32_t)broker->listeners.count,
                            reason));
    TRY(take_over_logs(broker));
    TRY(membership_elect(broker->membership, broker->controller, broker->config_changes, reason));
    settle(broker); /* the controller's requests to this broker */
    return OK;
}

static void end_thread(struct broker *broker, struct loop *loop, struct thread **thread)
{
    if (*thread != NULL) {
        loop_stop(loop);
        thread_join(broker->env.threads, *thread);
        *thread = NULL;
    }
}

/* The control thread may wait for the store: it is told not to. */
static void stop_threads(struct broker *broker)
{
    coord_interrupt(broker->coord);
    end_thread(broker, broker->control, &broker->control_thread);
    end_thread(broker, broker->state, &broker->state_thread);
    membership_stop(broker->membership);
    end_thread(broker, broker->background, &broker->background_thread);
    housekeeping_stop(broker->housekeeping);
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
    struct threads *threads = broker->env.threads;
    housekeeping_start(broker->housekeeping);
    err e = thread_start(threads, "flush", broker->flush, &broker->flush_thread);
    e = e == OK
            ? thread_start(threads, "background", broker->background, &broker->background_thread)
            : e;
    e = e == OK ? thread_start(threads, "state", broker->state, &broker->state_thread) : e;
    e = e == OK ? thread_start(threads, "control", broker->control, &broker->control_thread) : e;
    e = e == OK ? server_start(broker->server, handlers) : e;
    if (e != OK) {
        stop_threads(broker);
    }
    free(handlers);
    return e;
}

static err start(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    broker->storage.files = file_cache_new(broker->storage.fs, open_files_max());
    struct sockets *sockets = broker->env.sockets;
    TRY(loop_new(broker->clock, sockets, &broker->control));
    TRY(loop_new(broker->clock, sockets, &broker->state));
    TRY(loop_new(broker->clock, sockets, &broker->background));
    TRY(loop_new(broker->clock, sockets, &broker->flush));
    broker->topic_configs = topic_configs_new(broker->config);
    broker->workers = workers_new(&(struct workers_config){
        .threads = broker->env.threads,
        .clock = broker->clock,
        .sockets = sockets,
        .threads_max = threads_wanted(broker->config->num_io_threads),
        .queued_max = WORK_QUEUED_MAX,
        .queued_bytes_max = WORK_QUEUED_BYTES_MAX,
    });
    TRY(inter_broker_parse(broker->config->inter_broker_protocol_version, &broker->versions, reason,
                           BROKER_REASON_BYTES));
    return join_cluster(broker, reason);
}

/* Requests that still wait for a partition are woken when the last flush is done, or when the
 * partition goes: their loops must be there, and run once more. */
static void end_requests(struct broker *broker)
{
    coordinator_free(broker->coordinator);
    if (broker->flush != NULL) {
        end_thread(broker, broker->flush, &broker->flush_thread);
        loop_drain(broker->flush);
    }
    replicas_free(broker->replicas);
    for (int i = 0; broker->api_loops != NULL && i < broker->loops_n; i++) {
        loop_drain(server_loop(broker->server, i)->loop);
        api_loop_deinit(&broker->api_loops[i]);
    }
    free(broker->api_loops);
    for (int i = 0; broker->server != NULL && i < broker->loops_n; i++) {
        loop_drain(server_loop(broker->server, i)->loop); /* what fetchers were still told */
    }
    fetchers_free(broker->fetchers);
}

/* What is queued for the control and the state thread (and what still comes, until the store is closed)
 * finds no controller: its answers are freed. */
static void end_controller(struct broker *broker)
{
    if (broker->membership != NULL) {
        membership_stop(broker->membership);
    }
    if (broker->links != NULL) {
        links_set_controller(broker->links, NULL);
    }
    links_stop(broker->links);
    to_controller_stop(broker->to_controller);
    isr_changes_stop(broker->isr_changes);
    leaving_free(broker->leaving);
    controller_free(broker->controller);
    broker->controller = NULL;
    settle(broker);
    requests_in_stop(broker->requests_in);
    settle(broker);
    links_free(broker->links);
}

static void broker_free(struct broker *broker)
{
    end_controller(broker);
    end_requests(broker);
    workers_free(broker->workers);
    server_free(broker->server);
    fetch_sessions_free(broker->fetch_sessions);
    producer_ids_free(broker->producer_ids);
    isr_changes_free(broker->isr_changes);
    to_controller_free(broker->to_controller);
    metadata_waits_free(broker->metadata_waits);
    metadata_cache_free(broker->metadata);
    topic_configs_free(broker->topic_configs);
    housekeeping_free(broker->housekeeping);
    if (broker->logs != NULL && broker->started) {
        logs_close(broker->logs);
    } else if (broker->logs != NULL) {
        logs_abandon(broker->logs);
    }
    if (broker->coord != NULL) {
        coord_close(broker->coord); /* last: who sees the registration go may take over */
        loop_drain(broker->control);
    }
    membership_free(broker->membership);
    config_changes_free(broker->config_changes);
    requests_in_free(broker->requests_in);
    loop_free(broker->control);
    loop_free(broker->state);
    loop_free(broker->background);
    loop_free(broker->flush);
    if (broker->storage.files != NULL) {
        file_cache_free(broker->storage.files);
    }
    for (size_t i = 0; broker->endpoints != NULL && i < broker->listeners.count; i++) {
        free((void *)(uintptr_t)broker->endpoints[i].host.data);
    }
    free(broker->endpoints);
    listeners_deinit(&broker->listeners);
    once_deinit(&broker->no_transactions);
    free(broker);
}

static err give_up(struct broker *broker, err e, char reason[BROKER_REASON_BYTES])
{
    if (reason[0] == '\0') {
        snprintf(reason, BROKER_REASON_BYTES, "%s", err_text(e));
    }
    broker_free(broker);
    return e;
}

struct broker_env broker_env_system(void)
{
    return (struct broker_env){.clock = clock_system(),
                               .fs = fs_system(),
                               .random = random_system(),
                               .threads = threads_system(),
                               .sockets = sockets_system()};
}

err broker_start(const struct broker_env *env, struct config *config, struct broker **out,
                 char reason[BROKER_REASON_BYTES])
{
    struct broker *broker = xcalloc(1, sizeof(*broker));
    broker->env = *env;
    broker->config = config;
    broker->clock = env->clock;
    broker->storage =
        (struct storage_env){.fs = env->fs, .clock = env->clock, .random = env->random};
    broker->id = -1;
    once_init(&broker->no_transactions);
    reason[0] = '\0';
    err e = start(broker, reason);
    if (e != OK) {
        return give_up(broker, e, reason);
    }
    *out = broker;
    return OK;
}

err broker_serve(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    reason[0] = '\0';
    err e = start_threads(broker);
    if (e != OK) {
        return give_up(broker, e, reason);
    }
    broker->started = true;
    return OK;
}

/* ---- stop ---- */

void broker_leave(struct broker *broker, void (*done)(void *context), void *context)
{
    if (broker->config->controlled_shutdown_enable) {
        leaving_begin(broker->leaving, done, context);
    } else {
        done(context);
    }
}

void broker_stop(struct broker *broker)
{
    server_stop_accepting(broker->server);
    coordinator_shutdown(broker->coordinator);
    stop_threads(broker);
    workers_stop(broker->workers); /* what it has begun is still answered */
    server_stop(broker->server);
    metadata_waits_stop(broker->metadata_waits);
    settle(broker); /* what requests still asked of them; they wake them */
    loop_drain(broker->background);
    for (int i = 0; i < broker->loops_n; i++) {
        loop_drain(server_loop(broker->server, i)->loop);
    }
    err e = replicas_checkpoint_high_watermarks(broker->replicas, true);
    if (e != OK) {
        log_error("broker", "cannot write high watermarks error=\"%s\"", err_text(e));
    }
    broker_free(broker);
}

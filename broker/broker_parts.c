/* The parts of a broker: each is made of what it needs of the others, and told here what it tells them. */
#define _GNU_SOURCE
#include "broker/broker_internal.h"

#include "base/log.h"
#include "broker/cleaner.h"
#include "broker/cluster/client_quotas.h"
#include "broker/housekeeping.h"
#include "broker/replica/dir_mover.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- what the parts tell each other ---- */

/* These four on the state thread. */

static void on_became_leader(void *context, struct partition *p, int32_t leader_epoch,
                             bool uninterrupted)
{
    struct broker *broker = context;
    struct str topic = partition_name(p).topic;
    if (str_is(topic, "__consumer_offsets")) {
        group_coordinator_elected(broker->groups, p, leader_epoch, uninterrupted);
    } else if (str_is(topic, "__transaction_state")) {
        txn_coordinator_elected(broker->txns, p, leader_epoch, uninterrupted);
    }
}

static void on_resigned(void *context, struct topic_partition name, int32_t leader_epoch)
{
    struct broker *broker = context;
    (void)leader_epoch;
    if (str_is(name.topic, "__consumer_offsets")) {
        group_coordinator_resigned(broker->groups, name.partition);
    } else if (str_is(name.topic, "__transaction_state")) {
        txn_coordinator_resigned(broker->txns, name.partition);
    }
}

static void on_topic_removed(void *context, struct str topic)
{
    struct broker *broker = context;
    group_coordinator_topic_deleted(broker->groups, topic);
}

static void on_logs_removed(void *context)
{
    struct broker *broker = context;
    housekeeping_expect_removal(broker->housekeeping);
}

/* Any thread. */
static void on_logs_changed(void *context)
{
    struct broker *broker = context;
    housekeeping_mark_dirty(broker->housekeeping);
    cleaner_wake(broker->cleaner);
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
    broker_reload_tls(broker);
    controller_reconsider(broker->controller, (struct str){0});
    return OK;
}

static struct quota_samples samples_of(int32_t n, int32_t seconds)
{
    enum { SAMPLES_MAX = 4096, MS_PER_SECOND = 1000 };
    return (struct quota_samples){.n = n < SAMPLES_MAX ? n : SAMPLES_MAX,
                                  .ms = (int64_t)seconds * MS_PER_SECOND};
}

struct quota_samples broker_quota_samples(const struct config *config)
{
    return samples_of(config->quota_window_num, config->quota_window_size_seconds);
}

static void make_quotas(struct broker *broker)
{
    const struct config *config = broker->config;
    const struct quotas_config quotas = {
        .clock = broker->clock,
        .samples = broker_quota_samples(config),
        .mutation_samples = samples_of(config->controller_quota_window_num,
                                       config->controller_quota_window_size_seconds)};
    broker->quotas = quotas_new(&quotas);
}

/* What is kept of users, clients and addresses. */
static void on_client_config(void *context, const struct client_entity *entity,
                             const struct znode_config *config)
{
    struct broker *broker = context;
    struct quota_limits limits = client_quotas_read(config);
    quotas_set(broker->quotas, entity, &limits);
    broker_take_scram_user(broker, entity, config);
}

static struct client_configs_sink client_sink(struct broker *broker)
{
    return (struct client_configs_sink){.changed = on_client_config, .context = broker};
}

static err on_client_config_changed(void *context, struct str path)
{
    struct broker *broker = context;
    struct client_configs_sink sink = client_sink(broker);
    return client_configs_changed(broker->coord, &sink, path);
}

/* As the options say by now. */
static void set_throttles(struct broker *broker)
{
    const struct config *config = broker->config;
    throttle_set_limit(&broker->leader_throttle, config->leader_replication_throttled_rate);
    throttle_set_limit(&broker->follower_throttle, config->follower_replication_throttled_rate);
    throttle_set_limit(&broker->move_throttle,
                       config->replica_alter_log_dirs_io_max_bytes_per_second);
}

static void take_cleaner_options(struct broker *broker)
{
    err e = cleaner_take_options(broker->cleaner, broker->config);
    if (e != OK) {
        log_error("broker", "compaction goes on without some of its threads error=\"%s\"",
                  err_text(e));
    }
}

static void on_options_changed(void *context)
{
    struct broker *broker = context;
    set_throttles(broker);
    take_cleaner_options(broker);
    requests_in_take_configs(broker->requests_in, (struct str){0});
}

enum { PATH_BYTES_MAX = 1 << 20 };

/* Paths of whom something is kept of. */
struct known {
    char **paths;
    size_t count;
};

static void add_known(struct known *known, const struct client_entity *entity)
{
    struct arena arena;
    arena_init(&arena, PATH_BYTES_MAX);
    struct str path = client_entity_path(&arena, entity);
    if (path.data != NULL) {
        known->paths = xrealloc(known->paths, (known->count + 1) * sizeof(*known->paths));
        known->paths[known->count++] = str_dup(path);
    }
    arena_deinit(&arena);
}

static void add_limited(void *context, const struct client_entity *entity,
                        const struct quota_limits *limits)
{
    (void)limits;
    add_known(context, entity);
}

static void add_user(void *context, struct str name, const int32_t iterations[SCRAM_MECHANISMS + 1])
{
    (void)iterations;
    const struct client_entity user = {.user = {.kind = ENTITY_NAMED, .name = name}};
    add_known(context, &user);
}

static err read_clients_again(struct broker *broker)
{
    struct known known = {0};
    struct client_configs_sink sink = client_sink(broker);
    quotas_each(broker->quotas, &known, add_limited);
    scram_users_each(broker->scram_users, add_user, &known);
    err e = client_configs_load_again(broker->coord, &sink, (const char *const *)known.paths,
                                      known.count);
    for (size_t i = 0; i < known.count; i++) {
        free(known.paths[i]);
    }
    free(known.paths);
    return e;
}

/* In a new session. */
static err read_configs(void *context)
{
    struct broker *broker = context;
    TRY(topic_configs_load(broker->topic_configs));
    TRY(read_clients_again(broker));
    on_options_changed(broker);
    return OK;
}

/* ---- the store ---- */

/* On the control thread, and that of the start. */
static bool on_store_full(void *context)
{
    const struct broker *broker = context;
    return logs_make_room(broker->logs);
}

static struct events *events_of(struct broker *broker)
{
    return broker->wants_metrics ? &broker->events : NULL;
}

err broker_connect_store(struct broker *broker, const struct logs_identity *identity,
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
        .make_room = on_store_full,
        .context = broker,
        .events = events_of(broker),
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

/* Where an authorizer is configured it knows all ACLs before anybody can connect. */
static err make_authorizer(struct broker *broker)
{
    const struct config *config = broker->config;
    if (*config->authorizer_class_name == '\0') {
        return OK;
    }
    broker->authorizer = authorizer_new(
        &(struct authorizer_config){.super_users = config->super_users,
                                    .allow_if_no_acl = config->allow_everyone_if_no_acl_found});
    broker->acls = acls_new(&(struct acls_config){.coord = broker->coord,
                                                  .clock = broker->clock,
                                                  .cache = authorizer_cache(broker->authorizer)});
    membership_follow_acls(broker->membership, broker->acls);
    return acls_load(broker->acls);
}

static bool leads_cluster(void *context)
{
    const struct broker *broker = context;
    return broker->controller != NULL && controller_is_active(broker->controller);
}

static err make_delegation(struct broker *broker)
{
    const struct config *config = broker->config;
    if (!tokens_are_on(broker->tokens)) {
        return OK;
    }
    broker->delegation = delegation_tokens_new(&(struct delegation_tokens_config){
        .coord = broker->coord,
        .clock = broker->clock,
        .random = broker->env.random,
        .control = broker->control,
        .tokens = broker->tokens,
        .life_max_ms = config->delegation_token_max_lifetime_ms,
        .expiry_ms = config->delegation_token_expiry_time_ms,
        .check_ms = config->delegation_token_expiry_check_interval_ms,
        .is_controller = leads_cluster,
        .context = broker});
    membership_follow_tokens(broker->membership, broker->delegation);
    return delegation_tokens_load(broker->delegation);
}

/* What the store has to say is read; nothing that was read may change unseen. */
err broker_read_options(struct broker *broker)
{
    struct config_changes_config changes = {.coord = broker->coord,
                                            .clock = broker->clock,
                                            .topic_changed = on_topic_config_changed,
                                            .broker_changed = on_broker_config_changed,
                                            .client_changed = on_client_config_changed,
                                            .context = broker};
    broker->config_changes = config_changes_new(&changes);
    TRY(config_changes_begin(broker->config_changes));
    TRY(broker_configs_load(broker->config, broker->coord, broker->id));
    make_quotas(broker);
    broker_make_users(broker);
    struct client_configs_sink sink = client_sink(broker);
    TRY(client_configs_load(broker->coord, &sink));
    set_throttles(broker);
    TRY(make_authorizer(broker));
    return make_delegation(broker);
}

static void make_groups(struct broker *broker)
{
    struct group_coordinator_config coordinator = {.config = broker->config,
                                                   .clock = broker->clock,
                                                   .random = broker->env.random,
                                                   .metadata = broker->metadata,
                                                   .background = broker->background};
    broker->groups = group_coordinator_new(&coordinator);
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
    int loops_n = broker->loops_n - (broker_has_control_plane(broker) ? 1 : 0);
    struct loop **loops = xcalloc((size_t)loops_n, sizeof(*loops));
    for (int i = 0; i < loops_n; i++) {
        loops[i] = server_loop(broker->server, i)->loop;
    }
    struct fetchers_config fetchers = {
        .env = {.broker_id = broker->id,
                .broker_epoch = -1,
                .workers = broker->workers,
                .clock = broker->clock,
                .throttle = &broker->follower_throttle,
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
                .security = &broker->inter_broker_security,
                .connect_timeout_ms = config->replica_socket_timeout_ms,
                .receive_buffer_bytes =
                    broker_buffer_bytes(config, "replica.socket.receive.buffer.bytes",
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
                                      .security = broker_control_security(broker),
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
                                     .security = &broker->inter_broker_security,
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

/* On the state thread. */
static void on_partition_made(void *context, struct partition *p)
{
    struct broker *broker = context;
    dir_mover_resume(broker->mover, p);
}

static bool is_known(void *context, struct topic_partition name)
{
    struct broker *broker = context;
    struct metadata *metadata = metadata_acquire(broker->metadata);
    bool known = metadata_has_partition(metadata, name.topic, name.partition);
    metadata_release(metadata);
    return known;
}

static void make_mover(struct broker *broker)
{
    const struct config *config = broker->config;
    struct dir_mover_config mover = {.threads = broker->env.threads,
                                     .clock = broker->clock,
                                     .sockets = broker->env.sockets,
                                     .state = broker->state,
                                     .flush = broker->flush,
                                     .logs = broker->logs,
                                     .replicas = broker->replicas,
                                     .throttle = &broker->move_throttle,
                                     .threads_n = config->num_replica_alter_log_dirs_threads,
                                     .is_known = is_known,
                                     .files_dropped = on_logs_removed,
                                     .context = broker};
    broker->mover = dir_mover_new(&mover);
}

static void make_replicas(struct broker *broker)
{
    struct replicas_config replicas = {
        .broker_id = broker->id,
        .logs = broker->logs,
        .config_of = topic_configs_in_force,
        .throttled_of = topic_configs_throttled,
        .config_context = broker->topic_configs,
        .leader_throttle = &broker->leader_throttle,
        .listener = {.became_leader = on_became_leader, .resigned = on_resigned, .context = broker},
        .clock = broker->clock,
        .replica_lag_ms = broker->config->replica_lag_time_max_ms,
        .is_alive = is_alive,
        .alive_context = broker,
        .flush = broker->flush,
        .events = events_of(broker),
        .upkeep_due = on_logs_changed,
        .upkeep_context = broker,
        .isr_wanted = isr_changes_wanted,
        .behind = isr_changes_behind,
        .isr_context = broker->isr_changes,
        .log_failed = on_log_failed,
        .failed_context = broker,
        .fetchers = broker->fetchers,
        .made = on_partition_made,
        .made_context = broker,
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

static void ask_topic_sizes(void *context, struct topic_sizes_question *question)
{
    const struct broker *broker = context;
    topic_sizes_ask(question, broker->control, broker->coord);
}

static void make_txns(struct broker *broker)
{
    struct txn_coordinator_config txns = {.config = broker->config,
                                          .broker_id = broker->id,
                                          .clock = broker->clock,
                                          .metadata = broker->metadata,
                                          .background = broker->background,
                                          .workers = broker->workers,
                                          .replicas = broker->replicas,
                                          .groups = broker->groups,
                                          .address = address_of,
                                          .topic_sizes = ask_topic_sizes,
                                          .context = broker,
                                          .security = &broker->inter_broker_security,
                                          .connect_timeout_ms = connect_timeout_ms(broker->config)};
    broker->txns = txn_coordinator_new(&txns);
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
                                 .security = broker_control_security(broker),
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
        .events = events_of(broker),
    };
    broker->controller = controller_new(&controller);
    links_set_controller(broker->links, broker->controller);
}

/* A configuration on its way to the control thread. */
struct reload {
    struct loop_task task;
    struct broker *broker;
    struct config *fresh;
    void (*done)(void *context);
    void *context;
};

static void on_reload(struct loop_task *task)
{
    struct reload *reload = container_of(task, struct reload, task);
    struct broker *broker = reload->broker;
    if (broker->controller != NULL) { /* not while it stops */
        broker_configs_reload(&broker->broker_configs, reload->fresh);
        broker_reload_tls(broker);
        controller_reconsider(broker->controller, (struct str){0});
    }
    reload->done(reload->context);
    config_deinit(reload->fresh);
    free(reload->fresh);
    free(reload);
}

void broker_reload(struct broker *broker, struct config *fresh, void (*done)(void *context),
                   void *context)
{
    struct reload *reload = xcalloc(1, sizeof(*reload));
    *reload = (struct reload){
        .task.run = on_reload, .broker = broker, .fresh = fresh, .done = done, .context = context};
    loop_post(broker->control, &reload->task);
}

/* What changes topics and options is made of what is there by now. */
static void make_editors(struct broker *broker)
{
    broker->broker_configs = (struct broker_configs){.broker_id = broker->id,
                                                     .config = broker->config,
                                                     .coord = broker->coord,
                                                     .topic_configs = broker->topic_configs,
                                                     .changed = on_options_changed,
                                                     .context = broker};
    broker->config_editor = (struct config_editor){.broker_id = broker->id,
                                                   .coord = broker->coord,
                                                   .config = broker->config,
                                                   .topic_configs = broker->topic_configs,
                                                   .metadata = broker->metadata,
                                                   .controller = broker->controller,
                                                   .check_tls = broker_check_tls_change,
                                                   .tls_context = broker};
    broker->topics = (struct topics){.coord = broker->coord,
                                     .topic_configs = broker->topic_configs,
                                     .controller = broker->controller,
                                     .metadata = broker->metadata,
                                     .config = broker->config,
                                     .random = broker->env.random};
}

void broker_make_parts(struct broker *broker)
{
    broker->metadata = metadata_cache_new();
    broker->metadata_waits = metadata_waits_new(broker->metadata);
    broker->fetch_sessions = fetch_sessions_new(
        broker->config->max_incremental_fetch_session_cache_slots, broker->env.random);
    broker->housekeeping = housekeeping_new(broker);
    make_groups(broker);
    make_fetchers(broker);
    make_isr_changes(broker);
    make_producer_ids(broker);
    make_replicas(broker);
    make_mover(broker);
    broker->cleaner = cleaner_new(&(struct cleaner_config){.threads = broker->env.threads,
                                                           .clock = broker->clock,
                                                           .sockets = broker->env.sockets,
                                                           .replicas = broker->replicas,
                                                           .logs = broker->logs,
                                                           .files_dropped = on_logs_removed,
                                                           .context = broker});
    make_txns(broker);
    make_controller(broker);
    make_leaving(broker);
    make_editors(broker);
}

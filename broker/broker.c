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
#include "broker/broker_internal.h"

#include "base/log.h"
#include "base/refuse.h"
#include "base/workers.h"
#include "broker/cluster/adopt.h"
#include "broker/cleaner.h"
#include "broker/replica/dir_mover.h"
#include "broker/housekeeping.h"
#include "broker/monitor/monitor.h"

#include <stdio.h>
#include <stdlib.h>

enum { WORK_QUEUED_MAX = 256, WORK_QUEUED_BYTES_MAX = 64 << 20 };

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

static void take_dir_failure(struct loop_task *task)
{
    struct broker *broker = container_of(task, struct broker, dir_failed);
    atomic_store(&broker->dir_failure_posted, false);
    if (logs_dirs_online(broker->logs) == 0 && broker->env.halt != NULL) {
        log_error("broker", "the broker ends: all log directories have failed log.dirs=%s",
                  broker->config->log_dirs);
        broker->env.halt();
    }
    replicas_wake_offline(broker->replicas);
    membership_log_failed(broker->membership);
}

/* On any thread, with any lock. What fails meanwhile is of the same event. Of a directory that is offline from
 * the start the controller hears by its first questions, as with Kafka. */
static void on_dir_failed(void *context)
{
    struct broker *broker = context;
    bool loaded = broker->replicas != NULL;
    if (loaded && !atomic_exchange(&broker->dir_failure_posted, true)) {
        loop_post(broker->state, &broker->dir_failed);
    }
}

/* On any thread, with any lock. What is full from the start is looked at when the broker serves. */
static void on_dir_full(void *context)
{
    struct broker *broker = context;
    if (broker->housekeeping != NULL) {
        housekeeping_note_full(broker->housekeeping);
    }
}

/* The topics of a broker without ZooKeeper are in its first directory: without it they would begin anew. */
static err check_store_dir(const struct broker *broker, const struct dir_list *list,
                           char reason[BROKER_REASON_BYTES])
{
    if (config_uses_zookeeper(broker->config) || logs_dir_is_online(broker->logs, 0)) {
        return OK;
    }
    return refuse(
        reason, BROKER_REASON_BYTES,
        "%s cannot be used, and without ZooKeeper the topics are kept in it, the first of "
        "log.dirs",
        list->dirs[0]);
}

enum { LOADERS_UNLESS_SET = 4, SYNC_ALL_FROM = 64 };

static int loaders_wanted(const struct config *config)
{
    int32_t set = config->num_recovery_threads_per_data_dir;
    return broker_threads_wanted(set > 1 ? set : LOADERS_UNLESS_SET);
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
        .dir_failed = on_dir_failed,
        .dir_full = on_dir_full,
        .failed_context = broker,
        .workers = broker->workers,
        .loaders = loaders_wanted(broker->config),
        .sync_all_from = SYNC_ALL_FROM,
    };
    err e = logs_lock(&broker->storage, &how, &broker->logs, identity, reason);
    e = e == OK ? check_store_dir(broker, &list, reason) : e;
    dir_list_deinit(&list);
    return e;
}

/* ---- start ---- */

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
    TRY(broker_connect_store(broker, &identity, reason));
    TRY(broker_read_options(broker));
    TRY(broker_bind_listeners(broker, reason));
    topic_configs_use(broker->topic_configs, broker->coord, broker->id);
    TRY(topic_configs_load(broker->topic_configs));
    TRY(logs_load(broker->logs, broker->id, broker->cluster_id, reason));
    broker_make_parts(broker);
    broker_make_endpoints(broker);
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
    cleaner_stop(broker->cleaner);
    dir_mover_stop(broker->mover);
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
    err e = cleaner_start(broker->cleaner, broker->config);
    e = e == OK
            ? thread_start(threads, "flush", THREAD_SERVES, broker->flush, &broker->flush_thread)
            : e;
    e = e == OK ? thread_start(threads, "background", THREAD_SERVES, broker->background,
                               &broker->background_thread)
                : e;
    e = e == OK
            ? thread_start(threads, "state", THREAD_SERVES, broker->state, &broker->state_thread)
            : e;
    e = e == OK ? thread_start(threads, "control", THREAD_SERVES, broker->control,
                               &broker->control_thread)
                : e;
    e = e == OK ? server_start(broker->server, handlers) : e;
    if (e != OK) {
        stop_threads(broker);
    }
    free(handlers);
    return e;
}

static err start(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    if (broker->wants_metrics) {
        TRY(monitor_start(broker, &broker->monitor, reason, BROKER_REASON_BYTES));
    }
    broker->storage.files = file_cache_new(broker->storage.fs, broker_open_files_max());
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
        .threads_max = broker_threads_wanted(broker->config->num_io_threads),
        .queued_max = WORK_QUEUED_MAX,
        .queued_bytes_max = WORK_QUEUED_BYTES_MAX,
    });
    TRY(inter_broker_parse(broker->config->inter_broker_protocol_version, &broker->versions, reason,
                           BROKER_REASON_BYTES));
    return join_cluster(broker, reason);
}

/* Requests that still wait for a partition are woken when the last flush is done, or when the
 * partition goes: their loops must be there, and run once more. So must the coordinators, whom they may ask what
 * became of the rest. */
static void end_requests(struct broker *broker)
{
    txn_coordinator_shutdown(broker->txns);
    group_coordinator_shutdown(broker->groups);
    txn_coordinator_stop(broker->txns);
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
    txn_coordinator_free(broker->txns);
    group_coordinator_free(broker->groups);
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
    quotas_free(broker->quotas);
    broker_free_logins(broker);
    producer_ids_free(broker->producer_ids);
    isr_changes_free(broker->isr_changes);
    to_controller_free(broker->to_controller);
    metadata_waits_free(broker->metadata_waits);
    metadata_cache_free(broker->metadata);
    housekeeping_free(broker->housekeeping);
    broker->housekeeping = NULL; /* logs are still closed, on a disk that may be full */
    cleaner_free(broker->cleaner);
    dir_mover_free(broker->mover);
    if (broker->logs != NULL && broker->started) {
        logs_close(broker->logs);
    } else if (broker->logs != NULL) {
        logs_abandon(broker->logs);
    }
    topic_configs_free(broker->topic_configs); /* logs have asked it until now */
    if (broker->coord != NULL) {
        coord_close(broker->coord); /* last: who sees the registration go may take over */
        loop_drain(broker->control);
    }
    membership_free(broker->membership);
    config_changes_free(broker->config_changes);
    acls_free(broker->acls);
    delegation_tokens_free(broker->delegation);
    authorizer_free(broker->authorizer);
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
    broker_free_tls(broker);
    listeners_deinit(&broker->listeners);
    throttle_deinit(&broker->leader_throttle);
    throttle_deinit(&broker->follower_throttle);
    throttle_deinit(&broker->move_throttle);
    monitor_stop(broker->monitor);
    free(broker);
}

static err give_up(struct broker *broker, err e, char reason[BROKER_REASON_BYTES])
{
    if (err_is_no_room(e) && broker->logs != NULL) {
        logs_tell_full(broker->logs, reason, BROKER_REASON_BYTES);
    } else if (reason[0] == '\0') {
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
    broker->events.clock = env->clock;
    broker->wants_metrics = config->ottla_http_listener != NULL;
    broker->dir_failed.run = take_dir_failure;
    throttle_init(&broker->leader_throttle, env->clock);
    throttle_init(&broker->follower_throttle, env->clock);
    throttle_init(&broker->move_throttle, env->clock);
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
    monitor_enter(broker->monitor, MONITOR_SERVING);
    return OK;
}

/* ---- stop ---- */

void broker_leave(struct broker *broker, void (*done)(void *context), void *context)
{
    monitor_enter(broker->monitor, MONITOR_LEAVING); /* before the listener closes */
    if (broker->config->controlled_shutdown_enable) {
        leaving_begin(broker->leaving, done, context);
    } else {
        done(context);
    }
}

void broker_stop(struct broker *broker)
{
    monitor_enter(broker->monitor, MONITOR_STOPPING);
    server_stop_accepting(broker->server);
    txn_coordinator_shutdown(broker->txns);
    group_coordinator_shutdown(broker->groups);
    stop_threads(broker);
    txn_coordinator_stop(broker->txns);
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

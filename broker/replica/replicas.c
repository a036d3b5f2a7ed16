/* The table of partitions, and how LeaderAndIsr and StopReplica change it.
 *
 * Each partition is fenced by its leader epoch. An unfenced LeaderAndIsr creates the log if it is not
 * there, and gives the partition its role. The first one after the start is what makes partitions of
 * logs that were loaded.
 *
 * A replica that was deleted, since its partition has moved, is fenced, too: a controller that was not
 * answered in time asks again on another connection, and the system sends what was under way on the
 * first as soon as it can, which may be after the deletion. It would make a replica that nobody knows
 * of, and lead it. (Kafka's is made.) */
#include "broker/replica/replicas.h"

#include "base/log.h"
#include "base/map.h"
#include "protocol/topic_name.h"

#include <pthread.h>
#include <stdlib.h>

struct replicas {
    struct replicas_config config;
    pthread_rwlock_t lock; /* guards the map */
    struct map partitions;
    struct map deleted; /* key → struct deletion; the state thread's */
    struct partition_env env;
};

/* What is late is late by seconds: with so many, all are forgotten. */
enum { DELETIONS_MAX = 1 << 16 };

struct deletion {
    struct uuid topic_id;
    int32_t leader_epoch;
};

/* ---- the table ---- */

struct key {
    uint8_t bytes[TOPIC_NAME_MAX + 4];
    size_t len;
};

static bool key_of(struct str topic, int32_t partition, struct key *key)
{
    if (topic.data == NULL || topic.len > TOPIC_NAME_MAX) {
        return false;
    }
    memcpy(key->bytes, topic.data, topic.len);
    memcpy(key->bytes + topic.len, &partition, sizeof(partition));
    key->len = topic.len + sizeof(partition);
    return true;
}

static err write_recovery_points(void *logs, struct topic_partition name)
{
    return logs_write_recovery_points_of(logs, name);
}

struct replicas *replicas_new(const struct replicas_config *config)
{
    struct replicas *replicas = xcalloc(1, sizeof(*replicas));
    replicas->config = *config;
    pthread_rwlock_init(&replicas->lock, NULL);
    map_init(&replicas->partitions);
    map_init(&replicas->deleted);
    replicas->env = (struct partition_env){.broker_id = config->broker_id,
                                           .clock = config->clock,
                                           .replica_lag_ms = config->replica_lag_ms,
                                           .leader_throttle = config->leader_throttle,
                                           .is_alive = config->is_alive,
                                           .alive_context = config->alive_context,
                                           .flush = config->flush,
                                           .events = config->events,
                                           .upkeep_due = config->upkeep_due,
                                           .context = config->upkeep_context,
                                           .write_recovery_points = write_recovery_points,
                                           .write_context = config->logs,
                                           .isr_wanted = config->isr_wanted,
                                           .behind = config->behind,
                                           .isr_context = config->isr_context,
                                           .log_failed = config->log_failed,
                                           .failed_context = config->failed_context};
    return replicas;
}

static void forget_deletions(struct replicas *replicas)
{
    map_each (entry, &replicas->deleted) {
        free(entry->value);
    }
    map_deinit(&replicas->deleted);
}

void replicas_free(struct replicas *replicas)
{
    if (replicas == NULL) {
        return;
    }
    map_each (entry, &replicas->partitions) {
        struct partition *p = entry->value;
        (void)partition_detach_log(p, ERR_NOT_LEADER_OR_FOLLOWER);
        partition_release(p);
    }
    map_deinit(&replicas->partitions);
    forget_deletions(replicas);
    pthread_rwlock_destroy(&replicas->lock);
    free(replicas);
}

struct partition *replicas_find(struct replicas *replicas, struct str topic, int32_t partition)
{
    struct key key;
    if (!key_of(topic, partition, &key)) {
        return NULL;
    }
    pthread_rwlock_rdlock(&replicas->lock);
    struct partition *p = map_get(&replicas->partitions, bytes_of(key.bytes, key.len));
    if (p != NULL) {
        partition_retain(p);
    }
    pthread_rwlock_unlock(&replicas->lock);
    return p;
}

void replicas_each(struct replicas *replicas, void (*each)(void *context, struct partition *p),
                   void *context)
{
    pthread_rwlock_rdlock(&replicas->lock);
    size_t count = 0;
    struct partition **all = xcalloc(replicas->partitions.count + 1, sizeof(struct partition *));
    map_each (entry, &replicas->partitions) {
        all[count] = entry->value;
        partition_retain(all[count++]);
    }
    pthread_rwlock_unlock(&replicas->lock);
    for (size_t i = 0; i < count; i++) {
        each(context, all[i]);
        partition_release(all[i]);
    }
    free(all);
}

size_t replicas_count(struct replicas *replicas)
{
    pthread_rwlock_rdlock(&replicas->lock);
    size_t count = replicas->partitions.count;
    pthread_rwlock_unlock(&replicas->lock);
    return count;
}

static void table_add(struct replicas *replicas, struct partition *p)
{
    struct key key;
    struct topic_partition name = partition_name(p);
    CHECK(key_of(name.topic, name.partition, &key));
    pthread_rwlock_wrlock(&replicas->lock);
    CHECK(map_set(&replicas->partitions, bytes_of(key.bytes, key.len), p) == NULL);
    pthread_rwlock_unlock(&replicas->lock);
}

static struct partition *table_remove(struct replicas *replicas, struct str topic,
                                      int32_t partition)
{
    struct key key;
    if (!key_of(topic, partition, &key)) {
        return NULL;
    }
    pthread_rwlock_wrlock(&replicas->lock);
    struct partition *p = map_remove(&replicas->partitions, bytes_of(key.bytes, key.len));
    pthread_rwlock_unlock(&replicas->lock);
    return p;
}

/* ---- what was deleted ---- */

/* Not that of a topic: another one of its name has another id, and one without an id cannot be told
 * from it. */
static void remember_deletion(struct replicas *replicas, struct topic_partition name,
                              struct uuid topic_id, int32_t leader_epoch)
{
    struct key key;
    if (leader_epoch < 0 || uuid_is_zero(topic_id) || !key_of(name.topic, name.partition, &key)) {
        return;
    }
    if (replicas->deleted.count >= DELETIONS_MAX) {
        forget_deletions(replicas);
    }
    struct deletion *deletion = xcalloc(1, sizeof(*deletion));
    *deletion = (struct deletion){.topic_id = topic_id, .leader_epoch = leader_epoch};
    free(map_set(&replicas->deleted, bytes_of(key.bytes, key.len), deletion));
}

/* Was it decided before the replica was deleted? */
static bool is_of_before_deletion(const struct replicas *replicas, struct topic_partition name,
                                  struct uuid topic_id, int32_t leader_epoch)
{
    struct key key;
    if (!key_of(name.topic, name.partition, &key)) {
        return false;
    }
    const struct deletion *deletion = map_get(&replicas->deleted, bytes_of(key.bytes, key.len));
    return deletion != NULL && uuid_equal(deletion->topic_id, topic_id) &&
           leader_epoch < deletion->leader_epoch;
}

/* ---- LeaderAndIsr ---- */

typedef struct leader_and_isr_request_partition_state lisr_partition;

static struct replica_set set_of(const int32_t *ids, int32_t count)
{
    return (struct replica_set){.ids = ids, .count = count < 0 ? 0 : count};
}

/* While a directory is offline the log may be in it: only a partition that is new gets one elsewhere. */
static err open_log(struct replicas *replicas, struct topic_partition name, struct uuid topic_id,
                    bool is_new, struct plog **log)
{
    struct log_config config;
    bool known = replicas->config.config_of(replicas->config.config_context, name.topic, &config);
    *log = logs_get(replicas->config.logs, name);
    if (*log != NULL && known) {
        plog_set_config(*log, &config); /* it may have been loaded before they were */
    }
    if (*log != NULL) {
        return uuid_is_zero(topic_id) ? OK : plog_set_topic_id(*log, topic_id);
    }
    if (!is_new && logs_dirs_online(replicas->config.logs) < logs_dirs(replicas->config.logs)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    if (!known) {
        log_warn("replicas",
                 "options unknown, nothing is deleted by retention topic=%.*s partition=%d",
                 (int)name.topic.len, name.topic.data, name.partition);
    }
    return logs_create(replicas->config.logs, name, topic_id, &config, log);
}

static void take_throttled(const struct replicas_config *config, struct partition *p)
{
    if (config->throttled_of != NULL) {
        partition_set_throttled(p, config->throttled_of(config->config_context, partition_name(p)));
    }
}

/* The partition as it will be: found in the table, or made of its log. */
static err obtain(struct replicas *replicas, struct topic_partition name, struct uuid topic_id,
                  bool is_new, struct partition **out)
{
    *out = replicas_find(replicas, name.topic, name.partition);
    if (*out != NULL) {
        return partition_take_topic_id(*out, topic_id);
    }
    struct plog *log = NULL;
    TRY(open_log(replicas, name, topic_id, is_new, &log));
    int64_t high_watermark = logs_checkpointed_high_watermark(replicas->config.logs, name);
    int64_t start = plog_start_offset(log);
    int64_t end = plog_end_offset(log);
    high_watermark = high_watermark < start ? start : high_watermark > end ? end : high_watermark;
    struct partition *p = partition_new(name, topic_id, &replicas->env, log, high_watermark);
    take_throttled(&replicas->config, p);
    if (replicas->config.made != NULL) {
        replicas->config.made(replicas->config.made_context, p);
    }
    partition_retain(p); /* one reference for the table, one for the caller */
    table_add(replicas, p);
    *out = p;
    return OK;
}

/* The listener hears of internal topics only, and of a lead that goes on as of a new one: its epoch
 * has changed. */
static void tell(const struct replica_listener *listener, struct partition *p, int32_t leader_epoch,
                 const struct role_change *change)
{
    struct topic_partition name = partition_name(p);
    if (!topic_is_internal(name.topic)) {
        return;
    }
    if (change->leads) {
        listener->became_leader(listener->context, p, leader_epoch, change->uninterrupted);
    } else if (change->led) {
        listener->resigned(listener->context, name, leader_epoch);
    }
}

/* The fetcher begins anew with each epoch, also when the leader is the same. A leader that nobody knows
 * yet is looked up again until it is known. */
static void follow(struct replicas *replicas, struct partition *p,
                   const struct partition_state *state)
{
    struct fetchers *fetchers = replicas->config.fetchers;
    if (fetchers == NULL) {
        return;
    }
    if (state->leader >= 0 && state->leader != replicas->config.broker_id) {
        fetchers_follow(fetchers, p, state->leader, state->leader_epoch);
    } else {
        fetchers_unfollow(fetchers, p);
    }
}

static err apply_state(struct replicas *replicas, struct topic_partition name, struct uuid topic_id,
                       const lisr_partition *in)
{
    struct partition_state state = {.controller_epoch = in->controller_epoch,
                                    .leader = in->leader,
                                    .leader_epoch = in->leader_epoch,
                                    .partition_epoch = in->partition_epoch,
                                    .isr = set_of(in->isr, in->isr_n),
                                    .replicas = set_of(in->replicas, in->replicas_n)};
    if (!topic_name_is_legal(name.topic)) {
        return ERR_INVALID_TOPIC_EXCEPTION;
    }
    if (name.partition < 0 || !replica_set_holds(&state.replicas, replicas->config.broker_id)) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (is_of_before_deletion(replicas, name, topic_id, in->leader_epoch)) {
        return ERR_STALE_CONTROLLER_EPOCH;
    }
    struct partition *p = NULL;
    struct role_change change;
    err e = obtain(replicas, name, topic_id, in->is_new, &p);
    if (e == OK) {
        e = partition_become(p, &state, &change);
    }
    if (e == OK) {
        follow(replicas, p, &state);
        tell(&replicas->config.listener, p, in->leader_epoch, &change);
    }
    partition_release(p);
    return e;
}

static int16_t wire_leader_and_isr(err e, struct topic_partition name)
{
    if (err_is_local(e)) {
        log_error("replicas", "partition cannot be opened topic=%.*s partition=%d error=\"%s\"",
                  (int)name.topic.len, name.topic.data, name.partition, err_text(e));
    }
    return kafka_error_of_log(e);
}

static int16_t apply_one(struct replicas *replicas, err refused, struct str topic,
                         struct uuid topic_id, const lisr_partition *in)
{
    struct topic_partition name = {.topic = topic, .partition = in->partition_index};
    err e = refused != OK ? refused : apply_state(replicas, name, topic_id, in);
    return wire_leader_and_isr(e, name);
}

/* Requests before version 2 name the topic at each partition, later ones group by topic; answers
 * before version 5 list partitions, later ones topics by id. Both arrays are filled, the codec
 * takes what the version has. */
void replicas_leader_and_isr(struct replicas *replicas,
                             const struct leader_and_isr_request *request, err refused,
                             struct arena *arena, struct leader_and_isr_response *response)
{
    size_t total = request->ungrouped_partition_states_n < 0
                       ? 0
                       : (size_t)request->ungrouped_partition_states_n;
    for (int32_t t = 0; t < request->topic_states_n; t++) {
        total += (size_t)request->topic_states[t].partition_states_n;
    }
    response->partition_errors = arena_array(arena, total, sizeof(*response->partition_errors));
    response->topics =
        arena_array(arena, (size_t)(request->topic_states_n < 0 ? 0 : request->topic_states_n),
                    sizeof(*response->topics));
    if (response->partition_errors == NULL || response->topics == NULL) {
        response->error_code = ERR_UNKNOWN_SERVER_ERROR;
        return;
    }
    int32_t n = 0;
    for (int32_t i = 0; i < request->ungrouped_partition_states_n; i++) {
        const lisr_partition *in = &request->ungrouped_partition_states[i];
        int16_t code = apply_one(replicas, refused, in->topic_name, (struct uuid){{0}}, in);
        response->partition_errors[n++] =
            (struct leader_and_isr_response_partition_error){.topic_name = in->topic_name,
                                                             .partition_index = in->partition_index,
                                                             .error_code = code};
    }
    for (int32_t t = 0; t < request->topic_states_n; t++) {
        const struct leader_and_isr_request_topic_state *topic = &request->topic_states[t];
        response->topics[t].topic_id = topic->topic_id;
        response->topics[t].partition_errors = &response->partition_errors[n];
        response->topics[t].partition_errors_n = topic->partition_states_n;
        for (int32_t i = 0; i < topic->partition_states_n; i++) {
            const lisr_partition *in = &topic->partition_states[i];
            int16_t code = apply_one(replicas, refused, topic->topic_name, topic->topic_id, in);
            response->partition_errors[n++] = (struct leader_and_isr_response_partition_error){
                .topic_name = topic->topic_name,
                .partition_index = in->partition_index,
                .error_code = code};
        }
    }
    response->partition_errors_n = n;
    response->topics_n = request->topic_states_n < 0 ? 0 : request->topic_states_n;
}

/* ---- StopReplica ---- */

/* A controller that tells no leader epoch, or that of a deletion, deletes the topic; with a real one
 * the partition lives on elsewhere. */
static err gone_for(int32_t leader_epoch)
{
    return leader_epoch < 0 ? ERR_UNKNOWN_TOPIC_OR_PARTITION : ERR_NOT_LEADER_OR_FOLLOWER;
}

static err stop_partition(struct replicas *replicas, struct partition *p, int32_t leader_epoch,
                          bool delete_log)
{
    struct topic_partition name = partition_name(p);
    struct role_change change = {0};
    err resigned = partition_resign(p, leader_epoch, &change.led);
    if (resigned != OK && resigned != ERR_KAFKA_STORAGE_ERROR) {
        return resigned;
    }
    if (replicas->config.fetchers != NULL) {
        fetchers_unfollow(replicas->config.fetchers, p);
    }
    tell(&replicas->config.listener, p, leader_epoch, &change);
    if (delete_log) {
        partition_release(table_remove(replicas, name.topic, name.partition));
        (void)partition_detach_log(p, gone_for(leader_epoch));
        remember_deletion(replicas, name, partition_topic_id(p), leader_epoch);
    }
    return delete_log ? OK : resigned;
}

static err stop_one(struct replicas *replicas, struct topic_partition name, int32_t leader_epoch,
                    bool delete_log)
{
    struct partition *p = replicas_find(replicas, name.topic, name.partition);
    err e = p == NULL ? OK : stop_partition(replicas, p, leader_epoch, delete_log);
    partition_release(p);
    if (e != OK || !delete_log || logs_get(replicas->config.logs, name) == NULL) {
        return e;
    }
    return logs_delete(replicas->config.logs, name);
}

static void stop_and_note(struct replicas *replicas, struct topic_partition name,
                          int32_t leader_epoch, bool delete_log,
                          struct stop_replica_response *response)
{
    err e = stop_one(replicas, name, leader_epoch, delete_log);
    response->partition_errors[response->partition_errors_n++] =
        (struct stop_replica_response_partition_error){.topic_name = name.topic,
                                                       .partition_index = name.partition,
                                                       .error_code = kafka_error_of_log(e)};
}

static size_t stop_count(const struct stop_replica_request *request)
{
    size_t total =
        request->ungrouped_partitions_n < 0 ? 0 : (size_t)request->ungrouped_partitions_n;
    for (int32_t t = 0; t < request->topics_n; t++) {
        total += (size_t)request->topics[t].partition_indexes_n;
    }
    for (int32_t t = 0; t < request->topic_states_n; t++) {
        total += (size_t)request->topic_states[t].partition_states_n;
    }
    return total;
}

void replicas_stop_replica(struct replicas *replicas, const struct stop_replica_request *request,
                           struct arena *arena, struct stop_replica_response *response)
{
    response->partition_errors =
        arena_array(arena, stop_count(request), sizeof(*response->partition_errors));
    if (response->partition_errors == NULL) {
        response->error_code = ERR_UNKNOWN_SERVER_ERROR;
        return;
    }
    for (int32_t i = 0; i < request->ungrouped_partitions_n; i++) {
        struct topic_partition name = {request->ungrouped_partitions[i].topic_name,
                                       request->ungrouped_partitions[i].partition_index};
        stop_and_note(replicas, name, -1, request->delete_partitions, response);
    }
    for (int32_t t = 0; t < request->topics_n; t++) {
        for (int32_t i = 0; i < request->topics[t].partition_indexes_n; i++) {
            struct topic_partition name = {request->topics[t].name,
                                           request->topics[t].partition_indexes[i]};
            stop_and_note(replicas, name, -1, request->delete_partitions, response);
        }
    }
    for (int32_t t = 0; t < request->topic_states_n; t++) {
        for (int32_t i = 0; i < request->topic_states[t].partition_states_n; i++) {
            const struct stop_replica_request_partition_state *state =
                &request->topic_states[t].partition_states[i];
            struct topic_partition name = {request->topic_states[t].topic_name,
                                           state->partition_index};
            stop_and_note(replicas, name, state->leader_epoch, state->delete_partition, response);
        }
    }
}

/* ---- periodic ---- */

/* A log without a partition is one that no LeaderAndIsr has named: of a topic that is gone. */
static int64_t high_watermark_of(void *context, struct plog *log)
{
    struct replicas *replicas = context;
    struct topic_partition name = plog_name(log);
    struct partition *p = replicas_find(replicas, name.topic, name.partition);
    if (p == NULL) {
        return -1;
    }
    int64_t high_watermark = partition_high_watermark(p);
    partition_release(p);
    return high_watermark;
}

err replicas_checkpoint_high_watermarks(struct replicas *replicas, bool durable)
{
    return logs_write_high_watermarks(replicas->config.logs, durable, high_watermark_of, replicas);
}

struct config_change {
    const struct replicas_config *of;
    struct str topic;
};

static bool config_changes(const struct config_change *change, struct str topic,
                           struct log_config *config)
{
    return (change->topic.data == NULL || str_equal(topic, change->topic)) &&
           change->of->config_of(change->of->config_context, topic, config);
}

/* A log that no partition uses has it too: a partition may come for it. */
static void change_log(void *context, struct plog *log)
{
    struct log_config config;
    if (config_changes(context, plog_name(log).topic, &config)) {
        plog_set_config(log, &config);
    }
}

static void change_partition(void *context, struct partition *p)
{
    struct log_config config;
    if (config_changes(context, partition_name(p).topic, &config)) {
        partition_set_config(p, &config);
        take_throttled(((const struct config_change *)context)->of, p);
    }
}

void replicas_take_configs(struct replicas *replicas, struct str topic)
{
    struct config_change change = {.of = &replicas->config, .topic = topic};
    logs_each(replicas->config.logs, change_log, &change);
    replicas_each(replicas, change_partition, &change);
}

static void wake_if_offline(void *context, struct partition *p)
{
    (void)context;
    partition_wake_if_offline(p);
}

void replicas_wake_offline(struct replicas *replicas)
{
    replicas_each(replicas, wake_if_offline, NULL);
}

static void reconsider(void *context, struct partition *p)
{
    (void)context;
    partition_reconsider(p);
}

void replicas_reconsider(struct replicas *replicas)
{
    replicas_each(replicas, reconsider, NULL);
}

struct retention {
    bool compacted;
    int deleted;
};

static void apply_retention(void *context, struct partition *p)
{
    struct retention *retention = context;
    retention->deleted += partition_apply_retention(p, retention->compacted);
}

int replicas_apply_retention(struct replicas *replicas, bool compacted)
{
    struct retention retention = {.compacted = compacted};
    replicas_each(replicas, apply_retention, &retention);
    return retention.deleted;
}

static void remove_deleted(void *context, struct partition *p)
{
    int64_t *next_ms = context;
    int64_t more_ms = partition_remove_deleted(p);
    if (more_ms >= 0 && (*next_ms < 0 || more_ms < *next_ms)) {
        *next_ms = more_ms;
    }
}

int64_t replicas_remove_deleted(struct replicas *replicas)
{
    int64_t next_ms = -1;
    replicas_each(replicas, remove_deleted, &next_ms);
    return next_ms;
}

static void expire_producers(void *context, struct partition *p)
{
    const int64_t *txn_max_ms = context;
    partition_expire_producers(p);
    partition_report_hanging(p, *txn_max_ms);
}

void replicas_expire_producers(struct replicas *replicas, int64_t txn_max_ms)
{
    replicas_each(replicas, expire_producers, &txn_max_ms);
}

static void flush_if_due(void *context, struct partition *p)
{
    const int64_t *now_ms = context;
    partition_flush_if_due(p, *now_ms);
}

void replicas_flush_due(struct replicas *replicas, int64_t now_ms)
{
    replicas_each(replicas, flush_if_due, &now_ms);
}

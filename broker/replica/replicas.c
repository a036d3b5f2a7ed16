/* The table of partitions, and how LeaderAndIsr and StopReplica change it.
 *
 * Controller requests are fenced: by the controller's epoch (the highest seen wins) and by this
 * broker's own epoch; then each partition by its leader epoch. An unfenced one creates the log if
 * it is not there, and gives the partition its role. The first LeaderAndIsr after the start is what
 * makes partitions of logs that were loaded. */
#include "broker/replica/replicas.h"

#include "base/log.h"
#include "base/map.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOPIC_NAME_MAX = 255, LEADER_EPOCH_DURING_DELETE = -2, LEADER_EPOCH_NONE = -1 };

struct replicas {
    struct replicas_config config;
    pthread_rwlock_t lock; /* guards the map */
    struct map partitions;
    struct partition_env env;
    int32_t controller_epoch; /* the highest seen; control thread only */
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

struct replicas *replicas_new(const struct replicas_config *config)
{
    struct replicas *replicas = xcalloc(1, sizeof(*replicas));
    replicas->config = *config;
    pthread_rwlock_init(&replicas->lock, NULL);
    map_init(&replicas->partitions);
    replicas->env = (struct partition_env){.broker_id = config->broker_id,
                                           .flusher = flusher_new(),
                                           .on_progress = config->on_progress,
                                           .context = config->progress_context};
    return replicas;
}

void replicas_free(struct replicas *replicas)
{
    if (replicas == NULL) {
        return;
    }
    flusher_free(replicas->env.flusher);
    map_each (entry, &replicas->partitions) {
        struct partition *p = entry->value;
        (void)partition_detach_log(p);
        partition_release(p);
    }
    map_deinit(&replicas->partitions);
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
    map_each (entry, &replicas->partitions) {
        each(context, entry->value);
    }
    pthread_rwlock_unlock(&replicas->lock);
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
    CHECK(key_of(p->name.topic, p->name.partition, &key));
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

static err fence(struct replicas *replicas, int32_t controller_epoch, int64_t request_epoch,
                 int64_t broker_epoch)
{
    if (request_epoch != -1 && request_epoch < broker_epoch) {
        return ERR_STALE_BROKER_EPOCH;
    }
    if (controller_epoch < replicas->controller_epoch) {
        return ERR_STALE_CONTROLLER_EPOCH;
    }
    replicas->controller_epoch = controller_epoch;
    return OK;
}

/* ---- LeaderAndIsr ---- */

typedef struct leader_and_isr_request_partition_state lisr_partition;

static void copy_ids(struct replica_set *set, const int32_t *ids, int32_t count)
{
    set->count = count < 0 ? 0 : count > REPLICAS_MAX ? REPLICAS_MAX : count;
    for (int32_t i = 0; i < set->count; i++) {
        set->ids[i] = ids[i];
    }
}

static bool set_holds(const struct replica_set *set, int32_t id)
{
    for (int32_t i = 0; i < set->count; i++) {
        if (set->ids[i] == id) {
            return true;
        }
    }
    return false;
}

static bool is_internal(struct str topic)
{
    return str_is(topic, "__consumer_offsets") || str_is(topic, "__transaction_state");
}

static err open_log(struct replicas *replicas, struct topic_partition name, struct uuid topic_id,
                    struct plog **log)
{
    *log = logs_get(replicas->config.logs, name);
    if (*log != NULL) {
        return uuid_is_zero(topic_id) ? OK : plog_set_topic_id(*log, topic_id);
    }
    struct log_config config =
        replicas->config.config_of(replicas->config.config_context, name.topic);
    return logs_create(replicas->config.logs, name, topic_id, &config, log);
}

/* The partition as it will be: found in the table, or made of its log. */
static err obtain(struct replicas *replicas, struct topic_partition name, struct uuid topic_id,
                  struct partition **out)
{
    *out = replicas_find(replicas, name.topic, name.partition);
    if (*out != NULL) {
        bool same = uuid_is_zero(topic_id) || uuid_is_zero((*out)->topic_id) ||
                    uuid_equal((*out)->topic_id, topic_id);
        return same ? OK : ERR_INCONSISTENT_TOPIC_ID;
    }
    struct plog *log = NULL;
    TRY(open_log(replicas, name, topic_id, &log));
    struct partition *p = partition_new(name, topic_id, &replicas->env);
    p->log = log;
    int64_t high_watermark = logs_checkpointed_high_watermark(replicas->config.logs, name);
    int64_t start = plog_start_offset(log);
    int64_t end = plog_end_offset(log);
    high_watermark = high_watermark < start ? start : high_watermark > end ? end : high_watermark;
    atomic_store(&p->high_watermark, high_watermark);
    partition_retain(p); /* one reference for the table, one for the caller */
    table_add(replicas, p);
    *out = p;
    return OK;
}

static err apply_state(struct replicas *replicas, struct topic_partition name, struct uuid topic_id,
                       const lisr_partition *in)
{
    struct partition_state state = {.controller_epoch = in->controller_epoch,
                                    .leader = in->leader,
                                    .leader_epoch = in->leader_epoch,
                                    .partition_epoch = in->partition_epoch};
    copy_ids(&state.isr, in->isr, in->isr_n);
    copy_ids(&state.replicas, in->replicas, in->replicas_n);
    if (!set_holds(&state.replicas, replicas->config.broker_id)) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    struct partition *p = NULL;
    TRY(obtain(replicas, name, topic_id, &p));
    pthread_mutex_lock(&p->lock);
    int32_t known_epoch = p->state.leader_epoch;
    bool led = p->is_leader;
    pthread_mutex_unlock(&p->lock);
    err e =
        in->leader_epoch <= known_epoch ? ERR_STALE_CONTROLLER_EPOCH : partition_become(p, &state);
    struct replica_listener *listener = &replicas->config.listener;
    if (e == OK && is_internal(name.topic)) {
        if (in->leader == replicas->config.broker_id) {
            listener->became_leader(listener->context, p, in->leader_epoch);
        } else if (led) {
            listener->resigned(listener->context, name, in->leader_epoch);
        }
    }
    partition_release(p);
    return e;
}

static int16_t wire_leader_and_isr(err e, struct topic_partition name)
{
    if (e < -1) {
        log_error("replicas", "partition cannot be opened topic=%.*s partition=%d error=\"%s\"",
                  (int)name.topic.len, name.topic.data, name.partition, err_text(e));
        return ERR_KAFKA_STORAGE_ERROR;
    }
    return kafka_error_wire(e);
}

static int16_t apply_one(struct replicas *replicas, struct str topic, struct uuid topic_id,
                         const lisr_partition *in)
{
    struct topic_partition name = {.topic = topic, .partition = in->partition_index};
    return wire_leader_and_isr(apply_state(replicas, name, topic_id, in), name);
}

/* Requests before version 2 name the topic at each partition, later ones group by topic; answers
 * before version 5 list partitions, later ones topics by id. Both arrays are filled, the codec
 * takes what the version has. */
void replicas_leader_and_isr(struct replicas *replicas,
                             const struct leader_and_isr_request *request, int64_t broker_epoch,
                             struct arena *arena, struct leader_and_isr_response *response)
{
    response->error_code = kafka_error_wire(
        fence(replicas, request->controller_epoch, request->broker_epoch, broker_epoch));
    if (response->error_code != OK) {
        return;
    }
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
        int16_t code = apply_one(replicas, in->topic_name, (struct uuid){{0}}, in);
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
            int16_t code = apply_one(replicas, topic->topic_name, topic->topic_id, in);
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

static err stop_one(struct replicas *replicas, struct topic_partition name, int32_t leader_epoch,
                    bool delete_log)
{
    struct partition *p = replicas_find(replicas, name.topic, name.partition);
    if (p != NULL) {
        pthread_mutex_lock(&p->lock);
        bool stale = leader_epoch != LEADER_EPOCH_DURING_DELETE &&
                     leader_epoch != LEADER_EPOCH_NONE && leader_epoch < p->state.leader_epoch;
        bool led = p->is_leader;
        pthread_mutex_unlock(&p->lock);
        if (stale) {
            partition_release(p);
            return ERR_FENCED_LEADER_EPOCH;
        }
        if (led && is_internal(name.topic)) {
            struct replica_listener *listener = &replicas->config.listener;
            listener->resigned(listener->context, name, leader_epoch);
        }
        if (delete_log) {
            partition_release(table_remove(replicas, name.topic, name.partition));
            (void)partition_detach_log(p);
        }
        partition_release(p);
    }
    if (!delete_log || logs_get(replicas->config.logs, name) == NULL) {
        return OK;
    }
    return logs_delete(replicas->config.logs, name);
}

static void stop_and_note(struct replicas *replicas, struct topic_partition name,
                          int32_t leader_epoch, bool delete_log,
                          struct stop_replica_response *response)
{
    err e = stop_one(replicas, name, leader_epoch, delete_log);
    response->partition_errors[response->partition_errors_n++] =
        (struct stop_replica_response_partition_error){
            .topic_name = name.topic,
            .partition_index = name.partition,
            .error_code = e < -1 ? (int16_t)ERR_KAFKA_STORAGE_ERROR : kafka_error_wire(e)};
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
                           int64_t broker_epoch, struct arena *arena,
                           struct stop_replica_response *response)
{
    response->error_code = kafka_error_wire(
        fence(replicas, request->controller_epoch, request->broker_epoch, broker_epoch));
    if (response->error_code != OK) {
        return;
    }
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
    struct str topic;
    const struct log_config *config;
};

static void change_config(void *context, struct partition *p)
{
    struct config_change *change = context;
    pthread_mutex_lock(&p->lock);
    if (str_equal(p->name.topic, change->topic) && p->log != NULL) {
        plog_set_config(p->log, change->config);
    }
    pthread_mutex_unlock(&p->lock);
}

void replicas_set_config(struct replicas *replicas, struct str topic,
                         const struct log_config *config)
{
    struct config_change change = {.topic = topic, .config = config};
    replicas_each(replicas, change_config, &change);
}

static void apply_retention(void *context, struct partition *p)
{
    int *total = context;
    pthread_mutex_lock(&p->lock);
    if (p->log != NULL && !plog_is_offline(p->log)) {
        int deleted = 0;
        err e = plog_apply_retention(p->log, partition_high_watermark(p), &deleted);
        if (e != OK) {
            log_error("replicas", "retention failed topic=%.*s partition=%d error=\"%s\"",
                      (int)p->name.topic.len, p->name.topic.data, p->name.partition, err_text(e));
        }
        plog_expire_producers(p->log);
        *total += deleted;
    }
    pthread_mutex_unlock(&p->lock);
}

int replicas_apply_retention(struct replicas *replicas)
{
    int total = 0;
    replicas_each(replicas, apply_retention, &total);
    return total;
}

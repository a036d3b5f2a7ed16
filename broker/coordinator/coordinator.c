/* From requests to groups: the common gate, then one function for each API.
 *
 * The gate, in Kafka's order: a group id that is not allowed, a partition of __consumer_offsets
 * that this broker does not lead, one that is being loaded (reference: coordinators §1.3). */
#include "broker/coordinator/coordinator.h"

#include "base/log.h"
#include "broker/api/endpoint.h"
#include "broker/coordinator/shard.h"

#include <stdlib.h>
#include <strings.h>

enum {
    FIRST_REBALANCE_TIMEOUT_VERSION = 1,
    FIRST_KNOWN_ID_VERSION = 4,
    FIRST_SKIP_ASSIGNMENT_VERSION = 9,
    FIRST_SYNC_PROTOCOL_VERSION = 5,
    FIRST_LEAVE_BATCH_VERSION = 3,
    FIRST_FETCH_ERROR_VERSION = 2,
    FIRST_FETCH_GROUPS_VERSION = 8,
    COMMIT_TIMESTAMP_VERSION = 1,
};

#define OFFSETS_TOPIC "__consumer_offsets"

/* ---- life ---- */

static void on_expiry(struct timer *timer)
{
    struct coordinator *c = container_of(timer, struct coordinator, expiry);
    pthread_rwlock_rdlock(&c->lock);
    for (int32_t i = 0; i < c->shards_n; i++) {
        struct shard *shard = c->shards[i];
        pthread_mutex_lock(&shard->lock);
        if (shard->state == SHARD_ACTIVE) {
            shard_expire_offsets(shard, coordinator_now_ms(c));
        }
        pthread_mutex_unlock(&shard->lock);
    }
    pthread_rwlock_unlock(&c->lock);
    timer_start(c->config.control, timer, c->config.config->offsets_retention_check_interval_ms);
}

struct coordinator *coordinator_new(const struct coordinator_config *config)
{
    struct coordinator *c = xcalloc(1, sizeof(*c));
    c->config = *config;
    c->limits = (struct group_limits){
        .session_timeout_min_ms = config->config->group_min_session_timeout_ms,
        .session_timeout_max_ms = config->config->group_max_session_timeout_ms,
        .initial_delay_ms = config->config->group_initial_rebalance_delay_ms,
        .size_max = config->config->group_max_size,
    };
    c->wall_offset_ms = clock_wall_ms(config->clock) - clock_monotonic_ms(config->clock);
    pthread_rwlock_init(&c->lock, NULL);
    c->expiry.fire = on_expiry;
    timer_start(config->control, &c->expiry, config->config->offsets_retention_check_interval_ms);
    return c;
}

void coordinator_shutdown(struct coordinator *c)
{
    pthread_rwlock_rdlock(&c->lock);
    c->stopping = true;
    for (int32_t i = 0; i < c->shards_n; i++) {
        shard_resign(c->shards[i], ERR_NOT_COORDINATOR);
    }
    pthread_rwlock_unlock(&c->lock);
}

void coordinator_free(struct coordinator *c)
{
    if (c == NULL) {
        return;
    }
    timer_stop(c->config.control, &c->expiry);
    for (int32_t i = 0; i < c->shards_n; i++) {
        shard_resign(c->shards[i], ERR_NOT_COORDINATOR);
        timer_stop(c->config.control, &c->shards[i]->timer);
        shard_free(c->shards[i]);
    }
    free(c->shards);
    pthread_rwlock_destroy(&c->lock);
    free(c);
}

/* Java's String.hashCode over UTF-16 units. */
static int32_t java_hash(struct str s)
{
    uint32_t hash = 0;
    for (size_t i = 0; i < s.len;) {
        uint32_t c = (uint8_t)s.data[i];
        size_t more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        c = more == 0 ? c : c & (0x3fu >> more);
        for (size_t k = 1; k <= more && i + k < s.len; k++) {
            c = c << 6 | ((uint8_t)s.data[i + k] & 0x3f);
        }
        i += more + 1;
        if (c >= 0x10000) {
            hash = hash * 31 + (0xd800 + ((c - 0x10000) >> 10));
            hash = hash * 31 + (0xdc00 + ((c - 0x10000) & 0x3ff));
        } else {
            hash = hash * 31 + c;
        }
    }
    return (int32_t)hash;
}

int32_t coordinator_partition_of(struct str group_id, int32_t partitions_n)
{
    int32_t hash = java_hash(group_id);
    return (hash == INT32_MIN ? 0 : abs(hash)) % partitions_n;
}

static struct shard *shard_at(struct coordinator *c, int32_t number)
{
    pthread_rwlock_rdlock(&c->lock);
    struct shard *shard = number < c->shards_n ? c->shards[number] : NULL;
    pthread_rwlock_unlock(&c->lock);
    return shard;
}

void coordinator_partition_elected(struct coordinator *c, struct partition *p, int32_t leader_epoch)
{
    int32_t number = p->name.partition;
    pthread_rwlock_wrlock(&c->lock);
    while (c->shards_n <= number) {
        c->shards = xrealloc(c->shards, (size_t)(c->shards_n + 1) * sizeof(struct shard *));
        c->shards[c->shards_n] = shard_new(c, c->shards_n);
        c->shards_n++;
    }
    struct shard *shard = c->shards[number];
    pthread_rwlock_unlock(&c->lock);
    shard_elect(shard, p, leader_epoch);
}

void coordinator_partition_resigned(struct coordinator *c, int32_t partition, int32_t leader_epoch)
{
    (void)leader_epoch;
    struct shard *shard = shard_at(c, partition);
    if (shard != NULL) {
        shard_resign(shard, ERR_NOT_COORDINATOR);
    }
}

void coordinator_topic_deleted(struct coordinator *c, struct str topic)
{
    for (int32_t i = 0; i < c->shards_n; i++) {
        struct shard *shard = shard_at(c, i);
        pthread_mutex_lock(&shard->lock);
        if (shard->state == SHARD_ACTIVE) {
            shard_remove_topic(shard, topic);
        }
        pthread_mutex_unlock(&shard->lock);
    }
}

/* ---- the gate ---- */

/* The shard of a group, locked: shard_unlock() it. */
static err shard_lock(struct coordinator *c, struct str group_id, bool empty_allowed,
                      struct shard **out)
{
    *out = NULL;
    if (group_id.data == NULL || (group_id.len == 0 && !empty_allowed)) {
        return ERR_INVALID_GROUP_ID;
    }
    struct metadata *metadata = metadata_acquire(c->config.metadata);
    const struct topic_info *topic = metadata_topic(metadata, STR(OFFSETS_TOPIC));
    int32_t number = topic == NULL ? -1 : coordinator_partition_of(group_id, topic->partitions_n);
    metadata_release(metadata);
    struct shard *shard = number < 0 ? NULL : shard_at(c, number);
    if (shard == NULL) {
        return ERR_NOT_COORDINATOR;
    }
    pthread_mutex_lock(&shard->lock);
    err e = shard_check_locked(shard);
    if (e != OK) {
        pthread_mutex_unlock(&shard->lock);
        return e;
    }
    *out = shard;
    return OK;
}

static void shard_unlock(struct shard *shard)
{
    pthread_mutex_unlock(&shard->lock);
}

static struct str text_or_empty(struct str s)
{
    return s.data == NULL ? STR("") : s;
}

/* ---- JoinGroup ---- */

static struct protocol *protocols_of(struct req *r, const struct join_group_request *in)
{
    struct protocol *protocols = req_array(r, in->protocols_n, sizeof(*protocols));
    for (int32_t i = 0; protocols != NULL && i < in->protocols_n; i++) {
        protocols[i] =
            (struct protocol){.name = in->protocols[i].name, .metadata = in->protocols[i].metadata};
    }
    return protocols;
}

static enum req_status refuse_join(struct req *r, err e)
{
    const struct join_group_request *in = r->in;
    struct join_group_response *out = r->out;
    out->error_code = kafka_error_wire(e);
    out->generation_id = -1;
    out->member_id = text_or_empty(in->member_id);
    out->leader = STR("");
    out->protocol_name = r->version < 7 ? STR("") : (struct str){0};
    return REQ_DONE;
}

enum req_status coordinator_join_group(struct coordinator *c, struct req *r)
{
    const struct join_group_request *in = r->in;
    struct shard *shard = NULL;
    err e = shard_lock(c, in->group_id, false, &shard);
    if (e != OK) {
        return refuse_join(r, e);
    }
    struct group *group = shard_group(shard, in->group_id);
    struct protocol *protocols = protocols_of(r, in);
    if (in->session_timeout_ms < c->limits.session_timeout_min_ms ||
        in->session_timeout_ms > c->limits.session_timeout_max_ms) {
        e = ERR_INVALID_SESSION_TIMEOUT;
    } else if (group == NULL && in->member_id.len > 0) {
        e = ERR_UNKNOWN_MEMBER_ID;
    } else if (protocols == NULL) {
        e = ERR_UNKNOWN_SERVER_ERROR;
    }
    if (e != OK) {
        shard_unlock(shard);
        return refuse_join(r, e);
    }
    struct join_event event = {
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .client_id = r->client_id,
        .client_host = r->client_host,
        .protocol_type = in->protocol_type,
        .protocols = protocols,
        .protocols_n = in->protocols_n,
        .session_timeout_ms = in->session_timeout_ms,
        .rebalance_timeout_ms = r->version < FIRST_REBALANCE_TIMEOUT_VERSION
                                    ? in->session_timeout_ms
                                    : in->rebalance_timeout_ms,
        .require_known_id =
            r->version >= FIRST_KNOWN_ID_VERSION && in->group_instance_id.data == NULL,
        .can_skip_assignment = r->version >= FIRST_SKIP_ASSIGNMENT_VERSION,
        .waiter = r,
    };
    req_park(r, -1, NULL);
    if (group == NULL) {
        group = shard_group_add(shard, in->group_id);
    }
    struct group_output out;
    group_output_init(&out);
    group_join(group, &event, &c->limits, coordinator_now_ms(c), &out);
    shard_finish_event(shard, group, &out);
    group_output_deinit(&out);
    shard_unlock(shard);
    return REQ_PARKED;
}

/* ---- SyncGroup ---- */

static enum req_status refuse_sync(struct req *r, err e)
{
    struct sync_group_response *out = r->out;
    out->error_code = kafka_error_wire(e);
    out->assignment = bytes_of("", 0);
    return REQ_DONE;
}

enum req_status coordinator_sync_group(struct coordinator *c, struct req *r)
{
    const struct sync_group_request *in = r->in;
    bool protocol_missing = in->protocol_type.data == NULL || in->protocol_name.data == NULL;
    if (r->version >= FIRST_SYNC_PROTOCOL_VERSION && protocol_missing) {
        return refuse_sync(r, ERR_INCONSISTENT_GROUP_PROTOCOL);
    }
    struct shard *shard = NULL;
    err e = shard_lock(c, in->group_id, false, &shard);
    if (e != OK) {
        return refuse_sync(r,
                           e == ERR_COORDINATOR_LOAD_IN_PROGRESS ? ERR_REBALANCE_IN_PROGRESS : e);
    }
    struct group *group = shard_group(shard, in->group_id);
    struct join_member *assignments = req_array(r, in->assignments_n, sizeof(*assignments));
    if (group == NULL || assignments == NULL) {
        shard_unlock(shard);
        return refuse_sync(r, ERR_UNKNOWN_MEMBER_ID);
    }
    for (int32_t i = 0; i < in->assignments_n; i++) {
        assignments[i] = (struct join_member){.id = in->assignments[i].member_id,
                                              .metadata = in->assignments[i].assignment};
    }
    struct sync_event event = {
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .generation = in->generation_id,
        .protocol_type = in->protocol_type,
        .protocol_name = in->protocol_name,
        .assignments = assignments,
        .assignments_n = in->assignments_n,
        .waiter = r,
    };
    req_park(r, -1, NULL);
    struct group_output out;
    group_output_init(&out);
    group_sync(group, &event, coordinator_now_ms(c), &out);
    shard_finish_event(shard, group, &out);
    group_output_deinit(&out);
    shard_unlock(shard);
    return REQ_PARKED;
}

/* ---- Heartbeat, LeaveGroup ---- */

void coordinator_heartbeat(struct coordinator *c, struct req *r)
{
    const struct heartbeat_request *in = r->in;
    struct heartbeat_response *out = r->out;
    struct shard *shard = NULL;
    err e = shard_lock(c, in->group_id, false, &shard);
    if (e == OK) {
        struct group *group = shard_group(shard, in->group_id);
        e = group == NULL ? ERR_UNKNOWN_MEMBER_ID
                          : group_heartbeat(group, in->member_id, in->group_instance_id,
                                            in->generation_id, coordinator_now_ms(c));
        shard_unlock(shard);
    }
    out->error_code = kafka_error_wire(e == ERR_COORDINATOR_LOAD_IN_PROGRESS ? OK : e);
}

static err leave_one(struct coordinator *c, struct shard *shard, struct str group_id,
                     struct str member_id, struct str instance_id)
{
    struct group *group = shard_group(shard, group_id);
    if (group == NULL) {
        return ERR_UNKNOWN_MEMBER_ID;
    }
    struct group_output out;
    group_output_init(&out);
    err e = group_leave(group, member_id, instance_id, coordinator_now_ms(c), &out);
    shard_finish_event(shard, group, &out);
    group_output_deinit(&out);
    return e;
}

void coordinator_leave_group(struct coordinator *c, struct req *r)
{
    const struct leave_group_request *in = r->in;
    struct leave_group_response *out = r->out;
    struct shard *shard = NULL;
    err e = shard_lock(c, in->group_id, false, &shard);
    if (e != OK) {
        out->error_code = kafka_error_wire(e);
        return;
    }
    if (r->version < FIRST_LEAVE_BATCH_VERSION) {
        e = leave_one(c, shard, in->group_id, in->member_id, (struct str){0});
        out->error_code = kafka_error_wire(e);
    }
    out->members = req_array(r, in->members_n, sizeof(*out->members));
    for (int32_t i = 0; out->members != NULL && i < in->members_n; i++) {
        struct leave_group_response_member *member = &out->members[out->members_n++];
        leave_group_response_member_init(member);
        member->member_id = in->members[i].member_id;
        member->group_instance_id = in->members[i].group_instance_id;
        member->error_code = kafka_error_wire(leave_one(
            c, shard, in->group_id, in->members[i].member_id, in->members[i].group_instance_id));
    }
    shard_unlock(shard);
}

/* ---- OffsetCommit ---- */

static size_t utf16_len(struct str s)
{
    size_t units = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.data[i];
        units += (c & 0xc0) != 0x80 ? (c >= 0xf0 ? 2 : 1) : 0;
    }
    return units;
}

static bool partition_exists(const struct metadata *metadata, struct str topic, int32_t partition)
{
    const struct topic_info *info = metadata_topic(metadata, topic);
    return info != NULL && partition >= 0 && partition < info->partitions_n &&
           info->partitions[partition].known;
}

/* Answers every partition; those without an error of their own get `common`. */
static bool commit_prepare(struct coordinator *c, struct req *r, err common)
{
    const struct offset_commit_request *in = r->in;
    struct offset_commit_response *out = r->out;
    struct metadata *metadata = metadata_acquire(c->config.metadata);
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    for (int32_t t = 0; out->topics != NULL && t < in->topics_n; t++) {
        struct offset_commit_response_topic *topic = &out->topics[out->topics_n++];
        topic->name = in->topics[t].name;
        topic->partitions = req_array(r, in->topics[t].partitions_n, sizeof(*topic->partitions));
        for (int32_t i = 0; topic->partitions != NULL && i < in->topics[t].partitions_n; i++) {
            const struct offset_commit_request_partition *p = &in->topics[t].partitions[i];
            int32_t limit = c->config.config->offset_metadata_max_bytes;
            err e = !partition_exists(metadata, topic->name, p->partition_index)
                        ? ERR_UNKNOWN_TOPIC_OR_PARTITION
                    : common != OK ? common
                    : utf16_len(p->committed_metadata) > (size_t)limit
                        ? ERR_OFFSET_METADATA_TOO_LARGE
                        : OK;
            topic->partitions[i].partition_index = p->partition_index;
            topic->partitions[i].error_code = kafka_error_wire(e);
            topic->partitions_n++;
        }
    }
    metadata_release(metadata);
    return out->topics != NULL;
}

static struct committed commit_value(const struct req *r, struct str topic,
                                     const struct offset_commit_request_partition *p)
{
    const struct offset_commit_request *in = r->in;
    int64_t commit_ms = r->version == COMMIT_TIMESTAMP_VERSION && p->commit_timestamp != -1
                            ? p->commit_timestamp
                            : r->wall_ms;
    return (struct committed){
        .offset = p->committed_offset,
        .leader_epoch = p->committed_leader_epoch,
        .metadata = text_or_empty(p->committed_metadata),
        .commit_ms = commit_ms,
        .expire_ms = in->retention_time_ms >= 0 ? commit_ms + in->retention_time_ms : -1,
        .topic = topic,
        .partition = p->partition_index,
    };
}

/* Calls `each` for every offset that is to be stored. */
static err each_commit(const struct req *r, err (*each)(void *context, const struct committed *v),
                       void *context)
{
    const struct offset_commit_request *in = r->in;
    const struct offset_commit_response *out = r->out;
    for (int32_t t = 0; t < out->topics_n; t++) {
        for (int32_t i = 0; i < out->topics[t].partitions_n; i++) {
            if (out->topics[t].partitions[i].error_code == OK) {
                struct committed value =
                    commit_value(r, in->topics[t].name, &in->topics[t].partitions[i]);
                TRY(each(context, &value));
            }
        }
    }
    return OK;
}

struct commit_batch {
    struct batch_builder builder;
    struct str group_id;
    int64_t now_ms;
};

static err add_to_batch(void *context, const struct committed *value)
{
    struct commit_batch *batch = context;
    return record_add_offset(&batch->builder, batch->now_ms, batch->group_id, value);
}

static err set_in_group(void *context, const struct committed *value)
{
    offsets_set(context, value);
    return OK;
}

static err commit_store_err(err e)
{
    switch (e) {
    case ERR_UNKNOWN_TOPIC_OR_PARTITION:
    case ERR_NOT_ENOUGH_REPLICAS:
    case ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
        return ERR_COORDINATOR_NOT_AVAILABLE;
    case ERR_NOT_LEADER_OR_FOLLOWER:
    case ERR_KAFKA_STORAGE_ERROR:
        return ERR_NOT_COORDINATOR;
    case ERR_MESSAGE_TOO_LARGE:
    case ERR_RECORD_LIST_TOO_LARGE:
        return ERR_INVALID_COMMIT_OFFSET_SIZE;
    default:
        return e;
    }
}

static void commit_stored(struct shard *shard, void *context, err outcome)
{
    struct req *r = context;
    const struct offset_commit_request *in = r->in;
    struct offset_commit_response *out = r->out;
    struct group *group = shard_group(shard, in->group_id);
    err e = outcome == OK && group == NULL ? ERR_NOT_COORDINATOR : commit_store_err(outcome);
    if (e == OK) {
        err_ignore(each_commit(r, set_in_group, group)); /* set_in_group cannot fail */
    }
    for (int32_t t = 0; e != OK && t < out->topics_n; t++) {
        for (int32_t i = 0; i < out->topics[t].partitions_n; i++) {
            struct offset_commit_response_partition *p = &out->topics[t].partitions[i];
            p->error_code = p->error_code == OK ? kafka_error_wire(e) : p->error_code;
        }
    }
    req_wake(r);
}

static err check_commit(struct coordinator *c, struct shard *shard,
                        const struct offset_commit_request *in)
{
    struct group *group = shard_group(shard, in->group_id);
    if (group == NULL) {
        if (in->generation_id_or_member_epoch >= 0) {
            return ERR_ILLEGAL_GENERATION;
        }
        (void)shard_group_add(shard, in->group_id);
        return OK;
    }
    return group_check_commit(group, in->member_id, in->group_instance_id,
                              in->generation_id_or_member_epoch, coordinator_now_ms(c));
}

enum req_status coordinator_offset_commit(struct coordinator *c, struct req *r)
{
    const struct offset_commit_request *in = r->in;
    struct shard *shard = NULL;
    err e = shard_lock(c, in->group_id, true, &shard);
    if (e == OK) {
        e = check_commit(c, shard, in);
    }
    if (!commit_prepare(c, r, e)) {
        e = ERR_UNKNOWN_SERVER_ERROR;
    }
    if (e != OK) {
        if (shard != NULL) {
            shard_unlock(shard);
        }
        return REQ_DONE;
    }
    struct writer writer;
    struct commit_batch batch = {.group_id = in->group_id, .now_ms = r->wall_ms};
    shard_batch_begin(shard, &writer, &batch.builder, true);
    e = each_commit(r, add_to_batch, &batch);
    if (batch.builder.count == 0 || e != OK || batch_end(&batch.builder) != OK) {
        writer_deinit(&writer);
        shard_unlock(shard);
        return REQ_DONE;
    }
    req_park(r, -1, NULL);
    shard_store(shard, &writer, commit_stored, r);
    shard_unlock(shard);
    return REQ_PARKED;
}

/* ---- OffsetFetch ---- */

typedef struct offset_fetch_response_partition fetch_out;

static void fetch_partition(struct req *r, struct shard *shard, const struct group *group,
                            struct str group_id, struct str topic, int32_t number, fetch_out *out)
{
    const struct offset_fetch_request *in = r->in;
    const struct committed *value = group == NULL ? NULL : offsets_get(group, topic, number);
    offset_fetch_response_partition_init(out);
    out->partition_index = number;
    out->committed_offset = -1;
    out->committed_leader_epoch = -1;
    out->metadata = STR("");
    if (in->require_stable && shard_offset_is_unstable(shard, group_id, topic, number)) {
        out->error_code = ERR_UNSTABLE_OFFSET_COMMIT;
    } else if (value != NULL) {
        out->committed_offset = value->offset;
        out->committed_leader_epoch = value->leader_epoch;
        out->metadata = arena_str(&r->arena, value->metadata);
    }
}

static struct offset_fetch_response_topic *topic_named(struct offset_fetch_response_topic *topics,
                                                       int32_t *count, struct str name)
{
    for (int32_t i = 0; i < *count; i++) {
        if (str_equal(topics[i].name, name)) {
            return &topics[i];
        }
    }
    struct offset_fetch_response_topic *topic = &topics[(*count)++];
    offset_fetch_response_topic_init(topic);
    topic->name = name;
    return topic;
}

struct fetch_group {
    struct str group_id;
    const struct offset_fetch_request_topic *topics; /* NULL: all */
    int32_t topics_n;
    struct offset_fetch_response_topic *out;
    int32_t out_n;
    err error;
};

static void fetch_all(struct req *r, struct shard *shard, const struct group *group,
                      struct fetch_group *f)
{
    int32_t count = group == NULL ? 0 : (int32_t)group->offsets.count;
    f->out = req_array(r, count, sizeof(*f->out));
    if (f->out == NULL || count == 0) {
        return;
    }
    map_each (entry, &group->offsets) {
        const struct committed *value = entry->value;
        struct str name = arena_str(&r->arena, value->topic);
        topic_named(f->out, &f->out_n, name)->partitions_n++;
    }
    for (int32_t t = 0; t < f->out_n; t++) {
        f->out[t].partitions = req_array(r, f->out[t].partitions_n, sizeof(fetch_out));
        f->out[t].partitions_n = 0;
    }
    map_each (entry, &group->offsets) {
        const struct committed *value = entry->value;
        struct offset_fetch_response_topic *topic = topic_named(f->out, &f->out_n, value->topic);
        if (topic->partitions != NULL) {
            fetch_partition(r, shard, group, f->group_id, topic->name, value->partition,
                            &topic->partitions[topic->partitions_n++]);
        }
    }
}

static void fetch_named(struct req *r, struct shard *shard, const struct group *group,
                        struct fetch_group *f)
{
    f->out = req_array(r, f->topics_n, sizeof(*f->out));
    for (int32_t t = 0; f->out != NULL && t < f->topics_n; t++) {
        const struct offset_fetch_request_topic *in = &f->topics[t];
        struct offset_fetch_response_topic *topic = &f->out[f->out_n++];
        offset_fetch_response_topic_init(topic);
        topic->name = in->name;
        topic->partitions = req_array(r, in->partition_indexes_n, sizeof(fetch_out));
        for (int32_t i = 0; topic->partitions != NULL && i < in->partition_indexes_n; i++) {
            fetch_out *out = &topic->partitions[topic->partitions_n++];
            if (f->error == OK) {
                fetch_partition(r, shard, group, f->group_id, in->name, in->partition_indexes[i],
                                out);
            } else {
                offset_fetch_response_partition_init(out);
                out->partition_index = in->partition_indexes[i];
                out->committed_offset = -1;
                out->metadata = STR("");
                out->error_code = kafka_error_wire(f->error);
            }
        }
    }
}

/* With an error of the whole group, the version that has no place for it tells each partition. */
static void fetch_one_group(struct coordinator *c, struct req *r, struct fetch_group *f)
{
    struct shard *shard = NULL;
    f->error = shard_lock(c, f->group_id, true, &shard);
    const struct group *group = shard == NULL ? NULL : shard_group(shard, f->group_id);
    if (f->topics_n >= 0 && (f->error == OK || r->version < FIRST_FETCH_ERROR_VERSION)) {
        fetch_named(r, shard, group, f);
    } else if (f->error == OK) {
        fetch_all(r, shard, group, f);
    }
    if (shard != NULL) {
        shard_unlock(shard);
    }
}

void coordinator_offset_fetch(struct coordinator *c, struct req *r)
{
    const struct offset_fetch_request *in = r->in;
    struct offset_fetch_response *out = r->out;
    if (r->version < FIRST_FETCH_GROUPS_VERSION) {
        struct fetch_group f = {
            .group_id = in->group_id, .topics = in->topics, .topics_n = in->topics_n};
        fetch_one_group(c, r, &f);
        out->topics = f.out;
        out->topics_n = f.out_n;
        out->error_code = kafka_error_wire(f.error);
        return;
    }
    out->groups = req_array(r, in->groups_n, sizeof(*out->groups));
    for (int32_t i = 0; out->groups != NULL && i < in->groups_n; i++) {
        struct fetch_group f = {.group_id = in->groups[i].group_id,
                                .topics = in->groups[i].topics,
                                .topics_n = in->groups[i].topics_n};
        fetch_one_group(c, r, &f);
        struct offset_fetch_response_group *group = &out->groups[out->groups_n++];
        offset_fetch_response_group_init(group);
        group->group_id = in->groups[i].group_id;
        group->error_code = kafka_error_wire(f.error);
        group->topics = f.out;
        group->topics_n = f.out_n;
    }
}

/* ---- DescribeGroups, ListGroups, DeleteGroups ---- */

static struct bytes copy_bytes(struct req *r, struct bytes from)
{
    struct str copy =
        arena_str(&r->arena, (struct str){.data = (const char *)from.data, .len = from.len});
    return copy.data == NULL ? bytes_of("", 0) : bytes_of(copy.data, copy.len);
}

static void describe_members(struct req *r, const struct group *group,
                             struct describe_groups_response_group *out)
{
    bool stable = group->state == GROUP_STABLE;
    out->members = req_array(r, group_size(group), sizeof(*out->members));
    if (out->members == NULL) {
        return;
    }
    list_each (item, &group->members) {
        const struct member *m = container_of(item, struct member, link);
        struct describe_groups_response_member *member = &out->members[out->members_n++];
        describe_groups_response_member_init(member);
        member->member_id = arena_str(&r->arena, m->id);
        member->group_instance_id = arena_str(&r->arena, m->instance_id);
        member->client_id = arena_str(&r->arena, m->client_id);
        member->client_host = arena_str(&r->arena, m->client_host);
        member->member_metadata =
            stable ? copy_bytes(r, member_metadata(group, m)) : bytes_of("", 0);
        member->member_assignment = stable ? copy_bytes(r, m->assignment) : bytes_of("", 0);
    }
}

static void describe_one(struct coordinator *c, struct req *r, struct str id,
                         struct describe_groups_response_group *out)
{
    const struct describe_groups_request *in = r->in;
    struct shard *shard = NULL;
    describe_groups_response_group_init(out);
    out->group_id = id;
    out->group_state = out->protocol_type = out->protocol_data = STR("");
    err e = shard_lock(c, id, true, &shard);
    out->error_code = kafka_error_wire(e);
    out->authorized_operations =
        e == OK && in->include_authorized_operations ? GROUP_ALL_OPERATIONS : INT32_MIN;
    if (e != OK) {
        return;
    }
    const struct group *group = shard_group(shard, id);
    out->group_state = str_of(group_state_name(group == NULL ? GROUP_DEAD : group->state));
    if (group != NULL) {
        out->protocol_type = text_or_empty(arena_str(&r->arena, group->protocol_type));
        if (group->state == GROUP_STABLE) {
            out->protocol_data = text_or_empty(arena_str(&r->arena, group->protocol_name));
        }
        describe_members(r, group, out);
    }
    shard_unlock(shard);
}

void coordinator_describe_groups(struct coordinator *c, struct req *r)
{
    const struct describe_groups_request *in = r->in;
    struct describe_groups_response *out = r->out;
    out->groups = req_array(r, in->groups_n, sizeof(*out->groups));
    for (int32_t i = 0; out->groups != NULL && i < in->groups_n; i++) {
        describe_one(c, r, in->groups[i], &out->groups[out->groups_n++]);
    }
}

static bool wanted(const struct str *filter, int32_t count, const char *value)
{
    for (int32_t i = 0; i < count; i++) {
        if (strlen(value) == filter[i].len &&
            strncasecmp(filter[i].data, value, filter[i].len) == 0) {
            return true;
        }
    }
    return count <= 0;
}

/* Makes room for the groups of one more shard, by doubling: the arena frees nothing. */
static bool list_reserve(struct req *r, size_t more, size_t *room)
{
    struct list_groups_response *out = r->out;
    size_t wanted = (size_t)out->groups_n + more;
    if (wanted <= *room) {
        return true;
    }
    size_t fresh = wanted > *room * 2 ? wanted : *room * 2;
    struct list_groups_response_group *groups = arena_array(&r->arena, fresh, sizeof(*groups));
    if (groups == NULL) {
        return false;
    }
    if (out->groups_n > 0) {
        memcpy(groups, out->groups, (size_t)out->groups_n * sizeof(*groups));
    }
    out->groups = groups;
    *room = fresh;
    return true;
}

static void list_shard(struct req *r, const struct shard *shard, size_t *room)
{
    const struct list_groups_request *in = r->in;
    struct list_groups_response *out = r->out;
    if (!list_reserve(r, shard->groups.count, room)) {
        out->error_code = ERR_UNKNOWN_SERVER_ERROR;
        return;
    }
    map_each (entry, &shard->groups) {
        const struct group *group = entry->value;
        if (wanted(in->states_filter, in->states_filter_n, group_state_name(group->state)) &&
            wanted(in->types_filter, in->types_filter_n, "classic")) {
            struct list_groups_response_group *one = &out->groups[out->groups_n++];
            list_groups_response_group_init(one);
            one->group_id = arena_str(&r->arena, group->id);
            one->protocol_type = text_or_empty(arena_str(&r->arena, group->protocol_type));
            one->group_state = str_of(group_state_name(group->state));
            one->group_type = STR("classic");
        }
    }
}

void coordinator_list_groups(struct coordinator *c, struct req *r)
{
    struct list_groups_response *out = r->out;
    size_t room = 0;
    for (int32_t i = 0;; i++) {
        struct shard *shard = shard_at(c, i);
        if (shard == NULL) {
            break;
        }
        pthread_mutex_lock(&shard->lock);
        if (shard->state == SHARD_LOADING) {
            out->error_code = ERR_COORDINATOR_LOAD_IN_PROGRESS;
        }
        list_shard(r, shard, &room);
        pthread_mutex_unlock(&shard->lock);
    }
}

static void deletion_stored(struct shard *shard, void *context, err outcome)
{
    (void)shard;
    if (outcome != OK) {
        log_warn("coordinator", "group deletion not stored error=%s", kafka_error_name(outcome));
    }
    (void)context;
}

static err delete_one(struct coordinator *c, struct shard *shard, struct str id)
{
    struct group *group = shard_group(shard, id);
    if (group == NULL || group->state == GROUP_DEAD) {
        return ERR_GROUP_ID_NOT_FOUND;
    }
    if (group->state != GROUP_EMPTY) {
        return ERR_NON_EMPTY_GROUP;
    }
    int64_t now_ms = coordinator_now_ms(c);
    struct writer writer;
    struct batch_builder batch;
    shard_batch_begin(shard, &writer, &batch, false);
    err e = OK;
    map_each (entry, &group->offsets) {
        const struct committed *value = entry->value;
        e = e == OK ? record_add_offset_tombstone(&batch, now_ms, group->id, value->topic,
                                                  value->partition)
                    : e;
    }
    if (e == OK && group->generation > 0) {
        e = record_add_group_tombstone(&batch, now_ms, group->id);
    }
    bool something = batch.count > 0;
    e = e == OK && something ? batch_end(&batch) : e;
    if (e == OK && something) {
        shard_store(shard, &writer, deletion_stored, NULL);
    } else {
        writer_deinit(&writer);
    }
    if (e == OK) {
        shard_group_remove(shard, group);
    }
    return e == OK ? OK : ERR_UNKNOWN_SERVER_ERROR;
}

void coordinator_delete_groups(struct coordinator *c, struct req *r)
{
    const struct delete_groups_request *in = r->in;
    struct delete_groups_response *out = r->out;
    out->results = req_array(r, in->groups_names_n, sizeof(*out->results));
    for (int32_t i = 0; out->results != NULL && i < in->groups_names_n; i++) {
        struct shard *shard = NULL;
        err e = shard_lock(c, in->groups_names[i], true, &shard);
        if (e == OK) {
            e = delete_one(c, shard, in->groups_names[i]);
            shard_unlock(shard);
        }
        struct delete_groups_response_result *result = &out->results[out->results_n++];
        delete_groups_response_result_init(result);
        result->group_id = in->groups_names[i];
        result->error_code = kafka_error_wire(e);
    }
}

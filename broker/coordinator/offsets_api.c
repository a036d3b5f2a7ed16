/* OffsetCommit and OffsetFetch. A commit is stored first, as one batch, and visible when that is safe;
 * a partition that is refused does not keep the others from being stored.
 * (reference: coordinators §1.9) */
#include "broker/coordinator/shard.h"

enum {
    FIRST_FETCH_ERROR_VERSION = 2,
    FIRST_FETCH_GROUPS_VERSION = 8,
    COMMIT_TIMESTAMP_VERSION = 1,
};

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
            err e = !metadata_has_partition(metadata, topic->name, p->partition_index)
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
